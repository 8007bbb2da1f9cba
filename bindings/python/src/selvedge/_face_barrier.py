"""The barrier that all faces share: the C library has none. Arriving never waits; who is not the last one has a native
event to wait for, in whichever way it waits.
"""

from __future__ import annotations

import heapq
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

from selvedge import _sync
from selvedge._errors import BrokenResourceError

__all__ = ["Arrival", "BrokenBarrierError", "SharedBarrier"]


class BrokenBarrierError(BrokenResourceError, threading.BrokenBarrierError):
    """The barrier was aborted, or reset while somebody waited, or somebody's wait timed out, or its action failed."""


@dataclass(eq=False)
class _Generation:
    """Those who pass together."""

    go: _sync.Event
    """Set when all are there, or nobody will come any more."""
    arrived: int = 0
    is_broken: bool = False
    is_full: bool = False
    returned: list[int] = field(default_factory=list[int])
    """A heap of the numbers of those who left again."""
    next_index: int = 0


class Arrival:
    """One party's arrival."""

    __slots__ = ("generation", "index", "is_last")

    def __init__(self, generation: _Generation, index: int, is_last: bool) -> None:
        self.generation: _Generation = generation
        self.index: int = index
        """From 0 to parties - 1, another for each."""
        self.is_last: bool = is_last
        """There is nothing to wait for."""

    @property
    def go(self) -> _sync.Event:
        """To be waited for."""
        return self.generation.go


class SharedBarrier:
    """A barrier for ``parties`` threads and tasks of any kind. ``action`` is called by the last to arrive, before it
    and the others go on.
    """

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        if parties < 1:
            raise ValueError("parties must be at least 1")
        if action is not None and not callable(action):  # pyright: ignore[reportUnnecessaryComparison]
            raise TypeError(f"action must be a callable or None, not {type(action).__name__}")
        if timeout is not None and not isinstance(timeout, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"timeout must be seconds or None, not {type(timeout).__name__}")
        self.parties: int = parties
        self.name: str | None = name
        self.timeout: float | None = timeout
        """What blocking waits take if they are given none; seconds or None."""
        self._action = action
        self._mutex = threading.Lock()  # held for a few instructions, never while anything is called or waited for
        self._generation = self._new_generation()
        _barriers.add(self)

    def after_fork(self) -> None:
        """In a fork child: another thread may have held the mutex, and those who waited are not here. A coroutine of
        the thread that forked, which is, has BrokenBarrierError.
        """
        self._mutex = threading.Lock()
        before, self._generation = self._generation, self._new_generation()
        self._generation.is_broken = before.is_broken
        before.is_broken = True
        before.go.set()

    def _new_generation(self) -> _Generation:
        return _Generation(_sync.Event(name=self.name))

    @property
    def native(self) -> SharedBarrier:
        """The object itself: so each face can be made from any other."""
        return self

    @property
    def n_waiting(self) -> int:
        """How many have arrived and wait."""
        generation = self._generation
        return 0 if generation.is_broken else generation.arrived

    @property
    def broken(self) -> bool:
        """Whether it is broken: nobody gets through before a `reset`."""
        return self._generation.is_broken

    def arrive(self) -> Arrival:
        """Arrives. The last one runs the action here. BrokenBarrierError; and what the action raises, which breaks the
        barrier.
        """
        with self._mutex:
            generation = self._generation
            if generation.is_broken:
                raise BrokenBarrierError("the barrier is broken")
            if generation.returned:
                index = heapq.heappop(generation.returned)
            else:
                index = generation.next_index
                generation.next_index += 1
            generation.arrived += 1
            if generation.arrived < self.parties:
                return Arrival(generation, index, False)
            generation.is_full = True
            self._generation = following = self._new_generation()
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            with self._mutex:
                generation.is_broken = following.is_broken = True
            following.go.set()
            raise
        finally:
            generation.go.set()
        return Arrival(generation, index, True)

    def leave(self, arrival: Arrival, *, breaks: bool) -> bool:
        """Ends a wait that was not over. False: it was, the party has passed (or has been told of the break) already.

        With ``breaks`` the barrier breaks, as when a thread's wait times out; else it waits for another party in the
        place of this one.
        """
        generation = arrival.generation
        with self._mutex:
            if generation.is_full or generation.is_broken:
                return False
            generation.arrived -= 1
            heapq.heappush(generation.returned, arrival.index)
            generation.is_broken = breaks
        if breaks:
            generation.go.set()
        return True

    def check(self, arrival: Arrival) -> int:
        """After the wait: the party's number, or BrokenBarrierError."""
        if arrival.generation.is_broken:
            raise BrokenBarrierError("the barrier broke while this party waited")
        return arrival.index

    def abort(self) -> None:
        """Breaks the barrier: who waits and who comes later has BrokenBarrierError."""
        with self._mutex:
            generation = self._generation
            generation.is_broken = True
        generation.go.set()

    def reset(self) -> None:
        """Makes it as new. Who waits has BrokenBarrierError."""
        with self._mutex:
            generation = self._generation
            generation.is_broken = True
            self._generation = self._new_generation()
        generation.go.set()


_barriers: weakref.WeakSet[SharedBarrier] = weakref.WeakSet()


def _after_fork() -> None:
    for barrier in list(_barriers):
        barrier.after_fork()


os.register_at_fork(after_in_child=_after_fork)

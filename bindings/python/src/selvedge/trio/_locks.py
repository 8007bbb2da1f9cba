"""Locks for Trio, with Trio's signatures, on objects that threads and asyncio tasks can share. `selvedge.trio` shows
them.

Here are locks, conditions and semaphores; the others are in _flow.py.
"""

from __future__ import annotations

import sys
from functools import partial
from types import TracebackType
from typing import TypeVar

import trio
from trio.lowlevel import ParkingLotStatistics, checkpoint_if_cancelled, enable_ki_protection

from selvedge import _sync
from selvedge._faces import ConditionFace, LockFace, SemaphoreFace, native_of, publish
from selvedge.trio import _flow, _trio_errors
from selvedge.trio._base import HeldFace, call, wait_in_line
from selvedge.trio._flow import Barrier, CapacityLimiter, Channel, Event
from selvedge.trio._loop import Wait, kick, owner_here, part_here
from selvedge.trio._trio_errors import (
    BrokenBarrierError,
    BrokenResourceError,
    BusyResourceError,
    ClosedResourceError,
    EndOfChannel,
    WouldBlock,
)

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "BrokenResourceError",
    "BusyResourceError",
    "CapacityLimiter",
    "Channel",
    "ClosedResourceError",
    "Condition",
    "EndOfChannel",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
    "StrictFIFOLock",
    "WouldBlock",
]

_L = TypeVar("_L", bound="_sync.Lock | _sync.RLock")


class _TaskLock(LockFace[_L], HeldFace[_L]):
    __slots__ = ()

    @enable_ki_protection
    async def acquire(self) -> None:
        """Takes the lock, waiting for it.

        DeadlockError (a RuntimeError) if the wait would close a ring; BrokenResourceError if the owner ended while
        holding it; ClosedResourceError.
        """
        native = self._native
        await wait_in_line(lambda task: native.acquire(False, task=task), native.acquire_async)

    @enable_ki_protection
    def acquire_nowait(self) -> None:
        """`acquire` that raises WouldBlock instead of waiting."""
        native, number = self._native, owner_here().number
        if not call(lambda: native.acquire(False, task=number)):
            raise WouldBlock("somebody holds the lock")

    @enable_ki_protection
    def release(self) -> None:
        """Gives it back, to whoever is first in line. NotOwnerError (a RuntimeError) if this task does not hold it.
        Does not wait.
        """
        owner = owner_here()
        self._native.release(task=owner.number)
        owner.part.kick()

    @enable_ki_protection
    def repair(self) -> None:
        """Takes a broken lock and makes it whole: for who has put right what it protects, or is going to. ValueError if
        it is not broken.
        """
        native, number = self._native, owner_here().number
        call(lambda: native.repair(task=number))

    def statistics(self) -> trio.LockStatistics:
        """``locked``, ``owner`` (None also if that is no task of this run), ``tasks_waiting`` (of all kinds)."""
        stats = self._native.stats()
        owner = part_here().task_of(stats["owner"]) if stats["owner"] else None
        return trio.LockStatistics(locked=stats["depth"] > 0, owner=owner, tasks_waiting=stats["waiting"])


class Lock(_TaskLock[_sync.Lock]):
    """A lock that belongs to a task. ``async with lock: ...``

    shared: another face of a lock, of which this is to be one; None makes a new lock, which is always handed over in
    order.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(self, shared: _sync.Face[_sync.Lock] | None = None, *, name: str | None = None) -> None:
        super().__init__(
            _sync.Lock(name=name, strict_fifo=True) if shared is None else native_of(shared, _sync.Lock, "Lock")
        )


class StrictFIFOLock(Lock):
    """A `Lock` under the name that Trio has for a reader of the program: the order, which every new `Lock` here keeps,
    matters.
    """

    __slots__ = ()


class RLock(_TaskLock[_sync.RLock]):
    """A `Lock` that its task may acquire again, and releases as often."""

    __slots__ = ()

    def __init__(self, shared: _sync.Face[_sync.RLock] | None = None, *, name: str | None = None) -> None:
        super().__init__(
            _sync.RLock(name=name, strict_fifo=True) if shared is None else native_of(shared, _sync.RLock, "RLock")
        )


class Condition(ConditionFace[Lock | RLock], HeldFace[_sync.Condition]):
    """Waits for a change of what a lock protects. ``async with condition: ...`` holds the lock.

    lock: a face of a `Lock` or an `RLock`, or of a condition, of which this is to be one; None makes a new `Lock`.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(
        self,
        lock: _sync.Face[_sync.Lock] | _sync.Face[_sync.RLock] | _sync.Face[_sync.Condition] | None = None,
        *,
        name: str | None = None,
    ) -> None:
        native = _sync.Condition(Lock(name=name) if lock is None else lock, name=name)
        super().__init__(native)
        inner = native.lock
        if isinstance(lock, Lock | RLock):
            self._lock = lock
        else:
            self._lock = Lock(inner) if isinstance(inner, _sync.Lock) else RLock(inner)

    async def acquire(self) -> None:
        """Takes the lock: see `Lock.acquire`."""
        await self._lock.acquire()

    def acquire_nowait(self) -> None:
        """Takes the lock, or raises WouldBlock."""
        self._lock.acquire_nowait()

    def release(self) -> None:
        """Gives the lock back: see `Lock.release`."""
        self._lock.release()

    @enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A wait that ended with BrokenResourceError does not hold the lock; that error is not to be hidden by another
        # one.
        if error is None or self._native.lock.owner == owner_here().number:
            self.release()

    @enable_ki_protection
    async def wait(self) -> None:
        """Lets go of the lock, waits to be notified, and has the lock back.

        A cancelled wait has the lock back, too, before it raises Cancelled. NotOwnerError (a RuntimeError) if this task
        does not hold the lock; BrokenResourceError if the lock breaks meanwhile, and ClosedResourceError if it is
        closed: then it is not held.
        """
        await checkpoint_if_cancelled()
        owner = owner_here()
        wait = Wait(owner.part)
        op = call(lambda: self._native.wait_async(owner.number, owner.part.address(), wait))
        owner.part.kick()
        await wait.sleep(partial(wait.take_back, op))

    @enable_ki_protection
    def notify(self, n: int = 1) -> None:
        """Notifies up to ``n`` waiters, who waits longest first; they go in line for the lock. NotOwnerError if this
        task does not hold it.
        """
        self._native.notify(n, task=owner_here().number)

    @enable_ki_protection
    def notify_all(self) -> None:
        """Notifies all."""
        self._native.notify_all(task=owner_here().number)

    def statistics(self) -> trio.ConditionStatistics:
        """``tasks_waiting`` (of all kinds), ``lock_statistics``."""
        return trio.ConditionStatistics(
            tasks_waiting=self._native.stats()["waiting"], lock_statistics=self._lock.statistics()
        )


class Semaphore(SemaphoreFace, HeldFace[_sync.Semaphore]):
    """A number of permits, which nobody owns. First come, first served.

    initial_value: how many are free at first, or another face of a semaphore, of which this is to be one.
    max_value: how many can be free; None for no bound.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(
        self, initial_value: int | _sync.Face[_sync.Semaphore], *, max_value: int | None = None, name: str | None = None
    ) -> None:
        if not isinstance(initial_value, int):
            if hasattr(initial_value, "native"):
                super().__init__(native_of(initial_value, _sync.Semaphore, "Semaphore"))
                return
            raise TypeError("initial_value must be an int, or another face of a semaphore")
        if max_value is None:
            super().__init__(_sync.Semaphore(initial_value, name=name))
        else:
            super().__init__(_sync.BoundedSemaphore(initial_value, max=max_value, name=name))

    @property
    def max_value(self) -> int | None:
        """How many can be free; None for no bound."""
        return self._native.max if isinstance(self._native, _sync.BoundedSemaphore) else None

    @enable_ki_protection
    async def acquire(self, n: int = 1) -> None:
        """Takes ``n`` permits, waiting for them. ClosedResourceError."""
        native = self._native
        await wait_in_line(
            lambda task: native.acquire(False, n=n, task=task),
            lambda task, loop, done: native.acquire_async(task, loop, done, n),
        )

    @enable_ki_protection
    def acquire_nowait(self, n: int = 1) -> None:
        """`acquire` that raises WouldBlock instead of waiting."""
        native = self._native
        if not call(lambda: native.acquire(False, n=n)):
            raise WouldBlock("no permit is free")

    @enable_ki_protection
    def release(self, n: int = 1) -> None:
        """Gives ``n`` permits back, or makes them. LimitError (a ValueError) if there would be more than
        ``max_value``.
        """
        self._native.release(n)
        kick()

    def statistics(self) -> ParkingLotStatistics:
        """``tasks_waiting`` (of all kinds)."""
        return ParkingLotStatistics(tasks_waiting=self._native.stats()["waiting"])


class BoundedSemaphore(Semaphore):
    """A `Semaphore` that never has more permits than at first."""

    __slots__ = ()

    def __init__(self, initial_value: int | _sync.Face[_sync.BoundedSemaphore], *, name: str | None = None) -> None:
        if isinstance(initial_value, int):
            super().__init__(initial_value, max_value=initial_value, name=name)
        else:
            super().__init__(native_of(initial_value, _sync.BoundedSemaphore, "BoundedSemaphore"))


publish("selvedge.trio", sys.modules[__name__], _flow, _trio_errors)

"""Trio: what a run has of the library, whose task a coroutine runs for, and how it waits.

Each run gets a `HostLoop` when the first of its tasks needs one, and a system task that waits for its descriptor. A
library task is made when a Trio task needs one, and ends exactly when that does: Trio tells us as it tells the parking
lots that the task would break.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import outcome
import trio
from trio.lowlevel import Abort, ParkingLot, RaiseCancelT, RunVar, Task

from selvedge import _sync
from selvedge._errors import ClosedResourceError, ForkedError, ReentrantError, StaleTaskError, WrongThreadError
from selvedge._faces import task_new
from selvedge._loop import HostLoop
from selvedge.trio._trio_errors import as_trio

_PENDING: Final = 1
"""Not told yet; no status of an operation's end."""


class RunPart:
    """What a run has of the library."""

    def __init__(self) -> None:
        self.host: HostLoop | None = None
        self._owners: dict[Task, Owner] = {}
        self.waits = 0  # tasks of this run that wait now: if there are none, a release lets nobody here go
        self._last: trio.CancelScope | None = (
            None  # around the serving of waits that outlive everything else in the run
        )

    def address(self) -> int:
        """Where operations are to be told. Starts the system task if need be."""
        host = self.host
        if host is None:
            host = self.host = HostLoop("trio")
            trio.lowlevel.spawn_system_task(self._serve, host, name="selvedge: waits of other threads' locks")
        return host.address

    async def _serve(self, host: HostLoop) -> None:
        fd = host.fd
        try:
            try:
                while True:
                    await trio.lowlevel.wait_readable(fd)
                    self.drain()
            except trio.Cancelled:
                # The run is over, but for system tasks that may still wait.
                with trio.CancelScope(shield=True) as self._last:
                    while self.waits:
                        await trio.lowlevel.wait_readable(fd)
                        self.drain()
                raise
        finally:
            self._last = None
            if self.host is host:
                self.host = None
            _close(host)

    def kick(self) -> None:
        """Lets those of this run go on that a release has just let go, as Trio's own primitives do: with no way round
        the system task.
        """
        if self.waits:
            self.drain()

    def drain(self) -> None:
        """Runs what is queued. In the run."""
        host = self.host
        if host is not None:
            try:
                host.drain()
            except (ReentrantError, ClosedResourceError):
                pass

    def wait_begins(self) -> None:
        """A wait is in line."""
        self.waits += 1

    def wait_ends(self) -> None:
        """It has been told, or will not be."""
        self.waits -= 1
        if self.waits == 0 and self._last is not None:
            self._last.cancel()

    def owner_of(self, task: Task) -> Owner:
        """The library task of ``task``, made when it is first asked for."""
        owner = self._owners.get(task)
        if owner is None:
            owner = Owner(task_new(task.name), self)
            # Trio calls break_lot(task) of everything that is registered here when it sees the task's end; no more is
            # asked of it.
            trio.lowlevel.add_parking_lot_breaker(task, cast(ParkingLot, self))
            self._owners[task] = _owners[task] = owner
        return owner

    def has(self, task: Task) -> bool:
        """Whether the task has a library task, and has not ended."""
        return task in self._owners

    def task_of(self, number: int) -> Task | None:
        """The Trio task of a library task; None if it is none of this run's."""
        return next((task for task, owner in self._owners.items() if owner.number == number), None)

    def break_lot(self, task: Task) -> None:
        """The task has ended: what it held breaks."""
        owner = self._owners.pop(task, None)
        if owner is not None:
            del _owners[task]
            _exit(owner.number)
            self.kick()

    def end(self) -> None:
        """The run has ended. Nearly always nothing is left by then."""
        for task, owner in list(self._owners.items()):
            _owners.pop(task, None)
            _exit(owner.number)
        self._owners.clear()


class Owner:
    """The library task of a Trio task."""

    __slots__ = ("number", "part")

    def __init__(self, number: int, part: RunPart) -> None:
        self.number = number
        self.part = part


# Those of all runs.
_owners: dict[Task, Owner] = {}


class _RunEnd:
    """What the run alone refers to: a run that Trio gave up on (TrioInternalError, a guest whose host has gone) has not
    seen its tasks' end.
    """

    __slots__ = ("part",)

    def __init__(self, part: RunPart) -> None:
        self.part = part

    def __del__(self) -> None:
        self.part.end()


def _exit(number: int) -> None:
    try:
        _sync.task_exit(number)
    except (StaleTaskError, ForkedError):
        pass


def _close(host: HostLoop) -> None:
    try:
        host.close()
    except WrongThreadError:
        # The coroutine of an abandoned run, ended by the garbage collector somewhere.
        host.bind()
        host.close()
    except ForkedError:
        pass


_run: RunVar[_RunEnd] = RunVar("selvedge")


def part_here() -> RunPart:
    """The run's part. RuntimeError outside of Trio."""
    try:
        return _run.get().part
    except LookupError:
        end = _RunEnd(RunPart())
        _run.set(end)
        return end.part


def owner_here() -> Owner:
    """The library task of the running Trio task. RuntimeError outside of one."""
    task = trio.lowlevel.current_task()
    return _owners.get(task) or part_here().owner_of(task)


def kick() -> None:
    """`RunPart.kick` of the run that is here, if one is."""
    try:
        end = _run.get()
    except (LookupError, RuntimeError):
        return
    end.part.kick()


class Wait:
    """One wait of one task: what an operation tells, and what the task sleeps on."""

    __slots__ = ("_on_grant", "_part", "_raise_cancel", "_sleeper", "_told")

    def __init__(self, part: RunPart, on_grant: Callable[[], object] | None = None) -> None:
        self._part = part
        self._on_grant = on_grant
        self._sleeper: Task | None = None
        self._told: outcome.Outcome[Any] | None = None
        self._raise_cancel: RaiseCancelT | None = None

    def __call__(self, status: int, value: Any) -> None:
        """``done`` of the operation."""
        if status >= 0:
            self._told = outcome.Value(value)
            if self._on_grant is not None:
                self._on_grant()
        elif status == _sync.E_CANCELLED and self._raise_cancel is not None:
            self._told = outcome.capture(self._raise_cancel)
        else:
            self._told = outcome.Error(as_trio(value))
        if self._sleeper is not None:
            task = self._sleeper
            self._woken()
            trio.lowlevel.reschedule(task, self._told)

    def _woken(self) -> None:
        self._sleeper = None
        self._part.wait_ends()

    async def sleep(self, abort: Callable[[], Abort]) -> Any:
        """Sleeps until the operation ends; returns what it brought, or raises its error. ``abort`` is for a task that
        is cancelled meanwhile.
        """
        if self._told is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return self._told.unwrap()

        def abort_fn(raise_cancel: RaiseCancelT) -> Abort:
            self._raise_cancel = raise_cancel
            return abort()

        self._sleeper = trio.lowlevel.current_task()
        self._part.wait_begins()
        return await trio.lowlevel.wait_task_rescheduled(abort_fn)

    def abandon(self, op: _sync.Op) -> Abort:
        """For a wait that may simply end: what it was granted meanwhile goes to the next."""
        if not op.abandon():
            return Abort.FAILED
        self._woken()
        return Abort.SUCCEEDED

    def withdraw(self, op: _sync.Op) -> Abort:
        """For an item that is in line to be sent: either it was sent, or it will not be."""
        if not op.cancel():
            return Abort.FAILED
        self._woken()
        return Abort.SUCCEEDED

    def take_back(self, op: _sync.Op) -> Abort:
        """For a condition's wait, which ends when it has its lock back."""
        op.cancel()
        return Abort.FAILED

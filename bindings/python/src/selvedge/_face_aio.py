"""asyncio: what an event loop has of the library, whose task a coroutine runs for, and how it waits.

Each event loop gets a `HostLoop` when the first of its tasks needs one. The only thing that keeps that open is the
registration of its descriptor in the event loop: when the loop is closed it lets go of the registration, and `_Reader`
ends our part with it. So nothing has to be closed by hand, and no loop is kept alive.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import weakref
from asyncio import AbstractEventLoop, CancelledError, Future, Task, current_task
from collections.abc import Callable
from typing import Any, Final

from selvedge import _sync
from selvedge._errors import (
    ClosedResourceError,
    ForkedError,
    ReentrantError,
    StaleTaskError,
    UnsupportedError,
    WrongThreadError,
)
from selvedge._faces import task_new
from selvedge._loop import HostLoop

_PENDING: Final = 1
"""Not told yet; no status of an operation's end."""


class Owner(weakref.ref["Task[Any]"]):
    """The library task of an asyncio task."""

    __slots__ = ("key", "number", "part")
    key: int
    number: int
    part: LoopPart


# Those of all event loops, by the id of the asyncio task: an entry goes before its task does.
_owners: dict[int, Owner] = {}


def _end_owner(owner: weakref.ref[Task[Any]]) -> None:
    assert isinstance(owner, Owner)
    if _owners.pop(owner.key, None) is not None:
        owner.part.owners.discard(owner)
        _exit(owner.number)


def _task_done(task: Task[Any]) -> None:
    owner = _owners.get(id(task))
    if owner is not None:
        _end_owner(owner)
        owner.part.kick()


class LoopPart:
    """What an event loop has of the library."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        host = HostLoop("asyncio")
        self.host: HostLoop | None = host
        self.address = host.address
        self.owners: set[Owner] = set()
        self.waits = 0  # tasks of this loop that wait now: if there are none, a release lets nobody here go
        try:
            # In a context of its own: the registration keeps it as long as the loop, and the caller's may have much in
            # it.
            contextvars.Context().run(loop.add_reader, host.fd, _Reader(self))
        except NotImplementedError:
            raise UnsupportedError(f"{type(loop).__name__} cannot watch a file descriptor (add_reader)") from None

    def adopt(self, task: Task[Any]) -> Owner:
        """Makes the library task of ``task``.

        It ends in one of three ways: the task is done; it is collected while it waits for something that will never
        happen; its loop is closed.
        """
        owner = Owner(task, _end_owner)
        owner.key = id(task)
        owner.part = self
        owner.number = task_new(task.get_name())
        _owners[owner.key] = owner
        self.owners.add(owner)
        task.add_done_callback(_task_done)
        return owner

    def kick(self) -> None:
        """Lets those of this event loop go on that a release has just let go, as asyncio's own primitives do: with no
        way round the selector.
        """
        if self.waits:
            self.drain()

    def drain(self) -> None:
        """Runs what is queued. On the loop's thread."""
        host = self.host
        if host is None:
            return
        try:
            host.drain()
        except WrongThreadError:
            # The event loop runs here, so it has moved to this thread.
            host.bind()
            host.drain()
        except (ReentrantError, ClosedResourceError):
            pass

    def end(self) -> None:
        """The event loop has been closed."""
        host, self.host = self.host, None
        if host is None:
            return
        try:
            host.close()
        except WrongThreadError:
            host.bind()
            host.close()
        except ForkedError:
            pass
        for owner in list(self.owners):
            _end_owner(owner)


def _exit(number: int) -> None:
    try:
        _sync.task_exit(number)
    except (StaleTaskError, ForkedError):
        pass


class _Reader:
    """What the event loop calls when the descriptor is readable. The event loop alone refers to it."""

    __slots__ = ("_part",)

    def __init__(self, part: LoopPart) -> None:
        self._part = part

    def __call__(self) -> None:
        self._part.drain()

    def __del__(self) -> None:
        self._part.end()


_parts: weakref.WeakKeyDictionary[AbstractEventLoop, LoopPart] = weakref.WeakKeyDictionary()


def _part_of(loop: AbstractEventLoop) -> LoopPart:
    part = _parts.get(loop)
    if part is None or part.host is None:
        part = _parts[loop] = LoopPart(loop)
    return part


def owner_here() -> Owner | None:
    """The library task of the running asyncio task. None where there is none: then it is the thread that acts."""
    try:
        task = current_task()
    except RuntimeError:
        return None
    if task is None:
        return None
    return _owners.get(id(task)) or _part_of(task.get_loop()).adopt(task)


def waiter(owner: Owner | None) -> tuple[LoopPart, int]:
    """The running loop's part; and the library task that waits there, ``owner`` or that of the running task.
    RuntimeError outside of a task.
    """
    part = _part_of(asyncio.get_running_loop())
    if owner is None:
        owner = owner_here()
        if owner is None:
            raise RuntimeError(
                "only a task can wait for it, for a task is who owns it; this is a callback of the event loop"
            )
    return part, owner.number


def kick() -> None:
    """`LoopPart.kick` of the event loop that runs here, if one does."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    part = _parts.get(loop)
    if part is not None:
        part.kick()


class Wait:
    """One wait of one task: what an operation tells, and what the task awaits.

    The library keeps it until it is told. So it refers to the task's future weakly: a task that waits for something
    that will never happen can be collected, and then leaves the line.
    """

    __slots__ = ("future", "part", "status", "value")

    def __init__(self, part: LoopPart) -> None:
        self.part = part
        self.future: weakref.ref[Future[None]] | None = None
        self.status = _PENDING
        self.value: Any = None

    def __call__(self, status: int, value: Any) -> None:
        """``done`` of the operation."""
        self.status = status
        self.value = value
        future = self.future() if self.future is not None else None
        if future is not None and not future.done():
            try:
                future.set_result(None)
            except RuntimeError:
                pass  # the event loop is closed, and nobody will ever go on

    async def told(self) -> None:
        """Waits until it is told. If that is cancelled, the operation goes on."""
        if self.status == _PENDING:
            future = asyncio.get_running_loop().create_future()
            self.future = weakref.ref(future)
            self.part.waits += 1
            try:
                await future
            finally:
                self.part.waits -= 1

    @property
    def is_pending(self) -> bool:
        """Not told yet."""
        return self.status == _PENDING

    @property
    def is_granted(self) -> bool:
        """Whether the operation brought what was asked for."""
        return self.status >= 0 and self.status != _PENDING

    def outcome(self) -> Any:
        """What was granted, or the error raised."""
        value, self.value = self.value, None
        if self.status >= 0:
            return value
        assert isinstance(value, Exception)
        try:
            raise value
        finally:
            del value


async def granted(wait: Wait, op: _sync.Op, undo: Callable[[], object]) -> Any:
    """Waits for the end of the operation. If the task is cancelled, it leaves the line; what had been granted by then
    is given back by ``undo``.
    """
    try:
        await wait.told()
    except BaseException:
        if not op.abandon() and wait.is_granted:
            undo()
        kick()
        raise
    return wait.outcome()


async def kept(wait: Wait, op: _sync.Op, withdraw: Callable[[], bool]) -> Any:
    """Waits for the end of an operation that cannot be undone: an item was sent, or received.

    If the task is cancelled when it is too late for ``withdraw``, the operation's result counts, and the task has its
    CancelledError at the next place where it waits; unless whoever cancelled it has taken that back by then, as a
    timeout does when its block is left.
    """
    cancelled: CancelledError | None = None
    while wait.is_pending:
        try:
            await wait.told()
        except CancelledError as error:
            if withdraw():
                raise
            # Granted. It is told now, or, if another thread is about to put it into the loop's queue, in a moment.
            cancelled = error
            wait.part.drain()
        except BaseException:
            withdraw()
            raise
    if cancelled is not None:
        _cancel_again(cancelled)
        cancelled = None
    return wait.outcome()


def _cancel_again(error: CancelledError) -> None:
    task = current_task()
    if task is not None:
        count = 0
        if sys.version_info >= (3, 11):
            count = task.cancelling()
        task.get_loop().call_soon(_deliver_cancel, task, count, error.args[0] if error.args else None)


def _deliver_cancel(task: Task[Any], count: int, message: Any) -> None:
    if task.done():
        return
    if sys.version_info >= (3, 11) and count > 0:
        if task.cancelling() >= count:  # still wanted
            task.cancel(message)
            task.uncancel()  # of these two one was there before
    else:
        task.cancel(message)


async def notified(wait: Wait, op: _sync.Op, notify: Callable[[], object]) -> None:
    """Waits for the end of a condition's wait. A cancelled one has its lock back before it ends, and passes a
    notification on.
    """
    cancelled: CancelledError | None = None
    while wait.is_pending:
        try:
            await wait.told()
        except CancelledError as error:
            cancelled = error
            op.cancel()
            wait.part.drain()
        except BaseException:
            op.abandon()
            kick()
            raise
    if cancelled is None:
        wait.outcome()
        return
    try:
        if op.holds_lock:
            # It may have been notified before it was cancelled; one that wakes for nothing looks, and waits again.
            notify()
            raise cancelled
        raise cancelled from wait.value  # the lock broke, or was closed
    finally:
        del cancelled

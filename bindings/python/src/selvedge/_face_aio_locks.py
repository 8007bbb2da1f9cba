"""`selvedge.aio`: what one has or waits for in a line: locks, conditions, semaphores."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Literal, TypeVar

from selvedge import _sync
from selvedge._face_aio import Owner, Wait, granted, kick, notified, owner_here, waiter
from selvedge._face_aio_base import AioFace, own_number
from selvedge._faces import ConditionFace, LockFace, SemaphoreFace, native_of

__all__ = ["BoundedSemaphore", "Condition", "Lock", "RLock", "Semaphore"]

_T = TypeVar("_T")
_L = TypeVar("_L", bound="_sync.Lock | _sync.RLock")


class _TaskLock(LockFace[_L], AioFace[_L]):
    __slots__ = ()

    def acquire(self) -> Coroutine[Any, Any, Literal[True]]:
        """Takes the lock, waiting for it, for the task that makes this call. To be awaited; always True.

        DeadlockError if the wait would close a ring; BrokenResourceError if the owner ended while holding it;
        ClosedResourceError.
        """
        return self._acquire(owner_here())

    async def _acquire(self, owner: Owner | None) -> Literal[True]:
        native = self._native
        if owner is None or not native.acquire(False, task=owner.number):
            part, number = waiter(owner)
            wait = Wait(part)
            op = native.acquire_async(number, part.address, wait)
            if op is not None:
                await granted(wait, op, lambda: native.release(task=number))
        return True

    def release(self) -> None:
        """Gives it back, to whoever is first in line. NotOwnerError if this task does not hold it. Does not wait."""
        owner = owner_here()
        if owner is None:
            self._native.release()
            kick()
        else:
            self._native.release(task=owner.number)
            owner.part.kick()

    # These two are `acquire` and `release`, with fewer calls.

    async def __aenter__(self) -> None:
        owner = owner_here()
        if owner is None or not self._native.acquire(False, task=owner.number):
            await self._acquire(owner)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        owner = owner_here()
        if owner is None:
            self.release()
        else:
            self._native.release(task=owner.number)
            owner.part.kick()

    def repair(self) -> None:
        """Takes a broken lock and makes it whole: for who has put right what it protects, or is going to. ValueError if
        it is not broken.
        """
        self._native.repair(task=own_number())


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


class RLock(_TaskLock[_sync.RLock]):
    """A `Lock` that its task may acquire again, and releases as often."""

    __slots__ = ()

    def __init__(self, shared: _sync.Face[_sync.RLock] | None = None, *, name: str | None = None) -> None:
        super().__init__(
            _sync.RLock(name=name, strict_fifo=True) if shared is None else native_of(shared, _sync.RLock, "RLock")
        )


class Condition(ConditionFace[Lock | RLock], AioFace[_sync.Condition]):
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

    def acquire(self) -> Coroutine[Any, Any, Literal[True]]:
        """Takes the lock: see `Lock.acquire`."""
        return self._lock.acquire()

    def release(self) -> None:
        """Gives the lock back: see `Lock.release`."""
        self._lock.release()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A wait that ended with BrokenResourceError does not hold the lock; that error is not to be hidden by another
        # one.
        if error is None or self._native.lock.owner == own_number():
            self.release()

    def wait(self) -> Coroutine[Any, Any, Literal[True]]:
        """Lets go of the lock, waits to be notified, and has the lock back. To be awaited; always True.

        A cancelled wait has the lock back, too, before it ends, and passes a notification that it may have had on to
        another. NotOwnerError if the task that makes this call does not hold the lock; BrokenResourceError if the lock
        breaks meanwhile, and ClosedResourceError if it is closed: then it is not held.
        """
        return self._wait(owner_here())

    async def _wait(self, owner: Owner | None) -> Literal[True]:
        part, number = waiter(owner)
        native = self._native
        wait = Wait(part)
        op = native.wait_async(number, part.address, wait)
        kick()
        await notified(wait, op, lambda: native.notify(task=number))
        return True

    def wait_for(self, predicate: Callable[[], _T]) -> Coroutine[Any, Any, _T]:
        """Waits until ``predicate()`` is true; returns its value. To be awaited; the rest is as `wait` has it."""
        return self._wait_for(predicate, owner_here())

    async def _wait_for(self, predicate: Callable[[], _T], owner: Owner | None) -> _T:
        while not (result := predicate()):
            await self._wait(owner)
        return result

    def notify(self, n: int = 1) -> None:
        """Notifies up to ``n`` waiters, who waits longest first; they go in line for the lock. NotOwnerError if this
        task does not hold it.
        """
        self._native.notify(n, task=own_number())

    def notify_all(self) -> None:
        """Notifies all."""
        self._native.notify_all(task=own_number())


class Semaphore(SemaphoreFace, AioFace[_sync.Semaphore]):
    """A number of permits, which nobody owns. First come, first served.

    value: how many are free at first, or another face of a semaphore, of which this is to be one.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(self, value: int | _sync.Face[_sync.Semaphore] = 1, *, name: str | None = None) -> None:
        super().__init__(
            _sync.Semaphore(value, name=name)
            if isinstance(value, int)
            else native_of(value, _sync.Semaphore, "Semaphore")
        )

    async def acquire(self, n: int = 1) -> Literal[True]:
        """Takes ``n`` permits, waiting for them. Always True. ClosedResourceError."""
        native = self._native
        if not native.acquire(False, n=n):
            part, number = waiter(None)
            wait = Wait(part)
            op = native.acquire_async(number, part.address, wait, n)
            if op is not None:
                await granted(wait, op, lambda: native.release(n))
        return True

    def release(self, n: int = 1) -> None:
        """Gives ``n`` permits back, or makes them. LimitError (a ValueError) of a `BoundedSemaphore` that would have
        too many.
        """
        self._native.release(n)
        kick()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def locked(self) -> bool:
        """Whether an acquire would have to wait."""
        stats = self._native.stats()
        return stats["permits"] == 0 or stats["waiting"] > 0


class BoundedSemaphore(Semaphore):
    """A `Semaphore` that never has more permits than at first."""

    __slots__ = ()

    def __init__(self, value: int | _sync.Face[_sync.BoundedSemaphore] = 1, *, name: str | None = None) -> None:
        native = native_of(value, _sync.BoundedSemaphore, "BoundedSemaphore") if not isinstance(value, int) else None
        super().__init__(_sync.BoundedSemaphore(value, name=name) if native is None else native)

"""Locks for asyncio, with asyncio's signatures, on objects that threads and Trio tasks can share.

Each class makes a new object, or is another face of one that exists::

    lock = selvedge.aio.Lock()
    lock = selvedge.aio.Lock(thread_lock)  # a selvedge.sync.Lock, or a selvedge.trio.Lock

All who want it, threads, asyncio tasks of any event loop, Trio tasks, greenlets, stand in one line, in order. The same face may be used by
several event loops, on several threads. Methods that do not wait (``release``, ``set``, ``notify`` ...) may be called on any thread; outside of
a task they act for the thread.

**Whose.** What is owned belongs to the asyncio task that called ``acquire``, and only that releases it. (So ``wait_for(lock.acquire(), 1)`` is for the
caller, also where asyncio awaits it in a task of its own.) If a task ends while it holds a lock, the lock breaks: everybody who waits, and
everybody who comes later, has `selvedge.BrokenResourceError` instead of waiting for ever. A wait that would close a ring of such waits, of
whatever kind, raises `selvedge.DeadlockError`, which tells the ring; and so does a `Lock` acquired twice.

**Cancelling.** A cancelled task leaves the line. If it had been granted what it waited for and has not come to run, that goes to the next, as
with asyncio's own locks; nothing is lost. An item that was sent or received on a `Channel` cannot be undone: there the result counts, and the
cancellation comes at the next ``await``. `asyncio.timeout` and `asyncio.wait_for` work as always.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from selvedge import _sync
from selvedge._errors import ClosedResourceError, WouldBlock
from selvedge._face_aio import Owner, Wait, granted, kept, kick, notified, owner_here, waiter
from selvedge._face_barrier import BrokenBarrierError as _BrokenBarrierError
from selvedge._face_barrier import SharedBarrier
from selvedge._faces import ClosableFace, Face, Primitive, native_of, pack, unpack

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "CapacityLimiter",
    "Channel",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
]

_T = TypeVar("_T")
_P = TypeVar("_P", bound=Primitive)
_L = TypeVar("_L", bound="_sync.Lock | _sync.RLock")

if sys.version_info >= (3, 11):

    class BrokenBarrierError(_BrokenBarrierError, asyncio.BrokenBarrierError):
        """The barrier was aborted, or reset while somebody waited, or somebody's wait timed out, or its action failed."""

else:
    BrokenBarrierError = _BrokenBarrierError


def _own_number() -> int:
    """The library task of the running asyncio task; 0, the thread's own, where there is none."""
    owner = owner_here()
    return 0 if owner is None else owner.number


class _AioFace(ClosableFace[_P]):
    __slots__ = ()

    def close(self) -> None:
        """Sends everybody in line away with ClosedResourceError, and lets nobody in any more. Any thread; does not wait."""
        self._native.close()
        kick()


class _TaskLock(_AioFace[_L]):
    __slots__ = ()

    def acquire(self) -> Coroutine[Any, Any, Literal[True]]:
        """Takes the lock, waiting for it, for the task that makes this call. To be awaited; always True.

        DeadlockError if the wait would close a ring; BrokenResourceError if the owner ended while holding it; ClosedResourceError.
        """
        return self._acquire(owner_here())

    async def _acquire(self, owner: Owner | None) -> Literal[True]:
        native = self._native
        if owner is None or not native.acquire(False, task=owner.number):
            part, number = waiter(owner)
            wait = Wait()
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
            owner.part.drain()

    async def __aenter__(self) -> None:
        owner = owner_here()
        if owner is None or not self._native.acquire(False, task=owner.number):
            await self._acquire(owner)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()

    def locked(self) -> bool:
        """Whether somebody holds it: a task, a thread, whoever."""
        return self._native.locked()

    @property
    def broken(self) -> bool:
        """Whether its owner ended while holding it."""
        return self._native.broken

    def repair(self) -> None:
        """Takes a broken lock and makes it whole: for who has put right what it protects, or is going to. ValueError if it is not broken."""
        self._native.repair(task=_own_number())

    def _describe(self) -> str:
        return ("locked" if self.locked() else "unlocked") + self._waiting()


class Lock(_TaskLock[_sync.Lock]):
    """A lock that belongs to a task. ``async with lock: ...``

    shared: another face of a lock, of which this is to be one; None makes a new lock, which is always handed over in order.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(self, shared: _sync.Face[_sync.Lock] | None = None, *, name: str | None = None) -> None:
        super().__init__(_sync.Lock(name=name, strict_fifo=True) if shared is None else native_of(shared, _sync.Lock, "Lock"))


class RLock(_TaskLock[_sync.RLock]):
    """A `Lock` that its task may acquire again, and releases as often."""

    __slots__ = ()

    def __init__(self, shared: _sync.Face[_sync.RLock] | None = None, *, name: str | None = None) -> None:
        super().__init__(_sync.RLock(name=name, strict_fifo=True) if shared is None else native_of(shared, _sync.RLock, "RLock"))


class Condition(_AioFace[_sync.Condition]):
    """Waits for a change of what a lock protects. ``async with condition: ...`` holds the lock.

    lock: a face of a `Lock` or an `RLock`, or of a condition, of which this is to be one; None makes a new `Lock`.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ("_lock",)
    _lock: Lock | RLock

    def __init__(
        self, lock: _sync.Face[_sync.Lock] | _sync.Face[_sync.RLock] | _sync.Face[_sync.Condition] | None = None, *, name: str | None = None
    ) -> None:
        native = _sync.Condition(Lock(name=name) if lock is None else lock, name=name)
        super().__init__(native)
        inner = native.lock
        if isinstance(lock, Lock | RLock):
            self._lock = lock
        else:
            self._lock = Lock(inner) if isinstance(inner, _sync.Lock) else RLock(inner)

    @property
    def lock(self) -> Lock | RLock:
        """The lock."""
        return self._lock

    def acquire(self) -> Coroutine[Any, Any, Literal[True]]:
        """Takes the lock: see `Lock.acquire`."""
        return self._lock.acquire()

    def release(self) -> None:
        """Gives the lock back: see `Lock.release`."""
        self._lock.release()

    def locked(self) -> bool:
        """Whether somebody holds the lock."""
        return self._lock.locked()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        # A wait that ended with BrokenResourceError does not hold the lock; that error is not to be hidden by another one.
        if error is None or self._native.lock.owner == _own_number():
            self.release()

    def wait(self) -> Coroutine[Any, Any, Literal[True]]:
        """Lets go of the lock, waits to be notified, and has the lock back. To be awaited; always True.

        A cancelled wait has the lock back, too, before it ends, and passes a notification that it may have had on to another. NotOwnerError if the
        task that makes this call does not hold the lock; BrokenResourceError if the lock breaks meanwhile, and ClosedResourceError if it is closed:
        then it is not held.
        """
        return self._wait(owner_here())

    async def _wait(self, owner: Owner | None) -> Literal[True]:
        part, number = waiter(owner)
        native = self._native
        wait = Wait()
        op = native.wait_async(number, part.address, wait)
        kick()
        await notified(wait, op, part, lambda: native.notify(task=number))
        return True

    async def wait_for(self, predicate: Callable[[], _T]) -> _T:
        """Waits until ``predicate()`` is true; returns its value."""
        while not (result := predicate()):
            await self.wait()
        return result

    def notify(self, n: int = 1) -> None:
        """Notifies up to ``n`` waiters, who waits longest first; they go in line for the lock. NotOwnerError if this task does not hold it."""
        self._native.notify(n, task=_own_number())

    def notify_all(self) -> None:
        """Notifies all."""
        self._native.notify_all(task=_own_number())

    def _describe(self) -> str:
        return ("locked" if self.locked() else "unlocked") + self._waiting()


class Semaphore(_AioFace[_sync.Semaphore]):
    """A number of permits, which nobody owns. First come, first served.

    value: how many are free at first, or another face of a semaphore, of which this is to be one.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(self, value: int | _sync.Face[_sync.Semaphore] = 1, *, name: str | None = None) -> None:
        super().__init__(_sync.Semaphore(value, name=name) if isinstance(value, int) else native_of(value, _sync.Semaphore, "Semaphore"))

    async def acquire(self, n: int = 1) -> Literal[True]:
        """Takes ``n`` permits, waiting for them. Always True. ClosedResourceError."""
        native = self._native
        if not native.acquire(False, n=n):
            part, number = waiter(None)
            wait = Wait()
            op = native.acquire_async(number, part.address, wait, n)
            if op is not None:
                await granted(wait, op, lambda: native.release(n))
        return True

    def release(self, n: int = 1) -> None:
        """Gives ``n`` permits back, or makes them. LimitError (a ValueError) of a `BoundedSemaphore` that would have too many."""
        self._native.release(n)
        kick()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()

    @property
    def value(self) -> int:
        """Permits that are free now."""
        return self._native.value

    def locked(self) -> bool:
        """Whether an acquire would have to wait."""
        stats = self._native.stats()
        return stats["permits"] == 0 or stats["waiting"] > 0

    def _describe(self) -> str:
        value = self._native.value
        return (f"unlocked, value:{value}" if value else "locked") + self._waiting()


class BoundedSemaphore(Semaphore):
    """A `Semaphore` that never has more permits than at first."""

    __slots__ = ()

    def __init__(self, value: int | _sync.Face[_sync.BoundedSemaphore] = 1, *, name: str | None = None) -> None:
        native = native_of(value, _sync.BoundedSemaphore, "BoundedSemaphore") if not isinstance(value, int) else None
        super().__init__(_sync.BoundedSemaphore(value, name=name) if native is None else native)


class Event(_AioFace[_sync.Event]):
    """Something that has happened or not. Who waits when it is set goes, also if it is cleared at once.

    shared: another face of an event, of which this is to be one; None makes a new one.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(self, shared: _sync.Face[_sync.Event] | None = None, *, name: str | None = None) -> None:
        super().__init__(_sync.Event(name=name) if shared is None else native_of(shared, _sync.Event, "Event"))

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._native.is_set()

    def set(self) -> None:
        """Sets it: everybody who waits goes. Any thread; does not wait."""
        self._native.set()
        kick()

    def clear(self) -> None:
        """Clears it. Any thread; does not wait."""
        self._native.clear()

    async def wait(self) -> Literal[True]:
        """Waits until it is set. Always True. ClosedResourceError."""
        if not self._native.is_set():
            part, number = waiter(None)
            wait = Wait()
            op = self._native.wait_async(number, part.address, wait)
            if op is not None:
                await granted(wait, op, lambda: None)
        return True

    def _describe(self) -> str:
        return ("set" if self.is_set() else "unset") + self._waiting()


class Barrier(Face[SharedBarrier]):
    """A place where ``parties`` wait for each other. ``async with barrier as index: ...`` waits, too.

    parties: how many, or another face of a barrier, of which this is to be one.
    """

    __slots__ = ()

    def __init__(self, parties: int | _sync.Face[SharedBarrier], *, name: str | None = None) -> None:
        super().__init__(SharedBarrier(parties, name=name) if isinstance(parties, int) else native_of(parties, SharedBarrier, "Barrier"))

    async def wait(self) -> int:
        """Waits until all have come. Returns a number from 0 to parties - 1, another for each.

        A cancelled wait leaves, and the barrier waits for another party instead. BrokenBarrierError.
        """
        part, number = waiter(None)
        shared = self._native
        try:
            arrival = shared.arrive()
            if arrival.is_last:
                kick()
                return shared.check(arrival)
            wait = Wait()
            op = arrival.go.wait_async(number, part.address, wait)
            if op is not None:
                try:
                    await granted(wait, op, lambda: None)
                except BaseException:
                    shared.leave(arrival, breaks=False)
                    raise
            return shared.check(arrival)
        except _BrokenBarrierError as error:
            raise BrokenBarrierError(str(error)) from None

    async def __aenter__(self) -> int:
        return await self.wait()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        pass

    async def abort(self) -> None:
        """Breaks the barrier: who waits and who comes later has BrokenBarrierError. Does not wait."""
        self._native.abort()
        kick()

    async def reset(self) -> None:
        """Makes it as new; who waits has BrokenBarrierError. Does not wait."""
        self._native.reset()
        kick()

    @property
    def parties(self) -> int:
        """How many it takes."""
        return self._native.parties

    @property
    def n_waiting(self) -> int:
        """How many wait."""
        return self._native.n_waiting

    @property
    def broken(self) -> bool:
        """Whether it is broken, until a `reset`."""
        return self._native.broken

    def _describe(self) -> str:
        return f"{'broken' if self.broken else 'filling'}, waiters:{self.n_waiting}/{self.parties}"


class CapacityLimiter(_AioFace[_sync.CapacityLimiter]):
    """A number of tokens, at most one for each borrower. A task that ends returns its token.

    total_tokens: how many, ``math.inf`` for no bound, or another face of a limiter, of which this is to be one.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(self, total_tokens: float | _sync.Face[_sync.CapacityLimiter], *, name: str | None = None) -> None:
        if isinstance(total_tokens, int | float):
            super().__init__(_sync.CapacityLimiter(total_tokens, name=name))
        else:
            super().__init__(native_of(total_tokens, _sync.CapacityLimiter, "CapacityLimiter"))

    def acquire(self) -> Coroutine[Any, Any, None]:
        """Borrows a token for the task that makes this call, waiting for it. To be awaited.

        DuplicateError if it has one; DeadlockError (of a limiter of 1); ClosedResourceError.
        """
        return self._acquire(None, owner_here())

    def acquire_on_behalf_of(self, borrower: object) -> Coroutine[Any, Any, None]:
        """Borrows a token for something that is no task, any hashable object: it has the token until `release_on_behalf_of`. To be awaited."""
        return self._acquire(borrower, owner_here())

    async def _acquire(self, borrower: object, owner: Owner | None) -> None:
        part, number = waiter(owner)
        native = self._native
        wait = Wait()
        op = native.acquire_async(number, part.address, wait, on_behalf_of=borrower)
        if op is not None:
            await granted(wait, op, lambda: native.release(on_behalf_of=borrower, task=number))

    def acquire_nowait(self) -> None:
        """`acquire` that raises WouldBlock instead of waiting."""
        self.acquire_on_behalf_of_nowait(None)

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """`acquire_on_behalf_of` that raises WouldBlock instead of waiting."""
        if not self._native.acquire(False, on_behalf_of=borrower, task=_own_number()):
            raise WouldBlock("no token is free")

    def release(self) -> None:
        """Returns this task's token. NotOwnerError if it has none. Does not wait."""
        self.release_on_behalf_of(None)

    def release_on_behalf_of(self, borrower: object) -> None:
        """Returns the token of ``borrower``."""
        self._native.release(on_behalf_of=borrower, task=_own_number())
        kick()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()

    @property
    def total_tokens(self) -> float:
        """How many there are; may be set, also below what is borrowed."""
        return self._native.total_tokens

    @total_tokens.setter
    def total_tokens(self, total: float) -> None:
        self._native.total_tokens = total
        kick()

    @property
    def borrowed_tokens(self) -> int:
        """How many are out."""
        return self._native.borrowed_tokens

    @property
    def available_tokens(self) -> float:
        """How many are free."""
        return self._native.available_tokens

    def _describe(self) -> str:
        return f"{self.borrowed_tokens}/{self.total_tokens}{self._waiting()}"


class Channel(_AioFace[_sync.Channel]):
    """A line of items from any senders to any receivers. ``async for item in channel: ...`` receives until it is closed.

    capacity: how many items it holds before a send waits; None: any number; 0: none, each send waits for its receiver; or another face of a
    channel, of which this is to be one. Objects are pickled, as those of `selvedge.sync.Channel`; bytes go as they are.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(self, capacity: int | _sync.Face[_sync.Channel] | None = None, *, name: str | None = None) -> None:
        if capacity is None or isinstance(capacity, int):
            super().__init__(_sync.Channel(capacity, name=name))
        else:
            super().__init__(native_of(capacity, _sync.Channel, "Channel"))

    async def send(self, obj: object) -> None:
        """Sends an object, waiting for room. ClosedResourceError. On an error, and when this is cancelled, it was not sent."""
        await self.send_bytes(pack(obj))

    async def recv(self) -> Any:
        """Receives the next object, waiting for one. ClosedResourceError when it is closed and empty. Only for senders that one trusts: it unpickles."""
        return unpack(await self.recv_bytes())

    async def send_bytes(self, data: Buffer) -> None:
        """Sends bytes: see `send`."""
        part, number = waiter(None)
        wait = Wait()
        op = self._native.send_bytes_async(number, part.address, wait, data)
        kick()
        if op is not None:
            await kept(wait, op, op.cancel)

    async def recv_bytes(self) -> bytes:
        """Receives bytes: see `recv`."""
        try:
            data = self._native.recv_bytes_nowait()
        except WouldBlock:
            part, number = waiter(None)
            wait = Wait()
            op = self._native.recv_bytes_async(number, part.address, wait)
            data = await kept(wait, op, op.abandon)
        else:
            kick()
        return data

    def send_nowait(self, obj: object) -> None:
        """`send` that raises WouldBlock instead of waiting."""
        self.send_bytes_nowait(pack(obj))

    def recv_nowait(self) -> Any:
        """`recv` that raises WouldBlock instead of waiting."""
        return unpack(self.recv_bytes_nowait())

    def send_bytes_nowait(self, data: Buffer) -> None:
        """`send_bytes` that raises WouldBlock instead of waiting."""
        self._native.send_bytes_nowait(data)
        kick()

    def recv_bytes_nowait(self) -> bytes:
        """`recv_bytes` that raises WouldBlock instead of waiting."""
        data = self._native.recv_bytes_nowait()
        kick()
        return data

    @property
    def capacity(self) -> int | None:
        """How many items it holds before a send waits; None: any number."""
        return self._native.capacity

    def __len__(self) -> int:
        return len(self._native)

    def __bool__(self) -> bool:
        return True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.recv()
        except ClosedResourceError:
            raise StopAsyncIteration from None

    def _describe(self) -> str:
        return f"{len(self)} items" + (", closed" if self.closed else "")

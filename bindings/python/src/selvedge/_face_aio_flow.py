"""`selvedge.aio`: events, barriers, limiters, channels."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from selvedge import _sync
from selvedge._errors import ClosedResourceError, WouldBlock
from selvedge._face_aio import Owner, Wait, granted, kept, kick, owner_here, waiter
from selvedge._face_aio_base import AioFace, own_number
from selvedge._face_barrier import BrokenBarrierError as _BrokenBarrierError
from selvedge._face_barrier import SharedBarrier
from selvedge._faces import BarrierFace, ChannelFace, EventFace, LimiterFace, native_of, pack, unpack

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Barrier", "BrokenBarrierError", "CapacityLimiter", "Channel", "Event"]

if sys.version_info >= (3, 11):

    class BrokenBarrierError(_BrokenBarrierError, asyncio.BrokenBarrierError):
        """The barrier was aborted, or reset while somebody waited, or somebody's wait timed out, or its action
        failed.
        """

else:
    BrokenBarrierError = _BrokenBarrierError


class Event(EventFace, AioFace[_sync.Event]):
    """Something that has happened or not. Who waits when it is set goes, also if it is cleared at once.

    shared: another face of an event, of which this is to be one; None makes a new one.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(self, shared: _sync.Face[_sync.Event] | None = None, *, name: str | None = None) -> None:
        super().__init__(_sync.Event(name=name) if shared is None else native_of(shared, _sync.Event, "Event"))

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
            wait = Wait(part)
            op = self._native.wait_async(number, part.address, wait)
            if op is not None:
                await granted(wait, op, lambda: None)
        return True


class Barrier(BarrierFace):
    """A place where ``parties`` wait for each other. ``async with barrier as index: ...`` waits, too.

    parties: how many, or another face of a barrier, of which this is to be one.
    """

    __slots__ = ()

    def __init__(self, parties: int | _sync.Face[SharedBarrier], *, name: str | None = None) -> None:
        super().__init__(
            SharedBarrier(parties, name=name)
            if isinstance(parties, int)
            else native_of(parties, SharedBarrier, "Barrier")
        )

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
            wait = Wait(part)
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

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def abort(self) -> None:
        """Breaks the barrier: who waits and who comes later has BrokenBarrierError. Does not wait."""
        self._native.abort()
        kick()

    async def reset(self) -> None:
        """Makes it as new; who waits has BrokenBarrierError. Does not wait."""
        self._native.reset()
        kick()


class CapacityLimiter(LimiterFace, AioFace[_sync.CapacityLimiter]):
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
        """Borrows a token for something that is no task, any hashable object: it has the token until
        `release_on_behalf_of`. To be awaited.
        """
        return self._acquire(borrower, owner_here())

    async def _acquire(self, borrower: object, owner: Owner | None) -> None:
        part, number = waiter(owner)
        native = self._native
        wait = Wait(part)
        op = native.acquire_async(number, part.address, wait, on_behalf_of=borrower)
        if op is not None:
            await granted(wait, op, lambda: native.release(on_behalf_of=borrower, task=number))

    def acquire_nowait(self) -> None:
        """`acquire` that raises WouldBlock instead of waiting."""
        self.acquire_on_behalf_of_nowait(None)

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """`acquire_on_behalf_of` that raises WouldBlock instead of waiting."""
        if not self._native.acquire(False, on_behalf_of=borrower, task=own_number()):
            raise WouldBlock("no token is free")

    def release(self) -> None:
        """Returns this task's token. NotOwnerError if it has none. Does not wait."""
        self.release_on_behalf_of(None)

    def release_on_behalf_of(self, borrower: object) -> None:
        """Returns the token of ``borrower``."""
        self._native.release(on_behalf_of=borrower, task=own_number())
        kick()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    @property
    def total_tokens(self) -> float:
        """How many there are; may be set, also below what is borrowed."""
        return self._native.total_tokens

    @total_tokens.setter
    def total_tokens(self, total: float) -> None:
        self._native.total_tokens = total
        kick()


class Channel(ChannelFace, AioFace[_sync.Channel]):
    """A line of items from any senders to any receivers. ``async for item in channel: ...`` receives until it is
    closed.

    capacity: how many items it holds before a send waits; None: any number; 0: none, each send waits for its receiver;
    or another face of a channel, of which this is to be one. Objects are pickled, as those of `selvedge.sync.Channel`;
    bytes go as they are.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(self, capacity: int | _sync.Face[_sync.Channel] | None = None, *, name: str | None = None) -> None:
        if capacity is None or isinstance(capacity, int):
            super().__init__(_sync.Channel(capacity, name=name))
        else:
            super().__init__(native_of(capacity, _sync.Channel, "Channel"))

    async def send(self, obj: object) -> None:
        """Sends an object, waiting for room. ClosedResourceError. On an error, and when this is cancelled, it was not
        sent.
        """
        await self.send_bytes(pack(obj))

    async def recv(self) -> Any:
        """Receives the next object, waiting for one. ClosedResourceError when it is closed and empty. Only for senders
        that one trusts: it unpickles.
        """
        return unpack(await self.recv_bytes())

    async def send_bytes(self, data: Buffer) -> None:
        """Sends bytes: see `send`."""
        part, number = waiter(None)
        wait = Wait(part)
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
            wait = Wait(part)
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

    # The names that Trio has for it.
    receive = recv
    receive_bytes = recv_bytes
    receive_nowait = recv_nowait
    receive_bytes_nowait = recv_bytes_nowait

    async def __anext__(self) -> Any:
        try:
            return await self.recv()
        except ClosedResourceError:
            raise StopAsyncIteration from None

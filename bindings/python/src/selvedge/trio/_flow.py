"""Events, barriers, limiters and channels for Trio."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled, enable_ki_protection

from selvedge import _errors, _sync
from selvedge._face_barrier import SharedBarrier
from selvedge._faces import BarrierFace, ChannelFace, EventFace, LimiterFace, native_of, pack, unpack
from selvedge.trio._base import HeldFace, TrioFace, call, wait_in_line
from selvedge.trio._loop import Owner, RunPart, Wait, kick, owner_here, part_here
from selvedge.trio._trio_errors import EndOfChannel, WouldBlock

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Barrier", "CapacityLimiter", "Channel", "Event"]


class Event(EventFace, TrioFace[_sync.Event]):
    """Something that has happened or not. Like Trio's it cannot be cleared here; if another face clears it, who was
    waiting goes all the same.

    shared: another face of an event, of which this is to be one; None makes a new one.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(self, shared: _sync.Face[_sync.Event] | None = None, *, name: str | None = None) -> None:
        super().__init__(_sync.Event(name=name) if shared is None else native_of(shared, _sync.Event, "Event"))

    @enable_ki_protection
    def set(self) -> None:
        """Sets it: everybody who waits goes. Any thread; does not wait. ClosedResourceError."""
        call(self._native.set)
        kick()

    @enable_ki_protection
    async def wait(self) -> None:
        """Waits until it is set. ClosedResourceError."""
        await wait_in_line(None, self._native.wait_async)

    def statistics(self) -> trio.EventStatistics:
        """``tasks_waiting`` (of all kinds)."""
        return trio.EventStatistics(tasks_waiting=self._native.stats()["waiting"])

    def __bool__(self) -> bool:
        raise NotImplementedError("an event is no bool: ask event.is_set()")


class Barrier(BarrierFace):
    """A place where ``parties`` wait for each other.

    parties: how many, or another face of a barrier, of which this is to be one.
    """

    __slots__ = ()

    def __init__(self, parties: int | _sync.Face[SharedBarrier], *, name: str | None = None) -> None:
        super().__init__(
            SharedBarrier(parties, name=name)
            if isinstance(parties, int)
            else native_of(parties, SharedBarrier, "Barrier")
        )

    @enable_ki_protection
    async def wait(self) -> int:
        """Waits until all have come. Returns a number from 0 to parties - 1, another for each.

        A cancelled wait leaves, and the barrier waits for another party instead. BrokenBarrierError.
        """
        await checkpoint_if_cancelled()
        shared = self._native
        arrival = call(shared.arrive)
        if arrival.is_last:
            kick()
            await cancel_shielded_checkpoint()
        else:
            try:
                await wait_in_line(None, arrival.go.wait_async)
            except BaseException:
                shared.leave(arrival, breaks=False)
                raise
        return call(partial(shared.check, arrival))

    @enable_ki_protection
    def abort(self) -> None:
        """Breaks the barrier: who waits and who comes later has BrokenBarrierError. Does not wait."""
        self._native.abort()
        kick()

    @enable_ki_protection
    def reset(self) -> None:
        """Makes it as new; who waits has BrokenBarrierError. Does not wait."""
        self._native.reset()
        kick()


class CapacityLimiter(LimiterFace, HeldFace[_sync.CapacityLimiter]):
    """A number of tokens, at most one for each borrower. A task that ends returns its token.

    total_tokens: how many, ``math.inf`` for no bound, or another face of a limiter, of which this is to be one.
    name: what messages and the wait graph call a new one.
    """

    __slots__ = ()

    def __init__(self, total_tokens: float | _sync.Face[_sync.CapacityLimiter], *, name: str | None = None) -> None:
        if isinstance(total_tokens, int | float):
            super().__init__(_sync.CapacityLimiter(_check_total(total_tokens), name=name))
        else:
            super().__init__(native_of(total_tokens, _sync.CapacityLimiter, "CapacityLimiter"))

    @property
    def total_tokens(self) -> float:
        """How many there are; may be set, also below what is borrowed."""
        return self._native.total_tokens

    @total_tokens.setter
    def total_tokens(self, total: float) -> None:
        self._native.total_tokens = _check_total(total)
        kick()

    @enable_ki_protection
    async def acquire(self) -> None:
        """Borrows a token for this task, waiting for it.

        DuplicateError (a RuntimeError) if it has one; DeadlockError (of a limiter of 1); ClosedResourceError.
        """
        await self.acquire_on_behalf_of(None)

    @enable_ki_protection
    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Borrows a token for another Trio task, or any other hashable object. What is no task has it until
        `release_on_behalf_of`.
        """
        native = self._native
        task, thing = _borrower(borrower)
        if task is None:
            await wait_in_line(
                None, lambda waiter, loop, done: native.acquire_async(waiter, loop, done, on_behalf_of=thing)
            )
        else:
            number = part_here().owner_of(task).number
            await wait_in_line(
                None, lambda waiter, loop, done: native.acquire_async(number, loop, done), partial(self._note, task)
            )

    @enable_ki_protection
    def acquire_nowait(self) -> None:
        """`acquire` that raises WouldBlock instead of waiting."""
        self.acquire_on_behalf_of_nowait(None)

    @enable_ki_protection
    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """`acquire_on_behalf_of` that raises WouldBlock instead of waiting."""
        native = self._native
        task, thing = _borrower(borrower)
        number = part_here().owner_of(task).number if task is not None else 0
        if not call(lambda: native.acquire(False, on_behalf_of=thing, task=number)):
            raise WouldBlock("no token is free")
        if task is not None:
            self._note(task)

    @enable_ki_protection
    def release(self) -> None:
        """Returns this task's token. NotOwnerError (a RuntimeError) if it has none. Does not wait."""
        self.release_on_behalf_of(None)

    @enable_ki_protection
    def release_on_behalf_of(self, borrower: object) -> None:
        """Returns the token of ``borrower``."""
        task, thing = _borrower(borrower)
        if task is None:
            self._native.release(on_behalf_of=thing)
        else:
            self._native.release(task=part_here().owner_of(task).number)
            self._holders().pop(task, None)
        kick()

    def _holders(self) -> dict[trio.lowlevel.Task, RunPart]:
        return _holders.setdefault(self._native, {})

    def _note(self, task: trio.lowlevel.Task) -> None:
        self._holders()[task] = part_here()

    def statistics(self) -> trio.CapacityLimiterStatistics:
        """``borrowed_tokens``, ``total_tokens``, ``tasks_waiting`` (of all kinds), ``borrowers`` (of these Trio tasks
        and things, no threads).
        """
        stats = self._native.stats()
        holders = self._holders()
        for task, part in list(holders.items()):
            if not part.has(task):
                del holders[task]  # ended, and its token is returned
        return trio.CapacityLimiterStatistics(
            borrowed_tokens=stats["borrowed"],
            total_tokens=self.total_tokens,
            borrowers=[*holders, *self._native.borrowers],
            tasks_waiting=stats["waiting"],
        )


def _check_total(total: float) -> float:
    if not isinstance(total, int) and total != math.inf:
        raise TypeError("total_tokens must be an int or math.inf")
    if total < 0:
        raise ValueError("total_tokens must be at least 0")
    return total


def _borrower(borrower: object) -> tuple[trio.lowlevel.Task | None, object]:
    """A task, or something else that is to have the token; None is the running task."""
    if borrower is None:
        return trio.lowlevel.current_task(), None
    if isinstance(borrower, trio.lowlevel.Task):
        return borrower, None
    return None, borrower


# Which Trio tasks have a token, for the statistics: the library knows them as numbers.
_holders: WeakKeyDictionary[_sync.CapacityLimiter, dict[trio.lowlevel.Task, RunPart]] = WeakKeyDictionary()


class Channel(ChannelFace, TrioFace[_sync.Channel]):
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

    @enable_ki_protection
    async def send(self, obj: object) -> None:
        """Sends an object, waiting for room. ClosedResourceError. On an error, and when this is cancelled, it was not
        sent.
        """
        await self.send_bytes(pack(obj))

    @enable_ki_protection
    async def receive(self) -> Any:
        """Receives the next object, waiting for one. EndOfChannel when it is closed and empty. Only for senders that
        one trusts: it unpickles.
        """
        return unpack(await self.receive_bytes())

    @enable_ki_protection
    async def send_bytes(self, data: Buffer) -> None:
        """Sends bytes: see `send`."""
        await checkpoint_if_cancelled()
        owner = owner_here()
        wait = Wait(owner.part)
        op = call(lambda: self._native.send_bytes_async(owner.number, owner.part.address(), wait, data))
        owner.part.kick()
        if op is None:
            await cancel_shielded_checkpoint()
        else:
            await wait.sleep(partial(wait.withdraw, op))

    @enable_ki_protection
    async def receive_bytes(self) -> bytes:
        """Receives bytes: see `receive`."""
        await checkpoint_if_cancelled()
        try:
            data = self.receive_bytes_nowait()
        except WouldBlock:
            data = await self._receive_later(owner_here())
        else:
            await cancel_shielded_checkpoint()
        return data

    async def _receive_later(self, owner: Owner) -> bytes:
        wait = Wait(owner.part)
        try:
            op = self._native.recv_bytes_async(owner.number, owner.part.address(), wait)
            received: bytes = await wait.sleep(partial(wait.abandon, op))
            return received
        except _errors.ClosedResourceError as error:
            raise EndOfChannel(*error.args) from None

    @enable_ki_protection
    def send_nowait(self, obj: object) -> None:
        """`send` that raises WouldBlock instead of waiting."""
        self.send_bytes_nowait(pack(obj))

    @enable_ki_protection
    def receive_nowait(self) -> Any:
        """`receive` that raises WouldBlock instead of waiting."""
        return unpack(self.receive_bytes_nowait())

    @enable_ki_protection
    def send_bytes_nowait(self, data: Buffer) -> None:
        """`send_bytes` that raises WouldBlock instead of waiting."""
        call(lambda: self._native.send_bytes_nowait(data))
        kick()

    @enable_ki_protection
    def receive_bytes_nowait(self) -> bytes:
        """`receive_bytes` that raises WouldBlock instead of waiting."""
        try:
            data = call(self._native.recv_bytes_nowait)
        except _errors.ClosedResourceError as error:
            raise EndOfChannel(*error.args) from None
        kick()
        return data

    async def aclose(self) -> None:
        """`close`, and a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    # The names that the other faces have for it.
    recv = receive
    recv_bytes = receive_bytes
    recv_nowait = receive_nowait
    recv_bytes_nowait = receive_bytes_nowait

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except EndOfChannel:
            raise StopAsyncIteration from None

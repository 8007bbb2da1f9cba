"""Channels that every interpreter of the process can hold."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from selvedge import _interpreters
from selvedge._errors import ClosedResourceError, TimedOutError, WouldBlock
from selvedge._interp_wire import check_supported, dumps, loads, note_channel, release_channels

if TYPE_CHECKING or _interpreters.SUPPORTED:
    _Native = _interpreters.Channel
else:

    class _Native:
        def __new__(cls, *args: object, **kwargs: object) -> _Native:
            check_supported("A channel between interpreters")
            raise AssertionError("unreachable")


__all__ = ["Channel", "ChannelStats"]

_RAW, _PICKLED = 0, 1
_NO_ROOM = "the channel had no room in time"

_C = TypeVar("_C", bound="Channel")


def _pack(item: object) -> tuple[int, tuple[int, ...], bytes]:
    if type(item) is bytes:
        return _RAW, (), item
    data, ids = dumps(item)
    return _PICKLED, ids, data


def _unpack(packed: tuple[int, tuple[int, ...], bytes]) -> Any:
    kind, ids, data = packed
    if kind == _RAW:
        return data
    try:
        return loads(data)
    finally:
        release_channels(ids)


class ChannelStats(NamedTuple):
    """How a channel between interpreters stands."""

    queued: int
    """Items that were sent and not received."""
    senders_waiting: int
    receivers_waiting: int
    sent: int
    received: int
    closed: bool


class Channel(_Native):
    """A line of items between threads of any interpreters of this process.

    ``Channel(capacity=None, *, name=None)``: it holds ``capacity`` items before a send waits; None is any number, and
    with 0 a send waits for its receiver. Any number of threads may send and receive; each item is received once, in
    the order of the sends.

    A channel is handed to another interpreter as an argument or result of a job, or in an item of another channel:
    what arrives is a second handle to the same channel. It lives as long as any handle, on its way or not. A pickle
    that one makes oneself does not keep it alive. (Two channels that lie in each other's items keep each other
    alive.)

    Waiting gives back the GIL of the waiting interpreter. On the main thread it is open to signals (Ctrl-C). A job
    that is interrupted while it waits gets its KeyboardInterrupt there. For threads, asyncio and Trio tasks of one
    interpreter there is also ``selvedge.sync.Channel``.

    >>> numbers = Channel()
    >>> numbers.send([1, 2, 3])
    >>> numbers.recv()
    [1, 2, 3]
    """

    __slots__ = ()

    @classmethod
    def attach(cls: type[_C], number: int) -> _C:
        """A handle to the channel with that :attr:`id`, in any interpreter of the process. Raises ClosedResourceError
        if it has gone."""
        check_supported("A channel between interpreters")
        return _interpreters.attach(cls, number)

    def send(self, item: object, timeout: float | None = None) -> None:
        """Sends ``item``: bytes as they are, anything else as a pickle.

        Waits up to ``timeout`` seconds for room; None is for ever. Raises TimedOutError, ClosedResourceError, and what
        pickling raises. Then the item was not sent. Any thread.
        """
        packed = _pack(item)
        try:
            self.send_item(*packed, timeout)
        except WouldBlock:
            raise TimedOutError(_NO_ROOM) from None

    def send_bytes(self, data: bytes | bytearray | memoryview, timeout: float | None = None) -> None:
        """As :meth:`send`, with a copy of any buffer's bytes, which arrive as ``bytes``."""
        try:
            self.send_item(_RAW, (), data, timeout)
        except WouldBlock:
            raise TimedOutError(_NO_ROOM) from None

    def send_nowait(self, item: object) -> None:
        """As :meth:`send`, and raises WouldBlock instead of waiting."""
        self.send_item(*_pack(item), 0)

    def recv(self, timeout: float | None = None) -> Any:
        """Receives the next item, waiting up to ``timeout`` seconds for it; None is for ever.

        Raises TimedOutError; ClosedResourceError if it is closed and empty; and what unpickling raises, when the item
        is gone. Any thread.
        """
        try:
            packed = self.receive_item(timeout)
        except WouldBlock:
            raise TimedOutError("the channel had nothing in time") from None
        return _unpack(packed)

    def recv_nowait(self) -> Any:
        """As :meth:`recv`, and raises WouldBlock instead of waiting."""
        return _unpack(self.receive_item(0))

    def close(self) -> None:
        """Ends sending, for all handles: senders get ClosedResourceError, and so do receivers when the queued items
        are gone. Does not block; may be called again."""
        super().close()

    def stats(self) -> ChannelStats:
        """How the channel stands. Does not block."""
        return ChannelStats(*super().stats())

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` has been called on any handle."""
        return self.stats().closed

    def __len__(self) -> int:
        """Items that were sent and not received."""
        return self.stats().queued

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        """The items, until the channel is closed and empty."""
        while True:
            try:
                item = self.recv()
            except ClosedResourceError:
                return
            yield item

    def __enter__(self: _C) -> _C:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        note_channel(self.id)
        return _attach, (type(self), self.id)

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, Channel) else NotImplemented

    def __hash__(self) -> int:
        return hash(("selvedge.interpreters.Channel", self.id))

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<selvedge.interpreters.Channel {self.id}, {stats.queued} queued{', closed' if stats.closed else ''}>"


Channel.__module__ = "selvedge.interpreters"


def _attach(cls: type[_C], number: int) -> _C:
    return cls.attach(number)

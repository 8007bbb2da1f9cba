"""The exceptions that are both ours and Trio's: what handles the one handles the other."""

from __future__ import annotations

import trio

from selvedge import _errors
from selvedge._face_barrier import BrokenBarrierError as _BrokenBarrierError

__all__ = [
    "BrokenBarrierError",
    "BrokenResourceError",
    "BusyResourceError",
    "ClosedResourceError",
    "EndOfChannel",
    "WouldBlock",
    "as_trio",
]


class BrokenResourceError(_errors.BrokenResourceError, trio.BrokenResourceError):
    """The owner ended while it held the lock. The text names both."""


class NotRecoverableError(BrokenResourceError, _errors.NotRecoverableError):
    """What a robust lock protected was given up."""


class BrokenBarrierError(BrokenResourceError, _BrokenBarrierError):
    """The barrier was aborted, or reset while somebody waited, or somebody's wait timed out, or its action failed."""


class ClosedResourceError(_errors.ClosedResourceError, trio.ClosedResourceError):
    """The object was closed."""


class EndOfChannel(ClosedResourceError, trio.EndOfChannel):
    """The channel was closed, and has been emptied."""


class BusyResourceError(_errors.BusyResourceError, trio.BusyResourceError):
    """The object is in use."""


class WouldBlock(_errors.WouldBlock, trio.WouldBlock):
    """It could be had only by waiting, and the call does not wait."""


_KINDS: dict[type[Exception], type[_errors.SelvedgeError]] = {
    _errors.BrokenResourceError: BrokenResourceError,
    _errors.NotRecoverableError: NotRecoverableError,
    _BrokenBarrierError: BrokenBarrierError,
    _errors.ClosedResourceError: ClosedResourceError,
    _errors.BusyResourceError: BusyResourceError,
    _errors.WouldBlock: WouldBlock,
}


def as_trio(error: Exception) -> Exception:
    """The error as one that Trio's users know; itself if Trio has none for it."""
    kind = _KINDS.get(type(error))
    if kind is None:
        return error
    made = kind(*error.args)
    made.status = getattr(error, "status", kind.status)
    return made

"""What the faces for Trio have in common: how they wait, and how they raise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TypeVar

from trio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled, enable_ki_protection

from selvedge import _errors, _sync
from selvedge._faces import ClosableFace, Primitive
from selvedge.trio._loop import Wait, kick, owner_here
from selvedge.trio._trio_errors import as_trio

_P = TypeVar("_P", bound=Primitive)
_T = TypeVar("_T")

# Each method that waits is a checkpoint, as Trio's own are: it raises Cancelled at once if its scope is cancelled,
# without having taken anything; once it has, it is not cancelled any more, and lets others run before it returns.


def call(fn: Callable[[], _T]) -> _T:
    """Calls into the library, with errors that are also Trio's."""
    try:
        return fn()
    except _errors.SelvedgeError as error:
        known = as_trio(error)
        if known is error:
            raise
        raise known from None


async def wait_in_line(
    take: Callable[[int], bool] | None,
    begin: Callable[[int, int, Wait], _sync.Op | None],
    on_grant: Callable[[], object] | None = None,
) -> None:
    """A wait that may be cancelled until it is over: ``take(task)``, if it can be had at once; else ``begin(task, loop,
    done)``, its operation.
    """
    await checkpoint_if_cancelled()
    owner = owner_here()
    try:
        if take is None or not take(owner.number):
            wait = Wait(owner.part, on_grant)
            op = begin(owner.number, owner.part.address(), wait)
            if op is not None:
                await wait.sleep(partial(wait.abandon, op))
                return
    except _errors.SelvedgeError as error:
        raise as_trio(error) from None
    if on_grant is not None:
        on_grant()
    await cancel_shielded_checkpoint()


class TrioFace(ClosableFace[_P]):
    __slots__ = ()

    def close(self) -> None:
        """Sends everybody in line away with ClosedResourceError, and lets nobody in any more. Any thread; does not
        wait.
        """
        self._native.close()
        kick()


class HeldFace(TrioFace[_P]):
    """What is acquired and released: ``async with`` does both."""

    __slots__ = ()

    async def acquire(self) -> None:
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError

    @enable_ki_protection
    async def __aenter__(self) -> None:
        await self.acquire()

    @enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

"""What the faces for asyncio have in common."""

from __future__ import annotations

from typing import TypeVar

from selvedge._face_aio import kick, owner_here
from selvedge._faces import ClosableFace, Primitive

_P = TypeVar("_P", bound=Primitive)


def own_number() -> int:
    """The library task of the running asyncio task; 0, the thread's own, where there is none."""
    owner = owner_here()
    return 0 if owner is None else owner.number


class AioFace(ClosableFace[_P]):
    __slots__ = ()

    def close(self) -> None:
        """Sends everybody in line away with ClosedResourceError, and lets nobody in any more. Any thread; does not
        wait.
        """
        self._native.close()
        kick()

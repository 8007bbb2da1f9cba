"""What the awaited faces have in common: the native object behind a face.

A face is what a kind of program sees of a lock: `selvedge.sync` blocks, `selvedge.aio` and `selvedge.trio` await. The
object itself is native (`selvedge._sync`), has one line for all who wait, and may have any number of faces. This module
knows neither asyncio nor Trio.
"""

from __future__ import annotations

import pickle
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

from selvedge import _sync

_N = TypeVar("_N")


class Primitive(Protocol):
    """A native object of the C library."""

    @property
    def name(self) -> str | None: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def stats(self) -> dict[str, int]: ...


_P = TypeVar("_P", bound=Primitive)


def native_of(given: object, kind: type[_N], face: str) -> _N:
    """The object behind ``given``, which is to be of this kind. TypeError otherwise."""
    native = getattr(given, "native", None)
    if isinstance(native, kind):
        return native
    raise TypeError(f"{face} takes another face of a {kind.__name__}, not {type(given).__name__}")


class Face(Generic[_N]):
    """What all faces have."""

    __slots__ = ("__weakref__", "_native")
    _native: _N

    def __init__(self, native: _N) -> None:
        self._native = native

    @property
    def shared(self) -> _N:
        """The native object, the same for all faces of one lock. Any face of this kind can be made from it."""
        return self._native

    @property
    def native(self) -> _N:
        """The same as `shared`: what makes one face acceptable to another."""
        return self._native

    def _describe(self) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        kind = type(self)
        return f"<{kind.__module__}.{kind.__qualname__} object at {id(self):#x} [{self._describe()}]>"


class ClosableFace(Face[_P]):
    """What the faces of native primitives have."""

    __slots__ = ()

    @property
    def name(self) -> str | None:
        """What messages and the wait graph call it."""
        return self._native.name

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._native.closed

    def _waiting(self) -> str:
        waiting = self._native.stats()["waiting"]
        return f", waiters:{waiting}" if waiting else ""


def publish(name: str, *modules: ModuleType) -> None:
    """Has the classes of private modules say that they are of the public one: in messages, and where they are pickled
    or looked up.
    """
    for module in modules:
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__ and not kind.__name__.startswith("_"):
                kind.__module__ = name


def task_new(name: str) -> int:
    """A library task of this name; of none, if the name is not to be had in UTF-8."""
    try:
        return _sync.task_new(name)
    except ValueError:
        return _sync.task_new(None)


def pack(obj: object) -> bytes:
    """An object as `selvedge.sync.Channel` sends it."""
    return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes) -> Any:
    """The object that was sent."""
    return pickle.loads(data)

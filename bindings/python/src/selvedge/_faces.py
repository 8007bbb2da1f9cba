"""What the awaited faces have in common: the native object behind a face, and what needs no waiting.

A face is what a kind of program sees of a lock: `selvedge.sync` blocks, `selvedge.aio` and `selvedge.trio` await. The
object itself is native (`selvedge._sync`), has one line for all who wait, and may have any number of faces. This module
knows neither asyncio nor Trio.
"""

from __future__ import annotations

import pickle
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from selvedge import _sync
from selvedge._face_barrier import SharedBarrier

if TYPE_CHECKING:
    from typing_extensions import Self

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
    what = type(given).__qualname__
    if type(given).__module__ != "builtins":
        what = f"{type(given).__module__}.{what}"
    hint = "; its name is given by name=" if isinstance(given, str) else ""
    raise TypeError(f"{face} takes another face of a selvedge {kind.__name__.removeprefix('Shared')}, not {what}{hint}")


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


# What the faces of a kind have in common. None of it lets anybody go on who waits: that each does in its own way. And
# the constructors are each one's own, for Python's message about a wrong call names the class in which they stand.


class EventFace(ClosableFace[_sync.Event]):
    __slots__ = ()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._native.is_set()

    def _describe(self) -> str:
        return ("set" if self.is_set() else "unset") + self._waiting()


class BarrierFace(Face[SharedBarrier]):
    __slots__ = ()

    @property
    def parties(self) -> int:
        """How many must come."""
        return self._native.parties

    @property
    def n_waiting(self) -> int:
        """How many have come and wait."""
        return self._native.n_waiting

    @property
    def broken(self) -> bool:
        """Whether it is broken: nobody gets through before a `reset`."""
        return self._native.broken

    def _describe(self) -> str:
        return f"{'broken' if self.broken else 'filling'}, waiters:{self.n_waiting}/{self.parties}"


class LimiterFace(ClosableFace[_sync.CapacityLimiter]):
    __slots__ = ()

    @property
    def borrowed_tokens(self) -> int:
        """How many are out."""
        return self._native.borrowed_tokens

    @property
    def available_tokens(self) -> float:
        """How many are free."""
        return self._native.available_tokens

    def _describe(self) -> str:
        return f"{self.borrowed_tokens}/{self._native.total_tokens}{self._waiting()}"


class ChannelFace(ClosableFace[_sync.Channel]):
    __slots__ = ()

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

    def _describe(self) -> str:
        return f"{len(self)} items" + (", closed" if self.closed else "")


_L = TypeVar("_L", bound="_sync.Lock | _sync.RLock")


class LockFace(ClosableFace[_L]):
    __slots__ = ()

    def locked(self) -> bool:
        """Whether somebody holds it: a task, a thread, whoever."""
        return self._native.locked()

    @property
    def broken(self) -> bool:
        """Whether its owner ended while holding it."""
        return self._native.broken

    def _describe(self) -> str:
        return ("locked" if self.locked() else "unlocked") + self._waiting()


_LockFace = TypeVar("_LockFace", bound="LockFace[_sync.Lock] | LockFace[_sync.RLock]")


class ConditionFace(ClosableFace[_sync.Condition], Generic[_LockFace]):
    __slots__ = ("_lock",)
    _lock: _LockFace

    @property
    def lock(self) -> _LockFace:
        """The lock."""
        return self._lock

    def locked(self) -> bool:
        """Whether somebody holds the lock."""
        return self._lock.locked()

    def _describe(self) -> str:
        return ("locked" if self.locked() else "unlocked") + self._waiting()


class SemaphoreFace(ClosableFace[_sync.Semaphore]):
    __slots__ = ()

    @property
    def value(self) -> int:
        """Permits that are free now."""
        return self._native.value

    def _describe(self) -> str:
        value = self._native.value
        return (f"unlocked, value:{value}" if value else "locked") + self._waiting()


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

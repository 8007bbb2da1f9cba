"""Hooks: functions that every worker of a thread cache runs at its start and its exit, and around each job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from selvedge import _cache
from selvedge._cache import Hook, ThreadCache
from selvedge._worker import HookStats

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable
    from typing import TypeAlias

    Native: TypeAlias = int | ctypes._CFunctionType  # pyright: ignore[reportPrivateUsage]

__all__ = ["Hook", "HookStats", "register_hook"]

_Slot = TypeVar("_Slot")


@overload
def register_hook(
    name: str,
    on_start: Callable[[], _Slot],
    on_exit: Callable[[_Slot], object] | None = None,
    before_job: Callable[[_Slot], object] | None = None,
    after_job: Callable[[_Slot], object] | None = None,
    cache: ThreadCache | None = None,
    *,
    lazy: bool = False,
    eager: bool = False,
    optional: bool = False,
) -> Hook: ...


@overload
def register_hook(
    name: str,
    on_start: None = None,
    on_exit: Callable[[None], object] | None = None,
    before_job: Callable[[None], object] | None = None,
    after_job: Callable[[None], object] | None = None,
    cache: ThreadCache | None = None,
    *,
    lazy: bool = False,
    eager: bool = False,
    optional: bool = False,
) -> Hook: ...


@overload
def register_hook(
    name: str,
    on_start: Native | None = None,
    on_exit: Native | None = None,
    before_job: Native | None = None,
    after_job: Native | None = None,
    cache: ThreadCache | None = None,
    *,
    lazy: bool = False,
    eager: bool = False,
    optional: bool = False,
    retire: bool = False,
    fork_keep: bool = False,
    user: int = 0,
) -> Hook: ...


def register_hook(
    name: str,
    on_start: Any = None,
    on_exit: Any = None,
    before_job: Any = None,
    after_job: Any = None,
    cache: ThreadCache | None = None,
    *,
    lazy: bool = False,
    eager: bool = False,
    optional: bool = False,
    retire: bool = False,
    fork_keep: bool = False,
    user: int = 0,
) -> Hook:
    """Registers functions with a cache (None: the default one), of which at least one must be given.

    Every worker calls ``on_start()`` before its next job, a new one before its first, and ``on_exit(slot)`` when it ends or the hook is
    unregistered; each job runs between ``before_job(slot)`` and ``after_job(slot)``. ``slot`` is what ``on_start`` gave back. Several hooks
    start in the order of registration, and exit in reverse. They run on the worker, with the GIL, and may block.

    When ``on_start`` or ``before_job`` raises, the job is delivered with HookFailedError, whose ``__cause__`` is what was raised, and later
    jobs try again. What ``on_exit`` and ``after_job`` raise goes to sys.unraisablehook.

    Instead, all of them can be native functions of another runtime (a JVM's, a CLR's): their addresses as int, or ctypes functions, with the
    signatures of ``selv_hook_options`` in selvedge.h and ``user`` as their first argument. They are called without the GIL, for the jobs of
    every language, and go on when Python has ended. A ctypes function is kept alive until the hook is unregistered.

    ``lazy``: only for jobs that name the hook (native code does). ``eager``: idle workers start it at once. ``optional``: if it fails, jobs run
    all the same. ``retire``: the runtime lets go of a thread only when it has ended, so unregistering ends the workers. ``fork_keep``: it is
    good in a fork child; hooks of Python functions always are.

    From any thread. Does not block. Raises TypeError, ValueError, ClosedResourceError after the cache's shutdown, UnsupportedError.
    """
    flags = 0
    for wanted, flag in (
        (lazy, _cache.LAZY),
        (eager, _cache.EAGER),
        (optional, _cache.OPTIONAL),
        (retire, _cache.RETIRE),
        (fork_keep, _cache.FORK_KEEP),
    ):
        flags |= flag if wanted else 0
    return _cache.register_hook(name, on_start, on_exit, before_job, after_job, cache, user or None, flags)

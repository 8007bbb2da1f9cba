"""Trio's threads on our workers: for the whole process (install), or for one guest run (Run, which _guest.py begins).

Whatever Trio starts a thread for goes through one method of one object, its process-wide thread cache. That method is
replaced as long as a cache is installed or a run with a thread starter of its own lives; Trio's own is put back then.
Those two names, the object and the method, are all that is used of Trio's internals, and they are looked for when this
module is imported.
"""

from __future__ import annotations

import importlib
import inspect
import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import outcome
import trio

from selvedge import BusyResourceError, ClosedResourceError, ThreadCache, default_cache

__all__ = ["Installation", "install", "uninstall"]

T = TypeVar("T")

Job: TypeAlias = Callable[[], Any]
Deliver: TypeAlias = Callable[[outcome.Outcome[Any]], object]
StartThreadSoon: TypeAlias = Callable[[Job, Deliver, "str | None"], object]

METHOD = "start_thread_soon"


def _find_thread_cache() -> Any | None:
    """Trio's module with its thread cache; None if it is not built as we know it."""
    try:
        module: Any = importlib.import_module("trio._core._thread_cache")
        parameters = list(inspect.signature(getattr(module.THREAD_CACHE.__class__, METHOD)).parameters)
        is_used = trio.lowlevel.start_thread_soon.__globals__ is vars(module)
    except (ImportError, AttributeError, TypeError, ValueError):
        return None
    return module if is_used and parameters == ["self", "fn", "deliver", "name"] else None


_trio: Any = _find_thread_cache()
if _trio is None:
    raise ImportError(
        f"Trio {trio.__version__} keeps its thread cache in another way than selvedge.trio knows (which is that "
        "of Trio 0.27 to 0.35), so it cannot be put on a selvedge.ThreadCache",
        name=__name__,
    )
_trio_class: Any = _trio.THREAD_CACHE.__class__
_trio_method: Callable[[Any, Job, Deliver, str | None], None] = getattr(_trio_class, METHOD)

# Guards what follows. Held across a fork, so that a child finds it free and the rest consistent.
_changing = threading.Lock()
_installed: ThreadCache | None = None


class Run:
    """A guest run with a thread starter of its own. It lives as long as the run, or a job that the run has started."""

    __slots__ = ("__weakref__", "_start_thread_soon")

    def __init__(self, start_thread_soon: StartThreadSoon) -> None:
        self._start_thread_soon = start_thread_soon

    def start(self, fn: Job, deliver: Deliver, name: str | None) -> None:
        """A thread for this run. Where there is no task to raise in, a refusal is delivered."""
        try:
            self._start_thread_soon(partial(self._inside, fn), partial(self._inside, deliver), name)
        except Exception as refusal:
            # A poll is started between the tasks, in a callback of the host's. Raised there it would be the host's
            # error, and the run would wait for the poll for ever; delivered it ends the run.
            if _in_task():
                raise
            told = outcome.Error(refusal)
        else:
            return
        deliver(told)

    def _inside(self, call: Callable[..., T], *args: Any) -> T:
        """What a job of this run starts, is of this run as well."""
        outer: Run | None = getattr(_here, "run", None)
        _here.run = self
        try:
            return call(*args)
        finally:
            _here.run = outer


_here = threading.local()  # run: whose job this thread runs; starting: the run whose start_guest_run this thread is in
_runs: weakref.WeakKeyDictionary[trio.lowlevel.TrioToken, Run] = weakref.WeakKeyDictionary()
_live: weakref.WeakSet[Run] = weakref.WeakSet()


def _in_task() -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def _run_here() -> Run | None:
    """The run that the calling thread belongs to, if it has a thread starter of its own."""
    run: Run | None
    try:
        token = trio.lowlevel.current_trio_token()
    except RuntimeError:
        run = getattr(_here, "run", None)
    else:
        # Another run in a job of this one is not this one.
        run = _runs.get(token)
        if run is None:
            run = getattr(_here, "starting", None)
    return run


def _start_thread_soon(self: Any, fn: Job, deliver: Deliver, name: str | None = None) -> None:
    """In the place of the method of Trio's thread cache."""
    if self is _trio.THREAD_CACHE:
        run = _run_here() if _live else None
        if run is not None:
            run.start(fn, deliver, name)
            return
        cache = _installed
        if cache is not None:
            if name is not None and not name.isascii():
                fn, name = partial(_named, fn, name), _ascii(name)
            cache.start_thread_soon(fn, deliver, name)
            return
    _trio_method(self, fn, deliver, name)


def _ascii(name: str) -> str:
    """What Trio gives the operating system as the name of a thread; ours would be UTF-8."""
    return name.encode("ascii", "replace").decode()


def _named(fn: Job, name: str) -> Any:
    """For Python the thread has the whole of its name."""
    thread = threading.current_thread()
    in_ascii, thread.name = thread.name, name
    try:
        return fn()
    finally:
        thread.name = in_ascii


def _settle() -> None:
    """Puts our method in the place of Trio's if it is wanted, and back if not. With _changing held.

    A run that was abandoned without an end leaves ours in place, which then does what Trio's does.
    """
    found: object = getattr(_trio_class, METHOD)
    if _installed is None and not _live:
        if found is _start_thread_soon:
            setattr(_trio_class, METHOD, _trio_method)
    elif found is _trio_method:
        setattr(_trio_class, METHOD, _start_thread_soon)
    elif found is not _start_thread_soon:
        raise BusyResourceError(f"the thread cache of Trio has been replaced by other code already: {found!r}")


os.register_at_fork(before=_changing.acquire, after_in_parent=_changing.release, after_in_child=_changing.release)


def begin(run: Run) -> None:
    """Before the run's start, on the thread of its host."""
    with _changing:
        _live.add(run)
        try:
            _settle()
        except BaseException:
            _live.discard(run)
            raise
    _here.starting = run


def begun(run: Run) -> None:
    """The run has started, on this thread."""
    _here.starting = None
    _runs[trio.lowlevel.current_trio_token()] = run


def end(run: Run) -> None:
    """The run has ended, or failed to start. What its jobs start from now on is Trio's."""
    _here.starting = None
    with _changing:
        _live.discard(run)
        _settle()


class Installation:
    """What `install` did. As a context manager, its end takes back what that call of `install` changed."""

    __slots__ = ("_cache", "_made")

    def __init__(self, cache: ThreadCache, made: bool) -> None:
        self._cache = cache
        self._made = made

    @property
    def cache(self) -> ThreadCache:
        """The cache that Trio's threads are on."""
        return self._cache

    def __enter__(self) -> ThreadCache:
        return self._cache

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._made:
            self._made = False
            _take_away(self._cache)

    def __repr__(self) -> str:
        return f"<selvedge.trio.Installation of {self._cache!r}>"


def install(cache: ThreadCache | None = None) -> Installation:
    """Lets all of Trio's threads, in the whole process, be workers of ``cache`` from now on; None: the process's shared
    cache.

    That is `trio.to_thread.run_sync`, `trio.lowlevel.start_thread_soon`, the polls of guest runs, and whatever else in
    Trio takes a thread. So they have the hooks of the cache, and share its workers with everybody who uses it. Threads
    that Trio has started already finish their jobs and end as they would have.

    Doing it again with the same cache changes nothing. The result is a context manager: leaving it uninstalls, if it
    was this call that installed.

    Any thread, inside a run of Trio or not; does not block. Works in a fork child, where it stays installed.

    Raises:
        TypeError: ``cache`` is not a `selvedge.ThreadCache`.
        selvedge.BusyResourceError: another cache is installed, or other code has replaced Trio's thread cache.
        selvedge.ClosedResourceError: the cache has been shut down.
        selvedge.UnsupportedError: ``cache`` is None in an interpreter that has no shared cache.
    """
    global _installed
    if cache is None:
        cache = default_cache()
    # Callers without a type checker.
    if not isinstance(cache, ThreadCache):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"cache must be a selvedge.ThreadCache or None, not {type(cache).__name__}")
    if cache.closed:
        raise ClosedResourceError("the cache has been shut down: Trio would get no threads from it")
    with _changing:
        if _installed is cache:
            return Installation(cache, made=False)
        if _installed is not None:
            raise BusyResourceError(
                f"Trio's threads are on {_installed!r} already: call selvedge.trio.uninstall() first"
            )
        _installed = cache
        try:
            _settle()
        except BaseException:
            _installed = None
            raise
    return Installation(cache, made=True)


def uninstall() -> None:
    """Gives Trio back its own threads, from the next one on.

    Jobs that are in flight end on their workers, and are delivered; nobody waits for them here. Guest runs with a
    thread starter of their own (`start_guest_run`) keep it.

    Any thread; does not block.

    Raises:
        RuntimeError: no cache is installed.
    """
    if not _take_away(_installed):
        raise RuntimeError("Trio's threads are on no selvedge.ThreadCache: there is nothing to uninstall")


def _take_away(cache: ThreadCache | None) -> bool:
    global _installed
    with _changing:
        if cache is None or _installed is not cache:
            return False
        _installed = None
        _settle()
    return True

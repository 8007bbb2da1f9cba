"""What the extensions of thread caches and host loops have in Python: the work of a worker in `threading`, and the classes of statistics."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple, cast

__all__ = ["CacheStats", "HookStats", "HostLoopStats"]


class CacheStats(NamedTuple):
    """What has happened in a thread cache so far. In a fork child everything counts from 0."""

    workers: int
    """Living workers: ``idle + busy``."""
    idle: int
    """Workers that are ready for a job; one that delivers is ready."""
    busy: int
    """Workers that run a job, start, or end."""
    started: int
    exited: int
    jobs_accepted: int
    jobs_delivered: int
    jobs_queued: int
    """Jobs that wait for a worker, with ``max_workers``."""
    hook_failures: int
    spawn_failures: int
    peak_workers: int
    threads_lost: int
    """Threads that a runtime ended inside a job or a hook."""
    threads_entered: int


class HookStats(NamedTuple):
    """What has happened to a hook so far."""

    attached: int
    """Threads on which it is started now."""
    starts: int
    exits: int
    start_failures: int
    jobs: int
    lost: int


class HostLoopStats(NamedTuple):
    """What has happened to a host loop, and how it stands."""

    waiting: int
    """Queued now."""
    accepted: int
    """Queued so far: callables, outcomes of jobs, completions of operations, turns of guests."""
    ran: int
    """Of these, how many a drain has begun to run."""
    merged: int
    """Idempotent calls of C code that one stands for which waited already. (Those of Python are merged before.)"""
    dropped: int
    """Of those accepted, how many the close dropped, or were over before their turn."""
    wakes: int
    """Times that the descriptor became readable."""
    drains: int
    """Drains that were not refused."""
    guests: int
    """Guests that live in the loop now."""


HostLoopStats.__module__ = "selvedge"


if TYPE_CHECKING:

    class _Foreign(threading.Thread):
        def _reset_internal_locks(self, is_alive: bool) -> None: ...
        def _after_fork(self, new_ident: int | None = None) -> None: ...

else:
    # threading's own class for threads that it did not start; it has no public name.
    _Foreign = threading._DummyThread


class WorkerThread(_Foreign):
    """A worker, as ``threading`` knows it: a daemon thread that `threading` did not start, but whose end it learns of."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._ended = threading.Event()
        if sys.version_info < (3, 13):
            # In a child that a job forks this is the main thread, and threading._shutdown expects it to hold this.
            self._tstate_lock = threading.Lock()
            self._tstate_lock.acquire()

    def is_alive(self) -> bool:
        return not self._ended.is_set()

    def join(self, timeout: float | None = None) -> None:
        if self is threading.current_thread():
            raise RuntimeError("cannot join current thread")
        self._ended.wait(timeout)

    # What threading calls in a fork child, where another thread may have held what is inside _ended: up to 3.12 the first, and then
    # the second for all but the forking thread, and at the end for that; from 3.13 on the third.

    def _reset_internal_locks(self, is_alive: bool) -> None:
        super()._reset_internal_locks(is_alive)
        self._ended = threading.Event()

    def _stop(self) -> None:
        self._is_stopped = True
        self._ended.set()

    def _after_fork(self, new_ident: int | None = None) -> None:
        super()._after_fork(new_ident)
        self._ended = threading.Event()
        if new_ident is None:
            self._ended.set()


def thread_started(name: str) -> tuple[WorkerThread, str] | None:
    """Makes the worker known to ``threading``; None for a thread that Python knows already, which keeps the name that it has."""
    if threading.get_ident() in cast("Any", threading)._active:
        return None
    return WorkerThread(name), name


def thread_ended(thread: WorkerThread) -> None:
    """Up to 3.12 nobody else takes a thread that Python did not start out of threading.enumerate()."""
    internals = cast("Any", threading)
    with internals._active_limbo_lock:
        if internals._active.get(thread.ident) is thread:
            del internals._active[thread.ident]
    thread._stop()  # pyright: ignore[reportPrivateUsage] # threading's name for it


def delivery_failed(error: BaseException) -> None:
    """A ``deliver`` has raised. There is nobody to raise it to."""
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison] # true under pythonw and in some hosts
        return
    print(f"Exception while delivering result of thread {threading.current_thread().name}", file=sys.stderr)
    traceback.print_exception(type(error), error, error.__traceback__)

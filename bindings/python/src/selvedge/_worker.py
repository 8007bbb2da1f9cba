"""What the workers of a thread cache do in Python: called by the extension, on the worker itself."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import Any, NamedTuple, cast

__all__ = ["CacheStats", "HookStats"]


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


def thread_started(name: str) -> tuple[threading.Thread, str] | None:
    """Gives the worker the name of its own; None for a thread that Python knows already, which keeps the name that it has."""
    thread = threading.current_thread()
    if not isinstance(thread, cast("Any", threading)._DummyThread):
        return None
    thread.name = name
    return thread, name


def thread_ended(thread: threading.Thread) -> None:
    """Up to 3.12 nobody else takes a thread that Python did not start out of threading.enumerate()."""
    internals = cast("Any", threading)
    with internals._active_limbo_lock:
        if internals._active.get(thread.ident) is thread:
            del internals._active[thread.ident]


def delivery_failed(error: BaseException) -> None:
    """A ``deliver`` has raised. There is nobody to raise it to."""
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison] # true under pythonw and in some hosts
        return
    print(f"Exception while delivering result of thread {threading.current_thread().name}", file=sys.stderr)
    traceback.print_exception(type(error), error, error.__traceback__)

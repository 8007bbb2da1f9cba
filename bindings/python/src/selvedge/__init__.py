"""Selvedge: one thread cache, hooks, locks and event loops for all language runtimes of a process.

The cache, its hooks, executors, and `HostLoop`, a queue into any event loop that can watch a descriptor, are here. ``selvedge.sync`` has
locks for threads and greenlets, ``selvedge.aio`` and ``selvedge.trio`` the same objects for asyncio and Trio, ``selvedge.interpreters`` workers
that each run an interpreter with a GIL of its own, and ``selvedge.glib`` a GLib main loop with greenlets.
"""

from selvedge import _errors
from selvedge._cache import library_version
from selvedge._errors import *  # noqa: F403
from selvedge._loop import HostLoop
from selvedge._worker import HostLoopStats
from selvedge.cache import CacheStats, Job, ThreadCache, default_cache
from selvedge.executor import Executor
from selvedge.hooks import Hook, HookStats, register_hook

__all__ = [
    "CacheStats",
    "Executor",
    "Hook",
    "HookStats",
    "HostLoop",
    "HostLoopStats",
    "Job",
    "ThreadCache",
    "default_cache",
    "library_version",
    "register_hook",
]
__all__ += _errors.__all__

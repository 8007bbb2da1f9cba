"""The thread cache: worker threads that all languages of a process share.

:func:`default_cache` is the process's own; a :class:`ThreadCache` of one's own has its own threads, and may have a bound.
"""

from __future__ import annotations

from selvedge._cache import Job, ThreadCache, default_cache
from selvedge._worker import CacheStats

__all__ = ["CacheStats", "Job", "ThreadCache", "default_cache"]

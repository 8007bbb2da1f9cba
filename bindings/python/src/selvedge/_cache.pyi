from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, final

from outcome import Outcome

from selvedge._sync import CapacityLimiter, Face
from selvedge._worker import CacheStats, HookStats

_T = TypeVar("_T")

LAZY: int
EAGER: int
OPTIONAL: int
RETIRE: int
FORK_KEEP: int
library_version: str

@final
class Job:
    def cancel(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> None: ...

@final
class Hook:
    def unregister(self, timeout: float | None = None) -> None: ...
    def stats(self) -> HookStats: ...
    def __enter__(self) -> Hook: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class Parker:
    def park(self, timeout: float | None, /) -> bool: ...
    def unpark(self, at_once: bool, /) -> None: ...

@final
class ThreadCache:
    def __new__(
        cls, name: str | None = None, idle_timeout: float | None = 10.0, max_workers: int | None = None
    ) -> ThreadCache: ...
    @property
    def address(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    def start_thread_soon(
        self, fn: Callable[[], _T], deliver: Callable[[Outcome[_T]], object], name: str | None = None
    ) -> None: ...
    def submit(
        self,
        fn: Callable[[], _T],
        deliver: Callable[[Outcome[_T]], object] | None = None,
        name: str | None = None,
        *,
        limiter: int | Face[CapacityLimiter] | None = None,
    ) -> Job: ...
    def stats(self) -> CacheStats: ...
    def trim(self, keep: int = 0) -> None: ...
    def shutdown(self, timeout: float | None = None, *, cancel_queued: bool = False) -> None: ...
    def set_idle_timeout(self, seconds: float | None, /) -> None: ...
    def __enter__(self) -> ThreadCache: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

def default_cache() -> ThreadCache: ...
def register_hook(
    name: str,
    on_start: Any,
    on_exit: Any,
    before_job: Any,
    after_job: Any,
    cache: ThreadCache | None,
    user: int | None,
    flags: int,
) -> Hook: ...

"""A concurrent.futures executor whose calls run in interpreters of their own."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import itertools
import os
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, overload

from selvedge._errors import TimedOutError
from selvedge._interp_cache import InterpreterCache, InterpreterFuture, Submission, check_max_workers, pack_call
from selvedge._interp_wire import check_supported, dumps, release_channels, retain_channels

__all__ = ["BrokenInterpreterExecutor", "InterpreterExecutor"]

_T = TypeVar("_T")

_numbers = itertools.count(1)


class BrokenInterpreterExecutor(concurrent.futures.BrokenExecutor):
    """The executor's initializer raised in an interpreter; the cause says what. It takes no more calls."""


class _Chunk:
    """Several calls of ``map`` in one job."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function: Callable[..., object] = function

    def __call__(self, calls: list[tuple[Any, ...]]) -> list[Any]:
        raise AssertionError("runs in an interpreter only")


class InterpreterExecutor(concurrent.futures.Executor):
    """Runs calls in interpreters with a GIL each, as ``ProcessPoolExecutor`` does in processes.

    ``InterpreterExecutor(max_workers=None, *, cache=None, initializer=None, initargs=())``. Without ``cache`` it has
    one of its own, of at most ``max_workers`` interpreters (None: one for each processor), which :meth:`shutdown`
    ends. With ``cache`` it shares that, under its bound; ``max_workers`` must be None. ``initializer`` is called with
    ``initargs`` once in each interpreter, before the first call of this executor there; if it raises, that call and
    those that wait get :class:`BrokenInterpreterExecutor`, and no more are taken.

    Functions, arguments and results: as for :meth:`InterpreterCache.run`; a text is allowed in place of a function.
    Calls are cancelled by ``Future.cancel()`` until they begin. At exit, calls that were submitted are finished.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        cache: InterpreterCache | None = None,
        initializer: Callable[..., object] | str | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        check_supported("InterpreterExecutor")
        check_max_workers(max_workers)
        if not isinstance(cache, InterpreterCache | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"cache must be an InterpreterCache or None, not {type(cache).__name__}")
        if cache is not None and max_workers is not None:
            raise ValueError("max_workers is for an executor with a cache of its own; the given one has its bound")
        self._own: bool = cache is None
        if cache is None:
            cache = InterpreterCache("executor", max_workers=max_workers or os.cpu_count() or 1)
        self._cache: InterpreterCache = cache
        self._lock: threading.Lock = threading.Lock()
        self._pending: dict[concurrent.futures.Future[Any], Submission] = {}
        self._process: int = os.getpid()
        self._is_shut_down: bool = False
        self._broken: BaseException | None = None
        self._key: str = f"{os.getpid()}-{next(_numbers)}"
        self._initializer: bytes | None = None
        self._initializer_channels: tuple[int, ...] = ()
        if initializer is not None:
            self._initializer, self._initializer_channels = pack_call(initializer, initargs, {})
            retain_channels(self._initializer_channels)

    @overload
    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> InterpreterFuture[_T]: ...

    @overload
    def submit(self, fn: str, /, *args: Any, **kwargs: Any) -> InterpreterFuture[Any]: ...

    def submit(self, fn: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> InterpreterFuture[Any]:
        """Runs ``fn(*args, **kwargs)`` in an interpreter. Any thread of the main interpreter; does not wait. Raises
        RuntimeError after a shutdown, BrokenInterpreterExecutor, and what pickling raises."""
        if isinstance(fn, _Chunk):
            call, channels = dumps(("chunk", fn.function, args, dict[str, Any]()))
        else:
            call, channels = pack_call(fn, args, kwargs)
        payload = pickle.dumps((self._key, self._initializer, call))
        submission = Submission(channels, self._break)
        note = functools.partial(self._note, submission)
        return self._cache._submit(payload, submission, note)  # pyright: ignore[reportPrivateUsage]

    def _note(self, submission: Submission, future: InterpreterFuture[Any]) -> None:
        with self._guard():
            if self._broken is not None:
                raise BrokenInterpreterExecutor("the initializer of this executor raised") from self._broken
            if self._is_shut_down:
                raise RuntimeError("cannot submit to an InterpreterExecutor after its shutdown")
            self._pending[future] = submission
        future.add_done_callback(self._forget)

    def _guard(self) -> threading.Lock:
        """The lock; in a fork child a new one, for another thread of the parent may have had it, and its calls are
        not ours."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lock = threading.Lock()
            self._pending = {}
        return self._lock

    def _forget(self, future: concurrent.futures.Future[Any]) -> None:
        with self._guard():
            self._pending.pop(future, None)

    def _break(self, error: BaseException) -> BaseException:
        """The initializer raised ``error``, for a call that gets what this returns."""
        with self._guard():
            self._broken = error
            pending = list(self._pending.items())
        for future, submission in pending:
            submission.break_with = _broken(error)
            future.cancel()
        return _broken(error)

    def map(
        self, fn: Callable[..., _T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[_T]:
        """As ``Executor.map``: the results in order. ``chunksize`` calls go in one job each."""
        if chunksize < 1:
            raise ValueError("chunksize must be at least 1")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        calls = zip(*iterables)
        chunks = iter(lambda: list(itertools.islice(calls, chunksize)), [])
        results = super().map(_Chunk(fn), chunks, timeout=timeout)
        return itertools.chain.from_iterable(results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls. ``wait``: blocks until all are done, and its own cache's interpreters have ended.
        ``cancel_futures``: calls that have not begun are cancelled."""
        with self._guard():
            self._is_shut_down = True
            pending = list(self._pending)
        if cancel_futures:
            for each in pending:
                each.cancel()
        if wait:
            concurrent.futures.wait(pending)
        if self._own:
            with contextlib.suppress(*(() if wait else (TimedOutError,))):
                self._cache.shutdown(None if wait else 0)

    def __del__(self) -> None:
        channels: tuple[int, ...] = getattr(self, "_initializer_channels", ())
        if channels:
            release_channels(channels)


def _broken(error: BaseException) -> BrokenInterpreterExecutor:
    made = BrokenInterpreterExecutor("the initializer of this executor raised")
    made.__cause__ = error
    return made


for _each in (BrokenInterpreterExecutor, InterpreterExecutor):
    _each.__module__ = "selvedge.interpreters"

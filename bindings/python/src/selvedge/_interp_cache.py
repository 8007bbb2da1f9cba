"""The cache of interpreters, and the futures of its jobs."""

from __future__ import annotations

import concurrent.futures
import functools
import math
import os
import pickle
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, TypeVar, overload

from selvedge import _interpreters
from selvedge._errors import (
    BrokenResourceError,
    DeadlockError,
    ForkedError,
    SelvedgeError,
    TimedOutError,
    UnsupportedError,
    error,
    hook_failed,
)
from selvedge._interp_seed import main_program
from selvedge._interp_wire import check_supported, dumps, loads, release_channels, retain_channels

__all__ = ["InterpreterCache", "InterpreterFuture", "InterpreterStats", "RemoteError", "RemoteTraceback"]

_T = TypeVar("_T")
_S = TypeVar("_S", bound="InterpreterCache")

_CANCELLED, _HOOK_FAILED = -7, -16


def check_max_workers(number: int | None) -> None:
    if number is None:
        return
    if not isinstance(number, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"max_workers must be an int or None, not {type(number).__name__}")
    if not 1 <= number < 2**32:
        raise ValueError(f"max_workers must be at least 1 and at most {2**32 - 1}, not {number!r}")


def _check_timeout(seconds: float | None) -> float | None:
    """What ``Future.result`` can be given. No wait is longer than `threading.TIMEOUT_MAX`."""
    if seconds is None:
        return None
    try:
        is_none = math.isnan(seconds)
    except OverflowError:
        is_none = False  # an int beyond every float
    except TypeError:
        raise TypeError(f"timeout must be a number of seconds or None, not {type(seconds).__name__}") from None
    if is_none or seconds < 0:
        raise ValueError(f"timeout must be at least 0 seconds, not {seconds!r}")
    return seconds if seconds < threading.TIMEOUT_MAX else None


class RemoteTraceback(Exception):
    """The cause of every exception that comes from another interpreter: its text is the traceback there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text: str = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class RemoteError(SelvedgeError):
    """An exception of another interpreter that cannot be pickled, or not unpickled here.

    ``type_name``, ``text`` and ``traceback`` (formatted) say what it was.
    """

    def __init__(self, type_name: str, text: str, traceback: str) -> None:
        super().__init__(f"{type_name}: {text}" if text else type_name)
        self.type_name: str = type_name
        self.text: str = text
        self.traceback: str = traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.type_name, self.text, self.traceback)


class InterpreterStats(NamedTuple):
    """What has happened in an :class:`InterpreterCache` so far. In a fork child everything counts from 0."""

    workers: int
    """Living workers: ``idle + busy``."""
    idle: int
    busy: int
    """Workers that run a job, make their interpreter, or end it."""
    interpreters_made: int
    interpreters_ended: int
    jobs_accepted: int
    jobs_delivered: int
    jobs_queued: int
    """Jobs that wait for a worker, with ``max_workers``."""
    failures: int
    """Interpreters that could not be made."""

    @property
    def interpreters(self) -> int:
        """Interpreters that live now."""
        return self.interpreters_made - self.interpreters_ended


def unpack(data: bytes) -> tuple[bytes, Any]:
    """What a worker packed: its kind and value, with handles of our own to the channels in it."""
    count = int.from_bytes(data[1:5], "little")
    ids = tuple(int.from_bytes(data[5 + 8 * i : 13 + 8 * i], "little") for i in range(count))
    try:
        return data[:1], loads(data[5 + 8 * count :])
    finally:
        if ids:
            release_channels(ids)


def _remote_exception(pickled: bytes | None, name: str, text: str, traceback: str) -> BaseException:
    found: object = None
    if pickled is not None:
        try:
            found = loads(pickled)
        except Exception:
            found = None
    made = found if isinstance(found, BaseException) else RemoteError(name, text, traceback)
    made.__cause__ = RemoteTraceback(traceback)
    return made


class Submission:
    """What a future knows of its job."""

    def __init__(
        self, channels: tuple[int, ...], when_broken: Callable[[BaseException], BaseException] | None = None
    ) -> None:
        self.process: int = os.getpid()
        self.channels: tuple[int, ...] = channels
        self.when_broken: Callable[[BaseException], BaseException] | None = when_broken
        self.break_with: BaseException | None = None
        self.job: _interpreters.Job | None = None

    def is_ours(self) -> bool:
        return self.process == os.getpid()


class InterpreterFuture(concurrent.futures.Future[_T]):
    """The future of a job in another interpreter. Its callbacks run on the job's worker, in the main interpreter, and
    must not block.

    ``cancel()`` succeeds until a worker has begun the job. In a fork child, ``result()`` of a job of the parent
    raises ForkedError.
    """

    def __init__(self, submission: Submission) -> None:
        super().__init__()
        self._submission: Submission = submission

    def cancel(self) -> bool:
        """Cancels the job if no worker has begun it; then it never runs. True if it is cancelled. Does not block. Any
        thread."""
        if self._submission.job is not None and self._submission.is_ours():
            self._submission.job.cancel()
        return self.cancelled()

    def interrupt(self) -> bool:
        """Has a job that runs get a KeyboardInterrupt at its next step in Python code, or in a wait for a channel;
        other blocking calls are not cut short. True if it ran. Does not wait. Any thread."""
        job = self._submission.job
        return job is not None and self._submission.is_ours() and job.interrupt()

    def running(self) -> bool:
        """Whether a worker has begun the job, and it is not done."""
        job = self._submission.job
        return job is not None and job.begun and not self.done()

    def result(self, timeout: float | None = None) -> _T:
        """Waits up to ``timeout`` seconds for the result. Raises what the job raised, with a :class:`RemoteTraceback`
        as its cause; HookFailedError if the interpreter could not be made; TimeoutError;
        concurrent.futures.CancelledError; ForkedError."""
        self._check_process()
        try:
            return super().result(timeout)
        finally:
            del self  # what is raised holds this frame, and the future what is raised

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As :meth:`result`, but returns the exception, or None."""
        self._check_process()
        return super().exception(timeout)

    def _check_process(self) -> None:
        if not self._submission.is_ours() and not self.done():
            raise ForkedError("the job runs in the parent process; in this fork child nobody will finish it")


def _finish(
    submission: Submission, future: InterpreterFuture[Any], status: int, code: int, result: bytes | None, text: str
) -> None:
    """Called once, on whichever thread delivers."""
    release_channels(submission.channels)
    if status == _CANCELLED and submission.break_with is not None:
        future.set_exception(submission.break_with)
    elif status == _CANCELLED:
        super(InterpreterFuture, future).cancel()
        future.set_running_or_notify_cancel()
    elif status == _HOOK_FAILED:
        future.set_exception(hook_failed(code, text))
    elif status != 0:
        future.set_exception(error(status, text))
    elif result is None:
        future.set_exception(BrokenResourceError("the job's result was lost: there was no memory for it"))
    else:
        _take(submission, future, result)


def _take(submission: Submission, future: InterpreterFuture[Any], result: bytes) -> None:
    value: Any = None
    raised: BaseException | None = None
    try:
        kind, value = unpack(result)
        if kind != b"R":
            raised = _remote_exception(*value)
        if kind == b"B" and raised is not None and submission.when_broken is not None:
            raised = submission.when_broken(raised)
    except BaseException as failed:
        raised = failed
    if raised is None:
        future.set_result(value)
        return
    try:
        future.set_exception(raised)
    finally:
        del raised  # its traceback holds this frame


def _import_what_must_be_first() -> None:
    """Modules with static types, which CPython fits to one interpreter after the other. In 3.13.0 the main one has to
    be the first. In 3.12 they are for the main one only, and are refused to others; without harm only if they are
    files (_interp_worker.py), or known to it."""
    for name in ("_datetime", "_decimal", "_ctypes"):
        if name in sys.builtin_module_names or (name == "_datetime" and sys.version_info >= (3, 13)):
            try:
                __import__(name)
            except ImportError:
                pass


def pack_call(
    what: Callable[..., object] | str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[bytes, tuple[int, ...]]:
    """A call as its pickle, and the channels in it."""
    if isinstance(what, str):
        compile(what, "<selvedge program>", "exec")  # a SyntaxError belongs here, not there
        return dumps(("source", what, args, kwargs))
    if not callable(what):
        raise TypeError(f"a function or the text of a program is needed, not {type(what).__name__}")
    if getattr(what, "__module__", None) == "__main__" and main_program()[0] is None:
        raise pickle.PicklingError(
            f"{what!r} is defined in a main program that has no file (interactive, or -c): another interpreter cannot "
            "import it. Put it into a module, or give its text"
        )
    try:
        return dumps(("call", what, args, kwargs))
    except Exception as failed:
        name = getattr(what, "__qualname__", "")
        if "<lambda>" in name or "<locals>" in name:
            raise pickle.PicklingError(
                f"{what!r} cannot be imported by another interpreter: a function is sent by its module and name, so "
                "it must not be a lambda or stand inside another function. Put it into a module, or give its text"
            ) from failed
        raise


class InterpreterCache:
    """Workers that each run a Python interpreter of their own, with its own GIL: pure-Python code in parallel, in one
    process.

    ``name``: its workers are named ``<name>-<number>``. ``idle_timeout``: seconds after which an idle worker ends its
    interpreter; None is never. ``max_workers``: the most workers at a time; jobs past it queue in order; None: no
    bound, every job runs at once. ``initializer``, ``initargs``: called once in each new interpreter, before its
    first job; if it raises, that job fails with HookFailedError, and the next one tries again.

    The fields of CPython's interpreter configuration: ``own_gil``; ``check_multi_interp_extensions`` (modules that do
    not support several interpreters are refused; needed for an own GIL); ``use_main_obmalloc`` (not with an own GIL);
    ``allow_threads``; ``allow_daemon_threads`` (an interpreter does not end before its last thread); ``allow_exec``.
    With ``own_gil=False`` the interpreters share the main one's GIL and, by default, may load any module; in CPython
    3.12 interpreters that share a GIL do not take turns: the others wait until one waits or ends its job. A fork
    inside a sub-interpreter is never allowed: CPython cannot do it.

    Making an interpreter takes some 30 to 100 ms, ending one 5 to 10 ms, and CPython 3.12 and 3.13 do not give some 2
    to 4 MB of each ended one back to the system; so keep them for long. Between jobs a worker keeps its own. While
    idle it holds no GIL. Each has modules and module globals of its own; a worker's are kept from job to job, but
    which worker runs a job is not said.

    What runs: see :meth:`run`. The cache is made in the main interpreter (UnsupportedError in others, and before
    CPython 3.12); jobs come from any of its threads. At the interpreter's exit, accepted jobs are finished and all
    interpreters ended; Ctrl-C then interrupts the jobs, and a second Ctrl-C ends the process by SIGINT. In a child
    made by ``os.fork`` the cache works, with no workers.

    >>> with InterpreterCache(max_workers=2) as cache:
    ...     cache.run("sum(range(n))", n=10)
    45
    """

    def __init__(
        self,
        name: str | None = None,
        idle_timeout: float | None = 10.0,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | str | None = None,
        initargs: tuple[Any, ...] = (),
        own_gil: bool = True,
        check_multi_interp_extensions: bool | None = None,
        use_main_obmalloc: bool | None = None,
        allow_threads: bool = True,
        allow_daemon_threads: bool = False,
        allow_fork: bool = False,
        allow_exec: bool = False,
    ) -> None:
        check_supported("InterpreterCache")
        if name is not None and not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"name must be a str or None, not {type(name).__name__}")
        check_max_workers(max_workers)
        check = own_gil if check_multi_interp_extensions is None else check_multi_interp_extensions
        obmalloc = not own_gil if use_main_obmalloc is None else use_main_obmalloc
        if own_gil and not check:
            raise ValueError("an interpreter with its own GIL needs check_multi_interp_extensions")
        if own_gil and obmalloc:
            raise ValueError("an interpreter with its own GIL cannot use the main one's allocator (use_main_obmalloc)")
        if not obmalloc and not check:
            raise ValueError("without use_main_obmalloc, check_multi_interp_extensions is needed")
        if allow_daemon_threads and not allow_threads:
            raise ValueError("allow_daemon_threads needs allow_threads")
        if allow_fork:
            raise UnsupportedError("a fork inside a sub-interpreter ends the child process: CPython cannot do it")
        self._is_shut_down: bool = False
        self.name: str | None = name
        self.own_gil: bool = own_gil
        self._initializer_channels: tuple[int, ...] = ()
        first: bytes | None = None
        if initializer is not None:
            first, self._initializer_channels = pack_call(initializer, initargs, {})
            retain_channels(self._initializer_channels)
        _import_what_must_be_first()
        self._native: _interpreters.Cache = _interpreters.Cache(
            name,
            idle_timeout,
            max_workers or 0,
            pickle.dumps((check, first)),
            own_gil,
            check,
            obmalloc,
            allow_threads,
            allow_daemon_threads,
            allow_fork,
            allow_exec,
        )

    @overload
    def run(self, what: Callable[..., _T], /, *args: Any, timeout: float | None = None, **kwargs: Any) -> _T: ...

    @overload
    def run(self, what: str, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any: ...

    def run(self, what: Callable[..., Any] | str, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Runs a function or a program in one of the interpreters and returns its result.

        A function is sent by reference: the interpreter imports its module and takes it from there by its name.
        ``sys.path`` is there what it was here when the interpreter was made. A function of the main program
        (``__main__``) has the interpreter run that program's file once as a module, in which ``__name__`` is not
        ``"__main__"``; from ``-c`` and interactive sessions there is no file, and pickle.PicklingError is raised.

        A text is a program: it runs in a fresh namespace, in which ``args`` is the tuple of the arguments and each
        keyword argument a variable. If its last statement is an expression, the result is its value, else None.

        Arguments and result cross as pickles; :class:`Channel` objects arrive as handles to the same channel.

        Blocks until the result is there; on the main thread Ctrl-C gets through. ``timeout`` in seconds covers all:
        then TimedOutError is raised, and so with Ctrl-C a job that has not begun never runs, and one that runs is
        interrupted (``InterpreterFuture.interrupt``). What the job raised is raised here, with a
        :class:`RemoteTraceback` as its cause; if it cannot be pickled, as :class:`RemoteError`. HookFailedError: no
        interpreter could be made; its text says why. ClosedResourceError, SpawnError.
        """
        seconds = _check_timeout(timeout)
        call, channels = pack_call(what, args, kwargs)
        future = self._submit(pickle.dumps((None, None, call)), Submission(channels))
        try:
            return future.result(seconds)
        except BaseException as failed:
            if future.done():
                raise
            if not future.cancel():
                future.interrupt()
            if isinstance(failed, TimeoutError):
                raise TimedOutError(f"the job was not done after {timeout} seconds") from None
            raise
        finally:
            del future  # what is raised holds this frame

    @overload
    def submit(self, what: Callable[..., _T], /, *args: Any, **kwargs: Any) -> InterpreterFuture[_T]: ...

    @overload
    def submit(self, what: str, /, *args: Any, **kwargs: Any) -> InterpreterFuture[Any]: ...

    def submit(self, what: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> InterpreterFuture[Any]:
        """As :meth:`run`, at once, with a future. Any thread of the main interpreter. Does not block, beyond starting
        a thread. Raises ClosedResourceError, SpawnError, and what pickling raises."""
        call, channels = pack_call(what, args, kwargs)
        return self._submit(pickle.dumps((None, None, call)), Submission(channels))

    def _submit(
        self,
        payload: bytes,
        submission: Submission,
        note: Callable[[InterpreterFuture[Any]], object] | None = None,
    ) -> InterpreterFuture[Any]:
        """``note`` is told of the future before its job can run."""
        future: InterpreterFuture[Any] = InterpreterFuture(submission)
        if note is not None:
            note(future)
        retain_channels(submission.channels)
        try:
            submission.job = self._native.submit(payload, functools.partial(_finish, submission, future))
        except BaseException:
            release_channels(submission.channels)
            super(InterpreterFuture, future).cancel()
            raise
        return future

    def stats(self) -> InterpreterStats:
        """What has happened so far. Does not block."""
        return InterpreterStats(*self._native.stats())

    def trim(self, keep: int = 0) -> None:
        """Lets idle workers end their interpreters until ``keep`` are left. Nobody waits for it."""
        if not isinstance(keep, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"keep must be an int, not {type(keep).__name__}")
        if keep < 0:
            raise ValueError(f"keep must be at least 0, not {keep!r}")
        self._native.trim(min(keep, 2**32 - 1))

    def shutdown(self, timeout: float | None = None, *, cancel_queued: bool = False) -> None:
        """Takes no more jobs, has the accepted ones finished, or with ``cancel_queued`` those cancelled that have not
        begun, and ends all interpreters. Blocks until that is done, for up to ``timeout`` seconds; None is for ever;
        on the main thread Ctrl-C gets through. Raises TimedOutError, when it goes on by itself; it may be called
        again. DeadlockError: called on one of its workers (a future's callback) with a timeout other than 0."""
        try:
            self._native.shutdown(timeout, cancel_queued)
        except (TypeError, ValueError, DeadlockError):
            raise
        except BaseException:
            self._is_shut_down = True  # it goes on by itself
            raise
        self._is_shut_down = True

    @property
    def closed(self) -> bool:
        """Whether :meth:`shutdown` has been called on this object."""
        return self._is_shut_down

    def __enter__(self: _S) -> _S:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    def __del__(self) -> None:
        channels: tuple[int, ...] = getattr(self, "_initializer_channels", ())
        if channels:
            release_channels(channels)

    def __repr__(self) -> str:
        stats = self.stats()
        counts = f"{stats.interpreters} interpreters, {stats.busy} workers busy, {stats.jobs_queued} jobs queued"
        return f"<InterpreterCache {self.name!r}{', shut down' if self._is_shut_down else ''}: {counts}>"


for _each in (InterpreterCache, InterpreterFuture, InterpreterStats, RemoteError, RemoteTraceback):
    _each.__module__ = "selvedge.interpreters"

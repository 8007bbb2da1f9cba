"""A GLib main loop as host: `HostLoop`, a queue into it, and `GreenletHub`, greenlets that run in it.

Needs PyGObject, and `GreenletHub` the package greenlet. Times are seconds, as floats.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from outcome import Outcome

from selvedge import _loop, _sync
from selvedge._errors import (
    BusyResourceError,
    CancelledError,
    ClosedResourceError,
    DeadlockError,
    ForkedError,
    TimedOutError,
    WrongThreadError,
)
from selvedge._glib_core import Core, Strand, check_time
from selvedge._glib_gi import GLib, new_fd_source, the_greenlet
from selvedge.cache import ThreadCache, default_cache

__all__ = ["GreenletHub", "HostLoop", "Task"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Acquirable(Protocol):
    """A lock, a semaphore or a limiter, or a face of one."""

    @property
    def native(self) -> _sync.Lock | _sync.RLock | _sync.Semaphore | _sync.CapacityLimiter: ...


class HostLoop(_loop.HostLoop):
    """A queue into a GLib main context: callables of any thread run on the thread that iterates it.

    ``context``: a ``GLib.MainContext``; None is the calling thread's default one. ``priority``: of the source that
    drains the queue, one of GLib's. ``name``: what it is called in messages. ``on_error``: called with the exception of
    a `call_soon` callable; None: ``sys.unraisablehook``. The thread that makes it is to iterate the context; see
    `bind`.

    While a callable runs nothing else is taken from the queue, also not by a main loop that it runs itself. One that a
    callback of something else runs, a timer's for instance, does take. The loop lives until it is closed. Raises
    SelvedgeError.
    """

    def __init__(
        self,
        context: Any = None,
        *,
        name: str | None = None,
        priority: int | None = None,
        on_error: Callable[[BaseException], object] | None = None,
    ) -> None:
        super().__init__(name, on_error=on_error)
        self._context = context if context is not None else GLib.MainContext.ref_thread_default()
        self._source = new_fd_source(self.fd, self._ready)
        if priority is not None:
            self._source.set_priority(priority)
        self._source.attach(self._context)

    @property
    def context(self) -> Any:
        """The ``GLib.MainContext``."""
        return self._context

    def close(self) -> None:
        """Closes the loop: nothing is accepted any more, and what waits is dropped here.

        On the loop's own thread. May be repeated.

        Raises WrongThreadError, BusyResourceError while a guest lives in it, ForkedError.
        """
        super().close()
        self._source.destroy()

    def _ready(self, *_: object) -> bool:
        """Called by GLib, which is to get a real bool whatever happens.

        For False it removes the source, as it does for an exception.
        """
        try:
            self.drain()
        except (ClosedResourceError, ForkedError):
            return False
        except SystemExit:
            raise  # PyGObject ends the process, as it does for any callback
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)  # as for any callback, but the source stays
        return True


class Task(Future[_T]):
    """A function that runs in a greenlet of a hub; made by `GreenletHub.spawn`.

    As a future it has its result, its error, its callbacks.

    Callbacks are called in the main loop, and must not wait. A task that was killed has CancelledError as its error. An
    error that nobody has asked for when the task goes is printed by ``sys.unraisablehook``.
    """

    def __init__(self, core: Core, name: str, run: Callable[[], _T]) -> None:
        super().__init__()
        self._core = core
        self._body = _Body(self, run)
        self._strand = Strand(core, name, self._body)
        core.strands[self._strand] = None
        try:
            core.loop.call_soon(self._begin)
        except BaseException:
            self._strand.forget()
            raise

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._strand.name

    @property
    def number(self) -> int:
        """The task of `selvedge` that owns what the greenlet holds; 0 while it has not begun."""
        return self._strand.number

    def resume(self, value: Any = None) -> None:
        """Has its `GreenletHub.wait` return ``value``: the one it is in, or its next one. Any thread; does not block.

        Raises ClosedResourceError, ForkedError.
        """
        self._core.loop.call_soon(self._strand.resume, value)

    def kill(self, error: BaseException | None = None) -> None:
        """Raises ``error``, or GreenletExit, where it waits; if it has not begun it never will.

        Any thread; does not block.

        What it waits for is given up. The task may catch the error, wait again and go on. Raises ClosedResourceError,
        ForkedError.
        """
        self._core.loop.call_soon(self._kill, error)

    def join(self, timeout: float | None = None) -> bool:
        """Waits for its end, and raises nothing of it. False if ``timeout`` seconds passed first.

        In another greenlet of its hub only that waits; on other threads, the thread. DeadlockError on the hub's thread
        outside its greenlets, and in the task itself.
        """
        if self.done():
            return True
        core = self._core
        if threading.get_ident() != core.thread:
            done = threading.Event()
            self.add_done_callback(lambda _: done.set())
            return done.wait(timeout)
        if core.running in (None, self._strand):
            raise DeadlockError("neither a main loop's thread can wait for a greenlet of it, nor a greenlet for itself")
        wait = core.begin_wait()
        self.add_done_callback(lambda _: core.loop.call_soon(wait.wake, True))
        with core.timer(timeout, wait.wake, False):
            return bool(wait.give_control())

    def result(self, timeout: float | None = None) -> _T:
        """What its function returned; or raises what that raised.

        Waits as `join` does; TimedOutError if ``timeout`` seconds passed first.
        """
        self._body.is_asked = True
        self._join_or_raise(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What its function raised, or None. Waits as `result` does."""
        self._body.is_asked = True
        self._join_or_raise(timeout)
        return super().exception(0)

    def __del__(self) -> None:
        body = self._body
        if not body.is_result and not body.is_asked and not isinstance(body.value, CancelledError):
            raise body.value

    def _join_or_raise(self, timeout: float | None) -> None:
        if not self.join(timeout):
            raise TimedOutError(f"the greenlet {self.name} did not end in time")

    def _begin(self) -> None:
        if self.set_running_or_notify_cancel():
            self._strand.begin()
        else:
            self._strand.forget()

    def _kill(self, error: BaseException | None) -> None:
        if not self.done():
            self._strand.kill(error if error is not None else self._core.greenlets.GreenletExit())


class _Body(Generic[_T]):
    """The function of a task, and then what became of it."""

    def __init__(self, task: Task[_T], run: Callable[[], _T]) -> None:
        self.task: Task[_T] | None = task  # until it has ended
        self.run: Callable[[], _T] | None = run
        self.is_result: bool = True
        self.value: Any = None
        self.is_asked: bool = False  # whether somebody has wanted to know

    def body(self) -> None:
        task, run, self.run = self.task, self.run, None
        assert task is not None and run is not None
        try:
            self.value = run()
        except the_greenlet().GreenletExit:
            self.is_result, self.value = False, CancelledError(f"the greenlet {task.name} was killed")
        except BaseException as error:
            self.is_result, self.value = False, error
        del task, run  # a traceback holds this frame

    def ended(self) -> None:
        task, self.task = self.task, None
        assert task is not None
        if self.is_result:
            task.set_result(self.value)
        else:
            task.set_exception(self.value)

    def cancel(self) -> None:
        task, self.task, self.run = self.task, None, None
        assert task is not None
        task.cancel()


class GreenletHub:
    """Greenlets that run in a GLib main loop, each until it waits; then the main loop goes on.

    A greenlet is switched to only from the queue of a `HostLoop`, and gives control back before the queue's callback
    returns to GLib. So GLib's dispatch is left as it was entered, ``GLib.main_depth()`` is right in every greenlet, and
    a main loop that a greenlet runs inside itself stops the other greenlets until it is over.

    ``context``: the ``GLib.MainContext``; None: the calling thread's default one. ``cache``: for `run`; None: the
    process's default cache. The thread that makes the hub is its own, and is to iterate the context. Where nothing else
    is said, methods are for its greenlets; WrongThreadError elsewhere. A greenlet owns the locks of `selvedge.sync`
    that it takes, and they break if it ends with them.
    """

    def __init__(self, context: Any = None, *, cache: ThreadCache | None = None, name: str | None = None) -> None:
        if cache is not None and not isinstance(cache, ThreadCache):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"cache must be a selvedge.ThreadCache or None, not {type(cache).__name__}")
        self._loop = HostLoop(context, name=name)
        self._core = Core(self._loop, self._loop.context)
        self._cache = cache
        self._count = itertools.count(1)

    @property
    def loop(self) -> HostLoop:
        """The queue from which the greenlets are switched to. It is closed with the hub."""
        return self._loop

    # ---- any thread ----

    def call_soon(self, fn: Callable[..., object], /, *args: Any, idempotent: bool = False) -> None:
        """Calls ``fn(*args)`` in the main loop, outside of greenlets: it must not wait.

        Any thread; does not block. See `HostLoop.call_soon`.
        """
        self._loop.call_soon(fn, *args, idempotent=idempotent)

    def spawn(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Task[_T]:
        """Has ``fn(*args, **kwargs)`` run in a new greenlet, when the main loop comes to it.

        Any thread; does not block.

        Raises ClosedResourceError, ForkedError.
        """
        if not callable(fn):
            raise TypeError(f"fn must be callable, not {type(fn).__name__}")
        if self._core.is_closed:
            raise ClosedResourceError("the hub is closed")
        name = f"{getattr(fn, '__name__', 'greenlet')}-{next(self._count)}"
        return Task(self._core, name, lambda: fn(*args, **kwargs))

    def current(self) -> Task[Any] | None:
        """The task whose greenlet runs on the calling thread, or None."""
        strand = self._core.current()
        task: Task[Any] | None = getattr(strand.owner, "task") if strand is not None else None
        return task

    # ---- in a greenlet ----

    def wait(self) -> Any:
        """Gives control to the main loop until somebody calls the task's `Task.resume`; returns what that was given."""
        return self._strand().receive()

    def switch(self, task: Task[Any], value: Any = None) -> Any:
        """`Task.resume` of another task, and `wait`."""
        strand = self._strand()
        task.resume(value)
        return strand.receive()

    def pause(self) -> None:
        """Lets the main loop and the other greenlets do what there is to do, and goes on."""
        wait = self._core.begin_wait()
        self._loop.call_soon(wait.wake)
        wait.give_control()

    def sleep(self, seconds: float) -> None:
        """Gives control to the main loop for so long. Rounded up to whole milliseconds."""
        if seconds is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise TypeError("seconds must be a number, not None; `wait` has no end")
        check_time(seconds, "seconds")
        wait = self._core.begin_wait()
        with self._core.timer(seconds, wait.wake):
            wait.give_control()

    def run(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Runs a function that blocks on a thread of the cache, and returns what it returns or raises what it raises.

        If the waiting greenlet is killed the function goes on, and its outcome is lost.
        """
        if not callable(fn):
            raise TypeError(f"fn must be callable, not {type(fn).__name__}")
        wait = self._core.begin_wait()

        def deliver(outcome: Outcome[_T]) -> None:
            with contextlib.suppress(ClosedResourceError, ForkedError):
                self._loop.call_soon(wait.wake, outcome)

        cache = self._cache if self._cache is not None else default_cache()
        cache.start_thread_soon(lambda: fn(*args, **kwargs), deliver)
        outcome: Outcome[_T] = wait.give_control()
        return outcome.unwrap()

    def acquire(self, what: _Acquirable, timeout: float | None = None) -> bool:
        """Acquires a lock, a semaphore or a limiter for the greenlet, while the main loop goes on.

        False if ``timeout`` seconds passed first.

        ``what`` is an object of `selvedge.sync`, or another face of one. Give it back with its own ``release``. Raises
        as its ``acquire`` does.
        """
        native = getattr(what, "native", None)
        if not hasattr(native, "acquire_async"):
            raise TypeError(f"a lock, a semaphore or a limiter of selvedge is needed, not {type(what).__name__}")
        try:
            self.perform(what.native.acquire_async, timeout=timeout)
        except TimedOutError:
            return False
        return True

    @contextlib.contextmanager
    def holding(self, what: _Acquirable) -> Generator[None]:
        """``with hub.holding(lock):`` acquires it, and releases it at the end."""
        self.acquire(what)
        try:
            yield
        finally:
            what.native.release()

    def wait_on(self, condition: _sync.Condition, timeout: float | None = None) -> bool:
        """Waits to be notified, as ``condition.wait(timeout)`` does.

        The greenlet has the lock afterwards, also if it was killed meanwhile.
        """
        try:
            self._perform(condition.native.wait_async, timeout, is_condition=True)
        except TimedOutError:
            return False
        return True

    def perform(self, begin: Callable[..., _sync.Op | None], *args: Any, timeout: float | None = None) -> Any:
        """Waits for any operation of `selvedge.sync`, as in ``hub.perform(event.wait_async)``, and returns its value.

        TimedOutError if ``timeout`` seconds passed first, and what the operation raises. For conditions there is
        `wait_on`.
        """
        return self._perform(begin, timeout, *args)

    # ---- the end ----

    def close(self) -> None:
        """Kills the greenlets that live, and closes the loop.

        On the hub's thread, outside of greenlets. May be repeated.

        A greenlet that waits again gets ClosedResourceError there; those that have not begun never will.
        BusyResourceError if one does not end.
        """
        core = self._core
        if threading.get_ident() != core.thread or core.running is not None:
            raise WrongThreadError("a hub is closed on its own thread, outside of its greenlets")
        core.is_closed = True
        for strand in list(core.strands):
            strand.kill(core.greenlets.GreenletExit())
        if core.strands:
            raise BusyResourceError(f"these greenlets do not end: {', '.join(strand.name for strand in core.strands)}")
        self._loop.close()

    def __enter__(self) -> GreenletHub:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # ---- inside ----

    def _strand(self) -> Strand:
        strand = self._core.current()
        if strand is None:
            raise WrongThreadError("only in a greenlet that this hub has spawned")
        return strand

    def _perform(
        self, begin: Callable[..., _sync.Op | None], timeout: float | None, *args: Any, is_condition: bool = False
    ) -> Any:
        core = self._core
        check_time(timeout, "timeout")
        wait = core.begin_wait()
        told: list[tuple[int, Any]] = []
        is_late = False

        def done(status: int, value: Any) -> None:
            told.append((status, value))
            wait.wake()

        def expire() -> None:
            nonlocal is_late
            is_late = operation is not None and operation.cancel()  # which is told, too

        operation = begin(_sync.task_current(), self._loop.address, done, *args)
        if operation is None:
            return None
        try:
            if timeout == 0:
                expire()
            with core.timer(timeout or None, expire):
                wait.give_control()
        except BaseException:
            if not is_condition:
                operation.abandon()
                raise
            operation.cancel()
            while not told:  # a condition's waiter gets its lock back in any case
                wait = core.begin_wait()
                with contextlib.suppress(core.greenlets.GreenletExit, Exception):
                    wait.give_control()
            raise
        status, value = told[0]
        if status >= 0:
            return value
        if is_late:
            raise TimedOutError("the operation was not done in time")
        raise value

"""A ``concurrent.futures.Executor`` whose calls run on a thread cache.

An executor owns no threads. It has a line of calls, and at most ``max_workers`` jobs in the cache at a time; each job
takes the first call of the line, and is followed by the next on the same thread as long as there are calls. So
executors that share a cache share its threads, and nobody waits on one.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import itertools
import logging
import os
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from typing import Any, ParamSpec, TypeVar

from outcome import Error, Outcome

from selvedge._errors import CancelledError, ClosedResourceError, DeadlockError, SelvedgeError, SpawnError
from selvedge._futures import Call
from selvedge.cache import ThreadCache, default_cache

__all__ = ["Executor"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_LOGGER = logging.getLogger("concurrent.futures")
_NUMBERS = itertools.count()
# Seconds. Calls that wait in line are run by one job of the cache for so long: a job for each has its price, for calls
# that do next to nothing a higher one than the call.
_SHARED_TIME = 0.001
_BROKEN = "an initializer failed, and the executor cannot be used any more"


class Executor(ThreadPoolExecutor):
    """Runs calls on the threads of a thread cache, as ``ThreadPoolExecutor`` does on its own.

    Futures, ``map``, cancellation, errors and the end of the program are as with ``ThreadPoolExecutor``. It is a
    subclass of that only because ``asyncio.loop.set_default_executor`` takes nothing else; it starts no threads and
    joins none.

    ``max_workers``: the most calls that run at a time. ``None``: as many as ``ThreadPoolExecutor`` would take. Further
    calls wait in order, and no thread waits with them. The cache's own ``max_workers`` holds as well.
    ``cache``: where the calls run; ``None`` is the process's default cache. It stays the caller's: ``shutdown`` does
    not end it.
    ``thread_name_prefix``: a thread is named ``<prefix>_<number>`` while it runs a call, with a number below
    ``max_workers``.
    ``initializer``, ``initargs``: ``initializer(*initargs)`` is called once on each thread that runs calls of this
    executor, before its first one. With a cache these can be more threads than ``max_workers``, one after the other. If
    it raises, the executor is broken: calls that wait, and later ``submit``, get
    ``concurrent.futures.thread.BrokenThreadPool``.

    Every call begins with an empty ``contextvars`` context, and is a task of its own: a lock of ``selvedge.sync`` that
    it holds at its end breaks. Calls that wait in line may share a job of the cache, for up to a millisecond: then the
    hooks ``before_job`` and ``after_job`` are run around them together. An executor that is dropped without
    ``shutdown`` finishes what was submitted.

    At the end of the program, what was submitted is finished first, before ``atexit`` callbacks run; submitting is
    refused from then on. In a child made by ``os.fork`` the executor works as a new one; calls of the parent that were
    not done end there with ``ForkedError``, and the callbacks of their futures are not called.

    Raises ``ValueError`` (``max_workers`` below 1), ``TypeError`` (``initializer`` is not callable, ``cache`` is no
    ``ThreadCache``). Any thread.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        cache: ThreadCache | None = None,
    ) -> None:
        if cache is not None and not isinstance(cache, ThreadCache):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"cache must be a selvedge.ThreadCache or None, not {type(cache).__name__}")
        prefix = thread_name_prefix or f"Executor-{next(_NUMBERS)}"
        super().__init__(max_workers, prefix, initializer, initargs)
        if cache is None:
            cache = default_cache()
        self._pool = _Pool(cache, self._max_workers, prefix, initializer, initargs)

    @property
    def cache(self) -> ThreadCache:
        """Where the calls run."""
        return self._pool.cache

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Puts ``fn(*args, **kwargs)`` in line and returns its future. Any thread; does not block.

        Callbacks of the future are called on the thread that ran ``fn``, and may block; the call counts as running
        until they have returned. Raises ``RuntimeError`` (after ``shutdown``, at the end of the program, the cache is
        shut down), ``BrokenThreadPool``, and ``SpawnError`` if no thread could be started and none of the executor's
        calls runs, on whose thread it could follow.
        """
        call: Call[_T] = Call(self._pool, (fn, args, kwargs))
        self._pool.submit(call)
        return call

    async def run(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """``submit``, and waits for the result: in an asyncio or a Trio task, so with both backends of anyio.

        If the waiting is cancelled, so is the call, if it has not begun. If it has: asyncio leaves it alone and its
        result is lost, Trio waits for its end. Raises what ``fn`` and ``submit`` raise.
        """
        future = self.submit(fn, *args, **kwargs)
        # Trio first: as a guest in asyncio's loop it runs where there is a running loop as well.
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_task():
            from selvedge.trio import wrap_future

            return await wrap_future(future)
        import asyncio

        return await asyncio.wrap_future(future)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuses calls from now on. May be called again.

        ``wait``: returns when all calls have ended. Raises ``DeadlockError`` (a ``RuntimeError``) for that in one of
        these calls, after everything else has been done. ``cancel_futures``: calls that no thread has begun, and for
        which none is on its way, are cancelled, and who waits for them is told. Any thread.
        """
        self._shutdown = True  # as others know it, who look
        self._pool.close()
        if cancel_futures:
            self._pool.cancel_pending()
        if wait:
            self._pool.join()


class _Pool:
    """The line and the slots of an executor. It outlives the executor until its calls have ended: it is held by jobs.

    The lock is taken again by its own thread when a finalizer submits or cancels in the middle of a section; so each
    section leaves everything in order before it calls anything that may allocate. No code of others is called with it
    held.
    """

    def __init__(
        self,
        cache: ThreadCache,
        max_workers: int,
        prefix: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        self.cache = cache
        self.max_workers = max_workers
        self.prefix = prefix
        self.initializer = initializer
        self.initargs = initargs
        self.local = threading.local()
        self.is_closed = self.is_broken = False
        self.generation = 0
        self.reset()
        _pools.add(self)

    def reset(self) -> None:
        self.lock = threading.RLock()
        self.idle = threading.Condition(self.lock)
        self.pending: OrderedDict[Call[Any], None] = OrderedDict()
        self.running: set[Call[Any]] = set()  # taken out of the line, and not told
        self.joiners = 0  # threads that wait until neither has any
        self.slots = 0  # in use
        self.coming = 0  # of these, those that have yet to take a call
        self.free_names: list[str] = []
        self.numbers = 0  # of names given out so far

    # ---- by submitters ----

    def submit(self, call: Call[Any]) -> None:
        slot = None
        try:
            with self.lock:
                if self.is_broken:
                    raise BrokenThreadPool(_BROKEN)
                if self.is_closed:
                    raise RuntimeError("cannot schedule new futures after shutdown")
                if _is_exiting:
                    raise RuntimeError("cannot schedule new futures after interpreter shutdown")
                self.pending[call] = None
                slot = self.new_slot(call)
                # Python runs signal handlers and finalizers at calls and jumps: what belongs together has none in
                # between.
                if slot is not None and self.coming < len(self.pending) and self.slots < self.max_workers:
                    slot.is_coming = True
                    self.slots += 1
                    self.coming += 1
            if slot is None or not slot.is_coming:
                return
            error = slot.start()
        except BaseException:
            self.undo(call, slot)
            raise
        if error is None or not self.give_up(slot, error) or not self.withdraw(call):
            return
        if isinstance(error, ClosedResourceError):
            raise RuntimeError("cannot schedule new futures after the shutdown of the thread cache") from error
        raise error

    def undo(self, call: Call[Any], slot: _Slot | None) -> None:
        """A signal handler has raised in the middle of a submit.

        Whether the cache was asked is not known: if it was, its job finds nothing to do.
        """
        with self.lock:
            if slot is not None and slot.is_coming and self.arrive(slot):
                slot.generation = -1
                self.close_slot(slot)
            if call in self.pending:
                del self.pending[call]
                self.tell_if_idle()
            # Others may have relied on that slot.
            other = self.new_slot(next(iter(self.pending))) if self.pending else None
            if other is not None:
                other.is_coming = True
                self.slots += 1
                self.coming += 1
        if other is not None:
            other.start_or_fail()

    def withdraw(self, call: Call[Any]) -> bool:
        """Takes a call out of the line, if it is still there."""
        with self.lock:
            if call not in self.pending:
                return False
            del self.pending[call]
            self.tell_if_idle()
            return True

    def close(self) -> None:
        with self.lock:
            self.is_closed = True

    def cancel_pending(self) -> None:
        with self.lock:
            # As with ThreadPoolExecutor, a thread that has been asked for gets its first call.
            calls = list(self.pending)[self.coming :]
        for call in calls:
            call.cancel()

    def join(self) -> None:
        """Waits until all calls have ended."""
        if getattr(self.local, "is_inside", False):
            raise DeadlockError("a call of an executor cannot wait for all its calls: it would wait for itself")
        with self.lock:
            self.joiners += 1
            try:
                while self.pending or self.running:
                    self.idle.wait()
            finally:
                self.joiners -= 1

    # ---- slots ----

    def new_slot(self, cause: Call[Any]) -> _Slot | None:
        """A slot, if one may be needed and allowed. Not in use yet: see `submit`. With the lock."""
        if self.slots >= self.max_workers or self.coming >= len(self.pending):
            return None
        if self.free_names:
            return _Slot(self, self.free_names.pop(), cause)
        self.numbers += 1
        return _Slot(self, f"{self.prefix}_{self.numbers - 1}", cause)

    def close_slot(self, slot: _Slot) -> None:
        """With the lock."""
        self.slots -= 1
        self.free_names.append(slot.name)

    def arrive(self, slot: _Slot) -> bool:
        """The slot's job has begun, or never will. False if the slot is the parent process's. With the lock."""
        if slot.generation != self.generation:
            return False
        if slot.is_coming:
            slot.is_coming = False
            self.coming -= 1
        return True

    def give_up(self, slot: _Slot, error: Exception) -> bool:
        """The slot could not get a thread. True if nobody can take the calls that wait."""
        with self.lock:
            if not self.arrive(slot):
                return False
            self.close_slot(slot)
            return not (isinstance(error, SpawnError) and self.slots > 0)

    def take(self, slot: _Slot) -> Call[Any] | None:
        """The first call of the line."""
        with self.lock:
            slot.cause = None
            return self.pop() if self.arrive(slot) else None

    def take_cause(self, slot: _Slot) -> Call[Any] | None:
        """The call for which the slot's job was asked for, if it still waits: for a job that did not run."""
        with self.lock:
            call, slot.cause = slot.cause, None
            if not self.arrive(slot) or call is None or call not in self.pending:
                return None
            del self.pending[call]
            self.running.add(call)
            return call

    def pop(self) -> Call[Any] | None:
        """With the lock."""
        if not self.pending:
            return None
        call, _ = self.pending.popitem(last=False)
        self.running.add(call)
        return call

    def goes_on(self, slot: _Slot) -> bool:
        """Whether a slot that has done its call is to take another; if not, it is closed."""
        with self.lock:
            if not self.arrive(slot):
                return False
            if self.pending:
                slot.cause = next(iter(self.pending))
                slot.is_coming = True
                self.coming += 1
                return True
            self.close_slot(slot)
            return False

    def follow(self, slot: _Slot, call: Call[Any]) -> Call[Any] | None:
        """`ended`, and the first call of the line for the same job."""
        with self.lock:
            self.running.discard(call)
            following = self.pop() if slot.generation == self.generation else None
            if following is None:
                self.tell_if_idle()
            return following

    def ended(self, call: Call[Any]) -> None:
        # Without the lock, since hardly ever anybody waits: who does has said so before it looks at what still runs.
        self.running.discard(call)
        if self.joiners:
            with self.lock:
                self.tell_if_idle()

    def tell_if_idle(self) -> None:
        """With the lock."""
        if self.joiners and not self.pending and not self.running:
            self.idle.notify_all()

    # ---- the initializer, and failure ----

    def initialize(self, slot: _Slot, initializer: Callable[..., object]) -> None:
        """Calls the initializer if this thread has not."""
        if getattr(self.local, "is_initialized", False):
            return
        with self.lock:
            self.arrive(slot)  # it may take its time: calls that come meanwhile do not wait for it
        try:
            initializer(*self.initargs)
        except BaseException:
            _LOGGER.critical("Exception in initializer:", exc_info=True)
            with self.lock:
                self.is_broken = True
            self.fail_pending(BrokenThreadPool(_BROKEN))
        else:
            self.local.is_initialized = True

    def fail_pending(self, error: Exception) -> None:
        """Every call that waits gets an exception of its own."""
        while True:
            with self.lock:
                call = self.pop()
            if call is None:
                return
            call.refuse(copy.copy(error))
            self.ended(call)

    # ---- fork ----

    def after_fork(self) -> None:
        """In the child, on its only thread. What was in hand may have been in the middle of a change."""
        stranded = [*self.pending, *self.running]
        self.generation += 1
        self.reset()
        for call in stranded:
            call.strand()


class _Slot:
    """A row of jobs of the cache, one after the other, each with one call. A pool has at most `max_workers`."""

    def __init__(self, pool: _Pool, name: str, cause: Call[Any] | None) -> None:
        self.pool = pool
        self.name = name
        self.cause = cause  # the call for which the next job was asked for; but each takes whichever is first
        self.generation = pool.generation
        self.is_coming = False  # it is in use, and its job has not begun
        self.call: Call[Any] | None = None

    def start(self) -> Exception | None:
        """Asks the cache for the next job. The exception if it refused."""
        try:
            self.pool.cache.start_thread_soon(self.run, self.deliver, self.name)
        except (SelvedgeError, MemoryError) as error:  # what a signal handler raises may come when it has been accepted
            return error
        return None

    def start_or_fail(self) -> None:
        """`start`; and if nobody can take the calls that wait, they get the exception."""
        error = self.start()
        if error is not None and self.pool.give_up(self, error):
            self.pool.fail_pending(error)

    def run(self) -> None:
        """The job: one call, or several short ones, if there still are any.

        Who waits for the last result is told in `deliver`, when the thread is free again and so gets what they submit
        next. Callbacks are called here: they may block, and wait for other calls, which must not be given to this very
        thread.
        """
        pool = self.pool
        pool.local.is_inside = True
        try:
            if pool.initializer is not None:
                pool.initialize(self, pool.initializer)
            self.call = call = pool.take(self)
            if call is not None:
                until = time.monotonic() + _SHARED_TIME
                tasks = self.run_as_task(call)
                # If locks have come into use only now, the call may hold some, which break with the job.
                while pool.pending and time.monotonic() < until and tasks == _tasks_in_use():
                    call.tell()
                    self.call = call = pool.follow(self, call)
                    if call is None:
                        break
                    tasks = contextvars.Context().run(self.run_as_task, call)
            del call  # see `invoke`
        finally:
            pool.local.is_inside = False
            del self, pool

    def run_as_task(self, call: Call[Any]) -> bool:
        """Runs a call that may not be the only one of its job; if locks are in use, as a task of its own.

        Whether they are.
        """
        if not _tasks_in_use():
            call.run()
            del self, call  # see `invoke`
            return False
        sync: Any = sys.modules["selvedge._sync"]
        number = sync.task_new(self.name)
        previous = sync.task_enter(number)
        try:
            call.run()
        finally:
            sync.task_leave(previous)
            sync.task_exit(number)
            del self, call
        return True

    def deliver(self, outcome: Outcome[None]) -> None:
        """On the worker, when it is free. If the job did not run, anywhere."""
        pool = self.pool
        call, self.call = self.call, None
        if type(outcome) is Error:  # isinstance would ask abc.ABCMeta, for each call
            if call is not None:
                call.lose(outcome.error)
            elif isinstance(outcome.error, CancelledError):
                pool.fail_pending(outcome.error)  # the cache was told to take nothing and to forget what is queued
            else:
                call = pool.take_cause(self)
                if call is not None:
                    call.refuse(outcome.error)
        if pool.goes_on(self):
            self.start_or_fail()
        if call is not None:
            if call.tell_without_callbacks():
                pool.ended(call)
            else:
                _Telling(pool, call).start()


class _Telling:
    """A job that calls the callbacks of a call, for those that came between its end and its delivery."""

    def __init__(self, pool: _Pool, call: Call[Any]) -> None:
        self.pool = pool
        self.call = call

    def start(self) -> None:
        try:
            self.pool.cache.start_thread_soon(self.run, self.deliver)
        except Exception:
            self.run()  # no other thread is to be had
            self.pool.ended(self.call)

    def run(self) -> None:
        self.pool.local.is_inside = True
        try:
            self.call.call_back()
        finally:
            self.pool.local.is_inside = False

    def deliver(self, outcome: Outcome[None]) -> None:
        if isinstance(outcome, Error):
            self.run()
        self.pool.ended(self.call)


def _tasks_in_use() -> bool:
    """Whether anything here can have taken a lock."""
    return hasattr(sys.modules.get("selvedge._sync"), "task_exit")


_pools: weakref.WeakSet[_Pool] = weakref.WeakSet()
_is_exiting = False


def _finish_all() -> None:
    """At the end of the program, or of the interpreter."""
    global _is_exiting
    _is_exiting = True
    for pool in list(_pools):
        with contextlib.suppress(DeadlockError):  # a host ends Python inside a call
            pool.join()


def _after_fork() -> None:
    for pool in list(_pools):
        pool.after_fork()


# Before threads are joined and `atexit` callbacks run: Python has no public name for that moment, and
# `concurrent.futures` uses this one.
getattr(threading, "_register_atexit")(_finish_all)
os.register_at_fork(after_in_child=_after_fork)

"""selvedge.Executor where it differs from ThreadPoolExecutor, and where CPython's own tests do not look."""

from __future__ import annotations

import concurrent.futures
import contextvars
import gc
import logging
import os
import random
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

import pytest

import selvedge
from selvedge import DeadlockError, Executor, HookFailedError, ThreadCache, register_hook

PATIENCE = 30


@pytest.fixture
def cache() -> Iterator[ThreadCache]:
    cache = ThreadCache("test")
    yield cache
    cache.shutdown(PATIENCE)


class Gate:
    """A call that says when it has begun, and goes on when it may."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.open.wait(PATIENCE)
        return "passed"


def test_results_and_errors(cache: ThreadCache) -> None:
    with Executor(3, cache=cache) as executor:
        assert executor.cache is cache
        assert isinstance(executor, concurrent.futures.Executor)
        assert executor.submit(pow, 2, exp=5).result(PATIENCE) == 32
        assert list(executor.map(divmod, [7, 8], [2, 3])) == [(3, 1), (2, 2)]
        with pytest.raises(ZeroDivisionError) as caught:
            executor.submit(divmod, 1, 0).result(PATIENCE)
        assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "invoke"
        for kind in (KeyboardInterrupt, SystemExit, GeneratorExit):

            def raises(kind: type[BaseException] = kind) -> None:
                raise kind("mine")

            assert type(executor.submit(raises).exception(PATIENCE)) is kind
        assert isinstance(executor.submit("not callable").exception(PATIENCE), TypeError)  # type: ignore[arg-type]


def test_the_default_cache() -> None:
    with Executor() as executor:
        assert executor.cache is selvedge.default_cache()
        assert executor.submit(int).result(PATIENCE) == 0


def test_arguments_in_the_order_of_thread_pool_executor() -> None:
    seen: list[str] = []
    with Executor(2, "weaver", seen.append, ("initialized",)) as executor:
        assert executor.submit(lambda: threading.current_thread().name).result(PATIENCE).startswith("weaver_")
    assert set(seen) == {"initialized"}


def test_bad_arguments(cache: ThreadCache) -> None:
    with pytest.raises(TypeError, match="cache must be a selvedge.ThreadCache or None, not int"):
        Executor(cache=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_workers"):
        Executor(0, cache=cache)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Executor(cache=cache, initializer=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Executor(cache=cache).submit()  # type: ignore[call-arg]


# ---- threads ----


def test_one_after_the_other_takes_one_thread(cache: ThreadCache) -> None:
    executor = Executor(8, cache=cache)
    idents = {executor.submit(threading.get_ident).result(PATIENCE) for _ in range(300)}
    assert len(idents) == 1
    assert cache.stats().started == 1


def test_the_bound_holds_and_nobody_waits_on_a_thread(cache: ThreadCache) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        meeting.wait(PATIENCE)
        with lock:
            running -= 1

    meeting = threading.Barrier(3)
    executor = Executor(3, cache=cache)
    futures = [executor.submit(call) for _ in range(60)]
    for future in futures:
        future.result(PATIENCE)
    assert most == 3
    assert cache.stats().peak_workers == 3


def test_two_executors_share_threads_and_not_their_bounds(cache: ThreadCache) -> None:
    one, other = Executor(2, cache=cache), Executor(2, cache=cache)
    gates = [Gate() for _ in range(4)]
    executors = one, one, other, other
    futures: list[Future[Any]] = [executor.submit(gate) for executor, gate in zip(executors, gates, strict=True)]
    for gate in gates:
        assert gate.begun.wait(PATIENCE)
    waiting = one.submit(int)
    assert cache.stats().busy == 4
    assert not waiting.done()
    for gate in gates:
        gate.open.set()
    assert [future.result(PATIENCE) for future in (*futures, waiting)] == ["passed"] * 4 + [0]
    assert cache.stats().started == 4


def test_calls_run_in_order(cache: ThreadCache) -> None:
    seen: list[int] = []
    with Executor(1, cache=cache) as executor:
        for number in range(1000):
            executor.submit(seen.append, number)
    assert seen == list(range(1000))


def test_the_bound_of_the_cache_holds_as_well() -> None:
    cache = ThreadCache("bounded", max_workers=2)
    executor = Executor(10, cache=cache)
    gates = [Gate() for _ in range(10)]
    futures = [executor.submit(gate) for gate in gates]
    for gate in gates[:2]:
        assert gate.begun.wait(PATIENCE)
    assert cache.stats().workers == 2
    for gate in gates:
        gate.open.set()
    assert [future.result(PATIENCE) for future in futures] == ["passed"] * 10
    assert cache.stats().peak_workers == 2
    cache.shutdown(PATIENCE)


def names() -> tuple[str, str]:
    with open(f"/proc/self/task/{threading.get_native_id()}/comm") as file:
        return threading.current_thread().name, file.read().strip()


def test_names(cache: ThreadCache) -> None:
    executor = Executor(3, cache=cache, thread_name_prefix="named")
    gates = [Gate() for _ in range(2)]
    for gate in gates:
        executor.submit(gate)
        assert gate.begun.wait(PATIENCE)
    assert executor.submit(names).result(PATIENCE) == ("named_2", "named_2")
    for gate in gates:
        gate.open.set()
    executor.shutdown()
    assert Executor(cache=cache).submit(names).result(PATIENCE)[0].startswith("Executor-")


def test_no_context_from_outside_or_before(cache: ThreadCache) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    variable.set("the submitter's")
    executor = Executor(1, cache=cache)
    assert executor.submit(variable.get).result(PATIENCE) == "none"
    executor.submit(variable.set, "the call's before").result(PATIENCE)
    assert executor.submit(variable.get).result(PATIENCE) == "none"


def test_a_lock_held_at_the_end_of_a_call_breaks(cache: ThreadCache) -> None:
    from selvedge.sync import Lock

    executor, lock = Executor(1, cache=cache), Lock()
    assert executor.submit(lock.acquire).result(PATIENCE)
    with pytest.raises(selvedge.BrokenResourceError):
        lock.acquire()


def test_no_call_is_forgotten() -> None:
    """Calls that need each other to go on, among others that are cancelled, on threads that come and go."""
    cache, rounds = ThreadCache("restless", idle_timeout=0.001), list[int]()

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for bound in (1, 2, 3):
            executor = Executor(bound, cache=cache)
            for number in range(100):
                meeting = threading.Barrier(bound)
                others = [executor.submit(int) for _ in range(dice.randrange(4))]
                needed = [executor.submit(meeting.wait, PATIENCE) for _ in range(bound)]
                others += [executor.submit(int) for _ in range(dice.randrange(3))]
                for future in dice.sample(others, len(others) // 2):
                    future.add_done_callback(lambda _: None)
                for future in dice.sample(others, len(others) // 2):
                    future.cancel()
                for future in needed:
                    future.result(PATIENCE)
                assert not concurrent.futures.wait(others, PATIENCE).not_done
                rounds.append(number)
            executor.shutdown()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rounds) == 3 * 3 * 100
    cache.shutdown(PATIENCE)


# ---- waiting for a result ----


def test_all_who_wait_are_woken(cache: ThreadCache) -> None:
    executor, gate, told = Executor(2, cache=cache), Gate(), list[object]()
    future = executor.submit(gate)
    threads = [threading.Thread(target=lambda: told.append(future.result(PATIENCE))) for _ in range(3)]
    threads += [threading.Thread(target=lambda: told.append(future.exception(PATIENCE))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert gate.begun.wait(PATIENCE)
    for timeout in (-1, 0, 0.0, 0.001, 0.02):
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(timeout)
        with pytest.raises(concurrent.futures.TimeoutError):
            future.exception(timeout)
    assert not told
    gate.open.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(map(str, told)) == ["None"] * 3 + ["passed"] * 3
    assert future.result(float("inf")) == "passed"


def test_who_waits_is_told_of_a_cancellation(cache: ThreadCache) -> None:
    executor, gate, told = Executor(1, cache=cache), Gate(), list[str]()
    running, waiting = executor.submit(gate), executor.submit(int)
    assert gate.begun.wait(PATIENCE)
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        with pytest.raises(CancelledError):
            waiting.result(PATIENCE)
        told.append("cancelled")

    thread = threading.Thread(target=wait)
    thread.start()
    assert waits.wait(PATIENCE)
    thread.join(0.02)
    assert waiting.cancel()
    thread.join(PATIENCE)
    assert told == ["cancelled"]
    gate.open.set()
    assert running.result(PATIENCE) == "passed"


def test_who_a_delivery_unparks_wakes_when_it_has_ended(cache: ThreadCache) -> None:
    """Then the GIL is free, or at least not the delivery's."""
    from selvedge._cache import Parker

    order: list[str] = []
    parkers = [Parker() for _ in range(3)]

    def wait(parker: Parker) -> None:
        order.append(f"woken {parker.park(PATIENCE)}")

    threads = [threading.Thread(target=wait, args=(parker,)) for parker in parkers]
    for thread in threads:
        thread.start()
    unneeded = threading.Event()

    def inner(_: object) -> None:
        parkers[1].unpark(False)

    def deliver(_: object) -> None:
        parkers[0].unpark(False)
        parkers[0].unpark(False)
        unneeded.wait(0.05)  # others have the GIL meanwhile
        order.append("delivered")
        parkers[2].unpark(False)
        at_once.unpark(False)
        at_once.unpark(True)
        assert at_once.park(PATIENCE)

    at_once = Parker()
    cache.start_thread_soon(int, deliver)
    threads[0].join(PATIENCE)
    threads[2].join(PATIENCE)
    assert order == ["delivered", "woken True", "woken True"]
    assert parkers[0].park(0) and not Parker().park(0)
    # A delivery inside a call that cancels, on this thread.
    limited, gate = ThreadCache("limited", max_workers=1), Gate()
    limited.start_thread_soon(gate, lambda _: None)
    assert gate.begun.wait(PATIENCE)
    assert limited.submit(int, inner).cancel()
    threads[1].join(PATIENCE)
    assert order[3:] == ["woken True"]
    gate.open.set()
    limited.shutdown(PATIENCE)
    with pytest.raises(ValueError, match="timeout must be at least 0 seconds"):
        Parker().park(-1)


FORKED_WHILE_IT_WAITS = """
import os, signal, threading, warnings
from selvedge import Executor, ForkedError

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside other threads

executor = Executor(1)
ready, handled = threading.Event(), threading.Event()

def handler(number, frame):
    global child
    if not handled.is_set():
        child = os.fork()
        handled.set()

def call():
    ready.wait()
    while not handled.wait(0.01):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
    return "done"

signal.signal(signal.SIGUSR1, handler)
future = executor.submit(call)
ready.set()
try:
    print(future.result())
except ForkedError:
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_in_the_middle_of_a_wait(run_program: Any) -> None:
    """A handler forks while its thread waits for a call, which the child does not have."""
    assert run_program(FORKED_WHILE_IT_WAITS) == "done\n7\n"


# ---- cancelling ----


def test_cancel(cache: ThreadCache) -> None:
    class Argument:
        pass

    executor, gate = Executor(1, cache=cache), Gate()
    running, argument = executor.submit(gate), Argument()
    assert gate.begun.wait(PATIENCE)
    waiting = executor.submit(id, argument)
    reference = weakref.ref(argument)
    del argument
    told: list[Future[int]] = []
    waiting.add_done_callback(told.append)
    assert not running.cancel() and running.running()
    assert not waiting.done()
    assert waiting.cancel() and waiting.cancel()
    assert told == [waiting] and waiting.cancelled() and waiting.done()
    assert reference() is None
    # Who waits is told at once, while the only thread is busy.
    assert concurrent.futures.wait([waiting], PATIENCE).done == {waiting}
    with pytest.raises(CancelledError):
        waiting.result(0)
    gate.open.set()
    assert running.result(PATIENCE) == "passed"
    executor.shutdown()


def test_shutdown_cancels_what_has_not_begun(cache: ThreadCache) -> None:
    executor, gate = Executor(1, cache=cache), Gate()
    running = executor.submit(gate)
    assert gate.begun.wait(PATIENCE)
    waiting = [executor.submit(int) for _ in range(100)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    assert not concurrent.futures.wait(waiting, PATIENCE).not_done
    gate.open.set()
    executor.shutdown(wait=True)
    assert running.result(0) == "passed"
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(int)


def test_cancel_storm(cache: ThreadCache) -> None:
    """Each call either runs or is cancelled, never both and never neither."""
    executor, ran = Executor(3, cache=cache), set[int]()
    futures = [executor.submit(ran.add, number) for number in range(3000)]
    cancelled = {number for number in reversed(range(3000)) if futures[number].cancel()}
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert not ran & cancelled and ran | cancelled == set(range(3000))
    assert ran == {number for number, future in enumerate(futures) if not future.cancelled()}


# ---- waiting for the end ----


def test_shutdown_waits(cache: ThreadCache) -> None:
    executor, gate = Executor(2, cache=cache), Gate()
    future = executor.submit(gate)
    assert gate.begun.wait(PATIENCE)
    waiter = threading.Thread(target=executor.shutdown)
    waiter.start()
    waiter.join(0.05)
    assert waiter.is_alive()
    gate.open.set()
    waiter.join(PATIENCE)
    assert not waiter.is_alive() and future.done()
    assert not cache.closed


@pytest.mark.parametrize("where", ["call", "callback"])
def test_shutdown_inside_a_call_is_refused(cache: ThreadCache, where: str) -> None:
    executor, gate, errors = Executor(2, cache=cache), Gate(), list[BaseException]()

    def end(*_: object) -> None:
        try:
            executor.shutdown()
        except RuntimeError as error:
            errors.append(error)

    if where == "callback":
        future = executor.submit(gate)
        future.add_done_callback(end)
        gate.open.set()
    else:
        executor.submit(end)
    executor.shutdown()
    assert [type(error) for error in errors] == [DeadlockError]
    with pytest.raises(RuntimeError):
        executor.submit(int)


def test_an_executor_waits_for_another_on_the_same_cache(cache: ThreadCache) -> None:
    def inner() -> int:
        with Executor(2, cache=cache) as executor:
            return sum(executor.map(int, ["1", "2", "3"]))

    assert Executor(1, cache=cache).submit(inner).result(PATIENCE) == 6


def test_without_shutdown_everything_is_finished(cache: ThreadCache) -> None:
    gc.disable()
    try:
        executor, gate = Executor(1, cache=cache), Gate()
        reference = weakref.ref(executor)
        futures: list[Future[Any]] = [executor.submit(gate), *(executor.submit(int) for _ in range(10))]
        assert gate.begun.wait(PATIENCE)
        del executor
        assert reference() is None  # no call and no thread holds it
        gate.open.set()
        assert [future.result(PATIENCE) for future in futures] == ["passed"] + [0] * 10
    finally:
        gc.enable()


# ---- callbacks ----


def test_callbacks_may_wait_for_other_calls(cache: ThreadCache) -> None:
    """As those of ThreadPoolExecutor may: what they wait for must not be given to their own thread."""
    executor, gate, seen = Executor(2, cache=cache), Gate(), Future[tuple[str, int]]()

    def callback(future: Future[str]) -> None:
        seen.set_result((future.result(), executor.submit(abs, -3).result(PATIENCE)))

    executor.submit(gate).add_done_callback(callback)
    gate.open.set()
    assert seen.result(PATIENCE) == ("passed", 3)
    executor.shutdown()


def test_callbacks_that_come_at_the_end_of_the_call(cache: ThreadCache) -> None:
    """Added just when the call ends, and waiting for another: called once, on whichever thread, and never stuck."""
    executor, called = Executor(2, cache=cache), list[tuple[int, int]]()
    for number in range(500):
        event, is_over = threading.Event(), threading.Event()

        def callback(_: object, number: int = number, is_over: threading.Event = is_over) -> None:
            called.append((number, executor.submit(int).result(PATIENCE)))
            is_over.set()

        future = executor.submit(event.wait, PATIENCE)
        event.set()
        for _ in range(number % 20):
            pass
        future.add_done_callback(callback)
        assert is_over.wait(PATIENCE)
    executor.shutdown()
    assert called == [(number, 0) for number in range(500)]


def test_a_callback_that_raises_is_logged(cache: ThreadCache, caplog: pytest.LogCaptureFixture) -> None:
    executor, gate = Executor(1, cache=cache), Gate()

    def callback(_: object) -> None:
        raise ValueError("of the callback")

    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        executor.submit(gate).add_done_callback(callback)
        gate.open.set()
        executor.shutdown()
    assert "of the callback" in caplog.text


def test_a_future_that_somebody_else_has_set(cache: ThreadCache) -> None:
    executor, gate = Executor(1, cache=cache), Gate()
    future: Future[Any] = executor.submit(gate)
    assert gate.begun.wait(PATIENCE)
    future.set_result("stolen")
    gate.open.set()
    assert future.result(0) == "stolen"
    executor.shutdown()
    with pytest.raises(InvalidStateError):
        future.set_result("again")


# ---- the initializer ----


def test_initializer_once_for_each_thread_and_executor(cache: ThreadCache) -> None:
    calls: list[tuple[str, int]] = []

    def initialize(name: str) -> None:
        calls.append((name, threading.get_ident()))

    def executor(name: str) -> Executor:
        return Executor(4, cache=cache, initializer=initialize, initargs=(name,))

    one, other = executor("one"), executor("other")
    meeting = threading.Barrier(8)
    futures = [e.submit(meeting.wait, PATIENCE) for _ in range(4) for e in (one, other)]
    concurrent.futures.wait(futures, PATIENCE)
    for e in (one, other):
        assert len(list(e.map(abs, range(1000)))) == 1000
    threads = cache.stats().started
    assert len(calls) == len(set(calls)) <= 2 * threads
    assert {name for name, _ in calls} == {"one", "other"}


def test_a_slow_initializer_holds_nobody_up(cache: ThreadCache) -> None:
    entered, going_on = threading.Event(), threading.Event()
    slow = [True]

    def initialize() -> None:
        if slow.pop() if slow else False:
            entered.set()
            going_on.wait(PATIENCE)

    executor = Executor(2, cache=cache, initializer=initialize)
    futures = [executor.submit(int)]
    assert entered.wait(PATIENCE)
    futures += [executor.submit(int) for _ in range(20)]
    assert not concurrent.futures.wait(futures, PATIENCE).not_done
    going_on.set()
    executor.shutdown()


def test_initializer_fails(cache: ThreadCache, caplog: pytest.LogCaptureFixture) -> None:
    entered, going_on = threading.Event(), threading.Event()

    def initialize() -> None:
        entered.set()
        going_on.wait(PATIENCE)
        raise ValueError("no good")

    executor = Executor(1, cache=cache, initializer=initialize)
    first = executor.submit(int)
    assert entered.wait(PATIENCE)
    waiting = [executor.submit(int) for _ in range(5)]
    assert waiting[0].cancel()
    going_on.set()
    for future in (first, *waiting[1:]):
        assert isinstance(future.exception(PATIENCE), BrokenThreadPool)
    assert waiting[0].cancelled()
    assert first.exception() is not waiting[1].exception()
    with pytest.raises(BrokenThreadPool, match="an initializer failed"):
        executor.submit(int)
    executor.shutdown()
    assert "no good" in caplog.text
    assert Executor(1, cache=cache).submit(int).result(PATIENCE) == 0


# ---- what the cache cannot do ----


def test_cache_is_shut_down() -> None:
    cache = ThreadCache("ended")
    executor, gate = Executor(1, cache=cache), Gate()
    running = executor.submit(gate)
    assert gate.begun.wait(PATIENCE)
    waiting = executor.submit(int)
    ending = threading.Thread(target=cache.shutdown, args=(PATIENCE,))
    ending.start()
    while not cache.closed:
        pass
    gate.open.set()
    assert running.result(PATIENCE) == "passed"
    assert isinstance(waiting.exception(PATIENCE), selvedge.ClosedResourceError)
    ending.join(PATIENCE)
    with pytest.raises(RuntimeError, match="after the shutdown of the thread cache") as caught:
        executor.submit(int)
    assert isinstance(caught.value.__cause__, selvedge.ClosedResourceError)
    executor.shutdown()


def test_cache_cancels_what_is_queued() -> None:
    cache = ThreadCache("cancelling", max_workers=1)
    gate, executor = Gate(), Executor(3, cache=cache)
    running = executor.submit(gate)
    assert gate.begun.wait(PATIENCE)
    waiting = [executor.submit(int) for _ in range(5)]
    with pytest.raises(selvedge.TimedOutError):
        cache.shutdown(0, cancel_queued=True)
    assert all(future.cancelled() for future in waiting)
    gate.open.set()
    assert running.result(PATIENCE) == "passed"
    cache.shutdown(PATIENCE)
    executor.shutdown()


def test_a_hook_fails(cache: ThreadCache) -> None:
    def start() -> None:
        raise ValueError("not today")

    executor = Executor(2, cache=cache)
    with register_hook("failing", on_start=start, cache=cache):
        futures = [executor.submit(int) for _ in range(10)]
        for future in futures:
            assert isinstance(future.exception(PATIENCE), HookFailedError)
    assert executor.submit(int).result(PATIENCE) == 0
    executor.shutdown()


NO_THREADS = """
import resource, threading
from selvedge import Executor, SpawnError, ThreadCache

def no_more_threads():
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (4 << 20), resource.RLIM_INFINITY))

def again():
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

begun, going_on = threading.Event(), threading.Event()
def call():
    begun.set()
    going_on.wait()
    return "passed"

executor = Executor(2, cache=ThreadCache("none"))
no_more_threads()
try:
    executor.submit(int)
except SpawnError as error:
    text = str(error)
again()
assert text, text
first = executor.submit(call)
begun.wait()
no_more_threads()
second = executor.submit(int)  # follows the first one on its thread
again()
assert not second.done()
going_on.set()
print(first.result(), second.result(), executor.submit(int).result())
executor.shutdown()
"""


def test_no_thread_can_be_started(run_program: Any) -> None:
    assert run_program(NO_THREADS) == "passed 0 0\n"


LOST = """
import ctypes
from selvedge import Executor, ThreadCache

executor, told = Executor(1, cache=ThreadCache()), []
lost = executor.submit(lambda: ctypes.CDLL(None).pthread_exit(None))
lost.add_done_callback(lambda future: told.append(type(future.exception()).__name__))
after = executor.submit(int)
print(type(lost.exception(60)).__name__, after.result(60))
executor.shutdown()
print(told)
"""


def test_a_thread_is_lost_inside_a_call(run_program: Any) -> None:
    assert run_program(LOST).splitlines() == ["BrokenResourceError 0", "['BrokenResourceError']"]


# ---- references ----


def test_nothing_is_kept(cache: ThreadCache) -> None:
    class Thing:
        def __init__(self, *_: object) -> None:
            pass

        def fails(self) -> None:
            raise Failure(self)

    class Failure(Exception):
        pass

    gc.disable()
    try:
        executor = Executor(1, cache=cache)
        argument = Thing()
        references: list[weakref.ref[Any]] = [weakref.ref(argument)]
        calls: list[Callable[[Thing], Any]] = [Thing, lambda thing: thing, Thing.fails]
        while calls:
            future = executor.submit(calls.pop(), argument)
            assert not concurrent.futures.wait([future], PATIENCE).not_done
            if future.exception() is None:
                references.append(weakref.ref(future.result()))
            else:
                # The frame of what raised holds its arguments, as long as the exception lives; nothing else does.
                references.append(weakref.ref(future.exception()))
            references.append(weakref.ref(future))
            del future
        del argument
        executor.submit(int).result(PATIENCE)
        assert [reference() for reference in references] == [None] * len(references)
    finally:
        gc.enable()


def test_finalizers_may_submit_and_cancel(cache: ThreadCache) -> None:
    """Also in the middle of a submit, where the collector may run them."""
    executor, ran = Executor(2, cache=cache), list[int]()

    class Cyclic:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            executor.submit(ran.append, 1)
            executor.submit(ran.append, 2).cancel()

    before = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for _ in range(300):
            Cyclic()
            executor.submit(int)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    executor.shutdown()
    assert ran.count(1) == 300


# ---- fork ----


def in_a_child(check: Callable[[], object]) -> None:
    """Runs check in a fork child, which must end well and soon."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            check()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    done = threading.Event()

    def kill_when_late() -> None:
        if not done.wait(PATIENCE):
            os.kill(child, 9)

    killer = threading.Thread(target=kill_when_late)
    killer.start()
    _, status = os.waitpid(child, 0)
    done.set()
    killer.join()
    assert status == 0, status


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork(cache: ThreadCache) -> None:
    executor, gate = Executor(1, cache=cache), Gate()
    running = executor.submit(gate)
    assert gate.begun.wait(PATIENCE)
    waiting, called = executor.submit(int), list[Future[int]]()
    waiting.add_done_callback(called.append)

    def check() -> None:
        assert executor.submit(abs, -5).result(PATIENCE) == 5
        for future in (running, waiting):
            assert isinstance(future.exception(0), selvedge.ForkedError)
        assert not called
        assert not waiting.cancel()
        executor.shutdown()

    in_a_child(check)
    assert not running.done() and not waiting.done()
    gate.open.set()
    assert (running.result(PATIENCE), waiting.result(PATIENCE)) == ("passed", 0)
    executor.shutdown()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_inside_a_call(cache: ThreadCache) -> None:
    executor = Executor(1, cache=cache)

    def call() -> str:
        in_a_child(lambda: executor.submit(int).result(PATIENCE))
        return "back"

    assert executor.submit(call).result(PATIENCE) == "back"
    executor.shutdown()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_others_submit(cache: ThreadCache) -> None:
    executor, is_over = Executor(3, cache=cache), threading.Event()

    def submit() -> None:
        while not is_over.is_set():
            future = executor.submit(int)
            future.add_done_callback(lambda _: None)
            future.cancel()
            future = executor.submit(int)
            future.result(PATIENCE)

    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()

    def check() -> None:
        assert executor.submit(abs, -1).result(PATIENCE) == 1
        executor.shutdown()

    try:
        for _ in range(50):
            in_a_child(check)
    finally:
        is_over.set()
        for thread in threads:
            thread.join(PATIENCE)
    executor.shutdown()


# ---- the end of the program ----


AT_EXIT = """
import atexit, threading
from selvedge import Executor, ThreadCache

executor, probe = Executor(1, cache=CACHE), Executor(1)

def submit():
    try:
        executor.submit(int)
    except RuntimeError as error:
        print(error)

def ends():
    # Python tells nobody that the main thread has come to its end: only that nothing is taken any more.
    try:
        while True:
            probe.submit(int).result()
    except RuntimeError:
        print("main has ended")
    submit()

atexit.register(submit)
executor.submit(ends)
executor.submit(print, "the second")
END
"""


@pytest.mark.parametrize("cache", ["None", "ThreadCache('own')"])
@pytest.mark.parametrize("end", ["", "raise SystemExit"])
def test_at_exit(run_program: Any, cache: str, end: str) -> None:
    refused = "cannot schedule new futures after interpreter shutdown"
    printed = run_program(AT_EXIT.replace("CACHE", cache).replace("END", end)).splitlines()
    assert printed == ["main has ended", refused, "the second", refused]


DROPPED_AT_EXIT = """
import sys
from selvedge import Executor, ThreadCache

probe = Executor(1)

def ends(number):
    try:
        while True:
            probe.submit(int).result()
    except RuntimeError:
        sys.stdout.write(f"{number}\\n")

for number in range(3):
    Executor(1, cache=ThreadCache()).submit(ends, number).add_done_callback(lambda _: sys.stdout.write("called\\n"))
Executor().shutdown()
executor = Executor()
executor.submit(ends, 3)
executor.shutdown(wait=False)
"""


def test_at_exit_without_the_executor(run_program: Any) -> None:
    printed = run_program(DROPPED_AT_EXIT).splitlines()
    assert sorted(printed) == ["0", "1", "2", "3", "called", "called", "called"]


ENDED_BY_A_SIGNAL = """
import signal, threading
from selvedge import Executor

executor = Executor(1)
ready, handled, raised = threading.Event(), threading.Event(), []

def handler(number, frame):
    if not raised:
        raised.append(number)
        raise KeyboardInterrupt

def call():
    ready.wait()
    # More than once: a signal that comes just before Python waits for a lock does not end the wait.
    while not handled.wait(0.01):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    return "done"

signal.signal(signal.SIGINT, handler)
future = executor.submit(call)
try:
    ready.set()
    executor.shutdown()
except KeyboardInterrupt:
    print("interrupted")
handled.set()
executor.shutdown()
print(future.result())
"""


def test_shutdown_can_be_interrupted(run_program: Any) -> None:
    assert run_program(ENDED_BY_A_SIGNAL) == "interrupted\ndone\n"


INTERRUPTED = """
import random, signal, time
from selvedge import Executor, ThreadCache

def handler(number, frame):
    raise KeyboardInterrupt if turn % 2 else TimeoutError

interrupts, ran = 0, 0
def call():
    global ran
    ran += 1

signal.signal(signal.SIGALRM, handler)
dice, cache = random.Random(1), ThreadCache()
for turn in range(1500):
    executor = Executor(1 + turn % 3, cache=cache)
    try:
        signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-6, 2e-4))
        while True:
            executor.submit(call)
    except (KeyboardInterrupt, TimeoutError):
        interrupts += 1
    last = executor.submit(call)
    last.result(60)
    executor.shutdown()
print(interrupts)
"""


def test_a_signal_in_the_middle_of_a_submit(run_program: Any) -> None:
    """Whatever a handler interrupts, the executor goes on, and its end does not wait for ever."""
    assert run_program(INTERRUPTED, timeout=100) == "1500\n"


# ---- jobs that calls share ----

SHARING = """
import contextvars, threading
from selvedge import Executor, ThreadCache

def times(cache, executor):
    gate, variable = threading.Event(), contextvars.ContextVar("variable", default=None)
    def call(number):
        assert variable.get() is None
        variable.set(number)
        return threading.get_ident()
    before = cache.stats().jobs_accepted
    executor.submit(gate.wait)
    futures = [executor.submit(call, number) for number in range(200)]
    called = []
    futures[50].add_done_callback(called.append)
    gate.set()
    executor.submit(int).result()
    assert len({future.result() for future in futures}) == 1 and called == [futures[50]]
    return cache.stats().jobs_accepted - before

def imports():
    global lock
    from selvedge.sync import Lock
    lock = Lock()
    return lock.acquire()

cache = ThreadCache()
with Executor(1, cache=cache) as executor:
    print(times(cache, executor) < 200)
    gate = threading.Event()
    executor.submit(gate.wait)
    first, second = executor.submit(imports), executor.submit(lambda: lock.broken)
    gate.set()
    print(first.result(), second.result())
    print(times(cache, executor) < 200)
    from selvedge.sync import Lock, current_task
    lock = Lock()
    gate = threading.Event()
    executor.submit(gate.wait)
    def take():
        lock.acquire()
        return lock.owner
    holder = executor.submit(take)
    broken, other = executor.submit(lambda: lock.broken), executor.submit(current_task)
    gate.set()
    print(broken.result(), holder.result() != other.result())
"""


def test_short_calls_share_a_job(run_program: Any) -> None:
    """A job for each costs more than a call that does nothing. Each is a task of its own all the same, also the one that
    imports the locks."""
    assert run_program(SHARING).splitlines() == ["True", "True True", "True", "True True"]


IN_A_SUBINTERPRETER = """
import sys
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    sub = interpreters.create("isolated")
else:
    import _xxsubinterpreters as interpreters
    sub = interpreters.create(isolated=True)
interpreters.run_string(sub, '''
from selvedge import Executor, ThreadCache, UnsupportedError
try:
    Executor()
except UnsupportedError:
    print("no default cache", flush=True)
cache = ThreadCache("sub")
with Executor(2, cache=cache) as executor:
    print(list(executor.map(int, ["1", "2"])), flush=True)
executor = Executor(1, cache=cache)
executor.submit(print, "at its end", flush=True)
''')
interpreters.destroy(sub)
"""


@pytest.mark.only_python("3.12", "3.13")
def test_in_an_interpreter_with_its_own_gil(run_program: Any) -> None:
    assert run_program(IN_A_SUBINTERPRETER).splitlines() == ["no default cache", "[1, 2]", "at its end"]

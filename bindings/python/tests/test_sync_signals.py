"""Signals while Python's main thread waits, and a child that is forked meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import RunProgram, wait_until, wait_until_waiting

import selvedge
from selvedge import sync


class Interrupted(Exception):
    pass


class Wait:
    """A way to wait: `begin` waits, `let` lets it go, `free` says that nothing was taken."""

    def __init__(
        self,
        primitive: Any,
        begin: Callable[..., Any],
        let: Callable[[], object],
        is_free: Callable[[], bool],
        counter: str = "waiting",
    ) -> None:
        self.primitive, self.begin, self.let, self.is_free, self.counter = primitive, begin, let, is_free, counter

    def until_waiting(self) -> None:
        wait_until_waiting(self.primitive, 1, self.counter)


def holder(primitive: Any) -> Callable[[], object]:
    """Another thread holds it until the function that this gives is called."""
    has, let = threading.Event(), threading.Event()

    def hold() -> None:
        with primitive:
            has.set()
            let.wait()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    has.wait()
    return lambda: (let.set(), thread.join())


def make(kind: str) -> Wait:
    if kind in ("lock", "rlock", "limiter"):
        primitive: Any = {"lock": sync.Lock, "rlock": sync.RLock, "limiter": lambda: sync.CapacityLimiter(1)}[kind]()
        let = holder(primitive)
        taken = "owner" if kind != "limiter" else "borrowed"

        def begin(**limit: float) -> bool:
            got = primitive.acquire(**limit)
            if got:
                primitive.release()
            return bool(got)

        return Wait(primitive, begin, let, lambda: primitive.stats()[taken] == 0)
    if kind == "semaphore":
        semaphore = sync.Semaphore(0)
        return Wait(semaphore, semaphore.acquire, semaphore.release, lambda: semaphore.value == 1)
    if kind == "event":
        event = sync.Event()
        return Wait(event, event.wait, event.set, lambda: True)
    if kind == "lot":
        lot = sync.ParkingLot()
        return Wait(lot, lot.park, lot.unpark, lambda: lot.waiting == 0)
    if kind == "condition":
        condition = sync.Condition()

        def wait(**limit: float) -> bool:
            with condition:
                return condition.wait(**limit)

        def notify() -> None:
            with condition:
                condition.notify()

        return Wait(condition, wait, notify, lambda: not condition.lock.locked())
    if kind == "recv":
        channel = sync.Channel()

        def receive(**limit: float) -> bool:
            try:
                return bool(channel.recv(**limit) == "item")
            except selvedge.TimedOutError:
                return False

        return Wait(channel, receive, lambda: channel.send("item"), lambda: len(channel) == 1, "receivers_waiting")
    bounded = sync.Channel(1)
    bounded.send("first")

    def send(**limit: float) -> bool:
        try:
            bounded.send("second", **limit)
        except selvedge.TimedOutError:
            return False
        return True

    return Wait(bounded, send, lambda: bounded.recv(), lambda: len(bounded) == 0, "senders_waiting")


KINDS = ["lock", "rlock", "limiter", "semaphore", "event", "lot", "condition", "recv", "send"]


@pytest.fixture(params=KINDS)
def wait(request: pytest.FixtureRequest) -> Wait:
    assert threading.current_thread() is threading.main_thread()
    return make(request.param)


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals that a handler has seen. SIGUSR1's raises, SIGUSR2's does not."""
    seen: list[int] = []

    def raising(number: int, frame: object) -> None:
        seen.append(number)
        raise Interrupted

    before = (
        signal.signal(signal.SIGUSR1, raising),
        signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number)),
    )
    yield seen
    signal.signal(signal.SIGUSR1, before[0])
    signal.signal(signal.SIGUSR2, before[1])


def later(wait: Wait, *steps: Callable[[], object]) -> threading.Thread:
    """When the main thread waits, another one takes the steps."""

    def run() -> None:
        wait.until_waiting()
        for step in steps:
            step()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def kill(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("limit", [{}, {"timeout": 60}], ids=["forever", "timed"])
def test_an_exception_of_a_handler_ends_the_wait(wait: Wait, handled: list[int], limit: dict[str, float]) -> None:
    thread = later(wait, kill(signal.SIGUSR1))
    with pytest.raises(Interrupted):
        wait.begin(**limit)
    thread.join()
    assert handled == [signal.SIGUSR1]
    assert wait.primitive.stats()[wait.counter] == 0, "nobody is in line any more"
    wait.let()
    assert wait.is_free(), "and nothing was taken"


def test_a_wait_goes_on_after_a_handler_that_returns(wait: Wait, handled: list[int]) -> None:
    thread = later(wait, kill(signal.SIGUSR2), lambda: wait_until(lambda: handled), wait.let)
    assert wait.begin() is not False
    thread.join()
    assert handled == [signal.SIGUSR2]


def test_a_wait_with_a_timeout_keeps_its_time(wait: Wait, handled: list[int]) -> None:
    thread = later(wait, kill(signal.SIGUSR2))
    began = time.monotonic()
    assert wait.begin(timeout=0.3) is False
    assert time.monotonic() - began >= 0.3
    thread.join()
    wait.let()
    assert wait.is_free()


def test_a_signal_that_another_thread_took(wait: Wait, handled: list[int]) -> None:
    """raise_signal sends to the calling thread, so nothing ends the main thread's system call."""
    thread = later(wait, lambda: signal.raise_signal(signal.SIGUSR1))
    began = time.monotonic()
    with pytest.raises(Interrupted):
        wait.begin()
    assert time.monotonic() - began < 20
    thread.join()
    wait.let()


def test_a_handler_may_wait_itself(handled: list[int]) -> None:
    outer, inner = make("lock"), make("lock")
    depth: list[Any] = []

    def handler(number: int, frame: object) -> None:
        thread = later(inner, inner.let)
        depth.append(inner.begin())
        thread.join()
        outer.let()

    signal.signal(signal.SIGUSR2, handler)
    thread = later(outer, kill(signal.SIGUSR2))
    assert outer.begin() is True
    thread.join()
    assert depth == [True]


def test_a_handler_may_raise_after_waiting_itself(handled: list[int]) -> None:
    outer, inner = make("recv"), make("recv")

    def handler(number: int, frame: object) -> None:
        thread = later(inner, outer.let, inner.let)  # the outer item comes while the handler waits
        assert inner.begin() is True
        thread.join()
        raise Interrupted

    signal.signal(signal.SIGUSR2, handler)
    thread = later(outer, kill(signal.SIGUSR2))
    with pytest.raises(Interrupted):
        outer.begin()
    thread.join()
    assert outer.is_free(), "the item is still there"


def test_a_second_exception_does_not_wait_for_the_lock(handled: list[int]) -> None:
    """A condition's waiter has its lock back even if a handler raises; a second one gets it out of that wait, too."""
    condition = sync.Condition(sync.Lock())
    release = threading.Event()

    def hold() -> None:
        wait_until_waiting(condition, 1)
        with condition:
            os.kill(os.getpid(), signal.SIGUSR1)
            wait_until_waiting(condition.lock, 1)
            os.kill(os.getpid(), signal.SIGUSR1)
            release.wait()

    thread = threading.Thread(target=hold, daemon=True)
    condition.acquire()
    thread.start()
    with pytest.raises(Interrupted):
        condition.wait()
    assert handled == [signal.SIGUSR1] * 2
    assert condition.lock.owner != sync.current_task()
    release.set()
    thread.join()
    assert condition.acquire(timeout=30)
    condition.release()


# That a process with threads forks is what is tested here.
QUIET = ("-W", "ignore::DeprecationWarning")


@pytest.mark.once
def test_ctrl_c(run_program: RunProgram) -> None:
    program = """
import os, signal, threading, time
from selvedge import sync
lock = sync.Lock()
def hold():
    lock.acquire()
    has.set()
    while not lock.stats()["waiting"]: time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
    done.wait()
    lock.release()
has, done = threading.Event(), threading.Event()
thread = threading.Thread(target=hold); thread.start(); has.wait()
try:
    with lock: print("not reached")
except KeyboardInterrupt:
    print("interrupted")
done.set(); thread.join()
with lock: print("free")
"""
    assert run_program(program, *QUIET) == "interrupted\nfree\n"


def test_threads_that_wait_when_python_ends(run_program: RunProgram) -> None:
    """Daemon threads in every kind of wait, while the interpreter is finalised."""
    program = """
import threading, time
from selvedge import BrokenResourceError, sync
lock = sync.Lock(); lock.acquire()
condition, channel, full = sync.Condition(), sync.Channel(), sync.Channel(1); full.send(1)
limiter = sync.CapacityLimiter(1); limiter.acquire()
def wait():
    with condition: condition.wait()
calls = [lock.acquire, lambda: lock.acquire(timeout=100), wait, sync.Semaphore(0).acquire, limiter.acquire]
calls += [sync.Event().wait, sync.ParkingLot().park, channel.recv, lambda: full.send(2), sync.Barrier(2).wait]
started = threading.Semaphore(0)
def run(call):
    started.release()
    try: call()
    except BrokenResourceError: pass  # the first to get the lock may come to its end with it
for call in calls: threading.Thread(target=run, args=(call,), daemon=True).start()
for call in calls: started.acquire()
while not (lock.stats()["waiting"] == 2 and channel.stats()["receivers_waiting"] and full.stats()["senders_waiting"]):
    time.sleep(0.001)
import atexit
atexit.register(lambda: (lock.release(), full.recv(), channel.send(5)))
print("ends")
"""
    assert run_program(program, *QUIET) == "ends\n"


FORK = """
import os, sys, threading
from selvedge import sync, ForkedError
import selvedge
lock, rlock = sync.Lock(name="other's"), sync.RLock(name="other's too")
mine, event = sync.Lock(name="mine"), sync.Event()
condition, channel, semaphore, limiter = sync.Condition(), sync.Channel(), sync.Semaphore(1), sync.CapacityLimiter(1)
has, go = threading.Event(), threading.Event()
def hold():
    with lock, rlock, limiter:
        has.set(); go.wait()
def wait():
    with condition: condition.wait()
holder = threading.Thread(target=hold); holder.start(); has.wait()
calls = wait, event.wait, channel.recv, lambda: mine.acquire() and mine.release()
waiters = [threading.Thread(target=call, daemon=True) for call in calls]
mine.acquire(); semaphore.acquire()
for waiter in waiters: waiter.start()
import time
while not (all(each.stats()["waiting"] for each in (condition, event, mine)) and channel.stats()["receivers_waiting"]):
    time.sleep(0.001)
sys.stdout.flush()
child = os.fork()
if child == 0:
    for other in lock, rlock:
        try: other.acquire(); print("no error")
        except ForkedError as error: assert "other's" in str(error), error
        try: other.acquire(timeout=0.1); print("no error")
        except ForkedError: pass
    lock.repair(); lock.release()
    rlock._at_fork_reinit()
    with lock, rlock, condition: condition.notify_all()
    assert mine.locked() and mine.owner == sync.current_task()
    mine.release()
    with mine: pass
    assert semaphore.acquire(False) is False and event.wait(0.01) is False
    event.set(); assert event.wait()
    channel.send("in the child"); assert channel.recv() == "in the child"
    assert limiter.acquire(), "tokens of tasks of the parent are free"
    thread = threading.Thread(target=lambda: mine.acquire()); thread.start(); thread.join()
    try: mine.acquire(); print("not broken")
    except selvedge.BrokenResourceError: pass
    with condition: assert condition.wait(0.01) is False
    print("child ends"); sys.stdout.flush()
    del lock, rlock, limiter
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
go.set(); holder.join(); mine.release(); event.set(); channel.send(1)
with condition: condition.notify_all()
for waiter in waiters: waiter.join()
print("parent ends")
"""


def test_fork(run_program: RunProgram) -> None:
    assert run_program(FORK, *QUIET) == "child ends\nparent ends\n"


def test_fork_by_another_thread_while_the_main_thread_waits(run_program: RunProgram) -> None:
    """The child's main thread is the one that forked, and it can wait."""
    program = """
import os, sys, threading, time
from selvedge import sync
event, codes = sync.Event(), []
def other():
    while not event.stats()["waiting"]: time.sleep(0.001)
    child = os.fork()
    if child == 0:
        descriptors = len(os.listdir("/proc/self/fd"))
        for number in range(3):
            assert event.wait(0.01) is False
            assert len(os.listdir("/proc/self/fd")) <= descriptors + 1
        os._exit(7)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    event.set()
thread = threading.Thread(target=other); thread.start()
assert event.wait()
thread.join()
print(codes)
"""
    assert run_program(program, *QUIET) == "[7]\n"


def test_fork_inside_a_wait(run_program: RunProgram) -> None:
    """A handler forks while the main thread waits: in the child that wait is over, with an error."""
    program = """
import os, signal, sys, threading, time
from selvedge import ForkedError, sync
event, children = sync.Event(), []
def handler(number, frame): children.append(os.fork())
signal.signal(signal.SIGUSR1, handler)
def other():
    while not event.stats()["waiting"]: time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGUSR1)
    while not children: time.sleep(0.001)
    event.set()
thread = threading.Thread(target=other); thread.start()
try:
    print("parent", event.wait()); sys.stdout.flush()
except ForkedError as error:
    lock = sync.Lock()
    has = threading.Event()
    def hold():
        with lock:
            has.set()
            while not lock.stats()["waiting"]: time.sleep(0.001)
    holder = threading.Thread(target=hold); holder.start(); has.wait()
    assert lock.acquire(), "the child's main thread can wait anew"
    print("child", error); sys.stdout.flush()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7
thread.join()
"""
    lines = sorted(run_program(program, *QUIET).splitlines())
    assert lines == ["child the wait belongs to the parent process", "parent True"]

"""Locks, tasks and conditions of `selvedge.sync`, and what all its primitives have in common."""

from __future__ import annotations

import copy
import gc
import inspect
import json
import math
import pickle
import re
import threading
import time
import weakref
from typing import Any

import pytest
from conftest import Thread, wait_until, wait_until_waiting

import selvedge
from selvedge import _sync, sync


@pytest.fixture(params=[sync.Lock, sync.RLock])
def lock(request: pytest.FixtureRequest) -> Any:
    return request.param(name="the lock")


# ---- locks ----


def test_lock_has_an_owner(lock: Any) -> None:
    assert lock.owner == 0 and not lock.locked()
    with lock as taken:
        assert taken is True
        assert lock.owner == sync.current_task() != 0
        assert lock.locked()
        with pytest.raises(selvedge.NotOwnerError, match="the lock"):
            raise Thread(lock.release).result()
        assert lock.locked()
    assert lock.owner == 0
    with pytest.raises(selvedge.NotOwnerError):
        lock.release()


def test_lock_acquire_answers(lock: Any) -> None:
    lock.acquire()
    assert Thread(lambda: lock.acquire(False)).result() is False
    assert Thread(lambda: lock.acquire(blocking=False)).result() is False
    began = time.monotonic()
    assert Thread(lambda: lock.acquire(timeout=0.05)).result() is False
    assert time.monotonic() - began >= 0.05
    assert Thread(lambda: lock.acquire(True, 0)).result() is False
    lock.release()
    assert Thread(lambda: (lock.acquire(), lock.release())).result() == (True, None)
    assert lock.acquire(True, 1.5) is True


def test_lock_refuses_its_owner() -> None:
    lock = sync.Lock(name="mine")
    with lock:
        for attempt in (lock.acquire, lambda: lock.acquire(False), lambda: lock.acquire(timeout=5)):
            with pytest.raises(selvedge.DeadlockError) as caught:
                attempt()
            assert caught.value.ring == ("MainThread", "mine")
            assert isinstance(caught.value, RuntimeError)


def test_rlock_counts() -> None:
    lock = sync.RLock()
    for _ in range(5):
        assert lock.acquire()
    assert lock.stats()["depth"] == 5
    for left in range(4, -1, -1):
        assert Thread(lambda: lock.acquire(False)).result() is False
        lock.release()
        assert lock.stats()["depth"] == left
    with pytest.raises(selvedge.NotOwnerError):
        lock.release()


def test_strict_fifo_lock_is_handed_over_in_order() -> None:
    lock = sync.Lock(strict_fifo=True)
    order: list[int] = []

    def take(number: int) -> None:
        with lock:
            order.append(number)

    lock.acquire()
    threads = []
    for number in range(20):
        threads.append(Thread(lambda number=number: take(number)))
        wait_until_waiting(lock, number + 1)
    lock.release()
    for thread in threads:
        thread.result()
    assert order == list(range(20))


def test_wrong_arguments(lock: Any) -> None:
    for arguments, error in [
        (dict(blocking=False, timeout=1), ValueError),
        (dict(timeout=-2), ValueError),
        (dict(timeout=math.nan), ValueError),
        (dict(timeout=1e100), OverflowError),
        (dict(timeout=math.inf), OverflowError),
        (dict(timeout=None), TypeError),
        (dict(timeout="1"), TypeError),
        (dict(wait=True), TypeError),
        (dict(task="me"), TypeError),
        (dict(task=-1), ValueError),
        (dict(task=2**63), ValueError),
    ]:
        with pytest.raises(error):
            lock.acquire(**arguments)
    with pytest.raises(TypeError, match="at most 2 positional"):
        lock.acquire(True, 1, 2)
    with pytest.raises(TypeError):
        lock.release(1)
    assert not lock.locked()
    for make in (sync.Lock, sync.RLock, sync.Event, sync.ParkingLot):
        for wrong in (threading.Lock(), 5, "name"):
            with pytest.raises(TypeError, match="of selvedge"):
                make(wrong)
        with pytest.raises(TypeError, match="name must be"):
            make(name=5)
        with pytest.raises(ValueError, match="NUL"):
            make(name="a\0b")
    with pytest.raises(TypeError):
        sync.Lock(sync.RLock())


def test_same_object_through_another_face(lock: Any) -> None:
    assert type(lock)(lock) is lock and lock.native is lock

    class Face:
        native = lock

    assert type(lock)(Face()) is lock
    assert sync.Condition(Face()).lock is lock


def test_subclasses() -> None:
    class Mine(sync.Lock):
        def __init__(self, *args: Any, **options: Any) -> None:
            self.extra = []

    lock = Mine(name="sub")
    lock.extra.append(lock)  # a cycle
    with lock:
        assert "sub" in repr(lock)
    gone = weakref.ref(lock)
    del lock
    gc.collect()
    assert gone() is None


def test_closed_lock(lock: Any) -> None:
    lock.acquire()
    waiter = Thread(lock.acquire)
    wait_until_waiting(lock, 1)
    assert not lock.closed
    lock.close()
    lock.close()
    assert lock.closed
    with pytest.raises(selvedge.ClosedResourceError, match="the lock"):
        raise waiter.result()
    lock.release()
    with pytest.raises(selvedge.ClosedResourceError):
        lock.acquire()


def names_of_objects() -> set[str]:
    return {found["name"] for found in json.loads(sync.wait_graph("json"))["objects"]}


def test_objects_that_go_while_held() -> None:
    lock, rlock, condition = (
        sync.Lock(name="going 1"),
        sync.RLock(name="going 2"),
        sync.Condition(sync.Lock(name="going 3"), name="going 4"),
    )
    semaphore = sync.Semaphore(1, name="going 5")
    taken = [lock.acquire(), rlock.acquire(), rlock.acquire(), condition.acquire(), semaphore.acquire()]
    assert taken == [True] * 5
    assert names_of_objects() >= {f"going {number}" for number in range(1, 6)}
    del lock, rlock, condition, semaphore
    gc.collect()
    Thread(lambda: sync.Lock(name="going 6").acquire()).result()
    limiter = sync.CapacityLimiter(2, name="going 7")
    assert limiter.acquire(on_behalf_of="a")
    del limiter
    assert not [name for name in names_of_objects() if name and name.startswith("going")]


def test_a_limiter_that_goes_is_freed_when_its_borrower_has_ended() -> None:
    def borrow() -> None:
        limiter = sync.CapacityLimiter(1, name="left over")
        limiter.acquire()

    def still_there() -> bool:
        sync.Lock()  # each new object tries to free one that could not be freed before
        return "left over" in names_of_objects()

    go = threading.Event()
    thread = Thread(lambda: (borrow(), go.wait()))
    wait_until(lambda: "left over" in names_of_objects())
    assert still_there()
    go.set()
    thread.result()
    wait_until(lambda: not still_there())


def test_waited_object_lives_as_long_as_the_wait() -> None:
    event = sync.Event(name="kept by its waiter")
    number = event.id
    waiter = Thread(event.wait)
    wait_until_waiting(event, 1)
    gone = weakref.ref(event)
    del event
    gc.collect()
    found = gone()
    assert found is not None, "the waiter's call refers to it"
    found.set()
    assert waiter.result() is True
    del found, waiter
    gc.collect()
    assert gone() is None
    with pytest.raises(selvedge.ClosedResourceError):
        sync.Event.open(number)


def test_repr_and_names() -> None:
    primitives: list[Any] = [
        kind(name="näme") for kind in (sync.Lock, sync.RLock, sync.Condition, sync.Event, sync.ParkingLot, sync.Channel)
    ]
    primitives += [kind(1, name="näme") for kind in (sync.Semaphore, sync.BoundedSemaphore, sync.CapacityLimiter)]
    for primitive in primitives:
        assert primitive.name == "näme"
        assert "'näme'" in repr(primitive) and type(primitive).__name__ in repr(primitive)
        assert type(primitive).__module__ == "selvedge.sync"
        assert "näme" in sync.wait_graph("json")
        assert not primitive.closed
        primitive.close()
        assert primitive.closed
        assert type(primitive).open(primitive.id).name == "näme"
    assert sync.Lock().name is None


def test_names_of_threads() -> None:
    def name_in_messages(name: str) -> str:
        lock = sync.Lock(name="x")
        Thread(lock.acquire, name=name).result()
        with pytest.raises(selvedge.BrokenResourceError) as caught:
            lock.acquire()
        found = re.search("thread '(.*)'", str(caught.value))
        assert found is not None
        return found[1]

    assert name_in_messages("short") == "short"
    assert name_in_messages("more than the system's fifteen bytes") == "more than the system's fifteen bytes"
    assert name_in_messages("ä" * 24) == "ä" * 23, "47 bytes"
    with open("/proc/self/task/%d/comm" % threading.get_native_id()) as file:
        assert file.read().strip() != "MainThread", "the system's name is as before"


def test_no_copies() -> None:
    for primitive in (sync.Lock(), sync.RLock(), sync.Condition(), sync.Event(), sync.Channel()):
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(primitive)
        with pytest.raises(TypeError, match="pickle"):
            copy.copy(primitive)


def test_signatures() -> None:
    assert str(inspect.signature(sync.Lock.acquire)) == "(self, /, blocking=True, timeout=-1, *, task=0)"
    for kind in (
        sync.Lock,
        sync.Condition,
        sync.Semaphore,
        sync.CapacityLimiter,
        sync.Event,
        sync.ParkingLot,
        sync.Channel,
    ):
        assert kind.__doc__
        for name in dir(kind):
            member = getattr(kind, name)
            if not name.startswith("_"):
                assert inspect.getdoc(member), (kind, name)
                assert not callable(member) or inspect.signature(member)


def test_wait_graph() -> None:
    lock = sync.Lock(name="in the graph")
    with lock:
        waiter = Thread(lambda: (lock.acquire(), lock.release()), name="who waits")
        wait_until_waiting(lock, 1)
        text = sync.wait_graph()
        assert "lock 'in the graph', held by thread 'MainThread'" in text
        assert "thread 'who waits' waits, blocked" in text
        assert sync.wait_graph("dot").startswith("digraph")
        assert "in the graph" in sync.wait_graph(format="json")
    waiter.result()
    with pytest.raises(ValueError, match="format"):
        sync.wait_graph("svg")  # type: ignore[arg-type]


# ---- tasks ----


def test_task_block() -> None:
    lock = sync.Lock(name="left behind")
    outer = sync.current_task()
    with sync.task("order 17") as mine:
        assert sync.current_task() == mine.number != outer
        lock.acquire()
        with sync.task("inner") as inner:
            assert sync.current_task() == inner.number
        assert inner.report is not None and sum(inner.report[:6]) == 0
        assert sync.current_task() == mine.number
    assert sync.current_task() == outer
    assert mine.report is not None
    assert mine.report.locks_broken == 1
    assert mine.report.items == (("lock broken", "left behind"),)
    with pytest.raises(selvedge.BrokenResourceError, match="'left behind' is broken.*'order 17'"):
        lock.acquire()
    with pytest.raises(RuntimeError):
        mine.__enter__()


def test_only_own_tasks_are_ended() -> None:
    for task in (0, sync.current_task(), 123456789):
        with pytest.raises(ValueError):
            _sync.task_exit(task)
    for wrong in ("1", None, 1.5):
        with pytest.raises(TypeError):
            _sync.task_exit(wrong)  # type: ignore[arg-type]
    task = _sync.task_new()
    assert _sync.task_enter(task) == 0
    assert _sync.task_enter(0) == task
    assert _sync.task_exit(task).items == ()
    with pytest.raises(selvedge.StaleTaskError):
        _sync.task_enter(task)


def test_task_of_a_cache_job() -> None:
    lock = sync.Lock(name="kept by a job")
    told: list[Any] = []
    done = threading.Event()

    def deliver(outcome: Any) -> None:
        told.append(outcome.unwrap())
        done.set()

    selvedge.default_cache().start_thread_soon(
        lambda: (lock.acquire(), sync.current_task()), deliver, name="careless job"
    )
    assert done.wait(30)
    with pytest.raises(selvedge.BrokenResourceError, match="careless job"):
        lock.acquire()
    assert told[0][1] != sync.current_task()


def test_interrupt() -> None:
    event = sync.Event()
    tasks: list[int] = []
    waiter = Thread(lambda: (tasks.append(sync.current_task()), event.wait()))
    wait_until_waiting(event, 1)
    sync.interrupt(tasks[0])
    with pytest.raises(selvedge.CancelledError):
        raise waiter.result()
    with sync.task() as over:
        pass
    with pytest.raises(selvedge.StaleTaskError):
        sync.interrupt(over.number)
    with pytest.raises(selvedge.StaleTaskError):
        sync.Lock().acquire(task=over.number)


# ---- conditions ----


def test_condition_with_our_locks(lock: Any) -> None:
    condition = sync.Condition(lock)
    assert condition.lock is lock
    assert isinstance(sync.Condition().lock, sync.RLock)
    items: list[int] = []

    def take() -> int:
        with condition:
            condition.wait_for(lambda: items)
            return items.pop()

    takers = [Thread(take) for _ in range(3)]
    wait_until_waiting(condition, 3)
    for number in range(3):
        with condition:
            items.append(number)
            condition.notify()
    assert sorted(taker.result() for taker in takers) == [0, 1, 2]
    with condition:
        assert condition.wait(0.01) is False
        assert lock.locked()
        assert condition.wait_for(lambda: 0, 0.01) == 0
        assert condition.wait_for(lambda: "yes") == "yes"
        with pytest.raises(ZeroDivisionError):
            condition.wait_for(lambda: 1 // 0)
    with pytest.raises(selvedge.NotOwnerError):
        condition.wait()
    with pytest.raises(selvedge.NotOwnerError):
        condition.notify_all()


def test_condition_lets_go_of_an_rlock_wholly() -> None:
    condition = sync.Condition()
    waiter = Thread(
        lambda: [condition.acquire(), condition.acquire(), condition.wait(), condition.release(), condition.release()]
    )
    wait_until_waiting(condition, 1)
    with condition:
        condition.notify_all()
    assert waiter.result() == [True, True, True, None, None]


def test_condition_is_refused_other_locks() -> None:
    for wrong in (threading.Lock(), threading.RLock(), sync.Event(), 5):
        with pytest.raises(TypeError, match="a lock of selvedge"):
            sync.Condition(wrong)  # type: ignore[arg-type]


def test_condition_of_the_standard_library_on_our_rlock() -> None:
    condition = threading.Condition(sync.RLock())  # type: ignore[arg-type]
    ready = threading.Event()

    def wait() -> bool:
        with condition, condition:
            ready.set()
            return condition.wait(30)

    waiter = Thread(wait)
    ready.wait()
    with condition:
        condition.notify()
    assert waiter.result() is True


def test_closed_condition_holds_its_lock() -> None:
    condition = sync.Condition(name="closed")

    def wait() -> bool:
        with condition:
            try:
                condition.wait()
            except selvedge.ClosedResourceError:
                return condition.lock.owner == sync.current_task()
            return False

    waiter = Thread(wait)
    wait_until_waiting(condition, 1)
    condition.close()
    assert waiter.result() is True


@pytest.mark.parametrize("option", ["name", "strict_fifo", "robust", "timed_deadlock"])
def test_options_are_for_new_locks(option: str) -> None:
    lock = sync.Lock()
    assert sync.Lock(lock).native is lock
    with pytest.raises(TypeError, match="for a new lock"):
        sync.Lock(lock, **{option: "x"})


def test_task_blocks_that_overlap() -> None:
    """As those of two coroutines around an await: both tasks end, and the thread is itself again."""
    lock = sync.Lock(name="left")
    first, second = sync.task("first"), sync.task("second")
    first.__enter__()
    second.__enter__()
    assert lock.acquire()
    first.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="must nest"):
        second.__exit__(None, None, None)
    assert second.report is not None
    with pytest.raises(selvedge.BrokenResourceError, match="task 'second'"):
        lock.acquire()
    with sync.Lock():
        pass

"""Greenlets as owners of locks."""

from __future__ import annotations

import gc
import threading
from typing import Any

import greenlet
import pytest
from conftest import RunProgram, Thread

import selvedge
from selvedge import _sync, sync


def glet(function: Any) -> Any:
    return greenlet.greenlet(function)


def in_thread(function: Any) -> Any:
    result = Thread(function).result()
    if isinstance(result, BaseException):
        raise result
    return result


def test_greenlets_of_a_thread_are_different_owners() -> None:
    main = sync.current_task()
    tasks: list[int] = []

    def one() -> None:
        tasks.append(sync.current_task())
        greenlet.getcurrent().parent.switch()
        tasks.append(sync.current_task())

    a, b = glet(one), glet(one)
    a.switch(), b.switch()
    assert sync.current_task() == main
    a.switch(), b.switch()
    assert tasks[:2] == tasks[2:]
    assert len({main, *tasks}) == 3
    assert a.dead and b.dead


def test_main_greenlets_act_for_their_threads() -> None:
    def here() -> tuple[int, int]:
        before = sync.current_task()
        glet(sync.current_task).switch()
        return before, sync.current_task()

    before, after = here()
    assert before == after
    other_before, other_after = in_thread(here)
    assert other_before == other_after != before


def test_a_greenlet_cannot_release_anothers_lock() -> None:
    lock = sync.Lock(name="held by a greenlet")

    def take() -> None:
        with lock:
            greenlet.getcurrent().parent.switch()

    other = glet(take)
    other.switch()
    assert lock.acquire(False) is False
    with pytest.raises(selvedge.NotOwnerError, match="greenlet"):
        lock.release()
    other.switch()
    assert not lock.locked()


def test_the_lock_of_a_dead_greenlet_is_broken_at_once() -> None:
    """It is still referred to; so it is its end that counts."""
    lock = sync.Lock(name="kept")
    dead = glet(lambda: lock.acquire())
    assert dead.switch() is True
    assert dead.dead
    with pytest.raises(selvedge.BrokenResourceError, match="'kept'.*greenlet"):
        lock.acquire()
    lock.repair()
    lock.release()


def test_the_lock_of_a_greenlet_that_raises() -> None:
    lock = sync.Lock()

    def fail() -> None:
        lock.acquire()
        raise ZeroDivisionError

    dead = glet(fail)
    with pytest.raises(ZeroDivisionError):
        dead.switch()
    assert lock.broken and dead.dead


def test_waiters_of_other_threads_are_told() -> None:
    lock = sync.Lock(name="kept")

    def keep() -> None:
        lock.acquire()
        greenlet.getcurrent().parent.switch()

    keeper = glet(keep)
    keeper.switch()
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            lock.acquire()
        except selvedge.BrokenResourceError as error:
            outcome.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    while lock.stats()["waiting"] != 1:
        pass
    keeper.switch()
    waiter.join(30)
    assert "'kept'" in str(outcome[0])


def test_a_greenlet_that_is_dropped() -> None:
    lock = sync.Lock()

    def keep() -> None:
        lock.acquire()
        greenlet.getcurrent().parent.switch()

    keeper = glet(keep)
    keeper.switch()
    assert lock.locked()
    del keeper  # it is thrown GreenletExit
    gc.collect()
    assert lock.broken


def test_without_our_trace_function_the_object_s_end_counts() -> None:
    before = greenlet.gettrace()
    lock = sync.Lock()

    def keep() -> None:
        lock.acquire()
        greenlet.settrace(None)

    keeper = glet(keep)
    keeper.switch()
    try:
        assert keeper.dead and lock.locked() and not lock.broken
        del keeper
        gc.collect()
        assert lock.broken
    finally:
        greenlet.settrace(before)


def test_another_trace_function_is_called_as_before() -> None:
    seen: list[tuple[str, bool]] = []
    before = greenlet.settrace(lambda event, args: seen.append((event, args[1] is main)))
    main = greenlet.getcurrent()
    try:
        lock = sync.Lock()
        worker = glet(lambda: lock.acquire())
        worker.switch()
        assert seen == [("switch", False), ("switch", True)]
        assert lock.broken
    finally:
        greenlet.settrace(before)


def test_names() -> None:
    class Named(greenlet.greenlet):  # type: ignore[misc]
        name = "order 17"

    lock = sync.Lock(name="stock")
    worker = Named(lock.acquire)
    worker.switch()
    with pytest.raises(selvedge.BrokenResourceError, match="'order 17'"):
        lock.acquire()


def test_task_block_inside_a_greenlet() -> None:
    def work() -> list[int]:
        own = sync.current_task()
        with sync.task("step") as step:
            greenlet.getcurrent().parent.switch()
            inside = sync.current_task()
        return [own, step.number, inside, sync.current_task()]

    outside = sync.current_task()
    worker = glet(work)
    worker.switch()
    assert sync.current_task() == outside, "the block is the greenlet's, not the thread's"
    own, step, inside, after = worker.switch()
    assert own == after and step == inside and len({outside, own, step}) == 3


def test_a_wait_that_would_stop_its_own_owner_is_refused() -> None:
    lock = sync.Lock(name="of another greenlet")

    def keep() -> None:
        with lock:
            greenlet.getcurrent().parent.switch()

    keeper = glet(keep)
    keeper.switch()
    with pytest.raises(selvedge.DeadlockError, match="another greenlet of the calling thread"):
        lock.acquire()
    with pytest.raises(selvedge.DeadlockError):
        glet(lock.acquire).switch()
    assert lock.acquire(timeout=0.01) is False
    keeper.switch()
    with lock, pytest.raises(selvedge.DeadlockError):  # now the main greenlet has it
        glet(lock.acquire).switch()
    with lock:
        assert in_thread(lambda: glet(lambda: lock.acquire(timeout=0.01)).switch()) is False


def test_task_exit_forgets_the_greenlet() -> None:
    def work() -> int:
        return sync.current_task()

    worker = glet(lambda: greenlet.getcurrent().parent.switch(sync.current_task()))
    task = worker.switch()
    _sync.task_exit(task)
    worker.switch()
    assert worker.dead
    with pytest.raises(selvedge.StaleTaskError):
        _sync.task_exit(task)


def test_greenlets_that_forbid_attributes() -> None:
    class Strict(greenlet.greenlet):  # type: ignore[misc]
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    assert Strict(sync.current_task).switch() != sync.current_task()


def test_many_greenlets_leave_nothing() -> None:
    lock = sync.Lock()

    def use() -> None:
        with lock:
            pass

    def count() -> int:
        return sync.wait_graph("json").count('"greenlet ')

    before = count()
    for _ in range(1000):
        glet(use).switch()
    assert count() == before


def test_greenlet_that_is_imported_later(run_program: RunProgram) -> None:
    program = """
from selvedge import sync
thread = sync.current_task()
lock = sync.Lock()
with lock: pass
import greenlet
assert greenlet.greenlet(sync.current_task).switch() != thread == sync.current_task()
"""
    run_program(program)

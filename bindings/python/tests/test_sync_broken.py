"""Owners that end while they hold something, and rings of waits."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conftest import Thread, wait_until_waiting

import selvedge
from selvedge import sync


# ---- breaking ----


@pytest.mark.parametrize("kind", [sync.Lock, sync.RLock])
def test_a_thread_that_ends_breaks_its_lock_for_all_who_wait(kind: Any) -> None:
    lock = kind(name="ledger")
    condition = sync.Condition(lock)
    ready, end = threading.Event(), threading.Event()

    def notified() -> None:
        with condition:
            condition.wait()

    sleeper = Thread(notified)
    wait_until_waiting(condition, 1)
    owner = Thread(lambda: (lock.acquire(), ready.set(), end.wait()), name="careless")
    assert ready.wait(30)
    waiters = [Thread(lock.acquire), Thread(lambda: lock.acquire(timeout=60)), Thread(condition.acquire)]
    wait_until_waiting(lock, 3)
    assert not lock.broken
    end.set()
    owner.result()
    # This thread is told as well, whether it comes before the break or after.
    with pytest.raises(
        selvedge.BrokenResourceError, match="lock 'ledger' is broken: its owner, thread 'careless', exited"
    ):
        lock.acquire()
    for waiter in waiters:
        with pytest.raises(selvedge.BrokenResourceError, match="'ledger'.*'careless'"):
            raise waiter.result()
    # Nobody holds it: so the sleeper's `with` has nothing to release.
    with pytest.raises(selvedge.NotOwnerError) as caught:
        raise sleeper.result()
    assert isinstance(caught.value.__context__, selvedge.BrokenResourceError)
    assert lock.broken and "broken" in repr(lock) and not lock.locked()
    with pytest.raises(selvedge.BrokenResourceError):
        lock.acquire(False)


def test_one_repairs_and_the_others_acquire() -> None:
    lock = sync.Lock()
    Thread(lock.acquire).result()
    with pytest.raises(selvedge.BrokenResourceError):
        lock.acquire()
    start = threading.Barrier(4)

    def repair() -> str:
        start.wait()
        try:
            lock.repair()
        except ValueError:
            with lock:
                return "acquired"
        lock.release()
        return "repaired"

    outcomes = [thread.result() for thread in [Thread(repair) for _ in range(4)]]
    assert sorted(outcomes) == ["acquired"] * 3 + ["repaired"]
    with lock, pytest.raises(ValueError):
        lock.repair()


def test_robust_lock_goes_to_the_next() -> None:
    lock = sync.Lock(name="journal", robust=True)
    condition = sync.Condition(lock)
    ready, end = threading.Event(), threading.Event()
    owner = Thread(lambda: (lock.acquire(), ready.set(), end.wait()))
    assert ready.wait(30)

    def mend() -> tuple[bool, bool, bool]:
        taken = lock.acquire()
        was = lock.inconsistent
        with pytest.raises(ValueError):
            condition.wait()  # first it is to be put right
        lock.make_consistent()
        now = lock.inconsistent
        lock.release()
        return taken, was, now

    mender = Thread(mend)
    wait_until_waiting(lock, 1)
    end.set()
    owner.result()
    assert mender.result() == (True, True, False)
    with lock:
        assert not lock.inconsistent
        with pytest.raises(ValueError):
            lock.make_consistent()
    Thread(lock.acquire).result()
    assert lock.acquire() and lock.inconsistent
    lock.release()
    with pytest.raises(selvedge.NotRecoverableError):
        lock.acquire()
    assert lock.broken


def test_a_job_of_a_cache_breaks_its_lock() -> None:
    lock = sync.Lock(name="ledger")
    cache = selvedge.ThreadCache()
    waiter = []

    def job() -> None:
        lock.acquire()
        waiter.append(Thread(lock.acquire))
        wait_until_waiting(lock, 1)

    cache.submit(job, name="careless job").wait()
    with pytest.raises(selvedge.BrokenResourceError, match="'ledger' is broken: its owner, job 'careless job', exited"):
        raise waiter[0].result()
    cache.shutdown()


# ---- rings ----


class Link:
    """Something that one thread can have, as a member of a ring."""

    def __init__(self, kind: str, name: str) -> None:
        self.name = name
        self.held: Any
        if kind == "condition":
            self.held = sync.Condition(sync.RLock(name=name))
        else:
            make = {"lock": sync.Lock, "rlock": sync.RLock, "limiter": lambda name: sync.CapacityLimiter(1, name=name)}
            self.held = make[kind](name=name)
        self.counted: Any = self.held.lock if kind == "condition" else self.held


def ring(kinds: list[str]) -> None:
    """Thread k has link k and waits for link k + 1; this thread, which has link 0, waits last."""
    links = [Link(kind, f"{kind} {number}") for number, kind in enumerate(kinds)]
    all_have = threading.Barrier(len(links))
    came_on: list[int] = []

    def member(number: int) -> None:
        with links[number].held:
            all_have.wait(30)
            with links[(number + 1) % len(links)].held:
                came_on.append(number)

    others = [Thread(lambda number=number: member(number), name=f"thread {number}") for number in range(1, len(links))]
    me = threading.current_thread().name
    with links[0].held:
        all_have.wait(30)
        for number in range(2, len(links)):
            wait_until_waiting(links[number].counted, 1)
        wait_until_waiting(links[0].counted, 1)
        with pytest.raises(selvedge.DeadlockError) as caught:
            links[1].held.acquire()
        expected = [me, links[1].name]
        for number in range(1, len(links)):
            expected += [f"thread {number}", links[(number + 1) % len(links)].name]
        assert caught.value.ring == tuple(expected)
        assert came_on == [], "the others wait on"
        # The thread itself is not hurt: what it does not have is free for a try.
        assert links[1].held.acquire(False) is False
    for thread in others:
        assert thread.result() is None
    assert came_on == list(range(len(links) - 1, 0, -1))


KINDS = ["lock", "rlock", "condition", "limiter"]


@pytest.mark.parametrize("on_main", [True, False])
@pytest.mark.parametrize(
    "kinds",
    [
        ["lock"] * 2,
        ["lock", "limiter"],
        ["limiter", "condition"],
        ["lock", "rlock", "limiter"],
        [KINDS[n % 4] for n in range(10)],
    ],
    ids=lambda kinds: f"{len(kinds)}-{'-'.join(dict.fromkeys(kinds))}",
)
def test_ring_is_refused(kinds: list[str], on_main: bool) -> None:
    if on_main:
        ring(kinds)
    else:
        assert Thread(lambda: ring(kinds), name="the last one").result() is None


def two_who_want(a: Any, b: Any, timeout: float) -> tuple[Any, Any]:
    """This thread has `a` and another one `b`; that one waits for `a` with no limit, this one for `b` with a limit."""
    has, go = threading.Event(), threading.Event()

    def other() -> bool:
        with b:
            has.set()
            go.wait()
            with a:
                return True

    thread = Thread(other, name="other")
    with a:
        assert has.wait(30)
        go.set()
        wait_until_waiting(a, 1)
        try:
            mine: Any = b.acquire(timeout=timeout)
        except selvedge.DeadlockError as error:
            mine = error
    return mine, thread.result()


@pytest.mark.parametrize("on_main", [True, False])
def test_waits_with_a_timeout_end_by_themselves(on_main: bool) -> None:
    def both() -> tuple[Any, Any]:
        return two_who_want(sync.Lock(name="a"), sync.Lock(name="b"), 0.1)

    assert (both() if on_main else Thread(both).result()) == (False, True)


@pytest.mark.parametrize("on_main", [True, False])
def test_a_timed_wait_does_not_make_another_thread_be_refused(on_main: bool) -> None:
    """The one with the limit waits first; then the ring closes, and nobody is refused, since the limit opens it."""
    a, b = sync.Lock(name="a"), sync.Lock(name="b")

    def both() -> tuple[Any, Any]:
        has = threading.Event()

        def other() -> bool:
            with b:
                has.set()
                wait_until_waiting(b, 1)
                return a.acquire()

        thread = Thread(other)
        with a:
            assert has.wait(30)
            mine = b.acquire(timeout=1)
        return mine, thread.result()

    assert (both() if on_main else Thread(both).result()) == (False, True)


@pytest.mark.parametrize("on_main", [True, False])
def test_waits_with_a_timeout_count_where_asked(on_main: bool) -> None:
    def both() -> tuple[Any, Any]:
        return two_who_want(sync.Lock(name="a"), sync.Lock(name="b", timed_deadlock=True), 60)

    error, other = both() if on_main else Thread(both).result()
    assert isinstance(error, selvedge.DeadlockError) and error.ring[1] == "b"
    assert other is True


def test_a_ring_that_a_notified_waiter_closes() -> None:
    """The waiter holds another lock while it waits; its notifier waits for that one, and then for nothing more."""
    condition, other = sync.Condition(sync.Lock(name="inner")), sync.Lock(name="outer")

    def wait() -> Any:
        with other, condition:
            return condition.wait()

    waiter = Thread(wait, name="sleeper")
    wait_until_waiting(condition, 1)
    with condition:
        condition.notify()
        with pytest.raises(selvedge.DeadlockError) as caught:
            other.acquire()
        assert caught.value.ring[:3] == ("MainThread", "outer", "sleeper") and "inner" in caught.value.ring[3]
    assert waiter.result() is True

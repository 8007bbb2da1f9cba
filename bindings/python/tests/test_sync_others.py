"""Semaphores, limiters, events, parking lots and barriers of `selvedge.sync`."""

from __future__ import annotations

import math
import threading
import time
import weakref

import pytest
from conftest import Thread, wait_until, wait_until_waiting

import selvedge
from selvedge import sync


# ---- semaphores ----


def test_semaphore() -> None:
    semaphore = sync.Semaphore(2)
    assert semaphore.acquire(n=2) and semaphore.value == 0
    assert semaphore.acquire(False) is False
    assert semaphore.acquire(timeout=0.01) is False
    semaphore.release()
    assert semaphore.acquire(True, None, n=1)
    semaphore.release(3)
    assert semaphore.value == 3
    with semaphore:
        assert semaphore.value == 2
    for wrong in (-1, 0):
        with pytest.raises(ValueError):
            semaphore.release(wrong)
        with pytest.raises(ValueError):
            semaphore.acquire(n=wrong)
    with pytest.raises(TypeError):
        sync.Semaphore("2")  # type: ignore[arg-type]


def test_bounded_semaphore() -> None:
    semaphore = sync.BoundedSemaphore(1, name="bounded")
    with pytest.raises(selvedge.LimitError) as caught:
        semaphore.release()
    assert isinstance(caught.value, ValueError)
    assert semaphore.value == semaphore.max == 1
    assert sync.BoundedSemaphore(0, max=2).max == 2
    with pytest.raises(ValueError):
        semaphore.acquire(n=2)
    with pytest.raises(ValueError):
        sync.BoundedSemaphore(3, max=2)
    with pytest.raises(ValueError):
        sync.BoundedSemaphore(0)


def test_semaphore_serves_in_order() -> None:
    semaphore = sync.Semaphore(0)
    order: list[int] = []
    threads = []
    for number in range(5):
        threads.append(Thread(lambda number=number: (semaphore.acquire(n=number + 1), order.append(number))))
        wait_until_waiting(semaphore, number + 1)
    for _ in range(15):
        semaphore.release()
    for thread in threads:
        thread.result()
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert semaphore.value == 0


# ---- limiters ----


def test_limiter() -> None:
    limiter = sync.CapacityLimiter(1, name="one")
    with limiter:
        assert (limiter.total_tokens, limiter.borrowed_tokens, limiter.available_tokens) == (1, 1, 0)
        with pytest.raises(selvedge.DuplicateError, match="one"):
            limiter.acquire()
        assert Thread(lambda: limiter.acquire(False)).result() is False
        assert Thread(lambda: limiter.acquire(timeout=0.01)).result() is False
    with pytest.raises(selvedge.NotOwnerError):
        limiter.release()
    limiter.total_tokens = math.inf
    assert limiter.total_tokens == limiter.available_tokens == math.inf
    limiter.total_tokens = 0
    assert limiter.acquire(False) is False
    for wrong, error in [(-1, ValueError), (1.5, TypeError), ("1", TypeError), (2**62, ValueError)]:
        with pytest.raises(error):
            limiter.total_tokens = wrong
        with pytest.raises(error):
            sync.CapacityLimiter(wrong)
    assert sync.CapacityLimiter(0).acquire(False) is False


def test_limiter_on_behalf_of() -> None:
    limiter = sync.CapacityLimiter(3)
    customer = object()
    assert (
        limiter.acquire(on_behalf_of=customer)
        and limiter.acquire(on_behalf_of="text")
        and limiter.acquire(on_behalf_of=7)
    )
    assert limiter.borrowers == [customer, "text", 7]
    for borrower in (customer, "text", 7):
        with pytest.raises(selvedge.DuplicateError):
            limiter.acquire(on_behalf_of=borrower)
    with pytest.raises(TypeError, match="unhashable"):
        limiter.acquire(on_behalf_of=[])
    with pytest.raises(ValueError):
        limiter.acquire(on_behalf_of=-1)
    assert limiter.acquire(False, on_behalf_of="nobody") is False
    assert limiter.acquire(timeout=0.01, on_behalf_of="nobody") is False
    waiter = Thread(lambda: limiter.acquire(on_behalf_of="nobody"))
    wait_until_waiting(limiter, 1)
    assert "nobody" not in limiter.borrowers
    with pytest.raises(selvedge.NotOwnerError):
        limiter.release(on_behalf_of="nobody")
    limiter.release(on_behalf_of=customer)
    assert waiter.result() is True
    assert limiter.borrowers == ["text", 7, "nobody"]
    with pytest.raises(selvedge.NotOwnerError):
        limiter.release(on_behalf_of=customer)


def test_limiter_keeps_no_borrower() -> None:
    class Key:
        pass

    limiter, key = sync.CapacityLimiter(1), Key()
    gone = weakref.ref(key)
    limiter.acquire(on_behalf_of=key)
    limiter.release(on_behalf_of=key)
    limiter.acquire()
    assert limiter.acquire(False, on_behalf_of=key) is False
    del key
    assert gone() is None


def test_a_thread_that_ends_returns_its_token() -> None:
    limiter = sync.CapacityLimiter(1)
    Thread(limiter.acquire).result()
    assert limiter.acquire(timeout=30)


# ---- events and parking lots ----


def test_event() -> None:
    event = sync.Event()
    assert event.wait(0) is False and event.wait(0.01) is False
    waiters = [Thread(event.wait) for _ in range(5)]
    wait_until_waiting(event, 5)
    event.set()
    event.clear()
    assert [waiter.result() for waiter in waiters] == [True] * 5
    assert not event.is_set()
    event.set()
    assert event.wait() and event.wait(0)
    with pytest.raises(ValueError):
        event.wait(-1)
    event.close()
    assert event.wait()
    with pytest.raises(selvedge.ClosedResourceError):
        event.clear()


def test_parking_lot() -> None:
    lot, other = sync.ParkingLot(name="lot"), sync.ParkingLot()
    parked = []
    for number in range(4):
        parked.append(Thread(lot.park))
        wait_until_waiting(lot, number + 1)
    assert lot.unpark() == 1 and parked[0].result() is True
    assert lot.repark(other, 2) == 2 and (lot.waiting, other.waiting) == (1, 2)
    assert other.unpark_all() == 2 and parked[1].result() is parked[2].result() is True
    assert lot.park(0.01) is False
    with sync.task("breaker"):
        lot.add_breaker()
    with pytest.raises(selvedge.BrokenResourceError, match="breaker"):
        raise parked[3].result()
    assert lot.broken
    other.add_breaker()
    other.remove_breaker()
    with pytest.raises(selvedge.NotOwnerError):
        other.remove_breaker()
    with pytest.raises(ValueError):
        other.repark_all(other)
    with pytest.raises(TypeError):
        other.repark(lot.stats)  # type: ignore[arg-type]


# ---- barriers ----


def test_barrier_breaks_for_all_when_one_is_interrupted() -> None:
    barrier = sync.Barrier(3, name="three")
    tasks: list[int] = []

    def come() -> int:
        tasks.append(sync.current_task())
        return barrier.wait()

    threads = [Thread(come) for _ in range(2)]
    wait_until(lambda: barrier.n_waiting == 2 and len(tasks) == 2)
    sync.interrupt(tasks[0])
    outcomes = [thread.result() for thread in threads]
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["BrokenBarrierError", "CancelledError"]
    assert barrier.broken and "broken" in repr(barrier)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    again = [Thread(barrier.wait) for _ in range(2)]
    numbers = [barrier.wait(), *(thread.result() for thread in again)]
    assert sorted(numbers) == [0, 1, 2]


def test_barrier_through_another_face() -> None:
    barrier = sync.Barrier(2)
    other = sync.Barrier(barrier)
    assert other.native is barrier.native
    thread = Thread(other.wait)
    assert {barrier.wait(), thread.result()} == {0, 1}
    with pytest.raises(TypeError):
        sync.Barrier("2")  # type: ignore[arg-type]


def test_a_condition_that_does_not_wait_lets_others_have_the_lock() -> None:
    condition = sync.Condition()

    def others() -> None:
        for _ in range(300):
            with condition:
                time.sleep(0)

    threads = [threading.Thread(target=others) for _ in range(2)]
    for thread in threads:
        thread.start()

    def waits() -> None:
        for _ in range(300):
            with condition:
                condition.wait(0)

    waits()
    threads.append(threading.Thread(target=waits))
    threads[-1].start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()

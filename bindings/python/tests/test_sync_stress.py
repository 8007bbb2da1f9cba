"""Many threads on a few primitives, in ways whose outcome can be counted."""

# timeout: 300

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import selvedge
from selvedge import _loop, _sync, sync

THREADS = 6


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    """Threads take turns often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def run_all(functions: list[Callable[[], object]]) -> None:
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), sync.wait_graph()
    assert errors == []


@pytest.mark.parametrize("options", [{}, {"strict_fifo": True}, {"robust": True}], ids=["eventual", "strict", "robust"])
@pytest.mark.parametrize("kind", [sync.Lock, sync.RLock])
def test_lock_counts(kind: Any, options: dict[str, bool]) -> None:
    """In all ways to take a lock, also with timeouts that are about to pass, nobody is in with another."""
    lock = kind(**options)
    counter = 0
    rounds = 300

    def add() -> None:
        nonlocal counter
        before = counter
        if before % 7 == 0:
            time.sleep(0)  # lets another thread run
        counter = before + 1

    def plain() -> None:
        for _ in range(rounds):
            with lock:
                add()

    def timed() -> None:
        done = 0
        while done < rounds:
            if lock.acquire(timeout=random.choice((0, 1e-6, 1e-4, 10))):
                add()
                lock.release()
                done += 1

    def tries() -> None:
        done = 0
        while done < rounds:
            if lock.acquire(False):
                add()
                lock.release()
                done += 1

    run_all([plain] * (THREADS - 3) + [timed] * 2 + [tries])
    assert counter == THREADS * rounds
    assert not lock.locked() and lock.stats()["waiting"] == 0


def test_operations_are_told_once_whatever_is_done_to_them() -> None:
    """Loops with many tasks each, whose operations are cancelled or abandoned while the lock is handed round."""
    lock = sync.Lock()
    told = [0] * 3
    begun = [0] * 3

    def loop_of(number: int) -> None:
        host = _loop.HostLoop()
        tasks = [_sync.task_new() for _ in range(8)]
        pending: dict[int, Any] = {}
        held: list[int] = []
        chance = random.Random(number)

        def take(task: int) -> None:
            def done(status: int, value: object) -> None:
                told[number] += 1
                del pending[task]
                if status >= 0:
                    held.append(task)

            op = lock.acquire_async(task, host.address, done)
            if op is None:
                held.append(task)
            else:
                begun[number] += 1
                pending[task] = op

        for _ in range(1500):
            task = chance.choice(tasks)
            if held and chance.random() < 0.5:
                lock.release(task=held.pop())
            elif task not in pending and task not in held:
                take(task)
            elif task in pending and chance.random() < 0.3:
                pending[task].cancel()
            elif task in pending and chance.random() < 0.3 and pending[task].abandon():
                del pending[task]
                told[number] += 1
            host.drain()
        while pending or held:
            if held:
                lock.release(task=held.pop())
            host.drain()
        for task in tasks:
            _sync.task_exit(task)
        host.close()

    def thread() -> None:
        for _ in range(300):
            with lock:
                time.sleep(0)

    run_all([lambda number=number: loop_of(number) for number in range(3)] + [thread])  # type: ignore[misc]
    assert told == begun and min(begun) > 0
    assert not lock.locked()


def test_semaphore_never_gives_too_many() -> None:
    semaphore = sync.BoundedSemaphore(3)
    inside: list[int] = []
    most = 0

    def use() -> None:
        nonlocal most
        for _ in range(400):
            got = semaphore.acquire(timeout=random.choice((None, 1e-5, 10)))
            if got:
                inside.append(1)
                most = max(most, len(inside))
                inside.pop()
                semaphore.release()

    run_all([use] * THREADS)
    assert semaphore.value == 3 and 0 < most <= 3


def test_limiter_with_borrowers_of_both_kinds() -> None:
    limiter = sync.CapacityLimiter(2)

    def use(number: int) -> None:
        for turn in range(300):
            if turn % 2:
                with limiter:
                    assert limiter.borrowed_tokens <= 2
            elif limiter.acquire(timeout=random.choice((None, 1e-5)), on_behalf_of=("customer", number)):
                limiter.release(on_behalf_of=("customer", number))

    run_all([lambda number=number: use(number) for number in range(THREADS)])  # type: ignore[misc]
    assert limiter.borrowed_tokens == 0 and limiter.borrowers == []


def test_condition_hands_items_on() -> None:
    condition = sync.Condition()
    items: list[int] = []
    taken: list[int] = []
    number = 600

    def produce() -> None:
        for item in range(number):
            with condition:
                items.append(item)
                condition.notify()

    def consume() -> None:
        for _ in range(2 * number // 4):
            with condition:
                while not condition.wait_for(lambda: items, timeout=random.choice((None, 1e-4))):
                    pass
                taken.append(items.pop(0))

    run_all([produce] * 2 + [consume] * 4)
    assert sorted(taken) == sorted(list(range(number)) * 2) and items == []


def test_threads_that_end_with_locks_in_hand() -> None:
    """Every other user forgets to release; each time somebody repairs it, and nobody hangs."""
    lock = sync.Lock()
    forgotten, repaired = [0], [0]

    def use(number: int) -> None:
        while True:
            try:
                lock.acquire()
                break
            except selvedge.BrokenResourceError:
                try:
                    lock.repair()
                except ValueError:
                    continue
                repaired[0] += 1
                break
        if number % 2:
            forgotten[0] += 1
        else:
            lock.release()

    run_all([lambda number=number: use(number) for number in range(180)])  # type: ignore[misc]
    while lock.locked():  # the last one's task ends a moment after its join
        time.sleep(0.0005)
    if lock.broken:
        lock.repair()
        repaired[0] += 1
        lock.release()
    assert forgotten[0] == repaired[0] == 90


def test_barrier_and_event_in_rounds() -> None:
    barrier = sync.Barrier(THREADS)
    events = [sync.Event() for _ in range(50)]
    passed = [0] * len(events)

    def use() -> None:
        for number, event in enumerate(events):
            if barrier.wait() == 0:
                event.set()
            assert event.wait()
            passed[number] += 1

    run_all([use] * THREADS)
    assert passed == [THREADS] * len(events)


def test_rings_in_all_directions() -> None:
    """Everybody takes two of a few locks in any order. Who is refused lets go and begins again; so all end."""
    locks = [sync.Lock(name=f"lock {number}") for number in range(4)]
    refused = [0]

    def use(seed: int) -> None:
        chance = random.Random(seed)
        done = 0
        while done < 150 or refused[0] < 20:
            first, second = chance.sample(locks, 2)
            with first:
                time.sleep(0)  # lets another thread run
                try:
                    with second:
                        done += 1
                except selvedge.DeadlockError as error:
                    assert 4 <= len(error.ring) <= 2 * len(locks)
                    refused[0] += 1

    run_all([lambda seed=seed: use(seed) for seed in range(THREADS)])  # type: ignore[misc]
    assert not any(lock.locked() for lock in locks)
    assert refused[0] >= 20

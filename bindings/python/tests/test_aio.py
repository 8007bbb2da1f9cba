"""`selvedge.aio`: locks awaited by asyncio tasks. What they share with threads and Trio is in test_mixed_locks.py."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import textwrap
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import selvedge
from conftest import STRICT, RunProgram, census, waiting
from selvedge import aio, sync

NEEDS_TIMEOUT = pytest.mark.only_python("3.11", "3.12", "3.13")

Main = Callable[[], Coroutine[Any, Any, object]]
RunAsyncio = Callable[[str], str]


def run(main: Main) -> None:
    """Runs a program of asyncio, with its debug mode, which sees calls from the wrong thread and callbacks that are no
    callables.
    """
    asyncio.run(asyncio.wait_for(main(), 60), debug=True)


async def passes(count: int = 3) -> None:
    """Lets everybody run who can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(is_so: Callable[[], object]) -> None:
    """For what another thread brings about."""
    while not is_so():
        await asyncio.sleep(0.001)


@pytest.fixture
def run_asyncio(run_program: RunProgram) -> RunAsyncio:
    """Runs a program of asyncio in a process of its own, in which every warning is an error; its output."""
    # asyncio's debug mode remarks on slow callbacks: that is the machine.
    quiet = 'import logging\nlogging.getLogger("asyncio").setLevel(logging.ERROR)\n'
    return lambda text: run_program(quiet + textwrap.dedent(text), *STRICT)


@pytest.mark.parametrize(
    "kind", [aio.Lock, aio.RLock, lambda: aio.Condition(), lambda: aio.Semaphore(1), lambda: aio.CapacityLimiter(1)]
)
def test_one_at_a_time_in_order(kind: Callable[[], Any]) -> None:
    async def main() -> None:
        lock = kind()
        order: list[tuple[int, int]] = []
        inside = 0

        async def worker(number: int) -> None:
            nonlocal inside
            for turn in range(20):
                async with lock:
                    assert inside == 0
                    inside += 1
                    order.append((turn, number))
                    await asyncio.sleep(0)
                    inside -= 1

        await asyncio.gather(*(worker(number) for number in range(5)))
        assert order == [(turn, number) for turn in range(20) for number in range(5)]

    run(main)


def test_what_a_lock_says() -> None:
    async def main() -> None:
        lock = aio.Lock(name="ledger")
        assert lock.name == "ledger"
        assert not lock.locked()
        assert repr(lock).endswith("[unlocked]>")
        assert await lock.acquire() is True
        assert lock.locked()
        line = [asyncio.ensure_future(lock.acquire()) for _ in range(1)]
        with pytest.raises(selvedge.DeadlockError) as caught:  # the same task again
            await line[0]
        assert caught.value.ring[1] == "ledger"

        async def other() -> None:
            async with lock:
                pass

        task = asyncio.create_task(other())
        await passes()
        assert repr(lock).endswith("[locked, waiters:1]>")
        with pytest.raises(selvedge.NotOwnerError, match="ledger"):
            await asyncio.create_task(asyncio.to_thread(lock.release))
        lock.release()
        await task
        with pytest.raises(selvedge.NotOwnerError):
            lock.release()

    run(main)


def test_an_rlock_is_held_as_often() -> None:
    async def main() -> None:
        lock = aio.RLock()
        async with lock, lock, lock:
            lock.release()
            lock.release()
            assert lock.locked()
            await lock.acquire()
            await lock.acquire()
        assert not lock.locked()

    run(main)


def test_faces_of_one_lock() -> None:
    lock = aio.Lock()
    for face in (aio.Lock(lock), aio.Lock(lock.shared), aio.Lock(sync.Lock(lock))):
        assert face.shared is lock.shared
        assert face.native is lock.shared
    assert aio.Condition(lock).lock is lock
    condition = aio.Condition(lock.shared)
    assert condition.lock.shared is lock.shared
    assert aio.Condition(condition).shared is condition.shared
    assert isinstance(aio.Condition(aio.RLock()).lock, aio.RLock)
    for kind, native in (
        (aio.Semaphore, sync.Semaphore(2)),
        (aio.Semaphore, sync.BoundedSemaphore(2)),
        (aio.BoundedSemaphore, sync.BoundedSemaphore(2)),
        (aio.Event, sync.Event()),
        (aio.CapacityLimiter, sync.CapacityLimiter(2)),
        (aio.Channel, sync.Channel(2)),
        (aio.RLock, sync.RLock()),
    ):
        made: Any = kind(native)  # type: ignore[arg-type]
        assert made.shared is native
        assert kind(made).shared is native
    barrier = aio.Barrier(2)
    assert aio.Barrier(barrier).shared is barrier.shared


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: aio.Lock(aio.RLock()),  # type: ignore[arg-type]
        lambda: aio.Lock(asyncio.Lock()),  # type: ignore[arg-type]
        lambda: aio.RLock(aio.Lock()),  # type: ignore[arg-type]
        lambda: aio.Condition(aio.Semaphore()),  # type: ignore[arg-type]
        lambda: aio.Semaphore(aio.Lock()),  # type: ignore[arg-type]
        lambda: aio.BoundedSemaphore(aio.Semaphore()),  # type: ignore[arg-type]
        lambda: aio.Event(aio.Lock()),  # type: ignore[arg-type]
        lambda: aio.CapacityLimiter(aio.Lock()),  # type: ignore[arg-type]
        lambda: aio.Channel(aio.Lock()),  # type: ignore[arg-type]
        lambda: aio.Barrier(aio.Lock()),  # type: ignore[arg-type]
        lambda: aio.Semaphore("two"),  # type: ignore[arg-type]
    ],
)
def test_faces_of_another_kind(wrong: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        wrong()


def test_outside_of_a_task() -> None:
    lock = aio.Lock()
    with pytest.raises(RuntimeError):
        lock.acquire().send(None)

    async def main() -> None:
        outcomes: list[BaseException] = []

        def callback() -> None:
            try:
                lock.acquire().send(None)
            except RuntimeError as error:
                outcomes.append(error)

        asyncio.get_running_loop().call_soon(callback)
        await passes()
        assert "only a task can wait" in str(outcomes[0])

    run(main)


# ---- whose it is, and what becomes of it ----


@pytest.mark.parametrize("ending", ["returns", "raises", "is cancelled"])
def test_a_lock_breaks_when_its_task_ends(ending: str) -> None:
    async def main() -> None:
        lock = aio.Lock(name="ledger")
        go_on = asyncio.Event()

        async def careless() -> None:
            await lock.acquire()
            await go_on.wait()
            if ending == "raises":
                raise LookupError

        owner = asyncio.create_task(careless(), name="careless")
        await passes()
        waiters = [asyncio.create_task(lock_once(lock)) for _ in range(3)]
        await passes()
        assert waiting(lock) == 3
        if ending == "is cancelled":
            owner.cancel()
        go_on.set()
        for waiter in waiters:
            with pytest.raises(selvedge.BrokenResourceError, match="ledger.*careless"):
                await waiter
        with pytest.raises(selvedge.BrokenResourceError):
            await lock.acquire()
        assert lock.broken
        await asyncio.gather(owner, return_exceptions=True)
        lock.repair()
        assert lock.locked() and not lock.broken
        lock.release()
        await lock_once(lock)

    run(main)


async def lock_once(lock: aio.Lock) -> None:
    async with lock:
        pass


def test_a_task_that_is_collected_breaks_its_lock() -> None:
    async def main() -> None:
        lock = aio.Lock()

        async def forgotten() -> None:
            await lock.acquire()
            await asyncio.get_running_loop().create_future()

        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: None
        )  # "Task was destroyed but it is pending!"
        task = asyncio.create_task(forgotten())
        await passes()
        assert lock.locked()
        gone = weakref.ref(task)
        del task
        gc.collect()
        assert gone() is None
        with pytest.raises(selvedge.BrokenResourceError):
            await lock.acquire()

    run(main)


def test_a_broken_lock_ends_the_waits_of_its_conditions() -> None:
    async def main() -> None:
        condition = aio.Condition()

        async def waiter() -> None:
            async with condition:  # does not hide the error by a release of what is not held
                await condition.wait()

        tasks = [asyncio.create_task(waiter()) for _ in range(2)]
        await passes()
        await asyncio.create_task(take(condition))
        for task in tasks:
            with pytest.raises(selvedge.BrokenResourceError):
                await task

    async def take(condition: aio.Condition) -> None:
        await condition.acquire()

    run(main)


def test_tokens_of_a_task_that_ended_come_back() -> None:
    async def main() -> None:
        limiter = aio.CapacityLimiter(1)

        async def careless() -> None:
            await limiter.acquire()

        await asyncio.create_task(careless())
        await limiter.acquire()
        with pytest.raises(selvedge.DuplicateError):
            await limiter.acquire()
        with pytest.raises(selvedge.DuplicateError):
            limiter.acquire_nowait()
        limiter.release()

    run(main)


def test_the_one_who_calls_acquire_owns() -> None:
    """`asyncio.wait_for` awaits its argument in another task, before Python 3.12."""

    async def main() -> None:
        lock, condition, limiter = aio.Lock(), aio.Condition(), aio.CapacityLimiter(1)
        await asyncio.wait_for(lock.acquire(), 5)
        await asyncio.create_task(condition.acquire())
        await asyncio.wait_for(limiter.acquire(), 5)
        await passes()
        assert lock.locked() and not lock.broken
        lock.release()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(condition.wait(), 0.01)
        condition.release()
        limiter.release()

    run(main)


def test_a_ring_of_tasks() -> None:
    async def main() -> None:
        first, second = aio.Lock(name="first"), aio.Lock(name="second")

        async def one() -> None:
            async with first:
                await passes()
                async with second:
                    pass

        async def two() -> None:
            async with second:
                await passes(5)
                with pytest.raises(selvedge.DeadlockError) as caught:
                    await first.acquire()
                assert set(caught.value.ring) >= {"one", "two", "first", "second"}

        await asyncio.gather(asyncio.create_task(one(), name="one"), asyncio.create_task(two(), name="two"))

    run(main)


@pytest.mark.only_python("3.12", "3.13")
def test_eager_tasks() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        lock = aio.Lock()
        await lock.acquire()
        tasks = [asyncio.create_task(lock_once(lock)) for _ in range(3)]
        assert waiting(lock) == 3
        lock.release()
        await asyncio.gather(*tasks)

        async def careless() -> None:
            await lock.acquire()

        await asyncio.create_task(careless())
        with pytest.raises(selvedge.BrokenResourceError):
            await lock.acquire()

    run(main)


# ---- cancelling ----


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_cancelled_wait_leaves_the_line() -> None:
    async def main() -> None:
        lock = aio.Lock()
        await lock.acquire()
        tasks = [asyncio.create_task(lock_once(lock)) for _ in range(3)]
        await passes()
        await cancel(tasks[1])
        assert waiting(lock) == 2
        lock.release()
        await asyncio.gather(tasks[0], tasks[2])

    run(main)


def test_a_grant_to_a_cancelled_task_passes_on() -> None:
    async def main() -> None:
        lock, semaphore, limiter = aio.Lock(), aio.Semaphore(0), aio.CapacityLimiter(1)
        for face in (lock, semaphore, limiter):
            if face is not semaphore:
                await face.acquire()

            async def hold() -> None:
                async with face:
                    pass

            first, second = asyncio.create_task(hold()), asyncio.create_task(hold())
            await passes()
            face.release()  # grants it to the first
            assert waiting(face) == 1
            await cancel(first)
            await second
        assert semaphore.value == 1
        assert limiter.borrowed_tokens == 0
        assert not lock.locked()

    run(main)


def test_timeouts() -> None:
    async def main() -> None:
        lock, event, channel = aio.Lock(), aio.Event(), aio.Channel(1)
        async with lock:

            async def wants() -> None:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(lock.acquire(), 0.01)

            await asyncio.create_task(wants())
            assert waiting(lock) == 0
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(event.wait(), 0.01)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(channel.recv(), 0.01)
        await channel.send(1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(channel.send(2), 0.01)
        assert await channel.recv() == 1
        assert len(channel) == 0

    run(main)


@NEEDS_TIMEOUT
def test_timeout_blocks() -> None:
    async def main() -> None:
        condition = aio.Condition()
        with pytest.raises(TimeoutError):
            async with condition:
                async with asyncio.timeout(0.01):
                    await condition.wait()
        assert not condition.locked()
        async with condition:
            pass

    run(main)


def test_a_cancelled_wait_has_its_lock_back_and_passes_the_notification_on() -> None:
    async def main() -> None:
        condition = aio.Condition()
        done: list[str] = []

        async def waiter(name: str) -> None:
            async with condition:
                try:
                    await condition.wait()
                finally:
                    assert condition.shared.lock.owner != 0
                    done.append(name)

        first, second = asyncio.create_task(waiter("first")), asyncio.create_task(waiter("second"))
        await passes()
        async with condition:
            condition.notify()
            first.cancel()
            await passes()
            assert done == []  # the lock is ours
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert done == ["first", "second"]

    run(main)


def test_a_storm_of_cancels_loses_no_permit() -> None:
    async def main() -> None:
        rng = random.Random(5)
        permits = 3
        semaphore, lock, limiter = aio.Semaphore(permits), aio.Lock(), aio.CapacityLimiter(permits)
        channel, condition = aio.Channel(2), aio.Condition()
        inside = {"semaphore": 0, "lock": 0, "limiter": 0}
        entered = 0

        async def hold(name: str, face: Any, most: int) -> None:
            nonlocal entered
            async with face:
                inside[name] += 1
                assert inside[name] <= most
                entered += 1
                try:
                    await asyncio.sleep(0)
                finally:
                    inside[name] -= 1

        async def pause() -> None:
            async with condition:
                await condition.wait()

        async def wake() -> None:
            async with condition:
                condition.notify(rng.randrange(3))

        for _ in range(60):
            tasks = [asyncio.create_task(hold("semaphore", semaphore, permits)) for _ in range(10)]
            tasks += [asyncio.create_task(hold("lock", lock, 1)) for _ in range(10)]
            tasks += [asyncio.create_task(hold("limiter", limiter, permits)) for _ in range(10)]
            tasks += [asyncio.create_task(pause()) for _ in range(4)]
            tasks += [asyncio.create_task(wake()) for _ in range(4)]
            rng.shuffle(tasks)
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
                for task in rng.sample(tasks, 6):
                    task.cancel()
            sleepers = [task for task in tasks if not task.done()]
            while sleepers:
                async with condition:
                    condition.notify_all()
                await asyncio.sleep(0)
                sleepers = [task for task in tasks if not task.done()]
            for task in tasks:
                if not task.cancelled():
                    task.result()
        assert entered > 500
        assert semaphore.value == permits
        assert limiter.borrowed_tokens == 0
        assert not lock.locked() and not condition.locked()
        assert [waiting(face) for face in (semaphore, lock, limiter, condition)] == [0, 0, 0, 0]
        assert len(channel) == 0

    run(main)


def test_a_storm_of_cancels_loses_no_item() -> None:
    async def main() -> None:
        rng = random.Random(7)
        channel = aio.Channel(2)
        sent: list[int] = []
        received: list[int] = []

        async def send(number: int) -> None:
            await channel.send(number)
            sent.append(number)

        async def receive() -> None:
            received.append(await channel.recv())

        for turn in range(150):
            tasks = [asyncio.create_task(send(turn * 10 + number)) for number in range(5)]
            tasks += [asyncio.create_task(receive()) for _ in range(5)]
            rng.shuffle(tasks)
            for _ in range(rng.randrange(5)):
                await asyncio.sleep(0)
                for task in rng.sample(tasks, 2):
                    task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            while len(channel):
                received.append(channel.recv_nowait())
        assert len(sent) > 100
        assert sorted(received) == sorted(sent)

    run(main)


def test_an_item_that_was_received_counts_and_the_cancel_comes_next() -> None:
    async def main() -> None:
        channel = aio.Channel()
        got: list[object] = []

        async def receive() -> None:
            got.append(await channel.recv())
            await asyncio.sleep(60)

        task = asyncio.create_task(receive())
        await passes()
        channel.send_nowait("item")  # the task has it, and has not run
        await cancel(task)
        assert got == ["item"]

    run(main)


@NEEDS_TIMEOUT
def test_a_timeout_that_came_too_late_leaves_no_cancel_behind() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        channel = aio.Channel()

        async def receive() -> object:
            async with asyncio.timeout(3600) as scope:
                loop.call_soon(channel.send_nowait, "item")
                loop.call_soon(scope.reschedule, 0)
                item = await channel.recv()
            await passes(5)  # would raise a cancel that is left
            return item

        assert await asyncio.create_task(receive()) == "item"

    run(main)


# ---- the others ----


def test_events() -> None:
    async def main() -> None:
        event = aio.Event()
        assert repr(event).endswith("[unset]>")
        tasks = [asyncio.create_task(event.wait()) for _ in range(3)]
        await passes()
        assert repr(event).endswith("[unset, waiters:3]>")
        event.set()
        event.clear()
        assert await asyncio.gather(*tasks) == [True, True, True]
        assert not event.is_set()
        threading.Timer(0.01, event.set).start()
        await event.wait()
        await event.wait()

    run(main)


def test_semaphores() -> None:
    async def main() -> None:
        semaphore = aio.Semaphore(2)
        assert not semaphore.locked()
        await semaphore.acquire(2)
        assert semaphore.locked()
        assert repr(semaphore).endswith("[locked]>")
        task = asyncio.create_task(semaphore.acquire(3))
        await passes()
        semaphore.release(2)
        await passes()
        assert not task.done() and semaphore.locked()  # first come: nobody overtakes it
        semaphore.release()
        assert await task
        bounded = aio.BoundedSemaphore(1)
        with pytest.raises(ValueError):
            bounded.release()
        with pytest.raises(ValueError):
            aio.Semaphore(-1)

    run(main)


def test_conditions() -> None:
    async def main() -> None:
        condition = aio.Condition()
        items: list[int] = []
        with pytest.raises(selvedge.NotOwnerError):
            await condition.wait()
        with pytest.raises(selvedge.NotOwnerError):
            condition.notify()

        async def consume() -> int:
            async with condition:
                await condition.wait_for(lambda: items)
                return items.pop(0)

        tasks = [asyncio.create_task(consume()) for _ in range(3)]
        await passes()
        for number in range(3):
            async with condition:
                items.append(number)
                condition.notify()
            await passes()
        assert await asyncio.gather(*tasks) == [0, 1, 2]

    run(main)


def test_barriers() -> None:
    async def main() -> None:
        barrier = aio.Barrier(3)
        for _ in range(3):
            assert sorted(await asyncio.gather(*(barrier.wait() for _ in range(3)))) == [0, 1, 2]
        tasks = [asyncio.create_task(barrier.wait()) for _ in range(2)]
        await passes()
        assert barrier.n_waiting == 2
        await cancel(tasks[0])
        assert barrier.n_waiting == 1
        assert sorted(await asyncio.gather(tasks[1], barrier.wait(), barrier.wait())) == [0, 1, 2]

        tasks = [asyncio.create_task(barrier.wait()) for _ in range(2)]
        await passes()
        await barrier.reset()
        for task in tasks:
            with pytest.raises(aio.BrokenBarrierError):
                await task
        await barrier.abort()
        assert barrier.broken
        with pytest.raises(selvedge.BrokenResourceError):
            await barrier.wait()
        await barrier.reset()
        await asyncio.gather(*(barrier.wait() for _ in range(3)))
        if sys.version_info >= (3, 11):
            assert issubclass(aio.BrokenBarrierError, asyncio.BrokenBarrierError)

    run(main)


def test_limiters() -> None:
    async def main() -> None:
        limiter = aio.CapacityLimiter(2)
        async with limiter:
            await limiter.acquire_on_behalf_of("somebody")
            assert (limiter.borrowed_tokens, limiter.available_tokens) == (2, 0)
            with pytest.raises(selvedge.WouldBlock):
                limiter.acquire_on_behalf_of_nowait("third")
            task = asyncio.create_task(limiter.acquire_on_behalf_of("third"))
            await passes()
            limiter.total_tokens = 3
            await task
            with pytest.raises(selvedge.NotOwnerError):
                limiter.release_on_behalf_of("fourth")
            limiter.release_on_behalf_of("third")
            limiter.release_on_behalf_of("somebody")
        assert limiter.borrowed_tokens == 0

    run(main)


def test_channels() -> None:
    async def main() -> None:
        channel = aio.Channel(2)

        async def produce() -> None:
            for number in range(100):
                await channel.send({"number": number})
            channel.close()

        task = asyncio.create_task(produce())
        assert [item["number"] async for item in channel] == list(range(100))
        await task
        for call in (channel.recv(), channel.send(1)):
            with pytest.raises(selvedge.ClosedResourceError):
                await call

        meeting = aio.Channel(0)
        task = asyncio.create_task(meeting.send_bytes(b"hello"))
        await passes()
        with pytest.raises(selvedge.WouldBlock):
            meeting.send_nowait(1)
        assert await meeting.recv_bytes() == b"hello"
        await task
        with pytest.raises(selvedge.WouldBlock):
            meeting.recv_nowait()

    run(main)


def test_close_with_waiters() -> None:
    async def main() -> None:
        lock, semaphore, event, limiter = aio.Lock(), aio.Semaphore(0), aio.Event(), aio.CapacityLimiter(1)
        channel, condition = aio.Channel(), aio.Condition()
        await lock.acquire()
        await limiter.acquire()

        async def pause() -> None:
            async with condition:
                await condition.wait()

        calls: list[tuple[Any, Callable[[], Coroutine[Any, Any, object]]]] = [
            (lock, lambda: lock_once(lock)),
            (semaphore, semaphore.acquire),
            (event, event.wait),
            (limiter, lambda: enter(limiter)),
            (channel, channel.recv),
            (condition, pause),
        ]
        for face, call in calls:
            tasks = [asyncio.create_task(call()) for _ in range(3)]
            await passes()
            face.close()
            for task in tasks:
                with pytest.raises(selvedge.ClosedResourceError):
                    await task
            assert face.closed
        lock.release()

    async def enter(limiter: aio.CapacityLimiter) -> None:
        async with limiter:
            pass

    run(main)


# ---- event loops ----


def test_two_loops_share_one_face() -> None:
    lock = aio.Lock()
    inside = 0
    total = 0
    rounds = 300

    async def worker() -> None:
        nonlocal inside, total
        for _ in range(rounds):
            async with lock:
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                total += 1
                inside -= 1

    async def main() -> None:
        await asyncio.gather(*(worker() for _ in range(3)))

    threads = [threading.Thread(target=run, args=(main,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive()
    assert total == 2 * 3 * rounds


def test_a_loop_that_moves_to_another_thread() -> None:
    loop = asyncio.new_event_loop()
    lock = aio.Lock()
    try:
        loop.run_until_complete(lock_once(lock))

        def there() -> None:
            async def contend() -> None:
                await asyncio.gather(*(lock_once(lock) for _ in range(5)))
                event = aio.Event()
                threading.Timer(0.01, event.set).start()
                await asyncio.wait_for(event.wait(), 60)

            loop.run_until_complete(contend())

        thread = threading.Thread(target=there)
        thread.start()
        thread.join(100)
        assert not thread.is_alive()
    finally:
        loop.close()


def test_what_is_held_breaks_when_the_loop_is_closed() -> None:
    lock = aio.Lock()
    tasks: list[asyncio.Task[Any]] = []

    async def hold() -> None:
        await lock.acquire()
        await asyncio.Event().wait()

    async def forget() -> None:
        tasks.append(asyncio.create_task(hold()))
        await passes()
        tasks.append(asyncio.create_task(lock_once(lock)))
        await passes()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(forget())
    assert lock.locked()
    loop.set_exception_handler(lambda loop, context: None)  # "Task was destroyed but it is pending!"
    loop.close()
    assert lock.broken
    assert waiting(lock) == 0
    with pytest.raises(selvedge.BrokenResourceError):
        sync.Lock(lock).acquire()
    tasks.clear()
    gc.collect()


def test_no_warning_and_no_descriptor_is_left(run_asyncio: RunAsyncio) -> None:
    run_asyncio("""
        import asyncio, gc, os
        from selvedge import aio

        async def main():
            lock = aio.Lock()
            async def hold():
                async with lock:
                    await asyncio.sleep(0)
            await asyncio.gather(*(hold() for _ in range(5)))
            task = asyncio.create_task(lock.acquire())  # ends with the loop, cancelled
            event = aio.Event()
            asyncio.create_task(event.wait())
            await asyncio.sleep(0)

        def count():
            return len(os.listdir("/proc/self/fd"))

        asyncio.run(main())
        before = count()
        for _ in range(20):
            asyncio.run(main())
        assert count() == before, (before, count())
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        assert count() == before
    """)


def test_nothing_is_left() -> None:
    async def main() -> None:
        lock, semaphore, channel, condition = aio.Lock(), aio.Semaphore(1), aio.Channel(1), aio.Condition()

        async def use() -> None:
            async with lock, semaphore, condition:
                await channel.send(1)
                await channel.recv()

        tasks = [asyncio.create_task(use()) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main)
    before = census()
    for _ in range(20):
        run(main)
    assert census() - before == Counter()


def test_a_program_that_ends_in_the_middle(run_asyncio: RunAsyncio) -> None:
    run_asyncio("""
        import asyncio, threading
        from selvedge import aio

        lock = aio.Lock()

        async def main():
            await lock.acquire()
            started.set()
            await asyncio.sleep(3600)

        started = threading.Event()
        threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
        assert started.wait(60)
    """)


def test_ctrl_c(run_asyncio: RunAsyncio) -> None:
    run_asyncio("""
        import asyncio, os, signal, threading
        from selvedge import aio

        async def main():
            lock = aio.Lock()
            async def hold():
                async with lock:
                    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
                    await asyncio.sleep(3600)
            await asyncio.gather(hold(), hold())

        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError
    """)


def test_in_a_fork_child(run_asyncio: RunAsyncio) -> None:
    run_asyncio("""
        import asyncio, os, warnings
        import selvedge
        from selvedge import aio

        warnings.simplefilter("ignore", DeprecationWarning)
        lock = aio.Lock()

        async def use():
            async with lock:
                await asyncio.sleep(0)

        async def main():
            await asyncio.gather(*(use() for _ in range(3)))

        asyncio.run(main())
        number = os.fork()
        if number == 0:
            asyncio.run(main())
            os._exit(0)
        assert os.waitpid(number, 0)[1] == 0
    """)


@pytest.mark.parametrize("backend", ["asyncio"])
def test_under_anyio(backend: str) -> None:
    import anyio

    async def main() -> None:
        lock, channel = aio.Lock(), aio.Channel(0)
        order: list[int] = []

        async def hold(number: int) -> None:
            async with lock:
                order.append(number)
                await anyio.sleep(0)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(hold, number)
        assert sorted(order) == list(range(5))
        with anyio.move_on_after(0.01) as scope:
            await channel.recv()
        assert scope.cancelled_caught
        async with lock:
            pass

    anyio.run(main, backend=backend)


def test_descriptors_of_many_loops() -> None:
    before = len(os.listdir("/proc/self/fd"))
    lock = aio.Lock()
    loops = [asyncio.new_event_loop() for _ in range(5)]
    for loop in loops:
        loop.run_until_complete(lock_once(lock))
    for loop in loops:
        loop.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_task_that_waits_for_nothing_can_be_collected() -> None:
    event = aio.Event()

    async def main() -> weakref.ref[asyncio.Task[None]]:
        async def waits() -> None:
            await event.wait()

        task = asyncio.create_task(waits())
        while event.shared.stats()["waiting"] == 0:
            await asyncio.sleep(0)
        return weakref.ref(task)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # asyncio tells of a pending task that is destroyed
    gone = loop.run_until_complete(main())
    gc.collect()
    assert gone() is None
    assert event.shared.stats()["waiting"] == 0
    loop.close()

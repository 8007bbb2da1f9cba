"""One object for threads, asyncio tasks of two event loops, and Trio tasks: they stand in one line, and learn of each
other's end.
"""

# timeout: 300

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest
import selvedge
import selvedge.trio as st
import trio
from conftest import PATIENCE, RunProgram, census, wait_until, wait_until_waiting, waiting
from selvedge import aio, sync


class Place:
    """Somewhere that code can run: a thread of its own that is told what to do, with whatever event loop it runs."""

    kind = ""

    def start(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        """Has a new task, or a new thread, run ``work(place, *args)``."""
        raise NotImplementedError

    def face(self, shared: Any) -> Any:
        """The object as it is used here."""
        raise NotImplementedError

    def close(self) -> None: ...


class Threads(Place):
    kind = "thread"

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(drive(work(self, *args)))
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=run, name=getattr(work, "__name__", None))
        self._threads.append(thread)
        thread.start()
        return future

    def face(self, shared: Any) -> Any:
        return Blocking(shared)

    def close(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    async def passes(self) -> None:
        time.sleep(0)


def drive(coroutine: Any) -> Any:
    """Runs a coroutine that never waits, but by blocking."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


class Blocking:
    """The blocking half in the dress of the awaited one, so that one text serves all."""

    def __init__(self, shared: Any) -> None:
        self.shared = shared

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.shared, name)
        if name not in ("acquire", "wait", "send", "recv"):
            return method

        async def call(*args: Any) -> Any:
            return method(*args)

        return call

    async def __aenter__(self) -> None:
        self.shared.__enter__()

    async def __aexit__(self, *error: Any) -> None:
        self.shared.__exit__(None, None, None)


class AsyncioLoop(Place):
    kind = "asyncio"

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def start(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work(self, *args), self._loop)

    def face(self, shared: Any) -> Any:
        return getattr(aio, type(shared).__name__)(shared)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._loop.close()

    async def passes(self) -> None:
        await asyncio.sleep(0)


class TrioRun(Place):
    kind = "trio"

    def __init__(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main, ready))
        self._thread.start()
        assert ready.wait(PATIENCE)

    async def _main(self, ready: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._over = trio.Event()
        async with trio.open_nursery() as self._nursery:
            ready.set()
            await self._over.wait()

    def start(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()

        async def run() -> None:
            try:
                future.set_result(await work(self, *args))
            except Exception as error:
                future.set_exception(error)

        run.__name__ = run.__qualname__ = getattr(work, "__name__", "run")
        self._token.run_sync_soon(lambda: self._nursery.start_soon(run))
        return future

    def face(self, shared: Any) -> Any:
        return getattr(st, type(shared).__name__)(shared)

    def close(self) -> None:
        self._token.run_sync_soon(self._over.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    async def passes(self) -> None:
        await trio.lowlevel.checkpoint()


@contextmanager
def places() -> Iterator[list[Any]]:
    """Threads, two event loops of asyncio, and Trio."""
    all_of_them: list[Any] = [Threads(), AsyncioLoop(), AsyncioLoop(), TrioRun()]
    try:
        yield all_of_them
    finally:
        for place in all_of_them:
            place.close()


def test_first_come_first_served() -> None:
    with places() as everywhere:
        for shared in (
            sync.Lock(strict_fifo=True),
            sync.RLock(strict_fifo=True),
            sync.Semaphore(1),
            sync.CapacityLimiter(1),
        ):
            order: list[int] = []

            async def hold(place: Any, shared: Any, number: int, order: list[int] = order) -> None:
                async with place.face(shared):
                    order.append(number)

            ends = []
            with shared:
                for number in range(24):
                    ends.append(everywhere[number % 4].start(hold, shared, number))
                    wait_until_waiting(shared, number + 1)
            for end in ends:
                end.result(PATIENCE)
            assert order == list(range(24)), type(shared)


def test_ten_thousand_rounds_one_at_a_time() -> None:
    """Two event loops, a Trio run and a thread."""
    rounds = 2500  # each of four
    lock = sync.Lock(strict_fifo=True)
    inside = 0
    total = 0

    async def work(place: Any) -> None:
        nonlocal inside, total
        face = place.face(lock)
        for number in range(rounds):
            async with face:
                inside += 1
                assert inside == 1
                if number % 16 == 0:
                    await place.passes()
                assert inside == 1
                total += 1
                inside -= 1

    with places() as everywhere:
        for end in [place.start(work) for place in everywhere]:
            end.result(PATIENCE)
    assert total == 4 * rounds
    assert not lock.locked()
    assert waiting(lock) == 0


@pytest.mark.parametrize("holder", range(4))
def test_the_end_of_any_owner_reaches_all_who_wait(holder: int) -> None:
    lock = sync.Lock(name="ledger")
    condition = sync.Condition(lock)
    held, go_on = threading.Event(), threading.Event()

    async def careless(place: Any) -> None:
        await place.face(lock).acquire()
        held.set()
        while not go_on.is_set():
            await place.passes()

    async def waits(place: Any) -> str:
        try:
            await place.face(lock).acquire()
        except selvedge.BrokenResourceError as error:
            return str(error)
        raise AssertionError

    async def waits_for_a_change(place: Any) -> str:
        face = place.face(condition)
        await face.acquire()
        try:
            await face.wait()
        except selvedge.BrokenResourceError as error:
            return str(error)
        raise AssertionError

    with places() as everywhere:
        changes = []
        for place in everywhere:
            number = waiting(condition)
            changes.append(place.start(waits_for_a_change))
            wait_until_waiting(condition, number + 1)
        owner = everywhere[holder].start(careless)
        assert held.wait(PATIENCE)
        ends = []
        for number in range(8):
            ends.append(everywhere[number % 4].start(waits))
        wait_until_waiting(lock, 8)
        go_on.set()
        owner.result(PATIENCE)
        for end in ends + changes:
            assert "ledger" in end.result(PATIENCE)
        assert lock.broken
        lock.repair()
        lock.release()

        async def hold(place: Any) -> None:
            async with place.face(lock):
                pass

        for end in [place.start(hold) for place in everywhere]:
            end.result(PATIENCE)


def test_a_ring_of_a_thread_and_two_kinds_of_tasks() -> None:
    names = ["ledger", "stock", "orders", "prices"]
    locks = [sync.Lock(name=name) for name in names]
    taken = sync.Barrier(5)
    outcomes: list[Any] = []

    async def work(place: Any, number: int) -> Any:
        async with place.face(locks[number]):
            await place.face(taken).wait()
            if number == 3:
                # The ring closes here, when the others wait: each for the next one's.
                wait_until(lambda: all(waiting(lock) for lock in locks[1:]))
            try:
                async with place.face(locks[(number + 1) % 4]):
                    return "had both"
            except selvedge.DeadlockError as error:
                return error

    with places() as everywhere:
        ends = [place.start(work, number) for number, place in enumerate(everywhere)]
        taken.wait(PATIENCE)
        outcomes = [end.result(PATIENCE) for end in ends]
    # Who closes the ring is refused: the last, or one who lined up just before and was still looking. One alone.
    refused = [outcome for outcome in outcomes if outcome != "had both"]
    assert len(refused) == 1
    error = refused[0]
    assert isinstance(error, selvedge.DeadlockError)
    assert set(names) <= set(error.ring)
    assert len(error.ring) >= 8


def test_a_storm_of_cancels_counts_right() -> None:
    permits = 3
    semaphore, lock, limiter = sync.Semaphore(permits), sync.Lock(), sync.CapacityLimiter(permits)
    shares = [(semaphore, permits), (lock, 1), (limiter, permits)]
    mutex = threading.Lock()
    inside = [0, 0, 0]
    entered = [0, 0, 0]

    async def hold(place: Any, which: int) -> None:
        shared, most = shares[which]
        async with place.face(shared):
            with mutex:
                inside[which] += 1
                assert inside[which] <= most
                entered[which] += 1
            try:
                await place.passes()
            finally:
                with mutex:
                    inside[which] -= 1

    async def storm(place: Any, seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(150):
            if place.kind == "thread":
                await hold(place, rng.randrange(3))
            elif place.kind == "asyncio":
                tasks = [asyncio.create_task(hold(place, rng.randrange(3))) for _ in range(4)]
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
                for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                    assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
            else:

                async def bounded(which: int, passes: int) -> None:
                    with trio.CancelScope() as scope:
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(hold, place, which)
                            if passes < 3:
                                for _ in range(passes):
                                    await trio.lowlevel.checkpoint()
                                scope.cancel()

                async with trio.open_nursery() as nursery:
                    for _ in range(4):
                        nursery.start_soon(bounded, rng.randrange(3), rng.randrange(6))

    with places() as everywhere:
        for end in [place.start(storm, seed) for seed, place in enumerate(everywhere)]:
            end.result(PATIENCE)
    assert all(number > 100 for number in entered), entered
    assert inside == [0, 0, 0]
    assert semaphore.value == permits
    assert limiter.borrowed_tokens == 0
    assert not lock.locked()
    assert [waiting(shared) for shared, _ in shares] == [0, 0, 0]


def test_a_condition_for_all() -> None:
    condition = sync.Condition(sync.Lock())
    items: list[int] = []
    got: list[int] = []

    async def consume(place: Any, number: int) -> None:
        face = place.face(condition)
        for _ in range(number):
            await face.acquire()
            while not items:
                await face.wait()
            got.append(items.pop(0))
            face.release()

    async def produce(place: Any, first: int, number: int) -> None:
        face = place.face(condition)
        for item in range(first, first + number):
            await face.acquire()
            items.append(item)
            face.notify()
            face.release()
            await place.passes()

    with places() as everywhere:
        ends = [place.start(consume, 100) for place in everywhere]
        ends += [place.start(produce, number * 100, 100) for number, place in enumerate(everywhere)]
        for end in ends:
            end.result(PATIENCE)
    assert sorted(got) == list(range(400))


@pytest.mark.parametrize("capacity", [None, 0, 3])
def test_a_channel_for_all(capacity: int | None) -> None:
    channel = sync.Channel(capacity)
    got: list[tuple[int, int]] = []

    async def send(place: Any, who: int) -> None:
        face = place.face(channel)
        for number in range(100):
            await face.send((who, number))

    async def receive(place: Any) -> None:
        face = place.face(channel)
        mine: list[tuple[int, int]] = []
        try:
            while True:
                mine.append(await face.recv())
        except selvedge.ClosedResourceError:
            for who in range(4):
                numbers = [number for sender, number in mine if sender == who]
                assert numbers == sorted(numbers)
            got.extend(mine)

    with places() as everywhere:
        receivers = [place.start(receive) for place in everywhere]
        for end in [place.start(send, who) for who, place in enumerate(everywhere)]:
            end.result(PATIENCE)
        wait_until(lambda: len(channel) == 0)
        channel.close()
        for end in receivers:
            end.result(PATIENCE)
    assert sorted(got) == [(who, number) for who in range(4) for number in range(100)]


def test_events_and_barriers_for_all() -> None:
    event, barrier = sync.Event(), sync.Barrier(4)
    numbers: list[int] = []

    async def work(place: Any) -> None:
        await place.face(event).wait()
        for _ in range(50):
            numbers.append(await place.face(barrier).wait())

    with places() as everywhere:
        ends = [place.start(work) for place in everywhere]
        wait_until_waiting(event, 4)
        event.set()
        for end in ends:
            end.result(PATIENCE)
    assert sorted(numbers) == sorted(list(range(4)) * 50)
    assert barrier.n_waiting == 0


def test_close_sends_all_away() -> None:
    lock, semaphore, event, channel = sync.Lock(), sync.Semaphore(0), sync.Event(), sync.Channel()
    limiter = sync.CapacityLimiter(1)

    async def refused(place: Any, shared: Any, method: str) -> bool:
        try:
            await getattr(place.face(shared), method)()
        except selvedge.ClosedResourceError:
            return True
        return False

    def line(shared: Any) -> int:
        stats: dict[str, int] = shared.stats()
        return stats.get("waiting", stats.get("receivers_waiting", 0))

    with places() as everywhere, lock, limiter:
        for shared, method in (
            (lock, "acquire"),
            (limiter, "acquire"),
            (semaphore, "acquire"),
            (event, "wait"),
            (channel, "recv"),
        ):
            ends = [place.start(refused, shared, method) for place in everywhere]
            wait_until(lambda: line(shared) == 4)
            shared.close()
            assert all(end.result(PATIENCE) for end in ends)


def test_nothing_is_left() -> None:
    def use() -> None:
        lock, condition = sync.Lock(), sync.Condition()

        async def work(place: Any) -> None:
            for _ in range(20):
                async with place.face(lock):
                    await place.passes()
            face = place.face(condition)
            await face.acquire()
            face.notify_all()
            face.release()

        with places() as everywhere:
            for end in [place.start(work) for place in everywhere]:
                end.result(PATIENCE)

    use()
    before, descriptors = census(), len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        use()
    assert census() - before == Counter()
    assert len(os.listdir("/proc/self/fd")) <= descriptors


@pytest.mark.only_python("3.13")
def test_a_task_in_an_interpreter_with_its_own_gil(run_program: RunProgram) -> None:
    """(asyncio in such an interpreter makes 3.12.1 abort at its exit, with nothing of ours.)"""
    program = """
        import sys, threading, _datetime
        import _interpreters as interpreters
        from selvedge import sync

        lock = sync.Lock(name="across", strict_fifo=True)
        source = '''if True:
            import sys
            sys.path[:] = %r
            import asyncio
            import selvedge
            from selvedge import aio, sync

            async def main():
                lock = aio.Lock(sync.Lock.open(%d))
                async with lock:
                    print("had it")
                await lock.acquire()

            asyncio.run(main())
            assert sync.Lock.open(%d).broken
        ''' % (sys.path, lock.id, lock.id)

        def there():
            interpreter = interpreters.create("isolated")
            failed = interpreters.exec(interpreter, source)
            interpreters.destroy(interpreter)
            assert failed is None, failed

        with lock:
            thread = threading.Thread(target=there)
            thread.start()
            while lock.stats()["waiting"] == 0:
                assert thread.is_alive()
        thread.join()
        assert lock.broken
    """
    assert run_program(program) == "had it\n"

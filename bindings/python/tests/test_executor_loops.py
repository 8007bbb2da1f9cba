"""selvedge.Executor from asyncio, Trio and anyio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
import trio

import selvedge.trio
from selvedge import Executor, ThreadCache

PATIENCE = 30


@pytest.fixture
def cache() -> Iterator[ThreadCache]:
    cache = ThreadCache("loops")
    yield cache
    cache.shutdown(PATIENCE)


@pytest.fixture
def executor(cache: ThreadCache) -> Iterator[Executor]:
    with Executor(2, cache=cache, thread_name_prefix="looped") as executor:
        yield executor


class Gate:
    """A call that says when it has begun, and goes on when it may."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def __call__(self, result: str = "passed") -> str:
        self.begun.set()
        assert self.open.wait(PATIENCE)
        return result


def name() -> str:
    return threading.current_thread().name


def fails() -> None:
    raise ZeroDivisionError("of the call")


# ---- asyncio ----


@pytest.mark.filterwarnings("error")
def test_asyncio_run_in_executor(executor: Executor) -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError, match="of the call"):
            await loop.run_in_executor(executor, fails)
        return await asyncio.gather(*(loop.run_in_executor(executor, name) for _ in range(50)))

    assert set(asyncio.run(main())) <= {"looped_0", "looped_1"}
    assert executor.submit(int).result(PATIENCE) == 0


@pytest.mark.filterwarnings("error")
def test_asyncio_default_executor(cache: ThreadCache) -> None:
    executor = Executor(2, cache=cache, thread_name_prefix="default")

    async def main() -> str:
        asyncio.get_running_loop().set_default_executor(executor)
        assert await asyncio.get_running_loop().run_in_executor(None, abs, -5) == 5
        return await asyncio.to_thread(name)

    assert asyncio.run(main()).startswith("default_")
    # As with any default executor, asyncio.run has shut it down; the cache it has not.
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(int)
    assert Executor(cache=cache).submit(int).result(PATIENCE) == 0


def test_asyncio_cancels_a_call_that_waits(cache: ThreadCache) -> None:
    gate, ran = Gate(), list[int]()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with Executor(1, cache=cache) as executor:
            running = loop.run_in_executor(executor, gate)
            waiting = asyncio.ensure_future(executor.run(ran.append, 1))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            gate.open.set()
            assert await running == "passed"

    asyncio.run(main())
    assert ran == []


def test_asyncio_run(executor: Executor) -> None:
    async def main() -> tuple[int, str]:
        with pytest.raises(ZeroDivisionError):
            await executor.run(fails)
        return await executor.run(pow, 2, exp=3), await executor.run(name)

    result, thread = asyncio.run(main())
    assert result == 8 and thread.startswith("looped_")


# ---- Trio ----


def test_trio_run(executor: Executor) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await executor.run(fails)
        assert await executor.run(pow, 2, exp=3) == 8
        assert (await selvedge.trio.run_in_executor(executor, name)).startswith("looped_")
        assert await selvedge.trio.wrap_future(executor.submit(abs, -1)) == 1

    trio.run(main)


def test_trio_cancels_a_call_that_waits_and_awaits_one_that_runs(cache: ThreadCache) -> None:
    gate, ran, results = Gate(), list[int](), list[str]()

    async def main() -> None:
        with Executor(1, cache=cache) as executor:

            async def run() -> None:
                results.append(await executor.run(gate))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                while not gate.begun.is_set():
                    await trio.sleep(0)
                with trio.move_on_after(0) as scope:
                    await executor.run(ran.append, 1)
                assert scope.cancelled_caught
                nursery.cancel_scope.cancel()
                trio.lowlevel.current_trio_token().run_sync_soon(gate.open.set)

    trio.run(main)
    assert ran == [] and gate.open.is_set()


def test_trio_as_a_guest_of_asyncio(executor: Executor) -> None:
    """In a Trio task asyncio's loop runs as well, and must not be taken for it."""

    async def guest() -> str:
        with trio.fail_after(PATIENCE):
            assert await executor.run(pow, 2, 3) == 8
        return "guest"

    async def host() -> tuple[str, int]:
        loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda outcome: done.set_result(outcome),
        )
        return (await done).unwrap(), await executor.run(abs, -4)

    assert asyncio.run(host()) == ("guest", 4)


# ---- anyio ----


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio(cache: ThreadCache, backend: str) -> None:
    """A call of a library that does not know which loop it runs in."""

    async def main(executor: Executor) -> list[str]:
        gates, results = [Gate(), Gate()], list[str]()

        async def call(which: Callable[[], Awaitable[str]]) -> None:
            results.append(await which())

        async with anyio.create_task_group() as group:
            for gate in gates:
                group.start_soon(call, lambda gate=gate: executor.run(gate))
            for gate in gates:
                assert await executor_of_the_test.run(gate.begun.wait, PATIENCE)
            with anyio.move_on_after(0.01):
                await executor.run(results.append, "never")
            for gate in gates:
                gate.open.set()
        with pytest.raises(ZeroDivisionError):
            await executor.run(fails)
        return results

    with Executor(2, cache=cache) as executor, Executor(2, cache=cache) as executor_of_the_test:
        function: Any = main
        assert anyio.run(function, executor, backend=backend) == ["passed", "passed"]

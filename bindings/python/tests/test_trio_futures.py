"""selvedge.trio.run_in_executor and wrap_future: executors and their futures, awaited in Trio."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest
import trio
import trio.testing
from trio import to_thread

import selvedge
import selvedge.trio

PATIENCE = 60.0


@pytest.fixture(params=["selvedge", "pool"])
def executor(request: pytest.FixtureRequest) -> Iterator[futures.Executor]:
    """With one worker."""
    kind = selvedge.Executor if request.param == "selvedge" else futures.ThreadPoolExecutor
    with kind(max_workers=1) as made:
        yield made


class Gate:
    """A job that is inside until it is let go."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> str:
        self.inside.set()
        assert self.open.wait(PATIENCE)
        return "through"


def test_run_in_executor(executor: futures.Executor) -> None:
    def fail() -> None:
        raise KeyError("of the call")

    async def main() -> None:
        assert await selvedge.trio.run_in_executor(executor, divmod, 17, 5) == (3, 2)
        assert await selvedge.trio.run_in_executor(executor, threading.get_ident) != threading.get_ident()
        with pytest.raises(KeyError, match="of the call"):
            await selvedge.trio.run_in_executor(executor, fail)

    trio.run(main)


def test_a_call_that_has_not_begun_is_cancelled(executor: futures.Executor) -> None:
    gate = Gate()
    ran: list[str] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(selvedge.trio.run_in_executor, executor, gate)
            await to_thread.run_sync(gate.inside.wait, PATIENCE)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    inner.start_soon(selvedge.trio.run_in_executor, executor, ran.append, "it has")
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            assert scope.cancelled_caught
            gate.open.set()
        assert await selvedge.trio.run_in_executor(executor, lambda: ran) == []

    trio.run(main)


def test_a_call_that_has_begun_is_waited_for(executor: futures.Executor) -> None:
    gate = Gate()

    async def main() -> None:
        results: list[str] = []
        scope = trio.CancelScope()

        async def call() -> None:
            with scope:
                results.append(await selvedge.trio.run_in_executor(executor, gate))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await to_thread.run_sync(gate.inside.wait, PATIENCE)
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert results == []
            gate.open.set()
        assert results == ["through"]

    trio.run(main)


def test_or_abandoned(executor: futures.Executor) -> None:
    gate = Gate()

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: selvedge.trio.run_in_executor(executor, gate, abandon_on_cancel=True))
                await to_thread.run_sync(gate.inside.wait, PATIENCE)
                scope.cancel()
        assert scope.cancelled_caught and not gate.open.is_set()

    trio.run(main)
    gate.open.set()  # and its result finds the run gone


def test_a_cancelled_task_submits_nothing(executor: futures.Executor) -> None:
    ran: list[str] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await selvedge.trio.run_in_executor(executor, ran.append, "it has")
        assert scope.cancelled_caught

    trio.run(main)
    assert executor.submit(lambda: ran).result(PATIENCE) == []


def test_futures_of_others() -> None:
    async def main() -> None:
        finished: futures.Future[int] = futures.Future()
        finished.set_result(3)
        assert await selvedge.trio.wrap_future(finished) == 3

        failed: futures.Future[int] = futures.Future()
        failed.set_exception(KeyError("of the future"))
        with pytest.raises(KeyError, match="of the future"):
            await selvedge.trio.wrap_future(failed)

        cancelled: futures.Future[int] = futures.Future()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(futures.CancelledError):
                    await selvedge.trio.wrap_future(cancelled)

            await trio.testing.wait_all_tasks_blocked()
            cancelled.cancel()

        shared: futures.Future[int] = futures.Future()
        got: list[int] = []
        async with trio.open_nursery() as nursery:
            for _ in range(3):

                @nursery.start_soon
                async def _() -> None:
                    got.append(await selvedge.trio.wrap_future(shared))

            await trio.testing.wait_all_tasks_blocked()
            await to_thread.run_sync(shared.set_result, 8)
        assert got == [8, 8, 8]

        given_up: futures.Future[int] = futures.Future()
        with trio.move_on_after(0.01):
            await selvedge.trio.wrap_future(given_up)
        assert given_up.cancelled()

    trio.run(main)


def test_wrong_types_of_executors_and_futures() -> None:
    wrong: Any = 7

    async def main() -> None:
        with pytest.raises(TypeError, match="executor must be"):
            await selvedge.trio.run_in_executor(wrong, int)
        with pytest.raises(TypeError, match="future must be"):
            await selvedge.trio.wrap_future(wrong)

    trio.run(main)


def test_an_executor_that_is_shut_down_refuses(executor: futures.Executor) -> None:
    executor.shutdown()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="shutdown"):
            await selvedge.trio.run_in_executor(executor, int)

    trio.run(main)

"""Futures of `concurrent.futures`, awaited in Trio."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import trio

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    Ts = TypeVarTuple("Ts")

__all__ = ["run_in_executor", "wrap_future"]

T = TypeVar("T")


async def run_in_executor(
    executor: Executor, fn: Callable[[Unpack[Ts]], T], *args: Unpack[Ts], abandon_on_cancel: bool = False
) -> T:
    """Runs ``fn(*args)`` in an executor, and returns what it returns or raises what it raises.

    When the Trio task is cancelled and the call has not begun, it never does. If it has begun, the task waits for its
    end, and has its result in spite of the cancellation; with ``abandon_on_cancel`` it leaves at once, and nobody hears
    of the result.

    ``executor`` is any `concurrent.futures.Executor`: a `selvedge.Executor`, a pool of threads, of processes or of
    interpreters. Unlike with `trio.to_thread.run_sync`, ``fn`` gets no copy of the task's context variables (it may run
    in another process), and `trio.from_thread` needs its ``trio_token`` there.

    In a Trio task; it waits, and is a checkpoint.

    Raises:
        TypeError: ``executor`` is none.
        concurrent.futures.CancelledError: other code has cancelled the future, or the executor's shutdown.
        RuntimeError: the executor has been shut down.
    """
    if not isinstance(executor, Executor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"executor must be a concurrent.futures.Executor, not {type(executor).__name__}")
    await trio.lowlevel.checkpoint_if_cancelled()
    return await wrap_future(executor.submit(fn, *args), abandon_on_cancel=abandon_on_cancel)


async def wrap_future(future: Future[T], *, abandon_on_cancel: bool = False) -> T:
    """Waits for a `concurrent.futures.Future`, and returns or raises its result.

    When the Trio task is cancelled, so is the future. If that comes too late the task waits for the result, and has it
    in spite of the cancellation; with ``abandon_on_cancel`` it leaves at once.

    In a Trio task; it waits, and is a checkpoint. Any number of tasks and threads can wait for one future; the first
    that is cancelled cancels it for all.

    Raises:
        TypeError: ``future`` is none (an `asyncio.Future` belongs to its own loop).
        concurrent.futures.CancelledError: other code has cancelled the future.
    """
    if not isinstance(future, Future):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"future must be a concurrent.futures.Future, not {type(future).__name__}")
    token = trio.lowlevel.current_trio_token()
    finished = trio.Event()

    def tell(_: Future[Any]) -> None:
        # On whichever thread finishes the future. An abandoned one may outlive the run.
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(finished.set)

    future.add_done_callback(tell)
    try:
        await finished.wait()
    except trio.Cancelled:
        if future.cancel() or abandon_on_cancel:
            raise
        with trio.CancelScope(shield=True):
            await finished.wait()
    except BaseException:
        # Ctrl-C, which nobody shields.
        future.cancel()
        raise
    return future.result()

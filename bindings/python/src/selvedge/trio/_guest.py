"""Trio as the guest of another event loop, with a thread starter of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import outcome
import trio
from trio.abc import Clock, Instrument

from selvedge.trio import _install

__all__ = ["start_guest_run"]

T = TypeVar("T")


def start_guest_run(
    async_fn: Callable[..., Awaitable[T]],
    *args: object,
    run_sync_soon_threadsafe: Callable[[Callable[[], object]], object],
    done_callback: Callable[[outcome.Outcome[T]], object],
    run_sync_soon_not_threadsafe: Callable[[Callable[[], object]], object] | None = None,
    host_uses_signal_set_wakeup_fd: bool = False,
    clock: Clock | None = None,
    instruments: Sequence[Instrument] = (),
    restrict_keyboard_interrupt_to_checkpoints: bool = False,
    strict_exception_groups: bool = True,
    start_thread_soon: _install.StartThreadSoon | None = None,
) -> None:
    """`trio.lowlevel.start_guest_run`, with one parameter more: who starts this run's threads.

    ``start_thread_soon(fn, deliver, name)`` is to call ``deliver(outcome.capture(fn))`` once, on a thread of its choice
    that is free to block, with ``name`` (a str or None) as the thread's name meanwhile. ``fn`` blocks, ``deliver`` does
    not. `selvedge.ThreadCache.start_thread_soon` does that, and so the threads of one run can be the workers of a cache
    of their own. It is called from this thread, and from this run's jobs; it must not wait.

    It gets every thread that this run asks for: its polls, `trio.to_thread.run_sync`, `trio.lowlevel.start_thread_soon`
    in the run, and in the jobs that it has started in this way. Other runs are not touched, nor is what the process has
    installed with `install`. To refuse, it raises: the task that asked for a thread gets the exception; a poll that is
    refused ends the run, with `trio.TrioInternalError` as its outcome and the exception as the cause of that.

    None: the run's threads are those of the process, `install`'s or Trio's.

    Call it on the thread of the host's loop. Does not block. All other parameters are Trio's.

    Raises:
        TypeError: ``start_thread_soon`` cannot be called.
        selvedge.BusyResourceError: other code has replaced Trio's thread cache.
        RuntimeError, trio.TrioInternalError: as Trio's.
    """
    if start_thread_soon is not None and not callable(start_thread_soon):
        raise TypeError(f"start_thread_soon must be callable or None, not {type(start_thread_soon).__name__}")
    run = None if start_thread_soon is None else _install.Run(start_thread_soon)

    def done(result: outcome.Outcome[T]) -> None:
        if run is not None:
            _install.end(run)
        done_callback(result)

    if run is not None:
        _install.begin(run)
    try:
        trio.lowlevel.start_guest_run(
            async_fn,
            *args,
            run_sync_soon_threadsafe=run_sync_soon_threadsafe,
            done_callback=done_callback if run is None else done,
            run_sync_soon_not_threadsafe=run_sync_soon_not_threadsafe,
            host_uses_signal_set_wakeup_fd=host_uses_signal_set_wakeup_fd,
            clock=clock,
            instruments=instruments,
            restrict_keyboard_interrupt_to_checkpoints=restrict_keyboard_interrupt_to_checkpoints,
            strict_exception_groups=strict_exception_groups,
        )
        if run is not None:
            _install.begun(run)
    except BaseException:
        if run is not None:
            _install.end(run)
        raise

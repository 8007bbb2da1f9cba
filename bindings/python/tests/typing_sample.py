"""A program that uses the whole public face of the package, for the type checkers alone: nobody runs it.

`assert_type` says what a checker is to find. A `type: ignore` with a reason stands at a mistake that it is to find: one
that is not needed is an error.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

import asyncio
import ctypes
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import outcome
import trio
from typing_extensions import assert_type

import selvedge
import selvedge.aio
import selvedge.cache
import selvedge.executor
import selvedge.glib
import selvedge.hooks
import selvedge.interpreters
import selvedge.sync
import selvedge.trio


# The same objects as below, where they are made.
SAME: list[type[object]] = [
    selvedge.cache.ThreadCache,
    selvedge.executor.Executor,
    selvedge.hooks.Hook,
]


def square(n: int) -> int:
    return n * n


def answer() -> int:
    return 42


# ---- the cache ----


def cache() -> None:
    own = selvedge.ThreadCache(name="own", idle_timeout=2.5, max_workers=4)
    assert_type(own, selvedge.ThreadCache)
    assert_type(selvedge.default_cache(), selvedge.ThreadCache)

    def deliver(result: outcome.Outcome[int]) -> None:
        assert_type(result.unwrap(), int)

    def deliver_text(result: outcome.Outcome[str]) -> None: ...

    own.start_thread_soon(answer, deliver)
    own.start_thread_soon(answer, deliver, "a name")
    own.start_thread_soon(answer, deliver_text)  # type: ignore[misc]
    own.start_thread_soon(square, deliver)  # type: ignore[arg-type]
    job = own.submit(answer, deliver, "a name", limiter=0)
    own.submit(answer, limiter=selvedge.sync.CapacityLimiter(1))
    own.submit(answer, limiter=selvedge.aio.CapacityLimiter(1))
    own.submit(answer, limiter=selvedge.trio.CapacityLimiter(1))
    own.submit(answer, limiter=selvedge.sync.Lock())  # type: ignore[arg-type]
    assert_type(job, selvedge.Job)
    assert_type(own.submit(answer), selvedge.Job)
    assert_type(job.cancel(), bool)
    job.wait()
    job.wait(1.5)
    assert_type(own.stats(), selvedge.CacheStats)
    assert_type(own.stats().idle, int)
    own.trim()
    own.trim(keep=1)
    own.set_idle_timeout(None)
    own.shutdown()
    own.shutdown(2, cancel_queued=True)
    assert_type(own.address, int)
    assert_type(own.closed, bool)
    own.closed = True  # type: ignore[misc]
    selvedge.ThreadCache(max_workers="4")  # type: ignore[arg-type]
    assert_type(selvedge.library_version, str)


# ---- hooks ----


def hooks(own: selvedge.ThreadCache) -> None:
    def start() -> list[int]:
        return []

    def leave(slot: list[int]) -> None: ...

    def leave_text(slot: str) -> None: ...

    hook = selvedge.register_hook("values", on_start=start, on_exit=leave, before_job=leave, after_job=leave, cache=own)
    assert_type(hook, selvedge.Hook)
    selvedge.register_hook("plain", lambda: None, lambda slot: None, lazy=True, eager=False, optional=True)
    selvedge.register_hook("wrong", on_start=start, on_exit=leave_text)  # type: ignore[misc]

    def attach(user: int | None, slot: int | None) -> int:
        return 0

    native = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)(attach)
    with selvedge.register_hook(
        "jvm", on_start=native, on_exit=0x1000, user=0x2000, retire=True, fork_keep=True
    ) as kept:
        assert_type(kept, selvedge.Hook)
        assert_type(kept.stats(), selvedge.HookStats)
        assert_type(kept.stats().starts, int)
    hook.unregister()
    hook.unregister(timeout=1.0)


# ---- host loops ----


def host_loop() -> None:
    def failed(error: BaseException) -> None: ...

    with selvedge.HostLoop("main", on_error=failed) as loop:
        assert_type(loop, selvedge.HostLoop)
        assert_type((loop.fd, loop.address, loop.name, loop.closed), tuple[int, int, str | None, bool])
        loop.call_soon(square, 3, idempotent=True)
        loop.call_soon(square, "3")  # type: ignore[arg-type]
        assert_type(loop.call(square, 3, timeout=1.0), int)
        assert_type(loop.drain(10), int)
        assert_type(loop.stats(), selvedge.HostLoopStats)
        loop.bind()


# ---- errors ----


def errors(error: selvedge.SelvedgeError) -> None:
    assert_type(error.status, int)
    if isinstance(error, selvedge.DeadlockError):
        assert_type(error.ring, tuple[str, ...])
    if isinstance(error, selvedge.HookFailedError):
        assert_type(error.code, int)
    late: TimeoutError = selvedge.TimedOutError()
    bad: ValueError = selvedge.LimitError()
    cannot: NotImplementedError = selvedge.UnsupportedError()
    running: list[RuntimeError] = [
        selvedge.DeadlockError(),
        selvedge.DuplicateError(),
        selvedge.NotOwnerError(),
        selvedge.ReentrantError(),
        selvedge.SpawnError(),
        selvedge.WrongThreadError(),
    ]
    others: list[selvedge.SelvedgeError] = [
        selvedge.BusyResourceError(),
        selvedge.CancelledError(),
        selvedge.ClosedResourceError(),
        selvedge.ForkedError(),
        selvedge.StaleTaskError(),
        selvedge.TooLateError(),
        selvedge.WouldBlock(),
    ]
    broken: selvedge.BrokenResourceError = selvedge.NotRecoverableError()
    raise error from [late, bad, cannot, *running, *others, broken][0]


# ---- the executor ----


async def executor(own: selvedge.ThreadCache) -> None:
    with selvedge.Executor(4, cache=own, thread_name_prefix="x", initializer=print, initargs=(1,)) as pool:
        assert_type(pool, selvedge.Executor)
        future = pool.submit(square, 3)
        assert_type(future, Future[int])
        pool.submit(square, "3")  # type: ignore[arg-type]
        assert_type(pool.map(square, [1, 2]), Iterator[int])
        assert_type(await pool.run(square, 4), int)
        assert_type(await asyncio.get_running_loop().run_in_executor(pool, square, 5), int)
        asyncio.get_running_loop().set_default_executor(pool)
        assert_type(pool.cache, selvedge.ThreadCache)
        as_usual: ThreadPoolExecutor = pool
        as_usual.shutdown(cancel_futures=True)


# ---- locks for threads ----


def threads() -> None:
    lock = selvedge.sync.Lock(name="ledger", strict_fifo=True, robust=True, timed_deadlock=True)
    assert_type(lock.acquire(), bool)
    assert_type(lock.acquire(blocking=False), bool)
    assert_type(lock.acquire(timeout=1.5), bool)
    lock.acquire(timeout=None)  # type: ignore[arg-type]
    lock.release()
    with lock as taken:
        assert_type(taken, bool)
    assert_type(lock.locked(), bool)
    assert_type(lock.name, str | None)
    assert_type(selvedge.sync.Lock(lock), selvedge.sync.Lock)
    selvedge.sync.Lock(selvedge.sync.RLock())  # type: ignore[arg-type]
    recursive = selvedge.sync.RLock(name="again")

    condition = selvedge.sync.Condition(recursive)
    with condition:
        assert_type(condition.wait(1.0), bool)
        assert_type(condition.wait_for(lambda: [1], timeout=1.0), list[int])
        condition.notify(2)
        condition.notify_all()

    semaphore = selvedge.sync.Semaphore(2)
    assert_type(semaphore.acquire(timeout=0.5), bool)
    semaphore.release(2)
    assert_type(selvedge.sync.BoundedSemaphore(1).acquire(), bool)

    event = selvedge.sync.Event()
    event.set()
    event.clear()
    assert_type(event.is_set(), bool)
    assert_type(event.wait(1.0), bool)

    barrier = selvedge.sync.Barrier(2, action=print, timeout=3.0)
    try:
        assert_type(barrier.wait(), int)
    except selvedge.sync.BrokenBarrierError:
        barrier.reset()
    assert_type((barrier.parties, barrier.n_waiting, barrier.broken), tuple[int, int, bool])

    limiter = selvedge.sync.CapacityLimiter(3)
    with limiter:
        assert_type(limiter.borrowed_tokens, int)
    limiter.total_tokens = 4
    assert_type(limiter.acquire(on_behalf_of="somebody"), bool)

    lot = selvedge.sync.ParkingLot()
    assert_type(lot.park(timeout=1.0), bool)
    assert_type(lot.unpark(1), int)

    channel = selvedge.sync.Channel(10)
    channel.send({"a": 1})
    assert_type(channel.recv(timeout=1.0), Any)
    channel.send_bytes(b"abc")
    assert_type(channel.recv_bytes(), bytes)
    for item in channel:
        assert_type(item, Any)
    channel.close()

    with selvedge.sync.task("order 17") as task:
        assert_type(task.number, int)
        selvedge.sync.interrupt(task.number)
    assert_type(task.report, selvedge.sync.TaskReport | None)
    assert_type(selvedge.sync.current_task(), int)
    assert_type(selvedge.sync.wait_graph("json"), str)
    selvedge.sync.wait_graph("xml")  # type: ignore[arg-type]


# ---- the same, awaited ----


async def awaited_in_asyncio(shared: selvedge.sync.Lock, condition: selvedge.sync.Condition) -> None:
    lock = selvedge.aio.Lock(shared)
    assert_type(await lock.acquire(), Literal[True])
    lock.release()
    async with lock as nothing:
        assert_type(nothing, None)
    assert_type(lock.locked(), bool)
    selvedge.aio.Lock(condition)  # type: ignore[arg-type]
    selvedge.aio.Lock(selvedge.trio.Lock(shared))
    async with selvedge.aio.RLock(name="again"):
        pass
    async with selvedge.aio.Condition(condition) as nothing:
        assert_type(nothing, None)
    changed = selvedge.aio.Condition(lock)
    assert_type(await changed.wait_for(lambda: 3), int)
    changed.notify()
    await selvedge.aio.Semaphore(1).acquire(n=1)
    await selvedge.aio.BoundedSemaphore(1).acquire()
    event = selvedge.aio.Event()
    assert_type(await event.wait(), Literal[True])
    try:
        assert_type(await selvedge.aio.Barrier(2).wait(), int)
    except selvedge.aio.BrokenBarrierError as error:
        as_ours: selvedge.BrokenResourceError = error
        raise as_ours from None
    limiter = selvedge.aio.CapacityLimiter(2)
    await limiter.acquire_on_behalf_of("somebody")
    assert_type(limiter.available_tokens, float)
    channel = selvedge.aio.Channel(3)
    await channel.send([1])
    assert_type(await channel.recv(), Any)
    assert_type(await channel.recv_bytes(), bytes)
    async for item in channel:
        assert_type(item, Any)


async def awaited_in_trio(shared: selvedge.sync.Lock) -> None:
    lock = selvedge.trio.Lock(shared)
    await lock.acquire()
    lock.release()
    async with lock:
        assert_type(lock.statistics(), trio.LockStatistics)
    selvedge.trio.StrictFIFOLock()
    selvedge.trio.RLock(selvedge.sync.RLock())
    async with selvedge.trio.Condition(lock) as nothing:
        assert_type(nothing, None)
    semaphore = selvedge.trio.Semaphore(1, max_value=2)
    await semaphore.acquire()
    assert_type(semaphore.value, int)
    selvedge.trio.BoundedSemaphore(2).release()
    await selvedge.trio.Event().wait()
    limiter = selvedge.trio.CapacityLimiter(2)
    await trio.to_thread.run_sync(answer)
    assert_type(limiter.statistics(), trio.CapacityLimiterStatistics)
    channel = selvedge.trio.Channel(3)
    await channel.send([1])
    assert_type(await channel.receive(), Any)
    async for item in channel:
        assert_type(item, Any)
    try:
        assert_type(await selvedge.trio.Barrier(2).wait(), int)
    except selvedge.trio.BrokenBarrierError:
        pass
    broken: trio.BrokenResourceError = selvedge.trio.BrokenResourceError()
    busy: trio.BusyResourceError = selvedge.trio.BusyResourceError()
    closed: trio.ClosedResourceError = selvedge.trio.ClosedResourceError()
    end: trio.EndOfChannel = selvedge.trio.EndOfChannel()
    full: trio.WouldBlock = selvedge.trio.WouldBlock()
    ours: list[selvedge.SelvedgeError] = [selvedge.trio.WouldBlock(), selvedge.trio.EndOfChannel()]
    assert [broken, busy, closed, end, full, *ours]


# ---- Trio's threads ----


async def threads_of_trio(own: selvedge.ThreadCache, pool: selvedge.Executor) -> None:
    with selvedge.trio.install(own) as used:
        assert_type(used, selvedge.ThreadCache)
    installation = selvedge.trio.install()
    assert_type(installation, selvedge.trio.Installation)
    assert_type(installation.cache, selvedge.ThreadCache)
    selvedge.trio.uninstall()
    assert_type(await selvedge.trio.run_in_executor(pool, square, 3), int)
    await selvedge.trio.run_in_executor(pool, square, "3")  # type: ignore[arg-type]
    assert_type(await selvedge.trio.wrap_future(pool.submit(answer), abandon_on_cancel=True), int)


def guest() -> None:
    async def main(n: int) -> str:
        await trio.sleep(n)
        return "slept"

    def done(result: outcome.Outcome[str]) -> None: ...

    def start(fn: Any, deliver: Any, name: str | None) -> None: ...

    selvedge.trio.start_guest_run(
        main, 1, run_sync_soon_threadsafe=lambda fn: None, done_callback=done, start_thread_soon=start
    )


# ---- interpreters ----


def interpreters() -> None:
    assert_type(selvedge.interpreters.SUPPORTED, bool)
    with selvedge.interpreters.InterpreterCache("own", idle_timeout=None, max_workers=2) as own:
        assert_type(own.run(square, 3), int)
        assert_type(own.run("n + 1", n=1), Any)
        future = own.submit(square, 3)
        assert_type(future, selvedge.interpreters.InterpreterFuture[int])
        assert_type(future.result(1.0), int)
        assert_type(future.interrupt(), bool)
        assert_type(own.stats(), selvedge.interpreters.InterpreterStats)
        with selvedge.interpreters.InterpreterExecutor(cache=own) as pool:
            assert_type(pool.submit(square, 3).result(), int)
            assert_type(pool.map(square, [1, 2]), Iterator[int])
    channel = selvedge.interpreters.Channel(3)
    channel.send("item")
    assert_type(channel.recv(timeout=1.0), Any)
    assert_type(channel.stats(), selvedge.interpreters.ChannelStats)
    assert_type(selvedge.interpreters.interpreter_id(), int)
    error: selvedge.SelvedgeError = selvedge.interpreters.RemoteError("ValueError", "no", "Traceback ...")
    cause: Exception = selvedge.interpreters.RemoteTraceback("Traceback ...")
    broken: type[Exception] = selvedge.interpreters.BrokenInterpreterExecutor
    raise broken() from (error or cause)


# ---- GLib ----


def greenlets(lock: selvedge.sync.Lock) -> None:
    loop = selvedge.glib.HostLoop(name="main", priority=0)
    loop.call_soon(print, "called")
    loop.close()
    with selvedge.glib.GreenletHub(name="hub") as hub:
        task = hub.spawn(square, 3)
        assert_type(task, selvedge.glib.Task[int])
        hub.spawn(square, "3")  # type: ignore[arg-type]
        assert_type(task.result(1.0), int)
        assert_type(hub.run(square, 3), int)
        assert_type(hub.acquire(lock, timeout=1.0), bool)
        hub.sleep(0.5)

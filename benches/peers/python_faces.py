"""Selvedge's executor, locks and interpreters beside those of Python and Trio, driven over standard input: see src/peers/child.rs for
the protocol. The scenarios are those of src/python/.

Usage: python_faces.py executor|futures|trio|trio-selvedge|locks|interpreters-N|threads-N|processes-N: a process of its own for each.
"""

import asyncio
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import selvedge

CPUS = sorted(os.sched_getaffinity(0))


def nothing():
    return None


# ---- executors ----


def future(pool, count):
    """One job at a time, its result waited for by a blocked thread."""
    submit = pool.submit
    start = 0
    for number in range(-(count // 10), count):
        if number == 0:
            start = time.perf_counter_ns()
        submit(nothing).result()
    return time.perf_counter_ns() - start


def results(pool, times, count):
    """All items at once, the results in order."""
    start = 0
    for number in range(times + 1):
        if number == 1:
            start = time.perf_counter_ns()
        total = sum(pool.map(int, range(count)))
        assert total == count * (count - 1) // 2, "a result was lost or doubled"
    return time.perf_counter_ns() - start


def in_asyncio(pool, count):
    """One job at a time, its result awaited by a task."""

    async def run():
        loop = asyncio.get_running_loop()
        start = 0
        for number in range(-(count // 10), count):
            if number == 0:
                start = time.perf_counter_ns()
            await loop.run_in_executor(pool, nothing)
        return time.perf_counter_ns() - start

    return asyncio.run(run())


def in_trio(_pool, count):
    """One job at a time, on whichever cache Trio has."""
    import trio

    async def run():
        start = 0
        for number in range(-(count // 10), count):
            if number == 0:
                start = time.perf_counter_ns()
            await trio.to_thread.run_sync(nothing)
        return time.perf_counter_ns() - start

    return trio.run(run)


# ---- locks ----


def make_lock(kind):
    if kind in ("lock", "rlock"):
        return {"lock": threading.Lock, "rlock": threading.RLock}[kind]()
    from selvedge import sync

    return {"selvedge": sync.Lock, "selvedge-rlock": sync.RLock}[kind]()


def pairs(_pool, kind, count):
    lock = make_lock(kind)
    acquire, release = lock.acquire, lock.release
    start = time.thread_time_ns()
    for _ in range(count):
        acquire()
        release()
    return time.thread_time_ns() - start


def withs(_pool, kind, count):
    lock = make_lock(kind)
    start = time.thread_time_ns()
    for _ in range(count):
        with lock:
            pass
    return time.thread_time_ns() - start


def awaits(_pool, kind, count):
    """Each lock in the loop that it is made for, awaited by the only task."""

    async def run(lock):
        start = time.thread_time_ns()
        for _ in range(count):
            async with lock:
                pass
        return time.thread_time_ns() - start

    if kind in ("asyncio", "selvedge-aio"):

        async def with_asyncio():
            if kind == "asyncio":
                return await run(asyncio.Lock())
            from selvedge import aio

            return await run(aio.Lock())

        return asyncio.run(with_asyncio())
    import trio

    async def with_trio():
        if kind == "trio":
            return await run(trio.Lock())
        from selvedge.trio import Lock

        return await run(Lock())

    return trio.run(with_trio)


# ---- processors ----


def piece(steps):
    """Pure Python that never waits."""
    total = 0
    for number in range(steps):
        total = (total * 31 + number) & 0xFFFFFF
    return total


def stay_on_cpu(number):
    """Long enough for each worker to get one of these."""
    os.sched_setaffinity(0, {CPUS[number % len(CPUS)]})
    time.sleep(0.05)


def pieces(pool, count, steps):
    """All pieces, as soon as possible. Workers are there before the clock starts, and each stays on a CPU of its own."""
    workers = int(sys.argv[1].rpartition("-")[2])
    list(pool.map(stay_on_cpu, range(workers)))
    list(pool.map(piece, [steps // 10] * workers))
    start = time.perf_counter_ns()
    answers = set(pool.map(piece, [steps] * count))
    elapsed = time.perf_counter_ns() - start
    assert answers == {piece(steps)}, "a piece went wrong"
    return elapsed


# ---- the process ----


def make_pool(what):
    threads = os.cpu_count()
    kind, _, number = what.rpartition("-")
    if what == "executor":
        return selvedge.Executor(threads)
    if what == "futures":
        return ThreadPoolExecutor(threads)
    if what == "trio-selvedge":
        from selvedge.trio import install

        install()
    if kind == "interpreters":
        from selvedge.interpreters import InterpreterExecutor

        return InterpreterExecutor(int(number))
    if kind == "threads":
        return ThreadPoolExecutor(int(number))
    if kind == "processes":
        return ProcessPoolExecutor(int(number))
    return None


COMMANDS = {f.__name__: f for f in (future, results, in_asyncio, in_trio, pairs, withs, awaits, pieces)}


def main():
    pool = make_pool(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        arguments = [int(word) if word.isdigit() else word for word in words]
        try:
            print("ok", COMMANDS[command](pool, *arguments), 0, flush=True)
        except Exception as error:  # reported to the harness, which prints it
            print("error", type(error).__name__, error, flush=True)
    if pool is not None:
        pool.shutdown()


if __name__ == "__main__":
    main()

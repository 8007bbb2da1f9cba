"""Trio's Lock, driven over standard input: see src/peers/child.rs for the protocol."""

import sys
import time

import trio


async def nowait(count):
    """One task, no other: the two calls that do not suspend."""
    lock = trio.Lock()
    start = time.thread_time_ns()
    for _ in range(count):
        lock.acquire_nowait()
        lock.release()
    return time.thread_time_ns() - start


async def uncontended(count):
    """The same with `await`, which is a checkpoint: the task goes through the scheduler each time."""
    lock = trio.Lock()
    start = time.thread_time_ns()
    for _ in range(count):
        await lock.acquire()
        lock.release()
    return time.thread_time_ns() - start


async def handoff(count):
    """Two tasks and three locks in a ring, as in src/locks/contest.rs."""
    locks = [trio.Lock() for _ in range(3)]
    steps = max(count // 6, 1) * 3
    elapsed = 0

    async def first(task_status=trio.TASK_STATUS_IGNORED):
        nonlocal elapsed
        await locks[0].acquire()
        await locks[1].acquire()
        task_status.started()
        await ready.wait()
        start = time.perf_counter_ns()
        for step in range(steps):
            locks[step % 3].release()
            await locks[(step + 2) % 3].acquire()
        elapsed = time.perf_counter_ns() - start
        locks[0].release()
        locks[1].release()

    async def second():
        await locks[2].acquire()
        ready.set()
        for step in range(steps):
            await locks[step % 3].acquire()
            locks[(step + 2) % 3].release()
        locks[2].release()

    ready = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(first)
        nursery.start_soon(second)
    return elapsed * count // (2 * steps)


COMMANDS = {f.__name__: f for f in (nowait, uncontended, handoff)}


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        command, count = line.split()
        try:
            print("ok", trio.run(COMMANDS[command], int(count)), 0, flush=True)
        except Exception as error:  # reported to the harness, which prints it
            print("error", type(error).__name__, error, flush=True)


if __name__ == "__main__":
    main()

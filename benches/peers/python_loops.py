"""asyncio's ways into its loop, and Trio alone and as a guest, driven over standard input: see src/peers/child.rs for the protocol.

The scenarios are those of src/loops/. Whoever calls from another thread is another thread of this process, and both need the GIL.
"""

import asyncio
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import trio
from trio._core import _thread_cache

CPUS = sorted(os.sched_getaffinity(0))


def stay_on_cpu(number):
    os.sched_setaffinity(0, {CPUS[number % len(CPUS)]})


class Running:
    """An asyncio loop that runs in a thread of its own."""

    def __init__(self, cpu):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(cpu,))
        self._thread.start()
        self._wchan = os.open(f"/proc/self/task/{self._thread.native_id}/wchan", os.O_RDONLY)

    def _run(self, cpu):
        stay_on_cpu(cpu)
        self.loop.run_forever()

    def await_sleep(self):
        """Until the kernel says that the thread sleeps in its poll, not for the GIL."""
        end = time.monotonic() + 10
        while b"poll" not in os.pread(self._wchan, 64, 0):
            os.sched_yield()
            if time.monotonic() > end:
                raise TimeoutError("the loop does not come to sleep in its poll")

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        os.close(self._wchan)
        self.loop.close()


def latency(count, loop_cpu):
    """From before call_soon_threadsafe to the first statement of the callback: the median."""
    stay_on_cpu(0)
    running = Running(loop_cpu)
    arrived = threading.Lock()
    arrived.acquire()
    at = 0

    def arrive():
        nonlocal at
        at = time.perf_counter_ns()
        arrived.release()

    times = []
    for _ in range(count + count // 10):
        running.await_sleep()
        start = time.perf_counter_ns()
        running.loop.call_soon_threadsafe(arrive)
        arrived.acquire()
        times.append(at - start)
    running.close()
    return sorted(times[count // 10 :])[count // 2]


def stream(producers, count):
    """Every producer makes its share of the calls as fast as it can: from the first start to the last callback."""
    running = Running(1)
    share = count // producers
    barrier = threading.Barrier(producers)
    starts, ended = [], threading.Event()
    following = [0] * producers
    left = share * producers
    end = 0

    def arrive(producer, number):
        nonlocal left, end
        assert number == following[producer], "a call was lost, doubled or overtaken"
        following[producer] += 1
        left -= 1
        if left == 0:
            end = time.perf_counter_ns()
            ended.set()

    def produce(producer):
        stay_on_cpu(producer)
        call_soon = running.loop.call_soon_threadsafe
        barrier.wait()
        starts.append(time.perf_counter_ns())
        for number in range(share):
            call_soon(arrive, producer, number)

    threads = [threading.Thread(target=produce, args=(p,)) for p in range(producers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended.wait()
    running.close()
    return end - min(starts)


def here(chains, count):
    """Callbacks that queue themselves again, on the loop's own thread."""
    loop = asyncio.new_event_loop()
    each = count // chains
    living = chains

    def hop(left):
        nonlocal living
        if left > 0:
            loop.call_soon(hop, left - 1)
        else:
            living -= 1
            if living == 0:
                loop.stop()

    for _ in range(chains):
        loop.call_soon(hop, each - 1)
    start = time.thread_time_ns()
    loop.run_forever()
    elapsed = time.thread_time_ns() - start
    loop.close()
    return elapsed


async def nothing():
    return None


def call(count, loop_cpu):
    """A coroutine that does nothing, waited for by another thread."""
    stay_on_cpu(0)
    running = Running(loop_cpu)
    start = 0
    for number in range(-(count // 10), count):
        if number == 0:
            start = time.perf_counter_ns()
        asyncio.run_coroutine_threadsafe(nothing(), running.loop).result()
    elapsed = time.perf_counter_ns() - start
    running.close()
    return elapsed


def job(chains, count):
    """run_in_executor, each job followed by the next one when the loop has its result."""
    os.sched_setaffinity(0, CPUS)
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(len(CPUS)))

    def run(each):
        left = [each] * chains
        living = chains

        def done(chain, _future):
            nonlocal living
            left[chain] -= 1
            if left[chain] > 0:
                submit(chain)
            else:
                living -= 1
                if living == 0:
                    loop.stop()

        def submit(chain):
            loop.run_in_executor(None, int).add_done_callback(lambda f: done(chain, f))

        for chain in range(chains):
            loop.call_soon(submit, chain)
        start = time.perf_counter_ns()
        loop.run_forever()
        return time.perf_counter_ns() - start

    run(count // chains // 10 + 1)
    elapsed = run(count // chains)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    return elapsed


async def passes(count):
    """A checkpoint is a pass of Trio's loop when there is no other task."""
    start = time.process_time_ns()
    for _ in range(count):
        await trio.lowlevel.checkpoint()
    return time.process_time_ns() - start


async def echo():
    """Tells its port and serves the harness's one connection."""
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    print("ok", listener.socket.getsockname()[1], 0, flush=True)
    stream = await listener.accept()
    await listener.aclose()
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    async with stream:
        async for received in stream:
            await stream.send_all(received)


def as_guest(function, *args):
    """Trio's own guest mode, in an asyncio loop."""

    async def host():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        trio.lowlevel.start_guest_run(
            function,
            *args,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=done.set_result,
        )
        return (await done).unwrap()

    return asyncio.run(host())


def native_passes(count):
    os.sched_setaffinity(0, CPUS)
    return trio.run(passes, count)


def guest_passes(count):
    os.sched_setaffinity(0, CPUS)
    return as_guest(passes, count)


def native_echo(one_cpu):
    os.sched_setaffinity(0, CPUS[:1] if one_cpu else CPUS)
    trio.run(echo)


def guest_echo(one_cpu):
    """Trio's idle threads keep the CPUs that they began with, so the ones for a single CPU get a cache of their own."""
    os.sched_setaffinity(0, CPUS[:1] if one_cpu else CPUS)
    _thread_cache.THREAD_CACHE = _thread_cache.ThreadCache()
    as_guest(echo)


COMMANDS = {
    f.__name__: f
    for f in (latency, stream, here, call, job, native_passes, guest_passes, native_echo, guest_echo)
}


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        command, *numbers = line.split()
        try:
            elapsed = COMMANDS[command](*map(int, numbers))
            if elapsed is not None:
                print("ok", elapsed, 0, flush=True)
        except Exception as error:  # reported to the harness, which prints it
            print("error", type(error).__name__, error, flush=True)


if __name__ == "__main__":
    main()

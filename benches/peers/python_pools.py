"""Trio's thread cache, Python's ThreadPoolExecutor and Selvedge's package, driven over standard input: see src/peers/child.rs for
the protocol.

Usage: python_pools.py trio|futures|thread|selvedge|selvedge-max|selvedge-executor. The waiter is a threading.Lock, which Trio's cache
uses for its workers too.
"""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor


class Latch:
    """One waiter, any number of signals."""

    def __init__(self):
        self._lock = threading.Lock()
        self._lock.acquire()
        self._count_lock = threading.Lock()
        self._left = 0

    def arm(self, count):
        self._left = count

    def signal(self):
        if self._left == 1:
            self._lock.release()
        else:
            with self._count_lock:
                self._left -= 1
                last = self._left == 0
            if last:
                self._lock.release()

    def wait(self):
        self._lock.acquire()


class One(Latch):
    """The cheaper latch for a single job at a time."""

    def signal(self):
        self._lock.release()


def nothing():
    return None


class TrioCache:
    """trio._core._thread_cache.ThreadCache, the object behind start_thread_soon."""

    def __init__(self, threads, idle=None):
        from trio._core import _thread_cache

        if idle is not None:
            _thread_cache.IDLE_TIMEOUT = idle
        self._cache = _thread_cache.ThreadCache()

    def submit(self, done, work=nothing):
        self._cache.start_thread_soon(work, lambda _outcome: done())

    def close(self):
        """Idle workers leave by themselves."""


class Futures:
    def __init__(self, threads, idle=None):
        self._pool = ThreadPoolExecutor(threads)

    def submit(self, done, work=nothing):
        def job():
            work()
            done()

        self._pool.submit(job)

    def close(self):
        self._pool.shutdown()


class Executor:
    """selvedge.Executor, in the shape of Futures."""

    def __init__(self, threads, idle=None):
        import selvedge

        self._pool = selvedge.Executor(threads)

    submit = Futures.submit
    close = Futures.close


class Cache:
    """selvedge.ThreadCache, in the shape of TrioCache."""

    bound = None

    def __init__(self, threads, idle=None):
        import selvedge

        self._cache = selvedge.ThreadCache(max_workers=threads if self.bound else None)

    submit = TrioCache.submit

    def close(self):
        self._cache.shutdown()


class BoundedCache(Cache):
    bound = True


class NoPool:
    def __init__(self, threads, idle=None):
        pass

    def submit(self, done, work=nothing):
        def job():
            work()
            done()

        threading.Thread(target=job, daemon=True).start()

    def close(self):
        """Each thread ends by itself."""


def round_trips(pool, latch, count):
    signal = latch.signal
    for _ in range(count):
        pool.submit(signal)
        latch.wait()


def threads():
    return len(os.listdir("/proc/self/task"))


def roundtrip(make, count):
    pool, latch = make(), One()
    round_trips(pool, latch, count // 10 + 1)
    start = time.perf_counter_ns()
    round_trips(pool, latch, count)
    elapsed = time.perf_counter_ns() - start
    pool.close()
    return elapsed, 0


def sequential(make, count):
    pool, latch = make(), One()
    seen = set()

    def done():
        seen.add(threading.get_ident())
        latch.signal()

    start = time.perf_counter_ns()
    for _ in range(count):
        pool.submit(done)
        latch.wait()
    elapsed = time.perf_counter_ns() - start
    pool.close()
    return elapsed, len(seen)


def hops(pool, latch, seen, count):
    left = count

    def done():
        nonlocal left
        seen.add(threading.get_ident())
        left -= 1
        if left < 0:
            latch.signal()
        else:
            pool.submit(done)

    pool.submit(done)
    latch.wait()


def chain(make, count):
    pool, latch, seen = make(), One(), set()
    hops(pool, latch, set(), count // 20)
    start = time.perf_counter_ns()
    hops(pool, latch, seen, count)
    elapsed = time.perf_counter_ns() - start
    pool.close()
    return elapsed, len(seen)


def submitters(make, submitters, count):
    pool = make()
    share = count // submitters
    barrier = threading.Barrier(submitters)
    spans = []

    def submitter():
        latch = One()
        round_trips(pool, latch, share // 10 + 1)
        barrier.wait()
        start = time.perf_counter_ns()
        round_trips(pool, latch, share)
        spans.append((start, time.perf_counter_ns()))

    group = [threading.Thread(target=submitter) for _ in range(submitters)]
    for thread in group:
        thread.start()
    for thread in group:
        thread.join()
    pool.close()
    return max(end for _, end in spans) - min(start for start, _ in spans), 0


def burst(make, bursts, size):
    pool, latch, seen = make(), Latch(), set()

    def done():
        seen.add(threading.get_ident())
        latch.signal()

    start = 0
    for i in range(bursts + 1):
        if i == 1:
            seen.clear()
            start = time.perf_counter_ns()
        latch.arm(size)
        for _ in range(size):
            pool.submit(done)
        latch.wait()
    elapsed = time.perf_counter_ns() - start
    pool.close()
    return elapsed, len(seen)


def coldstart(make, count):
    latch, times = One(), []
    for _ in range(count):
        start = time.perf_counter_ns()
        pool = make()
        round_trips(pool, latch, 1)
        times.append(time.perf_counter_ns() - start)
        pool.close()
    return sorted(times)[count // 2], 1


def occupy(pool, count):
    """Has count jobs run at once."""
    barrier = threading.Barrier(count)
    left = threading.Semaphore(0)
    for _ in range(count):
        pool.submit(left.release, barrier.wait)
    for _ in range(count):
        left.acquire()


def reclaim(make, burst, idle_ms, timeouts):
    before = threads()
    idle = idle_ms / 1000
    pool, latch = make(idle=idle), One()
    occupy(pool, burst)
    peak = threads() - before
    end = time.monotonic() + idle * timeouts
    while time.monotonic() < end:
        round_trips(pool, latch, 1)
        time.sleep(idle / 10)
    return threads() - before, peak


def memory(make, count):
    pool = make(threads=count)
    occupy(pool, count)
    with open("/proc/self/smaps_rollup", encoding="ascii") as rollup:
        for line in rollup:
            if line.startswith("Pss:"):
                return int(line.split()[1]), count
    raise OSError("no Pss in smaps_rollup")


COMMANDS = {
    f.__name__: f
    for f in (roundtrip, sequential, chain, submitters, burst, coldstart, reclaim, memory)
}


def main():
    kinds = {
        "trio": TrioCache,
        "futures": Futures,
        "thread": NoPool,
        "selvedge": Cache,
        "selvedge-max": BoundedCache,
        "selvedge-executor": Executor,
    }
    kind = kinds[sys.argv[1]]

    def make(threads=os.cpu_count(), idle=None):
        return kind(threads, idle)

    make()
    print("ready", flush=True)
    for line in sys.stdin:
        command, *numbers = line.split()
        try:
            first, second = COMMANDS[command](make, *map(int, numbers))
            print("ok", first, second, flush=True)
        except Exception as error:  # reported to the harness, which prints it
            print("error", type(error).__name__, error, flush=True)
    # Idle workers are daemons or waiting for work: nothing to join.
    os._exit(0)


if __name__ == "__main__":
    main()

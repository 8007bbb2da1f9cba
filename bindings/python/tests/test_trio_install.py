"""selvedge.trio.install and uninstall: Trio's threads are workers of our cache, and Trio's own again."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import outcome
import pytest
import trio
from trio import from_thread, to_thread

import selvedge
import selvedge.trio

PATIENCE = 60.0

trio_cache: Any = vars(sys.modules["trio._core._thread_cache"])


asked = itertools.count()


def trio_threads_made() -> int:
    """How many threads Trio has started of its own. It numbers them, and asking takes a number."""
    return int(next(trio_cache["name_counter"])) - next(asked)


@pytest.fixture
def cache() -> Iterator[selvedge.ThreadCache]:
    made = selvedge.ThreadCache(name="under-trio")
    yield made
    made.shutdown(timeout=PATIENCE)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    method = vars(trio_cache["ThreadCache"])["start_thread_soon"]
    yield
    assert vars(trio_cache["ThreadCache"])["start_thread_soon"] is method
    with pytest.raises(RuntimeError, match="nothing to uninstall"):
        selvedge.trio.uninstall()


def accepted(cache: selvedge.ThreadCache) -> int:
    return cache.stats().jobs_accepted


class Told:
    """Is delivered one outcome."""

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[outcome.Outcome[Any]] = queue.SimpleQueue()

    def __call__(self, result: outcome.Outcome[Any]) -> None:
        self.told.put(result)

    def get(self) -> Any:
        return self.told.get(timeout=PATIENCE).unwrap()


def os_name() -> str:
    with open(f"/proc/self/task/{threading.get_native_id()}/comm") as comm:
        return comm.read().removesuffix("\n")


# ---- what comes to the cache ----


def test_all_of_trios_ways_to_a_thread(cache: selvedge.ThreadCache) -> None:
    made = trio_threads_made()

    async def main() -> None:
        assert await to_thread.run_sync(lambda: 7) == 7
        assert accepted(cache) == 1
        await trio.Path(os.devnull).exists()
        assert accepted(cache) == 2
        await trio.socket.getaddrinfo("localhost", 80)
        assert accepted(cache) == 3
        told = Told()
        trio.lowlevel.start_thread_soon(lambda: 8, told)
        assert await to_thread.run_sync(told.get) == 8
        assert accepted(cache) == 5
        assert await to_thread.run_sync(from_thread.run, to_thread.run_sync, lambda: 9) == 9
        assert accepted(cache) == 7

    with selvedge.trio.install(cache):
        trio.run(main)
    assert trio_threads_made() == made
    assert cache.stats().jobs_delivered == 7


def test_the_polls_of_guest_runs(cache: selvedge.ThreadCache) -> None:
    made = trio_threads_made()

    async def host() -> str:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[outcome.Outcome[str]] = loop.create_future()

        async def guest() -> str:
            for _ in range(3):
                await trio.sleep(0.01)
            return await to_thread.run_sync(lambda: "from a thread")

        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=ended.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        return (await ended).unwrap()

    with selvedge.trio.install(cache):
        assert asyncio.run(host()) == "from a thread"
    assert accepted(cache) >= 4
    assert trio_threads_made() == made


def test_without_a_cache_it_is_the_shared_one() -> None:
    shared = selvedge.default_cache()
    before = accepted(shared)
    with selvedge.trio.install() as cache:
        assert cache is shared
        trio.run(to_thread.run_sync, lambda: None)
    assert accepted(shared) == before + 1


def test_hooks_of_the_cache_run_on_trios_threads(cache: selvedge.ThreadCache) -> None:
    started: list[int] = []
    with selvedge.register_hook("seen", on_start=lambda: started.append(threading.get_ident()), cache=cache):
        with selvedge.trio.install(cache):
            ident = trio.run(to_thread.run_sync, threading.get_ident)
    assert started == [ident]


def test_a_chain_of_deliveries_is_one_worker(cache: selvedge.ThreadCache) -> None:
    idents: list[int] = []
    told = Told()

    def deliver(result: outcome.Outcome[int]) -> None:
        idents.append(result.unwrap())
        if len(idents) < 100:
            trio.lowlevel.start_thread_soon(threading.get_ident, deliver)
        else:
            told(outcome.Value(None))

    with selvedge.trio.install(cache):
        trio.lowlevel.start_thread_soon(threading.get_ident, deliver)
        told.get()
    assert len(set(idents)) == 1
    assert cache.stats().started == 1


def test_names(cache: selvedge.ThreadCache) -> None:
    def names() -> tuple[str, str]:
        return threading.current_thread().name, os_name()

    async def main() -> None:
        assert await to_thread.run_sync(names, thread_name="short") == ("short", "short")
        long = "a name of more than 15 bytes"
        assert await to_thread.run_sync(names, thread_name=long) == (long, long[:15])
        name, _ = await to_thread.run_sync(names)
        assert name.startswith("names from ")
        told = Told()
        trio.lowlevel.start_thread_soon(names, told)
        name, in_os = await to_thread.run_sync(told.get)
        assert name.startswith("under-trio") and in_os == name[:15]

    with selvedge.trio.install(cache):
        trio.run(main)


def test_contexts(cache: selvedge.ThreadCache) -> None:
    variable = contextvars.ContextVar("variable", default="none")

    def read_and_write() -> tuple[str, str]:
        before = variable.get()
        variable.set("the worker's")
        return before, variable.get()

    async def main() -> None:
        variable.set("the task's")
        assert await to_thread.run_sync(read_and_write) == ("the task's", "the worker's")
        assert variable.get() == "the task's"
        told = Told()
        trio.lowlevel.start_thread_soon(variable.get, told)
        assert await to_thread.run_sync(told.get) == "none"

    with selvedge.trio.install(cache):
        trio.run(main)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, trio.TrioInternalError])
def test_what_a_job_raises_is_raised_in_the_task(cache: selvedge.ThreadCache, kind: type[BaseException]) -> None:
    def fail() -> None:
        raise kind("in a thread")

    async def main() -> None:
        with pytest.raises(kind, match="in a thread"):
            await to_thread.run_sync(fail)
        assert await to_thread.run_sync(lambda: 3) == 3

    with selvedge.trio.install(cache):
        trio.run(main)
    assert cache.stats().started == 1


def test_a_cache_shut_down_while_installed_is_told_to_the_task(cache: selvedge.ThreadCache) -> None:
    async def main() -> None:
        limiter = to_thread.current_default_thread_limiter()
        with pytest.raises(selvedge.ClosedResourceError):
            await to_thread.run_sync(lambda: None)
        assert limiter.borrowed_tokens == 0

    with selvedge.trio.install(cache):
        cache.shutdown(timeout=PATIENCE)
        trio.run(main)


# ---- there and back ----


def test_install_again_changes_nothing(cache: selvedge.ThreadCache) -> None:
    with selvedge.trio.install(cache):
        with selvedge.trio.install(cache) as again:
            assert again is cache
        assert selvedge.trio.install(cache).cache is cache
        trio.run(to_thread.run_sync, lambda: None)
        assert accepted(cache) == 1
    trio.run(to_thread.run_sync, lambda: None)
    assert accepted(cache) == 1


def test_leaving_takes_back_only_ones_own(cache: selvedge.ThreadCache) -> None:
    other = selvedge.ThreadCache(name="other")
    with selvedge.trio.install(cache) as _:
        selvedge.trio.uninstall()
        selvedge.trio.install(other)
    trio.run(to_thread.run_sync, lambda: None)
    assert (accepted(cache), accepted(other)) == (0, 1)
    installation = selvedge.trio.install(other)
    with installation:
        pass
    trio.run(to_thread.run_sync, lambda: None)
    assert accepted(other) == 2
    selvedge.trio.uninstall()
    other.shutdown(timeout=PATIENCE)


def test_an_error_inside_goes_through(cache: selvedge.ThreadCache) -> None:
    with pytest.raises(ZeroDivisionError), selvedge.trio.install(cache):
        raise ZeroDivisionError


def test_a_second_cache_is_refused(cache: selvedge.ThreadCache) -> None:
    with selvedge.trio.install(cache):
        with pytest.raises(selvedge.BusyResourceError, match="uninstall"):
            selvedge.trio.install()
        trio.run(to_thread.run_sync, lambda: None)
    assert accepted(cache) == 1


@pytest.mark.parametrize("wrong", [7, "cache", object(), selvedge.ThreadCache, trio_cache["THREAD_CACHE"]])
def test_wrong_types(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"selvedge\.ThreadCache"):
        selvedge.trio.install(wrong)


def test_a_closed_cache_is_refused(cache: selvedge.ThreadCache) -> None:
    cache.shutdown(timeout=PATIENCE)
    with pytest.raises(selvedge.ClosedResourceError):
        selvedge.trio.install(cache)


def test_uninstall_with_jobs_in_flight(cache: selvedge.ThreadCache) -> None:
    gate = threading.Event()
    inside = threading.Barrier(4)
    told = [Told() for _ in range(3)]

    def job() -> str:
        inside.wait(PATIENCE)
        assert gate.wait(PATIENCE)
        return threading.current_thread().name

    def deliver(told: Told, result: outcome.Outcome[str]) -> None:
        told(outcome.Value((result.unwrap(), threading.current_thread().name)))

    selvedge.trio.install(cache)
    for i, one in enumerate(told):
        trio.lowlevel.start_thread_soon(job, lambda result, one=one: deliver(one, result), f"job {i}")
    inside.wait(PATIENCE)
    selvedge.trio.uninstall()
    trio.run(to_thread.run_sync, lambda: None)
    assert accepted(cache) == 3 and cache.stats().jobs_delivered == 0
    gate.set()
    for i, one in enumerate(told):
        ran_as, delivered_as = one.get()
        assert ran_as == f"job {i}" and delivered_as.startswith("under-trio")
    assert cache.stats().jobs_delivered == 3


def test_jobs_in_flight_at_install_are_trios(cache: selvedge.ThreadCache) -> None:
    gate = threading.Event()
    told = Told()
    trio.lowlevel.start_thread_soon(lambda: gate.wait(PATIENCE), told)
    with selvedge.trio.install(cache):
        gate.set()
        assert told.get() is True
    assert accepted(cache) == 0


def test_inside_a_run(cache: selvedge.ThreadCache) -> None:
    async def main() -> None:
        await to_thread.run_sync(lambda: None)
        with selvedge.trio.install(cache):
            await to_thread.run_sync(lambda: None)
        await to_thread.run_sync(lambda: None)

    trio.run(main)
    assert accepted(cache) == 1


def test_back_and_forth_while_others_work(cache: selvedge.ThreadCache) -> None:
    """Whoever asks for a thread gets it from the one or the other, exactly once."""
    jobs_each, askers = 300, 4
    stop = threading.Event()
    delivered: list[list[int]] = [[] for _ in range(askers)]

    def switch() -> None:
        while not stop.is_set():
            try:
                with selvedge.trio.install(cache):
                    pass
            except selvedge.BusyResourceError as e:
                raise AssertionError from e

    def ask(mine: list[int]) -> None:
        told = Told()
        for i in range(jobs_each):
            trio.lowlevel.start_thread_soon(lambda i=i: i, told)
        for _ in range(jobs_each):
            mine.append(told.get())

    switchers = [threading.Thread(target=switch) for _ in range(2)]
    asking = [threading.Thread(target=ask, args=(mine,)) for mine in delivered]
    for thread in switchers + asking:
        thread.start()
    for thread in asking:
        thread.join(PATIENCE)
    stop.set()
    for thread in switchers:
        thread.join(PATIENCE)
    for mine in delivered:
        assert sorted(mine) == list(range(jobs_each))


# ---- other code that does the same ----


def test_other_caches_of_trios_kind_are_left_alone(cache: selvedge.ThreadCache) -> None:
    made = trio_threads_made()
    told = Told()
    with selvedge.trio.install(cache):
        trio_cache["ThreadCache"]().start_thread_soon(lambda: 5, told)
        assert told.get() == 5
    assert accepted(cache) == 0 and trio_threads_made() == made + 1


def replacement(calls: list[str], beneath: Callable[..., None]) -> Callable[..., None]:
    def start_thread_soon(self: Any, fn: Any, deliver: Any, name: str | None = None) -> None:
        calls.append("other")
        beneath(self, fn, deliver, name)

    return start_thread_soon


def test_what_others_have_replaced_is_not_replaced(
    cache: selvedge.ThreadCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    kind = trio_cache["ThreadCache"]
    with monkeypatch.context() as patch:
        patch.setattr(kind, "start_thread_soon", replacement(calls, kind.start_thread_soon))
        with pytest.raises(selvedge.BusyResourceError, match="replaced by other code"):
            selvedge.trio.install(cache)
        trio.run(to_thread.run_sync, lambda: None)
    assert calls == ["other"]
    with selvedge.trio.install(cache):
        trio.run(to_thread.run_sync, lambda: None)
    assert accepted(cache) == 1


def test_others_may_replace_ours(cache: selvedge.ThreadCache, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    kind = trio_cache["ThreadCache"]
    selvedge.trio.install(cache)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "start_thread_soon", replacement(calls, kind.start_thread_soon))
        trio.run(to_thread.run_sync, lambda: None)
        assert accepted(cache) == 1
        selvedge.trio.uninstall()
        trio.run(to_thread.run_sync, lambda: None)
        assert accepted(cache) == 1
    # Ours is back in its place, and does nothing by itself.
    trio.run(to_thread.run_sync, lambda: None)
    assert accepted(cache) == 1 and calls == ["other", "other"]
    with selvedge.trio.install(cache):
        trio.run(to_thread.run_sync, lambda: None)
    assert accepted(cache) == 2


@pytest.mark.parametrize(
    "change",
    [
        "del thread_cache.THREAD_CACHE",
        "thread_cache.THREAD_CACHE = object()",
        "thread_cache.ThreadCache.start_thread_soon = lambda self, job: None",
        "trio.lowlevel.start_thread_soon = lambda fn, deliver, name=None: None",
        "sys.modules['trio._core._thread_cache'] = None",
    ],
)
def test_a_trio_that_is_built_in_another_way_is_told_at_import(change: str) -> None:
    program = f"""
import sys
import trio
import trio._core._thread_cache as thread_cache
{change}
try:
    import selvedge.trio
except ImportError as e:
    print(e)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert ran.stderr == "" and ran.returncode == 0
    assert trio.__version__ in ran.stdout and "another way" in ran.stdout

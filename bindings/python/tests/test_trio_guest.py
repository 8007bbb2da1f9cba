"""selvedge.trio.start_guest_run: guest runs of Trio that have a thread starter of their own."""

from __future__ import annotations

import gc
import inspect
import queue
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import outcome
import pytest
import trio
import trio.testing
from trio import from_thread, to_thread

import selvedge
import selvedge.trio

PATIENCE = 60.0

T = TypeVar("T")


class Host:
    """The loop of a thread: it runs what is queued, until the guest has ended."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.results: list[outcome.Outcome[Any]] = []

    def start(self, guest: Callable[..., Awaitable[Any]], *args: object, **options: Any) -> None:
        selvedge.trio.start_guest_run(
            guest,
            *args,
            run_sync_soon_threadsafe=self.calls.put,
            done_callback=self.results.append,
            host_uses_signal_set_wakeup_fd=threading.current_thread() is not threading.main_thread(),
            **options,
        )

    def turn(self) -> None:
        self.calls.get(timeout=PATIENCE)()

    def run(self) -> Any:
        while not self.results:
            self.turn()
        (result,) = self.results
        return result.unwrap()


def run_guest(guest: Callable[..., Awaitable[T]], *args: object, **options: Any) -> T:
    host = Host()
    host.start(guest, *args, **options)
    result: T = host.run()
    return result


class Starter:
    """Starts threads on a cache, and counts."""

    def __init__(self, cache: selvedge.ThreadCache) -> None:
        self.cache = cache
        self.names: list[str | None] = []
        self.callers: set[int] = set()

    def __call__(self, fn: Callable[[], T], deliver: Callable[[outcome.Outcome[T]], object], name: str | None) -> None:
        self.names.append(name)
        self.callers.add(threading.get_ident())
        self.cache.start_thread_soon(fn, deliver, name)

    @property
    def polls(self) -> int:
        """Trio's polls are what it starts without a name."""
        return self.names.count(None)

    @property
    def named(self) -> list[str]:
        return [name for name in self.names if name is not None]


@pytest.fixture
def cache() -> Iterator[selvedge.ThreadCache]:
    made = selvedge.ThreadCache(name="of-the-run")
    yield made
    made.shutdown(timeout=PATIENCE)


@pytest.fixture
def installed() -> Iterator[selvedge.ThreadCache]:
    made = selvedge.ThreadCache(name="of-all")
    with selvedge.trio.install(made):
        yield made
    made.shutdown(timeout=PATIENCE)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    kind: Any = vars(sys.modules["trio._core._thread_cache"])["ThreadCache"]
    method = kind.start_thread_soon
    yield
    assert kind.start_thread_soon is method


def nothing() -> None:
    pass


# ---- the parameter ----


def test_it_is_trios_function_with_one_parameter_more() -> None:
    ours = inspect.signature(selvedge.trio.start_guest_run).parameters
    trios = inspect.signature(trio.lowlevel.start_guest_run).parameters
    assert [*ours] == [*trios, "start_thread_soon"]
    for name, parameter in trios.items():
        assert (ours[name].kind, ours[name].default) == (parameter.kind, parameter.default)


def test_without_a_starter_it_is_trios() -> None:
    async def guest(a: int, b: int) -> int:
        await trio.sleep(0.01)
        return await to_thread.run_sync(lambda: a + b)

    assert run_guest(guest, 2, 3) == 5


def test_without_a_starter_it_is_on_what_is_installed(installed: selvedge.ThreadCache) -> None:
    run_guest(trio.sleep, 0.01)
    assert installed.stats().jobs_delivered >= 1


def test_the_starter_gets_polls_and_calls(cache: selvedge.ThreadCache) -> None:
    starter = Starter(cache)

    async def guest() -> int:
        await trio.sleep(0.01)
        assert await to_thread.run_sync(threading.get_ident, thread_name="call") != threading.get_ident()
        return 5

    assert run_guest(guest, start_thread_soon=starter) == 5
    assert starter.polls >= 1 and starter.named == ["call"]
    assert starter.callers == {threading.get_ident()}
    assert cache.stats().jobs_delivered == len(starter.names)


def test_a_method_of_a_cache_is_a_starter(cache: selvedge.ThreadCache) -> None:
    started: list[int] = []
    with selvedge.register_hook("seen", on_start=lambda: started.append(threading.get_ident()), cache=cache):
        run_guest(trio.sleep, 0.01, start_thread_soon=cache.start_thread_soon)
        assert cache.stats().jobs_delivered >= 1
    assert len(started) == cache.stats().started == 1


def test_threads_of_the_hosts_own() -> None:
    threads: list[threading.Thread] = []

    def start(fn: Callable[[], Any], deliver: Callable[[outcome.Outcome[Any]], object], name: str | None) -> None:
        thread = threading.Thread(target=lambda: deliver(outcome.capture(fn)), name=name)
        threads.append(thread)
        thread.start()

    async def guest() -> threading.Thread:
        await trio.sleep(0.01)
        return await to_thread.run_sync(threading.current_thread)

    assert run_guest(guest, start_thread_soon=start) in threads
    assert len(threads) >= 2
    for thread in threads:
        thread.join(PATIENCE)


def test_what_was_installed_is_not_asked(cache: selvedge.ThreadCache, installed: selvedge.ThreadCache) -> None:
    starter = Starter(cache)

    async def guest() -> None:
        await trio.sleep(0.01)
        await to_thread.run_sync(nothing)

    run_guest(guest, start_thread_soon=starter)
    assert starter.polls >= 1 and len(starter.named) == 1
    assert installed.stats().jobs_accepted == 0
    trio.run(to_thread.run_sync, nothing)
    assert installed.stats().jobs_accepted == 1


def test_installing_during_the_run_changes_nothing_for_it(cache: selvedge.ThreadCache) -> None:
    starter = Starter(cache)
    other = selvedge.ThreadCache()

    async def guest() -> None:
        with selvedge.trio.install(other):
            await to_thread.run_sync(nothing)
            await trio.sleep(0.01)
        await to_thread.run_sync(nothing)
        await trio.sleep(0.01)

    run_guest(guest, start_thread_soon=starter)
    assert len(starter.named) == 2 and other.stats().jobs_accepted == 0
    other.shutdown(timeout=PATIENCE)


def test_jobs_that_jobs_start_are_of_the_run(cache: selvedge.ThreadCache, installed: selvedge.ThreadCache) -> None:
    starter = Starter(cache)

    async def guest() -> None:
        finished = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def in_thread() -> None:
            trio.lowlevel.start_thread_soon(nothing, delivered, "started in a job")
            from_thread.run(to_thread.run_sync, nothing)

        def delivered(_: object) -> None:
            trio.lowlevel.start_thread_soon(
                nothing, lambda _: token.run_sync_soon(finished.set), "started in a delivery"
            )

        await to_thread.run_sync(in_thread)
        await finished.wait()

    run_guest(guest, start_thread_soon=starter)
    assert installed.stats().jobs_accepted == 0
    assert {"started in a job", "started in a delivery"} < set(starter.named) and len(starter.named) == 4


def test_another_run_inside_a_job_is_another_run(cache: selvedge.ThreadCache, installed: selvedge.ThreadCache) -> None:
    starter = Starter(cache)

    async def guest() -> None:
        await to_thread.run_sync(trio.run, to_thread.run_sync, nothing)

    run_guest(guest, start_thread_soon=starter)
    assert len(starter.named) == 1
    assert installed.stats().jobs_accepted == 1


def test_runs_beside_each_other(installed: selvedge.ThreadCache) -> None:
    """Two guests with starters of their own, one without, and a plain run, each in a thread, all at once."""
    together = threading.Barrier(4)
    failed: list[BaseException] = []

    async def busy() -> None:
        together.wait(PATIENCE)
        for _ in range(20):
            await to_thread.run_sync(nothing)
            await trio.sleep(0.001)

    def in_thread(run: Callable[[], object]) -> threading.Thread:
        def target() -> None:
            try:
                run()
            except BaseException as e:
                failed.append(e)
                together.abort()

        thread = threading.Thread(target=target)
        thread.start()
        return thread

    caches = [selvedge.ThreadCache(name=f"run {i}") for i in range(2)]
    starters = [Starter(cache) for cache in caches]
    threads = [in_thread(lambda starter=starter: run_guest(busy, start_thread_soon=starter)) for starter in starters]
    threads.append(in_thread(lambda: run_guest(busy)))
    threads.append(in_thread(lambda: trio.run(busy)))
    for thread in threads:
        thread.join(PATIENCE)
    assert failed == []
    for cache, starter in zip(caches, starters):
        assert len(starter.named) == 20 and starter.polls >= 20 and len(starter.callers) == 1
        assert cache.stats().jobs_delivered == len(starter.names)
        cache.shutdown(timeout=PATIENCE)
    assert installed.stats().jobs_accepted >= 60


def test_runs_one_after_the_other_on_one_thread(cache: selvedge.ThreadCache) -> None:
    first, second = Starter(cache), Starter(cache)
    run_guest(to_thread.run_sync, nothing, start_thread_soon=first)
    run_guest(to_thread.run_sync, nothing, start_thread_soon=second)
    run_guest(to_thread.run_sync, nothing)
    trio.run(to_thread.run_sync, nothing)
    assert len(first.named) == len(second.named) == 1


def test_a_run_that_begins_when_another_ends(cache: selvedge.ThreadCache) -> None:
    first, second = Starter(cache), Starter(cache)
    host, next_host = Host(), Host()

    def then(result: outcome.Outcome[None]) -> None:
        host.results.append(result)
        next_host.start(to_thread.run_sync, nothing, start_thread_soon=second)

    selvedge.trio.start_guest_run(
        to_thread.run_sync,
        nothing,
        run_sync_soon_threadsafe=host.calls.put,
        done_callback=then,
        start_thread_soon=first,
    )
    host.run()
    next_host.run()
    assert len(first.named) == len(second.named) == 1


def test_the_start_itself_is_part_of_the_run(cache: selvedge.ThreadCache) -> None:
    starter = Starter(cache)

    class Early(trio.abc.Instrument):
        def before_run(self) -> None:
            trio.lowlevel.start_thread_soon(nothing, lambda _: None, "early")

    run_guest(trio.sleep, 0, instruments=[Early()], start_thread_soon=starter)
    assert starter.named == ["early"]


def test_the_hosts_callbacks_on_its_thread_are_part_of_the_run(cache: selvedge.ThreadCache) -> None:
    starter = Starter(cache)
    host = Host()
    host.calls.put(lambda: trio.lowlevel.start_thread_soon(nothing, lambda _: None, "from the host"))
    host.start(trio.sleep, 0.01, start_thread_soon=starter)
    host.run()
    assert starter.named == ["from the host"]


def test_trios_other_parameters(cache: selvedge.ThreadCache) -> None:
    calls: list[str] = []
    host = Host()

    def not_threadsafe(fn: Callable[[], object]) -> None:
        calls.append("not threadsafe")
        host.calls.put(fn)

    async def guest() -> float:
        with pytest.raises(ZeroDivisionError):  # not in a group: not strict
            async with trio.open_nursery():
                raise ZeroDivisionError
        await trio.sleep(1000)
        return trio.current_time()

    clock = trio.testing.MockClock(autojump_threshold=0)
    with pytest.warns(trio.TrioDeprecationWarning):
        host.start(
            guest,
            run_sync_soon_not_threadsafe=not_threadsafe,
            clock=clock,
            restrict_keyboard_interrupt_to_checkpoints=True,
            strict_exception_groups=False,
            start_thread_soon=Starter(cache),
        )
    assert host.run() == 1000 and calls


# ---- refusals and ends ----


class Refusal(Exception):
    pass


# A run that is abandoned or ends in a TrioInternalError leaves its tasks where they are, and they complain when they
# are collected.
breaks_trio = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_a_refusal_is_raised_in_the_task_that_asked(cache: selvedge.ThreadCache) -> None:
    def start(fn: Any, deliver: Any, name: str | None) -> None:
        if name is not None:
            raise Refusal(name)
        cache.start_thread_soon(fn, deliver)

    async def guest() -> str:
        with pytest.raises(Refusal, match="this one"):
            await to_thread.run_sync(nothing, thread_name="this one")
        assert to_thread.current_default_thread_limiter().borrowed_tokens == 0
        await trio.sleep(0.01)
        return "lives on"

    assert run_guest(guest, start_thread_soon=start) == "lives on"


@breaks_trio
def test_a_refused_poll_ends_the_run() -> None:
    def start(fn: Any, deliver: Any, name: str | None) -> None:
        raise Refusal("no thread")

    with pytest.raises(trio.TrioInternalError) as caught:
        run_guest(trio.sleep, 1000, start_thread_soon=start)
    assert isinstance(caught.value.__cause__, Refusal)
    del caught
    gc.collect()
    # The thread can have another run.
    assert run_guest(to_thread.run_sync, lambda: 3) == 3


@breaks_trio
def test_a_closed_cache_ends_the_run(cache: selvedge.ThreadCache) -> None:
    async def guest() -> None:
        await trio.sleep(0.01)
        cache.shutdown(timeout=PATIENCE)
        with pytest.raises(selvedge.ClosedResourceError):
            await to_thread.run_sync(nothing)
        await trio.sleep(1000)

    with pytest.raises(trio.TrioInternalError) as caught:
        run_guest(guest, start_thread_soon=cache.start_thread_soon)
    assert isinstance(caught.value.__cause__, selvedge.ClosedResourceError)
    del caught
    gc.collect()


def test_the_outcome_of_a_run_that_fails(cache: selvedge.ThreadCache) -> None:
    async def guest() -> None:
        await to_thread.run_sync(nothing)
        raise KeyError("of the guest")

    with pytest.raises(KeyError, match="of the guest"):
        run_guest(guest, start_thread_soon=Starter(cache))


@pytest.mark.parametrize("wrong", [7, "start", ()])
def test_wrong_types(wrong: Any) -> None:
    with pytest.raises(TypeError, match="start_thread_soon must be callable"):
        run_guest(trio.sleep, 0, start_thread_soon=wrong)


def test_a_start_that_fails_leaves_nothing(cache: selvedge.ThreadCache) -> None:
    starter = Starter(cache)
    alive = weakref.ref(starter)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="inside a run"):
            Host().start(trio.sleep, 0, start_thread_soon=starter)
        await to_thread.run_sync(nothing)

    trio.run(main)
    assert starter.names == []
    del starter, main
    gc.collect()
    assert alive() is None


def test_an_ended_run_keeps_nothing(cache: selvedge.ThreadCache) -> None:
    starter = Starter(cache)
    alive = weakref.ref(starter)
    run_guest(to_thread.run_sync, nothing, start_thread_soon=starter)
    del starter
    gc.collect()
    assert alive() is None


def test_a_job_that_outlives_its_run(cache: selvedge.ThreadCache) -> None:
    starter = Starter(cache)
    inside, gate = threading.Event(), threading.Event()
    told: queue.SimpleQueue[outcome.Outcome[int]] = queue.SimpleQueue()

    def job() -> None:
        inside.set()
        assert gate.wait(PATIENCE)
        trio.lowlevel.start_thread_soon(lambda: 6, told.put, "too late for the run")

    async def guest() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: to_thread.run_sync(job, abandon_on_cancel=True))
            await to_thread.run_sync(inside.wait, PATIENCE)
            nursery.cancel_scope.cancel()

    run_guest(guest, start_thread_soon=starter)
    gate.set()
    assert told.get(timeout=PATIENCE).unwrap() == 6


@breaks_trio
def test_an_abandoned_run_keeps_nothing(cache: selvedge.ThreadCache) -> None:
    def abandon() -> weakref.ref[Starter]:
        starter = Starter(cache)
        host = Host()
        host.start(trio.sleep_forever, start_thread_soon=starter)
        for _ in range(20):
            try:
                host.calls.get_nowait()()
            except queue.Empty:
                break
        # The poll sleeps in its thread; what it would wake has gone.
        trio.lowlevel.current_trio_token().run_sync_soon(nothing)
        fn = host.calls.get(timeout=PATIENCE)
        del fn
        return weakref.ref(starter)

    with pytest.warns(RuntimeWarning, match="abandoned"):
        alive = abandon()
        cache.shutdown(timeout=PATIENCE)
        gc.collect()
    assert alive() is None
    # Ours is still in the place of Trio's, with nothing to do, until the next change.
    assert trio.run(to_thread.run_sync, lambda: 4) == 4
    with selvedge.trio.install():
        assert trio.run(to_thread.run_sync, lambda: 5) == 5

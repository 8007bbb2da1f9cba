"""Jobs of an InterpreterCache: their futures, cancelling, timeouts, interruptions, and the life of the workers."""

# timeout: 300
from __future__ import annotations

import concurrent.futures
import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import RunProgram

import selvedge
from selvedge import interpreters
from selvedge.interpreters import InterpreterCache

pytestmark = pytest.mark.only_python("3.12", "3.13")


@pytest.fixture
def cache() -> Iterator[InterpreterCache]:
    with InterpreterCache("test", max_workers=2) as made:
        yield made
    assert made.stats().interpreters == 0


def test_jobs_from_many_threads() -> None:
    with InterpreterCache(max_workers=2) as cache:
        got: list[int] = []

        def ask(base: int) -> None:
            for i in range(20):
                got.append(cache.run("args[0] + 1", base + i))

        threads = [threading.Thread(target=ask, args=(100 * i,)) for i in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == sorted(100 * b + i + 1 for b in range(5) for i in range(20))
        assert cache.stats().interpreters <= 2


def test_a_future_is_one_of_concurrent_futures(cache: InterpreterCache) -> None:
    futures = [cache.submit("args[0] * 2", i) for i in range(5)]
    assert all(isinstance(future, concurrent.futures.Future) for future in futures)
    done = [future.result() for future in concurrent.futures.as_completed(futures, timeout=30)]
    assert sorted(done) == [0, 2, 4, 6, 8]


def test_cancel_a_job_that_waits() -> None:
    gate = interpreters.Channel()
    with InterpreterCache(max_workers=1) as cache:
        first = cache.submit("gate.recv()", gate=gate)
        second = cache.submit("2")
        told: list[bool] = []
        second.add_done_callback(lambda future: told.append(future.cancelled()))
        assert second.cancel() and second.cancel() and second.cancelled()
        assert told == [True]
        with pytest.raises(concurrent.futures.CancelledError):
            second.result()
        gate.send("go")
        assert first.result() == "go"
        assert not first.cancel()


def test_a_timeout_interrupts() -> None:
    with InterpreterCache(max_workers=1) as cache:
        with pytest.raises(selvedge.TimedOutError):
            cache.run("while True: pass", timeout=0.2)
        assert cache.run("5", timeout=60) == 5  # the worker is free again, and nothing of the interruption is left


def test_a_wrong_timeout_is_refused_before_the_job_begins() -> None:
    seen = interpreters.Channel()
    with InterpreterCache(max_workers=1) as cache:
        for wrong, kind in ((-1, ValueError), (math.nan, ValueError), ("1", TypeError), (-(2**2000), ValueError)):
            with pytest.raises(kind, match="timeout must be"):
                cache.run("seen.send(1)", seen=seen, timeout=wrong)  # type: ignore[arg-type]
        assert cache.stats().jobs_accepted == 0
        for endless in (None, math.inf, 2**70, 2**2000):
            assert cache.run("5", timeout=endless) == 5
    assert len(seen) == 0


def test_wrong_options() -> None:
    make: Any = InterpreterCache
    for options, kind, text in (
        ({"name": 5}, TypeError, "name must be a str or None, not int"),
        ({"max_workers": "2"}, TypeError, "max_workers must be an int or None, not str"),
        ({"max_workers": 1.5}, TypeError, "max_workers must be an int or None, not float"),
        ({"max_workers": 0}, ValueError, "max_workers must be at least 1 and at most 4294967295, not 0"),
        ({"max_workers": 2**32}, ValueError, "at most 4294967295"),
        ({"idle_timeout": -1}, ValueError, "idle_timeout"),
        ({"idle_timeout": "1"}, TypeError, "idle_timeout"),
    ):
        with pytest.raises(kind, match=text):
            make(**options)
    with InterpreterCache() as cache:
        trim: Any = cache.trim
        for keep, kind in ((-1, ValueError), (-(2**70), ValueError), ("1", TypeError)):
            with pytest.raises(kind, match="keep must be"):
                trim(keep)
        trim(2**70)


def test_threads_of_callbacks_are_known_until_they_end() -> None:
    there_before = set(threading.enumerate())
    seen: list[threading.Thread] = []
    known: list[bool] = []
    gate = interpreters.Channel()

    def note(_: object) -> None:
        seen.append(threading.current_thread())
        known.append(threading.current_thread() in threading.enumerate())

    for _ in range(2):
        with InterpreterCache("told", max_workers=1) as cache:
            for _ in range(3):
                job = cache.submit("gate.recv()", gate=gate)
                job.add_done_callback(note)
                gate.send(1)
                job.result(timeout=60)
    with InterpreterCache("failing", initializer="args[0].recv() / 0", initargs=(gate,), max_workers=1) as cache:
        job = cache.submit("1")
        job.add_done_callback(note)
        gate.send(1)
        with pytest.raises(selvedge.HookFailedError):
            job.result(timeout=60)
    assert [each.name.rpartition("-")[0] for each in seen] == ["told"] * 6 + ["failing"]
    assert all(known)
    assert set(threading.enumerate()) <= there_before


def test_a_timeout_withdraws_what_has_not_begun() -> None:
    gate, seen = interpreters.Channel(), interpreters.Channel()
    with InterpreterCache(max_workers=1) as cache:
        first = cache.submit("gate.recv()", gate=gate)
        with pytest.raises(selvedge.TimedOutError):
            cache.run("seen.send(1)", seen=seen, timeout=0.05)
        gate.send(None)
        first.result()
        cache.run("None")
        assert len(seen) == 0


def test_a_timeout_error_of_the_job_is_its_own(cache: InterpreterCache) -> None:
    with pytest.raises(TimeoutError, match="mine") as caught:
        cache.run("raise TimeoutError('mine')", timeout=60)
    assert not isinstance(caught.value, selvedge.TimedOutError)


def test_interrupt_a_job_that_waits_for_a_channel(cache: InterpreterCache) -> None:
    never, ready = interpreters.Channel(), interpreters.Channel()
    job = cache.submit("ready.send(1); never.recv()", never=never, ready=ready)
    ready.recv(timeout=60)
    assert job.interrupt()
    with pytest.raises(KeyboardInterrupt):
        job.result(timeout=60)
    assert not job.interrupt()
    assert cache.run("1") == 1


def test_interruptions_never_reach_the_next_job() -> None:
    with InterpreterCache(max_workers=1) as cache:
        for _ in range(200):
            job = cache.submit("sum(range(50))")
            while not job.running() and not job.done():
                pass
            job.interrupt()
            after = cache.submit("sum(range(100))")
            assert after.result(timeout=60) == 4950
            assert job.exception(timeout=60) is None or isinstance(job.exception(), KeyboardInterrupt)


def test_after_the_shutdown() -> None:
    cache = InterpreterCache()
    assert cache.run("1") == 1
    assert not cache.closed and "shut down" not in repr(cache)
    with pytest.raises(ValueError, match="timeout"):
        cache.shutdown(-1)
    assert not cache.closed
    cache.shutdown()
    assert cache.closed and "shut down" in repr(cache)
    cache.shutdown(timeout=0)
    with pytest.raises(selvedge.ClosedResourceError):
        cache.run("1")


def test_a_shutdown_that_times_out() -> None:
    gate = interpreters.Channel()
    cache = InterpreterCache(max_workers=1)
    job = cache.submit("gate.recv()", gate=gate)
    queued = cache.submit("1")
    with pytest.raises(selvedge.TimedOutError):
        cache.shutdown(timeout=0.05)
    assert cache.closed
    with pytest.raises(selvedge.TimedOutError):
        cache.shutdown(timeout=0, cancel_queued=True)
    assert queued.cancelled()
    gate.send("end")
    cache.shutdown()
    assert job.result() == "end"
    assert cache.stats().interpreters == 0


def test_a_callback_cannot_wait_for_its_own_worker() -> None:
    caught: list[BaseException] = []
    done = threading.Event()
    cache = InterpreterCache()

    def shut_down(future: object) -> None:
        try:
            cache.shutdown()
        except BaseException as error:
            caught.append(error)
        done.set()

    gate = interpreters.Channel()
    job = cache.submit("gate.recv()", gate=gate)
    job.add_done_callback(shut_down)
    gate.send(None)
    assert done.wait(60)
    assert isinstance(caught[0], selvedge.DeadlockError)
    cache.shutdown()


def test_idle_interpreters_end() -> None:
    cache = InterpreterCache(idle_timeout=0.05)
    cache.run("1")
    cache.shutdown  # the handle is kept
    ended = threading.Event()
    while cache.stats().interpreters:
        ended.wait(0.01)
    assert cache.run("2") == 2
    assert cache.stats().interpreters_made == 2
    cache.shutdown()


def test_trim() -> None:
    with InterpreterCache(idle_timeout=None) as cache:
        gate = interpreters.Channel()
        jobs = [cache.submit("gate.recv()", gate=gate) for _ in range(3)]
        for _ in jobs:
            gate.send(1)
        for job in jobs:
            job.result()
        assert cache.stats().interpreters == 3
        cache.trim(1)
        while cache.stats().interpreters > 1:
            threading.Event().wait(0.01)
        assert cache.run("1") == 1


def test_no_gil_is_held_while_idle(run_program: RunProgram) -> None:
    """CPython's own module runs code in our worker's interpreter: it has to take that one's GIL."""
    said = run_program(
        "try:\n    import _interpreters as own\n    run = lambda i: own.run_string(i, 'import sys', restrict=False)\n"
        "except ImportError:\n    import _xxsubinterpreters as own\n"
        "    run = lambda i: own.run_string(i, 'import sys')\n"
        "from selvedge.interpreters import InterpreterCache\n"
        "with InterpreterCache(max_workers=1) as cache:\n"
        "    number = cache.run('from selvedge.interpreters import interpreter_id; interpreter_id()')\n"
        "    print(run(number), cache.run('1'))\n"
    )
    assert said.split() == ["None", "1"]


def test_docstrings_run() -> None:
    import doctest

    failed, tried = 0, 0
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner()
    for thing in (interpreters, InterpreterCache, interpreters.Channel):
        names = {name: getattr(interpreters, name) for name in interpreters.__all__}
        for test in finder.find(thing, getattr(thing, "__name__", ""), module=interpreters, globs=names):
            result = runner.run(test)
            failed, tried = failed + result.failed, tried + result.attempted
    assert failed == 0 and tried >= 12

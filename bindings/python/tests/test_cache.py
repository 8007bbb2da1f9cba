"""ThreadCache: jobs, names, contexts, references, bounds, ends."""

from __future__ import annotations

import contextvars
import gc
import queue
import re
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import outcome
import pytest

import selvedge
import selvedge.aio
import selvedge.sync
import selvedge.trio

T = TypeVar("T")
PATIENCE = 60.0


@pytest.fixture
def cache() -> Iterator[selvedge.ThreadCache]:
    cache = selvedge.ThreadCache("test")
    yield cache
    cache.shutdown(PATIENCE)
    assert cache.stats().workers == 0


def run(cache: selvedge.ThreadCache, fn: Callable[[], T], name: str | None = None) -> outcome.Outcome[T]:
    """Through start_thread_soon, waiting for the outcome."""
    told: queue.SimpleQueue[outcome.Outcome[T]] = queue.SimpleQueue()
    cache.start_thread_soon(fn, told.put, name)
    return told.get(timeout=PATIENCE)


def os_name() -> str:
    return Path("/proc/thread-self/comm").read_text().rstrip("\n")


def test_a_value_and_an_error(cache: selvedge.ThreadCache) -> None:
    assert run(cache, lambda: 42) == outcome.Value(42)

    def fails() -> None:
        raise KeyError("of mine")

    told = run(cache, fails)
    assert isinstance(told, outcome.Error)
    assert isinstance(told.error, KeyError)
    # As with outcome.capture, the traceback begins in the function itself.
    assert told.error.__traceback__ is not None
    assert told.error.__traceback__.tb_frame.f_code.co_name == "fails"
    for escape in (SystemExit, KeyboardInterrupt, GeneratorExit):

        def escapes(escape: type[BaseException] = escape) -> None:
            raise escape

        told = run(cache, escapes)
        assert isinstance(told, outcome.Error)
        assert isinstance(told.error, escape)


def test_one_after_the_other_needs_one_thread(cache: selvedge.ThreadCache) -> None:
    for _ in range(100):
        run(cache, lambda: None)
    assert cache.stats().started == 1
    done = threading.Event()
    left = [100]
    idents: set[int] = set()

    def deliver(_: outcome.Outcome[None]) -> None:
        idents.add(threading.get_ident())
        left[0] -= 1
        if left[0]:
            cache.start_thread_soon(lambda: None, deliver)  # goes to the very worker that is delivering
        else:
            done.set()

    cache.start_thread_soon(lambda: None, deliver)
    assert done.wait(PATIENCE)
    assert len(idents) == 1
    assert cache.stats().started == 1


def test_jobs_at_the_same_time_get_a_thread_each(cache: selvedge.ThreadCache) -> None:
    barrier = threading.Barrier(21)
    told: queue.SimpleQueue[outcome.Outcome[int]] = queue.SimpleQueue()
    for _ in range(20):
        cache.start_thread_soon(lambda: barrier.wait(PATIENCE), told.put)
    barrier.wait(PATIENCE)
    assert sorted(told.get(timeout=PATIENCE).unwrap() for _ in range(20)) != []
    stats = cache.stats()
    assert stats.peak_workers == 20
    assert stats.jobs_accepted == stats.jobs_delivered == 20


def test_names(cache: selvedge.ThreadCache) -> None:
    def names() -> tuple[str, str]:
        return threading.current_thread().name, os_name()

    own, own_os = run(cache, names).unwrap()
    assert own == own_os
    assert own.startswith("test-")
    assert run(cache, names, "a job with a long name").unwrap() == ("a job with a long name", "a job with a lo")
    assert run(cache, names, "ümläut").unwrap() == ("ümläut", "ümläut")
    assert run(cache, names).unwrap() == (own, own)
    in_deliver: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    cache.start_thread_soon(lambda: None, lambda _: in_deliver.put(names()), name="only for fn")
    assert in_deliver.get(timeout=PATIENCE) == (own, own)
    with pytest.raises(UnicodeEncodeError):
        cache.start_thread_soon(lambda: None, lambda _: None, name="\udc80")


def test_workers_are_threads_of_python_while_they_live(cache: selvedge.ThreadCache) -> None:
    thread = run(cache, threading.current_thread).unwrap()
    assert thread in threading.enumerate()
    assert thread.daemon
    cache.shutdown(PATIENCE)
    assert thread not in threading.enumerate()


def test_thread_locals_stay_and_contexts_do_not(cache: selvedge.ThreadCache) -> None:
    local = threading.local()
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="empty")
    variable.set("the caller's")

    def first() -> str:
        local.value = 1
        seen = variable.get()
        variable.set("left behind")
        return seen

    seen_in_deliver: queue.SimpleQueue[str] = queue.SimpleQueue()
    cache.start_thread_soon(first, lambda seen: seen_in_deliver.put(seen.unwrap() + " " + variable.get()))
    assert seen_in_deliver.get(timeout=PATIENCE) == "empty empty"
    assert run(cache, lambda: (local.value, variable.get())).unwrap() == (1, "empty")


def test_references_are_dropped_at_once(cache: selvedge.ThreadCache) -> None:
    class Thing:
        def __call__(self) -> Thing:
            return self

    thing = Thing()
    gone = weakref.ref(thing)
    # What only fn held is gone when deliver is called. (This thread holds it until it is back from its call.)
    seen: queue.SimpleQueue[bool] = queue.SimpleQueue()
    back = threading.Event()
    cache.start_thread_soon(lambda thing=thing: back.wait(PATIENCE), lambda _: seen.put(gone() is None))
    del thing
    back.set()
    assert seen.get(timeout=PATIENCE)
    # And what deliver got, when it has returned.
    thing = Thing()
    gone = weakref.ref(thing)
    job = cache.submit(thing, lambda _: None)
    del thing
    job.wait(PATIENCE)
    assert gone() is None


def test_a_deliver_that_raises_is_printed(cache: selvedge.ThreadCache, capfd: pytest.CaptureFixture[str]) -> None:
    def raises(_: object) -> None:
        raise ValueError("in deliver")

    cache.submit(lambda: 1, raises, "whatever").wait(PATIENCE)
    error = capfd.readouterr().err
    assert error.startswith("Exception while delivering result of thread test-")
    assert error.splitlines()[1] == "Traceback (most recent call last):"
    assert "ValueError: in deliver" in error
    assert run(cache, lambda: 2).unwrap() == 2
    assert cache.stats().started == 1


def test_wrong_arguments(cache: selvedge.ThreadCache) -> None:
    start: Any = cache.start_thread_soon
    for args, kwargs, text in (
        ((), {}, "needs fn and deliver"),
        ((print,), {}, "needs deliver"),
        ((1, print), {}, "fn must be callable, not int"),
        ((print, 1), {}, "deliver must be callable, not int"),
        ((print, print, b"x"), {}, "name must be a str or None, not bytes"),
        ((print, print, None, None), {}, "not 4 arguments"),
        ((print, print), {"nome": "x"}, "no argument 'nome'"),
        ((print, print), {"fn": print}, "'fn' twice"),
    ):
        with pytest.raises(TypeError, match=text):
            start(*args, **kwargs)
    start(deliver=lambda _: None, fn=lambda: None, name=None)
    submit: Any = cache.submit
    for limiter in (-1, 0):
        with pytest.raises(ValueError, match="limiter cannot be at"):
            submit(print, limiter=limiter)
    with pytest.raises(TypeError, match="limiter must be an address"):
        submit(print, limiter=True)
    for wrong in ("1", 1.5, threading.Semaphore(1), selvedge.sync.Semaphore(1), selvedge.sync.CapacityLimiter):
        with pytest.raises(TypeError, match="limiter must be a CapacityLimiter, the address of a native one or None, not "):
            submit(print, limiter=wrong)
    make: Any = selvedge.ThreadCache
    for options in ({"idle_timeout": "1"}, {"max_workers": 1.5}, {"name": b"x"}, {"nothing": 1}):
        with pytest.raises(TypeError):
            make(**options)
    for options in ({"idle_timeout": -1}, {"idle_timeout": float("nan")}, {"max_workers": 0}, {"max_workers": -1}, {"max_workers": 2**40}):
        with pytest.raises(ValueError, match="must be at least"):
            make(**options)
    for number in (-1, -(2**70)):
        with pytest.raises(ValueError, match=f"keep must be at least 0, not {number}"):
            cache.trim(number)
    trim: Any = cache.trim
    with pytest.raises(TypeError, match="keep must be an int, not str"):
        trim("1")
    trim(2**70)
    for number in (10**30, 2**32):
        with pytest.raises(ValueError, match=f"at least 1 and at most 4294967295, not {number}"):
            make(max_workers=number)
    with pytest.raises(TypeError):
        type("Sub", (make,), {})


def test_a_bound_queues_and_a_queued_job_can_be_cancelled() -> None:
    cache = selvedge.ThreadCache("bound", max_workers=1)
    gate = threading.Event()
    order: list[int] = []
    told: queue.SimpleQueue[outcome.Outcome[None]] = queue.SimpleQueue()
    running = threading.Event()

    def first() -> None:
        running.set()
        assert gate.wait(PATIENCE)

    job = cache.submit(first)
    assert running.wait(PATIENCE)
    jobs = [cache.submit(lambda i=i: order.append(i), told.put) for i in range(4)]
    assert cache.stats().jobs_queued == 4
    assert not job.cancel()
    assert jobs[1].cancel()
    cancelled = told.get_nowait()  # it was delivered inside cancel
    assert isinstance(cancelled, outcome.Error)
    assert isinstance(cancelled.error, selvedge.CancelledError)
    assert not jobs[1].cancel()
    with pytest.raises(selvedge.TimedOutError):
        jobs[3].wait(0.01)
    with pytest.raises(TimeoutError):
        cache.shutdown(0)
    assert cache.closed
    with pytest.raises(selvedge.ClosedResourceError, match="'bound' is shut down"):
        cache.submit(print)
    gate.set()
    cache.shutdown(PATIENCE)
    assert order == [0, 2, 3]


@pytest.mark.parametrize("face", [selvedge.sync.CapacityLimiter, selvedge.aio.CapacityLimiter, selvedge.trio.CapacityLimiter])
def test_jobs_keep_the_limiter_of_which_they_take_a_token(cache: selvedge.ThreadCache, face: Any) -> None:
    limiter = face(2)
    native = weakref.ref(limiter.native)
    lock = threading.Lock()
    gate, full = threading.Event(), threading.Event()
    at_once = [0, 0]  # now, and at most

    def work() -> None:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
            if at_once[0] == 2:
                full.set()
        assert gate.wait(PATIENCE)
        with lock:
            at_once[0] -= 1

    jobs = [cache.submit(work, limiter=limiter) for _ in range(6)]
    assert full.wait(PATIENCE)
    assert limiter.borrowed_tokens == 2
    assert cache.stats().workers == 2  # who waits for a token has no thread
    del limiter
    gc.collect()
    assert native() is not None
    assert jobs.pop().cancel()
    gate.set()
    for job in jobs:
        job.wait(PATIENCE)
    assert at_once == [0, 2]
    gc.collect()
    assert native() is None  # and the handles do not keep it


def test_a_limiter_of_native_code_is_given_by_its_address(cache: selvedge.ThreadCache) -> None:
    limiter = selvedge.sync.CapacityLimiter(1)
    told: queue.SimpleQueue[outcome.Outcome[int]] = queue.SimpleQueue()
    cache.submit(lambda: limiter.borrowed_tokens, told.put, limiter=limiter.address).wait(PATIENCE)
    assert told.get_nowait().unwrap() == 1
    assert limiter.borrowed_tokens == 0


def test_the_end_of_a_block_shuts_it_down() -> None:
    gate = threading.Event()
    told: queue.SimpleQueue[outcome.Outcome[bool]] = queue.SimpleQueue()
    with selvedge.ThreadCache("block") as cache:
        assert not cache.closed
        cache.start_thread_soon(lambda: gate.wait(PATIENCE), told.put)
        gate.set()
    assert cache.closed
    assert told.get_nowait().unwrap()  # what was accepted was finished first
    assert cache.stats().workers == 0
    with pytest.raises(selvedge.ClosedResourceError, match="is shut down"), cache:
        pass
    with pytest.raises(selvedge.UnsupportedError, match="whole process's"), selvedge.default_cache():
        pass
    with pytest.raises(ZeroDivisionError), selvedge.ThreadCache() as other:
        _ = 1 / 0
    assert other.closed


def test_what_a_hook_is_in_messages_and_in_blocks(cache: selvedge.ThreadCache) -> None:
    with selvedge.register_hook("colours", lambda: None, cache=cache) as hook:
        assert repr(hook) == "<selvedge.Hook 'colours'>"
        run(cache, lambda: None)
    assert repr(hook) == "<selvedge.Hook 'colours', unregistered>"
    with pytest.raises(selvedge.ClosedResourceError, match="has been unregistered"), hook:
        pass
    with selvedge.register_hook("again", lambda: None, cache=cache) as hook:
        hook.unregister(PATIENCE)  # may be done inside the block, too


@pytest.mark.parametrize("callback", ["on_start", "before_job"])
def test_what_a_hook_raised_is_said(cache: selvedge.ThreadCache, callback: str) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no colour")

    register: Any = selvedge.register_hook
    with register("colours", **{callback: fails}, cache=cache):
        told = run(cache, lambda: None)
    assert isinstance(told, outcome.Error)
    assert re.fullmatch(rf"hook 'colours': {callback} raised ValueError on test-\d+", str(told.error))
    assert repr(told.error.__cause__) == "ValueError('no colour')"


def test_what_a_job_is_in_messages() -> None:
    gate, running = threading.Event(), threading.Event()
    with selvedge.ThreadCache(max_workers=1) as cache:
        job = cache.submit(lambda: (running.set(), gate.wait(PATIENCE)))
        assert running.wait(PATIENCE)
        assert repr(job) == f"<selvedge.Job at {id(job):#x}, not delivered yet>"
        gate.set()
        job.wait(PATIENCE)
        assert repr(job) == f"<selvedge.Job at {id(job):#x}, delivered>"
        insides: queue.SimpleQueue[str] = queue.SimpleQueue()
        late: list[selvedge.Job] = []
        begun = threading.Event()
        late.append(cache.submit(lambda: (begun.wait(PATIENCE), insides.put(repr(late[0])))))
        begun.set()
        assert "not delivered yet" in insides.get(timeout=PATIENCE)  # it does not wait for itself


def test_shutdown_can_cancel_what_queues() -> None:
    cache = selvedge.ThreadCache(max_workers=1)
    gate, running = threading.Event(), threading.Event()
    told: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    cache.submit(lambda: (running.set(), gate.wait(PATIENCE)))
    assert running.wait(PATIENCE)
    for _ in range(3):
        cache.start_thread_soon(lambda: None, lambda o: told.put((type(getattr(o, "error", None)).__name__, threading.get_ident())))
    with pytest.raises(selvedge.TimedOutError):
        cache.shutdown(0.01, cancel_queued=True)
    assert [told.get_nowait() for _ in range(3)] == [("CancelledError", threading.get_ident())] * 3
    gate.set()
    cache.shutdown(PATIENCE)


def test_waiting_for_oneself_is_refused(cache: selvedge.ThreadCache) -> None:
    def shuts_down() -> None:
        cache.shutdown()

    told = run(cache, shuts_down)
    assert isinstance(told, outcome.Error)
    assert isinstance(told.error, selvedge.DeadlockError)
    assert not cache.closed
    boxes: list[selvedge.Job] = []
    given = threading.Event()

    def waits() -> None:
        assert given.wait(PATIENCE)
        boxes[0].wait()

    seen: queue.SimpleQueue[outcome.Outcome[None]] = queue.SimpleQueue()
    boxes.append(cache.submit(waits, seen.put))
    given.set()
    told = seen.get(timeout=PATIENCE)
    assert isinstance(told, outcome.Error)
    assert isinstance(told.error, selvedge.DeadlockError)


def test_what_a_cache_says_of_itself() -> None:
    cache = selvedge.ThreadCache("crew", max_workers=3)
    assert repr(cache) == "<selvedge.ThreadCache 'crew', max_workers=3>"
    cache.shutdown(PATIENCE)
    assert repr(cache) == "<selvedge.ThreadCache 'crew', max_workers=3, shut down>"
    assert repr(selvedge.ThreadCache()) == "<selvedge.ThreadCache ''>"
    assert repr(selvedge.default_cache()) == "<selvedge.ThreadCache, the default one>"
    assert repr(selvedge.SelvedgeError) == "<class 'selvedge.SelvedgeError'>"


def test_idle_workers_end() -> None:
    cache = selvedge.ThreadCache(idle_timeout=0)
    ended = threading.Event()
    with selvedge.register_hook("watch", on_exit=lambda _: ended.set(), cache=cache):
        run(cache, lambda: None)
        assert ended.wait(PATIENCE)
        cache.set_idle_timeout(None)
        run(cache, lambda: None)
        ended.clear()
        cache.trim(1)
        assert cache.stats().idle == 1
        cache.trim()
        assert ended.wait(PATIENCE)
    cache.shutdown(PATIENCE)
    assert cache.stats().started == 2


def test_the_default_cache() -> None:
    cache = selvedge.default_cache()
    assert cache is selvedge.default_cache()
    assert run(cache, lambda: threading.current_thread().name).unwrap().startswith("selv-")
    with pytest.raises(selvedge.UnsupportedError, match=r"default cache .* trim\(\)"):
        cache.shutdown()
    cache.trim()


def test_a_dropped_cache_finishes_its_jobs() -> None:
    told: queue.SimpleQueue[outcome.Outcome[int]] = queue.SimpleQueue()
    gate = threading.Event()
    ended = threading.Event()
    cache = selvedge.ThreadCache("dropped", max_workers=1)
    selvedge.register_hook("watch", on_exit=lambda _: ended.set(), cache=cache)
    cache.start_thread_soon(lambda: gate.wait(PATIENCE) and 1, told.put)
    cache.start_thread_soon(lambda: 2, told.put)
    del cache
    gc.collect()
    gate.set()
    assert [told.get(timeout=PATIENCE).unwrap() for _ in range(2)] == [True, 2]
    for _ in range(20):
        for job in [selvedge.ThreadCache().submit(lambda: None) for _ in range(3)]:
            job.wait(PATIENCE)


def test_a_dropped_cache_leaves_nothing_to_the_exit() -> None:
    def dropped(count: int) -> None:
        for _ in range(count):
            cache = selvedge.ThreadCache()
            cache.submit(lambda: None).wait(PATIENCE)
            cache.shutdown(PATIENCE)

    def callbacks() -> int:
        gc.collect()
        names = [getattr(thing, "__name__", "") for thing in gc.get_objects() if type(thing) is type(len)]
        return names.count("selvedge_let_workers_go") + names.count("selvedge_unregister_and_wait")

    dropped(5)
    before = callbacks()
    dropped(20)
    assert callbacks() <= before + 1  # the last one's hook goes when the next cache is made


def test_from_many_threads(cache: selvedge.ThreadCache) -> None:
    told: queue.SimpleQueue[int] = queue.SimpleQueue()

    def submit(base: int) -> None:
        for i in range(200):
            cache.start_thread_soon(lambda i=i: base + i, lambda o: told.put(o.unwrap()))

    threads = [threading.Thread(target=submit, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(told.get(timeout=PATIENCE) for _ in range(1600)) == [1000 * n + i for n in range(8) for i in range(200)]


def test_trace_functions_see_jobs(cache: selvedge.ThreadCache) -> None:
    seen: list[str] = []
    threading.setprofile(lambda frame, event, _: seen.append(frame.f_code.co_name) if event == "call" else None)
    try:

        def traced() -> None: ...

        run(cache, traced)
    finally:
        threading.setprofile(None)
    assert "traced" in seen


@pytest.mark.only_python("3.12", "3.13")
def test_in_a_sub_interpreter_with_its_own_gil() -> None:
    program = """
        import queue, selvedge
        try:
            selvedge.default_cache()
        except selvedge.UnsupportedError as error:
            assert "make a ThreadCache" in str(error), error
        else:
            raise AssertionError("the default cache belongs to the main interpreter")
        cache = selvedge.ThreadCache("inner")
        told = queue.SimpleQueue()
        for i in range(10):
            cache.start_thread_soon(lambda i=i: i, told.put)
        # By position: with a keyword, CPython 3.12.1 itself frees at the exit what belongs to the interpreter that is gone.
        assert sorted(told.get(True, 60).unwrap() for _ in range(10)) == list(range(10))
        cache.shutdown(60)
        selvedge.ThreadCache("left to the exit").submit(lambda: None).wait(60)
    """
    host = f"""
        import sys
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
            made = interpreters.create("isolated")
            failed = interpreters.exec(made, {textwrap.dedent(program)!r})
            assert failed is None, failed
        else:
            import _xxsubinterpreters as interpreters
            made = interpreters.create(isolated=True)
            interpreters.run_string(made, {textwrap.dedent(program)!r})
        interpreters.destroy(made)
        import selvedge
        selvedge.default_cache().submit(lambda: None).wait(60)
        print("done")
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(host)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


@pytest.mark.only_python("3.10", "3.11")
def test_in_a_sub_interpreter_it_is_refused() -> None:
    host = """
        import _xxsubinterpreters as interpreters
        made = interpreters.create()
        interpreters.run_string(made, '''if True:
            import selvedge
            try:
                selvedge.ThreadCache()
            except selvedge.UnsupportedError as error:
                assert "3.12" in str(error), error
            else:
                raise AssertionError
        ''')
        interpreters.destroy(made)
        print("done")
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(host)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")

"""register_hook: Python functions, native ones, their order, their failures, their end."""

from __future__ import annotations

import ctypes
import gc
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import outcome
import pytest

import selvedge

T = TypeVar("T")
PATIENCE = 60.0


@pytest.fixture
def cache() -> Iterator[selvedge.ThreadCache]:
    cache = selvedge.ThreadCache("hooks")
    yield cache
    cache.shutdown(PATIENCE)


def run(cache: selvedge.ThreadCache, fn: Callable[[], T]) -> outcome.Outcome[T]:
    told: queue.SimpleQueue[outcome.Outcome[T]] = queue.SimpleQueue()
    cache.start_thread_soon(fn, told.put)
    return told.get(timeout=PATIENCE)


def test_the_order_of_everything(cache: selvedge.ThreadCache) -> None:
    journal: list[str] = []

    def start(name: str) -> str:
        journal.append(f"{name} starts")
        return name

    def hook(name: str) -> selvedge.Hook:
        return selvedge.register_hook(
            name,
            lambda: start(name),
            lambda slot: journal.append(f"{slot} exits"),
            lambda slot: journal.append(f"before {slot}"),
            lambda slot: journal.append(f"after {slot}"),
            cache,
        )

    a = hook("a")
    b = hook("b")
    run(cache, lambda: journal.append("job"))
    late = hook("late")  # reaches the living worker before its next job
    run(cache, lambda: journal.append("job"))
    late.unregister(PATIENCE)
    assert journal == [
        *("a starts", "b starts", "before a", "before b", "job", "after b", "after a"),
        *("late starts", "before a", "before b", "before late", "job", "after late", "after b", "after a"),
        "late exits",
    ]
    journal.clear()
    cache.shutdown(PATIENCE)
    assert journal == ["b exits", "a exits"]
    assert a.stats() == selvedge.HookStats(attached=0, starts=1, exits=1, start_failures=0, jobs=2, lost=0)
    b.unregister()
    b.unregister(0)


def test_hooks_run_on_the_worker_with_its_name(cache: selvedge.ThreadCache) -> None:
    where: list[tuple[str, int]] = []

    def here(*_: object) -> None:
        where.append((threading.current_thread().name, threading.get_ident()))

    with selvedge.register_hook("where", here, here, here, here, cache):
        inside = run(cache, lambda: (threading.current_thread().name, threading.get_ident())).unwrap()
    assert where == [inside] * 4


@pytest.mark.parametrize("which", ["on_start", "before_job"])
def test_a_hook_that_raises_fails_the_job(cache: selvedge.ThreadCache, which: str) -> None:
    fails = [True]

    def raises_once(*_: object) -> None:
        if fails:
            fails.clear()
            raise KeyError("of the hook")

    arguments: Any = {which: raises_once}
    with selvedge.register_hook("nervous", cache=cache, **arguments) as hook:
        told = run(cache, lambda: 1)
        assert isinstance(told, outcome.Error)
        error = told.error
        assert isinstance(error, selvedge.HookFailedError)
        assert "nervous" in str(error)
        assert which in str(error)
        assert error.code == error.status
        assert isinstance(error.__cause__, KeyError)
        assert run(cache, lambda: 2).unwrap() == 2
        assert cache.stats().hook_failures == 1
        assert hook.stats().start_failures == (which == "on_start")


@pytest.mark.parametrize("which", ["on_exit", "after_job"])
def test_what_raises_late_goes_to_the_unraisable_hook(
    cache: selvedge.ThreadCache, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[BaseException | None] = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: seen.append(unraisable.exc_value))

    def raises(_: object) -> None:
        raise KeyError(which)

    arguments: Any = {which: raises}
    with selvedge.register_hook("late", cache=cache, **arguments):
        assert run(cache, lambda: 1).unwrap() == 1
    assert [str(error) for error in seen] == [repr(which)]


def test_an_optional_hook_may_fail(cache: selvedge.ThreadCache) -> None:
    def raises() -> None:
        raise KeyError

    with selvedge.register_hook("optional", raises, cache=cache, optional=True):
        assert run(cache, lambda: 3).unwrap() == 3


def test_an_eager_hook_reaches_idle_workers(cache: selvedge.ThreadCache) -> None:
    run(cache, lambda: None)
    started = threading.Event()
    with selvedge.register_hook("eager", lambda: started.set(), cache=cache, eager=True):
        assert started.wait(PATIENCE)


def test_a_lazy_hook_waits_for_jobs_that_name_it(cache: selvedge.ThreadCache) -> None:
    with selvedge.register_hook("lazy", lambda: None, cache=cache, lazy=True) as hook:
        run(cache, lambda: None)
        assert hook.stats().starts == 0


def test_unregistering_from_where_it_cannot_wait(cache: selvedge.ThreadCache) -> None:
    exited = threading.Event()
    hook = selvedge.register_hook("self", lambda: None, lambda _: exited.set(), cache=cache)

    def job() -> None:
        with pytest.raises(selvedge.DeadlockError):
            hook.unregister()
        with pytest.raises(selvedge.TimedOutError):
            hook.unregister(0)  # begins it

    run(cache, job).unwrap()
    assert exited.wait(PATIENCE)
    hook.unregister(PATIENCE)


def test_unregistering_waits_for_a_busy_worker(cache: selvedge.ThreadCache) -> None:
    gate, running = threading.Event(), threading.Event()
    told: queue.SimpleQueue[outcome.Outcome[object]] = queue.SimpleQueue()
    hook = selvedge.register_hook("busy", lambda: None, cache=cache)
    cache.start_thread_soon(lambda: running.set() or gate.wait(PATIENCE), told.put)
    assert running.wait(PATIENCE)
    with pytest.raises(selvedge.TimedOutError, match="busy"):
        hook.unregister(0.02)
    assert hook.stats().attached == 1
    gate.set()
    hook.unregister(PATIENCE)
    assert hook.stats().attached == 0


def test_what_a_hook_held_is_freed(cache: selvedge.ThreadCache) -> None:
    class Thing:
        def __call__(self) -> Thing:
            return self

    thing = Thing()
    gone = weakref.ref(thing)
    hook = selvedge.register_hook("holds", thing, cache=cache)
    run(cache, lambda: None)
    hook.unregister(PATIENCE)
    del thing, hook
    gc.collect()
    assert gone() is None


def test_a_hook_may_use_the_library(cache: selvedge.ThreadCache) -> None:
    inner: queue.SimpleQueue[str] = queue.SimpleQueue()
    other = selvedge.ThreadCache("other")

    def start() -> None:
        other.start_thread_soon(lambda: threading.current_thread().name, lambda told: inner.put(told.unwrap()))

    with selvedge.register_hook("busybody", start, cache=cache):
        run(cache, lambda: None)
        assert inner.get(timeout=PATIENCE).startswith("other-")
    other.shutdown(PATIENCE)


def test_wrong_arguments(cache: selvedge.ThreadCache) -> None:
    register: Any = selvedge.register_hook
    for args, kwargs, text in (
        (("x",), {}, "at least one"),
        (("x", 1.5), {}, "on_start must be callable, .* not float"),
        (("x", print), {"cache": 1}, "cache must be a ThreadCache or None, not int"),
        (("x", print, 4096), {"cache": cache}, "not both"),
        (("x", print), {"cache": cache, "user": 1}, "user is for native"),
    ):
        with pytest.raises(TypeError, match=text):
            register(*args, **kwargs)
    for address in (0, -1, 4095, 2**64):
        with pytest.raises(ValueError, match=f"cannot be at address {address}"):
            register("x", address, cache=cache)
    with pytest.raises(TypeError, match="not bool"):
        register("x", True, cache=cache)
    with pytest.raises(ValueError, match="lazy and eager"):
        register("x", print, cache=cache, lazy=True, eager=True)
    cache.shutdown(PATIENCE)
    with pytest.raises(selvedge.ClosedResourceError):
        register("x", print, cache=cache)
    with pytest.raises(ValueError, match="at least 0"):
        selvedge.register_hook("x", lambda: None, cache=selvedge.ThreadCache()).unregister(-1)


# ---- native ones ----


class Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("starts", "exits", "befores", "afters", "with_gil")]

    def seen(self) -> list[int]:
        return [self.starts, self.exits, self.befores, self.afters, self.with_gil]


@pytest.fixture
def native(native_hooks: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(native_hooks))


@pytest.mark.parametrize("as_address", [True, False])
def test_native_functions_are_called_without_the_gil(
    cache: selvedge.ThreadCache, native: ctypes.CDLL, as_address: bool
) -> None:
    counts = Counts()
    functions: list[Any] = [native.count_start, native.count_exit, native.count_before, native.count_after]
    if as_address:
        functions = [ctypes.cast(function, ctypes.c_void_p).value for function in functions]
    register: Any = selvedge.register_hook
    hook = register("native", *functions, cache, user=ctypes.addressof(counts))
    for _ in range(5):
        assert run(cache, lambda: 1).unwrap() == 1
    hook.unregister(PATIENCE)
    assert counts.seen() == [1, 1, 5, 5, 0]


def test_a_native_hook_that_fails(cache: selvedge.ThreadCache, native: ctypes.CDLL) -> None:
    with selvedge.register_hook("native", native.fail_to_start, cache=cache):
        told = run(cache, lambda: 1)
    assert isinstance(told, outcome.Error)
    assert isinstance(told.error, selvedge.HookFailedError)
    assert told.error.code == 77
    assert told.error.__cause__ is None
    assert run(cache, lambda: 2).unwrap() == 2


def test_a_ctypes_callback_is_kept_alive(cache: selvedge.ThreadCache) -> None:
    seen: list[int | None] = []
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)

    def start(user: int | None, worker: int, slot: int) -> int:
        seen.append(user)
        return 0

    callback: Any = kind(start)
    gone = weakref.ref(start)
    hook = selvedge.register_hook("ctypes", callback, cache=cache, user=5)
    del callback, start
    gc.collect()
    run(cache, lambda: None)
    assert seen == [5]
    hook.unregister(PATIENCE)
    gc.collect()
    assert gone() is None

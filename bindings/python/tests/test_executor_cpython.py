"""CPython's own tests of ThreadPoolExecutor, on selvedge.Executor.

They come from the running Python's package `test`, and where that lacks them (3.11.7 and 3.12.1 did not install them)
from the newest earlier Python beside it. Those that cannot pass are listed with the reason, and must fail for it.
"""
# timeout: 300

from __future__ import annotations

import concurrent.futures
import importlib
import os
import re
import sys
import textwrap
import threading
import types
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selvedge import Executor, ThreadCache

# Test: what its failure says, and why it cannot pass.
EXCEPTIONS = {
    "ThreadPoolShutdownTest.test_thread_names_default": (
        r"Regex didn't match: 'ThreadPoolExecutor-",
        "without a prefix the threads of an Executor are named after it: Executor-<number>_<number>",
    ),
}

PACKAGE = "test.test_concurrent_futures"
CACHE = ThreadCache("cpython", idle_timeout=None)


def home_of_tests() -> str:
    """The folder `test` that has them."""
    own = Path(importlib.import_module("test").__path__[0])
    found: dict[tuple[int, ...], Path] = {}
    for folder in [*Path(sys.base_prefix).parent.glob("*/lib/python3.*/test"), own]:
        if list(folder.glob("test_concurrent_futures*")):
            found[tuple(map(int, folder.parent.name.removeprefix("python").split(".")))] = folder
    usable = [version for version in found if version <= sys.version_info[:2]]
    assert usable, f"no Python has its tests of concurrent.futures in {own} or beside {sys.base_prefix}"
    return str(found[max(usable)])


HOME = home_of_tests()


def modules_of_tests() -> list[types.ModuleType]:
    test = importlib.import_module("test")
    if HOME not in test.__path__:
        test.__path__.append(HOME)
    package = importlib.import_module(PACKAGE)
    if not hasattr(package, "__path__"):
        return [package]
    names = "test_thread_pool", "test_wait", "test_as_completed", "test_init", "test_shutdown"
    return [importlib.import_module(f"{PACKAGE}.{name}") for name in names]


# ---- what they see instead of ThreadPoolExecutor ----


class Place:
    """What the tests read of a thread in `_threads`: one for each number that the executor has given to a thread."""

    def __init__(self, pool: Any, number: int) -> None:
        self.pool = pool
        self.name = f"{pool.prefix}_{number}"

    def join(self) -> None:
        self.pool.join()


class Pool(Executor):
    """An Executor on a cache whose threads stay, since the tests warn of threads that come and go."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, cache=CACHE, **kwargs)
        del self._threads, self._broken

    def __getattr__(self, name: str) -> Any:
        if name == "_threads":
            return {Place(self._pool, number) for number in range(self._pool.numbers)}
        if name == "_broken":
            return self._pool.is_broken
        raise AttributeError(name)


class Futures:
    """The package concurrent.futures, with ours for ThreadPoolExecutor."""

    ThreadPoolExecutor = Pool

    def __getattr__(self, name: str) -> Any:
        return getattr(concurrent.futures, name)


def assert_python_ok(original: Callable[..., Any]) -> Callable[..., Any]:
    """A program of the tests, with our import for theirs. Not isolated: it is to find this very package."""

    def run(option: str, code: str) -> Any:
        code, count = re.subn(r"from concurrent\.futures import (\w+)", r"from selvedge import Executor as \1", code)
        assert count == 1, code
        code = f"import test; test.__path__.append({HOME!r})\n{code}"
        return original(option, code, PYTHONPATH=os.environ.get("PYTHONPATH", ""))

    return run


def is_of_thread_pool(found: Any) -> bool:
    if not isinstance(found, type) or not issubclass(found, unittest.TestCase):
        return False
    return getattr(found, "executor_type", None) in (concurrent.futures.ThreadPoolExecutor, Pool)


def collect() -> dict[str, unittest.TestCase]:
    tests: dict[str, unittest.TestCase] = {}
    for module in modules_of_tests():
        names: dict[str, Any] = vars(module)
        for value in list(names.values()):
            if is_of_thread_pool(value):
                value.executor_type = Pool
                for name in unittest.defaultTestLoader.getTestCaseNames(value):
                    tests[f"{value.__name__}.{name}"] = value(name)
        names["futures"] = Futures()
        if "assert_python_ok" in names:
            names["assert_python_ok"] = assert_python_ok(names["assert_python_ok"])
    return tests


TESTS = collect()


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """As many threads as any of the tests wants, from the beginning to the end."""
    meeting = threading.Barrier(41)
    for _ in range(40):
        CACHE.start_thread_soon(meeting.wait, lambda outcome: outcome.unwrap())
    meeting.wait()


@pytest.mark.parametrize("name", TESTS)
def test_cpython(name: str) -> None:
    result = unittest.TestResult()
    TESTS[name].run(result)
    assert result.testsRun == 1
    assert not result.skipped, result.skipped
    problems = "\n".join(text for _, text in result.failures + result.errors)
    if name in EXCEPTIONS:
        expected, reason = EXCEPTIONS[name]
        assert re.search(expected, problems), f"was to fail ({reason}):\n{problems}"
    else:
        assert result.wasSuccessful(), problems


def test_all_kinds_are_there() -> None:
    """That they have been found, of each kind, and that the exceptions are among them."""
    kinds = {name.split(".")[0] for name in TESTS}
    assert len(TESTS) >= 40, textwrap.shorten(str(sorted(TESTS)), 500)
    for kind in ("Executor", "Shutdown", "AsCompleted", "Initializer", "FailingInitializer"):
        assert f"ThreadPool{kind}Test" in kinds, kinds
    assert EXCEPTIONS.keys() <= TESTS.keys()

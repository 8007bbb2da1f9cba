"""InterpreterExecutor: a concurrent.futures executor on interpreters."""

# timeout: 200
from __future__ import annotations

import asyncio
import concurrent.futures
import math
import operator
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selvedge.interpreters import (
    BrokenInterpreterExecutor,
    Channel,
    InterpreterCache,
    InterpreterExecutor,
)

pytestmark = pytest.mark.only_python("3.12", "3.13")


@pytest.fixture
def executor() -> Iterator[InterpreterExecutor]:
    with InterpreterExecutor(2) as made:
        yield made


def test_submit(executor: InterpreterExecutor) -> None:
    assert isinstance(executor, concurrent.futures.Executor)
    assert executor.submit(math.factorial, 5).result() == 120
    assert executor.submit(sorted, [2, 1], reverse=True).result() == [2, 1]
    assert executor.submit("a + args[0]", 1, a=2).result() == 3
    with pytest.raises(ZeroDivisionError):
        executor.submit(operator.truediv, 1, 0).result()


def test_a_main_program_without_a_guard_is_told_what_to_write(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(
        "from selvedge.interpreters import InterpreterExecutor\n"
        "def double(number): return number * 2\n"
        "with InterpreterExecutor(1) as pool: print(pool.submit(double, 4).result())\n"
    )
    ended = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert 'if __name__ == "__main__":' in ended.stderr.splitlines()[-1], ended.stderr


def test_wrong_options() -> None:
    make: Any = InterpreterExecutor
    for options, kind, text in (
        ({"max_workers": 0}, ValueError, "max_workers must be at least 1"),
        ({"max_workers": -1}, ValueError, "max_workers must be at least 1"),
        ({"max_workers": "2"}, TypeError, "max_workers must be an int or None, not str"),
        ({"cache": 5}, TypeError, "cache must be an InterpreterCache or None, not int"),
    ):
        with pytest.raises(kind, match=text):
            make(**options)


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map(executor: InterpreterExecutor, chunksize: int) -> None:
    assert list(executor.map(math.pow, range(10), [2] * 10, chunksize=chunksize)) == [float(i * i) for i in range(10)]
    assert list(executor.map(math.factorial, [], chunksize=chunksize)) == []
    results = executor.map(operator.truediv, [4, 1, 9], [2, 0, 3], chunksize=chunksize)
    if chunksize == 1:
        assert next(results) == 2
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_refuses(executor: InterpreterExecutor) -> None:
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(math.factorial, [1], chunksize=0)


def test_map_times_out(executor: InterpreterExecutor) -> None:
    gate = Channel()
    with pytest.raises(TimeoutError):
        list(executor.map(gate.recv, [60], timeout=0.1))
    gate.send(1)


def test_initializer_runs_once_in_each_interpreter() -> None:
    with InterpreterCache(max_workers=1) as cache:
        seen = Channel()
        program = "import string; string.n = getattr(string, 'n', 0) + 1; args[0].send(string.n)"
        first = InterpreterExecutor(cache=cache, initializer=program, initargs=(seen,))
        second = InterpreterExecutor(cache=cache, initializer=program, initargs=(seen,))
        for _ in range(3):
            assert first.submit("1").result() == 1
        assert second.submit("1").result() == 1
        assert [seen.recv_nowait() for _ in range(len(seen))] == [1, 2]
        first.shutdown()
        second.shutdown()
        assert cache.run("5") == 5  # the shared cache is not shut down


def test_initializer_that_fails() -> None:
    gate = Channel()
    with InterpreterCache(max_workers=1) as cache:
        busy = cache.submit("gate.recv()", gate=gate)
        executor = InterpreterExecutor(cache=cache, initializer=operator.truediv, initargs=(1, 0))
        futures = [executor.submit("1") for _ in range(3)]
        gate.send(None)
        busy.result()
        for future in futures:
            with pytest.raises(BrokenInterpreterExecutor) as caught:
                future.result(timeout=60)
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            executor.submit("1")
        executor.shutdown()


def test_shutdown() -> None:
    executor = InterpreterExecutor(1)
    future = executor.submit("import time; time.sleep(0.1); 3")
    executor.shutdown()
    assert future.done() and future.result() == 3
    with pytest.raises(RuntimeError, match="after its shutdown"):
        executor.submit("1")
    executor.shutdown()


def test_shutdown_without_waiting() -> None:
    gate = Channel()
    executor = InterpreterExecutor(1)
    future = executor.submit("gate.recv()", gate=gate)
    began = time.monotonic()
    try:
        executor.shutdown(wait=False)
        assert not future.done() and time.monotonic() - began < 30
    finally:
        gate.send(4)
    assert future.result() == 4


def test_shutdown_cancels() -> None:
    gate, ready = Channel(), Channel()
    executor = InterpreterExecutor(1)
    running = executor.submit("ready.send(1); gate.recv()", gate=gate, ready=ready)
    ready.recv()
    queued = [executor.submit("1") for _ in range(3)]
    gate.send(5)
    executor.shutdown(cancel_futures=True)
    assert running.result() == 5
    assert all(each.cancelled() or each.result() == 1 for each in queued)


def test_cancel_by_map() -> None:
    """A map that is given up cancels what has not begun."""
    gate = Channel()
    with InterpreterExecutor(1) as executor:
        results = executor.map(gate.recv, [60, 60, 60])
        gate.send(1)
        assert next(results) == 1
        del results
        gate.send(2)  # the second call may have begun
        gate.send(3)
    assert len(gate) >= 1


def test_arguments() -> None:
    with InterpreterCache() as cache:
        with pytest.raises(ValueError, match="max_workers"):
            InterpreterExecutor(2, cache=cache)
    with pytest.raises(ValueError, match="max_workers"):
        InterpreterExecutor(-1)


def test_asyncio(executor: InterpreterExecutor) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, math.factorial, i) for i in range(5)))

    assert asyncio.run(main()) == [1, 1, 2, 6, 24]


def test_in_a_fork_child(executor: InterpreterExecutor) -> None:
    import warnings

    gate = Channel()
    busy = executor.submit("gate.recv()", gate=gate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if executor.submit(math.factorial, 3).result(60) == 6:
                executor.shutdown()  # waits for the child's calls only
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    gate.send("end")
    assert busy.result() == "end"


# Runs Python code without a pause until the other one does, too. With its GIL kept for `interval` seconds.
MEET = """
import mmap, sys, time
sys.setswitchinterval(interval)
with open(file, "r+b") as opened, mmap.mmap(opened.fileno(), 2) as flags:
    began = time.monotonic()
    flags[mine] = 1
    while not flags[1 - mine]: pass
time.monotonic() - began
"""


def test_two_interpreters_run_python_code_at_the_same_time(tmp_path: Path) -> None:
    file = tmp_path / "flags"
    with InterpreterCache(max_workers=2) as cache:
        file.write_bytes(b"\0\0")
        jobs = [cache.submit(MEET, mine=mine, file=str(file), interval=1000) for mine in (0, 1)]
        for job in jobs:
            job.result(timeout=100)
    if sys.version_info < (3, 13):
        return  # interpreters that share a GIL do not switch there at all until one waits
    with InterpreterCache(max_workers=2, own_gil=False) as shared:
        before = sys.getswitchinterval()
        try:
            file.write_bytes(b"\0\0")
            jobs = [shared.submit(MEET, mine=mine, file=str(file), interval=1) for mine in (0, 1)]
            assert max(job.result(timeout=100) for job in jobs) > 0.5
        finally:
            sys.setswitchinterval(before)

"""Trio's own published tests of its threads, its locks and its guest mode, with Trio's threads on a cache of ours.

They come from the installed package `trio`, and run in a pytest of their own with a plugin that installs the cache.
Those that cannot pass are named below, each with its reason; if one of them does pass, that is a failure here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

MODULES = (
    "trio._core._tests.test_thread_cache",
    "trio._core._tests.test_parking_lot",
    "trio._core._tests.test_guest_mode",
    "trio._tests.test_threads",
    "trio._tests.test_sync",
)

PLUGIN = """
import json, os, pytest
import selvedge, selvedge.trio
from trio._core import _thread_cache

outcomes = {}
options = json.loads(os.environ["CACHE"])
cache = selvedge.default_cache() if options is None else selvedge.ThreadCache(**options)
selvedge.trio.install(cache)

# These two set the time after which Trio's own idle threads end. Our cache is told the same.
SHORT_LIVED = ("test_idle_threads_exit", "test_run_in_worker_thread_abandoned")

@pytest.fixture(autouse=True)
def idle_timeout(request):
    if options is None or request.node.name not in SHORT_LIVED:
        yield
        return
    cache.set_idle_timeout(0.01)
    yield
    cache.set_idle_timeout(10.0)

def pytest_runtest_logreport(report):
    if report.outcome != "passed" or report.when == "call":
        outcomes[report.nodeid] = report.outcome

def pytest_sessionfinish(session):
    with open(os.environ["OUTCOMES"], "w") as file:
        json.dump({
            "outcomes": outcomes,
            "jobs": cache.stats().jobs_delivered,
            "threads of Trio's own": next(_thread_cache.name_counter),
        }, file)
"""

THREADS = "trio/_tests/test_threads.py"
CACHE = "trio/_core/_tests/test_thread_cache.py"

# Assert on the threading.Thread objects that Trio makes for its own threads, or on the constants that these obey.
EXCEPTIONS = {
    f"{THREADS}::test_run_in_worker_thread": "expects the repr() of one: <Thread(Trio thread 7, started ...)>",
}
# As before, when the cache has no options made for these tests.
EXCEPTIONS_OF_THE_SHARED_CACHE = EXCEPTIONS | {
    f"{THREADS}::test_named_thread": "expects a thread between its jobs to be called 'Trio thread ...', not 'selv-...'",
    f"{THREADS}::test_named_thread_os": "expects the same of the operating system's name",
    f"{CACHE}::test_idle_threads_exit": "sets Trio's private IDLE_TIMEOUT, and expects idle threads to end within 1 s",
}


@dataclass
class Ran:
    outcomes: dict[str, str] = field(default_factory=dict[str, str])
    jobs: int = 0
    threads: int = 0
    output: str = ""

    def having(self, outcome: str) -> set[str]:
        return {name for name, had in self.outcomes.items() if had == outcome}


def run(tmp_path: Path, options: dict[str, object] | None) -> Ran:
    (tmp_path / "puts_trio_on_our_cache.py").write_text(PLUGIN)
    outcomes = tmp_path / "outcomes.json"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CACHE": json.dumps(options),
        "OUTCOMES": str(outcomes),
    }
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--run-slow", "-W", "error", "-c", os.devnull]
    command += ["--rootdir", str(Path(trio.__file__).parent.parent)]
    command += [
        "-p",
        "no:cacheprovider",
        "-o",
        "faulthandler_timeout=120",
        "-p",
        "trio._tests.pytest_plugin",
        "-p",
        "puts_trio_on_our_cache",
        "--pyargs",
        *MODULES,
    ]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=400)
    output = ended.stdout + ended.stderr
    assert outcomes.exists(), output
    told = json.loads(outcomes.read_text())
    return Ran(told["outcomes"], told["jobs"], told["threads of Trio's own"], output)


def check(ran: Ran, exceptions: dict[str, str]) -> None:
    """Every test passes but the exceptions, which all fail."""
    assert ran.having("failed") == set(exceptions), ran.output
    assert ran.having("passed") == set(ran.outcomes) - set(exceptions)
    assert len(ran.outcomes) >= 120
    for module in MODULES:
        assert any(name.startswith(module.replace(".", "/")) for name in ran.having("passed"))
    # test_race_between_idle_exit_and_job_assignment makes a cache of Trio's kind; nobody else has started a thread of
    # Trio's.
    assert ran.threads == 1, ran.output
    assert ran.jobs >= 400


def test_with_a_cache_like_trios(tmp_path: Path) -> None:
    check(run(tmp_path, {"name": "Trio thread "}), EXCEPTIONS)


@pytest.mark.once
def test_with_the_shared_cache(tmp_path: Path) -> None:
    check(run(tmp_path, None), EXCEPTIONS_OF_THE_SHARED_CACHE)

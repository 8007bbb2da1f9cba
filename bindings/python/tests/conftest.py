"""Which tests run on which Python, and the report that the project's test driver (`tests/python.rs`) reads.

`make python` runs everything. By hand, from any folder:
`target/python/3.13.0/bin/python3 -m pytest bindings/python/tests/test_cache.py`.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

HERE = "%d.%d" % sys.version_info[:2]
# Taken out of the environment: a pytest that a test runs has no report to make.
REPORT = os.environ.pop("SELV_PYTEST_REPORT", None)
SECONDS = os.environ.pop("SELV_PYTEST_SECONDS", None)
IS_NEWEST = os.environ.get("SELV_PYTEST_NEWEST", "1") == "1"
IS_SYSTEM = Path(sys.prefix).name == "system"


def find_cpython_tests() -> None:
    """Debian has them in a package apart, of which `tools/setup.sh test` makes one: let `import test.lock_tests` find that.

    Here and in the programs that tests start.
    """
    folder = Path(__file__).resolve().parents[3] / "target" / "python" / "testsuite" / HERE
    if sys.base_prefix == "/usr" and folder.exists():
        sys.path.insert(0, str(folder))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def pytest_configure(config: pytest.Config) -> None:
    find_cpython_tests()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As a shell's `&` leaves it: then it would also be ignored by the programs that tests send it to.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if SECONDS:
        config.pluginmanager.register(Watch(float(SECONDS)))
    for line in (
        "only_python(*minors): runs on these versions alone, as in only_python('3.12', '3.13')",
        "pygobject: runs in the environment of the system's Python alone, which has PyGObject",
        "once: runs on the newest Python alone: it is slow, and the same on all of them",
    ):
        config.addinivalue_line("markers", line)
    if REPORT:
        config.pluginmanager.register(Report(Path(REPORT)))


def is_meant(item: pytest.Item) -> bool:
    """Whether this Python is one that the test is about."""
    versions = item.get_closest_marker("only_python")
    if versions is not None and HERE not in versions.args:
        return False
    if item.get_closest_marker("once") is not None and not IS_NEWEST:
        return False
    if item.get_closest_marker("pygobject") is not None:
        return IS_SYSTEM
    return not IS_SYSTEM or item.path.stem.startswith("test_cache")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    others = [item for item in items if not is_meant(item)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if is_meant(item)]


class Watch:
    """Tells where each thread is when the file has taken so many seconds. pytest can do that for one test only."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.stderr = os.dup(2)  # before tests have it captured
        self.arm()

    def arm(self) -> None:
        faulthandler.dump_traceback_later(max(self.end - time.monotonic(), 1e-3), file=self.stderr)

    @pytest.hookimpl(trylast=True)
    def pytest_exception_interact(self) -> None:
        """pytest has just switched it off, lest it come in the way of a debugger."""
        self.arm()


class Report:
    """A line for each test: `ran`, `skipped` or `deselected`, its name, and for a skip the reason."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, outcome: str, nodeid: str, reason: str = "") -> None:
        name = nodeid.partition("::")[2] or nodeid
        with self.path.open("a") as file:
            file.write("\t".join((outcome, *(" ".join(text.split()) for text in (name, reason)))) + "\n")

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            self.add("deselected", item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.add("skipped", report.nodeid, reason_of(report))
        elif report.when == "call":
            self.add("ran", report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.add("skipped", report.nodeid, reason_of(report))


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


# Options of Python under which every warning is an error; one for a descriptor that is left open among them.
STRICT = ("-X", "dev", "-W", "error")


class RunProgram(Protocol):
    """Runs a Python program in a process of its own and returns what it printed. It is to end with 0, in time, and to
    write no error. The text may be indented as a whole.
    """

    def __call__(self, text: str, *options: str, timeout: float = 60, **environment: str) -> str: ...


@pytest.fixture
def run_program(tmp_path: Path) -> RunProgram:
    def run(text: str, *options: str, timeout: float = 60, **environment: str) -> str:
        file = tmp_path / "program.py"
        file.write_text(textwrap.dedent(text))
        ended = subprocess.run(
            [sys.executable, *options, str(file)],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert ended.returncode == 0, f"ended with {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        assert ended.stderr == "", ended.stderr
        return ended.stdout

    return run


@pytest.fixture(scope="session")
def native_hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library made of hosts/native_hooks.c."""
    library = tmp_path_factory.mktemp("native") / "native_hooks.so"
    source = Path(__file__).resolve().parent / "hosts" / "native_hooks.c"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-isystem", sysconfig.get_path("include")]
    subprocess.run(["cc", *flags, source, "-o", library], check=True)
    return library


PATIENCE = 30.0
"""Seconds; nothing that is waited for takes long unless it hangs."""


def wait_until(is_so: Callable[[], object]) -> None:
    """Waits for what another thread is about to do, and nobody tells."""
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, f"not so after {PATIENCE} seconds"
        time.sleep(0.0005)


def waiting(lock: Any, counter: str = "waiting") -> int:
    """How many stand in line for a primitive, or for that behind a face."""
    number: int = lock.native.stats()[counter]
    return number


def wait_until_waiting(lock: Any, number: int, counter: str = "waiting") -> None:
    wait_until(lambda: waiting(lock, counter) == number)


class Thread(threading.Thread):
    """Keeps what its function returned or raised."""

    def __init__(self, function: Callable[[], object], name: str | None = None) -> None:
        super().__init__(name=name, daemon=True)
        self.function = function
        self.outcome: object = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self.function()
        except BaseException as error:
            self.outcome = error

    def result(self) -> Any:
        self.join(PATIENCE)
        assert not self.is_alive()
        return self.outcome


def census() -> Counter[str]:
    """How many objects of the package live, by their class."""
    gc.collect()
    kinds = [type(thing) for thing in gc.get_objects()]
    return Counter(kind.__name__ for kind in kinds if kind.__module__.startswith("selvedge"))

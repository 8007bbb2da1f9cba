"""InterpreterCache: programs and functions in interpreters of their own, what crosses, and what is refused where it
cannot work."""

# timeout: 300
from __future__ import annotations

import datetime
import functools
import gc
import os
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import RunProgram

import selvedge
from selvedge import interpreters
from selvedge.interpreters import InterpreterCache, RemoteError, RemoteTraceback

new = pytest.mark.only_python("3.12", "3.13")


@pytest.fixture
def cache() -> Iterator[InterpreterCache]:
    with InterpreterCache("test", max_workers=2) as made:
        yield made
    assert made.stats().interpreters == 0


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that interpreters import from: they get the sys.path that is in force when they are made."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


# ---- before CPython 3.12 ----


@pytest.mark.only_python("3.10", "3.11")
@pytest.mark.parametrize("make", ["InterpreterCache", "InterpreterExecutor", "Channel", "interpreter_id"])
def test_unsupported_before_312(make: str) -> None:
    assert not interpreters.SUPPORTED
    with pytest.raises(selvedge.UnsupportedError, match=r"needs CPython 3\.12 or later"):
        getattr(interpreters, make)()


@pytest.mark.only_python("3.10", "3.11")
def test_attach_unsupported_before_312() -> None:
    with pytest.raises(selvedge.UnsupportedError, match=r"needs CPython 3\.12 or later"):
        interpreters.Channel.attach(1)


# ---- programs ----


@new
def test_create_and_run(cache: InterpreterCache) -> None:
    assert cache.run("1 + 1") == 2
    assert cache.run("x = 20\ny = x + 1\nx + y") == 41
    assert cache.run("x = 1") is None
    assert cache.run("") is None
    assert cache.stats().interpreters == 1


@new
def test_it_is_another_interpreter(cache: InterpreterCache) -> None:
    number = cache.run("from selvedge.interpreters import interpreter_id; interpreter_id()")
    assert interpreters.interpreter_id() == 0
    assert number > 0
    assert cache.run("import sys; sys.modules['json'] = None; sys.getswitchinterval()") == sys.getswitchinterval()
    assert sys.modules.get("json", 0) is not None


@new
def test_arguments_of_a_program(cache: InterpreterCache) -> None:
    assert cache.run("args", 1, "two", b"3") == (1, "two", b"3")
    assert cache.run("a * b", a=6, b=7) == 42
    assert cache.run("def twice(x):\n    return base + 2 * x\ntwice(*args)", 4, base=100) == 108


@new
def test_each_program_has_a_fresh_namespace(cache: InterpreterCache) -> None:
    cache.run("left_behind = 1")
    with pytest.raises(NameError):
        cache.run("left_behind")


@new
def test_modules_are_kept_from_job_to_job() -> None:
    with InterpreterCache(max_workers=1) as cache:
        cache.run("import string; string.kept = 5")
        assert cache.run("import string; string.kept") == 5


@new
def test_functions_by_reference(cache: InterpreterCache) -> None:
    assert cache.run(os.path.join, "a", "b") == "a/b"
    assert cache.run(functools.partial(int, base=2), "101") == 5
    assert cache.run(datetime.timedelta, hours=1) == datetime.timedelta(seconds=3600)
    assert cache.run("abc".upper) == "ABC"
    assert cache.run(sorted, [3, 1, 2], reverse=True) == [3, 2, 1]


@new
def test_functions_of_a_module_of_ones_own(cache: InterpreterCache, modules: Path) -> None:
    (modules / "selvedge_test_work.py").write_text(
        "class Point:\n    def __init__(self, x): self.x = x\n    def moved(self, by): return Point(self.x + by)\n"
        "def double(x): return 2 * x\n"
    )
    import selvedge_test_work as work  # type: ignore[import-not-found]

    assert cache.run(work.double, 4) == 8
    moved = cache.run(work.Point(1).moved, 5)
    assert type(moved) is work.Point and moved.x == 6


@new
def test_functions_that_cannot_be_found_there(cache: InterpreterCache) -> None:
    import pickle

    def inner() -> None: ...

    for what in (inner, lambda: 1):
        with pytest.raises(pickle.PicklingError, match="by its module and name"):
            cache.run(what)
    with pytest.raises(TypeError, match="a function or the text of a program"):
        cache.submit(5)  # type: ignore[call-overload]
    with pytest.raises(SyntaxError):
        cache.run("def")
    assert cache.stats().jobs_accepted == 0


@new
def test_what_is_printed_is_flushed(run_program: RunProgram) -> None:
    said = run_program(
        "from selvedge.interpreters import InterpreterCache\n"
        "cache = InterpreterCache(max_workers=1)\n"
        "cache.run('print(\"one\")')\n"
        "print('two', flush=True)\n"
        "cache.run('import sys; print(\"three\", file=sys.stdout)')\n"
    )
    assert said.split() == ["one", "two", "three"]


# ---- the main program ----

MAIN = """
import sys
from selvedge.interpreters import InterpreterCache

loaded = []

class Box:
    def __init__(self, inside):
        self.inside = inside

def double(box):
    return Box(box.inside * 2)

def where():
    return __name__, sys.modules["__main__"] is sys.modules[__name__]

if __name__ == "__main__":
    with InterpreterCache(max_workers=1) as cache:
        got = cache.run(double, Box(21))
        assert type(got) is Box, type(got)
        print(got.inside, *cache.run(where))
"""


@new
def test_functions_of_the_main_program(run_program: RunProgram) -> None:
    assert run_program(MAIN).split() == ["42", "__selvedge_main__", "True"]


@new
def test_functions_of_a_main_module(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "program.py").write_text(MAIN)
    ended = subprocess.run(
        [sys.executable, "-m", "package.program"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout.split(), ended.stderr) == (["42", "__selvedge_main__", "True"], "")


@new
def test_no_functions_of_a_main_program_without_a_file() -> None:
    import subprocess

    text = (
        "from selvedge.interpreters import InterpreterCache\n"
        "def f(): pass\n"
        "with InterpreterCache() as cache:\n"
        "    print(cache.run('3'))\n"
        "    try: cache.run(f)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert ended.stderr == ""
    assert ended.stdout.startswith("3\nPicklingError")
    assert "has no file" in ended.stdout


# ---- exceptions ----


@new
def test_an_exception_comes_back_with_the_traceback_there(cache: InterpreterCache) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        cache.run("def divide(a, b):\n    return a / b\ndivide(1, 0)")
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert "in divide" in cause.text and "return a / b" in cause.text
    assert "_interp_worker" not in cause.text


@new
def test_an_exception_that_does_not_pickle(cache: InterpreterCache) -> None:
    with pytest.raises(RemoteError) as caught:
        cache.run("class Odd(Exception):\n    def __reduce__(self): raise TypeError\nraise Odd('hm')")
    assert caught.value.type_name.endswith("Odd")
    assert caught.value.text == "hm"
    assert "raise Odd('hm')" in caught.value.traceback
    assert isinstance(caught.value.__cause__, RemoteTraceback)


@new
def test_an_exception_that_does_not_unpickle(cache: InterpreterCache, modules: Path) -> None:
    (modules / "selvedge_test_errors.py").write_text(
        "class Two(Exception):\n    def __init__(self, a, b):\n        super().__init__(a + b)\n"
        "def fail(): raise Two('x', 'y')\n"
    )
    import selvedge_test_errors as errors  # type: ignore[import-not-found]

    with pytest.raises(RemoteError) as caught:
        cache.run(errors.fail)
    assert (caught.value.type_name, caught.value.text) == ("selvedge_test_errors.Two", "xy")


@new
def test_a_result_that_does_not_pickle(cache: InterpreterCache) -> None:
    with pytest.raises((TypeError, RemoteError), match="module"):
        cache.run("import sys; sys")
    assert cache.run("1") == 1


@new
def test_a_module_that_is_not_there(cache: InterpreterCache, modules: Path) -> None:
    (modules / "selvedge_test_here.py").write_text("def f(): return 1\n")
    import selvedge_test_here as here  # type: ignore[import-not-found]

    (modules / "selvedge_test_here.py").unlink()
    with pytest.raises(ModuleNotFoundError, match="selvedge_test_here"):
        cache.run(here.f)


@new
def test_system_exit_ends_nothing(cache: InterpreterCache) -> None:
    with pytest.raises(SystemExit) as caught:
        cache.run("raise SystemExit(3)")
    assert caught.value.code == 3
    assert cache.run("4") == 4


@new
def test_what_was_raised_is_let_go_at_once(cache: InterpreterCache) -> None:
    gc.collect()
    gc.disable()
    try:
        try:
            cache.run("class Own(Exception): pass\nraise Own")
        except RemoteError as error:
            seen = weakref.ref(error)
        worker_is_done = cache.submit("1")  # it has let go of the job before
        assert worker_is_done.result() == 1
        assert seen() is None
    finally:
        gc.enable()


# ---- an interpreter of its own ----


@new
def test_single_phase_modules_are_refused(cache: InterpreterCache) -> None:
    with pytest.raises(ImportError, match="_curses"):
        cache.run("import _curses")
    assert cache.run("import datetime, decimal, zoneinfo; str(decimal.Decimal(1) / 4)") == "0.25"


@new
def test_one_gil_for_all(modules: Path) -> None:
    with InterpreterCache(own_gil=False) as cache:
        assert cache.run("1 + 1") == 2
        assert cache.run("import _curses; _curses.__name__") == "_curses"
        assert cache.stats().interpreters == 1


@new
@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"check_multi_interp_extensions": False}, ValueError, "needs check_multi_interp_extensions"),
        ({"use_main_obmalloc": True}, ValueError, "use_main_obmalloc"),
        ({"own_gil": False, "use_main_obmalloc": False, "check_multi_interp_extensions": False}, ValueError, "needed"),
        ({"allow_threads": False, "allow_daemon_threads": True}, ValueError, "allow_threads"),
        ({"allow_fork": True}, selvedge.UnsupportedError, "fork"),
        ({"max_workers": 0}, ValueError, "max_workers"),
        ({"idle_timeout": -1}, ValueError, "idle_timeout"),
        ({"idle_timeout": "soon"}, TypeError, "idle_timeout"),
        ({"initializer": 5}, TypeError, "function"),
    ],
)
def test_configurations_that_cannot_be(fields: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        InterpreterCache(**fields)


@new
def test_threads_of_an_interpreter(cache: InterpreterCache) -> None:
    program = (
        "import threading\nseen = []\n"
        "ts = [threading.Thread(target=seen.append, args=(i,)) for i in range(4)]\n"
        "for t in ts: t.start()\n"
        "for t in ts: t.join()\nsorted(seen)"
    )
    assert cache.run(program) == [0, 1, 2, 3]
    with InterpreterCache(allow_threads=False) as without:
        with pytest.raises(RuntimeError, match="thread"):
            without.run(program)


@new
def test_a_fork_in_an_interpreter_is_refused(cache: InterpreterCache) -> None:
    with pytest.raises(RuntimeError, match="fork"):
        cache.run("import os; os.fork()")


@new
def test_initializer() -> None:
    with InterpreterCache(max_workers=1, initializer="import string; string.given = args", initargs=(1, 2)) as cache:
        assert cache.run("import string; string.given") == (1, 2)
    with InterpreterCache(max_workers=1, initializer=sys.setrecursionlimit, initargs=(777,)) as cache:
        assert cache.run(sys.getrecursionlimit) == 777


@new
def test_an_initializer_that_fails() -> None:
    cache = InterpreterCache(initializer="def f(): raise KeyError('no')\nf()")
    for _ in range(2):
        with pytest.raises(selvedge.HookFailedError, match="(?s)the initializer failed.*in f.*KeyError: 'no'"):
            cache.run("1")
    stats = cache.stats()
    assert (stats.failures, stats.interpreters_made) == (2, 0)
    cache.shutdown()


@new
def test_no_cache_in_an_interpreter(cache: InterpreterCache) -> None:
    with pytest.raises(selvedge.UnsupportedError, match="made in the main interpreter"):
        cache.run("from selvedge.interpreters import InterpreterCache; InterpreterCache()")


@new
def test_the_package_in_an_interpreter(cache: InterpreterCache) -> None:
    program = (
        "from selvedge import sync\nimport threading\n"
        "lock = sync.Lock()\nn = 0\n"
        "def work():\n    global n\n    for _ in range(200):\n        with lock: n += 1\n"
        "ts = [threading.Thread(target=work) for _ in range(3)]\n"
        "for t in ts: t.start()\n"
        "for t in ts: t.join()\nn"
    )
    assert cache.run(program) == 600

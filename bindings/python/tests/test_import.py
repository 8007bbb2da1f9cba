"""Every extension imports in every kind of interpreter that a Python has, and again after that has ended.

And every public name has a docstring, is listed, and says where it is.
"""

# timeout: 240
from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import RunProgram

import selvedge

EXTENSIONS = ["selvedge._cache", "selvedge._interpreters", "selvedge._loop", "selvedge._sync"]
# What begins so wants PyGObject, which only the system's Python has.
NEED_PYGOBJECT = ("selvedge.glib", "selvedge._glib")
IMPORTS = "import " + ", ".join(["selvedge", *EXTENSIONS])


def modules() -> Iterator[types.ModuleType]:
    """The package's modules, those of the system's Python aside."""
    yield selvedge
    for info in pkgutil.walk_packages(selvedge.__path__, "selvedge."):
        if not info.name.startswith(NEED_PYGOBJECT):
            yield importlib.import_module(info.name)


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.pygobject)], ids=["package", "glib"])
def public_modules(request: pytest.FixtureRequest) -> list[types.ModuleType]:
    if request.param:
        return [importlib.import_module("selvedge.glib")]
    return [module for module in modules() if not any(part.startswith("_") for part in module.__name__.split("."))]


@pytest.mark.parametrize("name", ["selvedge", *EXTENSIONS])
def test_each_alone(run_program: RunProgram, name: str) -> None:
    """As the first thing that a program imports, with every warning an error and the checks of the development mode."""
    text = f"import sys, {name}\nassert {name!r} in sys.modules\nprint('imported')"
    assert run_program(text, "-W", "error", "-X", "dev").strip() == "imported"


def test_all_modules(run_program: RunProgram) -> None:
    names = [module.__name__ for module in modules()]
    assert len(names) > len(EXTENSIONS) + 4
    text = "".join(f"import {name}\n" for name in names) + "print('imported')"
    assert run_program(text, "-W", "error", "-X", "dev").strip() == "imported"


def test_no_thread_and_no_loop_from_an_import(run_program: RunProgram) -> None:
    """An import must not start what a fork would trip over, nor load what the program did not ask for."""
    text = f"""
import os, sys
{IMPORTS}
loaded = {{"trio", "anyio", "greenlet", "gi", "asyncio"}} & set(sys.modules)
print(len(os.listdir("/proc/self/task")), sorted(loaded))
"""
    assert run_program(text).strip() == "1 []"


# ---- other interpreters ----

# The module that makes interpreters goes by two names, and its calls changed with the name.
MAKE = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def create(own_gil):
    if sys.version_info >= (3, 13):
        return interpreters.create("isolated" if own_gil else "legacy", reqrefs=False)
    return interpreters.create(isolated=own_gil)

def run(interpreter, text):
    error = interpreters.run_string(interpreter, text)
    if error is not None:
        raise RuntimeError(error.formatted if hasattr(error, "formatted") else error)
"""


def in_interpreters(own_gil: bool, text: str, times: int) -> str:
    return f"""
{MAKE}
for turn in range({times}):
    interpreter = create({own_gil})
    run(interpreter, {text!r})
    interpreters.destroy(interpreter)
{IMPORTS}
interpreter = create({own_gil})
run(interpreter, {text!r})
interpreters.destroy(interpreter)
print("imported", sys.modules["selvedge._cache"].__name__)
"""


# What the extensions do there. On 3.10 and 3.11 some of them cannot work outside of the main interpreter, and say so.
IN_ANOTHER = f"""
import importlib, sys, selvedge, selvedge._cache
for name in {EXTENSIONS!r}:
    try:
        importlib.import_module(name)
    except selvedge.UnsupportedError as error:
        assert sys.version_info < (3, 12) and "interpreter" in str(error), error
try:
    selvedge.ThreadCache(name="x", idle_timeout=-1.0)
except ValueError:
    pass
else:
    raise AssertionError("a negative time-out was taken")
"""


@pytest.mark.parametrize("times", [1, 3])
def test_legacy_interpreter(run_program: RunProgram, times: int) -> None:
    """One that shares the main interpreter's GIL: on 3.10 and 3.11 the only kind."""
    told = run_program(in_interpreters(False, IN_ANOTHER, times))
    assert told.strip() == "imported selvedge._cache"


@pytest.mark.only_python("3.12", "3.13")
@pytest.mark.parametrize("times", [1, 3])
def test_interpreter_with_its_own_gil(run_program: RunProgram, times: int) -> None:
    told = run_program(in_interpreters(True, IN_ANOTHER, times))
    assert told.strip() == "imported selvedge._cache"


@pytest.mark.only_python("3.12", "3.13")
def test_many_at_once(run_program: RunProgram) -> None:
    """Four interpreters with their own GILs import at the same time, each on the thread that made it and ends it.

    (That 3.12 hangs when another thread ends it has nothing to do with us: it does so with any program.)
    """
    text = f"""
{MAKE}
import threading
start = threading.Barrier(4)
failed = []
def one():
    interpreter = create(True)
    start.wait()
    try:
        run(interpreter, {IN_ANOTHER!r})
    except BaseException as error:
        failed.append(error)
    interpreters.destroy(interpreter)
threads = [threading.Thread(target=one) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(failed)
"""
    assert run_program(text).strip() == "[]"


@pytest.mark.only_python("3.12", "3.13")
def test_left_over_at_exit(run_program: RunProgram) -> None:
    """An interpreter that imported the package and was never destroyed ends with the process, by Python's own hand."""
    assert run_program(f"{MAKE}\nrun(create(False), {IN_ANOTHER!r})\nprint('imported')").strip() == "imported"


def test_default_cache_in_a_sub_interpreter(run_program: RunProgram) -> None:
    """It belongs to the main interpreter: what cannot work says so."""
    text = f"""
{MAKE}
interpreter = create(sys.version_info >= (3, 12))
run(interpreter, '''
import selvedge
try:
    selvedge.default_cache().start_thread_soon(print, print)
except selvedge.UnsupportedError as error:
    assert "interpreter" in str(error), error
else:
    raise AssertionError("no error")
''')
interpreters.destroy(interpreter)
print("refused")
"""
    assert run_program(text).strip() == "refused"


# ---- what is public ----


def public_members(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class of ours has beside what it inherits."""
    for name, member in vars(kind).items():
        is_told_about = callable(member) or isinstance(
            member, (property, staticmethod, classmethod, types.GetSetDescriptorType)
        )
        if is_told_about and not name.startswith("_"):
            yield name, member


def public_classes(modules: list[types.ModuleType]) -> Iterator[tuple[str, type]]:
    for module in modules:
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type) and value.__module__.startswith("selvedge"):
                yield f"{module.__name__}.{name}", value


def test_all_is_complete(public_modules: list[types.ModuleType]) -> None:
    """`__all__` names what a module has for others, and all of it is there."""
    for module in public_modules:
        names = list(module.__all__)
        assert len(names) == len(set(names)), module
        assert [name for name in names if not hasattr(module, name)] == [], module
    if selvedge in public_modules:
        public = {
            name
            for name, value in vars(selvedge).items()
            if not name.startswith("_") and not isinstance(value, types.ModuleType)
        }
        assert public == set(selvedge.__all__)


def test_public_names_have_docstrings(public_modules: list[types.ModuleType]) -> None:
    missing = [module.__name__ for module in public_modules if not module.__doc__]
    for module in public_modules:
        values = {name: getattr(module, name) for name in module.__all__}
        missing += [
            f"{module.__name__}.{name}" for name, value in values.items() if callable(value) and not value.__doc__
        ]
    for name, kind in public_classes(public_modules):
        missing += [f"{name}.{member}" for member, value in public_members(kind) if not inspect.getdoc(value)]
    assert missing == []


def test_public_classes_say_where_they_are(public_modules: list[types.ModuleType]) -> None:
    """So that a traceback, a pickle and a page of documentation show a name that one can import."""
    for _, kind in public_classes(public_modules):
        assert getattr(sys.modules[kind.__module__], kind.__qualname__, None) is kind, (
            f"{kind.__module__}.{kind.__qualname__}"
        )

"""register_hook with the functions of a real JVM: workers are its threads, and no GIL is taken for that."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest
from conftest import RunProgram
from test_docs import compile_for_jvm

# A process has one JVM at most, and keeps it: so each test has a process of its own.
BEGIN = """\
import ctypes
import os
import threading
import time
import selvedge

PATIENCE = 60.0
java = ctypes.CDLL(os.environ["JVM_HOOKS"])
java.jvm_create.restype = ctypes.c_void_p
java.jvm_is_attached.argtypes = [ctypes.c_void_p]
java.jvm_daemons.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
FUNCTIONS = java.jvm_start, java.jvm_exit, java.jvm_before, java.jvm_after
vm = java.jvm_create()
assert vm


def counts():
    names = "starts", "exits", "befores", "afters", "with_gil"
    return dict(zip(names, (ctypes.c_int64 * len(names)).in_dll(java, "counts")))


def both(cache):
    # Two jobs at once, and what each tells: its thread, whether that is Java's, and how many such threads Java knows.
    told, together = [], threading.Barrier(2)

    def job():
        together.wait(PATIENCE)
        is_attached = java.jvm_is_attached(vm)
        told.append((threading.get_ident(), is_attached, java.jvm_daemons(vm, b"weaver-") if is_attached else 0))
        together.wait(PATIENCE)

    for each in [cache.submit(job), cache.submit(job)]:
        each.wait(PATIENCE)
    return sorted(told)


cache = selvedge.ThreadCache("weaver", idle_timeout=None)
"""


@pytest.fixture
def jvm_hooks(tmp_path: Path) -> str:
    source = tmp_path / "jvm_hooks.c"
    shutil.copy(Path(__file__).resolve().parent / "hosts" / "jvm_hooks.c", source)
    return str(compile_for_jvm(source, "-isystem", sysconfig.get_path("include")))


@pytest.mark.parametrize("form", ["functions of ctypes", "addresses"])
def test_workers_are_threads_of_the_jvm_from_the_first_job_to_the_end(
    run_program: RunProgram, jvm_hooks: str, form: str
) -> None:
    program = """\
if os.environ["FORM"] == "addresses":
    FUNCTIONS = [ctypes.cast(function, ctypes.c_void_p).value for function in FUNCTIONS]
before = both(cache)
assert [is_attached for _, is_attached, _ in before] == [0, 0]

hook = selvedge.register_hook("jvm", *FUNCTIONS, cache, user=vm)
rounds = [both(cache) for _ in range(50)]
assert all(told == rounds[0] for told in rounds)
assert [told[1:] for told in rounds[0]] == [(1, 2), (1, 2)]
assert [told[0] for told in rounds[0]] == [told[0] for told in before]  # the workers that were there
assert java.jvm_daemons(vm, b"weaver-") == 2  # between jobs, too
assert counts() == {"starts": 2, "exits": 0, "befores": 100, "afters": 100, "with_gil": 0}

others = []
thread = threading.Thread(target=lambda: others.append(java.jvm_is_attached(vm)))
thread.start()
thread.join()
assert others == [0]  # no thread but the workers

hook.unregister(PATIENCE)
assert java.jvm_daemons(vm, b"weaver-") == 0
assert both(cache) == before  # the same workers, and Java's no more
assert counts() == {"starts": 2, "exits": 2, "befores": 100, "afters": 100, "with_gil": 0}
cache.shutdown(PATIENCE)
"""
    assert run_program(BEGIN + program, JVM_HOOKS=jvm_hooks, FORM=form) == ""


def test_idle_workers_attach_at_once_and_end_with_a_runtime_that_keeps_them(
    run_program: RunProgram, jvm_hooks: str
) -> None:
    """`retire` is for a CLR, which lets go of a thread only when that ends; a JVM can be treated so as well."""
    program = """\
both(cache)
hook = selvedge.register_hook("jvm", *FUNCTIONS, cache, user=vm, eager=True, retire=True)
end = time.monotonic() + PATIENCE
while (hook.stats().attached, cache.stats().idle) != (2, 2):  # with no job
    assert time.monotonic() < end
    time.sleep(0.001)
assert [told[1:] for told in both(cache)] == [(1, 2), (1, 2)]
assert (hook.stats().attached, cache.stats().workers) == (2, 2)
hook.unregister(PATIENCE)
assert java.jvm_daemons(vm, b"weaver-") == 0
assert counts() == {"starts": 2, "exits": 2, "befores": 2, "afters": 2, "with_gil": 0}
assert cache.stats().started == 2
assert [told[1:] for told in both(cache)] == [(0, 0), (0, 0)]
assert cache.stats().started == 4  # both are new
cache.shutdown(PATIENCE)
"""
    assert run_program(BEGIN + program, JVM_HOOKS=jvm_hooks) == ""


def test_hooks_stay_when_python_ends(run_program: RunProgram, jvm_hooks: str) -> None:
    program = """\
selvedge.register_hook("jvm", *FUNCTIONS, cache, user=vm)
both(cache)
print(counts()["exits"])
"""
    assert run_program(BEGIN + program, JVM_HOOKS=jvm_hooks) == "0\n"

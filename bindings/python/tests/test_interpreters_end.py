"""How interpreters end: with idle, busy and starting workers at Python's exit, with Ctrl-C, in fork children, under a
host that begins again, and in storms. Each in a process of its own, whose exit status and stderr tell."""

# timeout: 400
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import RunProgram

pytestmark = pytest.mark.only_python("3.12", "3.13")

HEAD = """
import os, sys, signal, threading, time, warnings
from selvedge.interpreters import Channel, InterpreterCache, InterpreterExecutor
warnings.simplefilter("ignore", DeprecationWarning)

def living():
    try:
        import _interpreters as own
    except ImportError:
        import _xxsubinterpreters as own
    return len(own.list_all()) - 1
"""

DEV = ["-X", "dev"]


# ---- exit ----


@pytest.mark.parametrize("options", [[], DEV])
@pytest.mark.parametrize(
    "program",
    [
        pytest.param("cache = InterpreterCache()\n", id="unused"),
        pytest.param("cache = InterpreterCache()\nprint(cache.run('1'))\n", id="idle"),
        pytest.param("InterpreterCache().run('1')\n", id="dropped"),
        pytest.param(
            "cache = InterpreterCache()\nready, go = Channel(), Channel()\n"
            "program = 'ready.send(1); sum(range(2000000)); print(\"done\")'\n"
            "jobs = [cache.submit(program, ready=ready) for _ in range(2)]\n"
            "for _ in jobs: ready.recv()\n",
            id="busy",
        ),
        pytest.param("cache = InterpreterCache()\njob = cache.submit('print(\"done\")')\n", id="starting"),
        pytest.param(
            "cache = InterpreterCache(max_workers=1)\njobs = [cache.submit('print(\"done\")') for _ in range(20)]\n",
            id="queued",
        ),
        pytest.param("InterpreterCache(max_workers=1).submit('print(\"done\")')\n", id="dropped while starting"),
        pytest.param("InterpreterExecutor(1).submit('print(\"done\")')\n", id="executor"),
        pytest.param("cache = InterpreterCache()\ncache.run('1')\nsys.exit(0)\n", id="sys.exit"),
        pytest.param(
            "cache = InterpreterCache()\n"
            "def late():\n    time.sleep(0.1)\n    print(cache.run('\"done\"'))\n"
            "threading.Thread(target=late).start()\n",
            id="a thread asks at the end",
        ),
        pytest.param(
            "cache = InterpreterCache()\n"
            "cache.run('import concurrent.futures as c, string; string.pool = c.ThreadPoolExecutor(2)')\n"
            "cache.run('import string; string.pool.submit(print, 5).result()')\n",
            id="threads of its own",
        ),
        pytest.param(
            "cache = InterpreterCache()\n"
            "cache.run('import _thread, time; _thread.start_new_thread(time.sleep, (0.2,))')\n",
            id="a thread that nobody knows",
        ),
        pytest.param(
            "cache = InterpreterCache()\n"
            "cache.run('import hashlib; hashlib.md5(b\"\", usedforsecurity=False).digest()')\n"
            "cache.run('import asyncio, datetime, decimal, ssl, sqlite3, zoneinfo; asyncio.run(asyncio.sleep(0))')\n",
            id="the standard library",
        ),
    ],
)
def test_exit(run_program: RunProgram, program: str, options: list[str]) -> None:
    said = run_program(HEAD + program, *options)
    times = 2 if "range(2)" in program else 20 if "range(20)" in program else 1
    assert said.count("done") == program.count("done") * times


def test_exit_runs_the_interpreters_own_exit_functions(run_program: RunProgram) -> None:
    program = "InterpreterCache().run('import atexit; atexit.register(print, \"bye\", flush=True)')\n"
    said = run_program(HEAD + "print('begin')\n" + program)
    assert said.split() == ["begin", "bye"]


def test_jobs_after_the_exit_has_begun_are_refused(run_program: RunProgram) -> None:
    said = run_program(
        "import atexit\n"
        "def last():\n    for call in (lambda: cache.run('1'), InterpreterCache):\n"
        "        try: call()\n        except Exception as error: print(type(error).__name__)\n"
        "atexit.register(last)\n" + HEAD + "cache = InterpreterCache()\ncache.run('1')\n"
    )
    assert said.split() == ["ClosedResourceError"] * 2


def run_and_interrupt(tmp_path: Path, program: str, times: int) -> tuple[int, str, str]:
    """Sends SIGINT each time that the program has said "now"."""
    file = tmp_path / "program.py"
    file.write_text(HEAD + program)
    with subprocess.Popen(
        [sys.executable, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        said = ""
        try:
            for _ in range(times):
                line = process.stdout.readline()
                said += line
                assert "now" in line, said + process.stderr.read()
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        except BaseException:
            process.kill()
            raise
    return process.returncode, said + out, err




def test_ctrl_c_in_a_run(tmp_path: Path) -> None:
    status, said, err = run_and_interrupt(
        tmp_path,
        "cache = InterpreterCache()\n"
        "try: cache.run('print(\"now\", flush=True)\\nwhile True: pass')\n"
        "except KeyboardInterrupt: print('interrupted', cache.run('6 * 7'))\n",
        1,
    )
    assert (status, said.split(), err) == (0, ["now", "interrupted", "42"], "")


# Says "now" when `wait` returns. The first: at exit, in the last callback before ours, which is a C function: a
# signal finds no Python code on the main thread from there on, but for the wait for the interpreters.
TELL = """
import atexit
def tell_after(wait):
    def tell():
        wait()
        print("now", flush=True)
    threading.Thread(target=tell, daemon=True).start()

never, told = Channel(), Channel()
cache = InterpreterCache(max_workers=1)
exiting = threading.Lock()
exiting.acquire()
tell_after(exiting.acquire)
"""


@pytest.mark.parametrize("job", ["while True: pass", "never.recv()"])
def test_ctrl_c_while_the_exit_waits_interrupts_the_job(tmp_path: Path, job: str) -> None:
    status, said, err = run_and_interrupt(
        tmp_path,
        TELL + f"job = cache.submit({job!r}, never=never)\nqueued = cache.submit('1')\n"
        "job.add_done_callback(lambda job: print(type(job.exception()).__name__))\n"
        "queued.add_done_callback(lambda job: print(job.cancelled()))\n"
        "while not job.running(): pass\n"
        "atexit.register(exiting.release)\n",
        1,
    )
    assert sorted(said.split()) == ["KeyboardInterrupt", "True", "now"], said + err
    assert status == 0 and "KeyboardInterrupt" in err and "Fatal" not in err


def test_a_second_ctrl_c_ends_the_process(tmp_path: Path) -> None:
    status, said, err = run_and_interrupt(
        tmp_path,
        TELL + "program = 'import time\\ntry:\\n    told.send(0)\\n    while True: pass\\n'\n"
        "program += 'except KeyboardInterrupt: told.send(1)\\ntime.sleep(1000)'\n"
        "job = cache.submit(program, told=told)\n"
        "told.recv()\ntell_after(told.recv)\n"
        "atexit.register(exiting.release)\n",
        2,
    )
    assert status == -signal.SIGINT, said + err
    assert "Fatal" not in err


# ---- fork ----

CHILD = """
def child():
    assert living() == 0, living()
    assert cache.run("6 * 7") == 42
    stats = cache.stats()
    assert (stats.interpreters_made, stats.jobs_accepted) == (1, 1), stats  # it may have ended already

def fork():
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            child()
        except BaseException as error:
            print("child:", repr(error), flush=True)
            os._exit(1)
        if exits: os._exit(7)
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""


@pytest.mark.parametrize("exits", [True, False], ids=["_exit", "exit"])
@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="unused"),
        pytest.param("cache.run('1')", id="idle"),
        pytest.param(
            "gate = Channel(); job = cache.submit('gate.recv()', gate=gate)\nwhile not job.running(): pass", id="busy"
        ),
        pytest.param("job = cache.submit('while True: pass')\nwhile not job.running(): pass", id="busy with its GIL"),
        pytest.param("job = cache.submit('1')", id="starting"),
    ],
)
def test_fork(run_program: RunProgram, before: str, exits: bool) -> None:
    program = HEAD + CHILD + f"exits = {exits}\ncache = InterpreterCache()\n{before}\n"
    program += "for _ in range(4): fork()\n"
    if "gate" in before:
        program += "gate.send('end'); assert job.result() == 'end'\n"
    elif "while True" in before:
        program += "job.interrupt()\n"
    assert run_program(program + "assert cache.run('5') == 5\nprint('well')\n") == "well\n"


def test_forks_while_interpreters_come_and_go(run_program: RunProgram) -> None:
    program = (
        HEAD
        + CHILD
        + "exits = True\ncache = InterpreterCache(idle_timeout=0)\nstop = False\n"
        + "def storm():\n    while not stop: InterpreterCache(idle_timeout=0).run('import json, datetime; 1')\n"
        + "threads = [threading.Thread(target=storm) for _ in range(2)]\nfor t in threads: t.start()\n"
        + "for _ in range(15): fork()\nstop = True\nfor t in threads: t.join()\nprint('well')\n"
    )
    assert run_program(program, timeout=200) == "well\n"


def test_a_job_of_the_parent_in_a_fork_child(run_program: RunProgram) -> None:
    program = HEAD + (
        "cache = InterpreterCache()\ngate = Channel()\njob = cache.submit('gate.recv()', gate=gate)\n"
        "done = cache.submit('3'); done.result()\n"
        "while not job.running(): pass\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    signal.alarm(60)\n"
        "    try: job.result()\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, job.cancel(), job.interrupt(), done.result(), flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\ngate.send(4)\nprint(job.result())\n"
    )
    assert run_program(program).split() == ["ForkedError", "False", "False", "3", "4"]


def test_multiprocessing_by_fork(run_program: RunProgram) -> None:
    program = HEAD + (
        "import multiprocessing\n"
        "cache = InterpreterCache()\n"
        "def work(n): return cache.run('n + 1', n=n)\n"
        "if __name__ == '__main__':\n"
        "    print(cache.run('1'))\n"
        "    with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(work, [1, 2, 3]))\n"
    )
    assert run_program(program).split("\n")[:2] == ["1", "[2, 3, 4]"]


def test_subprocesses(run_program: RunProgram) -> None:
    program = HEAD + (
        "import subprocess\ncache = InterpreterCache()\n"
        "print(cache.run('import subprocess; subprocess.run([\"echo\", \"a\"], capture_output=True).stdout'))\n"
        "print(subprocess.run(['echo', 'b'], capture_output=True).stdout)\n"
        "sleeper = \"import subprocess; p = subprocess.Popen(['sleep', '60']); p.terminate(); p.wait(30)\"\n"
        "print(cache.run(sleeper))\n"
    )
    assert run_program(program).split() == ["b'a\\n'", "b'b\\n'", "-15"]


# ---- a host that ends Python and begins again ----

HOST = r"""
#include <Python.h>
#include <stdio.h>
int main(void) {
  const char *program =
      "from selvedge.interpreters import InterpreterCache, Channel\n"
      "cache = InterpreterCache(max_workers=2)\n"
      "back = Channel()\n"
      "work = 'import hashlib, datetime; hashlib.md5(b\"\", usedforsecurity=False); back.send(n * 2)'\n"
      "jobs = [cache.submit(work, n=n, back=back) for n in range(4)]\n"
      "assert sorted(back.recv() for _ in jobs) == [0, 2, 4, 6]\n"
      "late = cache.submit('sum(range(100000))')\n";
  for (int i = 0; i < 3; i++) {
    Py_InitializeEx(1);
    if (PyRun_SimpleString(program) != 0) return 10 + i;
    if (Py_FinalizeEx() != 0) return 20 + i;
    printf("%d\n", i);
  }
  return 0;
}
"""


def test_a_host_that_begins_again(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler is not None
    library, minor = sysconfig.get_config_var("LIBDIR"), "%d.%d" % sys.version_info[:2]
    (tmp_path / "host.c").write_text(HOST)
    flags = [f"-I{sysconfig.get_path('include')}", f"-L{library}", f"-Wl,-rpath,{library}", f"-lpython{minor}", "-lm"]
    subprocess.run([compiler, str(tmp_path / "host.c"), "-o", str(tmp_path / "host"), *flags], check=True)
    path = os.pathsep.join(each for each in sys.path if each)
    ended = subprocess.run(
        [str(tmp_path / "host")],
        env=os.environ | {"PYTHONHOME": sys.base_prefix, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stdout.split(), ended.stderr) == (0, ["0", "1", "2"], "")


# ---- storms ----


# With 3.12 CPython's debug allocator breaks under interpreters with own GILs that are made on several threads, whoever makes them.
STORM_OPTIONS = pytest.mark.parametrize("options", [[], pytest.param(DEV, marks=pytest.mark.only_python("3.13"))])


@STORM_OPTIONS
def test_a_hundred_interpreters_come_and_go(run_program: RunProgram, options: list[str]) -> None:
    program = HEAD + (
        "made = []\n"
        "def loop(k):\n"
        "    for i in range(34):\n"
        "        cache = InterpreterCache()\n"
        "        assert cache.run('import json, random; sum(range(n))', n=10) == 45\n"
        "        if i % 2: cache.shutdown()\n"
        "        made.append(cache.stats().interpreters_made)\n"
        "threads = [threading.Thread(target=loop, args=(k,)) for k in range(3)]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n"
        "while living(): time.sleep(0.01)\n"
        "print(sum(made))\n"
    )
    assert run_program(program, *options, timeout=180) == "102\n"


LIBRARY = """
def use():
    failed = []
    for name in ("threading json asyncio datetime random decimal sqlite3 hashlib ssl socket select uuid zlib bz2 lzma "
                 "unicodedata xml.etree.ElementTree multiprocessing concurrent.futures subprocess tempfile csv "
                 "statistics array mmap zoneinfo logging selvedge selvedge.sync selvedge.interpreters").split():
        try: __import__(name)
        except ImportError as error: failed.append(name)
    import hashlib, json, pickle
    hashlib.md5(b"x", usedforsecurity=False), json.dumps({"a": 1}, indent=2), pickle.dumps(1, protocol=4)
    return failed
"""


@STORM_OPTIONS
def test_the_standard_library_in_interpreters_that_come_and_go(run_program: RunProgram, options: list[str]) -> None:
    """CPython 3.12.1 and 3.13.0 crash here without what this package does about it."""
    program = (
        HEAD
        + LIBRARY
        + "def loop():\n"
        + "    for i in range(5):\n"
        + "        with InterpreterCache() as cache: assert cache.run(use) == []\n"
        + "if __name__ == '__main__':\n"
        + "    threads = [threading.Thread(target=loop) for _ in range(2)]\n"
        + "    for t in threads: t.start()\n"
        + "    for t in threads: t.join()\n"
        + "    print(living())\n"
    )
    assert run_program(program, *options, timeout=180) == "0\n"


def test_interpreters_that_fail_to_start_leave_nothing(run_program: RunProgram) -> None:
    program = HEAD + (
        "import selvedge\n"
        "cache = InterpreterCache(initializer='1/0')\n"
        "jobs = [cache.submit('1') for _ in range(10)]\n"
        "for job in jobs: assert isinstance(job.exception(), selvedge.HookFailedError), job\n"
        "while cache.stats().workers: time.sleep(0.01)\n"
        "print(living(), cache.stats().interpreters)\n"
    )
    assert run_program(program).split() == ["0", "0"]

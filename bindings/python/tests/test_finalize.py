"""Python ends cleanly while workers live: whatever they are doing, however it ends, as a program or inside a host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import selvedge

PATIENCE = 60.0
# From the last line of the program to the end of its process, on a machine that has more to do.
BOUND = 10.0

HERE = Path(__file__).resolve().parent
INCLUDE = Path(os.environ.get("SELVEDGE_ROOT", HERE.parents[2])) / "include"
LIBRARIES = Path(selvedge.__file__).parent

OWN = "selvedge.ThreadCache(name='own')"
SHARED = "selvedge.default_cache()"

PRELUDE = """
import atexit, os, queue, signal, sys, threading, time
import selvedge

cache = {cache}
together = threading.Barrier(5)

def start(fn, deliver=lambda outcome: None, name=None):
    cache.start_thread_soon(fn, deliver, name)

def four(then):
    'Four workers, which have met main and do what they then do.'
    def job():
        together.wait(60)
        then()
    for _ in range(4):
        start(job)
    together.wait(60)

def four_idle():
    told = queue.SimpleQueue()
    for _ in range(4):
        start(lambda: together.wait(60), told.put)
    together.wait(60)
    for _ in range(4):
        told.get(True, 60).unwrap()

def last():
    'What main does at its end: the clock runs from here.'
    print('last', time.monotonic(), flush=True)
"""


@dataclass
class Ended:
    code: int
    out: list[str]
    err: str
    seconds: float


def run(program: str, *options: str, cache: str = OWN, environment: dict[str, str] | None = None) -> Ended:
    command = [sys.executable, *options, "-c", PRELUDE.format(cache=cache) + program]
    env = os.environ | (environment or {})
    if sys.version_info[:2] == (3, 13) and "dev" in options:
        # CPython 3.13.0 frees the thread states of daemon threads, ours or any, while one of them may be on its way to the
        # GIL, where it reads its own once more. The debug allocator overwrites what is freed: a crash in 1 of 900 runs.
        env["PYTHONMALLOC"] = "pymalloc"
    process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 2, env=env)
    ended = time.monotonic()
    seconds = 0.0
    lines = process.stdout.splitlines()
    for line in lines:
        if line.startswith("last "):
            seconds = ended - float(line.split()[1])
    return Ended(process.returncode, [line for line in lines if not line.startswith("last ")], process.stderr, seconds)


def clean(ended: Ended, code: int = 0, out: list[str] | None = None) -> None:
    assert ended.err == "" and ended.code == code
    if out is not None:
        assert ended.out == out
    assert 0.0 < ended.seconds < BOUND


caches = pytest.mark.parametrize("cache", [OWN, SHARED], ids=["own", "shared"])
modes = pytest.mark.parametrize("options", [(), ("-X", "dev")], ids=["plain", "dev"])

# What workers may be doing at the end.
STATES = {
    "idle": "four_idle()",
    "in Python code": """
def loop():
    while True: pass
four(loop)
""",
    "in Python code that calls": """
def loop():
    while True: sorted(str(i) for i in range(50))
four(loop)
""",
    "in a call without the GIL": "four(lambda: time.sleep(1000))",
    "in short calls without the GIL": """
def loop():
    while True: time.sleep(0.0001)
four(loop)
""",
    "waiting for a lock": "four(threading.Event().wait)",
    "taking and giving back a lock": """
lock = threading.Lock()
def loop():
    while True:
        with lock: pass
four(loop)
""",
    "delivering": """
apart = threading.Barrier(4)
def deliver(_):
    together.wait(60)
    time.sleep(1000)
for _ in range(4): start(lambda: apart.wait(60), deliver)
together.wait(60)
""",
    "delivering and starting the next": """
apart = threading.Barrier(4)
def chain(_):
    start(lambda: None, chain)
def first(_):
    together.wait(60)
    chain(None)
for _ in range(4): start(lambda: apart.wait(60), first)
together.wait(60)
""",
    "printing": """
def loop():
    with open(os.devnull, 'w') as null:
        while True: print('x', file=null, flush=True)
four(loop)
""",
    "importing": """
def loop():
    import importlib, json
    while True: importlib.reload(json)
four(loop)
""",
    "with jobs behind them": """
cache = selvedge.ThreadCache(max_workers=4)
four(lambda: time.sleep(1000))
for _ in range(100): start(print)
""",
    "with the name of a job": """
for _ in range(4): start(lambda: (together.wait(60), time.sleep(1000)), name='job')
together.wait(60)
""",
}


@caches
@modes
@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
def test_workers_at_the_end(state: str, cache: str, options: tuple[str, ...]) -> None:
    clean(run(f"{state}\nlast()", *options, cache=cache), out=[])


# How the program may end, and with which code.
ENDS = {
    "sys.exit": ("last(); sys.exit(3)", 3),
    "SystemExit in a signal handler": (
        """
signal.signal(signal.SIGUSR1, lambda *_: (last(), sys.exit(5)))
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(60)
""",
        5,
    ),
    "os._exit": ("last(); os._exit(6)", 6),
    "SIGTERM": ("last(); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
    "SIGTERM sent by a worker": (
        "last(); start(lambda: os.kill(os.getpid(), signal.SIGTERM)); time.sleep(60)",
        -signal.SIGTERM,
    ),
    "a thread that main waits for": (
        """
def late():
    time.sleep(0.1)
    told = queue.SimpleQueue()
    start(lambda: 7, told.put)
    assert told.get(timeout=60).unwrap() == 7
    last()
threading.Thread(target=late).start()
""",
        0,
    ),
    "daemon threads": (
        """
for _ in range(4): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
last()
""",
        0,
    ),
    "an exit callback that uses the cache": (
        """
def callback():
    told = queue.SimpleQueue()
    start(lambda: 8, told.put)
    assert told.get(timeout=60).unwrap() == 8
atexit.register(callback)
last()
""",
        0,
    ),
    "a shutdown that times out": (
        """
try:
    cache.shutdown(timeout=0.05)
except selvedge.TimedOutError:
    pass
last()
""",
        0,
    ),
}


@pytest.mark.parametrize("state", ["idle", "in Python code", "in a call without the GIL"])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_ways_to_end(end: tuple[str, int], state: str) -> None:
    program, code = end
    clean(run(f"{STATES[state]}\n{program}"), code, [])


@pytest.mark.parametrize("state", ["idle", "in Python code", "in a call without the GIL"])
def test_an_error_in_main_is_all_that_is_told(state: str) -> None:
    ended = run(f"{STATES[state]}\nlast()\nraise KeyError('of main')")
    assert ended.code == 1 and 0.0 < ended.seconds < BOUND
    assert ended.err.startswith("Traceback") and ended.err.endswith("KeyError: 'of main'\n")


@pytest.mark.parametrize("state", ["idle", "in Python code", "in a call without the GIL"])
def test_ctrl_c(state: str) -> None:
    ended = run(f"{STATES[state]}\nlast()\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)")
    assert ended.code == -signal.SIGINT and 0.0 < ended.seconds < BOUND
    assert ended.err.startswith("Traceback") and ended.err.endswith("KeyboardInterrupt\n")


def test_sys_exit_in_a_job_is_its_outcome() -> None:
    program = """
told = queue.SimpleQueue()
start(lambda: sys.exit(9), told.put)
print(repr(told.get(timeout=60)), flush=True)
last()
"""
    clean(run(program), out=["Error(SystemExit(9))"])


# ---- storms ----

STORM = """
def submit():
    while True:
        try:
            start(lambda: None)
        except selvedge.SelvedgeError:
            return
for _ in range(3):
    threading.Thread(target=submit, daemon=True).start()
while cache.stats().jobs_delivered < {jobs}: time.sleep(0.001)
last()
"""


@pytest.mark.parametrize("round", range(4))
def test_while_workers_attach(round: int) -> None:
    """Every job has a new thread, which attaches, works and lets go; in some of them Python ends."""
    clean(run(STORM.format(jobs=100 + 37 * round), cache="selvedge.ThreadCache(idle_timeout=0)"), out=[])


@caches
@modes
def test_while_others_submit(cache: str, options: tuple[str, ...]) -> None:
    clean(run(STORM.format(jobs=200), *options, cache=cache), out=[])


@modes
def test_many_caches(options: tuple[str, ...]) -> None:
    program = """
caches = [selvedge.ThreadCache(name=f'cache {i}') for i in range(20)]
for one in caches:
    one.start_thread_soon(lambda: time.sleep(1000), lambda _: None)
    one.start_thread_soon(lambda: None, lambda _: None)
for one in caches[:10]:
    del one
del caches[:10]
last()
"""
    clean(run(program, *options), out=[])


# ---- what comes after the end has begun ----


def test_an_exit_callback_from_before_us() -> None:
    """It runs after our own. A job is refused, since nobody could tell of it."""
    program = """
def callback():
    try:
        cache.start_thread_soon(lambda: None, lambda _: None)
    except selvedge.ClosedResourceError:
        print('refused', flush=True)
    try:
        cache.submit(lambda: None)
    except selvedge.ClosedResourceError:
        print('refused', flush=True)
    last()
"""
    before = "import atexit\natexit.register(lambda: callback())\n"
    command = [sys.executable, "-c", before + PRELUDE.format(cache=OWN) + "four_idle()" + program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.stderr == "" and ended.returncode == 0
    assert ended.stdout.splitlines()[:2] == ["refused", "refused"]


@modes
def test_finalisers_that_use_the_cache(options: tuple[str, ...]) -> None:
    program = """
class Late:
    def __init__(self): self.cache, self.error = cache, selvedge.ClosedResourceError
    def __del__(self):
        try:
            self.cache.start_thread_soon(int, print)
        except self.error:
            os.write(1, b'refused\\n')
four_idle()
late = Late()
sys.modules['late'] = late
late.circle = late
last()
"""
    clean(run(program, *options), out=["refused"])


# ---- hooks ----


@caches
@pytest.mark.parametrize("state", ["idle", "in Python code", "in a call without the GIL"])
def test_python_hooks(state: str, cache: str) -> None:
    """Idle workers exit them, also when nobody has unregistered; busy ones never come to it."""
    program = f"""
started = []
def on_start():
    started.append(threading.get_ident())
    return len(started)
def on_exit(number):
    os.write(1, b'exit\\n')
hook = selvedge.register_hook(
    'counts', on_start=on_start, on_exit=on_exit, before_job=lambda n: None, after_job=lambda n: None, cache=cache)
{STATES[state]}
assert len(started) == 4
last()
"""
    clean(run(program, cache=cache), out=["exit"] * 4 if state == "idle" else [])


def test_a_python_hook_that_is_running() -> None:
    program = """
def on_start():
    together.wait(60)
    time.sleep(1000)
hook = selvedge.register_hook('sleeps', on_start=on_start, cache=cache)
for _ in range(4): start(lambda: None)
together.wait(60)
last()
"""
    clean(run(program), out=[])


@pytest.mark.parametrize("as_address", [False, True], ids=["ctypes", "address"])
@pytest.mark.parametrize("state", ["idle", "in Python code", "in a call without the GIL"])
def test_native_hooks(native_hooks: Path, state: str, as_address: bool) -> None:
    """They are not Python's, and outlive it on workers that nobody ends."""
    program = f"""
import ctypes
library = ctypes.CDLL({str(native_hooks)!r})
functions = [library.count_start, library.count_exit, library.count_before, library.count_after]
if {as_address}: functions = [ctypes.cast(fn, ctypes.c_void_p).value for fn in functions]
counts = (ctypes.c_int64 * 5).in_dll(library, 'counts')
hook = selvedge.register_hook('native', *functions, cache=cache, user=ctypes.addressof(counts))
{STATES[state]}
ended = 4 if {state == "idle"} else 0
# starts, exits, before and after jobs, with the GIL
assert list(counts) == [4, 0, 4, ended, 0], list(counts)
last()
"""
    clean(run(program), out=[])


# ---- Trio ----


@pytest.mark.parametrize("call", ["time.sleep(1000)", "loop()"])
def test_a_call_that_trio_has_abandoned(call: str) -> None:
    program = f"""
import trio, selvedge.trio
selvedge.trio.install(cache)
def loop():
    while True: pass
def job():
    inside.set()
    {call}
async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: trio.to_thread.run_sync(job, abandon_on_cancel=True))
        await trio.to_thread.run_sync(inside.wait, 60)
        nursery.cancel_scope.cancel()
inside = threading.Event()
trio.run(main)
last()
"""
    clean(run(program), out=[])


# ---- hosts ----


def built(folder: Path, *flags: str | Path) -> Path:
    host = folder / "embed"
    libraries = sysconfig.get_config_var("LIBDIR")
    command: list[str | Path] = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", HERE / "hosts/embed.c", "-o", host]
    command += ["-isystem", sysconfig.get_path("include"), *flags, "-L", libraries, f"-Wl,-rpath,{libraries}"]
    command += [f"-lpython{sysconfig.get_config_var('LDVERSION')}", "-lpthread", "-ldl", "-lm"]
    subprocess.run(command, check=True)
    return host


@pytest.fixture(scope="module")
def plain_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def host_with_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = next(LIBRARIES.glob("libselvedge.so.*"))
    return built(
        tmp_path_factory.mktemp("host"), "-DHOST_HAS_SELVEDGE", "-I", INCLUDE, library, f"-Wl,-rpath,{library.parent}"
    )


def run_host(host: Path, rounds: int, program: str, cache: str) -> Ended:
    environment = os.environ | {
        "PYTHONHOME": sys.base_prefix,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [host, str(rounds), PRELUDE.format(cache=cache) + program]
    process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 2, env=environment)
    return Ended(process.returncode, process.stdout.splitlines(), process.stderr, 0.0)


# With no keyword arguments for functions of _queue: 3.12.1 crashes in them when it has been initialised again.
IN_A_HOST = """
four_idle()
told = queue.SimpleQueue()
start(threading.get_ident, told.put, 'a job')
assert told.get(True, 60).unwrap() != threading.get_ident()
hook = selvedge.register_hook('python', on_start=list, on_exit=list.clear, cache=cache)
four_idle()
"""


@caches
def test_a_host_that_starts_python_again(plain_host: Path, cache: str) -> None:
    ended = run_host(plain_host, 3, IN_A_HOST, cache)
    assert ended.err == "" and ended.code == 0
    assert ended.out == ["round 1", "round 2", "round 3"]


@caches
def test_a_host_that_goes_on_with_the_cache(host_with_library: Path, cache: str) -> None:
    ended = run_host(host_with_library, 3, IN_A_HOST, cache)
    assert ended.err == "" and ended.code == 0
    assert ended.out == ["host: before"] + [line for i in (1, 2, 3) for line in (f"round {i}", "host: after")]


# CPython 3.10 may crash with a thread in Python code while the host lives on after Py_FinalizeEx: take_gil looks at the interpreter that is gone.
IN_PYTHON_CODE = pytest.param("in Python code", marks=pytest.mark.only_python("3.11", "3.12", "3.13"))


@caches
@pytest.mark.parametrize("state", [IN_PYTHON_CODE, "in a call without the GIL", "delivering and starting the next"])
def test_a_host_that_ends_python_under_busy_workers(host_with_library: Path, state: str, cache: str) -> None:
    ended = run_host(host_with_library, 1, STATES[state], cache)
    assert ended.err == "" and ended.code == 0
    assert ended.out == ["host: before", "round 1", "host: after"]


def test_the_hosts_library_is_the_one_in_use(host_with_library: Path) -> None:
    program = """
told = queue.SimpleQueue()
with open('/proc/self/maps') as maps:
    assert len({line.split()[-1] for line in maps if 'libselvedge.so' in line}) == 1
assert selvedge.default_cache().stats().jobs_delivered >= 20
"""
    ended = run_host(host_with_library, 1, program, OWN)
    assert ended.err == "" and ended.code == 0

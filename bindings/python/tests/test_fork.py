"""os.fork and multiprocessing: in a child the caches work anew, wherever the fork came from and whatever the other
threads were doing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE = 120.0

PRELUDE = """
import multiprocessing, os, queue, signal, sys, threading, time, traceback, warnings
import selvedge

warnings.simplefilter('ignore', DeprecationWarning)  # that a process with threads forks
cache = selvedge.ThreadCache(name='before')
main_pid = os.getpid()

def works(cache, jobs=3):
    'As a cache should: one worker for jobs one after the other, each delivered on it.'
    before = cache.stats()
    told = queue.SimpleQueue()
    for i in range(jobs):
        cache.start_thread_soon(lambda: (i, threading.current_thread().name), told.put, 'a job')
        assert told.get(timeout=30).unwrap() == (i, 'a job')
    after = cache.stats()
    assert after.jobs_delivered == before.jobs_delivered + jobs, (before, after)
    return after

def busy(cache, count=3):
    'So many workers that sleep in jobs.'
    together = threading.Barrier(count + 1)
    for _ in range(count):
        cache.start_thread_soon(lambda: (together.wait(30), time.sleep(1000)), lambda _: None)
    together.wait(30)

def forked(fn, ends=os._exit):
    'Calls fn in a child, and gives its process.'
    sys.stdout.flush()
    pid = os.fork()
    if pid != 0:
        return pid
    code = 1
    try:
        fn()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    ends(code)

def code_of(pid, patience=60):
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 'hangs'

def in_child(fn, ends=os._exit):
    code = code_of(forked(fn, ends))
    assert code == 0, code

def fresh(cache):
    'As the cache of a child is: with nothing of the parent.'
    stats = cache.stats()
    assert (stats.workers, stats.jobs_accepted) == (0, 0), stats
    assert works(cache).started == 1

def result_of(fn):
    'On a worker.'
    told = queue.SimpleQueue()
    cache.start_thread_soon(fn, told.put)
    return told.get(timeout=90).unwrap()
"""


def run(program: str, tmp_path: Path, *options: str) -> str:
    # From a file: multiprocessing's children may look for it.
    file = tmp_path / "program.py"
    file.write_text(PRELUDE + program)
    ended = subprocess.run(
        [sys.executable, *options, str(file)], capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path
    )
    assert ended.stderr == ""
    assert ended.returncode == 0
    return ended.stdout


ENDS = pytest.mark.parametrize("ends", ["os._exit", "sys.exit"])


@ENDS
@pytest.mark.parametrize(
    "before", ["pass", "works(cache)", "busy(cache)", "busy(cache); works(cache); busy(selvedge.default_cache())"]
)
def test_in_main(before: str, ends: str, tmp_path: Path) -> None:
    program = f"""
{before}
def child():
    fresh(cache)
    works(selvedge.default_cache())
    works(selvedge.ThreadCache())
    busy(cache)
    in_child(lambda: fresh(cache))  # and in a child's child
in_child(child, {ends})
works(cache)
"""
    run(program, tmp_path)


def test_the_threads_of_the_parent_are_not_there(tmp_path: Path) -> None:
    program = """
busy(cache)
workers = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
assert len(workers) == 3
def child():
    assert threading.enumerate() == [threading.main_thread()]
    for worker in workers:
        assert not worker.is_alive()
        worker.join(30)
    fresh(cache)
in_child(child, sys.exit)
assert all(worker.is_alive() for worker in workers)
"""
    run(program, tmp_path)


def test_in_a_job(tmp_path: Path) -> None:
    program = """
busy(cache, 2)
def child():
    works(cache)
    works(selvedge.default_cache())
    works(selvedge.ThreadCache())
    assert threading.current_thread() is threading.main_thread()
def job():
    in_child(child)
    return 'and the job goes on'
assert result_of(job) == 'and the job goes on'
works(cache)
"""
    run(program, tmp_path)


def test_a_job_whose_child_returns_from_it(tmp_path: Path) -> None:
    """The child's only thread is a worker that belongs to nobody: it ends, and the process with it. The job is
    delivered to the parent alone."""
    program = """
delivered = []
def job():
    pid = os.fork()
    return pid
told = queue.SimpleQueue()
def deliver(outcome):
    os.write(1, b'delivered\\n')
    told.put(outcome)
cache.start_thread_soon(job, deliver)
pid = told.get(timeout=30).unwrap()
assert code_of(pid) == 0
works(cache)
"""
    assert run(program, tmp_path) == "delivered\n"


def test_in_deliver(tmp_path: Path) -> None:
    program = """
told = queue.SimpleQueue()
def deliver(outcome):
    told.put(code_of(forked(lambda: works(cache))))
cache.start_thread_soon(lambda: None, deliver)
assert told.get(timeout=90) == 0
works(cache)
"""
    run(program, tmp_path)


def test_in_a_hook(tmp_path: Path) -> None:
    program = """
codes = []
def before_job(_):
    if os.getpid() == main_pid and not codes:
        codes.append(None)
        codes.append(code_of(forked(lambda: works(cache))))
with selvedge.register_hook('forks', before_job=before_job, cache=cache):
    works(cache)
assert codes == [None, 0], codes
"""
    run(program, tmp_path)


ENDING = "selvedge.ThreadCache(idle_timeout=0)"


@pytest.mark.parametrize(
    ("of", "rounds", "first"),
    [
        ("cache", 60, ""),
        ("selvedge.default_cache()", 60, ""),
        (ENDING, 400, ""),  # up to 3.11 such a child hangs at one fork in a thousand, if states are made at any time
        (ENDING, 60, "import tracemalloc; tracemalloc.start()"),  # which takes the GIL wherever memory is taken
    ],
)
def test_while_others_submit(of: str, rounds: int, first: str, tmp_path: Path) -> None:
    """At any instruction of those who submit, of workers that start, run, deliver, wait and end."""
    program = f"""
{first}
cache = {of}
stop = threading.Event()
def submit():
    while not stop.is_set():
        told = queue.SimpleQueue()
        for _ in range(5):
            cache.start_thread_soon(lambda: 1, told.put)
        for _ in range(5):
            assert told.get(timeout=60).unwrap() == 1
submitters = [threading.Thread(target=submit, daemon=True) for _ in range(4)]
for thread in submitters: thread.start()
for round in range({rounds}):
    in_child(lambda: works(cache))
stop.set()
for thread in submitters: thread.join(60)
works(cache)
"""
    run(program, tmp_path)


def test_a_child_that_ends_while_its_workers_attach(tmp_path: Path) -> None:
    """Its end is as that of a process that was never forked: see test_finalize.py."""
    program = """
cache = selvedge.ThreadCache(idle_timeout=0)
works(cache)
def child():
    def submit():
        while True:
            try:
                cache.start_thread_soon(int, lambda _: None)
            except selvedge.SelvedgeError:
                return
    for _ in range(3): threading.Thread(target=submit, daemon=True).start()
    while cache.stats().jobs_delivered < 50: time.sleep(0.001)
for round in range(12):
    in_child(child, sys.exit)
works(cache)
"""
    run(program, tmp_path)


def test_from_several_threads_at_once(tmp_path: Path) -> None:
    program = """
failed = []
def fork_and_work():
    for _ in range(15):
        code = code_of(forked(lambda: works(cache)))
        if code != 0: failed.append(code)
threads = [threading.Thread(target=fork_and_work) for _ in range(3)]
for thread in threads: thread.start()
jobs = [result_of(lambda: code_of(forked(lambda: works(cache)))) for _ in range(15)]
for thread in threads: thread.join(90)
assert failed == [] and jobs == [0] * 15, (failed, jobs)
"""
    run(program, tmp_path)


# ---- multiprocessing ----


@pytest.mark.parametrize("where", ["main", "job"])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(method: str, where: str, tmp_path: Path) -> None:
    program = f"""
def child(code):
    works(cache)
    works(selvedge.default_cache())
    sys.exit(code)
def process():
    made = multiprocessing.get_context({method!r}).Process(target=child, args=(7,))
    made.start()
    made.join(60)
    return made.exitcode
if __name__ == '__main__':
    busy(cache)
    works(cache)
    code = process() if {where!r} == 'main' else result_of(process)
    assert code == 7, code
    works(cache)
"""
    run(program, tmp_path)


@pytest.mark.parametrize("when", ["in a job", "in a delivery"])
def test_processes_started_in_a_job_hear_signals(when: str, tmp_path: Path) -> None:
    """What a worker's own signal mask is, its children would inherit."""
    program = f"""
import subprocess
def start():
    process = subprocess.Popen(['sleep', '1000'])
    try:
        process.terminate()
        return process.wait(30)
    finally:
        process.kill()
told = queue.SimpleQueue()
if {when == "in a job"}: cache.start_thread_soon(start, lambda outcome: told.put(outcome.unwrap()))
else: cache.start_thread_soon(int, lambda outcome: told.put(start()))
assert told.get(timeout=60) == -signal.SIGTERM
"""
    run(program, tmp_path)


def test_a_pool_of_processes(tmp_path: Path) -> None:
    program = """
def child(number):
    works(cache)
    return number * number
if __name__ == '__main__':
    busy(cache)
    with multiprocessing.get_context('fork').Pool(2) as pool:
        assert pool.map(child, range(6)) == [0, 1, 4, 9, 16, 25]
    works(cache)
"""
    run(program, tmp_path)


# ---- what belongs to the parent ----


def test_jobs_of_the_parent_stay_there(tmp_path: Path) -> None:
    program = """
gate, inside = threading.Event(), threading.Event()
told = queue.SimpleQueue()
running = cache.submit(lambda: (inside.set(), gate.wait(60))[1], told.put)
full = selvedge.ThreadCache(max_workers=1)
full.submit(lambda: gate.wait(60))
queued = full.submit(lambda: 5, told.put)
inside.wait(30)
def child():
    for job in running, queued:
        for call in job.cancel, job.wait:
            try:
                call()
            except selvedge.ForkedError:
                pass
            else:
                raise AssertionError(call)
    gate.set()
    fresh(cache)
    fresh(full)
    assert told.empty()
in_child(child)
gate.set()
assert {told.get(timeout=30).unwrap(), told.get(timeout=30).unwrap()} == {True, 5}
"""
    run(program, tmp_path)


@ENDS
def test_python_hooks_are_kept(ends: str, tmp_path: Path) -> None:
    program = f"""
started = []
hook = selvedge.register_hook('kept', on_start=lambda: started.append(os.getpid()), cache=cache)
works(cache)
assert started == [main_pid]
def child():
    fresh(cache)
    assert started == [main_pid, os.getpid()], started
    hook.unregister(timeout=30)
    works(cache)
in_child(child, {ends})
works(cache)
assert started == [main_pid]
"""
    run(program, tmp_path)


def test_native_hooks_are_not(tmp_path: Path) -> None:
    """Another runtime is not there in a child, and nothing of it is called."""
    program = """
import ctypes
from ctypes import c_int32, c_void_p
calls = []
kind = ctypes.CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p)
on_start = kind(lambda user, worker, slot: calls.append(os.getpid()) or 0)
hook = selvedge.register_hook('native', on_start=on_start, cache=cache)
works(cache)
assert calls == [main_pid]
def child():
    fresh(cache)
    hook.unregister(timeout=30)
    works(cache)
    assert calls == [main_pid]
in_child(child)
"""
    run(program, tmp_path)


# ---- executors and Trio ----


@ENDS
def test_executors(ends: str, tmp_path: Path) -> None:
    program = f"""
gate = threading.Event()
executor = selvedge.Executor(max_workers=2)
assert executor.submit(pow, 2, 5).result(30) == 32
running = executor.submit(gate.wait, 60)
def child():
    assert executor.submit(pow, 2, 6).result(30) == 64
    assert list(executor.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
    with selvedge.Executor(max_workers=1, cache=cache) as other:
        assert other.submit(pow, 2, 7).result(30) == 128
    executor.shutdown()
in_child(child, {ends})
gate.set()
assert running.result(30) is True
executor.shutdown()
"""
    run(program, tmp_path)


TRIO = """
import trio, selvedge.trio
async def in_thread():
    return await trio.to_thread.run_sync(lambda: 7)
def guest(start_thread_soon=None):
    calls, results = queue.SimpleQueue(), []
    async def main():
        await trio.sleep(0.01)
        return await in_thread()
    selvedge.trio.start_guest_run(
        main, run_sync_soon_threadsafe=calls.put, done_callback=results.append, start_thread_soon=start_thread_soon,
        host_uses_signal_set_wakeup_fd=True)
    while not results:
        calls.get(timeout=30)()
    return results[0].unwrap()
"""


@ENDS
def test_trio_stays_installed(ends: str, tmp_path: Path) -> None:
    program = f"""{TRIO}
selvedge.trio.install(cache)
assert trio.run(in_thread) == 7
def child():
    before = cache.stats().jobs_accepted
    assert before == 0 and trio.run(in_thread) == 7 and cache.stats().jobs_accepted == 1
    assert guest() == 7 and guest(selvedge.ThreadCache().start_thread_soon) == 7
    selvedge.trio.uninstall()
    before = cache.stats().jobs_accepted
    assert trio.run(in_thread) == 7 and cache.stats().jobs_accepted == before
in_child(child, {ends})
assert trio.run(in_thread) == 7 and guest() == 7
"""
    run(program, tmp_path)


def test_a_fork_in_a_call_of_trios(tmp_path: Path) -> None:
    program = f"""{TRIO}
selvedge.trio.install(cache)
def job():
    in_child(lambda: works(cache))
    return 'goes on'
assert trio.run(trio.to_thread.run_sync, job) == 'goes on'
"""
    run(program, tmp_path)


def test_a_fork_while_trio_is_installed_and_taken_away(tmp_path: Path) -> None:
    program = f"""{TRIO}
stop = threading.Event()
def switch():
    while not stop.is_set():
        with selvedge.trio.install(cache):
            pass
switcher = threading.Thread(target=switch)
switcher.start()
def child():
    try:
        selvedge.trio.uninstall()
    except RuntimeError:
        pass
    with selvedge.trio.install():
        assert trio.run(in_thread) == 7
for _ in range(60):
    in_child(child)
stop.set()
switcher.join(30)
"""
    run(program, tmp_path)


def test_a_fork_under_dev_mode(tmp_path: Path) -> None:
    program = """
busy(cache)
in_child(lambda: fresh(cache), sys.exit)
assert result_of(lambda: code_of(forked(lambda: works(cache)))) == 0
"""
    run(program, tmp_path, "-X", "dev", "-W", "ignore::DeprecationWarning")


def test_nothing_of_it_is_left_behind(tmp_path: Path) -> None:
    """No descriptor more in the hundredth child than in the first."""
    program = """
def count(): return len(os.listdir('/proc/self/fd'))
works(cache)
read, write = os.pipe()
def nested(depth):
    works(cache)
    if depth: in_child(lambda: nested(depth - 1))
    else: os.write(write, b'%d' % count())
before = count()
in_child(lambda: nested(10))
assert int(os.read(read, 20)) == before
"""
    run(program, tmp_path)


def test_a_barrier(tmp_path: Path) -> None:
    """Its parties wait in the parent, and one of them may have held its mutex: the child has a whole one, of its own."""
    program = """
from selvedge import sync
sys.setswitchinterval(1e-6)
held = sync.Barrier(2)
waits = threading.Thread(target=held.wait, daemon=True)
waits.start()
while held.n_waiting == 0: time.sleep(0.001)
busy = sync.Barrier(10 ** 6)
def come_and_go():
    while True:
        try: busy.wait(0)
        except sync.BrokenBarrierError: busy.reset()
threads = [threading.Thread(target=come_and_go, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
def child():
    assert (held.n_waiting, held.broken) == (0, False)
    both = [threading.Thread(target=held.wait) for _ in range(2)]
    for thread in both: thread.start()
    for thread in both: thread.join(30)
    busy.reset()
    assert not busy.broken
for _ in range(40): in_child(child)
held.wait()
waits.join(30)
assert not waits.is_alive()
"""
    run(program, tmp_path)

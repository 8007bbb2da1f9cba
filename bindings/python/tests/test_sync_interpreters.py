"""`selvedge.sync` in sub-interpreters with a GIL of their own, and primitives that several interpreters share."""

from __future__ import annotations

import pytest
from conftest import RunProgram

PRELUDE = """
import sys, threading
try:
    import _interpreters as native
    def create_bare(): return native.create("isolated")
    def execute(interp, program, shared=None):
        error = native.exec(interp, program, shared or {})
        if error: raise RuntimeError(error.formatted)
except ImportError:
    import _xxsubinterpreters as native
    def create_bare(): return native.create(isolated=True)
    def execute(interp, program, shared=None):
        native.run_string(interp, program, shared or {})
from selvedge import sync
def create():
    # Up to 3.12 the thread that imports threading is the one that must end the interpreter.
    interp = create_bare()
    execute(interp, "import threading")
    return interp
"""


pytestmark = pytest.mark.only_python("3.12", "3.13")


def test_everything_works_inside(run_program: RunProgram) -> None:
    program = '''
interp = create()
execute(interp, """
import threading
import selvedge
from selvedge import sync
lock = sync.Lock(name="inside")
with lock, sync.RLock(), sync.Semaphore(), sync.CapacityLimiter(1):
    has = threading.Event()
    waiter = threading.Thread(target=lambda: (has.set(), lock.acquire(), lock.release()))
    waiter.start(); has.wait()
    while not lock.stats()["waiting"]: pass
waiter.join()
threading.Thread(target=lock.acquire).start()
while not lock.broken: pass
try: lock.acquire()
except selvedge.BrokenResourceError as error: assert "'inside'" in str(error)
channel = sync.Channel()
reader = threading.Thread(target=lambda: [print(item) for item in channel])
reader.start()
channel.send({"in": "side"}); channel.close(); reader.join()
barrier = sync.Barrier(2)
other = threading.Thread(target=barrier.wait); other.start(); barrier.wait(); other.join()
condition = sync.Condition()
with condition: assert condition.wait(0.01) is False
""")
native.destroy(interp)
print("ends")
'''
    assert run_program(PRELUDE + program, timeout=100) == "{'in': 'side'}\nends\n"


def test_primitives_are_shared_by_their_id(run_program: RunProgram) -> None:
    program = '''
lock, channel, event = sync.Lock(name="shared"), sync.Channel(), sync.Event()
condition = sync.Condition(sync.Lock(name="of all"))
limiter = sync.CapacityLimiter(1)
interp = create()
def inside():
    execute(interp, f"""
from selvedge import sync, DeadlockError
lock, channel = sync.Lock.open({lock.id}), sync.Channel.open({channel.id})
condition = sync.Condition.open({condition.id})
event, limiter = sync.Event.open({event.id}), sync.CapacityLimiter.open({limiter.id})
assert lock.name == "shared" and condition.lock.name == "of all"
try: sync.RLock.open({lock.id})
except TypeError: pass
assert not limiter.acquire(False) and not limiter.acquire(False, on_behalf_of="x")
with condition:
    event.set()
    assert condition.wait(), "until the other interpreter notifies"
channel.send("waiting")
with lock:
    channel.send("has the lock")
""")
limiter.acquire()
with lock:
    thread = threading.Thread(target=inside); thread.start()
    event.wait()
    with condition: condition.notify_all()
    print(channel.recv())
    while not lock.stats()["waiting"]: pass
    assert len(channel) == 0
print(channel.recv())
thread.join()
native.destroy(interp)
with lock: print("still there")
'''
    assert run_program(PRELUDE + program, timeout=100) == "waiting\nhas the lock\nstill there\n"


def test_the_last_object_ends_the_primitive(run_program: RunProgram) -> None:
    program = """
import selvedge
interp = create()
event = sync.Event()
execute(interp, f"from selvedge import sync; kept = sync.Event.open({event.id})")
number = event.id
del event
sync.Event.open(number).set()
execute(interp, "assert kept.is_set(); del kept")
try: sync.Event.open(number)
except selvedge.ClosedResourceError: print("gone")
native.destroy(interp)
"""
    assert run_program(PRELUDE + program, timeout=100) == "gone\n"


def test_rings_through_two_interpreters(run_program: RunProgram) -> None:
    program = '''
import selvedge
a, b, has = sync.Lock(name="a"), sync.Lock(name="b"), sync.Event()
interp = create()
def inside():
    execute(interp, f"""
import threading
from selvedge import sync
threading.current_thread().name = "inside"
a, b, has = sync.Lock.open({a.id}), sync.Lock.open({b.id}), sync.Event.open({has.id})
with b:
    has.set()
    with a: pass
""")
thread = threading.Thread(target=inside)
with a:
    thread.start()
    has.wait()
    while not a.stats()["waiting"]: pass
    try: b.acquire()
    except selvedge.DeadlockError as error: print(error.ring[:2], error.ring[3])
thread.join()
native.destroy(interp)
'''
    assert run_program(PRELUDE + program, timeout=100) == "('MainThread', 'b') a\n"


def test_an_interpreter_that_ends_with_a_lock_in_hand(run_program: RunProgram) -> None:
    """Its thread's task has not ended, and nobody can ask it to release: this thread is the owner still."""
    program = """
interp = create()
lock = sync.Lock()
execute(interp, f"from selvedge import sync; lock = sync.Lock.open({lock.id}); lock.acquire()")
assert lock.owner == sync.current_task(), "the same thread"
native.destroy(interp)
lock.release()
print("released")
"""
    assert run_program(PRELUDE + program, timeout=100) == "released\n"


@pytest.mark.parametrize("is_granted", [False, True])
def test_an_operation_that_is_in_line_when_its_interpreter_ends(run_program: RunProgram, is_granted: bool) -> None:
    """Its loop ends with the interpreter, so the lock goes to the next."""
    release = "lock.release()" if is_granted else ""
    again = "" if is_granted else "lock.release()"
    program = f'''
interp = create()
lock = sync.Lock()
lock.acquire()
execute(interp, f"""
from selvedge import _loop, _sync
lock, loop, task = _sync.Lock.open({{lock.id}}), _loop.HostLoop(), _sync.task_new("inside")
op = lock.acquire_async(task, loop.address, lambda status, value: None)
assert op is not None
""")
{release}
native.destroy(interp)
{again}
assert lock.acquire(timeout=30)
lock.release()
assert lock.stats()["waiting"] == 0
print("ends")
'''
    assert run_program(PRELUDE + program, timeout=100) == "ends\n"

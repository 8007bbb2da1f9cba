"""The ``_async`` forms of `_sync`, by their contract: what the awaited faces are made of."""

from __future__ import annotations

import gc
import select
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest

import selvedge
from selvedge import _loop, _sync


class Loop:
    """A host loop of this thread, and what its operations were told."""

    def __init__(self) -> None:
        self.host = _loop.HostLoop(name="test")
        self.address = self.host.address
        self.told: list[tuple[Any, int, Any]] = []

    def done(self, key: Any) -> Any:
        return lambda status, value: self.told.append((key, status, value))

    def run(self, number: int = 1) -> list[tuple[Any, int, Any]]:
        """Drains until so many have been told."""
        while len(self.told) < number:
            assert select.select([self.host.fd], [], [], 30)[0]
            self.host.drain()
        told, self.told = self.told, []
        assert len(told) == number
        return told


@pytest.fixture
def loop() -> Any:
    made = Loop()
    yield made
    made.host.close()


@pytest.fixture
def task() -> Any:
    made = _sync.task_new("a task")
    yield made
    _sync.task_exit(made)


def test_lock_at_once_and_later(loop: Loop, task: int) -> None:
    lock = _sync.Lock(name="lock")
    assert lock.acquire_async(task, loop.address, loop.done("first")) is None
    assert lock.owner == task
    with pytest.raises(selvedge.DeadlockError):
        lock.acquire_async(task, loop.address, loop.done("again"))
    with _other() as second:
        op = lock.acquire_async(second, loop.address, loop.done("second"))
        assert op is not None and not op.told and "pending" in repr(op)
        lock.release(task=task)
        assert loop.told == [], "never inside the call that completes it"
        assert lock.owner == second
        assert loop.run() == [("second", 0, None)]
        assert op.told and not op.cancel() and not op.abandon()
        lock.release(task=second)


class _other:
    def __enter__(self) -> int:
        self.task = _sync.task_new("another task")
        return self.task

    def __exit__(self, *error: object) -> None:
        _sync.task_exit(self.task)


def test_cancel_is_told_and_abandon_is_not(loop: Loop, task: int) -> None:
    lock = _sync.Lock()
    with lock:
        first = lock.acquire_async(task, loop.address, loop.done("cancelled"))
        assert first is not None and first.cancel() and not first.told
        [(key, status, value)] = loop.run()
        assert (key, status) == ("cancelled", _sync.E_CANCELLED)
        assert isinstance(value, selvedge.CancelledError)
        second = lock.acquire_async(task, loop.address, loop.done("abandoned"))
        assert second is not None and second.abandon() and second.told
        assert not second.abandon() and not second.cancel()
    assert loop.host.drain() == 0 and loop.told == []
    assert not lock.locked()


def test_a_grant_that_is_abandoned_goes_to_the_next(loop: Loop, task: int) -> None:
    lock = _sync.Lock()
    with _other() as second:
        with lock:
            op = lock.acquire_async(task, loop.address, loop.done("first"))
            lock.acquire_async(second, loop.address, loop.done("second"))
        assert lock.owner == task and op is not None
        assert not op.cancel(), "it has been granted"
        assert op.abandon(), "and not been told"
        assert lock.owner == second
        assert loop.run() == [("second", 0, None)]
        lock.release(task=second)


def test_errors_are_exceptions_ready_to_raise(loop: Loop, task: int) -> None:
    lock = _sync.Lock(name="ledger")
    owner = _sync.task_new("careless")
    lock.acquire(task=owner)
    lock.acquire_async(task, loop.address, loop.done("waits"))
    _sync.task_exit(owner)
    [(_, status, error)] = loop.run()
    assert status == selvedge.BrokenResourceError.status
    with pytest.raises(selvedge.BrokenResourceError, match="'ledger' is broken: its owner, task 'careless'"):
        raise error
    with pytest.raises(selvedge.BrokenResourceError):
        lock.acquire_async(task, loop.address, loop.done("late"))
    robust = _sync.Lock(robust=True)
    owner = _sync.task_new()
    robust.acquire(task=owner)
    robust.acquire_async(task, loop.address, loop.done("robust"))
    assert _sync.task_exit(owner).locks_handed_on == 1
    assert loop.run() == [("robust", _sync.OWNER_DIED, None)] and robust.inconsistent
    robust.make_consistent(task=task)
    robust.release(task=task)


def test_ring_of_operations(loop: Loop, task: int) -> None:
    a, b = _sync.Lock(name="a"), _sync.Lock(name="b")
    with _other() as second:
        a.acquire(task=task), b.acquire(task=second)
        op = b.acquire_async(task, loop.address, loop.done("waits"))
        with pytest.raises(selvedge.DeadlockError) as caught:
            a.acquire_async(second, loop.address, loop.done("refused"))
        assert caught.value.ring == ("another task", "a", "a task", "b")
        assert op is not None and op.abandon()
        a.release(task=task), b.release(task=second)


def test_threads_tasks_and_operations_in_one_line(loop: Loop, task: int) -> None:
    lock = _sync.Lock(strict_fifo=True)
    order: list[str] = []

    def thread() -> None:
        with lock:
            order.append("thread")

    waiter = threading.Thread(target=thread)
    with _other() as second:
        with lock:
            lock.acquire_async(
                task, loop.address, lambda status, value: (order.append("first"), lock.release(task=task))
            )
            waiter.start()
            while lock.stats()["waiting"] != 2:
                pass
            lock.acquire_async(
                second, loop.address, lambda status, value: (order.append("second"), lock.release(task=second))
            )
        while len(order) < 3:
            assert select.select([loop.host.fd], [], [], 30)[0]
            loop.host.drain()
        waiter.join(30)
    assert order == ["first", "thread", "second"]


def test_condition(loop: Loop, task: int) -> None:
    lock = _sync.Lock()
    condition = _sync.Condition(lock)
    with pytest.raises(selvedge.NotOwnerError):
        condition.wait_async(task, loop.address, loop.done("not held"))
    lock.acquire(task=task)
    op = condition.wait_async(task, loop.address, loop.done("waits"))
    assert not lock.locked()
    with condition:
        condition.notify()
        assert loop.host.drain() == 0, "it needs the lock"
    assert loop.run() == [("waits", 0, None)] and op.holds_lock and lock.owner == task
    op = condition.wait_async(task, loop.address, loop.done("cancelled"))
    with condition:
        assert op.cancel()
        assert loop.host.drain() == 0, "it has its lock back first"
    [(_, status, _)] = loop.run()
    assert status == _sync.E_CANCELLED and op.holds_lock and lock.owner == task
    lock.release(task=task)


def test_the_others(loop: Loop, task: int) -> None:
    semaphore, event, lot = _sync.Semaphore(1), _sync.Event(), _sync.ParkingLot()
    assert semaphore.acquire_async(task, loop.address, loop.done("at once")) is None
    assert semaphore.acquire_async(task, loop.address, loop.done("three"), 3) is not None
    semaphore.release(3)
    assert loop.run() == [("three", 0, None)]
    assert event.wait_async(task, loop.address, loop.done("event")) is not None
    event.set()
    event.clear()
    assert loop.run() == [("event", 0, None)]
    event.set()
    assert event.wait_async(task, loop.address, loop.done("set")) is None
    lot.park_async(task, loop.address, loop.done("lot"))
    lot.unpark()
    assert loop.run() == [("lot", 0, None)]
    limiter, key = _sync.CapacityLimiter(1), object()
    assert limiter.acquire_async(task, loop.address, loop.done("token")) is None
    with pytest.raises(selvedge.DeadlockError):
        limiter.acquire_async(task, loop.address, loop.done("who waits for itself"), on_behalf_of=key)
    with _other() as second:
        assert limiter.acquire_async(second, loop.address, loop.done("for another"), on_behalf_of=key) is not None
        assert limiter.borrowers == []
        with pytest.raises(selvedge.DuplicateError):
            limiter.acquire_async(second, loop.address, loop.done("twice"), on_behalf_of=key)
        check_limiter(limiter, key, loop, task)


def check_limiter(limiter: Any, key: object, loop: Loop, task: int) -> None:
    limiter.release(task=task)
    assert loop.run() == [("for another", 0, None)]
    assert limiter.borrowers == [key]
    op = limiter.acquire_async(task, loop.address, loop.done("cancelled"), on_behalf_of="second")
    assert op is not None and op.cancel()
    loop.run()
    op = limiter.acquire_async(task, loop.address, loop.done("abandoned"), on_behalf_of="second")
    assert op is not None and op.abandon()
    limiter.release(on_behalf_of=key)
    assert limiter.acquire_async(task, loop.address, loop.done("at once"), on_behalf_of="second") is None
    assert limiter.borrowers == ["second"]


def test_channel(loop: Loop, task: int) -> None:
    channel = _sync.Channel(1)
    channel.recv_bytes_async(task, loop.address, loop.done("received"))
    assert channel.send_bytes_async(task, loop.address, loop.done("at once"), b"one") is None
    assert loop.run() == [("received", 0, b"one")]
    channel.send_bytes(b"two")
    data = bytearray(b"three")
    assert channel.send_bytes_async(task, loop.address, loop.done("sent"), data) is not None
    data[:] = b"later"
    channel.recv_bytes_async(task, loop.address, loop.done("second"))
    assert sorted(loop.run(2), key=str) == [("second", 0, b"two"), ("sent", 0, None)]
    assert channel.recv_bytes() == b"three"
    op = channel.recv_bytes_async(task, loop.address, loop.done("closed"))
    channel.close()
    [(_, status, error)] = loop.run()
    assert status == _sync.E_CLOSED and isinstance(error, selvedge.ClosedResourceError) and op.told


def test_closed_loop(loop: Loop, task: int) -> None:
    """Who completes, tells; what was granted goes to the next."""
    lock = _sync.Lock()
    other = _loop.HostLoop()
    with lock:
        lock.acquire_async(task, other.address, loop.done("waits"))
        other.close()
        assert loop.told == []
    [(_, status, error)] = loop.told
    loop.told = []
    assert status == _sync.E_CLOSED and isinstance(error, selvedge.ClosedResourceError)
    assert not lock.locked()
    with pytest.raises(selvedge.ClosedResourceError):
        lock.acquire_async(task, other.address, loop.done("late"))


def test_an_operation_keeps_what_it_needs_and_no_more(loop: Loop, task: int) -> None:
    class Done:
        def __call__(self, status: int, value: object) -> None:
            loop.told.append((None, status, value))

    done = Done()
    event = _sync.Event()
    gone = weakref.ref(event), weakref.ref(done)
    op = event.wait_async(task, loop.address, done)
    number = event.id
    del event, done, op
    gc.collect()
    assert gone[0]() is not None and gone[1]() is not None
    _sync.Event.open(number).set()
    loop.run()
    gc.collect()
    assert gone[0]() is None and gone[1]() is None


def test_wrong_arguments(loop: Loop, task: int) -> None:
    lock = _sync.Lock()
    done = loop.done("never")
    for arguments, error in [
        ((task, loop.address, None), TypeError),
        ((task, 0, done), ValueError),
        ((task, "loop", done), TypeError),
        (("task", loop.address, done), TypeError),
        ((-1, loop.address, done), ValueError),
        ((12345, loop.address, done), ValueError),
        ((task, loop.address), TypeError),
        ((), TypeError),
    ]:
        with pytest.raises(error):
            lock.acquire_async(*arguments)  # type: ignore[arg-type]
    assert not lock.locked() and loop.host.drain() == 0


def test_an_exception_of_done_is_reported(loop: Loop, task: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: reported.append(unraisable.exc_value))

    def done(status: int, value: object) -> None:
        raise ZeroDivisionError

    event = _sync.Event()
    event.wait_async(task, loop.address, done)
    event.wait_async(task, loop.address, loop.done("second"))
    event.set()
    assert loop.run() == [("second", 0, None)]
    assert [type(error) for error in reported] == [ZeroDivisionError]


def test_operations_that_are_pending_when_python_ends() -> None:
    program = """
from selvedge import _loop, _sync
loop = _loop.HostLoop(); task = _sync.task_new("t"); event = _sync.Event(); lock = _sync.Lock(); lock.acquire()
ops = [event.wait_async(task, loop.address, print), lock.acquire_async(task, loop.address, print)]
_sync.Event().wait_async(task, loop.address, print)
print("ends")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("ends\n") and "Error" not in done.stderr, done

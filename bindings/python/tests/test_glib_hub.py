"""selvedge.glib.GreenletHub: what its greenlets do, one by one.

On the system's Python, which has PyGObject and greenlet.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

import selvedge
from selvedge import (
    BrokenResourceError,
    CancelledError,
    ClosedResourceError,
    DeadlockError,
    NotOwnerError,
    ThreadCache,
    TimedOutError,
    WrongThreadError,
)

if TYPE_CHECKING:
    from selvedge.glib import GreenletHub, Task

pytestmark = pytest.mark.pygobject

PATIENCE = 30


class World:
    """A hub and its main loop, in which nothing may be printed."""

    def __init__(self) -> None:
        from gi.repository import GLib

        from selvedge.glib import GreenletHub

        self.glib = GLib
        self.hub: GreenletHub = GreenletHub()
        self.main = GLib.MainLoop()
        self.printed: list[BaseException] = []

    def run(self, *tasks: Task[Any], errors: bool = False) -> None:
        """The main loop, until these tasks have ended; their errors are raised here."""
        late = self.glib.timeout_add(PATIENCE * 1000, self.main.quit)
        left = {task for task in tasks if not task.done()}

        def ended(task: Any) -> None:
            left.discard(task)
            if not left:
                self.main.quit()

        for task in list(left):
            task.add_done_callback(ended)
        if left:
            self.main.run()
        assert self.glib.source_remove(late), "the main loop was not ended"
        for task in () if errors else tasks:
            task.result()

    def settle(self) -> None:
        """Lets the main loop do what there is to do."""
        self.hub.call_soon(self.hub.call_soon, self.main.quit)
        self.main.run()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()
    monkeypatch.setattr(sys, "excepthook", lambda _kind, error, _traceback: world.printed.append(error))
    monkeypatch.setattr(sys, "unraisablehook", lambda arguments: world.printed.append(arguments.exc_value))
    yield world
    world.hub.close()
    assert not world.printed, world.printed


# ---- switching ----


def test_ten_thousand_switches_in_turn(world: World) -> None:
    hub, glib, turns = world.hub, world.glib, list[tuple[int, int]]()
    ticks = 0

    def tick() -> bool:
        nonlocal ticks
        assert glib.main_depth() == 1
        ticks += 1
        return True

    def takes_turns(name: int) -> int:
        for turn in range(100):
            assert glib.main_depth() == 1
            current = hub.current()
            assert current is not None and current is tasks[name]
            turns.append((turn, name))
            hub.pause()
        return name

    timer = glib.timeout_add(1, tick)
    tasks = [hub.spawn(takes_turns, name) for name in range(100)]
    world.run(*tasks)
    assert [task.result() for task in tasks] == list(range(100))
    assert turns == [(turn, name) for turn in range(100) for name in range(100)]
    assert hub.loop.stats().drains <= 102
    assert ticks > 0
    glib.source_remove(timer)


def test_at_all_depths_of_the_c_stack(world: World) -> None:
    """Each greenlet is suspended with more of the stack than the last: its slice is copied away and put back."""
    hub = world.hub

    def goes_deep(name: int, depth: int) -> int:
        if depth > 0:
            return goes_deep(name, depth - 1) + 1
        total = 0
        for turn in range(10):
            assert world.glib.main_depth() == 1
            text = f"{name} {turn}"
            hub.pause()
            assert text == f"{name} {turn}"
            total = sorted([total], key=lambda n: hub.pause() or n)[0]  # a switch below a C function
        return total

    tasks = [hub.spawn(goes_deep, name, name) for name in range(50)]
    world.run(*tasks)
    assert [task.result() for task in tasks] == list(range(50))


def test_woken_by_threads(world: World) -> None:
    hub, woken = world.hub, set[int]()

    def is_woken(name: int) -> None:
        current = hub.current()
        assert current is not None
        thread = threading.Thread(target=current.resume, args=(name,))
        thread.start()
        assert hub.wait() == name
        assert world.glib.main_depth() == 1
        woken.add(name)
        thread.join()

    world.run(*[hub.spawn(is_woken, name) for name in range(100)])
    assert woken == set(range(100))


def test_what_is_given_is_kept_in_order(world: World) -> None:
    hub = world.hub

    def takes() -> list[Any]:
        hub.sleep(0.01)  # is not ended by a resume
        return [hub.wait() for _ in range(5)]

    started = time.monotonic()
    task = hub.spawn(takes)
    for number in range(5):
        task.resume(number)
    world.run(task)
    assert task.result() == [0, 1, 2, 3, 4]
    assert time.monotonic() - started >= 0.01


def test_switch_to_another(world: World) -> None:
    hub, seen = world.hub, list[Any]()

    def first() -> None:
        seen.append(hub.switch(other, "to the second"))

    def second() -> None:
        seen.append(hub.wait())
        task.resume("back to the first")

    task = hub.spawn(first)
    other = hub.spawn(second)
    world.run(task, other)
    assert seen == ["to the second", "back to the first"]


def test_greenlets_of_its_own_inside_one(world: World) -> None:
    import greenlet

    hub = world.hub

    def inner(up: Callable[..., Any]) -> str:
        hub.pause()
        got = up("half way")
        hub.pause()
        return f"{got} and the end"

    def outer() -> list[Any]:
        child = greenlet.greenlet(inner)
        return [child.switch(greenlet.getcurrent().switch), child.switch("given")]

    task = hub.spawn(outer)
    world.run(task)
    assert task.result() == ["half way", "given and the end"]


def test_sleep(world: World) -> None:
    hub, order = world.hub, list[float]()

    def sleeps(seconds: float) -> None:
        before = time.monotonic()
        hub.sleep(seconds)
        assert time.monotonic() - before >= seconds
        order.append(seconds)

    world.run(*[hub.spawn(sleeps, seconds) for seconds in (0.06, 0.03, 0.0, 0.0005)])
    assert order == [0.0, 0.0005, 0.03, 0.06]


def test_bad_times(world: World) -> None:
    from selvedge.sync import Event, Lock

    hub, lock, event = world.hub, Lock(), Event()
    sleep: Callable[[Any], None] = hub.sleep
    waits: list[Callable[[Any], object]] = [
        lambda seconds: hub.acquire(lock, seconds),
        lambda seconds: hub.perform(event.native.wait_async, timeout=seconds),
    ]

    def waiting() -> None:
        for wait in (sleep, *waits):
            for seconds in (-1, float("nan")):
                with pytest.raises(ValueError, match="must be at least 0 seconds"):
                    wait(seconds)
            with pytest.raises(TypeError, match="must be a number of seconds, not str"):
                wait("1")
        with pytest.raises(TypeError, match="must be a number, not None"):
            sleep(None)
        assert not lock.locked()
        hub.acquire(lock, float("inf"))
        lock.release()

    world.run(hub.spawn(waiting))


def test_wrong_arguments(world: World) -> None:
    from selvedge.glib import GreenletHub

    hub: Any = world.hub
    make: Any = GreenletHub
    with pytest.raises(TypeError, match="cache must be a selvedge.ThreadCache or None, not int"):
        make(cache=5)
    with pytest.raises(TypeError, match="fn must be callable, not int"):
        hub.spawn(5)

    def inside() -> None:
        with pytest.raises(TypeError, match="fn must be callable, not int"):
            hub.run(5)
        for wrong in (5, threading.Lock()):
            with pytest.raises(TypeError, match=f"limiter of selvedge is needed, not {type(wrong).__name__}"):
                hub.acquire(wrong)
            with pytest.raises(TypeError, match="is needed"), hub.holding(wrong):
                pass

    world.run(hub.spawn(inside))


def test_only_in_a_greenlet(world: World) -> None:
    hub = world.hub
    assert hub.current() is None
    calls: list[Callable[[], Any]] = [hub.wait, hub.pause, lambda: hub.sleep(0), lambda: hub.run(int)]
    for call in calls:
        with pytest.raises(WrongThreadError, match="only in a greenlet that this hub has spawned"):
            call()

    def elsewhere() -> None:
        with pytest.raises(WrongThreadError):
            hub.pause()
        assert hub.current() is None

    world.run(hub.spawn(lambda: hub.run(elsewhere)))


# ---- results and errors ----


def test_errors_reach_their_owner(world: World) -> None:
    """A greenlet that raises: its owner gets the exception, the others and the main loop go on."""
    hub, seen = world.hub, list[str]()

    def raises(number: int) -> None:
        hub.pause()
        seen.append(f"raises {number}")
        raise ValueError(number)

    def exits() -> None:
        hub.pause()
        sys.exit(3)

    def works() -> str:
        for _ in range(5):
            hub.pause()
        return "worked"

    def owner() -> str:
        for number in range(3):
            child = hub.spawn(raises, number)
            with pytest.raises(ValueError, match=str(number)):
                child.result()
            seen.append(f"told {number}")
        return "owned"

    working, raising, owning, exiting = (hub.spawn(works), hub.spawn(raises, 7), hub.spawn(owner), hub.spawn(exits))
    world.run(working, raising, owning, exiting, errors=True)
    assert working.result() == "worked" and owning.result() == "owned"
    error = raising.exception()
    assert type(error) is ValueError and error.args == (7,)
    with pytest.raises(SystemExit, match="3"):
        exiting.result()
    assert seen == ["raises 7", "raises 0", "told 0", "raises 1", "told 1", "raises 2", "told 2"]


def test_an_error_that_nobody_asks_for_is_printed(world: World) -> None:
    def raises() -> None:
        raise ValueError("of nobody")

    world.hub.spawn(raises)
    world.settle()
    gc.collect()
    assert [str(error) for error in world.printed] == ["of nobody"]
    world.printed.clear()


def test_a_thread_waits_for_a_greenlet(world: World) -> None:
    hub, results = world.hub, list[Any]()

    def slow() -> str:
        hub.sleep(0.02)
        return "slow"

    def work() -> None:
        task = hub.spawn(slow)
        with pytest.raises(TimedOutError):
            task.result(0)
        results.append(task.result(PATIENCE))
        hub.call_soon(world.main.quit)

    thread = threading.Thread(target=work)
    thread.start()
    world.main.run()
    thread.join(PATIENCE)
    assert results == ["slow"]


def test_who_cannot_wait(world: World) -> None:
    hub = world.hub

    def waits_for_itself() -> None:
        with pytest.raises(DeadlockError):
            itself.join()

    itself = hub.spawn(waits_for_itself)
    with pytest.raises(DeadlockError):
        itself.result()
    world.run(itself)


def test_join_with_a_timeout(world: World) -> None:
    hub = world.hub

    def waiter() -> list[bool]:
        first = other.join(0.01)
        other.resume()
        return [first, other.join(PATIENCE), other.join()]

    other = hub.spawn(hub.wait)
    task = hub.spawn(waiter)
    world.run(task, other)
    assert task.result() == [False, True, True]


def test_nothing_is_kept(world: World) -> None:
    class Thing:
        pass

    def takes(thing: Thing) -> Thing:
        world.hub.pause()
        return Thing()

    argument = Thing()
    task = world.hub.spawn(takes, argument)
    references: list[weakref.ref[Any]] = [weakref.ref(argument), weakref.ref(task)]
    del argument
    world.run(task)
    references.append(weakref.ref(task.result()))
    del task
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]


# ---- ending them ----


def test_kill(world: World) -> None:
    hub, seen = world.hub, list[str]()

    def waits_for_ever() -> None:
        try:
            hub.wait()
        finally:
            seen.append("finally")

    def refuses() -> str:
        try:
            hub.sleep(PATIENCE)
        except ValueError as error:
            seen.append(str(error))
        hub.pause()
        return "alive"

    waiting, refusing = hub.spawn(waits_for_ever), hub.spawn(refuses)
    world.settle()
    unbegun = hub.spawn(seen.append, "never")
    unbegun.cancel()
    waiting.kill()
    refusing.kill(ValueError("not you"))
    world.run(waiting, refusing, unbegun, errors=True)
    assert seen == ["finally", "not you"]
    assert isinstance(waiting.exception(), CancelledError)
    assert refusing.result() == "alive"
    assert unbegun.cancelled()
    waiting.kill()  # has ended: nothing happens
    world.settle()


def test_kill_before_it_begins(world: World) -> None:
    hub, seen = world.hub, list[str]()
    task: list[Task[None]] = []

    def spawns_and_kills() -> None:
        task.append(hub.spawn(seen.append, "never"))
        task[0].kill()

    world.run(hub.spawn(spawns_and_kills))
    world.settle()
    assert not seen or task[0].done()


def test_a_task_that_was_killed_is_not_woken_again(world: World) -> None:
    """By what it waited for: a timer, a job, another greenlet, a lock, a resume."""
    from selvedge.sync import Lock

    hub, gate, lock = world.hub, threading.Event(), Lock()
    waits: list[Callable[[], Any]] = [
        lambda: hub.sleep(0.3),
        lambda: hub.run(gate.wait, PATIENCE),
        lambda: other.join(),
        lambda: hub.acquire(lock),
        hub.wait,
    ]

    def killed(wait: Callable[[], Any]) -> str:
        try:
            wait()
        except ValueError:
            hub.sleep(0.5)  # which must not be cut short, either
            return "in time"
        raise AssertionError("not killed")

    other = hub.spawn(hub.wait)
    assert lock.acquire()
    tasks = [hub.spawn(killed, wait) for wait in waits]
    world.settle()
    started = time.monotonic()
    for task in tasks:
        task.kill(ValueError())
    world.settle()
    other.resume()
    tasks[-1].resume("kept for later")
    lock.release()
    gate.set()
    world.run(*tasks, other)
    assert [task.result() for task in tasks] == ["in time"] * len(tasks)
    assert time.monotonic() - started >= 0.5
    assert not lock.locked()


def test_close_kills_what_lives() -> None:
    world, seen = World(), list[str]()
    hub = world.hub

    def waits(what: Callable[[], Any]) -> None:
        try:
            what()
        finally:
            try:
                hub.pause()
            except ClosedResourceError:
                seen.append("closed")

    ways = hub.wait, lambda: hub.sleep(PATIENCE), lambda: (hub.run(int), hub.wait())
    tasks = [hub.spawn(waits, way) for way in ways]
    world.settle()
    unbegun = hub.spawn(seen.append, "never")
    hub.close()
    hub.close()
    assert [type(task.exception()) for task in tasks] == [CancelledError] * 3
    assert seen == ["closed"] * 3
    assert unbegun.cancelled()
    with pytest.raises(ClosedResourceError):
        hub.spawn(int)
    with pytest.raises(ClosedResourceError):
        tasks[0].resume()


def test_close_is_refused_inside(world: World) -> None:
    def closes() -> None:
        with pytest.raises(WrongThreadError):
            world.hub.close()

    world.run(world.hub.spawn(closes), world.hub.spawn(lambda: world.hub.run(closes)))


def test_a_child_made_by_fork_has_no_hub(run_program: Any) -> None:
    program = """
import os
from gi.repository import GLib
from selvedge import ForkedError
from selvedge.glib import GreenletHub

main = GLib.MainLoop()
with GreenletHub() as hub:
    task = hub.spawn(hub.pause)
    task.add_done_callback(lambda _: main.quit())
    child = os.fork()
    if child == 0:
        try:
            hub.spawn(int)
        except ForkedError:
            os._exit(5)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    main.run()
    print(task.result())
"""
    assert run_program(program) == "None\n"


# ---- jobs ----


def test_run_on_the_cache(world: World) -> None:
    hub, here, ticks = world.hub, threading.get_ident(), list[int]()
    timer = world.glib.timeout_add(1, lambda: ticks.append(1) or True)

    def blocks(number: int, *, fails: bool = False) -> tuple[int, bool]:
        time.sleep(0.02)
        if fails:
            raise ValueError(number)
        return number, threading.get_ident() == here

    def works(number: int) -> tuple[int, bool]:
        with pytest.raises(ValueError, match=str(number)):
            hub.run(blocks, number, fails=True)
        assert world.glib.main_depth() == 1
        return hub.run(blocks, number)

    tasks = [hub.spawn(works, number) for number in range(10)]
    world.run(*tasks)
    assert [task.result() for task in tasks] == [(number, False) for number in range(10)]
    assert len(ticks) >= 5
    world.glib.source_remove(timer)


def test_run_on_a_cache_of_ones_own() -> None:
    from gi.repository import GLib

    from selvedge.glib import GreenletHub

    cache, main = ThreadCache("hub", max_workers=1), GLib.MainLoop()
    with GreenletHub(cache=cache) as hub:
        task = hub.spawn(lambda: hub.run(lambda: threading.current_thread().name))
        task.add_done_callback(lambda _: main.quit())
        main.run()
        assert task.result().startswith("hub-")
        gate = threading.Event()
        hub.spawn(lambda: hub.run(gate.wait, PATIENCE))
        hub.call_soon(hub.call_soon, main.quit)
        main.run()
    gate.set()  # its outcome comes to a closed hub
    cache.shutdown(PATIENCE)


# ---- locks ----


def test_greenlets_and_threads_queue_on_a_lock(world: World) -> None:
    from selvedge.sync import Lock

    hub, lock, inside, most = world.hub, Lock(strict_fifo=True), 0, 0

    def enter() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)

    def leave() -> None:
        nonlocal inside
        inside -= 1

    def greenlet() -> None:
        task = hub.current()
        assert task is not None
        for _ in range(20):
            with hub.holding(lock):
                assert lock.owner == task.number
                enter()
                hub.pause()
                leave()

    def thread() -> None:
        for _ in range(20):
            with lock:
                enter()
                time.sleep(0.0001)
                leave()

    threads = [threading.Thread(target=thread) for _ in range(3)]
    tasks = [hub.spawn(greenlet) for _ in range(5)]
    for each in threads:
        each.start()
    world.run(*tasks)
    for each in threads:
        each.join(PATIENCE)
    assert most == 1 and inside == 0 and not lock.locked()


def test_a_lock_breaks_exactly_when_its_greenlet_ends(world: World) -> None:
    from selvedge.sync import Lock

    hub, lock, seen = world.hub, Lock(name="precious"), list[str]()

    def holder() -> None:
        hub.acquire(lock)
        hub.pause()
        hub.pause()
        seen.append("ends")

    def waiter() -> None:
        with pytest.raises(BrokenResourceError, match="precious"):
            hub.acquire(lock)
        seen.append("told")

    holding = hub.spawn(holder)
    holding.add_done_callback(lambda _: seen.append("ended"))
    waiting = hub.spawn(waiter)
    world.run(holding, waiting)
    assert seen == ["ends", "ended", "told"]
    assert lock.broken
    with pytest.raises(selvedge.StaleTaskError):
        lock.acquire(task=holding.number)


def test_the_greenlet_owns_it_and_nobody_else(world: World) -> None:
    from selvedge.sync import Lock

    hub, lock = world.hub, Lock()

    def holder() -> None:
        assert hub.acquire(lock)
        with pytest.raises(DeadlockError):
            hub.acquire(lock)
        assert hub.wait() == "release"
        lock.release()
        with pytest.raises(NotOwnerError):
            lock.release()

    def other() -> None:
        assert lock.locked()
        with pytest.raises(NotOwnerError):
            lock.release()
        assert not hub.acquire(lock, 0)
        assert not hub.acquire(lock, 0.01)
        holding.resume("release")
        assert hub.acquire(lock, PATIENCE)
        lock.release()

    holding = hub.spawn(holder)
    world.run(holding, hub.spawn(other))


def test_a_ring_of_greenlets(world: World) -> None:
    from selvedge.sync import Lock

    hub, one, other, rings = world.hub, Lock(name="one"), Lock(name="other"), list[tuple[str, ...]]()

    def takes(first: Lock, second: Lock) -> None:
        with hub.holding(first):
            hub.pause()
            try:
                with hub.holding(second):
                    pass
            except DeadlockError as error:
                rings.append(error.ring)

    tasks = [hub.spawn(takes, one, other), hub.spawn(takes, other, one)]
    world.run(*tasks)
    assert len(rings) == 1
    assert {"one", "other", tasks[0].name, tasks[1].name} <= set(rings[0])


def test_the_other_primitives(world: World) -> None:
    from selvedge.sync import CapacityLimiter, Channel, Condition, Event, Semaphore

    hub = world.hub
    semaphore, limiter, event, channel, condition = Semaphore(0), CapacityLimiter(1), Event(), Channel(1), Condition()
    seen: list[Any] = []

    def waits() -> None:
        assert hub.acquire(semaphore)
        with hub.holding(limiter):
            hub.perform(event.wait_async)
            seen.append(hub.perform(channel.recv_bytes_async))
        hub.acquire(condition.lock)
        assert not hub.wait_on(condition, 0.01)
        while len(seen) < 2:
            assert hub.wait_on(condition)
        condition.release()
        with pytest.raises(TimedOutError):
            hub.perform(channel.recv_bytes_async, timeout=0.01)

    def feeds() -> None:
        semaphore.release()
        hub.pause()
        event.set()
        hub.perform(channel.send_bytes_async, b"bytes")
        hub.sleep(0.03)
        with hub.holding(condition.lock):
            seen.append("notified")
            condition.notify()

    world.run(hub.spawn(waits), hub.spawn(feeds))
    assert seen == [b"bytes", "notified"]


def test_killed_in_a_condition_it_has_the_lock_back(world: World) -> None:
    from selvedge.sync import Condition

    hub, condition, seen = world.hub, Condition(), list[str]()

    def waits() -> None:
        hub.acquire(condition.lock)
        try:
            hub.wait_on(condition)
        except ValueError:
            seen.append("killed")
        finally:
            condition.release()
            seen.append("released")

    def holds() -> None:
        with hub.holding(condition.lock):
            waiting.kill(ValueError())
            for _ in range(3):
                hub.pause()
                waiting.kill(ValueError())
            seen.append("lets go")

    waiting = hub.spawn(waits)
    world.settle()
    world.run(waiting, hub.spawn(holds))
    assert seen == ["lets go", "killed", "released"]


def test_a_granted_lock_goes_on_if_the_greenlet_is_killed_first(world: World) -> None:
    from selvedge.sync import Lock

    hub, lock = world.hub, Lock()

    def waits() -> None:
        hub.acquire(lock)
        lock.release()

    assert lock.acquire()
    killed, after = hub.spawn(waits), hub.spawn(waits)
    world.settle()
    killed.kill()
    lock.release()  # goes to the first, which is killed before it is told
    world.run(killed, after, errors=True)
    assert isinstance(killed.exception(), CancelledError)
    assert after.result() is None
    assert not lock.locked() and not lock.broken

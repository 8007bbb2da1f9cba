"""selvedge.glib: a queue into a GLib main loop, and greenlets in it. On the system's Python, which has PyGObject."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from selvedge import ClosedResourceError, ReentrantError, ThreadCache, WrongThreadError

pytestmark = pytest.mark.pygobject

PATIENCE = 30


@pytest.fixture(autouse=True)
def nothing_is_printed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """PyGObject and the queue print what a callback raises and go on; a test must fail."""
    errors: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda _kind, error, _traceback: errors.append(error))
    monkeypatch.setattr(sys, "unraisablehook", lambda arguments: errors.append(arguments.exc_value))
    yield errors
    assert not errors, errors


class Main:
    """A main loop, which gives up when it does not end."""

    def __init__(self, context: Any = None) -> None:
        from gi.repository import GLib

        self.glib = GLib
        self.context = context
        self.loop = GLib.MainLoop.new(context, False)

    def run(self) -> None:
        is_late: list[bool] = []

        def expired() -> bool:
            is_late.append(True)
            self.loop.quit()
            return False

        source = self.glib.timeout_source_new(PATIENCE * 1000)
        source.set_callback(lambda *_: expired())
        source.attach(self.context)
        self.loop.run()
        source.destroy()
        assert not is_late, "the main loop was not ended"

    def quit(self, *_: object) -> None:
        self.loop.quit()

    def every(self, milliseconds: int, call: Callable[[], bool]) -> Any:
        source = self.glib.timeout_source_new(milliseconds)
        source.set_callback(lambda *_: call())
        source.attach(self.context)
        return source


# ---- the queue ----


@pytest.mark.parametrize("is_own", [False, True])
def test_calls_in_order_from_all_threads(is_own: bool) -> None:
    from gi.repository import GLib

    from selvedge.glib import HostLoop

    context = GLib.MainContext.new() if is_own else None
    main, seen, here = Main(context), list[int](), threading.get_ident()
    with HostLoop(context) as loop:
        if is_own:
            assert loop.context is context
        assert loop.context == (context or GLib.MainContext.default())

        def call(number: int) -> None:
            assert threading.get_ident() == here
            assert GLib.main_depth() == 1
            seen.append(number)
            if len(seen) == 1000:
                main.quit()

        def submit() -> None:
            for number in range(1000):
                loop.call_soon(call, number)

        thread = threading.Thread(target=submit)
        thread.start()
        main.run()
        thread.join()
        assert seen == list(range(1000))
        assert loop.stats().drains < 1000


def test_a_thread_waits_for_a_call() -> None:
    from selvedge.glib import HostLoop

    main, results = Main(), list[int]()
    with HostLoop() as loop:

        def work() -> None:
            results.append(loop.call(divmod, 7, 2)[0])
            loop.call_soon(main.quit)

        thread = threading.Thread(target=work)
        thread.start()
        main.run()
        thread.join()
    assert results == [3]


def test_errors_do_not_end_the_source(nothing_is_printed: list[BaseException]) -> None:
    from selvedge.glib import HostLoop

    def fails(kind: type[BaseException]) -> None:
        raise kind("of a call")

    main, told = Main(), list[BaseException]()
    with HostLoop(on_error=told.append) as loop:
        loop.call_soon(fails, ValueError)
        loop.call_soon(fails, KeyboardInterrupt)
        loop.call_soon(loop.call_soon, main.quit)
        main.run()
    assert [type(error) for error in told] == [ValueError]
    assert [type(error) for error in nothing_is_printed] == [KeyboardInterrupt]
    nothing_is_printed.clear()


def test_close() -> None:
    from gi.repository import GLib

    from selvedge.glib import HostLoop

    main, dropped = Main(), list[str]()
    loop = HostLoop()
    errors: list[BaseException] = []

    def close_elsewhere() -> None:
        try:
            loop.close()
        except WrongThreadError as error:
            errors.append(error)

    thread = threading.Thread(target=close_elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 1
    loop.call_soon(main.quit)
    main.run()  # the refused close took nothing away
    loop.call_soon(int, drop=lambda: dropped.append("dropped"))
    loop.close()
    loop.close()
    assert dropped == ["dropped"] and loop.closed
    with pytest.raises(ClosedResourceError):
        loop.call_soon(int)
    while GLib.MainContext.default().iteration(False):
        pass


def test_priority() -> None:
    from gi.repository import GLib

    from selvedge.glib import HostLoop

    main, seen = Main(), list[str]()
    with HostLoop(priority=GLib.PRIORITY_LOW) as low, HostLoop(priority=GLib.PRIORITY_HIGH) as high:
        low.call_soon(seen.append, "low")
        low.call_soon(main.quit)
        high.call_soon(seen.append, "high")
        main.run()
    assert seen == ["high", "low"]


def test_a_child_made_by_fork_leaves_the_loop_alone(run_program: Any) -> None:
    program = """
import os
from gi.repository import GLib
from selvedge import ForkedError
from selvedge.glib import HostLoop

loop, main = HostLoop(), GLib.MainLoop()
loop.call_soon(main.quit)
child = os.fork()
if child == 0:
    try:
        loop.call_soon(int)
    except ForkedError:
        GLib.timeout_add(20, main.quit)
        main.run()
        os._exit(5)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
main.run()
print("the parent goes on")
"""
    assert run_program(program) == "the parent goes on\n"


def test_without_pygobject(run_program: Any) -> None:
    program = """
import sys
sys.modules["gi"] = None
try:
    import selvedge.glib
except ImportError as error:
    print(error)
"""
    assert run_program(program) == "selvedge.glib needs PyGObject (Debian: python3-gi), which is not there\n"


# ---- a program of a newcomer: python-greenlet/greenlet#397 ----

COUNTING = """
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from gi.repository import GLib

def count(give_control):
    for number in range(10):
        print(number, flush=True)
        give_control()
"""

NAIVE = (
    COUNTING
    + """
import greenlet
main = greenlet.getcurrent()
counting = greenlet.greenlet(lambda: count(main.switch))
GLib.idle_add(counting.switch)
GLib.MainLoop().run()
"""
)

WITH_NO_GREENLET = """
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from gi.repository import GLib
print(0, flush=True)
GLib.idle_add(lambda: ())
GLib.MainLoop().run()
"""

ON_THE_HUB = (
    COUNTING
    + """
from selvedge.glib import GreenletHub
main = GLib.MainLoop()
with GreenletHub() as hub:
    task = hub.spawn(count, hub.pause)
    task.add_done_callback(lambda _: main.quit())
    main.run()
    assert task.result() is None
"""
)


@pytest.mark.parametrize("program", [NAIVE, WITH_NO_GREENLET], ids=["naive", "with_no_greenlet"])
def test_a_callback_that_returns_a_tuple_kills_pygobject(program: str) -> None:
    """What the hub is for. If this fails, PyGObject has been mended, and that can be told in docs/host-loops.md."""
    import signal
    import subprocess

    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    assert -ended.returncode in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT), ended
    assert ended.stdout == "0\n"


def test_the_same_on_the_hub(run_program: Any) -> None:
    assert run_program(ON_THE_HUB) == "".join(f"{number}\n" for number in range(10))


# ---- nested main loops ----


def test_nested_main_loops() -> None:
    """In one that a greenlet runs no other greenlet runs; in one that a timer runs they do, at its depth, also those
    that were suspended at another depth: each has given control back before GLib's dispatch goes on."""
    import greenlet
    from gi.repository import GLib

    from selvedge.glib import GreenletHub

    main, outside = Main(), greenlet.getcurrent()
    outer, turns, nested_in_greenlets, nested_in_timers = 1, 0, 0, 0

    def run_for(milliseconds: int) -> None:
        inner, depth = GLib.MainLoop(), GLib.main_depth()
        GLib.timeout_add(milliseconds, inner.quit)
        inner.run()
        assert GLib.main_depth() == depth

    def takes_turns() -> None:
        nonlocal turns
        seen: set[int] = set()
        while not {1, 2} <= seen:
            for _ in range(50):
                assert GLib.main_depth() == outer
                seen.add(outer)
                turns += 1
                hub.pause()

    def runs_a_loop() -> None:
        nonlocal nested_in_greenlets
        for _ in range(3):
            before = turns
            run_for(5)
            with pytest.raises(ReentrantError):
                hub.loop.drain()
            assert turns == before
            nested_in_greenlets += 1
            hub.pause()

    def timer() -> bool:
        nonlocal outer, nested_in_timers
        # Not in the loop of a greenlet: this is plain GLib, in which the queue may be drained.
        if greenlet.getcurrent() is outside:
            outer += 1
            inner = GLib.MainLoop()
            hub.call_soon(hub.call_soon, inner.quit)
            inner.run()
            outer -= 1
            nested_in_timers += 1
        return True

    with GreenletHub() as hub:
        tasks = [hub.spawn(takes_turns) for _ in range(20)] + [hub.spawn(runs_a_loop)]
        for task in tasks:
            task.add_done_callback(lambda _: all(task.done() for task in tasks) and main.quit())
        timers = [main.every(1, timer), main.every(2, timer)]
        main.run()
        for source in timers:
            source.destroy()
        for task in tasks:
            task.result()
    assert turns >= 20 * 50
    assert nested_in_greenlets == 3
    assert nested_in_timers > 0


def test_a_main_loop_of_a_thread() -> None:
    """Two hubs on two threads, with contexts of their own, whose greenlets talk to each other."""
    from gi.repository import GLib

    from selvedge.glib import GreenletHub, Task

    cache = ThreadCache("mains")
    ready, tasks, ends = threading.Barrier(2), dict[str, Task[Any]](), list[int]()

    def run(name: str, other: str) -> None:
        context = GLib.MainContext.new()
        context.push_thread_default()
        main = Main(context)
        with GreenletHub() as hub:
            assert hub.loop.context == context

            def plays() -> None:
                for number in range(200):
                    if name == "first" or number > 0:
                        tasks[other].resume(number)
                    hub.wait()
                tasks[other].resume("over")

            tasks[name] = hub.spawn(plays)
            tasks[name].add_done_callback(main.quit)
            ready.wait(PATIENCE)
            main.run()
            tasks[name].result()
            ready.wait(PATIENCE)
            ends.append(1)
        context.pop_thread_default()

    jobs = [
        cache.submit(lambda n=names: run(*n), lambda outcome: outcome.unwrap())
        for names in (("first", "second"), ("second", "first"))
    ]
    for job in jobs:
        job.wait(PATIENCE)
    cache.shutdown(PATIENCE)
    assert len(ends) == 2

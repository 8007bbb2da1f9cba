"""HostLoop: a queue into an event loop that Python polls and drains."""

from __future__ import annotations

import _thread
import gc
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest
import selvedge
from selvedge._loop import HostLoop


@pytest.fixture
def loop() -> Iterator[HostLoop]:
    with HostLoop("test") as made:
        yield made


def is_readable(loop: HostLoop, seconds: float = 0) -> bool:
    return bool(select.select([loop.fd], [], [], seconds)[0])


def run_until(loop: HostLoop, is_over: Callable[[], bool]) -> None:
    """Polls and drains as an event loop does."""
    until = time.monotonic() + 60
    while not is_over():
        assert time.monotonic() < until
        if is_readable(loop, 0.2):
            loop.drain()


class Elsewhere:
    """Runs a function on a thread of its own, and has its outcome."""

    def __init__(self, fn: Callable[[], object]) -> None:
        self.result: object = None
        self.error: BaseException | None = None
        self._fn = fn
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._fn()
        except BaseException as error:
            self.error = error

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def outcome(self) -> object:
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def run_program(source: str) -> str:
    """Runs a program of its own; its output. No warning may come, and no descriptor may be left open unnoticed."""
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def test_runs_in_order_on_its_own_thread(loop: HostLoop) -> None:
    ran: list[tuple[int, int]] = []

    def queue() -> None:
        for number in range(100):
            loop.call_soon(lambda number: ran.append((number, threading.get_ident())), number)

    assert not is_readable(loop)
    Elsewhere(queue).outcome()
    assert ran == []
    assert is_readable(loop)
    assert loop.drain() == 100
    assert ran == [(number, threading.get_ident()) for number in range(100)]
    assert not is_readable(loop)
    assert loop.drain() == 0


def test_drain_is_bounded(loop: HostLoop) -> None:
    ran: list[int] = []

    def again(number: int) -> None:
        ran.append(number)
        loop.call_soon(again, number + 1)

    loop.call_soon(again, 0)
    assert loop.drain() == 1
    assert is_readable(loop)
    for number in range(5):
        loop.call_soon(ran.append, 100 + number)
    assert loop.drain(max=2) == 2
    assert ran == [0, 1, 100]
    assert is_readable(loop)
    assert loop.stats().waiting == 5
    with pytest.raises(ValueError):
        loop.drain(-1)
    for number in (2**32, 2**63, -(2**70)):
        with pytest.raises(ValueError, match="between 0 and"):
            loop.drain(number)
    with pytest.raises(TypeError):
        loop.drain("all")  # type: ignore[arg-type]


def test_a_descriptor_wakes_a_sleeping_loop(loop: HostLoop) -> None:
    ran: list[int] = []
    rounds = 200

    def queue() -> None:
        for number in range(rounds):
            loop.call_soon(ran.append, number)

    thread = Elsewhere(queue)
    run_until(loop, lambda: len(ran) == rounds)
    thread.outcome()
    assert ran == list(range(rounds))


def test_many_threads(loop: HostLoop) -> None:
    ran: list[tuple[int, int]] = []

    def queue(who: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(1000):
                loop.call_soon(ran.append, (who, number))

        return run

    threads = [Elsewhere(queue(who)) for who in range(4)]
    run_until(loop, lambda: len(ran) == 4000)
    for who, thread in enumerate(threads):
        thread.outcome()
        assert [number for other, number in ran if other == who] == list(range(1000))
    stats = loop.stats()
    assert (stats.accepted, stats.ran, stats.dropped, stats.waiting) == (4000, 4000, 0, 0)
    assert isinstance(stats, selvedge.HostLoopStats)
    assert stats._asdict() == dict(zip(stats._fields, stats))
    assert list(stats._fields)[:3] == ["waiting", "accepted", "ran"]
    assert stats._replace(ran=1).ran == 1
    assert pickle.loads(pickle.dumps(stats)) == stats


def test_idempotent_calls_are_merged_while_they_wait(loop: HostLoop) -> None:
    class Window:
        painted = 0

        def paint(self) -> None:
            self.painted += 1
            if self.painted == 1:
                loop.call_soon(self.paint, idempotent=True)  # has begun: not merged

    window = Window()
    for _ in range(10):
        loop.call_soon(window.paint, idempotent=True)
    assert loop.drain() == 1
    assert window.painted == 1
    assert loop.drain() == 1
    assert window.painted == 2
    seen: list[int] = []
    loop.call_soon(seen.append, 1, idempotent=True)
    loop.call_soon(seen.append, 2, idempotent=True)
    loop.call_soon(seen.append, 1)
    loop.call_soon(seen.append, 1, idempotent=True)
    loop.drain()
    assert seen == [1, 2, 1]
    with pytest.raises(TypeError, match="unhashable"):
        loop.call_soon(seen.append, [], idempotent=True)  # type: ignore[arg-type]
    assert loop.drain() == 0


def test_an_idempotent_call_whose_hash_fails_later(loop: HostLoop) -> None:
    class Moody:
        hashable = True

        def __hash__(self) -> int:
            if not self.hashable:
                raise ValueError("not now")
            return 7

    moody = Moody()
    seen: list[object] = []
    loop.call_soon(seen.append, moody, idempotent=True)
    moody.hashable = False
    assert loop.drain() == 1
    moody.hashable = True
    loop.call_soon(seen.append, moody, idempotent=True)  # nothing equal waits any more: this one is not swallowed
    assert loop.drain() == 1
    assert seen == [moody, moody]


def test_an_exception_goes_to_on_error() -> None:
    errors: list[BaseException] = []
    with HostLoop(on_error=errors.append) as loop:
        ran: list[int] = []
        loop.call_soon(lambda: 1 / 0)
        loop.call_soon(ran.append, 1)
        assert loop.drain() == 2
        assert ran == [1]
        assert [type(error) for error in errors] == [ZeroDivisionError]
        assert errors[0].__traceback__ is not None


def test_an_exception_goes_to_the_unraisable_hook(loop: HostLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[type[BaseException], object]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append((what.exc_type, what.object)))

    def fail() -> None:
        raise LookupError

    loop.call_soon(fail)
    loop.drain()
    assert told == [(LookupError, fail)]

    def fails_too(error: BaseException) -> None:
        raise OSError

    with HostLoop(on_error=fails_too) as other:
        other.call_soon(fail)
        other.drain()
    assert told[1:] == [(OSError, fails_too)]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_is_raised_by_drain(loop: HostLoop, kind: type[BaseException]) -> None:
    ran: list[int] = []

    def stop() -> None:
        raise kind("enough")

    loop.call_soon(stop)
    loop.call_soon(stop)
    loop.call_soon(ran.append, 1)
    with pytest.raises(kind, match="enough"):
        loop.drain()
    assert ran == [1]
    assert loop.drain() == 0


def test_a_drain_is_not_reentered(loop: HostLoop) -> None:
    errors: list[BaseException] = []

    def nested() -> None:
        for call in (loop.drain, loop.bind):
            try:
                call()
            except selvedge.ReentrantError as error:
                errors.append(error)

    loop.call_soon(nested)
    assert loop.drain() == 1
    assert len(errors) == 2


def test_the_wrong_thread(loop: HostLoop) -> None:
    with pytest.raises(selvedge.WrongThreadError):
        Elsewhere(loop.drain).outcome()
    with pytest.raises(selvedge.WrongThreadError):
        Elsewhere(loop.close).outcome()

    def take_over() -> int:
        loop.bind()
        return loop.drain()

    loop.call_soon(int)
    assert Elsewhere(take_over).outcome() == 1
    with pytest.raises(selvedge.WrongThreadError):
        loop.drain()
    loop.bind()
    assert loop.drain() == 0


def test_bind_while_another_thread_drains(loop: HostLoop) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        assert go_on.wait(60)

    def drain() -> int:
        loop.bind()
        return loop.drain()

    loop.call_soon(stay)
    thread = Elsewhere(drain)
    assert inside.wait(60)
    with pytest.raises(selvedge.BusyResourceError):
        loop.bind()
    go_on.set()
    assert thread.outcome() == 1
    loop.bind()


def test_call_brings_the_result_back(loop: HostLoop) -> None:
    thread = Elsewhere(lambda: loop.call(lambda *args: (args, threading.get_ident()), 1, "two"))
    run_until(loop, lambda: thread.is_over)
    assert thread.outcome() == ((1, "two"), threading.get_ident())


@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt, SystemExit])
def test_call_brings_the_exception_back(loop: HostLoop, kind: type[BaseException]) -> None:
    def fail() -> None:
        raise kind("there")

    thread = Elsewhere(lambda: loop.call(fail))
    run_until(loop, lambda: thread.is_over)
    with pytest.raises(kind, match="there") as caught:
        thread.outcome()
    assert "fail" in [entry.name for entry in caught.traceback]


def test_call_in_time_or_never(loop: HostLoop) -> None:
    ran: list[int] = []
    for timeout in (0, 0.01):
        with pytest.raises(selvedge.TimedOutError):
            Elsewhere(lambda: loop.call(ran.append, 1, timeout=timeout)).outcome()
    loop.drain()
    assert ran == []

    inside, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        inside.set()
        assert go_on.wait(60)
        return "done"

    started = time.monotonic()

    def release() -> None:
        assert inside.wait(60)
        while time.monotonic() < started + 0.2:  # well past the timeout, which is for the beginning alone
            time.sleep(0.01)
        go_on.set()

    thread = Elsewhere(lambda: loop.call(slow, timeout=0.1))
    releaser = Elsewhere(release)
    run_until(loop, lambda: thread.is_over)
    releaser.outcome()
    assert inside.is_set() is (thread.error is None)
    if thread.error is None:
        assert thread.outcome() == "done"
    for wrong, kind in ((-1, ValueError), (float("nan"), ValueError), ("soon", TypeError)):
        with pytest.raises(kind):
            loop.call(int, timeout=wrong)  # type: ignore[arg-type]


def test_call_on_the_loops_own_thread(loop: HostLoop) -> None:
    with pytest.raises(selvedge.DeadlockError):
        loop.call(int)
    Elsewhere(loop.bind).outcome()
    thread_ran: list[int] = []
    with pytest.raises(selvedge.TimedOutError):
        loop.call(thread_ran.append, 1, timeout=0)
    loop.bind()
    loop.drain()
    assert thread_ran == []


def test_a_signal_ends_the_wait_of_the_main_thread() -> None:
    class Stop(Exception):
        pass

    def stop(number: int, frame: object) -> None:
        raise Stop

    ran: list[int] = []
    ready = threading.Event()
    holder: list[HostLoop] = []
    end = threading.Event()

    def own() -> None:
        holder.append(HostLoop())
        ready.set()
        assert end.wait(60)
        holder[0].drain()
        holder[0].close()

    owner = Elsewhere(own)
    assert ready.wait(60)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Stop):
            holder[0].call(ran.append, 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    end.set()
    owner.outcome()
    assert ran == []


def test_close_drops_what_waits() -> None:
    class Thing:
        def use(self) -> None:
            raise AssertionError

    told: list[str] = []
    loop = HostLoop()
    thing = Thing()
    gone = weakref.ref(thing)
    loop.call_soon(thing.use)
    loop.call_soon(thing.use, idempotent=True)
    loop.call_soon(thing.use, drop=lambda: told.append("dropped"))
    loop.call_soon(thing.use, drop=lambda: told.append("dropped too"))
    del thing
    assert gone() is not None
    loop.close()
    assert told == ["dropped", "dropped too"]
    assert gone() is None
    assert loop.closed
    loop.close()
    calls: list[Callable[[], object]] = [loop.drain, loop.bind, lambda: loop.call_soon(int)]
    calls.append(lambda: Elsewhere(lambda: loop.call(int)).outcome())
    for call in calls:
        with pytest.raises(selvedge.ClosedResourceError):
            call()
    assert loop.stats().dropped == 4


def test_close_ends_a_call_that_waits() -> None:
    loop = HostLoop()
    ran: list[int] = []
    thread = Elsewhere(lambda: loop.call(ran.append, 1))
    while loop.stats().waiting == 0:
        assert not thread.is_over
        time.sleep(0.001)
    # The first entry can be the question whether the call may wait at all; that one is withdrawn by its asker.
    while loop.stats().accepted < 2:
        time.sleep(0.001)
    loop.close()
    with pytest.raises(selvedge.ClosedResourceError):
        thread.outcome()
    assert ran == []


def test_close_inside_a_drain() -> None:
    loop = HostLoop()
    told: list[str] = []
    loop.call_soon(loop.close)
    loop.call_soon(told.append, "ran", drop=lambda: told.append("dropped"))
    assert loop.drain() == 1
    assert told == ["dropped"]


def test_the_last_reference_closes() -> None:
    told: list[str] = []
    loop = HostLoop()
    fd = loop.fd
    gone = weakref.ref(loop)
    loop.call_soon(int, drop=lambda: told.append("dropped"))
    del loop
    assert gone() is None
    assert told == ["dropped"]
    with pytest.raises(OSError):
        os.fstat(fd)


def test_the_last_reference_goes_on_another_thread() -> None:
    holder = [HostLoop()]
    told: list[int] = []
    fd = holder[0].fd
    holder[0].call_soon(int, drop=lambda: told.append(threading.get_ident()))

    def let_go() -> int:
        holder.clear()
        return threading.get_ident()

    ident = Elsewhere(let_go).outcome()
    assert told == [ident]
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_cycle_through_the_queue_is_collected() -> None:
    class Guest:
        def __init__(self) -> None:
            self.loop = HostLoop(on_error=self.failed)
            self.loop.call_soon(self.turn)
            self.loop.call_soon(self.turn, idempotent=True)

        def turn(self) -> None: ...
        def failed(self, error: BaseException) -> None: ...

    guest = Guest()
    gone = weakref.ref(guest)
    fd = guest.loop.fd
    del guest
    gc.collect()
    assert gone() is None
    with pytest.raises(OSError):
        os.fstat(fd)


def test_nothing_is_left() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    class Thing:
        pass

    before = descriptors()
    things: list[weakref.ref[Thing]] = []
    for number in range(200):
        loop = HostLoop(f"loop {number}")
        thing = Thing()
        things.append(weakref.ref(thing))
        loop.call_soon(lambda thing: None, thing)
        loop.call_soon(lambda thing: None, thing, idempotent=True)
        if number % 2 == 0:
            loop.drain()
        if number % 3 == 0:
            loop.close()
        del thing, loop
    gc.collect()
    assert descriptors() == before
    assert [thing for thing in things if thing() is not None] == []


def test_a_subclass(loop: HostLoop) -> None:
    class Named(HostLoop):
        def __init__(self, colour: str) -> None:
            super().__init__(colour)
            self.colour = colour
            self.woken = 0

        def drain(self, max: int = 0) -> int:
            self.woken += 1
            return super().drain(max)

    with Named("blue") as made:
        assert made.colour == made.name == "blue"
        assert repr(made).startswith("<Named 'blue' fd=")
        made.call_soon(int)
        assert made.drain() == 1
        assert made.woken == 1
        assert "closed" not in repr(made)
    assert made.closed
    assert re.fullmatch(r"<Named 'blue' fd=\d+ at 0x[0-9a-f]+, closed>", repr(made))

    class Careless(HostLoop):
        def __init__(self) -> None: ...

    for call in (Careless().drain, lambda: Careless().call_soon(int), lambda: Careless().fd):
        with pytest.raises(RuntimeError, match="__init__"):
            call()
    with pytest.raises(RuntimeError, match="before"):
        loop.__init__()  # type: ignore[misc]


def test_wrong_arguments(loop: HostLoop) -> None:
    for wrong in (
        lambda: HostLoop(7),  # type: ignore[arg-type]
        lambda: HostLoop(on_error=7),  # type: ignore[arg-type]
        lambda: loop.call_soon(),  # type: ignore[call-arg]
        lambda: loop.call_soon(7),  # type: ignore[arg-type]
        lambda: loop.call_soon(int, drop=7),  # type: ignore[arg-type]
        lambda: loop.call_soon(int, key=7),  # type: ignore[call-arg]
        lambda: loop.call(7),  # type: ignore[arg-type]
        lambda: loop.call(int, base=7),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(ValueError):
        HostLoop("a\0b")
    assert loop.drain() == 0


def test_foreign_threads_and_the_end_of_the_program() -> None:
    """Calls come from a thread that ends with the program, while the queue is full."""
    run_program("""
        import threading
        from selvedge._loop import HostLoop

        loop = HostLoop()

        def queue():
            while True:
                loop.call_soon(print, "never")

        threading.Thread(target=queue, daemon=True).start()
        threading.Thread(target=loop.call, args=(print, "never"), daemon=True).start()
        while loop.stats().waiting < 100:
            pass
    """)


def test_in_a_fork_child() -> None:
    printed = run_program("""
        import os, warnings
        import selvedge
        from selvedge._loop import HostLoop

        warnings.simplefilter("ignore", DeprecationWarning)

        class Thing:
            def __del__(self):
                print("let go of", flush=True)

        loop = HostLoop()
        loop.call_soon(lambda thing: None, Thing())
        child = os.fork()
        if child == 0:
            soon, wait = (lambda: loop.call_soon(int)), (lambda: loop.call(int))
            for call in (loop.drain, loop.bind, loop.close, loop.stats, soon, wait):
                try:
                    call()
                except selvedge.ForkedError:
                    continue
                os._exit(1)
            del loop
            with HostLoop() as own:
                own.call_soon(int)
                assert own.drain() == 1
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert loop.drain() == 1
    """)
    assert printed.splitlines() == ["let go of", "let go of"]


@pytest.mark.only_python("3.12", "3.13")
def test_in_an_interpreter_with_its_own_gil() -> None:
    program = """
        import sys
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
            new = lambda: interpreters.create("isolated")
        else:
            import _xxsubinterpreters as interpreters
            new = lambda: interpreters.create(isolated=True)
        source = '''
        import sys, threading
        sys.path[:] = %r
        from selvedge._loop import HostLoop
        ran = []
        with HostLoop("inner") as loop:
            loop.call_soon(ran.append, 1)
            assert loop.drain() == 1
            thread = threading.Thread(target=lambda: ran.append(loop.call(lambda: 2)))
            thread.start()
            while len(ran) < 2:
                loop.drain()
            thread.join()
            loop.call_soon(int, drop=lambda: ran.append(3))
        assert ran == [1, 2, 3]
        left = HostLoop("left open")
        left.call_soon(int)
        ''' % (sys.path,)
        import textwrap
        for _ in range(3):
            interpreter = new()
            run = interpreters.exec if sys.version_info >= (3, 13) else interpreters.run_string
            failed = run(interpreter, textwrap.dedent(source))
            assert failed is None, failed
            interpreters.destroy(interpreter)
    """
    run_program(program)


@pytest.mark.only_python("3.10", "3.11")
def test_in_a_sub_interpreter_that_cannot_have_it() -> None:
    run_program("""
        import sys
        import _xxsubinterpreters as interpreters
        interpreter = interpreters.create()
        interpreters.run_string(interpreter, '''if True:
            import sys
            sys.path[:] = %r
            import selvedge
            from selvedge._loop import HostLoop
            try:
                HostLoop()
            except selvedge.UnsupportedError as error:
                assert "3.12" in str(error)
            else:
                raise AssertionError
        ''' % (sys.path,))
        interpreters.destroy(interpreter)
    """)


def test_a_thread_that_python_did_not_start() -> None:
    """A drop on a thread that Python ends up knowing nothing of: the last reference goes there."""
    told = threading.Event()
    holder = [HostLoop()]
    holder[0].call_soon(int, drop=told.set)
    _thread.start_new_thread(holder.clear, ())
    assert told.wait(60)

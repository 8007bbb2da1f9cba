"""Trio as the guest of a host's loop, for the tests *_trio*.c. Each async function below `scenarios` is the main function of a run of
its own; the program begins it, runs its loop until the run has ended, and calls end(). The module `host` is the program's:
python_trio.h."""
import queue as queue_module
import socket
import sys
import threading
import time
import warnings
import weakref

import host
import outcome
import trio
from trio import from_thread, to_thread

main_thread = threading.get_ident()
unraised = []  # what was raised where there was nobody to raise to


def note_unraisable(told):
    unraised.append(repr(told.exc_value))


sys.unraisablehook = note_unraisable


class HostThreads:
    """In the place of Trio's thread cache, which trio.lowlevel.start_thread_soon looks up at each call. Trio's blocking calls and the
    polls of its guest mode all go through it."""

    start_thread_soon = staticmethod(host.start_thread_soon)
    _idle_workers = {}  # of which Trio makes an end in a child of os.fork


def use_host_threads():
    trio._core._thread_cache.THREAD_CACHE = HostThreads()


polled = []  # for each poll in a thread: what is wrong with the thread, or None


def watch_polls():
    """Looks at the thread of each poll from inside the poll."""
    io_manager = trio._core._run.TheIOManager
    get_events = io_manager.get_events

    def watched(self, timeout):
        if threading.get_ident() != main_thread:
            try:
                polled.append(host.visit())
            except AssertionError as e:
                polled.append(str(e))
        return get_events(self, timeout)

    io_manager.get_events = watched


# ---- runs ----

ended = []


def begin(main, then=None):
    """Starts a run on the host's loop, which is stopped when it has ended; or goes on with what `then` begins."""
    ended.clear()

    def done(result):
        assert threading.get_ident() == main_thread
        if then is not None:
            result.unwrap()
            then()
        else:
            ended.append(result)
            host.quit()

    trio.lowlevel.start_guest_run(main, run_sync_soon_threadsafe=host.call_soon, done_callback=done)


def end():
    """What the run's main function raised is raised here."""
    result, = ended
    result.unwrap()
    assert unraised == [], unraised


async def until(condition):
    """For what another thread, or the host, will bring about."""
    with trio.fail_after(60):
        while not condition():
            await trio.sleep(0.001)


class Held:
    """Holds the threads that enter it until it is opened."""

    def __init__(self):
        self.inside = 0
        self.gate = threading.Event()
        self.lock = threading.Lock()

    def enter(self):
        host.visit()
        with self.lock:
            self.inside += 1
        assert self.gate.wait(60)
        host.visit()
        return host.worker()


# ---- scenarios ----


async def threads_at_once(n):
    """So many blocking calls at a time as the limiter lets through, while Trio polls in one more thread."""
    held = Held()
    workers = set()
    to_thread.current_default_thread_limiter().total_tokens = n

    async def one():
        workers.add(await to_thread.run_sync(held.enter))

    async with trio.open_nursery() as nursery:
        for _ in range(2 * n):
            nursery.start_soon(one)
        await until(lambda: held.inside == n)
        for _ in range(20):
            await trio.sleep(0.001)
        assert held.inside == n
        assert to_thread.current_default_thread_limiter().borrowed_tokens == n
        held.gate.set()
    assert held.inside == 2 * n
    assert 0 not in workers
    assert host.started() == n + 1, host.started()


async def calls_one_by_one(n):
    """They need one thread, for a worker is idle before its result is delivered; and the polls between them one more at most."""
    started = host.started()
    workers = set()

    def short():
        host.visit()
        workers.add(host.worker())

    for _ in range(n):
        await to_thread.run_sync(short)
    assert len(workers) <= 2, workers
    assert host.started() <= max(started, 2), host.started()


async def jobs_from_deliveries(n):
    """A job that a delivery starts finds that delivery's own worker idle, or one that has just come back from a poll."""
    started = host.started()
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()
    workers = []

    def job():
        host.visit()
        return host.worker()

    def deliver(result):
        assert host.worker() == result.unwrap()
        workers.append(host.worker())
        if len(workers) < n:
            trio.lowlevel.start_thread_soon(job, deliver, "chain")
        else:
            token.run_sync_soon(done.set)

    trio.lowlevel.start_thread_soon(job, deliver, "chain")
    await done.wait()
    assert len(set(workers)) <= 2, workers
    assert host.started() <= max(started, 2), host.started()


async def wrong_at_nth_visit(n, good, wrong):
    """For threads that are not as they should be: all at once, each visits Java so often without fault, and then not."""
    told = []
    together = threading.Barrier(n)

    def visits():
        together.wait(60)
        for _ in range(good):
            host.visit()
        try:
            host.visit()
        except AssertionError as e:
            told.append(str(e))

    async with trio.open_nursery() as nursery:
        for _ in range(n):
            nursery.start_soon(to_thread.run_sync, visits)
    assert told == [wrong] * n, told
    await until(lambda: polled)


async def timers_of_both(n):
    """While a task waits for a thread, and Trio polls in another, the timers of both loops go on."""
    first = host.ticks()
    held = Held()
    slept = [0, 0]

    async def sleeper(i):
        while not held.gate.is_set():
            await trio.sleep(0.001)
            slept[i] += 1

    async def opener():
        await until(lambda: held.inside == 1)
        ticks, before = host.ticks(), list(slept)
        await until(lambda: host.ticks() >= ticks + n and all(now >= then + n for now, then in zip(slept, before)))
        held.gate.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleeper, 0)
        nursery.start_soon(sleeper, 1)
        nursery.start_soon(opener)
        await to_thread.run_sync(held.enter)
    assert host.ticks() >= first + n and min(slept) >= n, (host.ticks() - first, slept)


async def busy_guest(n):
    """A guest that always has something to do leaves the host its turns, and needs no thread."""
    ticks, polls = host.ticks(), host.polls()
    turns = 0
    while host.ticks() < ticks + n:
        await trio.lowlevel.checkpoint()
        turns += 1
    assert turns >= n, turns
    assert host.polls() == polls, (polls, host.polls())


async def echo(tasks, threads, size):
    """Sockets over loopback, with tasks and with threads at their other ends."""
    polls = host.polls()
    echoed = []

    async def serve(stream):
        async for part in stream:
            await stream.send_all(part)

    async def talk(port, sent):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with trio.open_nursery() as nursery, stream:
            nursery.start_soon(stream.send_all, sent)
            back = b""
            while len(back) < size:
                back += await stream.receive_some()
        assert back == sent
        echoed.append(sent[0])

    def talk_from_thread(port, sent):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as stream:
            # Nothing is ready in Trio: it is these bytes that end the poll of another thread.
            while host.polls() == polls:
                time.sleep(0.001)
            stream.sendall(sent[:1])
            back = stream.recv(size)
        assert back == sent[:1]
        host.visit()
        echoed.append(sent[0])

    async with trio.open_nursery() as serving:
        listener, = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        serving.start_soon(trio.serve_listeners, serve, [listener])
        async with trio.open_nursery() as talking:
            for number in range(tasks):
                talking.start_soon(talk, port, bytes([number]) * size)
            for number in range(tasks, tasks + threads):
                talking.start_soon(to_thread.run_sync, talk_from_thread, port, bytes([number]) * size)
        serving.cancel_scope.cancel()
    assert sorted(echoed) == list(range(tasks + threads))
    assert host.polls() > polls or threads == 0


async def cancelled_calls():
    """A cancelled blocking call waits for its thread, or leaves it behind; a thread can ask."""
    started = host.started()

    held = Held()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_thread.run_sync, held.enter)
            await until(lambda: held.inside == 1)
            scope.cancel()
            host.after(20, held.gate.set)
    assert held.gate.is_set()

    held = Held()
    left = []

    def enter_and_leave():
        left.append(held.enter())

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: to_thread.run_sync(enter_and_leave, abandon_on_cancel=True))
            await until(lambda: held.inside == 1)
            scope.cancel()
    assert not held.gate.is_set() and not left
    held.gate.set()
    await until(lambda: left)

    held = Held()
    asked = []

    def enter_and_ask():
        held.enter()
        try:
            from_thread.check_cancelled()
        except trio.Cancelled:
            asked.append(host.worker())
            raise

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_thread.run_sync, enter_and_ask)
            await until(lambda: held.inside == 1)
            scope.cancel()
            held.gate.set()
    assert len(asked) == 1
    assert host.started() <= max(started, 2), host.started()


async def cancelled_by_the_host():
    """A timer of the host's loop cancels what Trio waits for, while its poll sleeps in a worker with no deadline."""
    token = trio.lowlevel.current_trio_token()
    with trio.CancelScope() as scope:
        host.after(20, lambda: token.run_sync_soon(scope.cancel))
        await trio.sleep_forever()
    assert scope.cancelled_caught


async def back_from_threads(n):
    """Threads call into Trio, which is where the host's loop runs; several at a time."""
    count = 0

    async def slow_add(k):
        nonlocal count
        assert threading.get_ident() == main_thread and host.worker() == 0
        await trio.sleep(0.001)
        count += k
        return count

    def quick_add(k):
        nonlocal count
        assert threading.get_ident() == main_thread
        count += k

    def call_back():
        assert threading.get_ident() != main_thread
        before = from_thread.run(slow_add, 1)
        host.visit()
        from_thread.run_sync(quick_add, 2)
        host.visit()
        assert from_thread.run(slow_add, 1) >= before + 3

    async with trio.open_nursery() as nursery:
        for _ in range(n):
            nursery.start_soon(to_thread.run_sync, call_back)
    assert count == 4 * n


class Deed(Exception):
    pass


async def raised_in_threads():
    """What a blocking call raises is raised in Trio; what a delivery raises is told; the worker lives on."""
    started = host.started()
    workers = set()

    def fail(kind):
        workers.add(host.worker())
        host.visit()
        raise kind("done in a thread")

    for kind in (Deed, SystemExit, KeyboardInterrupt, trio.TrioInternalError):
        try:
            await to_thread.run_sync(fail, kind)
        except kind as e:
            assert e.args == ("done in a thread",)
        else:
            raise AssertionError(kind)

    def fail_to_deliver(result):
        result.unwrap()
        raise Deed("done in a delivery")

    for _ in range(3):
        trio.lowlevel.start_thread_soon(lambda: workers.add(host.worker()), fail_to_deliver, "undeliverable")
    await until(lambda: len(unraised) == 3)
    assert unraised == [repr(Deed("done in a delivery"))] * 3, unraised
    unraised.clear()
    workers.add(await to_thread.run_sync(host.worker))
    assert host.started() <= max(started, 4), host.started()


async def released_before_the_delivery():
    """What only the function of a job holds is gone when its result is delivered."""
    class Cargo:
        pass

    cargo = Cargo()
    alive = weakref.ref(cargo)
    seen = []

    def job(cargo=cargo):
        assert alive() is cargo
        return 7

    token = trio.lowlevel.current_trio_token()
    done = trio.Event()

    def deliver(result):
        seen.append((alive() is None, result.unwrap()))
        token.run_sync_soon(done.set)

    trio.lowlevel.start_thread_soon(job, deliver, "cargo")
    del job, cargo
    await done.wait()
    assert seen == [(True, 7)], seen


async def run_that_fails():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(to_thread.run_sync, host.visit)
        await trio.sleep(0.001)
        raise Deed("done in a run")


def end_failed():
    """The outcome of a run that fails is its done callback's, and the loop goes on."""
    result, = ended
    assert isinstance(result, outcome.Error)
    group = result.error
    assert [repr(e) for e in group.exceptions] == [repr(Deed("done in a run"))], group
    assert unraised == [], unraised


async def short_run():
    await to_thread.run_sync(host.visit)
    await trio.sleep(0.001)


def begin_chain(n):
    """Runs that begin in the done callback of the run before them."""
    begin(short_run, None if n == 1 else lambda: begin_chain(n - 1))


# ---- the end of the loop ----


class Call:
    """Is called, or let go of uncalled."""

    living = 0
    ran = 0
    quit_after = None

    def __init__(self):
        Call.living += 1

    def __call__(self):
        Call.ran += 1
        if Call.ran == Call.quit_after:
            host.quit()

    def __del__(self):
        Call.living -= 1


def queue(n):
    for _ in range(n):
        host.call_soon(Call())
    assert Call.living == n


def nothing_is_left(ran):
    try:
        host.call_soon(Call())
    except RuntimeError as e:
        assert "SELV_E_CLOSED" in str(e), e
    else:
        raise AssertionError("a closed loop took a call")
    assert (Call.living, Call.ran) == (0, ran)
    assert unraised == [], unraised


refused = queue_module.SimpleQueue()


def queue_until_refused(threads, quit_after):
    def job():
        while True:
            host.call_soon(Call())
            while Call.living > 100:
                time.sleep(0)

    Call.ran, Call.quit_after, Call.threads = 0, quit_after, threads
    for _ in range(threads):
        host.start_thread_soon(job, refused.put)


def wait_until_all_are_refused():
    for _ in range(Call.threads):
        told = refused.get(timeout=60)
        assert isinstance(told, outcome.Error) and "SELV_E_CLOSED" in str(told.error), told
        del told
    nothing_is_left(Call.ran)


async def ends_when_cancelled():
    """When the host's loop has gone: threads come back, clean-up that waits is waited for."""
    global scope, held, token
    token = trio.lowlevel.current_trio_token()
    held = Held()
    host.after(20, host.quit)
    cleaned = 0
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_thread.run_sync, held.enter)
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    for _ in range(5):
                        await trio.sleep(0.001)
                        cleaned += 1
                    await to_thread.run_sync(host.visit)
    assert scope.cancelled_caught and cleaned == 5 and held.gate.is_set()


def queue_last_orders():
    """The host will not run these any more."""
    host.call_soon(held.gate.set)
    host.call_soon(lambda: token.run_sync_soon(scope.cancel))


async def never_ends():
    global held, token
    token = trio.lowlevel.current_trio_token()
    held = Held()
    host.after(20, host.quit)
    await to_thread.run_sync(held.enter)


def wake_them():
    warnings.simplefilter("ignore", RuntimeWarning)  # that Trio's run got abandoned
    held.gate.set()
    token.run_sync_soon(lambda: None)


def told_of_the_close():
    """What the poll's delivery raised, and what Trio then found to say. The call's own delivery asks no loop: it wakes a poll."""
    assert "SELV_E_CLOSED" in unraised[0], unraised

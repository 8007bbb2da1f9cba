"""asyncio tasks that take Selvedge locks, for the tests that have C and Java threads beside them. The loop runs in a thread of its own.

Each asyncio task is a task of Selvedge's from its first acquire until it is done. It waits for a future, which the completion, on
whichever thread lets go of the lock, completes with call_soon_threadsafe.
"""
import asyncio
import json
import random
import threading
import weakref

import selv

_tasks = weakref.WeakKeyDictionary()


def own_task():
    """The Selvedge task of the running asyncio task."""
    running = asyncio.current_task()
    task = _tasks.get(running)
    if task is None:
        task = _tasks[running] = selv.task_new(running.get_name())
        running.add_done_callback(lambda _done: selv.task_exit(task))
    return task


class Outcome:
    """What a completion brings, for the loop and for a thread that must know at once."""

    def __init__(self, loop):
        self.loop = loop
        self.future = loop.create_future()
        self.known = threading.Event()

    def complete(self, status, ticket, detail, thread):
        self.status, self.ticket, self.detail, self.thread = status, ticket, detail, thread
        self.known.set()
        self.loop.call_soon_threadsafe(self._settle)

    def _settle(self):
        if not self.future.done():
            self.future.set_result(None)


async def acquire(lock):
    """Waits for the lock. Gives the ticket and the thread that completed the wait; (0, 0) if the lock was free."""
    task = own_task()
    outcome = Outcome(asyncio.get_running_loop())
    op = selv.acquire_async(lock, task, outcome.complete)
    if op == 0:
        return 0, 0
    try:
        await outcome.future
    except asyncio.CancelledError:
        # A grant that races the cancel wins. Then the lock is this task's, which has no use for it any more. Too late to
        # cancel means that the completion has begun, perhaps on a thread that needs the GIL for it: the wait is for that.
        try:
            selv.op_cancel(op)
        except selv.Error as e:
            assert e.args[0] == "SELV_E_TOO_LATE", e.args
            outcome.known.wait()
            if outcome.status == "SELV_OK":
                selv.release(lock, task)
        raise
    if outcome.status != "SELV_OK":
        raise selv.Error(outcome.status, outcome.detail)
    return outcome.ticket, outcome.thread


def release(lock):
    selv.release(lock, own_task())


# ---- the loop, and what other threads have it do ----

loop = asyncio.new_event_loop()
_thread = threading.Thread(target=loop.run_forever, name="asyncio loop")


def start_loop():
    _thread.start()


def stop_loop():
    loop.call_soon_threadsafe(loop.stop)
    _thread.join()
    loop.close()


def turn_of_the_loop():
    """From any other thread: comes back when what the loop was just doing is over."""
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(timeout=60)


def begin(name, coroutine):
    """Starts it as an asyncio task of this name, from any thread; gives what to pass to `end`."""

    async def named():
        asyncio.current_task().set_name(name)
        return await coroutine

    return asyncio.run_coroutine_threadsafe(named(), loop)


def end(future):
    return future.result(timeout=60)


def refused(status, call, *args):
    """The call must fail with this status; gives its detail."""
    try:
        call(*args)
    except selv.Error as e:
        assert e.args[0] == status, (e.args, status)
        return e.args[1]
    raise AssertionError(f"{call} did not fail with {status}")


def names_all(text, *names):
    assert all(f"'{name}'" in text for name in names), (text, names)


# ---- parts of the tests ----


async def takes_its_turn(lock, name):
    """Notes its grant and lets go."""
    ticket, granted_on = await acquire(lock)
    assert selv.owner(lock) == own_task()
    selv.note_grant(name, ticket, granted_on)
    release(lock)


async def holds_until(lock, event, keeps=False):
    """`keeps`: ends with the lock in hand."""
    await acquire(lock)
    selv.note_grant(asyncio.current_task().get_name())
    await event.wait()
    if not keeps:
        release(lock)


def set_event(event):
    loop.call_soon_threadsafe(event.set)


async def broken(lock, name, owner, locks_name):
    """Waits for a lock whose owner will end, and is told."""
    try:
        await acquire(lock)
    except selv.Error as e:
        assert e.args[0] == "SELV_E_BROKEN", e.args
        names_all(e.args[1], owner, locks_name)
        selv.note_grant(name)
    else:
        raise AssertionError("the lock was granted")


async def closes_a_ring_on_one_loop(left, right):
    """Two asyncio tasks want what the other has. The second is refused; the loop never stops, and both come to their ends."""
    first_has, second_has, order = asyncio.Event(), asyncio.Event(), []

    async def first():
        await acquire(left)
        first_has.set()
        await second_has.wait()
        await acquire(right)
        order.append("first has both")
        release(right)
        release(left)

    async def second():
        await first_has.wait()
        await acquire(right)
        second_has.set()
        while selv.waiting(right) == 0:
            await asyncio.sleep(0)
        refused("SELV_E_DEADLOCK", selv.acquire, left, own_task())  # which would have stopped the loop
        try:
            await acquire(left)
        except selv.Error as e:
            assert e.args[0] == "SELV_E_DEADLOCK", e.args
            names_all(e.args[1], "first", "left lock", "second", "right lock")
        else:
            raise AssertionError("both would have hung")
        order.append("second gives way")
        release(right)
        await acquire(left)
        release(left)

    await asyncio.gather(loop.create_task(first(), name="first"), loop.create_task(second(), name="second"))
    assert order == ["second gives way", "first has both"], order


async def cancel_storm(lock, tasks, rounds):
    """Tasks that are cancelled about when they are granted. Gives how many of them had their turn."""
    rng = random.Random(5)
    turns = 0

    async def turn():
        nonlocal turns
        await acquire(lock)
        selv.enter_section()  # from here on there is no await: a cancel cannot come between
        turns += 1
        selv.leave_section()
        release(lock)

    async def rounds_of_one():
        for _ in range(rounds):
            child = loop.create_task(turn(), name="child")
            await asyncio.sleep(rng.random() * 0.001)
            child.cancel()
            await asyncio.wait([child])
            if not child.cancelled():
                child.result()

    await asyncio.gather(*(rounds_of_one() for _ in range(tasks)))
    return turns


async def storm(lock, turns):
    for _ in range(turns):
        await acquire(lock)
        selv.enter_section()
        await asyncio.sleep(0)
        selv.leave_section()
        release(lock)


async def pair(first, second, go):
    """Takes one lock, and when told to the second; refused that, it gives way. Gives what it was refused with, or None."""
    refusal = None
    await acquire(first)
    selv.note_grant(asyncio.current_task().get_name())
    await go.wait()
    try:
        await acquire(second)
        release(second)
    except selv.Error as e:
        refusal = e.args
    release(first)
    return refusal


def graph_shows(tasks, locks, waits):
    """The three formats of the wait graph name all tasks and locks; `waits`: who waits for which lock, as (task, lock, how)."""
    text, graph, dot = selv.wait_graph(selv.TEXT), json.loads(selv.wait_graph(selv.JSON)), selv.wait_graph(selv.DOT)
    for name in (*tasks, *locks):
        assert name in text and name in dot, (name, text, dot)
    assert dot.lstrip().startswith("digraph") and dot.rstrip().endswith("}"), dot
    names = {task["id"]: task["name"] for task in graph["tasks"]}
    assert set(tasks) <= set(names.values()), graph
    shown = [
        (names[waiting["task"]], thing["name"], waiting["how"], waiting["timed"])
        for thing in graph["objects"]
        if thing["name"] in locks
        for waiting in thing["waiting"]
    ]
    assert sorted(shown) == sorted((task, lock, how, False) for task, lock, how in waits), (shown, waits)
    owners = {thing["name"]: names[thing["owner"]] for thing in graph["objects"] if thing["name"] in locks}
    assert owners == dict(zip(locks, tasks)), owners

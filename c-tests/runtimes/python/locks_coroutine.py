"""Coroutines as tasks with no event loop, for python_locks_coroutine.c: each step of a coroutine is taken inside its own task.

A Fibre enters its task before `send` and the previous one after it, and exits it when the coroutine has ended, however it ended. It
waits by an asynchronous acquire and an `await` that comes back to whoever stepped; the completion puts it into the queue of those to step.
"""
import queue
import types

import selv

ready = queue.SimpleQueue()  # (fibre, outcome of its wait): completions come from any thread


class Fibre:
    def __init__(self, name, coroutine):
        self.task = selv.task_new(name)
        self.coroutine = coroutine
        self.left = None  # what selv.task_exit told, once it has ended
        self.granted_on = 0  # the thread that completed its latest wait

    @property
    def ended(self):
        return self.left is not None

    def step(self, value=None):
        self._run(self.coroutine.send, value)

    def close(self):
        self._run(self.coroutine.close)

    def _run(self, resume, *value):
        global stepping
        outer, stepping = stepping, self
        previous = selv.task_enter(self.task)
        over = True
        try:
            resume(*value)
            over = resume == self.coroutine.close
        except StopIteration:
            pass
        finally:
            assert selv.task_enter(previous) == self.task
            stepping = outer
            if over:
                self.left = selv.task_exit(self.task)


stepping = None  # the fibre whose step is being taken


@types.coroutine
def pause():
    return (yield)


async def acquire(lock):
    me = stepping
    if selv.acquire_async(lock, selv.CURRENT, lambda *completed: ready.put((me, completed))) == 0:
        return 0
    status, ticket, detail, me.granted_on = await pause()
    if status != "SELV_OK":
        raise selv.Error(status, detail)
    return ticket


def run(*fibres):
    while not all(f.ended for f in fibres):
        fibre, completed = ready.get(timeout=60)
        if not fibre.ended:
            fibre.step(completed)


def refused(status, call, *args):
    """The call must fail with this status; gives its detail."""
    try:
        call(*args)
    except selv.Error as e:
        assert e.args[0] == status, (e.args, status)
        return e.args[1]
    raise AssertionError(f"{call.__name__} did not fail with {status}")


def names_all(text, *names):
    assert all(f"'{name}'" in text for name in names), (text, names)


def ownership():
    """Two coroutines, stepped in turn on one thread, own one lock each and nothing of the other's."""
    left, right = selv.lock_new("left lock"), selv.lock_new("right lock")
    thread_task = selv.task_current()

    async def body(mine, other):
        selv.try_acquire(mine)
        await pause()
        assert selv.owner(mine) == selv.task_current() == stepping.task
        refused("SELV_E_NOT_OWNER", selv.release, other)
        refused("SELV_E_WOULD_BLOCK", selv.try_acquire, other)
        refused("SELV_E_DEADLOCK", selv.acquire, mine)
        await pause()
        selv.release(mine)

    one, two = Fibre("one", body(left, right)), Fibre("two", body(right, left))
    for fibre in (one, two, one, two):
        fibre.step()
        assert selv.task_current() == thread_task
    refused("SELV_E_NOT_OWNER", selv.release, left)
    assert (selv.owner(left), selv.owner(right)) == (one.task, two.task)
    one.step()
    two.step()
    assert one.left == two.left == []
    selv.lock_free(left)
    selv.lock_free(right)


def deadlock():
    """Ring of three on one thread, two of them waiting: the third is refused by name, with a blocking call and with a completion."""
    names = ("red", "green", "blue")
    locks = [selv.lock_new(f"{name} lock") for name in names]
    order = []

    async def body(i):
        mine, next_one = locks[i], locks[(i + 1) % 3]
        selv.try_acquire(mine)
        await pause()
        try:
            if i == 2:
                names_all(refused("SELV_E_DEADLOCK", selv.acquire, next_one), *names, "red lock", "green lock", "blue lock")
            await acquire(next_one)
        except selv.Error as e:
            assert i == 2 and e.args[0] == "SELV_E_DEADLOCK", e.args
            names_all(e.args[1], *names, "red lock", "green lock", "blue lock")
        else:
            assert i != 2
            selv.release(next_one)
        order.append(names[i])
        selv.release(mine)

    fibres = [Fibre(name, body(i)) for i, name in enumerate(names)]
    for fibre in fibres + fibres:
        fibre.step()
    run(*fibres)
    assert order == ["blue", "green", "red"], order
    for lock in locks:
        selv.lock_free(lock)


def waits_for(lock):
    """A coroutine that will be told that the lock is broken, and notes how."""
    seen = []

    async def body():
        try:
            await acquire(lock)
        except selv.Error as e:
            seen.append(e.args)

    fibre = Fibre("waiter", body())
    fibre.seen = seen
    fibre.step()
    return fibre


def holds_and(end, lock):
    async def body():
        selv.try_acquire(lock)
        await pause()
        if end == "raises":
            raise ValueError(end)

    fibre = Fibre(end, body())
    fibre.step()
    return fibre


def dies(fibre, end):
    try:
        if end == "is closed":
            fibre.close()
        else:
            fibre.step()
    except ValueError as e:
        assert end == "raises" == e.args[0]
    assert fibre.left == [(selv.LOCK_BROKEN, "drawer")], fibre.left


def broken_for_everybody(lock, owner, waiter):
    run(waiter)
    [(status, detail)] = waiter.seen
    assert status == "SELV_E_BROKEN"
    names_all(detail, "drawer", owner)
    names_all(refused("SELV_E_BROKEN", selv.try_acquire, lock), "drawer", owner)
    names_all(refused("SELV_E_BROKEN", selv.acquire, lock), "drawer", owner)
    selv.repair(lock)
    selv.release(lock)


def closed_while_waiting():
    """A coroutine that is closed in its wait leaves the queue; the lock goes to the next."""
    lock = selv.lock_new("drawer")
    selv.try_acquire(lock)

    async def body():
        await acquire(lock)
        selv.release(lock)

    victim, heir = Fibre("victim", body()), Fibre("heir", body())
    victim.step()
    heir.step()
    assert selv.waiting(lock) == 2
    victim.close()
    assert victim.left == [(selv.WAIT_CANCELLED, "drawer")], victim.left
    assert selv.waiting(lock) == 1
    selv.release(lock)
    assert selv.owner(lock) == heir.task
    run(heir)
    assert selv.owner(lock) == 0
    selv.lock_free(lock)


def waits_to_be_granted(lock):
    async def body():
        ticket = await acquire(lock)
        assert selv.owner(lock) == selv.task_current()
        selv.note_grant("coroutine", ticket, stepping.granted_on)
        selv.release(lock)

    fibre = Fibre("coroutine", body())
    fibre.step()
    return fibre

"""Greenlets as tasks, for python_locks_greenlet.c, which calls the functions at the end one by one.

Every greenlet of class Task is a task of its own: the trace function enters it whenever control comes to its greenlet, and exits it when
its greenlet has died. So SELV_TASK_CURRENT is right in each, though all of them run on one thread. A Task waits by an
asynchronous acquire and a switch to the hub, which is the thread's main greenlet and switches back when the completion has come.
"""
import gc
import queue
import random

import greenlet
import selv

main = greenlet.getcurrent()
ready = queue.SimpleQueue()  # (greenlet, what its switch to the hub shall give): completions come from any thread


class Task(greenlet.greenlet):
    task = 0
    left = None  # what selv.task_exit told

    def __init__(self, name, run):
        super().__init__(run)
        self.name = name


def on_switch(event, args):
    origin, target = args
    if isinstance(target, Task) and target.task == 0:
        target.task = selv.task_new(target.name)
    selv.task_enter(getattr(target, "task", 0))
    if isinstance(origin, Task) and origin.dead:
        origin.left = selv.task_exit(origin.task)


greenlet.settrace(on_switch)


def hub_acquire(lock):
    """Waits in a Task for the lock with no thread that waits. Gives the ticket, or 0 if the lock was free."""
    me = greenlet.getcurrent()
    if selv.acquire_async(lock, selv.CURRENT, lambda *completed: ready.put((me, completed))) == 0:
        return 0
    status, ticket, detail, _thread = main.switch()
    if status != "SELV_OK":
        raise selv.Error(status, detail)
    return ticket


def hub_yield():
    """Lets the others run."""
    ready.put((greenlet.getcurrent(), None))
    main.switch()


def hub_run(tasks):
    """Until all of them are dead. One that died while it waited has its completion, too; there is nobody to switch to."""
    while not all(t.dead for t in tasks):
        waiter, value = ready.get(timeout=60)
        if not waiter.dead:
            waiter.switch(value)


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


# ---- ownership ----


def two_on_one_thread():
    """Each owns its own lock, can neither release nor take the other's, and is told at once that it has its own already."""
    left, right = selv.lock_new("left lock"), selv.lock_new("right lock")
    thread_task = selv.task_current()

    def owner_of(mine, other):
        me = greenlet.getcurrent()
        selv.try_acquire(mine)
        assert selv.task_current() == me.task == selv.owner(mine)
        main.switch()
        assert selv.task_current() == me.task == selv.owner(mine)
        refused("SELV_E_NOT_OWNER", selv.release, other)
        refused("SELV_E_WOULD_BLOCK", selv.try_acquire, other)
        refused("SELV_E_DEADLOCK", selv.try_acquire, mine)
        refused("SELV_E_DEADLOCK", selv.acquire, mine)
        main.switch()
        selv.release(mine)

    one = Task("one", lambda: owner_of(left, right))
    two = Task("two", lambda: owner_of(right, left))
    one.switch()
    two.switch()
    assert len({one.task, two.task, thread_task}) == 3
    assert selv.task_current() == thread_task
    refused("SELV_E_NOT_OWNER", selv.release, left)
    one.switch()
    two.switch()
    assert (selv.owner(left), selv.owner(right)) == (one.task, two.task)
    one.switch()
    two.switch()
    assert one.dead and two.dead and one.left == two.left == []
    assert selv.owner(left) == selv.owner(right) == 0
    selv.lock_free(left)
    selv.lock_free(right)


# ---- deadlock ----


def closing(acquire):
    """`two` closes the ring with this acquire while `one` is in the queue: it is refused, and both come to their ends."""
    left, right = selv.lock_new("left lock"), selv.lock_new("right lock")
    order = []

    def first():
        selv.try_acquire(left)
        main.switch()
        hub_acquire(right)
        order.append("one has both")
        selv.release(right)
        selv.release(left)

    def second():
        selv.try_acquire(right)
        main.switch()
        names_all(refused("SELV_E_DEADLOCK", acquire, left), "one", "left lock", "two", "right lock")
        assert selv.owner(right) == selv.task_current()
        assert selv.waiting(left) == 0 and selv.waiting(right) == 1
        order.append("two gives way")
        selv.release(right)
        hub_acquire(left)
        order.append("two has left")
        selv.release(left)

    one, two = Task("one", first), Task("two", second)
    for t in (one, two, one, two):
        t.switch()
    hub_run([one, two])
    assert order == ["two gives way", "one has both", "two has left"], order
    selv.lock_free(left)
    selv.lock_free(right)


def closed_by_a_blocking_call():
    closing(selv.acquire)


def closed_by_a_completion():
    closing(hub_acquire)


def ring_with_a_thread(left, right):
    """The C thread has `right` and waits for `left`, which the greenlet has: the greenlet's acquire closes the ring."""

    def body():
        selv.try_acquire(left)
        main.switch()
        names_all(refused("SELV_E_DEADLOCK", selv.acquire, right), "green", "left lock", "c thread", "right lock")
        names_all(refused("SELV_E_DEADLOCK", hub_acquire, right), "green", "left lock", "c thread", "right lock")
        selv.release(left)
        hub_acquire(right)
        selv.release(right)

    t = Task("green", body)
    t.switch()
    return t


# ---- death ----


class Casualty(Exception):
    pass


def holds_and(end, lock):
    def body():
        selv.try_acquire(lock)
        main.switch()
        if end == "raises":
            raise Casualty

    t = Task(end, body)
    t.switch()
    assert selv.owner(lock) == t.task
    return t


def waits_for(lock):
    """A greenlet that will be told that the lock is broken, and notes how."""
    seen = []

    def body():
        try:
            hub_acquire(lock)
        except selv.Error as e:
            seen.append(e.args)

    t = Task("green waiter", body)
    t.seen = seen
    t.switch()
    return t


def dies(holding):
    """`holding`: a list with the last reference to the greenlet. Gives what its task left behind."""
    holder = holding.pop()
    name, left = holder.name, []
    if name == "returns":
        holder.switch()
        left = holder.left
    elif name == "raises":
        try:
            holder.switch()
        except Casualty:
            left = holder.left
    else:  # the last reference goes: greenlet.GreenletExit is thrown into it
        task = holder.task
        del holder
        gc.collect()
        refused("SELV_E_STALE", selv.task_exit, task)
        return name
    assert left == [(selv.LOCK_BROKEN, "drawer")], left
    return name


def broken_for_everybody(lock, owner, waiter):
    """The greenlet that waited is told, latecomers are told, and a greenlet brings the lock back."""
    hub_run([waiter])
    [(status, detail)] = waiter.seen
    assert status == "SELV_E_BROKEN"
    names_all(detail, "drawer", owner)

    def late():
        names_all(refused("SELV_E_BROKEN", selv.try_acquire, lock), "drawer", owner)
        names_all(refused("SELV_E_BROKEN", selv.acquire, lock), "drawer", owner)
        names_all(refused("SELV_E_BROKEN", hub_acquire, lock), "drawer", owner)
        selv.repair(lock)
        assert selv.owner(lock) == selv.task_current()
        selv.release(lock)

    t = Task("late", late)
    t.switch()
    assert t.dead and t.left == []


def killed_while_waiting():
    """A greenlet that is killed in its wait is cancelled in the queue; the lock goes to nobody dead."""
    lock = selv.lock_new("drawer")
    holder = Task("holder", lambda: (selv.try_acquire(lock), main.switch(), selv.release(lock)))
    holder.switch()
    victim = Task("victim", lambda: hub_acquire(lock))
    victim.switch()
    heir = Task("heir", lambda: (hub_acquire(lock), selv.release(lock)))
    heir.switch()
    assert selv.waiting(lock) == 2
    victim.throw(greenlet.GreenletExit)
    assert victim.dead and victim.left == [(selv.WAIT_CANCELLED, "drawer")], victim.left
    assert selv.waiting(lock) == 1 and selv.owner(lock) == holder.task
    holder.switch()
    assert selv.owner(lock) == heir.task
    hub_run([heir])
    assert selv.owner(lock) == 0
    selv.lock_free(lock)


# ---- storm ----


def storm(locks, greenlets, rounds):
    """Greenlets that want two locks at a time in any order, beside C threads that want one. Gives how many rings were refused."""
    rng = random.Random(11)
    inside = dict.fromkeys(locks, 0)
    turns = refusals = 0

    def body():
        nonlocal turns, refusals
        done = 0
        while done < rounds:
            a, b = rng.sample(locks, 2)
            hub_acquire(a)
            hub_yield()
            try:
                hub_acquire(b)
            except selv.Error as e:
                assert e.args[0] == "SELV_E_DEADLOCK", e.args
                refusals += 1
                selv.release(a)
                hub_yield()
                continue
            inside[a] += 1
            inside[b] += 1
            hub_yield()
            assert inside[a] == inside[b] == 1
            assert selv.owner(a) == selv.owner(b) == selv.task_current()
            inside[a] -= 1
            inside[b] -= 1
            selv.release(b)
            selv.release(a)
            turns += 1
            done += 1

    tasks = [Task(f"green {i}", body) for i in range(greenlets)]
    for t in tasks:
        t.switch()
    hub_run(tasks)
    assert turns == greenlets * rounds
    assert all(t.left == [] for t in tasks)
    return refusals

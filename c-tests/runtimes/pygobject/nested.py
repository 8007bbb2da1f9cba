"""Main loops inside main loops. In one that a greenlet runs no other greenlet runs; in one that a timer runs they do, at its depth, also
those that were suspended at another depth: each has given control back before GLib's dispatch goes on."""
import greenlet
from gi.repository import GLib
from hub import Error, Hub, Task, check, lib

hub, loop = Hub(), GLib.MainLoop()
outer, turns, nested_in_greenlets, nested_in_timers = 1, 0, 0, 0


def run_for(ms):
    inner, depth = GLib.MainLoop(), GLib.main_depth()
    GLib.timeout_add(ms, inner.quit)
    inner.run()
    assert GLib.main_depth() == depth


def takes_turns():
    global turns
    seen = set()
    while not {1, 2} <= seen:
        for _ in range(50):
            assert GLib.main_depth() == outer, (GLib.main_depth(), outer)
            seen.add(outer)
            turns += 1
            hub.pause()


def runs_a_loop():
    global nested_in_greenlets
    for _ in range(3):
        before = turns
        run_for(5)
        try:
            check(lib.selv_host_loop_drain(hub.loop, 0, None))
        except Error as e:
            assert str(e) == "SELV_E_REENTRANT", e
        else:
            raise AssertionError("a drain inside a drain")
        assert turns == before
        nested_in_greenlets += 1
        hub.pause()


def timer():
    """Not inside a greenlet: this is plain GLib, in which the queue may be drained."""
    global outer, nested_in_timers
    if greenlet.getcurrent() is hub.greenlet:
        outer += 1
        inner = GLib.MainLoop()
        hub.soon(hub.soon, inner.quit)
        inner.run()
        outer -= 1
        nested_in_timers += 1
    return GLib.SOURCE_CONTINUE


def ended(_):
    if all(task.dead for task in tasks):
        loop.quit()


tasks = [Task(hub, takes_turns, done=ended) for _ in range(20)] + [Task(hub, runs_a_loop, done=ended)]
GLib.timeout_add(1, timer)
GLib.timeout_add(2, timer)
loop.run()
for task in tasks:
    assert task.dead and task.error is None, task.error
assert turns >= 20 * 50
assert nested_in_greenlets == 3
assert nested_in_timers > 0
hub.close()

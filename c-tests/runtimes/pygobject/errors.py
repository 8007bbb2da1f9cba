"""A greenlet that raises: its owner gets the exception, the other greenlets and the main loop go on. And one that is killed while it
waits runs its finally first."""
import sys

import greenlet
from gi.repository import GLib
from hub import Hub, Task

hub, loop = Hub(), GLib.MainLoop()
seen = []


def raises(number):
    hub.pause()
    seen.append(f"raises {number}")
    raise ValueError(number)


def exits():
    hub.pause()
    sys.exit(3)


def works():
    for _ in range(5):
        hub.pause()
    return "worked"


def waits_for_ever():
    try:
        hub.wait()
    finally:
        seen.append("finally")


def owner():
    """Greenlets may own greenlets: this one waits for the end of each."""
    me = greenlet.getcurrent()
    for number in range(3):
        child = Task(hub, raises, number, done=lambda _: hub.soon(me.resume))
        hub.wait()
        assert child.dead and child.error.args == (number,), child.error
        seen.append(f"told {number}")
    return "owned"


tasks = [Task(hub, works), Task(hub, raises, 7), Task(hub, owner), Task(hub, exits), Task(hub, waits_for_ever)]
working, raising, owning, exiting, waiting = tasks
GLib.timeout_add(1, lambda: loop.quit() or False if all(t.dead for t in tasks[:4]) else True)
loop.run()

assert working.result == "worked" and working.error is None
assert owning.result == "owned" and owning.error is None
assert type(raising.error) is ValueError and raising.error.args == (7,)
assert type(exiting.error) is SystemExit and exiting.error.code == 3
assert seen == ["raises 7", "raises 0", "told 0", "raises 1", "told 1", "raises 2", "told 2"], seen

assert not waiting.dead
hub.soon(waiting.throw)
hub.soon(loop.quit)
loop.run()
assert waiting.dead and seen[-1] == "finally"
hub.close()

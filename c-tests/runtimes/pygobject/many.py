"""A hundred greenlets, ten thousand switches, a timer, and threads that wake greenlets: every greenlet runs at the main loop's depth and in
its turn, and the timer goes on."""
import threading

import greenlet
from gi.repository import GLib
from hub import Hub, Task

GREENLETS, TURNS = 100, 100

hub, loop = Hub(), GLib.MainLoop()
switches = ticks = 0
alive = set()


def tick():
    global ticks
    assert GLib.main_depth() == 1
    ticks += 1
    return GLib.SOURCE_CONTINUE


def ended(task):
    assert task.error is None, task.error
    alive.discard(task)
    if not alive:
        loop.quit()


def run_all(fn, args):
    alive.update([Task(hub, fn, *a, done=ended) for a in args])
    loop.run()
    assert not alive


# ---- in turn ----

turns = []


def takes_turns(name):
    global switches
    for turn in range(TURNS):
        assert GLib.main_depth() == 1
        assert greenlet.getcurrent() in alive
        turns.append((turn, name))
        switches += 1
        hub.pause()
    return name


GLib.timeout_add(1, tick)
run_all(takes_turns, [(name,) for name in range(GREENLETS)])
assert switches == GREENLETS * TURNS
assert turns == [(turn, name) for turn in range(TURNS) for name in range(GREENLETS)]
assert hub.drains <= TURNS + 2, hub.drains

# ---- at all depths of the C stack ----


def goes_deep(name, depth):
    """Each greenlet is suspended with more of the stack than the last: its slice is copied away and put back."""
    if depth > 0:
        return goes_deep(name, depth - 1) + 1
    total = 0
    for turn in range(10):
        assert GLib.main_depth() == 1
        text = f"{name} {turn}"
        hub.pause()
        assert text == f"{name} {turn}"
        total = sorted([total], key=lambda n: hub.pause() or n)[0]  # a switch below a C function
    return total


run_all(goes_deep, [(name, name) for name in range(50)])

# ---- woken by threads ----

woken = []


def is_woken(name):
    current = greenlet.getcurrent()
    thread = threading.Thread(target=lambda: hub.soon(current.resume, name))
    thread.start()
    assert hub.wait() == name
    assert GLib.main_depth() == 1
    woken.append(name)
    thread.join()


run_all(is_woken, [(name,) for name in range(GREENLETS)])
assert sorted(woken) == list(range(GREENLETS))

before = ticks
GLib.timeout_add(20, loop.quit)
loop.run()
assert ticks > before
hub.close()

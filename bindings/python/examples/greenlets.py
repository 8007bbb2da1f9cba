"""Greenlets in a GLib main loop, a timer of that loop, and a thread beside it, which all want the same two looms.

The limiter's tokens go round among greenlets and the thread, in order. A greenlet that waits for one keeps neither the timer nor the others waiting.

Needs: gi

Prints::

    40 rows by 4 greenlets, 10 by the thread
    never more than 2 at a time: True
    the timer went on: True
"""

import threading
import time

from gi.repository import GLib

import selvedge.glib
import selvedge.sync

looms = selvedge.sync.CapacityLimiter(2, name="looms")
counting = threading.Lock()
at_work = 0
most = 0
ticks = 0


def enter() -> None:
    global at_work, most
    with counting:
        at_work += 1
        most = max(most, at_work)


def leave() -> None:
    global at_work
    with counting:
        at_work -= 1


def weave(hub: selvedge.glib.GreenletHub, rows: int) -> int:
    """In a greenlet."""
    for _ in range(rows):
        with hub.holding(looms):
            enter()
            hub.sleep(0.002)
            leave()
    return rows


def weave_in_thread(rows: int) -> None:
    for _ in range(rows):
        with looms:
            enter()
            time.sleep(0.002)
            leave()


def tick() -> bool:
    global ticks
    ticks += 1
    return True


def main() -> None:
    loop = GLib.MainLoop()
    with selvedge.glib.GreenletHub() as hub:
        GLib.timeout_add(1, tick)
        thread = threading.Thread(target=weave_in_thread, args=(10,))
        weavers = [hub.spawn(weave, hub, 10) for _ in range(4)]

        def finish() -> None:
            rows = sum(weaver.result() for weaver in weavers)
            hub.run(thread.join)  # blocks, so a worker does it
            print(f"{rows} rows by {len(weavers)} greenlets, 10 by the thread")
            loop.quit()

        hub.spawn(finish)
        thread.start()
        loop.run()
    print("never more than 2 at a time:", most <= 2)
    print("the timer went on:", ticks > 10)


if __name__ == "__main__":
    main()

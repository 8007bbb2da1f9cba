"""The program of a newcomer: a greenlet prints 0 to 9, and between two numbers gives control to the main loop, of which an idle callback
gives it back. That callback returns what the switch returns, an empty tuple, of which PyGObject reads the first item: the process dies.
On the hub the same greenlet comes to its end."""
import signal
import subprocess
import sys

import greenlet
from gi.repository import GLib

CANNOT_RUN = 77


def count(give_control):
    for number in range(10):
        print(number, flush=True)
        give_control()


def on_idle():
    main = greenlet.getcurrent()
    counting = greenlet.greenlet(lambda: count(main.switch))
    GLib.idle_add(counting.switch)
    GLib.MainLoop().run()


def with_no_greenlet():
    print(0, flush=True)
    GLib.idle_add(lambda: ())
    GLib.MainLoop().run()


def on_the_hub():
    from hub import Hub, Task
    hub, loop = Hub(), GLib.MainLoop()
    task = Task(hub, lambda: count(hub.pause), done=lambda _: loop.quit())
    loop.run()
    assert task.dead and task.error is None
    hub.close()


def in_a_child(program):
    ended = subprocess.run([sys.executable, __file__, program.__name__], stdout=subprocess.PIPE, text=True, timeout=60)
    return ended.returncode, ended.stdout.split()


def crashes(program):
    code, printed = in_a_child(program)
    if code >= 0:
        print(f"this PyGObject does not die of {program.__name__}: it ended with {code} and printed {printed}")
        sys.exit(CANNOT_RUN)
    assert -code in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT), signal.Signals(-code)
    assert printed == ["0"], printed


if len(sys.argv) > 1:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    {f.__name__: f for f in (on_idle, with_no_greenlet, on_the_hub)}[sys.argv[1]]()
else:
    code, printed = in_a_child(on_the_hub)
    assert code == 0, code
    assert printed == [str(number) for number in range(10)], printed
    crashes(on_idle)
    crashes(with_no_greenlet)

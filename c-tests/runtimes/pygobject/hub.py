"""A hub for greenlets in a GLib main loop, for the trials beside it.

A greenlet is switched to only from the queue of a selv_host_loop, which a GLib source on its fd drains, and gives control back to the
hub before that queue's callback returns. So GLib's dispatch is left the way it was entered, g_main_depth is right in every greenlet,
and GLib gets a real boolean. The hub is the greenlet that runs the main loop.
"""
import ctypes
import itertools
import os
import sys
import traceback

import gi
gi.require_version("GLib", "2.0")
import greenlet
from gi.repository import GLib


def fatal(*error):
    """PyGObject and ctypes print the exception of a callback and go on; a trial must fail."""
    traceback.print_exception(*error)
    sys.stderr.flush()
    os._exit(1)


sys.excepthook = fatal
sys.unraisablehook = lambda error: fatal(error.exc_value)

lib = ctypes.CDLL(os.environ["SELV_LIBRARY"])
lib.selv_status_name.restype = ctypes.c_char_p
lib.selv_host_loop_fd.argtypes = [ctypes.c_void_p]
lib.selv_host_loop_drain.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p]
lib.selv_host_loop_close.argtypes = [ctypes.c_void_p]
lib.selv_host_loop_release.argtypes = [ctypes.c_void_p]
lib.selv_host_loop_release.restype = None
call_fn = ctypes.CFUNCTYPE(None, ctypes.c_size_t)
lib.selv_host_loop_call_soon.argtypes = [ctypes.c_void_p, call_fn, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_uint32]


class Error(Exception):
    pass


def check(status):
    if status != 0:
        raise Error(lib.selv_status_name(status).decode())


class Hub:
    def __init__(self):
        loop = ctypes.c_void_p()
        check(lib.selv_host_loop_new(None, ctypes.byref(loop)))
        self.loop = loop
        self.greenlet = greenlet.getcurrent()
        self.calls = {}
        self.numbers = itertools.count(1)
        self.drains = 0
        self.run_call = call_fn(self._run_call)
        fd = lib.selv_host_loop_fd(loop)
        self.source = GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, fd, GLib.IOCondition.IN, self._drain)

    def _drain(self, *_fd_and_condition):
        self.drains += 1
        check(lib.selv_host_loop_drain(self.loop, 0, None))
        return GLib.SOURCE_CONTINUE

    def _run_call(self, number):
        fn, args = self.calls.pop(number)
        fn(*args)

    def soon(self, fn, *args):
        """Runs fn in the main loop; it must not raise. From any thread."""
        number = next(self.numbers)
        self.calls[number] = (fn, args)
        check(lib.selv_host_loop_call_soon(self.loop, self.run_call, number, None, 0))

    def wait(self):
        """In a greenlet: gives control to the main loop, until somebody has resumed it. Gives what resume was given."""
        return self.greenlet.switch()

    def pause(self):
        """In a greenlet: lets the main loop do everything else that there is to do."""
        current = greenlet.getcurrent()
        self.soon(current.resume)
        return self.wait()

    def close(self):
        GLib.source_remove(self.source)
        check(lib.selv_host_loop_close(self.loop))
        lib.selv_host_loop_release(self.loop)


class Task(greenlet.greenlet):
    """Begins to run from the queue. `done(task)` is called in the hub when it has ended; `error` is what it raised."""

    def __init__(self, hub, run, *args, done=None):
        super().__init__(run, parent=hub.greenlet)
        self.hub, self.done = hub, done
        self.result = self.error = None
        hub.soon(self.resume, *args)

    def resume(self, *values):
        assert greenlet.getcurrent() is self.hub.greenlet
        try:
            result = self.switch(*values)
        except BaseException as e:  # it has died of it: a greenlet's exception comes out in its parent
            self.error = e
        else:
            self.result = result
        if self.dead and self.done:
            self.done(self)

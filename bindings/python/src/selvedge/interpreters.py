"""Interpreters with a GIL of their own, as workers: pure-Python code in parallel, in one process. CPython 3.12 and
later.

Make an interpreter and run code in it; the worker keeps it for the next job:

>>> from selvedge.interpreters import Channel, InterpreterCache, InterpreterExecutor
>>> cache = InterpreterCache(own_gil=True)
>>> cache.run("import math; math.factorial(n)", n=5)
120

Run functions in several at once, as in threads or processes; a function is sent by its module and name:

>>> import math
>>> with InterpreterExecutor(max_workers=2) as executor:
...     list(executor.map(math.factorial, [3, 4]))
[6, 24]

Pass data through channels, which any thread of any interpreter of the process can hold:

>>> numbers, squares = Channel(), Channel()
>>> job = cache.submit("for each in numbers: squares.send(each * each)", numbers=numbers, squares=squares)
>>> for each in (1, 2, 3):
...     numbers.send(each)
>>> numbers.close()
>>> job.result()
>>> [squares.recv(), squares.recv(), squares.recv()]
[1, 4, 9]

End the interpreters, or leave that to the exit of Python, which does it too:

>>> cache.shutdown()

On CPython 3.10 and 3.11 this module can be imported, and everything in it raises UnsupportedError.

What CPython leaves open: in an interpreter with its own GIL, extension modules load only if they say that they
support it. Of the standard library these do not: in 3.12 ``_datetime``, ``_decimal`` and ``_zoneinfo`` (the slower
Python versions are used), ``_ctypes``, ``_curses``, ``_tkinter`` and ``readline``; in 3.13 the last three. Others are
refused with ImportError. A child made by ``os.fork`` in the main interpreter has no sub-interpreters, whoever made
them: CPython itself would end the child if there are any. ``sys._current_frames()``, which some debuggers and
profilers use, looks into running interpreters without their GIL, in 3.12 and 3.13, and can end the process.
"""

from __future__ import annotations

from selvedge._interp_cache import InterpreterCache, InterpreterFuture, InterpreterStats, RemoteError, RemoteTraceback
from selvedge._interp_channel import Channel, ChannelStats
from selvedge._interp_executor import BrokenInterpreterExecutor, InterpreterExecutor
from selvedge._interp_wire import check_supported
from selvedge._interpreters import SUPPORTED

if SUPPORTED:
    from selvedge._interpreters import interpreter_id
else:

    def interpreter_id() -> int:
        """The number of the interpreter that calls; 0 is the main one."""
        check_supported("interpreter_id")
        raise AssertionError("unreachable")


__all__ = [
    "SUPPORTED",
    "BrokenInterpreterExecutor",
    "Channel",
    "ChannelStats",
    "InterpreterCache",
    "InterpreterExecutor",
    "InterpreterFuture",
    "InterpreterStats",
    "RemoteError",
    "RemoteTraceback",
    "interpreter_id",
]

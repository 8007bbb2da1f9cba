"""Trio on Selvedge: its threads on a `selvedge.ThreadCache`, guest runs with a thread starter of their own, executors
awaited, and the locks of `selvedge.sync` in their awaited form.

    import selvedge.trio

    selvedge.trio.install()     # all of Trio's threads are workers of the process's shared cache from now on
"""

from __future__ import annotations

from selvedge.trio import _locks
from selvedge.trio._futures import run_in_executor, wrap_future
from selvedge.trio._guest import start_guest_run
from selvedge.trio._install import Installation, install, uninstall
from selvedge.trio._locks import *  # noqa: F403

__all__ = ["Installation", "install", "run_in_executor", "start_guest_run", "uninstall", "wrap_future"]
__all__ += _locks.__all__

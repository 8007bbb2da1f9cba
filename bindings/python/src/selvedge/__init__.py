"""Selvedge: one thread cache, hooks, locks and event loops for all language runtimes of a process."""

from selvedge._errors import *  # noqa: F403

"""PyGObject and greenlet, which have no types: the one place that imports them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["GLib", "Greenlet", "GreenletModule", "new_fd_source", "new_timer", "the_greenlet"]


def _repository(name: str) -> Any:
    try:
        importlib.import_module("gi").require_version(name, "2.0")
    except ImportError as error:
        raise ImportError("selvedge.glib needs PyGObject (Debian: python3-gi), which is not there") from error
    return importlib.import_module(f"gi.repository.{name}")


GLib: Any = _repository("GLib")
_GObject: Any = _repository("GObject")


class Greenlet(Protocol):
    """What is used of a greenlet."""

    parent: Greenlet | None

    @property
    def dead(self) -> bool: ...

    def switch(self, *args: Any) -> Any: ...

    def throw(self, error: BaseException) -> Any: ...


class GreenletModule(Protocol):
    GreenletExit: type[BaseException]

    def getcurrent(self) -> Greenlet: ...

    def greenlet(self, run: Callable[..., object], parent: Greenlet) -> Greenlet: ...


def the_greenlet() -> GreenletModule:
    """The package greenlet."""
    try:
        module: Any = importlib.import_module("greenlet")
    except ImportError as error:
        raise ImportError("selvedge.glib.GreenletHub needs greenlet (Debian: python3-greenlet)") from error
    found: GreenletModule = module
    return found


def new_fd_source(fd: int, ready: Callable[..., bool]) -> Any:
    """A GSource that calls ``ready`` when ``fd`` is readable, not attached yet."""
    source = GLib.unix_fd_source_new(fd, GLib.IOCondition.IN)
    # Not set_callback: that is for callbacks without arguments, and this source's has some.
    _GObject.source_set_closure(source, ready)
    return source


def new_timer(seconds: float, call: Callable[[], object], context: Any) -> Any:
    """A GSource in ``context`` that calls ``call`` once, after a time that is rounded up to whole milliseconds."""

    def expired(*_: object) -> bool:
        call()
        return False

    source = GLib.timeout_source_new(min(-int(-seconds * 1000 // 1), 0xFFFF_FFFF))
    source.set_callback(expired)
    source.attach(context)
    return source

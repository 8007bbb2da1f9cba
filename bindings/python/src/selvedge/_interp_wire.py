"""How values cross between interpreters: as pickles, with the channels that are in them counted while they are on
their way."""

from __future__ import annotations

import io
import pickle
import sys
import threading
from typing import Any

from selvedge._errors import UnsupportedError
from selvedge._interpreters import SUPPORTED

__all__ = ["check_supported", "dumps", "loads", "note_channel", "release_channels", "retain_channels"]

MAIN = "__selvedge_main__"


def check_supported(what: str) -> None:
    if not SUPPORTED:
        raise UnsupportedError(
            f"{what} needs CPython 3.12 or later: before that a sub-interpreter has no GIL of its own "
            f"(this is {sys.version_info[0]}.{sys.version_info[1]})"
        )


if SUPPORTED:
    from selvedge._interpreters import release_channels, retain_channels
else:

    def retain_channels(ids: tuple[int, ...], /) -> None:
        check_supported("A channel between interpreters")

    def release_channels(ids: tuple[int, ...], /) -> None:
        check_supported("A channel between interpreters")


class _Collecting(threading.local):
    ids: list[int] | None = None


_collecting = _Collecting()


def note_channel(number: int) -> None:
    """Told by a channel that is being pickled."""
    if _collecting.ids is not None:
        _collecting.ids.append(number)


def dumps(value: object) -> tuple[bytes, tuple[int, ...]]:
    """The pickle, and the numbers of the channels in it, once for each time."""
    outer, _collecting.ids = _collecting.ids, []
    try:
        data = pickle.dumps(value, -1)
        return data, tuple(_collecting.ids)
    finally:
        _collecting.ids = outer


# What a worker's interpreter has in a module of another name. In 3.12 it has no _datetime and no _decimal, and their
# substitutes tell.
_HERE = {MAIN: "__main__", "_pydatetime": "datetime", "_pydecimal": "decimal"}
_THERE = tuple(name.encode() for name in _HERE)


class _MainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        return super().find_class(_HERE.get(module_name, module_name), global_name)


def loads(data: bytes) -> Any:
    worker: Any = sys.modules.get("_selvedge_worker")
    if worker is not None:
        return worker._loads(data)
    if any(name in data for name in _THERE):
        return _MainUnpickler(io.BytesIO(data)).load()
    return pickle.loads(data)

"""What a new interpreter is to begin with. Called on the new worker, in the main interpreter."""

from __future__ import annotations

import importlib.util
import marshal
import os
import pickle
import sys
from typing import Any

_code: bytes | None = None


def main_program() -> tuple[str | None, str | None]:
    """How another interpreter can run the main program's module: by its name, by its file, or not at all (``-c``,
    interactive)."""
    main = sys.modules.get("__main__")
    spec: Any = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return "name", spec.name
    file: Any = getattr(main, "__file__", None)
    if isinstance(file, str) and os.path.isfile(file):
        return "file", os.path.abspath(file)
    return None, None


def seed() -> tuple[bytes, bytes]:
    """The code of ``selvedge/_interp_worker.py``, marshalled, and its settings, pickled."""
    global _code
    if _code is None:
        spec = importlib.util.find_spec("selvedge._interp_worker")
        if spec is None or spec.loader is None:
            raise ImportError("the package is not complete: selvedge/_interp_worker.py is not there")
        _code = marshal.dumps(spec.loader.get_code("selvedge._interp_worker"))  # type: ignore[attr-defined]
    path = [each if each else os.getcwd() for each in sys.path]
    settings = {"path": path, "argv": list(sys.argv), "main": main_program()}
    return _code, pickle.dumps(settings)

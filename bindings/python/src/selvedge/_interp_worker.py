"""What runs in a worker's sub-interpreter. It is executed there as the module ``_selvedge_worker`` and needs only the
standard library, so that an interpreter begins quickly; the package itself is imported there when a job asks for it.
"""

from __future__ import annotations

import pickle
import sys
from types import ModuleType, TracebackType
from typing import Any

MAIN = "__selvedge_main__"

_settings: dict[str, Any] = {}
_initialized: set[str] = set()
_programs: dict[str, tuple[Any, Any]] = {}


def start(settings: bytes, options: bytes) -> str | None:
    """Prepares the interpreter; called once. Gives None, or the text of what failed."""
    _settings.update(pickle.loads(settings))
    strict: bool
    initializer: bytes | None
    strict, initializer = pickle.loads(options)
    sys.path[:] = _settings["path"]
    sys.argv[:] = _settings["argv"]
    if strict:
        _refuse_single_phase()
    if initializer is None:
        return None
    try:
        _perform(initializer)
    except BaseException as error:
        return "the initializer failed:\n" + _describe(error)
    finally:
        _flush()
    return None


def _refuse_single_phase() -> None:
    """An extension module without multi-phase initialisation cannot be loaded here. CPython 3.12 finds that out by
    running its initialiser, which leaves objects of this interpreter in static memory: the process crashes later. So
    the file is looked at first."""
    from importlib.machinery import ExtensionFileLoader, ModuleSpec

    create = ExtensionFileLoader.create_module
    needed = b"PyModuleDef_Init\0"

    def create_module(self: ExtensionFileLoader, spec: ModuleSpec) -> ModuleType:
        if spec.origin is not None:
            with open(spec.origin, "rb") as file:
                tail = b""
                while block := file.read(1 << 20):
                    if needed in tail + block:
                        break
                    tail = block[-len(needed) :]
                else:
                    raise ImportError(
                        f"module {spec.name} does not support loading in a sub-interpreter: "
                        "it has no multi-phase initialisation",
                        name=spec.name,
                        path=spec.origin,
                    )
            if spec.name == "_zoneinfo" and not _can_import("_datetime"):
                text = "_zoneinfo needs _datetime, which cannot be loaded here"
                raise ImportError(text, name=spec.name, path=spec.origin)
        return create(self, spec)

    ExtensionFileLoader.create_module = create_module  # type: ignore[method-assign]


def _can_import(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def load_main() -> None:
    """Makes the main program's functions and classes importable from ``__main__``: runs it as a module of another
    name, once, so that what stands under ``if __name__ == "__main__"`` does not run."""
    if MAIN in sys.modules:
        return
    kind, where = _settings["main"]
    if kind is None:
        return
    import importlib.machinery

    module = ModuleType(MAIN)
    if kind == "name":
        spec: Any = importlib.machinery.PathFinder.find_spec(where) if "." not in where else _find_spec(where)
        if spec is None or spec.loader is None:
            raise ImportError(f"the main program, {where}, is not found in this interpreter", name=where)
        loader: Any = spec.loader
        code = loader.get_code(where)
        module.__spec__ = spec
        module.__file__ = spec.origin
        module.__package__ = spec.parent
    else:
        with open(where, "rb") as file:
            code = compile(file.read(), where, "exec")
        module.__file__ = where
    previous = sys.modules.get("__main__")
    sys.modules[MAIN] = sys.modules["__main__"] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        del sys.modules[MAIN]
        if previous is not None:
            sys.modules["__main__"] = previous
        raise


def _find_spec(name: str) -> Any:
    import importlib.util

    return importlib.util.find_spec(name)


def _loads(data: bytes) -> Any:
    if b"__main__" in data or MAIN.encode() in data:
        load_main()
    return pickle.loads(data)


def _dumps(value: object) -> tuple[bytes, tuple[int, ...]]:
    # No channel is in the value if the module of channels was never imported here.
    wire = sys.modules.get("selvedge._interp_wire")
    if wire is None:
        return pickle.dumps(value, -1), ()
    data, ids = wire.dumps(value)
    wire.retain_channels(ids)  # until the main interpreter has its own handles
    return data, ids


def _compile(source: str) -> tuple[Any, Any]:
    """The statements of a program, and its last expression, whose value is the result."""
    found = _programs.get(source)
    if found is None:
        import ast
        import linecache

        name = f"<selvedge program {len(_programs) + 1}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        tree = ast.parse(source, name)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = compile(ast.Expression(tree.body.pop().value), name, "eval")  # type: ignore[attr-defined]
        found = compile(tree, name, "exec"), last
        if len(_programs) < 256:
            _programs[source] = found
    return found


def _perform(call: bytes) -> Any:
    kind, what, args, kwargs = _loads(call)
    if kind == "source":
        names: dict[str, Any] = {"__name__": "__selvedge_program__", "args": args, **kwargs}
        statements, last = _compile(what)
        exec(statements, names)
        return eval(last, names) if last is not None else None
    if kind == "chunk":
        return [what(*each) for each in args[0]]
    return what(*args, **kwargs)


def _pack(kind: bytes, value: object) -> bytes:
    data, ids = _dumps(value)
    head = kind + len(ids).to_bytes(4, "little") + b"".join(number.to_bytes(8, "little") for number in ids)
    return head + data


def run(job: bytes) -> bytes:
    """Runs one job. A job that must come after an executor's initializer carries that before it."""
    try:
        key, initializer, call = pickle.loads(job)
        if initializer is not None and key not in _initialized:
            try:
                _perform(initializer)
            except BaseException as error:
                return fail(error, b"B")
            _initialized.add(key)
        return _pack(b"R", _perform(call))
    except BaseException as error:
        return fail(error)
    finally:
        _flush()


def fail(error: BaseException, kind: bytes = b"E") -> bytes:
    """The exception as it goes to the main interpreter: pickled if that can be undone, and its type, text and
    traceback in any case."""
    text = _describe(error)
    pickled: bytes | None = None
    try:
        pickled = pickle.dumps(error, -1)
        pickle.loads(pickled)
    except BaseException:
        pickled = None
    if pickled is not None and b"__selvedge_program__" in pickled:
        pickled = None
    try:
        said = str(error)
    except Exception:
        said = "<its text cannot be had>"
    name = type(error).__qualname__
    if type(error).__module__ not in ("builtins", MAIN, "__main__"):
        name = f"{type(error).__module__}.{name}"
    return _pack(kind, (pickled, name, said, text))


def _describe(error: BaseException) -> str:
    import traceback

    place: TracebackType | None = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename == __file__:
        place = place.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, place))
    except Exception:
        return f"{type(error).__name__}: its traceback cannot be formatted"


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def finish() -> None:
    """Called before the interpreter's end: what that would do itself first, in a state in which everything is there
    still. In 3.13.0 the worker is a foreign thread for ``threading`` here, and the record of it complains if it goes
    later."""
    threading: Any = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()
        threading._shutdown = lambda: None
    atexit: Any = __import__("atexit")
    atexit._run_exitfuncs()
    if threading is not None:
        record: Any = getattr(threading, "_thread_local_info", None)
        if hasattr(record, "_track_dummy_thread_ref"):
            del record._track_dummy_thread_ref
    _flush()

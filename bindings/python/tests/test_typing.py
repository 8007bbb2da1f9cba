"""The package and a program that uses all of it, under mypy and pyright at their strictest, for the oldest Python and for the newest.

The checkers are in an environment of their own, target/python/typing; what they look at is the installed package.
"""

# timeout: 300
from __future__ import annotations

import ast
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import selvedge

pytestmark = pytest.mark.once

TESTS = Path(__file__).resolve().parent
SAMPLE = TESTS / "typing_sample.py"
PACKAGE = Path(selvedge.__file__).parent
CHECKERS = TESTS.parents[2] / "target" / "python" / "typing" / "bin"
VERSIONS = ["3.10", "3.13"]


def check(command: list[str | Path], folder: Path) -> str:
    if not CHECKERS.exists():
        pytest.skip(f"no type checkers in {CHECKERS}: see what `tools/setup.sh test` says")
    settings = {"PYRIGHT_PYTHON_GLOBAL_NODE": "0", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    ended = subprocess.run(
        [CHECKERS / command[0], *command[1:]], cwd=folder, env=os.environ | settings, capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_mypy(tmp_path: Path, version: str) -> None:
    seen = ["--strict", "--no-incremental", "--python-version", version, "--python-executable", sys.executable]
    told = check(["mypy", *seen, "-p", "selvedge"], tmp_path)
    assert told.startswith("Success"), told
    told = check(["mypy", *seen, "--warn-unreachable", SAMPLE], tmp_path)
    assert told.startswith("Success"), told


@pytest.mark.parametrize("version", VERSIONS)
def test_pyright(tmp_path: Path, version: str) -> None:
    settings = {
        "include": [str(PACKAGE), str(SAMPLE)],
        "exclude": [],
        "typeCheckingMode": "strict",
        "pythonVersion": version,
        "pythonPlatform": "Linux",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    told = json.loads(check(["pyright", "--outputjson", "--pythonpath", sys.executable], tmp_path))
    assert told["summary"]["filesAnalyzed"] == 1 + sum(1 for path in PACKAGE.rglob("*") if path.suffix in (".py", ".pyi"))
    assert told["generalDiagnostics"] == []


def test_pyright_finds_every_type(tmp_path: Path) -> None:
    """Nothing public is left to a checker's guess."""
    told = json.loads(
        check(["pyright", "--outputjson", "--ignoreexternal", "--pythonpath", sys.executable, "--verifytypes", "selvedge"], tmp_path)
    )
    symbols = told["typeCompleteness"]["symbols"]
    guessed = [symbol["name"] for symbol in symbols if symbol["isExported"] and not symbol["isTypeKnown"]]
    assert guessed == []
    assert {symbol["name"] for symbol in symbols} >= {"selvedge.cache.ThreadCache", "selvedge.sync.Lock"}


Name = tuple[str, str]
"""A module and a name in it."""


def public_names() -> list[set[Name]]:
    """The public objects of the package: each with all the names under which it can be imported."""
    found = dict[tuple[int, str], set[Name]]()
    modules = ["selvedge", *(info.name for info in pkgutil.walk_packages(selvedge.__path__, "selvedge.") if "._" not in info.name)]
    for module in modules:
        if module == "selvedge.glib":  # it wants PyGObject: read, not imported
            for name in ast.literal_eval(assigned(PACKAGE / "glib.py", "__all__")):
                found[hash(name), name] = {(module, name)}
            continue
        imported = importlib.import_module(module)
        for name in imported.__all__:
            found.setdefault((id(getattr(imported, name)), name), set()).add((module, name))
    return list(found.values())


def assigned(file: Path, name: str) -> ast.expr:
    """What a module assigns to a name."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node.value
    raise AssertionError(f"{file} has no {name}")


def names_used(program: ast.Module) -> set[Name]:
    """`sync.Lock` and `selvedge.sync.Lock`, as well as what is imported by name."""
    used = set[Name]()
    modules = {"selvedge": "selvedge"}
    for node in ast.walk(program):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            used |= {(node.module, alias.name) for alias in node.names}
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(program):
        if isinstance(node, ast.Attribute):
            base = ast.unparse(node.value)
            used.add((modules.get(base, base), node.attr))
    return used


def test_sample_uses_every_public_name() -> None:
    used = names_used(ast.parse(SAMPLE.read_text()))
    assert [min(names) for names in public_names() if not names & used] == []

"""The package, and a program that uses all of it, under mypy and pyright at their strictest.

The checkers are in an environment of their own, target/python/typing; what they look at is the installed package.
"""

# timeout: 300
from __future__ import annotations

import ast
import importlib
import json
import os
import pkgutil
import shutil
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


def check(checker: str, *arguments: str | Path, folder: Path) -> str:
    """What a checker says, whatever it found."""
    if not CHECKERS.exists():
        pytest.skip(f"no type checkers in {CHECKERS}: see what `tools/setup.sh test` says")
    # Not whichever Node stands in PATH; but the Python there is the one that --verifytypes asks.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    settings = {"PYRIGHT_PYTHON_GLOBAL_NODE": "0", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1", "PATH": path}
    ended = subprocess.run(
        [CHECKERS / checker, *arguments],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode in (0, 1) and ended.stderr == "", ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_mypy(tmp_path: Path, version: str) -> None:
    settings = ["--strict", "--no-incremental", "--python-version", version, "--python-executable", sys.executable]
    told = check("mypy", *settings, "-p", "selvedge", folder=tmp_path)
    assert told.startswith("Success"), told
    told = check("mypy", *settings, "--warn-unreachable", SAMPLE, folder=tmp_path)
    assert told.startswith("Success"), told


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", [PACKAGE, SAMPLE], ids=["package", "sample"])
def test_pyright(tmp_path: Path, version: str, what: Path) -> None:
    """On copies: what it finds in an environment it takes for another's, and says nothing about."""
    if what.is_dir():
        shutil.copytree(what, tmp_path / what.name)
    else:
        shutil.copy2(what, tmp_path)
    settings = {
        "include": [what.name],
        "typeCheckingMode": "strict",
        "pythonVersion": version,
        "pythonPlatform": "Linux",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    told = json.loads(check("pyright", "--outputjson", folder=tmp_path))
    found = [
        f"{Path(at['file']).name}:{at['range']['start']['line'] + 1}: {at['message']}"
        for at in told["generalDiagnostics"]
    ]
    assert not found, "\n".join(found)
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".py", ".pyi")]
    assert told["summary"]["filesAnalyzed"] == len(files)


def test_pyright_finds_every_type(tmp_path: Path) -> None:
    """Nothing public is left to a checker's guess."""
    told = json.loads(
        check("pyright", "--outputjson", "--ignoreexternal", "--verifytypes", "selvedge", folder=tmp_path)
    )
    symbols = {symbol["name"]: symbol for symbol in told["typeCompleteness"]["symbols"] if symbol["isExported"]}
    guessed = [f"{name}: {symbol['diagnostics']}" for name, symbol in symbols.items() if not symbol["isTypeKnown"]]
    assert not guessed, "\n".join(guessed)
    assert symbols.keys() >= {"selvedge.default_cache", "selvedge.sync.Barrier.wait"}


Name = tuple[str, str]
"""A module and a name in it."""


def public_names() -> list[set[Name]]:
    """The public objects of the package: each with all the names under which it can be imported."""
    found = dict[tuple[int, str], set[Name]]()
    modules = [
        "selvedge",
        *(info.name for info in pkgutil.walk_packages(selvedge.__path__, "selvedge.") if "._" not in info.name),
    ]
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

"""The programs of bindings/python/examples, each run as it stands in a process of its own.

What one prints stands at the end of its docstring, below the line ``Prints::``, indented. A line ``Needs: ...`` there says what it cannot
do without, as in test_docs.py.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from pathlib import Path

import pytest
from test_docs import ROOT, marks, run

FOLDER = ROOT / "bindings" / "python" / "examples"


def parts(example: Path) -> tuple[list[str], str]:
    """What it needs, and what it prints."""
    text = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    story, line, output = text.partition("Prints::\n")
    assert line, f"{example} does not say what it prints"
    needs = re.search(r"^Needs: (.*)$", story, re.MULTILINE)
    wanted = [need.strip() for need in needs[1].split(",")] if needs is not None else []
    return wanted, textwrap.dedent(output).strip("\n") + "\n"


EXAMPLES = {path: parts(path) for path in sorted(FOLDER.glob("*.py"))}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize(
    "example", [pytest.param(path, id=path.stem, marks=marks(needs)) for path, (needs, _) in EXAMPLES.items()]
)
def test_example_prints_what_it_says(example: Path, tmp_path: Path) -> None:
    copy = tmp_path / example.name
    copy.write_bytes(example.read_bytes())
    assert run([sys.executable, str(copy)], tmp_path) == EXAMPLES[example][1]

"""The programs of docs/python.md and of the two READMEs, each run as it stands in a process of its own.

What a page says a program prints is the ``text`` block that follows it; a program with none prints nothing. A comment before a program,
``<!-- needs: python>=3.12, gi -->``, says what it cannot do without: a newer Python, or PyGObject. ``<!-- library: name -->`` before one in
C: it is no program but a library, for the Python program that follows it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import selvedge

ROOT = Path(os.environ.get("SELVEDGE_ROOT", Path(__file__).resolve().parents[3]))
PAGE = ROOT / "docs" / "python.md"
PAGES = [PAGE, ROOT / "README.md", ROOT / "bindings" / "python" / "README.md"]
SECONDS = 120

FENCE = re.compile(r"^```(\w*)$")
NEEDS = re.compile(r"^<!-- needs: (.*) -->$")
LIBRARY = re.compile(r"^<!-- library: (\w+) -->$")


@dataclass
class Program:
    page: str
    heading: str
    language: str
    text: str
    needs: list[str]
    output: str = ""
    library: Program | None = None
    """What is compiled beside it."""

    @property
    def name(self) -> str:
        return re.sub(r"\W+", "-", f"{self.page} {self.heading}".lower()).strip("-")


def programs(page: Path) -> Iterator[Program]:
    """The Python and C blocks of a page, each with the output that the page gives."""
    heading, needs, language = "", list[str](), ""
    block: list[str] | None = None
    last: Program | None = None
    library: Program | None = None
    library_name = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = FENCE.match(line)
        if block is None:
            comment, is_library = NEEDS.match(line), LIBRARY.match(line)
            if fence is not None:
                language, block = fence[1], []
            elif comment is not None:
                needs = [need.strip() for need in comment[1].split(",")]
            elif is_library is not None:
                library_name = is_library[1]
            elif line.startswith("#"):
                heading, needs = line.lstrip("# "), []
        elif line != "```":
            block.append(line)
        else:
            text = "\n".join(block) + "\n"
            block = None
            if language == "c" and library_name:
                library = Program(page.name, library_name, language, text, needs)
                library_name = ""
            elif language in ("python", "c"):
                if last is not None:
                    yield last
                last = Program(page.name, heading, language, text, needs, library=library)
                needs, library = [], None
            elif language == "text" and last is not None:
                last.output = text
                yield last
                last = None
    assert block is None, f"{page}: a block without an end"
    assert library is None, f"{page}: a library without a program"
    if last is not None:
        yield last


# The C programs of the project's README are no hosts of Python, and have tests of their own (tests/examples.rs).
ALL = [program for page in PAGES for program in programs(page) if page == PAGE or program.language == "python"]


def marks(needs: list[str]) -> list[pytest.MarkDecorator]:
    """What keeps a program away from a Python that lacks what it needs: see conftest.py."""
    made = list[pytest.MarkDecorator]()
    for need in needs:
        version = re.fullmatch(r"python>=3\.(\d+)", need)
        assert version is not None or need == "gi", f"{need!r} is not known here"
        if version is None:
            made.append(pytest.mark.pygobject)
        else:
            made.append(pytest.mark.only_python(*(f"3.{minor}" for minor in range(int(version[1]), 14))))
    return made


def named(language: str) -> list[Any]:
    chosen = [program for program in ALL if program.language == language]
    return [
        pytest.param(program, id=f"{program.name}-{number}", marks=marks(program.needs))
        for number, program in enumerate(chosen, 1)
    ]


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Standard output of a program that ends well and has nothing to complain about."""
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_pages_have_programs() -> None:
    assert len([program for program in ALL if program.language == "python"]) >= 10
    assert any(program.language == "c" for program in ALL)


@pytest.mark.parametrize("program", named("python"))
def test_program_prints_what_the_page_says(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(program.text, encoding="utf-8")
    if program.library is not None:
        (tmp_path / f"{program.library.heading}.c").write_text(program.library.text, encoding="utf-8")
        compile_for_jvm(tmp_path / f"{program.library.heading}.c")
    assert run([sys.executable, str(file)], tmp_path) == program.output


def found(kind: str, version: str = "") -> list[str] | None:
    """The fields of the newest runtime of a kind in target/runtimes/found.tsv; version: only one that begins so."""
    table = ROOT / "target" / "runtimes" / "found.tsv"
    if not table.exists():
        return None
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row[0] == kind and f"{row[1]}.".startswith(version)]
    return max(rows, key=lambda row: [int(part) for part in re.findall(r"\d+", row[1])], default=None)


def compile_for_jvm(source: Path, *flags: str) -> Path:
    """The shared library made of a C file beside it, linked with the newest JVM, and with the libselvedge that the package has loaded."""
    jvm, compiler = found("jvm"), shutil.which("cc")
    if jvm is None or compiler is None:
        pytest.skip(f"needs a C compiler ({compiler}) and a JVM ({jvm})")
    library = source.with_suffix(".so")
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I", str(ROOT / "include"), *flags]
    libraries = ["-L", str(ROOT / "target" / "release"), "-lselvedge", *jvm[3].split()]
    run([compiler, *options, *jvm[2].split(), str(source), "-o", str(library), *libraries], source.parent)
    return library


@pytest.mark.parametrize("program", named("c"))
def test_host_prints_what_the_page_says(program: Program, tmp_path: Path) -> None:
    """Compiled against the Python that runs this test and the newest JVM; linked with the libselvedge of the source tree."""
    python, jvm, compiler = found("python", "%d.%d." % sys.version_info[:2]), found("jvm"), shutil.which("cc")
    if python is None or jvm is None or compiler is None:
        pytest.skip(f"needs a C compiler ({compiler}), headers and library of this Python ({python}) and of a JVM ({jvm})")
    library = ROOT / "target" / "release"
    (tmp_path / "host.c").write_text(program.text, encoding="utf-8")
    flags = [*python[2].split(), *jvm[2].split(), "-I", str(ROOT / "include"), "-L", str(library)]
    libraries = ["-lselvedge", f"-Wl,-rpath,{library}", *python[3].split(), *jvm[3].split()]
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "host.c", "-o", "host", "-rdynamic", *flags, *libraries]
    run(command, tmp_path)
    home = dict(pair.split("=", 1) for pair in python[4].split() if "=" in pair)
    packages = os.pathsep.join(entry for entry in sys.path if entry)
    assert run([str(tmp_path / "host")], tmp_path, PYTHONPATH=packages, **home) == program.output


def test_page_tells_of_every_public_module() -> None:
    page = PAGE.read_text(encoding="utf-8")
    folder = Path(selvedge.__file__).parent
    public = {path.stem for path in folder.glob("[!_]*.py")} - {"cache", "hooks", "executor"}
    public |= {path.parent.name for path in folder.glob("[!_]*/__init__.py")}
    assert {name for name in public if f"selvedge.{name}" not in page} == set()
    assert {name for name in selvedge.__all__ if name not in page} == set()


@pytest.mark.parametrize(
    ("file", "listed"),
    [
        ("test_trio_published.py", r'::(test_\w+)"'),
        ("test_lock_tests.py", r'"\w+Tests",\s+"(test_\w+)"'),
        ("test_aio_cpython.py", r'^    "\w+Tests\.(test_\w+)": '),
        ("test_executor_cpython.py", r'^    "\w+Test\.(test_\w+)": '),
    ],
)
def test_page_names_each_published_test_that_does_not_pass(file: str, listed: str) -> None:
    source = Path(__file__).with_name(file).read_text(encoding="utf-8")
    names = re.findall(listed, source, re.MULTILINE)
    assert names, f"{file}: the table has another shape"
    page = PAGE.read_text(encoding="utf-8")
    assert f"[{file}]" in page
    assert {name for name in names if not re.search(rf"\b{name}`", page)} == set()

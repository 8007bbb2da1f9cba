"""What is in the wheel, how its files hang together, and which libselvedge a process gets: the host's, if it has one.

The wheel itself is the one that `make wheel` has left in target/wheels.
"""

# timeout: 300
from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_bytes
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from conftest import RunProgram

import selvedge

BINDING = Path(__file__).resolve().parent.parent
PROJECT = BINDING.parent.parent
PACKAGE = Path(selvedge.__file__).parent
SONAME = "libselvedge.so.0"
LIBRARY = PACKAGE / SONAME
EXTENSIONS = ("_cache", "_interpreters", "_loop", "_sync")
FILES = [PACKAGE / f"{name}{EXTENSION_SUFFIXES[0]}" for name in EXTENSIONS]
VERSION = re.findall(r'^version = "(.*)"', (PROJECT / "Cargo.toml").read_text(), re.MULTILINE)[0]


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def dynamic(file: Path, entry: str) -> list[str]:
    """The values of one entry of the dynamic section: NEEDED, SONAME, RUNPATH."""
    return re.findall(rf"\({entry}\).*\[(.*)\]", output_of("readelf", "--dynamic", "--wide", file))


@pytest.fixture(scope="module")
def wheel() -> Path:
    tag = "cp%d%d" % sys.version_info[:2]
    found = list((PROJECT / "target" / "wheels").glob(f"selvedge-{VERSION}-{tag}-{tag}-linux_*.whl"))
    assert len(found) == 1, f"one wheel expected for {tag}: {found}"
    return found[0]


def expected_files() -> set[str]:
    sources = {
        path.relative_to(BINDING / "src").as_posix()
        for path in (BINDING / "src" / "selvedge").rglob("*")
        if path.suffix in (".py", ".pyi")
    }
    native = {f"selvedge/{name}" for name in (SONAME, "py.typed", *(file.name for file in FILES))}
    about = {"METADATA", "RECORD", "WHEEL", "top_level.txt", "licenses/LICENSE-APACHE", "licenses/LICENSE-MIT"}
    return sources | native | {f"selvedge-{VERSION}.dist-info/{name}" for name in about}


def test_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == expected_files()
        for name in archive.namelist():
            if name.endswith((".py", ".pyi")):
                assert archive.read(name) == (BINDING / "src" / name).read_bytes(), name
        licence = archive.read(f"selvedge-{VERSION}.dist-info/licenses/LICENSE-MIT")
        assert licence == (PROJECT / "LICENSE-MIT").read_bytes()


def test_every_extension_has_its_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "selvedge/py.typed" in names
    for name in EXTENSIONS:
        assert f"selvedge/{name}.pyi" in names


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = message_from_bytes(archive.read(f"selvedge-{VERSION}.dist-info/METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("selvedge", VERSION)
    assert metadata["License-Expression"] == "MIT OR Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE-APACHE", "LICENSE-MIT"]
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    assert metadata.get_payload() == (BINDING / "README.md").read_text()
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_installed_is_the_wheel(wheel: Path) -> None:
    """Else the other tests here would be about something else."""
    with zipfile.ZipFile(wheel) as archive:
        for line in archive.read(f"selvedge-{VERSION}.dist-info/RECORD").decode().splitlines():
            name, digest, _ = line.rsplit(",", 2)
            if not name.startswith("selvedge/"):
                continue
            data = (PACKAGE.parent / name).read_bytes()
            assert digest == "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("="), (
                name
            )


@pytest.mark.parametrize("file", [*FILES, LIBRARY], ids=lambda file: file.name)
def test_elf(file: Path) -> None:
    """No debug information, no interpreter's library, no path of the machine that built it."""
    sections = output_of("readelf", "--sections", "--wide", file)
    assert ".text" in sections
    assert ".debug_" not in sections
    system = {"libc.so.6", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "libdl.so.2", "ld-linux-x86-64.so.2"}
    if file == LIBRARY:
        assert dynamic(file, "SONAME") == [SONAME]
        assert dynamic(file, "RUNPATH") == []
        assert set(dynamic(file, "NEEDED")) <= system
    else:
        assert dynamic(file, "RUNPATH") == ["$ORIGIN"]
        assert SONAME in dynamic(file, "NEEDED")
        assert set(dynamic(file, "NEEDED")) <= system | {SONAME}
        data = file.read_bytes()
        assert os.fsencode(PROJECT) not in data
        assert os.fsencode(sys.base_prefix) + b"/lib" not in data
    assert dynamic(file, "RPATH") == []


@pytest.mark.parametrize("name", EXTENSIONS)
def test_exports(name: str) -> None:
    file = PACKAGE / f"{name}{EXTENSION_SUFFIXES[0]}"
    symbols = output_of("nm", "--dynamic", "--defined-only", "--format=posix", file).splitlines()
    assert [line.split()[0] for line in symbols] == [f"PyInit_{name}"]


def test_library_exports_its_functions_only() -> None:
    symbols = output_of("nm", "--dynamic", "--defined-only", "--format=posix", LIBRARY).splitlines()
    assert symbols
    assert [line for line in symbols if not line.startswith("selv_")] == []


# ---- which library ----

TELL = """
import ctypes, re, selvedge, {modules}
cache = ctypes.c_void_p()
path, = {{match[0] for line in open("/proc/self/maps") if (match := re.search(r"/\\S*libselvedge\\S*$", line))}}
assert ctypes.CDLL(path).selv_cache_default(ctypes.byref(cache)) == 0
assert selvedge.default_cache().address == cache.value
print(path)
""".format(modules=", ".join(f"selvedge.{name}" for name in EXTENSIONS))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A copy of the library, as a host would have it installed."""
    file = tmp_path / "host" / SONAME
    file.parent.mkdir()
    shutil.copy2(LIBRARY, file)
    return file


def test_own_library(run_program: RunProgram) -> None:
    assert Path(run_program(TELL).strip()) == LIBRARY


@pytest.mark.parametrize("mode", ["RTLD_GLOBAL", "RTLD_LOCAL"])
def test_library_that_the_host_opened(run_program: RunProgram, elsewhere: Path, mode: str) -> None:
    before = f"import ctypes; ctypes.CDLL({str(elsewhere)!r}, mode=ctypes.{mode})\n"
    assert Path(run_program(before + TELL).strip()) == elsewhere


def test_library_that_was_preloaded(run_program: RunProgram, elsewhere: Path) -> None:
    assert Path(run_program(TELL, LD_PRELOAD=str(elsewhere)).strip()) == elsewhere


HOST = """
#include <Python.h>
#include <selvedge.h>
int main(int argc, char **argv) {
  selv_cache *cache;
  if (argc != 2 || selv_cache_default(&cache) != SELV_OK) return 3;
  Py_InitializeEx(0);
  int failed = PyRun_SimpleString(argv[1]);
  selv_cache_release(cache);
  return Py_FinalizeEx() != 0 || failed ? 4 : 0;
}
"""


def embedding_flags() -> list[str]:
    var = sysconfig.get_config_var
    words = [f"-I{sysconfig.get_path('include')}", f"-L{var('LIBDIR')}", f"-Wl,-rpath,{var('LIBDIR')}"]
    return [*words, f"-lpython{var('LDVERSION')}"]


def test_library_that_the_host_is_linked_with(tmp_path: Path, elsewhere: Path) -> None:
    """A program in C that has the default cache before it starts Python: the package's is the same one."""
    source, host = tmp_path / "host.c", tmp_path / "a.out"
    source.write_text(HOST)
    linked = [f"-I{PROJECT / 'include'}", f"-L{elsewhere.parent}", f"-l:{SONAME}", f"-Wl,-rpath,{elsewhere.parent}"]
    output_of("gcc", source, "-o", host, *linked, *embedding_flags())
    find = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
    environment = os.environ | {"PYTHONHOME": sys.base_prefix}
    ended = subprocess.run([host, find + TELL], capture_output=True, text=True, timeout=60, env=environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert Path(ended.stdout.strip()) == elsewhere


# ---- the wrong library ----


def functions_used() -> list[str]:
    found = set[str]()
    for file in FILES:
        symbols = output_of("nm", "--dynamic", "--undefined-only", "--format=posix", file).split()
        found.update(word for word in symbols if word.startswith("selv_"))
    return sorted(found)


def fake_library(folder: Path, version: str, abi: int) -> Path:
    """A library that has every function that the extensions want, and can do nothing but tell its version."""
    folder.mkdir()
    source, file = folder / "fake.c", folder / SONAME
    told = {"selv_version": f'const char *selv_version(void) {{ return "{version}"; }}'}
    told["selv_abi_version"] = f"unsigned selv_abi_version(void) {{ return {abi}; }}"
    lines = [told.get(name, f"void {name}(void) {{ __builtin_trap(); }}") for name in functions_used()]
    source.write_text("\n".join(lines) + "\n")
    output_of("gcc", "-shared", "-fPIC", source, f"-Wl,-soname,{SONAME}", "-o", file)
    return file


REFUSED = """
import ctypes, importlib
ctypes.CDLL({library!r})
for name in ("selvedge", *{modules!r}):
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(error)
    else:
        raise SystemExit(name + " was imported")
"""


@pytest.mark.parametrize(("version", "abi"), [("0.0.9", 0), (VERSION, 7), ("2.0.0", 1), ("strange", 0)])
def test_library_of_a_wrong_version(run_program: RunProgram, tmp_path: Path, version: str, abi: int) -> None:
    library = fake_library(tmp_path / "fake", version, abi)
    modules = [f"selvedge.{name}" for name in EXTENSIONS]
    told = run_program(REFUSED.format(library=str(library), modules=modules)).splitlines()
    assert len(told) == 1 + len(modules)
    for line in told:
        assert str(library) in line
        assert f"version {version} and ABI {abi}" in line
        assert f"built for version {VERSION} or later with ABI 0" in line


def test_library_of_a_later_version_is_welcome(run_program: RunProgram, elsewhere: Path) -> None:
    """The same library, but for the version that it tells."""
    data = elsewhere.read_bytes()
    own, later = f"{VERSION}\0".encode(), f"9{VERSION[1:]}\0".encode()
    assert data.count(own) == 1
    elsewhere.write_bytes(data.replace(own, later))
    before = f"import ctypes; ctypes.CDLL({str(elsewhere)!r})\n"
    told = run_program(before + TELL + "print(selvedge.library_version)").split()
    assert told == [str(elsewhere), later.decode().rstrip("\0")]


def test_two_libraries(run_program: RunProgram, elsewhere: Path, tmp_path: Path) -> None:
    """One under another soname, so that the loader takes both: two default caches, which nobody wants."""
    other = tmp_path / "libselvedge.so.0.1"
    data = elsewhere.read_bytes()
    assert data.count(SONAME.encode() + b"\0") == 1
    other.write_bytes(data.replace(SONAME.encode() + b"\0", b"libselvedge.so.9\0"))
    told = run_program(REFUSED.format(library=str(other), modules=["selvedge._cache"]))
    for line in told.splitlines():
        assert "two libselvedge" in line
        assert str(other) in line
        assert str(LIBRARY) in line


# ---- without make ----


@pytest.mark.once
def test_pip_alone(wheel: Path, tmp_path: Path) -> None:
    """`pip wheel bindings/python` gives the same, and leaves the source tree as it was."""

    def tree() -> dict[Path, int]:
        left_out = {"tests", "examples", "__pycache__", ".mypy_cache", ".ruff_cache"}
        paths = [path for path in BINDING.rglob("*") if not left_out & set(path.parts)]
        return {path: 0 if path.is_dir() else path.lstat().st_mtime_ns for path in paths}

    wheelhouse = PROJECT / "target" / "python" / "wheelhouse"
    before = tree()
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse)}
    ended = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(BINDING)],
        env=os.environ | offline,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert tree() == before
    made = tmp_path / wheel.name
    with zipfile.ZipFile(made) as one, zipfile.ZipFile(wheel) as other:
        assert one.namelist() == other.namelist()

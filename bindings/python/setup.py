"""Builds the extensions, and puts the library itself beside them: see `make wheel` in the project's Makefile."""

import re
import shutil
import subprocess
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
LIBRARY = PROJECT / "target" / "release" / "libselvedge.so"

VERSION = re.search(r'^version = "(.*)"', (PROJECT / "Cargo.toml").read_text(), re.M).group(1)  # type: ignore[union-attr]
ABI = re.search(r"^const ABI: u32 = (\d+);", (PROJECT / "build.rs").read_text(), re.M).group(1)  # type: ignore[union-attr]
SONAME = f"libselvedge.so.{ABI}"

# What each extension is made of, beside common.c.
EXTENSIONS = {"_cache": "cache*.c", "_sync": "sync*.c", "_loop": "loop*.c", "_interpreters": "interpreters*.c"}


def library() -> Path:
    if not LIBRARY.exists():
        subprocess.run(["cargo", "build", "--release", "--locked", "--lib"], cwd=PROJECT, check=True)
    soname = LIBRARY.with_name(SONAME)
    if not soname.exists():
        soname.symlink_to(LIBRARY.name)
    return LIBRARY


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        target = Path(self.build_lib) / "selvedge" / SONAME
        shutil.copy2(library(), target)
        subprocess.run(["strip", "--strip-debug", str(target)], check=True)


def extension(name: str, pattern: str) -> Extension:
    sources = sorted(str(path.relative_to(HERE)) for path in (HERE / "native").glob(pattern))
    return Extension(
        f"selvedge.{name}",
        sources=["native/common.c", *sources],
        depends=[str(path.relative_to(HERE)) for path in (HERE / "native").glob("*.h")],
        include_dirs=[str(PROJECT / "include"), "native"],
        define_macros=[("SELVPY_VERSION", f'"{VERSION}"')],
        extra_compile_args=["-std=c11", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"],
        library_dirs=[str(LIBRARY.parent)],
        libraries=[f":{SONAME}"],
        runtime_library_dirs=["$ORIGIN"],
    )


library()
setup(
    version=VERSION,
    ext_modules=[extension(name, pattern) for name, pattern in EXTENSIONS.items()],
    cmdclass={"build_py": BuildPy},
)

"""Builds the extensions, and puts the library itself beside them: `make wheel`, or `pip wheel bindings/python`.

Whatever is made on the way is made in a temporary folder: the source tree stays as it is.
"""

import atexit
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Command, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
LIBRARY = PROJECT / "target" / "release" / "libselvedge.so"

# What each extension is made of, beside common.c.
EXTENSIONS = {"_cache": "cache*.c", "_sync": "sync*.c", "_loop": "loop*.c", "_interpreters": "interpreters*.c"}

# Another compiler's new warning shall not keep a user from installing; `make wheel` wants none.
WARNINGS = ["-Werror"] if os.environ.get("SELV_WERROR") == "1" else []


def value_in(file: str, pattern: str) -> str:
    path = PROJECT / file
    if not path.exists():
        raise SystemExit(f"selvedge is built inside its project, of which {path} is not there")
    found = re.search(pattern, path.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{path} has no line that matches {pattern}")
    return found[1]


VERSION = value_in("Cargo.toml", r'^version = "(.*)"')
SONAME = "libselvedge.so." + value_in("build.rs", r"^const ABI: u32 = (\d+);")


def library() -> Path:
    """The shared library, built if nobody has; with the link by which the linker finds it under its soname."""
    if not LIBRARY.exists():
        if shutil.which("cargo") is None:
            raise SystemExit(f"{LIBRARY} is not there, and no cargo to build it with: https://rustup.rs installs one")
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


class BuildExt(build_ext):
    def run(self) -> None:
        library()
        super().run()

    def build_extensions(self) -> None:
        # A Python that was linked with its own folder as search path hands that on. No extension needs it, and in a
        # wheel it would name the machine that built it.
        own = sysconfig.get_config_var("LIBDIR")
        kept = [word for word in self.compiler.linker_so if word not in (f"-L{own}", f"-Wl,-rpath,{own}")]
        self.compiler.set_executable("linker_so", kept)
        super().build_extensions()


class Refuse(Command):
    user_options = []  # type: ignore[var-annotated]  # noqa: RUF012

    def initialize_options(self) -> None:
        raise SystemExit("selvedge comes as a wheel only (make wheel); to work on it, see bindings/python/dev.sh")

    def finalize_options(self) -> None: ...

    def run(self) -> None: ...


def extension(name: str, pattern: str) -> Extension:
    sources = sorted(str(path.relative_to(HERE)) for path in (HERE / "native").glob(pattern))
    return Extension(
        f"selvedge.{name}",
        sources=["native/common.c", *sources],
        depends=[str(path.relative_to(HERE)) for path in (HERE / "native").glob("*.h")],
        include_dirs=[str(PROJECT / "include"), "native"],
        define_macros=[("SELVPY_VERSION", f'"{VERSION}"')],
        extra_compile_args=["-std=c11", "-fvisibility=hidden", "-O2", "-Wall", "-Wextra", *WARNINGS],
        library_dirs=[str(LIBRARY.parent)],
        libraries=[f":{SONAME}"],
        runtime_library_dirs=["$ORIGIN"],
        extra_link_args=["-Wl,--strip-debug"],
    )


work = tempfile.mkdtemp(prefix="selvedge-build-")
atexit.register(shutil.rmtree, work, ignore_errors=True)
setup(
    version=VERSION,
    ext_modules=[extension(name, pattern) for name, pattern in EXTENSIONS.items()],
    cmdclass={"build_py": BuildPy, "build_ext": BuildExt, "sdist": Refuse, "develop": Refuse, "editable_wheel": Refuse},
    options={"build": {"build_base": work}, "egg_info": {"egg_base": work}},
)

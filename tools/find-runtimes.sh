#!/bin/bash
# Finds the language runtimes that Selvedge's demo and tests can embed, and writes target/runtimes/found.tsv.
#
# One runtime a line, six fields separated by tabs, no field empty:
#   kind      python | jvm | coreclr | mono | glib | uv
#   version   the runtime's own
#   cflags    to compile against it
#   ldflags   to link with it, run-time search path included
#   env       NAME=VALUE words that the embedding process needs, or "-"
#   extra     python: its executable; jvm: JAVA_HOME; coreclr: the folder of libcoreclr.so; mono: mcs; or "-"
# Only what can really be embedded is listed: headers and shared library must both be there. A runtime that is there in part
# is named on stderr with what it lacks. Installs nothing (that is tools/setup.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
runtimes="$PWD/target/runtimes"
found="$runtimes/found.tsv"
mkdir -p "$runtimes"

note() { printf 'find-runtimes: %s\n' "$*" >&2; }
row()  { printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$@"; }

# Asks one Python about itself. Prints nothing when it is of no interest (too old, too new), the reason when it is not usable.
# -isystem: what a host's -Wpedantic finds shall be about its own code.
ask_python='
import os, sys, sysconfig
var = sysconfig.get_config_var
major, minor = sys.version_info[:2]
if sys.implementation.name == "cpython" and (3, 10) <= (major, minor) <= (3, 13):
    version = "%d.%d.%d" % sys.version_info[:3] + (var("abi_thread") or "")
    include, libdir, name = sysconfig.get_path("include"), var("LIBDIR"), var("LDLIBRARY") or ""
    base = sys.base_prefix
    real = os.path.join(base, "bin", "python%d.%d" % (major, minor))
    executable = real if os.path.exists(real) else sys.executable
    lack = None
    if not var("Py_ENABLE_SHARED"):
        lack = "no shared library (built without --enable-shared)"
    elif not os.path.exists(os.path.join(libdir, name)):
        lack = "no " + os.path.join(libdir, name)
    elif not os.path.exists(os.path.join(include, "Python.h")):
        lack = "no Python.h in " + include
    if lack:
        print("lack", version, executable, lack, sep="\t")
    else:
        # An embedded interpreter looks for its library beside whichever "python3" stands first in PATH: tell it where to look,
        # unless it is the one of the system, which is compiled to look in the right place.
        env = "-" if base == "/usr" else "PYTHONHOME=" + base
        rpath = "" if libdir.startswith("/usr/lib/") else " -Wl,-rpath," + libdir
        lib = name[len("lib"):name.index(".so")]
        print("python", version, "-isystem " + include, "-L%s%s -l%s -ldl -lm" % (libdir, rpath, lib), env, executable, sep="\t")
'
find_pythons() {
  local pyenv="${PYENV_ROOT:-$HOME/.pyenv}" seen=" " python line minor
  # pyenv first: where two have the same minor version, the newer micro is usually there.
  while read -r python; do
    # -I: neither the caller's PYTHONHOME nor a sitecustomize may change the answer.
    line=$(env -u PYTHONHOME "$python" -I -c "$ask_python" 2>/dev/null) || { note "python: $python does not run"; continue; }
    [ -n "$line" ] || continue
    if [[ $line == lack* ]]; then note "python: left out ${line#lack}"; continue; fi
    minor=$(cut -f2 <<<"$line" | sed -E 's/^([0-9]+\.[0-9]+)\.[0-9]+/\1/')
    [[ $seen == *" $minor "* ]] && continue
    seen+="$minor "
    printf '%s\n' "$line"
  done < <(
    # Only the minors of interest; highest micro first within one minor.
    for minor in 13 12 11 10; do
      for python in "$pyenv"/versions/3.$minor*/bin/python3; do if [ -x "$python" ]; then echo "$python"; fi; done | sort -rV
    done
    for python in /usr/bin/python3 /usr/bin/python3.1[0-3] /usr/local/bin/python3.1[0-3]; do
      if [ -x "$python" ]; then echo "$python"; fi
    done
  ) | sort -t $'\t' -k2,2V
}

find_jvms() {
  local home seen=" " version major
  while read -r home; do
    [ -n "$home" ] && home=$(readlink -f "$home") && [ -d "$home" ] || continue
    [[ $seen == *" $home "* ]] && continue
    seen+="$home "
    # Debian leaves folders with nothing but a source archive there.
    [ -r "$home/release" ] || continue
    version=$(sed -n 's/^JAVA_VERSION="\(.*\)"/\1/p' "$home/release")
    major=${version%%[.+-]*}
    [[ $major =~ ^[0-9]+$ ]] && [ "$major" -ge 17 ] || continue
    if [ ! -e "$home/lib/server/libjvm.so" ]; then note "jvm: left out $version ($home): no lib/server/libjvm.so"
    elif [ ! -e "$home/include/jni.h" ] || [ ! -x "$home/bin/javac" ]; then note "jvm: left out $version ($home): a runtime without jni.h and javac"
    else
      row jvm "$version" "-I$home/include -I$home/include/linux" "-L$home/lib/server -Wl,-rpath,$home/lib/server -ljvm" "-" "$home"
    fi
  done < <(printf '%s\n' "${JAVA_HOME:-}" /usr/lib/jvm/*) | sort -t $'\t' -k2,2V -u
}

find_coreclrs() {
  local dir seen=" " version
  for dir in "$runtimes"/coreclr/dotnetcore2/bin/shared/Microsoft.NETCore.App/* \
             ${DOTNET_ROOT:+"$DOTNET_ROOT"/shared/Microsoft.NETCore.App/*} \
             /usr/share/dotnet/shared/Microsoft.NETCore.App/* /usr/lib/dotnet/shared/Microsoft.NETCore.App/*; do
    [ -e "$dir/libcoreclr.so" ] || continue
    version=${dir##*/}
    [[ $seen == *" $version "* ]] && continue
    seen+="$version "
    # It is opened with dlopen; nothing is linked and no header is needed.
    row coreclr "$version" "-pthread" "-ldl" "-" "$dir"
  done | sort -t $'\t' -k2,2V
}

find_mono() {
  local flags libs
  if ! pkg-config --exists monosgen-2 2>/dev/null; then
    if command -v mono >/dev/null; then note "mono: left out: no monosgen-2.pc (Debian: libmonosgen-2.0-dev)"; fi
    return 0
  fi
  # -isystem: Mono's headers are not clean under -Wpedantic.
  flags=$(pkg-config --cflags monosgen-2 | sed -E 's/(^| )-I ?/\1-isystem /g; s/ *$//')
  libs=$(pkg-config --libs monosgen-2 | sed 's/ *$//')
  # Debian keeps the headers in a package of their own.
  # shellcheck disable=SC2086  # flags are words
  if ! echo '#include <mono/jit/jit.h>' | cc $flags -E - >/dev/null 2>&1; then
    note "mono: left out: no mono/jit/jit.h (Debian: libmono-2.0-dev)"
    return 0
  fi
  row mono "$(pkg-config --modversion monosgen-2)" "$flags" "$libs" "-" "$(command -v mcs || echo -)"
}

# Event loops: libraries that pkg-config knows, from the version on that our header for it asks for. libuv's own wants more than standard C.
find_loop() {
  local kind=$1 package=$2 oldest=$3 more=${4:-} flags libs
  pkg-config --exists "$package" 2>/dev/null || return 0
  if ! pkg-config --exists "$package >= $oldest"; then
    note "$kind: left out $(pkg-config --modversion "$package"): selvedge/$kind.h needs $oldest or later"
    return 0
  fi
  flags=$(pkg-config --cflags "$package" | sed -E 's/(^| )-I ?/\1-isystem /g; s/ *$//')
  libs=$(pkg-config --libs "$package" | sed 's/ *$//')
  row "$kind" "$(pkg-config --modversion "$package")" "${more:+$more }${flags:--pthread}" "$libs" "-" "-"
}

# Written beside and renamed: a reader never sees half of it.
{ find_pythons; find_jvms; find_coreclrs; find_mono; find_loop glib glib-2.0 2.36; find_loop uv libuv 1.44 -D_GNU_SOURCE; } >"$found.$$"
mv "$found.$$" "$found"

if [ -s "$found" ]; then
  awk -F '\t' '{ printf "  %-8s %-10s %s\n", $1, $2, $6 }' "$found"
else
  echo "  no runtime found: tools/setup.sh demo installs some"
fi

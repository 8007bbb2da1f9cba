#!/bin/bash
# Chooses one runtime of each kind from the list of tools/find-runtimes.sh, compiles the Java and C# parts, and writes what the
# Makefile and the C files need to know: config.mk and config.h. A runtime that is missing gets its reason written there instead.
#
#   configure.sh <found.tsv> <folder to build in>        with PYTHON, JVM, CLR, MONO in the environment, if a version other
#                                                        than the newest is wanted ("3.12", "17")
# Changes a file only if its content changes, so that make rebuilds only what must be.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
found=$1 build=$2
mkdir -p "$build"
build=$(cd "$build" && pwd)
# Two makes at once take turns.
exec 9>"$build/.lock"
flock 9

fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# The newest row of a kind, or of the version wanted.
row() {
  awk -F '\t' -v kind="$1" -v want="$2" '$1 == kind && (want == "" || index($2 ".", want ".") == 1)' "$found" |
    sort -t $'\t' -k2,2V | tail -n 1
}

# Sets version, cflags, ldflags, extra and env; fails if there is no such row. Runtimes' headers are not held to our warnings.
take() {
  local line
  line=$(row "$1" "$2")
  if [ -z "$line" ]; then
    [ -z "$2" ] || fail "no $1 $2 among the runtimes found ($found)"
    return 1
  fi
  IFS=$'\t' read -r _ version cflags ldflags env extra <<<"$line"
  cflags=$(sed -E 's/(^| )-I ?/\1-isystem /g' <<<"$cflags")
}

define() { printf '#define %s "%s"\n' "$1" "$(sed 's/[\\"]/\\&/g' <<<"$2")" >>"$build/config.h.new"; }
variable() { printf '%s := %s\n' "$1" "${2//\$/\$\$}" >>"$build/config.mk.new"; }
have() { # kind, DEMO_ name
  define "DEMO_$2" "$version"
  runtimes+=" $1"
  variable "CFLAGS_$1" "$cflags"
  variable "LDFLAGS_$1" "$ldflags"
}

settle() {
  if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

# Compiles into a fresh folder beside and puts it in place; not again while its sources and its compiler's choice stay the same.
compile() { # folder, source, what it depends on besides, command...
  local folder=$build/$1 source=$2 stamp
  stamp="$3 $(cksum <"$source")"
  shift 3
  [ -f "$folder/.stamp" ] && [ "$(cat "$folder/.stamp")" = "$stamp" ] && return 0
  rm -rf "$folder"
  mkdir -p "$folder"
  "$@" || fail "cannot compile $source"
  printf '%s\n' "$stamp" >"$folder/.stamp"
}

: >"$build/config.h.new"
: >"$build/config.mk.new"
echo '/* Written by examples-c/demo/configure.sh. */' >>"$build/config.h.new"
runtimes=
mcs=$(awk -F '\t' '$1 == "mono" && $6 != "-" { print $6; exit }' "$found")
mcs=${mcs:-$(command -v mcs || true)}
define DEMO_TRACE "$build/trace.json"

folder=
if take python "${PYTHON:-}"; then
  have python PYTHON
  define DEMO_PYTHON_EXECUTABLE "$extra"
  home=
  [[ $env == *PYTHONHOME=* ]] && home=${env#*PYTHONHOME=} && home=${home%% *}
  define DEMO_PYTHON_HOME "$home"
  folder=$("$extra" -I -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
else
  define DEMO_PYTHON_ABSENT "no CPython 3.10 to 3.13 with a shared library and headers (Debian: libpython3-dev)"
fi
define DEMO_FOLDER "$folder"

if take jvm "${JVM:-}"; then
  have jvm JVM
  define DEMO_JVM_CLASSES "$build/java"
  compile java "$here/Crc.java" "$extra" "$extra/bin/javac" -Xlint:all -d "$build/java" "$here/Crc.java"
else
  define DEMO_JVM_ABSENT "no JDK 17 or later with jni.h (Debian: default-jdk-headless)"
fi

if ! take coreclr "${CLR:-}"; then
  define DEMO_CLR_ABSENT "no libcoreclr.so (tools/setup.sh demo brings one)"
elif [ -z "$mcs" ]; then
  define DEMO_CLR_ABSENT "no C# compiler (Debian: mono-mcs)"
else
  have clr CLR
  define DEMO_CLR_DIR "$extra"
  define DEMO_CLR_ASSEMBLY "$build/clr/Crc.dll"
  compile clr "$here/Crc.cs" "$extra" "$mcs" -target:library -unsafe -optimize -nostdlib -noconfig \
    -r:"$extra/System.Private.CoreLib.dll" -r:"$extra/System.Runtime.dll" -out:"$build/clr/Crc.dll" "$here/Crc.cs"
fi

if ! take mono "${MONO:-}"; then
  define DEMO_MONO_ABSENT "no libmonosgen-2.0 with headers (Debian: libmonosgen-2.0-dev, libmono-2.0-dev)"
elif [ -z "$mcs" ]; then
  define DEMO_MONO_ABSENT "no C# compiler (Debian: mono-mcs)"
else
  have mono MONO
  define DEMO_MONO_ASSEMBLY "$build/mono/Crc.dll"
  compile mono "$here/Crc.cs" "$version" "$mcs" -target:library -unsafe -optimize -out:"$build/mono/Crc.dll" "$here/Crc.cs"
fi

variable RUNTIMES "${runtimes# }"
settle "$build/config.h"
settle "$build/config.mk"

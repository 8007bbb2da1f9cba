#!/bin/bash
# Builds the extensions for one Python into a folder to be put on PYTHONPATH: quicker than a wheel while one works on them.
#
# SELVPY_CFLAGS in the environment are more flags of the compiler.
#
#   bindings/python/dev.sh 3.13 /tmp/somewhere [_cache _sync ...]        (no extension named: all that have sources)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
minor=$1 out=$2
shift 2
row=$(awk -F '\t' -v minor="$minor" '$1 == "python" && index($2, minor ".") == 1' "$project/target/runtimes/found.tsv" | head -n 1)
[ -n "$row" ] || { echo "dev.sh: no Python $minor in target/runtimes/found.tsv" >&2; exit 1; }
cflags=$(cut -f3 <<<"$row")
python=$(cut -f6 <<<"$row")
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$project/Cargo.toml" | head -n 1)
abi=$(sed -n 's/^const ABI: u32 = \([0-9]*\);/\1/p' "$project/build.rs")
mkdir -p "$out/selvedge"
for file in "$here"/src/selvedge/*; do ln -sfn "$file" "$out/selvedge/$(basename "$file")"; done
ln -sfn "$project/target/release/libselvedge.so" "$out/selvedge/libselvedge.so.$abi"
[ $# -gt 0 ] || set -- _cache _sync _loop _interpreters
for name in "$@"; do
  sources=$(find "$here/native" -name "${name#_}*.c" | sort)
  [ -n "$sources" ] || continue
  # shellcheck disable=SC2086  # lists of words
  gcc -std=c11 -O2 -g -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror -pthread ${SELVPY_CFLAGS:-} $cflags -I "$project/include" -I "$here/native" \
    -DSELVPY_VERSION="\"$version\"" "$here/native/common.c" $sources -L "$out/selvedge" "-l:libselvedge.so.$abi" \
    '-Wl,-rpath,$ORIGIN' -o "$out/selvedge/$name$suffix"
done
echo "PYTHONPATH=$out:$project/target/runtimes/python-packages/$(cut -f2 <<<"$row") $python"

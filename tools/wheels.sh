#!/bin/bash
# Builds the Python package's wheels, and puts them into the environments that the tests run in.
#
#   tools/wheels.sh build      one for each CPython in target/runtimes/found.tsv, into target/wheels; wants target/release/libselvedge.so
#   tools/wheels.sh install    each into its environments below target/python (tools/setup.sh test makes those)
#
# What has not changed since the last time is left alone. setuptools comes from target/python/wheelhouse if tools/setup.sh has put it
# there, else pip fetches it.
set -euo pipefail
cd "$(dirname "$0")/.."
wheels="$PWD/target/wheels"
environments="$PWD/target/python"
wheelhouse="$environments/wheelhouse"
found="$PWD/target/runtimes/found.tsv"

say()  { printf 'wheels: %s\n' "$*"; }
fail() { printf 'wheels: %s\n' "$*" >&2; exit 1; }

clean_pip() { # PYTHON ARGUMENTS...
  local python=$1
  shift
  env -u PYTHONHOME -u PYTHONPATH -u PYTHONSTARTUP -u CFLAGS -u LDFLAGS PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    "$python" -m pip "$@"
}

# One number for all that goes into a wheel, this script included.
inputs() {
  {
    find bindings/python/src bindings/python/native -type f -not -path '*/__pycache__/*' -print0
    find include -type f -print0
    printf '%s\0' bindings/python/{pyproject.toml,setup.py,README.md,LICENSE-APACHE,LICENSE-MIT}
    printf '%s\0' target/release/libselvedge.so Cargo.toml build.rs tools/wheels.sh
  } | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}

tag_of() { sed -E 's/^([0-9]+)\.([0-9]+)\.[0-9]+(.*)/cp\1\2-cp\1\2\3/' <<<"$1"; } # 3.12.1 -> cp312-cp312

# The wheel appears by a rename, with the line that says what it was made of after it.
build_one() { # VERSION PYTHON INPUTS
  local tag made_of="$3 $1 $2" work wheel
  tag=$(tag_of "$1")
  wheel=("$wheels"/selvedge-*-"$tag"-*.whl)
  [ "$(cat "$wheels/$tag.made-of" 2>/dev/null)" = "$made_of" ] && [ -e "${wheel[0]}" ] && return 0
  say "building for CPython $1"
  work=$(mktemp -d "$wheels/$tag.XXXXXX")
  local offline=()
  [ ! -d "$wheelhouse" ] || offline=(PIP_NO_INDEX=1 PIP_FIND_LINKS="$wheelhouse")
  if ! (export SELV_WERROR=1 "${offline[@]}"; clean_pip "$2" wheel --quiet --no-deps --wheel-dir "$work" bindings/python) >"$work/log" 2>&1; then
    grep -v '^  error: subprocess-exited' "$work/log" | tail -n 30 >&2
    rm -rf "$work"
    fail "no wheel for CPython $1 ($2)"
  fi
  rm -f "$wheels/$tag.made-of" "${wheel[@]}"
  mv "$work"/*.whl "$wheels/"
  echo "$made_of" >"$wheels/$tag.made-of"
  rm -rf "$work"
}

build() {
  local of version python failed=0 running=()
  [ -e target/release/libselvedge.so ] || fail "target/release/libselvedge.so is missing: make lib"
  of=$(inputs)
  while IFS=$'\t' read -r _ version _ _ _ python; do
    build_one "$version" "$python" "$of" &
    running+=($!)
    # Two at a time.
    if [ ${#running[@]} -ge 2 ]; then wait "${running[-2]}" || failed=1; fi
  done < <(awk -F '\t' '$1 == "python"' "$found")
  [ ${#running[@]} -gt 0 ] || fail "no CPython that one could build for: tools/find-runtimes.sh"
  wait "${running[-1]}" || failed=1
  return $failed
}

install_one() { # NAME VERSION
  local environment="$environments/$1" tag wheel made_of
  tag=$(tag_of "$2")
  wheel=("$wheels"/selvedge-*-"$tag"-*.whl)
  [ -x "$environment/bin/python3" ] && [ -e "${wheel[0]}" ] || return 0
  made_of=$(cat "$wheels/$tag.made-of")
  [ "$(cat "$environment/selvedge" 2>/dev/null)" = "$made_of" ] && return 0
  say "installing ${wheel[0]##*/} into target/python/$1"
  rm -f "$environment/selvedge"
  clean_pip "$environment/bin/python3" install --quiet --no-deps --no-index --force-reinstall "${wheel[0]}"
  echo "$made_of" >"$environment/selvedge"
}

install_all() {
  local version
  while IFS=$'\t' read -r _ version _ _ _ _; do
    install_one "$version" "$version"
  done < <(awk -F '\t' '$1 == "python"' "$found")
  if [ -x "$environments/system/bin/python3" ]; then
    install_one system "$("$environments/system/bin/python3" -c 'import platform; print(platform.python_version())')"
  fi
}

mkdir -p "$wheels"
# Two makes may come here side by side; the second one waits and then finds everything done.
exec 9>"$wheels/.lock"
command -v flock >/dev/null && flock 9
case ${1:-} in
  build)   build ;;
  install) install_all ;;
  *)       sed -n '4,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

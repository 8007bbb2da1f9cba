#!/bin/bash
# The slow checks: ten million calls against a reference model, the C and Rust tests under the sanitizers and valgrind, the Python tests under the
# address sanitizer, the full-size storms, and the models.
#
#   tools/check.sh [reference] [models] [asan] [memcheck] [tsan] [python] [storms]        (none named: all, in this order)
#
# One line a test; the last line is the sum. Whole logs are in target/check/. Each tool must also find a defect that was
# planted for it (c-tests/planted): a gate that does not bite fails. `tools/setup.sh check` installs what is needed.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
triple=x86_64-unknown-linux-gnu
logs=$root/target/check
mkdir -p "$logs"
# A second run at the same time would write over the first one's logs: it waits.
exec 8>"$logs/.lock"
flock 8
passed=0 failed=0 skipped=0

# What a tool cannot run: tool, test (of every variant), reason.
left_out() {
  cat <<'TABLE'
memcheck	signals_process	valgrind itself chooses the thread that a signal of the process goes to
TABLE
}

# A fork child forgets what the parent's threads had in hand, and must not free it, which looks like leaks: these run with no
# search for leaks.
forking=(trace)
for program in c-tests/fork_*.c; do forking+=("$(basename "$program" .c)"); done

pass() { printf 'ok       %s: %s\n' "$1" "$2"; passed=$((passed + 1)); }
flunk() { printf 'FAILED   %s: %s (%s)\n' "$1" "$2" "$3"; failed=$((failed + 1)); }

# Prints and counts the lines of a test driver's log. A driver that reports no test, or fails beside its tests, is a failure.
report() {
  local stage=$1 log=$2 status=$3 name result before=$failed seen=0
  while read -r name result; do
    seen=$((seen + 1))
    case $result in
      ok)       pass "$stage" "$name" ;;
      ignored*) printf 'SKIPPED  %s: %s\n' "$stage" "$name"; skipped=$((skipped + 1)) ;;
      *)        flunk "$stage" "$name" "see $log" ;;
    esac
  done < <(sed -n 's/^test \([^ ]*\)  *\.\.\. \(ok\|FAILED\|ignored.*\)$/\1 \2/p' "$log")
  if [ "$seen" -eq 0 ] || { [ "$status" -ne 0 ] && [ "$failed" -eq "$before" ]; }; then
    tail -n 15 "$log"
    flunk "$stage" "$(basename "$log" .log)" "the test driver ended with $status after $seen tests; see $log"
  elif [ "$failed" -gt "$before" ]; then
    sed -n '/^failures:/,$p' "$log" | head -n 120
  fi
}

# The C tests but for those in the table and, where leaks are searched for, those that fork; one variant, with the environment given as NAME=VALUE words.
c_tests() {
  local stage=$1 log=$logs/$1-c.log tool test reason skips=()
  shift
  while IFS=$'\t' read -r tool test reason; do
    [ "$tool" = "$stage" ] || continue
    skips+=(--skip "::$test")
    printf 'SKIPPED  %s: %s: %s\n' "$stage" "$test" "$reason"
    skipped=$((skipped + 1))
  done < <(left_out)
  case $stage in asan | memcheck) skips+=("${forking[@]/#/--skip=::}") ;; esac
  run_c_tests "$stage" "$log" "$@" -- --skip coverage:: "${skips[@]}"
}

# Those that fork; the driver chooses one at a time.
forking_tests() {
  local stage=$1 test
  shift
  for test in "${forking[@]}"; do
    run_c_tests "$stage" "$logs/$stage-$test.log" "$@" -- --exact "shared::$test"
  done
}

# The driver itself: environment words, then `--`, then what it is told to leave out or to choose.
run_c_tests() {
  local stage=$1 log=$2 words=()
  shift 2
  while [ "$1" != -- ]; do words+=("$1"); shift; done
  shift
  env SELV_VARIANTS=shared "${words[@]}" \
    cargo test --release --locked --test c -- --test-threads 2 "$@" >"$log" 2>&1
  report "$stage" "$log" $?
}

# The event loops' presets, which are the host's own code and memory: the tests of GLib and libuv without a language runtime. The log's name,
# environment words, then `--`, then what the driver is told to leave out or to choose.
loop_tests() {
  local stage=$1 log=$logs/$1-$2.log words=()
  shift 2
  while [ "$1" != -- ]; do words+=("$1"); shift; done
  shift
  env "${words[@]}" cargo test --release --locked --test runtimes -- --test-threads 2 \
    --skip python --skip jvm --skip coreclr --skip mono "$@" >"$log" 2>&1
  report "$stage" "$log" $?
}

# The planted defect `$2` must make its program fail with `$3` in what it prints; `$4`: words before the program;
# the rest: the compiler and its flags.
planted() {
  local stage=$1 defect=$2 message=$3 runner=$4 lib=$5 status
  shift 5
  local exe=$logs/$stage-$defect log=$logs/$stage-planted-$defect.log
  if ! "$@" -std=c99 -D_GNU_SOURCE -O1 -g -pthread -I include -I c-tests "c-tests/planted/$defect.c" \
    -L "$lib" -lselvedge -Wl,-rpath,"$lib" -o "$exe" >"$log" 2>&1; then
    flunk "$stage" "planted $defect is found" "it does not compile; see $log"
    return
  fi
  # shellcheck disable=SC2086  # the runner is a list of words
  timeout 300 $runner "$exe" >"$log" 2>&1
  status=$?
  if [ $status -ne 0 ] && [ $status -ne 124 ] && grep -q "$message" "$log"; then
    pass "$stage" "planted $defect is found"
  else
    flunk "$stage" "planted $defect is found" "it ended with $status and without \"$message\"; see $log"
  fi
}

# Runs a build; false, counted as a failure, if it fails.
build() {
  local stage=$1 log=$logs/$1-build.log
  shift
  if "$@" >"$log" 2>&1; then return 0; fi
  tail -n 15 "$log"
  flunk "$stage" build "see $log"
  return 1
}

soname_link() { ln -sf libselvedge.so "$1/libselvedge.so.$(sed -n 's/^const ABI: u32 = \([0-9]*\);/\1/p' build.rs)"; }

stage_models() {
  tools/check-models.sh >"$logs/models.log" 2>&1
  report models "$logs/models.log" $?
}

stage_asan() {
  local lib=$root/target/asan/$triple/debug flags="-fsanitize=address -fno-omit-frame-pointer -Wno-unused-command-line-argument"
  local cargo=(env "RUSTFLAGS=-Zsanitizer=address" cargo +nightly)
  local place=(--locked --target "$triple" --target-dir target/asan --lib)
  # Stack use after return is off: fork children and threads that end inside a callback leave fake stacks behind.
  local options="detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=0"
  options+=":external_symbolizer_path=$(command -v llvm-symbolizer-22)"
  build asan "${cargo[@]}" build "${place[@]}" || return
  soname_link "$lib"
  # The unit tests' own list elements and queued tickets are never freed.
  env "ASAN_OPTIONS=$options:detect_leaks=0" "${cargo[@]}" test "${place[@]}" >"$logs/asan-rust.log" 2>&1
  report asan "$logs/asan-rust.log" $?
  # Not gcc 12: the allocator of its runtime stays locked in a child that is forked while another thread allocates.
  local words=("SELV_LIB_DIR=$lib" SELV_CC=clang-22 "SELV_CFLAGS=$flags" SELV_TIMEOUT_FACTOR=4)
  c_tests asan "${words[@]}" "ASAN_OPTIONS=$options" "LSAN_OPTIONS=suppressions=$root/tools/lsan.supp:print_suppressions=0"
  forking_tests asan "${words[@]}" "ASAN_OPTIONS=$options:detect_leaks=0"
  # shellcheck disable=SC2086
  planted asan leak "LeakSanitizer: detected memory leaks" "" "$lib" clang-22 $flags
}

# The standard library is instrumented, too: else TSan sees locks without their other half. Debian's rustc-web brings its source.
stage_tsan() {
  local lib=$root/target/tsan/$triple/debug
  local flags="-Zsanitizer=thread -Zexternal-clangrt -Clinker=clang-22 -Clink-arg=-fsanitize=thread"
  local cargo=(env RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1 "RUSTFLAGS=$flags" /usr/bin/cargo)
  local place=(--locked -Zbuild-std --target "$triple" --target-dir target/tsan --lib)
  # Threads left at the end are no leak: the shared cache's workers are nobody's to join, and no exit waits for them.
  local options="halt_on_error=0 exitcode=66 die_after_fork=0 report_thread_leaks=0 external_symbolizer_path=$(command -v llvm-symbolizer-22)"
  build tsan "${cargo[@]}" build "${place[@]}" || return
  soname_link "$lib"
  env "TSAN_OPTIONS=$options" "${cargo[@]}" test "${place[@]}" >"$logs/tsan-rust.log" 2>&1
  report tsan "$logs/tsan-rust.log" $?
  # clang warns of a switch that gcc takes in silence.
  local cflags="-fsanitize=thread -Wno-unused-command-line-argument"
  local words=("SELV_LIB_DIR=$lib" SELV_CC=clang-22 "SELV_CFLAGS=$cflags" "TSAN_OPTIONS=$options" SELV_TIMEOUT_FACTOR=8 SELV_TEST_PATIENCE=300)
  c_tests tsan "${words[@]}"
  # Without GLib's: its locks are made of futexes, and TSan does not see them.
  loop_tests tsan loops "${words[@]}" -- --skip glib
  planted tsan race "ThreadSanitizer: data race" "" "$lib" clang-22 -fsanitize=thread
}

stage_memcheck() {
  # Leaks that are possible only are not counted: they are the stacks of workers that live as the process ends.
  local plain="valgrind --quiet --fair-sched=try --error-exitcode=9"
  local leaks="$plain --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite"
  leaks+=" --suppressions=$root/tools/memcheck.supp"
  local words=(SELV_TIMEOUT_FACTOR=8 SELV_TEST_PATIENCE=300)
  c_tests memcheck "${words[@]}" "SELV_RUNNER=$leaks"
  forking_tests memcheck "${words[@]}" "SELV_RUNNER=$plain"
  loop_tests memcheck loops "${words[@]}" "SELV_RUNNER=$leaks" -- --skip ::fork
  ! grep -qE '^(glib|uv)\s' target/runtimes/found.tsv || loop_tests memcheck loops-fork "${words[@]}" "SELV_RUNNER=$plain" -- ::fork
  planted memcheck leak "definitely lost" "$leaks" "$root/target/release" gcc
}

# The Rust ones, too: with the usual scale, ten million calls on locks are compared with the reference model.
# Ten million random calls against the model that is written for being read, and the storms in Rust.
stage_reference() {
  local scale=$((5 * ${SELV_TEST_SCALE:-10})) log=$logs/reference.log
  SELV_TEST_SCALE=$scale cargo test --release --locked --lib -- --show-output core::sync:: >"$log" 2>&1
  report reference "$log" $?
  grep ' rings of two and more refused$' "$log"
}

stage_storms() {
  c_tests storms SELV_TEST_SCALE="${SELV_TEST_SCALE:-10}" SELV_TIMEOUT_FACTOR=10
}

# The extensions of the Python binding are instrumented, the interpreter is not; but its objects come from malloc, so that one that is used after
# its end is seen. The oldest and the newest Python, a line for each test file that the instrumented build is about.
stage_python() {
  local rows row version minor out log file name preload
  preload="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
  mapfile -t rows < <(awk -F '\t' '$1 == "python"' target/runtimes/found.tsv)
  for row in "${rows[0]}" "${rows[-1]}"; do
    version=$(cut -f2 <<<"$row")
    minor=$(cut -d. -f1,2 <<<"$version")
    out=$logs/python-$minor
    # No poison on stacks: CPython ends daemon threads inside frames of ours, whose stacks would stay poisoned for what runs at their end.
    build "python-$minor" env "SELVPY_CFLAGS=-fsanitize=address,undefined -fno-sanitize-recover=undefined -O1 --param asan-stack=0" \
      bindings/python/dev.sh "$minor" "$out" || continue
    for file in bindings/python/tests/test_*.py; do
      name=$(basename "$file" .py)
      case $name in test_typing | test_wheel | test_docs | test_examples | test_glib* | *published* | *cpython*) continue ;; esac
      log=$logs/python-$minor-$name.log
      if env LD_PRELOAD="$preload" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc "PYTHONPATH=$out" \
        timeout --kill-after=10 600 "target/python/$version/bin/python3" -m pytest -q -p no:cacheprovider "$file" >"$log" 2>&1; then
        pass "python-$minor" "$name"
      else
        tail -n 30 "$log"
        flunk "python-$minor" "$name" "see $log"
      fi
    done
    [ "${#rows[@]}" -gt 1 ] || break
  done
}

stages=("$@")
[ $# -gt 0 ] || stages=(reference models asan memcheck tsan python storms)
for stage in "${stages[@]}"; do
  case $stage in
    reference | models | asan | memcheck | tsan | python | storms) ;;
    *) printf 'check: no stage "%s"\n' "$stage" >&2; sed -n '5p' "$0" | sed 's/^# *//' >&2; exit 2 ;;
  esac
done
cargo build --release --locked --lib --quiet || exit 1
soname_link target/release
for stage in "${stages[@]}"; do
  started=$SECONDS
  "stage_$stage"
  printf -- '-- %s took %d s\n' "$stage" $((SECONDS - started))
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]

#!/bin/bash
# Runs the loom models of src/models, then each mutant of the code, which some model must catch. What runs is the code that
# ships; a mutant is a place in it that `--cfg selv_mutant="name"` makes wrong on purpose.
#
# The output is like that of a Rust test driver: one line for each model and each mutant.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/models} CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_INCREMENTAL=0
export RUST_BACKTRACE=0 LOOM_LOG=off
log=$CARGO_TARGET_DIR/log
mkdir -p "$CARGO_TARGET_DIR"
# A second run at the same time would write over the first one's log: it waits.
exec 9>"$CARGO_TARGET_DIR/.lock"
flock 9
failures=0

# The mutants, the model that must catch each, and what is wrong with them.
mutants() {
  cat <<'TABLE'
relaxed_give       handoff::submit_against_timeout         an order is not published to the worker that takes it
one_slot           handoff::submit_from_deliver            an order is written over the one that is still being read
leave_unasked      handoff::submit_against_timeout         a worker leaves when its time is up, though a job is on its way
deliver_first      handoff::submit_from_deliver            a worker delivers before it is listed as idle
sleep_over_handle  shutdown::shutdown_against_submit       a handle that the host returns in the wrong moment is not seen
admit_late         hooks::unregister_against_named_start   a hook is started whose removal has begun
free_early         hooks::unregister_against_start         user data are freed while a worker has the hook started
line_up_twice      hooks::removal_after_lining_up           a worker goes on with its hooks after it was listed as idle
TABLE
}

# Compiles the library alone with the given flags, so that a mutant does not compile everything below it again, and runs the models
# that match. One that does not end has failed, too.
models() {
  local program
  program=$(RUSTFLAGS="--cfg loom" cargo rustc --quiet --locked --lib --profile test --message-format=json -- $2 2>"$log" |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
  [ -n "$program" ] || return 1
  local status=0
  timeout --signal=INT 400 "$program" "models::$1" >"$log" 2>&1 || status=$?
  # From 128 on: killed by a signal, which a wrong use of memory may well end in.
  [ "$status" -lt 128 ] || echo "signal: $((status - 128))" >>"$log"
  return "$status"
}

fail() {
  echo "test $1 ... FAILED"
  failures=$((failures + 1))
}

if models "" "" && grep -q '^test models::' "$log"; then
  grep '^test models::' "$log"
else
  cat "$log"
  fail models::all
fi

while read -r mutant model _; do
  if ! grep -q "selv_mutant = \"$mutant\"" src/*/*.rs; then
    fail "mutant::$mutant::exists"
  elif models "$model" "--cfg selv_mutant=\"$mutant\""; then
    fail "mutant::$mutant"
  # It was compiled and run, and a model said no.
  elif grep -q '^running [1-9]' "$log" && grep -Eq 'panicked at|signal: ' "$log"; then
    echo "test mutant::$mutant ... ok"
  else
    tail -n 20 "$log"
    fail "mutant::$mutant"
  fi
done < <(mutants)
[ "$failures" -eq 0 ]

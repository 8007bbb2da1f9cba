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
failures=0

# The mutants, the models that must catch them, and what is wrong with them.
mutants() {
  cat <<'TABLE'
relaxed_give       handoff   an order is not published to the worker that takes it
one_slot           handoff   an order is written over the one that the worker still reads
leave_unasked      handoff   a worker leaves when its time is up, though it is off the list and a job on its way
deliver_first      handoff   a worker delivers before it is listed as idle
sleep_over_handle  shutdown  a handle that the host returns in the wrong moment is not seen
admit_late         hooks     a hook is started whose removal has begun
free_early         hooks     user data are freed while workers have the hook started
line_up_twice      hooks     a worker goes on with its hooks after it was listed as idle
TABLE
}

# Compiles and runs the models that match, with the given flags. One that does not end has failed, too.
models() { RUSTFLAGS="--cfg loom $2" timeout --signal=INT 400 cargo test --locked --lib "models::$1" >"$log" 2>&1; }

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

while read -r mutant which _; do
  if ! grep -q "selv_mutant = \"$mutant\"" src/*/*.rs; then
    fail "mutant::$mutant::exists"
  elif models "$which" "--cfg selv_mutant=\"$mutant\""; then
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

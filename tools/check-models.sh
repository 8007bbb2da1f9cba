#!/bin/bash
# Runs the models of src/models, shuttle's and loom's, then each mutant of the code, which some model must catch. What runs is the
# code that ships; a mutant is a place in it that `--cfg selv_mutant="name"` makes wrong on purpose.
#
# SELV_TEST_SCALE multiplies how many schedules shuttle draws; from 2 on all mutants are tried that shuttle can see, else a few.
#
# The output is like that of a Rust test driver: one line for each model and each mutant.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/models} CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_INCREMENTAL=1
export RUST_BACKTRACE=0 LOOM_LOG=off
log=$CARGO_TARGET_DIR/log
mkdir -p "$CARGO_TARGET_DIR"
# A second run at the same time would write over the first one's log: it waits.
exec 9>"$CARGO_TARGET_DIR/.lock"
flock 9
failures=0

# The mutants, the model of loom's that must catch each, and what is wrong with them.
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
relaxed_release    locks::two_owners_in_turn                a lock's next owner need not see what the last one wrote
relaxed_owner      locks::two_owners_in_turn                whoever finds an owner in the word may take it for exited
relaxed_answer     locks::timeout_against_strict_grant      a waiter need not see the answer that it is woken for
unflagged          locks::two_owners_in_turn                a waiter lines up unseen by the owner's release
forget_the_second  locks::release_to_two_waiters            a lock that is handed over does not know of those behind
lose_in_silence    locks::roused_waiter_against_barger      a roused waiter that comes too late does not tell the new owner
leave_in_silence   locks::timeout_of_the_roused_against_the_next  one that was roused gives up, and rouses nobody in its place
trust_the_first_look  locks::release_and_exit_against_acquire  an owner that released and exited breaks what it does not hold
abandon_what_was_granted  locks::abandon_against_grant       a lock granted to an abandoned operation is not passed on
return_in_silence  conditions::notify_against_timeout       a condition's waiter wants its lock back and does not say so
no_heir            conditions::robust_owners_exit_against_timeout  a robust lock that nobody waited for is nobody's for ever
relaxed_waits      rings::two_operations_close_one_ring     of two that begin to wait for each other, neither sees the other
unconfirmed        rings::two_tasks_close_one_ring          both of two that close a ring are refused
never_look_back    rings::a_ring_that_a_cancel_closes       a ring is looked for by beginning waits only
unflagged_permits  primitives::semaphore_release_against_wait  a waiter lines up unseen by a semaphore's release
leave_the_rest_waiting  primitives::semaphore_release_against_cancel_of_the_head  those behind one who gave up are not looked at
keep_the_token     primitives::limiter_release_against_exit  a token goes with the task that exits
drop_the_item      primitives::channel_send_against_abandoned_receive  an item given to an abandoned receive is gone
drain_looks_no_more loops::drains::two_calls_against_drains  what is queued during a drain is not told of at its end
leave_what_has_begun loops::drains::timed_out_call_against_drain  a call that has begun is said to have timed out
run_what_is_dropped loops::close::last_handle_against_drain  a drain goes on while another thread drops what is left
grant_on_closed_loops loops::outcomes::close_against_completion  a lock is granted to one whose loop is closed
sleep_over_interrupt guests::interrupt_against_poll  an interrupt that comes between prepare and the poll is lost
forget_after_prepare guests::interrupt_against_poll  an interrupt that comes during prepare is forgotten
done_under_interrupt guests::interrupt_against_done  done is called while another thread interrupts
reuse_the_gone     guests::interrupt_against_done          a poll is left to a thread that has come and gone
end_what_is_abandoned guests::timed_out_abandon_against_tick  the host's thread ends a run that was abandoned
TABLE
}

# Those that shuttle catches, too, its model that must, and whether they are always tried. It takes every access for a sequentially
# consistent one, so the mutants whose name begins with "relaxed" are loom's alone.
mutants_of_crowds() {
  cat <<'TABLE'
one_slot           cache::submits_against_idle_workers
leave_unasked      cache::submits_against_timeouts            always
sleep_over_handle  cache::shutdown_against_queueing
unflagged          shares::strict_lock::cancel_against_grant
forget_the_second  shares::strict_lock::timeout_against_grant
lose_in_silence    shares::lock::timeout_against_grant
leave_in_silence   shares::lock::timeout_against_grant        always
trust_the_first_look  shares::lock::timeout_against_grant
abandon_what_was_granted  shares::limiter::abandon_after_grant  always
return_in_silence  conditions::timeout_against_notify
no_heir            conditions::robust_owners_exit_against_timeout
unconfirmed        rings::six_tasks_close_one_ring
never_look_back    rings::a_cancel_closes_a_ring_of_four
unflagged_permits  shares::semaphore::cancel_against_grant
leave_the_rest_waiting  shares::permits_for_those_behind_a_head_that_gives_up
keep_the_token     shares::limiter::owner_exit_against_wait
drop_the_item      channels::receivers_against_senders
TABLE
}

# Compiles the library alone for loom or shuttle with the given flags, so that a mutant does not compile everything below it again,
# and runs the models that match. One that does not end has failed, too.
models() {
  local runner=$1 name=$2 flags=$3 program status=0 limit=400
  # shellcheck disable=SC2086  # the flags are a list of words
  program=$(CARGO_TARGET_DIR=$CARGO_TARGET_DIR/$runner RUSTFLAGS="--cfg $runner" \
    cargo rustc --quiet --locked --lib --profile test --message-format=json -- $flags 2>"$log" |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
  [ -n "$program" ] || return 1
  # loom's models are no more with a larger scale.
  [ "$runner" = loom ] || limit=$((limit * ${SELV_TEST_SCALE:-1}))
  timeout --signal=INT "$limit" "$program" "models::$name" >"$log" 2>&1 || status=$?
  # From 128 on: killed by a signal, which a wrong use of memory may well end in.
  [ "$status" -lt 128 ] || echo "signal: $((status - 128))" >>"$log"
  return "$status"
}

fail() {
  echo "test $1 ... FAILED"
  failures=$((failures + 1))
}

# All models of loom or shuttle.
all() {
  if models "$1" "" "" && grep -q '^test models::' "$log"; then
    grep '^test models::' "$log"
  else
    cat "$log"
    fail "models::all_of_$1"
  fi
}

# The mutant must be compiled and run, and the model say no.
mutant() {
  local runner=$1 mutant=$2 model=$3 name
  name=mutant::$runner::$mutant
  if ! grep -qr "selv_mutant = \"$mutant\"" src; then
    fail "$name::exists"
  elif models "$runner" "$model" "--cfg selv_mutant=\"$mutant\""; then
    fail "$name"
  elif grep -q '^running [1-9]' "$log" && grep -Eq 'panicked at|signal: ' "$log"; then
    echo "test $name ... ok"
  else
    tail -n 20 "$log"
    fail "$name"
  fi
}

all shuttle
all loom
while read -r mutant model _; do
  mutant loom "$mutant" "$model"
done < <(mutants)
while read -r mutant model always; do
  if [ "${SELV_TEST_SCALE:-1}" -gt 1 ] || [ -n "$always" ]; then
    mutant shuttle "$mutant" "crowds::$model"
  fi
done < <(mutants_of_crowds)
[ "$failures" -eq 0 ]

/* deadlock_late.c: rings that no acquire closes. A task waits on a condition and holds another lock; the owner of the condition's lock waits for that
 * one. As long as somebody might come to an end of the wait it is no ring; when the wait ends by its time, by an interrupt, a cancel or a
 * close, the task wants the condition's lock back, and cannot have it: it is told so, without the lock, and the others go on. */
#include "waiters.h"

static selv_lock *guard, *other;
static selv_condition *bell;
static selv_task sleeper, caller;
static waiter asleep;
static op_probe op, calling;
static selv_status called;

/* The sleeper holds `other` and waits on the bell; the caller holds the guard and waits for `other`, as an operation: when that call
 * has returned it has done all its looking. */
static void begin(int async, uint64_t timeout_ns) {
  guard = lock_named("guard", 0);
  other = lock_named("other", 0);
  bell = condition_on(guard, "bell");
  sleeper = task_named("sleeper");
  caller = task_named("caller");
  CHECK_OK(selv_lock_acquire(other, sleeper, SELV_FOREVER));
  if (async) {
    selv_completion completion;
    op_probe_init(&op);
    completion = op_probe_completion(&op);
    CHECK_OK(selv_lock_acquire(guard, sleeper, SELV_FOREVER));
    CHECK_STATUS(selv_condition_wait_async(bell, sleeper, &completion, &op.op), SELV_PENDING);
  } else {
    waiter_init(&asleep, waiter_condition, bell, sleeper);
    asleep.other = guard;
    asleep.timeout_ns = timeout_ns;
    waiter_go(&asleep);
  }
  UNTIL(condition_stats(bell).waits == 1);
  CHECK_OK(selv_lock_acquire(guard, caller, SELV_FOREVER));
  op_probe_init(&calling);
  calling.then = op_probe_unlock;
  called = op_probe_lock(&calling, other, caller);
}

static void clean_up(void) {
  CHECK_OK(selv_condition_free(bell));
  CHECK_OK(selv_lock_free(guard));
  CHECK_OK(selv_lock_free(other));
  CHECK_OK(selv_task_exit(sleeper, NULL));
  CHECK_OK(selv_task_exit(caller, NULL));
}

static void end(int async) {
  CHECK_STATUS(called, SELV_PENDING);
  if (async) {
    OP_GOT(&op, 1, SELV_E_DEADLOCK);
    CHECK_EQ_U64(op.last.holds_lock, 0);
    CHECK(strstr(op.detail, "sleeper") != NULL && strstr(op.detail, "caller") != NULL);
    CHECK(strstr(op.detail, "guard") != NULL && strstr(op.detail, "other") != NULL);
  } else {
    WAITER_ENDED(&asleep, SELV_E_DEADLOCK);
    CHECK_EQ_U64(asleep.holds_lock, 0);
    CHECK(strstr(asleep.detail, "sleeper") != NULL && strstr(asleep.detail, "caller") != NULL);
    CHECK(strstr(asleep.detail, "guard") != NULL && strstr(asleep.detail, "other") != NULL);
  }
  CHECK_EQ_U64(selv_lock_owner(guard), caller);
  CHECK_EQ_U64(check_tally_get(&calling.called), 0);
  CHECK_OK(selv_lock_release(other, sleeper)); /* what it was told for */
  OP_GOT(&calling, 1, SELV_OK);
  CHECK_OK(selv_lock_release(guard, caller));
  clean_up();
}

/* The caller waits before the time passes, and closes no ring yet. On a machine so slow that it comes later it closes the ring itself. */
static void its_time_passes(void) {
  begin(0, 100 * CHECK_MS);
  if (called == SELV_PENDING) {
    end(0);
    return;
  }
  CHECK_STATUS(called, SELV_E_DEADLOCK);
  CHECK_OK(selv_lock_release(guard, caller));
  WAITER_ENDED(&asleep, SELV_E_TIMEDOUT);
  CHECK_EQ_U64(asleep.holds_lock, 1);
  CHECK_OK(selv_lock_release(other, sleeper));
  clean_up();
}

static void it_is_interrupted(void) {
  begin(0, SELV_FOREVER);
  CHECK_OK(selv_task_interrupt(sleeper));
  end(0);
}

static void it_is_cancelled(void) {
  begin(1, SELV_FOREVER);
  CHECK_OK(selv_op_cancel(op.op));
  end(1);
}

static void the_condition_is_closed(void) {
  int async;
  for (async = 0; async < 2; async++) {
    begin(async, SELV_FOREVER);
    CHECK_OK(selv_condition_close(bell));
    end(async);
  }
}

int main(void) {
  CHECK_RUN(its_time_passes);
  CHECK_RUN(it_is_interrupted);
  CHECK_RUN(it_is_cancelled);
  CHECK_RUN(the_condition_is_closed);
  return 0;
}

/* deadlock_late.c: rings that no acquire closes. A task waits on a condition and holds another lock; the owner of the condition's lock waits for that
 * one. As long as somebody might come to an end of the wait it is no ring; when the wait ends by its time, by an interrupt, a cancel or a
 * close, the task wants the condition's lock back, and cannot have it: it is told so, without the lock, and the others go on. */
#include "waiters.h"

static selv_lock *guard, *other;
static selv_condition *bell;
static selv_task sleeper, caller;
static waiter asleep, calling;
static op_probe op;

/* The sleeper holds `other` and waits on the bell; the caller holds the guard and waits for `other`. */
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
  waiter_init(&calling, waiter_lock, other, caller);
  calling.then = waiter_unlock;
  waiter_go(&calling);
  UNTIL(lock_waiting(other) == 1 || waiter_is_done(&calling));
}

static void clean_up(void) {
  CHECK_OK(selv_condition_free(bell));
  CHECK_OK(selv_lock_free(guard));
  CHECK_OK(selv_lock_free(other));
  CHECK_OK(selv_task_exit(sleeper, NULL));
  CHECK_OK(selv_task_exit(caller, NULL));
}

static void end(int async) {
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
  CHECK(!waiter_is_done(&calling));
  CHECK_OK(selv_lock_release(other, sleeper)); /* what it was told for */
  WAITER_ENDED(&calling, SELV_OK);
  CHECK_OK(selv_lock_release(guard, caller));
  clean_up();
}

/* The caller waits before the time passes, and closes no ring yet. On a machine so slow that it comes later it closes the ring itself. */
static void its_time_passes(void) {
  begin(0, 200 * CHECK_MS);
  UNTIL(waiter_is_done(&asleep) || waiter_is_done(&calling));
  if (!waiter_is_done(&calling)) {
    end(0);
    return;
  }
  printf("the caller came late\n");
  WAITER_ENDED(&calling, SELV_E_DEADLOCK);
  CHECK_OK(selv_lock_release(guard, caller));
  WAITER_ENDED(&asleep, SELV_E_TIMEDOUT);
  CHECK_EQ_U64(asleep.holds_lock, 1);
  waiter_init(&calling, waiter_lock, other, caller);
  calling.then = waiter_unlock;
  waiter_go(&calling);
  CHECK_OK(selv_lock_release(other, sleeper));
  WAITER_ENDED(&calling, SELV_OK);
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

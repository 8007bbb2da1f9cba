/* python_locks_coroutine: native coroutines that a program steps by itself, each inside its own task (python/locks_coroutine.py):
 * ownership, a ring of three on one thread, and a coroutine that ends, raises or is closed with a lock in hand, which C threads and other
 * coroutines are told of by name. */
#include "python_locks.h"

static void ownership(void) { PY_RUN("ownership()"); }
static void deadlock(void) { PY_RUN("deadlock()"); }
static void closed_while_waiting(void) { PY_RUN("closed_while_waiting()"); }

static void dies_holding(const char *how) {
  selv_lock *l = lock_named("drawer", 0);
  waiter blocking;
  char code[128];
  py_give("drawer", l);
  snprintf(code, sizeof code, "end = '%s'; holder = holds_and(end, drawer); fellow = waits_for(drawer)", how);
  PY_RUN(code);
  waiter_start(&blocking, waiter_lock, l, 0);
  UNTIL(lock_waiting(l) == 2);
  PY_RUN("dies(holder, end)");
  WAITER_ENDED(&blocking, SELV_E_BROKEN);
  if (strstr(blocking.detail, "drawer") == NULL || strstr(blocking.detail, how) == NULL)
    check_fail(__FILE__, __LINE__, "\"%s\" does not name the lock 'drawer' and its owner '%s'", blocking.detail, how);
  PY_RUN("broken_for_everybody(drawer, end, fellow)");
  CHECK_EQ_U64(lock_stats(l).breaks, 1);
  CHECK_OK(selv_lock_free(l));
}

static void one_that_ends(void) { dies_holding("ends"); }
static void one_that_raises(void) { dies_holding("raises"); }
static void one_that_is_closed(void) { dies_holding("is closed"); }

/* Between two C threads in the queue: the first of them completes the coroutine's wait when it lets go. */
static void granted_by_a_c_thread(void) {
  selv_lock *l = lock_named("drawer", SELV_LOCK_STRICT_FIFO);
  selv_task t = task_named("holder");
  waiter before, behind;
  CHECK_OK(selv_lock_try_acquire(l, t));
  waiter_init(&before, waiter_lock, l, 0);
  waiter_init(&behind, waiter_lock, l, 0);
  before.then = waiter_unlock;
  behind.then = waiter_unlock;
  waiter_go(&before);
  UNTIL(lock_waiting(l) == 1);
  py_give("drawer", l);
  PY_RUN("fibre = waits_to_be_granted(drawer)");
  waiter_go(&behind);
  UNTIL(lock_waiting(l) == 3);
  CHECK_OK(selv_lock_release(l, t));
  PY_RUN("run(fibre)");
  WAITER_ENDED(&behind, SELV_OK);
  CHECK_EQ_U64(check_tally_get(&lock_granted), 1);
  CHECK_EQ_U64(lock_grants[0].granted_on, (uint64_t)(uintptr_t)before.thread);
  CHECK(lock_grants[0].granted_on != lock_grants[0].runs_on);
  WAITER_ENDED(&before, SELV_OK);
  CHECK(before.order < behind.order);
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_OK(selv_lock_free(l));
}

int main(void) {
  py_locks_start("locks_coroutine.py");
  CHECK_RUN(ownership);
  CHECK_RUN(deadlock);
  CHECK_RUN(one_that_ends);
  CHECK_RUN(one_that_raises);
  CHECK_RUN(one_that_is_closed);
  CHECK_RUN(closed_while_waiting);
  CHECK_RUN(granted_by_a_c_thread);
  PY_FINALIZE();
  return 0;
}

/* limiter_duplicate.c: a borrower has one token or one request. A second request is refused at once, whether the first is held
 * or still waits (Trio refuses only the held one, and leaves the second waiter to sleep), and the first is not disturbed. */
#include "sync_probe.h"

static void refused(selv_limiter *l, selv_task t) {
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_limiter_try_acquire(l, t), SELV_E_DUPLICATE);
  CHECK_LAST_ERROR_HAS("tokens");
  CHECK_LAST_ERROR_HAS("borrower");
  CHECK_STATUS(selv_limiter_acquire(l, t, SELV_FOREVER), SELV_E_DUPLICATE);
  CHECK_STATUS(selv_limiter_acquire(l, t, 0), SELV_E_DUPLICATE);
  CHECK_STATUS(op_limiter(&p, l, t), SELV_E_DUPLICATE);
  CHECK_EQ_U64(p.op, 0);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
}

static void held(void) {
  selv_limiter *l = limiter_of(3);
  selv_task t = task_named("borrower");
  CHECK_OK(selv_limiter_acquire(l, t, SELV_FOREVER));
  refused(l, t);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 1);
  CHECK_OK(selv_limiter_release(l, t)); /* held once */
  CHECK_STATUS(selv_limiter_release(l, t), SELV_E_NOT_OWNER);
  CHECK_OK(selv_limiter_try_acquire(l, t));
  CHECK_OK(selv_limiter_release(l, t));
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_task_exit(t, NULL));
}

static void pending_operation(void) {
  selv_limiter *l = limiter_of(1);
  selv_task t = task_named("borrower");
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_limiter_try_acquire(l, SELV_TASK_CURRENT));
  CHECK_STATUS(op_limiter(&p, l, t), SELV_PENDING);
  refused(l, t);
  CHECK_EQ_U64(limiter_waiting(l), 1);
  CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
  OP_GOT(&p, 1, SELV_OK);
  refused(l, t);
  CHECK_OK(selv_limiter_release(l, t));
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_task_exit(t, NULL));
}

static void pending_thread(void) {
  selv_limiter *l = limiter_of(1);
  selv_task t = task_named("borrower");
  waiter w;
  CHECK_OK(selv_limiter_try_acquire(l, SELV_TASK_CURRENT));
  waiter_start(&w, waiter_limiter, l, t);
  UNTIL(limiter_waiting(l) == 1);
  refused(l, t);
  CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_OK(selv_limiter_release(l, t));
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_task_exit(t, NULL));
}

/* The request that is gone is no request: cancelled, abandoned, timed out. */
static void again_after_the_first_is_gone(void) {
  selv_limiter *l = limiter_of(1);
  selv_task t = task_named("borrower");
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_limiter_try_acquire(l, SELV_TASK_CURRENT));
  CHECK_STATUS(op_limiter(&p, l, t), SELV_PENDING);
  CHECK_OK(selv_op_cancel(p.op));
  OP_GOT(&p, 1, SELV_E_CANCELLED);
  CHECK_STATUS(op_limiter(&p, l, t), SELV_PENDING);
  CHECK_OK(selv_op_abandon(p.op));
  CHECK_STATUS(selv_limiter_acquire(l, t, 5 * CHECK_MS), SELV_E_TIMEDOUT);
  CHECK_STATUS(selv_limiter_try_acquire(l, t), SELV_E_WOULD_BLOCK);
  CHECK_STATUS(op_limiter(&p, l, t), SELV_PENDING);
  CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
  OP_GOT(&p, 2, SELV_OK);
  CHECK_OK(selv_limiter_release(l, t));
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_task_exit(t, NULL));
}

/* Many borrowers at once, each refused the second time: the limiter must know them all, not only the last. */
static void among_many(void) {
  enum { MANY = 300 };
  selv_limiter *l = limiter_of(MANY / 2);
  static selv_task tasks[MANY];
  static op_probe ops[MANY];
  int i;
  for (i = 0; i < MANY; i++) {
    tasks[i] = task_named("borrower");
    op_probe_init(&ops[i]);
    CHECK_STATUS(op_limiter(&ops[i], l, tasks[i]), i < MANY / 2 ? SELV_OK : SELV_PENDING);
  }
  for (i = 0; i < MANY; i++) CHECK_STATUS(selv_limiter_try_acquire(l, tasks[i]), SELV_E_DUPLICATE);
  for (i = 0; i < MANY / 2; i++) CHECK_OK(selv_limiter_release(l, tasks[i]));
  for (i = MANY / 2; i < MANY; i++) {
    OP_GOT(&ops[i], 1, SELV_OK);
    CHECK_STATUS(selv_limiter_try_acquire(l, tasks[i]), SELV_E_DUPLICATE);
    CHECK_OK(selv_limiter_release(l, tasks[i]));
  }
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
  for (i = 0; i < MANY; i++) CHECK_OK(selv_task_exit(tasks[i], NULL));
}

int main(void) {
  CHECK_RUN(held);
  CHECK_RUN(pending_operation);
  CHECK_RUN(pending_thread);
  CHECK_RUN(again_after_the_first_is_gone);
  CHECK_RUN(among_many);
  return 0;
}

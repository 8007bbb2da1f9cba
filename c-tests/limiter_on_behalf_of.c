/* limiter_on_behalf_of.c: tokens for borrowers that are no tasks: any number, in a namespace of their own, so that a number that
 * happens to be a task's is somebody else; no task's end gives them back. */
#include "sync_probe.h"

static void a_namespace_of_its_own(void) {
  selv_limiter *l = limiter_of(2);
  selv_task t = task_named("task");
  CHECK_OK(selv_limiter_try_acquire(l, t));
  CHECK_OK(selv_limiter_try_acquire_on_behalf_of(l, t)); /* the same number, and no duplicate */
  CHECK_EQ_U64(limiter_stats(l).borrowed, 2);
  CHECK_STATUS(selv_limiter_try_acquire(l, t), SELV_E_DUPLICATE);
  CHECK_STATUS(selv_limiter_try_acquire_on_behalf_of(l, t), SELV_E_DUPLICATE);
  CHECK_OK(selv_limiter_release(l, t));
  CHECK_STATUS(selv_limiter_release(l, t), SELV_E_NOT_OWNER); /* the other one is not the task's to release */
  CHECK_EQ_U64(task_ends(t).items, 0);                        /* nor its to lose */
  CHECK_EQ_U64(limiter_stats(l).borrowed, 1);
  CHECK_STATUS(selv_limiter_free(l), SELV_E_BUSY);
  CHECK_OK(selv_limiter_release_on_behalf_of(l, t)); /* a number, though no task any more */
  CHECK_STATUS(selv_limiter_release_on_behalf_of(l, t), SELV_E_NOT_OWNER);
  CHECK_OK(selv_limiter_free(l));
}

static void any_number_will_do(void) {
  static const uint64_t numbers[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63};
  selv_limiter *l = limiter_of(5);
  int i;
  for (i = 0; i < 5; i++) CHECK_OK(selv_limiter_acquire_on_behalf_of(l, SELV_TASK_CURRENT, numbers[i], 0));
  for (i = 0; i < 5; i++) CHECK_STATUS(selv_limiter_try_acquire_on_behalf_of(l, numbers[i]), SELV_E_DUPLICATE);
  CHECK_STATUS(selv_limiter_try_acquire_on_behalf_of(l, 77), SELV_E_WOULD_BLOCK);
  for (i = 0; i < 5; i++) CHECK_OK(selv_limiter_release_on_behalf_of(l, numbers[i]));
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
}

static void pending_is_duplicate_too(void) {
  selv_limiter *l = limiter_of(1);
  selv_task one = task_named("one"), two = task_named("two");
  op_probe p, q;
  waiter w;
  op_probe_init(&p);
  op_probe_init(&q);
  CHECK_OK(selv_limiter_try_acquire_on_behalf_of(l, 1));
  CHECK_STATUS(op_on_behalf_of(&p, l, one, 2), SELV_PENDING);
  waiter_start_n(&w, waiter_on_behalf_of, l, two, 3);
  UNTIL(limiter_waiting(l) == 2);
  CHECK_STATUS(op_on_behalf_of(&q, l, two, 2), SELV_E_DUPLICATE); /* by whichever task */
  CHECK_STATUS(selv_limiter_acquire_on_behalf_of(l, SELV_TASK_CURRENT, 3, SELV_FOREVER), SELV_E_DUPLICATE);
  CHECK_STATUS(selv_limiter_try_acquire_on_behalf_of(l, 3), SELV_E_DUPLICATE);
  /* One task may wait for several borrowers, and then for itself. */
  CHECK_STATUS(op_on_behalf_of(&q, l, one, 4), SELV_PENDING);
  CHECK_OK(selv_limiter_release_on_behalf_of(l, 1));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_limiter_release_on_behalf_of(l, 2));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_OK(selv_limiter_release_on_behalf_of(l, 3));
  OP_GOT(&q, 1, SELV_OK);
  CHECK_OK(selv_limiter_release_on_behalf_of(l, 4));
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_task_exit(one, NULL));
  CHECK_OK(selv_task_exit(two, NULL));
}

/* The waiting is the task's, even if the token would not have been. */
static void the_waiting_task_ends(void) {
  selv_limiter *l = limiter_of(1);
  selv_task t = task_named("waits"), other = task_named("other");
  op_probe p, q;
  exit_probe ended;
  op_probe_init(&p);
  op_probe_init(&q);
  CHECK_OK(selv_limiter_try_acquire_on_behalf_of(l, 1));
  CHECK_STATUS(op_on_behalf_of(&p, l, t, 2), SELV_PENDING);
  CHECK_STATUS(op_limiter(&q, l, other), SELV_PENDING);
  ended = task_ends(t);
  CHECK_EQ_U64(ended.report.waits_cancelled, 1);
  OP_GOT(&p, 1, SELV_E_CANCELLED);
  CHECK_OK(selv_limiter_release_on_behalf_of(l, 1));
  OP_GOT(&q, 1, SELV_OK);
  CHECK_STATUS(selv_limiter_try_acquire_on_behalf_of(l, 2), SELV_E_WOULD_BLOCK); /* asked for no more */
  CHECK_OK(selv_task_exit(other, NULL));
  CHECK_OK(selv_limiter_free(l));
}

static void a_borrower_outlives_the_task_that_waited_for_it(void) {
  selv_limiter *l = limiter_of(1);
  selv_task t = task_named("waits");
  CHECK_OK(selv_limiter_acquire_on_behalf_of(l, t, 5, SELV_FOREVER));
  CHECK_EQ_U64(task_ends(t).report.tokens_returned, 0);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 1);
  CHECK_OK(selv_limiter_release_on_behalf_of(l, 5));
  CHECK_OK(selv_limiter_free(l));
}

static void the_wait_ends_early(void) {
  selv_limiter *l = limiter_of(1);
  selv_task t = task_named("waits");
  waiter w;
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_limiter_try_acquire_on_behalf_of(l, 1));
  CHECK_STATUS(selv_limiter_acquire_on_behalf_of(l, t, 2, 0), SELV_E_TIMEDOUT);
  CHECK_STATUS(selv_limiter_acquire_on_behalf_of(l, t, 2, 5 * CHECK_MS), SELV_E_TIMEDOUT);
  waiter_start_n(&w, waiter_on_behalf_of, l, t, 2);
  UNTIL(limiter_waiting(l) == 1);
  CHECK_OK(selv_task_interrupt(t));
  WAITER_ENDED(&w, SELV_E_CANCELLED);
  CHECK_STATUS(op_on_behalf_of(&p, l, t, 2), SELV_PENDING);
  CHECK_OK(selv_op_cancel(p.op));
  OP_GOT(&p, 1, SELV_E_CANCELLED);
  CHECK_STATUS(op_on_behalf_of(&p, l, t, 2), SELV_PENDING);
  CHECK_OK(selv_limiter_close(l));
  OP_GOT(&p, 2, SELV_E_CLOSED);
  CHECK_STATUS(selv_limiter_try_acquire_on_behalf_of(l, 2), SELV_E_CLOSED);
  CHECK_OK(selv_limiter_release_on_behalf_of(l, 1));
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_task_exit(t, NULL));
}

int main(void) {
  CHECK_RUN(a_namespace_of_its_own);
  CHECK_RUN(any_number_will_do);
  CHECK_RUN(pending_is_duplicate_too);
  CHECK_RUN(the_waiting_task_ends);
  CHECK_RUN(a_borrower_outlives_the_task_that_waited_for_it);
  CHECK_RUN(the_wait_ends_early);
  return 0;
}

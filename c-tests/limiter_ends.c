/* limiter_ends.c: timeout, cancel, abandon, interrupt, task exit and close of a wait for a token. */
#include "waits_end.h"

WAITABLE_OF(limiter)

/* No token but those that `give` adds; what was borrowed goes back and is taken out again. */
static void *make(void) {
  selv_limiter *l = limiter_of(1);
  CHECK_OK(selv_limiter_set_total(l, 0));
  return l;
}
static selv_status submit(op_probe *p, void *object, selv_task task) { return op_limiter(p, (selv_limiter *)object, task); }
static void give(void *object) {
  selv_limiter *l = (selv_limiter *)object;
  CHECK_OK(selv_limiter_set_total(l, limiter_stats(l).total + 1));
}
static void settle(void *object, selv_task task) {
  selv_limiter *l = (selv_limiter *)object;
  CHECK_OK(selv_limiter_set_total(l, limiter_stats(l).total - 1));
  CHECK_OK(selv_limiter_release(l, task));
}

static const waitable limiter = {"tokens", make, waiter_limiter, submit, NULL, give, settle, limiter_object_waiting,
                                 limiter_object_timeouts, limiter_object_cancelled, limiter_object_close, limiter_object_free,
                                 0, 1};

/* Closed with tokens out: they can still be given back, and are, by hand or by the end of the task. */
static void tokens_out_at_the_close(void) {
  selv_limiter *l = limiter_of(3);
  selv_task one = task_named("one"), two = task_named("two"), three = task_named("three");
  CHECK_OK(selv_limiter_try_acquire(l, one));
  CHECK_OK(selv_limiter_try_acquire(l, two));
  CHECK_OK(selv_limiter_close(l));
  CHECK_STATUS(selv_limiter_try_acquire(l, three), SELV_E_CLOSED);
  CHECK_EQ_U64(limiter_stats(l).closed, 1);
  CHECK_STATUS(selv_limiter_free(l), SELV_E_BUSY);
  CHECK_LAST_ERROR_HAS("tokens");
  CHECK_OK(selv_limiter_release(l, one));
  CHECK_STATUS(selv_limiter_free(l), SELV_E_BUSY);
  CHECK_EQ_U64(task_ends(two).report.tokens_returned, 1);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_task_exit(one, NULL));
  CHECK_OK(selv_task_exit(three, NULL));
}

int main(void) {
  waits_end_all(&limiter);
  CHECK_RUN(tokens_out_at_the_close);
  return 0;
}

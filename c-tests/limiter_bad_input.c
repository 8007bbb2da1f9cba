/* limiter_bad_input.c: NULL, unknown flags, wrong sizes and tasks that are none, to every function of the limiter; no token
 * is taken by a refused call. */
#include "sync_probe.h"

static void options(void) {
  selv_limiter_options good = SELV_LIMITER_OPTIONS_INIT;
  selv_limiter *l = (selv_limiter *)(uintptr_t)1;
  CHECK_STATUS(selv_limiter_new(&good, &l), SELV_E_INVAL); /* a total is required */
  CHECK(l == NULL);
  CHECK_LAST_ERROR_HAS("total");
  l = (selv_limiter *)(uintptr_t)1;
  CHECK_STATUS(selv_limiter_new(NULL, &l), SELV_E_NULL); /* there are no defaults */
  CHECK(l == NULL);
  good.total = 1;
  SYNC_BAD_OPTIONS(limiter, good);
}

static void calls(void) {
  selv_limiter *l = limiter_of(1), *null = NULL;
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_limiter_try_acquire(NULL, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_STATUS(selv_limiter_acquire(NULL, SELV_TASK_CURRENT, 0), SELV_E_NULL);
  CHECK_STATUS(selv_limiter_release(NULL, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_STATUS(selv_limiter_set_total(NULL, 1), SELV_E_NULL);
  CHECK_STATUS(selv_limiter_try_acquire_on_behalf_of(NULL, 1), SELV_E_NULL);
  CHECK_STATUS(selv_limiter_acquire_on_behalf_of(NULL, SELV_TASK_CURRENT, 1, 0), SELV_E_NULL);
  CHECK_STATUS(selv_limiter_release_on_behalf_of(NULL, 1), SELV_E_NULL);
  CHECK_STATUS(op_limiter(&p, null, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_STATUS(op_on_behalf_of(&p, null, SELV_TASK_CURRENT, 1), SELV_E_NULL);
  SYNC_BAD_TASKS(selv_limiter_try_acquire(l, task));
  SYNC_BAD_TASKS(selv_limiter_acquire(l, task, 0));
  SYNC_BAD_TASKS(selv_limiter_acquire_on_behalf_of(l, task, 1, 0));
  SYNC_BAD_TASKS(selv_limiter_release(l, task));
  SYNC_BAD_ASYNC(selv_limiter_acquire_async(l, task, completion, &op));
  SYNC_BAD_ASYNC(selv_limiter_acquire_on_behalf_of_async(l, task, 1, completion, &op));
  CHECK_STATUS(selv_limiter_release(l, SELV_TASK_CURRENT), SELV_E_NOT_OWNER);
  CHECK_STATUS(selv_limiter_release_on_behalf_of(l, 1), SELV_E_NOT_OWNER);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_EQ_U64(limiter_stats(l).waits, 0);
  CHECK_OK(selv_limiter_free(l));
}

int main(void) {
  CHECK_RUN(options);
  CHECK_RUN(calls);
  return 0;
}

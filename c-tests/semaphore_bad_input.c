/* semaphore_bad_input.c: NULL, unknown flags, wrong sizes and tasks that are none, to every function of the semaphore; nothing
 * is taken by a refused call. */
#include "sync_probe.h"

static void options(void) {
  selv_semaphore_options good = SELV_SEMAPHORE_OPTIONS_INIT;
  good.initial = 1;
  SYNC_BAD_OPTIONS(semaphore, good);
}

static void calls(void) {
  selv_semaphore *s = semaphore_of(1, 0), *null = NULL;
  CHECK_STATUS(selv_semaphore_try_acquire(NULL, 1), SELV_E_NULL);
  CHECK_STATUS(selv_semaphore_release(NULL, 1), SELV_E_NULL);
  CHECK_STATUS(selv_semaphore_acquire(NULL, SELV_TASK_CURRENT, 1, 0), SELV_E_NULL);
  SYNC_BAD_TASKS(selv_semaphore_acquire(s, task, 1, 0));
  SYNC_BAD_ASYNC(selv_semaphore_acquire_async(s, task, 1, completion, &op));
  {
    op_probe p;
    op_probe_init(&p);
    CHECK_STATUS(op_semaphore(&p, null, SELV_TASK_CURRENT, 1), SELV_E_NULL);
  }
  CHECK_EQ_U64(semaphore_stats(s).permits, 1);
  CHECK_EQ_U64(semaphore_stats(s).waits, 0);
  CHECK_OK(selv_semaphore_free(s));
}

/* Who does not want to cancel need not ask for the number. */
static void out_op_may_be_null(void) {
  selv_semaphore *s = semaphore_of(0, 0);
  op_probe p;
  selv_completion completion;
  op_probe_init(&p);
  completion = op_probe_completion(&p);
  CHECK_STATUS(selv_semaphore_acquire_async(s, SELV_TASK_CURRENT, 1, &completion, NULL), SELV_PENDING);
  CHECK_OK(selv_semaphore_release(s, 1));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_semaphore_free(s));
}

int main(void) {
  CHECK_RUN(options);
  CHECK_RUN(calls);
  CHECK_RUN(out_op_may_be_null);
  return 0;
}

/* semaphore_limits.c: how many permits there can be, and what is refused: past the maximum nothing changes, and a request that
 * could never be met is told so and not queued. */
#include "sync_probe.h"

#define UNBOUNDED ((UINT64_C(1) << 62) - 1) /* what "no maximum" means */

static void release_past_the_maximum(void) {
  selv_semaphore *s = semaphore_of(2, 3);
  CHECK_STATUS(selv_semaphore_release(s, 2), SELV_E_OVERFLOW);
  CHECK_LAST_ERROR_HAS("S");
  CHECK_EQ_U64(semaphore_stats(s).permits, 2);
  CHECK_STATUS(selv_semaphore_release(s, UINT64_MAX), SELV_E_OVERFLOW); /* the sum must not wrap */
  CHECK_STATUS(selv_semaphore_release(s, UINT64_MAX - 1), SELV_E_OVERFLOW);
  CHECK_EQ_U64(semaphore_stats(s).permits, 2);
  CHECK_OK(selv_semaphore_release(s, 1));
  CHECK_STATUS(selv_semaphore_release(s, 1), SELV_E_OVERFLOW);
  CHECK_EQ_U64(semaphore_stats(s).permits, 3);
  CHECK_EQ_U64(semaphore_stats(s).max, 3);
  CHECK_OK(selv_semaphore_try_acquire(s, 3));
  CHECK_EQ_U64(semaphore_stats(s).permits, 0);
  CHECK_OK(selv_semaphore_free(s));
}

static void an_overflow_serves_nobody(void) {
  selv_semaphore *s = semaphore_of(1, 3);
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(op_semaphore(&p, s, SELV_TASK_CURRENT, 2), SELV_PENDING);
  CHECK_STATUS(selv_semaphore_release(s, 5), SELV_E_OVERFLOW);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_EQ_U64(semaphore_waiting(s), 1);
  CHECK_OK(selv_semaphore_release(s, 1));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_semaphore_free(s));
}

static void without_a_maximum(void) {
  selv_semaphore *s = semaphore_of(1, 0);
  CHECK_STATUS(selv_semaphore_release(s, UNBOUNDED), SELV_E_OVERFLOW);
  CHECK_EQ_U64(semaphore_stats(s).permits, 1);
  CHECK_OK(selv_semaphore_release(s, UNBOUNDED - 1));
  CHECK_EQ_U64(semaphore_stats(s).permits, UNBOUNDED);
  CHECK_STATUS(selv_semaphore_release(s, 1), SELV_E_OVERFLOW);
  CHECK_OK(selv_semaphore_try_acquire(s, UNBOUNDED));
  CHECK_EQ_U64(semaphore_stats(s).permits, 0);
  CHECK_OK(selv_semaphore_free(s));
}

static void requests_that_cannot_be_met(void) {
  selv_semaphore_options options = SELV_SEMAPHORE_OPTIONS_INIT;
  selv_semaphore *s = semaphore_of(3, 3), *none = NULL;
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_semaphore_try_acquire(s, 4), SELV_E_INVAL);
  CHECK_STATUS(selv_semaphore_acquire(s, SELV_TASK_CURRENT, 4, SELV_FOREVER), SELV_E_INVAL);
  CHECK_STATUS(op_semaphore(&p, s, SELV_TASK_CURRENT, 4), SELV_E_INVAL);
  CHECK_STATUS(selv_semaphore_try_acquire(s, 0), SELV_E_INVAL);
  CHECK_STATUS(selv_semaphore_acquire(s, SELV_TASK_CURRENT, 0, SELV_FOREVER), SELV_E_INVAL);
  CHECK_STATUS(op_semaphore(&p, s, SELV_TASK_CURRENT, 0), SELV_E_INVAL);
  CHECK_STATUS(selv_semaphore_release(s, 0), SELV_E_INVAL);
  CHECK_EQ_U64(semaphore_stats(s).permits, 3);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_semaphore_free(s));

  options.initial = 4; /* more than there can be */
  options.max = 3;
  CHECK_STATUS(selv_semaphore_new(&options, &none), SELV_E_INVAL);
  CHECK(none == NULL);
  CHECK_LAST_ERROR_HAS("initial");
  options.initial = 0;
  options.max = UNBOUNDED + 1;
  CHECK_STATUS(selv_semaphore_new(&options, &none), SELV_E_INVAL);
  CHECK_LAST_ERROR_HAS("max");
  options.max = 0;
  options.initial = UNBOUNDED + 1;
  CHECK_STATUS(selv_semaphore_new(&options, &none), SELV_E_INVAL);
}

static void without_options(void) {
  selv_semaphore *s = NULL;
  CHECK_OK(selv_semaphore_new(NULL, &s));
  CHECK_EQ_U64(semaphore_stats(s).permits, 0);
  CHECK_STATUS(selv_semaphore_try_acquire(s, 1), SELV_E_WOULD_BLOCK);
  CHECK_OK(selv_semaphore_release(s, 1));
  CHECK_OK(selv_semaphore_try_acquire(s, 1));
  CHECK_OK(selv_semaphore_free(s));
}

int main(void) {
  CHECK_RUN(release_past_the_maximum);
  CHECK_RUN(an_overflow_serves_nobody);
  CHECK_RUN(without_a_maximum);
  CHECK_RUN(requests_that_cannot_be_met);
  CHECK_RUN(without_options);
  return 0;
}

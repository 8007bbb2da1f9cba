/* job_limiter_storm.c: jobs with a limiter are cancelled, time out and fail by the hundred while their tokens go round: each is
 * delivered once, runs or does not as it is told, and every token is back. */
#include "probe.h"
#include "sync_probe.h"

#define THREADS 4
#define TOKENS 3

static selv_cache *cache;
static selv_limiter *limiter;
static uint64_t jobs_each, running, counts[4]; /* run, cancelled, timed out, failed */

struct stormed {
  int runs, delivers, frees;
  selv_status status;
};

static int32_t fn(void *arg, void **out_value) {
  (void)out_value;
  CHECK(__atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST) <= TOKENS);
  __atomic_add_fetch(&((struct stormed *)arg)->runs, 1, __ATOMIC_SEQ_CST);
  sched_yield();
  __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
  return 0;
}

static void deliver(void *arg, const selv_outcome *outcome) {
  ((struct stormed *)arg)->status = outcome->status;
  __atomic_add_fetch(&((struct stormed *)arg)->delivers, 1, __ATOMIC_SEQ_CST);
}

static void job_freed(void *arg) { __atomic_add_fetch(&((struct stormed *)arg)->frees, 1, __ATOMIC_SEQ_CST); }

static int32_t fails_now_and_then(void *user, const selv_worker *w, void *slot) {
  static uint64_t calls;
  (void)user;
  (void)w;
  (void)slot;
  return __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) % 10 == 0;
}

static void count(selv_status status) {
  int how = status == SELV_OK ? 0 : status == SELV_E_CANCELLED ? 1 : status == SELV_E_TIMEDOUT ? 2 : 3;
  __atomic_add_fetch(&counts[how], 1, __ATOMIC_RELAXED);
}

static void *storm(void *arg) {
  uint64_t seed = sync_probe_seed((uint64_t)(uintptr_t)arg), i, batch;
  enum { BATCH = 8 };
  struct stormed *jobs = (struct stormed *)calloc(jobs_each, sizeof *jobs);
  selv_job *handles[BATCH];
  CHECK(jobs != NULL);
  for (batch = 0; batch + BATCH <= jobs_each; batch += BATCH) {
    uint64_t random = sync_probe_random(&seed);
    for (i = 0; i < BATCH; i++) {
      selv_job_options job = SELV_JOB_OPTIONS_INIT;
      job.fn = fn;
      job.deliver = deliver;
      job.arg = &jobs[batch + i];
      job.arg_free = job_freed;
      job.limiter = limiter;
      job.limiter_timeout_ns = random >> i & 1 ? 0 : 1 + (random >> 8) % 100000;
      CHECK_OK(selv_cache_submit(cache, &job, &handles[i]));
    }
    for (i = 0; i < BATCH; i++) {
      struct stormed *s = &jobs[batch + i];
      selv_status cancelled = SELV_E_TOO_LATE;
      selv_outcome outcome;
      if (random >> (16 + i) & 1) cancelled = selv_job_cancel(handles[i]);
      CHECK_EITHER(cancelled, SELV_OK, SELV_E_TOO_LATE);
      CHECK_OK(selv_job_wait(handles[i], check_patience_s() * UINT64_C(1000000000), &outcome));
      selv_job_release(handles[i]);
      CHECK_EQ_U64(__atomic_load_n(&s->delivers, __ATOMIC_SEQ_CST), 1);
      CHECK_STATUS(s->status, outcome.status);
      if (cancelled == SELV_OK)
        CHECK_STATUS(outcome.status, SELV_E_CANCELLED);
      else
        CHECK(outcome.status == SELV_OK || outcome.status == SELV_E_TIMEDOUT || outcome.status == SELV_E_HOOK_FAILED);
      CHECK_EQ_U64(__atomic_load_n(&s->runs, __ATOMIC_SEQ_CST), outcome.status == SELV_OK ? 1 : 0);
      count(outcome.status);
    }
  }
  for (i = 0; i < batch; i++) UNTIL(__atomic_load_n(&jobs[i].frees, __ATOMIC_SEQ_CST) == 1);
  free(jobs);
  return NULL;
}

static void storm_on(uint32_t max_workers) {
  pthread_t threads[THREADS];
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  selv_hook *hook = NULL;
  uintptr_t i;
  cache = probe_cache(max_workers, SELV_FOREVER);
  limiter = limiter_of(TOKENS);
  jobs_each = check_scaled(800);
  memset(counts, 0, sizeof counts);
  options.name = "fails";
  options.before_job = fails_now_and_then;
  CHECK_OK(selv_hook_register(cache, &options, &hook));
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, storm, (void *)i) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  printf("%llu ran, %llu cancelled, %llu timed out, %llu failed\n", (unsigned long long)counts[0], (unsigned long long)counts[1],
         (unsigned long long)counts[2], (unsigned long long)counts[3]);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  selv_hook_release(hook);
  probe_end(cache);
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 0);
  CHECK_EQ_U64(limiter_waiting(limiter), 0);
  CHECK_OK(selv_limiter_free(limiter));
}

static void on_an_unbounded_cache(void) { storm_on(0); }
static void on_a_bounded_cache(void) { storm_on(2); }

/* ---- cancelled by another thread as soon as the handle is there, while the submit has not returned ---- */

static selv_job *volatile handle_of_now;
static uint64_t round_of_now, cancelled_early;

static void *cancels(void *arg) {
  uint64_t round, rounds = *(uint64_t *)arg;
  for (round = 1; round <= rounds; round++) {
    selv_job *handle;
    selv_status status;
    UNTIL(__atomic_load_n(&round_of_now, __ATOMIC_ACQUIRE) == 2 * round - 1);
    while ((handle = handle_of_now) == NULL) {
    }
    status = selv_job_cancel(handle);
    CHECK_EITHER(status, SELV_OK, SELV_E_TOO_LATE);
    cancelled_early += status == SELV_OK;
    __atomic_store_n(&round_of_now, 2 * round, __ATOMIC_RELEASE);
  }
  return NULL;
}

static void cancelled_while_it_is_submitted(void) {
  uint64_t rounds = check_scaled(3000), round;
  selv_task holder = task_named("holder");
  pthread_t thread;
  if (CHECK_FOREIGN_THREADS) {
    printf("not under the thread sanitizer: the two threads meet in the handle itself\n");
    return;
  }
  cache = probe_cache(0, SELV_FOREVER);
  limiter = limiter_of(1);
  CHECK(pthread_create(&thread, NULL, cancels, &rounds) == 0);
  for (round = 1; round <= rounds; round++) {
    selv_job_options job = SELV_JOB_OPTIONS_INIT;
    struct stormed s;
    memset(&s, 0, sizeof s);
    job.fn = fn;
    job.deliver = deliver;
    job.arg = &s;
    job.arg_free = job_freed;
    job.limiter = limiter;
    if (round % 2) CHECK_OK(selv_limiter_try_acquire(limiter, holder)); /* it would have to wait */
    handle_of_now = NULL;
    __atomic_store_n(&round_of_now, 2 * round - 1, __ATOMIC_RELEASE);
    CHECK_OK(selv_cache_submit(cache, &job, (selv_job **)&handle_of_now));
    UNTIL(__atomic_load_n(&round_of_now, __ATOMIC_ACQUIRE) == 2 * round);
    if (round % 2) CHECK_OK(selv_limiter_release(limiter, holder));
    UNTIL(__atomic_load_n(&s.frees, __ATOMIC_SEQ_CST) == 1);
    CHECK_EQ_U64(__atomic_load_n(&s.delivers, __ATOMIC_SEQ_CST), 1);
    CHECK_EQ_U64(__atomic_load_n(&s.runs, __ATOMIC_SEQ_CST), s.status == SELV_OK ? 1 : 0);
    CHECK_EITHER(s.status, SELV_OK, SELV_E_CANCELLED);
    UNTIL(limiter_stats(limiter).borrowed == 0);
    CHECK_EQ_U64(limiter_waiting(limiter), 0);
    selv_job_release(handle_of_now);
  }
  CHECK(pthread_join(thread, NULL) == 0);
  printf("%llu of %llu cancelled\n", (unsigned long long)cancelled_early, (unsigned long long)rounds);
  CHECK_OK(selv_task_exit(holder, NULL));
  probe_end(cache);
  CHECK_OK(selv_limiter_free(limiter));
}

int main(void) {
  CHECK_RUN(on_an_unbounded_cache);
  CHECK_RUN(on_a_bounded_cache);
  CHECK_RUN(cancelled_while_it_is_submitted);
  return 0;
}

/* cancel.c: a job that has not started can be withdrawn and is delivered once, as CANCELLED, on the cancelling thread; one
 * that has started cannot; under a storm nothing is lost and nothing comes twice. */
#include "probe.h"

static void a_queued_job_is_cancelled_once(void) {
  selv_cache *c = probe_cache(1, 0);
  selv_job_options hold, job;
  selv_job *queued = NULL;
  selv_outcome outcome;
  probe busy, p;
  probe_init(&busy);
  probe_init(&p);
  hold = probe_job(probe_hold, &busy);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  job = probe_job(probe_never, &p);
  CHECK_OK(selv_cache_submit(c, &job, &queued));
  CHECK_EQ_U64(probe_stats(c).jobs_queued, 1);
  CHECK_OK(selv_job_cancel(queued));
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1); /* inside selv_job_cancel */
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  CHECK(pthread_equal(p.deliverer, pthread_self()));
  CHECK_STATUS(p.last.status, SELV_E_CANCELLED);
  CHECK(p.last.value == NULL);
  CHECK_STATUS(selv_job_cancel(queued), SELV_E_TOO_LATE);
  CHECK_OK(selv_job_wait(queued, 0, &outcome));
  CHECK_STATUS(outcome.status, SELV_E_CANCELLED);
  CHECK_EQ_U64(probe_stats(c).jobs_queued, 0);
  selv_job_release(queued);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&busy.freed, 1);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  probe_end(c);
}

/* In deliver, selv_last_error tells why this job was not run, and not what some older call complained of. */
static void deliver_is_told_why(void) {
  selv_cache *c = probe_cache(1, 0);
  selv_job_options hold, job, last;
  selv_job *queued = NULL;
  uint32_t remaining = 99;
  probe busy, p, q;
  probe_init(&busy);
  probe_init(&p);
  probe_init(&q);
  hold = probe_job(probe_hold, &busy);
  job = probe_job(probe_never, &p);
  last = probe_job(probe_never, &q);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  CHECK_OK(selv_cache_submit(c, &job, &queued));
  CHECK_OK(selv_cache_submit(c, &last, NULL));
  CHECK_STATUS(selv_cache_new(NULL, NULL), SELV_E_NULL); /* an older complaint on this thread */
  CHECK_OK(selv_job_cancel(queued));
  CHECK(strstr(p.detail, "cancel") != NULL);
  CHECK_STATUS(selv_cache_new(NULL, NULL), SELV_E_NULL);
  CHECK_STATUS(selv_cache_shutdown(c, SELV_SHUTDOWN_CANCEL_QUEUED, 0, &remaining), SELV_E_TIMEDOUT);
  CHECK_STATUS(q.last.status, SELV_E_CANCELLED);
  CHECK(strstr(q.detail, "cancel") != NULL || strstr(q.detail, "shut") != NULL);
  selv_job_release(queued);
  check_tally_add(&busy.go, 1);
  probe_end(c);
}

static void a_running_or_finished_job_is_too_late(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_job_options hold;
  selv_job *job = NULL;
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  hold = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &hold, &job));
  CHECK_WAIT(&p.entered, 1);
  CHECK_STATUS(selv_job_cancel(job), SELV_E_TOO_LATE);
  check_tally_add(&p.go, 1);
  CHECK_OK(selv_job_wait(job, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(outcome.code, 7);
  CHECK_STATUS(selv_job_cancel(job), SELV_E_TOO_LATE);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  selv_job_release(job);
  probe_end(c);
}

static void the_middle_of_the_queue_can_go(void) {
  selv_cache *c = probe_cache(1, 0);
  selv_job_options hold, job, never;
  selv_job *queued[5];
  probe busy, p, gone;
  int i;
  probe_init(&busy);
  probe_init(&p);
  probe_init(&gone);
  hold = probe_job(probe_hold, &busy);
  job = probe_job(probe_run, &p);
  never = probe_job(probe_never, &gone);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  for (i = 0; i < 5; i++) CHECK_OK(selv_cache_submit(c, i % 2 ? &job : &never, &queued[i]));
  CHECK_OK(selv_job_cancel(queued[2]));
  CHECK_OK(selv_job_cancel(queued[0]));
  CHECK_OK(selv_job_cancel(queued[4]));
  for (i = 0; i < 5; i++) selv_job_release(queued[i]);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&p.freed, 2);
  CHECK_EQ_U64(check_tally_get(&gone.freed), 3);
  probe_end(c);
}

static void a_released_handle_does_not_cancel(void) {
  selv_cache *c = probe_cache(1, 0);
  selv_job_options hold, job;
  selv_job *handle = NULL;
  probe busy, p;
  probe_init(&busy);
  probe_init(&p);
  hold = probe_job(probe_hold, &busy);
  job = probe_job(probe_run, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_OK(selv_cache_submit(c, &job, &handle));
  selv_job_release(handle);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(p.last.status);
  probe_end(c);
}

/* ---- the storm: jobs are cancelled while workers take them ---- */

struct stormed {
  int runs, delivers, frees;
  selv_status status;
};

static int32_t storm_fn(void *arg, void **out_value) {
  (void)out_value;
  __atomic_add_fetch(&((struct stormed *)arg)->runs, 1, __ATOMIC_SEQ_CST);
  return 0;
}

static void storm_deliver(void *arg, const selv_outcome *outcome) {
  ((struct stormed *)arg)->status = outcome->status;
  __atomic_add_fetch(&((struct stormed *)arg)->delivers, 1, __ATOMIC_SEQ_CST);
}

static void storm_free(void *arg) { __atomic_add_fetch(&((struct stormed *)arg)->frees, 1, __ATOMIC_SEQ_CST); }

static selv_cache *storm_cache;
static uint64_t storm_jobs;

static void *storm_thread(void *unused) {
  struct stormed *jobs = (struct stormed *)calloc(storm_jobs, sizeof *jobs);
  uint64_t i, withdrawn = 0;
  (void)unused;
  CHECK(jobs != NULL);
  for (i = 0; i < storm_jobs; i++) {
    selv_job_options options = SELV_JOB_OPTIONS_INIT;
    selv_job *job = NULL;
    selv_outcome outcome;
    selv_status cancelled;
    options.fn = storm_fn;
    options.deliver = storm_deliver;
    options.arg = &jobs[i];
    options.arg_free = storm_free;
    CHECK_OK(selv_cache_submit(storm_cache, &options, &job));
    cancelled = selv_job_cancel(job);
    CHECK(cancelled == SELV_OK || cancelled == SELV_E_TOO_LATE);
    CHECK_OK(selv_job_wait(job, SELV_FOREVER, &outcome));
    selv_job_release(job);
    withdrawn += cancelled == SELV_OK;
    CHECK_STATUS(outcome.status, cancelled == SELV_OK ? SELV_E_CANCELLED : SELV_OK);
    CHECK_STATUS(jobs[i].status, outcome.status);
    CHECK_EQ_U64(jobs[i].runs, cancelled == SELV_OK ? 0 : 1);
    CHECK_EQ_U64(jobs[i].delivers, 1);
    CHECK_EQ_U64(jobs[i].frees, 1);
  }
  printf("%llu of %llu withdrawn\n", (unsigned long long)withdrawn, (unsigned long long)storm_jobs);
  free(jobs);
  return NULL;
}

static void a_storm(uint32_t max_workers) {
  pthread_t threads[4];
  int i;
  storm_cache = probe_cache(max_workers, 0);
  storm_jobs = check_scaled(1000);
  for (i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, storm_thread, NULL) == 0);
  for (i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  probe_end(storm_cache);
}

static void a_storm_on_a_bounded_cache(void) { a_storm(1); }
static void a_storm_on_an_unbounded_cache(void) { a_storm(0); }

int main(void) {
  CHECK_RUN(a_queued_job_is_cancelled_once);
  CHECK_RUN(deliver_is_told_why);
  CHECK_RUN(a_running_or_finished_job_is_too_late);
  CHECK_RUN(the_middle_of_the_queue_can_go);
  CHECK_RUN(a_released_handle_does_not_cancel);
  CHECK_RUN(a_storm_on_a_bounded_cache);
  CHECK_RUN(a_storm_on_an_unbounded_cache);
  return 0;
}

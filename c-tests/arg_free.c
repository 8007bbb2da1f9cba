/* arg_free.c: the finaliser of a job's argument runs exactly once, after deliver, on every way out of the cache, and never
 * for a job that was refused. */
#include "probe.h"

static check_journal journal = CHECK_JOURNAL_INIT;

static int32_t noted_fn(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  check_note(&journal, "fn", "");
  return 0;
}

static void noted_deliver(void *arg, const selv_outcome *outcome) {
  (void)arg;
  check_note(&journal, selv_status_name(outcome->status), "");
}

static void noted_free(void *arg) {
  check_note(&journal, "free", "");
  check_tally_add((check_tally *)arg, 1);
}

static void after_deliver(void) {
  selv_cache *c = probe_cache(0, 0);
  check_tally freed = CHECK_TALLY_INIT;
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  job.fn = noted_fn;
  job.deliver = noted_deliver;
  job.arg = &freed;
  job.arg_free = noted_free;
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&freed, 1);
  CHECK_JOURNAL(&journal, "fn SELV_OK free");
  check_journal_clear(&journal);
  job.deliver = NULL; /* nobody to deliver to: it is freed all the same */
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&freed, 2);
  CHECK_JOURNAL(&journal, "fn free");
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&freed), 2);
}

static void of_a_job_cancelled_by_shutdown(void) {
  selv_cache *c = probe_cache(1, 0);
  check_tally freed = CHECK_TALLY_INIT;
  selv_job_options hold, job = SELV_JOB_OPTIONS_INIT;
  uint32_t remaining = 99;
  probe p;
  probe_init(&p);
  check_journal_clear(&journal);
  hold = probe_job(probe_hold, &p);
  job.fn = probe_never;
  job.deliver = noted_deliver;
  job.arg = &freed;
  job.arg_free = noted_free;
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&p.entered, 1);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_STATUS(selv_cache_shutdown(c, SELV_SHUTDOWN_CANCEL_QUEUED, 0, &remaining), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(remaining, 1);
  CHECK_JOURNAL(&journal, "SELV_E_CANCELLED free");
  check_tally_add(&p.go, 1);
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&freed), 1);
}

static void of_a_job_whose_hook_failed(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_job_options job;
  selv_hook *hook;
  hook_probe h;
  probe p;
  probe_init(&p);
  hook_probe_init(&h, "failing", NULL);
  h.start_code = 1;
  hook = hook_probe_register(c, &h, 0);
  job = probe_job(probe_never, &p);
  CHECK_STATUS(probe_through(c, &job).status, SELV_E_HOOK_FAILED);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  hook_probe_remove(hook, &h);
  probe_end(c);
}

static void never_of_a_refused_job(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_job_options job;
  size_t accepted = 99;
  uint32_t remaining;
  probe p;
  probe_init(&p);
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  job = probe_job(probe_never, &p);
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_CLOSED);
  CHECK_STATUS(selv_cache_submit_many(c, &job, 1, &accepted), SELV_E_CLOSED);
  CHECK_EQ_U64(accepted, 0);
  selv_cache_release(c);
  CHECK_EQ_U64(check_tally_get(&p.freed), 0);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 0);
}

int main(void) {
  CHECK_RUN(after_deliver);
  CHECK_RUN(of_a_job_cancelled_by_shutdown);
  CHECK_RUN(of_a_job_whose_hook_failed);
  CHECK_RUN(never_of_a_refused_job);
  return 0;
}

/* references.c: the default cache, and what the last reference of a cache does when nobody shut it down: accepted jobs
 * finish, then every worker ends, quietly. */
#include "probe.h"

static void the_default_cache_is_one(void) {
  selv_cache *first = NULL, *second = NULL;
  selv_outcome outcome;
  uint32_t remaining = 99;
  probe p;
  probe_init(&p);
  CHECK_OK(selv_cache_default(&first));
  CHECK_OK(selv_cache_default(&second));
  CHECK(first != NULL && first == second);
  CHECK_OK(selv_cache_run(first, probe_run, &p, SELV_FOREVER, &outcome));
  selv_cache_release(first);
  CHECK_OK(selv_cache_run(second, probe_run, &p, SELV_FOREVER, &outcome));
  CHECK_STATUS(selv_cache_shutdown(second, 0, SELV_FOREVER, &remaining), SELV_E_UNSUPPORTED);
  CHECK_STATUS(selv_cache_shutdown(second, SELV_SHUTDOWN_CANCEL_QUEUED, 0, &remaining), SELV_E_UNSUPPORTED);
  CHECK_OK(selv_cache_trim(second, 0));
  CHECK_EVENTUALLY(probe_stats(second).workers == 0);
  selv_cache_release(second);
  CHECK_OK(selv_cache_default(&first)); /* released by all, it is still the process's */
  CHECK_OK(selv_cache_run(first, probe_run, &p, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(check_tally_get(&p.ran), 3);
  CHECK_OK(selv_cache_trim(first, 0)); /* its idle worker would be counted below as somebody else's */
  CHECK_THREADS_LEFT(0);
  selv_cache_release(first);
}

static void retain_keeps_it(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  CHECK(selv_cache_retain(c) == c);
  selv_cache_release(c);
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  probe_end(c);
}

static void the_last_release_lets_jobs_finish(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options hold, job;
  hook_probe h;
  selv_hook *hook;
  probe busy, p;
  int i;
  probe_init(&busy);
  probe_init(&p);
  hook_probe_init(&h, "h", NULL);
  hook = hook_probe_register(c, &h, 0);
  hold = probe_job(probe_hold, &busy);
  job = probe_job(probe_run, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  for (i = 0; i < 10; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&busy.entered, 1);
  selv_cache_release(c);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&p.freed, 10);
  CHECK_WAIT(&h.exits, 1);
  CHECK_THREADS_LEFT(0);
  CHECK_EQ_U64(check_tally_get(&h.exits), check_tally_get(&h.starts));
  selv_hook_release(hook);
  CHECK_WAIT(&h.frees, 1);
}

static void release_in_deliver(void *arg, const selv_outcome *outcome) {
  CHECK_OK(outcome->status);
  selv_cache_release((selv_cache *)arg);
}

static int32_t nothing(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

/* The common end of a program's last job: it lets go of the cache on the cache's own worker. */
static void the_last_release_may_be_on_a_worker(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  CHECK_OK(selv_start_thread_soon(c, nothing, release_in_deliver, c, NULL));
  CHECK_THREADS_LEFT(0);
}

static void an_unused_cache_is_released(void) {
  int i;
  for (i = 0; i < 100; i++) selv_cache_release(probe_cache(0, 0));
}

int main(void) {
  CHECK_RUN(the_default_cache_is_one);
  CHECK_RUN(retain_keeps_it);
  CHECK_RUN(the_last_release_lets_jobs_finish);
  CHECK_RUN(the_last_release_may_be_on_a_worker);
  CHECK_RUN(an_unused_cache_is_released);
  return 0;
}

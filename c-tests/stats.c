/* stats.c: the counters add up, at rest and while four threads submit. */
#include "probe.h"

static void at_rest(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_cache_stats s;
  probe p;
  selv_job_options job;
  probe_init(&p);
  s = probe_stats(c);
  CHECK_EQ_U64(s.workers + s.idle + s.busy + s.started + s.exited + s.jobs_accepted + s.jobs_delivered + s.peak_workers, 0);
  probe_warm(c, 4);
  s = probe_stats(c);
  CHECK_EQ_U64(s.workers, 4);
  CHECK_EQ_U64(s.idle, 4);
  CHECK_EQ_U64(s.busy, 0);
  CHECK_EQ_U64(s.started, 4);
  CHECK_EQ_U64(s.exited, 0);
  CHECK_EQ_U64(s.jobs_accepted, 4);
  CHECK_EQ_U64(s.jobs_delivered, 4);
  CHECK_EQ_U64(s.jobs_queued, 0);
  CHECK_EQ_U64(s.peak_workers, 4);
  job = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.entered, 2);
  s = probe_stats(c);
  CHECK_EQ_U64(s.workers, 4);
  CHECK_EQ_U64(s.idle, 2);
  CHECK_EQ_U64(s.busy, 2);
  CHECK_EQ_U64(s.jobs_accepted, 6);
  CHECK_EQ_U64(s.jobs_delivered, 4);
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.freed, 2);
  CHECK_OK(selv_cache_trim(c, 0));
  CHECK_EVENTUALLY(probe_stats(c).workers == 0);
  s = probe_stats(c);
  CHECK_EQ_U64(s.started, 4);
  CHECK_EQ_U64(s.exited, 4);
  CHECK_EQ_U64(s.peak_workers, 4);
  CHECK_EQ_U64(s.hook_failures + s.spawn_failures + s.threads_lost + s.threads_entered, 0);
  probe_end(c);
}

static probe shared;
static int stop;

static void *submitter(void *cache) {
  selv_job_options job = probe_job(probe_run, &shared);
  uint64_t i, jobs = check_scaled(2000);
  for (i = 0; i < jobs; i++) CHECK_OK(selv_cache_submit((selv_cache *)cache, &job, NULL));
  return NULL;
}

static void *reader(void *cache) {
  uint64_t delivered = 0;
  while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
    selv_cache_stats s = probe_stats((selv_cache *)cache);
    CHECK(s.jobs_delivered >= delivered); /* counters do not go back */
    delivered = s.jobs_delivered;
    CHECK(s.started >= s.exited);
    CHECK(s.workers <= 3 && s.peak_workers <= 3);
    check_sleep_ms(1);
  }
  return NULL;
}

static void under_load(void) {
  selv_cache *c = probe_cache(3, 1 * CHECK_MS);
  pthread_t threads[4], watch;
  int i;
  probe_init(&shared);
  CHECK(pthread_create(&watch, NULL, reader, c) == 0);
  for (i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, submitter, c) == 0);
  for (i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK_WAIT(&shared.freed, 4 * check_scaled(2000));
  __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
  CHECK(pthread_join(watch, NULL) == 0);
  CHECK_EQ_U64(check_tally_get(&shared.delivered), 4 * check_scaled(2000));
  probe_end(c);
}

int main(void) {
  CHECK_RUN(at_rest);
  CHECK_RUN(under_load);
  return 0;
}

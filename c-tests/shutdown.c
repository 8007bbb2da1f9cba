/* shutdown.c: refuses new jobs, lets accepted ones finish, runs exit hooks, joins; tells how many remain; may be repeated. */
#include "probe.h"

static void accepted_jobs_finish_and_threads_are_gone(void) {
  uint64_t i;
  selv_cache *c = probe_cache(2, 0);
  selv_job_options job;
  uint32_t remaining = 99;
  hook_probe h;
  selv_hook *hook;
  probe p;
  probe_init(&p);
  hook_probe_init(&h, "h", NULL);
  hook = hook_probe_register(c, &h, 0);
  job = probe_job(probe_run, &p);
  for (i = 0; i < 100; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  CHECK_EQ_U64(remaining, 0);
  CHECK_EQ_U64(check_tally_get(&p.freed), 100);
  CHECK_EQ_U64(check_tally_get(&h.exits), check_tally_get(&h.starts));
  CHECK_THREADS_LEFT(0); /* joined: the kernel takes a moment to forget */
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_CLOSED);
  CHECK_STATUS(selv_start_thread_soon(c, probe_run, NULL, &p, NULL), SELV_E_CLOSED);
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  CHECK_OK(selv_cache_shutdown(c, SELV_SHUTDOWN_CANCEL_QUEUED, 0, &remaining));
  CHECK_EQ_U64(remaining, 0);
  hook_probe_remove(hook, &h); /* a hook can still be taken off a cache that is down */
  selv_cache_release(c);
}

static void a_timeout_tells_who_remains(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_job_options job;
  uint32_t remaining = 99;
  uint64_t began;
  probe p;
  probe_init(&p);
  job = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.entered, 2);
  CHECK_STATUS(selv_cache_shutdown(c, 0, 0, &remaining), SELV_E_TIMEDOUT);
  CHECK_LAST_ERROR_HAS("2 threads of cache");
  CHECK_EQ_U64(remaining, 2);
  began = check_now_ns();
  remaining = 99;
  CHECK_STATUS(selv_cache_shutdown(c, 0, 30 * CHECK_MS, &remaining), SELV_E_TIMEDOUT);
  CHECK(check_now_ns() - began >= 30 * CHECK_MS);
  CHECK_EQ_U64(remaining, 2);
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_CLOSED);
  check_tally_add(&p.go, 1);
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  CHECK_EQ_U64(remaining, 0);
  CHECK_EQ_U64(check_tally_get(&p.freed), 2);
  selv_cache_release(c);
}

static void queued_jobs_are_cancelled_when_asked(void) {
  selv_cache *c = probe_cache(1, 0);
  selv_job_options hold, job;
  uint32_t remaining = 99;
  probe busy, p;
  int i;
  probe_init(&busy);
  probe_init(&p);
  hold = probe_job(probe_hold, &busy);
  job = probe_job(probe_never, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  for (i = 0; i < 20; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_STATUS(selv_cache_shutdown(c, 0, 0, &remaining), SELV_E_TIMEDOUT);
  CHECK_LAST_ERROR_HAS("1 thread of cache");
  CHECK_EQ_U64(check_tally_get(&p.delivered), 0); /* not asked yet */
  CHECK_STATUS(selv_cache_shutdown(c, SELV_SHUTDOWN_CANCEL_QUEUED, 0, &remaining), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 20);
  CHECK_EQ_U64(check_tally_get(&p.freed), 20);
  CHECK_STATUS(p.last.status, SELV_E_CANCELLED);
  CHECK(pthread_equal(p.deliverer, pthread_self()));
  check_tally_add(&busy.go, 1);
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&busy.delivered), 1);
}

struct inside {
  selv_cache *cache;
  selv_status with_timeout, forever, at_once;
  uint32_t remaining;
};

static int32_t shut_down_from_inside(void *arg, void **out_value) {
  struct inside *in = (struct inside *)arg;
  (void)out_value;
  in->remaining = 99;
  in->with_timeout = selv_cache_shutdown(in->cache, 0, 10 * CHECK_MS, &in->remaining);
  in->forever = selv_cache_shutdown(in->cache, 0, SELV_FOREVER, &in->remaining);
  in->at_once = selv_cache_shutdown(in->cache, 0, 0, &in->remaining);
  return 0;
}

static void on_its_own_worker(void) {
  struct inside in;
  selv_outcome outcome;
  memset(&in, 0, sizeof in);
  in.cache = probe_cache(0, 0);
  CHECK_OK(selv_cache_run(in.cache, shut_down_from_inside, &in, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_STATUS(in.with_timeout, SELV_E_DEADLOCK);
  CHECK_STATUS(in.forever, SELV_E_DEADLOCK);
  CHECK_STATUS(in.at_once, SELV_E_TIMEDOUT); /* begun, and this worker remains */
  CHECK_EQ_U64(in.remaining, 1);
  CHECK_STATUS(selv_start_thread_soon(in.cache, probe_never, NULL, NULL, NULL), SELV_E_CLOSED);
  probe_end(in.cache);
}

static void an_empty_cache_shuts_down(void) {
  selv_cache *c = probe_cache(0, 0);
  uint32_t remaining = 99;
  CHECK_OK(selv_cache_shutdown(c, 0, 0, &remaining));
  CHECK_EQ_U64(remaining, 0);
  selv_cache_release(c);
}

/* ---- two threads shut down while two submit ---- */

static probe raced;

static void *submit_until_closed(void *cache) {
  selv_job_options job = probe_job(probe_run, &raced);
  uintptr_t accepted = 0;
  for (;;) {
    selv_status status = selv_cache_submit((selv_cache *)cache, &job, NULL);
    if (status == SELV_E_CLOSED) return (void *)accepted;
    CHECK_OK(status);
    accepted++;
  }
}

static void *shut(void *cache) {
  uint32_t remaining = 99;
  CHECK_OK(selv_cache_shutdown((selv_cache *)cache, 0, SELV_FOREVER, &remaining));
  CHECK_EQ_U64(remaining, 0);
  return NULL;
}

static void submit_against_shutdown(void) {
  uint64_t round, rounds = check_scaled(30);
  for (round = 0; round < rounds; round++) {
    selv_cache *c = probe_cache(2, 0);
    pthread_t submitters[2], closers[2];
    uint64_t accepted = 0;
    void *n;
    int i;
    probe_init(&raced);
    for (i = 0; i < 2; i++) CHECK(pthread_create(&submitters[i], NULL, submit_until_closed, c) == 0);
    CHECK_WAIT(&raced.delivered, 1);
    for (i = 0; i < 2; i++) CHECK(pthread_create(&closers[i], NULL, shut, c) == 0);
    for (i = 0; i < 2; i++) CHECK(pthread_join(closers[i], NULL) == 0);
    for (i = 0; i < 2; i++) {
      CHECK(pthread_join(submitters[i], &n) == 0);
      accepted += (uintptr_t)n;
    }
    CHECK_EQ_U64(check_tally_get(&raced.delivered), accepted);
    CHECK_EQ_U64(check_tally_get(&raced.freed), accepted);
    probe_end(c);
  }
}

int main(void) {
  CHECK_RUN(accepted_jobs_finish_and_threads_are_gone);
  CHECK_RUN(a_timeout_tells_who_remains);
  CHECK_RUN(queued_jobs_are_cancelled_when_asked);
  CHECK_RUN(on_its_own_worker);
  CHECK_RUN(an_empty_cache_shuts_down);
  CHECK_RUN(submit_against_shutdown);
  return 0;
}

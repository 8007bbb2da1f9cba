/* trim.c: selv_cache_trim and selv_cache_set_idle_timeout let go of idle workers that are already waiting; busy ones stay. */
#include "probe.h"

static void trim_keeps_as_many_as_told(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  probe p;
  selv_job_options hold;
  probe_init(&p);
  probe_warm(c, 6);
  CHECK_OK(selv_cache_trim(c, 100));
  CHECK_EQ_U64(probe_stats(c).workers, 6);
  CHECK_OK(selv_cache_trim(c, 2));
  CHECK_EVENTUALLY(probe_stats(c).workers == 2);
  CHECK_THREADS_LEFT(2);
  hold = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&p.entered, 1);
  CHECK_OK(selv_cache_trim(c, 0));
  CHECK_EVENTUALLY(probe_stats(c).workers == 1); /* the busy one */
  CHECK_EQ_U64(probe_stats(c).busy, 1);
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(selv_cache_trim(c, 0));
  CHECK_EVENTUALLY(probe_stats(c).workers == 0);
  CHECK_EQ_U64(probe_stats(c).started, 6);
  probe_end(c);
}

static void a_trimmed_cache_goes_on(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_outcome outcome;
  uint64_t i, rounds = check_scaled(300);
  probe p;
  probe_init(&p);
  for (i = 0; i < rounds; i++) { /* trim against submit: each job is run all the same */
    CHECK_OK(selv_cache_trim(c, 0));
    CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  }
  CHECK_EQ_U64(check_tally_get(&p.ran), rounds);
  probe_end(c);
}

static void hooks_leave_trimmed_workers(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_hook *hook;
  hook_probe h;
  hook_probe_init(&h, "trimmed", NULL);
  hook = hook_probe_register(c, &h, 0);
  probe_warm(c, 4);
  CHECK_EQ_U64(check_tally_get(&h.starts), 4);
  CHECK_OK(selv_cache_trim(c, 1));
  CHECK_WAIT(&h.exits, 3);
  CHECK_EVENTUALLY(probe_stats(c).workers == 1);
  CHECK_EQ_U64(check_tally_get(&h.exits), 3);
  hook_probe_remove(hook, &h);
  probe_end(c);
}

/* Workers that wait by the old timeout must take up the new one: the last one set counts. */
static void a_shorter_idle_timeout_reaches_waiting_workers(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  probe_warm(c, 3);
  CHECK_OK(selv_cache_set_idle_timeout(c, 10 * CHECK_MS));
  CHECK_EVENTUALLY(probe_stats(c).workers == 0);
  CHECK_OK(selv_cache_set_idle_timeout(c, SELV_FOREVER));
  probe_warm(c, 3);
  check_sleep_ms(50); /* five times the old timeout */
  CHECK_EQ_U64(probe_stats(c).workers, 3);
  probe_end(c);
}

/* The worker is just going to sleep by the old timeout when the new one is set. */
static void a_timeout_set_while_a_worker_goes_to_sleep(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  uint64_t round, rounds = check_scaled(2000);
  for (round = 0; round < rounds; round++) {
    volatile uint64_t spin;
    probe p;
    probe_init(&p);
    CHECK_OK(selv_cache_set_idle_timeout(c, SELV_FOREVER));
    CHECK_OK(selv_start_thread_soon(c, probe_run, probe_deliver, &p, NULL));
    CHECK_WAIT(&p.delivered, 1);
    for (spin = 0; spin < round * 7 % 400;) spin++;
    CHECK_OK(selv_cache_set_idle_timeout(c, SELV_NO_WAIT));
    CHECK_EVENTUALLY(probe_stats(c).workers == 0);
  }
  probe_end(c);
}

static void no_wait_as_idle_timeout(void) {
  selv_cache *c = probe_cache(0, SELV_NO_WAIT);
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  CHECK_EVENTUALLY(probe_stats(c).workers == 0);
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  probe_end(c);
}

int main(void) {
  CHECK_RUN(trim_keeps_as_many_as_told);
  CHECK_RUN(a_trimmed_cache_goes_on);
  CHECK_RUN(hooks_leave_trimmed_workers);
  CHECK_RUN(a_shorter_idle_timeout_reaches_waiting_workers);
  CHECK_RUN(a_timeout_set_while_a_worker_goes_to_sleep);
  CHECK_RUN(no_wait_as_idle_timeout);
  return 0;
}

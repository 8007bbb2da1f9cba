/* lifo_reclaim.c: rule 6. Idle workers are taken last-in first-out, so after a burst the excess ages out although a light
 * load goes on, and the load keeps the one worker that it needs. */
#include "probe.h"

#define BURST 50
#define IDLE_MS 400

/* 50 jobs at 2 ms apart go round all the workers in 100 ms if they are taken in turn: none would ever be idle for 400 ms. */
static void the_excess_ages_out_under_a_light_load(void) {
  selv_cache *c = probe_cache(0, IDLE_MS * CHECK_MS);
  selv_outcome outcome;
  uint64_t began, last_worker = 0;
  probe p;
  probe_init(&p);
  probe_warm(c, BURST);
  CHECK_EQ_U64(probe_stats(c).peak_workers, BURST);
  began = check_now_ns();
  while (probe_stats(c).workers > 1) {
    CHECK(check_now_ns() - began < check_patience_s() * 1000 * CHECK_MS);
    CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
    CHECK(last_worker == 0 || last_worker == p.worker);
    last_worker = p.worker;
    check_sleep_ms(2);
  }
  CHECK(check_now_ns() - began < 10 * IDLE_MS * CHECK_MS);
  CHECK_EQ_U64(probe_stats(c).started, BURST);
  CHECK_EQ_U64(probe_stats(c).exited, BURST - 1);
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(p.worker, last_worker);
  probe_end(c);
}

/* With nothing to do the last one goes too, and the thread really ends; the next job gets a fresh worker. */
static void an_idle_cache_has_no_threads(void) {
  selv_cache *c = probe_cache(0, 20 * CHECK_MS);
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  probe_warm(c, 5);
  CHECK_EVENTUALLY(probe_stats(c).workers == 0);
  CHECK_THREADS_LEFT(0);
  CHECK_EQ_U64(probe_stats(c).exited, 5);
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(probe_stats(c).started, 6);
  probe_end(c);
}

/* Rule 8: jobs that arrive just when the idle timeout passes must neither be lost nor be refused. */
static void the_timeout_race_loses_no_job(void) {
  selv_cache *c = probe_cache(0, 1 * CHECK_MS);
  uint64_t i, rounds = check_scaled(300);
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  for (i = 0; i < rounds; i++) {
    struct timespec pause;
    pause.tv_sec = 0;
    pause.tv_nsec = 900000L + (long)(i % 20) * 15000L;
    CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
    nanosleep(&pause, NULL);
  }
  CHECK_EQ_U64(check_tally_get(&p.ran), rounds);
  CHECK(probe_stats(c).started > 1); /* else the race was never near */
  probe_end(c);
}

int main(void) {
  CHECK_RUN(the_excess_ages_out_under_a_light_load);
  CHECK_RUN(an_idle_cache_has_no_threads);
  CHECK_RUN(the_timeout_race_loses_no_job);
  return 0;
}

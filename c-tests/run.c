/* run.c: selv_cache_run waits for its job; its timeout covers only the wait to start; where it would wait for itself it says so. */
#include "probe.h"

static void it_brings_back_code_and_value(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(outcome.code, 7);
  CHECK(outcome.value == &p);
  CHECK(p.worker != 0);
  probe_end(c);
}

static void not_started_in_time_means_withdrawn(void) {
  selv_cache *c = probe_cache(1, 0);
  selv_job_options hold;
  selv_outcome outcome;
  uint64_t began;
  probe p;
  probe_init(&p);
  hold = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&p.entered, 1);
  began = check_now_ns();
  memset(&outcome, 0x5a, sizeof outcome);
  CHECK_STATUS(selv_cache_run(c, probe_never, NULL, 30 * CHECK_MS, &outcome), SELV_E_TIMEDOUT);
  CHECK(check_now_ns() - began >= 30 * CHECK_MS);
  CHECK(outcome.value == NULL); /* zeroed */
  CHECK_STATUS(selv_cache_run(c, probe_never, NULL, 0, &outcome), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(probe_stats(c).jobs_queued, 0);
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  probe_end(c); /* and probe_never would have ended the process */
}

static int32_t sleeps_past_it(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  check_sleep_ms(1200);
  return 3;
}

static void once_started_it_waits_for_the_end(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_outcome outcome;
  CHECK_OK(selv_cache_run(c, sleeps_past_it, NULL, 1000 * CHECK_MS, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(outcome.code, 3);
  probe_end(c);
}

struct nested {
  selv_cache *cache;
  selv_status status, from_deliver;
  uint64_t outer, inner;
  check_tally delivered;
};

static int32_t where(void *arg, void **out_value) {
  (void)out_value;
  *(uint64_t *)arg = selv_worker_id(selv_worker_current());
  return 5;
}

static int32_t run_inside(void *arg, void **out_value) {
  struct nested *n = (struct nested *)arg;
  selv_outcome outcome;
  (void)out_value;
  n->outer = selv_worker_id(selv_worker_current());
  n->status = selv_cache_run(n->cache, where, &n->inner, SELV_FOREVER, &outcome);
  if (n->status == SELV_OK) CHECK_EQ_U64(outcome.code, 5);
  return 0;
}

static void run_inside_deliver(void *arg, const selv_outcome *outcome) {
  struct nested *n = (struct nested *)arg;
  selv_outcome inner;
  CHECK_OK(outcome->status);
  n->from_deliver = selv_cache_run(n->cache, where, &n->inner, SELV_FOREVER, &inner);
  check_tally_add(&n->delivered, 1);
}

static void nested_init(struct nested *n, uint32_t max_workers) {
  memset(n, 0, sizeof *n);
  check_tally_init(&n->delivered);
  n->cache = probe_cache(max_workers, 0);
}

static void inside_a_job_it_uses_another_worker(void) {
  struct nested n;
  nested_init(&n, 0);
  CHECK_OK(selv_start_thread_soon(n.cache, run_inside, NULL, &n, NULL));
  CHECK_EVENTUALLY(probe_stats(n.cache).jobs_delivered == 2);
  probe_end(n.cache);
  CHECK_OK(n.status);
  CHECK(n.inner != 0 && n.inner != n.outer);
  nested_init(&n, 2);
  CHECK_OK(selv_start_thread_soon(n.cache, run_inside, NULL, &n, NULL));
  CHECK_EVENTUALLY(probe_stats(n.cache).jobs_delivered == 2);
  probe_end(n.cache);
  CHECK_OK(n.status);
}

/* In deliver the worker is listed as idle, first in line: a run that took that worker would wait for itself. */
static void inside_deliver_it_does_not_take_its_own_worker(void) {
  struct nested n;
  nested_init(&n, 0);
  CHECK_OK(selv_start_thread_soon(n.cache, run_inside, run_inside_deliver, &n, NULL));
  CHECK_WAIT(&n.delivered, 1);
  CHECK_OK(n.from_deliver);
  probe_end(n.cache);
}

static void on_a_full_caches_own_worker_it_is_a_deadlock(void) {
  struct nested n;
  nested_init(&n, 1);
  CHECK_OK(selv_start_thread_soon(n.cache, run_inside, run_inside_deliver, &n, NULL));
  CHECK_WAIT(&n.delivered, 1);
  CHECK_STATUS(n.status, SELV_E_DEADLOCK);
  CHECK_STATUS(n.from_deliver, SELV_E_DEADLOCK);
  probe_end(n.cache);
}

static void a_closed_cache_refuses(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_outcome outcome;
  uint32_t remaining;
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  CHECK_STATUS(selv_cache_run(c, probe_never, NULL, SELV_FOREVER, &outcome), SELV_E_CLOSED);
  selv_cache_release(c);
}

int main(void) {
  CHECK_RUN(it_brings_back_code_and_value);
  CHECK_RUN(not_started_in_time_means_withdrawn);
  CHECK_RUN(once_started_it_waits_for_the_end);
  CHECK_RUN(inside_a_job_it_uses_another_worker);
  CHECK_RUN(inside_deliver_it_does_not_take_its_own_worker);
  CHECK_RUN(on_a_full_caches_own_worker_it_is_a_deadlock);
  CHECK_RUN(a_closed_cache_refuses);
  return 0;
}

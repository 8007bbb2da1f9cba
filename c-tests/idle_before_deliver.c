/* idle_before_deliver.c: rule 5. A worker is listed as idle before it delivers, so sequential work of any length, and a
 * chain that submits from deliver, need exactly one thread. */
#include "probe.h"

#define JOBS 27000

static void submit_after_deliver(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  uint64_t i, jobs = check_env_number("SELV_TEST_SEQUENTIAL", JOBS);
  probe p;
  probe_init(&p);
  for (i = 1; i <= jobs; i++) {
    CHECK_OK(selv_start_thread_soon(c, probe_run, probe_deliver, &p, NULL));
    CHECK_WAIT(&p.delivered, i);
  }
  CHECK_EQ_U64(probe_stats(c).started, 1);
  CHECK_EQ_U64(probe_stats(c).jobs_delivered, jobs);
  probe_end(c);
}

static void run_after_run(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  uint64_t i, jobs = check_env_number("SELV_TEST_SEQUENTIAL", JOBS) / 10;
  probe p;
  probe_init(&p);
  for (i = 1; i <= jobs; i++) {
    selv_outcome outcome;
    CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  }
  CHECK_EQ_U64(check_tally_get(&p.ran), jobs);
  CHECK_EQ_U64(probe_stats(c).started, 1);
  probe_end(c);
}

struct chain {
  selv_cache *cache;
  uint64_t left;
  uint64_t worker;
  check_tally finished;
};

static int32_t hop(void *arg, void **out_value) {
  struct chain *chain = (struct chain *)arg;
  uint64_t here = selv_worker_id(selv_worker_current());
  (void)out_value;
  if (chain->worker == 0) chain->worker = here;
  CHECK_EQ_U64(here, chain->worker);
  return 0;
}

static void hop_on(void *arg, const selv_outcome *outcome) {
  struct chain *chain = (struct chain *)arg;
  CHECK_OK(outcome->status);
  if (--chain->left == 0)
    check_tally_add(&chain->finished, 1);
  else
    CHECK_OK(selv_start_thread_soon(chain->cache, hop, hop_on, chain, NULL));
}

/* No counter is shared here but by the chain itself: each hop must see what the one before it wrote. */
static void submit_from_deliver(void) {
  struct chain chain;
  memset(&chain, 0, sizeof chain);
  check_tally_init(&chain.finished);
  chain.cache = probe_cache(0, SELV_FOREVER);
  chain.left = check_env_number("SELV_TEST_SEQUENTIAL", JOBS);
  CHECK_OK(selv_start_thread_soon(chain.cache, hop, hop_on, &chain, NULL));
  CHECK_WAIT(&chain.finished, 1);
  CHECK_EQ_U64(probe_stats(chain.cache).started, 1);
  probe_end(chain.cache);
}

int main(void) {
  CHECK_RUN(submit_after_deliver);
  CHECK_RUN(run_after_run);
  CHECK_RUN(submit_from_deliver);
  return 0;
}

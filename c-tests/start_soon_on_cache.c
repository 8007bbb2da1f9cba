/* start_soon_on_cache.c: selv_start_soon_on_cache is selv_start_thread_soon in the form that a guest asks for: the cache is what start_arg
 * is, and NULL is the process's shared one. */
#include "probe.h"

static void with_a_cache(void) {
  selv_cache *c = probe_cache(0, 0);
  probe p;
  probe_init(&p);
  CHECK_OK(selv_start_soon_on_cache(c, probe_run, probe_deliver, &p, "polling"));
  CHECK_WAIT(&p.delivered, 1);
  CHECK_OK(p.last.status);
  CHECK_EQ_U64(p.last.code, 7);
  CHECK(p.last.value == &p);
  CHECK(p.worker != 0);
  CHECK_EQ_U64(probe_stats(c).jobs_accepted, 1);
  probe_end(c);
}

static void with_the_shared_cache(void) {
  selv_cache *shared = NULL;
  uint64_t before;
  probe p;
  probe_init(&p);
  CHECK_OK(selv_cache_default(&shared));
  before = probe_stats(shared).jobs_accepted;
  CHECK_OK(selv_start_soon_on_cache(NULL, probe_run, probe_deliver, &p, NULL));
  CHECK_WAIT(&p.delivered, 1);
  CHECK_OK(p.last.status);
  CHECK_EQ_U64(probe_stats(shared).jobs_accepted, before + 1);
  selv_cache_release(shared);
}

/* It does not wait: the job runs when it can. */
static void at_once(void) {
  selv_cache *c = probe_cache(1, 0);
  probe busy, p;
  probe_init(&busy);
  probe_init(&p);
  CHECK_OK(selv_start_soon_on_cache(c, probe_hold, probe_deliver, &busy, NULL));
  CHECK_WAIT(&busy.entered, 1);
  CHECK_OK(selv_start_soon_on_cache(c, probe_run, probe_deliver, &p, NULL));
  CHECK_EQ_U64(probe_stats(c).jobs_queued, 1);
  CHECK_EQ_U64(check_tally_get(&p.entered), 0);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&p.delivered, 1);
  probe_end(c);
}

static char seen[64];

static int32_t looks_at_its_name(void *arg, void **out_value) {
  (void)out_value;
  CHECK(pthread_getname_np(pthread_self(), seen, sizeof seen) == 0);
  check_tally_add(&((probe *)arg)->ran, 1);
  return 0;
}

static void with_a_name(void) {
  selv_cache *c = probe_cache(0, 0);
  probe p;
  probe_init(&p);
  CHECK_OK(selv_start_soon_on_cache(c, looks_at_its_name, probe_deliver, &p, "trio's wait"));
  CHECK_WAIT(&p.delivered, 1);
  CHECK_STR(seen, "trio's wait");
  probe_end(c);
}

static void nobody_is_told(void) {
  selv_cache *c = probe_cache(0, 0);
  probe p;
  probe_init(&p);
  CHECK_OK(selv_start_soon_on_cache(c, probe_run, NULL, &p, NULL));
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&p.ran), 1);
}

static selv_status never_starts(void *data, void (*entry)(void *), void *entry_arg, const char *name, size_t stack_size,
                                void **out_handle) {
  (void)data;
  (void)entry;
  (void)entry_arg;
  (void)name;
  (void)stack_size;
  (void)out_handle;
  return SELV_E_SPAWN;
}

static void refusals(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *c = probe_cache(0, 0), *threadless = NULL;
  uint32_t remaining = 99;
  probe p;
  probe_init(&p);
  CHECK_STATUS(selv_start_soon_on_cache(c, NULL, probe_deliver, &p, NULL), SELV_E_NULL);
  CHECK_LAST_ERROR_HAS("fn");
  CHECK_STATUS(selv_start_soon_on_cache(NULL, NULL, probe_deliver, &p, NULL), SELV_E_NULL);
  CHECK_EQ_U64(probe_stats(c).jobs_accepted, 0);
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  CHECK_STATUS(selv_start_soon_on_cache(c, probe_never, probe_deliver, &p, NULL), SELV_E_CLOSED);
  selv_cache_release(c);
  options.spawn = never_starts;
  CHECK_OK(selv_cache_new(&options, &threadless));
  CHECK_STATUS(selv_start_soon_on_cache(threadless, probe_never, probe_deliver, &p, NULL), SELV_E_SPAWN);
  probe_end(threadless);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 0); /* a refusal is told by the call alone */
}

int main(void) {
  CHECK_RUN(with_a_cache);
  CHECK_RUN(with_the_shared_cache);
  CHECK_RUN(at_once);
  CHECK_RUN(with_a_name);
  CHECK_RUN(nobody_is_told);
  CHECK_RUN(refusals);
  return 0;
}

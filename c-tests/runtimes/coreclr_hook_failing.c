/* coreclr_hook_failing: a managed start that throws, catches and answers a code: the job fails with that code, the cache stays
 * healthy, nobody is left half attached. */
#include "coreclr_support.h"

static int32_t in_managed(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  CHECK(clr_probe.is_background());
  return 0;
}

int main(void) {
  selv_cache *cache;
  selv_coreclr_options options;
  selv_hook *failing = NULL, *working;
  hook_probe native;
  selv_hook *before_it;
  probe p;
  selv_job_options job;
  selv_outcome outcome;
  int i;

  clr_start();
  cache = probe_cache(0, 0);
  probe_init(&p);
  job = probe_job(in_managed, &p);
  hook_probe_init(&native, "native", NULL);
  before_it = hook_probe_register(cache, &native, 0);
  options = clr_options(0);
  options.name = "managed";
  options.on_start = clr_probe.start_failing;
  CHECK_OK(selv_coreclr_register(cache, &options, &failing));
  for (i = 0; i < 3; i++) {
    outcome = probe_through(cache, &job);
    CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
    CHECK_EQ_U64(outcome.code, 7);
    CHECK(strstr(p.detail, "managed") != NULL);
  }
  CHECK_EQ_U64(check_tally_get(&p.ran), 0);
  CHECK_EQ_U64(hook_probe_stats(failing).start_failures, 3);
  CHECK_EQ_U64(clr_probe.exits(), 0); /* what did not start does not exit */
  CHECK_EVENTUALLY(check_tally_get(&native.exits) == check_tally_get(&native.starts));
  clr_unregister(failing);
  selv_hook_release(failing);

  working = clr_register(cache, 0);
  outcome = probe_through(cache, &job);
  CHECK_OK(outcome.status);
  clr_unregister(working);
  selv_hook_release(working);
  hook_probe_remove(before_it, &native);
  clr_end();
  probe_end(cache);
  return 0;
}

/* race.c: a planted defect. Two jobs of the cache raise one counter of the host with no lock between them: a thread sanitizer
 * that does not report this program is not looking. Not a test of the library. */
#include "../probe.h"

static uint64_t unguarded;

static int32_t races(void *arg, void **out_value) {
  int i;
  check_tally_add(&((probe *)arg)->entered, 1);
  CHECK_WAIT(&((probe *)arg)->entered, 2); /* both are running */
  (void)out_value;
  for (i = 0; i < 1000; i++) unguarded++;
  return 0;
}

int main(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_job_options job;
  probe p;
  probe_init(&p);
  job = probe_job(races, &p);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.freed, 2);
  probe_end(c);
  printf("%llu\n", (unsigned long long)unguarded);
  return 0;
}

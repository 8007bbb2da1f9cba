/* many_workers.c: an unbounded cache is unbounded: hundreds of jobs that all wait at once, each on a thread of its own, with
 * hooks; then all of them leave at once. */
#include "probe.h"

#define MANY 300

static void hundreds_at_once(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job;
  hook_probe h;
  selv_hook *hook;
  probe p;
  int i;
  probe_init(&p);
  hook_probe_init(&h, "h", NULL);
  hook = hook_probe_register_full(c, &h, 0);
  job = probe_job(probe_hold, &p);
  for (i = 0; i < MANY; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.entered, MANY);
  CHECK_EQ_U64(probe_stats(c).busy, MANY);
  CHECK_THREADS_LEFT(MANY);
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.freed, MANY);
  hook_probe_remove(hook, &h);
  CHECK_EQ_U64(check_tally_get(&h.exits), MANY);
  probe_end(c);
  CHECK_THREADS_LEFT(0);
}

/* Caches come and go: nothing of one is left in the next. */
static void hundreds_of_caches(void) {
  uint64_t i, caches = check_scaled(200);
  for (i = 0; i < caches; i++) {
    selv_cache *c = probe_cache((uint32_t)(i % 3), 0);
    probe_warm(c, i % 3 == 1 ? 1 : 2);
    probe_end(c);
  }
  CHECK_THREADS_LEFT(0);
}

int main(void) {
  CHECK_RUN(hundreds_at_once);
  CHECK_RUN(hundreds_of_caches);
  return 0;
}

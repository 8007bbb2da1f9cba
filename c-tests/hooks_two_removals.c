/* hooks_two_removals.c: two hooks are removed at the same time from the same workers. A worker that has detached one and listed
 * itself as idle must not touch the other as if it were still its own: it was lost, or listed twice, and then a job with it. */
#include "probe.h"

#define WORKERS 4

static void *remove_one(void *hook) {
  uint32_t attached = 99;
  CHECK_OK(selv_hook_unregister((selv_hook *)hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  return NULL;
}

/* `streaming`: jobs are handed out while the workers detach, so that a lost worker takes one with it. */
static void one_round(int streaming) {
  static const char *const names[2] = {"first", "second"};
  selv_cache *c = probe_cache(0, 0);
  hook_probe probes[2];
  selv_hook *hooks[2];
  pthread_t removers[2];
  selv_job_options job;
  probe p;
  int i;
  probe_init(&p);
  job = probe_job(probe_run, &p);
  for (i = 0; i < 2; i++) {
    hook_probe_init(&probes[i], names[i], NULL);
    hooks[i] = hook_probe_register_full(c, &probes[i], 0);
  }
  probe_warm(c, WORKERS);
  for (i = 0; i < 2; i++) CHECK(pthread_create(&removers[i], NULL, remove_one, hooks[i]) == 0);
  if (streaming)
    for (i = 0; i < WORKERS; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  for (i = 0; i < 2; i++) CHECK(pthread_join(removers[i], NULL) == 0);
  if (streaming) CHECK_WAIT(&p.freed, WORKERS);
  for (i = 0; i < 2; i++) {
    CHECK_EQ_U64(check_tally_get(&probes[i].exits), check_tally_get(&probes[i].starts));
    CHECK_EQ_U64(check_tally_get(&probes[i].frees), 1);
    selv_hook_release(hooks[i]);
  }
  probe_warm(c, WORKERS); /* each worker once, none twice, none missing */
  probe_end(c);
}

int main(void) {
  uint64_t round, rounds = check_scaled(1000);
  for (round = 0; round < rounds; round++) one_round(round % 2);
  return 0;
}

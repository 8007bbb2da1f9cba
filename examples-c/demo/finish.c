/* finish.c: takes a runtime's hooks off the workers, which is a promise that none is inside it or will be, and ends it on the next
 * line. The others go on working. */
#include "finish.h"

#include <stdio.h>
#include <string.h>

#include "progress.h"

/* Nothing here takes long. Past this something hangs, and is better told than waited for. */
#define PATIENCE_NS UINT64_C(30000000000)

typedef struct rest {
  const use *uses;
  size_t count;
} rest;

static int32_t ask_the_rest(void *arg, void **out_value) {
  const rest *r = (const rest *)arg;
  size_t i;
  (void)out_value;
  for (i = 0; i < r->count; i++) {
    uint32_t crc = 0;
    int failed = r->uses[i].runtime->crc(r->uses[i].hook, CHECK_TEXT, strlen(CHECK_TEXT), &crc);
    if (failed || crc != CHECK_CRC) return (int32_t)i + 1;
  }
  return 0;
}

static int is_alive(selv_cache *cache, const use *ended, const rest *r) {
  selv_outcome outcome;
  selv_status status = selv_cache_run(cache, ask_the_rest, (void *)(uintptr_t)r, PATIENCE_NS, &outcome);
  if (status == SELV_OK) status = outcome.status;
  if (status == SELV_OK && outcome.code == 0) return 1;
  fprintf(stderr, "demo: after the end of %s a job on the cache failed: %s, %s\n", ended->runtime->name, selv_status_name(status),
          status == SELV_OK ? r->uses[outcome.code - 1].runtime->name : "so it did not run");
  return 0;
}

/* Off the workers, then down. */
static int end_runtime(use *u) {
  uint64_t jobs = u->stats.jobs, at = clock_ns();
  u->removed = u->runtime->remove_hooks(u->hook, PATIENCE_NS);
  u->remove_ns = clock_ns() - at;
  if (u->removed == SELV_OK) u->removed = selv_hook_get_stats(u->hook, &u->stats);
  u->stats.jobs = jobs;
  if (u->removed != SELV_OK) {
    char detail[256];
    selv_last_error(detail, sizeof detail);
    fprintf(stderr, "demo: %s is left as it is: unregistering: %s: %s\n", u->runtime->name, selv_status_name(u->removed), detail);
    return -1;
  }
  at = clock_ns();
  u->answer = u->runtime->stop();
  u->stop_ns = clock_ns() - at;
  return 0;
}

int finish_runtimes(selv_cache *cache, use *uses, size_t use_count) {
  const selv_hook_stats none = SELV_HOOK_STATS_INIT;
  int failures = 0;
  size_t i;
  /* All of them counted now: the jobs below that prove the cache alive are not part of the work. */
  for (i = 0; i < use_count; i++) {
    uses[i].stats = none;
    uses[i].removed = selv_hook_get_stats(uses[i].hook, &uses[i].stats);
  }
  for (i = 0; i < use_count; i++) {
    rest r;
    r.uses = &uses[i + 1];
    r.count = use_count - i - 1;
    if (end_runtime(&uses[i]) == 0 && !is_alive(cache, &uses[i], &r)) failures++;
  }
  return failures;
}

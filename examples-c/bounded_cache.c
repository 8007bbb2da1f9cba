/* bounded_cache.c: at most so many workers; further jobs queue, in order. For work that keeps a processor busy, where more threads
 * than processors only get in each other's way. Many jobs are submitted in one call.
 *     cc -std=c99 bounded_cache.c -o bounded_cache $(pkg-config --cflags --libs selvedge) && ./bounded_cache */
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>

#define JOBS 1000
#define WORKERS 2

typedef struct part {
  uint64_t first, last, sum;
} part;

static int32_t add_up(void *arg, void **out_value) {
  part *p = (part *)arg;
  uint64_t i;
  (void)out_value;
  for (i = p->first; i <= p->last; i++) p->sum += i;
  return 0;
}

static int check(const char *what, selv_status status) {
  if (status != SELV_OK) fprintf(stderr, "%s: %s\n", what, selv_status_text(status));
  return status == SELV_OK;
}

int main(void) {
  static selv_job_options jobs[JOBS];
  static part parts[JOBS];
  const selv_job_options empty = SELV_JOB_OPTIONS_INIT;
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache_stats stats = SELV_CACHE_STATS_INIT;
  selv_cache *cache;
  uint64_t sum = 0, wanted = UINT64_C(1000000) * 1000001 / 2;
  size_t i, accepted = 0;
  int ok;
  options.name = "adder";
  options.max_workers = WORKERS;
  if (!check("selv_cache_new", selv_cache_new(&options, &cache))) return EXIT_FAILURE;
  for (i = 0; i < JOBS; i++) {
    parts[i].first = i * 1000 + 1;
    parts[i].last = (i + 1) * 1000;
    jobs[i] = empty;
    jobs[i].fn = add_up;
    jobs[i].arg = &parts[i];
  }
  ok = check("selv_cache_submit_many", selv_cache_submit_many(cache, jobs, JOBS, &accepted));
  /* Lets what was accepted finish. Then the parts are ours again. */
  ok &= check("selv_cache_shutdown", selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  ok &= check("selv_cache_get_stats", selv_cache_get_stats(cache, &stats));
  for (i = 0; i < JOBS; i++) sum += parts[i].sum;
  printf("%u jobs of %u accepted, %u workers at most, sum %llu\n", (unsigned)accepted, JOBS, (unsigned)stats.peak_workers,
         (unsigned long long)sum);
  selv_cache_release(cache);
  return ok && sum == wanted && stats.peak_workers <= WORKERS ? EXIT_SUCCESS : EXIT_FAILURE;
}

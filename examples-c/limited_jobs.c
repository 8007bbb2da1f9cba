/* limited_jobs.c: a limiter lets so many jobs at a time use something: a disk, a licence, a database that takes four connections. A job
 * that waits for its token takes no thread, so the cache stays small; and the token comes back however the job ends.
 *     cc -std=c99 limited_jobs.c -o limited_jobs $(pkg-config --cflags --libs selvedge) && ./limited_jobs */
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>

#define JOBS 100
#define CONNECTIONS 4

static selv_limiter *database;
static selv_event *begun;

static int check(const char *what, selv_status expected, selv_status status) {
  if (status != expected) fprintf(stderr, "%s: %s\n", what, selv_status_text(status));
  return status == expected;
}

/* Has a token from its first line to its last. */
static int32_t query(void *arg, void **out_value) {
  selv_limiter_stats stats = SELV_LIMITER_STATS_INIT;
  (void)out_value;
  if (selv_limiter_get_stats(database, &stats) != SELV_OK) return 1;
  *(uint64_t *)arg = stats.borrowed;
  return 0;
}

static int32_t long_query(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  if (selv_event_set(begun) != SELV_OK) return 1;
  return selv_event_wait((selv_event *)arg, SELV_TASK_CURRENT, SELV_FOREVER);
}

int main(void) {
  static selv_job_options jobs[JOBS];
  static uint64_t borrowed[JOBS];
  const selv_job_options empty = SELV_JOB_OPTIONS_INIT;
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_limiter_options options = SELV_LIMITER_OPTIONS_INIT;
  selv_cache_stats stats = SELV_CACHE_STATS_INIT;
  selv_event *enough;
  selv_cache *cache;
  uint64_t most = 0;
  int i, ok;
  options.name = "database";
  options.total = CONNECTIONS;
  if (!check("selv_limiter_new", SELV_OK, selv_limiter_new(&options, &database))) return EXIT_FAILURE;
  if (!check("selv_cache_new", SELV_OK, selv_cache_new(NULL, &cache))) return EXIT_FAILURE;
  ok = check("selv_event_new", SELV_OK, selv_event_new(NULL, &begun));
  ok &= check("selv_event_new", SELV_OK, selv_event_new(NULL, &enough));

  for (i = 0; i < JOBS; i++) {
    jobs[i] = empty;
    jobs[i].fn = query;
    jobs[i].arg = &borrowed[i];
    jobs[i].limiter = database;
  }
  ok &= check("selv_cache_submit_many", SELV_OK, selv_cache_submit_many(cache, jobs, JOBS, NULL));

  /* One at a time from now on, whatever is out already. This one stands in line behind the hundred. */
  ok &= check("selv_limiter_set_total", SELV_OK, selv_limiter_set_total(database, 1));
  job.fn = long_query;
  job.arg = enough;
  job.limiter = database;
  ok &= check("selv_cache_submit", SELV_OK, selv_cache_submit(cache, &job, NULL));
  ok = ok && check("selv_event_wait", SELV_OK, selv_event_wait(begun, SELV_TASK_CURRENT, SELV_FOREVER));
  job.limiter_timeout_ns = SELV_NO_WAIT; /* or so many nanoseconds, after which it is delivered with SELV_E_TIMEDOUT */
  ok &= check("a submit that may not wait", SELV_E_WOULD_BLOCK, selv_cache_submit(cache, &job, NULL));
  ok &= check("selv_event_set", SELV_OK, selv_event_set(enough));

  ok &= check("selv_cache_shutdown", SELV_OK, selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  ok &= check("selv_cache_get_stats", SELV_OK, selv_cache_get_stats(cache, &stats));
  for (i = 0; i < JOBS; i++) most = borrowed[i] > most ? borrowed[i] : most;
  printf("%d jobs, %u tokens out at most, %u workers at most\n", JOBS, (unsigned)most, (unsigned)stats.peak_workers);
  ok &= most >= 1 && most <= CONNECTIONS && stats.jobs_delivered == JOBS + 1;
  selv_cache_release(cache);
  ok &= check("selv_event_free", SELV_OK, selv_event_free(begun)) & check("selv_event_free", SELV_OK, selv_event_free(enough));
  ok &= check("selv_limiter_free", SELV_OK, selv_limiter_free(database)); /* every token is back */
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

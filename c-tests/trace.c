/* trace.c: tracing while jobs run. The file is written to the folder in SELV_TEST_OUT, with a list of the event names that must
 * be in it beside it; the driver then reads it as JSON and checks lanes, names, and that begins and ends balance. */
#include "probe.h"

static char folder[512];

static void path_of(char *out, size_t len, const char *file) { snprintf(out, len, "%s/%s", folder, file); }

static void write_list(const char *file, const char *const *names, size_t count) {
  char path[600];
  FILE *out;
  size_t i;
  path_of(path, sizeof path, file);
  out = fopen(path, "w");
  CHECK(out != NULL);
  for (i = 0; i < count; i++) fprintf(out, "%s\n", names[i]);
  CHECK(fclose(out) == 0);
}

static void run_named(selv_cache *c, const char *name, probe *p) {
  selv_job_options job = probe_job(probe_run, p);
  job.name = name;
  CHECK_OK(probe_through(c, &job).status);
}

static void hooks_and_jobs_are_in_the_trace(void) {
  static const char *const names[] = {"plain job", "quote \" and \\ backslash", "caf\xc3\xa9", "tab\tinside", "warm-hook"};
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  char path[600];
  hook_probe h;
  selv_hook *hook;
  probe p;
  size_t i;
  probe_init(&p);
  hook_probe_init(&h, "warm-hook", NULL);
  path_of(path, sizeof path, "jobs.trace.json");
  hook = hook_probe_register_full(c, &h, 0);
  CHECK_OK(selv_trace_start(path));
  CHECK_STATUS(selv_trace_start(path), SELV_E_BUSY);
  for (i = 0; i + 1 < sizeof names / sizeof names[0]; i++) run_named(c, names[i], &p);
  probe_warm(c, 4);
  CHECK_OK(selv_cache_trim(c, 0));
  CHECK_WAIT(&h.exits, 4);
  CHECK_EVENTUALLY(probe_stats(c).workers == 0);
  CHECK_OK(selv_trace_stop());
  CHECK_STATUS(selv_trace_stop(), SELV_E_CLOSED);
  write_list("jobs.expect", names, sizeof names / sizeof names[0]);
  hook_probe_remove(hook, &h);
  probe_end(c);
}

/* Started and stopped while jobs are in the middle: what began before has no begin, what ends later no end, and still the
 * file must balance. */
static int stop;

static void *load(void *cache) {
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
    CHECK_OK(selv_cache_run((selv_cache *)cache, probe_run, &p, SELV_FOREVER, &outcome));
  return NULL;
}

static void started_and_stopped_in_the_middle(void) {
  selv_cache *c = probe_cache(0, 1 * CHECK_MS);
  pthread_t threads[3];
  hook_probe h;
  selv_hook *hook;
  char path[600];
  int i;
  hook_probe_init(&h, "h", NULL);
  hook = hook_probe_register_full(c, &h, 0);
  for (i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, load, c) == 0);
  for (i = 0; i < 5; i++) {
    char file[64];
    uint64_t before;
    snprintf(file, sizeof file, "middle%d.trace.json", i);
    path_of(path, sizeof path, file);
    CHECK_OK(selv_trace_start(path));
    before = probe_stats(c).jobs_delivered;
    CHECK_EVENTUALLY(probe_stats(c).jobs_delivered > before + 50);
    CHECK_OK(selv_trace_stop());
  }
  __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
  for (i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  hook_probe_remove(hook, &h);
  probe_end(c);
}

/* A full disk is told at stop, and the cache does not mind. */
static void a_full_disk_is_told(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_status status = selv_trace_start("/dev/full"), stopped;
  selv_outcome outcome;
  probe p;
  int i;
  probe_init(&p);
  for (i = 0; i < 100; i++) CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  stopped = selv_trace_stop();
  if (status == SELV_OK)
    CHECK_STATUS(stopped, SELV_E_IO);
  else {
    CHECK_STATUS(status, SELV_E_IO);
    CHECK_STATUS(stopped, SELV_E_CLOSED);
  }
  probe_end(c);
}

int main(void) {
  const char *out = getenv("SELV_TEST_OUT");
  if (out != NULL)
    snprintf(folder, sizeof folder, "%s", out);
  else { /* run by hand */
    snprintf(folder, sizeof folder, "/tmp/selvedge-trace-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    printf("traces are in %s\n", folder);
  }
  CHECK_RUN(hooks_and_jobs_are_in_the_trace);
  CHECK_RUN(started_and_stopped_in_the_middle);
  CHECK_RUN(a_full_disk_is_told);
  return 0;
}

/* trace.c: tracing while jobs run. The file is written to the folder in SELV_TEST_OUT, with a list of the event names that must
 * be in it beside it; the driver then reads it as JSON and checks lanes, names, and that begins and ends balance. */
#include "probe.h"

#include <sys/wait.h>

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

/* What the parent traces is the parent's: a child writes nothing into that file, at no point of its life. */
static void a_fork_child_leaves_the_trace_alone(void) {
  static const char *const names[] = {"before the fork", "after the fork"};
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  char path[600];
  int status = 0;
  pid_t child;
  probe p;
  probe_init(&p);
  path_of(path, sizeof path, "fork.trace.json");
  CHECK_OK(selv_trace_start(path));
  run_named(c, "before the fork", &p);
  fflush(stdout);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    selv_status stopped;
    alarm((unsigned)check_patience_s());
    run_named(c, "in the child", &p);
    stopped = selv_trace_stop();
    CHECK(stopped == SELV_E_CLOSED || stopped == SELV_E_FORKED);
    path_of(path, sizeof path, "child.trace.json");
    CHECK_OK(selv_trace_start(path)); /* it may trace for itself */
    run_named(c, "in the child", &p);
    CHECK_OK(selv_trace_stop());
    exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  run_named(c, "after the fork", &p);
  CHECK_OK(selv_trace_stop());
  write_list("fork.expect", names, sizeof names / sizeof names[0]);
  probe_end(c);
}

/* A thread that ends inside its job never comes to its end event; the file must balance all the same. */
static int32_t ends_its_thread(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  pthread_exit(NULL);
}

static void a_lost_thread_leaves_no_open_event(void) {
  static const char *const names[] = {"cut short", "whole"};
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job;
  hook_probe h;
  selv_hook *hook;
  char path[600];
  uint32_t remaining;
  probe p;
  probe_init(&p);
  hook_probe_init(&h, "h", NULL);
  path_of(path, sizeof path, "lost.trace.json");
  hook = hook_probe_register_full(c, &h, 0);
  CHECK_OK(selv_trace_start(path));
  job = probe_job(ends_its_thread, &p);
  job.name = "cut short";
  CHECK_STATUS(probe_through(c, &job).status, SELV_E_BROKEN);
  run_named(c, "whole", &p);
  CHECK_OK(selv_trace_stop());
  write_list("lost.expect", names, sizeof names / sizeof names[0]);
  hook_probe_remove(hook, &h);
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  selv_cache_release(c);
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
  CHECK_RUN(a_fork_child_leaves_the_trace_alone);
  CHECK_RUN(a_lost_thread_leaves_no_open_event);
  CHECK_RUN(a_full_disk_is_told);
  return 0;
}

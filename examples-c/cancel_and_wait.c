/* cancel_and_wait.c: a handle to a job waits for it, or takes it back before a worker has begun it. Whatever happens, an accepted
 * job is delivered once, and so the host knows when its argument is free again.
 *     cc -std=c99 cancel_and_wait.c -o cancel_and_wait $(pkg-config --cflags --libs selvedge) && ./cancel_and_wait */
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int pipe_ends[2];

/* Blocks until somebody writes, as jobs do: that is what threads are cached for. */
static int32_t work(void *arg, void **out_value) {
  char byte = 0;
  (void)out_value;
  printf("%s begins\n", (const char *)arg);
  return read(pipe_ends[0], &byte, 1) == 1 ? byte : -1;
}

static void deliver(void *arg, const selv_outcome *outcome) {
  printf("%s delivers %s, code %d\n", (const char *)arg, selv_status_name(outcome->status), (int)outcome->code);
}

static int check(const char *what, selv_status expected, selv_status status) {
  if (status != expected) fprintf(stderr, "%s: %s\n", what, selv_status_text(status));
  return status == expected;
}

static selv_job *submit(selv_cache *cache, const char *name) {
  selv_job_options options = SELV_JOB_OPTIONS_INIT;
  selv_job *job;
  options.fn = work;
  options.deliver = deliver;
  options.arg = (void *)(uintptr_t)name;
  options.name = name;
  return check("selv_cache_submit", SELV_OK, selv_cache_submit(cache, &options, &job)) ? job : NULL;
}

int main(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *cache;
  selv_job *first, *second;
  selv_outcome outcome;
  const char byte = 42;
  int ok;
  if (pipe(pipe_ends) != 0) return perror("pipe"), EXIT_FAILURE;
  options.max_workers = 1; /* so that the second job has to queue */
  if (!check("selv_cache_new", SELV_OK, selv_cache_new(&options, &cache))) return EXIT_FAILURE;
  first = submit(cache, "first");
  second = submit(cache, "second");
  ok = first != NULL && second != NULL;
  if (ok) {
    /* Still queued: it never runs, and is delivered as cancelled, here. */
    ok = check("selv_job_cancel", SELV_OK, selv_job_cancel(second));
    ok &= check("a wait of one millisecond", SELV_E_TIMEDOUT, selv_job_wait(first, 1000000, &outcome));
  }
  ok &= write(pipe_ends[1], &byte, 1) == 1;
  close(pipe_ends[1]); /* a job that is still reading, whatever went wrong, ends too */
  if (ok) {
    ok = check("selv_job_wait", SELV_OK, selv_job_wait(first, SELV_FOREVER, &outcome));
    ok &= outcome.status == SELV_OK && outcome.code == byte;
    ok &= check("a cancel that comes too late", SELV_E_TOO_LATE, selv_job_cancel(first));
  }
  selv_job_release(first);
  selv_job_release(second);
  ok &= check("selv_cache_shutdown", SELV_OK, selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  selv_cache_release(cache);
  close(pipe_ends[0]);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

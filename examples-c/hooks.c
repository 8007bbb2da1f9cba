/* hooks.c: callbacks at both edges of every worker. What a runtime needs of a thread (here, a buffer) is made once per worker and
 * not once per job; and when the hook is unregistered, every worker has let go of it.
 *     cc -std=c99 hooks.c -o hooks $(pkg-config --cflags --libs selvedge) && ./hooks */
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>

#define BUFFER 64

static selv_hook *hook;

/* On a new worker, before its first job. What is stored in *slot is this worker's own. */
static int32_t on_start(void *user, const selv_worker *w, void **slot) {
  (void)user;
  *slot = malloc(BUFFER);
  if (*slot == NULL) return 1; /* the job that needs it is delivered with SELV_E_HOOK_FAILED and this number */
  printf("%s starts\n", selv_worker_name(w));
  return 0;
}

/* On the same thread, before it ends, or when the hook is unregistered. */
static void on_exit_of(void *user, const selv_worker *w, void *slot) {
  (void)user;
  printf("%s exits\n", selv_worker_name(w));
  free(slot);
}

static int32_t work(void *arg, void **out_value) {
  char *buffer = (char *)selv_hook_slot(hook);
  (void)out_value;
  snprintf(buffer, BUFFER, "job %d on %s", *(int *)arg, selv_worker_name(selv_worker_current()));
  puts(buffer);
  return 0;
}

static int check(const char *what, selv_status status) {
  if (status != SELV_OK) fprintf(stderr, "%s: %s\n", what, selv_status_text(status));
  return status == SELV_OK;
}

int main(void) {
  selv_cache *cache;
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  selv_outcome outcome;
  int ok, number;
  if (!check("selv_cache_new", selv_cache_new(NULL, &cache))) return EXIT_FAILURE;
  options.name = "buffer";
  options.on_start = on_start;
  options.on_exit = on_exit_of;
  ok = check("selv_hook_register", selv_hook_register(cache, &options, &hook));
  /* One after the other: they all run on one worker, which is attached once. */
  for (number = 1; number <= 3 && ok; number++) {
    ok = check("selv_cache_run", selv_cache_run(cache, work, &number, SELV_FOREVER, &outcome));
    if (ok) ok = check("the job", outcome.status);
  }
  if (hook != NULL) {
    ok &= check("selv_hook_unregister", selv_hook_unregister(hook, SELV_FOREVER, NULL));
    puts("no callback runs from here on: what it served could now be shut down, and the cache lives on");
    selv_hook_release(hook);
  }
  ok &= check("selv_cache_shutdown", selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  selv_cache_release(cache);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

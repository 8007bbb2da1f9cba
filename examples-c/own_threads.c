/* own_threads.c: two ways in which a host's own threads and Selvedge meet. The cache starts its workers through the host's
 * function, for a host that must know every thread; and a thread of the host's own enters the cache and gets a worker's hooks.
 *     cc -std=c99 -pthread own_threads.c -o own_threads $(pkg-config --cflags --libs selvedge) && ./own_threads */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>

static selv_hook *hook;

/* ---- the host's thread starter ---- */

typedef struct entry {
  void (*run)(void *arg);
  void *arg;
  pthread_t thread;
} entry;

static void *body(void *arg) {
  entry *e = (entry *)arg;
  e->run(e->arg);
  return NULL;
}

static selv_status spawn(void *data, void (*run)(void *), void *arg, const char *name, size_t stack_size, void **out_handle) {
  unsigned *started = (unsigned *)data;
  pthread_attr_t attributes;
  entry *e = (entry *)malloc(sizeof *e);
  int failed;
  if (e == NULL) return SELV_E_NOMEM;
  e->run = run;
  e->arg = arg;
  if (pthread_attr_init(&attributes) != 0) {
    free(e);
    return SELV_E_NOMEM;
  }
  /* 0: the cache was given no stack size, so the system's default will do. */
  failed = stack_size != 0 && pthread_attr_setstacksize(&attributes, stack_size) != 0;
  if (!failed) failed = pthread_create(&e->thread, &attributes, body, e) != 0;
  pthread_attr_destroy(&attributes);
  if (failed) {
    free(e);
    return SELV_E_SPAWN; /* the submitter is told; nothing is left behind */
  }
  (*started)++; /* only one thread submits here, and spawn runs on the submitter's */
  printf("the host started a thread for %s\n", name);
  *out_handle = e;
  return SELV_OK;
}

static void join(void *data, void *handle) {
  entry *e = (entry *)handle;
  (void)data;
  pthread_join(e->thread, NULL);
  free(e);
}

/* ---- a hook, as a runtime would have it ---- */

static int32_t on_start(void *user, const selv_worker *w, void **slot) {
  (void)user;
  *slot = (void *)(uintptr_t)w;
  printf("%s attached\n", selv_worker_name(w));
  return 0;
}

static void on_detach(void *user, const selv_worker *w, void *slot) {
  (void)user;
  (void)slot;
  printf("%s detached\n", selv_worker_name(w));
}

static int32_t work(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return selv_hook_is_attached(hook) ? 0 : 1;
}

static int check(const char *what, selv_status status) {
  if (status != SELV_OK) fprintf(stderr, "%s: %s\n", what, selv_status_text(status));
  return status == SELV_OK;
}

/* ---- a thread of the host's own ---- */

static void *own_thread(void *arg) {
  selv_cache *cache = (selv_cache *)arg;
  static int ok;
  ok = check("selv_thread_enter", selv_thread_enter(cache, NULL, 0)); /* NULL: every hook that workers get */
  if (ok) {
    ok = selv_hook_is_attached(hook);
    printf("the host's own thread is %s now\n", selv_worker_name(selv_worker_current()));
    ok &= check("selv_thread_leave", selv_thread_leave(cache));
  }
  return ok ? &ok : NULL;
}

int main(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_hook_options hook_options = SELV_HOOK_OPTIONS_INIT;
  selv_outcome outcome;
  selv_cache *cache;
  pthread_t thread;
  void *entered = NULL;
  unsigned started = 0;
  int ok;
  options.spawn = spawn;
  options.join = join;
  options.spawn_data = &started;
  if (!check("selv_cache_new", selv_cache_new(&options, &cache))) return EXIT_FAILURE;
  hook_options.on_start = on_start;
  hook_options.on_exit = on_detach;
  ok = check("selv_hook_register", selv_hook_register(cache, &hook_options, &hook));
  if (ok) ok = check("selv_cache_run", selv_cache_run(cache, work, NULL, SELV_FOREVER, &outcome));
  if (ok) ok = check("the job", outcome.status) && outcome.code == 0;
  if (ok && pthread_create(&thread, NULL, own_thread, cache) != 0) {
    fputs("the host's own thread did not start\n", stderr);
    ok = 0;
  }
  if (ok) ok = pthread_join(thread, &entered) == 0 && entered != NULL;
  if (hook != NULL) ok &= check("selv_hook_unregister", selv_hook_unregister(hook, SELV_FOREVER, NULL));
  selv_hook_release(hook);
  ok &= check("selv_cache_shutdown", selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  selv_cache_release(cache);
  printf("threads started by the host: %u\n", started);
  return ok && started == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}

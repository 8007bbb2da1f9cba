/* GLib: GThreadPool, not exclusive, which is how GLib's own users have it: idle threads go to a set shared by all pools. */
#include "peer.h"

#include <glib.h>

typedef struct work {
  bench_fn fn;
  void *arg;
} work;

static void run(gpointer data, gpointer user) {
  work w = *(work *)data;
  (void)user;
  g_free(data);
  w.fn(w.arg);
}

static void *create(uint32_t threads, uint64_t idle_ns) {
  if (idle_ns != 0) {
    /* Without this GLib keeps only a few idle threads and ends the others at once. */
    g_thread_pool_set_max_unused_threads(-1);
    g_thread_pool_set_max_idle_time((guint)(idle_ns / 1000000));
  }
  return g_thread_pool_new(run, NULL, threads == 0 ? -1 : (gint)threads, FALSE, NULL);
}

static void submit(void *pool, bench_fn fn, void *arg) {
  work *w = g_new(work, 1);
  w->fn = fn;
  w->arg = arg;
  g_thread_pool_push(pool, w, NULL);
}

static void destroy(void *pool) {
  g_thread_pool_free(pool, FALSE, TRUE);
  g_thread_pool_stop_unused_threads();
}

const bench_peer bench_peer_glib = {create, submit, NULL, NULL, destroy};

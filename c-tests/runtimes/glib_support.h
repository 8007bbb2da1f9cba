/* glib_support.h: a GMainContext with a loop of the preset in it, a main loop to run, timers, threads that iterate, and a count of
 * how often the context went to poll: a loop that spins is seen there. A warning of GLib's fails the test. */
#ifndef SELV_C_TESTS_GLIB_SUPPORT_H
#define SELV_C_TESTS_GLIB_SUPPORT_H

#include "../probe.h"

#include <selvedge/glib.h>

typedef struct rig {
  GMainContext *context;
  GMainLoop *main;
  GSource *source;
  selv_host_loop *loop;
} rig;

/* One context at a time is watched. */
static int rig_polls_made;

static inline gint rig_poll(GPollFD *fds, guint count, gint timeout) {
  __atomic_add_fetch(&rig_polls_made, 1, __ATOMIC_RELAXED);
  return g_poll(fds, count, timeout);
}

static inline uint64_t rig_polls(void) { return (uint64_t)__atomic_load_n(&rig_polls_made, __ATOMIC_RELAXED); }

static inline void rig_context(rig *r) {
  g_log_set_always_fatal((GLogLevelFlags)(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING));
  memset(r, 0, sizeof *r);
  r->context = g_main_context_new();
  g_main_context_set_poll_func(r->context, rig_poll);
  r->main = g_main_loop_new(r->context, FALSE);
}

static inline void rig_start(rig *r, const selv_glib_options *options) {
  rig_context(r);
  CHECK_OK(selv_glib_loop_new(r->context, options, &r->loop, &r->source));
  CHECK(r->loop != NULL && r->source != NULL);
}

/* The context alone: the source has been ended by the test. */
static inline void rig_context_end(rig *r) {
  g_main_loop_unref(r->main);
  g_main_context_unref(r->context);
}

static inline void rig_end(rig *r) {
  CHECK_OK(selv_glib_loop_end(r->source));
  rig_context_end(r);
}

static inline selv_host_loop_stats rig_stats(rig *r) {
  selv_host_loop_stats stats = SELV_HOST_LOOP_STATS_INIT;
  CHECK_OK(selv_host_loop_get_stats(r->loop, &stats));
  return stats;
}

static inline void rig_soon(rig *r, selv_call_fn fn, void *arg) { CHECK_OK(selv_host_loop_call_soon(r->loop, fn, arg, NULL, 0)); }

/* Everything that is there to do, without waiting for more. */
static inline void rig_iterate(rig *r) {
  while (g_main_context_iteration(r->context, FALSE)) {
  }
}

/* ---- other sources ---- */

static inline void rig_attach(rig *r, GSource *source, int priority, GSourceFunc fn, void *arg) {
  g_source_set_priority(source, priority);
  g_source_set_callback(source, fn, arg, NULL);
  g_source_attach(source, r->context);
  g_source_unref(source);
}

static inline void rig_timer(rig *r, unsigned ms, GSourceFunc fn, void *arg) {
  rig_attach(r, g_timeout_source_new(ms), G_PRIORITY_DEFAULT, fn, arg);
}

static inline gboolean rig_quits(gpointer arg) {
  g_main_loop_quit((GMainLoop *)arg);
  return G_SOURCE_REMOVE;
}

static inline void rig_quit_soon(void *arg) { g_main_loop_quit((GMainLoop *)arg); }

/* A main loop inside whatever runs now, until the time is over. */
static inline void rig_nest(rig *r, unsigned ms) {
  GMainLoop *inner = g_main_loop_new(r->context, FALSE);
  int depth = g_main_depth();
  rig_timer(r, ms, rig_quits, inner);
  g_main_loop_run(inner);
  g_main_loop_unref(inner);
  CHECK_EQ_U64(g_main_depth(), depth);
}

/* ---- threads ---- */

static inline pthread_t rig_thread(void *(*run)(void *), void *arg) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, run, arg) == 0);
  return thread;
}

static inline void *rig_join(pthread_t thread) {
  void *result = NULL;
  CHECK(pthread_join(thread, &result) == 0);
  return result;
}

#endif

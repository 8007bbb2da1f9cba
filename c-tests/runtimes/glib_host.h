/* glib_host.h: a GLib main loop as the host of Trio, with a timer of its own that never stops. */
#ifndef SELV_C_TESTS_GLIB_HOST_H
#define SELV_C_TESTS_GLIB_HOST_H

#include "python_trio.h"

#include <selvedge/glib.h>

static GMainLoop *glib_loop;
static GSource *glib_source;
static guint glib_ticker;

static gboolean glib_tick(gpointer unused) {
  (void)unused;
  trio_ticks++;
  return G_SOURCE_CONTINUE;
}

static void glib_run(void) { g_main_loop_run(glib_loop); }
static void glib_quit(void) { g_main_loop_quit(glib_loop); }

typedef struct glib_timer {
  selv_call_fn fn;
  void *arg;
} glib_timer;

static gboolean glib_timer_runs(gpointer arg) {
  glib_timer *t = (glib_timer *)arg;
  t->fn(t->arg);
  free(t);
  return G_SOURCE_REMOVE;
}

static void glib_after(unsigned ms, selv_call_fn fn, void *arg) {
  glib_timer *t = (glib_timer *)malloc(sizeof *t);
  CHECK(t != NULL);
  t->fn = fn;
  t->arg = arg;
  g_timeout_add(ms, glib_timer_runs, t);
}

/* This thread will run the loop. */
static inline void glib_host_start(void) {
  selv_host_loop *loop;
  g_log_set_always_fatal((GLogLevelFlags)(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING));
  glib_loop = g_main_loop_new(NULL, FALSE);
  CHECK_OK(selv_glib_loop_new(NULL, NULL, &loop, &glib_source));
  trio_loop_is(loop);
  glib_ticker = g_timeout_add(1, glib_tick, NULL);
  trio.run = glib_run;
  trio.quit = glib_quit;
  trio.after = glib_after;
}

/* Without the GIL: calls that are dropped take it. Gives their number. */
static inline uint64_t glib_host_end(void) {
  CHECK(g_source_remove(glib_ticker));
  CHECK_OK(selv_glib_loop_end(glib_source));
  g_main_loop_unref(glib_loop);
  return trio_loop_ended();
}

#endif

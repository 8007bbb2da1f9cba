/* glib_uv_support.h: a GLib main loop as the host, libuv as its guest. The test's main thread is the host's. */
#ifndef SELV_C_TESTS_GLIB_UV_SUPPORT_H
#define SELV_C_TESTS_GLIB_UV_SUPPORT_H

#include "uv_support.h"

#include <selvedge/glib.h>

static selv_host_loop *glib_loop;
static GSource *glib_source;

static inline void glib_open(void) {
  uv_home = pthread_self();
  g_log_set_always_fatal((GLogLevelFlags)(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING));
  CHECK_OK(selv_glib_loop_new(NULL, NULL, &glib_loop, &glib_source));
  CHECK(glib_loop != NULL && glib_source != NULL);
}

static inline selv_host_loop_stats glib_stats(void) {
  selv_host_loop_stats stats = SELV_HOST_LOOP_STATS_INIT;
  CHECK_OK(selv_host_loop_get_stats(glib_loop, &stats));
  return stats;
}

/* Nothing accepted may be missing, and no guest left. */
static inline void glib_shut(void) {
  selv_host_loop_stats stats;
  selv_host_loop_retain(glib_loop);
  CHECK_EQ_U64(glib_stats().guests, 0);
  CHECK_OK(selv_glib_loop_end(glib_source));
  stats = glib_stats();
  CHECK_EQ_U64(stats.closed, 1);
  CHECK_EQ_U64(stats.waiting, 0);
  CHECK_EQ_U64(stats.accepted, stats.ran + stats.dropped);
  selv_host_loop_release(glib_loop);
}

static inline gboolean glib_too_late(gpointer what) {
  check_fail(__FILE__, __LINE__, "the main loop waited in vain for: %s", (const char *)what);
  return G_SOURCE_REMOVE;
}

static inline gboolean glib_time_is_up(gpointer flag) {
  *(int *)flag = 1;
  return G_SOURCE_REMOVE;
}

/* Iterates the main loop until `cond` holds. */
#define GLIB_UNTIL(cond)                                                                                       \
  do {                                                                                                         \
    char glib_what[] = #cond;                                                                                  \
    guint glib_limit = g_timeout_add((guint)check_patience_s() * 1000, glib_too_late, glib_what);              \
    while (!(cond)) g_main_context_iteration(NULL, TRUE);                                                      \
    g_source_remove(glib_limit);                                                                               \
  } while (0)

static inline gboolean glib_looks_again(gpointer unused) {
  (void)unused;
  return G_SOURCE_CONTINUE;
}

/* The same for what other threads do, which the main loop is not told of: it looks every millisecond. */
#define GLIB_EVENTUALLY(cond)                                   \
  do {                                                          \
    guint glib_look = g_timeout_add(1, glib_looks_again, NULL); \
    GLIB_UNTIL(cond);                                           \
    g_source_remove(glib_look);                                 \
  } while (0)

/* Iterates it for so long. */
static inline void glib_run_ms(guint ms) {
  int up = 0;
  g_timeout_add(ms, glib_time_is_up, &up);
  GLIB_UNTIL(up);
}

/* A cache of the test's own, so that its workers can be counted. */
static inline selv_guest *glib_guest_begin(uv_guest *g, uv_loop_t *loop, selv_cache *cache) {
  selv_uv_guest_options options = uv_guest_options(g, loop, glib_loop);
  options.cache = cache;
  CHECK_OK(selv_uv_guest_start(&options, &g->handle));
  CHECK(g->handle != NULL);
  CHECK_EQ_U64(g->done, 0);
  CHECK_EQ_U64(glib_stats().guests, 1);
  return g->handle;
}

static inline uint64_t glib_cpu_ns(void) {
  struct timespec used;
  CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);
  return (uint64_t)used.tv_sec * UINT64_C(1000000000) + (uint64_t)used.tv_nsec;
}

#endif

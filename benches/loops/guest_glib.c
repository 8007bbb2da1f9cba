/* A libuv loop in a GMainLoop without a guest's worker: a GSource on its backend fd. */
#define _GNU_SOURCE /* what uv.h needs of pthread.h */
#include "guest.h"

#include <glib.h>

typedef struct guest {
  uv_loop_t loop; /* first */
  GMainLoop *main_loop;
  GSource *source;
} guest;

typedef struct backend {
  GSource source;
  guest *guest;
  gpointer fd;
} backend;

static gboolean prepare(GSource *source, gint *timeout) {
  uv_loop_t *loop = &((backend *)source)->guest->loop;
  uv_update_time(loop);
  *timeout = uv_backend_timeout(loop);
  return *timeout == 0;
}

static gboolean check(GSource *source) {
  backend *b = (backend *)source;
  return g_source_query_unix_fd(source, b->fd) != 0 || uv_backend_timeout(&b->guest->loop) == 0;
}

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data) {
  guest *g = ((backend *)source)->guest;
  (void)callback;
  (void)data;
  if (!uv_run(&g->loop, UV_RUN_NOWAIT)) {
    g_main_loop_quit(g->main_loop);
  }
  return G_SOURCE_CONTINUE;
}

static void *create(void) {
  static GSourceFuncs functions = {prepare, check, dispatch, NULL, NULL, NULL};
  guest *g = allocate(sizeof *g);
  uv_must(uv_loop_init(&g->loop));
  g->main_loop = g_main_loop_new(NULL, FALSE);
  g->source = g_source_new(&functions, sizeof(backend));
  ((backend *)g->source)->guest = g;
  ((backend *)g->source)->fd = g_source_add_unix_fd(g->source, uv_backend_fd(&g->loop), G_IO_IN);
  g_source_attach(g->source, NULL);
  return g;
}

/* The first pass has libuv watch the handles that it was given. */
static void run(void *handle) {
  guest *g = handle;
  if (uv_run(&g->loop, UV_RUN_NOWAIT)) {
    g_main_loop_run(g->main_loop);
  }
}

static void destroy(void *handle) {
  guest *g = handle;
  g_source_destroy(g->source);
  g_source_unref(g->source);
  g_main_loop_unref(g->main_loop);
  uv_must(uv_loop_close(&g->loop));
  free(g);
}

const bench_guest bench_guest_backend_glib = BENCH_GUEST(create, run, destroy);

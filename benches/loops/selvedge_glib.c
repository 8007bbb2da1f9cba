/* Selvedge in a GMainLoop on the default context: selvedge/glib.h, which watches the fd; and the wake form, in which `wake` makes a
 * source ready. */
#include "own.h"

#include <selvedge/glib.h>

typedef struct host {
  own own; /* first */
  GMainLoop *main_loop;
  GSource *source;
} host;

static host *create_host(void) {
  host *h = g_new0(host, 1);
  h->main_loop = g_main_loop_new(NULL, FALSE);
  return h;
}

static void *create(void) {
  host *h = create_host();
  selv_host_loop *loop;
  must(selv_glib_loop_new(NULL, NULL, &loop, &h->source), "selv_glib_loop_new");
  own_begin(&h->own, loop, 0);
  return h;
}

static void run(void *loop) { g_main_loop_run(((host *)loop)->main_loop); }

static void end(void *loop) { g_main_loop_quit(((host *)loop)->main_loop); }

static void destroy_host(host *h) {
  g_main_loop_unref(h->main_loop);
  g_free(h);
}

static void destroy(void *loop) {
  host *h = loop;
  own_end(&h->own);
  must(selv_glib_loop_end(h->source), "selv_glib_loop_end");
  destroy_host(h);
}

/* ---- the wake form ---- */

typedef struct woken {
  GSource source;
  selv_host_loop *loop;
} woken;

static void wake(void *source) { g_source_set_ready_time(source, 0); }

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data) {
  (void)callback;
  (void)data;
  /* First, so that a wake from now on is for another dispatch. */
  g_source_set_ready_time(source, -1);
  must(selv_host_loop_drain(((woken *)source)->loop, 0, NULL), "selv_host_loop_drain");
  return G_SOURCE_CONTINUE;
}

static void *create_woken(void) {
  static GSourceFuncs functions = {NULL, NULL, dispatch, NULL, NULL, NULL};
  host *h = create_host();
  selv_host_loop_options options = SELV_HOST_LOOP_OPTIONS_INIT;
  h->source = g_source_new(&functions, sizeof(woken));
  options.wake = wake;
  options.wake_arg = h->source;
  must(selv_host_loop_new(&options, &((woken *)h->source)->loop), "selv_host_loop_new");
  g_source_attach(h->source, NULL);
  own_begin(&h->own, ((woken *)h->source)->loop, 0);
  return h;
}

static void destroy_woken(void *loop) {
  host *h = loop;
  own_end(&h->own);
  must(selv_host_loop_close(h->own.loop), "selv_host_loop_close");
  selv_host_loop_release(h->own.loop);
  g_source_destroy(h->source);
  g_source_unref(h->source);
  destroy_host(h);
}

const bench_loop bench_loop_selvedge_glib = {create, run, end, own_call_soon, own_call_soon, own_call, own_submit, destroy};
const bench_loop bench_loop_selvedge_glib_wake = {create_woken, run,      end,        own_call_soon,
                                                  own_call_soon, own_call, own_submit, destroy_woken};

/* A libuv loop as Selvedge's guest (selvedge/uv.h), in an epoll set and in a GMainLoop. */
#define _GNU_SOURCE /* what uv.h needs of pthread.h */
#include "guest.h"
#include "own.h"

#include <selvedge/glib.h>
#include <selvedge/uv.h>

#include <sys/epoll.h>

typedef struct guest {
  uv_loop_t loop; /* first */
  own host;
  selv_guest *guest;
  int ended;
  int epoll;
  GMainLoop *main_loop;
  GSource *source;
} guest;

static void on_done(void *user, selv_status why) {
  guest *g = user;
  must(why, "the guest's run");
  g->ended = 1;
  if (g->main_loop != NULL) {
    g_main_loop_quit(g->main_loop);
  }
}

static void start(guest *g) {
  selv_uv_guest_options options = SELV_UV_GUEST_OPTIONS_INIT;
  options.host = g->host.loop;
  options.loop = &g->loop;
  options.cache = g->host.cache;
  options.done = on_done;
  options.user = g;
  must(selv_uv_guest_start(&options, &g->guest), "selv_uv_guest_start");
}

static guest *create_guest(void) {
  guest *g = allocate(sizeof *g);
  uv_must(uv_loop_init(&g->loop));
  g->epoll = -1;
  return g;
}

static void destroy_guest(guest *g) {
  selv_guest_release(g->guest);
  uv_must(uv_loop_close(&g->loop));
  free(g);
}

/* ---- in an epoll set ---- */

static void *create_in_epoll(void) {
  guest *g = create_guest();
  struct epoll_event event = {0};
  selv_host_loop *loop;
  must(selv_host_loop_new(NULL, &loop), "selv_host_loop_new");
  own_begin(&g->host, loop, 0);
  g->epoll = epoll_create1(EPOLL_CLOEXEC);
  event.events = EPOLLIN;
  if (g->epoll < 0 || epoll_ctl(g->epoll, EPOLL_CTL_ADD, selv_host_loop_fd(loop), &event) != 0) {
    abort();
  }
  return g;
}

static void run_in_epoll(void *handle) {
  guest *g = handle;
  start(g);
  while (!g->ended) {
    struct epoll_event event;
    if (epoll_wait(g->epoll, &event, 1, -1) == 1) {
      must(selv_host_loop_drain(g->host.loop, 0, NULL), "selv_host_loop_drain");
    }
  }
}

static void destroy_in_epoll(void *handle) {
  guest *g = handle;
  must(selv_host_loop_close(g->host.loop), "selv_host_loop_close");
  selv_host_loop_release(g->host.loop);
  own_end(&g->host);
  close(g->epoll);
  destroy_guest(g);
}

/* ---- in a GMainLoop ---- */

static void *create_in_glib(void) {
  guest *g = create_guest();
  selv_host_loop *loop;
  g->main_loop = g_main_loop_new(NULL, FALSE);
  must(selv_glib_loop_new(NULL, NULL, &loop, &g->source), "selv_glib_loop_new");
  own_begin(&g->host, loop, 0);
  return g;
}

static void run_in_glib(void *handle) {
  guest *g = handle;
  start(g);
  g_main_loop_run(g->main_loop);
}

static void destroy_in_glib(void *handle) {
  guest *g = handle;
  must(selv_glib_loop_end(g->source), "selv_glib_loop_end");
  g_main_loop_unref(g->main_loop);
  own_end(&g->host);
  destroy_guest(g);
}

const bench_guest bench_guest_selvedge = BENCH_GUEST(create_in_epoll, run_in_epoll, destroy_in_epoll);
const bench_guest bench_guest_selvedge_glib = BENCH_GUEST(create_in_glib, run_in_glib, destroy_in_glib);

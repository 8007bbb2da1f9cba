/* Selvedge in a uv_loop_t: selvedge/uv.h, which watches the fd; and the wake form, in which `wake` is uv_async_send. */
#define _GNU_SOURCE /* what uv.h needs of pthread.h */
#include "own.h"

#include <selvedge/uv.h>

typedef struct host {
  own own; /* first */
  uv_loop_t loop;
  uv_handle_t *handle;
  uv_async_t async;
} host;

static host *create_host(void) {
  host *h = calloc(1, sizeof *h);
  if (h == NULL || uv_loop_init(&h->loop) != 0) {
    abort();
  }
  return h;
}

static void *create(void) {
  host *h = create_host();
  selv_host_loop *loop;
  must(selv_uv_loop_new(&h->loop, NULL, &loop, &h->handle), "selv_uv_loop_new");
  own_begin(&h->own, loop, 0);
  return h;
}

static void run(void *loop) { uv_run(&((host *)loop)->loop, UV_RUN_DEFAULT); }

static void end(void *loop) { uv_stop(&((host *)loop)->loop); }

static void destroy_host(host *h) {
  uv_run(&h->loop, UV_RUN_DEFAULT);
  if (uv_loop_close(&h->loop) != 0) {
    abort();
  }
  free(h);
}

static void destroy(void *loop) {
  host *h = loop;
  own_end(&h->own);
  must(selv_uv_loop_end(h->handle, NULL, NULL), "selv_uv_loop_end");
  destroy_host(h);
}

/* ---- the wake form ---- */

static void wake(void *async) { uv_async_send(async); }

static void on_async(uv_async_t *async) {
  must(selv_host_loop_drain(((host *)async->data)->own.loop, 0, NULL), "selv_host_loop_drain");
}

static void *create_woken(void) {
  host *h = create_host();
  selv_host_loop_options options = SELV_HOST_LOOP_OPTIONS_INIT;
  selv_host_loop *loop;
  if (uv_async_init(&h->loop, &h->async, on_async) != 0) {
    abort();
  }
  h->async.data = h;
  options.wake = wake;
  options.wake_arg = &h->async;
  must(selv_host_loop_new(&options, &loop), "selv_host_loop_new");
  own_begin(&h->own, loop, 0);
  return h;
}

static void destroy_woken(void *loop) {
  host *h = loop;
  own_end(&h->own);
  must(selv_host_loop_close(h->own.loop), "selv_host_loop_close");
  selv_host_loop_release(h->own.loop);
  uv_close((uv_handle_t *)&h->async, NULL);
  destroy_host(h);
}

const bench_loop bench_loop_selvedge_uv = {create, run, end, own_call_soon, own_call_soon, own_call, own_submit, destroy};
const bench_loop bench_loop_selvedge_uv_wake = {create_woken, run,      end,        own_call_soon,
                                                own_call_soon, own_call, own_submit, destroy_woken};

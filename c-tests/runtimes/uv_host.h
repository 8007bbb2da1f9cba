/* uv_host.h: a libuv loop as the host of Trio, with a timer of its own that never stops. */
#ifndef SELV_C_TESTS_UV_HOST_H
#define SELV_C_TESTS_UV_HOST_H

#include "python_trio.h"

#include "uv_support.h"

static uv_loop_t uv_main;
static uv_queue uv_main_queue;
static uv_timer_t uv_ticker;

static void uv_tick(uv_timer_t *timer) {
  (void)timer;
  trio_ticks++;
}

static void uv_host_run(void) { CHECK_UV(uv_run(&uv_main, UV_RUN_DEFAULT)); }
static void uv_host_quit(void) { uv_stop(&uv_main); }

typedef struct uv_host_once {
  uv_timer_t timer; /* the first, so that its handle is this */
  selv_call_fn fn;
  void *arg;
} uv_host_once;

static void uv_host_once_closed(uv_handle_t *handle) { free(handle); }

static void uv_host_once_runs(uv_timer_t *timer) {
  uv_host_once *once = (uv_host_once *)timer;
  once->fn(once->arg);
  uv_close(UV_HANDLE(timer), uv_host_once_closed);
}

static void uv_host_after(unsigned ms, selv_call_fn fn, void *arg) {
  uv_host_once *once = (uv_host_once *)calloc(1, sizeof *once);
  CHECK(once != NULL);
  once->fn = fn;
  once->arg = arg;
  CHECK_UV(uv_timer_init(&uv_main, &once->timer));
  CHECK_UV(uv_timer_start(&once->timer, uv_host_once_runs, ms, 0));
}

/* This thread will run the loop. */
static inline void uv_host_start(void) {
  uv_open(&uv_main);
  uv_queue_open(&uv_main_queue, &uv_main, 0, 0);
  trio_loop_is(uv_main_queue.loop);
  CHECK_UV(uv_timer_init(&uv_main, &uv_ticker));
  CHECK_UV(uv_timer_start(&uv_ticker, uv_tick, 1, 1));
  trio.run = uv_host_run;
  trio.quit = uv_host_quit;
  trio.after = uv_host_after;
}

/* Without the GIL: calls that are dropped take it. Gives their number. */
static inline uint64_t uv_host_end(void) {
  uv_queue_end(&uv_main_queue);
  uv_close(UV_HANDLE(&uv_ticker), NULL);
  CHECK_EQ_U64(uv_run(&uv_main, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(uv_main_queue.closed, 1);
  uv_shut(&uv_main);
  return trio_loop_ended();
}

#endif

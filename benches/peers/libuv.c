/* libuv: uv_queue_work. Its thread pool belongs to the process and its completions to a loop, so every submitting thread has a
 * loop of its own. Work and completion are apart, as they are in Selvedge's (fn, deliver). */
#define _GNU_SOURCE /* setenv, and what uv.h needs of pthread.h */
#include "peer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

typedef struct work {
  uv_work_t request;
  bench_fn run;
  bench_fn done;
  void *arg;
} work;

static pthread_key_t loop_key;
static pthread_once_t loop_once = PTHREAD_ONCE_INIT;

/* A submitting thread that ends takes its loop, and the loop's descriptors, with it. */
static void close_loop(void *loop) {
  uv_run(loop, UV_RUN_DEFAULT);
  uv_loop_close(loop);
  free(loop);
}

static void make_key(void) {
  if (pthread_key_create(&loop_key, close_loop) != 0) {
    abort();
  }
}

static uv_loop_t *own_loop(void) {
  uv_loop_t *loop;
  pthread_once(&loop_once, make_key);
  loop = pthread_getspecific(loop_key);
  if (loop == NULL) {
    loop = malloc(sizeof *loop);
    if (loop == NULL || uv_loop_init(loop) != 0 || pthread_setspecific(loop_key, loop) != 0) {
      abort();
    }
  }
  return loop;
}

static void *create(uint32_t threads, uint64_t idle_ns) {
  /* Read by libuv once, when the first work is queued in this process. */
  char size[16];
  static int pool;
  (void)idle_ns;
  snprintf(size, sizeof size, "%u", threads);
  setenv("UV_THREADPOOL_SIZE", size, 1);
  return &pool;
}

static void on_work(uv_work_t *request) {
  work *w = (work *)request;
  w->run(w->arg);
}

static void on_done(uv_work_t *request, int status) {
  work *w = (work *)request;
  bench_fn done = w->done;
  void *arg = w->arg;
  (void)status;
  free(w);
  done(arg);
}

static void submit(void *pool, bench_fn run, bench_fn done, void *arg) {
  work *w = malloc(sizeof *w);
  (void)pool;
  if (w == NULL) {
    abort();
  }
  w->run = run;
  w->done = done;
  w->arg = arg;
  if (uv_queue_work(own_loop(), &w->request, on_work, on_done) != 0) {
    abort();
  }
}

static void drive(void *pool) {
  (void)pool;
  uv_run(own_loop(), UV_RUN_DEFAULT);
}

/* The threads stay: libuv ends them with the process. */
static void destroy(void *pool) { drive(pool); }

const bench_peer bench_peer_libuv = {create, NULL, submit, drive, destroy};

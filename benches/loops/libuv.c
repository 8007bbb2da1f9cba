/* libuv: uv_async_send with a list of one's own, uv_queue_work; and uv_async_send bare, which can tell but one thing at a time. */
#define _GNU_SOURCE /* setenv, and what uv.h needs of pthread.h */
#include "fifo.h"
#include "loop.h"

#include <stdio.h>
#include <unistd.h>

typedef struct host {
  uv_loop_t loop;
  uv_async_t async;
  fifo queue;
  /* The bare way: what the one call that is under way runs. */
  bench_fn fn;
  void *arg;
} host;

static void must(int status) {
  if (status != 0) {
    fprintf(stderr, "libuv: %s\n", uv_strerror(status));
    abort();
  }
}

static void on_async(uv_async_t *async) { fifo_run(&((host *)async->data)->queue); }

static void on_async_bare(uv_async_t *async) {
  host *h = async->data;
  h->fn(h->arg);
}

static host *create_with(uv_async_cb callback) {
  host *h = calloc(1, sizeof *h);
  /* Read by libuv once, when the first work is queued in this process. */
  char threads[16];
  snprintf(threads, sizeof threads, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
  setenv("UV_THREADPOOL_SIZE", threads, 0);
  if (h == NULL) {
    abort();
  }
  fifo_init(&h->queue);
  must(uv_loop_init(&h->loop));
  must(uv_async_init(&h->loop, &h->async, callback));
  h->async.data = h;
  return h;
}

static void *create(void) { return create_with(on_async); }

static void *create_bare(void) { return create_with(on_async_bare); }

static void run(void *loop) { uv_run(&((host *)loop)->loop, UV_RUN_DEFAULT); }

static void end(void *loop) { uv_stop(&((host *)loop)->loop); }

static void call_soon(void *loop, bench_fn fn, void *arg) {
  host *h = loop;
  fifo_add(&h->queue, fn, arg);
  must(uv_async_send(&h->async));
}

static void call_soon_bare(void *loop, bench_fn fn, void *arg) {
  host *h = loop;
  h->fn = fn;
  h->arg = arg;
  must(uv_async_send(&h->async));
}

typedef struct blocking_call {
  bench_fn fn;
  void *arg;
  uv_sem_t ran;
} blocking_call;

static void run_and_post(void *arg) {
  blocking_call *c = arg;
  c->fn(c->arg);
  uv_sem_post(&c->ran);
}

static void call(void *loop, bench_fn fn, void *arg) {
  blocking_call c;
  c.fn = fn;
  c.arg = arg;
  must(uv_sem_init(&c.ran, 0));
  call_soon(loop, run_and_post, &c);
  uv_sem_wait(&c.ran);
  uv_sem_destroy(&c.ran);
}

typedef struct job {
  uv_work_t request;
  bench_fn work;
  bench_fn done;
  void *arg;
} job;

static void on_work(uv_work_t *request) {
  job *j = (job *)request;
  j->work(j->arg);
}

static void on_done(uv_work_t *request, int status) {
  job *j = (job *)request;
  bench_fn done = j->done;
  void *arg = j->arg;
  must(status);
  free(j);
  done(arg);
}

static void submit(void *loop, bench_fn work, bench_fn done, void *arg) {
  job *j = malloc(sizeof *j);
  if (j == NULL) {
    abort();
  }
  j->work = work;
  j->done = done;
  j->arg = arg;
  must(uv_queue_work(&((host *)loop)->loop, &j->request, on_work, on_done));
}

static void destroy(void *loop) {
  host *h = loop;
  uv_close((uv_handle_t *)&h->async, NULL);
  uv_run(&h->loop, UV_RUN_DEFAULT);
  must(uv_loop_close(&h->loop));
  uv_mutex_destroy(&h->queue.mutex);
  free(h);
}

const bench_loop bench_loop_libuv = {create, run, end, call_soon, call_soon, call, submit, destroy};
const bench_loop bench_loop_libuv_bare = {create_bare, run, end, call_soon_bare, NULL, NULL, NULL, destroy};

/* What the rows of Selvedge share: everything but how the host's loop comes to drain. */
#ifndef BENCH_OWN_H
#define BENCH_OWN_H

#include "loop.h"

#include <selvedge.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct own {
  selv_host_loop *loop;
  selv_cache *cache;
} own;

static void must(selv_status status, const char *what) {
  if (status != SELV_OK) {
    char detail[256] = "";
    selv_last_error(detail, sizeof detail);
    fprintf(stderr, "%s: %s: %s\n", what, selv_status_name(status), detail);
    abort();
  }
}

/* `max_workers` 0: a worker for every job that finds none idle. */
static void own_begin(own *o, selv_host_loop *loop, uint32_t max_workers) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  options.max_workers = max_workers;
  o->loop = loop;
  must(selv_cache_new(&options, &o->cache), "selv_cache_new");
}

static void own_end(own *o) {
  must(selv_cache_shutdown(o->cache, 0, SELV_FOREVER, NULL), "selv_cache_shutdown");
  selv_cache_release(o->cache);
}

static inline void own_call_soon(void *loop, bench_fn fn, void *arg) {
  must(selv_host_loop_call_soon(((own *)loop)->loop, fn, arg, NULL, 0), "selv_host_loop_call_soon");
}

typedef struct bound {
  bench_fn fn;
  void *arg;
} bound;

static inline int32_t run_bound(void *arg, void **value) {
  bound *b = arg;
  (void)value;
  b->fn(b->arg);
  return 0;
}

static inline void own_call(void *loop, bench_fn fn, void *arg) {
  bound b;
  b.fn = fn;
  b.arg = arg;
  must(selv_host_loop_call(((own *)loop)->loop, run_bound, &b, SELV_FOREVER, NULL), "selv_host_loop_call");
}

typedef struct own_job {
  bench_fn work;
  bench_fn done;
  void *arg;
} own_job;

static int32_t own_work(void *arg, void **value) {
  own_job *j = arg;
  (void)value;
  j->work(j->arg);
  return 0;
}

static void own_deliver(void *arg, const selv_outcome *outcome) {
  own_job *j = arg;
  must(outcome->status, "a job");
  j->done(j->arg);
}

static inline void own_submit(void *loop, bench_fn work, bench_fn done, void *arg) {
  own *o = loop;
  selv_job_options options = SELV_JOB_OPTIONS_INIT;
  own_job *j = malloc(sizeof *j);
  if (j == NULL) {
    abort();
  }
  j->work = work;
  j->done = done;
  j->arg = arg;
  options.fn = own_work;
  options.deliver = own_deliver;
  options.arg = j;
  options.arg_free = free;
  options.loop = o->loop;
  must(selv_cache_submit(o->cache, &options, NULL), "selv_cache_submit");
}

#endif

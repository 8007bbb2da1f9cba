/* What everybody writes beside a uv_async_t, which wakes a loop but carries nothing: a list of functions under a mutex. */
#ifndef BENCH_FIFO_H
#define BENCH_FIFO_H

#include "loop.h"

#include <stdlib.h>
#include <uv.h>

typedef struct entry {
  struct entry *next;
  bench_fn fn;
  void *arg;
} entry;

typedef struct fifo {
  uv_mutex_t mutex;
  entry *first;
  entry **end;
} fifo;

static void fifo_init(fifo *f) {
  if (uv_mutex_init(&f->mutex) != 0) {
    abort();
  }
  f->first = NULL;
  f->end = &f->first;
}

static void fifo_add(fifo *f, bench_fn fn, void *arg) {
  entry *e = malloc(sizeof *e);
  if (e == NULL) {
    abort();
  }
  e->next = NULL;
  e->fn = fn;
  e->arg = arg;
  uv_mutex_lock(&f->mutex);
  *f->end = e;
  f->end = &e->next;
  uv_mutex_unlock(&f->mutex);
}

/* Runs what is in it now. What the functions add is left for the next time. */
static void fifo_run(fifo *f) {
  entry *e;
  uv_mutex_lock(&f->mutex);
  e = f->first;
  f->first = NULL;
  f->end = &f->first;
  uv_mutex_unlock(&f->mutex);
  while (e != NULL) {
    entry *next = e->next;
    bench_fn fn = e->fn;
    void *arg = e->arg;
    free(e);
    fn(arg);
    e = next;
  }
}

#endif

/* native_hook.c: a hook of another runtime, as a JVM's or a CLR's would be: counts its calls, and the calls in which it would have held the GIL. */
#include <Python.h>

#include <stdatomic.h>
#include <stdint.h>

typedef struct counts {
  _Atomic int64_t starts, exits, befores, afters, with_gil;
} counts;

static void count(_Atomic int64_t *what, counts *c) {
  atomic_fetch_add(what, 1);
  if (PyGILState_Check()) atomic_fetch_add(&c->with_gil, 1);
}

int32_t native_start(void *user, const void *worker, void **slot) {
  counts *c = (counts *)user;
  (void)worker;
  count(&c->starts, c);
  *slot = c;
  return 0;
}

void native_exit(void *user, const void *worker, void *slot) {
  counts *c = (counts *)slot;
  (void)user;
  (void)worker;
  count(&c->exits, c);
}

int32_t native_before(void *user, const void *worker, void *slot) {
  counts *c = (counts *)slot;
  (void)user;
  (void)worker;
  count(&c->befores, c);
  return 0;
}

void native_after(void *user, const void *worker, void *slot) {
  counts *c = (counts *)slot;
  (void)user;
  (void)worker;
  count(&c->afters, c);
}

int32_t native_fails(void *user, const void *worker, void **slot) {
  (void)user;
  (void)worker;
  (void)slot;
  return 77;
}

/* Hooks of a runtime that is not Python, as a JVM's or a CLR's would be. They count their calls, and those in which they would have held
 * the GIL, where `user` points: `counts` here lives as long as the process, also when Python has ended. */
#include <Python.h>

#include <stdatomic.h>
#include <stdint.h>

typedef struct hook_counts {
  _Atomic int64_t starts, exits, befores, afters, with_gil;
} hook_counts;

hook_counts counts;

static void count(_Atomic int64_t *what, hook_counts *c) {
  atomic_fetch_add(what, 1);
  if (PyGILState_Check()) atomic_fetch_add(&c->with_gil, 1);
}

int32_t count_start(void *user, const void *worker, void **slot) {
  hook_counts *c = (hook_counts *)user;
  (void)worker;
  count(&c->starts, c);
  *slot = c;
  return 0;
}

void count_exit(void *user, const void *worker, void *slot) {
  hook_counts *c = (hook_counts *)slot;
  (void)worker;
  if (slot == user) count(&c->exits, c);
}

int32_t count_before(void *user, const void *worker, void *slot) {
  hook_counts *c = (hook_counts *)slot;
  (void)worker;
  if (slot == user) count(&c->befores, c);
  return 0;
}

void count_after(void *user, const void *worker, void *slot) {
  hook_counts *c = (hook_counts *)slot;
  (void)worker;
  if (slot == user) count(&c->afters, c);
}

int32_t fail_to_start(void *user, const void *worker, void **slot) {
  (void)user;
  (void)worker;
  (void)slot;
  return 77;
}

/* The hooks of a runtime that is not Python, for register_hook: they count, and never touch Python. */
#include <stdint.h>

static int started, ended, before, after;

int32_t count_start(void *user, const void *worker, void **slot) {
  (void)worker;
  *slot = user;
  __atomic_fetch_add(&started, 1, __ATOMIC_SEQ_CST);
  return 0;
}

void count_exit(void *user, const void *worker, void *slot) {
  (void)worker;
  __atomic_fetch_add(&ended, slot == user, __ATOMIC_SEQ_CST);
}

int32_t count_before(void *user, const void *worker, void *slot) {
  (void)worker;
  __atomic_fetch_add(&before, slot == user, __ATOMIC_SEQ_CST);
  return 0;
}

void count_after(void *user, const void *worker, void *slot) {
  (void)worker;
  __atomic_fetch_add(&after, slot == user, __ATOMIC_SEQ_CST);
}

void counted(int out[4]) {
  out[0] = __atomic_load_n(&started, __ATOMIC_SEQ_CST);
  out[1] = __atomic_load_n(&ended, __ATOMIC_SEQ_CST);
  out[2] = __atomic_load_n(&before, __ATOMIC_SEQ_CST);
  out[3] = __atomic_load_n(&after, __ATOMIC_SEQ_CST);
}

/* python_locks_greenlet: greenlets on one thread as tasks of their own, entered at each switch (python/locks_greenlet.py): two own
 * different locks and cannot touch each other's, a ring between them or with a C thread is refused where it would have hung, and
 * one that dies with a lock in hand breaks it for its fellows and for C threads. */
#include "python_locks.h"

static void two_on_one_thread(void) { PY_RUN("two_on_one_thread()"); }
static void closed_by_a_blocking_call(void) { PY_RUN("closed_by_a_blocking_call()"); }
static void closed_by_a_completion(void) { PY_RUN("closed_by_a_completion()"); }
static void killed_while_waiting(void) { PY_RUN("killed_while_waiting()"); }

/* ---- a ring through a C thread ---- */

typedef struct ring {
  selv_lock *left, *right;
  check_tally has_right;
  pid_t thread;
} ring;

static void *right_then_left(void *arg) {
  ring *r = (ring *)arg;
  selv_task t = task_named("c thread");
  CHECK_OK(selv_lock_acquire(r->right, t, SELV_FOREVER));
  check_tally_add(&r->has_right, 1);
  check_is_here(&r->thread);
  CHECK_OK(selv_lock_acquire(r->left, t, SELV_FOREVER));
  CHECK_OK(selv_lock_release(r->left, t));
  CHECK_OK(selv_lock_release(r->right, t));
  CHECK_OK(selv_task_exit(t, NULL));
  return NULL;
}

static void ring_with_a_thread(void) {
  pthread_t thread;
  ring r;
  r.left = lock_named("left lock", 0);
  r.right = lock_named("right lock", 0);
  check_tally_init(&r.has_right);
  r.thread = 0;
  py_give("left", r.left);
  py_give("right", r.right);
  PY_RUN("green = ring_with_a_thread(left, right)");
  CHECK(pthread_create(&thread, NULL, right_then_left, &r) == 0);
  Py_BEGIN_ALLOW_THREADS
  CHECK_WAIT(&r.has_right, 1);
  UNTIL(lock_waiting(r.left) == 1 && check_sleeps(&r.thread));
  Py_END_ALLOW_THREADS
  PY_RUN("green.switch()\nhub_run([green])");
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_OK(selv_lock_free(r.left));
  CHECK_OK(selv_lock_free(r.right));
}

/* ---- death ---- */

static void dies_holding(const char *how) {
  selv_lock *l = lock_named("drawer", 0);
  waiter blocking;
  char code[128];
  py_give("drawer", l);
  snprintf(code, sizeof code, "holding = [holds_and('%s', drawer)]\nfellow = waits_for(drawer)", how);
  PY_RUN(code);
  waiter_start(&blocking, waiter_lock, l, 0);
  Py_BEGIN_ALLOW_THREADS
  UNTIL(lock_waiting(l) == 2);
  Py_END_ALLOW_THREADS
  PY_RUN("owner = dies(holding)");
  WAITER_ENDED(&blocking, SELV_E_BROKEN);
  if (strstr(blocking.detail, "drawer") == NULL || strstr(blocking.detail, how) == NULL)
    check_fail(__FILE__, __LINE__, "\"%s\" does not name the lock 'drawer' and its owner '%s'", blocking.detail, how);
  PY_RUN("broken_for_everybody(drawer, owner, fellow)");
  CHECK_EQ_U64(lock_stats(l).breaks, 1);
  CHECK_OK(selv_lock_free(l));
}

static void one_that_returns(void) { dies_holding("returns"); }
static void one_that_raises(void) { dies_holding("raises"); }
static void one_that_is_collected(void) { dies_holding("is collected"); }

/* ---- storm ---- */

#define STORM_LOCKS 8
#define STORM_THREADS 2

static selv_lock *storm_locks[STORM_LOCKS];
static int storm_over;

static void *contend(void *arg) {
  uint64_t i = (uint64_t)(uintptr_t)arg, *turns = (uint64_t *)calloc(1, sizeof *turns);
  CHECK(turns != NULL);
  while (!__atomic_load_n(&storm_over, __ATOMIC_ACQUIRE)) {
    selv_lock *l = storm_locks[i++ % STORM_LOCKS];
    CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
    CHECK_EQ_U64(selv_lock_owner(l), selv_task_current());
    ++*turns;
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  }
  return turns;
}

static void greenlets_and_threads(void) {
  pthread_t threads[STORM_THREADS];
  char code[160];
  uint64_t i;
  PY_RUN("locks = []");
  for (i = 0; i < STORM_LOCKS; i++) {
    storm_locks[i] = lock_named("storm", i % 2 ? SELV_LOCK_STRICT_FIFO : 0);
    py_give("lock", storm_locks[i]);
    PY_RUN("locks.append(lock)");
  }
  for (i = 0; i < STORM_THREADS; i++) CHECK(pthread_create(&threads[i], NULL, contend, (void *)(uintptr_t)(i * 3)) == 0);
  snprintf(code, sizeof code, "print(storm(locks, 40, %llu), 'rings refused')", (unsigned long long)check_scaled(25));
  PY_RUN(code);
  __atomic_store_n(&storm_over, 1, __ATOMIC_RELEASE);
  Py_BEGIN_ALLOW_THREADS
  for (i = 0; i < STORM_THREADS; i++) {
    void *turns = NULL;
    CHECK(pthread_join(threads[i], &turns) == 0);
    CHECK(*(uint64_t *)turns > 0);
    free(turns);
  }
  Py_END_ALLOW_THREADS
  for (i = 0; i < STORM_LOCKS; i++) {
    CHECK_EQ_U64(selv_lock_owner(storm_locks[i]), 0);
    CHECK_EQ_U64(lock_waiting(storm_locks[i]), 0);
    CHECK_EQ_U64(lock_stats(storm_locks[i]).broken, 0);
    CHECK_OK(selv_lock_free(storm_locks[i]));
  }
}

int main(void) {
  if (!py_locks_has_package("greenlet")) {
    puts("no package greenlet for this Python: run tools/setup.sh test");
    return 77;
  }
  py_locks_start("locks_greenlet.py");
  CHECK_RUN(two_on_one_thread);
  CHECK_RUN(closed_by_a_blocking_call);
  CHECK_RUN(closed_by_a_completion);
  CHECK_RUN(ring_with_a_thread);
  CHECK_RUN(one_that_returns);
  CHECK_RUN(one_that_raises);
  CHECK_RUN(one_that_is_collected);
  CHECK_RUN(killed_while_waiting);
  CHECK_RUN(greenlets_and_threads);
  PY_RUN("greenlet.settrace(None)");
  PY_FINALIZE();
  return 0;
}

/* task_enter.c: a thread that runs coroutines says which one it runs: what SELV_TASK_CURRENT means from then on. Entering nests by the
 * previous one that it tells. Locks belong to the coroutine, and deadlocks are found between coroutines of one thread. */
#include "probe.h"
#include "waiters.h"

static void it_nests(void) {
  selv_task own = selv_task_current(), a = task_named("a"), b = task_named("b"), previous = 99, inner = 99;
  CHECK_OK(selv_task_enter(a, &previous));
  CHECK_EQ_U64(previous, 0); /* none was entered */
  CHECK_EQ_U64(selv_task_current(), a);
  CHECK_OK(selv_task_enter(b, &inner));
  CHECK_EQ_U64(inner, a);
  CHECK_EQ_U64(selv_task_current(), b);
  CHECK_OK(selv_task_enter(inner, &inner));
  CHECK_EQ_U64(inner, b);
  CHECK_EQ_U64(selv_task_current(), a);
  CHECK_OK(selv_task_enter(a, &inner)); /* again the same */
  CHECK_EQ_U64(inner, a);
  CHECK_OK(selv_task_enter(previous, NULL));
  CHECK_EQ_U64(selv_task_current(), own);
  CHECK_OK(selv_task_enter(0, &previous)); /* out of nothing into nothing */
  CHECK_EQ_U64(previous, 0);
  CHECK_EQ_U64(selv_task_current(), own);
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

/* SELV_TASK_CURRENT is whoever is entered, in every call that takes a task. */
static void the_entered_one_is_current(void) {
  selv_lock *l = lock_named("l", 0);
  selv_task a = task_named("a"), b = task_named("b");
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_task_enter(a, NULL));
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_EQ_U64(selv_lock_owner(l), a);
  CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_DEADLOCK);
  CHECK_OK(selv_task_enter(b, NULL)); /* another coroutine of the same thread is another owner */
  CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_WOULD_BLOCK);
  CHECK_STATUS(selv_lock_release(l, SELV_TASK_CURRENT), SELV_E_NOT_OWNER);
  CHECK_STATUS(op_probe_lock(&p, l, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(selv_task_enter(a, NULL));
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_EQ_U64(selv_lock_owner(l), b); /* decided when it asked, not when it was granted */
  CHECK_OK(selv_task_enter(b, NULL));
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_task_enter(0, NULL));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

/* The ring is between the coroutines; the thread that runs them both has nothing to do with it. */
static void coroutines_of_one_thread_make_a_ring(void) {
  selv_lock *x = lock_named("x", 0), *y = lock_named("y", 0);
  selv_task a = task_named("first coroutine"), b = task_named("second coroutine");
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_task_enter(a, NULL));
  CHECK_OK(selv_lock_acquire(x, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_task_enter(b, NULL));
  CHECK_OK(selv_lock_acquire(y, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_task_enter(a, NULL));
  CHECK_STATUS(op_probe_lock(&p, y, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(selv_task_enter(b, NULL));
  CHECK_STATUS(selv_lock_acquire(x, SELV_TASK_CURRENT, SELV_FOREVER), SELV_E_DEADLOCK);
  CHECK_LAST_ERROR_HAS("first coroutine");
  CHECK_LAST_ERROR_HAS("second coroutine");
  CHECK_OK(selv_task_enter(0, NULL));
  CHECK_OK(selv_lock_release(y, b));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_lock_release(y, a));
  CHECK_OK(selv_lock_release(x, a));
  CHECK_OK(selv_lock_free(x));
  CHECK_OK(selv_lock_free(y));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

/* A coroutine that ends is left by the switch to the next one, if only afterwards. */
static void the_entered_one_exits(void) {
  selv_lock *l = lock_named("l", 0);
  selv_task own = selv_task_current(), a = task_named("a"), b = task_named("b"), previous = 99;
  CHECK_OK(selv_task_enter(a, NULL));
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_task_exit(a, NULL)); /* by its handle */
  CHECK_STATUS(selv_lock_try_acquire(l, b), SELV_E_BROKEN);
  CHECK_OK(selv_task_enter(b, &previous));
  CHECK_EQ_U64(selv_task_current(), b);
  CHECK_OK(selv_task_exit(SELV_TASK_CURRENT, NULL)); /* or as the current one */
  CHECK_STATUS(selv_lock_try_acquire(l, b), SELV_E_STALE);
  CHECK_OK(selv_task_enter(0, NULL));
  CHECK_EQ_U64(selv_task_current(), own);
  CHECK_STATUS(selv_task_enter(a, NULL), SELV_E_STALE);
  CHECK_EQ_U64(selv_task_current(), own);
  CHECK_OK(selv_lock_free(l));
}

/* ---- in a job ---- */

typedef struct visit {
  selv_task entered, own, seen;
  int leaves;
} visit;

static int32_t enters(void *arg, void **out_value) {
  visit *v = (visit *)arg;
  selv_task previous = 99;
  (void)out_value;
  v->own = selv_task_current();
  if (v->entered != 0) {
    CHECK_OK(selv_task_enter(v->entered, &previous));
    CHECK_EQ_U64(previous, 0);
    v->seen = selv_task_current();
    if (v->leaves) {
      CHECK_OK(selv_task_enter(previous, NULL));
      CHECK_EQ_U64(selv_task_current(), v->own);
    }
  }
  return 0;
}

/* What a job forgets to leave is no other job's. */
static void in_a_job(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_task a = task_named("a"), last = 0;
  selv_outcome outcome;
  visit v;
  int i;
  for (i = 0; i < 4; i++) {
    memset(&v, 0, sizeof v);
    v.entered = i % 2 ? 0 : a;
    v.leaves = i == 2;
    CHECK_OK(selv_cache_run(c, enters, &v, SELV_FOREVER, &outcome));
    CHECK(v.own != a && v.own != last);
    if (v.entered) CHECK_EQ_U64(v.seen, a);
    last = v.own;
  }
  CHECK_EQ_U64(probe_stats(c).started, 1);
  CHECK_OK(selv_task_exit(a, NULL)); /* the jobs' ends did not end it */
  probe_end(c);
}

/* One coroutine runs on this thread and then on that one, with its lock. */
static selv_lock *carried;

static void *goes_on_here(void *arg) {
  selv_task t = *(selv_task *)arg;
  CHECK_OK(selv_task_enter(t, NULL));
  CHECK_EQ_U64(selv_lock_owner(carried), selv_task_current());
  CHECK_OK(selv_lock_release(carried, SELV_TASK_CURRENT));
  CHECK_OK(selv_task_enter(0, NULL));
  return NULL;
}

static void it_moves_between_threads(void) {
  selv_task t = task_named("mover");
  pthread_t thread;
  carried = lock_named("carried", 0);
  CHECK_OK(selv_task_enter(t, NULL));
  CHECK_OK(selv_lock_acquire(carried, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_task_enter(0, NULL));
  CHECK(pthread_create(&thread, NULL, goes_on_here, &t) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(selv_lock_owner(carried), 0);
  CHECK_OK(selv_lock_free(carried));
  CHECK_OK(selv_task_exit(t, NULL));
}

int main(void) {
  CHECK_RUN(it_nests);
  CHECK_RUN(the_entered_one_is_current);
  CHECK_RUN(coroutines_of_one_thread_make_a_ring);
  CHECK_RUN(the_entered_one_exits);
  CHECK_RUN(in_a_job);
  CHECK_RUN(it_moves_between_threads);
  return 0;
}

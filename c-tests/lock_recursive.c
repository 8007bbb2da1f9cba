/* lock_recursive.c: with SELV_LOCK_RECURSIVE acquires by the owner are counted, and the lock is free when as many releases have
 * followed. A condition lets go of all of them for its wait and takes them all back. */
#include "waiters.h"

static void acquires_are_counted(void) {
  selv_lock *l = lock_named("counted", SELV_LOCK_RECURSIVE);
  selv_task a = task_named("a"), b = task_named("b");
  op_probe p;
  int i;
  op_probe_init(&p);
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  CHECK_OK(selv_lock_try_acquire(l, a));
  CHECK_OK(selv_lock_acquire(l, a, 0));
  p.op = 99;
  CHECK_OK(op_probe_lock(&p, l, a)); /* at once: no callback */
  CHECK_EQ_U64(p.op, 0);
  CHECK_EQ_U64(lock_stats(l).depth, 4);
  CHECK_STATUS(selv_lock_try_acquire(l, b), SELV_E_WOULD_BLOCK);
  CHECK_STATUS(selv_lock_release(l, b), SELV_E_NOT_OWNER);
  for (i = 3; i >= 0; i--) {
    CHECK_EQ_U64(selv_lock_owner(l), a);
    CHECK_OK(selv_lock_release(l, a));
    CHECK_EQ_U64(lock_stats(l).depth, (uint64_t)i);
  }
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_STATUS(selv_lock_release(l, a), SELV_E_NOT_OWNER);
  CHECK_OK(selv_lock_try_acquire(l, b));
  CHECK_EQ_U64(lock_stats(l).depth, 1);
  CHECK_OK(selv_lock_release(l, b));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

/* With others in the queue the owner still goes deeper at once: it would wait for itself. */
static void waiters_wait_for_the_last_release(void) {
  selv_lock *l = lock_named("deep", SELV_LOCK_RECURSIVE | SELV_LOCK_STRICT_FIFO);
  selv_task a = task_named("a"), b = task_named("b"), c = task_named("c");
  waiter w;
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  waiter_start(&w, waiter_lock, l, b);
  UNTIL(lock_waiting(l) == 1);
  CHECK_STATUS(op_probe_lock(&p, l, c), SELV_PENDING);
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  CHECK_OK(selv_lock_release(l, a));
  CHECK_EQ_U64(lock_waiting(l), 2);
  CHECK(!waiter_is_done(&w));
  CHECK_OK(selv_lock_release(l, a));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_OK(selv_lock_acquire(l, b, SELV_FOREVER)); /* the new owner counts from 1 */
  CHECK_EQ_U64(lock_stats(l).depth, 2);
  CHECK_OK(selv_lock_release(l, b));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_lock_release(l, b));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_EQ_U64(lock_stats(l).depth, 1);
  CHECK_OK(selv_lock_release(l, c));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
  CHECK_OK(selv_task_exit(c, NULL));
}

#define DEPTH 5

static selv_status waits_deep(waiter *w) {
  selv_lock *l = (selv_lock *)w->other;
  selv_status status;
  int i;
  for (i = 0; i < DEPTH; i++) CHECK_OK(selv_lock_acquire(l, w->task, SELV_FOREVER));
  status = selv_condition_wait((selv_condition *)w->object, w->task, w->timeout_ns, &w->holds_lock);
  CHECK_EQ_U64(w->holds_lock, 1);
  CHECK_EQ_U64(selv_lock_owner(l), w->task);
  CHECK_EQ_U64(lock_stats(l).depth, DEPTH);
  for (i = 0; i < DEPTH; i++) CHECK_OK(selv_lock_release(l, w->task));
  CHECK_STATUS(selv_lock_release(l, w->task), SELV_E_NOT_OWNER);
  return status;
}

static void a_condition_restores_the_depth(void) {
  selv_lock *l = lock_named("deep", SELV_LOCK_RECURSIVE);
  selv_condition *c = condition_on(l, "deep condition");
  selv_task a = task_named("a"), b = task_named("b");
  int how;
  for (how = 0; how < 3; how++) { /* notified, timed out, interrupted */
    waiter w;
    waiter_init(&w, waits_deep, c, b);
    w.other = l;
    if (how == 1) w.timeout_ns = 10 * CHECK_MS;
    waiter_go(&w);
    if (how != 1) UNTIL(condition_waiting(c) == 1);
    if (how == 0) {
      CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER)); /* it was let go of wholly */
      CHECK_EQ_U64(lock_stats(l).depth, 1);
      CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
      CHECK_OK(selv_condition_notify(c, a, 1));
      UNTIL(lock_waiting(l) == 1);
      CHECK_OK(selv_lock_release(l, a));
      CHECK(!waiter_is_done(&w));
      CHECK_OK(selv_lock_release(l, a));
    } else if (how == 2) {
      CHECK_OK(selv_task_interrupt(b));
    }
    WAITER_ENDED(&w, how == 0 ? SELV_OK : how == 1 ? SELV_E_TIMEDOUT : SELV_E_CANCELLED);
    CHECK_EQ_U64(selv_lock_owner(l), 0);
  }
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

static void an_async_condition_restores_the_depth(void) {
  selv_lock *l = lock_named("deep", SELV_LOCK_RECURSIVE);
  selv_condition *c = condition_on(l, "deep condition");
  selv_task a = task_named("a"), b = task_named("b");
  selv_completion completion;
  op_probe p;
  int i;
  op_probe_init(&p);
  completion = op_probe_completion(&p);
  for (i = 0; i < DEPTH; i++) CHECK_OK(selv_lock_acquire(l, b, SELV_FOREVER));
  CHECK_STATUS(selv_condition_wait_async(c, b, &completion, &p.op), SELV_PENDING);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  CHECK_OK(selv_condition_notify_all(c, a));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_lock_release(l, a));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_EQ_U64(p.last.holds_lock, 1);
  CHECK_EQ_U64(selv_lock_owner(l), b);
  CHECK_EQ_U64(lock_stats(l).depth, DEPTH);
  for (i = 0; i < DEPTH; i++) CHECK_OK(selv_lock_release(l, b));
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

/* Many threads, each going deep and out again by chance: the counter that the lock protects is exact. */
static selv_lock *shared;
static uint64_t shared_counter, shared_rounds;

static void down(selv_task t, int depth) {
  CHECK_OK(selv_lock_acquire(shared, t, SELV_FOREVER));
  shared_counter++;
  if (depth > 1) down(t, depth - 1);
  CHECK_OK(selv_lock_release(shared, t));
}

static void *goes_down(void *arg) {
  selv_task t = selv_task_current();
  uint64_t i;
  (void)arg;
  for (i = 0; i < shared_rounds; i++) down(t, (int)(i % 7) + 1);
  return NULL;
}

static void depth_is_each_task_s_own(void) {
  pthread_t thread[4];
  uint64_t i, wanted = 0;
  shared = lock_named("shared", SELV_LOCK_RECURSIVE);
  shared_rounds = check_scaled(2000);
  for (i = 0; i < shared_rounds; i++) wanted += i % 7 + 1;
  for (i = 0; i < 4; i++) CHECK(pthread_create(&thread[i], NULL, goes_down, NULL) == 0);
  for (i = 0; i < 4; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  CHECK_EQ_U64(shared_counter, 4 * wanted);
  CHECK_EQ_U64(selv_lock_owner(shared), 0);
  CHECK_OK(selv_lock_free(shared));
}

int main(void) {
  CHECK_RUN(acquires_are_counted);
  CHECK_RUN(waiters_wait_for_the_last_release);
  CHECK_RUN(a_condition_restores_the_depth);
  CHECK_RUN(an_async_condition_restores_the_depth);
  CHECK_RUN(depth_is_each_task_s_own);
  return 0;
}

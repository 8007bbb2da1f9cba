/* lock_close.c: closing a lock sends its waiters away with SELV_E_CLOSED, and whoever comes later; its owner may still let go.
 * Freeing is refused while anybody holds the lock, waits for it, or has a condition on it. */
#include "waiters.h"

static void is_closed_for(selv_lock *l, selv_task t) {
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_lock_try_acquire(l, t), SELV_E_CLOSED);
  CHECK_STATUS(selv_lock_acquire(l, t, 0), SELV_E_CLOSED);
  CHECK_STATUS(selv_lock_acquire(l, t, CHECK_MS), SELV_E_CLOSED);
  CHECK_STATUS(selv_lock_acquire(l, t, SELV_FOREVER), SELV_E_CLOSED);
  CHECK_LAST_ERROR_HAS("shop");
  p.op = 99;
  CHECK_STATUS(op_probe_lock(&p, l, t), SELV_E_CLOSED);
  CHECK_EQ_U64(p.op, 0);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_EQ_U64(lock_stats(l).closed, 1);
}

static void with_waiters(void) {
  selv_lock *l = lock_named("shop", 0);
  selv_task owner = task_named("owner"), later = task_named("later"), task[4];
  waiter w[2];
  op_probe p[2];
  int i;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (i = 0; i < 2; i++) {
    task[i] = task_named("blocking");
    waiter_init(&w[i], waiter_lock, l, task[i]);
    if (i) w[i].timeout_ns = 3600 * UINT64_C(1000000000);
    waiter_go(&w[i]);
    task[2 + i] = task_named("asynchronous");
    op_probe_init(&p[i]);
    CHECK_STATUS(op_probe_lock(&p[i], l, task[2 + i]), SELV_PENDING);
  }
  UNTIL(lock_waiting(l) == 4);
  CHECK_STATUS(selv_lock_free(l), SELV_E_BUSY);
  CHECK_EQ_U64(lock_waiting(l), 4); /* a refused free changes nothing */
  CHECK_OK(selv_lock_close(l));
  for (i = 0; i < 2; i++) {
    OP_GOT(&p[i], 1, SELV_E_CLOSED);
    CHECK(strstr(p[i].detail, "shop") != NULL);
    CHECK(pthread_equal(p[i].on, pthread_self()));
    WAITER_ENDED(&w[i], SELV_E_CLOSED);
    CHECK(strstr(w[i].detail, "shop") != NULL);
  }
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_EQ_U64(selv_lock_owner(l), owner);
  is_closed_for(l, later);
  CHECK_OK(selv_lock_close(l)); /* again */
  CHECK_STATUS(selv_lock_release(l, later), SELV_E_NOT_OWNER);
  CHECK_STATUS(selv_lock_free(l), SELV_E_BUSY);
  CHECK_LAST_ERROR_HAS("shop");
  CHECK_OK(selv_lock_release(l, owner));
  is_closed_for(l, later);
  is_closed_for(l, owner);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(later, NULL));
  for (i = 0; i < 4; i++) CHECK_OK(selv_task_exit(task[i], NULL));
}

static void when_nobody_has_it(void) {
  selv_lock *l = lock_named("shop", SELV_LOCK_STRICT_FIFO);
  CHECK_OK(selv_lock_close(l));
  is_closed_for(l, SELV_TASK_CURRENT);
  CHECK_OK(selv_lock_free(l));
}

/* The owner of a closed lock exits: nothing is left to wait for, and the lock can be freed. */
static void with_an_owner_that_exits(void) {
  selv_lock *l = lock_named("shop", 0);
  selv_task owner = task_named("owner"), later = task_named("later");
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_lock_close(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK(selv_lock_acquire(l, later, SELV_FOREVER) < 0); /* closed or broken, but never a wait */
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(later, NULL));
}

/* Waiters of a condition on a closed lock can never have the lock again, and nobody could ever notify them. */
static void with_waiters_on_a_condition(void) {
  selv_lock *l = lock_named("shop", 0);
  selv_condition *c = condition_on(l, "bell");
  selv_task task = task_named("customer"), other = task_named("asynchronous");
  selv_completion completion;
  waiter w;
  op_probe p;
  op_probe_init(&p);
  completion = op_probe_completion(&p);
  waiter_init(&w, waiter_condition, c, task);
  w.other = l;
  waiter_go(&w);
  UNTIL(condition_waiting(c) == 1);
  CHECK_OK(selv_lock_acquire(l, other, SELV_FOREVER));
  CHECK_STATUS(selv_condition_wait_async(c, other, &completion, &p.op), SELV_PENDING);
  UNTIL(condition_waiting(c) == 2);
  CHECK_OK(selv_lock_close(l));
  WAITER_ENDED(&w, SELV_E_CLOSED);
  CHECK_EQ_U64(w.holds_lock, 0);
  OP_GOT(&p, 1, SELV_E_CLOSED);
  CHECK_EQ_U64(p.last.holds_lock, 0);
  CHECK_STATUS(selv_lock_free(l), SELV_E_BUSY); /* there is a condition on it */
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(task, NULL));
  CHECK_OK(selv_task_exit(other, NULL));
}

static void free_is_refused_while_in_use(void) {
  selv_lock *l = lock_named("shop", 0);
  selv_condition *c;
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_STATUS(selv_lock_free(l), SELV_E_BUSY);
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  c = condition_on(l, "bell");
  CHECK_STATUS(selv_lock_free(l), SELV_E_BUSY);
  CHECK_LAST_ERROR_HAS("condition"); /* what uses it */
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, 0)); /* and it works on */
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_lock_free(NULL));
  CHECK_STATUS(selv_lock_close(NULL), SELV_E_NULL);
}

/* Close against waiters on their way in: each one gets the lock or CLOSED, and all come back. */
static selv_lock *racing;

static void *races(void *arg) {
  selv_task t = task_named("racer");
  (void)arg;
  for (;;) {
    selv_status s = selv_lock_acquire(racing, t, SELV_FOREVER);
    if (s == SELV_E_CLOSED) break;
    CHECK_OK(s);
    CHECK_OK(selv_lock_release(racing, t));
  }
  CHECK_OK(selv_task_exit(t, NULL));
  return NULL;
}

static void against_waiters_on_their_way(void) {
  uint64_t round;
  for (round = 0; round < check_scaled(200); round++) {
    pthread_t thread[3];
    int i;
    racing = lock_named("racing", round % 2 ? SELV_LOCK_STRICT_FIFO : 0);
    CHECK_OK(selv_lock_acquire(racing, SELV_TASK_CURRENT, SELV_FOREVER));
    for (i = 0; i < 3; i++) CHECK(pthread_create(&thread[i], NULL, races, NULL) == 0);
    UNTIL(lock_waiting(racing) >= round % 4); /* some are in line, some still on their way */
    CHECK_OK(selv_lock_release(racing, SELV_TASK_CURRENT));
    CHECK_OK(selv_lock_close(racing));
    for (i = 0; i < 3; i++) CHECK(pthread_join(thread[i], NULL) == 0);
    CHECK_EQ_U64(selv_lock_owner(racing), 0);
    CHECK_OK(selv_lock_free(racing));
  }
}

int main(void) {
  CHECK_RUN(with_waiters);
  CHECK_RUN(when_nobody_has_it);
  CHECK_RUN(with_an_owner_that_exits);
  CHECK_RUN(with_waiters_on_a_condition);
  CHECK_RUN(free_is_refused_while_in_use);
  CHECK_RUN(against_waiters_on_their_way);
  return 0;
}

/* condition_wait.c: a wait lets go of the lock and has it back when it returns, whether it was notified, its time passed, or it was
 * cancelled: out_holds_lock says so. It takes the lock's owner to wait and to notify. */
#include "waiters.h"

static selv_lock *l;
static selv_condition *c;
static selv_task a, b;

static void begin(void) {
  l = lock_named("guard", 0);
  c = condition_on(l, "bell");
  a = task_named("a");
  b = task_named("b");
}

static void end(void) {
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(condition_waiting(c), 0);
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

static selv_status wait_async(op_probe *p, selv_task task) {
  selv_completion completion = op_probe_completion(p);
  selv_status status;
  op_probe_submitting = p;
  status = selv_condition_wait_async(c, task, &completion, &p->op);
  op_probe_submitting = NULL;
  return status;
}

static void notified(void) {
  waiter w;
  begin();
  waiter_init(&w, waiter_condition, c, b);
  w.other = l;
  waiter_go(&w);
  UNTIL(condition_waiting(c) == 1);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  CHECK_OK(selv_condition_notify(c, a, 1));
  CHECK_EQ_U64(condition_waiting(c), 0);
  CHECK(!waiter_is_done(&w)); /* it waits for the lock now */
  CHECK_EQ_U64(selv_lock_owner(l), a);
  CHECK_OK(selv_lock_release(l, a));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_EQ_U64(w.holds_lock, 1);
  CHECK_EQ_U64(condition_stats(c).notified, 1);
  CHECK_EQ_U64(condition_stats(c).waits, 1);
  end();
}

static void notified_asynchronously(void) {
  op_probe p;
  begin();
  op_probe_init(&p);
  CHECK_OK(selv_lock_acquire(l, b, SELV_FOREVER));
  p.op = 0;
  CHECK_STATUS(wait_async(&p, b), SELV_PENDING);
  CHECK(p.op != 0);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  CHECK_OK(selv_condition_notify(c, a, 1));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_lock_release(l, a));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_EQ_U64(p.last.holds_lock, 1);
  CHECK_EQ_U64(p.last.op, p.op);
  CHECK_EQ_U64(selv_lock_owner(l), b);
  CHECK_OK(selv_lock_release(l, b));
  end();
}

static void not_without_the_lock(void) {
  int32_t holds = 99;
  op_probe p;
  begin();
  op_probe_init(&p);
  p.op = 99;
  CHECK_STATUS(selv_condition_wait(c, a, SELV_FOREVER, &holds), SELV_E_NOT_OWNER); /* nobody has it */
  CHECK_EQ_U64(holds, 0);
  CHECK_STATUS(selv_condition_notify(c, a, 1), SELV_E_NOT_OWNER);
  CHECK_LAST_ERROR_HAS("guard");
  CHECK_STATUS(selv_condition_notify_all(c, a), SELV_E_NOT_OWNER);
  CHECK_STATUS(wait_async(&p, a), SELV_E_NOT_OWNER);
  CHECK_EQ_U64(p.op, 0);
  CHECK_OK(selv_lock_acquire(l, b, SELV_FOREVER)); /* another one has it */
  holds = 99;
  CHECK_STATUS(selv_condition_wait(c, a, 0, &holds), SELV_E_NOT_OWNER);
  CHECK_EQ_U64(holds, 0);
  CHECK_STATUS(selv_condition_notify(c, a, 1), SELV_E_NOT_OWNER);
  CHECK_STATUS(selv_condition_notify_all(c, a), SELV_E_NOT_OWNER);
  CHECK_STATUS(wait_async(&p, a), SELV_E_NOT_OWNER);
  CHECK_EQ_U64(selv_lock_owner(l), b);
  CHECK_OK(selv_lock_release(l, b));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  end();
}

static void time_passes(void) {
  static const uint64_t times[] = { 0, 1, CHECK_MS, 20 * CHECK_MS };
  size_t i;
  begin();
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  for (i = 0; i < sizeof times / sizeof *times; i++) {
    int32_t holds = 99;
    uint64_t began = check_now_ns();
    CHECK_STATUS(selv_condition_wait(c, a, times[i], &holds), SELV_E_TIMEDOUT);
    CHECK(check_now_ns() - began >= times[i]);
    CHECK_EQ_U64(holds, 1);
    CHECK_EQ_U64(selv_lock_owner(l), a);
  }
  CHECK_STATUS(selv_condition_wait(c, a, 1, NULL), SELV_E_TIMEDOUT); /* it need not be told */
  CHECK_EQ_U64(selv_lock_owner(l), a);
  CHECK_OK(selv_lock_release(l, a));
  CHECK(condition_stats(c).timeouts >= 2);
  end();
}

/* Late is not the same as without the lock: the wait returns only when it has the lock again. Another one is in line for the
 * lock before the wait begins, and so has it when the time passes. */
static check_tally has_lock, may_wait;

static selv_status waits_when_told(waiter *w) {
  selv_status status;
  CHECK_OK(selv_lock_acquire(l, w->task, SELV_FOREVER));
  check_tally_add(&has_lock, 1);
  CHECK_WAIT(&may_wait, 1);
  status = selv_condition_wait(c, w->task, w->timeout_ns, &w->holds_lock);
  CHECK_EQ_U64(selv_lock_owner(l), w->task);
  CHECK_OK(selv_lock_release(l, w->task));
  return status;
}

static void time_passes_while_another_holds_it(void) {
  waiter w;
  op_probe p;
  begin();
  check_tally_init(&has_lock);
  check_tally_init(&may_wait);
  op_probe_init(&p);
  waiter_init(&w, waits_when_told, c, b);
  w.timeout_ns = 20 * CHECK_MS;
  waiter_go(&w);
  CHECK_WAIT(&has_lock, 1);
  CHECK_STATUS(op_probe_lock(&p, l, a), SELV_PENDING);
  check_tally_add(&may_wait, 1);
  OP_GOT(&p, 1, SELV_OK);
  UNTIL(lock_waiting(l) == 1); /* its time has passed, and it wants the lock */
  CHECK_EQ_U64(condition_waiting(c), 0);
  CHECK(!waiter_is_done(&w));
  CHECK_OK(selv_condition_notify(c, a, 1)); /* too late for it */
  CHECK_OK(selv_lock_release(l, a));
  WAITER_ENDED(&w, SELV_E_TIMEDOUT);
  CHECK_EQ_U64(w.holds_lock, 1);
  CHECK_EQ_U64(condition_stats(c).timeouts, 1);
  CHECK_EQ_U64(condition_stats(c).notified, 0);
  end();
}

static void interrupted(void) {
  int held;
  for (held = 0; held < 2; held++) { /* with the lock free, and with another one inside */
    waiter w;
    begin();
    waiter_init(&w, waiter_condition, c, b);
    w.other = l;
    waiter_go(&w);
    UNTIL(condition_waiting(c) == 1);
    if (held) CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
    CHECK_OK(selv_task_interrupt(b));
    if (held) {
      UNTIL(lock_waiting(l) == 1);
      CHECK(!waiter_is_done(&w));
      CHECK_OK(selv_lock_release(l, a));
    }
    WAITER_ENDED(&w, SELV_E_CANCELLED);
    CHECK_EQ_U64(w.holds_lock, 1);
    CHECK_EQ_U64(condition_stats(c).cancelled, 1);
    end();
  }
}

static void cancelled(void) {
  int held;
  for (held = 0; held < 2; held++) {
    op_probe p;
    begin();
    op_probe_init(&p);
    CHECK_OK(selv_lock_acquire(l, b, SELV_FOREVER));
    CHECK_STATUS(wait_async(&p, b), SELV_PENDING);
    if (held) CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
    CHECK_OK(selv_op_cancel(p.op));
    if (held) { /* the callback comes with the lock, not before */
      CHECK_EQ_U64(check_tally_get(&p.called), 0);
      CHECK_STATUS(selv_op_cancel(p.op), SELV_E_TOO_LATE);
      CHECK_OK(selv_lock_release(l, a));
    }
    OP_GOT(&p, 1, SELV_E_CANCELLED);
    CHECK_EQ_U64(p.last.holds_lock, 1);
    CHECK_EQ_U64(selv_lock_owner(l), b);
    CHECK_OK(selv_lock_release(l, b));
    CHECK_STATUS(selv_op_cancel(p.op), SELV_E_TOO_LATE);
    OP_GOT(&p, 1, SELV_E_CANCELLED);
    end();
  }
}

/* The notify came first: it is not undone, or it would be lost for whoever else waits. */
static void cancelled_after_the_notify(void) {
  op_probe p;
  begin();
  op_probe_init(&p);
  CHECK_OK(selv_lock_acquire(l, b, SELV_FOREVER));
  CHECK_STATUS(wait_async(&p, b), SELV_PENDING);
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  CHECK_OK(selv_condition_notify(c, a, 1));
  CHECK_STATUS(selv_op_cancel(p.op), SELV_E_TOO_LATE);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_lock_release(l, a));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_EQ_U64(p.last.holds_lock, 1);
  CHECK_OK(selv_lock_release(l, b));
  end();
}

/* Abandoned, it wants nothing any more, the lock included. */
static void abandoned(void) {
  int state;
  for (state = 0; state < 2; state++) { /* waiting, and notified */
    op_probe p;
    begin();
    op_probe_init(&p);
    CHECK_OK(selv_lock_acquire(l, b, SELV_FOREVER));
    CHECK_STATUS(wait_async(&p, b), SELV_PENDING);
    CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
    if (state == 1) CHECK_OK(selv_condition_notify(c, a, 1));
    CHECK_OK(selv_op_abandon(p.op));
    CHECK_EQ_U64(condition_waiting(c), 0);
    CHECK_EQ_U64(lock_waiting(l), 0);
    CHECK_OK(selv_condition_notify_all(c, a));
    CHECK_OK(selv_lock_release(l, a));
    CHECK_EQ_U64(selv_lock_owner(l), 0);
    CHECK_STATUS(selv_op_cancel(p.op), SELV_E_TOO_LATE);
    CHECK_EQ_U64(check_tally_get(&p.called), 0);
    end();
  }
}

/* The waiting task ends: it gets no lock any more, and breaks none. */
static void its_task_exits(void) {
  int notified_first;
  for (notified_first = 0; notified_first < 2; notified_first++) {
    selv_task_report report = SELV_TASK_REPORT_INIT;
    op_probe p;
    begin();
    op_probe_init(&p);
    CHECK_OK(selv_lock_acquire(l, b, SELV_FOREVER));
    CHECK_STATUS(wait_async(&p, b), SELV_PENDING);
    CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
    if (notified_first) CHECK_OK(selv_condition_notify(c, a, 1));
    CHECK_OK(selv_task_exit(b, &report));
    CHECK_EQ_U64(report.waits_cancelled, 1);
    CHECK_EQ_U64(report.locks_broken, 0);
    OP_GOT(&p, 1, SELV_E_CANCELLED);
    CHECK_EQ_U64(p.last.holds_lock, 0);
    CHECK_EQ_U64(lock_waiting(l), 0);
    CHECK_OK(selv_lock_release(l, a));
    CHECK_EQ_U64(lock_stats(l).broken, 0);
    b = task_named("b");
    end();
  }
}

/* The usual use: a bounded number of items go from makers to takers, and none is lost or doubled. */
#define SIDES 3
static uint64_t stock, made, taken, each_makes;
static selv_condition *not_full, *not_empty;

static void *makes(void *arg) {
  uint64_t i;
  (void)arg;
  for (i = 0; i < each_makes; i++) {
    CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
    while (stock == 4) CHECK_OK(selv_condition_wait(not_full, SELV_TASK_CURRENT, SELV_FOREVER, NULL));
    stock++;
    made++;
    CHECK_OK(selv_condition_notify(not_empty, SELV_TASK_CURRENT, 1));
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  }
  return NULL;
}

static void *takes(void *arg) {
  uint64_t i;
  (void)arg;
  for (i = 0; i < each_makes; i++) {
    CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
    while (stock == 0) {
      int32_t holds = 99;
      selv_status s = selv_condition_wait(not_empty, SELV_TASK_CURRENT, i % 3 ? SELV_FOREVER : CHECK_MS / 20, &holds);
      CHECK(s == SELV_OK || (s == SELV_E_TIMEDOUT && i % 3 == 0));
      CHECK_EQ_U64(holds, 1);
    }
    stock--;
    taken++;
    CHECK_OK(selv_condition_notify(not_full, SELV_TASK_CURRENT, 1));
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  }
  return NULL;
}

static void makers_and_takers(void) {
  pthread_t thread[2 * SIDES];
  int i;
  l = lock_named("store", 0);
  not_full = condition_on(l, "not full");
  not_empty = condition_on(l, "not empty");
  each_makes = check_scaled(1000);
  for (i = 0; i < 2 * SIDES; i++) CHECK(pthread_create(&thread[i], NULL, i % 2 ? makes : takes, NULL) == 0);
  for (i = 0; i < 2 * SIDES; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  CHECK_EQ_U64(made, SIDES * each_makes);
  CHECK_EQ_U64(taken, made);
  CHECK_EQ_U64(stock, 0);
  CHECK_OK(selv_condition_free(not_full));
  CHECK_OK(selv_condition_free(not_empty));
  CHECK_OK(selv_lock_free(l));
}

int main(void) {
  CHECK_RUN(notified);
  CHECK_RUN(notified_asynchronously);
  CHECK_RUN(not_without_the_lock);
  CHECK_RUN(time_passes);
  CHECK_RUN(time_passes_while_another_holds_it);
  CHECK_RUN(interrupted);
  CHECK_RUN(cancelled);
  CHECK_RUN(cancelled_after_the_notify);
  CHECK_RUN(abandoned);
  CHECK_RUN(its_task_exits);
  CHECK_RUN(makers_and_takers);
  return 0;
}

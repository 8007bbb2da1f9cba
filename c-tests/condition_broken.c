/* condition_broken.c: when the lock breaks, the waiters of its conditions are told, too, whether they were notified or not, and do not
 * hold it. In Trio they sleep for ever. A robust lock has not broken: its conditions go on. */
#include "waiters.h"

static selv_lock *l;
static selv_condition *c;
static selv_task owner, task[4];
static waiter w[2];
static op_probe p[2];

static void wait_async(op_probe *probe, selv_task t) {
  selv_completion completion;
  op_probe_init(probe);
  completion = op_probe_completion(probe);
  CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER));
  CHECK_STATUS(selv_condition_wait_async(c, t, &completion, &probe->op), SELV_PENDING);
}

static void begin_with_nobody(uint32_t flags) {
  int i;
  l = lock_named("guard", flags);
  c = condition_on(l, "bell");
  owner = task_named("doomed");
  for (i = 0; i < 4; i++) task[i] = task_named("waiter");
}

/* Two threads and two operations wait, in turns; the first thread with a time limit that never comes. */
static void begin(uint32_t flags) {
  int i;
  begin_with_nobody(flags);
  for (i = 0; i < 2; i++) {
    waiter_init(&w[i], waiter_condition, c, task[2 * i]);
    w[i].other = l;
    if (i == 0) w[i].timeout_ns = 3600 * UINT64_C(1000000000);
    waiter_go(&w[i]);
    UNTIL(condition_waiting(c) == 2 * (uint64_t)i + 1);
    wait_async(&p[i], task[2 * i + 1]);
    CHECK_EQ_U64(condition_waiting(c), 2 * (uint64_t)i + 2);
  }
}

static void all_get(selv_status wanted, const char *name) {
  int i;
  for (i = 0; i < 2; i++) {
    WAITER_ENDED(&w[i], wanted);
    CHECK_EQ_U64(w[i].holds_lock, 0);
    CHECK(strstr(w[i].detail, "guard") != NULL && strstr(w[i].detail, name) != NULL);
    OP_GOT(&p[i], 1, wanted);
    CHECK_EQ_U64(p[i].last.holds_lock, 0);
    CHECK(strstr(p[i].detail, "guard") != NULL && strstr(p[i].detail, name) != NULL);
  }
  CHECK_EQ_U64(condition_waiting(c), 0);
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
}

static void end(void) {
  int i;
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
  for (i = 0; i < 4; i++) CHECK_OK(selv_task_exit(task[i], NULL));
}

/* The condition works as before once the lock is repaired. */
static void works_after_repair(void) {
  waiter again;
  CHECK_OK(selv_lock_repair(l, task[1]));
  CHECK_OK(selv_lock_release(l, task[1]));
  waiter_init(&again, waiter_condition, c, task[0]);
  again.other = l;
  waiter_go(&again);
  UNTIL(condition_waiting(c) == 1);
  CHECK_OK(selv_lock_acquire(l, task[1], SELV_FOREVER));
  CHECK_OK(selv_condition_notify(c, task[1], 1));
  CHECK_OK(selv_lock_release(l, task[1]));
  WAITER_ENDED(&again, SELV_OK);
  CHECK_EQ_U64(again.holds_lock, 1);
}

/* Nobody queues for the lock itself when its owner exits: those on the condition must be thought of all the same. */
static void nobody_was_notified(void) {
  int32_t holds = 99;
  begin(0);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_OK(selv_task_exit(owner, NULL));
  all_get(SELV_E_BROKEN, "doomed");
  CHECK(selv_condition_wait(c, task[0], SELV_FOREVER, &holds) < 0); /* nobody can hold the lock, so nobody can wait */
  CHECK_EQ_U64(holds, 0);
  CHECK(selv_condition_notify_all(c, task[0]) < 0);
  works_after_repair();
  end();
}

static void two_were_notified(void) {
  begin(SELV_LOCK_STRICT_FIFO);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_condition_notify(c, owner, 2));
  CHECK_EQ_U64(lock_waiting(l), 2);
  CHECK_EQ_U64(condition_waiting(c), 2);
  CHECK_OK(selv_task_exit(owner, NULL));
  all_get(SELV_E_BROKEN, "doomed");
  works_after_repair();
  end();
}

/* The lock is on its way to a first waiter, and breaks with that one as its owner. */
static void a_waiter_breaks_it_itself(void) {
  begin(SELV_LOCK_STRICT_FIFO);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_lock_release(l, owner));
  CHECK_OK(selv_task_exit(owner, NULL));
  owner = task_named("next owner");
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_task_exit(owner, NULL));
  all_get(SELV_E_BROKEN, "next owner");
  end();
}

/* A waiter whose time passes, or who is cancelled, after the break cannot have the lock back, and is told why. */
static void late_and_broken(void) {
  selv_status s;
  begin(0);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_op_cancel(p[0].op)); /* wants the lock now */
  CHECK_EQ_U64(lock_waiting(l), 1);
  CHECK_OK(selv_task_exit(owner, NULL));
  all_get(SELV_E_BROKEN, "doomed");
  s = selv_op_cancel(p[1].op);
  CHECK_STATUS(s, SELV_E_TOO_LATE);
  end();
}

/* ---- robust: handed on, not broken ---- */

static void a_robust_lock_is_handed_on(void) {
  int i;
  begin(SELV_LOCK_ROBUST | SELV_LOCK_STRICT_FIFO);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_task_exit(owner, NULL));
  owner = task_named("heir");
  CHECK_STATUS(selv_lock_acquire(l, owner, SELV_FOREVER), SELV_OWNER_DIED);
  CHECK_EQ_U64(condition_waiting(c), 4); /* they still wait for what they were promised */
  CHECK_OK(selv_lock_make_consistent(l, owner));
  CHECK_OK(selv_condition_notify(c, owner, 1));
  CHECK_OK(selv_lock_release(l, owner));
  WAITER_ENDED(&w[0], SELV_OK);
  CHECK_EQ_U64(w[0].holds_lock, 1);
  /* Notified by an owner that dies: the first of them inherits. */
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_condition_notify(c, owner, 1));
  CHECK_OK(selv_task_exit(owner, NULL));
  OP_GOT(&p[0], 1, SELV_OWNER_DIED);
  CHECK_EQ_U64(p[0].last.holds_lock, 1);
  CHECK_OK(selv_lock_make_consistent(l, task[1]));
  CHECK_OK(selv_condition_notify_all(c, task[1]));
  CHECK_OK(selv_lock_release(l, task[1]));
  WAITER_ENDED(&w[1], SELV_OK);
  OP_GOT(&p[1], 1, SELV_OK);
  CHECK_OK(selv_lock_release(l, task[3]));
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
  for (i = 0; i < 4; i++) CHECK_OK(selv_task_exit(task[i], NULL));
}

/* Who gets the lock of a dead owner must be told of it, whatever else there is to tell; it would let go of the lock as if all were well,
 * and that would be the end of it. */
static selv_status waits_and_mends(waiter *one) {
  selv_status status;
  CHECK_OK(selv_lock_acquire(l, one->task, SELV_FOREVER));
  status = selv_condition_wait(c, one->task, one->timeout_ns, &one->holds_lock);
  CHECK_EQ_U64(one->holds_lock, 1);
  if (status == SELV_OWNER_DIED) CHECK_OK(selv_lock_make_consistent(l, one->task));
  CHECK_OK(selv_lock_release(l, one->task));
  return status;
}

static void a_late_heir(void) {
  int how;
  for (how = 0; how < 3; how++) { /* timed out, cancelled, sent back by a close, before the owner dies */
    begin_with_nobody(SELV_LOCK_ROBUST | SELV_LOCK_STRICT_FIFO);
    if (how == 0) { /* the owner is in line before the wait begins, so that it has the lock when the time passes */
      op_probe_init(&p[0]);
      CHECK_OK(selv_lock_acquire(l, task[1], SELV_FOREVER));
      waiter_init(&w[0], waits_and_mends, c, task[0]);
      w[0].timeout_ns = 10 * CHECK_MS;
      waiter_go(&w[0]);
      UNTIL(lock_waiting(l) == 1);
      CHECK_STATUS(op_probe_lock(&p[0], l, owner), SELV_PENDING);
      CHECK_OK(selv_lock_release(l, task[1]));
      OP_GOT(&p[0], 1, SELV_OK);
      UNTIL(lock_waiting(l) == 1);
      CHECK_OK(selv_task_exit(owner, NULL));
      WAITER_ENDED(&w[0], SELV_OWNER_DIED);
    } else {
      wait_async(&p[0], task[0]);
      CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
      if (how == 1) CHECK_OK(selv_op_cancel(p[0].op));
      else CHECK_OK(selv_condition_close(c));
      CHECK_EQ_U64(lock_waiting(l), 1);
      CHECK_OK(selv_task_exit(owner, NULL));
      OP_GOT(&p[0], 1, SELV_OWNER_DIED);
      CHECK_EQ_U64(p[0].last.holds_lock, 1);
      CHECK_OK(selv_lock_make_consistent(l, task[0]));
      CHECK_OK(selv_lock_release(l, task[0]));
    }
    CHECK_OK(selv_lock_acquire(l, task[3], 0)); /* the lock is whole */
    CHECK_OK(selv_lock_release(l, task[3]));
    end();
  }
}

static void a_robust_lock_is_lost(void) {
  begin(SELV_LOCK_ROBUST);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_task_exit(owner, NULL));
  owner = task_named("heir");
  CHECK_STATUS(selv_lock_acquire(l, owner, SELV_FOREVER), SELV_OWNER_DIED);
  CHECK_OK(selv_lock_release(l, owner)); /* inconsistent, for ever */
  all_get(SELV_E_NOT_RECOVERABLE, "");
  CHECK_OK(selv_task_exit(owner, NULL));
  end();
}

int main(void) {
  CHECK_RUN(nobody_was_notified);
  CHECK_RUN(two_were_notified);
  CHECK_RUN(a_waiter_breaks_it_itself);
  CHECK_RUN(late_and_broken);
  CHECK_RUN(a_robust_lock_is_handed_on);
  CHECK_RUN(a_late_heir);
  CHECK_RUN(a_robust_lock_is_lost);
  return 0;
}

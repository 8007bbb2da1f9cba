/* fork_locks.c: a lock in a fork child. Held by another thread at the fork, it is reported SELV_E_FORKED by every way of asking and
 * never waited for; held by the forking thread, it is held there as well; whoever waited for it in the parent is not in line. */
#include "fork_round.h"

static void take(stayer *s) { CHECK_OK(selv_lock_acquire((selv_lock *)s->object, SELV_TASK_CURRENT, SELV_FOREVER)); }
static void give(stayer *s) { CHECK_OK(selv_lock_release((selv_lock *)s->object, SELV_TASK_CURRENT)); }

static void is_forked(selv_lock *l) {
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_FORKED);
  CHECK_LAST_ERROR_HAS("'L'");
  CHECK_STATUS(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER), SELV_E_FORKED);
  CHECK_STATUS(selv_lock_acquire(l, SELV_TASK_CURRENT, 0), SELV_E_FORKED);
  CHECK_STATUS(selv_lock_acquire(l, SELV_TASK_CURRENT, 1000 * CHECK_MS), SELV_E_FORKED);
  CHECK_STATUS(op_probe_lock(&p, l, SELV_TASK_CURRENT), SELV_E_FORKED);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK(selv_lock_release(l, SELV_TASK_CURRENT) < 0);
}

static void held_by_another(uint32_t flags, int contended) {
  selv_lock *l = lock_named("L", flags);
  stayer owner;
  waiter w;
  op_probe p;
  pid_t child;
  op_probe_init(&p);
  stayer_start(&owner, take, give, l);
  if (contended) {
    waiter_init(&w, waiter_lock, l, 0);
    w.then = waiter_unlock;
    waiter_go(&w);
    UNTIL(lock_waiting(l) == 1);
    p.then = op_probe_unlock;
    CHECK_STATUS(op_probe_lock(&p, l, selv_task_current()), SELV_PENDING);
  }
  child = forked();
  if (child == 0) {
    is_forked(l);
    CHECK_EQ_U64(lock_waiting(l), 0);
    CHECK_STATUS(selv_lock_acquire(l, owner.task, SELV_FOREVER), SELV_E_FORKED); /* that thread is not here */
    CHECK_STATUS(selv_lock_release(l, owner.task), SELV_E_FORKED);
    full_round();
    is_forked(l); /* still */
    CHECK_OK(selv_lock_repair(l, SELV_TASK_CURRENT));
    CHECK_EQ_U64(selv_lock_owner(l), selv_task_current());
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
    round_of_lock(l);
    if (contended) CHECK(selv_op_cancel(p.op) < 0);
    CHECK_EQ_U64(check_tally_get(&p.called), 0); /* the parent's to call */
    CHECK_OK(selv_lock_free(l));
    _exit(0);
  }
  REAP(child);
  stayer_end(&owner);
  if (contended) {
    WAITER_ENDED(&w, SELV_OK);
    OP_GOT(&p, 1, SELV_OK);
  }
  round_of_lock(l);
  CHECK_OK(selv_lock_free(l));
}

static void held_by_another_thread(void) { held_by_another(0, 0); }
static void held_by_another_thread_and_waited_for(void) { held_by_another(0, 1); }
static void strict_and_held_by_another(void) { held_by_another(SELV_LOCK_STRICT_FIFO, 1); }
static void robust_and_held_by_another(void) { held_by_another(SELV_LOCK_ROBUST, 1); }
static void recursive_and_held_by_another(void) { held_by_another(SELV_LOCK_RECURSIVE, 1); }

static void held_by_the_forking_thread(uint32_t flags, int contended) {
  selv_lock *l = lock_named("L", flags);
  waiter w, after;
  op_probe p;
  selv_task t = task_named("of the operation");
  pid_t child;
  op_probe_init(&p);
  p.then = op_probe_unlock;
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  if (flags & SELV_LOCK_RECURSIVE) CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  if (contended) {
    waiter_init(&w, waiter_lock, l, 0);
    w.then = waiter_unlock;
    waiter_go(&w);
    UNTIL(lock_waiting(l) == 1);
    CHECK_STATUS(op_probe_lock(&p, l, t), SELV_PENDING);
  }
  child = forked();
  if (child == 0) {
    CHECK_EQ_U64(selv_lock_owner(l), selv_task_current());
    CHECK_EQ_U64(lock_waiting(l), 0);
    if (flags & SELV_LOCK_RECURSIVE)
      CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
    else
      CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_DEADLOCK);
    waiter_init(&after, waiter_lock, l, 0); /* a waiter of the child's own */
    after.then = waiter_unlock;
    waiter_go(&after);
    UNTIL(lock_waiting(l) == 1);
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT)); /* to that one, not to any of the parent's */
    WAITER_ENDED(&after, SELV_OK);
    CHECK_EQ_U64(selv_lock_owner(l), 0);
    CHECK_EQ_U64(check_tally_get(&p.called), 0);
    round_of_lock(l);
    CHECK_OK(selv_lock_free(l));
    _exit(0);
  }
  REAP(child);
  CHECK_EQ_U64(selv_lock_owner(l), selv_task_current()); /* nothing of that happened here */
  if (flags & SELV_LOCK_RECURSIVE) CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  if (contended) {
    WAITER_ENDED(&w, SELV_OK);
    OP_GOT(&p, 1, SELV_OK);
  }
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_OK(selv_lock_free(l));
}

static void held_here(void) { held_by_the_forking_thread(0, 0); }
static void held_here_and_waited_for(void) { held_by_the_forking_thread(0, 1); }
static void held_here_strict(void) { held_by_the_forking_thread(SELV_LOCK_STRICT_FIFO, 1); }
static void held_here_twice(void) { held_by_the_forking_thread(SELV_LOCK_RECURSIVE, 1); }

/* Held by nobody, but once fought for. */
static void held_by_nobody(void) {
  selv_lock *l = lock_named("L", 0);
  pid_t child;
  round_of_lock(l);
  child = forked();
  if (child == 0) {
    round_of_lock(l);
    CHECK_OK(selv_lock_free(l));
    _exit(0);
  }
  REAP(child);
  round_of_lock(l);
  CHECK_OK(selv_lock_free(l));
}

/* A task that the forking thread made is good in the child, with what it holds; it can end there and breaks it, there only. */
static void held_by_a_task_of_the_forking_thread(void) {
  selv_lock *l = lock_named("L", 0);
  selv_task t = task_named("made here");
  pid_t child;
  CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER));
  child = forked();
  if (child == 0) {
    waiter w;
    CHECK_EQ_U64(selv_lock_owner(l), t);
    CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_WOULD_BLOCK);
    waiter_start(&w, waiter_lock, l, 0);
    UNTIL(lock_waiting(l) == 1);
    CHECK_EQ_U64(task_ends(t).report.locks_broken, 1);
    WAITER_ENDED(&w, SELV_E_BROKEN);
    CHECK_OK(selv_lock_repair(l, SELV_TASK_CURRENT));
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
    CHECK_OK(selv_lock_free(l));
    _exit(0);
  }
  REAP(child);
  CHECK_EQ_U64(lock_stats(l).broken, 0);
  CHECK_OK(selv_lock_release(l, t));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(t, NULL));
}

/* A lock that was broken stays so. */
static void broken_before(void) {
  selv_lock *l = lock_named("L", 0);
  selv_task t = task_named("culprit");
  waiter w;
  pid_t child;
  CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER));
  waiter_start(&w, waiter_lock, l, 0);
  UNTIL(lock_waiting(l) == 1);
  CHECK_OK(selv_task_exit(t, NULL));
  WAITER_ENDED(&w, SELV_E_BROKEN);
  child = forked();
  if (child == 0) {
    CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_BROKEN);
    CHECK_LAST_ERROR_HAS("culprit");
    CHECK_OK(selv_lock_repair(l, SELV_TASK_CURRENT));
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
    round_of_lock(l);
    _exit(0);
  }
  REAP(child);
  CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_BROKEN);
  CHECK_OK(selv_lock_free(l));
}

/* A grandchild: what was the child's other thread's is as far away as the parent's. */
static void a_grandchild(void) {
  selv_lock *l = lock_named("L", 0), *of_the_child = lock_named("L", 0);
  stayer owner;
  pid_t child;
  stayer_start(&owner, take, give, l);
  child = forked();
  if (child == 0) {
    stayer second;
    pid_t grandchild;
    stayer_start(&second, take, give, of_the_child);
    grandchild = forked();
    if (grandchild == 0) {
      is_forked(l);
      is_forked(of_the_child);
      full_round();
      _exit(0);
    }
    REAP(grandchild);
    is_forked(l);
    stayer_end(&second);
    round_of_lock(of_the_child);
    _exit(0);
  }
  REAP(child);
  stayer_end(&owner);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_lock_free(of_the_child));
}

/* ---- a condition whose lock is another thread's ---- */

static void a_condition(void) {
  selv_lock *l = lock_named("L", 0);
  selv_condition *c = condition_on(l, "C");
  stayer owner;
  waiter w;
  int32_t holds = 7;
  pid_t child;
  waiter_init(&w, waiter_condition, c, 0);
  w.other = l;
  waiter_go(&w);
  UNTIL(condition_waiting(c) == 1);
  stayer_start(&owner, take, give, l);
  child = forked();
  if (child == 0) {
    CHECK(selv_condition_wait(c, SELV_TASK_CURRENT, SELV_FOREVER, &holds) < 0);
    CHECK_EQ_U64(holds, 0);
    CHECK_OK(selv_lock_repair(l, SELV_TASK_CURRENT));
    CHECK_OK(selv_condition_notify_all(c, SELV_TASK_CURRENT)); /* nobody of the parent's */
    CHECK_EQ_U64(condition_waiting(c), 0);
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
    round_of_condition(c, l);
    _exit(0);
  }
  REAP(child);
  stayer_end(&owner);
  CHECK_EQ_U64(condition_waiting(c), 1);
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_condition_notify(c, SELV_TASK_CURRENT, 1));
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
}

int main(void) {
  CHECK_RUN(held_by_another_thread);
  CHECK_RUN(held_by_another_thread_and_waited_for);
  CHECK_RUN(strict_and_held_by_another);
  CHECK_RUN(robust_and_held_by_another);
  CHECK_RUN(recursive_and_held_by_another);
  CHECK_RUN(held_here);
  CHECK_RUN(held_here_and_waited_for);
  CHECK_RUN(held_here_strict);
  CHECK_RUN(held_here_twice);
  CHECK_RUN(held_by_nobody);
  CHECK_RUN(held_by_a_task_of_the_forking_thread);
  CHECK_RUN(broken_before);
  CHECK_RUN(a_grandchild);
  CHECK_RUN(a_condition);
  return 0;
}

/* lock_basic.c: a lock belongs to a task, whatever thread makes the call: who has it, who may let go of it, what a second
 * acquire by its owner gets, and which handles are no task. */
#include "waiters.h"

static void a_task_takes_it_and_lets_go(void) {
  selv_lock *l = lock_named("plain", 0);
  selv_task a = task_named("a"), b = task_named("b");
  selv_lock_stats s;
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_OK(selv_lock_try_acquire(l, a));
  CHECK_EQ_U64(selv_lock_owner(l), a);
  s = lock_stats(l);
  CHECK_EQ_U64(s.owner, a);
  CHECK_EQ_U64(s.depth, 1);
  CHECK_EQ_U64(s.waiting, 0);
  CHECK_STATUS(selv_lock_try_acquire(l, b), SELV_E_WOULD_BLOCK);
  CHECK_STATUS(selv_lock_acquire(l, b, 0), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(selv_lock_owner(l), a);
  CHECK_OK(selv_lock_release(l, a));
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(lock_stats(l).depth, 0);
  CHECK_OK(selv_lock_acquire(l, b, 0)); /* with no time at all, but there is nothing to wait for */
  CHECK_OK(selv_lock_release(l, b));
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  CHECK_OK(selv_lock_release(l, a));
  s = lock_stats(l);
  CHECK_EQ_U64(s.owner + s.depth + s.waiting + s.broken + s.closed + s.breaks, 0);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

static void defaults_are_enough(void) {
  selv_lock *l = NULL;
  CHECK_OK(selv_lock_new(NULL, &l));
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_EQ_U64(selv_lock_owner(l), selv_task_current());
  CHECK_STATUS(selv_lock_try_acquire(l, selv_task_current()), SELV_E_DEADLOCK); /* the same task by its other name */
  CHECK_OK(selv_lock_release(l, selv_task_current()));
  CHECK_OK(selv_lock_free(l));
}

static void its_owner_cannot_take_it_again(void) {
  selv_lock *l = lock_named("once", 0);
  selv_task a = task_named("greedy");
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  CHECK_STATUS(selv_lock_try_acquire(l, a), SELV_E_DEADLOCK);
  CHECK_LAST_ERROR_HAS("once");
  CHECK_STATUS(selv_lock_acquire(l, a, 0), SELV_E_DEADLOCK);
  CHECK_STATUS(selv_lock_acquire(l, a, 1), SELV_E_DEADLOCK);
  CHECK_STATUS(selv_lock_acquire(l, a, SELV_FOREVER), SELV_E_DEADLOCK);
  CHECK_LAST_ERROR_HAS("greedy");
  p.op = 99;
  CHECK_STATUS(op_probe_lock(&p, l, a), SELV_E_DEADLOCK);
  CHECK_EQ_U64(p.op, 0);
  CHECK_EQ_U64(lock_stats(l).depth, 1); /* none of that counted */
  CHECK_OK(selv_lock_release(l, a));
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
}

static void only_its_owner_lets_go(void) {
  selv_lock *l = lock_named("mine", 0);
  selv_task a = task_named("a"), b = task_named("b");
  CHECK_STATUS(selv_lock_release(l, a), SELV_E_NOT_OWNER); /* nobody has it */
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  CHECK_STATUS(selv_lock_release(l, b), SELV_E_NOT_OWNER);
  CHECK_LAST_ERROR_HAS("mine");
  CHECK_STATUS(selv_lock_release(l, SELV_TASK_CURRENT), SELV_E_NOT_OWNER);
  CHECK_EQ_U64(selv_lock_owner(l), a);
  CHECK_OK(selv_lock_release(l, a));
  CHECK_STATUS(selv_lock_release(l, a), SELV_E_NOT_OWNER); /* twice */
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

/* Taken on one thread, let go of on another: a coroutine moves. */
static void threads_do_not_matter(void) {
  selv_lock *l = lock_named("travelling", 0);
  selv_task a = task_named("a"), b = task_named("b");
  waiter w;
  waiter_start(&w, waiter_lock, l, a);
  WAITER_ENDED(&w, SELV_OK);
  CHECK_EQ_U64(selv_lock_owner(l), a); /* the thread is gone, the task is not */
  waiter_start(&w, waiter_lock, l, b);
  UNTIL(lock_waiting(l) == 1);
  CHECK_OK(selv_lock_release(l, a));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_EQ_U64(selv_lock_owner(l), b);
  CHECK_OK(selv_lock_release(l, b));
  CHECK_EQ_U64(lock_stats(l).waits, 1);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

/* Satisfied at once: no callback, no handle. */
static void an_async_acquire_of_a_free_lock_is_done(void) {
  selv_lock *l = lock_named("free", 0);
  selv_task a = task_named("a"), b = task_named("b");
  op_probe p;
  op_probe_init(&p);
  p.op = 99;
  CHECK_OK(op_probe_lock(&p, l, a));
  CHECK_EQ_U64(p.op, 0);
  CHECK_EQ_U64(selv_lock_owner(l), a);
  CHECK_STATUS(op_probe_lock(&p, l, b), SELV_PENDING);
  CHECK(p.op != 0);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_lock_release(l, a));
  OP_GOT(&p, 1, SELV_OK); /* on the thread that let go */
  CHECK(pthread_equal(p.on, pthread_self()));
  CHECK_EQ_U64(p.last.op, p.op);
  CHECK(p.last.ticket != 0);
  CHECK(p.last.data == NULL && p.last.len == 0);
  CHECK_EQ_U64(selv_lock_owner(l), b);
  CHECK_OK(selv_lock_release(l, b));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

/* out_op may be NULL; the callback comes all the same. */
static void an_op_that_nobody_names(void) {
  selv_lock *l = lock_named("nameless op", 0);
  selv_task a = task_named("a"), b = task_named("b");
  selv_completion completion;
  op_probe p;
  op_probe_init(&p);
  completion = op_probe_completion(&p);
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  CHECK_STATUS(selv_lock_acquire_async(l, b, &completion, NULL), SELV_PENDING);
  CHECK_OK(selv_lock_release(l, a));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_STATUS(selv_op_cancel(p.last.op), SELV_E_TOO_LATE);
  CHECK_OK(selv_lock_release(l, b));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

static void refused(selv_lock *l, selv_task t, selv_status wanted) {
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_lock_try_acquire(l, t), wanted);
  CHECK_STATUS(selv_lock_acquire(l, t, 0), wanted);
  CHECK_STATUS(selv_lock_acquire(l, t, CHECK_MS), wanted);
  CHECK_STATUS(selv_lock_acquire(l, t, SELV_FOREVER), wanted);
  p.op = 99;
  CHECK_STATUS(op_probe_lock(&p, l, t), wanted);
  CHECK_EQ_U64(p.op, 0);
  CHECK_STATUS(selv_lock_release(l, t), wanted);
  CHECK_STATUS(selv_lock_repair(l, t), wanted);
  CHECK_STATUS(selv_lock_make_consistent(l, t), wanted);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
}

static int is_no_task(selv_status s) { return s == SELV_E_INVAL || s == SELV_E_STALE; }

static void what_is_no_task(void) {
  selv_lock *l = lock_named("picky", 0);
  selv_task gone = task_named("gone"), owner = task_named("owner");
  int held;
  CHECK_OK(selv_task_exit(gone, NULL));
  for (held = 0; held < 2; held++) { /* free, and held by somebody */
    if (held) CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
    refused(l, 0, SELV_E_INVAL);
    refused(l, gone, SELV_E_STALE);
    CHECK(is_no_task(selv_lock_try_acquire(l, UINT64_C(0xdeadbeefdeadbeef))));
    CHECK(is_no_task(selv_lock_acquire(l, UINT64_C(0x7fffffffffffffff), SELV_FOREVER)));
    CHECK(is_no_task(selv_lock_acquire(l, SELV_TASK_CURRENT - 1, SELV_FOREVER)));
    CHECK(is_no_task(selv_lock_release(l, UINT64_C(0xffffffff))));
    CHECK_EQ_U64(selv_lock_owner(l), held ? owner : 0);
  }
  CHECK_OK(selv_lock_release(l, owner));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
}

int main(void) {
  CHECK_RUN(a_task_takes_it_and_lets_go);
  CHECK_RUN(defaults_are_enough);
  CHECK_RUN(its_owner_cannot_take_it_again);
  CHECK_RUN(only_its_owner_lets_go);
  CHECK_RUN(threads_do_not_matter);
  CHECK_RUN(an_async_acquire_of_a_free_lock_is_done);
  CHECK_RUN(an_op_that_nobody_names);
  CHECK_RUN(what_is_no_task);
  return 0;
}

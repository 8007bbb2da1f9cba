/* op_states.c: cancel and abandon of an asynchronous operation in each state that it can be in: waiting, granted with its callback
 * not yet begun, in its callback, done, gone, and never made. */
#include "waiters.h"

static selv_lock *l;
static selv_task owner, a, b, c;
static op_probe p, q;

static void begin(uint32_t flags) {
  l = lock_named("desk", flags);
  owner = task_named("owner");
  a = task_named("a");
  b = task_named("b");
  c = task_named("c");
  op_probe_init(&p);
  op_probe_init(&q);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
}

static void end(void) {
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_OK(selv_lock_free(l)); /* nothing is left that would keep it busy */
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
  CHECK_OK(selv_task_exit(c, NULL));
}

static void too_late(selv_op op) {
  CHECK_STATUS(selv_op_cancel(op), SELV_E_TOO_LATE);
  CHECK_STATUS(selv_op_abandon(op), SELV_E_TOO_LATE);
}

/* ---- waiting ---- */

static void cancelled_while_waiting(void) {
  begin(0);
  q.then = op_probe_unlock;
  CHECK_STATUS(op_probe_lock(&p, l, a), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&q, l, b), SELV_PENDING);
  CHECK_OK(selv_op_cancel(p.op));
  CHECK_EQ_U64(check_tally_get(&p.called), 1); /* inside the call */
  OP_GOT(&p, 1, SELV_E_CANCELLED);
  CHECK(pthread_equal(p.on, pthread_self()));
  CHECK_EQ_U64(p.last.op, p.op);
  CHECK(p.detail[0] != '\0');
  CHECK_EQ_U64(lock_waiting(l), 1);
  CHECK_EQ_U64(lock_stats(l).cancelled, 1);
  too_late(p.op);
  CHECK_OK(selv_lock_release(l, owner));
  OP_GOT(&q, 1, SELV_OK); /* the one behind moves up */
  OP_GOT(&p, 1, SELV_E_CANCELLED);
  end();
}

static void abandoned_while_waiting(void) {
  begin(0);
  q.then = op_probe_unlock;
  CHECK_STATUS(op_probe_lock(&p, l, a), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&q, l, b), SELV_PENDING);
  CHECK_OK(selv_op_abandon(p.op));
  CHECK_EQ_U64(lock_waiting(l), 1);
  too_late(p.op);
  CHECK_OK(selv_lock_release(l, owner));
  OP_GOT(&q, 1, SELV_OK);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  end();
}

/* ---- granted, callback not yet begun: what a callback sees of the operation that it has just let in ---- */

static selv_status seen;

static void lets_the_next_in(op_probe *first, const selv_completed *completed) {
  CHECK_OK(completed->status);
  CHECK_OK(selv_lock_release(l, first->task));
  CHECK_EQ_U64(selv_lock_owner(l), q.task); /* granted */
  CHECK_EQ_U64(check_tally_get(&q.called), 0);
}

static void and_cancels_it(op_probe *first, const selv_completed *completed) {
  lets_the_next_in(first, completed);
  seen = selv_op_cancel(q.op);
  CHECK_EQ_U64(selv_lock_owner(l), q.task);
}

static void cancelled_when_granted(void) {
  begin(SELV_LOCK_STRICT_FIFO);
  p.then = and_cancels_it;
  CHECK_STATUS(op_probe_lock(&p, l, a), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&q, l, b), SELV_PENDING);
  CHECK_OK(selv_lock_release(l, owner));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_STATUS(seen, SELV_E_TOO_LATE); /* the grant won */
  OP_GOT(&q, 1, SELV_OK);
  CHECK_EQ_U64(selv_lock_owner(l), b);
  CHECK_OK(selv_lock_release(l, b));
  end();
}

static void and_abandons_it(op_probe *first, const selv_completed *completed) {
  lets_the_next_in(first, completed);
  CHECK_OK(selv_op_abandon(q.op));
  too_late(q.op);
}

static void abandoned_when_granted(void) {
  int kind;
  for (kind = 0; kind < 3; kind++) { /* nobody behind, an operation behind, a thread behind */
    op_probe r;
    waiter w;
    begin(SELV_LOCK_STRICT_FIFO);
    op_probe_init(&r);
    p.then = and_abandons_it;
    CHECK_STATUS(op_probe_lock(&p, l, a), SELV_PENDING);
    CHECK_STATUS(op_probe_lock(&q, l, b), SELV_PENDING);
    if (kind == 1) CHECK_STATUS(op_probe_lock(&r, l, c), SELV_PENDING);
    if (kind == 2) waiter_start(&w, waiter_lock, l, c);
    UNTIL(lock_waiting(l) == (kind ? 3u : 2u));
    CHECK_OK(selv_lock_release(l, owner));
    OP_GOT(&p, 1, SELV_OK);
    CHECK_EQ_U64(check_tally_get(&q.called), 0);
    if (kind == 1) OP_GOT(&r, 1, SELV_OK);
    if (kind == 2) WAITER_ENDED(&w, SELV_OK);
    CHECK_EQ_U64(selv_lock_owner(l), kind ? c : 0); /* passed on, or free again */
    if (kind) CHECK_OK(selv_lock_release(l, c));
    CHECK_EQ_U64(check_tally_get(&q.called), 0);
    end();
  }
}

static selv_task_report passed;

static void and_ends_its_task(op_probe *first, const selv_completed *completed) {
  lets_the_next_in(first, completed);
  memset(&passed, 0, sizeof passed);
  passed.struct_size = sizeof passed;
  CHECK_OK(selv_task_exit(q.task, &passed));
}

/* Its task ends before it could run: the lock is handed on, it does not break. */
static void its_task_exits_when_granted(void) {
  op_probe r;
  begin(SELV_LOCK_STRICT_FIFO);
  op_probe_init(&r);
  p.then = and_ends_its_task;
  CHECK_STATUS(op_probe_lock(&p, l, a), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&q, l, b), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&r, l, c), SELV_PENDING);
  CHECK_OK(selv_lock_release(l, owner));
  CHECK_EQ_U64(passed.grants_passed_on, 1);
  CHECK_EQ_U64(passed.locks_broken, 0);
  OP_GOT(&q, 1, SELV_E_CANCELLED);
  OP_GOT(&r, 1, SELV_OK);
  CHECK_EQ_U64(selv_lock_owner(l), c);
  CHECK_EQ_U64(lock_stats(l).broken, 0);
  CHECK_OK(selv_lock_release(l, c));
  b = task_named("b");
  end();
}

/* ---- in its callback, and after it ---- */

static void tries_itself(op_probe *self, const selv_completed *completed) {
  too_late(completed->op);
  CHECK_OK(completed->status);
  CHECK_OK(selv_lock_release(l, self->task));
  too_late(completed->op);
}

static void in_its_callback_and_after_it(void) {
  begin(0);
  p.then = tries_itself;
  CHECK_STATUS(op_probe_lock(&p, l, a), SELV_PENDING);
  CHECK_OK(selv_lock_release(l, owner));
  OP_GOT(&p, 1, SELV_OK);
  too_late(p.op);
  end();
}

/* A handle is never used again, however many operations come after it. */
static void long_after(void) {
  selv_op first;
  int i;
  begin(0);
  CHECK_STATUS(op_probe_lock(&p, l, a), SELV_PENDING);
  first = p.op;
  CHECK_OK(selv_op_cancel(first));
  for (i = 0; i < 3000; i++) {
    CHECK_STATUS(op_probe_lock(&q, l, b), SELV_PENDING);
    CHECK(q.op != first);
    too_late(first);
    CHECK_OK(i % 2 ? selv_op_cancel(q.op) : selv_op_abandon(q.op));
  }
  OP_GOT(&p, 1, SELV_E_CANCELLED);
  OP_GOT(&q, 1500, SELV_E_CANCELLED);
  CHECK_OK(selv_lock_release(l, owner));
  end();
}

static void never_made(void) {
  static const selv_op none[] = { 0, UINT64_MAX, UINT64_MAX - 1, UINT64_C(0xdeadbeefdeadbeef), UINT64_C(0x7fffffffffffffff) };
  size_t i;
  for (i = 0; i < sizeof none / sizeof *none; i++) {
    CHECK_STATUS(selv_op_cancel(none[i]), SELV_E_INVAL);
    CHECK_STATUS(selv_op_abandon(none[i]), SELV_E_INVAL);
  }
  begin(0);
  CHECK_STATUS(op_probe_lock(&p, l, a), SELV_PENDING); /* also when there are operations */
  for (i = 0; i < sizeof none / sizeof *none; i++) {
    CHECK_STATUS(selv_op_cancel(none[i]), SELV_E_INVAL);
    CHECK_STATUS(selv_op_abandon(none[i]), SELV_E_INVAL);
  }
  CHECK_EQ_U64(lock_waiting(l), 1);
  CHECK_OK(selv_op_cancel(p.op));
  CHECK_OK(selv_lock_release(l, owner));
  end();
}

/* Ten thousand in one queue, cancelled from the front, the back and the middle: each gets its one callback. */
static void a_long_queue(void) {
  uint64_t i, n = 10000;
  selv_op *op = (selv_op *)calloc(n, sizeof *op);
  selv_task *task = (selv_task *)calloc(n, sizeof *task);
  CHECK(op != NULL && task != NULL);
  begin(0);
  for (i = 0; i < n; i++) {
    task[i] = task_named(NULL);
    CHECK_STATUS(op_probe_lock(&p, l, task[i]), SELV_PENDING);
    op[i] = p.op;
  }
  CHECK_EQ_U64(lock_waiting(l), n);
  for (i = 0; i < n / 4; i++) { /* every one once */
    CHECK_OK(selv_op_cancel(op[i]));
    CHECK_OK(selv_op_cancel(op[n - 1 - i]));
    CHECK_OK(selv_op_cancel(op[n / 4 + (i * 7) % (n / 4)]));
    CHECK_OK(selv_op_cancel(op[n / 2 + (i * 11) % (n / 4)]));
    CHECK_EQ_U64(check_tally_get(&p.called), 4 * (i + 1));
  }
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_EQ_U64(lock_stats(l).cancelled, n);
  CHECK_OK(selv_lock_release(l, owner));
  for (i = 0; i < n; i++) CHECK_OK(selv_task_exit(task[i], NULL));
  free(op);
  free(task);
  end();
}

int main(void) {
  CHECK_RUN(cancelled_while_waiting);
  CHECK_RUN(abandoned_while_waiting);
  CHECK_RUN(cancelled_when_granted);
  CHECK_RUN(abandoned_when_granted);
  CHECK_RUN(its_task_exits_when_granted);
  CHECK_RUN(in_its_callback_and_after_it);
  CHECK_RUN(long_after);
  CHECK_RUN(never_made);
  CHECK_RUN(a_long_queue);
  return 0;
}

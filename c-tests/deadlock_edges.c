/* deadlock_edges.c: what counts as waiting for somebody and what does not: a wait with a time limit, with and without
 * SELV_LOCK_TIMED_EDGES; a limiter with a token to spare; a task that waits for two things; a lock that was granted but not yet taken
 * up; a wait that was given up. */
#include "waiters.h"

#define LONG (3600 * UINT64_C(1000000000))

static selv_lock *l[3];
static selv_task a, b, c;

static void begin(uint32_t flags) {
  int i;
  for (i = 0; i < 3; i++) {
    char name[16];
    snprintf(name, sizeof name, "lock %d", i);
    l[i] = lock_named(name, flags);
  }
  a = task_named("a");
  b = task_named("b");
  c = task_named("c");
}

static void end(void) {
  int i;
  for (i = 0; i < 3; i++) {
    CHECK_EQ_U64(selv_lock_owner(l[i]), 0);
    CHECK_EQ_U64(lock_waiting(l[i]), 0);
    CHECK_OK(selv_lock_free(l[i]));
  }
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
  CHECK_OK(selv_task_exit(c, NULL));
}

/* a holds 0 and waits for 1 with a time limit; b holds 1 and wants 0: a will come back by itself. */
static void a_timed_wait_is_no_edge(void) {
  waiter w, x;
  begin(0);
  CHECK_OK(selv_lock_acquire(l[0], a, SELV_FOREVER));
  CHECK_OK(selv_lock_acquire(l[1], b, SELV_FOREVER));
  waiter_init(&w, waiter_lock, l[1], a);
  w.timeout_ns = 50 * CHECK_MS;
  waiter_go(&w);
  UNTIL(lock_stats(l[1]).waits == 1);
  waiter_start(&x, waiter_lock, l[0], b);
  WAITER_ENDED(&w, SELV_E_TIMEDOUT);
  CHECK_OK(selv_lock_release(l[0], a));
  WAITER_ENDED(&x, SELV_OK);
  CHECK_OK(selv_lock_release(l[0], b));
  CHECK_OK(selv_lock_release(l[1], b));
  CHECK_EQ_U64(lock_stats(l[0]).deadlocks + lock_stats(l[1]).deadlocks, 0);
  end();
}

/* The same with the last call timed: it comes back by itself, too. */
static void a_timed_call_closes_nothing(void) {
  waiter w;
  begin(0);
  CHECK_OK(selv_lock_acquire(l[0], a, SELV_FOREVER));
  CHECK_OK(selv_lock_acquire(l[1], b, SELV_FOREVER));
  waiter_start(&w, waiter_lock, l[1], a);
  UNTIL(lock_waiting(l[1]) == 1 && waiter_sleeps(&w));
  CHECK_STATUS(selv_lock_acquire(l[0], b, 5 * CHECK_MS), SELV_E_TIMEDOUT);
  CHECK_STATUS(selv_lock_acquire(l[0], b, 0), SELV_E_TIMEDOUT);
  CHECK_STATUS(selv_lock_acquire(l[0], b, SELV_FOREVER), SELV_E_DEADLOCK);
  CHECK_OK(selv_lock_release(l[1], b));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_OK(selv_lock_release(l[1], a));
  CHECK_OK(selv_lock_release(l[0], a));
  end();
}

/* Where the host asked for it, they count: a long limit that nobody wants to sit out. */
static void timed_edges_count(void) {
  waiter w;
  op_probe p;
  begin(SELV_LOCK_TIMED_EDGES);
  op_probe_init(&p);
  CHECK_OK(selv_lock_acquire(l[0], a, SELV_FOREVER));
  CHECK_OK(selv_lock_acquire(l[1], b, SELV_FOREVER));
  waiter_init(&w, waiter_lock, l[1], a);
  w.timeout_ns = LONG;
  waiter_go(&w);
  UNTIL(lock_waiting(l[1]) == 1 && waiter_sleeps(&w));
  CHECK_STATUS(selv_lock_acquire(l[0], b, LONG), SELV_E_DEADLOCK);
  CHECK_RING_HAS("lock 0");
  CHECK_RING_HAS("lock 1");
  CHECK_STATUS(selv_lock_acquire(l[0], b, SELV_FOREVER), SELV_E_DEADLOCK);
  CHECK_STATUS(op_probe_lock(&p, l[0], b), SELV_E_DEADLOCK);
  CHECK_STATUS(selv_lock_acquire(l[0], b, 0), SELV_E_TIMEDOUT); /* does not wait */
  CHECK_OK(selv_lock_release(l[1], b));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_OK(selv_lock_release(l[1], a));
  CHECK_OK(selv_lock_release(l[0], a));
  end();
}

static void what_was_given_up_is_no_edge(void) {
  int how;
  for (how = 0; how < 4; how++) { /* cancelled, abandoned, interrupted, timed out */
    op_probe p;
    waiter w;
    begin(SELV_LOCK_TIMED_EDGES);
    op_probe_init(&p);
    CHECK_OK(selv_lock_acquire(l[0], a, SELV_FOREVER));
    CHECK_OK(selv_lock_acquire(l[1], b, SELV_FOREVER));
    if (how < 2) {
      CHECK_STATUS(op_probe_lock(&p, l[1], a), SELV_PENDING);
      CHECK_STATUS(selv_lock_acquire(l[0], b, SELV_FOREVER), SELV_E_DEADLOCK);
      CHECK_OK(how == 0 ? selv_op_cancel(p.op) : selv_op_abandon(p.op));
    } else {
      waiter_init(&w, waiter_lock, l[1], a);
      if (how == 3) w.timeout_ns = 20 * CHECK_MS;
      waiter_go(&w);
      UNTIL(lock_stats(l[1]).waits == 1);
      if (how == 2) {
        UNTIL(waiter_sleeps(&w));
        CHECK_STATUS(selv_lock_acquire(l[0], b, SELV_FOREVER), SELV_E_DEADLOCK);
        CHECK_OK(selv_task_interrupt(a));
      }
      WAITER_ENDED(&w, how == 2 ? SELV_E_CANCELLED : SELV_E_TIMEDOUT);
    }
    op_probe_init(&p);
    p.then = op_probe_unlock;
    CHECK_STATUS(op_probe_lock(&p, l[0], b), SELV_PENDING);
    CHECK_OK(selv_lock_release(l[0], a));
    OP_GOT(&p, 1, SELV_OK);
    CHECK_OK(selv_lock_release(l[1], b));
    end();
  }
}

/* a waits for two locks at once: it may be free to go on when it gets either, so it is not counted as stuck. */
static void two_waits_are_no_edge(void) {
  op_probe p, q, r;
  begin(0);
  op_probe_init(&p);
  op_probe_init(&q);
  op_probe_init(&r);
  p.then = q.then = op_probe_unlock;
  CHECK_OK(selv_lock_acquire(l[0], a, SELV_FOREVER));
  CHECK_OK(selv_lock_acquire(l[1], b, SELV_FOREVER));
  CHECK_OK(selv_lock_acquire(l[2], c, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&p, l[1], a), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&q, l[2], a), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&r, l[0], b), SELV_PENDING);
  CHECK_OK(selv_op_cancel(r.op));
  CHECK_OK(selv_op_cancel(q.op)); /* now it waits for one, and that counts */
  CHECK_STATUS(op_probe_lock(&r, l[0], b), SELV_E_DEADLOCK);
  CHECK_OK(selv_lock_release(l[1], b));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_lock_release(l[0], a));
  CHECK_OK(selv_lock_release(l[2], c));
  end();
}

/* With a token more than borrowers in the ring somebody outside can end the wait. */
static void a_limiter_of_two_is_no_edge(void) {
  selv_limiter_options options = SELV_LIMITER_OPTIONS_INIT;
  selv_limiter *limiter = NULL;
  selv_completion completion;
  op_probe p, q;
  begin(0);
  options.total = 2;
  options.name = "pair";
  CHECK_OK(selv_limiter_new(&options, &limiter));
  op_probe_init(&p);
  op_probe_init(&q);
  q.then = op_probe_unlock;
  completion = op_probe_completion(&p);
  CHECK_OK(selv_lock_acquire(l[0], a, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(limiter, b, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(limiter, c, SELV_FOREVER));
  CHECK_STATUS(selv_limiter_acquire_async(limiter, a, &completion, &p.op), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&q, l[0], b), SELV_PENDING);
  CHECK_OK(selv_limiter_release(limiter, c)); /* as it does here */
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_lock_release(l[0], a));
  OP_GOT(&q, 1, SELV_OK);
  CHECK_OK(selv_limiter_release(limiter, a));
  CHECK_OK(selv_limiter_release(limiter, b));
  CHECK_OK(selv_limiter_free(limiter));
  end();
}

/* b has been granted lock 1 but its callback has not begun: the lock is b's, and who waits for it waits for b. */
static op_probe first, granted;

static void while_granted(op_probe *p, const selv_completed *completed) {
  op_probe q;
  CHECK_OK(completed->status);
  op_probe_init(&q);
  CHECK_OK(selv_lock_release(l[1], p->task));
  CHECK_EQ_U64(selv_lock_owner(l[1]), b);
  CHECK_EQ_U64(check_tally_get(&granted.called), 0);
  CHECK_STATUS(op_probe_lock(&q, l[1], c), SELV_E_DEADLOCK);
  CHECK_RING_HAS("'b'");
  CHECK_RING_HAS("'c'");
}

static void what_is_granted_is_held(void) {
  op_probe behind;
  begin(SELV_LOCK_STRICT_FIFO);
  op_probe_init(&first);
  op_probe_init(&granted);
  op_probe_init(&behind);
  first.then = while_granted;
  CHECK_OK(selv_lock_acquire(l[1], SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_lock_acquire(l[2], c, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&first, l[1], a), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&granted, l[1], b), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&behind, l[2], b), SELV_PENDING); /* when lock 1 is granted to b, this is all that b waits for */
  CHECK_OK(selv_lock_release(l[1], SELV_TASK_CURRENT));
  OP_GOT(&first, 1, SELV_OK);
  OP_GOT(&granted, 1, SELV_OK);
  CHECK_OK(selv_lock_release(l[2], c));
  OP_GOT(&behind, 1, SELV_OK);
  CHECK_OK(selv_lock_release(l[1], b));
  CHECK_OK(selv_lock_release(l[2], b));
  end();
}

/* A ring beside one's way is somebody else's: the walk ends, and the wait that leads to it is no part of it. Here the ring cannot be
 * closed, since that is refused; a long chain that ends in nobody must be walked to its end all the same. */
static void a_long_chain_is_no_ring(void) {
  enum { LINKS = 500 };
  selv_lock *chain[LINKS];
  selv_task task[LINKS];
  op_probe *p = (op_probe *)calloc(LINKS, sizeof *p);
  int i;
  CHECK(p != NULL);
  for (i = 0; i < LINKS; i++) {
    char name[24];
    snprintf(name, sizeof name, "link %d", i);
    chain[i] = lock_named(name, 0);
    task[i] = task_named(name);
    CHECK_OK(selv_lock_acquire(chain[i], task[i], SELV_FOREVER));
    op_probe_init(&p[i]);
    p[i].then = op_probe_unlock;
    if (i > 0) CHECK_STATUS(op_probe_lock(&p[i], chain[i - 1], task[i]), SELV_PENDING);
  }
  /* From its head it is a ring of 500. */
  CHECK_STATUS(op_probe_lock(&p[0], chain[LINKS - 1], task[0]), SELV_E_DEADLOCK);
  CHECK_RING_HAS("link 499"); /* where it begins, however much of it there is room for */
  CHECK_OK(selv_lock_release(chain[0], task[0]));
  for (i = 1; i < LINKS; i++) {
    OP_GOT(&p[i], 1, SELV_OK); /* has lock i-1 had, and still has its own */
    CHECK_OK(selv_lock_release(chain[i], task[i]));
  }
  for (i = 0; i < LINKS; i++) {
    CHECK_OK(selv_lock_free(chain[i]));
    CHECK_OK(selv_task_exit(task[i], NULL));
  }
  free(p);
}

int main(void) {
  CHECK_RUN(a_timed_wait_is_no_edge);
  CHECK_RUN(a_timed_call_closes_nothing);
  CHECK_RUN(timed_edges_count);
  CHECK_RUN(what_was_given_up_is_no_edge);
  CHECK_RUN(two_waits_are_no_edge);
  CHECK_RUN(a_limiter_of_two_is_no_edge);
  CHECK_RUN(what_is_granted_is_held);
  CHECK_RUN(a_long_chain_is_no_ring);
  return 0;
}

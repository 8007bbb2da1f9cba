/* limiter_deadlock.c: a limiter of one token is part of a ring as a lock is: the call that would close the ring is refused, with
 * the ring spelled out by name; a limiter from which another token may come is not. */
#include "probe.h"
#include "sync_probe.h"

static void through_a_lock(int closed_by_operation) {
  selv_lock *lock = lock_named("L", 0);
  selv_limiter *l = limiter_of(1);
  selv_task a = task_named("A"), b = task_named("B");
  waiter w;
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_lock_acquire(lock, a, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(l, b, SELV_FOREVER));
  waiter_start(&w, waiter_limiter, l, a);
  UNTIL(limiter_waiting(l) == 1 && waiter_sleeps(&w));
  if (closed_by_operation)
    CHECK_STATUS(op_probe_lock(&p, lock, b), SELV_E_DEADLOCK);
  else
    CHECK_STATUS(selv_lock_acquire(lock, b, SELV_FOREVER), SELV_E_DEADLOCK);
  CHECK_LAST_ERROR_HAS("task 'B'");
  CHECK_LAST_ERROR_HAS("lock 'L'");
  CHECK_LAST_ERROR_HAS("task 'A'");
  CHECK_LAST_ERROR_HAS("limiter 'tokens'");
  CHECK(!waiter_is_done(&w)); /* the others go on */
  CHECK_OK(selv_limiter_release(l, b));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_OK(selv_limiter_release(l, a));
  CHECK_OK(selv_lock_release(lock, a));
  CHECK_OK(selv_lock_acquire(lock, b, SELV_FOREVER)); /* refused once, not for ever */
  CHECK_OK(selv_lock_release(lock, b));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_lock_free(lock));
}

static void closed_at_the_lock_by_a_thread(void) { through_a_lock(0); }
static void closed_at_the_lock_by_an_operation(void) { through_a_lock(1); }

static void closed_at_the_limiter(void) {
  selv_lock *lock = lock_named("L", 0);
  selv_limiter *l = limiter_of(1);
  selv_task a = task_named("A"), b = task_named("B");
  op_probe p, q;
  op_probe_init(&p);
  op_probe_init(&q);
  CHECK_OK(selv_lock_acquire(lock, a, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(l, b, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&p, lock, b), SELV_PENDING);
  CHECK_STATUS(selv_limiter_acquire(l, a, SELV_FOREVER), SELV_E_DEADLOCK);
  CHECK_LAST_ERROR_HAS("task 'A'");
  CHECK_LAST_ERROR_HAS("limiter 'tokens'");
  CHECK_STATUS(op_limiter(&q, l, a), SELV_E_DEADLOCK);
  CHECK_EQ_U64(limiter_waiting(l), 0);
  CHECK_STATUS(selv_limiter_try_acquire(l, a), SELV_E_WOULD_BLOCK); /* who does not wait closes nothing; nor is it DUPLICATE */
  CHECK_OK(selv_lock_release(lock, a));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_task_exit(b, NULL)); /* breaks the lock and gives the token back */
  CHECK_OK(selv_limiter_acquire(l, a, SELV_FOREVER));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_lock_free(lock));
}

static void two_limiters_of_one(void) {
  selv_limiter *one = limiter_of(1), *two = limiter_of(1);
  selv_task a = task_named("A"), b = task_named("B");
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_limiter_acquire(one, a, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(two, b, SELV_FOREVER));
  CHECK_STATUS(op_limiter(&p, two, a), SELV_PENDING);
  CHECK_STATUS(selv_limiter_acquire(one, b, SELV_FOREVER), SELV_E_DEADLOCK);
  CHECK_LAST_ERROR_HAS("limiter 'tokens'");
  CHECK_OK(selv_limiter_release(two, b));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
  CHECK_OK(selv_limiter_free(one));
  CHECK_OK(selv_limiter_free(two));
}

/* ---- a job that has its limiter's token is in the ring as its task ---- */

static selv_lock *job_lock;
static pid_t courier;

static int32_t takes_the_lock(void *arg, void **out_value) {
  (void)out_value;
  check_tally_add(&((probe *)arg)->entered, 1);
  check_is_here(&courier);
  CHECK_OK(selv_lock_acquire(job_lock, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_lock_release(job_lock, SELV_TASK_CURRENT));
  return 0;
}

static void with_a_job(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_limiter *l = limiter_of(1);
  selv_task a = task_named("A");
  selv_job_options job;
  probe p;
  probe_init(&p);
  job_lock = lock_named("L", 0);
  CHECK_OK(selv_lock_acquire(job_lock, a, SELV_FOREVER));
  job = probe_job(takes_the_lock, &p);
  job.limiter = l;
  job.name = "courier";
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  UNTIL(lock_waiting(job_lock) == 1 && check_sleeps(&courier));
  CHECK_STATUS(selv_limiter_acquire(l, a, SELV_FOREVER), SELV_E_DEADLOCK);
  CHECK_LAST_ERROR_HAS("courier");
  CHECK_LAST_ERROR_HAS("limiter 'tokens'");
  CHECK_OK(selv_lock_release(job_lock, a));
  CHECK_OK(selv_limiter_acquire(l, a, SELV_FOREVER)); /* the job ends, and its token comes */
  CHECK_OK(selv_limiter_release(l, a));
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(p.last.status);
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_lock_free(job_lock));
  CHECK_OK(selv_limiter_free(l));
  probe_end(c);
}

/* With a second token, or one lent to somebody who is no task, help may come from elsewhere: no ring. */
static void no_ring(int of_two) {
  selv_lock *lock = lock_named("L", 0);
  selv_limiter *l = limiter_of(of_two ? 2 : 1);
  selv_task a = task_named("A"), b = task_named("B"), c = task_named("C");
  op_probe p, q;
  op_probe_init(&p);
  op_probe_init(&q);
  CHECK_OK(selv_lock_acquire(lock, a, SELV_FOREVER));
  if (of_two) {
    CHECK_OK(selv_limiter_acquire(l, b, SELV_FOREVER));
    CHECK_OK(selv_limiter_acquire(l, c, SELV_FOREVER));
  } else {
    CHECK_OK(selv_limiter_acquire_on_behalf_of(l, b, b, SELV_FOREVER));
  }
  CHECK_STATUS(op_limiter(&p, l, a), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&q, lock, b), SELV_PENDING);
  CHECK_OK(of_two ? selv_limiter_release(l, c) : selv_limiter_release_on_behalf_of(l, b)); /* and it comes */
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_lock_release(lock, a));
  OP_GOT(&q, 1, SELV_OK);
  CHECK_OK(selv_lock_release(lock, b));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
  CHECK_OK(selv_task_exit(c, NULL));
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_lock_free(lock));
}

static void no_ring_with_two_tokens(void) { no_ring(1); }
static void no_ring_with_an_opaque_borrower(void) { no_ring(0); }

/* A ring that closes while all are in line, since the tokens have become fewer: one of them is told, and the other can go on. */
static void closed_by_the_total(int total_last) {
  selv_lock *lock = lock_named("L", 0);
  selv_limiter *l = limiter_of(2);
  selv_task a = task_named("A"), b = task_named("B"), c = task_named("C");
  op_probe p, q, *told, *other;
  op_probe_init(&p);
  op_probe_init(&q);
  CHECK_OK(selv_lock_acquire(lock, a, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(l, b, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(l, c, SELV_FOREVER));
  CHECK_STATUS(op_limiter(&p, l, a), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&q, lock, b), SELV_PENDING);
  if (total_last) {
    CHECK_OK(selv_limiter_set_total(l, 0));
    CHECK_OK(selv_limiter_release(l, c));
    CHECK_OK(selv_limiter_set_total(l, 1));
  } else {
    CHECK_OK(selv_limiter_set_total(l, 1));
    CHECK_EQ_U64(check_tally_get(&p.called) + check_tally_get(&q.called), 0); /* C may still help */
    CHECK_OK(selv_limiter_release(l, c));
  }
  UNTIL(check_tally_get(&p.called) + check_tally_get(&q.called) == 1);
  told = check_tally_get(&p.called) ? &p : &q;
  other = told == &p ? &q : &p;
  OP_GOT(told, 1, SELV_E_DEADLOCK);
  CHECK_HAS(told->detail, "task 'A'");
  CHECK_HAS(told->detail, "lock 'L'");
  CHECK_HAS(told->detail, "task 'B'");
  CHECK_HAS(told->detail, "limiter 'tokens'");
  if (told == &p)
    CHECK_OK(selv_lock_release(lock, a));
  else
    CHECK_OK(selv_limiter_release(l, b));
  OP_GOT(other, 1, SELV_OK);
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
  CHECK_OK(selv_task_exit(c, NULL));
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_lock_free(lock));
}

static void closed_when_a_token_comes_back(void) { closed_by_the_total(0); }
static void closed_when_the_total_is_set(void) { closed_by_the_total(1); }

/* Who waits for a limited time will be back by itself. */
static void a_timed_wait_closes_no_ring(void) {
  selv_lock *lock = lock_named("L", 0);
  selv_limiter *l = limiter_of(1);
  selv_task a = task_named("A"), b = task_named("B");
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_lock_acquire(lock, a, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(l, b, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&p, lock, b), SELV_PENDING);
  CHECK_STATUS(selv_limiter_acquire(l, a, 10 * CHECK_MS), SELV_E_TIMEDOUT);
  CHECK_OK(selv_lock_release(lock, a));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_lock_release(lock, b));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_lock_free(lock));
}

int main(void) {
  CHECK_RUN(closed_at_the_lock_by_a_thread);
  CHECK_RUN(closed_at_the_lock_by_an_operation);
  CHECK_RUN(closed_at_the_limiter);
  CHECK_RUN(two_limiters_of_one);
  CHECK_RUN(with_a_job);
  CHECK_RUN(closed_when_a_token_comes_back);
  CHECK_RUN(closed_when_the_total_is_set);
  CHECK_RUN(no_ring_with_two_tokens);
  CHECK_RUN(no_ring_with_an_opaque_borrower);
  CHECK_RUN(a_timed_wait_closes_no_ring);
  return 0;
}

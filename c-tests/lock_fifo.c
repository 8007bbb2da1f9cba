/* lock_fifo.c: SELV_LOCK_STRICT_FIFO hands the lock over in the order in which its waiters came, blocking and asynchronous ones in
 * one line, and nobody overtakes them. The tickets of completions tell that order. */
#include "waiters.h"

#define WAITERS 24

static void one_line_for_both_kinds(void) {
  selv_lock *l = lock_named("line", SELV_LOCK_STRICT_FIFO);
  selv_task owner = task_named("owner"), task[WAITERS];
  waiter w[WAITERS];
  op_probe p[WAITERS];
  uint64_t before = waiters_next(), ticket = 0;
  selv_lock_stats s;
  int i;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (i = 0; i < WAITERS; i++) {
    task[i] = task_named("waiter");
    if (i % 2) {
      op_probe_init(&p[i]);
      p[i].then = op_probe_unlock;
      CHECK_STATUS(op_probe_lock(&p[i], l, task[i]), SELV_PENDING);
    } else {
      waiter_init(&w[i], waiter_lock, l, task[i]);
      if (i % 4) w[i].timeout_ns = 3600 * UINT64_C(1000000000);
      w[i].then = waiter_unlock;
      waiter_go(&w[i]);
    }
    UNTIL(lock_waiting(l) == (uint64_t)i + 1);
  }
  CHECK_OK(selv_lock_release(l, owner));
  for (i = 0; i < WAITERS; i++) {
    if (i % 2) {
      OP_GOT(&p[i], 1, SELV_OK);
      CHECK_EQ_U64(p[i].order, before + 1 + (uint64_t)i);
      CHECK(i == 1 || p[i].last.ticket >= ticket + 2); /* a blocking waiter came between */
      ticket = p[i].last.ticket;
    } else {
      WAITER_ENDED(&w[i], SELV_OK);
      CHECK_EQ_U64(w[i].order, before + 1 + (uint64_t)i);
    }
  }
  UNTIL(selv_lock_owner(l) == 0); /* the last callback lets go on the thread of the waiter before it */
  s = lock_stats(l);
  CHECK_EQ_U64(s.waits, WAITERS);
  CHECK_EQ_U64(s.handed_over, WAITERS);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  for (i = 0; i < WAITERS; i++) CHECK_OK(selv_task_exit(task[i], NULL));
}

/* Between the release and the moment when the waiter runs the lock is the waiter's already. */
static void nobody_overtakes(void) {
  selv_lock *l = lock_named("line", SELV_LOCK_STRICT_FIFO);
  selv_task a = task_named("a"), b = task_named("b"), pusher = task_named("pusher");
  uint64_t i;
  for (i = 0; i < check_scaled(200); i++) {
    waiter w;
    CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
    waiter_start(&w, waiter_lock, l, b);
    UNTIL(lock_waiting(l) == 1);
    CHECK_OK(selv_lock_release(l, a));
    CHECK_EQ_U64(selv_lock_owner(l), b);
    CHECK_STATUS(selv_lock_try_acquire(l, pusher), SELV_E_WOULD_BLOCK);
    CHECK_STATUS(selv_lock_acquire(l, a, 0), SELV_E_TIMEDOUT);
    WAITER_ENDED(&w, SELV_OK);
    CHECK_OK(selv_lock_release(l, b));
  }
  CHECK_EQ_U64(lock_stats(l).handed_over, check_scaled(200));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
  CHECK_OK(selv_task_exit(pusher, NULL));
}

/* The same asynchronously, for either kind of lock: nobody can count on an event loop to run soon, so its turn is kept for it. */
static void an_async_head_is_always_handed_to(void) {
  int strict;
  for (strict = 0; strict < 2; strict++) {
    selv_lock *l = lock_named("line", strict ? SELV_LOCK_STRICT_FIFO : 0);
    selv_task a = task_named("a"), b = task_named("b");
    int i;
    for (i = 0; i < 50; i++) {
      op_probe p;
      op_probe_init(&p);
      CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
      CHECK_STATUS(op_probe_lock(&p, l, b), SELV_PENDING);
      CHECK_OK(selv_lock_release(l, a));
      CHECK_EQ_U64(selv_lock_owner(l), b);
      CHECK_STATUS(selv_lock_try_acquire(l, a), SELV_E_WOULD_BLOCK);
      OP_GOT(&p, 1, SELV_OK);
      CHECK_OK(selv_lock_release(l, b));
    }
    CHECK_EQ_U64(lock_stats(l).handed_over, 50);
    CHECK_OK(selv_lock_free(l));
    CHECK_OK(selv_task_exit(a, NULL));
    CHECK_OK(selv_task_exit(b, NULL));
  }
}

/* Threads that come again at once go to the end of the line: nobody gets two turns while another waits through them all. */
#define COMERS 4
static selv_lock *turns_lock;
static uint64_t turns_rounds, turns_last[COMERS], turns_now, turns_worst;
static selv_task turns_task[COMERS];

static void *takes_turns(void *arg) {
  uint64_t i, me = (uint64_t)(uintptr_t)arg;
  for (i = 0; i < turns_rounds; i++) {
    CHECK_OK(selv_lock_acquire(turns_lock, turns_task[me], SELV_FOREVER));
    turns_now++;
    if (i > 0 && turns_now - turns_last[me] > turns_worst) turns_worst = turns_now - turns_last[me];
    turns_last[me] = turns_now;
    UNTIL(lock_waiting(turns_lock) + 1 == COMERS || i + 1 == turns_rounds);
    CHECK_OK(selv_lock_release(turns_lock, turns_task[me]));
  }
  return NULL;
}

static void turns_go_round(void) {
  pthread_t thread[COMERS];
  uintptr_t i;
  turns_lock = lock_named("turns", SELV_LOCK_STRICT_FIFO);
  turns_rounds = check_scaled(300);
  for (i = 0; i < COMERS; i++) {
    turns_task[i] = task_named("comer");
    CHECK(pthread_create(&thread[i], NULL, takes_turns, (void *)i) == 0);
  }
  for (i = 0; i < COMERS; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  CHECK_EQ_U64(turns_now, COMERS * turns_rounds);
  CHECK(turns_worst <= COMERS); /* each release found everybody else in line, so each comes again after all the others */
  CHECK_OK(selv_lock_free(turns_lock));
  for (i = 0; i < COMERS; i++) CHECK_OK(selv_task_exit(turns_task[i], NULL));
}

int main(void) {
  CHECK_RUN(one_line_for_both_kinds);
  CHECK_RUN(nobody_overtakes);
  CHECK_RUN(an_async_head_is_always_handed_to);
  CHECK_RUN(turns_go_round);
  return 0;
}

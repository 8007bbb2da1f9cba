/* deadlock_rings.c: a ring of tasks that would wait for each other is refused at the call that closes it, with every name in the detail;
 * the others go on. Rings of 2, 3 and 10, through locks, conditions' locks and limiters of one token, blocking and asynchronous. */
#include "waiters.h"

#define MOST 10

/* Who waits in the ring: threads, operations, or both in turns. */
enum { BLOCKING, ASYNC, MIXED };
/* What they wait for: locks, limiters of one token, or both in turns. */
enum { LOCKS, LIMITERS, BOTH };

static int size, who, what;
static selv_lock *lock[MOST];
static selv_limiter *limiter[MOST];
static selv_task task[MOST];
static char task_name[MOST][32], object_name[MOST][32];
static waiter w[MOST];
static op_probe p[MOST];

static int is_async(int i) { return who == ASYNC || (who == MIXED && i % 2); }
static int is_limiter(int i) { return what == LIMITERS || (what == BOTH && i % 2); }

static selv_status acquire(int object, selv_task t, uint64_t timeout_ns) {
  return is_limiter(object) ? selv_limiter_acquire(limiter[object], t, timeout_ns)
                            : selv_lock_acquire(lock[object], t, timeout_ns);
}

static selv_status acquire_async(int object, selv_task t, op_probe *probe) {
  selv_completion completion = op_probe_completion(probe);
  probe->op = 99;
  return is_limiter(object) ? selv_limiter_acquire_async(limiter[object], t, &completion, &probe->op)
                            : selv_lock_acquire_async(lock[object], t, &completion, &probe->op);
}

static void release(int object, selv_task t) {
  CHECK_OK(is_limiter(object) ? selv_limiter_release(limiter[object], t) : selv_lock_release(lock[object], t));
}

static uint64_t waiting(int object) {
  return is_limiter(object) ? limiter_waiting(limiter[object]) : lock_waiting(lock[object]);
}

static selv_status waits_in_the_ring(waiter *one) { return acquire((int)one->n, one->task, SELV_FOREVER); }

/* Whoever comes through has both, and lets go of both: that lets the one before it through. */
static void lets_go_of_both(int i) {
  release((i + 1) % size, task[i]);
  release(i, task[i]);
}
static void waiter_lets_go(waiter *one) { lets_go_of_both((int)(one - w)); }
static void op_lets_go(op_probe *one, const selv_completed *c) {
  CHECK_OK(c->status);
  lets_go_of_both((int)(one - p));
}

static void the_ring_is_told(void) {
  int i;
  CHECK_RING_HAS("would wait"); /* who closes it */
  for (i = 0; i < size; i++) {
    CHECK_RING_HAS(task_name[i]);
    CHECK_RING_HAS(object_name[i]);
  }
}

static void a_ring(uint32_t lock_flags) {
  int i, last = size - 1;
  op_probe refused;
  for (i = 0; i < size; i++) {
    snprintf(task_name[i], sizeof task_name[i], "task-%c", 'A' + i);
    snprintf(object_name[i], sizeof object_name[i], "thing-%c", 'A' + i);
    task[i] = task_named(task_name[i]);
    if (is_limiter(i)) {
      selv_limiter_options options = SELV_LIMITER_OPTIONS_INIT;
      options.name = object_name[i];
      options.total = 1;
      CHECK_OK(selv_limiter_new(&options, &limiter[i]));
    } else {
      lock[i] = lock_named(object_name[i], lock_flags);
    }
    CHECK_OK(acquire(i, task[i], SELV_FOREVER));
  }
  for (i = 0; i < last; i++) { /* all but one wait for what the next one has */
    if (is_async(i)) {
      op_probe_init(&p[i]);
      p[i].then = op_lets_go;
      CHECK_STATUS(acquire_async(i + 1, task[i], &p[i]), SELV_PENDING);
    } else {
      waiter_init(&w[i], waits_in_the_ring, NULL, task[i]);
      w[i].n = (uint64_t)i + 1;
      w[i].then = waiter_lets_go;
      waiter_go(&w[i]);
    }
    UNTIL(waiting(i + 1) == 1 && (is_async(i) || waiter_sleeps(&w[i])));
  }
  /* The last one closes the ring: refused, at once, in either way. */
  CHECK_STATUS(acquire(0, task[last], SELV_FOREVER), SELV_E_DEADLOCK);
  the_ring_is_told();
  op_probe_init(&refused);
  CHECK_STATUS(acquire_async(0, task[last], &refused), SELV_E_DEADLOCK);
  CHECK_EQ_U64(refused.op, 0);
  the_ring_is_told();
  CHECK_EQ_U64(waiting(0), 0);
  if (!is_limiter(0)) CHECK_EQ_U64(lock_stats(lock[0]).deadlocks, 2);
  /* What does not wait closes nothing. */
  if (is_limiter(0)) CHECK_STATUS(selv_limiter_try_acquire(limiter[0], task[last]), SELV_E_WOULD_BLOCK);
  else CHECK_STATUS(selv_lock_try_acquire(lock[0], task[last]), SELV_E_WOULD_BLOCK);
  CHECK_STATUS(acquire(0, task[last], 0), SELV_E_TIMEDOUT);
  for (i = 0; i < last; i++) CHECK(is_async(i) ? !check_tally_get(&p[i].called) : !waiter_is_done(&w[i]));
  /* It gives up what it has, and all the others come through. */
  release(last, task[last]);
  for (i = 0; i < last; i++) {
    if (is_async(i)) OP_GOT(&p[i], 1, SELV_OK);
    else WAITER_ENDED(&w[i], SELV_OK);
  }
  CHECK_OK(acquire(0, task[last], SELV_FOREVER)); /* now it may */
  release(0, task[last]);
  CHECK_EQ_U64(check_tally_get(&refused.called), 0);
  for (i = 0; i < size; i++) {
    CHECK_OK(is_limiter(i) ? selv_limiter_free(limiter[i]) : selv_lock_free(lock[i]));
    CHECK_OK(selv_task_exit(task[i], NULL));
  }
}

static void rings(uint32_t lock_flags) {
  static const int sizes[] = { 2, 3, MOST };
  int s;
  for (s = 0; s < 3; s++)
    for (who = BLOCKING; who <= MIXED; who++)
      for (what = LOCKS; what <= BOTH; what++) {
        size = sizes[s];
        a_ring(lock_flags);
      }
}

static void rings_through_eventual_locks(void) { rings(0); }
static void rings_through_strict_locks(void) { rings(SELV_LOCK_STRICT_FIFO); }
static void rings_through_recursive_locks(void) { rings(SELV_LOCK_RECURSIVE); }
static void rings_through_robust_locks(void) { rings(SELV_LOCK_ROBUST); }

/* ---- through a condition's lock ---- */

/* A task on a condition that has been notified waits for the lock, and counts. Before the notify it waits for nobody in particular. */
static void through_a_condition(int async) {
  selv_lock *guard = lock_named("guard", 0), *other = lock_named("other", 0);
  selv_condition *bell = condition_on(guard, "bell");
  selv_task sleeper = task_named("sleeper"), caller = task_named("caller");
  selv_completion completion;
  waiter sleeps;
  op_probe probe, closing;
  op_probe_init(&probe);
  op_probe_init(&closing);
  completion = op_probe_completion(&probe);
  CHECK_OK(selv_lock_acquire(other, sleeper, SELV_FOREVER));
  if (async) {
    CHECK_OK(selv_lock_acquire(guard, sleeper, SELV_FOREVER));
    CHECK_STATUS(selv_condition_wait_async(bell, sleeper, &completion, &probe.op), SELV_PENDING);
  } else {
    waiter_init(&sleeps, waiter_condition, bell, sleeper);
    sleeps.other = guard;
    waiter_go(&sleeps);
  }
  UNTIL(condition_waiting(bell) == 1);
  CHECK_OK(selv_lock_acquire(guard, caller, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&closing, other, caller), SELV_PENDING); /* someone else might wake the sleeper some other way */
  CHECK_OK(selv_op_cancel(closing.op));
  CHECK_OK(selv_condition_notify(bell, caller, 1));
  CHECK_STATUS(selv_lock_acquire(other, caller, SELV_FOREVER), SELV_E_DEADLOCK);
  CHECK_RING_HAS("sleeper");
  CHECK_RING_HAS("caller");
  CHECK_RING_HAS("guard");
  CHECK_RING_HAS("other");
  CHECK_STATUS(op_probe_lock(&closing, other, caller), SELV_E_DEADLOCK);
  CHECK_OK(selv_lock_release(guard, caller));
  if (async) {
    OP_GOT(&probe, 1, SELV_OK);
    CHECK_OK(selv_lock_release(guard, sleeper));
  } else {
    WAITER_ENDED(&sleeps, SELV_OK);
  }
  CHECK_OK(selv_lock_release(other, sleeper));
  CHECK_OK(selv_condition_free(bell));
  CHECK_OK(selv_lock_free(guard));
  CHECK_OK(selv_lock_free(other));
  CHECK_OK(selv_task_exit(sleeper, NULL));
  CHECK_OK(selv_task_exit(caller, NULL));
}

static void through_a_condition_blocking(void) { through_a_condition(0); }
static void through_a_condition_asynchronously(void) { through_a_condition(1); }

/* ---- through many conditions' locks ---- */

/* Which of the others wait for their lock back, having been notified: all, or every second one, the rest being in line for a plain lock. */
enum { ALL_NOTIFIED, EVERY_SECOND };
static int which;
static selv_condition *bell[MOST];
static char bell_name[MOST][32];

static int is_notified(int i) { return which == ALL_NOTIFIED || i % 2 == 0; }

/* Comes back from the condition when it has its lock; `then` lets go of that one and of its own. */
static selv_status waits_for_the_bell(waiter *one) {
  CHECK_OK(selv_lock_acquire(lock[one->n], one->task, SELV_FOREVER));
  return selv_condition_wait(bell[one->n], one->task, SELV_FOREVER, &one->holds_lock);
}

static selv_status waits_for_the_lock(waiter *one) { return selv_lock_acquire(lock[one->n], one->task, SELV_FOREVER); }

/* Task i waits on the bell of lock i + 1, by a thread or by an operation. */
static void it_waits_for_the_bell(int i) {
  selv_completion completion = op_probe_completion(&p[i]);
  if (is_async(i)) {
    CHECK_OK(selv_lock_acquire(lock[i + 1], task[i], SELV_FOREVER));
    CHECK_STATUS(selv_condition_wait_async(bell[i + 1], task[i], &completion, &p[i].op), SELV_PENDING);
  } else {
    waiter_init(&w[i], waits_for_the_bell, NULL, task[i]);
    w[i].n = (uint64_t)i + 1;
    w[i].then = waiter_lets_go;
    waiter_go(&w[i]);
  }
  UNTIL(condition_waiting(bell[i + 1]) == 1);
}

static void it_waits_for_the_lock(int i) {
  if (is_async(i)) {
    CHECK_STATUS(op_probe_lock(&p[i], lock[i + 1], task[i]), SELV_PENDING);
  } else {
    waiter_init(&w[i], waits_for_the_lock, NULL, task[i]);
    w[i].n = (uint64_t)i + 1;
    w[i].then = waiter_lets_go;
    waiter_go(&w[i]);
  }
}

/* Each task holds the lock of its number, and wants the next one: as a condition's waiter that was notified by the next one's owner, or
 * in line. The last one wants the first. */
static void a_ring_of_conditions(void) {
  int i, last = size - 1;
  op_probe refused;
  what = LOCKS;
  for (i = 0; i < size; i++) {
    snprintf(task_name[i], sizeof task_name[i], "task-%c", 'A' + i);
    snprintf(object_name[i], sizeof object_name[i], "thing-%c", 'A' + i);
    snprintf(bell_name[i], sizeof bell_name[i], "bell-%c", 'A' + i);
    task[i] = task_named(task_name[i]);
    lock[i] = lock_named(object_name[i], 0);
    bell[i] = condition_on(lock[i], bell_name[i]);
  }
  CHECK_OK(selv_lock_acquire(lock[0], task[0], SELV_FOREVER));
  for (i = 0; i < last; i++) {
    op_probe_init(&p[i]);
    p[i].then = op_lets_go;
    if (is_notified(i)) it_waits_for_the_bell(i);
    CHECK_OK(selv_lock_acquire(lock[i + 1], task[i + 1], SELV_FOREVER));
    if (is_notified(i)) CHECK_OK(selv_condition_notify(bell[i + 1], task[i + 1], 1));
    else it_waits_for_the_lock(i);
    UNTIL(lock_waiting(lock[i + 1]) == 1 && (is_async(i) || waiter_sleeps(&w[i])));
  }
  op_probe_init(&refused);
  CHECK_STATUS(selv_lock_acquire(lock[0], task[last], SELV_FOREVER), SELV_E_DEADLOCK);
  the_ring_is_told();
  CHECK_STATUS(op_probe_lock(&refused, lock[0], task[last]), SELV_E_DEADLOCK);
  the_ring_is_told();
  for (i = 0; i < last; i++) {
    if (is_notified(i)) CHECK_RING_HAS(bell_name[i + 1]);
    CHECK_EQ_U64(selv_lock_owner(lock[i + 1]), task[i + 1]);
    CHECK(is_async(i) ? !check_tally_get(&p[i].called) : !waiter_is_done(&w[i]));
  }
  CHECK_EQ_U64(lock_stats(lock[0]).deadlocks, 2);
  /* It gives up what it has, and all the others come through, each of them holding the lock that it wanted. */
  CHECK_OK(selv_lock_release(lock[last], task[last]));
  for (i = 0; i < last; i++) {
    if (is_async(i)) {
      OP_GOT(&p[i], 1, SELV_OK);
      if (is_notified(i)) CHECK_EQ_U64(p[i].last.holds_lock, 1);
    } else {
      WAITER_ENDED(&w[i], SELV_OK);
      if (is_notified(i)) CHECK_EQ_U64(w[i].holds_lock, 1);
    }
  }
  CHECK_OK(selv_lock_acquire(lock[0], task[last], SELV_FOREVER)); /* now it may */
  CHECK_OK(selv_lock_release(lock[0], task[last]));
  CHECK_EQ_U64(check_tally_get(&refused.called), 0);
  for (i = 0; i < size; i++) {
    CHECK_OK(selv_condition_free(bell[i]));
    CHECK_OK(selv_lock_free(lock[i]));
    CHECK_OK(selv_task_exit(task[i], NULL));
  }
}

static void through_conditions(void) {
  static const int sizes[] = { 2, 3, MOST };
  int s;
  for (s = 0; s < 3; s++)
    for (who = BLOCKING; who <= MIXED; who++)
      for (which = ALL_NOTIFIED; which <= EVERY_SECOND; which++) {
        size = sizes[s];
        a_ring_of_conditions();
      }
}

int main(void) {
  CHECK_RUN(rings_through_eventual_locks);
  CHECK_RUN(rings_through_strict_locks);
  CHECK_RUN(rings_through_recursive_locks);
  CHECK_RUN(rings_through_robust_locks);
  CHECK_RUN(through_a_condition_blocking);
  CHECK_RUN(through_a_condition_asynchronously);
  CHECK_RUN(through_conditions);
  return 0;
}

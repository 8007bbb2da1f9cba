/* lock_broken.c: a task takes a lock and exits. Every waiter, those of now and of later, blocking, timed, trying and asynchronous, is told
 * that the lock is broken and whose it was; nobody hangs. */
#include "waiters.h"

/* What each caller after the break gets, however it asks. */
static void is_broken_for(selv_lock *l, selv_task t, const char *lock, const char *owner) {
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_lock_try_acquire(l, t), SELV_E_BROKEN); /* in Trio a try takes the abandoned lock, or never gets it */
  CHECK_LAST_ERROR_HAS(lock);
  CHECK_LAST_ERROR_HAS(owner);
  CHECK_STATUS(selv_lock_acquire(l, t, 0), SELV_E_BROKEN);
  CHECK_STATUS(selv_lock_acquire(l, t, CHECK_MS), SELV_E_BROKEN);
  CHECK_STATUS(selv_lock_acquire(l, t, SELV_FOREVER), SELV_E_BROKEN);
  CHECK_LAST_ERROR_HAS(lock);
  CHECK_LAST_ERROR_HAS(owner);
  p.op = 99;
  CHECK_STATUS(op_probe_lock(&p, l, t), SELV_E_BROKEN);
  CHECK_LAST_ERROR_HAS(lock);
  CHECK_LAST_ERROR_HAS(owner);
  CHECK_EQ_U64(p.op, 0);
  CHECK_STATUS(selv_lock_release(l, t), SELV_E_NOT_OWNER);
  CHECK_STATUS(selv_lock_make_consistent(l, t), SELV_E_NOT_OWNER);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
}

static void waiters_of_every_kind(uint32_t flags) {
  selv_lock *l = lock_named("ledger", flags);
  selv_task owner = task_named("bookkeeper"), later = task_named("later");
  selv_task task[6];
  selv_task_report report = SELV_TASK_REPORT_INIT;
  waiter w[3];
  op_probe p[3];
  int i;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (i = 0; i < 3; i++) {
    task[i] = task_named("blocking");
    waiter_init(&w[i], waiter_lock, l, task[i]);
    if (i == 1) w[i].timeout_ns = 3600 * UINT64_C(1000000000);
    waiter_go(&w[i]);
    UNTIL(lock_waiting(l) == 2 * (uint64_t)i + 1);
    task[3 + i] = task_named("asynchronous");
    op_probe_init(&p[i]);
    CHECK_STATUS(op_probe_lock(&p[i], l, task[3 + i]), SELV_PENDING);
    CHECK_EQ_U64(lock_waiting(l), 2 * (uint64_t)i + 2);
  }
  CHECK_OK(selv_task_exit(owner, &report));
  CHECK_EQ_U64(report.locks_broken, 1);
  for (i = 0; i < 3; i++) {
    OP_GOT(&p[i], 1, SELV_E_BROKEN);
    CHECK(strstr(p[i].detail, "ledger") != NULL && strstr(p[i].detail, "bookkeeper") != NULL);
    CHECK(pthread_equal(p[i].on, pthread_self())); /* on the thread that ended the owner */
    WAITER_ENDED(&w[i], SELV_E_BROKEN);
    CHECK(strstr(w[i].detail, "ledger") != NULL && strstr(w[i].detail, "bookkeeper") != NULL);
    CHECK_STATUS(selv_op_cancel(p[i].op), SELV_E_TOO_LATE);
  }
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_EQ_U64(lock_stats(l).broken, 1);
  CHECK_EQ_U64(lock_stats(l).breaks, 1);
  is_broken_for(l, later, "ledger", "bookkeeper");
  is_broken_for(l, task[0], "ledger", "bookkeeper");
  CHECK_STATUS(selv_lock_acquire(l, owner, SELV_FOREVER), SELV_E_STALE);
  CHECK_STATUS(selv_lock_release(l, owner), SELV_E_STALE);
  CHECK_EQ_U64(lock_stats(l).breaks, 1); /* told many times, broken once */
  CHECK_OK(selv_lock_free(l));
  for (i = 0; i < 6; i++) CHECK_OK(selv_task_exit(task[i], NULL));
  CHECK_OK(selv_task_exit(later, NULL));
}

static void of_an_eventual_lock(void) { waiters_of_every_kind(0); }
static void of_a_strict_lock(void) { waiters_of_every_kind(SELV_LOCK_STRICT_FIFO); }
static void of_a_recursive_lock(void) { waiters_of_every_kind(SELV_LOCK_RECURSIVE); }
static void of_a_lock_with_timed_edges(void) { waiters_of_every_kind(SELV_LOCK_TIMED_EDGES); }

/* Nobody waited when the owner left: it is broken all the same, and the report says so. */
static void an_orphan_that_nobody_wanted(void) {
  selv_task later = task_named("later");
  int first;
  for (first = 0; first < 4; first++) {
    selv_lock *l = lock_named("orphan", 0);
    selv_task owner = task_named("parent");
    selv_task_report report = SELV_TASK_REPORT_INIT;
    op_probe p;
    op_probe_init(&p);
    CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
    CHECK_OK(selv_task_exit(owner, &report));
    CHECK_EQ_U64(report.locks_broken, 1);
    CHECK_EQ_U64(selv_lock_owner(l), 0);
    CHECK_EQ_U64(lock_stats(l).owner, 0);
    CHECK_EQ_U64(lock_stats(l).broken, 1);
    switch (first) { /* whichever call is the first to look */
      case 0: CHECK_STATUS(selv_lock_try_acquire(l, later), SELV_E_BROKEN); break;
      case 1: CHECK_STATUS(selv_lock_acquire(l, later, SELV_FOREVER), SELV_E_BROKEN); break;
      case 2: CHECK_STATUS(op_probe_lock(&p, l, later), SELV_E_BROKEN); break;
      default: CHECK_STATUS(selv_lock_acquire(l, later, 0), SELV_E_BROKEN); break;
    }
    is_broken_for(l, later, "orphan", "parent");
    CHECK_EQ_U64(lock_stats(l).breaks, 1);
    CHECK_EQ_U64(check_tally_get(&p.called), 0);
    CHECK_OK(selv_lock_free(l));
  }
  CHECK_OK(selv_task_exit(later, NULL));
}

/* The handle of the dead owner is not given out again, so that no newcomer owns the lock by accident. */
static void newcomers_are_not_the_dead_owner(void) {
  selv_lock *l = lock_named("old", 0);
  selv_task owner = task_named("dead");
  int i;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_task_exit(owner, NULL));
  for (i = 0; i < 2000; i++) {
    selv_task t = task_named("newcomer");
    CHECK(t != owner);
    CHECK_STATUS(selv_lock_release(l, t), SELV_E_NOT_OWNER);
    CHECK_STATUS(selv_lock_try_acquire(l, t), SELV_E_BROKEN);
    CHECK_OK(selv_task_exit(t, NULL));
  }
  CHECK_LAST_ERROR_HAS("dead");
  CHECK_OK(selv_lock_free(l));
}

/* One task, many locks, with waiters on some and none on others. */
static void all_that_the_task_held_breaks(void) {
  enum { LOCKS = 40 };
  selv_lock *l[LOCKS];
  waiter w[LOCKS];
  selv_task owner = task_named("hoarder"), task[LOCKS], later = task_named("later");
  selv_task_report report = SELV_TASK_REPORT_INIT;
  int i;
  for (i = 0; i < LOCKS; i++) {
    char name[32];
    snprintf(name, sizeof name, "hoarded %d", i);
    l[i] = lock_named(name, i % 4 == 0 ? SELV_LOCK_STRICT_FIFO : 0);
    CHECK_OK(selv_lock_acquire(l[i], owner, SELV_FOREVER));
    task[i] = task_named("waiter");
    if (i % 2) {
      waiter_start(&w[i], waiter_lock, l[i], task[i]);
      UNTIL(lock_waiting(l[i]) == 1);
    }
  }
  for (i = 0; i < LOCKS; i += 5) { /* some it had let go of before */
    CHECK_OK(selv_lock_release(l[i], owner));
    if (i % 2) {
      WAITER_ENDED(&w[i], SELV_OK);
      CHECK_OK(selv_lock_release(l[i], task[i]));
    }
  }
  CHECK_OK(selv_task_exit(owner, &report));
  CHECK_EQ_U64(report.locks_broken, LOCKS - LOCKS / 5);
  for (i = 0; i < LOCKS; i++) {
    if (i % 5 == 0) {
      CHECK_OK(selv_lock_try_acquire(l[i], later));
      CHECK_OK(selv_lock_release(l[i], later));
    } else {
      char name[32];
      snprintf(name, sizeof name, "hoarded %d", i);
      if (i % 2) {
        WAITER_ENDED(&w[i], SELV_E_BROKEN);
        CHECK(strstr(w[i].detail, name) != NULL);
      }
      is_broken_for(l[i], later, name, "hoarder");
    }
    CHECK_OK(selv_task_exit(task[i], NULL));
    CHECK_OK(selv_lock_free(l[i]));
  }
  CHECK_OK(selv_task_exit(later, NULL));
}

/* A lock without a name, held by a task without one, says at least which kind of thing it is. */
static void without_names(void) {
  selv_lock *l = NULL;
  selv_task owner = task_named(NULL), later = task_named(NULL);
  CHECK_OK(selv_lock_new(NULL, &l));
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_STATUS(selv_lock_try_acquire(l, later), SELV_E_BROKEN);
  CHECK_LAST_ERROR_HAS("lock");
  CHECK_LAST_ERROR_HAS("task");
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(later, NULL));
}

int main(void) {
  CHECK_RUN(of_an_eventual_lock);
  CHECK_RUN(of_a_strict_lock);
  CHECK_RUN(of_a_recursive_lock);
  CHECK_RUN(of_a_lock_with_timed_edges);
  CHECK_RUN(an_orphan_that_nobody_wanted);
  CHECK_RUN(newcomers_are_not_the_dead_owner);
  CHECK_RUN(all_that_the_task_held_breaks);
  CHECK_RUN(without_names);
  return 0;
}

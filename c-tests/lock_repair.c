/* lock_repair.c: a broken lock comes back: one task repairs it, has it, and from then on it is a lock like any other, which can break
 * again. What is not broken cannot be repaired. */
#include "waiters.h"

static selv_lock *broken_lock(uint32_t flags) {
  selv_lock *l = lock_named("mended", flags);
  selv_task owner = task_named("clumsy");
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_task_exit(owner, NULL));
  return l;
}

static void the_lock_works_again(void) {
  selv_lock *l = broken_lock(0);
  selv_task mender = task_named("mender"), next = task_named("next");
  waiter w;
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_lock_try_acquire(l, mender), SELV_E_BROKEN);
  CHECK_OK(selv_lock_repair(l, mender));
  CHECK_EQ_U64(selv_lock_owner(l), mender);
  CHECK_EQ_U64(lock_stats(l).broken, 0);
  CHECK_EQ_U64(lock_stats(l).breaks, 1);
  CHECK_EQ_U64(lock_stats(l).depth, 1);
  CHECK_STATUS(selv_lock_try_acquire(l, mender), SELV_E_DEADLOCK);
  CHECK_STATUS(selv_lock_try_acquire(l, next), SELV_E_WOULD_BLOCK);
  waiter_init(&w, waiter_lock, l, next);
  w.then = waiter_unlock;
  waiter_go(&w);
  UNTIL(lock_waiting(l) == 1);
  CHECK_OK(selv_lock_release(l, mender));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_OK(selv_lock_acquire(l, mender, SELV_FOREVER));
  p.then = op_probe_unlock;
  CHECK_STATUS(op_probe_lock(&p, l, next), SELV_PENDING);
  CHECK_OK(selv_lock_release(l, mender));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(mender, NULL));
  CHECK_OK(selv_task_exit(next, NULL));
}

/* The break is told by the name of the owner that broke it last. */
static void it_can_break_again(void) {
  selv_lock *l = broken_lock(SELV_LOCK_STRICT_FIFO);
  selv_task later = task_named("later");
  int i;
  for (i = 0; i < 5; i++) {
    char name[32];
    selv_task mender;
    waiter w;
    snprintf(name, sizeof name, "mender %d", i);
    mender = task_named(name);
    CHECK_OK(selv_lock_repair(l, mender));
    if (i % 2) {
      waiter_start(&w, waiter_lock, l, later);
      UNTIL(lock_waiting(l) == 1);
    }
    CHECK_OK(selv_task_exit(mender, NULL));
    if (i % 2) WAITER_ENDED(&w, SELV_E_BROKEN);
    CHECK_STATUS(selv_lock_try_acquire(l, later), SELV_E_BROKEN);
    CHECK_LAST_ERROR_HAS(name);
    CHECK_EQ_U64(lock_stats(l).breaks, (uint64_t)i + 2);
  }
  CHECK_OK(selv_lock_repair(l, later));
  CHECK_STATUS(selv_lock_free(l), SELV_E_BUSY);
  CHECK_OK(selv_lock_release(l, later));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(later, NULL));
}

static void what_is_whole_is_left_alone(void) {
  selv_lock *l = lock_named("whole", 0);
  selv_task a = task_named("a"), b = task_named("b");
  CHECK_STATUS(selv_lock_repair(l, a), SELV_E_INVAL);
  CHECK_LAST_ERROR_HAS("whole");
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  CHECK_STATUS(selv_lock_repair(l, a), SELV_E_INVAL);
  CHECK_STATUS(selv_lock_repair(l, b), SELV_E_INVAL); /* not a way to take a lock from its owner */
  CHECK_EQ_U64(selv_lock_owner(l), a);
  CHECK_OK(selv_lock_release(l, a));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(a, NULL));
  CHECK_OK(selv_task_exit(b, NULL));
}

/* An orphan that nobody has looked at yet is broken, too. */
static void an_orphan_is_repaired_unseen(void) {
  selv_lock *l = broken_lock(0);
  CHECK_OK(selv_lock_repair(l, SELV_TASK_CURRENT));
  CHECK_EQ_U64(selv_lock_owner(l), selv_task_current());
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_free(l));
}

/* Many see the break and want to mend it: one does, and the lock is never with two. */
#define MENDERS 6
static selv_lock *contested;
static uint64_t contested_inside, contested_repairs, contested_rounds;
static check_tally contested_broke;

static void *mends(void *arg) {
  selv_task t = task_named("mender");
  uint64_t round;
  (void)arg;
  for (round = 1; round <= contested_rounds; round++) {
    selv_status s;
    CHECK_WAIT(&contested_broke, round);
    s = selv_lock_repair(contested, t);
    if (s == SELV_OK) {
      __atomic_add_fetch(&contested_repairs, 1, __ATOMIC_SEQ_CST);
    } else {
      CHECK_STATUS(s, SELV_E_INVAL); /* another one was first */
      CHECK_OK(selv_lock_acquire(contested, t, SELV_FOREVER));
    }
    CHECK(__atomic_add_fetch(&contested_inside, 1, __ATOMIC_SEQ_CST) == 1);
    CHECK(__atomic_sub_fetch(&contested_inside, 1, __ATOMIC_SEQ_CST) == 0);
    CHECK_OK(selv_lock_release(contested, t));
    check_tally_add((check_tally *)arg, 1);
  }
  CHECK_OK(selv_task_exit(t, NULL));
  return NULL;
}

static void one_of_many_repairs_it(void) {
  pthread_t thread[MENDERS];
  check_tally through = CHECK_TALLY_INIT;
  uint64_t round;
  int i;
  contested_rounds = check_scaled(200);
  contested = lock_named("contested", 0);
  check_tally_init(&contested_broke);
  for (i = 0; i < MENDERS; i++) CHECK(pthread_create(&thread[i], NULL, mends, &through) == 0);
  for (round = 1; round <= contested_rounds; round++) {
    selv_task owner = task_named("clumsy");
    CHECK_OK(selv_lock_acquire(contested, owner, SELV_FOREVER));
    CHECK_OK(selv_task_exit(owner, NULL));
    check_tally_add(&contested_broke, 1);
    CHECK_WAIT(&through, round * MENDERS);
    CHECK_EQ_U64(__atomic_load_n(&contested_repairs, __ATOMIC_SEQ_CST), round);
  }
  for (i = 0; i < MENDERS; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  CHECK_EQ_U64(lock_stats(contested).breaks, contested_rounds);
  CHECK_OK(selv_lock_free(contested));
}

static void not_by_nobody(void) {
  selv_lock *l = broken_lock(0);
  selv_task gone = task_named("gone");
  CHECK_OK(selv_task_exit(gone, NULL));
  CHECK_STATUS(selv_lock_repair(l, 0), SELV_E_INVAL);
  CHECK_STATUS(selv_lock_repair(l, gone), SELV_E_STALE);
  CHECK_STATUS(selv_lock_repair(NULL, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_EQ_U64(lock_stats(l).broken, 1);
  CHECK_OK(selv_lock_free(l));
}

int main(void) {
  CHECK_RUN(the_lock_works_again);
  CHECK_RUN(it_can_break_again);
  CHECK_RUN(what_is_whole_is_left_alone);
  CHECK_RUN(an_orphan_is_repaired_unseen);
  CHECK_RUN(one_of_many_repairs_it);
  CHECK_RUN(not_by_nobody);
  return 0;
}

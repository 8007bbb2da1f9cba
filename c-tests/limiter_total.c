/* limiter_total.c: the total can be changed while tokens are out: up serves those that wait, in order; below what is borrowed
 * takes nothing away, and no token is given until enough have come back; 0 gives nobody one. */
#include "sync_probe.h"

enum { MANY = 5 };

static selv_task tasks[MANY];
static op_probe ops[MANY];

static void line_up(selv_limiter *l, int at_once) {
  int i;
  for (i = 0; i < MANY; i++) {
    tasks[i] = task_named("borrower");
    op_probe_init(&ops[i]);
    CHECK_STATUS(op_limiter(&ops[i], l, tasks[i]), i < at_once ? SELV_OK : SELV_PENDING);
  }
}

static void served(selv_limiter *l, int from, int to) {
  int i;
  for (i = from; i < to; i++) OP_GOT(&ops[i], 1, SELV_OK);
  for (i = to; i < MANY; i++) CHECK_EQ_U64(check_tally_get(&ops[i].called), 0);
  CHECK_EQ_U64(limiter_waiting(l), MANY - to);
}

static void end(selv_limiter *l) {
  int i;
  for (i = 0; i < MANY; i++) CHECK_OK(selv_task_exit(tasks[i], NULL));
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
}

static void up_serves_those_that_wait(void) {
  selv_limiter *l = limiter_of(1);
  line_up(l, 1);
  CHECK_OK(selv_limiter_set_total(l, 3));
  served(l, 1, 3);
  CHECK(ops[1].order < ops[2].order);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 3);
  CHECK_EQ_U64(limiter_stats(l).total, 3);
  CHECK_OK(selv_limiter_set_total(l, UINT64_MAX));
  served(l, 3, MANY);
  CHECK_EQ_U64(limiter_stats(l).borrowed, MANY);
  end(l);
}

static void down_takes_nothing_away(void) {
  selv_limiter *l = limiter_of(3);
  line_up(l, 3);
  CHECK_OK(selv_limiter_set_total(l, 1));
  CHECK_EQ_U64(limiter_stats(l).borrowed, 3);
  CHECK_EQ_U64(limiter_stats(l).total, 1);
  CHECK_OK(selv_limiter_release(l, tasks[0]));
  CHECK_OK(selv_limiter_release(l, tasks[2]));
  served(l, 3, 3); /* as many as allowed are still out */
  CHECK_EQ_U64(limiter_stats(l).borrowed, 1);
  CHECK_OK(selv_limiter_release(l, tasks[1]));
  served(l, 3, 4);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 1);
  CHECK_OK(selv_limiter_release(l, tasks[3]));
  served(l, 4, 5);
  end(l);
}

/* Down and up again before anything came back: only what the new total has room for. */
static void down_and_up(void) {
  selv_limiter *l = limiter_of(2);
  line_up(l, 2);
  CHECK_OK(selv_limiter_set_total(l, 1));
  CHECK_OK(selv_limiter_set_total(l, 2));
  served(l, 2, 2);
  CHECK_OK(selv_limiter_set_total(l, 3));
  served(l, 2, 3);
  end(l);
}

static void none_for_anybody(void) {
  selv_limiter *l = limiter_of(1);
  selv_task late = task_named("late");
  waiter w;
  CHECK_OK(selv_limiter_set_total(l, 0));
  CHECK_STATUS(selv_limiter_try_acquire(l, late), SELV_E_WOULD_BLOCK);
  CHECK_STATUS(selv_limiter_acquire(l, late, 5 * CHECK_MS), SELV_E_TIMEDOUT);
  line_up(l, 0);
  waiter_start(&w, waiter_limiter, l, late);
  UNTIL(limiter_waiting(l) == MANY + 1);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_set_total(l, MANY + 1));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_EQ_U64(limiter_waiting(l), 0);
  CHECK_EQ_U64(limiter_stats(l).borrowed, MANY + 1);
  CHECK_OK(selv_task_exit(late, NULL));
  end(l);
}

/* Threads change the total while others come and go; in the end, with the total large, nobody waits and nothing is out. */
static selv_limiter *changed;
static int over;

static void *changes(void *arg) {
  uint64_t i;
  (void)arg;
  for (i = 0; !__atomic_load_n(&over, __ATOMIC_ACQUIRE); i++) {
    CHECK_OK(selv_limiter_set_total(changed, i % 4));
    sched_yield();
  }
  CHECK_OK(selv_limiter_set_total(changed, 1));
  return NULL;
}

static void *comes_and_goes(void *arg) {
  uint64_t i, rounds = check_scaled(2000);
  (void)arg;
  for (i = 0; i < rounds; i++) {
    selv_status status = selv_limiter_acquire(changed, SELV_TASK_CURRENT, i % 3 ? SELV_FOREVER : 50000);
    CHECK(status == SELV_OK || (i % 3 == 0 && status == SELV_E_TIMEDOUT));
    if (status == SELV_OK) CHECK_OK(selv_limiter_release(changed, SELV_TASK_CURRENT));
  }
  return NULL;
}

static void changed_all_the_time(void) {
  pthread_t changer, threads[4];
  int i;
  over = 0;
  changed = limiter_of(1);
  CHECK(pthread_create(&changer, NULL, changes, NULL) == 0);
  for (i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, comes_and_goes, NULL) == 0);
  for (i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
  CHECK(pthread_join(changer, NULL) == 0);
  CHECK_EQ_U64(limiter_stats(changed).borrowed, 0);
  CHECK_EQ_U64(limiter_waiting(changed), 0);
  CHECK_OK(selv_limiter_free(changed));
}

int main(void) {
  CHECK_RUN(up_serves_those_that_wait);
  CHECK_RUN(down_takes_nothing_away);
  CHECK_RUN(down_and_up);
  CHECK_RUN(none_for_anybody);
  CHECK_RUN(changed_all_the_time);
  return 0;
}

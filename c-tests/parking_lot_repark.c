/* parking_lot_repark.c: parkers are moved to another lot without being woken, in their order, behind those that are there; moved
 * into a broken lot they are told so (Trio strands them). */
#include "sync_probe.h"

#define PARKED 6

static waiter threads[PARKED];
static op_probe ops[PARKED];
static selv_task tasks[PARKED];

/* Operations at even places, threads at odd ones. */
static void park(selv_parking_lot *lot, int i) {
  uint64_t before = parking_lot_waiting(lot);
  tasks[i] = task_named("parker");
  if (i % 2)
    waiter_start(&threads[i], waiter_park, lot, tasks[i]);
  else {
    op_probe_init(&ops[i]);
    CHECK_STATUS(op_park(&ops[i], lot, tasks[i]), SELV_PENDING);
  }
  UNTIL(parking_lot_waiting(lot) == before + 1);
}

static int has_left(int i) { return i % 2 ? waiter_is_done(&threads[i]) : check_tally_get(&ops[i].called) != 0; }

static void leaves(int i, selv_status wanted, const char *detail) {
  if (i % 2)
    WAITER_ENDED(&threads[i], wanted);
  else
    OP_GOT(&ops[i], 1, wanted);
  if (detail) CHECK_HAS(i % 2 ? threads[i].detail : ops[i].detail, detail);
  CHECK_OK(selv_task_exit(tasks[i], NULL));
}

static void order_is_kept(void) {
  selv_parking_lot *from = lot_named("from"), *to = lot_named("to");
  static const int expected[PARKED] = {4, 5, 0, 1, 2, 3}; /* 4 and 5 were there before */
  uint64_t count = 99;
  int i, j;
  for (i = 0; i < 4; i++) park(from, i);
  for (i = 4; i < PARKED; i++) park(to, i);
  CHECK_OK(selv_parking_lot_repark(from, to, 0, &count));
  CHECK_EQ_U64(count, 0);
  CHECK_OK(selv_parking_lot_repark(from, to, 2, &count));
  CHECK_EQ_U64(count, 2);
  CHECK_EQ_U64(parking_lot_waiting(from), 2);
  CHECK_EQ_U64(parking_lot_waiting(to), 4);
  CHECK_OK(selv_parking_lot_repark(from, to, 10, &count));
  CHECK_EQ_U64(count, 2);
  CHECK_OK(selv_parking_lot_repark(from, to, 10, &count));
  CHECK_EQ_U64(count, 0);
  CHECK_OK(selv_parking_lot_unpark(from, 10, &count));
  CHECK_EQ_U64(count, 0);
  for (i = 0; i < PARKED; i++) CHECK(!has_left(i)); /* nobody was woken by it */
  for (i = 0; i < PARKED; i++) {
    CHECK_OK(selv_parking_lot_unpark(to, 1, &count));
    CHECK_EQ_U64(count, 1);
    leaves(expected[i], SELV_OK, NULL);
    for (j = i + 1; j < PARKED; j++) CHECK(!has_left(expected[j]));
  }
  CHECK_OK(selv_parking_lot_free(from));
  CHECK_OK(selv_parking_lot_free(to));
}

/* A moved wait is still a wait: it is cancelled, interrupted, times out and ends with its task where it now stands. */
static void a_moved_wait_ends_as_any(void) {
  selv_parking_lot *from = lot_named("from"), *to = lot_named("to");
  selv_task t = task_named("hasty");
  exit_probe ended;
  waiter timed;
  int i;
  for (i = 0; i < 5; i++) park(from, i);
  waiter_start_timed(&timed, waiter_park, from, t, 300 * CHECK_MS);
  UNTIL(parking_lot_waiting(from) == 6);
  CHECK_OK(selv_parking_lot_repark(from, to, 10, NULL));
  CHECK_OK(selv_parking_lot_free(from)); /* nobody is there any more */
  CHECK_OK(selv_op_cancel(ops[0].op));
  leaves(0, SELV_E_CANCELLED, "to");
  CHECK_OK(selv_task_interrupt(tasks[1]));
  leaves(1, SELV_E_CANCELLED, NULL);
  ended = task_ends(tasks[2]);
  CHECK_STR(ended.text, "wait for to; ");
  OP_GOT(&ops[2], 1, SELV_E_CANCELLED);
  WAITER_ENDED(&timed, SELV_E_TIMEDOUT);
  CHECK_HAS(timed.detail, "to");
  CHECK_EQ_U64(parking_lot_waiting(to), 2);
  CHECK_STATUS(selv_parking_lot_free(to), SELV_E_BUSY);
  CHECK_OK(selv_parking_lot_close(to));
  leaves(3, SELV_E_CLOSED, "to");
  leaves(4, SELV_E_CLOSED, "to");
  CHECK_OK(selv_parking_lot_free(to));
  CHECK_OK(selv_task_exit(t, NULL));
}

static void into_a_broken_lot(void) {
  selv_parking_lot *from = lot_named("from"), *to = lot_named("wreck");
  selv_task breaker = task_named("breaker");
  uint64_t count = 99;
  int i;
  CHECK_OK(selv_parking_lot_break(to, breaker));
  for (i = 0; i < 3; i++) park(from, i);
  CHECK_OK(selv_parking_lot_repark(from, to, 2, &count));
  CHECK_EQ_U64(count, 2);
  for (i = 0; i < 2; i++) leaves(i, SELV_E_BROKEN, "wreck");
  CHECK_HAS(ops[0].detail, "breaker");
  CHECK(!has_left(2)); /* not moved, not broken */
  CHECK_EQ_U64(parking_lot_waiting(from), 1);
  CHECK_EQ_U64(parking_lot_waiting(to), 0);
  CHECK_OK(selv_parking_lot_unpark(from, 1, NULL));
  leaves(2, SELV_OK, NULL);
  CHECK_OK(selv_parking_lot_free(from));
  CHECK_OK(selv_parking_lot_free(to));
  CHECK_OK(selv_task_exit(breaker, NULL));
}

/* Whoever is moved into a closed lot is told so. */
static void into_a_closed_lot(void) {
  selv_parking_lot *from = lot_named("from"), *to = lot_named("shut");
  uint64_t count = 99;
  int i;
  CHECK_OK(selv_parking_lot_close(to));
  for (i = 0; i < 3; i++) park(from, i);
  CHECK_OK(selv_parking_lot_repark(from, to, 2, &count));
  CHECK_EQ_U64(count, 2);
  for (i = 0; i < 2; i++) leaves(i, SELV_E_CLOSED, "shut");
  CHECK_EQ_U64(parking_lot_waiting(to), 0);
  CHECK(!has_left(2));
  CHECK_OK(selv_parking_lot_unpark(from, 1, NULL));
  leaves(2, SELV_OK, NULL);
  CHECK_OK(selv_parking_lot_free(from));
  CHECK_OK(selv_parking_lot_free(to));
}

/* The wait moved and the lot that it moved to broke by the end of a task. */
static void the_new_lot_breaks_later(void) {
  selv_parking_lot *from = lot_named("from"), *to = lot_named("to");
  selv_task breaker = task_named("breaker");
  exit_probe ended;
  int i;
  for (i = 0; i < 4; i++) park(from, i);
  CHECK_OK(selv_parking_lot_add_breaker(to, breaker));
  CHECK_OK(selv_parking_lot_repark(from, to, 3, NULL));
  ended = task_ends(breaker);
  CHECK_EQ_U64(ended.report.lots_broken, 1);
  for (i = 0; i < 3; i++) leaves(i, SELV_E_BROKEN, "breaker");
  CHECK(!has_left(3));
  CHECK_OK(selv_parking_lot_unpark(from, 1, NULL));
  leaves(3, SELV_OK, NULL);
  CHECK_OK(selv_parking_lot_free(from));
  CHECK_OK(selv_parking_lot_free(to));
}

/* Two threads move parkers in circles, and a third lets go of some: nobody is lost on the way, whichever locks it takes. */
static selv_parking_lot *circle[2];
static int over;

static void *moves(void *arg) {
  uintptr_t side = (uintptr_t)arg;
  while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
    uint64_t count = 0;
    CHECK_OK(selv_parking_lot_repark(circle[side], circle[1 - side], 2, &count));
    CHECK(count <= 2);
    sched_yield();
  }
  return NULL;
}

static void *parks(void *arg) {
  uint64_t rounds = check_scaled(300), i;
  (void)arg;
  for (i = 0; i < rounds; i++) {
    selv_status status = selv_parking_lot_park(circle[i % 2], SELV_TASK_CURRENT, i % 4 ? SELV_FOREVER : 20000);
    CHECK(status == SELV_OK || (i % 4 == 0 && status == SELV_E_TIMEDOUT));
  }
  return NULL;
}

static void *lets_go(void *arg) {
  uint64_t side = 0;
  (void)arg;
  while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
    CHECK_OK(selv_parking_lot_unpark(circle[side++ % 2], 1, NULL));
    sched_yield();
  }
  return NULL;
}

static void in_circles(void) {
  pthread_t movers[2], parkers[4], opener;
  uintptr_t i;
  over = 0;
  circle[0] = lot_named("left");
  circle[1] = lot_named("right");
  for (i = 0; i < 2; i++) CHECK(pthread_create(&movers[i], NULL, moves, (void *)i) == 0);
  CHECK(pthread_create(&opener, NULL, lets_go, NULL) == 0);
  for (i = 0; i < 4; i++) CHECK(pthread_create(&parkers[i], NULL, parks, NULL) == 0);
  for (i = 0; i < 4; i++) CHECK(pthread_join(parkers[i], NULL) == 0);
  __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
  for (i = 0; i < 2; i++) CHECK(pthread_join(movers[i], NULL) == 0);
  CHECK(pthread_join(opener, NULL) == 0);
  for (i = 0; i < 2; i++) {
    CHECK_EQ_U64(parking_lot_waiting(circle[i]), 0);
    CHECK_OK(selv_parking_lot_free(circle[i]));
  }
}

int main(void) {
  CHECK_RUN(order_is_kept);
  CHECK_RUN(a_moved_wait_ends_as_any);
  CHECK_RUN(into_a_broken_lot);
  CHECK_RUN(into_a_closed_lot);
  CHECK_RUN(the_new_lot_breaks_later);
  CHECK_RUN(in_circles);
  return 0;
}

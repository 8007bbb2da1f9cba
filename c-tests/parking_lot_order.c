/* parking_lot_order.c: parkers leave in the order in which they came, as many as were called; what is called when nobody is there
 * is not remembered. */
#include "sync_probe.h"

#define PARKED 8

static waiter threads[PARKED];
static op_probe ops[PARKED];
static selv_task tasks[PARKED];

static void fill(selv_parking_lot *lot) {
  int i;
  for (i = 0; i < PARKED; i++) {
    tasks[i] = task_named("parker");
    if (i % 2)
      waiter_start(&threads[i], waiter_park, lot, tasks[i]);
    else {
      op_probe_init(&ops[i]);
      CHECK_STATUS(op_park(&ops[i], lot, tasks[i]), SELV_PENDING);
    }
    UNTIL(parking_lot_waiting(lot) == (uint64_t)i + 1);
  }
}

/* Those before `gone` have left, the others are there. */
static void left(selv_parking_lot *lot, int gone) {
  int i;
  for (i = 0; i < gone; i++) {
    if (i % 2)
      CHECK_WAIT(&threads[i].ended, 1);
    else
      OP_GOT(&ops[i], 1, SELV_OK);
  }
  for (i = gone; i < PARKED; i++) CHECK(i % 2 ? !waiter_is_done(&threads[i]) : check_tally_get(&ops[i].called) == 0);
  CHECK_EQ_U64(parking_lot_waiting(lot), PARKED - gone);
  CHECK_EQ_U64(parking_lot_stats(lot).unparked, gone);
}

static void unpark_in_order(void) {
  selv_parking_lot *lot = lot_named("P");
  uint64_t count = 99, ticket = 0;
  int i;
  fill(lot);
  CHECK_OK(selv_parking_lot_unpark(lot, 0, &count));
  CHECK_EQ_U64(count, 0);
  left(lot, 0);
  CHECK_OK(selv_parking_lot_unpark(lot, 1, &count));
  CHECK_EQ_U64(count, 1);
  left(lot, 1);
  CHECK_OK(selv_parking_lot_unpark(lot, 3, NULL));
  left(lot, 4);
  CHECK_OK(selv_parking_lot_unpark(lot, 100, &count)); /* more than there are */
  CHECK_EQ_U64(count, PARKED - 4);
  left(lot, PARKED);
  for (i = 0; i < PARKED; i++) {
    if (i % 2)
      WAITER_ENDED(&threads[i], SELV_OK);
    else {
      CHECK(ops[i].last.ticket > ticket);
      ticket = ops[i].last.ticket;
    }
    CHECK_OK(selv_task_exit(tasks[i], NULL));
  }
  CHECK_EQ_U64(parking_lot_stats(lot).waits, PARKED);
  CHECK_OK(selv_parking_lot_free(lot));
}

static void all_at_once(void) {
  selv_parking_lot *lot = lot_named("P");
  uint64_t count = 99;
  int i;
  fill(lot);
  CHECK_OK(selv_parking_lot_unpark(lot, UINT64_MAX, &count));
  CHECK_EQ_U64(count, PARKED);
  left(lot, PARKED);
  for (i = 1; i < PARKED; i += 2) WAITER_ENDED(&threads[i], SELV_OK);
  for (i = 2; i < PARKED; i += 2) CHECK(ops[i - 2].order < ops[i].order);
  for (i = 0; i < PARKED; i++) CHECK_OK(selv_task_exit(tasks[i], NULL));
  CHECK_OK(selv_parking_lot_free(lot));
}

static void an_early_call_is_not_remembered(void) {
  selv_parking_lot *lot = lot_named("P");
  uint64_t count = 99;
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_parking_lot_unpark(lot, 5, &count));
  CHECK_EQ_U64(count, 0);
  CHECK_STATUS(selv_parking_lot_park(lot, SELV_TASK_CURRENT, 0), SELV_E_TIMEDOUT);
  CHECK_STATUS(op_park(&p, lot, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_parking_lot_unpark(lot, 1, &count));
  CHECK_EQ_U64(count, 1);
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_parking_lot_free(lot));
}

/* A parker that parks again in its callback stands at the end, and the call that woke it does not find it a second time. */
static void park_again(op_probe *p, const selv_completed *c) {
  CHECK_OK(c->status);
  if (p->n++ == 0) CHECK_STATUS(op_park(p, (selv_parking_lot *)p->object, p->task), SELV_PENDING);
}

static void parking_again_in_the_callback(void) {
  selv_parking_lot *lot = lot_named("P");
  uint64_t count = 99;
  op_probe first, second;
  op_probe_init(&first);
  op_probe_init(&second);
  first.then = park_again;
  CHECK_STATUS(op_park(&first, lot, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_STATUS(op_park(&second, lot, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(selv_parking_lot_unpark(lot, 10, &count));
  CHECK_EQ_U64(count, 2);
  OP_GOT(&second, 1, SELV_OK);
  OP_GOT(&first, 1, SELV_OK);
  CHECK_EQ_U64(parking_lot_waiting(lot), 1);
  CHECK_OK(selv_parking_lot_unpark(lot, 10, &count));
  CHECK_EQ_U64(count, 1);
  OP_GOT(&first, 2, SELV_OK);
  CHECK_OK(selv_parking_lot_free(lot));
}

int main(void) {
  CHECK_RUN(unpark_in_order);
  CHECK_RUN(all_at_once);
  CHECK_RUN(an_early_call_is_not_remembered);
  CHECK_RUN(parking_again_in_the_callback);
  return 0;
}

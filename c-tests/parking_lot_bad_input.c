/* parking_lot_bad_input.c: NULL, unknown flags, wrong sizes and tasks that are none, to every function of the parking lot. */
#include "sync_probe.h"

static void options(void) {
  selv_parking_lot_options good = SELV_PARKING_LOT_OPTIONS_INIT;
  selv_parking_lot *lot = NULL;
  SYNC_BAD_OPTIONS(parking_lot, good);
  CHECK_OK(selv_parking_lot_new(NULL, &lot));
  CHECK_OK(selv_parking_lot_free(lot));
}

static void calls(void) {
  selv_parking_lot *lot = lot_named("P"), *other = lot_named("Q"), *null = NULL;
  uint64_t count = 99;
  op_probe p, q;
  op_probe_init(&p);
  op_probe_init(&q);
  CHECK_STATUS(selv_parking_lot_park(NULL, SELV_TASK_CURRENT, 0), SELV_E_NULL);
  CHECK_STATUS(op_park(&p, null, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_STATUS(selv_parking_lot_unpark(NULL, 1, &count), SELV_E_NULL);
  CHECK_EQ_U64(count, 0);
  count = 99;
  CHECK_STATUS(selv_parking_lot_repark(NULL, lot, 1, &count), SELV_E_NULL);
  CHECK_EQ_U64(count, 0);
  CHECK_STATUS(selv_parking_lot_repark(lot, NULL, 1, &count), SELV_E_NULL);
  CHECK_OK(selv_parking_lot_repark(lot, other, 1, NULL));
  CHECK_STATUS(selv_parking_lot_break(NULL, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_STATUS(selv_parking_lot_add_breaker(NULL, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_STATUS(selv_parking_lot_remove_breaker(NULL, SELV_TASK_CURRENT), SELV_E_NULL);
  SYNC_BAD_TASKS(selv_parking_lot_park(lot, task, 0));
  SYNC_BAD_TASKS(selv_parking_lot_break(lot, task));
  SYNC_BAD_TASKS(selv_parking_lot_add_breaker(lot, task));
  SYNC_BAD_TASKS(selv_parking_lot_remove_breaker(lot, task));
  SYNC_BAD_ASYNC(selv_parking_lot_park_async(lot, task, completion, &op));
  CHECK_EQ_U64(parking_lot_stats(lot).broken, 0); /* by none of them */
  CHECK_EQ_U64(parking_lot_stats(lot).breakers, 0);
  CHECK_OK(selv_parking_lot_free(other));
  CHECK_OK(selv_parking_lot_free(lot));
}

/* From a lot into itself: refused, and nobody changes places. */
static void repark_into_itself(void) {
  selv_parking_lot *lot = lot_named("P");
  uint64_t count = 99;
  op_probe p, q;
  op_probe_init(&p);
  op_probe_init(&q);
  CHECK_STATUS(op_park(&p, lot, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_STATUS(op_park(&q, lot, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_STATUS(selv_parking_lot_repark(lot, lot, 1, &count), SELV_E_INVAL);
  CHECK_EQ_U64(count, 0);
  CHECK_EQ_U64(parking_lot_waiting(lot), 2);
  CHECK_OK(selv_parking_lot_unpark(lot, 2, NULL));
  OP_GOT(&p, 1, SELV_OK);
  OP_GOT(&q, 1, SELV_OK);
  CHECK(p.order < q.order);
  CHECK_OK(selv_parking_lot_free(lot));
}

int main(void) {
  CHECK_RUN(options);
  CHECK_RUN(calls);
  CHECK_RUN(repark_into_itself);
  return 0;
}

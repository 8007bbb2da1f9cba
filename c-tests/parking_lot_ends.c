/* parking_lot_ends.c: timeout, cancel, abandon, interrupt, task exit and close of a stay in a parking lot. */
#include "waits_end.h"

WAITABLE_OF(parking_lot)

static void *make(void) { return lot_named("P"); }
static selv_status submit(op_probe *p, void *object, selv_task task) { return op_park(p, (selv_parking_lot *)object, task); }
static void give(void *object) {
  uint64_t count = 99;
  CHECK_OK(selv_parking_lot_unpark((selv_parking_lot *)object, 1, &count));
  CHECK_EQ_U64(count, 1);
}

static const waitable lot = {"P", make, waiter_park, submit, NULL, give, NULL, parking_lot_object_waiting,
                             parking_lot_object_timeouts, parking_lot_object_cancelled, parking_lot_object_close,
                             parking_lot_object_free, 0, 1};

int main(void) {
  waits_end_all(&lot);
  return 0;
}

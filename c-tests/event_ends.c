/* event_ends.c: timeout, cancel, abandon, interrupt, task exit and close of a wait for an event. */
#include "waits_end.h"

WAITABLE_OF(event)

static void *make(void) { return event_of(SELV_EVENT_RESETTABLE); }
static selv_status submit(op_probe *p, void *object, selv_task task) { return op_event(p, (selv_event *)object, task); }
static void give(void *object) { CHECK_OK(selv_event_set((selv_event *)object)); }
static void settle(void *object, selv_task task) {
  (void)task;
  CHECK_OK(selv_event_clear((selv_event *)object));
}

static const waitable event = {"ready", make, waiter_event, submit, NULL, give, settle, event_object_waiting,
                               event_object_timeouts, event_object_cancelled, event_object_close, event_object_free, 1, 0};

int main(void) {
  waits_end_all(&event);
  return 0;
}

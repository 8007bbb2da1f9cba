/* event_bad_input.c: NULL, unknown flags, wrong sizes and tasks that are none, to every function of the event. */
#include "sync_probe.h"

static void options(void) {
  selv_event_options good = SELV_EVENT_OPTIONS_INIT;
  selv_event *e = NULL;
  SYNC_BAD_OPTIONS(event, good);
  good.flags = SELV_EVENT_RESETTABLE;
  SYNC_BAD_OPTIONS(event, good);
  CHECK_OK(selv_event_new(NULL, &e)); /* the defaults: not resettable, without a name */
  CHECK_STATUS(selv_event_clear(e), SELV_E_UNSUPPORTED);
  CHECK_OK(selv_event_free(e));
}

static void calls(void) {
  selv_event *e = event_of(0), *null = NULL;
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_event_set(NULL), SELV_E_NULL);
  CHECK_STATUS(selv_event_clear(NULL), SELV_E_NULL);
  CHECK_EQ_U64(selv_event_is_set(NULL), 0);
  CHECK_STATUS(selv_event_wait(NULL, SELV_TASK_CURRENT, 0), SELV_E_NULL);
  CHECK_STATUS(op_event(&p, null, SELV_TASK_CURRENT), SELV_E_NULL);
  SYNC_BAD_TASKS(selv_event_wait(e, task, 0));
  SYNC_BAD_ASYNC(selv_event_wait_async(e, task, completion, &op));
  CHECK_EQ_U64(event_stats(e).waits, 0);
  CHECK_OK(selv_event_set(e)); /* nor does a bad task get through a set one */
  SYNC_BAD_TASKS(selv_event_wait(e, task, SELV_FOREVER));
  SYNC_BAD_ASYNC(selv_event_wait_async(e, task, completion, &op));
  CHECK_OK(selv_event_free(e));
}

int main(void) {
  CHECK_RUN(options);
  CHECK_RUN(calls);
  return 0;
}

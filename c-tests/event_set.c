/* event_set.c: a set event lets everybody through who waits, in order, and whoever comes later; clearing it again takes nothing
 * back from those that it let through. */
#include "sync_probe.h"

#define CROWD 8

static waiter threads[CROWD];
static op_probe ops[CROWD];
static selv_task tasks[CROWD];

/* Threads and operations alternate. */
static void gather(selv_event *e) {
  int i;
  for (i = 0; i < CROWD; i++) {
    tasks[i] = task_named("waits");
    if (i % 2)
      waiter_start(&threads[i], waiter_event, e, tasks[i]);
    else {
      op_probe_init(&ops[i]);
      CHECK_STATUS(op_event(&ops[i], e, tasks[i]), SELV_PENDING);
    }
    UNTIL(event_waiting(e) == (uint64_t)i + 1);
  }
}

static void all_are_through(void) {
  uint64_t ticket = 0;
  int i;
  for (i = 0; i < CROWD; i++) {
    if (i % 2)
      WAITER_ENDED(&threads[i], SELV_OK);
    else {
      OP_GOT(&ops[i], 1, SELV_OK);
      CHECK(ops[i].last.ticket > ticket);
      ticket = ops[i].last.ticket;
    }
    CHECK_OK(selv_task_exit(tasks[i], NULL));
  }
}

static void set_lets_all_through(void) {
  selv_event *e = event_of(0);
  op_probe late;
  op_probe_init(&late);
  CHECK_EQ_U64(selv_event_is_set(e), 0);
  CHECK_EQ_U64(selv_event_is_set(NULL), 0);
  gather(e);
  CHECK_OK(selv_event_set(e));
  CHECK_EQ_U64(event_waiting(e), 0);
  all_are_through();
  CHECK_EQ_U64(selv_event_is_set(e), 1);
  CHECK_EQ_U64(event_stats(e).is_set, 1);
  CHECK_EQ_U64(event_stats(e).waits, CROWD);
  CHECK_OK(selv_event_set(e)); /* it is */
  CHECK_OK(selv_event_wait(e, SELV_TASK_CURRENT, 0));
  CHECK_OK(selv_event_wait(e, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(op_event(&late, e, SELV_TASK_CURRENT));
  CHECK_EQ_U64(late.op, 0);
  CHECK_EQ_U64(check_tally_get(&late.called), 0);
  CHECK_EQ_U64(event_stats(e).waits, CROWD);
  CHECK_OK(selv_event_free(e));
}

static void only_a_resettable_event_is_cleared(void) {
  selv_event *e = event_of(0);
  CHECK_STATUS(selv_event_clear(e), SELV_E_UNSUPPORTED);
  CHECK_LAST_ERROR_HAS("SELV_EVENT_RESETTABLE");
  CHECK_LAST_ERROR_HAS("ready");
  CHECK_OK(selv_event_set(e));
  CHECK_STATUS(selv_event_clear(e), SELV_E_UNSUPPORTED);
  CHECK_EQ_U64(selv_event_is_set(e), 1);
  CHECK_OK(selv_event_free(e));
}

/* They were completed when it was set: that it is clear again when they run does not matter. */
static void set_then_clear_still_lets_them_through(void) {
  selv_event *e = event_of(SELV_EVENT_RESETTABLE);
  uint64_t round, rounds = check_scaled(20);
  CHECK_OK(selv_event_clear(e)); /* it is */
  for (round = 0; round < rounds; round++) {
    gather(e);
    CHECK_OK(selv_event_set(e));
    CHECK_OK(selv_event_clear(e));
    CHECK_EQ_U64(selv_event_is_set(e), 0);
    all_are_through();
    CHECK_STATUS(selv_event_wait(e, SELV_TASK_CURRENT, 0), SELV_E_TIMEDOUT);
  }
  CHECK_OK(selv_event_free(e));
}

/* Who comes after the clear waits for the next time. */
static void again_after_clear(void) {
  selv_event *e = event_of(SELV_EVENT_RESETTABLE);
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_event_set(e));
  CHECK_OK(op_event(&p, e, SELV_TASK_CURRENT));
  CHECK_OK(selv_event_clear(e));
  CHECK_STATUS(op_event(&p, e, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_event_set(e));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_event_free(e));
}

/* A callback that clears the event and waits again waits for the next set: it is not served twice by this one. */
static void wait_again(op_probe *p, const selv_completed *c) {
  CHECK_OK(c->status);
  if (p->n++ != 0) return;
  CHECK_OK(selv_event_clear((selv_event *)p->object));
  CHECK_STATUS(op_event(p, (selv_event *)p->object, p->task), SELV_PENDING);
}

static void waiting_again_in_the_callback(void) {
  selv_event *e = event_of(SELV_EVENT_RESETTABLE);
  op_probe first, second;
  op_probe_init(&first);
  op_probe_init(&second);
  first.then = wait_again;
  CHECK_STATUS(op_event(&first, e, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_STATUS(op_event(&second, e, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(selv_event_set(e));
  OP_GOT(&second, 1, SELV_OK);
  OP_GOT(&first, 1, SELV_OK);
  CHECK_EQ_U64(event_waiting(e), 1);
  CHECK_OK(selv_event_set(e));
  OP_GOT(&first, 2, SELV_OK);
  CHECK_OK(selv_event_free(e));
}

int main(void) {
  CHECK_RUN(set_lets_all_through);
  CHECK_RUN(only_a_resettable_event_is_cleared);
  CHECK_RUN(set_then_clear_still_lets_them_through);
  CHECK_RUN(again_after_clear);
  CHECK_RUN(waiting_again_in_the_callback);
  return 0;
}

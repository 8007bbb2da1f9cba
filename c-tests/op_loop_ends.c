/* op_loop_ends.c: an operation with a host loop is told how it ended in a drain of that loop, on its thread, whatever ended it:
 * a grant, a cancel, a close, a break, the end of its task. Until the callback begins it can be abandoned, and what it was
 * granted goes on. */
#include "op_loop_kinds.h"

static void *grants(void *arg) {
  stage_grant((op_stage *)arg);
  return NULL;
}

static void granted(const op_kind *kind, int form) {
  pthread_t thread;
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  CHECK(!host_is_due(&h));
  CHECK_EQ_U64(host_stats(&h).accepted, 0); /* it waits for its object yet */
  CHECK(pthread_create(&thread, NULL, grants, &s) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(s.kind->waiting(&s), 0);
  CHECK_EQ_U64(host_waiting(&h), 1);
  CHECK(host_is_due(&h));
  CHECK_EQ_U64(check_tally_get(&s.p.called), 0);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  OP_GOT(&s.p, 1, SELV_OK);
  CHECK(pthread_equal(s.p.on, pthread_self()));
  CHECK_EQ_U64(s.p.last.op, s.p.op);
  CHECK(s.p.last.ticket != 0);
  if (kind->make == stage_condition) CHECK_EQ_U64(s.p.last.holds_lock, 1);
  CHECK_STATUS(selv_op_cancel(s.p.op), SELV_E_TOO_LATE);
  CHECK_STATUS(selv_op_abandon(s.p.op), SELV_E_TOO_LATE);
  CHECK(kind->is_held(&s, s.task));
  kind->give_back(&s, s.task);
  CHECK_EQ_U64(host_drain(&h, 0), 0);
  OP_GOT(&s.p, 1, SELV_OK);
  stage_off(&s, &h);
}

/* By the loop's own thread, too, it is told in the drain. */
static void granted_on_the_loops_thread(const op_kind *kind, int form) {
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  stage_grant(&s);
  CHECK(host_is_due(&h));
  CHECK_STATUS(selv_op_cancel(s.p.op), SELV_E_TOO_LATE); /* the grant won, though nobody has been told */
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  OP_GOT(&s.p, 1, SELV_OK);
  kind->give_back(&s, s.task);
  stage_off(&s, &h);
}

static void cancelled(const op_kind *kind, int form) {
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  CHECK_OK(selv_op_cancel(s.p.op));
  CHECK_EQ_U64(check_tally_get(&s.p.called), 0); /* not inside the call */
  CHECK_STATUS(selv_op_cancel(s.p.op), SELV_E_TOO_LATE);
  CHECK_EQ_U64(kind->waiting(&s), 0);
  CHECK(host_is_due(&h));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  OP_GOT(&s.p, 1, SELV_E_CANCELLED);
  CHECK_HAS(s.p.detail, "cancel");
  if (kind->cancelled_holds) kind->give_back(&s, s.task);
  stage_off(&s, &h);
}

static void its_object_is_closed(const op_kind *kind, int form) {
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  CHECK_OK(kind->close(&s));
  CHECK_EQ_U64(check_tally_get(&s.p.called), 0);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  OP_GOT(&s.p, 1, SELV_E_CLOSED);
  CHECK(pthread_equal(s.p.on, pthread_self()));
  if (kind->cancelled_holds) kind->give_back(&s, s.task);
  stage_off(&s, &h);
}

static void its_object_breaks(const op_kind *kind, int form) {
  op_stage s;
  host h;
  if (kind->breaks == NULL) return;
  stage_on(&s, &h, kind, form);
  kind->breaks(&s);
  CHECK_EQ_U64(check_tally_get(&s.p.called), 0);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  OP_GOT(&s.p, 1, SELV_E_BROKEN);
  CHECK_HAS(s.p.detail, "owner");
  CHECK_EQ_U64(s.p.last.holds_lock, 0);
  stage_off(&s, &h);
}

static void its_task_ends(const op_kind *kind, int form) {
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  CHECK_EQ_U64(task_ends(s.task).report.waits_cancelled, 1);
  s.task = 0;
  CHECK_EQ_U64(check_tally_get(&s.p.called), 0);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  OP_GOT(&s.p, 1, SELV_E_CANCELLED);
  CHECK_EQ_U64(s.p.last.holds_lock, 0);
  stage_off(&s, &h);
}

/* ---- granted, and not yet drained ---- */

static void abandoned(const op_kind *kind, int form) {
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  stage_grant(&s);
  CHECK_OK(selv_op_abandon(s.p.op));
  CHECK(kind->is_free(&s));
  CHECK_STATUS(selv_op_abandon(s.p.op), SELV_E_TOO_LATE);
  CHECK_STATUS(selv_op_cancel(s.p.op), SELV_E_TOO_LATE);
  CHECK_EQ_U64(host_drain(&h, 0), 0); /* nothing of it has run */
  CHECK_EQ_U64(check_tally_get(&s.p.called), 0);
  stage_off(&s, &h);
}

static void abandoned_with_another_behind(const op_kind *kind, int form) {
  op_stage s;
  host h;
  if (kind->for_all || kind->waiting == stage_send_waiting) return;
  stage_on(&s, &h, kind, form);
  stage_submit_next(&s);
  stage_grant(&s);
  CHECK_EQ_U64(check_tally_get(&s.q.called), 0);
  CHECK_OK(selv_op_abandon(s.p.op));
  STAGE_NEXT_HAS_IT(&s);
  CHECK_EQ_U64(host_drain(&h, 0), 0);
  CHECK_EQ_U64(check_tally_get(&s.p.called), 0);
  stage_off(&s, &h);
}

/* The one behind may be on a loop as well. */
static void abandoned_with_another_behind_on_a_loop(const op_kind *kind, int form) {
  op_stage s;
  host h, other;
  if (kind->for_all || kind->waiting == stage_send_waiting) return;
  host_begin(&other, form);
  stage_on(&s, &h, kind, form);
  s.q.loop = other.loop;
  stage_submit_next(&s);
  stage_grant(&s);
  CHECK_OK(selv_op_abandon(s.p.op));
  CHECK_EQ_U64(check_tally_get(&s.q.called), 0);
  CHECK_EQ_U64(host_drain(&h, 0), 0);
  CHECK_EQ_U64(host_drain(&other, 0), 1);
  STAGE_NEXT_HAS_IT(&s);
  stage_off(&s, &h);
  host_end(&other);
}

/* Its task ends before it was told: the grant goes on, nothing breaks. */
static void its_task_ends_when_granted(const op_kind *kind, int form) {
  exit_probe e;
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  stage_grant(&s);
  e = task_ends(s.task);
  s.task = 0;
  CHECK_EQ_U64(e.report.locks_broken, 0);
  CHECK(kind->is_free(&s));
  CHECK_EQ_U64(check_tally_get(&s.p.called), 0);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_EQ_U64(check_tally_get(&s.p.called), 1);
  CHECK_EITHER(s.p.last.status, SELV_E_CANCELLED, e.report.grants_passed_on ? SELV_E_CANCELLED : SELV_OK);
  CHECK_EQ_U64(s.p.last.holds_lock, 0);
  stage_off(&s, &h);
}

/* ---- the callback ends its thread ---- */

static void ends_the_thread(op_probe *p, const selv_completed *c) {
  CHECK_OK(c->status);
  selv_bytes_free(c->data);
  check_tally_add(&p->called, 1); /* op_probe_fn does not come to it */
  pthread_exit(NULL);
}

static void *drains_and_ends(void *arg) {
  host *h = (host *)arg;
  host_bind(h);
  host_drain(h, 0);
  check_fail(__FILE__, __LINE__, "the drain returned");
  return NULL;
}

/* It has been told; what is behind it in the queue is told by the next thread of the loop. */
static void its_callback_ends_the_thread(const op_kind *kind, int form) {
  pthread_t thread;
  op_stage s, behind;
  host h;
  stage_on(&s, &h, kind, form);
  s.p.then = ends_the_thread;
  stage_begin(&behind, kind);
  stage_submit(&behind, &h);
  stage_grant(&s);
  stage_grant(&behind);
  CHECK(pthread_create(&thread, NULL, drains_and_ends, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  OP_GOT(&s.p, 1, SELV_OK);
  CHECK(kind->is_held(&s, s.task)); /* the task lives */
  kind->give_back(&s, s.task);
  CHECK_EQ_U64(check_tally_get(&behind.p.called), 0);
  host_bind(&h);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  OP_GOT(&s.p, 1, SELV_OK);
  OP_GOT(&behind.p, 1, SELV_OK);
  kind->give_back(&behind, behind.task);
  stage_end(&behind);
  stage_off(&s, &h);
}

/* ---- satisfied at once ---- */

/* Where no wait is needed there is no callback, with a loop as without. */
static void at_once(int form) {
  selv_lock *l = lock_named("desk", 0);
  selv_task t = task_named("t");
  op_probe p;
  host h;
  host_begin(&h, form);
  op_probe_init(&p);
  p.loop = h.loop;
  CHECK_OK(op_probe_lock(&p, l, t));
  CHECK_EQ_U64(p.op, 0);
  CHECK_EQ_U64(host_drain(&h, 0), 0);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_lock_release(l, t));
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_OK(selv_lock_free(l));
  host_end(&h);
}

/* A receiver always has one: on the loop, where without a loop it would be on a worker. */
static void a_receiver_whose_item_is_there(int form) {
  selv_channel *ch = channel_of(0, 0);
  uint64_t i, many = 100;
  op_probe p;
  host h;
  host_begin(&h, form);
  for (i = 0; i < many; i++) {
    op_probe_init(&p);
    p.loop = h.loop;
    p.then = op_probe_take;
    CHECK_OK(item_send_nowait(ch, i));
    CHECK_STATUS(op_recv(&p, ch, SELV_TASK_CURRENT), SELV_PENDING);
    CHECK(host_is_due(&h));
    CHECK_EQ_U64(check_tally_get(&p.called), 0);
    if (i % 2) {
      CHECK_EQ_U64(host_drain(&h, 0), 1);
      OP_GOT(&p, 1, SELV_OK);
      CHECK(pthread_equal(p.on, pthread_self()));
      CHECK_EQ_U64(p.n, i);
    } else { /* abandoned instead: it is there again */
      uint64_t number;
      CHECK_OK(selv_op_abandon(p.op));
      CHECK_EQ_U64(host_drain(&h, 0), 0);
      CHECK_EQ_U64(check_tally_get(&p.called), 0);
      CHECK_OK(item_recv_nowait(ch, &number));
      CHECK_EQ_U64(number, i);
    }
  }
  CHECK_OK(selv_channel_free(ch));
  host_end(&h);
}

int main(void) {
  STAGE_RUN_ALL(granted);
  STAGE_RUN_ALL(granted_on_the_loops_thread);
  STAGE_RUN_ALL(cancelled);
  STAGE_RUN_ALL(its_object_is_closed);
  STAGE_RUN_ALL(its_object_breaks);
  STAGE_RUN_ALL(its_task_ends);
  STAGE_RUN_ALL(abandoned);
  STAGE_RUN_ALL(abandoned_with_another_behind);
  STAGE_RUN_ALL(abandoned_with_another_behind_on_a_loop);
  STAGE_RUN_ALL(its_task_ends_when_granted);
  STAGE_RUN_ALL(its_callback_ends_the_thread);
  HOST_RUN_BOTH(at_once);
  HOST_RUN_BOTH(a_receiver_whose_item_is_there);
  return 0;
}

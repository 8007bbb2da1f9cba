/* op_loop_closed.c: the host loop of an operation is closed: before the operation begins, while it waits, or when it has been
 * granted and waits for the drain. Its callback is told SELV_E_CLOSED, once, and what it was granted goes to the next. */
#include "op_loop_kinds.h"

static void told_closed_at(const char *file, int line, op_stage *s, const char *part) {
  op_probe_got_at(file, line, "the operation", &s->p, 1, SELV_E_CLOSED);
  check_has(file, line, "the detail", s->p.detail, part);
  check_u64_is(file, line, "holds_lock", "expected", (uint64_t)s->p.last.holds_lock, 0);
  CHECK(s->p.last.data == NULL && s->p.last.len == 0);
  CHECK_EQ_U64(s->p.last.op, s->p.op);
}
#define TOLD_CLOSED(s) told_closed_at(__FILE__, __LINE__, (s), "plain")

/* Nothing begins, and everything is as it was. */
static void before_it_begins(const op_kind *kind, int form) {
  op_stage s;
  host h;
  host_begin(&h, form);
  stage_begin(&s, kind);
  host_close(&h);
  s.p.loop = h.loop;
  s.p.op = 99;
  CHECK_STATUS(kind->submit(&s, &s.p, s.task), SELV_E_CLOSED);
  CHECK_LAST_ERROR_HAS("plain");
  CHECK_EQ_U64(s.p.op, 0);
  CHECK_EQ_U64(kind->waiting(&s), 0);
  if (kind->make == stage_recv) {
    kind->grant(&s);
    CHECK_STATUS(kind->submit(&s, &s.p, s.task), SELV_E_CLOSED); /* and the item is not taken */
    CHECK(kind->is_free(&s));
  }
  CHECK_EQ_U64(check_tally_get(&s.p.called), 0);
  stage_off(&s, &h);
}

static void *grants(void *arg) {
  ((op_stage *)arg)->kind->grant((op_stage *)arg);
  return NULL;
}

/* It goes on waiting, and is told by who lets it in. */
static void while_it_waits(const op_kind *kind, int form) {
  pthread_t thread;
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  host_close(&h);
  CHECK_EQ_U64(check_tally_get(&s.p.called), 0);
  CHECK_EQ_U64(kind->waiting(&s), 1);
  CHECK(pthread_create(&thread, NULL, grants, &s) == 0);
  CHECK_WAIT(&s.p.called, 1);
  CHECK(pthread_equal(s.p.on, thread)); /* it is not joined yet */
  CHECK(pthread_join(thread, NULL) == 0);
  TOLD_CLOSED(&s);
  CHECK(kind->is_free(&s));
  stage_off(&s, &h);
}

static void while_it_waits_with_another_behind(const op_kind *kind, int form) {
  op_stage s;
  host h;
  if (kind->waiting == stage_send_waiting) return;
  stage_on(&s, &h, kind, form);
  stage_submit_next(&s);
  host_close(&h);
  kind->grant(&s);
  TOLD_CLOSED(&s);
  STAGE_NEXT_HAS_IT(&s);
  stage_off(&s, &h);
}

/* What waits can be withdrawn as ever. */
static void cancelled_when_it_is_closed(const op_kind *kind, int form) {
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  host_close(&h);
  CHECK_OK(selv_op_cancel(s.p.op));
  TOLD_CLOSED(&s);
  CHECK(pthread_equal(s.p.on, pthread_self()));
  if (kind->make == stage_condition) CHECK(kind->is_free(&s)); /* the lock that came with it is not kept */
  stage_off(&s, &h);
}

static void abandoned_when_it_is_closed(const op_kind *kind, int form) {
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  host_close(&h);
  CHECK_OK(selv_op_abandon(s.p.op));
  CHECK_EQ_U64(kind->waiting(&s), 0);
  stage_off(&s, &h);
  CHECK_EQ_U64(check_tally_get(&s.p.called), 0);
}

/* ---- granted, and not yet drained: the close tells ---- */

static void before_the_drain(const op_kind *kind, int form) {
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  stage_grant(&s);
  host_close(&h);
  TOLD_CLOSED(&s);
  CHECK(pthread_equal(s.p.on, pthread_self()));
  CHECK(kind->is_free(&s));
  CHECK_STATUS(selv_op_abandon(s.p.op), SELV_E_TOO_LATE);
  stage_off(&s, &h);
}

static void before_the_drain_with_another_behind(const op_kind *kind, int form) {
  op_stage s;
  host h;
  if (kind->for_all || kind->waiting == stage_send_waiting) return;
  stage_on(&s, &h, kind, form);
  stage_submit_next(&s);
  stage_grant(&s);
  CHECK_EQ_U64(check_tally_get(&s.q.called), 0);
  host_close(&h);
  TOLD_CLOSED(&s);
  STAGE_NEXT_HAS_IT(&s);
  stage_off(&s, &h);
}

/* Both are on the loop: the grant goes through both, and is free at last. */
static void before_the_drain_with_another_of_the_same_loop(const op_kind *kind, int form) {
  op_stage s;
  host h;
  if (kind->for_all || kind->waiting == stage_send_waiting) return;
  stage_on(&s, &h, kind, form);
  s.q.loop = h.loop;
  stage_submit_next(&s);
  stage_grant(&s);
  host_close(&h);
  TOLD_CLOSED(&s);
  OP_GOT(&s.q, 1, SELV_E_CLOSED);
  CHECK(s.p.order < s.q.order);
  CHECK(kind->is_free(&s));
  stage_off(&s, &h);
}

/* A thread behind it gets the lock as well. */
static void a_thread_behind_it(int form) {
  op_stage s;
  waiter w;
  host h;
  stage_on(&s, &h, &op_kinds[0], form);
  waiter_start(&w, waiter_lock, s.lock, s.next);
  UNTIL(lock_waiting(s.lock) == 2);
  stage_grant(&s);
  host_close(&h);
  TOLD_CLOSED(&s);
  WAITER_ENDED(&w, SELV_OK);
  CHECK_EQ_U64(selv_lock_owner(s.lock), s.next);
  CHECK_OK(selv_lock_release(s.lock, s.next));
  stage_off(&s, &h);
}

/* A cancelled wait for a condition has its lock back first, and has let go of it when it is told that the loop is closed. */
static void a_cancelled_wait_for_a_condition(int form) {
  op_stage s;
  host h;
  stage_on(&s, &h, &op_kinds[1], form);
  CHECK_OK(selv_op_cancel(s.p.op));
  CHECK_EQ_U64(selv_lock_owner(s.lock), s.task);
  host_close(&h);
  TOLD_CLOSED(&s);
  CHECK_EQ_U64(selv_lock_owner(s.lock), 0);
  stage_off(&s, &h);
}

/* ---- not closed by hand: the last handle is gone ---- */

static void the_last_handle(const op_kind *kind, int form) {
  op_stage s;
  host h;
  stage_on(&s, &h, kind, form);
  selv_host_loop_release(h.loop);
  CHECK_EQ_U64(check_tally_get(&h.freed), form == HOST_WAKE ? 1 : 0);
  kind->grant(&s);
  TOLD_CLOSED(&s);
  CHECK(kind->is_free(&s));
  stage_end(&s);
  host_pipe_closed(&h);
}

/* ---- closed inside a callback of the same drain ---- */

static void closes_the_loop(op_probe *p, const selv_completed *c) {
  host *h = (host *)p->object;
  CHECK_OK(c->status);
  op_probe_inside = 0; /* those that the close tells run inside it, and so inside this one */
  host_close(h);
  op_probe_inside = 1;
}

/* What is behind in the queue is told before the close returns. */
static void by_the_callback_before(const op_kind *kind, int form) {
  selv_event *e = event_of(0);
  op_probe closes;
  op_stage s;
  host h;
  host_begin(&h, form);
  stage_begin(&s, kind);
  op_probe_init(&closes);
  closes.loop = h.loop;
  CHECK_STATUS(op_event(&closes, e, SELV_TASK_CURRENT), SELV_PENDING);
  closes.object = &h;
  closes.then = closes_the_loop;
  stage_submit(&s, &h);
  CHECK_OK(selv_event_set(e));
  stage_grant(&s);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  OP_GOT(&closes, 1, SELV_OK);
  TOLD_CLOSED(&s);
  CHECK(kind->is_free(&s));
  CHECK_OK(selv_event_free(e));
  stage_off(&s, &h);
}

int main(void) {
  STAGE_RUN_ALL(before_it_begins);
  STAGE_RUN_ALL(while_it_waits);
  STAGE_RUN_ALL(while_it_waits_with_another_behind);
  STAGE_RUN_ALL(cancelled_when_it_is_closed);
  STAGE_RUN_ALL(abandoned_when_it_is_closed);
  STAGE_RUN_ALL(before_the_drain);
  STAGE_RUN_ALL(before_the_drain_with_another_behind);
  STAGE_RUN_ALL(before_the_drain_with_another_of_the_same_loop);
  HOST_RUN_BOTH(a_thread_behind_it);
  HOST_RUN_BOTH(a_cancelled_wait_for_a_condition);
  STAGE_RUN_ALL(the_last_handle);
  STAGE_RUN_ALL(by_the_callback_before);
  return 0;
}

/* semaphore_ends.c: timeout, cancel, abandon, interrupt, task exit and close of a wait for permits; whatever ends the wait of the
 * head, those behind it that can be served now are served. */
#include "waits_end.h"

WAITABLE_OF(semaphore)

static void *make(void) { return semaphore_of(0, 0); }
static selv_status submit(op_probe *p, void *object, selv_task task) { return op_semaphore(p, (selv_semaphore *)object, task, 1); }
static void give(void *object) { CHECK_OK(selv_semaphore_release((selv_semaphore *)object, 1)); }

static const waitable semaphore = {"S", make, waiter_semaphore, submit, NULL, give, NULL, semaphore_object_waiting,
                                   semaphore_object_timeouts, semaphore_object_cancelled, semaphore_object_close,
                                   semaphore_object_free, 0, 1};

/* Two permits are free; the head wants three, those behind it one each. */
struct line {
  selv_semaphore *s;
  selv_task big;
  op_probe small[2];
};

static void line_up(struct line *l) {
  int i;
  for (i = 0; i < 2; i++) {
    op_probe_init(&l->small[i]);
    CHECK_STATUS(op_semaphore(&l->small[i], l->s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  }
  CHECK_EQ_U64(semaphore_stats(l->s).permits, 2);
}

static void line_moves(struct line *l) {
  OP_GOT(&l->small[0], 1, SELV_OK);
  OP_GOT(&l->small[1], 1, SELV_OK);
  CHECK(l->small[0].order < l->small[1].order);
  CHECK_EQ_U64(semaphore_stats(l->s).permits, 0);
  CHECK_EQ_U64(semaphore_waiting(l->s), 0);
  CHECK_OK(selv_semaphore_free(l->s));
}

static void line_begin(struct line *l, waiter *w, uint64_t timeout_ns) {
  l->s = semaphore_of(2, 0);
  l->big = task_named("big");
  waiter_init(w, waiter_semaphore, l->s, l->big);
  w->n = 3;
  w->timeout_ns = timeout_ns;
  waiter_go(w);
  UNTIL(semaphore_waiting(l->s) == 1);
}

static void the_head_times_out(void) {
  struct line l;
  waiter w;
  line_begin(&l, &w, 300 * CHECK_MS);
  line_up(&l);
  WAITER_ENDED(&w, SELV_E_TIMEDOUT);
  line_moves(&l);
  CHECK_OK(selv_task_exit(l.big, NULL));
}

static void the_head_is_interrupted(void) {
  struct line l;
  waiter w;
  line_begin(&l, &w, SELV_FOREVER);
  line_up(&l);
  CHECK_OK(selv_task_interrupt(l.big));
  WAITER_ENDED(&w, SELV_E_CANCELLED);
  line_moves(&l);
  CHECK_OK(selv_task_exit(l.big, NULL));
}

static void the_head_ends(void) {
  struct line l;
  waiter w;
  line_begin(&l, &w, SELV_FOREVER);
  line_up(&l);
  CHECK_EQ_U64(task_ends(l.big).report.waits_cancelled, 1);
  WAITER_ENDED(&w, SELV_E_CANCELLED);
  line_moves(&l);
}

static void the_head_is_withdrawn(selv_status (*withdraw)(selv_op), uint64_t calls) {
  struct line l;
  op_probe big;
  l.s = semaphore_of(2, 0);
  op_probe_init(&big);
  CHECK_STATUS(op_semaphore(&big, l.s, SELV_TASK_CURRENT, 3), SELV_PENDING);
  line_up(&l);
  CHECK_OK(withdraw(big.op));
  line_moves(&l);
  CHECK_EQ_U64(check_tally_get(&big.called), calls);
}

static void the_head_is_cancelled(void) { the_head_is_withdrawn(selv_op_cancel, 1); }
static void the_head_is_abandoned(void) { the_head_is_withdrawn(selv_op_abandon, 0); }

/* Permits that were given and abandoned serve as many as they are enough for. */
static op_probe granted;

static void abandon_the_granted(op_probe *p, const selv_completed *c) {
  CHECK_OK(c->status);
  CHECK_OK(selv_semaphore_release((selv_semaphore *)p->object, 2));
  CHECK_OK(selv_op_abandon(granted.op));
}

static void an_abandoned_grant_serves_two(void) {
  struct line l;
  op_probe first;
  l.s = semaphore_of(0, 0);
  op_probe_init(&first);
  op_probe_init(&granted);
  first.then = abandon_the_granted;
  CHECK_STATUS(op_semaphore(&first, l.s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  CHECK_STATUS(op_semaphore(&granted, l.s, SELV_TASK_CURRENT, 2), SELV_PENDING);
  op_probe_init(&l.small[0]);
  op_probe_init(&l.small[1]);
  CHECK_STATUS(op_semaphore(&l.small[0], l.s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  CHECK_STATUS(op_semaphore(&l.small[1], l.s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  CHECK_OK(selv_semaphore_release(l.s, 1));
  OP_GOT(&first, 1, SELV_OK);
  line_moves(&l);
  CHECK_EQ_U64(check_tally_get(&granted.called), 0);
}

/* A closed semaphore takes permits back without complaint: whoever has some is cleaning up. */
static void release_after_close(void) {
  selv_semaphore *s = semaphore_of(1, 1);
  CHECK_OK(selv_semaphore_try_acquire(s, 1));
  CHECK_OK(selv_semaphore_close(s));
  CHECK_STATUS(selv_semaphore_try_acquire(s, 1), SELV_E_CLOSED);
  CHECK_OK(selv_semaphore_release(s, 1));
  CHECK_STATUS(selv_semaphore_try_acquire(s, 1), SELV_E_CLOSED);
  CHECK_STATUS(selv_semaphore_acquire(s, SELV_TASK_CURRENT, 1, 0), SELV_E_CLOSED);
  CHECK_EQ_U64(semaphore_stats(s).closed, 1);
  CHECK_OK(selv_semaphore_free(s));
}

int main(void) {
  waits_end_all(&semaphore);
  CHECK_RUN(the_head_times_out);
  CHECK_RUN(the_head_is_interrupted);
  CHECK_RUN(the_head_ends);
  CHECK_RUN(the_head_is_cancelled);
  CHECK_RUN(the_head_is_abandoned);
  CHECK_RUN(an_abandoned_grant_serves_two);
  CHECK_RUN(release_after_close);
  return 0;
}

/* waits_end.h: the ways in which a wait ends other than well, which are the same for every primitive: timeout, cancel, abandon,
 * interrupt, the end of the task, close. A program describes its primitive as a `waitable` and calls waits_end_all. */
#ifndef SELV_C_TESTS_WAITS_END_H
#define SELV_C_TESTS_WAITS_END_H

#include "sync_probe.h"

typedef struct waitable {
  const char *name;                                                      /* of the objects that `make` makes */
  void *(*make)(void);                                                   /* an object on which every wait has to wait */
  selv_status (*wait)(waiter *w);                                        /* for a thread */
  selv_status (*submit)(op_probe *p, void *object, selv_task task);      /* for an operation */
  void (*then)(op_probe *p, const selv_completed *c);                    /* what every callback must do; may be NULL */
  void (*give)(void *object);                                            /* lets the first that waits through */
  void (*settle)(void *object, selv_task task);                          /* after `task` got through: as before; may be NULL */
  uint64_t (*waiting)(void *object);
  uint64_t (*timeouts)(void *object);
  uint64_t (*cancelled)(void *object);
  selv_status (*close)(void *object);
  selv_status (*free)(void *object);
  int gives_all;  /* `give` lets all through that wait */
  int passes_on;  /* what was given and not taken goes to the next */
} waitable;

static void waits_end_settle(const waitable *k, void *object, selv_task task) {
  if (k->settle) k->settle(object, task);
}

static void waits_end_probe(const waitable *k, op_probe *p) {
  op_probe_init(p);
  p->then = k->then;
}

static void waits_end_submit(const waitable *k, op_probe *p, void *object, selv_task task) {
  waits_end_probe(k, p);
  CHECK_STATUS(k->submit(p, object, task), SELV_PENDING);
}

/* The object is as new: a thread and an operation wait for it and get through. */
static void waits_end_works(const waitable *k, void *object) {
  selv_task one = task_named("one"), two = task_named("two");
  waiter w;
  op_probe p;
  CHECK_EQ_U64(k->waiting(object), 0);
  waiter_start(&w, k->wait, object, one);
  UNTIL(k->waiting(object) == 1);
  k->give(object);
  WAITER_ENDED(&w, SELV_OK);
  waits_end_settle(k, object, one);
  waits_end_submit(k, &p, object, two);
  k->give(object);
  OP_GOT(&p, 1, SELV_OK);
  waits_end_settle(k, object, two);
  CHECK_EQ_U64(k->waiting(object), 0);
  CHECK_OK(selv_task_exit(one, NULL));
  CHECK_OK(selv_task_exit(two, NULL));
}

static void waits_end_done(const waitable *k, void *object) {
  waits_end_works(k, object);
  CHECK_OK(k->free(object));
}

static void waits_end_by_timeout(const waitable *k) {
  void *object = k->make();
  selv_task t = task_named("impatient");
  waiter w;
  waiter_start_timed(&w, k->wait, object, t, 0);
  WAITER_ENDED(&w, SELV_E_TIMEDOUT);
  CHECK_HAS(w.detail, k->name);
  waiter_start_timed(&w, k->wait, object, t, 30 * CHECK_MS);
  WAITER_ENDED(&w, SELV_E_TIMEDOUT);
  CHECK(w.took_ns >= 30 * CHECK_MS);
  CHECK_EQ_U64(k->timeouts(object), 2);
  /* One that has time enough is not hurried. */
  waiter_start_timed(&w, k->wait, object, t, check_patience_s() * 2 * UINT64_C(1000000000));
  UNTIL(k->waiting(object) == 1);
  k->give(object);
  WAITER_ENDED(&w, SELV_OK);
  waits_end_settle(k, object, t);
  waiter_start_timed(&w, k->wait, object, t, SELV_NO_WAIT - 1); /* added to the time of day it must not wrap */
  UNTIL(k->waiting(object) == 1);
  k->give(object);
  WAITER_ENDED(&w, SELV_OK);
  waits_end_settle(k, object, t);
  CHECK_EQ_U64(k->timeouts(object), 2);
  CHECK_OK(selv_task_exit(t, NULL));
  waits_end_done(k, object);
}

static void waits_end_by_cancel(const waitable *k) {
  void *object = k->make();
  selv_task tasks[3];
  op_probe p[3];
  int i;
  for (i = 0; i < 3; i++) {
    tasks[i] = task_named("canceller");
    waits_end_submit(k, &p[i], object, tasks[i]);
  }
  CHECK(p[0].op != p[1].op && p[1].op != p[2].op && p[0].op != p[2].op);
  CHECK_OK(selv_op_cancel(p[1].op));
  CHECK_EQ_U64(check_tally_get(&p[1].called), 1); /* inside selv_op_cancel */
  CHECK(pthread_equal(p[1].on, pthread_self()));
  OP_GOT(&p[1], 1, SELV_E_CANCELLED);
  CHECK_EQ_U64(p[1].last.op, p[1].op);
  CHECK_HAS(p[1].detail, k->name);
  CHECK_STATUS(selv_op_cancel(p[1].op), SELV_E_TOO_LATE);
  CHECK_STATUS(selv_op_abandon(p[1].op), SELV_E_TOO_LATE);
  CHECK_OK(selv_op_cancel(p[0].op)); /* the head: what comes now is for the last */
  CHECK_EQ_U64(k->cancelled(object), 2);
  CHECK_EQ_U64(k->waiting(object), 1);
  k->give(object);
  OP_GOT(&p[2], 1, SELV_OK);
  CHECK_STATUS(selv_op_cancel(p[2].op), SELV_E_TOO_LATE);
  CHECK_STATUS(selv_op_abandon(p[2].op), SELV_E_TOO_LATE);
  waits_end_settle(k, object, tasks[2]);
  OP_GOT(&p[0], 1, SELV_E_CANCELLED);
  OP_GOT(&p[1], 1, SELV_E_CANCELLED);
  for (i = 0; i < 3; i++) CHECK_OK(selv_task_exit(tasks[i], NULL));
  waits_end_done(k, object);
}

static void waits_end_by_abandon(const waitable *k) {
  void *object = k->make();
  selv_task one = task_named("one"), two = task_named("two");
  op_probe p, q;
  CHECK_STATUS(selv_op_cancel(0), SELV_E_INVAL);
  CHECK_STATUS(selv_op_abandon(0), SELV_E_INVAL);
  CHECK_STATUS(selv_op_cancel(UINT64_MAX), SELV_E_INVAL); /* never given out */
  CHECK_STATUS(selv_op_abandon(UINT64_MAX), SELV_E_INVAL);
  waits_end_submit(k, &p, object, one);
  waits_end_submit(k, &q, object, two);
  CHECK_OK(selv_op_abandon(p.op));
  CHECK_EQ_U64(k->waiting(object), 1);
  CHECK_STATUS(selv_op_abandon(p.op), SELV_E_TOO_LATE);
  CHECK_STATUS(selv_op_cancel(p.op), SELV_E_TOO_LATE);
  k->give(object);
  OP_GOT(&q, 1, SELV_OK);
  waits_end_settle(k, object, two);
  CHECK_EQ_U64(task_ends(one).items, 0);
  CHECK_OK(selv_task_exit(two, NULL));
  waits_end_done(k, object);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
}

/* ---- after the grant, before the callback ---- */

/* The first callback gives to the second, whose callback has to wait for the end of the first's: in between, the second is
 * granted and does not know it. */
static struct {
  const waitable *kind;
  op_probe first, second, third;
  selv_task tasks[3];
  selv_status seen[2];
  exit_probe ended;
  int exited; /* the second task has */
} between;

static void between_begin(void *object, void (*then)(op_probe *, const selv_completed *)) {
  const waitable *k = between.kind;
  int i;
  between.exited = 0;
  for (i = 0; i < 3; i++) between.tasks[i] = task_named("between");
  waits_end_submit(k, &between.first, object, between.tasks[0]);
  waits_end_submit(k, &between.second, object, between.tasks[1]);
  waits_end_submit(k, &between.third, object, between.tasks[2]);
  between.first.then = then;
  k->give(object);
  OP_GOT(&between.first, 1, SELV_OK);
}

static void between_finish(void *object, int second_got, int third_got) {
  const waitable *k = between.kind;
  int i;
  waits_end_settle(k, object, between.tasks[0]);
  if (second_got) waits_end_settle(k, object, between.tasks[1]);
  if (third_got) waits_end_settle(k, object, between.tasks[2]);
  for (i = 0; i < 3; i++)
    if (i != 1 || !between.exited) CHECK_OK(selv_task_exit(between.tasks[i], NULL));
  waits_end_done(k, object);
}

static void between_cancel(op_probe *p, const selv_completed *c) {
  if (between.kind->then) between.kind->then(p, c);
  CHECK_STATUS(selv_op_cancel(c->op), SELV_E_TOO_LATE); /* its own: it is being told */
  CHECK_STATUS(selv_op_abandon(c->op), SELV_E_TOO_LATE);
  between.kind->give(p->object);
  between.seen[0] = selv_op_cancel(between.second.op);
  CHECK_EQ_U64(check_tally_get(&between.second.called), 0);
}

static void a_grant_is_not_cancelled(const waitable *k) {
  void *object = k->make();
  between.kind = k;
  between_begin(object, between_cancel);
  CHECK_STATUS(between.seen[0], SELV_E_TOO_LATE);
  OP_GOT(&between.second, 1, SELV_OK);
  CHECK(between.first.order < between.second.order);
  if (!k->gives_all) {
    CHECK_EQ_U64(check_tally_get(&between.third.called), 0);
    CHECK_OK(selv_op_cancel(between.third.op));
  }
  between_finish(object, 1, 0);
}

static void between_abandon(op_probe *p, const selv_completed *c) {
  if (between.kind->then) between.kind->then(p, c);
  between.kind->give(p->object);
  between.seen[0] = selv_op_abandon(between.second.op);
  between.seen[1] = selv_op_cancel(between.second.op);
}

static void an_abandoned_grant_passes_on(const waitable *k) {
  void *object = k->make();
  between.kind = k;
  between_begin(object, between_abandon);
  CHECK_OK(between.seen[0]);
  CHECK_STATUS(between.seen[1], SELV_E_TOO_LATE);
  if (k->passes_on || k->gives_all)
    OP_GOT(&between.third, 1, SELV_OK);
  else
    CHECK_OK(selv_op_cancel(between.third.op));
  between_finish(object, 0, 1);
  CHECK_EQ_U64(check_tally_get(&between.second.called), 0);
}

static void between_exit(op_probe *p, const selv_completed *c) {
  if (between.kind->then) between.kind->then(p, c);
  between.kind->give(p->object);
  between.ended = task_ends(between.tasks[1]);
  between.exited = 1;
}

static void a_grant_passes_on_when_its_task_ends(const waitable *k) {
  void *object = k->make();
  between.kind = k;
  between_begin(object, between_exit);
  CHECK_WAIT(&between.second.called, 1);
  CHECK_EQ_U64(check_tally_get(&between.second.called), 1);
  if (k->passes_on) {
    char wanted[64];
    CHECK_EQ_U64(between.ended.items, 1);
    CHECK_EQ_U64(between.ended.report.grants_passed_on, 1);
    snprintf(wanted, sizeof wanted, "grant of %s; ", k->name);
    CHECK_STR(between.ended.text, wanted);
    OP_GOT(&between.second, 1, SELV_E_CANCELLED);
  }
  if (k->passes_on || k->gives_all)
    OP_GOT(&between.third, 1, SELV_OK);
  else
    CHECK_OK(selv_op_cancel(between.third.op));
  between_finish(object, 0, 1);
}

/* ---- interrupt ---- */

static void waits_end_by_interrupt(const waitable *k) {
  void *object = k->make();
  selv_task t = task_named("interrupted"), other = task_named("other");
  waiter w;
  op_probe p;
  waits_end_submit(k, &p, object, other);
  waiter_start(&w, k->wait, object, t);
  UNTIL(k->waiting(object) == 2);
  CHECK_OK(selv_task_interrupt(other)); /* it has no thread that waits: its operation goes on */
  CHECK_OK(selv_task_interrupt(t));
  WAITER_ENDED(&w, SELV_E_CANCELLED);
  CHECK_HAS(w.detail, "interrupt");
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  k->give(object);
  OP_GOT(&p, 1, SELV_OK);
  waits_end_settle(k, object, other);
  CHECK_OK(selv_task_interrupt(t)); /* before the wait: it ends as soon as it begins, if it has to wait at all */
  waiter_start_timed(&w, k->wait, object, t, 0);
  WAITER_ENDED(&w, SELV_E_TIMEDOUT);
  waiter_start(&w, k->wait, object, t);
  WAITER_ENDED(&w, SELV_E_CANCELLED);
  waiter_start(&w, k->wait, object, t); /* and only that one */
  UNTIL(k->waiting(object) == 1);
  k->give(object);
  WAITER_ENDED(&w, SELV_OK);
  waits_end_settle(k, object, t);
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_OK(selv_task_exit(other, NULL));
  waits_end_done(k, object);
}

/* ---- the end of the task ---- */

static void waits_end_with_the_task(const waitable *k) {
  void *object = k->make();
  selv_task t = task_named("mortal"), next = task_named("next");
  exit_probe ended;
  waiter w;
  op_probe p, q;
  char wanted[96];
  waiter_start(&w, k->wait, object, t);
  UNTIL(k->waiting(object) == 1);
  waits_end_submit(k, &q, object, next);
  ended = task_ends(t);
  CHECK_EQ_U64(ended.report.waits_cancelled, 1);
  snprintf(wanted, sizeof wanted, "wait for %s; ", k->name);
  CHECK_STR(ended.text, wanted);
  WAITER_ENDED(&w, SELV_E_CANCELLED);
  CHECK_EQ_U64(k->waiting(object), 1);

  t = task_named("mortal");
  waits_end_submit(k, &p, object, t);
  ended = task_ends(t);
  CHECK_EQ_U64(ended.report.waits_cancelled, 1);
  OP_GOT(&p, 1, SELV_E_CANCELLED);
  CHECK_STATUS(selv_op_cancel(p.op), SELV_E_TOO_LATE);
  k->give(object);
  OP_GOT(&q, 1, SELV_OK);
  waits_end_settle(k, object, next);
  CHECK_OK(selv_task_exit(next, NULL));
  waits_end_done(k, object);
}

struct left_behind {
  const waitable *kind;
  void *object;
  op_probe probe;
};

static const selv_worker *left_behind_on; /* the worker on which the callback ran */

static void left_behind_then(op_probe *p, const selv_completed *c) {
  (void)p;
  CHECK_STATUS(c->status, SELV_E_CANCELLED);
  left_behind_on = selv_worker_current();
}

static void *leaves_an_operation_behind(void *arg) {
  struct left_behind *l = (struct left_behind *)arg;
  CHECK_STATUS(l->kind->submit(&l->probe, l->object, SELV_TASK_CURRENT), SELV_PENDING);
  return NULL;
}

/* A thread's own task ends with the thread; what is then to be called back is called on a worker, never in a thread's last
 * moments, when the runtime of its language may be gone. */
static void waits_end_with_the_thread(const waitable *k) {
  void *object = k->make();
  struct left_behind l;
  pthread_t thread;
  l.kind = k;
  l.object = object;
  op_probe_init(&l.probe);
  l.probe.then = left_behind_then;
  left_behind_on = NULL;
  CHECK(pthread_create(&thread, NULL, leaves_an_operation_behind, &l) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  OP_GOT(&l.probe, 1, SELV_E_CANCELLED);
  CHECK(left_behind_on != NULL);
  waits_end_done(k, object);
}

/* ---- close and free ---- */

static void waits_end_by_close(const waitable *k) {
  void *object = k->make();
  selv_task tasks[3];
  waiter w, late;
  op_probe p, q;
  int i;
  for (i = 0; i < 3; i++) tasks[i] = task_named("closed out");
  waiter_start(&w, k->wait, object, tasks[0]);
  UNTIL(k->waiting(object) == 1);
  waits_end_submit(k, &p, object, tasks[1]);
  CHECK_STATUS(k->free(object), SELV_E_BUSY);
  CHECK_LAST_ERROR_HAS(k->name);
  CHECK_EQ_U64(k->waiting(object), 2);
  CHECK_OK(k->close(object));
  WAITER_ENDED(&w, SELV_E_CLOSED);
  CHECK_HAS(w.detail, k->name);
  OP_GOT(&p, 1, SELV_E_CLOSED);
  CHECK_HAS(p.detail, k->name);
  CHECK_EQ_U64(k->waiting(object), 0);
  waiter_start(&late, k->wait, object, tasks[2]);
  WAITER_ENDED(&late, SELV_E_CLOSED);
  waits_end_probe(k, &q);
  CHECK_STATUS(k->submit(&q, object, tasks[2]), SELV_E_CLOSED);
  CHECK_STATUS(selv_op_cancel(p.op), SELV_E_TOO_LATE);
  CHECK_OK(k->close(object));
  CHECK_OK(k->free(object));
  OP_GOT(&p, 1, SELV_E_CLOSED);
  CHECK_EQ_U64(check_tally_get(&q.called), 0);
  for (i = 0; i < 3; i++) CHECK_EQ_U64(task_ends(tasks[i]).items, 0);
}

/* The callback may free what its operation waited for, while the call that completed it has not returned. */
static void free_it_here(op_probe *p, const selv_completed *c) {
  if (between.kind->then) between.kind->then(p, c);
  waits_end_settle(between.kind, p->object, p->task);
  CHECK_OK(between.kind->free(p->object));
}

static void free_it_cancelled(op_probe *p, const selv_completed *c) {
  if (between.kind->then) between.kind->then(p, c);
  CHECK_OK(between.kind->free(p->object));
}

static void a_callback_frees_its_object(const waitable *k) {
  selv_task t = task_named("last user");
  void *object = k->make();
  op_probe p;
  between.kind = k;
  waits_end_submit(k, &p, object, t);
  p.then = free_it_here;
  k->give(object);
  OP_GOT(&p, 1, SELV_OK);

  object = k->make();
  waits_end_submit(k, &p, object, t);
  p.then = free_it_cancelled;
  CHECK_OK(selv_op_cancel(p.op));
  OP_GOT(&p, 1, SELV_E_CANCELLED);

  object = k->make();
  waits_end_submit(k, &p, object, t);
  p.then = free_it_cancelled;
  CHECK_OK(k->close(object));
  OP_GOT(&p, 1, SELV_E_CLOSED);

  object = k->make();
  waits_end_submit(k, &p, object, t);
  p.then = free_it_cancelled;
  CHECK_OK(selv_task_exit(t, NULL));
  OP_GOT(&p, 1, SELV_E_CANCELLED);
}

#define WAITS_END_RUN(test, k) \
  do {                         \
    printf("%s\n", #test);     \
    fflush(stdout);            \
    test(k);                   \
  } while (0)

static void waits_end_all(const waitable *k) {
  WAITS_END_RUN(waits_end_by_timeout, k);
  WAITS_END_RUN(waits_end_by_cancel, k);
  WAITS_END_RUN(waits_end_by_abandon, k);
  WAITS_END_RUN(a_grant_is_not_cancelled, k);
  WAITS_END_RUN(an_abandoned_grant_passes_on, k);
  WAITS_END_RUN(a_grant_passes_on_when_its_task_ends, k);
  WAITS_END_RUN(waits_end_by_interrupt, k);
  WAITS_END_RUN(waits_end_with_the_task, k);
  WAITS_END_RUN(waits_end_with_the_thread, k);
  WAITS_END_RUN(waits_end_by_close, k);
  WAITS_END_RUN(a_callback_frees_its_object, k);
}

/* The parts of a waitable that only pass a pointer on: WAITABLE_OF(semaphore) makes semaphore_object_waiting and so on. */
#define WAITABLE_OF(type)                                                                                               \
  static uint64_t type##_object_waiting(void *o) { return type##_stats((const selv_##type *)o).waiting; }               \
  static uint64_t type##_object_timeouts(void *o) { return type##_stats((const selv_##type *)o).timeouts; }             \
  static uint64_t type##_object_cancelled(void *o) { return type##_stats((const selv_##type *)o).cancelled; }           \
  static selv_status type##_object_close(void *o) { return selv_##type##_close((selv_##type *)o); }                     \
  static selv_status type##_object_free(void *o) { return selv_##type##_free((selv_##type *)o); }

#endif

/* semaphore_order.c: permits are given in the order of asking, to threads and operations in one line, each its whole number at
 * once; nobody gets past a request that is too big for now. */
#include "sync_probe.h"

#define LINE 8

static void one_line_for_threads_and_operations(void) {
  selv_semaphore *s = semaphore_of(0, 0);
  waiter threads[LINE];
  op_probe ops[LINE];
  selv_task tasks[LINE];
  uint64_t ticket = 0;
  int i, j;
  for (i = 0; i < LINE; i++) {
    tasks[i] = task_named("asker");
    if (i % 2)
      waiter_start(&threads[i], waiter_semaphore, s, tasks[i]);
    else {
      op_probe_init(&ops[i]);
      CHECK_STATUS(op_semaphore(&ops[i], s, tasks[i], 1), SELV_PENDING);
    }
    UNTIL(semaphore_waiting(s) == (uint64_t)i + 1);
  }
  for (i = 0; i < LINE; i++) {
    CHECK_OK(selv_semaphore_release(s, 1));
    CHECK_EQ_U64(semaphore_waiting(s), LINE - 1 - i);
    if (i % 2)
      WAITER_ENDED(&threads[i], SELV_OK);
    else {
      OP_GOT(&ops[i], 1, SELV_OK);
      CHECK_EQ_U64(ops[i].last.op, ops[i].op);
      CHECK(ops[i].last.ticket > ticket);
      ticket = ops[i].last.ticket;
    }
    for (j = i + 1; j < LINE; j++) CHECK(j % 2 ? !waiter_is_done(&threads[j]) : check_tally_get(&ops[j].called) == 0);
  }
  CHECK_EQ_U64(semaphore_stats(s).permits, 0);
  CHECK_EQ_U64(semaphore_stats(s).waits, LINE);
  CHECK_OK(selv_semaphore_free(s));
  for (i = 0; i < LINE; i++) CHECK_OK(selv_task_exit(tasks[i], NULL));
}

static void a_big_request_at_the_head_holds_back_the_small(void) {
  selv_semaphore *s = semaphore_of(2, 0);
  waiter big;
  op_probe small;
  op_probe_init(&small);
  waiter_start_n(&big, waiter_semaphore, s, 0, 3);
  UNTIL(semaphore_waiting(s) == 1);
  CHECK_STATUS(op_semaphore(&small, s, SELV_TASK_CURRENT, 1), SELV_PENDING); /* though two are free */
  CHECK_STATUS(selv_semaphore_try_acquire(s, 1), SELV_E_WOULD_BLOCK);
  CHECK_STATUS(selv_semaphore_acquire(s, SELV_TASK_CURRENT, 1, 0), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(semaphore_stats(s).permits, 2);
  CHECK_OK(selv_semaphore_release(s, 1));
  WAITER_ENDED(&big, SELV_OK);
  CHECK_EQ_U64(semaphore_stats(s).permits, 0);
  CHECK_EQ_U64(check_tally_get(&small.called), 0);
  CHECK_OK(selv_semaphore_release(s, 1));
  OP_GOT(&small, 1, SELV_OK);
  CHECK_OK(selv_semaphore_free(s));
}

static void one_release_serves_as_many_as_it_can(void) {
  selv_semaphore *s = semaphore_of(0, 0);
  op_probe one, two, three, last;
  op_probe_init(&one);
  op_probe_init(&two);
  op_probe_init(&three);
  op_probe_init(&last);
  CHECK_STATUS(op_semaphore(&one, s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  CHECK_STATUS(op_semaphore(&two, s, SELV_TASK_CURRENT, 2), SELV_PENDING);
  CHECK_STATUS(op_semaphore(&three, s, SELV_TASK_CURRENT, 3), SELV_PENDING);
  CHECK_STATUS(op_semaphore(&last, s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  CHECK_OK(selv_semaphore_release(s, 5));
  OP_GOT(&one, 1, SELV_OK);
  OP_GOT(&two, 1, SELV_OK);
  CHECK(one.order < two.order && one.last.ticket < two.last.ticket);
  CHECK_EQ_U64(check_tally_get(&three.called) + check_tally_get(&last.called), 0);
  CHECK_EQ_U64(semaphore_stats(s).permits, 2);
  CHECK_EQ_U64(semaphore_waiting(s), 2);
  CHECK_OK(selv_semaphore_release(s, 2));
  OP_GOT(&three, 1, SELV_OK);
  OP_GOT(&last, 1, SELV_OK);
  CHECK(three.order < last.order && three.last.ticket < last.last.ticket);
  CHECK_EQ_U64(semaphore_stats(s).permits, 0);
  CHECK_OK(selv_semaphore_free(s));
}

/* No owner: whoever has a permit may give it back, and a task's end gives back nothing. */
static void nobody_owns_a_permit(void) {
  selv_semaphore *s = semaphore_of(1, 1);
  selv_task t = task_named("taker");
  CHECK_OK(selv_semaphore_acquire(s, t, 1, SELV_FOREVER));
  CHECK_EQ_U64(task_ends(t).items, 0);
  CHECK_EQ_U64(semaphore_stats(s).permits, 0);
  CHECK_STATUS(selv_semaphore_try_acquire(s, 1), SELV_E_WOULD_BLOCK);
  CHECK_OK(selv_semaphore_release(s, 1));
  CHECK_OK(selv_semaphore_try_acquire(s, 1));
  CHECK_OK(selv_semaphore_free(s)); /* held is not waited on: there is nobody to hold it */
}

/* Satisfied at once, an operation is no operation: no callback, no number. */
static void what_is_there_is_taken_at_once(void) {
  selv_semaphore *s = semaphore_of(3, 0);
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(op_semaphore(&p, s, SELV_TASK_CURRENT, 2));
  CHECK_EQ_U64(p.op, 0);
  CHECK_OK(selv_semaphore_acquire(s, SELV_TASK_CURRENT, 1, 0));
  CHECK_EQ_U64(semaphore_stats(s).permits, 0);
  CHECK_EQ_U64(semaphore_stats(s).waits, 0);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_semaphore_free(s));
}

/* A callback that releases does not recurse into the next callback, however long the line. */
static void give_on(op_probe *p, const selv_completed *c) {
  CHECK_OK(c->status);
  CHECK_OK(selv_semaphore_release((selv_semaphore *)p->object, 1));
}

static void callbacks_that_release_do_not_nest(void) {
  selv_semaphore *s = semaphore_of(0, 1);
  uint64_t many = check_scaled(20000), i;
  op_probe p;
  op_probe_init(&p);
  p.then = give_on; /* op_probe_fn checks that none runs inside another */
  for (i = 0; i < many; i++) CHECK_STATUS(op_semaphore(&p, s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  CHECK_OK(selv_semaphore_release(s, 1));
  OP_GOT(&p, many, SELV_OK);
  CHECK_EQ_U64(semaphore_stats(s).permits, 1);
  CHECK_OK(selv_semaphore_free(s));
}

int main(void) {
  CHECK_RUN(one_line_for_threads_and_operations);
  CHECK_RUN(a_big_request_at_the_head_holds_back_the_small);
  CHECK_RUN(one_release_serves_as_many_as_it_can);
  CHECK_RUN(nobody_owns_a_permit);
  CHECK_RUN(what_is_there_is_taken_at_once);
  CHECK_RUN(callbacks_that_release_do_not_nest);
  return 0;
}

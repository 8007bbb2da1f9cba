/* limiter_order.c: tokens go in the order of asking, to threads and operations in one line, and at the moment of the wake: who was
 * woken has the token already, and nobody barges in before it runs. */
#include "sync_probe.h"

#define LINE 8

static void one_line_for_threads_and_operations(void) {
  selv_limiter *l = limiter_of(1);
  waiter threads[LINE];
  op_probe ops[LINE];
  selv_task tasks[LINE], first = task_named("first"), before;
  uint64_t ticket = 0;
  int i, j;
  CHECK_OK(selv_limiter_try_acquire(l, first));
  for (i = 0; i < LINE; i++) {
    tasks[i] = task_named("borrower");
    if (i % 2)
      waiter_start(&threads[i], waiter_limiter, l, tasks[i]);
    else {
      op_probe_init(&ops[i]);
      CHECK_STATUS(op_limiter(&ops[i], l, tasks[i]), SELV_PENDING);
    }
    UNTIL(limiter_waiting(l) == (uint64_t)i + 1);
  }
  before = first;
  for (i = 0; i < LINE; i++) {
    CHECK_OK(selv_limiter_release(l, before));
    /* Whether it has run yet or not: */
    CHECK_EQ_U64(limiter_stats(l).borrowed, 1);
    CHECK_EQ_U64(limiter_waiting(l), LINE - 1 - i);
    CHECK_STATUS(selv_limiter_try_acquire(l, first), SELV_E_WOULD_BLOCK);
    if (i % 2)
      WAITER_ENDED(&threads[i], SELV_OK);
    else {
      OP_GOT(&ops[i], 1, SELV_OK);
      CHECK(ops[i].last.ticket > ticket);
      ticket = ops[i].last.ticket;
    }
    for (j = i + 1; j < LINE; j++) CHECK(j % 2 ? !waiter_is_done(&threads[j]) : check_tally_get(&ops[j].called) == 0);
    before = tasks[i];
  }
  CHECK_OK(selv_limiter_release(l, before));
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
  for (i = 0; i < LINE; i++) CHECK_OK(selv_task_exit(tasks[i], NULL));
  CHECK_OK(selv_task_exit(first, NULL));
}

/* In the callback the token is there. */
static void inside(op_probe *p, const selv_completed *c) {
  selv_limiter *l = (selv_limiter *)p->object;
  CHECK_OK(c->status);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 1);
  CHECK_STATUS(selv_limiter_try_acquire(l, p->task), SELV_E_DUPLICATE);
  CHECK_OK(selv_limiter_release(l, p->task));
}

static void callbacks_that_release_do_not_nest(void) {
  selv_limiter *l = limiter_of(1);
  uint64_t many = check_scaled(5000), i;
  selv_task *tasks = (selv_task *)calloc(many, sizeof *tasks);
  op_probe *ops = (op_probe *)calloc(many, sizeof *ops);
  CHECK(tasks != NULL && ops != NULL);
  CHECK_OK(selv_limiter_try_acquire(l, SELV_TASK_CURRENT));
  for (i = 0; i < many; i++) {
    tasks[i] = task_named("borrower");
    op_probe_init(&ops[i]);
    ops[i].then = inside;
    CHECK_STATUS(op_limiter(&ops[i], l, tasks[i]), SELV_PENDING);
  }
  CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
  for (i = 0; i < many; i++) {
    OP_GOT(&ops[i], 1, SELV_OK);
    CHECK(i == 0 || ops[i].order == ops[i - 1].order + 1);
    CHECK_OK(selv_task_exit(tasks[i], NULL));
  }
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
  free(ops);
  free(tasks);
}

static void what_is_there_is_taken_at_once(void) {
  selv_limiter *l = limiter_of(2);
  selv_task one = task_named("one"), two = task_named("two"), three = task_named("three");
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(op_limiter(&p, l, one));
  CHECK_EQ_U64(p.op, 0);
  CHECK_OK(selv_limiter_acquire(l, two, 0));
  CHECK_STATUS(selv_limiter_try_acquire(l, three), SELV_E_WOULD_BLOCK);
  CHECK_STATUS(selv_limiter_acquire(l, three, 0), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 2);
  CHECK_EQ_U64(limiter_stats(l).total, 2);
  CHECK_STATUS(selv_limiter_release(l, three), SELV_E_NOT_OWNER);
  CHECK_LAST_ERROR_HAS("tokens");
  CHECK_LAST_ERROR_HAS("three");
  CHECK_OK(selv_limiter_release(l, one));
  CHECK_STATUS(selv_limiter_release(l, one), SELV_E_NOT_OWNER);
  CHECK_OK(selv_limiter_acquire(l, three, SELV_FOREVER));
  CHECK_OK(selv_limiter_release(l, three));
  CHECK_OK(selv_limiter_release(l, two));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_task_exit(one, NULL));
  CHECK_OK(selv_task_exit(two, NULL));
  CHECK_OK(selv_task_exit(three, NULL));
}

/* Token after token to whoever is next, while another thread never stops trying: it gets none as long as anybody waits. */
static int keep_trying;
static uint64_t barged;

static void *barges(void *arg) {
  selv_limiter *l = (selv_limiter *)arg;
  while (__atomic_load_n(&keep_trying, __ATOMIC_ACQUIRE)) {
    if (selv_limiter_try_acquire(l, SELV_TASK_CURRENT) == SELV_OK) {
      __atomic_add_fetch(&barged, 1, __ATOMIC_SEQ_CST);
      CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
    }
    sched_yield();
  }
  return NULL;
}

static void release_after(waiter *w) { CHECK_OK(selv_limiter_release((selv_limiter *)w->object, w->task)); }

static void nobody_barges(void) {
  selv_limiter *l = limiter_of(1);
  selv_task keepers[2];
  waiter line[4];
  pthread_t thread;
  uint64_t round, rounds = check_scaled(50);
  int i;
  barged = 0;
  keep_trying = 1;
  for (i = 0; i < 2; i++) keepers[i] = task_named("keeper");
  CHECK_OK(selv_limiter_try_acquire(l, keepers[0]));
  CHECK(pthread_create(&thread, NULL, barges, l) == 0);
  for (round = 0; round < rounds; round++) {
    op_probe back;
    for (i = 0; i < 4; i++) {
      waiter_init(&line[i], waiter_limiter, l, 0);
      line[i].then = i < 3 ? release_after : NULL; /* the last one ends with the token, and its end gives it back */
      waiter_go(&line[i]);
      UNTIL(limiter_waiting(l) == (uint64_t)i + 1);
    }
    /* The other keeper stands behind them: the token goes through all hands with somebody always waiting. */
    op_probe_init(&back);
    CHECK_STATUS(op_limiter(&back, l, keepers[(round + 1) % 2]), SELV_PENDING);
    CHECK_OK(selv_limiter_release(l, keepers[round % 2]));
    OP_GOT(&back, 1, SELV_OK);
    for (i = 0; i < 4; i++) WAITER_ENDED(&line[i], SELV_OK);
  }
  __atomic_store_n(&keep_trying, 0, __ATOMIC_RELEASE);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(barged, 0);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 1);
  for (i = 0; i < 2; i++) CHECK_OK(selv_task_exit(keepers[i], NULL));
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
}

int main(void) {
  CHECK_RUN(one_line_for_threads_and_operations);
  CHECK_RUN(callbacks_that_release_do_not_nest);
  CHECK_RUN(what_is_there_is_taken_at_once);
  CHECK_RUN(nobody_barges);
  return 0;
}

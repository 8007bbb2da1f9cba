/* parking_lot_break.c: a lot is broken by a task, or by the end of a task that was added as its breaker: whoever is parked and
 * whoever comes later is told, and by whom. Breakers are counted per task. */
#include "probe.h"
#include "sync_probe.h"

static void is_broken(selv_parking_lot *lot, const char *by) {
  op_probe p;
  op_probe_init(&p);
  CHECK_EQ_U64(parking_lot_stats(lot).broken, 1);
  CHECK_STATUS(selv_parking_lot_park(lot, SELV_TASK_CURRENT, SELV_FOREVER), SELV_E_BROKEN);
  CHECK_LAST_ERROR_HAS("'P'");
  CHECK_LAST_ERROR_HAS(by);
  CHECK_STATUS(selv_parking_lot_park(lot, SELV_TASK_CURRENT, 0), SELV_E_BROKEN);
  CHECK_STATUS(op_park(&p, lot, SELV_TASK_CURRENT), SELV_E_BROKEN);
  CHECK_EQ_U64(p.op, 0);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
}

static void is_whole(selv_parking_lot *lot) {
  CHECK_EQ_U64(parking_lot_stats(lot).broken, 0);
  CHECK_STATUS(selv_parking_lot_park(lot, SELV_TASK_CURRENT, 0), SELV_E_TIMEDOUT);
}

static void by_hand(void) {
  selv_parking_lot *lot = lot_named("P");
  selv_task wrecker = task_named("wrecker"), parked = task_named("parked");
  uint64_t count = 99;
  waiter w;
  op_probe p;
  op_probe_init(&p);
  waiter_start(&w, waiter_park, lot, parked);
  UNTIL(parking_lot_waiting(lot) == 1);
  CHECK_STATUS(op_park(&p, lot, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(selv_parking_lot_break(lot, wrecker));
  WAITER_ENDED(&w, SELV_E_BROKEN);
  CHECK_HAS(w.detail, "'P'");
  CHECK_HAS(w.detail, "'wrecker'");
  OP_GOT(&p, 1, SELV_E_BROKEN);
  CHECK_HAS(p.detail, "'P'");
  CHECK_HAS(p.detail, "'wrecker'");
  CHECK_STATUS(selv_op_cancel(p.op), SELV_E_TOO_LATE);
  is_broken(lot, "'wrecker'");
  CHECK_EQ_U64(parking_lot_waiting(lot), 0);
  CHECK_OK(selv_parking_lot_unpark(lot, 5, &count)); /* nobody there, as ever */
  CHECK_EQ_U64(count, 0);
  CHECK_OK(selv_parking_lot_break(lot, wrecker)); /* it is */
  CHECK_EQ_U64(task_ends(wrecker).items, 0);      /* whoever broke it by hand was no breaker of it */
  is_broken(lot, "'wrecker'");                    /* its name outlives it */
  CHECK_OK(selv_parking_lot_free(lot));
  CHECK_OK(selv_task_exit(parked, NULL));
}

static void by_the_end_of_a_breaker(void) {
  selv_parking_lot *lot = lot_named("P"), *second = lot_named("Q");
  selv_task breaker = task_named("guardian"), parked = task_named("parked");
  exit_probe ended;
  waiter w;
  op_probe p, q;
  op_probe_init(&p);
  op_probe_init(&q);
  CHECK_OK(selv_parking_lot_add_breaker(lot, breaker));
  CHECK_OK(selv_parking_lot_add_breaker(second, breaker));
  CHECK_EQ_U64(parking_lot_stats(lot).breakers, 1);
  waiter_start(&w, waiter_park, lot, parked);
  UNTIL(parking_lot_waiting(lot) == 1);
  CHECK_STATUS(op_park(&p, lot, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_STATUS(op_park(&q, second, SELV_TASK_CURRENT), SELV_PENDING);
  ended = task_ends(breaker);
  CHECK_EQ_U64(ended.report.lots_broken, 2);
  CHECK_HAS(ended.text, "lot P; ");
  CHECK_HAS(ended.text, "lot Q; ");
  WAITER_ENDED(&w, SELV_E_BROKEN);
  CHECK_HAS(w.detail, "'guardian'");
  OP_GOT(&p, 1, SELV_E_BROKEN);
  OP_GOT(&q, 1, SELV_E_BROKEN);
  CHECK_HAS(q.detail, "'Q'");
  CHECK_HAS(q.detail, "'guardian'");
  is_broken(lot, "'guardian'");
  CHECK_EQ_U64(parking_lot_stats(lot).breakers, 0);
  CHECK_OK(selv_parking_lot_free(lot));
  CHECK_OK(selv_parking_lot_free(second));
  CHECK_OK(selv_task_exit(parked, NULL));
}

static void breakers_are_counted_per_task(void) {
  selv_parking_lot *lot = lot_named("P");
  selv_task one = task_named("one"), two = task_named("two");
  CHECK_STATUS(selv_parking_lot_remove_breaker(lot, one), SELV_E_NOT_OWNER);
  CHECK_OK(selv_parking_lot_add_breaker(lot, one));
  CHECK_OK(selv_parking_lot_add_breaker(lot, one));
  CHECK_STATUS(selv_parking_lot_remove_breaker(lot, two), SELV_E_NOT_OWNER);
  CHECK_LAST_ERROR_HAS("'two'");
  CHECK_LAST_ERROR_HAS("'P'");
  CHECK_OK(selv_parking_lot_add_breaker(lot, two));
  CHECK_EQ_U64(parking_lot_stats(lot).breakers, 2); /* tasks, not calls */
  CHECK_OK(selv_parking_lot_remove_breaker(lot, two));
  CHECK_EQ_U64(parking_lot_stats(lot).breakers, 1);
  CHECK_STATUS(selv_parking_lot_remove_breaker(lot, two), SELV_E_NOT_OWNER);
  CHECK_EQ_U64(task_ends(two).items, 0); /* no breaker any more */
  is_whole(lot);
  CHECK_OK(selv_parking_lot_remove_breaker(lot, one));
  CHECK_EQ_U64(parking_lot_stats(lot).breakers, 1); /* once more than removed */
  CHECK_EQ_U64(task_ends(one).report.lots_broken, 1);
  is_broken(lot, "'one'");
  CHECK_OK(selv_parking_lot_free(lot));
}

static void removed_as_often_as_added(void) {
  selv_parking_lot *lot = lot_named("P");
  selv_task t = task_named("t");
  int i;
  for (i = 0; i < 100; i++) CHECK_OK(selv_parking_lot_add_breaker(lot, t));
  for (i = 0; i < 100; i++) CHECK_OK(selv_parking_lot_remove_breaker(lot, t));
  CHECK_STATUS(selv_parking_lot_remove_breaker(lot, t), SELV_E_NOT_OWNER);
  CHECK_EQ_U64(parking_lot_stats(lot).breakers, 0);
  CHECK_EQ_U64(task_ends(t).items, 0);
  is_whole(lot);
  CHECK_OK(selv_parking_lot_free(lot));
}

/* A lot that is gone is not broken by whom it had as a breaker. */
static void the_lot_goes_first(void) {
  selv_parking_lot *lot = lot_named("P");
  selv_task t = task_named("t");
  CHECK_OK(selv_parking_lot_add_breaker(lot, t));
  CHECK_OK(selv_parking_lot_free(lot));
  CHECK_EQ_U64(task_ends(t).items, 0);
}

/* ---- breakers that end without anybody's call ---- */

static check_tally added = CHECK_TALLY_INIT, may_end = CHECK_TALLY_INIT;

static void *breaks_by_ending(void *arg) {
  CHECK_OK(selv_parking_lot_add_breaker((selv_parking_lot *)arg, SELV_TASK_CURRENT));
  check_tally_add(&added, 1);
  CHECK_WAIT(&may_end, 1);
  return NULL;
}

static void a_thread_that_ends(void) {
  selv_parking_lot *lot = lot_named("P");
  pthread_t thread;
  waiter w;
  op_probe p;
  op_probe_init(&p);
  CHECK(pthread_create(&thread, NULL, breaks_by_ending, lot) == 0);
  CHECK_WAIT(&added, 1);
  waiter_start(&w, waiter_park, lot, 0);
  UNTIL(parking_lot_waiting(lot) == 1);
  CHECK_STATUS(op_park(&p, lot, SELV_TASK_CURRENT), SELV_PENDING);
  check_tally_add(&may_end, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  WAITER_ENDED(&w, SELV_E_BROKEN);
  OP_GOT(&p, 1, SELV_E_BROKEN);
  is_broken(lot, "thread");
  CHECK_OK(selv_parking_lot_free(lot));
}

static int32_t breaks_by_returning(void *arg, void **out_value) {
  (void)out_value;
  CHECK_OK(selv_parking_lot_add_breaker((selv_parking_lot *)arg, SELV_TASK_CURRENT));
  return 0;
}

static void a_job_that_returns(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_parking_lot *lot = lot_named("P");
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(op_park(&p, lot, SELV_TASK_CURRENT), SELV_PENDING);
  job.fn = breaks_by_returning;
  job.arg = lot;
  job.name = "sentinel";
  CHECK_OK(probe_through(c, &job).status);
  OP_GOT(&p, 1, SELV_E_BROKEN);
  CHECK_HAS(p.detail, "sentinel");
  is_broken(lot, "sentinel");
  CHECK_OK(selv_parking_lot_free(lot));
  probe_end(c);
}

/* ---- a supervisor makes a task a breaker at the moment at which it ends: it is one, or it is too late, and said so ---- */

struct race {
  selv_task task;
  pthread_barrier_t start;
  uint64_t rounds;
};

static void *ends_it(void *arg) {
  struct race *r = (struct race *)arg;
  uint64_t i;
  for (i = 0; i < r->rounds; i++) {
    pthread_barrier_wait(&r->start);
    CHECK_OK(selv_task_exit(r->task, NULL));
    pthread_barrier_wait(&r->start);
  }
  return NULL;
}

static void at_the_moment_of_its_end(void) {
  struct race r;
  pthread_t thread;
  uint64_t i, in_time = 0;
  r.rounds = check_scaled(5000);
  CHECK(pthread_barrier_init(&r.start, NULL, 2) == 0);
  CHECK(pthread_create(&thread, NULL, ends_it, &r) == 0);
  for (i = 0; i < r.rounds; i++) {
    selv_parking_lot *lot = lot_named("P");
    selv_status status;
    r.task = task_named("supervised");
    pthread_barrier_wait(&r.start);
    status = selv_parking_lot_add_breaker(lot, r.task);
    pthread_barrier_wait(&r.start);
    CHECK_EITHER(status, SELV_OK, SELV_E_STALE);
    CHECK_EQ_U64(parking_lot_stats(lot).broken, status == SELV_OK);
    CHECK_EQ_U64(parking_lot_stats(lot).breakers, 0);
    in_time += status == SELV_OK;
    CHECK_OK(selv_parking_lot_free(lot));
  }
  CHECK(pthread_join(thread, NULL) == 0);
  pthread_barrier_destroy(&r.start);
  printf("%llu of %llu in time\n", (unsigned long long)in_time, (unsigned long long)r.rounds);
}

int main(void) {
  CHECK_RUN(by_hand);
  CHECK_RUN(by_the_end_of_a_breaker);
  CHECK_RUN(breakers_are_counted_per_task);
  CHECK_RUN(removed_as_often_as_added);
  CHECK_RUN(the_lot_goes_first);
  CHECK_RUN(a_thread_that_ends);
  CHECK_RUN(a_job_that_returns);
  CHECK_RUN(at_the_moment_of_its_end);
  return 0;
}

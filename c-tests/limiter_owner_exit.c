/* limiter_owner_exit.c: a task that ends gives its tokens back and the next in line gets them (Trio leaks them): a task of the
 * host's, a thread that ends, a job that returns. */
#include "probe.h"
#include "sync_probe.h"

static void a_task(void) {
  selv_limiter *l = limiter_of(1), *second = limiter_of(1);
  selv_task t = task_named("borrower"), next = task_named("next"), blocked = task_named("blocked");
  exit_probe ended;
  waiter w;
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_limiter_acquire(l, t, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(second, t, SELV_FOREVER));
  CHECK_STATUS(op_limiter(&p, l, next), SELV_PENDING);
  waiter_start(&w, waiter_limiter, second, blocked);
  UNTIL(limiter_waiting(second) == 1);
  ended = task_ends(t);
  CHECK_EQ_U64(ended.report.tokens_returned, 2);
  CHECK_STR(ended.text, "token of tokens; token of tokens; ");
  OP_GOT(&p, 1, SELV_OK);
  WAITER_ENDED(&w, SELV_OK);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 1);
  CHECK_STATUS(selv_limiter_try_acquire(l, t), SELV_E_STALE);
  CHECK_STATUS(selv_limiter_release(l, t), SELV_E_STALE);
  CHECK_EQ_U64(task_ends(next).report.tokens_returned, 1);
  CHECK_EQ_U64(task_ends(blocked).report.tokens_returned, 1);
  CHECK_EQ_U64(limiter_stats(l).borrowed + limiter_stats(second).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_limiter_free(second));
}

/* With what it releases itself, nothing is left to give back. */
static void a_task_that_tidies_up(void) {
  selv_limiter *l = limiter_of(2);
  selv_task t = task_named("tidy");
  int i;
  for (i = 0; i < 100; i++) {
    CHECK_OK(selv_limiter_acquire(l, t, SELV_FOREVER));
    CHECK_OK(selv_limiter_release(l, t));
  }
  CHECK_EQ_U64(task_ends(t).items, 0);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
}

/* More tokens come back than the total now allows: nobody is served until there is room. */
static void below_the_total(void) {
  selv_limiter *l = limiter_of(2);
  selv_task one = task_named("one"), two = task_named("two"), next = task_named("next");
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_limiter_try_acquire(l, one));
  CHECK_OK(selv_limiter_try_acquire(l, two));
  CHECK_STATUS(op_limiter(&p, l, next), SELV_PENDING);
  CHECK_OK(selv_limiter_set_total(l, 1));
  CHECK_OK(selv_task_exit(one, NULL));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_task_exit(two, NULL));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_task_exit(next, NULL));
  CHECK_OK(selv_limiter_free(l));
}

static check_tally taken = CHECK_TALLY_INIT, may_end = CHECK_TALLY_INIT;

static void *takes_and_ends(void *arg) {
  CHECK_OK(selv_limiter_acquire((selv_limiter *)arg, SELV_TASK_CURRENT, SELV_FOREVER));
  check_tally_add(&taken, 1);
  CHECK_WAIT(&may_end, check_tally_get(&taken));
  return NULL;
}

static void a_thread(void) {
  selv_limiter *l = limiter_of(1);
  selv_task next = task_named("next");
  pthread_t thread;
  uint64_t i;
  for (i = 1; i <= 20; i++) {
    op_probe p;
    op_probe_init(&p);
    CHECK(pthread_create(&thread, NULL, takes_and_ends, l) == 0);
    CHECK_WAIT(&taken, i);
    CHECK_STATUS(op_limiter(&p, l, next), SELV_PENDING);
    check_tally_add(&may_end, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    OP_GOT(&p, 1, SELV_OK);
    CHECK_OK(selv_limiter_release(l, next));
  }
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_task_exit(next, NULL));
}

/* ---- the token comes at the moment at which its task ends ---- */

struct race {
  selv_limiter *limiter;
  selv_task holder;
  pthread_barrier_t start;
  uint64_t rounds;
};

static void *releases(void *arg) {
  struct race *r = (struct race *)arg;
  uint64_t i;
  for (i = 0; i < r->rounds; i++) {
    pthread_barrier_wait(&r->start);
    CHECK_OK(selv_limiter_release(r->limiter, r->holder));
    pthread_barrier_wait(&r->start);
  }
  return NULL;
}

/* Granted first or ended first: the token is back afterwards, whether a thread waited for it or an operation. */
static void at_the_moment_of_the_grant(int by_operation) {
  struct race r;
  pthread_t thread;
  uint64_t i, granted = 0;
  r.rounds = check_scaled(3000);
  r.limiter = limiter_of(1);
  r.holder = task_named("holder");
  CHECK(pthread_barrier_init(&r.start, NULL, 2) == 0);
  CHECK(pthread_create(&thread, NULL, releases, &r) == 0);
  for (i = 0; i < r.rounds; i++) {
    selv_task t = task_named("mortal");
    exit_probe ended;
    selv_status status;
    waiter w;
    op_probe p;
    op_probe_init(&p);
    CHECK_OK(selv_limiter_try_acquire(r.limiter, r.holder));
    if (by_operation)
      CHECK_STATUS(op_limiter(&p, r.limiter, t), SELV_PENDING);
    else {
      waiter_start(&w, waiter_limiter, r.limiter, t);
      UNTIL(limiter_waiting(r.limiter) == 1);
    }
    pthread_barrier_wait(&r.start);
    ended = task_ends(t);
    pthread_barrier_wait(&r.start);
    if (by_operation) {
      CHECK_WAIT(&p.called, 1);
      status = p.last.status;
    } else {
      WAITER_JOIN(&w);
      status = w.status;
    }
    CHECK_EITHER(status, SELV_OK, SELV_E_CANCELLED);
    granted += status == SELV_OK;
    CHECK_EQ_U64(ended.items, 1); /* the wait that was cancelled, the grant that went on, or the token that came back */
    CHECK_EQ_U64(limiter_waiting(r.limiter), 0);
    CHECK_EQ_U64(limiter_stats(r.limiter).borrowed, 0);
  }
  CHECK(pthread_join(thread, NULL) == 0);
  printf("%llu of %llu were granted before they ended\n", (unsigned long long)granted, (unsigned long long)r.rounds);
  pthread_barrier_destroy(&r.start);
  CHECK_OK(selv_task_exit(r.holder, NULL));
  CHECK_OK(selv_limiter_free(r.limiter));
}

static void a_thread_at_the_moment_of_the_grant(void) { at_the_moment_of_the_grant(0); }
static void an_operation_at_the_moment_of_the_grant(void) { at_the_moment_of_the_grant(1); }

static int32_t takes_and_returns(void *arg, void **out_value) {
  (void)out_value;
  CHECK_OK(selv_limiter_acquire((selv_limiter *)arg, SELV_TASK_CURRENT, SELV_FOREVER));
  return 0;
}

static void a_job(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_limiter *l = limiter_of(1);
  selv_outcome outcome;
  int i;
  for (i = 0; i < 20; i++) { /* all on one thread: it is the job that ends, not the worker */
    CHECK_OK(selv_cache_run(c, takes_and_returns, l, SELV_FOREVER, &outcome));
    CHECK_OK(outcome.status);
    CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  }
  CHECK_OK(selv_limiter_free(l));
  probe_end(c);
}

int main(void) {
  CHECK_RUN(a_task);
  CHECK_RUN(a_task_that_tidies_up);
  CHECK_RUN(below_the_total);
  CHECK_RUN(a_thread);
  CHECK_RUN(a_job);
  CHECK_RUN(a_thread_at_the_moment_of_the_grant);
  CHECK_RUN(an_operation_at_the_moment_of_the_grant);
  return 0;
}

/* job_limiter_order.c: what comes after a job, in its order: the hooks' after_job, the end of the job's task, the return of its
 * token, the worker's idleness, the delivery. So in deliver the token is back, and a lock that the job held is broken. */
#include "probe.h"
#include "sync_probe.h"

static selv_cache *cache;
static selv_limiter *limiter;
static selv_lock *lock;
static selv_task job_task;
static check_journal journal = CHECK_JOURNAL_INIT;

static int32_t holds(void *arg, void **out_value) {
  (void)out_value;
  job_task = selv_task_current();
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 1);
  CHECK_OK(selv_lock_acquire(lock, SELV_TASK_CURRENT, SELV_FOREVER));
  check_tally_add(&((probe *)arg)->entered, 1);
  CHECK_WAIT(&((probe *)arg)->go, 1);
  check_note(&journal, "fn", "");
  return 0;
}

static void after(void *user, const selv_worker *w, void *slot) {
  (void)user;
  (void)w;
  (void)slot;
  if (selv_lock_owner(lock) != job_task) return; /* a job that the cache was warmed with */
  CHECK_EQ_U64(selv_task_current(), job_task);
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 1);
  CHECK_EQ_U64(lock_stats(lock).broken, 0);
  check_note(&journal, "after", "");
}

static void on_break(op_probe *p, const selv_completed *c) {
  (void)p;
  CHECK_STATUS(c->status, SELV_E_BROKEN);
  check_note(&journal, "broken", "");
}

static void on_token(op_probe *p, const selv_completed *c) {
  (void)p;
  CHECK_OK(c->status);
  check_note(&journal, "token", "");
}

static void deliver(void *arg, const selv_outcome *outcome) {
  CHECK_OK(outcome->status);
  CHECK(selv_task_current() != job_task);
  CHECK_STATUS(selv_lock_try_acquire(lock, job_task), SELV_E_STALE);
  CHECK_STATUS(selv_lock_try_acquire(lock, SELV_TASK_CURRENT), SELV_E_BROKEN);
  CHECK_LAST_ERROR_HAS("culprit");
  CHECK_EQ_U64(probe_stats(cache).idle, 1);
  check_note(&journal, "deliver", "");
  probe_deliver(arg, outcome);
}

static void all_in_order(int with_waiters) {
  selv_job_options job;
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  selv_hook *hook = NULL;
  selv_task t = task_named("waiter");
  op_probe for_lock, for_token;
  probe p;
  probe_init(&p);
  op_probe_init(&for_lock);
  op_probe_init(&for_token);
  for_lock.then = on_break;
  for_token.then = on_token;
  check_journal_clear(&journal);
  cache = probe_cache(1, SELV_FOREVER);
  limiter = limiter_of(1);
  lock = lock_named("L", 0);
  options.name = "after";
  options.after_job = after;
  CHECK_OK(selv_hook_register(cache, &options, &hook));
  job = probe_job(holds, &p);
  job.deliver = deliver;
  job.limiter = limiter;
  job.name = "culprit";
  CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK_WAIT(&p.entered, 1);
  if (with_waiters) {
    CHECK_STATUS(op_probe_lock(&for_lock, lock, t), SELV_PENDING);
    CHECK_STATUS(op_limiter(&for_token, limiter, t), SELV_PENDING);
  }
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.freed, 1);
  if (with_waiters) {
    OP_GOT(&for_lock, 1, SELV_E_BROKEN);
    CHECK_HAS(for_lock.detail, "culprit");
    OP_GOT(&for_token, 1, SELV_OK);
    CHECK_JOURNAL(&journal, "fn after broken token deliver");
    CHECK_EQ_U64(limiter_stats(limiter).borrowed, 1);
  } else {
    CHECK_JOURNAL(&journal, "fn after deliver");
  }
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 0);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  selv_hook_release(hook);
  probe_end(cache);
  CHECK_OK(selv_lock_free(lock));
  CHECK_OK(selv_limiter_free(limiter));
}

static void with_nobody_waiting(void) { all_in_order(0); }
static void with_waiters_for_both(void) { all_in_order(1); }

/* Deliver finds the token and uses it for the next job: a chain through one token on one thread. */
static uint64_t links, last_link;

static int32_t link_fn(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

static void next_link(void *arg, const selv_outcome *outcome) {
  CHECK_OK(outcome->status);
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 0);
  if (++links < last_link) {
    selv_job_options job = SELV_JOB_OPTIONS_INIT;
    job.fn = link_fn;
    job.deliver = next_link;
    job.arg = arg;
    job.limiter = limiter;
    job.limiter_timeout_ns = SELV_NO_WAIT; /* it is there */
    CHECK_OK(selv_cache_submit(cache, &job, NULL));
  } else {
    check_tally_add((check_tally *)arg, 1);
  }
}

static void the_token_is_there_for_the_next(void) {
  check_tally done;
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  check_tally_init(&done);
  cache = probe_cache(0, SELV_FOREVER);
  limiter = limiter_of(1);
  links = 0;
  last_link = check_scaled(1000);
  job.fn = link_fn;
  job.deliver = next_link;
  job.arg = &done;
  job.limiter = limiter;
  CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK_WAIT(&done, 1);
  CHECK_EQ_U64(probe_stats(cache).started, 1);
  probe_end(cache);
  CHECK_OK(selv_limiter_free(limiter));
}

/* ---- a callback that gives the token to a job and then waits for that job ---- */

static selv_job *awaited;

static void give_and_wait(op_probe *p, const selv_completed *c) {
  selv_outcome outcome;
  CHECK_OK(c->status);
  CHECK_OK(selv_limiter_release(limiter, p->task));
  CHECK_OK(selv_job_wait(awaited, check_patience_s() * UINT64_C(1000000000), &outcome));
  CHECK_OK(outcome.status);
}

static void a_callback_waits_for_the_job_that_it_lets_go(void) {
  selv_semaphore *s = semaphore_of(0, 0);
  selv_task t = task_named("holder");
  selv_job_options job;
  op_probe op;
  probe p;
  probe_init(&p);
  op_probe_init(&op);
  op.then = give_and_wait;
  cache = probe_cache(0, SELV_FOREVER);
  limiter = limiter_of(1);
  CHECK_OK(selv_limiter_try_acquire(limiter, t));
  job = probe_job(probe_run, &p);
  job.limiter = limiter;
  CHECK_OK(selv_cache_submit(cache, &job, &awaited));
  CHECK_STATUS(op_semaphore(&op, s, t, 1), SELV_PENDING);
  CHECK_OK(selv_semaphore_release(s, 1));
  OP_GOT(&op, 1, SELV_OK);
  CHECK_EQ_U64(check_tally_get(&p.ran), 1);
  selv_job_release(awaited);
  CHECK_OK(selv_semaphore_free(s));
  CHECK_OK(selv_task_exit(t, NULL));
  probe_end(cache);
  CHECK_OK(selv_limiter_free(limiter));
}

int main(void) {
  CHECK_RUN(with_nobody_waiting);
  CHECK_RUN(with_waiters_for_both);
  CHECK_RUN(the_token_is_there_for_the_next);
  CHECK_RUN(a_callback_waits_for_the_job_that_it_lets_go);
  return 0;
}

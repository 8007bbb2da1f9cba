/* job_limiter_ends.c: a job that never gets its token: it is cancelled, its time passes, the limiter is closed, the cache is shut
 * down. It is delivered once, does not run, and leaves no request behind. */
#include "probe.h"
#include "sync_probe.h"

static selv_cache *cache;
static selv_limiter *limiter;
static selv_task holder;

/* The only token is out. */
static void begin(uint32_t max_workers) {
  cache = probe_cache(max_workers, SELV_FOREVER);
  limiter = limiter_of(1);
  holder = task_named("holder");
  CHECK_OK(selv_limiter_try_acquire(limiter, holder));
}

static void end(void) {
  CHECK_OK(selv_task_exit(holder, NULL));
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 0);
  CHECK_EQ_U64(limiter_waiting(limiter), 0);
  CHECK_OK(selv_limiter_free(limiter));
  probe_end(cache);
}

static selv_job *submit(selv_job_fn fn, probe *p, uint64_t limiter_timeout_ns) {
  selv_job_options job = probe_job(fn, p);
  selv_job *handle = NULL;
  job.limiter = limiter;
  job.limiter_timeout_ns = limiter_timeout_ns;
  CHECK_OK(selv_cache_submit(cache, &job, &handle));
  CHECK(handle != NULL);
  return handle;
}

static void cancelled(void) {
  selv_job *first, *second, *third;
  probe never, ran;
  probe_init(&never);
  probe_init(&ran);
  begin(0);
  first = submit(probe_never, &never, 0);
  second = submit(probe_run, &ran, 0);
  third = submit(probe_never, &never, SELV_FOREVER);
  CHECK_EQ_U64(limiter_waiting(limiter), 3);
  CHECK_OK(selv_job_cancel(first)); /* the head of the line */
  CHECK_EQ_U64(check_tally_get(&never.delivered), 1);
  CHECK(pthread_equal(never.deliverer, pthread_self()));
  CHECK_STATUS(never.last.status, SELV_E_CANCELLED);
  CHECK_HAS(never.detail, "cancel");
  CHECK_STATUS(selv_job_cancel(first), SELV_E_TOO_LATE);
  CHECK_OK(selv_job_cancel(third));
  CHECK_EQ_U64(limiter_waiting(limiter), 1);
  CHECK_OK(selv_limiter_release(limiter, holder));
  CHECK_WAIT(&ran.freed, 1);
  CHECK_OK(ran.last.status);
  CHECK_STATUS(selv_job_cancel(second), SELV_E_TOO_LATE);
  CHECK_EQ_U64(check_tally_get(&never.delivered), 2);
  CHECK_EQ_U64(check_tally_get(&never.freed), 2);
  selv_job_release(first);
  selv_job_release(second);
  selv_job_release(third);
  end();
}

/* It has its token and waits for a worker of a full cache: the token goes on to the next. */
static void cancelled_with_its_token(void) {
  selv_job_options hold;
  selv_job *handle;
  probe busy, never, next;
  probe_init(&busy);
  probe_init(&next);
  probe_init(&never);
  begin(1);
  CHECK_OK(selv_limiter_release(limiter, holder));
  hold = probe_job(probe_hold, &busy);
  CHECK_OK(selv_cache_submit(cache, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  handle = submit(probe_never, &never, 0);
  selv_job_release(submit(probe_run, &next, 0));
  CHECK_EQ_U64(limiter_waiting(limiter), 1);
  CHECK_OK(selv_job_cancel(handle));
  CHECK_STATUS(never.last.status, SELV_E_CANCELLED);
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 1); /* the next one's */
  CHECK_EQ_U64(limiter_waiting(limiter), 0);
  selv_job_release(handle);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&busy.freed, 1);
  CHECK_WAIT(&next.freed, 1);
  CHECK_OK(next.last.status);
  end();
}

static void its_time_passes(void) {
  selv_outcome outcome;
  selv_job *handle, *later, *latest;
  uint64_t began = check_now_ns();
  probe never, ran;
  probe_init(&never);
  probe_init(&ran);
  begin(0);
  handle = submit(probe_never, &never, 30 * CHECK_MS);
  later = submit(probe_run, &ran, 0); /* 0 is the default: for ever */
  latest = submit(probe_run, &ran, SELV_NO_WAIT - 1); /* nearly for ever: added to the time of day it must not wrap */
  CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
  CHECK(check_now_ns() - began >= 30 * CHECK_MS);
  CHECK_STATUS(outcome.status, SELV_E_TIMEDOUT);
  CHECK(outcome.value == NULL);
  CHECK_WAIT(&never.freed, 1);
  CHECK_STATUS(never.last.status, SELV_E_TIMEDOUT);
  CHECK_HAS(never.detail, "tokens");
  CHECK_STATUS(selv_job_cancel(handle), SELV_E_TOO_LATE);
  CHECK_EQ_U64(limiter_waiting(limiter), 2);
  CHECK_EQ_U64(check_tally_get(&ran.entered), 0);
  CHECK_OK(selv_limiter_release(limiter, holder));
  CHECK_OK(selv_job_wait(later, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_OK(selv_job_wait(latest, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(check_tally_get(&never.delivered), 1);
  selv_job_release(handle);
  selv_job_release(later);
  selv_job_release(latest);
  end();
}

/* In time for the token, it does not matter how long the job then runs. */
static void the_time_is_for_the_token(void) {
  selv_job *handle;
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  begin(0);
  CHECK_OK(selv_limiter_release(limiter, holder));
  handle = submit(probe_hold, &p, CHECK_MS);
  CHECK_WAIT(&p.entered, 1);
  CHECK_STATUS(selv_job_wait(handle, 20 * CHECK_MS, &outcome), SELV_E_TIMEDOUT); /* the waiter's time, not the job's */
  check_tally_add(&p.go, 1);
  CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  selv_job_release(handle);
  end();
}

/* Many times at once, in whatever order they pass. */
static void many_times_pass(void) {
  enum { MANY = 100 };
  selv_job *handles[MANY];
  probe never;
  int i;
  probe_init(&never);
  begin(0);
  for (i = 0; i < MANY; i++) handles[i] = submit(probe_never, &never, (1 + (uint64_t)(i * 37 % MANY)) * CHECK_MS / 4);
  CHECK_WAIT(&never.freed, MANY);
  CHECK_STATUS(never.last.status, SELV_E_TIMEDOUT);
  CHECK_EQ_U64(check_tally_get(&never.delivered), MANY);
  for (i = 0; i < MANY; i++) selv_job_release(handles[i]);
  end();
}

static void without_waiting(void) {
  selv_job_options job;
  selv_job *handle = (selv_job *)(uintptr_t)1;
  selv_outcome outcome;
  size_t accepted = 99;
  probe p;
  probe_init(&p);
  begin(0);
  job = probe_job(probe_run, &p);
  job.limiter = limiter;
  job.limiter_timeout_ns = SELV_NO_WAIT;
  CHECK_STATUS(selv_cache_submit(cache, &job, &handle), SELV_E_WOULD_BLOCK);
  CHECK(handle == NULL);
  CHECK_LAST_ERROR_HAS("tokens");
  CHECK_STATUS(selv_cache_submit_many(cache, &job, 1, &accepted), SELV_E_WOULD_BLOCK);
  CHECK_EQ_U64(accepted, 0);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 0);
  CHECK_EQ_U64(check_tally_get(&p.freed), 0);
  CHECK_EQ_U64(probe_stats(cache).jobs_accepted, 0);
  CHECK_EQ_U64(limiter_waiting(limiter), 0);
  CHECK_OK(selv_limiter_release(limiter, holder));
  outcome = probe_through(cache, &job);
  CHECK_OK(outcome.status);
  end();
}

static void the_limiter_is_closed(void) {
  selv_job_options job;
  selv_job *handle;
  selv_outcome outcome;
  probe never, running;
  probe_init(&never);
  probe_init(&running);
  begin(0);
  CHECK_OK(selv_limiter_release(limiter, holder));
  selv_job_release(submit(probe_hold, &running, 0));
  CHECK_WAIT(&running.entered, 1);
  handle = submit(probe_never, &never, 0);
  CHECK_OK(selv_limiter_close(limiter));
  CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
  CHECK_STATUS(outcome.status, SELV_E_CLOSED);
  CHECK_WAIT(&never.freed, 1);
  CHECK_HAS(never.detail, "tokens");
  selv_job_release(handle);
  job = probe_job(probe_never, &never);
  job.limiter = limiter;
  CHECK_STATUS(selv_cache_submit(cache, &job, NULL), SELV_E_CLOSED);
  CHECK_STATUS(selv_limiter_free(limiter), SELV_E_BUSY); /* the running job still has its token */
  check_tally_add(&running.go, 1);
  CHECK_WAIT(&running.freed, 1);
  CHECK_OK(running.last.status);
  CHECK_EQ_U64(check_tally_get(&never.delivered), 1);
  end();
}

/* ---- shutdown ---- */

static void shut_down_and_cancelled(void) {
  uint32_t remaining = 99;
  probe never, running;
  int i;
  probe_init(&never);
  probe_init(&running);
  begin(0);
  CHECK_OK(selv_limiter_release(limiter, holder));
  selv_job_release(submit(probe_hold, &running, 0));
  CHECK_WAIT(&running.entered, 1);
  for (i = 0; i < 10; i++) selv_job_release(submit(probe_never, &never, i % 2 ? 0 : 3600 * UINT64_C(1000000000)));
  CHECK_EQ_U64(limiter_waiting(limiter), 10);
  CHECK_STATUS(selv_cache_shutdown(cache, SELV_SHUTDOWN_CANCEL_QUEUED, 0, &remaining), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(check_tally_get(&never.delivered), 10); /* here, before the call returned */
  CHECK_STATUS(never.last.status, SELV_E_CANCELLED);
  CHECK(pthread_equal(never.deliverer, pthread_self()));
  CHECK_EQ_U64(check_tally_get(&never.freed), 10);
  CHECK_EQ_U64(limiter_waiting(limiter), 0);
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 1);
  check_tally_add(&running.go, 1);
  CHECK_WAIT(&running.freed, 1);
  end();
}

struct closing {
  check_tally ended;
  selv_status status;
  uint32_t remaining;
};

static void *shuts_down(void *arg) {
  struct closing *s = (struct closing *)arg;
  s->status = selv_cache_shutdown(cache, 0, SELV_FOREVER, &s->remaining);
  check_tally_add(&s->ended, 1);
  return NULL;
}

/* Without the flag they were accepted, and so they run, when they get their token. */
static void shut_down_and_finished(void) {
  struct closing s;
  pthread_t thread;
  selv_job_options refused;
  uint32_t remaining = 99;
  probe p, timed;
  int i;
  memset(&s, 0, sizeof s);
  check_tally_init(&s.ended);
  s.remaining = 99;
  probe_init(&p);
  probe_init(&timed);
  begin(0);
  for (i = 0; i < 5; i++) selv_job_release(submit(probe_run, &p, 0));
  selv_job_release(submit(probe_never, &timed, 20 * CHECK_MS));
  CHECK_STATUS(selv_cache_shutdown(cache, 0, 0, &remaining), SELV_E_TIMEDOUT); /* accepted jobs are not delivered yet */
  refused = probe_job(probe_never, &timed);
  refused.limiter = limiter;
  CHECK_STATUS(selv_cache_submit(cache, &refused, NULL), SELV_E_CLOSED);
  CHECK(pthread_create(&thread, NULL, shuts_down, &s) == 0);
  CHECK_WAIT(&timed.freed, 1);
  CHECK_STATUS(timed.last.status, SELV_E_TIMEDOUT);
  CHECK_EQ_U64(check_tally_get(&s.ended), 0);
  CHECK_EQ_U64(check_tally_get(&p.entered), 0);
  CHECK_OK(selv_limiter_release(limiter, holder));
  CHECK_WAIT(&p.freed, 5);
  CHECK_OK(p.last.status);
  CHECK_WAIT(&s.ended, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_OK(s.status);
  CHECK_EQ_U64(s.remaining, 0);
  end();
}

/* Begun without the flag and called again with it: those that still wait are cancelled now. */
static void shut_down_twice(void) {
  uint32_t remaining = 99;
  probe never;
  int i;
  probe_init(&never);
  begin(0);
  for (i = 0; i < 5; i++) selv_job_release(submit(probe_never, &never, 0));
  CHECK_STATUS(selv_cache_shutdown(cache, 0, 0, &remaining), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(check_tally_get(&never.delivered), 0);
  CHECK_OK(selv_cache_shutdown(cache, SELV_SHUTDOWN_CANCEL_QUEUED, SELV_FOREVER, &remaining));
  CHECK_EQ_U64(remaining, 0);
  CHECK_EQ_U64(check_tally_get(&never.freed), 5);
  CHECK_STATUS(never.last.status, SELV_E_CANCELLED);
  end();
}

/* The host lets go of the cache; the jobs that it accepted still come, when their token does. */
static void released_with_jobs_that_wait(void) {
  probe p;
  probe_init(&p);
  begin(0);
  selv_job_release(submit(probe_run, &p, 0));
  selv_cache_release(cache);
  CHECK_EQ_U64(check_tally_get(&p.entered), 0);
  CHECK_OK(selv_limiter_release(limiter, holder));
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(p.last.status);
  UNTIL(limiter_stats(limiter).borrowed == 0);
  CHECK_OK(selv_limiter_free(limiter));
  CHECK_OK(selv_task_exit(holder, NULL));
}

/* ... or do not, when it never does; and what the host had registered is given up either way. */
static void released_with_jobs_that_get_none(void) {
  selv_hook *hook;
  hook_probe h;
  probe never;
  probe_init(&never);
  hook_probe_init(&h, "h", NULL);
  begin(0);
  hook = hook_probe_register(cache, &h, 0);
  selv_job_release(submit(probe_never, &never, 0));
  selv_hook_release(hook);
  selv_cache_release(cache);
  CHECK_EQ_U64(check_tally_get(&h.frees), 0);
  CHECK_OK(selv_limiter_close(limiter));
  CHECK_WAIT(&never.freed, 1);
  CHECK_STATUS(never.last.status, SELV_E_CLOSED);
  CHECK_WAIT(&h.frees, 1);
  CHECK_OK(selv_task_exit(holder, NULL));
  CHECK_OK(selv_limiter_free(limiter));
}

/* ---- the delivery of a job that had no token ---- */

static check_tally delivering = CHECK_TALLY_INIT, may_deliver = CHECK_TALLY_INIT;

static void deliver_slowly(void *arg, const selv_outcome *outcome) {
  check_tally_add(&delivering, 1);
  CHECK_WAIT(&may_deliver, 1);
  probe_deliver(arg, outcome);
}

static void *closes(void *unused) {
  (void)unused;
  CHECK_OK(selv_limiter_close(limiter));
  return NULL;
}

/* The shutdown waits for it, on whichever thread it is. */
static void shut_down_in_the_middle_of_a_delivery(void) {
  selv_job_options job;
  pthread_t thread;
  uint32_t remaining = 99;
  probe never;
  probe_init(&never);
  begin(0);
  job = probe_job(probe_never, &never);
  job.deliver = deliver_slowly;
  job.limiter = limiter;
  CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK(pthread_create(&thread, NULL, closes, NULL) == 0);
  CHECK_WAIT(&delivering, 1);
  CHECK_STATUS(selv_cache_shutdown(cache, 0, 20 * CHECK_MS, &remaining), SELV_E_TIMEDOUT);
  check_tally_add(&may_deliver, 1);
  CHECK_OK(selv_cache_shutdown(cache, 0, SELV_FOREVER, &remaining));
  CHECK_EQ_U64(check_tally_get(&never.delivered), 1); /* when it is over, it is over */
  CHECK_STATUS(never.last.status, SELV_E_CLOSED);
  CHECK(pthread_join(thread, NULL) == 0);
  end();
}

static void deliver_and_die(void *arg, const selv_outcome *outcome) {
  probe_deliver(arg, outcome);
  pthread_exit(NULL);
}

/* A runtime ends the thread in the delivery of a timeout: the next ones come all the same. */
static void a_thread_lost_in_the_delivery(void) {
  selv_job_options job;
  probe dies, never;
  int i;
  probe_init(&dies);
  probe_init(&never);
  begin(0);
  for (i = 1; i <= 3; i++) {
    job = probe_job(probe_never, &dies);
    job.deliver = deliver_and_die;
    job.limiter = limiter;
    job.limiter_timeout_ns = CHECK_MS;
    CHECK_OK(selv_cache_submit(cache, &job, NULL));
    CHECK_WAIT(&dies.delivered, i);
    CHECK_STATUS(dies.last.status, SELV_E_TIMEDOUT);
    selv_job_release(submit(probe_never, &never, CHECK_MS));
    CHECK_WAIT(&never.freed, i);
    CHECK_STATUS(never.last.status, SELV_E_TIMEDOUT);
  }
  end();
}

int main(void) {
  CHECK_RUN(cancelled);
  CHECK_RUN(cancelled_with_its_token);
  CHECK_RUN(its_time_passes);
  CHECK_RUN(the_time_is_for_the_token);
  CHECK_RUN(many_times_pass);
  CHECK_RUN(without_waiting);
  CHECK_RUN(the_limiter_is_closed);
  CHECK_RUN(shut_down_and_cancelled);
  CHECK_RUN(shut_down_and_finished);
  CHECK_RUN(shut_down_twice);
  CHECK_RUN(released_with_jobs_that_wait);
  CHECK_RUN(released_with_jobs_that_get_none);
  CHECK_RUN(shut_down_in_the_middle_of_a_delivery);
  CHECK_RUN(a_thread_lost_in_the_delivery);
  return 0;
}

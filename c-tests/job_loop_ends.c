/* job_loop_ends.c: waiting for a job that a host loop delivers, and what becomes of jobs whose loop is closed: they are told so
 * on the finishing or the closing thread, with what they gave, so that it can be cleaned up. */
#include "loops.h"
#include "probe.h"
#include "sync_probe.h"

static selv_job_options job_on(host *h, selv_job_fn fn, probe *p) {
  selv_job_options job = probe_job(fn, p);
  job.loop = h->loop;
  return job;
}

static selv_job *submitted(selv_cache *c, selv_job_options *job) {
  selv_job *handle = NULL;
  CHECK_OK(selv_cache_submit(c, job, &handle));
  CHECK(handle != NULL);
  return handle;
}

/* ---- waiting ---- */

typedef struct job_waiter {
  selv_job *job;
  probe *p;
  pthread_t thread;
  check_tally ended;
  selv_outcome outcome;
} job_waiter;

static void *waits(void *arg) {
  job_waiter *w = (job_waiter *)arg;
  CHECK_OK(selv_job_wait(w->job, SELV_FOREVER, &w->outcome));
  CHECK_EQ_U64(check_tally_get(&w->p->delivered), 1); /* both have returned */
  CHECK_EQ_U64(check_tally_get(&w->p->freed), 1);
  check_tally_add(&w->ended, 1);
  return NULL;
}

static void another_thread_waits_until_it_is_delivered(int form) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job;
  job_waiter w[3];
  probe p;
  host h;
  int i;
  host_begin(&h, form);
  probe_init(&p);
  job = job_on(&h, probe_run, &p);
  w[0].job = submitted(c, &job);
  for (i = 0; i < 3; i++) {
    w[i].job = w[0].job;
    w[i].p = &p;
    check_tally_init(&w[i].ended);
    CHECK(pthread_create(&w[i].thread, NULL, waits, &w[i]) == 0);
  }
  UNTIL(host_waiting(&h) == 1);
  for (i = 0; i < 3; i++) CHECK_EQ_U64(check_tally_get(&w[i].ended), 0);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  for (i = 0; i < 3; i++) {
    CHECK(pthread_join(w[i].thread, NULL) == 0);
    CHECK_OK(w[i].outcome.status);
    CHECK_EQ_U64(w[i].outcome.code, 7);
    CHECK(w[i].outcome.value == &p);
  }
  selv_job_release(w[0].job);
  host_end(&h);
  probe_end(c);
}

static selv_job *own_job;

static void waits_for_itself(void *arg, const selv_outcome *outcome) {
  CHECK_STATUS(selv_job_wait(own_job, SELV_FOREVER, NULL), SELV_E_DEADLOCK);
  probe_deliver(arg, outcome);
}
static void frees_and_waits(void *arg) {
  CHECK_STATUS(selv_job_wait(own_job, SELV_FOREVER, NULL), SELV_E_DEADLOCK);
  probe_freed(arg);
}

/* On the loop's thread nobody else could deliver it: queued, running, on its way, and while it is delivered. */
static void deadlock_on_the_loops_thread(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options hold, job;
  selv_outcome outcome;
  selv_job *running;
  probe p, q;
  host h;
  host_begin(&h, form);
  probe_init(&p);
  probe_init(&q);
  hold = job_on(&h, probe_hold, &p);
  job = job_on(&h, probe_run, &q);
  job.deliver = waits_for_itself;
  job.arg_free = frees_and_waits;
  running = submitted(c, &hold);
  own_job = submitted(c, &job);
  CHECK_WAIT(&p.entered, 1);
  CHECK_STATUS(selv_job_wait(running, SELV_FOREVER, &outcome), SELV_E_DEADLOCK);
  CHECK_LAST_ERROR_HAS("plain");
  CHECK(outcome.status == 0 && outcome.code == 0 && outcome.value == NULL);
  CHECK_STATUS(selv_job_wait(own_job, 1000 * CHECK_MS, NULL), SELV_E_DEADLOCK);
  CHECK_STATUS(selv_job_wait(own_job, 0, NULL), SELV_E_TIMEDOUT); /* a look is no wait */
  check_tally_add(&p.go, 1);
  UNTIL(host_waiting(&h) == 2);
  CHECK_STATUS(selv_job_wait(running, SELV_FOREVER, &outcome), SELV_E_DEADLOCK);
  CHECK_EQ_U64(host_drain(&h, 0), 2);
  CHECK_EQ_U64(check_tally_get(&q.freed), 1);
  CHECK_OK(selv_job_wait(running, SELV_FOREVER, &outcome)); /* over */
  CHECK_OK(selv_job_wait(own_job, SELV_FOREVER, &outcome));
  selv_job_release(running);
  selv_job_release(own_job);
  host_end(&h);
  probe_end(c);
}

/* Its time passes for a waiter as ever. */
static int32_t waits_a_little(void *arg, void **out_value) {
  selv_job *job = (selv_job *)arg;
  (void)out_value;
  CHECK_STATUS(selv_job_wait(job, 0, NULL), SELV_E_TIMEDOUT);
  CHECK_STATUS(selv_job_wait(job, 5 * CHECK_MS, NULL), SELV_E_TIMEDOUT);
  return 0;
}

static void its_time_passes(int form) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job;
  selv_outcome outcome;
  selv_job *handle;
  probe p;
  host h;
  host_begin(&h, form);
  probe_init(&p);
  job = job_on(&h, probe_run, &p);
  handle = submitted(c, &job);
  UNTIL(host_waiting(&h) == 1);
  CHECK_OK(selv_cache_run(c, waits_a_little, handle, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_OK(selv_job_wait(handle, 0, NULL));
  selv_job_release(handle);
  host_end(&h);
  probe_end(c);
}

/* A shutdown of the cache is about its workers: outcomes that wait in a loop are not lost by it. */
static void after_a_shutdown(int form) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job;
  selv_job *handle;
  uint32_t remaining = 99;
  probe p;
  host h;
  host_begin(&h, form);
  probe_init(&p);
  job = job_on(&h, probe_run, &p);
  handle = submitted(c, &job);
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  CHECK_EQ_U64(remaining, 0);
  selv_cache_release(c);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 0);
  CHECK_EQ_U64(host_waiting(&h), 1);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_OK(p.last.status);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  CHECK_OK(selv_job_wait(handle, 0, NULL));
  selv_job_release(handle);
  host_end(&h);
}

/* ---- the loop is closed ---- */

static void closed_told_at(const char *file, int line, probe *p, int ran) {
  check_status_is(file, line, "the outcome", p->last.status, SELV_E_CLOSED);
  check_u64_is(file, line, "the code", "expected", (uint64_t)p->last.code, ran ? 7 : 0);
  CHECK(p->last.value == (ran ? p : NULL));
  if (strstr(p->detail, "plain") == NULL) check_fail(file, line, "it said \"%s\"", p->detail);
}
#define CLOSED_TOLD(p, ran) closed_told_at(__FILE__, __LINE__, (p), (ran))

/* It runs while the loop is closed: the worker tells. */
static void closed_while_it_runs(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job;
  selv_outcome outcome;
  selv_job *handle;
  probe p;
  host h;
  host_begin(&h, form);
  probe_init(&p);
  job = job_on(&h, probe_hold, &p);
  handle = submitted(c, &job);
  CHECK_WAIT(&p.entered, 1);
  host_close(&h);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 0);
  CHECK_STATUS(selv_job_wait(handle, CHECK_MS, NULL), SELV_E_TIMEDOUT); /* no DEADLOCK: the worker is going to deliver it */
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.freed, 1);
  CLOSED_TOLD(&p, 1);
  CHECK(!pthread_equal(p.deliverer, pthread_self()));
  CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
  CHECK_STATUS(outcome.status, SELV_E_CLOSED);
  CHECK_EQ_U64(outcome.code, 7);
  CHECK(outcome.value == &p);
  selv_job_release(handle);
  host_end(&h);
  probe_end(c);
}

/* Its outcome is queued: the close tells. */
static void closed_before_the_drain(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job;
  selv_outcome outcome;
  selv_job *handle;
  probe p;
  host h;
  host_begin(&h, form);
  probe_init(&p);
  job = job_on(&h, probe_run, &p);
  handle = submitted(c, &job);
  UNTIL(host_waiting(&h) == 1);
  host_close(&h);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  CLOSED_TOLD(&p, 1);
  CHECK(pthread_equal(p.deliverer, pthread_self()));
  CHECK_OK(selv_job_wait(handle, 0, &outcome));
  CHECK_STATUS(outcome.status, SELV_E_CLOSED);
  CHECK_EQ_U64(outcome.code, 7);
  selv_job_release(handle);
  host_end(&h);
  probe_end(c);
}

/* While a close tells one after the other, those behind cannot be waited for on its thread. */
static selv_job *job_behind;

static void waits_in_the_close(call_probe *p) {
  CHECK_STATUS(selv_job_wait(job_behind, SELV_FOREVER, NULL), SELV_E_DEADLOCK);
  p->n++;
}

static void waits_in_deliver(void *arg, const selv_outcome *outcome) {
  CHECK_STATUS(outcome->status, SELV_E_CLOSED);
  CHECK_STATUS(selv_job_wait(job_behind, SELV_FOREVER, NULL), SELV_E_DEADLOCK);
  probe_deliver(arg, outcome);
}

static void waited_for_inside_the_close(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job;
  call_probe call;
  probe p, q;
  host h;
  host_begin(&h, form);
  call_probe_init(&call, &h);
  probe_init(&p);
  probe_init(&q);
  call.then_drop = waits_in_the_close;
  call_probe_soon(&call);
  job = job_on(&h, probe_run, &p);
  job.deliver = waits_in_deliver;
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  job = job_on(&h, probe_run, &q);
  job_behind = submitted(c, &job);
  UNTIL(host_waiting(&h) == 3);
  host_close(&h);
  CHECK_EQ_U64(call.n, 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  CHECK_EQ_U64(check_tally_get(&q.freed), 1);
  CLOSED_TOLD(&q, 1);
  CHECK_OK(selv_job_wait(job_behind, 0, NULL));
  selv_job_release(job_behind);
  host_end(&h);
  probe_end(c);
}

/* Cancelled, then closed; and closed, then cancelled: told so once, of either. */
static void closed_and_cancelled(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options hold, job;
  selv_job *first, *second;
  probe busy, p, q;
  host h;
  host_begin(&h, form);
  probe_init(&busy);
  probe_init(&p);
  probe_init(&q);
  hold = probe_job(probe_hold, &busy);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  job = job_on(&h, probe_never, &p);
  first = submitted(c, &job);
  job = job_on(&h, probe_never, &q);
  second = submitted(c, &job);
  CHECK_OK(selv_job_cancel(first));
  host_close(&h);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  CLOSED_TOLD(&p, 0);
  CHECK_EQ_U64(check_tally_get(&q.delivered), 0);
  CHECK_OK(selv_job_cancel(second)); /* there is no loop to tell it on: told here */
  CHECK_EQ_U64(check_tally_get(&q.freed), 1);
  CLOSED_TOLD(&q, 0);
  CHECK(pthread_equal(q.deliverer, pthread_self()));
  selv_job_release(first);
  selv_job_release(second);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&busy.freed, 1);
  host_end(&h);
  probe_end(c);
}

/* A job that is queued when the loop is closed still runs: it was accepted. */
static void closed_before_it_runs(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options hold, job;
  probe busy, p;
  host h;
  host_begin(&h, form);
  probe_init(&busy);
  probe_init(&p);
  hold = probe_job(probe_hold, &busy);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  job = job_on(&h, probe_run, &p);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  host_end(&h); /* the last handle, too */
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&p.freed, 1);
  CHECK_EQ_U64(check_tally_get(&p.ran), 1);
  CLOSED_TOLD(&p, 1);
  probe_end(c);
}

static void refused_by_a_closed_loop(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options jobs[3];
  selv_job *handle = (selv_job *)(uintptr_t)1;
  size_t accepted = 99;
  probe p;
  host h, closed;
  host_begin(&h, form);
  host_begin(&closed, form);
  probe_init(&p);
  host_close(&closed);
  jobs[0] = job_on(&h, probe_never, &p);
  jobs[1] = jobs[2] = job_on(&closed, probe_never, &p);
  CHECK_STATUS(selv_cache_submit(c, &jobs[1], &handle), SELV_E_CLOSED);
  CHECK(handle == NULL);
  CHECK_LAST_ERROR_HAS("plain");
  CHECK_STATUS(selv_cache_submit_many(c, &jobs[1], 2, &accepted), SELV_E_CLOSED);
  CHECK_EQ_U64(accepted, 0);
  CHECK_STATUS(selv_cache_submit_many(c, jobs, 3, &accepted), SELV_E_CLOSED);
  CHECK_EQ_U64(accepted, 0); /* all are checked before the first is accepted */
  CHECK_EQ_U64(check_tally_get(&p.delivered) + check_tally_get(&p.freed), 0);
  CHECK_EQ_U64(probe_stats(c).jobs_accepted, 0);
  host_end(&closed);
  host_end(&h);
  probe_end(c);
}

/* ---- the loop's thread ends in deliver or arg_free ---- */

static void ends_in_deliver(void *arg, const selv_outcome *outcome) {
  probe_deliver(arg, outcome);
  pthread_exit(NULL);
}

static void ends_in_free(void *arg) {
  probe_freed(arg);
  pthread_exit(NULL);
}

static host *host_to_close;
static void closes_and_ends_in_deliver(void *arg, const selv_outcome *outcome) {
  host_close(host_to_close);
  ends_in_deliver(arg, outcome);
}

static void *drains_and_ends(void *arg) {
  host *h = (host *)arg;
  host_bind(h);
  host_drain(h, 0);
  check_fail(__FILE__, __LINE__, "the drain returned");
  return NULL;
}

/* Each of the two is called once, and who waits for the job is let go, by the next thread of the loop at the latest. */
static void a_thread_that_ends(int form, selv_deliver_fn deliver, selv_free_fn job_free) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job, next;
  selv_outcome outcome;
  selv_job *handle;
  pthread_t thread;
  uint32_t ran;
  probe p, q;
  host h;
  host_begin(&h, form);
  host_to_close = &h;
  probe_init(&p);
  probe_init(&q);
  job = job_on(&h, probe_run, &p);
  job.deliver = deliver;
  job.arg_free = job_free;
  next = job_on(&h, probe_run, &q);
  handle = submitted(c, &job);
  CHECK_OK(selv_cache_submit(c, &next, NULL));
  UNTIL(host_waiting(&h) == 2);
  CHECK(pthread_create(&thread, NULL, drains_and_ends, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  if (!h.closed) {
    host_bind(&h);
    ran = host_drain(&h, 0);
    CHECK(ran == 1 || ran == 2); /* what was left of the first may count again */
  }
  CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_WAIT(&p.freed, 1);
  CHECK_WAIT(&q.freed, 1);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  CHECK_EQ_U64(check_tally_get(&q.delivered), 1);
  selv_job_release(handle);
  if (!h.closed) {
    host_end(&h);
  } else {
    selv_host_loop_release(h.loop);
    host_pipe_closed(&h);
  }
  probe_end(c);
}

static void a_thread_that_ends_in_deliver(int form) { a_thread_that_ends(form, ends_in_deliver, probe_freed); }
static void a_thread_that_ends_in_arg_free(int form) { a_thread_that_ends(form, probe_deliver, ends_in_free); }
static void a_thread_that_closes_and_ends(int form) { a_thread_that_ends(form, closes_and_ends_in_deliver, probe_freed); }

int main(void) {
  HOST_RUN_BOTH(another_thread_waits_until_it_is_delivered);
  HOST_RUN_BOTH(deadlock_on_the_loops_thread);
  HOST_RUN_BOTH(its_time_passes);
  HOST_RUN_BOTH(after_a_shutdown);
  HOST_RUN_BOTH(closed_while_it_runs);
  HOST_RUN_BOTH(closed_before_the_drain);
  HOST_RUN_BOTH(waited_for_inside_the_close);
  HOST_RUN_BOTH(closed_and_cancelled);
  HOST_RUN_BOTH(closed_before_it_runs);
  HOST_RUN_BOTH(refused_by_a_closed_loop);
  HOST_RUN_BOTH(a_thread_that_ends_in_deliver);
  HOST_RUN_BOTH(a_thread_that_ends_in_arg_free);
  HOST_RUN_BOTH(a_thread_that_closes_and_ends);
  return 0;
}

/* job_loop_outcomes.c: a job with a host loop runs on a worker, and is delivered in a drain of that loop, on its thread: however
 * it ended, and in its turn. */
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

/* Not yet told of anything; then the next drain of this thread tells of `n` jobs, the last of which ended with `status`. */
static void told_at(const char *file, int line, host *h, probe *p, uint64_t n, selv_status status) {
  uint64_t before = check_tally_get(&p->delivered);
  UNTIL(host_waiting(h) == n && host_is_due(h));
  check_u64_is(file, line, "delivered before the drain", "expected", check_tally_get(&p->delivered), before);
  check_u64_is(file, line, "run by the drain", "expected", host_drain(h, 0), n);
  check_u64_is(file, line, "delivered", "expected", check_tally_get(&p->delivered), before + n);
  check_u64_is(file, line, "freed", "expected", check_tally_get(&p->freed), before + n);
  check_status_is(file, line, "the outcome", p->last.status, status);
  CHECK(pthread_equal(p->deliverer, pthread_self()));
}
#define TOLD(h, p, n, status) told_at(__FILE__, __LINE__, (h), (p), (n), (status))

static void run(int form) {
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
  CHECK_WAIT(&p.ran, 1);
  CHECK(p.worker != 0);
  TOLD(&h, &p, 1, SELV_OK);
  CHECK_EQ_U64(p.last.code, 7);
  CHECK(p.last.value == &p);
  CHECK_OK(selv_job_wait(handle, 0, &outcome)); /* it is over now */
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(outcome.code, 7);
  CHECK(outcome.value == &p);
  CHECK_STATUS(selv_job_cancel(handle), SELV_E_TOO_LATE);
  selv_job_release(handle);
  host_end(&h);
  probe_end(c);
}

/* Nobody is to be told, or nothing to be freed: the loop does what there is to do. */
static void with_nothing_to_tell(int form) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job;
  selv_outcome outcome;
  selv_job *handle;
  probe p;
  host h;
  host_begin(&h, form);
  probe_init(&p);
  job = job_on(&h, probe_run, &p);
  job.deliver = NULL;
  handle = submitted(c, &job);
  UNTIL(host_waiting(&h) == 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 0);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  CHECK_OK(selv_job_wait(handle, 0, &outcome));
  selv_job_release(handle);
  job.arg_free = NULL;
  handle = submitted(c, &job);
  UNTIL(host_waiting(&h) == 1);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_OK(selv_job_wait(handle, 0, &outcome));
  selv_job_release(handle);
  CHECK_OK(selv_cache_submit(c, &job, NULL)); /* nor has anybody a handle */
  UNTIL(host_waiting(&h) == 1);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  host_end(&h);
  probe_end(c);
}

/* A host compiled with an older header has no such field: what lies behind its struct is not read. */
static void options_of_an_older_host(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job;
  probe p;
  probe_init(&p);
  job = probe_job(probe_run, &p);
  job.struct_size = offsetof(selv_job_options, loop);
  job.loop = (selv_host_loop *)(uintptr_t)8;
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(p.last.status);
  probe_end(c);
}

/* ---- jobs that do not run ---- */

static void cancelled_by_its_handle(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options hold, job;
  selv_job *handle;
  probe busy, p;
  host h;
  host_begin(&h, form);
  probe_init(&busy);
  probe_init(&p);
  hold = probe_job(probe_hold, &busy);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  job = job_on(&h, probe_never, &p);
  handle = submitted(c, &job);
  CHECK_OK(selv_job_cancel(handle));
  CHECK_EQ_U64(check_tally_get(&p.delivered), 0); /* not inside the call, though this is the loop's thread */
  CHECK_STATUS(selv_job_cancel(handle), SELV_E_TOO_LATE);
  TOLD(&h, &p, 1, SELV_E_CANCELLED);
  CHECK(p.last.value == NULL);
  CHECK_HAS(p.detail, "cancel");
  selv_job_release(handle);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&busy.freed, 1);
  host_end(&h);
  probe_end(c);
}

static void cancelled_by_a_shutdown(int form) {
  enum { MANY = 5 };
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options hold, job;
  uint32_t remaining = 99;
  probe busy, p;
  host h;
  int i;
  host_begin(&h, form);
  probe_init(&busy);
  probe_init(&p);
  hold = probe_job(probe_hold, &busy);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  job = job_on(&h, probe_never, &p);
  for (i = 0; i < MANY; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_STATUS(selv_cache_shutdown(c, SELV_SHUTDOWN_CANCEL_QUEUED, 0, &remaining), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 0);
  TOLD(&h, &p, MANY, SELV_E_CANCELLED);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&busy.freed, 1);
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_CLOSED);
  host_end(&h);
  probe_end(c);
}

static void a_hook_fails(int form) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job;
  selv_hook *hook;
  hook_probe failing;
  probe p;
  host h;
  host_begin(&h, form);
  probe_init(&p);
  hook_probe_init(&failing, "sour", NULL);
  failing.before_code = 44;
  hook = hook_probe_register_full(c, &failing, 0);
  job = job_on(&h, probe_never, &p);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  TOLD(&h, &p, 1, SELV_E_HOOK_FAILED);
  CHECK_EQ_U64(p.last.code, 44);
  CHECK(p.last.value == NULL);
  CHECK_HAS(p.detail, "sour");
  hook_probe_remove(hook, &failing);
  host_end(&h);
  probe_end(c);
}

static int32_t ends_the_thread(void *arg, void **out_value) {
  check_tally_add(&((probe *)arg)->entered, 1);
  *out_value = arg;
  pthread_exit(NULL);
}

static void its_thread_ends(int form) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job;
  uint32_t remaining = 99;
  probe p;
  host h;
  host_begin(&h, form);
  probe_init(&p);
  job = job_on(&h, ends_the_thread, &p);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  TOLD(&h, &p, 1, SELV_E_BROKEN);
  CHECK(p.last.value == NULL);
  host_end(&h);
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining)); /* no probe_end: a thread was lost */
  CHECK_EQ_U64(remaining, 0);
  selv_cache_release(c);
}

/* ---- with a limiter ---- */

/* The token comes back when the job has run, not when the loop comes to it: others need it. */
static void with_a_limiter(int form) {
  enum { MANY = 10 };
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_limiter *limiter = limiter_of(1);
  selv_job_options job;
  probe p;
  host h;
  int i;
  host_begin(&h, form);
  probe_init(&p);
  job = job_on(&h, probe_run, &p);
  job.limiter = limiter;
  for (i = 0; i < MANY; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.ran, MANY); /* with nothing delivered */
  TOLD(&h, &p, MANY, SELV_OK);
  UNTIL(limiter_stats(limiter).borrowed == 0);
  host_end(&h);
  CHECK_OK(selv_limiter_free(limiter));
  probe_end(c);
}

static void no_token_for_it(int form) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_limiter *limiter = limiter_of(1);
  selv_task holder = task_named("holder");
  selv_job_options job;
  selv_job *handle;
  probe p;
  host h;
  host_begin(&h, form);
  probe_init(&p);
  CHECK_OK(selv_limiter_try_acquire(limiter, holder));
  job = job_on(&h, probe_never, &p);
  job.limiter = limiter;
  job.limiter_timeout_ns = CHECK_MS;
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  TOLD(&h, &p, 1, SELV_E_TIMEDOUT); /* its time has passed */
  job.limiter_timeout_ns = 0;
  handle = submitted(c, &job);
  CHECK_OK(selv_job_cancel(handle));
  TOLD(&h, &p, 1, SELV_E_CANCELLED);
  selv_job_release(handle);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_OK(selv_limiter_close(limiter));
  TOLD(&h, &p, 1, SELV_E_CLOSED); /* of the limiter: the loop is open */
  CHECK_HAS(p.detail, "tokens");
  job.limiter_timeout_ns = SELV_NO_WAIT;
  CHECK(selv_cache_submit(c, &job, NULL) < 0);
  CHECK_EQ_U64(host_drain(&h, 0), 0); /* a refused job tells nobody */
  CHECK_OK(selv_task_exit(holder, NULL));
  CHECK_OK(selv_limiter_free(limiter));
  host_end(&h);
  probe_end(c);
}

/* ---- inside wake ---- */

/* A wake that runs on a worker, after the job: whatever task it finds there ends, with the job or with the worker. */
#define WAKES 5
static selv_task found[WAKES];
static uint64_t founds;

static void asks_for_its_task(void *wake_arg) {
  if (!host_is_here((host *)wake_arg)) found[founds++ % WAKES] = selv_task_current();
  host_wake(wake_arg);
}

static void the_task_in_a_wake(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_host_loop_options options;
  selv_job_options job;
  probe p;
  host h;
  int i;
  host_init(&h, HOST_WAKE);
  options = host_options(&h);
  options.wake = asks_for_its_task;
  CHECK_OK(selv_host_loop_new(&options, &h.loop));
  h.thread = pthread_self();
  h.watch = h.queue[0];
  probe_init(&p);
  job = job_on(&h, probe_run, &p);
  for (i = 0; i < WAKES; i++) {
    CHECK_OK(selv_cache_submit(c, &job, NULL));
    TOLD(&h, &p, 1, SELV_OK);
  }
  CHECK_EQ_U64(founds, WAKES);
  host_end(&h);
  probe_end(c);
  for (i = 0; i < WAKES; i++) CHECK_STATUS(selv_task_interrupt(found[i]), SELV_E_STALE);
}

/* ---- many ---- */

/* Each of a batch has its own place: a loop, another loop, none. */
static void submit_many_to_several(int form) {
  enum { MANY = 90 };
  selv_cache *c = probe_cache(4, SELV_FOREVER);
  selv_job_options jobs[MANY];
  size_t accepted = 99;
  probe here, there, nowhere;
  host h, other;
  int i;
  host_begin(&h, form);
  host_start(&other, form);
  probe_init(&here);
  probe_init(&there);
  probe_init(&nowhere);
  for (i = 0; i < MANY; i++) {
    if (i % 3 == 0) jobs[i] = job_on(&h, probe_run, &here);
    if (i % 3 == 1) jobs[i] = job_on(&other, probe_run, &there);
    if (i % 3 == 2) jobs[i] = probe_job(probe_run, &nowhere);
  }
  CHECK_OK(selv_cache_submit_many(c, jobs, MANY, &accepted));
  CHECK_EQ_U64(accepted, MANY);
  CHECK_WAIT(&there.freed, MANY / 3);
  CHECK_WAIT(&nowhere.freed, MANY / 3);
  CHECK(pthread_equal(there.deliverer, other.thread));
  CHECK(!pthread_equal(nowhere.deliverer, other.thread) && !pthread_equal(nowhere.deliverer, pthread_self()));
  TOLD(&h, &here, MANY / 3, SELV_OK);
  CHECK_EQ_U64(host_stats(&other).ran, MANY / 3);
  host_stop(&other);
  host_end(&h);
  probe_end(c);
}

/* One worker runs them one after the other, and the loop keeps that order. */
#define ORDERED 1000

static struct ordered {
  host *on;
  uint64_t number;
} ordered[ORDERED];
static uint64_t next_run, next_delivered, next_freed;

static int32_t ordered_run(void *arg, void **out_value) {
  struct ordered *o = (struct ordered *)arg;
  CHECK_EQ_U64(o->number, __atomic_fetch_add(&next_run, 1, __ATOMIC_SEQ_CST));
  *out_value = NULL;
  return (int32_t)o->number;
}

static void ordered_delivered(void *arg, const selv_outcome *outcome) {
  struct ordered *o = (struct ordered *)arg;
  CHECK(host_is_here(o->on));
  CHECK_EQ_U64(o->number, next_delivered);
  CHECK_EQ_U64(next_freed, next_delivered); /* each is freed before the next is delivered */
  CHECK_EQ_U64(outcome->code, o->number);
  next_delivered++;
}

static void ordered_freed(void *arg) {
  struct ordered *o = (struct ordered *)arg;
  CHECK(host_is_here(o->on));
  CHECK_EQ_U64(o->number, next_freed);
  next_freed++;
}

static void in_the_order_of_their_ends(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  uint64_t i, drained = 0;
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  next_run = next_delivered = next_freed = 0;
  for (i = 0; i < ORDERED; i++) {
    selv_job_options job = SELV_JOB_OPTIONS_INIT;
    ordered[i].on = &h;
    ordered[i].number = i;
    job.fn = ordered_run;
    job.deliver = ordered_delivered;
    job.arg = &ordered[i];
    job.arg_free = ordered_freed;
    job.loop = h.loop;
    CHECK_OK(selv_cache_submit(c, &job, NULL));
    if (i % 100 == 50) drained += host_drain(&h, (uint32_t)(i % 7)); /* and also while they come */
  }
  while (drained < ORDERED) {
    UNTIL(host_is_due(&h));
    drained += host_drain(&h, 3 + (uint32_t)(drained % 300));
  }
  CHECK_EQ_U64(next_delivered, ORDERED);
  CHECK_EQ_U64(next_freed, ORDERED);
  CHECK_EQ_U64(drained, ORDERED);
  host_end(&h);
  probe_end(c);
}

/* ---- inside deliver ---- */

/* A deliver that submits the next job to the same loop: it is delivered in a later drain, never inside this one. */
typedef struct chain {
  host on;
  selv_cache *cache;
  uint64_t left;
  check_tally delivered;
} chain;

static void submits_the_next(void *arg, const selv_outcome *outcome);

static int32_t nothing(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

static void submit_link(chain *ch) {
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  job.fn = nothing;
  job.deliver = submits_the_next;
  job.arg = ch;
  job.loop = ch->on.loop;
  CHECK_OK(selv_cache_submit(ch->cache, &job, NULL));
}

static void submits_the_next(void *arg, const selv_outcome *outcome) {
  chain *ch = (chain *)arg;
  CHECK_OK(outcome->status);
  CHECK(host_is_here(&ch->on));
  CHECK(ch->on.inside == 0);
  ch->on.inside = 1;
  if (--ch->left > 0) submit_link(ch);
  ch->on.inside = 0;
  check_tally_add(&ch->delivered, 1);
}

static void a_chain(int form) {
  uint64_t many = check_scaled(1000);
  chain ch;
  memset(&ch, 0, sizeof ch);
  check_tally_init(&ch.delivered);
  ch.cache = probe_cache(1, SELV_FOREVER);
  ch.left = many;
  host_start(&ch.on, form);
  submit_link(&ch);
  CHECK_WAIT(&ch.delivered, many);
  CHECK_EQ_U64(host_stats(&ch.on).accepted, many);
  CHECK_EQ_U64(probe_stats(ch.cache).started, 1);
  host_stop(&ch.on);
  probe_end(ch.cache);
}

int main(void) {
  HOST_RUN_BOTH(run);
  HOST_RUN_BOTH(with_nothing_to_tell);
  CHECK_RUN(options_of_an_older_host);
  HOST_RUN_BOTH(cancelled_by_its_handle);
  HOST_RUN_BOTH(cancelled_by_a_shutdown);
  HOST_RUN_BOTH(a_hook_fails);
  HOST_RUN_BOTH(its_thread_ends);
  HOST_RUN_BOTH(with_a_limiter);
  HOST_RUN_BOTH(no_token_for_it);
  CHECK_RUN(the_task_in_a_wake);
  HOST_RUN_BOTH(submit_many_to_several);
  HOST_RUN_BOTH(in_the_order_of_their_ends);
  HOST_RUN_BOTH(a_chain);
  return 0;
}

/* pthread_exit.c: a runtime ends the thread inside a callback, as CPython up to 3.13 does at finalisation. The process lives,
 * the loss is counted, a job cut short is delivered by another worker as BROKEN, and nobody waits for the dead. */
#include "probe.h"

static uint64_t lost(selv_cache *c) { return probe_stats(c).threads_lost; }

/* No probe_end: a lost thread neither exited nor lives. What must hold is that shutdown ends, and that no job is missing. */
static void end_after_losses(selv_cache *c) {
  uint32_t remaining = 99;
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  CHECK_EQ_U64(remaining, 0);
  CHECK_EQ_U64(probe_stats(c).workers, 0);
  CHECK_EQ_U64(probe_stats(c).jobs_accepted, probe_stats(c).jobs_delivered);
  selv_cache_release(c);
}

static void still_works(selv_cache *c) {
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
}

static int32_t exits_in_fn(void *arg, void **out_value) {
  check_tally_add(&((probe *)arg)->entered, 1);
  (void)out_value;
  pthread_exit(NULL);
}

static void in_fn(uint32_t max_workers) {
  selv_cache *c = probe_cache(max_workers, SELV_FOREVER);
  hook_probe h;
  selv_hook *hook;
  selv_job_options job;
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  hook_probe_init(&h, "h", NULL);
  hook = hook_probe_register_full(c, &h, 0);
  job = probe_job(exits_in_fn, &p);
  outcome = probe_through(c, &job);
  CHECK_STATUS(outcome.status, SELV_E_BROKEN);
  CHECK(outcome.value == NULL);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  CHECK_EVENTUALLY(lost(c) == 1);
  CHECK_EQ_U64(hook_probe_stats(hook).lost, 1);
  CHECK_EQ_U64(check_tally_get(&h.exits), hook_probe_stats(hook).exits);
  still_works(c);
  hook_probe_remove(hook, &h);
  end_after_losses(c);
}

static void in_fn_of_an_unbounded_cache(void) { in_fn(0); }
static void in_fn_of_a_cache_of_one(void) { in_fn(1); } /* the queue must not starve */

static void in_fn_with_jobs_queued_behind(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job, after;
  probe p, q;
  int i;
  probe_init(&p);
  probe_init(&q);
  job = probe_job(exits_in_fn, &p);
  after = probe_job(probe_run, &q);
  for (i = 0; i < 10; i++) CHECK_OK(selv_cache_submit(c, i % 2 ? &after : &job, NULL));
  CHECK_WAIT(&p.freed, 5);
  CHECK_WAIT(&q.freed, 5);
  CHECK_STATUS(p.last.status, SELV_E_BROKEN);
  CHECK_OK(q.last.status);
  CHECK_EVENTUALLY(lost(c) == 5);
  end_after_losses(c);
}

static void in_a_run(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_outcome outcome;
  selv_status status;
  probe p;
  probe_init(&p);
  memset(&outcome, 0, sizeof outcome);
  status = selv_cache_run(c, exits_in_fn, &p, SELV_FOREVER, &outcome);
  CHECK(status == SELV_E_BROKEN || (status == SELV_OK && outcome.status == SELV_E_BROKEN));
  end_after_losses(c);
}

static void exits_in_deliver(void *arg, const selv_outcome *outcome) {
  probe_deliver(arg, outcome);
  pthread_exit(NULL);
}

static void in_deliver(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job, after;
  selv_job *handle = NULL;
  selv_outcome outcome;
  probe p, q;
  probe_init(&p);
  probe_init(&q);
  job = probe_job(probe_run, &p);
  job.deliver = exits_in_deliver;
  after = probe_job(probe_run, &q);
  CHECK_OK(selv_cache_submit(c, &job, &handle));
  CHECK_OK(selv_cache_submit(c, &after, NULL)); /* perhaps already in the dying worker's slot: not lost with it */
  CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
  selv_job_release(handle);
  CHECK_WAIT(&q.freed, 1);
  CHECK_OK(q.last.status);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1); /* it was called: it is not called again */
  CHECK_WAIT(&p.freed, 1);
  CHECK_EVENTUALLY(lost(c) == 1);
  still_works(c);
  end_after_losses(c);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
}

/* The submit made inside deliver goes to the very worker that then dies. */
static selv_cache *chain_cache;
static probe chained;

static void submits_then_exits(void *arg, const selv_outcome *outcome) {
  selv_job_options next = probe_job(probe_run, &chained);
  probe_deliver(arg, outcome);
  CHECK_OK(selv_cache_submit(chain_cache, &next, NULL));
  pthread_exit(NULL);
}

static void in_deliver_after_a_submit(void) {
  selv_job_options job;
  probe p;
  chain_cache = probe_cache(0, SELV_FOREVER);
  probe_init(&p);
  probe_init(&chained);
  job = probe_job(probe_run, &p);
  job.deliver = submits_then_exits;
  CHECK_OK(selv_cache_submit(chain_cache, &job, NULL));
  CHECK_WAIT(&chained.freed, 1);
  CHECK_EQ_U64(check_tally_get(&chained.delivered), 1);
  CHECK(chained.last.status == SELV_OK || chained.last.status == SELV_E_BROKEN);
  end_after_losses(chain_cache);
}

/* ---- inside hooks ---- */

static const char *dies_in;

static void die_if(const char *place) {
  if (strcmp(dies_in, place) == 0) {
    dies_in = ""; /* once */
    pthread_exit(NULL);
  }
}

static int32_t mortal_start(void *user, const selv_worker *w, void **slot) {
  int32_t code = hook_probe_start(user, w, slot);
  die_if("start");
  return code;
}

static void mortal_exit(void *user, const selv_worker *w, void *slot) {
  hook_probe_exit(user, w, slot);
  die_if("exit");
}

static int32_t mortal_before(void *user, const selv_worker *w, void *slot) {
  int32_t code = hook_probe_before(user, w, slot);
  die_if("before");
  return code;
}

static void mortal_after(void *user, const selv_worker *w, void *slot) {
  hook_probe_after(user, w, slot);
  die_if("after");
}

static void in_hook(const char *place) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_hook_options options;
  selv_job_options job;
  selv_outcome outcome;
  selv_hook *hook = NULL, *hother;
  hook_probe h, other;
  probe p;
  probe_init(&p);
  hook_probe_init(&h, "mortal", NULL);
  hook_probe_init(&other, "other", NULL);
  hother = hook_probe_register(c, &other, 0);
  options = hook_probe_options(&h, 0);
  options.on_start = mortal_start;
  options.on_exit = mortal_exit;
  options.before_job = mortal_before;
  options.after_job = mortal_after;
  dies_in = place;
  CHECK_OK(selv_hook_register(c, &options, &hook));
  job = probe_job(probe_run, &p);
  outcome = probe_through(c, &job);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  if (strcmp(place, "exit") == 0)
    CHECK_OK(outcome.status);
  else
    CHECK_STATUS(outcome.status, SELV_E_BROKEN);
  CHECK_EQ_U64(check_tally_get(&p.ran), strcmp(place, "after") == 0 || strcmp(place, "exit") == 0 ? 1 : 0);
  if (strcmp(place, "exit") != 0) {
    CHECK_EVENTUALLY(lost(c) == 1);
    CHECK_EQ_U64(hook_probe_stats(hother).lost, 1);
    CHECK_EQ_U64(check_tally_get(&other.exits), 0); /* never called back */
    CHECK_OK(probe_through(c, &job).status);        /* and another worker does the next */
  }
  hook_probe_remove(hook, &h); /* returns: the dead one is not waited for */
  if (strcmp(place, "exit") == 0) CHECK_EVENTUALLY(lost(c) == 1);
  hook_probe_remove(hother, &other);
  still_works(c);
  end_after_losses(c);
}

static void in_on_start(void) { in_hook("start"); }
static void in_on_exit(void) { in_hook("exit"); }
static void in_before_job(void) { in_hook("before"); }
static void in_after_job(void) { in_hook("after"); }

/* On its way out by shutdown: the shutdown must not wait for a hook that never comes back. */
static void in_on_exit_during_shutdown(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_hook_options options;
  selv_hook *hook = NULL;
  hook_probe h;
  hook_probe_init(&h, "mortal", NULL);
  options = hook_probe_options(&h, 0);
  options.on_exit = mortal_exit;
  dies_in = "";
  CHECK_OK(selv_hook_register(c, &options, &hook));
  probe_warm(c, 1);
  dies_in = "exit";
  end_after_losses(c);
  hook_probe_remove(hook, &h);
}

/* ---- inside finalisers ---- */

static void exits_in_free(void *arg) {
  probe_freed(arg);
  pthread_exit(NULL);
}

static void in_arg_free(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job, after;
  selv_job *handle = NULL;
  selv_outcome outcome;
  probe p, q;
  probe_init(&p);
  probe_init(&q);
  job = probe_job(probe_run, &p);
  job.arg_free = exits_in_free;
  after = probe_job(probe_run, &q);
  CHECK_OK(selv_cache_submit(c, &job, &handle));
  CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome)); /* its job is done, though its thread is not there to say so */
  CHECK_OK(outcome.status);
  selv_job_release(handle);
  CHECK_OK(probe_through(c, &after).status);
  CHECK_EVENTUALLY(lost(c) == 1);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  end_after_losses(c);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1); /* once, not again on every thread that tries */
  CHECK_EQ_U64(check_tally_get(&q.freed), 1);
}

static void exits_in_user_free(void *user) {
  hook_probe_freed(user);
  pthread_exit(NULL);
}

static void in_user_free(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_hook_options options;
  selv_hook *hook = NULL;
  selv_job_options hold;
  hook_probe h;
  uint32_t attached = 99;
  probe p;
  probe_init(&p);
  hook_probe_init(&h, "mortal", NULL);
  options = hook_probe_options(&h, 0);
  options.user_free = exits_in_user_free;
  CHECK_OK(selv_hook_register(c, &options, &hook));
  hold = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&p.entered, 1);
  CHECK_STATUS(selv_hook_unregister(hook, 0, &attached), SELV_E_TIMEDOUT);
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&h.frees, 1); /* on the worker: the last to detach */
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  CHECK_EQ_U64(hook_probe_stats(hook).exits, 1);
  CHECK_EQ_U64(hook_probe_stats(hook).lost, 0); /* it had exited: only its thread was lost */
  CHECK_EVENTUALLY(lost(c) == 1);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  still_works(c);
  selv_hook_release(hook);
  end_after_losses(c);
  CHECK_EQ_U64(check_tally_get(&h.frees), 1);
}

static int32_t exits_in_fn_with_retire(void *arg, void **out_value) { return exits_in_fn(arg, out_value); }

/* A lost thread has ended: a RETIRE hook may let go of it, and must wait until it has. */
static void with_a_retiring_hook(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_hook *hook;
  selv_job_options job;
  hook_probe h;
  probe p;
  probe_init(&p);
  hook_probe_init(&h, "retiring", NULL);
  hook = hook_probe_register(c, &h, SELV_HOOK_RETIRE);
  job = probe_job(exits_in_fn_with_retire, &p);
  CHECK_STATUS(probe_through(c, &job).status, SELV_E_BROKEN);
  hook_probe_remove(hook, &h);
  end_after_losses(c);
  CHECK_THREADS_LEFT(0);
}

/* ---- on a thread that is no worker ---- */

typedef struct canceller {
  selv_cache *cache;
  selv_job *job; /* NULL: a shutdown cancels all that wait */
} canceller;

static void cancelled_and_gone(void *arg, const selv_outcome *outcome) {
  CHECK_STATUS(outcome->status, SELV_E_CANCELLED);
  probe_deliver(arg, outcome);
  pthread_exit(NULL);
}

static void *cancels(void *arg) {
  const canceller *c = (const canceller *)arg;
  if (c->job != NULL)
    selv_job_cancel(c->job);
  else
    selv_cache_shutdown(c->cache, SELV_SHUTDOWN_CANCEL_QUEUED, 0, NULL);
  check_fail(__FILE__, __LINE__, "the thread has come back from a deliver that ended it");
  return NULL;
}

/* Whoever waits for the job hears of its end all the same, and its argument is freed, once; even if that ends the worker that is left
 * with it, too. */
static void in_the_deliver_of_a_cancel(int by_shutdown, selv_free_fn arg_free) {
  canceller who;
  selv_job_options held, waiting;
  selv_outcome outcome;
  selv_job *job;
  pthread_t thread;
  probe holder, p;
  who.cache = probe_cache(1, SELV_FOREVER);
  probe_init(&holder);
  probe_init(&p);
  held = probe_job(probe_hold, &holder);
  CHECK_OK(selv_cache_submit(who.cache, &held, NULL));
  CHECK_WAIT(&holder.entered, 1);
  waiting = probe_job(probe_never, &p);
  waiting.deliver = cancelled_and_gone;
  waiting.arg_free = arg_free;
  CHECK_OK(selv_cache_submit(who.cache, &waiting, &job));
  who.job = by_shutdown ? NULL : job;
  CHECK(pthread_create(&thread, NULL, cancels, &who) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_OK(selv_job_wait(job, SELV_FOREVER, &outcome));
  CHECK_STATUS(outcome.status, SELV_E_CANCELLED);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  selv_job_release(job);
  check_tally_add(&holder.go, 1);
  end_after_losses(who.cache);
}

static void in_the_deliver_of_selv_job_cancel(void) { in_the_deliver_of_a_cancel(0, probe_freed); }
static void in_the_deliver_of_a_shutdown(void) { in_the_deliver_of_a_cancel(1, probe_freed); }
static void in_both_steps_of_a_cancel(void) { in_the_deliver_of_a_cancel(0, exits_in_free); }

int main(void) {
  CHECK_RUN(in_fn_of_an_unbounded_cache);
  CHECK_RUN(in_fn_of_a_cache_of_one);
  CHECK_RUN(in_fn_with_jobs_queued_behind);
  CHECK_RUN(in_a_run);
  CHECK_RUN(in_deliver);
  CHECK_RUN(in_deliver_after_a_submit);
  CHECK_RUN(in_on_start);
  CHECK_RUN(in_on_exit);
  CHECK_RUN(in_before_job);
  CHECK_RUN(in_after_job);
  CHECK_RUN(in_on_exit_during_shutdown);
  CHECK_RUN(in_arg_free);
  CHECK_RUN(in_user_free);
  CHECK_RUN(with_a_retiring_hook);
  CHECK_RUN(in_the_deliver_of_selv_job_cancel);
  CHECK_RUN(in_the_deliver_of_a_shutdown);
  CHECK_RUN(in_both_steps_of_a_cancel);
  return 0;
}

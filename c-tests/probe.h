/* probe.h: jobs and hooks that watch themselves, shared by the C tests of the cache: counted jobs, jobs that hold their
 * worker until told to go on, hooks that write a journal. The checks themselves are in check.h. */
#ifndef SELV_C_TESTS_PROBE_H
#define SELV_C_TESTS_PROBE_H

#include "check.h"

/* ---- jobs ---- */

/* One probe may serve many jobs at once; `last` is then the latest one delivered. */
typedef struct probe {
  check_tally entered;   /* fn began */
  check_tally go;        /* probe_hold waits for 1 here */
  check_tally ran;       /* fn is about to return */
  check_tally delivered; /* deliver was called */
  check_tally freed;     /* arg_free was called */
  selv_outcome last;
  uint64_t worker; /* id of the worker that ran fn last */
  pthread_t deliverer;
  char detail[512]; /* selv_last_error inside the latest deliver */
} probe;

static inline void probe_init(probe *p) {
  memset(p, 0, sizeof *p);
  check_tally_init(&p->entered);
  check_tally_init(&p->go);
  check_tally_init(&p->ran);
  check_tally_init(&p->delivered);
  check_tally_init(&p->freed);
}

static inline int32_t probe_run(void *arg, void **out_value) {
  probe *p = (probe *)arg;
  check_tally_add(&p->entered, 1);
  pthread_mutex_lock(&p->ran.mutex); /* several workers may run this probe at once */
  p->worker = selv_worker_id(selv_worker_current());
  pthread_mutex_unlock(&p->ran.mutex);
  *out_value = arg;
  check_tally_add(&p->ran, 1);
  return 7;
}

static inline int32_t probe_hold(void *arg, void **out_value) {
  probe *p = (probe *)arg;
  check_tally_add(&p->entered, 1);
  CHECK_WAIT(&p->go, 1);
  *out_value = arg;
  check_tally_add(&p->ran, 1);
  return 7;
}

/* For jobs that must never run. */
static inline int32_t probe_never(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  check_fail(__FILE__, __LINE__, "a job ran that must not run");
  return 0;
}

static inline void probe_deliver(void *arg, const selv_outcome *outcome) {
  probe *p = (probe *)arg;
  pthread_mutex_lock(&p->delivered.mutex);
  p->last = *outcome;
  p->deliverer = pthread_self();
  p->detail[0] = '\0';
  selv_last_error(p->detail, sizeof p->detail);
  p->delivered.count++;
  pthread_cond_broadcast(&p->delivered.raised);
  pthread_mutex_unlock(&p->delivered.mutex);
}

static inline void probe_freed(void *arg) { check_tally_add(&((probe *)arg)->freed, 1); }

static inline selv_job_options probe_job(selv_job_fn fn, probe *p) {
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  job.fn = fn;
  job.deliver = probe_deliver;
  job.arg = p;
  job.arg_free = probe_freed;
  return job;
}

/* Takes the job through to its delivery. What a refused submit says, or else what the outcome says. */
static inline selv_outcome probe_through(selv_cache *c, selv_job_options *options) {
  selv_outcome outcome;
  selv_job *job = NULL;
  memset(&outcome, 0, sizeof outcome);
  outcome.status = selv_cache_submit(c, options, &job);
  if (outcome.status == SELV_OK) {
    CHECK_OK(selv_job_wait(job, SELV_FOREVER, &outcome));
    selv_job_release(job);
  }
  return outcome;
}

/* ---- caches ---- */

static inline selv_cache *probe_cache(uint32_t max_workers, uint64_t idle_timeout_ns) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *c = NULL;
  options.max_workers = max_workers;
  options.idle_timeout_ns = idle_timeout_ns;
  CHECK_OK(selv_cache_new(&options, &c));
  CHECK(c != NULL);
  return c;
}

static inline selv_cache_stats probe_stats(selv_cache *c) {
  selv_cache_stats stats = SELV_CACHE_STATS_INIT;
  CHECK_OK(selv_cache_get_stats(c, &stats));
  return stats;
}

/* Ends the cache and checks that it ended clean: nobody left, everything accepted was delivered. */
static inline void probe_end(selv_cache *c) {
  uint32_t remaining = 99;
  selv_cache_stats stats;
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  CHECK_EQ_U64(remaining, 0);
  stats = probe_stats(c);
  CHECK_EQ_U64(stats.workers, 0);
  CHECK_EQ_U64(stats.jobs_accepted, stats.jobs_delivered);
  CHECK_EQ_U64(stats.started, stats.exited + stats.threads_lost);
  selv_cache_release(c);
}

/* Brings the cache to `n` idle workers. */
static inline void probe_warm(selv_cache *c, uint64_t n) {
  uint64_t i;
  probe p;
  selv_job_options job;
  probe_init(&p);
  job = probe_job(probe_hold, &p);
  for (i = 0; i < n; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.entered, n);
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.freed, n);
  CHECK_EVENTUALLY(probe_stats(c).busy == 0);
}

/* ---- hooks ---- */

/* A hook that journals "<name>.start" and so on, and does what its fields say. The slot is the probe's own address. */
typedef struct hook_probe {
  const char *name;
  check_journal *journal; /* may be NULL */
  int32_t start_code, before_code;
  check_tally starts, exits, befores, afters, frees;
  pthread_t freed_on;
} hook_probe;

static inline void hook_probe_init(hook_probe *h, const char *name, check_journal *journal) {
  memset(h, 0, sizeof *h);
  h->name = name;
  h->journal = journal;
  check_tally_init(&h->starts);
  check_tally_init(&h->exits);
  check_tally_init(&h->befores);
  check_tally_init(&h->afters);
  check_tally_init(&h->frees);
}

static inline int32_t hook_probe_start(void *user, const selv_worker *w, void **slot) {
  hook_probe *h = (hook_probe *)user;
  CHECK(w != NULL && w == selv_worker_current());
  if (h->journal) check_note(h->journal, h->name, ".start");
  *slot = h;
  check_tally_add(&h->starts, 1);
  return h->start_code;
}

static inline void hook_probe_exit(void *user, const selv_worker *w, void *slot) {
  hook_probe *h = (hook_probe *)user;
  CHECK(w != NULL && w == selv_worker_current());
  CHECK(slot == user);
  if (h->journal) check_note(h->journal, h->name, ".exit");
  check_tally_add(&h->exits, 1);
}

static inline int32_t hook_probe_before(void *user, const selv_worker *w, void *slot) {
  hook_probe *h = (hook_probe *)user;
  CHECK(w != NULL && w == selv_worker_current());
  CHECK(slot == user);
  if (h->journal) check_note(h->journal, h->name, ".before");
  check_tally_add(&h->befores, 1);
  return h->before_code;
}

static inline void hook_probe_after(void *user, const selv_worker *w, void *slot) {
  hook_probe *h = (hook_probe *)user;
  CHECK(w != NULL && w == selv_worker_current());
  CHECK(slot == user);
  if (h->journal) check_note(h->journal, h->name, ".after");
  check_tally_add(&h->afters, 1);
}

static inline void hook_probe_freed(void *user) {
  hook_probe *h = (hook_probe *)user;
  h->freed_on = pthread_self();
  check_tally_add(&h->frees, 1);
}

static inline selv_hook_options hook_probe_options(hook_probe *h, uint32_t flags) {
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  options.flags = flags;
  options.name = h->name;
  options.on_start = hook_probe_start;
  options.on_exit = hook_probe_exit;
  options.user = h;
  options.user_free = hook_probe_freed;
  return options;
}

/* Registers start and exit only. */
static inline selv_hook *hook_probe_register(selv_cache *c, hook_probe *h, uint32_t flags) {
  selv_hook_options options = hook_probe_options(h, flags);
  selv_hook *hook = NULL;
  CHECK_OK(selv_hook_register(c, &options, &hook));
  CHECK(hook != NULL);
  return hook;
}

/* Registers start, exit, before and after. */
static inline selv_hook *hook_probe_register_full(selv_cache *c, hook_probe *h, uint32_t flags) {
  selv_hook_options options = hook_probe_options(h, flags);
  selv_hook *hook = NULL;
  options.before_job = hook_probe_before;
  options.after_job = hook_probe_after;
  CHECK_OK(selv_hook_register(c, &options, &hook));
  CHECK(hook != NULL);
  return hook;
}

static inline selv_hook_stats hook_probe_stats(selv_hook *hook) {
  selv_hook_stats stats = SELV_HOOK_STATS_INIT;
  CHECK_OK(selv_hook_get_stats(hook, &stats));
  return stats;
}

/* Unregisters with no limit of time and checks rule 4: nobody attached, the user data freed once. */
static inline void hook_probe_remove(selv_hook *hook, hook_probe *h) {
  uint32_t attached = 99;
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  CHECK_EQ_U64(check_tally_get(&h->frees), 1);
  selv_hook_release(hook);
}

#endif

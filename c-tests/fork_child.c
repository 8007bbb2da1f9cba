/* fork_child.c: after fork the child has no workers and works again at once, whoever forked; what was the parent's stays the
 * parent's, in both directions. */
#include "probe.h"

#include <sys/wait.h>

static void reap(pid_t child) {
  int status = 0;
  CHECK(child > 0);
  CHECK(waitpid(child, &status, 0) == child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    check_fail(__FILE__, __LINE__, "the child ended with status %#x", (unsigned)status);
}

/* A child that hangs must fail the test, not the patience of whoever runs it. */
static pid_t forked(void) {
  pid_t child;
  fflush(stdout);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) alarm((unsigned)check_patience_s());
  return child;
}

static void works_again(selv_cache *c) {
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(outcome.code, 7);
}

static void a_child_of_the_main_thread(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER), *other = NULL;
  selv_job_options hold, queued_job;
  selv_job *busy_job = NULL, *queued = NULL;
  selv_cache *bounded = probe_cache(1, SELV_FOREVER);
  probe busy, q;
  pid_t child;
  probe_init(&busy);
  probe_init(&q);
  CHECK_OK(selv_cache_default(&other));
  works_again(other);
  probe_warm(c, 3);
  hold = probe_job(probe_hold, &busy);
  queued_job = probe_job(probe_run, &q);
  CHECK_OK(selv_cache_submit(c, &hold, &busy_job));
  CHECK_OK(selv_cache_submit(bounded, &hold, NULL));
  CHECK_WAIT(&busy.entered, 2);
  CHECK_OK(selv_cache_submit(bounded, &queued_job, &queued));
  child = forked();
  if (child == 0) {
    selv_cache_stats s = probe_stats(c);
    selv_outcome outcome;
    selv_cache *fresh;
    CHECK_EQ_U64(s.workers + s.idle + s.busy + s.jobs_accepted + s.started, 0);
    CHECK_EQ_U64(probe_stats(bounded).jobs_queued, 0);
    works_again(c);
    works_again(other);
    works_again(bounded); /* the parent's busy worker does not count against the limit */
    CHECK_EQ_U64(probe_stats(c).started, 1);
    CHECK_STATUS(selv_job_wait(busy_job, SELV_FOREVER, &outcome), SELV_E_FORKED);
    CHECK_STATUS(selv_job_wait(queued, SELV_FOREVER, &outcome), SELV_E_FORKED);
    CHECK_STATUS(selv_job_cancel(queued), SELV_E_FORKED);
    selv_job_release(queued);
    selv_job_release(busy_job);
    fresh = probe_cache(0, 0);
    works_again(fresh);
    probe_end(fresh);
    probe_end(c);
    probe_end(bounded);
    CHECK_OK(selv_cache_trim(other, 0));
    CHECK_EQ_U64(check_tally_get(&q.delivered) + check_tally_get(&busy.delivered), 0); /* the parent's jobs */
    _exit(0);
  }
  reap(child);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&busy.freed, 2);
  CHECK_WAIT(&q.freed, 1);
  CHECK_EQ_U64(check_tally_get(&q.delivered), 1);
  selv_job_release(queued);
  selv_job_release(busy_job);
  probe_end(bounded);
  probe_end(c);
  selv_cache_release(other);
}

static void a_grandchild(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  pid_t child;
  works_again(c);
  child = forked();
  if (child == 0) {
    pid_t grandchild;
    works_again(c);
    grandchild = forked();
    if (grandchild == 0) {
      works_again(c);
      probe_end(c);
      _exit(0);
    }
    reap(grandchild);
    works_again(c);
    probe_end(c);
    _exit(0);
  }
  reap(child);
  probe_end(c);
}

/* ---- the forking thread is a worker ---- */

static selv_cache *shared;
static pid_t parent;
static int child_returns;

static int32_t forks(void *arg, void **out_value) {
  pid_t child = forked();
  (void)arg;
  (void)out_value;
  if (child == 0) {
    works_again(shared);
    if (!child_returns) _exit(0);
    CHECK_OK(selv_cache_set_idle_timeout(shared, 1)); /* so that the process ends with its last thread */
    return 0; /* and the thread ends: the job is the parent's to deliver */
  }
  reap(child);
  return 0;
}

static void only_in_the_parent(void *arg, const selv_outcome *outcome) {
  if (getpid() != parent) _exit(3);
  probe_deliver(arg, outcome);
}

static void a_child_of_a_worker(void) {
  selv_job_options job;
  hook_probe h;
  selv_hook *hook;
  probe p;
  shared = probe_cache(0, SELV_FOREVER);
  parent = getpid();
  probe_init(&p);
  hook_probe_init(&h, "h", NULL);
  hook = hook_probe_register(shared, &h, 0);
  job = probe_job(forks, &p);
  job.deliver = only_in_the_parent;
  for (child_returns = 0; child_returns < 2; child_returns++) CHECK_OK(probe_through(shared, &job).status);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 2);
  CHECK_EQ_U64(probe_stats(shared).threads_lost, 0);
  hook_probe_remove(hook, &h);
  probe_end(shared);
}

/* ---- the fork happens in a hook, before the job has begun: it begins in the parent only ---- */

static const char *forks_in;

static void fork_if(const char *place) {
  pid_t child;
  if (getpid() != parent || strcmp(forks_in, place) != 0) return;
  forks_in = "";
  child = forked();
  if (child == 0) {
    works_again(shared);
    CHECK_OK(selv_cache_set_idle_timeout(shared, 1));
    return;
  }
  reap(child);
}

static int32_t start_that_forks(void *user, const selv_worker *w, void **slot) {
  (void)w;
  *slot = user;
  fork_if("start");
  return 0;
}

static int32_t before_that_forks(void *user, const selv_worker *w, void *slot) {
  (void)user;
  (void)w;
  (void)slot;
  fork_if("before");
  return 0;
}

static int32_t runs_in_the_parent_only(void *arg, void **out_value) {
  if (getpid() != parent) _exit(4);
  return probe_run(arg, out_value);
}

static void a_child_made_in_a_hook(void) {
  static const char *const places[] = {"start", "before"};
  size_t i;
  for (i = 0; i < sizeof places / sizeof places[0]; i++) {
    selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
    selv_hook *hook = NULL;
    selv_job_options job;
    probe p;
    shared = probe_cache(0, SELV_FOREVER);
    parent = getpid();
    forks_in = places[i];
    probe_init(&p);
    options.name = "forks";
    options.flags = SELV_HOOK_FORK_KEEP;
    options.on_start = start_that_forks;
    options.before_job = before_that_forks;
    options.user = &p;
    CHECK_OK(selv_hook_register(shared, &options, &hook));
    job = probe_job(runs_in_the_parent_only, &p);
    job.deliver = only_in_the_parent;
    CHECK_OK(probe_through(shared, &job).status);
    CHECK_EQ_U64(check_tally_get(&p.ran), 1);
    CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
    selv_hook_release(hook);
    probe_end(shared);
  }
}

/* ---- the forking thread holds a job in deliver, or has entered ---- */

static void forks_in_deliver(void *arg, const selv_outcome *outcome) {
  pid_t child = forked();
  if (child == 0) {
    works_again(shared);
    _exit(0);
  }
  reap(child);
  probe_deliver(arg, outcome);
}

static void a_child_made_in_deliver(void) {
  selv_job_options job;
  probe p;
  shared = probe_cache(0, SELV_FOREVER);
  probe_init(&p);
  job = probe_job(probe_run, &p);
  job.deliver = forks_in_deliver;
  CHECK_OK(probe_through(shared, &job).status);
  probe_end(shared);
}

static void a_child_of_an_entered_thread(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  hook_probe h;
  selv_hook *hook;
  pid_t child;
  hook_probe_init(&h, "h", NULL);
  hook = hook_probe_register(c, &h, 0);
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  child = forked();
  if (child == 0) {
    works_again(c);
    CHECK_EQ_U64(check_tally_get(&h.exits), 0);
    _exit(0);
  }
  reap(child);
  CHECK_OK(selv_thread_leave(c));
  CHECK_EQ_U64(check_tally_get(&h.exits), 1);
  hook_probe_remove(hook, &h);
  probe_end(c);
}

int main(void) {
  CHECK_RUN(a_child_of_the_main_thread);
  CHECK_RUN(a_grandchild);
  CHECK_RUN(a_child_of_a_worker);
  CHECK_RUN(a_child_made_in_a_hook);
  CHECK_RUN(a_child_made_in_deliver);
  CHECK_RUN(a_child_of_an_entered_thread);
  return 0;
}

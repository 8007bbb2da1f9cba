/* odd_places.c: calls into the library from where nobody expects them: from deliver, from hooks, from a job of another cache,
 * from an entered thread inside a job. Each must answer; none may hang or wait for itself. */
#include "probe.h"

/* ---- from deliver ---- */

struct place {
  selv_cache *cache, *other;
  selv_hook *hook;
  selv_job *job;
  probe inner;
  check_tally done;
  selv_status seen[8];
  uint32_t count;
};

static void place_init(struct place *at, uint32_t max_workers) {
  memset(at, 0, sizeof *at);
  probe_init(&at->inner);
  check_tally_init(&at->done);
  at->cache = probe_cache(max_workers, SELV_FOREVER);
}

static int32_t nothing(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

/* The job submitted here goes to the very worker that delivers: waiting for it here is waiting for oneself. */
static void wait_for_the_next(void *arg, const selv_outcome *outcome) {
  struct place *at = (struct place *)arg;
  selv_job_options job = probe_job(probe_run, &at->inner);
  selv_outcome inner;
  CHECK_OK(outcome->status);
  CHECK_OK(selv_cache_submit(at->cache, &job, &at->job));
  at->seen[0] = selv_job_wait(at->job, 20 * CHECK_MS, &inner);
  at->seen[1] = selv_job_cancel(at->job);
  check_tally_add(&at->done, 1);
}

static void deliver_waits_for_the_job_that_it_submitted(void) {
  struct place at;
  place_init(&at, 0);
  CHECK_OK(selv_start_thread_soon(at.cache, nothing, wait_for_the_next, &at, NULL));
  CHECK_WAIT(&at.done, 1);
  CHECK(at.seen[0] == SELV_OK || at.seen[0] == SELV_E_DEADLOCK || at.seen[0] == SELV_E_TIMEDOUT);
  CHECK(at.seen[1] == SELV_OK || at.seen[1] == SELV_E_TOO_LATE);
  CHECK_WAIT(&at.inner.freed, 1); /* delivered once, as run or as cancelled */
  CHECK_STATUS(at.inner.last.status, at.seen[1] == SELV_OK ? SELV_E_CANCELLED : SELV_OK);
  selv_job_release(at.job);
  probe_end(at.cache);
  CHECK_EQ_U64(check_tally_get(&at.inner.delivered), 1);
}

#define MANY 20

static void submit_many_here(void *arg, const selv_outcome *outcome) {
  struct place *at = (struct place *)arg;
  selv_job_options jobs[MANY];
  size_t accepted = 0;
  int i;
  CHECK_OK(outcome->status);
  for (i = 0; i < MANY; i++) jobs[i] = probe_job(probe_run, &at->inner);
  CHECK_OK(selv_cache_submit_many(at->cache, jobs, MANY, &accepted));
  CHECK_EQ_U64(accepted, MANY);
}

static void deliver_submits_many(void) {
  uint32_t limit;
  for (limit = 0; limit < 3; limit++) {
    struct place at;
    place_init(&at, limit);
    CHECK_OK(selv_start_thread_soon(at.cache, nothing, submit_many_here, &at, NULL));
    CHECK_WAIT(&at.inner.freed, MANY);
    probe_end(at.cache);
  }
}

static void manage_here(void *arg, const selv_outcome *outcome) {
  struct place *at = (struct place *)arg;
  CHECK_OK(outcome->status);
  CHECK_WAIT(&at->inner.go, 1); /* the submitter has the handle */
  at->seen[0] = selv_hook_unregister(at->hook, SELV_FOREVER, &at->count);
  at->seen[1] = selv_cache_shutdown(at->cache, 0, SELV_FOREVER, &at->count);
  at->seen[2] = selv_cache_trim(at->cache, 0);
  at->seen[3] = selv_cache_set_idle_timeout(at->cache, SELV_FOREVER);
  at->seen[4] = selv_job_cancel(at->job);
  check_tally_add(&at->done, 1);
}

static void deliver_manages_its_cache(void) {
  struct place at;
  hook_probe h;
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  place_init(&at, 0);
  hook_probe_init(&h, "h", NULL);
  at.hook = hook_probe_register(at.cache, &h, 0);
  job.fn = nothing;
  job.deliver = manage_here;
  job.arg = &at;
  CHECK_OK(selv_cache_submit(at.cache, &job, &at.job));
  check_tally_add(&at.inner.go, 1);
  CHECK_WAIT(&at.done, 1);
  CHECK_STATUS(at.seen[0], SELV_E_DEADLOCK); /* attached until deliver returns: it would wait for itself */
  CHECK_STATUS(at.seen[1], SELV_E_DEADLOCK);
  CHECK_OK(at.seen[2]);
  CHECK_OK(at.seen[3]);
  CHECK_STATUS(at.seen[4], SELV_E_TOO_LATE);
  selv_job_release(at.job);
  hook_probe_remove(at.hook, &h);
  probe_end(at.cache);
}

/* ---- from hooks ---- */

static int32_t manage_in_start(void *user, const selv_worker *w, void **slot) {
  struct place *at = (struct place *)user;
  selv_outcome outcome;
  selv_hook *none[1] = {NULL};
  selv_job_options job = probe_job(probe_run, &at->inner);
  selv_job *handle = NULL;
  (void)w;
  *slot = at;
  if (at->seen[7]++) return 0;
  at->seen[0] = selv_cache_shutdown(at->cache, 0, SELV_FOREVER, &at->count);
  at->seen[1] = selv_hook_unregister(at->hook, 1, &at->count);
  job.attach = none;
  CHECK_OK(selv_cache_submit(at->cache, &job, &handle)); /* by another worker, and waited for */
  CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
  selv_job_release(handle);
  return 0;
}

static void manage_in_exit(void *user, const selv_worker *w, void *slot) {
  struct place *at = (struct place *)user;
  (void)w;
  (void)slot;
  at->seen[2] = selv_cache_shutdown(at->cache, 0, SELV_FOREVER, &at->count);
  at->seen[3] = selv_hook_unregister(at->hook, SELV_FOREVER, &at->count);
}

static void hooks_manage_their_cache(void) {
  struct place at;
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  selv_job_options job;
  probe p;
  place_init(&at, 0);
  probe_init(&p);
  options.name = "manager";
  options.on_start = manage_in_start;
  options.on_exit = manage_in_exit;
  options.user = &at;
  CHECK_OK(selv_hook_register(at.cache, &options, &at.hook));
  job = probe_job(probe_run, &p);
  CHECK_OK(probe_through(at.cache, &job).status);
  CHECK_OK(selv_hook_unregister(at.hook, SELV_FOREVER, NULL));
  selv_hook_release(at.hook);
  CHECK_STATUS(at.seen[0], SELV_E_DEADLOCK);
  CHECK_STATUS(at.seen[1], SELV_E_DEADLOCK);
  CHECK_STATUS(at.seen[2], SELV_E_DEADLOCK);
  CHECK_STATUS(at.seen[3], SELV_E_DEADLOCK);
  probe_end(at.cache);
}

/* user_free is a callback as well: the runtime's own clean-up may submit and read. */
static void free_calls_back(void *user) {
  struct place *at = (struct place *)user;
  (void)probe_stats(at->cache);
  at->seen[0] = selv_start_thread_soon(at->cache, probe_run, NULL, &at->inner, NULL);
  check_tally_add(&at->done, 1);
}

static void user_free_calls_back(void) {
  struct place at;
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  place_init(&at, 0);
  options.name = "freed";
  options.user = &at;
  options.user_free = free_calls_back;
  CHECK_OK(selv_hook_register(at.cache, &options, &at.hook));
  probe_warm(at.cache, 2);
  CHECK_OK(selv_hook_unregister(at.hook, SELV_FOREVER, NULL));
  selv_hook_release(at.hook);
  CHECK_EQ_U64(check_tally_get(&at.done), 1);
  CHECK_OK(at.seen[0]);
  CHECK_WAIT(&at.inner.ran, 1);
  probe_end(at.cache);
}

/* ---- from the worker of another cache: that is a host's thread like any other ---- */

static int32_t manage_the_other(void *arg, void **out_value) {
  struct place *at = (struct place *)arg;
  uint32_t count = 99;
  selv_outcome outcome;
  (void)out_value;
  CHECK_OK(selv_cache_run(at->other, probe_run, &at->inner, SELV_FOREVER, &outcome));
  CHECK_OK(selv_hook_unregister(at->hook, SELV_FOREVER, &count));
  CHECK_EQ_U64(count, 0);
  CHECK_OK(selv_cache_shutdown(at->other, 0, SELV_FOREVER, &count));
  CHECK_EQ_U64(count, 0);
  return 0;
}

static void a_worker_manages_another_cache(void) {
  struct place at;
  selv_outcome outcome;
  hook_probe h;
  place_init(&at, 1);
  at.other = probe_cache(1, SELV_FOREVER);
  hook_probe_init(&h, "h", NULL);
  at.hook = hook_probe_register(at.other, &h, 0);
  CHECK_OK(selv_cache_run(at.cache, manage_the_other, &at, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(check_tally_get(&h.frees), 1);
  selv_hook_release(at.hook);
  selv_cache_release(at.other);
  probe_end(at.cache);
}

/* A worker of one cache enters another: both know it, and leaving gives it back to the first. */
static int32_t enter_the_other(void *arg, void **out_value) {
  struct place *at = (struct place *)arg;
  const selv_worker *mine = selv_worker_current();
  (void)out_value;
  at->seen[0] = selv_thread_enter(at->other, NULL, 0);
  if (at->seen[0] == SELV_OK) {
    CHECK_EQ_U64(selv_hook_is_attached(at->hook), 1);
    CHECK_OK(selv_thread_leave(at->other));
    CHECK_EQ_U64(selv_hook_is_attached(at->hook), 0);
  }
  CHECK(selv_worker_current() == mine);
  return 0;
}

static void a_worker_enters_another_cache(void) {
  struct place at;
  selv_outcome outcome;
  hook_probe h;
  place_init(&at, 0);
  at.other = probe_cache(0, 0);
  hook_probe_init(&h, "h", NULL);
  at.hook = hook_probe_register(at.other, &h, 0);
  CHECK_OK(selv_cache_run(at.cache, enter_the_other, &at, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK(at.seen[0] <= SELV_OK);
  hook_probe_remove(at.hook, &h);
  CHECK_EQ_U64(check_tally_get(&h.starts), check_tally_get(&h.exits));
  probe_end(at.other);
  probe_end(at.cache);
}

/* A job that enters its own cache is there already: its hooks are not started twice. */
static int32_t enter_my_own(void *arg, void **out_value) {
  struct place *at = (struct place *)arg;
  const selv_worker *mine = selv_worker_current();
  (void)out_value;
  at->seen[0] = selv_thread_enter(at->cache, NULL, 0);
  if (at->seen[0] == SELV_OK) CHECK_OK(selv_thread_leave(at->cache));
  CHECK(selv_worker_current() == mine);
  CHECK_EQ_U64(selv_hook_is_attached(at->hook), 1);
  return 0;
}

static void a_worker_enters_its_own_cache(void) {
  struct place at;
  selv_outcome outcome;
  hook_probe h;
  place_init(&at, 0);
  hook_probe_init(&h, "h", NULL);
  at.hook = hook_probe_register(at.cache, &h, 0);
  CHECK_OK(selv_cache_run(at.cache, enter_my_own, &at, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(check_tally_get(&h.starts), 1);
  hook_probe_remove(at.hook, &h);
  CHECK_EQ_U64(check_tally_get(&h.exits), 1);
  probe_end(at.cache);
}

/* ---- the last reference goes inside a job ---- */

static int32_t release_inside(void *arg, void **out_value) {
  struct place *at = (struct place *)arg;
  (void)out_value;
  CHECK_WAIT(&at->inner.go, 1);
  selv_cache_release(at->cache);
  return 0;
}

static void the_last_reference_goes_inside_a_job(void) {
  struct place at;
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_outcome outcome;
  place_init(&at, 0);
  job.fn = release_inside;
  job.arg = &at;
  CHECK_OK(selv_cache_submit(at.cache, &job, &at.job));
  check_tally_add(&at.inner.go, 1);
  CHECK_OK(selv_job_wait(at.job, SELV_FOREVER, &outcome));
  selv_job_release(at.job);
  CHECK_THREADS_LEFT(0);
}

int main(void) {
  CHECK_RUN(deliver_waits_for_the_job_that_it_submitted);
  CHECK_RUN(deliver_submits_many);
  CHECK_RUN(deliver_manages_its_cache);
  CHECK_RUN(hooks_manage_their_cache);
  CHECK_RUN(user_free_calls_back);
  CHECK_RUN(a_worker_manages_another_cache);
  CHECK_RUN(a_worker_enters_another_cache);
  CHECK_RUN(a_worker_enters_its_own_cache);
  CHECK_RUN(the_last_reference_goes_inside_a_job);
  return 0;
}

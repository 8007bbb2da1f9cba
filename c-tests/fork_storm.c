/* fork_storm.c: forks while eight threads are in the middle of every call; nothing may hang in any child, and every child
 * runs a job within a second. SELV_TEST_SCALE=10 makes it the full thousand. */
/* timeout: 240 */
#include "probe.h"

#include <sys/wait.h>

#define SUBMITTERS 8

static selv_cache *unbounded, *bounded;
static int stop;
static uint64_t alive;

/* Submit, queue, cancel, hooks, trim, stats: whichever lock there is, some thread holds it at some fork. */
static void *submit(void *arg) {
  uintptr_t me = (uintptr_t)arg;
  uint64_t i = 0;
  probe p;
  probe_init(&p);
  while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
    selv_cache *c = me % 2 ? unbounded : bounded;
    selv_job_options job = probe_job(probe_run, &p);
    selv_job *handle = NULL;
    selv_outcome outcome;
    CHECK_OK(selv_cache_submit(c, &job, &handle));
    if (i % 3 == 0) (void)selv_job_cancel(handle);
    CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
    selv_job_release(handle);
    if (me == 0 && i % 16 == 0) {
      hook_probe h;
      selv_hook *hook;
      hook_probe_init(&h, "storm", NULL);
      hook = hook_probe_register(unbounded, &h, i % 32 ? SELV_HOOK_EAGER : SELV_HOOK_FORK_KEEP);
      hook_probe_remove(hook, &h);
    }
    if (me == 1) CHECK_OK(selv_cache_trim(unbounded, 2));
    if (me == 2) (void)probe_stats(bounded);
    i++;
    __atomic_add_fetch(&alive, 1, __ATOMIC_RELAXED);
  }
  return NULL;
}

static int32_t one(void *arg, void **out_value) {
  *out_value = arg;
  return 1;
}

static int32_t before(void *user, const selv_worker *w, void *slot) {
  (void)user;
  (void)w;
  (void)slot;
  return 0;
}

static void in_the_child(void) {
  selv_cache *const caches[2] = {unbounded, bounded};
  selv_cache *fresh = NULL;
  selv_outcome outcome;
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  selv_hook *hook = NULL;
  int i;
  for (i = 0; i < 2; i++) {
    selv_job_options job = SELV_JOB_OPTIONS_INIT;
    selv_job *handle = NULL;
    job.fn = one;
    job.arg = &outcome;
    CHECK_OK(selv_cache_submit(caches[i], &job, &handle));
    CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
    CHECK_OK(outcome.status);
    selv_job_release(handle);
    CHECK_EQ_U64(probe_stats(caches[i]).started, 1);
  }
  CHECK_OK(selv_cache_default(&fresh));
  CHECK_OK(selv_cache_run(fresh, one, NULL, SELV_FOREVER, &outcome));
  options.name = "child";
  options.before_job = before;
  CHECK_OK(selv_hook_register(unbounded, &options, &hook));
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
}

int main(void) {
  pthread_t threads[SUBMITTERS];
  uint64_t forks = check_scaled(100), i, slow = 0, slowest = 0, seen;
  /* "Within a second" is the promise on a machine that has the time; a sanitizer's factor is told by who runs it. */
  uint64_t limit_ms = 1000 * check_env_number("SELV_TEST_SLOWDOWN", 1);
  uintptr_t t;
  unbounded = probe_cache(0, 1 * CHECK_MS);
  bounded = probe_cache(2, SELV_FOREVER);
  for (t = 0; t < SUBMITTERS; t++) CHECK(pthread_create(&threads[t], NULL, submit, (void *)t) == 0);
  for (i = 0; i < forks; i++) {
    uint64_t began, took;
    int status = 0;
    pid_t child;
    seen = __atomic_load_n(&alive, __ATOMIC_RELAXED);
    CHECK_EVENTUALLY(__atomic_load_n(&alive, __ATOMIC_RELAXED) != seen); /* fork in the thick of it */
    fflush(stdout);
    began = check_now_ns();
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm((unsigned)check_patience_s());
      in_the_child();
      _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    took = check_now_ns() - began;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
      check_fail(__FILE__, __LINE__, "child %llu ended with status %#x after %llu ms", (unsigned long long)i, (unsigned)status,
                 (unsigned long long)(took / CHECK_MS));
    if (took > slowest) slowest = took;
    slow += took > limit_ms * CHECK_MS;
  }
  __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
  for (t = 0; t < SUBMITTERS; t++) CHECK(pthread_join(threads[t], NULL) == 0);
  printf("%llu forks, slowest child %llu ms\n", (unsigned long long)forks, (unsigned long long)(slowest / CHECK_MS));
  CHECK_EQ_U64(slow, 0);
  probe_end(unbounded);
  probe_end(bounded);
  return 0;
}

/* fork_storm.c: forks while eight threads are in the middle of every call; nothing may hang in any child, and every child
 * runs a job within a second. SELV_TEST_SCALE=10 makes it the full thousand. */
/* timeout: 240 */
#include "probe.h"

#include <sys/resource.h>
#include <sys/syscall.h>
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
  /* The storm, with the workers that it starts, yields to the children: they are what is timed, and a thread that was made to
   * wait in the middle of a call is just what a fork should meet. (Linux: nice belongs to the thread.) */
  CHECK(setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10) == 0);
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
    if (me == 1 && i % 64 == 0) CHECK_OK(selv_cache_trim(unbounded, 2));
    if (me == 2) (void)probe_stats(bounded);
    if (++i % 8 == 0) check_sleep_ms(1); /* else two processors do nothing but switch between these threads */
    __atomic_add_fetch(&alive, 1, __ATOMIC_RELAXED);
  }
  return NULL;
}

/* How long this thread stood in line for a processor: the machine's fault and not the library's. */
static uint64_t stood_in_line_ns(void) {
  unsigned long long ran = 0, waited = 0;
  FILE *stat = fopen("/proc/thread-self/schedstat", "r");
  if (stat == NULL) return 0; /* a kernel that does not count it: then all time counts */
  if (fscanf(stat, "%llu %llu", &ran, &waited) != 2) waited = 0;
  fclose(stat);
  return waited;
}

static uint64_t workers_stood_in_line_ns;

static int32_t one(void *arg, void **out_value) {
  *out_value = arg;
  __atomic_add_fetch(&workers_stood_in_line_ns, stood_in_line_ns(), __ATOMIC_RELAXED);
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
  /* The promise is for a machine that has the time; a sanitizer's factor is told by who runs it. */
  uint64_t limit = 1000 * CHECK_MS * check_env_number("SELV_TEST_SLOWDOWN", 1);
  uint64_t began = check_now_ns(), in_line = stood_in_line_ns(), took;
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
  took = check_now_ns() - began;
  in_line = stood_in_line_ns() - in_line + workers_stood_in_line_ns;
  if (took > limit + in_line)
    check_fail(__FILE__, __LINE__, "the child took %llu ms, %llu of them in line for a processor", (unsigned long long)(took / CHECK_MS),
               (unsigned long long)(in_line / CHECK_MS));
}

int main(void) {
  pthread_t threads[SUBMITTERS];
  uint64_t forks = check_scaled(100), i, seen;
  uintptr_t t;
  unbounded = probe_cache(0, SELV_FOREVER);
  bounded = probe_cache(2, SELV_FOREVER);
  for (t = 0; t < SUBMITTERS; t++) CHECK(pthread_create(&threads[t], NULL, submit, (void *)t) == 0);
  for (i = 0; i < forks; i++) {
    int status = 0;
    pid_t child;
    seen = __atomic_load_n(&alive, __ATOMIC_RELAXED);
    CHECK_EVENTUALLY(__atomic_load_n(&alive, __ATOMIC_RELAXED) != seen); /* fork in the thick of it */
    fflush(stdout);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm((unsigned)check_patience_s());
      in_the_child();
      _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
      check_fail(__FILE__, __LINE__, "child %llu ended with status %#x", (unsigned long long)i, (unsigned)status);
  }
  __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
  for (t = 0; t < SUBMITTERS; t++) CHECK(pthread_join(threads[t], NULL) == 0);
  probe_end(unbounded);
  probe_end(bounded);
  return 0;
}

/* jvm_daemon: workers hold nobody up. DestroyJavaVM returns while workers are attached and idle, with and without a job that
 * is busy elsewhere; and the process then exits with them alive. */
#include "jvm_support.h"

#include "child.h"

static selv_hook *hook;

static int32_t nothing(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

static void destroy_with_idle_workers(void) {
  selv_cache *cache = probe_cache(0, 0);
  jvm_start(NULL);
  hook = jvm_register(cache, NULL);
  probe_warm(cache, 4);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 4);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  exit(11);
}

static void destroy_with_a_busy_worker(void) {
  selv_cache *cache = probe_cache(0, 0);
  probe p;
  selv_job_options job;
  jvm_start(NULL);
  hook = jvm_register(cache, NULL);
  probe_init(&p);
  job = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK_WAIT(&p.entered, 1);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  exit(12);
}

/* No DestroyJavaVM, no unregister, no shutdown: main returns. */
static void exit_with_workers_alive(void) {
  selv_cache *cache = probe_cache(0, 0);
  selv_outcome outcome;
  jvm_start(NULL);
  hook = jvm_register(cache, NULL);
  probe_warm(cache, 4);
  CHECK_OK(selv_cache_run(cache, nothing, NULL, SELV_FOREVER, &outcome));
  exit(13);
}

int main(void) {
  const uint64_t second = 1000 * CHECK_MS;
  if (getenv("SELV_JAVA_CLASSES") == NULL) {
    puts("SELV_JAVA_CLASSES is not set: no compiled Probe.java");
    return 77;
  }
  CHILD_ENDED(child_run(destroy_with_idle_workers), 11, 30 * second);
  CHILD_ENDED(child_run(destroy_with_a_busy_worker), 12, 30 * second);
  CHILD_ENDED(child_run(exit_with_workers_alive), 13, 30 * second);
  return 0;
}

/* jvm_unregister: taking the JVM away while workers are idle, busy, and in the middle of attaching; hooks registered late;
 * registering again; and the JVM ended on the line after the last unregister, with the cache alive and working on. */
#include "jvm_support.h"

#include <sched.h>

static selv_hook *hook;

static int32_t in_java(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  CHECK(jvm_ask(selv_jvm_env(hook), "isDaemon"));
  return 0;
}

/* `n` jobs at once on `n` workers, all through. */
static void burst(selv_cache *cache, selv_job_fn fn, uint64_t n) {
  probe p;
  selv_job_options job;
  uint64_t i;
  probe_init(&p);
  job = probe_job(fn, &p);
  for (i = 0; i < n; i++) CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK_WAIT(&p.freed, n);
  CHECK_OK(p.last.status);
}

static void idle_workers(JNIEnv *env) {
  selv_cache *cache = probe_cache(0, 0);
  hook = jvm_register(cache, NULL);
  probe_warm(cache, 8);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 8);
  CHECK(jvm_threads_named(env, "selv") >= 8);
  jvm_unregister(hook);
  jvm_paired(hook);
  /* Unregistering let go of the threads, it did not end them. */
  CHECK_EQ_U64(probe_stats(cache).workers, 8);
  selv_hook_release(hook);
  probe_end(cache);
}

static int32_t busy_in_java(void *arg, void **out_value) {
  probe *p = (probe *)arg;
  (void)out_value;
  check_tally_add(&p->entered, 1);
  jvm_do(selv_jvm_env(hook), "waitForGate");
  return 0;
}

/* A job blocks in Java: the first wait ends with its time, nothing is broken, and the second one succeeds. */
static void busy_worker(JNIEnv *env) {
  selv_cache *cache = probe_cache(0, 0);
  uint32_t attached = 99;
  uint64_t begun;
  probe p;
  selv_job_options job;
  probe_init(&p);
  job = probe_job(busy_in_java, &p);
  hook = jvm_register(cache, NULL);
  probe_warm(cache, 3);
  CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK_WAIT(&p.entered, 1);
  begun = check_now_ns();
  CHECK_STATUS(selv_hook_unregister(hook, 50 * CHECK_MS, &attached), SELV_E_TIMEDOUT);
  CHECK(check_now_ns() - begun >= 50 * CHECK_MS);
  CHECK_EQ_U64(attached, 1);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 0);
  jvm_do(env, "openGate");
  jvm_unregister(hook);
  jvm_paired(hook);
  CHECK_WAIT(&p.delivered, 1);
  CHECK_OK(p.last.status);
  selv_hook_release(hook);
  probe_end(cache);
}

typedef struct feeder {
  selv_cache *cache;
  probe p;
  uint64_t accepted;
  int stop;
} feeder;

static int32_t nothing(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

static void *feed(void *arg) {
  feeder *f = (feeder *)arg;
  selv_job_options job = probe_job(nothing, &f->p);
  while (!__atomic_load_n(&f->stop, __ATOMIC_ACQUIRE)) {
    uint64_t i;
    for (i = 0; i < 4; i++) {
      CHECK_OK(selv_cache_submit(f->cache, &job, NULL));
      f->accepted++;
    }
    CHECK_WAIT(&f->p.freed, f->accepted);
    /* No worker stays idle, so the next round attaches fresh ones. */
    CHECK_OK(selv_cache_trim(f->cache, 0));
  }
  return NULL;
}

/* Workers start and attach all the time while hooks come and go. Every job is delivered; no attachment is left. */
static void attaching_workers(JNIEnv *env) {
  uint64_t rounds = check_scaled(60), i;
  pthread_t feeders[2];
  feeder f[2];
  selv_cache *cache = probe_cache(0, 0);
  memset(f, 0, sizeof f);
  for (i = 0; i < 2; i++) {
    f[i].cache = cache;
    probe_init(&f[i].p);
    CHECK(pthread_create(&feeders[i], NULL, feed, &f[i]) == 0);
  }
  for (i = 0; i < rounds; i++) {
    selv_jvm_options options = SELV_JVM_OPTIONS_INIT;
    selv_hook *h;
    options.flags = (i % 2 ? SELV_HOOK_EAGER : 0) | (i % 3 ? 0 : SELV_JVM_SHUTDOWN_HOOK);
    h = jvm_register(cache, &options);
    while (hook_probe_stats(h).starts < i % 4) sched_yield();
    jvm_unregister(h);
    jvm_paired(h);
    selv_hook_release(h);
  }
  for (i = 0; i < 2; i++) {
    __atomic_store_n(&f[i].stop, 1, __ATOMIC_RELEASE);
    CHECK(pthread_join(feeders[i], NULL) == 0);
    CHECK_EQ_U64(check_tally_get(&f[i].p.delivered), f[i].accepted);
  }
  CHECK_EQ_U64(jvm_threads_named(env, "selv"), 0);
  probe_end(cache);
}

static void late_and_again(JNIEnv *env) {
  selv_cache *cache = probe_cache(0, 0);
  selv_jvm_options eager = SELV_JVM_OPTIONS_INIT;
  uint64_t round;
  (void)env;
  /* Workers that lived before the hook attach before their next job; eager ones without any job. */
  probe_warm(cache, 4);
  for (round = 0; round < 3; round++) {
    hook = jvm_register(cache, NULL);
    CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
    burst(cache, in_java, 1);
    CHECK_EQ_U64(hook_probe_stats(hook).attached, 1);
    jvm_unregister(hook);
    jvm_paired(hook);
    selv_hook_release(hook);
  }
  eager.flags = SELV_HOOK_EAGER;
  hook = jvm_register(cache, &eager);
  CHECK_EVENTUALLY(hook_probe_stats(hook).attached == 4);
  CHECK_EQ_U64(hook_probe_stats(hook).jobs, 0);
  jvm_unregister(hook);
  jvm_paired(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

int main(void) {
  JNIEnv *env = jvm_start(NULL);
  selv_cache *cache;
  uint32_t attached = 99;
  puts("idle_workers");
  idle_workers(env);
  puts("busy_worker");
  busy_worker(env);
  puts("attaching_workers");
  attaching_workers(env);
  puts("late_and_again");
  late_and_again(env);

  puts("finalised on the next line");
  cache = probe_cache(0, 0);
  hook = jvm_register(cache, NULL);
  probe_warm(cache, 4);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  burst(cache, nothing, 16);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached)); /* idempotent, also when there is no JVM any more */
  selv_hook_release(hook);
  probe_end(cache);
  return 0;
}

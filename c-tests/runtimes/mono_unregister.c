/* mono_unregister: taking Mono away while workers are idle, busy, and in the middle of attaching; hooks registered late;
 * registering again; garbage collections all the while (mono/mono#20283: they hang where a sleeping thread counts as running); and
 * Mono ended on the line after the last unregister, with the cache alive and working on. */
#include "mono_support.h"

#include <sched.h>

static selv_hook *hook;

static int32_t in_managed(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  CHECK(mono_thread_id() > 0);
  return 0;
}

static int32_t nothing(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

static void collect(void) { mono_gc_collect(mono_gc_max_generation()); }

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

static void idle_workers(void) {
  selv_cache *cache = mono_cache(0);
  hook = mono_register(cache, 0);
  probe_warm(cache, 8);
  burst(cache, in_managed, 4);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 8);
  collect();
  mono_unregister(hook);
  /* The threads live on, and Mono must have forgotten them. */
  CHECK_EQ_U64(probe_stats(cache).workers, 8);
  collect();
  selv_hook_release(hook);
  probe_end(cache);
}

static int32_t busy_in_managed(void *arg, void **out_value) {
  probe *p = (probe *)arg;
  int forever = -1;
  void *arguments[1];
  MonoObject *exception = NULL;
  (void)out_value;
  arguments[0] = &forever;
  check_tally_add(&p->entered, 1);
  /* Thread.Sleep(Timeout.Infinite): until Thread.Interrupt ends it with an exception. */
  mono_runtime_invoke(mono_method("System.Threading", "Thread", "Sleep", 1), NULL, arguments, &exception);
  return exception != NULL ? 4 : 0;
}

typedef struct handle {
  uint32_t thread; /* a handle of the collector on the managed Thread of the busy worker */
  probe p;
} handle;

static int32_t busy_and_known(void *arg, void **out_value) {
  handle *h = (handle *)arg;
  h->thread = mono_gchandle_new((MonoObject *)selv_mono_thread(hook), 0);
  return busy_in_managed(&h->p, out_value);
}

static void deliver_known(void *arg, const selv_outcome *outcome) { probe_deliver(&((handle *)arg)->p, outcome); }

/* One job sleeps in managed code, one in native code. A collection gets by both; the first wait for them ends with its time. */
static void busy_workers(void) {
  selv_cache *cache = mono_cache(0);
  uint32_t attached = 99;
  handle managed;
  probe native;
  selv_job_options managed_job = SELV_JOB_OPTIONS_INIT, native_job;
  memset(&managed, 0, sizeof managed);
  probe_init(&managed.p);
  probe_init(&native);
  managed_job.fn = busy_and_known;
  managed_job.deliver = deliver_known;
  managed_job.arg = &managed;
  native_job = probe_job(probe_hold, &native);
  hook = mono_register(cache, 0);
  CHECK_OK(selv_cache_submit(cache, &managed_job, NULL));
  CHECK_OK(selv_cache_submit(cache, &native_job, NULL));
  CHECK_WAIT(&managed.p.entered, 1);
  CHECK_WAIT(&native.entered, 1);
  collect();
  CHECK_STATUS(selv_hook_unregister(hook, 50 * CHECK_MS, &attached), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(attached, 2);
  mono_call(mono_method("System.Threading", "Thread", "Interrupt", 0), mono_gchandle_get_target(managed.thread), NULL);
  mono_gchandle_free(managed.thread);
  check_tally_add(&native.go, 1);
  mono_unregister(hook);
  CHECK_WAIT(&managed.p.delivered, 1);
  CHECK_WAIT(&native.delivered, 1);
  CHECK_OK(managed.p.last.status);
  CHECK_EQ_U64(managed.p.last.code, 4);
  CHECK_OK(native.last.status);
  selv_hook_release(hook);
  probe_end(cache);
}

typedef struct feeder {
  selv_cache *cache;
  probe p;
  uint64_t accepted;
  int stop;
} feeder;

static void *feed(void *arg) {
  feeder *f = (feeder *)arg;
  selv_job_options job = probe_job(nothing, &f->p);
  uint64_t round;
  for (round = 0; !__atomic_load_n(&f->stop, __ATOMIC_ACQUIRE); round++) {
    uint64_t i;
    for (i = 0; i < 4; i++) {
      CHECK_OK(selv_cache_submit(f->cache, &job, NULL));
      f->accepted++;
    }
    CHECK_WAIT(&f->p.freed, f->accepted);
    /* Half of the time fresh threads attach, half of the time threads that were attached before. */
    if (round % 2) CHECK_OK(selv_cache_trim(f->cache, 0));
  }
  return NULL;
}

static void attaching_workers(void) {
  uint64_t rounds = check_scaled(60), i;
  pthread_t feeders[2];
  feeder f[2];
  selv_cache *cache = mono_cache(0);
  memset(f, 0, sizeof f);
  for (i = 0; i < 2; i++) {
    f[i].cache = cache;
    probe_init(&f[i].p);
    CHECK(pthread_create(&feeders[i], NULL, feed, &f[i]) == 0);
  }
  for (i = 0; i < rounds; i++) {
    selv_hook *h = mono_register(cache, i % 2 ? SELV_HOOK_EAGER : 0);
    while (hook_probe_stats(h).starts < i % 4) sched_yield();
    collect();
    mono_unregister(h);
    collect();
    selv_hook_release(h);
  }
  for (i = 0; i < 2; i++) {
    __atomic_store_n(&f[i].stop, 1, __ATOMIC_RELEASE);
    CHECK(pthread_join(feeders[i], NULL) == 0);
    CHECK_EQ_U64(check_tally_get(&f[i].p.delivered), f[i].accepted);
  }
  probe_end(cache);
}

static void late_and_again(void) {
  selv_cache *cache = mono_cache(0);
  uint64_t round;
  probe_warm(cache, 4);
  for (round = 0; round < 10; round++) {
    hook = mono_register(cache, 0);
    CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
    burst(cache, in_managed, 1);
    CHECK_EQ_U64(hook_probe_stats(hook).attached, 1);
    mono_unregister(hook);
    selv_hook_release(hook);
  }
  hook = mono_register(cache, SELV_HOOK_EAGER);
  CHECK_EVENTUALLY(hook_probe_stats(hook).attached == 4);
  collect();
  mono_unregister(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

int main(void) {
  selv_cache *cache;
  mono_start();
  CHECK_RUN(idle_workers);
  CHECK_RUN(busy_workers);
  CHECK_RUN(attaching_workers);
  CHECK_RUN(late_and_again);

  puts("finalised on the next line");
  cache = mono_cache(0);
  hook = mono_register(cache, 0);
  probe_warm(cache, 4);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  mono_jit_cleanup(mono);
  burst(cache, nothing, 16);
  selv_hook_release(hook);
  probe_end(cache);
  return 0;
}

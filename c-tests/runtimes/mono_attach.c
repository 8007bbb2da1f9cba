/* mono_attach: what a worker is in Mono: attached from start to exit as one managed thread, whose object stays where selv_mono_thread
 * says while the collector moves others; a failing hook after ours takes it back; an entered thread of the host's stays as it
 * was; what the preset refuses. */
#include "mono_support.h"

static selv_cache *cache;
static selv_hook *hook;

typedef struct seen {
  int managed_id;
  uint64_t worker;
  MonoThread *thread;
} seen;

static int32_t look(void *arg, void **out_value) {
  seen *s = (seen *)arg;
  (void)out_value;
  s->managed_id = mono_thread_id();
  s->worker = selv_worker_id(selv_worker_current());
  s->thread = selv_mono_thread(hook);
  CHECK(s->thread != NULL);
  mono_gc_collect(mono_gc_max_generation());
  CHECK(selv_mono_thread(hook) == mono_thread_current());
  return 0;
}

static seen look_on_worker(void) {
  seen s;
  selv_outcome outcome;
  memset(&s, 0, sizeof s);
  CHECK_OK(selv_cache_run(cache, look, &s, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  return s;
}

/* An exception that leaves managed code is the job's affair, and the worker lives on. */
static int32_t throws(void *arg, void **out_value) {
  MonoObject *exception = NULL;
  void *arguments[1];
  (void)arg;
  (void)out_value;
  arguments[0] = mono_string_new(mono, "not a number");
  mono_runtime_invoke(mono_method("System", "Int32", "Parse", 1), NULL, arguments, &exception);
  return exception != NULL ? 3 : 0;
}

static void one_thread(void) {
  seen first, again;
  selv_outcome outcome;
  cache = mono_cache(0);
  hook = mono_register(cache, 0);
  CHECK(selv_mono_thread(hook) == NULL);
  first = look_on_worker();
  CHECK(first.managed_id != mono_thread_id());
  CHECK_OK(selv_cache_run(cache, throws, NULL, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(outcome.code, 3);
  again = look_on_worker();
  CHECK_EQ_U64(again.worker, first.worker);
  CHECK_EQ_U64(again.managed_id, first.managed_id);
  CHECK(again.thread == first.thread);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 1);
  mono_unregister(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

static void later_hook_fails(void) {
  hook_probe failing;
  selv_hook *second;
  selv_outcome outcome;
  probe p;
  selv_job_options job;
  cache = mono_cache(0);
  hook = mono_register(cache, 0);
  hook_probe_init(&failing, "failing", NULL);
  failing.start_code = 17;
  second = hook_probe_register(cache, &failing, 0);
  probe_init(&p);
  job = probe_job(probe_run, &p);
  outcome = probe_through(cache, &job);
  CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
  CHECK_EQ_U64(outcome.code, 17);
  CHECK_EVENTUALLY(hook_probe_stats(hook).exits == 1);
  hook_probe_remove(second, &failing);
  look_on_worker();
  mono_unregister(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

static void *host_attached_it(void *unused) {
  MonoThread *thread = mono_thread_attach(mono);
  (void)unused;
  CHECK_OK(selv_thread_enter(cache, NULL, 0));
  CHECK(selv_mono_thread(hook) == mono_thread_current());
  CHECK_OK(selv_thread_leave(cache));
  CHECK(mono_domain_get() != NULL);
  mono_thread_id();
  mono_thread_detach(thread);
  return NULL;
}

static void *hook_attaches_it(void *unused) {
  int i;
  (void)unused;
  for (i = 0; i < 3; i++) {
    CHECK_OK(selv_thread_enter(cache, NULL, 0));
    CHECK(selv_mono_thread(hook) != NULL);
    mono_thread_id();
    CHECK_OK(selv_thread_leave(cache));
    CHECK(mono_domain_get() == NULL);
  }
  return NULL;
}

static void entered_threads(void) {
  pthread_t thread;
  cache = mono_cache(0);
  hook = mono_register(cache, 0);
  CHECK(pthread_create(&thread, NULL, host_attached_it, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(pthread_create(&thread, NULL, hook_attaches_it, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  mono_unregister(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

static void bad_options(void) {
  selv_mono_options options = SELV_MONO_OPTIONS_INIT;
  struct longer {
    selv_mono_options known;
    uint64_t unknown;
  } longer;
  cache = mono_cache(0);
  CHECK_STATUS(selv_mono_register(NULL, mono, NULL, &hook), SELV_E_NULL);
  CHECK(hook == NULL);
  CHECK_STATUS(selv_mono_register(cache, mono, NULL, NULL), SELV_E_NULL);
  options.flags = 1u << 30;
  CHECK_STATUS(selv_mono_register(cache, mono, &options, &hook), SELV_E_INVAL);
  options.flags = SELV_HOOK_FORK_KEEP;
  CHECK_STATUS(selv_mono_register(cache, mono, &options, &hook), SELV_E_INVAL);
  options.flags = 0;
  options.struct_size = 3;
  CHECK_STATUS(selv_mono_register(cache, mono, &options, &hook), SELV_E_INVAL);
  memset(&longer, 0, sizeof longer);
  longer.known.struct_size = sizeof longer;
  longer.unknown = 1;
  CHECK_STATUS(selv_mono_register(cache, mono, &longer.known, &hook), SELV_E_UNSUPPORTED);
  CHECK(hook == NULL);
  /* No domain: the root domain. */
  CHECK_OK(selv_mono_register(cache, NULL, NULL, &hook));
  look_on_worker();
  mono_unregister(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

int main(void) {
  cache = mono_cache(0);
  CHECK_STATUS(selv_mono_register(cache, NULL, NULL, &hook), SELV_E_INVAL); /* there is no Mono yet */
  probe_end(cache);
  mono_start();
  CHECK_RUN(one_thread);
  CHECK_RUN(later_hook_fails);
  CHECK_RUN(entered_threads);
  CHECK_RUN(bad_options);
  mono_jit_cleanup(mono);
  return 0;
}

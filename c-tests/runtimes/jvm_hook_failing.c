/* jvm_hook_failing: a worker that cannot be attached fails its job with the JNI error as code, and the cache stays healthy; a hook
 * after ours that fails takes our attachment back. The JVM refuses at will through a function table of our own. */
#include "jvm_support.h"

static selv_hook *hook;
static int refusals; /* atomic: how many attaches are still to fail */

static jint JNICALL refusing_attach(JavaVM *vm, void **env, void *args) {
  (void)vm;
  if (__atomic_load_n(&refusals, __ATOMIC_ACQUIRE) > 0) {
    __atomic_sub_fetch(&refusals, 1, __ATOMIC_ACQ_REL);
    *env = NULL;
    return JNI_ENOMEM;
  }
  return J(jvm)->AttachCurrentThreadAsDaemon(jvm, env, args);
}

static int32_t in_java(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  CHECK(jvm_ask(selv_jvm_env(hook), "isDaemon"));
  return 0;
}

static void attach_refused(void) {
  struct JNIInvokeInterface_ table;
#ifdef __cplusplus
  JavaVM refusing;
  table = *jvm->functions;
  refusing.functions = &table;
#else
  JavaVM refusing = &table;
  table = **jvm;
#endif
  selv_cache *cache = probe_cache(0, 0);
  probe p;
  selv_job_options job;
  selv_outcome outcome;
  uint64_t i;
  table.AttachCurrentThreadAsDaemon = refusing_attach;
  probe_init(&p);
  job = probe_job(in_java, &p);
  CHECK_OK(selv_jvm_register(cache, &refusing, NULL, &hook));

  /* On fresh workers. */
  refusals = 3;
  for (i = 0; i < 3; i++) {
    outcome = probe_through(cache, &job);
    CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
    CHECK_EQ_U64(outcome.code == JNI_ENOMEM, 1);
    CHECK(strstr(p.detail, "jvm") != NULL);
  }
  CHECK_EQ_U64(refusals, 0);
  CHECK_EQ_U64(hook_probe_stats(hook).start_failures, 3);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
  outcome = probe_through(cache, &job);
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 1);
  jvm_unregister(hook);
  jvm_paired(hook);
  selv_hook_release(hook);

  /* On a worker that lived before the hook, and without a job that needs it: OPTIONAL fails nobody else. */
  {
    selv_jvm_options options = SELV_JVM_OPTIONS_INIT;
    selv_hook *named[1];
    options.flags = SELV_HOOK_OPTIONAL;
    CHECK_OK(selv_jvm_register(cache, &refusing, &options, &hook));
    refusals = 1000000;
    job.fn = probe_run;
    outcome = probe_through(cache, &job);
    CHECK_OK(outcome.status);
    named[0] = hook;
    job.fn = in_java;
    job.attach = named;
    job.attach_len = 1;
    outcome = probe_through(cache, &job);
    CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
    refusals = 0;
    outcome = probe_through(cache, &job);
    CHECK_OK(outcome.status);
    jvm_unregister(hook);
    jvm_paired(hook);
    selv_hook_release(hook);
  }
  probe_end(cache);
}

static void later_hook_fails(JNIEnv *env) {
  selv_cache *cache = probe_cache(0, 0);
  hook_probe failing;
  selv_hook *second;
  probe p;
  selv_job_options job;
  selv_outcome outcome;
  probe_init(&p);
  job = probe_job(in_java, &p);
  hook = jvm_register(cache, NULL);
  hook_probe_init(&failing, "failing", NULL);
  failing.start_code = 17;
  second = hook_probe_register(cache, &failing, 0);
  outcome = probe_through(cache, &job);
  CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
  CHECK_EQ_U64(outcome.code, 17);
  /* Ours had started in the same go: it was undone, and Java sees nobody. */
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 1);
  CHECK_EVENTUALLY(hook_probe_stats(hook).exits == 1);
  CHECK_EQ_U64(jvm_threads_named(env, "selv"), 0);
  hook_probe_remove(second, &failing);
  outcome = probe_through(cache, &job);
  CHECK_OK(outcome.status);
  jvm_unregister(hook);
  jvm_paired(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

int main(void) {
  JNIEnv *env = jvm_start(NULL);
  puts("attach_refused");
  attach_refused();
  puts("later_hook_fails");
  later_hook_fails(env);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  return 0;
}

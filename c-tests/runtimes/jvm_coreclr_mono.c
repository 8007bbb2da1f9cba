/* jvm_coreclr_mono: three runtimes on the same workers, two of them .NET. Each job runs in all three; collections of each come
 * while the others run; then one after the other is shut down while the cache and the rest still work. */
#include "jvm_support.h"

#include "coreclr_support.h"
#include "mono_support.h"

static selv_hook *java, *dotnet, *monos;
static selv_cache *cache;

static uint32_t java_crc(JNIEnv *env, const void *data, int length) {
  jbyteArray bytes = J(env)->NewByteArray(env, length);
  jlong crc;
  JVM_NO_EXCEPTION(env);
  J(env)->SetByteArrayRegion(env, bytes, 0, length, (const jbyte *)data);
  crc = J(env)->CallStaticLongMethod(env, jvm_probe, jvm_method(env, "crc32", "([B)J"), bytes);
  JVM_NO_EXCEPTION(env);
  return (uint32_t)crc;
}

/* What each of them is asked, told what the answer is. */
static void ask_java(void) { CHECK_EQ_U64(java_crc(selv_jvm_env(java), "123456789", 9), 0xCBF43926u); }

static void ask_dotnet(void) {
  CHECK(clr_probe.started_here());
  CHECK_EQ_U64(clr_probe.crc32("123456789", 9), 0xCBF43926u);
  CHECK_EQ_U64(clr_probe.catch_null_reference(3), 3);
}

static void ask_mono(void) {
  void *arguments[1];
  MonoObject *exception = NULL, *number;
  arguments[0] = mono_string_new(mono, "271828");
  number = mono_call(mono_method("System", "Int32", "Parse", 1), NULL, arguments);
  CHECK_EQ_U64(*(int32_t *)mono_object_unbox(number), 271828);
  arguments[0] = mono_string_new(mono, "e");
  mono_runtime_invoke(mono_method("System", "Int32", "Parse", 1), NULL, arguments, &exception);
  CHECK(exception != NULL);
}

static int32_t in_all(void *arg, void **out_value) {
  (void)out_value;
  ask_java();
  ask_dotnet();
  ask_mono();
  check_tally_add((check_tally *)arg, 1);
  return 0;
}

static int32_t in_java_and_mono(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  ask_java();
  ask_mono();
  return 0;
}

static int32_t in_mono_only(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  ask_mono();
  return 0;
}

static void run_one(selv_job_fn fn) {
  selv_outcome outcome;
  CHECK_OK(selv_cache_run(cache, fn, NULL, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
}

int main(void) {
  JNIEnv *env;
  uint64_t jobs = check_scaled(300), i;
  check_tally ran = CHECK_TALLY_INIT;
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  clr_must_exist();

  mono_set_signal_chaining(1);
  mono_start();
  clr_start();
  env = jvm_start(NULL);
  CHECK_STR(getenv("COMPlus_EnableAlternateStackCheck"), "1");
  cache = mono_cache(8);
  java = jvm_register(cache, NULL);
  dotnet = clr_register(cache, 0);
  monos = mono_register(cache, 0);

  job.fn = in_all;
  job.arg = &ran;
  for (i = 0; i < jobs; i++) {
    CHECK_OK(selv_cache_submit(cache, &job, NULL));
    if (i % 50 == 10) CHECK(clr_probe.collect(1000));
    if (i % 50 == 20) mono_gc_collect(mono_gc_max_generation());
    if (i % 50 == 30) {
      J(env)->CallStaticIntMethod(env, jvm_probe, jvm_method(env, "collect", "(I)I"), (jint)1000);
      JVM_NO_EXCEPTION(env);
    }
  }
  CHECK_WAIT(&ran, jobs);
  CHECK_EVENTUALLY(probe_stats(cache).busy == 0);

  clr_unregister(dotnet);
  clr_end();
  run_one(in_java_and_mono);
  jvm_unregister(java);
  jvm_paired(java);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  run_one(in_mono_only);
  mono_unregister(monos);
  mono_jit_cleanup(mono);
  selv_hook_release(java);
  selv_hook_release(dotnet);
  selv_hook_release(monos);
  probe_end(cache);
  return 0;
}

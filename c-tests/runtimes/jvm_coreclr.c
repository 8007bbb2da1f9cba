/* jvm_coreclr: two runtimes on the same workers. Each job runs in both, and both must agree; managed null references, which are
 * real SIGSEGVs, come while the JVM handles that signal, which the preset prepared the environment for; then each
 * is shut down while the cache and the other still work, in the one order and in the other. */
#include "jvm_support.h"

#include "coreclr_support.h"

#include "child.h"

static selv_hook *java, *dotnet;
static selv_cache *cache;

typedef struct work {
  probe p;
  unsigned char data[4096];
} work;

static uint32_t java_crc(JNIEnv *env, const void *data, int length) {
  jbyteArray bytes = J(env)->NewByteArray(env, length);
  jlong crc;
  JVM_NO_EXCEPTION(env);
  J(env)->SetByteArrayRegion(env, bytes, 0, length, (const jbyte *)data);
  crc = J(env)->CallStaticLongMethod(env, jvm_probe, jvm_method(env, "crc32", "([B)J"), bytes);
  JVM_NO_EXCEPTION(env);
  return (uint32_t)crc;
}

static int32_t in_both(void *arg, void **out_value) {
  work *w = (work *)arg;
  JNIEnv *env = selv_jvm_env(java);
  uint32_t from_java, from_dotnet;
  (void)out_value;
  CHECK(env != NULL);
  CHECK(clr_probe.started_here());
  from_java = java_crc(env, w->data, (int)sizeof w->data);
  from_dotnet = clr_probe.crc32(w->data, (int)sizeof w->data);
  CHECK_EQ_U64(from_java, from_dotnet);
  CHECK_EQ_U64(clr_probe.catch_null_reference(3), 3);
  check_tally_add(&w->p.ran, 1);
  return 0;
}

static void start_both(int java_first) {
  if (java_first) jvm_start(NULL);
  clr_start();
  if (!java_first) jvm_start(NULL);
  CHECK_STR(getenv("COMPlus_EnableAlternateStackCheck"), "1");
  cache = probe_cache(8, 0);
  java = jvm_register(cache, NULL);
  dotnet = clr_register(cache, 0);
}

static void work_through(uint64_t jobs) {
  static work w;
  selv_job_options job;
  uint64_t i;
  probe_init(&w.p);
  for (i = 0; i < sizeof w.data; i++) w.data[i] = (unsigned char)(i * 31 + (i >> 8));
  job = probe_job(in_both, &w.p);
  job.arg = &w;
  for (i = 0; i < jobs; i++) {
    CHECK_OK(selv_cache_submit(cache, &job, NULL));
    /* Collections of both while their threads are in all kinds of places. */
    if (i % 100 == 50) CHECK(clr_probe.collect(1000));
  }
  CHECK_WAIT(&w.p.freed, jobs);
  CHECK_EQ_U64(check_tally_get(&w.p.ran), jobs);
  CHECK_OK(w.p.last.status);
}

/* What is left of the two still works when one is gone. */
static int32_t in_java_only(void *arg, void **out_value) {
  (void)out_value;
  CHECK_EQ_U64(java_crc(selv_jvm_env(java), arg, 9), 0xCBF43926u);
  return 0;
}

static int32_t in_dotnet_only(void *arg, void **out_value) {
  (void)out_value;
  CHECK_EQ_U64(clr_probe.crc32(arg, 9), 0xCBF43926u);
  CHECK_EQ_U64(clr_probe.catch_null_reference(3), 3);
  return 0;
}

static void run_one(selv_job_fn fn) {
  char text[] = "123456789";
  selv_outcome outcome;
  CHECK_OK(selv_cache_run(cache, fn, text, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
}

static void dotnet_ends_first(void) {
  start_both(1);
  work_through(check_scaled(400));
  clr_unregister(dotnet);
  clr_end();
  run_one(in_java_only);
  jvm_unregister(java);
  jvm_paired(java);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  selv_hook_release(java);
  selv_hook_release(dotnet);
  probe_end(cache);
  exit(61);
}

static void java_ends_first(void) {
  start_both(0);
  work_through(check_scaled(400));
  jvm_unregister(java);
  jvm_paired(java);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  run_one(in_dotnet_only);
  clr_unregister(dotnet);
  clr_end();
  selv_hook_release(java);
  selv_hook_release(dotnet);
  probe_end(cache);
  exit(62);
}

int main(void) {
  const uint64_t minute = 60 * 1000 * CHECK_MS;
  clr_must_exist();
  if (getenv("SELV_JAVA_CLASSES") == NULL) {
    puts("SELV_JAVA_CLASSES is not set: no compiled Probe.java");
    return 77;
  }
  puts("dotnet_ends_first");
  CHILD_ENDED(child_run(dotnet_ends_first), 61, minute);
  puts("java_ends_first");
  CHILD_ENDED(child_run(java_ends_first), 62, minute);
  return 0;
}

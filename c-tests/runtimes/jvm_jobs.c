/* jvm_jobs: what one job leaves behind does not reach the next on the same worker: a pending exception is reported and cleared,
 * local references are freed, the interrupt flag is down. The worker lives through all of it. */
#include "jvm_support.h"

static selv_hook *hook;

/* ---- a pending exception ---- */

typedef struct reports {
  check_tally count;
  char message[128];
  uint64_t worker;
  int nothing_pending;
} reports;

static void on_exception(void *user, JNIEnv *env, jthrowable exception, const selv_worker *worker) {
  reports *r = (reports *)user;
  jclass type = J(env)->GetObjectClass(env, exception);
  jmethodID get = J(env)->GetMethodID(env, type, "getMessage", "()Ljava/lang/String;");
  jstring text;
  r->nothing_pending = !J(env)->ExceptionCheck(env);
  text = (jstring)J(env)->CallObjectMethod(env, exception, get);
  J(env)->GetStringUTFRegion(env, text, 0, J(env)->GetStringLength(env, text), r->message);
  r->worker = selv_worker_id(worker);
  /* A careless reporter: what it leaves pending must not reach the next job either. */
  J(env)->ThrowNew(env, J(env)->FindClass(env, "java/lang/RuntimeException"), "left by the reporter");
  check_tally_add(&r->count, 1);
}

static int32_t leave_exception(void *arg, void **out_value) {
  JNIEnv *env = selv_jvm_env(hook);
  jmethodID fail = jvm_method(env, "fail", "(Ljava/lang/String;)V");
  (void)out_value;
  J(env)->CallStaticVoidMethod(env, jvm_probe, fail, J(env)->NewStringUTF(env, (const char *)arg));
  CHECK(J(env)->ExceptionCheck(env));
  return 5;
}

static int32_t find_none(void *arg, void **out_value) {
  (void)out_value;
  CHECK(!J(selv_jvm_env(hook))->ExceptionCheck(selv_jvm_env(hook)));
  *(uint64_t *)arg = selv_worker_id(selv_worker_current());
  return 0;
}

static void pending_exception(JNIEnv *env) {
  selv_cache *cache = probe_cache(0, 0);
  selv_jvm_options options = SELV_JVM_OPTIONS_INIT;
  char message[] = "no such thread";
  reports r;
  selv_outcome outcome;
  uint64_t worker = 0;
  (void)env;
  memset(&r, 0, sizeof r);
  check_tally_init(&r.count);
  options.on_exception = on_exception;
  options.user = &r;
  hook = jvm_register(cache, &options);
  CHECK_OK(selv_cache_run(cache, leave_exception, message, SELV_FOREVER, &outcome));
  /* The job ran: what it makes of its exception is its own affair. */
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(outcome.code, 5);
  CHECK_EQ_U64(check_tally_get(&r.count), 1);
  CHECK_STR(r.message, message);
  CHECK(r.nothing_pending);
  CHECK_OK(selv_cache_run(cache, find_none, &worker, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(worker, r.worker);
  CHECK_EQ_U64(check_tally_get(&r.count), 1);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 1);
  jvm_unregister(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

/* Without a callback the stack trace goes to stderr, which is a file for the length of this. */
static void described_exception(JNIEnv *env) {
  selv_cache *cache = probe_cache(0, 0);
  char message[] = "described by default", text[4096];
  FILE *captured = tmpfile();
  selv_outcome outcome;
  uint64_t worker = 0;
  size_t length;
  int saved = dup(2);
  (void)env;
  CHECK(captured != NULL && saved >= 0);
  hook = jvm_register(cache, NULL);
  fflush(stderr);
  CHECK(dup2(fileno(captured), 2) == 2);
  CHECK_OK(selv_cache_run(cache, leave_exception, message, SELV_FOREVER, &outcome));
  fflush(stderr);
  CHECK(dup2(saved, 2) == 2);
  close(saved);
  CHECK_OK(selv_cache_run(cache, find_none, &worker, SELV_FOREVER, &outcome));
  rewind(captured);
  length = fread(text, 1, sizeof text - 1, captured);
  text[length] = '\0';
  fclose(captured);
  if (strstr(text, "IllegalStateException: described by default") == NULL)
    check_fail(__FILE__, __LINE__, "stderr did not get the stack trace, but \"%s\"", text);
  jvm_unregister(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

/* ---- local references ---- */

enum { REFS_PER_JOB = 100000 };

static int32_t make_references(void *arg, void **out_value) {
  JNIEnv *env = selv_jvm_env(hook);
  int i;
  (void)arg;
  (void)out_value;
  for (i = 0; i < REFS_PER_JOB; i++)
    if (J(env)->NewLocalRef(env, jvm_probe) == NULL) check_fail(__FILE__, __LINE__, "no local reference number %d", i);
  return 0;
}

static uint64_t resident_kib(void) {
  char line[256];
  unsigned long long kib = 0;
  FILE *status = fopen("/proc/self/status", "r");
  CHECK(status != NULL);
  while (fgets(line, sizeof line, status) != NULL)
    if (sscanf(line, "VmRSS: %llu kB", &kib) == 1) break;
  fclose(status);
  return kib;
}

/* Five million references that a worker kept are 48 MiB and more (a worker without local frames was seen to grow by that much);
 * freed ones are used again by the next job. */
static void local_references(JNIEnv *env) {
  selv_cache *cache = probe_cache(0, 0);
  uint64_t jobs = check_scaled(50), i, before, after;
  selv_outcome outcome;
  (void)env;
  hook = jvm_register(cache, NULL);
  CHECK_OK(selv_cache_run(cache, make_references, NULL, SELV_FOREVER, &outcome));
  before = resident_kib();
  for (i = 0; i < jobs; i++) {
    CHECK_OK(selv_cache_run(cache, make_references, NULL, SELV_FOREVER, &outcome));
    CHECK_OK(outcome.status);
  }
  after = resident_kib();
  printf("  %llu references: %llu KiB before, %llu KiB after\n", (unsigned long long)(jobs * REFS_PER_JOB),
         (unsigned long long)before, (unsigned long long)after);
  CHECK(after < before + 16 * 1024);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 1);
  jvm_unregister(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

/* ---- the interrupt flag ---- */

static int32_t interrupt(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  jvm_do(selv_jvm_env(hook), "interruptSelf");
  CHECK(jvm_ask(selv_jvm_env(hook), "isInterrupted"));
  return 0;
}

static int32_t not_interrupted(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  CHECK(!jvm_ask(selv_jvm_env(hook), "isInterrupted"));
  return 0;
}

static void interrupt_flag(JNIEnv *env) {
  selv_cache *cache = probe_cache(0, 0);
  selv_outcome outcome;
  (void)env;
  hook = jvm_register(cache, NULL);
  CHECK_OK(selv_cache_run(cache, interrupt, NULL, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_OK(selv_cache_run(cache, not_interrupted, NULL, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 1);
  jvm_unregister(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

int main(void) {
  JNIEnv *env = jvm_start(NULL);
  puts("pending_exception");
  pending_exception(env);
  puts("described_exception");
  described_exception(env);
  puts("local_references");
  local_references(env);
  puts("interrupt_flag");
  interrupt_flag(env);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  return 0;
}

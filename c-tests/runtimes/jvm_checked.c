/* jvm_checked: the preset's whole life under -Xcheck:jni, which complains on stdout about every JNI call that is not quite
 * allowed: it must have nothing to say. A control run with one such call shows that it would. */
#include "jvm_support.h"

#include "child.h"

static selv_hook *hook;
static selv_cache *cache;
static FILE *captured; /* what the child says on stdout and stderr */

static void capture(void) {
  CHECK(dup2(fileno(captured), 1) == 1);
  CHECK(dup2(fileno(captured), 2) == 2);
}

static void swallow(void *user, JNIEnv *env, jthrowable exception, const selv_worker *worker) {
  (void)user;
  (void)env;
  (void)exception;
  (void)worker;
}

static int32_t leave_exception_and_interrupt(void *arg, void **out_value) {
  JNIEnv *env = selv_jvm_env(hook);
  (void)arg;
  (void)out_value;
  jvm_do(env, "interruptSelf");
  J(env)->ThrowNew(env, J(env)->FindClass(env, "java/lang/RuntimeException"), "left pending");
  return 0;
}

static void *enter_and_leave(void *unused) {
  (void)unused;
  CHECK_OK(selv_thread_enter(cache, NULL, 0));
  CHECK_OK(selv_thread_leave(cache));
  return NULL;
}

static void clean_life(void) {
  int round;
  capture();
  cache = probe_cache(0, 0);
  jvm_start("-Xcheck:jni");
  for (round = 0; round < 4; round++) {
    selv_jvm_options options = SELV_JVM_OPTIONS_INIT;
    selv_outcome outcome;
    pthread_t thread;
    options.flags = round % 2 ? SELV_JVM_SHUTDOWN_HOOK : 0;
    options.on_exception = swallow;
    hook = jvm_register(cache, &options);
    probe_warm(cache, 2);
    CHECK_OK(selv_cache_run(cache, leave_exception_and_interrupt, NULL, SELV_FOREVER, &outcome));
    CHECK_OK(outcome.status);
    CHECK(pthread_create(&thread, NULL, enter_and_leave, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    /* The last round leaves it to Java's own end. */
    if (round < 3) jvm_unregister(hook);
    if (round < 3) selv_hook_release(hook);
  }
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  jvm_paired(hook);
  probe_end(cache);
  exit(51);
}

static void not_quite_allowed(void) {
  JNIEnv *env;
  capture();
  env = jvm_start("-Xcheck:jni");
  J(env)->CallStaticBooleanMethod(env, jvm_probe, jvm_method(env, "isDaemon", "()Z"));
  J(env)->FindClass(env, "java/lang/Thread"); /* with no look at exceptions between the two */
  exit(52);
}

/* The line that says it, or NULL. */
static const char *complaint(void) {
  static char line[512];
  fseek(captured, 0, SEEK_SET);
  while (fgets(line, sizeof line, captured) != NULL)
    if (strstr(line, "WARNING") != NULL || strstr(line, "FATAL") != NULL) return line;
  return NULL;
}

static void run(void (*body)(void), int code) {
  child_end end;
  captured = tmpfile();
  CHECK(captured != NULL);
  end = child_run(body);
  if (!end.exited || end.code != code) {
    char line[512];
    fseek(captured, 0, SEEK_SET);
    while (fgets(line, sizeof line, captured) != NULL) fputs(line, stderr);
  }
  CHILD_ENDED(end, code, check_patience_s() * UINT64_C(1000000000));
}

int main(void) {
  const char *said;
  if (getenv("SELV_JAVA_CLASSES") == NULL) {
    puts("SELV_JAVA_CLASSES is not set: no compiled Probe.java");
    return 77;
  }
  puts("not_quite_allowed");
  run(not_quite_allowed, 52);
  CHECK(complaint() != NULL);
  fclose(captured);
  puts("clean_life");
  run(clean_life, 51);
  said = complaint();
  if (said != NULL) check_fail(__FILE__, __LINE__, "-Xcheck:jni said: %s", said);
  fclose(captured);
  return 0;
}

/* jvm_shutdown_hook: SELV_JVM_SHUTDOWN_HOOK. When Java ends by itself, its workers are let go first, within a bounded time:
 * DestroyJavaVM with idle and with busy workers, System.exit from a job, a job that outlasts the wait, several hooks, and a hook
 * that was unregistered before (nothing must be left in Java that could call it). */
#include "jvm_support.h"

#include "child.h"

static selv_hook *hook;
static selv_cache *cache;

static selv_hook *register_with_timeout(uint64_t timeout_ns) {
  selv_jvm_options options = SELV_JVM_OPTIONS_INIT;
  options.flags = SELV_JVM_SHUTDOWN_HOOK;
  options.shutdown_timeout_ns = timeout_ns;
  return jvm_register(cache, &options);
}

static void destroy_with_idle_workers(void) {
  selv_hook *second;
  cache = probe_cache(0, 0);
  jvm_start("-Xcheck:jni");
  hook = register_with_timeout(0);
  second = register_with_timeout(0); /* two hooks in one JVM do not collide */
  probe_warm(cache, 4);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 4);
  CHECK_EQ_U64(hook_probe_stats(second).attached, 4);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  jvm_paired(hook);
  jvm_paired(second);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 4);
  jvm_unregister(hook);
  selv_hook_release(hook);
  selv_hook_release(second);
  /* The cache outlives the JVM and works on. */
  probe_warm(cache, 4);
  probe_end(cache);
  _exit(21);
}

static void *open_later(void *arg) {
  probe *p = (probe *)arg;
  /* Not before the Java hook has begun to wait: that is when the hook takes no new attachments. */
  while (selv_hook_is_attached(hook) == 0 && hook_probe_stats(hook).attached == 2) check_sleep_ms(1);
  check_tally_add(&p->go, 1);
  return NULL;
}

/* One worker is idle, one is busy; the busy one's job ends while the shutdown hook waits. */
static void destroy_with_a_busy_worker(void) {
  probe p;
  selv_job_options job;
  pthread_t thread;
  cache = probe_cache(0, 0);
  jvm_start(NULL);
  hook = register_with_timeout(0);
  probe_init(&p);
  job = probe_job(probe_hold, &p);
  probe_warm(cache, 2);
  CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK_WAIT(&p.entered, 1);
  CHECK(pthread_create(&thread, NULL, open_later, &p) == 0);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  jvm_paired(hook);
  CHECK_WAIT(&p.delivered, 1);
  CHECK_OK(p.last.status);
  CHECK(pthread_join(thread, NULL) == 0);
  selv_hook_release(hook);
  probe_end(cache);
  _exit(22);
}

/* The job outlasts the wait: the JVM ends without it, and when it does return its worker is not drawn into the dead JVM. */
static void destroy_abandons_a_worker(void) {
  probe p;
  selv_job_options job;
  cache = probe_cache(0, 0);
  jvm_start(NULL);
  hook = register_with_timeout(100 * CHECK_MS);
  probe_init(&p);
  job = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK_WAIT(&p.entered, 1);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 1);
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.delivered, 1);
  CHECK_OK(p.last.status);
  jvm_unregister(hook);
  selv_hook_release(hook);
  probe_end(cache);
  _exit(23);
}

static int32_t system_exit(void *arg, void **out_value) {
  JNIEnv *env = selv_jvm_env(hook);
  (void)arg;
  (void)out_value;
  J(env)->CallStaticVoidMethod(env, jvm_probe, jvm_method(env, "exit", "(I)V"), (jint)42);
  return 0;
}

/* System.exit waits for the shutdown hooks, the shutdown hook for the job, the job for System.exit. */
static void exit_from_a_job(void) {
  selv_outcome outcome;
  cache = probe_cache(0, 0);
  jvm_start(NULL);
  hook = register_with_timeout(300 * CHECK_MS);
  probe_warm(cache, 3);
  selv_cache_run(cache, system_exit, NULL, SELV_FOREVER, &outcome);
}

static void exit_from_a_job_without_waiting(void) {
  selv_outcome outcome;
  cache = probe_cache(0, 0);
  jvm_start(NULL);
  hook = register_with_timeout(SELV_NO_WAIT);
  selv_cache_run(cache, system_exit, NULL, SELV_FOREVER, &outcome);
}

static void exit_from_the_main_thread(void) {
  JNIEnv *env;
  cache = probe_cache(0, 0);
  env = jvm_start(NULL);
  hook = register_with_timeout(0);
  probe_warm(cache, 3);
  J(env)->CallStaticVoidMethod(env, jvm_probe, jvm_method(env, "exit", "(I)V"), (jint)43);
}

static void unregistered_before(void) {
  int i;
  cache = probe_cache(0, 0);
  jvm_start(NULL);
  for (i = 0; i < 50; i++) {
    hook = register_with_timeout(0);
    probe_warm(cache, 2);
    jvm_unregister(hook);
    jvm_paired(hook);
    selv_hook_release(hook);
  }
  probe_end(cache);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  _exit(24);
}

/* Registering when Java has begun to end: refused, with nothing left behind. The Java thread that tries it is one that
 * Runtime starts as a shutdown hook: the JVM calls our native exit hook through it. */
static selv_status late_status = SELV_OK;

static void JNICALL register_in_shutdown(JNIEnv *env, jobject self) {
  selv_jvm_options options = SELV_JVM_OPTIONS_INIT;
  selv_hook *late = NULL;
  (void)env;
  (void)self;
  options.flags = SELV_JVM_SHUTDOWN_HOOK;
  late_status = selv_jvm_register(cache, jvm, &options, &late);
  CHECK(late == NULL);
}

static void registered_too_late(void) {
  JNIEnv *env;
  JNINativeMethod method;
  char name[] = "run", signature[] = "()V";
  jclass type, runtime_class;
  jobject runtime, thread;
  union {
    void(JNICALL *function)(JNIEnv *, jobject);
    void *pointer;
  } body;
  cache = probe_cache(0, 0);
  env = jvm_start(NULL);
  type = J(env)->FindClass(env, "selvedge/tests/NativeThread");
  JVM_NO_EXCEPTION(env);
  body.function = register_in_shutdown;
  method.name = name;
  method.signature = signature;
  method.fnPtr = body.pointer;
  CHECK(J(env)->RegisterNatives(env, type, &method, 1) == JNI_OK);
  thread = J(env)->NewObject(env, type, J(env)->GetMethodID(env, type, "<init>", "()V"));
  runtime_class = J(env)->FindClass(env, "java/lang/Runtime");
  runtime = J(env)->CallStaticObjectMethod(
      env, runtime_class, J(env)->GetStaticMethodID(env, runtime_class, "getRuntime", "()Ljava/lang/Runtime;"));
  J(env)->CallVoidMethod(env, runtime, J(env)->GetMethodID(env, runtime_class, "addShutdownHook", "(Ljava/lang/Thread;)V"),
                         thread);
  JVM_NO_EXCEPTION(env);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  CHECK_STATUS(late_status, SELV_E_CLOSED);
  probe_end(cache);
  _exit(25);
}

int main(void) {
  const uint64_t second = 1000 * CHECK_MS;
  child_end end;
  if (getenv("SELV_JAVA_CLASSES") == NULL) {
    puts("SELV_JAVA_CLASSES is not set: no compiled Probe.java");
    return 77;
  }
  puts("destroy_with_idle_workers");
  CHILD_ENDED(child_run(destroy_with_idle_workers), 21, 30 * second);
  puts("destroy_with_a_busy_worker");
  CHILD_ENDED(child_run(destroy_with_a_busy_worker), 22, 30 * second);
  puts("destroy_abandons_a_worker");
  CHILD_ENDED(child_run(destroy_abandons_a_worker), 23, 30 * second);
  puts("exit_from_a_job");
  end = child_run(exit_from_a_job);
  CHILD_ENDED(end, 42, 30 * second);
  CHECK(end.took_ns >= 300 * CHECK_MS);
  puts("exit_from_a_job_without_waiting");
  CHILD_ENDED(child_run(exit_from_a_job_without_waiting), 42, 30 * second);
  puts("exit_from_the_main_thread");
  CHILD_ENDED(child_run(exit_from_the_main_thread), 43, 30 * second);
  puts("unregistered_before");
  CHILD_ENDED(child_run(unregistered_before), 24, 30 * second);
  puts("registered_too_late");
  CHILD_ENDED(child_run(registered_too_late), 25, 30 * second);
  return 0;
}

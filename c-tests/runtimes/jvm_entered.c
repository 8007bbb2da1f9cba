/* jvm_entered: a host's own thread between selv_thread_enter and _leave. One that the host had attached keeps its name and
 * stays attached after leaving; one that was not is attached for the time between. */
#include "jvm_support.h"

static selv_cache *cache;
static selv_hook *hook;

static int attached_here(void) {
  void *env = NULL;
  return J(jvm)->GetEnv(jvm, &env, JNI_VERSION_1_8) == JNI_OK;
}

static void *host_attached_it(void *unused) {
  JavaVMAttachArgs args;
  char name[] = "the host's own", seen[64];
  void *env = NULL;
  (void)unused;
  args.version = JNI_VERSION_1_8;
  args.name = name;
  args.group = NULL;
  CHECK(J(jvm)->AttachCurrentThread(jvm, &env, &args) == JNI_OK);
  CHECK_OK(selv_thread_enter(cache, NULL, 0));
  CHECK(selv_jvm_env(hook) == (JNIEnv *)env);
  jvm_text((JNIEnv *)env, "threadName", seen, sizeof seen);
  CHECK_STR(seen, name);
  CHECK(!jvm_ask((JNIEnv *)env, "isDaemon"));
  CHECK_OK(selv_thread_leave(cache));
  CHECK(selv_jvm_env(hook) == NULL);
  CHECK(attached_here());
  jvm_text((JNIEnv *)env, "threadName", seen, sizeof seen);
  CHECK_STR(seen, name);
  CHECK(J(jvm)->DetachCurrentThread(jvm) == JNI_OK);
  return NULL;
}

static void *hook_attaches_it(void *unused) {
  int i;
  (void)unused;
  for (i = 0; i < 3; i++) {
    CHECK(!attached_here());
    CHECK_OK(selv_thread_enter(cache, NULL, 0));
    CHECK_OK(selv_thread_enter(cache, NULL, 0)); /* nested: counted */
    CHECK(selv_jvm_env(hook) != NULL);
    CHECK(jvm_ask(selv_jvm_env(hook), "isDaemon"));
    CHECK_OK(selv_thread_leave(cache));
    CHECK(selv_jvm_env(hook) != NULL);
    CHECK_OK(selv_thread_leave(cache));
    CHECK(!attached_here());
  }
  return NULL;
}

typedef struct stay {
  check_tally entered, go;
} stay;

static void *stays_entered(void *arg) {
  stay *s = (stay *)arg;
  CHECK_OK(selv_thread_enter(cache, NULL, 0));
  check_tally_add(&s->entered, 1);
  CHECK_WAIT(&s->go, 1);
  CHECK(jvm_ask(selv_jvm_env(hook), "isDaemon"));
  CHECK_OK(selv_thread_leave(cache));
  CHECK(!attached_here());
  return NULL;
}

static void on_thread(void *(*body)(void *)) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

int main(void) {
  JNIEnv *env = jvm_start(NULL);
  pthread_t thread;
  stay s;
  uint32_t attached = 99;
  cache = probe_cache(0, 0);
  hook = jvm_register(cache, NULL);
  on_thread(host_attached_it);
  on_thread(hook_attaches_it);
  jvm_paired(hook);

  /* The main thread belongs to the JVM since it made it. */
  CHECK_OK(selv_thread_enter(cache, NULL, 0));
  CHECK(selv_jvm_env(hook) == env);
  CHECK_OK(selv_thread_leave(cache));
  CHECK(attached_here());

  /* An entered thread counts until it leaves. */
  memset(&s, 0, sizeof s);
  check_tally_init(&s.entered);
  check_tally_init(&s.go);
  CHECK(pthread_create(&thread, NULL, stays_entered, &s) == 0);
  CHECK_WAIT(&s.entered, 1);
  CHECK_STATUS(selv_hook_unregister(hook, 20 * CHECK_MS, &attached), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(attached, 1);
  check_tally_add(&s.go, 1);
  jvm_unregister(hook);
  CHECK(pthread_join(thread, NULL) == 0);
  jvm_paired(hook);
  selv_hook_release(hook);

  /* The thread that unregisters while entered is let go by the call itself, and keeps its own attachment. */
  hook = jvm_register(cache, NULL);
  CHECK_OK(selv_thread_enter(cache, NULL, 0));
  jvm_unregister(hook);
  CHECK(attached_here());
  CHECK_OK(selv_thread_leave(cache));
  jvm_paired(hook);
  selv_hook_release(hook);

  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  probe_end(cache);
  return 0;
}

/* jvm_attach: what a worker is in Java: a daemon under the worker's own name, in the group and with the context class loader
 * that the options say; one and the same from job to job; gone from Java when unregistering returns. */
#include "jvm_support.h"

static selv_hook *hook;

typedef struct seen {
  JNIEnv *env;
  char name[256], worker[256], group[64];
  int daemon, loader_is_expected;
  jobject expected_loader; /* a global reference */
} seen;

static int32_t look(void *arg, void **out_value) {
  seen *s = (seen *)arg;
  JNIEnv *env = selv_jvm_env(hook);
  jobject loader;
  (void)out_value;
  CHECK(env != NULL);
  CHECK(selv_hook_slot(hook) == (void *)env);
  CHECK(selv_hook_is_attached(hook));
  s->env = env;
  jvm_text(env, "threadName", s->name, sizeof s->name);
  jvm_text(env, "groupName", s->group, sizeof s->group);
  snprintf(s->worker, sizeof s->worker, "%s", selv_worker_name(selv_worker_current()));
  s->daemon = jvm_ask(env, "isDaemon");
  loader = J(env)->CallStaticObjectMethod(env, jvm_probe, jvm_method(env, "contextLoader", "()Ljava/lang/ClassLoader;"));
  JVM_NO_EXCEPTION(env);
  s->loader_is_expected = loader != NULL && J(env)->IsSameObject(env, loader, s->expected_loader);
  return 0;
}

static seen look_on_worker(selv_cache *cache, jobject expected_loader) {
  seen s;
  selv_outcome outcome;
  memset(&s, 0, sizeof s);
  s.expected_loader = expected_loader;
  CHECK_OK(selv_cache_run(cache, look, &s, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  return s;
}

int main(void) {
  JNIEnv *env = jvm_start("-Xcheck:jni");
  selv_cache_options cache_options = SELV_CACHE_OPTIONS_INIT;
  selv_jvm_options options = SELV_JVM_OPTIONS_INIT;
  selv_cache *cache = NULL;
  jclass loader_class = J(env)->FindClass(env, "java/lang/ClassLoader");
  jobject system_loader, own_loader, group;
  seen first, again, named;

  system_loader = J(env)->CallStaticObjectMethod(
      env, loader_class, J(env)->GetStaticMethodID(env, loader_class, "getSystemClassLoader", "()Ljava/lang/ClassLoader;"));
  JVM_NO_EXCEPTION(env);
  system_loader = J(env)->NewGlobalRef(env, system_loader);

  /* A name with characters of two, three and four bytes: JNI wants the last kind written in another way. */
  cache_options.name = "f\xC3\xA4" "den-\xE7\xB7\x9A-\xF0\x9F\xA7\xB5";
  CHECK_OK(selv_cache_new(&cache_options, &cache));

  /* All defaults. */
  hook = jvm_register(cache, NULL);
  CHECK(selv_jvm_env(hook) == NULL);
  CHECK(!selv_hook_is_attached(hook));
  first = look_on_worker(cache, system_loader);
  CHECK(first.daemon);
  CHECK(first.loader_is_expected);
  CHECK(strstr(first.worker, cache_options.name) != NULL);
  CHECK_STR(first.name, first.worker);
  CHECK(first.env != env);
  again = look_on_worker(cache, system_loader);
  CHECK(again.env == first.env);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 1);
  CHECK_EQ_U64(jvm_threads_named(env, "den-"), 1);
  jvm_unregister(hook);
  jvm_paired(hook);
  CHECK_EQ_U64(jvm_threads_named(env, "den-"), 0);
  CHECK(selv_jvm_env(hook) == NULL);
  selv_hook_release(hook);

  /* With a group and a class loader, handed over as local references that die before the first worker starts. */
  own_loader = J(env)->CallStaticObjectMethod(env, jvm_probe, jvm_method(env, "makeLoader", "()Ljava/lang/ClassLoader;"));
  JVM_NO_EXCEPTION(env);
  own_loader = J(env)->NewGlobalRef(env, own_loader);
  CHECK(J(env)->PushLocalFrame(env, 16) == 0);
  group = J(env)->CallStaticObjectMethod(env, jvm_probe, jvm_method(env, "makeGroup", "(Ljava/lang/String;)Ljava/lang/ThreadGroup;"),
                                         J(env)->NewStringUTF(env, "looms"));
  JVM_NO_EXCEPTION(env);
  options.name = "java";
  options.group = group;
  options.class_loader = J(env)->NewLocalRef(env, own_loader);
  hook = jvm_register(cache, &options);
  J(env)->PopLocalFrame(env, NULL);
  named = look_on_worker(cache, own_loader);
  CHECK(named.daemon);
  CHECK_STR(named.group, "looms");
  CHECK(named.loader_is_expected);
  jvm_unregister(hook);
  jvm_paired(hook);
  selv_hook_release(hook);

  J(env)->DeleteGlobalRef(env, own_loader);
  J(env)->DeleteGlobalRef(env, system_loader);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  probe_end(cache);
  return 0;
}

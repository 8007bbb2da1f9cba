/* jvm_support.h: a JVM for the tests, and short ways to call the Java class Probe from them. */
#ifndef SELV_C_TESTS_JVM_SUPPORT_H
#define SELV_C_TESTS_JVM_SUPPORT_H

#include "../probe.h"

#include <selvedge/jvm.h>

static JavaVM *jvm;       /* the one of this process */
static jclass jvm_probe;  /* selvedge.tests.Probe, a global reference */

#ifdef __cplusplus
#define J(env) ((env)->functions)
#else
#define J(env) (*(env))
#endif

/* Every JNI call of a test ends here: an exception that nobody expected fails the test with its stack trace. */
static inline void jvm_no_exception(JNIEnv *env, const char *file, int line) {
  if (!J(env)->ExceptionCheck(env)) return;
  J(env)->ExceptionDescribe(env);
  check_fail(file, line, "a Java exception is pending");
}
#define JVM_NO_EXCEPTION(env) jvm_no_exception((env), __FILE__, __LINE__)

/* Starts the JVM with the compiled test classes on its path and returns the main thread's env. */
static inline JNIEnv *jvm_start(const char *extra_option) {
  char path[4096], heap[] = "-Xmx256m", gc[] = "-XX:+UseSerialGC", extra[128] = "-Xshare:auto";
  JavaVMOption options[4];
  JavaVMInitArgs args;
  void *env = NULL;
  const char *classes = getenv("SELV_JAVA_CLASSES");
  jclass found;
  if (classes == NULL) {
    puts("SELV_JAVA_CLASSES is not set: no compiled Probe.java");
    exit(77);
  }
  snprintf(path, sizeof path, "-Djava.class.path=%s", classes);
  if (extra_option != NULL) snprintf(extra, sizeof extra, "%s", extra_option);
  memset(options, 0, sizeof options);
  options[0].optionString = path;
  options[1].optionString = heap;
  options[2].optionString = gc;
  options[3].optionString = extra;
  args.version = JNI_VERSION_1_8;
  args.nOptions = 4;
  args.options = options;
  args.ignoreUnrecognized = JNI_FALSE;
  if (JNI_CreateJavaVM(&jvm, &env, &args) != JNI_OK) check_fail(__FILE__, __LINE__, "JNI_CreateJavaVM failed");
  found = J((JNIEnv *)env)->FindClass((JNIEnv *)env, "selvedge/tests/Probe");
  JVM_NO_EXCEPTION((JNIEnv *)env);
  jvm_probe = (jclass)J((JNIEnv *)env)->NewGlobalRef((JNIEnv *)env, found);
  return (JNIEnv *)env;
}

static inline jmethodID jvm_method(JNIEnv *env, const char *name, const char *signature) {
  jmethodID method = J(env)->GetStaticMethodID(env, jvm_probe, name, signature);
  JVM_NO_EXCEPTION(env);
  return method;
}

static inline void jvm_do(JNIEnv *env, const char *name) {
  J(env)->CallStaticVoidMethod(env, jvm_probe, jvm_method(env, name, "()V"));
  JVM_NO_EXCEPTION(env);
}

static inline int jvm_ask(JNIEnv *env, const char *name) {
  jboolean answer = J(env)->CallStaticBooleanMethod(env, jvm_probe, jvm_method(env, name, "()Z"));
  JVM_NO_EXCEPTION(env);
  return answer == JNI_TRUE;
}

/* The string that Probe.name() returns, in the UTF-16 of Java told as UTF-8 by Java's own String.getBytes. */
static inline void jvm_text(JNIEnv *env, const char *name, char *out, size_t room) {
  jstring text = (jstring)J(env)->CallStaticObjectMethod(env, jvm_probe, jvm_method(env, name, "()Ljava/lang/String;"));
  jclass string_class;
  jmethodID get;
  jbyteArray bytes;
  jsize length;
  JVM_NO_EXCEPTION(env);
  string_class = J(env)->FindClass(env, "java/lang/String");
  get = J(env)->GetMethodID(env, string_class, "getBytes", "(Ljava/lang/String;)[B");
  bytes = (jbyteArray)J(env)->CallObjectMethod(env, text, get, J(env)->NewStringUTF(env, "UTF-8"));
  JVM_NO_EXCEPTION(env);
  length = J(env)->GetArrayLength(env, bytes);
  CHECK((size_t)length < room);
  J(env)->GetByteArrayRegion(env, bytes, 0, length, (jbyte *)out);
  out[length] = '\0';
  JVM_NO_EXCEPTION(env);
}

/* How many live Java threads carry the word in their name. */
static inline uint64_t jvm_threads_named(JNIEnv *env, const char *word) {
  jstring text = J(env)->NewStringUTF(env, word);
  jint count = J(env)->CallStaticIntMethod(env, jvm_probe, jvm_method(env, "threadsNamed", "(Ljava/lang/String;)I"), text);
  JVM_NO_EXCEPTION(env);
  J(env)->DeleteLocalRef(env, text);
  return (uint64_t)count;
}

static inline selv_hook *jvm_register(selv_cache *cache, const selv_jvm_options *options) {
  selv_hook *hook = NULL;
  CHECK_OK(selv_jvm_register(cache, jvm, options, &hook));
  CHECK(hook != NULL);
  return hook;
}

/* Unregisters with no limit of time; when it returns nobody is attached. */
static inline void jvm_unregister(selv_hook *hook) {
  uint32_t attached = 99;
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
}

/* Every start had its exit, and nobody was lost. */
static inline void jvm_paired(selv_hook *hook) {
  selv_hook_stats stats = hook_probe_stats(hook);
  CHECK_EQ_U64(stats.attached, 0);
  CHECK_EQ_U64(stats.lost, 0);
  CHECK_EQ_U64(stats.starts, stats.exits);
}

#endif

/* java.c: the JVM, and Quotes.java in it. */
#include "java.h"

#include <stdio.h>
#include <string.h>

#include <selvedge/jvm.h>

#include "counts.h"

static JavaVM *vm;
static JNIEnv *main_env;
static selv_hook *hook;
static jclass quotes; /* a global reference, for a worker's FindClass would not find it */
static jmethodID quote, threads;

static int tell(JNIEnv *env, const char *what) {
  fprintf(stderr, "trio_guest: Java: %s\n", what);
  if (env != NULL && (*env)->ExceptionCheck(env)) {
    (*env)->ExceptionDescribe(env);
    (*env)->ExceptionClear(env);
  }
  return -1;
}

static int start_jvm(void) {
  static char class_path[] = "-Djava.class.path=" TRIO_GUEST_CLASSES, no_signals[] = "-Xrs", heap[] = "-Xmx64m";
  JavaVMOption options[3];
  JavaVMInitArgs args;
  void *found = NULL;
  memset(options, 0, sizeof options);
  options[0].optionString = class_path;
  options[1].optionString = no_signals;
  options[2].optionString = heap;
  args.version = JNI_VERSION_1_8;
  args.nOptions = 3;
  args.options = options;
  args.ignoreUnrecognized = JNI_FALSE;
  if (JNI_CreateJavaVM(&vm, &found, &args) != JNI_OK) return tell(NULL, "JNI_CreateJavaVM failed");
  main_env = (JNIEnv *)found;
  return 0;
}

int java_start(selv_cache *cache) {
  selv_status status;
  jclass found;
  if (start_jvm() != 0) return -1;
  found = (*main_env)->FindClass(main_env, "Quotes");
  if (found == NULL) return tell(main_env, "no class Quotes in " TRIO_GUEST_CLASSES);
  quotes = (jclass)(*main_env)->NewGlobalRef(main_env, found);
  quote = (*main_env)->GetStaticMethodID(main_env, quotes, "quote", "(Ljava/lang/String;)Ljava/lang/String;");
  threads = quote != NULL ? (*main_env)->GetStaticMethodID(main_env, quotes, "threads", "()I") : NULL;
  if (threads == NULL) return tell(main_env, "Quotes is not as expected");
  status = selv_jvm_register(cache, vm, NULL, &hook);
  return status == SELV_OK ? 0 : counts_complain("selv_jvm_register", status);
}

int java_quote(const char *item, char *out, size_t room) {
  JNIEnv *env = selv_jvm_env(hook); /* kept by the hook; NULL only on a thread that is no worker */
  jstring text;
  jsize length;
  if (env == NULL) return tell(NULL, "this thread is not attached");
  counts_add(COUNTS_JAVA);
  text = (*env)->NewStringUTF(env, item);
  if (text != NULL) text = (jstring)(*env)->CallStaticObjectMethod(env, quotes, quote, text);
  if (text == NULL) return tell(env, item);
  length = (*env)->GetStringUTFLength(env, text);
  if ((size_t)length >= room) return tell(env, "a quote is too long");
  (*env)->GetStringUTFRegion(env, text, 0, (*env)->GetStringLength(env, text), out);
  out[length] = '\0';
  return 0; /* the local references go when the job ends */
}

int java_let_go(java_threads *out) {
  selv_hook_stats stats = SELV_HOOK_STATS_INIT;
  selv_status status = selv_hook_unregister(hook, SELV_FOREVER, NULL);
  if (status == SELV_OK) status = selv_hook_get_stats(hook, &stats);
  if (status != SELV_OK) return counts_complain("selv_hook_unregister", status);
  selv_hook_release(hook);
  out->attached = (unsigned long)stats.starts;
  out->detached = (unsigned long)stats.exits;
  out->seen = (unsigned long)(*main_env)->CallStaticIntMethod(main_env, quotes, threads);
  return (*main_env)->ExceptionCheck(main_env) ? tell(main_env, "threads") : 0;
}

int java_end(void) { return (*vm)->DestroyJavaVM(vm) == JNI_OK ? 0 : tell(NULL, "DestroyJavaVM failed"); }

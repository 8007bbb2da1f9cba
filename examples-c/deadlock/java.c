/* java.c: a JVM, the natives of Shipping.java, and its thread. A Java thread needs no hook to own locks: its task is its own. */
#include <jni.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ring.h"
#include "tasks.h"

#define WHO "shipping (Java)"

static JavaVM *vm;
static JNIEnv *env; /* of the main thread, which makes all calls but the natives' */
static jobject shipping;

static int tell(const char *what) {
  fprintf(stderr, "deadlock: Java: %s\n", what);
  if (env != NULL && (*env)->ExceptionCheck(env)) (*env)->ExceptionDescribe(env);
  return -1;
}

/* ---- natives ---- */

static void throw_refusal(JNIEnv *here, selv_status status) {
  char detail[512];
  jclass type = (*here)->FindClass(here, "java/lang/IllegalStateException");
  selv_last_error(detail, sizeof detail);
  if (type != NULL) (*here)->ThrowNew(here, type, detail[0] != '\0' ? detail : selv_status_text(status));
}

static void JNICALL acquire(JNIEnv *here, jclass self, jint which) {
  selv_status status = ring_acquire(WHO, which, SELV_TASK_CURRENT);
  (void)self;
  if (status != SELV_OK) throw_refusal(here, status);
}

static void JNICALL release(JNIEnv *here, jclass self, jint which) {
  selv_status status = ring_release(WHO, which, SELV_TASK_CURRENT);
  (void)self;
  if (status != SELV_OK) throw_refusal(here, status);
}

static void JNICALL move(JNIEnv *here, jclass self, jint from, jint to) {
  (void)here;
  (void)self;
  ring_move(WHO, from, to);
}

/* ---- the JVM ---- */

static int start_jvm(void) {
  static char class_path[] = "-Djava.class.path=" DEADLOCK_CLASSES, no_signals[] = "-Xrs", heap[] = "-Xmx64m";
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
  if (JNI_CreateJavaVM(&vm, &found, &args) != JNI_OK) return tell("JNI_CreateJavaVM failed");
  env = (JNIEnv *)found;
  return 0;
}

/* JNI takes function addresses as void *, which ISO C only lets an integer become. */
static int add_native(jclass type, const char *name, const char *signature, uintptr_t fn) {
  JNINativeMethod native;
  native.name = (char *)(uintptr_t)name;
  native.signature = (char *)(uintptr_t)signature;
  native.fnPtr = (void *)fn;
  return (*env)->RegisterNatives(env, type, &native, 1) == JNI_OK ? 0 : tell(name);
}

int java_begin(void) {
  jclass type;
  jmethodID begin;
  if (start_jvm() != 0) return -1;
  type = (*env)->FindClass(env, "Shipping");
  if (type == NULL) return tell("no class Shipping in " DEADLOCK_CLASSES);
  if (add_native(type, "acquire", "(I)V", (uintptr_t)acquire) != 0) return -1;
  if (add_native(type, "release", "(I)V", (uintptr_t)release) != 0) return -1;
  if (add_native(type, "move", "(II)V", (uintptr_t)move) != 0) return -1;
  begin = (*env)->GetStaticMethodID(env, type, "begin", "()LShipping;");
  shipping = begin != NULL ? (*env)->CallStaticObjectMethod(env, type, begin) : NULL;
  return shipping != NULL && !(*env)->ExceptionCheck(env) ? 0 : tell("the thread does not begin");
}

int java_end(void) {
  jmethodID end = (*env)->GetMethodID(env, (*env)->GetObjectClass(env, shipping), "end", "()Z");
  jboolean is_done = end != NULL ? (*env)->CallBooleanMethod(env, shipping, end) : JNI_FALSE;
  if ((*env)->ExceptionCheck(env) || is_done != JNI_TRUE) return tell("the thread did not come to its end");
  if ((*vm)->DestroyJavaVM(vm) != JNI_OK) return tell("DestroyJavaVM failed");
  return 0;
}

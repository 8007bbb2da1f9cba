/* jvm.c: a JVM. The worker's slot is its JNIEnv; the preset frames local references and reports exceptions after each job. */
#include <selvedge/jvm.h>

#include <stdio.h>

#include "config.h"
#include "runtime.h"

#define PIECE ((size_t)1 << 30)

static JavaVM *vm;
static jclass crc_class, buffer_class; /* global references */
static jmethodID crc_of;

static int tell(JNIEnv *env, const char *what) {
  fprintf(stderr, "demo: %s\n", what);
  if ((*env)->ExceptionCheck(env)) {
    (*env)->ExceptionDescribe(env);
    (*env)->ExceptionClear(env);
  }
  return -1;
}

static jclass find_class(JNIEnv *env, const char *name) {
  jclass found = (*env)->FindClass(env, name);
  return found != NULL ? (jclass)(*env)->NewGlobalRef(env, found) : NULL;
}

static int start(void) {
  /* -Xrs: Ctrl-C stays the demo's own. */
  static char class_path[] = "-Djava.class.path=" DEMO_JVM_CLASSES, no_signals[] = "-Xrs";
  JavaVMOption options[2];
  JavaVMInitArgs args;
  void *found = NULL;
  JNIEnv *env;
  jint rc;
  memset(options, 0, sizeof options);
  options[0].optionString = class_path;
  options[1].optionString = no_signals;
  args.version = JNI_VERSION_1_8;
  args.nOptions = 2;
  args.options = options;
  args.ignoreUnrecognized = JNI_FALSE;
  rc = JNI_CreateJavaVM(&vm, &found, &args);
  if (rc != JNI_OK) {
    fprintf(stderr, "demo: the JVM did not start: JNI_CreateJavaVM answers %d\n", (int)rc);
    return -1;
  }
  env = (JNIEnv *)found;
  crc_class = find_class(env, "Crc");
  buffer_class = crc_class != NULL ? find_class(env, "java/nio/ByteBuffer") : NULL;
  if (buffer_class != NULL) crc_of = (*env)->GetStaticMethodID(env, crc_class, "of", "([Ljava/nio/ByteBuffer;)I");
  return crc_of != NULL ? 0 : tell(env, "no Crc.of in " DEMO_JVM_CLASSES);
}

static selv_status add_hooks(selv_cache *cache, selv_hook **out_hook) { return selv_jvm_register(cache, vm, NULL, out_hook); }

static selv_status remove_hooks(selv_hook *hook, uint64_t timeout_ns) { return selv_hook_unregister(hook, timeout_ns, NULL); }

/* On an attached thread. The memory is lent, not copied. An exception is left pending. */
static int call_crc(JNIEnv *env, const char *data, size_t length, uint32_t *out_crc) {
  jsize count = (jsize)(length / PIECE + 1), i;
  jobjectArray pieces = (*env)->NewObjectArray(env, count, buffer_class, NULL);
  for (i = 0; i < count && pieces != NULL; i++) {
    size_t from = (size_t)i * PIECE, left = length - from;
    jobject piece = (*env)->NewDirectByteBuffer(env, (char *)(uintptr_t)data + from, (jlong)(left < PIECE ? left : PIECE));
    if (piece == NULL) return -1;
    (*env)->SetObjectArrayElement(env, pieces, i, piece);
    (*env)->DeleteLocalRef(env, piece);
  }
  if (pieces == NULL) return -1;
  *out_crc = (uint32_t)(*env)->CallStaticIntMethod(env, crc_class, crc_of, pieces);
  return (*env)->ExceptionCheck(env) ? -1 : 0;
}

static int crc(selv_hook *hook, const void *data, size_t length, uint32_t *out_crc) {
  return call_crc(selv_jvm_env(hook), (const char *)data, length, out_crc);
}

static int crc_by_itself(const void *data, size_t length, uint32_t *out_crc) {
  void *found = NULL;
  JNIEnv *env;
  int failed;
  jint rc = (*vm)->AttachCurrentThreadAsDaemon(vm, &found, NULL);
  if (rc != JNI_OK) {
    fprintf(stderr, "demo: AttachCurrentThreadAsDaemon answers %d\n", (int)rc);
    return -1;
  }
  env = (JNIEnv *)found;
  failed = call_crc(env, (const char *)data, length, out_crc);
  if (failed) tell(env, "Crc.of failed");
  return (*vm)->DetachCurrentThread(vm) == JNI_OK ? failed : -1;
}

static int stop(void) {
  void *found = NULL;
  if ((*vm)->GetEnv(vm, &found, JNI_VERSION_1_8) == JNI_OK) {
    JNIEnv *env = (JNIEnv *)found;
    (*env)->DeleteGlobalRef(env, crc_class);
    (*env)->DeleteGlobalRef(env, buffer_class);
  }
  return (*vm)->DestroyJavaVM(vm);
}

const runtime runtime_jvm = {
  "jvm", "JVM " DEMO_JVM, NULL, "AttachCurrentThreadAsDaemon and DetachCurrentThread", "DestroyJavaVM", 1,
  start, add_hooks, remove_hooks, crc, crc_by_itself, stop,
};

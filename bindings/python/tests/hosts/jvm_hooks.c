/* A JVM's own functions as hooks that a Python program registers. They count their calls, and those in which they would have held the GIL. */
#include <Python.h>

#include <jni.h>
#include <selvedge.h>
#include <stdatomic.h>
#include <string.h>

typedef struct jvm_counts {
  _Atomic int64_t starts, exits, befores, afters, with_gil;
} jvm_counts;

jvm_counts counts;

static void count(_Atomic int64_t *what) {
  atomic_fetch_add(what, 1);
  if (PyGILState_Check()) atomic_fetch_add(&counts.with_gil, 1);
}

int32_t jvm_start(void *user, const selv_worker *worker, void **slot) {
  JavaVM *vm = (JavaVM *)user;
  JavaVMAttachArgs args = { JNI_VERSION_1_8, (char *)selv_worker_name(worker), NULL };
  count(&counts.starts);
  return (*vm)->AttachCurrentThreadAsDaemon(vm, slot, &args);
}

int32_t jvm_before(void *user, const selv_worker *worker, void *slot) {
  JNIEnv *env = (JNIEnv *)slot;
  (void)user;
  (void)worker;
  count(&counts.befores);
  return (*env)->PushLocalFrame(env, 16);
}

void jvm_after(void *user, const selv_worker *worker, void *slot) {
  JNIEnv *env = (JNIEnv *)slot;
  (void)user;
  (void)worker;
  count(&counts.afters);
  (*env)->PopLocalFrame(env, NULL);
}

void jvm_exit(void *user, const selv_worker *worker, void *slot) {
  JavaVM *vm = (JavaVM *)user;
  (void)worker;
  (void)slot;
  count(&counts.exits);
  (*vm)->DetachCurrentThread(vm);
}

JavaVM *jvm_create(void) {
  JavaVMInitArgs args = { JNI_VERSION_1_8, 0, NULL, JNI_FALSE };
  JavaVM *vm = NULL;
  JNIEnv *env;
  return JNI_CreateJavaVM(&vm, (void **)&env, &args) == JNI_OK ? vm : NULL;
}

int jvm_is_attached(JavaVM *vm) {
  JNIEnv *env;
  return (*vm)->GetEnv(vm, (void **)&env, JNI_VERSION_1_8) == JNI_OK;
}

/* How many daemon threads Java itself knows whose names begin so. On a thread that is attached. -1: Java raised something. */
int jvm_daemons(JavaVM *vm, const char *prefix) {
  JNIEnv *env;
  jclass type;
  jobjectArray threads;
  jint i, there;
  int found = 0;
  if ((*vm)->GetEnv(vm, (void **)&env, JNI_VERSION_1_8) != JNI_OK) return -1;
  type = (*env)->FindClass(env, "java/lang/Thread");
  threads = (*env)->NewObjectArray(env, 64, type, NULL);
  there = (*env)->CallStaticIntMethod(env, type, (*env)->GetStaticMethodID(env, type, "enumerate", "([Ljava/lang/Thread;)I"), threads);
  for (i = 0; i < there && !(*env)->ExceptionCheck(env); i++) {
    jobject thread = (*env)->GetObjectArrayElement(env, threads, i);
    jstring name = (jstring)(*env)->CallObjectMethod(env, thread, (*env)->GetMethodID(env, type, "getName", "()Ljava/lang/String;"));
    const char *text = (*env)->GetStringUTFChars(env, name, NULL);
    if (strncmp(text, prefix, strlen(prefix)) == 0 &&
        (*env)->CallBooleanMethod(env, thread, (*env)->GetMethodID(env, type, "isDaemon", "()Z")))
      found++;
    (*env)->ReleaseStringUTFChars(env, name, text);
    (*env)->DeleteLocalRef(env, name);
    (*env)->DeleteLocalRef(env, thread);
  }
  return (*env)->ExceptionCheck(env) ? -1 : found;
}

/* jvm_visits.h: calls into Java (Visits.java) by which a thread of the host proves that it has been one and the same Java thread since
 * its first call: Java counts the visits of each Thread, and this side those of each thread. */
#ifndef SELV_C_TESTS_JVM_VISITS_H
#define SELV_C_TESTS_JVM_VISITS_H

#include "jvm_support.h"

static selv_hook *jvm_visits_hook; /* that keeps the threads attached */
static jclass jvm_visits;
static jmethodID jvm_visits_visit;
static __thread jint jvm_visits_here; /* of this thread */

static inline void jvm_visits_start(JNIEnv *env) {
  jclass found = J(env)->FindClass(env, "selvedge/tests/Visits");
  JVM_NO_EXCEPTION(env);
  jvm_visits = (jclass)J(env)->NewGlobalRef(env, found);
  jvm_visits_visit = J(env)->GetStaticMethodID(env, jvm_visits, "visit", "()I");
  JVM_NO_EXCEPTION(env);
}

static inline const char *jvm_visit_by(JNIEnv *env) {
  jint visits = J(env)->CallStaticIntMethod(env, jvm_visits, jvm_visits_visit);
  JVM_NO_EXCEPTION(env);
  return visits == ++jvm_visits_here ? NULL : "Java takes this thread for another than at its last visit";
}

/* A call into Java with no attach of its own. NULL, or what is wrong. */
static inline const char *jvm_visit(void) {
  void *env = NULL;
  if (J(jvm)->GetEnv(jvm, &env, JNI_VERSION_1_8) != JNI_OK) return "this thread is not attached to the JVM";
  if (env != (void *)selv_jvm_env(jvm_visits_hook)) return "this thread is attached to the JVM, but not by its hook";
  return jvm_visit_by((JNIEnv *)env);
}

/* What a host without a hook has to do: attaches for this one call. NULL, or what is wrong. */
static inline const char *jvm_visit_attaching(void) {
  void *env = NULL;
  const char *wrong;
  if (J(jvm)->AttachCurrentThread(jvm, &env, NULL) != JNI_OK) return "this thread cannot be attached to the JVM";
  wrong = jvm_visit_by((JNIEnv *)env);
  CHECK(J(jvm)->DetachCurrentThread(jvm) == JNI_OK);
  return wrong;
}

static inline uint64_t jvm_visits_count(JNIEnv *env, const char *name) {
  jint count = J(env)->CallStaticIntMethod(env, jvm_visits, J(env)->GetStaticMethodID(env, jvm_visits, name, "()I"));
  JVM_NO_EXCEPTION(env);
  return (uint64_t)count;
}

#endif

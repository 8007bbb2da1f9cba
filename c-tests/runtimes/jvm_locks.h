/* jvm_locks.h: the natives of selvedge.tests.Locks, and short ways to have a LocksThread do something. A native gives the status
 * back, and Java makes an exception of it. */
#ifndef SELV_C_TESTS_JVM_LOCKS_H
#define SELV_C_TESTS_JVM_LOCKS_H

#include "jvm_support.h"

#include "lock_grants.h"

static jclass jvm_locks;        /* selvedge.tests.Locks, a global reference */
static jclass jvm_locks_thread; /* selvedge.tests.LocksThread, likewise */

/* ---- natives ---- */

static pid_t jvm_locks_asking; /* whichever thread of Java was the last to ask for a lock and wait */

static inline selv_lock *jvm_lock_of(jlong handle) { return (selv_lock *)(uintptr_t)handle; }

static jlong JNICALL jvm_locks_current_task(JNIEnv *env, jclass self) {
  (void)env;
  (void)self;
  return (jlong)selv_task_current();
}

static jlong JNICALL jvm_locks_new_task(JNIEnv *env, jclass self, jstring name) {
  const char *text = J(env)->GetStringUTFChars(env, name, NULL);
  selv_task task = task_named(text);
  (void)self;
  J(env)->ReleaseStringUTFChars(env, name, text);
  return (jlong)task;
}

static void JNICALL jvm_locks_exit_task(JNIEnv *env, jclass self, jlong task) {
  (void)env;
  (void)self;
  CHECK_OK(selv_task_exit((selv_task)task, NULL));
}

static jint JNICALL jvm_locks_interrupt_task(JNIEnv *env, jclass self, jlong task) {
  (void)env;
  (void)self;
  return selv_task_interrupt((selv_task)task);
}

static jint JNICALL jvm_locks_acquire(JNIEnv *env, jclass self, jlong lock, jlong task) {
  (void)env;
  (void)self;
  check_is_here(&jvm_locks_asking);
  return selv_lock_acquire(jvm_lock_of(lock), (selv_task)task, SELV_FOREVER);
}

static jint JNICALL jvm_locks_release(JNIEnv *env, jclass self, jlong lock, jlong task) {
  (void)env;
  (void)self;
  return selv_lock_release(jvm_lock_of(lock), (selv_task)task);
}

static jstring JNICALL jvm_locks_last_error(JNIEnv *env, jclass self) {
  char detail[512];
  (void)self;
  selv_last_error(detail, sizeof detail);
  return J(env)->NewStringUTF(env, detail);
}

static void JNICALL jvm_locks_note_grant(JNIEnv *env, jclass self, jstring name, jlong ticket) {
  const char *text = J(env)->GetStringUTFChars(env, name, NULL);
  (void)self;
  lock_grant_note(text, (uint64_t)ticket, 0);
  J(env)->ReleaseStringUTFChars(env, name, text);
}

static jlong JNICALL jvm_locks_waiting(JNIEnv *env, jclass self, jlong lock) {
  (void)env;
  (void)self;
  return (jlong)lock_waiting(jvm_lock_of(lock));
}

static jlong JNICALL jvm_locks_cancelled_waits(JNIEnv *env, jclass self, jlong lock) {
  (void)env;
  (void)self;
  return (jlong)lock_stats(jvm_lock_of(lock)).cancelled;
}

static void JNICALL jvm_locks_await_grants(JNIEnv *env, jclass self, jlong count) {
  (void)env;
  (void)self;
  CHECK_WAIT(&lock_granted, (uint64_t)count);
}

static void JNICALL jvm_locks_enter_section(JNIEnv *env, jclass self) {
  (void)env;
  (void)self;
  lock_section_enter();
}

static void JNICALL jvm_locks_leave_section(JNIEnv *env, jclass self) {
  (void)env;
  (void)self;
  lock_section_leave();
}

/* The completing thread may be one that Java has never seen: it visits for the length of the callback. */
static void jvm_locks_settle(void *arg, const selv_completed *c) {
  jobject granted = (jobject)arg; /* a global reference */
  JNIEnv *env = NULL;
  int attached = 0;
  char detail[512] = "";
  jstring text;
  if (c->status < 0) selv_last_error(detail, sizeof detail);
  CHECK(selv_jvm_visit_(jvm, &env, &attached) == JNI_OK);
  text = J(env)->NewStringUTF(env, detail);
  J(env)->CallStaticVoidMethod(
      env, jvm_locks,
      J(env)->GetStaticMethodID(env, jvm_locks, "settle", "(Ljava/util/concurrent/CompletableFuture;IJLjava/lang/String;)V"), granted,
      (jint)c->status, (jlong)c->ticket, text);
  JVM_NO_EXCEPTION(env);
  J(env)->DeleteLocalRef(env, text);
  J(env)->DeleteGlobalRef(env, granted);
  selv_jvm_leave_(jvm, attached);
}

static jint JNICALL jvm_locks_acquire_later(JNIEnv *env, jclass self, jlong lock, jlong task, jobject granted) {
  selv_completion completion;
  selv_status status;
  (void)self;
  memset(&completion, 0, sizeof completion);
  completion.fn = jvm_locks_settle;
  completion.arg = J(env)->NewGlobalRef(env, granted);
  status = selv_lock_acquire_async(jvm_lock_of(lock), (selv_task)task, &completion, NULL);
  if (status != SELV_PENDING) J(env)->DeleteGlobalRef(env, (jobject)completion.arg);
  return status;
}

static inline void jvm_locks_native(JNINativeMethod *entry, const char *name, const char *signature, void *fn) {
  entry->name = (char *)(uintptr_t)name;
  entry->signature = (char *)(uintptr_t)signature;
  entry->fnPtr = fn;
}

/* Through uintptr_t: ISO C converts no function pointer to an object pointer, which JNI asks for. */
#define JVM_LOCKS_NATIVE(i, name, signature, fn) jvm_locks_native(&natives[i], name, signature, (void *)(uintptr_t)(fn))

static inline jclass jvm_class(JNIEnv *env, const char *name) {
  jclass found = J(env)->FindClass(env, name);
  JVM_NO_EXCEPTION(env);
  return (jclass)J(env)->NewGlobalRef(env, found);
}

/* After jvm_start, on the same thread. */
static inline void jvm_locks_start(JNIEnv *env) {
  JNINativeMethod natives[14];
  jvm_locks = jvm_class(env, "selvedge/tests/Locks");
  jvm_locks_thread = jvm_class(env, "selvedge/tests/LocksThread");
  JVM_LOCKS_NATIVE(0, "currentTask", "()J", jvm_locks_current_task);
  JVM_LOCKS_NATIVE(1, "newTask", "(Ljava/lang/String;)J", jvm_locks_new_task);
  JVM_LOCKS_NATIVE(2, "exitTask", "(J)V", jvm_locks_exit_task);
  JVM_LOCKS_NATIVE(3, "interruptTask", "(J)I", jvm_locks_interrupt_task);
  JVM_LOCKS_NATIVE(4, "acquireOnce", "(JJ)I", jvm_locks_acquire);
  JVM_LOCKS_NATIVE(5, "acquireLater", "(JJLjava/util/concurrent/CompletableFuture;)I", jvm_locks_acquire_later);
  JVM_LOCKS_NATIVE(6, "releaseOnce", "(JJ)I", jvm_locks_release);
  JVM_LOCKS_NATIVE(7, "lastError", "()Ljava/lang/String;", jvm_locks_last_error);
  JVM_LOCKS_NATIVE(8, "noteGrant", "(Ljava/lang/String;J)V", jvm_locks_note_grant);
  JVM_LOCKS_NATIVE(9, "enterSection", "()V", jvm_locks_enter_section);
  JVM_LOCKS_NATIVE(10, "leaveSection", "()V", jvm_locks_leave_section);
  JVM_LOCKS_NATIVE(11, "cancelledWaits", "(J)J", jvm_locks_cancelled_waits);
  JVM_LOCKS_NATIVE(12, "waiting", "(J)J", jvm_locks_waiting);
  JVM_LOCKS_NATIVE(13, "awaitGrants", "(J)V", jvm_locks_await_grants);
  CHECK(J(env)->RegisterNatives(env, jvm_locks, natives, 14) == JNI_OK);
}

/* ---- threads ---- */

typedef struct jvm_lock_thread {
  jobject java; /* a LocksThread, a global reference */
} jvm_lock_thread;

/* Begins a Java thread that takes the lock; `end` is "releases", "keeps" or "throws". */
static inline jvm_lock_thread jvm_lock_thread_begin(JNIEnv *env, const char *name, selv_lock *lock, int has_own_task, const char *end) {
  jmethodID begin = J(env)->GetStaticMethodID(env, jvm_locks_thread, "begin",
                                              "(Ljava/lang/String;JZLjava/lang/String;)Lselvedge/tests/LocksThread;");
  jvm_lock_thread t;
  jobject made;
  JVM_NO_EXCEPTION(env);
  CHECK(J(env)->PushLocalFrame(env, 8) == 0);
  made = J(env)->CallStaticObjectMethod(env, jvm_locks_thread, begin, J(env)->NewStringUTF(env, name), (jlong)(uintptr_t)lock,
                                        (jboolean)(has_own_task ? JNI_TRUE : JNI_FALSE), J(env)->NewStringUTF(env, end));
  JVM_NO_EXCEPTION(env);
  t.java = J(env)->NewGlobalRef(env, made);
  J(env)->PopLocalFrame(env, NULL);
  return t;
}

static inline jmethodID jvm_lock_thread_method(JNIEnv *env, const char *name, const char *signature) {
  jmethodID method = J(env)->GetMethodID(env, jvm_locks_thread, name, signature);
  JVM_NO_EXCEPTION(env);
  return method;
}

static inline void jvm_lock_thread_do(JNIEnv *env, jvm_lock_thread t, const char *deed) {
  J(env)->CallVoidMethod(env, t.java, jvm_lock_thread_method(env, deed, "()V"));
  JVM_NO_EXCEPTION(env);
}

static inline selv_task jvm_lock_thread_task(JNIEnv *env, jvm_lock_thread t) {
  jlong task = J(env)->CallLongMethod(env, t.java, jvm_lock_thread_method(env, "task", "()J"));
  JVM_NO_EXCEPTION(env);
  return (selv_task)task;
}

static inline int jvm_lock_thread_was_interrupted(JNIEnv *env, jvm_lock_thread t) {
  jboolean answer = J(env)->CallBooleanMethod(env, t.java, jvm_lock_thread_method(env, "wasInterrupted", "()Z"));
  JVM_NO_EXCEPTION(env);
  return answer == JNI_TRUE;
}

static inline selv_status jvm_lock_thread_failure(JNIEnv *env, jvm_lock_thread t, char *out_text, size_t room) {
  jint status = J(env)->CallIntMethod(env, t.java, jvm_lock_thread_method(env, "failedWith", "()I"));
  jstring text;
  const char *chars;
  JVM_NO_EXCEPTION(env);
  text = (jstring)J(env)->CallObjectMethod(env, t.java, jvm_lock_thread_method(env, "failureText", "()Ljava/lang/String;"));
  JVM_NO_EXCEPTION(env);
  chars = J(env)->GetStringUTFChars(env, text, NULL);
  snprintf(out_text, room, "%s", chars);
  J(env)->ReleaseStringUTFChars(env, text, chars);
  J(env)->DeleteLocalRef(env, text);
  return status;
}

/* Waits for the end of its run() and forgets it. One that never ends fails here, and is not a hang. */
static inline void jvm_lock_thread_join_at(const char *file, int line, JNIEnv *env, jvm_lock_thread t) {
  jboolean is_alive;
  J(env)->CallVoidMethod(env, t.java, jvm_lock_thread_method(env, "join", "(J)V"), (jlong)(check_patience_s() * 1000));
  JVM_NO_EXCEPTION(env);
  is_alive = J(env)->CallBooleanMethod(env, t.java, jvm_lock_thread_method(env, "isAlive", "()Z"));
  JVM_NO_EXCEPTION(env);
  if (is_alive == JNI_TRUE) check_fail(file, line, "a Java thread does not end");
}
#define JVM_LOCK_THREAD_JOIN(env, t) jvm_lock_thread_join_at(__FILE__, __LINE__, (env), (t))

static inline void jvm_lock_thread_forget(JNIEnv *env, jvm_lock_thread t) { J(env)->DeleteGlobalRef(env, t.java); }

#endif

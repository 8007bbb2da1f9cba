/* selvedge/jvm.h: workers of a cache as daemon threads of a JVM (JDK 8 to 25).
 *
 * One call, selv_jvm_register, makes every worker attached: it shows in Java under the worker's name, has a context class
 * loader, and stays attached from its first job to its exit (an attach costs some 40 microseconds, a kept one 100 nanoseconds a
 * job). Inline C for C99 and C++11, compiled in the host's own unit against the host's jni.h; libselvedge knows no JVM. Include
 * it with the JDK's `include` and `include/linux` folders on the include path.
 *
 * What happens on each worker:
 *   start   GetEnv; if the thread is not attached, AttachCurrentThreadAsDaemon with the worker's name and the options' group,
 *           then Thread.setContextClassLoader. A thread that was attached before keeps its name and class loader.
 *   before  PushLocalFrame: local references that a job makes are gone when it ends.
 *   after   an exception that the job left pending is reported (`on_exception`) and cleared; PopLocalFrame; the thread's
 *           interrupt flag is cleared, so that one job's interrupt does not hit the next.
 *   exit    a pending exception is reported and cleared; DetachCurrentThread if it was us who attached.
 *
 * The host's duty:
 *   - A job calls Java with `selv_jvm_env(hook)`. FindClass on a worker sees the system class loader only: look classes up
 *     once, keep global references, or ask the context class loader.
 *   - Shut down in this order: selv_hook_unregister and wait for SELV_OK; then DestroyJavaVM. A thread that enters Java after
 *     DestroyJavaVM never comes back. The wait must be bounded: a job that calls System.exit waits for the shutdown hooks.
 *   - When Java may end by itself (System.exit, a signal), set SELV_JVM_SHUTDOWN_HOOK: a Runtime shutdown hook then unregisters
 *     and waits `shutdown_timeout_ns`. If a worker is still busy by then, it is abandoned to the dying JVM: no JNI call is
 *     made on it any more, so it survives if the process does.
 *   - stack_size of the cache: 256 KiB or more for workers that run Java (64 KiB is refused by HotSpot). */
#ifndef SELVEDGE_JVM_H
#define SELVEDGE_JVM_H

#include <jni.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <selvedge.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Called on the worker when a job, or the host's own thread at its leave, left a Java exception pending. It has been cleared,
 * so Java may be called; `exception` is a local reference. Whatever is pending when it returns is cleared without a word. */
typedef void (*selv_jvm_exception_fn)(void *user, JNIEnv *env, jthrowable exception, const selv_worker *worker);

/* Flag of selv_jvm_options: install a Runtime shutdown hook that unregisters and waits. */
#define SELV_JVM_SHUTDOWN_HOOK 0x10000u

typedef struct selv_jvm_options {
  uint32_t struct_size;
  uint32_t flags;               /* SELV_HOOK_LAZY, _EAGER, _OPTIONAL, _RETIRE; SELV_JVM_SHUTDOWN_HOOK */
  const char *name;             /* of the hook, in errors and traces; NULL: "jvm" */
  jobject group;                /* java.lang.ThreadGroup of the workers, any kind of reference; NULL: the JVM's default */
  jobject class_loader;         /* their context class loader, any kind of reference; NULL: the system class loader */
  int32_t local_frame_capacity; /* local references a job has room for without asking; 0: 16 */
  uint64_t shutdown_timeout_ns; /* how long the shutdown hook waits; 0: 5 s; SELV_NO_WAIT: not at all; never SELV_FOREVER */
  selv_jvm_exception_fn on_exception; /* NULL: ExceptionDescribe, which prints the stack trace to stderr */
  void *user;                   /* handed to on_exception */
} selv_jvm_options;
#define SELV_JVM_OPTIONS_INIT { sizeof(selv_jvm_options), 0, NULL, NULL, NULL, 0, 0, NULL, NULL }

/* JNI tables are reached differently from C and from C++; everything below is written once. */
#ifdef __cplusplus
#define SELV_JVM_CALL_(handle) ((handle)->functions)
#else
#define SELV_JVM_CALL_(handle) (*(handle))
#endif

/* A thread that somebody else had attached before our start ran on it. */
typedef struct selv_jvm_foreign_ {
  JNIEnv *env;
  struct selv_jvm_foreign_ *next;
} selv_jvm_foreign_;

/* Shared by the hook's data and the Java shutdown hook, freed by whichever lets go last: when the JVM ends while the host
 * unregisters, the Java thread may start at any moment and must not find the data gone. */
typedef struct selv_jvm_shutdown_ {
  int refs;      /* atomic */
  int stopping;  /* atomic: the JVM runs its shutdown hooks; attach no thread just to tidy up */
  int abandoned; /* atomic: it did not get all workers back and goes on ending; no JNI call from here on */
  selv_hook *hook;
  uint64_t timeout_ns;
} selv_jvm_shutdown_;

typedef struct selv_jvm_state_ {
  JavaVM *vm;
  jobject group;        /* global references */
  jobject class_loader;
  jclass thread_class;
  jmethodID current_thread, set_context_class_loader, interrupted;
  jint frame_capacity;
  selv_jvm_exception_fn on_exception;
  void *user;
  pthread_mutex_t mutex; /* guards `foreign` */
  selv_jvm_foreign_ *foreign;
  jobject java_hook;             /* global reference to the Thread given to Runtime.addShutdownHook; NULL: none */
  selv_jvm_shutdown_ *shutdown;  /* NULL: no shutdown hook was asked for */
} selv_jvm_state_;

static inline int selv_jvm_stopping_(const selv_jvm_state_ *s) {
  return s->shutdown != NULL && __atomic_load_n(&s->shutdown->stopping, __ATOMIC_ACQUIRE);
}

static inline int selv_jvm_abandoned_(const selv_jvm_state_ *s) {
  return s->shutdown != NULL && __atomic_load_n(&s->shutdown->abandoned, __ATOMIC_ACQUIRE);
}

static inline void selv_jvm_shutdown_release_(selv_jvm_shutdown_ *shutdown) {
  if (shutdown != NULL && __atomic_sub_fetch(&shutdown->refs, 1, __ATOMIC_ACQ_REL) == 0) free(shutdown);
}

/* The pending exception, if any, is reported and cleared. */
static inline void selv_jvm_report_(const selv_jvm_state_ *s, JNIEnv *env, const selv_worker *worker) {
  jthrowable exception;
  if (!SELV_JVM_CALL_(env)->ExceptionCheck(env)) return;
  if (s->on_exception == NULL) {
    SELV_JVM_CALL_(env)->ExceptionDescribe(env);
    SELV_JVM_CALL_(env)->ExceptionClear(env);
    return;
  }
  exception = SELV_JVM_CALL_(env)->ExceptionOccurred(env);
  SELV_JVM_CALL_(env)->ExceptionClear(env);
  s->on_exception(s->user, env, exception, worker);
  SELV_JVM_CALL_(env)->ExceptionClear(env);
  SELV_JVM_CALL_(env)->DeleteLocalRef(env, exception);
}

/* JNI takes "modified UTF-8": a character past U+FFFF is two surrogates of three bytes each. HotSpot does not check. Cuts at a
 * character that does not fit. */
static inline void selv_jvm_thread_name_(const char *name, char *out, size_t room) {
  const unsigned char *in = (const unsigned char *)name;
  size_t used = 0;
  while (*in != 0) {
    if (*in >= 0xF0 && in[1] != 0 && in[2] != 0 && in[3] != 0) {
      unsigned long c = ((unsigned long)(*in & 0x07) << 18) | ((unsigned long)(in[1] & 0x3F) << 12) |
                        ((unsigned long)(in[2] & 0x3F) << 6) | (unsigned long)(in[3] & 0x3F);
      unsigned long pair[2];
      int i;
      if (c < 0x10000ul || used + 7 > room) break;
      pair[0] = 0xD800ul + ((c - 0x10000ul) >> 10);
      pair[1] = 0xDC00ul + ((c - 0x10000ul) & 0x3FFul);
      for (i = 0; i < 2; i++) {
        out[used++] = (char)(0xE0ul | (pair[i] >> 12));
        out[used++] = (char)(0x80ul | ((pair[i] >> 6) & 0x3Ful));
        out[used++] = (char)(0x80ul | (pair[i] & 0x3Ful));
      }
      in += 4;
    } else {
      size_t length = *in < 0x80 ? 1 : *in < 0xE0 ? 2 : 3, i;
      if (used + length + 1 > room) break;
      for (i = 0; i < length && *in != 0; i++) out[used++] = (char)*in++;
    }
  }
  out[used] = '\0';
}

static inline int32_t selv_jvm_start_(void *user, const selv_worker *worker, void **slot) {
  selv_jvm_state_ *s = (selv_jvm_state_ *)user;
  void *found = NULL;
  JNIEnv *env;
  jobject self;
  jint rc = SELV_JVM_CALL_(s->vm)->GetEnv(s->vm, &found, JNI_VERSION_1_8);
  if (rc == JNI_OK) {
    selv_jvm_foreign_ *mark;
    env = (JNIEnv *)found;
    /* It is not ours to clear, and with it no JNI call is allowed. */
    if (SELV_JVM_CALL_(env)->ExceptionCheck(env)) return JNI_ERR;
    mark = (selv_jvm_foreign_ *)malloc(sizeof *mark);
    if (mark == NULL) return JNI_ENOMEM;
    mark->env = env;
    pthread_mutex_lock(&s->mutex);
    mark->next = s->foreign;
    s->foreign = mark;
    pthread_mutex_unlock(&s->mutex);
    *slot = env;
    return 0;
  } else {
    char name[256];
    JavaVMAttachArgs args;
    if (rc != JNI_EDETACHED) return rc;
    selv_jvm_thread_name_(selv_worker_name(worker), name, sizeof name);
    args.version = JNI_VERSION_1_8;
    args.name = name;
    args.group = s->group;
    /* As a daemon: DestroyJavaVM waits for every other kind before it even runs the shutdown hooks that would free them. */
    rc = SELV_JVM_CALL_(s->vm)->AttachCurrentThreadAsDaemon(s->vm, &found, &args);
    if (rc != JNI_OK) return rc;
    env = (JNIEnv *)found;
  }
  /* An attached thread has no context class loader, and libraries that ask for it fail far from here. */
  self = SELV_JVM_CALL_(env)->CallStaticObjectMethod(env, s->thread_class, s->current_thread);
  if (!SELV_JVM_CALL_(env)->ExceptionCheck(env))
    SELV_JVM_CALL_(env)->CallVoidMethod(env, self, s->set_context_class_loader, s->class_loader);
  if (SELV_JVM_CALL_(env)->ExceptionCheck(env)) {
    selv_jvm_report_(s, env, worker);
    SELV_JVM_CALL_(s->vm)->DetachCurrentThread(s->vm);
    return JNI_ERR;
  }
  SELV_JVM_CALL_(env)->DeleteLocalRef(env, self);
  *slot = env;
  return 0;
}

static inline void selv_jvm_exit_(void *user, const selv_worker *worker, void *slot) {
  selv_jvm_state_ *s = (selv_jvm_state_ *)user;
  JNIEnv *env = (JNIEnv *)slot;
  selv_jvm_foreign_ **link, *mark;
  if (selv_jvm_abandoned_(s)) return;
  pthread_mutex_lock(&s->mutex);
  for (link = &s->foreign; *link != NULL && (*link)->env != env; link = &(*link)->next) {
  }
  mark = *link;
  if (mark != NULL) *link = mark->next;
  pthread_mutex_unlock(&s->mutex);
  if (mark != NULL) {
    free(mark);
    return;
  }
  selv_jvm_report_(s, env, worker);
  SELV_JVM_CALL_(s->vm)->DetachCurrentThread(s->vm);
}

static inline int32_t selv_jvm_before_(void *user, const selv_worker *worker, void *slot) {
  selv_jvm_state_ *s = (selv_jvm_state_ *)user;
  JNIEnv *env = (JNIEnv *)slot;
  jint rc;
  (void)worker;
  if (selv_jvm_abandoned_(s)) return JNI_EDETACHED;
  rc = SELV_JVM_CALL_(env)->PushLocalFrame(env, s->frame_capacity);
  if (rc < 0) SELV_JVM_CALL_(env)->ExceptionClear(env);
  return rc < 0 ? rc : 0;
}

static inline void selv_jvm_after_(void *user, const selv_worker *worker, void *slot) {
  selv_jvm_state_ *s = (selv_jvm_state_ *)user;
  JNIEnv *env = (JNIEnv *)slot;
  if (selv_jvm_abandoned_(s)) return;
  selv_jvm_report_(s, env, worker);
  SELV_JVM_CALL_(env)->PopLocalFrame(env, NULL);
  SELV_JVM_CALL_(env)->CallStaticBooleanMethod(env, s->thread_class, s->interrupted);
  SELV_JVM_CALL_(env)->ExceptionClear(env);
}

/* The env of the calling thread for a short stay outside the hooks. `*attached` says whether selv_jvm_leave_ must detach. */
static inline jint selv_jvm_visit_(JavaVM *vm, JNIEnv **env, int *attached) {
  void *found = NULL;
  jint rc = SELV_JVM_CALL_(vm)->GetEnv(vm, &found, JNI_VERSION_1_8);
  *attached = 0;
  if (rc == JNI_EDETACHED) {
    rc = SELV_JVM_CALL_(vm)->AttachCurrentThreadAsDaemon(vm, &found, NULL);
    *attached = rc == JNI_OK;
  }
  *env = (JNIEnv *)found;
  return rc;
}

static inline void selv_jvm_leave_(JavaVM *vm, int attached) {
  if (attached) SELV_JVM_CALL_(vm)->DetachCurrentThread(vm);
}

/* Runtime.getRuntime().<name>(the Java hook): 1 or 0 as Java answers, 1 for no answer; -1 with an exception pending. */
static inline int selv_jvm_runtime_(JNIEnv *env, const char *name, const char *signature, jobject java_hook) {
  jclass type = SELV_JVM_CALL_(env)->FindClass(env, "java/lang/Runtime");
  jmethodID get, method;
  jobject runtime;
  int answer = 1;
  if (type == NULL) return -1;
  get = SELV_JVM_CALL_(env)->GetStaticMethodID(env, type, "getRuntime", "()Ljava/lang/Runtime;");
  method = SELV_JVM_CALL_(env)->GetMethodID(env, type, name, signature);
  if (SELV_JVM_CALL_(env)->ExceptionCheck(env)) return -1;
  runtime = SELV_JVM_CALL_(env)->CallStaticObjectMethod(env, type, get);
  if (SELV_JVM_CALL_(env)->ExceptionCheck(env)) return -1;
  if (signature[strlen(signature) - 1] == 'Z')
    answer = SELV_JVM_CALL_(env)->CallBooleanMethod(env, runtime, method, java_hook) == JNI_TRUE;
  else
    SELV_JVM_CALL_(env)->CallVoidMethod(env, runtime, method, java_hook);
  if (SELV_JVM_CALL_(env)->ExceptionCheck(env)) return -1;
  SELV_JVM_CALL_(env)->DeleteLocalRef(env, runtime);
  SELV_JVM_CALL_(env)->DeleteLocalRef(env, type);
  return answer;
}

/* Takes the Java hook back. 1: it will never run; 0: the JVM has begun to end, so it runs or has run. */
static inline int selv_jvm_remove_java_hook_(selv_jvm_state_ *s, JNIEnv *env) {
  int answer = selv_jvm_runtime_(env, "removeShutdownHook", "(Ljava/lang/Thread;)Z", s->java_hook);
  /* IllegalStateException: "Shutdown in progress". */
  if (answer < 0) SELV_JVM_CALL_(env)->ExceptionClear(env);
  return answer > 0;
}

static inline void selv_jvm_drop_refs_(selv_jvm_state_ *s, JNIEnv *env) {
  /* DeleteGlobalRef takes NULL and is allowed while an exception is pending. */
  SELV_JVM_CALL_(env)->DeleteGlobalRef(env, s->java_hook);
  SELV_JVM_CALL_(env)->DeleteGlobalRef(env, s->group);
  SELV_JVM_CALL_(env)->DeleteGlobalRef(env, s->class_loader);
  SELV_JVM_CALL_(env)->DeleteGlobalRef(env, s->thread_class);
}

/* The hook's user_free: every worker has detached. It may run on any thread, attached or not. */
static inline void selv_jvm_free_(void *user) {
  selv_jvm_state_ *s = (selv_jvm_state_ *)user;
  void *found = NULL;
  JNIEnv *env = NULL;
  int attached = 0;
  /* Attaching to a JVM that is about to end may never return; its references die with it. */
  if (selv_jvm_stopping_(s)) {
    if (!selv_jvm_abandoned_(s) &&
        SELV_JVM_CALL_(s->vm)->GetEnv(s->vm, &found, JNI_VERSION_1_8) == JNI_OK)
      env = (JNIEnv *)found;
  } else if (selv_jvm_visit_(s->vm, &env, &attached) != JNI_OK) {
    env = NULL;
  }
  if (env != NULL) {
    /* An exception of the caller's own is set aside: it is about its work, not ours. */
    jthrowable pending = SELV_JVM_CALL_(env)->ExceptionOccurred(env);
    SELV_JVM_CALL_(env)->ExceptionClear(env);
    /* Taken back in time, the Java hook leaves its share to us; else it drops it at the end of its run. */
    if (s->java_hook != NULL && selv_jvm_remove_java_hook_(s, env)) {
      selv_hook_release(s->shutdown->hook);
      selv_jvm_shutdown_release_(s->shutdown);
    }
    selv_jvm_drop_refs_(s, env);
    if (pending != NULL) {
      SELV_JVM_CALL_(env)->Throw(env, pending);
      SELV_JVM_CALL_(env)->DeleteLocalRef(env, pending);
    }
    selv_jvm_leave_(s->vm, attached);
  }
  while (s->foreign != NULL) {
    selv_jvm_foreign_ *mark = s->foreign;
    s->foreign = mark->next;
    free(mark);
  }
  selv_jvm_shutdown_release_(s->shutdown);
  pthread_mutex_destroy(&s->mutex);
  free(s);
}

/* The body of the Java shutdown hook, on its own Java thread while all others still run. */
static inline void JNICALL selv_jvm_on_shutdown_(JNIEnv *env, jobject self) {
  jclass type = SELV_JVM_CALL_(env)->GetObjectClass(env, self);
  jfieldID field = SELV_JVM_CALL_(env)->GetFieldID(env, type, "block", "J");
  selv_jvm_shutdown_ *shutdown = (selv_jvm_shutdown_ *)(intptr_t)SELV_JVM_CALL_(env)->GetLongField(env, self, field);
  selv_hook *hook = shutdown->hook;
  __atomic_store_n(&shutdown->stopping, 1, __ATOMIC_RELEASE);
  if (selv_hook_unregister(hook, shutdown->timeout_ns, NULL) != SELV_OK)
    __atomic_store_n(&shutdown->abandoned, 1, __ATOMIC_RELEASE);
  selv_hook_release(hook);
  selv_jvm_shutdown_release_(shutdown);
}

/* Makes, but does not install, the Thread that Runtime.addShutdownHook will get. Its class is made here, from bytes, in a
 * loader of its own: nothing has to be on the class path, and two registrations do not collide. In Java it reads
 *     final class selvedge.ShutdownHook implements Runnable { long block; public native void run(); }
 * (no constructor: AllocObject needs none, and `block` is all its state). Leaves an exception pending on failure. */
static inline jobject selv_jvm_make_java_hook_(JNIEnv *env, selv_jvm_shutdown_ *shutdown, jclass thread_class) {
  static const unsigned char bytes[] = {
      0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 52, /* class file of Java 8 */
      0, 11,                               /* ten constants */
      7, 0, 2,                             /*  1: class, named by 2 */
      1, 0, 21, 's', 'e', 'l', 'v', 'e', 'd', 'g', 'e', '/', 'S', 'h', 'u', 't', 'd', 'o', 'w', 'n', 'H', 'o', 'o', 'k',
      7, 0, 4, 1, 0, 16, 'j', 'a', 'v', 'a', '/', 'l', 'a', 'n', 'g', '/', 'O', 'b', 'j', 'e', 'c', 't',
      7, 0, 6, 1, 0, 18, 'j', 'a', 'v', 'a', '/', 'l', 'a', 'n', 'g', '/', 'R', 'u', 'n', 'n', 'a', 'b', 'l', 'e',
      1, 0, 5, 'b', 'l', 'o', 'c', 'k', 1, 0, 1, 'J', /* 7, 8 */
      1, 0, 3, 'r', 'u', 'n', 1, 0, 3, '(', ')', 'V', /* 9, 10 */
      0, 0x30, 0, 1, 0, 3,                 /* final; this is 1, its superclass 3 */
      0, 1, 0, 5,                          /* one interface: 5 */
      0, 1, 0, 0, 0, 7, 0, 8, 0, 0,        /* one field: block, J */
      0, 1, 0x01, 0x01, 0, 9, 0, 10, 0, 0, /* one method: public native run, ()V */
      0, 0};
  static char name[] = "run", signature[] = "()V";
  JNINativeMethod method;
  jclass loader_class, type;
  jobject loader, runnable = NULL, thread = NULL;
  jstring thread_name;
  jmethodID make;
  union {
    void(JNICALL *function)(JNIEnv *, jobject);
    void *pointer;
  } body; /* ISO C has no conversion from a function to a void pointer */
  body.function = selv_jvm_on_shutdown_;
  method.name = name;
  method.signature = signature;
  method.fnPtr = body.pointer;

  if ((loader_class = SELV_JVM_CALL_(env)->FindClass(env, "java/security/SecureClassLoader")) == NULL) return NULL;
  if ((make = SELV_JVM_CALL_(env)->GetMethodID(env, loader_class, "<init>", "(Ljava/lang/ClassLoader;)V")) == NULL) return NULL;
  if ((loader = SELV_JVM_CALL_(env)->NewObject(env, loader_class, make, (jobject)NULL)) == NULL) return NULL;
  type = SELV_JVM_CALL_(env)->DefineClass(env, "selvedge/ShutdownHook", loader, (const jbyte *)bytes, (jsize)sizeof bytes);
  if (type == NULL || SELV_JVM_CALL_(env)->RegisterNatives(env, type, &method, 1) != JNI_OK) return NULL;
  if ((runnable = SELV_JVM_CALL_(env)->AllocObject(env, type)) == NULL) return NULL;
  SELV_JVM_CALL_(env)->SetLongField(env, runnable, SELV_JVM_CALL_(env)->GetFieldID(env, type, "block", "J"),
                                    (jlong)(intptr_t)shutdown);
  make = SELV_JVM_CALL_(env)->GetMethodID(env, thread_class, "<init>", "(Ljava/lang/Runnable;Ljava/lang/String;)V");
  if (make == NULL || (thread_name = SELV_JVM_CALL_(env)->NewStringUTF(env, "selvedge-shutdown")) == NULL) return NULL;
  thread = SELV_JVM_CALL_(env)->NewObject(env, thread_class, make, runnable, thread_name);
  return SELV_JVM_CALL_(env)->ExceptionCheck(env) ? NULL : thread;
}

/* A global reference to `given`, which must be NULL or an instance of `type`. 0, SELV_E_INVAL or SELV_E_NOMEM. */
static inline selv_status selv_jvm_keep_(JNIEnv *env, jobject given, const char *type, jobject *out) {
  jclass wanted;
  if (given == NULL) return SELV_OK;
  if ((wanted = SELV_JVM_CALL_(env)->FindClass(env, type)) == NULL) return SELV_E_NOMEM;
  if (!SELV_JVM_CALL_(env)->IsInstanceOf(env, given, wanted)) return SELV_E_INVAL;
  *out = SELV_JVM_CALL_(env)->NewGlobalRef(env, given);
  return *out == NULL ? SELV_E_NOMEM : SELV_OK;
}

/* Everything of the state that needs Java. What was made before a failure stands in `s`, for selv_jvm_drop_refs_. */
static inline selv_status selv_jvm_prepare_(selv_jvm_state_ *s, JNIEnv *env, const selv_jvm_options *o) {
  jclass thread_class, loader_class;
  jobject loader = o->class_loader;
  selv_status status = selv_jvm_keep_(env, o->group, "java/lang/ThreadGroup", &s->group);
  if (status != SELV_OK) return status;
  if ((loader_class = SELV_JVM_CALL_(env)->FindClass(env, "java/lang/ClassLoader")) == NULL) return SELV_E_NOMEM;
  if (loader == NULL) {
    jmethodID get = SELV_JVM_CALL_(env)->GetStaticMethodID(env, loader_class, "getSystemClassLoader", "()Ljava/lang/ClassLoader;");
    loader = SELV_JVM_CALL_(env)->CallStaticObjectMethod(env, loader_class, get);
    if (SELV_JVM_CALL_(env)->ExceptionCheck(env)) return SELV_E_NOMEM;
  }
  if ((status = selv_jvm_keep_(env, loader, "java/lang/ClassLoader", &s->class_loader)) != SELV_OK) return status;
  if ((thread_class = SELV_JVM_CALL_(env)->FindClass(env, "java/lang/Thread")) == NULL) return SELV_E_NOMEM;
  s->thread_class = (jclass)SELV_JVM_CALL_(env)->NewGlobalRef(env, thread_class);
  s->current_thread = SELV_JVM_CALL_(env)->GetStaticMethodID(env, thread_class, "currentThread", "()Ljava/lang/Thread;");
  s->set_context_class_loader =
      SELV_JVM_CALL_(env)->GetMethodID(env, thread_class, "setContextClassLoader", "(Ljava/lang/ClassLoader;)V");
  s->interrupted = SELV_JVM_CALL_(env)->GetStaticMethodID(env, thread_class, "interrupted", "()Z");
  if (s->thread_class == NULL || s->interrupted == NULL) return SELV_E_NOMEM;
  if (s->shutdown != NULL) {
    jobject java_hook = selv_jvm_make_java_hook_(env, s->shutdown, thread_class);
    if (java_hook == NULL) return SELV_E_NOMEM;
    s->java_hook = SELV_JVM_CALL_(env)->NewGlobalRef(env, java_hook);
    if (s->java_hook == NULL) return SELV_E_NOMEM;
  }
  return SELV_OK;
}

/* The caller's options in our own layout: a field that it does not know is 0, one that we do not know must be 0. */
static inline selv_status selv_jvm_options_read_(const selv_jvm_options *given, selv_jvm_options *out) {
  const selv_jvm_options defaults = SELV_JVM_OPTIONS_INIT;
  size_t size, i;
  *out = defaults;
  if (given == NULL) return SELV_OK;
  size = given->struct_size;
  if (size < 2 * sizeof(uint32_t)) return SELV_E_INVAL;
  for (i = sizeof *out; i < size; i++)
    if (((const unsigned char *)given)[i] != 0) return SELV_E_UNSUPPORTED;
  memcpy(out, given, size < sizeof *out ? size : sizeof *out);
  if (out->flags & ~(SELV_HOOK_LAZY | SELV_HOOK_EAGER | SELV_HOOK_OPTIONAL | SELV_HOOK_RETIRE | SELV_JVM_SHUTDOWN_HOOK))
    return SELV_E_INVAL;
  if (out->local_frame_capacity < 0 || out->shutdown_timeout_ns == SELV_FOREVER) return SELV_E_INVAL;
  return SELV_OK;
}

/* selv_jvm_register: registers the hooks above on `cache` for the JVM `vm`. `opts` may be NULL: all defaults. The hook is
 * unregistered and released as any other; the JVM must outlive the unregistering.
 *
 * Threads:    any. A thread that is not attached is attached for the length of the call; then `group` and `class_loader` must
 *             be global references.
 * Blocks:     for Java's own locks only.
 * Reentrancy: may be called from a hook and from a job; not with a Java exception pending (SELV_E_INVAL).
 * Fork:       a JVM does not survive a fork; in the child the hook is disarmed and jobs that need it get SELV_E_FORKED.
 * NULL:       cache, vm or out: SELV_E_NULL.
 * A worker that cannot be attached fails its job with SELV_E_HOOK_FAILED and the JNI error (JNI_ERR, JNI_ENOMEM ...) as code.
 *
 * SELV_OK; SELV_E_NULL; SELV_E_INVAL (a flag, a negative capacity, shutdown_timeout_ns SELV_FOREVER, `group` that is no
 * ThreadGroup, `class_loader` that is no ClassLoader, a pending exception); SELV_E_UNSUPPORTED (options newer than this header,
 * a JVM older than JDK 8); SELV_E_NOMEM (Java or C memory); SELV_E_HOOK_FAILED (the calling thread could not be attached);
 * SELV_E_CLOSED (the JVM has begun to end); and what selv_hook_register returns. */
static inline selv_status selv_jvm_register(selv_cache *cache, JavaVM *vm, const selv_jvm_options *opts, selv_hook **out) {
  selv_jvm_options o;
  selv_hook_options hook = SELV_HOOK_OPTIONS_INIT;
  selv_jvm_state_ *s;
  selv_jvm_shutdown_ *shutdown = NULL;
  jobject java_hook = NULL;
  JNIEnv *env;
  int attached, framed;
  jint rc;
  selv_status status;
  if (out == NULL) return SELV_E_NULL;
  *out = NULL;
  if (cache == NULL || vm == NULL) return SELV_E_NULL;
  if ((status = selv_jvm_options_read_(opts, &o)) != SELV_OK) return status;

  rc = selv_jvm_visit_(vm, &env, &attached);
  if (rc == JNI_EVERSION) return SELV_E_UNSUPPORTED;
  if (rc != JNI_OK) return SELV_E_HOOK_FAILED;
  if (SELV_JVM_CALL_(env)->ExceptionCheck(env)) return SELV_E_INVAL;
  s = (selv_jvm_state_ *)calloc(1, sizeof *s);
  if (s != NULL && (o.flags & SELV_JVM_SHUTDOWN_HOOK)) {
    s->shutdown = (selv_jvm_shutdown_ *)calloc(1, sizeof *s->shutdown);
    if (s->shutdown == NULL) {
      free(s);
      s = NULL;
    }
  }
  if (s == NULL) {
    selv_jvm_leave_(vm, attached);
    return SELV_E_NOMEM;
  }
  pthread_mutex_init(&s->mutex, NULL);
  s->vm = vm;
  s->frame_capacity = o.local_frame_capacity != 0 ? o.local_frame_capacity : 16;
  s->on_exception = o.on_exception;
  s->user = o.user;
  if (s->shutdown != NULL) {
    s->shutdown->refs = 1;
    shutdown = s->shutdown;
    s->shutdown->timeout_ns = o.shutdown_timeout_ns == 0              ? UINT64_C(5000000000)
                              : o.shutdown_timeout_ns == SELV_NO_WAIT ? 0
                                                                      : o.shutdown_timeout_ns;
  }

  framed = SELV_JVM_CALL_(env)->PushLocalFrame(env, 32) == 0;
  status = framed ? selv_jvm_prepare_(s, env, &o) : SELV_E_NOMEM;
  SELV_JVM_CALL_(env)->ExceptionClear(env);
  if (status == SELV_OK) {
    hook.flags = o.flags & ~SELV_JVM_SHUTDOWN_HOOK;
    hook.name = o.name != NULL ? o.name : "jvm";
    hook.on_start = selv_jvm_start_;
    hook.on_exit = selv_jvm_exit_;
    hook.before_job = selv_jvm_before_;
    hook.after_job = selv_jvm_after_;
    hook.user = s;
    hook.user_free = selv_jvm_free_;
    /* Once registered, the hook owns `s`. What we still need of it is held apart, and the Java hook has its own share of the
     * block before it can run, which is the moment it is added. */
    if (s->java_hook != NULL) {
      java_hook = SELV_JVM_CALL_(env)->NewLocalRef(env, s->java_hook);
      shutdown->refs = 2;
    }
    status = selv_hook_register(cache, &hook, out);
  }
  if (status != SELV_OK) {
    selv_jvm_drop_refs_(s, env);
    free(shutdown);
    pthread_mutex_destroy(&s->mutex);
    free(s);
  } else if (java_hook != NULL) {
    shutdown->hook = selv_hook_retain(*out);
    if (selv_jvm_runtime_(env, "addShutdownHook", "(Ljava/lang/Thread;)V", java_hook) < 0) {
      /* IllegalStateException: the JVM has begun to end. */
      SELV_JVM_CALL_(env)->ExceptionClear(env);
      /* Begins the removal; whoever detaches last frees `s`. */
      selv_hook_unregister(*out, 0, NULL);
      selv_hook_release(shutdown->hook);
      selv_jvm_shutdown_release_(shutdown);
      selv_hook_release(*out);
      *out = NULL;
      status = SELV_E_CLOSED;
    }
  }
  if (framed) SELV_JVM_CALL_(env)->PopLocalFrame(env, NULL);
  selv_jvm_leave_(vm, attached);
  return status;
}

/* selv_jvm_env: the calling thread's JNIEnv while `hook` is attached to it (in a job, in hooks registered after this one, and
 * between selv_thread_enter and _leave); NULL elsewhere. Same as selv_hook_slot(hook). Never blocks, never fails. */
static inline JNIEnv *selv_jvm_env(const selv_hook *hook) { return (JNIEnv *)selv_hook_slot(hook); }

#ifdef __cplusplus
}
#endif
#endif

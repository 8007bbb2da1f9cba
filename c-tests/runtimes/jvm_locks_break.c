/* jvm_locks_break: Java that ends while it holds a lock breaks it, and hangs nobody. A Java thread whose task is its own or one made
 * for it, one that dies of an exception, a C thread that visits Java, a job on an attached worker: each waiter, in C and in Java,
 * blocking and asynchronous, present and future, is told which lock and whose it was. */
#include "jvm_locks.h"

static JNIEnv *java;

/* Everybody who may wait for a lock. */
typedef struct audience {
  selv_lock *lock;
  waiter blocking[2];
  op_probe completed;
  jvm_lock_thread thread;
  selv_task task;
} audience;

static void audience_gather(audience *a, selv_lock *l) {
  a->lock = l;
  a->task = task_named("audience");
  waiter_start(&a->blocking[0], waiter_lock, l, 0);
  UNTIL(lock_waiting(l) == 1);
  op_probe_init(&a->completed);
  CHECK_STATUS(op_probe_lock(&a->completed, l, a->task), SELV_PENDING);
  a->thread = jvm_lock_thread_begin(java, "java waiter", l, 1, "releases");
  UNTIL(lock_waiting(l) == 3);
  waiter_start(&a->blocking[1], waiter_lock, l, 0);
  UNTIL(lock_waiting(l) == 4);
}

static void told_of(const char *detail, const char *lock, const char *owner) {
  if (strstr(detail, lock) == NULL || strstr(detail, owner) == NULL)
    check_fail(__FILE__, __LINE__, "\"%s\" does not name the lock '%s' and its owner '%s'", detail, lock, owner);
}

static void a_java_thread_was_told(jvm_lock_thread thread, const char *lock, const char *owner) {
  char detail[512];
  JVM_LOCK_THREAD_JOIN(java, thread);
  CHECK_STATUS(jvm_lock_thread_failure(java, thread, detail, sizeof detail), SELV_E_BROKEN);
  told_of(detail, lock, owner);
  jvm_lock_thread_forget(java, thread);
}

/* The four who waited, then three who come too late; then a Java thread finds the lock repaired. */
static void audience_was_told(audience *a, const char *lock, const char *owner) {
  jvm_lock_thread late;
  op_probe p;
  int i;
  for (i = 0; i < 2; i++) {
    WAITER_ENDED(&a->blocking[i], SELV_E_BROKEN);
    told_of(a->blocking[i].detail, lock, owner);
  }
  OP_GOT(&a->completed, 1, SELV_E_BROKEN);
  told_of(a->completed.detail, lock, owner);
  a_java_thread_was_told(a->thread, lock, owner);

  CHECK_STATUS(selv_lock_try_acquire(a->lock, a->task), SELV_E_BROKEN);
  CHECK_LAST_ERROR_HAS(lock);
  CHECK_LAST_ERROR_HAS(owner);
  CHECK_STATUS(selv_lock_acquire(a->lock, a->task, SELV_FOREVER), SELV_E_BROKEN);
  op_probe_init(&p);
  CHECK_STATUS(op_probe_lock(&p, a->lock, a->task), SELV_E_BROKEN);
  CHECK_LAST_ERROR_HAS(owner);
  a_java_thread_was_told(jvm_lock_thread_begin(java, "java late", a->lock, 0, "releases"), lock, owner);
  CHECK_EQ_U64(selv_lock_owner(a->lock), 0);
  CHECK_EQ_U64(lock_stats(a->lock).breaks, 1);

  CHECK_OK(selv_lock_repair(a->lock, a->task));
  late = jvm_lock_thread_begin(java, "java heir", a->lock, 0, "releases");
  UNTIL(lock_waiting(a->lock) == 1);
  CHECK_OK(selv_lock_release(a->lock, a->task));
  jvm_lock_thread_do(java, late, "go");
  JVM_LOCK_THREAD_JOIN(java, late);
  CHECK_EQ_U64(selv_lock_owner(a->lock), 0);
  jvm_lock_thread_forget(java, late);
  CHECK_OK(selv_task_exit(a->task, NULL));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_lock_free(a->lock));
  lock_grants_forget();
}

static void a_java_thread(const char *lock, const char *name, int has_own_task, const char *end) {
  selv_lock *l = lock_named(lock, 0);
  jvm_lock_thread owner = jvm_lock_thread_begin(java, name, l, has_own_task, end);
  audience a;
  CHECK_WAIT(&lock_granted, 1);
  CHECK_EQ_U64(selv_lock_owner(l), jvm_lock_thread_task(java, owner));
  audience_gather(&a, l);
  jvm_lock_thread_do(java, owner, "go");
  JVM_LOCK_THREAD_JOIN(java, owner);
  audience_was_told(&a, lock, name);
  jvm_lock_thread_forget(java, owner);
}

static void its_own_task(void) { a_java_thread("accounts", "java keeper", 0, "keeps"); }
static void a_task_made_for_it(void) { a_java_thread("orders", "request 17", 1, "keeps"); }
static void dies_of_an_exception(void) { a_java_thread("stock", "java victim", 0, "throws"); }
static void dies_of_an_exception_with_a_task_made_for_it(void) { a_java_thread("ledger", "request 18", 1, "throws"); }

/* ---- a C thread that is in Java for a while ---- */

typedef struct visit {
  selv_lock *lock;
  check_tally holds, go;
} visit;

static void take_in_java(JNIEnv *env, selv_lock *l) {
  J(env)->CallStaticVoidMethod(env, jvm_locks, J(env)->GetStaticMethodID(env, jvm_locks, "acquire", "(JJ)V"), (jlong)(uintptr_t)l,
                               (jlong)-1);
  JVM_NO_EXCEPTION(env);
}

static void *visitor(void *arg) {
  visit *v = (visit *)arg;
  void *env = NULL;
  pthread_setname_np(pthread_self(), "c visitor");
  CHECK(J(jvm)->AttachCurrentThread(jvm, &env, NULL) == JNI_OK);
  take_in_java((JNIEnv *)env, v->lock);
  /* Detaching ends the Java thread, not the task: the thread that owns the lock is still there. */
  CHECK(J(jvm)->DetachCurrentThread(jvm) == JNI_OK);
  CHECK_EQ_U64(selv_lock_owner(v->lock), selv_task_current());
  check_tally_add(&v->holds, 1);
  CHECK_WAIT(&v->go, 1);
  return NULL;
}

static void visit_init(visit *v, const char *lock) {
  v->lock = lock_named(lock, 0);
  check_tally_init(&v->holds);
  check_tally_init(&v->go);
}

static void a_c_thread_that_visited_java(void) {
  pthread_t thread;
  visit v;
  audience a;
  visit_init(&v, "prices");
  CHECK(pthread_create(&thread, NULL, visitor, &v) == 0);
  CHECK_WAIT(&v.holds, 1);
  audience_gather(&a, v.lock);
  check_tally_add(&v.go, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  audience_was_told(&a, "prices", "c visitor");
}

/* ---- a job on an attached worker ---- */

static selv_hook *hook;

static int32_t job_in_java(void *arg, void **out_value) {
  visit *v = (visit *)arg;
  (void)out_value;
  take_in_java(selv_jvm_env(hook), v->lock);
  CHECK_EQ_U64(selv_lock_owner(v->lock), selv_task_current());
  check_tally_add(&v->holds, 1);
  CHECK_WAIT(&v->go, 1);
  return 0;
}

static void a_job_on_an_attached_worker(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  visit v;
  audience a;
  visit_init(&v, "index");
  hook = jvm_register(c, NULL);
  job.fn = job_in_java;
  job.arg = &v;
  job.name = "night run";
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&v.holds, 1);
  audience_gather(&a, v.lock);
  check_tally_add(&v.go, 1);
  audience_was_told(&a, "index", "night run");
  /* The worker outlives its job's task, and is still the same Java thread. */
  CHECK_EQ_U64(probe_stats(c).workers, 1);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 1);
  jvm_unregister(hook);
  jvm_paired(hook);
  selv_hook_release(hook);
  probe_end(c);
}

int main(void) {
  java = jvm_start("-Xcheck:jni");
  jvm_locks_start(java);
  CHECK_RUN(its_own_task);
  CHECK_RUN(a_task_made_for_it);
  CHECK_RUN(dies_of_an_exception);
  CHECK_RUN(dies_of_an_exception_with_a_task_made_for_it);
  CHECK_RUN(a_c_thread_that_visited_java);
  CHECK_RUN(a_job_on_an_attached_worker);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  return 0;
}

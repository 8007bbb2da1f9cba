/* jvm_locks_interrupt: Thread.interrupt, mapped to selv_task_interrupt, ends a Java thread's wait for a lock as Java expects it: with
 * an InterruptedException and not holding. The others keep their places, and an interrupt that races a grant loses neither. */
#include "jvm_locks.h"

static JNIEnv *java;

static void interrupted_in_line(int has_own_task) {
  selv_lock *l = lock_named("counter", SELV_LOCK_STRICT_FIFO);
  selv_task holder = task_named("holder");
  waiter before, behind;
  jvm_lock_thread thread;
  CHECK_OK(selv_lock_try_acquire(l, holder));
  waiter_init(&before, waiter_lock, l, 0);
  waiter_init(&behind, waiter_lock, l, 0);
  before.then = waiter_unlock;
  behind.then = waiter_unlock;
  waiter_go(&before);
  UNTIL(lock_waiting(l) == 1);
  thread = jvm_lock_thread_begin(java, "java waiter", l, has_own_task, "releases");
  UNTIL(lock_waiting(l) == 2);
  waiter_go(&behind);
  UNTIL(lock_waiting(l) == 3);

  jvm_lock_thread_do(java, thread, "interrupt");
  JVM_LOCK_THREAD_JOIN(java, thread);
  CHECK(jvm_lock_thread_was_interrupted(java, thread));
  CHECK_EQ_U64(lock_waiting(l), 2);
  CHECK_EQ_U64(lock_stats(l).cancelled, 1);
  CHECK_EQ_U64(selv_lock_owner(l), holder);
  CHECK_EQ_U64(check_tally_get(&lock_granted), 0);

  CHECK_OK(selv_lock_release(l, holder));
  WAITER_ENDED(&before, SELV_OK);
  WAITER_ENDED(&behind, SELV_OK);
  CHECK(before.order < behind.order);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  jvm_lock_thread_forget(java, thread);
  CHECK_OK(selv_task_exit(holder, NULL));
  CHECK_OK(selv_lock_free(l));
}

static void a_thread_with_its_own_task(void) { interrupted_in_line(0); }
static void a_thread_with_a_task_made_for_it(void) { interrupted_in_line(1); }

/* The task's interrupt without the flag of Java is one that Java has dealt with elsewhere: the wait begins again. */
static void an_interrupt_that_java_has_had(void) {
  selv_lock *l = lock_named("counter", 0);
  selv_task holder = task_named("holder");
  jvm_lock_thread thread;
  CHECK_OK(selv_lock_try_acquire(l, holder));
  thread = jvm_lock_thread_begin(java, "java waiter", l, 1, "releases");
  UNTIL(lock_waiting(l) == 1);
  CHECK_OK(selv_task_interrupt(jvm_lock_thread_task(java, thread)));
  UNTIL(lock_stats(l).cancelled == 1 && lock_waiting(l) == 1);
  CHECK_OK(selv_lock_release(l, holder));
  CHECK_WAIT(&lock_granted, 1);
  CHECK_EQ_U64(selv_lock_owner(l), jvm_lock_thread_task(java, thread));
  jvm_lock_thread_do(java, thread, "go");
  JVM_LOCK_THREAD_JOIN(java, thread);
  CHECK(!jvm_lock_thread_was_interrupted(java, thread));
  jvm_lock_thread_forget(java, thread);
  CHECK_OK(selv_task_exit(holder, NULL));
  CHECK_OK(selv_lock_free(l));
  lock_grants_forget();
}

/* ---- storm ---- */

typedef struct contender {
  selv_lock *lock;
  int stop;
  uint64_t granted;
} contender;

static void *contend(void *arg) {
  contender *c = (contender *)arg;
  while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) {
    CHECK_OK(selv_lock_acquire(c->lock, SELV_TASK_CURRENT, SELV_FOREVER));
    lock_section_enter();
    c->granted++;
    lock_section_leave();
    CHECK_OK(selv_lock_release(c->lock, SELV_TASK_CURRENT));
  }
  return NULL;
}

static void storm(uint32_t flags) {
  selv_lock *l = lock_named("storm", flags);
  jclass storms = jvm_class(java, "selvedge/tests/LocksStorm");
  uint64_t turns = lock_section_turns;
  pthread_t thread;
  contender c;
  jlong granted;
  memset(&c, 0, sizeof c);
  c.lock = l;
  CHECK(pthread_create(&thread, NULL, contend, &c) == 0);
  granted = J(java)->CallStaticLongMethod(java, storms, J(java)->GetStaticMethodID(java, storms, "run", "(JIJ)J"), (jlong)(uintptr_t)l,
                                          (jint)4, (jlong)check_scaled(300));
  JVM_NO_EXCEPTION(java);
  __atomic_store_n(&c.stop, 1, __ATOMIC_RELEASE);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(lock_section_turns - turns, (uint64_t)granted + c.granted);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_EQ_U64(lock_stats(l).broken, 0);
  J(java)->DeleteGlobalRef(java, storms);
  CHECK_OK(selv_lock_free(l));
}

static void interrupts_race_grants(void) { storm(0); }
static void interrupts_race_grants_in_strict_order(void) { storm(SELV_LOCK_STRICT_FIFO); }

int main(void) {
  java = jvm_start(NULL);
  jvm_locks_start(java);
  CHECK_RUN(a_thread_with_its_own_task);
  CHECK_RUN(a_thread_with_a_task_made_for_it);
  CHECK_RUN(an_interrupt_that_java_has_had);
  CHECK_RUN(interrupts_race_grants);
  CHECK_RUN(interrupts_race_grants_in_strict_order);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  return 0;
}

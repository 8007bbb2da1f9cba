/* jvm_locks_virtual: virtual threads as tasks (platform threads before JDK 21). Hundreds wait for one lock on a few carriers, beside a C
 * thread that blocks, and none holds a carrier up; one that ends with the lock in hand breaks it; rings of two are refused once each. */
#include "jvm_locks.h"

static JNIEnv *java;
static jclass virtuals;

static jmethodID method(const char *name, const char *signature) {
  jmethodID found = J(java)->GetStaticMethodID(java, virtuals, name, signature);
  JVM_NO_EXCEPTION(java);
  return found;
}

typedef struct contender {
  selv_lock *lock;
  int stop;
  uint64_t turns;
} contender;

static void *contend(void *arg) {
  contender *c = (contender *)arg;
  while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) {
    CHECK_OK(selv_lock_acquire(c->lock, SELV_TASK_CURRENT, SELV_FOREVER));
    lock_section_enter();
    c->turns++;
    lock_section_leave();
    CHECK_OK(selv_lock_release(c->lock, SELV_TASK_CURRENT));
  }
  return NULL;
}

static void turns(uint32_t flags) {
  selv_lock *l = lock_named("turnstile", flags);
  uint64_t before = lock_section_turns, rounds = check_scaled(3);
  pthread_t thread;
  contender c;
  memset(&c, 0, sizeof c);
  c.lock = l;
  CHECK(pthread_create(&thread, NULL, contend, &c) == 0);
  J(java)->CallStaticVoidMethod(java, virtuals, method("turns", "(JIJ)V"), (jlong)(uintptr_t)l, (jint)300, (jlong)rounds);
  JVM_NO_EXCEPTION(java);
  __atomic_store_n(&c.stop, 1, __ATOMIC_RELEASE);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(lock_section_turns - before, 300 * rounds + c.turns);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_OK(selv_lock_free(l));
}

static void more_than_carriers(void) { turns(0); }
static void more_than_carriers_in_strict_order(void) { turns(SELV_LOCK_STRICT_FIFO); }

static void one_ends_with_the_lock_in_hand(void) {
  selv_lock *l = lock_named("drawer", 0);
  jstring told = (jstring)J(java)->CallStaticObjectMethod(java, virtuals, method("broken", "(JI)Ljava/lang/String;"),
                                                          (jlong)(uintptr_t)l, (jint)50);
  const char *text;
  JVM_NO_EXCEPTION(java);
  text = J(java)->GetStringUTFChars(java, told, NULL);
  if (strstr(text, "'drawer'") == NULL || strstr(text, "'virtual keeper'") == NULL)
    check_fail(__FILE__, __LINE__, "\"%s\" does not name the lock and its owner", text);
  J(java)->ReleaseStringUTFChars(java, told, text);
  J(java)->DeleteLocalRef(java, told);
  CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_BROKEN);
  CHECK_OK(selv_lock_free(l));
}

static void rings_of_two(void) {
  selv_lock *left = lock_named("left lock", 0), *right = lock_named("right lock", 0);
  uint64_t rounds = check_scaled(100);
  jlong refused = J(java)->CallStaticLongMethod(java, virtuals, method("rings", "(JJI)J"), (jlong)(uintptr_t)left, (jlong)(uintptr_t)right,
                                                (jint)rounds);
  JVM_NO_EXCEPTION(java);
  CHECK_EQ_U64(refused, rounds);
  CHECK_OK(selv_lock_free(left));
  CHECK_OK(selv_lock_free(right));
}

int main(void) {
  jboolean are_there;
  java = jvm_start(NULL);
  jvm_locks_start(java);
  virtuals = jvm_class(java, "selvedge/tests/LocksVirtual");
  are_there = J(java)->CallStaticBooleanMethod(java, virtuals, method("areThere", "()Z"));
  JVM_NO_EXCEPTION(java);
  puts(are_there == JNI_TRUE ? "on virtual threads" : "on platform threads");
  CHECK_RUN(more_than_carriers);
  CHECK_RUN(more_than_carriers_in_strict_order);
  CHECK_RUN(one_ends_with_the_lock_in_hand);
  CHECK_RUN(rings_of_two);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  return 0;
}

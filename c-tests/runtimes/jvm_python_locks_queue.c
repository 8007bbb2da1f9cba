/* jvm_python_locks_queue: one lock for Java threads, Java futures, asyncio tasks and C threads. They are granted it in the order in
 * which they came, each wait completed by the one before, whatever its language; the tickets say the same. One of any of them that
 * ends with the lock in hand breaks it for all the others. */
#include "python_locks.h"

#include "jvm_locks.h"

static JNIEnv *java;

/* ---- who queues ---- */

static void notes_and_unlocks(waiter *w) {
  lock_grant_note((const char *)w->other, 0, 0);
  waiter_unlock(w);
}

static void queue_c_thread(waiter *w, selv_lock *l, const char *name, uint64_t place) {
  waiter_init(w, waiter_lock, l, 0);
  w->other = (void *)(uintptr_t)name;
  w->then = notes_and_unlocks;
  waiter_go(w);
  UNTIL(lock_waiting(l) == place);
}

static void queue_asyncio(const char *begin, selv_lock *l, uint64_t place) {
  PY_DO(begin);
  UNTIL(lock_waiting(l) == place);
}

/* It lets go as soon as it has the lock. */
static jvm_lock_thread queue_java_thread(selv_lock *l, const char *name, uint64_t place) {
  jvm_lock_thread t = jvm_lock_thread_begin(java, name, l, place % 2 == 0, "releases");
  UNTIL(lock_waiting(l) == place);
  jvm_lock_thread_do(java, t, "go");
  return t;
}

/* A CompletableFuture whose next stage notes the grant and lets go, on whichever thread completes it. */
static jobject queue_java_future(selv_lock *l, selv_task task, const char *name, uint64_t place) {
  jmethodID later = J(java)->GetStaticMethodID(java, jvm_locks, "takesItsTurn",
                                               "(JJLjava/lang/String;)Ljava/util/concurrent/CompletableFuture;");
  jstring text = J(java)->NewStringUTF(java, name);
  jobject stage;
  JVM_NO_EXCEPTION(java);
  stage = J(java)->CallStaticObjectMethod(java, jvm_locks, later, (jlong)(uintptr_t)l, (jlong)task, text);
  JVM_NO_EXCEPTION(java);
  J(java)->DeleteLocalRef(java, text);
  UNTIL(lock_waiting(l) == place);
  return stage;
}

static void java_future_ended(jobject stage) {
  jclass type = J(java)->GetObjectClass(java, stage);
  jobject nothing = J(java)->CallObjectMethod(java, stage, J(java)->GetMethodID(java, type, "join", "()Ljava/lang/Object;"));
  JVM_NO_EXCEPTION(java);
  CHECK(nothing == NULL);
  J(java)->DeleteLocalRef(java, stage);
  J(java)->DeleteLocalRef(java, type);
}

static void java_thread_ended(jvm_lock_thread t) {
  JVM_LOCK_THREAD_JOIN(java, t);
  jvm_lock_thread_forget(java, t);
}

static void completed_by(uint64_t grant, uint64_t thread_of) {
  if (lock_grants[grant].granted_on != lock_grants[thread_of].runs_on)
    check_fail(__FILE__, __LINE__, "the wait of %s was not completed by the thread of %s", lock_grants[grant].name,
               lock_grants[thread_of].name);
}

/* ---- order ---- */

static void in_the_order_of_coming(void) {
  static const char *const order[] = { "java thread 1", "asyncio 1", "c thread 1", "asyncio 2", "java future", "java thread 2",
                                       "c thread 2",    "asyncio 3", "asyncio 4" };
  selv_lock *l = lock_named("turns", SELV_LOCK_STRICT_FIFO);
  selv_task holder = task_named("holder"), future_task = task_named("java future");
  jvm_lock_thread java1, java2;
  waiter c1, c2;
  jobject future;
  uint64_t i, last = 0;
  CHECK_OK(selv_lock_try_acquire(l, holder));
  py_give_lock("turns", l);
  java1 = queue_java_thread(l, "java thread 1", 1);
  queue_asyncio("one = begin('asyncio 1', takes_its_turn(turns, 'asyncio 1'))", l, 2);
  queue_c_thread(&c1, l, "c thread 1", 3);
  queue_asyncio("two = begin('asyncio 2', takes_its_turn(turns, 'asyncio 2'))", l, 4);
  future = queue_java_future(l, future_task, "java future", 5);
  java2 = queue_java_thread(l, "java thread 2", 6);
  queue_c_thread(&c2, l, "c thread 2", 7);
  queue_asyncio("three = begin('asyncio 3', takes_its_turn(turns, 'asyncio 3'))", l, 8);
  queue_asyncio("four = begin('asyncio 4', takes_its_turn(turns, 'asyncio 4'))", l, 9);
  CHECK_EQ_U64(check_tally_get(&lock_granted), 0);
  CHECK_OK(selv_lock_release(l, holder));
  CHECK_WAIT(&lock_granted, 9);
  for (i = 0; i < 9; i++) CHECK_STR(lock_grants[i].name, order[i]);
  for (i = 0; i < 9; i++) {
    if (lock_grants[i].ticket == 0) continue;
    CHECK(lock_grants[i].ticket > last);
    last = lock_grants[i].ticket;
  }
  /* Every wait counts, also one that was a blocking call: four places later is four tickets later. */
  CHECK_EQ_U64(lock_grants[3].ticket - lock_grants[1].ticket, 2);
  CHECK_EQ_U64(lock_grants[4].ticket - lock_grants[1].ticket, 3);
  CHECK_EQ_U64(lock_grants[7].ticket - lock_grants[1].ticket, 6);
  CHECK_EQ_U64(lock_grants[8].ticket - lock_grants[1].ticket, 7);
  completed_by(1, 0); /* asyncio by Java */
  completed_by(3, 2); /* asyncio by C */
  completed_by(7, 6);
  completed_by(8, 7); /* asyncio by asyncio */
  CHECK_EQ_U64(lock_grants[4].runs_on, lock_grants[3].runs_on); /* Java's stage by asyncio, on the loop's thread */
  PY_DO("for turn in (one, two, three, four): end(turn)");
  WAITER_ENDED(&c1, SELV_OK);
  WAITER_ENDED(&c2, SELV_OK);
  java_thread_ended(java1);
  java_thread_ended(java2);
  java_future_ended(future);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_OK(selv_task_exit(future_task, NULL));
  CHECK_OK(selv_task_exit(holder, NULL));
  CHECK_OK(selv_lock_free(l));
  lock_grants_forget();
}

/* ---- ends with the lock in hand ---- */

static void told_of(const char *detail, const char *owner) {
  if (strstr(detail, "drawer") == NULL || strstr(detail, owner) == NULL)
    check_fail(__FILE__, __LINE__, "\"%s\" does not name the lock 'drawer' and its owner '%s'", detail, owner);
}

/* The others wait: a Java thread, a C thread, an asyncio task. */
static void broken_for_the_others(selv_lock *l, const char *owner, void (*end)(void *arg), void *arg) {
  jvm_lock_thread thread;
  waiter c;
  char text[512];
  thread = jvm_lock_thread_begin(java, "java waiter", l, 1, "releases");
  UNTIL(lock_waiting(l) == 1);
  py_give_lock("drawer", l);
  snprintf(text, sizeof text, "fellow = begin('fellow', broken(drawer, 'told', '%s', 'drawer'))", owner);
  queue_asyncio(text, l, 2);
  waiter_start(&c, waiter_lock, l, 0);
  UNTIL(lock_waiting(l) == 3);
  end(arg);
  WAITER_ENDED(&c, SELV_E_BROKEN);
  told_of(c.detail, owner);
  JVM_LOCK_THREAD_JOIN(java, thread);
  CHECK_STATUS(jvm_lock_thread_failure(java, thread, text, sizeof text), SELV_E_BROKEN);
  told_of(text, owner);
  jvm_lock_thread_forget(java, thread);
  PY_DO("end(fellow)");
  CHECK_OK(selv_lock_repair(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_free(l));
  lock_grants_forget();
}

static void end_java_owner(void *arg) {
  jvm_lock_thread *owner = (jvm_lock_thread *)arg;
  jvm_lock_thread_do(java, *owner, "go");
  java_thread_ended(*owner);
}

static void a_java_owner_ends(void) {
  selv_lock *l = lock_named("drawer", 0);
  jvm_lock_thread owner = jvm_lock_thread_begin(java, "java keeper", l, 0, "keeps");
  CHECK_WAIT(&lock_granted, 1);
  broken_for_the_others(l, "java keeper", end_java_owner, &owner);
}

static void end_asyncio_owner(void *unused) {
  (void)unused;
  PY_DO("set_event(event); end(owner)");
}

static void an_asyncio_owner_ends(void) {
  selv_lock *l = lock_named("drawer", 0);
  py_give_lock("drawer", l);
  PY_DO("event = asyncio.Event(); owner = begin('asyncio keeper', holds_until(drawer, event, keeps=True))");
  CHECK_WAIT(&lock_granted, 1);
  broken_for_the_others(l, "asyncio keeper", end_asyncio_owner, NULL);
}

static void end_c_owner(void *arg) { CHECK_OK(selv_task_exit(*(selv_task *)arg, NULL)); }

static void a_c_owner_ends(void) {
  selv_lock *l = lock_named("drawer", 0);
  selv_task owner = task_named("c keeper");
  CHECK_OK(selv_lock_try_acquire(l, owner));
  broken_for_the_others(l, "c keeper", end_c_owner, &owner);
}

/* ---- storm ---- */

typedef struct contender {
  selv_lock *lock;
  uint64_t rounds;
} contender;

static void *contend(void *arg) {
  contender *c = (contender *)arg;
  uint64_t i;
  for (i = 0; i < c->rounds; i++) {
    CHECK_OK(selv_lock_acquire(c->lock, SELV_TASK_CURRENT, SELV_FOREVER));
    lock_section_enter();
    lock_section_leave();
    CHECK_OK(selv_lock_release(c->lock, SELV_TASK_CURRENT));
  }
  return NULL;
}

static void storm(uint32_t flags) {
  selv_lock *l = lock_named("storm", flags);
  jclass storms = jvm_class(java, "selvedge/tests/LocksStorm");
  uint64_t before = lock_section_turns;
  unsigned long long rounds = check_scaled(200);
  char code[160];
  pthread_t threads[2];
  contender c;
  int i;
  c.lock = l;
  c.rounds = rounds;
  py_give_lock("lock", l);
  for (i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, contend, &c) == 0);
  snprintf(code, sizeof code, "crowd = [begin(f'asyncio {i}', storm(lock, %llu)) for i in range(3)]", rounds);
  PY_DO(code);
  J(java)->CallStaticVoidMethod(java, storms, J(java)->GetStaticMethodID(java, storms, "turns", "(JIJ)V"), (jlong)(uintptr_t)l, (jint)2,
                                (jlong)rounds);
  JVM_NO_EXCEPTION(java);
  for (i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  PY_DO("for one in crowd: end(one)");
  CHECK_EQ_U64(lock_section_turns - before, 7 * rounds);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_EQ_U64(lock_stats(l).broken, 0);
  J(java)->DeleteGlobalRef(java, storms);
  CHECK_OK(selv_lock_free(l));
}

static void everybody_at_once(void) { storm(0); }
static void everybody_at_once_in_strict_order(void) { storm(SELV_LOCK_STRICT_FIFO); }

int main(void) {
  PyThreadState *main_state;
  java = jvm_start(NULL);
  jvm_locks_start(java);
  py_locks_start("locks_asyncio.py");
  PY_RUN("start_loop()");
  main_state = PyEval_SaveThread();
  CHECK_RUN(in_the_order_of_coming);
  CHECK_RUN(a_java_owner_ends);
  CHECK_RUN(an_asyncio_owner_ends);
  CHECK_RUN(a_c_owner_ends);
  CHECK_RUN(everybody_at_once);
  CHECK_RUN(everybody_at_once_in_strict_order);
  PyEval_RestoreThread(main_state);
  PY_RUN("stop_loop()");
  PY_FINALIZE();
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  return 0;
}

/* python_locks_asyncio: asyncio tasks and C threads on one lock (python/locks_asyncio.py). An asyncio task waits for a future that the
 * completion, on the C thread that lets go, completes through call_soon_threadsafe. Order of grants, cancelled waits, tasks that
 * end with the lock in hand, a ring on one loop, storms. */
#include "python_locks.h"

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

static void queue_asyncio(selv_lock *l, const char *begin, uint64_t place) {
  PY_DO(begin);
  UNTIL(lock_waiting(l) == place);
}

static void grants_are(const char *const *names, uint64_t count) {
  uint64_t i;
  CHECK_WAIT(&lock_granted, count);
  for (i = 0; i < count; i++) CHECK_STR(lock_grants[i].name, names[i]);
}

static void in_the_order_of_coming(void) {
  static const char *const order[] = { "c 1", "asyncio 1", "c 2", "asyncio 2", "asyncio 3" };
  selv_lock *l = lock_named("turns", SELV_LOCK_STRICT_FIFO);
  selv_task holder = task_named("holder");
  waiter c1, c2;
  CHECK_OK(selv_lock_try_acquire(l, holder));
  py_give_lock("turns", l);
  queue_c_thread(&c1, l, "c 1", 1);
  queue_asyncio(l, "one = begin('asyncio 1', takes_its_turn(turns, 'asyncio 1'))", 2);
  queue_c_thread(&c2, l, "c 2", 3);
  queue_asyncio(l, "two = begin('asyncio 2', takes_its_turn(turns, 'asyncio 2'))", 4);
  queue_asyncio(l, "three = begin('asyncio 3', takes_its_turn(turns, 'asyncio 3'))", 5);
  CHECK_OK(selv_lock_release(l, holder));
  PY_DO("end(one), end(two), end(three)");
  WAITER_ENDED(&c1, SELV_OK);
  WAITER_ENDED(&c2, SELV_OK);
  grants_are(order, 5);
  CHECK(lock_grants[1].ticket < lock_grants[3].ticket && lock_grants[3].ticket < lock_grants[4].ticket);
  /* The C threads completed the waits of the tasks behind them; the last was completed by the loop's own thread. */
  CHECK_EQ_U64(lock_grants[1].granted_on, (uint64_t)(uintptr_t)c1.thread);
  CHECK_EQ_U64(lock_grants[3].granted_on, (uint64_t)(uintptr_t)c2.thread);
  CHECK_EQ_U64(lock_grants[4].granted_on, lock_grants[4].runs_on);
  lock_grants_forget();
  CHECK_OK(selv_task_exit(holder, NULL));
  CHECK_OK(selv_lock_free(l));
}

/* A cancelled asyncio task leaves the queue, and the others move up. */
static void cancelled_in_the_queue(void) {
  static const char *const order[] = { "asyncio 2", "c" };
  selv_lock *l = lock_named("turns", SELV_LOCK_STRICT_FIFO);
  selv_task holder = task_named("holder");
  waiter c;
  CHECK_OK(selv_lock_try_acquire(l, holder));
  py_give_lock("turns", l);
  queue_asyncio(l, "one = begin('asyncio 1', takes_its_turn(turns, 'asyncio 1'))", 1);
  queue_asyncio(l, "two = begin('asyncio 2', takes_its_turn(turns, 'asyncio 2'))", 2);
  queue_c_thread(&c, l, "c", 3);
  PY_DO("assert one.cancel()");
  UNTIL(lock_waiting(l) == 2);
  CHECK_EQ_U64(lock_stats(l).cancelled, 1);
  CHECK_OK(selv_lock_release(l, holder));
  PY_DO("end(two)");
  WAITER_ENDED(&c, SELV_OK);
  grants_are(order, 2);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  lock_grants_forget();
  CHECK_OK(selv_task_exit(holder, NULL));
  CHECK_OK(selv_lock_free(l));
}

/* ---- ends with the lock in hand ---- */

static void dies_holding(const char *keeper, const char *begin, const char *ending) {
  selv_lock *l = lock_named("drawer", 0);
  waiter c;
  char code[160];
  py_give_lock("drawer", l);
  PY_DO(begin);
  CHECK_WAIT(&lock_granted, 1);
  CHECK_STR(lock_grants[0].name, keeper);
  snprintf(code, sizeof code, "fellow = begin('fellow', broken(drawer, 'told', '%s', 'drawer'))", keeper);
  queue_asyncio(l, code, 1);
  waiter_start(&c, waiter_lock, l, 0);
  UNTIL(lock_waiting(l) == 2);
  PY_DO(ending);
  WAITER_ENDED(&c, SELV_E_BROKEN);
  CHECK(strstr(c.detail, "drawer") != NULL && strstr(c.detail, keeper) != NULL);
  PY_DO("end(fellow)");
  CHECK_STR(lock_grants[1].name, "told");
  CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_BROKEN);
  CHECK_LAST_ERROR_HAS(keeper);
  snprintf(code, sizeof code, "end(begin('late', broken(drawer, 'told late', '%s', 'drawer')))", keeper);
  PY_DO(code);
  CHECK_OK(selv_lock_repair(l, SELV_TASK_CURRENT));
  queue_asyncio(l, "heir = begin('heir', takes_its_turn(drawer, 'heir'))", 1);
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  PY_DO("end(heir)");
  lock_grants_forget();
  CHECK_OK(selv_lock_free(l));
}

static void a_task_that_returns(void) {
  dies_holding("forgetful", "event = asyncio.Event(); one = begin('forgetful', holds_until(drawer, event, keeps=True))",
               "set_event(event); end(one)");
}

static void a_task_that_is_cancelled(void) {
  dies_holding("cancelled", "one = begin('cancelled', holds_until(drawer, asyncio.Event()))", "assert one.cancel()");
}

static void a_ring_on_one_loop(void) {
  selv_lock *left = lock_named("left lock", 0), *right = lock_named("right lock", 0);
  py_give_lock("left", left);
  py_give_lock("right", right);
  PY_DO("end(begin('parent', closes_a_ring_on_one_loop(left, right)))");
  CHECK_OK(selv_lock_free(left));
  CHECK_OK(selv_lock_free(right));
}

/* ---- storms ---- */

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

/* Sets `turns` in Python to what asyncio says that its tasks had. */
static void storm(uint32_t flags, const char *code) {
  selv_lock *l = lock_named("storm", flags);
  uint64_t before = lock_section_turns;
  pthread_t thread;
  contender c;
  long turns;
  PyGILState_STATE gil;
  memset(&c, 0, sizeof c);
  c.lock = l;
  py_give_lock("lock", l);
  CHECK(pthread_create(&thread, NULL, contend, &c) == 0);
  PY_DO(code);
  __atomic_store_n(&c.stop, 1, __ATOMIC_RELEASE);
  CHECK(pthread_join(thread, NULL) == 0);
  gil = PyGILState_Ensure();
  turns = PY_LONG("turns");
  PyGILState_Release(gil);
  CHECK_EQ_U64(lock_section_turns - before, c.turns + (uint64_t)turns);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_EQ_U64(lock_stats(l).broken, 0);
  CHECK_OK(selv_lock_free(l));
}

static void tasks_and_a_thread(uint32_t flags) {
  char code[256];
  unsigned long long rounds = check_scaled(100);
  snprintf(code, sizeof code,
           "crowd = [begin(f'asyncio {i}', storm(lock, %llu)) for i in range(6)]\n"
           "for one in crowd: end(one)\n"
           "turns = 6 * %llu\n",
           rounds, rounds);
  storm(flags, code);
}

static void tasks_and_a_thread_eventually(void) { tasks_and_a_thread(0); }
static void tasks_and_a_thread_strictly(void) { tasks_and_a_thread(SELV_LOCK_STRICT_FIFO); }

static void cancels_race_grants(void) {
  char code[128];
  snprintf(code, sizeof code, "turns = end(begin('storm', cancel_storm(lock, 6, %llu)))", (unsigned long long)check_scaled(100));
  storm(SELV_LOCK_STRICT_FIFO, code);
}

int main(void) {
  PyThreadState *main_state;
  py_locks_start("locks_asyncio.py");
  PY_RUN("start_loop()");
  main_state = PyEval_SaveThread();
  CHECK_RUN(in_the_order_of_coming);
  CHECK_RUN(cancelled_in_the_queue);
  CHECK_RUN(a_task_that_returns);
  CHECK_RUN(a_task_that_is_cancelled);
  CHECK_RUN(a_ring_on_one_loop);
  CHECK_RUN(tasks_and_a_thread_eventually);
  CHECK_RUN(tasks_and_a_thread_strictly);
  CHECK_RUN(cancels_race_grants);
  PyEval_RestoreThread(main_state);
  PY_RUN("stop_loop()");
  PY_FINALIZE();
  return 0;
}

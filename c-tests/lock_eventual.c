/* lock_eventual.c: the default lock lets a running thread overtake, for speed, and still everybody gets it: a waiter that lost stays
 * in front, and is handed the lock when it has waited long. What it protects is exact. */
#include "waiters.h"

static selv_lock *l;
static int hogs_stop;
static uint64_t counter, hogs_took;

/* Lets go and takes again with nothing between: a waiter that had to be awake at the right moment would never get it. */
static void *hogs(void *arg) {
  selv_task t = task_named("hog");
  (void)arg;
  while (!__atomic_load_n(&hogs_stop, __ATOMIC_ACQUIRE)) {
    int i;
    CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER));
    counter++;
    hogs_took++;
    for (i = 0; i < 200; i++) __asm__ volatile("" ::: "memory");
    CHECK_OK(selv_lock_release(l, t));
  }
  CHECK_OK(selv_task_exit(t, NULL));
  return NULL;
}

static void *comes_now_and_then(void *arg) {
  selv_task t = task_named("modest");
  uint64_t i, rounds = check_scaled(50);
  (void)arg;
  for (i = 0; i < rounds; i++) {
    CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER));
    counter++;
    CHECK_OK(selv_lock_release(l, t));
  }
  CHECK_OK(selv_task_exit(t, NULL));
  return NULL;
}

static void nobody_starves(void) {
  enum { MODEST = 3 };
  pthread_t modest[MODEST], hog[2];
  int i;
  l = lock_named("popular", 0);
  for (i = 0; i < 2; i++) CHECK(pthread_create(&hog[i], NULL, hogs, NULL) == 0);
  for (i = 0; i < MODEST; i++) CHECK(pthread_create(&modest[i], NULL, comes_now_and_then, NULL) == 0);
  for (i = 0; i < MODEST; i++) CHECK(pthread_join(modest[i], NULL) == 0); /* the test's timeout is the judge */
  __atomic_store_n(&hogs_stop, 1, __ATOMIC_RELEASE);
  for (i = 0; i < 2; i++) CHECK(pthread_join(hog[i], NULL) == 0);
  CHECK_EQ_U64(counter, hogs_took + MODEST * check_scaled(50));
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_OK(selv_lock_free(l));
}

/* An asynchronous waiter needs no luck at all. */
static void *asks_asynchronously(void *arg) {
  selv_task t = task_named("asynchronous");
  uint64_t i, rounds = check_scaled(50);
  (void)arg;
  for (i = 0; i < rounds; i++) {
    op_probe p;
    selv_status s;
    op_probe_init(&p);
    s = op_probe_lock(&p, l, t);
    if (s == SELV_PENDING) OP_GOT(&p, 1, SELV_OK);
    else CHECK_OK(s);
    counter++;
    CHECK_OK(selv_lock_release(l, t));
  }
  CHECK_OK(selv_task_exit(t, NULL));
  return NULL;
}

static void nor_does_an_async_waiter(void) {
  pthread_t thread[2], hog;
  int i;
  l = lock_named("popular", 0);
  counter = hogs_took = 0;
  __atomic_store_n(&hogs_stop, 0, __ATOMIC_RELEASE);
  CHECK(pthread_create(&hog, NULL, hogs, NULL) == 0);
  for (i = 0; i < 2; i++) CHECK(pthread_create(&thread[i], NULL, asks_asynchronously, NULL) == 0);
  for (i = 0; i < 2; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  __atomic_store_n(&hogs_stop, 1, __ATOMIC_RELEASE);
  CHECK(pthread_join(hog, NULL) == 0);
  CHECK_EQ_U64(counter, hogs_took + 2 * check_scaled(50));
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_OK(selv_lock_free(l));
}

/* A queue that is only let go of once empties by itself: each one that is woken takes it, and lets go to the next. */
static void a_queue_empties(void) {
  enum { WAITERS = 32 };
  waiter w[WAITERS];
  selv_task owner = task_named("owner"), task[WAITERS];
  int i;
  l = lock_named("queue", 0);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (i = 0; i < WAITERS; i++) {
    task[i] = task_named("waiter");
    waiter_init(&w[i], waiter_lock, l, task[i]);
    w[i].then = waiter_unlock;
    waiter_go(&w[i]);
  }
  UNTIL(lock_waiting(l) == WAITERS);
  CHECK_OK(selv_lock_release(l, owner));
  for (i = 0; i < WAITERS; i++) WAITER_ENDED(&w[i], SELV_OK);
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  for (i = 0; i < WAITERS; i++) CHECK_OK(selv_task_exit(task[i], NULL));
}

/* A waiter that is woken while its time runs out must pass the wake on, or the next one sleeps with the lock free. */
static void a_woken_waiter_that_times_out(void) {
  uint64_t i, rounds = check_scaled(100);
  selv_task owner = task_named("owner"), hasty = task_named("hasty"), patient = task_named("patient");
  l = lock_named("narrow", 0);
  for (i = 0; i < rounds; i++) {
    waiter w, behind;
    uint64_t until;
    CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
    waiter_init(&w, waiter_lock, l, hasty);
    w.timeout_ns = 200000 + i * 3000;
    w.then = waiter_unlock;
    waiter_init(&behind, waiter_lock, l, patient);
    behind.then = waiter_unlock;
    until = check_now_ns() + w.timeout_ns;
    waiter_go(&w);
    waiter_go(&behind);
    while (check_now_ns() < until) sched_yield(); /* the race is with the clock itself */
    CHECK_OK(selv_lock_release(l, owner));
    WAITER_JOIN(&w);
    CHECK(w.status == SELV_OK || w.status == SELV_E_TIMEDOUT);
    WAITER_ENDED(&behind, SELV_OK);
    CHECK_EQ_U64(selv_lock_owner(l), 0);
  }
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(hasty, NULL));
  CHECK_OK(selv_task_exit(patient, NULL));
}

int main(void) {
  CHECK_RUN(nobody_starves);
  CHECK_RUN(nor_does_an_async_waiter);
  CHECK_RUN(a_queue_empties);
  CHECK_RUN(a_woken_waiter_that_times_out);
  return 0;
}

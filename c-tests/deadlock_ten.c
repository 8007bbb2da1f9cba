/* deadlock_ten.c: ten locks in a circle and ten threads, each of which takes one lock and then the next, as in CPython's tests of its
 * import locks. When all have their first lock, exactly one is refused its second, and all end. With nine threads nobody is. */
#include "waiters.h"

#define LOCKS 10

static selv_lock *lock[LOCKS];
static pthread_barrier_t all_have_one;
static int refused, succeeded;

static void *takes_two(void *arg) {
  uintptr_t i = (uintptr_t)arg;
  selv_lock *first = lock[i], *second = lock[(i + 1) % LOCKS];
  selv_status s;
  CHECK_OK(selv_lock_acquire(first, SELV_TASK_CURRENT, SELV_FOREVER));
  pthread_barrier_wait(&all_have_one);
  s = selv_lock_acquire(second, SELV_TASK_CURRENT, SELV_FOREVER);
  if (s == SELV_E_DEADLOCK) {
    int each;
    for (each = 0; each < LOCKS; each++) {
      char name[16];
      snprintf(name, sizeof name, "'lock %d'", each);
      CHECK_RING_HAS(name);
    }
    __atomic_add_fetch(&refused, 1, __ATOMIC_SEQ_CST);
  } else {
    CHECK_OK(s);
    CHECK_OK(selv_lock_release(second, SELV_TASK_CURRENT));
    __atomic_add_fetch(&succeeded, 1, __ATOMIC_SEQ_CST);
  }
  CHECK_OK(selv_lock_release(first, SELV_TASK_CURRENT));
  return NULL;
}

static void round_of(int threads, uint32_t flags) {
  pthread_t thread[LOCKS];
  uintptr_t i;
  refused = succeeded = 0;
  CHECK(pthread_barrier_init(&all_have_one, NULL, (unsigned)threads) == 0);
  for (i = 0; i < LOCKS; i++) {
    char name[16];
    snprintf(name, sizeof name, "lock %d", (int)i);
    lock[i] = lock_named(name, flags);
  }
  for (i = 0; i < (uintptr_t)threads; i++) CHECK(pthread_create(&thread[i], NULL, takes_two, (void *)i) == 0);
  for (i = 0; i < (uintptr_t)threads; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  CHECK_EQ_U64(refused, threads == LOCKS);
  CHECK_EQ_U64(succeeded, threads - refused);
  for (i = 0; i < LOCKS; i++) CHECK_OK(selv_lock_free(lock[i]));
  CHECK(pthread_barrier_destroy(&all_have_one) == 0);
}

static void rounds(uint32_t flags) {
  uint64_t i;
  for (i = 0; i < check_scaled(40); i++) {
    round_of(LOCKS, flags);
    round_of(LOCKS - 1, flags);
  }
}

static void eventual(void) { rounds(0); }
static void strict(void) { rounds(SELV_LOCK_STRICT_FIFO); }
static void recursive(void) { rounds(SELV_LOCK_RECURSIVE); }

int main(void) {
  CHECK_RUN(eventual);
  CHECK_RUN(strict);
  CHECK_RUN(recursive);
  return 0;
}

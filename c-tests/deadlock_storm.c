/* deadlock_storm.c: two storms. Where everybody takes locks in one order no ring can be, and no call may be refused as one. Where everybody
 * takes them in any order rings are made all the time, and each must be found, or the storm would stand still. */
/* timeout: 300 */
#include "waiters.h"

#define LOCKS 8
#define THREADS 6

static selv_lock *lock[LOCKS];
static uint64_t guarded[LOCKS]; /* protected by the lock of the same number */
static uint64_t steps, in_order, taken, refused, refused_in_any_order;

static uint64_t chance(uint64_t *seed, uint64_t n) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return (*seed >> 11) % n;
}

/* Takes one lock in one of the ways; what it gets in the end, if it had to wait. */
static selv_status takes(int i, selv_task t, uint64_t *seed) {
  op_probe p;
  selv_status s;
  switch (chance(seed, 5)) {
    case 0: return selv_lock_acquire(lock[i], t, chance(seed, 200000));
    case 1:
      op_probe_init(&p);
      s = op_probe_lock(&p, lock[i], t);
      if (s != SELV_PENDING) return s;
      CHECK_WAIT(&p.called, 1);
      return p.last.status;
    default: return selv_lock_acquire(lock[i], t, SELV_FOREVER);
  }
}

static void *storms(void *arg) {
  uint64_t seed = UINT64_C(0x9e3779b97f4a7c15) * ((uint64_t)(uintptr_t)arg + 1), i;
  selv_task t = task_named("stormer");
  for (i = 0; i < steps; i++) {
    int held[LOCKS], n = 0, at = -1, k, wanted = 2 + (int)chance(&seed, 3);
    for (k = 0; k < wanted; k++) {
      selv_status s;
      int j;
      if (in_order) {
        at += 1 + (int)chance(&seed, 3);
        if (at >= LOCKS) break;
      } else {
        at = (int)chance(&seed, LOCKS);
        for (j = 0; j < n && held[j] != at; j++) {
        }
        if (j < n) continue; /* has it already */
      }
      s = takes(at, t, &seed);
      if (s == SELV_OK) {
        guarded[at]++;
        held[n++] = at;
        __atomic_add_fetch(&taken, 1, __ATOMIC_RELAXED);
      } else if (s == SELV_E_DEADLOCK) { /* gives up what it has, so that the others go on */
        CHECK(!in_order);
        CHECK_RING_HAS("stormer");
        __atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
        break;
      } else {
        CHECK_STATUS(s, SELV_E_TIMEDOUT);
      }
      if (chance(&seed, 2)) sched_yield(); /* lets another one in between two locks: few would meet otherwise */
      /* Trying never waits: it may be done in any order, and is no ring. */
      if (chance(&seed, 4) == 0) {
        int other = (int)chance(&seed, LOCKS);
        s = selv_lock_try_acquire(lock[other], t);
        for (j = 0; j < n && held[j] != other; j++) {
        }
        if (j < n) {
          CHECK_STATUS(s, SELV_E_DEADLOCK); /* its own: that is another thing */
        } else if (s == SELV_OK) {
          guarded[other]++;
          __atomic_add_fetch(&taken, 1, __ATOMIC_RELAXED);
          CHECK_OK(selv_lock_release(lock[other], t));
        } else {
          CHECK_STATUS(s, SELV_E_WOULD_BLOCK);
        }
      }
    }
    while (n > 0) { /* in any order */
      int j = (int)chance(&seed, (uint64_t)n);
      CHECK_OK(selv_lock_release(lock[held[j]], t));
      held[j] = held[--n];
    }
  }
  CHECK_OK(selv_task_exit(t, NULL));
  return NULL;
}

static void storm(int ordered, uint32_t flags) {
  pthread_t thread[THREADS];
  uint64_t all = 0, deadlocks = 0;
  uintptr_t i;
  steps = check_scaled(ordered ? 3000 : 1500);
  in_order = (uint64_t)ordered;
  taken = refused = 0;
  memset(guarded, 0, sizeof guarded);
  for (i = 0; i < LOCKS; i++) lock[i] = lock_named("storm lock", flags);
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&thread[i], NULL, storms, (void *)i) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  for (i = 0; i < LOCKS; i++) {
    all += guarded[i];
    deadlocks += lock_stats(lock[i]).deadlocks;
    CHECK_EQ_U64(lock_waiting(lock[i]), 0);
    CHECK_EQ_U64(selv_lock_owner(lock[i]), 0);
    CHECK_OK(selv_lock_free(lock[i]));
  }
  printf("%llu taken, %llu refused\n", (unsigned long long)taken, (unsigned long long)refused);
  CHECK_EQ_U64(all, taken);
  if (ordered) CHECK_EQ_U64(refused, 0);
  else CHECK_EQ_U64(deadlocks, refused);
  refused_in_any_order += refused;
}

static void in_one_order(void) { storm(1, 0); }
static void in_one_order_strictly(void) { storm(1, SELV_LOCK_STRICT_FIFO); }
static void in_one_order_with_timed_edges(void) { storm(1, SELV_LOCK_TIMED_EDGES); }
static void in_any_order(void) { storm(0, 0); }
static void in_any_order_strictly(void) { storm(0, SELV_LOCK_STRICT_FIFO); }
static void in_any_order_with_timed_edges(void) { storm(0, SELV_LOCK_TIMED_EDGES); }

int main(void) {
  CHECK_RUN(in_one_order);
  CHECK_RUN(in_one_order_strictly);
  CHECK_RUN(in_one_order_with_timed_edges);
  CHECK_RUN(in_any_order);
  CHECK_RUN(in_any_order_strictly);
  CHECK_RUN(in_any_order_with_timed_edges);
  CHECK(refused_in_any_order > 0); /* else nothing was tried */
  return 0;
}

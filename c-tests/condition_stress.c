/* condition_stress.c: threads and operations wait on one condition and notify it by chance, with time limits, interrupts, cancels, and in
 * the second part owners that die. Each notify reaches one waiter, whoever waits comes back, and who is said to hold the lock does. */
/* timeout: 300 */
#include "waiters.h"

#define THREADS 5

static selv_lock *l;
static selv_condition *c;
static int wild;
static uint64_t steps;

static uint64_t counter, inside; /* protected by the lock */
static uint64_t worked, reached, timed_out, cancelled, broken, deaths, repaired, running;
static uint64_t task_of[THREADS];

static void count(uint64_t *what) { __atomic_add_fetch(what, 1, __ATOMIC_SEQ_CST); }

static uint64_t chance(uint64_t *seed, uint64_t n) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return (*seed >> 11) % n;
}

static void work(selv_task t) {
  CHECK_EQ_U64(selv_lock_owner(l), t);
  CHECK(inside == 0);
  inside = 1;
  counter++;
  inside = 0;
  count(&worked);
}

typedef struct actor {
  int number;
  uint64_t seed;
  selv_task task;
} actor;

static void be_somebody(actor *me) {
  me->task = task_named("actor");
  __atomic_store_n(&task_of[me->number], me->task, __ATOMIC_SEQ_CST);
}

/* 1 with the lock, 0 when it is broken and another one mends it. */
static int enters(actor *me) {
  selv_status s = selv_lock_acquire(l, me->task, SELV_FOREVER);
  while (s == SELV_E_CANCELLED) s = selv_lock_acquire(l, me->task, SELV_FOREVER); /* an interrupt that was meant for a wait */
  if (s == SELV_E_BROKEN) {
    CHECK(wild);
    s = selv_lock_repair(l, me->task);
    if (s == SELV_E_INVAL) return 0;
    CHECK_OK(s);
    count(&repaired);
  }
  CHECK_OK(s);
  work(me->task);
  return 1;
}

static void leaves(actor *me) {
  work(me->task);
  if (wild && chance(&me->seed, 60) == 0) {
    count(&deaths);
    CHECK_OK(selv_task_exit(me->task, NULL));
    be_somebody(me);
  } else {
    CHECK_OK(selv_lock_release(l, me->task));
  }
}

static void came_back(selv_status s, int holds) {
  switch (s) {
    case SELV_OK: count(&reached); break;
    case SELV_E_TIMEDOUT: count(&timed_out); break;
    case SELV_E_CANCELLED: count(&cancelled); break;
    default:
      CHECK_STATUS(s, SELV_E_BROKEN);
      CHECK(wild);
      count(&broken);
  }
  CHECK(holds == (s != SELV_E_BROKEN));
}

static void waits(actor *me) {
  static const uint64_t times[] = { 0, 2000, 50000, 500000, SELV_FOREVER };
  int32_t holds = 99;
  selv_status s;
  if (!enters(me)) return;
  s = selv_condition_wait(c, me->task, times[chance(&me->seed, 5)], &holds);
  came_back(s, holds);
  if (holds) leaves(me);
}

static void waits_asynchronously(actor *me) {
  selv_completion completion;
  op_probe p;
  op_probe_init(&p);
  completion = op_probe_completion(&p);
  if (!enters(me)) return;
  CHECK_STATUS(selv_condition_wait_async(c, me->task, &completion, &p.op), SELV_PENDING);
  if (chance(&me->seed, 2)) {
    selv_status s = selv_op_cancel(p.op);
    CHECK(s == SELV_OK || s == SELV_E_TOO_LATE);
  }
  CHECK_WAIT(&p.called, 1);
  came_back(p.last.status, p.last.holds_lock);
  if (p.last.holds_lock) leaves(me);
}

static void notifies(actor *me) {
  if (!enters(me)) return;
  if (chance(&me->seed, 8) == 0) CHECK_OK(selv_condition_notify_all(c, me->task));
  else CHECK_OK(selv_condition_notify(c, me->task, 1 + chance(&me->seed, 3)));
  leaves(me);
}

static void *acts(void *arg) {
  actor *me = (actor *)arg;
  uint64_t i;
  be_somebody(me);
  for (i = 0; i < steps; i++) {
    selv_status s;
    switch (chance(&me->seed, 8)) {
      case 0:
      case 1: waits(me); break;
      case 2: waits_asynchronously(me); break;
      case 3:
        s = selv_task_interrupt(__atomic_load_n(&task_of[chance(&me->seed, THREADS)], __ATOMIC_SEQ_CST));
        CHECK(s == SELV_OK || s == SELV_E_STALE);
        break;
      default: notifies(me); break;
    }
  }
  CHECK_OK(selv_task_exit(me->task, NULL));
  __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

/* When the others have done their steps there is nobody else left to wake the last ones. */
static void wakes_the_last(void) {
  while (__atomic_load_n(&running, __ATOMIC_SEQ_CST) != 0) {
    selv_status s = selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER);
    if (s == SELV_E_CANCELLED) continue;
    if (s == SELV_E_BROKEN) s = selv_lock_repair(l, SELV_TASK_CURRENT);
    if (s == SELV_OK) {
      CHECK_OK(selv_condition_notify_all(c, SELV_TASK_CURRENT));
      CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
    } else {
      CHECK_STATUS(s, SELV_E_INVAL);
    }
    check_sleep_ms(1); /* a beat, not a wait for anything */
  }
}

static void storm(uint32_t flags, int with_deaths) {
  pthread_t thread[THREADS];
  actor actors[THREADS];
  selv_condition_stats s;
  int i;
  l = lock_named("guard", flags);
  c = condition_on(l, "bell");
  wild = with_deaths;
  steps = check_scaled(4000);
  counter = inside = worked = reached = timed_out = cancelled = broken = deaths = repaired = 0;
  running = THREADS;
  for (i = 0; i < THREADS; i++) {
    actors[i].number = i;
    actors[i].seed = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(i + 1) + flags;
    task_of[i] = selv_task_current();
  }
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&thread[i], NULL, acts, &actors[i]) == 0);
  wakes_the_last();
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  s = condition_stats(c);
  printf("%llu reached of %llu notified, %llu timed out, %llu cancelled, %llu broken, %llu died\n", (unsigned long long)reached,
         (unsigned long long)s.notified, (unsigned long long)timed_out, (unsigned long long)cancelled,
         (unsigned long long)broken, (unsigned long long)deaths);
  CHECK_EQ_U64(s.waiting, 0);
  CHECK_EQ_U64(counter, worked);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(lock_waiting(l), 0);
  if (wild) CHECK(reached <= s.notified && reached + broken >= s.notified); /* some break on their way to the lock */
  else CHECK_EQ_U64(reached, s.notified);
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
}

static void calm(void) { storm(0, 0); }
static void calm_and_strict(void) { storm(SELV_LOCK_STRICT_FIFO, 0); }
static void with_owners_that_die(void) { storm(0, 1); }
static void with_owners_that_die_strictly(void) { storm(SELV_LOCK_STRICT_FIFO, 1); }

int main(void) {
  CHECK_RUN(calm);
  CHECK_RUN(calm_and_strict);
  CHECK_RUN(with_owners_that_die);
  CHECK_RUN(with_owners_that_die_strictly);
  return 0;
}

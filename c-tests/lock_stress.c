/* lock_stress.c: threads and asynchronous tasks on one lock, with time limits, interrupts, cancels, abandons, owners that exit and are
 * succeeded, all by chance. Everything is counted: each grant is released, broken or handed on; no waiter is lost, so that all
 * threads end; what the lock protects is exact. */
/* timeout: 300 */
#include "waiters.h"

#define THREADS 6

static selv_lock *l;
static int robust;
static uint64_t steps;

static uint64_t counter, inside;                    /* protected by the lock */
static uint64_t grants, releases, deaths, inherits; /* counted by the threads, atomically */
static uint64_t refused_by_time, cancelled, abandoned, repaired;
static uint64_t died_idle; /* granted to an operation whose task ended before it did any work */
static uint64_t task_of[THREADS]; /* for those who interrupt each other */

static void count(uint64_t *what) { __atomic_add_fetch(what, 1, __ATOMIC_SEQ_CST); }

static uint64_t chance(uint64_t *seed, uint64_t n) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return (*seed >> 11) % n;
}

/* What one does who has the lock: nobody else is there, and nothing that one does there gets lost. */
static void work(uint64_t turns) {
  uint64_t was = counter;
  CHECK(inside == 0);
  inside = 1;
  while (turns-- > 0) __asm__ volatile("" ::: "memory");
  if (was % 16 == 0) sched_yield(); /* else few would find it held */
  CHECK(counter == was);
  counter = was + 1;
  inside = 0;
}

static void took(selv_status s, selv_task t) {
  count(&grants);
  if (s == SELV_OWNER_DIED) {
    count(&inherits);
    CHECK_OK(selv_lock_make_consistent(l, t));
  }
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

/* Has the lock: works, and lets go of it, or dies with it. */
static void has_it(actor *me, selv_status s) {
  took(s, me->task);
  work(chance(&me->seed, 300));
  if (chance(&me->seed, 50) == 0) {
    count(&deaths);
    CHECK_OK(selv_task_exit(me->task, NULL));
    be_somebody(me);
  } else {
    count(&releases);
    CHECK_OK(selv_lock_release(l, me->task));
  }
}

static void did_not_get_it(actor *me, selv_status s) {
  switch (s) {
    case SELV_E_TIMEDOUT: count(&refused_by_time); break;
    case SELV_E_CANCELLED: count(&cancelled); break;
    case SELV_E_WOULD_BLOCK: break;
    case SELV_E_BROKEN:
      CHECK(!robust);
      s = selv_lock_repair(l, me->task);
      if (s == SELV_OK) {
        count(&repaired);
        has_it(me, SELV_OK);
      } else {
        CHECK_STATUS(s, SELV_E_INVAL); /* another one was first */
      }
      break;
    default: CHECK_OK(s);
  }
}

static void works_in_the_callback(op_probe *p, const selv_completed *c) {
  if (c->status < 0) return;
  took(c->status, p->task);
  work(20);
  count(&releases);
  CHECK_OK(selv_lock_release(l, p->task));
}

static void asks_asynchronously(actor *me) {
  op_probe p;
  selv_status s;
  uint64_t what = chance(&me->seed, 8);
  op_probe_init(&p);
  if (what < 3) p.then = works_in_the_callback;
  s = op_probe_lock(&p, l, me->task);
  if (s != SELV_PENDING) {
    if (s >= 0) has_it(me, s);
    else did_not_get_it(me, s);
    return;
  }
  if (what % 2) sched_yield();
  if (what == 3 || what == 4) { /* gives up, with a callback */
    s = selv_op_cancel(p.op);
    CHECK(s == SELV_OK || s == SELV_E_TOO_LATE);
    if (s == SELV_OK) CHECK(check_tally_get(&p.called) == 1 && p.last.status == SELV_E_CANCELLED);
  } else if (what == 5) { /* or without */
    s = selv_op_abandon(p.op);
    if (s == SELV_OK) {
      count(&abandoned);
      return;
    }
    CHECK_STATUS(s, SELV_E_TOO_LATE);
  } else if (what == 6) { /* or ends altogether, perhaps just as it gets the lock */
    CHECK_OK(selv_task_exit(me->task, NULL));
    CHECK_WAIT(&p.called, 1);
    be_somebody(me);
    if (p.last.status >= 0) {
      count(&grants);
      count(&deaths);
      count(&died_idle);
      if (p.last.status == SELV_OWNER_DIED) count(&inherits);
    } else {
      CHECK(p.last.status == SELV_E_CANCELLED || p.last.status == SELV_E_BROKEN);
    }
    return;
  }
  CHECK_WAIT(&p.called, 1);
  if (p.last.status < 0) did_not_get_it(me, p.last.status);
  else if (p.then == NULL) has_it(me, p.last.status);
}

static void *acts(void *arg) {
  actor *me = (actor *)arg;
  uint64_t i;
  be_somebody(me);
  for (i = 0; i < steps; i++) {
    selv_status s;
    switch (chance(&me->seed, 8)) {
      case 0: s = selv_lock_try_acquire(l, me->task); break;
      case 1: s = selv_lock_acquire(l, me->task, 0); break;
      case 2:
      case 3: s = selv_lock_acquire(l, me->task, chance(&me->seed, 60000)); break;
      case 4: s = selv_lock_acquire(l, me->task, SELV_FOREVER); break;
      case 5:
        s = selv_task_interrupt(__atomic_load_n(&task_of[chance(&me->seed, THREADS)], __ATOMIC_SEQ_CST));
        CHECK(s == SELV_OK || s == SELV_E_STALE);
        continue;
      default: asks_asynchronously(me); continue;
    }
    if (s >= 0) has_it(me, s);
    else did_not_get_it(me, s);
  }
  CHECK_OK(selv_task_exit(me->task, NULL));
  return NULL;
}

static void storm(uint32_t flags) {
  pthread_t thread[THREADS];
  actor actors[THREADS];
  selv_lock_stats s;
  int i;
  l = lock_named("storm", flags);
  robust = (flags & SELV_LOCK_ROBUST) != 0;
  steps = check_scaled(15000);
  counter = grants = releases = deaths = inherits = refused_by_time = cancelled = abandoned = repaired = died_idle = 0;
  for (i = 0; i < THREADS; i++) {
    actors[i].number = i;
    actors[i].seed = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(i + 1) + flags;
    task_of[i] = selv_task_current();
  }
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&thread[i], NULL, acts, &actors[i]) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  s = lock_stats(l);
  printf("%llu grants, %llu released, %llu died holding, %llu repaired, %llu inherited, %llu timed out, %llu cancelled, "
         "%llu abandoned, %llu queued, %llu handed over, %llu breaks\n",
         (unsigned long long)grants, (unsigned long long)releases, (unsigned long long)deaths, (unsigned long long)repaired,
         (unsigned long long)inherits, (unsigned long long)refused_by_time, (unsigned long long)cancelled,
         (unsigned long long)abandoned, (unsigned long long)s.waits, (unsigned long long)s.handed_over,
         (unsigned long long)s.breaks);
  CHECK_EQ_U64(s.waiting, 0);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(grants, releases + deaths);
  CHECK_EQ_U64(inside, 0);
  /* The last death may have no heir yet. */
  if (robust) {
    selv_status last = selv_lock_try_acquire(l, SELV_TASK_CURRENT);
    CHECK(last == SELV_OK || last == SELV_OWNER_DIED);
    if (last == SELV_OWNER_DIED) CHECK_OK(selv_lock_make_consistent(l, SELV_TASK_CURRENT));
    CHECK_EQ_U64(inherits + (last == SELV_OWNER_DIED), deaths);
  } else {
    selv_status last = selv_lock_try_acquire(l, SELV_TASK_CURRENT);
    CHECK(last == SELV_OK || last == SELV_E_BROKEN);
    if (last == SELV_E_BROKEN) CHECK_OK(selv_lock_repair(l, SELV_TASK_CURRENT));
    CHECK_EQ_U64(repaired + (last == SELV_E_BROKEN), deaths);
    CHECK_EQ_U64(lock_stats(l).breaks, deaths);
  }
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_EQ_U64(s.deadlocks, 0);
  CHECK_OK(selv_lock_free(l));
  CHECK_EQ_U64(counter, grants - died_idle);
}

static void on_an_eventual_lock(void) { storm(0); }
static void on_a_strict_lock(void) { storm(SELV_LOCK_STRICT_FIFO); }
static void on_a_robust_lock(void) { storm(SELV_LOCK_ROBUST); }
static void on_a_robust_and_strict_lock(void) { storm(SELV_LOCK_ROBUST | SELV_LOCK_STRICT_FIFO); }

int main(void) {
  CHECK_RUN(on_an_eventual_lock);
  CHECK_RUN(on_a_strict_lock);
  CHECK_RUN(on_a_robust_lock);
  CHECK_RUN(on_a_robust_and_strict_lock);
  return 0;
}

/* permits_storm.h: a storm on what is taken and given back (semaphore, limiter): threads and operations take at random, while
 * their waits time out, are cancelled, abandoned, interrupted, or lose their task. Never are more taken than there are, and in the
 * end all are back. */
#ifndef SELV_C_TESTS_PERMITS_STORM_H
#define SELV_C_TESTS_PERMITS_STORM_H

#include "sync_probe.h"

#define STORM_THREADS 6

typedef struct permits {
  void *object;
  uint64_t most;    /* there are this many */
  uint64_t largest; /* the largest request */
  selv_status (*wait)(void *object, selv_task task, uint64_t n, uint64_t timeout_ns);
  selv_status (*try_take)(void *object, selv_task task, uint64_t n);
  selv_status (*submit)(op_probe *p, void *object, selv_task task, uint64_t n);
  void (*give_back)(void *object, selv_task task, uint64_t n);
  int exit_gives_back; /* what a task holds goes back when it ends */
} permits;

static const permits *storm;
static uint64_t storm_taken;    /* now, as the storm counts */
static uint64_t storm_came[12]; /* how often each way ended how: 2 * way for success, + 1 for not */
static selv_task storm_tasks[STORM_THREADS];
static int storm_over;

static void storm_got(uint64_t n) {
  uint64_t now = __atomic_add_fetch(&storm_taken, n, __ATOMIC_SEQ_CST);
  if (now > storm->most)
    check_fail(__FILE__, __LINE__, "%llu are taken, and there are only %llu", (unsigned long long)now,
               (unsigned long long)storm->most);
}

static void storm_back(selv_task task, uint64_t n) {
  __atomic_sub_fetch(&storm_taken, n, __ATOMIC_SEQ_CST);
  storm->give_back(storm->object, task, n);
}

static void storm_then(op_probe *p, const selv_completed *c) {
  CHECK_EITHER(c->status, SELV_OK, SELV_E_CANCELLED);
  if (c->status == SELV_OK) storm_got(p->n);
}

/* Of a task that is about to end: what it got is gone before anybody here could count it as given back. */
static void storm_then_uncounted(op_probe *p, const selv_completed *c) {
  (void)p;
  CHECK_EITHER(c->status, SELV_OK, SELV_E_CANCELLED);
}

static void storm_count(int way, int success) { __atomic_add_fetch(&storm_came[2 * way + !success], 1, __ATOMIC_RELAXED); }

/* An operation that got what it wanted, at once or by its callback, gives it back; `called` is how often it must have been told. */
static void storm_settle(op_probe *p, selv_status submitted, selv_task task, int way) {
  if (submitted == SELV_OK) {
    storm_got(p->n);
    storm_back(task, p->n);
    storm_count(way, 1);
    return;
  }
  CHECK_WAIT(&p->called, 1);
  if (p->last.status == SELV_OK) storm_back(task, p->n);
  storm_count(way, p->last.status == SELV_OK);
}

static void storm_round(selv_task me, uint64_t *seed) {
  uint64_t random = sync_probe_random(seed), n = 1 + random % storm->largest;
  int way = (int)((random >> 8) % 6);
  selv_task other;
  selv_status status, withdrawn;
  op_probe p;
  op_probe_init(&p);
  p.then = storm_then;
  if (way == 0) { /* as long as it takes */
    status = storm->wait(storm->object, me, n, SELV_FOREVER);
    CHECK_EITHER(status, SELV_OK, SELV_E_CANCELLED);
  } else if (way == 1) { /* not that long */
    status = storm->wait(storm->object, me, n, (random >> 16) % 200000);
    CHECK_ANY_OF(status, SELV_OK, SELV_E_CANCELLED, SELV_E_TIMEDOUT);
  } else if (way == 2) {
    status = storm->try_take(storm->object, me, n);
    CHECK_EITHER(status, SELV_OK, SELV_E_WOULD_BLOCK);
  } else {
    other = task_named("stormer");
    if (way == 5 && storm->exit_gives_back) p.then = storm_then_uncounted;
    status = storm->submit(&p, storm->object, other, n);
    CHECK_EITHER(status, SELV_OK, SELV_PENDING);
    if ((random >> 40) % 4 == 0) sched_yield();
    if (way == 3 && status == SELV_PENDING) {
      withdrawn = selv_op_cancel(p.op);
      CHECK_EITHER(withdrawn, SELV_OK, SELV_E_TOO_LATE);
      CHECK_WAIT(&p.called, 1);
      CHECK_STATUS(p.last.status, withdrawn == SELV_OK ? SELV_E_CANCELLED : SELV_OK);
    } else if (way == 4 && status == SELV_PENDING) {
      withdrawn = selv_op_abandon(p.op);
      CHECK_EITHER(withdrawn, SELV_OK, SELV_E_TOO_LATE);
      if (withdrawn == SELV_OK) { /* p is out of use from here on: a late callback would write over other data */
        CHECK_EQ_U64(check_tally_get(&p.called), 0);
        CHECK_OK(selv_task_exit(other, NULL));
        storm_count(way, 0);
        return;
      }
    } else if (way == 5 && status == SELV_PENDING) {
      exit_probe ended = task_ends(other);
      CHECK_WAIT(&p.called, 1);
      if (p.last.status == SELV_OK && storm->exit_gives_back) {
        CHECK_EQ_U64(ended.report.tokens_returned, 1);
        CHECK_EQ_U64(ended.items, 1);
      } else if (p.last.status == SELV_OK) {
        CHECK_EQ_U64(ended.items, 0);
        storm_back(other, n);
      } else {
        CHECK_EQ_U64(ended.report.waits_cancelled + ended.report.grants_passed_on, 1);
      }
      storm_count(way, p.last.status == SELV_OK);
      return;
    }
    storm_settle(&p, status, other, way);
    CHECK_EQ_U64(task_ends(other).items, 0);
    return;
  }
  if (status == SELV_OK) {
    storm_got(n);
    if ((random >> 48) % 8 == 0) sched_yield();
    storm_back(me, n);
  }
  storm_count(way, status == SELV_OK);
}

static void *storm_thread(void *arg) {
  uint64_t me = (uint64_t)(uintptr_t)arg, rounds = check_scaled(1500), i, seed = sync_probe_seed(me);
  __atomic_store_n(&storm_tasks[me], selv_task_current(), __ATOMIC_RELEASE);
  for (i = 0; i < rounds; i++) storm_round(storm_tasks[me], &seed);
  return NULL;
}

/* Somebody interrupts them, now and then. */
static void *storm_interrupter(void *arg) {
  uint64_t i;
  (void)arg;
  for (i = 0; !__atomic_load_n(&storm_over, __ATOMIC_ACQUIRE); i++) {
    selv_task t = __atomic_load_n(&storm_tasks[i % STORM_THREADS], __ATOMIC_ACQUIRE);
    selv_status status = t ? selv_task_interrupt(t) : SELV_OK;
    CHECK_EITHER(status, SELV_OK, SELV_E_STALE);
    check_sleep_ms(1);
  }
  return NULL;
}

static void permits_storm(const permits *p) {
  static const char *const ways[] = {"waited", "timed", "tried", "cancelled", "abandoned", "task ended"};
  pthread_t threads[STORM_THREADS], interrupter;
  uintptr_t i;
  storm = p;
  storm_over = 0;
  memset(storm_tasks, 0, sizeof storm_tasks);
  memset(storm_came, 0, sizeof storm_came);
  CHECK(pthread_create(&interrupter, NULL, storm_interrupter, NULL) == 0);
  for (i = 0; i < STORM_THREADS; i++) CHECK(pthread_create(&threads[i], NULL, storm_thread, (void *)i) == 0);
  for (i = 0; i < STORM_THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  __atomic_store_n(&storm_over, 1, __ATOMIC_RELEASE);
  CHECK(pthread_join(interrupter, NULL) == 0);
  CHECK_EQ_U64(storm_taken, 0);
  for (i = 0; i < 6; i++)
    printf("%-10s %6llu got it, %6llu did not\n", ways[i], (unsigned long long)storm_came[2 * i],
           (unsigned long long)storm_came[2 * i + 1]);
}

#endif

/* lock_short_lives.c: tasks that take a lock, let go of it and end at once, as requests and jobs do, thousands of them, while others look at the
 * lock and find owners that are gone the next moment. Who has let go before it ended leaves the lock whole, and one has it at a time. */
#include "probe.h"
#include "waiters.h"

#define THREADS 4

static selv_lock *l;
static uint64_t counter, inside; /* protected by the lock */
static uint64_t had, rounds;

static void has_it(void) {
  uint64_t was = counter;
  CHECK(inside == 0);
  inside = 1;
  if (was % 32 == 0) sched_yield(); /* else few would find it held */
  CHECK(counter == was);
  counter = was + 1;
  inside = 0;
  __atomic_add_fetch(&had, 1, __ATOMIC_SEQ_CST);
}

/* One life, in one of the ways to ask. */
static void lives(selv_task t, uint64_t way) {
  op_probe p;
  selv_status s;
  switch (way % 4) {
    case 0: s = selv_lock_acquire(l, t, SELV_FOREVER); break;
    case 1: s = selv_lock_acquire(l, t, 20000); break;
    case 2: s = selv_lock_try_acquire(l, t); break;
    default:
      op_probe_init(&p);
      s = op_probe_lock(&p, l, t);
      if (s == SELV_PENDING) {
        CHECK_WAIT(&p.called, 1);
        s = p.last.status;
      }
  }
  if (s == SELV_OK) {
    has_it();
    CHECK_OK(selv_lock_release(l, t));
  } else {
    CHECK_STATUS(s, way % 4 == 2 ? SELV_E_WOULD_BLOCK : SELV_E_TIMEDOUT);
  }
}

static void *lives_and_lives(void *arg) {
  uint64_t i;
  for (i = 0; i < rounds; i++) {
    selv_task t = task_named("short");
    lives(t, i + (uint64_t)(uintptr_t)arg);
    CHECK_OK(selv_task_exit(t, NULL));
  }
  return NULL;
}

static void begin(uint32_t flags) {
  l = lock_named("counter", flags);
  counter = inside = had = 0;
}

static void end(void) {
  selv_lock_stats s = lock_stats(l);
  CHECK_EQ_U64(counter, had);
  CHECK_EQ_U64(s.breaks, 0);
  CHECK_EQ_U64(s.broken, 0);
  CHECK_EQ_U64(s.waiting, 0);
  CHECK_EQ_U64(s.owner, 0);
  CHECK_OK(selv_lock_free(l));
}

static void tasks(uint32_t flags) {
  pthread_t thread[THREADS];
  uintptr_t i;
  begin(flags);
  rounds = check_scaled(5000);
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&thread[i], NULL, lives_and_lives, (void *)i) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  end();
}

static void tasks_on_an_eventual_lock(void) { tasks(0); }
static void tasks_on_a_strict_lock(void) { tasks(SELV_LOCK_STRICT_FIFO); }
static void tasks_on_a_robust_lock(void) { tasks(SELV_LOCK_ROBUST); }
static void tasks_on_a_recursive_lock(void) { tasks(SELV_LOCK_RECURSIVE); }

/* As fast as it goes, and without ever a wait: the moment between the look at an owner's name and the look at whether it lives is short. */
static void *tries_and_ends(void *unused) {
  uint64_t i;
  (void)unused;
  for (i = 0; i < rounds; i++) {
    selv_task t = 0;
    selv_status s;
    CHECK_OK(selv_task_new(NULL, &t));
    s = selv_lock_try_acquire(l, t);
    if (s == SELV_OK) {
      counter++;
      CHECK_OK(selv_lock_release(l, t));
      __atomic_add_fetch(&had, 1, __ATOMIC_RELAXED);
    } else {
      CHECK_STATUS(s, SELV_E_WOULD_BLOCK);
    }
    CHECK_OK(selv_task_exit(t, NULL));
  }
  return NULL;
}

static void tasks_that_only_try(void) {
  pthread_t thread[THREADS];
  int i;
  begin(0);
  rounds = check_scaled(150000);
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&thread[i], NULL, tries_and_ends, NULL) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  end();
}

/* The same with the tasks of jobs, and of threads. */
static int32_t job_lives(void *arg, void **out_value) {
  (void)out_value;
  lives(SELV_TASK_CURRENT, (uint64_t)(uintptr_t)arg);
  return 0;
}

static void *thread_lives(void *arg) {
  lives(SELV_TASK_CURRENT, (uint64_t)(uintptr_t)arg);
  return NULL;
}

static void jobs(void) {
  selv_cache *c = probe_cache(THREADS, SELV_FOREVER);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  uintptr_t i;
  begin(0);
  job.fn = job_lives;
  for (i = 0; i < check_scaled(5000); i++) {
    job.arg = (void *)i;
    CHECK_OK(selv_cache_submit(c, &job, NULL));
  }
  probe_end(c);
  end();
}

static void threads(void) {
  uint64_t round;
  begin(SELV_LOCK_STRICT_FIFO);
  for (round = 0; round < check_scaled(50); round++) {
    pthread_t thread[2 * THREADS];
    uintptr_t i;
    for (i = 0; i < 2 * THREADS; i++) CHECK(pthread_create(&thread[i], NULL, thread_lives, (void *)i) == 0);
    for (i = 0; i < 2 * THREADS; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  }
  end();
}

int main(void) {
  CHECK_RUN(tasks_on_an_eventual_lock);
  CHECK_RUN(tasks_on_a_strict_lock);
  CHECK_RUN(tasks_on_a_robust_lock);
  CHECK_RUN(tasks_on_a_recursive_lock);
  CHECK_RUN(tasks_that_only_try);
  CHECK_RUN(jobs);
  CHECK_RUN(threads);
  return 0;
}

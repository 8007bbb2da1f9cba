/* lock_broken_owners.c: owners that nobody calls selv_task_exit for: a job that returns while it holds the lock, a job that ends its
 * thread, a thread of the host's that exits. Each breaks what it held, for blocking and asynchronous waiters. */
#include "probe.h"
#include "waiters.h"

#define WAITERS 4

/* Waiters of both kinds on one lock, to be told of its end. */
typedef struct audience {
  waiter blocking[WAITERS];
  op_probe async[WAITERS];
  selv_task task[2 * WAITERS];
  selv_lock *lock;
} audience;

/* A destructor of thread-specific data is no place for a host's callback: what a dying thread completes is told by a worker. */
static void not_in_a_destructor(op_probe *p, const selv_completed *c) {
  (void)c;
  p->n = selv_worker_id(selv_worker_current());
}

static void audience_gather(audience *a, selv_lock *l) {
  int i;
  a->lock = l;
  for (i = 0; i < WAITERS; i++) {
    a->task[2 * i] = task_named("blocking");
    a->task[2 * i + 1] = task_named("asynchronous");
    waiter_start(&a->blocking[i], waiter_lock, l, a->task[2 * i]);
    op_probe_init(&a->async[i]);
    a->async[i].then = not_in_a_destructor;
    CHECK_STATUS(op_probe_lock(&a->async[i], l, a->task[2 * i + 1]), SELV_PENDING);
  }
  UNTIL(lock_waiting(l) == 2 * WAITERS);
}

static void audience_is_told(audience *a, const char *owner) {
  selv_task later = task_named("later");
  op_probe p;
  int i;
  op_probe_init(&p);
  for (i = 0; i < WAITERS; i++) {
    WAITER_ENDED(&a->blocking[i], SELV_E_BROKEN);
    CHECK(strstr(a->blocking[i].detail, "the lock") != NULL && strstr(a->blocking[i].detail, owner) != NULL);
    OP_GOT(&a->async[i], 1, SELV_E_BROKEN);
    CHECK(strstr(a->async[i].detail, "the lock") != NULL && strstr(a->async[i].detail, owner) != NULL);
    CHECK(a->async[i].n != 0); /* on a worker of a cache */
  }
  CHECK_STATUS(selv_lock_try_acquire(a->lock, later), SELV_E_BROKEN);
  CHECK_LAST_ERROR_HAS("the lock");
  CHECK_LAST_ERROR_HAS(owner);
  CHECK_STATUS(selv_lock_acquire(a->lock, later, SELV_FOREVER), SELV_E_BROKEN);
  CHECK_STATUS(op_probe_lock(&p, a->lock, later), SELV_E_BROKEN);
  CHECK_EQ_U64(lock_stats(a->lock).broken, 1);
  CHECK_EQ_U64(lock_stats(a->lock).breaks, 1);
  CHECK_EQ_U64(lock_waiting(a->lock), 0);
  CHECK_OK(selv_lock_repair(a->lock, later)); /* and it can be brought back */
  CHECK_OK(selv_lock_release(a->lock, later));
  for (i = 0; i < 2 * WAITERS; i++) CHECK_OK(selv_task_exit(a->task[i], NULL));
  CHECK_OK(selv_task_exit(later, NULL));
}

/* ---- a job ---- */

typedef struct holder {
  selv_lock *lock;
  check_tally holds, go;
  selv_task task;
} holder;

static void holder_init(holder *h, selv_lock *l) {
  memset(h, 0, sizeof *h);
  check_tally_init(&h->holds);
  check_tally_init(&h->go);
  h->lock = l;
}

static int32_t returns_holding(void *arg, void **out_value) {
  holder *h = (holder *)arg;
  (void)out_value;
  h->task = selv_task_current();
  CHECK_OK(selv_lock_acquire(h->lock, SELV_TASK_CURRENT, SELV_FOREVER));
  check_tally_add(&h->holds, 1);
  CHECK_WAIT(&h->go, 1);
  return 0;
}

static int32_t exits_its_thread_holding(void *arg, void **out_value) {
  returns_holding(arg, out_value);
  pthread_exit(NULL);
}

/* With or without waiters when it ends: `crowd`. */
static void a_job(selv_job_fn fn, selv_status outcome_status, int crowd) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_lock *l = lock_named("the lock", 0);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_job *handle = NULL;
  selv_outcome outcome;
  uint32_t remaining = 99;
  holder h;
  audience a;
  holder_init(&h, l);
  job.fn = fn;
  job.arg = &h;
  job.name = "night run";
  CHECK_OK(selv_cache_submit(c, &job, &handle));
  CHECK_WAIT(&h.holds, 1);
  CHECK_EQ_U64(selv_lock_owner(l), h.task);
  if (crowd) audience_gather(&a, l);
  check_tally_add(&h.go, 1);
  CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
  CHECK_STATUS(outcome.status, outcome_status);
  selv_job_release(handle);
  CHECK_STATUS(selv_lock_release(l, h.task), SELV_E_STALE);
  if (crowd) {
    audience_is_told(&a, "night run");
  } else { /* the job's task had exited when the job was delivered: nobody has to wait for that */
    CHECK_EQ_U64(selv_lock_owner(l), 0);
    CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_BROKEN);
    CHECK_LAST_ERROR_HAS("the lock");
    CHECK_LAST_ERROR_HAS("night run");
  }
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  selv_cache_release(c);
}

static void a_job_that_returns(void) { a_job(returns_holding, SELV_OK, 1); }
static void a_job_that_returns_to_nobody(void) { a_job(returns_holding, SELV_OK, 0); }
static void a_job_that_exits_its_thread(void) { a_job(exits_its_thread_holding, SELV_E_BROKEN, 1); }

/* The worker goes on to its next job, which is another task and finds the lock broken, not its own. */
static int32_t tries(void *arg, void **out_value) {
  (void)out_value;
  return selv_lock_try_acquire((selv_lock *)arg, SELV_TASK_CURRENT);
}

static void the_next_job_on_the_same_worker(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_lock *l = lock_named("the lock", 0);
  selv_outcome outcome;
  CHECK_OK(selv_cache_run(c, tries, l, SELV_FOREVER, &outcome));
  CHECK_STATUS(outcome.code, SELV_OK);
  CHECK_OK(selv_cache_run(c, tries, l, SELV_FOREVER, &outcome));
  CHECK_STATUS(outcome.code, SELV_E_BROKEN);
  CHECK_EQ_U64(probe_stats(c).started, 1);
  probe_end(c);
  CHECK_OK(selv_lock_free(l));
}

/* ---- a thread ---- */

static void *thread_returns_holding(void *arg) {
  void *value = NULL;
  pthread_setname_np(pthread_self(), "keeper");
  (void)returns_holding(arg, &value);
  return NULL;
}

static void *thread_exits_holding(void *arg) {
  void *value = NULL;
  pthread_setname_np(pthread_self(), "keeper");
  (void)returns_holding(arg, &value);
  pthread_exit(NULL);
}

static void a_thread(void *(*body)(void *), int crowd) {
  selv_lock *l = lock_named("the lock", 0);
  pthread_t thread;
  holder h;
  audience a;
  holder_init(&h, l);
  CHECK(pthread_create(&thread, NULL, body, &h) == 0);
  CHECK_WAIT(&h.holds, 1);
  CHECK_EQ_U64(selv_lock_owner(l), h.task);
  CHECK_STATUS(selv_task_exit(h.task, NULL), SELV_E_INVAL); /* it is the thread's, and ends with the thread */
  if (crowd) audience_gather(&a, l);
  check_tally_add(&h.go, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_STATUS(selv_lock_release(l, h.task), SELV_E_STALE);
  if (crowd) {
    audience_is_told(&a, "thread");
  } else {
    CHECK_EQ_U64(selv_lock_owner(l), 0);
    CHECK_STATUS(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER), SELV_E_BROKEN);
    CHECK_LAST_ERROR_HAS("the lock");
    CHECK_LAST_ERROR_HAS("thread");
  }
  CHECK_OK(selv_lock_free(l));
}

static void a_thread_that_returns(void) { a_thread(thread_returns_holding, 1); }
static void a_thread_that_calls_pthread_exit(void) { a_thread(thread_exits_holding, 1); }
static void a_thread_that_returns_to_nobody(void) { a_thread(thread_returns_holding, 0); }

/* A thread that acquires in a destructor of its own, which may run after the library's: made on first use, exited all the same. */
static pthread_key_t late_key;
static selv_lock *late_lock;

static void acquires_late(void *arg) {
  CHECK_OK(selv_lock_acquire((selv_lock *)arg, SELV_TASK_CURRENT, SELV_FOREVER));
}

static void *dies_late(void *unused) {
  (void)unused;
  CHECK(pthread_setspecific(late_key, late_lock) == 0);
  return NULL;
}

static void a_thread_whose_destructor_acquires(void) {
  pthread_t thread;
  late_lock = lock_named("the lock", 0);
  CHECK(pthread_key_create(&late_key, acquires_late) == 0);
  CHECK(pthread_create(&thread, NULL, dies_late, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_STATUS(selv_lock_acquire(late_lock, SELV_TASK_CURRENT, SELV_FOREVER), SELV_E_BROKEN);
  CHECK(pthread_key_delete(late_key) == 0);
  CHECK_OK(selv_lock_free(late_lock));
}

/* An entered task outlives the thread that entered it: leaving by death is a switch away, not an exit. */
static void *enters_and_dies(void *arg) {
  holder *h = (holder *)arg;
  CHECK_OK(selv_task_enter(h->task, NULL));
  CHECK_OK(selv_lock_acquire(h->lock, SELV_TASK_CURRENT, SELV_FOREVER));
  return NULL;
}

static void an_entered_task_does_not_end_with_the_thread(void) {
  selv_lock *l = lock_named("the lock", 0);
  pthread_t thread;
  holder h;
  holder_init(&h, l);
  h.task = task_named("coroutine");
  CHECK(pthread_create(&thread, NULL, enters_and_dies, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(selv_lock_owner(l), h.task);
  CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_WOULD_BLOCK);
  CHECK_OK(selv_lock_release(l, h.task));
  CHECK_OK(selv_task_exit(h.task, NULL));
  CHECK_OK(selv_lock_free(l));
}

int main(void) {
  CHECK_RUN(a_job_that_returns);
  CHECK_RUN(a_job_that_returns_to_nobody);
  CHECK_RUN(a_job_that_exits_its_thread);
  CHECK_RUN(the_next_job_on_the_same_worker);
  CHECK_RUN(a_thread_that_returns);
  CHECK_RUN(a_thread_that_calls_pthread_exit);
  CHECK_RUN(a_thread_that_returns_to_nobody);
  CHECK_RUN(a_thread_whose_destructor_acquires);
  CHECK_RUN(an_entered_task_does_not_end_with_the_thread);
  return 0;
}

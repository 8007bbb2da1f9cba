/* waiters.h: those who wait for a lock primitive, shared by the C tests of tasks and primitives: threads that block in one call,
 * completions that count themselves, and ways to see that N of them are queued without guessing a time. The checks themselves
 * are in check.h; jobs and hooks are in probe.h. */
#ifndef SELV_C_TESTS_WAITERS_H
#define SELV_C_TESTS_WAITERS_H

#include "check.h"

#include <sched.h>

/* For a state that can only be looked at: who is queued, what a counter says. It comes within microseconds, so the wait gives
 * its turn to whoever brings it about and does not sleep. */
#define UNTIL(cond)                                                                                             \
  do {                                                                                                          \
    uint64_t until_deadline = check_now_ns() + check_patience_s() * UINT64_C(1000000000);                       \
    while (!(cond)) {                                                                                           \
      if (check_now_ns() > until_deadline) check_fail(__FILE__, __LINE__, "never came true: %s", #cond);        \
      sched_yield();                                                                                            \
    }                                                                                                           \
  } while (0)

/* As CHECK_LAST_ERROR_HAS, for details that spell out a whole ring. */
static inline void check_long_error_has(const char *file, int line, const char *part) {
  char detail[8192];
  detail[0] = '\0';
  selv_last_error(detail, sizeof detail);
  if (strstr(detail, part) == NULL) check_fail(file, line, "selv_last_error is \"%s\": it does not mention \"%s\"", detail, part);
}
#define CHECK_RING_HAS(part) check_long_error_has(__FILE__, __LINE__, (part))

/* ---- tasks and objects ---- */

static inline selv_task task_named(const char *name) {
  selv_task t = 0;
  CHECK_OK(selv_task_new(name, &t));
  CHECK(t != 0 && t != SELV_TASK_CURRENT);
  return t;
}

static inline selv_lock *lock_named(const char *name, uint32_t flags) {
  selv_lock_options options = SELV_LOCK_OPTIONS_INIT;
  selv_lock *l = NULL;
  options.name = name;
  options.flags = flags;
  CHECK_OK(selv_lock_new(&options, &l));
  CHECK(l != NULL);
  return l;
}

static inline selv_condition *condition_on(selv_lock *l, const char *name) {
  selv_condition_options options = SELV_CONDITION_OPTIONS_INIT;
  selv_condition *c = NULL;
  options.name = name;
  options.lock = l;
  CHECK_OK(selv_condition_new(&options, &c));
  CHECK(c != NULL);
  return c;
}

/* lock_stats(l), lock_waiting(l) and so on: `waiting` is how many are queued now. */
#define WAITERS_STATS_OF(type)                                                  \
  static inline selv_##type##_stats type##_stats(const selv_##type *object) {   \
    selv_##type##_stats stats;                                                  \
    memset(&stats, 0, sizeof stats);                                            \
    stats.struct_size = sizeof stats;                                           \
    CHECK_OK(selv_##type##_get_stats(object, &stats));                          \
    return stats;                                                               \
  }                                                                             \
  static inline uint64_t type##_waiting(const selv_##type *object) { return type##_stats(object).waiting; }
WAITERS_STATS_OF(lock)
WAITERS_STATS_OF(condition)
WAITERS_STATS_OF(semaphore)
WAITERS_STATS_OF(limiter)
WAITERS_STATS_OF(event)
WAITERS_STATS_OF(parking_lot)

/* Who came first: waiters and completions take the next number as they come through. */
static uint64_t waiters_came;
static inline uint64_t waiters_next(void) { return __atomic_add_fetch(&waiters_came, 1, __ATOMIC_SEQ_CST); }

/* ---- threads that block ---- */

typedef struct waiter {
  selv_status (*call)(struct waiter *w); /* the one call that blocks */
  void (*then)(struct waiter *w);        /* after it, on the waiting thread, when it succeeded; may be NULL */
  void *object, *other;                  /* what `call` and `then` work on */
  selv_task task;                        /* 0: the thread's own, which ends with the thread */
  uint64_t timeout_ns, n;
  pthread_t thread;
  pid_t tid; /* 0 until it runs */
  check_tally ended;
  selv_status status; /* from here on: what was seen, to be read after waiter_join */
  int32_t holds_lock;
  uint64_t order, took_ns;
  char detail[512];
} waiter;

static inline void waiter_init(waiter *w, selv_status (*call)(waiter *), void *object, selv_task task) {
  memset(w, 0, sizeof *w);
  check_tally_init(&w->ended);
  w->call = call;
  w->object = object;
  w->task = task;
  w->timeout_ns = SELV_FOREVER;
  w->n = 1;
}

static inline void *waiter_thread(void *arg) {
  waiter *w = (waiter *)arg;
  uint64_t began = check_now_ns();
  check_is_here(&w->tid);
  if (w->task == 0) w->task = selv_task_current();
  w->status = w->call(w);
  w->took_ns = check_now_ns() - began;
  w->order = waiters_next();
  if (w->status < 0) selv_last_error(w->detail, sizeof w->detail);
  if (w->status >= 0 && w->then) w->then(w);
  check_tally_add(&w->ended, 1);
  return NULL;
}

static inline void waiter_go(waiter *w) { CHECK(pthread_create(&w->thread, NULL, waiter_thread, w) == 0); }

static inline void waiter_start(waiter *w, selv_status (*call)(waiter *), void *object, selv_task task) {
  waiter_init(w, call, object, task);
  waiter_go(w);
}

/* A waiter that is never woken fails here, and is not a hang. */
static inline void waiter_join_at(const char *file, int line, const char *name, waiter *w) {
  check_tally_wait_at(file, line, name, &w->ended, 1);
  CHECK(pthread_join(w->thread, NULL) == 0);
}
#define WAITER_JOIN(w) waiter_join_at(__FILE__, __LINE__, #w, (w))

static inline void waiter_ended_at(const char *file, int line, const char *name, waiter *w, selv_status wanted) {
  waiter_join_at(file, line, name, w);
  if (w->status != wanted)
    check_fail(file, line, "%s got %s, expected %s; it said: %s", name, selv_status_name(w->status), selv_status_name(wanted),
               w->detail[0] ? w->detail : "(nothing)");
}
/* Waits for the end of the waiter's thread; its call must have given `wanted`. */
#define WAITER_ENDED(w, wanted) waiter_ended_at(__FILE__, __LINE__, #w, (w), (wanted))

static inline int waiter_sleeps(waiter *w) { return check_sleeps(&w->tid); }
static inline int waiter_is_done(waiter *w) { return check_tally_get(&w->ended) != 0; }

static inline selv_status waiter_lock(waiter *w) { return selv_lock_acquire((selv_lock *)w->object, w->task, w->timeout_ns); }
static inline void waiter_unlock(waiter *w) { CHECK_OK(selv_lock_release((selv_lock *)w->object, w->task)); }

/* `object` is the condition, `other` its lock, which the waiter takes first and lets go of at last if it holds it. */
static inline selv_status waiter_condition(waiter *w) {
  selv_status status;
  CHECK_OK(selv_lock_acquire((selv_lock *)w->other, w->task, SELV_FOREVER));
  w->holds_lock = -1;
  status = selv_condition_wait((selv_condition *)w->object, w->task, w->timeout_ns, &w->holds_lock);
  if (w->holds_lock == 1) CHECK_OK(selv_lock_release((selv_lock *)w->other, w->task));
  return status;
}

/* ---- asynchronous operations ---- */

/* A completion that watches itself. One probe may serve many operations; `last` is then the latest one completed. */
typedef struct op_probe {
  void (*then)(struct op_probe *p, const selv_completed *c); /* inside the callback; may be NULL */
  void *object;                                              /* what `then` works on */
  selv_host_loop *loop;                                      /* where the callback runs; NULL: on the completing thread */
  selv_task task;
  uint64_t n;
  selv_op op;         /* for the test's own use: what the submitting call gave */
  check_tally called; /* the callback is about to return */
  selv_completed last;
  uint64_t order;
  pthread_t on;
  char detail[512]; /* selv_last_error inside the latest callback */
} op_probe;

static __thread int op_probe_inside;             /* a callback is running on this thread */
static __thread const void *op_probe_submitting; /* the probe whose operation this thread is just submitting */

static inline void op_probe_init(op_probe *p) {
  memset(p, 0, sizeof *p);
  check_tally_init(&p->called);
}

static inline void op_probe_fn(void *arg, const selv_completed *c) {
  op_probe *p = (op_probe *)arg;
  CHECK(op_probe_inside == 0);     /* never nested within each other on a thread */
  CHECK(op_probe_submitting != p); /* never inside the submitting call */
  CHECK(c->struct_size >= sizeof *c);
  op_probe_inside = 1;
  pthread_mutex_lock(&p->called.mutex);
  p->last = *c;
  p->on = pthread_self();
  p->order = waiters_next();
  p->detail[0] = '\0';
  selv_last_error(p->detail, sizeof p->detail);
  pthread_mutex_unlock(&p->called.mutex);
  if (p->then) p->then(p, c);
  op_probe_inside = 0;
  check_tally_add(&p->called, 1);
}

static inline selv_completion op_probe_completion(op_probe *p) {
  selv_completion completion;
  memset(&completion, 0, sizeof completion);
  completion.fn = op_probe_fn;
  completion.arg = p;
  completion.loop = p->loop;
  return completion;
}

/* The probe has been called `n` times in all, last with `wanted`. */
static inline void op_probe_got_at(const char *file, int line, const char *name, op_probe *p, uint64_t n, selv_status wanted) {
  check_tally_wait_at(file, line, name, &p->called, n);
  if (check_tally_get(&p->called) != n)
    check_fail(file, line, "%s was called %llu times, expected %llu", name, (unsigned long long)check_tally_get(&p->called),
               (unsigned long long)n);
  if (p->last.status != wanted)
    check_fail(file, line, "%s got %s, expected %s; it said: %s", name, selv_status_name(p->last.status),
               selv_status_name(wanted), p->detail[0] ? p->detail : "(nothing)");
}
#define OP_GOT(p, n, wanted) op_probe_got_at(__FILE__, __LINE__, #p, (p), (n), (wanted))

/* Asynchronous acquire of a lock with the probe as its completion. */
static inline selv_status op_probe_lock(op_probe *p, selv_lock *l, selv_task task) {
  selv_completion completion = op_probe_completion(p);
  const void *was = op_probe_submitting;
  selv_status status;
  op_probe_submitting = p;
  p->object = l;
  p->task = task;
  status = selv_lock_acquire_async(l, task, &completion, &p->op);
  op_probe_submitting = was;
  return status;
}

static inline void op_probe_unlock(op_probe *p, const selv_completed *c) {
  if (c->status >= 0) CHECK_OK(selv_lock_release((selv_lock *)p->object, p->task));
}

#endif

/* fork_round.h: for the tests of lock primitives in a fork child: a child that fails or hangs fails its test, and a full round on
 * every primitive shows that everything works there, with threads and operations of the child's own. */
#ifndef SELV_C_TESTS_FORK_ROUND_H
#define SELV_C_TESTS_FORK_ROUND_H

#include "sync_probe.h"

#include <signal.h>
#include <sys/wait.h>

static inline void reap_at(const char *file, int line, pid_t child) {
  int status = 0;
  CHECK(child > 0);
  CHECK(waitpid(child, &status, 0) == child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    check_fail(file, line, "the child ended with status %#x%s", (unsigned)status,
               WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? " (it hung)" : "");
}
#define REAP(child) reap_at(__FILE__, __LINE__, (child))

static inline pid_t forked(void) {
  pid_t child;
  fflush(stdout);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) alarm((unsigned)check_patience_s() / 2 + 1); /* before the patience of the parent ends */
  return child;
}

/* ---- a full round ---- */

/* Two takers in line behind the one that has it, a thread and an operation, and each is given it in turn. */
static inline void round_of_lock(selv_lock *l) {
  waiter w;
  op_probe p;
  op_probe_init(&p);
  p.then = op_probe_unlock;
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  waiter_init(&w, waiter_lock, l, 0);
  w.then = waiter_unlock;
  waiter_go(&w);
  UNTIL(lock_waiting(l) == 1);
  {
    selv_task t = task_named("in the round");
    CHECK_STATUS(op_probe_lock(&p, l, t), SELV_PENDING);
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
    WAITER_ENDED(&w, SELV_OK);
    OP_GOT(&p, 1, SELV_OK);
    CHECK_OK(selv_task_exit(t, NULL));
  }
  CHECK_EQ_U64(selv_lock_owner(l), 0);
}

static inline void round_of_broken_lock(void) {
  selv_lock *l = lock_named("mortal", 0);
  selv_task t = task_named("owner");
  waiter w;
  CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER));
  waiter_start(&w, waiter_lock, l, 0);
  UNTIL(lock_waiting(l) == 1);
  CHECK_OK(selv_task_exit(t, NULL));
  WAITER_ENDED(&w, SELV_E_BROKEN);
  CHECK_OK(selv_lock_repair(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_free(l));
}

static inline void round_of_condition(selv_condition *c, selv_lock *l) {
  waiter w;
  waiter_init(&w, waiter_condition, c, 0);
  w.other = l;
  waiter_go(&w);
  UNTIL(condition_waiting(c) == 1);
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_condition_notify(c, SELV_TASK_CURRENT, 1));
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_EQ_U64(w.holds_lock, 1);
}

/* On a semaphore of which nothing is free; leaves it so. */
static inline void round_of_semaphore(selv_semaphore *s) {
  waiter w;
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_semaphore_acquire(s, SELV_TASK_CURRENT, 1, CHECK_MS), SELV_E_TIMEDOUT);
  waiter_start(&w, waiter_semaphore, s, 0);
  UNTIL(semaphore_waiting(s) == 1);
  CHECK_STATUS(op_semaphore(&p, s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  CHECK_OK(selv_semaphore_release(s, 2));
  WAITER_ENDED(&w, SELV_OK);
  OP_GOT(&p, 1, SELV_OK);
}

/* On a limiter with exactly one token left; leaves it so. */
static inline void round_of_limiter(selv_limiter *l) {
  selv_task t = task_named("borrower");
  waiter w;
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_limiter_try_acquire(l, SELV_TASK_CURRENT));
  waiter_start(&w, waiter_limiter, l, 0); /* ends with the token, and its end gives it back */
  UNTIL(limiter_waiting(l) == 1);
  CHECK_STATUS(op_limiter(&p, l, t), SELV_PENDING);
  CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
  WAITER_ENDED(&w, SELV_OK);
  OP_GOT(&p, 1, SELV_OK);
  CHECK_EQ_U64(task_ends(t).report.tokens_returned, 1);
}

/* On an event that is resettable; leaves it clear. */
static inline void round_of_event(selv_event *e) {
  waiter w;
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_event_clear(e));
  waiter_start(&w, waiter_event, e, 0);
  UNTIL(event_waiting(e) == 1);
  CHECK_STATUS(op_event(&p, e, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(selv_event_set(e));
  WAITER_ENDED(&w, SELV_OK);
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_event_clear(e));
}

static inline void round_of_lot(selv_parking_lot *lot) {
  uint64_t count = 99;
  waiter w;
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_parking_lot_park(lot, SELV_TASK_CURRENT, CHECK_MS), SELV_E_TIMEDOUT);
  waiter_start(&w, waiter_park, lot, 0);
  UNTIL(parking_lot_waiting(lot) == 1);
  CHECK_STATUS(op_park(&p, lot, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(selv_parking_lot_unpark(lot, 10, &count));
  CHECK_EQ_U64(count, 2);
  WAITER_ENDED(&w, SELV_OK);
  OP_GOT(&p, 1, SELV_OK);
}

/* On an empty channel; leaves it so. */
static inline void round_of_channel(selv_channel *ch) {
  waiter w;
  op_probe p;
  op_probe_init(&p);
  p.then = op_probe_take;
  waiter_start(&w, waiter_recv, ch, 0);
  UNTIL(channel_stats(ch).receivers_waiting == 1);
  CHECK_STATUS(op_recv(&p, ch, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(item_send_nowait(ch, 1));
  CHECK_OK(item_send_nowait(ch, 2));
  WAITER_ENDED(&w, SELV_OK);
  OP_GOT(&p, 1, SELV_OK);
  CHECK_EQ_U64(w.n, 1);
  CHECK_EQ_U64(p.n, 2);
}

/* Everything on objects made here and now. */
static inline void full_round(void) {
  selv_lock *l = lock_named("fresh", 0), *strict = lock_named("strict", SELV_LOCK_STRICT_FIFO);
  selv_condition *c = condition_on(l, "fresh");
  selv_semaphore *s = semaphore_of(0, 0);
  selv_limiter *limiter = limiter_of(1);
  selv_event *e = event_of(SELV_EVENT_RESETTABLE);
  selv_parking_lot *lot = lot_named("fresh");
  selv_channel *ch = channel_of(4, 0);
  round_of_lock(l);
  round_of_lock(strict);
  round_of_broken_lock();
  round_of_condition(c, l);
  round_of_semaphore(s);
  round_of_limiter(limiter);
  round_of_event(e);
  round_of_lot(lot);
  round_of_channel(ch);
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_lock_free(strict));
  CHECK_OK(selv_semaphore_free(s));
  CHECK_OK(selv_limiter_free(limiter));
  CHECK_OK(selv_event_free(e));
  CHECK_OK(selv_parking_lot_free(lot));
  CHECK_OK(selv_channel_free(ch));
}

/* ---- a thread of the parent that does something and stays until it may go ---- */

typedef struct stayer {
  void (*begin)(struct stayer *s);
  void (*end)(struct stayer *s); /* may be NULL */
  void *object;
  selv_task task;
  check_tally ready, go;
  pthread_t thread;
} stayer;

static inline void *stayer_thread(void *arg) {
  stayer *s = (stayer *)arg;
  s->task = selv_task_current();
  s->begin(s);
  check_tally_add(&s->ready, 1);
  CHECK_WAIT(&s->go, 1);
  if (s->end) s->end(s);
  return NULL;
}

static inline void stayer_start(stayer *s, void (*begin)(stayer *), void (*end)(stayer *), void *object) {
  memset(s, 0, sizeof *s);
  check_tally_init(&s->ready);
  check_tally_init(&s->go);
  s->begin = begin;
  s->end = end;
  s->object = object;
  CHECK(pthread_create(&s->thread, NULL, stayer_thread, s) == 0);
  CHECK_WAIT(&s->ready, 1);
}

static inline void stayer_end(stayer *s) {
  check_tally_add(&s->go, 1);
  CHECK(pthread_join(s->thread, NULL) == 0);
}

#endif

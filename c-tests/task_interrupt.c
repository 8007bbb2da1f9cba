/* task_interrupt.c: an interrupt ends the task's blocking wait with SELV_E_CANCELLED, on whatever it waits; if it waits for nothing, it is kept
 * for the next wait. Who need not wait is not interrupted, and operations are cancelled in another way. */
#include "waiters.h"

static void a_wait_for_a_lock(void) {
  selv_lock *l = lock_named("l", SELV_LOCK_STRICT_FIFO);
  selv_task owner = task_named("owner"), t = task_named("interrupted"), behind = task_named("behind");
  waiter w, x;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  waiter_start(&w, waiter_lock, l, t);
  UNTIL(lock_waiting(l) == 1);
  waiter_init(&x, waiter_lock, l, behind);
  x.then = waiter_unlock;
  waiter_go(&x);
  UNTIL(lock_waiting(l) == 2);
  CHECK_OK(selv_task_interrupt(t));
  WAITER_ENDED(&w, SELV_E_CANCELLED);
  CHECK(w.detail[0] != '\0');
  CHECK_EQ_U64(lock_waiting(l), 1);
  CHECK_EQ_U64(lock_stats(l).cancelled, 1);
  CHECK_STATUS(selv_lock_acquire(l, t, CHECK_MS), SELV_E_TIMEDOUT); /* it was used up */
  CHECK_OK(selv_lock_release(l, owner));
  WAITER_ENDED(&x, SELV_OK);
  CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER));
  CHECK_OK(selv_lock_release(l, t));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_OK(selv_task_exit(behind, NULL));
}

/* Between two waits: the next one that would have to wait is the one that is interrupted. */
static void it_is_kept_for_the_next_wait(void) {
  selv_lock *l = lock_named("l", 0);
  selv_task owner = task_named("owner"), t = task_named("interrupted");
  CHECK_OK(selv_task_interrupt(t));
  CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER)); /* free: no wait */
  CHECK_OK(selv_lock_release(l, t));
  CHECK_OK(selv_lock_try_acquire(l, t));
  CHECK_OK(selv_lock_release(l, t));
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_STATUS(selv_lock_try_acquire(l, t), SELV_E_WOULD_BLOCK); /* never waits */
  CHECK_STATUS(selv_lock_acquire(l, t, SELV_FOREVER), SELV_E_CANCELLED);
  CHECK_STATUS(selv_lock_acquire(l, t, CHECK_MS), SELV_E_TIMEDOUT); /* once */
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_OK(selv_task_interrupt(t)); /* any number of them make one */
  CHECK_OK(selv_task_interrupt(t));
  CHECK_OK(selv_task_interrupt(t));
  CHECK_STATUS(selv_lock_acquire(l, t, 3600 * UINT64_C(1000000000)), SELV_E_CANCELLED);
  CHECK_STATUS(selv_lock_acquire(l, t, CHECK_MS), SELV_E_TIMEDOUT);
  CHECK_OK(selv_lock_release(l, owner));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(t, NULL));
}

/* ---- on whatever it waits ---- */

static selv_status waits_for_a_semaphore(waiter *w) {
  return selv_semaphore_acquire((selv_semaphore *)w->object, w->task, 1, SELV_FOREVER);
}
static selv_status waits_for_a_limiter(waiter *w) {
  return selv_limiter_acquire((selv_limiter *)w->object, w->task, SELV_FOREVER);
}
static selv_status waits_for_an_event(waiter *w) { return selv_event_wait((selv_event *)w->object, w->task, SELV_FOREVER); }
static selv_status parks(waiter *w) { return selv_parking_lot_park((selv_parking_lot *)w->object, w->task, SELV_FOREVER); }
static selv_status receives(waiter *w) {
  void *data = w;
  size_t len = 99;
  selv_status s = selv_channel_recv((selv_channel *)w->object, w->task, SELV_FOREVER, &data, &len);
  CHECK(data == NULL && len == 0);
  return s;
}
static selv_status sends(waiter *w) { return selv_channel_send((selv_channel *)w->object, w->task, "x", 1, SELV_FOREVER); }

static uint64_t receivers(const selv_channel *ch) {
  selv_channel_stats s = SELV_CHANNEL_STATS_INIT;
  CHECK_OK(selv_channel_get_stats(ch, &s));
  return s.receivers_waiting + s.senders_waiting;
}

static void on_whatever_it_waits(void) {
  selv_task t = task_named("interrupted"), owner = task_named("owner");
  selv_semaphore *semaphore = NULL;
  selv_limiter *limiter = NULL;
  selv_event *event = NULL;
  selv_parking_lot *lot = NULL;
  selv_channel *channel = NULL, *full = NULL;
  selv_limiter_options limited = SELV_LIMITER_OPTIONS_INIT;
  selv_channel_options bounded = SELV_CHANNEL_OPTIONS_INIT;
  waiter w;
  int before; /* the interrupt comes before the wait, or into it */
  limited.total = 1;
  bounded.capacity = 1;
  CHECK_OK(selv_semaphore_new(NULL, &semaphore));
  CHECK_OK(selv_limiter_new(&limited, &limiter));
  CHECK_OK(selv_event_new(NULL, &event));
  CHECK_OK(selv_parking_lot_new(NULL, &lot));
  CHECK_OK(selv_channel_new(NULL, &channel));
  CHECK_OK(selv_channel_new(&bounded, &full));
  CHECK_OK(selv_limiter_acquire(limiter, owner, SELV_FOREVER));
  CHECK_OK(selv_channel_send_nowait(full, "x", 1));
#define INTERRUPTED(call, object, queued)            \
  do {                                               \
    if (before) CHECK_OK(selv_task_interrupt(t));    \
    waiter_start(&w, call, object, t);               \
    if (!before) {                                   \
      UNTIL(queued);                                 \
      CHECK_OK(selv_task_interrupt(t));              \
    }                                                \
    WAITER_ENDED(&w, SELV_E_CANCELLED);              \
    CHECK(!(queued));                                \
  } while (0)
  for (before = 0; before < 2; before++) {
    INTERRUPTED(waits_for_a_semaphore, semaphore, semaphore_waiting(semaphore) == 1);
    INTERRUPTED(waits_for_a_limiter, limiter, limiter_waiting(limiter) == 1);
    INTERRUPTED(waits_for_an_event, event, event_waiting(event) == 1);
    INTERRUPTED(parks, lot, parking_lot_waiting(lot) == 1);
    INTERRUPTED(receives, channel, receivers(channel) == 1);
    INTERRUPTED(sends, full, receivers(full) == 1);
  }
#undef INTERRUPTED
  CHECK_OK(selv_limiter_release(limiter, owner));
  CHECK_OK(selv_limiter_acquire(limiter, t, 0)); /* nothing of the interrupted waits is left */
  CHECK_OK(selv_limiter_release(limiter, t));
  CHECK_OK(selv_semaphore_free(semaphore));
  CHECK_OK(selv_limiter_free(limiter));
  CHECK_OK(selv_event_free(event));
  CHECK_OK(selv_parking_lot_free(lot));
  CHECK_OK(selv_channel_free(channel));
  CHECK_OK(selv_channel_close(full));
  CHECK_OK(selv_channel_free(full));
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_OK(selv_task_exit(owner, NULL));
}

/* Waits of a thread without a task of its own making are interrupted by its implicit one. */
static selv_task threads_task;
static check_tally told;

static selv_status as_itself(waiter *w) {
  threads_task = selv_task_current();
  check_tally_add(&told, 1);
  return selv_lock_acquire((selv_lock *)w->object, SELV_TASK_CURRENT, SELV_FOREVER);
}

static void a_thread_by_its_own_task(void) {
  selv_lock *l = lock_named("l", 0);
  selv_task owner = task_named("owner");
  waiter w;
  check_tally_init(&told);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  waiter_start(&w, as_itself, l, 0);
  CHECK_WAIT(&told, 1);
  CHECK_OK(selv_task_interrupt(threads_task)); /* before its wait or in it */
  WAITER_ENDED(&w, SELV_E_CANCELLED);
  CHECK_STATUS(selv_task_interrupt(threads_task), SELV_E_STALE);
  CHECK_OK(selv_task_interrupt(SELV_TASK_CURRENT)); /* oneself, for later */
  CHECK_STATUS(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER), SELV_E_CANCELLED);
  CHECK_OK(selv_lock_release(l, owner));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
}

/* An operation goes on: it has a handle of its own to be cancelled by. The interrupt waits for a blocking wait. */
static void operations_are_left_alone(void) {
  selv_lock *l = lock_named("l", 0), *m = lock_named("m", 0);
  selv_task owner = task_named("owner"), t = task_named("interrupted");
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_lock_acquire(m, owner, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&p, l, t), SELV_PENDING);
  CHECK_OK(selv_task_interrupt(t));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_EQ_U64(lock_waiting(l), 1);
  CHECK_OK(selv_lock_release(l, owner));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_STATUS(selv_lock_acquire(m, t, SELV_FOREVER), SELV_E_CANCELLED);
  CHECK_OK(selv_lock_release(l, t));
  CHECK_OK(selv_lock_release(m, owner));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_lock_free(m));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(t, NULL));
}

/* A grant that races the interrupt wins, and then the interrupt is kept: never both lost, never both had. */
static void against_a_grant(void) {
  uint64_t i, interrupted = 0, rounds = check_scaled(300);
  selv_lock *l = lock_named("l", SELV_LOCK_STRICT_FIFO);
  selv_task owner = task_named("owner"), t = task_named("interrupted");
  for (i = 0; i < rounds; i++) {
    waiter w, x;
    CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
    waiter_start(&w, waiter_lock, l, t);
    UNTIL(lock_waiting(l) == 1);
    if (i % 2) {
      CHECK_OK(selv_lock_release(l, owner));
      CHECK_OK(selv_task_interrupt(t));
      WAITER_ENDED(&w, SELV_OK); /* handed over before the interrupt came */
      CHECK_OK(selv_lock_release(l, t));
      CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
      waiter_start(&x, waiter_lock, l, t);
      WAITER_ENDED(&x, SELV_E_CANCELLED);
      CHECK_OK(selv_lock_release(l, owner));
    } else {
      CHECK_OK(selv_task_interrupt(t));
      CHECK_OK(selv_lock_release(l, owner));
      WAITER_ENDED(&w, SELV_E_CANCELLED);
      interrupted++;
    }
    CHECK_EQ_U64(selv_lock_owner(l), 0);
  }
  CHECK_EQ_U64(interrupted, (rounds + 1) / 2);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(t, NULL));
}

int main(void) {
  CHECK_RUN(a_wait_for_a_lock);
  CHECK_RUN(it_is_kept_for_the_next_wait);
  CHECK_RUN(on_whatever_it_waits);
  CHECK_RUN(a_thread_by_its_own_task);
  CHECK_RUN(operations_are_left_alone);
  CHECK_RUN(against_a_grant);
  return 0;
}

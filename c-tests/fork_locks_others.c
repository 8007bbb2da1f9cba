/* fork_locks_others.c: semaphore, limiter, event, parking lot and channel in a fork child: they work, with what they had, and
 * without those who waited in the parent. */
#include "fork_round.h"
#include "probe.h"

/* In each: a thread and an operation of the parent wait; the child must not see them, and the parent must not lose them. */
struct both {
  waiter w;
  op_probe p;
};

static void both_got_it(struct both *b) {
  WAITER_ENDED(&b->w, SELV_OK);
  OP_GOT(&b->p, 1, SELV_OK);
}

static void a_semaphore(void) {
  selv_semaphore *s = semaphore_of(0, 0), *with = semaphore_of(3, 3), *short_of_one = semaphore_of(2, 0);
  struct both b;
  op_probe big;
  pid_t child;
  op_probe_init(&b.p);
  op_probe_init(&big);
  CHECK_STATUS(op_semaphore(&big, short_of_one, SELV_TASK_CURRENT, 3), SELV_PENDING);
  waiter_start(&b.w, waiter_semaphore, s, 0);
  UNTIL(semaphore_waiting(s) == 1);
  CHECK_STATUS(op_semaphore(&b.p, s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  CHECK_OK(selv_semaphore_try_acquire(with, 1));
  child = forked();
  if (child == 0) {
    CHECK_EQ_U64(semaphore_waiting(s), 0);
    CHECK_EQ_U64(semaphore_stats(with).permits, 2);
    CHECK_OK(selv_semaphore_acquire(with, SELV_TASK_CURRENT, 2, SELV_FOREVER));
    CHECK_OK(selv_semaphore_try_acquire(short_of_one, 2)); /* whom they were kept for is not here */
    CHECK_OK(selv_semaphore_release(s, 1));
    CHECK_EQ_U64(semaphore_stats(s).permits, 1); /* given to nobody */
    CHECK_OK(selv_semaphore_try_acquire(s, 1));
    round_of_semaphore(s);
    CHECK_EQ_U64(check_tally_get(&b.p.called), 0);
    CHECK_OK(selv_semaphore_free(s));
    CHECK_OK(selv_semaphore_free(with));
    _exit(0);
  }
  REAP(child);
  CHECK_EQ_U64(semaphore_stats(with).permits, 2);
  CHECK_EQ_U64(semaphore_waiting(s), 2);
  CHECK_OK(selv_semaphore_release(s, 2));
  both_got_it(&b);
  CHECK_STATUS(selv_semaphore_try_acquire(short_of_one, 2), SELV_E_WOULD_BLOCK);
  CHECK_OK(selv_semaphore_release(short_of_one, 1));
  OP_GOT(&big, 1, SELV_OK);
  CHECK_OK(selv_semaphore_free(s));
  CHECK_OK(selv_semaphore_free(with));
  CHECK_OK(selv_semaphore_free(short_of_one));
}

static void borrow(stayer *s) { CHECK_OK(selv_limiter_acquire((selv_limiter *)s->object, SELV_TASK_CURRENT, SELV_FOREVER)); }

static void a_limiter(void) {
  selv_limiter *l = limiter_of(3);
  selv_task waits = task_named("waits");
  stayer other;
  waiter w;
  op_probe p;
  pid_t child;
  op_probe_init(&p);
  stayer_start(&other, borrow, NULL, l); /* a token of a thread that is not in the child */
  CHECK_OK(selv_limiter_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire_on_behalf_of(l, SELV_TASK_CURRENT, 77, SELV_FOREVER));
  waiter_start(&w, waiter_limiter, l, 0);
  UNTIL(limiter_waiting(l) == 1);
  CHECK_STATUS(op_limiter(&p, l, waits), SELV_PENDING);
  child = forked();
  if (child == 0) {
    CHECK_EQ_U64(limiter_waiting(l), 0);
    CHECK_STATUS(selv_limiter_try_acquire(l, SELV_TASK_CURRENT), SELV_E_DUPLICATE);
    CHECK_OK(selv_limiter_release_on_behalf_of(l, 77));
    CHECK_OK(selv_limiter_acquire_on_behalf_of(l, SELV_TASK_CURRENT, 77, 0)); /* not given to the parent's waiters */
    CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
    CHECK_STATUS(selv_limiter_release(l, other.task), SELV_E_FORKED);
    CHECK_OK(selv_limiter_set_total(l, limiter_stats(l).borrowed + 1));
    round_of_limiter(l);
    CHECK_OK(selv_limiter_release_on_behalf_of(l, 77));
    CHECK_EQ_U64(check_tally_get(&p.called), 0);
    _exit(0);
  }
  REAP(child);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 3);
  CHECK_EQ_U64(limiter_waiting(l), 2);
  stayer_end(&other);
  WAITER_ENDED(&w, SELV_OK); /* ends, and so its token goes on */
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_limiter_release_on_behalf_of(l, 77));
  CHECK_OK(selv_task_exit(waits, NULL));
  CHECK_OK(selv_limiter_free(l));
}

static void an_event(void) {
  selv_event *e = event_of(SELV_EVENT_RESETTABLE), *set = event_of(0);
  struct both b;
  pid_t child;
  op_probe_init(&b.p);
  CHECK_OK(selv_event_set(set));
  waiter_start(&b.w, waiter_event, e, 0);
  UNTIL(event_waiting(e) == 1);
  CHECK_STATUS(op_event(&b.p, e, SELV_TASK_CURRENT), SELV_PENDING);
  child = forked();
  if (child == 0) {
    CHECK_EQ_U64(event_waiting(e), 0);
    CHECK_OK(selv_event_wait(set, SELV_TASK_CURRENT, 0));
    CHECK_OK(selv_event_set(e));
    CHECK_EQ_U64(check_tally_get(&b.p.called), 0);
    CHECK_OK(selv_event_wait(e, SELV_TASK_CURRENT, SELV_FOREVER));
    round_of_event(e);
    CHECK_OK(selv_event_free(e));
    CHECK_OK(selv_event_free(set));
    _exit(0);
  }
  REAP(child);
  CHECK_EQ_U64(selv_event_is_set(e), 0);
  CHECK_OK(selv_event_set(e));
  both_got_it(&b);
  CHECK_OK(selv_event_free(e));
  CHECK_OK(selv_event_free(set));
}

static void add_breaker(stayer *s) { CHECK_OK(selv_parking_lot_add_breaker((selv_parking_lot *)s->object, SELV_TASK_CURRENT)); }
static void remove_breaker(stayer *s) {
  CHECK_OK(selv_parking_lot_remove_breaker((selv_parking_lot *)s->object, SELV_TASK_CURRENT));
}

static void a_parking_lot(void) {
  selv_parking_lot *lot = lot_named("P"), *other = lot_named("Q"), *broken = lot_named("R");
  selv_task t = task_named("culprit");
  struct both b;
  stayer breaker;
  uint64_t count = 99;
  pid_t child;
  op_probe_init(&b.p);
  stayer_start(&breaker, add_breaker, remove_breaker, lot);
  CHECK_OK(selv_parking_lot_break(broken, t));
  waiter_start(&b.w, waiter_park, lot, 0);
  UNTIL(parking_lot_waiting(lot) == 1);
  CHECK_STATUS(op_park(&b.p, lot, SELV_TASK_CURRENT), SELV_PENDING);
  child = forked();
  if (child == 0) {
    selv_task own = task_named("own");
    CHECK_EQ_U64(parking_lot_waiting(lot), 0);
    CHECK_OK(selv_parking_lot_unpark(lot, 10, &count));
    CHECK_EQ_U64(count, 0);
    CHECK_OK(selv_parking_lot_repark(lot, other, 10, &count));
    CHECK_EQ_U64(count, 0);
    CHECK_STATUS(selv_parking_lot_park(broken, SELV_TASK_CURRENT, SELV_FOREVER), SELV_E_BROKEN);
    round_of_lot(lot);
    round_of_lot(other);
    CHECK_OK(selv_parking_lot_add_breaker(lot, own));
    CHECK_EQ_U64(task_ends(own).report.lots_broken, 1);
    CHECK_STATUS(selv_parking_lot_park(lot, SELV_TASK_CURRENT, SELV_FOREVER), SELV_E_BROKEN);
    CHECK_EQ_U64(check_tally_get(&b.p.called), 0);
    CHECK_OK(selv_parking_lot_free(lot));
    CHECK_OK(selv_parking_lot_free(other));
    _exit(0);
  }
  REAP(child);
  CHECK_EQ_U64(parking_lot_stats(lot).broken, 0);
  CHECK_OK(selv_parking_lot_unpark(lot, 10, &count));
  CHECK_EQ_U64(count, 2);
  both_got_it(&b);
  stayer_end(&breaker);
  CHECK_EQ_U64(parking_lot_stats(lot).broken, 0);
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_OK(selv_parking_lot_free(lot));
  CHECK_OK(selv_parking_lot_free(other));
  CHECK_OK(selv_parking_lot_free(broken));
}

static void a_channel(void) {
  selv_channel *empty = channel_of(0, 0), *full = channel_of(2, 0);
  struct both receivers, senders;
  uint64_t number = 0;
  pid_t child;
  op_probe_init(&receivers.p);
  op_probe_init(&senders.p);
  receivers.p.then = op_probe_take;
  waiter_start(&receivers.w, waiter_recv, empty, 0);
  UNTIL(channel_stats(empty).receivers_waiting == 1);
  CHECK_STATUS(op_recv(&receivers.p, empty, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(item_send_nowait(full, 1));
  CHECK_OK(item_send_nowait(full, 2));
  waiter_start_n(&senders.w, waiter_send, full, 0, 3);
  UNTIL(channel_stats(full).senders_waiting == 1);
  CHECK_STATUS(op_send(&senders.p, full, SELV_TASK_CURRENT, 4), SELV_PENDING);
  child = forked();
  if (child == 0) {
    CHECK_EQ_U64(channel_stats(empty).receivers_waiting, 0);
    CHECK_EQ_U64(channel_stats(full).senders_waiting, 0);
    CHECK_OK(item_send_nowait(empty, 5));
    CHECK_OK(item_recv_nowait(empty, &number)); /* not into hands that are not here */
    CHECK_EQ_U64(number, 5);
    round_of_channel(empty);
    CHECK_OK(item_recv_nowait(full, &number));
    CHECK_EQ_U64(number, 1);
    CHECK_OK(item_recv_nowait(full, &number));
    CHECK_EQ_U64(number, 2);
    CHECK_STATUS(item_recv_nowait(full, &number), SELV_E_WOULD_BLOCK); /* the senders' items are the parent's to send */
    round_of_channel(full);
    CHECK_EQ_U64(check_tally_get(&senders.p.called) + check_tally_get(&receivers.p.called), 0);
    CHECK_OK(selv_channel_free(empty));
    CHECK_OK(selv_channel_free(full));
    _exit(0);
  }
  REAP(child);
  CHECK_OK(item_send_nowait(empty, 6));
  CHECK_OK(item_send_nowait(empty, 7));
  both_got_it(&receivers);
  CHECK_EQ_U64(receivers.w.n + receivers.p.n, 6 + 7);
  for (number = 0; number < 4;) {
    uint64_t before = number;
    CHECK_OK(item_recv_nowait(full, &number));
    CHECK_EQ_U64(number, before + 1);
  }
  both_got_it(&senders);
  CHECK_OK(selv_channel_free(empty));
  CHECK_OK(selv_channel_free(full));
}

/* ---- jobs that waited for a token at the fork are the parent's; the child's own run ---- */

static void jobs_with_a_limiter(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_limiter *l = limiter_of(1);
  selv_job_options job;
  selv_job *handle = NULL;
  probe p, timed;
  pid_t child;
  probe_init(&p);
  probe_init(&timed);
  CHECK_OK(selv_limiter_try_acquire(l, SELV_TASK_CURRENT));
  job = probe_job(probe_never, &timed); /* somebody keeps the time already when the fork comes */
  job.limiter = l;
  job.limiter_timeout_ns = CHECK_MS;
  CHECK_STATUS(probe_through(c, &job).status, SELV_E_TIMEDOUT);
  job = probe_job(probe_run, &p);
  job.limiter = l;
  job.limiter_timeout_ns = 3600 * UINT64_C(1000000000);
  CHECK_OK(selv_cache_submit(c, &job, &handle));
  CHECK_EQ_U64(limiter_waiting(l), 1);
  child = forked();
  if (child == 0) {
    probe q;
    selv_outcome outcome;
    probe_init(&q);
    CHECK_EQ_U64(limiter_waiting(l), 0);
    CHECK_STATUS(selv_job_wait(handle, SELV_FOREVER, &outcome), SELV_E_FORKED);
    probe_init(&timed);
    job = probe_job(probe_never, &timed);
    job.limiter = l;
    job.limiter_timeout_ns = CHECK_MS;
    CHECK_STATUS(probe_through(c, &job).status, SELV_E_TIMEDOUT);
    job = probe_job(probe_run, &q);
    job.limiter = l;
    CHECK_OK(selv_cache_submit(c, &job, NULL));
    CHECK_EQ_U64(limiter_waiting(l), 1);
    CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
    CHECK_WAIT(&q.freed, 1);
    CHECK_OK(q.last.status);
    probe_end(c);
    CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
    CHECK_EQ_U64(check_tally_get(&p.delivered), 0);
    _exit(0);
  }
  REAP(child);
  CHECK_EQ_U64(check_tally_get(&p.entered), 0);
  CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(p.last.status);
  selv_job_release(handle);
  probe_end(c);
  CHECK_OK(selv_limiter_free(l));
}

int main(void) {
  CHECK_RUN(a_semaphore);
  CHECK_RUN(a_limiter);
  CHECK_RUN(an_event);
  CHECK_RUN(a_parking_lot);
  CHECK_RUN(a_channel);
  CHECK_RUN(jobs_with_a_limiter);
  return 0;
}

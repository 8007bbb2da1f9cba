/* host_loop_close.c: a close drops what is queued, in order, on the closing thread, once; refuses what comes later; and may be
 * made from inside a drained call or a drop. When it has returned, no wake runs and none will. */
#include "loops.h"
#include "probe.h"
#include "sync_probe.h"

#define MANY 100

static call_probe probes[MANY];

static void in_order(int form) {
  uint64_t i;
  host h;
  host_begin(&h, form);
  for (i = 0; i < MANY; i++) {
    call_probe_init(&probes[i], &h);
    if (i % 3 == 1) /* nobody cares for this one's end */
      CHECK_OK(selv_host_loop_call_soon(h.loop, call_probe_never, NULL, NULL, 0));
    else
      CHECK_OK(selv_host_loop_call_soon(h.loop, call_probe_never, &probes[i], call_probe_drop, 0));
  }
  CHECK_OK(selv_host_loop_close(h.loop));
  for (i = 0; i < MANY; i++) {
    CALL_COUNTS(&probes[i], 0, i % 3 == 1 ? 0 : 1);
    if (i % 3 != 1) CHECK(pthread_equal(probes[i].dropped_on, pthread_self()));
    if (i % 3 != 1 && i > 0) CHECK_EQ_U64(probes[i].order, probes[i % 3 == 0 ? i - 1 : i - 2].order + 1);
  }
  CHECK_EQ_U64(host_stats(&h).dropped, MANY);
  host_end(&h);
}

static void twice(int form) {
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  CHECK_OK(selv_host_loop_close(h.loop));
  CHECK_OK(selv_host_loop_close(h.loop));
  CHECK_OK(selv_host_loop_close(h.loop));
  CALL_COUNTS(&p, 0, 1);
  host_end(&h);
}

static int32_t never(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  check_fail(__FILE__, __LINE__, "a function ran that must not run");
  return 0;
}

static void *what_a_closed_loop_answers(void *arg) {
  host *h = (host *)arg;
  selv_outcome outcome;
  uint32_t ran = 99;
  CHECK_STATUS(selv_host_loop_call_soon(h->loop, call_probe_never, NULL, call_probe_never, 0), SELV_E_CLOSED);
  CHECK_LAST_ERROR_HAS("plain");
  CHECK_STATUS(selv_host_loop_call_soon(h->loop, call_probe_never, NULL, call_probe_never, SELV_CALL_IDEMPOTENT), SELV_E_CLOSED);
  CHECK_STATUS(selv_host_loop_bind(h->loop), SELV_E_CLOSED);
  if (!host_is_here(h)) {
    CHECK_STATUS(selv_host_loop_call(h->loop, never, NULL, SELV_FOREVER, &outcome), SELV_E_CLOSED);
  } else {
    CHECK_STATUS(selv_host_loop_drain(h->loop, 0, &ran), SELV_E_CLOSED);
    CHECK_EQ_U64(ran, 0);
    CHECK_OK(selv_host_loop_close(h->loop));
  }
  CHECK_EQ_U64(host_stats(h).closed, 1);
  CHECK_EQ_U64(host_stats(h).accepted, 0);
  selv_host_loop_release(selv_host_loop_retain(h->loop));
  return NULL;
}

static void calls_after_it(int form) {
  pthread_t thread;
  host h;
  host_begin(&h, form);
  CHECK_EQ_U64(host_stats(&h).closed, 0);
  host_close(&h);
  what_a_closed_loop_answers(&h);
  CHECK(pthread_create(&thread, NULL, what_a_closed_loop_answers, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  host_end(&h);
}

/* ---- from inside ---- */

static void closes(call_probe *p) {
  host_close(p->on);
  CHECK_STATUS(call_probe_queue(p, 0), SELV_E_CLOSED);
  CHECK_EITHER(selv_host_loop_drain(p->on->loop, 0, NULL), SELV_E_REENTRANT, SELV_E_CLOSED); /* both are true */
}

/* The call that closes is the last one of its drain: those behind it are dropped before the close returns. */
static void inside_a_drained_call(int form) {
  call_probe before, p, behind;
  uint32_t ran = 99;
  host h;
  host_begin(&h, form);
  call_probe_init(&before, &h);
  call_probe_init(&p, &h);
  call_probe_init(&behind, &h);
  p.then = closes;
  call_probe_soon(&before);
  call_probe_soon(&p);
  call_probe_soon(&behind);
  call_probe_soon(&behind);
  CHECK_OK(selv_host_loop_drain(h.loop, 0, &ran));
  CHECK_EQ_U64(ran, 2);
  CALL_COUNTS(&before, 1, 0);
  CALL_COUNTS(&p, 1, 0);
  CALL_COUNTS(&behind, 0, 2);
  CHECK_STATUS(selv_host_loop_drain(h.loop, 0, &ran), SELV_E_CLOSED);
  CHECK_EQ_U64(ran, 0);
  if (form == HOST_FD) CHECK(!host_is_due(&h));
  host_end(&h);
}

static void closes_and_checks(call_probe *p) {
  host_close(p->on);
  CALL_COUNTS((call_probe *)p->object, 0, 3);
}

/* On a host with a thread and a bound of its own: what waits for later drains is dropped as well. */
static void inside_a_bounded_drain(int form) {
  call_probe p, behind;
  host h;
  int i;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&behind, &h);
  p.then = closes_and_checks;
  p.object = &behind;
  call_probe_soon(&p);
  for (i = 0; i < 3; i++) call_probe_soon(&behind);
  CHECK_EQ_U64(host_drain(&h, 1), 1);
  CALL_COUNTS(&behind, 0, 3);
  host_end(&h);
}

/* A drop may do anything that a call may: all of it is refused now. */
static void closes_again(call_probe *p) {
  CHECK_OK(selv_host_loop_close(p->on->loop));
  CHECK_STATUS(call_probe_queue(p, 0), SELV_E_CLOSED);
  CHECK_EQ_U64(host_stats(p->on).closed, 1);
}

static void inside_a_drop(int form) {
  call_probe p, behind;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&behind, &h);
  p.then_drop = closes_again;
  call_probe_soon(&p);
  call_probe_soon(&behind);
  call_probe_soon(&p);
  host_close(&h);
  CALL_COUNTS(&p, 0, 2);
  CALL_COUNTS(&behind, 0, 1);
  host_end(&h);
}

/* The drop of one loop closes another, and so on. */
static void closes_its_object(call_probe *p) {
  if (p->object) host_close((host *)p->object);
}

static void a_chain_of_loops(int form) {
  enum { LOOPS = 20 };
  static host h[LOOPS];
  static call_probe p[LOOPS];
  int i;
  for (i = 0; i < LOOPS; i++) {
    host_begin(&h[i], form);
    call_probe_init(&p[i], &h[i]);
    p[i].then_drop = closes_its_object;
    p[i].object = i + 1 < LOOPS ? &h[i + 1] : NULL;
    call_probe_soon(&p[i]);
  }
  host_close(&h[0]);
  for (i = 0; i < LOOPS; i++) {
    CALL_COUNTS(&p[i], 0, 1);
    host_end(&h[i]);
  }
}

/* ---- a thread that ends in a drop ---- */

static void ends_the_thread(call_probe *p) {
  if (p->n++ == 0) {
    check_tally_add(&p->dropped, 1); /* call_probe_drop does not come to it */
    pthread_exit(NULL);
  }
}

static void *closes_and_ends(void *arg) {
  host *h = (host *)arg;
  host_bind(h);
  CHECK_OK(selv_host_loop_close(h->loop));
  check_fail(__FILE__, __LINE__, "the close returned");
  return NULL;
}

/* The rest is dropped all the same, by another thread, and none is dropped twice. */
static void on_a_thread_that_ends_in_a_drop(int form) {
  call_probe before, mortal, behind;
  pthread_t thread;
  host h;
  int i;
  host_begin(&h, form);
  call_probe_init(&before, &h);
  call_probe_init(&mortal, &h);
  call_probe_init(&behind, &h);
  mortal.then_drop = ends_the_thread;
  call_probe_soon(&before);
  call_probe_soon(&mortal);
  for (i = 0; i < 5; i++) call_probe_soon(&behind);
  CHECK(pthread_create(&thread, NULL, closes_and_ends, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_WAIT(&behind.dropped, 5);
  CALL_COUNTS(&before, 0, 1);
  CALL_COUNTS(&mortal, 0, 1);
  CALL_COUNTS(&behind, 0, 5);
  CHECK_STATUS(call_probe_queue(&behind, 0), SELV_E_CLOSED);
  CHECK_EQ_U64(host_stats(&h).dropped, 7);
  CHECK_EQ_U64(check_tally_get(&h.freed), form == HOST_WAKE ? 1 : 0);
  selv_host_loop_release(h.loop);
  host_pipe_closed(&h);
}

/* ---- everything that can be queued ---- */

typedef struct calling {
  host *on;
  pthread_t thread;
  selv_status status;
} calling;

static void *calls(void *arg) {
  calling *c = (calling *)arg;
  c->status = selv_host_loop_call(c->on->loop, never, NULL, SELV_FOREVER, NULL);
  return NULL;
}

static check_tally completed = CHECK_TALLY_INIT;
static selv_completed last_completed;

static void completion_fn(void *arg, const selv_completed *c) {
  CHECK(host_is_here((host *)arg));
  last_completed = *c;
  check_tally_add(&completed, 1);
}

static void of_each_kind(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_semaphore *s = semaphore_of(0, 0);
  selv_completion completion;
  selv_job_options job;
  calling caller;
  call_probe p;
  probe q;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  probe_init(&q);
  completed.count = 0;
  call_probe_soon(&p); /* 1 */
  caller.on = &h;
  CHECK(pthread_create(&caller.thread, NULL, calls, &caller) == 0); /* 2 */
  UNTIL(host_waiting(&h) == 2);
  job = probe_job(probe_run, &q);
  job.loop = h.loop;
  CHECK_OK(selv_cache_submit(c, &job, NULL)); /* 3 */
  UNTIL(host_waiting(&h) == 3);
  completion.fn = completion_fn;
  completion.arg = &h;
  completion.loop = h.loop;
  CHECK_STATUS(selv_semaphore_acquire_async(s, SELV_TASK_CURRENT, 1, &completion, NULL), SELV_PENDING);
  CHECK_OK(selv_semaphore_release(s, 1)); /* 4 */
  CHECK_EQ_U64(host_waiting(&h), 4);
  call_probe_soon(&p); /* 5 */
  CHECK_EQ_U64(host_stats(&h).accepted, 5);
  CHECK_EQ_U64(check_tally_get(&completed), 0);
  CHECK_EQ_U64(check_tally_get(&q.delivered), 0);
  host_close(&h);
  CALL_COUNTS(&p, 0, 2);
  CHECK_EQ_U64(check_tally_get(&q.delivered), 1);
  CHECK_EQ_U64(check_tally_get(&q.freed), 1);
  CHECK(pthread_equal(q.deliverer, pthread_self()));
  CHECK_STATUS(q.last.status, SELV_E_CLOSED);
  CHECK_EQ_U64(q.last.code, 7); /* it did run */
  CHECK(q.last.value == &q);
  CHECK_EQ_U64(check_tally_get(&completed), 1);
  CHECK_STATUS(last_completed.status, SELV_E_CLOSED);
  CHECK_EQ_U64(semaphore_stats(s).permits, 1); /* what it was granted is back */
  CHECK(pthread_join(caller.thread, NULL) == 0);
  CHECK_STATUS(caller.status, SELV_E_CLOSED);
  CHECK_EQ_U64(host_stats(&h).dropped, 5);
  host_end(&h);
  CHECK_OK(selv_semaphore_free(s));
  probe_end(c);
}

/* ---- wakes and closes at the same time ---- */

/* Several threads queue while the loop is closed: host_wake fails the test if it runs when the close has returned, and wake_arg is
 * freed under its feet if one runs then. */
#define PRODUCERS 3

typedef struct storm {
  selv_host_loop *loop;
  host *on;
  check_tally begun;
  uint64_t accepted, ran, dropped, frees, in_wake;
  int closed;
} storm;

static void storm_ran(void *arg) { __atomic_add_fetch(&((storm *)arg)->ran, 1, __ATOMIC_SEQ_CST); }
static void storm_dropped(void *arg) { __atomic_add_fetch(&((storm *)arg)->dropped, 1, __ATOMIC_SEQ_CST); }

static void storm_wake(void *wake_arg) {
  storm *s = (storm *)wake_arg;
  __atomic_add_fetch(&s->in_wake, 1, __ATOMIC_SEQ_CST);
  CHECK_EQ_U64(__atomic_load_n(&s->closed, __ATOMIC_SEQ_CST), 0);
  CHECK_EQ_U64(__atomic_load_n(&s->frees, __ATOMIC_SEQ_CST), 0);
  sched_yield();
  CHECK_EQ_U64(__atomic_load_n(&s->closed, __ATOMIC_SEQ_CST), 0);
  __atomic_sub_fetch(&s->in_wake, 1, __ATOMIC_SEQ_CST);
}

static void storm_freed(void *wake_arg) {
  storm *s = (storm *)wake_arg;
  CHECK_EQ_U64(__atomic_load_n(&s->in_wake, __ATOMIC_SEQ_CST), 0);
  __atomic_add_fetch(&s->frees, 1, __ATOMIC_SEQ_CST);
}

static void *produces(void *arg) {
  storm *s = (storm *)arg;
  selv_status status;
  uint64_t accepted = 0;
  check_tally_add(&s->begun, 1);
  while ((status = selv_host_loop_call_soon(s->loop, storm_ran, s, storm_dropped, 0)) == SELV_OK)
    if (++accepted % 16 == 0) sched_yield();
  CHECK_STATUS(status, SELV_E_CLOSED);
  __atomic_add_fetch(&s->accepted, accepted, __ATOMIC_SEQ_CST);
  return NULL;
}

static void no_wake_after_it(int form) {
  uint64_t round, rounds = check_scaled(300), i, dropped = 0;
  for (round = 0; round < rounds; round++) {
    selv_host_loop_options options = SELV_HOST_LOOP_OPTIONS_INIT;
    pthread_t threads[PRODUCERS];
    storm s;
    memset(&s, 0, sizeof s);
    check_tally_init(&s.begun);
    if (form == HOST_WAKE) {
      options.wake = storm_wake;
      options.wake_arg = &s;
      options.wake_arg_free = storm_freed;
    }
    CHECK_OK(selv_host_loop_new(&options, &s.loop));
    for (i = 0; i < PRODUCERS; i++) CHECK(pthread_create(&threads[i], NULL, produces, &s) == 0);
    if (round % 2) CHECK_WAIT(&s.begun, PRODUCERS);
    for (i = 0; i < round % 5; i++) CHECK_OK(selv_host_loop_drain(s.loop, (uint32_t)(round % 7), NULL));
    CHECK_OK(selv_host_loop_close(s.loop));
    __atomic_store_n(&s.closed, 1, __ATOMIC_SEQ_CST);
    CHECK_EQ_U64(__atomic_load_n(&s.in_wake, __ATOMIC_SEQ_CST), 0);
    CHECK_EQ_U64(__atomic_load_n(&s.frees, __ATOMIC_SEQ_CST), form == HOST_WAKE ? 1 : 0);
    for (i = 0; i < PRODUCERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_EQ_U64(s.accepted, s.ran + s.dropped);
    CHECK_EQ_U64(host_stats_of(s.loop).accepted, s.accepted);
    CHECK_EQ_U64(host_stats_of(s.loop).ran, s.ran);
    CHECK_EQ_U64(host_stats_of(s.loop).dropped, s.dropped);
    selv_host_loop_release(s.loop);
    CHECK_EQ_U64(s.frees, form == HOST_WAKE ? 1 : 0);
    dropped += s.dropped;
  }
  printf("%llu dropped in %llu rounds\n", (unsigned long long)dropped, (unsigned long long)rounds);
}

/* A wake that takes its time on another thread: the close waits for its end. */
static check_tally in_wake, wake_may_end;
static int wake_has_ended;

static void slow_wake(void *wake_arg) {
  check_tally_add(&in_wake, 1);
  CHECK_WAIT(&wake_may_end, 1);
  check_sleep_ms(20); /* give a close that does not wait the time to return */
  __atomic_store_n(&wake_has_ended, 1, __ATOMIC_SEQ_CST);
  (void)wake_arg;
}

static void slow_wake_freed(void *wake_arg) {
  CHECK_EQ_U64(__atomic_load_n(&wake_has_ended, __ATOMIC_SEQ_CST), 1);
  check_tally_add((check_tally *)wake_arg, 1);
}

static void *queues_one(void *arg) {
  selv_status status = selv_host_loop_call_soon((selv_host_loop *)arg, call_probe_never, NULL, NULL, 0);
  CHECK_OK(status); /* accepted, and dropped by the close */
  return NULL;
}

static void waits_for_a_wake_that_runs(void) {
  selv_host_loop_options options = SELV_HOST_LOOP_OPTIONS_INIT;
  selv_host_loop *l = NULL;
  check_tally freed;
  pthread_t thread;
  check_tally_init(&in_wake);
  check_tally_init(&wake_may_end);
  check_tally_init(&freed);
  options.wake = slow_wake;
  options.wake_arg = &freed;
  options.wake_arg_free = slow_wake_freed;
  CHECK_OK(selv_host_loop_new(&options, &l));
  CHECK(pthread_create(&thread, NULL, queues_one, l) == 0);
  CHECK_WAIT(&in_wake, 1);
  check_tally_add(&wake_may_end, 1);
  CHECK_OK(selv_host_loop_close(l));
  CHECK_EQ_U64(__atomic_load_n(&wake_has_ended, __ATOMIC_SEQ_CST), 1);
  CHECK_EQ_U64(check_tally_get(&freed), 1);
  CHECK(pthread_join(thread, NULL) == 0);
  selv_host_loop_release(l);
  CHECK_EQ_U64(check_tally_get(&freed), 1);
}

/* A runtime that ends the thread inside wake, which it must not: nobody waits for that wake. */
static void wakes_and_ends(void *wake_arg) {
  host *h = (host *)wake_arg;
  host_post(h, NULL, NULL);
  check_tally_add(&h->woken, 1);
  if (!host_is_here(h)) pthread_exit(NULL);
}

static void *queues_and_ends(void *arg) {
  call_probe_soon((call_probe *)arg);
  check_fail(__FILE__, __LINE__, "the wake returned");
  return NULL;
}

static void after_a_wake_that_ended_its_thread(void) {
  selv_host_loop_options options;
  pthread_t thread;
  call_probe p;
  host h;
  host_init(&h, HOST_WAKE);
  options = host_options(&h);
  options.wake = wakes_and_ends;
  CHECK_OK(selv_host_loop_new(&options, &h.loop));
  h.thread = pthread_self();
  h.watch = h.queue[0];
  call_probe_init(&p, &h);
  CHECK(pthread_create(&thread, NULL, queues_and_ends, &p) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK(pthread_create(&thread, NULL, queues_and_ends, &p) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  host_close(&h);
  CALL_COUNTS(&p, 1, 1);
  host_end(&h);
}

int main(void) {
  HOST_RUN_BOTH(in_order);
  HOST_RUN_BOTH(twice);
  HOST_RUN_BOTH(calls_after_it);
  HOST_RUN_BOTH(inside_a_drained_call);
  HOST_RUN_BOTH(inside_a_bounded_drain);
  HOST_RUN_BOTH(inside_a_drop);
  HOST_RUN_BOTH(a_chain_of_loops);
  HOST_RUN_BOTH(on_a_thread_that_ends_in_a_drop);
  HOST_RUN_BOTH(of_each_kind);
  HOST_RUN_BOTH(no_wake_after_it);
  CHECK_RUN(waits_for_a_wake_that_runs);
  CHECK_RUN(after_a_wake_that_ended_its_thread);
  return 0;
}

/* host_loop_bind.c: a loop goes from one thread to another: while it is idle, not while it is drained, and also from a thread
 * that has ended, outside a drain or in the middle of one. What was queued stays queued. */
#include "loops.h"

static void *drains_here(void *arg) {
  host *h = (host *)arg;
  CHECK_STATUS(selv_host_loop_drain(h->loop, 0, NULL), SELV_E_WRONG_THREAD);
  host_bind(h);
  CHECK(host_is_due(h)); /* still */
  CHECK_EQ_U64(host_drain(h, 1), 1);
  CHECK(host_is_due(h));
  return NULL;
}

static void handed_over_and_back(int form) {
  pthread_t thread;
  call_probe p;
  host h;
  uint32_t ran = 99;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  CHECK_OK(selv_host_loop_bind(h.loop)); /* to the same */
  call_probe_soon(&p);
  call_probe_soon(&p);
  CHECK(pthread_create(&thread, NULL, drains_here, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CALL_COUNTS(&p, 1, 0);
  CHECK_STATUS(selv_host_loop_drain(h.loop, 0, &ran), SELV_E_WRONG_THREAD);
  CHECK_EQ_U64(ran, 0);
  CHECK_STATUS(selv_host_loop_close(h.loop), SELV_E_WRONG_THREAD);
  CHECK_EQ_U64(host_waiting(&h), 1);
  host_bind(&h);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  host_end(&h);
}

/* Who calls on the loop's thread would wait for itself; who was it before does not. */
static int32_t answers(void *arg, void **out_value) {
  CHECK(host_is_here((host *)arg));
  (void)out_value;
  return 3;
}

static void takes_over(void *arg) { host_bind((host *)arg); }

static void who_may_wait_for_a_call(int form) {
  selv_outcome outcome;
  host h, other;
  host_begin(&h, form);
  CHECK_STATUS(selv_host_loop_call(h.loop, answers, &h, SELV_FOREVER, &outcome), SELV_E_DEADLOCK);
  host_start(&other, form);
  host_do(&other, takes_over, &h); /* its thread has two loops now, and looks after one of them */
  CHECK_STATUS(selv_host_loop_call(h.loop, answers, &h, 0, &outcome), SELV_E_TIMEDOUT);
  CHECK_OK(selv_host_loop_call(other.loop, answers, &other, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(outcome.code, 3);
  host_stop(&other);
  host_bind(&h); /* that thread has ended */
  CHECK_STATUS(selv_host_loop_call(h.loop, answers, &h, SELV_FOREVER, &outcome), SELV_E_DEADLOCK);
  host_end(&h);
}

/* ---- while it is drained ---- */

static check_tally in_the_call, go_on;

static void holds(call_probe *p) {
  (void)p;
  check_tally_add(&in_the_call, 1);
  CHECK_WAIT(&go_on, 1);
}

static void busy_while_it_is_drained(int form) {
  call_probe p;
  host h;
  check_tally_init(&in_the_call);
  check_tally_init(&go_on);
  host_start(&h, form);
  call_probe_init(&p, &h);
  p.then = holds;
  call_probe_soon(&p);
  CHECK_WAIT(&in_the_call, 1);
  CHECK_STATUS(selv_host_loop_bind(h.loop), SELV_E_BUSY);
  CHECK_LAST_ERROR_HAS("plain");
  CHECK_STATUS(selv_host_loop_bind(h.loop), SELV_E_BUSY);
  check_tally_add(&go_on, 1);
  CHECK_WAIT(&p.ran, 1);
  p.then = NULL;
  call_probe_soon(&p); /* it is still that thread's */
  CHECK_WAIT(&p.ran, 2);
  host_stop(&h);
}

static void binds_inside(call_probe *p) {
  CHECK_STATUS(selv_host_loop_bind(p->on->loop), SELV_E_REENTRANT);
  CHECK_OK(selv_host_loop_bind(((host *)p->object)->loop)); /* another one's matter */
}

static void inside_a_drain_of_this_thread(int form) {
  call_probe p;
  host h, other;
  host_begin(&h, form);
  host_begin(&other, form);
  call_probe_init(&p, &h);
  p.then = binds_inside;
  p.object = &other;
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_EQ_U64(host_drain(&h, 0), 0);
  host_end(&other);
  host_end(&h);
}

static void of_a_closed_loop(int form) {
  host h;
  host_begin(&h, form);
  host_close(&h);
  CHECK_STATUS(selv_host_loop_bind(h.loop), SELV_E_CLOSED);
  host_end(&h);
}

/* ---- a thread that has ended ---- */

static void *begins_and_ends(void *arg) {
  host_begin((host *)arg, ((host *)arg)->form);
  return NULL;
}

static void *is_not_the_one(void *arg) {
  host *h = (host *)arg;
  CHECK_STATUS(selv_host_loop_drain(h->loop, 0, NULL), SELV_E_WRONG_THREAD);
  CHECK_STATUS(selv_host_loop_close(h->loop), SELV_E_WRONG_THREAD);
  return NULL;
}

/* The thread that comes next often has the old one's pthread_t and stack, and is another thread all the same. */
static void from_a_thread_that_has_ended(int form) {
  pthread_t thread;
  call_probe p;
  selv_outcome outcome;
  host h;
  memset(&h, 0, sizeof h);
  h.form = form;
  CHECK(pthread_create(&thread, NULL, begins_and_ends, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  CHECK(pthread_create(&thread, NULL, is_not_the_one, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_STATUS(selv_host_loop_drain(h.loop, 0, NULL), SELV_E_WRONG_THREAD);
  CHECK_STATUS(selv_host_loop_call(h.loop, answers, &h, 0, &outcome), SELV_E_TIMEDOUT);
  CHECK(host_is_due(&h));
  host_bind(&h);
  CHECK(host_is_due(&h));
  host_drain(&h, 0);
  CALL_COUNTS(&p, 1, 0);
  host_end(&h);
}

static void *takes_it(void *arg) {
  host_bind((host *)arg);
  return NULL;
}

/* What the thread before was told, the next one is told again; not if nothing waits, nor if it is the same one. */
static void *is_told_and_ends(void *arg) {
  call_probe *p = (call_probe *)arg;
  host_message message;
  host_bind(p->on);
  call_probe_soon(p);
  CHECK(host_is_due(p->on));
  host_take(p->on, &message); /* it hears of it, and does not come to it */
  return NULL;
}

static void the_next_thread_is_told_again(int form) {
  pthread_t thread;
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  CHECK(pthread_create(&thread, NULL, is_told_and_ends, &p) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(host_is_due(&h), form == HOST_FD);
  host_bind(&h);
  CHECK(host_is_due(&h));
  CHECK_EQ_U64(host_stats(&h).wakes, form == HOST_FD ? 1 : 2);
  host_bind(&h);
  CHECK_EQ_U64(host_stats(&h).wakes, form == HOST_FD ? 1 : 2);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK(!host_is_due(&h));
  CHECK(pthread_create(&thread, NULL, takes_it, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  host_bind(&h);
  CHECK(!host_is_due(&h)); /* nothing waits */
  host_end(&h);
}

/* ---- a thread that ended inside a drain ---- */

static void ends_the_thread(call_probe *p) {
  p->on->inside = 0; /* call_probe_run does not come to it */
  check_tally_add(&p->ran, 1);
  pthread_exit(NULL);
}

static void ends_the_thread_in_another_loop(call_probe *p) {
  host *other = (host *)p->object;
  p->on->inside = 0;
  check_tally_add(&p->ran, 1);
  host_bind(other);
  host_drain(other, 0);
  check_fail(__FILE__, __LINE__, "the inner drain returned");
}

static void *drains_and_ends(void *arg) {
  host *h = (host *)arg;
  host_bind(h);
  host_drain(h, 0);
  check_fail(__FILE__, __LINE__, "the drain returned");
  return NULL;
}

/* What has not run is still there, for the next thread, and is not run twice. */
static void from_a_thread_that_ended_in_a_call(int form) {
  pthread_t thread;
  call_probe before, mortal, behind;
  host h;
  host_begin(&h, form);
  call_probe_init(&before, &h);
  call_probe_init(&mortal, &h);
  call_probe_init(&behind, &h);
  mortal.then = ends_the_thread;
  call_probe_soon(&before);
  call_probe_soon(&mortal);
  call_probe_soon(&behind);
  call_probe_soon(&behind);
  CHECK(pthread_create(&thread, NULL, drains_and_ends, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CALL_COUNTS(&before, 1, 0);
  CALL_COUNTS(&mortal, 1, 0);
  CALL_COUNTS(&behind, 0, 0);
  CHECK_STATUS(selv_host_loop_drain(h.loop, 0, NULL), SELV_E_WRONG_THREAD);
  call_probe_soon(&behind); /* it can still be told things */
  CHECK_EQ_U64(host_waiting(&h), 3);
  host_bind(&h);
  CHECK(host_is_due(&h));
  CHECK_EQ_U64(host_drain(&h, 0), 3);
  CALL_COUNTS(&before, 1, 0);
  CALL_COUNTS(&mortal, 1, 0);
  CALL_COUNTS(&behind, 3, 0);
  CHECK(!host_is_due(&h));
  host_end(&h);
}

static void closed_after_a_thread_ended_in_a_call(int form) {
  pthread_t thread;
  call_probe mortal, behind;
  host h;
  host_begin(&h, form);
  call_probe_init(&mortal, &h);
  call_probe_init(&behind, &h);
  mortal.then = ends_the_thread;
  call_probe_soon(&mortal);
  call_probe_soon(&behind);
  CHECK(pthread_create(&thread, NULL, drains_and_ends, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  host_bind(&h);
  host_close(&h);
  CALL_COUNTS(&mortal, 1, 0);
  CALL_COUNTS(&behind, 0, 1);
  host_end(&h);
}

static void from_a_thread_that_ended_in_a_nested_drain(int form) {
  pthread_t thread;
  call_probe outer, inner, behind[2];
  host h, other;
  host_begin(&h, form);
  host_begin(&other, form);
  call_probe_init(&outer, &h);
  call_probe_init(&inner, &other);
  call_probe_init(&behind[0], &h);
  call_probe_init(&behind[1], &other);
  outer.then = ends_the_thread_in_another_loop;
  outer.object = &other;
  inner.then = ends_the_thread;
  call_probe_soon(&outer);
  call_probe_soon(&inner);
  call_probe_soon(&behind[0]);
  call_probe_soon(&behind[1]);
  CHECK(pthread_create(&thread, NULL, drains_and_ends, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  host_bind(&h);
  host_bind(&other);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_EQ_U64(host_drain(&other, 0), 1);
  CALL_COUNTS(&outer, 1, 0);
  CALL_COUNTS(&inner, 1, 0);
  CALL_COUNTS(&behind[0], 1, 0);
  CALL_COUNTS(&behind[1], 1, 0);
  host_end(&other);
  host_end(&h);
}

/* ---- two threads that take it from each other ---- */

#define TAKERS 2

static uint64_t running, next_in_line, many;

static void alone_and_in_order(void *arg) {
  CHECK_EQ_U64(__atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST), 1);
  CHECK_EQ_U64((uint64_t)(uintptr_t)arg, next_in_line); /* a plain number: one drain sees what the one before it wrote */
  next_in_line++;
  if (next_in_line % 16 == 0) sched_yield();
  CHECK_EQ_U64(__atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST), 0);
}

typedef struct taker {
  selv_host_loop *loop;
  pthread_t thread;
  check_tally begun;
  uint64_t ran, bound, busy, lost;
} taker;

static void *takes_it_again_and_again(void *arg) {
  taker *t = (taker *)arg;
  check_tally_add(&t->begun, 1);
  while (host_stats_of(t->loop).ran < many) {
    uint32_t ran = 99;
    selv_status status = selv_host_loop_bind(t->loop);
    CHECK(status == SELV_OK || status == SELV_E_BUSY);
    t->bound += status == SELV_OK;
    t->busy += status == SELV_E_BUSY;
    status = selv_host_loop_drain(t->loop, 3, &ran);
    CHECK(status == SELV_OK || status == SELV_E_WRONG_THREAD);
    t->lost += status == SELV_E_WRONG_THREAD;
    CHECK(ran <= (status == SELV_OK ? 3u : 0u));
    t->ran += ran;
    sched_yield(); /* to the other */
  }
  return NULL;
}

static void told(void *wake_arg) { __atomic_add_fetch((uint64_t *)wake_arg, 1, __ATOMIC_SEQ_CST); }

static void taken_from_each_other(int form) {
  selv_host_loop_options options = SELV_HOST_LOOP_OPTIONS_INIT;
  taker takers[TAKERS];
  selv_host_loop *l = NULL;
  uint64_t i, ran = 0, wakes = 0;
  many = check_scaled(20000);
  next_in_line = 0;
  if (form == HOST_WAKE) options.wake = told;
  options.wake_arg = &wakes;
  CHECK_OK(selv_host_loop_new(&options, &l));
  memset(takers, 0, sizeof takers);
  for (i = 0; i < TAKERS; i++) {
    takers[i].loop = l;
    check_tally_init(&takers[i].begun);
    CHECK(pthread_create(&takers[i].thread, NULL, takes_it_again_and_again, &takers[i]) == 0);
  }
  for (i = 0; i < TAKERS; i++) CHECK_WAIT(&takers[i].begun, 1);
  for (i = 0; i < many; i++)
    CHECK_OK(selv_host_loop_call_soon(l, alone_and_in_order, (void *)(uintptr_t)i, NULL, 0));
  for (i = 0; i < TAKERS; i++) {
    CHECK(pthread_join(takers[i].thread, NULL) == 0);
    printf("%llu ran in %llu binds, %llu busy, %llu lost\n", (unsigned long long)takers[i].ran, (unsigned long long)takers[i].bound,
           (unsigned long long)takers[i].busy, (unsigned long long)takers[i].lost);
    ran += takers[i].ran;
  }
  CHECK_EQ_U64(ran, many);
  CHECK_EQ_U64(next_in_line, many);
  CHECK_OK(selv_host_loop_bind(l));
  CHECK_OK(selv_host_loop_close(l));
  if (form == HOST_WAKE) CHECK_EQ_U64(host_stats_of(l).wakes, wakes);
  selv_host_loop_release(l);
}

int main(void) {
  HOST_RUN_BOTH(handed_over_and_back);
  HOST_RUN_BOTH(who_may_wait_for_a_call);
  HOST_RUN_BOTH(busy_while_it_is_drained);
  HOST_RUN_BOTH(inside_a_drain_of_this_thread);
  HOST_RUN_BOTH(of_a_closed_loop);
  HOST_RUN_BOTH(from_a_thread_that_has_ended);
  HOST_RUN_BOTH(the_next_thread_is_told_again);
  HOST_RUN_BOTH(from_a_thread_that_ended_in_a_call);
  HOST_RUN_BOTH(closed_after_a_thread_ended_in_a_call);
  HOST_RUN_BOTH(from_a_thread_that_ended_in_a_nested_drain);
  HOST_RUN_BOTH(taken_from_each_other);
  return 0;
}

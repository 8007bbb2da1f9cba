/* host_loop_order.c: calls run in the order in which they were queued, each once, and a drain is bounded: by what was queued
 * when it began, and by the host's own bound. What a call queues runs in a later drain, so it cannot starve the host. */
#include "loops.h"

#define MANY 1000

static call_probe probes[MANY];

static void in_order(int form) {
  uint64_t i, first;
  host h;
  host_begin(&h, form);
  for (i = 0; i < MANY; i++) {
    call_probe_init(&probes[i], &h);
    call_probe_soon(&probes[i]);
    CALL_COUNTS(&probes[i], 0, 0); /* never inside call_soon */
  }
  CHECK_EQ_U64(host_waiting(&h), MANY);
  CHECK_EQ_U64(host_drain(&h, 0), MANY);
  first = probes[0].order;
  for (i = 0; i < MANY; i++) {
    CALL_COUNTS(&probes[i], 1, 0);
    CHECK_EQ_U64(probes[i].order, first + i);
    CHECK(pthread_equal(probes[i].ran_on, pthread_self()));
  }
  CHECK_EQ_U64(host_drain(&h, 0), 0); /* once */
  for (i = 0; i < MANY; i++) CALL_COUNTS(&probes[i], 1, 0);
  host_end(&h);
}

/* In pieces it is the same order. */
static void in_pieces(int form) {
  static const uint32_t pieces[] = {1, 2, 3, 94, 1, 899};
  uint64_t i, done = 0;
  size_t piece;
  host h;
  host_begin(&h, form);
  for (i = 0; i < MANY; i++) {
    call_probe_init(&probes[i], &h);
    call_probe_soon(&probes[i]);
  }
  for (piece = 0; piece < sizeof pieces / sizeof *pieces; piece++) {
    CHECK_EQ_U64(host_drain(&h, pieces[piece]), pieces[piece]);
    done += pieces[piece];
    CHECK_EQ_U64(host_waiting(&h), MANY - done);
    CALL_COUNTS(&probes[done - 1], 1, 0);
    if (done < MANY) CALL_COUNTS(&probes[done], 0, 0);
  }
  CHECK_EQ_U64(done, MANY);
  for (i = 1; i < MANY; i++) CHECK_EQ_U64(probes[i].order, probes[0].order + i);
  host_end(&h);
}

/* A bound above what is queued is none. */
static void a_bound_that_is_not_reached(int form) {
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  CHECK_EQ_U64(host_drain(&h, 5), 0);
  call_probe_soon(&p);
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, UINT32_MAX), 2);
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 2), 1);
  CALL_COUNTS(&p, 3, 0);
  CHECK_OK(selv_host_loop_drain(h.loop, 0, NULL)); /* how many is nobody's business */
  host_end(&h);
}

static void again(call_probe *p) {
  call_probe_soon(p);
  CHECK_EQ_U64(host_waiting(p->on), p->n); /* the others that are behind, and this one */
}

/* A call that queues itself runs once in each drain, whatever the bound is. */
static void a_call_that_queues_itself(int form) {
  static const uint32_t bounds[] = {0, 1, 2, 1000, UINT32_MAX};
  uint64_t i, n = 0;
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  p.then = again;
  p.n = 1;
  call_probe_soon(&p);
  for (i = 0; i < sizeof bounds / sizeof *bounds; i++) {
    CHECK_EQ_U64(host_drain(&h, bounds[i]), 1);
    CALL_COUNTS(&p, ++n, 0);
    CHECK(host_is_due(&h)); /* it is there again */
  }
  host_end(&h);
  CALL_COUNTS(&p, n, 1);
}

/* What calls queue comes behind what was queued before, and in a later drain. */
static void behind_the_others(int form) {
  uint64_t round, i;
  call_probe p[3];
  host h;
  host_begin(&h, form);
  for (i = 0; i < 3; i++) {
    call_probe_init(&p[i], &h);
    p[i].then = again;
    p[i].n = 3;
    call_probe_soon(&p[i]);
  }
  for (round = 1; round <= 4; round++) {
    CHECK_EQ_U64(host_drain(&h, 0), 3);
    for (i = 0; i < 3; i++) CALL_COUNTS(&p[i], round, 0);
    CHECK_EQ_U64(p[1].order, p[0].order + 1);
    CHECK_EQ_U64(p[2].order, p[0].order + 2);
  }
  CHECK_EQ_U64(host_drain(&h, 2), 2); /* the first two: 2 0 1 are left */
  CHECK_EQ_U64(host_drain(&h, 2), 2); /* 1 2 0 are left */
  CALL_COUNTS(&p[0], 6, 0);
  CALL_COUNTS(&p[1], 5, 0);
  CALL_COUNTS(&p[2], 5, 0);
  CHECK(p[2].order < p[0].order && p[1].order < p[2].order);
  for (i = 0; i < 3; i++) p[i].then = NULL;
  CHECK_EQ_U64(host_drain(&h, 0), 3);
  CHECK(p[1].order < p[2].order && p[2].order < p[0].order);
  host_end(&h);
}

/* What another thread queues while a drain runs is not for this drain either. */
static void *queues_one(void *arg) {
  call_probe_soon((call_probe *)arg);
  return NULL;
}

static void has_another_thread_queue(call_probe *p) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, queues_one, p->object) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void by_another_thread_meanwhile(int form) {
  call_probe p, late;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&late, &h);
  p.then = has_another_thread_queue;
  p.object = &late;
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CALL_COUNTS(&late, 0, 0);
  CHECK(host_is_due(&h));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CALL_COUNTS(&late, 1, 0);
  CHECK(!host_is_due(&h));
  host_end(&h);
}

/* The calls of one thread keep their order, whatever others queue between them; each runs once. */
#define THREADS 3

static struct numbered {
  host *on;
  uint64_t thread, number;
} *numbered[THREADS];
static uint64_t next_number[THREADS], per_thread;
static check_tally all_ran = CHECK_TALLY_INIT;

static void numbered_run(void *arg) {
  struct numbered *c = (struct numbered *)arg;
  CHECK(host_is_here(c->on));
  CHECK_EQ_U64(c->number, next_number[c->thread]);
  next_number[c->thread]++;
  check_tally_add(&all_ran, 1);
}

static void *queues_many(void *arg) {
  struct numbered *mine = (struct numbered *)arg;
  uint64_t i;
  for (i = 0; i < per_thread; i++) CHECK_OK(selv_host_loop_call_soon(mine[i].on->loop, numbered_run, &mine[i], NULL, 0));
  return NULL;
}

static void from_several_threads(int form, uint32_t max_calls) {
  pthread_t threads[THREADS];
  uint64_t t, i;
  host h;
  host_init(&h, form);
  h.max_calls = max_calls;
  host_go(&h);
  per_thread = check_scaled(5000);
  all_ran.count = 0;
  for (t = 0; t < THREADS; t++) {
    next_number[t] = 0;
    numbered[t] = (struct numbered *)calloc(per_thread, sizeof **numbered);
    CHECK(numbered[t] != NULL);
    for (i = 0; i < per_thread; i++) {
      numbered[t][i].on = &h;
      numbered[t][i].thread = t;
      numbered[t][i].number = i;
    }
  }
  for (t = 0; t < THREADS; t++) CHECK(pthread_create(&threads[t], NULL, queues_many, numbered[t]) == 0);
  for (t = 0; t < THREADS; t++) CHECK(pthread_join(threads[t], NULL) == 0);
  CHECK_WAIT(&all_ran, THREADS * per_thread);
  host_stop(&h);
  CHECK_EQ_U64(check_tally_get(&all_ran), THREADS * per_thread);
  for (t = 0; t < THREADS; t++) free(numbered[t]);
}

static void from_several_threads_unbounded(int form) { from_several_threads(form, 0); }
static void from_several_threads_in_threes(int form) { from_several_threads(form, 3); } /* what is left: one more wake */

int main(void) {
  HOST_RUN_BOTH(in_order);
  HOST_RUN_BOTH(in_pieces);
  HOST_RUN_BOTH(a_bound_that_is_not_reached);
  HOST_RUN_BOTH(a_call_that_queues_itself);
  HOST_RUN_BOTH(behind_the_others);
  HOST_RUN_BOTH(by_another_thread_meanwhile);
  HOST_RUN_BOTH(from_several_threads_unbounded);
  HOST_RUN_BOTH(from_several_threads_in_threes);
  return 0;
}

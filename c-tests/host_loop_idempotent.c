/* host_loop_idempotent.c: SELV_CALL_IDEMPOTENT: while a call with the same function and argument waits, a second one is merged
 * into it and its drop is not called. One that runs, or has run, does not wait any more. */
#include "loops.h"

static void soon_once(call_probe *p) { CHECK_OK(call_probe_queue(p, SELV_CALL_IDEMPOTENT)); }

static void counts_at(const char *file, int line, host *h, uint64_t accepted, uint64_t merged, uint64_t waiting) {
  selv_host_loop_stats stats = host_stats(h);
  check_u64_is(file, line, "accepted", "expected", stats.accepted, accepted);
  check_u64_is(file, line, "merged", "expected", stats.merged, merged);
  check_u64_is(file, line, "waiting", "expected", stats.waiting, waiting);
}
#define COUNTS(h, accepted, merged, waiting) counts_at(__FILE__, __LINE__, (h), (accepted), (merged), (waiting))

static void merged_while_it_waits(int form) {
  call_probe p;
  host h;
  int i;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  for (i = 0; i < 10; i++) soon_once(&p);
  COUNTS(&h, 1, 9, 1);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CALL_COUNTS(&p, 1, 0);
  soon_once(&p); /* a new one */
  soon_once(&p);
  COUNTS(&h, 2, 10, 1);
  CHECK(host_is_due(&h));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CALL_COUNTS(&p, 2, 0);
  host_end(&h);
}

static void in_the_place_of_the_first(int form) {
  call_probe p, other;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&other, &h);
  soon_once(&p);
  call_probe_soon(&other);
  soon_once(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 2);
  CHECK(p.order < other.order);
  host_end(&h);
}

static check_tally run_otherwise = CHECK_TALLY_INIT;
static void runs_otherwise(void *arg) {
  (void)arg;
  check_tally_add(&run_otherwise, 1);
}

/* The function and the argument count, both of them, NULL too. */
static void only_the_same(int form) {
  call_probe p, q;
  host h;
  int i;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&q, &h);
  run_otherwise.count = 0;
  for (i = 0; i < 2; i++) {
    soon_once(&p);
    soon_once(&q);
    CHECK_OK(selv_host_loop_call_soon(h.loop, runs_otherwise, &p, NULL, SELV_CALL_IDEMPOTENT));
    CHECK_OK(selv_host_loop_call_soon(h.loop, runs_otherwise, NULL, NULL, SELV_CALL_IDEMPOTENT));
  }
  COUNTS(&h, 4, 4, 4);
  CHECK_EQ_U64(host_drain(&h, 0), 4);
  CALL_COUNTS(&p, 1, 0);
  CALL_COUNTS(&q, 1, 0);
  CHECK_EQ_U64(check_tally_get(&run_otherwise), 2);
  host_end(&h);
}

/* A call without the flag is one of its own, whoever waits. */
static void not_without_the_flag(int form) {
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  soon_once(&p);
  call_probe_soon(&p);
  call_probe_soon(&p);
  COUNTS(&h, 3, 0, 3);
  CHECK_EQ_U64(host_drain(&h, 0), 3);
  CALL_COUNTS(&p, 3, 0);
  host_end(&h);
}

/* Two loops have nothing to do with each other. */
static void not_with_another_loop(int form) {
  call_probe p;
  host h, other;
  host_begin(&h, form);
  host_begin(&other, form);
  call_probe_init(&p, &h);
  soon_once(&p);
  CHECK_OK(selv_host_loop_call_soon(other.loop, call_probe_run, &p, NULL, SELV_CALL_IDEMPOTENT));
  COUNTS(&h, 1, 0, 1);
  COUNTS(&other, 1, 0, 1);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_EQ_U64(host_drain(&other, 0), 1);
  CALL_COUNTS(&p, 2, 0);
  host_end(&other);
  host_end(&h);
}

/* ---- while it runs, and in a drain ---- */

static void queues_itself_twice(call_probe *p) {
  if (check_tally_get(&p->ran) < 3) {
    soon_once(p); /* another run */
    soon_once(p); /* the same as that one */
  }
}

static void not_while_it_runs(int form) {
  uint64_t i;
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  p.then = queues_itself_twice;
  soon_once(&p);
  for (i = 1; i <= 4; i++) {
    CHECK_EQ_U64(host_drain(&h, 0), 1);
    CALL_COUNTS(&p, i, 0);
  }
  COUNTS(&h, 4, 3, 0);
  host_end(&h);
}

static void queues_the_other(call_probe *p) { soon_once((call_probe *)p->object); }

/* Behind the running one in the same drain, it still waits; before it, it has run. */
static void in_the_same_drain(int form) {
  call_probe first, second;
  host h;
  host_begin(&h, form);
  call_probe_init(&first, &h);
  call_probe_init(&second, &h);
  first.then = queues_the_other;
  first.object = &second;
  soon_once(&first);
  soon_once(&second);
  CHECK_EQ_U64(host_drain(&h, 0), 2);
  COUNTS(&h, 2, 1, 0);
  CALL_COUNTS(&second, 1, 0);
  first.then = NULL;
  second.then = queues_the_other;
  second.object = &first;
  soon_once(&first);
  soon_once(&second);
  CHECK_EQ_U64(host_drain(&h, 0), 2);
  COUNTS(&h, 5, 1, 1);
  CALL_COUNTS(&first, 2, 0);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CALL_COUNTS(&first, 3, 0);
  host_end(&h);
}

static void across_a_bounded_drain(int form) {
  call_probe p[3];
  host h;
  int i;
  host_begin(&h, form);
  for (i = 0; i < 3; i++) {
    call_probe_init(&p[i], &h);
    soon_once(&p[i]);
  }
  CHECK_EQ_U64(host_drain(&h, 1), 1);
  for (i = 2; i >= 0; i--) soon_once(&p[i]); /* 1 and 2 wait, 0 does not */
  COUNTS(&h, 4, 2, 3);
  CHECK_EQ_U64(host_drain(&h, 2), 2);
  for (i = 0; i < 3; i++) CALL_COUNTS(&p[i], 1, 0);
  soon_once(&p[0]);
  soon_once(&p[2]);
  COUNTS(&h, 5, 3, 2);
  CHECK_EQ_U64(host_drain(&h, 0), 2);
  CALL_COUNTS(&p[0], 2, 0);
  CALL_COUNTS(&p[1], 1, 0);
  CALL_COUNTS(&p[2], 2, 0);
  host_end(&h);
}

/* ---- drops ---- */

static void drop_of_a_merged_one(void *arg) {
  (void)arg;
  check_fail(__FILE__, __LINE__, "the drop of a merged call was called");
}

static void the_first_ones_drop(int form) {
  call_probe p;
  host h;
  int i;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  soon_once(&p);
  for (i = 0; i < 5; i++)
    CHECK_OK(selv_host_loop_call_soon(h.loop, call_probe_run, &p, drop_of_a_merged_one, SELV_CALL_IDEMPOTENT));
  COUNTS(&h, 1, 5, 1);
  host_close(&h);
  CALL_COUNTS(&p, 0, 1);
  CHECK_EQ_U64(host_stats(&h).dropped, 1);
  CHECK_STATUS(call_probe_queue(&p, SELV_CALL_IDEMPOTENT), SELV_E_CLOSED);
  COUNTS(&h, 1, 5, 0);
  host_end(&h);
  CALL_COUNTS(&p, 0, 1);
}

/* ---- many ---- */

#define MANY 3000
static call_probe many[MANY];

static void many_different_ones(int form) {
  uint64_t i, left;
  host h;
  host_begin(&h, form);
  for (i = 0; i < MANY; i++) {
    call_probe_init(&many[i], &h);
    soon_once(&many[i]);
  }
  for (i = 0; i < MANY; i++) soon_once(&many[(i * 7) % MANY]);
  COUNTS(&h, MANY, MANY, MANY);
  CHECK_EQ_U64(host_drain(&h, MANY / 3), MANY / 3);
  for (i = 0; i < MANY; i++) soon_once(&many[(i * 11) % MANY]);
  left = MANY;
  COUNTS(&h, MANY + MANY / 3, 2 * MANY - MANY / 3, left);
  CHECK_EQ_U64(host_drain(&h, 0), left);
  for (i = 0; i < MANY; i++) CALL_COUNTS(&many[i], i < MANY / 3 ? 2 : 1, 0);
  host_end(&h);
}

/* What was queued is never lost: the last run begins after the last call_soon, and sees all that was done before it. */
#define THREADS 3

static uint64_t done_before, seen, asked;

static void looks(call_probe *p) {
  (void)p;
  __atomic_store_n(&seen, __atomic_load_n(&done_before, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
}

static void *asks(void *arg) {
  uint64_t i;
  for (i = 0; i < asked; i++) {
    __atomic_add_fetch(&done_before, 1, __ATOMIC_SEQ_CST);
    soon_once((call_probe *)arg);
    if (i % 64 == 0) sched_yield();
  }
  return NULL;
}

static void from_several_threads(int form) {
  pthread_t threads[THREADS];
  selv_host_loop_stats stats;
  call_probe p;
  host h;
  int i;
  asked = check_scaled(20000);
  done_before = seen = 0;
  host_start(&h, form);
  call_probe_init(&p, &h);
  p.then = looks;
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, asks, &p) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  UNTIL(__atomic_load_n(&seen, __ATOMIC_SEQ_CST) == THREADS * asked);
  UNTIL(host_waiting(&h) == 0);
  stats = host_stats(&h);
  CHECK_EQ_U64(stats.accepted + stats.merged, THREADS * asked);
  host_stop(&h);
  CHECK_EQ_U64(check_tally_get(&p.ran), stats.accepted);
  printf("%llu of %llu ran\n", (unsigned long long)stats.accepted, (unsigned long long)(THREADS * asked));
}

int main(void) {
  HOST_RUN_BOTH(merged_while_it_waits);
  HOST_RUN_BOTH(in_the_place_of_the_first);
  HOST_RUN_BOTH(only_the_same);
  HOST_RUN_BOTH(not_without_the_flag);
  HOST_RUN_BOTH(not_with_another_loop);
  HOST_RUN_BOTH(not_while_it_runs);
  HOST_RUN_BOTH(in_the_same_drain);
  HOST_RUN_BOTH(across_a_bounded_drain);
  HOST_RUN_BOTH(the_first_ones_drop);
  HOST_RUN_BOTH(many_different_ones);
  HOST_RUN_BOTH(from_several_threads);
  return 0;
}

/* host_loop_wake.c: when the host is told to drain: once when the empty queue gets something, not again while it has not drained;
 * again, once, after a drain that leaves work. The fd is readable at the same moments, and not while a drain runs. */
#include "loops.h"

/* So many times has the host been told so far; `due`: and has yet to drain for it. */
static void told_at(const char *file, int line, host *h, uint64_t times, int due) {
  selv_host_loop_stats stats = host_stats(h);
  if (host_is_due(h) != due)
    check_fail(file, line, "a drain is %sdue, and should%s be; %llu calls wait", due ? "not " : "", due ? "" : " not",
               (unsigned long long)stats.waiting);
  check_u64_is(file, line, "stats.wakes", "expected", stats.wakes, times);
  if (h->form == HOST_WAKE) check_u64_is(file, line, "wakes that came", "expected", check_tally_get(&h->woken), times);
}
#define TOLD(h, times, due) told_at(__FILE__, __LINE__, (h), (times), (due))

static void once_when_it_is_no_longer_empty(int form) {
  call_probe p;
  host h;
  int i;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  TOLD(&h, 0, 0);
  call_probe_soon(&p);
  TOLD(&h, 1, 1);
  for (i = 0; i < 100; i++) call_probe_soon(&p);
  TOLD(&h, 1, 1);
  CHECK_EQ_U64(host_drain(&h, 0), 101);
  TOLD(&h, 1, 0);
  CHECK_EQ_U64(host_drain(&h, 0), 0); /* for nothing */
  TOLD(&h, 1, 0);
  call_probe_soon(&p);
  TOLD(&h, 2, 1);
  call_probe_soon(&p);
  TOLD(&h, 2, 1);
  CHECK_EQ_U64(host_drain(&h, 2), 2);
  TOLD(&h, 2, 0);
  host_end(&h);
}

static void again_when_a_drain_leaves_work(int form) {
  uint64_t i;
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  for (i = 0; i < 5; i++) call_probe_soon(&p);
  TOLD(&h, 1, 1);
  for (i = 0; i < 4; i++) {
    CHECK_EQ_U64(host_drain(&h, 1), 1);
    TOLD(&h, 2 + i, 1);
    if (i == 1) { /* what comes meanwhile needs no wake of its own */
      call_probe_soon(&p);
      TOLD(&h, 2 + i, 1);
    }
  }
  CHECK_EQ_U64(host_drain(&h, 2), 2);
  TOLD(&h, 5, 0);
  CALL_COUNTS(&p, 6, 0);
  host_end(&h);
}

/* ---- what a call sees, and what it queues ---- */

static void sees_no_drain_due(call_probe *p) { CHECK(!host_is_due(p->on)); }

static void not_while_a_drain_runs(int form) {
  call_probe p;
  host h;
  int i;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  p.then = sees_no_drain_due;
  for (i = 0; i < 10; i++) call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 6), 6); /* work waits all the time */
  TOLD(&h, 2, 1);
  CHECK_EQ_U64(host_drain(&h, 0), 4);
  TOLD(&h, 2, 0);
  host_end(&h);
}

static void queues_some(call_probe *p) {
  uint64_t i;
  for (i = 0; i < p->n; i++) {
    call_probe_soon((call_probe *)p->object);
    CHECK(!host_is_due(p->on)); /* not yet: at the end of the drain */
  }
}

static void for_what_calls_queue(int form) {
  call_probe p, queued;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&queued, &h);
  p.then = queues_some;
  p.object = &queued;
  p.n = 3;
  call_probe_soon(&p);
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 2);
  TOLD(&h, 2, 1); /* once, for all six */
  CHECK_EQ_U64(host_drain(&h, 0), 6);
  TOLD(&h, 2, 0);
  CALL_COUNTS(&queued, 6, 0);
  host_end(&h);
}

static void *soon_on_a_thread(void *arg) {
  call_probe_soon((call_probe *)arg);
  return NULL;
}

static void on_a_thread(call_probe *p) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, soon_on_a_thread, p) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void has_a_thread_queue(call_probe *p) {
  on_a_thread((call_probe *)p->object);
  CHECK(!host_is_due(p->on));
}

/* A wake comes from whatever thread it is that queues. */
static void from_another_thread(int form) {
  call_probe p, other;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&other, &h);
  on_a_thread(&other);
  TOLD(&h, 1, 1);
  on_a_thread(&other);
  TOLD(&h, 1, 1);
  CHECK_EQ_U64(host_drain(&h, 0), 2);
  TOLD(&h, 1, 0);
  p.then = has_a_thread_queue;
  p.object = &other;
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  TOLD(&h, 3, 1);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  TOLD(&h, 3, 0);
  host_end(&h);
}

/* A close takes the reason for a drain away. */
static void not_after_the_close(int form) {
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  host_close(&h);
  CHECK_STATUS(call_probe_queue(&p, 0), SELV_E_CLOSED);
  TOLD(&h, 1, 0);
  host_end(&h);
}

static void the_fd_is_not_readable_after_the_close(void) {
  call_probe p;
  host h;
  host_begin(&h, HOST_FD);
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  CHECK(host_is_due(&h));
  host_close(&h);
  CALL_COUNTS(&p, 0, 1);
  CHECK(!host_is_due(&h)); /* a host that still polls it does not spin */
  host_end(&h);
}

/* One call at a time, each queued as soon as the one before has run, whether its drain has ended or not: each is worth one wake. */
static void one_by_one(int form) {
  uint64_t i, many = check_scaled(5000);
  call_probe p;
  host h;
  host_start(&h, form);
  call_probe_init(&p, &h);
  for (i = 1; i <= many; i++) {
    call_probe_soon(&p);
    CHECK_WAIT(&p.ran, i);
  }
  CHECK_EQ_U64(host_stats(&h).wakes, many);
  host_stop(&h);
  CALL_COUNTS(&p, many, 0);
}

int main(void) {
  HOST_RUN_BOTH(once_when_it_is_no_longer_empty);
  HOST_RUN_BOTH(again_when_a_drain_leaves_work);
  HOST_RUN_BOTH(not_while_a_drain_runs);
  HOST_RUN_BOTH(for_what_calls_queue);
  HOST_RUN_BOTH(from_another_thread);
  HOST_RUN_BOTH(not_after_the_close);
  HOST_RUN_BOTH(one_by_one);
  CHECK_RUN(the_fd_is_not_readable_after_the_close);
  return 0;
}

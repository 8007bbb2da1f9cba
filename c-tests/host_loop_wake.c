/* host_loop_wake.c: when the host is told to drain: once when the empty queue gets something, not again while it has not drained;
 * again, once, after a drain that leaves work. The fd is readable at the same moments, and not while a drain runs; and it becomes so
 * anew each time, for a host that polls it edge-triggered. */
#include "loops.h"

#include <sys/epoll.h>

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

/* ---- a host that polls the fd edge-triggered: it is told of each wake once, whether it drains or not ---- */

static int edges_of(const host *h) {
  struct epoll_event event;
  int edges = epoll_create1(EPOLL_CLOEXEC);
  CHECK(edges >= 0);
  memset(&event, 0, sizeof event);
  event.events = EPOLLIN | EPOLLET;
  CHECK(epoll_ctl(edges, EPOLL_CTL_ADD, h->watch, &event) == 0);
  return edges;
}

/* Is there an edge that has not been told of? */
static int edge_within(int edges, int timeout_ms) {
  struct epoll_event event;
  int n;
  do {
    n = epoll_wait(edges, &event, 1, timeout_ms);
  } while (n < 0 && errno == EINTR);
  CHECK(n == 0 || (n == 1 && event.events == EPOLLIN));
  return n;
}

static int edge_now(int edges) { return edge_within(edges, 0); }

static void an_edge_for_each_wake(void) {
  call_probe p, queued;
  int edges, i;
  host h;
  host_begin(&h, HOST_FD);
  edges = edges_of(&h);
  call_probe_init(&p, &h);
  CHECK(!edge_now(edges));
  for (i = 0; i < 3; i++) {
    call_probe_soon(&p);
    CHECK(edge_now(edges) == (i == 0));
  }
  CHECK_EQ_U64(host_drain(&h, 1), 1); /* leaves work, twice */
  CHECK(edge_now(edges));
  CHECK_EQ_U64(host_drain(&h, 1), 1);
  CHECK(edge_now(edges) && !edge_now(edges));
  CHECK_EQ_U64(host_drain(&h, 1), 1);
  CHECK(!edge_now(edges));
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 1); /* before it was told */
  CHECK(!edge_now(edges));
  call_probe_init(&queued, &h);
  p.then = queues_some;
  p.object = &queued;
  p.n = 2;
  call_probe_soon(&p);
  CHECK(edge_now(edges));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK(edge_now(edges)); /* for what the drain has queued */
  CHECK_EQ_U64(host_drain(&h, 0), 2);
  CHECK(!edge_now(edges));
  host_end(&h);
  CHECK(close(edges) == 0);
}

enum { EDGE_CALLERS = 3 };

static void *soon_many_times(void *arg) {
  uint64_t i, many = check_scaled(10000);
  for (i = 0; i < many; i++) call_probe_soon((call_probe *)arg);
  return NULL;
}

/* No drain but after an edge, and each for a few calls only: all that three threads queue has run. */
static void no_edge_is_lost(void) {
  uint64_t turns = 0, ran = 0, many = EDGE_CALLERS * check_scaled(10000);
  pthread_t callers[EDGE_CALLERS];
  call_probe p;
  int edges, i;
  host h;
  host_begin(&h, HOST_FD);
  edges = edges_of(&h);
  call_probe_init(&p, &h);
  for (i = 0; i < EDGE_CALLERS; i++) CHECK(pthread_create(&callers[i], NULL, soon_many_times, &p) == 0);
  while (ran < many) {
    uint32_t some;
    CHECK(edge_within(edges, (int)check_patience_s() * 1000));
    some = host_drain(&h, 5);
    CHECK(some > 0);
    ran += some;
    turns++;
  }
  for (i = 0; i < EDGE_CALLERS; i++) CHECK(pthread_join(callers[i], NULL) == 0);
  CHECK(!edge_now(edges));
  CHECK_EQ_U64(host_stats(&h).wakes, turns);
  CALL_COUNTS(&p, many, 0);
  host_end(&h);
  CHECK(close(edges) == 0);
}

static void *opens_the_loop(void *arg) {
  host_begin((host *)arg, HOST_FD);
  return NULL;
}

static void *takes_the_edge(void *arg) {
  CHECK(edge_now(*(int *)arg));
  return NULL;
}

/* A thread that was told and has not drained: the next one of the loop is told again. */
static void the_edge_again_for_another_thread(void) {
  pthread_t thread;
  call_probe p;
  int edges;
  host h;
  CHECK(pthread_create(&thread, NULL, opens_the_loop, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  edges = edges_of(&h);
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  CHECK(pthread_create(&thread, NULL, takes_the_edge, &edges) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(!edge_now(edges));
  host_bind(&h);
  CHECK(edge_now(edges));
  host_bind(&h); /* which changes nothing */
  CHECK(!edge_now(edges));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK(!edge_now(edges) && !host_is_due(&h));
  CHECK_EQ_U64(host_stats(&h).wakes, 1);
  host_end(&h);
  CHECK(close(edges) == 0);
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
  CHECK_RUN(an_edge_for_each_wake);
  CHECK_RUN(no_edge_is_lost);
  CHECK_RUN(the_edge_again_for_another_thread);
  return 0;
}

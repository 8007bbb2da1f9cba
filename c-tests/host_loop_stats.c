/* host_loop_stats.c: every number of a loop's statistics, after each kind of thing that changes it. */
#include "loops.h"
#include "probe.h"
#include "sync_probe.h"

typedef struct expected {
  uint64_t waiting, accepted, ran, merged, dropped, wakes, drains, closed;
} expected;

static void stats_are(const char *file, int line, host *h, expected e) {
  selv_host_loop_stats s = host_stats(h);
  check_u64_is(file, line, "waiting", "expected", s.waiting, e.waiting);
  check_u64_is(file, line, "accepted", "expected", s.accepted, e.accepted);
  check_u64_is(file, line, "ran", "expected", s.ran, e.ran);
  check_u64_is(file, line, "merged", "expected", s.merged, e.merged);
  check_u64_is(file, line, "dropped", "expected", s.dropped, e.dropped);
  check_u64_is(file, line, "wakes", "expected", s.wakes, e.wakes);
  check_u64_is(file, line, "drains", "expected", s.drains, e.drains);
  check_u64_is(file, line, "closed", "expected", s.closed, e.closed);
  check_u64_is(file, line, "guests", "expected", s.guests, 0);
}
#define STATS(h, e) stats_are(__FILE__, __LINE__, (h), (e))

static void of_calls(int form) {
  expected e;
  call_probe p;
  host h;
  memset(&e, 0, sizeof e);
  host_begin(&h, form);
  call_probe_init(&p, &h);
  STATS(&h, e);
  call_probe_soon(&p);
  e.waiting = e.accepted = e.wakes = 1;
  STATS(&h, e);
  CHECK_OK(call_probe_queue(&p, SELV_CALL_IDEMPOTENT));
  CHECK_OK(call_probe_queue(&p, SELV_CALL_IDEMPOTENT));
  e.waiting = e.accepted = 2;
  e.merged = 1;
  STATS(&h, e);
  CHECK_STATUS(call_probe_queue(&p, 0x40000000u), SELV_E_INVAL); /* refused calls are in none of them */
  STATS(&h, e);
  host_drain(&h, 1);
  e.waiting = e.ran = e.drains = 1;
  e.wakes = 2;
  STATS(&h, e);
  host_drain(&h, 1);
  e.waiting = 0;
  e.ran = e.drains = 2;
  STATS(&h, e);
  host_drain(&h, 0); /* for nothing */
  e.drains = 3;
  STATS(&h, e);
  call_probe_soon(&p);
  call_probe_soon(&p);
  e.waiting = 2;
  e.accepted = 4;
  e.wakes = 3;
  STATS(&h, e);
  host_close(&h);
  e.waiting = 0;
  e.dropped = 2;
  e.closed = 1;
  STATS(&h, e);
  CHECK_STATUS(call_probe_queue(&p, 0), SELV_E_CLOSED);
  CHECK_STATUS(selv_host_loop_drain(h.loop, 0, NULL), SELV_E_CLOSED);
  STATS(&h, e);
  host_end(&h);
}

/* Inside a call it has been run, or is being run: what waits are those behind it. */
static void looks_around(call_probe *p) {
  selv_host_loop_stats s = host_stats(p->on);
  p->n--;
  CHECK_EQ_U64(s.waiting, p->n);
  CHECK_EQ_U64(s.accepted, 3);
  CHECK(s.ran == 3 - p->n || s.ran == 2 - p->n);
  CHECK_EQ_U64(s.dropped, 0);
}

static void inside_a_drain(int form) {
  call_probe p;
  host h;
  int i;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  p.then = looks_around;
  p.n = 3;
  for (i = 0; i < 3; i++) call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 3);
  CHECK_EQ_U64(host_stats(&h).drains, 1);
  host_end(&h);
}

/* Outcomes, completions and calls that are waited for count as calls do. */
static int32_t nothing(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

static void *calls(void *arg) {
  CHECK_OK(selv_host_loop_call(((host *)arg)->loop, nothing, NULL, SELV_FOREVER, NULL));
  return NULL;
}

static void of_what_else_is_queued(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_semaphore *s = semaphore_of(0, 0);
  selv_job_options job;
  pthread_t thread;
  op_probe op;
  expected e;
  probe p;
  host h;
  memset(&e, 0, sizeof e);
  host_begin(&h, form);
  probe_init(&p);
  op_probe_init(&op);
  op.loop = h.loop;
  CHECK_STATUS(op_semaphore(&op, s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  STATS(&h, e); /* it waits for its semaphore, not for the loop */
  CHECK_OK(selv_semaphore_release(s, 1));
  e.waiting = e.accepted = e.wakes = 1;
  STATS(&h, e);
  job = probe_job(probe_run, &p);
  job.loop = h.loop;
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  UNTIL(host_waiting(&h) == 2);
  e.waiting = e.accepted = 2;
  STATS(&h, e);
  CHECK(pthread_create(&thread, NULL, calls, &h) == 0);
  UNTIL(host_waiting(&h) == 3);
  e.waiting = e.accepted = 3;
  STATS(&h, e);
  CHECK_EQ_U64(host_drain(&h, 0), 3);
  CHECK(pthread_join(thread, NULL) == 0);
  e.waiting = 0;
  e.ran = 3;
  e.drains = 1;
  STATS(&h, e);
  OP_GOT(&op, 1, SELV_OK);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  host_end(&h);
  CHECK_OK(selv_semaphore_free(s));
  probe_end(c);
}

/* What is withdrawn while it waits was dropped: the sum stays right. */
static void *calls_in_vain(void *arg) {
  CHECK_STATUS(selv_host_loop_call(((host *)arg)->loop, nothing, NULL, 0, NULL), SELV_E_TIMEDOUT);
  return NULL;
}

static void sum_is_right(host *h) {
  selv_host_loop_stats s = host_stats(h);
  CHECK_EQ_U64(s.accepted, s.ran + s.dropped + s.waiting);
}

static void of_what_is_withdrawn(int form) {
  selv_semaphore *s = semaphore_of(0, 0);
  pthread_t thread;
  op_probe op;
  host h;
  host_begin(&h, form);
  CHECK(pthread_create(&thread, NULL, calls_in_vain, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  sum_is_right(&h);
  op_probe_init(&op);
  op.loop = h.loop;
  CHECK_STATUS(op_semaphore(&op, s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  CHECK_OK(selv_semaphore_release(s, 1));
  CHECK_OK(selv_op_abandon(op.op));
  sum_is_right(&h);
  CHECK_EQ_U64(host_drain(&h, 0), 0);
  CHECK_EQ_U64(host_stats(&h).ran, 0);
  CHECK_EQ_U64(host_stats(&h).waiting, 0);
  CHECK_EQ_U64(check_tally_get(&op.called), 0);
  sum_is_right(&h);
  host_end(&h);
  CHECK_OK(selv_semaphore_free(s));
}

/* Two loops count for themselves. */
static void of_two_loops(int form) {
  call_probe p, q;
  host h, other;
  host_begin(&h, form);
  host_begin(&other, form);
  call_probe_init(&p, &h);
  call_probe_init(&q, &other);
  call_probe_soon(&p);
  call_probe_soon(&q);
  call_probe_soon(&q);
  CHECK_EQ_U64(host_stats(&h).accepted, 1);
  CHECK_EQ_U64(host_stats(&other).accepted, 2);
  CHECK_EQ_U64(host_drain(&other, 0), 2);
  CHECK_EQ_U64(host_stats(&h).ran, 0);
  host_end(&other);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  host_end(&h);
}

int main(void) {
  HOST_RUN_BOTH(of_calls);
  HOST_RUN_BOTH(inside_a_drain);
  HOST_RUN_BOTH(of_what_else_is_queued);
  HOST_RUN_BOTH(of_what_is_withdrawn);
  HOST_RUN_BOTH(of_two_loops);
  return 0;
}

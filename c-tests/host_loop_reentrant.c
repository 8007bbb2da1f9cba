/* host_loop_reentrant.c: a drain inside a drain of the same loop is refused and runs nothing, in whatever kind of callback it is
 * tried; one of another loop is not. Drains and closes off the loop's thread are refused, and so are those in a wake. */
#include "loops.h"
#include "probe.h"

static void drain_is(host *h, selv_status wanted) {
  uint32_t ran = 99;
  CHECK_STATUS(selv_host_loop_drain(h->loop, 0, &ran), wanted);
  if (wanted < 0) CHECK_EQ_U64(ran, 0);
  CHECK_STATUS(selv_host_loop_drain(h->loop, 1, NULL), wanted);
}

/* ---- inside a drain ---- */

static void drains_again(call_probe *p) {
  uint64_t waiting = host_waiting(p->on);
  drain_is(p->on, SELV_E_REENTRANT);
  CHECK_LAST_ERROR_HAS("plain");
  CHECK_EQ_U64(host_waiting(p->on), waiting);
  CHECK(!host_is_due(p->on)); /* nor has it told anybody anything */
}

static void in_a_call(int form) {
  call_probe p, behind;
  host h;
  uint64_t drains;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&behind, &h);
  p.then = drains_again;
  call_probe_soon(&p);
  call_probe_soon(&behind);
  call_probe_soon(&p);
  drains = host_stats(&h).drains;
  CHECK_EQ_U64(host_drain(&h, 0), 3);
  CHECK_EQ_U64(host_stats(&h).drains, drains + 1); /* refused ones do not count */
  CALL_COUNTS(&p, 2, 0);
  CALL_COUNTS(&behind, 1, 0);
  call_probe_soon(&p); /* the loop is as good as before */
  CHECK_EQ_U64(host_drain(&h, 1), 1);
  host_end(&h);
}

static void drain_in_drop(call_probe *p) {
  uint32_t ran = 99;
  selv_status status = selv_host_loop_drain(p->on->loop, 0, &ran);
  CHECK(status == SELV_E_CLOSED || status == SELV_E_REENTRANT);
  CHECK_EQ_U64(ran, 0);
}

static void in_a_drop(int form) {
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  p.then_drop = drain_in_drop;
  call_probe_soon(&p);
  call_probe_soon(&p);
  host_close(&h);
  CALL_COUNTS(&p, 0, 2);
  host_end(&h);
}

static int32_t drains_in_fn(void *arg, void **out_value) {
  drain_is((host *)arg, SELV_E_REENTRANT);
  *out_value = arg;
  return 5;
}

static void *calls(void *arg) {
  selv_outcome outcome;
  CHECK_OK(selv_host_loop_call(((host *)arg)->loop, drains_in_fn, arg, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(outcome.code, 5);
  return NULL;
}

static void in_a_call_that_is_waited_for(int form) {
  pthread_t thread;
  host h;
  host_begin(&h, form);
  CHECK(pthread_create(&thread, NULL, calls, &h) == 0);
  UNTIL(host_is_due(&h));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK(pthread_join(thread, NULL) == 0);
  host_end(&h);
}

static host *outcome_host;
static void drains_in_deliver(void *arg, const selv_outcome *outcome) {
  drain_is(outcome_host, SELV_E_REENTRANT);
  probe_deliver(arg, outcome);
}
static void drains_in_free(void *arg) {
  drain_is(outcome_host, SELV_E_REENTRANT);
  probe_freed(arg);
}

static void in_deliver_and_arg_free(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job;
  probe p;
  host h;
  host_begin(&h, form);
  outcome_host = &h;
  probe_init(&p);
  job = probe_job(probe_run, &p);
  job.deliver = drains_in_deliver;
  job.arg_free = drains_in_free;
  job.loop = h.loop;
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  UNTIL(host_is_due(&h));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  host_end(&h);
  probe_end(c);
}

static void drains_in_completion(void *arg, const selv_completed *c) {
  CHECK_OK(c->status);
  drain_is((host *)arg, SELV_E_REENTRANT);
}

static void in_a_completion(int form) {
  selv_event_options options = SELV_EVENT_OPTIONS_INIT;
  selv_event *e = NULL;
  selv_completion completion;
  host h;
  host_begin(&h, form);
  CHECK_OK(selv_event_new(&options, &e));
  completion.fn = drains_in_completion;
  completion.arg = &h;
  completion.loop = h.loop;
  CHECK_STATUS(selv_event_wait_async(e, SELV_TASK_CURRENT, &completion, NULL), SELV_PENDING);
  CHECK_OK(selv_event_set(e));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_OK(selv_event_free(e));
  host_end(&h);
}

/* ---- another loop ---- */

static void drains_the_other(call_probe *p) {
  host *other = (host *)p->object;
  CHECK_EQ_U64(host_drain(other, 0), 2);
}

/* Inside the drain of the inner loop, the outer one is still being drained. */
static void both_are_drained(call_probe *p) {
  drain_is((host *)p->object, SELV_E_REENTRANT);
  drain_is(p->on, SELV_E_REENTRANT);
}

static void a_drain_of_another_loop(int form) {
  call_probe outer, inner, behind;
  host h, other;
  host_begin(&h, form);
  host_begin(&other, form == HOST_FD ? HOST_WAKE : HOST_FD);
  call_probe_init(&outer, &h);
  call_probe_init(&behind, &h);
  call_probe_init(&inner, &other);
  outer.then = drains_the_other;
  outer.object = &other;
  inner.then = both_are_drained;
  inner.object = &h;
  call_probe_soon(&outer);
  call_probe_soon(&behind);
  call_probe_soon(&inner);
  call_probe_soon(&inner);
  CHECK_EQ_U64(host_drain(&h, 0), 2);
  CALL_COUNTS(&outer, 1, 0);
  CALL_COUNTS(&behind, 1, 0);
  CALL_COUNTS(&inner, 2, 0);
  CHECK(inner.order < behind.order);
  CHECK(!host_is_due(&h) && !host_is_due(&other));
  host_end(&other);
  host_end(&h);
}

/* Closed inside the drain of another one: drops run there, too. */
static void closes_the_other(call_probe *p) { host_close((host *)p->object); }

static void a_close_of_another_loop(int form) {
  call_probe outer, inner;
  host h, other;
  host_begin(&h, form);
  host_begin(&other, form);
  call_probe_init(&outer, &h);
  call_probe_init(&inner, &other);
  outer.then = closes_the_other;
  outer.object = &other;
  call_probe_soon(&outer);
  call_probe_soon(&inner);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CALL_COUNTS(&inner, 0, 1);
  CHECK_EQ_U64(host_stats(&h).closed, 0);
  host_end(&other);
  host_end(&h);
}

/* ---- another thread ---- */

static void *tries_here(void *arg) {
  host *h = (host *)arg;
  drain_is(h, SELV_E_WRONG_THREAD);
  CHECK_LAST_ERROR_HAS("plain");
  CHECK_STATUS(selv_host_loop_close(h->loop), SELV_E_WRONG_THREAD);
  CHECK_LAST_ERROR_HAS("plain");
  return NULL;
}

static void on_another(host *h) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, tries_here, h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void on_another_in_a_drain(call_probe *p) { on_another(p->on); }

static void off_its_thread(int form) {
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  on_another(&h); /* with nothing there */
  call_probe_soon(&p);
  on_another(&h);
  CALL_COUNTS(&p, 0, 0);
  CHECK(host_is_due(&h));
  CHECK_EQ_U64(host_stats(&h).drains, 0);
  p.then = on_another_in_a_drain;
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CALL_COUNTS(&p, 1, 0);
  host_end(&h);
}

/* ---- in a wake ---- */

static uint64_t wakes_tried;

/* Forbidden there, and answered. */
static void wake_tries(void *wake_arg) {
  host *h = (host *)wake_arg;
  uint32_t ran = 99;
  if (host_is_here(h)) {
    CHECK_STATUS(selv_host_loop_close(h->loop), SELV_E_REENTRANT);
    CHECK(selv_host_loop_drain(h->loop, 0, &ran) == SELV_E_REENTRANT || ran == 0);
  } else {
    CHECK(selv_host_loop_close(h->loop) < 0);
    CHECK(selv_host_loop_drain(h->loop, 0, &ran) < 0);
  }
  CHECK_EQ_U64(ran, 0);
  CHECK_EQ_U64(host_stats(h).closed, 0);
  wakes_tried++;
  host_wake(wake_arg);
}

static void *queues_here(void *arg) {
  call_probe_soon((call_probe *)arg);
  return NULL;
}

static void in_a_wake(void) {
  selv_host_loop_options options;
  pthread_t thread;
  call_probe p;
  host h;
  host_init(&h, HOST_WAKE);
  options = host_options(&h);
  options.wake = wake_tries;
  CHECK_OK(selv_host_loop_new(&options, &h.loop));
  h.thread = pthread_self();
  h.watch = h.queue[0];
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  CHECK_EQ_U64(wakes_tried, 1);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK(pthread_create(&thread, NULL, queues_here, &p) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(wakes_tried, 2);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  call_probe_soon(&p);
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 1), 1); /* the wake at the end of a drain */
  CHECK_EQ_U64(wakes_tried, 4);
  CHECK_EQ_U64(host_drain(&h, 1), 1);
  host_end(&h);
  CALL_COUNTS(&p, 4, 0);
}

int main(void) {
  HOST_RUN_BOTH(in_a_call);
  HOST_RUN_BOTH(in_a_drop);
  HOST_RUN_BOTH(in_a_call_that_is_waited_for);
  HOST_RUN_BOTH(in_deliver_and_arg_free);
  HOST_RUN_BOTH(in_a_completion);
  HOST_RUN_BOTH(a_drain_of_another_loop);
  HOST_RUN_BOTH(a_close_of_another_loop);
  HOST_RUN_BOTH(off_its_thread);
  CHECK_RUN(in_a_wake);
  return 0;
}

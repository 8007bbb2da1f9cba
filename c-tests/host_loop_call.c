/* host_loop_call.c: a thread has the loop's thread run a function and waits for what it gives: number, value, or why there is
 * none. */
#include "loops.h"
#include "probe.h"

static const selv_outcome dirty = {SELV_E_PANIC, 99, (void *)(uintptr_t)1};

/* ---- a thread that calls ---- */

typedef struct caller {
  host *on;
  selv_job_fn fn;
  void *arg;
  uint64_t timeout_ns;
  int32_t code;
  pthread_t thread;
  check_tally ended;
  selv_status status; /* from here on: what was seen */
  selv_outcome outcome;
  uint64_t took_ns;
  char detail[512];
} caller;

static void *caller_thread(void *arg) {
  caller *c = (caller *)arg;
  uint64_t began = check_now_ns();
  c->outcome = dirty;
  c->status = selv_host_loop_call(c->on->loop, c->fn, c->arg, c->timeout_ns, &c->outcome);
  c->took_ns = check_now_ns() - began;
  if (c->status < 0) selv_last_error(c->detail, sizeof c->detail);
  check_tally_add(&c->ended, 1);
  return NULL;
}

static void caller_start(caller *c, host *on, selv_job_fn fn, uint64_t timeout_ns) {
  memset(c, 0, sizeof *c);
  check_tally_init(&c->ended);
  c->on = on;
  c->fn = fn;
  c->arg = c;
  c->timeout_ns = timeout_ns;
  CHECK(pthread_create(&c->thread, NULL, caller_thread, c) == 0);
}

static void caller_ended_at(const char *file, int line, caller *c, selv_status wanted) {
  check_tally_wait_at(file, line, "the caller", &c->ended, 1);
  CHECK(pthread_join(c->thread, NULL) == 0);
  if (c->status != wanted)
    check_fail(file, line, "the call gave %s, expected %s; it said: %s", selv_status_name(c->status), selv_status_name(wanted),
               c->detail[0] ? c->detail : "(nothing)");
  if (wanted < 0) CHECK(c->outcome.status == 0 && c->outcome.code == 0 && c->outcome.value == NULL); /* zeroed */
}
#define CALLER_ENDED(c, wanted) caller_ended_at(__FILE__, __LINE__, (c), (wanted))

/* ---- functions to call ---- */

static int32_t gives(void *arg, void **out_value) {
  caller *c = (caller *)arg;
  CHECK(host_is_here(c->on));
  CHECK(*out_value == NULL);
  *out_value = &c->code;
  return c->code;
}

static int32_t never(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  check_fail(__FILE__, __LINE__, "a function ran that must not run");
  return 0;
}

static check_tally begun, go_on;

static int32_t holds(void *arg, void **out_value) {
  check_tally_add(&begun, 1);
  CHECK_WAIT(&go_on, 1);
  *out_value = arg;
  return 7;
}

static int32_t ends_the_thread(void *arg, void **out_value) {
  (void)arg;
  *out_value = arg;
  pthread_exit(NULL);
}

/* ---- what comes back ---- */

static void number_and_value(int form) {
  static const int32_t codes[] = {0, 1, -1, 7, INT32_MAX, INT32_MIN, SELV_E_CLOSED};
  uint64_t i;
  host h;
  host_start(&h, form);
  for (i = 0; i < sizeof codes / sizeof *codes; i++) {
    caller c;
    memset(&c, 0, sizeof c);
    c.on = &h;
    c.code = codes[i];
    c.outcome = dirty;
    CHECK_OK(selv_host_loop_call(h.loop, gives, &c, SELV_FOREVER, &c.outcome));
    CHECK_OK(c.outcome.status);
    CHECK(c.outcome.code == codes[i]);
    CHECK(c.outcome.value == &c.code);
    CHECK_OK(selv_host_loop_call(h.loop, gives, &c, SELV_FOREVER, NULL)); /* nobody asks for it */
    CHECK_OK(selv_host_loop_call(h.loop, gives, &c, 60000 * CHECK_MS, &c.outcome));
  }
  host_stop(&h);
}

/* In line with what else is queued. */
static void in_its_turn(int form) {
  caller c;
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  caller_start(&c, &h, gives, SELV_FOREVER);
  UNTIL(host_waiting(&h) == 2);
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 1), 1);
  CHECK_EQ_U64(check_tally_get(&c.ended), 0);
  CHECK_EQ_U64(host_drain(&h, 1), 1);
  CALLER_ENDED(&c, SELV_OK);
  CALL_COUNTS(&p, 1, 0);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  host_end(&h);
}

/* ---- the loop's own thread ---- */

static void calls_itself(call_probe *p) {
  selv_outcome outcome = dirty;
  CHECK_STATUS(selv_host_loop_call(p->on->loop, never, p, 0, &outcome), SELV_E_DEADLOCK);
  CHECK(outcome.status == 0 && outcome.code == 0 && outcome.value == NULL);
}

static void deadlock_on_the_loops_own_thread(int form) {
  selv_outcome outcome = dirty;
  call_probe p;
  host h;
  host_begin(&h, form);
  CHECK_STATUS(selv_host_loop_call(h.loop, never, &h, SELV_FOREVER, &outcome), SELV_E_DEADLOCK);
  CHECK_LAST_ERROR_HAS("plain");
  CHECK(outcome.status == 0 && outcome.code == 0 && outcome.value == NULL);
  CHECK_STATUS(selv_host_loop_call(h.loop, never, &h, 0, NULL), SELV_E_DEADLOCK);
  CHECK_EQ_U64(host_waiting(&h), 0);
  call_probe_init(&p, &h);
  p.then = calls_itself;
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_EQ_U64(host_drain(&h, 0), 0);
  host_end(&h);
}

/* A function on one loop calls another one: each thread looks after its own. */
static int32_t calls_the_other(void *arg, void **out_value) {
  caller *c = (caller *)arg;
  selv_outcome outcome;
  (void)out_value;
  c->code = 11;
  CHECK_OK(selv_host_loop_call(c->on->loop, gives, c, SELV_FOREVER, &outcome));
  return outcome.code + 1;
}

static void from_another_loop(int form) {
  caller c;
  selv_outcome outcome;
  host h, other;
  host_start(&h, form);
  host_start(&other, form);
  memset(&c, 0, sizeof c);
  c.on = &other;
  CHECK_OK(selv_host_loop_call(h.loop, calls_the_other, &c, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(outcome.code, 12);
  host_stop(&other);
  host_stop(&h);
}

/* ---- its time passes ---- */

static void timed_out_and_never_run(int form) {
  uint64_t began = check_now_ns(), i;
  caller c;
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  caller_start(&c, &h, never, 30 * CHECK_MS);
  CALLER_ENDED(&c, SELV_E_TIMEDOUT);
  CHECK(strstr(c.detail, "plain") != NULL);
  CHECK(c.took_ns >= 30 * CHECK_MS);
  CHECK(check_now_ns() - began < check_patience_s() * UINT64_C(1000000000));
  for (i = 0; i < 10; i++) {
    caller_start(&c, &h, never, 0);
    CALLER_ENDED(&c, SELV_E_TIMEDOUT);
  }
  call_probe_soon(&p);
  host_drain(&h, 0);
  host_drain(&h, 0);
  CALL_COUNTS(&p, 1, 0);
  CHECK_EQ_U64(host_waiting(&h), 0);
  CHECK_EQ_U64(host_stats(&h).ran, 1);
  host_end(&h);
}

/* Those behind it move up; a drain spends none of its bound on it. */
static void out_of_the_middle(int form) {
  caller first, middle, last;
  host h;
  host_begin(&h, form);
  caller_start(&first, &h, gives, SELV_FOREVER);
  UNTIL(host_waiting(&h) == 1);
  caller_start(&middle, &h, never, 20 * CHECK_MS);
  UNTIL(host_stats(&h).accepted == 2);
  caller_start(&last, &h, gives, SELV_FOREVER);
  UNTIL(host_stats(&h).accepted == 3);
  CALLER_ENDED(&middle, SELV_E_TIMEDOUT);
  CHECK_EQ_U64(host_drain(&h, 2), 2);
  CALLER_ENDED(&first, SELV_OK);
  CALLER_ENDED(&last, SELV_OK);
  host_end(&h);
}

/* The time of one passes in the middle of a drain, and that of another which came when it had begun: they leave the queue, and what
 * a call queues meanwhile does not take their place in this drain. */
typedef struct late_ones {
  caller before, meanwhile;
  call_probe queued;
} late_ones;

static void outlasts_and_queues(call_probe *p) {
  late_ones *late = (late_ones *)p->object;
  CHECK_WAIT(&late->before.ended, 1);
  CHECK_EQ_U64(host_waiting(p->on), 1); /* the call behind */
  call_probe_soon(&late->queued);
  caller_start(&late->meanwhile, p->on, never, CHECK_MS);
  CHECK_WAIT(&late->meanwhile.ended, 1);
  CHECK_EQ_U64(host_waiting(p->on), 2);
}

static void while_a_drain_runs(int form) {
  call_probe p, behind;
  late_ones late;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&behind, &h);
  call_probe_init(&late.queued, &h);
  p.then = outlasts_and_queues;
  p.object = &late;
  call_probe_soon(&p);
  caller_start(&late.before, &h, never, 100 * CHECK_MS);
  UNTIL(host_stats(&h).accepted == 2);
  call_probe_soon(&behind);
  CHECK_EQ_U64(host_drain(&h, 0), 2);
  CALLER_ENDED(&late.before, SELV_E_TIMEDOUT);
  CALLER_ENDED(&late.meanwhile, SELV_E_TIMEDOUT);
  CALL_COUNTS(&p, 1, 0);
  CALL_COUNTS(&behind, 1, 0);
  CALL_COUNTS(&late.queued, 0, 0);
  CHECK(host_is_due(&h));
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CALL_COUNTS(&late.queued, 1, 0);
  host_end(&h);
}

/* Once it has begun its end is waited for. On a slow machine it may not begin in so little time: then it gets more. */
static void begun_in_time(int form) {
  uint64_t timeout_ns;
  caller c;
  host h;
  host_start(&h, form);
  for (timeout_ns = 100 * CHECK_MS;; timeout_ns *= 4) {
    check_tally_init(&begun);
    check_tally_init(&go_on);
    caller_start(&c, &h, holds, timeout_ns);
    UNTIL(check_tally_get(&begun) + check_tally_get(&c.ended) != 0);
    if (check_tally_get(&begun) != 0) break;
    CALLER_ENDED(&c, SELV_E_TIMEDOUT);
  }
  check_sleep_ms(timeout_ns / CHECK_MS + 50); /* its time passes */
  CHECK_EQ_U64(check_tally_get(&c.ended), 0);
  check_tally_add(&go_on, 1);
  CALLER_ENDED(&c, SELV_OK);
  CHECK(c.took_ns > timeout_ns);
  CHECK_OK(c.outcome.status);
  CHECK_EQ_U64(c.outcome.code, 7);
  CHECK(c.outcome.value == &c);
  host_stop(&h);
}

/* ---- the loop is closed ---- */

static void closed_before_it_began(int form) {
  enum { MANY = 5 };
  caller c[MANY];
  uint64_t i;
  host h;
  host_begin(&h, form);
  for (i = 0; i < MANY; i++) {
    caller_start(&c[i], &h, never, i % 2 ? SELV_FOREVER : 60000 * CHECK_MS);
    UNTIL(host_waiting(&h) == i + 1);
  }
  host_close(&h);
  for (i = 0; i < MANY; i++) {
    CALLER_ENDED(&c[i], SELV_E_CLOSED);
    CHECK(strstr(c[i].detail, "plain") != NULL);
  }
  CHECK_EQ_U64(host_stats(&h).dropped, MANY);
  caller_start(&c[0], &h, never, SELV_FOREVER); /* and after it */
  CALLER_ENDED(&c[0], SELV_E_CLOSED);
  CHECK_STATUS(selv_host_loop_call(h.loop, never, NULL, SELV_FOREVER, NULL), SELV_E_CLOSED); /* on its own thread, too */
  host_end(&h);
}

/* Closed by the function that runs: it has begun, and ends as any other. */
static int32_t closes(void *arg, void **out_value) {
  caller *c = (caller *)arg;
  host_close(c->on);
  *out_value = arg;
  return 8;
}

static void closed_by_what_is_called(int form) {
  caller c, behind;
  host h;
  host_begin(&h, form);
  caller_start(&c, &h, closes, SELV_FOREVER);
  UNTIL(host_waiting(&h) == 1);
  caller_start(&behind, &h, never, SELV_FOREVER);
  UNTIL(host_waiting(&h) == 2);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CALLER_ENDED(&c, SELV_OK);
  CHECK_OK(c.outcome.status);
  CHECK_EQ_U64(c.outcome.code, 8);
  CHECK(c.outcome.value == &c);
  CALLER_ENDED(&behind, SELV_E_CLOSED);
  host_end(&h);
}

/* ---- the loop's thread ends ---- */

static void *drains_until_it_ends(void *arg) {
  host *h = (host *)arg;
  host_bind(h);
  host_drain(h, 0);
  check_fail(__FILE__, __LINE__, "the drain returned");
  return NULL;
}

static void broken_by_the_end_of_the_thread(int form) {
  pthread_t thread;
  caller c, behind;
  host h;
  host_begin(&h, form);
  caller_start(&c, &h, ends_the_thread, SELV_FOREVER);
  UNTIL(host_waiting(&h) == 1);
  caller_start(&behind, &h, gives, SELV_FOREVER);
  UNTIL(host_waiting(&h) == 2);
  CHECK(pthread_create(&thread, NULL, drains_until_it_ends, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CALLER_ENDED(&c, SELV_E_BROKEN); /* with nobody there to drain */
  CHECK(strstr(c.detail, "plain") != NULL);
  CHECK_EQ_U64(check_tally_get(&behind.ended), 0); /* its turn has not come */
  host_bind(&h);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CALLER_ENDED(&behind, SELV_OK);
  host_end(&h);
}

/* Told so, one may take the loop at once: the thread that ended is in its way no more. */
static void *takes_what_broke(void *arg) {
  host *h = (host *)arg;
  CHECK_STATUS(selv_host_loop_call(h->loop, ends_the_thread, NULL, SELV_FOREVER, NULL), SELV_E_BROKEN);
  host_bind(h);
  CHECK_EQ_U64(host_drain(h, 0), 0);
  host_end(h);
  return NULL;
}

static void broken_and_taken_at_once(int form) {
  uint64_t round, rounds = check_scaled(100);
  for (round = 0; round < rounds; round++) {
    pthread_t mortal, next;
    host h;
    host_begin(&h, form);
    CHECK(pthread_create(&next, NULL, takes_what_broke, &h) == 0);
    UNTIL(host_waiting(&h) == 1);
    CHECK(pthread_create(&mortal, NULL, drains_until_it_ends, &h) == 0);
    CHECK(pthread_join(mortal, NULL) == 0);
    CHECK(pthread_join(next, NULL) == 0);
  }
}

/* A thread that ended outside a drain: who calls waits, and the next thread of the loop answers. */
static void *begins_here(void *arg) {
  host_begin((host *)arg, ((host *)arg)->form);
  return NULL;
}

static void answered_by_the_next_thread(int form) {
  pthread_t thread;
  caller c;
  host h;
  memset(&h, 0, sizeof h);
  h.form = form;
  CHECK(pthread_create(&thread, NULL, begins_here, &h) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  caller_start(&c, &h, gives, SELV_FOREVER);
  UNTIL(host_waiting(&h) == 1);
  host_bind(&h);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CALLER_ENDED(&c, SELV_OK);
  host_end(&h);
}

/* ---- many ---- */

#define CALLERS 4
static uint64_t calls_each, called;

static int32_t counts(void *arg, void **out_value) {
  called++; /* on one thread, so nothing of it is lost */
  *out_value = arg;
  return (int32_t)(*(uint64_t *)arg % 1000);
}

static void *calls_many(void *arg) {
  host *h = (host *)arg;
  uint64_t i;
  for (i = 0; i < calls_each; i++) {
    uint64_t mine = i * 31;
    selv_outcome outcome = dirty;
    CHECK_OK(selv_host_loop_call(h->loop, counts, &mine, SELV_FOREVER, &outcome));
    CHECK_OK(outcome.status);
    CHECK(outcome.value == &mine);
    CHECK_EQ_U64(outcome.code, mine % 1000);
  }
  return NULL;
}

static void many_callers_at_once(int form) {
  pthread_t threads[CALLERS];
  host h;
  int i;
  calls_each = check_scaled(3000);
  called = 0;
  host_start(&h, form);
  for (i = 0; i < CALLERS; i++) CHECK(pthread_create(&threads[i], NULL, calls_many, &h) == 0);
  for (i = 0; i < CALLERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  host_stop(&h);
  CHECK_EQ_U64(called, CALLERS * calls_each);
}

/* With times that pass just when their turn comes: what ran is told so, and only that. */
static uint64_t ran_in_time;

static int32_t marks(void *arg, void **out_value) {
  (void)out_value;
  (*(uint64_t *)arg)++;
  return 1;
}

static void *calls_with_little_time(void *arg) {
  host *h = (host *)arg;
  uint64_t i, in_time = 0;
  for (i = 0; i < calls_each; i++) {
    uint64_t ran = 0;
    selv_status status = selv_host_loop_call(h->loop, marks, &ran, i % 60 * 1000, NULL);
    CHECK(status == SELV_OK || status == SELV_E_TIMEDOUT);
    CHECK_EQ_U64(ran, status == SELV_OK ? 1 : 0); /* its stack would be written to later */
    in_time += ran;
  }
  __atomic_add_fetch(&ran_in_time, in_time, __ATOMIC_SEQ_CST);
  return NULL;
}

static void little_time(int form) {
  pthread_t threads[CALLERS];
  host h;
  int i;
  calls_each = check_scaled(3000);
  ran_in_time = 0;
  host_start(&h, form);
  for (i = 0; i < CALLERS; i++) CHECK(pthread_create(&threads[i], NULL, calls_with_little_time, &h) == 0);
  for (i = 0; i < CALLERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK_EQ_U64(host_stats(&h).ran, ran_in_time);
  host_stop(&h);
  printf("%llu of %llu in time\n", (unsigned long long)ran_in_time, (unsigned long long)(CALLERS * calls_each));
}

/* On workers and in callbacks that may block it is the same. */
static host *asked_host;
static int32_t asks_from_a_worker(void *arg, void **out_value) {
  selv_outcome outcome;
  caller c;
  (void)arg;
  memset(&c, 0, sizeof c);
  c.on = asked_host;
  c.code = 21;
  CHECK_OK(selv_host_loop_call(asked_host->loop, gives, &c, SELV_FOREVER, &outcome));
  *out_value = NULL;
  return outcome.code * 2;
}

static void from_a_worker(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_outcome outcome;
  host h;
  host_start(&h, form);
  asked_host = &h;
  CHECK_OK(selv_cache_run(c, asks_from_a_worker, NULL, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(outcome.code, 42);
  host_stop(&h);
  probe_end(c);
}

int main(void) {
  HOST_RUN_BOTH(number_and_value);
  HOST_RUN_BOTH(in_its_turn);
  HOST_RUN_BOTH(deadlock_on_the_loops_own_thread);
  HOST_RUN_BOTH(from_another_loop);
  HOST_RUN_BOTH(timed_out_and_never_run);
  HOST_RUN_BOTH(out_of_the_middle);
  HOST_RUN_BOTH(while_a_drain_runs);
  HOST_RUN_BOTH(begun_in_time);
  HOST_RUN_BOTH(closed_before_it_began);
  HOST_RUN_BOTH(closed_by_what_is_called);
  HOST_RUN_BOTH(broken_by_the_end_of_the_thread);
  HOST_RUN_BOTH(broken_and_taken_at_once);
  HOST_RUN_BOTH(answered_by_the_next_thread);
  HOST_RUN_BOTH(many_callers_at_once);
  HOST_RUN_BOTH(little_time);
  HOST_RUN_BOTH(from_a_worker);
  return 0;
}

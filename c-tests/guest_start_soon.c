/* guest_start_soon.c: a host's own way to start the thread that polls: it is asked on the host's thread, once for each poll; it may
 * start threads of its own, register them with a runtime, run the job at once, or refuse. What breaks the rules is in
 * guest_start_soon_misuse.c. */
#include "guest_starters.h"

#include <malloc.h>

/* What one call was given, for somebody else. */
typedef struct wrapped {
  starter *s;
  selv_job_fn fn;
  selv_deliver_fn deliver;
  void *arg;
} wrapped;

static wrapped *wrap(starter *s) {
  wrapped *w = (wrapped *)malloc(sizeof *w);
  CHECK(w != NULL);
  w->s = s;
  w->fn = s->fn;
  w->deliver = s->deliver;
  w->arg = s->arg;
  return w;
}

/* ---- threads of the host ---- */

static void *runs_the_job(void *arg) {
  wrapped *w = (wrapped *)arg;
  selv_outcome outcome;
  memset(&outcome, 0, sizeof outcome);
  check_tally_add(&w->s->registered, 1);
  outcome.code = w->fn(w->arg, &outcome.value);
  check_tally_add(&w->s->unregistered, 1);
  w->deliver(w->arg, &outcome);
  free(w);
  return NULL;
}

static selv_status starts_a_thread(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  starter *s = (starter *)start_arg;
  note(s, fn, deliver, arg, name);
  CHECK(s->thread_count < 64);
  CHECK(pthread_create(&s->threads[s->thread_count++], NULL, runs_the_job, wrap(s)) == 0);
  return SELV_OK;
}

static void a_thread_for_each_poll(void) {
  starter s;
  uint64_t i;
  begin(&s, starts_a_thread, five, "-w-+--+-w");
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, check_tally_get(&s.g.dones) == 1);
  for (i = 0; i < s.thread_count; i++) CHECK(pthread_join(s.threads[i], NULL) == 0);
  CHECK_EQ_U64(s.asked, check_tally_get(&s.g.polls));
  CHECK_EQ_U64(s.asked, 4);
  CHECK_EQ_U64(check_tally_get(&s.registered), 4);
  CHECK_EQ_U64(check_tally_get(&s.unregistered), 4);
  CHECK_EQ_U64(s.g.processed, 2);
  ends(&s, SELV_OK);
}

/* ---- the cache, with a wrapper around the job that registers the thread with the host's runtime ---- */

static int32_t registers_and_runs(void *arg, void **out_value) {
  wrapped *w = (wrapped *)arg;
  int32_t code;
  check_tally_add(&w->s->registered, 1);
  code = w->fn(w->arg, out_value);
  check_tally_add(&w->s->unregistered, 1);
  return code;
}

static void unwraps(void *arg, const selv_outcome *outcome) {
  wrapped *w = (wrapped *)arg;
  w->deliver(w->arg, outcome);
  free(w);
}

static selv_status wraps(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  starter *s = (starter *)start_arg;
  note(s, fn, deliver, arg, name);
  return selv_start_soon_on_cache(s->cache, registers_and_runs, unwraps, wrap(s), name);
}

static void a_wrapper_around_each_job(void) {
  starter s;
  begin(&s, wraps, five, "-w-+--+-w");
  s.cache = probe_cache(0, 0);
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, check_tally_get(&s.g.dones) == 1);
  CHECK_EQ_U64(check_tally_get(&s.registered), 4);
  CHECK_EQ_U64(check_tally_get(&s.unregistered), 4);
  CHECK_EQ_U64(probe_stats(s.cache).jobs_accepted, 4);
  probe_end(s.cache);
  ends(&s, SELV_OK);
}

static void what_it_is_told(void) {
  starter s;
  begin(&s, starts_a_thread, NULL, "");
  guest_begin(&s.g);
  GUEST_POLLS(&s.g, 1);
  CHECK_STR(s.name, "guest");
  CHECK_OK(guest_finish(&s.g));
  HOST_UNTIL(&s.h, check_tally_get(&s.g.dones) == 1);
  CHECK(pthread_join(s.threads[0], NULL) == 0);
  ends(&s, SELV_OK);

  begin(&s, starts_a_thread, NULL, "");
  s.g.options.name = "the poll of a guest with a long name";
  guest_begin(&s.g);
  GUEST_POLLS(&s.g, 1);
  CHECK_STR(s.name, "the poll of a guest with a long name");
  CHECK_OK(guest_finish(&s.g));
  HOST_UNTIL(&s.h, check_tally_get(&s.g.dones) == 1);
  CHECK(pthread_join(s.threads[0], NULL) == 0);
  ends(&s, SELV_OK);
}

/* ---- on the host's own thread, before start_soon returns ---- */

static void at_once(void) {
  starter s;
  begin(&s, runs_it_at_once, five, "-w-+--+-w");
  s.g.polls_anywhere = 1;
  guest_begin(&s.g);
  while (check_tally_get(&s.g.dones) == 0) CHECK_EQ_U64(HOST_NEXT(&s.h), 1); /* the next tick is another call */
  CHECK_EQ_U64(s.asked, 4);
  ends(&s, SELV_OK);
}

/* ---- refusals ---- */

static selv_status refuses(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  starter *s = (starter *)start_arg;
  if (s->asked + 1 != s->refuses_at) return runs_it_at_once(start_arg, fn, deliver, arg, name);
  note(s, fn, deliver, arg, name);
  return s->refusal;
}

static void refused_at(uint64_t call, selv_status refusal) {
  starter s;
  begin(&s, refuses, five, "-+-+-+-+-+");
  s.g.polls_anywhere = 1;
  s.refuses_at = call;
  s.refusal = refusal;
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, check_tally_get(&s.g.dones) == 1);
  CHECK_EQ_U64(s.asked, call);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), call - 1);
  CHECK_EQ_U64(check_tally_get(&s.g.prepares), call);
  ends(&s, refusal);
}

static void refuses_at_once(void) { refused_at(1, SELV_E_SPAWN); }
static void refuses_in_the_third_tick(void) { refused_at(3, SELV_E_CLOSED); }
static void refuses_with_a_number_of_its_own(void) { refused_at(2, -4711); }

/* ---- accepted, and failed later ---- */

static void *fails(void *arg) {
  starter *s = (starter *)arg;
  deliver_failure(s, s->outcome);
  return NULL;
}

static void fails_later_with(selv_status status) {
  pthread_t thread;
  starter s;
  begin(&s, keeps, sleeps, "");
  s.outcome = status;
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, s.asked == 1);
  CHECK_EQ_U64(check_tally_get(&s.g.dones), 0);
  CHECK(pthread_create(&thread, NULL, fails, &s) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(check_tally_get(&s.g.dones), 0); /* on the host's thread, and not here */
  ends(&s, status);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 0);
}

static void fails_later(void) {
  fails_later_with(SELV_E_SPAWN);
  fails_later_with(SELV_E_HOOK_FAILED);
  fails_later_with(SELV_E_CANCELLED);
  fails_later_with(-4711);
}

static selv_status fails_inside(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  starter *s = (starter *)start_arg;
  note(s, fn, deliver, arg, name);
  deliver_failure(s, SELV_E_HOOK_FAILED);
  return SELV_OK;
}

static void fails_before_it_returns(void) {
  starter s;
  begin(&s, fails_inside, sleeps, "");
  guest_begin(&s.g);
  ends(&s, SELV_E_HOOK_FAILED);
}

/* ---- from inside start_soon ---- */

static selv_status asked_inside;

static selv_status calls(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name,
                         selv_status (*call)(selv_guest *)) {
  starter *s = (starter *)start_arg;
  note(s, fn, deliver, arg, name);
  if (s->asked == 1) {
    asked_inside = call ? guest_tell(&s->g, call) : guest_abandon(&s->g, SELV_FOREVER);
    CHECK_EQ_U64(check_tally_get(&s->g.dones), 0);
  }
  return selv_start_soon_on_cache(s->cache, fn, deliver, arg, name);
}

static selv_status interrupts_inside(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  return calls(start_arg, fn, deliver, arg, name, selv_guest_interrupt);
}
static selv_status stops_inside(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  return calls(start_arg, fn, deliver, arg, name, selv_guest_stop);
}
static selv_status abandons_inside(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  return calls(start_arg, fn, deliver, arg, name, NULL);
}

static void interrupted_inside(void) {
  starter s;
  begin(&s, interrupts_inside, sleeps, "");
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, check_tally_get(&s.g.prepares) == 2); /* with nobody else to wake it */
  CHECK_OK(asked_inside);
  CHECK_OK(guest_post(&s.g));
  ends(&s, SELV_OK);
}

static void stopped_inside(void) {
  starter s;
  begin(&s, stops_inside, sleeps, "");
  guest_begin(&s.g);
  ends(&s, SELV_E_CANCELLED);
  CHECK_OK(asked_inside);
}

static void abandoned_inside(void) {
  starter s;
  begin(&s, abandons_inside, sleeps, "");
  guest_begin(&s.g);
  GUEST_POLLS(&s.g, 1);
  CHECK_STATUS(asked_inside, SELV_E_REENTRANT);
  CHECK_OK(guest_tell(&s.g, selv_guest_stop));
  ends(&s, SELV_E_CANCELLED);
}

/* ---- thousands of polls, and of runs, leave nothing behind ---- */

static selv_status sleeps_a_little(guest *g, uint64_t *out_ns) {
  *out_ns = check_tally_get(&g->prepares) < 1000 ? 1 : SELV_GUEST_DONE;
  return SELV_OK;
}

static void a_thousand_polls(void) {
  starter s;
  begin(&s, runs_it_at_once, NULL, "");
  s.g.polls_anywhere = 1;
  s.g.on_prepare = sleeps_a_little;
  guest_begin(&s.g);
  ends(&s, SELV_OK);
}

static void fifty_runs(void) {
  int i;
  for (i = 0; i < 50; i++) {
    starter s;
    begin(&s, keeps, sleeps, "");
    guest_begin(&s.g);
    HOST_UNTIL(&s.h, s.asked == 1);
    CHECK_OK(guest_tell(&s.g, selv_guest_stop));
    ends(&s, SELV_E_CANCELLED);
  }
}

static void nothing_is_left_behind(void) {
  size_t before, after;
  a_thousand_polls();
  fifty_runs();
  before = mallinfo2().uordblks;
  a_thousand_polls();
  a_thousand_polls();
  fifty_runs();
  fifty_runs();
  after = mallinfo2().uordblks;
  if (after > before + 8192)
    check_fail(__FILE__, __LINE__, "%llu bytes are in use, it was %llu", (unsigned long long)after, (unsigned long long)before);
}

/* ---- another thread abandons the guest meanwhile: it waits for start_soon as for any callback ---- */

static check_tally inside, let_go;

static selv_status takes_its_time(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  starter *s = (starter *)start_arg;
  note(s, fn, deliver, arg, name);
  check_tally_add(&inside, 1);
  CHECK_WAIT(&let_go, 1);
  CHECK_EQ_U64(check_tally_get(&s->g.dones), 0);
  return s->refusal ? s->refusal : selv_start_soon_on_cache(NULL, fn, deliver, arg, name);
}

static void begins(void *arg) { guest_begin((guest *)arg); }

static void abandoned_meanwhile(selv_status refusal) {
  starter s;
  memset(&s, 0, sizeof s);
  check_tally_init(&inside);
  check_tally_init(&let_go);
  s.refusal = refusal;
  host_start(&s.h, HOST_WAKE);
  guest_init(&s.g, &s.h);
  s.g.options.start_soon = takes_its_time;
  s.g.options.start_arg = &s;
  s.g.plan = sleeps;
  host_do(&s.h, begins, &s.g);
  CHECK_WAIT(&inside, 1);
  CHECK_STATUS(guest_abandon(&s.g, 20 * CHECK_MS), SELV_E_TIMEDOUT);
  guest_is_to_be_silent(&s.g);
  CHECK_EQ_U64(check_tally_get(&s.g.dones), 0);
  check_tally_add(&let_go, 1);
  CHECK_OK(guest_abandon(&s.g, SELV_FOREVER));
  CHECK_STATUS(s.g.why, SELV_E_CLOSED);
  CHECK(pthread_equal(s.g.done_on, pthread_self()));
  host_stop(&s.h);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 0);
  guest_free(&s.g);
}

static void abandoned_while_it_starts(void) { abandoned_meanwhile(SELV_OK); }
static void abandoned_while_it_refuses(void) { abandoned_meanwhile(SELV_E_SPAWN); }

int main(void) {
  CHECK_RUN(a_thread_for_each_poll);
  CHECK_RUN(a_wrapper_around_each_job);
  CHECK_RUN(what_it_is_told);
  CHECK_RUN(at_once);
  CHECK_RUN(refuses_at_once);
  CHECK_RUN(refuses_in_the_third_tick);
  CHECK_RUN(refuses_with_a_number_of_its_own);
  CHECK_RUN(fails_later);
  CHECK_RUN(fails_before_it_returns);
  CHECK_RUN(interrupted_inside);
  CHECK_RUN(stopped_inside);
  CHECK_RUN(abandoned_inside);
  CHECK_RUN(nothing_is_left_behind);
  CHECK_RUN(abandoned_while_it_starts);
  CHECK_RUN(abandoned_while_it_refuses);
  return 0;
}

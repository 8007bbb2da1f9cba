/* guest_start_soon_misuse.c: a host's start_soon that breaks the rules ends the run or is ignored; nothing is polled twice, nothing of what
 * was polled is lost, and what is called when the guest is long gone does nothing. */
#include "guest_starters.h"

/* ---- it says what is not so ---- */

/* It has run the job, and then says that it has not. What was polled is given back, once. */
static selv_status runs_and_refuses(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  void *value = NULL;
  note((starter *)start_arg, fn, deliver, arg, name);
  (void)fn(arg, &value);
  return SELV_E_SPAWN;
}

static selv_status runs_delivers_and_refuses(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  CHECK_OK(runs_it_at_once(start_arg, fn, deliver, arg, name));
  return SELV_E_SPAWN;
}

static void refuses_after_it_has_run(void) {
  static const selv_start_soon_fn ways[] = {runs_and_refuses, runs_delivers_and_refuses};
  int i;
  for (i = 0; i < 4; i++) {
    starter s;
    begin(&s, ways[i % 2], sleeps, i < 2 ? "-+" : "--");
    s.g.polls_anywhere = 1;
    guest_begin(&s.g);
    HOST_UNTIL(&s.h, check_tally_get(&s.g.dones) == 1);
    CHECK_EQ_U64(check_tally_get(&s.g.polls), 1);
    CHECK_EQ_U64(check_tally_get(&s.g.processes), 0);
    CHECK_EQ_U64(s.g.discarded, i < 2 ? 1 : 0);
    ends(&s, SELV_E_SPAWN);
  }
}

/* The same with a job that is running on another thread, and will not be delivered. Nobody else tells that poll to return. */
static void *only_polls(void *arg) {
  starter *s = (starter *)arg;
  void *value = NULL;
  (void)s->fn(s->arg, &value);
  return NULL;
}

static selv_status begins_and_refuses(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  starter *s = (starter *)start_arg;
  note(s, fn, deliver, arg, name);
  CHECK(pthread_create(&s->threads[0], NULL, only_polls, s) == 0);
  CHECK_WAIT(&s->g.polls, 1);
  return SELV_E_SPAWN;
}

static void refuses_while_it_runs(void) {
  starter s;
  begin(&s, begins_and_refuses, sleeps, "");
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, check_tally_get(&s.g.dones) == 1);
  CHECK(pthread_join(s.threads[0], NULL) == 0);
  ends(&s, SELV_E_SPAWN);
}

/* It is interrupted before it refuses: the refusal counts. */
static selv_status is_interrupted_and_refuses(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  starter *s = (starter *)start_arg;
  note(s, fn, deliver, arg, name);
  CHECK_OK(guest_tell(&s->g, selv_guest_interrupt));
  return SELV_E_SPAWN;
}

static void refuses_after_an_interrupt(void) {
  starter s;
  void *value = NULL;
  begin(&s, is_interrupted_and_refuses, sleeps, "");
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, check_tally_get(&s.g.dones) == 1);
  CHECK_EQ_U64(s.asked, 1);
  (void)s.fn(s.arg, &value);
  ends(&s, SELV_E_SPAWN);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 0);
}

/* It says that the job has run, and it has not. */
static void says_that_it_has_run(void) {
  starter s;
  begin(&s, keeps, sleeps, "");
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, s.asked == 1);
  deliver_ok(&s, 0, NULL);
  ends(&s, SELV_E_BROKEN);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 0);
}

/* It has run the job, and says that it failed. */
static void runs_and_says_that_it_failed(void) {
  starter s;
  void *value = NULL;
  begin(&s, keeps, sleeps, "-+");
  s.g.polls_anywhere = 1;
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, s.asked == 1);
  (void)s.fn(s.arg, &value);
  deliver_failure(&s, SELV_E_BROKEN);
  ends(&s, SELV_E_BROKEN);
  CHECK_EQ_U64(s.g.discarded, 1);
}

static void delivers_nothing(void) {
  starter s;
  begin(&s, keeps, sleeps, "");
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, s.asked == 1);
  s.deliver(s.arg, NULL);
  if (check_tally_get(&s.g.dones) == 0 && !host_is_due(&s.h)) CHECK_OK(guest_tell(&s.g, selv_guest_stop)); /* it was ignored */
  HOST_UNTIL(&s.h, check_tally_get(&s.g.dones) == 1);
  CHECK(s.g.why < 0);
  ends(&s, s.g.why);
}

/* ---- twice, and late ---- */

static void everything_twice(void) {
  starter s;
  void *value = NULL;
  int32_t code;
  begin(&s, keeps, five, "-+-+-+-+-+");
  s.g.polls_anywhere = 1;
  guest_begin(&s.g);
  while (check_tally_get(&s.g.dones) == 0) {
    uint64_t asked = s.asked;
    HOST_NEXT(&s.h);
    if (s.asked == asked) continue;
    code = s.fn(s.arg, &value);
    (void)s.fn(s.arg, &value);
    CHECK_EQ_U64(check_tally_get(&s.g.polls), s.asked);
    deliver_ok(&s, code, value);
    deliver_ok(&s, code, value);
    (void)s.fn(s.arg, &value);
    deliver_failure(&s, SELV_E_SPAWN);
    CHECK_EQ_U64(check_tally_get(&s.g.polls), s.asked);
  }
  CHECK_EQ_U64(s.asked, 5);
  CHECK_EQ_U64(check_tally_get(&s.g.prepares), 6);
  ends(&s, SELV_OK);
}

/* Delivered while the poll is still running: that counts for nothing, and the delivery afterwards does. */
static void delivers_now(guest *g) { deliver_ok((starter *)g->user, 0, NULL); }

static void delivers_too_early(void) {
  starter s;
  void *value = NULL;
  int32_t code;
  begin(&s, keeps, sleeps, "-+");
  s.g.polls_anywhere = 1;
  s.g.user = &s;
  s.g.place = "poll";
  s.g.then = delivers_now;
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, s.asked == 1);
  code = s.fn(s.arg, &value);
  CHECK(s.g.was_there);
  CHECK(!host_is_due(&s.h));
  deliver_ok(&s, code, value);
  HOST_NEXT(&s.h);
  CHECK_EQ_U64(s.g.processed, 1);
  CHECK_OK(guest_tell(&s.g, selv_guest_stop));
  ends(&s, SELV_E_CANCELLED);
}

/* What belonged to the last poll does nothing to this one. */
static void the_last_one_again(void) {
  starter s, last;
  void *value = NULL;
  int32_t code;
  begin(&s, keeps, five, "-+-+-+-+-+");
  s.g.polls_anywhere = 1;
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, s.asked == 1);
  last = s;
  code = s.fn(s.arg, &value);
  deliver_ok(&s, code, value);
  HOST_UNTIL(&s.h, s.asked == 2);
  (void)last.fn(last.arg, &value);
  deliver_ok(&last, code, value);
  deliver_failure(&last, SELV_E_SPAWN);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 1);
  CHECK(!host_is_due(&s.h));
  CHECK_OK(guest_tell(&s.g, selv_guest_stop));
  ends(&s, SELV_E_CANCELLED);
}

/* When the guest is done and its handle is released, and the loop is gone. */
static void when_all_is_over(void) {
  starter s, late;
  void *value = NULL;
  begin(&s, keeps, sleeps, "");
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, s.asked == 1);
  CHECK_OK(guest_tell(&s.g, selv_guest_stop));
  late = s;
  ends(&s, SELV_E_CANCELLED);
  (void)late.fn(late.arg, &value);
  deliver_ok(&late, 0, value);
  (void)late.fn(late.arg, &value);
  deliver_failure(&late, SELV_E_SPAWN);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 0);
}

/* ---- one that sits on the job: nothing waits for it ---- */

static void sits_on_it(selv_status end) {
  starter s;
  void *value = NULL;
  begin(&s, keeps, sleeps, "");
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, s.asked == 1);
  if (end == SELV_E_CLOSED) {
    CHECK_OK(guest_abandon(&s.g, SELV_FOREVER));
    CHECK_STATUS(s.g.why, SELV_E_CLOSED);
    host_drain(&s.h, 0);
    guest_free(&s.g);
    host_end(&s.h);
  } else if (end == SELV_E_CANCELLED) {
    CHECK_OK(guest_tell(&s.g, selv_guest_stop));
    ends(&s, SELV_E_CANCELLED);
  } else {
    CHECK_OK(guest_post(&s.g));
    HOST_UNTIL(&s.h, s.g.for_workers == 2);
    CHECK_OK(guest_post(&s.g));
    ends(&s, SELV_OK);
  }
  (void)s.fn(s.arg, &value);
  deliver_ok(&s, 0, NULL);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 0);
}

/* What it was given is good for the next poll, until it has run; asked for anew or not, one thread polls once. */
static void begins_it_after_an_interrupt(void) {
  static const uint64_t plan[] = {SELV_FOREVER, 5 * CHECK_MS, SELV_FOREVER, SELV_GUEST_DONE};
  starter s;
  void *value = NULL;
  int32_t code;
  begin(&s, keeps, plan, "--+-+"); /* the poll checks that its time is that of the last prepare */
  s.g.polls_anywhere = 1;
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, s.asked == 1);
  CHECK_OK(guest_post(&s.g));
  HOST_UNTIL(&s.h, s.g.for_workers == 2);
  code = s.fn(s.arg, &value);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 1);
  (void)s.fn(s.arg, &value);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 1);
  deliver_ok(&s, code, value);
  HOST_UNTIL(&s.h, s.g.for_workers == 3);
  CHECK_EQ_U64(s.g.processed, 1);
  code = s.fn(s.arg, &value); /* of a new call: the last one has been used */
  deliver_ok(&s, code, value);
  ends(&s, SELV_OK);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 2);
}

/* It comes between two ticks, and is not needed then. */
static void begins_it_between_two_ticks(void) {
  static const uint64_t plan[] = {SELV_FOREVER, SELV_FOREVER, SELV_GUEST_DONE};
  starter s;
  void *value = NULL;
  int32_t code;
  begin(&s, keeps, plan, "--+");
  s.g.polls_anywhere = 1;
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, s.asked == 1);
  CHECK_OK(guest_post(&s.g));
  code = s.fn(s.arg, &value);
  deliver_ok(&s, code, value);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 0);
  HOST_UNTIL(&s.h, s.asked == 2);
  code = s.fn(s.arg, &value);
  deliver_ok(&s, code, value);
  ends(&s, SELV_OK);
  CHECK_EQ_U64(check_tally_get(&s.g.polls), 1);
}

/* It fails between two ticks: the next poll asks anew. */
static void fails_between_two_ticks(void) {
  starter s;
  void *value = NULL;
  int32_t code;
  begin(&s, keeps, sleeps, "--+");
  s.g.polls_anywhere = 1;
  guest_begin(&s.g);
  HOST_UNTIL(&s.h, s.asked == 1);
  CHECK_OK(guest_post(&s.g));
  deliver_failure(&s, SELV_E_CANCELLED);
  HOST_UNTIL(&s.h, s.asked == 2);
  code = s.fn(s.arg, &value);
  deliver_ok(&s, code, value);
  ends(&s, SELV_OK);
}

static void sits_on_it_while_the_guest_is_interrupted(void) { sits_on_it(SELV_OK); }
static void sits_on_it_while_the_guest_is_stopped(void) { sits_on_it(SELV_E_CANCELLED); }
static void sits_on_it_while_the_guest_is_abandoned(void) { sits_on_it(SELV_E_CLOSED); }

int main(void) {
  CHECK_RUN(refuses_after_it_has_run);
  CHECK_RUN(refuses_while_it_runs);
  CHECK_RUN(refuses_after_an_interrupt);
  CHECK_RUN(says_that_it_has_run);
  CHECK_RUN(runs_and_says_that_it_failed);
  CHECK_RUN(delivers_nothing);
  CHECK_RUN(everything_twice);
  CHECK_RUN(delivers_too_early);
  CHECK_RUN(the_last_one_again);
  CHECK_RUN(when_all_is_over);
  CHECK_RUN(begins_it_after_an_interrupt);
  CHECK_RUN(begins_it_between_two_ticks);
  CHECK_RUN(fails_between_two_ticks);
  CHECK_RUN(sits_on_it_while_the_guest_is_interrupted);
  CHECK_RUN(sits_on_it_while_the_guest_is_stopped);
  CHECK_RUN(sits_on_it_while_the_guest_is_abandoned);
  return 0;
}

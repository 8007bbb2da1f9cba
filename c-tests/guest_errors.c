/* guest_errors.c: an error of any of the guest's callbacks ends the run: done(that error), with nothing called in between but discard,
 * if events were polled. Positive statuses are no errors. */
#include "guests.h"

static check_journal journal = CHECK_JOURNAL_INIT;
static host h;
static selv_status fails_with;
static int with_events; /* a poll that fails has found events all the same */

static selv_status prepare_fails(guest *g, uint64_t *out_ns) {
  (void)g;
  *out_ns = SELV_GUEST_DONE; /* what a failed call leaves there is not to be used */
  return fails_with;
}

static selv_status poll_fails(guest *g, uint64_t timeout_ns, void **out_events) {
  (void)timeout_ns;
  if (with_events) *out_events = guest_new_events(g);
  return fails_with;
}

static selv_status process_fails(guest *g, void *events) {
  (void)g;
  (void)events;
  return fails_with;
}

static void begin(guest *g, const uint64_t *plan, const char *finds) {
  check_journal_clear(&journal);
  host_begin(&h, HOST_WAKE);
  guest_init(g, &h);
  g->journal = &journal;
  g->plan = plan;
  g->finds = finds;
}

static void ends(guest *g, selv_status wanted, const char *calls) {
  char whole[256];
  guest_begin(g);
  GUEST_PLAYS(g, wanted);
  host_has_nothing(&h);
  snprintf(whole, sizeof whole, "%s done(%s)", calls, selv_status_name(wanted));
  CHECK_JOURNAL(&journal, whole);
  host_end(&h);
}

static const selv_status failures[] = {SELV_E_IO, SELV_E_CANCELLED, SELV_E_CLOSED, SELV_E_PANIC, -4711, INT32_MIN};
#define FAILURES (sizeof failures / sizeof failures[0])
#define FOR_EACH_FAILURE for (i = 0; i < FAILURES && (fails_with = failures[i], 1); i++)

static const uint64_t sleeps[] = {SELV_FOREVER, SELV_FOREVER, SELV_GUEST_DONE}, again[] = {0, 0, SELV_GUEST_DONE};
static const uint64_t once_then_loop[] = {0, GUEST_LOOP};

static void prepare(void) {
  size_t i;
  guest g;
  FOR_EACH_FAILURE {
    begin(&g, NULL, "");
    g.on_prepare = prepare_fails;
    ends(&g, fails_with, "| prepare");
    begin(&g, once_then_loop, "+");
    g.on_prepare = prepare_fails;
    ends(&g, fails_with, "| prepare poll0+ | process+ prepare");
  }
}

static void the_poll_of_the_host(void) {
  size_t i;
  guest g;
  FOR_EACH_FAILURE {
    begin(&g, sleeps, "");
    g.on_poll = poll_fails;
    ends(&g, fails_with, "| prepare poll0");
    begin(&g, again, "-");
    g.on_poll = poll_fails;
    ends(&g, fails_with, "| prepare poll0 | process prepare poll0");
  }
}

static void the_poll_of_a_worker(void) {
  size_t i;
  guest g;
  FOR_EACH_FAILURE {
    begin(&g, sleeps, "-");
    g.on_poll = poll_fails;
    ends(&g, fails_with, "| prepare poll0 poll |");
    begin(&g, sleeps, "-+-");
    g.on_poll = poll_fails;
    ends(&g, fails_with, "| prepare poll0 poll+ | process+ prepare poll0 poll |");
  }
}

static void process(void) {
  size_t i;
  guest g;
  FOR_EACH_FAILURE {
    begin(&g, sleeps, "+");
    g.on_process = process_fails;
    ends(&g, fails_with, "| prepare poll0+ | process+");
    begin(&g, sleeps, "--");
    g.on_process = process_fails;
    ends(&g, fails_with, "| prepare poll0 poll | process");
  }
}

/* A poll that fails although it has found something: that is given back. */
static void a_poll_that_fails_with_events(void) {
  guest g;
  with_events = 1;
  fails_with = SELV_E_IO;
  begin(&g, sleeps, "");
  g.on_poll = poll_fails;
  ends(&g, fails_with, "| prepare poll0 discard");
  begin(&g, sleeps, "-");
  g.on_poll = poll_fails;
  ends(&g, fails_with, "| prepare poll0 poll | discard");
  begin(&g, sleeps, "-");
  g.on_poll = poll_fails;
  g.keeps_events = 1;
  ends(&g, fails_with, "| prepare poll0 poll |");
  with_events = 0;
}

/* Success with news is success. */
static selv_status prepare_has_news(guest *g, uint64_t *out_ns) {
  *out_ns = check_tally_get(&g->prepares) < 3 ? CHECK_MS : SELV_GUEST_DONE;
  return SELV_PENDING;
}

static selv_status poll_has_news(guest *g, uint64_t timeout_ns, void **out_events) {
  if (timeout_ns && check_tally_get(&g->prepares) == 2) *out_events = guest_new_events(g);
  return SELV_OWNER_DIED;
}

static selv_status process_has_news(guest *g, void *events) {
  (void)g;
  (void)events;
  return 4711;
}

static void positive_statuses_are_no_errors(void) {
  guest g;
  begin(&g, NULL, "");
  g.on_prepare = prepare_has_news;
  g.on_poll = poll_has_news;
  g.on_process = process_has_news;
  ends(&g, SELV_OK, "| prepare poll0 poll | process prepare poll0 poll+ | process+ prepare");
}

/* In done, selv_last_error tells which guest it was. */
static void the_error_names_the_guest(void) {
  guest g;
  begin(&g, sleeps, "-");
  g.on_poll = poll_fails;
  g.options.name = "clockwork";
  fails_with = SELV_E_IO;
  ends(&g, SELV_E_IO, "| prepare poll0 poll |");
  if (strstr(g.detail, "clockwork") == NULL) check_fail(__FILE__, __LINE__, "\"%s\" does not name the guest", g.detail);
}

/* An error while it is being stopped, or abandoned by nobody yet: one end, once. */
static void *stops(void *arg) {
  selv_status status = guest_tell((guest *)arg, selv_guest_stop);
  CHECK(status == SELV_OK || status == SELV_E_TOO_LATE);
  return NULL;
}

static void an_error_and_a_stop_at_once(void) {
  uint64_t i, rounds = check_scaled(200);
  for (i = 0; i < rounds; i++) {
    pthread_t thread;
    guest g;
    fails_with = SELV_E_IO;
    with_events = (int)(i & 1);
    begin(&g, sleeps, "-");
    g.on_poll = poll_fails;
    guest_begin(&g);
    CHECK(pthread_create(&thread, NULL, stops, &g) == 0);
    HOST_UNTIL(&h, check_tally_get(&g.dones) == 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(g.why == SELV_E_IO || g.why == SELV_E_CANCELLED);
    GUEST_ENDS(&g, g.why);
    host_drain(&h, 0);
    host_end(&h);
  }
  with_events = 0;
}

int main(void) {
  CHECK_RUN(prepare);
  CHECK_RUN(the_poll_of_the_host);
  CHECK_RUN(the_poll_of_a_worker);
  CHECK_RUN(process);
  CHECK_RUN(a_poll_that_fails_with_events);
  CHECK_RUN(positive_statuses_are_no_errors);
  CHECK_RUN(the_error_names_the_guest);
  CHECK_RUN(an_error_and_a_stop_at_once);
  return 0;
}

/* guest_stop.c: after selv_guest_stop the guest is called for nothing but discard and done, which comes on the host's thread, in a drain,
 * once; from wherever it is asked for, and whatever the guest is doing. If that is a callback, it is the last one before these. */
#include "guests.h"

static check_journal journal = CHECK_JOURNAL_INIT;
static host h;

static void begin(guest *g, const uint64_t *plan, const char *finds) {
  check_journal_clear(&journal);
  host_begin(&h, HOST_WAKE);
  guest_init(g, &h);
  g->journal = &journal;
  g->plan = plan;
  g->finds = finds;
}

/* The last handle is the guest's, so the calls that come too late are made before. */
static void ends(guest *g, const char *wanted) {
  while (check_tally_get(&g->dones) == 0) {
    HOST_AWAITS(&h);
    check_note(&journal, "|", "");
    host_drain(&h, 0);
  }
  CHECK_STATUS(guest_tell(g, selv_guest_stop), SELV_E_TOO_LATE);
  CHECK_STATUS(guest_tell(g, selv_guest_interrupt), SELV_E_TOO_LATE);
  GUEST_ENDS(g, SELV_E_CANCELLED);
  host_has_nothing(&h);
  CHECK_JOURNAL(&journal, wanted);
  host_end(&h);
}

static const uint64_t sleeps[] = {SELV_FOREVER, SELV_FOREVER, SELV_GUEST_DONE};

/* ---- at every point of a tick ---- */

static void before_the_first_tick(void) {
  guest g;
  begin(&g, sleeps, "");
  guest_begin(&g);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  CHECK_OK(guest_tell(&g, selv_guest_interrupt)); /* not done yet */
  CHECK_JOURNAL(&journal, "");
  CHECK_STATUS(selv_host_loop_close(h.loop), SELV_E_BUSY);
  ends(&g, "| done(SELV_E_CANCELLED)");
}

static void while_a_worker_polls(void) {
  guest g;
  begin(&g, sleeps, "");
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  ends(&g, "prepare poll0 poll | done(SELV_E_CANCELLED)");
}

static void when_the_poll_found_nothing(void) {
  guest g;
  begin(&g, sleeps, "--");
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  HOST_AWAITS(&h);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  ends(&g, "prepare poll0 poll | done(SELV_E_CANCELLED)");
}

static void when_events_of_a_worker_wait(void) {
  guest g;
  begin(&g, sleeps, "-+");
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  HOST_AWAITS(&h);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  ends(&g, "prepare poll0 poll+ | discard done(SELV_E_CANCELLED)");
}

static void when_events_of_the_host_wait(void) {
  guest g;
  begin(&g, sleeps, "+");
  guest_begin(&g);
  HOST_NEXT(&h);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  ends(&g, "prepare poll0+ | discard done(SELV_E_CANCELLED)");
}

static void when_events_wait_and_nobody_discards(void) {
  guest g;
  begin(&g, sleeps, "-+");
  g.keeps_events = 1;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  HOST_AWAITS(&h);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  ends(&g, "prepare poll0 poll+ | done(SELV_E_CANCELLED)");
}

/* ---- a poll that takes its time ---- */

static check_tally let_go;

static selv_status takes_its_time(guest *g, uint64_t timeout_ns, void **out_events) {
  if (timeout_ns == 0) return SELV_OK;
  CHECK_WAIT(&let_go, 1);
  *out_events = guest_new_events(g);
  return SELV_OK;
}

static void done_waits_for_the_poll(void) {
  guest g;
  check_tally_init(&let_go);
  begin(&g, sleeps, "");
  g.on_poll = takes_its_time;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_OK(guest_tell(&g, selv_guest_stop)); /* does not wait */
  host_drain(&h, 0);
  host_drain(&h, 0);
  CHECK_JOURNAL(&journal, "prepare poll0");
  check_tally_add(&let_go, 1);
  ends(&g, "prepare poll0 poll+ | discard done(SELV_E_CANCELLED)");
}

/* ---- from inside every callback ---- */

static void stops(guest *g) {
  CHECK_OK(guest_tell(g, selv_guest_stop));
  CHECK_OK(guest_tell(g, selv_guest_stop));
}

static void inside(const char *place, const uint64_t *plan, const char *finds, const char *wanted) {
  guest g;
  begin(&g, plan, finds);
  g.place = place;
  g.then = stops;
  guest_begin(&g);
  ends(&g, wanted);
}

static void inside_prepare(void) {
  static const uint64_t again[] = {0, SELV_GUEST_DONE}, later[] = {CHECK_MS, SELV_GUEST_DONE};
  inside("prepare", sleeps, "", "| prepare done(SELV_E_CANCELLED)");
  inside("prepare", again, "", "| prepare done(SELV_E_CANCELLED)");
  inside("prepare", later, "+", "| prepare done(SELV_E_CANCELLED)");
}

static void inside_the_poll_of_the_host(void) {
  static const uint64_t again[] = {0, SELV_GUEST_DONE};
  inside("poll(0)", sleeps, "-", "| prepare poll0 done(SELV_E_CANCELLED)");
  inside("poll(0)", sleeps, "+", "| prepare poll0+ discard done(SELV_E_CANCELLED)");
  inside("poll(0)", again, "-", "| prepare poll0 done(SELV_E_CANCELLED)");
}

static void inside_the_poll_of_a_worker(void) {
  inside("poll", sleeps, "", "| prepare poll0 poll | done(SELV_E_CANCELLED)");
  inside("poll", sleeps, "-+", "| prepare poll0 poll+ | discard done(SELV_E_CANCELLED)");
}

static void inside_process(void) {
  inside("process", sleeps, "+", "| prepare poll0+ | process+ done(SELV_E_CANCELLED)");
  inside("process", sleeps, "--", "| prepare poll0 poll | process done(SELV_E_CANCELLED)");
}

static void inside_interrupt(void) {
  guest g;
  begin(&g, sleeps, "");
  g.place = "interrupt";
  g.then = stops;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_OK(guest_tell(&g, selv_guest_interrupt));
  CHECK(g.was_there);
  ends(&g, "prepare poll0 poll | done(SELV_E_CANCELLED)");
}

static void is_too_late(guest *g) {
  CHECK_STATUS(guest_tell(g, selv_guest_stop), SELV_E_TOO_LATE);
  CHECK_LAST_ERROR_HAS("its done has been called, or is about to be");
  CHECK_STATUS(guest_tell(g, selv_guest_interrupt), SELV_E_TOO_LATE);
}

/* In discard the end has begun; both answers are true. */
static void is_late(guest *g) {
  selv_status status = guest_tell(g, selv_guest_stop);
  CHECK(status == SELV_OK || status == SELV_E_TOO_LATE);
  if (status == SELV_E_TOO_LATE) CHECK_LAST_ERROR_HAS("its done has been called, or is about to be");
  status = guest_tell(g, selv_guest_interrupt);
  CHECK(status == SELV_OK || status == SELV_E_TOO_LATE);
}

static void inside_discard(void) {
  guest g;
  begin(&g, sleeps, "+");
  g.place = "discard";
  g.then = is_late;
  guest_begin(&g);
  HOST_NEXT(&h);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  ends(&g, "prepare poll0+ | discard done(SELV_E_CANCELLED)");
}

static void inside_done(void) {
  guest g;
  begin(&g, sleeps, "");
  g.place = "done";
  g.then = is_too_late;
  guest_begin(&g);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  ends(&g, "| done(SELV_E_CANCELLED)");
}

/* ---- with an end of the guest's own ---- */

static selv_status stops_and_ends(guest *g, uint64_t *out_ns) {
  stops(g);
  *out_ns = SELV_GUEST_DONE;
  return SELV_OK;
}

static selv_status stops_and_fails(guest *g, uint64_t *out_ns) {
  (void)out_ns;
  stops(g);
  return SELV_E_IO;
}

/* Two ends at once: it is told one of them, once. */
static void two_ends(selv_status (*prepare)(guest *g, uint64_t *out_ns), selv_status other) {
  guest g;
  begin(&g, NULL, "");
  g.on_prepare = prepare;
  guest_begin(&g);
  HOST_UNTIL(&h, check_tally_get(&g.dones) == 1);
  CHECK(g.why == SELV_E_CANCELLED || g.why == other);
  GUEST_ENDS(&g, g.why);
  host_has_nothing(&h);
  host_end(&h);
}

static void as_the_guest_ends(void) { two_ends(stops_and_ends, SELV_OK); }
static void as_the_guest_fails(void) { two_ends(stops_and_fails, SELV_E_IO); }

/* ---- from other threads ---- */

#define THREADS 8

static check_tally at_the_line;

static void *stops_it(void *arg) {
  check_tally_add(&at_the_line, 1);
  CHECK_WAIT(&at_the_line, THREADS);
  CHECK_OK(guest_tell((guest *)arg, selv_guest_stop)); /* the host does not drain: nobody is late */
  return NULL;
}

static void by_many_threads(void) {
  pthread_t threads[THREADS];
  guest g;
  int i;
  check_tally_init(&at_the_line);
  begin(&g, sleeps, "");
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, stops_it, &g) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  ends(&g, "prepare poll0 poll | done(SELV_E_CANCELLED)");
}

static void *stops_alone(void *arg) {
  CHECK_OK(guest_tell((guest *)arg, selv_guest_stop));
  return NULL;
}

/* Another thread stops it while this one is in a callback, and has returned before the callback does. */
static void another_thread_stops(guest *g) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, stops_alone, g) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void by_another_thread_while(const char *place, const char *finds, const char *wanted) {
  guest g;
  begin(&g, sleeps, finds);
  g.place = place;
  g.then = another_thread_stops;
  guest_begin(&g);
  ends(&g, wanted);
}

static void by_another_thread_at_every_point(void) {
  by_another_thread_while("prepare", "", "| prepare done(SELV_E_CANCELLED)");
  by_another_thread_while("poll(0)", "+", "| prepare poll0+ discard done(SELV_E_CANCELLED)");
  by_another_thread_while("poll", "", "| prepare poll0 poll | done(SELV_E_CANCELLED)");
  by_another_thread_while("process", "+", "| prepare poll0+ | process+ done(SELV_E_CANCELLED)");
}

int main(void) {
  CHECK_RUN(before_the_first_tick);
  CHECK_RUN(while_a_worker_polls);
  CHECK_RUN(when_the_poll_found_nothing);
  CHECK_RUN(when_events_of_a_worker_wait);
  CHECK_RUN(when_events_of_the_host_wait);
  CHECK_RUN(when_events_wait_and_nobody_discards);
  CHECK_RUN(done_waits_for_the_poll);
  CHECK_RUN(inside_prepare);
  CHECK_RUN(inside_the_poll_of_the_host);
  CHECK_RUN(inside_the_poll_of_a_worker);
  CHECK_RUN(inside_process);
  CHECK_RUN(inside_interrupt);
  CHECK_RUN(inside_discard);
  CHECK_RUN(inside_done);
  CHECK_RUN(as_the_guest_ends);
  CHECK_RUN(as_the_guest_fails);
  CHECK_RUN(by_many_threads);
  CHECK_RUN(by_another_thread_at_every_point);
  return 0;
}

/* guest_abandon.c: the host's loop has died, and the guest is brought to its end by whoever is left: the poll is told to return and
 * waited for, then comes done(SELV_E_CLOSED), on the thread that abandons. How the host came to die is in guest_thread_ends.c. */
#include "guests.h"

static host h;
static check_journal journal = CHECK_JOURNAL_INIT;
static const uint64_t sleeps[] = {SELV_FOREVER, SELV_FOREVER, SELV_GUEST_DONE};

static void begin(guest *g, const char *finds) {
  check_journal_clear(&journal);
  host_begin(&h, HOST_WAKE);
  guest_init(g, &h);
  g->journal = &journal;
  g->plan = sleeps;
  g->finds = finds;
}

/* It has been abandoned. A host that drains all the same, because it is not dead at all, changes nothing. */
static void ends(guest *g, const char *wanted) {
  CHECK_EQ_U64(check_tally_get(&g->dones), 1);
  CHECK_STATUS(g->why, SELV_E_CLOSED);
  CHECK_JOURNAL(&journal, wanted);
  CHECK_STATUS(guest_abandon(g, SELV_FOREVER), SELV_E_TOO_LATE);
  CHECK_STATUS(guest_tell(g, selv_guest_stop), SELV_E_TOO_LATE);
  CHECK_STATUS(guest_tell(g, selv_guest_interrupt), SELV_E_TOO_LATE);
  host_drain(&h, 0);
  host_drain(&h, 0);
  CHECK_EQ_U64(host_drain(&h, 0), 0);
  CHECK_JOURNAL(&journal, wanted);
  guest_free(g);
  host_end(&h);
}

static void *abandons(void *arg) {
  guest *g = (guest *)arg;
  CHECK_OK(guest_abandon(g, SELV_FOREVER));
  CHECK(pthread_equal(g->done_on, pthread_self()));
  return NULL;
}

static void by_another_thread(guest *g) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, abandons, g) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

/* ---- at every point of a tick ---- */

static void before_the_first_tick(void) {
  guest g;
  begin(&g, "");
  guest_begin(&g);
  by_another_thread(&g);
  ends(&g, "done(SELV_E_CLOSED)");
}

static void while_a_worker_polls(void) {
  guest g;
  begin(&g, "");
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  by_another_thread(&g);
  CHECK(check_tally_get(&g.interrupts) >= 1);
  ends(&g, "prepare poll0 poll done(SELV_E_CLOSED)");
}

static void when_events_of_a_worker_wait(void) {
  guest g;
  begin(&g, "-+");
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  HOST_AWAITS(&h);
  by_another_thread(&g);
  ends(&g, "prepare poll0 poll+ discard done(SELV_E_CLOSED)");
}

static void when_events_of_the_host_wait(void) {
  guest g;
  begin(&g, "+");
  guest_begin(&g);
  HOST_NEXT(&h);
  by_another_thread(&g);
  ends(&g, "prepare poll0+ discard done(SELV_E_CLOSED)");
}

static void when_events_wait_and_nobody_discards(void) {
  guest g;
  begin(&g, "-+");
  g.keeps_events = 1;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  HOST_AWAITS(&h);
  by_another_thread(&g);
  ends(&g, "prepare poll0 poll+ done(SELV_E_CLOSED)");
}

static void when_it_was_stopped(void) {
  guest g;
  begin(&g, "");
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  by_another_thread(&g);
  ends(&g, "prepare poll0 poll done(SELV_E_CLOSED)");
}

/* The loop's thread may do it as well, between drains or in a call of the loop. */
static void by_the_thread_of_the_loop(void) {
  guest g;
  begin(&g, "");
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_OK(guest_abandon(&g, SELV_FOREVER));
  ends(&g, "prepare poll0 poll done(SELV_E_CLOSED)");
}

static void abandons_in_a_call(call_probe *p) { CHECK_OK(guest_abandon((guest *)p->object, SELV_FOREVER)); }

static void in_a_call_of_the_loop(void) {
  guest g;
  call_probe p;
  begin(&g, "-++");
  call_probe_init(&p, &h);
  p.then = abandons_in_a_call;
  p.object = &g;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  HOST_AWAITS(&h); /* its next tick stands in line before the call; the one after it would come behind */
  call_probe_soon(&p);
  HOST_UNTIL(&h, check_tally_get(&p.ran) == 1);
  CHECK_EQ_U64(check_tally_get(&g.processes), 1);
  ends(&g, "prepare poll0 poll+ process+ prepare poll0+ discard done(SELV_E_CLOSED)");
}

/* ---- a poll that does not return ---- */

static check_tally let_go;

static selv_status is_deaf(guest *g, uint64_t timeout_ns, void **out_events) {
  if (timeout_ns == 0) return SELV_OK;
  CHECK_WAIT(&let_go, 1);
  *out_events = guest_new_events(g);
  return SELV_OK;
}

static void a_poll_that_is_deaf(void) {
  guest g;
  uint64_t began = check_now_ns();
  check_tally_init(&let_go);
  begin(&g, "");
  g.on_poll = is_deaf;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_STATUS(guest_abandon(&g, 20 * CHECK_MS), SELV_E_TIMEDOUT);
  CHECK(check_now_ns() - began >= 20 * CHECK_MS);
  CHECK(check_tally_get(&g.interrupts) >= 1);
  CHECK_STATUS(guest_abandon(&g, 0), SELV_E_TIMEDOUT);
  CHECK_OK(guest_tell(&g, selv_guest_stop)); /* nothing comes of it */
  guest_is_to_be_silent(&g);
  host_drain(&h, 0);
  CHECK_EQ_U64(check_tally_get(&g.dones), 0);
  CHECK_EQ_U64(host_stats(&h).guests, 1);
  CHECK_STATUS(selv_host_loop_close(h.loop), SELV_E_BUSY);
  check_tally_add(&let_go, 1);
  by_another_thread(&g);
  ends(&g, "prepare poll0 poll+ discard done(SELV_E_CLOSED)");
}

/* It returns when nobody waits for it any more, and a host drains that was believed dead. */
static void a_poll_that_returns_too_late(void) {
  guest g;
  check_tally_init(&let_go);
  begin(&g, "");
  g.on_poll = is_deaf;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_STATUS(guest_abandon(&g, CHECK_MS), SELV_E_TIMEDOUT);
  guest_is_to_be_silent(&g);
  check_tally_add(&let_go, 1);
  CHECK_EVENTUALLY(guest_has_polled(&g) == 1);
  host_drain(&h, 0);
  host_drain(&h, 0);
  CHECK_JOURNAL(&journal, "prepare poll0 poll+");
  CHECK_OK(guest_abandon(&g, SELV_FOREVER));
  ends(&g, "prepare poll0 poll+ discard done(SELV_E_CLOSED)");
}

/* ---- a callback on the host's thread that does not return ---- */

static check_tally inside;

static void waits_inside(guest *g) {
  (void)g;
  check_tally_add(&inside, 1);
  CHECK_WAIT(&let_go, 1);
}

static void begins(void *arg) { guest_begin((guest *)arg); }

static void a_callback_that_hangs(const char *place, const char *finds, const char *wanted) {
  guest g;
  check_tally_init(&let_go);
  check_tally_init(&inside);
  check_journal_clear(&journal);
  host_start(&h, HOST_WAKE);
  guest_init(&g, &h);
  g.journal = &journal;
  g.plan = sleeps;
  g.finds = finds;
  g.place = place;
  g.then = waits_inside;
  host_do(&h, begins, &g);
  CHECK_WAIT(&inside, 1);
  CHECK_STATUS(guest_abandon(&g, 20 * CHECK_MS), SELV_E_TIMEDOUT);
  guest_is_to_be_silent(&g);
  check_tally_add(&let_go, 1); /* the host is not dead: its tick ends where it is */
  CHECK_OK(guest_abandon(&g, SELV_FOREVER));
  CHECK(pthread_equal(g.done_on, pthread_self()));
  CHECK_STATUS(g.why, SELV_E_CLOSED);
  CHECK_JOURNAL(&journal, wanted);
  host_stop(&h);
  CHECK_JOURNAL(&journal, wanted);
  guest_free(&g);
}

static void a_prepare_that_hangs(void) { a_callback_that_hangs("prepare", "", "prepare done(SELV_E_CLOSED)"); }
static void a_poll_of_the_host_that_hangs(void) {
  a_callback_that_hangs("poll(0)", "+", "prepare poll0+ discard done(SELV_E_CLOSED)");
  a_callback_that_hangs("poll(0)", "-", "prepare poll0 done(SELV_E_CLOSED)");
}
static void a_process_that_hangs(void) {
  a_callback_that_hangs("process", "+", "prepare poll0+ process+ done(SELV_E_CLOSED)");
}

/* ---- from inside its own callbacks it would wait for itself ---- */

static selv_status wanted_inside, also_wanted_inside;

static void abandons_itself(guest *g) {
  selv_status status = guest_abandon(g, SELV_FOREVER);
  if (status != wanted_inside && status != also_wanted_inside) CHECK_STATUS(status, wanted_inside);
}

static void from_inside(const char *place, const char *finds) {
  guest g;
  wanted_inside = also_wanted_inside = SELV_E_REENTRANT;
  host_begin(&h, HOST_FD);
  guest_init(&g, &h);
  g.finds = finds;
  g.place = place;
  g.then = abandons_itself;
  if (strcmp(place, "discard") == 0 || strcmp(place, "done") == 0) also_wanted_inside = SELV_E_TOO_LATE;
  guest_begin(&g);
  HOST_NEXT(&h);
  if (strcmp(place, "poll") == 0) GUEST_POLLS(&g, 1);
  if (strcmp(place, "discard") == 0) {
    CHECK_OK(guest_tell(&g, selv_guest_stop));
    GUEST_ENDS(&g, SELV_E_CANCELLED);
  } else { /* and goes on as if nothing had been asked */
    CHECK_OK(guest_finish(&g));
    GUEST_ENDS(&g, SELV_OK);
  }
  CHECK(g.was_there);
  host_end(&h);
}

static void from_inside_each_callback(void) {
  from_inside("prepare", "");
  from_inside("poll(0)", "");
  from_inside("poll", "");
  from_inside("process", "+");
  from_inside("discard", "+");
  from_inside("done", "");
}

static void from_inside_interrupt(void) {
  guest g;
  wanted_inside = also_wanted_inside = SELV_E_REENTRANT;
  begin(&g, "");
  g.place = "interrupt";
  g.then = abandons_itself;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  by_another_thread(&g);
  CHECK(g.was_there);
  ends(&g, "prepare poll0 poll done(SELV_E_CLOSED)");
}

/* By way of another guest: its interrupt is called inside this one's, and abandons this one. */
static void interrupts_the_other(guest *g) { CHECK_OK(guest_tell((guest *)g->user, selv_guest_interrupt)); }

static void abandons_the_other(guest *g) {
  CHECK_STATUS(guest_abandon((guest *)g->user, SELV_FOREVER), SELV_E_REENTRANT);
}

static void from_inside_interrupt_by_way_of_another(void) {
  guest a, b;
  host_begin(&h, HOST_FD);
  guest_init(&a, &h);
  guest_init(&b, &h);
  a.user = &b;
  b.user = &a;
  a.place = b.place = "interrupt";
  a.then = interrupts_the_other;
  b.then = abandons_the_other;
  guest_begin(&a);
  guest_begin(&b);
  GUEST_POLLS(&a, 1);
  GUEST_POLLS(&b, 1);
  CHECK_OK(guest_tell(&a, selv_guest_interrupt));
  CHECK(a.was_there && b.was_there);
  CHECK_OK(guest_finish(&a));
  GUEST_ENDS(&a, SELV_OK);
  CHECK_OK(guest_finish(&b));
  GUEST_ENDS(&b, SELV_OK);
  host_end(&h);
}

/* ---- several at once ---- */

#define THREADS 6

typedef struct racer {
  guest *g;
  uint64_t timeout_ns;
  selv_status status;
} racer;

static check_tally at_the_line;

static void *races(void *arg) {
  racer *r = (racer *)arg;
  check_tally_add(&at_the_line, 1);
  CHECK_WAIT(&at_the_line, THREADS);
  r->status = guest_abandon(r->g, r->timeout_ns);
  return NULL;
}

static void by_several_threads(void) {
  uint64_t round, rounds = check_scaled(50);
  for (round = 0; round < rounds; round++) {
    pthread_t threads[THREADS];
    racer racers[THREADS];
    guest g;
    int i, told = 0;
    check_tally_init(&at_the_line);
    begin(&g, "-w");
    guest_begin(&g);
    GUEST_POLLS(&g, 1);
    for (i = 0; i < THREADS; i++) {
      racers[i].g = &g;
      racers[i].timeout_ns = i % 2 && round % 2 ? round * 1000 : SELV_FOREVER;
      CHECK(pthread_create(&threads[i], NULL, races, &racers[i]) == 0);
    }
    for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    for (i = 0; i < THREADS; i++) {
      CHECK(racers[i].status == SELV_OK || racers[i].status == SELV_E_TOO_LATE ||
            (racers[i].status == SELV_E_TIMEDOUT && racers[i].timeout_ns != SELV_FOREVER));
      told += racers[i].status == SELV_OK;
    }
    CHECK(told >= 1);
    ends(&g, "prepare poll0 poll done(SELV_E_CLOSED)");
  }
}

/* ---- a host that is alive, and has another guest ---- */

static void the_other_guest_goes_on(void) {
  guest g, other;
  begin(&g, "");
  guest_init(&other, &h);
  guest_begin(&g);
  guest_begin(&other);
  GUEST_POLLS(&g, 1);
  GUEST_POLLS(&other, 1);
  by_another_thread(&g);
  CHECK_EQ_U64(host_stats(&h).guests, 1);
  CHECK_OK(guest_post(&other));
  HOST_UNTIL(&h, other.ran == 1);
  CHECK_OK(guest_finish(&other));
  GUEST_ENDS(&other, SELV_OK);
  ends(&g, "prepare poll0 poll done(SELV_E_CLOSED)");
}

int main(void) {
  CHECK_RUN(before_the_first_tick);
  CHECK_RUN(while_a_worker_polls);
  CHECK_RUN(when_events_of_a_worker_wait);
  CHECK_RUN(when_events_of_the_host_wait);
  CHECK_RUN(when_events_wait_and_nobody_discards);
  CHECK_RUN(when_it_was_stopped);
  CHECK_RUN(by_the_thread_of_the_loop);
  CHECK_RUN(in_a_call_of_the_loop);
  CHECK_RUN(a_poll_that_is_deaf);
  CHECK_RUN(a_poll_that_returns_too_late);
  CHECK_RUN(a_prepare_that_hangs);
  CHECK_RUN(a_poll_of_the_host_that_hangs);
  CHECK_RUN(a_process_that_hangs);
  CHECK_RUN(from_inside_each_callback);
  CHECK_RUN(from_inside_interrupt);
  CHECK_RUN(from_inside_interrupt_by_way_of_another);
  CHECK_RUN(by_several_threads);
  CHECK_RUN(the_other_guest_goes_on);
  return 0;
}

/* guest_abandon_dead.c: the thread of the host's loop has ended, between drains or in the middle of a callback, and another thread
 * abandons the guest, takes over the loop, and closes it. */
#include "guests.h"

static host h;
static guest g;
static const uint64_t sleeps[] = {SELV_FOREVER, SELV_FOREVER, SELV_GUEST_DONE};
static uint64_t turns; /* how often the thread drains before it ends by itself */

static void *is_the_host(void *unused) {
  uint64_t i;
  (void)unused;
  h.thread = pthread_self();
  CHECK_OK(selv_host_loop_bind(h.loop));
  guest_begin(&g);
  for (i = 0; i < turns; i++) HOST_NEXT(&h);
  return NULL;
}

static void begin(uint64_t drains, const char *finds) {
  turns = drains;
  host_begin(&h, HOST_WAKE);
  guest_init(&g, &h);
  g.plan = sleeps;
  g.finds = finds;
}

static void host_lives_and_dies(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, is_the_host, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

/* The loop is this thread's now, and works: but for the guest that is gone. */
static void takes_over(void) {
  call_probe p;
  h.thread = pthread_self();
  CHECK_OK(selv_host_loop_bind(h.loop));
  CHECK_EQ_U64(host_stats(&h).guests, 0);
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  while (check_tally_get(&p.ran) == 0) host_drain(&h, 0);
  host_drain(&h, 0);
  guest_free(&g);
  host_end(&h);
}

static void is_abandoned(void) {
  CHECK_OK(guest_abandon(&g, SELV_FOREVER));
  CHECK_EQ_U64(check_tally_get(&g.dones), 1);
  CHECK_STATUS(g.why, SELV_E_CLOSED);
  CHECK(pthread_equal(g.done_on, pthread_self()));
  CHECK_STATUS(guest_abandon(&g, SELV_FOREVER), SELV_E_TOO_LATE);
  takes_over();
}

static void before_the_first_tick(void) {
  begin(0, "");
  host_lives_and_dies();
  is_abandoned();
  CHECK_EQ_U64(check_tally_get(&g.prepares), 0);
}

static void while_a_worker_polls(void) {
  begin(1, "");
  host_lives_and_dies();
  CHECK_WAIT(&g.polls, 1);
  is_abandoned();
}

static void before_a_worker_polls(void) {
  begin(1, "");
  host_lives_and_dies();
  is_abandoned(); /* the poll has begun by now, or never does */
}

static void while_events_wait(void) {
  begin(1, "+");
  host_lives_and_dies();
  is_abandoned();
  CHECK_EQ_U64(g.discarded, 1);
  begin(1, "-+");
  host_lives_and_dies();
  HOST_AWAITS(&h);
  is_abandoned();
  CHECK_EQ_U64(g.discarded, 1);
}

/* ---- the thread ends inside a callback, as a runtime's does when it is finalised ---- */

static void ends_here(const char *place, const char *finds) {
  begin(3, finds);
  g.place = place;
  g.then = guest_loses_its_thread;
  host_lives_and_dies();
  CHECK(g.was_there);
  is_abandoned();
}

static void inside_prepare(void) { ends_here("prepare", ""); }
static void inside_the_poll_of_the_host(void) { ends_here("poll(0)", ""); }
static void inside_process(void) { ends_here("process", "+"); }

/* done has been called: there is nothing left to be done for this guest. */
static void ends_in_done(guest *guest) {
  check_tally_add(&guest->dones, 1);
  pthread_exit(NULL);
}

static void inside_done(void) {
  static const uint64_t at_once[] = {SELV_GUEST_DONE};
  begin(3, "");
  g.plan = at_once;
  g.place = "done";
  g.then = ends_in_done;
  host_lives_and_dies();
  CHECK_OK(g.why);
  CHECK_STATUS(guest_abandon(&g, SELV_FOREVER), SELV_E_TOO_LATE);
  takes_over();
  CHECK_EQ_U64(check_tally_get(&g.dones), 1);
}

/* The thread that abandons it ends in done: the run is over all the same. */
static void *abandons(void *unused) {
  (void)unused;
  (void)guest_abandon(&g, SELV_FOREVER);
  check_fail(__FILE__, __LINE__, "a thread has come back from its end");
  return NULL;
}

static void the_abandoning_thread_ends_too(void) {
  pthread_t thread;
  begin(1, "-+");
  g.place = "done";
  g.then = ends_in_done;
  host_lives_and_dies();
  CHECK(pthread_create(&thread, NULL, abandons, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_STATUS(g.why, SELV_E_CLOSED);
  CHECK_STATUS(guest_abandon(&g, SELV_FOREVER), SELV_E_TOO_LATE);
  takes_over();
  CHECK_EQ_U64(check_tally_get(&g.dones), 1);
}

/* A loop that gets a new thread goes on with its guest: nobody had to abandon it. */
static void a_new_thread_takes_the_guest_over(void) {
  static const uint64_t sleeps_once[] = {SELV_FOREVER, SELV_GUEST_DONE};
  begin(1, "");
  g.plan = sleeps_once;
  host_lives_and_dies();
  CHECK_WAIT(&g.polls, 1);
  h.thread = pthread_self();
  CHECK_OK(selv_host_loop_bind(h.loop));
  CHECK_OK(guest_post(&g));
  GUEST_ENDS(&g, SELV_OK);
  CHECK_EQ_U64(check_tally_get(&g.prepares), 2);
  host_end(&h);
}

/* The host has let go of its loop, too: the guest keeps it as long as it needs it. */
static void the_loop_has_been_let_go(void) {
  begin(1, "-+");
  host_lives_and_dies();
  selv_host_loop_release(h.loop);
  CHECK_EQ_U64(check_tally_get(&h.freed), 0);
  CHECK_OK(guest_abandon(&g, SELV_FOREVER));
  CHECK_STATUS(g.why, SELV_E_CLOSED);
  guest_free(&g);
  CHECK_WAIT(&h.freed, 1); /* closed, with its last handle */
  host_pipe_closed(&h);
}

/* ---- the worker's thread ends inside its poll: the host lives, and is told ---- */

static void inside_the_poll_of_a_worker(void) {
  begin(0, "");
  g.place = "poll";
  g.then = guest_loses_its_thread;
  guest_begin(&g);
  GUEST_ENDS(&g, SELV_E_BROKEN);
  CHECK_EQ_U64(check_tally_get(&g.polls), 1);
  host_has_nothing(&h);
  host_end(&h);
}

/* The same, and the host is dead, too. */
static void all_threads_end(void) {
  begin(1, "");
  g.place = "poll";
  g.then = guest_loses_its_thread;
  host_lives_and_dies();
  CHECK_WAIT(&g.polls, 1);
  is_abandoned();
}

int main(void) {
  CHECK_RUN(before_the_first_tick);
  CHECK_RUN(while_a_worker_polls);
  CHECK_RUN(before_a_worker_polls);
  CHECK_RUN(while_events_wait);
  CHECK_RUN(inside_prepare);
  CHECK_RUN(inside_the_poll_of_the_host);
  CHECK_RUN(inside_process);
  CHECK_RUN(inside_done);
  CHECK_RUN(the_abandoning_thread_ends_too);
  CHECK_RUN(a_new_thread_takes_the_guest_over);
  CHECK_RUN(the_loop_has_been_let_go);
  CHECK_RUN(inside_the_poll_of_a_worker);
  CHECK_RUN(all_threads_end);
  return 0;
}

/* guest_thread_ends.c: threads end that a guest has to do with: that of the host's loop, between drains or in the middle of a callback, as
 * a runtime ends it; a worker's inside the poll; any thread inside interrupt. The guest is then abandoned, or goes on with whoever takes
 * over the loop, or is told; it has one done, and nothing is kept of it. */
#include "guests.h"
#include "probe.h"

static host h;
static guest g;
static const uint64_t sleeps[] = {SELV_FOREVER, SELV_FOREVER, SELV_GUEST_DONE};
static uint64_t turns; /* how often the thread drains before it ends by itself */
static int stops_then; /* it stops the guest, and drains once more */

static void *is_the_host(void *unused) {
  uint64_t i;
  (void)unused;
  h.thread = pthread_self();
  CHECK_OK(selv_host_loop_bind(h.loop));
  guest_begin(&g);
  for (i = 0; i < turns; i++) HOST_NEXT(&h);
  if (stops_then) {
    CHECK_OK(guest_tell(&g, selv_guest_stop));
    HOST_NEXT(&h);
  }
  return NULL;
}

static void begin(uint64_t drains, const char *finds) {
  turns = drains;
  stops_then = 0;
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

static void inside_discard(void) {
  begin(1, "+");
  g.place = "discard";
  g.then = guest_loses_its_thread;
  stops_then = 1;
  host_lives_and_dies();
  CHECK(g.was_there);
  CHECK_EQ_U64(check_tally_get(&g.dones), 0);
  is_abandoned();
}

/* ---- the same inside the host's own start_soon ---- */

static int interrupts_first;

static void *interrupts(void *unused) {
  (void)unused;
  CHECK_OK(guest_tell(&g, selv_guest_interrupt));
  return NULL;
}

static selv_status starts_nothing(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  pthread_t thread;
  (void)start_arg;
  (void)fn;
  (void)deliver;
  (void)arg;
  (void)name;
  if (interrupts_first) { /* by another thread, which the dying one cannot take with it */
    CHECK(pthread_create(&thread, NULL, interrupts, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  g.was_there = 1;
  guest_loses_its_thread(&g);
  return SELV_OK;
}

static void begin_without_starts(void) {
  begin(3, "");
  g.options.start_soon = starts_nothing;
  host_lives_and_dies();
  CHECK(g.was_there);
}

static void inside_start_soon(void) {
  for (interrupts_first = 0; interrupts_first < 2; interrupts_first++) {
    begin_without_starts();
    is_abandoned();
  }
}

/* ---- nobody abandons it: who takes the loop over has it end ---- */

static void ends_with_the_new_thread(void) {
  CHECK(g.was_there);
  CHECK_EQ_U64(check_tally_get(&g.dones), 0);
  h.thread = pthread_self();
  CHECK_OK(selv_host_loop_bind(h.loop));
  GUEST_ENDS(&g, stops_then ? SELV_E_CANCELLED : SELV_E_BROKEN);
  host_drain(&h, 0);
  host_end(&h);
}

static void a_new_thread_ends_it(void) {
  static const char *const places[] = {"prepare", "poll(0)", "process", "discard"};
  size_t i;
  for (i = 0; i < sizeof places / sizeof places[0]; i++) {
    begin(i == 3 ? 1 : 3, "+");
    g.place = places[i];
    g.then = guest_loses_its_thread;
    stops_then = i == 3;
    host_lives_and_dies();
    ends_with_the_new_thread();
  }
  for (interrupts_first = 0; interrupts_first < 2; interrupts_first++) {
    begin_without_starts();
    ends_with_the_new_thread();
  }
}

/* ---- inside done ---- */

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

/* And what the guest has kept is given back: its loop is closed with the host's handle, its cache ends with the host's. */
static void nothing_is_kept_of_it(void) {
  static const uint64_t at_once[] = {SELV_GUEST_DONE};
  selv_cache *c = probe_cache(0, 0);
  hook_probe hook;
  hook_probe_init(&hook, "kept", NULL);
  selv_hook_release(hook_probe_register(c, &hook, 0));
  begin(3, "");
  g.options.cache = c;
  g.plan = at_once;
  g.place = "done";
  g.then = ends_in_done;
  host_lives_and_dies();
  guest_free(&g);
  selv_cache_release(c);
  CHECK_WAIT(&hook.frees, 1);
  selv_host_loop_release(h.loop);
  CHECK_WAIT(&h.freed, 1);
  host_pipe_closed(&h);
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

/* ---- a thread ends inside interrupt, which any thread may call: it counts as returned ---- */

static void ends_in_interrupt(guest *guest) {
  pthread_mutex_lock(&guest->mutex);
  guest->interrupting--;
  pthread_mutex_unlock(&guest->mutex);
  pthread_exit(NULL);
}

static void a_thread_ends_in_interrupt(void *(*body)(void *)) {
  pthread_t thread;
  begin(0, "");
  g.place = "interrupt";
  g.then = ends_in_interrupt;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(g.was_there);
}

static void inside_interrupt(void) {
  a_thread_ends_in_interrupt(interrupts);
  HOST_UNTIL(&h, check_tally_get(&g.prepares) == 2);
  CHECK_OK(guest_tell(&g, selv_guest_stop));
  GUEST_ENDS(&g, SELV_E_CANCELLED);
  host_end(&h);
}

static void inside_interrupt_of_an_abandoned_guest(void) {
  a_thread_ends_in_interrupt(abandons);
  CHECK_OK(guest_abandon(&g, SELV_FOREVER)); /* by somebody who lives */
  CHECK_STATUS(g.why, SELV_E_CLOSED);
  takes_over();
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
  CHECK_RUN(inside_discard);
  CHECK_RUN(inside_start_soon);
  CHECK_RUN(a_new_thread_ends_it);
  CHECK_RUN(inside_done);
  CHECK_RUN(nothing_is_kept_of_it);
  CHECK_RUN(the_abandoning_thread_ends_too);
  CHECK_RUN(a_new_thread_takes_the_guest_over);
  CHECK_RUN(the_loop_has_been_let_go);
  CHECK_RUN(inside_interrupt);
  CHECK_RUN(inside_interrupt_of_an_abandoned_guest);
  CHECK_RUN(inside_the_poll_of_a_worker);
  CHECK_RUN(all_threads_end);
  return 0;
}

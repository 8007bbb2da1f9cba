/* guest_lifetimes.c: how long things live: the run does not need its handle, the handle does not need the run, the guest keeps its loop
 * and its cache; the loop cannot be closed while a guest lives; in done it lives no more, and another may begin. */
#include "guests.h"
#include "probe.h"

static host h;
static const uint64_t sleeps[] = {SELV_FOREVER, SELV_GUEST_DONE}, at_once[] = {SELV_GUEST_DONE};

static void begin(guest *g, const uint64_t *plan) {
  host_begin(&h, HOST_FD);
  guest_init(g, &h);
  g->plan = plan;
}

/* ---- the loop ---- */

static void guests_are_counted(void) {
  guest g[3];
  int i;
  host_begin(&h, HOST_WAKE);
  for (i = 0; i < 3; i++) {
    guest_init(&g[i], &h);
    g[i].plan = sleeps;
    CHECK_EQ_U64(host_stats(&h).guests, (uint64_t)i);
    guest_begin(&g[i]);
  }
  CHECK_EQ_U64(host_stats(&h).guests, 3);
  for (i = 0; i < 3; i++) {
    GUEST_POLLS(&g[i], 1);
    CHECK_EQ_U64(host_stats(&h).guests, 3 - (uint64_t)i);
    CHECK_OK(guest_post(&g[i]));
    GUEST_ENDS(&g[i], SELV_OK);
  }
  host_end(&h);
}

static void is_busy(guest *g) { CHECK_STATUS(selv_host_loop_close(g->h->loop), SELV_E_BUSY); }

static void a_loop_with_a_guest_is_not_closed(void) {
  static const char *const places[] = {"prepare", "poll(0)", "process"};
  size_t i;
  for (i = 0; i < sizeof places / sizeof places[0]; i++) {
    guest g;
    begin(&g, sleeps);
    g.finds = "+";
    g.place = places[i];
    g.then = is_busy;
    guest_begin(&g);
    CHECK_STATUS(selv_host_loop_close(h.loop), SELV_E_BUSY);
    CHECK_LAST_ERROR_HAS("guest");
    HOST_NEXT(&h);
    CHECK_STATUS(selv_host_loop_close(h.loop), SELV_E_BUSY);
    GUEST_ENDS(&g, SELV_OK);
    CHECK(g.was_there);
    host_end(&h);
  }
}

static void closes(guest *g) {
  CHECK_EQ_U64(host_stats(g->h).guests, 0);
  CHECK_OK(selv_host_loop_close(g->h->loop));
}

static void in_done_the_loop_is_closed(void) {
  guest g;
  selv_status status;
  begin(&g, at_once);
  g.place = "done";
  g.then = closes;
  guest_begin(&g);
  HOST_AWAITS(&h);
  status = selv_host_loop_drain(h.loop, 0, NULL);
  CHECK(status == SELV_OK || status == SELV_E_CLOSED); /* it has run, and there is no loop any more */
  CHECK_EQ_U64(check_tally_get(&g.dones), 1);
  CHECK_OK(g.why);
  guest_free(&g);
  host_end(&h);
}

static guest *others;

static void is_still_busy(guest *g) {
  CHECK_EQ_U64(host_stats(g->h).guests, 1);
  CHECK_STATUS(selv_host_loop_close(g->h->loop), SELV_E_BUSY);
  CHECK_OK(guest_tell(others, selv_guest_stop));
}

static void in_done_another_guest_lives(void) {
  guest g, other;
  begin(&g, at_once);
  guest_init(&other, &h);
  other.plan = sleeps;
  others = &other;
  g.place = "done";
  g.then = is_still_busy;
  guest_begin(&g);
  guest_begin(&other);
  GUEST_ENDS(&g, SELV_OK);
  GUEST_ENDS(&other, SELV_E_CANCELLED);
  host_end(&h);
}

/* ---- one after the other ---- */

#define CHAIN 100

static guest chain[CHAIN];

static void begins_the_next(guest *g) {
  guest *next = g + 1;
  CHECK_EQ_U64(host_stats(g->h).guests, 0);
  if (next == chain + CHAIN) return;
  guest_init(next, g->h);
  next->plan = sleeps;
  next->finds = (next - chain) % 2 ? "+" : "-+";
  next->place = "done";
  next->then = begins_the_next;
  guest_begin(next);
  CHECK_EQ_U64(check_tally_get(&next->prepares), 0);
  CHECK_EQ_U64(host_stats(g->h).guests, 1);
}

static void in_done_the_next_one_begins(void) {
  int i;
  begin(&chain[0], at_once);
  chain[0].place = "done";
  chain[0].then = begins_the_next;
  guest_begin(&chain[0]);
  HOST_UNTIL(&h, check_tally_get(&chain[CHAIN - 1].dones) == 1);
  for (i = 0; i < CHAIN; i++) GUEST_ENDS(&chain[i], SELV_OK);
  host_end(&h);
}

/* ---- the handle ---- */

static void lets_go_of_its_handle(guest *g) {
  selv_guest_release(g->handle);
  g->handle = NULL;
}

static void the_run_needs_no_handle(void) {
  static const char *const places[] = {"prepare", "poll(0)", "poll", "process", "done", ""};
  size_t i;
  for (i = 0; i < sizeof places / sizeof places[0]; i++) {
    guest g;
    begin(&g, sleeps);
    g.finds = "-+";
    g.place = places[i];
    g.then = lets_go_of_its_handle;
    guest_begin(&g);
    if (!places[i][0]) lets_go_of_its_handle(&g);
    GUEST_ENDS(&g, SELV_OK);
    host_end(&h);
  }
}

/* The last handle goes while selv_guest_interrupt works on it. */
static void an_interrupt_needs_no_handle(void) {
  guest g;
  begin(&g, sleeps);
  g.place = "interrupt";
  g.then = lets_go_of_its_handle;
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_OK(guest_tell(&g, selv_guest_interrupt));
  CHECK(g.handle == NULL);
  GUEST_ENDS(&g, SELV_OK);
  host_end(&h);
}

/* The same with selv_guest_abandon, and its done. */
static void an_end_needs_no_handle(void) {
  static const char *const places[] = {"interrupt", "discard", "done"};
  size_t i;
  for (i = 0; i < sizeof places / sizeof places[0]; i++) {
    guest g;
    begin(&g, sleeps);
    g.finds = i == 1 ? "+" : "";
    g.place = places[i];
    g.then = lets_go_of_its_handle;
    guest_begin(&g);
    if (i == 1) HOST_NEXT(&h);
    else GUEST_POLLS(&g, 1);
    CHECK_OK(guest_abandon(&g, SELV_FOREVER));
    CHECK(g.handle == NULL);
    host_drain(&h, 0);
    guest_free(&g);
    host_end(&h);
  }
}

/* The guest's memory is the guest's to free in done; nothing touches it afterwards. */
static int frees;

static selv_status heap_prepare(void *arg, uint64_t *out_ns) {
  *out_ns = ++*(int *)arg < 3 ? 0 : SELV_GUEST_DONE;
  return SELV_OK;
}
static selv_status heap_poll(void *arg, uint64_t timeout_ns, void **out_events) {
  (void)timeout_ns;
  *out_events = arg;
  return SELV_OK;
}
static selv_status heap_process(void *arg, void *events) {
  CHECK(arg == events);
  return SELV_OK;
}
static void heap_interrupt(void *arg) { CHECK(*(int *)arg < 3); }
static void heap_done(void *arg, selv_status why) {
  CHECK_OK(why);
  free(arg);
  frees++;
}

static void a_guest_may_free_itself(void) {
  selv_guest_options options = SELV_GUEST_OPTIONS_INIT;
  selv_guest *handle = NULL;
  host_begin(&h, HOST_WAKE);
  options.host = h.loop;
  options.guest = calloc(1, sizeof(int));
  options.prepare = heap_prepare;
  options.poll = heap_poll;
  options.process = heap_process;
  options.interrupt = heap_interrupt;
  options.done = heap_done;
  CHECK_OK(selv_guest_start(&options, &handle));
  CHECK_OK(selv_guest_interrupt(handle));
  memset(&options, 0x5a, sizeof options); /* they were copied */
  HOST_UNTIL(&h, frees == 1);
  CHECK_STATUS(selv_guest_interrupt(handle), SELV_E_TOO_LATE);
  CHECK_STATUS(selv_guest_stop(handle), SELV_E_TOO_LATE);
  CHECK_STATUS(selv_guest_abandon(handle, SELV_FOREVER), SELV_E_TOO_LATE);
  host_end(&h);
  CHECK_STATUS(selv_guest_interrupt(handle), SELV_E_TOO_LATE); /* nor does the handle need the loop */
  CHECK_STATUS(selv_guest_stop(handle), SELV_E_TOO_LATE);
  CHECK_STATUS(selv_guest_abandon(handle, SELV_FOREVER), SELV_E_TOO_LATE);
  selv_guest_release(handle);
}

static void handles_are_shared(void) {
  guest g;
  selv_guest *second;
  begin(&g, sleeps);
  guest_begin(&g);
  second = selv_guest_retain(g.handle);
  CHECK(second == g.handle);
  GUEST_POLLS(&g, 1);
  selv_guest_release(g.handle);
  CHECK_OK(guest_tell(&g, selv_guest_interrupt));
  g.handle = NULL;
  GUEST_ENDS(&g, SELV_OK);
  CHECK_STATUS(selv_guest_stop(second), SELV_E_TOO_LATE);
  selv_guest_release(second);
  host_end(&h);
}

/* ---- the cache ---- */

static void the_guest_keeps_its_cache(void) {
  selv_cache *c = probe_cache(0, SELV_NO_WAIT);
  guest g;
  int i;
  begin(&g, NULL);
  g.options.cache = c;
  guest_begin(&g);
  selv_cache_release(c);
  for (i = 1; i < 10; i++) {
    GUEST_POLLS(&g, (uint64_t)i);
    CHECK_OK(guest_post(&g));
  }
  CHECK_OK(guest_finish(&g));
  GUEST_ENDS(&g, SELV_OK);
  host_end(&h);
  CHECK_THREADS_LEFT(0);
}

int main(void) {
  CHECK_RUN(the_guest_keeps_its_cache);
  CHECK_RUN(guests_are_counted);
  CHECK_RUN(a_loop_with_a_guest_is_not_closed);
  CHECK_RUN(in_done_the_loop_is_closed);
  CHECK_RUN(in_done_another_guest_lives);
  CHECK_RUN(in_done_the_next_one_begins);
  CHECK_RUN(the_run_needs_no_handle);
  CHECK_RUN(an_interrupt_needs_no_handle);
  CHECK_RUN(an_end_needs_no_handle);
  CHECK_RUN(a_guest_may_free_itself);
  CHECK_RUN(handles_are_shared);
  return 0;
}

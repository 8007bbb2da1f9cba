/* glib_uv_stop: a uv loop that is the guest of a GLib main loop, stopped in the middle: with connections open, a timer armed
 * and a poll asleep; from the host's thread, from another one, from a callback of libuv's. No callback of the uv loop comes
 * after that, and the uv loop is the host's again: it closes what is left, or has it run on. And abandoned, when the main loop
 * has ended. */
#include "glib_uv_support.h"

static uv_loop_t uv;
static uv_echo echo;
static uv_timer_t ticker;
static uv_guest guest;
static selv_cache *cache;
static int client;
static uint64_t ticks, over; /* `over`: no callback may come any more */

static void on_tick(uv_timer_t *timer) {
  (void)timer;
  uv_check_home();
  CHECK(!over);
  ticks++;
}

static void *calls_once(void *arg) {
  echo_round_trip(client, "hello", 5);
  check_tally_add((check_tally *)arg, 1);
  return NULL;
}

/* With a client connected, which has been answered once. */
static void begin(uint64_t tick_ms) {
  check_tally answered = CHECK_TALLY_INIT;
  pthread_t caller;
  cache = probe_cache(0, 0);
  over = ticks = 0;
  uv_open(&uv);
  glib_open();
  uv_echo_begin(&echo, &uv, 2); /* of which one never comes: the server stays */
  CHECK_UV(uv_timer_init(&uv, &ticker));
  CHECK_UV(uv_timer_start(&ticker, on_tick, tick_ms, tick_ms));
  glib_guest_begin(&guest, &uv, cache);
  client = echo_connect(echo.port);
  CHECK(pthread_create(&caller, NULL, calls_once, &answered) == 0);
  GLIB_EVENTUALLY(check_tally_get(&answered) == 1);
  CHECK(pthread_join(caller, NULL) == 0);
}

/* Bytes are there to read, and the timer is due: for a uv loop that nobody runs. */
static void is_quiet(void) {
  uint64_t reads = echo.reads;
  over = 1;
  CHECK(send(client, "more", 4, MSG_NOSIGNAL) == 4);
  glib_run_ms(30);
  CHECK_EQ_U64(echo.reads, reads);
  CHECK_EVENTUALLY(probe_stats(cache).busy == 0);
  over = 0;
}

static void end_natively(void) {
  CHECK(uv_loop_alive(&uv));
  uv_shut_natively(&uv);
  CHECK(close(client) == 0);
  glib_shut();
  probe_end(cache);
}

static void on_the_hosts_thread(void) {
  begin(60000);
  GLIB_EVENTUALLY(probe_stats(cache).busy == 1 && glib_stats().waiting == 0); /* asleep for a minute */
  CHECK_OK(selv_guest_stop(guest.handle));
  CHECK_EQ_U64(guest.done, 0);
  CHECK_OK(selv_guest_stop(guest.handle));
  GLIB_UNTIL(guest.done);
  CHECK_EQ_U64(glib_stats().guests, 0);
  uv_guest_ended(&guest, SELV_E_CANCELLED);
  is_quiet();
  end_natively();
}

static void *stops(void *unused) {
  (void)unused;
  CHECK_OK(selv_guest_stop(guest.handle));
  return NULL;
}

static void on_another_thread(void) {
  pthread_t other;
  begin(1);
  CHECK(pthread_create(&other, NULL, stops, NULL) == 0);
  GLIB_UNTIL(guest.done);
  CHECK(pthread_join(other, NULL) == 0);
  uv_guest_ended(&guest, SELV_E_CANCELLED);
  is_quiet();
  end_natively();
}

static void on_stopping_tick(uv_timer_t *timer) {
  CHECK_OK(selv_guest_stop(guest.handle));
  CHECK_EQ_U64(guest.done, 0);
  CHECK_UV(uv_timer_stop(timer));
}

static void in_a_uv_callback(void) {
  begin(60000);
  CHECK_UV(uv_timer_start(&ticker, on_stopping_tick, 1, 1));
  CHECK_OK(selv_guest_interrupt(guest.handle));
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_E_CANCELLED);
  is_quiet();
  end_natively();
}

/* uv_stop is not a stop of the guest. */
static void on_uv_stopping_tick(uv_timer_t *timer) {
  uv_stop(timer->loop);
  ticks++;
}

static void not_by_uv_stop(void) {
  begin(60000);
  CHECK_UV(uv_timer_start(&ticker, on_uv_stopping_tick, 1, 1));
  CHECK_OK(selv_guest_interrupt(guest.handle));
  GLIB_UNTIL(ticks == 20);
  uv_stop(&uv); /* and not outside of a pass */
  GLIB_UNTIL(ticks == 40);
  CHECK_EQ_U64(guest.done, 0);
  CHECK_OK(selv_guest_stop(guest.handle));
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_E_CANCELLED);
  end_natively();
}

/* Stopped, and a guest again; started from within `done` the second time. */
static void starts_anew(uv_guest *g) {
  uint64_t wanted = ticks;
  (void)g;
  CHECK_EQ_U64(glib_stats().guests, 0);
  glib_guest_begin(&guest, &uv, cache);
  CHECK_EQ_U64(ticks, wanted);
}

static void runs_on_afterwards(void) {
  uv_guest first;
  uint64_t seen;
  begin(1);
  CHECK_OK(selv_guest_stop(guest.handle));
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_E_CANCELLED);
  seen = ticks;
  glib_guest_begin(&guest, &uv, cache);
  GLIB_UNTIL(ticks >= seen + 10);
  first = guest;
  guest.then = starts_anew;
  CHECK_OK(selv_guest_stop(first.handle));
  seen = ticks;
  GLIB_UNTIL(guest.handle != first.handle);
  selv_guest_release(first.handle);
  GLIB_UNTIL(ticks >= seen + 10);
  CHECK_OK(selv_guest_stop(guest.handle));
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_E_CANCELLED);
  end_natively();
}

/* ---- the main loop has ended ---- */

/* On the thread that abandons it, `done` is called, and the uv loop is that thread's. */
static void *abandons(void *unused) {
  (void)unused;
  CHECK_OK(selv_guest_abandon(guest.handle, SELV_FOREVER));
  uv_guest_ended(&guest, SELV_E_CLOSED);
  CHECK_EVENTUALLY(probe_stats(cache).busy == 0);
  uv_home = pthread_self();
  uv_shut_natively(&uv);
  return NULL;
}

static void abandoned(uint64_t tick_ms) {
  pthread_t other;
  begin(tick_ms);
  /* A poll sleeps; or one has returned, and nobody drains. */
  if (tick_ms > 1) GLIB_EVENTUALLY(probe_stats(cache).busy == 1 && glib_stats().waiting == 0);
  else CHECK_EVENTUALLY(glib_stats().waiting == 1);
  CHECK(pthread_create(&other, NULL, abandons, NULL) == 0);
  CHECK(pthread_join(other, NULL) == 0);
  CHECK(close(client) == 0);
  uv_home = pthread_self();
  glib_shut();
  probe_end(cache);
}

static void abandoned_asleep(void) { abandoned(60000); }
static void abandoned_at_work(void) { abandoned(1); }

/* The main loop cannot be closed under its guest. */
static void not_under_the_guest(void) {
  begin(1);
  CHECK_STATUS(selv_glib_loop_end(glib_source), SELV_E_BUSY);
  GLIB_UNTIL(ticks >= 5);
  CHECK_OK(selv_guest_stop(guest.handle));
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_E_CANCELLED);
  end_natively();
}

int main(void) {
  CHECK_RUN(on_the_hosts_thread);
  CHECK_RUN(on_another_thread);
  CHECK_RUN(in_a_uv_callback);
  CHECK_RUN(not_by_uv_stop);
  CHECK_RUN(runs_on_afterwards);
  CHECK_RUN(abandoned_asleep);
  CHECK_RUN(abandoned_at_work);
  CHECK_RUN(not_under_the_guest);
  return 0;
}

/* glib_uv_timers: the timers of a uv loop that is the guest of a GLib main loop fire in the order in which they are due, not
 * before their time by libuv's own clock, again and again if they repeat, on the host's thread. With the last one closed, the
 * guest is done. */
#include "glib_uv_support.h"

enum { TIMERS = 60, REPEATS = 200 };

typedef struct once {
  uv_timer_t timer;
  uint64_t due, late_ms;
} once;

static uv_loop_t uv;
static once timers[TIMERS];
static uint64_t fired, last_due, closed;

static void on_close(uv_handle_t *handle) {
  (void)handle;
  uv_check_home();
  closed++;
}

static void on_timer(uv_timer_t *timer) {
  once *o = (once *)timer->data;
  uv_check_home();
  CHECK(uv_now(timer->loop) >= o->due);
  CHECK(o->due >= last_due);
  last_due = o->due;
  o->late_ms = uv_now(timer->loop) - o->due;
  fired++;
  uv_close(UV_HANDLE(timer), on_close);
}

static int by_number(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Delays of 1 to 300 ms, started in no order; two that are due at once fire as they were started. */
static void in_order(void) {
  selv_cache *cache = probe_cache(0, 0);
  uint64_t late[TIMERS];
  uv_guest guest;
  int i;
  uv_open(&uv);
  glib_open();
  fired = closed = last_due = 0;
  for (i = 0; i < TIMERS; i++) {
    uint64_t delay = 1 + (uint64_t)(i * 37 % TIMERS) * 5;
    CHECK_UV(uv_timer_init(&uv, &timers[i].timer));
    timers[i].timer.data = &timers[i];
    timers[i].due = uv_now(&uv) + delay;
    CHECK_UV(uv_timer_start(&timers[i].timer, on_timer, delay, 0));
  }
  glib_guest_begin(&guest, &uv, cache);
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_OK);
  CHECK_EQ_U64(fired, TIMERS);
  CHECK_EQ_U64(closed, TIMERS);
  for (i = 0; i < TIMERS; i++) late[i] = timers[i].late_ms;
  qsort(late, TIMERS, sizeof late[0], by_number);
  printf("  %d timers, late by: median %llu ms, max %llu ms\n", TIMERS, (unsigned long long)late[TIMERS / 2],
         (unsigned long long)late[TIMERS - 1]);
  CHECK(late[TIMERS / 2] < 1000);
  uv_shut(&uv);
  glib_shut();
  probe_end(cache);
}

static uint64_t repeats, first_ns, last_ns;

static void on_repeat(uv_timer_t *timer) {
  uv_check_home();
  last_ns = check_now_ns();
  if (repeats++ == 0) first_ns = last_ns;
  if (repeats == REPEATS) uv_close(UV_HANDLE(timer), NULL);
}

/* libuv counts the next one from when the last was due to run: no faster than one a millisecond, but for one of rounding. */
static void again_and_again(void) {
  uv_timer_t timer;
  uv_guest guest;
  uv_open(&uv);
  glib_open();
  repeats = 0;
  CHECK_UV(uv_timer_init(&uv, &timer));
  CHECK_UV(uv_timer_start(&timer, on_repeat, 1, 1));
  glib_guest_begin(&guest, &uv, NULL);
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_OK);
  CHECK_EQ_U64(repeats, REPEATS);
  printf("  %d ticks of 1 ms took %llu us\n", REPEATS, (unsigned long long)((last_ns - first_ns) / 1000));
  CHECK(last_ns - first_ns >= (REPEATS - 2) * CHECK_MS);
  uv_shut(&uv);
  glib_shut();
}

/* A loop with nothing in it is done at its first pass, not inside the start. */
static void nothing_to_do(void) {
  uv_guest guest;
  uv_open(&uv);
  glib_open();
  glib_guest_begin(&guest, &uv, NULL);
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_OK);
  uv_shut(&uv);
  glib_shut();
}

/* A timer that does not count (uv_unref) does not keep the guest, as it would not keep uv_run. */
static void unreferenced(void) {
  uv_timer_t counted, uncounted;
  uv_guest guest;
  uv_open(&uv);
  glib_open();
  CHECK_UV(uv_timer_init(&uv, &uncounted));
  CHECK_UV(uv_timer_start(&uncounted, on_repeat, 60000, 0));
  uv_unref(UV_HANDLE(&uncounted));
  CHECK_UV(uv_timer_init(&uv, &counted));
  counted.data = &timers[0];
  timers[0].due = uv_now(&uv) + 5;
  last_due = 0;
  CHECK_UV(uv_timer_start(&counted, on_timer, 5, 0));
  glib_guest_begin(&guest, &uv, NULL);
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_OK);
  uv_shut_natively(&uv);
  glib_shut();
}

int main(void) {
  CHECK_RUN(in_order);
  CHECK_RUN(again_and_again);
  CHECK_RUN(nothing_to_do);
  CHECK_RUN(unreferenced);
  return 0;
}

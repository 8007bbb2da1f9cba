/* uv_guest_in_uv: one uv loop as the guest of another: the outer one runs by uv_run and drains the host loop's queue, the inner
 * one is the guest. Timers of both tick, both on one thread; each talks to the other. The end of the guest ends the outer one.
 * */
#include "uv_support.h"

enum { TICKS = 50 };

static uv_loop_t outer, inner;
static uv_queue queue;
static uv_timer_t outer_timer, inner_timer;
static uv_async_t to_outer, to_inner;
static uint64_t outer_ticks, inner_ticks, told_outer, told_inner;

static void on_outer_tick(uv_timer_t *t) {
  uv_check_home();
  CHECK(t->loop == &outer);
  outer_ticks++;
  CHECK_UV(uv_async_send(&to_inner));
}

static void on_inner_tick(uv_timer_t *t) {
  uv_check_home();
  CHECK(t->loop == &inner);
  inner_ticks++;
  CHECK_UV(uv_async_send(&to_outer));
  if (inner_ticks >= TICKS && outer_ticks >= TICKS) uv_walk(&inner, uv_close_one, NULL);
}

static void on_outer_told(uv_async_t *unused) {
  (void)unused;
  uv_check_home();
  told_outer++;
}

static void on_inner_told(uv_async_t *unused) {
  (void)unused;
  uv_check_home();
  told_inner++;
}

static void guest_ended(uv_guest *g) {
  (void)g;
  uv_close(UV_HANDLE(&outer_timer), NULL);
  uv_close(UV_HANDLE(&to_outer), NULL);
  uv_queue_end(&queue);
}

static void one_in_the_other(void) {
  uv_guest guest;
  uv_open(&outer);
  uv_open(&inner);
  uv_queue_open(&queue, &outer, 0, 0);
  CHECK_UV(uv_timer_init(&outer, &outer_timer));
  CHECK_UV(uv_timer_start(&outer_timer, on_outer_tick, 2, 2));
  CHECK_UV(uv_async_init(&outer, &to_outer, on_outer_told));
  CHECK_UV(uv_timer_init(&inner, &inner_timer));
  CHECK_UV(uv_timer_start(&inner_timer, on_inner_tick, 3, 3));
  CHECK_UV(uv_async_init(&inner, &to_inner, on_inner_told));
  uv_guest_begin(&guest, &inner, queue.loop);
  guest.then = guest_ended;
  CHECK_STATUS(selv_uv_loop_end(queue.handle, NULL, NULL), SELV_E_BUSY);
  CHECK_EQ_U64(uv_run(&outer, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(queue.closed, 1);
  uv_guest_ended(&guest, SELV_OK);
  printf("  %llu and %llu ticks; told %llu and %llu times\n", (unsigned long long)outer_ticks, (unsigned long long)inner_ticks,
         (unsigned long long)told_outer, (unsigned long long)told_inner);
  CHECK(told_outer > 0 && told_inner > 0);
  uv_shut(&inner);
  uv_shut(&outer);
}

int main(void) {
  CHECK_RUN(one_in_the_other);
  return 0;
}

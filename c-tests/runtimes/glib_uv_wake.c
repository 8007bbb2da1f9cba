/* glib_uv_wake: what makes a uv loop that is asleep as the guest of a GLib main loop run: uv_async_send from other threads;
 * selv_guest_interrupt, after the host has changed something in the uv loop, and by the thousand. None is lost. */
#include "glib_uv_support.h"

#include <sched.h>

static uv_loop_t uv;
static uv_guest guest;
static uv_timer_t far_timer;
static selv_cache *cache;

static void never(uv_timer_t *timer) {
  (void)timer;
  check_fail(__FILE__, __LINE__, "a timer of ten minutes fired");
}

/* Asleep until something happens: nothing is due for ten minutes. */
static void begin(void) {
  cache = probe_cache(0, 0);
  uv_open(&uv);
  glib_open();
  CHECK_UV(uv_timer_init(&uv, &far_timer));
  CHECK_UV(uv_timer_start(&far_timer, never, 600000, 0));
  glib_guest_begin(&guest, &uv, cache);
  GLIB_EVENTUALLY(probe_stats(cache).busy == 1 && glib_stats().waiting == 0);
}

static void end(void) {
  uv_close(UV_HANDLE(&far_timer), NULL);
  CHECK_OK(selv_guest_interrupt(guest.handle));
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_OK);
  uv_shut(&uv);
  glib_shut();
  probe_end(cache);
}

/* ---- a change by the host ---- */

static uint64_t fired;

static void on_near(uv_timer_t *timer) {
  uv_check_home();
  fired++;
  uv_close(UV_HANDLE(timer), NULL);
}

static gboolean starts_a_timer(gpointer timer) {
  uv_update_time(&uv); /* it has stood still since the last pass */
  CHECK_UV(uv_timer_start((uv_timer_t *)timer, on_near, 5, 0));
  CHECK_OK(selv_guest_interrupt(guest.handle));
  return G_SOURCE_REMOVE;
}

static void a_nearer_timer(void) {
  uv_timer_t near_timer;
  begin();
  fired = 0;
  CHECK_UV(uv_timer_init(&uv, &near_timer));
  g_timeout_add(10, starts_a_timer, &near_timer);
  GLIB_UNTIL(fired == 1);
  end();
}

static uint64_t readable;
static int ends[2];

static void on_readable(uv_poll_t *poll, int status, int events) {
  char byte;
  uv_check_home();
  CHECK_UV(status);
  CHECK(events == UV_READABLE);
  CHECK(read(ends[0], &byte, 1) == 1);
  readable++;
  uv_close(UV_HANDLE(poll), NULL);
}

static gboolean starts_a_watch(gpointer poll) {
  CHECK_UV(uv_poll_start((uv_poll_t *)poll, UV_READABLE, on_readable));
  CHECK_OK(selv_guest_interrupt(guest.handle));
  return G_SOURCE_REMOVE;
}

/* The kernel is not told of it before a pass of libuv. */
static void a_new_watch(void) {
  uv_poll_t poll;
  begin();
  readable = 0;
  CHECK(pipe(ends) == 0);
  CHECK(write(ends[1], "x", 1) == 1);
  CHECK_UV(uv_poll_init(&uv, &poll, ends[0]));
  g_timeout_add(10, starts_a_watch, &poll);
  GLIB_UNTIL(readable == 1);
  end();
  CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

/* ---- from other threads ---- */

enum { SENDERS = 2 };

static uv_async_t async;
static uint64_t sent[SENDERS], seen[SENDERS], interrupted[SENDERS], async_calls;
static int enough; /* atomic: the senders are to end */
static check_tally senders_done;

static void on_async(uv_async_t *a) {
  int i;
  (void)a;
  uv_check_home();
  async_calls++;
  for (i = 0; i < SENDERS; i++) seen[i] = __atomic_load_n(&sent[i], __ATOMIC_ACQUIRE);
}

static void *sends_async(void *number) {
  uint64_t i, *mine = &sent[(uintptr_t)number];
  for (i = 1; !__atomic_load_n(&enough, __ATOMIC_RELAXED); i++) {
    __atomic_store_n(mine, i, __ATOMIC_RELEASE);
    CHECK_UV(uv_async_send(&async));
    if (i % 16 == 0) sched_yield();
  }
  check_tally_add(&senders_done, 1);
  return NULL;
}

static void *interrupts(void *number) {
  uint64_t i;
  for (i = 0; !__atomic_load_n(&enough, __ATOMIC_RELAXED); i++) {
    CHECK_OK(selv_guest_interrupt(guest.handle));
    if (i % 16 == 0) sched_yield();
  }
  interrupted[(uintptr_t)number] = i;
  check_tally_add(&senders_done, 1);
  return NULL;
}

static int all_seen(void) {
  int i, all = 1;
  for (i = 0; i < SENDERS; i++) all &= seen[i] == sent[i];
  return all;
}

static void begin_async(void) {
  begin();
  memset(sent, 0, sizeof sent);
  memset(seen, 0, sizeof seen);
  memset(interrupted, 0, sizeof interrupted);
  check_tally_init(&senders_done);
  async_calls = 0;
  enough = 0;
  CHECK_UV(uv_async_init(&uv, &async, on_async));
}

static pthread_t thread_of(void *(*body)(void *), uintptr_t number) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, body, (void *)number) == 0);
  return thread;
}

/* Sends are merged, as libuv says; the last of each thread is seen. */
static void async_sends(void) {
  pthread_t threads[SENDERS];
  uintptr_t i;
  begin_async();
  for (i = 0; i < SENDERS; i++) threads[i] = thread_of(sends_async, i);
  GLIB_UNTIL(async_calls == check_scaled(500));
  __atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
  for (i = 0; i < SENDERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  GLIB_EVENTUALLY(all_seen());
  printf("  %llu sends, seen in %llu calls\n", (unsigned long long)(sent[0] + sent[1]), (unsigned long long)async_calls);
  /* A single one, into a loop that sleeps. */
  GLIB_EVENTUALLY(probe_stats(cache).busy == 1 && glib_stats().waiting == 0);
  sent[0]++;
  CHECK_UV(uv_async_send(&async));
  GLIB_UNTIL(all_seen());
  uv_close(UV_HANDLE(&async), NULL);
  end();
}

static uint64_t ticks;

static void on_tick(uv_timer_t *timer) {
  (void)timer;
  uv_check_home();
  ticks++;
}

static gboolean on_main_tick(gpointer count) {
  ++*(uint64_t *)count;
  return G_SOURCE_CONTINUE;
}

/* Interrupted all the time, from outside and by asynchronous sends, both loops go on. */
static void storm(void) {
  pthread_t threads[2 * SENDERS];
  uv_timer_t ticker;
  uint64_t passes, main_ticks = 0, all = 0;
  uintptr_t i;
  guint id;
  begin_async();
  ticks = 0;
  CHECK_UV(uv_timer_init(&uv, &ticker));
  CHECK_UV(uv_timer_start(&ticker, on_tick, 1, 1));
  passes = glib_stats().ran;
  for (i = 0; i < SENDERS; i++) {
    threads[2 * i] = thread_of(sends_async, i);
    threads[2 * i + 1] = thread_of(interrupts, i);
  }
  id = g_timeout_add(1, on_main_tick, &main_ticks);
  GLIB_UNTIL(ticks >= check_scaled(100) && main_ticks >= check_scaled(100));
  __atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
  for (i = 0; i < 2 * SENDERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  GLIB_UNTIL(all_seen());
  g_source_remove(id);
  passes = glib_stats().ran - passes;
  for (i = 0; i < SENDERS; i++) all += sent[i] + interrupted[i];
  printf("  %llu sends and interrupts, %llu ticks of libuv's timer, %llu of GLib's: %llu passes\n", (unsigned long long)all,
         (unsigned long long)ticks, (unsigned long long)main_ticks, (unsigned long long)passes);
  CHECK(passes <= all + 3 * ticks + 10);
  uv_close(UV_HANDLE(&ticker), NULL);
  uv_close(UV_HANDLE(&async), NULL);
  end();
}

/* ---- asleep ---- */

/* Nothing to do: nothing is done. */
static void no_spin(void) {
  uint64_t passes, cpu;
  begin();
  passes = glib_stats().ran;
  cpu = glib_cpu_ns();
  glib_run_ms(1000);
  passes = glib_stats().ran - passes;
  cpu = glib_cpu_ns() - cpu;
  printf("  asleep for a second: %llu passes, %llu us of processor time\n", (unsigned long long)passes,
         (unsigned long long)(cpu / 1000));
  CHECK_EQ_U64(passes, 0);
  CHECK(cpu < 100 * CHECK_MS);
  end();
}

/* A tick of 10 ms is a pass or two, not more. */
static void no_more_than_the_timers(void) {
  uv_timer_t ticker;
  uint64_t passes;
  begin();
  ticks = 0;
  CHECK_UV(uv_timer_init(&uv, &ticker));
  CHECK_UV(uv_timer_start(&ticker, on_tick, 10, 10));
  CHECK_OK(selv_guest_interrupt(guest.handle));
  passes = glib_stats().ran;
  GLIB_UNTIL(ticks == 50);
  passes = glib_stats().ran - passes;
  printf("  50 ticks of a timer: %llu passes\n", (unsigned long long)passes);
  CHECK(passes >= 50 && passes <= 50 * 3 + 10);
  uv_close(UV_HANDLE(&ticker), NULL);
  end();
}

int main(void) {
  CHECK_RUN(a_nearer_timer);
  CHECK_RUN(a_new_watch);
  CHECK_RUN(async_sends);
  CHECK_RUN(storm);
  CHECK_RUN(no_spin);
  CHECK_RUN(no_more_than_the_timers);
  return 0;
}

/* glib_uv_threads: the thread that sleeps for a uv loop which is the guest of a GLib main loop. There is none while the uv loop
 * has work, and never more than one; the host may start it by itself, and a host that refuses ends the guest. */
#include "glib_uv_support.h"

static uv_loop_t uv;
static uv_guest guest;
static uv_idle_t idle;
static uint64_t started, refuse_after, start_takes_ms;
static uint64_t on_their_way; /* atomic: threads that have not delivered */
static uint64_t most_on_their_way;

typedef struct own_thread {
  selv_job_fn fn;
  selv_deliver_fn deliver;
  void *arg;
} own_thread;

static void *own_thread_body(void *arg) {
  own_thread *t = (own_thread *)arg;
  selv_outcome outcome;
  if (start_takes_ms > 0) check_sleep_ms(start_takes_ms);
  memset(&outcome, 0, sizeof outcome);
  outcome.code = t->fn(t->arg, &outcome.value);
  __atomic_sub_fetch(&on_their_way, 1, __ATOMIC_SEQ_CST);
  t->deliver(t->arg, &outcome);
  free(t);
  return NULL;
}

/* The host's own threads, and its own refusal. */
static selv_status own_start_soon(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  own_thread *t;
  pthread_t thread;
  uint64_t ways;
  uv_check_home();
  CHECK(start_arg == &started);
  CHECK_STR(name, "uv");
  CHECK(!uv_is_active(UV_HANDLE(&idle))); /* there would be work */
  if (started == refuse_after) return SELV_E_SPAWN;
  started++;
  t = (own_thread *)malloc(sizeof *t);
  CHECK(t != NULL);
  t->fn = fn;
  t->deliver = deliver;
  t->arg = arg;
  ways = __atomic_add_fetch(&on_their_way, 1, __ATOMIC_SEQ_CST);
  if (ways > most_on_their_way) most_on_their_way = ways;
  /* It may be over, and `t` freed, before this returns. */
  CHECK(pthread_create(&thread, NULL, own_thread_body, t) == 0);
  CHECK(pthread_detach(thread) == 0);
  return SELV_OK;
}

static void begin(uint64_t starts) {
  selv_uv_guest_options options;
  started = most_on_their_way = 0;
  refuse_after = starts;
  options = uv_guest_options(&guest, &uv, glib_loop);
  options.start_soon = own_start_soon;
  options.start_arg = &started;
  CHECK_OK(selv_uv_guest_start(&options, &guest.handle));
}

/* ---- work, then none, then work ---- */

static uint64_t idles;
static uv_timer_t timer;

static void on_idle(uv_idle_t *handle) {
  uv_check_home();
  if (++idles <= 1000) CHECK_EQ_U64(started, 0);
  if (idles % 1000 == 0) CHECK_UV(uv_idle_stop(handle));
}

static void on_timer(uv_timer_t *handle) {
  uv_check_home();
  if (uv_is_active(UV_HANDLE(&idle))) return;
  CHECK(started > 0);
  if (idles == 3000) {
    uv_close(UV_HANDLE(handle), NULL);
    uv_close(UV_HANDLE(&idle), NULL);
  } else {
    CHECK_UV(uv_idle_start(&idle, on_idle));
  }
}

static void none_while_there_is_work(void) {
  uint64_t main_loop_turns = 0;
  guint id;
  uv_open(&uv);
  glib_open();
  idles = 0;
  CHECK_UV(uv_idle_init(&uv, &idle));
  CHECK_UV(uv_idle_start(&idle, on_idle));
  CHECK_UV(uv_timer_init(&uv, &timer));
  CHECK_UV(uv_timer_start(&timer, on_timer, 600000, 0));
  begin(1000000);
  /* A thousand passes with no thread; the main loop has its turn after each. */
  id = g_timeout_add(60000, glib_looks_again, NULL);
  while (idles < 1000) {
    g_main_context_iteration(NULL, TRUE);
    main_loop_turns++;
  }
  g_source_remove(id);
  CHECK(main_loop_turns >= 1000);
  CHECK_UV(uv_timer_start(&timer, on_timer, 2, 2));
  CHECK_OK(selv_guest_interrupt(guest.handle));
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_OK);
  CHECK_EQ_U64(idles, 3000);
  CHECK(started >= 2 && most_on_their_way <= 2);
  CHECK_EVENTUALLY(__atomic_load_n(&on_their_way, __ATOMIC_SEQ_CST) == 0);
  uv_shut(&uv);
  glib_shut();
}

/* ---- refused ---- */

static void on_tick(uv_timer_t *handle) {
  (void)handle;
  uv_check_home();
}

static void refused_after(uint64_t starts) {
  uv_open(&uv);
  glib_open();
  CHECK_UV(uv_idle_init(&uv, &idle));
  CHECK_UV(uv_timer_init(&uv, &timer));
  CHECK_UV(uv_timer_start(&timer, on_tick, 2, 2));
  begin(starts);
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_E_SPAWN);
  CHECK_EQ_U64(started, starts);
  CHECK_EQ_U64(__atomic_load_n(&on_their_way, __ATOMIC_SEQ_CST), 0);
  uv_shut_natively(&uv);
  glib_shut();
}

static void refused_at_once(void) { refused_after(0); }
static void refused_later(void) { refused_after(5); }

/* ---- slow to start ---- */

static int enough; /* atomic */

static void *interrupts(void *unused) {
  (void)unused;
  while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
    CHECK_OK(selv_guest_interrupt(guest.handle));
    check_sleep_ms(1);
  }
  return NULL;
}

/* Interrupted again and again before its thread has begun, the guest waits for that thread and asks for no other; its passes
 * go on. */
static void one_on_its_way(void) {
  uint64_t passes;
  pthread_t other;
  uv_open(&uv);
  glib_open();
  CHECK_UV(uv_idle_init(&uv, &idle));
  CHECK_UV(uv_timer_init(&uv, &timer));
  CHECK_UV(uv_timer_start(&timer, on_tick, 600000, 0));
  start_takes_ms = 50;
  enough = 0;
  begin(1000000);
  passes = glib_stats().ran;
  CHECK(pthread_create(&other, NULL, interrupts, NULL) == 0);
  GLIB_UNTIL(started >= 5);
  __atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
  CHECK(pthread_join(other, NULL) == 0);
  passes = glib_stats().ran - passes;
  printf("  %llu passes, %llu threads started, %llu at a time\n", (unsigned long long)passes, (unsigned long long)started,
         (unsigned long long)most_on_their_way);
  CHECK(passes > 2 * started);
  CHECK(most_on_their_way <= 2); /* the second while the first, which began in a pass, goes back */
  CHECK_OK(selv_guest_stop(guest.handle));
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_E_CANCELLED);
  CHECK_EVENTUALLY(__atomic_load_n(&on_their_way, __ATOMIC_SEQ_CST) == 0);
  start_takes_ms = 0;
  uv_shut_natively(&uv);
  glib_shut();
}

int main(void) {
  CHECK_RUN(none_while_there_is_work);
  CHECK_RUN(one_on_its_way);
  CHECK_RUN(refused_at_once);
  CHECK_RUN(refused_later);
  return 0;
}

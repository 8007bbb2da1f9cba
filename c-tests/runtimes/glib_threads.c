/* glib_threads: a context belongs to the thread that iterates it, and so does its loop: a thread with a context of its own, a context
 * that changes hands a thousand times, one iterated from inside g_main_context_invoke, and an iteration taken apart over two threads. */
#include "glib_support.h"

static rig r;

/* Where the call ran. */
static void where(void *arg) { *(pthread_t *)arg = pthread_self(); }

static int32_t where_called(void *arg, void **out_value) {
  where(arg);
  *out_value = arg;
  return 1;
}

static void is_this_thread(pthread_t thread) { CHECK(pthread_equal(thread, pthread_self())); }

/* ---- a thread and a context of its own ---- */

static check_tally is_up = CHECK_TALLY_INIT;

static void *a_thread_with_a_context(void *arg) {
  rig_context(&r);
  g_main_context_push_thread_default(r.context);
  CHECK_OK(selv_glib_loop_new(g_main_context_get_thread_default(), NULL, &r.loop, &r.source));
  check_tally_add(&is_up, 1);
  g_main_loop_run(r.main);
  g_main_context_pop_thread_default(r.context);
  rig_end(&r);
  (void)arg;
  return NULL;
}

static void thread_default(void) {
  pthread_t thread = rig_thread(a_thread_with_a_context, NULL), ran_on;
  selv_outcome outcome;
  CHECK_WAIT(&is_up, 1);
  CHECK_OK(selv_host_loop_call(r.loop, where_called, &ran_on, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(outcome.code, 1);
  CHECK(pthread_equal(ran_on, thread));
  rig_soon(&r, rig_quit_soon, r.main);
  rig_join(thread);
}

/* ---- another thread takes the context over ---- */

static check_tally has_it = CHECK_TALLY_INIT;

static gboolean has_begun(gpointer arg) {
  (void)arg;
  check_tally_add(&has_it, 1);
  return G_SOURCE_REMOVE;
}

static void *takes_over(void *arg) {
  selv_outcome outcome;
  rig_attach(&r, g_idle_source_new(), G_PRIORITY_LOW, has_begun, NULL);
  g_main_loop_run(r.main);
  CHECK_STATUS(selv_host_loop_call(r.loop, where_called, arg, SELV_FOREVER, &outcome), SELV_E_DEADLOCK);
  return NULL;
}

static void taken_over(void) {
  pthread_t thread, ran_on = pthread_self();
  selv_outcome outcome;
  rig_start(&r, NULL);
  rig_iterate(&r);
  CHECK_STATUS(selv_host_loop_call(r.loop, where_called, &ran_on, SELV_FOREVER, &outcome), SELV_E_DEADLOCK);
  thread = rig_thread(takes_over, &ran_on);
  CHECK_WAIT(&has_it, 1);
  CHECK_OK(selv_host_loop_call(r.loop, where_called, &ran_on, SELV_FOREVER, &outcome));
  CHECK(pthread_equal(ran_on, thread));
  rig_soon(&r, rig_quit_soon, r.main);
  rig_join(thread);
  /* And back again. */
  rig_soon(&r, where, &ran_on);
  rig_iterate(&r);
  is_this_thread(ran_on);
  CHECK_STATUS(selv_host_loop_call(r.loop, where_called, &ran_on, SELV_FOREVER, &outcome), SELV_E_DEADLOCK);
  rig_end(&r);
}

/* ---- many hands ---- */

#define HANDS 4
#define TURNS 250

static uint64_t turns;

static void my_turn(void *arg) {
  is_this_thread(*(pthread_t *)arg);
  turns++;
}

/* Each in its turn owns the context, queues a call and runs it. Who owns a context may only be waited for by trying again. */
static void *takes_turns(void *arg) {
  pthread_t self = pthread_self();
  int i;
  for (i = 0; i < TURNS; i++) {
    uint64_t before;
    while (!g_main_context_acquire(r.context)) sched_yield();
    before = turns;
    rig_soon(&r, my_turn, &self);
    while (turns == before) g_main_context_iteration(r.context, FALSE);
    g_main_context_release(r.context);
  }
  (void)arg;
  return NULL;
}

static void from_hand_to_hand(void) {
  pthread_t threads[HANDS];
  int i;
  rig_start(&r, NULL);
  for (i = 0; i < HANDS; i++) threads[i] = rig_thread(takes_turns, NULL);
  for (i = 0; i < HANDS; i++) rig_join(threads[i]);
  CHECK_EQ_U64(turns, HANDS * TURNS);
  rig_end(&r);
}

/* ---- g_main_context_invoke ---- */

/* Run where g_main_context_invoke was called; the queued call comes only when the context is iterated. */
static gboolean invoked(gpointer arg) {
  pthread_t ran_on;
  is_this_thread(*(pthread_t *)arg);
  rig_soon(&r, where, &ran_on);
  CHECK_EQ_U64(rig_stats(&r).waiting, 1);
  g_main_context_iteration(r.context, TRUE);
  is_this_thread(ran_on);
  CHECK_EQ_U64(rig_stats(&r).waiting, 0);
  return G_SOURCE_REMOVE;
}

static void *invokes(void *arg) {
  pthread_t self = pthread_self();
  g_main_context_push_thread_default(r.context);
  g_main_context_invoke(r.context, invoked, &self);
  g_main_context_pop_thread_default(r.context);
  (void)arg;
  return NULL;
}

static void invoke(void) {
  pthread_t ran_on;
  rig_start(&r, NULL);
  rig_join(rig_thread(invokes, NULL));
  rig_soon(&r, where, &ran_on);
  rig_iterate(&r);
  is_this_thread(ran_on);
  rig_end(&r);
}

/* ---- an iteration in pieces ---- */

static gint priority;

/* As g_main_context_iteration does, up to the dispatch. */
static void *prepares(void *arg) {
  GPollFD fds[8];
  gint timeout, n;
  CHECK(g_main_context_acquire(r.context));
  g_main_context_prepare(r.context, &priority);
  n = g_main_context_query(r.context, priority, &timeout, fds, 8);
  CHECK(n > 0 && n <= 8);
  CHECK(g_poll(fds, (guint)n, timeout) > 0);
  CHECK(g_main_context_check(r.context, priority, fds, n));
  g_main_context_release(r.context);
  (void)arg;
  return NULL;
}

static void prepared_elsewhere(void) {
  pthread_t ran_on;
  rig_start(&r, NULL);
  rig_soon(&r, where, &ran_on);
  rig_join(rig_thread(prepares, NULL));
  CHECK_EQ_U64(rig_stats(&r).waiting, 1);
  CHECK(g_main_context_acquire(r.context));
  g_main_context_dispatch(r.context);
  g_main_context_release(r.context);
  CHECK_EQ_U64(rig_stats(&r).waiting, 0);
  is_this_thread(ran_on);
  rig_end(&r);
}

int main(void) {
  CHECK_RUN(thread_default);
  CHECK_RUN(taken_over);
  CHECK_RUN(from_hand_to_hand);
  CHECK_RUN(invoke);
  CHECK_RUN(prepared_elsewhere);
  return 0;
}

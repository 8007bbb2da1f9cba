/* glib_idle: a loop costs nothing while there is nothing to do. How often the context goes to poll is counted: while it is idle; while
 * a queued callback runs a nested main loop and work waits behind it; while the loop is drained by hand elsewhere; and how often it wakes
 * for a thousand calls. */
#include "glib_support.h"

#include <poll.h>

/* Timers of the test wake the context, too. A loop that spins makes tens of thousands of polls in the time that is waited here. */
#define FEW 16
#define A_WHILE_MS 100

static rig r;

static int is_readable(void) {
  struct pollfd fd;
  fd.fd = selv_host_loop_fd(r.loop);
  fd.events = POLLIN;
  return poll(&fd, 1, 0) == 1;
}

static void count(void *arg) { ++*(uint64_t *)arg; }

static void run_for_a_while(void) {
  rig_timer(&r, A_WHILE_MS, rig_quits, r.main);
  g_main_loop_run(r.main);
}

static void with_nothing_to_do(void) {
  uint64_t calls = 0, polls;
  rig_start(&r, NULL);
  rig_soon(&r, count, &calls);
  rig_iterate(&r);
  CHECK_EQ_U64(calls, 1);
  polls = rig_polls();
  run_for_a_while();
  CHECK(rig_polls() - polls < FEW);
  CHECK_EQ_U64(rig_stats(&r).drains, 1);
  rig_end(&r);
}

typedef struct flood {
  uint64_t calls, seen_inside;
} flood;

/* Whatever is queued now waits for this callback to return, and the nested main loop sleeps. */
static void nests_with_a_queue(void *arg) {
  flood *f = (flood *)arg;
  uint64_t polls = rig_polls();
  int i;
  for (i = 0; i < 100; i++) rig_soon(&r, count, &f->calls);
  CHECK(!is_readable());
  rig_nest(&r, A_WHILE_MS);
  CHECK(rig_polls() - polls < FEW);
  f->seen_inside = f->calls;
}

static void while_a_callback_nests(void) {
  flood f = { 0, 0 };
  rig_start(&r, NULL);
  rig_soon(&r, nests_with_a_queue, &f);
  g_main_context_iteration(r.context, TRUE);
  CHECK_EQ_U64(f.seen_inside, 0);
  CHECK(is_readable());
  g_main_context_iteration(r.context, TRUE);
  CHECK_EQ_U64(f.calls, 100);
  CHECK(!is_readable());
  run_for_a_while();
  CHECK_EQ_U64(rig_stats(&r).drains, 2);
  rig_end(&r);
}

/* ---- drained by hand on a thread that does not own the context ---- */

static check_tally is_inside = CHECK_TALLY_INIT, may_go = CHECK_TALLY_INIT;

static void holds_the_drain(void *arg) {
  check_tally_add(&is_inside, 1);
  CHECK_WAIT(&may_go, 1);
  ++*(uint64_t *)arg;
}

static void *drains_by_hand(void *arg) {
  uint32_t ran = 0;
  CHECK_OK(selv_host_loop_bind(r.loop));
  CHECK_OK(selv_host_loop_drain(r.loop, 1, &ran));
  CHECK_EQ_U64(ran, 1);
  (void)arg;
  return NULL;
}

/* What the other thread leaves in the queue comes to the context, which binds itself anew. */
static void while_somebody_else_drains(void) {
  uint64_t calls = 0, polls;
  pthread_t thread;
  rig_start(&r, NULL);
  rig_soon(&r, holds_the_drain, &calls);
  rig_soon(&r, count, &calls);
  thread = rig_thread(drains_by_hand, NULL);
  CHECK_WAIT(&is_inside, 1);
  polls = rig_polls();
  run_for_a_while();
  CHECK(rig_polls() - polls < FEW);
  CHECK_EQ_U64(calls, 0);
  check_tally_add(&may_go, 1);
  while (calls < 2) g_main_context_iteration(r.context, TRUE);
  rig_join(thread);
  rig_end(&r);
}

/* ---- wakes ---- */

static uint64_t came;

static void counts_and_quits(void *arg) {
  (void)arg;
  if (++came == 1000) g_main_loop_quit(r.main);
}

static void *sends_a_thousand(void *arg) {
  int i;
  for (i = 0; i < 1000; i++) rig_soon(&r, counts_and_quits, NULL);
  (void)arg;
  return NULL;
}

/* The host is woken once per time that the queue is no longer empty, and no dispatch finds it empty. */
static void no_more_wakes_than_drains(void) {
  uint64_t polls;
  selv_host_loop_stats stats;
  pthread_t thread;
  rig_start(&r, NULL);
  polls = rig_polls();
  thread = rig_thread(sends_a_thousand, NULL);
  g_main_loop_run(r.main);
  rig_join(thread);
  stats = rig_stats(&r);
  CHECK_EQ_U64(stats.ran, 1000);
  CHECK(stats.wakes <= stats.drains);
  CHECK(stats.drains <= 1000);
  CHECK(rig_polls() - polls <= stats.drains + FEW);
  rig_end(&r);
}

int main(void) {
  CHECK_RUN(with_nothing_to_do);
  CHECK_RUN(while_a_callback_nests);
  CHECK_RUN(while_somebody_else_drains);
  CHECK_RUN(no_more_wakes_than_drains);
  return 0;
}

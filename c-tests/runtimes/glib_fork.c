/* glib_fork: a child has its parent's context, source and fd. It must not run the parent's work, nor take the parent's wake away, nor
 * spin on the fd that they share; its source takes itself out, and a new loop in the child works. */
#include "glib_support.h"

#include "child.h"

static rig r;
static int is_child;

static void counts_in_the_parent(void *arg) {
  CHECK(!is_child);
  ++*(uint64_t *)arg;
}

static void counts(void *arg) { ++*(uint64_t *)arg; }

static void the_old_loop(void) {
  uint64_t polls = rig_polls();
  CHECK_STATUS(selv_host_loop_call_soon(r.loop, counts, NULL, NULL, 0), SELV_E_FORKED);
  rig_timer(&r, 100, rig_quits, r.main);
  g_main_loop_run(r.main);
  CHECK(rig_polls() - polls < 16);
  CHECK(g_source_is_destroyed(r.source));
  CHECK_OK(selv_glib_loop_end(r.source));
}

/* In the same context, and beside the old source, which may still be there. */
static void a_new_loop(void) {
  uint64_t calls = 0;
  CHECK_OK(selv_glib_loop_new(r.context, NULL, &r.loop, &r.source));
  rig_soon(&r, counts, &calls);
  rig_iterate(&r);
  CHECK_EQ_U64(calls, 1);
  rig_end(&r);
}

static void in_the_child(void) {
  is_child = 1;
  the_old_loop();
  a_new_loop();
  _exit(0);
}

/* Ended first thing, with no iteration in between. */
static void ends_in_the_child(void) {
  is_child = 1;
  CHECK_OK(selv_glib_loop_end(r.source));
  a_new_loop();
  _exit(0);
}

/* The fd that both have is readable while the child is there. */
static void with_work_queued(void) {
  uint64_t calls = 0;
  rig_start(&r, NULL);
  rig_iterate(&r);
  rig_soon(&r, counts_in_the_parent, &calls);
  CHILD_ENDED(child_run(in_the_child), 0, check_patience_s() * 1000 * CHECK_MS);
  CHILD_ENDED(child_run(ends_in_the_child), 0, check_patience_s() * 1000 * CHECK_MS);
  g_main_context_iteration(r.context, TRUE);
  CHECK_EQ_U64(calls, 1);
  rig_end(&r);
}

static void with_nothing_queued(void) {
  uint64_t calls = 0;
  rig_start(&r, NULL);
  rig_iterate(&r);
  CHILD_ENDED(child_run(in_the_child), 0, check_patience_s() * 1000 * CHECK_MS);
  rig_soon(&r, counts_in_the_parent, &calls);
  g_main_context_iteration(r.context, TRUE);
  CHECK_EQ_U64(calls, 1);
  rig_end(&r);
}

/* In the child the drain that the fork was in never goes on: the source is being dispatched until the process ends. */
static void forked_in_a_callback_ends(void *arg) {
  counts_in_the_parent(arg);
  CHILD_ENDED(child_run(ends_in_the_child), 0, check_patience_s() * 1000 * CHECK_MS);
}

static void in_a_callback(void) {
  uint64_t calls = 0;
  rig_start(&r, NULL);
  rig_soon(&r, forked_in_a_callback_ends, &calls);
  rig_soon(&r, counts_in_the_parent, &calls);
  g_main_context_iteration(r.context, TRUE);
  CHECK_EQ_U64(calls, 2);
  rig_end(&r);
}

int main(void) {
  CHECK_RUN(with_work_queued);
  CHECK_RUN(with_nothing_queued);
  CHECK_RUN(in_a_callback);
  return 0;
}

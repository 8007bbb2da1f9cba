/* glib_nested: main loops inside main loops. One that a queued callback runs gets nothing from the queue, one that another source runs
 * drains it; a thousand jobs delivered while both kinds come and go: nothing begins inside something else that was queued, nothing is
 * lost, the order is kept, and g_main_depth is right everywhere. */
#include "glib_support.h"

#define MANY 1000

static rig r;
static int inside; /* a callback from the queue is running */
static int outer;  /* main loops that plain sources run just now */

static void enters(void) {
  CHECK_EQ_U64(inside, 0);
  CHECK_EQ_U64(g_main_depth(), 1 + outer);
  inside = 1;
}

static void leaves(void) {
  CHECK_EQ_U64(g_main_depth(), 1 + outer);
  inside = 0;
}

/* ---- one of each ---- */

static check_journal journal = CHECK_JOURNAL_INIT;

static void note(void *arg) {
  enters();
  check_note(&journal, (const char *)arg, "");
  leaves();
}

static gboolean three_ticks(gpointer arg) {
  char depth[16];
  snprintf(depth, sizeof depth, "tick%d", g_main_depth());
  check_note(&journal, depth, "");
  return ++*(int *)arg < 3 ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void *sends_b(void *arg) {
  (void)arg;
  rig_soon(&r, note, (void *)"b");
  return NULL;
}

/* A thread queues a call, three ticks go by, and the time of the inner loop comes to its end. What this callback knows of its last error
 * stays: the loop is not even asked meanwhile. */
static void runs_a_loop(void *arg) {
  int ticks = 0;
  char before[256], after[256];
  enters();
  CHECK_STATUS(selv_host_loop_drain(r.loop, 0, NULL), SELV_E_REENTRANT);
  CHECK_STATUS(selv_host_loop_call_soon(r.loop, note, NULL, NULL, 8), SELV_E_INVAL);
  selv_last_error(before, sizeof before);
  check_note(&journal, "a", ".begins");
  rig_join(rig_thread(sends_b, NULL));
  rig_soon(&r, note, (void *)"c");
  rig_timer(&r, 1, three_ticks, &ticks);
  while (ticks < 3) rig_nest(&r, 5);
  selv_last_error(after, sizeof after);
  CHECK_STR(after, before);
  check_note(&journal, "a", ".ends");
  leaves();
  (void)arg;
}

static void inside_a_callback_nothing_comes(void) {
  rig_start(&r, NULL);
  rig_soon(&r, runs_a_loop, NULL);
  rig_soon(&r, note, (void *)"after-a");
  rig_soon(&r, rig_quit_soon, r.main);
  g_main_loop_run(r.main);
  rig_iterate(&r);
  CHECK_JOURNAL(&journal, "a.begins tick2 tick2 tick2 a.ends after-a b c");
  check_journal_clear(&journal);
  rig_end(&r);
}

static gboolean runs_an_outer_loop(gpointer arg) {
  GMainLoop *main = g_main_loop_new(r.context, FALSE);
  CHECK_EQ_U64(inside, 0);
  check_note(&journal, "timer", ".begins");
  outer++;
  rig_soon(&r, note, (void *)"a");
  rig_soon(&r, rig_quit_soon, main);
  rig_soon(&r, note, (void *)"b");
  g_main_loop_run(main);
  g_main_loop_unref(main);
  outer--;
  check_note(&journal, "timer", ".ends");
  rig_soon(&r, note, (void *)"c");
  rig_soon(&r, rig_quit_soon, r.main);
  (void)arg;
  return G_SOURCE_REMOVE;
}

static void outside_of_callbacks_it_comes(void) {
  rig_start(&r, NULL);
  rig_timer(&r, 1, runs_an_outer_loop, NULL);
  g_main_loop_run(r.main);
  CHECK_JOURNAL(&journal, "timer.begins a b timer.ends c");
  check_journal_clear(&journal);
  rig_end(&r);
}

/* A timer inside the inner loop of a callback is still inside the callback. */
static gboolean runs_a_third_loop(gpointer arg) {
  CHECK_EQ_U64(g_main_depth(), 3);
  rig_soon(&r, note, (void *)"late");
  rig_nest(&r, 5);
  check_note(&journal, "third", "");
  (void)arg;
  return G_SOURCE_REMOVE;
}

static void runs_a_loop_at_two(void *arg) {
  enters();
  CHECK_EQ_U64(g_main_depth(), 2);
  rig_timer(&r, 1, runs_a_third_loop, NULL);
  while (strstr(journal.text, "third") == NULL) rig_nest(&r, 5);
  check_note(&journal, "second", "");
  leaves();
  (void)arg;
}

static gboolean runs_everything(gpointer arg) {
  GMainLoop *main = g_main_loop_new(r.context, FALSE);
  outer++;
  rig_soon(&r, runs_a_loop_at_two, NULL);
  rig_soon(&r, rig_quit_soon, main);
  g_main_loop_run(main);
  g_main_loop_unref(main);
  outer--;
  rig_soon(&r, rig_quit_soon, r.main);
  (void)arg;
  return G_SOURCE_REMOVE;
}

static void four_deep(void) {
  rig_start(&r, NULL);
  rig_timer(&r, 1, runs_everything, NULL);
  g_main_loop_run(r.main);
  CHECK_JOURNAL(&journal, "third second late");
  check_journal_clear(&journal);
  rig_end(&r);
}

/* ---- a thousand jobs ---- */

static uint64_t delivered, freed, inner_loops, outer_loops;
static int is_in_order;

static int32_t pauses(void *arg, void **out_value) {
  uint64_t n = (uint64_t)(uintptr_t)arg;
  /* Some finish while a nested main loop runs. */
  if (n % 16 == 0) check_sleep_ms(1);
  *out_value = arg;
  return 0;
}

static void job_delivered(void *arg, const selv_outcome *outcome) {
  uint64_t n = (uint64_t)(uintptr_t)arg;
  enters();
  CHECK_OK(outcome->status);
  CHECK(outcome->value == arg);
  if (is_in_order) CHECK_EQ_U64(n, delivered);
  delivered++;
  if (n % 50 == 49) {
    uint64_t before = delivered;
    rig_nest(&r, 3);
    CHECK_EQ_U64(delivered, before);
    inner_loops++;
  }
  leaves();
}

static void job_freed(void *arg) {
  (void)arg;
  enters();
  CHECK_EQ_U64(++freed, delivered);
  leaves();
}

/* Where an inner loop of a callback runs already, another one would be inside that callback, too. */
static gboolean runs_loops(gpointer arg) {
  (void)arg;
  if (inside) return G_SOURCE_CONTINUE;
  outer++;
  rig_nest(&r, 4);
  outer--;
  outer_loops++;
  if (freed < MANY) return G_SOURCE_CONTINUE;
  g_main_loop_quit(r.main);
  return G_SOURCE_REMOVE;
}

static void a_thousand_jobs_of(uint32_t workers) {
  selv_cache *cache = probe_cache(workers, SELV_FOREVER);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  uint64_t i;
  is_in_order = workers == 1;
  delivered = freed = inner_loops = outer_loops = 0;
  rig_start(&r, NULL);
  rig_timer(&r, 2, runs_loops, NULL);
  rig_timer(&r, 3, runs_loops, NULL);
  job.fn = pauses;
  job.deliver = job_delivered;
  job.arg_free = job_freed;
  job.loop = r.loop;
  for (i = 0; i < MANY; i++) {
    job.arg = (void *)(uintptr_t)i;
    CHECK_OK(selv_cache_submit(cache, &job, NULL));
  }
  g_main_loop_run(r.main);
  CHECK_EQ_U64(delivered, MANY);
  CHECK_EQ_U64(freed, MANY);
  CHECK_EQ_U64(inner_loops, MANY / 50);
  CHECK(outer_loops > 0);
  CHECK_EQ_U64(rig_stats(&r).accepted, MANY);
  CHECK_EQ_U64(rig_stats(&r).ran, MANY);
  rig_end(&r);
  probe_end(cache);
}

static void a_thousand_jobs_in_order(void) { a_thousand_jobs_of(1); }
static void a_thousand_jobs_at_once(void) { a_thousand_jobs_of(4); }

int main(void) {
  CHECK_RUN(inside_a_callback_nothing_comes);
  CHECK_RUN(outside_of_callbacks_it_comes);
  CHECK_RUN(four_deep);
  CHECK_RUN(a_thousand_jobs_in_order);
  CHECK_RUN(a_thousand_jobs_at_once);
  return 0;
}

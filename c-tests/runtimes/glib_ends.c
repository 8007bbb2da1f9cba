/* glib_ends: every way in which a loop and its source come to an end, with work queued: selv_glib_loop_end on its thread, in a queued
 * callback, on another thread; the source destroyed by another source, by a callback, by a thread, with its context; the loop closed
 * behind the source's back; and a loop with a guest, which has to go first. */
#include "glib_support.h"

#include "../waiters.h"

static rig r;
static check_journal journal = CHECK_JOURNAL_INIT;

static void ran(void *arg) { check_note(&journal, "ran-", (const char *)arg); }
static void dropped(void *arg) { check_note(&journal, "dropped-", (const char *)arg); }

static void queue(const char *name) { CHECK_OK(selv_host_loop_call_soon(r.loop, ran, (void *)(uintptr_t)name, dropped, 0)); }

static void *holds(const char *wanted) {
  CHECK_JOURNAL(&journal, wanted);
  check_journal_clear(&journal);
  return NULL;
}

/* It is out of its context, its loop takes nothing more, and the main loop goes on without it. */
static void source_is_gone(void) {
  CHECK(g_source_is_destroyed(r.source));
  CHECK(g_main_context_find_source_by_user_data(r.context, r.loop) == NULL);
  CHECK_STATUS(selv_host_loop_call_soon(r.loop, ran, NULL, NULL, 0), SELV_E_CLOSED);
  CHECK_EQ_U64(rig_stats(&r).closed, 1);
  rig_iterate(&r);
}

/* ---- everything that may be queued, at the end ---- */

static int32_t seven(void *arg, void **out_value) {
  *out_value = arg;
  return 7;
}

static void *asks(void *arg) {
  selv_outcome outcome;
  CHECK_STATUS(selv_host_loop_call(r.loop, seven, NULL, SELV_FOREVER, &outcome), SELV_E_CLOSED);
  (void)arg;
  return NULL;
}

static void job_told(void *arg, const selv_outcome *outcome) {
  CHECK_STATUS(outcome->status, SELV_E_CLOSED);
  CHECK_EQ_U64(outcome->code, 7);
  CHECK(outcome->value == arg);
  check_note(&journal, "job", "");
}

static void lock_told(void *arg, const selv_completed *c) {
  (void)arg;
  CHECK_STATUS(c->status, SELV_E_CLOSED);
  check_note(&journal, "lock", "");
}

static void with_everything_queued(void) {
  selv_cache *cache = probe_cache(1, SELV_FOREVER);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_completion completion = { lock_told, NULL, NULL };
  selv_lock *lock = lock_named("door", 0);
  selv_task holder = task_named("holder"), task = task_named("waits for the door");
  pthread_t asking;
  selv_op op;
  rig_start(&r, NULL);
  queue("a");
  job.fn = seven;
  job.deliver = job_told;
  job.arg = &job;
  job.loop = r.loop;
  CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK_EVENTUALLY(rig_stats(&r).waiting == 2);
  completion.loop = r.loop;
  CHECK_OK(selv_lock_acquire(lock, holder, 0));
  CHECK_STATUS(selv_lock_acquire_async(lock, task, &completion, &op), SELV_PENDING);
  CHECK_OK(selv_lock_release(lock, holder));
  CHECK_EQ_U64(rig_stats(&r).waiting, 3);
  queue("b");
  asking = rig_thread(asks, NULL);
  CHECK_EVENTUALLY(rig_stats(&r).waiting == 5);
  selv_host_loop_retain(r.loop);
  g_source_ref(r.source);
  CHECK_OK(selv_glib_loop_end(r.source));
  rig_join(asking);
  holds("dropped-a job lock dropped-b");
  /* The grant was not held by anybody, and has gone back. */
  CHECK_EQ_U64(selv_lock_owner(lock), 0);
  CHECK_STATUS(selv_cache_submit(cache, &job, NULL), SELV_E_CLOSED);
  source_is_gone();
  g_source_unref(r.source);
  selv_host_loop_release(r.loop);
  rig_context_end(&r);
  CHECK_OK(selv_task_exit(task, NULL));
  CHECK_OK(selv_task_exit(holder, NULL));
  CHECK_OK(selv_lock_free(lock));
  probe_end(cache);
}

/* ---- by a queued callback ---- */

static void ends_it(void *arg) {
  check_note(&journal, "ends", "");
  CHECK_STATUS(selv_host_loop_bind(NULL), SELV_E_NULL);
  CHECK_OK(selv_glib_loop_end(r.source));
  CHECK_LAST_ERROR_HAS("loop is NULL"); /* as after any call that succeeds */
  check_note(&journal, "ended", "");
  (void)arg;
}

static void in_a_callback(void) {
  rig_start(&r, NULL);
  g_source_ref(r.source); /* a second reference: to look at it afterwards */
  queue("a");
  rig_soon(&r, ends_it, NULL);
  queue("b");
  rig_iterate(&r);
  holds("ran-a ends dropped-b ended");
  source_is_gone();
  g_source_unref(r.source);
  rig_context_end(&r);
}

static void destroys_it(void *arg) {
  check_note(&journal, "destroys", "");
  g_source_destroy(r.source);
  queue("c"); /* it is still open: nobody has been told */
  (void)arg;
}

static void destroyed_by_a_callback(void) {
  rig_start(&r, NULL);
  queue("a");
  rig_soon(&r, destroys_it, NULL);
  queue("b");
  rig_iterate(&r);
  holds("ran-a destroys ran-b dropped-c");
  source_is_gone();
  rig_end(&r);
}

/* ---- by somebody else ---- */

static gboolean destroys_the_source(gpointer arg) {
  g_source_destroy((GSource *)arg);
  holds("dropped-a dropped-b");
  g_main_loop_quit(r.main);
  return G_SOURCE_REMOVE;
}

static void destroyed_by_another_source(void) {
  rig_start(&r, NULL);
  rig_attach(&r, g_idle_source_new(), G_PRIORITY_HIGH, destroys_the_source, r.source);
  queue("a");
  queue("b");
  g_main_loop_run(r.main);
  source_is_gone();
  rig_end(&r);
}

static void *destroys_from_a_thread(void *arg) {
  g_source_destroy((GSource *)arg);
  return holds("dropped-a");
}

static void destroyed_by_a_thread(void) {
  rig_start(&r, NULL);
  rig_iterate(&r);
  queue("a");
  rig_join(rig_thread(destroys_from_a_thread, r.source));
  source_is_gone();
  rig_end(&r);
}

static void *destroys(void *arg) {
  g_source_destroy((GSource *)arg);
  return NULL;
}

static void again(void *arg) { (void)selv_host_loop_call_soon(r.loop, again, arg, NULL, 0); }

/* Half of the rounds the thread comes while the context sleeps or is about to, half while it prepares and dispatches. */
static void destroyed_in_a_race(void) {
  uint64_t round, rounds = check_scaled(200);
  for (round = 0; round < rounds; round++) {
    pthread_t thread;
    rig_start(&r, NULL);
    if (round % 2) rig_soon(&r, again, NULL);
    thread = rig_thread(destroys, r.source);
    while (!g_source_is_destroyed(r.source)) g_main_context_iteration(r.context, TRUE);
    rig_join(thread);
    source_is_gone();
    rig_end(&r);
  }
}

static void with_its_context(void) {
  rig_start(&r, NULL);
  queue("a");
  rig_context_end(&r);
  holds("dropped-a");
  CHECK(g_source_is_destroyed(r.source));
  CHECK_STATUS(selv_host_loop_call_soon(r.loop, ran, NULL, NULL, 0), SELV_E_CLOSED);
  CHECK_OK(selv_glib_loop_end(r.source));
}

/* The source sees at the next iteration that there is nothing to wait for any more. */
static void closed_behind_its_back(void) {
  uint64_t polls;
  rig_start(&r, NULL);
  queue("a");
  CHECK_OK(selv_host_loop_close(r.loop));
  holds("dropped-a");
  CHECK(!g_source_is_destroyed(r.source));
  polls = rig_polls();
  rig_timer(&r, 50, rig_quits, r.main);
  g_main_loop_run(r.main);
  CHECK(rig_polls() - polls < 10);
  source_is_gone();
  rig_end(&r);
}

static void *makes_and_closes_it(void *unused) {
  CHECK_OK(selv_glib_loop_new(r.context, NULL, &r.loop, &r.source));
  CHECK_OK(selv_host_loop_close(r.loop));
  return unused;
}

/* On a thread that is gone: who iterates the context now is rid of the source, and who ends it is not refused. */
static void closed_on_another_thread(void) {
  uint64_t polls = rig_polls();
  rig_context(&r);
  rig_join(rig_thread(makes_and_closes_it, NULL));
  rig_timer(&r, 50, rig_quits, r.main);
  g_main_loop_run(r.main);
  CHECK(rig_polls() - polls < 10);
  source_is_gone();
  rig_end(&r);
}

static void closed_on_another_thread_and_never_iterated(void) {
  rig_context(&r);
  rig_join(rig_thread(makes_and_closes_it, NULL));
  rig_end(&r);
}

/* ---- on which thread ---- */

static void *may_not_end(void *arg) {
  CHECK_STATUS(selv_glib_loop_end(r.source), SELV_E_WRONG_THREAD);
  CHECK_LAST_ERROR_HAS("drawing");
  queue("a");
  rig_soon(&r, rig_quit_soon, r.main);
  (void)arg;
  return NULL;
}

static void starts_it(void *thread) { *(pthread_t *)thread = rig_thread(may_not_end, NULL); }

static void on_another_thread(void) {
  selv_glib_options options = SELV_GLIB_OPTIONS_INIT;
  pthread_t thread;
  options.name = "drawing";
  rig_start(&r, &options);
  rig_soon(&r, starts_it, &thread);
  g_main_loop_run(r.main);
  rig_join(thread);
  holds("ran-a");
  rig_end(&r);
}

static void *may_end(void *arg) {
  CHECK_OK(selv_glib_loop_end(r.source));
  (void)arg;
  return NULL;
}

static void when_nobody_iterates(void) {
  rig_start(&r, NULL);
  rig_iterate(&r);
  queue("a");
  rig_join(rig_thread(may_end, NULL));
  holds("dropped-a");
  rig_context_end(&r);
}

/* ---- a guest ---- */

static selv_status sleeps_for_ever(void *guest, uint64_t *out_ns) {
  (void)guest;
  *out_ns = SELV_FOREVER;
  return SELV_OK;
}

static selv_status waits_for_interrupt(void *guest, uint64_t timeout_ns, void **out_events) {
  (void)out_events;
  if (timeout_ns != 0) CHECK_WAIT((check_tally *)guest, 1);
  return SELV_OK;
}

static selv_status nothing_to_process(void *guest, void *events) {
  (void)guest;
  (void)events;
  return SELV_OK;
}

static void interrupts(void *guest) { check_tally_add((check_tally *)guest, 1); }

static void guest_done(void *guest, selv_status why) {
  (void)guest;
  check_note(&journal, selv_status_name(why), "");
}

static selv_guest *start_guest(check_tally *interrupted) {
  selv_guest_options options = SELV_GUEST_OPTIONS_INIT;
  selv_guest *guest = NULL;
  check_tally_init(interrupted);
  options.host = r.loop;
  options.guest = interrupted;
  options.prepare = sleeps_for_ever;
  options.poll = waits_for_interrupt;
  options.process = nothing_to_process;
  options.interrupt = interrupts;
  options.done = guest_done;
  CHECK_OK(selv_guest_start(&options, &guest));
  rig_iterate(&r);
  return guest;
}

static void a_guest_goes_first(void) {
  check_tally interrupted;
  selv_guest *guest;
  rig_start(&r, NULL);
  guest = start_guest(&interrupted);
  CHECK_STATUS(selv_glib_loop_end(r.source), SELV_E_BUSY);
  CHECK(!g_source_is_destroyed(r.source));
  CHECK_OK(selv_guest_stop(guest));
  while (journal.text[0] == '\0') g_main_context_iteration(r.context, TRUE);
  holds("SELV_E_CANCELLED");
  selv_guest_release(guest);
  rig_end(&r);
}

static void a_guest_without_a_source(void) {
  check_tally interrupted;
  selv_guest *guest;
  rig_start(&r, NULL);
  guest = start_guest(&interrupted);
  g_source_destroy(r.source);
  queue("a");
  CHECK_OK(selv_guest_abandon(guest, SELV_FOREVER));
  holds("SELV_E_CLOSED");
  selv_guest_release(guest);
  CHECK_OK(selv_glib_loop_end(r.source));
  holds("dropped-a");
  rig_context_end(&r);
}

int main(void) {
  CHECK_OK(selv_glib_loop_end(NULL));
  CHECK_RUN(with_everything_queued);
  CHECK_RUN(in_a_callback);
  CHECK_RUN(destroyed_by_a_callback);
  CHECK_RUN(destroyed_by_another_source);
  CHECK_RUN(destroyed_by_a_thread);
  CHECK_RUN(destroyed_in_a_race);
  CHECK_RUN(with_its_context);
  CHECK_RUN(closed_behind_its_back);
  CHECK_RUN(closed_on_another_thread);
  CHECK_RUN(closed_on_another_thread_and_never_iterated);
  CHECK_RUN(on_another_thread);
  CHECK_RUN(when_nobody_iterates);
  CHECK_RUN(a_guest_goes_first);
  CHECK_RUN(a_guest_without_a_source);
  return 0;
}

/* entered.c: a host's own thread as a pseudo-worker: the same hooks, counted nesting, lost threads that block nobody, and an
 * unregister that detaches the calling thread itself. */
#include "probe.h"

static void enter_and_leave(void) {
  selv_cache *c = probe_cache(0, 0);
  check_journal journal = CHECK_JOURNAL_INIT;
  hook_probe a, b, lazy;
  selv_hook *ha, *hb, *hlazy;
  const selv_worker *me;
  hook_probe_init(&a, "A", &journal);
  hook_probe_init(&b, "B", &journal);
  hook_probe_init(&lazy, "lazy", &journal);
  ha = hook_probe_register_full(c, &a, 0);
  hb = hook_probe_register(c, &b, 0);
  hlazy = hook_probe_register(c, &lazy, SELV_HOOK_LAZY);
  CHECK(selv_worker_current() == NULL);
  CHECK(selv_hook_slot(ha) == NULL);
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  CHECK_JOURNAL(&journal, "A.start B.start"); /* every non-lazy hook; before and after belong to jobs */
  me = selv_worker_current();
  CHECK(me != NULL);
  CHECK(selv_worker_id(me) != 0);
  CHECK(selv_worker_name(me) != NULL);
  CHECK(selv_hook_slot(ha) == &a);
  CHECK_EQ_U64(selv_hook_is_attached(hb), 1);
  CHECK_EQ_U64(selv_hook_is_attached(hlazy), 0);
  CHECK_EQ_U64(probe_stats(c).threads_entered, 1);
  CHECK_EQ_U64(hook_probe_stats(ha).attached, 1);
  CHECK_OK(selv_thread_leave(c));
  CHECK_JOURNAL(&journal, "A.start B.start B.exit A.exit");
  CHECK(selv_worker_current() == NULL);
  CHECK(selv_hook_slot(ha) == NULL);
  CHECK_EQ_U64(probe_stats(c).threads_entered, 0);
  CHECK(selv_thread_leave(c) < 0);
  hook_probe_remove(ha, &a);
  hook_probe_remove(hb, &b);
  hook_probe_remove(hlazy, &lazy);
  probe_end(c);
}

static void nested_enters_add_up(void) {
  selv_cache *c = probe_cache(0, 0);
  check_journal journal = CHECK_JOURNAL_INIT;
  hook_probe a, lazy;
  selv_hook *hooks[2], *none[1] = {NULL};
  hook_probe_init(&a, "A", &journal);
  hook_probe_init(&lazy, "lazy", &journal);
  hooks[0] = hook_probe_register(c, &a, 0);
  hooks[1] = hook_probe_register(c, &lazy, SELV_HOOK_LAZY);
  CHECK_OK(selv_thread_enter(c, none, 0)); /* none */
  CHECK_JOURNAL(&journal, "");
  CHECK(selv_worker_current() != NULL);
  CHECK_OK(selv_thread_enter(c, &hooks[1], 1)); /* exactly those */
  CHECK_JOURNAL(&journal, "lazy.start");
  CHECK_OK(selv_thread_enter(c, hooks, 2));
  CHECK_OK(selv_thread_enter(c, hooks, 2));
  CHECK_JOURNAL(&journal, "lazy.start A.start");
  CHECK_OK(selv_thread_leave(c));
  CHECK_OK(selv_thread_leave(c));
  CHECK_OK(selv_thread_leave(c));
  CHECK_JOURNAL(&journal, "lazy.start A.start"); /* they leave at the outermost leave */
  CHECK(selv_worker_current() != NULL);
  CHECK_OK(selv_thread_leave(c));
  CHECK_JOURNAL(&journal, "lazy.start A.start A.exit lazy.exit");
  CHECK(selv_worker_current() == NULL);
  hook_probe_remove(hooks[0], &a);
  hook_probe_remove(hooks[1], &lazy);
  probe_end(c);
}

static void a_failing_hook_undoes_the_enter(void) {
  selv_cache *c = probe_cache(0, 0);
  check_journal journal = CHECK_JOURNAL_INIT;
  hook_probe a, bad;
  selv_hook *ha, *hbad;
  hook_probe_init(&a, "A", &journal);
  hook_probe_init(&bad, "bad-entry", &journal);
  bad.start_code = 9;
  ha = hook_probe_register(c, &a, 0);
  hbad = hook_probe_register(c, &bad, 0);
  CHECK_STATUS(selv_thread_enter(c, NULL, 0), SELV_E_HOOK_FAILED);
  CHECK_LAST_ERROR_HAS("bad-entry");
  CHECK_JOURNAL(&journal, "A.start bad-entry.start A.exit");
  CHECK(selv_worker_current() == NULL);
  CHECK_EQ_U64(probe_stats(c).threads_entered, 0);
  bad.start_code = 0;
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  CHECK_OK(selv_thread_leave(c));
  hook_probe_remove(ha, &a);
  hook_probe_remove(hbad, &bad);
  probe_end(c);
}

static void unregister_detaches_the_calling_thread_itself(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  hook_probe h;
  selv_hook *hook;
  hook_probe_init(&h, "mine", NULL);
  hook = hook_probe_register(c, &h, 0);
  probe_warm(c, 2);
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 3);
  hook_probe_remove(hook, &h);
  CHECK_EQ_U64(check_tally_get(&h.exits), 3);
  CHECK(selv_worker_current() != NULL); /* still entered, with one hook less */
  CHECK_OK(selv_thread_leave(c));
  CHECK_EQ_U64(check_tally_get(&h.exits), 3);
  probe_end(c);
}

struct guest {
  selv_cache *cache;
  check_tally inside, go, left;
  int leaves;
};

static void *guest_thread(void *arg) {
  struct guest *g = (struct guest *)arg;
  CHECK_OK(selv_thread_enter(g->cache, NULL, 0));
  check_tally_add(&g->inside, 1);
  CHECK_WAIT(&g->go, 1);
  if (g->leaves) CHECK_OK(selv_thread_leave(g->cache));
  check_tally_add(&g->left, 1);
  return NULL;
}

static void guest_init(struct guest *g, selv_cache *c, int leaves) {
  memset(g, 0, sizeof *g);
  check_tally_init(&g->inside);
  check_tally_init(&g->go);
  check_tally_init(&g->left);
  g->cache = c;
  g->leaves = leaves;
}

static void other_threads_count_until_they_leave(void) {
  selv_cache *c = probe_cache(0, 0);
  hook_probe h;
  selv_hook *hook;
  struct guest g;
  pthread_t thread;
  uint32_t attached = 99;
  hook_probe_init(&h, "theirs", NULL);
  hook = hook_probe_register(c, &h, 0);
  guest_init(&g, c, 1);
  CHECK(pthread_create(&thread, NULL, guest_thread, &g) == 0);
  CHECK_WAIT(&g.inside, 1);
  CHECK_STATUS(selv_hook_unregister(hook, 20 * CHECK_MS, &attached), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(attached, 1);
  CHECK_EQ_U64(check_tally_get(&h.exits), 0);
  check_tally_add(&g.go, 1);
  hook_probe_remove(hook, &h);
  CHECK_EQ_U64(check_tally_get(&h.exits), 1);
  CHECK(pthread_join(thread, NULL) == 0);
  probe_end(c);
}

static void a_thread_that_ends_without_leaving_is_lost_and_blocks_nobody(void) {
  selv_cache *c = probe_cache(0, 0);
  hook_probe h;
  selv_hook *hook;
  struct guest g;
  pthread_t thread;
  hook_probe_init(&h, "lost", NULL);
  hook = hook_probe_register(c, &h, 0);
  guest_init(&g, c, 0);
  CHECK(pthread_create(&thread, NULL, guest_thread, &g) == 0);
  CHECK_WAIT(&g.inside, 1);
  check_tally_add(&g.go, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(probe_stats(c).threads_lost, 1);
  CHECK_EQ_U64(probe_stats(c).threads_entered, 0);
  CHECK_EQ_U64(hook_probe_stats(hook).lost, 1);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
  hook_probe_remove(hook, &h);
  CHECK_EQ_U64(check_tally_get(&h.exits), 0); /* never from a TLS destructor */
  {
    uint32_t remaining = 99;
    CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
    CHECK_EQ_U64(remaining, 0);
    selv_cache_release(c);
  }
}

/* An unregister that is already waiting when the thread dies must wake up. */
static void *remove_it(void *hook) {
  uint32_t attached = 99;
  CHECK_OK(selv_hook_unregister((selv_hook *)hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  return NULL;
}

static void a_waiting_unregister_hears_of_the_loss(void) {
  selv_cache *c = probe_cache(0, 0);
  hook_probe h;
  selv_hook *hook;
  struct guest g;
  pthread_t thread, remover;
  hook_probe_init(&h, "lost", NULL);
  hook = hook_probe_register(c, &h, 0);
  guest_init(&g, c, 0);
  CHECK(pthread_create(&thread, NULL, guest_thread, &g) == 0);
  CHECK_WAIT(&g.inside, 1);
  CHECK(pthread_create(&remover, NULL, remove_it, hook) == 0);
  check_sleep_ms(20); /* likely waiting by now; the test holds either way */
  check_tally_add(&g.go, 1);
  CHECK(pthread_join(remover, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(check_tally_get(&h.frees), 1);
  selv_hook_release(hook);
  selv_cache_release(c);
}

/* A removal that another thread has begun waits for this one: entering once more, in a job or on a host's own thread, must not
 * take the hook away in the middle of what needs it. */
static selv_cache *nested_cache;
static selv_hook *nested_hook;

static void *begin_removal(void *unused) {
  uint32_t attached = 0;
  (void)unused;
  CHECK_STATUS(selv_hook_unregister(nested_hook, 0, &attached), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(attached, 1);
  return NULL;
}

static void enter_again_during_a_removal(void) {
  pthread_t remover;
  CHECK(selv_hook_slot(nested_hook) != NULL);
  CHECK(pthread_create(&remover, NULL, begin_removal, NULL) == 0);
  CHECK(pthread_join(remover, NULL) == 0);
  CHECK_OK(selv_thread_enter(nested_cache, NULL, 0));
  CHECK(selv_hook_slot(nested_hook) != NULL);
  CHECK_OK(selv_thread_leave(nested_cache));
  CHECK(selv_hook_slot(nested_hook) != NULL);
}

static int32_t enters_during_a_removal(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  enter_again_during_a_removal();
  return 0;
}

static void a_nested_enter_takes_no_hook_away(void) {
  check_journal journal = CHECK_JOURNAL_INIT;
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  hook_probe h, second;
  nested_cache = probe_cache(0, SELV_FOREVER);
  hook_probe_init(&h, "h", &journal);
  nested_hook = hook_probe_register_full(nested_cache, &h, 0);
  job.fn = enters_during_a_removal;
  CHECK_OK(probe_through(nested_cache, &job).status);
  hook_probe_remove(nested_hook, &h);
  CHECK_JOURNAL(&journal, "h.start h.before h.after h.exit");

  hook_probe_init(&second, "s", NULL);
  nested_hook = hook_probe_register(nested_cache, &second, 0);
  CHECK_OK(selv_thread_enter(nested_cache, NULL, 0));
  enter_again_during_a_removal();
  CHECK_EQ_U64(check_tally_get(&second.exits), 0);
  CHECK_OK(selv_thread_leave(nested_cache));
  CHECK_EQ_U64(check_tally_get(&second.exits), 1);
  hook_probe_remove(nested_hook, &second);
  probe_end(nested_cache);
}

/* An entered thread is not one of the workers: it may run jobs and wait for them, and shut the cache down. */
static void an_entered_thread_may_use_the_cache(void) {
  selv_cache *c = probe_cache(1, 0);
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(outcome.code, 7);
  CHECK(p.worker != selv_worker_id(selv_worker_current()));
  CHECK_OK(selv_thread_leave(c));
  probe_end(c);
}

int main(void) {
  CHECK_RUN(enter_and_leave);
  CHECK_RUN(nested_enters_add_up);
  CHECK_RUN(a_failing_hook_undoes_the_enter);
  CHECK_RUN(unregister_detaches_the_calling_thread_itself);
  CHECK_RUN(other_threads_count_until_they_leave);
  CHECK_RUN(a_thread_that_ends_without_leaving_is_lost_and_blocks_nobody);
  CHECK_RUN(a_waiting_unregister_hears_of_the_loss);
  CHECK_RUN(a_nested_enter_takes_no_hook_away);
  CHECK_RUN(an_entered_thread_may_use_the_cache);
  return 0;
}

/* hooks_order.c: start in registration order, exit in reverse; before in order, after in reverse, around fn and not around
 * deliver; a hook registered late reaches every living worker before its next job. */
#include "probe.h"

static check_journal journal = CHECK_JOURNAL_INIT;

static int32_t noted_fn(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  check_note(&journal, "fn", "");
  return 0;
}

static void noted_deliver(void *arg, const selv_outcome *outcome) {
  check_note(&journal, "deliver", outcome->status == SELV_OK ? "" : selv_status_name(outcome->status));
  check_tally_add((check_tally *)arg, 1);
}

static void run_noted(selv_cache *c) {
  check_tally delivered = CHECK_TALLY_INIT;
  selv_job_options options = SELV_JOB_OPTIONS_INIT;
  options.fn = noted_fn;
  options.deliver = noted_deliver;
  options.arg = &delivered;
  CHECK_OK(probe_through(c, &options).status);
  CHECK_EQ_U64(check_tally_get(&delivered), 1);
}

static void both_edges_and_around_a_job(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  hook_probe a, b, d;
  selv_hook *ha, *hb, *hd;
  hook_probe_init(&a, "A", &journal);
  hook_probe_init(&b, "B", &journal);
  hook_probe_init(&d, "D", &journal);
  ha = hook_probe_register_full(c, &a, 0);
  hb = hook_probe_register(c, &b, 0); /* no before, no after */
  hd = hook_probe_register_full(c, &d, 0);
  run_noted(c);
  CHECK_JOURNAL(&journal, "A.start B.start D.start A.before D.before fn D.after A.after deliver");
  check_journal_clear(&journal);
  run_noted(c);
  CHECK_JOURNAL(&journal, "A.before D.before fn D.after A.after deliver");
  check_journal_clear(&journal);
  CHECK_OK(selv_cache_trim(c, 0));
  CHECK_WAIT(&a.exits, 1);
  CHECK_JOURNAL(&journal, "D.exit B.exit A.exit");
  check_journal_clear(&journal);
  CHECK_EVENTUALLY(probe_stats(c).workers == 0);
  CHECK_EQ_U64(hook_probe_stats(ha).attached, 0);
  CHECK_EQ_U64(hook_probe_stats(ha).starts, 1);
  CHECK_EQ_U64(hook_probe_stats(ha).exits, 1);
  CHECK_EQ_U64(hook_probe_stats(ha).jobs, 2);
  hook_probe_remove(hb, &b);
  run_noted(c);
  CHECK_JOURNAL(&journal, "A.start D.start A.before D.before fn D.after A.after deliver");
  check_journal_clear(&journal);
  probe_end(c); /* shutdown is a way out like any other */
  CHECK_JOURNAL(&journal, "D.exit A.exit");
  hook_probe_remove(ha, &a);
  hook_probe_remove(hd, &d);
}

static void idle_timeout_is_a_way_out(void) {
  selv_cache *c = probe_cache(0, 5 * CHECK_MS);
  hook_probe a, b;
  selv_hook *ha, *hb;
  check_journal_clear(&journal);
  hook_probe_init(&a, "A", &journal);
  hook_probe_init(&b, "B", &journal);
  ha = hook_probe_register(c, &a, 0);
  hb = hook_probe_register(c, &b, 0);
  run_noted(c);
  CHECK_WAIT(&a.exits, 1);
  CHECK_JOURNAL(&journal, "A.start B.start fn deliver B.exit A.exit");
  hook_probe_remove(ha, &a);
  hook_probe_remove(hb, &b);
  probe_end(c);
}

/* Ten living workers, some idle, some busy; the hook comes late; every later job finds it there. */
static int32_t needs_the_hook(void *arg, void **out_value) {
  selv_hook *hook = *(selv_hook **)arg;
  (void)out_value;
  CHECK(selv_hook_is_attached(hook));
  CHECK(selv_hook_slot(hook) != NULL && selv_hook_slot(hook) == selv_hook_user(hook)); /* the probe gives itself as slot */
  return 0;
}

static void a_late_hook_reaches_every_worker_before_its_next_job(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options hold;
  hook_probe late;
  selv_hook *hook;
  probe busy;
  int i;
  probe_init(&busy);
  hook_probe_init(&late, "late", NULL);
  probe_warm(c, 10);
  hold = probe_job(probe_hold, &busy);
  for (i = 0; i < 5; i++) CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 5);
  hook = hook_probe_register(c, &late, 0);
  CHECK(selv_hook_user(hook) == &late);
  CHECK_EQ_U64(check_tally_get(&late.starts), 0); /* idle workers are left asleep */
  for (i = 0; i < 200; i++) CHECK_OK(selv_start_thread_soon(c, needs_the_hook, NULL, &hook, NULL));
  check_tally_add(&busy.go, 1);
  CHECK_EVENTUALLY(probe_stats(c).jobs_delivered == probe_stats(c).jobs_accepted);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, check_tally_get(&late.starts));
  hook_probe_remove(hook, &late);
  CHECK_EQ_U64(check_tally_get(&late.exits), check_tally_get(&late.starts));
  probe_end(c);
}

static void eager_hooks_attach_idle_workers_now(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  hook_probe eager;
  selv_hook *hook;
  hook_probe_init(&eager, "eager", NULL);
  probe_warm(c, 4);
  hook = hook_probe_register(c, &eager, SELV_HOOK_EAGER);
  CHECK_WAIT(&eager.starts, 4); /* and no job was submitted */
  CHECK_EVENTUALLY(hook_probe_stats(hook).attached == 4);
  CHECK_EQ_U64(probe_stats(c).workers, 4);
  CHECK_EVENTUALLY(probe_stats(c).idle == 4);
  hook_probe_remove(hook, &eager);
  CHECK_EQ_U64(check_tally_get(&eager.exits), 4);
  probe_end(c);
}

int main(void) {
  CHECK_RUN(both_edges_and_around_a_job);
  CHECK_RUN(idle_timeout_is_a_way_out);
  CHECK_RUN(a_late_hook_reaches_every_worker_before_its_next_job);
  CHECK_RUN(eager_hooks_attach_idle_workers_now);
  return 0;
}

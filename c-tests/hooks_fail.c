/* hooks_fail.c: a hook that fails loses no job and harms no other: what started with it is undone in reverse, the job hears
 * the hook's own number and, in deliver, its name, and later jobs try again. */
#include "probe.h"

static void a_failing_start_is_undone_in_reverse(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  check_journal journal = CHECK_JOURNAL_INIT;
  hook_probe a, b, bad;
  selv_hook *ha, *hb, *hbad;
  selv_job_options job;
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  hook_probe_init(&a, "A", &journal);
  hook_probe_init(&b, "B", &journal);
  hook_probe_init(&bad, "bad-one", &journal);
  bad.start_code = 4242; /* a number of the host's own, unknown to the library */
  ha = hook_probe_register(c, &a, 0);
  hb = hook_probe_register(c, &b, 0);
  hbad = hook_probe_register(c, &bad, 0);
  job = probe_job(probe_never, &p);
  outcome = probe_through(c, &job);
  CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
  CHECK_EQ_U64(outcome.code, 4242);
  CHECK(outcome.value == NULL);
  CHECK(strstr(p.detail, "bad-one") != NULL);
  CHECK_EVENTUALLY(probe_stats(c).workers == 0); /* a fresh worker exits */
  CHECK_JOURNAL(&journal, "A.start B.start bad-one.start B.exit A.exit");
  CHECK_EQ_U64(check_tally_get(&bad.exits), 0);
  CHECK_EQ_U64(probe_stats(c).hook_failures, 1);
  CHECK_EQ_U64(hook_probe_stats(hbad).start_failures, 1);
  CHECK_EQ_U64(hook_probe_stats(hbad).attached, 0);
  CHECK_EQ_U64(hook_probe_stats(ha).attached, 0);

  job = probe_job(probe_never, &p); /* later jobs try again */
  CHECK_STATUS(probe_through(c, &job).status, SELV_E_HOOK_FAILED);
  bad.start_code = 0;
  job = probe_job(probe_run, &p);
  CHECK_OK(probe_through(c, &job).status);
  CHECK_EQ_U64(hook_probe_stats(hbad).attached, 1);
  hook_probe_remove(ha, &a);
  hook_probe_remove(hb, &b);
  hook_probe_remove(hbad, &bad);
  probe_end(c);
}

/* An older worker keeps what it had; only what was started in the same go is undone. */
static void an_older_worker_keeps_its_hooks(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  check_journal journal = CHECK_JOURNAL_INIT;
  hook_probe old, late, bad;
  selv_hook *hold, *hlate, *hbad;
  selv_hook *only_old[1];
  selv_job_options job;
  probe p;
  probe_init(&p);
  hook_probe_init(&old, "old", &journal);
  hook_probe_init(&late, "late", &journal);
  hook_probe_init(&bad, "bad", &journal);
  bad.start_code = -5;
  hold = hook_probe_register(c, &old, 0);
  probe_warm(c, 1);
  CHECK_JOURNAL(&journal, "old.start");
  check_journal_clear(&journal);
  hlate = hook_probe_register(c, &late, 0);
  hbad = hook_probe_register(c, &bad, 0);
  job = probe_job(probe_never, &p);
  CHECK_EQ_U64((uint32_t)probe_through(c, &job).code, (uint32_t)-5);
  CHECK_JOURNAL(&journal, "late.start bad.start late.exit");
  CHECK_EQ_U64(probe_stats(c).workers, 1);
  CHECK_EQ_U64(hook_probe_stats(hold).attached, 1);
  job = probe_job(probe_run, &p);
  only_old[0] = hold;
  job.attach = only_old;
  job.attach_len = 1;
  CHECK_OK(probe_through(c, &job).status);
  CHECK_EQ_U64(check_tally_get(&old.starts), 1);
  CHECK_EQ_U64(probe_stats(c).started, 1);
  hook_probe_remove(hbad, &bad);
  hook_probe_remove(hlate, &late);
  hook_probe_remove(hold, &old);
  probe_end(c);
}

/* tokio's pool of four is dead after four of these. */
static void a_bounded_cache_survives_any_number_of_failures(void) {
  selv_cache *c = probe_cache(2, SELV_FOREVER);
  selv_job_options job;
  hook_probe bad;
  selv_hook *hook;
  probe p;
  int i;
  probe_init(&p);
  hook_probe_init(&bad, "bad", NULL);
  bad.start_code = 1;
  hook = hook_probe_register(c, &bad, 0);
  job = probe_job(probe_never, &p);
  for (i = 0; i < 50; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.freed, 50);
  CHECK_STATUS(p.last.status, SELV_E_HOOK_FAILED);
  hook_probe_remove(hook, &bad);
  job = probe_job(probe_run, &p);
  CHECK_OK(probe_through(c, &job).status);
  probe_end(c);
}

/* Hooks failing at one in a hundred while jobs stream through: each job is delivered once, as run or as failed. */
static uint64_t starts_seen;

static int32_t fails_sometimes(void *user, const selv_worker *w, void **slot) {
  (void)w;
  *slot = user;
  return __atomic_add_fetch(&starts_seen, 1, __ATOMIC_RELAXED) % 100 == 0 ? 13 : 0;
}

static void one_failure_in_a_hundred(void) {
  selv_cache *c = probe_cache(4, SELV_NO_WAIT); /* workers come and go: many starts */
  selv_hook_options options;
  selv_job_options job;
  hook_probe h;
  selv_hook *hook = NULL;
  selv_hook_stats stats;
  uint64_t i, jobs = check_scaled(2000);
  probe p;
  probe_init(&p);
  hook_probe_init(&h, "sometimes", NULL);
  options = hook_probe_options(&h, 0);
  options.on_start = fails_sometimes;
  CHECK_OK(selv_hook_register(c, &options, &hook));
  job = probe_job(probe_run, &p);
  for (i = 0; i < jobs; i++) {
    CHECK_OK(selv_cache_submit(c, &job, NULL));
    if (i % 4 == 0) CHECK_WAIT(&p.freed, i + 1);
  }
  CHECK_WAIT(&p.freed, jobs);
  CHECK_EQ_U64(check_tally_get(&p.delivered), jobs);
  stats = hook_probe_stats(hook);
  CHECK_EQ_U64(check_tally_get(&p.ran) + stats.start_failures, jobs);
  CHECK_EQ_U64(probe_stats(c).hook_failures, stats.start_failures);
  hook_probe_remove(hook, &h);
  CHECK_EQ_U64(check_tally_get(&h.exits), stats.starts);
  probe_end(c);
}

static void a_failing_before_gives_the_earlier_ones_their_after(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  check_journal journal = CHECK_JOURNAL_INIT;
  hook_probe a, bad, z;
  selv_hook *ha, *hbad, *hz;
  selv_job_options job;
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  hook_probe_init(&a, "A", &journal);
  hook_probe_init(&bad, "bad-before", &journal);
  hook_probe_init(&z, "Z", &journal);
  bad.before_code = INT32_MIN;
  ha = hook_probe_register_full(c, &a, 0);
  hbad = hook_probe_register_full(c, &bad, 0);
  hz = hook_probe_register_full(c, &z, 0);
  job = probe_job(probe_never, &p);
  outcome = probe_through(c, &job);
  CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
  CHECK(outcome.code == INT32_MIN);
  CHECK(strstr(p.detail, "bad-before") != NULL);
  CHECK_JOURNAL(&journal, "A.start bad-before.start Z.start A.before bad-before.before A.after");
  CHECK_EQ_U64(probe_stats(c).workers, 1); /* before_job is the job's matter: the worker stays attached */
  CHECK_EQ_U64(hook_probe_stats(hbad).attached, 1);
  check_journal_clear(&journal);
  bad.before_code = 0;
  job = probe_job(probe_run, &p);
  CHECK_OK(probe_through(c, &job).status);
  CHECK_JOURNAL(&journal, "A.before bad-before.before Z.before Z.after bad-before.after A.after");
  hook_probe_remove(ha, &a);
  hook_probe_remove(hbad, &bad);
  hook_probe_remove(hz, &z);
  probe_end(c);
}

/* Who waits for a job hears the reason as deliver does: not an older complaint, and not nothing. */
static void who_waits_is_told_why(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_job *handle = NULL;
  selv_outcome outcome;
  hook_probe bad;
  selv_hook *hook;
  probe p;
  int again;
  probe_init(&p);
  hook_probe_init(&bad, "bad-to-wait-for", NULL);
  bad.start_code = 31;
  hook = hook_probe_register(c, &bad, 0);
  CHECK_STATUS(selv_cache_new(NULL, NULL), SELV_E_NULL);
  CHECK_OK(selv_cache_run(c, probe_never, NULL, SELV_FOREVER, &outcome));
  CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
  CHECK_EQ_U64(outcome.code, 31);
  CHECK_LAST_ERROR_HAS("bad-to-wait-for");
  job.fn = probe_never;
  CHECK_OK(selv_cache_submit(c, &job, &handle));
  for (again = 0; again < 2; again++) {
    CHECK_STATUS(selv_cache_new(NULL, NULL), SELV_E_NULL);
    CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
    CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
    CHECK_LAST_ERROR_HAS("bad-to-wait-for");
  }
  selv_job_release(handle);
  hook_probe_remove(hook, &bad);
  probe_end(c);
}

int main(void) {
  CHECK_RUN(a_failing_start_is_undone_in_reverse);
  CHECK_RUN(an_older_worker_keeps_its_hooks);
  CHECK_RUN(a_bounded_cache_survives_any_number_of_failures);
  CHECK_RUN(one_failure_in_a_hundred);
  CHECK_RUN(a_failing_before_gives_the_earlier_ones_their_after);
  CHECK_RUN(who_waits_is_told_why);
  return 0;
}

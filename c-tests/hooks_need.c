/* hooks_need.c: which hooks a job needs. No list: every non-lazy hook; an empty list: none; a list: exactly those, lazy ones
 * too. A job never runs on a worker that lacks what it needs, and runs no before or after that it does not need. */
#include "probe.h"

static selv_hook *const none[1] = {NULL};

static void lists_decide(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  check_journal journal = CHECK_JOURNAL_INIT;
  hook_probe plain, lazy;
  selv_hook *hooks[2], *only_lazy[1];
  selv_job_options job;
  probe p;
  probe_init(&p);
  hook_probe_init(&plain, "plain", &journal);
  hook_probe_init(&lazy, "lazy", &journal);
  hooks[0] = hook_probe_register_full(c, &plain, 0);
  hooks[1] = hook_probe_register_full(c, &lazy, SELV_HOOK_LAZY);
  only_lazy[0] = hooks[1];

  job = probe_job(probe_run, &p);
  job.attach = none;
  job.attach_len = 0;
  CHECK_OK(probe_through(c, &job).status);
  CHECK_EQ_U64(check_tally_get(&plain.befores) + check_tally_get(&lazy.starts), 0);
  check_journal_clear(&journal);

  job.attach = NULL;
  CHECK_OK(probe_through(c, &job).status);
  CHECK_EQ_U64(check_tally_get(&plain.starts), 1);
  CHECK_EQ_U64(check_tally_get(&plain.befores), 1);
  CHECK_EQ_U64(check_tally_get(&plain.afters), 1);
  CHECK_EQ_U64(check_tally_get(&lazy.starts), 0);
  check_journal_clear(&journal);

  job.attach = only_lazy;
  job.attach_len = 1;
  CHECK_OK(probe_through(c, &job).status);
  CHECK_JOURNAL(&journal, "lazy.start lazy.before lazy.after");
  check_journal_clear(&journal);

  job.attach = hooks;
  job.attach_len = 2;
  CHECK_OK(probe_through(c, &job).status);
  CHECK_JOURNAL(&journal, "plain.before lazy.before lazy.after plain.after");
  check_journal_clear(&journal);

  job.attach = NULL; /* once attached the lazy one stays, but this job does not need it */
  job.attach_len = 0;
  CHECK_OK(probe_through(c, &job).status);
  CHECK_JOURNAL(&journal, "plain.before plain.after");
  CHECK_EQ_U64(probe_stats(c).started, 1);
  hook_probe_remove(hooks[0], &plain);
  hook_probe_remove(hooks[1], &lazy);
  probe_end(c);
}

static void the_list_is_copied(void) {
  selv_cache *c = probe_cache(1, 0);
  hook_probe lazy;
  selv_hook *hook, *list[1];
  selv_job_options hold, job;
  probe busy, p;
  probe_init(&busy);
  probe_init(&p);
  hook_probe_init(&lazy, "lazy", NULL);
  hook = hook_probe_register(c, &lazy, SELV_HOOK_LAZY);
  hold = probe_job(probe_hold, &busy);
  job = probe_job(probe_run, &p);
  list[0] = hook;
  job.attach = list;
  job.attach_len = 1;
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_OK(selv_cache_submit(c, &job, NULL)); /* queued */
  list[0] = (selv_hook *)(uintptr_t)1;
  memset(&job, 0x5a, sizeof job);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(p.last.status);
  CHECK_EQ_U64(check_tally_get(&lazy.starts), 1);
  hook_probe_remove(hook, &lazy);
  probe_end(c);
}

/* What a job needs is settled when it is accepted. It may rely on a hook that was registered then: removed before the job
 * begins, the job fails and does not run without it. Lazy and optional hooks that it did not name are not its need. */
static void a_need_is_settled_when_the_job_is_accepted(void) {
  static const uint32_t kinds[] = {0, SELV_HOOK_EAGER, SELV_HOOK_LAZY, SELV_HOOK_OPTIONAL};
  size_t i;
  for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    selv_cache *c = probe_cache(1, SELV_FOREVER);
    int needed = kinds[i] == 0 || kinds[i] == SELV_HOOK_EAGER;
    hook_probe h;
    selv_hook *hook;
    selv_job_options hold, job, soon;
    probe busy, p, q, many;
    size_t accepted = 0;
    probe_init(&busy);
    probe_init(&p);
    probe_init(&q);
    probe_init(&many);
    hook_probe_init(&h, "relied-on", NULL);
    hold = probe_job(probe_hold, &busy);
    hold.attach = none;
    CHECK_OK(selv_cache_submit(c, &hold, NULL));
    CHECK_WAIT(&busy.entered, 1);
    hook = hook_probe_register(c, &h, kinds[i]);
    job = probe_job(needed ? probe_never : probe_run, &p); /* by each of the three doors */
    soon = probe_job(needed ? probe_never : probe_run, &many);
    CHECK_OK(selv_cache_submit(c, &job, NULL));
    CHECK_OK(selv_start_thread_soon(c, needed ? probe_never : probe_run, probe_deliver, &q, NULL));
    CHECK_OK(selv_cache_submit_many(c, &soon, 1, &accepted));
    hook_probe_remove(hook, &h);
    check_tally_add(&busy.go, 1);
    CHECK_WAIT(&p.freed, 1);
    CHECK_WAIT(&q.delivered, 1);
    CHECK_WAIT(&many.freed, 1);
    CHECK_STATUS(p.last.status, needed ? SELV_E_HOOK_FAILED : SELV_OK);
    CHECK_STATUS(q.last.status, p.last.status);
    CHECK_STATUS(many.last.status, p.last.status);
    if (needed) {
      CHECK(p.last.code == SELV_E_CLOSED && q.last.code == SELV_E_CLOSED && many.last.code == SELV_E_CLOSED);
      CHECK(strstr(p.detail, "relied-on") != NULL && strstr(q.detail, "relied-on") != NULL);
    }
    job = probe_job(probe_run, &p); /* accepted now, it needs what there is now: nothing */
    CHECK_OK(probe_through(c, &job).status);
    probe_end(c);
  }
}

/* A failure of an optional hook does not fail the jobs that did not name it; those that did, it does. */
static void optional_hooks_may_fail(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  hook_probe optional;
  selv_hook *hook, *named[1];
  selv_job_options job;
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  hook_probe_init(&optional, "optional", NULL);
  optional.start_code = 77;
  hook = hook_probe_register(c, &optional, SELV_HOOK_OPTIONAL);
  job = probe_job(probe_run, &p);
  CHECK_OK(probe_through(c, &job).status);
  CHECK(check_tally_get(&optional.starts) >= 1);
  CHECK_EQ_U64(check_tally_get(&optional.exits), 0);
  CHECK(probe_stats(c).hook_failures >= 1);
  CHECK(hook_probe_stats(hook).start_failures >= 1);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
  named[0] = hook;
  job = probe_job(probe_never, &p);
  job.attach = named;
  job.attach_len = 1;
  outcome = probe_through(c, &job);
  CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
  CHECK_EQ_U64(outcome.code, 77);
  hook_probe_remove(hook, &optional);
  probe_end(c);
}

/* Two hooks that hold a global interpreter lock: on one job they would wait for one another. */
static void two_interpreter_locks_are_refused(void) {
  selv_cache *c = probe_cache(0, 0);
  hook_probe first, second, third;
  selv_hook *hooks[2], *refused = (selv_hook *)(uintptr_t)1;
  selv_hook_options options;
  selv_job_options job;
  probe p;
  probe_init(&p);
  hook_probe_init(&first, "first", NULL);
  hook_probe_init(&second, "second", NULL);
  hook_probe_init(&third, "third", NULL);
  hooks[0] = hook_probe_register_full(c, &first, SELV_HOOK_HOLDS_GIL);
  hooks[1] = hook_probe_register_full(c, &second, SELV_HOOK_HOLDS_GIL | SELV_HOOK_LAZY);
  job = probe_job(probe_never, &p);
  job.attach = hooks;
  job.attach_len = 2;
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_INVAL);
  job.fn = probe_run;
  job.attach_len = 1;
  CHECK_OK(probe_through(c, &job).status);
  options = hook_probe_options(&third, SELV_HOOK_HOLDS_GIL);
  CHECK_STATUS(selv_hook_register(c, &options, &refused), SELV_E_INVAL);
  CHECK(refused == NULL);
  hook_probe_remove(hooks[0], &first);
  hook_probe_remove(hooks[1], &second);
  CHECK_EQ_U64(check_tally_get(&third.frees), 0);
  probe_end(c);
}

/* Rule 2 under load: jobs that need a lazy hook among jobs that do not, on few workers. */
static selv_hook *needed;

static int32_t finds_it_attached(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  CHECK(selv_hook_is_attached(needed));
  return 0;
}

static void a_job_never_lacks_what_it_needs(void) {
  selv_cache *c = probe_cache(3, 1 * CHECK_MS);
  uint64_t i, jobs = check_scaled(2000);
  hook_probe lazy;
  probe p;
  probe_init(&p);
  hook_probe_init(&lazy, "lazy", NULL);
  needed = hook_probe_register(c, &lazy, SELV_HOOK_LAZY);
  for (i = 0; i < jobs; i++) {
    selv_job_options job = probe_job(i % 3 ? probe_run : finds_it_attached, &p);
    if (i % 3 == 0) {
      job.attach = &needed;
      job.attach_len = 1;
    }
    CHECK_OK(selv_cache_submit(c, &job, NULL));
  }
  CHECK_WAIT(&p.freed, jobs);
  hook_probe_remove(needed, &lazy);
  CHECK_EQ_U64(check_tally_get(&lazy.starts), check_tally_get(&lazy.exits));
  probe_end(c);
}

int main(void) {
  CHECK_RUN(lists_decide);
  CHECK_RUN(the_list_is_copied);
  CHECK_RUN(a_need_is_settled_when_the_job_is_accepted);
  CHECK_RUN(optional_hooks_may_fail);
  CHECK_RUN(two_interpreter_locks_are_refused);
  CHECK_RUN(a_job_never_lacks_what_it_needs);
  return 0;
}

/* task_identity.c: who a task is: handles are never 0 and never used again; each thread has one of its own, each job another, which ends
 * with the job; an implicit one is nobody's to exit. Bad handles are refused. */
#include "probe.h"
#include "waiters.h"

static int by_value(const void *left, const void *right) {
  uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
  return a < b ? -1 : a > b;
}

static void are_all_different(uint64_t *handle, size_t n) {
  size_t i;
  qsort(handle, n, sizeof *handle, by_value);
  for (i = 1; i < n; i++) CHECK(handle[i] != handle[i - 1]);
}

static void handles_are_never_used_again(void) {
  size_t i, n = (size_t)check_scaled(20000);
  selv_task *t = (selv_task *)calloc(n, sizeof *t);
  CHECK(t != NULL);
  for (i = 0; i < n; i++) { /* one at a time, three at a time, hundreds at a time */
    t[i] = task_named(i % 2 ? "a name" : NULL);
    if (i % 5 < 2) CHECK_OK(selv_task_exit(t[i], NULL));
    if (i % 1000 == 999) {
      size_t j;
      for (j = i - 999; j <= i; j++) CHECK_STATUS(selv_task_exit(t[j], NULL), j % 5 < 2 ? SELV_E_STALE : SELV_OK);
    }
  }
  are_all_different(t, n);
  free(t);
}

static void exit_is_for_once(void) {
  selv_task t = task_named("short"), other = task_named("other");
  selv_task_report report = SELV_TASK_REPORT_INIT;
  CHECK_OK(selv_task_exit(t, &report));
  CHECK_EQ_U64(report.locks_broken + report.locks_handed_on + report.waits_cancelled + report.grants_passed_on +
                   report.tokens_returned + report.lots_broken,
               0);
  CHECK_STATUS(selv_task_exit(t, &report), SELV_E_STALE);
  CHECK_STATUS(selv_task_interrupt(t), SELV_E_STALE);
  CHECK_STATUS(selv_task_enter(t, NULL), SELV_E_STALE);
  CHECK_OK(selv_task_exit(other, NULL));
}

/* ---- threads ---- */

#define THREADS 8

static void *has_one_of_its_own(void *arg) {
  selv_task *out = (selv_task *)arg, mine = selv_task_current();
  CHECK(mine != 0 && mine != SELV_TASK_CURRENT);
  CHECK_EQ_U64(selv_task_current(), mine);
  CHECK_STATUS(selv_task_exit(mine, NULL), SELV_E_INVAL);
  CHECK_STATUS(selv_task_exit(SELV_TASK_CURRENT, NULL), SELV_E_INVAL);
  CHECK_EQ_U64(selv_task_current(), mine);
  *out = mine;
  return NULL;
}

static void each_thread_has_its_own(void) {
  pthread_t thread[THREADS];
  uint64_t task[2 * THREADS + 1];
  int i, round;
  task[0] = selv_task_current();
  for (round = 0; round < 2; round++) { /* the second ones find the slots of the first ones free, and are others all the same */
    for (i = 0; i < THREADS; i++)
      CHECK(pthread_create(&thread[i], NULL, has_one_of_its_own, &task[1 + round * THREADS + i]) == 0);
    for (i = 0; i < THREADS; i++) CHECK(pthread_join(thread[i], NULL) == 0);
    for (i = 0; i < THREADS; i++) CHECK_STATUS(selv_task_interrupt(task[1 + round * THREADS + i]), SELV_E_STALE);
  }
  CHECK_EQ_U64(selv_task_current(), task[0]);
  are_all_different(task, 2 * THREADS + 1);
}

/* ---- jobs ---- */

typedef struct job_tasks {
  selv_task inside[4]; /* four jobs, one after another */
  selv_task in_deliver;
  int ran;
} job_tasks;

static int32_t sees_its_task(void *arg, void **out_value) {
  job_tasks *j = (job_tasks *)arg;
  selv_task t = selv_task_current();
  (void)out_value;
  CHECK(t != 0);
  CHECK_EQ_U64(selv_task_current(), t);
  CHECK_STATUS(selv_task_exit(t, NULL), SELV_E_INVAL); /* it exits with the job */
  CHECK_STATUS(selv_task_exit(SELV_TASK_CURRENT, NULL), SELV_E_INVAL);
  j->inside[j->ran++] = t;
  return 0;
}

static void sees_another(void *arg, const selv_outcome *outcome) {
  job_tasks *j = (job_tasks *)arg;
  CHECK_OK(outcome->status);
  j->in_deliver = selv_task_current(); /* the job is over: this is the worker's own */
  CHECK_STATUS(selv_task_interrupt(j->inside[j->ran - 1]), SELV_E_STALE);
}

static void each_job_has_its_own(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  job_tasks j;
  uint64_t all[6];
  int i;
  memset(&j, 0, sizeof j);
  job.fn = sees_its_task;
  job.deliver = sees_another;
  job.arg = &j;
  job.name = "looking";
  for (i = 0; i < 4; i++) {
    selv_task delivered_on = j.in_deliver;
    CHECK_OK(probe_through(c, &job).status);
    CHECK(i == 0 || j.in_deliver == delivered_on); /* one worker */
    CHECK_STATUS(selv_task_interrupt(j.inside[i]), SELV_E_STALE);
    CHECK_STATUS(selv_task_exit(j.inside[i], NULL), SELV_E_STALE);
    all[i] = j.inside[i];
  }
  CHECK_EQ_U64(probe_stats(c).started, 1);
  all[4] = j.in_deliver;
  all[5] = selv_task_current();
  are_all_different(all, 6);
  probe_end(c);
}

/* A job that never asks has none to end; many of them leave nothing. */
static int32_t asks_nothing(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

static void a_job_that_never_asks(void) {
  selv_cache *c = probe_cache(2, SELV_FOREVER);
  uint64_t i;
  for (i = 0; i < 2000; i++) {
    selv_outcome outcome;
    CHECK_OK(selv_cache_run(c, asks_nothing, NULL, SELV_FOREVER, &outcome));
  }
  probe_end(c);
}

/* A thread that has entered a cache as a pseudo-worker is still the thread that it was. */
static void an_entered_cache_changes_nothing(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_task before = selv_task_current();
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  CHECK_EQ_U64(selv_task_current(), before);
  CHECK_OK(selv_thread_leave(c));
  CHECK_EQ_U64(selv_task_current(), before);
  probe_end(c);
}

/* ---- what is no task ---- */

static void bad_handles(void) {
  static const selv_task none[] = { UINT64_MAX - 1, UINT64_C(0xdeadbeefdeadbeef), UINT64_C(0x7fffffffffffffff), UINT64_C(1) << 63 };
  selv_task previous = 99, before = selv_task_current();
  size_t i;
  CHECK_STATUS(selv_task_new("no place for it", NULL), SELV_E_NULL);
  previous = 99;
  CHECK_STATUS(selv_task_new("\xc3\x28", &previous), SELV_E_INVAL); /* not UTF-8 */
  CHECK_EQ_U64(previous, 0);
  CHECK_STATUS(selv_task_exit(0, NULL), SELV_E_INVAL);
  CHECK_STATUS(selv_task_interrupt(0), SELV_E_INVAL);
  for (i = 0; i < sizeof none / sizeof *none; i++) {
    selv_status s = selv_task_exit(none[i], NULL);
    CHECK(s == SELV_E_INVAL || s == SELV_E_STALE);
    s = selv_task_interrupt(none[i]);
    CHECK(s == SELV_E_INVAL || s == SELV_E_STALE);
    previous = 99;
    s = selv_task_enter(none[i], &previous);
    CHECK(s == SELV_E_INVAL || s == SELV_E_STALE);
    CHECK_EQ_U64(previous, 0);
  }
  CHECK_EQ_U64(selv_task_current(), before);
}

static void bad_reports(void) {
  struct {
    selv_task_report known;
    uint64_t tail;
  } newer;
  selv_task_report report;
  selv_task t = task_named("reported");
  unsigned char *bytes = (unsigned char *)&report;
  size_t i;
  memset(&report, 0, sizeof report);
  CHECK_STATUS(selv_task_exit(t, &report), SELV_E_INVAL); /* no size: the task lives on */
  report.struct_size = 3;
  CHECK_STATUS(selv_task_exit(t, &report), SELV_E_INVAL);
  CHECK_OK(selv_task_enter(t, NULL));
  CHECK_OK(selv_task_enter(0, NULL));
  memset(&report, 0x5a, sizeof report); /* an older host's report ends before what we would add */
  report.struct_size = offsetof(selv_task_report, waits_cancelled);
  report.reserved = 0;
  report.each = NULL;
  CHECK_OK(selv_task_exit(t, &report));
  CHECK_EQ_U64(report.locks_broken + report.locks_handed_on, 0);
  for (i = offsetof(selv_task_report, waits_cancelled); i < sizeof report; i++) CHECK_EQ_U64(bytes[i], 0x5a);
  t = task_named("reported");
  memset(&newer, 0, sizeof newer);
  newer.known.struct_size = sizeof newer;
  CHECK_OK(selv_task_exit(t, &newer.known));
  CHECK_EQ_U64(newer.tail, 0);
}

int main(void) {
  CHECK_RUN(handles_are_never_used_again);
  CHECK_RUN(exit_is_for_once);
  CHECK_RUN(each_thread_has_its_own);
  CHECK_RUN(each_job_has_its_own);
  CHECK_RUN(a_job_that_never_asks);
  CHECK_RUN(an_entered_cache_changes_nothing);
  CHECK_RUN(bad_handles);
  CHECK_RUN(bad_reports);
  return 0;
}

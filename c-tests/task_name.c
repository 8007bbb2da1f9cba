/* task_name.c: what a task is called in messages and in the wait graph, and that this can be changed at any time. */
#include "probe.h"
#include "waiters.h"

/* `l` is held by somebody: a refusal of another task's call calls that one by `words`. */
static void is_told(selv_lock *l, const char *words) {
  selv_task other = task_named("other");
  CHECK_STATUS(selv_lock_release(l, other), SELV_E_NOT_OWNER);
  CHECK_LAST_ERROR_HAS(words);
  CHECK_OK(selv_task_exit(other, NULL));
}

static void a_new_name(void) {
  selv_task t = task_named("first");
  selv_lock *l;
  char number[32];
  CHECK_OK(selv_lock_new(NULL, &l));
  CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER));
  is_told(l, "'first'");
  CHECK_OK(selv_task_set_name(t, "second"));
  is_told(l, "'second'");
  CHECK_OK(selv_task_set_name(t, NULL));
  snprintf(number, sizeof number, "0x%llx", (unsigned long long)t);
  is_told(l, number);
  CHECK_OK(selv_task_set_name(t, "1234567890123456789012345678901234567890123456é")); /* the 47th byte is half a character */
  is_told(l, "'1234567890123456789012345678901234567890123456'");
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_STATUS(selv_task_set_name(t, "late"), SELV_E_STALE);
  selv_lock_free(l);
}

static void *renames_itself(void *arg) {
  selv_lock *l = (selv_lock *)arg;
  CHECK_OK(selv_task_set_name(SELV_TASK_CURRENT, "an important thread"));
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  is_told(l, "thread 'an important thread'");
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  return NULL;
}

static void a_thread(void) {
  pthread_t thread;
  selv_lock *l;
  CHECK_OK(selv_lock_new(NULL, &l));
  CHECK(pthread_create(&thread, NULL, renames_itself, l) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  selv_lock_free(l);
}

static int32_t a_job_that_renames_itself(void *arg, void **out_value) {
  selv_lock *l = (selv_lock *)arg;
  (void)out_value;
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  is_told(l, "job 'looking'");
  CHECK_OK(selv_task_set_name(selv_task_current(), "renamed"));
  is_told(l, "job 'renamed'");
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  return 0;
}

static void a_job(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_lock *l;
  CHECK_OK(selv_lock_new(NULL, &l));
  job.fn = a_job_that_renames_itself;
  job.arg = l;
  job.name = "looking";
  CHECK_OK(probe_through(c, &job).status);
  CHECK_OK(probe_through(c, &job).status); /* the next job of the same worker has its own name again */
  probe_end(c);
  selv_lock_free(l);
}

/* Threads that only the system has named, and tasks that were all given one name, are told apart by their numbers. */
static void *asks_for_too_much(void *arg) {
  selv_lock *l = (selv_lock *)arg;
  char number[32];
  CHECK_STATUS(selv_lock_release(l, SELV_TASK_CURRENT), SELV_E_NOT_OWNER);
  snprintf(number, sizeof number, "(0x%llx) cannot", (unsigned long long)selv_task_current());
  CHECK_LAST_ERROR_HAS(number);
  snprintf(number, sizeof number, "(0x%llx)", (unsigned long long)selv_lock_owner(l));
  CHECK_LAST_ERROR_HAS(number);
  return NULL;
}

static void equal_names(void) {
  selv_task a = task_named("request"), b = task_named("request"), c = task_named("another");
  char numbers[2][48];
  pthread_t thread;
  selv_lock *l;
  CHECK_OK(selv_lock_new(NULL, &l));
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK(pthread_create(&thread, NULL, asks_for_too_much, l) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_acquire(l, a, SELV_FOREVER));
  snprintf(numbers[0], sizeof numbers[0], "task 'request' (0x%llx)", (unsigned long long)a);
  snprintf(numbers[1], sizeof numbers[1], "task 'request' (0x%llx) cannot", (unsigned long long)b);
  CHECK_STATUS(selv_lock_release(l, b), SELV_E_NOT_OWNER);
  CHECK_LAST_ERROR_HAS(numbers[0]);
  CHECK_LAST_ERROR_HAS(numbers[1]);
  CHECK_STATUS(selv_lock_release(l, c), SELV_E_NOT_OWNER);
  CHECK_LAST_ERROR_HAS("held by task 'request'");
  CHECK_OK(selv_task_exit(a, NULL)); /* broken now: that is said, and not that nobody holds it */
  CHECK_STATUS(selv_lock_release(l, c), SELV_E_NOT_OWNER);
  CHECK_LAST_ERROR_HAS("task 'another' cannot");
  CHECK_LAST_ERROR_HAS("is broken: its owner, task 'request', exited while holding it");
  CHECK_OK(selv_task_exit(b, NULL));
  CHECK_OK(selv_task_exit(c, NULL));
  selv_lock_free(l);
}

static void what_is_refused(void) {
  selv_task t = task_named("kept");
  selv_lock *l;
  CHECK_OK(selv_lock_new(NULL, &l));
  CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER));
  CHECK_STATUS(selv_task_set_name(t, "\xc3\x28"), SELV_E_INVAL);
  CHECK_STATUS(selv_task_set_name(0, "nobody"), SELV_E_INVAL);
  CHECK_STATUS(selv_task_set_name(UINT64_C(0xdeadbeefdeadbeef), "nobody"), SELV_E_INVAL);
  is_told(l, "'kept'");
  CHECK_OK(selv_task_exit(t, NULL));
  selv_lock_free(l);
}

int main(void) {
  CHECK_RUN(a_new_name);
  CHECK_RUN(a_thread);
  CHECK_RUN(a_job);
  CHECK_RUN(equal_names);
  CHECK_RUN(what_is_refused);
  return 0;
}

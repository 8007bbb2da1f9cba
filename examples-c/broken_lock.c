/* broken_lock.c: a job takes a lock and returns without releasing it. With most locks, everybody who wants it then waits for ever.
 * Here its task ends with the job, and the lock breaks: who waits and who comes later is told, and told whose fault it is. Who knows how
 * to put right what the lock protects repairs it; with SELV_LOCK_ROBUST it is the next owner who is told, as POSIX has it.
 *     cc -std=c99 broken_lock.c -o broken_lock $(pkg-config --cflags --libs selvedge) && ./broken_lock */
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>

static selv_lock *ledger, *journal;
static selv_event *has_both, *go_on;

static int check(const char *what, selv_status expected, selv_status status) {
  char detail[256] = "";
  if (status < 0) selv_last_error(detail, sizeof detail);
  printf("%-28s %s%s%s\n", what, selv_status_name(status), status < 0 ? ": " : "", detail);
  return status == expected;
}

static int32_t careless(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  if (selv_lock_acquire(ledger, SELV_TASK_CURRENT, SELV_FOREVER) != SELV_OK) return 1;
  if (selv_lock_acquire(journal, SELV_TASK_CURRENT, SELV_FOREVER) != SELV_OK) return 1;
  if (selv_event_set(has_both) != SELV_OK) return 1;
  return selv_event_wait(go_on, SELV_TASK_CURRENT, SELV_FOREVER); /* and off, with both locks in hand */
}

/* Called once, on whichever thread ends the wait; here the job's worker. */
static void completed(void *arg, const selv_completed *c) { *(int *)arg = check("one that waited:", SELV_E_BROKEN, c->status); }

static int repair(void) {
  selv_status status = selv_lock_acquire(ledger, SELV_TASK_CURRENT, SELV_FOREVER);
  int ok = check("main:", SELV_E_BROKEN, status);
  if (status == SELV_E_BROKEN) {
    status = selv_lock_repair(ledger, SELV_TASK_CURRENT); /* from here on the lock is ours, and whole */
    ok &= check("main repairs it:", SELV_OK, status);
    /* ... put right what it protects ... */
  }
  if (status >= 0) ok &= check("main releases it:", SELV_OK, selv_lock_release(ledger, SELV_TASK_CURRENT));
  return ok;
}

static int take_over(void) {
  selv_status status = selv_lock_acquire(journal, SELV_TASK_CURRENT, SELV_FOREVER);
  int ok = check("main, the robust one:", SELV_OWNER_DIED, status); /* a success: the lock is ours */
  if (status == SELV_OWNER_DIED) {
    /* ... put right what it protects ... */
    ok &= check("main has put it right:", SELV_OK, selv_lock_make_consistent(journal, SELV_TASK_CURRENT));
  }
  if (status >= 0) ok &= check("main releases it:", SELV_OK, selv_lock_release(journal, SELV_TASK_CURRENT));
  return ok;
}

static selv_lock *named(const char *name, uint32_t flags) {
  selv_lock_options options = SELV_LOCK_OPTIONS_INIT;
  selv_lock *lock = NULL;
  options.name = name;
  options.flags = flags;
  return selv_lock_new(&options, &lock) == SELV_OK ? lock : NULL;
}

int main(void) {
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_completion completion = { completed, NULL, NULL };
  selv_cache *cache = NULL;
  selv_job *handle = NULL;
  selv_task waiter = 0;
  int told = 0, ok;
  completion.arg = &told;
  job.fn = careless;
  job.name = "careless";
  ledger = named("ledger", 0);
  journal = named("journal", SELV_LOCK_ROBUST);
  ok = ledger != NULL && journal != NULL;
  ok = ok && selv_event_new(NULL, &has_both) == SELV_OK && selv_event_new(NULL, &go_on) == SELV_OK;
  ok = ok && selv_task_new("waiter", &waiter) == SELV_OK && selv_cache_new(NULL, &cache) == SELV_OK;
  ok = ok && selv_cache_submit(cache, &job, &handle) == SELV_OK;
  ok = ok && selv_event_wait(has_both, SELV_TASK_CURRENT, SELV_FOREVER) == SELV_OK;
  ok = ok && selv_lock_acquire_async(ledger, waiter, &completion, NULL) == SELV_PENDING;
  ok = ok && selv_event_set(go_on) == SELV_OK;
  ok = ok && selv_job_wait(handle, SELV_FOREVER, NULL) == SELV_OK; /* when a job is over, so are its task and its callbacks */
  ok = ok && told && repair() && take_over();
  if (!ok) return EXIT_FAILURE;
  selv_job_release(handle);
  ok = selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL) == SELV_OK;
  selv_cache_release(cache);
  ok &= selv_task_exit(waiter, NULL) == SELV_OK;
  ok &= selv_event_free(has_both) == SELV_OK && selv_event_free(go_on) == SELV_OK;
  ok &= selv_lock_free(ledger) == SELV_OK && selv_lock_free(journal) == SELV_OK;
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

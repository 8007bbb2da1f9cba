/* locks.c: jobs change something together under a lock, and main waits on a condition until it is as it wants it. Who acquires, waits and
 * releases is always a task: SELV_TASK_CURRENT is the job's in a job, and elsewhere the thread's own.
 *     cc -std=c99 locks.c -o locks $(pkg-config --cflags --libs selvedge) && ./locks */
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>

#define JOBS 4
#define DEPOSITS 1000

static selv_lock *lock;         /* protects these two */
static long balance;
static int working = JOBS;
static selv_condition *changed; /* `working` has */

static int check(const char *what, selv_status status) {
  char detail[256];
  if (status >= 0) return 1; /* SELV_OK, or success with news */
  selv_last_error(detail, sizeof detail);
  fprintf(stderr, "%s: %s: %s\n", what, selv_status_name(status), detail);
  return 0;
}

static int32_t deposit(void *arg, void **out_value) {
  int i;
  (void)arg;
  (void)out_value;
  for (i = 0; i < DEPOSITS; i++) {
    if (!check("acquire", selv_lock_acquire(lock, SELV_TASK_CURRENT, SELV_FOREVER))) return 1;
    balance++;
    if (!check("release", selv_lock_release(lock, SELV_TASK_CURRENT))) return 1;
  }
  if (!check("acquire", selv_lock_acquire(lock, SELV_TASK_CURRENT, SELV_FOREVER))) return 1;
  working--;
  if (!check("notify", selv_condition_notify_all(changed, SELV_TASK_CURRENT))) return 1; /* still holding the lock */
  return !check("release", selv_lock_release(lock, SELV_TASK_CURRENT));
}

static int wait_for_all(void) {
  int32_t holds = 1;
  int ok = check("acquire", selv_lock_acquire(lock, SELV_TASK_CURRENT, SELV_FOREVER));
  if (!ok) return 0;
  /* Look, wait, look again. The wait lets go of the lock, and has it back when it returns; if not, `holds` is 0. */
  while (ok && working > 0) ok = check("wait", selv_condition_wait(changed, SELV_TASK_CURRENT, SELV_FOREVER, &holds));
  if (ok) printf("all %d jobs have made their deposits: %ld\n", JOBS, balance);
  if (holds) ok &= check("release", selv_lock_release(lock, SELV_TASK_CURRENT));
  return ok;
}

int main(void) {
  selv_lock_options lock_options = SELV_LOCK_OPTIONS_INIT;
  selv_condition_options condition_options = SELV_CONDITION_OPTIONS_INIT;
  selv_cache *cache;
  int i, ok;
  lock_options.name = "account"; /* what messages and the wait graph call it */
  if (!check("selv_lock_new", selv_lock_new(&lock_options, &lock))) return EXIT_FAILURE;
  condition_options.name = "changed";
  condition_options.lock = lock;
  if (!check("selv_condition_new", selv_condition_new(&condition_options, &changed))) return EXIT_FAILURE;
  if (!check("selv_cache_new", selv_cache_new(NULL, &cache))) return EXIT_FAILURE;
  ok = 1;
  for (i = 0; i < JOBS; i++) ok &= check("submit", selv_start_thread_soon(cache, deposit, NULL, NULL, "deposit"));
  ok = ok && wait_for_all();
  ok &= check("selv_cache_shutdown", selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  selv_cache_release(cache);
  ok &= check("selv_condition_free", selv_condition_free(changed));
  ok &= check("selv_lock_free", selv_lock_free(lock));
  return ok && balance == JOBS * DEPOSITS ? EXIT_SUCCESS : EXIT_FAILURE;
}

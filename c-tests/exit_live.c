/* exit_live.c: the process ends without shutdown while workers are idle, busy and attaching: no crash, no wait, the exit
 * status of the host. Each way out is this program again, with the way as its argument. */
#include "probe.h"

#include <signal.h>
#include <sys/wait.h>

static const char *const ways[] = {"return", "exit", "quick_exit", "pthread_exit", "exit-on-worker", "atexit-submit"};
#define STATUS 42

static check_tally attaching = CHECK_TALLY_INIT;
static selv_cache *live;

static int32_t attaches_for_ever(void *user, const selv_worker *w, void **slot) {
  (void)user;
  (void)w;
  (void)slot;
  check_tally_add(&attaching, 1);
  while (pause() == -1) { /* it only ever returns -1 */
  }
  return 0;
}

static int32_t busy_for_ever(void *arg, void **out_value) {
  (void)out_value;
  check_tally_add(&((probe *)arg)->entered, 1);
  while (pause() == -1) {
  }
  return 0;
}

static void must_not_be_called(void *user, const selv_worker *w, void *slot) {
  (void)user;
  (void)w;
  (void)slot;
  check_fail(__FILE__, __LINE__, "on_exit ran at process exit");
}

static int32_t starts(void *user, const selv_worker *w, void **slot) {
  (void)user;
  (void)w;
  (void)slot;
  return 0;
}

static int32_t exits_here(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  exit(STATUS);
}

static void submit_at_exit(void) {
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  CHECK_OK(selv_cache_run(live, probe_run, &p, SELV_FOREVER, &outcome));
}

/* Workers in every state: three idle, one busy, one inside on_start. */
static void populate(void) {
  selv_hook_options plain = SELV_HOOK_OPTIONS_INIT, slow = SELV_HOOK_OPTIONS_INIT;
  selv_hook *hook = NULL, *hslow = NULL;
  static probe p;
  selv_job_options job;
  probe_init(&p);
  live = probe_cache(0, SELV_FOREVER);
  plain.name = "plain";
  plain.on_start = starts;
  plain.on_exit = must_not_be_called;
  CHECK_OK(selv_hook_register(live, &plain, &hook));
  probe_warm(live, 3);
  slow.name = "slow";
  slow.flags = SELV_HOOK_LAZY;
  slow.on_start = attaches_for_ever;
  CHECK_OK(selv_hook_register(live, &slow, &hslow));
  job = probe_job(busy_for_ever, &p);
  CHECK_OK(selv_cache_submit(live, &job, NULL));
  CHECK_WAIT(&p.entered, 1);
  job = probe_job(probe_never, &p);
  job.attach = &hslow;
  job.attach_len = 1;
  CHECK_OK(selv_cache_submit(live, &job, NULL));
  CHECK_WAIT(&attaching, 1);
}

static int leave(const char *way) {
  if (strcmp(way, "pthread_exit") == 0) {
    /* The process then lives until its last thread ends: so here the workers must be able to. */
    live = probe_cache(0, 10 * CHECK_MS);
    probe_warm(live, 3);
    selv_cache_release(live);
    pthread_exit(NULL);
  }
  populate();
  if (strcmp(way, "exit") == 0) exit(STATUS);
  if (strcmp(way, "quick_exit") == 0) quick_exit(STATUS);
  if (strcmp(way, "exit-on-worker") == 0) {
    CHECK_OK(selv_start_thread_soon(live, exits_here, NULL, NULL, NULL));
    for (;;) pause();
  }
  if (strcmp(way, "atexit-submit") == 0) CHECK(atexit(submit_at_exit) == 0);
  return STATUS;
}

int main(int argc, char **argv) {
  size_t i;
  if (argc > 1) {
    alarm((unsigned)check_patience_s());
    return leave(argv[1]);
  }
  for (i = 0; i < sizeof ways / sizeof ways[0]; i++) {
    int status = 0, wanted = strcmp(ways[i], "pthread_exit") == 0 ? 0 : STATUS;
    uint64_t began = check_now_ns();
    pid_t child;
    /* The thread sanitizer's own thread never ends, and so would the process not. */
    if (CHECK_FOREIGN_THREADS > 0 && strcmp(ways[i], "pthread_exit") == 0) continue;
    printf("%s\n", ways[i]);
    fflush(stdout);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      execl(argv[0], argv[0], ways[i], (char *)NULL); /* not /proc/self/exe: that is the tool, under valgrind */
      _exit(127);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != wanted)
      check_fail(__FILE__, __LINE__, "%s: wait status %#x, expected exit %d", ways[i], (unsigned)status, wanted);
    CHECK(check_now_ns() - began < check_patience_s() * 500 * CHECK_MS);
  }
  return 0;
}

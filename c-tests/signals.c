/* signals.c: workers leave dispositions alone and never block the signals that runtimes need on every thread: faults,
 * SIGUSR2, SIGURG, real-time ones; also when they are started by a thread that blocks everything. Else they have the mask of the thread
 * that started them, which the processes that a job starts inherit. */
#include "probe.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const int needed[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGUSR2, SIGURG};

static int32_t look_at_mask(void *arg, void **out_value) {
  (void)out_value;
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, (sigset_t *)arg) == 0);
  return 0;
}

static void check_mask(const sigset_t *mask) {
  size_t i;
  int rt;
  for (i = 0; i < sizeof needed / sizeof needed[0]; i++)
    if (sigismember(mask, needed[i])) check_fail(__FILE__, __LINE__, "a worker blocks signal %d (%s)", needed[i], strsignal(needed[i]));
  for (rt = SIGRTMIN; rt <= SIGRTMAX; rt++)
    if (sigismember(mask, rt)) check_fail(__FILE__, __LINE__, "a worker blocks real-time signal %d", rt);
}

/* What a main thread usually handles. */
static const int usual[] = {SIGHUP, SIGINT, SIGTERM, SIGCHLD, SIGALRM, SIGWINCH, SIGTSTP};

static void masks(int blocked_by_submitter) {
  selv_cache *c = probe_cache(0, 0);
  sigset_t all, before, after, worker;
  selv_outcome outcome;
  size_t i;
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &before) == 0);
  if (blocked_by_submitter) {
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0);
  }
  CHECK_OK(selv_cache_run(c, look_at_mask, &worker, SELV_FOREVER, &outcome));
  if (blocked_by_submitter) CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
  check_mask(&worker);
  for (i = 0; i < sizeof usual / sizeof usual[0]; i++)
    CHECK(sigismember(&worker, usual[i]) == (blocked_by_submitter ? 1 : sigismember(&before, usual[i])));
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &after) == 0);
  CHECK(sigismember(&before, SIGINT) == sigismember(&after, SIGINT)); /* the submitter's own mask is as it was */
  CHECK(sigismember(&before, SIGTERM) == sigismember(&after, SIGTERM));
  probe_end(c);
}

static void workers_block_no_signal_that_a_runtime_needs(void) { masks(0); }
static void nor_do_they_inherit_a_full_mask(void) { masks(1); }

static pthread_t handled_on;
static int handled;

static void handle(int signal) {
  (void)signal;
  handled_on = pthread_self();
  __atomic_store_n(&handled, 1, __ATOMIC_RELEASE);
}

/* ---- a process that a job starts ---- */

/* The pipe's writing end goes when sleep begins. A signal that came before would be the forked program's, which valgrind keeps to itself. */
static int32_t starts_a_process(void *arg, void **out_value) {
  int began[2], status = 0;
  char nothing;
  pid_t child;
  (void)arg;
  (void)out_value;
  CHECK(pipe(began) == 0);
  CHECK(fcntl(began[0], F_SETFD, FD_CLOEXEC) == 0 && fcntl(began[1], F_SETFD, FD_CLOEXEC) == 0);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    execl("/bin/sleep", "sleep", "1000", (char *)NULL);
    _exit(127);
  }
  CHECK(close(began[1]) == 0);
  CHECK(read(began[0], &nothing, 1) == 0);
  CHECK(close(began[0]) == 0);
  CHECK(kill(child, SIGTERM) == 0);
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  return 0;
}

static void a_process_that_a_job_starts_can_be_terminated(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_outcome outcome;
  CHECK_OK(selv_cache_run(c, starts_a_process, NULL, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  probe_end(c);
}

static void dispositions_stay_as_they_were(void) {
  struct sigaction before[65], now;
  selv_cache *c;
  int i;
  struct sigaction own;
  memset(&own, 0, sizeof own);
  own.sa_handler = handle;
  CHECK(sigaction(SIGUSR2, &own, NULL) == 0);
  memset(before, 0, sizeof before);
  for (i = 1; i < 65; i++) (void)sigaction(i, NULL, &before[i]);
  c = probe_cache(0, 0);
  probe_warm(c, 3);
  probe_end(c);
  for (i = 1; i < 65; i++) {
    memset(&now, 0, sizeof now);
    if (sigaction(i, NULL, &now) == 0) CHECK(now.sa_handler == before[i].sa_handler && now.sa_flags == before[i].sa_flags);
  }
}

static int32_t signals_itself(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  CHECK(pthread_kill(pthread_self(), SIGUSR2) == 0);
  CHECK(__atomic_load_n(&handled, __ATOMIC_ACQUIRE) && pthread_equal(handled_on, pthread_self()));
  return 0;
}

static void a_worker_handles_a_signal_sent_to_it(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_outcome outcome;
  CHECK_OK(selv_cache_run(c, signals_itself, NULL, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  probe_end(c);
}

/* Signals that interrupt system calls: neither an idle worker nor a waiter is disturbed. */
static pthread_t worker_thread;

static int32_t who(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  worker_thread = pthread_self();
  return 0;
}

static void interrupted_waits_go_on_waiting(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_outcome outcome;
  int i;
  CHECK_OK(selv_cache_run(c, who, NULL, SELV_FOREVER, &outcome));
  for (i = 0; i < 100; i++) {
    CHECK(pthread_kill(worker_thread, SIGUSR2) == 0);
    if (i % 10 == 0) CHECK_OK(selv_cache_run(c, who, NULL, SELV_FOREVER, &outcome));
  }
  CHECK_EQ_U64(probe_stats(c).started, 1);
  probe_end(c);
}

int main(void) {
  CHECK_RUN(workers_block_no_signal_that_a_runtime_needs);
  CHECK_RUN(nor_do_they_inherit_a_full_mask);
  CHECK_RUN(a_process_that_a_job_starts_can_be_terminated);
  CHECK_RUN(dispositions_stay_as_they_were);
  CHECK_RUN(a_worker_handles_a_signal_sent_to_it);
  CHECK_RUN(interrupted_waits_go_on_waiting);
  return 0;
}

/* timeout: 300 */
/* os.fork with SELV_HOOK_FORK_KEEP, from a job and from the main thread while workers run Python: the child runs a Python job
 * on a worker of its own within a second. Without the flag such a job gets SELV_E_FORKED there. */
#include "python_probe.h"

#include <sys/wait.h>

#define SECOND UINT64_C(1000000000)

static selv_cache *c;
static selv_hook *hook;

/* The child's end: a Python job on the child's own worker. Exits 0, 3 if it took too long. */
static void child_runs_python(uint64_t forked_at) {
  CHECK(selv_python_impl_current() == NULL);
  CHECK_EQ_U64(py_number_of(c, hook, "sum(range(10))"), 45);
  _exit(check_now_ns() - forked_at < SECOND ? 0 : 3);
}

static void child_is_refused(void) {
  probe p;
  selv_job_options job;
  selv_outcome outcome;
  probe_init(&p);
  job = probe_job(probe_never, &p);
  job.attach = &hook;
  job.attach_len = 1;
  outcome = probe_through(c, &job);
  _exit(outcome.status == SELV_E_FORKED || (outcome.status == SELV_E_HOOK_FAILED && outcome.code == SELV_E_FORKED) ? 0 : 4);
}

static void check_child(long pid) {
  int status = -1;
  pid_t ended = 0;
  CHECK(pid > 0);
  CHECK_EVENTUALLY((ended = waitpid((pid_t)pid, &status, WNOHANG)) != 0);
  CHECK(ended == (pid_t)pid);
  CHECK(WIFEXITED(status));
  CHECK_EQ_U64(WEXITSTATUS(status), 0);
}

static long forked_child = 0;

static int32_t fork_in_a_job(void *arg, void **out_value) {
  uint64_t forked_at;
  int keep = *(int *)arg;
  (void)out_value;
  CHECK_OK(selv_python_begin(hook));
  forked_at = check_now_ns();
  forked_child = PY_LONG("os.fork()");
  if (forked_child == 0) {
    /* Still this worker's thread and state, in the child. */
    CHECK_EQ_U64(PY_LONG("6 * 7"), 42);
    if (!keep) {
      (void)PyEval_SaveThread();
      child_is_refused();
    }
    CHECK_OK(selv_python_end(hook));
    child_runs_python(forked_at);
  }
  CHECK_OK(selv_python_end(hook));
  return 0;
}

static void open_python(uint32_t flags) {
  c = probe_cache(0, 0);
  Py_InitializeEx(0);
  hook = py_register(c, flags, 0);
  /* 3.12 warns of forks in processes with threads; that is what this is about. */
  PY_RUN("import os, time, warnings; warnings.simplefilter('ignore')");
}

static void close_python(void) {
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  PY_FINALIZE();
  py_end_cache(c, hook);
}

static void from_a_job(uint32_t flags) {
  selv_outcome outcome;
  PyThreadState *main_state;
  int keep = flags != 0, i;
  open_python(flags);
  main_state = PyEval_SaveThread();
  for (i = 0; i < 10; i++) {
    CHECK_OK(selv_cache_run(c, fork_in_a_job, &keep, SELV_FOREVER, &outcome));
    CHECK_OK(outcome.status);
    check_child(forked_child);
  }
  CHECK_EQ_U64(py_number_of(c, hook, "1"), 1);
  CHECK_EQ_U64(probe_stats(c).threads_lost, 0);
  PyEval_RestoreThread(main_state);
  close_python();
}

static void from_a_job_kept(void) { from_a_job(SELV_HOOK_FORK_KEEP); }
static void from_a_job_not_kept(void) { from_a_job(0); }

static int stop = 0;

static int32_t keep_python_busy(void *arg, void **out_value) {
  py_part *part = (py_part *)arg;
  while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) CHECK_EQ_U64(py_part_run(part, out_value), 0);
  return 0;
}

static void from_main_in_a_storm(void) {
  enum { BUSY = 3 };
  py_part parts[BUSY];
  selv_job *jobs[BUSY];
  selv_outcome outcome;
  PyThreadState *main_state;
  uint64_t forks = check_scaled(40), i;
  open_python(SELV_HOOK_FORK_KEEP);
  for (i = 0; i < BUSY; i++) {
    selv_job_options options = SELV_JOB_OPTIONS_INIT;
    memset(&parts[i], 0, sizeof parts[i]);
    parts[i].hook = hook;
    parts[i].expression = "sum(range(50)) + (time.sleep(0.0002) or 0)";
    options.fn = keep_python_busy;
    options.arg = &parts[i];
    CHECK_OK(selv_cache_submit(c, &options, &jobs[i]));
  }
  for (i = 0; i < forks; i++) {
    uint64_t forked_at = check_now_ns();
    long pid = PY_LONG("os.fork()");
    if (pid == 0) {
      (void)PyEval_SaveThread();
      child_runs_python(forked_at);
    }
    main_state = PyEval_SaveThread();
    check_child(pid);
    PyEval_RestoreThread(main_state);
  }
  __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  main_state = PyEval_SaveThread();
  for (i = 0; i < BUSY; i++) {
    CHECK_OK(selv_job_wait(jobs[i], SELV_FOREVER, &outcome));
    CHECK_OK(outcome.status);
    selv_job_release(jobs[i]);
  }
  PyEval_RestoreThread(main_state);
  close_python();
}

/* A child that ends Python properly, its own workers attached. */
static void child_that_finalises(void) {
  PyThreadState *main_state;
  long pid;
  open_python(SELV_HOOK_FORK_KEEP);
  main_state = PyEval_SaveThread();
  CHECK_EQ_U64(py_number_of(c, hook, "1"), 1);
  PyEval_RestoreThread(main_state);
  pid = PY_LONG("os.fork()");
  if (pid == 0) {
    main_state = PyEval_SaveThread();
    CHECK_EQ_U64(py_number_of(c, hook, "2"), 2);
    PyEval_RestoreThread(main_state);
    PY_FINALIZE();
    CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
    py_end_cache(c, hook);
    _exit(0);
  }
  main_state = PyEval_SaveThread();
  check_child(pid);
  PyEval_RestoreThread(main_state);
  close_python();
}

int main(void) {
  CHECK_RUN(from_a_job_kept);
  CHECK_RUN(from_a_job_not_kept);
  CHECK_RUN(from_main_in_a_storm);
  CHECK_RUN(child_that_finalises);
  return 0;
}

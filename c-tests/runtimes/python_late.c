/* Python started and registered long after the workers: they attach before their next job, at once if EAGER, and only for jobs
 * that name the hook if LAZY. */
#include "python_probe.h"

#define WORKERS 3

static selv_hook *register_late(selv_cache *c, uint32_t flags, PyThreadState **main_state) {
  selv_hook *hook;
  probe_warm(c, WORKERS);
  Py_InitializeEx(0);
  hook = py_register(c, flags, 0);
  *main_state = PyEval_SaveThread();
  return hook;
}

static void end_python(selv_hook *hook, PyThreadState *main_state) {
  PyEval_RestoreThread(main_state);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  PY_FINALIZE();
}

static void next_job_attaches(void) {
  selv_cache *c = probe_cache(0, 0);
  PyThreadState *main_state;
  selv_hook *hook = register_late(c, 0, &main_state);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 0);
  CHECK_EQ_U64(py_number_of(c, hook, "5"), 5);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 1);
  CHECK_EQ_U64(probe_stats(c).started, WORKERS);
  end_python(hook, main_state);
  py_end_cache(c, hook);
}

static void eager_attaches_the_idle(void) {
  selv_cache *c = probe_cache(0, 0);
  PyThreadState *main_state;
  selv_hook *hook = register_late(c, SELV_HOOK_EAGER, &main_state);
  CHECK_EVENTUALLY(hook_probe_stats(hook).attached == WORKERS);
  CHECK_EQ_U64(probe_stats(c).started, WORKERS);
  end_python(hook, main_state);
  py_end_cache(c, hook);
}

static void lazy_attaches_when_named(void) {
  selv_cache *c = probe_cache(0, 0);
  PyThreadState *main_state;
  selv_hook *hook = register_late(c, SELV_HOOK_LAZY, &main_state);
  py_held unnamed;
  probe named;
  selv_job_options job;
  py_held_start(c, hook, &unnamed);
  check_tally_add(&unnamed.p.go, 1);
  CHECK_WAIT(&unnamed.p.delivered, 1);
  CHECK_OK(unnamed.p.last.status);
  CHECK_STATUS(unnamed.part.began, SELV_E_WRONG_THREAD);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 0);
  probe_init(&named);
  job = probe_job(probe_run, &named);
  job.attach = &hook;
  job.attach_len = 1;
  CHECK_OK(probe_through(c, &job).status);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 1);
  end_python(hook, main_state);
  py_end_cache(c, hook);
}

int main(void) {
  CHECK_RUN(next_job_attaches);
  CHECK_RUN(eager_attaches_the_idle);
  CHECK_RUN(lazy_attaches_when_named);
  return 0;
}

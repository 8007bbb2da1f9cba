/* Py_FinalizeEx while the workers live: on the line after unregister, and with no unregister at all, where the atexit callback
 * has to see to idle workers and to busy ones that finish in time. The cache goes on without Python each time. */
#include "python_probe.h"

#define WORKERS 4

/* What must hold after Python's end: the workers are there and run jobs, and a job that wants Python hears so. */
static void check_after(selv_cache *c, selv_hook *hook) {
  probe p;
  selv_job_options job;
  selv_outcome outcome;
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, hook_probe_stats(hook).exits);
  CHECK_EQ_U64(probe_stats(c).threads_lost, 0);
  probe_init(&p);
  job = probe_job(probe_run, &p);
  CHECK_OK(probe_through(c, &job).status);
  job = probe_job(probe_never, &p);
  job.attach = &hook;
  job.attach_len = 1;
  outcome = probe_through(c, &job);
  CHECK(outcome.status == SELV_E_CLOSED || (outcome.status == SELV_E_HOOK_FAILED && outcome.code == SELV_E_CLOSED));
  CHECK_STATUS(selv_python_begin(hook), SELV_E_WRONG_THREAD);
}

static void on_the_line_after_unregister(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  main_state = PyEval_SaveThread();
  py_warm(c, hook, WORKERS);
  PyEval_RestoreThread(main_state);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  PY_FINALIZE();
  check_after(c, hook);
  py_end_cache(c, hook);
}

static void without_unregister_idle(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  Py_InitializeEx(0);
  hook = py_register(c, 0, SELV_FOREVER);
  main_state = PyEval_SaveThread();
  py_warm(c, hook, WORKERS);
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
  check_after(c, hook);
  py_end_cache(c, hook);
}

typedef struct let_go {
  selv_hook *hook;
  py_held *held;
} let_go;

/* Lets the busy worker finish once the removal has begun, which shows in an idle worker that has detached. */
static void *let_go_when_removing(void *arg) {
  let_go *l = (let_go *)arg;
  CHECK_EVENTUALLY(hook_probe_stats(l->hook).exits > 0);
  check_tally_add(&l->held->p.go, 1);
  return NULL;
}

static void without_unregister_busy(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  py_held held;
  let_go l;
  pthread_t helper;
  Py_InitializeEx(0);
  hook = py_register(c, 0, SELV_FOREVER);
  main_state = PyEval_SaveThread();
  py_warm(c, hook, WORKERS);
  py_held_start(c, hook, &held);
  held.part.expression = "20 + 3";
  CHECK_WAIT(&held.p.entered, 1);
  l.hook = hook;
  l.held = &held;
  CHECK(pthread_create(&helper, NULL, let_go_when_removing, &l) == 0);
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
  pthread_join(helper, NULL);
  CHECK_WAIT(&held.p.delivered, 1);
  CHECK_OK(held.p.last.status);
  /* Begun while Py_FinalizeEx was already waiting in its atexit callbacks: Python is whole until they are done. */
  CHECK_OK(held.part.began);
  CHECK_EQ_U64(held.part.number, 23);
  check_after(c, hook);
  py_end_cache(c, hook);
}

/* The interpreter is all that is left: the host gave its hook and its cache back before. */
static void cache_gone_first(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  main_state = PyEval_SaveThread();
  py_warm(c, hook, WORKERS);
  py_end_cache(c, hook);
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
}

int main(void) {
  CHECK_RUN(on_the_line_after_unregister);
  CHECK_RUN(without_unregister_idle);
  CHECK_RUN(without_unregister_busy);
  CHECK_RUN(cache_gone_first);
  return 0;
}

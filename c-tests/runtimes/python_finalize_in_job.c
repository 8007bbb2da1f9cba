/* Python's exit callbacks run by a job: by Py_FinalizeEx, as sys.exit does it, or by hand, as in a child of multiprocessing. They
 * wait for the other workers, not for the job's own, and the job returns. Up to 3.12 CPython's Py_FinalizeEx off the main
 * thread waits for the main thread for ever (threading._shutdown), before it comes to any exit callback. */
#include "python_probe.h"

#define OTHERS 3

/* As the preset counts; the hook's own statistics follow a moment later. */
static uint32_t others_attached(selv_hook *hook) {
  return __atomic_load_n(&((selv_python_impl *)selv_hook_user(hook))->live, __ATOMIC_SEQ_CST) - 1;
}

static int32_t runs_the_callbacks(void *arg, void **out_value) {
  selv_hook *hook = (selv_hook *)arg;
  *out_value = NULL;
  CHECK_OK(selv_python_begin(hook));
  PY_RUN("import atexit; atexit._run_exitfuncs()");
  /* The others have let go of Python, and this one is still whole. */
  CHECK_EQ_U64(others_attached(hook), 0);
  CHECK_EQ_U64(PY_LONG("6 * 7"), 42);
  CHECK_OK(selv_python_end(hook));
  CHECK_STATUS(selv_python_begin(hook), SELV_E_CLOSED);
  return 5;
}

#if PY_VERSION_HEX >= 0x030D0000
static int32_t finalizes(void *arg, void **out_value) {
  selv_hook *hook = (selv_hook *)arg;
  *out_value = NULL;
  CHECK_OK(selv_python_begin(hook));
  CHECK(Py_FinalizeEx() == 0);
  CHECK_EQ_U64(others_attached(hook), 0);
  CHECK_STATUS(selv_python_end(hook), SELV_E_CLOSED);
  return 5;
}

static int32_t finalizes_holding_the_gil(void *arg, void **out_value) {
  (void)arg;
  *out_value = NULL;
  CHECK(Py_FinalizeEx() == 0);
  return 5;
}
#endif

static void from_a_job(uint32_t flags, selv_job_fn fn) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  selv_outcome outcome;
  Py_InitializeEx(0);
  hook = py_register(c, flags, SELV_FOREVER);
  main_state = PyEval_SaveThread();
  if (flags == 0) py_warm(c, hook, OTHERS + 1);
  CHECK_OK(selv_cache_run(c, fn, hook, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(outcome.code, 5);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  if (Py_IsInitialized()) {
    PyEval_RestoreThread(main_state);
    PY_FINALIZE();
  }
  CHECK_EQ_U64(probe_stats(c).threads_lost, 0);
  py_end_cache(c, hook);
}

static void by_hand(void) { from_a_job(0, runs_the_callbacks); }
#if PY_VERSION_HEX >= 0x030D0000
static void in_a_part(void) { from_a_job(0, finalizes); }
static void in_a_job_that_holds_the_gil(void) { from_a_job(SELV_PYTHON_HOLD_GIL, finalizes_holding_the_gil); }
#endif

int main(void) {
  CHECK_RUN(by_hand);
#if PY_VERSION_HEX >= 0x030D0000
  CHECK_RUN(in_a_part);
  CHECK_RUN(in_a_job_that_holds_the_gil);
#endif
  return 0;
}

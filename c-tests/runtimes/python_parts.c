/* selv_python_begin and _end: the GIL is held between them and nowhere else, parts nest, and every misuse has a status. */
#include "python_probe.h"

static int32_t misuse(void *arg, void **out_value) {
  selv_hook *hook = (selv_hook *)arg;
  PyThreadState *ts = (PyThreadState *)selv_hook_slot(hook);
  *out_value = NULL;
  CHECK(ts != NULL);
  CHECK_STATUS(selv_python_end(hook), SELV_E_INVAL);
  CHECK_OK(selv_python_begin(hook));
  CHECK(PyThreadState_Get() == ts);
  /* Given away inside the part, by hand: end finds nothing to end. */
  CHECK(PyEval_SaveThread() == ts);
  CHECK_STATUS(selv_python_end(hook), SELV_E_INVAL);
  PyEval_RestoreThread(ts);
  CHECK_OK(selv_python_end(hook));
  CHECK_STATUS(selv_python_end(hook), SELV_E_INVAL);
  return 0;
}

static int32_t nested(void *arg, void **out_value) {
  selv_hook *hook = (selv_hook *)arg;
  PyThreadState *ts = (PyThreadState *)selv_hook_slot(hook);
  int depth;
  *out_value = NULL;
  for (depth = 0; depth < 5; depth++) CHECK_OK(selv_python_begin(hook));
  for (depth = 0; depth < 4; depth++) {
    CHECK_OK(selv_python_end(hook));
    CHECK(PyThreadState_Get() == ts); /* fatal if the GIL is gone */
  }
  CHECK_OK(selv_python_end(hook));
  CHECK(selv_python_impl_current() == NULL);
  CHECK_STATUS(selv_python_end(hook), SELV_E_INVAL);
  return 0;
}

/* An inner part reports its own exception; one that was there before it is the outer part's. */
static int32_t nested_errors(void *arg, void **out_value) {
  selv_hook *hook = (selv_hook *)arg;
  *out_value = NULL;
  CHECK_OK(selv_python_begin(hook));
  PyErr_SetString(PyExc_KeyError, "outer");
  CHECK_OK(selv_python_begin(hook));
  CHECK(PyErr_ExceptionMatches(PyExc_KeyError));
  PyErr_Clear();
  CHECK_OK(selv_python_end(hook));
  CHECK_OK(selv_python_end(hook));
  return 0;
}

static void run(selv_cache *c, selv_job_fn fn, void *arg) {
  selv_outcome outcome;
  CHECK_OK(selv_cache_run(c, fn, arg, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
}

/* Two workers take turns in parts that give the GIL away inside: only states and GIL that fit each other survive this. */
static int32_t many_parts(void *arg, void **out_value) {
  py_part *part = (py_part *)arg;
  int i;
  for (i = 0; i < 2000; i++) {
    CHECK_EQ_U64(py_part_run(part, out_value), 0);
    CHECK_EQ_U64(part->number, 1);
    CHECK_OK(part->ended);
  }
  return 0;
}

int main(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  py_part parts[3];
  selv_job *jobs[3];
  selv_outcome outcome;
  int i;
  CHECK_STATUS(selv_python_begin(NULL), SELV_E_NULL);
  CHECK_STATUS(selv_python_end(NULL), SELV_E_NULL);
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  PY_RUN("import time\ndef turn():\n  time.sleep(0)\n  return 1");
  CHECK_STATUS(selv_python_begin(hook), SELV_E_WRONG_THREAD);
  CHECK_STATUS(selv_python_end(hook), SELV_E_WRONG_THREAD);
  main_state = PyEval_SaveThread();
  run(c, misuse, hook);
  run(c, nested, hook);
  run(c, nested_errors, hook);
  for (i = 0; i < 3; i++) {
    selv_job_options options = SELV_JOB_OPTIONS_INIT;
    memset(&parts[i], 0, sizeof parts[i]);
    parts[i].hook = hook;
    parts[i].expression = "turn()";
    options.fn = many_parts;
    options.arg = &parts[i];
    CHECK_OK(selv_cache_submit(c, &options, &jobs[i]));
  }
  for (i = 0; i < 3; i++) {
    CHECK_OK(selv_job_wait(jobs[i], SELV_FOREVER, &outcome));
    CHECK_OK(outcome.status);
    selv_job_release(jobs[i]);
  }
  /* All are parked and attached now; had one kept the GIL, this would never return. */
  PyEval_RestoreThread(main_state);
  CHECK(hook_probe_stats(hook).attached > 0);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  PY_FINALIZE();
  py_end_cache(c, hook);
  return 0;
}

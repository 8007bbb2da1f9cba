/* A worker's thread state lasts from job to job: threading.local keeps its values, PyGILState_Ensure in an extension finds the
 * state, and values are destroyed on the worker itself when it detaches. */
#include "python_probe.h"

/* What an extension does that knows nothing of us. */
static int32_t like_an_extension(void *arg, void **out_value) {
  selv_hook *hook = (selv_hook *)arg;
  PyThreadState *ts = (PyThreadState *)selv_hook_slot(hook);
  PyGILState_STATE gil;
  int i;
  *out_value = NULL;
  for (i = 0; i < 3; i++) {
    gil = PyGILState_Ensure();
    CHECK(gil == PyGILState_UNLOCKED);
    CHECK(PyThreadState_Get() == ts);
    CHECK_EQ_U64(PY_LONG("1 + 1"), 2);
    PyGILState_Release(gil);
  }
  CHECK_OK(selv_python_begin(hook));
  gil = PyGILState_Ensure();
  CHECK(gil == PyGILState_LOCKED);
  CHECK(PyThreadState_Get() == ts);
  PyGILState_Release(gil);
  CHECK_OK(selv_python_end(hook));
  CHECK(PyGILState_GetThisThreadState() == ts);
  return 0;
}

int main(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  selv_outcome outcome;
  int i;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  PY_RUN("import threading\n"
         "kept = threading.local()\n"
         "ended_on = []\n"
         "class Value:\n"
         "  def __init__(self): self.thread, self.count = threading.get_ident(), 0\n"
         "  def __del__(self): ended_on.append((self.thread, threading.get_ident()))\n"
         "def count():\n"
         "  if not hasattr(kept, 'value'): kept.value = Value()\n"
         "  kept.value.count += 1\n"
         "  return kept.value.count\n");
  main_state = PyEval_SaveThread();
  for (i = 1; i <= 5; i++) CHECK_EQ_U64(py_number_of(c, hook, "count()"), i);
  CHECK_OK(selv_cache_run(c, like_an_extension, hook, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(py_number_of(c, hook, "count()"), 6);
  CHECK_EQ_U64(probe_stats(c).started, 1);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 1);
  PyEval_RestoreThread(main_state);
  CHECK_EQ_U64(PY_LONG("len(ended_on)"), 0);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  CHECK_EQ_U64(PY_LONG("len(ended_on)"), 1);
  CHECK_EQ_U64(PY_LONG("ended_on[0][0] == ended_on[0][1] != threading.get_ident()"), 1);
  PY_FINALIZE();
  py_end_cache(c, hook);
  return 0;
}

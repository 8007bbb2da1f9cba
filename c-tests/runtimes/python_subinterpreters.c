/* A hook for a sub-interpreter: refused before CPython 3.12; from there on its workers run in it, with the GIL shared or its
 * own, and Py_EndInterpreter finds them gone. */
#include "python_probe.h"

static void register_in_another_interpreter(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook = NULL;
  PyThreadState *main_state, *sub;
  selv_status status;
  Py_InitializeEx(0);
  main_state = PyThreadState_Get();
  sub = Py_NewInterpreter();
  CHECK(sub != NULL);
  PyThreadState_Swap(main_state);
  status = selv_python_register(c, PyThreadState_GetInterpreter(sub), NULL, &hook);
#if PY_VERSION_HEX < 0x030C0000
  CHECK_STATUS(status, SELV_E_UNSUPPORTED);
#else
  CHECK_STATUS(status, SELV_E_INVAL);
#endif
  CHECK(hook == NULL);
  PyThreadState_Swap(sub);
#if PY_VERSION_HEX < 0x030C0000
  CHECK(selv_python_register(c, PyThreadState_GetInterpreter(sub), NULL, &hook) == SELV_E_UNSUPPORTED);
  CHECK(selv_python_register(c, NULL, NULL, &hook) != SELV_OK);
  CHECK(hook == NULL);
#endif
  Py_EndInterpreter(sub);
  PyThreadState_Swap(main_state);
  PY_FINALIZE();
  probe_end(c);
}

#if PY_VERSION_HEX >= 0x030C0000
static PyThreadState *new_interpreter(int own_gil) {
  PyThreadState *sub = NULL;
  PyInterpreterConfig config;
  memset(&config, 0, sizeof config);
  config.check_multi_interp_extensions = own_gil;
  config.use_main_obmalloc = !own_gil;
  config.allow_threads = 1;
  config.allow_fork = !own_gil;
  config.allow_exec = !own_gil;
  config.allow_daemon_threads = !own_gil;
  config.gil = own_gil ? PyInterpreterConfig_OWN_GIL : PyInterpreterConfig_SHARED_GIL;
  CHECK(!PyStatus_Exception(Py_NewInterpreterFromConfig(&sub, &config)));
  CHECK(sub != NULL);
  return sub;
}

static void workers_in_it(int own_gil, int unregister) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state, *sub;
  Py_InitializeEx(0);
  main_state = PyThreadState_Get();
  PY_RUN("where = 1");
  sub = new_interpreter(own_gil);
  PY_RUN("where = 2");
  hook = py_register(c, 0, SELV_FOREVER);
  CHECK(PyEval_SaveThread() == sub);
  py_warm(c, hook, 3);
  CHECK_EQ_U64(py_number_of(c, hook, "where"), 2);
  PyEval_RestoreThread(sub);
  if (unregister) CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  Py_EndInterpreter(sub);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
  PyEval_RestoreThread(main_state);
  CHECK_EQ_U64(PY_LONG("where"), 1);
  PY_FINALIZE();
  py_end_cache(c, hook);
}

static void shared_gil(void) { workers_in_it(0, 1); }
static void shared_gil_without_unregister(void) { workers_in_it(0, 0); }
static void own_gil(void) { workers_in_it(1, 1); }
static void own_gil_without_unregister(void) { workers_in_it(1, 0); }
#endif

int main(void) {
  CHECK_RUN(register_in_another_interpreter);
#if PY_VERSION_HEX >= 0x030C0000
  CHECK_RUN(shared_gil);
  CHECK_RUN(shared_gil_without_unregister);
  CHECK_RUN(own_gil);
  CHECK_RUN(own_gil_without_unregister);
#endif
  return 0;
}

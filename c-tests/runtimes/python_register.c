/* What selv_python_register refuses, and that a refusal leaves nothing behind: bad arguments, threads that are not attached,
 * `threading` about to be imported on a wrong thread, an exception on the way. */
#include "python_probe.h"

static selv_cache *c;

/* Without `site`, which may import anything at all (a .pth file is enough), `threading` too. */
static void open_bare(void) {
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.install_signal_handlers = 0;
  config.site_import = 0;
  CHECK(!PyStatus_Exception(Py_InitializeFromConfig(&config)));
  PyConfig_Clear(&config);
  CHECK_EQ_U64(PY_LONG("'threading' in __import__('sys').modules"), 0);
}

static void bad_arguments(void) {
  selv_python_options options = SELV_PYTHON_OPTIONS_INIT;
  selv_hook *hook = (selv_hook *)&options;
  struct {
    selv_python_options known;
    uint64_t tail;
  } longer;
  CHECK_STATUS(selv_python_register(c, NULL, NULL, &hook), SELV_E_WRONG_THREAD); /* no Python yet */
  CHECK(hook == NULL);
  open_bare();
  CHECK_STATUS(selv_python_register(NULL, NULL, NULL, &hook), SELV_E_NULL);
  CHECK_STATUS(selv_python_register(c, NULL, NULL, NULL), SELV_E_NULL);
  options.flags = 0x40000000u;
  CHECK_STATUS(selv_python_register(c, NULL, &options, &hook), SELV_E_INVAL);
  options.flags = SELV_HOOK_HOLDS_GIL; /* HOLD_GIL sets it; alone it would be a lie */
  CHECK_STATUS(selv_python_register(c, NULL, &options, &hook), SELV_E_INVAL);
  options.flags = 0;
  options.struct_size = 4;
  CHECK_STATUS(selv_python_register(c, NULL, &options, &hook), SELV_E_INVAL);
  memset(&longer, 0, sizeof longer);
  longer.known.struct_size = sizeof longer;
  longer.tail = 1;
  CHECK_STATUS(selv_python_register(c, NULL, &longer.known, &hook), SELV_E_UNSUPPORTED);
  CHECK(hook == NULL);
  PY_RUN("import atexit");
  CHECK_EQ_U64(PY_LONG("'threading' in __import__('sys').modules"), 0);
  CHECK_EQ_U64(PY_LONG("atexit._ncallbacks()"), 0);
  longer.tail = 0;
  CHECK_OK(selv_python_register(c, NULL, &longer.known, &hook));
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  selv_hook_release(hook);
  options.struct_size = 8; /* a version that knew nothing but flags */
  CHECK_OK(selv_python_register(c, NULL, &options, &hook));
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  selv_hook_release(hook);
  PY_FINALIZE();
}

static void detached(void) {
  selv_hook *hook = NULL;
  PyThreadState *main_state;
  Py_InitializeEx(0);
  main_state = PyEval_SaveThread();
  CHECK_STATUS(selv_python_register(c, NULL, NULL, &hook), SELV_E_WRONG_THREAD);
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
}

static selv_status status_elsewhere;
static selv_hook *hook_elsewhere;

static void *register_elsewhere(void *arg) {
  PyGILState_STATE gil = PyGILState_Ensure();
  (void)arg;
  status_elsewhere = selv_python_register(c, NULL, NULL, &hook_elsewhere);
  PyGILState_Release(gil);
  return NULL;
}

static void run_elsewhere(void) {
  pthread_t thread;
  Py_BEGIN_ALLOW_THREADS
  CHECK(pthread_create(&thread, NULL, register_elsewhere, NULL) == 0);
  pthread_join(thread, NULL);
  Py_END_ALLOW_THREADS
}

static void threading_on_another_thread(void) {
  open_bare();
  run_elsewhere();
  CHECK_STATUS(status_elsewhere, SELV_E_WRONG_THREAD);
  CHECK_EQ_U64(PY_LONG("'threading' in __import__('sys').modules"), 0);
  PY_RUN("import threading");
  run_elsewhere();
  CHECK_OK(status_elsewhere);
  Py_BEGIN_ALLOW_THREADS
  CHECK_EQ_U64(py_number_of(c, hook_elsewhere, "8"), 8);
  Py_END_ALLOW_THREADS
  PY_FINALIZE();
  CHECK_EQ_U64(hook_probe_stats(hook_elsewhere).attached, 0);
  selv_hook_release(hook_elsewhere);
}

static void python_raises(void) {
  selv_hook *hook = NULL;
  Py_InitializeEx(0);
  PY_RUN("import sys, threading, atexit\nsys.modules['atexit'] = None");
  CHECK_STATUS(selv_python_register(c, NULL, NULL, &hook), SELV_E_HOOK_FAILED);
  CHECK(hook == NULL);
  CHECK(PyErr_ExceptionMatches(PyExc_ImportError));
  PyErr_Clear();
  PY_RUN("sys.modules['atexit'] = atexit");
  PY_FINALIZE();
}

/* Somebody clears atexit's list. Python's end then finds its workers where they are, and still nobody touches it after. */
static void atexit_cleared(void) {
  selv_hook *hook;
  PyThreadState *main_state;
  py_held held;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  main_state = PyEval_SaveThread();
  py_held_start(c, hook, &held);
  CHECK_WAIT(&held.p.entered, 1);
  PyEval_RestoreThread(main_state);
  PY_RUN("import atexit; atexit._clear()");
  PY_FINALIZE();
  check_tally_add(&held.p.go, 1);
  CHECK_WAIT(&held.p.delivered, 1);
  CHECK_OK(held.p.last.status);
  CHECK_STATUS(held.part.began, SELV_E_CLOSED);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  selv_hook_release(hook);
}

int main(void) {
  c = probe_cache(0, 0);
  CHECK_RUN(bad_arguments);
  CHECK_RUN(detached);
  CHECK_RUN(threading_on_another_thread);
  CHECK_RUN(python_raises);
  CHECK_RUN(atexit_cleared);
  CHECK_EQ_U64(probe_stats(c).threads_lost, 0);
  probe_end(c);
  return 0;
}

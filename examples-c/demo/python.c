/* python.c: CPython. A job's Python part stands between selv_python_begin and _end; outside it the worker holds no GIL. */
#include <selvedge/python.h>

#include "config.h"
#include "runtime.h"

/* The Python part of a job: a function of its own, so that a job runs Python code as real ones do. */
static const char source[] =
    "import zlib\n"
    "def crc32(data):\n"
    "    return zlib.crc32(data)\n";

static PyObject *crc32;            /* that function */
static PyThreadState *main_thread; /* the main thread's state, set aside while it does not hold the GIL */

static int tell(PyStatus status) {
  fprintf(stderr, "demo: CPython did not start: %s\n", status.err_msg != NULL ? status.err_msg : "it gave no reason");
  return -1;
}

static PyObject *make_crc32(void) {
  PyObject *names = PyDict_New(), *done = NULL, *made = NULL;
  if (names != NULL && PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins()) == 0)
    done = PyRun_String(source, Py_file_input, names, names);
  if (done != NULL) made = PyDict_GetItemString(names, "crc32");
  Py_XINCREF(made);
  Py_XDECREF(done);
  Py_XDECREF(names);
  return made;
}

static int start(void) {
  PyConfig config;
  PyStatus status;
  /* Isolated: neither PYTHONHOME nor PYTHONPATH of the caller may send it to the files of another version. */
  PyConfig_InitIsolatedConfig(&config);
  config.install_signal_handlers = 0;
  config.site_import = 0;
  status = PyConfig_SetBytesString(&config, &config.program_name, DEMO_PYTHON_EXECUTABLE);
  if (!PyStatus_Exception(status) && DEMO_PYTHON_HOME[0] != '\0')
    status = PyConfig_SetBytesString(&config, &config.home, DEMO_PYTHON_HOME);
  if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  if (PyStatus_Exception(status)) return tell(status);
  crc32 = make_crc32();
  if (crc32 == NULL) {
    PyErr_Print();
    return -1;
  }
  /* Main only waits from now on, and whoever waits must not hold the GIL: the jobs need it. */
  main_thread = PyEval_SaveThread();
  return 0;
}

static selv_status add_hooks(selv_cache *cache, selv_hook **out_hook) {
  selv_status status;
  PyEval_RestoreThread(main_thread);
  status = selv_python_register(cache, NULL, NULL, out_hook);
  if (PyErr_Occurred()) PyErr_Print();
  main_thread = PyEval_SaveThread();
  return status;
}

static selv_status remove_hooks(selv_hook *hook, uint64_t timeout_ns) {
  selv_status status;
  PyEval_RestoreThread(main_thread);
  status = selv_python_unregister(hook, timeout_ns, NULL);
  main_thread = PyEval_SaveThread();
  return status;
}

/* With the GIL. The memory is lent, not copied. A Python exception is left for the caller. */
static int call_crc32(const void *data, size_t length, uint32_t *out_crc) {
  PyObject *view = PyMemoryView_FromMemory((char *)(uintptr_t)data, (Py_ssize_t)length, PyBUF_READ);
  PyObject *number = view != NULL ? PyObject_CallOneArg(crc32, view) : NULL;
  if (number != NULL) *out_crc = (uint32_t)PyLong_AsUnsignedLongMask(number);
  Py_XDECREF(number);
  Py_XDECREF(view);
  return PyErr_Occurred() ? -1 : 0;
}

static int crc(selv_hook *hook, const void *data, size_t length, uint32_t *out_crc) {
  int failed;
  selv_status status = selv_python_begin(hook);
  if (status != SELV_OK) {
    fprintf(stderr, "demo: selv_python_begin: %s\n", selv_status_name(status));
    return -1;
  }
  failed = call_crc32(data, length, out_crc);
  /* Prints the exception, if there is one. */
  return selv_python_end(hook) == SELV_OK ? failed : -1;
}

static int crc_by_itself(const void *data, size_t length, uint32_t *out_crc) {
  PyGILState_STATE state = PyGILState_Ensure();
  int failed = call_crc32(data, length, out_crc);
  if (failed) PyErr_Print();
  PyGILState_Release(state);
  return failed;
}

static int stop(void) {
  PyEval_RestoreThread(main_thread);
  Py_CLEAR(crc32);
  return Py_FinalizeEx();
}

const runtime runtime_python = {
  "python", "CPython " DEMO_PYTHON, NULL, "PyGILState_Ensure and _Release", "Py_FinalizeEx", 1,
  start, add_hooks, remove_hooks, crc, crc_by_itself, stop,
};

/* python.c: CPython, the module `ring` for pricing.py, and a thread for its event loop. Whatever may wait gives the GIL up first; a
 * completion comes on the thread that let go of the lock, and takes the GIL there. */
#include <Python.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "ring.h"
#include "tasks.h"

#define WHO "pricing (Python)"

static PyThreadState *main_thread; /* set aside while the main thread does not hold the GIL */
static pthread_t thread;
static selv_task task;
static int failed;

/* ---- the module ---- */

static PyObject *raise_refusal(selv_status status) {
  char detail[512];
  selv_last_error(detail, sizeof detail);
  PyErr_SetString(PyExc_RuntimeError, detail[0] != '\0' ? detail : selv_status_text(status));
  return NULL;
}

static int read_lock(PyObject *args, const char *format, int *which, PyObject **fn) {
  if (!PyArg_ParseTuple(args, format, which, fn)) return -1;
  if (*which >= 0 && *which < RING_LOCKS) return 0;
  PyErr_SetString(PyExc_ValueError, "no such lock");
  return -1;
}

static void complete(void *arg, const selv_completed *c) {
  PyObject *fn = (PyObject *)arg, *result;
  PyGILState_STATE gil;
  char detail[512];
  selv_last_error(detail, sizeof detail);
  gil = PyGILState_Ensure();
  result = c->status == SELV_OK ? PyObject_CallFunctionObjArgs(fn, Py_None, NULL) : PyObject_CallFunction(fn, "s", detail);
  if (result == NULL) PyErr_WriteUnraisable(fn);
  Py_XDECREF(result);
  Py_DECREF(fn);
  PyGILState_Release(gil);
}

/* True: the lock is not free, and fn(None), or fn(reason) if it is not to be had, will be called. */
static PyObject *acquire(PyObject *self, PyObject *args) {
  selv_completion completion;
  selv_status status;
  PyObject *fn;
  int which;
  (void)self;
  if (read_lock(args, "iO:acquire", &which, &fn) != 0) return NULL;
  memset(&completion, 0, sizeof completion);
  completion.fn = complete;
  completion.arg = fn;
  Py_INCREF(fn);
  ring_say(WHO, "wants", ring[which].name);
  status = selv_lock_acquire_async(ring[which].lock, task, &completion, NULL);
  if (status == SELV_PENDING) Py_RETURN_TRUE;
  Py_DECREF(fn);
  if (status == SELV_OK) Py_RETURN_FALSE;
  return raise_refusal(status);
}

static PyObject *has(PyObject *self, PyObject *args) {
  int which;
  (void)self;
  if (read_lock(args, "i:has", &which, NULL) != 0) return NULL;
  ring_say(WHO, "has", ring[which].name);
  Py_RETURN_NONE;
}

/* Waits for nobody; whom it lets go on has its completion here, with the GIL or without. */
static PyObject *release(PyObject *self, PyObject *args) {
  selv_status status;
  int which;
  (void)self;
  if (read_lock(args, "i:release", &which, NULL) != 0) return NULL;
  status = ring_release(WHO, which, task);
  if (status != SELV_OK) return raise_refusal(status);
  Py_RETURN_NONE;
}

static PyObject *move(PyObject *self, PyObject *args) {
  int from, to;
  (void)self;
  if (!PyArg_ParseTuple(args, "ii:move", &from, &to)) return NULL;
  ring_move(WHO, from, to);
  Py_RETURN_NONE;
}

static PyObject *say(PyObject *self, PyObject *args) {
  const char *does, *what;
  (void)self;
  if (!PyArg_ParseTuple(args, "ss:say", &does, &what)) return NULL;
  ring_say(WHO, does, what);
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
  { "acquire", acquire, METH_VARARGS, NULL }, { "has", has, METH_VARARGS, NULL },   { "release", release, METH_VARARGS, NULL },
  { "move", move, METH_VARARGS, NULL },       { "say", say, METH_VARARGS, NULL }, { NULL, NULL, 0, NULL },
};

static PyModuleDef definition = { PyModuleDef_HEAD_INIT, "ring", NULL, -1, methods, NULL, NULL, NULL, NULL };

static PyObject *make_module(void) {
  PyObject *module = PyModule_Create(&definition);
  if (module == NULL) return NULL;
  if (PyModule_AddIntConstant(module, "PRICES", PRICES) == 0 && PyModule_AddIntConstant(module, "STOCK", STOCK) == 0) return module;
  Py_DECREF(module);
  return NULL;
}

/* ---- the interpreter ---- */

static int start_python(void) {
  PyConfig config;
  PyStatus status;
  if (PyImport_AppendInittab("ring", make_module) != 0) return -1;
  /* Isolated: neither PYTHONHOME nor PYTHONPATH of the caller may send it to the files of another version. */
  PyConfig_InitIsolatedConfig(&config);
  config.install_signal_handlers = 0;
  config.site_import = 0;
  status = PyConfig_SetBytesString(&config, &config.program_name, DEADLOCK_PYTHON);
  if (!PyStatus_Exception(status) && DEADLOCK_PYTHON_HOME[0] != '\0')
    status = PyConfig_SetBytesString(&config, &config.home, DEADLOCK_PYTHON_HOME);
  if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  if (!PyStatus_Exception(status)) return 0;
  fprintf(stderr, "deadlock: CPython did not start: %s\n", status.err_msg != NULL ? status.err_msg : "it gave no reason");
  return -1;
}

static void *run(void *unused) {
  PyGILState_STATE gil = PyGILState_Ensure();
  FILE *file = fopen(DEADLOCK_PRICING, "rb");
  (void)unused;
  if (file == NULL) {
    perror(DEADLOCK_PRICING);
    failed = 1;
  } else { /* prints the traceback itself, and closes the file */
    failed = PyRun_SimpleFileEx(file, DEADLOCK_PRICING, 1) != 0;
  }
  PyGILState_Release(gil);
  return NULL;
}

int python_begin(void) {
  selv_status status = selv_task_new(WHO, &task);
  if (status != SELV_OK) return ring_complain("selv_task_new", status);
  if (start_python() != 0) return -1;
  main_thread = PyEval_SaveThread();
  if (pthread_create(&thread, NULL, run, NULL) == 0) return 0;
  fprintf(stderr, "deadlock: no thread for Python\n");
  return -1;
}

int python_end(void) {
  selv_task_report report = SELV_TASK_REPORT_INIT;
  selv_status status;
  pthread_join(thread, NULL);
  status = selv_task_exit(task, &report);
  if (status != SELV_OK) return ring_complain("selv_task_exit", status);
  if (report.locks_broken != 0) {
    fprintf(stderr, "deadlock: the Python task ended with a lock in hand\n");
    failed = 1;
  }
  PyEval_RestoreThread(main_thread);
  if (Py_FinalizeEx() != 0) failed = 1;
  return failed ? -1 : 0;
}

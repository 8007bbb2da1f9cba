/* guest.c: what a host does for Trio. The module `host` queues Trio's calls into the host's loop, and runs Trio's blocking functions and
 * its polls on the cache's workers. Trio does the rest: its guest mode needs no more than these two (guest.py puts them in place). */
#include <selvedge/python.h>

#include "guest.h"

#include "counts.h"
#include "java.h"

static selv_host_loop *loop;
static selv_cache *cache;
static selv_hook *hook;
static PyThreadState *main_thread; /* set aside: the main thread has the GIL only while it runs Python */
static PyObject *capture, *error_of; /* outcome.capture and outcome.Error */
static void (*when_done)(void);
static int failed;

static PyObject *none_or_error(const char *what, selv_status status) {
  char detail[512];
  if (status == SELV_OK) Py_RETURN_NONE;
  selv_last_error(detail, sizeof detail);
  return PyErr_Format(PyExc_RuntimeError, "%s: %s: %s", what, selv_status_name(status), detail);
}

/* ---- host.call_soon(fn): from any thread, to the loop's ---- */

/* Nobody is there to raise to. */
static void call(void *arg) {
  PyObject *fn = (PyObject *)arg, *result;
  PyGILState_STATE gil = PyGILState_Ensure();
  counts_add(COUNTS_TURN);
  result = PyObject_CallNoArgs(fn);
  if (result == NULL) PyErr_WriteUnraisable(fn);
  Py_XDECREF(result);
  Py_DECREF(fn);
  PyGILState_Release(gil);
}

/* The loop was closed before the call's turn came. */
static void drop(void *arg) {
  PyGILState_STATE gil = PyGILState_Ensure();
  Py_DECREF((PyObject *)arg);
  PyGILState_Release(gil);
}

static PyObject *call_soon(PyObject *self, PyObject *fn) {
  selv_status status;
  (void)self;
  Py_INCREF(fn);
  status = selv_host_loop_call_soon(loop, call, fn, drop, 0);
  if (status != SELV_OK) Py_DECREF(fn);
  return none_or_error("selv_host_loop_call_soon", status);
}

/* ---- host.start_thread_soon(fn, deliver, name): deliver(outcome of fn), on a worker that is ready for the next ---- */

typedef struct job {
  PyObject *fn, *deliver, *outcome;
  int is_poll;
} job;

static int32_t run(void *arg, void **out_value) {
  job *j = (job *)arg;
  selv_status status = selv_python_begin(hook);
  (void)out_value;
  if (status != SELV_OK) return status;
  if (j->is_poll) counts_add(COUNTS_POLL);
  j->outcome = PyObject_CallFunctionObjArgs(capture, j->fn, NULL);
  Py_CLEAR(j->fn);
  return selv_python_end(hook);
}

/* For a job that did not run. */
static PyObject *refusal(selv_status status) {
  PyObject *error = PyObject_CallFunction(PyExc_RuntimeError, "s", selv_status_text(status));
  PyObject *outcome = error != NULL ? PyObject_CallFunctionObjArgs(error_of, error, NULL) : NULL;
  Py_XDECREF(error);
  return outcome;
}

static void deliver(void *arg, const selv_outcome *outcome) {
  job *j = (job *)arg;
  PyGILState_STATE gil = PyGILState_Ensure();
  PyObject *result = NULL;
  if (j->outcome == NULL) j->outcome = refusal(outcome->status != SELV_OK ? outcome->status : (selv_status)outcome->code);
  if (j->outcome != NULL) result = PyObject_CallFunctionObjArgs(j->deliver, j->outcome, NULL);
  if (result == NULL) PyErr_WriteUnraisable(j->deliver);
  Py_XDECREF(result);
  Py_XDECREF(j->fn);
  Py_XDECREF(j->outcome);
  Py_DECREF(j->deliver);
  PyMem_Free(j);
  PyGILState_Release(gil);
}

static PyObject *start_thread_soon(PyObject *self, PyObject *args) {
  PyObject *fn, *deliver_fn;
  const char *name = NULL;
  selv_status status;
  job *j;
  (void)self;
  if (!PyArg_ParseTuple(args, "OO|z:start_thread_soon", &fn, &deliver_fn, &name)) return NULL;
  j = (job *)PyMem_Calloc(1, sizeof *j);
  if (j == NULL) return PyErr_NoMemory();
  Py_INCREF(fn);
  Py_INCREF(deliver_fn);
  j->fn = fn;
  j->deliver = deliver_fn;
  j->is_poll = name == NULL; /* Trio names what it runs for others */
  status = selv_start_thread_soon(cache, run, deliver, j, j->is_poll ? "Trio's poll" : name);
  if (status != SELV_OK) {
    Py_DECREF(fn);
    Py_DECREF(deliver_fn);
    PyMem_Free(j);
  }
  return none_or_error("selv_start_thread_soon", status);
}

/* ---- what guest.py needs besides ---- */

/* Java is called with the GIL given up, as whatever may take its time. */
static PyObject *quote(PyObject *self, PyObject *args) {
  const char *item;
  char text[256];
  int told;
  (void)self;
  if (!PyArg_ParseTuple(args, "s:quote", &item)) return NULL;
  Py_BEGIN_ALLOW_THREADS
  told = java_quote(item, text, sizeof text);
  if (told == 0) counts_say("%s", text);
  Py_END_ALLOW_THREADS
  if (told == 0) return PyUnicode_FromString(text);
  PyErr_SetString(PyExc_RuntimeError, "Java has no quote");
  return NULL;
}

static PyObject *say(PyObject *self, PyObject *args) {
  const char *text;
  (void)self;
  if (!PyArg_ParseTuple(args, "s:say", &text)) return NULL;
  counts_say("%s", text);
  Py_RETURN_NONE;
}

static PyObject *done(PyObject *self, PyObject *args) {
  int good;
  (void)self;
  if (!PyArg_ParseTuple(args, "p:done", &good)) return NULL;
  failed = !good;
  when_done();
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
  { "call_soon", call_soon, METH_O, NULL }, { "start_thread_soon", start_thread_soon, METH_VARARGS, NULL },
  { "quote", quote, METH_VARARGS, NULL },   { "say", say, METH_VARARGS, NULL },
  { "done", done, METH_VARARGS, NULL },     { NULL, NULL, 0, NULL },
};

static PyModuleDef definition = { PyModuleDef_HEAD_INIT, "host", NULL, -1, methods, NULL, NULL, NULL, NULL };

static PyObject *make_module(void) { return PyModule_Create(&definition); }

/* ---- the interpreter ---- */

static int start_python(void) {
  PyConfig config;
  PyStatus status;
  if (PyImport_AppendInittab("host", make_module) != 0) return -1;
  /* Isolated: neither PYTHONHOME nor PYTHONPATH of the caller may send it to the files of another version. */
  PyConfig_InitIsolatedConfig(&config);
  config.install_signal_handlers = 0;
  config.site_import = 0;
  status = PyConfig_SetBytesString(&config, &config.program_name, TRIO_GUEST_PYTHON);
  if (!PyStatus_Exception(status) && TRIO_GUEST_PYTHON_HOME[0] != '\0')
    status = PyConfig_SetBytesString(&config, &config.home, TRIO_GUEST_PYTHON_HOME);
  if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  if (!PyStatus_Exception(status)) return 0;
  fprintf(stderr, "trio_guest: CPython did not start: %s\n", status.err_msg != NULL ? status.err_msg : "it gave no reason");
  return -1;
}

static int find_trio(void) {
  PyObject *entry = PyUnicode_DecodeFSDefault(TRIO_GUEST_PACKAGES), *outcome = NULL;
  if (entry != NULL && PyList_Insert(PySys_GetObject("path"), 0, entry) == 0) outcome = PyImport_ImportModule("outcome");
  Py_XDECREF(entry);
  if (outcome != NULL) {
    capture = PyObject_GetAttrString(outcome, "capture");
    error_of = PyObject_GetAttrString(outcome, "Error");
    Py_DECREF(outcome);
  }
  if (capture != NULL && error_of != NULL) return 0;
  PyErr_Print();
  return -1;
}

int guest_start(selv_cache *of) {
  selv_status status;
  cache = of;
  if (start_python() != 0 || find_trio() != 0) return -1;
  status = selv_python_register(cache, NULL, NULL, &hook);
  main_thread = PyEval_SaveThread();
  return status == SELV_OK ? 0 : counts_complain("selv_python_register", status);
}

int guest_begin(selv_host_loop *on, void (*then)(void)) {
  FILE *file = fopen(TRIO_GUEST_SCRIPT, "rb");
  loop = on;
  when_done = then;
  if (file == NULL) {
    perror(TRIO_GUEST_SCRIPT);
    return -1;
  }
  PyEval_RestoreThread(main_thread);
  failed = PyRun_SimpleFileEx(file, TRIO_GUEST_SCRIPT, 1) != 0; /* prints the traceback itself, and closes the file */
  main_thread = PyEval_SaveThread();
  return failed ? -1 : 0;
}

int guest_end(void) {
  selv_status status;
  PyEval_RestoreThread(main_thread);
  Py_CLEAR(capture);
  Py_CLEAR(error_of);
  status = selv_python_unregister(hook, SELV_FOREVER, NULL);
  if (status != SELV_OK) return counts_complain("selv_python_unregister", status);
  selv_hook_release(hook);
  if (Py_FinalizeEx() != 0) failed = 1;
  return failed ? -1 : 0;
}

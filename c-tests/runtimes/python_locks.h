/* python_locks.h: the module `selv`, which gives the Python halves of the lock tests (in python/) Selvedge's tasks and locks as plain
 * numbers, and the embedding around it. Whatever may wait gives the GIL up first; a completion takes it on whichever thread
 * completes. An error is selv.Error(status name, selv_last_error). */
#ifndef SELV_C_TESTS_PYTHON_LOCKS_H
#define SELV_C_TESTS_PYTHON_LOCKS_H

#include "python_probe.h"

#include "lock_grants.h"

typedef unsigned long long py_number; /* what "K" reads */

static PyObject *py_selv_error;

static inline selv_lock *py_lock_of(py_number handle) { return (selv_lock *)(uintptr_t)handle; }

/* None, or the exception. On the thread of the failed call, before it makes another. */
static inline PyObject *py_none_or_error(selv_status status) {
  char detail[1024];
  PyObject *args;
  if (status >= 0) Py_RETURN_NONE;
  selv_last_error(detail, sizeof detail);
  args = Py_BuildValue("(ss)", selv_status_name(status), detail);
  if (args != NULL) PyErr_SetObject(py_selv_error, args);
  Py_XDECREF(args);
  return NULL;
}

/* ---- tasks ---- */

static PyObject *py_task_new(PyObject *self, PyObject *args) {
  const char *name;
  selv_task task;
  selv_status status;
  (void)self;
  if (!PyArg_ParseTuple(args, "s", &name)) return NULL;
  status = selv_task_new(name, &task);
  return status == SELV_OK ? PyLong_FromUnsignedLongLong(task) : py_none_or_error(status);
}

/* Called before selv_task_exit returns, so on this thread and with the GIL. */
static void py_task_exit_item(void *arg, uint32_t what, const char *name) {
  PyObject *item = Py_BuildValue("(Is)", (unsigned)what, name);
  CHECK(item != NULL && PyList_Append((PyObject *)arg, item) == 0);
  Py_DECREF(item);
}

/* What the task left behind, as a list of (what, name of the object). */
static PyObject *py_task_exit(PyObject *self, PyObject *args) {
  selv_task_report report = SELV_TASK_REPORT_INIT;
  py_number task;
  PyObject *items;
  selv_status status;
  (void)self;
  if (!PyArg_ParseTuple(args, "K", &task)) return NULL;
  items = PyList_New(0);
  if (items == NULL) return NULL;
  report.each = py_task_exit_item;
  report.arg = items;
  status = selv_task_exit((selv_task)task, &report);
  if (status == SELV_OK) return items;
  Py_DECREF(items);
  return py_none_or_error(status);
}

static PyObject *py_task_current(PyObject *self, PyObject *unused) {
  (void)self;
  (void)unused;
  return PyLong_FromUnsignedLongLong(selv_task_current());
}

static PyObject *py_task_enter(PyObject *self, PyObject *args) {
  py_number task;
  selv_task previous;
  selv_status status;
  (void)self;
  if (!PyArg_ParseTuple(args, "K", &task)) return NULL;
  status = selv_task_enter((selv_task)task, &previous);
  return status == SELV_OK ? PyLong_FromUnsignedLongLong(previous) : py_none_or_error(status);
}

/* ---- locks ---- */

static PyObject *py_lock_new(PyObject *self, PyObject *args) {
  const char *name;
  unsigned flags = 0;
  (void)self;
  if (!PyArg_ParseTuple(args, "s|I", &name, &flags)) return NULL;
  return PyLong_FromVoidPtr(lock_named(name, flags));
}

static PyObject *py_lock_free(PyObject *self, PyObject *args) {
  py_number lock;
  (void)self;
  if (!PyArg_ParseTuple(args, "K", &lock)) return NULL;
  return py_none_or_error(selv_lock_free(py_lock_of(lock)));
}

static PyObject *py_lock_owner(PyObject *self, PyObject *args) {
  py_number lock;
  (void)self;
  if (!PyArg_ParseTuple(args, "K", &lock)) return NULL;
  return PyLong_FromUnsignedLongLong(selv_lock_owner(py_lock_of(lock)));
}

static PyObject *py_lock_waiting(PyObject *self, PyObject *args) {
  py_number lock;
  (void)self;
  if (!PyArg_ParseTuple(args, "K", &lock)) return NULL;
  return PyLong_FromUnsignedLongLong(lock_waiting(py_lock_of(lock)));
}

typedef selv_status (*py_lock_call)(selv_lock *l, selv_task task);

static inline PyObject *py_call_lock(py_lock_call call, PyObject *args) {
  py_number lock, task = SELV_TASK_CURRENT;
  if (!PyArg_ParseTuple(args, "K|K", &lock, &task)) return NULL;
  return py_none_or_error(call(py_lock_of(lock), (selv_task)task));
}

static PyObject *py_try_acquire(PyObject *self, PyObject *args) {
  (void)self;
  return py_call_lock(selv_lock_try_acquire, args);
}

/* Keeps the GIL: it waits for nobody, and the completions that it runs here may have it. */
static PyObject *py_release(PyObject *self, PyObject *args) {
  (void)self;
  return py_call_lock(selv_lock_release, args);
}

static PyObject *py_repair(PyObject *self, PyObject *args) {
  (void)self;
  return py_call_lock(selv_lock_repair, args);
}

static PyObject *py_acquire(PyObject *self, PyObject *args) {
  py_number lock, task = SELV_TASK_CURRENT, timeout_ns = SELV_FOREVER;
  selv_status status;
  (void)self;
  if (!PyArg_ParseTuple(args, "K|KK", &lock, &task, &timeout_ns)) return NULL;
  Py_BEGIN_ALLOW_THREADS
  status = selv_lock_acquire(py_lock_of(lock), (selv_task)task, timeout_ns);
  Py_END_ALLOW_THREADS
  return py_none_or_error(status);
}

/* `arg` is the callable: fn(status name, ticket, detail, completing thread). It must not raise. */
static void py_complete(void *arg, const selv_completed *c) {
  PyObject *fn = (PyObject *)arg, *result;
  PyGILState_STATE gil;
  char detail[1024] = "";
  if (c->status < 0) selv_last_error(detail, sizeof detail);
  gil = PyGILState_Ensure();
  result = PyObject_CallFunction(fn, "sKsK", selv_status_name(c->status), (py_number)c->ticket, detail,
                                 (py_number)(uintptr_t)pthread_self());
  if (result == NULL) py_fail(__FILE__, __LINE__, "a completion");
  Py_DECREF(result);
  Py_DECREF(fn);
  PyGILState_Release(gil);
}

/* 0 if the lock was free and is held now; else the operation, and `fn` will be called once. That may come before this returns. */
static PyObject *py_acquire_async(PyObject *self, PyObject *args) {
  py_number lock, task;
  selv_completion completion;
  selv_status status;
  selv_op op = 0;
  PyObject *fn;
  (void)self;
  if (!PyArg_ParseTuple(args, "KKO", &lock, &task, &fn)) return NULL;
  memset(&completion, 0, sizeof completion);
  completion.fn = py_complete;
  completion.arg = fn;
  Py_INCREF(fn);
  status = selv_lock_acquire_async(py_lock_of(lock), (selv_task)task, &completion, &op);
  if (status == SELV_PENDING) return PyLong_FromUnsignedLongLong(op);
  Py_DECREF(fn);
  return status < 0 ? py_none_or_error(status) : PyLong_FromLong(0);
}

static PyObject *py_op_cancel(PyObject *self, PyObject *args) {
  py_number op;
  (void)self;
  if (!PyArg_ParseTuple(args, "K", &op)) return NULL;
  return py_none_or_error(selv_op_cancel((selv_op)op));
}

/* ---- what the tests look at ---- */

static selv_status py_wait_graph_part(void *arg, const char *data, size_t len) {
  PyObject **text = (PyObject **)arg, *part = PyUnicode_DecodeUTF8(data, (Py_ssize_t)len, NULL);
  PyUnicode_AppendAndDel(text, part);
  return *text != NULL ? SELV_OK : SELV_E_NOMEM;
}

static PyObject *py_wait_graph(PyObject *self, PyObject *args) {
  unsigned format = SELV_GRAPH_TEXT;
  PyObject *text = PyUnicode_FromString("");
  selv_status status;
  (void)self;
  if (!PyArg_ParseTuple(args, "|I", &format)) return NULL;
  status = selv_wait_graph(format, py_wait_graph_part, &text);
  if (status == SELV_OK) return text;
  Py_XDECREF(text);
  return PyErr_Occurred() ? NULL : py_none_or_error(status);
}

static PyObject *py_note_grant(PyObject *self, PyObject *args) {
  const char *name;
  py_number ticket = 0, on = 0;
  (void)self;
  if (!PyArg_ParseTuple(args, "s|KK", &name, &ticket, &on)) return NULL;
  lock_grant_note(name, ticket, on);
  Py_RETURN_NONE;
}

static PyObject *py_enter_section(PyObject *self, PyObject *unused) {
  (void)self;
  (void)unused;
  lock_section_enter();
  Py_RETURN_NONE;
}

static PyObject *py_leave_section(PyObject *self, PyObject *unused) {
  (void)self;
  (void)unused;
  lock_section_leave();
  Py_RETURN_NONE;
}

/* ---- the module ---- */

static PyMethodDef py_selv_methods[] = {
  { "task_new", py_task_new, METH_VARARGS, NULL },
  { "task_exit", py_task_exit, METH_VARARGS, NULL },
  { "task_current", py_task_current, METH_NOARGS, NULL },
  { "task_enter", py_task_enter, METH_VARARGS, NULL },
  { "lock_new", py_lock_new, METH_VARARGS, NULL },
  { "lock_free", py_lock_free, METH_VARARGS, NULL },
  { "owner", py_lock_owner, METH_VARARGS, NULL },
  { "waiting", py_lock_waiting, METH_VARARGS, NULL },
  { "try_acquire", py_try_acquire, METH_VARARGS, NULL },
  { "acquire", py_acquire, METH_VARARGS, NULL },
  { "acquire_async", py_acquire_async, METH_VARARGS, NULL },
  { "release", py_release, METH_VARARGS, NULL },
  { "repair", py_repair, METH_VARARGS, NULL },
  { "op_cancel", py_op_cancel, METH_VARARGS, NULL },
  { "wait_graph", py_wait_graph, METH_VARARGS, NULL },
  { "note_grant", py_note_grant, METH_VARARGS, NULL },
  { "enter_section", py_enter_section, METH_NOARGS, NULL },
  { "leave_section", py_leave_section, METH_NOARGS, NULL },
  { NULL, NULL, 0, NULL },
};

static PyModuleDef py_selv_module = {
  PyModuleDef_HEAD_INIT, "selv", NULL, -1, py_selv_methods, NULL, NULL, NULL, NULL,
};

static PyObject *py_selv_init(void) {
  PyObject *module = PyModule_Create(&py_selv_module);
  py_selv_error = PyErr_NewException("selv.Error", NULL, NULL);
  if (module == NULL || py_selv_error == NULL) return NULL;
  Py_INCREF(py_selv_error);
  if (PyModule_AddObject(module, "Error", py_selv_error) != 0 ||
      PyModule_AddIntConstant(module, "STRICT_FIFO", SELV_LOCK_STRICT_FIFO) != 0 ||
      PyModule_AddIntConstant(module, "TEXT", SELV_GRAPH_TEXT) != 0 || PyModule_AddIntConstant(module, "JSON", SELV_GRAPH_JSON) != 0 ||
      PyModule_AddIntConstant(module, "DOT", SELV_GRAPH_DOT) != 0 ||
      PyModule_AddIntConstant(module, "LOCK_BROKEN", SELV_REPORT_LOCK_BROKEN) != 0 ||
      PyModule_AddIntConstant(module, "WAIT_CANCELLED", SELV_REPORT_WAIT_CANCELLED) != 0 ||
      PyModule_AddObject(module, "CURRENT", PyLong_FromUnsignedLongLong(SELV_TASK_CURRENT)) != 0)
    return NULL;
  return module;
}

/* ---- the embedding ---- */

/* Where tools/setup.sh has put packages for the tests of this Python; NULL: nowhere. */
static inline const char *py_locks_packages(void) { return getenv("SELV_PYTHON_PACKAGES"); }

static inline int py_locks_has_package(const char *name) {
  char path[4096];
  if (py_locks_packages() == NULL) return 0;
  snprintf(path, sizeof path, "%s/%s", py_locks_packages(), name);
  return access(path, R_OK) == 0;
}

/* Starts Python with the module and runs a file of the folder python/ in __main__. Packages for the tests, if there are any for
 * this Python, come first in its path. */
static inline void py_locks_start(const char *script) {
  const char *packages = py_locks_packages(), *slash = strrchr(__FILE__, '/');
  char path[4096], *text;
  long size;
  FILE *file;
  PyObject *code, *result, *globals;
  snprintf(path, sizeof path, "%.*s/python/%s", (int)(slash - __FILE__), __FILE__, script);
  CHECK(PyImport_AppendInittab("selv", py_selv_init) == 0);
  Py_InitializeEx(0);
  if (packages != NULL) {
    PyObject *entry = PyUnicode_DecodeFSDefault(packages);
    CHECK(entry != NULL && PyList_Insert(PySys_GetObject("path"), 0, entry) == 0);
    Py_DECREF(entry);
  }
  file = fopen(path, "rb");
  if (file == NULL) check_fail(__FILE__, __LINE__, "cannot open %s: %s", path, strerror(errno));
  CHECK(fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) > 0 && fseek(file, 0, SEEK_SET) == 0);
  text = (char *)calloc(1, (size_t)size + 1);
  CHECK(text != NULL && fread(text, 1, (size_t)size, file) == (size_t)size);
  fclose(file);
  globals = PyModule_GetDict(PyImport_AddModule("__main__"));
  code = Py_CompileString(text, path, Py_file_input);
  result = code != NULL ? PyEval_EvalCode(code, globals, globals) : NULL;
  if (result == NULL) py_fail(__FILE__, __LINE__, path);
  Py_DECREF(result);
  Py_DECREF(code);
  free(text);
}

/* Python code knows the lock, as a number, under this name. */
static inline void py_give(const char *name, selv_lock *l) {
  PyObject *number = PyLong_FromVoidPtr(l);
  CHECK(number != NULL && PyDict_SetItemString(PyModule_GetDict(PyImport_AddModule("__main__")), name, number) == 0);
  Py_DECREF(number);
}

/* The same from a thread that does not hold the GIL, of whichever language. */
static inline void py_do_at(const char *file, int line, const char *code) {
  PyGILState_STATE gil = PyGILState_Ensure();
  py_run_at(file, line, code);
  PyGILState_Release(gil);
}
#define PY_DO(code) py_do_at(__FILE__, __LINE__, (code))

static inline void py_give_lock(const char *name, selv_lock *l) {
  PyGILState_STATE gil = PyGILState_Ensure();
  py_give(name, l);
  PyGILState_Release(gil);
}

#endif

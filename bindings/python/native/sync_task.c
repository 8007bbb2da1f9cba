/* sync_task.c: tasks by their numbers, and what a Python thread's own task is called. */
#include "sync.h"

#include <pthread.h>

/* ---- names ---- */

__thread int sync_thread_is_named;

/* A thread's own task is called what the system calls the thread; before 3.14 Python does not tell the system. A thread that Python does not
 * know keeps that name. */
static PyObject *name_in_python(void) {
  PyObject *key = PyUnicode_FromString("threading"), *threading = key != NULL ? sync_module_named(key) : NULL;
  PyObject *active, *ident, *thread, *name = NULL;
  Py_XDECREF(key);
  if (threading == NULL) return NULL;
  active = PyObject_GetAttrString(threading, "_active");
  ident = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
  if (active != NULL && ident != NULL && PyDict_Check(active)) {
    thread = PyDict_GetItemWithError(active, ident);
    if (thread != NULL) name = PyObject_GetAttrString(thread, "name");
  }
  Py_XDECREF(active);
  Py_XDECREF(ident);
  Py_DECREF(threading);
  return name;
}

void sync_name_thread(void) {
  PyObject *type, *value, *traceback, *name;
  const char *text;
  selv_task entered;
  sync_thread_is_named = 1;
  if (selv_worker_current() != NULL) return; /* called as its jobs, and as its cache calls it */
  PyErr_Fetch(&type, &value, &traceback);
  name = name_in_python();
  text = name != NULL && PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
  if (text != NULL && selv_task_enter(0, &entered) == SELV_OK) {
    (void)selv_task_set_name(SELV_TASK_CURRENT, text);
    if (entered != 0) (void)selv_task_enter(entered, NULL);
  }
  PyErr_Clear();
  Py_XDECREF(name);
  PyErr_Restore(type, value, traceback);
}

selv_task sync_task(sync_state *state, PyObject *task) {
  unsigned long long number;
  if (task == NULL) return sync_own_task(state);
  number = PyLong_AsUnsignedLongLong(task);
  if (number == (unsigned long long)-1 && PyErr_Occurred()) {
    if (PyErr_ExceptionMatches(PyExc_OverflowError)) PyErr_SetString(PyExc_ValueError, "this was never the number of a task");
    return 0;
  }
  return number == 0 ? sync_own_task(state) : (selv_task)number;
}

/* ---- functions ---- */

static sync_state *state_of(PyObject *module) { return (sync_state *)PyModule_GetState(module); }

static PyObject *task_new(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "name", NULL };
  PyObject *values[1];
  const char *name;
  selv_task task;
  selv_status status;
  if (sync_arguments("task_new", names, 1, args, count, keywords, values) != 0 || sync_name(values[0], &name) != 0) return NULL;
  status = selv_task_new(name, &task);
  return status == SELV_OK ? PyLong_FromUnsignedLongLong(task) : selvpy_raise(state_of(module)->errors, status);
}

static const char *what_happened(uint32_t what) {
  switch (what) {
    case SELV_REPORT_LOCK_BROKEN: return "lock broken";
    case SELV_REPORT_LOCK_HANDED_ON: return "lock handed on";
    case SELV_REPORT_WAIT_CANCELLED: return "wait cancelled";
    case SELV_REPORT_GRANT_PASSED_ON: return "grant passed on";
    case SELV_REPORT_TOKEN_RETURNED: return "token returned";
    case SELV_REPORT_LOT_BROKEN: return "lot broken";
    default: return "?";
  }
}

/* `arg` points to a list, which is let go of on an error. */
static void add_item(void *arg, uint32_t what, const char *name) {
  PyObject **list = (PyObject **)arg, *item;
  if (*list == NULL) return;
  item = Py_BuildValue("ss", what_happened(what), name);
  if (item == NULL || PyList_Append(*list, item) != 0) Py_CLEAR(*list);
  Py_XDECREF(item);
}

static PyObject *task_exit(PyObject *module, PyObject *task) {
  sync_state *state = state_of(module);
  selv_task_report report = SELV_TASK_REPORT_INIT;
  unsigned long long number = PyLong_AsUnsignedLongLong(task);
  uint64_t counts[6];
  PyObject *items, *made;
  selv_status status;
  int i;
  if (number == (unsigned long long)-1 && PyErr_Occurred()) return NULL;
  items = PyList_New(0);
  if (items == NULL) return NULL;
  report.each = add_item;
  report.arg = &items;
  status = selv_task_exit((selv_task)number, &report);
  if (status != SELV_OK) {
    Py_XDECREF(items);
    return selvpy_raise(state->errors, status);
  }
  sync_greenlet_forget(state, (selv_task)number);
  made = items != NULL ? PyStructSequence_New(state->report) : NULL;
  if (made != NULL) {
    counts[0] = report.locks_broken;
    counts[1] = report.locks_handed_on;
    counts[2] = report.waits_cancelled;
    counts[3] = report.grants_passed_on;
    counts[4] = report.tokens_returned;
    counts[5] = report.lots_broken;
    for (i = 0; i < 6; i++) PyStructSequence_SetItem(made, i, PyLong_FromUnsignedLongLong(counts[i]));
    PyStructSequence_SetItem(made, 6, PyList_AsTuple(items));
    if (PyErr_Occurred()) Py_CLEAR(made);
  }
  Py_XDECREF(items);
  return made;
}

static PyObject *task_current(PyObject *module, PyObject *unused) {
  selv_task task = sync_own_task(state_of(module));
  (void)unused;
  if (task == 0) return NULL;
  return PyLong_FromUnsignedLongLong(task == SELV_TASK_CURRENT ? selv_task_current() : task);
}

static PyObject *task_enter(PyObject *module, PyObject *task) {
  sync_state *state = state_of(module);
  unsigned long long number = PyLong_AsUnsignedLongLong(task);
  selv_task previous = 0;
  selv_status status;
  int done;
  if (number == (unsigned long long)-1 && PyErr_Occurred()) return NULL;
  if (sync_own_task(state) == 0) return NULL; /* finds out about greenlets, and names the thread */
  done = sync_greenlet_enter(state, (selv_task)number, &previous);
  if (done < 0) return NULL;
  if (done == 0) {
    status = selv_task_enter((selv_task)number, &previous);
    if (status != SELV_OK) return selvpy_raise(state->errors, status);
  }
  return PyLong_FromUnsignedLongLong(previous);
}

static PyObject *task_leave(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "previous", NULL };
  PyObject *values[1], *entered, *none = NULL;
  if (sync_arguments("task_leave", names, 1, args, count, keywords, values) != 0) return NULL;
  if (values[0] == NULL) values[0] = none = PyLong_FromLong(0);
  entered = values[0] != NULL ? task_enter(module, values[0]) : NULL;
  Py_XDECREF(none);
  if (entered == NULL) return NULL;
  Py_DECREF(entered);
  Py_RETURN_NONE;
}

static PyObject *task_interrupt(PyObject *module, PyObject *task) {
  unsigned long long number = PyLong_AsUnsignedLongLong(task);
  selv_status status;
  if (number == (unsigned long long)-1 && PyErr_Occurred()) return NULL;
  status = selv_task_interrupt((selv_task)number);
  if (status != SELV_OK) return selvpy_raise(state_of(module)->errors, status);
  Py_RETURN_NONE;
}

PyMethodDef sync_task_functions[] = {
  SYNC_METHOD("task_new", task_new, SYNC_KEYWORDS,
              "task_new($module, /, name=None)\n--\n\n"
              "Makes a task: a number that is never used again. Messages call it by the first 47 bytes of its name."),
  SYNC_METHOD("task_exit", task_exit, METH_O,
              "task_exit($module, task, /)\n--\n\n"
              "Ends a task of task_new(), after all its other calls: what it holds breaks, what it waits for is cancelled.\n"
              "Gives a TaskReport. StaleTaskError if it has ended before; ValueError for the own task of a thread or a job."),
  SYNC_METHOD("task_current", task_current, METH_NOARGS,
              "task_current($module, /)\n--\n\nThe task that the caller acts for: its greenlet's, its job's, or its thread's."),
  SYNC_METHOD("task_enter", task_enter, METH_O,
              "task_enter($module, task, /)\n--\n\n"
              "Makes a task the one that the calling thread (inside one: the greenlet) acts for; 0 goes back to its own.\n"
              "Gives what was entered before, 0 for nothing. StaleTaskError if the task has ended."),
  SYNC_METHOD("task_leave", task_leave, SYNC_KEYWORDS,
              "task_leave($module, /, previous=0)\n--\n\nUndoes a task_enter(), with what that gave."),
  SYNC_METHOD("task_interrupt", task_interrupt, METH_O,
              "task_interrupt($module, task, /)\n--\n\n"
              "Has the task's blocking wait, or its next one, end with CancelledError. Python's main thread is woken by\n"
              "signals instead, not by this. Any thread; does not block."),
  { NULL, NULL, 0, NULL },
};

static PyStructSequence_Field report_fields[] = {
  { "locks_broken", "Locks that are broken now." },
  { "locks_handed_on", "Robust locks whose next owner is told." },
  { "waits_cancelled", "Waits and operations that were cancelled." },
  { "grants_passed_on", "What operations had been granted and not taken." },
  { "tokens_returned", "Tokens that went back to their limiters." },
  { "lots_broken", "Parking lots that are broken now." },
  { "items", "A pair for each: what happened to it, and its name." },
  { NULL, NULL },
};

static PyStructSequence_Desc report_desc = {
  "selvedge.sync.TaskReport", "What a task had in hand when it ended.", report_fields, 7,
};

int sync_tasks_init(PyObject *module, sync_state *state) {
  state->report = PyStructSequence_NewType(&report_desc);
  return state->report == NULL ? -1 : PyModule_AddObjectRef(module, "TaskReport", (PyObject *)state->report);
}

/* sync.c: the extension _sync: the module and its state, arguments, the wait graph. See sync.h for the other files. */
#include "sync.h"

#include <math.h>

/* ---- arguments ---- */

int sync_arguments(const char *function, const char *const *names, Py_ssize_t positional, PyObject *const *args, Py_ssize_t count,
                   PyObject *keywords, PyObject **out) {
  Py_ssize_t i, at;
  for (i = 0; names[i] != NULL; i++) out[i] = NULL;
  if (count > positional) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %zd positional arguments (%zd given)", function, positional, count);
    return -1;
  }
  for (i = 0; i < count; i++) out[i] = args[i];
  for (i = 0; keywords != NULL && i < PyTuple_GET_SIZE(keywords); i++) {
    PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
    for (at = 0; names[at] != NULL && PyUnicode_CompareWithASCIIString(keyword, names[at]) != 0; at++) {
    }
    if (names[at] == NULL) {
      PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, keyword);
      return -1;
    }
    if (out[at] != NULL) {
      PyErr_Format(PyExc_TypeError, "%s() got several values for the argument '%U'", function, keyword);
      return -1;
    }
    out[at] = args[count + i];
  }
  return 0;
}

int sync_number(PyObject *number, const char *what, uint64_t most, uint64_t *out) {
  PyObject *index;
  unsigned long long value;
  int is_out = 0;
  if (number == NULL) return 0;
  index = PyNumber_Index(number);
  if (index == NULL) return -1;
  value = PyLong_AsUnsignedLongLong(index);
  Py_DECREF(index);
  if (value == (unsigned long long)-1 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return -1;
    PyErr_Clear();
    is_out = 1;
  }
  if (is_out || value > most) {
    PyErr_Format(PyExc_ValueError, "%s must be from 0 to %llu, not %R", what, (unsigned long long)most, number);
    return -1;
  }
  *out = value;
  return 0;
}

/* As threading.TIMEOUT_MAX, in seconds. */
#define LONGEST_TIMEOUT 9223372036.0

int sync_blocking(PyObject *blocking, PyObject *timeout, int minus_one_is_none, uint64_t *ns) {
  int blocks = blocking == NULL ? 1 : PyObject_IsTrue(blocking);
  int limited = timeout != NULL && (minus_one_is_none || timeout != Py_None);
  double seconds = -1.0;
  if (blocks < 0) return -1;
  if (limited) {
    seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) return -1;
    limited = !(minus_one_is_none && seconds == -1.0);
  }
  if (limited && !blocks) {
    PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
    return -1;
  }
  if (!limited) {
    *ns = blocks ? SELV_FOREVER : 0;
    return 0;
  }
  if (minus_one_is_none && (seconds < 0.0 || isnan(seconds))) {
    PyErr_SetString(PyExc_ValueError, "timeout value must be a non-negative number");
    return -1;
  }
  if (seconds > LONGEST_TIMEOUT) {
    PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
    return -1;
  }
  return selvpy_timeout(timeout, "timeout", ns);
}

int sync_name(PyObject *object, const char **name) {
  Py_ssize_t length;
  *name = NULL;
  if (object == NULL || object == Py_None) return 0;
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "name must be a str or None, not %.100s", Py_TYPE(object)->tp_name);
    return -1;
  }
  *name = PyUnicode_AsUTF8AndSize(object, &length);
  if (*name == NULL) return -1;
  if (strlen(*name) != (size_t)length) {
    PyErr_SetString(PyExc_ValueError, "name must have no NUL character");
    return -1;
  }
  return 0;
}

/* ---- the wait graph ---- */

typedef struct graph_text {
  char *data;
  size_t len, room;
} graph_text;

static int32_t graph_write(void *arg, const char *data, size_t len) {
  graph_text *text = (graph_text *)arg;
  if (text->room - text->len < len) {
    size_t room = (text->len + len) * 2 + 1024;
    char *grown = (char *)realloc(text->data, room);
    if (grown == NULL) return SELV_E_NOMEM;
    text->data = grown;
    text->room = room;
  }
  memcpy(text->data + text->len, data, len);
  text->len += len;
  return 0;
}

static PyObject *wait_graph(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "format", NULL };
  sync_state *state = (sync_state *)PyModule_GetState(module);
  graph_text text = { NULL, 0, 0 };
  PyObject *values[1], *made;
  uint32_t format = SELV_GRAPH_TEXT;
  selv_status status;
  if (sync_arguments("wait_graph", names, 1, args, count, keywords, values) != 0) return NULL;
  if (values[0] != NULL) {
    const char *wanted = PyUnicode_Check(values[0]) ? PyUnicode_AsUTF8(values[0]) : "";
    if (wanted == NULL) return NULL;
    if (strcmp(wanted, "json") == 0) format = SELV_GRAPH_JSON;
    else if (strcmp(wanted, "dot") == 0) format = SELV_GRAPH_DOT;
    else if (strcmp(wanted, "text") != 0) {
      PyErr_Format(PyExc_ValueError, "format must be \"text\", \"json\" or \"dot\", not %R", values[0]);
      return NULL;
    }
  }
  status = selv_wait_graph(format, graph_write, &text);
  made = status == SELV_OK ? PyUnicode_DecodeUTF8(text.data != NULL ? text.data : "", (Py_ssize_t)text.len, "replace")
                           : selvpy_raise(state->errors, status);
  free(text.data);
  return made;
}

static PyMethodDef module_functions[] = {
  SYNC_METHOD("wait_graph", wait_graph, SYNC_KEYWORDS,
              "wait_graph($module, /, format='text')\n--\n\n"
              "Who holds and who waits for what, in the whole process, of all languages, as \"text\", \"json\" or \"dot\".\n"
              "Any thread; does not block."),
  { NULL, NULL, 0, NULL },
};

/* ---- the module ---- */

static int add_kind(PyObject *module, sync_state *state, int kind, PyType_Spec *spec, PyTypeObject *base) {
  PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
  state->kinds[kind] = type;
  return type == NULL ? -1 : PyModule_AddObjectRef(module, strrchr(spec->name, '.') + 1, (PyObject *)type);
}

static int add_kinds(PyObject *module, sync_state *state) {
  state->base_lock = (PyTypeObject *)PyType_FromModuleAndSpec(module, &sync_base_lock_spec, (PyObject *)state->primitive);
  if (state->base_lock == NULL || PyModule_AddObjectRef(module, "_BaseLock", (PyObject *)state->base_lock) != 0) return -1;
  if (add_kind(module, state, SYNC_LOCK, &sync_lock_spec, state->base_lock) != 0) return -1;
  if (add_kind(module, state, SYNC_RLOCK, &sync_rlock_spec, state->base_lock) != 0) return -1;
  if (add_kind(module, state, SYNC_CONDITION, &sync_condition_spec, state->primitive) != 0) return -1;
  if (add_kind(module, state, SYNC_SEMAPHORE, &sync_semaphore_spec, state->primitive) != 0) return -1;
  if (add_kind(module, state, SYNC_BOUNDED_SEMAPHORE, &sync_bounded_semaphore_spec, state->kinds[SYNC_SEMAPHORE]) != 0) return -1;
  if (add_kind(module, state, SYNC_LIMITER, &sync_limiter_spec, state->primitive) != 0) return -1;
  if (add_kind(module, state, SYNC_EVENT, &sync_event_spec, state->primitive) != 0) return -1;
  if (add_kind(module, state, SYNC_PARKING_LOT, &sync_parking_lot_spec, state->primitive) != 0) return -1;
  return add_kind(module, state, SYNC_CHANNEL, &sync_channel_spec, state->primitive);
}

static int module_exec(PyObject *module) {
  sync_state *state = (sync_state *)PyModule_GetState(module);
  if (selvpy_check_library() != 0 || selvpy_errors_load(&state->errors) != 0) return -1;
  state->handles_signals = PyInterpreterState_Get() == PyInterpreterState_Main();
#if PY_VERSION_HEX < 0x030C0000
  if (!state->handles_signals) {
    selvpy_raise_named(state->errors, "UnsupportedError", "a sub-interpreter can use Selvedge from Python 3.12 on");
    return -1;
  }
#endif
  state->gate = selvpy_gate_new();
  if (state->gate == NULL) return -1;
  if (PyModule_AddFunctions(module, sync_task_functions) != 0) return -1;
  if (sync_object_init(module, state) != 0 || sync_op_init(module, state) != 0 || sync_tasks_init(module, state) != 0) return -1;
  if (sync_greenlets_init(module, state) != 0 || add_kinds(module, state) != 0) return -1;
  if (PyModule_AddIntConstant(module, "OK", SELV_OK) != 0) return -1;
  if (PyModule_AddIntConstant(module, "OWNER_DIED", SELV_OWNER_DIED) != 0) return -1;
  if (PyModule_AddIntConstant(module, "E_CANCELLED", SELV_E_CANCELLED) != 0) return -1;
  return PyModule_AddIntConstant(module, "E_CLOSED", SELV_E_CLOSED);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
  sync_state *state = (sync_state *)PyModule_GetState(module);
  int i;
  Py_VISIT(state->errors);
  Py_VISIT(state->primitive);
  Py_VISIT(state->base_lock);
  Py_VISIT(state->op);
  Py_VISIT(state->report);
  Py_VISIT(state->greenlet_task);
  for (i = 0; i < SYNC_KINDS; i++) Py_VISIT(state->kinds[i]);
  Py_VISIT(state->greenlets);
  Py_VISIT(state->tracer);
  Py_VISIT(state->greenlet_threads);
  Py_VISIT(state->dumps);
  Py_VISIT(state->loads);
  return 0;
}

static int module_clear(PyObject *module) {
  sync_state *state = (sync_state *)PyModule_GetState(module);
  int i;
  Py_CLEAR(state->errors);
  Py_CLEAR(state->primitive);
  Py_CLEAR(state->base_lock);
  Py_CLEAR(state->op);
  Py_CLEAR(state->report);
  Py_CLEAR(state->greenlet_task);
  for (i = 0; i < SYNC_KINDS; i++) Py_CLEAR(state->kinds[i]);
  Py_CLEAR(state->greenlets);
  Py_CLEAR(state->tracer);
  Py_CLEAR(state->greenlet_threads);
  Py_CLEAR(state->dumps);
  Py_CLEAR(state->loads);
  return 0;
}

static void module_free(void *module) {
  sync_state *state = (sync_state *)PyModule_GetState((PyObject *)module);
  if (state == NULL) return;
  (void)module_clear((PyObject *)module);
  Py_CLEAR(state->greenlet_name);
  Py_CLEAR(state->attribute);
  selv_host_loop_release(state->main_loop);
  (void)selv_event_free(state->never);
  selvpy_gate_release(state->gate);
}

static PyModuleDef_Slot module_slots[] = {
  { Py_mod_exec, (void *)module_exec },
#if PY_VERSION_HEX >= 0x030C0000
  { Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED },
#endif
  { 0, NULL },
};

PyModuleDef sync_module = {
  PyModuleDef_HEAD_INIT,
  "_sync",
  PyDoc_STR("The native locks: see _sync.pyi, and selvedge.sync."),
  sizeof(sync_state),
  module_functions,
  module_slots,
  module_traverse,
  module_clear,
  module_free,
};

PyMODINIT_FUNC PyInit__sync(void) { return PyModuleDef_Init(&sync_module); }

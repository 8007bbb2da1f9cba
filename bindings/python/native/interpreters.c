/* interpreters.c: the module selvedge._interpreters. */
#include "interpreters.h"

#if PY_VERSION_HEX >= 0x030C0000

static PyObject *interpreter_id(PyObject *module, PyObject *unused) {
  (void)module;
  (void)unused;
  return PyLong_FromLongLong(PyInterpreterState_GetID(PyInterpreterState_Get()));
}

static PyObject *channel_count(PyObject *module, PyObject *unused) {
  (void)module;
  (void)unused;
  return PyLong_FromSsize_t(interpreters_count_channels());
}

static PyMethodDef methods[] = {
  { "interpreter_id", interpreter_id, METH_NOARGS, "The number of the interpreter that calls; 0 is the main one." },
  { "attach", interpreters_attach, METH_VARARGS, "attach(cls, id): another handle to a channel of this process." },
  { "retain_channels", interpreters_retain_channels, METH_O, "One more count for each channel that is on its way." },
  { "release_channels", interpreters_release_channels, METH_O, "Gives the counts of channels that have arrived back." },
  { "channel_count", channel_count, METH_NOARGS, "How many channels the process has." },
  { NULL, NULL, 0, NULL },
};

static int add_type(PyObject *module, PyObject **out, PyType_Spec *spec) {
  *out = PyType_FromModuleAndSpec(module, spec, NULL);
  return *out == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)*out);
}

/* The exit callback is a function of the module: it keeps the module, and with it the gate, until it has run. */
static int begin_main(PyObject *module, interpreters_state *state) {
  static PyMethodDef at_exit = { "selvedge_end_interpreters", interpreters_at_exit, METH_NOARGS, NULL };
  PyObject *callable;
  int failed;
  interpreters_fork_setup();
  state->gate = selvpy_gate_new();
  if (state->gate == NULL) return -1;
  callable = PyCFunction_NewEx(&at_exit, module, NULL);
  failed = callable == NULL || selvpy_at_exit(callable) != 0;
  Py_XDECREF(callable);
  return failed ? -1 : 0;
}

static int execute(PyObject *module) {
  interpreters_state *state = (interpreters_state *)PyModule_GetState(module);
  if (selvpy_check_library() != 0 || selvpy_errors_load(&state->errors) != 0) return -1;
  if (add_type(module, &state->channel_type, &interpreters_channel_spec) != 0) return -1;
  if (add_type(module, &state->job_type, &interpreters_job_spec) != 0) return -1;
  if (add_type(module, &state->cache_type, &interpreters_cache_spec) != 0) return -1;
  if (PyModule_AddObjectRef(module, "SUPPORTED", Py_True) != 0) return -1;
  return PyInterpreterState_Get() == PyInterpreterState_Main() ? begin_main(module, state) : 0;
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
  interpreters_state *state = (interpreters_state *)PyModule_GetState(module);
  Py_VISIT(state->errors);
  Py_VISIT(state->channel_type);
  Py_VISIT(state->job_type);
  Py_VISIT(state->cache_type);
  return 0;
}

static int clear(PyObject *module) {
  interpreters_state *state = (interpreters_state *)PyModule_GetState(module);
  Py_CLEAR(state->errors);
  Py_CLEAR(state->channel_type);
  Py_CLEAR(state->job_type);
  Py_CLEAR(state->cache_type);
  return 0;
}

static void release(void *module) {
  interpreters_state *state = (interpreters_state *)PyModule_GetState((PyObject *)module);
  (void)clear((PyObject *)module);
  selvpy_gate_release(state->gate);
  state->gate = NULL;
}

#define STATE_SIZE sizeof(interpreters_state)
#else
/* Before 3.12 an interpreter has no GIL of its own, and a thread cannot find out for which one it holds the GIL. */
static int execute(PyObject *module) { return PyModule_AddObjectRef(module, "SUPPORTED", Py_False); }

#define methods NULL
#define traverse NULL
#define clear NULL
#define release NULL
#define STATE_SIZE 0
#endif

static PyModuleDef_Slot slots[] = {
  { Py_mod_exec, (void *)execute },
#if PY_VERSION_HEX >= 0x030C0000
  { Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED },
#endif
  { 0, NULL },
};

PyModuleDef interpreters_module = {
  .m_base = PyModuleDef_HEAD_INIT,
  .m_name = "selvedge._interpreters",
  .m_doc = "Workers with a sub-interpreter each, and channels between interpreters: see selvedge.interpreters.",
  .m_size = STATE_SIZE,
  .m_methods = methods,
  .m_slots = slots,
  .m_traverse = traverse,
  .m_clear = clear,
  .m_free = release,
};

PyMODINIT_FUNC PyInit__interpreters(void) { return PyModuleDef_Init(&interpreters_module); }

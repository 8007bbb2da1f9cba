/* loop.c: the extension `_loop`: HostLoop, a queue into an event loop of Python's, which the loop polls by a descriptor and drains with the
 * GIL held. The callables in it are in loop_calls.c. */
#include "loop.h"

#include <structmember.h>

static struct PyModuleDef loop_module;

PyObject *loop_raise_without(HostLoop *self) {
  if (self->state != NULL && self->name == NULL) PyErr_SetString(PyExc_RuntimeError, "HostLoop.__init__ was not called");
  else if (self->state != NULL) selvpy_raise_named(self->state->errors, "ClosedResourceError", "the host loop has been given back");
  return NULL;
}

/* Lets go of the native loop, which closes it if nobody else has a reference. What waits is dropped here. */
static void host_loop_give_back(HostLoop *self) {
  selv_host_loop *loop = self->loop;
  self->loop = NULL;
  if (loop != NULL) selv_host_loop_release(loop);
  loop_calls_forget(self);
}

/* ---- the life of the object ---- */

static PyObject *host_loop_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  HostLoop *self = (HostLoop *)type->tp_alloc(type, 0);
  (void)args;
  (void)kwargs;
  if (self != NULL) self->state = (loop_state *)selvpy_state_of_type(type, &loop_module);
  return (PyObject *)self;
}

static int host_loop_init(PyObject *object, PyObject *args, PyObject *kwargs) {
  static char *known[] = { "name", "on_error", NULL };
  HostLoop *self = (HostLoop *)object;
  selv_host_loop_options options = SELV_HOST_LOOP_OPTIONS_INIT;
  PyObject *name = Py_None, *on_error = Py_None;
  Py_ssize_t length;
  selv_status status;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:HostLoop", known, &name, &on_error)) return -1;
  if (self->name != NULL) {
    PyErr_SetString(PyExc_RuntimeError, "HostLoop.__init__ was called before");
    return -1;
  }
#if PY_VERSION_HEX < 0x030C0000
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    selvpy_raise_named(self->state->errors, "UnsupportedError",
                       "host loops need CPython 3.12 or later in a sub-interpreter: before, a thread cannot find out which interpreter it runs");
    return -1;
  }
#endif
  if (name != Py_None) {
    if (!PyUnicode_Check(name)) {
      PyErr_Format(PyExc_TypeError, "name must be a str or None, not %.100s", Py_TYPE(name)->tp_name);
      return -1;
    }
    options.name = PyUnicode_AsUTF8AndSize(name, &length);
    if (options.name == NULL) return -1;
    if (strlen(options.name) != (size_t)length) {
      PyErr_SetString(PyExc_ValueError, "name contains a null character");
      return -1;
    }
  }
  if (on_error != Py_None && !PyCallable_Check(on_error)) {
    PyErr_Format(PyExc_TypeError, "on_error must be a callable or None, not %.100s", Py_TYPE(on_error)->tp_name);
    return -1;
  }
  status = selv_host_loop_new(&options, &self->loop);
  if (status != SELV_OK) {
    (void)selvpy_raise(self->state->errors, status);
    return -1;
  }
  self->name = Py_NewRef(name);
  if (on_error != Py_None) self->on_error = Py_NewRef(on_error);
  return 0;
}

static int host_loop_traverse(PyObject *object, visitproc visit, void *arg) {
  HostLoop *self = (HostLoop *)object;
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->on_error);
  Py_VISIT(self->merging);
  Py_VISIT(self->stop);
  return loop_calls_traverse(self, visit, arg);
}

static int host_loop_clear(PyObject *object) {
  HostLoop *self = (HostLoop *)object;
  Py_CLEAR(self->on_error);
  Py_CLEAR(self->merging);
  Py_CLEAR(self->stop);
  loop_calls_forget(self);
  return 0;
}

static void host_loop_finalize(PyObject *object) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  host_loop_give_back((HostLoop *)object);
  PyErr_Restore(type, value, traceback);
}

static void host_loop_dealloc(PyObject *object) {
  HostLoop *self = (HostLoop *)object;
  PyTypeObject *type = Py_TYPE(object);
  if (PyObject_CallFinalizerFromDealloc(object) < 0) return;
  PyObject_GC_UnTrack(object);
  if (self->weakrefs != NULL) PyObject_ClearWeakRefs(object);
  (void)host_loop_clear(object);
  host_loop_give_back(self);
  Py_CLEAR(self->name);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyObject *host_loop_repr(PyObject *object) {
  HostLoop *self = (HostLoop *)object;
  const char *short_name = strrchr(Py_TYPE(object)->tp_name, '.'), *ended;
  selv_host_loop_stats stats = SELV_HOST_LOOP_STATS_INIT;
  selv_status status;
  short_name = short_name != NULL ? short_name + 1 : Py_TYPE(object)->tp_name;
  if (self->loop == NULL) return PyUnicode_FromFormat("<%s (given back)>", short_name);
  status = selv_host_loop_get_stats(self->loop, &stats);
  ended = status == SELV_E_FORKED ? ", of the parent process" : status == SELV_OK && stats.closed ? ", closed" : "";
  if (self->name == Py_None) return PyUnicode_FromFormat("<%s fd=%d at %p%s>", short_name, selv_host_loop_fd(self->loop), object, ended);
  return PyUnicode_FromFormat("<%s %R fd=%d at %p%s>", short_name, self->name, selv_host_loop_fd(self->loop), object, ended);
}

/* ---- methods ---- */

/* Called at every release of an awaited lock, so it is to be quick when nothing waits. */
static PyObject *host_loop_drain(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names) {
  HostLoop *self = (HostLoop *)object;
  uint32_t most = 0, ran = 0;
  PyObject *stop;
  selv_status status;
  if (self->loop == NULL) return loop_raise_without(self);
  if (count + (names != NULL ? PyTuple_GET_SIZE(names) : 0) > 1) {
    PyErr_SetString(PyExc_TypeError, "drain() takes at most one argument");
    return NULL;
  }
  if (names != NULL && PyTuple_GET_SIZE(names) == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "max") != 0) {
    PyErr_Format(PyExc_TypeError, "drain() has no argument %R", PyTuple_GET_ITEM(names, 0));
    return NULL;
  }
  if (count == 1 || names != NULL) {
    int overflow = 0;
    long long value = PyLong_AsLongLongAndOverflow(args[0], &overflow);
    if (value == -1 && overflow == 0 && PyErr_Occurred()) return NULL;
    if (overflow != 0 || value < 0 || value > UINT32_MAX) {
      PyErr_SetString(PyExc_ValueError, "max must be between 0 and 2**32 - 1");
      return NULL;
    }
    most = (uint32_t)value;
  }
  status = selv_host_loop_drain(self->loop, most, &ran);
  stop = self->stop;
  self->stop = NULL;
  if (stop != NULL) {
    PyErr_SetObject((PyObject *)Py_TYPE(stop), stop);
    Py_DECREF(stop);
    return NULL;
  }
  if (status != SELV_OK) return selvpy_raise(self->state->errors, status);
  return PyLong_FromUnsignedLong(ran);
}

static PyObject *host_loop_bind(PyObject *object, PyObject *unused) {
  HostLoop *self = (HostLoop *)object;
  selv_status status;
  (void)unused;
  if (self->loop == NULL) return loop_raise_without(self);
  status = selv_host_loop_bind(self->loop);
  if (status != SELV_OK) return selvpy_raise(self->state->errors, status);
  Py_RETURN_NONE;
}

static PyObject *host_loop_close(PyObject *object, PyObject *unused) {
  HostLoop *self = (HostLoop *)object;
  selv_status status;
  (void)unused;
  if (self->loop == NULL) return loop_raise_without(self);
  status = selv_host_loop_close(self->loop);
  if (status != SELV_OK) return selvpy_raise(self->state->errors, status);
  Py_RETURN_NONE;
}

static int read_stats(HostLoop *self, selv_host_loop_stats *stats) {
  selv_host_loop_stats empty = SELV_HOST_LOOP_STATS_INIT;
  selv_status status;
  *stats = empty;
  if (self->loop == NULL) {
    (void)loop_raise_without(self);
    return -1;
  }
  status = selv_host_loop_get_stats(self->loop, stats);
  if (status == SELV_OK) return 0;
  (void)selvpy_raise(self->state->errors, status);
  return -1;
}

static PyObject *host_loop_stats(PyObject *object, PyObject *unused) {
  HostLoop *self = (HostLoop *)object;
  selv_host_loop_stats stats;
  (void)unused;
  if (read_stats(self, &stats) != 0) return NULL;
  return PyObject_CallFunction(self->state->stats, "KKKKKKKK", (unsigned long long)stats.waiting, (unsigned long long)stats.accepted,
                               (unsigned long long)stats.ran, (unsigned long long)stats.merged, (unsigned long long)stats.dropped,
                               (unsigned long long)stats.wakes, (unsigned long long)stats.drains, (unsigned long long)stats.guests);
}

static PyObject *host_loop_enter(PyObject *object, PyObject *unused) {
  (void)unused;
  if (((HostLoop *)object)->loop == NULL) return loop_raise_without((HostLoop *)object);
  return Py_NewRef(object);
}

static PyObject *host_loop_leave(PyObject *object, PyObject *const *args, Py_ssize_t count) {
  (void)args;
  (void)count;
  return PyObject_CallMethod(object, "close", NULL);
}

/* ---- attributes ---- */

static PyObject *host_loop_get_fd(PyObject *object, void *unused) {
  HostLoop *self = (HostLoop *)object;
  (void)unused;
  if (self->loop == NULL) return loop_raise_without(self);
  return PyLong_FromLong(selv_host_loop_fd(self->loop));
}

static PyObject *host_loop_get_address(PyObject *object, void *unused) {
  HostLoop *self = (HostLoop *)object;
  (void)unused;
  if (self->loop == NULL) return loop_raise_without(self);
  return PyLong_FromVoidPtr(self->loop);
}

static PyObject *host_loop_get_name(PyObject *object, void *unused) {
  HostLoop *self = (HostLoop *)object;
  (void)unused;
  return Py_NewRef(self->name != NULL ? self->name : Py_None);
}

static PyObject *host_loop_get_closed(PyObject *object, void *unused) {
  selv_host_loop_stats stats;
  (void)unused;
  if (read_stats((HostLoop *)object, &stats) != 0) return NULL;
  return PyBool_FromLong(stats.closed != 0);
}

/* ---- the type ---- */

#define CALL_FLAGS (METH_FASTCALL | METH_KEYWORDS)
#define FUNCTION(f) ((PyCFunction)(void (*)(void))(f))

static PyMethodDef host_loop_methods[] = {
  { "drain", FUNCTION(host_loop_drain), CALL_FLAGS,
    "drain($self, /, max=0)\n--\n\n"
    "Runs what is queued now, in order, at most `max` of it (0: all), and returns how many have run.\n\n"
    "What these callables queue is for a later drain. Does not wait. On the loop's own thread only.\n\n"
    "An exception of a callable goes to `on_error`, or to sys.unraisablehook, and the next one runs; but a KeyboardInterrupt\n"
    "or SystemExit is raised here when the pass is over.\n\n"
    "Raises WrongThreadError; ReentrantError inside a drain of this loop; ClosedResourceError; ForkedError." },
  { "call_soon", FUNCTION(loop_call_soon), CALL_FLAGS,
    "Has the loop run fn(*args) on its own thread, in a drain to come, in the order of the calls. From any thread; does not wait.\n\n"
    "idempotent: while an equal call (same fn and args, compared with ==; both hashable) waits, this one stands for both.\n"
    "drop: called with no arguments instead, where the loop is closed, if that happens first.\n\n"
    "Raises ClosedResourceError, ForkedError." },
  { "call", FUNCTION(loop_call_wait), CALL_FLAGS,
    "Has the loop run fn(*args) on its own thread, and returns what that returns, or raises what it raises.\n\n"
    "timeout: seconds until it begins, None for ever; once begun it is waited for, however long. Blocks the calling thread,\n"
    "without the GIL; a signal handler that raises (Ctrl-C) ends the wait, and a call that has not begun never runs then.\n\n"
    "Raises TimedOutError; DeadlockError on the loop's own thread; ClosedResourceError if the loop is closed first; ForkedError." },
  { "bind", host_loop_bind, METH_NOARGS,
    "bind($self, /)\n--\n\n"
    "Makes the calling thread the loop's: from now on it drains and closes. At first that is the one that made it.\n\n"
    "Raises BusyResourceError while another thread drains, ReentrantError inside a drain, ClosedResourceError, ForkedError." },
  { "close", host_loop_close, METH_NOARGS,
    "close($self, /)\n--\n\n"
    "Closes the loop: nothing is accepted any more, and what waits is dropped here. On the loop's own thread. May be repeated.\n\n"
    "Raises WrongThreadError, BusyResourceError while a guest lives in it, ForkedError." },
  { "stats", host_loop_stats, METH_NOARGS, "stats($self, /)\n--\n\nHow the loop stands, as a HostLoopStats. From any thread." },
  { "__enter__", host_loop_enter, METH_NOARGS, NULL },
  { "__exit__", FUNCTION(host_loop_leave), METH_FASTCALL, NULL },
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef host_loop_attributes[] = {
  { "fd", host_loop_get_fd, NULL,
    "The descriptor that is readable while something waits. To be polled only, neither read nor closed; valid as long as the object.", NULL },
  { "address", host_loop_get_address, NULL, "The address of the selv_host_loop, for C code and for the `_async` functions of `_sync`.", NULL },
  { "name", host_loop_get_name, NULL, "What the loop is called in messages, or None.", NULL },
  { "closed", host_loop_get_closed, NULL, "Whether it is closed.", NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef host_loop_members[] = {
  { "__weaklistoffset__", T_PYSSIZET, offsetof(HostLoop, weakrefs), READONLY, NULL },
  { NULL, 0, 0, 0, NULL },
};

static PyType_Slot host_loop_slots[] = {
  { Py_tp_doc, "HostLoop(name=None, *, on_error=None)\n--\n\n"
               "A queue into an event loop. Any thread puts callables in; the loop's own thread, which is the one that makes it until\n"
               "`bind` says otherwise, polls `fd` and calls `drain`.\n\n"
               "name: what it is called in messages.\n"
               "on_error: called on the loop's thread with the exception of a `call_soon` callable; None: sys.unraisablehook.\n\n"
               "The loop is closed with `close`, with the end of a `with` block, or when the object goes." },
  { Py_tp_new, host_loop_new },
  { Py_tp_init, host_loop_init },
  { Py_tp_dealloc, host_loop_dealloc },
  { Py_tp_finalize, host_loop_finalize },
  { Py_tp_traverse, host_loop_traverse },
  { Py_tp_clear, host_loop_clear },
  { Py_tp_repr, host_loop_repr },
  { Py_tp_methods, host_loop_methods },
  { Py_tp_getset, host_loop_attributes },
  { Py_tp_members, host_loop_members },
  { 0, NULL },
};

static PyType_Spec host_loop_spec = {
  .name = "selvedge.HostLoop",
  .basicsize = sizeof(HostLoop),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
  .slots = host_loop_slots,
};

/* ---- the module ---- */

static int module_exec(PyObject *module) {
  loop_state *state = (loop_state *)PyModule_GetState(module);
  PyObject *stats;
  if (selvpy_check_library() != 0 || selvpy_errors_load(&state->errors) != 0) return -1;
  state->gate = selvpy_gate_new();
  if (state->gate == NULL) return -1;
  stats = PyImport_ImportModule("selvedge._worker");
  if (stats == NULL) return -1;
  state->stats = PyObject_GetAttrString(stats, "HostLoopStats");
  Py_DECREF(stats);
  if (state->stats == NULL) return -1;
  state->host_loop_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &host_loop_spec, NULL);
  if (state->host_loop_type == NULL || PyModule_AddType(module, state->host_loop_type) != 0) return -1;
  return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
  loop_state *state = (loop_state *)PyModule_GetState(module);
  Py_VISIT(state->errors);
  Py_VISIT(state->host_loop_type);
  Py_VISIT(state->stats);
  return 0;
}

static int module_clear(PyObject *module) {
  loop_state *state = (loop_state *)PyModule_GetState(module);
  Py_CLEAR(state->errors);
  Py_CLEAR(state->host_loop_type);
  Py_CLEAR(state->stats);
  return 0;
}

static void module_free(void *module) {
  loop_state *state = (loop_state *)PyModule_GetState((PyObject *)module);
  (void)module_clear((PyObject *)module);
  selvpy_gate_release(state->gate);
  state->gate = NULL;
}

static PyModuleDef_Slot module_slots[] = {
  { Py_mod_exec, module_exec },
#if PY_VERSION_HEX >= 0x030C0000
  { Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED },
#endif
  { 0, NULL },
};

static struct PyModuleDef loop_module = {
  PyModuleDef_HEAD_INIT,
  .m_name = "selvedge._loop",
  .m_doc = "Queues into event loops of Python.",
  .m_size = sizeof(loop_state),
  .m_slots = module_slots,
  .m_traverse = module_traverse,
  .m_clear = module_clear,
  .m_free = module_free,
};

PyMODINIT_FUNC PyInit__loop(void) { return PyModuleDef_Init(&loop_module); }

/* sync_semaphore.c: Semaphore and BoundedSemaphore. */
#include "sync.h"

#define SEMAPHORE(self) ((selv_semaphore *)(self)->handle)
#define MOST_PERMITS ((UINT64_C(1) << 62) - 1)

static selv_status semaphore_block(sync_request *r, uint64_t ns) {
  return selv_semaphore_acquire(SEMAPHORE(r->object), r->task, r->number, ns);
}

static selv_status semaphore_begin(const sync_request *r, const selv_completion *completion, selv_op *op) {
  return selv_semaphore_acquire_async(SEMAPHORE(r->object), r->task, r->number, completion, op);
}

static const sync_wait_kind semaphore_wait = { semaphore_block, semaphore_begin, 0, 0 };

static PyObject *acquire_as(sync_object *self, PyObject *task, uint64_t n, uint64_t ns) {
  selv_status status = selv_semaphore_try_acquire(SEMAPHORE(self), n);
  sync_request r;
  if (status == SELV_OK) Py_RETURN_TRUE;
  if (status != SELV_E_WOULD_BLOCK) return SYNC_RAISE(self, status);
  if (ns == 0) Py_RETURN_FALSE;
  memset(&r, 0, sizeof r);
  r.kind = &semaphore_wait;
  r.object = self;
  r.number = n;
  r.task = sync_task(self->state, task);
  return r.task == 0 ? NULL : sync_wait_bool(&r, ns);
}

static PyObject *release_some(sync_object *self, uint64_t n) {
  selv_status status = selv_semaphore_release(SEMAPHORE(self), n);
  if (status != SELV_OK) return SYNC_RAISE(self, status);
  Py_RETURN_NONE;
}

static PyObject *semaphore_acquire(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "blocking", "timeout", "n", "task", NULL };
  PyObject *values[4] = { NULL, NULL, NULL, NULL };
  uint64_t ns = SELV_FOREVER, n = 1;
  if (count != 0 || keywords != NULL) {
    if (sync_arguments("acquire", names, 2, args, count, keywords, values) != 0) return NULL;
    if (sync_blocking(values[0], values[1], 0, &ns) != 0 || sync_number(values[2], "n", MOST_PERMITS, &n) != 0) return NULL;
  }
  return acquire_as(self, values[3], n, ns);
}

static PyObject *semaphore_release(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "n", NULL };
  PyObject *values[1] = { NULL };
  uint64_t n = 1;
  if (count != 0 || keywords != NULL) {
    if (sync_arguments("release", names, 1, args, count, keywords, values) != 0) return NULL;
    if (sync_number(values[0], "n", MOST_PERMITS, &n) != 0) return NULL;
  }
  return release_some(self, n);
}

static PyObject *semaphore_enter(sync_object *self, PyObject *unused) {
  (void)unused;
  return acquire_as(self, NULL, 1, SELV_FOREVER);
}

static PyObject *semaphore_exit(sync_object *self, PyObject *const *args, Py_ssize_t count) {
  (void)args;
  (void)count;
  return release_some(self, 1);
}

static PyObject *semaphore_acquire_async(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", "loop", "done", "n", NULL };
  PyObject *values[4];
  sync_request r = { 0 };
  r.number = 1;
  if (sync_arguments("acquire_async", names, 4, args, count, keywords, values) != 0) return NULL;
  if (sync_number(values[3], "n", MOST_PERMITS, &r.number) != 0) return NULL;
  r.kind = &semaphore_wait;
  r.object = self;
  return sync_op_begin(&r, values[0], values[1], values[2], NULL);
}

static PyObject *semaphore_close(sync_object *self, PyObject *unused) {
  (void)unused;
  (void)selv_semaphore_close(SEMAPHORE(self));
  Py_RETURN_NONE;
}

static PyObject *semaphore_stats(sync_object *self, PyObject *unused) {
  static const char *const names[] = { "permits", "max", "waiting", "waits", "timeouts", "cancelled", "closed", NULL };
  selv_semaphore_stats stats = SELV_SEMAPHORE_STATS_INIT;
  selv_status status = selv_semaphore_get_stats(SEMAPHORE(self), &stats);
  (void)unused;
  return sync_stats_dict(status, self->state, names, &stats);
}

static selv_semaphore_stats stats_of(sync_object *self) {
  selv_semaphore_stats stats = SELV_SEMAPHORE_STATS_INIT;
  (void)selv_semaphore_get_stats(SEMAPHORE(self), &stats);
  return stats;
}

static PyObject *get_value(sync_object *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLongLong(stats_of(self).permits);
}

static PyObject *get_max(sync_object *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLongLong(stats_of(self).max);
}

static PyObject *get_closed(sync_object *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(stats_of(self).closed != 0);
}

static PyObject *semaphore_repr(sync_object *self) {
  selv_semaphore_stats stats = stats_of(self);
  const char *name = self->shared->name;
  PyObject *value, *made;
  if (self->shared->kind == SYNC_SEMAPHORE) value = PyUnicode_FromFormat("%llu", (unsigned long long)stats.permits);
  else value = PyUnicode_FromFormat("%llu/%llu", (unsigned long long)stats.permits, (unsigned long long)stats.max);
  if (value == NULL) return NULL;
  made = PyUnicode_FromFormat("<sync.%s%s%s%s at %p: value=%U>", self->shared->kind == SYNC_SEMAPHORE ? "Semaphore" : "BoundedSemaphore",
                              name != NULL ? " '" : "", name != NULL ? name : "", name != NULL ? "'" : "", (void *)self, value);
  Py_DECREF(value);
  return made;
}

static PyObject *make(PyTypeObject *type, sync_state *state, int kind, PyObject *value, PyObject *max, PyObject *name) {
  selv_semaphore_options options = SELV_SEMAPHORE_OPTIONS_INIT;
  selv_semaphore *semaphore;
  selv_status status;
  if (value != NULL && !PyIndex_Check(value)) return sync_native(state, value, type, "a number of permits, or a semaphore of selvedge");
  options.initial = 1;
  if (sync_name(name, &options.name) != 0 || sync_number(value, "value", MOST_PERMITS, &options.initial) != 0) return NULL;
  if (kind == SYNC_BOUNDED_SEMAPHORE) {
    options.max = options.initial;
    if (max != Py_None && sync_number(max, "max", MOST_PERMITS, &options.max) != 0) return NULL;
    if (options.max == 0) {
      PyErr_SetString(PyExc_ValueError, "a bounded semaphore needs at least one permit");
      return NULL;
    }
  }
  status = selv_semaphore_new(&options, &semaphore);
  if (status != SELV_OK) return selvpy_raise(state->errors, status);
  return (PyObject *)sync_object_new(type, state, kind, semaphore, options.name, NULL);
}

static PyObject *semaphore_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "value", "name", NULL };
  sync_state *state = (sync_state *)selvpy_state_of_type(type, &sync_module);
  PyObject *value = NULL, *name = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:Semaphore", names, &value, &name)) return NULL;
  return make(type, state, SYNC_SEMAPHORE, value, Py_None, name);
}

static PyObject *bounded_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "value", "max", "name", NULL };
  sync_state *state = (sync_state *)selvpy_state_of_type(type, &sync_module);
  PyObject *value = NULL, *max = Py_None, *name = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OO:BoundedSemaphore", names, &value, &max, &name)) return NULL;
  return make(type, state, SYNC_BOUNDED_SEMAPHORE, value, max, name);
}

static PyMethodDef semaphore_methods[] = {
  SYNC_METHOD("acquire", semaphore_acquire, SYNC_KEYWORDS,
              "acquire($self, /, blocking=True, timeout=None, *, n=1, task=0)\n--\n\n"
              "Takes `n` permits; False if they were not to be had without waiting, or in `timeout` seconds. First come, first served.\n\n"
              "Blocks without the GIL; on Python's main thread signals are handled meanwhile. ClosedResourceError; ValueError if the semaphore\n"
              "never has so many."),
  SYNC_METHOD("release", semaphore_release, SYNC_KEYWORDS,
              "release($self, /, n=1)\n--\n\n"
              "Gives `n` permits back, or makes them. LimitError (a ValueError) if a bounded one would have too many. Any thread;\n"
              "does not block."),
  SYNC_METHOD("__enter__", semaphore_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nTakes one permit."),
  SYNC_METHOD("__exit__", semaphore_exit, METH_FASTCALL,
              "__exit__($self, kind=None, value=None, traceback=None, /)\n--\n\nGives one permit back."),
  SYNC_METHOD("acquire_async", semaphore_acquire_async, SYNC_KEYWORDS,
              "acquire_async($self, /, task, loop, done, n=1)\n--\n\nAs acquire(), with no thread: see _sync.pyi."),
  SYNC_METHOD("close", semaphore_close, METH_NOARGS,
              "close($self, /)\n--\n\n"
              "Everybody in line gets ClosedResourceError, and so does every later acquire. Permits can still be released. Does not block."),
  SYNC_METHOD("stats", semaphore_stats, METH_NOARGS,
              "stats($self, /)\n--\n\nHow it stands and what has happened to it: the fields of selv_semaphore_stats."),
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef semaphore_getset[] = {
  { "value", (getter)get_value, NULL, PyDoc_STR("Permits that are free now."), NULL },
  { "closed", (getter)get_closed, NULL, PyDoc_STR("Whether it has been closed."), NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot semaphore_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("Semaphore(value=1, *, name=None)\n--\n\n"
                                 "A number of permits, which nobody owns. `value`: how many are free at first, or a face of a semaphore.") },
  { Py_tp_new, semaphore_new },
  { Py_tp_methods, semaphore_methods },
  { Py_tp_getset, semaphore_getset },
  { Py_tp_repr, semaphore_repr },
  { 0, NULL },
};

PyType_Spec sync_semaphore_spec = {
  "selvedge.sync.Semaphore", sizeof(sync_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, semaphore_slots,
};

static PyGetSetDef bounded_getset[] = {
  { "max", (getter)get_max, NULL, PyDoc_STR("Permits that can be free at most."), NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot bounded_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("BoundedSemaphore(value=1, *, max=None, name=None)\n--\n\n"
                                 "A Semaphore that never has more permits than at first, or than `max`.") },
  { Py_tp_new, bounded_new },
  { Py_tp_getset, bounded_getset },
  { 0, NULL },
};

PyType_Spec sync_bounded_semaphore_spec = {
  "selvedge.sync.BoundedSemaphore", sizeof(sync_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, bounded_slots,
};

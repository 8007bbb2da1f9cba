/* sync_event.c: Event. */
#include "sync.h"

#define EVENT(self) ((selv_event *)(self)->handle)

static selv_status event_block(sync_request *r, uint64_t ns) { return selv_event_wait(EVENT(r->object), r->task, ns); }

static selv_status event_begin(const sync_request *r, const selv_completion *completion, selv_op *op) {
  return selv_event_wait_async(EVENT(r->object), r->task, completion, op);
}

static const sync_wait_kind event_wait_kind = { event_block, event_begin, 0, 0 };

static PyObject *event_wait(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "timeout", "task", NULL };
  PyObject *values[2];
  sync_request r;
  uint64_t ns;
  if (sync_arguments("wait", names, 1, args, count, keywords, values) != 0) return NULL;
  if (selvpy_timeout(values[0], "timeout", &ns) != 0) return NULL;
  if (selv_event_is_set(EVENT(self))) Py_RETURN_TRUE;
  memset(&r, 0, sizeof r);
  r.kind = &event_wait_kind;
  r.object = self;
  r.task = sync_task(self->state, values[1]);
  return r.task == 0 ? NULL : sync_wait_bool(&r, ns);
}

static PyObject *event_wait_async(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", "loop", "done", NULL };
  PyObject *values[3];
  sync_request r = { 0 };
  if (sync_arguments("wait_async", names, 3, args, count, keywords, values) != 0) return NULL;
  r.kind = &event_wait_kind;
  r.object = self;
  return sync_op_begin(&r, values[0], values[1], values[2], NULL);
}

static PyObject *event_is_set(sync_object *self, PyObject *unused) {
  (void)unused;
  return PyBool_FromLong(selv_event_is_set(EVENT(self)));
}

static PyObject *event_set(sync_object *self, PyObject *unused) {
  selv_status status = selv_event_set(EVENT(self));
  (void)unused;
  if (status != SELV_OK) return SYNC_RAISE(self, status);
  Py_RETURN_NONE;
}

static PyObject *event_clear(sync_object *self, PyObject *unused) {
  selv_status status = selv_event_clear(EVENT(self));
  (void)unused;
  if (status != SELV_OK) return SYNC_RAISE(self, status);
  Py_RETURN_NONE;
}

static PyObject *event_close(sync_object *self, PyObject *unused) {
  (void)unused;
  (void)selv_event_close(EVENT(self));
  Py_RETURN_NONE;
}

static PyObject *event_stats(sync_object *self, PyObject *unused) {
  static const char *const names[] = { "is_set", "waiting", "waits", "timeouts", "cancelled", "closed", NULL };
  selv_event_stats stats = SELV_EVENT_STATS_INIT;
  selv_status status = selv_event_get_stats(EVENT(self), &stats);
  (void)unused;
  return sync_stats_dict(status, self->state, names, &stats);
}

static PyObject *get_closed(sync_object *self, void *unused) {
  selv_event_stats stats = SELV_EVENT_STATS_INIT;
  (void)unused;
  (void)selv_event_get_stats(EVENT(self), &stats);
  return PyBool_FromLong(stats.closed != 0);
}

static PyObject *event_repr(sync_object *self) {
  const char *name = self->shared->name;
  return PyUnicode_FromFormat("<sync.Event%s%s%s at %p: %s>", name != NULL ? " '" : "", name != NULL ? name : "", name != NULL ? "'" : "",
                              (void *)self, selv_event_is_set(EVENT(self)) ? "set" : "unset");
}

static PyObject *event_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "shared", "name", NULL };
  sync_state *state = (sync_state *)selvpy_state_of_type(type, &sync_module);
  selv_event_options options = SELV_EVENT_OPTIONS_INIT;
  PyObject *shared = Py_None, *name = Py_None;
  selv_event *event;
  selv_status status;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:Event", names, &shared, &name)) return NULL;
  if (shared != Py_None) return sync_native(state, shared, type, "an event of selvedge");
  if (sync_name(name, &options.name) != 0) return NULL;
  options.flags = SELV_EVENT_RESETTABLE;
  status = selv_event_new(&options, &event);
  if (status != SELV_OK) return selvpy_raise(state->errors, status);
  return (PyObject *)sync_object_new(type, state, SYNC_EVENT, event, options.name, NULL);
}

static PyMethodDef event_methods[] = {
  SYNC_METHOD("wait", event_wait, SYNC_KEYWORDS,
              "wait($self, /, timeout=None, *, task=0)\n--\n\n"
              "Waits until the event is set; False if `timeout` seconds passed first. Who waits when it is set goes, also if it is\n"
              "cleared at once.\n\n"
              "Blocks without the GIL; on Python's main thread signals are handled meanwhile. ClosedResourceError."),
  SYNC_METHOD("wait_async", event_wait_async, SYNC_KEYWORDS,
              "wait_async($self, /, task, loop, done)\n--\n\nAs wait(), with no thread: see _sync.pyi."),
  SYNC_METHOD("is_set", event_is_set, METH_NOARGS, "is_set($self, /)\n--\n\nWhether it is set."),
  SYNC_METHOD("set", event_set, METH_NOARGS,
              "set($self, /)\n--\n\nSets it: everybody who waits goes. ClosedResourceError. Any thread; does not block."),
  SYNC_METHOD("clear", event_clear, METH_NOARGS, "clear($self, /)\n--\n\nClears it. ClosedResourceError. Any thread; does not block."),
  SYNC_METHOD("close", event_close, METH_NOARGS,
              "close($self, /)\n--\n\nEverybody who waits gets ClosedResourceError, and it is neither set nor cleared any more. Does not block."),
  SYNC_METHOD("stats", event_stats, METH_NOARGS,
              "stats($self, /)\n--\n\nHow it stands and what has happened to it: the fields of selv_event_stats."),
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef event_getset[] = {
  { "closed", (getter)get_closed, NULL, PyDoc_STR("Whether it has been closed."), NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot event_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("Event(shared=None, *, name=None)\n--\n\n"
                                 "Something that has happened or not. `shared`: not a new event, but the one of this face.") },
  { Py_tp_new, event_new },
  { Py_tp_methods, event_methods },
  { Py_tp_getset, event_getset },
  { Py_tp_repr, event_repr },
  { 0, NULL },
};

PyType_Spec sync_event_spec = {
  "selvedge.sync.Event", sizeof(sync_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, event_slots,
};

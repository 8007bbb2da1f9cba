/* sync_parking_lot.c: ParkingLot. */
#include "sync.h"

#define LOT(self) ((selv_parking_lot *)(self)->handle)

static selv_status lot_block(sync_request *r, uint64_t ns) { return selv_parking_lot_park(LOT(r->object), r->task, ns); }

static selv_status lot_begin(const sync_request *r, const selv_completion *completion, selv_op *op) {
  return selv_parking_lot_park_async(LOT(r->object), r->task, completion, op);
}

static const sync_wait_kind lot_wait = { lot_block, lot_begin, 0, 0 };

static PyObject *lot_park(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "timeout", "task", NULL };
  PyObject *values[2];
  sync_request r;
  uint64_t ns;
  if (sync_arguments("park", names, 1, args, count, keywords, values) != 0) return NULL;
  if (selvpy_timeout(values[0], "timeout", &ns) != 0) return NULL;
  memset(&r, 0, sizeof r);
  r.kind = &lot_wait;
  r.object = self;
  r.task = sync_task(self->state, values[1]);
  return r.task == 0 ? NULL : sync_wait_bool(&r, ns);
}

static PyObject *lot_park_async(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", "loop", "done", NULL };
  PyObject *values[3];
  sync_request r = { 0 };
  if (sync_arguments("park_async", names, 3, args, count, keywords, values) != 0) return NULL;
  r.kind = &lot_wait;
  r.object = self;
  return sync_op_begin(&r, values[0], values[1], values[2], NULL);
}

static PyObject *counted(sync_object *self, selv_status status, uint64_t number) {
  return status == SELV_OK ? PyLong_FromUnsignedLongLong(number) : SYNC_RAISE(self, status);
}

static PyObject *lot_unpark(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "n", NULL };
  PyObject *values[1];
  uint64_t n = 1, number = 0;
  selv_status status;
  if (sync_arguments("unpark", names, 1, args, count, keywords, values) != 0) return NULL;
  if (sync_number(values[0], "n", UINT64_MAX, &n) != 0) return NULL;
  status = selv_parking_lot_unpark(LOT(self), n, &number);
  return counted(self, status, number);
}

static PyObject *lot_unpark_all(sync_object *self, PyObject *unused) {
  uint64_t number = 0;
  selv_status status = selv_parking_lot_unpark(LOT(self), UINT64_MAX, &number);
  (void)unused;
  return counted(self, status, number);
}

static PyObject *repark(sync_object *self, PyObject *to, uint64_t n) {
  PyObject *other;
  uint64_t number = 0;
  selv_status status;
  if (to == NULL) {
    PyErr_SetString(PyExc_TypeError, "repark() needs the parking lot to move to");
    return NULL;
  }
  other = sync_native(self->state, to, self->state->kinds[SYNC_PARKING_LOT], "a parking lot of selvedge");
  if (other == NULL) return NULL;
  status = selv_parking_lot_repark(LOT(self), LOT((sync_object *)other), n, &number);
  Py_DECREF(other);
  return counted(self, status, number);
}

static PyObject *lot_repark(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "to", "n", NULL };
  PyObject *values[2];
  uint64_t n = 1;
  if (sync_arguments("repark", names, 2, args, count, keywords, values) != 0) return NULL;
  if (sync_number(values[1], "n", UINT64_MAX, &n) != 0) return NULL;
  return repark(self, values[0], n);
}

static PyObject *lot_repark_all(sync_object *self, PyObject *to) { return repark(self, to, UINT64_MAX); }

typedef selv_status (*lot_function)(selv_parking_lot *lot, selv_task task);

static PyObject *by_task(sync_object *self, const char *name, lot_function function, PyObject *const *args, Py_ssize_t count,
                         PyObject *keywords) {
  static const char *const names[] = { "task", NULL };
  PyObject *values[1];
  selv_task task;
  selv_status status;
  if (sync_arguments(name, names, 0, args, count, keywords, values) != 0) return NULL;
  task = sync_task(self->state, values[0]);
  if (task == 0) return NULL;
  status = function(LOT(self), task);
  if (status != SELV_OK) return SYNC_RAISE(self, status);
  Py_RETURN_NONE;
}

static PyObject *lot_break(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  return by_task(self, "break_lot", selv_parking_lot_break, args, count, keywords);
}

static PyObject *lot_add_breaker(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  return by_task(self, "add_breaker", selv_parking_lot_add_breaker, args, count, keywords);
}

static PyObject *lot_remove_breaker(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  return by_task(self, "remove_breaker", selv_parking_lot_remove_breaker, args, count, keywords);
}

static PyObject *lot_close(sync_object *self, PyObject *unused) {
  (void)unused;
  (void)selv_parking_lot_close(LOT(self));
  Py_RETURN_NONE;
}

static PyObject *lot_stats(sync_object *self, PyObject *unused) {
  static const char *const names[] = { "waiting", "waits", "unparked", "timeouts", "cancelled", "breakers", "broken", "closed", NULL };
  selv_parking_lot_stats stats = SELV_PARKING_LOT_STATS_INIT;
  selv_status status = selv_parking_lot_get_stats(LOT(self), &stats);
  (void)unused;
  return sync_stats_dict(status, self->state, names, &stats);
}

static selv_parking_lot_stats stats_of(sync_object *self) {
  selv_parking_lot_stats stats = SELV_PARKING_LOT_STATS_INIT;
  (void)selv_parking_lot_get_stats(LOT(self), &stats);
  return stats;
}

static PyObject *get_broken(sync_object *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(stats_of(self).broken != 0);
}

static PyObject *get_closed(sync_object *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(stats_of(self).closed != 0);
}

static PyObject *get_waiting(sync_object *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLongLong(stats_of(self).waiting);
}

static PyObject *lot_repr(sync_object *self) {
  selv_parking_lot_stats stats = stats_of(self);
  const char *name = self->shared->name;
  return PyUnicode_FromFormat("<sync.ParkingLot%s%s%s at %p: waiting=%llu%s>", name != NULL ? " '" : "", name != NULL ? name : "",
                              name != NULL ? "'" : "", (void *)self, (unsigned long long)stats.waiting, stats.broken ? ", broken" : "");
}

static PyObject *lot_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "shared", "name", NULL };
  sync_state *state = (sync_state *)selvpy_state_of_type(type, &sync_module);
  selv_parking_lot_options options = SELV_PARKING_LOT_OPTIONS_INIT;
  PyObject *shared = Py_None, *name = Py_None;
  selv_parking_lot *lot;
  selv_status status;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:ParkingLot", names, &shared, &name)) return NULL;
  if (shared != Py_None) return sync_native(state, shared, type, "a parking lot of selvedge");
  if (sync_name(name, &options.name) != 0) return NULL;
  status = selv_parking_lot_new(&options, &lot);
  if (status != SELV_OK) return selvpy_raise(state->errors, status);
  return (PyObject *)sync_object_new(type, state, SYNC_PARKING_LOT, lot, options.name, NULL);
}

static PyMethodDef lot_methods[] = {
  SYNC_METHOD("park", lot_park, SYNC_KEYWORDS,
              "park($self, /, timeout=None, *, task=0)\n--\n\nWaits to be unparked; False if `timeout` seconds passed first. BrokenResourceError,\n"
              "ClosedResourceError. Blocks without the GIL; on Python's main thread signals are handled meanwhile."),
  SYNC_METHOD("park_async", lot_park_async, SYNC_KEYWORDS,
              "park_async($self, /, task, loop, done)\n--\n\nAs park(), with no thread: see _sync.pyi."),
  SYNC_METHOD("unpark", lot_unpark, SYNC_KEYWORDS,
              "unpark($self, /, n=1)\n--\n\n"
              "Lets up to `n` go, who is parked longest first; gives how many there were. Any thread; does not block."),
  SYNC_METHOD("unpark_all", lot_unpark_all, METH_NOARGS, "unpark_all($self, /)\n--\n\nLets everybody go; gives how many there were."),
  SYNC_METHOD("repark", lot_repark, SYNC_KEYWORDS,
              "repark($self, /, to, n=1)\n--\n\nMoves up to `n` to the end of another lot; gives how many there were."),
  SYNC_METHOD("repark_all", lot_repark_all, METH_O,
              "repark_all($self, to, /)\n--\n\nMoves everybody to the end of another lot; gives how many there were."),
  SYNC_METHOD("break_lot", lot_break, SYNC_KEYWORDS,
              "break_lot($self, /, *, task=0)\n--\n\n"
              "Breaks the lot for ever: who is parked, and who parks later, gets BrokenResourceError, which names the task."),
  SYNC_METHOD("add_breaker", lot_add_breaker, SYNC_KEYWORDS,
              "add_breaker($self, /, *, task=0)\n--\n\nHas the lot break if the task ends. To be taken back as often as it is done."),
  SYNC_METHOD("remove_breaker", lot_remove_breaker, SYNC_KEYWORDS,
              "remove_breaker($self, /, *, task=0)\n--\n\nTakes one add_breaker() back. NotOwnerError if the task is no breaker."),
  SYNC_METHOD("close", lot_close, METH_NOARGS,
              "close($self, /)\n--\n\nEverybody parked gets ClosedResourceError, and nobody parks any more. Does not block."),
  SYNC_METHOD("stats", lot_stats, METH_NOARGS,
              "stats($self, /)\n--\n\nHow it stands and what has happened to it: the fields of selv_parking_lot_stats."),
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef lot_getset[] = {
  { "broken", (getter)get_broken, NULL, PyDoc_STR("Whether it is broken."), NULL },
  { "closed", (getter)get_closed, NULL, PyDoc_STR("Whether it has been closed."), NULL },
  { "waiting", (getter)get_waiting, NULL, PyDoc_STR("How many are parked now."), NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot lot_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("ParkingLot(shared=None, *, name=None)\n--\n\n"
                                 "A line of waiters, from which other primitives are made. `shared`: not a new lot, but the one of this face.") },
  { Py_tp_new, lot_new },
  { Py_tp_methods, lot_methods },
  { Py_tp_getset, lot_getset },
  { Py_tp_repr, lot_repr },
  { 0, NULL },
};

PyType_Spec sync_parking_lot_spec = {
  "selvedge.sync.ParkingLot", sizeof(sync_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, lot_slots,
};

/* sync_limiter.c: CapacityLimiter. A borrower that is no task is a number for the library, and any hashable object for Python. The limiter's dict
 * has each one's number, in a tuple as long as it is in line. */
#include "sync.h"

#include <math.h>

#define LIMITER(self) ((selv_limiter *)(self)->handle)

/* math.inf, for the library. */
#define NO_BOUND ((UINT64_C(1) << 62) - 1)

/* Numbers of objects; an int of the caller's own is below. */
#define FIRST_OBJECT (UINT64_C(1) << 63)
static uint64_t objects_numbered;

static selv_status limiter_block(sync_request *r, uint64_t ns) {
  if (r->on_behalf) return selv_limiter_acquire_on_behalf_of(LIMITER(r->object), r->task, r->number, ns);
  return selv_limiter_acquire(LIMITER(r->object), r->task, ns);
}

static selv_status limiter_begin(const sync_request *r, const selv_completion *completion, selv_op *op) {
  if (r->on_behalf) return selv_limiter_acquire_on_behalf_of_async(LIMITER(r->object), r->task, r->number, completion, op);
  return selv_limiter_acquire_async(LIMITER(r->object), r->task, completion, op);
}

static const sync_wait_kind limiter_wait = { limiter_block, limiter_begin, 1, 0 };

/* ---- borrowers ---- */

void sync_limiter_forget(sync_object *self, PyObject *key) {
  PyObject *dict = self->extra, *each, *number;
  Py_ssize_t at = 0;
  if (dict == NULL) return;
  if (key != NULL) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (PyDict_DelItem(dict, key) != 0) PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return;
  }
  self->extra = NULL;
  while (PyDict_Next(dict, &at, &each, &number))
    if (PyLong_Check(number)) (void)selv_limiter_release_on_behalf_of(LIMITER(self), PyLong_AsUnsignedLongLong(number));
  Py_DECREF(dict);
}

void sync_limiter_granted(sync_object *self, PyObject *key) {
  PyObject *type, *value, *traceback, *entry;
  PyErr_Fetch(&type, &value, &traceback);
  entry = self->extra != NULL ? PyDict_GetItemWithError(self->extra, key) : NULL;
  if (entry == NULL || !PyTuple_Check(entry) || PyDict_SetItem(self->extra, key, PyTuple_GET_ITEM(entry, 0)) != 0) PyErr_Clear();
  PyErr_Restore(type, value, traceback);
}

/* Notes that `borrower` stands in line for a token, and gives its number. -1 with an exception set. */
static int note_borrower(sync_object *self, PyObject *borrower, uint64_t *number) {
  PyObject *entry, *known;
  if (PyLong_CheckExact(borrower)) {
    if (sync_number(borrower, "on_behalf_of", FIRST_OBJECT - 1, number) != 0) return -1;
  } else {
    *number = FIRST_OBJECT + __atomic_add_fetch(&objects_numbered, 1u, __ATOMIC_RELAXED);
  }
  if (self->extra == NULL) self->extra = PyDict_New();
  entry = self->extra != NULL ? Py_BuildValue("(K)", (unsigned long long)*number) : NULL;
  known = entry != NULL ? PyDict_SetDefault(self->extra, borrower, entry) : NULL;
  if (known != NULL && known != entry) {
    /* The library says so as well, of a number; of an object it cannot know. */
    selvpy_raise_named(self->state->errors, "DuplicateError", "the borrower has a token of this limiter already, or waits for one");
    known = NULL;
  }
  Py_XDECREF(entry);
  return known == NULL ? -1 : 0;
}

static PyObject *acquire_as(sync_object *self, PyObject *borrower, PyObject *task, uint64_t ns) {
  sync_request r;
  selv_status status;
  int granted = 1;
  memset(&r, 0, sizeof r);
  r.kind = &limiter_wait;
  r.object = self;
  r.on_behalf = borrower != NULL && borrower != Py_None;
  r.task = sync_task(self->state, task);
  if (r.task == 0 || (r.on_behalf && note_borrower(self, borrower, &r.number) != 0)) return NULL;
  status = r.on_behalf ? selv_limiter_try_acquire_on_behalf_of(LIMITER(self), r.number) : selv_limiter_try_acquire(LIMITER(self), r.task);
  if (status == SELV_E_WOULD_BLOCK) {
    granted = ns == 0 ? 0 : sync_wait(&r, ns);
  } else if (status != SELV_OK) {
    SYNC_RAISE(self, status);
    granted = -1;
  }
  if (r.on_behalf && granted == 1) sync_limiter_granted(self, borrower);
  else if (r.on_behalf) sync_limiter_forget(self, borrower);
  return granted < 0 ? NULL : PyBool_FromLong(granted);
}

static PyObject *release_as(sync_object *self, PyObject *borrower, PyObject *task) {
  PyObject *number;
  selv_status status;
  if (borrower != NULL && borrower != Py_None) {
    number = self->extra != NULL ? PyDict_GetItemWithError(self->extra, borrower) : NULL;
    if (number == NULL || !PyLong_Check(number)) {
      if (PyErr_Occurred()) return NULL;
      return selvpy_raise_named(self->state->errors, "NotOwnerError", "the borrower has no token of this limiter");
    }
    status = selv_limiter_release_on_behalf_of(LIMITER(self), PyLong_AsUnsignedLongLong(number));
    if (status == SELV_OK) sync_limiter_forget(self, borrower);
  } else {
    selv_task own = sync_task(self->state, task);
    if (own == 0) return NULL;
    status = selv_limiter_release(LIMITER(self), own);
  }
  if (status != SELV_OK) return SYNC_RAISE(self, status);
  Py_RETURN_NONE;
}

/* ---- methods ---- */

static PyObject *limiter_acquire(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "blocking", "timeout", "on_behalf_of", "task", NULL };
  PyObject *values[4];
  uint64_t ns;
  if (sync_arguments("acquire", names, 2, args, count, keywords, values) != 0) return NULL;
  if (sync_blocking(values[0], values[1], 0, &ns) != 0) return NULL;
  return acquire_as(self, values[2], values[3], ns);
}

static PyObject *limiter_release(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "on_behalf_of", "task", NULL };
  PyObject *values[2];
  if (sync_arguments("release", names, 0, args, count, keywords, values) != 0) return NULL;
  return release_as(self, values[0], values[1]);
}

static PyObject *limiter_enter(sync_object *self, PyObject *unused) {
  (void)unused;
  return acquire_as(self, NULL, NULL, SELV_FOREVER);
}

static PyObject *limiter_exit(sync_object *self, PyObject *const *args, Py_ssize_t count) {
  (void)args;
  (void)count;
  return release_as(self, NULL, NULL);
}

static PyObject *limiter_acquire_async(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", "loop", "done", "on_behalf_of", NULL };
  PyObject *values[4], *made;
  sync_request r = { 0 };
  if (sync_arguments("acquire_async", names, 3, args, count, keywords, values) != 0) return NULL;
  r.kind = &limiter_wait;
  r.object = self;
  r.on_behalf = values[3] != NULL && values[3] != Py_None;
  if (!r.on_behalf) return sync_op_begin(&r, values[0], values[1], values[2], NULL);
  if (note_borrower(self, values[3], &r.number) != 0) return NULL;
  made = sync_op_begin(&r, values[0], values[1], values[2], values[3]);
  if (made == NULL) sync_limiter_forget(self, values[3]);
  else if (made == Py_None) sync_limiter_granted(self, values[3]);
  return made;
}

static PyObject *limiter_close(sync_object *self, PyObject *unused) {
  (void)unused;
  (void)selv_limiter_close(LIMITER(self));
  Py_RETURN_NONE;
}

static PyObject *limiter_stats(sync_object *self, PyObject *unused) {
  static const char *const names[] = { "total", "borrowed", "waiting", "waits", "timeouts", "cancelled", "closed", NULL };
  selv_limiter_stats stats = SELV_LIMITER_STATS_INIT;
  selv_status status = selv_limiter_get_stats(LIMITER(self), &stats);
  (void)unused;
  return sync_stats_dict(status, self->state, names, &stats);
}

/* ---- attributes ---- */

static selv_limiter_stats stats_of(sync_object *self) {
  selv_limiter_stats stats = SELV_LIMITER_STATS_INIT;
  (void)selv_limiter_get_stats(LIMITER(self), &stats);
  return stats;
}

static PyObject *tokens(uint64_t total, uint64_t less) {
  if (total >= NO_BOUND) return PyFloat_FromDouble(HUGE_VAL);
  return PyLong_FromUnsignedLongLong(total > less ? total - less : 0);
}

/* A number of tokens: an int, or math.inf. */
static int read_total(PyObject *object, uint64_t *total) {
  double value;
  if (PyFloat_Check(object)) {
    value = PyFloat_AS_DOUBLE(object);
    if (isinf(value) && value > 0.0) {
      *total = NO_BOUND;
      return 0;
    }
    PyErr_SetString(PyExc_TypeError, "total_tokens must be an int or math.inf");
    return -1;
  }
  return sync_number(object, "total_tokens", NO_BOUND - 1, total);
}

static PyObject *get_total(sync_object *self, void *unused) {
  (void)unused;
  return tokens(stats_of(self).total, 0);
}

static int set_total(sync_object *self, PyObject *object, void *unused) {
  uint64_t total;
  selv_status status;
  (void)unused;
  if (object == NULL) {
    PyErr_SetString(PyExc_AttributeError, "total_tokens cannot be deleted");
    return -1;
  }
  if (read_total(object, &total) != 0) return -1;
  status = selv_limiter_set_total(LIMITER(self), total);
  if (status == SELV_OK) return 0;
  SYNC_RAISE(self, status);
  return -1;
}

static PyObject *get_borrowed(sync_object *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLongLong(stats_of(self).borrowed);
}

static PyObject *get_available(sync_object *self, void *unused) {
  selv_limiter_stats stats = stats_of(self);
  (void)unused;
  return tokens(stats.total, stats.borrowed);
}

static PyObject *get_borrowers(sync_object *self, void *unused) {
  PyObject *list = PyList_New(0), *each, *number;
  Py_ssize_t at = 0;
  (void)unused;
  while (list != NULL && self->extra != NULL && PyDict_Next(self->extra, &at, &each, &number))
    if (PyLong_Check(number) && PyList_Append(list, each) != 0) Py_CLEAR(list);
  return list;
}

static PyObject *get_closed(sync_object *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(stats_of(self).closed != 0);
}

static PyObject *limiter_repr(sync_object *self) {
  selv_limiter_stats stats = stats_of(self);
  const char *name = self->shared->name;
  PyObject *total = tokens(stats.total, 0), *made;
  if (total == NULL) return NULL;
  made = PyUnicode_FromFormat("<sync.CapacityLimiter%s%s%s at %p: borrowed=%llu/%R>", name != NULL ? " '" : "", name != NULL ? name : "",
                              name != NULL ? "'" : "", (void *)self, (unsigned long long)stats.borrowed, total);
  Py_DECREF(total);
  return made;
}

/* ---- the type ---- */

static PyObject *limiter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "total_tokens", "name", NULL };
  sync_state *state = (sync_state *)selvpy_state_of_type(type, &sync_module);
  selv_limiter_options options = SELV_LIMITER_OPTIONS_INIT;
  PyObject *total, *name = Py_None;
  selv_limiter *limiter;
  selv_status status;
  uint64_t number;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$O:CapacityLimiter", names, &total, &name)) return NULL;
  if (!PyIndex_Check(total) && !PyFloat_Check(total))
    return sync_native(state, total, type, "a number of tokens, or a limiter of selvedge");
  if (sync_name(name, &options.name) != 0 || read_total(total, &number) != 0) return NULL;
  /* The library wants one at first. */
  options.total = number != 0 ? number : 1;
  status = selv_limiter_new(&options, &limiter);
  if (status != SELV_OK) return selvpy_raise(state->errors, status);
  if (number == 0) (void)selv_limiter_set_total(limiter, 0);
  return (PyObject *)sync_object_new(type, state, SYNC_LIMITER, limiter, options.name, NULL);
}

static PyMethodDef limiter_methods[] = {
  SYNC_METHOD("acquire", limiter_acquire, SYNC_KEYWORDS,
              "acquire($self, /, blocking=True, timeout=None, *, on_behalf_of=None, task=0)\n--\n\n"
              "Takes a token; False if none was to be had without waiting, or in `timeout` seconds.\n\n"
              "Blocks without the GIL; on Python's main thread signals are handled meanwhile. DuplicateError: the borrower has a\n"
              "token, or waits for one. DeadlockError: the only token is held by who waits for the caller. ClosedResourceError."),
  SYNC_METHOD("release", limiter_release, SYNC_KEYWORDS,
              "release($self, /, *, on_behalf_of=None, task=0)\n--\n\n"
              "Returns a token. NotOwnerError if the borrower has none. Any thread; does not block."),
  SYNC_METHOD("__enter__", limiter_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nTakes a token."),
  SYNC_METHOD("__exit__", limiter_exit, METH_FASTCALL,
              "__exit__($self, kind=None, value=None, traceback=None, /)\n--\n\nReturns the token."),
  SYNC_METHOD("acquire_async", limiter_acquire_async, SYNC_KEYWORDS,
              "acquire_async($self, /, task, loop, done, *, on_behalf_of=None)\n--\n\nAs acquire(), with no thread: see _sync.pyi."),
  SYNC_METHOD("close", limiter_close, METH_NOARGS,
              "close($self, /)\n--\n\n"
              "Everybody in line gets ClosedResourceError, and so does every later acquire. Tokens can still be returned. Does not block."),
  SYNC_METHOD("stats", limiter_stats, METH_NOARGS,
              "stats($self, /)\n--\n\nHow it stands and what has happened to it: the fields of selv_limiter_stats."),
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef limiter_getset[] = {
  { "total_tokens", (getter)get_total, (setter)set_total, PyDoc_STR("How many there are; may be set, also below what is borrowed."), NULL },
  { "borrowed_tokens", (getter)get_borrowed, NULL, PyDoc_STR("Tokens that are out."), NULL },
  { "available_tokens", (getter)get_available, NULL, PyDoc_STR("Tokens that are free."), NULL },
  { "borrowers", (getter)get_borrowers, NULL, PyDoc_STR("The on_behalf_of objects that have a token, as far as this object gave it."), NULL },
  { "closed", (getter)get_closed, NULL, PyDoc_STR("Whether it has been closed."), NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot limiter_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("CapacityLimiter(total_tokens, *, name=None)\n--\n\n"
                                 "A number of tokens, at most one for each borrower; a task that ends returns its token. `total_tokens`: an int,\n"
                                 "math.inf, or a face of a limiter.") },
  { Py_tp_new, limiter_new },
  { Py_tp_methods, limiter_methods },
  { Py_tp_getset, limiter_getset },
  { Py_tp_repr, limiter_repr },
  { 0, NULL },
};

PyType_Spec sync_limiter_spec = {
  "selvedge.sync.CapacityLimiter", sizeof(sync_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, limiter_slots,
};

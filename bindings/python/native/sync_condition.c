/* sync_condition.c: Condition, on a Lock or RLock. */
#include "sync.h"

#include <time.h>

#define CONDITION(self) ((selv_condition *)(self)->handle)

static selv_status condition_block(sync_request *r, uint64_t ns) {
  return selv_condition_wait(CONDITION(r->object), r->task, ns, &r->holds_lock);
}

static selv_status condition_begin(const sync_request *r, const selv_completion *completion, selv_op *op) {
  return selv_condition_wait_async(CONDITION(r->object), r->task, completion, op);
}

static const sync_wait_kind condition_wait = { condition_block, condition_begin, 0, 1 };

static sync_object *lock_of(sync_object *self) { return (sync_object *)self->extra; }

/* 1: notified, 0: the time has passed, -1 with an exception set. */
static int wait_as(sync_object *self, selv_task task, uint64_t ns) {
  sync_request r;
  int result;
  memset(&r, 0, sizeof r);
  r.kind = &condition_wait;
  r.object = self;
  r.task = task;
  result = sync_wait(&r, ns);
  if (result == 1 && r.status == SELV_OWNER_DIED) lock_of(self)->inconsistent = 1;
  return result;
}

static PyObject *condition_wait_method(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "timeout", "task", NULL };
  PyObject *values[2];
  uint64_t ns;
  selv_task task;
  int result;
  if (sync_arguments("wait", names, 1, args, count, keywords, values) != 0) return NULL;
  if (selvpy_timeout(values[0], "timeout", &ns) != 0) return NULL;
  task = sync_task(self->state, values[1]);
  if (task == 0) return NULL;
  result = wait_as(self, task, ns);
  return result < 0 ? NULL : PyBool_FromLong(result);
}

static PyObject *condition_wait_for(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "predicate", "timeout", NULL };
  PyObject *values[2], *result;
  uint64_t ns, began, until = 0, now;
  selv_task task;
  int is_true;
  if (sync_arguments("wait_for", names, 2, args, count, keywords, values) != 0) return NULL;
  if (values[0] == NULL) {
    PyErr_SetString(PyExc_TypeError, "wait_for() needs a predicate");
    return NULL;
  }
  if (selvpy_timeout(values[1], "timeout", &ns) != 0) return NULL;
  began = selvpy_now_ns();
  if (ns != SELV_FOREVER) until = ns > UINT64_MAX - 1 - began ? UINT64_MAX - 1 : began + ns;
  for (;;) {
    result = PyObject_CallNoArgs(values[0]);
    is_true = result != NULL ? PyObject_IsTrue(result) : -1;
    if (is_true != 0) break;
    if (ns != SELV_FOREVER) {
      now = selvpy_now_ns();
      if (now >= until) break;
      ns = until - now;
    }
    task = sync_own_task(self->state);
    Py_CLEAR(result);
    if (task == 0 || wait_as(self, task, ns) < 0) return NULL;
  }
  if (is_true < 0) Py_CLEAR(result);
  return result;
}

static PyObject *condition_wait_async(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", "loop", "done", NULL };
  PyObject *values[3];
  sync_request r = { 0 };
  if (sync_arguments("wait_async", names, 3, args, count, keywords, values) != 0) return NULL;
  r.kind = &condition_wait;
  r.object = self;
  return sync_op_begin(&r, values[0], values[1], values[2], NULL);
}

static PyObject *notify_as(sync_object *self, PyObject *task_object, uint64_t n) {
  selv_task task = sync_task(self->state, task_object);
  selv_status status;
  if (task == 0) return NULL;
  status = n == UINT64_MAX ? selv_condition_notify_all(CONDITION(self), task) : selv_condition_notify(CONDITION(self), task, n);
  if (status != SELV_OK) return SYNC_RAISE(self, status);
  Py_RETURN_NONE;
}

static PyObject *condition_notify(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "n", "task", NULL };
  PyObject *values[2];
  uint64_t n = 1;
  if (sync_arguments("notify", names, 1, args, count, keywords, values) != 0) return NULL;
  if (sync_number(values[0], "n", UINT64_MAX, &n) != 0) return NULL;
  return notify_as(self, values[1], n);
}

static PyObject *condition_notify_all(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", NULL };
  PyObject *values[1];
  if (sync_arguments("notify_all", names, 0, args, count, keywords, values) != 0) return NULL;
  return notify_as(self, values[0], UINT64_MAX);
}

/* ---- the lock's own methods ---- */

static PyObject *condition_acquire(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "blocking", "timeout", "task", NULL };
  PyObject *values[3];
  uint64_t ns;
  selv_task task;
  if (sync_arguments("acquire", names, 2, args, count, keywords, values) != 0) return NULL;
  if (sync_blocking(values[0], values[1], 1, &ns) != 0) return NULL;
  task = sync_task(self->state, values[2]);
  return task == 0 ? NULL : sync_lock_acquire_as(lock_of(self), task, ns);
}

static PyObject *condition_release(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", NULL };
  PyObject *values[1];
  selv_task task;
  if (sync_arguments("release", names, 0, args, count, keywords, values) != 0) return NULL;
  task = sync_task(self->state, values[0]);
  return task == 0 ? NULL : sync_lock_release_as(lock_of(self), task);
}

static PyObject *condition_enter(sync_object *self, PyObject *unused) {
  selv_task task = sync_own_task(self->state);
  (void)unused;
  return task == 0 ? NULL : sync_lock_acquire_as(lock_of(self), task, SELV_FOREVER);
}

static PyObject *condition_exit(sync_object *self, PyObject *const *args, Py_ssize_t count) {
  selv_task task = sync_own_task(self->state);
  (void)args;
  (void)count;
  return task == 0 ? NULL : sync_lock_release_as(lock_of(self), task);
}

static PyObject *condition_is_owned(sync_object *self, PyObject *unused) {
  (void)unused;
  return PyObject_CallMethod(self->extra, "_is_owned", NULL);
}

/* ---- the rest ---- */

static PyObject *condition_close(sync_object *self, PyObject *unused) {
  (void)unused;
  (void)selv_condition_close(CONDITION(self));
  self->shared->closed = 1;
  Py_RETURN_NONE;
}

static PyObject *condition_stats(sync_object *self, PyObject *unused) {
  static const char *const names[] = { "waiting", "waits", "notified", "timeouts", "cancelled", NULL };
  selv_condition_stats stats = SELV_CONDITION_STATS_INIT;
  selv_status status = selv_condition_get_stats(CONDITION(self), &stats);
  (void)unused;
  return sync_stats_dict(status, self->state, names, &stats);
}

static PyObject *get_lock(sync_object *self, void *unused) {
  (void)unused;
  return Py_NewRef(self->extra);
}

static PyObject *get_closed(sync_object *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(self->shared->closed);
}

static PyObject *condition_repr(sync_object *self) {
  selv_condition_stats stats = SELV_CONDITION_STATS_INIT;
  const char *name = self->shared->name;
  (void)selv_condition_get_stats(CONDITION(self), &stats);
  return PyUnicode_FromFormat("<sync.Condition%s%s%s at %p: %R, waiters=%llu>", name != NULL ? " '" : "", name != NULL ? name : "",
                              name != NULL ? "'" : "", (void *)self, self->extra, (unsigned long long)stats.waiting);
}

static PyObject *condition_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "lock", "name", NULL };
  sync_state *state = (sync_state *)selvpy_state_of_type(type, &sync_module);
  selv_condition_options options = SELV_CONDITION_OPTIONS_INIT;
  PyObject *given = Py_None, *name = Py_None, *lock, *native, *made;
  selv_condition *condition;
  selv_status status;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:Condition", names, &given, &name)) return NULL;
  if (sync_name(name, &options.name) != 0) return NULL;
  if (given == Py_None) {
    lock = PyObject_CallNoArgs((PyObject *)state->kinds[SYNC_RLOCK]);
  } else {
    native = sync_native(state, given, state->primitive, "a lock of selvedge");
    if (native == NULL || PyObject_TypeCheck(native, type)) return native;
    lock = sync_native(state, native, state->base_lock, "a lock of selvedge");
    Py_DECREF(native);
  }
  if (lock == NULL) return NULL;
  options.lock = (selv_lock *)((sync_object *)lock)->handle;
  status = selv_condition_new(&options, &condition);
  made = status == SELV_OK ? (PyObject *)sync_object_new(type, state, SYNC_CONDITION, condition, options.name, (sync_object *)lock)
                           : selvpy_raise(state->errors, status);
  Py_DECREF(lock);
  return made;
}

static PyMethodDef condition_methods[] = {
  SYNC_METHOD("wait", condition_wait_method, SYNC_KEYWORDS,
              "wait($self, /, timeout=None, *, task=0)\n--\n\n"
              "Lets go of the lock, waits to be notified, and has the lock back. False if `timeout` seconds passed first.\n\n"
              "Blocks without the GIL; on Python's main thread signals are handled meanwhile. NotOwnerError: the caller does not hold the lock.\n"
              "BrokenResourceError, DeadlockError, ClosedResourceError: see Lock.acquire(); after the first two it is not held."),
  SYNC_METHOD("wait_for", condition_wait_for, SYNC_KEYWORDS,
              "wait_for($self, /, predicate, timeout=None)\n--\n\n"
              "Waits until predicate() is true, or `timeout` seconds have passed; gives its last value."),
  SYNC_METHOD("notify", condition_notify, SYNC_KEYWORDS,
              "notify($self, /, n=1, *, task=0)\n--\n\n"
              "Notifies up to `n` waiters, who waits longest first. NotOwnerError if the caller does not hold the lock."),
  SYNC_METHOD("notify_all", condition_notify_all, SYNC_KEYWORDS, "notify_all($self, /, *, task=0)\n--\n\nNotifies everybody who waits."),
  SYNC_METHOD("wait_async", condition_wait_async, SYNC_KEYWORDS,
              "wait_async($self, /, task, loop, done)\n--\n\nAs wait(), with no thread: see _sync.pyi."),
  SYNC_METHOD("acquire", condition_acquire, SYNC_KEYWORDS,
              "acquire($self, /, blocking=True, timeout=-1, *, task=0)\n--\n\nTakes the condition's lock."),
  SYNC_METHOD("release", condition_release, SYNC_KEYWORDS, "release($self, /, *, task=0)\n--\n\nGives the condition's lock back."),
  SYNC_METHOD("__enter__", condition_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nTakes the condition's lock."),
  SYNC_METHOD("__exit__", condition_exit, METH_FASTCALL,
              "__exit__($self, kind=None, value=None, traceback=None, /)\n--\n\nGives the condition's lock back."),
  SYNC_METHOD("_is_owned", condition_is_owned, METH_NOARGS, NULL),
  SYNC_METHOD("close", condition_close, METH_NOARGS,
              "close($self, /)\n--\n\n"
              "Everybody who waits comes back with ClosedResourceError, holding the lock, and nobody waits any more. Does not block."),
  SYNC_METHOD("stats", condition_stats, METH_NOARGS,
              "stats($self, /)\n--\n\nHow it stands and what has happened to it: the fields of selv_condition_stats."),
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef condition_getset[] = {
  { "lock", (getter)get_lock, NULL, PyDoc_STR("The Lock or RLock that protects what is waited for."), NULL },
  { "closed", (getter)get_closed, NULL, PyDoc_STR("Whether close() has been called."), NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot condition_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("Condition(lock=None, *, name=None)\n--\n\n"
                                 "Waits for a change of what a lock protects. `lock`: a Lock or RLock of selvedge, or a face of\n"
                                 "one; None makes an RLock. A face of a condition gives that condition.") },
  { Py_tp_new, condition_new },
  { Py_tp_methods, condition_methods },
  { Py_tp_getset, condition_getset },
  { Py_tp_repr, condition_repr },
  { 0, NULL },
};

PyType_Spec sync_condition_spec = {
  "selvedge.sync.Condition", sizeof(sync_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, condition_slots,
};

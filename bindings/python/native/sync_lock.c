/* sync_lock.c: Lock and RLock. The paths that nobody contends for keep the GIL and allocate nothing. */
#include "sync.h"

#define LOCK(self) ((selv_lock *)(self)->handle)

/* ---- waiting ---- */

static selv_status lock_block(sync_request *r, uint64_t ns) { return selv_lock_acquire(LOCK(r->object), r->task, ns); }

static selv_status lock_begin(const sync_request *r, const selv_completion *completion, selv_op *op) {
  return selv_lock_acquire_async(LOCK(r->object), r->task, completion, op);
}

const sync_wait_kind sync_lock_wait = { lock_block, lock_begin, 1, 0 };

/* `status` is what a try has answered. */
static PyObject *acquire_slowly(sync_object *self, selv_task task, selv_status status, uint64_t ns) {
  sync_request r;
  int granted = 1;
  if (status == SELV_E_WOULD_BLOCK && ns == 0) Py_RETURN_FALSE;
  if (status == SELV_E_WOULD_BLOCK) {
    if (ns == SELV_FOREVER && sync_would_stop_itself(self->state, self, task) != 0) return NULL;
    memset(&r, 0, sizeof r);
    r.kind = &sync_lock_wait;
    r.object = self;
    r.task = task;
    granted = sync_wait(&r, ns);
    status = r.status;
    if (granted < 0) return NULL;
  } else if (status < 0) {
    return SYNC_RAISE(self, status);
  }
  if (granted && status == SELV_OWNER_DIED) self->inconsistent = 1;
  return PyBool_FromLong(granted);
}

PyObject *sync_lock_acquire_as(sync_object *self, selv_task task, uint64_t ns) {
  selv_status status = selv_lock_try_acquire(LOCK(self), task);
  if (status == SELV_OK) Py_RETURN_TRUE;
  return acquire_slowly(self, task, status, ns);
}

PyObject *sync_lock_release_as(sync_object *self, selv_task task) {
  selv_status status = selv_lock_release(LOCK(self), task);
  if (status != SELV_OK) return SYNC_RAISE(self, status);
  self->inconsistent = 0;
  Py_RETURN_NONE;
}

/* ---- methods ---- */

static PyObject *lock_acquire(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "blocking", "timeout", "task", NULL };
  PyObject *values[3] = { NULL, NULL, NULL };
  uint64_t ns = SELV_FOREVER;
  selv_task task;
  if (count != 0 || keywords != NULL) {
    if (sync_arguments("acquire", names, 2, args, count, keywords, values) != 0) return NULL;
    if (sync_blocking(values[0], values[1], 1, &ns) != 0) return NULL;
  }
  task = sync_task(self->state, values[2]);
  return task == 0 ? NULL : sync_lock_acquire_as(self, task, ns);
}

static PyObject *lock_release(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", NULL };
  PyObject *values[1] = { NULL };
  selv_task task;
  if ((count != 0 || keywords != NULL) && sync_arguments("release", names, 0, args, count, keywords, values) != 0) return NULL;
  task = sync_task(self->state, values[0]);
  return task == 0 ? NULL : sync_lock_release_as(self, task);
}

static PyObject *lock_enter(sync_object *self, PyObject *unused) {
  selv_task task = sync_own_task(self->state);
  (void)unused;
  return task == 0 ? NULL : sync_lock_acquire_as(self, task, SELV_FOREVER);
}

static PyObject *lock_exit(sync_object *self, PyObject *const *args, Py_ssize_t count) {
  selv_task task = sync_own_task(self->state);
  (void)args;
  (void)count;
  return task == 0 ? NULL : sync_lock_release_as(self, task);
}

static PyObject *lock_acquire_async(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", "loop", "done", NULL };
  PyObject *values[3];
  sync_request r = { 0 };
  if (sync_arguments("acquire_async", names, 3, args, count, keywords, values) != 0) return NULL;
  r.kind = &sync_lock_wait;
  r.object = self;
  return sync_op_begin(&r, values[0], values[1], values[2], NULL);
}

static PyObject *lock_locked(sync_object *self, PyObject *unused) {
  (void)unused;
  return PyBool_FromLong(selv_lock_owner(LOCK(self)) != 0);
}

static PyObject *lock_repair(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", NULL };
  PyObject *values[1];
  selv_task task;
  selv_status status;
  if (sync_arguments("repair", names, 0, args, count, keywords, values) != 0) return NULL;
  task = sync_task(self->state, values[0]);
  if (task == 0) return NULL;
  status = selv_lock_repair(LOCK(self), task);
  if (status != SELV_OK) return SYNC_RAISE(self, status);
  Py_RETURN_NONE;
}

static PyObject *lock_make_consistent(sync_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
  static const char *const names[] = { "task", NULL };
  PyObject *values[1];
  selv_task task;
  selv_status status;
  if (sync_arguments("make_consistent", names, 0, args, count, keywords, values) != 0) return NULL;
  task = sync_task(self->state, values[0]);
  if (task == 0) return NULL;
  status = selv_lock_make_consistent(LOCK(self), task);
  if (status != SELV_OK) return SYNC_RAISE(self, status);
  self->inconsistent = 0;
  Py_RETURN_NONE;
}

static PyObject *lock_close(sync_object *self, PyObject *unused) {
  (void)unused;
  (void)selv_lock_close(LOCK(self));
  Py_RETURN_NONE;
}

static PyObject *lock_stats(sync_object *self, PyObject *unused) {
  static const char *const names[] = { "owner", "depth", "waiting", "waits", "handed_over", "timeouts", "cancelled",
                                       "deadlocks", "breaks", "broken", "closed", NULL };
  selv_lock_stats stats = SELV_LOCK_STATS_INIT;
  selv_status status = selv_lock_get_stats(LOCK(self), &stats);
  (void)unused;
  return sync_stats_dict(status, self->state, names, &stats);
}

/* ---- what threading.Condition and the like ask of a lock ---- */

/* How often the caller holds it; -1 with an exception set. */
static Py_ssize_t own_depth(sync_object *self) {
  selv_lock_stats stats = SELV_LOCK_STATS_INIT;
  selv_task task = sync_own_task(self->state);
  if (task == 0) return -1;
  if (task == SELV_TASK_CURRENT) task = selv_task_current();
  (void)selv_lock_get_stats(LOCK(self), &stats);
  return stats.owner == task ? (Py_ssize_t)stats.depth : 0;
}

static PyObject *lock_is_owned(sync_object *self, PyObject *unused) {
  Py_ssize_t depth = own_depth(self);
  (void)unused;
  return depth < 0 ? NULL : PyBool_FromLong(depth > 0);
}

static PyObject *lock_recursion_count(sync_object *self, PyObject *unused) {
  Py_ssize_t depth = own_depth(self);
  (void)unused;
  return depth < 0 ? NULL : PyLong_FromSsize_t(depth);
}

static PyObject *lock_release_save(sync_object *self, PyObject *unused) {
  Py_ssize_t depth = own_depth(self), left;
  (void)unused;
  if (depth < 0) return NULL;
  for (left = depth == 0 ? 1 : depth; left > 0; left--) {
    PyObject *released = lock_exit(self, NULL, 0);
    if (released == NULL) return NULL;
    Py_DECREF(released);
  }
  return PyLong_FromSsize_t(depth);
}

static PyObject *lock_acquire_restore(sync_object *self, PyObject *depth) {
  Py_ssize_t left = PyLong_AsSsize_t(depth);
  if (left == -1 && PyErr_Occurred()) return NULL;
  for (; left > 0; left--) {
    PyObject *acquired = lock_enter(self, NULL);
    if (acquired == NULL) return NULL;
    Py_DECREF(acquired);
  }
  Py_RETURN_NONE;
}

/* Makes it free in a fork child, whoever of the parent held it. */
static PyObject *lock_at_fork_reinit(sync_object *self, PyObject *unused) {
  selv_task task = sync_own_task(self->state);
  selv_status status;
  (void)unused;
  if (task == 0) return NULL;
  status = selv_lock_try_acquire(LOCK(self), task);
  if (status == SELV_E_FORKED || status == SELV_E_BROKEN) status = selv_lock_repair(LOCK(self), task);
  if (status == SELV_E_DEADLOCK) status = SELV_OK;
  if (status < 0) return SYNC_RAISE(self, status);
  Py_XDECREF(lock_release_save(self, NULL));
  if (PyErr_Occurred()) return NULL;
  Py_RETURN_NONE;
}

/* ---- attributes ---- */

static PyObject *get_inconsistent(sync_object *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(self->inconsistent);
}

static PyObject *get_broken(sync_object *self, void *unused) {
  selv_lock_stats stats = SELV_LOCK_STATS_INIT;
  (void)unused;
  (void)selv_lock_get_stats(LOCK(self), &stats);
  return PyBool_FromLong(stats.broken != 0);
}

static PyObject *get_closed(sync_object *self, void *unused) {
  selv_lock_stats stats = SELV_LOCK_STATS_INIT;
  (void)unused;
  (void)selv_lock_get_stats(LOCK(self), &stats);
  return PyBool_FromLong(stats.closed != 0);
}

static PyObject *get_owner(sync_object *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLongLong(selv_lock_owner(LOCK(self)));
}

static PyObject *lock_repr(sync_object *self) {
  selv_lock_stats stats = SELV_LOCK_STATS_INIT;
  const char *kind = self->shared->kind == SYNC_RLOCK ? "RLock" : "Lock", *how;
  (void)selv_lock_get_stats(LOCK(self), &stats);
  how = stats.broken ? "broken" : stats.owner != 0 ? "locked" : "unlocked";
  if (self->shared->name == NULL) return PyUnicode_FromFormat("<%s sync.%s object at %p>", how, kind, (void *)self);
  return PyUnicode_FromFormat("<%s sync.%s object '%s' at %p>", how, kind, self->shared->name, (void *)self);
}

/* ---- the types ---- */

static PyObject *lock_make(PyTypeObject *type, PyObject *args, PyObject *kwargs, int kind) {
  static char *names[] = { "shared", "name", "strict_fifo", "robust", "timed_deadlock", NULL };
  sync_state *state = (sync_state *)selvpy_state_of_type(type, &sync_module);
  selv_lock_options options = SELV_LOCK_OPTIONS_INIT;
  PyObject *shared = Py_None, *name = Py_None;
  int strict = 0, robust = 0, timed = 0;
  sync_object *self;
  selv_lock *lock;
  selv_status status;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, kind == SYNC_LOCK ? "|O$Oppp:Lock" : "|O$Oppp:RLock", names, &shared, &name, &strict, &robust,
                                   &timed))
    return NULL;
  if (shared != Py_None && (name != Py_None || strict || robust || timed))
    return PyErr_Format(PyExc_TypeError, "name, strict_fifo, robust and timed_deadlock are for a new lock: this is to be one that there is already");
  if (shared != Py_None) return sync_native(state, shared, type, kind == SYNC_LOCK ? "a lock of selvedge" : "a recursive lock of selvedge");
  if (sync_name(name, &options.name) != 0) return NULL;
  if (kind == SYNC_RLOCK) options.flags |= SELV_LOCK_RECURSIVE;
  if (strict) options.flags |= SELV_LOCK_STRICT_FIFO;
  if (robust) options.flags |= SELV_LOCK_ROBUST;
  if (timed) options.flags |= SELV_LOCK_TIMED_EDGES;
  status = selv_lock_new(&options, &lock);
  if (status != SELV_OK) return selvpy_raise(state->errors, status);
  self = sync_object_new(type, state, kind, lock, options.name, NULL);
  if (self != NULL) self->shared->timed_deadlock = timed;
  return (PyObject *)self;
}

static PyObject *lock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) { return lock_make(type, args, kwargs, SYNC_LOCK); }
static PyObject *rlock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) { return lock_make(type, args, kwargs, SYNC_RLOCK); }

static PyMethodDef lock_methods[] = {
  SYNC_METHOD("acquire", lock_acquire, SYNC_KEYWORDS,
              "acquire($self, /, blocking=True, timeout=-1, *, task=0)\n--\n\n"
              "Takes the lock; False if it was not to be had without waiting, or in `timeout` seconds (-1: no limit).\n\n"
              "Blocks without the GIL; on Python's main thread signals are handled meanwhile. DeadlockError: the caller has it already (not of an\n"
              "RLock), or the wait would close a ring. BrokenResourceError: its owner ended while holding it. ClosedResourceError. ForkedError: a\n"
              "thread of the parent process held it at the fork."),
  SYNC_METHOD("release", lock_release, SYNC_KEYWORDS,
              "release($self, /, *, task=0)\n--\n\nGives the lock back. NotOwnerError if the caller does not hold it. Any thread; does not block."),
  SYNC_METHOD("__enter__", lock_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nTakes the lock, as acquire()."),
  SYNC_METHOD("__exit__", lock_exit, METH_FASTCALL,
              "__exit__($self, kind=None, value=None, traceback=None, /)\n--\n\nGives the lock back, as release()."),
  SYNC_METHOD("locked", lock_locked, METH_NOARGS, "locked($self, /)\n--\n\nWhether somebody holds it."),
  SYNC_METHOD("acquire_async", lock_acquire_async, SYNC_KEYWORDS,
              "acquire_async($self, /, task, loop, done)\n--\n\n"
              "Takes the lock for a task, or stands in line for it with no thread: see _sync.pyi."),
  SYNC_METHOD("repair", lock_repair, SYNC_KEYWORDS,
              "repair($self, /, *, task=0)\n--\n\n"
              "Takes a broken lock and makes it whole; in a fork child also one that a thread of the parent held.\n"
              "ValueError if it is not broken (any more). Does not block."),
  SYNC_METHOD("make_consistent", lock_make_consistent, SYNC_KEYWORDS,
              "make_consistent($self, /, *, task=0)\n--\n\n"
              "Of a robust lock whose last owner ended while holding it: what it protects is in order again."),
  SYNC_METHOD("close", lock_close, METH_NOARGS,
              "close($self, /)\n--\n\n"
              "Sends everybody in line away with ClosedResourceError, and lets nobody in any more. Its owner may release it. Does not block."),
  SYNC_METHOD("stats", lock_stats, METH_NOARGS,
              "stats($self, /)\n--\n\nHow it stands and what has happened to it: the fields of selv_lock_stats."),
  SYNC_METHOD("_is_owned", lock_is_owned, METH_NOARGS, NULL),
  SYNC_METHOD("_recursion_count", lock_recursion_count, METH_NOARGS, NULL),
  SYNC_METHOD("_release_save", lock_release_save, METH_NOARGS, NULL),
  SYNC_METHOD("_acquire_restore", lock_acquire_restore, METH_O, NULL),
  SYNC_METHOD("_at_fork_reinit", lock_at_fork_reinit, METH_NOARGS, NULL),
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef lock_getset[] = {
  { "inconsistent", (getter)get_inconsistent, NULL,
    PyDoc_STR("Of a robust lock: it was acquired after its owner ended, and neither make_consistent nor the release has come."), NULL },
  { "broken", (getter)get_broken, NULL, PyDoc_STR("Whether it is broken, or a robust one not recoverable."), NULL },
  { "closed", (getter)get_closed, NULL, PyDoc_STR("Whether it has been closed."), NULL },
  { "owner", (getter)get_owner, NULL, PyDoc_STR("The number of the task that holds it, 0 for none."), NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot base_lock_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("What Lock and RLock have in common.") },
  { Py_tp_methods, lock_methods },
  { Py_tp_getset, lock_getset },
  { Py_tp_repr, lock_repr },
  { 0, NULL },
};

PyType_Spec sync_base_lock_spec = {
  "selvedge._sync._BaseLock", sizeof(sync_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, base_lock_slots,
};

static PyType_Slot lock_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("Lock(shared=None, *, name=None, strict_fifo=False, robust=False, timed_deadlock=False)\n--\n\n"
                                 "A lock that belongs to a task: only that releases it, and if the task ends while holding it, it breaks instead\n"
                                 "of hanging everybody: BrokenResourceError for all who wait and come later, until `repair`.\n\n"
                                 "`shared`: not a new lock, but the one of this face. `name`: what messages and the wait graph call it. `strict_fifo`: always\n"
                                 "handed over in order; else one that is just running may take it first, for half a millisecond at most. `robust`: it does\n"
                                 "not break; the next owner gets it, and `inconsistent` tells. `timed_deadlock`: waits with a timeout count in rings, too.\n"
                                 "In another interpreter, `Lock.open(lock.id)` is the same lock.") },
  { Py_tp_new, lock_new },
  { 0, NULL },
};

PyType_Spec sync_lock_spec = {
  "selvedge.sync.Lock", sizeof(sync_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, lock_slots,
};

static PyType_Slot rlock_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("RLock(shared=None, *, name=None, strict_fifo=False, robust=False, timed_deadlock=False)\n--\n\n"
                                 "A Lock that its owner may acquire again, and releases as often.") },
  { Py_tp_new, rlock_new },
  { 0, NULL },
};

PyType_Spec sync_rlock_spec = {
  "selvedge.sync.RLock", sizeof(sync_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, rlock_slots,
};

/* sync_object.c: what all primitives have in common.
 *
 * An object of Python refers to a primitive that is counted, so that objects of several interpreters can share it. The last reference ends the
 * primitive. Nobody can be waiting then, since who waits has a reference; but a task can still hold it, and what holds has none: such a lock is
 * released on its owner's behalf, as CPython's own locks are. What cannot be freed even so (a limiter whose borrower lives on) is put aside,
 * and tried again later. */
#include "sync.h"

#include <pthread.h>
#include <structmember.h>

/* ---- primitives ---- */

/* Guards the lists and all counts of references. Held for a moment, with the GIL of one interpreter or another, and across a fork. */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static sync_shared *identified; /* those with an id */
static sync_shared *leftovers, **leftovers_end = &leftovers;
static uint64_t last_id;
static pthread_once_t fork_handlers = PTHREAD_ONCE_INIT;

static void lock_registry(void) { pthread_mutex_lock(&registry); }
static void unlock_registry(void) { pthread_mutex_unlock(&registry); }
static void install_fork_handlers(void) { (void)pthread_atfork(lock_registry, unlock_registry, unlock_registry); }

static sync_shared *shared_new(int kind, void *handle, const char *name, sync_shared *lock) {
  sync_shared *shared = (sync_shared *)calloc(1, sizeof *shared);
  if (shared == NULL) return NULL;
  if (name != NULL && (shared->name = strdup(name)) == NULL) {
    free(shared);
    return NULL;
  }
  shared->references = 1;
  shared->kind = kind;
  shared->handle = handle;
  shared->lock = lock;
  if (lock != NULL) {
    lock_registry();
    lock->references++;
    unlock_registry();
  }
  return shared;
}

static selv_status lock_free(selv_lock *lock) {
  selv_status status = selv_lock_free(lock);
  selv_lock_stats stats = SELV_LOCK_STATS_INIT;
  if (status != SELV_E_BUSY || selv_lock_get_stats(lock, &stats) != SELV_OK) return status;
  while (stats.depth-- > 0)
    if (selv_lock_release(lock, stats.owner) != SELV_OK) break;
  return selv_lock_free(lock);
}

static selv_status handle_free(int kind, void *handle) {
  switch (kind) {
    case SYNC_LOCK:
    case SYNC_RLOCK: return lock_free((selv_lock *)handle);
    case SYNC_CONDITION: return selv_condition_free((selv_condition *)handle);
    case SYNC_SEMAPHORE:
    case SYNC_BOUNDED_SEMAPHORE: return selv_semaphore_free((selv_semaphore *)handle);
    case SYNC_LIMITER: return selv_limiter_free((selv_limiter *)handle);
    case SYNC_EVENT: return selv_event_free((selv_event *)handle);
    case SYNC_PARKING_LOT: return selv_parking_lot_free((selv_parking_lot *)handle);
    default: return selv_channel_free((selv_channel *)handle);
  }
}

static void shared_release(sync_shared *shared);

static void shared_end(sync_shared *shared) {
  sync_shared *lock = shared->lock;
  if (handle_free(shared->kind, shared->handle) == SELV_E_BUSY) {
    lock_registry();
    shared->next = NULL;
    *leftovers_end = shared;
    leftovers_end = &shared->next;
    unlock_registry();
    return;
  }
  free(shared->name);
  free(shared);
  if (lock != NULL) shared_release(lock);
}

static void shared_release(sync_shared *shared) {
  sync_shared **at;
  uint32_t left;
  lock_registry();
  left = --shared->references;
  if (left == 0 && shared->id != 0) {
    for (at = &identified; *at != shared; at = &(*at)->next) {
    }
    *at = shared->next;
  }
  unlock_registry();
  if (left == 0) shared_end(shared);
}

/* Tries to free the one that has been put aside for longest. */
static void try_leftover(void) {
  sync_shared *first;
  lock_registry();
  first = leftovers;
  if (first != NULL) {
    leftovers = first->next;
    if (leftovers == NULL) leftovers_end = &leftovers;
  }
  unlock_registry();
  if (first != NULL) shared_end(first);
}

/* ---- objects ---- */

static sync_object *object_of(PyTypeObject *type, sync_state *state, sync_shared *shared) {
  sync_object *self = (sync_object *)type->tp_alloc(type, 0);
  if (self == NULL) {
    shared_release(shared);
    return NULL;
  }
  self->handle = shared->handle;
  self->state = state;
  self->shared = shared;
  return self;
}

sync_object *sync_object_new(PyTypeObject *type, sync_state *state, int kind, void *handle, const char *name, sync_object *lock) {
  sync_shared *shared = shared_new(kind, handle, name, lock != NULL ? lock->shared : NULL);
  sync_object *self;
  if (shared == NULL) {
    (void)handle_free(kind, handle);
    PyErr_NoMemory();
    return NULL;
  }
  try_leftover();
  self = object_of(type, state, shared);
  if (self != NULL && lock != NULL) self->extra = Py_NewRef((PyObject *)lock);
  return self;
}

void sync_object_dealloc(PyObject *object) {
  sync_object *self = (sync_object *)object;
  PyTypeObject *type = Py_TYPE(object);
  PyObject *type_of_error, *value, *traceback;
  if (PyType_IS_GC(type)) PyObject_GC_UnTrack(object);
  /* Callbacks of other languages may run here. */
  PyErr_Fetch(&type_of_error, &value, &traceback);
  if (self->weakrefs != NULL) PyObject_ClearWeakRefs(object);
  if (self->shared != NULL) {
    if (self->shared->kind == SYNC_LIMITER) sync_limiter_forget(self, NULL);
    shared_release(self->shared);
  }
  Py_CLEAR(self->extra);
  PyErr_Restore(type_of_error, value, traceback);
  type->tp_free(object);
  Py_DECREF(type);
}

int sync_object_traverse(PyObject *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(((sync_object *)self)->extra);
  return 0;
}

int sync_object_clear(PyObject *object) {
  sync_object *self = (sync_object *)object;
  /* A limiter's borrowers can refer to it. A condition's lock cannot, and is needed until the end. */
  if (self->shared != NULL && self->shared->kind == SYNC_LIMITER) sync_limiter_forget(self, NULL);
  return 0;
}

PyObject *sync_native(sync_state *state, PyObject *face, PyTypeObject *kind, const char *expected) {
  PyObject *native;
  if (PyObject_TypeCheck(face, state->primitive)) native = Py_NewRef(face);
  else native = PyObject_GetAttrString(face, "native");
  if (native == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) return NULL;
  PyErr_Clear();
  if (native != NULL && PyObject_TypeCheck(native, kind)) return native;
  PyErr_Format(PyExc_TypeError, "expected %s, not %.100s", expected, Py_TYPE(face)->tp_name);
  Py_XDECREF(native);
  return NULL;
}

/* ---- what all have ---- */

static PyObject *get_name(sync_object *self, void *unused) {
  (void)unused;
  if (self->shared->name == NULL) Py_RETURN_NONE;
  return PyUnicode_FromString(self->shared->name);
}

static PyObject *get_id(sync_object *self, void *unused) {
  sync_shared *shared = self->shared;
  (void)unused;
  lock_registry();
  if (shared->id == 0) {
    shared->id = ++last_id;
    shared->next = identified;
    identified = shared;
  }
  unlock_registry();
  return PyLong_FromUnsignedLongLong(shared->id);
}

static PyObject *get_address(sync_object *self, void *unused) {
  (void)unused;
  return PyLong_FromVoidPtr(self->handle);
}

static PyObject *get_native(PyObject *self, void *unused) {
  (void)unused;
  return Py_NewRef(self);
}

static PyObject *object_open(PyTypeObject *type, PyObject *id) {
  sync_state *state = (sync_state *)selvpy_state_of_type(type, &sync_module);
  unsigned long long number = PyLong_AsUnsignedLongLong(id);
  sync_shared *shared, *lock = NULL;
  sync_object *self;
  if (number == (unsigned long long)-1 && PyErr_Occurred()) return NULL;
  lock_registry();
  for (shared = identified; shared != NULL && shared->id != number; shared = shared->next) {
  }
  if (shared != NULL) {
    shared->references++;
    lock = shared->lock;
    if (lock != NULL) lock->references++;
  }
  unlock_registry();
  if (shared == NULL) return selvpy_raise_named(state->errors, "ClosedResourceError", "no object with this id lives in the process");
  if (!PyType_IsSubtype(type, state->kinds[shared->kind])) {
    PyErr_Format(PyExc_TypeError, "the object with this id is a %s, not a %s", state->kinds[shared->kind]->tp_name, type->tp_name);
    if (lock != NULL) shared_release(lock);
    shared_release(shared);
    return NULL;
  }
  self = object_of(type, state, shared);
  if (self != NULL && lock != NULL) {
    self->extra = (PyObject *)object_of(state->kinds[lock->kind], state, lock);
    if (self->extra == NULL) Py_CLEAR(self);
  } else if (lock != NULL) {
    shared_release(lock);
  } else if (self != NULL && shared->kind == SYNC_LIMITER) {
    self->extra = PyDict_New();
    if (self->extra == NULL) Py_CLEAR(self);
  }
  return (PyObject *)self;
}

static PyMethodDef object_methods[] = {
  SYNC_METHOD("open", object_open, METH_O | METH_CLASS,
              "open($type, id, /)\n--\n\n"
              "Another object of the primitive with this id, for another interpreter. ClosedResourceError if no object of it lives."),
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef object_getset[] = {
  { "name", (getter)get_name, NULL, PyDoc_STR("What messages and the wait graph call it; None if it has no name."), NULL },
  { "id", (getter)get_id, NULL, PyDoc_STR("A number of this process for open(), good as long as an object of this primitive lives."), NULL },
  { "address", (getter)get_address, NULL, PyDoc_STR("The selv_...* of the C interface, good as long as this object lives."), NULL },
  { "native", get_native, NULL, PyDoc_STR("The object itself: each face can be made from any other."), NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef object_members[] = {
  { "__weaklistoffset__", T_PYSSIZET, offsetof(sync_object, weakrefs), READONLY, NULL },
  { NULL, 0, 0, 0, NULL },
};

static PyType_Slot object_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("What all primitives have in common.") },
  { Py_tp_methods, object_methods },
  { Py_tp_getset, object_getset },
  { Py_tp_members, object_members },
  { Py_tp_dealloc, sync_object_dealloc },
  { Py_tp_traverse, sync_object_traverse },
  { Py_tp_clear, sync_object_clear },
  { 0, NULL },
};

static PyType_Spec object_spec = {
  "selvedge._sync._Primitive",
  sizeof(sync_object),
  0,
  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
  object_slots,
};

PyObject *sync_stats_dict(selv_status status, sync_state *state, const char *const *names, const void *stats) {
  /* Every one of these structs is its size, a reserved word, and then counts. */
  const uint64_t *counts = (const uint64_t *)stats + 1;
  PyObject *dict;
  if (status != SELV_OK) return selvpy_raise(state->errors, status);
  dict = PyDict_New();
  for (; dict != NULL && *names != NULL; names++, counts++) {
    PyObject *count = PyLong_FromUnsignedLongLong(*counts);
    if (count == NULL || PyDict_SetItemString(dict, *names, count) != 0) Py_CLEAR(dict);
    Py_XDECREF(count);
  }
  return dict;
}

int sync_object_init(PyObject *module, sync_state *state) {
  (void)pthread_once(&fork_handlers, install_fork_handlers);
  state->primitive = (PyTypeObject *)PyType_FromModuleAndSpec(module, &object_spec, NULL);
  return state->primitive == NULL ? -1 : PyModule_AddObjectRef(module, "_Primitive", (PyObject *)state->primitive);
}

/* cache_parker.c: Parker: on which threads wait for the result of an executor's call.
 *
 * Python's own locks are released with the GIL held. Whoever wakes then wants the GIL, which it cannot have, and sleeps again; from a
 * delivery it can have it a moment later. So a thread that a delivery unparks is woken when the delivery has given the GIL back. */
#include "cache.h"

/* The part that needs no GIL. Counted: by the object, and by the delivery whose end unparks it. */
typedef struct parker {
  uint32_t references;
  uint32_t is_open;
  PyThread_type_lock lock; /* held until it is open */
  int is_listed;           /* by a delivery; under the GIL */
  struct parker *next;     /* in that list */
} parker;

typedef struct parker_object {
  PyObject_HEAD
  parker *parker;
} parker_object;

static void open_parker(parker *p) {
  if (!__atomic_exchange_n(&p->is_open, 1u, __ATOMIC_ACQ_REL)) PyThread_release_lock(p->lock);
}

static void parker_release(parker *p) {
  if (__atomic_sub_fetch(&p->references, 1u, __ATOMIC_ACQ_REL) != 0) return;
  open_parker(p); /* a lock that is held may not be freed */
  PyThread_free_lock(p->lock);
  free(p);
}

/* ---- deliveries ---- */

static _Thread_local unsigned deliveries; /* one inside the other, if one cancels a job */
static _Thread_local parker *listed;

void cache_delivery_begin(void) { deliveries++; }

void cache_delivery_end(void) {
  parker *next = listed;
  deliveries--;
  listed = NULL;
  while (next != NULL) {
    parker *p = next;
    next = p->next;
    open_parker(p);
    parker_release(p);
  }
}

/* ---- Parker ---- */

static PyObject *parker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = { NULL };
  parker_object *self;
  parker *p;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Parker", names)) return NULL;
  p = (parker *)calloc(1, sizeof *p);
  if (p != NULL) p->lock = PyThread_allocate_lock();
  if (p == NULL || p->lock == NULL) {
    free(p);
    return PyErr_NoMemory();
  }
  p->references = 1;
  (void)PyThread_acquire_lock(p->lock, NOWAIT_LOCK);
  self = (parker_object *)type->tp_alloc(type, 0);
  if (self == NULL) parker_release(p);
  else self->parker = p;
  return (PyObject *)self;
}

static void parker_dealloc(parker_object *self) {
  PyTypeObject *type = Py_TYPE(self);
  parker_release(self->parker);
  type->tp_free(self);
  Py_DECREF(type);
}

PyDoc_STRVAR(parker_park_doc,
             "park($self, timeout, /)\n--\n\n"
             "Waits until it is unparked, for ``timeout`` seconds at most (None: for ever), without the GIL. Whether it was.");

static PyObject *parker_park(parker_object *self, PyObject *seconds) {
  const uint64_t longest_us = UINT64_C(3600000000); /* an hour: PyThread's own limit differs between versions, and is longer */
  parker *p = self->parker;
  uint64_t timeout, now, until;
  PyLockStatus status;
  if (selvpy_timeout(seconds, "timeout", &timeout) != 0) return NULL;
  now = selvpy_now_ns();
  until = timeout > SELV_FOREVER - now ? SELV_FOREVER : now + timeout;
  for (;;) {
    uint64_t us = until > now ? (until - now) / 1000u + 1u : 0;
    Py_BEGIN_ALLOW_THREADS
    status = PyThread_acquire_lock_timed(p->lock, (PY_TIMEOUT_T)(us < longest_us ? us : longest_us), 1);
    Py_END_ALLOW_THREADS
    if (status == PY_LOCK_ACQUIRED) break;
    if (status == PY_LOCK_INTR && PyErr_CheckSignals() != 0) return NULL;
    now = selvpy_now_ns();
    if (now >= until) Py_RETURN_FALSE;
  }
  PyThread_release_lock(p->lock); /* for whoever parks here next */
  Py_RETURN_TRUE;
}

PyDoc_STRVAR(parker_unpark_doc,
             "unpark($self, at_once, /)\n--\n\n"
             "Wakes who is parked, and lets pass who parks later. If not ``at_once``, then inside the ``deliver`` of a job when that has\n"
             "ended and has given the GIL back. From any thread, any number of times.");

static PyObject *parker_unpark(parker_object *self, PyObject *at_once) {
  parker *p = self->parker;
  int is_at_once = PyObject_IsTrue(at_once);
  if (is_at_once < 0) return NULL;
  if (is_at_once || deliveries == 0) {
    open_parker(p);
  } else if (!p->is_listed) {
    p->is_listed = 1;
    __atomic_fetch_add(&p->references, 1u, __ATOMIC_RELAXED);
    p->next = listed;
    listed = p;
  }
  Py_RETURN_NONE;
}

static PyMethodDef parker_methods[] = {
  { "park", (PyCFunction)parker_park, METH_O, parker_park_doc },
  { "unpark", (PyCFunction)parker_unpark, METH_O, parker_unpark_doc },
  { NULL, NULL, 0, NULL },
};

static PyType_Slot parker_slots[] = {
  { Py_tp_doc, "A wait for another thread, which ends it once and for ever, without the GIL where it can." },
  { Py_tp_new, parker_new },
  { Py_tp_dealloc, parker_dealloc },
  { Py_tp_methods, parker_methods },
  { 0, NULL },
};

static PyType_Spec parker_spec = {
  .name = "selvedge._cache.Parker",
  .basicsize = sizeof(parker_object),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = parker_slots,
};

int cache_parker_add(PyObject *module) {
  PyObject *type = PyType_FromModuleAndSpec(module, &parker_spec, NULL);
  int failed = type == NULL || PyModule_AddType(module, (PyTypeObject *)type) != 0;
  Py_XDECREF(type);
  return failed ? -1 : 0;
}

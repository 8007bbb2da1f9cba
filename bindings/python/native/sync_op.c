/* sync_op.c: operations, which wait with no thread and are told on a host loop. See the top of _sync.pyi.
 *
 * What the library has in hand is memory of C, since it may be told when the interpreter has gone; it refers to the Op, which has the callable
 * and the primitive. The Op knows it until it is told or abandoned. */
#include "sync.h"

#include <structmember.h>

typedef struct sync_pending {
  selvpy_gate *gate;
  struct op_object *op;             /* a reference */
  struct sync_pending *next, **at; /* in the interpreter's list, under its GIL; `at` is NULL: no more */
} sync_pending;

typedef struct op_object {
  PyObject_HEAD
  sync_state *state;
  sync_pending *pending; /* NULL: told or abandoned */
  PyObject *done, *primitive, *keep;
  selv_op number;
  char holds_lock;
} op_object;

static void pending_unlink(sync_pending *pending) {
  if (pending->at == NULL) return;
  *pending->at = pending->next;
  if (pending->next != NULL) pending->next->at = pending->at;
  pending->at = NULL;
}

/* Attached. */
static void pending_free(sync_pending *pending) {
  pending_unlink(pending);
  selvpy_gate_release(pending->gate);
  free(pending);
}

/* Notes what a grant or its failure means for the primitive's own object. */
static void settle(sync_object *primitive, PyObject *keep, selv_status status) {
  if (status == SELV_OWNER_DIED) primitive->inconsistent = 1;
  if (keep != NULL && status < 0) sync_limiter_forget(primitive, keep);
  else if (keep != NULL) sync_limiter_granted(primitive, keep);
}

/* Attached. Calls `done`, and lets go of everything. */
static void tell(op_object *op, const selv_completed *c) {
  PyObject *done = op->done, *primitive = op->primitive, *keep = op->keep, *value, *result = NULL;
  op->pending = NULL;
  op->done = op->primitive = op->keep = NULL;
  op->holds_lock = c->holds_lock != 0;
  if (c->status < 0) value = selvpy_error(op->state->errors, c->status);
  else if (c->data != NULL) value = PyBytes_FromStringAndSize((const char *)c->data, (Py_ssize_t)c->len);
  else value = Py_NewRef(Py_None);
  settle((sync_object *)primitive, keep, c->status);
  if (value != NULL) result = PyObject_CallFunction(done, "iO", (int)c->status, value);
  if (result == NULL) PyErr_WriteUnraisable(done);
  Py_XDECREF(result);
  Py_XDECREF(value);
  Py_DECREF(done);
  Py_DECREF(primitive);
  Py_XDECREF(keep);
}

static void on_completed(void *arg, const selv_completed *c) {
  sync_pending *pending = (sync_pending *)arg;
  selvpy_visit visit;
  if (selvpy_visit_begin(pending->gate, &visit)) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    tell(pending->op, c);
    Py_DECREF(pending->op);
    pending_free(pending);
    PyErr_Restore(type, value, traceback);
    selvpy_visit_end(&visit);
  }
  /* Where Python is ending it stays in the list, which is Python's, and is not freed. */
  selv_bytes_free(c->data);
}

PyObject *sync_op_begin(sync_request *r, PyObject *task, PyObject *loop, PyObject *done, PyObject *keep) {
  sync_state *state = r->object->state;
  selv_completion completion = { on_completed, NULL, NULL };
  sync_pending *pending;
  op_object *op;
  selv_status status;
  void *address;
  if (task == NULL || loop == NULL || done == NULL) {
    PyErr_SetString(PyExc_TypeError, "an operation needs task, loop and done");
    return NULL;
  }
  if (!PyCallable_Check(done)) {
    PyErr_Format(PyExc_TypeError, "done must be callable, not %.100s", Py_TYPE(done)->tp_name);
    return NULL;
  }
  if (selvpy_address(loop, "loop", &address) != 0) return NULL;
  completion.loop = (selv_host_loop *)address;
  r->task = sync_task(state, task);
  if (r->task == 0) return NULL;
  op = PyObject_GC_New(op_object, state->op);
  if (op == NULL) return NULL;
  op->state = state;
  op->done = Py_NewRef(done);
  op->primitive = Py_NewRef((PyObject *)r->object);
  op->keep = Py_XNewRef(keep);
  op->number = 0;
  op->holds_lock = 0;
  op->pending = pending = (sync_pending *)malloc(sizeof *pending);
  PyObject_GC_Track((PyObject *)op);
  if (pending == NULL) {
    Py_DECREF(op);
    return PyErr_NoMemory();
  }
  pending->gate = selvpy_gate_retain(state->gate);
  pending->op = (op_object *)Py_NewRef((PyObject *)op);
  pending->next = state->pending;
  pending->at = &state->pending;
  if (pending->next != NULL) pending->next->at = &pending->next;
  state->pending = pending;
  completion.arg = pending;
  status = r->kind->begin(r, &completion, &op->number);
  if (status == SELV_PENDING) return (PyObject *)op;
  op->pending = NULL;
  pending_free(pending);
  Py_DECREF(op); /* the library's */
  Py_DECREF(op);
  if (status < 0) return selvpy_raise(state->errors, status);
  settle(r->object, NULL, status);
  Py_RETURN_NONE;
}

/* ---- the type ---- */

static PyObject *op_cancel(op_object *self, PyObject *unused) {
  (void)unused;
  return PyBool_FromLong(self->pending != NULL && selv_op_cancel(self->number) == SELV_OK);
}

/* True if it was in time. The caller has a reference to the Op. */
static int abandon(op_object *self) {
  sync_pending *pending = self->pending;
  PyObject *primitive = self->primitive, *done = self->done, *keep = self->keep;
  if (pending == NULL || selv_op_abandon(self->number) != SELV_OK) return 0;
  self->pending = NULL;
  self->primitive = self->done = self->keep = NULL;
  pending_free(pending);
  settle((sync_object *)primitive, keep, SELV_E_CANCELLED);
  Py_DECREF(self); /* the library's */
  Py_DECREF(primitive);
  Py_DECREF(done);
  Py_XDECREF(keep);
  return 1;
}

static PyObject *op_abandon(op_object *self, PyObject *unused) {
  (void)unused;
  return PyBool_FromLong(abandon(self));
}

/* The interpreter ends: its loops will tell nobody anything, and what its operations are granted is for others. */
static PyObject *abandon_all(PyObject *module, PyObject *unused) {
  sync_state *state = (sync_state *)PyModule_GetState(module);
  (void)unused;
  while (state->pending != NULL) {
    op_object *op = (op_object *)Py_NewRef((PyObject *)state->pending->op);
    pending_unlink(state->pending);
    (void)abandon(op);
    Py_DECREF(op);
  }
  Py_RETURN_NONE;
}

static PyObject *op_told(op_object *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(self->pending == NULL);
}

static PyObject *op_repr(op_object *self) {
  return PyUnicode_FromFormat("<selvedge._sync.Op %s at %p>", self->pending == NULL ? "told" : "pending", (void *)self);
}

static int op_traverse(op_object *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self->done);
  Py_VISIT(self->primitive);
  Py_VISIT(self->keep);
  return 0;
}

/* A pending one is referred to by the library, so it is not garbage. */
static void op_dealloc(op_object *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack((PyObject *)self);
  Py_CLEAR(self->done);
  Py_CLEAR(self->primitive);
  Py_CLEAR(self->keep);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyMethodDef op_methods[] = {
  SYNC_METHOD("cancel", op_cancel, METH_NOARGS,
              "cancel($self, /)\n--\n\n"
              "Has the operation end with CancelledError, through its callback. False: too late, it has been granted or has ended."),
  SYNC_METHOD("abandon", op_abandon, METH_NOARGS,
              "abandon($self, /)\n--\n\n"
              "Ends the operation without its callback; what it was granted goes to the next. False: the callback has begun."),
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef op_getset[] = {
  { "told", (getter)op_told, NULL, PyDoc_STR("True as soon as the callback has begun, or after an abandon."), NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef op_members[] = {
  { "holds_lock", T_BOOL, offsetof(op_object, holds_lock), READONLY,
    PyDoc_STR("Of a condition's wait, when it is told: whether the task holds the lock.") },
  { NULL, 0, 0, 0, NULL },
};

static PyType_Slot op_slots[] = {
  { Py_tp_doc, (void *)PyDoc_STR("A pending operation. It may be dropped: that does not end it.") },
  { Py_tp_methods, op_methods },
  { Py_tp_getset, op_getset },
  { Py_tp_members, op_members },
  { Py_tp_repr, op_repr },
  { Py_tp_traverse, op_traverse },
  { Py_tp_dealloc, op_dealloc },
  { 0, NULL },
};

static PyType_Spec op_spec = {
  "selvedge._sync.Op", sizeof(op_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, op_slots,
};

int sync_op_init(PyObject *module, sync_state *state) {
  static PyMethodDef at_exit = { "selvedge_abandon_operations", abandon_all, METH_NOARGS, NULL };
  PyObject *callable = PyCFunction_New(&at_exit, module);
  int failed = callable == NULL || selvpy_at_exit(callable) != 0;
  Py_XDECREF(callable);
  if (failed) return -1;
  state->op = (PyTypeObject *)PyType_FromModuleAndSpec(module, &op_spec, NULL);
  return state->op == NULL ? -1 : PyModule_AddObjectRef(module, "Op", (PyObject *)state->op);
}

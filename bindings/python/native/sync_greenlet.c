/* sync_greenlet.c: whose task a greenlet is. Only at work when the program has loaded the module greenlet.
 *
 * A greenlet that is not the main one of its thread owns things itself. Its task is made when it is first asked for, and kept by an object in
 * the greenlet's dict, so that it ends with the greenlet at the latest. A greenlet that has run to its end may be referred to for long; so the
 * thread gets a trace function (greenlet.settrace), which ends the task as soon as control leaves the dead greenlet, and then calls the
 * one that was there before. If the program replaces it, the task ends with the object.
 *
 * The greenlets of a thread share it: a blocking wait of one stops all. What such a wait can never get is refused: sync_would_stop_itself. */
#include "sync.h"

/* The number of PyGreenlet_GetCurrent in the table of the capsule greenlet._C_API, the same in all versions. */
#define GET_CURRENT 4

#define ATTRIBUTE "__selvedge_task__"

typedef struct greenlet_task {
  PyObject_HEAD
  sync_state *state;
  selv_task task;    /* 0: it has ended */
  selv_task entered; /* 0: its own */
} greenlet_task;

/* The main greenlet of this thread, to be compared only; it lives as long as the thread does Python. */
static __thread PyObject *main_greenlet;

int sync_greenlets_begin(sync_state *state) {
  PyObject *module = sync_module_named(state->greenlet_name);
  void **table;
  if (module == NULL) return 0;
  table = (void **)PyCapsule_Import("greenlet._C_API", 0);
  if (table == NULL) {
    /* Half imported, or something else of this name. */
    PyErr_Clear();
    Py_DECREF(module);
    return 0;
  }
  memcpy(&state->greenlet_current, &table[GET_CURRENT], sizeof state->greenlet_current);
  state->greenlets = module;
  return 0;
}

/* What the greenlet's dict has, borrowed; NULL without an exception if there is none. */
static greenlet_task *task_of(sync_state *state, PyObject *greenlet) {
  PyObject *dict = PyObject_GenericGetDict(greenlet, NULL), *found = NULL;
  if (dict != NULL) found = PyDict_GetItemWithError(dict, state->attribute);
  Py_XDECREF(dict);
  return found != NULL && Py_IS_TYPE(found, state->greenlet_task) ? (greenlet_task *)found : NULL;
}

/* The current greenlet, a new reference, or NULL: it is the main one (*failed is 0), or something failed. */
static PyObject *other_than_main(sync_state *state, int *failed) {
  PyObject *current = state->greenlet_current(), *parent;
  *failed = current == NULL;
  if (current == NULL) return NULL;
  if (current != main_greenlet) {
    if (task_of(state, current) != NULL) return current;
    if (PyErr_Occurred()) {
      Py_DECREF(current);
      *failed = 1;
      return NULL;
    }
    parent = PyObject_GetAttrString(current, "parent");
    *failed = parent == NULL;
    if (parent != NULL && parent != Py_None) {
      Py_DECREF(parent);
      return current;
    }
    if (parent != NULL) main_greenlet = current;
    Py_XDECREF(parent);
  }
  Py_DECREF(current);
  return NULL;
}

static int note_thread(sync_state *state, selv_task task, int is_here) {
  PyObject *key = PyLong_FromUnsignedLongLong(task), *thread;
  int failed = -1;
  if (key != NULL && !is_here) {
    failed = PyDict_DelItem(state->greenlet_threads, key);
  } else if (key != NULL) {
    thread = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    if (thread != NULL) failed = PyDict_SetItem(state->greenlet_threads, key, thread);
    Py_XDECREF(thread);
  }
  Py_XDECREF(key);
  return failed;
}

void sync_greenlet_forget(sync_state *state, selv_task task) {
  PyObject *type, *value, *traceback;
  if (state->greenlet_threads == NULL || PyDict_GET_SIZE(state->greenlet_threads) == 0) return;
  PyErr_Fetch(&type, &value, &traceback);
  if (note_thread(state, task, 0) != 0) PyErr_Clear();
  PyErr_Restore(type, value, traceback);
}

static void end_task(greenlet_task *self) {
  selv_task task = self->task;
  if (task == 0) return;
  self->task = self->entered = 0;
  sync_greenlet_forget(self->state, task);
  (void)selv_task_exit(task, NULL);
}

static void greenlet_task_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  end_task((greenlet_task *)self);
  type->tp_free(self);
  Py_DECREF(type);
}

/* ---- the trace function ---- */

typedef struct greenlet_tracer {
  PyObject_HEAD
  sync_state *state;
  PyObject *before; /* what was called before us, or None */
} greenlet_tracer;

static void leave_dead(sync_state *state, PyObject *origin) {
  greenlet_task *own = task_of(state, origin);
  PyObject *dead;
  if (own == NULL || own->task == 0) return;
  dead = PyObject_GetAttrString(origin, "dead");
  if (dead != NULL && PyObject_IsTrue(dead) == 1) end_task(own);
  Py_XDECREF(dead);
}

static PyObject *tracer_call(greenlet_tracer *self, PyObject *args, PyObject *kwargs) {
  PyObject *event, *pair;
  if (!PyArg_ParseTuple(args, "OO", &event, &pair)) return NULL;
  if (PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2) {
    leave_dead(self->state, PyTuple_GET_ITEM(pair, 0));
    if (PyErr_Occurred()) PyErr_WriteUnraisable((PyObject *)self);
  }
  if (self->before == Py_None) Py_RETURN_NONE;
  return PyObject_Call(self->before, args, kwargs);
}

static int tracer_traverse(greenlet_tracer *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self->before);
  return 0;
}

static int tracer_clear(greenlet_tracer *self) {
  Py_CLEAR(self->before);
  return 0;
}

static void tracer_dealloc(greenlet_tracer *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack((PyObject *)self);
  Py_CLEAR(self->before);
  type->tp_free((PyObject *)self);
  Py_DECREF(type);
}

/* Has this thread's switches traced. 0, or -1 with an exception set. */
static int trace_thread(sync_state *state) {
  PyObject *before = PyObject_CallMethod(state->greenlets, "gettrace", NULL), *result;
  greenlet_tracer *tracer;
  if (before == NULL) return -1;
  if (Py_IS_TYPE(before, (PyTypeObject *)state->tracer)) {
    Py_DECREF(before);
    return 0;
  }
  tracer = (greenlet_tracer *)((PyTypeObject *)state->tracer)->tp_alloc((PyTypeObject *)state->tracer, 0);
  if (tracer == NULL) {
    Py_DECREF(before);
    return -1;
  }
  tracer->state = state;
  tracer->before = before;
  result = PyObject_CallMethod(state->greenlets, "settrace", "O", (PyObject *)tracer);
  Py_DECREF(tracer);
  Py_XDECREF(result);
  return result == NULL ? -1 : 0;
}

/* ---- whose task ---- */

static PyObject *name_of(sync_state *state, PyObject *greenlet) {
  PyObject *name = PyObject_GetAttrString(greenlet, "name");
  if (name != NULL && PyUnicode_Check(name)) return name;
  Py_XDECREF(name);
  PyErr_Clear();
  return PyUnicode_FromFormat("greenlet %lu", ++state->greenlets_named);
}

/* The greenlet's entry, borrowed, made if there is none or its task has ended. */
static greenlet_task *own_task(sync_state *state, PyObject *greenlet) {
  greenlet_task *own = task_of(state, greenlet);
  PyObject *name = NULL, *dict = NULL;
  selv_status status;
  const char *text;
  if (own != NULL && own->task != 0) return own;
  if (PyErr_Occurred() || trace_thread(state) != 0) return NULL;
  own = (greenlet_task *)state->greenlet_task->tp_alloc(state->greenlet_task, 0);
  name = name_of(state, greenlet);
  text = name != NULL ? PyUnicode_AsUTF8(name) : NULL;
  if (own == NULL || text == NULL) goto failed;
  own->state = state;
  status = selv_task_new(text, &own->task);
  if (status != SELV_OK) {
    selvpy_raise(state->errors, status);
    goto failed;
  }
  dict = PyObject_GenericGetDict(greenlet, NULL);
  if (dict == NULL || note_thread(state, own->task, 1) != 0 || PyDict_SetItem(dict, state->attribute, (PyObject *)own) != 0) goto failed;
  Py_DECREF(own); /* the greenlet's dict has it */
  Py_DECREF(dict);
  Py_DECREF(name);
  return own;
failed:
  Py_XDECREF(dict);
  Py_XDECREF(own);
  Py_XDECREF(name);
  return NULL;
}

selv_task sync_greenlet_task(sync_state *state) {
  int failed;
  PyObject *current = other_than_main(state, &failed);
  greenlet_task *own;
  if (current == NULL) return failed ? 0 : SELV_TASK_CURRENT;
  own = own_task(state, current);
  Py_DECREF(current);
  if (own == NULL) return 0;
  return own->entered != 0 ? own->entered : own->task;
}

int sync_greenlet_enter(sync_state *state, selv_task task, selv_task *previous) {
  int failed;
  PyObject *current;
  greenlet_task *own;
  if (state->greenlets == NULL) return 0;
  current = other_than_main(state, &failed);
  if (current == NULL) return failed ? -1 : 0;
  own = own_task(state, current);
  Py_DECREF(current);
  if (own == NULL || (task != 0 && note_thread(state, task, 1) != 0)) return -1;
  *previous = own->entered;
  if (own->entered != 0 && own->entered != task) sync_greenlet_forget(state, own->entered);
  own->entered = task;
  return 1;
}

int sync_would_stop_itself(sync_state *state, sync_object *lock, selv_task task) {
  const char *name = lock->shared->name;
  selv_task owner;
  PyObject *key, *thread, *kind, *error, *text, *ring;
  int here;
  if (state->greenlets == NULL) return 0;
  owner = selv_lock_owner((selv_lock *)lock->handle);
  if (owner == 0 || task == owner) return 0;
  key = PyLong_FromUnsignedLongLong(owner);
  if (key == NULL) return -1;
  thread = PyDict_GetItemWithError(state->greenlet_threads, key);
  Py_DECREF(key);
  if (thread == NULL && PyErr_Occurred()) return -1;
  /* The thread's own task owns it, and a greenlet of this thread asks; or another greenlet of this thread owns it. */
  here = thread != NULL ? PyLong_AsUnsignedLong(thread) == PyThread_get_thread_ident() : owner == selv_task_current();
  if (!here) return 0;
  kind = PyObject_GetAttrString(state->errors, "DeadlockError");
  if (kind == NULL) return -1;
  text = PyUnicode_FromFormat("lock%s%s%s is held by another greenlet of the calling thread, which this wait would keep from running",
                              name != NULL ? " '" : "", name != NULL ? name : "", name != NULL ? "'" : "");
  error = text != NULL ? PyObject_CallOneArg(kind, text) : NULL;
  ring = PyUnicode_FromString(name != NULL ? name : "lock");
  if (error != NULL && ring != NULL) {
    PyObject *names = PyTuple_Pack(1, ring);
    if (names != NULL && PyObject_SetAttrString(error, "ring", names) == 0) PyErr_SetObject(kind, error);
    Py_XDECREF(names);
  }
  Py_XDECREF(ring);
  Py_XDECREF(error);
  Py_XDECREF(text);
  Py_DECREF(kind);
  return -1;
}

/* ---- the types ---- */

static PyType_Slot greenlet_task_slots[] = {
  { Py_tp_dealloc, greenlet_task_dealloc },
  { 0, NULL },
};

static PyType_Spec greenlet_task_spec = {
  "selvedge._sync._GreenletTask", sizeof(greenlet_task), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, greenlet_task_slots,
};

static PyType_Slot tracer_slots[] = {
  { Py_tp_call, tracer_call },
  { Py_tp_traverse, tracer_traverse },
  { Py_tp_clear, tracer_clear },
  { Py_tp_dealloc, tracer_dealloc },
  { 0, NULL },
};

static PyType_Spec tracer_spec = {
  "selvedge._sync._GreenletTracer",
  sizeof(greenlet_tracer),
  0,
  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
  tracer_slots,
};

int sync_greenlets_init(PyObject *module, sync_state *state) {
  state->greenlet_name = PyUnicode_InternFromString("greenlet");
  state->attribute = PyUnicode_InternFromString(ATTRIBUTE);
  state->greenlet_threads = PyDict_New();
  state->greenlet_task = (PyTypeObject *)PyType_FromModuleAndSpec(module, &greenlet_task_spec, NULL);
  state->tracer = PyType_FromModuleAndSpec(module, &tracer_spec, NULL);
  if (state->greenlet_name == NULL || state->attribute == NULL || state->greenlet_threads == NULL) return -1;
  return state->greenlet_task == NULL || state->tracer == NULL ? -1 : 0;
}

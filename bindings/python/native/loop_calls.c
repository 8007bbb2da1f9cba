/* loop_calls.c: Python callables in the queue of a host loop: what waits, who is told when it ran, and what becomes of it when the loop is
 * closed first.
 *
 * A call is queued in the native loop by its address; beside that it is in its HostLoop's list, so that the garbage collector sees the
 * callables, and so that they can be let go of even when the native queue never comes to them (in a fork child, for instance). */
#include "loop.h"

#include <time.h>

enum { CALL_WAITS, CALL_RUNS, CALL_ENDED, CALL_DROPPED, CALL_WITHDRAWN };

struct loop_call {
  int references; /* the queue's, and that of who waits for its end */
  int stage;
  HostLoop *owner; /* whose list it is in; NULL: in none */
  loop_call *next, *previous;
  selvpy_gate *gate;
  PyObject *fn, *args; /* NULL when it has begun, or will never */
  PyObject *drop;      /* to be called instead; NULL: nothing */
  PyObject *key;       /* in the owner's dictionary of idempotent calls; NULL: not idempotent */
  PyThread_type_lock ended; /* held until the call is over; NULL: nobody waits */
  PyObject *result;
  PyObject *error; /* what the callable raised */
};

/* ---- the records ---- */

static loop_call *call_new(HostLoop *owner, PyObject *fn, PyObject *args) {
  loop_call *call = (loop_call *)calloc(1, sizeof *call);
  if (call == NULL) {
    PyErr_NoMemory();
    return NULL;
  }
  call->references = 1;
  call->gate = selvpy_gate_retain(owner->state->gate);
  call->fn = Py_NewRef(fn);
  call->args = Py_NewRef(args);
  call->owner = owner;
  call->next = owner->first;
  if (owner->first != NULL) owner->first->previous = call;
  owner->first = call;
  return call;
}

static void call_leave_list(loop_call *call) {
  HostLoop *owner = call->owner;
  if (owner == NULL) return;
  if (call->previous != NULL) call->previous->next = call->next;
  else owner->first = call->next;
  if (call->next != NULL) call->next->previous = call->previous;
  call->next = call->previous = NULL;
  call->owner = NULL;
}

/* From here on an equal idempotent call is queued anew. */
static void call_stop_merging(loop_call *call) {
  HostLoop *owner = call->owner;
  PyObject *key = call->key;
  if (key == NULL) return;
  call->key = NULL;
  if (owner != NULL && owner->merging != NULL && PyDict_DelItem(owner->merging, key) != 0) {
    /* A __hash__ that raises now and did not before. Its entry would swallow equal calls for ever: rather some are queued twice. */
    PyErr_Clear();
    Py_CLEAR(owner->merging);
  }
  Py_DECREF(key);
}

/* A finaliser that this runs may come back to the loop: the record is out of everything before. */
static void call_let_go(loop_call *call) {
  PyObject *fn = call->fn, *args = call->args, *drop = call->drop, *key = call->key;
  call_leave_list(call);
  call->fn = call->args = call->drop = call->key = NULL;
  Py_XDECREF(key);
  Py_XDECREF(drop);
  Py_XDECREF(args);
  Py_XDECREF(fn);
}

static void call_release(loop_call *call) {
  if (--call->references != 0) return;
  call_let_go(call);
  Py_CLEAR(call->result);
  Py_CLEAR(call->error);
  if (call->ended != NULL) PyThread_free_lock(call->ended);
  selvpy_gate_release(call->gate);
  free(call);
}

static void call_end(loop_call *call, int stage) {
  call->stage = stage;
  if (call->ended != NULL) PyThread_release_lock(call->ended);
}

/* ---- exceptions ---- */

/* The exception that is set, as one object with its traceback. */
static PyObject *take_error(void) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL && value != NULL) (void)PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return value;
}

/* What is set came out of a callable that nobody waits for. */
static void report_error(HostLoop *owner, PyObject *fn) {
  PyObject *error, *result;
  if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit)) {
    error = take_error();
    if (owner->stop == NULL) owner->stop = error;
    else Py_XDECREF(error);
    return;
  }
  if (owner->on_error == NULL) {
    PyErr_WriteUnraisable(fn);
    return;
  }
  error = take_error();
  result = PyObject_CallOneArg(owner->on_error, error);
  if (result == NULL) PyErr_WriteUnraisable(owner->on_error);
  Py_XDECREF(result);
  Py_XDECREF(error);
}

/* ---- what the native loop calls ---- */

static void call_run(void *arg) {
  loop_call *call = (loop_call *)arg;
  selvpy_visit visit;
  PyObject *type, *value, *traceback, *result, *fn, *args;
  HostLoop *owner;
  if (!selvpy_visit_begin(call->gate, &visit)) return; /* Python has gone, and what the call refers to with it */
  PyErr_Fetch(&type, &value, &traceback);
  owner = call->owner;
  if (call->stage == CALL_WAITS && owner != NULL && call->fn != NULL) {
    Py_INCREF(owner);
    fn = Py_NewRef(call->fn);
    args = Py_NewRef(call->args);
    call_stop_merging(call);
    call_let_go(call);
    call->stage = CALL_RUNS;
    result = PyObject_Call(fn, args, NULL);
    Py_DECREF(args);
    if (call->ended != NULL) {
      call->result = result;
      if (result == NULL) call->error = take_error();
    } else {
      if (result == NULL) report_error(owner, fn);
      Py_XDECREF(result);
    }
    Py_DECREF(fn);
    call_end(call, CALL_ENDED);
    Py_DECREF(owner);
  }
  call_release(call);
  PyErr_Restore(type, value, traceback);
  selvpy_visit_end(&visit);
}

/* The loop is closed: on its thread, or, when its last reference went, on any. */
static void call_drop(void *arg) {
  loop_call *call = (loop_call *)arg;
  selvpy_visit visit;
  PyObject *type, *value, *traceback, *drop, *result;
  if (!selvpy_visit_begin(call->gate, &visit)) return;
  PyErr_Fetch(&type, &value, &traceback);
  if (call->stage == CALL_WAITS) {
    drop = call->drop;
    call->drop = NULL;
    call_stop_merging(call);
    call_let_go(call);
    call_end(call, CALL_DROPPED);
    if (drop != NULL) {
      result = PyObject_CallNoArgs(drop);
      if (result == NULL) PyErr_WriteUnraisable(drop);
      Py_XDECREF(result);
      Py_DECREF(drop);
    }
  }
  call_release(call);
  PyErr_Restore(type, value, traceback);
  selvpy_visit_end(&visit);
}

/* ---- arguments ---- */

/* fn, *args from a fast call; `args` gets a new tuple. */
static int take_callable(const char *method, PyObject *const *given, Py_ssize_t count, PyObject **fn, PyObject **args) {
  Py_ssize_t i;
  if (count < 1) {
    PyErr_Format(PyExc_TypeError, "%s() needs a callable", method);
    return -1;
  }
  if (!PyCallable_Check(given[0])) {
    PyErr_Format(PyExc_TypeError, "%s() needs a callable, not %.100s", method, Py_TYPE(given[0])->tp_name);
    return -1;
  }
  *fn = given[0];
  *args = PyTuple_New(count - 1);
  if (*args == NULL) return -1;
  for (i = 1; i < count; i++) PyTuple_SET_ITEM(*args, i - 1, Py_NewRef(given[i]));
  return 0;
}

/* Puts each keyword argument into the place of its name. */
static int take_keywords(const char *method, PyObject *const *values, PyObject *names, const char *const *known, PyObject **places) {
  Py_ssize_t i, j;
  for (i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
    PyObject *name = PyTuple_GET_ITEM(names, i);
    for (j = 0; known[j] != NULL; j++)
      if (PyUnicode_CompareWithASCIIString(name, known[j]) == 0) break;
    if (known[j] == NULL) {
      PyErr_Format(PyExc_TypeError, "%s() has no keyword argument %R (use functools.partial for those of the callable)", method, name);
      return -1;
    }
    places[j] = values[i];
  }
  return 0;
}

/* ---- HostLoop.call_soon ---- */

/* 1: an equal call waits already. 0: `call` is now the one that equal calls are merged into. -1: an exception is set. */
static int call_merge(HostLoop *self, loop_call *call) {
  PyObject *key, *found;
  if (self->merging == NULL && (self->merging = PyDict_New()) == NULL) return -1;
  key = PyTuple_Pack(2, call->fn, call->args);
  if (key == NULL) return -1;
  found = PyDict_SetDefault(self->merging, key, key);
  if (found == NULL) {
    Py_DECREF(key);
    return -1;
  }
  if (found != key) {
    Py_DECREF(key);
    return 1;
  }
  call->key = key;
  return 0;
}

PyObject *loop_call_soon(HostLoop *self, PyObject *const *given, Py_ssize_t count, PyObject *names) {
  static const char *const known[] = { "idempotent", "drop", NULL };
  PyObject *places[2] = { NULL, NULL }, *fn, *args;
  loop_call *call;
  selv_status status;
  int idempotent, merged = 0;
  if (self->loop == NULL) return loop_raise_without(self);
  if (take_keywords("call_soon", given + count, names, known, places) != 0) return NULL;
  idempotent = places[0] != NULL ? PyObject_IsTrue(places[0]) : 0;
  if (idempotent < 0) return NULL;
  if (places[1] != NULL && places[1] != Py_None && !PyCallable_Check(places[1])) {
    PyErr_Format(PyExc_TypeError, "drop must be a callable or None, not %.100s", Py_TYPE(places[1])->tp_name);
    return NULL;
  }
  if (take_callable("call_soon", given, count, &fn, &args) != 0) return NULL;
  call = call_new(self, fn, args);
  Py_DECREF(args);
  if (call == NULL) return NULL;
  if (places[1] != NULL && places[1] != Py_None) call->drop = Py_NewRef(places[1]);
  if (idempotent) merged = call_merge(self, call);
  if (merged != 0) {
    call_release(call);
    if (merged < 0) return NULL;
    Py_RETURN_NONE;
  }
  status = selv_host_loop_call_soon(self->loop, call_run, call, call_drop, 0);
  if (status != SELV_OK) {
    PyObject *error = selvpy_error(self->state->errors, status);
    call_stop_merging(call);
    call_release(call);
    if (error != NULL) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    return NULL;
  }
  Py_RETURN_NONE;
}

/* ---- HostLoop.call ---- */

static int32_t run_nothing(void *arg, void **out) {
  (void)arg;
  (void)out;
  return 0;
}

/* Whether a call from this thread would wait for itself, or could never be queued. The loop knows its thread, also when a host has bound
 * it to another one. */
static int check_may_wait(HostLoop *self) {
  selv_status status;
  PyObject *error = NULL;
  Py_BEGIN_ALLOW_THREADS
  status = selv_host_loop_call(self->loop, run_nothing, NULL, 0, NULL);
  Py_END_ALLOW_THREADS
  if (status == SELV_OK || status == SELV_E_TIMEDOUT) return 0;
  error = selvpy_error(self->state->errors, status);
  if (error != NULL) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
  Py_XDECREF(error);
  return -1;
}

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Waits for the end of the call, or, up to the timeout, for its beginning. 0: it has ended. -1: an exception is set. */
static int call_wait(HostLoop *self, loop_call *call, uint64_t timeout_ns) {
  const int64_t longest = PY_TIMEOUT_MAX;
  int64_t until = -1;
  if (timeout_ns != SELV_FOREVER && timeout_ns / 1000 < (uint64_t)(longest / 2)) until = now_us() + (int64_t)((timeout_ns + 999) / 1000);
  for (;;) {
    int64_t left = until < 0 ? -1 : until - now_us();
    PyLockStatus got;
    if (until >= 0 && left < 0) left = 0;
    Py_BEGIN_ALLOW_THREADS
    got = PyThread_acquire_lock_timed(call->ended, (PY_TIMEOUT_T)left, 1);
    Py_END_ALLOW_THREADS
    if (got == PY_LOCK_ACQUIRED) return 0;
    if (got == PY_LOCK_INTR) {
      if (PyErr_CheckSignals() == 0) continue;
      if (call->stage == CALL_WAITS) call->stage = CALL_WITHDRAWN;
      return -1;
    }
    if (call->stage == CALL_WAITS) {
      call->stage = CALL_WITHDRAWN;
      selvpy_raise_named(self->state->errors, "TimedOutError", "the loop did not come to the call in time; it will not run");
      return -1;
    }
    until = -1; /* it has begun: now for as long as it takes */
  }
}

PyObject *loop_call_wait(HostLoop *self, PyObject *const *given, Py_ssize_t count, PyObject *names) {
  static const char *const known[] = { "timeout", NULL };
  PyObject *places[1] = { NULL }, *fn, *args, *result = NULL;
  loop_call *call;
  uint64_t timeout_ns;
  selv_status status;
  if (self->loop == NULL) return loop_raise_without(self);
  if (take_keywords("call", given + count, names, known, places) != 0) return NULL;
  if (selvpy_timeout(places[0], "timeout", &timeout_ns) != 0) return NULL;
  if (take_callable("call", given, count, &fn, &args) != 0) return NULL;
  call = check_may_wait(self) == 0 ? call_new(self, fn, args) : NULL;
  Py_DECREF(args);
  if (call == NULL) return NULL;
  call->ended = PyThread_allocate_lock();
  if (call->ended == NULL) {
    call_release(call);
    return PyErr_NoMemory();
  }
  (void)PyThread_acquire_lock(call->ended, WAIT_LOCK);
  call->references = 2;
  status = selv_host_loop_call_soon(self->loop, call_run, call, call_drop, 0);
  if (status != SELV_OK) {
    (void)selvpy_raise(self->state->errors, status);
    call->references = 1;
  } else if (call_wait(self, call, timeout_ns) == 0) {
    if (call->stage == CALL_DROPPED) {
      selvpy_raise_named(self->state->errors, "ClosedResourceError", "the host loop was closed before it came to the call");
    } else if (call->error != NULL) {
      PyErr_SetObject((PyObject *)Py_TYPE(call->error), call->error);
      Py_CLEAR(call->error);
    } else {
      result = call->result;
      call->result = NULL;
    }
  } else {
    call_let_go(call);
  }
  call_release(call);
  return result;
}

/* ---- the garbage collector, and the end ---- */

int loop_calls_traverse(HostLoop *self, visitproc visit, void *arg) {
  loop_call *call;
  for (call = self->first; call != NULL; call = call->next) {
    Py_VISIT(call->fn);
    Py_VISIT(call->args);
    Py_VISIT(call->drop);
    Py_VISIT(call->key);
  }
  return 0;
}

void loop_calls_forget(HostLoop *self) {
  while (self->first != NULL) call_let_go(self->first);
}

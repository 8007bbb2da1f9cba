/* loop.h: what the two halves of the extension `_loop` share: the type HostLoop (loop.c) and the Python callables that wait in one
 * (loop_calls.c). */
#ifndef SELVPY_LOOP_H
#define SELVPY_LOOP_H

#include "common.h"

typedef struct loop_state {
  PyObject *errors;
  PyTypeObject *host_loop_type;
  PyObject *stats; /* the class HostLoopStats */
  selvpy_gate *gate;
} loop_state;

typedef struct loop_call loop_call;

/* Everything in it is read and written with the GIL held. */
typedef struct HostLoop {
  PyObject_HEAD
  selv_host_loop *loop; /* NULL: not made yet, or given back */
  loop_state *state;    /* of the module, which the type keeps */
  PyObject *name;
  PyObject *on_error; /* NULL: sys.unraisablehook */
  PyObject *merging;  /* { (fn, args): True } of the idempotent calls that wait */
  PyObject *stop;     /* the first KeyboardInterrupt or SystemExit of a pass: drain raises it */
  loop_call *first;   /* the calls that wait, for the garbage collector, and for the end */
  PyObject *weakrefs;
} HostLoop;

/* HostLoop.call_soon and HostLoop.call. */
PyObject *loop_call_soon(HostLoop *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *loop_call_wait(HostLoop *self, PyObject *const *args, Py_ssize_t count, PyObject *names);

int loop_calls_traverse(HostLoop *self, visitproc visit, void *arg);

/* Lets go of the callables that wait, without calling anything. What the queue has of them does nothing when its turn comes. */
void loop_calls_forget(HostLoop *self);

/* Raises ClosedResourceError, or RuntimeError if __init__ was not called. Always NULL. */
PyObject *loop_raise_without(HostLoop *self);

#endif

/* common.h: what the extensions of this package share: raising, timeouts, the check of the library, and visits: Python calls on threads
 * that may know nothing of Python. */
#ifndef SELVPY_COMMON_H
#define SELVPY_COMMON_H

#define PY_SSIZE_T_CLEAN
#include <selvedge/python.h>

/* ---- errors ---- */

/* Gets a new reference to the module selvedge._errors. 0, or -1 with an exception set. */
int selvpy_errors_load(PyObject **errors);

/* The exception for `status`, with the calling thread's selv_last_error as its text: call it before anything else on this thread can
 * change that. A new reference; NULL with another exception set. */
PyObject *selvpy_error(PyObject *errors, selv_status status);

/* Raises it. Always NULL. */
PyObject *selvpy_raise(PyObject *errors, selv_status status);

/* Raises the class `name` of selvedge._errors with a text of our own. Always NULL. */
PyObject *selvpy_raise_named(PyObject *errors, const char *name, const char *text);

/* ---- arguments ---- */

/* Seconds, as int or float, to nanoseconds. None is SELV_FOREVER; so is what does not fit, infinity included. -1 with ValueError (negative,
 * NaN) or TypeError. `what` names the argument in the message. */
int selvpy_timeout(PyObject *seconds, const char *what, uint64_t *ns);

/* The address of something native that the caller has as an int. No page of a process begins below 4096. -1 with TypeError (no int, or a bool)
 * or ValueError. */
int selvpy_address(PyObject *number, const char *what, void **address);

/* ---- waiting ---- */

uint64_t selvpy_now_ns(void); /* monotonic */

/* Sleeps, without the GIL, until the loop has something, a signal comes, or `until` (of selvpy_now_ns) is reached; now and then it wakes for
 * nothing: a signal can be taken by another thread, which ends no wait of Python's main thread, so who waits looks for one himself. */
void selvpy_sleep(selv_host_loop *loop, uint64_t until);

/* ---- the module ---- */

/* For Py_mod_exec: the libselvedge of this process has the ABI that we were compiled for, is not older, and is the only one. -1 with ImportError. */
int selvpy_check_library(void);

/* The module state for a type of that module or a Python subclass of one. Never NULL for such a type. */
void *selvpy_state_of_type(PyTypeObject *type, PyModuleDef *def);

/* Calls `callable` at the interpreter's exit (module atexit). 0, or -1 with an exception set. */
int selvpy_at_exit(PyObject *callable);

/* ---- visits ----
 *
 * A callback of the library may come on any thread: one of Python's, a worker that a hook has attached, a thread of another runtime. A
 * visit makes it a thread of the module's interpreter for as long as a Python call takes. It must not begin when Python is about to end:
 * so visitors that have to attach first pass a gate, which Python's exit closes. Who came through gets the GIL from a living Python.
 *
 * A gate belongs to one interpreter. It is counted, since callbacks may come when the interpreter has gone. */
typedef struct selvpy_gate selvpy_gate;

/* With one reference for the caller; closed by the interpreter's exit. Attached. NULL with an exception set. */
selvpy_gate *selvpy_gate_new(void);
selvpy_gate *selvpy_gate_retain(selvpy_gate *gate);
void selvpy_gate_release(selvpy_gate *gate); /* any thread, attached or not */
PyInterpreterState *selvpy_gate_interpreter(const selvpy_gate *gate); /* to be compared only */
int selvpy_gate_is_closed(const selvpy_gate *gate);

typedef struct selvpy_visit {
  PyThreadState *made;  /* made for this visit */
  PyThreadState *other; /* what the thread held the GIL with, of another interpreter */
  int restored;         /* the thread had a state, without the GIL */
} selvpy_visit;

/* 1: the thread holds the GIL of the gate's interpreter, until selvpy_visit_end. 0: Python is ending or gone, or there is no memory: nothing
 * of Python may be touched, not even a reference count. A pending exception of the thread is the caller's to keep (PyErr_Fetch). */
int selvpy_visit_begin(selvpy_gate *gate, selvpy_visit *visit);
void selvpy_visit_end(const selvpy_visit *visit);

#endif

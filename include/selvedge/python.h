/* selvedge/python.h: lets the workers of a thread cache run Python, and lets Python end cleanly while they live.
 *
 * A preset: inline C, compiled in the host's own translation unit against the host's own <Python.h>; libselvedge itself knows
 * nothing of CPython. For CPython 3.10 to 3.13, C99 and C++11 and later, GCC or Clang. Include it before any system header, as
 * <Python.h> asks: it decides what those declare.
 *
 *     selv_hook *python;
 *     Py_Initialize();
 *     selv_python_register(cache, NULL, NULL, &python);      attached, on Python's main thread
 *     PyThreadState *main_state = PyEval_SaveThread();       nobody else gets the GIL while main holds it
 *
 *     int32_t job(void *arg, void **out) {
 *       ... C work, in parallel with every other worker ...
 *       if (selv_python_begin(python) == SELV_OK) { ... Python C API ...; selv_python_end(python); }
 *     }
 *
 *     PyEval_RestoreThread(main_state);
 *     selv_python_unregister(python, SELV_FOREVER, NULL);    or leave it out: Py_FinalizeEx does the same through atexit
 *     Py_FinalizeEx();                                       the cache and its workers live on
 *
 * What a worker gets: one PyThreadState, made before its first job and kept until it ends or the hook is removed. So
 * threading.local values and trace functions last from job to job, and PyGILState_Ensure in an extension finds the state and
 * costs a fraction of a microsecond. Between jobs, and in jobs outside begin/end, a worker does not hold the GIL. The worker's
 * slot (selv_hook_slot) is its PyThreadState.
 *
 * Never wait in a selv_ function while holding the GIL (selv_cache_run, selv_job_wait, selv_cache_shutdown, a plain
 * selv_hook_unregister): what it waits for may need the GIL. Put Py_BEGIN_ALLOW_THREADS around it.
 *
 * Python's end. selv_python_register installs an atexit callback that removes the hook and waits for the workers to detach,
 * GIL released, for shutdown_timeout_ns at most. After that nobody attaches any more (selv_python_begin says SELV_E_CLOSED,
 * jobs that need the hook are delivered with SELV_E_HOOK_FAILED), a worker in the middle of attaching or detaching is let
 * through, and the state of a worker that would not come back is left to Py_FinalizeEx, which frees it. Only a worker
 * *inside* a Python part that outlasts the timeout is out of reach: up to 3.13 CPython ends its thread when it next takes the
 * GIL. The cache survives that: it counts the thread in threads_lost and delivers its job with SELV_E_BROKEN.
 * Py_FinalizeEx called from a job (3.13) waits for the other workers only; up to 3.12, off the thread that imported
 * `threading`, it waits for that thread for ever, before any exit callback is called: end Python on its main thread.
 *
 * Fork. With SELV_HOOK_FORK_KEEP the hook stays valid in a child made by os.fork (or by fork between PyOS_BeforeFork and
 * PyOS_AfterFork_Child): CPython keeps there the forking thread's state, frees the states of all other threads, and makes a
 * new GIL; the parent's workers do not exist in the child, whose own workers attach afresh. A plain fork() leaves the GIL in the
 * hands of a thread that is not there: no hook can be kept then, so the flag is not the default. Without it jobs that need
 * Python get SELV_E_FORKED in the child. Up to 3.11 a fork waits until no worker is making its thread state (pthread_atfork).
 *
 * Sub-interpreters. `interp` may be a sub-interpreter on CPython 3.12 and later, with the GIL shared or its own; before 3.12
 * it is SELV_E_UNSUPPORTED, because a thread cannot find out there whether it holds the GIL for a sub-interpreter. The hook
 * must be gone before Py_EndInterpreter ends: its atexit callback waits as above, but CPython aborts the process if a worker
 * is still attached after it, so give such a hook SELV_FOREVER or unregister it first. A worker has one state: two hooks for
 * the same interpreter share it, one for another interpreter fails to attach, with SELV_E_UNSUPPORTED. */
#ifndef SELVEDGE_PYTHON_H
#define SELVEDGE_PYTHON_H

#include <Python.h>
#if PY_VERSION_HEX < 0x030A0000
#error "selvedge/python.h needs CPython 3.10 or later"
#endif
#ifdef Py_LIMITED_API
#error "selvedge/python.h needs the full C API: compile it without Py_LIMITED_API"
#endif

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <selvedge.h>
#if PY_VERSION_HEX < 0x030C0000
#include <pthread.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of selv_python_options, beside SELV_HOOK_LAZY, _EAGER, _OPTIONAL and _FORK_KEEP, which mean what they mean for any hook.
 *
 * HOLD_GIL: the job's whole fn runs with the GIL held, with no begin/end; an exception it leaves is reported. Jobs that need
 * this hook then run one at a time. Two such hooks on one job are SELV_E_INVAL.
 * THREADING_TRACE: a worker that attaches gets the functions of threading.settrace and threading.setprofile, as a
 * threading.Thread does: debuggers, coverage and profilers see the jobs. What is set later reaches workers that attach later
 * (threading.settrace_all_threads, 3.12, reaches all). */
#define SELV_PYTHON_HOLD_GIL 0x10000u
#define SELV_PYTHON_THREADING_TRACE 0x20000u

/* Called attached, with a Python exception set that a job left behind; what it leaves set is cleared. It may run Python code. */
typedef void (*selv_python_error_fn)(void *arg, const char *hook_name);

typedef struct selv_python_options {
  uint32_t struct_size;
  uint32_t flags;
  const char *name;              /* of the hook; NULL: "python" */
  uint64_t shutdown_timeout_ns;  /* of the atexit callback; 0: five seconds; SELV_NO_WAIT; SELV_FOREVER */
  selv_python_error_fn on_error; /* NULL: sys.unraisablehook, which prints to stderr */
  void *on_error_arg;
} selv_python_options;
#define SELV_PYTHON_OPTIONS_INIT { sizeof(selv_python_options), 0, NULL, 0, NULL, NULL }

/* ---- the gate: who may still take the GIL ----
 *
 * Attaching to a Python that is ending ends the thread (or hangs it, from 3.14), and asking Python first (Py_IsFinalizing) is
 * a race: it may begin to end after the answer. So threads pass a gate of our own. It counts those that are inside an
 * attaching step; Python's atexit callback, which runs before finalisation begins, closes it and then waits, GIL released,
 * until the count is zero. Who came before the close gets the GIL from a living Python; who comes after is turned away. */
#define SELV_PYTHON_IMPL_CLOSED 0x80000000u

typedef struct selv_python_impl {
  uint32_t references; /* the hook's user_free and the atexit callable, each one */
  uint32_t gate;       /* number of threads inside, and the bit CLOSED */
  uint32_t live;       /* attached threads */
  uint32_t waiting;    /* somebody waits for `gate` or `live` to fall */
  uint32_t nested;     /* parts begun inside another part of the same thread, all threads together */
  uint32_t flags;
  long process; /* that registered; a fork child inherits counts of threads that it does not have, and must not wait for them */
  PyInterpreterState *interp;
  PyThread_type_lock wake; /* held; released when a count that the atexit callback waits for is reached */
  selv_hook *hook;         /* the atexit callable's own reference */
  uint64_t timeout_ns;
  selv_python_error_fn on_error;
  void *on_error_arg;
  char *name;
} selv_python_impl;

/* Every access to the counts is sequentially consistent: a thread lowers its count and then looks for a waiter, the waiter
 * announces itself and then looks at the count, and one of them must see the other. */
static inline void selv_python_impl_wake(selv_python_impl *p) {
  if (__atomic_exchange_n(&p->waiting, 0u, __ATOMIC_SEQ_CST)) PyThread_release_lock(p->wake);
}

static inline void selv_python_impl_gate_leave(selv_python_impl *p) {
  if (__atomic_sub_fetch(&p->gate, 1u, __ATOMIC_SEQ_CST) == SELV_PYTHON_IMPL_CLOSED) selv_python_impl_wake(p);
}

static inline int selv_python_impl_gate_enter(selv_python_impl *p) {
  if ((__atomic_fetch_add(&p->gate, 1u, __ATOMIC_SEQ_CST) & SELV_PYTHON_IMPL_CLOSED) == 0) return 1;
  selv_python_impl_gate_leave(p);
  return 0;
}

static inline int selv_python_impl_is_closed(const selv_python_impl *p) {
  return (__atomic_load_n(&p->gate, __ATOMIC_SEQ_CST) & SELV_PYTHON_IMPL_CLOSED) != 0;
}

/* Waits, without the GIL, until *count (less the bit CLOSED) is at most `target`. The time starts again when a wake-up turns
 * out to be for an earlier wait, which happens at most once. */
static inline void selv_python_impl_wait(selv_python_impl *p, const uint32_t *count, uint32_t target, uint64_t timeout_ns) {
  const uint64_t longest_us = UINT64_C(3600000000); /* an hour: PyThread's own limit differs between versions, and is longer */
  uint64_t us = timeout_ns / 1000u;
  if (us > longest_us) us = longest_us;
  for (;;) {
    __atomic_store_n(&p->waiting, 1u, __ATOMIC_SEQ_CST);
    if ((__atomic_load_n(count, __ATOMIC_SEQ_CST) & ~SELV_PYTHON_IMPL_CLOSED) <= target) break;
    if (PyThread_acquire_lock_timed(p->wake, (PY_TIMEOUT_T)us, 0) != PY_LOCK_ACQUIRED) break;
  }
  __atomic_store_n(&p->waiting, 0u, __ATOMIC_SEQ_CST);
}

static inline void selv_python_impl_drop(void *user) {
  selv_python_impl *p = (selv_python_impl *)user;
  if (__atomic_sub_fetch(&p->references, 1u, __ATOMIC_SEQ_CST) != 0) return;
  if (p->wake != NULL) PyThread_free_lock(p->wake);
  free(p->name);
  free(p);
}

/* ---- thread states ---- */

/* The state with which this thread holds the GIL, or NULL. Up to 3.11 CPython only knows the state that holds the GIL in the
 * whole process; it is ours if it is also the one bound to this thread. Both are compared, never followed. */
static inline PyThreadState *selv_python_impl_current(void) {
#if PY_VERSION_HEX >= 0x030D0000
  return PyThreadState_GetUnchecked();
#elif PY_VERSION_HEX >= 0x030C0000
  return _PyThreadState_UncheckedGet();
#else
  PyThreadState *bound = PyGILState_GetThisThreadState();
  return bound != NULL && bound == _PyThreadState_UncheckedGet() ? bound : NULL;
#endif
}

/* True if the host deleted the state behind our back: a thread entered the cache between PyGILState_Ensure and _Release. A
 * thread of a sub-interpreter may have another state bound, so nothing can be said there. */
static inline int selv_python_impl_is_stale(const selv_python_impl *p, const PyThreadState *ts) {
  return p->interp == PyInterpreterState_Main() && PyGILState_GetThisThreadState() != ts;
}

/* Small numbers kept in the thread state's own dict: they go where the state goes (an os.fork child keeps them), need no lock
 * (a thread only touches its own), and are shared by every copy of this header in the process. All need the GIL. */
static inline long selv_python_impl_note_get(PyObject *key) {
  PyObject *dict = PyThreadState_GetDict(), *value = NULL;
  if (dict != NULL && key != NULL) value = PyDict_GetItemWithError(dict, key);
  return value != NULL ? PyLong_AsLong(value) : 0;
}

static inline int selv_python_impl_note_set(PyObject *key, long number) {
  PyObject *dict = PyThreadState_GetDict(), *value;
  int failed;
  if (dict == NULL || key == NULL) return -1;
  if (number == 0) return PyDict_DelItem(dict, key);
  value = PyLong_FromLong(number);
  if (value == NULL) return -1;
  failed = PyDict_SetItem(dict, key, value);
  Py_DECREF(value);
  return failed;
}

/* How many hooks are attached through this state (times two), and whether one of them made it (the last bit). The state goes
 * with the last hook, and only if a hook made it: a second hook for the same interpreter, or a thread that brought its own
 * state, must not lose it. Returns the new number, or -1 with an exception set. */
#define SELV_PYTHON_IMPL_MADE 1
static inline long selv_python_impl_uses_add(long change) {
  PyObject *key = PyUnicode_FromString("selvedge.uses");
  long uses = -1;
  if (key != NULL) {
    uses = selv_python_impl_note_get(key) + change;
    if (selv_python_impl_note_set(key, uses) != 0) uses = -1;
    Py_DECREF(key);
  }
  return uses;
}

/* What this thread's current state has under `name`, 0 if nothing. Keeps a pending exception. */
static inline long selv_python_impl_note_named(const char *name) {
  PyObject *type, *value, *traceback, *key;
  long number;
  PyErr_Fetch(&type, &value, &traceback);
  key = PyUnicode_FromString(name);
  number = selv_python_impl_note_get(key);
  Py_XDECREF(key);
  PyErr_Clear();
  PyErr_Restore(type, value, traceback);
  return number;
}

static inline int selv_python_impl_is_made(void) {
  return (selv_python_impl_note_named("selvedge.uses") & SELV_PYTHON_IMPL_MADE) != 0;
}

/* Exit callbacks run inside a part on an entered thread: the hook lets go of the very state that runs them. Pinned, it stays
 * until the part's end, or until Py_FinalizeEx deletes it. */
#define SELV_PYTHON_IMPL_PINNED "selvedge.pinned"
static inline void selv_python_impl_pin(long pinned) {
  PyObject *key = PyUnicode_FromString(SELV_PYTHON_IMPL_PINNED);
  if (selv_python_impl_note_set(key, pinned) != 0) PyErr_Clear();
  Py_XDECREF(key);
}

/* Parts begun inside a part, of this thread and hook. */
static inline int selv_python_impl_depth_set(selv_python_impl *p, long depth, long old) {
  PyObject *key = PyLong_FromVoidPtr(p);
  int failed = key == NULL || selv_python_impl_note_set(key, depth) != 0;
  Py_XDECREF(key);
  if (failed) return -1;
  if (depth > old) __atomic_fetch_add(&p->nested, 1u, __ATOMIC_SEQ_CST);
  else __atomic_fetch_sub(&p->nested, (uint32_t)(old - depth), __ATOMIC_SEQ_CST);
  return 0;
}

static inline long selv_python_impl_depth(selv_python_impl *p) {
  PyObject *key;
  long depth;
  /* The usual answer for the price of a load; only our own thread's parts matter, and those we see. */
  if (__atomic_load_n(&p->nested, __ATOMIC_SEQ_CST) == 0) return 0;
  key = PyLong_FromVoidPtr(p);
  depth = selv_python_impl_note_get(key);
  Py_XDECREF(key);
  return depth;
}

/* An exception that nobody will catch any more. Never ends the process, not even for SystemExit. */
static inline void selv_python_impl_report(const selv_python_impl *p) {
  PyObject *type, *value, *traceback, *where;
  if (!PyErr_Occurred()) return;
  if (p->on_error != NULL) {
    p->on_error(p->on_error_arg, p->name);
  } else {
    PyErr_Fetch(&type, &value, &traceback);
    where = PyUnicode_FromFormat("a job of the selvedge hook \"%s\"", p->name);
    PyErr_Restore(type, value, traceback);
    PyErr_WriteUnraisable(where);
    Py_XDECREF(where);
  }
  PyErr_Clear();
}

/* Ends the hook's use of this thread's current state. True if the state is gone, and the GIL with it. */
static inline int selv_python_impl_let_go(const selv_python_impl *p) {
  PyObject *type, *value, *traceback;
  long uses;
  /* A pending exception is the host's where the state is; the dict must be read without one. */
  PyErr_Fetch(&type, &value, &traceback);
  uses = selv_python_impl_uses_add(-2);
  if (uses == -1) PyErr_Clear();
  PyErr_Restore(type, value, traceback);
  if (uses != SELV_PYTHON_IMPL_MADE) return 0;
  selv_python_impl_report(p);
  PyThreadState_Clear(selv_python_impl_current());
  PyThreadState_DeleteCurrent();
  return 1;
}

/* ---- the GIL, for one Python part ---- */

static inline selv_status selv_python_impl_acquire(selv_python_impl *p, PyThreadState *ts) {
  selv_status status = SELV_OK;
  PyThreadState *current;
  if (!selv_python_impl_gate_enter(p)) return SELV_E_CLOSED;
  current = selv_python_impl_current();
  if (current == ts) {
    PyObject *type, *value, *traceback;
    long depth;
    PyErr_Fetch(&type, &value, &traceback); /* of the part around this one */
    depth = selv_python_impl_depth(p);
    if (selv_python_impl_depth_set(p, depth + 1, depth) != 0) status = SELV_E_NOMEM;
    PyErr_Restore(type, value, traceback);
  } else if (current != NULL) {
    status = SELV_E_REENTRANT;
  } else if (selv_python_impl_is_stale(p, ts)) {
    status = SELV_E_STALE;
  } else {
    PyEval_RestoreThread(ts);
  }
  selv_python_impl_gate_leave(p);
  return status;
}

/* Takes no gate: who holds the GIL may always give it back. With `all`, nested parts that were never ended end too. */
static inline selv_status selv_python_impl_release(selv_python_impl *p, PyThreadState *ts, int all) {
  long depth;
  if (selv_python_impl_current() != ts) return selv_python_impl_is_closed(p) ? SELV_E_CLOSED : SELV_E_INVAL;
  selv_python_impl_report(p);
  depth = selv_python_impl_depth(p);
  if (depth > 0 && selv_python_impl_depth_set(p, all ? 0 : depth - 1, depth) != 0) PyErr_Clear();
  if (depth == 0 || all) (void)PyEval_SaveThread();
  return SELV_OK;
}

/* The end of a part whose hook has left this thread inside it. The atexit callable keeps `p` as long as the interpreter. */
static inline selv_status selv_python_impl_release_pinned(selv_python_impl *p) {
  long depth;
  if (selv_python_impl_current() == NULL || selv_python_impl_note_named(SELV_PYTHON_IMPL_PINNED) == 0) return SELV_E_WRONG_THREAD;
  selv_python_impl_report(p);
  depth = selv_python_impl_depth(p);
  if (depth > 0) {
    if (selv_python_impl_depth_set(p, depth - 1, depth) != 0) PyErr_Clear();
    return SELV_OK;
  }
  selv_python_impl_pin(0);
  if (!selv_python_impl_let_go(p)) (void)PyEval_SaveThread();
  return SELV_OK;
}

/* ---- the hook's callbacks ---- */

/* Both functions are fetched before either is set: with a trace function in place, the second question would be traced. */
static inline int selv_python_impl_apply_trace(void) {
  static const char *const getters[2] = { "gettrace", "getprofile" }, *const setters[2] = { "settrace", "setprofile" };
  PyObject *functions[2] = { NULL, NULL }, *result;
  PyObject *threading = PyImport_ImportModule("threading");
  int i, failed = threading == NULL;
  for (i = 0; i < 2 && !failed; i++) {
    functions[i] = PyObject_CallMethod(threading, getters[i], NULL);
    failed = functions[i] == NULL;
  }
  for (i = 0; i < 2 && !failed; i++) {
    PyObject *setter = PySys_GetObject(setters[i]);
    if (functions[i] == Py_None || setter == NULL) continue;
    result = PyObject_CallFunctionObjArgs(setter, functions[i], NULL);
    failed = result == NULL;
    Py_XDECREF(result);
  }
  Py_XDECREF(functions[0]);
  Py_XDECREF(functions[1]);
  Py_XDECREF(threading);
  return failed ? -1 : 0;
}

/* ---- a fork while a thread state is made ----
 *
 * A fork child removes the states of the threads that it does not have. Up to 3.11 it takes the lock of their list for that before it
 * makes this lock anew; and PyThreadState_New holds the lock without the GIL. So a child of a fork at that instant hangs. Here states are
 * made under a lock that forks wait for. Each source file that includes this has its own, which does as well. */
#if PY_VERSION_HEX < 0x030C0000
static pthread_mutex_t selv_python_impl_making = PTHREAD_MUTEX_INITIALIZER;

static inline void selv_python_impl_before_fork(void) {
  while (pthread_mutex_trylock(&selv_python_impl_making) != 0) {
    /* While tracemalloc runs, whoever makes a state takes the GIL for its memory: it may be waiting for ours. */
    PyThreadState *ts = selv_python_impl_current() != NULL ? PyEval_SaveThread() : NULL;
    (void)pthread_mutex_lock(&selv_python_impl_making);
    (void)pthread_mutex_unlock(&selv_python_impl_making);
    if (ts != NULL) PyEval_RestoreThread(ts);
  }
}

static inline void selv_python_impl_after_fork(void) { (void)pthread_mutex_unlock(&selv_python_impl_making); }

static inline void selv_python_impl_guard_forks_once(void) {
  (void)pthread_atfork(selv_python_impl_before_fork, selv_python_impl_after_fork, selv_python_impl_after_fork);
}

static inline void selv_python_impl_guard_forks(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, selv_python_impl_guard_forks_once);
}

static inline PyThreadState *selv_python_impl_make(PyInterpreterState *interp) {
  PyThreadState *ts;
  (void)pthread_mutex_lock(&selv_python_impl_making);
  ts = PyThreadState_New(interp);
  (void)pthread_mutex_unlock(&selv_python_impl_making);
  return ts;
}
#else
static inline void selv_python_impl_guard_forks(void) {}
static inline PyThreadState *selv_python_impl_make(PyInterpreterState *interp) { return PyThreadState_New(interp); }
#endif

static inline int32_t selv_python_impl_on_start(void *user, const selv_worker *w, void **slot) {
  selv_python_impl *p = (selv_python_impl *)user;
  PyThreadState *current, *ts;
  int32_t code = SELV_OK;
  int made;
  (void)w;
  if (!selv_python_impl_gate_enter(p)) return SELV_E_CLOSED;
  current = selv_python_impl_current();
  ts = current != NULL ? current : PyGILState_GetThisThreadState();
  made = ts == NULL;
  if (made) ts = selv_python_impl_make(p->interp);
  /* A second state beside one of another interpreter would hang or kill the process later, depending on the version. */
  if (ts == NULL) code = SELV_E_NOMEM;
  else if (PyThreadState_GetInterpreter(ts) != p->interp) code = SELV_E_UNSUPPORTED;
  if (code == SELV_OK) {
    if (current == NULL) PyEval_RestoreThread(ts);
    if (selv_python_impl_uses_add(made ? 2 + SELV_PYTHON_IMPL_MADE : 2) == -1) {
      code = SELV_E_NOMEM;
      PyErr_Clear();
      if (made) {
        PyThreadState_Clear(ts);
        PyThreadState_DeleteCurrent();
      } else if (current == NULL) {
        (void)PyEval_SaveThread();
      }
    } else if (made && (p->flags & SELV_PYTHON_THREADING_TRACE) && selv_python_impl_apply_trace() != 0) {
      code = SELV_E_HOOK_FAILED;
      selv_python_impl_report(p);
      (void)selv_python_impl_let_go(p);
    } else {
      if (current == NULL) (void)PyEval_SaveThread();
      __atomic_fetch_add(&p->live, 1u, __ATOMIC_SEQ_CST);
      *slot = ts;
    }
  }
  selv_python_impl_gate_leave(p);
  return code;
}

static inline void selv_python_impl_on_exit(void *user, const selv_worker *w, void *slot) {
  selv_python_impl *p = (selv_python_impl *)user;
  PyThreadState *ts = (PyThreadState *)slot, *current;
  (void)w;
  /* Behind a closed gate Python is ending or gone, and the state belongs to it: nothing may be touched any more. */
  if (selv_python_impl_gate_enter(p)) {
    current = selv_python_impl_current();
    if (!selv_python_impl_is_stale(p, ts)) {
      if (current != ts) {
        /* Another hook's part that was left open; it gets the GIL back below. */
        if (current != NULL) (void)PyEval_SaveThread();
        PyEval_RestoreThread(ts);
      }
      if (!selv_python_impl_let_go(p) && current != ts) (void)PyEval_SaveThread();
      if (current != NULL && current != ts) PyEval_RestoreThread(current);
    }
    selv_python_impl_gate_leave(p);
  }
  /* Py_FinalizeEx called from a job waits until its own worker is the only one left. */
  if (__atomic_sub_fetch(&p->live, 1u, __ATOMIC_SEQ_CST) == 1) selv_python_impl_wake(p);
}

static inline int32_t selv_python_impl_before_job(void *user, const selv_worker *w, void *slot) {
  (void)w;
  return selv_python_impl_acquire((selv_python_impl *)user, (PyThreadState *)slot);
}

static inline void selv_python_impl_after_job(void *user, const selv_worker *w, void *slot) {
  selv_python_impl *p = (selv_python_impl *)user;
  PyThreadState *ts = (PyThreadState *)slot;
  (void)w;
  /* INVAL: the job gave the GIL away and never took it back; its exception would otherwise surface in the next job. */
  if (selv_python_impl_release(p, ts, 1) == SELV_E_INVAL && selv_python_impl_acquire(p, ts) == SELV_OK)
    (void)selv_python_impl_release(p, ts, 1);
}

/* ---- Python's end ---- */

#define SELV_PYTHON_IMPL_CAPSULE "selvedge.python"

/* Turns everybody away from now on and waits for those who are inside. They are waiting for the GIL or about to give it
 * back, so this ends soon whatever shutdown_timeout_ns is; the second is for a machine under load. */
static inline void selv_python_impl_close(selv_python_impl *p) {
  uint64_t patience = UINT64_C(1000000000);
  if (p->timeout_ns != SELV_NO_WAIT && p->timeout_ns > patience) patience = p->timeout_ns;
  __atomic_fetch_or(&p->gate, SELV_PYTHON_IMPL_CLOSED, __ATOMIC_SEQ_CST);
  if ((long)getpid() == p->process) selv_python_impl_wait(p, &p->gate, 0, patience);
}

static inline PyObject *selv_python_impl_atexit(PyObject *self, PyObject *unused) {
  selv_python_impl *p = (selv_python_impl *)PyCapsule_GetPointer(self, SELV_PYTHON_IMPL_CAPSULE);
  selv_status status;
  uint32_t attached = 0, own = 0;
  (void)unused;
  if (p == NULL) return NULL;
  if (p->hook == NULL) Py_RETURN_NONE;
  if (selv_hook_slot(p->hook) == (void *)selv_python_impl_current() && selv_python_impl_is_made()) {
    selv_python_impl_pin(1);
    if (selv_python_impl_uses_add(2) == -1) PyErr_Clear();
  }
  Py_BEGIN_ALLOW_THREADS
  status = selv_hook_unregister(p->hook, p->timeout_ns == SELV_NO_WAIT ? 0 : p->timeout_ns, &attached);
  if (status == SELV_E_DEADLOCK) {
    /* Python is being ended by a job: its own worker cannot detach before the job ends, the others can. */
    own = 1;
    status = selv_hook_unregister(p->hook, 0, &attached);
    attached = own;
    if ((long)getpid() == p->process && p->timeout_ns != SELV_NO_WAIT) {
      selv_python_impl_wait(p, &p->live, own, p->timeout_ns);
      /* Not the hook's own number: it falls a moment after on_exit has returned, and who is there has let go of Python. */
      attached = __atomic_load_n(&p->live, __ATOMIC_SEQ_CST);
    }
  }
  selv_python_impl_close(p);
  Py_END_ALLOW_THREADS
  if (status == SELV_E_TIMEDOUT && attached > own && p->timeout_ns != SELV_NO_WAIT &&
      PyErr_WarnFormat(PyExc_RuntimeWarning, 1,
                       "selvedge hook \"%s\": %lu worker(s) still attached after %lu ms; one that is inside Python code ends "
                       "when it next needs the GIL",
                       p->name, (unsigned long)(attached - own), (unsigned long)(p->timeout_ns / 1000000u)) < 0)
    return NULL;
  Py_RETURN_NONE;
}

/* The callable has gone: unregistered, or the interpreter has been cleared, perhaps without calling it (atexit._clear). In
 * that last case the gate is still open, and what it protects is gone. */
static inline void selv_python_impl_callable_gone(PyObject *capsule) {
  selv_python_impl *p = (selv_python_impl *)PyCapsule_GetPointer(capsule, SELV_PYTHON_IMPL_CAPSULE);
  if (p == NULL) {
    PyErr_Clear();
    return;
  }
  __atomic_fetch_or(&p->gate, SELV_PYTHON_IMPL_CLOSED, __ATOMIC_SEQ_CST);
  if (p->hook != NULL) {
    uint32_t attached;
    (void)selv_hook_unregister(p->hook, 0, &attached);
    selv_hook_release(p->hook);
  }
  selv_python_impl_drop(p);
}

/* The interpreter's own record of its hooks: { address of the hook: callable }. It keeps the callable when somebody clears
 * atexit's list, and finds it again by the hook, whose address is not reused while the callable holds a reference. Borrowed;
 * NULL with or without an exception set. */
static inline PyObject *selv_python_impl_callables(PyInterpreterState *interp) {
  PyObject *dict = PyInterpreterState_GetDict(interp), *callables, *key;
  if (dict == NULL) return NULL;
  key = PyUnicode_FromString("selvedge.hooks");
  if (key == NULL) return NULL;
  callables = PyDict_GetItemWithError(dict, key);
  if (callables == NULL && !PyErr_Occurred()) {
    PyObject *fresh = PyDict_New();
    if (fresh != NULL && PyDict_SetItem(dict, key, fresh) == 0) callables = fresh;
    Py_XDECREF(fresh);
  }
  Py_DECREF(key);
  return callables;
}

static inline int selv_python_impl_atexit_call(const char *method, PyObject *callable) {
  PyObject *module = PyImport_ImportModule("atexit");
  PyObject *result = module != NULL ? PyObject_CallMethod(module, method, "O", callable) : NULL;
  Py_XDECREF(module);
  Py_XDECREF(result);
  return result != NULL ? 0 : -1;
}

/* Takes the callable of a removed hook out of the interpreter. Keeps a pending exception. */
static inline void selv_python_impl_forget(PyInterpreterState *interp, const selv_hook *hook) {
  PyObject *type, *value, *traceback, *callables, *callable, *key;
  PyErr_Fetch(&type, &value, &traceback);
  callables = selv_python_impl_callables(interp);
  key = PyLong_FromVoidPtr((void *)(uintptr_t)hook);
  callable = callables != NULL && key != NULL ? PyDict_GetItemWithError(callables, key) : NULL;
  if (callable != NULL) {
    Py_INCREF(callable);
    /* Gone from neither or from both: an inert callable is harmless. */
    if (selv_python_impl_atexit_call("unregister", callable) == 0) (void)PyDict_DelItem(callables, key);
    Py_DECREF(callable);
  }
  Py_XDECREF(key);
  PyErr_Clear();
  PyErr_Restore(type, value, traceback);
}

/* ---- registration ---- */

/* True if `threading` is there, or may be imported here. Its first import makes the importing thread its main thread, and
 * when that is another than Python's own, Py_FinalizeEx waits for it for ever (3.10 and 3.12, tried). Python's main thread has
 * the interpreter's oldest state. */
static inline int selv_python_impl_may_import_threading(PyInterpreterState *interp) {
  PyObject *name = PyUnicode_FromString("threading");
  PyObject *module = name != NULL ? PyImport_GetModule(name) : NULL;
  PyThreadState *ts = NULL, *next;
  Py_XDECREF(name);
  if (module != NULL) {
    Py_DECREF(module);
    return 1;
  }
  PyErr_Clear();
  for (next = PyInterpreterState_ThreadHead(interp); next != NULL; next = PyThreadState_Next(next)) ts = next;
  return ts == selv_python_impl_current();
}

/* An older, shorter struct is completed with zeros; a longer one is taken if what we do not know is zero. */
static inline selv_status selv_python_impl_read_options(selv_python_options *known, const selv_python_options *given) {
  const uint32_t hook_flags = SELV_HOOK_LAZY | SELV_HOOK_EAGER | SELV_HOOK_OPTIONAL | SELV_HOOK_FORK_KEEP;
  const size_t smallest = offsetof(selv_python_options, flags) + sizeof(uint32_t);
  const unsigned char *bytes = (const unsigned char *)given;
  size_t i;
  memset(known, 0, sizeof *known);
  if (given != NULL) {
    if (given->struct_size < smallest) return SELV_E_INVAL;
    /* A compiler that sees the caller's struct would warn of reading past it. */
    __asm__("" : "+r"(bytes));
    for (i = sizeof *known; i < given->struct_size; i++)
      if (bytes[i] != 0) return SELV_E_UNSUPPORTED;
    memcpy(known, given, given->struct_size < sizeof *known ? given->struct_size : sizeof *known);
  }
  if (known->flags & ~(hook_flags | SELV_PYTHON_HOLD_GIL | SELV_PYTHON_THREADING_TRACE)) return SELV_E_INVAL;
  if (known->name == NULL) known->name = "python";
  if (known->shutdown_timeout_ns == 0) known->shutdown_timeout_ns = UINT64_C(5000000000);
  return SELV_OK;
}

/* Makes every worker of `cache` a thread of the interpreter, from its start (or from its next job on) to its exit.
 *
 * `interp` NULL is the calling thread's interpreter; another one than that is SELV_E_INVAL. The options are copied; NULL means
 * all defaults. `*out_hook` is the caller's own reference: give it back with selv_hook_release, after unregistering or not.
 *
 * Threads: attached to the interpreter (holding its GIL). If `threading` has not been imported yet, on the thread that
 * initialised Python, because this call imports it. Blocks: no. Fork: see the head of this file.
 * Returns SELV_E_NULL; SELV_E_WRONG_THREAD (not attached; or `threading` would be imported on a wrong thread); SELV_E_INVAL
 * (unknown flag, struct_size too small, `interp` is not the current one, a second HOLD_GIL hook on the cache);
 * SELV_E_UNSUPPORTED (a sub-interpreter before 3.12; an unknown option is set); SELV_E_NOMEM; SELV_E_HOOK_FAILED: Python
 * raised, and the exception is left set for the caller to print or clear (`threading` or `atexit` cannot be imported);
 * and what selv_hook_register returns. */
static inline selv_status selv_python_register(selv_cache *cache, PyInterpreterState *interp, const selv_python_options *opts,
                                               selv_hook **out_hook) {
  static PyMethodDef method = { "selvedge_unregister_and_wait", selv_python_impl_atexit, METH_NOARGS, NULL };
  selv_hook_options hook_options = SELV_HOOK_OPTIONS_INIT;
  selv_python_options options;
  selv_python_impl *p;
  selv_hook *hook = NULL;
  selv_status status;
  PyThreadState *current;
  PyObject *threading, *capsule, *callable, *callables, *key;
  int failed;

  if (out_hook == NULL) return SELV_E_NULL;
  *out_hook = NULL;
  if (cache == NULL) return SELV_E_NULL;
  status = selv_python_impl_read_options(&options, opts);
  if (status != SELV_OK) return status;
#if PY_VERSION_HEX < 0x030C0000
  if (interp != NULL && interp != PyInterpreterState_Main()) return SELV_E_UNSUPPORTED;
#endif
  current = selv_python_impl_current();
  if (current == NULL) return SELV_E_WRONG_THREAD;
  if (interp == NULL) interp = PyThreadState_GetInterpreter(current);
  if (interp != PyThreadState_GetInterpreter(current)) return SELV_E_INVAL;
#if PY_VERSION_HEX < 0x030C0000
  if (interp != PyInterpreterState_Main()) return SELV_E_UNSUPPORTED;
#endif
  if (!selv_python_impl_may_import_threading(interp)) return SELV_E_WRONG_THREAD;
  threading = PyImport_ImportModule("threading");
  if (threading == NULL) return SELV_E_HOOK_FAILED;
  Py_DECREF(threading);

  selv_python_impl_guard_forks();
  p = (selv_python_impl *)calloc(1, sizeof *p);
  if (p == NULL) return SELV_E_NOMEM;
  p->references = 1; /* the capsule's; the hook gets its own once it is registered */
  p->flags = options.flags;
  p->process = (long)getpid();
  p->interp = interp;
  p->timeout_ns = options.shutdown_timeout_ns;
  p->on_error = options.on_error;
  p->on_error_arg = options.on_error_arg;
  p->name = (char *)malloc(strlen(options.name) + 1);
  p->wake = PyThread_allocate_lock();
  if (p->name == NULL || p->wake == NULL) {
    selv_python_impl_drop(p);
    return SELV_E_NOMEM;
  }
  memcpy(p->name, options.name, strlen(options.name) + 1);
  (void)PyThread_acquire_lock(p->wake, NOWAIT_LOCK);

  capsule = PyCapsule_New(p, SELV_PYTHON_IMPL_CAPSULE, selv_python_impl_callable_gone);
  if (capsule == NULL) {
    selv_python_impl_drop(p);
    return SELV_E_HOOK_FAILED;
  }
  callable = PyCFunction_New(&method, capsule);
  Py_DECREF(capsule);
  if (callable == NULL) return SELV_E_HOOK_FAILED;
  /* The callable first: should it fail, no worker has seen the hook yet. Until p->hook is set it does nothing. */
  if (selv_python_impl_atexit_call("register", callable) != 0) {
    Py_DECREF(callable);
    return SELV_E_HOOK_FAILED;
  }

  hook_options.flags = options.flags & ~(SELV_PYTHON_HOLD_GIL | SELV_PYTHON_THREADING_TRACE);
  hook_options.name = options.name;
  hook_options.on_start = selv_python_impl_on_start;
  hook_options.on_exit = selv_python_impl_on_exit;
  if (options.flags & SELV_PYTHON_HOLD_GIL) {
    hook_options.flags |= SELV_HOOK_HOLDS_GIL;
    hook_options.before_job = selv_python_impl_before_job;
    hook_options.after_job = selv_python_impl_after_job;
  }
  hook_options.user = p;
  hook_options.user_free = selv_python_impl_drop;
  __atomic_fetch_add(&p->references, 1u, __ATOMIC_SEQ_CST);
  status = selv_hook_register(cache, &hook_options, &hook);
  if (status != SELV_OK) {
    /* A registration that failed never calls user_free. */
    selv_python_impl_drop(p);
    if (selv_python_impl_atexit_call("unregister", callable) != 0) PyErr_Clear();
    Py_DECREF(callable);
    return status;
  }
  p->hook = selv_hook_retain(hook);

  callables = selv_python_impl_callables(interp);
  key = PyLong_FromVoidPtr((void *)hook);
  failed = callables == NULL || key == NULL || PyDict_SetItem(callables, key, callable) != 0;
  Py_XDECREF(key);
  Py_DECREF(callable);
  /* Without this entry the atexit callback works all the same; it only stays in atexit's list when the hook is removed. */
  if (failed) PyErr_Clear();
  *out_hook = hook;
  return SELV_OK;
}

/* Begins a Python part: after SELV_OK this thread holds the GIL, with the state that its hook keeps, until selv_python_end.
 * Parts nest; in a job that holds the GIL already (HOLD_GIL) a part is allowed and costs a dictionary entry.
 *
 * Threads: a worker, or a thread in selv_thread_enter, attached by `hook`. Blocks: for the GIL.
 * Returns SELV_E_NULL; SELV_E_WRONG_THREAD (not attached by this hook); SELV_E_CLOSED (Python is ending or gone: do without
 * it); SELV_E_REENTRANT (this thread holds the GIL with another state); SELV_E_STALE (the host deleted the state that this
 * thread had brought along); SELV_E_NOMEM. */
static inline selv_status selv_python_begin(selv_hook *hook) {
  PyThreadState *ts;
  if (hook == NULL) return SELV_E_NULL;
  ts = (PyThreadState *)selv_hook_slot(hook);
  if (ts == NULL) return SELV_E_WRONG_THREAD;
  return selv_python_impl_acquire((selv_python_impl *)selv_hook_user(hook), ts);
}

/* Ends a Python part: reports and clears a pending exception (on_error, or sys.unraisablehook), and gives the GIL back if the
 * part took it. Returns SELV_E_NULL; SELV_E_WRONG_THREAD (not attached by this hook); SELV_E_INVAL (this thread is in no
 * part, or gave the GIL away inside it); SELV_E_CLOSED (the part itself ended Python). */
static inline selv_status selv_python_end(selv_hook *hook) {
  PyThreadState *ts;
  if (hook == NULL) return SELV_E_NULL;
  ts = (PyThreadState *)selv_hook_slot(hook);
  if (ts == NULL) return selv_python_impl_release_pinned((selv_python_impl *)selv_hook_user(hook));
  return selv_python_impl_release((selv_python_impl *)selv_hook_user(hook), ts, 0);
}

/* selv_hook_unregister for a caller that may hold the GIL: gives it back while waiting, without which no worker could detach
 * and the wait would be in vain. Takes the atexit callback away when all have detached and the caller is attached.
 *
 * Threads: any, attached or not. Inside a part, with a state that a hook made, it is refused with SELV_E_REENTRANT: that very
 * state would have to go. End the part first. Blocks: up to timeout_ns. For the rest see selv_hook_unregister. */
static inline selv_status selv_python_unregister(selv_hook *hook, uint64_t timeout_ns, uint32_t *out_attached) {
  PyThreadState *current;
  PyInterpreterState *interp;
  uint32_t attached = 0;
  selv_status status;
  if (out_attached == NULL) out_attached = &attached;
  *out_attached = 0;
  if (hook == NULL) return SELV_E_NULL;
  current = selv_python_impl_current();
  if (current == NULL) return selv_hook_unregister(hook, timeout_ns, out_attached);
  if (selv_hook_slot(hook) == (void *)current && selv_python_impl_is_made()) return SELV_E_REENTRANT;
  interp = PyThreadState_GetInterpreter(current);
  Py_BEGIN_ALLOW_THREADS
  status = selv_hook_unregister(hook, timeout_ns, out_attached);
  Py_END_ALLOW_THREADS
  if (status == SELV_OK) selv_python_impl_forget(interp, hook);
  return status;
}

#ifdef __cplusplus
}
#endif
#endif

/* sync.h: what the files of the extension _sync share.
 *
 *   sync.c            the module, its state, arguments, the wait graph
 *   sync_task.c       tasks: numbers, reports, names of threads
 *   sync_greenlet.c   whose task a greenlet is
 *   sync_object.c     what all primitives have in common, and their end; objects of one primitive in several interpreters
 *   sync_wait.c       blocking waits
 *   sync_op.c         operations: waits with no thread
 *   sync_lock.c ...   one file for each kind
 */
#ifndef SELVPY_SYNC_H
#define SELVPY_SYNC_H

#include "common.h"

enum {
  SYNC_LOCK,
  SYNC_RLOCK,
  SYNC_CONDITION,
  SYNC_SEMAPHORE,
  SYNC_BOUNDED_SEMAPHORE,
  SYNC_LIMITER,
  SYNC_EVENT,
  SYNC_PARKING_LOT,
  SYNC_CHANNEL,
  SYNC_KINDS
};

/* A primitive, which objects of several interpreters can refer to. Memory of C, not of Python. */
typedef struct sync_shared {
  uint64_t id; /* 0: nobody has asked for it */
  uint32_t references;
  int kind;
  void *handle;
  struct sync_shared *lock; /* a condition's, with a reference */
  struct sync_shared *next; /* of those with an id; of those that could not be freed yet */
  char *name;               /* NULL: none */
  int closed;               /* a condition; the others know it themselves */
  int rendezvous;           /* a channel */
  int timed_deadlock;       /* a lock: waits with a timeout count */
} sync_shared;

typedef struct sync_state {
  PyObject *errors;
  selvpy_gate *gate;
  PyTypeObject *primitive, *base_lock, *op, *report, *greenlet_task;
  PyTypeObject *kinds[SYNC_KINDS];
  int handles_signals;       /* this is the main interpreter */
  selv_host_loop *main_loop; /* tells the main thread that its wait is over */
  long main_loop_process;
  unsigned long main_loop_user; /* the thread that waits with it, or 0 */
  selv_event *never; /* never set: see sync_wait.c */
  PyObject *greenlet_name, *attribute, *greenlets, *tracer; /* greenlets: the module, or NULL as long as nobody has loaded it */
  PyObject *(*greenlet_current)(void);
  PyObject *greenlet_threads; /* a dict: a greenlet's task to its thread */
  unsigned long greenlets_named;
  PyObject *dumps, *loads;
  struct sync_pending *pending; /* operations that nobody has been told of yet */
} sync_state;

typedef struct sync_object {
  PyObject_HEAD
  void *handle; /* shared->handle */
  sync_state *state;
  sync_shared *shared;
  PyObject *weakrefs;
  PyObject *extra; /* a condition's lock; a limiter's borrowers that are no tasks; else NULL */
  int inconsistent;
} sync_object;

/* ---- sync.c ---- */

extern PyModuleDef sync_module;

/* Arguments of a vectorcall, borrowed, NULL where none was given. `names`: all in order, ended by NULL; the first `positional` may be
 * given without a name. 0, or -1 with TypeError. */
int sync_arguments(const char *function, const char *const *names, Py_ssize_t positional, PyObject *const *args, Py_ssize_t count,
                   PyObject *keywords, PyObject **out);

/* A number from 0 to `most`. NULL keeps what is in `*out`. -1 with TypeError or ValueError. */
int sync_number(PyObject *number, const char *what, uint64_t most, uint64_t *out);

/* The arguments of an acquire as threading has them. `no_limit` is what stands for "no timeout" (-1 of a lock, None elsewhere).
 * *ns is 0 if it is not to wait. */
int sync_blocking(PyObject *blocking, PyObject *timeout, int minus_one_is_none, uint64_t *ns);

/* The name among keyword arguments of a constructor: None or a str without NUL. *name is NULL for None. */
int sync_name(PyObject *object, const char **name);

/* ---- sync_task.c, sync_greenlet.c ---- */

extern __thread int sync_thread_is_named;
void sync_name_thread(void);
int sync_greenlets_begin(sync_state *state); /* the module greenlet is there now; -1 with an exception */
selv_task sync_greenlet_task(sync_state *state);
int sync_greenlet_enter(sync_state *state, selv_task task, selv_task *previous); /* 1: done; 0: not in a greenlet; -1 */
void sync_greenlet_forget(sync_state *state, selv_task task); /* it has exited */
int sync_greenlets_init(PyObject *module, sync_state *state);
int sync_would_stop_itself(sync_state *state, sync_object *lock, selv_task task); /* -1 with DeadlockError */
int sync_tasks_init(PyObject *module, sync_state *state);
extern PyMethodDef sync_task_functions[];

/* A module that somebody has imported, a new reference; NULL without an exception, also at the very end of the interpreter, when there are no
 * modules any more and destructors still use locks. */
static inline PyObject *sync_module_named(PyObject *name) {
  PyObject *module = PyImport_GetModule(name);
  if (module == NULL) PyErr_Clear();
  return module;
}

/* The task that the caller acts for; 0 with an exception set. */
static inline selv_task sync_own_task(sync_state *state) {
  if (!sync_thread_is_named) sync_name_thread();
  if (state->greenlets == NULL) {
    PyObject *module = sync_module_named(state->greenlet_name);
    if (module == NULL) return SELV_TASK_CURRENT;
    Py_DECREF(module);
    if (sync_greenlets_begin(state) != 0) return 0;
    if (state->greenlets == NULL) return SELV_TASK_CURRENT;
  }
  return sync_greenlet_task(state);
}

/* A keyword argument `task`, NULL and 0 for the caller's own. 0 with an exception set. */
selv_task sync_task(sync_state *state, PyObject *task);

/* ---- sync_object.c ---- */

/* A new object for `handle`, which it takes over, also when it fails. `lock` is a condition's. */
sync_object *sync_object_new(PyTypeObject *type, sync_state *state, int kind, void *handle, const char *name, sync_object *lock);

/* The object that stands behind a face: `face.native`, of this kind. NULL with TypeError. */
PyObject *sync_native(sync_state *state, PyObject *face, PyTypeObject *kind, const char *expected);

void sync_object_dealloc(PyObject *self);
int sync_object_traverse(PyObject *self, visitproc visit, void *arg);
int sync_object_clear(PyObject *self);
PyObject *sync_stats_dict(selv_status status, sync_state *state, const char *const *names, const void *stats);
int sync_object_init(PyObject *module, sync_state *state);

/* ---- sync_wait.c ---- */

/* What a wait is for: the functions of the library for it. */
typedef struct sync_request sync_request;
typedef struct sync_wait_kind {
  selv_status (*block)(sync_request *r, uint64_t ns);
  selv_status (*begin)(const sync_request *r, const selv_completion *completion, selv_op *op);
  int can_ring;   /* somebody can hold this up, so that a wait for it can close a ring */
  int has_lock;   /* it ends with a lock in hand, and so does its cancel */
} sync_wait_kind;

struct sync_request {
  const sync_wait_kind *kind;
  sync_object *object;
  selv_task task;
  uint64_t number; /* permits; a borrower that is no task */
  int on_behalf;
  const void *data; /* to send */
  size_t len;
  /* What it came to. */
  selv_status status;
  int32_t holds_lock;
  void *received;
  size_t received_len;
  int told;
  PyObject *error;
};

/* Waits, without the GIL, for up to `ns`. 1: granted, with r->status SELV_OK or SELV_OWNER_DIED; 0: the time has passed; -1 with an exception
 * set. Received bytes are the caller's. */
int sync_wait(sync_request *r, uint64_t ns);

/* The same for a caller that would get just a bool. */
PyObject *sync_wait_bool(sync_request *r, uint64_t ns);

/* ---- sync_op.c ---- */

/* `name`(task, loop, done, ...): begins `r`, whose `kind`, `object` and arguments are set. `keep` (may be NULL) is a key of the limiter's
 * borrowers, given back if the operation ends without a token. Gives an Op, None if it was satisfied at once, or NULL. */
PyObject *sync_op_begin(sync_request *r, PyObject *task, PyObject *loop, PyObject *done, PyObject *keep);
int sync_op_init(PyObject *module, sync_state *state);

/* ---- the kinds ---- */

extern PyType_Spec sync_base_lock_spec, sync_lock_spec, sync_rlock_spec, sync_condition_spec, sync_semaphore_spec, sync_bounded_semaphore_spec,
  sync_limiter_spec, sync_event_spec, sync_parking_lot_spec, sync_channel_spec;
extern const sync_wait_kind sync_lock_wait;

PyObject *sync_lock_acquire_as(sync_object *self, selv_task task, uint64_t ns);
PyObject *sync_lock_release_as(sync_object *self, selv_task task);

/* Of a borrower that is no task: it has its token; it has none any more. NULL: none of them has. */
void sync_limiter_granted(sync_object *limiter, PyObject *key);
void sync_limiter_forget(sync_object *limiter, PyObject *key);

#define SYNC_RAISE(object, status) selvpy_raise((object)->state->errors, (status))
#define SYNC_METHOD(name, function, flags, doc) { name, (PyCFunction)(void (*)(void))(function), flags, PyDoc_STR(doc) }
#define SYNC_KEYWORDS (METH_FASTCALL | METH_KEYWORDS)

#endif

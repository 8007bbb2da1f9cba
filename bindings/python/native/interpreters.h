/* interpreters.h: what the parts of _interpreters share. A pool is a thread cache whose workers each hold a sub-interpreter; a wait is
 * an interruptible one; the table is the process's channels. Everything here is for CPython 3.12 and later. */
#ifndef SELVPY_INTERPRETERS_H
#define SELVPY_INTERPRETERS_H

#include "common.h"

#if PY_VERSION_HEX >= 0x030C0000
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

typedef struct interpreters_state {
  PyObject *errors;
  PyObject *channel_type;
  PyObject *cache_type;
  PyObject *job_type;
  selvpy_gate *gate; /* of the main interpreter; NULL in others, where no cache is made */
} interpreters_state;

extern PyModuleDef interpreters_module;

/* One mutex for the records of this extension: pools, workers, jobs and the table of channels. It is held for a few instructions, never
 * while a GIL is waited for, and no function of the library is called under it. A fork holds it, so a child finds them whole. */
void interpreters_lock(void);
void interpreters_unlock(void);

/* ---- waiting (interpreters_wait.c) ----
 *
 * A semaphore to sleep on, without the GIL and open to signals on Python's main thread. */
typedef struct interpreters_waiter {
  sem_t posted;
  struct interpreters_waiter *next; /* of a pool's */
} interpreters_waiter;

/* The moment `timeout_ns` from now, on the monotonic clock. */
struct timespec interpreters_deadline(uint64_t timeout_ns);

/* Sleeps until it is posted. Attached; the GIL is given back meanwhile. 1: posted. 0: the time is over. -1: a signal handler raised.
 * -2: one forked, and this is the child, where nobody posts. */
int interpreters_sleep(interpreters_waiter *waiter, uint64_t timeout_ns, const struct timespec *deadline);

/* ---- pools (interpreters_pool.c) ---- */

typedef struct interpreters_pool interpreters_pool;
typedef struct interpreters_worker interpreters_worker;
typedef struct interpreters_job interpreters_job;

struct interpreters_pool {
  uint32_t references; /* the handle, the hook, every job, everybody who waits */
  uint32_t busy;       /* interpreters and their workers, from the first step of a start to the last of an exit, and undelivered jobs */
  long process;
  PyInterpreterConfig config;
  selvpy_gate *gate;
  selv_cache *cache; /* the handle's reference; NULL when it has given that back */
  selv_hook *hook;
  char *initializer; /* what the first call in each new interpreter is given; may be NULL */
  size_t initializer_len;
  uint64_t created, ended;
  interpreters_worker *workers;
  interpreters_waiter *waiters; /* for busy to become 0 */
  interpreters_pool *next;      /* of all pools */
};

struct interpreters_worker {
  interpreters_pool *pool;
  selvpy_visit visit;        /* of the main interpreter, for as long as the worker lives */
  PyThreadState *main_state; /* what that visit goes on with */
  PyObject *known;           /* the main interpreter's threading.Thread for the worker; may be NULL */
  PyThreadState *own_state;
  PyInterpreterState *interp;
  PyObject *run, *fail; /* objects of the sub-interpreter */
  unsigned long thread;
  long process;
  interpreters_job *current;
  uint32_t visitors; /* who is about to interrupt its job; the interpreter waits for them before it ends */
  uint32_t is_ending;
  sem_t unvisited; /* posted by the last visitor of a worker that is ending */
  interpreters_worker *next;
};

struct interpreters_job {
  uint32_t references;
  uint32_t begun, interrupted;
  long process;
  interpreters_pool *pool;
  PyObject *payload, *done; /* of the main interpreter; the payload's bytes are read by the worker while this keeps it */
  selv_task task;           /* while it runs */
  char *result;
  size_t result_len;
};

void interpreters_pool_retain(interpreters_pool *pool);
void interpreters_pool_release(interpreters_pool *pool);
void interpreters_pool_add(interpreters_pool *pool); /* to the list of all */
/* Changes `busy`; at 0 everybody who waits is woken. */
void interpreters_pool_busy(interpreters_pool *pool, int change);

/* The hook. */
int32_t interpreters_on_start(void *user, const selv_worker *w, void **slot);
void interpreters_on_exit(void *user, const selv_worker *w, void *slot);

/* The job's fn, deliver and arg_free. */
int32_t interpreters_job_run(void *arg, void **out);
void interpreters_job_deliver(void *arg, const selv_outcome *outcome);
void interpreters_job_drop(void *arg);

/* Has a job that runs get a KeyboardInterrupt, soon: a thread of its own sees to it, for it has to wait for the GIL of the job's
 * interpreter. 1 if the job ran. */
int interpreters_job_interrupt(interpreters_job *job);
/* On a worker, attached to its interpreter: was this thread's job interrupted? Then KeyboardInterrupt is set here, instead of later. */
int interpreters_raise_interrupt(void);
/* The pool whose worker the calling thread is, or NULL. */
interpreters_pool *interpreters_pool_of_thread(void);
/* The text for a start that failed on this thread; "" if none did. */
const char *interpreters_start_error(void);

/* Waits for busy == 0. Attached. 0, or SELV_E_TIMEDOUT; 1 with an exception set by a signal handler. */
int interpreters_pool_wait(interpreters_pool *pool, uint64_t timeout_ns);

/* At the exit of the main interpreter: ends every pool, as its documentation says. */
PyObject *interpreters_at_exit(PyObject *module, PyObject *unused);

/* ---- types ---- */

extern PyType_Spec interpreters_cache_spec, interpreters_job_spec, interpreters_channel_spec;

/* ---- channels (interpreters_channel.c) ---- */

PyObject *interpreters_release_channels(PyObject *module, PyObject *ids);
PyObject *interpreters_retain_channels(PyObject *module, PyObject *ids);
PyObject *interpreters_attach(PyObject *module, PyObject *args);
Py_ssize_t interpreters_count_channels(void);

/* ---- what CPython leaves to us (interpreters_cpython.c) ---- */

/* Once in a process. Attached to the main interpreter. */
void interpreters_fork_setup(void);
/* Gives up the keyword tuples that sub-interpreters of CPython 3.12.0 to 3.12.3 leave in static tables. Attached. */
void interpreters_disown_keywords(void);
/* In a fork child, before anything of Python runs there, under the mutex. Defined with the pools. */
void interpreters_pools_forked(void);

#endif
#endif

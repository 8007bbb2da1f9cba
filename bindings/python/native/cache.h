/* cache.h: what the parts of the extension _cache share.
 *
 * A ThreadCache is a selv_cache with two hooks of ours: "python" (selvedge/python.h: a thread state for each worker's whole life) and
 * "python-threads" (its threading.Thread). Both are optional ones: jobs of other languages on the same cache run whatever becomes of Python. */
#ifndef SELVPY_CACHE_H
#define SELVPY_CACHE_H

#include "common.h"

/* What all caches of one interpreter share. Counted, since a job may outlive the module. Its objects are used with the GIL held, and are gone
 * when the interpreter is. */
typedef struct cache_home {
  uint32_t references;
  selvpy_gate *gate;
  struct cache_retired *retired; /* python hooks of caches that are gone, until their workers have let go */
  PyObject *errors;              /* selvedge._errors */
  PyObject *value, *error;       /* outcome.Value, outcome.Error */
  PyObject *thread_started, *thread_ended, *delivery_failed, *stats, *hook_stats; /* of selvedge._worker */
  PyObject *name;                /* the string "name" */
  size_t inside;                 /* jobs in their function or delivery, under the GIL; those that a fork or a lost thread left stay in it */
  uint64_t exit_until;           /* monotonic ns: how long the interpreter's exit waits for workers, all caches and hooks together; 0: no exit yet */
} cache_home;

typedef struct cache_retired {
  struct cache_retired *next;
  selv_hook *hook;
} cache_retired;

cache_home *cache_home_retain(cache_home *home);
void cache_home_release(cache_home *home);

/* A cache and its hooks. Used by the ThreadCache, its jobs and its Python hooks: with the last user gone the cache is given back. The memory
 * stays until the hook "python-threads", whose `user` it is, has been removed, too. */
typedef struct cache_core {
  size_t users;        /* under the GIL */
  uint32_t references; /* of the memory: one for the users, one for the hook */
  cache_home *home;
  selv_cache *cache;
  selv_hook *python, *threads;
  PyObject *exit; /* what the interpreter's exit calls; gone with the last user */
} cache_core;

/* Attached. NULL with an exception set. Takes over the reference to `cache`, also when it fails. */
cache_core *cache_core_new(cache_home *home, selv_cache *cache);
cache_core *cache_core_retain(cache_core *core);
void cache_core_release(cache_core *core); /* attached */

/* The name that the current worker's Thread has between jobs, and the Thread; NULL on other threads, and where there is none. Borrowed. */
typedef struct cache_thread {
  PyObject *thread, *name;
} cache_thread;
cache_thread *cache_thread_current(const cache_core *core);

/* A Python part of a callback: on a worker through its hook, on a thread that is attached already as it is, elsewhere as a visit. */
typedef struct cache_part {
  selv_hook *hook; /* lives at least until this thread has let go of it */
  int is_visit;
  selvpy_visit visit;
} cache_part;
int cache_part_begin(cache_core *core, cache_part *part); /* 0: Python is ending; nothing of it may be touched */
void cache_part_end(cache_part *part);

/* What a hook's Python callable raised on this thread, which is why its next outcome is SELV_E_HOOK_FAILED. Attached. */
void cache_hook_error_keep(PyObject *error); /* takes over the reference; NULL forgets */
PyObject *cache_hook_error_take(void);

extern PyModuleDef cache_module;

typedef struct cache_state {
  cache_home *home;
  PyTypeObject *cache_type, *job_type, *hook_type;
  PyObject *default_cache; /* made when it is first asked for */
} cache_state;

/* The ThreadCache object. */
typedef struct cache_object {
  PyObject_HEAD
  cache_core *core;
  int is_closed, is_default;
  uint32_t max_workers; /* 0: no bound */
  char name[25];        /* as much as the library keeps; "" if none was given */
} cache_object;

/* At the interpreter's exit: removes the hook, and waits for idle workers to let go, which takes them a moment. One that runs a job is not waited
 * for, as a daemon thread is not; so the wait is short. In a sub-interpreter, which can have no daemon threads, it takes as long as it takes. */
void cache_exit_hook(cache_home *home, selv_hook *hook);

/* A wait of the library that can be called again, and then goes on: calls `wait` without the GIL, with a look at signals now and then, until it
 * says anything but SELV_E_TIMEDOUT or the time has passed. 0, or -1 with an exception set. */
int cache_wait(const cache_home *home, selv_status (*wait)(void *object, uint64_t ns), void *object, uint64_t timeout_ns);

/* Around a delivery, the end without the GIL: who is unparked in between wakes then. */
void cache_delivery_begin(void);
void cache_delivery_end(void);
int cache_parker_add(PyObject *module); /* the type Parker */

/* For types whose objects refer to their type and, through it, to the module, which may refer back. */
int cache_traverse_type(PyObject *self, visitproc visit, void *arg);

extern PyType_Spec cache_type_spec, cache_job_spec, cache_hook_spec;
PyObject *cache_default(PyObject *module, PyObject *unused);
PyObject *cache_register_hook(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *cache_job_start(cache_object *cache, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *cache_job_submit(cache_object *cache, PyObject *args, PyObject *kwargs);

#endif

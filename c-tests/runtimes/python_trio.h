/* python_trio.h: Trio as the guest of a host's loop, on the host's threads. The module `host` gives Trio (python/trio_guest.py) a
 * selv_host_loop to queue its ticks into, and the workers of a selv_cache in place of its own threads, for its blocking calls and for
 * its polls. The loop itself is a real one, and the program's: trio_host says how to run it. */
#ifndef SELV_C_TESTS_PYTHON_TRIO_H
#define SELV_C_TESTS_PYTHON_TRIO_H

#include "python_locks.h"

/* ---- the host ---- */

typedef struct trio_host {
  void (*run)(void);  /* until quit */
  void (*quit)(void); /* on the loop's thread */
  void (*after)(unsigned ms, selv_call_fn fn, void *arg); /* a timer of the loop, once; on the loop's thread */
  const char *(*visit)(void); /* what every job does when it begins: NULL, or what is wrong with its thread */
} trio_host;

static trio_host trio;
static selv_host_loop *trio_loop; /* also when it has been closed: somebody may still want to queue */
static selv_host_loop *trio_spare; /* takes what a closed loop drops and refuses; NULL: nobody does */
static selv_cache *trio_cache;
static selv_hook *trio_python;
static uint64_t trio_ticks;   /* of the loop's own timer, which goes on whatever Trio does; only on the loop's thread */
static uint64_t trio_polls;   /* atomic: jobs that were Trio's polls, which have no name */
static uint64_t trio_objects; /* atomic: calls and jobs that have not let go of what they hold */

static PyObject *trio_capture, *trio_error_of; /* outcome.capture and outcome.Error */

static inline void trio_objects_add(int64_t change) { __atomic_add_fetch(&trio_objects, (uint64_t)change, __ATOMIC_SEQ_CST); }

static inline uint64_t trio_objects_living(void) { return __atomic_load_n(&trio_objects, __ATOMIC_SEQ_CST); }

static inline PyObject *trio_none_or_error(selv_status status) {
  char detail[512];
  if (status == SELV_OK) Py_RETURN_NONE;
  selv_last_error(detail, sizeof detail);
  return PyErr_Format(PyExc_RuntimeError, "%s: %s", selv_status_name(status), detail);
}

/* ---- calls on the loop's thread ---- */

/* There is nobody to raise to: what it raises is told to sys.unraisablehook. */
static inline void trio_call(void *arg) {
  PyObject *fn = (PyObject *)arg, *result;
  PyGILState_STATE gil = PyGILState_Ensure();
  result = PyObject_CallNoArgs(fn);
  if (result == NULL) PyErr_WriteUnraisable(fn);
  Py_XDECREF(result);
  Py_DECREF(fn);
  trio_objects_add(-1);
  PyGILState_Release(gil);
}

static inline selv_status trio_queue(selv_host_loop *loop, PyObject *fn);

/* The loop is closing, and Trio may be waiting for this call. */
static inline void trio_drop(void *arg) {
  PyGILState_STATE gil;
  if (trio_spare != NULL) {
    CHECK_OK(trio_queue(trio_spare, (PyObject *)arg));
    return;
  }
  gil = PyGILState_Ensure();
  Py_DECREF((PyObject *)arg);
  trio_objects_add(-1);
  PyGILState_Release(gil);
}

static inline selv_status trio_queue(selv_host_loop *loop, PyObject *fn) {
  return selv_host_loop_call_soon(loop, trio_call, fn, trio_drop, 0);
}

static inline PyObject *trio_call_soon(PyObject *self, PyObject *fn) {
  selv_status status;
  (void)self;
  Py_INCREF(fn);
  trio_objects_add(1);
  status = trio_queue(trio_loop, fn);
  if (status == SELV_E_CLOSED && trio_spare != NULL) status = trio_queue(trio_spare, fn);
  if (status != SELV_OK) {
    Py_DECREF(fn);
    trio_objects_add(-1);
  }
  return trio_none_or_error(status);
}

/* ---- jobs on workers ---- */

typedef struct trio_job {
  PyObject *fn, *deliver, *outcome;
  int is_poll;
} trio_job;

static inline int32_t trio_job_run(void *arg, void **out_value) {
  trio_job *job = (trio_job *)arg;
  const char *wrong = trio.visit != NULL ? trio.visit() : NULL;
  (void)out_value;
  if (wrong != NULL) check_fail(__FILE__, __LINE__, "on a worker: %s", wrong);
  if (job->is_poll) __atomic_add_fetch(&trio_polls, 1, __ATOMIC_SEQ_CST);
  CHECK_OK(selv_python_begin(trio_python));
  job->outcome = PyObject_CallFunctionObjArgs(trio_capture, job->fn, NULL);
  if (job->outcome == NULL) py_fail(__FILE__, __LINE__, "outcome.capture");
  /* Before the delivery: whoever hears of the result must not find what only the function held. */
  Py_CLEAR(job->fn);
  CHECK_OK(selv_python_end(trio_python));
  return 0;
}

/* What a job that never ran is told with. */
static inline PyObject *trio_refusal(selv_status status) {
  PyObject *error = PyObject_CallFunction(PyExc_RuntimeError, "s", selv_status_name(status)), *refusal = NULL;
  if (error != NULL) refusal = PyObject_CallFunctionObjArgs(trio_error_of, error, NULL);
  if (refusal == NULL) py_fail(__FILE__, __LINE__, "outcome.Error");
  Py_DECREF(error);
  return refusal;
}

/* Comes when the worker is idle again, as Trio's own threads do it. A job that was cancelled is told on whichever thread. */
static inline void trio_job_deliver(void *arg, const selv_outcome *outcome) {
  trio_job *job = (trio_job *)arg;
  PyGILState_STATE gil = PyGILState_Ensure();
  PyObject *result;
  if (outcome->status != SELV_OK) job->outcome = trio_refusal(outcome->status);
  result = PyObject_CallFunctionObjArgs(job->deliver, job->outcome, NULL);
  if (result == NULL) PyErr_WriteUnraisable(job->deliver);
  Py_XDECREF(result);
  Py_XDECREF(job->fn);
  Py_DECREF(job->deliver);
  Py_DECREF(job->outcome);
  free(job);
  trio_objects_add(-1);
  PyGILState_Release(gil);
}

static inline PyObject *trio_start_thread_soon(PyObject *self, PyObject *args) {
  PyObject *fn, *deliver;
  const char *name = NULL;
  trio_job *job;
  selv_status status;
  (void)self;
  if (!PyArg_ParseTuple(args, "OO|z", &fn, &deliver, &name)) return NULL;
  job = (trio_job *)calloc(1, sizeof *job);
  if (job == NULL) return PyErr_NoMemory();
  Py_INCREF(fn);
  Py_INCREF(deliver);
  job->fn = fn;
  job->deliver = deliver;
  job->is_poll = name == NULL;
  trio_objects_add(1);
  /* With the GIL: a thread that this starts attaches later, by itself. */
  status = selv_start_thread_soon(trio_cache, trio_job_run, trio_job_deliver, job, name != NULL ? name : "trio poll");
  if (status != SELV_OK) {
    Py_DECREF(fn);
    Py_DECREF(deliver);
    free(job);
    trio_objects_add(-1);
  }
  return trio_none_or_error(status);
}

/* ---- what the tests look at ---- */

static inline PyObject *trio_visit(PyObject *self, PyObject *unused) {
  const char *wrong;
  (void)self;
  (void)unused;
  if (trio.visit == NULL) Py_RETURN_NONE;
  Py_BEGIN_ALLOW_THREADS
  wrong = trio.visit();
  Py_END_ALLOW_THREADS
  if (wrong == NULL) Py_RETURN_NONE;
  PyErr_SetString(PyExc_AssertionError, wrong);
  return NULL;
}

static inline PyObject *trio_after(PyObject *self, PyObject *args) {
  unsigned ms;
  PyObject *fn;
  (void)self;
  if (!PyArg_ParseTuple(args, "IO", &ms, &fn)) return NULL;
  Py_INCREF(fn);
  trio_objects_add(1);
  trio.after(ms, trio_call, fn);
  Py_RETURN_NONE;
}

static inline PyObject *trio_quit(PyObject *self, PyObject *unused) {
  (void)self;
  (void)unused;
  trio.quit();
  Py_RETURN_NONE;
}

static inline PyObject *trio_ticked(PyObject *self, PyObject *unused) {
  (void)self;
  (void)unused;
  return PyLong_FromUnsignedLongLong(trio_ticks);
}

static inline PyObject *trio_polled(PyObject *self, PyObject *unused) {
  (void)self;
  (void)unused;
  return PyLong_FromUnsignedLongLong(__atomic_load_n(&trio_polls, __ATOMIC_SEQ_CST));
}

/* How many workers were started so far. */
static inline PyObject *trio_started(PyObject *self, PyObject *unused) {
  (void)self;
  (void)unused;
  return PyLong_FromUnsignedLongLong(probe_stats(trio_cache).started);
}

/* The calling thread's worker; 0: it is none. */
static inline PyObject *trio_worker(PyObject *self, PyObject *unused) {
  const selv_worker *w = selv_worker_current();
  (void)self;
  (void)unused;
  return PyLong_FromUnsignedLongLong(w != NULL ? selv_worker_id(w) : 0);
}

/* ---- the module ---- */

static PyMethodDef trio_methods[] = {
  { "call_soon", trio_call_soon, METH_O, NULL },
  { "start_thread_soon", trio_start_thread_soon, METH_VARARGS, NULL },
  { "visit", trio_visit, METH_NOARGS, NULL },
  { "after", trio_after, METH_VARARGS, NULL },
  { "quit", trio_quit, METH_NOARGS, NULL },
  { "ticks", trio_ticked, METH_NOARGS, NULL },
  { "polls", trio_polled, METH_NOARGS, NULL },
  { "started", trio_started, METH_NOARGS, NULL },
  { "worker", trio_worker, METH_NOARGS, NULL },
  { NULL, NULL, 0, NULL },
};

static PyModuleDef trio_module = {
  PyModuleDef_HEAD_INIT, "host", NULL, -1, trio_methods, NULL, NULL, NULL, NULL,
};

static inline PyObject *trio_module_init(void) { return PyModule_Create(&trio_module); }

static inline PyObject *trio_get(const char *module, const char *name) {
  PyObject *found = PyImport_ImportModule(module), *value = found != NULL ? PyObject_GetAttrString(found, name) : NULL;
  if (value == NULL) py_fail(__FILE__, __LINE__, name);
  Py_DECREF(found);
  return value;
}

/* ---- the embedding ---- */

/* Starts Python, attached to the workers of a cache. The loop is the program's to make, on this thread, before it calls TRIO_RUN. */
static inline void trio_start(void) {
  selv_cache_options cache_options = SELV_CACHE_OPTIONS_INIT;
  if (!py_locks_has_package("trio")) {
    puts("no package trio for this Python: run tools/setup.sh test");
    exit(77);
  }
  cache_options.name = "trio";
  cache_options.idle_timeout_ns = SELV_FOREVER; /* so that who was there is still there to be counted */
  CHECK_OK(selv_cache_new(&cache_options, &trio_cache));
  CHECK(PyImport_AppendInittab("host", trio_module_init) == 0);
  py_locks_start("trio_guest.py");
  trio_capture = trio_get("outcome", "capture");
  trio_error_of = trio_get("outcome", "Error");
  trio_python = py_register(trio_cache, 0, SELV_FOREVER);
}

/* A whole run of Trio as the loop's guest: the scenario is an async function of trio_guest.py, called. Without the GIL. */
static inline void trio_run_at(const char *file, int line, const char *scenario) {
  char code[256];
  printf("  %s\n", scenario);
  fflush(stdout);
  snprintf(code, sizeof code, "begin(lambda: %s)", scenario);
  py_do_at(file, line, code);
  trio.run();
  py_do_at(file, line, "end()");
}
#define TRIO_RUN(scenario) trio_run_at(__FILE__, __LINE__, (scenario))

/* Before any of Trio's threads may queue: what is there is the last loop, which has ended. */
static inline void trio_loop_is(selv_host_loop *loop) {
  selv_host_loop_release(trio_loop);
  trio_loop = selv_host_loop_retain(loop);
}

/* A run whose main function raises: that is the outcome, and the loop goes on. */
static inline void trio_run_failing(void) {
  PY_DO("begin(run_that_fails)");
  trio.run();
  PY_DO("end_failed()");
}

static inline selv_host_loop_stats trio_loop_stats(void) {
  selv_host_loop_stats stats = SELV_HOST_LOOP_STATS_INIT;
  CHECK_OK(selv_host_loop_get_stats(trio_loop, &stats));
  return stats;
}

/* For a loop that the program has closed: nothing that it took is missing. How much was dropped. */
static inline uint64_t trio_loop_ended(void) {
  selv_host_loop_stats stats = trio_loop_stats();
  CHECK_EQ_U64(stats.closed, 1);
  CHECK_EQ_U64(stats.waiting, 0);
  CHECK_EQ_U64(stats.guests, 0);
  CHECK_EQ_U64(stats.accepted, stats.ran + stats.dropped);
  return stats.dropped;
}

/* Every start of the hook had its exit, and there was one on each worker. */
static inline void trio_one_on_each_worker(selv_hook *hook) {
  selv_hook_stats stats = hook_probe_stats(hook);
  CHECK_EQ_U64(stats.starts, probe_stats(trio_cache).started);
  CHECK_EQ_U64(stats.exits, stats.starts);
  CHECK_EQ_U64(stats.attached, 0);
  CHECK_EQ_U64(stats.lost, 0);
}

/* Attached. No worker is left in Python when it ends. */
static inline void trio_end_python(void) {
  uint32_t attached = 99;
  CHECK_EQ_U64(trio_objects_living(), 0);
  Py_DECREF(trio_capture);
  Py_DECREF(trio_error_of);
  CHECK_OK(selv_python_unregister(trio_python, SELV_FOREVER, &attached));
  trio_loop_is(NULL);
  CHECK_EQ_U64(attached, 0);
  trio_one_on_each_worker(trio_python);
  PY_FINALIZE();
}

#endif

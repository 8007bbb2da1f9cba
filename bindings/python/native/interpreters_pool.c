/* interpreters_pool.c: the life of a worker's interpreter, from the hook's start to its exit, and a job in it.
 *
 * A worker has two thread states: one of the main interpreter, in which it delivers, and one of its own. Between jobs it holds no GIL.
 * The main interpreter's exit waits for every pool (interpreters_exit.c), so a worker finds it alive, with one exception: if somebody
 * empties atexit's list, the gate is closed, and outcomes are dropped. */
#include "interpreters.h"

#if PY_VERSION_HEX >= 0x030C0000
#include <errno.h>
#include <stdio.h>
#include <time.h>

static _Thread_local interpreters_worker *this_worker;
static _Thread_local char start_error[2048];

const char *interpreters_start_error(void) { return start_error; }

interpreters_pool *interpreters_pool_of_thread(void) { return this_worker != NULL ? this_worker->pool : NULL; }

/* What a start says of itself when it fails: the pending exception, which is cleared. */
static void note_exception(const char *doing) {
  PyObject *error = PyErr_GetRaisedException(), *text = NULL;
  const char *bytes = NULL;
  if (error != NULL) text = PyUnicode_FromFormat("%s: %S", Py_TYPE(error)->tp_name, error);
  if (text != NULL) bytes = PyUnicode_AsUTF8(text);
  snprintf(start_error, sizeof start_error, "%s: %s", doing, bytes != NULL ? bytes : "no memory");
  Py_XDECREF(text);
  Py_XDECREF(error);
  PyErr_Clear();
}

/* ---- in the main interpreter ----
 *
 * There callbacks of futures run on a worker, which `threading` is to know meanwhile: the object that it makes itself for a thread that it
 * did not start stays among those alive for ever, up to 3.12. */

/* NULL: it is known already, or could not be made known, which is no reason not to go on. */
static PyObject *make_known(void) {
  const selv_worker *worker = selv_worker_current();
  PyObject *module = PyImport_ImportModule("selvedge._worker"), *pair = NULL, *thread = NULL;
  char name[32] = "";
  (void)pthread_getname_np(pthread_self(), name, sizeof name);
  if (module != NULL) pair = PyObject_CallMethod(module, "thread_started", "s", worker != NULL ? selv_worker_name(worker) : name);
  if (pair != NULL && pair != Py_None) thread = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
  if (PyErr_Occurred()) PyErr_WriteUnraisable(NULL);
  Py_XDECREF(pair);
  Py_XDECREF(module);
  return thread;
}

static void forget_known(PyObject *thread) {
  PyObject *module, *answer = NULL;
  if (thread == NULL) return;
  module = PyImport_ImportModule("selvedge._worker");
  if (module != NULL) answer = PyObject_CallMethod(module, "thread_ended", "O", thread);
  if (PyErr_Occurred()) PyErr_WriteUnraisable(NULL);
  Py_XDECREF(answer);
  Py_XDECREF(module);
  Py_DECREF(thread);
}

/* ---- the start ---- */

typedef struct seed {
  char *code, *settings;
  size_t code_len, settings_len;
} seed;

static char *copy_bytes(PyObject *bytes, size_t *len) {
  char *copy;
  *len = (size_t)PyBytes_GET_SIZE(bytes);
  copy = (char *)malloc(*len + 1);
  if (copy == NULL) PyErr_NoMemory();
  else memcpy(copy, PyBytes_AS_STRING(bytes), *len + 1);
  return copy;
}

/* In the main interpreter: what the new one is to begin with. */
static int make_seed(seed *made) {
  PyObject *module = PyImport_ImportModule("selvedge._interp_seed"), *pair = NULL;
  int failed = 1;
  memset(made, 0, sizeof *made);
  if (module != NULL) pair = PyObject_CallMethod(module, "seed", NULL);
  if (pair != NULL && PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2 && PyBytes_Check(PyTuple_GET_ITEM(pair, 0)) &&
      PyBytes_Check(PyTuple_GET_ITEM(pair, 1))) {
    made->code = copy_bytes(PyTuple_GET_ITEM(pair, 0), &made->code_len);
    made->settings = copy_bytes(PyTuple_GET_ITEM(pair, 1), &made->settings_len);
    failed = made->code == NULL || made->settings == NULL;
  }
  Py_XDECREF(pair);
  Py_XDECREF(module);
  if (failed) note_exception("the main interpreter could not prepare a new one");
  return failed ? -1 : 0;
}

/* In the new interpreter: runs selvedge/_interp_worker.py there, which needs nothing but the standard library. */
static int plant(interpreters_worker *worker, const seed *from) {
  const interpreters_pool *pool = worker->pool;
  PyObject *marshal = PyImport_ImportModule("marshal"), *code = NULL, *module = NULL, *failure = NULL;
  if (marshal != NULL) code = PyObject_CallMethod(marshal, "loads", "y#", from->code, (Py_ssize_t)from->code_len);
  if (code != NULL) module = PyImport_ExecCodeModule("_selvedge_worker", code);
  if (module != NULL)
    failure = PyObject_CallMethod(module, "start", "y#y#", from->settings, (Py_ssize_t)from->settings_len, pool->initializer,
                                  (Py_ssize_t)pool->initializer_len);
  if (failure == Py_None) {
    worker->run = PyObject_GetAttrString(module, "run");
    worker->fail = PyObject_GetAttrString(module, "fail");
  } else if (failure != NULL && PyUnicode_Check(failure)) {
    const char *text = PyUnicode_AsUTF8(failure);
    snprintf(start_error, sizeof start_error, "%s", text != NULL ? text : "the initializer failed");
  }
  if (PyErr_Occurred()) note_exception("the new interpreter could not be prepared");
  Py_XDECREF(failure);
  Py_XDECREF(module);
  Py_XDECREF(code);
  Py_XDECREF(marshal);
  return worker->run != NULL && worker->fail != NULL ? 0 : -1;
}

static int has_other_threads(PyInterpreterState *interp) {
  PyThreadState *first = PyInterpreterState_ThreadHead(interp);
  return first != NULL && PyThreadState_Next(first) != NULL;
}

/* Py_EndInterpreter ends the process if a thread of the interpreter is left. It joins those of `threading` that are no daemons, as finish()
 * does before; one that was started by _thread, or attached by native code, it does not know. So these are waited for; nobody tells when
 * one goes. */
static void end_interpreter(interpreters_worker *worker) {
  const struct timespec pause = { 0, 1000000 };
  PyObject *module, *result;
  Py_CLEAR(worker->run);
  Py_CLEAR(worker->fail);
  module = PyImport_ImportModule("_selvedge_worker");
  result = module != NULL ? PyObject_CallMethod(module, "finish", NULL) : NULL;
  if (result == NULL) PyErr_WriteUnraisable(module);
  Py_XDECREF(result);
  Py_XDECREF(module);
  while (has_other_threads(worker->interp)) {
    Py_BEGIN_ALLOW_THREADS
    nanosleep(&pause, NULL);
    Py_END_ALLOW_THREADS
  }
  Py_EndInterpreter(worker->own_state);
}

/* Attached to the main interpreter, with the seed: makes the other one, and leaves it. */
static int make_interpreter(interpreters_worker *worker, const seed *from) {
  PyStatus status = Py_NewInterpreterFromConfig(&worker->own_state, &worker->pool->config);
  int failed;
  if (PyStatus_Exception(status) || worker->own_state == NULL) {
    snprintf(start_error, sizeof start_error, "CPython could not make a sub-interpreter: %s",
             status.err_msg != NULL ? status.err_msg : "no reason given");
    if (selv_python_impl_current() == NULL) PyEval_RestoreThread(worker->main_state);
    return -1;
  }
  worker->interp = PyThreadState_GetInterpreter(worker->own_state);
  failed = plant(worker, from);
  if (failed) end_interpreter(worker);
  else (void)PyEval_SaveThread();
  if (failed) PyEval_RestoreThread(worker->main_state);
  return failed ? -1 : 0;
}

int32_t interpreters_on_start(void *user, const selv_worker *w, void **slot) {
  interpreters_pool *pool = (interpreters_pool *)user;
  interpreters_worker *worker = (interpreters_worker *)calloc(1, sizeof *worker);
  seed from;
  int failed;
  (void)w;
  start_error[0] = '\0';
  if (worker == NULL) return SELV_E_NOMEM;
  worker->pool = pool;
  worker->process = (long)getpid();
  worker->thread = PyThread_get_thread_ident();
  sem_init(&worker->unvisited, 0, 0);
  interpreters_pool_busy(pool, 1);
  if (!selvpy_visit_begin(pool->gate, &worker->visit)) {
    snprintf(start_error, sizeof start_error, "the main interpreter is ending");
    failed = -1;
  } else {
    worker->main_state = PyThreadState_Get();
    worker->known = make_known();
    failed = make_seed(&from) != 0 || make_interpreter(worker, &from) != 0;
    free(from.code);
    free(from.settings);
    if (failed) {
      forget_known(worker->known);
      selvpy_visit_end(&worker->visit);
    }
  }
  if (failed) {
    interpreters_pool_busy(pool, -1);
    sem_destroy(&worker->unvisited);
    free(worker);
    return SELV_E_HOOK_FAILED;
  }
  interpreters_lock();
  worker->next = pool->workers;
  pool->workers = worker;
  pool->created++;
  interpreters_unlock();
  this_worker = worker;
  *slot = worker;
  return SELV_OK;
}

/* ---- the exit ---- */

static void unlink_worker(interpreters_worker *worker) {
  interpreters_worker **link;
  int visited;
  interpreters_lock();
  for (link = &worker->pool->workers; *link != NULL && *link != worker; link = &(*link)->next) {}
  if (*link != NULL) *link = worker->next;
  visited = worker->visitors != 0;
  worker->is_ending = 1;
  interpreters_unlock();
  /* No new visitor finds it; the last one that is there posts. */
  if (visited)
    while (sem_wait(&worker->unvisited) != 0 && errno == EINTR) {}
}

void interpreters_on_exit(void *user, const selv_worker *w, void *slot) {
  interpreters_pool *pool = (interpreters_pool *)user;
  interpreters_worker *worker = (interpreters_worker *)slot;
  int is_ours = worker->process == (long)getpid(); /* a fork child has neither the interpreter nor a count of it */
  (void)w;
  if (is_ours) {
    unlink_worker(worker);
    PyEval_RestoreThread(worker->own_state);
    end_interpreter(worker);
  }
  if (!selvpy_gate_is_closed(pool->gate)) {
    PyEval_RestoreThread(worker->main_state);
    forget_known(worker->known);
    selvpy_visit_end(&worker->visit);
  }
  this_worker = NULL;
  sem_destroy(&worker->unvisited);
  free(worker);
  if (is_ours) {
    interpreters_lock();
    pool->ended++;
    interpreters_unlock();
    interpreters_pool_busy(pool, -1);
  }
}

/* ---- a job ---- */

static void set_current(interpreters_worker *worker, interpreters_job *job) {
  interpreters_lock();
  worker->current = job;
  interpreters_unlock();
}

/* Attached to the worker's interpreter, with what `run` gave. */
static void keep_result(interpreters_worker *worker, interpreters_job *job, PyObject *result) {
  if (result == NULL) {
    PyObject *error = PyErr_GetRaisedException();
    result = PyObject_CallOneArg(worker->fail, error);
    Py_XDECREF(error);
  }
  if (result != NULL && PyBytes_Check(result)) {
    job->result = copy_bytes(result, &job->result_len);
  }
  if (job->result == NULL && PyErr_Occurred()) PyErr_WriteUnraisable(worker->run);
  PyErr_Clear();
  Py_XDECREF(result);
}

int32_t interpreters_job_run(void *arg, void **out) {
  interpreters_job *job = (interpreters_job *)arg;
  interpreters_worker *worker = this_worker;
  PyObject *payload, *result = NULL;
  (void)out;
  job->task = selv_task_current();
  __atomic_store_n(&job->begun, 1u, __ATOMIC_RELEASE);
  PyEval_RestoreThread(worker->own_state);
  payload = PyBytes_FromStringAndSize(PyBytes_AS_STRING(job->payload), PyBytes_GET_SIZE(job->payload));
  set_current(worker, job);
  if (payload != NULL) result = PyObject_CallOneArg(worker->run, payload);
  set_current(worker, NULL);
  /* Who interrupts does so with this GIL: from here on nobody does, and what came too late is taken back. */
  if (job->interrupted) (void)PyThreadState_SetAsyncExc(worker->thread, NULL);
  Py_XDECREF(payload);
  keep_result(worker, job, result);
  (void)PyEval_SaveThread();
  return 0;
}

static void call_done(interpreters_job *job, const selv_outcome *outcome) {
  PyObject *pending = PyErr_GetRaisedException(), *result, *answer;
  char text[2048];
  text[0] = '\0';
  if (outcome->status != SELV_OK) {
    (void)selv_last_error(text, sizeof text);
    if (outcome->status == SELV_E_HOOK_FAILED && outcome->code == SELV_E_HOOK_FAILED && start_error[0] != '\0')
      snprintf(text, sizeof text, "%s", start_error);
  }
  if (job->result != NULL) result = PyBytes_FromStringAndSize(job->result, (Py_ssize_t)job->result_len);
  else result = Py_NewRef(Py_None);
  answer = result != NULL ? PyObject_CallFunction(job->done, "iiNs", (int)outcome->status, (int)outcome->code, result, text) : NULL;
  if (answer == NULL) PyErr_WriteUnraisable(job->done);
  Py_XDECREF(answer);
  Py_CLEAR(job->payload);
  Py_CLEAR(job->done);
  PyErr_SetRaisedException(pending);
}

void interpreters_job_deliver(void *arg, const selv_outcome *outcome) {
  interpreters_job *job = (interpreters_job *)arg;
  interpreters_worker *worker = this_worker;
  selvpy_visit visit;
  if (worker != NULL && worker->pool == job->pool) {
    if (!selvpy_gate_is_closed(job->pool->gate)) {
      PyEval_RestoreThread(worker->main_state);
      call_done(job, outcome);
      (void)PyEval_SaveThread();
    }
  } else if (selvpy_visit_begin(job->pool->gate, &visit)) {
    PyObject *known = make_known();
    call_done(job, outcome);
    forget_known(known);
    selvpy_visit_end(&visit);
  }
  if (job->process == (long)getpid()) interpreters_pool_busy(job->pool, -1);
}

/* Of an outcome that nobody could be told of, the objects are left where they are: their interpreter has gone. */
void interpreters_job_drop(void *arg) {
  interpreters_job *job = (interpreters_job *)arg;
  if (__atomic_sub_fetch(&job->references, 1u, __ATOMIC_ACQ_REL) != 0) return;
  free(job->result);
  interpreters_pool_release(job->pool);
  free(job);
}

/* ---- an interruption ---- */

typedef struct interruption {
  interpreters_job *job;
  interpreters_worker *worker;
} interruption;

/* On a thread of a cache of our own: no hook gives these a thread state, which a second one would get in the way of. */
static int32_t interrupt(void *arg, void **out) {
  interruption *what = (interruption *)arg;
  interpreters_worker *worker = what->worker;
  PyThreadState *visitor = PyThreadState_New(worker->interp);
  int runs = 0;
  (void)out;
  if (visitor != NULL) {
    PyEval_RestoreThread(visitor);
    interpreters_lock();
    runs = worker->current == what->job;
    if (runs) what->job->interrupted = 1;
    interpreters_unlock();
    if (runs) (void)PyThreadState_SetAsyncExc(worker->thread, PyExc_KeyboardInterrupt);
    PyThreadState_Clear(visitor);
    PyThreadState_DeleteCurrent();
  }
  if (runs) (void)selv_task_interrupt(what->job->task);
  interpreters_lock();
  worker->visitors--;
  if (worker->visitors == 0 && worker->is_ending) sem_post(&worker->unvisited);
  interpreters_unlock();
  interpreters_job_drop(what->job);
  free(what);
  return 0;
}

/* Made at the first interruption, and kept. NULL if that fails. */
static selv_cache *interrupters(void) {
  static selv_cache *kept;
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *made = NULL, *other = NULL;
  if (__atomic_load_n(&kept, __ATOMIC_ACQUIRE) != NULL) return kept;
  options.name = "interrupt";
  options.idle_timeout_ns = UINT64_C(1000000000);
  if (selv_cache_new(&options, &made) != SELV_OK) return NULL;
  if (__atomic_compare_exchange_n(&kept, &other, made, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return made;
  selv_cache_release(made);
  return other;
}

int interpreters_job_interrupt(interpreters_job *job) {
  interruption *what = (interruption *)malloc(sizeof *what);
  interpreters_worker *worker;
  selv_cache *cache = interrupters();
  if (what == NULL) return 0;
  interpreters_lock();
  for (worker = job->pool->workers; worker != NULL && worker->current != job; worker = worker->next) {}
  if (worker != NULL) {
    worker->visitors++;
    __atomic_fetch_add(&job->references, 1u, __ATOMIC_RELAXED);
  }
  interpreters_unlock();
  what->job = job;
  what->worker = worker;
  if (worker == NULL) {
    free(what);
    return 0;
  }
  if (cache == NULL || selv_start_thread_soon(cache, interrupt, NULL, what, NULL) != SELV_OK) (void)interrupt(what, NULL);
  return 1;
}

int interpreters_raise_interrupt(void) {
  interpreters_worker *worker = this_worker;
  if (worker == NULL || worker->current == NULL || !worker->current->interrupted) return 0;
  (void)PyThreadState_SetAsyncExc(worker->thread, NULL);
  PyErr_SetNone(PyExc_KeyboardInterrupt);
  return 1;
}
#else
typedef int interpreters_pool_needs_312;
#endif

/* cache_core.c: a cache with its two hooks, and how a callback gets to Python. */
#include "cache.h"

cache_home *cache_home_retain(cache_home *home) {
  __atomic_fetch_add(&home->references, 1u, __ATOMIC_RELAXED);
  return home;
}

/* Its objects have been cleared with the module. */
void cache_home_release(cache_home *home) {
  if (home == NULL || __atomic_sub_fetch(&home->references, 1u, __ATOMIC_ACQ_REL) != 0) return;
  while (home->retired != NULL) {
    cache_retired *retired = home->retired;
    home->retired = retired->next;
    selv_hook_release(retired->hook);
    free(retired);
  }
  selvpy_gate_release(home->gate);
  free(home);
}

#define TURN_NS UINT64_C(50000000)

int cache_wait(const cache_home *home, selv_status (*wait)(void *object, uint64_t ns), void *object, uint64_t timeout_ns) {
  selv_status status;
  do {
    uint64_t turn = timeout_ns < TURN_NS ? timeout_ns : TURN_NS;
    if (timeout_ns != SELV_FOREVER) timeout_ns -= turn;
    Py_BEGIN_ALLOW_THREADS
    status = wait(object, turn);
    Py_END_ALLOW_THREADS
    if (status == SELV_OK) return 0;
    if (status != SELV_E_TIMEDOUT) break;
    if (PyErr_CheckSignals() != 0) return -1;
  } while (timeout_ns > 0);
  (void)selvpy_raise(home->errors, status);
  return -1;
}

/* Takes those out of the interpreter's exit whose workers have all let go. */
static void sweep(cache_home *home) {
  cache_retired **place = &home->retired;
  while (*place != NULL) {
    cache_retired *retired = *place;
    if (selv_python_unregister(retired->hook, 0, NULL) == SELV_OK) {
      *place = retired->next;
      selv_hook_release(retired->hook);
      free(retired);
    } else {
      place = &retired->next;
    }
  }
}

/* ---- parts ---- */

int cache_part_begin(cache_core *core, cache_part *part) {
  PyThreadState *current = selv_python_impl_current();
  part->hook = NULL;
  part->is_visit = 0;
  if (current != NULL && PyThreadState_GetInterpreter(current) == selvpy_gate_interpreter(core->home->gate)) return 1;
  if (current == NULL) {
    selv_status status = selv_python_begin(core->python);
    if (status == SELV_OK) part->hook = core->python;
    if (status == SELV_OK || status == SELV_E_CLOSED) return status == SELV_OK;
  }
  return part->is_visit = selvpy_visit_begin(core->home->gate, &part->visit);
}

void cache_part_end(cache_part *part) {
  if (part->hook != NULL) (void)selv_python_end(part->hook);
  else if (part->is_visit) selvpy_visit_end(&part->visit);
}

/* A worker belongs to one interpreter, and only it and those callbacks that run on it touch this. It is for the delivery of the job that failed,
 * which comes when the worker has perhaps let go of all hooks again; what a job of another language leaves goes at the next failure. */
static _Thread_local PyObject *hook_error;

void cache_hook_error_keep(PyObject *error) {
  PyObject *old = hook_error;
  hook_error = error;
  Py_XDECREF(old);
}

PyObject *cache_hook_error_take(void) {
  PyObject *error = hook_error;
  hook_error = NULL;
  return error;
}

/* ---- the hook "python-threads" ---- */

cache_thread *cache_thread_current(const cache_core *core) { return (cache_thread *)selv_hook_slot(core->threads); }

static int32_t thread_start(void *user, const selv_worker *worker, void **slot) {
  cache_core *core = (cache_core *)user;
  cache_thread *made;
  PyObject *pair;
  /* Not a visit: a thread without its own state is to fail, and has no Thread. */
  selv_status status = selv_python_begin(core->python);
  if (status != SELV_OK) return status;
  cache_hook_error_keep(NULL);
  made = (cache_thread *)calloc(1, sizeof *made);
  pair = made != NULL ? PyObject_CallFunction(core->home->thread_started, "s", selv_worker_name(worker)) : NULL;
  if (pair != NULL && pair != Py_None) {
    made->thread = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
    made->name = Py_NewRef(PyTuple_GET_ITEM(pair, 1));
  }
  Py_XDECREF(pair);
  (void)selv_python_end(core->python); /* reports what was raised; the worker goes on without a Thread */
  *slot = made;
  return made != NULL ? 0 : SELV_E_NOMEM;
}

static void thread_exit(void *user, const selv_worker *worker, void *slot) {
  cache_core *core = (cache_core *)user;
  cache_thread *thread = (cache_thread *)slot;
  (void)worker;
  if (selv_python_begin(core->python) == SELV_OK) {
    if (thread->thread != NULL) Py_XDECREF(PyObject_CallOneArg(core->home->thread_ended, thread->thread));
    if (PyErr_Occurred()) PyErr_WriteUnraisable(NULL);
    Py_XDECREF(thread->thread);
    Py_XDECREF(thread->name);
    (void)selv_python_end(core->python);
  }
  free(thread);
}

/* ---- cores ---- */

cache_core *cache_core_retain(cache_core *core) {
  core->users++;
  return core;
}

/* Without Python. */
static void drop(void *user) {
  cache_core *core = (cache_core *)user;
  if (__atomic_sub_fetch(&core->references, 1u, __ATOMIC_ACQ_REL) != 0) return;
  selv_hook_release(core->threads);
  selv_hook_release(core->python);
  cache_home_release(core->home);
  free(core);
}

/* Keeps a pending exception: the last user may go anywhere. */
static void forget_exit(cache_core *core) {
  PyObject *type, *value, *traceback;
  if (core->exit == NULL) return;
  PyErr_Fetch(&type, &value, &traceback);
  if (selv_python_impl_atexit_call("unregister", core->exit) != 0) PyErr_Clear();
  Py_CLEAR(core->exit);
  PyErr_Restore(type, value, traceback);
}

void cache_core_release(cache_core *core) {
  cache_home *home = core->home;
  if (--core->users != 0) return;
  forget_exit(core);
  if (core->threads != NULL) (void)selv_hook_unregister(core->threads, 0, NULL);
  if (core->python != NULL) {
    cache_retired *retired = (cache_retired *)calloc(1, sizeof *retired);
    if (retired != NULL) {
      retired->hook = selv_hook_retain(core->python);
      retired->next = home->retired;
      home->retired = retired;
    }
    (void)selv_hook_unregister(core->python, 0, NULL);
  }
  selv_cache_release(core->cache);
  drop(core);
}

static int register_threads(cache_core *core) {
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  selv_status status;
  options.flags = SELV_HOOK_OPTIONAL | SELV_HOOK_FORK_KEEP;
  options.name = "python-threads";
  options.on_start = thread_start;
  options.on_exit = thread_exit;
  options.user = core;
  options.user_free = drop;
  core->references++; /* nobody else knows it yet */
  status = selv_hook_register(core->cache, &options, &core->threads);
  if (status == SELV_OK) return 0;
  core->references--;
  (void)selvpy_raise(core->home->errors, status);
  return -1;
}

#define EXIT_PATIENCE_NS UINT64_C(200000000)

static int is_main(void) { return PyInterpreterState_Get() == PyInterpreterState_Main(); }

void cache_exit_hook(cache_home *home, selv_hook *hook) {
  uint64_t now = selvpy_now_ns(), patience;
  if (home->exit_until == 0) home->exit_until = now + EXIT_PATIENCE_NS;
  patience = home->exit_until > now ? home->exit_until - now : 0;
  /* CPython ends the process if a sub-interpreter ends before its threads. */
  if (!is_main()) patience = SELV_FOREVER;
  Py_BEGIN_ALLOW_THREADS
  (void)selv_hook_unregister(hook, patience, NULL);
  Py_END_ALLOW_THREADS
}

/* Runs before the python hook's own exit callback, which waits for nobody. */
typedef struct exit_data {
  cache_home *home;
  selv_hook *hook;
} exit_data;

static PyObject *at_exit(PyObject *capsule, PyObject *unused) {
  exit_data *data = (exit_data *)PyCapsule_GetPointer(capsule, "selvedge.cache");
  (void)unused;
  if (data == NULL) return NULL;
  cache_exit_hook(data->home, data->hook);
  Py_RETURN_NONE;
}

static void at_exit_gone(PyObject *capsule) {
  exit_data *data = (exit_data *)PyCapsule_GetPointer(capsule, "selvedge.cache");
  selv_hook_release(data->hook);
  cache_home_release(data->home);
  free(data);
}

static int register_exit(cache_core *core) {
  static PyMethodDef method = { "selvedge_let_workers_go", at_exit, METH_NOARGS, NULL };
  exit_data *data = (exit_data *)calloc(1, sizeof *data);
  PyObject *capsule;
  if (data == NULL) return PyErr_NoMemory(), -1;
  capsule = PyCapsule_New(data, "selvedge.cache", at_exit_gone);
  if (capsule == NULL) {
    free(data);
    return -1;
  }
  data->home = cache_home_retain(core->home);
  data->hook = selv_hook_retain(core->threads);
  core->exit = PyCFunction_New(&method, capsule);
  Py_DECREF(capsule);
  return core->exit == NULL ? -1 : selvpy_at_exit(core->exit);
}

int cache_traverse_type(PyObject *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  return 0;
}

cache_core *cache_core_new(cache_home *home, selv_cache *cache) {
  selv_python_options options = SELV_PYTHON_OPTIONS_INIT;
  selv_status status;
  cache_core *core = (cache_core *)calloc(1, sizeof *core);
  sweep(home);
  if (core == NULL) {
    selv_cache_release(cache);
    PyErr_NoMemory();
    return NULL;
  }
  core->references = 1;
  core->users = 1;
  core->home = cache_home_retain(home);
  core->cache = cache;
  options.flags = SELV_HOOK_OPTIONAL | SELV_HOOK_FORK_KEEP | SELV_PYTHON_THREADING_TRACE;
  options.shutdown_timeout_ns = is_main() ? SELV_NO_WAIT : SELV_FOREVER;
#if PY_VERSION_HEX < 0x030C0000
  status = is_main() ? SELV_OK : SELV_E_UNSUPPORTED;
#else
  status = SELV_OK;
#endif
  if (status == SELV_OK) status = selv_python_register(cache, NULL, &options, &core->python);
  if (status != SELV_OK) {
    if (status == SELV_E_UNSUPPORTED)
      (void)selvpy_raise_named(home->errors, "UnsupportedError", "a sub-interpreter can have a thread cache from CPython 3.12 on");
    else if (status == SELV_E_WRONG_THREAD)
      (void)selvpy_raise_named(home->errors, "WrongThreadError",
                               "the first thread cache must be made on Python's main thread, or after it has imported threading");
    else if (!PyErr_Occurred())
      (void)selvpy_raise(home->errors, status);
    cache_core_release(core);
    return NULL;
  }
  if (register_threads(core) != 0 || register_exit(core) != 0) {
    cache_core_release(core);
    return NULL;
  }
  return core;
}

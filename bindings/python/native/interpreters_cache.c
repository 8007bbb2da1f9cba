/* interpreters_cache.c: the types Cache and Job, which selvedge.interpreters builds upon. */
#include "interpreters.h"

#if PY_VERSION_HEX >= 0x030C0000

typedef struct Cache {
  PyObject_HEAD
  interpreters_pool *pool;
} Cache;

typedef struct Job {
  PyObject_HEAD
  interpreters_job *job;
  selv_job *handle;
} Job;

static interpreters_state *state_of(PyObject *self) {
  return (interpreters_state *)selvpy_state_of_type(Py_TYPE(self), &interpreters_module);
}

/* After the exit callback no interpreter may be made, and nobody could be told of an outcome. */
static int is_ending(interpreters_state *state) {
  if (!selvpy_gate_is_closed(state->gate)) return 0;
  selvpy_raise_named(state->errors, "ClosedResourceError", "Python is ending: no interpreter is made any more");
  return 1;
}

/* ---- making a cache ---- */

static int make_cache(interpreters_state *state, interpreters_pool *pool, const char *name, uint64_t idle_ns, unsigned max_workers) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_hook_options hook = SELV_HOOK_OPTIONS_INIT;
  selv_status status;
  options.name = name;
  options.idle_timeout_ns = idle_ns == 0 ? SELV_NO_WAIT : idle_ns;
  options.max_workers = max_workers;
  status = selv_cache_new(&options, &pool->cache);
  if (status == SELV_OK) {
    hook.name = "interpreter";
    hook.flags = SELV_HOOK_FORK_KEEP;
    hook.on_start = interpreters_on_start;
    hook.on_exit = interpreters_on_exit;
    hook.user = pool;
    hook.user_free = (selv_free_fn)interpreters_pool_release;
    interpreters_pool_retain(pool);
    status = selv_hook_register(pool->cache, &hook, &pool->hook);
    if (status != SELV_OK) {
      interpreters_pool_release(pool);
      selv_cache_release(pool->cache);
      pool->cache = NULL;
    }
  }
  if (status != SELV_OK) selvpy_raise(state->errors, status);
  return status == SELV_OK ? 0 : -1;
}

static PyObject *cache_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *keywords[] = { "name", "idle_timeout", "max_workers", "initializer", "own_gil", "check_multi_interp_extensions",
                              "use_main_obmalloc", "allow_threads", "allow_daemon_threads", "allow_fork", "allow_exec", NULL };
  interpreters_state *state = (interpreters_state *)selvpy_state_of_type(type, &interpreters_module);
  int own_gil, check, obmalloc, threads, daemons, forks, execs;
  const char *name, *initializer;
  Py_ssize_t initializer_len;
  PyObject *idle;
  unsigned max_workers;
  uint64_t idle_ns;
  interpreters_pool *pool;
  Cache *self;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "zOIz#ppppppp:Cache", keywords, &name, &idle, &max_workers, &initializer,
                                   &initializer_len, &own_gil, &check, &obmalloc, &threads, &daemons, &forks, &execs))
    return NULL;
  if (state->gate == NULL)
    return selvpy_raise_named(state->errors, "UnsupportedError",
                              "an InterpreterCache is made in the main interpreter; a sub-interpreter cannot. (A program whose functions run in "
                              "interpreters is imported there: what it does itself belongs under `if __name__ == \"__main__\":`)");
  if (is_ending(state)) return NULL;
  if (selvpy_timeout(idle, "idle_timeout", &idle_ns) != 0) return NULL;
  self = (Cache *)type->tp_alloc(type, 0);
  pool = (interpreters_pool *)calloc(1, sizeof *pool);
  if (pool != NULL && initializer != NULL) {
    pool->initializer = (char *)malloc((size_t)initializer_len + 1);
    if (pool->initializer == NULL) {
      free(pool);
      pool = NULL;
    }
  }
  if (self == NULL || pool == NULL) {
    free(pool);
    Py_XDECREF(self);
    return PyErr_NoMemory();
  }
  if (initializer != NULL) {
    memcpy(pool->initializer, initializer, (size_t)initializer_len);
    pool->initializer_len = (size_t)initializer_len;
  }
  pool->references = 1;
  pool->process = (long)getpid();
  pool->gate = selvpy_gate_retain(state->gate);
  pool->config.use_main_obmalloc = obmalloc;
  pool->config.allow_fork = forks;
  pool->config.allow_exec = execs;
  pool->config.allow_threads = threads;
  pool->config.allow_daemon_threads = daemons;
  pool->config.check_multi_interp_extensions = check;
  pool->config.gil = own_gil ? PyInterpreterConfig_OWN_GIL : PyInterpreterConfig_SHARED_GIL;
  self->pool = pool;
  if (make_cache(state, pool, name, idle_ns, max_workers) != 0) {
    Py_DECREF(self);
    return NULL;
  }
  interpreters_pool_add(pool);
  return (PyObject *)self;
}

/* Nobody waits: what was accepted is finished, the workers end, and the main interpreter's exit waits for them. */
static void cache_dealloc(PyObject *op) {
  Cache *self = (Cache *)op;
  PyTypeObject *type = Py_TYPE(op);
  if (self->pool != NULL) {
    selv_cache *cache;
    selv_hook *hook = self->pool->hook;
    interpreters_lock();
    cache = self->pool->cache;
    self->pool->cache = NULL;
    interpreters_unlock();
    selv_hook_release(hook);
    selv_cache_release(cache);
    interpreters_pool_release(self->pool);
  }
  type->tp_free(op);
  Py_DECREF(type);
}

/* ---- its methods ---- */

static PyObject *cache_submit(PyObject *op, PyObject *args) {
  interpreters_state *state = state_of(op);
  interpreters_pool *pool = ((Cache *)op)->pool;
  selv_job_options options = SELV_JOB_OPTIONS_INIT;
  PyObject *payload, *done;
  interpreters_job *job;
  selv_status status;
  Job *made;
  if (!PyArg_ParseTuple(args, "SO:submit", &payload, &done) || is_ending(state)) return NULL;
  made = (Job *)((PyTypeObject *)state->job_type)->tp_alloc((PyTypeObject *)state->job_type, 0);
  job = made != NULL ? (interpreters_job *)calloc(1, sizeof *job) : NULL;
  if (job == NULL) {
    Py_XDECREF(made);
    return PyErr_NoMemory();
  }
  job->references = 2; /* the handle's and the library's */
  job->process = (long)getpid();
  job->pool = pool;
  interpreters_pool_retain(pool);
  job->payload = Py_NewRef(payload);
  job->done = Py_NewRef(done);
  made->job = job;
  options.fn = interpreters_job_run;
  options.deliver = interpreters_job_deliver;
  options.arg = job;
  options.arg_free = interpreters_job_drop;
  interpreters_pool_busy(pool, 1);
  Py_BEGIN_ALLOW_THREADS
  status = selv_cache_submit(pool->cache, &options, &made->handle);
  Py_END_ALLOW_THREADS
  if (status == SELV_OK) return (PyObject *)made;
  interpreters_pool_busy(pool, -1);
  Py_CLEAR(job->payload);
  Py_CLEAR(job->done);
  interpreters_job_drop(job);
  selvpy_raise(state->errors, status);
  Py_DECREF(made);
  return NULL;
}

static PyObject *cache_shutdown(PyObject *op, PyObject *args) {
  interpreters_state *state = state_of(op);
  interpreters_pool *pool = ((Cache *)op)->pool;
  uint64_t timeout_ns;
  PyObject *timeout;
  selv_status status;
  int cancel, waited;
  if (!PyArg_ParseTuple(args, "Op:shutdown", &timeout, &cancel) || selvpy_timeout(timeout, "timeout", &timeout_ns) != 0) return NULL;
  if (timeout_ns != 0 && interpreters_pool_of_thread() == pool)
    return selvpy_raise_named(state->errors, "DeadlockError", "a worker of this InterpreterCache cannot wait for its end");
  Py_BEGIN_ALLOW_THREADS
  status = selv_cache_shutdown(pool->cache, cancel ? SELV_SHUTDOWN_CANCEL_QUEUED : 0, 0, NULL);
  Py_END_ALLOW_THREADS
  if (status == SELV_E_TIMEDOUT && timeout_ns != 0) {
    waited = interpreters_pool_wait(pool, timeout_ns);
    if (waited == 1) return NULL;
    /* With no interpreter and no job left, the threads are on their last steps. */
    Py_BEGIN_ALLOW_THREADS
    status = selv_cache_shutdown(pool->cache, 0, waited == 0 ? SELV_FOREVER : 0, NULL);
    Py_END_ALLOW_THREADS
  }
  if (status != SELV_OK) return selvpy_raise(state->errors, status);
  Py_RETURN_NONE;
}

static PyObject *cache_trim(PyObject *op, PyObject *keep) {
  unsigned long count = PyLong_AsUnsignedLong(keep);
  selv_status status;
  if (count == (unsigned long)-1 && PyErr_Occurred()) return NULL;
  status = selv_cache_trim(((Cache *)op)->pool->cache, count > UINT32_MAX ? UINT32_MAX : (uint32_t)count);
  if (status != SELV_OK) return selvpy_raise(state_of(op)->errors, status);
  Py_RETURN_NONE;
}

static PyObject *cache_stats(PyObject *op, PyObject *unused) {
  interpreters_pool *pool = ((Cache *)op)->pool;
  selv_cache_stats stats = SELV_CACHE_STATS_INIT;
  unsigned long long created, ended;
  selv_status status = selv_cache_get_stats(pool->cache, &stats);
  (void)unused;
  if (status != SELV_OK) return selvpy_raise(state_of(op)->errors, status);
  interpreters_lock();
  created = pool->created;
  ended = pool->ended;
  interpreters_unlock();
  return Py_BuildValue("KKKKKKKKK", (unsigned long long)stats.workers, (unsigned long long)stats.idle, (unsigned long long)stats.busy,
                       created, ended, (unsigned long long)stats.jobs_accepted, (unsigned long long)stats.jobs_delivered,
                       (unsigned long long)stats.jobs_queued, (unsigned long long)stats.hook_failures);
}

/* ---- a job ---- */

static void job_dealloc(PyObject *op) {
  Job *self = (Job *)op;
  PyTypeObject *type = Py_TYPE(op);
  selv_job_release(self->handle);
  if (self->job != NULL) interpreters_job_drop(self->job);
  type->tp_free(op);
  Py_DECREF(type);
}

static PyObject *job_cancel(PyObject *op, PyObject *unused) {
  Job *self = (Job *)op;
  selv_status status;
  (void)unused;
  Py_BEGIN_ALLOW_THREADS
  status = selv_job_cancel(self->handle);
  Py_END_ALLOW_THREADS
  if (status == SELV_OK) Py_RETURN_TRUE;
  if (status == SELV_E_TOO_LATE) Py_RETURN_FALSE;
  return selvpy_raise(state_of(op)->errors, status);
}

static PyObject *job_interrupt(PyObject *op, PyObject *unused) {
  int did;
  (void)unused;
  Py_BEGIN_ALLOW_THREADS
  did = interpreters_job_interrupt(((Job *)op)->job);
  Py_END_ALLOW_THREADS
  return PyBool_FromLong(did);
}

static PyObject *job_begun(PyObject *op, void *closure) {
  (void)closure;
  return PyBool_FromLong(__atomic_load_n(&((Job *)op)->job->begun, __ATOMIC_ACQUIRE) != 0);
}

static PyMethodDef cache_methods[] = {
  { "submit", cache_submit, METH_VARARGS, "submit(payload, done): done(status, code, result, text) is called once, on the worker." },
  { "shutdown", cache_shutdown, METH_VARARGS, "shutdown(timeout, cancel_queued)" },
  { "trim", cache_trim, METH_O, "trim(keep)" },
  { "stats", cache_stats, METH_NOARGS, "The numbers of InterpreterStats." },
  { NULL, NULL, 0, NULL },
};

static PyMethodDef job_methods[] = {
  { "cancel", job_cancel, METH_NOARGS, "True: it never runs, and done has been called." },
  { "interrupt", job_interrupt, METH_NOARGS, "True: it ran, and soon gets a KeyboardInterrupt." },
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef job_getset[] = {
  { "begun", job_begun, NULL, "Whether a worker has begun it.", NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot cache_slots[] = {
  { Py_tp_new, (void *)cache_new },
  { Py_tp_dealloc, (void *)cache_dealloc },
  { Py_tp_methods, cache_methods },
  { 0, NULL },
};

static PyType_Slot job_slots[] = {
  { Py_tp_dealloc, (void *)job_dealloc },
  { Py_tp_methods, job_methods },
  { Py_tp_getset, job_getset },
  { 0, NULL },
};

PyType_Spec interpreters_cache_spec = {
  .name = "selvedge._interpreters.Cache",
  .basicsize = sizeof(Cache),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = cache_slots,
};

PyType_Spec interpreters_job_spec = {
  .name = "selvedge._interpreters.Job",
  .basicsize = sizeof(Job),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
  .slots = job_slots,
};
#else
typedef int interpreters_cache_needs_312;
#endif

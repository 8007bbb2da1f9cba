/* cache.c: the module selvedge._cache, and the type ThreadCache. */
#include "cache.h"

#include <stdio.h>

/* ---- ThreadCache ---- */

/* Takes over the reference to `cache`. */
static cache_object *wrap(cache_state *state, selv_cache *cache) {
  cache_object *self;
  cache_core *core = cache_core_new(state->home, cache);
  if (core == NULL) return NULL;
  self = PyObject_GC_New(cache_object, state->cache_type);
  if (self == NULL) {
    cache_core_release(core);
    return NULL;
  }
  self->core = core;
  self->is_closed = self->is_default = 0;
  self->max_workers = 0;
  self->name[0] = '\0';
  PyObject_GC_Track(self);
  return self;
}

static PyObject *cache_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "name", "idle_timeout", "max_workers", NULL };
  cache_state *state = (cache_state *)selvpy_state_of_type(type, &cache_module);
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  PyObject *idle = NULL, *most = Py_None;
  cache_object *self;
  selv_cache *cache;
  selv_status status;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|zOO:ThreadCache", names, &options.name, &idle, &most)) return NULL;
  if (idle != NULL) {
    if (selvpy_timeout(idle, "idle_timeout", &options.idle_timeout_ns) != 0) return NULL;
    if (options.idle_timeout_ns == 0) options.idle_timeout_ns = SELV_NO_WAIT;
  }
  if (most != Py_None) {
    long number;
    if (!PyLong_Check(most)) return PyErr_Format(PyExc_TypeError, "max_workers must be an int or None, not %.100s", Py_TYPE(most)->tp_name);
    number = PyLong_AsLong(most);
    if (number == -1 && PyErr_Occurred()) PyErr_Clear(); /* beyond every long */
    if (number < 1 || number > (long)UINT32_MAX)
      return PyErr_Format(PyExc_ValueError, "max_workers must be at least 1 and at most %lu, not %R", (unsigned long)UINT32_MAX, most);
    options.max_workers = (uint32_t)number;
  }
  status = selv_cache_new(&options, &cache);
  if (status != SELV_OK) return selvpy_raise(state->home->errors, status);
  self = wrap(state, cache);
  if (self == NULL) return NULL;
  self->max_workers = options.max_workers;
  if (options.name != NULL) snprintf(self->name, sizeof self->name, "%s", options.name);
  return (PyObject *)self;
}

static void cache_dealloc(cache_object *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  cache_core_release(self->core);
  type->tp_free(self);
  Py_DECREF(type);
}

PyDoc_STRVAR(start_doc,
             "start_thread_soon($self, /, fn, deliver, name=None)\n--\n\n"
             "Runs ``deliver(outcome.capture(fn))`` on a worker thread, at once.\n\n"
             "``fn()`` does blocking work; ``deliver(outcome)`` hands its outcome.Outcome on and must not block. The worker lines up for its next job\n"
             "before it delivers, so a sequence of jobs needs one thread. Both run with the GIL, in an empty context. ``name``, if given, is the\n"
             "thread's name while ``fn`` runs, for Python (threading.current_thread().name) and for the operating system (15 bytes). What ``deliver``\n"
             "raises is printed to stderr, and the worker lives on. If the job cannot run, ``deliver`` gets an outcome.Error of HookFailedError.\n\n"
             "From any thread; does not block. Raises ClosedResourceError after shutdown, SpawnError when no thread can be started: then ``deliver``\n"
             "is not called.");

PyDoc_STRVAR(submit_doc,
             "submit($self, /, fn, deliver=None, name=None, *, limiter=None)\n--\n\n"
             "As start_thread_soon, and gives a Job, which can be waited for and cancelled.\n\n"
             "With ``max_workers`` reached the job queues, in order. ``limiter``: a CapacityLimiter of selvedge.sync, aio or trio, of which the job\n"
             "takes a token before it begins, and returns it before its delivery; while it waits for one it takes no thread. It may also be the\n"
             "address of a native limiter (selv_limiter), which the caller keeps alive until the delivery. Raises TypeError, ValueError.");

static PyObject *cache_stats(cache_object *self, PyObject *unused) {
  selv_cache_stats s = SELV_CACHE_STATS_INIT;
  selv_status status = selv_cache_get_stats(self->core->cache, &s);
  (void)unused;
  if (status != SELV_OK) return selvpy_raise(self->core->home->errors, status);
  return PyObject_CallFunction(
      self->core->home->stats, "KKKKKKKKKKKKK", (unsigned long long)s.workers, (unsigned long long)s.idle, (unsigned long long)s.busy,
      (unsigned long long)s.started, (unsigned long long)s.exited, (unsigned long long)s.jobs_accepted,
      (unsigned long long)s.jobs_delivered, (unsigned long long)s.jobs_queued, (unsigned long long)s.hook_failures,
      (unsigned long long)s.spawn_failures, (unsigned long long)s.peak_workers, (unsigned long long)s.threads_lost,
      (unsigned long long)s.threads_entered);
}

PyDoc_STRVAR(trim_doc,
             "trim($self, /, keep=0)\n--\n\n"
             "Lets idle workers go, those that have been idle for longest first, until ``keep`` are left. Waits for nobody.");

static PyObject *cache_trim(cache_object *self, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "keep", NULL };
  PyObject *number = NULL;
  long long keep = 0;
  int overflow = 0;
  selv_status status;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:trim", names, &number)) return NULL;
  if (number != NULL) {
    if (!PyLong_Check(number)) return PyErr_Format(PyExc_TypeError, "keep must be an int, not %.100s", Py_TYPE(number)->tp_name);
    keep = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (keep == -1 && PyErr_Occurred()) return NULL;
    if (overflow > 0) keep = (long long)UINT32_MAX; /* as many as there are */
    if (keep < 0) return PyErr_Format(PyExc_ValueError, "keep must be at least 0, not %R", number);
  }
  status = selv_cache_trim(self->core->cache, keep > (long long)UINT32_MAX ? UINT32_MAX : (uint32_t)keep);
  if (status != SELV_OK) return selvpy_raise(self->core->home->errors, status);
  Py_RETURN_NONE;
}

PyDoc_STRVAR(shutdown_doc,
             "shutdown($self, /, timeout=None, *, cancel_queued=False)\n--\n\n"
             "Refuses new jobs, lets accepted ones finish, ends every worker, and waits for that: ``timeout`` seconds at most (None: for ever), without\n"
             "the GIL. It may be called again, and then goes on waiting. ``cancel_queued``: jobs that no worker has begun are delivered with\n"
             "CancelledError, here.\n\n"
             "Raises TimedOutError when workers are left (the shutdown goes on by itself); DeadlockError on a worker of this cache, unless\n"
             "``timeout`` is 0; UnsupportedError for the default cache, which is the whole process's: trim it instead.");

typedef struct shutdown_call {
  cache_object *object;
  uint32_t flags;
} shutdown_call;

/* Others see the cache as closed from the first turn on, not only when its workers have ended. Without the GIL, hence atomic. */
static selv_status wait_for_end(void *what, uint64_t ns) {
  shutdown_call *call = (shutdown_call *)what;
  selv_status status = selv_cache_shutdown(call->object->core->cache, call->flags, ns, NULL);
  if (status == SELV_OK || status == SELV_E_TIMEDOUT) __atomic_store_n(&call->object->is_closed, 1, __ATOMIC_RELAXED);
  return status;
}

static int is_closed(const cache_object *self) { return __atomic_load_n(&self->is_closed, __ATOMIC_RELAXED); }

static PyObject *cache_shutdown(cache_object *self, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "timeout", "cancel_queued", NULL };
  PyObject *seconds = Py_None;
  shutdown_call call;
  int cancel = 0;
  uint64_t timeout;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$p:shutdown", names, &seconds, &cancel)) return NULL;
  if (selvpy_timeout(seconds, "timeout", &timeout) != 0) return NULL;
  call.object = self;
  call.flags = cancel ? SELV_SHUTDOWN_CANCEL_QUEUED : 0;
  if (cache_wait(self->core->home, wait_for_end, &call, timeout) != 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *cache_enter(PyObject *object, PyObject *unused) {
  cache_object *self = (cache_object *)object;
  (void)unused;
  if (self->is_default)
    return selvpy_raise_named(self->core->home->errors, "UnsupportedError",
                              "the default cache is the whole process's and cannot be shut down, which the end of the block would do");
  if (is_closed(self)) return selvpy_raise_named(self->core->home->errors, "ClosedResourceError", "the thread cache is shut down");
  return Py_NewRef(object);
}

static PyObject *cache_leave(PyObject *object, PyObject *unused) {
  PyObject *none = PyTuple_New(0), *result = NULL;
  (void)unused;
  if (none != NULL) result = cache_shutdown((cache_object *)object, none, NULL);
  Py_XDECREF(none);
  return result;
}

PyDoc_STRVAR(set_idle_timeout_doc,
             "set_idle_timeout($self, seconds, /)\n--\n\n"
             "Sets how long an idle worker stays, also for those that are idle now. None: for ever.");

static PyObject *cache_set_idle_timeout(cache_object *self, PyObject *seconds) {
  uint64_t ns;
  selv_status status;
  if (selvpy_timeout(seconds, "seconds", &ns) != 0) return NULL;
  status = selv_cache_set_idle_timeout(self->core->cache, ns);
  if (status != SELV_OK) return selvpy_raise(self->core->home->errors, status);
  Py_RETURN_NONE;
}

static PyObject *cache_address(cache_object *self, void *unused) {
  (void)unused;
  return PyLong_FromVoidPtr(self->core->cache);
}

static PyObject *cache_closed(cache_object *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(is_closed(self));
}

/* The name may have been cut inside a character. */
static PyObject *cache_repr(cache_object *self) {
  PyObject *name = PyUnicode_DecodeUTF8(self->name, (Py_ssize_t)strlen(self->name), "ignore"), *text;
  char bound[40] = "";
  if (name == NULL) return NULL;
  if (self->max_workers != 0) snprintf(bound, sizeof bound, ", max_workers=%lu", (unsigned long)self->max_workers);
  if (self->is_default) text = PyUnicode_FromString("<selvedge.ThreadCache, the default one>");
  else text = PyUnicode_FromFormat("<selvedge.ThreadCache %R%s%s>", name, bound, is_closed(self) ? ", shut down" : "");
  Py_DECREF(name);
  return text;
}

static PyMethodDef cache_methods[] = {
  { "start_thread_soon", (PyCFunction)(void (*)(void))cache_job_start, METH_FASTCALL | METH_KEYWORDS, start_doc },
  { "submit", (PyCFunction)(void (*)(void))cache_job_submit, METH_VARARGS | METH_KEYWORDS, submit_doc },
  { "stats", (PyCFunction)(void (*)(void))cache_stats, METH_NOARGS, "stats($self, /)\n--\n\nWhat has happened so far, as CacheStats." },
  { "trim", (PyCFunction)(void (*)(void))cache_trim, METH_VARARGS | METH_KEYWORDS, trim_doc },
  { "shutdown", (PyCFunction)(void (*)(void))cache_shutdown, METH_VARARGS | METH_KEYWORDS, shutdown_doc },
  { "set_idle_timeout", (PyCFunction)(void (*)(void))cache_set_idle_timeout, METH_O, set_idle_timeout_doc },
  { "__enter__", cache_enter, METH_NOARGS, NULL },
  { "__exit__", cache_leave, METH_VARARGS, NULL },
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef cache_members[] = {
  { "address", (getter)cache_address, NULL, "The native handle (selv_cache*), as int, for native code in this process; valid while this object lives.", NULL },
  { "closed", (getter)cache_closed, NULL, "True once shutdown has been called on this object.", NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

PyDoc_STRVAR(cache_doc,
             "ThreadCache(name=None, idle_timeout=10.0, max_workers=None)\n--\n\n"
             "Worker threads that are kept for the next job, last in, first out; one that was idle for ``idle_timeout`` seconds ends (None: never).\n\n"
             "``max_workers`` None: there is no bound, every job runs at once; else jobs past it queue, in order. ``name``: workers are called\n"
             "\"<name>-<number>\"; its first 24 bytes count. A worker keeps one Python thread state for its whole life, and does not hold the GIL\n"
             "while it is idle. Workers are like daemon threads: at Python's exit, and when the object is dropped, nobody waits for running jobs;\n"
             "accepted ones still finish after a drop. In a child made by os.fork the cache works anew; jobs of the parent stay there. A ``with`` block\n"
             "shuts it down at its end.\n\n"
             "In a sub-interpreter (CPython 3.12 and later) a cache runs jobs in that interpreter, whose end waits for them; before 3.12 it raises\n"
             "UnsupportedError there.");

static PyType_Slot cache_slots[] = {
  { Py_tp_doc, (void *)cache_doc },       { Py_tp_new, cache_new },         { Py_tp_dealloc, cache_dealloc },
  { Py_tp_methods, cache_methods },       { Py_tp_getset, cache_members },  { Py_tp_repr, cache_repr },
  { Py_tp_traverse, cache_traverse_type },
  { 0, NULL },
};

PyType_Spec cache_type_spec = {
  .name = "selvedge.ThreadCache",
  .basicsize = sizeof(cache_object),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = cache_slots,
};

PyDoc_STRVAR(default_doc,
             "default_cache()\n--\n\n"
             "The process's shared thread cache, always the same object: one for all languages in the process, with the default options.\n\n"
             "Only in the main interpreter: elsewhere it raises UnsupportedError, since its workers belong to that one.");

PyObject *cache_default(PyObject *module, PyObject *unused) {
  cache_state *state = (cache_state *)PyModule_GetState(module);
  (void)unused;
  if (PyInterpreterState_Get() != PyInterpreterState_Main())
    return selvpy_raise_named(state->home->errors, "UnsupportedError",
                              "the workers of the default cache belong to the main interpreter; make a ThreadCache for this one");
  if (state->default_cache == NULL) {
    selv_cache *cache;
    selv_status status = selv_cache_default(&cache);
    cache_object *made;
    if (status != SELV_OK) return selvpy_raise(state->home->errors, status);
    made = wrap(state, cache);
    if (made == NULL) return NULL;
    made->is_default = 1;
    /* Registering runs Python, and another thread may have been as far. */
    if (state->default_cache != NULL) Py_DECREF(made);
    else state->default_cache = (PyObject *)made;
  }
  return Py_NewRef(state->default_cache);
}

/* ---- the module ---- */

static PyMethodDef functions[] = {
  { "default_cache", cache_default, METH_NOARGS, default_doc },
  { "register_hook", (PyCFunction)(void (*)(void))cache_register_hook, METH_VARARGS | METH_KEYWORDS, NULL },
  { NULL, NULL, 0, NULL },
};

static PyObject *from_module(const char *module_name, const char *name) {
  PyObject *module = PyImport_ImportModule(module_name), *object = NULL;
  if (module != NULL) object = PyObject_GetAttrString(module, name);
  Py_XDECREF(module);
  return object;
}

static int fill(cache_home *home) {
  home->gate = selvpy_gate_new();
  if (home->gate == NULL || selvpy_errors_load(&home->errors) != 0) return -1;
  home->value = from_module("outcome", "Value");
  home->error = from_module("outcome", "Error");
  home->thread_started = from_module("selvedge._worker", "thread_started");
  home->thread_ended = from_module("selvedge._worker", "thread_ended");
  home->delivery_failed = from_module("selvedge._worker", "delivery_failed");
  home->stats = from_module("selvedge._worker", "CacheStats");
  home->hook_stats = from_module("selvedge._worker", "HookStats");
  home->name = PyUnicode_InternFromString("name");
  return home->value && home->error && home->thread_started && home->thread_ended && home->delivery_failed && home->stats &&
                 home->hook_stats && home->name
             ? 0
             : -1;
}

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type) {
  *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
  return *type != NULL ? PyModule_AddType(module, *type) : -1;
}

static int module_exec(PyObject *module) {
  cache_state *state = (cache_state *)PyModule_GetState(module);
  if (selvpy_check_library() != 0) return -1;
  state->home = (cache_home *)calloc(1, sizeof *state->home);
  if (state->home == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  state->home->references = 1;
  if (fill(state->home) != 0) return -1;
  if (add_type(module, &cache_type_spec, &state->cache_type) != 0 || add_type(module, &cache_job_spec, &state->job_type) != 0 ||
      add_type(module, &cache_hook_spec, &state->hook_type) != 0 || cache_parker_add(module) != 0)
    return -1;
  if (PyModule_AddIntConstant(module, "LAZY", SELV_HOOK_LAZY) != 0 || PyModule_AddIntConstant(module, "EAGER", SELV_HOOK_EAGER) != 0 ||
      PyModule_AddIntConstant(module, "OPTIONAL", SELV_HOOK_OPTIONAL) != 0 ||
      PyModule_AddIntConstant(module, "RETIRE", SELV_HOOK_RETIRE) != 0 ||
      PyModule_AddIntConstant(module, "FORK_KEEP", SELV_HOOK_FORK_KEEP) != 0 ||
      PyModule_AddStringConstant(module, "library_version", selv_version()) != 0)
    return -1;
  return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
  cache_state *state = (cache_state *)PyModule_GetState(module);
  Py_VISIT(state->cache_type);
  Py_VISIT(state->job_type);
  Py_VISIT(state->hook_type);
  Py_VISIT(state->default_cache);
  if (state->home != NULL) {
    Py_VISIT(state->home->errors);
    Py_VISIT(state->home->value);
    Py_VISIT(state->home->error);
    Py_VISIT(state->home->thread_started);
    Py_VISIT(state->home->thread_ended);
    Py_VISIT(state->home->delivery_failed);
    Py_VISIT(state->home->stats);
    Py_VISIT(state->home->hook_stats);
  }
  return 0;
}

/* By then the gate is closed: nobody comes any more who would need the home's objects. */
static int module_clear(PyObject *module) {
  cache_state *state = (cache_state *)PyModule_GetState(module);
  Py_CLEAR(state->default_cache);
  Py_CLEAR(state->cache_type);
  Py_CLEAR(state->job_type);
  Py_CLEAR(state->hook_type);
  if (state->home != NULL) {
    Py_CLEAR(state->home->errors);
    Py_CLEAR(state->home->value);
    Py_CLEAR(state->home->error);
    Py_CLEAR(state->home->thread_started);
    Py_CLEAR(state->home->thread_ended);
    Py_CLEAR(state->home->delivery_failed);
    Py_CLEAR(state->home->stats);
    Py_CLEAR(state->home->hook_stats);
    Py_CLEAR(state->home->name);
  }
  return 0;
}

static void module_free(void *module) {
  cache_state *state = (cache_state *)PyModule_GetState((PyObject *)module);
  (void)module_clear((PyObject *)module);
  cache_home_release(state->home);
  state->home = NULL;
}

static PyModuleDef_Slot module_slots[] = {
  { Py_mod_exec, (void *)module_exec },
#if PY_VERSION_HEX >= 0x030C0000
  { Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED },
#endif
  { 0, NULL },
};

PyModuleDef cache_module = {
  PyModuleDef_HEAD_INIT,
  .m_name = "selvedge._cache",
  .m_doc = "The thread cache and its hooks, natively.",
  .m_size = sizeof(cache_state),
  .m_methods = functions,
  .m_slots = module_slots,
  .m_traverse = module_traverse,
  .m_clear = module_clear,
  .m_free = module_free,
};

PyMODINIT_FUNC PyInit__cache(void) { return PyModuleDef_Init(&cache_module); }

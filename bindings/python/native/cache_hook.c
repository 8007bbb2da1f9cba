/* cache_hook.c: hooks that are registered from Python, with Python functions, or with native ones that never see the GIL. */
#include "cache.h"

typedef struct hook_user {
  cache_core *core;
  PyObject *on_start, *on_exit, *before_job, *after_job; /* may be NULL */
} hook_user;

typedef struct hook_object {
  PyObject_HEAD
  cache_core *core;
  selv_hook *hook;
  int is_native;
  int is_leaving;  /* unregistered, or about to be: others have asked for it */
  PyObject *name;
  PyObject *kept; /* the ctypes functions of a native hook */
} hook_object;

/* ---- Python functions ---- */

/* What they raise is the cause of the HookFailedError that the job is delivered with. */
static int32_t failed(void) {
  PyObject *type, *error, *traceback;
  PyErr_Fetch(&type, &error, &traceback);
  PyErr_NormalizeException(&type, &error, &traceback);
  if (traceback != NULL) (void)PyException_SetTraceback(error, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  cache_hook_error_keep(error);
  return SELV_E_HOOK_FAILED;
}

static int32_t on_start(void *user, const selv_worker *worker, void **slot) {
  hook_user *h = (hook_user *)user;
  PyObject *result;
  cache_part part;
  (void)worker;
  if (!cache_part_begin(h->core, &part)) return SELV_E_CLOSED;
  result = h->on_start != NULL ? PyObject_CallNoArgs(h->on_start) : Py_NewRef(Py_None);
  if (result == NULL) {
    int32_t code = failed();
    cache_part_end(&part);
    return code;
  }
  cache_part_end(&part);
  *slot = result;
  return 0;
}

/* In what is on its way out nobody can be told but sys.unraisablehook. */
static void call_last(PyObject *fn, PyObject *slot) {
  PyObject *result = PyObject_CallOneArg(fn, slot);
  if (result == NULL) PyErr_WriteUnraisable(fn);
  Py_XDECREF(result);
}

static void on_exit_(void *user, const selv_worker *worker, void *slot) {
  hook_user *h = (hook_user *)user;
  cache_part part;
  (void)worker;
  if (!cache_part_begin(h->core, &part)) return;
  if (h->on_exit != NULL) call_last(h->on_exit, (PyObject *)slot);
  Py_DECREF((PyObject *)slot);
  cache_part_end(&part);
}

static int32_t before_job(void *user, const selv_worker *worker, void *slot) {
  hook_user *h = (hook_user *)user;
  PyObject *result;
  cache_part part;
  int32_t code = 0;
  (void)worker;
  if (!cache_part_begin(h->core, &part)) return SELV_E_CLOSED;
  result = PyObject_CallOneArg(h->before_job, (PyObject *)slot);
  if (result == NULL) code = failed();
  Py_XDECREF(result);
  cache_part_end(&part);
  return code;
}

static void after_job(void *user, const selv_worker *worker, void *slot) {
  hook_user *h = (hook_user *)user;
  cache_part part;
  (void)worker;
  if (!cache_part_begin(h->core, &part)) return;
  call_last(h->after_job, (PyObject *)slot);
  cache_part_end(&part);
}

static void user_free(void *user) {
  hook_user *h = (hook_user *)user;
  cache_part part;
  if (cache_part_begin(h->core, &part)) {
    Py_XDECREF(h->on_start);
    Py_XDECREF(h->on_exit);
    Py_XDECREF(h->before_job);
    Py_XDECREF(h->after_job);
    cache_core_release(h->core);
    cache_part_end(&part);
  }
  free(h);
}

/* ---- registering ---- */

/* A native function: its address, or a ctypes function or pointer. 1: it is one; 0: it is something else; -1 with an exception set. */
static int native_address(PyObject *fn, uintptr_t *address) {
  PyObject *ctypes, *pointer, *number = NULL;
  if (PyLong_Check(fn)) {
    void *given;
    if (selvpy_address(fn, "a native function", &given) != 0) return -1;
    *address = (uintptr_t)given;
    return 1;
  }
  /* Who has a ctypes function has imported ctypes. */
  number = PyUnicode_FromString("_ctypes");
  if (number == NULL) return -1;
  ctypes = PyImport_GetModule(number);
  Py_CLEAR(number);
  if (ctypes == NULL) return PyErr_Occurred() ? -1 : 0;
  pointer = PyObject_GetAttrString(ctypes, "CFuncPtr");
  Py_DECREF(ctypes);
  if (pointer == NULL) return -1;
  if (!PyObject_TypeCheck(fn, (PyTypeObject *)pointer)) {
    Py_DECREF(pointer);
    return 0;
  }
  Py_DECREF(pointer);
  ctypes = PyImport_ImportModule("ctypes");
  pointer = ctypes != NULL ? PyObject_GetAttrString(ctypes, "c_void_p") : NULL;
  if (pointer != NULL) number = PyObject_CallMethod(ctypes, "cast", "OO", fn, pointer);
  Py_XDECREF(ctypes);
  Py_XDECREF(pointer);
  pointer = number;
  number = pointer != NULL ? PyObject_GetAttrString(pointer, "value") : NULL;
  Py_XDECREF(pointer);
  if (number == NULL) return -1;
  *address = PyLong_Check(number) ? (uintptr_t)PyLong_AsVoidPtr(number) : 0;
  Py_DECREF(number);
  if (*address == 0 && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "a native function cannot be NULL");
  return PyErr_Occurred() ? -1 : 1;
}

enum { ON_START, ON_EXIT, BEFORE_JOB, AFTER_JOB, CALLBACKS };
static const char *const callback_names[CALLBACKS] = { "on_start", "on_exit", "before_job", "after_job" };

/* 1: native; 0: Python; -1 with an exception set. */
static int read_callbacks(PyObject *const callbacks[CALLBACKS], uintptr_t addresses[CALLBACKS]) {
  int i, natives = 0, pythons = 0;
  for (i = 0; i < CALLBACKS; i++) {
    int native;
    if (callbacks[i] == Py_None) continue;
    native = native_address(callbacks[i], &addresses[i]);
    if (native < 0) return -1;
    if (native) {
      natives++;
    } else if (PyCallable_Check(callbacks[i])) {
      pythons++;
    } else {
      PyErr_Format(PyExc_TypeError, "%s must be callable, the address of a native function, a ctypes function or None, not %.100s",
                   callback_names[i], Py_TYPE(callbacks[i])->tp_name);
      return -1;
    }
  }
  if (natives > 0 && pythons > 0) {
    PyErr_SetString(PyExc_TypeError, "a hook has Python functions or native ones, not both: register two hooks");
    return -1;
  }
  if (natives + pythons == 0) {
    PyErr_SetString(PyExc_TypeError, "a hook needs at least one of on_start, on_exit, before_job and after_job");
    return -1;
  }
  return natives > 0;
}

static hook_user *python_user(cache_core *core, PyObject *const callbacks[CALLBACKS], selv_hook_options *options) {
  hook_user *h = (hook_user *)calloc(1, sizeof *h);
  if (h == NULL) {
    PyErr_NoMemory();
    return NULL;
  }
  h->core = cache_core_retain(core);
  if (callbacks[ON_START] != Py_None) h->on_start = Py_NewRef(callbacks[ON_START]);
  if (callbacks[ON_EXIT] != Py_None) h->on_exit = Py_NewRef(callbacks[ON_EXIT]);
  if (callbacks[BEFORE_JOB] != Py_None) h->before_job = Py_NewRef(callbacks[BEFORE_JOB]);
  if (callbacks[AFTER_JOB] != Py_None) h->after_job = Py_NewRef(callbacks[AFTER_JOB]);
  options->on_start = on_start; /* these two also for the slot */
  options->on_exit = on_exit_;
  if (h->before_job != NULL) options->before_job = before_job;
  if (h->after_job != NULL) options->after_job = after_job;
  options->user = h;
  options->user_free = user_free;
  return h;
}

/* Before the cache's own exit callback, which was registered before it. */
static PyObject *hook_at_exit(PyObject *self, PyObject *unused) {
  hook_object *hook = (hook_object *)self;
  (void)unused;
  cache_exit_hook(hook->core->home, hook->hook);
  Py_RETURN_NONE;
}

static PyMethodDef exit_method = { "selvedge_remove_hook", hook_at_exit, METH_NOARGS, NULL };

/* `method` of the module atexit, with the hook's exit callback: two such callables of one hook are equal. */
static int at_exit(const char *method, hook_object *hook) {
  PyObject *callable = PyCFunction_New(&exit_method, (PyObject *)hook);
  int failed = callable == NULL || selv_python_impl_atexit_call(method, callable) != 0;
  Py_XDECREF(callable);
  return failed ? -1 : 0;
}

/* The hook has been removed: what it needed may go. */
static void removed(hook_object *hook) {
  Py_CLEAR(hook->kept);
  if (!hook->is_native && at_exit("unregister", hook) != 0) PyErr_Clear();
}

PyObject *cache_register_hook(PyObject *module, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "name", "on_start", "on_exit", "before_job", "after_job", "cache", "user", "flags", NULL };
  cache_state *state = (cache_state *)PyModule_GetState(module);
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  PyObject *callbacks[CALLBACKS] = { Py_None, Py_None, Py_None, Py_None }, *cache = Py_None, *user = Py_None;
  uintptr_t addresses[CALLBACKS] = { 0, 0, 0, 0 };
  unsigned flags = 0;
  hook_user *h = NULL;
  hook_object *hook;
  selv_status status;
  int native;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|OOOOOOI:register_hook", names, &options.name, &callbacks[ON_START], &callbacks[ON_EXIT],
                                   &callbacks[BEFORE_JOB], &callbacks[AFTER_JOB], &cache, &user, &flags))
    return NULL;
  native = read_callbacks(callbacks, addresses);
  if (native < 0) return NULL;
  if (user != Py_None && !native) return PyErr_Format(PyExc_TypeError, "user is for native functions; a Python function knows what it needs");
  if (cache == Py_None) {
    cache = cache_default(module, NULL);
    if (cache == NULL) return NULL;
    Py_DECREF(cache); /* the module keeps it */
  } else if (!PyObject_TypeCheck(cache, state->cache_type)) {
    return PyErr_Format(PyExc_TypeError, "cache must be a ThreadCache or None, not %.100s", Py_TYPE(cache)->tp_name);
  }
  hook = PyObject_GC_New(hook_object, state->hook_type);
  if (hook == NULL) return NULL;
  hook->core = cache_core_retain(((cache_object *)cache)->core);
  hook->hook = NULL;
  hook->is_native = native;
  hook->is_leaving = 0;
  hook->name = PyUnicode_FromString(options.name);
  hook->kept = NULL;
  options.flags = flags;
  if (native) {
    hook->kept = PyTuple_Pack(CALLBACKS, callbacks[0], callbacks[1], callbacks[2], callbacks[3]);
    options.on_start = (selv_hook_start_fn)addresses[ON_START];
    options.on_exit = (selv_hook_exit_fn)addresses[ON_EXIT];
    options.before_job = (selv_hook_before_fn)addresses[BEFORE_JOB];
    options.after_job = (selv_hook_after_fn)addresses[AFTER_JOB];
    if (user != Py_None) options.user = PyLong_AsVoidPtr(user);
    if (hook->kept == NULL || hook->name == NULL || PyErr_Occurred()) {
      Py_DECREF(hook);
      return NULL;
    }
  } else {
    /* What os.fork's child has, it has whole. */
    options.flags |= SELV_HOOK_FORK_KEEP;
    h = hook->name != NULL ? python_user(hook->core, callbacks, &options) : NULL;
    if (h == NULL) {
      Py_DECREF(hook);
      return NULL;
    }
  }
  status = selv_hook_register(hook->core->cache, &options, &hook->hook);
  if (status != SELV_OK) {
    (void)selvpy_raise(state->home->errors, status);
    if (h != NULL) user_free(h);
    Py_DECREF(hook);
    return NULL;
  }
  /* A native hook outlives Python: it is another runtime's. */
  if (!native && at_exit("register", hook) != 0) PyErr_WriteUnraisable((PyObject *)hook);
  PyObject_GC_Track(hook);
  return (PyObject *)hook;
}

/* ---- Hook ---- */

static void hook_dealloc(hook_object *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  selv_hook_release(self->hook);
  /* A native hook that is still registered may call them at any time. */
  if (self->hook == NULL) Py_XDECREF(self->kept);
  Py_XDECREF(self->name);
  cache_core_release(self->core);
  type->tp_free(self);
  Py_DECREF(type);
}

PyDoc_STRVAR(unregister_doc,
             "unregister($self, /, timeout=None)\n--\n\n"
             "Removes the hook, and waits until every worker has exited it: for ``timeout`` seconds at most (None: for ever), without the GIL.\n\n"
             "When this returns, no callback of the hook runs or will run. Idle workers exit it at once, busy ones when their job ends. It may be\n"
             "called again. Raises TimedOutError when workers are left (the removal goes on by itself); DeadlockError on a worker of the cache\n"
             "or inside a hook, unless ``timeout`` is 0.");

/* Without the GIL, hence atomic. */
static selv_status wait_for_hook(void *what, uint64_t ns) {
  hook_object *hook = (hook_object *)what;
  selv_status status = selv_hook_unregister(hook->hook, ns, NULL);
  if (status == SELV_OK || status == SELV_E_TIMEDOUT) __atomic_store_n(&hook->is_leaving, 1, __ATOMIC_RELAXED);
  return status;
}

static int is_leaving(const hook_object *self) { return __atomic_load_n(&self->is_leaving, __ATOMIC_RELAXED); }

static PyObject *hook_unregister(hook_object *self, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "timeout", NULL };
  PyObject *seconds = Py_None;
  uint64_t timeout;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:unregister", names, &seconds) || selvpy_timeout(seconds, "timeout", &timeout) != 0)
    return NULL;
  if (cache_wait(self->core->home, wait_for_hook, self, timeout) != 0) return NULL;
  removed(self);
  Py_RETURN_NONE;
}

PyDoc_STRVAR(stats_doc, "stats($self, /)\n--\n\nWhat has happened to the hook so far, as HookStats.");

static PyObject *hook_stats(hook_object *self, PyObject *unused) {
  selv_hook_stats s = SELV_HOOK_STATS_INIT;
  selv_status status = selv_hook_get_stats(self->hook, &s);
  (void)unused;
  if (status != SELV_OK) return selvpy_raise(self->core->home->errors, status);
  return PyObject_CallFunction(self->core->home->hook_stats, "KKKKKK", (unsigned long long)s.attached, (unsigned long long)s.starts,
                               (unsigned long long)s.exits, (unsigned long long)s.start_failures, (unsigned long long)s.jobs,
                               (unsigned long long)s.lost);
}

static PyObject *hook_enter(PyObject *object, PyObject *unused) {
  hook_object *self = (hook_object *)object;
  (void)unused;
  if (is_leaving(self)) return selvpy_raise_named(self->core->home->errors, "ClosedResourceError", "the hook has been unregistered");
  return Py_NewRef(object);
}

static PyObject *hook_repr(hook_object *self) {
  return PyUnicode_FromFormat("<selvedge.Hook %R%s>", self->name, is_leaving(self) ? ", unregistered" : "");
}

static PyObject *hook_exit(hook_object *self, PyObject *unused) {
  PyObject *none = PyTuple_New(0), *result = NULL;
  (void)unused;
  if (none != NULL) result = hook_unregister(self, none, NULL);
  Py_XDECREF(none);
  return result;
}

static PyMethodDef hook_methods[] = {
  { "unregister", (PyCFunction)(void (*)(void))hook_unregister, METH_VARARGS | METH_KEYWORDS, unregister_doc },
  { "stats", (PyCFunction)(void (*)(void))hook_stats, METH_NOARGS, stats_doc },
  { "__enter__", hook_enter, METH_NOARGS, NULL },
  { "__exit__", (PyCFunction)(void (*)(void))hook_exit, METH_VARARGS, NULL },
  { NULL, NULL, 0, NULL },
};

static PyType_Slot hook_slots[] = {
  { Py_tp_doc, "A hook that is registered with a thread cache: see register_hook. As a context manager it is unregistered at the end.\n\n"
               "Dropping the object leaves the hook registered." },
  { Py_tp_dealloc, hook_dealloc },
  { Py_tp_repr, hook_repr },
  { Py_tp_traverse, cache_traverse_type },
  { Py_tp_methods, hook_methods },
  { 0, NULL },
};

PyType_Spec cache_hook_spec = {
  .name = "selvedge.Hook",
  .basicsize = sizeof(hook_object),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = hook_slots,
};

/* cache_job.c: start_thread_soon and submit: a Python function, run on a worker, and its outcome, delivered. */
#include "cache.h"

#include <stdio.h>

typedef struct job {
  cache_core *core;
  PyObject *fn, *deliver, *name; /* deliver, name: may be NULL */
  PyObject *outcome;             /* of fn, once it has run */
  PyObject *limiter;             /* that it takes a token of, until it is delivered; may be NULL */
} job;

/* ---- on the worker ---- */

static PyObject *caught(const cache_home *home) {
  PyObject *type, *error, *traceback, *outcome;
  PyErr_Fetch(&type, &error, &traceback);
  PyErr_NormalizeException(&type, &error, &traceback);
  if (traceback != NULL) (void)PyException_SetTraceback(error, traceback);
  outcome = PyObject_CallOneArg(home->error, error);
  Py_XDECREF(type);
  Py_XDECREF(error);
  Py_XDECREF(traceback);
  return outcome;
}

/* Calls in a context of its own, so that nothing of a job before is seen, nor left to one after. */
static PyObject *call_in_empty_context(PyObject *fn, PyObject *argument) {
  PyObject *result = NULL, *context = PyContext_New();
  if (context != NULL && PyContext_Enter(context) == 0) {
    result = argument != NULL ? PyObject_CallOneArg(fn, argument) : PyObject_CallNoArgs(fn);
    /* Fails only for a context that is not the current one. */
    if (PyContext_Exit(context) != 0) Py_CLEAR(result);
  }
  Py_XDECREF(context);
  return result;
}

static void set_name(const cache_home *home, PyObject *thread, PyObject *name) {
  if (PyObject_SetAttr(thread, home->name, name) != 0) PyErr_WriteUnraisable(thread);
}

static int32_t run(void *arg, void **out_value) {
  job *j = (job *)arg;
  cache_core *core = j->core;
  cache_thread *thread;
  PyObject *result;
  (void)out_value;
  /* Not as a visit: work belongs on a worker that keeps its state. Without one the delivery tells why. */
  if (selv_python_begin(core->python) != SELV_OK) return 1;
  core->home->inside++;
  thread = j->name != NULL ? cache_thread_current(core) : NULL;
  if (thread != NULL && thread->thread != NULL) set_name(core->home, thread->thread, j->name);
  result = call_in_empty_context(j->fn, NULL);
  if (result != NULL) {
    j->outcome = PyObject_CallOneArg(core->home->value, result);
    Py_DECREF(result);
  } else {
    j->outcome = caught(core->home);
  }
  /* Before the delivery: who hears of the outcome shall not find alive what only the function held. */
  Py_CLEAR(j->fn);
  if (thread != NULL && thread->thread != NULL) set_name(core->home, thread->thread, thread->name);
  core->home->inside--;
  (void)selv_python_end(core->python);
  return 0;
}

/* The library's text of a hook that failed, where that was a Python function, which has raised and returned no number. */
static void say_raised(char *said, size_t size, const char *text, PyObject *cause) {
  static const char returned[] = " returned -16";
  const char *at = strstr(text, returned);
  if (at == NULL) snprintf(said, size, "%s", text);
  else snprintf(said, size, "%.*s raised %s%s", (int)(at - text), text, Py_TYPE(cause)->tp_name, at + strlen(returned));
}

/* Why a job did not run, as outcome.Error. `text` is the library's. */
static PyObject *refused(const cache_core *core, const selv_outcome *outcome, const char *text) {
  const cache_home *home = core->home;
  PyObject *error, *made, *cause;
  char said[640];
  cause = outcome->status == SELV_E_HOOK_FAILED && outcome->code == SELV_E_HOOK_FAILED ? cache_hook_error_take() : NULL;
  if (cause != NULL) {
    say_raised(said, sizeof said, text, cause);
    text = said;
  }
  if (outcome->status == SELV_OK)
    error = PyObject_CallMethod(home->errors, "hook_failed", "is", SELV_E_HOOK_FAILED,
                                "the job's worker could not be made a thread of this Python interpreter");
  else if (outcome->status == SELV_E_HOOK_FAILED)
    error = PyObject_CallMethod(home->errors, "hook_failed", "is", (int)outcome->code, text);
  else
    error = PyObject_CallMethod(home->errors, "error", "is", (int)outcome->status, text);
  if (error == NULL) {
    Py_XDECREF(cause);
    return caught(home);
  }
  if (cause != NULL) PyException_SetCause(error, cause);
  made = PyObject_CallOneArg(home->error, error);
  Py_DECREF(error);
  return made;
}

static void hand_over(const cache_core *core, PyObject *deliver, PyObject *outcome) {
  PyObject *type, *error, *traceback, *result = NULL;
  if (outcome != NULL) result = call_in_empty_context(deliver, outcome);
  if (result != NULL) {
    Py_DECREF(result);
    return;
  }
  if (selvpy_gate_is_closed(core->home->gate)) {
    /* Python is ending, and what fails in a thread that nobody waits for is no news. */
    PyErr_Clear();
    return;
  }
  PyErr_Fetch(&type, &error, &traceback);
  PyErr_NormalizeException(&type, &error, &traceback);
  if (traceback != NULL) (void)PyException_SetTraceback(error, traceback);
  result = PyObject_CallOneArg(core->home->delivery_failed, error);
  if (result == NULL) PyErr_WriteUnraisable(deliver);
  Py_XDECREF(result);
  Py_XDECREF(type);
  Py_XDECREF(error);
  Py_XDECREF(traceback);
}

/* Frees it, attached. */
static void job_free(job *j) {
  cache_core *core = j->core;
  Py_XDECREF(j->fn);
  Py_XDECREF(j->deliver);
  Py_XDECREF(j->name);
  Py_XDECREF(j->outcome);
  Py_XDECREF(j->limiter);
  free(j);
  cache_core_release(core);
}

static void deliver(void *arg, const selv_outcome *outcome) {
  job *j = (job *)arg;
  PyObject *pending[3];
  cache_part part;
  char text[512];
  int failed = outcome->status != SELV_OK;
  if (failed) selv_last_error(text, sizeof text); /* before anything else can fail here */
  /* Once Python is ending the job's objects go with it. */
  if (!cache_part_begin(j->core, &part)) return;
  cache_delivery_begin();
  j->core->home->inside++;
  PyErr_Fetch(&pending[0], &pending[1], &pending[2]); /* a job that is cancelled is delivered inside that very call */
  if (j->outcome == NULL && (j->deliver != NULL || PyErr_Occurred())) j->outcome = refused(j->core, outcome, failed ? text : "");
  Py_CLEAR(j->fn);
  if (j->deliver != NULL) hand_over(j->core, j->deliver, j->outcome);
  if (failed) cache_hook_error_keep(NULL); /* of this job at the latest */
  PyErr_Restore(pending[0], pending[1], pending[2]);
  j->core->home->inside--;
  job_free(j);
  cache_part_end(&part);
  cache_delivery_end();
}

/* ---- Job: a handle ---- */

typedef struct job_object {
  PyObject_HEAD
  cache_home *home;
  selv_job *job;
} job_object;

static void job_dealloc(job_object *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  selv_job_release(self->job);
  if (self->home != NULL) cache_home_release(self->home);
  type->tp_free(self);
  Py_DECREF(type);
}

PyDoc_STRVAR(job_cancel_doc,
             "cancel($self, /)\n--\n\n"
             "Withdraws the job if no worker has begun it.\n\n"
             "True: it never runs, and its ``deliver`` has been called, inside this call, with an ``outcome.Error`` of CancelledError. False: it\n"
             "has begun, has ended, or was cancelled before. From any thread. In a fork child a job of the parent raises ForkedError.");

static PyObject *job_cancel(job_object *self, PyObject *unused) {
  selv_status status = selv_job_cancel(self->job);
  (void)unused;
  if (status == SELV_OK) Py_RETURN_TRUE;
  if (status == SELV_E_TOO_LATE) Py_RETURN_FALSE;
  return selvpy_raise(self->home->errors, status);
}

PyDoc_STRVAR(job_wait_doc,
             "wait($self, /, timeout=None)\n--\n\n"
             "Waits until ``deliver`` has returned, for ``timeout`` seconds at most (None: for ever), without the GIL.\n\n"
             "Raises TimedOutError; DeadlockError inside the job itself; ForkedError for a job of the parent process.");

static selv_status wait_for_job(void *job, uint64_t ns) { return selv_job_wait((selv_job *)job, ns, NULL); }

static PyObject *job_wait(job_object *self, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "timeout", NULL };
  PyObject *seconds = Py_None;
  uint64_t timeout;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:wait", names, &seconds) || selvpy_timeout(seconds, "timeout", &timeout) != 0)
    return NULL;
  if (cache_wait(self->home, wait_for_job, self->job, timeout) != 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *job_repr(job_object *self) {
  selv_status status = selv_job_wait(self->job, 0, NULL);
  const char *state = status == SELV_OK ? "delivered" : status == SELV_E_FORKED ? "of the parent process" : "not delivered yet";
  return PyUnicode_FromFormat("<selvedge.Job at %p, %s>", (void *)self, state);
}

static PyMethodDef job_methods[] = {
  { "cancel", (PyCFunction)(void (*)(void))job_cancel, METH_NOARGS, job_cancel_doc },
  { "wait", (PyCFunction)(void (*)(void))job_wait, METH_VARARGS | METH_KEYWORDS, job_wait_doc },
  { NULL, NULL, 0, NULL },
};

static PyType_Slot job_slots[] = {
  { Py_tp_doc, "A job that was given to ThreadCache.submit: to wait for it, or to cancel it. Dropping it does neither." },
  { Py_tp_dealloc, job_dealloc },
  { Py_tp_repr, job_repr },
  { Py_tp_traverse, cache_traverse_type },
  { Py_tp_methods, job_methods },
  { 0, NULL },
};

PyType_Spec cache_job_spec = {
  .name = "selvedge.Job",
  .basicsize = sizeof(job_object),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = job_slots,
};

/* ---- starting one ---- */

/* NULL with an exception set. */
static job *job_new(cache_core *core, PyObject *fn, PyObject *deliver, PyObject *name, const char **text) {
  job *j;
  *text = NULL;
  if (selvpy_gate_is_closed(core->home->gate))
    return selvpy_raise_named(core->home->errors, "ClosedResourceError", "Python is ending: no new jobs"), NULL;
  if (!PyCallable_Check(fn)) return PyErr_Format(PyExc_TypeError, "fn must be callable, not %.100s", Py_TYPE(fn)->tp_name), NULL;
  if (deliver != Py_None && !PyCallable_Check(deliver))
    return PyErr_Format(PyExc_TypeError, "deliver must be callable, not %.100s", Py_TYPE(deliver)->tp_name), NULL;
  if (name != Py_None) {
    if (!PyUnicode_Check(name)) return PyErr_Format(PyExc_TypeError, "name must be a str or None, not %.100s", Py_TYPE(name)->tp_name), NULL;
    *text = PyUnicode_AsUTF8(name);
    if (*text == NULL) return NULL;
  }
  j = (job *)calloc(1, sizeof *j);
  if (j == NULL) return PyErr_NoMemory(), NULL;
  j->core = cache_core_retain(core);
  j->fn = Py_NewRef(fn);
  if (deliver != Py_None) j->deliver = Py_NewRef(deliver);
  if (name != Py_None) j->name = Py_NewRef(name);
  return j;
}

/* One that was accepted may have been delivered, and freed, by now. */
static PyObject *started(const cache_core *core, job *j, selv_status status) {
  if (status == SELV_OK) Py_RETURN_NONE;
  (void)selvpy_raise(core->home->errors, status);
  job_free(j);
  return NULL;
}

static int cache_has_idle(const cache_core *core) {
  selv_cache_stats stats = SELV_CACHE_STATS_INIT;
  return selv_cache_get_stats(core->cache, &stats) == SELV_OK && stats.idle > 0;
}

/* start_thread_soon(fn, deliver, name=None). Parsed by hand: it is the fast path of the whole package. */
PyObject *cache_job_start(cache_object *cache, PyObject *const *args, Py_ssize_t count, PyObject *names) {
  static const char *const known[3] = { "fn", "deliver", "name" };
  PyObject *given[3] = { NULL, NULL, Py_None };
  const char *text;
  Py_ssize_t i, k, named = names != NULL ? PyTuple_GET_SIZE(names) : 0;
  job *j;
  selv_status status;
  if (count > 3) return PyErr_Format(PyExc_TypeError, "start_thread_soon takes fn, deliver and name, not %zd arguments", count);
  for (i = 0; i < count; i++) given[i] = args[i];
  for (i = 0; i < named; i++) {
    PyObject *name = PyTuple_GET_ITEM(names, i);
    for (k = 0; k < 3 && PyUnicode_CompareWithASCIIString(name, known[k]) != 0; k++) {}
    if (k == 3) return PyErr_Format(PyExc_TypeError, "start_thread_soon has no argument %R", name);
    if (k < count) return PyErr_Format(PyExc_TypeError, "start_thread_soon got %R twice", name);
    given[k] = args[count + i];
  }
  if (given[0] == NULL || given[1] == NULL)
    return PyErr_Format(PyExc_TypeError, "start_thread_soon needs %s", given[0] == NULL ? "fn and deliver" : "deliver");
  j = job_new(cache->core, given[0], given[1], given[2], &text);
  if (j == NULL) return NULL;
  /* Without the GIL: else the worker that is woken would run into it and sleep again until the caller waits for something, and where one is
   * started those that are there could not take up the next jobs meanwhile, so that a burst would start one for each of them. But not while
   * a job is in Python: it may be one that never waits, and would keep the GIL from the caller for a switch interval each time. */
  if (cache->core->home->inside > 0 && cache_has_idle(cache->core)) {
    status = selv_start_thread_soon(cache->core->cache, run, deliver, j, text);
  } else {
    Py_BEGIN_ALLOW_THREADS
    status = selv_start_thread_soon(cache->core->cache, run, deliver, j, text);
    Py_END_ALLOW_THREADS
  }
  return started(cache->core, j, status);
}

/* A CapacityLimiter of selvedge.sync, a face of one, or the address of a native one. `*kept`: what is to live until the job is delivered. */
static int read_limiter(PyObject *given, selv_limiter **limiter, PyObject **kept) {
  PyObject *name, *module, *type = NULL, *native = NULL, *number = NULL;
  void *address = NULL;
  int failed;
  *kept = NULL;
  if (PyLong_Check(given)) {
    failed = selvpy_address(given, "limiter", &address);
    *limiter = (selv_limiter *)address;
    return failed;
  }
  /* Who has a limiter has imported its module. */
  name = PyUnicode_FromString("selvedge._sync");
  if (name == NULL) return -1;
  module = PyImport_GetModule(name);
  Py_DECREF(name);
  if (module == NULL && PyErr_Occurred()) return -1;
  if (module != NULL) {
    type = PyObject_GetAttrString(module, "CapacityLimiter");
    Py_DECREF(module);
    if (type == NULL) return -1;
    native = PyObject_GetAttrString(given, "native");
    if (native == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) {
      Py_DECREF(type);
      return -1;
    }
    PyErr_Clear();
  }
  if (native != NULL && PyObject_TypeCheck(native, (PyTypeObject *)type)) number = PyObject_GetAttrString(native, "address");
  else
    PyErr_Format(PyExc_TypeError, "limiter must be a CapacityLimiter, the address of a native one or None, not %.100s", Py_TYPE(given)->tp_name);
  Py_XDECREF(type);
  failed = number == NULL || selvpy_address(number, "limiter", &address) != 0;
  Py_XDECREF(number);
  if (failed) {
    Py_XDECREF(native);
    return -1;
  }
  *limiter = (selv_limiter *)address;
  *kept = native;
  return 0;
}

PyObject *cache_job_submit(cache_object *cache, PyObject *args, PyObject *kwargs) {
  static char *names[] = { "fn", "deliver", "name", "limiter", NULL };
  selv_job_options options = SELV_JOB_OPTIONS_INIT;
  cache_state *state = (cache_state *)selvpy_state_of_type(Py_TYPE(cache), &cache_module);
  PyObject *fn, *deliver_fn = Py_None, *name = Py_None, *limiter = Py_None, *kept = NULL;
  job_object *handle;
  selv_status status;
  job *j;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO$O:submit", names, &fn, &deliver_fn, &name, &limiter)) return NULL;
  if (limiter != Py_None && read_limiter(limiter, &options.limiter, &kept) != 0) return NULL;
  handle = PyObject_GC_New(job_object, state->job_type);
  if (handle == NULL) {
    Py_XDECREF(kept);
    return NULL;
  }
  handle->job = NULL;
  handle->home = cache_home_retain(cache->core->home);
  j = job_new(cache->core, fn, deliver_fn, name, &options.name);
  if (j == NULL) Py_XDECREF(kept);
  if (j != NULL) {
    PyObject *done;
    j->limiter = kept;
    options.fn = run;
    options.deliver = deliver;
    options.arg = j;
    Py_BEGIN_ALLOW_THREADS
    status = selv_cache_submit(cache->core->cache, &options, &handle->job);
    Py_END_ALLOW_THREADS
    done = started(cache->core, j, status);
    if (done != NULL) {
      Py_DECREF(done);
      PyObject_GC_Track(handle);
      return (PyObject *)handle;
    }
  }
  Py_DECREF(handle);
  return NULL;
}

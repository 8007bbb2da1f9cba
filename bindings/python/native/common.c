/* common.c: see common.h. */
#include "common.h"

#include <link.h>
#include <math.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <time.h>

/* ---- errors ---- */

int selvpy_errors_load(PyObject **errors) {
  *errors = PyImport_ImportModule("selvedge._errors");
  return *errors != NULL ? 0 : -1;
}

PyObject *selvpy_error(PyObject *errors, selv_status status) {
  char short_text[512], *text = short_text;
  size_t length = selv_last_error(short_text, sizeof short_text);
  PyObject *decoded, *made;
  if (length >= sizeof short_text) {
    /* A ring of many tasks. */
    text = (char *)PyMem_Malloc(length + 1);
    if (text == NULL) return PyErr_NoMemory();
    (void)selv_last_error(text, length + 1);
  }
  if (length == 0) decoded = PyUnicode_FromString(selv_status_text(status));
  else decoded = PyUnicode_DecodeUTF8(text, (Py_ssize_t)length, "replace");
  if (text != short_text) PyMem_Free(text);
  if (decoded == NULL) return NULL;
  made = PyObject_CallMethod(errors, "error", "iO", (int)status, decoded);
  Py_DECREF(decoded);
  return made;
}

PyObject *selvpy_raise(PyObject *errors, selv_status status) {
  PyObject *error = selvpy_error(errors, status);
  if (error != NULL) {
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
  }
  return NULL;
}

PyObject *selvpy_raise_named(PyObject *errors, const char *name, const char *text) {
  PyObject *kind = PyObject_GetAttrString(errors, name);
  if (kind != NULL) {
    PyErr_SetString(kind, text);
    Py_DECREF(kind);
  }
  return NULL;
}

/* ---- arguments ---- */

int selvpy_timeout(PyObject *seconds, const char *what, uint64_t *ns) {
  double value;
  if (seconds == NULL || seconds == Py_None) {
    *ns = SELV_FOREVER;
    return 0;
  }
  value = PyFloat_AsDouble(seconds);
  if (value == -1.0 && PyErr_Occurred()) {
    if (PyErr_ExceptionMatches(PyExc_TypeError)) {
      PyErr_Format(PyExc_TypeError, "%s must be a number of seconds or None, not %.100s", what, Py_TYPE(seconds)->tp_name);
      return -1;
    }
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return -1;
    PyErr_Clear(); /* an int beyond every float */
    value = HUGE_VAL;
  }
  if (isnan(value) || value < 0.0) {
    PyErr_Format(PyExc_ValueError, "%s must be at least 0 seconds, not %R", what, seconds);
    return -1;
  }
  /* Five hundred years and more are for ever; the two highest numbers have a meaning of their own. */
  *ns = value >= 1.8e10 ? SELV_FOREVER : (uint64_t)ceil(value * 1e9);
  return 0;
}

int selvpy_address(PyObject *number, const char *what, void **address) {
  size_t value;
  if (!PyLong_Check(number) || PyBool_Check(number)) {
    PyErr_Format(PyExc_TypeError, "%s must be an address, an int, not %.100s", what, Py_TYPE(number)->tp_name);
    return -1;
  }
  value = PyLong_AsSize_t(number);
  if (value == (size_t)-1 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return -1;
    PyErr_Clear();
    value = 0;
  }
  if (value < 4096) {
    PyErr_Format(PyExc_ValueError, "%s cannot be at address %R", what, number);
    return -1;
  }
  *address = (void *)(uintptr_t)value;
  return 0;
}

/* ---- waiting ---- */

#define LOOK_EVERY_NS UINT64_C(200000000)

uint64_t selvpy_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void selvpy_sleep(selv_host_loop *loop, uint64_t until) {
  struct pollfd fd = { selv_host_loop_fd(loop), POLLIN, 0 };
  uint64_t now = selvpy_now_ns(), ns = LOOK_EVERY_NS;
  struct timespec time;
  if (until <= now) ns = 0;
  else if (until - now < ns) ns = until - now;
  time.tv_sec = (time_t)(ns / 1000000000u);
  time.tv_nsec = (long)(ns % 1000000000u);
  Py_BEGIN_ALLOW_THREADS
  (void)ppoll(&fd, 1, &time, NULL);
  Py_END_ALLOW_THREADS
}

/* ---- the module ---- */

typedef struct found_libraries {
  unsigned count;
  char paths[2][512];
} found_libraries;

static int find_library(struct dl_phdr_info *info, size_t size, void *data) {
  found_libraries *found = (found_libraries *)data;
  const char *base = strrchr(info->dlpi_name, '/');
  (void)size;
  base = base != NULL ? base + 1 : info->dlpi_name;
  if (strncmp(base, "libselvedge.so", strlen("libselvedge.so")) == 0) {
    if (found->count < 2) snprintf(found->paths[found->count], sizeof found->paths[0], "%s", info->dlpi_name);
    found->count++;
  }
  return 0;
}

static int parse_version(const char *text, unsigned parts[3]) {
  return sscanf(text, "%u.%u.%u", &parts[0], &parts[1], &parts[2]) == 3;
}

static int is_older(const char *have, const char *want) {
  unsigned a[3], b[3];
  int i;
  if (!parse_version(have, a) || !parse_version(want, b)) return 1;
  for (i = 0; i < 3; i++)
    if (a[i] != b[i]) return a[i] < b[i];
  return 0;
}

int selvpy_check_library(void) {
  found_libraries found;
  memset(&found, 0, sizeof found);
  (void)dl_iterate_phdr(find_library, &found);
  if (found.count > 1) {
    PyErr_Format(PyExc_ImportError,
                 "this process has loaded two libselvedge, %s and %s: they would keep two thread caches that know nothing of each "
                 "other. Host and package must use the same one",
                 found.paths[0], found.paths[1]);
    return -1;
  }
  if (selv_abi_version() != SELV_ABI_VERSION || is_older(selv_version(), SELVPY_VERSION)) {
    PyErr_Format(PyExc_ImportError,
                 "the libselvedge of this process (%s) has version %s and ABI %u; this package was built for version %s or later "
                 "with ABI %u",
                 found.count == 1 ? found.paths[0] : "linked into the host", selv_version(), (unsigned)selv_abi_version(),
                 SELVPY_VERSION, (unsigned)SELV_ABI_VERSION);
    return -1;
  }
  return 0;
}

void *selvpy_state_of_type(PyTypeObject *type, PyModuleDef *def) {
#if PY_VERSION_HEX >= 0x030B0000
  return PyModule_GetState(PyType_GetModuleByDef(type, def));
#else
  PyObject *mro = type->tp_mro;
  Py_ssize_t i;
  for (i = 0; i < PyTuple_GET_SIZE(mro); i++) {
    PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
    PyObject *module;
    if (!PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE)) continue;
    module = ((PyHeapTypeObject *)base)->ht_module;
    if (module != NULL && PyModule_GetDef(module) == def) return PyModule_GetState(module);
  }
  return NULL;
#endif
}

int selvpy_at_exit(PyObject *callable) { return selv_python_impl_atexit_call("register", callable); }

/* ---- visits ---- */

#define GATE_CLOSED 0x80000000u

struct selvpy_gate {
  uint32_t references;
  uint32_t word; /* threads that are inside, and the bit CLOSED */
  PyInterpreterState *interp;
  long process; /* a fork child inherits the number of threads that it does not have */
  sem_t left;   /* posted by the last who leaves a closed gate */
};

/* Every access is sequentially consistent: who enters raises the count and then looks for the bit, who closes sets the bit and then looks
 * at the count, and one of them sees the other. */
static int gate_enter(selvpy_gate *gate) {
  if ((__atomic_fetch_add(&gate->word, 1u, __ATOMIC_SEQ_CST) & GATE_CLOSED) == 0) return 1;
  if (__atomic_sub_fetch(&gate->word, 1u, __ATOMIC_SEQ_CST) == GATE_CLOSED) sem_post(&gate->left);
  return 0;
}

static void gate_leave(selvpy_gate *gate) {
  if (__atomic_sub_fetch(&gate->word, 1u, __ATOMIC_SEQ_CST) == GATE_CLOSED) sem_post(&gate->left);
}

int selvpy_gate_is_closed(const selvpy_gate *gate) { return (__atomic_load_n(&gate->word, __ATOMIC_SEQ_CST) & GATE_CLOSED) != 0; }

/* Those inside wait for the GIL, which is free while this waits; so it ends soon. The limit is for a machine that has stopped. */
static void gate_close(selvpy_gate *gate) {
  struct timespec until;
  if (__atomic_fetch_or(&gate->word, GATE_CLOSED, __ATOMIC_SEQ_CST) & GATE_CLOSED) return;
  if ((long)getpid() != gate->process) return;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 5;
  while ((__atomic_load_n(&gate->word, __ATOMIC_SEQ_CST) & ~GATE_CLOSED) != 0)
    if (sem_timedwait(&gate->left, &until) != 0 && errno != EINTR) return;
}

selvpy_gate *selvpy_gate_retain(selvpy_gate *gate) {
  __atomic_fetch_add(&gate->references, 1u, __ATOMIC_RELAXED);
  return gate;
}

void selvpy_gate_release(selvpy_gate *gate) {
  if (gate == NULL || __atomic_sub_fetch(&gate->references, 1u, __ATOMIC_ACQ_REL) != 0) return;
  sem_destroy(&gate->left);
  free(gate);
}

PyInterpreterState *selvpy_gate_interpreter(const selvpy_gate *gate) { return gate->interp; }

#define GATE_CAPSULE "selvedge.gate"

static PyObject *gate_at_exit(PyObject *capsule, PyObject *unused) {
  selvpy_gate *gate = (selvpy_gate *)PyCapsule_GetPointer(capsule, GATE_CAPSULE);
  (void)unused;
  if (gate == NULL) return NULL;
  Py_BEGIN_ALLOW_THREADS
  gate_close(gate);
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

/* The interpreter has been cleared, maybe without having called its exit callbacks: see gate_register. */
static void gate_callable_gone(PyObject *capsule) {
  selvpy_gate *gate = (selvpy_gate *)PyCapsule_GetPointer(capsule, GATE_CAPSULE);
  if (gate == NULL) {
    PyErr_Clear();
    return;
  }
  __atomic_fetch_or(&gate->word, GATE_CLOSED, __ATOMIC_SEQ_CST);
  selvpy_gate_release(gate);
}

/* The interpreter keeps the callable, too: a child of multiprocessing empties the list of exit callbacks, and goes on. */
static int gate_register(const selvpy_gate *gate, PyObject *callable) {
  PyObject *dict = PyInterpreterState_GetDict(gate->interp), *key;
  int failed;
  if (dict == NULL) {
    PyErr_SetString(PyExc_SystemError, "the interpreter has no dict");
    return -1;
  }
  key = PyUnicode_FromFormat("selvedge.gate %p", (const void *)gate);
  failed = key == NULL || PyDict_SetItem(dict, key, callable) != 0 || selvpy_at_exit(callable) != 0;
  Py_XDECREF(key);
  return failed ? -1 : 0;
}

selvpy_gate *selvpy_gate_new(void) {
  static PyMethodDef method = { "selvedge_close_gate", gate_at_exit, METH_NOARGS, NULL };
  PyObject *capsule, *callable;
  selvpy_gate *gate = (selvpy_gate *)calloc(1, sizeof *gate);
  int failed;
  if (gate == NULL) {
    PyErr_NoMemory();
    return NULL;
  }
  selv_python_impl_guard_forks();
  sem_init(&gate->left, 0, 0);
  gate->references = 2; /* the caller's and the capsule's */
  gate->interp = PyInterpreterState_Get();
  gate->process = (long)getpid();
  capsule = PyCapsule_New(gate, GATE_CAPSULE, gate_callable_gone);
  if (capsule == NULL) {
    selvpy_gate_release(gate);
    selvpy_gate_release(gate);
    return NULL;
  }
  callable = PyCFunction_New(&method, capsule);
  Py_DECREF(capsule);
  failed = callable == NULL || gate_register(gate, callable) != 0;
  Py_XDECREF(callable);
  if (failed) {
    selvpy_gate_release(gate);
    return NULL;
  }
  return gate;
}

int selvpy_visit_begin(selvpy_gate *gate, selvpy_visit *visit) {
  PyThreadState *current = selv_python_impl_current(), *bound;
  memset(visit, 0, sizeof *visit);
  if (current != NULL && PyThreadState_GetInterpreter(current) == gate->interp) return 1;
  if (!gate_enter(gate)) return 0;
  /* Inside a part of another interpreter: its GIL is not held while ours is waited for. */
  if (current != NULL) visit->other = PyEval_SaveThread();
  bound = PyGILState_GetThisThreadState();
  if (bound != NULL && bound != visit->other && PyThreadState_GetInterpreter(bound) == gate->interp) {
    visit->restored = 1;
    PyEval_RestoreThread(bound);
  } else {
    visit->made = selv_python_impl_make(gate->interp);
    if (visit->made != NULL) PyEval_RestoreThread(visit->made);
    else if (visit->other != NULL) PyEval_RestoreThread(visit->other);
  }
  gate_leave(gate);
  return visit->restored || visit->made != NULL;
}

void selvpy_visit_end(const selvpy_visit *visit) {
  if (visit->made != NULL) {
    PyThreadState_Clear(visit->made);
    PyThreadState_DeleteCurrent();
  } else if (visit->restored) {
    (void)PyEval_SaveThread();
  }
  if (visit->other != NULL) PyEval_RestoreThread(visit->other);
}

/* python_probe.h: what the CPython tests share: an interpreter with a cache beside it, and jobs that run a line of Python and
 * remember what they saw. The checks are in check.h, the jobs that hold their worker in probe.h. */
#ifndef SELV_C_TESTS_PYTHON_PROBE_H
#define SELV_C_TESTS_PYTHON_PROBE_H

#include <selvedge/python.h>

#include "../probe.h"

/* ---- Python, attached ---- */

static inline void py_fail(const char *file, int line, const char *what) {
  if (PyErr_Occurred()) PyErr_Print();
  check_fail(file, line, "Python could not do: %s", what);
}

static inline void py_run_at(const char *file, int line, const char *code) {
  PyObject *globals = PyModule_GetDict(PyImport_AddModule("__main__"));
  PyObject *result = PyRun_String(code, Py_file_input, globals, globals);
  if (result == NULL) py_fail(file, line, code);
  Py_DECREF(result);
}
#define PY_RUN(code) py_run_at(__FILE__, __LINE__, (code))

static inline long py_long_at(const char *file, int line, const char *expression) {
  PyObject *globals = PyModule_GetDict(PyImport_AddModule("__main__"));
  PyObject *result = PyRun_String(expression, Py_eval_input, globals, globals);
  long number = result != NULL ? PyLong_AsLong(result) : -1;
  if (PyErr_Occurred()) py_fail(file, line, expression);
  Py_DECREF(result);
  return number;
}
#define PY_LONG(expression) py_long_at(__FILE__, __LINE__, (expression))

/* -1 means that CPython could not flush or finalise properly. */
#define PY_FINALIZE() CHECK(Py_FinalizeEx() == 0)

/* Registers with these flags; attached. */
static inline selv_hook *py_register(selv_cache *c, uint32_t flags, uint64_t shutdown_timeout_ns) {
  selv_python_options options = SELV_PYTHON_OPTIONS_INIT;
  selv_hook *hook = NULL;
  options.flags = flags;
  options.shutdown_timeout_ns = shutdown_timeout_ns;
  CHECK_OK(selv_python_register(c, NULL, &options, &hook));
  CHECK(hook != NULL);
  return hook;
}

/* How many threads are in the middle of attaching, or of taking the GIL for a part: those that passed the preset's gate. */
static inline uint32_t py_at_gate(selv_hook *hook) {
  return __atomic_load_n(&((selv_python_impl *)selv_hook_user(hook))->gate, __ATOMIC_SEQ_CST) & ~SELV_PYTHON_IMPL_CLOSED;
}

/* ---- jobs ---- */

/* A job that brackets one expression with begin and end. */
typedef struct py_part {
  selv_hook *hook;
  const char *expression; /* NULL: enters the part and does nothing that could give the GIL away */
  selv_status began, ended;
  long number;
  void *slot;
} py_part;

static inline int32_t py_part_run(void *arg, void **out_value) {
  py_part *part = (py_part *)arg;
  *out_value = NULL;
  part->slot = selv_hook_slot(part->hook);
  part->began = selv_python_begin(part->hook);
  if (part->began != SELV_OK) return 1;
  if (part->expression != NULL) part->number = PY_LONG(part->expression);
  part->ended = selv_python_end(part->hook);
  return 0;
}

/* Runs the part on a worker and gives its number; the caller does not hold the GIL. */
static inline long py_number_of(selv_cache *c, selv_hook *hook, const char *expression) {
  py_part part;
  selv_outcome outcome;
  memset(&part, 0, sizeof part);
  part.hook = hook;
  part.expression = expression;
  CHECK_OK(selv_cache_run(c, py_part_run, &part, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_OK(part.began);
  CHECK_OK(part.ended);
  return part.number;
}

/* Attaches `n` workers and leaves them idle; the caller does not hold the GIL. */
static inline void py_warm(selv_cache *c, selv_hook *hook, uint64_t n) {
  probe_warm(c, n);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, n);
}

/* A job that holds its worker until p.go, then tries a part. */
typedef struct py_held {
  probe p;
  py_part part;
} py_held;

static inline int32_t py_held_run(void *arg, void **out_value) {
  py_held *held = (py_held *)arg;
  int32_t code = probe_hold(&held->p, out_value);
  (void)py_part_run(&held->part, out_value);
  return code;
}

static inline void py_held_deliver(void *arg, const selv_outcome *outcome) { probe_deliver(&((py_held *)arg)->p, outcome); }

static inline void py_held_start(selv_cache *c, selv_hook *hook, py_held *held) {
  memset(held, 0, sizeof *held);
  probe_init(&held->p);
  held->part.hook = hook;
  CHECK_OK(selv_start_thread_soon(c, py_held_run, py_held_deliver, held, "held"));
}

/* Ends cache and hook after Python's end: nothing of it may be left to happen to the workers. */
static inline void py_end_cache(selv_cache *c, selv_hook *hook) {
  selv_hook_release(hook);
  probe_end(c);
}

#endif

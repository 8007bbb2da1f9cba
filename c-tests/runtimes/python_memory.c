/* What a registration allocates is freed once, whichever of its two owners goes last: the hook, or the atexit callable. */
#include <Python.h>

#include <stdlib.h>

static long allocated = 0;

static void *counted(void *memory) {
  if (memory != NULL) __atomic_fetch_add(&allocated, 1, __ATOMIC_SEQ_CST);
  return memory;
}

static void counted_free(void *memory) {
  if (memory != NULL) __atomic_fetch_sub(&allocated, 1, __ATOMIC_SEQ_CST);
  free(memory);
}

/* The preset is compiled here, so its calls can be counted here. */
#define calloc(count, size) counted(calloc((count), (size)))
#define malloc(size) counted(malloc(size))
#define free counted_free
#include <selvedge/python.h>
#undef calloc
#undef malloc
#undef free

#include "python_probe.h"

#define PER_REGISTRATION 2 /* the data, the name */

static long balance(void) { return __atomic_load_n(&allocated, __ATOMIC_SEQ_CST); }

static void unregistered_attached(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  CHECK_EQ_U64(balance(), PER_REGISTRATION);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  CHECK_EQ_U64(balance(), 0);
  PY_FINALIZE();
  py_end_cache(c, hook);
}

static void unregistered_detached(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  main_state = PyEval_SaveThread();
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  CHECK_EQ_U64(balance(), PER_REGISTRATION); /* the callable, inert, is still in atexit's list */
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
  CHECK_EQ_U64(balance(), 0);
  py_end_cache(c, hook);
}

static void not_unregistered(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  Py_InitializeEx(0);
  hook = py_register(c, 0, SELV_FOREVER);
  main_state = PyEval_SaveThread();
  py_warm(c, hook, 2);
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
  CHECK_EQ_U64(balance(), 0);
  py_end_cache(c, hook);
}

/* Here the hook is the last owner: a worker that Python did not get back still has it started. */
static void outlived(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  py_held held;
  Py_InitializeEx(0);
  hook = py_register(c, 0, SELV_NO_WAIT);
  main_state = PyEval_SaveThread();
  py_held_start(c, hook, &held);
  CHECK_WAIT(&held.p.entered, 1);
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
  CHECK_EQ_U64(balance(), PER_REGISTRATION);
  check_tally_add(&held.p.go, 1);
  CHECK_WAIT(&held.p.delivered, 1);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  CHECK_EQ_U64(balance(), 0);
  py_end_cache(c, hook);
}

static void refused(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook, *second = NULL;
  selv_python_options options = SELV_PYTHON_OPTIONS_INIT;
  Py_InitializeEx(0);
  hook = py_register(c, SELV_PYTHON_HOLD_GIL, 0);
  options.flags = SELV_PYTHON_HOLD_GIL;
  CHECK_STATUS(selv_python_register(c, NULL, &options, &second), SELV_E_INVAL);
  CHECK_EQ_U64(balance(), PER_REGISTRATION);
  PY_RUN("import sys, atexit\nsys.modules['atexit'] = None");
  options.flags = 0;
  CHECK_STATUS(selv_python_register(c, NULL, &options, &second), SELV_E_HOOK_FAILED);
  PyErr_Clear();
  PY_RUN("sys.modules['atexit'] = atexit");
  CHECK_EQ_U64(balance(), PER_REGISTRATION);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  CHECK_EQ_U64(balance(), 0);
  PY_FINALIZE();
  py_end_cache(c, hook);
}

int main(void) {
  CHECK_RUN(unregistered_attached);
  CHECK_RUN(unregistered_detached);
  CHECK_RUN(not_unregistered);
  CHECK_RUN(outlived);
  CHECK_RUN(refused);
  return 0;
}

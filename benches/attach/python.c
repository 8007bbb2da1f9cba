/* One call of a Python function in every job: with the state that the preset's hook keeps on the worker, and with
 * PyGILState_Ensure and _Release around the call on a worker that keeps none. */
#include <selvedge/python.h>

#include "attach.h"

static selv_hook *python;
static PyObject *function;

static int32_t call(void) {
  PyObject *result = PyObject_CallNoArgs(function);
  if (result == NULL) {
    PyErr_Print();
    return 1;
  }
  Py_DECREF(result);
  return 0;
}

static int32_t with_hooks(void *arg, void **out_value) {
  int32_t code = 1;
  (void)arg;
  (void)out_value;
  if (selv_python_begin(python) == SELV_OK) {
    code = call();
    selv_python_end(python);
  }
  return code;
}

static int32_t per_job(void *arg, void **out_value) {
  PyGILState_STATE state = PyGILState_Ensure();
  int32_t code = call();
  PyGILState_Release(state);
  (void)arg;
  (void)out_value;
  return code;
}

int main(void) {
  selv_cache *bare, *hooked;
  PyObject *globals;
  PyThreadState *main_state;
  must(selv_cache_new(NULL, &bare), "selv_cache_new");
  must(selv_cache_new(NULL, &hooked), "selv_cache_new");
  Py_Initialize();
  globals = PyDict_New();
  function = globals == NULL ? NULL : PyRun_String("lambda: 1", Py_eval_input, globals, globals);
  if (function == NULL) {
    PyErr_Print();
    return 1;
  }
  must(selv_python_register(hooked, NULL, NULL, &python), "selv_python_register");
  main_state = PyEval_SaveThread();
  serve(bare, hooked, with_hooks, per_job);
  must(selv_cache_shutdown(bare, 0, SELV_FOREVER, NULL), "selv_cache_shutdown");
  PyEval_RestoreThread(main_state);
  must(selv_python_unregister(python, SELV_FOREVER, NULL), "selv_python_unregister");
  selv_hook_release(python);
  Py_DECREF(function);
  Py_DECREF(globals);
  if (Py_FinalizeEx() != 0) {
    return 1;
  }
  must(selv_cache_shutdown(hooked, 0, SELV_FOREVER, NULL), "selv_cache_shutdown");
  selv_cache_release(hooked);
  selv_cache_release(bare);
  return 0;
}

/* An exception that a part leaves behind is reported once, by name, and is gone before the next part; SystemExit ends nothing. */
#include "python_probe.h"

typedef struct raising {
  selv_hook *hook;
  const char *code;
} raising;

static int32_t raise_it(void *arg, void **out_value) {
  raising *r = (raising *)arg;
  PyObject *globals, *result;
  *out_value = NULL;
  CHECK_OK(selv_python_begin(r->hook));
  CHECK(!PyErr_Occurred());
  globals = PyModule_GetDict(PyImport_AddModule("__main__"));
  result = PyRun_String(r->code, Py_file_input, globals, globals);
  CHECK(result == NULL);
  CHECK_OK(selv_python_end(r->hook));
  CHECK_OK(selv_python_begin(r->hook));
  CHECK(!PyErr_Occurred());
  CHECK_OK(selv_python_end(r->hook));
  return 0;
}

static void raised_in(selv_cache *c, selv_hook *hook, const char *code) {
  selv_outcome outcome;
  raising r;
  r.hook = hook;
  r.code = code;
  CHECK_OK(selv_cache_run(c, raise_it, &r, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
}

static int errors = 0;

static void note_error(void *arg, const char *hook_name) {
  CHECK_STR(hook_name, "speaker");
  CHECK_STR((const char *)arg, "the host's own");
  CHECK(PyErr_ExceptionMatches(errors == 0 ? PyExc_ZeroDivisionError : PyExc_SystemExit));
  errors++; /* and leaves it set, which must not matter */
}

int main(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook, *speaker = NULL;
  PyThreadState *main_state;
  selv_python_options options = SELV_PYTHON_OPTIONS_INIT;
  char argument[] = "the host's own";
  Py_InitializeEx(0);
  PY_RUN("import sys\n"
         "seen = []\n"
         "sys.unraisablehook = lambda u: seen.append((u.exc_type, str(u.exc_value), u.object, u.exc_traceback is not None))");
  hook = py_register(c, 0, 0);
  main_state = PyEval_SaveThread();
  raised_in(c, hook, "1 / 0");
  raised_in(c, hook, "raise SystemExit(3)");
  PyEval_RestoreThread(main_state);
  CHECK_EQ_U64(PY_LONG("len(seen)"), 2);
  CHECK(PY_LONG("seen[0][0] is ZeroDivisionError and seen[0][3] and seen[1][0] is SystemExit"));
  CHECK(PY_LONG("'\"python\"' in seen[0][2]"));
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  options.name = "speaker";
  options.on_error = note_error;
  options.on_error_arg = argument;
  CHECK_OK(selv_python_register(c, NULL, &options, &speaker));
  main_state = PyEval_SaveThread();
  raised_in(c, speaker, "1 / 0");
  raised_in(c, speaker, "raise SystemExit(3)");
  CHECK_EQ_U64(errors, 2);
  PyEval_RestoreThread(main_state);
  CHECK_EQ_U64(PY_LONG("len(seen)"), 2);
  CHECK_OK(selv_python_unregister(speaker, SELV_FOREVER, NULL));
  PY_FINALIZE();
  selv_hook_release(hook);
  py_end_cache(c, speaker);
  return 0;
}

/* SELV_PYTHON_THREADING_TRACE: the functions of threading.settrace and setprofile see the jobs, from the first job to the last of
 * a worker; without the flag they do not. */
#include "python_probe.h"

static void jobs_seen(uint32_t flags, int expected) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  Py_InitializeEx(0);
  hook = py_register(c, flags, 0);
  PY_RUN("import threading\n"
         "traced, profiled = [], []\n"
         "def trace(frame, event, arg):\n"
         "  if event == 'call' and frame.f_code.co_name == 'work': traced.append(threading.get_ident())\n"
         "def profile(frame, event, arg):\n"
         "  if event == 'call' and frame.f_code.co_name == 'work': profiled.append(threading.get_ident())\n"
         "def work(): return 1\n"
         "threading.settrace(trace)\n"
         "threading.setprofile(profile)\n");
  main_state = PyEval_SaveThread();
  CHECK_EQ_U64(py_number_of(c, hook, "work()"), 1);
  CHECK_EQ_U64(py_number_of(c, hook, "work()"), 1);
  CHECK_EQ_U64(probe_stats(c).started, 1);
  PyEval_RestoreThread(main_state);
  CHECK_EQ_U64(PY_LONG("len(traced)"), expected);
  CHECK_EQ_U64(PY_LONG("len(profiled)"), expected);
  CHECK(PY_LONG("threading.get_ident() not in traced"));
  PY_RUN("threading.settrace(None)\nthreading.setprofile(None)");
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  PY_FINALIZE();
  py_end_cache(c, hook);
}

static void with_the_flag(void) { jobs_seen(SELV_PYTHON_THREADING_TRACE, 2); }
static void without_the_flag(void) { jobs_seen(0, 0); }

int main(void) {
  CHECK_RUN(with_the_flag);
  CHECK_RUN(without_the_flag);
  return 0;
}

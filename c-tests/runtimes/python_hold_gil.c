/* SELV_PYTHON_HOLD_GIL: fn runs with the GIL, deliver without it; whatever a job leaves behind is put right before the next;
 * two hooks that hold a GIL are refused. */
#include "python_probe.h"

static int errors = 0;

static void count_error(void *arg, const char *hook_name) {
  (void)arg;
  CHECK(PyErr_ExceptionMatches(PyExc_ValueError));
  CHECK_STR(hook_name, "holder");
  errors++;
}

static int32_t uses_python(void *arg, void **out_value) {
  selv_hook *hook = (selv_hook *)arg;
  *out_value = NULL;
  CHECK((void *)PyThreadState_Get() == selv_hook_slot(hook));
  CHECK(!PyErr_Occurred());
  return (int32_t)PY_LONG("40 + 2");
}

static int32_t leaves_an_exception(void *arg, void **out_value) {
  (void)arg;
  *out_value = NULL;
  PyErr_SetString(PyExc_ValueError, "left behind");
  return 0;
}

static int32_t leaves_without_the_gil(void *arg, void **out_value) {
  (void)arg;
  *out_value = NULL;
  PyErr_SetString(PyExc_ValueError, "left behind, and the GIL given away");
  (void)PyEval_SaveThread();
  return 0;
}

static int32_t leaves_parts_open(void *arg, void **out_value) {
  *out_value = NULL;
  CHECK_OK(selv_python_begin((selv_hook *)arg));
  CHECK_OK(selv_python_begin((selv_hook *)arg));
  return 0;
}

static int32_t ends_its_parts(void *arg, void **out_value) {
  selv_hook *hook = (selv_hook *)arg;
  *out_value = NULL;
  CHECK_OK(selv_python_begin(hook));
  CHECK_OK(selv_python_end(hook));
  CHECK((void *)PyThreadState_Get() == selv_hook_slot(hook)); /* the job's own hold is not over */
  return 0;
}

static selv_hook *job_hook;
static int delivered_with_gil = 0;
static check_tally delivered = CHECK_TALLY_INIT;

static void deliver_checks(void *arg, const selv_outcome *outcome) {
  (void)arg;
  (void)outcome;
  if (selv_python_impl_current() != NULL) delivered_with_gil = 1;
  check_tally_add(&delivered, 1);
}

static void run(selv_cache *c, selv_job_fn fn, int32_t code) {
  selv_outcome outcome;
  CHECK_OK(selv_cache_run(c, fn, job_hook, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_EQ_U64(outcome.code, code);
}

int main(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *lazy, *second = NULL;
  selv_hook *both[2];
  PyThreadState *main_state;
  selv_python_options options = SELV_PYTHON_OPTIONS_INIT;
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  Py_InitializeEx(0);
  options.flags = SELV_PYTHON_HOLD_GIL;
  options.name = "holder";
  options.on_error = count_error;
  CHECK_OK(selv_python_register(c, NULL, &options, &job_hook));
  /* What the refused one gave to atexit it takes back. */
  PY_RUN("import atexit\n"
         "listed, register, unregister = set(), atexit.register, atexit.unregister\n"
         "atexit.register = lambda f: (listed.add(f), register(f))\n"
         "atexit.unregister = lambda f: (listed.remove(f), unregister(f))");
  CHECK_STATUS(selv_python_register(c, NULL, &options, &second), SELV_E_INVAL);
  CHECK(second == NULL);
  CHECK_EQ_U64(PY_LONG("len(listed)"), 0);
  lazy = py_register(c, SELV_PYTHON_HOLD_GIL | SELV_HOOK_LAZY, 0);
  main_state = PyEval_SaveThread();

  run(c, uses_python, 42);
  run(c, leaves_an_exception, 0);
  CHECK_EQ_U64(errors, 1);
  run(c, uses_python, 42);
  run(c, leaves_without_the_gil, 0);
  CHECK_EQ_U64(errors, 2);
  run(c, uses_python, 42);
  run(c, leaves_parts_open, 0);
  run(c, ends_its_parts, 0);
  run(c, uses_python, 42);
  CHECK_EQ_U64(probe_stats(c).started, 1);
  CHECK_OK(selv_start_thread_soon(c, uses_python, deliver_checks, job_hook, NULL));
  CHECK_WAIT(&delivered, 1);
  CHECK(!delivered_with_gil);

  both[0] = job_hook;
  both[1] = lazy;
  job.fn = probe_never;
  job.attach = both;
  job.attach_len = 2;
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_INVAL);

  /* A job that needs no Python never takes the GIL, though main holds it. */
  PyEval_RestoreThread(main_state);
  {
    probe p;
    probe_init(&p);
    job = probe_job(probe_run, &p);
    job.attach = both;
    job.attach_len = 0;
    CHECK_OK(selv_cache_submit(c, &job, NULL));
    CHECK_WAIT(&p.freed, 1);
    CHECK_OK(p.last.status);
  }
  CHECK_OK(selv_python_unregister(lazy, SELV_FOREVER, NULL));
  PY_FINALIZE();
  CHECK_EQ_U64(hook_probe_stats(job_hook).starts, hook_probe_stats(job_hook).exits);
  selv_hook_release(lazy);
  py_end_cache(c, job_hook);
  return 0;
}

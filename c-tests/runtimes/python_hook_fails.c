/* A worker that cannot attach loses no job and harms no other: a thread that brings the state of another interpreter, a hook
 * behind Python's that fails, and a trace function that raises. */
#include "python_probe.h"

/* A host's thread starter whose threads belong to another interpreter before the cache gets them. */
typedef struct foreign_thread {
  PyInterpreterState *interp;
  void (*entry)(void *);
  void *entry_arg;
} foreign_thread;

static void *foreign_main(void *arg) {
  foreign_thread *t = (foreign_thread *)arg;
  PyThreadState *ts = PyThreadState_New(t->interp);
  t->entry(t->entry_arg);
  PyEval_RestoreThread(ts);
  PyThreadState_Clear(ts);
  PyThreadState_DeleteCurrent();
  free(t);
  return NULL;
}

static selv_status foreign_spawn(void *data, void (*entry)(void *), void *entry_arg, const char *name, size_t stack_size,
                                 void **out_handle) {
  foreign_thread *t = (foreign_thread *)malloc(sizeof *t);
  pthread_t *thread = (pthread_t *)malloc(sizeof *thread);
  (void)name;
  (void)stack_size;
  CHECK(t != NULL && thread != NULL);
  t->interp = (PyInterpreterState *)data;
  t->entry = entry;
  t->entry_arg = entry_arg;
  CHECK(pthread_create(thread, NULL, foreign_main, t) == 0);
  *out_handle = thread;
  return SELV_OK;
}

static void foreign_join(void *data, void *handle) {
  (void)data;
  CHECK(pthread_join(*(pthread_t *)handle, NULL) == 0);
  free(handle);
}

static void foreign_state_is_refused(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *c = NULL;
  selv_hook *hook;
  PyThreadState *main_state, *sub;
  selv_outcome outcome;
  probe p;
  selv_job_options job;
  Py_InitializeEx(0);
  main_state = PyThreadState_Get();
  sub = Py_NewInterpreter();
  CHECK(sub != NULL);
  PyThreadState_Swap(main_state);
  options.spawn = foreign_spawn;
  options.join = foreign_join;
  options.spawn_data = PyThreadState_GetInterpreter(sub);
  CHECK_OK(selv_cache_new(&options, &c));
  hook = py_register(c, 0, 0);
  (void)PyEval_SaveThread();
  probe_init(&p);
  job = probe_job(probe_never, &p);
  outcome = probe_through(c, &job);
  CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
  CHECK_STATUS((selv_status)outcome.code, SELV_E_UNSUPPORTED);
  CHECK(strstr(p.detail, "python") != NULL);
  CHECK_EQ_U64(hook_probe_stats(hook).start_failures, 1);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
  /* The cache is healthy: a job that needs no Python runs. */
  job = probe_job(probe_run, &p);
  job.attach = &hook;
  job.attach_len = 0;
  CHECK_OK(probe_through(c, &job).status);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, NULL));
  PyEval_RestoreThread(main_state);
  PyThreadState_Swap(sub);
  Py_EndInterpreter(sub);
  PyThreadState_Swap(main_state);
  PY_FINALIZE();
  selv_hook_release(hook);
  selv_cache_release(c);
}

static void undone_when_a_later_hook_fails(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook, *bad_hook;
  hook_probe bad;
  PyThreadState *main_state;
  selv_outcome outcome;
  probe p;
  selv_job_options job;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  hook_probe_init(&bad, "bad", NULL);
  bad.start_code = 77;
  bad_hook = hook_probe_register(c, &bad, 0);
  main_state = PyEval_SaveThread();
  probe_init(&p);
  job = probe_job(probe_never, &p);
  outcome = probe_through(c, &job);
  CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
  CHECK_EQ_U64(outcome.code, 77);
  CHECK_EVENTUALLY(hook_probe_stats(hook).exits == 1);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 1);
  hook_probe_remove(bad_hook, &bad);
  CHECK_EQ_U64(py_number_of(c, hook, "3"), 3);
  PyEval_RestoreThread(main_state);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  PY_FINALIZE();
  py_end_cache(c, hook);
}

static void count_error(void *arg, const char *hook_name) {
  CHECK(PyErr_ExceptionMatches(PyExc_ZeroDivisionError));
  CHECK_STR(hook_name, "python");
  (*(int *)arg)++;
}

static void a_set_up_that_raises(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook = NULL;
  selv_python_options options = SELV_PYTHON_OPTIONS_INIT;
  PyThreadState *main_state;
  selv_outcome outcome;
  probe p;
  selv_job_options job;
  int errors = 0;
  Py_InitializeEx(0);
  options.flags = SELV_PYTHON_THREADING_TRACE;
  options.on_error = count_error;
  options.on_error_arg = &errors;
  CHECK_OK(selv_python_register(c, NULL, &options, &hook));
  PY_RUN("import threading\nreal = threading.gettrace\ndef broken(): 1 / 0\nthreading.gettrace = broken");
  main_state = PyEval_SaveThread();
  probe_init(&p);
  job = probe_job(probe_never, &p);
  outcome = probe_through(c, &job);
  CHECK_STATUS(outcome.status, SELV_E_HOOK_FAILED);
  CHECK_STATUS((selv_status)outcome.code, SELV_E_HOOK_FAILED);
  CHECK_EQ_U64(errors, 1);
  PyEval_RestoreThread(main_state);
  PY_RUN("threading.gettrace = real");
  main_state = PyEval_SaveThread();
  CHECK_EQ_U64(py_number_of(c, hook, "4"), 4);
  PyEval_RestoreThread(main_state);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  PY_FINALIZE();
  py_end_cache(c, hook);
}

int main(void) {
  CHECK_RUN(foreign_state_is_refused);
  CHECK_RUN(undone_when_a_later_hook_fails);
  CHECK_RUN(a_set_up_that_raises);
  return 0;
}

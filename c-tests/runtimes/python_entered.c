/* A host's own threads in selv_thread_enter: a state that they bring is used and left alone, one that they lack is made and
 * taken away, and each may remove the hook or end Python. */
#include "python_probe.h"

static selv_cache *c;
static selv_hook *hook;
static PyThreadState *main_state;

static void open_python(void) {
  c = probe_cache(0, 0);
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  main_state = PyThreadState_Get();
}

static void close_python(void) {
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  PY_FINALIZE();
  CHECK_EQ_U64(hook_probe_stats(hook).starts, hook_probe_stats(hook).exits);
  py_end_cache(c, hook);
}

static void main_attached(void) {
  open_python();
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  CHECK(selv_hook_slot(hook) == (void *)main_state);
  CHECK_OK(selv_python_begin(hook));
  CHECK_EQ_U64(PY_LONG("1"), 1);
  CHECK_OK(selv_python_end(hook));
  CHECK(PyThreadState_Get() == main_state); /* the GIL was the host's before, and still is */
  CHECK_OK(selv_thread_leave(c));
  CHECK(PyThreadState_Get() == main_state);
  CHECK(selv_hook_slot(hook) == NULL);
  close_python();
}

static void main_detached(void) {
  open_python();
  CHECK(PyEval_SaveThread() == main_state);
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  CHECK(selv_hook_slot(hook) == (void *)main_state);
  CHECK_OK(selv_python_begin(hook));
  CHECK(PyThreadState_Get() == main_state);
  CHECK_OK(selv_python_end(hook));
  CHECK(selv_python_impl_current() == NULL);
  CHECK_OK(selv_thread_leave(c));
  PyEval_RestoreThread(main_state);
  CHECK_EQ_U64(PY_LONG("7"), 7);
  close_python();
}

/* Unregistering on an entered thread detaches that thread itself. */
static void main_removes_the_hook(void) {
  open_python();
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  CHECK(PyThreadState_Get() == main_state);
  CHECK(selv_hook_slot(hook) == NULL);
  CHECK_OK(selv_thread_leave(c));
  close_python();
}

static void main_ends_python(void) {
  open_python();
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  PY_FINALIZE();
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
  CHECK_STATUS(selv_python_begin(hook), SELV_E_WRONG_THREAD);
  CHECK_OK(selv_thread_leave(c));
  py_end_cache(c, hook);
}

static void *without_a_state(void *arg) {
  PyThreadState *ts;
  (void)arg;
  CHECK(PyGILState_GetThisThreadState() == NULL);
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  ts = (PyThreadState *)selv_hook_slot(hook);
  CHECK(ts != NULL && PyGILState_GetThisThreadState() == ts);
  CHECK_OK(selv_python_begin(hook));
  CHECK_EQ_U64(PY_LONG("2"), 2);
  CHECK_STATUS(selv_python_unregister(hook, 0, NULL), SELV_E_REENTRANT);
  CHECK_OK(selv_python_end(hook));
  CHECK_OK(selv_thread_leave(c));
  CHECK(PyGILState_GetThisThreadState() == NULL);
  return NULL;
}

static void *with_a_state_of_its_own(void *arg) {
  PyGILState_STATE gil = PyGILState_Ensure();
  PyThreadState *ts = PyThreadState_Get();
  (void)arg;
  Py_BEGIN_ALLOW_THREADS
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  CHECK(selv_hook_slot(hook) == (void *)ts);
  CHECK_OK(selv_python_begin(hook));
  CHECK_EQ_U64(PY_LONG("3"), 3);
  CHECK_OK(selv_python_end(hook));
  CHECK_OK(selv_thread_leave(c));
  Py_END_ALLOW_THREADS
  CHECK(PyThreadState_Get() == ts);
  CHECK_EQ_U64(PY_LONG("4"), 4);
  PyGILState_Release(gil);
  CHECK(PyGILState_GetThisThreadState() == NULL);
  return NULL;
}

/* Exit callbacks run here, inside a part, take the hook away and must leave the state that runs them. */
static void *runs_the_exit_callbacks(void *arg) {
  int finalize = *(int *)arg;
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  CHECK_OK(selv_python_begin(hook));
  CHECK_OK(selv_python_begin(hook));
  if (finalize) {
    PY_FINALIZE();
    CHECK_STATUS(selv_python_end(hook), SELV_E_WRONG_THREAD);
  } else {
    PY_RUN("import atexit; atexit._run_exitfuncs()");
    CHECK(selv_hook_slot(hook) == NULL);
    CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
    CHECK_EQ_U64(PY_LONG("5"), 5);
    CHECK_OK(selv_python_end(hook));
    CHECK_EQ_U64(PY_LONG("6"), 6); /* the outer part goes on */
    CHECK_OK(selv_python_end(hook));
    CHECK(PyGILState_GetThisThreadState() == NULL);
    CHECK_STATUS(selv_python_end(hook), SELV_E_WRONG_THREAD);
  }
  CHECK_OK(selv_thread_leave(c));
  return NULL;
}

/* The state was the host's and the host took it back too early: said, not followed. */
static void *with_a_state_that_goes(void *arg) {
  PyGILState_STATE gil = PyGILState_Ensure();
  (void)arg;
  CHECK_OK(selv_thread_enter(c, NULL, 0));
  PyGILState_Release(gil);
  CHECK_STATUS(selv_python_begin(hook), SELV_E_STALE);
  CHECK_OK(selv_thread_leave(c));
  return NULL;
}

static void on_a_thread(void *(*body)(void *)) {
  pthread_t thread;
  int finalize = 0;
  open_python();
  Py_BEGIN_ALLOW_THREADS
  CHECK(pthread_create(&thread, NULL, body, &finalize) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  Py_END_ALLOW_THREADS
  close_python();
}

#if PY_VERSION_HEX >= 0x030D0000 /* before, Py_FinalizeEx off the main thread waits for the main thread for ever */
static void a_thread_ends_python(void) {
  pthread_t thread;
  int finalize = 1;
  open_python();
  (void)PyEval_SaveThread();
  CHECK(pthread_create(&thread, NULL, runs_the_exit_callbacks, &finalize) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, hook_probe_stats(hook).exits);
  py_end_cache(c, hook);
}
#endif

static void a_thread_without_a_state(void) { on_a_thread(without_a_state); }
static void a_thread_with_a_state(void) { on_a_thread(with_a_state_of_its_own); }
static void a_thread_runs_the_exit_callbacks(void) { on_a_thread(runs_the_exit_callbacks); }
static void a_thread_whose_state_goes(void) { on_a_thread(with_a_state_that_goes); }

/* Two hooks of one interpreter share the worker's state; the one that made it may go first. */
static void two_hooks_share_a_state(void) {
  selv_hook *second;
  open_python();
  second = py_register(c, 0, 0);
  Py_BEGIN_ALLOW_THREADS
  CHECK_EQ_U64(py_number_of(c, hook, "1"), 1);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  CHECK_EVENTUALLY(probe_stats(c).idle == 1); /* it has detached, and may still be on its way back to the idle list */
  CHECK_EQ_U64(py_number_of(c, second, "2"), 2);
  CHECK_EQ_U64(probe_stats(c).started, 1);
  CHECK_OK(selv_hook_unregister(second, SELV_FOREVER, NULL));
  Py_END_ALLOW_THREADS
  CHECK(PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Main())) == NULL); /* only main's is left */
  selv_hook_release(second);
  close_python();
}

int main(void) {
  CHECK_RUN(main_attached);
  CHECK_RUN(main_detached);
  CHECK_RUN(main_removes_the_hook);
  CHECK_RUN(main_ends_python);
  CHECK_RUN(a_thread_without_a_state);
  CHECK_RUN(a_thread_with_a_state);
  CHECK_RUN(a_thread_whose_state_goes);
  CHECK_RUN(a_thread_runs_the_exit_callbacks);
#if PY_VERSION_HEX >= 0x030D0000
  CHECK_RUN(a_thread_ends_python);
#endif
  CHECK_RUN(two_hooks_share_a_state);
  return 0;
}

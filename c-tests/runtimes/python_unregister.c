/* Removal: a timeout that passes and a second call that succeeds, callers with and without the GIL, registering again, and
 * an atexit callback that goes with its hook. */
#include "python_probe.h"

static void timeout_passes_then_succeeds(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  py_held held;
  uint32_t attached = 99;
  uint64_t began;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  py_held_start(c, hook, &held);
  Py_BEGIN_ALLOW_THREADS
  CHECK_WAIT(&held.p.entered, 1);
  Py_END_ALLOW_THREADS
  began = check_now_ns();
  CHECK_STATUS(selv_python_unregister(hook, 50 * CHECK_MS, &attached), SELV_E_TIMEDOUT);
  CHECK(check_now_ns() - began >= 50 * CHECK_MS);
  CHECK_EQ_U64(attached, 1);
  /* No new attachment from here on, though one worker still has its own. */
  {
    probe p;
    selv_job_options job;
    selv_outcome outcome;
    probe_init(&p);
    job = probe_job(probe_never, &p);
    job.attach = &hook;
    job.attach_len = 1;
    outcome.status = SELV_OK;
    Py_BEGIN_ALLOW_THREADS
    outcome = probe_through(c, &job);
    Py_END_ALLOW_THREADS
    CHECK(outcome.status == SELV_E_HOOK_FAILED || outcome.status == SELV_E_CLOSED);
  }
  check_tally_add(&held.p.go, 1);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  CHECK_OK(selv_python_unregister(hook, 0, &attached));
  PY_FINALIZE();
  CHECK_WAIT(&held.p.delivered, 1);
  CHECK_OK(held.part.began);
  py_end_cache(c, hook);
}

static void registered_again(void) {
  selv_cache *c = probe_cache(0, 0);
  int i;
  Py_InitializeEx(0);
  PY_RUN("import atexit, weakref\n"
         "listed, register, unregister = [], atexit.register, atexit.unregister\n"
         "atexit.register = lambda f: (listed.append(weakref.ref(f)), register(f))\n");
  for (i = 0; i < 20; i++) {
    selv_hook *hook = py_register(c, 0, 0);
    CHECK_EQ_U64(PY_LONG("len(listed)"), i + 1);
    CHECK(PY_LONG("listed[-1]() is not None"));
    Py_BEGIN_ALLOW_THREADS
    CHECK_EQ_U64(py_number_of(c, hook, "1"), 1);
    Py_END_ALLOW_THREADS
    CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
    CHECK(PY_LONG("listed[-1]() is None"));
    selv_hook_release(hook);
    CHECK_EVENTUALLY(probe_stats(c).idle == 1); /* it has detached, and may still be on its way back to the idle list */
  }
  CHECK_EQ_U64(probe_stats(c).started, 1);
  PY_FINALIZE();
  probe_end(c);
}

/* Removed without the GIL, so the atexit callback stays: it must find nothing to do, and the data must live until then. */
static void callback_that_outlives_its_hook(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  main_state = PyEval_SaveThread();
  CHECK_EQ_U64(py_number_of(c, hook, "1"), 1);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  selv_hook_release(hook);
  probe_end(c);
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
}

/* The state that holds the GIL would have to go: refused inside a part, on a worker and on an entered thread. */
static int32_t unregister_inside(void *arg, void **out_value) {
  selv_hook *hook = (selv_hook *)arg;
  uint32_t attached = 0;
  *out_value = NULL;
  CHECK_OK(selv_python_begin(hook));
  CHECK_STATUS(selv_python_unregister(hook, 0, &attached), SELV_E_REENTRANT);
  CHECK_OK(selv_python_end(hook));
  CHECK_STATUS(selv_python_unregister(hook, CHECK_MS, &attached), SELV_E_DEADLOCK);
  return 0;
}

static void inside_a_part(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  selv_outcome outcome;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  main_state = PyEval_SaveThread();
  CHECK_OK(selv_cache_run(c, unregister_inside, hook, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  PyEval_RestoreThread(main_state);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  PY_FINALIZE();
  py_end_cache(c, hook);
}

int main(void) {
  CHECK_STATUS(selv_python_unregister(NULL, 0, NULL), SELV_E_NULL);
  CHECK_RUN(timeout_passes_then_succeeds);
  CHECK_RUN(registered_again);
  CHECK_RUN(callback_that_outlives_its_hook);
  CHECK_RUN(inside_a_part);
  return 0;
}

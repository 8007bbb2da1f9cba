/* Workers attach and detach, cleanly and in equal number, when the hook is removed while they are idle, busy, and in the middle
 * of attaching. */
#include "python_probe.h"

#define WORKERS 4

static void removed_while_idle(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  uint32_t attached = 99;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  main_state = PyEval_SaveThread();
  py_warm(c, hook, WORKERS);
  CHECK_EQ_U64(py_number_of(c, hook, "6 * 7"), 42);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, WORKERS);
  CHECK_EQ_U64(hook_probe_stats(hook).exits, WORKERS);
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
  CHECK_EQ_U64(probe_stats(c).workers, WORKERS);
  py_end_cache(c, hook);
}

static void removed_while_busy(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  py_held held[WORKERS];
  uint32_t attached = 99;
  int i;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  main_state = PyEval_SaveThread();
  for (i = 0; i < WORKERS; i++) py_held_start(c, hook, &held[i]);
  for (i = 0; i < WORKERS; i++) CHECK_WAIT(&held[i].p.entered, 1);
  CHECK_STATUS(selv_hook_unregister(hook, 0, &attached), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(attached, WORKERS);
  /* A job that began attached may still use Python: the removal waits for it. */
  for (i = 0; i < WORKERS; i++) held[i].part.expression = "1 + 1";
  for (i = 0; i < WORKERS; i++) check_tally_add(&held[i].p.go, 1);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
  for (i = 0; i < WORKERS; i++) {
    CHECK_WAIT(&held[i].p.delivered, 1);
    CHECK_OK(held[i].p.last.status);
    CHECK_OK(held[i].part.began);
    CHECK_EQ_U64(held[i].part.number, 2);
  }
  CHECK_EQ_U64(hook_probe_stats(hook).exits, WORKERS);
  py_end_cache(c, hook);
}

static void removed_while_attaching(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  probe p;
  selv_job_options job;
  uint32_t attached = 99;
  int i;
  probe_init(&p);
  job = probe_job(probe_run, &p);
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  for (i = 0; i < WORKERS; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  /* We hold the GIL, so all of them now wait for it inside on_start. */
  CHECK_EVENTUALLY(py_at_gate(hook) == WORKERS);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  PY_FINALIZE();
  CHECK_WAIT(&p.freed, WORKERS);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, WORKERS);
  CHECK_EQ_U64(hook_probe_stats(hook).exits, WORKERS);
  CHECK_EQ_U64(probe_stats(c).threads_lost, 0);
  py_end_cache(c, hook);
}

/* The exit hook also runs when workers end by themselves. */
static void workers_that_age(void) {
  selv_cache *c = probe_cache(0, 20 * CHECK_MS);
  selv_hook *hook;
  PyThreadState *main_state;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 0);
  main_state = PyEval_SaveThread();
  CHECK_EQ_U64(py_number_of(c, hook, "1"), 1);
  CHECK_EVENTUALLY(probe_stats(c).workers == 0);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
  CHECK_EQ_U64(hook_probe_stats(hook).exits, hook_probe_stats(hook).starts);
  PyEval_RestoreThread(main_state);
  CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
  PY_FINALIZE();
  py_end_cache(c, hook);
}

int main(void) {
  CHECK_RUN(removed_while_idle);
  CHECK_RUN(removed_while_busy);
  CHECK_RUN(removed_while_attaching);
  CHECK_RUN(workers_that_age);
  return 0;
}

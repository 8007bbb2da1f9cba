/* Py_FinalizeEx that does not get its workers back in time: they outlive Python without touching it, those in the middle of
 * attaching are let through, and one that CPython ends costs its own job and nothing else. */
#include "python_probe.h"

#define WORKERS 4

static void busy_in_c_past_the_timeout(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook, *again;
  PyThreadState *main_state;
  py_held held;
  uint64_t began;
  Py_InitializeEx(0);
  hook = py_register(c, 0, 50 * CHECK_MS);
  PY_RUN("import warnings; warnings.simplefilter('ignore')");
  main_state = PyEval_SaveThread();
  py_held_start(c, hook, &held);
  CHECK_WAIT(&held.p.entered, 1);
  PyEval_RestoreThread(main_state);
  began = check_now_ns();
  PY_FINALIZE();
  CHECK(check_now_ns() - began >= 50 * CHECK_MS);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 1);
  /* Python lives again, with another state for this worker to come: the old one must not be touched. */
  Py_InitializeEx(0);
  again = py_register(c, 0, 0);
  main_state = PyEval_SaveThread();
  check_tally_add(&held.p.go, 1);
  CHECK_WAIT(&held.p.delivered, 1);
  CHECK_OK(held.p.last.status);
  CHECK_STATUS(held.part.began, SELV_E_CLOSED);
  CHECK_EQ_U64(py_number_of(c, again, "9"), 9);
  CHECK_EQ_U64(probe_stats(c).started, 1);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
  CHECK_EQ_U64(probe_stats(c).threads_lost, 0);
  selv_hook_release(again);
  py_end_cache(c, hook);
}

/* Called when Python takes its modules apart, long after the exit callbacks, holding the GIL: the worker that was left behind
 * ends its job and loses its hook now, and must not so much as ask for the GIL. */
typedef struct witness {
  selv_cache *c;
  selv_hook *hook;
  py_held held;
} witness;
static int witnessed = 0;

static void let_the_worker_go(PyObject *capsule) {
  witness *w = (witness *)PyCapsule_GetPointer(capsule, NULL);
  check_tally_add(&w->held.p.go, 1);
  CHECK_WAIT(&w->held.p.delivered, 1);
  CHECK_STATUS(w->held.part.began, SELV_E_CLOSED);
  CHECK_EVENTUALLY(hook_probe_stats(w->hook).attached == 0);
  witnessed = 1;
}

static void while_python_is_taken_apart(void) {
  witness w;
  PyThreadState *main_state;
  PyObject *capsule;
  w.c = probe_cache(0, 0);
  Py_InitializeEx(0);
  w.hook = py_register(w.c, 0, SELV_NO_WAIT);
  main_state = PyEval_SaveThread();
  py_held_start(w.c, w.hook, &w.held);
  CHECK_WAIT(&w.held.p.entered, 1);
  PyEval_RestoreThread(main_state);
  capsule = PyCapsule_New(&w, NULL, let_the_worker_go);
  CHECK(capsule != NULL);
  CHECK(PyDict_SetItemString(PyModule_GetDict(PyImport_AddModule("__main__")), "witness", capsule) == 0);
  Py_DECREF(capsule);
  PY_FINALIZE();
  CHECK(witnessed);
  CHECK_EQ_U64(probe_stats(w.c).threads_lost, 0);
  py_end_cache(w.c, w.hook);
}

static void while_attaching(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  probe p;
  selv_job_options job;
  int i;
  probe_init(&p);
  job = probe_job(probe_run, &p);
  Py_InitializeEx(0);
  hook = py_register(c, 0, SELV_NO_WAIT);
  for (i = 0; i < WORKERS; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_EVENTUALLY(py_at_gate(hook) == WORKERS);
  PY_FINALIZE();
  CHECK_WAIT(&p.freed, WORKERS);
  CHECK_EQ_U64(probe_stats(c).threads_lost, 0);
  CHECK_EQ_U64(probe_stats(c).jobs_delivered, WORKERS);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  py_end_cache(c, hook);
}

static void while_beginning_a_part(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  py_held held[WORKERS];
  int i;
  Py_InitializeEx(0);
  hook = py_register(c, 0, SELV_NO_WAIT);
  main_state = PyEval_SaveThread();
  for (i = 0; i < WORKERS; i++) py_held_start(c, hook, &held[i]);
  for (i = 0; i < WORKERS; i++) CHECK_WAIT(&held[i].p.entered, 1);
  PyEval_RestoreThread(main_state);
  for (i = 0; i < WORKERS; i++) check_tally_add(&held[i].p.go, 1);
  CHECK_EVENTUALLY(py_at_gate(hook) == WORKERS);
  PY_FINALIZE();
  for (i = 0; i < WORKERS; i++) {
    CHECK_WAIT(&held[i].p.delivered, 1);
    CHECK_OK(held[i].p.last.status);
    CHECK_OK(held[i].part.began);
    CHECK_OK(held[i].part.ended);
  }
  CHECK_EQ_U64(probe_stats(c).threads_lost, 0);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  py_end_cache(c, hook);
}

static check_tally inside = CHECK_TALLY_INIT;
static int after_the_sleep = 0;

static int32_t python_for_ever(void *arg, void **out_value) {
  selv_hook *hook = (selv_hook *)arg;
  *out_value = NULL;
  CHECK_OK(selv_python_begin(hook));
  check_tally_add(&inside, 1);
  /* Leaves and takes the GIL again and again; CPython ends the thread in there. */
  PY_RUN("import time\nwhile True: time.sleep(0.001)");
  __atomic_store_n(&after_the_sleep, 1, __ATOMIC_SEQ_CST);
  return 0;
}

static void inside_python_past_the_timeout(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook *hook;
  PyThreadState *main_state;
  selv_job_options options = SELV_JOB_OPTIONS_INIT;
  selv_job *job = NULL;
  selv_outcome outcome;
  char code[256], warning[512];
  int ends[2];
  ssize_t length;
  probe p;
  CHECK(pipe(ends) == 0);
  Py_InitializeEx(0);
  hook = py_register(c, 0, 50 * CHECK_MS);
  snprintf(code, sizeof code,
           "import warnings, os\n"
           "warnings.showwarning = lambda message, *rest: os.write(%d, str(message).encode())",
           ends[1]);
  PY_RUN(code);
  main_state = PyEval_SaveThread();
  options.fn = python_for_ever;
  options.arg = hook;
  CHECK_OK(selv_cache_submit(c, &options, &job));
  CHECK_WAIT(&inside, 1);
  PyEval_RestoreThread(main_state);
  PY_FINALIZE();
  close(ends[1]);
  length = read(ends[0], warning, sizeof warning - 1);
  CHECK(length > 0);
  warning[length] = '\0';
  CHECK(strstr(warning, "selvedge hook \"python\": 1 worker") != NULL);
  close(ends[0]);
  CHECK_OK(selv_job_wait(job, SELV_FOREVER, &outcome));
  CHECK_STATUS(outcome.status, SELV_E_BROKEN);
  selv_job_release(job);
  CHECK_EVENTUALLY(probe_stats(c).threads_lost == 1);
  CHECK_EQ_U64(after_the_sleep, 0);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  CHECK_EQ_U64(hook_probe_stats(hook).lost, 1);
  probe_init(&p);
  options = probe_job(probe_run, &p);
  CHECK_OK(probe_through(c, &options).status);
  py_end_cache(c, hook);
}

int main(void) {
  CHECK_RUN(busy_in_c_past_the_timeout);
  CHECK_RUN(while_python_is_taken_apart);
  CHECK_RUN(while_attaching);
  CHECK_RUN(while_beginning_a_part);
  CHECK_RUN(inside_python_past_the_timeout);
  return 0;
}

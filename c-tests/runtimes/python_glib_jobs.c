/* python_glib_jobs: a GLib main loop on Python's main thread, which runs without the GIL, and Python on the workers: outcomes come to Python
 * code on the loop, Python code on a worker waits for Python code on the loop, and Python code on the loop runs a main loop in which
 * nothing is delivered. */
#include "python_probe.h"

#include "glib_support.h"

#define JOBS 200

static rig r;
static selv_cache *cache;
static selv_hook *python;
static uint64_t delivered;
static int inside;

/* Python code on the loop's thread, which has its state but not the GIL. */
static long on_the_loop(const char *expression) {
  PyGILState_STATE state = PyGILState_Ensure();
  long number = PY_LONG(expression);
  CHECK_EQ_U64(g_main_depth(), 1);
  PyGILState_Release(state);
  return number;
}

static void part_delivered(void *arg, const selv_outcome *outcome) {
  py_part *part = (py_part *)arg;
  char expression[64];
  CHECK_EQ_U64(inside, 0);
  CHECK_OK(outcome->status);
  CHECK_OK(part->began);
  CHECK_OK(part->ended);
  snprintf(expression, sizeof expression, "add(%ld)", part->number);
  CHECK_EQ_U64(on_the_loop(expression), ++delivered);
  if (delivered == JOBS / 2) {
    uint64_t before = delivered;
    PyGILState_STATE state = PyGILState_Ensure();
    inside = 1;
    Py_BEGIN_ALLOW_THREADS
    rig_nest(&r, 10);
    Py_END_ALLOW_THREADS
    inside = 0;
    PyGILState_Release(state);
    CHECK_EQ_U64(delivered, before);
  }
  if (delivered == JOBS) g_main_loop_quit(r.main);
}

static void outcomes_of_python_jobs(void) {
  static py_part parts[JOBS];
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  int i;
  job.fn = py_part_run;
  job.deliver = part_delivered;
  job.loop = r.loop;
  for (i = 0; i < JOBS; i++) {
    parts[i].hook = python;
    parts[i].expression = "square()";
    job.arg = &parts[i];
    CHECK_OK(selv_cache_submit(cache, &job, NULL));
  }
  g_main_loop_run(r.main);
  CHECK_EQ_U64(delivered, JOBS);
}

static int32_t answer(void *arg, void **out_value) {
  *out_value = arg;
  return (int32_t)on_the_loop("len(seen)");
}

/* Inside a part: it holds the GIL, and lets it go while it waits, as before any wait. */
static int32_t asks(void *arg, void **out_value) {
  selv_outcome outcome;
  selv_status status;
  int i;
  CHECK_OK(selv_python_begin(python));
  for (i = 0; i < 20; i++) {
    CHECK(PY_LONG("square()") >= 0);
    Py_BEGIN_ALLOW_THREADS
    status = selv_host_loop_call(r.loop, answer, arg, SELV_FOREVER, &outcome);
    Py_END_ALLOW_THREADS
    CHECK_OK(status);
    CHECK_EQ_U64(outcome.code, JOBS);
  }
  CHECK_OK(selv_python_end(python));
  *out_value = arg;
  return 0;
}

static void asked(void *arg, const selv_outcome *outcome) {
  CHECK_OK(outcome->status);
  if (++*(uint64_t *)arg == 4) g_main_loop_quit(r.main);
}

static void python_jobs_ask_the_loop(void) {
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  uint64_t ended = 0;
  int i;
  job.fn = asks;
  job.deliver = asked;
  job.arg = &ended;
  job.loop = r.loop;
  for (i = 0; i < 4; i++) CHECK_OK(selv_cache_submit(cache, &job, NULL));
  g_main_loop_run(r.main);
  CHECK_EQ_U64(ended, 4);
}

int main(void) {
  PyThreadState *main_state;
  Py_Initialize();
  PY_RUN("seen = []\n"
         "numbers = iter(range(1000))\n"
         "def square():\n"
         "  number = next(numbers)\n"
         "  return number * number\n"
         "def add(number):\n"
         "  seen.append(number)\n"
         "  return len(seen)\n");
  cache = probe_cache(4, SELV_FOREVER);
  python = py_register(cache, 0, 0);
  rig_start(&r, NULL);
  main_state = PyEval_SaveThread();
  CHECK_RUN(outcomes_of_python_jobs);
  CHECK_RUN(python_jobs_ask_the_loop);
  rig_end(&r);
  PyEval_RestoreThread(main_state);
  CHECK(PY_LONG("sum(seen)") == (long)JOBS * (JOBS - 1) * (2 * JOBS - 1) / 6);
  PY_FINALIZE();
  py_end_cache(cache, python);
  return 0;
}

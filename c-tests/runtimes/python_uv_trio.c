/* timeout: 180 */
/* python_uv_trio: a libuv loop is the host, Trio its guest: blocking calls, sockets, timers, cancellation and calls back, one run after the
 * other on the same loop, each with the host's threads in place of Trio's own, and the timers of libuv going on meanwhile. */
#include "uv_host.h"

static void threads(void) {
  TRIO_RUN("calls_one_by_one(100)");
  TRIO_RUN("jobs_from_deliveries(50)");
  CHECK(probe_stats(trio_cache).started <= 2); /* one that works, and one that polls */
  TRIO_RUN("threads_at_once(8)");
  CHECK_EQ_U64(probe_stats(trio_cache).started, 9); /* eight that were held, and the poll meanwhile */
  TRIO_RUN("back_from_threads(6)");
}

static void timers_of_both(void) {
  TRIO_RUN("timers_of_both(50)");
  TRIO_RUN("busy_guest(50)");
}

static void sockets(void) {
  TRIO_RUN("echo(5, 0, 200000)");
  TRIO_RUN("echo(2, 4, 10000)");
}

static void cancellation(void) {
  TRIO_RUN("cancelled_calls()");
  TRIO_RUN("cancelled_by_the_host()");
}

static void exceptions(void) {
  TRIO_RUN("raised_in_threads()");
  TRIO_RUN("released_before_the_delivery()");
  trio_run_failing();
}

/* Each begins inside the end of the one before. */
static void many_runs(void) {
  PY_DO("begin_chain(20)");
  trio.run();
  PY_DO("end()");
}

int main(void) {
  PyThreadState *main_state;
  trio_start();
  uv_host_start();
  PY_RUN("use_host_threads()");
  main_state = PyEval_SaveThread();
  CHECK_RUN(threads);
  CHECK_RUN(timers_of_both);
  CHECK_RUN(sockets);
  CHECK_RUN(cancellation);
  CHECK_RUN(exceptions);
  CHECK_RUN(many_runs);
  CHECK_EQ_U64(uv_host_end(), 0);
  PyEval_RestoreThread(main_state);
  trio_end_python();
  selv_hook_release(trio_python);
  probe_end(trio_cache);
  return 0;
}

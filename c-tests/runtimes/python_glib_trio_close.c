/* python_glib_trio_close: a GLib loop that ends while Python has something in its queue, or is about to: what was queued is let go of
 * uncalled, what comes later is refused with an exception, and Trio's poll, still in its worker when the loop has gone, comes back
 * from there and harms nobody. */
#include "glib_host.h"

#include <poll.h>

static void calls_that_wait(void) {
  glib_host_start();
  PY_DO("queue(50)");
  CHECK_EQ_U64(glib_host_end(), 50);
  PY_DO("nothing_is_left(ran=0)");
}

/* Each thread finds out by itself, some of them in the middle of the close. */
static void calls_that_come(void) {
  uint64_t round, rounds = check_scaled(20), dropped = 0;
  for (round = 0; round < rounds; round++) {
    char code[64];
    glib_host_start();
    snprintf(code, sizeof code, "queue_until_refused(threads=3, quit_after=%llu)", (unsigned long long)(10 + round));
    PY_DO(code);
    trio.run();
    CHECK_EVENTUALLY(trio_loop_stats().waiting > 0);
    dropped += glib_host_end();
    PY_DO("wait_until_all_are_refused()");
  }
  CHECK(dropped >= rounds);
  printf("  %llu calls were dropped\n", (unsigned long long)dropped);
}

/* ---- under a run of Trio ---- */

static void run_until_trio_waits(const char *begin) {
  glib_host_start();
  PY_DO(begin);
  trio.run();
  CHECK_EVENTUALLY(probe_stats(trio_cache).busy == 2); /* a call, and the poll */
}

static int spare_is_over;
static void spare_quit(void) { spare_is_over = 1; }

/* All that a loop needs to be: the thread that was the host's drains when there is something to drain. */
static void spare_run(void) {
  struct pollfd ready;
  ready.fd = selv_host_loop_fd(trio_spare);
  ready.events = POLLIN;
  while (!spare_is_over) {
    CHECK(poll(&ready, 1, (int)check_patience_s() * 1000) == 1);
    CHECK_OK(selv_host_loop_drain(trio_spare, 0, NULL));
  }
}

/* Whatever the closed loop had of Trio's, and whatever comes for it later, goes to another one, where the run comes to its end. */
static void a_run_that_goes_on_elsewhere(void) {
  run_until_trio_waits("begin(ends_when_cancelled)");
  CHECK_OK(selv_host_loop_new(NULL, &trio_spare));
  PY_DO("queue_last_orders()");
  CHECK(glib_host_end() >= 1);
  trio.quit = spare_quit;
  spare_run();
  PY_DO("end()");
  CHECK_OK(selv_host_loop_close(trio_spare));
  selv_host_loop_release(trio_spare);
  trio_spare = NULL;
  /* Trio is as good as new. */
  glib_host_start();
  TRIO_RUN("short_run()");
  CHECK_EQ_U64(glib_host_end(), 0);
}

/* With nowhere to go the run is lost, for Trio knows no other end than that of its main function. Its threads are not. */
static void a_run_that_is_lost(void) {
  run_until_trio_waits("begin(never_ends)");
  CHECK_EQ_U64(glib_host_end(), 0);
  PY_DO("wake_them()");
  CHECK_EVENTUALLY(trio_objects_living() == 0);
  PY_DO("told_of_the_close()");
}

int main(void) {
  PyThreadState *main_state;
  trio_start();
  PY_RUN("use_host_threads()");
  main_state = PyEval_SaveThread();
  CHECK_RUN(calls_that_wait);
  CHECK_RUN(calls_that_come);
  CHECK_RUN(a_run_that_goes_on_elsewhere);
  CHECK_RUN(a_run_that_is_lost);
  PyEval_RestoreThread(main_state);
  trio_end_python();
  selv_hook_release(trio_python);
  probe_end(trio_cache);
  return 0;
}

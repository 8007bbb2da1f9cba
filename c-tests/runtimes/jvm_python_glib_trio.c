/* timeout: 180 */
/* jvm_python_glib_trio: a GLib main loop is the host, Trio its guest, and the workers that Trio's blocking calls and its polls run on are
 * threads of the JVM, each attached once and for its whole life. Java is called on them with no attach, and takes each for one and
 * the same Thread from its first job to its last; attaches, detaches and workers are of one number. Timers of GLib and of Trio go
 * on beside each other. */
#include "python_trio.h"

#include "glib_host.h"
#include "jvm_visits.h"

static JNIEnv *java;

static void as_few_threads_as_can_be(void) {
  TRIO_RUN("calls_one_by_one(100)");
  TRIO_RUN("jobs_from_deliveries(50)");
  CHECK(probe_stats(trio_cache).started <= 2); /* one that works, and one that polls */
}

static void many_threads_at_once(void) {
  uint64_t started;
  TRIO_RUN("threads_at_once(8)");
  started = probe_stats(trio_cache).started;
  CHECK_EQ_U64(started, 9); /* eight that were held, and the poll meanwhile */
  CHECK_EQ_U64(jvm_threads_named(java, "trio-"), started);
  CHECK_EQ_U64(jvm_visits_count(java, "attached"), started);
}

static void timers_of_both(void) {
  uint64_t ticks = trio_ticks;
  TRIO_RUN("timers_of_both(50)");
  CHECK(trio_ticks >= ticks + 50);
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

static void back_from_threads(void) { TRIO_RUN("back_from_threads(6)"); }

static void exceptions(void) {
  TRIO_RUN("raised_in_threads()");
  TRIO_RUN("released_before_the_delivery()");
}

/* Some end badly, some begin inside the end of the one before; the loop is the same. */
static void many_runs(void) {
  trio_run_failing();
  PY_DO("begin_chain(20)");
  trio.run();
  PY_DO("end()");
}

/* Idle workers hold nothing that a collection would have to wait for. */
static void java_collects(void) {
  J(java)->CallStaticIntMethod(java, jvm_probe, jvm_method(java, "collect", "(I)I"), (jint)100000);
  JVM_NO_EXCEPTION(java);
  TRIO_RUN("threads_at_once(8)");
}

static void the_end(PyThreadState *main_state) {
  uint64_t started = probe_stats(trio_cache).started;
  CHECK_EQ_U64(glib_host_end(), 0);
  PyEval_RestoreThread(main_state);
  PY_RUN("assert len(polled) == host.polls() and set(polled) == {None}, set(polled)");
  CHECK_EQ_U64(hook_probe_stats(jvm_visits_hook).attached, started);
  CHECK_EQ_U64(hook_probe_stats(trio_python).attached, started);
  trio_end_python();
  jvm_unregister(jvm_visits_hook);
  trio_one_on_each_worker(jvm_visits_hook);
  CHECK_EQ_U64(jvm_visits_count(java, "visitors"), started);
  CHECK_EQ_U64(jvm_visits_count(java, "attached"), 0);
  CHECK_EQ_U64(jvm_threads_named(java, "trio-"), 0);
  printf("attaches %llu, detaches %llu, workers %llu; %llu jobs, of which polls %llu; GLib's ticks %llu\n",
         (unsigned long long)hook_probe_stats(jvm_visits_hook).starts, (unsigned long long)hook_probe_stats(jvm_visits_hook).exits,
         (unsigned long long)started, (unsigned long long)probe_stats(trio_cache).jobs_delivered, (unsigned long long)trio_polls,
         (unsigned long long)trio_ticks);
  selv_hook_release(jvm_visits_hook);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  selv_hook_release(trio_python);
  probe_end(trio_cache);
}

int main(void) {
  PyThreadState *main_state;
  java = jvm_start(NULL);
  jvm_visits_start(java);
  trio_start();
  jvm_visits_hook = jvm_register(trio_cache, NULL);
  trio.visit = jvm_visit;
  glib_host_start();
  PY_RUN("use_host_threads()\nwatch_polls()");
  main_state = PyEval_SaveThread();
  CHECK_RUN(as_few_threads_as_can_be);
  CHECK_RUN(many_threads_at_once);
  CHECK_RUN(timers_of_both);
  CHECK_RUN(sockets);
  CHECK_RUN(cancellation);
  CHECK_RUN(back_from_threads);
  CHECK_RUN(exceptions);
  CHECK_RUN(many_runs);
  CHECK_RUN(java_collects);
  the_end(main_state);
  return 0;
}

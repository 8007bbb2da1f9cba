/* jvm_python_glib_trio_own_threads: what jvm_python_glib_trio would see if it were wrong. Trio keeps its own threads here: no hook knows
 * them, so none is attached to the JVM, neither in a blocking call nor in a poll, and one that attaches for each call is another
 * Java thread each time. With the host's threads the same calls are without fault, in the same process. */
#include "python_trio.h"

#include "glib_host.h"
#include "jvm_visits.h"

static JNIEnv *java;

static void not_attached(void) {
  TRIO_RUN("wrong_at_nth_visit(8, 0, 'this thread is not attached to the JVM')");
  PY_DO("assert set(polled) == {'this thread is not attached to the JVM'}, polled");
  CHECK_EQ_U64(jvm_visits_count(java, "visitors"), 0);
}

static void attached_for_each_call(void) {
  trio.visit = jvm_visit_attaching;
  /* Nothing is wrong with a thread's first visit. */
  TRIO_RUN("wrong_at_nth_visit(8, 1, 'Java takes this thread for another than at its last visit')");
  CHECK(jvm_visits_count(java, "visitors") >= 16);
  CHECK_EQ_U64(jvm_visits_count(java, "attached"), 0);
  trio.visit = jvm_visit;
}

/* Trio's own threads were all there was: the cache and its hooks have not been asked for anything. */
static void nobody_asked_the_cache(void) {
  CHECK_EQ_U64(probe_stats(trio_cache).started, 0);
  CHECK_EQ_U64(trio_polls, 0);
  CHECK_EQ_U64(hook_probe_stats(jvm_visits_hook).starts, 0);
  CHECK_EQ_U64(hook_probe_stats(trio_python).starts, 0);
}

static void with_the_hosts_threads(void) {
  PY_DO("use_host_threads()");
  TRIO_RUN("threads_at_once(8)");
  CHECK_EQ_U64(hook_probe_stats(jvm_visits_hook).starts, 9);
  CHECK_EQ_U64(jvm_visits_count(java, "attached"), 9);
}

int main(void) {
  PyThreadState *main_state;
  java = jvm_start(NULL);
  jvm_visits_start(java);
  trio_start();
  jvm_visits_hook = jvm_register(trio_cache, NULL);
  trio.visit = jvm_visit;
  glib_host_start();
  PY_RUN("watch_polls()");
  main_state = PyEval_SaveThread();
  CHECK_RUN(not_attached);
  CHECK_RUN(attached_for_each_call);
  CHECK_RUN(nobody_asked_the_cache);
  CHECK_RUN(with_the_hosts_threads);
  CHECK_EQ_U64(glib_host_end(), 0);
  PyEval_RestoreThread(main_state);
  trio_end_python();
  jvm_unregister(jvm_visits_hook);
  trio_one_on_each_worker(jvm_visits_hook);
  selv_hook_release(jvm_visits_hook);
  CHECK(J(jvm)->DestroyJavaVM(jvm) == JNI_OK);
  selv_hook_release(trio_python);
  probe_end(trio_cache);
  return 0;
}

/* timeout: 300 */
/* Python started and finalised 200 times in one process over the same workers, with and without unregistering first. */
#include "python_probe.h"

#define WORKERS 3

int main(void) {
  selv_cache *c = probe_cache(0, 0);
  uint64_t cycles = check_scaled(200), i;
  for (i = 0; i < cycles; i++) {
    selv_hook *hook;
    PyThreadState *main_state;
    Py_InitializeEx(0);
    hook = py_register(c, i % 3 == 0 ? SELV_HOOK_EAGER : 0, SELV_FOREVER);
    main_state = PyEval_SaveThread();
    if (i % 3 == 0 && i > 0) CHECK_EVENTUALLY(hook_probe_stats(hook).attached == WORKERS && probe_stats(c).idle == WORKERS);
    py_warm(c, hook, WORKERS);
    CHECK_EQ_U64(py_number_of(c, hook, "len('selvedge')"), 8);
    PyEval_RestoreThread(main_state);
    if (i % 2 == 0) CHECK_OK(selv_python_unregister(hook, SELV_FOREVER, NULL));
    PY_FINALIZE();
    CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
    CHECK_EVENTUALLY(probe_stats(c).idle == WORKERS); /* detached, and perhaps still on their way back to the idle list */
    CHECK_EQ_U64(hook_probe_stats(hook).starts, WORKERS);
    CHECK_EQ_U64(hook_probe_stats(hook).exits, WORKERS);
    selv_hook_release(hook);
  }
  CHECK_EQ_U64(probe_stats(c).started, WORKERS);
  probe_end(c);
  return 0;
}

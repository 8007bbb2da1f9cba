/* coreclr_process_exit: .NET ends by itself. A managed ProcessExit handler unregisters and waits a bounded time: when CoreCLR is
 * shut down with workers attached, and when a job calls Environment.Exit, which waits for the handler that waits for the job. */
#include "coreclr_support.h"

#include "child.h"

static selv_hook *hook;

typedef struct at_exit {
  uint64_t timeout_ns;
  selv_status status;
  uint32_t attached;
} at_exit;

static int unregister_at_exit(void *arg) {
  at_exit *a = (at_exit *)arg;
  a->status = selv_hook_unregister(hook, a->timeout_ns, &a->attached);
  return 0;
}

static void shutdown_with_idle_workers(void) {
  at_exit a = {5000 * CHECK_MS, SELV_E_PANIC, 99};
  selv_cache *cache = probe_cache(0, 0);
  clr_start();
  hook = clr_register(cache, 0);
  CHECK_EQ_U64(clr_probe.call_at_process_exit(unregister_at_exit, &a), 0);
  probe_warm(cache, 4);
  clr_end();
  CHECK_OK(a.status);
  CHECK_EQ_U64(a.attached, 0);
  CHECK_EQ_U64(hook_probe_stats(hook).starts, 4);
  CHECK_EQ_U64(hook_probe_stats(hook).exits, 4);
  selv_hook_release(hook);
  probe_end(cache);
  _exit(31);
}

static int32_t environment_exit(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  clr_probe.exit_process(42);
  return 0;
}

static void exit_from_a_job(void) {
  static at_exit a = {300 * CHECK_MS, SELV_E_PANIC, 99};
  selv_cache *cache = probe_cache(0, 0);
  selv_outcome outcome;
  clr_start();
  hook = clr_register(cache, 0);
  CHECK_EQ_U64(clr_probe.call_at_process_exit(unregister_at_exit, &a), 0);
  probe_warm(cache, 3);
  selv_cache_run(cache, environment_exit, NULL, SELV_FOREVER, &outcome);
}

static void exit_with_workers_alive(void) {
  selv_cache *cache = probe_cache(0, 0);
  clr_start();
  hook = clr_register(cache, 0);
  probe_warm(cache, 4);
  exit(33);
}

int main(void) {
  const uint64_t second = 1000 * CHECK_MS;
  clr_must_exist();
  puts("shutdown_with_idle_workers");
  CHILD_ENDED(child_run(shutdown_with_idle_workers), 31, 30 * second);
  puts("exit_from_a_job");
  CHILD_ENDED(child_run(exit_from_a_job), 42, 30 * second);
  puts("exit_with_workers_alive");
  CHILD_ENDED(child_run(exit_with_workers_alive), 33, 30 * second);
  return 0;
}

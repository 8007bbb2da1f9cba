/* bad_input.c: NULL, unknown flags and impossible arguments to every function are answered with a status; nothing crashes,
 * results are zeroed, and the cache goes on working. */
#include "probe.h"

#define MARK(type) ((type *)(uintptr_t)1) /* an out pointer must be zeroed over this */

static int32_t plain_fn(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

static void caches(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache_stats stats = SELV_CACHE_STATS_INIT;
  selv_cache *c = MARK(selv_cache);
  uint32_t remaining = 0;
  CHECK_STATUS(selv_cache_new(NULL, NULL), SELV_E_NULL);
  CHECK_STATUS(selv_cache_new(&options, NULL), SELV_E_NULL);
  options.struct_size = 0;
  CHECK_STATUS(selv_cache_new(&options, &c), SELV_E_INVAL);
  CHECK(c == NULL);
  CHECK_LAST_ERROR_HAS("struct_size");
  CHECK_STATUS(selv_cache_default(NULL), SELV_E_NULL);
  CHECK(selv_cache_retain(NULL) == NULL);
  selv_cache_release(NULL);
  CHECK_STATUS(selv_cache_set_idle_timeout(NULL, 1), SELV_E_NULL);
  CHECK_STATUS(selv_cache_trim(NULL, 0), SELV_E_NULL);
  CHECK_STATUS(selv_cache_shutdown(NULL, 0, SELV_FOREVER, &remaining), SELV_E_NULL);
  CHECK_STATUS(selv_cache_get_stats(NULL, &stats), SELV_E_NULL);

  CHECK_OK(selv_cache_new(NULL, &c));
  CHECK_STATUS(selv_cache_get_stats(c, NULL), SELV_E_NULL);
  CHECK_STATUS(selv_cache_shutdown(c, 2, SELV_FOREVER, &remaining), SELV_E_INVAL);
  CHECK_STATUS(selv_cache_shutdown(c, 0x80000001u, SELV_FOREVER, &remaining), SELV_E_INVAL);
  CHECK_OK(selv_start_thread_soon(c, plain_fn, NULL, NULL, NULL)); /* a refused shutdown closed nothing */
  probe_end(c);
}

static void jobs(void) {
  selv_cache *c = probe_cache(0, 0), *other = probe_cache(0, 0);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_outcome outcome;
  selv_job *handle = MARK(selv_job);
  selv_hook *foreign, *null_hook = NULL;
  hook_probe h;
  probe p;
  size_t accepted = 99;

  probe_init(&p);
  hook_probe_init(&h, "foreign", NULL);
  foreign = hook_probe_register(other, &h, SELV_HOOK_LAZY);

  CHECK_STATUS(selv_start_thread_soon(NULL, plain_fn, NULL, NULL, NULL), SELV_E_NULL);
  CHECK_STATUS(selv_start_thread_soon(c, NULL, NULL, NULL, NULL), SELV_E_NULL);

  job = probe_job(probe_never, &p);
  CHECK_STATUS(selv_cache_submit(NULL, &job, NULL), SELV_E_NULL);
  CHECK_STATUS(selv_cache_submit(c, NULL, NULL), SELV_E_NULL);
  job.fn = NULL;
  CHECK_STATUS(selv_cache_submit(c, &job, &handle), SELV_E_NULL);
  CHECK(handle == NULL);
  CHECK_LAST_ERROR_HAS("fn");
  job = probe_job(probe_never, &p);
  job.flags = 0x40000000u;
  handle = MARK(selv_job);
  CHECK_STATUS(selv_cache_submit(c, &job, &handle), SELV_E_INVAL);
  CHECK(handle == NULL);
  CHECK_LAST_ERROR_HAS("flag");
  job = probe_job(probe_never, &p);
  job.attach_len = 1; /* and no list */
  CHECK_STATUS(selv_cache_submit(c, &job, &handle), SELV_E_NULL);
  CHECK_LAST_ERROR_HAS("attach");
  job.attach = &null_hook;
  CHECK_STATUS(selv_cache_submit(c, &job, &handle), SELV_E_NULL);
  job.attach = &foreign;
  CHECK_STATUS(selv_cache_submit(c, &job, &handle), SELV_E_INVAL);
  CHECK_LAST_ERROR_HAS("foreign");

  job = probe_job(probe_never, &p);
  CHECK_STATUS(selv_cache_submit_many(NULL, &job, 1, &accepted), SELV_E_NULL);
  CHECK_STATUS(selv_cache_submit_many(c, NULL, 1, &accepted), SELV_E_NULL);
  CHECK_OK(selv_cache_submit_many(c, &job, 0, &accepted));
  CHECK_EQ_U64(accepted, 0);

  CHECK_STATUS(selv_cache_run(NULL, plain_fn, NULL, SELV_FOREVER, &outcome), SELV_E_NULL);
  CHECK_STATUS(selv_cache_run(c, NULL, NULL, SELV_FOREVER, &outcome), SELV_E_NULL);
  CHECK_STATUS(selv_job_wait(NULL, 0, &outcome), SELV_E_NULL);
  CHECK_STATUS(selv_job_cancel(NULL), SELV_E_NULL);
  selv_job_release(NULL);

  /* Nothing that was refused was delivered or freed, and nothing was started for it. */
  CHECK_EQ_U64(check_tally_get(&p.delivered), 0);
  CHECK_EQ_U64(check_tally_get(&p.freed), 0);
  CHECK_EQ_U64(probe_stats(c).jobs_accepted, 0);
  CHECK_EQ_U64(probe_stats(c).started, 0);
  hook_probe_remove(foreign, &h);
  probe_end(other);
  probe_end(c);
}

static void hooks(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_hook_stats stats = SELV_HOOK_STATS_INIT;
  selv_hook_options options;
  selv_hook *hook = MARK(selv_hook), *good;
  uint32_t attached = 0;
  hook_probe h, fine;
  hook_probe_init(&h, "refused", NULL);
  hook_probe_init(&fine, "fine", NULL);
  options = hook_probe_options(&h, 0);
  CHECK_STATUS(selv_hook_register(NULL, &options, &hook), SELV_E_NULL);
  CHECK(hook == NULL);
  CHECK_STATUS(selv_hook_register(c, NULL, &hook), SELV_E_NULL);
  CHECK_STATUS(selv_hook_register(c, &options, NULL), SELV_E_NULL);
  options.flags = 0x80000000u;
  hook = MARK(selv_hook);
  CHECK_STATUS(selv_hook_register(c, &options, &hook), SELV_E_INVAL);
  CHECK(hook == NULL);
  CHECK_LAST_ERROR_HAS("flag");
  CHECK_STATUS(selv_hook_unregister(NULL, 0, &attached), SELV_E_NULL);
  CHECK(selv_hook_retain(NULL) == NULL);
  selv_hook_release(NULL);
  CHECK_STATUS(selv_hook_get_stats(NULL, &stats), SELV_E_NULL);
  CHECK(selv_hook_user(NULL) == NULL);
  CHECK(selv_hook_slot(NULL) == NULL);
  CHECK_EQ_U64(selv_hook_is_attached(NULL), 0);

  good = hook_probe_register(c, &fine, 0);
  CHECK_STATUS(selv_hook_get_stats(good, NULL), SELV_E_NULL);
  hook_probe_remove(good, &fine);
  CHECK_EQ_U64(check_tally_get(&h.frees), 0); /* a registration that failed never frees */
  probe_end(c);
}

static void threads(void) {
  selv_cache *c = probe_cache(0, 0), *other = probe_cache(0, 0);
  selv_hook *list[2] = {NULL, NULL};
  hook_probe h;
  CHECK_STATUS(selv_thread_enter(NULL, NULL, 0), SELV_E_NULL);
  CHECK_STATUS(selv_thread_leave(NULL), SELV_E_NULL);
  CHECK_STATUS(selv_thread_enter(c, list, 1), SELV_E_NULL);
  CHECK_STATUS(selv_thread_enter(c, NULL, 1), SELV_E_NULL);
  hook_probe_init(&h, "elsewhere", NULL);
  list[0] = hook_probe_register(other, &h, 0);
  CHECK_STATUS(selv_thread_enter(c, list, 1), SELV_E_INVAL);
  CHECK_LAST_ERROR_HAS("elsewhere");
  CHECK_STATUS(selv_thread_leave(c), SELV_E_NOT_OWNER); /* it never entered */
  CHECK(selv_worker_current() == NULL);
  CHECK_EQ_U64(selv_worker_id(NULL), 0);
  CHECK(selv_worker_name(NULL) == NULL || selv_worker_name(NULL)[0] == '\0');
  CHECK_EQ_U64(probe_stats(c).threads_entered, 0);
  hook_probe_remove(list[0], &h);
  probe_end(other);
  probe_end(c);
}

static void traces(void) {
  CHECK_STATUS(selv_trace_start(NULL), SELV_E_NULL);
  CHECK_STATUS(selv_trace_start(""), SELV_E_IO);
  CHECK_STATUS(selv_trace_start("/nonexistent/folder/trace.json"), SELV_E_IO);
  CHECK_LAST_ERROR_HAS("/nonexistent/folder/trace.json");
  CHECK_STATUS(selv_trace_start("/proc"), SELV_E_IO);
  CHECK_STATUS(selv_trace_stop(), SELV_E_CLOSED);
}

int main(void) {
  CHECK_RUN(caches);
  CHECK_RUN(jobs);
  CHECK_RUN(hooks);
  CHECK_RUN(threads);
  CHECK_RUN(traces);
  return 0;
}

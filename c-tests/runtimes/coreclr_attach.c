/* coreclr_attach: what a worker is in .NET: a managed background thread from its first instruction, one and the same from job
 * to job, with its managed hooks around it; ended, and joined, when unregistering returns. */
#include "coreclr_support.h"

typedef struct seen {
  int managed_id, background, started_here;
  uint32_t crc;
  uint64_t worker;
} seen;

static int32_t look(void *arg, void **out_value) {
  seen *s = (seen *)arg;
  (void)out_value;
  s->managed_id = clr_probe.thread_id();
  s->background = clr_probe.is_background();
  s->started_here = clr_probe.started_here();
  s->crc = clr_probe.crc32("123456789", 9);
  s->worker = selv_worker_id(selv_worker_current());
  return 0;
}

static seen look_on_worker(selv_cache *cache) {
  seen s;
  selv_outcome outcome;
  memset(&s, 0, sizeof s);
  CHECK_OK(selv_cache_run(cache, look, &s, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  return s;
}

static int frees;
static void count_free(void *user) {
  CHECK(user == &frees);
  frees++;
}

int main(void) {
  selv_cache *cache;
  selv_hook *hook = NULL;
  selv_coreclr_options options = SELV_CORECLR_OPTIONS_INIT;
  selv_hook_start_fn start;
  void *pointer;
  seen first, again, other;

  clr_start();
  cache = probe_cache(0, 0);

  hook = clr_register(cache, 0);
  CHECK_EQ_U64(clr_probe.starts(), 0);
  first = look_on_worker(cache);
  CHECK(first.background);
  CHECK(first.started_here);
  CHECK_EQ_U64(first.crc, 0xCBF43926u);
  CHECK(first.managed_id != clr_probe.thread_id());
  again = look_on_worker(cache);
  CHECK_EQ_U64(again.worker, first.worker);
  CHECK_EQ_U64(again.managed_id, first.managed_id);
  CHECK_EQ_U64(clr_probe.starts(), 1);
  CHECK_EQ_U64(clr_worker_threads(), 1);
  CHECK_EVENTUALLY(clr_probe.afters() == 2);
  CHECK_EQ_U64(clr_probe.befores(), 2);
  CHECK_EQ_U64(clr_probe.exits(), 0);
  clr_unregister(hook);
  CHECK_EQ_U64(clr_probe.exits(), 1);
  CHECK_EQ_U64(clr_worker_threads(), 0); /* retired and joined, not just told to go */
  CHECK_EQ_U64(probe_stats(cache).workers, 0);
  selv_hook_release(hook);

  /* The other kind of function pointer, one made of a delegate by managed code; only a start, and user data with an end. */
  pointer = clr_probe.start_pointer();
  memcpy(&start, &pointer, sizeof start);
  options.name = "delegate";
  options.on_start = start;
  options.user = &frees;
  options.user_free = count_free;
  CHECK_OK(selv_coreclr_register(cache, &options, &hook));
  other = look_on_worker(cache);
  CHECK(other.started_here);
  CHECK(other.worker != first.worker);
  CHECK_EQ_U64(clr_probe.starts(), 2);
  CHECK_EQ_U64(frees, 0);
  clr_unregister(hook);
  CHECK_EQ_U64(frees, 1);
  selv_hook_release(hook);

  clr_end();
  CHECK_STATUS(selv_coreclr_host_shutdown(&clr, NULL, NULL), SELV_E_CLOSED);
  probe_end(cache);
  return 0;
}

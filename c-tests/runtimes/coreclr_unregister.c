/* coreclr_unregister: taking CoreCLR away while workers are idle, busy, and in the middle of becoming managed; hooks registered
 * late; registering again; garbage collections all the while; and CoreCLR ended on the line after the last unregister, with the
 * cache alive and working on. */
#include "coreclr_support.h"

#include <sched.h>

static int32_t in_managed(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  CHECK(clr_probe.started_here());
  return 0;
}

static int32_t nothing(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

static void burst(selv_cache *cache, selv_job_fn fn, uint64_t n) {
  probe p;
  selv_job_options job;
  uint64_t i;
  probe_init(&p);
  job = probe_job(fn, &p);
  for (i = 0; i < n; i++) CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK_WAIT(&p.freed, n);
  CHECK_OK(p.last.status);
}

static void idle_workers(void) {
  selv_cache *cache = probe_cache(0, 0);
  selv_hook *hook = clr_register(cache, 0);
  probe_warm(cache, 8);
  CHECK_EQ_U64(clr_worker_threads(), 8);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 8);
  CHECK(clr_probe.collect(1000)); /* idle workers stop no collection */
  clr_unregister(hook);
  CHECK_EQ_U64(clr_worker_threads(), 0);
  selv_hook_release(hook);
  burst(cache, nothing, 8);
  probe_end(cache);
}

static int32_t busy_in_managed(void *arg, void **out_value) {
  probe *p = (probe *)arg;
  (void)out_value;
  check_tally_add(&p->entered, 1);
  return clr_probe.wait_for_gate() ? 0 : 1;
}

/* Jobs that block in managed and in native code: the first wait ends with its time, nothing is broken, the second succeeds. */
static void busy_workers(void) {
  selv_cache *cache = probe_cache(0, 0);
  selv_hook *hook = clr_register(cache, 0);
  uint32_t attached = 99;
  uint64_t begun;
  probe managed, native;
  selv_job_options managed_job, native_job;
  probe_init(&managed);
  probe_init(&native);
  managed_job = probe_job(busy_in_managed, &managed);
  native_job = probe_job(probe_hold, &native);
  probe_warm(cache, 4);
  CHECK_OK(selv_cache_submit(cache, &managed_job, NULL));
  CHECK_OK(selv_cache_submit(cache, &native_job, NULL));
  CHECK_WAIT(&managed.entered, 1);
  CHECK_WAIT(&native.entered, 1);
  CHECK(clr_probe.collect(1000));
  begun = check_now_ns();
  CHECK_STATUS(selv_hook_unregister(hook, 50 * CHECK_MS, &attached), SELV_E_TIMEDOUT);
  CHECK(check_now_ns() - begun >= 50 * CHECK_MS);
  CHECK_EQ_U64(attached, 2);
  CHECK_EQ_U64(check_tally_get(&managed.delivered) + check_tally_get(&native.delivered), 0);
  clr_probe.open_gate();
  check_tally_add(&native.go, 1);
  clr_unregister(hook);
  CHECK_WAIT(&managed.delivered, 1);
  CHECK_WAIT(&native.delivered, 1);
  CHECK_OK(managed.last.status);
  CHECK_EQ_U64(managed.last.code, 0);
  CHECK_OK(native.last.status);
  selv_hook_release(hook);
  probe_end(cache);
}

typedef struct feeder {
  selv_cache *cache;
  probe p;
  uint64_t accepted;
  int stop;
} feeder;

static void *feed(void *arg) {
  feeder *f = (feeder *)arg;
  selv_job_options job = probe_job(nothing, &f->p);
  while (!__atomic_load_n(&f->stop, __ATOMIC_ACQUIRE)) {
    uint64_t i;
    for (i = 0; i < 4; i++) {
      CHECK_OK(selv_cache_submit(f->cache, &job, NULL));
      f->accepted++;
    }
    CHECK_WAIT(&f->p.freed, f->accepted);
  }
  return NULL;
}

/* Unregistering ends the managed workers, so that each round makes fresh ones managed while jobs keep coming. */
static void attaching_workers(void) {
  uint64_t rounds = check_scaled(40), i;
  pthread_t feeders[2];
  feeder f[2];
  selv_cache *cache = probe_cache(0, 0);
  memset(f, 0, sizeof f);
  for (i = 0; i < 2; i++) {
    f[i].cache = cache;
    probe_init(&f[i].p);
    CHECK(pthread_create(&feeders[i], NULL, feed, &f[i]) == 0);
  }
  for (i = 0; i < rounds; i++) {
    selv_hook *hook = clr_register(cache, i % 2 ? SELV_HOOK_EAGER : 0);
    while (hook_probe_stats(hook).starts < i % 4) sched_yield();
    clr_unregister(hook);
    selv_hook_release(hook);
  }
  for (i = 0; i < 2; i++) {
    __atomic_store_n(&f[i].stop, 1, __ATOMIC_RELEASE);
    CHECK(pthread_join(feeders[i], NULL) == 0);
    CHECK_EQ_U64(check_tally_get(&f[i].p.delivered), f[i].accepted);
  }
  probe_end(cache);
}

static void late_and_again(void) {
  selv_cache *cache = probe_cache(0, 0);
  selv_hook *hook;
  uint64_t round, left;
  probe_warm(cache, 4);
  for (round = 0; round < 3; round++) {
    hook = clr_register(cache, 0);
    CHECK_EQ_U64(hook_probe_stats(hook).attached, 0);
    burst(cache, in_managed, 1);
    CHECK_EQ_U64(hook_probe_stats(hook).attached, 1);
    clr_unregister(hook);
    selv_hook_release(hook);
  }
  /* Each round retired the one worker that had become managed; who is left is caught idle, without a job. */
  left = probe_stats(cache).workers;
  CHECK(left >= 1 && left <= 3);
  hook = clr_register(cache, SELV_HOOK_EAGER);
  CHECK_EVENTUALLY(hook_probe_stats(hook).attached == left);
  clr_unregister(hook);
  selv_hook_release(hook);
  probe_end(cache);
}

int main(void) {
  selv_cache *cache;
  selv_hook *hook;
  int exit_code = 99;
  clr_start();
  puts("idle_workers");
  idle_workers();
  puts("busy_workers");
  busy_workers();
  puts("attaching_workers");
  attaching_workers();
  puts("late_and_again");
  late_and_again();
  CHECK_EQ_U64(clr_probe.starts(), clr_probe.exits());

  puts("finalised on the next line");
  cache = probe_cache(0, 0);
  hook = clr_register(cache, 0);
  probe_warm(cache, 4);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  CHECK_OK(selv_coreclr_host_shutdown(&clr, &exit_code, NULL));
  CHECK_EQ_U64(exit_code, 0);
  burst(cache, nothing, 16);
  selv_hook_release(hook);
  probe_end(cache);
  return 0;
}

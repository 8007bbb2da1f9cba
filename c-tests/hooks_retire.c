/* hooks_retire.c: a RETIRE hook is detached only when the worker's thread has ended, TLS destructors and all; a host whose
 * own spawn gives no join cannot have one. */
#include "probe.h"

static pthread_key_t key;
static check_tally destroyed = CHECK_TALLY_INIT;

/* Slow on purpose: a library that does not join would have returned long before. */
static void destroy(void *value) {
  (void)value;
  check_sleep_ms(100);
  check_tally_add(&destroyed, 1);
}

static int32_t start_with_tls(void *user, const selv_worker *w, void **slot) {
  (void)w;
  *slot = user;
  CHECK(pthread_setspecific(key, user) == 0);
  return 0;
}

static void exit_with_tls(void *user, const selv_worker *w, void *slot) {
  (void)w;
  CHECK(slot == user);
}

static selv_hook *register_retiring(selv_cache *c) {
  static int user;
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  selv_hook *hook = NULL;
  options.flags = SELV_HOOK_RETIRE;
  options.name = "retiring";
  options.on_start = start_with_tls;
  options.on_exit = exit_with_tls;
  options.user = &user;
  CHECK_OK(selv_hook_register(c, &options, &hook));
  return hook;
}

static void detached_means_that_the_thread_has_ended(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_hook *hook = register_retiring(c);
  selv_outcome outcome;
  uint32_t attached = 99;
  probe p;
  probe_init(&p);
  probe_warm(c, 3);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(check_tally_get(&destroyed), 3);
  CHECK_EQ_U64(attached, 0);
  CHECK_THREADS_LEFT(0);
  CHECK_EQ_U64(probe_stats(c).workers, 0);
  selv_hook_release(hook);
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome)); /* and the cache starts afresh */
  CHECK_EQ_U64(probe_stats(c).started, 4);
  probe_end(c);
}

static void busy_workers_retire_when_their_job_ends(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_hook *hook = register_retiring(c);
  selv_job_options hold;
  uint32_t attached = 99;
  uint64_t before = check_tally_get(&destroyed);
  probe p;
  probe_init(&p);
  hold = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&p.entered, 1);
  CHECK_STATUS(selv_hook_unregister(hook, 20 * CHECK_MS, &attached), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(attached, 1);
  check_tally_add(&p.go, 1);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  CHECK_EQ_U64(check_tally_get(&destroyed), before + 1);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  selv_hook_release(hook);
  probe_end(c);
}

/* A worker that left on its own (idle timeout) just before must be waited for as well. */
static void a_worker_on_its_way_out_is_waited_for(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_hook *hook = register_retiring(c);
  uint32_t attached = 99;
  uint64_t before = check_tally_get(&destroyed);
  probe_warm(c, 2);
  CHECK_OK(selv_cache_trim(c, 0));
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(check_tally_get(&destroyed), before + 2);
  selv_hook_release(hook);
  probe_end(c);
}

static void shutdown_joins(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_hook *hook = register_retiring(c);
  uint64_t before = check_tally_get(&destroyed);
  probe_warm(c, 2);
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&destroyed), before + 2);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  selv_hook_release(hook);
}

/* Jobs end just as the removal begins: whichever way each worker hears of it, it retires and is waited for. */
static void removal_against_the_end_of_jobs(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  uint64_t round, rounds = check_scaled(300);
  for (round = 0; round < rounds; round++) {
    selv_job_options hold;
    hook_probe h;
    selv_hook *hook;
    volatile uint64_t spin;
    probe p;
    int i;
    probe_init(&p);
    hook_probe_init(&h, "retiring", NULL);
    hook = hook_probe_register(c, &h, SELV_HOOK_RETIRE);
    hold = probe_job(probe_hold, &p);
    for (i = 0; i < 4; i++) CHECK_OK(selv_cache_submit(c, &hold, NULL));
    CHECK_WAIT(&p.entered, 4);
    check_tally_add(&p.go, 1);
    for (spin = 0; spin < round % 100 * 300;) spin++; /* a little later each time */
    hook_probe_remove(hook, &h);
    CHECK_WAIT(&p.freed, 4);
    CHECK_EQ_U64(check_tally_get(&h.exits), 4);
  }
  probe_end(c);
}

static selv_status never_spawn(void *data, void (*entry)(void *), void *entry_arg, const char *name, size_t stack_size,
                               void **out_handle) {
  (void)data;
  (void)entry;
  (void)entry_arg;
  (void)name;
  (void)stack_size;
  (void)out_handle;
  return SELV_E_SPAWN;
}

static void a_spawn_without_join_cannot_retire(void) {
  selv_cache_options cache_options = SELV_CACHE_OPTIONS_INIT;
  selv_hook_options options;
  selv_hook *hook = (selv_hook *)(uintptr_t)1;
  selv_cache *c = NULL;
  hook_probe h;
  hook_probe_init(&h, "retiring", NULL);
  options = hook_probe_options(&h, SELV_HOOK_RETIRE);
  cache_options.spawn = never_spawn;
  CHECK_OK(selv_cache_new(&cache_options, &c));
  CHECK_STATUS(selv_hook_register(c, &options, &hook), SELV_E_UNSUPPORTED);
  CHECK(hook == NULL);
  CHECK_LAST_ERROR_HAS("join");
  CHECK_EQ_U64(check_tally_get(&h.frees), 0);
  options.flags = 0;
  CHECK_OK(selv_hook_register(c, &options, &hook));
  hook_probe_remove(hook, &h);
  probe_end(c);
}

int main(void) {
  CHECK(pthread_key_create(&key, destroy) == 0);
  CHECK_RUN(detached_means_that_the_thread_has_ended);
  CHECK_RUN(busy_workers_retire_when_their_job_ends);
  CHECK_RUN(a_worker_on_its_way_out_is_waited_for);
  CHECK_RUN(shutdown_joins);
  CHECK_RUN(removal_against_the_end_of_jobs);
  CHECK_RUN(a_spawn_without_join_cannot_retire);
  return 0;
}

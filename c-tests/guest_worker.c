/* guest_worker.c: the thread on which a guest polls: a worker of the cache that was chosen, under the run's name, with the cache's hooks
 * started; taken only while there is a poll; and what becomes of the guest when its cache is shut down or has no thread to give. */
#include "guests.h"
#include "probe.h"

static host h;
static const uint64_t sleeps[] = {SELV_FOREVER, SELV_FOREVER, SELV_FOREVER, SELV_GUEST_DONE};

static void begin(guest *g, selv_cache *c) {
  host_begin(&h, HOST_WAKE);
  guest_init(g, &h);
  g->options.cache = c;
}

/* ---- names ---- */

static char seen[64];

static void looks_at_its_name(guest *g) {
  (void)g;
  CHECK(selv_worker_current() != NULL);
  CHECK(pthread_getname_np(pthread_self(), seen, sizeof seen) == 0);
}

static void named(const char *name, const char *wanted) {
  char copy[128];
  guest g;
  begin(&g, NULL);
  if (name) snprintf(copy, sizeof copy, "%s", name);
  g.options.name = name ? copy : NULL;
  g.place = "poll";
  g.then = looks_at_its_name;
  guest_begin(&g);
  memset(copy, '!', sizeof copy - 1); /* the name was copied */
  GUEST_POLLS(&g, 1);
  CHECK_OK(guest_finish(&g));
  GUEST_ENDS(&g, SELV_OK);
  CHECK_STR(seen, wanted);
  host_end(&h);
}

static void the_poll_has_a_name(void) {
  named(NULL, "guest");
  named("trio", "trio");
  named("0123456789abcdefghij", "0123456789abcde");
}

/* ---- which cache ---- */

static void the_cache_that_was_chosen(void) {
  selv_cache *c = probe_cache(0, 0), *shared = NULL;
  uint64_t before;
  guest g;
  CHECK_OK(selv_cache_default(&shared));
  before = probe_stats(shared).jobs_accepted;
  begin(&g, c);
  g.plan = sleeps;
  g.finds = "-+-+-+";
  guest_begin(&g);
  GUEST_ENDS(&g, SELV_OK);
  CHECK_EQ_U64(probe_stats(c).jobs_accepted, 3);
  CHECK_EQ_U64(probe_stats(shared).jobs_accepted, before);
  host_end(&h);

  begin(&g, NULL);
  g.plan = sleeps;
  g.finds = "-+-+-+";
  guest_begin(&g);
  GUEST_ENDS(&g, SELV_OK);
  CHECK_EQ_U64(probe_stats(c).jobs_accepted, 3);
  CHECK_EQ_U64(probe_stats(shared).jobs_accepted, before + 3);
  host_end(&h);
  selv_cache_release(shared);
  probe_end(c);
}

/* Between two polls the worker is anybody's. */
static void no_worker_is_held_between_polls(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_outcome outcome;
  guest g;
  probe p;
  probe_init(&p);
  begin(&g, c);
  g.plan = sleeps;
  g.finds = "-+-+-+";
  guest_begin(&g);
  while (check_tally_get(&g.dones) == 0) {
    HOST_AWAITS(&h);
    CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
    HOST_NEXT(&h);
  }
  CHECK_EQ_U64(probe_stats(c).started, 1);
  GUEST_ENDS(&g, SELV_OK);
  probe_end(c);
  host_end(&h);
}

/* Each has a poll that lasts, and there is one worker for both: neither keeps the other from its work. */
static void two_guests_and_one_worker(void) {
  selv_cache *c = probe_cache(1, 0);
  guest a, b;
  uint64_t i;
  begin(&a, c);
  guest_init(&b, &h);
  b.options.cache = c;
  guest_begin(&a);
  guest_begin(&b);
  for (i = 1; i <= 20; i++) {
    CHECK_OK(guest_post(i % 3 ? &a : &b));
    HOST_UNTIL(&h, a.ran + b.ran == i);
  }
  CHECK_OK(guest_finish(&a));
  GUEST_ENDS(&a, SELV_OK);
  CHECK_OK(guest_finish(&b));
  GUEST_ENDS(&b, SELV_OK);
  probe_end(c);
  host_end(&h);
}

/* ---- hooks ---- */

static hook_probe hook;
static selv_hook *registered;

static void is_attached(guest *g) {
  (void)g;
  CHECK(selv_hook_is_attached(registered));
  CHECK(selv_hook_slot(registered) == &hook);
  CHECK_EQ_U64(check_tally_get(&hook.befores), check_tally_get(&hook.afters) + 1);
}

static selv_status polls_attached(guest *g, uint64_t timeout_ns, void **out_events) {
  if (timeout_ns == 0) {
    CHECK(!selv_hook_is_attached(registered)); /* this is the host's thread */
    return SELV_OK;
  }
  is_attached(g);
  *out_events = guest_new_events(g);
  return SELV_OK;
}

static void hooks_run_around_the_poll(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  guest g;
  hook_probe_init(&hook, "runtime", NULL);
  registered = hook_probe_register_full(c, &hook, 0);
  begin(&g, c);
  g.plan = sleeps;
  g.on_poll = polls_attached;
  guest_begin(&g);
  GUEST_ENDS(&g, SELV_OK);
  CHECK_EQ_U64(check_tally_get(&g.polls), 3);
  CHECK_EQ_U64(check_tally_get(&hook.befores), 3);
  CHECK_EVENTUALLY(check_tally_get(&hook.afters) == 3);
  CHECK_EQ_U64(check_tally_get(&hook.starts), 1);
  hook_probe_remove(registered, &hook);
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&hook.exits), check_tally_get(&hook.starts));
  host_end(&h);
}

/* Each poll on a thread of its own that ends after it: as many starts as exits. */
static void each_worker_starts_and_exits(void) {
  selv_cache *c = probe_cache(0, SELV_NO_WAIT);
  guest g;
  hook_probe_init(&hook, "runtime", NULL);
  registered = hook_probe_register_full(c, &hook, 0);
  begin(&g, c);
  g.plan = sleeps;
  g.on_poll = polls_attached;
  guest_begin(&g);
  GUEST_ENDS(&g, SELV_OK);
  probe_end(c);
  CHECK(check_tally_get(&hook.starts) >= 1);
  CHECK_EQ_U64(check_tally_get(&hook.exits), check_tally_get(&hook.starts));
  CHECK_EQ_U64(check_tally_get(&hook.befores), 3);
  CHECK_EQ_U64(check_tally_get(&hook.afters), 3);
  CHECK_OK(selv_hook_unregister(registered, SELV_FOREVER, NULL));
  selv_hook_release(registered);
  host_end(&h);
}

static void a_hook_that_fails(int32_t start_code, int32_t before_code) {
  selv_cache *c = probe_cache(0, 0);
  guest g;
  hook_probe_init(&hook, "runtime", NULL);
  hook.start_code = start_code;
  hook.before_code = before_code;
  registered = hook_probe_register_full(c, &hook, 0);
  begin(&g, c);
  g.plan = sleeps;
  guest_begin(&g);
  GUEST_ENDS(&g, SELV_E_HOOK_FAILED);
  if (strstr(g.detail, "runtime") == NULL) check_fail(__FILE__, __LINE__, "\"%s\" does not name the hook", g.detail);
  CHECK_EQ_U64(check_tally_get(&g.polls), 0);
  CHECK_EQ_U64(check_tally_get(&g.prepares), 1);
  hook_probe_remove(registered, &hook);
  probe_end(c);
  host_end(&h);
}

static void a_start_that_fails(void) { a_hook_that_fails(-5, 0); }
static void a_before_that_fails(void) { a_hook_that_fails(0, -5); }

/* ---- the cache's end ---- */

static void a_cache_that_is_shut_down_before_the_first_poll(void) {
  selv_cache *c = probe_cache(0, 0);
  guest g;
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, NULL));
  begin(&g, c);
  g.plan = sleeps;
  g.finds = "+-"; /* it gets on as long as it needs no thread */
  guest_begin(&g);
  selv_cache_release(c);
  GUEST_ENDS(&g, SELV_E_CLOSED);
  CHECK_EQ_U64(check_tally_get(&g.prepares), 2);
  host_end(&h);
}

/* The poll that runs is waited for, as any job; the next one is refused. */
static void a_cache_that_is_shut_down_during_a_poll(uint32_t flags) {
  selv_cache *c = probe_cache(0, 0);
  uint32_t remaining = 99;
  guest g;
  begin(&g, c);
  guest_begin(&g);
  GUEST_POLLS(&g, 1);
  CHECK_STATUS(selv_cache_shutdown(c, flags, 0, &remaining), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(remaining, 1);
  CHECK_OK(guest_post(&g));
  GUEST_ENDS(&g, SELV_E_CLOSED);
  CHECK_EQ_U64(g.ran, 1);
  CHECK_OK(selv_cache_shutdown(c, flags, SELV_FOREVER, &remaining));
  selv_cache_release(c);
  host_end(&h);
}

static void shut_down_during_a_poll(void) { a_cache_that_is_shut_down_during_a_poll(0); }
static void shut_down_hard_during_a_poll(void) { a_cache_that_is_shut_down_during_a_poll(SELV_SHUTDOWN_CANCEL_QUEUED); }

/* A poll that waits for a worker is cancelled with all that waits. */
static void shut_down_before_a_worker_is_free(void) {
  selv_cache *c = probe_cache(1, 0);
  selv_job_options hold;
  uint32_t remaining = 99;
  probe busy;
  guest g;
  probe_init(&busy);
  hold = probe_job(probe_hold, &busy);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  begin(&g, c);
  g.plan = sleeps;
  guest_begin(&g);
  HOST_UNTIL(&h, g.for_workers == 1);
  CHECK_STATUS(selv_cache_shutdown(c, SELV_SHUTDOWN_CANCEL_QUEUED, 0, &remaining), SELV_E_TIMEDOUT);
  GUEST_ENDS(&g, SELV_E_CANCELLED);
  CHECK_EQ_U64(check_tally_get(&g.polls), 0);
  check_tally_add(&busy.go, 1);
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  selv_cache_release(c);
  host_end(&h);
}

static selv_status never_starts(void *data, void (*entry)(void *), void *entry_arg, const char *name, size_t stack_size,
                                void **out_handle) {
  (void)data;
  (void)entry;
  (void)entry_arg;
  (void)name;
  (void)stack_size;
  (void)out_handle;
  return SELV_E_SPAWN;
}

static void no_thread_is_to_be_had(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *c = NULL;
  guest g;
  options.spawn = never_starts;
  CHECK_OK(selv_cache_new(&options, &c));
  begin(&g, c);
  g.plan = sleeps;
  guest_begin(&g);
  GUEST_ENDS(&g, SELV_E_SPAWN);
  host_end(&h);
  probe_end(c);
}

int main(void) {
  CHECK_RUN(the_poll_has_a_name);
  CHECK_RUN(the_cache_that_was_chosen);
  CHECK_RUN(no_worker_is_held_between_polls);
  CHECK_RUN(two_guests_and_one_worker);
  CHECK_RUN(hooks_run_around_the_poll);
  CHECK_RUN(each_worker_starts_and_exits);
  CHECK_RUN(a_start_that_fails);
  CHECK_RUN(a_before_that_fails);
  CHECK_RUN(a_cache_that_is_shut_down_before_the_first_poll);
  CHECK_RUN(shut_down_during_a_poll);
  CHECK_RUN(shut_down_hard_during_a_poll);
  CHECK_RUN(shut_down_before_a_worker_is_free);
  CHECK_RUN(no_thread_is_to_be_had);
  return 0;
}

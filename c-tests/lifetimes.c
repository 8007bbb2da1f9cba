/* lifetimes.c: callbacks that let go of the very object whose call is under way: the last reference of a hook inside its
 * user_free or on_exit, of a cache inside a deliver that its shutdown makes. Documented as allowed; nothing freed may be touched
 * afterwards (the driver runs the tests with MALLOC_PERTURB_, so that it shows). */
#include "probe.h"

struct last {
  selv_cache *cache;
  selv_hook *hook;
  check_tally freed, exits;
};

static void last_init(struct last *l) {
  memset(l, 0, sizeof *l);
  check_tally_init(&l->freed);
  check_tally_init(&l->exits);
  l->cache = probe_cache(1, SELV_FOREVER);
}

static int32_t plain_start(void *user, const selv_worker *w, void **slot) {
  (void)w;
  *slot = user;
  return 0;
}

static void release_hook_in_free(void *user) {
  struct last *l = (struct last *)user;
  selv_hook_release(l->hook);
  check_tally_add(&l->freed, 1);
}

static void count_free(void *user) { check_tally_add(&((struct last *)user)->freed, 1); }

static void release_hook_in_exit(void *user, const selv_worker *w, void *slot) {
  struct last *l = (struct last *)user;
  (void)w;
  (void)slot;
  if (check_tally_get(&l->exits) == 0) selv_hook_release(l->hook);
  check_tally_add(&l->exits, 1);
}

static void a_hook_is_released_in_its_user_free(void) {
  int attached;
  for (attached = 0; attached < 2; attached++) {
    struct last l;
    selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
    uint32_t count = 99;
    last_init(&l);
    options.name = "last";
    options.on_start = plain_start;
    options.user = &l;
    options.user_free = release_hook_in_free;
    CHECK_OK(selv_hook_register(l.cache, &options, &l.hook));
    if (attached) probe_warm(l.cache, 1);
    CHECK_OK(selv_hook_unregister(l.hook, SELV_FOREVER, &count));
    CHECK_EQ_U64(count, 0);
    CHECK_EQ_U64(check_tally_get(&l.freed), 1);
    probe_end(l.cache);
  }
}

/* On a thread that has entered, the unregister itself calls on_exit. */
static void a_hook_is_released_in_its_on_exit(void) {
  struct last l;
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  last_init(&l);
  options.name = "last";
  options.on_start = plain_start;
  options.on_exit = release_hook_in_exit;
  options.user = &l;
  options.user_free = count_free;
  CHECK_OK(selv_hook_register(l.cache, &options, &l.hook));
  CHECK_OK(selv_thread_enter(l.cache, NULL, 0));
  CHECK_OK(selv_hook_unregister(l.hook, SELV_FOREVER, NULL));
  CHECK_EQ_U64(check_tally_get(&l.exits), 1);
  CHECK_EQ_U64(check_tally_get(&l.freed), 1);
  CHECK_OK(selv_thread_leave(l.cache));
  probe_end(l.cache);
}

static check_tally cancelled = CHECK_TALLY_INIT;

static void release_cache_in_deliver(void *arg, const selv_outcome *outcome) {
  CHECK_STATUS(outcome->status, SELV_E_CANCELLED);
  selv_cache_release((selv_cache *)arg);
  check_tally_add(&cancelled, 1);
}

/* Shutdown delivers what it cancels on this thread, in the middle of its own work; there are more to cancel after that one. */
static void a_cache_is_released_by_what_its_shutdown_delivers(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_job_options hold, rest;
  uint32_t remaining = 99;
  selv_status status;
  probe busy, p;
  probe_init(&busy);
  probe_init(&p);
  hold = probe_job(probe_hold, &busy);
  rest = probe_job(probe_never, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  CHECK_OK(selv_start_thread_soon(c, probe_never, release_cache_in_deliver, c, NULL));
  CHECK_OK(selv_cache_submit(c, &rest, NULL));
  CHECK_OK(selv_cache_submit(c, &rest, NULL));
  status = selv_cache_shutdown(c, SELV_SHUTDOWN_CANCEL_QUEUED, 0, &remaining);
  CHECK_STATUS(status, SELV_E_TIMEDOUT);
  CHECK_EQ_U64(remaining, 1);
  CHECK_EQ_U64(check_tally_get(&cancelled), 1);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 2);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&busy.freed, 1);
  CHECK_THREADS_LEFT(0);
}

/* A cache that is let go with hooks still registered frees their user data, whatever kind they are. */
static void an_abandoned_cache_frees_its_hooks(void) {
  static const uint32_t kinds[] = {0, SELV_HOOK_LAZY, SELV_HOOK_EAGER, SELV_HOOK_OPTIONAL, SELV_HOOK_RETIRE, SELV_HOOK_FORK_KEEP};
  size_t i;
  for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    selv_cache *c = probe_cache(0, SELV_FOREVER);
    selv_job_options job;
    selv_hook *hook;
    hook_probe h;
    probe p;
    probe_init(&p);
    hook_probe_init(&h, "abandoned", NULL);
    hook = hook_probe_register(c, &h, kinds[i]);
    job = probe_job(probe_run, &p);
    job.attach = &hook;
    job.attach_len = 1;
    CHECK_OK(probe_through(c, &job).status);
    selv_hook_release(hook);
    CHECK_EQ_U64(check_tally_get(&h.frees), 0);
    selv_cache_release(c);
    CHECK_WAIT(&h.frees, 1);
    CHECK_EQ_U64(check_tally_get(&h.starts), 1);
    CHECK_EQ_U64(check_tally_get(&h.exits), 1);
    CHECK_THREADS_LEFT(0);
  }
}

/* The same after a shutdown, and for hooks that no worker ever had. */
static void a_shut_down_cache_frees_its_hooks(void) {
  int used;
  for (used = 0; used < 2; used++) {
    selv_cache *c = probe_cache(0, SELV_FOREVER);
    hook_probe h;
    hook_probe_init(&h, "left", NULL);
    selv_hook_release(hook_probe_register(c, &h, 0));
    if (used) probe_warm(c, 2);
    probe_end(c);
    CHECK_WAIT(&h.frees, 1);
    CHECK_EQ_U64(check_tally_get(&h.exits), used ? 2 : 0);
  }
}

int main(void) {
  CHECK_RUN(a_hook_is_released_in_its_user_free);
  CHECK_RUN(a_hook_is_released_in_its_on_exit);
  CHECK_RUN(a_cache_is_released_by_what_its_shutdown_delivers);
  CHECK_RUN(an_abandoned_cache_frees_its_hooks);
  CHECK_RUN(a_shut_down_cache_frees_its_hooks);
  return 0;
}

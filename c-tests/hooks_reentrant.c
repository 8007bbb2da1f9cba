/* hooks_reentrant.c: callbacks are called with no lock held: a hook may submit jobs, read stats, register and remove other
 * hooks; deliver and arg_free may too. And what the slot and the worker say inside them. */
#include "probe.h"

struct busybody {
  selv_cache *cache;
  selv_hook *own, *other;
  hook_probe other_probe;
  probe jobs;
  int starts;
  check_tally exits, submitted_in_exit, refused_in_exit; /* of as many workers as there are */
};

static selv_hook *const none[1] = {NULL};

static selv_status submit_plain(struct busybody *b) {
  selv_job_options job = probe_job(probe_run, &b->jobs);
  job.attach = none; /* needs no hook, else it would come back here */
  return selv_cache_submit(b->cache, &job, NULL);
}

static int32_t meddle_at_start(void *user, const selv_worker *w, void **slot) {
  struct busybody *b = (struct busybody *)user;
  CHECK(selv_worker_id(w) != 0);
  CHECK(selv_hook_slot(b->own) == NULL); /* not before on_start has succeeded */
  CHECK_EQ_U64(selv_hook_is_attached(b->own), 0);
  CHECK(probe_stats(b->cache).workers >= 1);
  CHECK_OK(submit_plain(b));
  if (b->starts++ == 0) b->other = hook_probe_register(b->cache, &b->other_probe, 0);
  *slot = b;
  return 0;
}

static void meddle_at_exit(void *user, const selv_worker *w, void *slot) {
  struct busybody *b = (struct busybody *)user;
  CHECK(slot == b);
  CHECK(selv_worker_current() == w);
  CHECK(selv_hook_slot(b->own) == b); /* visible to the end of on_exit */
  CHECK_EQ_U64(selv_hook_is_attached(b->own), 1);
  CHECK(hook_probe_stats(b->own).starts >= 1);
  (void)probe_stats(b->cache);
  switch (submit_plain(b)) {
    case SELV_OK:
      check_tally_add(&b->submitted_in_exit, 1);
      break;
    case SELV_E_CLOSED:
      check_tally_add(&b->refused_in_exit, 1);
      break;
    default:
      CHECK(!"a submit from on_exit succeeds or is refused for the shutdown");
  }
  check_tally_add(&b->exits, 1);
}

static void busybody_init(struct busybody *b) {
  memset(b, 0, sizeof *b);
  hook_probe_init(&b->other_probe, "other", NULL);
  probe_init(&b->jobs);
  check_tally_init(&b->exits);
  check_tally_init(&b->submitted_in_exit);
  check_tally_init(&b->refused_in_exit);
  b->cache = probe_cache(0, SELV_FOREVER);
}

static void busybody_register(struct busybody *b, uint32_t flags) {
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  options.name = "busybody";
  options.flags = flags;
  options.on_start = meddle_at_start;
  options.on_exit = meddle_at_exit;
  options.user = b;
  CHECK_OK(selv_hook_register(b->cache, &options, &b->own));
}

static void hooks_call_the_library(void) {
  struct busybody b;
  selv_job_options job;
  probe p;
  busybody_init(&b);
  probe_init(&p);
  busybody_register(&b, 0);
  job = probe_job(probe_run, &p);
  CHECK_OK(probe_through(b.cache, &job).status);
  CHECK_WAIT(&b.jobs.freed, 1);
  job = probe_job(probe_run, &p);
  CHECK_OK(probe_through(b.cache, &job).status); /* the hook registered inside on_start is there for the next job */
  CHECK(check_tally_get(&b.other_probe.starts) >= 1);
  CHECK_OK(selv_hook_unregister(b.own, SELV_FOREVER, NULL));
  CHECK(check_tally_get(&b.exits) >= 1);
  CHECK_EQ_U64(check_tally_get(&b.submitted_in_exit), check_tally_get(&b.exits));
  hook_probe_remove(b.other, &b.other_probe);
  selv_hook_release(b.own);
  probe_end(b.cache);
  CHECK_EQ_U64(check_tally_get(&b.jobs.freed), check_tally_get(&b.jobs.ran));
}

static void a_submit_from_on_exit_during_shutdown_is_refused(void) {
  struct busybody b;
  uint32_t remaining = 99;
  selv_outcome outcome;
  busybody_init(&b);
  busybody_register(&b, 0);
  CHECK_OK(selv_cache_run(b.cache, probe_run, &b.jobs, SELV_FOREVER, &outcome));
  CHECK_OK(selv_cache_shutdown(b.cache, 0, SELV_FOREVER, &remaining));
  CHECK_EQ_U64(check_tally_get(&b.exits), 1);
  CHECK_EQ_U64(check_tally_get(&b.refused_in_exit), 1);
  CHECK_OK(selv_hook_unregister(b.own, SELV_FOREVER, NULL));
  selv_hook_release(b.own);
  selv_hook_release(b.other);
  selv_cache_release(b.cache);
}

/* ---- a hook that removes itself, from each of its own callbacks ---- */

struct leaver {
  selv_hook *hook;
  const char *where;
  selv_status waiting, begun;
  check_tally freed;
};

static void leave_from(struct leaver *l, const char *where) {
  uint32_t attached = 99;
  if (strcmp(l->where, where) != 0) return;
  l->where = "";
  l->waiting = selv_hook_unregister(l->hook, SELV_FOREVER, &attached);
  l->begun = selv_hook_unregister(l->hook, 0, &attached);
}

static int32_t leaver_start(void *user, const selv_worker *w, void **slot) {
  (void)w;
  *slot = user;
  leave_from((struct leaver *)user, "start");
  return 0;
}

static int32_t leaver_before(void *user, const selv_worker *w, void *slot) {
  (void)w;
  (void)slot;
  leave_from((struct leaver *)user, "before");
  return 0;
}

static void leaver_after(void *user, const selv_worker *w, void *slot) {
  (void)w;
  (void)slot;
  leave_from((struct leaver *)user, "after");
}

static void leaver_freed(void *user) { check_tally_add(&((struct leaver *)user)->freed, 1); }

static void a_hook_may_remove_itself(void) {
  static const char *const places[] = {"start", "before", "after"};
  size_t i;
  for (i = 0; i < sizeof places / sizeof places[0]; i++) {
    selv_cache *c = probe_cache(0, SELV_FOREVER);
    selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
    selv_job_options job;
    struct leaver l;
    probe p;
    probe_init(&p);
    memset(&l, 0, sizeof l);
    check_tally_init(&l.freed);
    l.where = places[i];
    options.name = "leaver";
    options.on_start = leaver_start;
    options.before_job = leaver_before;
    options.after_job = leaver_after;
    options.user = &l;
    options.user_free = leaver_freed;
    CHECK_OK(selv_hook_register(c, &options, &l.hook));
    job = probe_job(probe_run, &p);
    (void)probe_through(c, &job);
    CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
    CHECK_STATUS(l.waiting, SELV_E_DEADLOCK);
    CHECK_STATUS(l.begun, SELV_E_TIMEDOUT);
    CHECK_WAIT(&l.freed, 1);
    selv_hook_release(l.hook);
    CHECK_OK(probe_through(c, &job).status);
    probe_end(c);
  }
}

/* ---- the same on a host's own thread, inside selv_thread_enter and _leave ---- */

struct meddler {
  selv_cache *cache;
  selv_hook *own, *second;
  const char *where; /* in which callback */
  char call;         /* what it calls */
  int starts, exits;
  selv_status status;
  check_tally freed;
};

static void meddle(struct meddler *m, const char *where) {
  uint32_t attached = 0;
  if (strcmp(m->where, where) != 0) return;
  m->where = ""; /* once */
  switch (m->call) {
    case 'e':
      m->status = selv_thread_enter(m->cache, NULL, 0);
      break;
    case 'l':
      m->status = selv_thread_leave(m->cache);
      break;
    case 'o':
      m->status = selv_hook_unregister(m->own, 0, &attached);
      break;
    case 'w': /* it would wait for itself */
      m->status = selv_hook_unregister(m->own, SELV_FOREVER, &attached);
      break;
    case 's':
      m->status = selv_hook_unregister(m->second, 0, &attached);
      break;
    default:
      CHECK(!"a known call");
  }
}

static int32_t meddler_start(void *user, const selv_worker *w, void **slot) {
  struct meddler *m = (struct meddler *)user;
  (void)w;
  m->starts++;
  *slot = m;
  meddle(m, "start");
  return 0;
}

static void meddler_exit(void *user, const selv_worker *w, void *slot) {
  struct meddler *m = (struct meddler *)user;
  (void)w;
  CHECK(slot == m);
  m->exits++;
  meddle(m, "exit");
}

static void meddler_freed(void *user) { check_tally_add(&((struct meddler *)user)->freed, 1); }

static void one_meddler(const char *where, char call) {
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  struct meddler m;
  hook_probe second;
  uint32_t attached = 99;
  printf("  %c in %s\n", call, where);
  fflush(stdout);
  memset(&m, 0, sizeof m);
  check_tally_init(&m.freed);
  hook_probe_init(&second, "second", NULL);
  m.cache = probe_cache(0, SELV_FOREVER);
  m.where = where;
  m.call = call;
  m.status = -12345;
  options.name = "meddler";
  options.on_start = meddler_start;
  options.on_exit = meddler_exit;
  options.user = &m;
  options.user_free = meddler_freed;
  CHECK_OK(selv_hook_register(m.cache, &options, &m.own));
  m.second = hook_probe_register(m.cache, &second, 0);
  CHECK_OK(selv_thread_enter(m.cache, NULL, 0));
  CHECK(selv_worker_current() != NULL);
  CHECK_OK(selv_thread_leave(m.cache));
  CHECK(selv_worker_current() == NULL);
  CHECK(m.status != -12345); /* it was asked */
  if (call == 'w') CHECK_STATUS(m.status, SELV_E_DEADLOCK);
  if (call == 'e' || call == 'l') CHECK_STATUS(m.status, SELV_E_REENTRANT); /* in the middle of entering or leaving */
  CHECK(m.status != SELV_E_PANIC);
  CHECK_OK(selv_hook_unregister(m.own, SELV_FOREVER, &attached)); /* ends, whatever went before */
  CHECK_EQ_U64(attached, 0);
  CHECK_OK(selv_hook_unregister(m.second, SELV_FOREVER, &attached));
  CHECK_EQ_U64(m.starts, 1);
  CHECK_EQ_U64(m.exits, 1);
  CHECK_EQ_U64(check_tally_get(&m.freed), 1);
  CHECK_EQ_U64(check_tally_get(&second.starts), check_tally_get(&second.exits));
  CHECK_EQ_U64(check_tally_get(&second.frees), 1);
  selv_hook_release(m.own);
  selv_hook_release(m.second);
  probe_end(m.cache);
}

static void hooks_of_an_entered_thread_call_the_library(void) {
  static const char calls[] = "elows";
  const char *call;
  for (call = calls; *call; call++) {
    one_meddler("start", *call);
    one_meddler("exit", *call);
  }
}

/* And on a worker, in each callback: entering makes no sense there, and says so. */
static selv_status enter_in_before, leave_in_after;

static int32_t before_that_enters(void *user, const selv_worker *w, void *slot) {
  (void)w;
  (void)slot;
  enter_in_before = selv_thread_enter((selv_cache *)user, NULL, 0);
  return 0;
}

static void after_that_leaves(void *user, const selv_worker *w, void *slot) {
  (void)w;
  (void)slot;
  leave_in_after = selv_thread_leave((selv_cache *)user);
}

static void hooks_of_a_worker_cannot_enter(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  selv_hook *hook = NULL;
  selv_job_options job;
  probe p;
  probe_init(&p);
  options.name = "enters";
  options.before_job = before_that_enters;
  options.after_job = after_that_leaves;
  options.user = c;
  CHECK_OK(selv_hook_register(c, &options, &hook));
  job = probe_job(probe_run, &p);
  CHECK_OK(probe_through(c, &job).status);
  CHECK_STATUS(enter_in_before, SELV_E_REENTRANT);
  CHECK_STATUS(leave_in_after, SELV_E_REENTRANT);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, NULL));
  selv_hook_release(hook);
  probe_end(c);
}

/* ---- arg_free ---- */

struct relay {
  selv_cache *cache;
  int left;
  check_tally done;
};

static int32_t relay_fn(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

static void relay_free(void *arg) {
  struct relay *r = (struct relay *)arg;
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  (void)probe_stats(r->cache);
  if (--r->left == 0) {
    check_tally_add(&r->done, 1);
    return;
  }
  job.fn = relay_fn;
  job.arg = r;
  job.arg_free = relay_free;
  CHECK_OK(selv_cache_submit(r->cache, &job, NULL));
}

static void arg_free_may_submit(void) {
  struct relay r;
  memset(&r, 0, sizeof r);
  check_tally_init(&r.done);
  r.cache = probe_cache(0, SELV_FOREVER);
  r.left = 101;
  relay_free(&r);
  CHECK_WAIT(&r.done, 1);
  probe_end(r.cache);
}

int main(void) {
  CHECK_RUN(hooks_call_the_library);
  CHECK_RUN(a_submit_from_on_exit_during_shutdown_is_refused);
  CHECK_RUN(a_hook_may_remove_itself);
  CHECK_RUN(hooks_of_an_entered_thread_call_the_library);
  CHECK_RUN(hooks_of_a_worker_cannot_enter);
  CHECK_RUN(arg_free_may_submit);
  return 0;
}

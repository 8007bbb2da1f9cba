/* spawn_host.c: the host's own thread starter. It gets name and stack size, each thread that it started is joined once; one
 * that fails is reported to the submitter at once and leaves no residue; a status that the library does not know is reported,
 * not trusted. */
#include "probe.h"

struct starter {
  int calls, joins;
  int fails_from, fails_to; /* 1-based calls that fail */
  selv_status failure;
  size_t stack_size;
  char name[64];
  check_tally *inside, *go; /* if set: the first call tells that it is there, and waits */
};

struct entry {
  void (*body)(void *);
  void *arg;
};

static void *enter(void *arg) {
  struct entry *e = (struct entry *)arg;
  struct entry copy = *e;
  free(e);
  copy.body(copy.arg);
  return NULL;
}

static selv_status start(void *data, void (*entry)(void *), void *entry_arg, const char *name, size_t stack_size,
                         void **out_handle) {
  struct starter *s = (struct starter *)data;
  int call = __atomic_add_fetch(&s->calls, 1, __ATOMIC_SEQ_CST);
  pthread_attr_t attributes;
  struct entry *e;
  pthread_t *thread;
  if (call == 1 && s->inside != NULL) {
    check_tally_add(s->inside, 1);
    CHECK_WAIT(s->go, 1);
  }
  if (call >= s->fails_from && call <= s->fails_to) {
    *out_handle = (void *)(uintptr_t)1; /* what a failed call leaves there is not to be used */
    return s->failure;
  }
  s->stack_size = stack_size;
  snprintf(s->name, sizeof s->name, "%s", name ? name : "(null)");
  thread = (pthread_t *)malloc(sizeof *thread);
  e = (struct entry *)malloc(sizeof *e);
  CHECK(thread && e);
  e->body = entry;
  e->arg = entry_arg;
  CHECK(pthread_attr_init(&attributes) == 0);
  if (stack_size) CHECK(pthread_attr_setstacksize(&attributes, stack_size) == 0);
  CHECK(pthread_create(thread, &attributes, enter, e) == 0);
  pthread_attr_destroy(&attributes);
  *out_handle = thread;
  return SELV_OK;
}

static void join(void *data, void *handle) {
  CHECK(!pthread_equal(*(pthread_t *)handle, pthread_self())); /* nobody can wait for himself */
  CHECK(pthread_join(*(pthread_t *)handle, NULL) == 0);
  free(handle);
  __atomic_add_fetch(&((struct starter *)data)->joins, 1, __ATOMIC_SEQ_CST);
}

static selv_cache *cache_with(struct starter *s, uint32_t max_workers) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *c = NULL;
  options.name = "hosted";
  options.max_workers = max_workers;
  options.idle_timeout_ns = SELV_FOREVER;
  options.stack_size = 512 * 1024;
  options.spawn = start;
  options.join = join;
  options.spawn_data = s;
  CHECK_OK(selv_cache_new(&options, &c));
  return c;
}

static void every_thread_is_joined_once(void) {
  struct starter s;
  selv_cache *c;
  memset(&s, 0, sizeof s);
  c = cache_with(&s, 0);
  CHECK_EQ_U64(s.calls, 0); /* no thread before there is a job */
  probe_warm(c, 4);
  CHECK_EQ_U64(s.calls, 4);
  CHECK_EQ_U64(s.stack_size, 512 * 1024);
  CHECK(strncmp(s.name, "hosted", 6) == 0);
  CHECK_OK(selv_cache_trim(c, 1));
  CHECK_EVENTUALLY(probe_stats(c).workers == 1);
  probe_end(c);
  CHECK_EQ_U64(s.calls, 4);
  CHECK_EQ_U64(s.joins, 4);
}

static void no_residue_of(selv_status failure) {
  struct starter s;
  selv_cache *c;
  selv_job_options job;
  selv_job *handle = (selv_job *)(uintptr_t)1;
  selv_outcome outcome;
  probe p;
  memset(&s, 0, sizeof s);
  probe_init(&p);
  s.failure = failure;
  s.fails_from = 1;
  s.fails_to = 3;
  c = cache_with(&s, 0);
  job = probe_job(probe_run, &p);
  CHECK_STATUS(selv_cache_submit(c, &job, &handle), SELV_E_SPAWN);
  CHECK(handle == NULL);
  CHECK(selv_last_error(NULL, 0) > 0);
  CHECK_STATUS(selv_start_thread_soon(c, probe_run, probe_deliver, &p, NULL), SELV_E_SPAWN);
  CHECK_STATUS(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome), SELV_E_SPAWN);
  CHECK_EQ_U64(probe_stats(c).workers, 0);
  CHECK_EQ_U64(probe_stats(c).started, 0);
  CHECK_EQ_U64(probe_stats(c).jobs_accepted, 0);
  CHECK_EQ_U64(probe_stats(c).jobs_queued, 0);
  CHECK_EQ_U64(probe_stats(c).spawn_failures, 3);
  CHECK_EQ_U64(check_tally_get(&p.ran) + check_tally_get(&p.delivered) + check_tally_get(&p.freed), 0);
  CHECK_OK(selv_cache_submit(c, &job, NULL)); /* the fourth call works: so does the cache */
  CHECK_WAIT(&p.freed, 1);
  probe_end(c);
  CHECK_EQ_U64(s.calls, 4);
  CHECK_EQ_U64(s.joins, 1);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
}

static void the_first_call_fails(void) { no_residue_of(SELV_E_SPAWN); }
static void it_fails_for_another_reason(void) { no_residue_of(SELV_E_NOMEM); }
static void it_fails_with_an_unknown_negative_status(void) { no_residue_of(-4711); }
static void it_fails_with_an_unknown_positive_status(void) { no_residue_of(4711); }
static void pending_is_no_thread(void) { no_residue_of(SELV_PENDING); }

static void the_unknown_status_is_named(void) {
  struct starter s;
  selv_cache *c;
  memset(&s, 0, sizeof s);
  s.failure = -4711;
  s.fails_from = 1;
  s.fails_to = 1;
  c = cache_with(&s, 0);
  CHECK_STATUS(selv_start_thread_soon(c, probe_never, NULL, NULL, NULL), SELV_E_SPAWN);
  CHECK_LAST_ERROR_HAS("-4711");
  probe_end(c);
}

static void the_nth_call_fails(void) {
  struct starter s;
  selv_cache *c;
  selv_job_options hold, job;
  probe busy, p;
  int i;
  memset(&s, 0, sizeof s);
  probe_init(&busy);
  probe_init(&p);
  s.failure = SELV_E_SPAWN;
  s.fails_from = 4;
  s.fails_to = 1000;
  c = cache_with(&s, 0);
  hold = probe_job(probe_hold, &busy);
  job = probe_job(probe_run, &p);
  for (i = 0; i < 3; i++) CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 3);
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_SPAWN); /* all three are busy and no fourth is to be had */
  CHECK_EQ_U64(probe_stats(c).workers, 3);
  CHECK_EQ_U64(probe_stats(c).jobs_queued, 0);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&busy.freed, 3);
  CHECK_OK(selv_cache_submit(c, &job, NULL)); /* the three are idle again */
  CHECK_WAIT(&p.freed, 1);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  probe_end(c);
  CHECK_EQ_U64(s.joins, 3);
}

/* A bounded cache that has a worker queues past a failing start: somebody will serve the job. One that has none refuses. */
static void a_bounded_cache_with_a_worker_may_queue(void) {
  struct starter s;
  selv_cache *c;
  selv_job_options hold, job;
  selv_status status;
  probe busy, p;
  memset(&s, 0, sizeof s);
  probe_init(&busy);
  probe_init(&p);
  s.failure = SELV_E_SPAWN;
  s.fails_from = 2;
  s.fails_to = 1000;
  c = cache_with(&s, 3);
  hold = probe_job(probe_hold, &busy);
  job = probe_job(probe_run, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  status = selv_cache_submit(c, &job, NULL);
  CHECK(status == SELV_OK || status == SELV_E_SPAWN); /* what must not be is a job accepted and lost */
  check_tally_add(&busy.go, 1);
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&p.delivered), status == SELV_OK ? 1 : 0);
  CHECK_EQ_U64(check_tally_get(&p.freed), status == SELV_OK ? 1 : 0);
}

/* A job was queued behind a thread that is just being started, and that start fails: it was accepted, so it is delivered. */
static void *submit_first(void *cache) {
  selv_status status = selv_start_thread_soon((selv_cache *)cache, probe_never, NULL, NULL, NULL);
  CHECK_STATUS(status, SELV_E_SPAWN);
  return NULL;
}

static void a_job_behind_a_failing_start_is_not_lost(void) {
  int fails_to;
  for (fails_to = 1; fails_to <= 2; fails_to++) { /* the next start works, or fails as well */
    check_tally inside = CHECK_TALLY_INIT, go = CHECK_TALLY_INIT;
    struct starter s;
    selv_cache *c;
    selv_job_options job;
    selv_status status;
    pthread_t first;
    probe p;
    memset(&s, 0, sizeof s);
    probe_init(&p);
    s.failure = SELV_E_SPAWN;
    s.fails_from = 1;
    s.fails_to = fails_to;
    s.inside = &inside;
    s.go = &go;
    c = cache_with(&s, 1);
    CHECK(pthread_create(&first, NULL, submit_first, c) == 0);
    CHECK_WAIT(&inside, 1);
    job = probe_job(probe_run, &p);
    status = selv_cache_submit(c, &job, NULL);
    check_tally_add(&go, 1);
    CHECK(pthread_join(first, NULL) == 0);
    if (status == SELV_OK) {
      CHECK_WAIT(&p.freed, 1);
      CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
      CHECK_STATUS(p.last.status, fails_to == 1 ? SELV_OK : SELV_E_SPAWN);
    } else
      CHECK_STATUS(status, SELV_E_SPAWN);
    probe_end(c);
  }
}

/* One start fails while another worker lives: the queue is that one's to serve, and nothing in it is refused. */
static int32_t ends_its_thread(void *arg, void **out_value) {
  (void)out_value;
  CHECK_WAIT(&((probe *)arg)->go, 1);
  pthread_exit(NULL);
}

static void a_living_worker_serves_the_queue_although_a_start_fails(void) {
  struct starter s;
  selv_cache *c;
  selv_job_options hold, dying, job;
  uint32_t remaining = 99;
  probe busy, lost, p;
  int i;
  memset(&s, 0, sizeof s);
  probe_init(&busy);
  probe_init(&lost);
  probe_init(&p);
  s.failure = SELV_E_SPAWN;
  s.fails_from = 3; /* no thread takes the place of the lost one */
  s.fails_to = 1000;
  c = cache_with(&s, 2);
  hold = probe_job(probe_hold, &busy);
  dying = probe_job(ends_its_thread, &lost);
  job = probe_job(probe_run, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_OK(selv_cache_submit(c, &dying, NULL));
  for (i = 0; i < 10; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  check_tally_add(&lost.go, 1);
  CHECK_EVENTUALLY(probe_stats(c).threads_lost == 1);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&p.freed, 10);
  CHECK_EQ_U64(check_tally_get(&p.ran), 10);
  CHECK_WAIT(&lost.freed, 1);
  CHECK_STATUS(lost.last.status, SELV_E_BROKEN);
  CHECK_EQ_U64(check_tally_get(&p.delivered) + check_tally_get(&busy.delivered) + check_tally_get(&lost.delivered), 12);
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  CHECK_EQ_U64(remaining, 0);
  selv_cache_release(c);
}

/* A queued job whose last hope of a worker is gone is delivered as SPAWN, with the reason; and the runtime may end the thread
 * inside that deliver as inside any other. */
static void deliver_then_exit(void *arg, const selv_outcome *outcome) {
  probe_deliver(arg, outcome);
  pthread_exit(NULL);
}

static void the_refusal_of_a_queued_job_may_end_its_thread(void) {
  struct starter s;
  selv_cache *c;
  selv_job_options hold, job;
  uint32_t attached = 99, remaining = 99;
  hook_probe h;
  selv_hook *hook;
  probe busy, p;
  memset(&s, 0, sizeof s);
  probe_init(&busy);
  probe_init(&p);
  hook_probe_init(&h, "retiring", NULL);
  s.failure = SELV_E_SPAWN;
  s.fails_from = 2;
  s.fails_to = 1000;
  c = cache_with(&s, 1);
  hook = hook_probe_register(c, &h, SELV_HOOK_RETIRE);
  hold = probe_job(probe_hold, &busy);
  job = probe_job(probe_run, &p);
  job.deliver = deliver_then_exit;
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_STATUS(selv_hook_unregister(hook, 0, &attached), SELV_E_TIMEDOUT);
  check_tally_add(&busy.go, 1); /* the worker retires; no other can be started for the job that waits */
  CHECK_WAIT(&p.delivered, 1);
  CHECK(p.last.status == SELV_E_SPAWN || p.last.status == SELV_OK);
  CHECK(p.last.status == SELV_OK || p.detail[0] != '\0');
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(check_tally_get(&h.frees), 1);
  selv_hook_release(hook);
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  CHECK_EQ_U64(check_tally_get(&p.freed), 1);
  selv_cache_release(c);
}

/* Workers that retire one after the other while jobs queue: each is joined once, by somebody else. */
static void retiring_workers_are_joined_by_another(void) {
  struct starter s;
  selv_cache *c;
  selv_job_options hold;
  hook_probe h;
  selv_hook *hook;
  uint32_t attached = 99;
  probe p;
  int i;
  memset(&s, 0, sizeof s);
  probe_init(&p);
  hook_probe_init(&h, "retiring", NULL);
  c = cache_with(&s, 1);
  hook = hook_probe_register(c, &h, SELV_HOOK_RETIRE);
  hold = probe_job(probe_hold, &p);
  for (i = 0; i < 3; i++) CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&p.entered, 1);
  CHECK_STATUS(selv_hook_unregister(hook, 0, &attached), SELV_E_TIMEDOUT);
  check_tally_add(&p.go, 1);
  hook_probe_remove(hook, &h);
  CHECK_WAIT(&p.freed, 3);
  probe_end(c);
  CHECK_EQ_U64(s.joins, s.calls);
}

/* Without join the host looks after its threads: shutdown returns when they have left the library's code. */
static selv_status start_detached(void *data, void (*entry)(void *), void *entry_arg, const char *name, size_t stack_size,
                                  void **out_handle) {
  void *handle = NULL;
  selv_status status = start(data, entry, entry_arg, name, stack_size, &handle);
  (void)out_handle; /* left as it was */
  if (status != SELV_OK) return status;
  CHECK(pthread_detach(*(pthread_t *)handle) == 0);
  free(handle);
  return SELV_OK;
}

static void join_is_optional(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  struct starter s;
  selv_cache *c = NULL;
  memset(&s, 0, sizeof s);
  options.spawn = start_detached;
  options.spawn_data = &s;
  CHECK_OK(selv_cache_new(&options, &c));
  probe_warm(c, 3);
  probe_end(c);
  CHECK_EQ_U64(s.calls, 3);
  CHECK_THREADS_LEFT(0);
}

int main(void) {
  CHECK_RUN(every_thread_is_joined_once);
  CHECK_RUN(the_first_call_fails);
  CHECK_RUN(it_fails_for_another_reason);
  CHECK_RUN(it_fails_with_an_unknown_negative_status);
  CHECK_RUN(it_fails_with_an_unknown_positive_status);
  CHECK_RUN(pending_is_no_thread);
  CHECK_RUN(the_unknown_status_is_named);
  CHECK_RUN(the_nth_call_fails);
  CHECK_RUN(a_bounded_cache_with_a_worker_may_queue);
  CHECK_RUN(a_job_behind_a_failing_start_is_not_lost);
  CHECK_RUN(a_living_worker_serves_the_queue_although_a_start_fails);
  CHECK_RUN(the_refusal_of_a_queued_job_may_end_its_thread);
  CHECK_RUN(retiring_workers_are_joined_by_another);
  CHECK_RUN(join_is_optional);
  return 0;
}

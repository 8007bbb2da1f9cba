/* job_limiter_returns.c: the token comes back however the job ends: hooks that fail, a thread that dies in fn, a thread that cannot
 * be started, a job that gave it back itself; and those that wait for it go on. */
#include "probe.h"
#include "sync_probe.h"

static selv_limiter *limiter;

static selv_job_options limited(selv_job_fn fn, probe *p) {
  selv_job_options job = probe_job(fn, p);
  job.limiter = limiter;
  return job;
}

static void nothing_is_out(void) {
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 0);
  CHECK_EQ_U64(limiter_waiting(limiter), 0);
  CHECK_OK(selv_limiter_free(limiter));
}

static void hooks_that_fail(int in_start) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job;
  selv_hook *hook;
  hook_probe h;
  probe p, q;
  int i;
  probe_init(&p);
  probe_init(&q);
  limiter = limiter_of(2);
  hook_probe_init(&h, "failing", NULL);
  if (in_start)
    h.start_code = 5;
  else
    h.before_code = 5;
  hook = hook_probe_register_full(c, &h, 0);
  job = limited(probe_never, &p);
  for (i = 0; i < 30; i++) CHECK_OK(selv_cache_submit(c, &job, NULL)); /* most of them wait for those that fail */
  CHECK_WAIT(&p.freed, 30);
  CHECK_STATUS(p.last.status, SELV_E_HOOK_FAILED);
  CHECK_EQ_U64(p.last.code, 5);
  hook_probe_remove(hook, &h);
  job = limited(probe_run, &q);
  CHECK_OK(probe_through(c, &job).status);
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 30);
  nothing_is_out();
}

static void a_start_that_fails(void) { hooks_that_fail(1); }
static void a_before_that_fails(void) { hooks_that_fail(0); }

static int32_t dies(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  pthread_exit(NULL);
}

static void a_thread_lost_in_fn(uint32_t max_workers) {
  selv_cache *c = probe_cache(max_workers, SELV_FOREVER);
  selv_job_options job, after;
  uint32_t remaining = 99;
  probe p, q;
  int i;
  probe_init(&p);
  probe_init(&q);
  limiter = limiter_of(1);
  job = limited(dies, &p);
  after = limited(probe_run, &q);
  for (i = 0; i < 10; i++) CHECK_OK(selv_cache_submit(c, i % 2 ? &after : &job, NULL));
  CHECK_WAIT(&p.freed, 5);
  CHECK_WAIT(&q.freed, 5);
  CHECK_STATUS(p.last.status, SELV_E_BROKEN);
  CHECK_OK(q.last.status);
  CHECK_EVENTUALLY(probe_stats(c).threads_lost == 5);
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  selv_cache_release(c);
  nothing_is_out();
}

static void a_thread_lost_on_an_unbounded_cache(void) { a_thread_lost_in_fn(0); }
static void a_thread_lost_on_a_cache_of_one(void) { a_thread_lost_in_fn(1); }

static int threads_fail;

struct entry {
  void (*fn)(void *);
  void *arg;
};

static void *enter(void *arg) {
  struct entry e = *(struct entry *)arg;
  free(arg);
  e.fn(e.arg);
  return NULL;
}

/* The host's spawn fails when told to. */
static selv_status spawn(void *data, void (*fn)(void *), void *arg, const char *name, size_t stack_size, void **out_handle) {
  struct entry *e;
  pthread_t thread;
  (void)data;
  (void)name;
  (void)stack_size;
  if (__atomic_load_n(&threads_fail, __ATOMIC_ACQUIRE)) return SELV_E_SPAWN;
  e = (struct entry *)malloc(sizeof *e);
  CHECK(e != NULL);
  e->fn = fn;
  e->arg = arg;
  CHECK(pthread_create(&thread, NULL, enter, e) == 0);
  memcpy(out_handle, &thread, sizeof thread);
  return SELV_OK;
}

static void join(void *data, void *handle) {
  pthread_t thread;
  (void)data;
  memcpy(&thread, &handle, sizeof thread);
  CHECK(pthread_join(thread, NULL) == 0);
}

/* The token is there and no thread is: refused at the submit, or delivered as SPAWN if it had been accepted before. */
static void no_thread_for_it(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *c = NULL;
  selv_job_options job;
  probe p;
  probe_init(&p);
  options.spawn = spawn;
  options.join = join;
  CHECK_OK(selv_cache_new(&options, &c));
  limiter = limiter_of(1);
  threads_fail = 1;
  job = limited(probe_run, &p);
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_SPAWN);
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 0);
  job.limiter_timeout_ns = SELV_NO_WAIT;
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_SPAWN);
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 0);
  CHECK_EQ_U64(check_tally_get(&p.delivered) + check_tally_get(&p.freed), 0);
  job.limiter_timeout_ns = 0;

  CHECK_OK(selv_limiter_try_acquire(limiter, SELV_TASK_CURRENT));
  CHECK_OK(selv_cache_submit(c, &job, NULL)); /* waits for its token: no thread is wanted yet */
  CHECK_EQ_U64(limiter_waiting(limiter), 1);
  CHECK_OK(selv_limiter_release(limiter, SELV_TASK_CURRENT));
  CHECK_WAIT(&p.freed, 1);
  CHECK_STATUS(p.last.status, SELV_E_SPAWN);
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 0);
  __atomic_store_n(&threads_fail, 0, __ATOMIC_RELEASE);
  CHECK_OK(probe_through(c, &job).status);
  CHECK_EQ_U64(check_tally_get(&p.ran), 1);
  probe_end(c);
  nothing_is_out();
}

static int32_t gives_it_back(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  CHECK_OK(selv_limiter_release(limiter, SELV_TASK_CURRENT));
  CHECK_STATUS(selv_limiter_release(limiter, SELV_TASK_CURRENT), SELV_E_NOT_OWNER);
  return 0;
}

/* Its own token is a token like any other: given back early it is not given back twice. */
static void a_job_that_gives_it_back(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job;
  probe p;
  int i;
  probe_init(&p);
  limiter = limiter_of(1);
  job = limited(gives_it_back, &p);
  for (i = 0; i < 20; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.freed, 20);
  CHECK_OK(p.last.status);
  probe_end(c);
  nothing_is_out();
}

static int32_t takes_the_other(void *arg, void **out_value) {
  (void)out_value;
  CHECK_OK(selv_limiter_acquire((selv_limiter *)((probe *)arg)->last.value, SELV_TASK_CURRENT, SELV_FOREVER));
  return 0;
}

/* What else the job borrowed goes back with it. */
static void a_second_limiter(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_limiter *other = limiter_of(1);
  selv_job_options job;
  probe p;
  probe_init(&p);
  p.last.value = other;
  limiter = limiter_of(1);
  job = limited(takes_the_other, &p);
  CHECK_OK(probe_through(c, &job).status);
  CHECK_EQ_U64(limiter_stats(other).borrowed, 0);
  probe_end(c);
  CHECK_OK(selv_limiter_free(other));
  nothing_is_out();
}

int main(void) {
  CHECK_RUN(a_start_that_fails);
  CHECK_RUN(a_before_that_fails);
  CHECK_RUN(a_thread_lost_on_an_unbounded_cache);
  CHECK_RUN(a_thread_lost_on_a_cache_of_one);
  CHECK_RUN(no_thread_for_it);
  CHECK_RUN(a_job_that_gives_it_back);
  CHECK_RUN(a_second_limiter);
  return 0;
}

/* hooks_unregister.c: rule 4. When it returns OK no callback runs or will run, every worker has detached, user_free has been
 * called once: with workers idle, busy, and in the middle of attaching; with a timeout that passes; on a worker itself. */
#include "probe.h"

static void idle_workers_detach_at_once(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  hook_probe h, other;
  selv_hook *hook, *hother;
  uint32_t attached = 99;
  hook_probe_init(&h, "going", NULL);
  hook_probe_init(&other, "staying", NULL);
  hook = hook_probe_register_full(c, &h, 0);
  hother = hook_probe_register(c, &other, 0);
  probe_warm(c, 5);
  CHECK_EQ_U64(hook_probe_stats(hook).attached, 5);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  CHECK_EQ_U64(check_tally_get(&h.exits), 5);
  CHECK_EQ_U64(check_tally_get(&h.frees), 1);
  CHECK_EQ_U64(check_tally_get(&other.exits), 0);
  CHECK_EQ_U64(probe_stats(c).workers, 5); /* they detached and stayed */
  CHECK_OK(selv_hook_unregister(hook, 0, &attached)); /* idempotent */
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  CHECK_EQ_U64(check_tally_get(&h.frees), 1);
  CHECK_EQ_U64(hook_probe_stats(hook).exits, 5); /* the handle still answers */
  probe_warm(c, 5);
  CHECK_EQ_U64(check_tally_get(&h.starts), 5);
  CHECK_EQ_U64(check_tally_get(&h.befores), 5);
  selv_hook_release(hook);
  CHECK_EQ_U64(check_tally_get(&h.frees), 1);
  hook_probe_remove(hother, &other);
  probe_end(c);
}

static void a_busy_worker_detaches_when_its_job_ends(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options hold;
  hook_probe h;
  selv_hook *hook;
  uint32_t attached = 99;
  uint64_t began;
  probe p, q;
  selv_job_options plain;
  probe_init(&p);
  probe_init(&q);
  hook_probe_init(&h, "busy", NULL);
  hook = hook_probe_register_full(c, &h, 0);
  hold = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&p.entered, 1);
  CHECK_STATUS(selv_hook_unregister(hook, 0, &attached), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(attached, 1);
  began = check_now_ns();
  attached = 99;
  CHECK_STATUS(selv_hook_unregister(hook, 30 * CHECK_MS, &attached), SELV_E_TIMEDOUT);
  CHECK(check_now_ns() - began >= 30 * CHECK_MS);
  CHECK_EQ_U64(attached, 1);
  CHECK_EQ_U64(check_tally_get(&h.frees), 0);
  plain = probe_job(probe_run, &q); /* no new attachments meanwhile */
  CHECK_OK(probe_through(c, &plain).status);
  CHECK_EQ_U64(check_tally_get(&h.starts), 1);
  check_tally_add(&p.go, 1);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached)); /* goes on waiting */
  CHECK_EQ_U64(attached, 0);
  CHECK_EQ_U64(check_tally_get(&h.afters), 1); /* its job got its after */
  CHECK_EQ_U64(check_tally_get(&h.exits), 1);
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1); /* the worker counts as attached until deliver returned */
  CHECK_EQ_U64(check_tally_get(&h.frees), 1);
  selv_hook_release(hook);
  probe_end(c);
}

/* ---- while a worker is inside on_start ---- */

struct slow {
  hook_probe probe;
  check_tally inside, go;
};

static int32_t slow_start(void *user, const selv_worker *w, void **slot) {
  struct slow *slow = (struct slow *)user;
  check_tally_add(&slow->inside, 1);
  CHECK_WAIT(&slow->go, 1);
  hook_probe_start(&slow->probe, w, slot);
  *slot = slow;
  return slow->probe.start_code;
}

static void slow_exit(void *user, const selv_worker *w, void *slot) {
  struct slow *slow = (struct slow *)user;
  CHECK(slot == slow);
  hook_probe_exit(&slow->probe, w, &slow->probe);
}

static void slow_freed(void *user) { check_tally_add(&((struct slow *)user)->probe.frees, 1); }

static void while_attaching(int32_t start_code) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
  selv_hook *hook = NULL;
  selv_job_options job;
  struct slow slow;
  uint32_t attached = 99;
  probe p;
  probe_init(&p);
  hook_probe_init(&slow.probe, "slow", NULL);
  slow.probe.start_code = start_code;
  check_tally_init(&slow.inside);
  check_tally_init(&slow.go);
  options.name = "slow";
  options.on_start = slow_start;
  options.on_exit = slow_exit;
  options.user = &slow;
  options.user_free = slow_freed;
  CHECK_OK(selv_hook_register(c, &options, &hook));
  job = probe_job(probe_run, &p);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&slow.inside, 1);
  CHECK_STATUS(selv_hook_unregister(hook, 20 * CHECK_MS, &attached), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(attached, 1);
  check_tally_add(&slow.go, 1);
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  CHECK_EQ_U64(check_tally_get(&slow.probe.starts), 1);
  CHECK_EQ_U64(check_tally_get(&slow.probe.exits), start_code == 0 ? 1 : 0);
  CHECK_EQ_U64(check_tally_get(&slow.probe.frees), 1);
  CHECK_WAIT(&p.freed, 1); /* delivered once, whichever way it went */
  CHECK_EQ_U64(check_tally_get(&p.delivered), 1);
  selv_hook_release(hook);
  probe_end(c);
}

static void while_a_worker_attaches(void) { while_attaching(0); }
static void while_a_worker_attaches_and_fails(void) { while_attaching(3); }

/* ---- on a worker of that cache ---- */

struct inside {
  selv_hook *hook;
  selv_status with_timeout, forever, at_once;
  uint32_t attached;
};

static int32_t unregister_inside(void *arg, void **out_value) {
  struct inside *in = (struct inside *)arg;
  (void)out_value;
  in->with_timeout = selv_hook_unregister(in->hook, 10 * CHECK_MS, &in->attached);
  in->forever = selv_hook_unregister(in->hook, SELV_FOREVER, &in->attached);
  CHECK(selv_hook_is_attached(in->hook)); /* nothing has begun */
  in->attached = 99;
  in->at_once = selv_hook_unregister(in->hook, 0, &in->attached);
  return 0;
}

static void on_its_own_worker(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  hook_probe h;
  struct inside in;
  selv_outcome outcome;
  uint32_t attached = 99;
  memset(&in, 0, sizeof in);
  hook_probe_init(&h, "own", NULL);
  in.hook = hook_probe_register(c, &h, 0);
  CHECK_OK(selv_cache_run(c, unregister_inside, &in, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  CHECK_STATUS(in.with_timeout, SELV_E_DEADLOCK);
  CHECK_STATUS(in.forever, SELV_E_DEADLOCK);
  CHECK_STATUS(in.at_once, SELV_E_TIMEDOUT);
  CHECK_EQ_U64(in.attached, 1);
  CHECK_WAIT(&h.frees, 1); /* the removal that it began goes to its end by itself */
  CHECK_EQ_U64(check_tally_get(&h.exits), 1);
  CHECK(!pthread_equal(h.freed_on, pthread_self())); /* on the thread that detached last */
  CHECK_OK(selv_hook_unregister(in.hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  CHECK_EQ_U64(check_tally_get(&h.frees), 1);
  selv_hook_release(in.hook);
  probe_end(c);
}

/* ---- jobs that still name it ---- */

static void a_queued_job_that_names_it_fails_with_closed(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_hook *none[1] = {NULL}, *hook;
  selv_job_options hold, job;
  hook_probe h;
  uint32_t attached = 99;
  probe busy, p;
  selv_outcome outcome;
  probe_init(&busy);
  probe_init(&p);
  hook_probe_init(&h, "removed", NULL);
  hook = hook_probe_register(c, &h, SELV_HOOK_LAZY);
  hold = probe_job(probe_hold, &busy);
  hold.attach = none;
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  job = probe_job(probe_never, &p);
  job.attach = &hook;
  job.attach_len = 1;
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&p.freed, 1);
  CHECK_STATUS(p.last.status, SELV_E_HOOK_FAILED);
  CHECK_EQ_U64((uint32_t)p.last.code, (uint32_t)SELV_E_CLOSED);
  CHECK(strstr(p.detail, "removed") != NULL);
  CHECK_EQ_U64(check_tally_get(&h.starts), 0);
  outcome = probe_through(c, &job); /* and one that comes after: refused, or delivered as failed; never run */
  CHECK(outcome.status == SELV_E_CLOSED || (outcome.status == SELV_E_HOOK_FAILED && outcome.code == SELV_E_CLOSED));
  selv_hook_release(hook);
  probe_end(c);
}

/* ---- again and again ---- */

static void re_registration(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  int i;
  for (i = 0; i < 50; i++) { /* the same name, the same workers */
    hook_probe h;
    selv_hook *hook;
    selv_job_options job;
    probe p;
    probe_init(&p);
    hook_probe_init(&h, "again", NULL);
    hook = hook_probe_register_full(c, &h, 0);
    job = probe_job(probe_run, &p);
    CHECK_OK(probe_through(c, &job).status);
    CHECK_EQ_U64(check_tally_get(&h.starts), 1);
    CHECK_EQ_U64(check_tally_get(&h.befores), 1);
    hook_probe_remove(hook, &h);
    CHECK_EQ_U64(check_tally_get(&h.exits), 1);
  }
  CHECK_EQ_U64(probe_stats(c).started, 1);
  probe_end(c);
}

/* The host finalises its runtime on the line after: `alive` stands for the runtime, and no callback may find it dead. */
static int alive, streaming;

static int32_t lives_start(void *user, const selv_worker *w, void **slot) {
  (void)w;
  *slot = user;
  CHECK(__atomic_load_n(&alive, __ATOMIC_RELAXED));
  return 0;
}

static void lives_exit(void *user, const selv_worker *w, void *slot) {
  (void)user;
  (void)w;
  (void)slot;
  CHECK(__atomic_load_n(&alive, __ATOMIC_RELAXED));
}

static int32_t lives_before(void *user, const selv_worker *w, void *slot) {
  lives_exit(user, w, slot);
  return 0;
}

static void *stream(void *cache) {
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  while (__atomic_load_n(&streaming, __ATOMIC_ACQUIRE))
    CHECK_OK(selv_cache_run((selv_cache *)cache, probe_run, &p, SELV_FOREVER, &outcome));
  return NULL;
}

static void jobs_stream_while_hooks_come_and_go(void) {
  selv_cache *c = probe_cache(0, 1 * CHECK_MS);
  pthread_t threads[3];
  uint64_t round, rounds = check_scaled(200);
  int i;
  streaming = 1;
  for (i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, stream, c) == 0);
  for (round = 0; round < rounds; round++) {
    selv_hook_options options = SELV_HOOK_OPTIONS_INIT;
    selv_hook *hook = NULL;
    uint32_t attached = 99;
    options.name = "runtime";
    options.flags = round % 2 ? SELV_HOOK_EAGER : 0;
    options.on_start = lives_start;
    options.on_exit = lives_exit;
    options.before_job = lives_before;
    options.after_job = lives_exit;
    __atomic_store_n(&alive, 1, __ATOMIC_RELAXED);
    CHECK_OK(selv_hook_register(c, &options, &hook));
    if (round % 3) check_sleep_ms(1);
    CHECK_OK(selv_hook_unregister(hook, SELV_FOREVER, &attached));
    __atomic_store_n(&alive, 0, __ATOMIC_RELAXED);
    CHECK_EQ_U64(attached, 0);
    CHECK_EQ_U64(hook_probe_stats(hook).starts, hook_probe_stats(hook).exits);
    selv_hook_release(hook);
  }
  __atomic_store_n(&streaming, 0, __ATOMIC_RELEASE);
  for (i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  probe_end(c);
}

/* Two threads remove the same hook: both may say so only when it is gone. */
static void *remove_it(void *hook) {
  uint32_t attached = 99;
  CHECK_OK(selv_hook_unregister((selv_hook *)hook, SELV_FOREVER, &attached));
  CHECK_EQ_U64(attached, 0);
  return NULL;
}

static void two_may_remove_it(void) {
  int round;
  for (round = 0; round < 20; round++) {
    selv_cache *c = probe_cache(0, SELV_FOREVER);
    pthread_t other;
    hook_probe h;
    selv_hook *hook;
    hook_probe_init(&h, "both", NULL);
    hook = hook_probe_register(c, &h, 0);
    probe_warm(c, 3);
    CHECK(pthread_create(&other, NULL, remove_it, selv_hook_retain(hook)) == 0);
    hook_probe_remove(hook, &h);
    CHECK(pthread_join(other, NULL) == 0);
    CHECK_EQ_U64(check_tally_get(&h.frees), 1);
    selv_hook_release(hook);
    probe_end(c);
  }
}

int main(void) {
  CHECK_RUN(idle_workers_detach_at_once);
  CHECK_RUN(a_busy_worker_detaches_when_its_job_ends);
  CHECK_RUN(while_a_worker_attaches);
  CHECK_RUN(while_a_worker_attaches_and_fails);
  CHECK_RUN(on_its_own_worker);
  CHECK_RUN(a_queued_job_that_names_it_fails_with_closed);
  CHECK_RUN(re_registration);
  CHECK_RUN(jobs_stream_while_hooks_come_and_go);
  CHECK_RUN(two_may_remove_it);
  return 0;
}

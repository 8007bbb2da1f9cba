/* host_loop_storm.c: several threads queue calls, idempotent calls, waited calls, jobs and operations on a loop that is drained
 * in pieces and, every other time, closed in the middle of it. Nothing is lost and nothing comes twice: what was accepted ran or
 * was dropped. */
#include "loops.h"
#include "probe.h"
#include "sync_probe.h"

#define PRODUCERS 3
#define SAME 4 /* arguments of the idempotent calls */

typedef struct same {
  struct storm *of;
} same;

typedef struct storm {
  host h;
  selv_cache *cache;
  selv_semaphore *semaphore;
  selv_task task;
  uint64_t things;
  uint64_t soon, soon_ran, soon_dropped;
  uint64_t once, once_ran, once_dropped;
  uint64_t called, call_ran, call_late, call_closed;
  uint64_t jobs, jobs_ran, jobs_told, jobs_closed, jobs_freed;
  uint64_t ops, ops_told, ops_closed, ops_abandoned, ops_at_once, taken_back;
  same idempotent[SAME];
} storm;

static uint64_t more(uint64_t *count) { return __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST); }
static uint64_t is(uint64_t *count) { return __atomic_load_n(count, __ATOMIC_SEQ_CST); }

/* Whatever runs on the loop, one at a time. */
static void on_the_loop(storm *s, uint64_t *count) {
  CHECK(host_is_here(&s->h));
  CHECK_EQ_U64(s->h.inside, 0);
  s->h.inside = 1;
  more(count);
  s->h.inside = 0;
}

static void soon_runs(void *arg) { on_the_loop((storm *)arg, &((storm *)arg)->soon_ran); }
static void soon_is_dropped(void *arg) { more(&((storm *)arg)->soon_dropped); }
static void once_runs(void *arg) { on_the_loop(((same *)arg)->of, &((same *)arg)->of->once_ran); }
static void once_is_dropped(void *arg) { more(&((same *)arg)->of->once_dropped); }

typedef struct waited {
  storm *of;
  uint64_t ran;
} waited;

static int32_t waited_runs(void *arg, void **out_value) {
  waited *w = (waited *)arg;
  on_the_loop(w->of, &w->of->call_ran);
  w->ran++;
  *out_value = w;
  return 5;
}

static int32_t job_runs(void *arg, void **out_value) {
  more(&((storm *)arg)->jobs_ran);
  *out_value = arg;
  return 6;
}

static void job_is_told(void *arg, const selv_outcome *outcome) {
  storm *s = (storm *)arg;
  CHECK(outcome->code == 6 && outcome->value == arg);
  if (outcome->status == SELV_OK) {
    on_the_loop(s, &s->jobs_told);
  } else {
    CHECK_STATUS(outcome->status, SELV_E_CLOSED);
    more(&s->jobs_closed);
  }
}

static void job_is_freed(void *arg) { more(&((storm *)arg)->jobs_freed); }

static void op_is_told(void *arg, const selv_completed *c) {
  storm *s = (storm *)arg;
  if (c->status == SELV_OK) {
    on_the_loop(s, &s->ops_told);
  } else {
    CHECK_STATUS(c->status, SELV_E_CLOSED);
    more(&s->ops_closed);
  }
}

/* ---- what the producers do: each answers SELV_OK or SELV_E_CLOSED ---- */

static selv_status queues(storm *s, uint64_t random) {
  selv_status status = selv_host_loop_call_soon(s->h.loop, soon_runs, s, soon_is_dropped, 0);
  (void)random;
  if (status == SELV_OK) more(&s->soon);
  return status;
}

static selv_status queues_once(storm *s, uint64_t random) {
  selv_status status =
      selv_host_loop_call_soon(s->h.loop, once_runs, &s->idempotent[random % SAME], once_is_dropped, SELV_CALL_IDEMPOTENT);
  if (status == SELV_OK) more(&s->once);
  return status;
}

static selv_status calls(storm *s, uint64_t random) {
  uint64_t timeout_ns = random % 4 == 0 ? SELV_FOREVER : random % 4 == 1 ? 0 : random % 100000;
  selv_outcome outcome;
  selv_status status;
  waited w;
  w.of = s;
  w.ran = 0;
  status = selv_host_loop_call(s->h.loop, waited_runs, &w, timeout_ns, &outcome);
  CHECK_EQ_U64(w.ran, status == SELV_OK ? 1 : 0);
  if (status == SELV_OK) {
    CHECK(outcome.status == SELV_OK && outcome.code == 5 && outcome.value == &w);
    more(&s->called);
  } else if (status == SELV_E_TIMEDOUT) {
    CHECK(timeout_ns != SELV_FOREVER);
    more(&s->call_late);
    status = SELV_OK;
  } else {
    more(&s->call_closed);
  }
  return status;
}

static selv_status submits(storm *s, uint64_t random) {
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_status status;
  (void)random;
  job.fn = job_runs;
  job.deliver = job_is_told;
  job.arg = s;
  job.arg_free = job_is_freed;
  job.loop = s->h.loop;
  status = selv_cache_submit(s->cache, &job, NULL);
  if (status == SELV_OK) more(&s->jobs);
  return status;
}

/* One permit comes for each that is asked for, before or after it is abandoned. One that is left over is taken back, so that most
 * have to wait. */
static selv_status waits_for_a_permit(storm *s, uint64_t random) {
  selv_completion completion;
  selv_status status;
  selv_op op = 0;
  completion.fn = op_is_told;
  completion.arg = s;
  completion.loop = s->h.loop;
  status = selv_semaphore_acquire_async(s->semaphore, s->task, 1, &completion, &op);
  if (status < 0) return status;
  more(&s->ops);
  if (status == SELV_OK) more(&s->ops_at_once);
  if (random & 1) CHECK_OK(selv_semaphore_release(s->semaphore, 1));
  if (status == SELV_PENDING && random % 3 == 0) {
    status = selv_op_abandon(op);
    CHECK_EITHER(status, SELV_OK, SELV_E_TOO_LATE);
    if (status == SELV_OK) more(&s->ops_abandoned);
  }
  if (!(random & 1)) CHECK_OK(selv_semaphore_release(s->semaphore, 1));
  if (status == SELV_OK && selv_semaphore_try_acquire(s->semaphore, 1) == SELV_OK) more(&s->taken_back);
  return SELV_OK;
}

static uint64_t storm_seed;

static void *produces(void *arg) {
  static selv_status (*const what[])(storm *, uint64_t) = {queues, queues,  queues_once,       queues_once,
                                                           calls,  submits, waits_for_a_permit};
  storm *s = (storm *)arg;
  uint64_t i, seed = (__atomic_add_fetch(&storm_seed, 2, __ATOMIC_SEQ_CST) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
  for (i = 0; i < s->things; i++) {
    uint64_t random = sync_probe_random(&seed);
    selv_status status = what[random % 7](s, random >> 8);
    if (status != SELV_OK) {
      CHECK_STATUS(status, SELV_E_CLOSED);
      break;
    }
  }
  return NULL;
}

static void closes(void *arg) { host_close(&((storm *)arg)->h); }

/* ---- */

static void storm_round(int form, uint32_t max_calls, uint64_t things, int close_early) {
  static storm s;
  pthread_t threads[PRODUCERS];
  selv_host_loop_stats stats;
  uint64_t told;
  int i;
  memset(&s, 0, sizeof s);
  s.cache = probe_cache(2, SELV_FOREVER);
  s.semaphore = semaphore_of(0, 0);
  s.task = task_named("of the operations");
  s.things = things;
  for (i = 0; i < SAME; i++) s.idempotent[i].of = &s;
  host_init(&s.h, form);
  s.h.max_calls = max_calls;
  host_go(&s.h);
  CHECK(selv_host_loop_retain(s.h.loop) == s.h.loop);
  for (i = 0; i < PRODUCERS; i++) CHECK(pthread_create(&threads[i], NULL, produces, &s) == 0);
  if (close_early) {
    UNTIL(is(&s.soon) + is(&s.once) >= things / 2);
    host_do(&s.h, closes, &s);
  }
  for (i = 0; i < PRODUCERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  UNTIL(is(&s.jobs_freed) == is(&s.jobs));
  if (!close_early) UNTIL(host_waiting(&s.h) == 0);
  {
    selv_host_loop *l = s.h.loop;
    host_stop(&s.h); /* checks the sum of the loop's own numbers */
    stats = host_stats_of(l);
    selv_host_loop_release(l);
  }
  CHECK_EQ_U64(s.soon, s.soon_ran + s.soon_dropped);
  CHECK_EQ_U64(s.once, s.once_ran + s.once_dropped + stats.merged);
  CHECK_EQ_U64(s.called, s.call_ran);
  CHECK_EQ_U64(s.jobs, s.jobs_ran);
  CHECK_EQ_U64(s.jobs, s.jobs_told + s.jobs_closed);
  CHECK_EQ_U64(s.ops, s.ops_told + s.ops_closed + s.ops_abandoned + s.ops_at_once);
  told = s.soon_ran + s.once_ran + s.call_ran + s.jobs_told + s.ops_told;
  CHECK_EQ_U64(stats.ran, told);
  if (!close_early) CHECK(s.soon_dropped + s.once_dropped + s.call_closed + s.jobs_closed + s.ops_closed == 0);
  /* Of those that were closed or abandoned they are back. */
  CHECK_EQ_U64(semaphore_stats(s.semaphore).permits, s.ops - s.ops_told - s.ops_at_once - s.taken_back);
  CHECK_EQ_U64(semaphore_waiting(s.semaphore), 0);
  CHECK_OK(selv_task_exit(s.task, NULL));
  CHECK_OK(selv_semaphore_free(s.semaphore));
  probe_end(s.cache);
  printf("%llu ran, %llu dropped, %llu merged, %llu calls late, %llu ops abandoned\n", (unsigned long long)stats.ran,
         (unsigned long long)stats.dropped, (unsigned long long)stats.merged, (unsigned long long)s.call_late,
         (unsigned long long)s.ops_abandoned);
}

static void drained_to_the_end(int form) {
  storm_round(form, 0, check_scaled(4000), 0);
  storm_round(form, 3, check_scaled(4000), 0);
}

static void closed_in_the_middle(int form) {
  uint64_t round, rounds = check_scaled(40);
  for (round = 0; round < rounds; round++) storm_round(form, (uint32_t)(round % 4), 20 + round * 37 % 300, 1);
}

int main(void) {
  storm_seed = sync_probe_seed(0);
  HOST_RUN_BOTH(drained_to_the_end);
  HOST_RUN_BOTH(closed_in_the_middle);
  return 0;
}

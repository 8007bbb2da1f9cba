/* job_limiter_bound.c: never more jobs run at a time than their limiter has tokens, whatever the cache's own bound, and however they
 * were submitted; they begin in order, in one line with everybody else who wants a token. */
#include "probe.h"
#include "sync_probe.h"

#define JOBS 200

struct bound {
  selv_limiter *limiter;
  uint64_t running, most, began;
  check_tally delivered, freed;
};

static int32_t counts_itself(void *arg, void **out_value) {
  struct bound *b = (struct bound *)arg;
  uint64_t now = __atomic_add_fetch(&b->running, 1, __ATOMIC_SEQ_CST), most = __atomic_load_n(&b->most, __ATOMIC_SEQ_CST);
  (void)out_value;
  while (now > most && !__atomic_compare_exchange_n(&b->most, &most, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
  CHECK(limiter_stats(b->limiter).borrowed >= 1); /* this one, whoever has ended since */
  CHECK_STATUS(selv_limiter_try_acquire(b->limiter, SELV_TASK_CURRENT), SELV_E_DUPLICATE); /* its task has one */
  if (__atomic_add_fetch(&b->began, 1, __ATOMIC_SEQ_CST) % 8 == 0) check_sleep_ms(1);      /* so that jobs overlap if anything lets them */
  __atomic_sub_fetch(&b->running, 1, __ATOMIC_SEQ_CST);
  return 0;
}

static void delivered(void *arg, const selv_outcome *outcome) {
  CHECK_OK(outcome->status);
  check_tally_add(&((struct bound *)arg)->delivered, 1);
}

static void freed(void *arg) { check_tally_add(&((struct bound *)arg)->freed, 1); }

static selv_job_options job_of(struct bound *b) {
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  job.fn = counts_itself;
  job.deliver = delivered;
  job.arg = b;
  job.arg_free = freed;
  job.limiter = b->limiter;
  return job;
}

static void bound_begin(struct bound *b, uint64_t tokens) {
  memset(b, 0, sizeof *b);
  b->limiter = limiter_of(tokens);
  check_tally_init(&b->delivered);
  check_tally_init(&b->freed);
}

static void bound_end(struct bound *b, selv_cache *c, uint64_t tokens) {
  CHECK_WAIT(&b->delivered, JOBS);
  CHECK(b->most >= 1 && b->most <= tokens);
  CHECK_EQ_U64(b->began, JOBS);
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&b->freed), JOBS);
  CHECK_EQ_U64(check_tally_get(&b->delivered), JOBS);
  CHECK_EQ_U64(limiter_stats(b->limiter).borrowed, 0);
  CHECK_EQ_U64(limiter_waiting(b->limiter), 0);
  CHECK_OK(selv_limiter_free(b->limiter));
}

static void one_by_one(uint32_t max_workers, uint64_t tokens) {
  selv_cache *c = probe_cache(max_workers, SELV_FOREVER);
  struct bound b;
  selv_job_options job;
  int i;
  bound_begin(&b, tokens);
  job = job_of(&b);
  for (i = 0; i < JOBS; i++) CHECK_OK(selv_cache_submit(c, &job, NULL));
  bound_end(&b, c, tokens);
}

static void on_an_unbounded_cache(void) { one_by_one(0, 3); }
static void on_a_cache_of_more(void) { one_by_one(8, 3); }
static void on_a_cache_of_fewer(void) { one_by_one(2, 3); }
static void one_token(void) { one_by_one(0, 1); }

static void all_at_once(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  struct bound b;
  selv_job_options jobs[JOBS];
  size_t accepted = 0;
  int i;
  bound_begin(&b, 3);
  for (i = 0; i < JOBS; i++) jobs[i] = job_of(&b);
  CHECK_OK(selv_cache_submit_many(c, jobs, JOBS, &accepted));
  CHECK_EQ_U64(accepted, JOBS);
  bound_end(&b, c, 3);
}

/* Jobs of two caches that share one limiter. */
static void two_caches(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER), *other = probe_cache(1, SELV_FOREVER);
  struct bound b;
  selv_job_options job;
  int i;
  bound_begin(&b, 2);
  job = job_of(&b);
  for (i = 0; i < JOBS; i++) CHECK_OK(selv_cache_submit(i % 2 ? c : other, &job, NULL));
  CHECK_WAIT(&b.delivered, JOBS);
  probe_end(other);
  bound_end(&b, c, 2);
}

/* A job that waits for its token keeps no worker from the jobs behind it that need none. */
static void who_waits_for_a_token_takes_no_workers_place(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_limiter *l = limiter_of(1);
  selv_job_options job, free_job;
  probe p, q;
  probe_init(&p);
  probe_init(&q);
  CHECK_OK(selv_limiter_try_acquire(l, SELV_TASK_CURRENT));
  job = probe_job(probe_run, &p);
  job.limiter = l;
  free_job = probe_job(probe_run, &q);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_EQ_U64(limiter_waiting(l), 1);
  CHECK_OK(probe_through(c, &free_job).status);
  CHECK_EQ_U64(check_tally_get(&p.entered), 0);
  CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(p.last.status);
  probe_end(c);
  CHECK_OK(selv_limiter_free(l));
}

/* ---- in order ---- */

struct numbered {
  uint64_t number;
  uint64_t *next;
};

static int32_t in_turn(void *arg, void **out_value) {
  struct numbered *n = (struct numbered *)arg;
  (void)out_value;
  CHECK_EQ_U64(__atomic_fetch_add(n->next, 1, __ATOMIC_SEQ_CST), n->number);
  return 0;
}

static void counted(op_probe *p, const selv_completed *c) {
  CHECK_OK(c->status);
  CHECK_EQ_U64(__atomic_fetch_add((uint64_t *)(uintptr_t)p->n, 1, __ATOMIC_SEQ_CST), JOBS / 2);
  CHECK_OK(selv_limiter_release((selv_limiter *)p->object, p->task));
}

static void one_line_with_everybody(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_limiter *l = limiter_of(1);
  static struct numbered numbers[JOBS];
  uint64_t next = 0, i;
  selv_task first = task_named("first"), middle = task_named("middle");
  op_probe p;
  op_probe_init(&p);
  p.then = counted;
  p.n = (uint64_t)(uintptr_t)&next;
  CHECK_OK(selv_limiter_try_acquire(l, first));
  for (i = 0; i < JOBS; i++) {
    selv_job_options job = SELV_JOB_OPTIONS_INIT;
    if (i == JOBS / 2) { /* an operation in the middle of the line takes a number as they do */
      CHECK_STATUS(op_limiter(&p, l, middle), SELV_PENDING);
      continue;
    }
    numbers[i].number = i;
    numbers[i].next = &next;
    job.fn = in_turn;
    job.arg = &numbers[i];
    job.limiter = l;
    CHECK_OK(selv_cache_submit(c, &job, NULL));
  }
  CHECK_EQ_U64(limiter_waiting(l), JOBS);
  CHECK_EQ_U64(__atomic_load_n(&next, __ATOMIC_SEQ_CST), 0);
  CHECK_OK(selv_limiter_release(l, first));
  UNTIL(__atomic_load_n(&next, __ATOMIC_SEQ_CST) == JOBS);
  OP_GOT(&p, 1, SELV_OK);
  probe_end(c);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
  CHECK_OK(selv_task_exit(first, NULL));
  CHECK_OK(selv_task_exit(middle, NULL));
}

int main(void) {
  CHECK_RUN(on_an_unbounded_cache);
  CHECK_RUN(on_a_cache_of_more);
  CHECK_RUN(on_a_cache_of_fewer);
  CHECK_RUN(one_token);
  CHECK_RUN(all_at_once);
  CHECK_RUN(two_caches);
  CHECK_RUN(who_waits_for_a_token_takes_no_workers_place);
  CHECK_RUN(one_line_with_everybody);
  return 0;
}

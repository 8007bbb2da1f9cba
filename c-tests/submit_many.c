/* submit_many.c: many jobs in one call; what was accepted is told exactly, and is a prefix; mixed sizes are refused. */
#include "probe.h"

#define MANY 64

static selv_job_options jobs[MANY];

static void fill(selv_job_fn fn, probe *p) {
  int i;
  for (i = 0; i < MANY; i++) jobs[i] = probe_job(fn, p);
}

static void all_are_accepted_and_delivered(void) {
  selv_cache *c = probe_cache(2, 0);
  size_t accepted = 0;
  probe p;
  probe_init(&p);
  fill(probe_run, &p);
  CHECK_OK(selv_cache_submit_many(c, jobs, MANY, &accepted));
  CHECK_EQ_U64(accepted, MANY);
  CHECK_WAIT(&p.freed, MANY);
  CHECK_EQ_U64(check_tally_get(&p.delivered), MANY);
  CHECK(probe_stats(c).peak_workers <= 2);
  probe_end(c);
}

/* On an unbounded cache jobs of one call may wait for one another: all of them run at the same time. */
static check_tally together = CHECK_TALLY_INIT;

static int32_t meet(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  check_tally_add(&together, 1);
  CHECK_WAIT(&together, MANY);
  return 0;
}

static void unbounded_means_all_at_once(void) {
  selv_cache *c = probe_cache(0, 0);
  size_t accepted = 0;
  probe p;
  probe_init(&p);
  probe_warm(c, 5); /* some from the idle list, some fresh */
  fill(meet, &p);
  CHECK_OK(selv_cache_submit_many(c, jobs, MANY, &accepted));
  CHECK_EQ_U64(accepted, MANY);
  CHECK_WAIT(&p.freed, MANY);
  CHECK_EQ_U64(probe_stats(c).started, MANY);
  probe_end(c);
}

static void a_bounded_cache_keeps_their_order(void) {
  selv_cache *c = probe_cache(1, 0);
  static probe each[MANY];
  size_t accepted = 0;
  int i;
  for (i = 0; i < MANY; i++) {
    probe_init(&each[i]);
    jobs[i] = probe_job(probe_run, &each[i]);
  }
  CHECK_OK(selv_cache_submit_many(c, jobs, MANY, &accepted));
  for (i = MANY - 1; i >= 0; i--) {
    CHECK_WAIT(&each[i].delivered, 1);
    if (i == MANY - 1) /* the last is through: so are all before it */
      for (int k = 0; k < MANY; k++) CHECK_EQ_U64(check_tally_get(&each[k].delivered), 1);
  }
  probe_end(c);
}

static void mixed_sizes_are_refused(void) {
  selv_cache *c = probe_cache(0, 0);
  size_t accepted = 99;
  probe p;
  probe_init(&p);
  fill(probe_run, &p);
  jobs[1].struct_size = offsetof(selv_job_options, attach);
  CHECK_STATUS(selv_cache_submit_many(c, jobs, 3, &accepted), SELV_E_INVAL);
  CHECK(accepted <= 1);
  CHECK_LAST_ERROR_HAS("struct_size");
  CHECK_WAIT(&p.freed, accepted);
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&p.freed), accepted);
}

static void a_bad_job_stops_there(void) {
  selv_cache *c = probe_cache(0, 0);
  size_t accepted = 99;
  probe p;
  probe_init(&p);
  fill(probe_run, &p);
  jobs[2].fn = NULL;
  CHECK_STATUS(selv_cache_submit_many(c, jobs, 5, &accepted), SELV_E_NULL);
  CHECK(accepted <= 2);
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&p.delivered), accepted);
  CHECK_EQ_U64(check_tally_get(&p.freed), accepted);
}

/* ---- threads run out half way ---- */

static int starts_left;

static void *enter(void *pair) {
  void **entry = (void **)pair;
  void (*body)(void *);
  void *arg = entry[1];
  memcpy(&body, &entry[0], sizeof body);
  free(pair);
  body(arg);
  return NULL;
}

static selv_status few_threads(void *data, void (*entry)(void *), void *entry_arg, const char *name, size_t stack_size,
                               void **out_handle) {
  pthread_t *thread;
  void **pair;
  (void)data;
  (void)name;
  (void)stack_size;
  if (__atomic_sub_fetch(&starts_left, 1, __ATOMIC_SEQ_CST) < 0) return SELV_E_SPAWN;
  thread = (pthread_t *)malloc(sizeof *thread);
  pair = (void **)malloc(2 * sizeof *pair);
  CHECK(thread && pair);
  memcpy(&pair[0], &entry, sizeof entry);
  pair[1] = entry_arg;
  if (pthread_create(thread, NULL, enter, pair) != 0) return SELV_E_SPAWN;
  *out_handle = thread;
  return SELV_OK;
}

static void join_one(void *data, void *handle) {
  (void)data;
  CHECK(pthread_join(*(pthread_t *)handle, NULL) == 0);
  free(handle);
}

static void what_was_accepted_is_a_prefix(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *c = NULL;
  size_t accepted = 99, i, delivered = 0;
  static probe each[MANY];
  options.spawn = few_threads;
  options.join = join_one;
  starts_left = 3;
  CHECK_OK(selv_cache_new(&options, &c));
  for (i = 0; i < MANY; i++) {
    probe_init(&each[i]);
    jobs[i] = probe_job(probe_hold, &each[i]);
  }
  CHECK_STATUS(selv_cache_submit_many(c, jobs, MANY, &accepted), SELV_E_SPAWN);
  CHECK_EQ_U64(accepted, 3); /* each job holds its worker, and there were three */
  CHECK_EQ_U64(probe_stats(c).jobs_accepted, accepted);
  CHECK(probe_stats(c).spawn_failures >= 1);
  for (i = 0; i < MANY; i++) check_tally_add(&each[i].go, 1);
  probe_end(c);
  for (i = 0; i < MANY; i++) {
    CHECK_EQ_U64(check_tally_get(&each[i].delivered), i < accepted ? 1 : 0);
    CHECK_EQ_U64(check_tally_get(&each[i].freed), i < accepted ? 1 : 0);
    delivered += (size_t)check_tally_get(&each[i].delivered);
  }
  CHECK_EQ_U64(delivered, accepted);
}

int main(void) {
  CHECK_RUN(all_are_accepted_and_delivered);
  CHECK_RUN(unbounded_means_all_at_once);
  CHECK_RUN(a_bounded_cache_keeps_their_order);
  CHECK_RUN(mixed_sizes_are_refused);
  CHECK_RUN(a_bad_job_stops_there);
  CHECK_RUN(what_was_accepted_is_a_prefix);
  return 0;
}

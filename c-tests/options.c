/* options.c: what the cache does with each of its options: stack size, spin, name; and the worker's own identity. */
#include "probe.h"

static int32_t stack_of_this_thread(void *arg, void **out_value) {
  pthread_attr_t attributes;
  size_t size = 0;
  void *low = NULL;
  (void)out_value;
  CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
  CHECK(pthread_attr_getstack(&attributes, &low, &size) == 0);
  pthread_attr_destroy(&attributes);
  *(size_t *)arg = size;
  return 0;
}

/* A deep frame: the stack that was asked for is really there. */
static int32_t uses_six_megabytes(void *arg, void **out_value) {
  volatile char room[6 * 1024 * 1024];
  size_t i;
  (void)arg;
  (void)out_value;
  for (i = 0; i < sizeof room; i += 4096) room[i] = 1;
  return room[4096];
}

static void stack_size(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *c = NULL;
  selv_outcome outcome;
  size_t small = 0, large = 0;
  options.stack_size = 256 * 1024;
  CHECK_OK(selv_cache_new(&options, &c));
  CHECK_OK(selv_cache_run(c, stack_of_this_thread, &small, SELV_FOREVER, &outcome));
  probe_end(c);
  options.stack_size = 16 * 1024 * 1024;
  CHECK_OK(selv_cache_new(&options, &c));
  CHECK_OK(selv_cache_run(c, stack_of_this_thread, &large, SELV_FOREVER, &outcome));
  CHECK_OK(selv_cache_run(c, uses_six_megabytes, NULL, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(outcome.code, 1);
  probe_end(c);
  CHECK(small >= 256 * 1024 && small < 1024 * 1024);
  CHECK(large >= 16 * 1024 * 1024 - 64 * 1024);
}

static void an_odd_stack_size_is_served_or_refused(void) {
  static const size_t odd[] = {1, 4095, 16 * 1024 + 1, SIZE_MAX, SIZE_MAX / 2};
  size_t i;
  for (i = 0; i < sizeof odd / sizeof odd[0]; i++) {
    selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
    selv_cache *c = NULL;
    selv_outcome outcome;
    selv_status status;
    probe p;
    probe_init(&p);
    options.stack_size = odd[i];
    status = selv_cache_new(&options, &c);
    if (status == SELV_OK) {
      status = selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome);
      CHECK(status == SELV_OK || status == SELV_E_SPAWN);
      probe_end(c);
    } else
      CHECK_STATUS(status, SELV_E_INVAL);
  }
}

static void spinning_or_not_jobs_are_done(void) {
  static const uint64_t spins[] = {0, 1, 1000, 1000000, SELV_NO_WAIT};
  size_t i;
  for (i = 0; i < sizeof spins / sizeof spins[0]; i++) {
    selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
    selv_cache *c = NULL;
    selv_outcome outcome;
    probe p;
    int k;
    probe_init(&p);
    options.spin = spins[i];
    CHECK_OK(selv_cache_new(&options, &c));
    for (k = 0; k < 200; k++) CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome));
    CHECK_EQ_U64(probe_stats(c).started, 1);
    probe_end(c);
  }
}

static int32_t identity(void *arg, void **out_value) {
  const selv_worker *me = selv_worker_current();
  (void)out_value;
  CHECK(me != NULL);
  CHECK(selv_worker_name(me) != NULL && selv_worker_name(me)[0] != '\0');
  *(uint64_t *)arg = selv_worker_id(me);
  return 0;
}

static void workers_have_an_identity(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER), *other = probe_cache(0, SELV_FOREVER);
  uint64_t first = 0, again = 0, elsewhere = 0;
  selv_outcome outcome;
  CHECK(selv_worker_current() == NULL);
  CHECK_OK(selv_cache_run(c, identity, &first, SELV_FOREVER, &outcome));
  CHECK_OK(selv_cache_run(c, identity, &again, SELV_FOREVER, &outcome));
  CHECK_OK(selv_cache_run(other, identity, &elsewhere, SELV_FOREVER, &outcome));
  CHECK(first != 0 && first == again);
  CHECK(first != elsewhere); /* one id, one worker, in the whole process */
  CHECK(selv_worker_current() == NULL);
  probe_end(c);
  probe_end(other);
}

int main(void) {
  CHECK_RUN(stack_size);
  CHECK_RUN(an_odd_stack_size_is_served_or_refused);
  CHECK_RUN(spinning_or_not_jobs_are_done);
  CHECK_RUN(workers_have_an_identity);
  return 0;
}

/* guest_interrupt_storm.c: threads post work to sleeping guests and interrupt them, at every moment that there is. What was posted before
 * an interrupt is seen by a prepare after it; one that is lost leaves its thread waiting for ever, for nothing else wakes the guest. */
/* timeout: 240 */
#include "guests.h"
#include "sync_probe.h"

#define THREADS 4

typedef struct storm {
  host h;
  guest g;
  check_tally seen; /* what prepare has run */
  uint64_t rounds;
  int waits; /* each thread waits until its work was seen */
} storm;

static selv_status tells_what_it_has_seen(guest *g, uint64_t *out_ns) {
  storm *s = (storm *)g->user;
  uint64_t before = g->ran;
  selv_status status = guest_loop_prepare(g, out_ns);
  if (g->ran > before) check_tally_add(&s->seen, g->ran - before);
  return status;
}

static uint64_t posts(storm *s) {
  uint64_t mine;
  pthread_mutex_lock(&s->g.mutex);
  mine = ++s->g.posted;
  pthread_mutex_unlock(&s->g.mutex);
  CHECK_OK(guest_tell(&s->g, selv_guest_interrupt));
  return mine;
}

static void *storms(void *arg) {
  storm *s = (storm *)arg;
  uint64_t seed = sync_probe_seed((uint64_t)(uintptr_t)&seed), i, mine = 0;
  for (i = 0; i < s->rounds; i++) {
    uint64_t pause = sync_probe_random(&seed) % 512;
    mine = posts(s);
    if (s->waits) {
      CHECK_WAIT(&s->seen, mine);
      while (pause-- > 0) __asm__ __volatile__("" ::: "memory"); /* the next one meets another moment of a tick */
    }
  }
  CHECK_WAIT(&s->seen, mine);
  return NULL;
}

static void begins(void *arg) { guest_begin((guest *)arg); }

static void storm_with(int form, int threads, uint64_t rounds, int waits, selv_start_soon_fn start_soon) {
  pthread_t thread[THREADS];
  storm s;
  int i;
  memset(&s, 0, sizeof s);
  check_tally_init(&s.seen);
  host_start(&s.h, form);
  guest_init(&s.g, &s.h);
  s.g.user = &s;
  s.g.on_prepare = tells_what_it_has_seen;
  s.g.options.start_soon = start_soon;
  s.rounds = check_scaled(rounds);
  s.waits = waits;
  host_do(&s.h, begins, &s.g);
  for (i = 0; i < threads; i++) CHECK(pthread_create(&thread[i], NULL, storms, &s) == 0);
  for (i = 0; i < threads; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  CHECK_OK(guest_finish(&s.g));
  CHECK_WAIT(&s.g.dones, 1);
  CHECK_OK(s.g.why);
  CHECK_EQ_U64(s.g.ran, s.rounds * (uint64_t)threads);
  host_stop(&s.h);
  guest_free(&s.g);
}

/* One at a time, each for itself: the guest is on its way to sleep, or asleep, when the next one comes. */
static void one_by_one(int form) { storm_with(form, 1, 4000, 1, NULL); }
static void each_waits_for_its_own(int form) { storm_with(form, THREADS, 2000, 1, NULL); }
static void a_flood(int form) { storm_with(form, THREADS, 20000, 0, NULL); }

/* ---- with a thread for each poll, which begins when it likes ---- */

typedef struct slow_start {
  selv_job_fn fn;
  selv_deliver_fn deliver;
  void *arg;
} slow_start;

static void *begins_when_it_likes(void *arg) {
  slow_start *start = (slow_start *)arg;
  selv_outcome outcome;
  memset(&outcome, 0, sizeof outcome);
  outcome.code = start->fn(start->arg, &outcome.value);
  start->deliver(start->arg, &outcome);
  free(start);
  return NULL;
}

static selv_status starts_a_thread(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  slow_start *start = (slow_start *)malloc(sizeof *start);
  pthread_t thread;
  (void)start_arg;
  (void)name;
  CHECK(start != NULL);
  start->fn = fn;
  start->deliver = deliver;
  start->arg = arg;
  CHECK(pthread_create(&thread, NULL, begins_when_it_likes, start) == 0);
  CHECK(pthread_detach(thread) == 0);
  return SELV_OK;
}

static void with_threads_of_the_host(int form) {
  storm_with(form, THREADS, 1000, 1, starts_a_thread);
  CHECK_THREADS_LEFT(0);
}

/* Before the shared cache has been asked for a worker. */
int main(void) {
  HOST_RUN_BOTH(with_threads_of_the_host);
  HOST_RUN_BOTH(one_by_one);
  HOST_RUN_BOTH(each_waits_for_its_own);
  HOST_RUN_BOTH(a_flood);
  return 0;
}

/* guest_storm.c: several guests on two hosts, which are fed, interrupted, stopped, abandoned and ended by four threads at random, and start
 * again in another form. In the end each has had one done, with a reason that somebody gave, and of all that was polled nothing is missing:
 * what was not processed was discarded. */
/* timeout: 300 */
#include "guests.h"
#include "probe.h"
#include "sync_probe.h"

#define HOSTS 2
#define GUESTS 6
#define THREADS 4

typedef struct seat {
  guest g;
  pthread_rwlock_t there; /* written by who takes the guest away */
  int alive;              /* g.handle may be used */
  int stops, abandons, finishes; /* calls that were answered with SELV_OK */
  uint64_t fails;                /* its poll fails after so many */
  uint64_t chance;               /* of its own start_soon */
  int refused, failed;           /* by its own start_soon */
} seat;

static host hosts[HOSTS];
static selv_cache *cache;
static seat seats[GUESTS];
static uint64_t lives, most_lives, came[8]; /* how runs ended */
static uint64_t polled, processed, discarded;
static int over;

enum { ENDED_OK, ENDED_CANCELLED, ENDED_CLOSED, ENDED_FAILED };

static selv_status may_fail(guest *g, uint64_t timeout_ns, void **out_events) {
  seat *s = (seat *)g->user;
  selv_status status = guest_loop_poll(g, timeout_ns, out_events);
  if (s->fails && --s->fails == 0) return SELV_E_IO;
  return status;
}

static void sets_another(guest *g) { guest_deadline_add(g, check_now_ns() + 100000 + g->fired * 7919 % 2000000); }

/* Who is told that the guest is done has the accounts in hand. */
static void is_over(guest *g, selv_status why) {
  seat *s = (seat *)g->user;
  int way = why == SELV_OK ? ENDED_OK : why == SELV_E_CANCELLED ? ENDED_CANCELLED : why == SELV_E_CLOSED ? ENDED_CLOSED : ENDED_FAILED;
  if (why == SELV_E_IO) CHECK_EQ_U64(s->fails, 0);
  if (why == SELV_E_SPAWN) CHECK(s->refused);
  if (why == SELV_E_HOOK_FAILED) CHECK(s->failed);
  if (way == ENDED_FAILED) CHECK_ANY_OF(why, SELV_E_IO, SELV_E_SPAWN, SELV_E_HOOK_FAILED);
  __atomic_add_fetch(&came[way], 1, __ATOMIC_SEQ_CST);
  __atomic_add_fetch(&polled, g->polled, __ATOMIC_SEQ_CST);
  __atomic_add_fetch(&processed, g->processed, __ATOMIC_SEQ_CST);
  __atomic_add_fetch(&discarded, g->discarded, __ATOMIC_SEQ_CST);
}

/* ---- a start_soon that does its work, most of the time ---- */

typedef struct started {
  selv_job_fn fn;
  selv_deliver_fn deliver;
  void *arg;
  uint64_t chance;
} started;

static void *runs(void *arg) {
  started *job = (started *)arg;
  selv_outcome outcome;
  memset(&outcome, 0, sizeof outcome);
  if (job->chance % 64 == 0)
    outcome.status = SELV_E_HOOK_FAILED;
  else
    outcome.code = job->fn(job->arg, &outcome.value);
  if (job->chance % 8 == 1) (void)job->fn(job->arg, &outcome.value);
  job->deliver(job->arg, &outcome);
  if (job->chance % 8 == 2) job->deliver(job->arg, &outcome);
  if (job->chance % 8 == 3) (void)job->fn(job->arg, &outcome.value); /* by now the guest may be gone */
  free(job);
  return NULL;
}

static selv_status starts_a_thread(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  seat *s = (seat *)start_arg;
  uint64_t chance = sync_probe_random(&s->chance);
  started *job;
  pthread_t thread;
  (void)name;
  if (chance % 64 == 1) {
    s->refused = 1;
    return SELV_E_SPAWN;
  }
  job = (started *)malloc(sizeof *job);
  CHECK(job != NULL);
  job->fn = fn;
  job->deliver = deliver;
  job->arg = arg;
  job->chance = chance >> 8;
  if (job->chance % 64 == 0) s->failed = 1;
  CHECK(pthread_create(&thread, NULL, runs, job) == 0);
  CHECK(pthread_detach(thread) == 0);
  return SELV_OK;
}

static void begins(void *arg) {
  seat *s = (seat *)arg;
  guest_begin(&s->g);
}

static void sits_down(seat *s, uint64_t random) {
  guest_init(&s->g, &hosts[random % HOSTS]);
  s->g.user = s;
  s->g.on_poll = may_fail;
  s->g.on_deadline = sets_another;
  s->g.on_done = is_over;
  s->g.options.cache = random >> 8 & 1 ? cache : NULL;
  s->g.keeps_events = (random >> 9 & 3) == 0;
  s->fails = (random >> 11 & 7) == 0 ? 1 + (random >> 14) % 8 : 0;
  if (random >> 21 & 1) s->g.options.start_soon = starts_a_thread;
  s->g.options.start_arg = s;
  s->chance = random | 1;
  s->refused = s->failed = 0;
  s->stops = s->abandons = s->finishes = 0;
  if (random >> 20 & 1) guest_deadline_add(&s->g, check_now_ns() + CHECK_MS / 10);
  host_do(s->g.h, begins, s);
  s->alive = 1;
}

/* The end was brought about by somebody who was told that he had. */
static void has_ended_for_a_reason(seat *s) {
  CHECK_EQ_U64(check_tally_get(&s->g.dones), 1);
  if (s->g.why == SELV_OK) CHECK(s->finishes > 0);
  if (s->g.why == SELV_E_CANCELLED) CHECK(s->stops > 0);
  if (s->g.why == SELV_E_CLOSED) CHECK(s->abandons > 0);
  CHECK(pthread_equal(s->g.done_on, s->g.h->thread) || s->g.why == SELV_E_CLOSED);
}

static void counted(int *count, selv_status status) {
  CHECK(status == SELV_OK || status == SELV_E_TOO_LATE);
  if (status == SELV_OK) __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
}

/* One deed, with the seat held so that nobody takes the guest away meanwhile. */
static void does_something(seat *s, uint64_t random) {
  selv_status status;
  switch (random % 16) {
    case 0: counted(&s->stops, guest_tell(&s->g, selv_guest_stop)); break;
    case 1: counted(&s->finishes, guest_finish(&s->g)); break;
    case 2: /* a success of an earlier one that had no time may be this one's */
      status = guest_abandon(&s->g, random >> 16 & 1 ? SELV_FOREVER : (random >> 17) % 100000);
      if (status == SELV_E_TIMEDOUT) status = guest_abandon(&s->g, SELV_FOREVER);
      counted(&s->abandons, status);
      break;
    case 3:
    case 4:
    case 5:
    case 6:
    case 7: (void)!write(s->g.out_fd, "x", 1); break; /* a full pipe is full */
    default:
      status = guest_post(&s->g);
      CHECK(status == SELV_OK || status == SELV_E_TOO_LATE);
  }
}

/* Takes a guest that is done from its seat, and puts the next one there. */
static void changes_places(seat *s, uint64_t random) {
  if (pthread_rwlock_trywrlock(&s->there) != 0) return;
  if (s->alive && check_tally_get(&s->g.dones) == 1) {
    has_ended_for_a_reason(s);
    guest_free(&s->g);
    s->alive = 0;
    if (__atomic_add_fetch(&lives, 1, __ATOMIC_SEQ_CST) < most_lives)
      sits_down(s, random);
    else
      __atomic_store_n(&over, 1, __ATOMIC_SEQ_CST);
  }
  CHECK(pthread_rwlock_unlock(&s->there) == 0);
}

static void *storms(void *arg) {
  uint64_t seed = sync_probe_seed((uint64_t)(uintptr_t)arg);
  while (!__atomic_load_n(&over, __ATOMIC_SEQ_CST)) {
    uint64_t random = sync_probe_random(&seed);
    seat *s = &seats[random % GUESTS];
    random >>= 8;
    CHECK(pthread_rwlock_rdlock(&s->there) == 0);
    if (s->alive) does_something(s, random);
    CHECK(pthread_rwlock_unlock(&s->there) == 0);
    changes_places(s, random >> 4);
    if (random % 5 == 0) sched_yield();
  }
  return NULL;
}

int main(void) {
  pthread_t thread[THREADS];
  uint64_t i;
  cache = probe_cache(2, 0); /* fewer workers than polls */
  most_lives = check_scaled(3000);
  for (i = 0; i < HOSTS; i++) {
    host_init(&hosts[i], i % 2 ? HOST_FD : HOST_WAKE);
    hosts[i].max_calls = (uint32_t)i; /* one takes what there is, the other one call at a time */
    host_go(&hosts[i]);
  }
  for (i = 0; i < GUESTS; i++) {
    CHECK(pthread_rwlock_init(&seats[i].there, NULL) == 0);
    sits_down(&seats[i], i * 257);
  }
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&thread[i], NULL, storms, (void *)(uintptr_t)i) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  for (i = 0; i < GUESTS; i++) {
    seat *s = &seats[i];
    if (!s->alive) continue;
    counted(&s->stops, guest_tell(&s->g, selv_guest_stop));
    CHECK_WAIT(&s->g.dones, 1);
    has_ended_for_a_reason(s);
    guest_free(&s->g);
  }
  for (i = 0; i < HOSTS; i++) {
    CHECK_EQ_U64(host_stats(&hosts[i]).guests, 0);
    host_stop(&hosts[i]);
  }
  probe_end(cache);
  CHECK_OK(selv_cache_default(&cache));
  CHECK_OK(selv_cache_trim(cache, 0));
  selv_cache_release(cache);
  CHECK_THREADS_LEFT(0);
  CHECK_EQ_U64(polled, processed + discarded);
  printf("%llu ended, %llu stopped, %llu abandoned, %llu failed; %llu events, %llu of them discarded\n",
         (unsigned long long)came[ENDED_OK], (unsigned long long)came[ENDED_CANCELLED], (unsigned long long)came[ENDED_CLOSED],
         (unsigned long long)came[ENDED_FAILED], (unsigned long long)polled, (unsigned long long)discarded);
  for (i = 0; i < 4; i++) CHECK(came[i] > 0); /* each way was tried */
  return 0;
}

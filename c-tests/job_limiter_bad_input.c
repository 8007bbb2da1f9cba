/* job_limiter_bad_input.c: a host compiled before jobs had limiters, submits of many of which some cannot have a token, a limiter
 * that is freed too early: refused, or understood as it was meant. */
#include "probe.h"
#include "sync_probe.h"

#include <stddef.h>

/* An older host's struct ends before the limiter; what lies behind it in memory is somebody else's and not read. */
static void an_older_host(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_job_options job, room;
  probe p;
  probe_init(&p);
  job = probe_job(probe_run, &p);
  memset(&room, 0x5a, sizeof room);
  memcpy(&room, &job, offsetof(selv_job_options, limiter));
  room.struct_size = offsetof(selv_job_options, limiter);
  CHECK_OK(probe_through(c, &room).status);
  CHECK_EQ_U64(check_tally_get(&p.ran), 1);
  probe_end(c);
}

/* Or it ends between the limiter and its timeout: then it waits for ever. */
static void a_limiter_without_a_timeout(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_limiter *l = limiter_of(1);
  selv_job_options job, room;
  probe p;
  probe_init(&p);
  job = probe_job(probe_run, &p);
  job.limiter = l;
  memset(&room, 0xff, sizeof room); /* as a timeout this would be some limit or none at all */
  memcpy(&room, &job, offsetof(selv_job_options, limiter_timeout_ns));
  room.struct_size = offsetof(selv_job_options, limiter_timeout_ns);
  CHECK_OK(selv_limiter_try_acquire(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_cache_submit(c, &room, NULL));
  CHECK_EQ_U64(limiter_waiting(l), 1);
  CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(p.last.status);
  probe_end(c);
  CHECK_OK(selv_limiter_free(l));
}

/* The first has the token, the second may not wait for it: as many are accepted as the call says, and those are delivered. */
static void many_of_which_some_cannot(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_limiter *l = limiter_of(1);
  selv_job_options jobs[3];
  size_t accepted = 99;
  probe p;
  int i;
  probe_init(&p);
  for (i = 0; i < 3; i++) {
    jobs[i] = probe_job(probe_hold, &p);
    jobs[i].limiter = l;
    jobs[i].limiter_timeout_ns = SELV_NO_WAIT;
  }
  CHECK_STATUS(selv_cache_submit_many(c, jobs, 3, &accepted), SELV_E_WOULD_BLOCK);
  CHECK(accepted <= 1);
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.freed, accepted);
  probe_end(c);
  CHECK_EQ_U64(check_tally_get(&p.delivered), accepted);
  CHECK_EQ_U64(check_tally_get(&p.ran), accepted);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l));
}

static void freed_while_jobs_want_it(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_limiter *l = limiter_of(1);
  selv_job_options job;
  selv_job *waiting = NULL;
  probe p, never;
  probe_init(&p);
  probe_init(&never);
  job = probe_job(probe_hold, &p);
  job.limiter = l;
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.entered, 1);
  job = probe_job(probe_never, &never);
  job.limiter = l;
  CHECK_OK(selv_cache_submit(c, &job, &waiting));
  CHECK_STATUS(selv_limiter_free(l), SELV_E_BUSY);
  CHECK_OK(selv_job_cancel(waiting));
  selv_job_release(waiting);
  CHECK_STATUS(selv_limiter_free(l), SELV_E_BUSY); /* the one that runs */
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.delivered, 1);
  CHECK_OK(selv_limiter_free(l)); /* in deliver the token was back already */
  CHECK_WAIT(&p.freed, 1);
  probe_end(c);
}

/* On a cache that is shut down nothing is asked of the limiter. */
static void on_a_cache_that_is_shut_down(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  selv_limiter *l = limiter_of(1);
  selv_job_options job;
  uint32_t remaining = 99;
  probe p;
  probe_init(&p);
  job = probe_job(probe_never, &p);
  job.limiter = l;
  CHECK_OK(selv_cache_shutdown(c, 0, SELV_FOREVER, &remaining));
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_CLOSED);
  job.limiter_timeout_ns = SELV_NO_WAIT;
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_CLOSED);
  job.limiter_timeout_ns = 0;
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_try_acquire(l, SELV_TASK_CURRENT));
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_CLOSED);
  CHECK_EQ_U64(limiter_waiting(l), 0);
  CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
  CHECK_EQ_U64(check_tally_get(&p.delivered) + check_tally_get(&p.freed), 0);
  selv_cache_release(c);
  CHECK_OK(selv_limiter_free(l));
}

int main(void) {
  CHECK_RUN(an_older_host);
  CHECK_RUN(a_limiter_without_a_timeout);
  CHECK_RUN(many_of_which_some_cannot);
  CHECK_RUN(freed_while_jobs_want_it);
  CHECK_RUN(on_a_cache_that_is_shut_down);
  return 0;
}

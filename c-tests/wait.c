/* wait.c: selv_job_wait returns when the job has been delivered and its argument freed; it may time out, be repeated, and be
 * called by many; on the job's own fn and deliver it says DEADLOCK. */
#include "probe.h"

static void it_returns_the_outcome_after_everything(void) {
  selv_cache *c = probe_cache(0, 0);
  uint64_t i;
  probe p;
  selv_job_options options;
  probe_init(&p);
  options = probe_job(probe_run, &p);
  for (i = 1; i <= 500; i++) {
    selv_job *job = NULL;
    selv_outcome outcome;
    CHECK_OK(selv_cache_submit(c, &options, &job));
    CHECK_OK(selv_job_wait(job, SELV_FOREVER, &outcome));
    CHECK_EQ_U64(check_tally_get(&p.delivered), i);
    CHECK_EQ_U64(check_tally_get(&p.freed), i);
    CHECK_OK(outcome.status);
    CHECK_EQ_U64(outcome.code, 7);
    CHECK(outcome.value == &p);
    memset(&outcome, 0, sizeof outcome);
    CHECK_OK(selv_job_wait(job, 0, &outcome)); /* and again: it is over */
    CHECK(outcome.value == &p);
    selv_job_release(job);
  }
  CHECK_EQ_U64(probe_stats(c).started, 1); /* submitted after the wait: the same worker */
  probe_end(c);
}

static void it_times_out(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_job_options options;
  selv_job *job = NULL;
  selv_outcome outcome;
  uint64_t began;
  probe p;
  probe_init(&p);
  options = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &options, &job));
  CHECK_STATUS(selv_job_wait(job, 0, &outcome), SELV_E_TIMEDOUT);
  began = check_now_ns();
  CHECK_STATUS(selv_job_wait(job, 20 * CHECK_MS, &outcome), SELV_E_TIMEDOUT);
  CHECK(check_now_ns() - began >= 20 * CHECK_MS);
  CHECK(outcome.value == NULL && outcome.code == 0);
  check_tally_add(&p.go, 1);
  CHECK_OK(selv_job_wait(job, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(outcome.code, 7);
  selv_job_release(job);
  probe_end(c);
}

static void *one_waiter(void *job) {
  selv_outcome outcome;
  CHECK_OK(selv_job_wait((selv_job *)job, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(outcome.code, 7);
  return NULL;
}

static void many_may_wait(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_job_options options;
  selv_job *job = NULL;
  pthread_t threads[8];
  probe p;
  int i;
  probe_init(&p);
  options = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &options, &job));
  for (i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, one_waiter, job) == 0);
  check_tally_add(&p.go, 1);
  for (i = 0; i < 8; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  selv_job_release(job);
  probe_end(c);
}

struct self {
  selv_job *job;
  check_tally set, delivered;
  selv_status in_fn, in_deliver, cancel_in_fn;
};

static int32_t wait_for_myself(void *arg, void **out_value) {
  struct self *self = (struct self *)arg;
  selv_outcome outcome;
  (void)out_value;
  CHECK_WAIT(&self->set, 1);
  self->in_fn = selv_job_wait(self->job, SELV_FOREVER, &outcome);
  self->cancel_in_fn = selv_job_cancel(self->job);
  return 0;
}

static void wait_for_myself_in_deliver(void *arg, const selv_outcome *outcome) {
  struct self *self = (struct self *)arg;
  selv_outcome mine;
  CHECK_OK(outcome->status);
  self->in_deliver = selv_job_wait(self->job, SELV_FOREVER, &mine);
  check_tally_add(&self->delivered, 1);
}

static void on_its_own_job_it_is_a_deadlock(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_job_options options = SELV_JOB_OPTIONS_INIT;
  struct self self;
  memset(&self, 0, sizeof self);
  check_tally_init(&self.set);
  check_tally_init(&self.delivered);
  options.fn = wait_for_myself;
  options.deliver = wait_for_myself_in_deliver;
  options.arg = &self;
  CHECK_OK(selv_cache_submit(c, &options, &self.job));
  check_tally_add(&self.set, 1);
  CHECK_WAIT(&self.delivered, 1);
  CHECK_STATUS(self.in_fn, SELV_E_DEADLOCK);
  CHECK_STATUS(self.in_deliver, SELV_E_DEADLOCK);
  CHECK_STATUS(self.cancel_in_fn, SELV_E_TOO_LATE);
  selv_job_release(self.job);
  probe_end(c);
}

static void waiting_for_a_cancelled_job_returns(void) {
  selv_cache *c = probe_cache(1, 0);
  selv_job_options hold, job;
  selv_job *queued = NULL;
  selv_outcome outcome;
  probe busy, p;
  probe_init(&busy);
  probe_init(&p);
  hold = probe_job(probe_hold, &busy);
  job = probe_job(probe_never, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_OK(selv_cache_submit(c, &job, &queued));
  CHECK_STATUS(selv_job_wait(queued, 5 * CHECK_MS, &outcome), SELV_E_TIMEDOUT);
  CHECK_OK(selv_job_cancel(queued));
  CHECK_OK(selv_job_wait(queued, SELV_FOREVER, &outcome));
  CHECK_STATUS(outcome.status, SELV_E_CANCELLED);
  selv_job_release(queued);
  check_tally_add(&busy.go, 1);
  probe_end(c);
}

/* The handle outlives the cache's last reference. */
static void a_handle_outlives_its_cache(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_job_options options;
  selv_job *job = NULL;
  selv_outcome outcome;
  probe p;
  probe_init(&p);
  options = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &options, &job));
  selv_cache_release(c);
  check_tally_add(&p.go, 1);
  CHECK_OK(selv_job_wait(job, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  selv_job_release(job);
}

int main(void) {
  CHECK_RUN(it_returns_the_outcome_after_everything);
  CHECK_RUN(it_times_out);
  CHECK_RUN(many_may_wait);
  CHECK_RUN(on_its_own_job_it_is_a_deadlock);
  CHECK_RUN(waiting_for_a_cancelled_job_returns);
  CHECK_RUN(a_handle_outlives_its_cache);
  return 0;
}

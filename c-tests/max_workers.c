/* max_workers.c: a bounded cache starts no more workers than it was told to, and jobs past that queue in order. */
#include "probe.h"

#define QUEUED 200

struct numbered {
  uint64_t number;
  struct order *order;
};

struct order {
  pthread_mutex_t mutex;
  uint64_t next, running, most;
  check_tally delivered;
  struct numbered jobs[QUEUED];
};

static int32_t in_turn(void *arg, void **out_value) {
  struct numbered *job = (struct numbered *)arg;
  (void)out_value;
  pthread_mutex_lock(&job->order->mutex);
  CHECK_EQ_U64(job->number, job->order->next);
  job->order->next++;
  pthread_mutex_unlock(&job->order->mutex);
  return 0;
}

static int32_t counted(void *arg, void **out_value) {
  struct order *order = ((struct numbered *)arg)->order;
  (void)out_value;
  pthread_mutex_lock(&order->mutex);
  if (++order->running > order->most) order->most = order->running;
  pthread_mutex_unlock(&order->mutex);
  check_sleep_ms(1); /* so that jobs overlap if anything lets them */
  pthread_mutex_lock(&order->mutex);
  order->running--;
  pthread_mutex_unlock(&order->mutex);
  return 0;
}

static void delivered(void *arg, const selv_outcome *outcome) {
  CHECK_OK(outcome->status);
  check_tally_add(&((struct numbered *)arg)->order->delivered, 1);
}

static void order_init(struct order *order) {
  uint64_t i;
  memset(order, 0, sizeof *order);
  pthread_mutex_init(&order->mutex, NULL);
  check_tally_init(&order->delivered);
  for (i = 0; i < QUEUED; i++) {
    order->jobs[i].number = i;
    order->jobs[i].order = order;
  }
}

static struct order order;

static void jobs_past_the_limit_queue_in_order(void) {
  selv_cache *c = probe_cache(1, 0);
  selv_cache_stats stats;
  selv_job_options hold;
  probe p;
  uint64_t i;
  order_init(&order);
  probe_init(&p);
  hold = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&p.entered, 1);
  for (i = 0; i < QUEUED; i++) { /* by every door: they are one queue */
    if (i % 2)
      CHECK_OK(selv_start_thread_soon(c, in_turn, delivered, &order.jobs[i], NULL));
    else {
      selv_job_options job = SELV_JOB_OPTIONS_INIT;
      job.fn = in_turn;
      job.deliver = delivered;
      job.arg = &order.jobs[i];
      CHECK_OK(selv_cache_submit(c, &job, NULL));
    }
  }
  stats = probe_stats(c);
  CHECK_EQ_U64(stats.jobs_queued, QUEUED);
  CHECK_EQ_U64(stats.workers, 1);
  CHECK_EQ_U64(check_tally_get(&order.delivered), 0);
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&order.delivered, QUEUED);
  CHECK_EQ_U64(probe_stats(c).started, 1);
  CHECK_EQ_U64(probe_stats(c).jobs_queued, 0);
  probe_end(c);
}

static void never_more_than_the_limit(void) {
  selv_cache *c = probe_cache(3, 0);
  uint64_t i;
  order_init(&order);
  for (i = 0; i < QUEUED; i++) CHECK_OK(selv_start_thread_soon(c, counted, delivered, &order.jobs[i], NULL));
  CHECK_WAIT(&order.delivered, QUEUED);
  CHECK(order.most >= 1 && order.most <= 3);
  CHECK(probe_stats(c).peak_workers <= 3);
  CHECK(probe_stats(c).started <= 3);
  probe_end(c);
}

/* A queued job must not wait for a worker that has just gone: limit one, and the idle timeout as short as it gets. */
static void the_queue_survives_workers_that_time_out(void) {
  selv_cache *c = probe_cache(2, 1);
  uint64_t i;
  order_init(&order);
  for (i = 0; i < QUEUED; i++) CHECK_OK(selv_start_thread_soon(c, counted, delivered, &order.jobs[i], NULL));
  CHECK_WAIT(&order.delivered, QUEUED);
  CHECK_EVENTUALLY(probe_stats(c).workers == 0);
  CHECK(order.most <= 2);
  probe_end(c);
}

/* And on a full cache, deliver's submit queues behind the others. */
static void resubmit(void *arg, const selv_outcome *outcome) {
  struct order *o = ((struct numbered *)arg)->order;
  CHECK_OK(outcome->status);
  check_tally_add(&o->delivered, 1);
}

static selv_cache *chain_cache;

static void submit_the_last(void *arg, const selv_outcome *outcome) {
  resubmit(arg, outcome);
  CHECK_OK(selv_start_thread_soon(chain_cache, in_turn, resubmit, &order.jobs[2], NULL));
}

static void a_submit_from_deliver_queues_behind_the_others(void) {
  selv_job_options hold;
  probe p;
  order_init(&order);
  probe_init(&p);
  chain_cache = probe_cache(1, 0);
  hold = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(chain_cache, &hold, NULL));
  CHECK_WAIT(&p.entered, 1);
  CHECK_OK(selv_start_thread_soon(chain_cache, in_turn, submit_the_last, &order.jobs[0], NULL));
  CHECK_OK(selv_start_thread_soon(chain_cache, in_turn, resubmit, &order.jobs[1], NULL));
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&order.delivered, 3);
  CHECK_EQ_U64(probe_stats(chain_cache).started, 1);
  probe_end(chain_cache);
}

int main(void) {
  CHECK_RUN(jobs_past_the_limit_queue_in_order);
  CHECK_RUN(never_more_than_the_limit);
  CHECK_RUN(the_queue_survives_workers_that_time_out);
  CHECK_RUN(a_submit_from_deliver_queues_behind_the_others);
  return 0;
}

/* glib_jobs: a main loop with timers, to which threads send calls and workers deliver jobs: everything runs on the main loop's thread at
 * its depth, in the order in which it came; a worker may wait for its call; and the queue does not keep other sources from their turn. */
#include "glib_support.h"

#define MANY 1000

static rig r;
static pthread_t main_thread;

static void on_the_loop(void) {
  CHECK(pthread_equal(pthread_self(), main_thread));
  CHECK_EQ_U64(g_main_depth(), 1);
}

static uint64_t ticks;

static gboolean tick(gpointer unused) {
  (void)unused;
  CHECK_EQ_U64(g_main_depth(), 1);
  ticks++;
  return G_SOURCE_CONTINUE;
}

/* ---- calls ---- */

#define SENDERS 4

typedef struct sender {
  uint64_t sent, came;
} sender;

typedef struct message {
  sender *from;
  uint64_t number;
} message;

static uint64_t messages;

static void message_came(void *arg) {
  message *m = (message *)arg;
  on_the_loop();
  CHECK_EQ_U64(m->number, m->from->came);
  m->from->came++;
  free(m);
  if (++messages == SENDERS * MANY) g_main_loop_quit(r.main);
}

static void *send_many(void *arg) {
  sender *s = (sender *)arg;
  for (; s->sent < MANY; s->sent++) {
    message *m = (message *)malloc(sizeof *m);
    CHECK(m != NULL);
    m->from = s;
    m->number = s->sent;
    rig_soon(&r, message_came, m);
  }
  return NULL;
}

static void calls_in_order(void) {
  sender senders[SENDERS];
  pthread_t threads[SENDERS];
  int i;
  memset(senders, 0, sizeof senders);
  rig_start(&r, NULL);
  CHECK_STR(g_source_get_name(r.source), "glib");
  CHECK(g_main_context_find_source_by_user_data(r.context, r.loop) == r.source);
  for (i = 0; i < SENDERS; i++) threads[i] = rig_thread(send_many, &senders[i]);
  g_main_loop_run(r.main);
  for (i = 0; i < SENDERS; i++) {
    rig_join(threads[i]);
    CHECK_EQ_U64(senders[i].came, MANY);
  }
  CHECK_EQ_U64(rig_stats(&r).ran, SENDERS * MANY);
  CHECK_EQ_U64(rig_stats(&r).waiting, 0);
  rig_end(&r);
}

/* ---- jobs ---- */

static uint64_t delivered, freed;
static int is_in_order;

static int32_t square(void *arg, void **out_value) {
  uint64_t n = (uint64_t)(uintptr_t)arg;
  CHECK(!pthread_equal(pthread_self(), main_thread));
  *out_value = arg;
  return (int32_t)(n * n % 1000);
}

static void job_delivered(void *arg, const selv_outcome *outcome) {
  uint64_t n = (uint64_t)(uintptr_t)arg;
  on_the_loop();
  CHECK_OK(outcome->status);
  CHECK(outcome->value == arg);
  CHECK_EQ_U64(outcome->code, n * n % 1000);
  if (is_in_order) CHECK_EQ_U64(n, delivered);
  delivered++;
}

static void job_freed(void *arg) {
  (void)arg;
  on_the_loop();
  CHECK_EQ_U64(++freed, delivered);
  if (freed == MANY) g_main_loop_quit(r.main);
}

/* One worker finishes the jobs in the order in which they were submitted, eight do not. */
static void jobs_delivered_by(uint32_t workers) {
  selv_cache *cache = probe_cache(workers, SELV_FOREVER);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  uint64_t i;
  is_in_order = workers == 1;
  delivered = freed = ticks = 0;
  rig_start(&r, NULL);
  rig_timer(&r, 1, tick, NULL);
  job.fn = square;
  job.deliver = job_delivered;
  job.arg_free = job_freed;
  job.loop = r.loop;
  for (i = 0; i < MANY; i++) {
    job.arg = (void *)(uintptr_t)i;
    CHECK_OK(selv_cache_submit(cache, &job, NULL));
  }
  g_main_loop_run(r.main);
  CHECK_EQ_U64(delivered, MANY);
  /* The timer goes on beside the queue and after it. */
  while (ticks < 3) g_main_context_iteration(r.context, TRUE);
  rig_end(&r);
  probe_end(cache);
}

static void jobs_of_one_worker(void) { jobs_delivered_by(1); }
static void jobs_of_eight_workers(void) { jobs_delivered_by(8); }

/* ---- calls that are waited for ---- */

static int32_t answer(void *arg, void **out_value) {
  on_the_loop();
  CHECK_STATUS(selv_host_loop_call(r.loop, square, NULL, SELV_FOREVER, NULL), SELV_E_DEADLOCK);
  *out_value = arg;
  return 42;
}

static int32_t asks(void *arg, void **out_value) {
  int i;
  (void)out_value;
  for (i = 0; i < 100; i++) {
    selv_outcome outcome;
    CHECK_OK(selv_host_loop_call(r.loop, answer, &i, SELV_FOREVER, &outcome));
    CHECK_OK(outcome.status);
    CHECK_EQ_U64(outcome.code, 42);
    CHECK(outcome.value == &i);
  }
  (void)arg;
  return 0;
}

static void asked(void *arg, const selv_outcome *outcome) {
  on_the_loop();
  CHECK_OK(outcome->status);
  if (++*(uint64_t *)arg == 4) g_main_loop_quit(r.main);
}

static void workers_ask_the_loop(void) {
  selv_cache *cache = probe_cache(4, SELV_FOREVER);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  uint64_t ended = 0;
  int i;
  rig_start(&r, NULL);
  rig_timer(&r, 1, tick, NULL);
  job.fn = asks;
  job.deliver = asked;
  job.arg = &ended;
  job.loop = r.loop;
  for (i = 0; i < 4; i++) CHECK_OK(selv_cache_submit(cache, &job, NULL));
  g_main_loop_run(r.main);
  CHECK_EQ_U64(ended, 4);
  CHECK_EQ_U64(rig_stats(&r).ran, 4 * 100 + 4);
  rig_end(&r);
  probe_end(cache);
}

/* ---- turns ---- */

static void count(void *arg) { ++*(uint64_t *)arg; }

static gboolean count_turn(gpointer arg) {
  ++*(uint64_t *)arg;
  return G_SOURCE_CONTINUE;
}

/* Ten calls a dispatch, and an idle source of the same priority gets a turn beside each. */
static void ten_calls_at_a_time(void) {
  selv_glib_options options = SELV_GLIB_OPTIONS_INIT;
  uint64_t calls = 0, turns = 0;
  int i;
  options.name = "ten at a time";
  options.max_calls = 10;
  rig_start(&r, &options);
  CHECK_STR(g_source_get_name(r.source), "ten at a time");
  rig_attach(&r, g_idle_source_new(), G_PRIORITY_DEFAULT, count_turn, &turns);
  for (i = 0; i < 100; i++) rig_soon(&r, count, &calls);
  for (i = 1; i <= 10; i++) {
    g_main_context_iteration(r.context, TRUE);
    CHECK_EQ_U64(calls, 10 * (uint64_t)i);
    CHECK_EQ_U64(turns, i);
  }
  rig_end(&r);
}

static void again(void *arg) {
  ++*(uint64_t *)arg;
  rig_soon(&r, again, arg);
}

static void a_call_that_queues_itself(void) {
  uint64_t calls = 0, turns = 0;
  int i;
  rig_start(&r, NULL);
  rig_attach(&r, g_idle_source_new(), G_PRIORITY_DEFAULT, count_turn, &turns);
  rig_soon(&r, again, &calls);
  for (i = 1; i <= 100; i++) {
    g_main_context_iteration(r.context, TRUE);
    CHECK_EQ_U64(calls, i);
    CHECK_EQ_U64(turns, i);
  }
  rig_end(&r);
}

/* Who is more urgent goes first, and g_source_set_priority moves the loop at any time. */
static void priorities(void) {
  selv_glib_options options = SELV_GLIB_OPTIONS_INIT;
  uint64_t calls = 0, turns = 0;
  options.priority = G_PRIORITY_LOW;
  rig_start(&r, &options);
  rig_attach(&r, g_idle_source_new(), G_PRIORITY_DEFAULT, count_turn, &turns);
  rig_soon(&r, count, &calls);
  for (; turns < 20; CHECK_EQ_U64(calls, 0)) g_main_context_iteration(r.context, TRUE);
  g_source_set_priority(r.source, G_PRIORITY_HIGH);
  g_main_context_iteration(r.context, TRUE);
  CHECK_EQ_U64(calls, 1);
  CHECK_EQ_U64(turns, 20);
  rig_end(&r);
}

int main(void) {
  main_thread = pthread_self();
  CHECK_RUN(calls_in_order);
  CHECK_RUN(jobs_of_one_worker);
  CHECK_RUN(jobs_of_eight_workers);
  CHECK_RUN(workers_ask_the_loop);
  CHECK_RUN(ten_calls_at_a_time);
  CHECK_RUN(a_call_that_queues_itself);
  CHECK_RUN(priorities);
  return 0;
}

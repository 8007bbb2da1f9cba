/* uv_loop_unref: whether a host loop in a uv_loop_t keeps uv_run going. As it comes it does, with and without work; with
 * SELV_UV_UNREF it never does, and what is queued waits for a uv_run that has cause to turn. */
#include "uv_support.h"

static uv_loop_t uv;
static uv_queue queue;
static uv_timer_t timer;
static uint64_t ran;

static void count(void *unused) {
  (void)unused;
  uv_check_home();
  ran++;
}

static void soon(void) { CHECK_OK(selv_host_loop_call_soon(queue.loop, count, NULL, NULL, 0)); }

static void open_all(uint32_t flags) {
  uv_open(&uv);
  uv_queue_open(&queue, &uv, flags, 0);
  ran = 0;
}

static void end_all(void) {
  uv_queue_end(&queue);
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(queue.closed, 1);
  uv_shut(&uv);
}

static void tick(uv_timer_t *t) { uv_close(UV_HANDLE(t), NULL); }

static void a_turn_of_its_own(void) {
  CHECK_UV(uv_timer_init(&uv, &timer));
  CHECK_UV(uv_timer_start(&timer, tick, 1, 0));
}

static void keeps_it_going(void) {
  open_all(0);
  CHECK(uv_loop_alive(&uv));
  CHECK(uv_run(&uv, UV_RUN_NOWAIT) != 0);
  soon();
  CHECK(uv_run(&uv, UV_RUN_ONCE) != 0);
  CHECK_EQ_U64(ran, 1);
  CHECK(uv_loop_alive(&uv));
  end_all();
}

static void does_not(void) {
  open_all(SELV_UV_UNREF);
  CHECK(!uv_loop_alive(&uv));
  soon();
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(ran, 0);
  CHECK_EQ_U64(uv_queue_stats(&queue).waiting, 1);
  a_turn_of_its_own();
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0); /* ends with the timer */
  CHECK_EQ_U64(ran, 1);
  soon();
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(ran, 1);
  end_all(); /* drops the last */
  CHECK_EQ_U64(ran, 1);
}

/* A host that counts what it has out: uv_ref with the first, uv_unref with the last. */
static void back(void *arg, const selv_outcome *outcome) {
  (void)arg;
  CHECK_OK(outcome->status);
  uv_unref(queue.handle);
  ran++;
}

static void while_a_job_is_out(void) {
  selv_cache *cache = probe_cache(0, 0);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  probe p;
  open_all(SELV_UV_UNREF);
  probe_init(&p);
  job.fn = probe_run;
  job.deliver = back;
  job.arg = &p;
  job.loop = queue.loop;
  uv_ref(queue.handle);
  CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(ran, 1);
  end_all();
  probe_end(cache);
}

int main(void) {
  CHECK_RUN(keeps_it_going);
  CHECK_RUN(does_not);
  CHECK_RUN(while_a_job_is_out);
  return 0;
}

/* uv_loop_end: the end of a host loop in a uv_loop_t. What is queued is dropped or refused, once and in order; uv_run ends, and
 * nothing is left in the uv loop; wherever it is ended from, and in whatever order the two loops go. What the preset refuses. */
#include "uv_support.h"

static uv_loop_t uv;
static uv_queue queue;

static void never(void *arg) {
  (void)arg;
  check_fail(__FILE__, __LINE__, "a call ran that must not run");
}

/* ---- work that is queued ---- */

static uint64_t drops;

static void dropped(void *arg) {
  uv_check_home();
  CHECK_EQ_U64((uint64_t)(uintptr_t)arg, drops);
  drops++;
}

static void queue_some(uint64_t n) {
  uint64_t i;
  drops = 0;
  for (i = 0; i < n; i++) CHECK_OK(selv_host_loop_call_soon(queue.loop, never, (void *)(uintptr_t)i, dropped, 0));
}

static int32_t never_called(void *arg, void **out_value) {
  (void)out_value;
  never(arg);
  return 0;
}

static void *waits_for_a_call(void *status) {
  *(selv_status *)status = selv_host_loop_call(queue.loop, never_called, NULL, SELV_FOREVER, NULL);
  return NULL;
}

static selv_status told;
static uint64_t outcomes;

static void deliver_closed(void *arg, const selv_outcome *outcome) {
  (void)arg;
  uv_check_home(); /* queued when the loop was closed: told by the closing thread */
  told = outcome->status;
  CHECK_EQ_U64(outcome->code, 7);
  outcomes++;
}

static void with_work_queued(void) {
  selv_cache *cache = probe_cache(0, 0);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_status status = SELV_OK;
  pthread_t waiter;
  probe p;
  uv_open(&uv);
  uv_queue_open(&queue, &uv, 0, 0);
  queue_some(100);
  probe_init(&p);
  outcomes = 0;
  job.fn = probe_run;
  job.deliver = deliver_closed;
  job.arg = &p;
  job.loop = queue.loop;
  CHECK_OK(selv_cache_submit(cache, &job, NULL));
  CHECK(pthread_create(&waiter, NULL, waits_for_a_call, &status) == 0);
  CHECK_EVENTUALLY(uv_queue_stats(&queue).waiting == 102);
  selv_host_loop_retain(queue.loop);
  uv_queue_end(&queue);
  CHECK_EQ_U64(drops, 100);
  CHECK_EQ_U64(outcomes, 1);
  CHECK_STATUS(told, SELV_E_CLOSED);
  CHECK(pthread_join(waiter, NULL) == 0);
  CHECK_STATUS(status, SELV_E_CLOSED);
  CHECK_EQ_U64(uv_queue_stats(&queue).closed, 1);
  CHECK_STATUS(selv_host_loop_call_soon(queue.loop, never, NULL, never, 0), SELV_E_CLOSED);
  selv_host_loop_release(queue.loop);
  CHECK_EQ_U64(queue.closed, 0);
  CHECK_STATUS(selv_uv_loop_end(queue.handle, uv_queue_closed, &queue), SELV_E_CLOSED);
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(queue.closed, 1);
  uv_shut(&uv);
  probe_end(cache);
}

/* ---- from where ---- */

static void end_and_look(void) {
  queue_some(3);
  uv_queue_end(&queue);
  CHECK_EQ_U64(drops, 3);
  CHECK_EQ_U64(queue.closed, 0);
  CHECK(uv_is_closing(queue.handle));
}

static void run_out(void) {
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(queue.closed, 1);
  CHECK_EQ_U64(drops, 3);
  uv_shut(&uv);
}

static void on_timer(uv_timer_t *timer) {
  end_and_look();
  uv_close(UV_HANDLE(timer), NULL);
}

static void in_a_uv_callback(void) {
  uv_timer_t timer;
  uv_open(&uv);
  uv_queue_open(&queue, &uv, 0, 0);
  CHECK_UV(uv_timer_init(&uv, &timer));
  CHECK_UV(uv_timer_start(&timer, on_timer, 1, 0));
  run_out();
}

/* The calls behind it in the same drain are dropped with the rest. A second end is refused by the preset itself; neither touches what
 * the last call of the library that failed has left. */
static void end_in_call(void *unused) {
  (void)unused;
  CHECK_STATUS(selv_host_loop_bind(NULL), SELV_E_NULL);
  CHECK_LAST_ERROR_HAS("is NULL");
  uv_queue_end(&queue);
  CHECK_EQ_U64(drops, 3);
  CHECK_STATUS(selv_uv_loop_end(queue.handle, uv_queue_closed, &queue), SELV_E_CLOSED);
  CHECK_LAST_ERROR_HAS("is NULL");
}

static void in_a_queued_callback(void) {
  uv_open(&uv);
  uv_queue_open(&queue, &uv, 0, 0);
  CHECK_OK(selv_host_loop_call_soon(queue.loop, end_in_call, NULL, NULL, 0));
  queue_some(3);
  run_out();
}

static void before_the_first_turn(void) {
  uv_open(&uv);
  uv_queue_open(&queue, &uv, 0, 0);
  end_and_look();
  run_out();
}

/* NULL for the callback; the data of the handle is the host's. */
static void nobody_is_told(void) {
  uv_open(&uv);
  uv_queue_open(&queue, &uv, 0, 0);
  queue.handle->data = &queue;
  CHECK_OK(selv_uv_loop_end(queue.handle, NULL, NULL));
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(queue.closed, 0);
  uv_shut(&uv);
}

/* A loop that was closed by itself first: the handle is still there, and is ended. */
static void closed_before(void) {
  uv_open(&uv);
  uv_queue_open(&queue, &uv, 0, 0);
  queue_some(3);
  CHECK_OK(selv_host_loop_close(queue.loop));
  CHECK_EQ_U64(drops, 3);
  CHECK(uv_run(&uv, UV_RUN_NOWAIT) != 0);
  uv_queue_end(&queue);
  run_out();
}

/* The same inside a drain. */
static void close_in_call(void *unused) {
  (void)unused;
  CHECK_OK(selv_host_loop_close(queue.loop));
  CHECK_EQ_U64(drops, 3);
}

static void closed_while_it_drains(void) {
  uv_open(&uv);
  uv_queue_open(&queue, &uv, 0, 1); /* one call in a turn: some are left behind */
  CHECK_OK(selv_host_loop_call_soon(queue.loop, close_in_call, NULL, NULL, 0));
  queue_some(3);
  CHECK(uv_run(&uv, UV_RUN_ONCE) != 0);
  CHECK_EQ_U64(uv_queue_stats(&queue).closed, 1);
  CHECK(uv_run(&uv, UV_RUN_NOWAIT) != 0);
  uv_queue_end(&queue);
  run_out();
}

/* ---- another thread ---- */

static void note_thread(void *arg) { *(pthread_t *)arg = pthread_self(); }

static void *runs_it(void *arg) {
  CHECK_OK(selv_host_loop_call_soon(queue.loop, note_thread, arg, NULL, 0));
  CHECK(uv_run(&uv, UV_RUN_ONCE) != 0);
  return NULL;
}

/* Made here, run there, ended here. */
static void moved(void) {
  pthread_t there, ran_on;
  memset(&ran_on, 0, sizeof ran_on);
  uv_open(&uv);
  uv_queue_open(&queue, &uv, 0, 0);
  CHECK(pthread_create(&there, NULL, runs_it, &ran_on) == 0);
  CHECK(pthread_join(there, NULL) == 0);
  CHECK(pthread_equal(ran_on, there));
  end_and_look();
  run_out();
}

static void *makes_and_closes_it(void *unused) {
  uv_queue_open(&queue, &uv, 0, 0);
  CHECK_OK(selv_host_loop_close(queue.loop));
  return unused;
}

/* Closed by itself on a thread that is gone: the handle can be ended all the same. */
static void closed_elsewhere(void) {
  pthread_t there;
  uv_open(&uv);
  CHECK(pthread_create(&there, NULL, makes_and_closes_it, NULL) == 0);
  CHECK(pthread_join(there, NULL) == 0);
  CHECK(uv_run(&uv, UV_RUN_NOWAIT) != 0);
  uv_queue_end(&queue);
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(queue.closed, 1);
  uv_shut(&uv);
}

/* ---- somebody closes every handle that uv_walk finds ---- */

/* The host loop goes, and nobody waits for it in vain; which uv_close it was that came first is told. The memory of the handle is
 * nobody's then: the test, which knows where it is from, frees it. */
static void closed_by_a_walk(int turns_before) {
  selv_status status = SELV_OK;
  pthread_t waiter;
  uv_open(&uv);
  uv_queue_open(&queue, &uv, 0, 0);
  selv_host_loop_retain(queue.loop);
  queue_some(3);
  CHECK(pthread_create(&waiter, NULL, waits_for_a_call, &status) == 0);
  CHECK_EVENTUALLY(uv_queue_stats(&queue).waiting == 4);
  uv_walk(&uv, uv_close_one, NULL);
  if (turns_before) CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_STATUS(selv_uv_loop_end(queue.handle, uv_queue_closed, &queue), SELV_E_INVAL);
  CHECK(pthread_join(waiter, NULL) == 0);
  CHECK_STATUS(status, SELV_E_CLOSED);
  CHECK_EQ_U64(drops, 3);
  CHECK_STATUS(selv_uv_loop_end(queue.handle, uv_queue_closed, &queue), SELV_E_CLOSED);
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(queue.closed, 0);
  CHECK_EQ_U64(uv_queue_stats(&queue).closed, 1);
  uv_shut(&uv);
  selv_host_loop_release(queue.loop);
  free(queue.handle);
}

static void closed_by_a_walk_just_before(void) { closed_by_a_walk(0); }
static void closed_by_a_walk_turns_before(void) { closed_by_a_walk(1); }

/* ---- what is refused ---- */

static void refused(void) {
  selv_uv_loop_options options = SELV_UV_LOOP_OPTIONS_INIT;
  struct {
    selv_uv_loop_options known;
    uint64_t unknown;
  } newer;
  selv_host_loop *loop = (selv_host_loop *)8;
  uv_handle_t *handle = (uv_handle_t *)8;
  uv_open(&uv);
  CHECK_STATUS(selv_host_loop_bind(NULL), SELV_E_NULL); /* the last failure that the library itself has told of */
  CHECK_STATUS(selv_uv_loop_new(NULL, NULL, &loop, &handle), SELV_E_NULL);
  CHECK(loop == NULL && handle == NULL);
  CHECK_STATUS(selv_uv_loop_new(&uv, NULL, NULL, &handle), SELV_E_NULL);
  CHECK_STATUS(selv_uv_loop_new(&uv, NULL, &loop, NULL), SELV_E_NULL);
  options.flags = 2;
  CHECK_STATUS(selv_uv_loop_new(&uv, &options, &loop, &handle), SELV_E_INVAL);
  options.flags = 0;
  options.struct_size = 4;
  CHECK_STATUS(selv_uv_loop_new(&uv, &options, &loop, &handle), SELV_E_INVAL);
  memset(&newer, 0, sizeof newer);
  newer.known.struct_size = sizeof newer;
  newer.unknown = 1;
  CHECK_STATUS(selv_uv_loop_new(&uv, &newer.known, &loop, &handle), SELV_E_UNSUPPORTED);
  CHECK(loop == NULL && handle == NULL);
  CHECK_STATUS(selv_uv_loop_end(NULL, NULL, NULL), SELV_E_NULL);
  CHECK_LAST_ERROR_HAS("loop is NULL");
  uv_shut(&uv); /* nothing was left behind */
  /* Longer with zeros, and the shortest: both are taken. */
  uv_open(&uv);
  newer.unknown = 0;
  CHECK_OK(selv_uv_loop_new(&uv, &newer.known, &loop, &handle));
  CHECK_OK(selv_uv_loop_end(handle, NULL, NULL));
  options.struct_size = 8;
  CHECK_OK(selv_uv_loop_new(&uv, &options, &loop, &handle));
  CHECK_OK(selv_uv_loop_end(handle, NULL, NULL));
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  uv_shut(&uv);
}

int main(void) {
  CHECK_RUN(with_work_queued);
  CHECK_RUN(in_a_uv_callback);
  CHECK_RUN(in_a_queued_callback);
  CHECK_RUN(before_the_first_turn);
  CHECK_RUN(nobody_is_told);
  CHECK_RUN(closed_before);
  CHECK_RUN(closed_while_it_drains);
  CHECK_RUN(moved);
  CHECK_RUN(closed_elsewhere);
  CHECK_RUN(closed_by_a_walk_just_before);
  CHECK_RUN(closed_by_a_walk_turns_before);
  CHECK_RUN(refused);
  return 0;
}

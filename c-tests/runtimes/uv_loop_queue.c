/* uv_loop_queue: what is queued for a host loop in a uv_loop_t runs in a turn of that loop, on its thread, in order: calls,
 * waited calls, the outcomes of jobs, completions. The loop's own timers have their turn, however much is queued. */
#include "uv_support.h"

static uv_loop_t uv;
static uv_queue queue;
static selv_cache *cache;
static int inside; /* a queued callback runs */

static void enter(void) {
  uv_check_home();
  CHECK(!inside);
  inside = 1;
}

static void leave(void) { inside = 0; }

static void open_all(uint32_t max_calls) {
  uv_open(&uv);
  uv_queue_open(&queue, &uv, 0, max_calls);
  cache = probe_cache(0, 0);
}

static void run_to_the_end(void) {
  selv_host_loop_stats stats;
  CHECK(selv_host_loop_retain(queue.loop) == queue.loop); /* to ask it afterwards */
  CHECK_EQ_U64(uv_run(&uv, UV_RUN_DEFAULT), 0);
  CHECK_EQ_U64(queue.closed, 1);
  stats = uv_queue_stats(&queue);
  CHECK_EQ_U64(stats.waiting, 0);
  CHECK_EQ_U64(stats.accepted, stats.ran + stats.dropped);
  selv_host_loop_release(queue.loop);
  uv_shut(&uv);
  probe_end(cache);
}

/* ---- calls, from many threads ---- */

enum { CALLERS = 4 };

typedef struct caller {
  pthread_t thread;
  uint64_t calls, next; /* which one must run next */
} caller;

typedef struct call {
  caller *from;
  uint64_t number;
} call;

static uint64_t calls_ran, calls_wanted;

static void one_call(void *arg) {
  call *c = (call *)arg;
  enter();
  CHECK_EQ_U64(c->number, c->from->next);
  c->from->next++;
  free(c);
  if (++calls_ran == calls_wanted) uv_queue_end(&queue);
  leave();
}

static void *calls_soon(void *arg) {
  caller *from = (caller *)arg;
  uint64_t i;
  for (i = 0; i < from->calls; i++) {
    call *c = (call *)malloc(sizeof *c);
    CHECK(c != NULL);
    c->from = from;
    c->number = i;
    CHECK_OK(selv_host_loop_call_soon(queue.loop, one_call, c, NULL, 0));
  }
  return NULL;
}

static void calls_in_order(uint32_t max_calls) {
  caller callers[CALLERS];
  int i;
  memset(callers, 0, sizeof callers);
  open_all(max_calls);
  calls_ran = 0;
  calls_wanted = 0;
  for (i = 0; i < CALLERS; i++) {
    callers[i].calls = check_scaled(5000);
    calls_wanted += callers[i].calls;
  }
  for (i = 0; i < CALLERS; i++) CHECK(pthread_create(&callers[i].thread, NULL, calls_soon, &callers[i]) == 0);
  run_to_the_end();
  for (i = 0; i < CALLERS; i++) CHECK(pthread_join(callers[i].thread, NULL) == 0);
  CHECK_EQ_U64(calls_ran, calls_wanted);
}

static void calls(void) { calls_in_order(0); }
static void calls_three_a_turn(void) { calls_in_order(3); }

/* ---- a call that is waited for ---- */

static int32_t add_one(void *arg, void **out_value) {
  enter();
  ++*(uint64_t *)arg;
  *out_value = arg;
  leave();
  return 4;
}

static int32_t ask_the_loop(void *arg, void **out_value) {
  uint64_t i, n = 0;
  (void)out_value;
  for (i = 0; i < 200; i++) {
    selv_outcome outcome;
    memset(&outcome, 0, sizeof outcome);
    CHECK_OK(selv_host_loop_call(queue.loop, add_one, &n, SELV_FOREVER, &outcome));
    CHECK_OK(outcome.status);
    CHECK_EQ_U64(outcome.code, 4);
    CHECK(outcome.value == &n);
  }
  *(uint64_t *)arg = n;
  return 0;
}

static void asked(void *arg, const selv_outcome *outcome) {
  enter();
  CHECK_OK(outcome->status);
  CHECK_EQ_U64(*(uint64_t *)arg, 200);
  /* On the loop's own thread it would wait for itself. */
  CHECK_STATUS(selv_host_loop_call(queue.loop, add_one, arg, SELV_FOREVER, NULL), SELV_E_DEADLOCK);
  uv_queue_end(&queue);
  leave();
}

static void waited_calls(void) {
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  uint64_t n = 0;
  open_all(0);
  job.fn = ask_the_loop;
  job.deliver = asked;
  job.arg = &n;
  job.loop = queue.loop;
  CHECK_OK(selv_cache_submit(cache, &job, NULL));
  run_to_the_end();
}

/* ---- outcomes of jobs ---- */

enum { JOBS = 500 };

static uint64_t delivered, freed;

static int32_t square(void *arg, void **out_value) {
  CHECK(!pthread_equal(uv_home, pthread_self()));
  *out_value = arg;
  return (int32_t)(*(uint64_t *)arg * *(uint64_t *)arg);
}

static void squared(void *arg, const selv_outcome *outcome) {
  uint64_t n = *(uint64_t *)arg;
  enter();
  CHECK_OK(outcome->status);
  CHECK_EQ_U64(outcome->code, n * n);
  CHECK(outcome->value == arg);
  CHECK_EQ_U64(delivered, freed);
  delivered++;
  leave();
}

static void square_freed(void *arg) {
  enter();
  free(arg);
  freed++;
  CHECK_EQ_U64(delivered, freed);
  if (freed == JOBS) uv_queue_end(&queue);
  leave();
}

static void outcomes_of_jobs(void) {
  uint64_t i;
  open_all(0);
  delivered = freed = 0;
  for (i = 0; i < JOBS; i++) {
    selv_job_options job = SELV_JOB_OPTIONS_INIT;
    uint64_t *n = (uint64_t *)malloc(sizeof *n);
    CHECK(n != NULL);
    *n = i;
    job.fn = square;
    job.deliver = squared;
    job.arg = n;
    job.arg_free = square_freed;
    job.loop = queue.loop;
    CHECK_OK(selv_cache_submit(cache, &job, NULL));
  }
  run_to_the_end();
  CHECK_EQ_U64(delivered, JOBS);
}

/* ---- completions ---- */

enum { WAITERS = 50 };

static selv_lock *lock;
static selv_task tasks[WAITERS];
static uint64_t granted;

/* Each hands the lock to the next; the grants come one by one, in line. */
static void grant(void *arg, const selv_completed *completed) {
  uint64_t i = (uint64_t)((selv_task *)arg - tasks);
  enter();
  CHECK_OK(completed->status);
  CHECK_EQ_U64(i, granted);
  granted++;
  CHECK(selv_lock_owner(lock) == tasks[i]);
  CHECK_OK(selv_lock_release(lock, tasks[i]));
  if (granted == WAITERS) uv_queue_end(&queue);
  leave();
}

static int32_t let_go(void *arg, void **out_value) {
  (void)out_value;
  return selv_lock_release(lock, *(selv_task *)arg);
}

static void completions(void) {
  selv_completion completion;
  selv_task holder;
  selv_op op;
  int i;
  open_all(0);
  granted = 0;
  CHECK_OK(selv_lock_new(NULL, &lock));
  CHECK_OK(selv_task_new("holder", &holder));
  CHECK_OK(selv_lock_try_acquire(lock, holder));
  for (i = 0; i < WAITERS; i++) {
    CHECK_OK(selv_task_new(NULL, &tasks[i]));
    completion.fn = grant;
    completion.arg = &tasks[i];
    completion.loop = queue.loop;
    CHECK_STATUS(selv_lock_acquire_async(lock, tasks[i], &completion, &op), SELV_PENDING);
  }
  CHECK_OK(selv_start_thread_soon(cache, let_go, NULL, &holder, "let go"));
  run_to_the_end();
  CHECK_EQ_U64(granted, WAITERS);
  for (i = 0; i < WAITERS; i++) CHECK_OK(selv_task_exit(tasks[i], NULL));
  CHECK_OK(selv_task_exit(holder, NULL));
  CHECK_OK(selv_lock_free(lock));
}

/* ---- the uv loop's own callbacks ---- */

static uint64_t again_ran, ticks;
static uv_timer_t timer;

/* Queues itself for ever: it runs once in a turn, and the timer comes in between. */
static void again(void *unused) {
  enter();
  again_ran++;
  if (ticks < 20) CHECK_OK(selv_host_loop_call_soon(queue.loop, again, unused, NULL, 0));
  else uv_queue_end(&queue);
  leave();
}

static void tick(uv_timer_t *t) {
  uv_check_home();
  CHECK(!inside);
  if (++ticks == 20) uv_close(UV_HANDLE(t), NULL);
}

/* libuv may be used in a queued callback. */
static void start_timer(void *unused) {
  (void)unused;
  enter();
  CHECK_UV(uv_timer_init(&uv, &timer));
  CHECK_UV(uv_timer_start(&timer, tick, 1, 1));
  leave();
}

static void timers_have_their_turn(void) {
  open_all(0);
  ticks = again_ran = 0;
  CHECK_OK(selv_host_loop_call_soon(queue.loop, start_timer, NULL, NULL, 0));
  CHECK_OK(selv_host_loop_call_soon(queue.loop, again, NULL, NULL, 0));
  run_to_the_end();
  CHECK_EQ_U64(ticks, 20);
  CHECK(again_ran > 20);
}

int main(void) {
  CHECK_RUN(calls);
  CHECK_RUN(calls_three_a_turn);
  CHECK_RUN(waited_calls);
  CHECK_RUN(outcomes_of_jobs);
  CHECK_RUN(completions);
  CHECK_RUN(timers_have_their_turn);
  return 0;
}

/* glib_locks: locks for a main loop that may not block: an asynchronous acquire is completed on the loop, first come first served, at its
 * depth; in a nested main loop only where that is allowed; one is cancelled, one abandoned; and a worker that waits for the loop while
 * the loop waits for the worker's lock gets on, because the loop does not block. */
#include "glib_support.h"

#include "../waiters.h"

#define WAITERS 100

static rig r;
static pthread_t main_thread;
static int inside;

typedef struct request {
  selv_task task;
  selv_op op;
  selv_status told;
  uint64_t place; /* when it was told: 1 for the first */
} request;

static selv_lock *lock;
static uint64_t told;

static void is_told(void *arg, const selv_completed *c) {
  request *q = (request *)arg;
  CHECK(pthread_equal(pthread_self(), main_thread));
  CHECK_EQ_U64(g_main_depth(), 1);
  CHECK_EQ_U64(inside, 0);
  CHECK_EQ_U64(q->place, 0);
  q->told = c->status;
  q->place = ++told;
}

static void ask(request *q, selv_lock *l) {
  selv_completion completion = { is_told, NULL, NULL };
  memset(q, 0, sizeof *q);
  completion.arg = q;
  completion.loop = r.loop;
  q->task = task_named("request");
  CHECK_STATUS(selv_lock_acquire_async(l, q->task, &completion, &q->op), SELV_PENDING);
}

/* Holds the lock from the moment when it is told, on a worker, until the gate opens. */
typedef struct holder {
  check_tally has, go;
} holder;

static int32_t hold(void *arg, void **out_value) {
  holder *h = (holder *)arg;
  (void)out_value;
  CHECK_OK(selv_lock_acquire(lock, SELV_TASK_CURRENT, SELV_FOREVER));
  check_tally_add(&h->has, 1);
  CHECK_WAIT(&h->go, 1);
  CHECK_OK(selv_lock_release(lock, SELV_TASK_CURRENT));
  return 0;
}

static selv_cache *start_holder(holder *h) {
  selv_cache *cache = probe_cache(1, SELV_FOREVER);
  check_tally_init(&h->has);
  check_tally_init(&h->go);
  lock = lock_named("table", SELV_LOCK_STRICT_FIFO);
  CHECK_OK(selv_start_thread_soon(cache, hold, NULL, h, "holder"));
  CHECK_WAIT(&h->has, 1);
  return cache;
}

static void end_holder(selv_cache *cache) {
  probe_end(cache);
  CHECK_OK(selv_lock_free(lock));
}

static void until_told(uint64_t n) {
  while (told < n) g_main_context_iteration(r.context, TRUE);
}

/* ---- one after the other ---- */

static void in_their_order(void) {
  static request requests[WAITERS];
  holder h;
  selv_cache *cache = start_holder(&h);
  uint64_t i;
  told = 0;
  rig_start(&r, NULL);
  for (i = 0; i < WAITERS; i++) ask(&requests[i], lock);
  CHECK_OK(selv_op_cancel(requests[10].op));
  CHECK_OK(selv_op_abandon(requests[20].op));
  until_told(1);
  CHECK_STATUS(requests[10].told, SELV_E_CANCELLED);
  check_tally_add(&h.go, 1);
  for (i = 0; i < WAITERS; i++) {
    request *q = &requests[i];
    if (i != 10 && i != 20) {
      until_told(told + (q->place == 0));
      CHECK_OK(q->told);
      CHECK_EQ_U64(selv_lock_owner(lock), q->task);
      CHECK_EQ_U64(q->place, 2 + i - (i > 10) - (i > 20));
      CHECK_OK(selv_lock_release(lock, q->task));
    }
    CHECK_OK(selv_task_exit(q->task, NULL));
  }
  CHECK_EQ_U64(told, WAITERS - 1);
  CHECK_EQ_U64(requests[20].place, 0);
  rig_end(&r);
  end_holder(cache);
}

/* ---- nested ---- */

static void runs_a_loop(void *arg) {
  holder *h = (holder *)arg;
  uint64_t before = told;
  inside = 1;
  check_tally_add(&h->go, 1);
  UNTIL(rig_stats(&r).waiting == 1);
  rig_nest(&r, 5);
  CHECK_EQ_U64(told, before);
  inside = 0;
}

static void not_inside_a_callback(void) {
  request q;
  holder h;
  selv_cache *cache = start_holder(&h);
  told = 0;
  rig_start(&r, NULL);
  ask(&q, lock);
  rig_soon(&r, runs_a_loop, &h);
  until_told(1);
  CHECK_OK(q.told);
  CHECK_OK(selv_lock_release(lock, q.task));
  CHECK_OK(selv_task_exit(q.task, NULL));
  rig_end(&r);
  end_holder(cache);
}

/* ---- both ways at once ---- */

static int32_t on_the_loop(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  CHECK(pthread_equal(pthread_self(), main_thread));
  return 5;
}

static int32_t holds_and_asks_the_loop(void *arg, void **out_value) {
  holder *h = (holder *)arg;
  selv_outcome outcome;
  (void)out_value;
  CHECK_OK(selv_lock_acquire(lock, SELV_TASK_CURRENT, SELV_FOREVER));
  check_tally_add(&h->has, 1);
  CHECK_WAIT(&h->go, 1);
  CHECK_OK(selv_host_loop_call(r.loop, on_the_loop, NULL, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(outcome.code, 5);
  CHECK_OK(selv_lock_release(lock, SELV_TASK_CURRENT));
  return 0;
}

static void the_loop_does_not_block(void) {
  selv_cache *cache = probe_cache(1, SELV_FOREVER);
  holder h;
  request q;
  told = 0;
  check_tally_init(&h.has);
  check_tally_init(&h.go);
  lock = lock_named("both ways", 0);
  rig_start(&r, NULL);
  CHECK_OK(selv_start_thread_soon(cache, holds_and_asks_the_loop, NULL, &h, NULL));
  CHECK_WAIT(&h.has, 1);
  ask(&q, lock);
  check_tally_add(&h.go, 1);
  until_told(1);
  CHECK_OK(q.told);
  CHECK_OK(selv_lock_release(lock, q.task));
  CHECK_OK(selv_task_exit(q.task, NULL));
  rig_end(&r);
  end_holder(cache);
}

int main(void) {
  main_thread = pthread_self();
  CHECK_RUN(in_their_order);
  CHECK_RUN(not_inside_a_callback);
  CHECK_RUN(the_loop_does_not_block);
  return 0;
}

/* fork_locks_tasks.c: tasks in a fork child: those made, entered or running on the forking thread are good there, all others are
 * SELV_E_FORKED; wherever the fork happens: in a job, in an entered task, in a completion's callback. */
#include "fork_round.h"
#include "probe.h"

static selv_task made_by_another;

static void make_a_task(stayer *s) {
  (void)s;
  made_by_another = task_named("made by another");
}

static void is_forked(selv_task t) {
  selv_lock *l = lock_named("L", 0);
  selv_semaphore *s = semaphore_of(1, 0);
  selv_limiter *limiter = limiter_of(1);
  selv_event *e = event_of(0);
  selv_parking_lot *lot = lot_named("P");
  selv_channel *ch = channel_of(1, 0);
  uint64_t number = 1;
  void *data = NULL;
  size_t len = 0;
  selv_task previous = 0;
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_lock_try_acquire(l, t), SELV_E_FORKED);
  CHECK_STATUS(selv_lock_acquire(l, t, SELV_FOREVER), SELV_E_FORKED);
  CHECK_STATUS(op_probe_lock(&p, l, t), SELV_E_FORKED);
  CHECK_STATUS(selv_semaphore_acquire(s, t, 1, SELV_FOREVER), SELV_E_FORKED);
  CHECK_STATUS(op_semaphore(&p, s, t, 1), SELV_E_FORKED);
  CHECK_STATUS(selv_limiter_try_acquire(limiter, t), SELV_E_FORKED);
  CHECK_STATUS(selv_limiter_acquire(limiter, t, SELV_FOREVER), SELV_E_FORKED);
  CHECK_STATUS(op_limiter(&p, limiter, t), SELV_E_FORKED);
  CHECK_STATUS(selv_event_wait(e, t, SELV_FOREVER), SELV_E_FORKED);
  CHECK_STATUS(selv_parking_lot_park(lot, t, SELV_FOREVER), SELV_E_FORKED);
  CHECK_STATUS(selv_parking_lot_add_breaker(lot, t), SELV_E_FORKED);
  CHECK_STATUS(selv_channel_send(ch, t, &number, sizeof number, SELV_FOREVER), SELV_E_FORKED);
  CHECK_STATUS(selv_channel_recv(ch, t, SELV_FOREVER, &data, &len), SELV_E_FORKED);
  CHECK_STATUS(selv_task_interrupt(t), SELV_E_FORKED);
  CHECK_STATUS(selv_task_enter(t, &previous), SELV_E_FORKED);
  CHECK_STATUS(selv_task_exit(t, NULL), SELV_E_FORKED);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_semaphore_free(s));
  CHECK_OK(selv_limiter_free(limiter));
  CHECK_OK(selv_event_free(e));
  CHECK_OK(selv_parking_lot_free(lot));
  CHECK_OK(selv_channel_free(ch));
}

static void is_good(selv_task t) {
  selv_lock *l = lock_named("L", 0);
  CHECK_OK(selv_lock_acquire(l, t, SELV_FOREVER));
  CHECK_EQ_U64(selv_lock_owner(l), t);
  CHECK_OK(selv_lock_release(l, t));
  CHECK_OK(selv_lock_free(l));
}

static void tasks_of_other_threads(void) {
  selv_task mine = task_named("mine");
  stayer other;
  pid_t child;
  stayer_start(&other, make_a_task, NULL, NULL);
  child = forked();
  if (child == 0) {
    selv_task fresh = task_named("fresh");
    is_forked(other.task);
    is_forked(made_by_another);
    is_good(mine);
    is_good(selv_task_current());
    is_good(fresh);
    CHECK(fresh != mine && fresh != other.task && fresh != made_by_another);
    CHECK_OK(selv_task_exit(mine, NULL));
    CHECK_STATUS(selv_task_exit(mine, NULL), SELV_E_STALE);
    full_round();
    _exit(0);
  }
  REAP(child);
  is_good(mine);
  is_good(made_by_another);
  stayer_end(&other);
  CHECK_OK(selv_task_exit(made_by_another, NULL));
  CHECK_OK(selv_task_exit(mine, NULL));
}

/* Made by another thread, but entered on this one. */
static void an_entered_task(void) {
  stayer other;
  selv_task previous = 99;
  pid_t child;
  stayer_start(&other, make_a_task, NULL, NULL);
  CHECK_OK(selv_task_enter(made_by_another, &previous));
  child = forked();
  if (child == 0) {
    CHECK_EQ_U64(selv_task_current(), made_by_another);
    is_good(made_by_another);
    full_round();
    CHECK_OK(selv_task_enter(0, NULL));
    CHECK(selv_task_current() != made_by_another);
    is_good(selv_task_current());
    _exit(0);
  }
  REAP(child);
  CHECK_OK(selv_task_enter(previous, NULL));
  stayer_end(&other);
  CHECK_OK(selv_task_exit(made_by_another, NULL));
}

/* ---- in a job ---- */

static int32_t forks(void *arg, void **out_value) {
  selv_lock *l = lock_named("L", 0);
  selv_task mine = selv_task_current();
  pid_t child;
  (void)arg;
  (void)out_value;
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  child = forked();
  if (child == 0) {
    CHECK_EQ_U64(selv_task_current(), mine);
    CHECK_EQ_U64(selv_lock_owner(l), mine);
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
    round_of_lock(l);
    full_round();
    _exit(0);
  }
  REAP(child);
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_free(l));
  return 0;
}

static void in_a_job(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_outcome outcome;
  CHECK_OK(selv_cache_run(c, forks, NULL, SELV_FOREVER, &outcome));
  CHECK_OK(outcome.status);
  probe_end(c);
}

/* Such a job has its task from the submit on, by another thread than that on which it runs and forks. */
static void in_a_job_with_a_limiter(void) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_limiter *l = limiter_of(1);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_job *handle = NULL;
  selv_outcome outcome;
  int had_to_wait;
  job.fn = forks;
  job.limiter = l;
  for (had_to_wait = 0; had_to_wait < 2; had_to_wait++) {
    if (had_to_wait) CHECK_OK(selv_limiter_try_acquire(l, SELV_TASK_CURRENT));
    CHECK_OK(selv_cache_submit(c, &job, &handle));
    if (had_to_wait) CHECK_OK(selv_limiter_release(l, SELV_TASK_CURRENT));
    CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
    CHECK_OK(outcome.status);
    selv_job_release(handle);
  }
  probe_end(c);
  CHECK_OK(selv_limiter_free(l));
}

/* ---- in a callback, with another callback behind it ---- */

static void forks_here(op_probe *p, const selv_completed *c) {
  pid_t child;
  CHECK_OK(c->status);
  op_probe_inside = 0; /* in the child the round has callbacks of its own, while this one has not returned */
  child = forked();
  if (child == 0) {
    selv_lock *l = lock_named("L", 0);
    CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
    CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
    CHECK_OK(selv_semaphore_release((selv_semaphore *)p->object, 1));
    CHECK_OK(selv_semaphore_try_acquire((selv_semaphore *)p->object, 1));
    _exit(0);
  }
  op_probe_inside = 1;
  REAP(child);
}

static void in_a_callback(void) {
  selv_semaphore *s = semaphore_of(0, 0);
  op_probe p, q;
  op_probe_init(&p);
  op_probe_init(&q);
  p.then = forks_here;
  CHECK_STATUS(op_semaphore(&p, s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  CHECK_STATUS(op_semaphore(&q, s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  CHECK_OK(selv_semaphore_release(s, 2));
  OP_GOT(&p, 1, SELV_OK);
  OP_GOT(&q, 1, SELV_OK);
  CHECK_OK(selv_semaphore_free(s));
}

/* ---- the wait graph of the child is the child's ---- */

static selv_status write_nothing(void *arg, const char *data, size_t len) {
  (void)data;
  *(size_t *)arg += len;
  return SELV_OK;
}

static void the_wait_graph(void) {
  selv_lock *l = lock_named("L", 0);
  waiter w;
  pid_t child;
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  waiter_init(&w, waiter_lock, l, 0);
  w.then = waiter_unlock;
  waiter_go(&w);
  UNTIL(lock_waiting(l) == 1);
  child = forked();
  if (child == 0) {
    uint32_t format;
    for (format = SELV_GRAPH_TEXT; format <= SELV_GRAPH_DOT; format++) {
      size_t len = 0;
      CHECK_OK(selv_wait_graph(format, write_nothing, &len));
      CHECK(len > 0);
    }
    _exit(0);
  }
  REAP(child);
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_OK(selv_lock_free(l));
}

int main(void) {
  CHECK_RUN(tasks_of_other_threads);
  CHECK_RUN(an_entered_task);
  CHECK_RUN(in_a_job);
  CHECK_RUN(in_a_job_with_a_limiter);
  CHECK_RUN(in_a_callback);
  CHECK_RUN(the_wait_graph);
  return 0;
}

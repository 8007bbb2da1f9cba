/* condition_close.c: closing a condition sends its waiters back with SELV_E_CLOSED, each with the lock, one at a time; the lock itself
 * goes on. A condition that is waited on is not freed. */
#include "waiters.h"

static selv_lock *l;
static selv_condition *c;

static void the_waiters_come_back_with_the_lock(void) {
  selv_task owner = task_named("owner"), task[3];
  selv_completion completion;
  waiter w[2];
  op_probe p;
  int32_t holds = 99;
  int i;
  l = lock_named("guard", 0);
  c = condition_on(l, "bell");
  for (i = 0; i < 3; i++) task[i] = task_named("waiter");
  for (i = 0; i < 2; i++) {
    waiter_init(&w[i], waiter_condition, c, task[i]);
    w[i].other = l;
    waiter_go(&w[i]);
  }
  op_probe_init(&p);
  completion = op_probe_completion(&p);
  UNTIL(condition_waiting(c) == 2);
  CHECK_OK(selv_lock_acquire(l, task[2], SELV_FOREVER));
  CHECK_STATUS(selv_condition_wait_async(c, task[2], &completion, &p.op), SELV_PENDING);
  CHECK_STATUS(selv_condition_free(c), SELV_E_BUSY);
  CHECK_LAST_ERROR_HAS("bell");
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_condition_close(c)); /* by anybody; it does not take the lock */
  UNTIL(lock_waiting(l) == 3);
  CHECK_EQ_U64(condition_waiting(c), 0);
  CHECK(!waiter_is_done(&w[0]) && !waiter_is_done(&w[1]));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_lock_release(l, owner));
  OP_GOT(&p, 1, SELV_E_CLOSED);
  CHECK_EQ_U64(p.last.holds_lock, 1); /* an error, and the lock with it */
  CHECK_EQ_U64(selv_lock_owner(l), task[2]);
  CHECK_OK(selv_lock_release(l, task[2]));
  for (i = 0; i < 2; i++) {
    WAITER_ENDED(&w[i], SELV_E_CLOSED);
    CHECK_EQ_U64(w[i].holds_lock, 1);
    CHECK(strstr(w[i].detail, "bell") != NULL);
  }
  /* Later ones never let go of the lock at all. */
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_STATUS(selv_condition_wait(c, owner, SELV_FOREVER, &holds), SELV_E_CLOSED);
  CHECK_EQ_U64(holds, 1);
  CHECK_STATUS(selv_condition_wait_async(c, owner, &completion, &p.op), SELV_E_CLOSED);
  CHECK_EQ_U64(p.op, 0);
  CHECK_EQ_U64(selv_lock_owner(l), owner);
  CHECK_OK(selv_condition_close(c));
  CHECK_OK(selv_condition_free(c));
  c = condition_on(l, "another bell"); /* the lock is as good as before */
  CHECK_STATUS(selv_condition_wait(c, owner, CHECK_MS, &holds), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(holds, 1);
  CHECK_OK(selv_lock_release(l, owner));
  OP_GOT(&p, 1, SELV_E_CLOSED);
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  for (i = 0; i < 3; i++) CHECK_OK(selv_task_exit(task[i], NULL));
}

/* With the lock free the first waiter takes it in the close itself. */
static void with_the_lock_free(void) {
  selv_task task = task_named("waiter");
  selv_completion completion;
  op_probe p;
  l = lock_named("guard", 0);
  c = condition_on(l, "bell");
  op_probe_init(&p);
  completion = op_probe_completion(&p);
  CHECK_OK(selv_lock_acquire(l, task, SELV_FOREVER));
  CHECK_STATUS(selv_condition_wait_async(c, task, &completion, &p.op), SELV_PENDING);
  CHECK_OK(selv_condition_close(c));
  OP_GOT(&p, 1, SELV_E_CLOSED);
  CHECK_EQ_U64(p.last.holds_lock, 1);
  CHECK_EQ_U64(selv_lock_owner(l), task);
  CHECK_OK(selv_lock_release(l, task));
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(task, NULL));
}

static void bad_calls(void) {
  selv_condition_options options = SELV_CONDITION_OPTIONS_INIT;
  struct {
    selv_condition_options known;
    uint64_t tail[2];
  } newer;
  struct {
    selv_condition_stats known;
    uint64_t tail;
  } newer_stats;
  selv_condition_stats stats;
  selv_completion completion;
  selv_task gone = task_named("gone");
  selv_op op = 99;
  int32_t holds = 99;
  op_probe p;
  unsigned char *bytes = (unsigned char *)&stats;
  size_t i;
  op_probe_init(&p);
  completion = op_probe_completion(&p);
  CHECK_OK(selv_task_exit(gone, NULL));
  l = lock_named("guard", 0);

  c = (selv_condition *)&options;
  CHECK_STATUS(selv_condition_new(&options, &c), SELV_E_NULL); /* no lock */
  CHECK(c == NULL);
  CHECK_LAST_ERROR_HAS("lock");
  CHECK_STATUS(selv_condition_new(NULL, &c), SELV_E_NULL); /* no default lock */
  options.lock = l;
  CHECK_STATUS(selv_condition_new(&options, NULL), SELV_E_NULL);
  options.flags = 1;
  CHECK_STATUS(selv_condition_new(&options, &c), SELV_E_INVAL);
  options.flags = UINT32_C(1) << 31;
  CHECK_STATUS(selv_condition_new(&options, &c), SELV_E_INVAL);
  options.flags = 0;
  options.name = "\xff\xfe";
  CHECK_STATUS(selv_condition_new(&options, &c), SELV_E_INVAL);
  options.name = "bell";
  options.struct_size = 0;
  CHECK_STATUS(selv_condition_new(&options, &c), SELV_E_INVAL);
  options.struct_size = offsetof(selv_condition_options, lock); /* too short to name its lock */
  CHECK_STATUS(selv_condition_new(&options, &c), SELV_E_NULL);
  options.struct_size = sizeof options;
  memset(&newer, 0, sizeof newer);
  newer.known = options;
  newer.known.struct_size = sizeof newer;
  CHECK_OK(selv_condition_new(&newer.known, &c));
  CHECK_OK(selv_condition_free(c));
  newer.tail[1] = 1;
  CHECK_STATUS(selv_condition_new(&newer.known, &c), SELV_E_UNSUPPORTED);
  CHECK(c == NULL);
  CHECK_OK(selv_lock_free(l)); /* no failed one keeps it busy */

  l = lock_named("guard", 0);
  options.lock = l;
  CHECK_OK(selv_condition_new(&options, &c));
  CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_STATUS(selv_condition_wait(NULL, SELV_TASK_CURRENT, 0, &holds), SELV_E_NULL);
  CHECK_STATUS(selv_condition_wait(c, 0, 0, &holds), SELV_E_INVAL);
  CHECK_EQ_U64(holds, 0);
  CHECK_STATUS(selv_condition_wait(c, gone, 0, &holds), SELV_E_STALE);
  CHECK_STATUS(selv_condition_wait_async(NULL, SELV_TASK_CURRENT, &completion, &op), SELV_E_NULL);
  CHECK_EQ_U64(op, 0);
  CHECK_STATUS(selv_condition_wait_async(c, SELV_TASK_CURRENT, NULL, &op), SELV_E_NULL);
  CHECK_STATUS(selv_condition_wait_async(c, 0, &completion, &op), SELV_E_INVAL);
  CHECK_STATUS(selv_condition_wait_async(c, gone, &completion, &op), SELV_E_STALE);
  completion.fn = NULL;
  CHECK_STATUS(selv_condition_wait_async(c, SELV_TASK_CURRENT, &completion, &op), SELV_E_NULL);
  CHECK_EQ_U64(selv_lock_owner(l), selv_task_current()); /* none of these let go of the lock */
  CHECK_STATUS(selv_condition_notify(NULL, SELV_TASK_CURRENT, 1), SELV_E_NULL);
  CHECK_STATUS(selv_condition_notify(c, 0, 1), SELV_E_INVAL);
  CHECK_STATUS(selv_condition_notify(c, gone, 1), SELV_E_STALE);
  CHECK_STATUS(selv_condition_notify_all(NULL, SELV_TASK_CURRENT), SELV_E_NULL);
  CHECK_STATUS(selv_condition_notify_all(c, 0), SELV_E_INVAL);
  CHECK_STATUS(selv_condition_notify_all(c, gone), SELV_E_STALE);
  CHECK_STATUS(selv_condition_close(NULL), SELV_E_NULL);
  CHECK_OK(selv_condition_free(NULL));

  CHECK_STATUS(selv_condition_get_stats(c, NULL), SELV_E_NULL);
  memset(&stats, 0x5a, sizeof stats);
  stats.struct_size = sizeof stats;
  CHECK_STATUS(selv_condition_get_stats(NULL, &stats), SELV_E_NULL);
  stats.struct_size = 3;
  CHECK_STATUS(selv_condition_get_stats(c, &stats), SELV_E_INVAL);
  memset(&stats, 0x5a, sizeof stats);
  stats.struct_size = offsetof(selv_condition_stats, notified); /* an older host's struct is not written past its end */
  CHECK_OK(selv_condition_get_stats(c, &stats));
  CHECK_EQ_U64(stats.waiting + stats.waits, 0);
  for (i = offsetof(selv_condition_stats, notified); i < sizeof stats; i++) CHECK_EQ_U64(bytes[i], 0x5a);
  memset(&newer_stats, 0, sizeof newer_stats);
  newer_stats.known.struct_size = sizeof newer_stats;
  CHECK_OK(selv_condition_get_stats(c, &newer_stats.known));
  CHECK_EQ_U64(newer_stats.tail, 0);

  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
}

int main(void) {
  CHECK_RUN(the_waiters_come_back_with_the_lock);
  CHECK_RUN(with_the_lock_free);
  CHECK_RUN(bad_calls);
  return 0;
}

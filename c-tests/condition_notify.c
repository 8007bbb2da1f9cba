/* condition_notify.c: notify moves waiters to the lock's queue, the first come first, and wakes none of them: each runs when it is its turn
 * to hold the lock. Notifying many makes no herd. */
#include "waiters.h"

#define WAITERS 12

static selv_lock *l;
static selv_condition *c;
static selv_task notifier, task[WAITERS];
static waiter w[WAITERS];
static op_probe p[WAITERS];
static int inside, most_inside;

/* Blocking waiters at even places and asynchronous ones at odd places hold the lock for a moment, and count who is in there with them. */
static void visits(void) {
  int now = __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
  if (now > most_inside) most_inside = now;
  sched_yield();
  __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
}

static selv_status waits_and_visits(waiter *one) {
  selv_status status;
  CHECK_OK(selv_lock_acquire(l, one->task, SELV_FOREVER));
  status = selv_condition_wait(c, one->task, SELV_FOREVER, &one->holds_lock);
  CHECK_EQ_U64(one->holds_lock, 1);
  visits();
  return status;
}

static void visits_async(op_probe *one, const selv_completed *completed) {
  CHECK_EQ_U64(completed->holds_lock, 1);
  CHECK_EQ_U64(selv_lock_owner(l), one->task);
  visits();
  CHECK_OK(selv_lock_release(l, one->task));
}

static void begin(void) {
  int i;
  l = lock_named("guard", SELV_LOCK_STRICT_FIFO);
  c = condition_on(l, "bell");
  notifier = task_named("notifier");
  inside = most_inside = 0;
  for (i = 0; i < WAITERS; i++) {
    task[i] = task_named("waiter");
    if (i % 2) {
      selv_completion completion;
      op_probe_init(&p[i]);
      p[i].then = visits_async;
      p[i].task = task[i];
      completion = op_probe_completion(&p[i]);
      CHECK_OK(selv_lock_acquire(l, task[i], SELV_FOREVER));
      CHECK_STATUS(selv_condition_wait_async(c, task[i], &completion, &p[i].op), SELV_PENDING);
    } else {
      waiter_init(&w[i], waits_and_visits, l, task[i]);
      w[i].then = waiter_unlock;
      waiter_go(&w[i]);
    }
    UNTIL(condition_waiting(c) == (uint64_t)i + 1);
  }
}

static uint64_t order_of(int i) {
  if (i % 2) OP_GOT(&p[i], 1, SELV_OK);
  else WAITER_ENDED(&w[i], SELV_OK);
  return i % 2 ? p[i].order : w[i].order;
}

static int came(int i) { return i % 2 ? check_tally_get(&p[i].called) != 0 : waiter_is_done(&w[i]); }

static void end(void) {
  int i;
  UNTIL(selv_lock_owner(l) == 0);
  CHECK_EQ_U64(most_inside, 1);
  CHECK_OK(selv_condition_free(c));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(notifier, NULL));
  for (i = 0; i < WAITERS; i++) CHECK_OK(selv_task_exit(task[i], NULL));
}

static void all_of_them(void) {
  uint64_t last = 0;
  int i;
  begin();
  CHECK_OK(selv_lock_acquire(l, notifier, SELV_FOREVER));
  CHECK_OK(selv_condition_notify_all(c, notifier));
  CHECK_EQ_U64(condition_waiting(c), 0);
  CHECK_EQ_U64(lock_waiting(l), WAITERS); /* requeued */
  for (i = 0; i < WAITERS; i++) CHECK(!came(i)); /* and not woken */
  CHECK_EQ_U64(condition_stats(c).notified, WAITERS);
  CHECK_OK(selv_lock_release(l, notifier));
  for (i = 0; i < WAITERS; i++) {
    uint64_t order = order_of(i);
    CHECK(order > last);
    last = order;
  }
  CHECK_EQ_U64(lock_stats(l).handed_over, WAITERS);
  end();
}

static void some_of_them(void) {
  int i, notified = 0;
  begin();
  while (notified < WAITERS) {
    int n = notified == 0 ? 1 : notified == 1 ? 4 : 100; /* at last more than there are */
    int now = notified + n < WAITERS ? notified + n : WAITERS;
    CHECK_OK(selv_lock_acquire(l, notifier, SELV_FOREVER));
    CHECK_OK(selv_condition_notify(c, notifier, (uint64_t)n));
    CHECK_EQ_U64(lock_waiting(l), (uint64_t)(now - notified));
    CHECK_EQ_U64(condition_waiting(c), (uint64_t)(WAITERS - now));
    CHECK_OK(selv_lock_release(l, notifier));
    for (i = notified; i < now; i++) (void)order_of(i);
    for (i = now; i < WAITERS; i++) CHECK(!came(i));
    UNTIL(selv_lock_owner(l) == 0);
    notified = now;
  }
  end();
}

/* A condition remembers nothing: who comes after the notify waits for the next one. */
static void nobody_of_them(void) {
  selv_lock *lone = lock_named("lone", 0);
  selv_condition *bell = condition_on(lone, "bell");
  int32_t holds = 99;
  CHECK_OK(selv_lock_acquire(lone, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_condition_notify(bell, SELV_TASK_CURRENT, 1));
  CHECK_OK(selv_condition_notify(bell, SELV_TASK_CURRENT, UINT64_MAX));
  CHECK_OK(selv_condition_notify_all(bell, SELV_TASK_CURRENT));
  CHECK_EQ_U64(condition_stats(bell).notified, 0);
  CHECK_STATUS(selv_condition_wait(bell, SELV_TASK_CURRENT, CHECK_MS, &holds), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(holds, 1);
  CHECK_OK(selv_lock_release(lone, SELV_TASK_CURRENT));
  CHECK_OK(selv_condition_free(bell));
  CHECK_OK(selv_lock_free(lone));
}

/* Two conditions on one lock know nothing of each other's waiters. */
static void of_this_condition_only(void) {
  selv_lock *lone = lock_named("lone", 0);
  selv_condition *bell = condition_on(lone, "bell"), *horn = condition_on(lone, "horn");
  selv_task hears = task_named("hears the bell"), ears = task_named("hears the horn");
  waiter x, y;
  waiter_init(&x, waiter_condition, bell, hears);
  x.other = lone;
  waiter_go(&x);
  waiter_init(&y, waiter_condition, horn, ears);
  y.other = lone;
  waiter_go(&y);
  UNTIL(condition_waiting(bell) == 1 && condition_waiting(horn) == 1);
  CHECK_OK(selv_lock_acquire(lone, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_condition_notify_all(horn, SELV_TASK_CURRENT));
  CHECK_EQ_U64(condition_waiting(bell), 1);
  CHECK_OK(selv_lock_release(lone, SELV_TASK_CURRENT));
  WAITER_ENDED(&y, SELV_OK);
  CHECK(!waiter_is_done(&x));
  CHECK_OK(selv_lock_acquire(lone, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_OK(selv_condition_notify_all(bell, SELV_TASK_CURRENT));
  CHECK_OK(selv_lock_release(lone, SELV_TASK_CURRENT));
  WAITER_ENDED(&x, SELV_OK);
  CHECK_OK(selv_condition_free(bell));
  CHECK_OK(selv_condition_free(horn));
  CHECK_OK(selv_lock_free(lone));
  CHECK_OK(selv_task_exit(hears, NULL));
  CHECK_OK(selv_task_exit(ears, NULL));
}

int main(void) {
  CHECK_RUN(all_of_them);
  CHECK_RUN(some_of_them);
  CHECK_RUN(nobody_of_them);
  CHECK_RUN(of_this_condition_only);
  return 0;
}

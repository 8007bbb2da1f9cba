/* fork_locks_storm.c: forks while six threads are in the middle of every call on every primitive. Whatever a thread held or had
 * half done at the fork, no child hangs: each asks every shared object, and does a full round on objects of its own and on those
 * that it can have. */
/* timeout: 240 */
#include "fork_round.h"

#define THREADS 6

static selv_lock *locks[3];
static selv_condition *condition; /* on locks[0] */
static selv_semaphore *semaphore;
static selv_limiter *limiter;
static selv_event *event;
static selv_parking_lot *lots[2];
static selv_channel *channels[2];
static int stop;
static uint64_t alive;

static void then_take(op_probe *p, const selv_completed *c) { op_probe_take(p, c); }

static void async_and_cancel(uint64_t random) {
  selv_task t = task_named("stormer");
  selv_status status = SELV_OK;
  op_probe p;
  op_probe_init(&p);
  switch (random % 6) {
    case 0:
      p.then = op_probe_unlock;
      status = op_probe_lock(&p, locks[random / 8 % 3], t);
      if (status == SELV_OK) CHECK_OK(selv_lock_release(locks[random / 8 % 3], t));
      break;
    case 1:
      status = op_semaphore(&p, semaphore, t, 1);
      if (status == SELV_OK) CHECK_OK(selv_semaphore_release(semaphore, 1));
      break;
    case 2: status = op_limiter(&p, limiter, t); break; /* the task's end gives it back */
    case 3: status = op_event(&p, event, t); break;
    case 4: status = op_park(&p, lots[random / 8 % 2], t); break;
    default:
      p.then = then_take;
      status = op_recv(&p, channels[random / 8 % 2], t);
      break;
  }
  CHECK_EITHER(status, SELV_OK, SELV_PENDING);
  if (status == SELV_PENDING) {
    if (random & 4096) sched_yield();
    CHECK_EITHER(selv_op_cancel(p.op), SELV_OK, SELV_E_TOO_LATE);
    CHECK_WAIT(&p.called, 1);
    if (random % 6 == 1 && p.last.status == SELV_OK) CHECK_OK(selv_semaphore_release(semaphore, 1));
  }
  CHECK_OK(selv_task_exit(t, NULL));
}

static void one_call(uint64_t random) {
  selv_lock *l = locks[random / 16 % 3];
  uint64_t timeout_ns = random / 64 % 100000, number = random;
  selv_status status;
  void *data = NULL;
  size_t len = 0;
  int32_t holds = 0;
  switch (random % 10) {
    case 0:
      CHECK_OK(selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER));
      if (random & 4096) sched_yield();
      CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
      break;
    case 1:
      status = selv_lock_acquire(l, SELV_TASK_CURRENT, timeout_ns);
      CHECK_EITHER(status, SELV_OK, SELV_E_TIMEDOUT);
      if (status == SELV_OK) CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
      break;
    case 2:
      CHECK_OK(selv_lock_acquire(locks[0], SELV_TASK_CURRENT, SELV_FOREVER));
      if (random & 4096) CHECK_OK(selv_condition_notify_all(condition, SELV_TASK_CURRENT));
      status = selv_condition_wait(condition, SELV_TASK_CURRENT, timeout_ns, &holds);
      CHECK_EITHER(status, SELV_OK, SELV_E_TIMEDOUT);
      CHECK_EQ_U64(holds, 1);
      CHECK_OK(selv_lock_release(locks[0], SELV_TASK_CURRENT));
      break;
    case 3:
      CHECK_OK(selv_semaphore_acquire(semaphore, SELV_TASK_CURRENT, 1 + random / 64 % 2, SELV_FOREVER));
      CHECK_OK(selv_semaphore_release(semaphore, 1 + random / 64 % 2));
      break;
    case 4:
      CHECK_OK(selv_limiter_acquire(limiter, SELV_TASK_CURRENT, SELV_FOREVER));
      CHECK_OK(selv_limiter_release(limiter, SELV_TASK_CURRENT));
      break;
    case 5:
      CHECK_EITHER(selv_event_wait(event, SELV_TASK_CURRENT, timeout_ns), SELV_OK, SELV_E_TIMEDOUT);
      CHECK_OK(selv_event_set(event));
      CHECK_OK(selv_event_clear(event));
      break;
    case 6:
      CHECK_EITHER(selv_parking_lot_park(lots[0], SELV_TASK_CURRENT, timeout_ns), SELV_OK, SELV_E_TIMEDOUT);
      CHECK_OK(selv_parking_lot_repark(lots[0], lots[1], 1, NULL));
      CHECK_OK(selv_parking_lot_unpark(lots[1], 1, NULL));
      break;
    case 7:
      CHECK_EITHER(selv_channel_send(channels[random / 16 % 2], SELV_TASK_CURRENT, &number, sizeof number, timeout_ns), SELV_OK,
                   SELV_E_TIMEDOUT);
      break;
    case 8:
      status = selv_channel_recv(channels[random / 16 % 2], SELV_TASK_CURRENT, timeout_ns, &data, &len);
      CHECK_EITHER(status, SELV_OK, SELV_E_TIMEDOUT);
      if (status == SELV_OK) (void)item_number(data, len);
      break;
    default: async_and_cancel(random / 64); break;
  }
}

static void *storm(void *arg) {
  uint64_t seed = sync_probe_seed((uint64_t)(uintptr_t)arg), i = 0;
  while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
    one_call(sync_probe_random(&seed));
    __atomic_add_fetch(&alive, 1, __ATOMIC_RELAXED);
    if (++i % 16 == 0) check_sleep_ms(1); /* else two processors do nothing but switch between these threads */
  }
  return NULL;
}

/* ---- the child ---- */

/* Free, or held at the fork by a thread that is not here: never waited for. */
static void shared_lock(selv_lock *l) {
  selv_status status = selv_lock_acquire(l, SELV_TASK_CURRENT, SELV_FOREVER);
  CHECK_EITHER(status, SELV_OK, SELV_E_FORKED);
  if (status == SELV_E_FORKED) {
    CHECK_STATUS(selv_lock_try_acquire(l, SELV_TASK_CURRENT), SELV_E_FORKED);
    CHECK_OK(selv_lock_repair(l, SELV_TASK_CURRENT));
  }
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_OK(selv_lock_release(l, SELV_TASK_CURRENT));
  round_of_lock(l);
}

/* What the child makes is not mistaken for anything that the parent had made, whatever was being done to that at the fork. */
static void old_and_new_are_apart(void) {
  selv_parking_lot *fresh = lot_named("fresh");
  selv_condition *fresh_condition = condition_on(locks[0], "fresh");
  uint64_t count = 99;
  op_probe in_old, in_new, on_old, on_new;
  op_probe_init(&in_old);
  op_probe_init(&in_new);
  op_probe_init(&on_old);
  op_probe_init(&on_new);
  CHECK_STATUS(op_park(&in_old, lots[0], SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(selv_parking_lot_unpark(fresh, 10, &count));
  CHECK_EQ_U64(count, 0);
  CHECK_STATUS(op_park(&in_new, fresh, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(selv_parking_lot_unpark(lots[1], 10, &count));
  CHECK_EQ_U64(count, 0);
  CHECK_OK(selv_parking_lot_unpark(lots[0], 10, &count));
  CHECK_EQ_U64(count, 1);
  OP_GOT(&in_old, 1, SELV_OK);
  CHECK_EQ_U64(check_tally_get(&in_new.called), 0);
  CHECK_OK(selv_parking_lot_break(lots[0], SELV_TASK_CURRENT));
  CHECK_EQ_U64(parking_lot_stats(fresh).broken, 0);
  CHECK_OK(selv_parking_lot_unpark(fresh, 10, &count));
  CHECK_EQ_U64(count, 1);
  OP_GOT(&in_new, 1, SELV_OK);
  CHECK_OK(selv_parking_lot_free(fresh));
  CHECK_EQ_U64(parking_lot_stats(lots[0]).broken, 1);

  {
    selv_task old_task = task_named("old"), new_task = task_named("new");
    selv_completion to_old = op_probe_completion(&on_old), to_new = op_probe_completion(&on_new);
    CHECK_OK(selv_lock_acquire(locks[0], old_task, SELV_FOREVER));
    CHECK_STATUS(selv_condition_wait_async(condition, old_task, &to_old, NULL), SELV_PENDING);
    CHECK_OK(selv_lock_acquire(locks[0], new_task, SELV_FOREVER));
    CHECK_STATUS(selv_condition_wait_async(fresh_condition, new_task, &to_new, NULL), SELV_PENDING);
    CHECK_EQ_U64(condition_waiting(condition), 1);
    CHECK_EQ_U64(condition_waiting(fresh_condition), 1);
    CHECK_OK(selv_lock_acquire(locks[0], SELV_TASK_CURRENT, SELV_FOREVER));
    CHECK_OK(selv_condition_notify_all(fresh_condition, SELV_TASK_CURRENT));
    CHECK_OK(selv_lock_release(locks[0], SELV_TASK_CURRENT));
    OP_GOT(&on_new, 1, SELV_OK);
    CHECK_EQ_U64(check_tally_get(&on_old.called), 0);
    CHECK_OK(selv_lock_release(locks[0], new_task));
    CHECK_OK(selv_condition_free(fresh_condition));
    CHECK_OK(selv_lock_acquire(locks[0], SELV_TASK_CURRENT, SELV_FOREVER));
    CHECK_OK(selv_condition_notify_all(condition, SELV_TASK_CURRENT));
    CHECK_OK(selv_lock_release(locks[0], SELV_TASK_CURRENT));
    OP_GOT(&on_old, 1, SELV_OK);
    CHECK_OK(selv_lock_release(locks[0], old_task));
  }
}

static void in_the_child(void) {
  uint64_t permits, number, i;
  for (i = 0; i < 3; i++) shared_lock(locks[i]);
  CHECK_EQ_U64(condition_waiting(condition), 0);
  round_of_condition(condition, locks[0]);
  CHECK_EQ_U64(semaphore_waiting(semaphore), 0);
  permits = semaphore_stats(semaphore).permits;
  CHECK(permits <= 3);
  if (permits) CHECK_OK(selv_semaphore_try_acquire(semaphore, permits));
  round_of_semaphore(semaphore);
  CHECK_EQ_U64(limiter_waiting(limiter), 0);
  CHECK_OK(selv_limiter_set_total(limiter, limiter_stats(limiter).borrowed + 1)); /* tokens of the parent's threads may be out for ever */
  round_of_limiter(limiter);
  CHECK_EQ_U64(event_waiting(event), 0);
  round_of_event(event);
  for (i = 0; i < 2; i++) {
    CHECK_EQ_U64(parking_lot_waiting(lots[i]), 0);
    round_of_lot(lots[i]);
    CHECK_EQ_U64(channel_stats(channels[i]).senders_waiting + channel_stats(channels[i]).receivers_waiting, 0);
  }
  while (item_recv_nowait(channels[0], &number) == SELV_OK) {
  }
  round_of_channel(channels[0]);
  full_round();
  old_and_new_are_apart();
}

int main(void) {
  pthread_t threads[THREADS];
  uint64_t forks = check_scaled(60), i, seen;
  uintptr_t t;
  locks[0] = lock_named("eventual", 0);
  locks[1] = lock_named("strict", SELV_LOCK_STRICT_FIFO);
  locks[2] = lock_named("robust", SELV_LOCK_ROBUST);
  condition = condition_on(locks[0], "C");
  semaphore = semaphore_of(3, 3);
  limiter = limiter_of(2);
  event = event_of(SELV_EVENT_RESETTABLE);
  lots[0] = lot_named("P");
  lots[1] = lot_named("Q");
  channels[0] = channel_of(2, 0);
  channels[1] = channel_of(0, SELV_CHANNEL_RENDEZVOUS);
  for (t = 0; t < THREADS; t++) CHECK(pthread_create(&threads[t], NULL, storm, (void *)t) == 0);
  for (i = 0; i < forks; i++) {
    pid_t child;
    seen = __atomic_load_n(&alive, __ATOMIC_RELAXED);
    UNTIL(__atomic_load_n(&alive, __ATOMIC_RELAXED) != seen); /* fork in the thick of it */
    child = forked();
    if (child == 0) {
      in_the_child();
      _exit(0);
    }
    REAP(child);
  }
  __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
  for (t = 0; t < THREADS; t++) CHECK(pthread_join(threads[t], NULL) == 0);
  for (i = 0; i < 3; i++) round_of_lock(locks[i]);
  CHECK_EQ_U64(semaphore_stats(semaphore).permits, 3);
  CHECK_EQ_U64(limiter_stats(limiter).borrowed, 0);
  CHECK_OK(selv_condition_free(condition));
  for (i = 0; i < 3; i++) CHECK_OK(selv_lock_free(locks[i]));
  CHECK_OK(selv_semaphore_free(semaphore));
  CHECK_OK(selv_limiter_free(limiter));
  CHECK_OK(selv_event_free(event));
  for (i = 0; i < 2; i++) {
    CHECK_OK(selv_parking_lot_free(lots[i]));
    CHECK_OK(selv_channel_free(channels[i]));
  }
  return 0;
}

/* lock_timeouts.c: a wait ends when its time has passed and not before; 0 does not wait; the longest time is no overflow; a waiter
 * that gave up leaves nothing behind. */
#include "waiters.h"

static void time_passes(void) {
  static const uint64_t times[] = { 0, 1, CHECK_MS / 10, 5 * CHECK_MS, 30 * CHECK_MS };
  selv_lock *l = lock_named("busy", 0);
  selv_task owner = task_named("owner"), late = task_named("late");
  size_t i;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (i = 0; i < sizeof times / sizeof *times; i++) {
    uint64_t began = check_now_ns();
    CHECK_STATUS(selv_lock_acquire(l, late, times[i]), SELV_E_TIMEDOUT);
    CHECK(check_now_ns() - began >= times[i]);
    CHECK_LAST_ERROR_HAS("busy");
    CHECK_EQ_U64(lock_waiting(l), 0);
  }
  CHECK_STATUS(selv_lock_acquire(l, late, SELV_NO_WAIT), SELV_E_TIMEDOUT); /* as 0 */
  CHECK(lock_stats(l).timeouts >= 2); /* those that were queued: a very short wait may end before that */
  CHECK_OK(selv_lock_release(l, owner));
  CHECK_OK(selv_lock_acquire(l, late, 0));
  CHECK_OK(selv_lock_release(l, late));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(late, NULL));
}

/* Times that added to the clock would pass its end. */
static void for_ever_and_nearly(void) {
  static const uint64_t times[] = { SELV_FOREVER, SELV_NO_WAIT - 1, UINT64_C(1) << 63, UINT64_C(1) << 62 };
  selv_lock *l = lock_named("slow", 0);
  selv_task owner = task_named("owner"), patient = task_named("patient");
  size_t i;
  for (i = 0; i < sizeof times / sizeof *times; i++) {
    waiter w;
    CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
    waiter_init(&w, waiter_lock, l, patient);
    w.timeout_ns = times[i];
    waiter_go(&w);
    UNTIL(lock_waiting(l) == 1);
    check_sleep_ms(5); /* what would overflow would come back at once, and be seen here */
    CHECK(!waiter_is_done(&w));
    CHECK_OK(selv_lock_release(l, owner));
    WAITER_ENDED(&w, SELV_OK);
    CHECK_OK(selv_lock_release(l, patient));
  }
  CHECK_EQ_U64(lock_stats(l).timeouts, 0);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(patient, NULL));
}

/* The one in the middle gives up: those behind it keep their places. */
static void the_middle_gives_up(void) {
  selv_lock *l = lock_named("queue", SELV_LOCK_STRICT_FIFO);
  selv_task owner = task_named("owner"), task[3];
  waiter w[3];
  int i;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (i = 0; i < 3; i++) {
    task[i] = task_named("waiter");
    waiter_init(&w[i], waiter_lock, l, task[i]);
    w[i].then = waiter_unlock;
    if (i == 1) w[i].timeout_ns = 50 * CHECK_MS;
    waiter_go(&w[i]);
    UNTIL(lock_stats(l).waits == (uint64_t)i + 1);
  }
  WAITER_ENDED(&w[1], SELV_E_TIMEDOUT);
  CHECK(w[1].took_ns >= 50 * CHECK_MS);
  CHECK_EQ_U64(lock_waiting(l), 2);
  CHECK(!waiter_is_done(&w[0]) && !waiter_is_done(&w[2]));
  CHECK_OK(selv_lock_release(l, owner));
  WAITER_ENDED(&w[0], SELV_OK);
  WAITER_ENDED(&w[2], SELV_OK);
  CHECK_EQ_U64(lock_stats(l).timeouts, 1);
  CHECK_EQ_U64(lock_stats(l).handed_over, 2);
  CHECK_OK(selv_lock_free(l));
  for (i = 0; i < 3; i++) CHECK_OK(selv_task_exit(task[i], NULL));
  CHECK_OK(selv_task_exit(owner, NULL));
}

int main(void) {
  CHECK_RUN(time_passes);
  CHECK_RUN(for_ever_and_nearly);
  CHECK_RUN(the_middle_gives_up);
  return 0;
}

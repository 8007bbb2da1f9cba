/* semaphore_storm.c: requests of one to three permits in a storm of timeouts, cancels, abandons, interrupts and ending tasks:
 * never more out than there are, and all back in the end. */
#include "permits_storm.h"

static selv_status take(void *object, selv_task task, uint64_t n, uint64_t timeout_ns) {
  return selv_semaphore_acquire((selv_semaphore *)object, task, n, timeout_ns);
}
static selv_status try_take(void *object, selv_task task, uint64_t n) {
  (void)task;
  return selv_semaphore_try_acquire((selv_semaphore *)object, n);
}
static selv_status submit(op_probe *p, void *object, selv_task task, uint64_t n) {
  return op_semaphore(p, (selv_semaphore *)object, task, n);
}
static void give_back(void *object, selv_task task, uint64_t n) {
  (void)task;
  CHECK_OK(selv_semaphore_release((selv_semaphore *)object, n));
}

static void storm_on(uint64_t most, uint64_t largest) {
  permits p = {NULL, 0, 0, take, try_take, submit, give_back, 0};
  selv_semaphore *s = semaphore_of(most, most); /* one permit too many given back is an OVERFLOW */
  p.object = s;
  p.most = most;
  p.largest = largest;
  permits_storm(&p);
  CHECK_EQ_U64(semaphore_waiting(s), 0);
  CHECK_EQ_U64(semaphore_stats(s).permits, most);
  CHECK_OK(selv_semaphore_free(s));
}

static void one_permit(void) { storm_on(1, 1); }
static void four_permits(void) { storm_on(4, 3); }

int main(void) {
  CHECK_RUN(one_permit);
  CHECK_RUN(four_permits);
  return 0;
}

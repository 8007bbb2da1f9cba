/* limiter_storm.c: tokens in a storm of timeouts, cancels, abandons, interrupts and ending tasks, with tasks and with opaque
 * borrowers: never more out than there are, and all back in the end. */
#include "permits_storm.h"

static selv_status take(void *object, selv_task task, uint64_t n, uint64_t timeout_ns) {
  (void)n;
  return selv_limiter_acquire((selv_limiter *)object, task, timeout_ns);
}
static selv_status try_take(void *object, selv_task task, uint64_t n) {
  (void)n;
  return selv_limiter_try_acquire((selv_limiter *)object, task);
}
static selv_status submit(op_probe *p, void *object, selv_task task, uint64_t n) {
  p->n = n;
  return op_limiter(p, (selv_limiter *)object, task);
}
static void give_back(void *object, selv_task task, uint64_t n) {
  (void)n;
  CHECK_OK(selv_limiter_release((selv_limiter *)object, task));
}

/* The same by number: each task's is its own. */
static selv_status take_for(void *object, selv_task task, uint64_t n, uint64_t timeout_ns) {
  (void)n;
  return selv_limiter_acquire_on_behalf_of((selv_limiter *)object, task, ~task, timeout_ns);
}
static selv_status try_take_for(void *object, selv_task task, uint64_t n) {
  (void)n;
  return selv_limiter_try_acquire_on_behalf_of((selv_limiter *)object, ~task);
}
static selv_status submit_for(op_probe *p, void *object, selv_task task, uint64_t n) {
  p->n = n;
  return op_on_behalf_of(p, (selv_limiter *)object, task, ~task);
}
static void give_back_for(void *object, selv_task task, uint64_t n) {
  (void)n;
  CHECK_OK(selv_limiter_release_on_behalf_of((selv_limiter *)object, ~task));
}

static void storm_on(permits p, uint64_t total) {
  selv_limiter *l = limiter_of(total);
  p.object = l;
  p.most = total;
  p.largest = 1;
  permits_storm(&p);
  CHECK_EQ_U64(limiter_waiting(l), 0);
  CHECK_EQ_U64(limiter_stats(l).borrowed, 0);
  CHECK_OK(selv_limiter_free(l)); /* BUSY if a token or a request were left */
}

static const permits tasks = {NULL, 0, 1, take, try_take, submit, give_back, 1};
static const permits opaque = {NULL, 0, 1, take_for, try_take_for, submit_for, give_back_for, 0};

static void tasks_and_one_token(void) { storm_on(tasks, 1); }
static void tasks_and_three_tokens(void) { storm_on(tasks, 3); }
static void opaque_borrowers(void) { storm_on(opaque, 2); }

int main(void) {
  CHECK_RUN(tasks_and_one_token);
  CHECK_RUN(tasks_and_three_tokens);
  CHECK_RUN(opaque_borrowers);
  return 0;
}

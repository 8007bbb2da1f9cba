/* event_storm.c: an event is set and cleared all the time while threads and operations wait for it, time out, are cancelled and
 * abandoned: each set completes exactly those that wait, and nobody sleeps through one. */
#include "sync_probe.h"

#define THREADS 6

static selv_event *event;
static int over;
static uint64_t through, withdrawn;

static void *sets_and_clears(void *arg) {
  (void)arg;
  while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
    CHECK_OK(selv_event_set(event));
    CHECK_OK(selv_event_clear(event));
    sched_yield();
  }
  CHECK_OK(selv_event_set(event));
  return NULL;
}

static void round_of(uint64_t *seed) {
  uint64_t random = sync_probe_random(seed);
  selv_status status;
  selv_task t;
  op_probe p;
  op_probe_init(&p);
  switch (random % 5) {
    case 0:
      CHECK_OK(selv_event_wait(event, SELV_TASK_CURRENT, SELV_FOREVER));
      __atomic_add_fetch(&through, 1, __ATOMIC_RELAXED);
      return;
    case 1:
      status = selv_event_wait(event, SELV_TASK_CURRENT, (random >> 8) % 30000);
      CHECK_EITHER(status, SELV_OK, SELV_E_TIMEDOUT);
      __atomic_add_fetch(status == SELV_OK ? &through : &withdrawn, 1, __ATOMIC_RELAXED);
      return;
    default: break;
  }
  t = task_named("stormer");
  status = op_event(&p, event, t);
  CHECK_EITHER(status, SELV_OK, SELV_PENDING);
  if (status == SELV_PENDING) {
    selv_status gone = SELV_E_TOO_LATE;
    if (random % 5 == 2) gone = selv_op_cancel(p.op);
    if (random % 5 == 3) gone = selv_op_abandon(p.op);
    if (random % 5 == 4 && random & 1024) gone = task_ends(t).items ? SELV_OK : SELV_E_TOO_LATE;
    CHECK_EITHER(gone, SELV_OK, SELV_E_TOO_LATE);
    if (random % 5 != 3 || gone != SELV_OK) {
      CHECK_WAIT(&p.called, 1);
      CHECK_STATUS(p.last.status, gone == SELV_OK ? SELV_E_CANCELLED : SELV_OK);
    }
    __atomic_add_fetch(gone == SELV_OK ? &withdrawn : &through, 1, __ATOMIC_RELAXED);
    if (random % 5 == 4 && random & 1024) return;
  }
  CHECK_EQ_U64(task_ends(t).items, 0);
}

static void *waits(void *arg) {
  uint64_t seed = sync_probe_seed((uint64_t)(uintptr_t)arg), rounds = check_scaled(2000), i;
  for (i = 0; i < rounds; i++) round_of(&seed);
  return NULL;
}

int main(void) {
  pthread_t setter, threads[THREADS];
  uintptr_t i;
  event = event_of(SELV_EVENT_RESETTABLE);
  CHECK(pthread_create(&setter, NULL, sets_and_clears, NULL) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, waits, (void *)i) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
  CHECK(pthread_join(setter, NULL) == 0);
  printf("%llu through, %llu withdrawn\n", (unsigned long long)through, (unsigned long long)withdrawn);
  CHECK_EQ_U64(event_waiting(event), 0);
  CHECK_OK(selv_event_free(event));
  return 0;
}

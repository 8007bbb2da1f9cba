/* parking_lot_storm.c: threads and operations park, time out, are cancelled, abandoned and lose their task while others unpark:
 * what the unparkers say that they let go is what the parkers saw. */
#include "sync_probe.h"

#define THREADS 6

static selv_parking_lot *lot;
static int over, rough;
static uint64_t called, through;   /* let go, as the unparkers and as the parkers count */
static uint64_t perhaps_in_vain;   /* let go and abandoned, and passed on to whoever was there, if anybody was */
static uint64_t withdrawn;

static void *unparks(void *arg) {
  uint64_t seed = sync_probe_seed((uint64_t)(uintptr_t)arg);
  while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
    uint64_t n = sync_probe_random(&seed) % 4, count = 99;
    CHECK_OK(selv_parking_lot_unpark(lot, n, &count));
    CHECK(count <= n);
    __atomic_add_fetch(&called, count, __ATOMIC_SEQ_CST);
    sched_yield();
  }
  return NULL;
}

static void then(op_probe *p, const selv_completed *c) {
  (void)p;
  if (c->status == SELV_OK) __atomic_add_fetch(&through, 1, __ATOMIC_SEQ_CST);
}

static void by_a_thread(uint64_t timeout_ns) {
  selv_status status = selv_parking_lot_park(lot, SELV_TASK_CURRENT, timeout_ns);
  CHECK(status == SELV_OK || (timeout_ns != SELV_FOREVER && status == SELV_E_TIMEDOUT));
  __atomic_add_fetch(status == SELV_OK ? &through : &withdrawn, 1, __ATOMIC_SEQ_CST);
}

static void round_of(uint64_t *seed) {
  uint64_t random = sync_probe_random(seed);
  int way = (int)(random % (rough ? 6 : 4));
  selv_status gone = SELV_E_TOO_LATE;
  selv_task t;
  op_probe p;
  if (way == 0 || way == 1) {
    by_a_thread(way == 0 ? SELV_FOREVER : (random >> 8) % 50000);
    return;
  }
  op_probe_init(&p);
  p.then = then;
  t = task_named("stormer");
  CHECK_STATUS(op_park(&p, lot, t), SELV_PENDING);
  if (random & 1024) sched_yield();
  if (way == 3) gone = selv_op_cancel(p.op);
  if (way == 4) gone = selv_op_abandon(p.op);
  if (way == 5) gone = task_ends(t).items ? SELV_OK : SELV_E_TOO_LATE;
  CHECK_EITHER(gone, SELV_OK, SELV_E_TOO_LATE);
  if (gone == SELV_OK) __atomic_add_fetch(way == 3 ? &withdrawn : &perhaps_in_vain, 1, __ATOMIC_SEQ_CST);
  if (way == 4 && gone == SELV_OK) {
    CHECK_EQ_U64(check_tally_get(&p.called), 0);
  } else {
    CHECK_WAIT(&p.called, 1);
    CHECK_STATUS(p.last.status, gone == SELV_OK ? SELV_E_CANCELLED : SELV_OK);
  }
  if (way != 5) CHECK_EQ_U64(task_ends(t).items, 0);
}

static void *parks(void *arg) {
  uint64_t seed = sync_probe_seed((uint64_t)(uintptr_t)arg), rounds = check_scaled(2000), i;
  for (i = 0; i < rounds; i++) round_of(&seed);
  return NULL;
}

static void storm(void) {
  pthread_t unparkers[2], threads[THREADS];
  uintptr_t i;
  lot = lot_named("P");
  over = 0;
  called = through = withdrawn = perhaps_in_vain = 0;
  for (i = 0; i < 2; i++) CHECK(pthread_create(&unparkers[i], NULL, unparks, (void *)(100 + i)) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, parks, (void *)i) == 0);
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
  for (i = 0; i < 2; i++) CHECK(pthread_join(unparkers[i], NULL) == 0);
  printf("%llu let go, %llu through, %llu withdrawn, %llu abandoned or ended\n", (unsigned long long)called,
         (unsigned long long)through, (unsigned long long)withdrawn, (unsigned long long)perhaps_in_vain);
  CHECK(through <= called && called <= through + perhaps_in_vain);
  CHECK_EQ_U64(parking_lot_waiting(lot), 0);
  CHECK_OK(selv_parking_lot_free(lot));
}

static void none_is_lost_or_doubled(void) {
  rough = 0; /* nobody abandons or ends: the numbers agree to the last one */
  storm();
}

static void with_abandons_and_ends(void) {
  rough = 1;
  storm();
}

int main(void) {
  CHECK_RUN(none_is_lost_or_doubled);
  CHECK_RUN(with_abandons_and_ends);
  return 0;
}

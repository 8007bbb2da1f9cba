/* op_loop_storm.c: operations on a lock, a condition, a semaphore, a limiter and a channel, completed on two loops, one of which
 * is closed in the middle; many are cancelled or abandoned. Each is told once or was abandoned, and everything granted is back. */
#include "loops.h"
#include "sync_probe.h"

#define PRODUCERS 3
#define PERMITS 2

enum { LOCK, CONDITION, SEMAPHORE, LIMITER, RECEIVER, KINDS };

typedef struct storm {
  host h[2];
  selv_lock *lock, *guard;
  selv_condition *bell;
  selv_semaphore *semaphore;
  selv_limiter *limiter;
  selv_channel *channel;
  uint64_t each, told, abandoned, at_once, refused;
  uint64_t sent, received; /* sums of the items */
  uint64_t ends[4];        /* told OK, CANCELLED, CLOSED */
} storm;

typedef struct storm_op {
  storm *of;
  host *on;
  selv_task task;
  int kind;
  uint64_t told;
} storm_op;

static uint64_t storm_seed;

static uint64_t more(uint64_t *count, uint64_t by) { return __atomic_add_fetch(count, by, __ATOMIC_SEQ_CST); }
static uint64_t is(uint64_t *count) { return __atomic_load_n(count, __ATOMIC_SEQ_CST); }

static __thread int telling;

static void give_back(storm_op *o, void *data, size_t len) {
  storm *s = o->of;
  if (o->kind == LOCK) CHECK_OK(selv_lock_release(s->lock, o->task));
  if (o->kind == CONDITION) CHECK_OK(selv_lock_release(s->guard, o->task));
  if (o->kind == SEMAPHORE) CHECK_OK(selv_semaphore_release(s->semaphore, 1));
  if (o->kind == LIMITER) CHECK_OK(selv_limiter_release(s->limiter, o->task));
  if (o->kind == RECEIVER) more(&s->received, item_number(data, len));
}

static void tell(void *arg, const selv_completed *c) {
  storm_op *o = (storm_op *)arg;
  CHECK(telling == 0);
  telling = 1;
  if (c->status != SELV_E_CLOSED) CHECK(host_is_here(o->on));
  CHECK_ANY_OF(c->status, SELV_OK, SELV_E_CANCELLED, SELV_E_CLOSED);
  if (c->status == SELV_E_CLOSED) CHECK(c->holds_lock == 0 && c->data == NULL);
  if (c->status == SELV_OK || (o->kind == CONDITION && c->holds_lock)) give_back(o, c->data, c->len);
  more(&o->of->ends[c->status == SELV_OK ? 0 : c->status == SELV_E_CANCELLED ? 1 : 2], 1);
  CHECK_EQ_U64(more(&o->told, 1), 1);
  telling = 0;
  more(&o->of->told, 1);
}

static selv_status begin_op(storm_op *o, selv_op *op) {
  storm *s = o->of;
  selv_completion completion;
  selv_status status = SELV_E_INVAL;
  completion.fn = tell;
  completion.arg = o;
  completion.loop = o->on->loop;
  switch (o->kind) {
    case LOCK: return selv_lock_acquire_async(s->lock, o->task, &completion, op);
    case SEMAPHORE: return selv_semaphore_acquire_async(s->semaphore, o->task, 1, &completion, op);
    case LIMITER: return selv_limiter_acquire_async(s->limiter, o->task, &completion, op);
    case RECEIVER: return selv_channel_recv_async(s->channel, o->task, &completion, op);
    case CONDITION:
      CHECK_OK(selv_lock_acquire(s->guard, o->task, SELV_FOREVER));
      status = selv_condition_wait_async(s->bell, o->task, &completion, op);
      if (status < 0) CHECK_OK(selv_lock_release(s->guard, o->task));
      return status;
    default: return status;
  }
}

static void notify_all(storm *s, selv_task task) {
  CHECK_OK(selv_lock_acquire(s->guard, task, SELV_FOREVER));
  CHECK_OK(selv_condition_notify_all(s->bell, task));
  CHECK_OK(selv_lock_release(s->guard, task));
}

typedef struct producer {
  storm *of;
  storm_op *ops;
  uint64_t first_item;
  pthread_t thread;
} producer;

static void *produces(void *arg) {
  producer *p = (producer *)arg;
  storm *s = p->of;
  uint64_t i, seed = (__atomic_add_fetch(&storm_seed, 2, __ATOMIC_SEQ_CST) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
  int loops = 2;
  for (i = 0; i < s->each; i++) {
    storm_op *o = &p->ops[i];
    uint64_t random = sync_probe_random(&seed);
    selv_status status, gone = SELV_E_TOO_LATE;
    selv_op op = 0;
    o->of = s;
    o->on = &s->h[loops == 2 ? random % 2 : 0];
    o->kind = (int)((random >> 8) % KINDS);
    o->task = task_named(NULL);
    status = begin_op(o, &op);
    if (status == SELV_E_CLOSED) { /* that loop is gone */
      CHECK(o->on == &s->h[1]);
      loops = 1;
      more(&s->refused, 1);
      continue;
    }
    CHECK_EITHER(status, SELV_OK, SELV_PENDING);
    if (status == SELV_OK) {
      more(&s->at_once, 1);
      sched_yield();
      give_back(o, NULL, 0);
    } else {
      if ((random >> 16) % 4 == 0) gone = selv_op_cancel(op);
      if ((random >> 16) % 4 == 1) gone = selv_op_abandon(op);
      CHECK_EITHER(gone, SELV_OK, SELV_E_TOO_LATE);
      if (gone == SELV_OK && (random >> 16) % 4 == 1) more(&s->abandoned, 1);
    }
    if (o->kind == RECEIVER) {
      more(&s->sent, p->first_item + i);
      CHECK_OK(item_send_nowait(s->channel, p->first_item + i));
    }
    if (o->kind == CONDITION && random >> 24 & 1) notify_all(s, SELV_TASK_CURRENT);
  }
  return NULL;
}

static void closes(void *arg) { host_close((host *)arg); }

static void storm_round(int form, uint64_t each, int close_early) {
  static storm s;
  producer p[PRODUCERS];
  uint64_t i, j, number, left = 0;
  memset(&s, 0, sizeof s);
  s.lock = lock_named("desk", 0);
  s.guard = lock_named("guard", SELV_LOCK_STRICT_FIFO);
  s.bell = condition_on(s.guard, "bell");
  s.semaphore = semaphore_of(PERMITS, 0);
  s.limiter = limiter_of(PERMITS);
  s.channel = channel_of(0, 0);
  s.each = each;
  host_start(&s.h[0], form);
  host_start(&s.h[1], form);
  for (i = 0; i < PRODUCERS; i++) {
    p[i].of = &s;
    p[i].ops = (storm_op *)calloc(each, sizeof *p[i].ops);
    p[i].first_item = 1 + i * each;
    CHECK(p[i].ops != NULL);
    CHECK(pthread_create(&p[i].thread, NULL, produces, &p[i]) == 0);
  }
  if (close_early) {
    UNTIL(is(&s.told) + is(&s.at_once) >= each / 2);
    host_do(&s.h[1], closes, &s.h[1]);
  }
  for (i = 0; i < PRODUCERS; i++) CHECK(pthread_join(p[i].thread, NULL) == 0);
  while (is(&s.told) + is(&s.abandoned) + is(&s.at_once) + is(&s.refused) < PRODUCERS * each) {
    notify_all(&s, SELV_TASK_CURRENT);
    UNTIL(condition_waiting(s.bell) == 0);
    sched_yield();
  }
  host_stop(&s.h[1]);
  host_stop(&s.h[0]);
  CHECK_EQ_U64(s.told + s.abandoned + s.at_once + s.refused, PRODUCERS * each);
  if (!close_early) CHECK_EQ_U64(s.ends[2] + s.refused, 0);
  while (item_recv_nowait(s.channel, &number) == SELV_OK) left += number;
  CHECK_EQ_U64(s.received + left, s.sent); /* no item twice, none lost */
  CHECK_EQ_U64(selv_lock_owner(s.lock), 0);
  CHECK_EQ_U64(selv_lock_owner(s.guard), 0);
  CHECK_EQ_U64(semaphore_stats(s.semaphore).permits, PERMITS);
  CHECK_EQ_U64(limiter_stats(s.limiter).borrowed, 0);
  CHECK_OK(selv_condition_free(s.bell));
  CHECK_OK(selv_lock_free(s.lock));
  CHECK_OK(selv_lock_free(s.guard));
  CHECK_OK(selv_semaphore_free(s.semaphore));
  CHECK_OK(selv_limiter_free(s.limiter));
  CHECK_OK(selv_channel_free(s.channel));
  for (i = 0; i < PRODUCERS; i++) {
    for (j = 0; j < each; j++)
      if (p[i].ops[j].task) CHECK_OK(selv_task_exit(p[i].ops[j].task, NULL));
    free(p[i].ops);
  }
  printf("%llu told: %llu granted, %llu cancelled, %llu closed; %llu abandoned, %llu at once, %llu refused\n",
         (unsigned long long)s.told, (unsigned long long)s.ends[0], (unsigned long long)s.ends[1], (unsigned long long)s.ends[2],
         (unsigned long long)s.abandoned, (unsigned long long)s.at_once, (unsigned long long)s.refused);
}

static void two_loops(int form) { storm_round(form, check_scaled(3000), 0); }

static void one_is_closed(int form) {
  uint64_t round, rounds = check_scaled(30);
  for (round = 0; round < rounds; round++) storm_round(form, 20 + round * 41 % 300, 1);
}

int main(void) {
  storm_seed = sync_probe_seed(0);
  HOST_RUN_BOTH(two_loops);
  HOST_RUN_BOTH(one_is_closed);
  return 0;
}

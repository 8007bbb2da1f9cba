/* op_callbacks.c: when and where a completion's callback runs: after the submitting call and never in it, one after another and
 * never one in another, however long the chain that one lets loose; with no lock of the library held, so that it may call anything. */
#include "probe.h"
#include "waiters.h"

/* ---- never nested ---- */

#define CHAIN 10000

static uintptr_t stack_low, stack_high;
static uint64_t chain_ran;

static void note_the_stack(void) {
  char here = 0;
  uintptr_t at = (uintptr_t)(void *)&here;
  if (chain_ran == 0 || at < stack_low) stack_low = at;
  if (chain_ran == 0 || at > stack_high) stack_high = at;
  chain_ran++;
}

static void the_stack_stayed(uint64_t ran) {
  CHECK_EQ_U64(chain_ran, ran);
  CHECK(stack_high - stack_low < 16384);
  chain_ran = 0;
}

static void passes_the_lock_on(op_probe *p, const selv_completed *c) {
  note_the_stack();
  CHECK_OK(c->status);
  CHECK_OK(selv_lock_release((selv_lock *)p->object, p->task));
}

/* Ten thousand operations queue on one lock, and each callback lets go of it. */
static void a_chain_on_one_lock(void) {
  selv_lock *l = lock_named("baton", 0);
  selv_task owner = task_named("owner");
  op_probe *p = (op_probe *)calloc(CHAIN, sizeof *p);
  uint64_t i, ticket = 0;
  CHECK(p != NULL);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (i = 0; i < CHAIN; i++) {
    op_probe_init(&p[i]);
    p[i].then = passes_the_lock_on;
    CHECK_STATUS(op_probe_lock(&p[i], l, task_named(NULL)), SELV_PENDING);
  }
  CHECK_OK(selv_lock_release(l, owner));
  for (i = 0; i < CHAIN; i++) { /* all of them within that release */
    CHECK_EQ_U64(check_tally_get(&p[i].called), 1);
    CHECK(p[i].last.ticket > ticket);
    ticket = p[i].last.ticket;
    CHECK_OK(selv_task_exit(p[i].task, NULL));
  }
  the_stack_stayed(CHAIN);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  free(p);
}

/* The same through as many locks: each callback lets go of the lock that the next one waits for. */
static selv_lock *chain_lock[CHAIN / 10];

static void frees_the_next(op_probe *p, const selv_completed *c) {
  note_the_stack();
  CHECK_OK(c->status);
  if (p->n + 1 < CHAIN / 10) CHECK_OK(selv_lock_release(chain_lock[p->n + 1], p->task));
}

static void a_chain_through_many_locks(void) {
  op_probe *p = (op_probe *)calloc(CHAIN / 10, sizeof *p);
  selv_task owner = task_named("owner"), task[CHAIN / 10];
  uint64_t i;
  CHECK(p != NULL);
  for (i = 0; i < CHAIN / 10; i++) {
    chain_lock[i] = lock_named(NULL, 0);
    task[i] = task_named(NULL);
  }
  CHECK_OK(selv_lock_acquire(chain_lock[0], owner, SELV_FOREVER));
  for (i = 0; i < CHAIN / 10; i++) { /* task i waits for lock i and holds lock i+1 */
    op_probe_init(&p[i]);
    p[i].then = frees_the_next;
    p[i].n = i;
    if (i + 1 < CHAIN / 10) CHECK_OK(selv_lock_acquire(chain_lock[i + 1], task[i], SELV_FOREVER));
    CHECK_STATUS(op_probe_lock(&p[i], chain_lock[i], task[i]), SELV_PENDING);
  }
  CHECK_OK(selv_lock_release(chain_lock[0], owner));
  the_stack_stayed(CHAIN / 10);
  for (i = 0; i < CHAIN / 10; i++) {
    CHECK_EQ_U64(check_tally_get(&p[i].called), 1);
    CHECK_OK(selv_lock_release(chain_lock[i], task[i]));
    CHECK_OK(selv_lock_free(chain_lock[i]));
    CHECK_OK(selv_task_exit(task[i], NULL));
  }
  CHECK_OK(selv_task_exit(owner, NULL));
  free(p);
}

/* A callback that cancels another operation, ends another task, closes another lock: those callbacks come after it. */
static op_probe by_cancel, by_exit, by_close;
static selv_task exits;
static selv_lock *closes;

static void completes_others(op_probe *p, const selv_completed *c) {
  (void)p;
  CHECK_STATUS(c->status, SELV_E_CANCELLED);
  CHECK_OK(selv_op_cancel(by_cancel.op));
  CHECK_OK(selv_task_exit(exits, NULL));
  CHECK_OK(selv_lock_close(closes));
  CHECK_EQ_U64(check_tally_get(&by_cancel.called), 0);
  CHECK_EQ_U64(check_tally_get(&by_exit.called), 0);
  CHECK_EQ_U64(check_tally_get(&by_close.called), 0);
}

static void other_completions_come_after(void) {
  selv_lock *l = lock_named("held", 0);
  selv_task owner = task_named("owner"), task[3];
  op_probe p;
  int i;
  for (i = 0; i < 3; i++) task[i] = task_named("waiter");
  exits = task_named("exits");
  closes = lock_named("closes", 0);
  op_probe_init(&p);
  op_probe_init(&by_cancel);
  op_probe_init(&by_exit);
  op_probe_init(&by_close);
  p.then = completes_others;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_lock_acquire(closes, owner, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&p, l, task[0]), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&by_cancel, l, task[1]), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&by_exit, l, exits), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&by_close, closes, task[2]), SELV_PENDING);
  CHECK_OK(selv_op_cancel(p.op));
  OP_GOT(&p, 1, SELV_E_CANCELLED);
  OP_GOT(&by_cancel, 1, SELV_E_CANCELLED);
  OP_GOT(&by_exit, 1, SELV_E_CANCELLED);
  OP_GOT(&by_close, 1, SELV_E_CLOSED);
  CHECK(by_cancel.order > p.order && by_exit.order > p.order && by_close.order > p.order);
  CHECK_OK(selv_lock_release(l, owner));
  CHECK_OK(selv_lock_release(closes, owner));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_lock_free(closes));
  CHECK_OK(selv_task_exit(owner, NULL));
  for (i = 0; i < 3; i++) CHECK_OK(selv_task_exit(task[i], NULL));
}

/* ---- never inside the submitting call, and with *out_op written ---- */

static selv_lock *pingpong;
static uint64_t pending_seen;

static void knows_its_op(op_probe *p, const selv_completed *c) { CHECK_EQ_U64(c->op, p->op); }

static void *submits(void *arg) {
  selv_task t = task_named("submitter");
  uint64_t i, rounds = check_scaled(5000);
  (void)arg;
  for (i = 0; i < rounds; i++) {
    op_probe p;
    selv_status s;
    op_probe_init(&p);
    p.then = knows_its_op;
    s = op_probe_lock(&p, pingpong, t); /* the probe fails if it is called on this thread before this returns */
    if (s == SELV_PENDING) {
      OP_GOT(&p, 1, SELV_OK);
      __atomic_add_fetch(&pending_seen, 1, __ATOMIC_RELAXED);
    } else {
      CHECK_OK(s);
      CHECK_EQ_U64(p.op, 0);
    }
    CHECK_EQ_U64(selv_lock_owner(pingpong), t);
    CHECK_OK(selv_lock_release(pingpong, t));
  }
  CHECK_OK(selv_task_exit(t, NULL));
  return NULL;
}

static void never_inside_the_submitting_call(void) {
  pthread_t thread[3];
  int i;
  pingpong = lock_named("ping pong", 0);
  for (i = 0; i < 3; i++) CHECK(pthread_create(&thread[i], NULL, submits, NULL) == 0);
  for (i = 0; i < 3; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  printf("%llu were pending\n", (unsigned long long)pending_seen);
  CHECK_EQ_U64(lock_stats(pingpong).waiting, 0);
  CHECK_OK(selv_lock_free(pingpong));
}

/* ---- with no lock held: a callback may call anything ---- */

static selv_status writes_nothing(void *arg, const char *data, size_t len) {
  (void)data;
  *(size_t *)arg += len;
  return SELV_OK;
}

static void calls_everything(op_probe *p, const selv_completed *c) {
  selv_lock *l = (selv_lock *)p->object, *own = NULL;
  selv_condition *bell;
  selv_task_report report = SELV_TASK_REPORT_INIT;
  selv_task fresh = task_named("fresh");
  selv_outcome outcome;
  selv_cache *cache = NULL;
  probe job;
  waiter w;
  op_probe q;
  size_t length = 0;
  CHECK_OK(c->status);
  /* the object that it completed on */
  CHECK_EQ_U64(selv_lock_owner(l), p->task);
  CHECK_EQ_U64(lock_stats(l).owner, p->task);
  CHECK_STATUS(selv_lock_try_acquire(l, fresh), SELV_E_WOULD_BLOCK);
  CHECK_STATUS(selv_lock_acquire(l, fresh, CHECK_MS / 10), SELV_E_TIMEDOUT);
  op_probe_init(&q);
  CHECK_STATUS(op_probe_lock(&q, l, fresh), SELV_PENDING);
  CHECK_OK(selv_op_abandon(q.op));
  /* from another thread, while this one waits in its callback */
  waiter_init(&w, waiter_lock, l, fresh);
  w.then = waiter_unlock;
  waiter_go(&w);
  UNTIL(lock_waiting(l) == 1);
  CHECK_OK(selv_wait_graph(SELV_GRAPH_TEXT, writes_nothing, &length));
  CHECK(length > 0);
  CHECK_OK(selv_lock_release(l, p->task));
  WAITER_ENDED(&w, SELV_OK);
  CHECK_OK(selv_lock_acquire(l, p->task, SELV_FOREVER));
  /* objects of its own */
  own = lock_named("own", 0);
  bell = condition_on(own, "bell");
  CHECK_OK(selv_lock_acquire(own, fresh, SELV_FOREVER));
  CHECK_STATUS(selv_condition_wait(bell, fresh, CHECK_MS / 10, NULL), SELV_E_TIMEDOUT);
  CHECK_OK(selv_task_exit(fresh, &report));
  CHECK_STATUS(selv_lock_try_acquire(own, p->task), SELV_E_BROKEN);
  CHECK_OK(selv_condition_free(bell));
  CHECK_OK(selv_lock_free(own));
  /* and the thread cache */
  probe_init(&job);
  CHECK_OK(selv_cache_default(&cache));
  CHECK_OK(selv_cache_run(cache, probe_run, &job, SELV_FOREVER, &outcome));
  CHECK_EQ_U64(outcome.code, 7);
  selv_cache_release(cache);
}

static void a_callback_may_call_anything(void) {
  selv_lock *l = lock_named("busy", 0);
  selv_task owner = task_named("owner"), task = task_named("waiter");
  op_probe p;
  op_probe_init(&p);
  p.then = calls_everything;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&p, l, task), SELV_PENDING);
  CHECK_OK(selv_lock_release(l, owner));
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_lock_release(l, task));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(task, NULL));
}

/* The last user of an object is often a callback: the call that completed it must not touch it after that. */
static void lets_go_and_frees(op_probe *p, const selv_completed *c) {
  selv_lock *l = (selv_lock *)p->object;
  if (c->status == SELV_OK) CHECK_OK(selv_lock_release(l, p->task));
  CHECK_OK(selv_lock_free(l));
}

static void a_callback_may_free_the_object(void) {
  int by_exit_of_the_owner;
  for (by_exit_of_the_owner = 0; by_exit_of_the_owner < 2; by_exit_of_the_owner++) {
    selv_lock *l = lock_named("last", 0);
    selv_task owner = task_named("owner"), task = task_named("waiter");
    op_probe p;
    op_probe_init(&p);
    p.then = lets_go_and_frees;
    CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
    CHECK_STATUS(op_probe_lock(&p, l, task), SELV_PENDING);
    if (!by_exit_of_the_owner) CHECK_OK(selv_lock_release(l, owner));
    CHECK_OK(selv_task_exit(owner, NULL));
    OP_GOT(&p, 1, by_exit_of_the_owner ? SELV_E_BROKEN : SELV_OK);
    CHECK_OK(selv_task_exit(task, NULL));
  }
}

/* ---- on the thread that completes, and in the order of completion ---- */

static void callbacks_in_order(void) {
  enum { N = 50 };
  selv_lock *l = lock_named("closing", 0);
  selv_task owner = task_named("owner"), task[N];
  op_probe p[N];
  int i;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (i = 0; i < N; i++) {
    op_probe_init(&p[i]);
    task[i] = task_named("waiter");
    CHECK_STATUS(op_probe_lock(&p[i], l, task[i]), SELV_PENDING);
  }
  CHECK_OK(selv_lock_close(l));
  for (i = 0; i < N; i++) {
    CHECK_EQ_U64(check_tally_get(&p[i].called), 1);
    CHECK_STATUS(p[i].last.status, SELV_E_CLOSED);
    CHECK(pthread_equal(p[i].on, pthread_self()));
    CHECK(i == 0 || (p[i].order > p[i - 1].order && p[i].last.ticket > p[i - 1].last.ticket));
    CHECK_OK(selv_task_exit(task[i], NULL));
  }
  CHECK_OK(selv_lock_release(l, owner));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
}

int main(void) {
  CHECK_RUN(a_chain_on_one_lock);
  CHECK_RUN(a_chain_through_many_locks);
  CHECK_RUN(other_completions_come_after);
  CHECK_RUN(never_inside_the_submitting_call);
  CHECK_RUN(a_callback_may_call_anything);
  CHECK_RUN(a_callback_may_free_the_object);
  CHECK_RUN(callbacks_in_order);
  return 0;
}

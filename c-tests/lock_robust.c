/* lock_robust.c: with SELV_LOCK_ROBUST the next owner gets the lock together with the news that the last one died. It makes the
 * state consistent before it lets go, or the lock is given up for lost, for everybody and for ever. */
#include "waiters.h"

static selv_lock *l;
static selv_task owner, heir, next, last;

static void begin(uint32_t flags) {
  l = lock_named("estate", SELV_LOCK_ROBUST | flags);
  owner = task_named("deceased");
  heir = task_named("heir");
  next = task_named("next");
  last = task_named("last");
}

static void end(void) {
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(heir, NULL));
  CHECK_OK(selv_task_exit(next, NULL));
  CHECK_OK(selv_task_exit(last, NULL));
}

static void dies_holding(void) {
  selv_task_report report = SELV_TASK_REPORT_INIT;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_OK(selv_task_exit(owner, &report));
  CHECK_EQ_U64(report.locks_handed_on, 1);
  CHECK_EQ_U64(report.locks_broken, 0);
}

static void is_a_plain_lock(void) {
  CHECK_OK(selv_lock_try_acquire(l, next));
  CHECK_STATUS(selv_lock_make_consistent(l, next), SELV_E_INVAL);
  CHECK_OK(selv_lock_release(l, next));
  CHECK_STATUS(selv_lock_make_consistent(l, next), SELV_E_NOT_OWNER);
}

static void is_lost(void) {
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_lock_try_acquire(l, last), SELV_E_NOT_RECOVERABLE);
  CHECK_LAST_ERROR_HAS("estate");
  CHECK_STATUS(selv_lock_acquire(l, last, 0), SELV_E_NOT_RECOVERABLE);
  CHECK_STATUS(selv_lock_acquire(l, last, SELV_FOREVER), SELV_E_NOT_RECOVERABLE);
  p.op = 99;
  CHECK_STATUS(op_probe_lock(&p, l, last), SELV_E_NOT_RECOVERABLE);
  CHECK_EQ_U64(p.op, 0);
  CHECK_STATUS(selv_lock_repair(l, last), SELV_E_NOT_RECOVERABLE);
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
}

/* The first of the queue inherits; those behind it wait on. */
static void the_first_waiter_inherits(void) {
  waiter w, behind;
  selv_task_report report = SELV_TASK_REPORT_INIT;
  begin(SELV_LOCK_STRICT_FIFO);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  waiter_start(&w, waiter_lock, l, heir);
  UNTIL(lock_waiting(l) == 1);
  waiter_init(&behind, waiter_lock, l, next);
  behind.then = waiter_unlock;
  waiter_go(&behind);
  UNTIL(lock_waiting(l) == 2);
  CHECK_OK(selv_task_exit(owner, &report));
  CHECK_EQ_U64(report.locks_handed_on, 1);
  CHECK_EQ_U64(report.locks_broken, 0);
  WAITER_ENDED(&w, SELV_OWNER_DIED);
  CHECK_EQ_U64(selv_lock_owner(l), heir);
  CHECK_EQ_U64(lock_waiting(l), 1);
  CHECK(!waiter_is_done(&behind));
  CHECK_STATUS(selv_lock_make_consistent(l, last), SELV_E_NOT_OWNER);
  CHECK_OK(selv_lock_make_consistent(l, heir));
  CHECK_STATUS(selv_lock_make_consistent(l, heir), SELV_E_INVAL); /* it is, already */
  CHECK_OK(selv_lock_release(l, heir));
  WAITER_ENDED(&behind, SELV_OK);
  is_a_plain_lock();
  end();
}

static void the_first_waiter_is_asynchronous(void) {
  op_probe p, q;
  begin(0);
  op_probe_init(&p);
  op_probe_init(&q);
  q.then = op_probe_unlock;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&p, l, heir), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&q, l, next), SELV_PENDING);
  CHECK_OK(selv_task_exit(owner, NULL));
  OP_GOT(&p, 1, SELV_OWNER_DIED);
  CHECK_EQ_U64(selv_lock_owner(l), heir);
  CHECK_OK(selv_lock_make_consistent(l, heir));
  CHECK_OK(selv_lock_release(l, heir));
  OP_GOT(&q, 1, SELV_OK);
  is_a_plain_lock();
  end();
}

/* News comes with its sentence to who waited, too, blocked or by an operation. */
static char told[2][256];

static selv_status waits_and_asks_why(waiter *w) {
  selv_status status = waiter_lock(w);
  selv_last_error(told[0], sizeof told[0]);
  return status;
}

static void asks_why(op_probe *p, const selv_completed *c) {
  (void)p;
  (void)c;
  selv_last_error(told[1], sizeof told[1]);
}

static void waiters_are_told_who_died(void) {
  waiter w;
  op_probe p;
  int i;
  begin(SELV_LOCK_STRICT_FIFO);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  waiter_start(&w, waits_and_asks_why, l, heir);
  UNTIL(lock_waiting(l) == 1);
  op_probe_init(&p);
  p.then = asks_why;
  CHECK_STATUS(op_probe_lock(&p, l, next), SELV_PENDING);
  CHECK_OK(selv_task_exit(owner, NULL));
  WAITER_ENDED(&w, SELV_OWNER_DIED);
  CHECK_OK(selv_task_exit(heir, NULL)); /* and leaves it as it is */
  OP_GOT(&p, 1, SELV_OWNER_DIED);
  CHECK(strstr(told[0], "lock 'estate'") != NULL && strstr(told[0], "task 'deceased'") != NULL);
  CHECK(strstr(told[1], "lock 'estate'") != NULL && strstr(told[1], "task 'heir'") != NULL);
  for (i = 0; i < 2; i++) CHECK(strstr(told[i], "exited while holding it") != NULL);
  CHECK_OK(selv_lock_make_consistent(l, next));
  CHECK_OK(selv_lock_release(l, next));
  is_a_plain_lock();
  heir = task_named("heir");
  end();
}

/* Nobody waited: whoever comes first inherits, however it asks. */
static void an_orphan_is_inherited(void) {
  int how;
  for (how = 0; how < 4; how++) {
    op_probe p;
    begin(0);
    op_probe_init(&p);
    dies_holding();
    CHECK_EQ_U64(selv_lock_owner(l), 0);
    switch (how) {
      case 0: CHECK_STATUS(selv_lock_try_acquire(l, heir), SELV_OWNER_DIED); break;
      case 1: CHECK_STATUS(selv_lock_acquire(l, heir, SELV_FOREVER), SELV_OWNER_DIED); break;
      case 2: CHECK_STATUS(selv_lock_acquire(l, heir, 0), SELV_OWNER_DIED); break;
      default: /* satisfied at once: no callback */
        p.op = 99;
        CHECK_STATUS(op_probe_lock(&p, l, heir), SELV_OWNER_DIED);
        CHECK_EQ_U64(p.op, 0);
        break;
    }
    CHECK_LAST_ERROR_HAS("lock 'estate'"); /* news names both, as an error does */
    CHECK_LAST_ERROR_HAS("task 'deceased'");
    CHECK_EQ_U64(selv_lock_owner(l), heir);
    CHECK_STATUS(selv_lock_try_acquire(l, heir), SELV_E_DEADLOCK);
    CHECK_STATUS(selv_lock_try_acquire(l, next), SELV_E_WOULD_BLOCK);
    CHECK_OK(selv_lock_make_consistent(l, heir));
    CHECK_OK(selv_lock_release(l, heir));
    CHECK_EQ_U64(check_tally_get(&p.called), 0);
    is_a_plain_lock();
    end();
  }
}

/* The heir dies, too, before it has made anything consistent: the next one hears of it. */
static void the_heir_dies(void) {
  selv_task_report report = SELV_TASK_REPORT_INIT;
  waiter w;
  begin(0);
  dies_holding();
  CHECK_STATUS(selv_lock_acquire(l, heir, SELV_FOREVER), SELV_OWNER_DIED);
  waiter_start(&w, waiter_lock, l, next);
  UNTIL(lock_waiting(l) == 1);
  CHECK_OK(selv_task_exit(heir, &report));
  CHECK_EQ_U64(report.locks_handed_on, 1);
  WAITER_ENDED(&w, SELV_OWNER_DIED);
  CHECK_OK(selv_lock_make_consistent(l, next));
  CHECK_OK(selv_lock_release(l, next));
  is_a_plain_lock();
  heir = task_named("heir");
  end();
}

/* Made consistent and then orphaned again: a death like the first. */
static void the_heir_dies_with_all_in_order(void) {
  begin(0);
  dies_holding();
  CHECK_STATUS(selv_lock_acquire(l, heir, SELV_FOREVER), SELV_OWNER_DIED);
  CHECK_OK(selv_lock_make_consistent(l, heir));
  CHECK_OK(selv_task_exit(heir, NULL));
  CHECK_STATUS(selv_lock_acquire(l, next, SELV_FOREVER), SELV_OWNER_DIED);
  CHECK_OK(selv_lock_make_consistent(l, next));
  CHECK_OK(selv_lock_release(l, next));
  is_a_plain_lock();
  heir = task_named("heir");
  end();
}

static void let_go_of_inconsistent_it_is_lost(void) {
  begin(0);
  dies_holding();
  CHECK_STATUS(selv_lock_acquire(l, heir, SELV_FOREVER), SELV_OWNER_DIED);
  CHECK_OK(selv_lock_release(l, heir));
  is_lost();
  CHECK(selv_lock_make_consistent(l, heir) < 0); /* too late */
  is_lost();
  end();
}

static void the_waiters_of_a_lost_lock(void) {
  waiter w[3];
  op_probe p;
  selv_task task[4];
  int i;
  begin(SELV_LOCK_STRICT_FIFO);
  op_probe_init(&p);
  dies_holding();
  CHECK_STATUS(selv_lock_acquire(l, heir, SELV_FOREVER), SELV_OWNER_DIED);
  for (i = 0; i < 4; i++) {
    task[i] = task_named("waiter");
    if (i == 1) {
      CHECK_STATUS(op_probe_lock(&p, l, task[i]), SELV_PENDING);
    } else {
      waiter *one = &w[i == 0 ? 0 : i - 1];
      waiter_init(one, waiter_lock, l, task[i]);
      if (i == 2) one->timeout_ns = 3600 * UINT64_C(1000000000);
      waiter_go(one);
    }
    UNTIL(lock_waiting(l) == (uint64_t)i + 1);
  }
  CHECK_OK(selv_lock_release(l, heir));
  OP_GOT(&p, 1, SELV_E_NOT_RECOVERABLE);
  CHECK(strstr(p.detail, "estate") != NULL);
  for (i = 0; i < 3; i++) {
    WAITER_ENDED(&w[i], SELV_E_NOT_RECOVERABLE);
    CHECK(strstr(w[i].detail, "estate") != NULL);
  }
  CHECK_EQ_U64(lock_waiting(l), 0);
  is_lost();
  for (i = 0; i < 4; i++) CHECK_OK(selv_task_exit(task[i], NULL));
  end();
}

/* Counted acquires by the heir do not hide that the state is inconsistent. */
static void recursive_and_robust(void) {
  int made;
  for (made = 0; made < 2; made++) {
    begin(SELV_LOCK_RECURSIVE);
    CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
    CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
    CHECK_OK(selv_task_exit(owner, NULL));
    CHECK_STATUS(selv_lock_acquire(l, heir, SELV_FOREVER), SELV_OWNER_DIED);
    CHECK_EQ_U64(lock_stats(l).depth, 1); /* the dead owner's depth is gone */
    CHECK_OK(selv_lock_acquire(l, heir, SELV_FOREVER));
    if (made) CHECK_OK(selv_lock_make_consistent(l, heir));
    CHECK_OK(selv_lock_release(l, heir));
    CHECK_EQ_U64(selv_lock_owner(l), heir);
    CHECK_OK(selv_lock_release(l, heir));
    if (made) is_a_plain_lock();
    else is_lost();
    end();
  }
}

static void only_of_robust_locks(void) {
  selv_lock *plain = lock_named("plain", 0);
  selv_task t = task_named("t");
  CHECK_STATUS(selv_lock_make_consistent(plain, t), SELV_E_NOT_OWNER);
  CHECK_OK(selv_lock_acquire(plain, t, SELV_FOREVER));
  CHECK_STATUS(selv_lock_make_consistent(plain, t), SELV_E_INVAL);
  CHECK_OK(selv_lock_release(plain, t));
  CHECK_STATUS(selv_lock_make_consistent(NULL, t), SELV_E_NULL);
  CHECK_OK(selv_lock_free(plain));
  CHECK_OK(selv_task_exit(t, NULL));
}

int main(void) {
  CHECK_RUN(the_first_waiter_inherits);
  CHECK_RUN(the_first_waiter_is_asynchronous);
  CHECK_RUN(waiters_are_told_who_died);
  CHECK_RUN(an_orphan_is_inherited);
  CHECK_RUN(the_heir_dies);
  CHECK_RUN(the_heir_dies_with_all_in_order);
  CHECK_RUN(let_go_of_inconsistent_it_is_lost);
  CHECK_RUN(the_waiters_of_a_lost_lock);
  CHECK_RUN(recursive_and_robust);
  CHECK_RUN(only_of_robust_locks);
  return 0;
}

/* op_race.c: a release races a cancel, an abandon, an exit, a close of the one that it would grant the lock to. Whoever wins, there is one
 * outcome: one callback or, if abandoned, none; and the lock is with the one that was told so, or free, or broken if its owner ended. */
#include "waiters.h"

/* Two sides that do their half of each round at the same moment: the other thread, and the test itself. */
static struct {
  uint64_t round, ready, done, go_on;
  selv_lock *lock, *seen_lock;
  selv_task owner;
} race;

/* So that each gets to be first: the head start that the one or the other has is another one in each round. */
static void head_start(uint64_t spins) {
  while (spins-- > 0) __asm__ volatile("" ::: "memory");
}

/* The two meet only while both run: each looks for a while before it gives way. */
static uint64_t look_for_change(uint64_t *word, uint64_t from) {
  uint64_t now, looks = 0;
  while ((now = __atomic_load_n(word, __ATOMIC_ACQUIRE)) == from)
    if (++looks % 4000 == 0) sched_yield();
  return now;
}

/* The other side of the next round is to begin: 0 when there is none. */
static int begins(uint64_t *round) {
  *round = look_for_change(&race.round, *round);
  if (!race.go_on) return 0;
  __atomic_store_n(&race.ready, *round, __ATOMIC_RELEASE);
  head_start(*round * 531 % 1000);
  return 1;
}

static void *releases(void *unused) {
  uint64_t round = 0;
  (void)unused;
  while (begins(&round)) {
    CHECK_OK(selv_lock_release(race.lock, race.owner));
    __atomic_store_n(&race.done, round, __ATOMIC_RELEASE);
  }
  return NULL;
}

static void start_rounds(void *(*other_side)(void *), pthread_t *thread) {
  race.go_on = 1;
  race.round = race.ready = race.done = 0;
  CHECK(pthread_create(thread, NULL, other_side, NULL) == 0);
}

/* In every second round the other side is on its way before this one begins; in the rest this one does not wait for it. */
static void start_round(void) {
  uint64_t before = __atomic_load_n(&race.ready, __ATOMIC_ACQUIRE);
  __atomic_add_fetch(&race.round, 1, __ATOMIC_RELEASE);
  if (race.round % 2) (void)look_for_change(&race.ready, before);
  head_start(race.round * 37 % 500);
}

static void finish_round(void) { UNTIL(__atomic_load_n(&race.done, __ATOMIC_ACQUIRE) == race.round); }

static void end_rounds(pthread_t thread) {
  race.go_on = 0;
  __atomic_add_fetch(&race.round, 1, __ATOMIC_RELEASE);
  CHECK(pthread_join(thread, NULL) == 0);
}

enum { CANCEL, ABANDON, EXIT, CLOSE, KINDS };
static const char *const kind_name[KINDS] = { "cancelled", "abandoned", "exited", "closed" };

static int one_round(int kind, uint64_t i, selv_task task, selv_task behind) {
  selv_lock *l = race.lock = lock_named("prize", i / 2 % 2 ? SELV_LOCK_STRICT_FIFO : 0);
  int with_another = i % 3 == 0 && kind != CLOSE; /* somebody waits behind the one in question */
  selv_task_report report = SELV_TASK_REPORT_INIT;
  selv_status s = SELV_OK;
  op_probe p, q;
  int won;
  op_probe_init(&p);
  op_probe_init(&q);
  CHECK_OK(selv_lock_acquire(l, race.owner, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&p, l, task), SELV_PENDING);
  if (with_another) CHECK_STATUS(op_probe_lock(&q, l, behind), SELV_PENDING);
  start_round();
  switch (kind) {
    case CANCEL: s = selv_op_cancel(p.op); break;
    case ABANDON: s = selv_op_abandon(p.op); break;
    case EXIT: CHECK_OK(selv_task_exit(task, &report)); break;
    default: CHECK_OK(selv_lock_close(l)); break;
  }
  finish_round();
  if (kind == ABANDON && s == SELV_OK) {
    won = 1;
  } else { /* both sides have returned, and so has the callback, on one of them */
    CHECK_EQ_U64(check_tally_get(&p.called), 1);
    won = p.last.status < 0;
  }
  CHECK(s == SELV_OK || s == SELV_E_TOO_LATE);
  switch (kind) {
    case CANCEL:
      CHECK(won == (s == SELV_OK));
      if (won) CHECK_STATUS(p.last.status, SELV_E_CANCELLED);
      else CHECK_OK(selv_lock_release(l, task));
      break;
    case ABANDON:
      if (s == SELV_OK) CHECK_EQ_U64(check_tally_get(&p.called), 0);
      else CHECK_OK(selv_lock_release(l, task));
      break;
    case EXIT:
      if (won) CHECK_STATUS(p.last.status, SELV_E_CANCELLED);
      CHECK_EQ_U64(report.waits_cancelled + report.grants_passed_on, won);
      CHECK_EQ_U64(lock_stats(l).broken, !won); /* it had the lock, and ended with it */
      break;
    default:
      if (won) CHECK_STATUS(p.last.status, SELV_E_CLOSED);
      else CHECK_OK(selv_lock_release(l, task));
      break;
  }
  if (with_another) {
    int broke = kind == EXIT && !won;
    OP_GOT(&q, 1, broke ? SELV_E_BROKEN : SELV_OK);
    if (!broke) CHECK_OK(selv_lock_release(l, behind));
  }
  CHECK_EQ_U64(selv_lock_owner(l), 0);
  CHECK_EQ_U64(lock_waiting(l), 0);
  CHECK_OK(selv_lock_free(l));
  return won;
}

static void against_release(int kind) {
  uint64_t i, won = 0, rounds = check_scaled(2000);
  selv_task task = task_named("contender"), behind = task_named("behind");
  pthread_t thread;
  race.owner = task_named("owner");
  start_rounds(releases, &thread);
  for (i = 0; i < rounds; i++) {
    won += (uint64_t)one_round(kind, i, task, behind);
    if (kind == EXIT) task = task_named("contender");
  }
  end_rounds(thread);
  printf("%s in time: %llu of %llu\n", kind_name[kind], (unsigned long long)won, (unsigned long long)rounds);
  CHECK_OK(selv_task_exit(task, NULL));
  CHECK_OK(selv_task_exit(behind, NULL));
  CHECK_OK(selv_task_exit(race.owner, NULL));
}

static void cancel_against_release(void) { against_release(CANCEL); }
static void abandon_against_release(void) { against_release(ABANDON); }
static void exit_against_release(void) { against_release(EXIT); }
static void close_against_release(void) { against_release(CLOSE); }

/* ---- an exit and a release, before the eyes of a third one ---- */

static struct {
  selv_task task;
  uint64_t stop, seen[3]; /* would block, broken, had it */
} onlooker;

/* Tries the lock all the time: it finds the owner dead at any moment of its exit. */
static void *looks_on(void *unused) {
  uint64_t looks = 0;
  (void)unused;
  while (!__atomic_load_n(&onlooker.stop, __ATOMIC_ACQUIRE)) {
    selv_lock *l = __atomic_exchange_n(&race.seen_lock, NULL, __ATOMIC_ACQ_REL);
    if (l == NULL) {
      sched_yield();
      continue;
    }
    switch (selv_lock_try_acquire(l, onlooker.task)) {
      case SELV_E_WOULD_BLOCK: onlooker.seen[0]++; break;
      case SELV_E_BROKEN: onlooker.seen[1]++; break;
      case SELV_OK:
        onlooker.seen[2]++;
        CHECK_OK(selv_lock_release(l, onlooker.task));
        break;
      default: check_fail(__FILE__, __LINE__, "an onlooker got something else");
    }
    __atomic_store_n(&race.seen_lock, l, __ATOMIC_RELEASE);
    if (++looks % 64 == 0) sched_yield();
  }
  return NULL;
}

/* The lock is on its way to an operation whose task exits. Told CANCELLED, it never had the lock, which is whole; told OK, it had
 * it and has died with it. Never both, never neither, whoever looks on. */
static void exit_and_release_before_an_onlooker(void) {
  uint64_t i, rounds = check_scaled(2000), died = 0;
  pthread_t thread, third;
  onlooker.task = task_named("onlooker");
  race.owner = task_named("owner");
  start_rounds(releases, &thread);
  CHECK(pthread_create(&third, NULL, looks_on, NULL) == 0);
  for (i = 0; i < rounds; i++) {
    selv_task task = task_named("ends");
    selv_lock *taken = NULL;
    op_probe p;
    op_probe_init(&p);
    race.lock = lock_named("prize", i / 2 % 2 ? SELV_LOCK_STRICT_FIFO : 0);
    CHECK_OK(selv_lock_acquire(race.lock, race.owner, SELV_FOREVER));
    CHECK_STATUS(op_probe_lock(&p, race.lock, task), SELV_PENDING);
    __atomic_store_n(&race.seen_lock, race.lock, __ATOMIC_RELEASE);
    start_round();
    CHECK_OK(selv_task_exit(task, NULL));
    finish_round();
    UNTIL((taken = __atomic_exchange_n(&race.seen_lock, NULL, __ATOMIC_ACQ_REL)) == race.lock);
    CHECK_EQ_U64(check_tally_get(&p.called), 1);
    if (p.last.status == SELV_OK) {
      died++;
      CHECK_EQ_U64(lock_stats(race.lock).broken, 1);
      CHECK_EQ_U64(lock_stats(race.lock).breaks, 1);
    } else {
      CHECK_STATUS(p.last.status, SELV_E_CANCELLED);
      CHECK_EQ_U64(lock_stats(race.lock).broken, 0);
      CHECK_EQ_U64(lock_stats(race.lock).breaks, 0);
    }
    CHECK_EQ_U64(selv_lock_owner(race.lock), 0);
    CHECK_OK(selv_lock_free(race.lock));
  }
  end_rounds(thread);
  __atomic_store_n(&onlooker.stop, 1, __ATOMIC_RELEASE);
  CHECK(pthread_join(third, NULL) == 0);
  printf("died with it: %llu of %llu; the onlooker saw it held %llu, broken %llu, free %llu\n", (unsigned long long)died,
         (unsigned long long)rounds, (unsigned long long)onlooker.seen[0], (unsigned long long)onlooker.seen[1],
         (unsigned long long)onlooker.seen[2]);
  CHECK_OK(selv_task_exit(onlooker.task, NULL));
  CHECK_OK(selv_task_exit(race.owner, NULL));
}

/* ---- a submit that finds the owner dead before the owner's exit has come to this lock ---- */

static void heir_lets_go(op_probe *p, const selv_completed *c) {
  if (c->status == SELV_OWNER_DIED) CHECK_OK(selv_lock_make_consistent(race.lock, p->task));
  if (c->status >= 0) CHECK_OK(selv_lock_release(race.lock, p->task));
}

static void *dies(void *unused) {
  uint64_t round = 0;
  (void)unused;
  while (begins(&round)) {
    CHECK_OK(selv_task_exit(race.owner, NULL));
    __atomic_store_n(&race.done, round, __ATOMIC_RELEASE);
  }
  return NULL;
}

/* The one in line may be told by either thread; if it is by the submitting one, and it passes the lock on to the very operation that is being
 * submitted, that one's callback must still wait for the end of its call. The probes see to that. */
static void submit_against_the_owner_s_exit(void) {
  static const uint32_t kinds[] = { 0, SELV_LOCK_STRICT_FIFO, SELV_LOCK_ROBUST, SELV_LOCK_ROBUST | SELV_LOCK_STRICT_FIFO };
  uint64_t i, rounds = check_scaled(8000), found = 0;
  selv_task in_line = task_named("in line"), comes = task_named("comes");
  pthread_t thread;
  start_rounds(dies, &thread);
  for (i = 0; i < rounds; i++) {
    int robust = (kinds[i / 2 % 4] & SELV_LOCK_ROBUST) != 0;
    op_probe p, q;
    selv_status s;
    op_probe_init(&p);
    op_probe_init(&q);
    p.then = q.then = heir_lets_go;
    race.lock = lock_named("estate", kinds[i / 2 % 4]);
    race.owner = task_named("owner");
    CHECK_OK(selv_lock_acquire(race.lock, race.owner, SELV_FOREVER));
    CHECK_STATUS(op_probe_lock(&p, race.lock, in_line), SELV_PENDING);
    start_round();
    s = op_probe_lock(&q, race.lock, comes);
    finish_round();
    found += pthread_equal(p.on, pthread_self()) != 0;
    if (robust) {
      OP_GOT(&p, 1, SELV_OWNER_DIED);
      if (s == SELV_PENDING) OP_GOT(&q, 1, SELV_OK);
      else CHECK_OK(selv_lock_release(race.lock, comes));
    } else {
      OP_GOT(&p, 1, SELV_E_BROKEN);
      if (s == SELV_PENDING) OP_GOT(&q, 1, SELV_E_BROKEN);
      else CHECK_STATUS(s, SELV_E_BROKEN);
    }
    CHECK_EQ_U64(selv_lock_owner(race.lock), 0);
    CHECK_EQ_U64(lock_stats(race.lock).breaks, 1);
    CHECK_OK(selv_lock_free(race.lock));
  }
  end_rounds(thread);
  printf("found dead by the submit: %llu of %llu\n", (unsigned long long)found, (unsigned long long)rounds);
  CHECK_OK(selv_task_exit(in_line, NULL));
  CHECK_OK(selv_task_exit(comes, NULL));
}

/* ---- the same handle from many sides: one of them has its way ---- */

static struct {
  selv_op op;
  uint64_t round, ended, wins, stop;
} crowd;

static void *cancels(void *arg) {
  uint64_t round = 0;
  for (;;) {
    uint64_t now;
    selv_status s;
    while ((now = __atomic_load_n(&crowd.round, __ATOMIC_ACQUIRE)) == round) sched_yield();
    round = now;
    if (crowd.stop) return NULL;
    s = arg ? selv_op_abandon(crowd.op) : selv_op_cancel(crowd.op);
    CHECK(s == SELV_OK || s == SELV_E_TOO_LATE);
    if (s == SELV_OK) __atomic_add_fetch(&crowd.wins, arg ? 100 : 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&crowd.ended, 1, __ATOMIC_SEQ_CST);
  }
}

static void one_of_many_has_its_way(void) {
  uint64_t i, rounds = check_scaled(1000);
  selv_lock *l = lock_named("prize", 0);
  selv_task owner = task_named("owner"), task = task_named("contender");
  pthread_t thread[4];
  int t;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (t = 0; t < 4; t++) CHECK(pthread_create(&thread[t], NULL, cancels, t % 2 ? (void *)&crowd : NULL) == 0);
  for (i = 0; i < rounds; i++) {
    op_probe p;
    uint64_t before = crowd.wins, wins;
    op_probe_init(&p);
    CHECK_STATUS(op_probe_lock(&p, l, task), SELV_PENDING);
    crowd.op = p.op;
    __atomic_add_fetch(&crowd.round, 1, __ATOMIC_RELEASE);
    UNTIL(__atomic_load_n(&crowd.ended, __ATOMIC_ACQUIRE) == 4 * (i + 1));
    wins = crowd.wins - before;
    /* One cancel, or one abandon, or one abandon between a cancel and the callback that it was about to make. */
    if (wins != 1 && wins != 100 && wins != 101) check_fail(__FILE__, __LINE__, "%llu calls succeeded", (unsigned long long)wins);
    CHECK_EQ_U64(check_tally_get(&p.called), wins == 1);
    if (wins == 1) CHECK_STATUS(p.last.status, SELV_E_CANCELLED);
    CHECK_EQ_U64(lock_waiting(l), 0);
  }
  crowd.stop = 1;
  __atomic_add_fetch(&crowd.round, 1, __ATOMIC_RELEASE);
  for (t = 0; t < 4; t++) CHECK(pthread_join(thread[t], NULL) == 0);
  CHECK_OK(selv_lock_release(l, owner));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_task_exit(task, NULL));
}

int main(void) {
  CHECK_RUN(cancel_against_release);
  CHECK_RUN(abandon_against_release);
  CHECK_RUN(exit_against_release);
  CHECK_RUN(close_against_release);
  CHECK_RUN(exit_and_release_before_an_onlooker);
  CHECK_RUN(submit_against_the_owner_s_exit);
  CHECK_RUN(one_of_many_has_its_way);
  return 0;
}

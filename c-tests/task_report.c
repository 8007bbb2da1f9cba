/* task_report.c: what becomes of all that a task has and wants when it exits, and the report that lists each piece of it by name. */
#include "waiters.h"

/* The items of a report, as they came. */
typedef struct items {
  uint64_t of[8]; /* by what they are */
  char text[2048];
  int returned; /* the exit has returned: nothing may come any more */
} items;

static void notes(void *arg, uint32_t what, const char *name) {
  static const char *const word[] = { "?", "broken", "handed on", "cancelled", "passed on", "returned", "lot broken" };
  items *i = (items *)arg;
  size_t used = strlen(i->text);
  CHECK(!i->returned);
  CHECK(name != NULL);
  CHECK(what >= 1 && what <= 6);
  i->of[what]++;
  snprintf(i->text + used, sizeof i->text - used, "[%s %s]", word[what], name);
}

static void exits(selv_task t, items *i, selv_task_report *report) {
  memset(i, 0, sizeof *i);
  memset(report, 0, sizeof *report);
  report->struct_size = sizeof *report;
  report->each = notes;
  report->arg = i;
  CHECK_OK(selv_task_exit(t, report));
  i->returned = 1;
  CHECK_EQ_U64(report->locks_broken, i->of[SELV_REPORT_LOCK_BROKEN]);
  CHECK_EQ_U64(report->locks_handed_on, i->of[SELV_REPORT_LOCK_HANDED_ON]);
  CHECK_EQ_U64(report->waits_cancelled, i->of[SELV_REPORT_WAIT_CANCELLED]);
  CHECK_EQ_U64(report->grants_passed_on, i->of[SELV_REPORT_GRANT_PASSED_ON]);
  CHECK_EQ_U64(report->tokens_returned, i->of[SELV_REPORT_TOKEN_RETURNED]);
  CHECK_EQ_U64(report->lots_broken, i->of[SELV_REPORT_LOT_BROKEN]);
}

#define LISTED(items, part) \
  ((void)(strstr((items)->text, part) ? 0 : (check_fail(__FILE__, __LINE__, "%s is not in: %s", part, (items)->text), 0)))

static void a_task_with_nothing(void) {
  items i;
  selv_task_report report;
  exits(task_named("poor"), &i, &report);
  CHECK_STR(i.text, "");
}

static void all_that_a_task_can_have(void) {
  selv_task rich = task_named("rich"), other = task_named("other"), wants[3];
  selv_lock *broken = lock_named("vault", 0), *robust = lock_named("safe", SELV_LOCK_ROBUST), *wanted = lock_named("till", 0);
  selv_lock *guard = lock_named("guard", 0);
  selv_condition *bell = condition_on(guard, "bell");
  selv_semaphore_options few = SELV_SEMAPHORE_OPTIONS_INIT;
  selv_limiter_options one = SELV_LIMITER_OPTIONS_INIT;
  selv_event_options event_options = SELV_EVENT_OPTIONS_INIT;
  selv_parking_lot_options lot_options = SELV_PARKING_LOT_OPTIONS_INIT;
  selv_channel_options channel_options = SELV_CHANNEL_OPTIONS_INIT;
  selv_semaphore *semaphore = NULL;
  selv_limiter *limiter = NULL, *second = NULL;
  selv_event *event = NULL;
  selv_parking_lot *lot = NULL, *parked = NULL;
  selv_channel *channel = NULL;
  selv_completion completion;
  selv_task_report report;
  op_probe mine, heir, loser, borrower, blocked_in_lot;
  items i;
  op_probe_init(&mine);
  op_probe_init(&heir);
  op_probe_init(&loser);
  op_probe_init(&borrower);
  op_probe_init(&blocked_in_lot);
  few.name = "tickets";
  one.name = "desk";
  one.total = 1;
  event_options.name = "bang";
  lot_options.name = "lot";
  channel_options.name = "pipe";
  CHECK_OK(selv_semaphore_new(&few, &semaphore));
  CHECK_OK(selv_limiter_new(&one, &limiter));
  one.name = "chair";
  CHECK_OK(selv_limiter_new(&one, &second));
  CHECK_OK(selv_event_new(&event_options, &event));
  CHECK_OK(selv_parking_lot_new(&lot_options, &lot));
  lot_options.name = "park";
  CHECK_OK(selv_parking_lot_new(&lot_options, &parked));
  CHECK_OK(selv_channel_new(&channel_options, &channel));
  wants[0] = task_named("wants the vault");
  wants[1] = task_named("wants the safe");
  wants[2] = task_named("wants the desk");

  /* What it has, and who wants it. */
  CHECK_OK(selv_lock_acquire(broken, rich, SELV_FOREVER));
  CHECK_OK(selv_lock_acquire(robust, rich, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(limiter, rich, SELV_FOREVER));
  CHECK_OK(selv_limiter_acquire(second, rich, SELV_FOREVER)); /* nobody wants this one */
  CHECK_OK(selv_parking_lot_add_breaker(lot, rich));
  CHECK_OK(selv_parking_lot_add_breaker(lot, rich)); /* counted, and one lot all the same */
  CHECK_STATUS(op_probe_lock(&loser, broken, wants[0]), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&heir, robust, wants[1]), SELV_PENDING);
  completion = op_probe_completion(&borrower);
  CHECK_STATUS(selv_limiter_acquire_async(limiter, wants[2], &completion, NULL), SELV_PENDING);
  completion = op_probe_completion(&blocked_in_lot);
  CHECK_STATUS(selv_parking_lot_park_async(lot, other, &completion, NULL), SELV_PENDING);
  /* What it wants: one of each kind. */
  completion = op_probe_completion(&mine);
  CHECK_OK(selv_lock_acquire(wanted, other, SELV_FOREVER));
  CHECK_STATUS(selv_lock_acquire_async(wanted, rich, &completion, NULL), SELV_PENDING);
  CHECK_STATUS(selv_semaphore_acquire_async(semaphore, rich, 1, &completion, NULL), SELV_PENDING);
  CHECK_STATUS(selv_event_wait_async(event, rich, &completion, NULL), SELV_PENDING);
  CHECK_STATUS(selv_parking_lot_park_async(parked, rich, &completion, NULL), SELV_PENDING);
  CHECK_STATUS(selv_channel_recv_async(channel, rich, &completion, NULL), SELV_PENDING);
  CHECK_OK(selv_lock_acquire(guard, rich, SELV_FOREVER));
  CHECK_STATUS(selv_condition_wait_async(bell, rich, &completion, NULL), SELV_PENDING);

  exits(rich, &i, &report);
  CHECK_EQ_U64(report.locks_broken, 1);
  LISTED(&i, "[broken vault]");
  CHECK_EQ_U64(report.locks_handed_on, 1);
  LISTED(&i, "[handed on safe]");
  CHECK_EQ_U64(report.tokens_returned, 2);
  LISTED(&i, "[returned desk]");
  LISTED(&i, "[returned chair]");
  CHECK_EQ_U64(report.lots_broken, 1);
  LISTED(&i, "[lot broken lot]");
  CHECK_EQ_U64(report.waits_cancelled, 6);
  LISTED(&i, "[cancelled till]");
  LISTED(&i, "[cancelled tickets]");
  LISTED(&i, "[cancelled bang]");
  LISTED(&i, "[cancelled park]");
  LISTED(&i, "[cancelled pipe]");
  LISTED(&i, "[cancelled bell]");
  CHECK_EQ_U64(report.grants_passed_on, 0);

  OP_GOT(&loser, 1, SELV_E_BROKEN);
  OP_GOT(&heir, 1, SELV_OWNER_DIED);
  OP_GOT(&borrower, 1, SELV_OK);
  OP_GOT(&blocked_in_lot, 1, SELV_E_BROKEN);
  OP_GOT(&mine, 6, SELV_E_CANCELLED);
  CHECK_EQ_U64(selv_lock_owner(robust), wants[1]);
  CHECK_EQ_U64(lock_waiting(wanted) + semaphore_waiting(semaphore) + event_waiting(event) + parking_lot_waiting(parked), 0);

  CHECK_OK(selv_lock_make_consistent(robust, wants[1]));
  CHECK_OK(selv_lock_release(robust, wants[1]));
  CHECK_OK(selv_lock_release(wanted, other));
  CHECK_OK(selv_limiter_release(limiter, wants[2]));
  CHECK_OK(selv_condition_free(bell));
  CHECK_OK(selv_lock_free(guard));
  CHECK_OK(selv_lock_free(broken));
  CHECK_OK(selv_lock_free(robust));
  CHECK_OK(selv_lock_free(wanted));
  CHECK_OK(selv_semaphore_free(semaphore));
  CHECK_OK(selv_limiter_free(limiter));
  CHECK_OK(selv_limiter_free(second));
  CHECK_OK(selv_event_free(event));
  CHECK_OK(selv_parking_lot_free(lot));
  CHECK_OK(selv_parking_lot_free(parked));
  CHECK_OK(selv_channel_free(channel));
  CHECK_OK(selv_task_exit(other, NULL));
  CHECK_OK(selv_task_exit(wants[0], NULL));
  CHECK_OK(selv_task_exit(wants[1], NULL));
  CHECK_OK(selv_task_exit(wants[2], NULL));
}

/* Granted, but its callback has not begun: the grant goes to the next one, and the lock is whole. */
static struct {
  selv_lock *lock;
  selv_task task;
  items seen;
  selv_task_report report;
} granted;

static void exits_while_granted(op_probe *p, const selv_completed *c) {
  CHECK_OK(c->status);
  CHECK_OK(selv_lock_release(granted.lock, p->task));
  CHECK_EQ_U64(selv_lock_owner(granted.lock), granted.task);
  exits(granted.task, &granted.seen, &granted.report);
}

static void an_unconsumed_grant(void) {
  selv_task first = task_named("first"), next = task_named("next");
  op_probe p, q, r;
  granted.lock = lock_named("baton", 0);
  granted.task = task_named("fleeting");
  op_probe_init(&p);
  op_probe_init(&q);
  op_probe_init(&r);
  p.then = exits_while_granted;
  CHECK_OK(selv_lock_acquire(granted.lock, SELV_TASK_CURRENT, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&p, granted.lock, first), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&q, granted.lock, granted.task), SELV_PENDING);
  CHECK_STATUS(op_probe_lock(&r, granted.lock, next), SELV_PENDING);
  CHECK_OK(selv_lock_release(granted.lock, SELV_TASK_CURRENT));
  CHECK_EQ_U64(granted.report.grants_passed_on, 1);
  CHECK_EQ_U64(granted.report.locks_broken + granted.report.waits_cancelled, 0);
  CHECK_STR(granted.seen.text, "[passed on baton]");
  OP_GOT(&q, 1, SELV_E_CANCELLED);
  OP_GOT(&r, 1, SELV_OK);
  CHECK_EQ_U64(selv_lock_owner(granted.lock), next);
  CHECK_OK(selv_lock_release(granted.lock, next));
  CHECK_OK(selv_lock_free(granted.lock));
  CHECK_OK(selv_task_exit(first, NULL));
  CHECK_OK(selv_task_exit(next, NULL));
}

/* Objects without a name are listed, too. */
static void without_names(void) {
  selv_lock *l = NULL;
  selv_task t = task_named(NULL), other = task_named(NULL);
  selv_task_report report;
  op_probe p;
  items i;
  op_probe_init(&p);
  CHECK_OK(selv_lock_new(NULL, &l));
  CHECK_OK(selv_lock_acquire(l, other, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&p, l, t), SELV_PENDING);
  exits(t, &i, &report);
  CHECK_STR(i.text, "[cancelled ]");
  OP_GOT(&p, 1, SELV_E_CANCELLED);
  CHECK_OK(selv_lock_release(l, other));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(other, NULL));
}

/* A blocking wait of a task that another thread ends (a host should not, but it must not hang for it). */
static void a_blocking_wait(void) {
  selv_lock *l = lock_named("till", 0);
  selv_task t = task_named("ended from elsewhere"), owner = task_named("owner");
  selv_task_report report;
  waiter w;
  items i;
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  waiter_start(&w, waiter_lock, l, t);
  UNTIL(lock_waiting(l) == 1);
  exits(t, &i, &report);
  CHECK_EQ_U64(report.waits_cancelled, 1);
  CHECK_STR(i.text, "[cancelled till]");
  WAITER_ENDED(&w, SELV_E_CANCELLED);
  CHECK_OK(selv_lock_release(l, owner));
  CHECK_OK(selv_lock_free(l));
  CHECK_OK(selv_task_exit(owner, NULL));
}

/* The report comes after everything is done: its callback may use the library, and sees how things are now. */
static selv_lock *looked_at;

static void looks(void *arg, uint32_t what, const char *name) {
  selv_task t = task_named("looker");
  (void)what;
  CHECK_STR(name, "looked at");
  CHECK_STATUS(selv_lock_try_acquire(looked_at, t), SELV_E_BROKEN);
  CHECK_OK(selv_lock_repair(looked_at, t));
  CHECK_OK(selv_lock_release(looked_at, t));
  CHECK_OK(selv_task_exit(t, NULL));
  ++*(int *)arg;
}

static void the_report_may_call_the_library(void) {
  selv_task t = task_named("gone"), other = task_named("other");
  selv_task_report report = SELV_TASK_REPORT_INIT;
  op_probe p;
  int items_seen = 0;
  op_probe_init(&p);
  looked_at = lock_named("looked at", 0);
  report.each = looks;
  report.arg = &items_seen;
  CHECK_OK(selv_lock_acquire(looked_at, t, SELV_FOREVER));
  CHECK_STATUS(op_probe_lock(&p, looked_at, other), SELV_PENDING);
  CHECK_OK(selv_task_exit(t, &report));
  CHECK_EQ_U64(items_seen, 1);
  OP_GOT(&p, 1, SELV_E_BROKEN);
  CHECK_OK(selv_lock_free(looked_at));
  CHECK_OK(selv_task_exit(other, NULL));
}

int main(void) {
  CHECK_RUN(a_task_with_nothing);
  CHECK_RUN(all_that_a_task_can_have);
  CHECK_RUN(an_unconsumed_grant);
  CHECK_RUN(without_names);
  CHECK_RUN(a_blocking_wait);
  CHECK_RUN(the_report_may_call_the_library);
  return 0;
}

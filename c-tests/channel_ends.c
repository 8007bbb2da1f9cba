/* channel_ends.c: timeout, cancel, abandon, interrupt, task exit and close of the wait of a receiver and of a sender; a receiver
 * that gives up takes no item with it, a sender that gives up leaves none behind. */
#include "waits_end.h"

static uint64_t receivers(void *o) { return channel_stats((const selv_channel *)o).receivers_waiting; }
static uint64_t senders(void *o) { return channel_stats((const selv_channel *)o).senders_waiting; }
static uint64_t timeouts(void *o) { return channel_stats((const selv_channel *)o).timeouts; }
static uint64_t cancelled(void *o) { return channel_stats((const selv_channel *)o).cancelled; }
static selv_status close_it(void *o) { return selv_channel_close((selv_channel *)o); }
static selv_status free_it(void *o) { return selv_channel_free((selv_channel *)o); }

/* ---- a receiver of an empty channel, given an item ---- */

static void *make_empty(void) { return channel_of(0, 0); }
static selv_status submit_recv(op_probe *p, void *object, selv_task task) { return op_recv(p, (selv_channel *)object, task); }
static void give_an_item(void *object) { CHECK_OK(item_send_nowait((selv_channel *)object, 1)); }
static void nothing_left(void *object, selv_task task) {
  (void)task;
  CHECK_EQ_U64(channel_stats((const selv_channel *)object).queued, 0);
}

static const waitable receiver = {"items", make_empty, waiter_recv, submit_recv, op_probe_take, give_an_item, nothing_left,
                                  receivers, timeouts, cancelled, close_it, free_it, 0, 1};

/* ---- a sender at a rendezvous, given a receiver ---- */

static void *make_rendezvous(void) { return channel_of(0, SELV_CHANNEL_RENDEZVOUS); }
static selv_status submit_send(op_probe *p, void *object, selv_task task) {
  return op_send(p, (selv_channel *)object, task, 1);
}
static void take_an_item(void *object) {
  uint64_t number;
  CHECK_OK(item_recv_nowait((selv_channel *)object, &number));
  CHECK_EQ_U64(number, 1);
}

static const waitable sender = {"items", make_rendezvous, waiter_send, submit_send, NULL, take_an_item, NULL, senders,
                                timeouts, cancelled, close_it, free_it, 0, 0};

/* ---- a sender that gave up ---- */

static void no_item_is_left_behind(void) {
  selv_channel *ch = channel_of(1, 0);
  selv_task t = task_named("sender");
  uint64_t number = 9;
  op_probe cancelled_op, abandoned, last;
  waiter w;
  op_probe_init(&cancelled_op);
  op_probe_init(&abandoned);
  op_probe_init(&last);
  CHECK_OK(item_send_nowait(ch, 1));
  CHECK_STATUS(op_send(&cancelled_op, ch, SELV_TASK_CURRENT, 2), SELV_PENDING);
  CHECK_STATUS(op_send(&abandoned, ch, SELV_TASK_CURRENT, 3), SELV_PENDING);
  waiter_start_n(&w, waiter_send, ch, t, 4);
  UNTIL(channel_stats(ch).senders_waiting == 3);
  CHECK_STATUS(op_send(&last, ch, SELV_TASK_CURRENT, 5), SELV_PENDING);
  CHECK_OK(selv_op_cancel(cancelled_op.op));
  CHECK_OK(selv_op_abandon(abandoned.op));
  CHECK_OK(selv_task_exit(t, NULL));
  WAITER_ENDED(&w, SELV_E_CANCELLED);
  CHECK_STATUS(selv_channel_send(ch, SELV_TASK_CURRENT, &number, sizeof number, 5 * CHECK_MS), SELV_E_TIMEDOUT);
  CHECK_OK(item_recv_nowait(ch, &number));
  CHECK_EQ_U64(number, 1);
  OP_GOT(&last, 1, SELV_OK);
  CHECK_OK(item_recv_nowait(ch, &number));
  CHECK_EQ_U64(number, 5);
  CHECK_STATUS(item_recv_nowait(ch, &number), SELV_E_WOULD_BLOCK);
  CHECK_EQ_U64(channel_stats(ch).sent, 2);
  OP_GOT(&cancelled_op, 1, SELV_E_CANCELLED);
  CHECK_EQ_U64(check_tally_get(&abandoned.called), 0);
  CHECK_OK(selv_channel_free(ch));
}

/* ---- an item that was handed over and not yet taken ---- */

/* In the first receiver's callback the second is given an item that its callback has not seen yet; then it goes. */
static struct {
  uint32_t kind; /* flags of the channel */
  int by_exit;
  op_probe first, second;
  selv_task gone;
  exit_probe ended;
} untaken;

static void second_goes(op_probe *p, const selv_completed *c) {
  selv_channel *ch = (selv_channel *)p->object;
  op_probe_take(p, c);
  CHECK_OK(item_send_nowait(ch, 2));                                                     /* the second's */
  CHECK_STATUS(item_send_nowait(ch, 3), untaken.kind ? SELV_E_WOULD_BLOCK : SELV_OK); /* behind it */
  if (untaken.by_exit)
    untaken.ended = task_ends(untaken.gone);
  else
    CHECK_OK(selv_op_abandon(untaken.second.op));
}

static void an_untaken_item(uint64_t capacity, uint32_t flags, int by_exit, int closed) {
  selv_channel *ch = channel_of(capacity, flags);
  uint64_t number = 0;
  waiter w;
  memset(&untaken, 0, sizeof untaken);
  untaken.kind = flags;
  untaken.by_exit = by_exit;
  untaken.gone = task_named("gone");
  op_probe_init(&untaken.first);
  op_probe_init(&untaken.second);
  untaken.first.then = second_goes;
  untaken.second.then = op_probe_take;
  CHECK_STATUS(op_recv(&untaken.first, ch, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_STATUS(op_recv(&untaken.second, ch, untaken.gone), SELV_PENDING);
  CHECK_OK(item_send_nowait(ch, 1));
  OP_GOT(&untaken.first, 1, SELV_OK);
  CHECK_EQ_U64(untaken.first.n, 1);
  if (by_exit) {
    OP_GOT(&untaken.second, 1, SELV_E_CANCELLED);
    CHECK_EQ_U64(untaken.ended.report.grants_passed_on, 1);
  } else {
    CHECK_OK(selv_task_exit(untaken.gone, NULL));
    CHECK_EQ_U64(check_tally_get(&untaken.second.called), 0);
  }
  if (closed) CHECK_OK(selv_channel_close(ch));
  waiter_start(&w, waiter_recv, ch, 0); /* it is there, and in front */
  WAITER_ENDED(&w, SELV_OK);
  CHECK_EQ_U64(w.n, 2);
  if (!flags) {
    CHECK_OK(item_recv_nowait(ch, &number));
    CHECK_EQ_U64(number, 3);
  }
  CHECK_STATUS(item_recv_nowait(ch, &number), closed ? SELV_E_CLOSED : SELV_E_WOULD_BLOCK);
  if (!closed && capacity) { /* and takes nobody's place any more */
    CHECK_OK(item_send_nowait(ch, 4));
    CHECK_STATUS(item_send_nowait(ch, 5), SELV_E_WOULD_BLOCK);
    CHECK_OK(item_recv_nowait(ch, &number));
  }
  CHECK_OK(selv_channel_free(ch));
}

static void an_untaken_item_goes_back(void) {
  int by_exit, closed;
  for (by_exit = 0; by_exit < 2; by_exit++) {
    for (closed = 0; closed < 2; closed++) {
      an_untaken_item(0, 0, by_exit, closed);
      an_untaken_item(1, 0, by_exit, closed); /* full by then: it must go back all the same */
      an_untaken_item(0, SELV_CHANNEL_RENDEZVOUS, by_exit, closed);
    }
  }
}

/* Several at once: they go back in the order in which they came. */
#define UNTAKEN 4

static struct {
  int way; /* 0: the task of all ends; 1: abandoned from the first on; 2: from the last on */
  op_probe first, others[UNTAKEN];
  selv_task gone;
} several;

static void several_go(op_probe *p, const selv_completed *c) {
  uint64_t i;
  op_probe_take(p, c);
  for (i = 0; i < UNTAKEN + 2; i++) CHECK_OK(item_send_nowait((selv_channel *)p->object, 2 + i)); /* two more than they are */
  if (several.way == 0) CHECK_EQ_U64(task_ends(several.gone).report.grants_passed_on, UNTAKEN);
  for (i = 0; i < UNTAKEN && several.way; i++)
    CHECK_OK(selv_op_abandon(several.others[several.way == 1 ? i : UNTAKEN - 1 - i].op));
}

static void several_untaken_items_keep_their_order(void) {
  for (several.way = 0; several.way < 3; several.way++) {
    selv_channel *ch = channel_of(0, 0);
    uint64_t i, number = 0;
    several.gone = task_named("gone");
    op_probe_init(&several.first);
    several.first.then = several_go;
    CHECK_STATUS(op_recv(&several.first, ch, SELV_TASK_CURRENT), SELV_PENDING);
    for (i = 0; i < UNTAKEN; i++) {
      op_probe_init(&several.others[i]);
      several.others[i].then = op_probe_take;
      CHECK_STATUS(op_recv(&several.others[i], ch, several.gone), SELV_PENDING);
    }
    CHECK_OK(item_send_nowait(ch, 1));
    OP_GOT(&several.first, 1, SELV_OK);
    for (i = 0; i < UNTAKEN; i++) {
      if (several.way == 0)
        OP_GOT(&several.others[i], 1, SELV_E_CANCELLED);
      else
        CHECK_EQ_U64(check_tally_get(&several.others[i].called), 0);
    }
    CHECK_EQ_U64(channel_stats(ch).queued, UNTAKEN + 2);
    for (i = 0; i < UNTAKEN + 2; i++) {
      CHECK_OK(item_recv_nowait(ch, &number));
      CHECK_EQ_U64(number, 2 + i);
    }
    CHECK_EQ_U64(channel_stats(ch).sent, channel_stats(ch).received);
    if (several.way) CHECK_OK(selv_task_exit(several.gone, NULL));
    CHECK_OK(selv_channel_free(ch));
  }
}

int main(void) {
  printf("a receiver\n");
  waits_end_all(&receiver);
  printf("a sender\n");
  waits_end_all(&sender);
  CHECK_RUN(no_item_is_left_behind);
  CHECK_RUN(an_untaken_item_goes_back);
  CHECK_RUN(several_untaken_items_keep_their_order);
  return 0;
}

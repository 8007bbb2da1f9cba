/* channel_async.c: the callback of a receiver owns the bytes; a receive that finds its item at once is still told by its callback,
 * on a worker, and never inside the call. */
#include "sync_probe.h"

static check_tally kept = CHECK_TALLY_INIT;
static void *keeper_data;
static size_t keeper_len;

static void keep(op_probe *p, const selv_completed *c) {
  (void)p;
  CHECK_OK(c->status);
  keeper_data = c->data;
  keeper_len = c->len;
  check_tally_add(&kept, 1);
}

static void the_callback_owns_the_bytes(void) {
  selv_channel *ch = channel_of(0, 0);
  op_probe p;
  op_probe_init(&p);
  p.then = keep;
  CHECK_STATUS(op_recv(&p, ch, SELV_TASK_CURRENT), SELV_PENDING);
  CHECK_OK(selv_channel_send_nowait(ch, "kept", 5));
  CHECK_WAIT(&kept, 1);
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_channel_free(ch)); /* the bytes are the host's, for as long as it likes */
  CHECK_EQ_U64(keeper_len, 5);
  CHECK_STR((char *)keeper_data, "kept");
  selv_bytes_free(keeper_data);
}

static const selv_worker *called_on;

static void on_a_worker(op_probe *p, const selv_completed *c) {
  called_on = selv_worker_current();
  op_probe_take(p, c);
}

static void an_item_that_is_there(void) {
  selv_channel *ch = channel_of(0, 0);
  uint64_t i;
  for (i = 0; i < 50; i++) {
    op_probe p;
    op_probe_init(&p);
    p.then = on_a_worker; /* op_probe_fn checks that the call is over */
    called_on = NULL;
    CHECK_OK(item_send_nowait(ch, i));
    CHECK_STATUS(op_recv(&p, ch, SELV_TASK_CURRENT), SELV_PENDING);
    CHECK(p.op != 0);
    OP_GOT(&p, 1, SELV_OK);
    CHECK_EQ_U64(p.n, i);
    CHECK_EQ_U64(p.last.op, p.op);
    CHECK(called_on != NULL);
    CHECK(!pthread_equal(p.on, pthread_self()));
    CHECK_STATUS(selv_op_cancel(p.op), SELV_E_TOO_LATE);
  }
  CHECK_EQ_U64(channel_stats(ch).queued, 0);
  CHECK_OK(selv_channel_free(ch));
}

/* The same from a sender's hands: its operation completes as well. */
static void an_item_in_a_senders_hands(void) {
  selv_channel *ch = channel_of(0, SELV_CHANNEL_RENDEZVOUS);
  op_probe sent, received;
  waiter w;
  op_probe_init(&sent);
  op_probe_init(&received);
  received.then = op_probe_take;
  CHECK_STATUS(op_send(&sent, ch, SELV_TASK_CURRENT, 8), SELV_PENDING);
  CHECK_STATUS(op_recv(&received, ch, SELV_TASK_CURRENT), SELV_PENDING);
  OP_GOT(&sent, 1, SELV_OK);
  OP_GOT(&received, 1, SELV_OK);
  CHECK_EQ_U64(received.n, 8);
  waiter_start_n(&w, waiter_send, ch, 0, 9);
  UNTIL(channel_stats(ch).senders_waiting == 1);
  CHECK_STATUS(op_recv(&received, ch, SELV_TASK_CURRENT), SELV_PENDING);
  WAITER_ENDED(&w, SELV_OK);
  OP_GOT(&received, 2, SELV_OK);
  CHECK_EQ_U64(received.n, 9);
  CHECK_OK(selv_channel_free(ch));
}

/* A callback that receives the next item, and one that sends: a chain, which neither nests nor loses its order. */
static uint64_t expected, last_number;

static void receive_the_next(op_probe *p, const selv_completed *c) {
  uint64_t number;
  CHECK_OK(c->status);
  number = item_number(c->data, c->len);
  CHECK_EQ_U64(number, expected);
  expected++;
  if (number != last_number) {
    /* The next callback may run before this call returns: nothing of the probe is written here. */
    selv_completion completion = op_probe_completion(p);
    CHECK_STATUS(selv_channel_recv_async((selv_channel *)p->object, p->task, &completion, NULL), SELV_PENDING);
  }
}

static void a_chain_of_receives(void) {
  selv_channel *ch = channel_of(0, 0);
  uint64_t i, many = check_scaled(2000);
  selv_task t = task_named("receiver"); /* in a callback, SELV_TASK_CURRENT would be the worker's */
  selv_completion completion;
  op_probe p;
  op_probe_init(&p);
  p.then = receive_the_next;
  expected = 0;
  last_number = 2 * many - 1;
  for (i = 0; i < many; i++) CHECK_OK(item_send_nowait(ch, i)); /* the first half is there */
  p.object = ch;
  p.task = t;
  completion = op_probe_completion(&p);
  CHECK_STATUS(selv_channel_recv_async(ch, t, &completion, NULL), SELV_PENDING);
  for (; i < 2 * many; i++) CHECK_OK(item_send_nowait(ch, i)); /* the second comes meanwhile */
  OP_GOT(&p, 2 * many, SELV_OK);
  CHECK_EQ_U64(expected, 2 * many);
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_EQ_U64(channel_stats(ch).queued, 0);
  CHECK_OK(selv_channel_free(ch));
}

/* Cancelled or abandoned between its item and its callback: told so, or else the item goes back. */
static void cancel_of_an_item_that_is_there(void) {
  selv_channel *ch = channel_of(0, 0);
  uint64_t i, number, rounds = check_scaled(500), taken = 0;
  for (i = 0; i < rounds; i++) {
    selv_status gone;
    op_probe p;
    op_probe_init(&p);
    p.then = op_probe_take;
    CHECK_OK(item_send_nowait(ch, i));
    CHECK_STATUS(op_recv(&p, ch, SELV_TASK_CURRENT), SELV_PENDING);
    gone = i % 2 ? selv_op_cancel(p.op) : selv_op_abandon(p.op);
    CHECK(gone == SELV_OK || gone == SELV_E_TOO_LATE);
    if (gone == SELV_OK && i % 2) OP_GOT(&p, 1, SELV_E_CANCELLED);
    if (gone == SELV_OK) {
      CHECK_OK(item_recv_nowait(ch, &number));
      CHECK_EQ_U64(number, i);
    } else {
      OP_GOT(&p, 1, SELV_OK);
      CHECK_EQ_U64(p.n, i);
      taken++;
    }
    CHECK_EQ_U64(channel_stats(ch).queued, 0);
  }
  printf("%llu of %llu were told before they were withdrawn\n", (unsigned long long)taken, (unsigned long long)rounds);
  CHECK_OK(selv_channel_free(ch));
}

int main(void) {
  CHECK_RUN(the_callback_owns_the_bytes);
  CHECK_RUN(an_item_that_is_there);
  CHECK_RUN(an_item_in_a_senders_hands);
  CHECK_RUN(a_chain_of_receives);
  CHECK_RUN(cancel_of_an_item_that_is_there);
  return 0;
}

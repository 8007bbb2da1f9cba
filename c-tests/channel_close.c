/* channel_close.c: after close nothing goes in, and what is in comes out, then CLOSED; senders that waited are told that their item
 * was not sent, receivers that waited that none will come. */
#include "sync_probe.h"

static void what_is_queued_comes_out(void) {
  selv_channel *ch = channel_of(3, 0);
  uint64_t number = 0;
  op_probe sender, received;
  waiter blocked;
  op_probe_init(&sender);
  op_probe_init(&received);
  received.then = op_probe_take;
  CHECK_OK(item_send_nowait(ch, 1));
  CHECK_OK(item_send_nowait(ch, 2));
  CHECK_OK(item_send_nowait(ch, 3));
  CHECK_STATUS(op_send(&sender, ch, SELV_TASK_CURRENT, 4), SELV_PENDING);
  waiter_start_n(&blocked, waiter_send, ch, 0, 5);
  UNTIL(channel_stats(ch).senders_waiting == 2);
  CHECK_OK(selv_channel_close(ch));
  OP_GOT(&sender, 1, SELV_E_CLOSED);
  WAITER_ENDED(&blocked, SELV_E_CLOSED);
  CHECK_EQ_U64(channel_stats(ch).closed, 1);
  CHECK_EQ_U64(channel_stats(ch).queued, 3);
  CHECK_STATUS(item_send_nowait(ch, 6), SELV_E_CLOSED);
  CHECK_LAST_ERROR_HAS("items");
  CHECK_STATUS(selv_channel_send(ch, SELV_TASK_CURRENT, &number, sizeof number, SELV_FOREVER), SELV_E_CLOSED);
  CHECK_STATUS(op_send(&sender, ch, SELV_TASK_CURRENT, 7), SELV_E_CLOSED);
  CHECK_OK(item_recv_nowait(ch, &number));
  CHECK_EQ_U64(number, 1);
  waiter_start(&blocked, waiter_recv, ch, 0);
  WAITER_ENDED(&blocked, SELV_OK);
  CHECK_EQ_U64(blocked.n, 2);
  CHECK_STATUS(op_recv(&received, ch, SELV_TASK_CURRENT), SELV_PENDING);
  OP_GOT(&received, 1, SELV_OK);
  CHECK_EQ_U64(received.n, 3);
  CHECK_STATUS(item_recv_nowait(ch, &number), SELV_E_CLOSED); /* neither 4 nor 5 */
  waiter_start(&blocked, waiter_recv, ch, 0);
  WAITER_ENDED(&blocked, SELV_E_CLOSED);
  CHECK_STATUS(op_recv(&received, ch, SELV_TASK_CURRENT), SELV_E_CLOSED);
  CHECK_OK(selv_channel_close(ch));
  CHECK_EQ_U64(channel_stats(ch).sent, 3);
  CHECK_EQ_U64(channel_stats(ch).received, 3);
  CHECK_OK(selv_channel_free(ch));
  OP_GOT(&sender, 1, SELV_E_CLOSED);
}

static void receivers_are_told(uint32_t flags) {
  selv_channel *ch = channel_of(0, flags);
  op_probe p;
  waiter w;
  op_probe_init(&p);
  p.then = op_probe_take;
  CHECK_STATUS(op_recv(&p, ch, SELV_TASK_CURRENT), SELV_PENDING);
  waiter_start(&w, waiter_recv, ch, 0);
  UNTIL(channel_stats(ch).receivers_waiting == 2);
  CHECK_OK(selv_channel_close(ch));
  OP_GOT(&p, 1, SELV_E_CLOSED);
  WAITER_ENDED(&w, SELV_E_CLOSED);
  CHECK_HAS(w.detail, "items");
  CHECK_OK(selv_channel_free(ch));
}

static void receivers_of_a_channel(void) { receivers_are_told(0); }
static void receivers_at_a_rendezvous(void) { receivers_are_told(SELV_CHANNEL_RENDEZVOUS); }

/* Freed with items in it, closed or not: they go with it. BUSY is for those who wait. */
static void free_with_items_in_it(void) {
  selv_channel *ch = channel_of(0, 0);
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(item_send_nowait(ch, 1));
  CHECK_OK(selv_channel_free(ch));
  ch = channel_of(1, 0);
  CHECK_OK(item_send_nowait(ch, 1));
  CHECK_STATUS(op_send(&p, ch, SELV_TASK_CURRENT, 2), SELV_PENDING);
  CHECK_STATUS(selv_channel_free(ch), SELV_E_BUSY);
  CHECK_OK(selv_channel_close(ch));
  OP_GOT(&p, 1, SELV_E_CLOSED);
  CHECK_OK(selv_channel_free(ch));
}

int main(void) {
  CHECK_RUN(what_is_queued_comes_out);
  CHECK_RUN(receivers_of_a_channel);
  CHECK_RUN(receivers_at_a_rendezvous);
  CHECK_RUN(free_with_items_in_it);
  return 0;
}

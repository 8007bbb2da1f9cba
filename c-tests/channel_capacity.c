/* channel_capacity.c: bounded, unbounded, and without any buffer; and what an item may be: nothing at all, or a megabyte, the
 * channel's own copy from the moment of the call. */
#include "sync_probe.h"

static void bounded(void) {
  selv_channel *ch = channel_of(2, 0);
  uint64_t number;
  CHECK_EQ_U64(channel_stats(ch).capacity, 2);
  CHECK_STATUS(item_recv_nowait(ch, &number), SELV_E_WOULD_BLOCK);
  CHECK_OK(item_send_nowait(ch, 1));
  CHECK_OK(item_send_nowait(ch, 2));
  CHECK_STATUS(item_send_nowait(ch, 3), SELV_E_WOULD_BLOCK);
  CHECK_LAST_ERROR_HAS("items");
  CHECK_STATUS(selv_channel_send(ch, SELV_TASK_CURRENT, &number, sizeof number, 0), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(channel_stats(ch).queued, 2);
  CHECK_OK(item_recv_nowait(ch, &number));
  CHECK_EQ_U64(number, 1);
  CHECK_OK(item_send_nowait(ch, 3));
  CHECK_OK(item_recv_nowait(ch, &number));
  CHECK_EQ_U64(number, 2);
  CHECK_OK(item_recv_nowait(ch, &number));
  CHECK_EQ_U64(number, 3);
  CHECK_EQ_U64(channel_stats(ch).sent, 3);
  CHECK_EQ_U64(channel_stats(ch).received, 3);
  CHECK_OK(selv_channel_free(ch));
}

static void unbounded(void) {
  selv_channel *ch = NULL;
  uint64_t many = check_scaled(50000), i, number;
  CHECK_OK(selv_channel_new(NULL, &ch)); /* the default */
  for (i = 0; i < many; i++) CHECK_OK(item_send_nowait(ch, i));
  CHECK_EQ_U64(channel_stats(ch).queued, many);
  for (i = 0; i < many; i++) {
    CHECK_OK(item_recv_nowait(ch, &number));
    CHECK_EQ_U64(number, i);
  }
  CHECK_EQ_U64(channel_stats(ch).queued, 0);
  CHECK_OK(selv_channel_free(ch));
}

static void rendezvous(void) {
  selv_channel *ch = channel_of(0, SELV_CHANNEL_RENDEZVOUS);
  uint64_t number = 5;
  waiter sender, receiver;
  op_probe p;
  CHECK_STATUS(item_send_nowait(ch, 1), SELV_E_WOULD_BLOCK);
  CHECK_STATUS(selv_channel_send(ch, SELV_TASK_CURRENT, &number, sizeof number, 0), SELV_E_TIMEDOUT);
  CHECK_STATUS(selv_channel_send(ch, SELV_TASK_CURRENT, &number, sizeof number, 5 * CHECK_MS), SELV_E_TIMEDOUT);
  CHECK_STATUS(item_recv_nowait(ch, &number), SELV_E_WOULD_BLOCK); /* that timed out: it left nothing behind */
  waiter_start(&receiver, waiter_recv, ch, 0);
  UNTIL(channel_stats(ch).receivers_waiting == 1);
  CHECK_OK(item_send_nowait(ch, 2)); /* into the waiting hands */
  WAITER_ENDED(&receiver, SELV_OK);
  CHECK_EQ_U64(receiver.n, 2);
  waiter_start_n(&sender, waiter_send, ch, 0, 3);
  UNTIL(channel_stats(ch).senders_waiting == 1);
  CHECK(!waiter_is_done(&sender)); /* it is not sent before it is received */
  CHECK_EQ_U64(channel_stats(ch).queued, 0);
  CHECK_OK(item_recv_nowait(ch, &number));
  CHECK_EQ_U64(number, 3);
  WAITER_ENDED(&sender, SELV_OK);
  op_probe_init(&p);
  CHECK_STATUS(op_send(&p, ch, SELV_TASK_CURRENT, 4), SELV_PENDING);
  waiter_start(&receiver, waiter_recv, ch, 0);
  WAITER_ENDED(&receiver, SELV_OK);
  CHECK_EQ_U64(receiver.n, 4);
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_channel_free(ch));
}

static void a_rendezvous_has_no_capacity(void) {
  selv_channel_options options = SELV_CHANNEL_OPTIONS_INIT;
  selv_channel *ch = (selv_channel *)(uintptr_t)1;
  options.flags = SELV_CHANNEL_RENDEZVOUS;
  options.capacity = 3;
  CHECK_STATUS(selv_channel_new(&options, &ch), SELV_E_INVAL);
  CHECK(ch == NULL);
  CHECK_LAST_ERROR_HAS("capacity");
}

/* A send that need not wait is done at once, and says so. */
static void room_is_used_at_once(void) {
  selv_channel *ch = channel_of(1, 0);
  uint64_t number = 7;
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(op_send(&p, ch, SELV_TASK_CURRENT, 6));
  CHECK_EQ_U64(p.op, 0);
  CHECK_OK(item_recv_nowait(ch, &number));
  CHECK_EQ_U64(number, 6);
  CHECK_OK(selv_channel_send(ch, SELV_TASK_CURRENT, &number, sizeof number, 0));
  CHECK_OK(item_recv_nowait(ch, &number));
  CHECK_EQ_U64(channel_stats(ch).senders_waiting, 0);
  CHECK_EQ_U64(check_tally_get(&p.called), 0);
  CHECK_OK(selv_channel_free(ch));
}

/* ---- items ---- */

static void an_item_of_nothing(void) {
  selv_channel *ch = channel_of(2, 0);
  void *data = ch;
  size_t len = 99;
  CHECK_OK(selv_channel_send_nowait(ch, NULL, 0));
  CHECK_OK(selv_channel_send(ch, SELV_TASK_CURRENT, "", 0, SELV_FOREVER));
  CHECK_EQ_U64(channel_stats(ch).queued, 2); /* it is an item, and takes its place */
  CHECK_STATUS(selv_channel_send_nowait(ch, NULL, 0), SELV_E_WOULD_BLOCK);
  CHECK_OK(selv_channel_recv_nowait(ch, &data, &len));
  CHECK_EQ_U64(len, 0);
  selv_bytes_free(data);
  data = ch;
  len = 99;
  CHECK_OK(selv_channel_recv(ch, SELV_TASK_CURRENT, SELV_FOREVER, &data, &len));
  CHECK_EQ_U64(len, 0);
  selv_bytes_free(data);
  selv_bytes_free(NULL);
  CHECK_STATUS(selv_channel_recv_nowait(ch, &data, &len), SELV_E_WOULD_BLOCK);
  CHECK(data == NULL);
  CHECK_OK(selv_channel_free(ch));
}

static void a_big_item_is_copied(void) {
  enum { BIG = 1 << 20 };
  selv_channel *ch = channel_of(1, 0), *hands = channel_of(0, SELV_CHANNEL_RENDEZVOUS);
  unsigned char *buffer = (unsigned char *)malloc(BIG);
  void *data = NULL;
  size_t len = 0, i;
  op_probe p;
  selv_completion completion;
  op_probe_init(&p);
  CHECK(buffer != NULL);
  for (i = 0; i < BIG; i++) buffer[i] = (unsigned char)(i * 31);
  CHECK_OK(selv_channel_send_nowait(ch, buffer, BIG));
  completion = op_probe_completion(&p);
  CHECK_STATUS(selv_channel_send_async(hands, SELV_TASK_CURRENT, buffer, BIG, &completion, NULL), SELV_PENDING);
  memset(buffer, 0, BIG); /* the sender's again, even while its operation waits */
  free(buffer);
  CHECK_OK(selv_channel_recv_nowait(ch, &data, &len));
  CHECK_EQ_U64(len, BIG);
  for (i = 0; i < BIG; i++) CHECK(((unsigned char *)data)[i] == (unsigned char)(i * 31));
  selv_bytes_free(data);
  CHECK_OK(selv_channel_recv_nowait(hands, &data, &len));
  CHECK_EQ_U64(len, BIG);
  for (i = 0; i < BIG; i++) CHECK(((unsigned char *)data)[i] == (unsigned char)(i * 31));
  ((unsigned char *)data)[0] = 1; /* the receiver's own */
  selv_bytes_free(data);
  OP_GOT(&p, 1, SELV_OK);
  CHECK_OK(selv_channel_free(ch));
  CHECK_OK(selv_channel_free(hands));
}

/* Received bytes outlive their channel, and are freed by whichever thread. */
static void *frees(void *data) {
  selv_bytes_free(data);
  return NULL;
}

static void an_item_outlives_its_channel(void) {
  selv_channel *ch = channel_of(0, 0);
  pthread_t thread;
  void *data = NULL;
  size_t len = 0;
  CHECK_OK(selv_channel_send_nowait(ch, "hello", 6));
  CHECK_OK(selv_channel_send_nowait(ch, "left behind", 12)); /* goes with the channel */
  CHECK_OK(selv_channel_recv_nowait(ch, &data, &len));
  CHECK_OK(selv_channel_free(ch));
  CHECK_EQ_U64(len, 6);
  CHECK_STR((char *)data, "hello");
  CHECK(pthread_create(&thread, NULL, frees, data) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

int main(void) {
  CHECK_RUN(bounded);
  CHECK_RUN(unbounded);
  CHECK_RUN(rendezvous);
  CHECK_RUN(a_rendezvous_has_no_capacity);
  CHECK_RUN(room_is_used_at_once);
  CHECK_RUN(an_item_of_nothing);
  CHECK_RUN(a_big_item_is_copied);
  CHECK_RUN(an_item_outlives_its_channel);
  return 0;
}

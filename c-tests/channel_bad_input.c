/* channel_bad_input.c: NULL, unknown flags, wrong sizes and tasks that are none, to every function of the channel; no item is
 * sent or taken by a refused call. */
#include "sync_probe.h"

static void options(void) {
  selv_channel_options good = SELV_CHANNEL_OPTIONS_INIT;
  SYNC_BAD_OPTIONS(channel, good);
  good.capacity = 4;
  SYNC_BAD_OPTIONS(channel, good);
  good.capacity = 0;
  good.flags = SELV_CHANNEL_RENDEZVOUS;
  SYNC_BAD_OPTIONS(channel, good);
}

static void sends(void) {
  selv_channel *ch = channel_of(2, 0), *null = NULL;
  op_probe p;
  op_probe_init(&p);
  CHECK_STATUS(selv_channel_send_nowait(NULL, "x", 1), SELV_E_NULL);
  CHECK_STATUS(selv_channel_send(NULL, SELV_TASK_CURRENT, "x", 1, 0), SELV_E_NULL);
  CHECK_STATUS(op_send(&p, null, SELV_TASK_CURRENT, 1), SELV_E_NULL);
  CHECK_STATUS(selv_channel_send_nowait(ch, NULL, 1), SELV_E_NULL);
  CHECK_LAST_ERROR_HAS("data");
  CHECK_STATUS(selv_channel_send(ch, SELV_TASK_CURRENT, NULL, 1, 0), SELV_E_NULL);
  {
    selv_completion completion = op_probe_completion(&p);
    selv_op op = 99;
    CHECK_STATUS(selv_channel_send_async(ch, SELV_TASK_CURRENT, NULL, 1, &completion, &op), SELV_E_NULL);
    CHECK_EQ_U64(op, 0);
  }
  SYNC_BAD_TASKS(selv_channel_send(ch, task, "x", 1, 0));
  SYNC_BAD_ASYNC(selv_channel_send_async(ch, task, "x", 1, completion, &op));
  CHECK_EQ_U64(channel_stats(ch).queued, 0);
  CHECK_EQ_U64(channel_stats(ch).sent, 0);
  CHECK_OK(selv_channel_free(ch));
}

static void receives(void) {
  selv_channel *ch = channel_of(2, 0), *null = NULL;
  void *data = ch;
  size_t len = 99;
  op_probe p;
  op_probe_init(&p);
  CHECK_OK(item_send_nowait(ch, 1));
  CHECK_STATUS(selv_channel_recv_nowait(NULL, &data, &len), SELV_E_NULL);
  CHECK(data == NULL && len == 0);
  data = ch;
  len = 99;
  CHECK_STATUS(selv_channel_recv(NULL, SELV_TASK_CURRENT, 0, &data, &len), SELV_E_NULL);
  CHECK(data == NULL && len == 0);
  CHECK_STATUS(selv_channel_recv_nowait(ch, NULL, &len), SELV_E_NULL);
  CHECK_STATUS(selv_channel_recv_nowait(ch, &data, NULL), SELV_E_NULL);
  CHECK_STATUS(selv_channel_recv(ch, SELV_TASK_CURRENT, 0, NULL, &len), SELV_E_NULL);
  CHECK_STATUS(selv_channel_recv(ch, SELV_TASK_CURRENT, 0, &data, NULL), SELV_E_NULL);
  CHECK_STATUS(op_recv(&p, null, SELV_TASK_CURRENT), SELV_E_NULL);
  SYNC_BAD_TASKS(selv_channel_recv(ch, task, 0, &data, &len));
  CHECK(data == NULL && len == 0);
  SYNC_BAD_ASYNC(selv_channel_recv_async(ch, task, completion, &op));
  CHECK_EQ_U64(channel_stats(ch).queued, 1);
  CHECK_EQ_U64(channel_stats(ch).received, 0);
  selv_bytes_free(NULL);
  CHECK_OK(selv_channel_free(ch));
}

int main(void) {
  CHECK_RUN(options);
  CHECK_RUN(sends);
  CHECK_RUN(receives);
  return 0;
}

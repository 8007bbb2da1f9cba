/* channel_order.c: items come out in the order in which they went in, receivers get them in the order in which they asked, and
 * senders that had to wait get in in their order; threads and operations in one line each. */
#include "sync_probe.h"

#define LINE 8

static waiter threads[LINE];
static op_probe ops[LINE];
static selv_task tasks[LINE];

static void line_ends(void) {
  int i;
  for (i = 0; i < LINE; i++) CHECK_OK(selv_task_exit(tasks[i], NULL));
}

static void receivers_in_line(void) {
  selv_channel *ch = channel_of(0, 0);
  uint64_t ticket = 0;
  int i, j;
  for (i = 0; i < LINE; i++) {
    tasks[i] = task_named("receiver");
    if (i % 2)
      waiter_start(&threads[i], waiter_recv, ch, tasks[i]);
    else {
      op_probe_init(&ops[i]);
      ops[i].then = op_probe_take;
      CHECK_STATUS(op_recv(&ops[i], ch, tasks[i]), SELV_PENDING);
    }
    UNTIL(channel_stats(ch).receivers_waiting == (uint64_t)i + 1);
  }
  for (i = 0; i < LINE; i++) {
    CHECK_OK(item_send_nowait(ch, 100 + (uint64_t)i));
    if (i % 2) {
      WAITER_ENDED(&threads[i], SELV_OK);
      CHECK_EQ_U64(threads[i].n, 100 + i);
    } else {
      OP_GOT(&ops[i], 1, SELV_OK);
      CHECK_EQ_U64(ops[i].n, 100 + i);
      CHECK(ops[i].last.ticket > ticket);
      ticket = ops[i].last.ticket;
    }
    for (j = i + 1; j < LINE; j++) CHECK(j % 2 ? !waiter_is_done(&threads[j]) : check_tally_get(&ops[j].called) == 0);
  }
  CHECK_EQ_U64(channel_stats(ch).queued, 0);
  CHECK_EQ_U64(channel_stats(ch).sent, LINE);
  CHECK_EQ_U64(channel_stats(ch).received, LINE);
  CHECK_OK(selv_channel_free(ch));
  line_ends();
}

static void senders_in_line(uint64_t capacity, uint32_t flags) {
  selv_channel *ch = channel_of(capacity, flags);
  uint64_t number = 0, i, ticket = 0;
  for (i = 0; i < capacity; i++) CHECK_OK(item_send_nowait(ch, i));
  for (i = 0; i < LINE; i++) {
    tasks[i] = task_named("sender");
    if (i % 2)
      waiter_start_n(&threads[i], waiter_send, ch, tasks[i], capacity + i);
    else {
      op_probe_init(&ops[i]);
      CHECK_STATUS(op_send(&ops[i], ch, tasks[i], capacity + i), SELV_PENDING);
    }
    UNTIL(channel_stats(ch).senders_waiting == i + 1);
  }
  CHECK_STATUS(item_send_nowait(ch, 0), SELV_E_WOULD_BLOCK);
  for (i = 0; i < LINE; i++) { /* each item taken makes room for one sender, or takes it from its hands */
    CHECK_OK(item_recv_nowait(ch, &number));
    CHECK_EQ_U64(number, i);
    CHECK_EQ_U64(channel_stats(ch).senders_waiting, LINE - 1 - i);
    CHECK_EQ_U64(channel_stats(ch).queued, capacity);
    if (i % 2)
      WAITER_ENDED(&threads[i], SELV_OK);
    else {
      OP_GOT(&ops[i], 1, SELV_OK);
      CHECK(ops[i].last.ticket > ticket);
      ticket = ops[i].last.ticket;
    }
  }
  for (i = 0; i < capacity; i++) {
    CHECK_OK(item_recv_nowait(ch, &number));
    CHECK_EQ_U64(number, LINE + i);
  }
  CHECK_STATUS(item_recv_nowait(ch, &number), SELV_E_WOULD_BLOCK);
  CHECK_EQ_U64(channel_stats(ch).sent, LINE + capacity);
  CHECK_OK(selv_channel_free(ch));
  line_ends();
}

static void senders_at_a_full_channel(void) { senders_in_line(3, 0); }
static void senders_at_a_rendezvous(void) { senders_in_line(0, SELV_CHANNEL_RENDEZVOUS); }

/* Many of each: what any one receiver gets from any one sender is in that sender's order. */
#define SENDERS 4
#define RECEIVERS 3

static selv_channel *many;
static uint64_t each, total;

static void *sends(void *arg) {
  uint64_t me = (uint64_t)(uintptr_t)arg, i, number;
  for (i = 0; i < each; i++) {
    number = me << 32 | i;
    CHECK_OK(selv_channel_send(many, SELV_TASK_CURRENT, &number, sizeof number, SELV_FOREVER));
  }
  return NULL;
}

static void *receives(void *arg) {
  uint64_t next[SENDERS] = {0, 0, 0, 0}, count = 0;
  (void)arg;
  for (;;) {
    void *data = NULL;
    size_t len = 0;
    uint64_t number, sender;
    selv_status status = selv_channel_recv(many, SELV_TASK_CURRENT, SELV_FOREVER, &data, &len);
    if (status == SELV_E_CLOSED) break;
    CHECK_OK(status);
    number = item_number(data, len);
    sender = number >> 32;
    number &= UINT32_MAX;
    CHECK(sender < SENDERS);
    CHECK(number >= next[sender]);
    next[sender] = number + 1;
    count++;
  }
  __atomic_add_fetch(&total, count, __ATOMIC_SEQ_CST);
  return NULL;
}

static void many_of_each(uint64_t capacity, uint32_t flags) {
  pthread_t senders[SENDERS], receivers[RECEIVERS];
  uintptr_t i;
  many = channel_of(capacity, flags);
  each = check_scaled(1000);
  total = 0;
  for (i = 0; i < RECEIVERS; i++) CHECK(pthread_create(&receivers[i], NULL, receives, NULL) == 0);
  for (i = 0; i < SENDERS; i++) CHECK(pthread_create(&senders[i], NULL, sends, (void *)i) == 0);
  for (i = 0; i < SENDERS; i++) CHECK(pthread_join(senders[i], NULL) == 0);
  CHECK_OK(selv_channel_close(many));
  for (i = 0; i < RECEIVERS; i++) CHECK(pthread_join(receivers[i], NULL) == 0);
  CHECK_EQ_U64(total, SENDERS * each);
  CHECK_OK(selv_channel_free(many));
}

static void many_at_a_bounded_channel(void) { many_of_each(5, 0); }
static void many_at_an_unbounded_channel(void) { many_of_each(0, 0); }
static void many_at_a_rendezvous(void) { many_of_each(0, SELV_CHANNEL_RENDEZVOUS); }

int main(void) {
  CHECK_RUN(receivers_in_line);
  CHECK_RUN(senders_at_a_full_channel);
  CHECK_RUN(senders_at_a_rendezvous);
  CHECK_RUN(many_at_a_bounded_channel);
  CHECK_RUN(many_at_an_unbounded_channel);
  CHECK_RUN(many_at_a_rendezvous);
  return 0;
}

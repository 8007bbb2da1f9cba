/* channel_storm.c: senders and receivers by the thread and by the operation, which time out, are cancelled, abandoned and lose
 * their task: every item that was said to be sent is received once, and no other ever; also when the channel is closed in the
 * middle of it. */
#include "sync_probe.h"

#define SENDERS 4
#define RECEIVERS 4

static selv_channel *ch;
static uint64_t each;                  /* items that a sender tries to send */
static unsigned char *sent, *received; /* how often, by item */
static uint64_t tried, refused;

static void note(unsigned char *of, uint64_t number) {
  CHECK(number < SENDERS * each);
  if (__atomic_add_fetch(&of[number], 1, __ATOMIC_SEQ_CST) != 1)
    check_fail(__FILE__, __LINE__, "item %llu was %s twice", (unsigned long long)number, of == sent ? "sent" : "received");
}

/* Whether the item was sent, as its sender is told. */
static selv_status send_by_operation(uint64_t number, uint64_t random, int cancel) {
  selv_task t = task_named("sender");
  selv_status status, gone = SELV_E_TOO_LATE;
  op_probe p;
  op_probe_init(&p);
  status = op_send(&p, ch, t, number);
  if (status == SELV_PENDING) {
    if (random & 1024) sched_yield();
    if (cancel) gone = selv_op_cancel(p.op);
    CHECK_EITHER(gone, SELV_OK, SELV_E_TOO_LATE);
    CHECK_WAIT(&p.called, 1);
    status = p.last.status;
    CHECK(gone == SELV_OK ? status == SELV_E_CANCELLED : status == SELV_OK || status == SELV_E_CLOSED);
  }
  CHECK_EQ_U64(task_ends(t).items, 0);
  return status;
}

static void *sends(void *arg) {
  uint64_t me = (uint64_t)(uintptr_t)arg, seed = sync_probe_seed(me), i;
  for (i = 0; i < each; i++) {
    uint64_t number = me * each + i, random = sync_probe_random(&seed);
    selv_status status = SELV_OK;
    switch (random % 5) {
      case 0: status = selv_channel_send(ch, SELV_TASK_CURRENT, &number, sizeof number, SELV_FOREVER); break;
      case 1: status = selv_channel_send(ch, SELV_TASK_CURRENT, &number, sizeof number, (random >> 8) % 50000); break;
      case 2: status = item_send_nowait(ch, number); break;
      default: status = send_by_operation(number, random, random % 5 == 3); break;
    }
    __atomic_add_fetch(&tried, 1, __ATOMIC_RELAXED);
    if (status == SELV_OK)
      note(sent, number);
    else
      __atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
    if (status == SELV_E_CLOSED) break;
    CHECK(status == SELV_OK || status == SELV_E_TIMEDOUT || status == SELV_E_WOULD_BLOCK || status == SELV_E_CANCELLED);
  }
  return NULL;
}

static void then(op_probe *p, const selv_completed *c) {
  op_probe_take(p, c);
  if (c->status == SELV_OK) note(received, p->n);
}

static selv_status receive_by_operation(uint64_t random, int way) {
  selv_task t = task_named("receiver");
  selv_status status, gone = SELV_E_TOO_LATE;
  op_probe p;
  op_probe_init(&p);
  p.then = then;
  status = op_recv(&p, ch, t);
  if (status != SELV_PENDING) {
    CHECK_STATUS(status, SELV_E_CLOSED);
    CHECK_EQ_U64(task_ends(t).items, 0);
    return status;
  }
  if (random & 1024) sched_yield();
  if (way == 1) gone = selv_op_cancel(p.op);
  if (way == 2) gone = selv_op_abandon(p.op);
  if (way == 3) gone = task_ends(t).items ? SELV_OK : SELV_E_TOO_LATE;
  CHECK_EITHER(gone, SELV_OK, SELV_E_TOO_LATE);
  status = SELV_E_CANCELLED;
  if (way == 2 && gone == SELV_OK) {
    CHECK_EQ_U64(check_tally_get(&p.called), 0);
  } else {
    CHECK_WAIT(&p.called, 1);
    status = p.last.status;
    CHECK(gone == SELV_OK ? status == SELV_E_CANCELLED : status == SELV_OK || status == SELV_E_CLOSED);
  }
  if (way != 3) CHECK_EQ_U64(task_ends(t).items, 0);
  return status;
}

static void *receives(void *arg) {
  uint64_t seed = sync_probe_seed(1000 + (uint64_t)(uintptr_t)arg);
  selv_status status = SELV_OK;
  while (status != SELV_E_CLOSED) {
    uint64_t random = sync_probe_random(&seed), number = 0;
    int way = (int)(random % 7);
    if (way < 2) {
      void *data = NULL;
      size_t len = 0;
      status = selv_channel_recv(ch, SELV_TASK_CURRENT, way ? (random >> 8) % 50000 : SELV_FOREVER, &data, &len);
      CHECK(status == SELV_OK || status == SELV_E_CLOSED || (way && status == SELV_E_TIMEDOUT));
      if (status == SELV_OK) note(received, item_number(data, len));
    } else if (way == 2) {
      status = item_recv_nowait(ch, &number);
      CHECK_ANY_OF(status, SELV_OK, SELV_E_CLOSED, SELV_E_WOULD_BLOCK);
      if (status == SELV_OK) note(received, number);
    } else {
      status = receive_by_operation(random, way - 3);
    }
  }
  return NULL;
}

static void storm(uint64_t capacity, uint32_t flags, int close_early) {
  pthread_t senders[SENDERS], receivers[RECEIVERS];
  uint64_t n = 0;
  uintptr_t i;
  each = check_scaled(1500);
  tried = refused = 0;
  sent = (unsigned char *)calloc(SENDERS, each);
  received = (unsigned char *)calloc(SENDERS, each);
  CHECK(sent != NULL && received != NULL);
  ch = channel_of(capacity, flags);
  for (i = 0; i < RECEIVERS; i++) CHECK(pthread_create(&receivers[i], NULL, receives, (void *)i) == 0);
  for (i = 0; i < SENDERS; i++) CHECK(pthread_create(&senders[i], NULL, sends, (void *)i) == 0);
  if (close_early) {
    UNTIL(__atomic_load_n(&tried, __ATOMIC_RELAXED) >= each);
    CHECK_OK(selv_channel_close(ch));
  }
  for (i = 0; i < SENDERS; i++) CHECK(pthread_join(senders[i], NULL) == 0);
  CHECK_OK(selv_channel_close(ch));
  for (i = 0; i < RECEIVERS; i++) CHECK(pthread_join(receivers[i], NULL) == 0);
  /* A receiver that saw CLOSED may have seen it while another's abandoned item was on its way back. */
  for (;;) {
    uint64_t number = 0;
    if (item_recv_nowait(ch, &number) != SELV_OK) break;
    note(received, number);
  }
  for (i = 0; i < SENDERS * each; i++) {
    if (sent[i] != received[i])
      check_fail(__FILE__, __LINE__, "item %llu was sent %d times and received %d times", (unsigned long long)i, sent[i],
                 received[i]);
    n += sent[i];
  }
  printf("%llu sent, %llu not\n", (unsigned long long)n, (unsigned long long)refused);
  CHECK(n > 0);
  CHECK_EQ_U64(channel_stats(ch).queued, 0);
  CHECK_OK(selv_channel_free(ch));
  free(sent);
  free(received);
}

static void bounded(void) { storm(4, 0, 0); }
static void unbounded(void) { storm(0, 0, 0); }
static void rendezvous(void) { storm(0, SELV_CHANNEL_RENDEZVOUS, 0); }
static void bounded_and_closed_early(void) { storm(4, 0, 1); }
static void rendezvous_closed_early(void) { storm(0, SELV_CHANNEL_RENDEZVOUS, 1); }

int main(void) {
  CHECK_RUN(bounded);
  CHECK_RUN(unbounded);
  CHECK_RUN(rendezvous);
  CHECK_RUN(bounded_and_closed_early);
  CHECK_RUN(rendezvous_closed_early);
  return 0;
}

/* op_loop_order.c: completions on a host loop come in the order of the grants, in line with what else is queued there, and never
 * nest: what a callback completes on a loop is for a later drain, and what it completes elsewhere is called when it has
 * returned. */
#include "loops.h"
#include "sync_probe.h"

#define MANY 500

static op_probe ops[MANY];

static void in_the_order_of_the_grants(int form) {
  selv_semaphore *s = semaphore_of(0, 0);
  uint64_t i, done = 0;
  host h;
  host_begin(&h, form);
  for (i = 0; i < MANY; i++) {
    op_probe_init(&ops[i]);
    ops[i].loop = h.loop;
    CHECK_STATUS(op_semaphore(&ops[i], s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  }
  CHECK_OK(selv_semaphore_release(s, MANY / 2));
  CHECK_EQ_U64(host_waiting(&h), MANY / 2);
  while (done < MANY / 2) done += host_drain(&h, 7);
  CHECK_EQ_U64(done, MANY / 2);
  CHECK_OK(selv_semaphore_release(s, MANY / 2));
  CHECK_EQ_U64(host_drain(&h, 0), MANY / 2);
  for (i = 0; i < MANY; i++) {
    OP_GOT(&ops[i], 1, SELV_OK);
    if (i > 0) CHECK_EQ_U64(ops[i].order, ops[i - 1].order + 1);
    if (i > 0) CHECK_EQ_U64(ops[i].last.ticket, ops[i - 1].last.ticket + 1);
  }
  CHECK_OK(selv_semaphore_free(s));
  host_end(&h);
}

/* A call, a grant, a call, a grant: it is one queue. */
static void in_line_with_calls(int form) {
  selv_semaphore *s = semaphore_of(0, 0);
  static call_probe calls[MANY];
  uint64_t i;
  host h;
  host_begin(&h, form);
  for (i = 0; i < MANY; i++) {
    op_probe_init(&ops[i]);
    ops[i].loop = h.loop;
    call_probe_init(&calls[i], &h);
    CHECK_STATUS(op_semaphore(&ops[i], s, SELV_TASK_CURRENT, 1), SELV_PENDING);
  }
  for (i = 0; i < MANY; i++) {
    call_probe_soon(&calls[i]);
    CHECK_OK(selv_semaphore_release(s, 1));
  }
  CHECK_EQ_U64(host_drain(&h, 0), 2 * MANY);
  for (i = 0; i < MANY; i++) {
    CHECK_EQ_U64(ops[i].order, calls[i].order + 1);
    if (i > 0) CHECK_EQ_U64(calls[i].order, ops[i - 1].order + 1);
  }
  CHECK_OK(selv_semaphore_free(s));
  host_end(&h);
}

/* ---- callbacks that complete others ---- */

static void lets_the_next_in(op_probe *p, const selv_completed *c) {
  CHECK_OK(c->status);
  CHECK_OK(selv_lock_release((selv_lock *)p->object, p->task));
}

/* Each releases the lock, which the next one gets: for a later drain. op_probe_fn checks that none nests. */
static void a_chain_on_the_loop(int form) {
  selv_lock *l = lock_named("desk", 0);
  selv_task owner = task_named("owner");
  uint64_t i, drains = 0;
  host h;
  host_begin(&h, form);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (i = 0; i < MANY; i++) {
    op_probe_init(&ops[i]);
    ops[i].loop = h.loop;
    ops[i].then = lets_the_next_in;
    CHECK_STATUS(op_probe_lock(&ops[i], l, task_named(NULL)), SELV_PENDING);
  }
  CHECK_OK(selv_lock_release(l, owner));
  for (i = 0; i < MANY; i++) {
    CHECK(host_is_due(&h));
    drains++;
    CHECK_EQ_U64(host_drain(&h, 0), 1);
    OP_GOT(&ops[i], 1, SELV_OK);
    CHECK_OK(selv_task_exit(ops[i].task, NULL));
  }
  CHECK(!host_is_due(&h));
  CHECK_EQ_U64(drains, MANY);
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_lock_free(l));
  host_end(&h);
}

/* Those on no loop are called on the loop's thread, as soon as the callback has returned, and before the next entry of the queue: a
 * chain of any length, which needs no stack. */
static void a_chain_on_none(int form) {
  selv_lock *l = lock_named("desk", 0);
  selv_task owner = task_named("owner");
  call_probe behind;
  uint64_t i;
  host h;
  host_begin(&h, form);
  call_probe_init(&behind, &h);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (i = 0; i < MANY; i++) {
    op_probe_init(&ops[i]);
    ops[i].loop = i == 0 ? h.loop : NULL;
    ops[i].then = lets_the_next_in;
    CHECK_STATUS(op_probe_lock(&ops[i], l, task_named(NULL)), SELV_PENDING);
  }
  CHECK_OK(selv_lock_release(l, owner));
  call_probe_soon(&behind);
  CHECK_EQ_U64(host_drain(&h, 0), 2); /* the first of them and the call */
  for (i = 0; i < MANY; i++) {
    OP_GOT(&ops[i], 1, SELV_OK);
    CHECK(pthread_equal(ops[i].on, pthread_self()));
    if (i > 0) CHECK_EQ_U64(ops[i].order, ops[i - 1].order + 1);
    CHECK_OK(selv_task_exit(ops[i].task, NULL));
  }
  CHECK_EQ_U64(behind.order, ops[MANY - 1].order + 1);
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_lock_free(l));
  host_end(&h);
}

/* Two loops and a lock that goes to and fro: each callback runs on the thread of its loop. */
static void between_two_loops(int form) {
  selv_lock *l = lock_named("desk", 0);
  selv_task owner = task_named("owner");
  host h[2];
  uint64_t i;
  host_start(&h[0], form);
  host_start(&h[1], form == HOST_FD ? HOST_WAKE : HOST_FD);
  CHECK_OK(selv_lock_acquire(l, owner, SELV_FOREVER));
  for (i = 0; i < MANY; i++) {
    op_probe_init(&ops[i]);
    ops[i].loop = h[i % 2].loop;
    ops[i].then = lets_the_next_in;
    CHECK_STATUS(op_probe_lock(&ops[i], l, task_named(NULL)), SELV_PENDING);
  }
  CHECK_OK(selv_lock_release(l, owner));
  CHECK_WAIT(&ops[MANY - 1].called, 1);
  for (i = 0; i < MANY; i++) {
    OP_GOT(&ops[i], 1, SELV_OK);
    CHECK(pthread_equal(ops[i].on, h[i % 2].thread));
    if (i > 0) CHECK(ops[i].order > ops[i - 1].order);
    CHECK_OK(selv_task_exit(ops[i].task, NULL));
  }
  host_stop(&h[0]);
  host_stop(&h[1]);
  CHECK_OK(selv_task_exit(owner, NULL));
  CHECK_OK(selv_lock_free(l));
}

/* A plain call of the loop completes operations: those on no loop run inside it, as on any thread, those on the loop do not. */
static selv_semaphore *released;
static void releases(call_probe *p) {
  CHECK_OK(selv_semaphore_release(released, 2));
  CHECK_EQ_U64(check_tally_get(&ops[0].called), 0);
  CHECK_EQ_U64(check_tally_get(&ops[1].called), 1);
  (void)p;
}

static void by_a_call(int form) {
  call_probe p;
  host h;
  int i;
  host_begin(&h, form);
  released = semaphore_of(0, 0);
  call_probe_init(&p, &h);
  p.then = releases;
  for (i = 0; i < 2; i++) {
    op_probe_init(&ops[i]);
    ops[i].loop = i == 0 ? h.loop : NULL;
    CHECK_STATUS(op_semaphore(&ops[i], released, SELV_TASK_CURRENT, 1), SELV_PENDING);
  }
  call_probe_soon(&p);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  CHECK_EQ_U64(host_drain(&h, 0), 1);
  OP_GOT(&ops[0], 1, SELV_OK);
  OP_GOT(&ops[1], 1, SELV_OK);
  CHECK_OK(selv_semaphore_free(released));
  host_end(&h);
}

/* A callback that begins the next operation of its loop, and another thread that satisfies it: a stream of items. */
static uint64_t expected, last_number;

static void receives_the_next(op_probe *p, const selv_completed *c) {
  uint64_t number;
  CHECK_OK(c->status);
  number = item_number(c->data, c->len);
  CHECK_EQ_U64(number, expected);
  expected++;
  if (number != last_number) {
    selv_completion completion = op_probe_completion(p);
    CHECK_STATUS(selv_channel_recv_async((selv_channel *)p->object, p->task, &completion, NULL), SELV_PENDING);
  }
}

static void a_stream_of_items(int form) {
  selv_channel *ch = channel_of(0, 0);
  uint64_t i, many = check_scaled(4000);
  selv_task t = task_named("receiver");
  selv_completion completion;
  op_probe p;
  host h;
  host_start(&h, form);
  op_probe_init(&p);
  p.then = receives_the_next;
  p.loop = h.loop;
  p.object = ch;
  p.task = t;
  expected = 0;
  last_number = 2 * many - 1;
  for (i = 0; i < many; i++) CHECK_OK(item_send_nowait(ch, i)); /* the first half is there */
  completion = op_probe_completion(&p);
  CHECK_STATUS(selv_channel_recv_async(ch, t, &completion, NULL), SELV_PENDING);
  for (; i < 2 * many; i++) CHECK_OK(item_send_nowait(ch, i)); /* the second comes meanwhile */
  OP_GOT(&p, 2 * many, SELV_OK);
  CHECK_EQ_U64(expected, 2 * many);
  CHECK(pthread_equal(p.on, h.thread));
  host_stop(&h);
  CHECK_OK(selv_task_exit(t, NULL));
  CHECK_OK(selv_channel_free(ch));
}

int main(void) {
  HOST_RUN_BOTH(in_the_order_of_the_grants);
  HOST_RUN_BOTH(in_line_with_calls);
  HOST_RUN_BOTH(a_chain_on_the_loop);
  HOST_RUN_BOTH(a_chain_on_none);
  HOST_RUN_BOTH(between_two_loops);
  HOST_RUN_BOTH(by_a_call);
  HOST_RUN_BOTH(a_stream_of_items);
  return 0;
}

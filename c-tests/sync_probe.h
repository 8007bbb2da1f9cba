/* sync_probe.h: what the C tests of semaphore, limiter, event, parking lot and channel share: how each is made, waited for by a
 * thread or by an operation, and given bad options. Threads and completions as such are in waiters.h. */
#ifndef SELV_C_TESTS_SYNC_PROBE_H
#define SELV_C_TESTS_SYNC_PROBE_H

#include "waiters.h"

/* What a call may give, where chance decides: the failure tells what it was. */
static inline void check_either_is(const char *file, int line, const char *expression, selv_status seen, selv_status a, selv_status b,
                                   selv_status c) {
  char detail[512];
  if (seen == a || seen == b || seen == c) return;
  detail[0] = '\0';
  selv_last_error(detail, sizeof detail);
  check_fail(file, line, "%s is %s, expected %s, %s or %s; last error: %s", expression, selv_status_name(seen), selv_status_name(a),
             selv_status_name(b), selv_status_name(c), detail[0] ? detail : "(none)");
}
#define CHECK_EITHER(expr, a, b) check_either_is(__FILE__, __LINE__, #expr, (expr), (a), (b), (b))
#define CHECK_ANY_OF(expr, a, b, c) check_either_is(__FILE__, __LINE__, #expr, (expr), (a), (b), (c))

/* A detail that was kept from another thread or a callback must mention `part`. */
static inline void check_has(const char *file, int line, const char *expression, const char *seen, const char *part) {
  if (strstr(seen, part) == NULL) check_fail(file, line, "%s is \"%s\": it does not mention \"%s\"", expression, seen, part);
}
#define CHECK_HAS(seen, part) check_has(__FILE__, __LINE__, #seen, (seen), (part))

/* ---- objects ---- */

static inline selv_semaphore *semaphore_of(uint64_t initial, uint64_t max) {
  selv_semaphore_options options = SELV_SEMAPHORE_OPTIONS_INIT;
  selv_semaphore *s = NULL;
  options.name = "S";
  options.initial = initial;
  options.max = max;
  CHECK_OK(selv_semaphore_new(&options, &s));
  CHECK(s != NULL);
  return s;
}

static inline selv_limiter *limiter_of(uint64_t total) {
  selv_limiter_options options = SELV_LIMITER_OPTIONS_INIT;
  selv_limiter *l = NULL;
  options.name = "tokens";
  options.total = total;
  CHECK_OK(selv_limiter_new(&options, &l));
  CHECK(l != NULL);
  return l;
}

static inline selv_event *event_of(uint32_t flags) {
  selv_event_options options = SELV_EVENT_OPTIONS_INIT;
  selv_event *e = NULL;
  options.name = "ready";
  options.flags = flags;
  CHECK_OK(selv_event_new(&options, &e));
  CHECK(e != NULL);
  return e;
}

static inline selv_parking_lot *lot_named(const char *name) {
  selv_parking_lot_options options = SELV_PARKING_LOT_OPTIONS_INIT;
  selv_parking_lot *p = NULL;
  options.name = name;
  CHECK_OK(selv_parking_lot_new(&options, &p));
  CHECK(p != NULL);
  return p;
}

static inline selv_channel *channel_of(uint64_t capacity, uint32_t flags) {
  selv_channel_options options = SELV_CHANNEL_OPTIONS_INIT;
  selv_channel *ch = NULL;
  options.name = "items";
  options.capacity = capacity;
  options.flags = flags;
  CHECK_OK(selv_channel_new(&options, &ch));
  CHECK(ch != NULL);
  return ch;
}

static inline selv_channel_stats channel_stats(const selv_channel *ch) {
  selv_channel_stats stats = SELV_CHANNEL_STATS_INIT;
  CHECK_OK(selv_channel_get_stats(ch, &stats));
  return stats;
}

/* ---- a task's end, with what it left behind ---- */

typedef struct exit_probe {
  selv_task_report report;
  uint64_t items;
  char text[1024]; /* "token of tokens; wait for S; " in the order of the report */
} exit_probe;

static inline void exit_probe_each(void *arg, uint32_t what, const char *name) {
  static const char *const words[] = {"?", "broken", "handed on", "wait for", "grant of", "token of", "lot"};
  exit_probe *e = (exit_probe *)arg;
  size_t used = strlen(e->text);
  CHECK(what >= SELV_REPORT_LOCK_BROKEN && what <= SELV_REPORT_LOT_BROKEN);
  CHECK(name != NULL);
  snprintf(e->text + used, sizeof e->text - used, "%s %s; ", words[what], name);
  e->items++;
}

static inline exit_probe task_ends(selv_task t) {
  exit_probe e;
  memset(&e, 0, sizeof e);
  e.report.struct_size = sizeof e.report;
  e.report.each = exit_probe_each;
  e.report.arg = &e;
  CHECK_OK(selv_task_exit(t, &e.report));
  CHECK_EQ_U64(e.items, e.report.locks_broken + e.report.locks_handed_on + e.report.waits_cancelled + e.report.grants_passed_on +
                            e.report.tokens_returned + e.report.lots_broken);
  return e;
}

/* ---- items of channels: a number each ---- */

static inline selv_status item_send_nowait(selv_channel *ch, uint64_t number) {
  return selv_channel_send_nowait(ch, &number, sizeof number);
}

/* Takes a received item apart and frees it. */
static inline uint64_t item_number(void *data, size_t len) {
  uint64_t number;
  CHECK(data != NULL);
  CHECK_EQ_U64(len, sizeof number);
  memcpy(&number, data, sizeof number);
  selv_bytes_free(data);
  return number;
}

static inline selv_status item_recv_nowait(selv_channel *ch, uint64_t *out_number) {
  void *data = ch; /* must be zeroed on failure */
  size_t len = 99;
  selv_status status = selv_channel_recv_nowait(ch, &data, &len);
  *out_number = 0;
  if (status == SELV_OK)
    *out_number = item_number(data, len);
  else
    CHECK(data == NULL && len == 0);
  return status;
}

/* ---- threads that wait ---- */

static inline selv_status waiter_semaphore(waiter *w) {
  return selv_semaphore_acquire((selv_semaphore *)w->object, w->task, w->n, w->timeout_ns);
}
static inline selv_status waiter_limiter(waiter *w) {
  return selv_limiter_acquire((selv_limiter *)w->object, w->task, w->timeout_ns);
}
static inline selv_status waiter_on_behalf_of(waiter *w) { /* n is the borrower */
  return selv_limiter_acquire_on_behalf_of((selv_limiter *)w->object, w->task, w->n, w->timeout_ns);
}
static inline selv_status waiter_event(waiter *w) { return selv_event_wait((selv_event *)w->object, w->task, w->timeout_ns); }
static inline selv_status waiter_park(waiter *w) {
  return selv_parking_lot_park((selv_parking_lot *)w->object, w->task, w->timeout_ns);
}
static inline selv_status waiter_send(waiter *w) { /* n is the item */
  return selv_channel_send((selv_channel *)w->object, w->task, &w->n, sizeof w->n, w->timeout_ns);
}
static inline selv_status waiter_recv(waiter *w) { /* n gets the item */
  void *data = w;
  size_t len = 99;
  selv_status status = selv_channel_recv((selv_channel *)w->object, w->task, w->timeout_ns, &data, &len);
  w->n = 0;
  if (status == SELV_OK)
    w->n = item_number(data, len);
  else
    CHECK(data == NULL && len == 0);
  return status;
}

/* As waiter_start, for calls with a number. */
static inline void waiter_start_n(waiter *w, selv_status (*call)(waiter *), void *object, selv_task task, uint64_t n) {
  waiter_init(w, call, object, task);
  w->n = n;
  waiter_go(w);
}

static inline void waiter_start_timed(waiter *w, selv_status (*call)(waiter *), void *object, selv_task task, uint64_t timeout_ns) {
  waiter_init(w, call, object, task);
  w->timeout_ns = timeout_ns;
  waiter_go(w);
}

/* ---- operations that wait: each submits `p` and keeps what the call gave in p->op ---- */

#define SYNC_PROBE_SUBMIT(p, call)                                \
  do {                                                            \
    selv_completion completion = op_probe_completion(p);          \
    const void *sync_probe_was = op_probe_submitting;             \
    selv_status sync_probe_status;                                \
    op_probe_submitting = (p);                                    \
    (p)->op = UINT64_MAX;                                         \
    sync_probe_status = (call);                                   \
    op_probe_submitting = sync_probe_was;                         \
    CHECK((sync_probe_status == SELV_PENDING) == ((p)->op != 0)); \
    return sync_probe_status;                                     \
  } while (0)

static inline selv_status op_semaphore(op_probe *p, selv_semaphore *s, selv_task task, uint64_t n) {
  p->object = s;
  p->task = task;
  p->n = n;
  SYNC_PROBE_SUBMIT(p, selv_semaphore_acquire_async(s, task, n, &completion, &p->op));
}
static inline selv_status op_limiter(op_probe *p, selv_limiter *l, selv_task task) {
  p->object = l;
  p->task = task;
  SYNC_PROBE_SUBMIT(p, selv_limiter_acquire_async(l, task, &completion, &p->op));
}
static inline selv_status op_on_behalf_of(op_probe *p, selv_limiter *l, selv_task task, uint64_t borrower) {
  p->object = l;
  p->task = task;
  SYNC_PROBE_SUBMIT(p, selv_limiter_acquire_on_behalf_of_async(l, task, borrower, &completion, &p->op));
}
static inline selv_status op_event(op_probe *p, selv_event *e, selv_task task) {
  p->object = e;
  p->task = task;
  SYNC_PROBE_SUBMIT(p, selv_event_wait_async(e, task, &completion, &p->op));
}
static inline selv_status op_park(op_probe *p, selv_parking_lot *lot, selv_task task) {
  p->object = lot;
  p->task = task;
  SYNC_PROBE_SUBMIT(p, selv_parking_lot_park_async(lot, task, &completion, &p->op));
}
static inline selv_status op_send(op_probe *p, selv_channel *ch, selv_task task, uint64_t number) {
  p->object = ch;
  p->task = task;
  SYNC_PROBE_SUBMIT(p, selv_channel_send_async(ch, task, &number, sizeof number, &completion, &p->op));
}
static inline selv_status op_recv(op_probe *p, selv_channel *ch, selv_task task) {
  p->object = ch;
  p->task = task;
  SYNC_PROBE_SUBMIT(p, selv_channel_recv_async(ch, task, &completion, &p->op));
}

/* A probe for receivers: n gets the item. */
static inline void op_probe_take(op_probe *p, const selv_completed *c) {
  if (c->status == SELV_OK)
    p->n = item_number(c->data, c->len);
  else
    CHECK(c->data == NULL && c->len == 0);
}

/* ---- chance, for storms: xorshift64, its seed printed so that a failure can be told from another ---- */

static inline uint64_t sync_probe_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  *state = x;
  return x * UINT64_C(0x2545f4914f6cdd1d) >> 3;
}

static inline uint64_t sync_probe_seed(uint64_t thread) {
  uint64_t seed = check_env_number("SELV_TEST_SEED", check_now_ns());
  printf("seed of thread %llu: SELV_TEST_SEED=%llu\n", (unsigned long long)thread, (unsigned long long)seed);
  return (seed ^ (thread + 1) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
}

/* ---- bad options, the same for every type: `good` is a selv_<type>_options that works ---- */

#define SYNC_BAD_OPTIONS(type, good)                                                        \
  do {                                                                                      \
    struct {                                                                                \
      selv_##type##_options known;                                                          \
      uint64_t tail[2];                                                                     \
    } newer;                                                                                \
    selv_##type##_options bad = (good);                                                     \
    selv_##type##_stats stats;                                                              \
    unsigned char *bytes = (unsigned char *)&stats;                                         \
    selv_##type *o = (selv_##type *)(uintptr_t)1;                                           \
    size_t at;                                                                              \
    CHECK_STATUS(selv_##type##_new(&bad, NULL), SELV_E_NULL);                               \
    bad.struct_size = 0;                                                                    \
    CHECK_STATUS(selv_##type##_new(&bad, &o), SELV_E_INVAL);                                \
    CHECK(o == NULL);                                                                       \
    CHECK_LAST_ERROR_HAS("struct_size");                                                    \
    bad.struct_size = 3;                                                                    \
    CHECK_STATUS(selv_##type##_new(&bad, &o), SELV_E_INVAL);                                \
    bad = (good);                                                                           \
    bad.flags |= 0x40000000u;                                                               \
    o = (selv_##type *)(uintptr_t)1;                                                        \
    CHECK_STATUS(selv_##type##_new(&bad, &o), SELV_E_INVAL);                                \
    CHECK(o == NULL);                                                                       \
    CHECK_LAST_ERROR_HAS("flag");                                                           \
    bad = (good);                                                                           \
    bad.name = "\xff\xfe";                                                                  \
    CHECK_STATUS(selv_##type##_new(&bad, &o), SELV_E_INVAL);                                \
    CHECK_LAST_ERROR_HAS("name");                                                           \
    memset(&newer, 0, sizeof newer);                                                        \
    newer.known = (good);                                                                   \
    newer.known.struct_size = sizeof newer;                                                 \
    newer.tail[1] = 1;                                                                      \
    CHECK_STATUS(selv_##type##_new(&newer.known, &o), SELV_E_UNSUPPORTED);                  \
    CHECK(o == NULL);                                                                       \
    newer.tail[1] = 0;                                                                      \
    CHECK_OK(selv_##type##_new(&newer.known, &o));                                          \
    CHECK_STATUS(selv_##type##_get_stats(NULL, &stats), SELV_E_NULL);                       \
    CHECK_STATUS(selv_##type##_get_stats(o, NULL), SELV_E_NULL);                            \
    memset(&stats, 0x5a, sizeof stats);                                                     \
    stats.struct_size = 0;                                                                  \
    CHECK_STATUS(selv_##type##_get_stats(o, &stats), SELV_E_INVAL);                         \
    stats.struct_size = 16; /* an older host: not written past its end */                   \
    CHECK_OK(selv_##type##_get_stats(o, &stats));                                           \
    for (at = 16; at < sizeof stats; at++) CHECK_EQ_U64(bytes[at], 0x5a);                   \
    CHECK_STATUS(selv_##type##_close(NULL), SELV_E_NULL);                                   \
    CHECK_OK(selv_##type##_free(NULL));                                                     \
    CHECK_OK(selv_##type##_free(o));                                                        \
  } while (0)

/* A blocking call: tasks that are none, `object` with NULL. `call(object, task)` is an expression in these two names. */
#define SYNC_BAD_TASKS(call_with_task)                            \
  do {                                                            \
    selv_task task = 0;                                           \
    CHECK_STATUS(call_with_task, SELV_E_INVAL);                   \
    task = task_named("gone");                                    \
    CHECK_OK(selv_task_exit(task, NULL));                         \
    CHECK_STATUS(call_with_task, SELV_E_STALE);                   \
    task = UINT64_C(0x7fff0000ffff0000); /* larger than any */    \
    CHECK_STATUS(call_with_task, SELV_E_INVAL);                   \
    task = UINT64_C(0x3fff0000ffff0000); /* never given out */    \
    CHECK_STATUS(call_with_task, SELV_E_INVAL);                   \
  } while (0)

/* An asynchronous call, as an expression in `task`, `completion` and `op`: bad tasks, and completions that name nobody. */
#define SYNC_BAD_ASYNC(async_call)                                                     \
  do {                                                                                 \
    op_probe nobody;                                                                   \
    selv_completion good, bad, *completion = &good;                                    \
    selv_op op = 99;                                                                   \
    selv_task task = SELV_TASK_CURRENT;                                                \
    op_probe_init(&nobody);                                                            \
    good = op_probe_completion(&nobody);                                               \
    bad = good;                                                                        \
    bad.fn = NULL;                                                                     \
    completion = NULL;                                                                 \
    CHECK_STATUS(async_call, SELV_E_NULL);                                             \
    CHECK_EQ_U64(op, 0);                                                               \
    completion = &bad;                                                                 \
    op = 99;                                                                           \
    CHECK_STATUS(async_call, SELV_E_NULL);                                             \
    CHECK_EQ_U64(op, 0);                                                               \
    completion = &good;                                                                \
    task = 0;                                                                          \
    op = 99;                                                                           \
    CHECK_STATUS(async_call, SELV_E_INVAL);                                            \
    CHECK_EQ_U64(op, 0);                                                               \
    task = task_named("gone");                                                         \
    CHECK_OK(selv_task_exit(task, NULL));                                              \
    op = 99;                                                                           \
    CHECK_STATUS(async_call, SELV_E_STALE);                                            \
    CHECK_EQ_U64(op, 0);                                                               \
    CHECK_EQ_U64(check_tally_get(&nobody.called), 0);                                  \
  } while (0)

#endif

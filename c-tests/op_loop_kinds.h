/* op_loop_kinds.h: each primitive that an operation can wait for, in one form, for the tests of operations that a host loop
 * completes: how it is made so that an operation waits, what lets one in, and how one sees whether what was granted is
 * somebody's. */
#ifndef SELV_C_TESTS_OP_LOOP_KINDS_H
#define SELV_C_TESTS_OP_LOOP_KINDS_H

#include "loops.h"
#include "sync_probe.h"

typedef struct op_kind op_kind;

/* One object of a kind, with a task that keeps operations waiting and two that begin one each. */
typedef struct op_stage {
  const op_kind *kind;
  void *object;
  selv_lock *lock; /* the object itself, or the condition's */
  selv_task owner, task, next;
  op_probe p, q; /* `p` is on a loop; `q` is behind it, on none unless the test says so */
} op_stage;

struct op_kind {
  const char *name;
  void (*make)(op_stage *s);
  selv_status (*submit)(op_stage *s, op_probe *p, selv_task task);
  void (*grant)(op_stage *s); /* lets the first one in */
  int (*is_held)(op_stage *s, selv_task by);
  int (*is_free)(op_stage *s); /* what was granted last is nobody's */
  void (*give_back)(op_stage *s, selv_task by);
  selv_status (*close)(op_stage *s);
  void (*breaks)(op_stage *s); /* NULL: it does not break */
  uint64_t (*waiting)(op_stage *s);
  selv_status (*free)(op_stage *s);
  int for_all;         /* one grant is for all who wait */
  int cancelled_holds; /* a cancelled or closed wait has the lock back */
};

static inline int stage_yes(op_stage *s) {
  (void)s;
  return 1;
}
static inline int stage_yes_by(op_stage *s, selv_task by) {
  (void)by;
  return stage_yes(s);
}
static inline void stage_nothing(op_stage *s, selv_task by) {
  (void)s;
  (void)by;
}

/* ---- lock ---- */

static inline void stage_lock(op_stage *s) {
  s->lock = lock_named("desk", 0);
  s->object = s->lock;
  CHECK_OK(selv_lock_acquire(s->lock, s->owner, SELV_FOREVER));
}
static inline selv_status stage_lock_submit(op_stage *s, op_probe *p, selv_task task) { return op_probe_lock(p, s->lock, task); }
static inline void stage_lock_grant(op_stage *s) { CHECK_OK(selv_lock_release(s->lock, s->owner)); }
static inline int stage_lock_held(op_stage *s, selv_task by) { return selv_lock_owner(s->lock) == by; }
static inline int stage_lock_is_free(op_stage *s) { return selv_lock_owner(s->lock) == 0; }
static inline void stage_unlock(op_stage *s, selv_task by) { CHECK_OK(selv_lock_release(s->lock, by)); }
static inline selv_status stage_lock_close(op_stage *s) { return selv_lock_close(s->lock); }
static inline void stage_owner_ends(op_stage *s) {
  CHECK_EQ_U64(task_ends(s->owner).report.locks_broken, 1);
  s->owner = 0;
}
static inline uint64_t stage_lock_waiting(op_stage *s) { return lock_waiting(s->lock); }
static inline selv_status stage_lock_free(op_stage *s) {
  if (s->owner && selv_lock_owner(s->lock) == s->owner) stage_unlock(s, s->owner);
  return selv_lock_free(s->lock);
}

/* ---- condition ---- */

static inline void stage_condition(op_stage *s) {
  s->lock = lock_named("guard", 0);
  s->object = condition_on(s->lock, "bell");
}
static inline selv_status stage_condition_submit(op_stage *s, op_probe *p, selv_task task) {
  selv_completion completion = op_probe_completion(p);
  selv_status status;
  CHECK_OK(selv_lock_acquire(s->lock, task, SELV_FOREVER));
  p->task = task;
  status = selv_condition_wait_async((selv_condition *)s->object, task, &completion, &p->op);
  if (status < 0) CHECK_OK(selv_lock_release(s->lock, task)); /* held as before */
  return status;
}
static inline void stage_condition_grant(op_stage *s) { /* both are notified, if there are two, and the lock goes to the first */
  CHECK_OK(selv_lock_acquire(s->lock, s->owner, SELV_FOREVER));
  CHECK_OK(selv_condition_notify((selv_condition *)s->object, s->owner, 2));
  CHECK_OK(selv_lock_release(s->lock, s->owner));
}
static inline selv_status stage_condition_close(op_stage *s) { return selv_condition_close((selv_condition *)s->object); }
static inline void stage_condition_breaks(op_stage *s) {
  CHECK_OK(selv_lock_acquire(s->lock, s->owner, SELV_FOREVER));
  stage_owner_ends(s);
}
static inline uint64_t stage_condition_waiting(op_stage *s) { return condition_waiting((selv_condition *)s->object); }
static inline selv_status stage_condition_free(op_stage *s) {
  selv_status status = selv_condition_free((selv_condition *)s->object);
  return status < 0 ? status : selv_lock_free(s->lock);
}

/* ---- semaphore ---- */

static inline void stage_semaphore(op_stage *s) { s->object = semaphore_of(0, 0); }
static inline selv_status stage_semaphore_submit(op_stage *s, op_probe *p, selv_task task) {
  return op_semaphore(p, (selv_semaphore *)s->object, task, 1);
}
static inline void stage_semaphore_grant(op_stage *s) { CHECK_OK(selv_semaphore_release((selv_semaphore *)s->object, 1)); }
static inline int stage_semaphore_is_free(op_stage *s) { return semaphore_stats((selv_semaphore *)s->object).permits == 1; }
static inline int stage_semaphore_held(op_stage *s, selv_task by) {
  (void)by; /* a permit is nobody's own */
  return semaphore_stats((selv_semaphore *)s->object).permits == 0;
}
static inline selv_status stage_semaphore_close(op_stage *s) { return selv_semaphore_close((selv_semaphore *)s->object); }
static inline uint64_t stage_semaphore_waiting(op_stage *s) { return semaphore_waiting((selv_semaphore *)s->object); }
static inline selv_status stage_semaphore_free(op_stage *s) { return selv_semaphore_free((selv_semaphore *)s->object); }

/* ---- limiter ---- */

static inline void stage_limiter(op_stage *s) {
  s->object = limiter_of(1);
  CHECK_OK(selv_limiter_try_acquire((selv_limiter *)s->object, s->owner));
}
static inline selv_status stage_limiter_submit(op_stage *s, op_probe *p, selv_task task) {
  return op_limiter(p, (selv_limiter *)s->object, task);
}
static inline void stage_limiter_grant(op_stage *s) { CHECK_OK(selv_limiter_release((selv_limiter *)s->object, s->owner)); }
static inline int stage_limiter_is_free(op_stage *s) { return limiter_stats((selv_limiter *)s->object).borrowed == 0; }
static inline int stage_limiter_held(op_stage *s, selv_task by) {
  (void)by; /* as its give_back shows, which another task's would not be */
  return limiter_stats((selv_limiter *)s->object).borrowed == 1;
}
static inline void stage_limiter_give_back(op_stage *s, selv_task by) {
  CHECK_OK(selv_limiter_release((selv_limiter *)s->object, by));
}
static inline selv_status stage_limiter_close(op_stage *s) { return selv_limiter_close((selv_limiter *)s->object); }
static inline uint64_t stage_limiter_waiting(op_stage *s) { return limiter_waiting((selv_limiter *)s->object); }
static inline selv_status stage_limiter_free(op_stage *s) {
  if (s->owner && !stage_limiter_is_free(s)) stage_limiter_give_back(s, s->owner);
  return selv_limiter_free((selv_limiter *)s->object);
}

/* ---- event ---- */

static inline void stage_event(op_stage *s) { s->object = event_of(0); }
static inline selv_status stage_event_submit(op_stage *s, op_probe *p, selv_task task) {
  return op_event(p, (selv_event *)s->object, task);
}
static inline void stage_event_grant(op_stage *s) { CHECK_OK(selv_event_set((selv_event *)s->object)); }
static inline selv_status stage_event_close(op_stage *s) { return selv_event_close((selv_event *)s->object); }
static inline uint64_t stage_event_waiting(op_stage *s) { return event_waiting((selv_event *)s->object); }
static inline selv_status stage_event_free(op_stage *s) { return selv_event_free((selv_event *)s->object); }

/* ---- parking lot ---- */

static inline void stage_lot(op_stage *s) { s->object = lot_named("lot"); }
static inline selv_status stage_lot_submit(op_stage *s, op_probe *p, selv_task task) {
  return op_park(p, (selv_parking_lot *)s->object, task);
}
static inline void stage_lot_grant(op_stage *s) {
  uint64_t count = 99;
  CHECK_OK(selv_parking_lot_unpark((selv_parking_lot *)s->object, 1, &count));
  CHECK_EQ_U64(count, 1);
}
static inline selv_status stage_lot_close(op_stage *s) { return selv_parking_lot_close((selv_parking_lot *)s->object); }
static inline void stage_lot_breaks(op_stage *s) { CHECK_OK(selv_parking_lot_break((selv_parking_lot *)s->object, s->owner)); }
static inline uint64_t stage_lot_waiting(op_stage *s) { return parking_lot_waiting((selv_parking_lot *)s->object); }
static inline selv_status stage_lot_free(op_stage *s) { return selv_parking_lot_free((selv_parking_lot *)s->object); }

/* ---- channel: receivers, then senders ---- */

static inline void stage_recv(op_stage *s) {
  s->object = channel_of(0, 0);
  s->p.then = op_probe_take;
  s->q.then = op_probe_take;
}
static inline selv_status stage_recv_submit(op_stage *s, op_probe *p, selv_task task) {
  return op_recv(p, (selv_channel *)s->object, task);
}
static inline void stage_recv_grant(op_stage *s) { CHECK_OK(item_send_nowait((selv_channel *)s->object, 17)); }
static inline int stage_recv_is_free(op_stage *s) { return channel_stats((selv_channel *)s->object).queued == 1; }
static inline int stage_recv_held(op_stage *s, selv_task by) {
  (void)by;
  return channel_stats((selv_channel *)s->object).queued == 0;
}
static inline selv_status stage_channel_close(op_stage *s) { return selv_channel_close((selv_channel *)s->object); }
static inline uint64_t stage_recv_waiting(op_stage *s) { return channel_stats((selv_channel *)s->object).receivers_waiting; }
static inline selv_status stage_channel_free(op_stage *s) { return selv_channel_free((selv_channel *)s->object); }

static inline void stage_send(op_stage *s) {
  s->object = channel_of(1, 0);
  CHECK_OK(item_send_nowait((selv_channel *)s->object, 0));
}
static inline selv_status stage_send_submit(op_stage *s, op_probe *p, selv_task task) {
  return op_send(p, (selv_channel *)s->object, task, task);
}
static inline void stage_send_grant(op_stage *s) {
  uint64_t number;
  CHECK_OK(item_recv_nowait((selv_channel *)s->object, &number));
}
static inline uint64_t stage_send_waiting(op_stage *s) { return channel_stats((selv_channel *)s->object).senders_waiting; }

/* ---- all of them ---- */

static const op_kind op_kinds[] = {
    {"lock", stage_lock, stage_lock_submit, stage_lock_grant, stage_lock_held, stage_lock_is_free, stage_unlock, stage_lock_close,
     stage_owner_ends, stage_lock_waiting, stage_lock_free, 0, 0},
    {"condition", stage_condition, stage_condition_submit, stage_condition_grant, stage_lock_held, stage_lock_is_free, stage_unlock,
     stage_condition_close, stage_condition_breaks, stage_condition_waiting, stage_condition_free, 0, 1},
    {"semaphore", stage_semaphore, stage_semaphore_submit, stage_semaphore_grant, stage_semaphore_held, stage_semaphore_is_free,
     stage_nothing, stage_semaphore_close, NULL, stage_semaphore_waiting, stage_semaphore_free, 0, 0},
    {"limiter", stage_limiter, stage_limiter_submit, stage_limiter_grant, stage_limiter_held, stage_limiter_is_free,
     stage_limiter_give_back, stage_limiter_close, NULL, stage_limiter_waiting, stage_limiter_free, 0, 0},
    {"event", stage_event, stage_event_submit, stage_event_grant, stage_yes_by, stage_yes, stage_nothing, stage_event_close, NULL,
     stage_event_waiting, stage_event_free, 1, 0},
    {"parking lot", stage_lot, stage_lot_submit, stage_lot_grant, stage_yes_by, stage_yes, stage_nothing, stage_lot_close,
     stage_lot_breaks, stage_lot_waiting, stage_lot_free, 0, 0},
    {"receiver", stage_recv, stage_recv_submit, stage_recv_grant, stage_recv_held, stage_recv_is_free, stage_nothing,
     stage_channel_close, NULL, stage_recv_waiting, stage_channel_free, 0, 0},
    {"sender", stage_send, stage_send_submit, stage_send_grant, stage_yes_by, stage_yes, stage_nothing, stage_channel_close, NULL,
     stage_send_waiting, stage_channel_free, 0, 0},
};

#define OP_KINDS (sizeof op_kinds / sizeof *op_kinds)

static inline void stage_begin(op_stage *s, const op_kind *kind) {
  memset(s, 0, sizeof *s);
  s->kind = kind;
  s->owner = task_named("owner");
  s->task = task_named("first");
  s->next = task_named("next");
  op_probe_init(&s->p);
  op_probe_init(&s->q);
  kind->make(s);
}

static inline void stage_end(op_stage *s) {
  CHECK_EQ_U64(s->kind->waiting(s), 0);
  CHECK_OK(s->kind->free(s));
  if (s->owner) CHECK_OK(selv_task_exit(s->owner, NULL));
  if (s->task) CHECK_OK(selv_task_exit(s->task, NULL));
  CHECK_OK(selv_task_exit(s->next, NULL));
}

/* `p` on the loop, and waiting. */
static inline void stage_submit(op_stage *s, host *h) {
  s->p.loop = h->loop;
  CHECK_STATUS(s->kind->submit(s, &s->p, s->task), SELV_PENDING);
  CHECK_EQ_U64(s->kind->waiting(s), 1);
}

/* The loop and the object, with `p` waiting; and their end. */
static inline void stage_on(op_stage *s, host *h, const op_kind *kind, int form) {
  host_begin(h, form);
  stage_begin(s, kind);
  stage_submit(s, h);
}
static inline void stage_off(op_stage *s, host *h) {
  stage_end(s);
  host_end(h);
}

/* `q` behind it. */
static inline void stage_submit_next(op_stage *s) {
  CHECK_STATUS(s->kind->submit(s, &s->q, s->next), SELV_PENDING);
  CHECK_EQ_U64(s->kind->waiting(s), 2);
}

/* Let in, but for the drain of the loop. */
static inline void stage_grant(op_stage *s) {
  s->kind->grant(s);
  CHECK(s->kind->is_held(s, s->task));
  CHECK_EQ_U64(check_tally_get(&s->p.called), 0);
}

/* What was granted to the first has gone to the next. */
static inline void stage_next_has_it_at(const char *file, int line, op_stage *s) {
  op_probe_got_at(file, line, "the next one", &s->q, 1, SELV_OK);
  CHECK(s->kind->is_held(s, s->next));
  s->kind->give_back(s, s->next);
}
#define STAGE_NEXT_HAS_IT(s) stage_next_has_it_at(__FILE__, __LINE__, (s))

/* A test of each kind, in both forms of the loop. */
#define STAGE_RUN_ALL(test)                                            \
  do {                                                                 \
    size_t stage_kind;                                                 \
    int stage_form;                                                    \
    for (stage_kind = 0; stage_kind < OP_KINDS; stage_kind++)          \
      for (stage_form = HOST_WAKE; stage_form <= HOST_FD; stage_form++) { \
        printf("%s: %s%s\n", #test, op_kinds[stage_kind].name, stage_form == HOST_FD ? ", by its fd" : ""); \
        fflush(stdout);                                                \
        test(&op_kinds[stage_kind], stage_form);                       \
      }                                                                \
  } while (0)

#endif

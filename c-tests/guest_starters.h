/* guest_starters.h: a guest with a start_soon of the host's own, shared by guest_start_soon.c and guest_start_soon_misuse.c: what it was
 * asked for, and the two simplest answers. */
#ifndef SELV_C_TESTS_GUEST_STARTERS_H
#define SELV_C_TESTS_GUEST_STARTERS_H

#include "guests.h"
#include "probe.h"

/* What was asked for, and how it is answered. */
typedef struct starter {
  guest g;
  host h;
  selv_job_fn fn; /* of the latest call, and all that came with it */
  selv_deliver_fn deliver;
  void *arg;
  char name[64];
  uint64_t asked;
  uint64_t refuses_at; /* this call is refused, 1 for the first */
  selv_status refusal;
  selv_status outcome; /* what is delivered without having run the job */
  selv_cache *cache;
  check_tally registered, unregistered;
  pthread_t threads[64];
  uint64_t thread_count;
} starter;

static inline void note(starter *s, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  CHECK(host_drains_here(&s->h)); /* in a tick */
  CHECK(s->g.inside == NULL && s->g.after == GUEST_EMPTY);
  CHECK(fn != NULL && deliver != NULL && name != NULL);
  s->fn = fn;
  s->deliver = deliver;
  s->arg = arg;
  snprintf(s->name, sizeof s->name, "%s", name);
  s->asked++;
}

static inline void begin(starter *s, selv_start_soon_fn start_soon, const uint64_t *plan, const char *finds) {
  memset(s, 0, sizeof *s);
  check_tally_init(&s->registered);
  check_tally_init(&s->unregistered);
  host_begin(&s->h, HOST_FD);
  guest_init(&s->g, &s->h);
  s->g.options.start_soon = start_soon;
  s->g.options.start_arg = s;
  s->g.plan = plan;
  s->g.finds = finds;
}

static inline void ends(starter *s, selv_status wanted) {
  GUEST_ENDS(&s->g, wanted);
  host_has_nothing(&s->h);
  host_end(&s->h);
}

static inline void deliver_ok(starter *s, int32_t code, void *value) {
  selv_outcome outcome;
  memset(&outcome, 0, sizeof outcome);
  outcome.code = code;
  outcome.value = value;
  s->deliver(s->arg, &outcome);
}

static inline void deliver_failure(starter *s, selv_status status) {
  selv_outcome outcome;
  memset(&outcome, 0, sizeof outcome);
  outcome.status = status;
  s->deliver(s->arg, &outcome);
}

static const uint64_t five[] = {CHECK_MS, CHECK_MS, CHECK_MS, CHECK_MS, CHECK_MS, SELV_GUEST_DONE};
static const uint64_t sleeps[] = {SELV_FOREVER, SELV_FOREVER, SELV_GUEST_DONE};

/* Runs the job on the host's own thread, before it returns. */
static inline selv_status runs_it_at_once(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  starter *s = (starter *)start_arg;
  void *value = NULL;
  int32_t code;
  note(s, fn, deliver, arg, name);
  code = fn(arg, &value);
  deliver_ok(s, code, value);
  return SELV_OK;
}

/* Keeps it for later. */
static inline selv_status keeps(void *start_arg, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  note((starter *)start_arg, fn, deliver, arg, name);
  return SELV_OK;
}

#endif

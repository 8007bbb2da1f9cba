/* guests.h: a model guest for the C tests of guest mode. It is a small event loop: deadlines, a pipe, work that any thread may post.
 * Every callback checks the rules of guest mode before it does anything: on which thread it is, what was called before it, that it is
 * the only one, that nothing follows done. A test gives the guest a script, or puts functions of its own in place of the loop's. The
 * host is in loops.h. */
#ifndef SELV_C_TESTS_GUESTS_H
#define SELV_C_TESTS_GUESTS_H

#include "loops.h"

#include <sys/eventfd.h>

/* ---- the host, which is the test's own thread ---- */

static inline void host_awaits_at(const char *file, int line, host *h) {
  struct pollfd due;
  int ready;
  due.fd = h->watch;
  due.events = POLLIN;
  due.revents = 0;
  do {
    ready = poll(&due, 1, (int)check_patience_s() * 1000);
  } while (ready < 0 && errno == EINTR);
  if (ready != 1) check_fail(file, line, "the host waits and is not told to drain");
}
/* Waits until a drain is due. */
#define HOST_AWAITS(h) host_awaits_at(__FILE__, __LINE__, (h))

static inline uint32_t host_next_at(const char *file, int line, host *h) {
  host_awaits_at(file, line, h);
  return host_drain(h, 0);
}
/* Waits until a drain is due, and drains. Gives how many calls ran. */
#define HOST_NEXT(h) host_next_at(__FILE__, __LINE__, (h))

/* Runs the host until `cond` holds, which only what it runs can bring about. */
#define HOST_UNTIL(h, cond)       \
  do {                            \
    while (!(cond)) HOST_NEXT(h); \
  } while (0)

/* The host has not been told to drain; and if it drains all the same, nothing is there. */
static inline void host_has_nothing(host *h) {
  CHECK(!host_is_due(h));
  CHECK_EQ_U64(host_drain(h, 0), 0);
}

/* Inside a drain of this loop, on its thread? Answered by the library, which must not run anything for it. */
static inline int host_drains_here(const host *h) {
  return host_is_here(h) && selv_host_loop_drain(h->loop, 0, NULL) == SELV_E_REENTRANT;
}

/* ---- the guest ---- */

/* What was called last: each callback may follow only some of them. */
enum guest_after { GUEST_START, GUEST_PREPARE, GUEST_FOUND, GUEST_EMPTY, GUEST_POLL, GUEST_PROCESS, GUEST_END, GUEST_DISCARD, GUEST_DONE };

#define GUEST_DEADLINES 64
#define GUEST_LOOP (UINT64_MAX - 7) /* the end of a plan: from here on prepare answers what the loop does */

typedef struct guest guest;

/* What a poll brings; freed by whoever is given it, so that one that is lost or given twice is found. */
typedef struct guest_events {
  guest *owner;
  uint64_t serial;
} guest_events;

struct guest {
  /* A test's own, set between guest_init and guest_begin. The functions take the place of the loop's. */
  selv_status (*on_prepare)(guest *g, uint64_t *out_ns);
  selv_status (*on_poll)(guest *g, uint64_t timeout_ns, void **out_events);
  selv_status (*on_process)(guest *g, void *events);
  void (*on_done)(guest *g, selv_status why);
  void (*on_deadline)(guest *g); /* one has passed */
  void (*on_input)(guest *g, const char *data, size_t len);
  const uint64_t *plan;   /* what prepare answers, one after the other; ends with SELV_GUEST_DONE or GUEST_LOOP */
  const char *finds;      /* what polls do: + find something, - nothing, w wait as the loop does; at its end, w */
  const char *place;      /* "prepare", "poll(0)", "poll", "process", "interrupt", "discard" or "done": there ... */
  void (*then)(guest *g); /* ... this is called, the first time */
  check_journal *journal;
  int notes_interrupts; /* in the journal, too */
  int polls_anywhere; /* the test's own start_soon may run a poll on the host's thread */
  int keeps_events;   /* no discard is given: events that are not processed are freed by done */
  void *user;
  int was_there; /* `then` has been called */

  host *h;
  selv_guest_options options;
  selv_guest *handle;

  /* The rules. */
  pthread_mutex_t mutex;
  enum guest_after after;
  const char *inside; /* the callback that is running, or NULL; interrupt does not count */
  int interrupting;   /* interrupts that are running */
  int silent;         /* from now on only who abandons it may call it */
  uint64_t ns;        /* what prepare said */
  uint64_t telling, told;       /* interrupts asked for: begun, returned */
  uint64_t told_before, served; /* those that had returned when the last callback ended, and before the last prepare */
  guest_events *events;
  uint64_t polled, processed, discarded; /* events */
  uint64_t last_serial;

  /* What was seen. */
  check_tally prepares, polls0, polls, processes, interrupts, dones;
  uint64_t for_workers; /* polls(0) after which a worker must poll, if nothing interrupts */
  selv_status why;
  pthread_t done_on;
  char detail[512]; /* selv_last_error in done */

  /* The loop. */
  int wake_fd, in_fd, out_fd;
  uint64_t posted, ran; /* posted is guarded by the mutex; ran: how many prepare has seen */
  int finish;           /* guarded: with nothing left to do, prepare says so */
  uint64_t deadlines[GUEST_DEADLINES];
  int deadline_count;
  uint64_t fired, input; /* deadlines that have passed, bytes that have come */
};

static __thread const guest *guest_called;    /* whose function of the library this thread is calling */
static __thread const guest *guest_abandoned; /* whom this thread abandons */

/* Checks what every callback must keep to, and that it may come after what was last. Returns with the mutex held. */
static inline void guest_enter(guest *g, const char *what, unsigned may_follow) {
  int here = guest_abandoned != g && host_drains_here(g->h);
  pthread_mutex_lock(&g->mutex);
  if (g->after == GUEST_DONE) check_fail(__FILE__, __LINE__, "%s was called after done", what);
  if (g->inside) check_fail(__FILE__, __LINE__, "%s was called inside %s", what, g->inside);
  if (!(may_follow >> g->after & 1)) check_fail(__FILE__, __LINE__, "%s was called in the state %d", what, (int)g->after);
  if (strcmp(what, "poll") == 0) {
    CHECK(!here || g->polls_anywhere);
    CHECK(!g->silent);
    CHECK(guest_abandoned == NULL);
  } else if (strcmp(what, "discard") == 0 || strcmp(what, "done") == 0) {
    CHECK(guest_abandoned == g || here);
    CHECK(guest_abandoned == g || (guest_called != g && !g->silent));
  } else {
    CHECK(here);
    CHECK(guest_called != g && guest_abandoned != g);
    CHECK(!g->silent);
  }
  g->inside = what;
}

static inline void guest_leave(guest *g, enum guest_after now, const char *note) {
  if (g->journal && note) check_note(g->journal, note, "");
  g->inside = NULL;
  g->after = now;
  g->told_before = __atomic_load_n(&g->told, __ATOMIC_SEQ_CST);
  pthread_mutex_unlock(&g->mutex);
}

#define GUEST_AFTER(state) (1u << (state))

/* ---- its loop ---- */

static inline void guest_deadline_add(guest *g, uint64_t when_ns) {
  int at = g->deadline_count++;
  CHECK(at < GUEST_DEADLINES);
  while (at > 0 && g->deadlines[(at - 1) / 2] > when_ns) {
    g->deadlines[at] = g->deadlines[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  g->deadlines[at] = when_ns;
}

static inline void guest_deadline_take(guest *g) {
  uint64_t last = g->deadlines[--g->deadline_count];
  int at = 0, child;
  while ((child = 2 * at + 1) < g->deadline_count) {
    if (child + 1 < g->deadline_count && g->deadlines[child + 1] < g->deadlines[child]) child++;
    if (last <= g->deadlines[child]) break;
    g->deadlines[at] = g->deadlines[child];
    at = child;
  }
  g->deadlines[at] = last;
}

/* Runs what is ready. A function of the test may add more: that is for the next time. */
static inline selv_status guest_loop_prepare(guest *g, uint64_t *out_ns) {
  uint64_t now = check_now_ns();
  int finish;
  pthread_mutex_lock(&g->mutex);
  g->ran = g->posted;
  pthread_mutex_unlock(&g->mutex);
  while (g->deadline_count && g->deadlines[0] <= now) {
    guest_deadline_take(g);
    g->fired++;
    if (g->on_deadline) g->on_deadline(g);
  }
  pthread_mutex_lock(&g->mutex);
  finish = g->finish;
  pthread_mutex_unlock(&g->mutex);
  if (finish)
    *out_ns = SELV_GUEST_DONE;
  else if (g->deadline_count == 0)
    *out_ns = SELV_FOREVER;
  else
    *out_ns = g->deadlines[0] > now ? g->deadlines[0] - now : 0;
  return SELV_OK;
}

static inline void *guest_new_events(guest *g) {
  guest_events *events = (guest_events *)malloc(sizeof *events);
  CHECK(events != NULL);
  events->owner = g;
  events->serial = ++g->last_serial;
  return events;
}

/* Waits for the pipe or for an interrupt. An interrupt is used up by whichever poll sees it, one with no time to wait, too. */
static inline selv_status guest_loop_poll(guest *g, uint64_t timeout_ns, void **out_events) {
  struct timespec timeout;
  struct pollfd fds[2];
  uint64_t count;
  int ready;
  memset(fds, 0, sizeof fds);
  fds[0].fd = g->wake_fd;
  fds[1].fd = g->in_fd;
  fds[0].events = fds[1].events = POLLIN;
  timeout.tv_sec = (time_t)(timeout_ns / UINT64_C(1000000000));
  timeout.tv_nsec = (long)(timeout_ns % UINT64_C(1000000000));
  ready = ppoll(fds, 2, timeout_ns > UINT64_MAX / 4 ? NULL : &timeout, NULL);
  CHECK(ready >= 0 || errno == EINTR);
  if (ready > 0 && fds[0].revents) CHECK(read(g->wake_fd, &count, sizeof count) == sizeof count);
  if (ready > 0 && fds[1].revents) *out_events = guest_new_events(g);
  return SELV_OK;
}

static inline selv_status guest_loop_process(guest *g, void *events) {
  char data[4096];
  ssize_t got;
  if (events == NULL) return SELV_OK;
  got = read(g->in_fd, data, sizeof data);
  CHECK(got > 0 || (got < 0 && errno == EAGAIN)); /* a scripted poll finds what is not there */
  if (got <= 0) return SELV_OK;
  g->input += (uint64_t)got;
  if (g->on_input) g->on_input(g, data, (size_t)got);
  return SELV_OK;
}

static inline void guest_loop_interrupt(guest *g) {
  uint64_t one = 1;
  CHECK(write(g->wake_fd, &one, sizeof one) == sizeof one);
}

/* ---- its callbacks ---- */

static inline void guest_is_at(guest *g, const char *place) {
  if (g->place == NULL || strcmp(g->place, place) != 0) return;
  if (__atomic_exchange_n(&g->was_there, 1, __ATOMIC_SEQ_CST) == 0) g->then(g);
}

static inline selv_status guest_prepare(void *arg, uint64_t *out_ns) {
  guest *g = (guest *)arg;
  selv_status status;
  guest_enter(g, "prepare", GUEST_AFTER(GUEST_START) | GUEST_AFTER(GUEST_PROCESS));
  CHECK(g->events == NULL);
  CHECK_EQ_U64(*out_ns, 0);
  g->served = g->told_before; /* others came perhaps a moment before this call, and are for the next one */
  pthread_mutex_unlock(&g->mutex);
  check_tally_add(&g->prepares, 1);
  guest_is_at(g, "prepare");
  if (g->plan && *g->plan != GUEST_LOOP) {
    *out_ns = *g->plan++;
    status = SELV_OK;
  } else
    status = g->on_prepare ? g->on_prepare(g, out_ns) : guest_loop_prepare(g, out_ns);
  pthread_mutex_lock(&g->mutex);
  g->ns = *out_ns == SELV_NO_WAIT ? 0 : *out_ns; /* they mean the same */
  guest_leave(g, status < 0 || *out_ns == SELV_GUEST_DONE ? GUEST_END : GUEST_PREPARE, "prepare");
  return status;
}

/* As the script says, as the test says, or as the loop does. */
static inline selv_status guest_poll_for(guest *g, uint64_t timeout_ns, void **out_events) {
  char find = g->finds && *g->finds ? *g->finds++ : 'w';
  if (find == '+') *out_events = guest_new_events(g);
  if (find != 'w') return SELV_OK;
  return g->on_poll ? g->on_poll(g, timeout_ns, out_events) : guest_loop_poll(g, timeout_ns, out_events);
}

static inline selv_status guest_poll(void *arg, uint64_t timeout_ns, void **out_events) {
  guest *g = (guest *)arg;
  int now = timeout_ns == 0;
  selv_status status;
  CHECK(*out_events == NULL);
  if (now) {
    guest_enter(g, "poll(0)", GUEST_AFTER(GUEST_PREPARE));
  } else {
    guest_enter(g, "poll", GUEST_AFTER(GUEST_EMPTY));
    CHECK_EQ_U64(timeout_ns, g->ns);
  }
  pthread_mutex_unlock(&g->mutex);
  check_tally_add(now ? &g->polls0 : &g->polls, 1);
  guest_is_at(g, now ? "poll(0)" : "poll");
  status = guest_poll_for(g, timeout_ns, out_events);
  pthread_mutex_lock(&g->mutex);
  g->events = (guest_events *)*out_events;
  if (g->events) g->polled++;
  if (status < 0)
    guest_leave(g, GUEST_END, now ? "poll0" : "poll");
  else if (now) {
    if (g->events == NULL && g->ns > 0) g->for_workers++;
    guest_leave(g, g->events ? GUEST_FOUND : GUEST_EMPTY, g->events ? "poll0+" : "poll0");
  } else
    guest_leave(g, GUEST_POLL, g->events ? "poll+" : "poll");
  return status;
}

static inline void guest_free_events(guest *g, void *events) {
  guest_events *e = (guest_events *)events;
  CHECK(e == g->events);
  CHECK(e->owner == g && e->serial == g->last_serial);
  e->owner = NULL;
  free(e);
  g->events = NULL;
}

/* An interrupt may have come since the last prepare was due: then a tick may end without a poll of a worker. */
static inline int guest_is_cut_short(const guest *g) { return __atomic_load_n(&g->telling, __ATOMIC_SEQ_CST) > g->served; }

static inline selv_status guest_process(void *arg, void *events) {
  guest *g = (guest *)arg;
  selv_status status;
  /* After a poll(0) that found nothing: if prepare had said "again at once", or if the tick was cut short. */
  guest_enter(g, "process",
              GUEST_AFTER(GUEST_FOUND) | GUEST_AFTER(GUEST_POLL) | (g->ns == 0 || guest_is_cut_short(g) ? GUEST_AFTER(GUEST_EMPTY) : 0));
  CHECK(events == g->events);
  pthread_mutex_unlock(&g->mutex);
  check_tally_add(&g->processes, 1);
  guest_is_at(g, "process");
  status = g->on_process ? g->on_process(g, events) : guest_loop_process(g, events);
  pthread_mutex_lock(&g->mutex);
  if (events) {
    guest_free_events(g, events);
    g->processed++;
  }
  guest_leave(g, status < 0 ? GUEST_END : GUEST_PROCESS, events ? "process+" : "process");
  return status;
}

static inline void guest_discard(void *arg, void *events) {
  guest *g = (guest *)arg;
  guest_enter(g, "discard", GUEST_AFTER(GUEST_FOUND) | GUEST_AFTER(GUEST_POLL) | GUEST_AFTER(GUEST_END));
  CHECK(events != NULL);
  guest_free_events(g, events);
  g->discarded++;
  pthread_mutex_unlock(&g->mutex);
  guest_is_at(g, "discard");
  pthread_mutex_lock(&g->mutex);
  guest_leave(g, GUEST_DISCARD, "discard");
}

static inline void guest_interrupt(void *arg) {
  guest *g = (guest *)arg;
  pthread_mutex_lock(&g->mutex);
  CHECK(g->after != GUEST_DONE);
  g->interrupting++;
  if (g->journal && g->notes_interrupts) check_note(g->journal, "interrupt", "");
  pthread_mutex_unlock(&g->mutex);
  guest_loop_interrupt(g);
  guest_is_at(g, "interrupt");
  check_tally_add(&g->interrupts, 1);
  pthread_mutex_lock(&g->mutex);
  CHECK(g->after != GUEST_DONE);
  g->interrupting--;
  pthread_mutex_unlock(&g->mutex);
}

static inline void guest_done(void *arg, selv_status why) {
  guest *g = (guest *)arg;
  char note[64];
  selv_last_error(g->detail, sizeof g->detail);
  guest_enter(g, "done", GUEST_AFTER(GUEST_DONE) - 1u);
  CHECK(g->interrupting == 0);
  if (g->events && g->keeps_events) {
    guest_free_events(g, g->events);
    g->discarded++;
  }
  CHECK(g->events == NULL);
  CHECK_EQ_U64(g->polled, g->processed + g->discarded);
  g->why = why;
  g->done_on = pthread_self();
  g->after = GUEST_DONE; /* now: nothing may come while it runs, either */
  pthread_mutex_unlock(&g->mutex);
  guest_is_at(g, "done");
  if (g->on_done) g->on_done(g, why);
  pthread_mutex_lock(&g->mutex);
  snprintf(note, sizeof note, "done(%s)", selv_status_name(why));
  guest_leave(g, GUEST_DONE, note);
  check_tally_add(&g->dones, 1);
}

/* ---- its life ---- */

static inline void guest_init(guest *g, host *h) {
  selv_guest_options options = SELV_GUEST_OPTIONS_INIT;
  int pipe_fds[2];
  memset(g, 0, sizeof *g);
  pthread_mutex_init(&g->mutex, NULL);
  check_tally_init(&g->prepares);
  check_tally_init(&g->polls0);
  check_tally_init(&g->polls);
  check_tally_init(&g->processes);
  check_tally_init(&g->interrupts);
  check_tally_init(&g->dones);
  g->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  CHECK(g->wake_fd >= 0);
  CHECK(pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC) == 0);
  g->in_fd = pipe_fds[0];
  g->out_fd = pipe_fds[1];
  g->h = h;
  options.host = h->loop;
  options.guest = g;
  options.prepare = guest_prepare;
  options.poll = guest_poll;
  options.process = guest_process;
  options.discard = guest_discard;
  options.interrupt = guest_interrupt;
  options.done = guest_done;
  g->options = options;
}

/* Starting it calls nothing: its first tick is queued. */
static inline void guest_begin(guest *g) {
  if (g->keeps_events) g->options.discard = NULL;
  guest_called = g;
  CHECK_OK(selv_guest_start(&g->options, &g->handle));
  guest_called = NULL;
  CHECK(g->handle != NULL);
}

static inline void guest_free(guest *g) {
  selv_guest_release(g->handle);
  g->handle = NULL;
  close(g->wake_fd);
  close(g->in_fd);
  close(g->out_fd);
}

/* Runs the host until the guest is done, checks how it ended and frees it. */
static inline void guest_ends_at(const char *file, int line, guest *g, selv_status wanted) {
  while (check_tally_get(&g->dones) == 0) host_next_at(file, line, g->h);
  if (g->why != wanted)
    check_fail(file, line, "done was called with %s, expected %s; it said: %s", selv_status_name(g->why), selv_status_name(wanted),
               g->detail[0] ? g->detail : "(nothing)");
  CHECK(pthread_equal(g->done_on, g->h->thread));
  guest_free(g);
}
#define GUEST_ENDS(g, wanted) guest_ends_at(__FILE__, __LINE__, (g), (wanted))

/* The same; the journal gets a bar before each drain. */
static inline void guest_plays_at(const char *file, int line, guest *g, selv_status wanted) {
  while (check_tally_get(&g->dones) == 0) {
    host_awaits_at(file, line, g->h);
    check_note(g->journal, "|", "");
    host_drain(g->h, 0);
  }
  guest_ends_at(file, line, g, wanted);
}
#define GUEST_PLAYS(g, wanted) guest_plays_at(__FILE__, __LINE__, (g), (wanted))

/* For a thread that ends inside a callback: that callback is over. */
static inline void guest_loses_its_thread(guest *g) {
  pthread_mutex_lock(&g->mutex);
  if (g->events) {
    guest_free_events(g, g->events);
    g->processed++;
  }
  g->inside = NULL;
  g->after = GUEST_END;
  pthread_mutex_unlock(&g->mutex);
  pthread_exit(NULL);
}

static inline selv_status guest_tell(guest *g, selv_status (*call)(selv_guest *)) {
  const guest *was = guest_called;
  selv_status status;
  __atomic_add_fetch(&g->telling, 1, __ATOMIC_SEQ_CST);
  guest_called = g;
  status = call(g->handle);
  guest_called = was;
  __atomic_add_fetch(&g->told, 1, __ATOMIC_SEQ_CST);
  return status;
}

/* Gives the guest work, from any thread: a prepare that begins from now on runs it. */
static inline selv_status guest_post(guest *g) {
  pthread_mutex_lock(&g->mutex);
  g->posted++;
  pthread_mutex_unlock(&g->mutex);
  return guest_tell(g, selv_guest_interrupt);
}

/* From a callback of its own: the next prepare, or this one, says that there is nothing left to do. */
static inline void guest_finish_here(guest *g) {
  pthread_mutex_lock(&g->mutex);
  g->finish = 1;
  pthread_mutex_unlock(&g->mutex);
}

/* From anywhere. A prepare that comes by may see it before the interrupt, which is then too late, and not needed. */
static inline selv_status guest_finish(guest *g) {
  selv_status status;
  guest_finish_here(g);
  status = guest_tell(g, selv_guest_interrupt);
  return status == SELV_E_TOO_LATE ? SELV_OK : status;
}

/* From now on nothing may come but its end, and that from whoever abandons it. */
static inline void guest_is_to_be_silent(guest *g) {
  pthread_mutex_lock(&g->mutex);
  g->silent = 1;
  pthread_mutex_unlock(&g->mutex);
}

/* Events that polls have found. */
static inline uint64_t guest_has_polled(guest *g) {
  uint64_t polled;
  pthread_mutex_lock(&g->mutex);
  polled = g->polled;
  pthread_mutex_unlock(&g->mutex);
  return polled;
}

static inline selv_status guest_abandon(guest *g, uint64_t timeout_ns) {
  const guest *was = guest_abandoned;
  selv_status status;
  guest_abandoned = g;
  status = selv_guest_abandon(g->handle, timeout_ns);
  guest_abandoned = was;
  return status;
}

/* Puts something into its pipe. */
static inline void guest_feed(guest *g, const void *data, size_t len) { CHECK(write(g->out_fd, data, len) == (ssize_t)len); }

/* Runs the host until a worker is in the guest's poll for the `n`th time, with nothing that interrupts before. */
static inline void guest_polls_at(const char *file, int line, guest *g, uint64_t n) {
  while (g->for_workers < n) host_next_at(file, line, g->h);
  check_tally_wait_at(file, line, "polls of a worker", &g->polls, n);
}
#define GUEST_POLLS(g, n) guest_polls_at(__FILE__, __LINE__, (g), (n))

#endif

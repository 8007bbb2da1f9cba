/* loops.h: a small host with a loop of its own, shared by the C tests of host loops and guests: it polls a queue that wakes and
 * other messages are posted to, or the loop's fd, and drains once for each wake. A test is the host itself (host_begin, host_end),
 * or has a thread be it (host_start, host_stop). Calls that watch themselves come after it. Everything is checked on the way: on
 * which thread, not nested, no wake after the close, and at the end that what was accepted has run or was dropped. */
#ifndef SELV_C_TESTS_LOOPS_H
#define SELV_C_TESTS_LOOPS_H

#include "waiters.h"

#include <fcntl.h>
#include <poll.h>

/* ---- the host ---- */

enum { HOST_WAKE, HOST_FD }; /* the two forms of a host loop */

typedef struct host {
  selv_host_loop *loop;
  int form;
  int queue[2];       /* a pipe: the host's own queue of messages */
  int watch;          /* becomes readable when a drain is due: of the queue, or the loop's fd */
  uint32_t max_calls; /* for the drains of a host with a thread; may be set before host_start */
  pthread_t thread;   /* the loop's */
  int quit;           /* the host with a thread leaves its loop */
  int inside;         /* a watched call of this host runs */
  int closed;         /* selv_host_loop_close has returned: no wake may run now */
  uint64_t waking;    /* wakes that run now */
  check_tally ready;  /* the thread has its loop */
  check_tally woken;  /* wakes so far */
  check_tally freed;  /* wake_arg_free */
} host;

/* What is posted to a host: a function to call on its thread outside any drain; none: a wake. */
typedef struct host_message {
  void (*fn)(void *arg);
  void *arg;
} host_message;

static inline void host_post(host *h, void (*fn)(void *arg), void *arg) {
  host_message message;
  memset(&message, 0, sizeof message);
  message.fn = fn;
  message.arg = arg;
  CHECK(write(h->queue[1], &message, sizeof message) == (ssize_t)sizeof message); /* in one piece: it is short */
}

static inline void host_wake(void *wake_arg) {
  host *h = (host *)wake_arg;
  __atomic_add_fetch(&h->waking, 1, __ATOMIC_SEQ_CST);
  CHECK(__atomic_load_n(&h->closed, __ATOMIC_SEQ_CST) == 0);
  CHECK_EQ_U64(check_tally_get(&h->freed), 0);
  host_post(h, NULL, NULL);
  check_tally_add(&h->woken, 1);
  __atomic_sub_fetch(&h->waking, 1, __ATOMIC_SEQ_CST);
}

static inline void host_wake_freed(void *wake_arg) {
  host *h = (host *)wake_arg;
  CHECK_EQ_U64(__atomic_load_n(&h->waking, __ATOMIC_SEQ_CST), 0);
  CHECK_EQ_U64(check_tally_get(&h->freed), 0);
  check_tally_add(&h->freed, 1);
}

static inline void host_init(host *h, int form) {
  memset(h, 0, sizeof *h);
  h->form = form;
  check_tally_init(&h->ready);
  check_tally_init(&h->woken);
  check_tally_init(&h->freed);
  CHECK(pipe(h->queue) == 0);
  CHECK(fcntl(h->queue[0], F_SETFL, O_NONBLOCK) == 0);
  CHECK(fcntl(h->queue[1], F_SETFL, O_NONBLOCK) == 0); /* a wake must not block: a full queue fails the test */
}

static inline selv_host_loop_options host_options(host *h) {
  selv_host_loop_options options = SELV_HOST_LOOP_OPTIONS_INIT;
  options.name = "plain";
  if (h->form == HOST_WAKE) {
    options.wake = host_wake;
    options.wake_arg = h;
    options.wake_arg_free = host_wake_freed;
  }
  return options;
}

/* Makes the loop; this thread is the loop's. */
static inline void host_open(host *h) {
  selv_host_loop_options options = host_options(h);
  CHECK_OK(selv_host_loop_new(&options, &h->loop));
  CHECK(h->loop != NULL);
  CHECK((selv_host_loop_fd(h->loop) >= 0) == (h->form == HOST_FD));
  h->watch = h->form == HOST_FD ? selv_host_loop_fd(h->loop) : h->queue[0];
  h->thread = pthread_self();
}

static inline selv_host_loop_stats host_stats_of(const selv_host_loop *l) {
  selv_host_loop_stats stats = SELV_HOST_LOOP_STATS_INIT;
  CHECK_OK(selv_host_loop_get_stats(l, &stats));
  return stats;
}
static inline selv_host_loop_stats host_stats(host *h) { return host_stats_of(h->loop); }
static inline uint64_t host_waiting(host *h) { return host_stats(h).waiting; }

static inline int host_is_here(const host *h) { return pthread_equal(h->thread, pthread_self()) != 0; }

static inline int host_readable(int fd) {
  struct pollfd p;
  int n;
  p.fd = fd;
  p.events = POLLIN;
  p.revents = 0;
  do {
    n = poll(&p, 1, 0);
  } while (n < 0 && errno == EINTR);
  CHECK(n >= 0);
  CHECK((p.revents & ~POLLIN) == 0);
  return n == 1;
}

/* Has the host been told to drain, and has not done so since? */
static inline int host_is_due(host *h) { return host_readable(h->watch); }

/* Takes one message from the queue, if there is one: what is to be called, or a wake. */
static inline int host_take(host *h, host_message *message) {
  ssize_t got;
  do {
    got = read(h->queue[0], message, sizeof *message);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) return 0;
  CHECK(got == (ssize_t)sizeof *message);
  return 1;
}

/* For the test that is the host: answers the wakes, if there were any, and drains. Gives how many calls ran. */
static inline uint32_t host_drain(host *h, uint32_t max_calls) {
  host_message message;
  uint32_t ran = 99;
  while (h->form == HOST_WAKE && host_take(h, &message)) CHECK(message.fn == NULL);
  CHECK_OK(selv_host_loop_drain(h->loop, max_calls, &ran));
  return ran;
}

/* The calling thread is the loop's from now on. */
static inline void host_bind(host *h) {
  CHECK_OK(selv_host_loop_bind(h->loop));
  h->thread = pthread_self();
}

static inline void host_close(host *h) {
  CHECK_OK(selv_host_loop_close(h->loop));
  __atomic_store_n(&h->closed, 1, __ATOMIC_SEQ_CST);
}

/* Closes the loop if it is open, and lets go of it. Nothing accepted may be missing. */
static inline void host_shut(host *h) {
  selv_host_loop_stats stats;
  host_close(h); /* twice is allowed */
  stats = host_stats(h);
  CHECK_EQ_U64(stats.closed, 1);
  CHECK_EQ_U64(stats.waiting, 0);
  CHECK_EQ_U64(stats.guests, 0);
  CHECK_EQ_U64(stats.accepted, stats.ran + stats.dropped);
  if (h->form == HOST_WAKE) CHECK_EQ_U64(stats.wakes, check_tally_get(&h->woken));
  CHECK_EQ_U64(check_tally_get(&h->freed), h->form == HOST_WAKE ? 1 : 0);
  selv_host_loop_release(h->loop);
  h->loop = NULL;
}

static inline void host_pipe_closed(host *h) {
  CHECK(close(h->queue[0]) == 0);
  CHECK(close(h->queue[1]) == 0);
}

/* ---- the calling thread as the host ---- */

static inline void host_begin(host *h, int form) {
  host_init(h, form);
  host_open(h);
}

static inline void host_end(host *h) {
  host_shut(h);
  host_pipe_closed(h);
}

/* ---- a thread as the host ---- */

/* Waits until there is something to do, and does one thing. */
static inline void host_turn(host *h) {
  struct pollfd p[2];
  host_message message;
  p[0].fd = h->queue[0];
  p[1].fd = h->form == HOST_FD && !h->closed ? h->watch : -1;
  p[0].events = p[1].events = POLLIN;
  p[0].revents = p[1].revents = 0;
  if (poll(p, 2, -1) < 0) {
    CHECK(errno == EINTR);
    return;
  }
  CHECK(((p[0].revents | p[1].revents) & ~POLLIN) == 0);
  if (p[1].revents || (p[0].revents && host_take(h, &message) && message.fn == NULL)) {
    selv_status status = selv_host_loop_drain(h->loop, h->max_calls, NULL);
    if (status == SELV_E_CLOSED) CHECK(h->closed || host_stats(h).closed); /* a call closed it */
    else CHECK_OK(status);
    if (host_stats(h).closed) __atomic_store_n(&h->closed, 1, __ATOMIC_SEQ_CST);
  } else if (p[0].revents) {
    message.fn(message.arg);
  }
}

static inline void *host_thread(void *arg) {
  host *h = (host *)arg;
  host_open(h);
  check_tally_add(&h->ready, 1);
  while (!h->quit) host_turn(h);
  host_shut(h);
  return NULL;
}

static inline void host_go(host *h) {
  CHECK(pthread_create(&h->thread, NULL, host_thread, h) == 0);
  CHECK_WAIT(&h->ready, 1);
}

static inline void host_start(host *h, int form) {
  host_init(h, form);
  host_go(h);
}

static inline void host_quits(void *arg) { ((host *)arg)->quit = 1; }

/* What is queued when this is called is dropped, unless the host has drained by then. */
static inline void host_stop(host *h) {
  host_post(h, host_quits, h);
  CHECK(pthread_join(h->thread, NULL) == 0);
  host_pipe_closed(h);
}

typedef struct host_errand {
  void (*fn)(void *arg);
  void *arg;
  check_tally done;
} host_errand;

static inline void host_errand_run(void *arg) {
  host_errand *e = (host_errand *)arg;
  e->fn(e->arg);
  check_tally_add(&e->done, 1);
}

/* Has the host's thread call `fn(arg)`, outside any drain, and waits for its return. */
static inline void host_do(host *h, void (*fn)(void *arg), void *arg) {
  host_errand e;
  memset(&e, 0, sizeof e);
  e.fn = fn;
  e.arg = arg;
  check_tally_init(&e.done);
  host_post(h, host_errand_run, &e);
  CHECK_WAIT(&e.done, 1);
}

/* ---- calls that watch themselves ---- */

/* One probe may serve many calls; `order` and the threads are then those of the latest one. */
typedef struct call_probe {
  host *on;                                /* runs only on its thread, in its drains, not inside another watched call of it */
  void (*then)(struct call_probe *p);      /* inside the call; may be NULL */
  void (*then_drop)(struct call_probe *p); /* inside the drop; may be NULL */
  void *object;                            /* what these two work on */
  uint64_t n;
  check_tally ran, dropped;
  uint64_t order;
  pthread_t ran_on, dropped_on;
} call_probe;

static inline void call_probe_init(call_probe *p, host *on) {
  memset(p, 0, sizeof *p);
  p->on = on;
  check_tally_init(&p->ran);
  check_tally_init(&p->dropped);
}

/* The selv_call_fn. */
static inline void call_probe_run(void *arg) {
  call_probe *p = (call_probe *)arg;
  CHECK(host_is_here(p->on));
  CHECK(p->on->inside == 0);
  p->on->inside = 1;
  p->order = waiters_next();
  p->ran_on = pthread_self();
  if (p->then) p->then(p);
  p->on->inside = 0;
  check_tally_add(&p->ran, 1);
}

static inline void call_probe_drop(void *arg) {
  call_probe *p = (call_probe *)arg;
  p->order = waiters_next();
  p->dropped_on = pthread_self();
  if (p->then_drop) p->then_drop(p);
  check_tally_add(&p->dropped, 1);
}

/* For calls that must not run. */
static inline void call_probe_never(void *arg) {
  (void)arg;
  check_fail(__FILE__, __LINE__, "a call ran that must not run");
}

static inline selv_status call_probe_queue(call_probe *p, uint32_t flags) {
  return selv_host_loop_call_soon(p->on->loop, call_probe_run, p, call_probe_drop, flags);
}

static inline void call_probe_soon(call_probe *p) { CHECK_OK(call_probe_queue(p, 0)); }

/* So often has it run, and so often has it been dropped. */
#define CALL_COUNTS(p, ran_n, dropped_n)                          \
  do {                                                            \
    CHECK_EQ_U64(check_tally_get(&(p)->ran), (ran_n));            \
    CHECK_EQ_U64(check_tally_get(&(p)->dropped), (dropped_n));    \
  } while (0)

/* ---- tests that hold for both forms ---- */

#define HOST_RUN_BOTH(test)               \
  do {                                    \
    printf("%s: woken\n", #test);         \
    fflush(stdout);                       \
    test(HOST_WAKE);                      \
    printf("%s: by its fd\n", #test);     \
    fflush(stdout);                       \
    test(HOST_FD);                        \
  } while (0)

#endif

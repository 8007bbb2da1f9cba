/* Selvedge in the plainest host there is: the loop's fd in an epoll set, polled and drained. Also the queue alone, drained by hand
 * with no poll between. */
#include "own.h"

#include <sys/epoll.h>

typedef struct host {
  own own; /* first */
  int epoll;
  int ended;
} host;

static host *create_with(uint32_t max_workers) {
  host *h = calloc(1, sizeof *h);
  selv_host_loop *loop;
  struct epoll_event event = {0};
  if (h == NULL) {
    abort();
  }
  must(selv_host_loop_new(NULL, &loop), "selv_host_loop_new");
  own_begin(&h->own, loop, max_workers);
  h->epoll = epoll_create1(EPOLL_CLOEXEC);
  event.events = EPOLLIN;
  if (h->epoll < 0 || epoll_ctl(h->epoll, EPOLL_CTL_ADD, selv_host_loop_fd(loop), &event) != 0) {
    abort();
  }
  return h;
}

static void *create(void) { return create_with(0); }

static void *create_bounded(void) { return create_with((uint32_t)sysconf(_SC_NPROCESSORS_ONLN)); }

static void run(void *loop) {
  host *h = loop;
  h->ended = 0;
  while (!h->ended) {
    struct epoll_event event;
    if (epoll_wait(h->epoll, &event, 1, -1) == 1) {
      must(selv_host_loop_drain(h->own.loop, 0, NULL), "selv_host_loop_drain");
    }
  }
}

static void run_by_hand(void *loop) {
  host *h = loop;
  h->ended = 0;
  while (!h->ended) {
    must(selv_host_loop_drain(h->own.loop, 0, NULL), "selv_host_loop_drain");
  }
}

static void end(void *loop) { ((host *)loop)->ended = 1; }

static void destroy(void *loop) {
  host *h = loop;
  own_end(&h->own);
  must(selv_host_loop_close(h->own.loop), "selv_host_loop_close");
  selv_host_loop_release(h->own.loop);
  close(h->epoll);
  free(h);
}

const bench_loop bench_loop_selvedge = {create, run, end, own_call_soon, own_call_soon, own_call, own_submit, destroy};
const bench_loop bench_loop_selvedge_max = {create_bounded, run, end, own_call_soon, own_call_soon, own_call, own_submit, destroy};
const bench_loop bench_loop_selvedge_bare = {create, run_by_hand, end, own_call_soon, own_call_soon, NULL, NULL, destroy};

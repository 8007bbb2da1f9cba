/* A libuv loop that runs by itself; and one in an epoll set, by its backend fd, which is how a host without a thread to spare takes it
 * in. */
#define _GNU_SOURCE /* what uv.h needs of pthread.h */
#include "guest.h"

#include <sys/epoll.h>
#include <unistd.h>

typedef struct guest {
  uv_loop_t loop; /* first */
  int epoll;
} guest;

static void *create(void) {
  guest *g = allocate(sizeof *g);
  struct epoll_event event = {0};
  uv_must(uv_loop_init(&g->loop));
  g->epoll = epoll_create1(EPOLL_CLOEXEC);
  event.events = EPOLLIN;
  if (g->epoll < 0 || epoll_ctl(g->epoll, EPOLL_CTL_ADD, uv_backend_fd(&g->loop), &event) != 0) {
    abort();
  }
  return g;
}

static void run(void *handle) { uv_run(handle, UV_RUN_DEFAULT); }

static void run_in_epoll(void *handle) {
  guest *g = handle;
  while (uv_loop_alive(&g->loop)) {
    struct epoll_event event;
    epoll_wait(g->epoll, &event, 1, uv_backend_timeout(&g->loop));
    uv_run(&g->loop, UV_RUN_NOWAIT);
  }
}

static void destroy(void *handle) {
  guest *g = handle;
  uv_must(uv_loop_close(&g->loop));
  close(g->epoll);
  free(g);
}

const bench_guest bench_guest_native = BENCH_GUEST(create, run, destroy);
const bench_guest bench_guest_backend_epoll = BENCH_GUEST(create, run_in_epoll, destroy);

/* selvedge/uv.h: libuv, both ways round: a host loop that a uv_loop_t drains, and a uv_loop_t as the guest of any host loop
 * (libuv 1.44 and later, on Unix).
 *
 * Inline C for C99 and C++11, compiled in the host's own unit with `pkg-config --cflags --libs libuv`; libselvedge knows no
 * libuv. (libuv's header needs _GNU_SOURCE or _POSIX_C_SOURCE=200809L where the compiler is told -std=c99.) What a function here
 * finds wrong by itself (a NULL, a flag, no memory) leaves selv_last_error as it was: selv_status_text says what there is to say.
 *
 * A host loop in a uv_loop_t: selv_uv_loop_new makes one and watches its fd with a uv_poll_t; selv_uv_loop_end ends both.
 *   - What is queued runs in a turn of the uv loop, among the I/O callbacks, as they do: uv_run must not be called in it.
 *   - The handle keeps uv_run going until it is closed, whether or not work waits, as a uv_async_t would: a job that is out may
 *     still come back. With SELV_UV_UNREF it does not: uv_run then ends while work waits, and a loop with nothing else to do
 *     never looks at the queue. Nothing is lost, it waits for the next uv_run that has cause to turn, or for the end. uv_ref
 *     and uv_unref on the handle change it at any time.
 *   - The thread that runs the uv loop is the host loop's. When another one takes over, the first turn with work binds it;
 *     until then a selv_host_loop_call made there is not known for a deadlock, so rather call selv_host_loop_bind at once.
 *   - Who closes every handle that uv_walk finds leaves this one to selv_uv_loop_end: `if (h != handle && !uv_is_closing(h))
 *     uv_close(h, NULL);` in the walk. After a uv_close of it nobody drains the host loop, which does not know, and stays open.
 *
 * libuv as a guest: selv_uv_guest_start hands a uv_loop_t to a host whose own loop must stay in charge (GLib, a GUI, a game).
 * Its callbacks run on the host's thread, each pass as one call from the host's queue; a worker of a cache sleeps on
 * uv_backend_fd meanwhile, and none does while there is work. What happens in a pass:
 *   prepare    uv_update_time, then uv_backend_timeout: 0 while a handle waits to be watched, to be closed, or idles; no more
 *              active handles and requests: the guest is done.
 *   poll       poll(2) on uv_backend_fd and an eventfd, which is how it is interrupted.
 *   process    uv_run(UV_RUN_NOWAIT): timers, I/O, prepare, check, idle and close callbacks.
 * What works: timers, streams, UDP, pipes, signals, child processes, files, uv_queue_work, getaddrinfo, uv_async_send from any
 * thread. Timers are as exact as libuv's own (milliseconds, never early), but for the time that the host takes to come to its
 * queue.
 *
 * What is different from uv_run(UV_RUN_DEFAULT), and the host's duty:
 *   - From selv_uv_guest_start to `done`: every call for the uv loop on the host loop's thread (uv_async_send apart), no
 *     uv_run, no uv_loop_close; and it is not the uv loop that drains this host loop.
 *   - libuv tells the kernel of a new handle when it runs, and whoever sleeps does not see a nearer timer. So after a change
 *     from outside the uv loop's own callbacks (uv_timer_start in a callback of the host, say) call selv_guest_interrupt. In a
 *     uv callback nothing is needed. Nor does uv_now move while the guest sleeps: before such a uv_timer_start, uv_update_time.
 *   - uv_stop cuts a pass short at most: selv_guest_stop ends the guest.
 *   - uv_prepare callbacks run once in a pass, before its I/O callbacks; the sleep comes after these, with no second round.
 *   - An idle handle makes pass follow upon pass, as it makes uv_run spin; the host's own sources have their turn in between.
 *   - uv_metrics_idle_time stays 0, and UV_LOOP_BLOCK_SIGNAL does not reach the thread that sleeps.
 *   - After `done` the uv loop is as any that uv_run has returned from, with all its handles: run it again, as a guest or with
 *     uv_run on the thread that `done` was called on; or uv_close them, turn it once more with uv_run, and uv_loop_close it.
 *   - In a fork child the guest is the parent's and none of its callbacks comes; uv_loop_fork makes the uv loop usable for a
 *     new one. */
#ifndef SELVEDGE_UV_H
#define SELVEDGE_UV_H

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <uv.h>

#include <selvedge.h>

/* Before, uv_backend_timeout is not 0 while a handle is yet to be told to the kernel: a guest would sleep, deaf to it. */
#if UV_VERSION_HEX < 0x012C00
#error "selvedge/uv.h needs libuv 1.44 or later"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a host loop in a uv_loop_t ---- */

/* Called in a turn of the uv loop when it has let go of a host loop. */
typedef void (*selv_uv_closed_fn)(void *user);

/* Flag of selv_uv_loop_options: the host loop does not keep uv_run going. */
#define SELV_UV_UNREF 1u

typedef struct selv_uv_loop_options {
  uint32_t struct_size;
  uint32_t flags;     /* SELV_UV_UNREF */
  const char *name;   /* of the host loop, in messages; NULL: "uv" */
  uint32_t max_calls; /* the most that run in one turn of the uv loop; 0: all that wait when it begins */
} selv_uv_loop_options;
#define SELV_UV_LOOP_OPTIONS_INIT { sizeof(selv_uv_loop_options), 0, NULL, 0 }

typedef struct selv_uv_loop_ {
  uv_poll_t poll; /* first: the host knows us by it */
  selv_host_loop *loop; /* NULL: given back */
  uint32_t max_calls;
  uint32_t is_ended; /* by selv_uv_loop_end */
  selv_uv_closed_fn closed;
  void *user;
} selv_uv_loop_;

/* The caller's options in our own layout: a field that it does not know is 0, one that we do not know must be 0. */
static inline selv_status selv_uv_options_read_(const void *given, void *out, size_t ours) {
  uint32_t size;
  size_t i;
  memcpy(&size, given, sizeof size);
  if (size < 2 * sizeof(uint32_t)) return SELV_E_INVAL;
  for (i = ours; i < size; i++)
    if (((const unsigned char *)given)[i] != 0) return SELV_E_UNSUPPORTED;
  memcpy(out, given, size < ours ? size : ours);
  return SELV_OK;
}

static inline void selv_uv_ready_(uv_poll_t *poll, int error, int events) {
  selv_uv_loop_ *s = (selv_uv_loop_ *)poll;
  selv_status status;
  (void)events;
  if (error != 0) return; /* libuv has stopped the handle */
  status = selv_host_loop_drain(s->loop, s->max_calls, NULL);
  /* The uv loop has come to another thread, with all that belongs to it. */
  if (status == SELV_E_WRONG_THREAD && selv_host_loop_bind(s->loop) == SELV_OK)
    status = selv_host_loop_drain(s->loop, s->max_calls, NULL);
  /* A child process shares the fd, cannot drain, and would spin while the parent has work. */
  if (status == SELV_E_FORKED) uv_poll_stop(poll);
}

static inline void selv_uv_closed_(uv_handle_t *handle) {
  selv_uv_loop_ *s = (selv_uv_loop_ *)handle;
  selv_uv_closed_fn closed = s->closed;
  void *user = s->user;
  selv_host_loop_release(s->loop);
  free(s);
  if (closed != NULL) closed(user);
}

/* selv_uv_loop_end: closes the host loop, at once, as selv_host_loop_close says; and its handle in the uv loop, which takes one
 * more turn of uv_run. In that turn the handle and the loop's handle are given back, then `closed(user)` is called (NULL:
 * nothing is). selv_host_loop_close alone would leave the handle in the uv loop.
 *
 * Threads:    the one that runs the uv loop; any, if none does at the moment.
 * Blocks:     as selv_host_loop_close.
 * Reentrancy: may be called from any callback of the uv loop, also from a queued one: it is the last one then.
 * Fork:       in the child, after uv_loop_fork, it only closes the handle.
 * NULL:       handle: SELV_E_NULL.
 *
 * SELV_OK; SELV_E_NULL; SELV_E_CLOSED (ended before, and `closed` has yet to be called); SELV_E_INVAL (somebody else has called
 * uv_close on the handle: the host loop is closed and given back all the same, but `closed` is never called, and the handle's
 * memory is lost). Nothing has changed with SELV_E_BUSY (a guest lives on the loop) and SELV_E_WRONG_THREAD (another thread drains
 * it at the moment). */
static inline selv_status selv_uv_loop_end(uv_handle_t *handle, selv_uv_closed_fn closed, void *user) {
  selv_uv_loop_ *s = (selv_uv_loop_ *)handle;
  selv_status status;
  if (s == NULL) return SELV_E_NULL;
  if (s->is_ended) return SELV_E_CLOSED;
  status = selv_host_loop_close(s->loop);
  /* Whoever may close a handle of the uv loop has the uv loop. */
  if (status == SELV_E_WRONG_THREAD) {
    selv_status bound = selv_host_loop_bind(s->loop);
    if (bound == SELV_OK) status = selv_host_loop_close(s->loop);
    if (bound == SELV_E_CLOSED) status = SELV_OK;
  }
  if (status != SELV_OK && status != SELV_E_FORKED) return status;
  s->is_ended = 1;
  if (uv_is_closing(handle)) {
    /* Whether libuv is done with the handle cannot be told; with the fd it is. */
    selv_host_loop_release(s->loop);
    s->loop = NULL;
    return SELV_E_INVAL;
  }
  s->closed = closed;
  s->user = user;
  uv_close(handle, selv_uv_closed_);
  return SELV_OK;
}

/* selv_uv_loop_new: makes a loop that `uv` drains in its turns. `opts` may be NULL: all defaults.
 *
 * `*out_loop`, for jobs, completions and calls, is valid until the end; who needs it longer takes selv_host_loop_retain.
 * `*out_handle` is for selv_uv_loop_end, uv_ref, uv_unref, and its `data` the host's.
 *
 * Threads:    the one that runs the uv loop, or will.
 * Blocks:     no.
 * Reentrancy: may be called from any callback of the uv loop.
 * Fork:       the loop is the parent's; in the child, uv_loop_fork, selv_uv_loop_end, and a new one.
 * NULL:       uv, out_loop or out_handle: SELV_E_NULL.
 *
 * SELV_OK; SELV_E_NULL; SELV_E_INVAL (a flag, a struct_size that is too small); SELV_E_UNSUPPORTED (options newer than this
 * header); SELV_E_NOMEM (memory, file descriptors, or libuv's watches); and what selv_host_loop_new returns. */
static inline selv_status selv_uv_loop_new(uv_loop_t *uv, const selv_uv_loop_options *opts, selv_host_loop **out_loop,
                                           uv_handle_t **out_handle) {
  selv_uv_loop_options o = SELV_UV_LOOP_OPTIONS_INIT;
  selv_host_loop_options loop_options = SELV_HOST_LOOP_OPTIONS_INIT;
  selv_uv_loop_ *s;
  selv_status status;
  if (out_loop != NULL) *out_loop = NULL;
  if (out_handle != NULL) *out_handle = NULL;
  if (uv == NULL || out_loop == NULL || out_handle == NULL) return SELV_E_NULL;
  if (opts != NULL && (status = selv_uv_options_read_(opts, &o, sizeof o)) != SELV_OK) return status;
  if (o.flags & ~SELV_UV_UNREF) return SELV_E_INVAL;
  if ((s = (selv_uv_loop_ *)calloc(1, sizeof *s)) == NULL) return SELV_E_NOMEM;
  s->max_calls = o.max_calls;
  loop_options.name = o.name != NULL ? o.name : "uv";
  status = selv_host_loop_new(&loop_options, &s->loop);
  if (status == SELV_OK && uv_poll_init(uv, &s->poll, selv_host_loop_fd(s->loop)) != 0) {
    selv_host_loop_release(s->loop);
    status = SELV_E_NOMEM;
  }
  if (status != SELV_OK) {
    free(s);
    return status;
  }
  if (uv_poll_start(&s->poll, UV_READABLE, selv_uv_ready_) != 0) {
    selv_uv_loop_end((uv_handle_t *)&s->poll, NULL, NULL);
    return SELV_E_NOMEM;
  }
  if (o.flags & SELV_UV_UNREF) uv_unref((uv_handle_t *)&s->poll);
  *out_loop = s->loop;
  *out_handle = (uv_handle_t *)&s->poll;
  return SELV_OK;
}

/* ---- libuv as a guest ---- */

typedef struct selv_uv_guest_options {
  uint32_t struct_size;
  uint32_t flags;                /* 0 */
  selv_host_loop *host;          /* required: whose thread runs the uv loop's callbacks */
  uv_loop_t *loop;               /* required: lives at least until `done` */
  selv_cache *cache;             /* as in selv_guest_options, these three: where the worker that sleeps comes from */
  selv_start_soon_fn start_soon;
  void *start_arg;
  void (*done)(void *user, selv_status why); /* required: as in selv_guest_options, on the host's thread, exactly once */
  void *user;                    /* handed to done */
  const char *name;              /* of the guest, in messages; NULL: "uv" */
} selv_uv_guest_options;
#define SELV_UV_GUEST_OPTIONS_INIT { sizeof(selv_uv_guest_options), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL }

typedef struct selv_uv_guest_ {
  uv_loop_t *loop;
  int backend_fd, interrupt_fd;
  void (*done)(void *user, selv_status why);
  void *user;
} selv_uv_guest_;

static inline selv_status selv_uv_guest_prepare_(void *guest, uint64_t *out_ns) {
  uv_loop_t *loop = ((selv_uv_guest_ *)guest)->loop;
  int ms;
  if (!uv_loop_alive(loop)) {
    *out_ns = SELV_GUEST_DONE;
    return SELV_OK;
  }
  /* The time that libuv keeps is that of its last pass, and the timeout would count from there. */
  uv_update_time(loop);
  ms = uv_backend_timeout(loop);
  *out_ns = ms < 0 ? SELV_FOREVER : (uint64_t)ms * UINT64_C(1000000);
  return SELV_OK;
}

/* Touches nothing of the uv loop but its fd: mostly another thread than the uv loop's is here. Returns early when a signal
 * comes, or when the time is more than poll(2) can be told; that costs a pass and no more. */
static inline selv_status selv_uv_guest_poll_(void *guest, uint64_t timeout_ns, void **out_events) {
  selv_uv_guest_ *g = (selv_uv_guest_ *)guest;
  uint64_t ms = timeout_ns / UINT64_C(1000000) + (timeout_ns % UINT64_C(1000000) != 0), told;
  struct pollfd fds[2];
  fds[0].fd = g->backend_fd;
  fds[1].fd = g->interrupt_fd;
  fds[0].events = fds[1].events = POLLIN;
  fds[0].revents = fds[1].revents = 0;
  if (poll(fds, 2, timeout_ns == SELV_FOREVER ? -1 : ms > INT_MAX ? INT_MAX : (int)ms) < 0)
    return errno == EINTR ? SELV_OK : SELV_E_IO;
  /* Heard: the next poll must sleep again. */
  if (fds[1].revents != 0 && read(g->interrupt_fd, &told, sizeof told) < 0 && errno != EAGAIN) return SELV_E_IO;
  if (fds[0].revents & POLLNVAL) return SELV_E_IO; /* somebody has closed the uv loop, or its fd */
  if (fds[0].revents != 0) *out_events = g;
  return SELV_OK;
}

static inline selv_status selv_uv_guest_process_(void *guest, void *events) {
  (void)events; /* libuv asks the kernel itself */
  uv_run(((selv_uv_guest_ *)guest)->loop, UV_RUN_NOWAIT);
  return SELV_OK;
}

static inline void selv_uv_guest_interrupt_(void *guest) {
  const uint64_t one = 1;
  /* Fails only with the counter at its limit, and then the eventfd is readable all the same. */
  if (write(((selv_uv_guest_ *)guest)->interrupt_fd, &one, sizeof one) < 0) return;
}

static inline void selv_uv_guest_done_(void *guest, selv_status why) {
  selv_uv_guest_ *g = (selv_uv_guest_ *)guest;
  void (*done)(void *user, selv_status why) = g->done;
  void *user = g->user;
  close(g->interrupt_fd);
  free(g);
  done(user, why);
}

/* selv_uv_guest_start: runs `opts->loop` as a guest of `opts->host`, until it has no active handle or request left: `done` with
 * SELV_OK. The first pass comes from the host's queue, after this has returned. selv_guest_interrupt, _stop, _abandon and
 * _release are for it as for any guest.
 *
 * Threads:    the host loop's.
 * Blocks:     no.
 * Reentrancy: may be called from a drained callback, and from the `done` of a guest before.
 * Fork:       a host loop of the parent: SELV_E_FORKED.
 * NULL:       opts, out, or a required field: SELV_E_NULL.
 * `done` is told SELV_OK; SELV_E_CANCELLED (selv_guest_stop); SELV_E_CLOSED (selv_guest_abandon, the cache); SELV_E_IO (poll(2)
 * failed: somebody has closed uv_backend_fd); SELV_E_BROKEN and what start_soon failed with, as for any guest.
 *
 * SELV_OK; SELV_E_NULL; SELV_E_INVAL (a flag, a struct_size that is too small); SELV_E_UNSUPPORTED (options newer than this
 * header; a uv loop without a backend fd; a libuv before 1.44 at run time); SELV_E_NOMEM (memory or file descriptors); and what
 * selv_guest_start returns. Then `done` is not called. */
static inline selv_status selv_uv_guest_start(const selv_uv_guest_options *opts, selv_guest **out) {
  selv_uv_guest_options o = SELV_UV_GUEST_OPTIONS_INIT;
  selv_guest_options guest = SELV_GUEST_OPTIONS_INIT;
  selv_uv_guest_ *g;
  selv_status status;
  if (out == NULL) return SELV_E_NULL;
  *out = NULL;
  if (opts == NULL) return SELV_E_NULL;
  if ((status = selv_uv_options_read_(opts, &o, sizeof o)) != SELV_OK) return status;
  if (o.host == NULL || o.loop == NULL || o.done == NULL) return SELV_E_NULL;
  if (o.flags != 0) return SELV_E_INVAL;
  /* The soname is the same: an older one than this was compiled with may have been loaded. */
  if (uv_version() < 0x012C00 || uv_backend_fd(o.loop) < 0) return SELV_E_UNSUPPORTED;
  if ((g = (selv_uv_guest_ *)calloc(1, sizeof *g)) == NULL) return SELV_E_NOMEM;
  g->loop = o.loop;
  g->done = o.done;
  g->user = o.user;
  g->backend_fd = uv_backend_fd(o.loop);
  g->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (g->interrupt_fd < 0) {
    free(g);
    return SELV_E_NOMEM;
  }
  guest.host = o.host;
  guest.cache = o.cache;
  guest.start_soon = o.start_soon;
  guest.start_arg = o.start_arg;
  guest.guest = g;
  guest.prepare = selv_uv_guest_prepare_;
  guest.poll = selv_uv_guest_poll_;
  guest.process = selv_uv_guest_process_;
  guest.interrupt = selv_uv_guest_interrupt_;
  guest.done = selv_uv_guest_done_;
  guest.name = o.name != NULL ? o.name : "uv";
  status = selv_guest_start(&guest, out);
  if (status != SELV_OK) {
    close(g->interrupt_fd);
    free(g);
  }
  return status;
}

#ifdef __cplusplus
}
#endif
#endif

/* own_guest.c: an event loop of one's own as the guest of another. The host's loop has messages that any thread may post, and no
 * descriptors, as a toolkit's; so the library wakes it through a function. The guest has nothing but deadlines: it runs twice, with its
 * polls on the workers of a cache, and with each polling thread registered at a runtime that has no hook.
 *     cc -std=c99 -pthread own_guest.c -o own_guest $(pkg-config --cflags --libs selvedge) && ./own_guest */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BEATS 3

static int quit;

static int check(const char *what, selv_status status) {
  char detail[256];
  if (status == SELV_OK) return 1;
  selv_last_error(detail, sizeof detail);
  fprintf(stderr, "%s: %s: %s\n", what, selv_status_name(status), detail);
  return 0;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- the host's loop: messages ---- */

enum { MESSAGE_DRAIN = 1 };

typedef struct window {
  pthread_mutex_t mutex;
  pthread_cond_t posted;
  int messages;
} window;

static void post_to_main_thread(window *w, int message) {
  pthread_mutex_lock(&w->mutex);
  w->messages |= message;
  pthread_cond_signal(&w->posted);
  pthread_mutex_unlock(&w->mutex);
}

static int next_message(window *w) {
  int message;
  pthread_mutex_lock(&w->mutex);
  while (w->messages == 0) pthread_cond_wait(&w->posted, &w->mutex);
  message = w->messages;
  w->messages = 0;
  pthread_mutex_unlock(&w->mutex);
  return message;
}

static void wake(void *wake_arg) { post_to_main_thread((window *)wake_arg, MESSAGE_DRAIN); } /* any thread */

static selv_status run_loop(selv_host_loop *loop, window *w) {
  selv_status status = SELV_OK;
  while (!quit && status == SELV_OK)
    if (next_message(w) & MESSAGE_DRAIN) status = selv_host_loop_drain(loop, 0, NULL);
  return status;
}

/* ---- the guest ---- */

typedef struct clockwork {
  uint64_t next; /* when, in nanoseconds */
  int beats;
  int wakeup;    /* an eventfd */
} clockwork;

static selv_status prepare(void *guest, uint64_t *out_ns) {
  clockwork *c = (clockwork *)guest;
  uint64_t now = now_ns();
  if (now >= c->next) {
    printf("tick\n");
    c->next = now + 100000000;
    if (--c->beats == 0) c->next = 0;
  }
  *out_ns = c->next == 0 ? SELV_GUEST_DONE : c->next - now;
  return SELV_OK;
}

/* On the host's thread with timeout 0, else on a worker. */
static selv_status wait_for_events(void *guest, uint64_t timeout_ns, void **out_events) {
  clockwork *c = (clockwork *)guest;
  struct pollfd p = { -1, POLLIN, 0 };
  uint64_t told, ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
  p.fd = c->wakeup;
  (void)out_events; /* a real loop has sockets in the poll, and hands on what is ready */
  if (poll(&p, 1, timeout_ns == SELV_FOREVER ? -1 : ms > 1000000 ? 1000000 : (int)ms) == 1)
    if (read(c->wakeup, &told, sizeof told) < 0 && errno != EAGAIN) return SELV_E_IO;
  return SELV_OK; /* too early is fine: prepare looks at the clock */
}

static selv_status process(void *guest, void *events) {
  (void)guest;
  (void)events;
  return SELV_OK;
}

static void interrupt(void *guest) { /* any thread; what is written stays until a poll reads it */
  const uint64_t one = 1;
  if (write(((clockwork *)guest)->wakeup, &one, sizeof one) < 0) return;
}

static void done(void *guest, selv_status why) {
  close(((clockwork *)guest)->wakeup);
  if (why != SELV_OK) fprintf(stderr, "the clockwork: %s\n", selv_status_text(why));
  quit = 1;
}

static selv_guest_options as_guest(selv_host_loop *loop, clockwork *c) {
  selv_guest_options options = SELV_GUEST_OPTIONS_INIT;
  options.host = loop;
  options.guest = c;
  options.prepare = prepare;
  options.poll = wait_for_events;
  options.process = process;
  options.interrupt = interrupt;
  options.done = done;
  return options;
}

/* ---- threads that a runtime wants to know, one poll at a time ---- */

static unsigned attached, detached;

static void runtime_attach_thread(void) { attached++; }
static void runtime_detach_thread(void) { detached++; }

typedef struct registered {
  selv_job_fn fn;
  selv_deliver_fn deliver;
  void *arg;
} registered;

static int32_t run_registered(void *arg, void **out_value) {
  registered *r = (registered *)arg;
  int32_t code;
  runtime_attach_thread();
  code = r->fn(r->arg, out_value);
  runtime_detach_thread();
  return code;
}

static void deliver_registered(void *arg, const selv_outcome *outcome) {
  registered *r = (registered *)arg;
  r->deliver(r->arg, outcome);
  free(r);
}

static selv_status start_registered(void *cache, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
  registered *r = (registered *)malloc(sizeof *r);
  selv_status status;
  if (r == NULL) return SELV_E_NOMEM; /* ends the run: done is told it */
  r->fn = fn;
  r->deliver = deliver;
  r->arg = arg;
  status = selv_start_soon_on_cache(cache, run_registered, deliver_registered, r, name);
  if (status != SELV_OK) free(r);
  return status;
}

/* ---- a run from its beginning to its end ---- */

static int run(selv_host_loop *loop, window *w, selv_cache *cache, int registers) {
  clockwork c;
  selv_guest *guest;
  selv_guest_options options = as_guest(loop, &c);
  int ok;
  c.next = now_ns();
  c.beats = BEATS;
  c.wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (c.wakeup < 0) return perror("eventfd"), 0;
  options.cache = cache;
  if (registers) {
    options.start_soon = start_registered;
    options.start_arg = cache;
  }
  quit = 0;
  puts(registers ? "it polls on threads that a runtime is told of:" : "it polls on workers of a cache:");
  if (!check("selv_guest_start", selv_guest_start(&options, &guest))) return 0;
  ok = check("selv_host_loop_drain", run_loop(loop, w));
  selv_guest_release(guest);
  return ok && c.beats == 0;
}

int main(void) {
  selv_host_loop_options options = SELV_HOST_LOOP_OPTIONS_INIT;
  window w = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
  selv_cache *cache;
  selv_host_loop *loop;
  int ok;
  options.wake = wake;
  options.wake_arg = &w;
  if (!check("selv_cache_new", selv_cache_new(NULL, &cache)) || !check("selv_host_loop_new", selv_host_loop_new(&options, &loop)))
    return EXIT_FAILURE;
  ok = run(loop, &w, cache, 0) && run(loop, &w, cache, 1);
  ok &= check("selv_host_loop_close", selv_host_loop_close(loop));
  selv_host_loop_release(loop);
  ok &= check("selv_cache_shutdown", selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL)); /* its threads are joined */
  selv_cache_release(cache);
  ok &= attached > 0 && attached == detached;
  if (ok) puts("the runtime was told of each thread that polled, and of its end");
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

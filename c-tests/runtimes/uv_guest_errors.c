/* uv_guest_errors: a uv loop as the guest of a host loop that the test drains by hand: what selv_uv_guest_start refuses, with
 * nothing left behind; a guest that is started on a loop which closes, or on another thread; a libuv that is older than the one
 * the program was compiled with; a uv loop whose backend fd somebody has closed. */
#include <uv.h>

static unsigned libuv_loaded; /* its version; 0: the real one's */
static inline unsigned loaded_version(void) { return libuv_loaded != 0 ? libuv_loaded : uv_version(); }
#define uv_version loaded_version

#include "uv_support.h"

#include <poll.h>

static uv_loop_t uv;
static uv_timer_t timer;
static selv_host_loop *host;

static uint64_t open_fds(void) {
  uint64_t n = 0;
  DIR *fds = opendir("/proc/self/fd");
  CHECK(fds != NULL);
  while (readdir(fds) != NULL) n++;
  closedir(fds);
  return n;
}

/* The host's loop: waits for its fd, and drains. */
static void turn(void) {
  struct pollfd p;
  p.fd = selv_host_loop_fd(host);
  p.events = POLLIN;
  p.revents = 0;
  CHECK(poll(&p, 1, (int)check_patience_s() * 1000) == 1);
  CHECK_OK(selv_host_loop_drain(host, 0, NULL));
}

static void on_timer(uv_timer_t *t) {
  uv_check_home();
  uv_close(UV_HANDLE(t), NULL);
}

static void begin(void) {
  uv_open(&uv);
  CHECK_UV(uv_timer_init(&uv, &timer));
  CHECK_UV(uv_timer_start(&timer, on_timer, 10, 0));
  CHECK_OK(selv_host_loop_new(NULL, &host));
}

static void end(void) {
  CHECK_OK(selv_host_loop_close(host));
  selv_host_loop_release(host);
}

/* ---- what is refused ---- */

static void refused(const selv_uv_guest_options *options, selv_status wanted) {
  selv_guest *handle = (selv_guest *)8;
  uint64_t before = open_fds();
  CHECK_STATUS(selv_uv_guest_start(options, &handle), wanted);
  CHECK(handle == NULL);
  CHECK_EQ_U64(open_fds(), before);
}

static void bad_options(void) {
  struct {
    selv_uv_guest_options known;
    uint64_t unknown;
  } newer;
  selv_uv_guest_options good, bad;
  uv_guest g;
  begin();
  good = uv_guest_options(&g, &uv, host);
  CHECK_STATUS(selv_host_loop_bind(NULL), SELV_E_NULL); /* the last failure that the library itself has told of */
  CHECK_STATUS(selv_uv_guest_start(&good, NULL), SELV_E_NULL);
  refused(NULL, SELV_E_NULL);
  bad = good;
  bad.host = NULL;
  refused(&bad, SELV_E_NULL);
  bad = good;
  bad.loop = NULL;
  refused(&bad, SELV_E_NULL);
  bad = good;
  bad.done = NULL;
  refused(&bad, SELV_E_NULL);
  bad = good;
  bad.flags = 1;
  refused(&bad, SELV_E_INVAL);
  bad = good;
  bad.struct_size = 4;
  refused(&bad, SELV_E_INVAL);
  memset(&newer, 0, sizeof newer);
  newer.known = good;
  newer.known.struct_size = sizeof newer;
  newer.unknown = 1;
  refused(&newer.known, SELV_E_UNSUPPORTED);
  CHECK_LAST_ERROR_HAS("loop is NULL");
  CHECK_EQ_U64(g.done, 0);
  end();
  uv_shut_natively(&uv);
}

/* Before 1.44 the guest would sleep on, deaf to a new handle. */
static void an_older_libuv(void) {
  selv_uv_guest_options options;
  uv_guest g;
  begin();
  options = uv_guest_options(&g, &uv, host);
  libuv_loaded = 0x012b02;
  refused(&options, SELV_E_UNSUPPORTED);
  CHECK_EQ_U64(g.done, 0);
  libuv_loaded = 0x012c00;
  uv_guest_begin(&g, &uv, host);
  while (!g.done) turn();
  uv_guest_ended(&g, SELV_OK);
  libuv_loaded = 0;
  end();
  uv_shut(&uv);
}

static void *elsewhere(void *options) {
  refused((const selv_uv_guest_options *)options, SELV_E_WRONG_THREAD);
  return NULL;
}

static void on_another_thread(void) {
  selv_uv_guest_options options;
  pthread_t other;
  uv_guest g;
  begin();
  options = uv_guest_options(&g, &uv, host);
  CHECK(pthread_create(&other, NULL, elsewhere, &options) == 0);
  CHECK(pthread_join(other, NULL) == 0);
  CHECK_EQ_U64(g.done, 0);
  end();
  uv_shut_natively(&uv);
}

static void on_a_closed_loop(void) {
  selv_uv_guest_options options;
  uv_guest g;
  begin();
  options = uv_guest_options(&g, &uv, host);
  CHECK_OK(selv_host_loop_close(host));
  refused(&options, SELV_E_CLOSED);
  CHECK_EQ_U64(g.done, 0);
  end();
  uv_shut_natively(&uv);
}

/* ---- accepted ---- */

/* Everything that the run took is given back, and the handle may go first. */
static void nothing_is_left(void) {
  selv_uv_guest_options options;
  uint64_t before;
  uv_guest g;
  int i;
  begin();
  CHECK_OK(selv_host_loop_call_soon(host, free, NULL, NULL, 0)); /* the loop and the default cache have what they need */
  turn();
  before = open_fds();
  for (i = 0; i < 20; i++) {
    options = uv_guest_options(&g, &uv, host);
    CHECK_OK(selv_uv_guest_start(&options, &g.handle));
    selv_guest_release(g.handle);
    while (!g.done) turn();
    CHECK_OK(g.why);
    CHECK_EQ_U64(open_fds(), before);
    CHECK_UV(uv_timer_init(&uv, &timer));
    CHECK_UV(uv_timer_start(&timer, on_timer, 1, 0));
  }
  end();
  uv_shut_natively(&uv);
}

/* The options of an older header end earlier. */
static void shorter_options(void) {
  selv_uv_guest_options options;
  uv_guest g;
  begin();
  options = uv_guest_options(&g, &uv, host);
  options.struct_size = (uint32_t)offsetof(selv_uv_guest_options, name);
  options.name = (const char *)8; /* must not be read */
  CHECK_OK(selv_uv_guest_start(&options, &g.handle));
  while (!g.done) turn();
  uv_guest_ended(&g, SELV_OK);
  end();
  uv_shut(&uv);
}

/* No pass can wait for it: told, not slept through. */
static void backend_fd_closed(void) {
  uv_guest g;
  int fd, kept;
  begin();
  fd = uv_backend_fd(&uv);
  kept = dup(fd);
  CHECK(kept >= 0);
  uv_guest_begin(&g, &uv, host);
  CHECK(close(fd) == 0);
  while (!g.done) turn();
  CHECK(dup2(kept, fd) == fd); /* for libuv, which wants to close it */
  CHECK(close(kept) == 0);
  uv_guest_ended(&g, SELV_E_IO);
  end();
  uv_shut_natively(&uv);
}

int main(void) {
  CHECK_RUN(bad_options);
  CHECK_RUN(an_older_libuv);
  CHECK_RUN(on_another_thread);
  CHECK_RUN(on_a_closed_loop);
  CHECK_RUN(nothing_is_left);
  CHECK_RUN(shorter_options);
  CHECK_RUN(backend_fd_closed);
  return 0;
}

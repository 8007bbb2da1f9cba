/* uv_support.h: a uv_loop_t for the tests, a guest that tells how it ended, and an echo server in libuv with clients that know
 * none. */
#ifndef SELV_C_TESTS_UV_SUPPORT_H
#define SELV_C_TESTS_UV_SUPPORT_H

#include "../probe.h"

#include <selvedge/uv.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static inline void check_uv_is(const char *file, int line, const char *expression, int result) {
  if (result < 0) check_fail(file, line, "%s gave %s: %s", expression, uv_err_name(result), uv_strerror(result));
}
#define CHECK_UV(expr) check_uv_is(__FILE__, __LINE__, #expr, (expr))

#define UV_HANDLE(h) ((uv_handle_t *)(h))

/* ---- loops ---- */

static pthread_t uv_home; /* the thread that the callbacks of the uv loop, and of the host, must be on */

static inline void uv_check_home(void) { CHECK(pthread_equal(uv_home, pthread_self())); }

static inline void uv_open(uv_loop_t *loop) {
  CHECK_UV(uv_loop_init(loop));
  uv_home = pthread_self();
}

static inline void uv_close_one(uv_handle_t *handle, void *unused) {
  (void)unused;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

/* For a loop that has ended by itself: nothing may be left in it. */
static inline void uv_shut(uv_loop_t *loop) {
  CHECK(!uv_loop_alive(loop));
  CHECK_UV(uv_loop_close(loop));
}

/* For a loop that was left in the middle: closes what is left, as a host does. */
static inline void uv_shut_natively(uv_loop_t *loop) {
  uv_walk(loop, uv_close_one, NULL);
  CHECK_EQ_U64(uv_run(loop, UV_RUN_DEFAULT), 0);
  uv_shut(loop);
}

/* The queue of a host loop in a uv loop. */
typedef struct uv_queue {
  selv_host_loop *loop;
  uv_handle_t *handle;
  uint64_t closed; /* calls of the close callback */
} uv_queue;

static inline void uv_queue_open(uv_queue *q, uv_loop_t *uv, uint32_t flags, uint32_t max_calls) {
  selv_uv_loop_options options = SELV_UV_LOOP_OPTIONS_INIT;
  memset(q, 0, sizeof *q);
  options.flags = flags;
  options.max_calls = max_calls;
  CHECK_OK(selv_uv_loop_new(uv, &options, &q->loop, &q->handle));
  CHECK(q->loop != NULL && q->handle != NULL);
}

static inline void uv_queue_closed(void *user) {
  uv_queue *q = (uv_queue *)user;
  uv_check_home();
  q->closed++;
}

/* From a turn of the uv loop, or before one: the turn after it closes the handle. */
static inline void uv_queue_end(uv_queue *q) { CHECK_OK(selv_uv_loop_end(q->handle, uv_queue_closed, q)); }

static inline selv_host_loop_stats uv_queue_stats(const uv_queue *q) {
  selv_host_loop_stats stats = SELV_HOST_LOOP_STATS_INIT;
  CHECK_OK(selv_host_loop_get_stats(q->loop, &stats));
  return stats;
}

/* ---- guests ---- */

typedef struct uv_guest {
  selv_guest *handle;
  uint64_t done; /* calls of done */
  selv_status why;
  pthread_t done_on;
  void (*then)(struct uv_guest *g); /* inside done; may be NULL */
} uv_guest;

static inline void uv_guest_done(void *user, selv_status why) {
  uv_guest *g = (uv_guest *)user;
  g->done_on = pthread_self();
  g->why = why;
  g->done++;
  CHECK_EQ_U64(g->done, 1);
  if (g->then) g->then(g);
}

static inline selv_uv_guest_options uv_guest_options(uv_guest *g, uv_loop_t *loop, selv_host_loop *host) {
  selv_uv_guest_options options = SELV_UV_GUEST_OPTIONS_INIT;
  memset(g, 0, sizeof *g);
  options.host = host;
  options.loop = loop;
  options.done = uv_guest_done;
  options.user = g;
  return options;
}

static inline void uv_guest_begin(uv_guest *g, uv_loop_t *loop, selv_host_loop *host) {
  selv_uv_guest_options options = uv_guest_options(g, loop, host);
  CHECK_OK(selv_uv_guest_start(&options, &g->handle));
  CHECK(g->handle != NULL);
  CHECK_EQ_U64(g->done, 0);
}

/* It has ended, with `wanted`, on this thread; and that is final. */
static inline void uv_guest_ended(uv_guest *g, selv_status wanted) {
  CHECK_EQ_U64(g->done, 1);
  CHECK_STATUS(g->why, wanted);
  CHECK(pthread_equal(g->done_on, pthread_self()));
  CHECK_STATUS(selv_guest_stop(g->handle), SELV_E_TOO_LATE);
  CHECK_STATUS(selv_guest_interrupt(g->handle), SELV_E_TOO_LATE);
  selv_guest_release(g->handle);
}

/* ---- an echo server ---- */

enum { UV_ECHO_CLIENTS = 8 };

/* Sends back what it is sent; a connection ends when its client has closed, and the server with the last of `clients`. Whoever
 * closes the handles in the middle has nothing to free. */
typedef struct uv_echo {
  uv_tcp_t listener, connections[UV_ECHO_CLIENTS];
  uint16_t port;
  uint64_t clients; /* that are yet to come and go */
  uint64_t accepted, reads, bytes, closed;
} uv_echo;

typedef struct uv_echo_write {
  uv_write_t request;
  char *bytes;
} uv_echo_write;

static inline void uv_echo_room(uv_handle_t *handle, size_t wanted, uv_buf_t *out) {
  (void)handle;
  out->base = (char *)malloc(wanted);
  out->len = wanted;
  CHECK(out->base != NULL);
}

static inline void uv_echo_written(uv_write_t *request, int status) {
  uv_echo_write *w = (uv_echo_write *)request->data;
  uv_check_home();
  CHECK(status == 0 || status == UV_ECANCELED); /* cancelled: by a close in the middle */
  free(w->bytes);
  free(w);
}

static inline void uv_echo_gone(uv_handle_t *handle) {
  uv_echo *e = (uv_echo *)handle->data;
  uv_check_home();
  e->closed++;
  e->clients--;
  if (e->clients == 0 && !uv_is_closing(UV_HANDLE(&e->listener))) uv_close(UV_HANDLE(&e->listener), NULL);
}

static inline void uv_echo_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer) {
  uv_echo *e = (uv_echo *)stream->data;
  uv_echo_write *w;
  uv_buf_t out;
  uv_check_home();
  if (length <= 0) {
    free(buffer->base);
    if (length == UV_EOF) uv_close(UV_HANDLE(stream), uv_echo_gone);
    else CHECK_UV((int)length);
    return;
  }
  e->reads++;
  e->bytes += (uint64_t)length;
  w = (uv_echo_write *)malloc(sizeof *w);
  CHECK(w != NULL);
  w->bytes = buffer->base;
  w->request.data = w;
  out = uv_buf_init(buffer->base, (unsigned)length);
  CHECK_UV(uv_write(&w->request, stream, &out, 1, uv_echo_written));
}

static inline void uv_echo_accept(uv_stream_t *listener, int status) {
  uv_echo *e = (uv_echo *)listener->data;
  uv_tcp_t *tcp = &e->connections[e->accepted];
  uv_check_home();
  CHECK_UV(status);
  CHECK(e->accepted < UV_ECHO_CLIENTS);
  CHECK_UV(uv_tcp_init(listener->loop, tcp));
  tcp->data = e;
  CHECK_UV(uv_accept(listener, (uv_stream_t *)tcp));
  CHECK_UV(uv_tcp_nodelay(tcp, 1));
  CHECK_UV(uv_read_start((uv_stream_t *)tcp, uv_echo_room, uv_echo_read));
  e->accepted++;
}

static inline void uv_echo_begin(uv_echo *e, uv_loop_t *loop, uint64_t clients) {
  struct sockaddr_in address;
  int length = (int)sizeof address;
  memset(e, 0, sizeof *e);
  e->clients = clients;
  e->listener.data = e;
  CHECK_UV(uv_tcp_init(loop, &e->listener));
  CHECK_UV(uv_ip4_addr("127.0.0.1", 0, &address));
  CHECK_UV(uv_tcp_bind(&e->listener, (const struct sockaddr *)&address, 0));
  CHECK_UV(uv_listen((uv_stream_t *)&e->listener, 16, uv_echo_accept));
  CHECK_UV(uv_tcp_getsockname(&e->listener, (struct sockaddr *)&address, &length));
  e->port = ntohs(address.sin_port);
}

/* ---- its clients: plain blocking sockets ---- */

static inline int echo_connect(uint16_t port) {
  struct sockaddr_in address;
  int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(s >= 0);
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(connect(s, (const struct sockaddr *)&address, sizeof address) == 0);
  CHECK(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
  return s;
}

/* Sends `length` bytes and waits until the same have come back. */
static inline void echo_round_trip(int s, const char *sent, size_t length) {
  char got[4096];
  size_t have = 0;
  CHECK(length <= sizeof got);
  CHECK(send(s, sent, length, MSG_NOSIGNAL) == (ssize_t)length);
  while (have < length) {
    ssize_t n = recv(s, got + have, length - have, 0);
    CHECK(n > 0);
    have += (size_t)n;
  }
  CHECK(memcmp(got, sent, length) == 0);
}

typedef struct echo_client {
  pthread_t thread;
  uint16_t port;
  uint64_t number, round_trips;
  uint64_t longest_ns;
  check_tally *finished;
} echo_client;

static inline void *echo_client_run(void *arg) {
  echo_client *c = (echo_client *)arg;
  uint64_t i;
  int s = echo_connect(c->port);
  for (i = 0; i < c->round_trips; i++) {
    char text[64];
    uint64_t begun = check_now_ns(), took;
    int length = snprintf(text, sizeof text, "client %llu, message %llu", (unsigned long long)c->number, (unsigned long long)i);
    echo_round_trip(s, text, (size_t)length);
    took = check_now_ns() - begun;
    if (took > c->longest_ns) c->longest_ns = took;
  }
  CHECK(close(s) == 0);
  check_tally_add(c->finished, 1);
  return NULL;
}

static inline void echo_clients_begin(echo_client *clients, uint64_t n, uint16_t port, uint64_t round_trips,
                                      check_tally *finished) {
  uint64_t i;
  for (i = 0; i < n; i++) {
    memset(&clients[i], 0, sizeof clients[i]);
    clients[i].port = port;
    clients[i].number = i;
    clients[i].round_trips = round_trips;
    clients[i].finished = finished;
    CHECK(pthread_create(&clients[i].thread, NULL, echo_client_run, &clients[i]) == 0);
  }
}

static inline void echo_clients_join(echo_client *clients, uint64_t n) {
  uint64_t i;
  for (i = 0; i < n; i++) CHECK(pthread_join(clients[i].thread, NULL) == 0);
}

#endif

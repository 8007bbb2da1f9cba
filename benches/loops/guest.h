/* What a libuv loop is made to do, and the face of whoever runs it: uv_run, or a host whose guest it is. */
#ifndef BENCH_GUEST_H
#define BENCH_GUEST_H

#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

typedef struct bench_guest {
  /* A uv_loop_t and what is needed to run it, on the calling thread, which does all that follows. The loop is its first member. */
  void *(*create)(void);
  /* Runs the libuv loop until nothing in it is alive. */
  void (*run)(void *guest);
  void (*destroy)(void *guest);
  /* Give the loop something to do. An idle handle that ends after `count` passes of the loop; */
  void (*idle)(void *guest, uint32_t count);
  /* a timer of 0 ms, one firing in each pass, set again `count` times; */
  void (*timer)(void *guest, uint32_t count);
  /* a TCP server on the returned port of 127.0.0.1, which sends back what the first client sends until that closes. */
  uint16_t (*echo)(void *guest);
} bench_guest;

static void uv_must(int status) {
  if (status != 0) {
    fprintf(stderr, "libuv: %s\n", uv_strerror(status));
    abort();
  }
}

static void *allocate(size_t size) {
  void *memory = calloc(1, size);
  if (memory == NULL) {
    abort();
  }
  return memory;
}

static void free_data(uv_handle_t *handle) { free(handle->data); }

/* ---- idle ---- */

typedef struct idler {
  uv_idle_t handle;
  uint32_t left;
} idler;

static void on_idle(uv_idle_t *handle) {
  idler *i = handle->data;
  if (--i->left == 0) {
    uv_close((uv_handle_t *)handle, free_data);
  }
}

static void begin_idle(void *guest, uint32_t count) {
  idler *i = allocate(sizeof *i);
  i->left = count;
  uv_must(uv_idle_init(guest, &i->handle));
  i->handle.data = i;
  uv_must(uv_idle_start(&i->handle, on_idle));
}

/* ---- timer ---- */

/* libuv 1.44 runs a timer that its own callback sets again with 0 ms at once, without end, so a uv_prepare_t sets it: once in
 * each pass, after the timers and before the poll. */
typedef struct ticker {
  uv_timer_t timer;
  uv_prepare_t prepare;
  uint32_t left;
  int fired;
} ticker;

static void free_ticker(uv_handle_t *prepare) { free(prepare->data); }

static void on_timer(uv_timer_t *timer) { ((ticker *)timer->data)->fired = 1; }

static void on_prepare(uv_prepare_t *prepare) {
  ticker *t = prepare->data;
  if (!t->fired) {
    return;
  }
  t->fired = 0;
  if (--t->left == 0) {
    uv_close((uv_handle_t *)&t->timer, NULL);
    uv_close((uv_handle_t *)prepare, free_ticker);
  } else {
    uv_must(uv_timer_start(&t->timer, on_timer, 0, 0));
  }
}

static void begin_timer(void *guest, uint32_t count) {
  ticker *t = allocate(sizeof *t);
  t->left = count;
  uv_must(uv_timer_init(guest, &t->timer));
  uv_must(uv_prepare_init(guest, &t->prepare));
  t->timer.data = t;
  t->prepare.data = t;
  uv_must(uv_timer_start(&t->timer, on_timer, 0, 0));
  uv_must(uv_prepare_start(&t->prepare, on_prepare));
}

/* ---- echo ---- */

typedef struct echo {
  uv_tcp_t server;
  uv_tcp_t client;
  uv_write_t request;
  char bytes[256];
} echo;

static void on_allocate(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer) {
  echo *e = handle->data;
  (void)wanted;
  *buffer = uv_buf_init(e->bytes, sizeof e->bytes);
}

static void on_written(uv_write_t *request, int status) {
  (void)request;
  uv_must(status);
}

static void on_read(uv_stream_t *client, ssize_t count, const uv_buf_t *buffer) {
  echo *e = client->data;
  if (count < 0) {
    uv_close((uv_handle_t *)client, free_data);
  } else if (count > 0) {
    uv_buf_t answer = uv_buf_init(buffer->base, (unsigned)count);
    uv_must(uv_write(&e->request, client, &answer, 1, on_written));
  }
}

static void on_connection(uv_stream_t *server, int status) {
  echo *e = server->data;
  uv_must(status);
  uv_must(uv_tcp_init(server->loop, &e->client));
  e->client.data = e;
  uv_must(uv_accept(server, (uv_stream_t *)&e->client));
  uv_must(uv_tcp_nodelay(&e->client, 1));
  uv_must(uv_read_start((uv_stream_t *)&e->client, on_allocate, on_read));
  uv_close((uv_handle_t *)server, NULL);
}

static uint16_t begin_echo(void *guest) {
  echo *e = allocate(sizeof *e);
  struct sockaddr_in address;
  int length = sizeof address;
  uv_must(uv_ip4_addr("127.0.0.1", 0, &address));
  uv_must(uv_tcp_init(guest, &e->server));
  e->server.data = e;
  uv_must(uv_tcp_bind(&e->server, (struct sockaddr *)&address, 0));
  uv_must(uv_listen((uv_stream_t *)&e->server, 1, on_connection));
  uv_must(uv_tcp_getsockname(&e->server, (struct sockaddr *)&address, &length));
  return ntohs(address.sin_port);
}

#define BENCH_GUEST(create, run, destroy) {create, run, destroy, begin_idle, begin_timer, begin_echo}

#endif

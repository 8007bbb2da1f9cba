/* uv_guest.c: a library that lives on libuv, in a program whose main loop is GLib's. The uv loop is a guest of the main loop:
 * its timer and its TCP server call back on the main thread, between the main loop's own callbacks, and a worker of Selvedge's
 * sleeps for it.
 *     cc -std=c99 -pthread uv_guest.c -o uv_guest $(pkg-config --cflags --libs selvedge glib-2.0 libuv) && ./uv_guest */
#define _POSIX_C_SOURCE 200809L /* libuv asks for it */
#include <arpa/inet.h>
#include <pthread.h>
#include <selvedge.h>
#include <selvedge/glib.h>
#include <selvedge/uv.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define ROUND_TRIPS 1000
#define TICKS 25

static GMainLoop *main_loop;
static uv_tcp_t server, connection;
static uv_timer_t timer;
static struct sockaddr_in address;
static char buffer[64];
static int uv_ticks, glib_ticks, answered, ended_well;

static int check(const char *what, selv_status status) {
  if (status != SELV_OK) fprintf(stderr, "%s: %s\n", what, selv_status_text(status));
  return status == SELV_OK;
}

static int check_uv(const char *what, int result) {
  if (result < 0) fprintf(stderr, "%s: %s\n", what, uv_strerror(result));
  return result >= 0;
}

/* ---- the guest: nothing here knows of GLib or of Selvedge ---- */

static void on_room(uv_handle_t *handle, size_t wanted, uv_buf_t *out) {
  (void)handle;
  (void)wanted;
  *out = uv_buf_init(buffer, sizeof buffer);
}

/* What is read is sent back, short as it is; with the end of the connection, the server ends. */
static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *read) {
  if (length > 0) {
    uv_buf_t answer = uv_buf_init(read->base, (unsigned)length);
    if (uv_try_write(stream, &answer, 1) == length) return;
  }
  uv_close((uv_handle_t *)stream, NULL);
  uv_close((uv_handle_t *)&server, NULL);
}

static void on_connection(uv_stream_t *listener, int status) {
  if (!check_uv("a connection", status)) return;
  if (check_uv("uv_tcp_init", uv_tcp_init(listener->loop, &connection)) &&
      check_uv("uv_accept", uv_accept(listener, (uv_stream_t *)&connection)))
    check_uv("uv_read_start", uv_read_start((uv_stream_t *)&connection, on_room, on_read));
}

static void on_uv_tick(uv_timer_t *t) {
  if (++uv_ticks == TICKS) uv_close((uv_handle_t *)t, NULL);
}

static int start_server(uv_loop_t *loop) {
  int length = (int)sizeof address;
  return check_uv("uv_ip4_addr", uv_ip4_addr("127.0.0.1", 0, &address)) && check_uv("uv_tcp_init", uv_tcp_init(loop, &server)) &&
         check_uv("uv_tcp_bind", uv_tcp_bind(&server, (const struct sockaddr *)&address, 0)) &&
         check_uv("uv_listen", uv_listen((uv_stream_t *)&server, 1, on_connection)) &&
         check_uv("uv_tcp_getsockname", uv_tcp_getsockname(&server, (struct sockaddr *)&address, &length)) &&
         check_uv("uv_timer_init", uv_timer_init(loop, &timer)) &&
         check_uv("uv_timer_start", uv_timer_start(&timer, on_uv_tick, 2, 2));
}

/* ---- the host ---- */

static gboolean on_glib_tick(gpointer unused) {
  (void)unused;
  glib_ticks++;
  return G_SOURCE_CONTINUE;
}

/* No handle of the uv loop is left, or something went wrong. */
static void on_done(void *user, selv_status why) {
  (void)user;
  ended_well = check("the guest", why);
  g_main_loop_quit(main_loop);
}

/* Somebody else: asks, and waits for the answer. */
static void *client(void *unused) {
  int s = socket(AF_INET, SOCK_STREAM, 0), i;
  if (s >= 0 && connect(s, (const struct sockaddr *)&address, sizeof address) == 0)
    for (i = 0; i < ROUND_TRIPS; i++) {
      int back = -1;
      if (send(s, &i, sizeof i, MSG_NOSIGNAL) != sizeof i || recv(s, &back, sizeof back, MSG_WAITALL) != sizeof back) break;
      answered += back == i;
    }
  close(s);
  return unused;
}

int main(void) {
  selv_uv_guest_options options = SELV_UV_GUEST_OPTIONS_INIT;
  selv_guest *guest;
  GSource *source;
  uv_loop_t loop;
  pthread_t other;
  main_loop = g_main_loop_new(NULL, FALSE);
  if (!check("selv_glib_loop_new", selv_glib_loop_new(NULL, NULL, &options.host, &source))) return EXIT_FAILURE;
  if (!check_uv("uv_loop_init", uv_loop_init(&loop)) || !start_server(&loop)) return EXIT_FAILURE;

  options.loop = &loop;
  options.done = on_done;
  if (!check("selv_uv_guest_start", selv_uv_guest_start(&options, &guest))) return EXIT_FAILURE;
  g_timeout_add(2, on_glib_tick, NULL);
  if (pthread_create(&other, NULL, client, NULL) != 0) return EXIT_FAILURE;
  g_main_loop_run(main_loop);

  pthread_join(other, NULL);
  selv_guest_release(guest);
  check_uv("uv_loop_close", uv_loop_close(&loop));
  check("selv_glib_loop_end", selv_glib_loop_end(source));
  g_main_loop_unref(main_loop);
  printf("%d of %d round trips answered, %d ticks of libuv's timer, %s of GLib's\n", answered, ROUND_TRIPS, uv_ticks,
         glib_ticks > 0 ? "some" : "none");
  return ended_well && answered == ROUND_TRIPS && uv_ticks == TICKS && glib_ticks > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* glib_uv_requests: what of libuv works in a uv loop that is the guest of a GLib main loop, beside timers and TCP: its thread
 * pool (work, files, name look-ups), signals, a child process, pipes, datagrams, prepare, check and idle handles. Each ends by
 * itself, and the guest with the last of them. */
#include "glib_uv_support.h"

#include <signal.h>

static uv_loop_t uv;
static uint64_t pending; /* parts that have not ended */

static void part_closed(uv_handle_t *handle) {
  (void)handle;
  uv_check_home();
  pending--;
}

/* ---- the thread pool ---- */

static uv_work_t works[20];
static uint64_t worked;

static void work(uv_work_t *request) {
  CHECK(!pthread_equal(uv_home, pthread_self()));
  request->data = (void *)((uintptr_t)request->data + 1);
}

static void after_work(uv_work_t *request, int status) {
  uv_check_home();
  CHECK_UV(status);
  worked += (uint64_t)(uintptr_t)request->data;
  pending--;
}

static void begin_work(void) {
  uint64_t i;
  for (i = 0; i < 20; i++) {
    works[i].data = (void *)(uintptr_t)i;
    CHECK_UV(uv_queue_work(&uv, &works[i], work, after_work));
    pending++;
  }
}

static uv_fs_t file;
static char first_bytes[4];
static uv_buf_t room;
static int executable;

static void file_read(uv_fs_t *request) {
  uv_check_home();
  CHECK_EQ_U64(request->result, 4);
  CHECK(memcmp(first_bytes, "\177ELF", 4) == 0);
  uv_fs_req_cleanup(request);
  CHECK(close(executable) == 0);
  pending--;
}

static void file_open(uv_fs_t *request) {
  uv_check_home();
  CHECK_UV((int)request->result);
  executable = (int)request->result;
  uv_fs_req_cleanup(request);
  room = uv_buf_init(first_bytes, sizeof first_bytes);
  CHECK_UV(uv_fs_read(&uv, &file, executable, &room, 1, 0, file_read));
}

static void begin_file(void) {
  CHECK_UV(uv_fs_open(&uv, &file, "/proc/self/exe", UV_FS_O_RDONLY, 0, file_open));
  pending++;
}

static uv_getaddrinfo_t look_up;

static void looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *found) {
  (void)request;
  uv_check_home();
  CHECK_UV(status);
  CHECK(found != NULL && found->ai_family == AF_INET);
  CHECK(((const struct sockaddr_in *)(const void *)found->ai_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  uv_freeaddrinfo(found);
  pending--;
}

static void begin_look_up(void) {
  struct addrinfo hints;
  memset(&hints, 0, sizeof hints);
  hints.ai_family = AF_INET;
  hints.ai_flags = AI_NUMERICHOST;
  CHECK_UV(uv_getaddrinfo(&uv, &look_up, looked_up, "127.0.0.1", NULL, &hints));
  pending++;
}

/* ---- signals and processes ---- */

static uv_signal_t usr1;
static uint64_t signals;

static gboolean sends_signal(gpointer unused) {
  (void)unused;
  CHECK(kill(getpid(), SIGUSR1) == 0);
  return G_SOURCE_REMOVE;
}

static void on_signal(uv_signal_t *handle, int number) {
  uv_check_home();
  CHECK_EQ_U64(number, SIGUSR1);
  if (++signals == 2) uv_close(UV_HANDLE(handle), part_closed);
  else g_timeout_add(5, sends_signal, NULL);
}

static void begin_signals(void) {
  CHECK_UV(uv_signal_init(&uv, &usr1));
  CHECK_UV(uv_signal_start(&usr1, on_signal, SIGUSR1));
  g_timeout_add(5, sends_signal, NULL);
  pending++;
}

static uv_process_t child;
static uv_pipe_t child_output;
static char said[64];
static size_t said_length;

static void on_exit_of_child(uv_process_t *handle, int64_t code, int signal_number) {
  uv_check_home();
  CHECK_EQ_U64(code, 3);
  CHECK_EQ_U64(signal_number, 0);
  uv_close(UV_HANDLE(handle), part_closed);
}

static void output_room(uv_handle_t *handle, size_t wanted, uv_buf_t *out) {
  (void)handle;
  (void)wanted;
  *out = uv_buf_init(said + said_length, (unsigned)(sizeof said - 1 - said_length));
}

static void on_output(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer) {
  (void)buffer;
  uv_check_home();
  if (length >= 0) said_length += (size_t)length;
  else uv_close(UV_HANDLE(stream), part_closed);
}

static void begin_child(void) {
  char shell[] = "/bin/sh", option[] = "-c", command[] = "echo from the child; exit 3";
  char *arguments[4];
  uv_stdio_container_t stdio[2];
  uv_process_options_t options;
  memset(&options, 0, sizeof options);
  memset(stdio, 0, sizeof stdio);
  arguments[0] = shell;
  arguments[1] = option;
  arguments[2] = command;
  arguments[3] = NULL;
  CHECK_UV(uv_pipe_init(&uv, &child_output, 0));
  stdio[0].flags = UV_IGNORE;
  stdio[1].flags = (uv_stdio_flags)(UV_CREATE_PIPE | UV_WRITABLE_PIPE);
  stdio[1].data.stream = (uv_stream_t *)&child_output;
  options.file = shell;
  options.args = arguments;
  options.stdio = stdio;
  options.stdio_count = 2;
  options.exit_cb = on_exit_of_child;
  CHECK_UV(uv_spawn(&uv, &child, &options));
  CHECK_UV(uv_read_start((uv_stream_t *)&child_output, output_room, on_output));
  pending += 2;
}

/* ---- a datagram, to itself ---- */

static uv_udp_t udp;
static uv_udp_send_t datagram;
static char datagram_room[16];

static void on_sent(uv_udp_send_t *request, int status) {
  (void)request;
  uv_check_home();
  CHECK_UV(status);
  pending--;
}

static void datagram_has_room(uv_handle_t *handle, size_t wanted, uv_buf_t *out) {
  (void)handle;
  (void)wanted;
  *out = uv_buf_init(datagram_room, sizeof datagram_room);
}

static void on_datagram(uv_udp_t *socket, ssize_t length, const uv_buf_t *buffer, const struct sockaddr *from, unsigned flags) {
  (void)from;
  (void)flags;
  uv_check_home();
  CHECK_UV((int)length);
  if (length == 0) return; /* nothing more to read */
  CHECK_EQ_U64(length, 5);
  CHECK(memcmp(buffer->base, "hello", 5) == 0);
  uv_close(UV_HANDLE(socket), part_closed);
}

static void begin_datagram(void) {
  static char hello[] = "hello";
  struct sockaddr_in address;
  uv_buf_t out = uv_buf_init(hello, 5);
  int length = (int)sizeof address;
  CHECK_UV(uv_udp_init(&uv, &udp));
  CHECK_UV(uv_ip4_addr("127.0.0.1", 0, &address));
  CHECK_UV(uv_udp_bind(&udp, (const struct sockaddr *)&address, 0));
  CHECK_UV(uv_udp_getsockname(&udp, (struct sockaddr *)&address, &length));
  CHECK_UV(uv_udp_recv_start(&udp, datagram_has_room, on_datagram));
  CHECK_UV(uv_udp_send(&datagram, &udp, &out, 1, (const struct sockaddr *)&address, on_sent));
  pending += 2;
}

/* ---- what runs in every pass ---- */

static uv_prepare_t prepare;
static uv_check_t check;
static uv_idle_t idle;
static uint64_t prepares, checks, idles;

static void on_prepare(uv_prepare_t *handle) {
  (void)handle;
  uv_check_home();
  CHECK_EQ_U64(prepares, checks); /* they alternate */
  prepares++;
}

static void on_check(uv_check_t *handle) {
  (void)handle;
  uv_check_home();
  checks++;
  CHECK_EQ_U64(prepares, checks);
}

static void on_idle(uv_idle_t *handle) {
  uv_check_home();
  CHECK_EQ_U64(idles, prepares);
  if (++idles == 100) {
    uv_close(UV_HANDLE(handle), part_closed);
    uv_close(UV_HANDLE(&prepare), part_closed);
    uv_close(UV_HANDLE(&check), part_closed);
  }
}

static void begin_passes(void) {
  CHECK_UV(uv_prepare_init(&uv, &prepare));
  CHECK_UV(uv_prepare_start(&prepare, on_prepare));
  CHECK_UV(uv_check_init(&uv, &check));
  CHECK_UV(uv_check_start(&check, on_check));
  CHECK_UV(uv_idle_init(&uv, &idle));
  CHECK_UV(uv_idle_start(&idle, on_idle));
  pending += 3;
}

static void all_at_once(void) {
  uv_guest guest;
  uv_open(&uv);
  glib_open();
  begin_work();
  begin_file();
  begin_look_up();
  begin_signals();
  begin_child();
  begin_datagram();
  begin_passes();
  glib_guest_begin(&guest, &uv, NULL);
  GLIB_UNTIL(guest.done);
  uv_guest_ended(&guest, SELV_OK);
  CHECK_EQ_U64(pending, 0);
  CHECK_EQ_U64(worked, 210);
  CHECK_EQ_U64(signals, 2);
  CHECK_EQ_U64(idles, 100);
  said[said_length] = '\0';
  CHECK_STR(said, "from the child\n");
  uv_shut(&uv);
  glib_shut();
}

int main(void) {
  CHECK_RUN(all_at_once);
  return 0;
}

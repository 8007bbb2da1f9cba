/* host_loop_handles.c: handles are shared; with the last one an open loop is closed on the thread that lets go of it. What the
 * host gave for its wakes is freed once, whichever way the loop ends. */
#include "loops.h"
#include "probe.h"

#include <sys/resource.h>

static uint64_t open_fds(void) {
  uint64_t fds = 0;
  struct dirent *entry;
  DIR *dir = opendir("/proc/self/fd");
  CHECK(dir != NULL);
  while ((entry = readdir(dir)) != NULL)
    if (entry->d_name[0] != '.') fds++;
  closedir(dir);
  return fds;
}

/* Lets go of one handle, which is the last one or not. */
static void let_go(host *h, int last) {
  selv_host_loop_release(h->loop);
  CHECK_EQ_U64(check_tally_get(&h->freed), h->form == HOST_WAKE && last ? 1 : 0);
}

static void the_last_handle_closes(int form) {
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  call_probe_soon(&p);
  let_go(&h, 1);
  CALL_COUNTS(&p, 0, 2);
  CHECK(pthread_equal(p.dropped_on, pthread_self()));
  host_pipe_closed(&h);
}

static void *lets_go(void *arg) {
  let_go((host *)arg, 1);
  return NULL;
}

static void on_another_thread(int form) {
  pthread_t thread;
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  CHECK(pthread_create(&thread, NULL, lets_go, &h) == 0);
  CHECK_WAIT(&p.dropped, 1);
  CHECK(pthread_equal(p.dropped_on, thread));
  CHECK(pthread_join(thread, NULL) == 0);
  CALL_COUNTS(&p, 0, 1);
  host_pipe_closed(&h);
}

static void retained(int form) {
  call_probe p;
  host h;
  int i;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  for (i = 0; i < 3; i++) CHECK(selv_host_loop_retain(h.loop) == h.loop);
  for (i = 0; i < 3; i++) {
    call_probe_soon(&p);
    let_go(&h, 0);
    CHECK_EQ_U64(host_drain(&h, 0), 1); /* open still */
  }
  host_end(&h); /* that was the last one */
  CALL_COUNTS(&p, 3, 0);
}

/* Closed by hand, it stays to be asked as long as there is a handle. */
static void closed_and_retained(int form) {
  host h;
  host_begin(&h, form);
  CHECK(selv_host_loop_retain(h.loop) == h.loop);
  host_close(&h);
  CHECK_EQ_U64(check_tally_get(&h.freed), form == HOST_WAKE ? 1 : 0);
  selv_host_loop_release(h.loop);
  CHECK_EQ_U64(host_stats(&h).closed, 1);
  host_end(&h);
}

/* ---- from inside ---- */

static void releases(call_probe *p) {
  host *h = p->on;
  selv_host_loop_release(h->loop);
  h->loop = NULL;
}

/* It closes the loop: the rest of the drain is dropped, and nothing of the loop is touched when it is gone. */
static void the_last_handle_inside_a_drained_call(int form) {
  call_probe p, behind;
  uint32_t ran = 99;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&behind, &h);
  p.then = releases;
  call_probe_soon(&p);
  call_probe_soon(&behind);
  call_probe_soon(&behind);
  CHECK_OK(selv_host_loop_drain(h.loop, 0, &ran));
  CALL_COUNTS(&p, 1, 0);
  CALL_COUNTS(&behind, 0, 2);
  CHECK_EQ_U64(ran, 1);
  CHECK_EQ_U64(check_tally_get(&h.freed), form == HOST_WAKE ? 1 : 0);
  host_pipe_closed(&h);
}

static void releases_in_drop(call_probe *p) {
  if (p->n++ == 0) selv_host_loop_release(p->on->loop);
}

static void the_last_handle_inside_a_drop(int form) {
  call_probe p;
  host h;
  host_begin(&h, form);
  call_probe_init(&p, &h);
  p.then_drop = releases_in_drop;
  call_probe_soon(&p);
  call_probe_soon(&p);
  CHECK_OK(selv_host_loop_close(h.loop));
  CALL_COUNTS(&p, 0, 2);
  CHECK_EQ_U64(check_tally_get(&h.freed), form == HOST_WAKE ? 1 : 0);
  host_pipe_closed(&h);
}

/* The last handle goes on another thread, in the middle of a drain: from then on calls are dropped there, and run no more here. */
static check_tally may_release, dropping, drained;

static void gives_its_handle_back(call_probe *p) {
  selv_host_loop_release(p->on->loop);
  check_tally_add(&may_release, 1);
  CHECK_WAIT(&dropping, 1);
}

static void drops_slowly(call_probe *p) {
  (void)p;
  check_tally_add(&dropping, 1);
  CHECK_WAIT(&drained, 1);
}

static void *releases_the_last(void *arg) {
  CHECK_WAIT(&may_release, 1);
  selv_host_loop_release((selv_host_loop *)arg);
  return NULL;
}

static void the_last_handle_on_another_thread_inside_a_drain(int form) {
  call_probe p, behind;
  pthread_t thread;
  uint32_t ran = 99;
  host h;
  int i;
  check_tally_init(&may_release);
  check_tally_init(&dropping);
  check_tally_init(&drained);
  host_begin(&h, form);
  call_probe_init(&p, &h);
  call_probe_init(&behind, &h);
  p.then = gives_its_handle_back;
  behind.then_drop = drops_slowly;
  call_probe_soon(&p);
  for (i = 0; i < 3; i++) call_probe_soon(&behind);
  CHECK(pthread_create(&thread, NULL, releases_the_last, selv_host_loop_retain(h.loop)) == 0);
  CHECK_OK(selv_host_loop_drain(h.loop, 0, &ran));
  check_tally_add(&drained, 1);
  CHECK_EQ_U64(ran, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  CALL_COUNTS(&p, 1, 0);
  CALL_COUNTS(&behind, 0, 3);
  CHECK(pthread_equal(behind.dropped_on, thread));
  CHECK_EQ_U64(check_tally_get(&h.freed), form == HOST_WAKE ? 1 : 0);
  host_pipe_closed(&h);
}

/* What a thread wrote before it let go is seen by what is freed and dropped with the last handle. (For the thread sanitizer.) */
static uint64_t written;

static void *writes_and_releases(void *arg) {
  host *h = (host *)arg;
  selv_host_loop *l = h->loop;
  written = 5;
  selv_host_loop_release(l);
  __atomic_store_n(&h->quit, 1, __ATOMIC_RELAXED); /* says that it is done, and no more */
  return NULL;
}

static void frees_what_was_written(void *wake_arg) {
  CHECK_EQ_U64(written, 5);
  written = 6;
  host_wake_freed(wake_arg);
}

static void what_was_written_before(void) {
  selv_host_loop_options options;
  pthread_t thread;
  host h;
  host_init(&h, HOST_WAKE);
  options = host_options(&h);
  options.wake_arg_free = frees_what_was_written;
  CHECK_OK(selv_host_loop_new(&options, &h.loop));
  CHECK(selv_host_loop_retain(h.loop) == h.loop);
  CHECK(pthread_create(&thread, NULL, writes_and_releases, &h) == 0);
  UNTIL(__atomic_load_n(&h.quit, __ATOMIC_RELAXED));
  selv_host_loop_release(h.loop);
  CHECK_EQ_U64(check_tally_get(&h.freed), 1);
  CHECK(pthread_join(thread, NULL) == 0);
  host_pipe_closed(&h);
}

/* What the host keeps for its wakes may have the handle in it. */
static void frees_its_handle(void *wake_arg) {
  host *h = (host *)wake_arg;
  host_wake_freed(wake_arg);
  selv_host_loop_release(h->loop);
}

static void the_last_handle_inside_wake_arg_free(void) {
  selv_host_loop_options options;
  call_probe p;
  host h;
  host_init(&h, HOST_WAKE);
  options = host_options(&h);
  options.wake_arg_free = frees_its_handle;
  CHECK_OK(selv_host_loop_new(&options, &h.loop));
  h.thread = pthread_self();
  call_probe_init(&p, &h);
  call_probe_soon(&p);
  call_probe_soon(&p);
  CHECK_OK(selv_host_loop_close(h.loop));
  CALL_COUNTS(&p, 0, 2);
  CHECK_EQ_U64(check_tally_get(&h.freed), 1);
  host_pipe_closed(&h);
}

/* ---- who else keeps a loop ---- */

/* A job that is under way, and an operation that waits, keep the loop from vanishing, but not from being closed. */
static void a_job_and_an_operation(int form) {
  selv_cache *c = probe_cache(1, SELV_FOREVER);
  selv_event_options options = SELV_EVENT_OPTIONS_INIT;
  selv_job_options job;
  selv_event *e = NULL;
  op_probe op;
  probe p;
  host h;
  host_begin(&h, form);
  probe_init(&p);
  op_probe_init(&op);
  CHECK_OK(selv_event_new(&options, &e));
  job = probe_job(probe_hold, &p);
  job.loop = h.loop;
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.entered, 1);
  op.loop = h.loop;
  {
    selv_completion completion = op_probe_completion(&op);
    CHECK_STATUS(selv_event_wait_async(e, SELV_TASK_CURRENT, &completion, &op.op), SELV_PENDING);
  }
  let_go(&h, 1);
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.freed, 1);
  CHECK_STATUS(p.last.status, SELV_E_CLOSED);
  CHECK_EQ_U64(p.last.code, 7);
  CHECK(p.last.value == &p);
  CHECK_OK(selv_event_set(e));
  OP_GOT(&op, 1, SELV_E_CLOSED);
  CHECK_OK(selv_event_free(e));
  host_pipe_closed(&h);
  probe_end(c);
}

/* ---- what a loop costs ---- */

static void fds_come_back(void) {
  uint64_t before = open_fds(), i, rounds = check_scaled(2000);
  for (i = 0; i < rounds; i++) {
    selv_host_loop *l = NULL;
    int fd;
    CHECK_OK(selv_host_loop_new(NULL, &l)); /* no options: by its fd */
    fd = selv_host_loop_fd(l);
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK_OK(selv_host_loop_call_soon(l, call_probe_never, NULL, NULL, 0));
    CHECK(host_readable(fd));
    if (i % 3 == 0) CHECK_OK(selv_host_loop_close(l));
    if (i % 3 == 1) selv_host_loop_release(selv_host_loop_retain(l));
    selv_host_loop_release(l);
  }
  CHECK_EQ_U64(open_fds(), before);
}

static void many_at_once(void) {
  enum { LOOPS = 200 };
  static selv_host_loop *l[LOOPS];
  uint64_t before = open_fds();
  check_tally dropped;
  int i;
  check_tally_init(&dropped);
  for (i = 0; i < LOOPS; i++) CHECK_OK(selv_host_loop_new(NULL, &l[i]));
  CHECK(open_fds() >= before + LOOPS);
  for (i = 0; i < LOOPS; i++) CHECK_OK(selv_host_loop_call_soon(l[(i * 7) % LOOPS], call_probe_never, NULL, NULL, 0));
  for (i = 0; i < LOOPS; i++) {
    CHECK(host_readable(selv_host_loop_fd(l[i])));
    selv_host_loop_release(l[i]);
  }
  CHECK_EQ_U64(open_fds(), before);
}

/* With no fd to be had there is no loop of this form; one that is woken needs none. */
static void no_fd_left(void) {
  struct rlimit old, none;
  selv_host_loop *l = (selv_host_loop *)(uintptr_t)1;
  uint64_t before = open_fds();
  host h;
  host_init(&h, HOST_WAKE);
  CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
  none = old;
  none.rlim_cur = 0;
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  CHECK_STATUS(selv_host_loop_new(NULL, &l), SELV_E_NOMEM);
  CHECK(l == NULL);
  host_open(&h);
  CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
  host_end(&h);
  CHECK_EQ_U64(open_fds(), before);
}

/* A loop that could not be made keeps nothing, and frees nothing that is not its own. */
static void not_freed_when_it_was_refused(void) {
  selv_host_loop_options options;
  selv_host_loop *l = (selv_host_loop *)(uintptr_t)1;
  host h;
  host_init(&h, HOST_WAKE);
  options = host_options(&h);
  options.flags = 1;
  CHECK_STATUS(selv_host_loop_new(&options, &l), SELV_E_INVAL);
  CHECK(l == NULL);
  CHECK_EQ_U64(check_tally_get(&h.freed), 0);
  host_pipe_closed(&h);
}

int main(void) {
  HOST_RUN_BOTH(the_last_handle_closes);
  HOST_RUN_BOTH(on_another_thread);
  HOST_RUN_BOTH(retained);
  HOST_RUN_BOTH(closed_and_retained);
  HOST_RUN_BOTH(the_last_handle_inside_a_drained_call);
  HOST_RUN_BOTH(the_last_handle_inside_a_drop);
  HOST_RUN_BOTH(the_last_handle_on_another_thread_inside_a_drain);
  CHECK_RUN(what_was_written_before);
  CHECK_RUN(the_last_handle_inside_wake_arg_free);
  HOST_RUN_BOTH(a_job_and_an_operation);
  CHECK_RUN(fds_come_back);
  CHECK_RUN(many_at_once);
  CHECK_RUN(no_fd_left);
  CHECK_RUN(not_freed_when_it_was_refused);
  return 0;
}

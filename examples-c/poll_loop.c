/* poll_loop.c: a main loop of the program's own, poll(2) on descriptors, with a host loop in it. A job's outcome, a lock, and calls of
 * another thread all come to that one thread, between the events of its own descriptor. For a loop of GLib's or libuv's see glib_jobs.c
 * and uv_guest.c; for one that has messages and no descriptors, own_guest.c.
 *     cc -std=c99 -pthread poll_loop.c -o poll_loop $(pkg-config --cflags --libs selvedge) && ./poll_loop */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHANGES 1000

typedef struct window {
  unsigned changes; /* atomic: another thread makes them */
  unsigned drawn;   /* so many of them are on the screen */
} window;

typedef struct request {
  const char *name;
  selv_task task;
  selv_op op;
} request;

static pthread_t main_thread;
static selv_lock *the_table;
static int quit, elsewhere, files_shown, requests_served, keys_pressed, all_drawn;
static char own_name[] = "/proc/self/comm";

static int check(const char *what, selv_status status) {
  char detail[256];
  if (status == SELV_OK) return 1;
  selv_last_error(detail, sizeof detail);
  fprintf(stderr, "%s: %s: %s\n", what, selv_status_name(status), detail);
  return 0;
}

/* Everything below that touches the program's own data says so: it is all on one thread, without a lock. */
static void note(int *count) {
  if (!pthread_equal(pthread_self(), main_thread)) elsewhere++;
  *count += 1;
  quit = files_shown == 1 && requests_served == 2 && keys_pressed == 1 && all_drawn == 1;
}

/* ---- the loop ---- */

/* Until something that is drained sets `quit`. */
static selv_status run_loop(selv_host_loop *loop, int own_fd, void (*own_event)(int fd)) {
  struct pollfd fds[2] = { { -1, POLLIN, 0 }, { -1, POLLIN, 0 } };
  selv_status status = SELV_OK;
  fds[0].fd = selv_host_loop_fd(loop);
  fds[1].fd = own_fd;
  while (!quit && status == SELV_OK) {
    if (poll(fds, 2, -1) < 0) continue; /* a signal */
    if (fds[0].revents != 0) status = selv_host_loop_drain(loop, 0, NULL);
    if (fds[1].revents != 0) own_event(own_fd);
  }
  return status;
}

/* Its own descriptor: keys. */
static void key_pressed(int fd) {
  char key;
  if (read(fd, &key, 1) != 1) return;
  printf("a key was pressed: %c\n", key);
  note(&keys_pressed);
}

/* ---- a job: the slow part on a worker, the result here ---- */

static char *read_whole_file(const char *name) {
  FILE *file = fopen(name, "r");
  char *text = file != NULL ? (char *)calloc(1, 4096) : NULL;
  size_t length = text != NULL ? fread(text, 1, 4095, file) : 0;
  if (file != NULL) fclose(file);
  while (length > 0 && text[length - 1] == '\n') text[--length] = '\0';
  return text;
}

static void put_on_screen(const char *title, const char *text) {
  printf("%s: %s\n", title, text);
  note(&files_shown);
}

static int32_t load(void *arg, void **out_value) { /* on a worker: may take its time */
  *out_value = read_whole_file((const char *)arg);
  return *out_value != NULL ? 0 : errno;
}

static void show(void *arg, const selv_outcome *outcome) { /* on the loop's thread */
  if (outcome->status == SELV_OK && outcome->code == 0) put_on_screen((const char *)arg, (const char *)outcome->value);
  free(outcome->value); /* with SELV_E_CLOSED, too: the loop is gone, the value is not */
}

static selv_status begin(selv_cache *cache, selv_host_loop *loop, char *path) {
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  job.fn = load;
  job.deliver = show;
  job.arg = path;
  job.loop = loop;
  return selv_cache_submit(cache, &job, NULL);
}

/* ---- a lock: two requests want the same table, and the loop waits for neither ---- */

static void serve(request *r) {
  printf("%s is served\n", r->name);
  check("selv_lock_release", selv_lock_release(the_table, r->task));
  note(&requests_served);
}

static void refuse(request *r, selv_status status) { fprintf(stderr, "%s: %s\n", r->name, selv_status_text(status)); }

static void has_table(void *arg, const selv_completed *c) { /* on the loop's thread */
  request *r = (request *)arg;
  if (c->status >= 0) serve(r); /* and selv_lock_release(table, r->task) */
  else refuse(r, c->status);    /* with SELV_E_CLOSED it may be another thread: only clean up */
}

static selv_status want_table(selv_host_loop *loop, selv_lock *table, request *r) {
  selv_completion completion = { has_table, NULL, NULL };
  completion.arg = r;
  completion.loop = loop;
  return selv_lock_acquire_async(table, r->task, &completion, &r->op);
}

/* ---- one call for many ---- */

static void draw(window *w) {
  w->drawn = __atomic_load_n(&w->changes, __ATOMIC_ACQUIRE);
  if (w->drawn == CHANGES && all_drawn == 0) note(&all_drawn);
}

static void repaint(void *arg) { draw((window *)arg); }

static void changed(selv_host_loop *loop, window *w) { /* from any thread, as often as you like: one repaint for all */
  selv_status status = selv_host_loop_call_soon(loop, repaint, w, NULL, SELV_CALL_IDEMPOTENT);
  if (status != SELV_OK) fprintf(stderr, "not repainted: %s\n", selv_status_text(status));
}

/* ---- another thread ---- */

typedef struct user {
  selv_host_loop *loop;
  window *window;
  int keyboard;
} user;

static void *types_and_changes(void *arg) {
  user *u = (user *)arg;
  int i;
  if (write(u->keyboard, "q", 1) != 1) perror("write");
  for (i = 0; i < CHANGES; i++) {
    __atomic_add_fetch(&u->window->changes, 1, __ATOMIC_RELEASE);
    changed(u->loop, u->window);
  }
  return NULL;
}

int main(void) {
  request first = { "the first request", 0, 0 }, second = { "the second request", 0, 0 };
  window w = { 0, 0 };
  selv_cache *cache;
  selv_host_loop *loop;
  user somebody;
  pthread_t other;
  int keyboard[2], ok;
  main_thread = pthread_self();
  if (pipe(keyboard) != 0) return perror("pipe"), EXIT_FAILURE;
  if (!check("selv_cache_new", selv_cache_new(NULL, &cache)) || !check("selv_host_loop_new", selv_host_loop_new(NULL, &loop)) ||
      !check("selv_lock_new", selv_lock_new(NULL, &the_table)) || !check("selv_task_new", selv_task_new(first.name, &first.task)) ||
      !check("selv_task_new", selv_task_new(second.name, &second.task)))
    return EXIT_FAILURE;

  if (!check("selv_cache_submit", begin(cache, loop, own_name))) return EXIT_FAILURE;
  /* The table is free: there is no callback. And then it is not. */
  if (want_table(loop, the_table, &first) != SELV_OK || want_table(loop, the_table, &second) != SELV_PENDING) return EXIT_FAILURE;
  serve(&first);
  somebody.loop = loop;
  somebody.window = &w;
  somebody.keyboard = keyboard[1];
  if (pthread_create(&other, NULL, types_and_changes, &somebody) != 0) return EXIT_FAILURE;
  ok = check("selv_host_loop_drain", run_loop(loop, keyboard[0], key_pressed));
  printf("%u changes are on the screen\n", w.drawn);

  /* Nobody submits any more: the loop, and then the cache. */
  pthread_join(other, NULL);
  ok &= check("selv_host_loop_close", selv_host_loop_close(loop));
  selv_host_loop_release(loop);
  ok &= check("selv_cache_shutdown", selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  selv_cache_release(cache);
  ok &= check("selv_task_exit", selv_task_exit(first.task, NULL)) && check("selv_task_exit", selv_task_exit(second.task, NULL));
  ok &= check("selv_lock_free", selv_lock_free(the_table));
  close(keyboard[0]);
  close(keyboard[1]);
  return ok && elsewhere == 0 && w.drawn == CHANGES ? EXIT_SUCCESS : EXIT_FAILURE;
}

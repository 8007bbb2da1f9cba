/* async_lock.c: an event loop with many requests and one thread. Each request is a task of its own; it stands in line for a lock while the
 * loop goes on, and its completion, which may come on any thread, wakes the loop through a pipe. One request runs out of patience and
 * cancels; one is gone before its turn comes and abandons.
 *     cc -std=c99 async_lock.c -o async_lock $(pkg-config --cflags --libs selvedge) && ./async_lock */
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct request {
  const char *name;
  selv_task task;
  selv_op op;
  selv_status status; /* written by the completion, read by the loop after the pipe */
} request;

static selv_lock *table;
static selv_event *has_table, *go_on;
static int pipe_ends[2];

static int check(const char *who, const char *what, selv_status expected, selv_status status) {
  char detail[256];
  printf("%-10s %-18s %s\n", who, what, selv_status_name(status));
  if (status == expected) return 1;
  selv_last_error(detail, sizeof detail);
  fprintf(stderr, "expected %s: %s\n", selv_status_name(expected), detail);
  return 0;
}

/* On whichever thread ends the wait: says so to the loop, and nothing more. */
static void completed(void *arg, const selv_completed *c) {
  request *r = (request *)arg;
  r->status = c->status;
  if (write(pipe_ends[1], &r, sizeof r) != sizeof r) abort();
}

/* 1 if it has the lock or stands in line for it. */
static int begin(request *r, const char *name) {
  selv_completion completion = { completed, NULL, NULL };
  completion.arg = r;
  r->name = name;
  if (selv_task_new(name, &r->task) != SELV_OK) return 0;
  r->status = selv_lock_acquire_async(table, r->task, &completion, &r->op);
  return check(name, "asks:", SELV_PENDING, r->status); /* SELV_OK would be: it has the lock, and there is no completion */
}

/* Patience is at an end. Whatever this answers, there will be one completion: with SELV_E_CANCELLED, or, if the grant was faster
 * (SELV_E_TOO_LATE), with SELV_OK. */
static int give_up(request *r) { return check(r->name, "gives up:", SELV_OK, selv_op_cancel(r->op)); }

/* SELV_OK: there will be no completion, and the lock goes to the next; `r` may be freed. SELV_E_TOO_LATE: it has been called. */
static int vanish(request *r) {
  int ok = check(r->name, "vanishes:", SELV_OK, selv_op_abandon(r->op));
  return ok & check(r->name, "ends:", SELV_OK, selv_task_exit(r->task, NULL));
}

/* The loop: one completion after the other, until so many have come. */
static int loop(int count) {
  request *r;
  int ok = 1;
  for (; count > 0; count--) {
    if (read(pipe_ends[0], &r, sizeof r) != sizeof r) return perror("read"), 0;
    printf("%-10s %-18s %s\n", r->name, "is told:", selv_status_name(r->status));
    if (r->status >= 0) ok &= check(r->name, "releases:", SELV_OK, selv_lock_release(table, r->task));
    ok &= check(r->name, "ends:", SELV_OK, selv_task_exit(r->task, NULL));
  }
  return ok;
}

static int32_t slow_job(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  if (selv_lock_acquire(table, SELV_TASK_CURRENT, SELV_FOREVER) != SELV_OK) return 1;
  if (selv_event_set(has_table) != SELV_OK || selv_event_wait(go_on, SELV_TASK_CURRENT, SELV_FOREVER) != SELV_OK) return 1;
  return selv_lock_release(table, SELV_TASK_CURRENT); /* the next in line is granted it, and told, here */
}

int main(void) {
  request patient, impatient, gone;
  selv_cache *cache = NULL;
  int ok;
  if (pipe(pipe_ends) != 0) return perror("pipe"), EXIT_FAILURE;
  ok = selv_lock_new(NULL, &table) == SELV_OK && selv_cache_new(NULL, &cache) == SELV_OK;
  ok = ok && selv_event_new(NULL, &has_table) == SELV_OK && selv_event_new(NULL, &go_on) == SELV_OK;
  ok = ok && selv_start_thread_soon(cache, slow_job, NULL, NULL, "slow job") == SELV_OK;
  ok = ok && selv_event_wait(has_table, SELV_TASK_CURRENT, SELV_FOREVER) == SELV_OK;
  ok = ok && begin(&gone, "gone") && begin(&impatient, "impatient") && begin(&patient, "patient");
  ok = ok && give_up(&impatient) && loop(1);
  ok = ok && vanish(&gone);
  ok = ok && selv_event_set(go_on) == SELV_OK && loop(1);
  if (!ok) return EXIT_FAILURE;
  ok = check("main", "shuts down:", SELV_OK, selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  selv_cache_release(cache);
  ok &= selv_event_free(has_table) == SELV_OK && selv_event_free(go_on) == SELV_OK;
  ok &= check("main", "frees the lock:", SELV_OK, selv_lock_free(table));
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

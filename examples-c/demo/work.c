/* work.c: keeps the jobs in flight. The main thread submits, and sleeps while enough are under way; a delivery wakes it. */
#define _POSIX_C_SOURCE 200809L
#include "work.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "progress.h"
#include "reference.h"
#include "text.h"

/* There is one run in the process. */
static struct work {
  const use *uses;
  size_t use_count;
  pthread_mutex_t mutex; /* guards the rest, and every check that was delivered */
  pthread_cond_t delivery;
  size_t delivered;
  uint64_t bytes;
  const char *below; /* what puts a message below the bar */
} work = { NULL, 0, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, "" };

static volatile sig_atomic_t interrupted;

/* The handler resets itself: a second Ctrl-C ends the process at once. */
static void on_signal(int number) { interrupted = number; }

size_t work_digests(size_t uses) { return uses > 1 ? uses : 2; }

/* The job. The file is read once; every runtime works on the same memory. */
static int32_t check_file(void *arg, void **out_value) {
  check *c = (check *)arg;
  content whole;
  int code = file_read(c->file->path, SIZE_MAX, &whole);
  size_t i;
  (void)out_value;
  if (code != 0) return code;
  c->bytes = whole.length;
  for (i = 0; i < work.use_count && code == 0; i++)
    if (work.uses[i].runtime->crc(work.uses[i].hook, whole.data, whole.length, &c->crc[i]) != 0) code = CHECK_FAILED(i);
  if (work.use_count == 1) c->crc[1] = reference_crc32(whole.data, whole.length);
  free(whole.data);
  return code;
}

static void deliver(void *arg, const selv_outcome *outcome) {
  check *c = (check *)arg;
  char detail[256];
  /* Why a job did not run is known to this thread alone, and now. */
  if (outcome->status != SELV_OK && selv_last_error(detail, sizeof detail) > 0)
    fprintf(stderr, "%sdemo: %s: %s\n", work.below, selv_status_name(outcome->status), detail);
  pthread_mutex_lock(&work.mutex);
  c->status = outcome->status;
  c->code = outcome->code;
  c->delivered++;
  work.delivered++;
  work.bytes += c->bytes;
  pthread_cond_signal(&work.delivery);
  pthread_mutex_unlock(&work.mutex);
}

/* Sleeps, with the mutex, until a delivery, or until the bar wants to be drawn or a signal may have come. */
static void wait_for_delivery(void) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += (long)PROGRESS_PERIOD_NS;
  if (until.tv_nsec >= 1000000000L) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000L;
  }
  pthread_cond_timedwait(&work.delivery, &work.mutex, &until);
}

/* Waits until at most `most` jobs are under way. */
static void wait_for_room(size_t submitted, size_t most, progress *bar) {
  size_t delivered;
  uint64_t bytes;
  pthread_mutex_lock(&work.mutex);
  while (submitted - work.delivered > most) {
    wait_for_delivery();
    delivered = work.delivered;
    bytes = work.bytes;
    pthread_mutex_unlock(&work.mutex);
    progress_show(bar, delivered, bytes);
    pthread_mutex_lock(&work.mutex);
  }
  pthread_mutex_unlock(&work.mutex);
}

/* The job's name in the trace: the file's, as far as it is UTF-8. */
static const char *job_name(const char *path, char *out, size_t room) {
  const char *slash = strrchr(path, '/');
  return text_printable(out, room, slash != NULL ? slash + 1 : path);
}

static void catch_signals(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

int work_run(selv_cache *cache, const use *uses, size_t use_count, const file_list *files, size_t in_flight, work_result *out) {
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  pthread_condattr_t monotonic;
  progress bar;
  char name[64];
  size_t i;
  memset(out, 0, sizeof *out);
  out->checks = (check *)calloc(files->count, sizeof *out->checks);
  if (out->checks == NULL) return -1;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&work.delivery, &monotonic);
  pthread_condattr_destroy(&monotonic);
  work.uses = uses;
  work.use_count = use_count;
  /* The runtimes have started: from here on these two are ours. Workers do not get them. */
  catch_signals();

  progress_begin(&bar, files->count);
  work.below = bar.terminal ? "\n" : "";
  job.fn = check_file;
  job.deliver = deliver;
  job.name = name;
  for (i = 0; i < files->count && interrupted == 0; i++) {
    wait_for_room(out->submitted, in_flight - 1, &bar);
    out->checks[i].file = &files->at[i];
    job.arg = &out->checks[i];
    job_name(files->at[i].path, name, sizeof name);
    out->refused = selv_cache_submit(cache, &job, NULL);
    if (out->refused != SELV_OK) {
      char detail[256];
      selv_last_error(detail, sizeof detail);
      fprintf(stderr, "%sdemo: selv_cache_submit: %s: %s\n", work.below, selv_status_name(out->refused), detail);
      break;
    }
    out->submitted++;
  }
  wait_for_room(out->submitted, 0, &bar);
  progress_end(&bar, work.delivered, work.bytes);
  out->elapsed_ns = clock_ns() - bar.started;
  out->interrupted = interrupted;
  return 0;
}

void work_free(work_result *result) {
  free(result->checks);
  result->checks = NULL;
}

/* sample.c: each runtime runs the same chain of jobs twice, on one worker each: on a cache with its hooks, where a job finds the
 * runtime attached, and on a cache without, where each job attaches, works and detaches by itself. A job submits the next one
 * as it is delivered, so both figures hold the same few dozen nanoseconds of hand-off. Rounds of both alternate, so that
 * a busy machine hits both; the figure is the median round. The caches are the sample's own: nothing of it is in the table's
 * counts or in the trace. */
#define _POSIX_C_SOURCE 200809L
#include "sample.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "reference.h"

#define ROUNDS 7
#define WARM_UP 2

typedef struct sample {
  content blocks[SAMPLE_FILES];
  uint32_t crc[SAMPLE_FILES];
  size_t count;
} sample;

/* One round. Its jobs run one after the other, so only `finished` is shared. */
typedef struct chain {
  const sample *sample;
  const runtime *runtime;
  selv_cache *cache;
  selv_hook *hook; /* NULL: by itself */
  size_t done, jobs;
  int failed;
  pthread_mutex_t mutex;
  pthread_cond_t end;
  int finished;
} chain;

static int32_t run_one(void *arg, void **out_value) {
  chain *c = (chain *)arg;
  size_t i = c->done % c->sample->count;
  const content *block = &c->sample->blocks[i];
  uint32_t crc = 0;
  int failed = c->hook != NULL ? c->runtime->crc(c->hook, block->data, block->length, &crc)
                               : c->runtime->crc_by_itself(block->data, block->length, &crc);
  (void)out_value;
  return failed || crc != c->sample->crc[i];
}

static void run_next(void *arg, const selv_outcome *outcome);

static selv_status submit(chain *c) {
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  job.fn = run_one;
  job.deliver = run_next;
  job.arg = c;
  return selv_cache_submit(c->cache, &job, NULL);
}

static void run_next(void *arg, const selv_outcome *outcome) {
  chain *c = (chain *)arg;
  c->failed |= outcome->status != SELV_OK || outcome->code != 0;
  if (++c->done < c->jobs && !c->failed) {
    if (submit(c) == SELV_OK) return;
    c->failed = 1;
  }
  pthread_mutex_lock(&c->mutex);
  c->finished = 1;
  pthread_cond_signal(&c->end);
  pthread_mutex_unlock(&c->mutex);
}

/* ns per job, or a negative number. */
static double run_round(const sample *s, const runtime *r, selv_cache *cache, selv_hook *hook, size_t jobs) {
  chain c = { NULL, NULL, NULL, NULL, 0, 0, 0, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
  uint64_t started = clock_ns();
  double ns;
  c.sample = s;
  c.runtime = r;
  c.cache = cache;
  c.hook = hook;
  c.jobs = jobs;
  if (submit(&c) != SELV_OK) return -1;
  pthread_mutex_lock(&c.mutex);
  while (!c.finished) pthread_cond_wait(&c.end, &c.mutex);
  pthread_mutex_unlock(&c.mutex);
  ns = (double)(clock_ns() - started) / (double)jobs;
  pthread_cond_destroy(&c.end);
  pthread_mutex_destroy(&c.mutex);
  return c.failed ? -1 : ns;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *rounds) {
  qsort(rounds, ROUNDS, sizeof *rounds, compare);
  return rounds[ROUNDS / 2];
}

static int measure(use *u, const sample *s, selv_cache *attached, selv_cache *bare, selv_hook *hook, size_t jobs) {
  double with_hooks[ROUNDS], by_itself[ROUNDS], ns[2];
  int round;
  for (round = -WARM_UP; round < ROUNDS; round++) {
    ns[0] = run_round(s, u->runtime, attached, hook, jobs);
    ns[1] = run_round(s, u->runtime, bare, NULL, jobs);
    if (ns[0] < 0 || ns[1] < 0) {
      fprintf(stderr, "demo: a job of the sample failed in %s, or got a wrong digest\n", u->runtime->name);
      return -1;
    }
    if (round < 0) continue;
    with_hooks[round] = ns[0];
    by_itself[round] = ns[1];
  }
  u->hooks_ns = median(with_hooks);
  u->by_itself_ns = median(by_itself);
  return 0;
}

static int tell(const use *u, const char *what, selv_status status) {
  char detail[256];
  selv_last_error(detail, sizeof detail);
  fprintf(stderr, "demo: the sample of %s: %s: %s: %s\n", u->runtime->name, what, selv_status_name(status), detail);
  return -1;
}

/* Two caches of one runtime's own, taken down again before the next. */
static int measure_one(use *u, const sample *s, size_t jobs) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *caches[2] = { NULL, NULL };
  selv_hook *hook = NULL;
  selv_status status = SELV_OK;
  int failed = 0, i;
  options.name = "sample";
  for (i = 0; i < 2 && status == SELV_OK; i++) status = selv_cache_new(&options, &caches[i]);
  if (status != SELV_OK) failed = tell(u, "selv_cache_new", status);
  if (!failed && (status = u->runtime->add_hooks(caches[0], &hook)) != SELV_OK) failed = tell(u, "registering", status);
  if (!failed) failed = measure(u, s, caches[0], caches[1], hook, jobs);
  if (hook != NULL && (status = u->runtime->remove_hooks(hook, SELV_FOREVER)) != SELV_OK) failed = tell(u, "unregistering", status);
  selv_hook_release(hook);
  for (i = 0; i < 2; i++) {
    if (caches[i] != NULL && (status = selv_cache_shutdown(caches[i], 0, SELV_FOREVER, NULL)) != SELV_OK)
      failed = tell(u, "selv_cache_shutdown", status);
    selv_cache_release(caches[i]);
  }
  return failed;
}

/* Files from all over the list; those that cannot be read are met again by the work itself. */
static void gather(sample *s, const file_list *files) {
  size_t step = files->count / SAMPLE_FILES + 1, i;
  for (i = 0; i < files->count && s->count < SAMPLE_FILES; i += step) {
    content *block = &s->blocks[s->count];
    if (file_read(files->at[i].path, SAMPLE_BYTES, block) != 0) continue;
    s->crc[s->count++] = reference_crc32(block->data, block->length);
  }
}

int sample_run(use *uses, size_t use_count, const file_list *files, size_t jobs) {
  sample s;
  size_t i;
  int failed = 0;
  memset(&s, 0, sizeof s);
  gather(&s, files);
  for (i = 0; i < use_count && s.count > 0 && !failed; i++) failed = measure_one(&uses[i], &s, jobs);
  for (i = 0; i < s.count; i++) free(s.blocks[i].data);
  return failed;
}

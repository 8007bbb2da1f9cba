/* What the two attach programs share: the commands that the harness sends (src/peers/child.rs), and a chain of jobs on a cache,
 * the cheapest hand-off there is, so that what a job does for its runtime stands out. */
#ifndef BENCH_ATTACH_H
#define BENCH_ATTACH_H

#include <selvedge.h>

#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void must(selv_status status, const char *what) {
  if (status != SELV_OK) {
    char detail[256] = "";
    selv_last_error(detail, sizeof detail);
    printf("error %s: %s: %s\n", what, selv_status_name(status), detail);
    exit(1);
  }
}

typedef struct chain {
  selv_cache *cache;
  selv_job_fn fn;
  unsigned long left;
  sem_t done;
} chain;

static void next_job(void *arg, const selv_outcome *outcome) {
  chain *c = arg;
  must(outcome->status, "a job");
  if (outcome->code != 0) {
    printf("error a job: its call into the runtime failed\n");
    exit(1);
  }
  if (c->left == 0) {
    sem_post(&c->done);
  } else {
    c->left--;
    must(selv_start_thread_soon(c->cache, c->fn, next_job, c, NULL), "selv_start_thread_soon");
  }
}

/* Runs `count` jobs one after the other and returns the nanoseconds that they took. */
static uint64_t run_jobs(selv_cache *cache, selv_job_fn fn, unsigned long count) {
  struct timespec start, end;
  chain c = {cache, fn, count - 1, {{0}}};
  sem_init(&c.done, 0, 0);
  clock_gettime(CLOCK_MONOTONIC, &start);
  must(selv_start_thread_soon(cache, fn, next_job, &c, NULL), "selv_start_thread_soon");
  while (sem_wait(&c.done) != 0) {
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  sem_destroy(&c.done);
  return (uint64_t)(end.tv_sec - start.tv_sec) * 1000000000u + (uint64_t)end.tv_nsec - (uint64_t)start.tv_nsec;
}

static int32_t empty_job(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  return 0;
}

/* Answers commands until the input ends. The cache `bare` has no hook, `hooked` has the preset's. */
static void serve(selv_cache *bare, selv_cache *hooked, selv_job_fn with_hooks, selv_job_fn per_job) {
  char command[32];
  unsigned long count;
  printf("ready\n");
  fflush(stdout);
  while (scanf("%31s %lu", command, &count) == 2) {
    uint64_t ns = 0;
    if (strcmp(command, "none") == 0) {
      ns = run_jobs(bare, empty_job, count);
    } else if (strcmp(command, "hooks") == 0) {
      ns = run_jobs(hooked, with_hooks, count);
    } else if (strcmp(command, "perjob") == 0) {
      ns = run_jobs(bare, per_job, count);
    } else if (strcmp(command, "ensurekept") == 0) {
      ns = run_jobs(hooked, per_job, count);
    } else {
      printf("error unknown command %s\n", command);
      fflush(stdout);
      continue;
    }
    printf("ok %llu 0\n", (unsigned long long)ns);
    fflush(stdout);
  }
}

#endif

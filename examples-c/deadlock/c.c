/* c.c: the task in C, a job on the thread cache. It closes the ring, is refused, gives way, and then does its work. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>

#include "ring.h"
#include "tasks.h"

#define WHO "accounting (C)"

static sem_t has_ledger, may_close; /* of the story, not of the ring: the wait graph shall not know them */
static selv_job *job;

static void wait_for(sem_t *s) {
  while (sem_wait(s) != 0 && errno == EINTR) {
  }
}

static selv_status both_then_move(void) {
  selv_status status = ring_acquire(WHO, PRICES, SELV_TASK_CURRENT);
  if (status != SELV_OK) return status;
  ring_move(WHO, LEDGER, PRICES);
  return ring_release(WHO, PRICES, SELV_TASK_CURRENT);
}

/* What to do about SELV_E_DEADLOCK: let go of what the others wait for, and begin again. */
static selv_status give_way(void) {
  char detail[512];
  selv_status status;
  selv_last_error(detail, sizeof detail);
  printf("\n%s: %s\n\n", selv_status_name(SELV_E_DEADLOCK), detail);
  status = ring_release(WHO, LEDGER, SELV_TASK_CURRENT);
  if (status == SELV_OK) status = ring_acquire(WHO, LEDGER, SELV_TASK_CURRENT);
  if (status == SELV_OK) status = both_then_move();
  return status;
}

static selv_status account(void) {
  selv_status status = ring_acquire(WHO, LEDGER, SELV_TASK_CURRENT);
  sem_post(&has_ledger); /* or never will */
  if (status != SELV_OK) return status;
  wait_for(&may_close);
  status = both_then_move();
  if (status == SELV_E_DEADLOCK) status = give_way();
  if (status != SELV_OK) return status;
  return ring_release(WHO, LEDGER, SELV_TASK_CURRENT);
}

static int32_t run(void *arg, void **out_value) {
  selv_status status = account();
  (void)arg;
  (void)out_value;
  if (status != SELV_OK) ring_complain(WHO, status);
  return status;
}

int c_begin(selv_cache *cache) {
  selv_job_options options = SELV_JOB_OPTIONS_INIT;
  selv_status status;
  if (sem_init(&has_ledger, 0, 0) != 0 || sem_init(&may_close, 0, 0) != 0) {
    perror("deadlock: sem_init");
    return -1;
  }
  options.fn = run;
  options.name = WHO;
  status = selv_cache_submit(cache, &options, &job);
  if (status != SELV_OK) return ring_complain("selv_cache_submit", status);
  wait_for(&has_ledger);
  return 0;
}

void c_close_ring(void) { sem_post(&may_close); }

int c_end(void) {
  selv_outcome outcome;
  selv_status status = selv_job_wait(job, SELV_FOREVER, &outcome);
  if (status == SELV_OK) status = outcome.status;
  if (status != SELV_OK) return ring_complain("the job of the C task", status);
  selv_job_release(job);
  sem_destroy(&has_ledger);
  sem_destroy(&may_close);
  return outcome.code == SELV_OK ? 0 : -1;
}

/* progress.h: how far the work is: a bar on a terminal, a line now and then elsewhere. Used by one thread. */
#ifndef DEMO_PROGRESS_H
#define DEMO_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

#define PROGRESS_PERIOD_NS UINT64_C(100000000)

typedef struct progress {
  size_t total;
  int terminal;
  unsigned tenths;             /* plain lines: how many tenths have been told */
  uint64_t started, last;      /* ns */
} progress;

void progress_begin(progress *p, size_t total);
/* Cheap when nothing is to be shown yet. */
void progress_show(progress *p, size_t done, uint64_t bytes);
/* Takes the bar away. */
void progress_end(progress *p, size_t done, uint64_t bytes);

uint64_t clock_ns(void); /* CLOCK_MONOTONIC */

#endif

/* options.h: the command line. */
#ifndef DEMO_OPTIONS_H
#define DEMO_OPTIONS_H

#include "runtime.h"

#define EXIT_USAGE 2

typedef struct options {
  const char *folder;
  const char *trace;                   /* NULL: none */
  const runtime *wanted[RUNTIMES_MAX]; /* in the order in which they were named */
  size_t wanted_count;
  size_t jobs, limit, sample;          /* limit 0: every file; sample 0: no measurement */
} options;

/* -1: go on. Else the status to exit with; everything has been said. */
int options_parse(int argc, char **argv, options *out);

#endif

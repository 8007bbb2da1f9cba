/* table.h: what is told at the end. */
#ifndef DEMO_TABLE_H
#define DEMO_TABLE_H

#include "files.h"
#include "use.h"
#include "work.h"

typedef struct report {
  const char *folder;
  const use *uses;
  size_t use_count;
  const work_result *work;
  const file_list *unreadable; /* by the walk */
  size_t files;                /* that the walk found */
  selv_cache_stats cache;      /* after its shutdown */
  selv_status cache_shutdown;
  uint64_t cache_shutdown_ns;
  int dead_jobs;               /* jobs after a runtime's end that failed */
} report;

/* Prints the table and every fault. How many faults there are: 0 is a success. */
unsigned table_print(const report *r);

#endif

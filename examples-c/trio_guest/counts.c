/* counts.c: a row for the main thread and one for each worker. Workers are numbered from 1, so the number is the row. */
#define _POSIX_C_SOURCE 200809L
#include "counts.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define ROWS 64

typedef struct row {
  char name[64];
  unsigned long ran[COUNTS_KINDS]; /* atomic: the table is printed by another thread */
} row;

static row rows[ROWS];
static struct timespec began;

static const char *here(void) {
  const selv_worker *worker = selv_worker_current();
  return worker != NULL ? selv_worker_name(worker) : "main thread";
}

void counts_say(const char *format, ...) {
  struct timespec now;
  char text[512];
  va_list args;
  double ms;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (began.tv_sec == 0) began = now;
  ms = (double)(now.tv_sec - began.tv_sec) * 1e3 + (double)(now.tv_nsec - began.tv_nsec) / 1e6;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  printf("%8.1f ms  %-12s %s\n", ms, here(), text);
}

void counts_add(int kind) {
  const selv_worker *worker = selv_worker_current();
  uint64_t which = worker != NULL ? selv_worker_id(worker) : 0;
  row *r = &rows[which < ROWS ? which : ROWS - 1];
  if (r->name[0] == '\0') snprintf(r->name, sizeof r->name, "%s", here());
  __atomic_add_fetch(&r->ran[kind], 1, __ATOMIC_RELAXED);
}

static void print_number(unsigned long n) {
  if (n == 0) printf("%12s", "");
  else printf("%12lu", n);
}

void counts_print(void) {
  int i, kind;
  printf("\n%-12s%12s%12s%12s%12s\n", "", "GLib timer", "Trio turn", "Trio poll", "Java call");
  for (i = 0; i < ROWS; i++) {
    if (rows[i].name[0] == '\0') continue;
    printf("%-12s", rows[i].name);
    for (kind = 0; kind < COUNTS_KINDS; kind++) print_number(__atomic_load_n(&rows[i].ran[kind], __ATOMIC_RELAXED));
    puts("");
  }
  puts("");
}

unsigned long counts_of(int kind, int where) {
  unsigned long sum = 0;
  int i, last = where == COUNTS_MAIN ? 0 : ROWS - 1;
  for (i = where == COUNTS_MAIN ? 0 : 1; i <= last; i++) sum += __atomic_load_n(&rows[i].ran[kind], __ATOMIC_RELAXED);
  return sum;
}

int counts_complain(const char *what, selv_status status) {
  char detail[512];
  selv_last_error(detail, sizeof detail);
  fprintf(stderr, "trio_guest: %s: %s: %s\n", what, selv_status_name(status), detail[0] != '\0' ? detail : selv_status_text(status));
  return -1;
}

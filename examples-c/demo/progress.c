/* progress.c: a bar on a terminal, a line for every tenth elsewhere. */
#define _POSIX_C_SOURCE 200809L
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

uint64_t clock_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

#define LONG_TEXT 56

/* Columns of the terminal. Asked each time: people resize windows. */
static size_t width(void) {
  struct winsize size;
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void draw(const progress *p, size_t done, uint64_t bytes, uint64_t now) {
  char after[160], bar[64];
  text files, all, size, rate;
  size_t room = width(), length, filled;
  double seconds = (double)(now - p->started) / 1e9;
  snprintf(after, sizeof after, "%3u%%  %s of %s files, %s, %s files/s", (unsigned)(p->total > 0 ? done * 100 / p->total : 100),
           text_count(&files, done), text_count(&all, p->total), text_bytes(&size, bytes),
           text_count(&rate, seconds > 0 ? (uint64_t)((double)done / seconds) : 0));
  /* The last column stays free: some terminals wrap there at once. */
  if (strlen(after) + 1 > room) after[room - 1] = '\0';
  /* Room for a long text is kept from the beginning, or the bar would shrink as the numbers grow. */
  filled = strlen(after) < LONG_TEXT ? LONG_TEXT : strlen(after);
  length = room > filled + 14 ? room - filled - 4 : 0;
  if (length > sizeof bar - 1) length = sizeof bar - 1;
  filled = p->total > 0 ? length * done / p->total : length;
  memset(bar, '#', filled);
  memset(bar + filled, '.', length - filled);
  bar[length] = '\0';
  printf(length > 0 ? "\r[%s] %s\033[K" : "\r%s%s\033[K", bar, after);
  fflush(stdout);
}

void progress_begin(progress *p, size_t total) {
  const char *terminal = getenv("TERM");
  memset(p, 0, sizeof *p);
  p->total = total;
  p->terminal = isatty(STDOUT_FILENO) && terminal != NULL && strcmp(terminal, "dumb") != 0;
  p->started = clock_ns();
}

void progress_show(progress *p, size_t done, uint64_t bytes) {
  uint64_t now;
  if (p->terminal) {
    now = clock_ns();
    if (now - p->last < PROGRESS_PERIOD_NS) return;
    p->last = now;
    draw(p, done, bytes, now);
  } else if (p->total > 0 && done * 10 / p->total > p->tenths) {
    text files, all, size;
    p->tenths = (unsigned)(done * 10 / p->total);
    printf("%3u%%  %s of %s files, %s\n", p->tenths * 10, text_count(&files, done), text_count(&all, p->total),
           text_bytes(&size, bytes));
    fflush(stdout);
  }
}

void progress_end(progress *p, size_t done, uint64_t bytes) {
  if (!p->terminal) return;
  draw(p, done, bytes, clock_ns());
  fputs("\r\033[K", stdout);
  fflush(stdout);
}

/* ring.c: the three locks, and what is said about them. */
#define _POSIX_C_SOURCE 200809L
#include "ring.h"

#include <stdio.h>
#include <time.h>

ring_lock ring[RING_LOCKS] = {
  { "prices", NULL, RING_ITEMS },
  { "stock", NULL, RING_ITEMS },
  { "ledger", NULL, RING_ITEMS },
};

static struct timespec began;

int ring_complain(const char *what, selv_status status) {
  char detail[512];
  selv_last_error(detail, sizeof detail);
  fprintf(stderr, "deadlock: %s: %s: %s\n", what, selv_status_name(status), detail[0] != '\0' ? detail : selv_status_text(status));
  return -1;
}

int ring_make(void) {
  int i;
  clock_gettime(CLOCK_MONOTONIC, &began);
  for (i = 0; i < RING_LOCKS; i++) {
    selv_lock_options options = SELV_LOCK_OPTIONS_INIT;
    selv_status status;
    options.name = ring[i].name;
    /* Handed over in order, always: who has given way and asks again must come after the one that it gave way to. */
    options.flags = SELV_LOCK_STRICT_FIFO;
    status = selv_lock_new(&options, &ring[i].lock);
    if (status != SELV_OK) return ring_complain("selv_lock_new", status);
  }
  return 0;
}

int ring_free(void) {
  int i;
  for (i = 0; i < RING_LOCKS; i++) {
    selv_status status = selv_lock_free(ring[i].lock);
    if (status != SELV_OK) return ring_complain(ring[i].name, status);
  }
  return 0;
}

void ring_say(const char *who, const char *does, const char *what) {
  struct timespec now;
  double ms;
  clock_gettime(CLOCK_MONOTONIC, &now);
  ms = (double)(now.tv_sec - began.tv_sec) * 1e3 + (double)(now.tv_nsec - began.tv_nsec) / 1e6;
  printf("%8.1f ms  %-18s %s %s\n", ms, who, does, what);
}

selv_status ring_acquire(const char *who, int which, selv_task task) {
  selv_status status;
  ring_say(who, "wants", ring[which].name);
  status = selv_lock_acquire(ring[which].lock, task, SELV_FOREVER);
  ring_say(who, status == SELV_OK ? "has" : "is refused", ring[which].name);
  return status;
}

selv_status ring_release(const char *who, int which, selv_task task) {
  ring_say(who, "lets go of", ring[which].name);
  return selv_lock_release(ring[which].lock, task);
}

void ring_move(const char *who, int from, int to) {
  char route[64];
  snprintf(route, sizeof route, "%d from %s to %s", RING_MOVED, ring[from].name, ring[to].name);
  ring[from].items -= RING_MOVED;
  ring[to].items += RING_MOVED;
  ring_say(who, "moves", route);
}

/* main.c: three tasks in three languages, each with one lock in hand, each wanting the next one's. Two of them wait; the third would
 * close the ring, for ever, and is refused instead. It gives way, and all three come to their ends.
 *
 *     accounting (C)  has the ledger, wants the prices, which
 *     pricing (Python) has; it wants the stock, which
 *     shipping (Java) has; it wants the ledger.
 *
 *     deadlock <file.dot>     writes the wait graph of the moment before the ring would have closed */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "graph.h"
#include "ring.h"
#include "tasks.h"

/* Until somebody waits for this lock: then the task that was begun last is where the story wants it. Ten seconds are long enough. */
static int wait_for_waiter(int which) {
  const struct timespec ms = { 0, 1000000 };
  int tries;
  for (tries = 0; tries < 10000; tries++) {
    selv_lock_stats stats = SELV_LOCK_STATS_INIT;
    selv_status status = selv_lock_get_stats(ring[which].lock, &stats);
    if (status != SELV_OK) return ring_complain("selv_lock_get_stats", status);
    if (stats.waiting == 1) return 0;
    nanosleep(&ms, NULL);
  }
  fprintf(stderr, "deadlock: nobody comes to wait for %s\n", ring[which].name);
  return -1;
}

static int tell_story(selv_cache *cache, const char *dot) {
  const struct timespec moment = { 0, 100000000 };
  if (c_begin(cache) != 0) return -1;
  if (java_begin() != 0 || wait_for_waiter(LEDGER) != 0) return -1;
  if (python_begin() != 0 || wait_for_waiter(STOCK) != 0) return -1;
  nanosleep(&moment, NULL); /* so that the graph has something to tell of how long */
  if (graph_print() != 0 || graph_write_dot(dot) != 0) return -1;
  c_close_ring();
  if (c_end() != 0 || java_end() != 0 || python_end() != 0) return -1;
  return 0;
}

/* Each task moved its items once, in a ring: every lock guards what it guarded at first. Every wait ended in the lock's being handed
 * over, but for the one that was refused. */
static int judge(void) {
  uint64_t refused = 0;
  int i, good = 1;
  printf("\n%-8s %6s %6s %12s %8s\n", "lock", "items", "waits", "handed over", "refused");
  for (i = 0; i < RING_LOCKS; i++) {
    selv_lock_stats stats = SELV_LOCK_STATS_INIT;
    selv_status status = selv_lock_get_stats(ring[i].lock, &stats);
    if (status != SELV_OK) return ring_complain("selv_lock_get_stats", status);
    printf("%-8s %6ld %6llu %12llu %8llu\n", ring[i].name, ring[i].items, (unsigned long long)stats.waits,
           (unsigned long long)stats.handed_over, (unsigned long long)stats.deadlocks);
    good &= ring[i].items == RING_ITEMS && stats.waiting == 0 && stats.owner == 0 && stats.broken == 0;
    good &= stats.waits == stats.handed_over + stats.deadlocks;
    refused += stats.deadlocks;
  }
  if (good && refused == 1) return 0;
  fprintf(stderr, "deadlock: expected %d items behind each lock, nobody at it, and each wait but one granted\n", RING_ITEMS);
  return -1;
}

int main(int argc, char **argv) {
  selv_cache *cache;
  selv_status status;
  int failed;
  if (argc != 2) {
    fprintf(stderr, "usage: deadlock <file.dot>\n");
    return 2;
  }
  /* What three languages say through one stdout stays in order. */
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (ring_make() != 0) return EXIT_FAILURE;
  status = selv_cache_new(NULL, &cache);
  if (status != SELV_OK) return ring_complain("selv_cache_new", status) != 0;
  /* A task that failed left the others waiting: end the process with it. */
  if (tell_story(cache, argv[1]) != 0) return EXIT_FAILURE;
  failed = judge() != 0;
  status = selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL);
  if (status != SELV_OK) failed = ring_complain("selv_cache_shutdown", status) != 0;
  selv_cache_release(cache);
  if (ring_free() != 0) failed = 1;
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

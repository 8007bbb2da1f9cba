/* wait_graph.c: who holds what, and who waits for what. A program that seems to hang can print it: from a signal-handling thread, a debug
 * console, a watchdog. Here three orders and a job meet at a lock and a limiter; then one of them is about to close a ring in which
 * everybody would wait for ever, and is refused.
 *     cc -std=c99 wait_graph.c -o wait_graph $(pkg-config --cflags --libs selvedge) && ./wait_graph
 *     ./wait_graph dot | dot -Tsvg > waits.svg */
#define _POSIX_C_SOURCE 200809L
#include <selvedge.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static selv_lock *stock, *prices;
static selv_limiter *database;

static int check(const char *what, selv_status expected, selv_status status) {
  char detail[512];
  if (status == expected) return 1;
  selv_last_error(detail, sizeof detail);
  fprintf(stderr, "%s: %s: %s\n", what, selv_status_name(status), detail);
  return 0;
}

static selv_task task_named(const char *name) {
  selv_task task = 0;
  check("selv_task_new", SELV_OK, selv_task_new(name, &task));
  return task;
}

static selv_lock *lock_named(const char *name) {
  selv_lock_options options = SELV_LOCK_OPTIONS_INIT;
  selv_lock *lock = NULL;
  options.name = name;
  check("selv_lock_new", SELV_OK, selv_lock_new(&options, &lock));
  return lock;
}

/* Blocks in the call: a thread waits. */
static int32_t audit(void *arg, void **out_value) {
  (void)arg;
  (void)out_value;
  if (!check("audit", SELV_OK, selv_lock_acquire(stock, SELV_TASK_CURRENT, SELV_FOREVER))) return 1;
  return !check("audit", SELV_OK, selv_lock_release(stock, SELV_TASK_CURRENT));
}

static void granted(void *arg, const selv_completed *c) {
  if (check("order 18", SELV_OK, c->status)) check("order 18", SELV_OK, selv_lock_release(stock, *(selv_task *)arg));
}

static int32_t write_out(void *arg, const char *data, size_t len) {
  return fwrite(data, 1, len, (FILE *)arg) == len ? 0 : -1; /* anything but 0 ends the writing */
}

static int both_wait(void) {
  const struct timespec moment = { 0, 5000000 };
  int tries;
  for (tries = 0; tries < 2000; tries++) {
    selv_lock_stats stats = SELV_LOCK_STATS_INIT;
    if (!check("selv_lock_get_stats", SELV_OK, selv_lock_get_stats(stock, &stats))) return 0;
    nanosleep(&moment, NULL); /* also so that the graph has a time to tell */
    if (stats.waiting == 2) return 1;
  }
  return 0;
}

int main(int argc, char **argv) {
  const int dot = argc > 1 && strcmp(argv[1], "dot") == 0;
  const selv_task order_17 = task_named("order 17"), import = task_named("import");
  selv_task order_18 = task_named("order 18");
  selv_limiter_options one = SELV_LIMITER_OPTIONS_INIT;
  selv_completion completion = { granted, NULL, NULL };
  selv_cache *cache = NULL;
  char ring[512];
  int ok;
  stock = lock_named("stock");
  prices = lock_named("prices");
  one.name = "database";
  one.total = 1;
  completion.arg = &order_18;
  ok = check("selv_limiter_new", SELV_OK, selv_limiter_new(&one, &database));
  ok = ok && check("selv_cache_new", SELV_OK, selv_cache_new(NULL, &cache));

  ok = ok && check("order 17", SELV_OK, selv_lock_acquire(stock, order_17, SELV_FOREVER));
  ok = ok && check("order 18", SELV_OK, selv_limiter_acquire(database, order_18, SELV_FOREVER));
  ok = ok && check("order 18", SELV_PENDING, selv_lock_acquire_async(stock, order_18, &completion, NULL));
  ok = ok && check("audit", SELV_OK, selv_start_thread_soon(cache, audit, NULL, NULL, "audit"));
  ok = ok && check("import", SELV_OK, selv_lock_acquire(prices, import, SELV_FOREVER));
  ok = ok && check("import", SELV_OK, selv_task_exit(import, NULL)); /* with the lock in hand */
  ok = ok && both_wait();
  if (!ok) return EXIT_FAILURE;
  ok = check("selv_wait_graph", SELV_OK, selv_wait_graph(dot ? SELV_GRAPH_DOT : SELV_GRAPH_TEXT, write_out, stdout));

  /* This one would close the ring. The others wait on, as if nothing had been asked. */
  ok &= check("order 17", SELV_E_DEADLOCK, selv_limiter_acquire(database, order_17, SELV_FOREVER));
  selv_last_error(ring, sizeof ring);
  if (!dot) printf("\nSELV_E_DEADLOCK: %s\n", ring);

  /* So it gives way, and everybody comes to the end. */
  ok &= check("order 17", SELV_OK, selv_lock_release(stock, order_17));
  ok &= check("selv_cache_shutdown", SELV_OK, selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  ok &= check("order 18", SELV_OK, selv_limiter_release(database, order_18));
  selv_cache_release(cache);
  ok &= check("order 17", SELV_OK, selv_task_exit(order_17, NULL)) & check("order 18", SELV_OK, selv_task_exit(order_18, NULL));
  ok &= check("stock", SELV_OK, selv_lock_free(stock)) & check("prices", SELV_OK, selv_lock_free(prices));
  ok &= check("database", SELV_OK, selv_limiter_free(database));
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

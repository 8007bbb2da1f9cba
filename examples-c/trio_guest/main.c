/* main.c: a host with a main loop of GLib's, a JVM, and a guest: a Trio program, which runs in turns of that loop. Trio's blocking calls
 * and its polls run on workers of one thread cache, and each of these is a thread of the JVM, attached once, for its whole life: a
 * Python function in a worker calls Java and attaches nothing. */
#include <stdio.h>
#include <stdlib.h>

#include <selvedge/glib.h>

#include "counts.h"
#include "guest.h"
#include "java.h"

static GMainLoop *main_loop;

/* What else the host has to do. */
static gboolean tick(gpointer unused) {
  (void)unused;
  counts_add(COUNTS_TIMER);
  return G_SOURCE_CONTINUE;
}

static void guest_is_done(void) { g_main_loop_quit(main_loop); }

static int run_loop(void) {
  GSource *source;
  selv_host_loop *loop;
  selv_status status = selv_glib_loop_new(NULL, NULL, &loop, &source);
  guint ticker = g_timeout_add(1, tick, NULL);
  int failed;
  if (status != SELV_OK) return counts_complain("selv_glib_loop_new", status);
  failed = guest_begin(loop, guest_is_done) != 0;
  if (!failed) g_main_loop_run(main_loop);
  g_source_remove(ticker);
  status = selv_glib_loop_end(source);
  if (status != SELV_OK) return counts_complain("selv_glib_loop_end", status);
  return failed ? -1 : 0;
}

/* What is to be seen below: what lives in what, and where each part of it runs. */
static void explain(void) {
  puts("A shop and its customers, a Trio program, live in a main loop of GLib's: all their turns are on the main thread. What blocks is on\n"
       "workers of one thread cache: Trio's polls, and the quotes, each of them made in Java. A worker is attached to the JVM once.\n\n"
       "       when  where        what");
}

/* Trio's turns were on the main thread, its polls and Java's work on the workers; every worker was attached once and detached once,
 * and was one Thread to Java all the time. */
static int judge(selv_cache *cache, const java_threads *java) {
  selv_cache_stats stats = SELV_CACHE_STATS_INIT;
  selv_status status = selv_cache_get_stats(cache, &stats);
  unsigned long workers = (unsigned long)stats.started;
  if (status != SELV_OK) return counts_complain("selv_cache_get_stats", status);
  counts_print();
  printf("%lu workers: attached to the JVM %lu times, detached %lu times; Java made quotes in %lu Threads\n", workers, java->attached,
         java->detached, java->seen);
  if (java->attached != workers || java->detached != workers || java->seen > workers) {
    fprintf(stderr, "trio_guest: expected one attach and one detach for each worker\n");
    return -1;
  }
  if (counts_of(COUNTS_TURN, COUNTS_WORKERS) + counts_of(COUNTS_TIMER, COUNTS_WORKERS) + counts_of(COUNTS_POLL, COUNTS_MAIN) +
          counts_of(COUNTS_JAVA, COUNTS_MAIN) != 0) {
    fprintf(stderr, "trio_guest: expected Trio's turns on the main thread, its polls and Java's work on workers\n");
    return -1;
  }
  printf("as it should be: Trio took its turns on the main thread alone, between GLib's timers, and polled on workers alone; %lu Java\n"
         "calls needed %lu attaches\n", counts_of(COUNTS_JAVA, COUNTS_WORKERS), java->attached);
  return 0;
}

int main(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *cache;
  java_threads java;
  selv_status status;
  int failed;
  /* What three languages say through one stdout stays in order. */
  setvbuf(stdout, NULL, _IOLBF, 0);
  explain();
  options.name = "worker";
  status = selv_cache_new(&options, &cache);
  if (status != SELV_OK) return counts_complain("selv_cache_new", status) != 0;
  if (java_start(cache) != 0 || guest_start(cache) != 0) return EXIT_FAILURE;
  counts_say("the host has Java and Python, and no worker yet");
  main_loop = g_main_loop_new(NULL, FALSE);
  failed = run_loop() != 0;
  g_main_loop_unref(main_loop);
  if (guest_end() != 0) failed = 1;
  /* While a worker is attached the JVM must not be ended. */
  if (java_let_go(&java) != 0) return EXIT_FAILURE;
  if (judge(cache, &java) != 0 || java_end() != 0) failed = 1;
  status = selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL);
  if (status != SELV_OK) failed = counts_complain("selv_cache_shutdown", status) != 0;
  selv_cache_release(cache);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* glib_jobs.c: a GLib main loop with a thread cache beside it. A thousand jobs run on workers and are delivered in the main loop, beside
 * its timers, one after the other: never one inside another, though a callback may run a main loop of its own, as a modal dialog does.
 *     cc -std=c99 glib_jobs.c -o glib_jobs $(pkg-config --cflags --libs selvedge glib-2.0) && ./glib_jobs */
#include <selvedge/glib.h>
#include <stdio.h>
#include <stdlib.h>

#define JOBS 1000

static GMainLoop *main_loop, *progress;
static uint64_t numbers[JOBS], sum;
static unsigned delivered, ticks, while_progress, while_question;

static int check(const char *what, selv_status status) {
  char detail[256];
  if (status == SELV_OK) return 1;
  selv_last_error(detail, sizeof detail);
  fprintf(stderr, "%s: %s (the library last said: %s)\n", what, selv_status_text(status), detail);
  return 0;
}

static gboolean tick(gpointer unused) {
  (void)unused;
  ticks++;
  return G_SOURCE_CONTINUE;
}

static gboolean answered(gpointer question) {
  g_main_loop_quit((GMainLoop *)question);
  return G_SOURCE_REMOVE;
}

/* A dialog that a timer opens: deliveries go on in it, and one of them closes it. */
static gboolean show_progress(gpointer unused) {
  (void)unused;
  g_main_loop_run(progress);
  while_progress = delivered;
  return G_SOURCE_REMOVE;
}

/* A dialog that a delivery opens: the timers go on in it, the other deliveries wait until this one has returned. */
static void ask(void) {
  GMainLoop *question = g_main_loop_new(NULL, FALSE);
  unsigned before = delivered;
  g_timeout_add(20, answered, question);
  g_main_loop_run(question);
  g_main_loop_unref(question);
  while_question = delivered - before;
}

/* On a worker. */
static int32_t square(void *arg, void **out_value) {
  uint64_t *number = (uint64_t *)arg;
  (void)out_value;
  *number *= *number;
  return 0;
}

/* In the main loop. */
static void squared(void *arg, const selv_outcome *outcome) {
  if (outcome->status == SELV_OK) sum += *(uint64_t *)arg;
  delivered++;
  if (delivered == JOBS / 4) g_main_loop_quit(progress);
  if (delivered == JOBS / 2) ask();
  if (delivered == JOBS) g_main_loop_quit(main_loop);
}

int main(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_cache *cache;
  selv_host_loop *loop;
  GSource *source;
  int i, ok = 1;
  options.max_workers = 8;
  if (!check("selv_cache_new", selv_cache_new(&options, &cache))) return EXIT_FAILURE;
  if (!check("selv_glib_loop_new", selv_glib_loop_new(NULL, NULL, &loop, &source))) return EXIT_FAILURE;
  main_loop = g_main_loop_new(NULL, FALSE);
  progress = g_main_loop_new(NULL, FALSE);
  g_timeout_add(1, tick, NULL);
  g_timeout_add_full(G_PRIORITY_HIGH, 0, show_progress, NULL, NULL); /* opened before the first delivery */

  job.fn = square;
  job.deliver = squared;
  job.loop = loop;
  for (i = 0; ok && i < JOBS; i++) {
    numbers[i] = (uint64_t)i + 1;
    job.arg = &numbers[i];
    ok = check("selv_cache_submit", selv_cache_submit(cache, &job, NULL));
  }
  if (ok) g_main_loop_run(main_loop);

  printf("%u jobs delivered, the sum of their squares is %llu\n", delivered, (unsigned long long)sum);
  printf("in the dialog of the timer: %s; in the dialog of a delivery: %u\n", while_progress >= JOBS / 4 ? "250 or more" : "too few",
         while_question);
  ok = ok && delivered == JOBS && sum == UINT64_C(333833500) && ticks > 0 && while_progress >= JOBS / 4 && while_question == 0;

  ok &= check("selv_cache_shutdown", selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL));
  selv_cache_release(cache);
  ok &= check("selv_glib_loop_end", selv_glib_loop_end(source));
  g_main_loop_unref(progress);
  g_main_loop_unref(main_loop);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

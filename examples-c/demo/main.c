/* main.c: Selvedge's demo. Several language runtimes in one process share the workers of one thread cache, work on the same files
 * job by job, and are shut down one after the other while the cache goes on. The steps of it, in order, are below. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "finish.h"
#include "options.h"
#include "progress.h"
#include "reference.h"
#include "sample.h"
#include "table.h"
#include "text.h"
#include "use.h"
#include "work.h"

static int fail(const char *what, selv_status status) {
  char detail[256];
  selv_last_error(detail, sizeof detail);
  fprintf(stderr, "demo: %s: %s: %s\n", what, selv_status_name(status), detail[0] != '\0' ? detail : selv_status_text(status));
  return EXIT_FAILURE;
}

/* What was asked for and what is there. */
static size_t choose_runtimes(const options *o, use *uses) {
  size_t count = 0, i;
  for (i = 0; i < o->wanted_count; i++)
    if (o->wanted[i]->absent == NULL) uses[count++].runtime = o->wanted[i];
  printf("runtimes     ");
  for (i = 0; i < count; i++) printf("%s%s", i > 0 ? ", " : "", uses[i].runtime->name);
  printf("%s\n", count > 0 ? "" : "none");
  for (i = 0; i < o->wanted_count; i++)
    if (o->wanted[i]->absent != NULL) printf("left out     %s: %s\n", o->wanted[i]->key, o->wanted[i]->absent);
  for (i = 0; i < RUNTIMES_MAX; i++) {
    size_t k = 0;
    while (k < o->wanted_count && o->wanted[k] != runtimes[i]) k++;
    if (k == o->wanted_count) printf("left out     %s: not asked for\n", runtimes[i]->key);
  }
  return count;
}

/* -1, or the status to exit with. */
static int find_files(const options *o, file_list *files, file_list *unreadable) {
  text count;
  int error = files_walk(o->folder, files, unreadable);
  if (error != 0) {
    fprintf(stderr, "demo: cannot read the folder %s: %s\n", o->folder, strerror(error));
    return EXIT_USAGE;
  }
  if (files->count == 0 && unreadable->count == 0) {
    fprintf(stderr, "demo: there is no file below %s\n", o->folder);
    return EXIT_USAGE;
  }
  printf("folder       %s: %s files\n", o->folder, text_count(&count, files->count + unreadable->count));
  while (o->limit != 0 && files->count > o->limit) free(files->at[--files->count].path);
  if (o->limit != 0 && files->count == o->limit) printf("limit        the first %s\n", text_count(&count, o->limit));
  printf("in flight    %zu jobs\n", o->jobs);
  return -1;
}

/* A wrong --trace is told before the work, not after it. */
static int try_trace(const options *o) {
  selv_status status = o->trace != NULL ? selv_trace_start(o->trace) : SELV_OK;
  if (status == SELV_OK && o->trace != NULL) status = selv_trace_stop();
  if (status == SELV_OK) return -1;
  fail("--trace", status);
  return EXIT_USAGE;
}

/* In the order of `runtimes`, which has its reasons, and not in the order of the command line. */
static int start_runtimes(const use *uses, size_t count) {
  size_t i, k;
  for (i = 0; i < RUNTIMES_MAX; i++)
    for (k = 0; k < count; k++)
      if (uses[k].runtime == runtimes[i] && runtimes[i]->start() != 0) return -1;
  return 0;
}

static int add_hooks(selv_cache *cache, use *uses, size_t count) {
  size_t i;
  for (i = 0; i < count; i++) {
    selv_status status = uses[i].runtime->add_hooks(cache, &uses[i].hook);
    if (status != SELV_OK) {
      fail(uses[i].runtime->name, status);
      return -1;
    }
  }
  return 0;
}

/* The cache, its hooks, the work, the end of the runtimes, the end of the cache; recorded from its first worker to its last. */
static int run(const options *o, report *r, use *uses, const file_list *files, work_result *work) {
  selv_cache_options cache_options = SELV_CACHE_OPTIONS_INIT;
  const selv_cache_stats none = SELV_CACHE_STATS_INIT;
  selv_cache *cache;
  selv_status status;
  uint64_t at;
  size_t i;
  if (o->trace != NULL && (status = selv_trace_start(o->trace)) != SELV_OK) return fail("selv_trace_start", status);
  cache_options.name = "demo";
  if ((status = selv_cache_new(&cache_options, &cache)) != SELV_OK) return fail("selv_cache_new", status);
  if (add_hooks(cache, uses, r->use_count) != 0) return EXIT_FAILURE;
  if (work_run(cache, uses, r->use_count, files, o->jobs, work) != 0) {
    fprintf(stderr, "demo: no memory for the list of %zu files\n", files->count);
    return EXIT_FAILURE;
  }
  r->dead_jobs = finish_runtimes(cache, uses, r->use_count);
  at = clock_ns();
  r->cache_shutdown = selv_cache_shutdown(cache, 0, UINT64_C(30000000000), NULL);
  r->cache_shutdown_ns = clock_ns() - at;
  r->cache = none;
  if ((status = selv_cache_get_stats(cache, &r->cache)) != SELV_OK) return fail("selv_cache_get_stats", status);
  for (i = 0; i < r->use_count; i++) selv_hook_release(uses[i].hook);
  selv_cache_release(cache);
  if (o->trace != NULL && (status = selv_trace_stop()) != SELV_OK) return fail("selv_trace_stop", status);
  return EXIT_SUCCESS;
}

static int judge(const options *o, const report *r) {
  unsigned faults = table_print(r);
  if (o->trace != NULL) printf("trace        %s (open it in https://ui.perfetto.dev)\n", o->trace);
  if (r->work->interrupted != 0) {
    printf("interrupted by signal %d\n", r->work->interrupted);
    return 128 + r->work->interrupted;
  }
  if (faults > 0) return EXIT_FAILURE;
  puts("All digests agree, every attach had its detach, every job was delivered.");
  return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
  options o;
  use uses[RUNTIMES_MAX];
  file_list files = { NULL, 0, 0 }, unreadable = { NULL, 0, 0 };
  work_result work;
  report r;
  int status = options_parse(argc, argv, &o);
  if (status != -1) return status;
  memset(uses, 0, sizeof uses);
  memset(&work, 0, sizeof work);
  memset(&r, 0, sizeof r);
  /* What is told to stdout and to stderr stays in order when both go to one file. */
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("Selvedge %s\n", selv_version());
  r.use_count = choose_runtimes(&o, uses);
  if (r.use_count == 0) {
    fprintf(stderr, "demo: none of the runtimes that --runtimes names is there\n");
    return EXIT_USAGE;
  }
  if ((status = find_files(&o, &files, &unreadable)) == -1) status = try_trace(&o);
  if (status == -1) {
    reference_prepare();
    r.folder = o.folder;
    r.uses = uses;
    r.work = &work;
    r.unreadable = &unreadable;
    r.files = files.count;
    status = start_runtimes(uses, r.use_count) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    if (status == EXIT_SUCCESS && o.sample > 0 && sample_run(uses, r.use_count, &files, o.sample) != 0)
      status = EXIT_FAILURE;
    if (status == EXIT_SUCCESS) status = run(&o, &r, uses, &files, &work);
    if (status == EXIT_SUCCESS) status = judge(&o, &r);
    work_free(&work);
  }
  files_free(&files);
  files_free(&unreadable);
  return status;
}

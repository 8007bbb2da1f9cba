/* options.c: the command line, and what is said about a wrong one. */
#define _POSIX_C_SOURCE 200809L
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

#define DEFAULT_RUNTIMES "python,jvm,clr"
#define DEFAULT_SAMPLE 200
#define MOST_JOBS 4096
#define MOST_SAMPLE 100000
#define MOST_FILES 1000000000

static size_t default_jobs(void) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  return cores > 0 && cores <= MOST_JOBS / 2 ? 2 * (size_t)cores : 4;
}

static void help(const char *program) {
  size_t i;
  printf("Usage: %s [options] [folder]\n\n"
         "Holds several language runtimes in one process, attached to the workers of one thread cache. Every file below\n"
         "the folder is one job: on one worker, each runtime computes the file's CRC-32 in its own language, and all must agree.\n\n",
         program);
  printf("  folder             default: %s\n",
         DEMO_FOLDER[0] != '\0' ? DEMO_FOLDER : "none, as no Python was found when this was built");
  printf("  --runtimes LIST    which, with commas between: python, jvm, clr, mono (default: %s)\n", DEFAULT_RUNTIMES);
  printf("  --jobs N           files in work at a time, 1 to %d (default: twice the cores, here %zu)\n", MOST_JOBS,
         default_jobs());
  printf("  --limit N          stop after N files\n");
  printf("  --sample N         jobs per round when measuring the cost of attaching, 0 to %d; 0: do not measure\n"
         "                     (default: %d)\n", MOST_SAMPLE, DEFAULT_SAMPLE);
  printf("  --trace FILE       where the trace goes; it opens in https://ui.perfetto.dev\n"
         "                     (default: %s)\n", DEMO_TRACE);
  printf("  --no-trace         write none\n");
  printf("  --help             this text\n\n"
         "Exit status: 0 if all digests agreed, every attach had its detach, every job was delivered and every runtime ended\n"
         "cleanly; 1 if not; 2 for a wrong option or folder; 130 or 143 if interrupted. Unreadable files are named, and are\n"
         "no error.\n\n"
         "In this build:\n");
  for (i = 0; i < RUNTIMES_MAX; i++)
    printf("  %-7s %s%s%s\n", runtimes[i]->key, runtimes[i]->name, runtimes[i]->absent != NULL ? " left out: " : "",
           runtimes[i]->absent != NULL ? runtimes[i]->absent : "");
}

static int wrong(const char *program) {
  fprintf(stderr, "%s --help lists the options\n", program);
  return EXIT_USAGE;
}

static int parse_number(const char *program, const char *option, const char *given, size_t least, size_t most, size_t *out) {
  char *end;
  unsigned long number;
  errno = 0;
  number = strtoul(given, &end, 10);
  /* strtoul takes signs and leading blanks; we take digits. */
  if (given[0] < '0' || given[0] > '9' || *end != '\0' || errno != 0 || number < least || number > most) {
    fprintf(stderr, "%s: --%s %s: expected a number from %zu to %zu\n", program, option, given, least, most);
    return wrong(program);
  }
  *out = number;
  return -1;
}

static int parse_runtimes(const char *program, const char *list, options *out) {
  const char *at = list;
  out->wanted_count = 0;
  for (;;) {
    size_t length = strcspn(at, ","), i;
    const runtime *found = runtime_find(at, length);
    if (found == NULL) {
      fprintf(stderr, "%s: --runtimes %s: expected some of python, jvm, clr, mono with commas between, not \"%.*s\"\n", program,
              list, (int)length, at);
      return wrong(program);
    }
    for (i = 0; i < out->wanted_count; i++) {
      if (out->wanted[i] != found) continue;
      fprintf(stderr, "%s: --runtimes %s: %s is there twice\n", program, list, found->key);
      return wrong(program);
    }
    out->wanted[out->wanted_count++] = found;
    if (at[length] == '\0') return -1;
    at += length + 1;
  }
}

int options_parse(int argc, char **argv, options *out) {
  enum { RUNTIMES = 256, JOBS, LIMIT, SAMPLE, TRACE, NO_TRACE, HELP };
  static const struct option known[] = {
    { "runtimes", required_argument, NULL, RUNTIMES }, { "jobs", required_argument, NULL, JOBS },
    { "limit", required_argument, NULL, LIMIT },       { "sample", required_argument, NULL, SAMPLE },
    { "trace", required_argument, NULL, TRACE },       { "no-trace", no_argument, NULL, NO_TRACE },
    { "help", no_argument, NULL, HELP },               { NULL, 0, NULL, 0 },
  };
  const char *program = argc > 0 ? argv[0] : "demo";
  int status, option;
  memset(out, 0, sizeof *out);
  out->folder = DEMO_FOLDER[0] != '\0' ? DEMO_FOLDER : NULL;
  out->trace = DEMO_TRACE;
  out->jobs = default_jobs();
  out->sample = DEFAULT_SAMPLE;
  status = parse_runtimes(program, DEFAULT_RUNTIMES, out);
  while (status == -1 && (option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
    switch (option) {
      case RUNTIMES: status = parse_runtimes(program, optarg, out); break;
      case JOBS: status = parse_number(program, "jobs", optarg, 1, MOST_JOBS, &out->jobs); break;
      case LIMIT: status = parse_number(program, "limit", optarg, 1, MOST_FILES, &out->limit); break;
      case SAMPLE: status = parse_number(program, "sample", optarg, 0, MOST_SAMPLE, &out->sample); break;
      case TRACE: out->trace = optarg; break;
      case NO_TRACE: out->trace = NULL; break;
      case 'h':
      case HELP: help(program); return EXIT_SUCCESS;
      default: return wrong(program); /* getopt has named the option */
    }
  }
  if (status != -1) return status;
  if (argc - optind > 1) {
    fprintf(stderr, "%s: one folder at most, and here is a second: %s\n", program, argv[optind + 1]);
    return wrong(program);
  }
  if (optind < argc) out->folder = argv[optind];
  if (out->folder == NULL) {
    fprintf(stderr, "%s: name a folder: no Python was found when this was built, whose library would be the default\n", program);
    return wrong(program);
  }
  return -1;
}

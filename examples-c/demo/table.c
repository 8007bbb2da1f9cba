/* table.c: counts what the jobs left behind, prints it, and judges. */
#include "table.h"

#include <inttypes.h>
#include <stdio.h>

#include "sample.h"
#include "text.h"

typedef struct sums {
  size_t agreed, mismatched, unreadable, failed, lost, repeated;
  uint64_t bytes;
} sums;

static int agrees(const check *c, size_t digests) {
  size_t i;
  for (i = 1; i < digests; i++)
    if (c->crc[i] != c->crc[0]) return 0;
  return 1;
}

static int is_unreadable(const check *c) { return c->status == SELV_OK && (c->code > 0 || c->code == FILE_NOT_REGULAR); }

static sums add_up(const report *r) {
  sums s = { 0, 0, 0, 0, 0, 0, 0 };
  size_t i;
  for (i = 0; i < r->work->submitted; i++) {
    const check *c = &r->work->checks[i];
    if (c->delivered == 0) s.lost++;
    else if (c->delivered > 1) s.repeated++;
    if (c->delivered == 0) continue;
    if (is_unreadable(c)) s.unreadable++;
    else if (c->status != SELV_OK || c->code != 0) s.failed++;
    else if (agrees(c, work_digests(r->use_count))) s.agreed++;
    else s.mismatched++;
    s.bytes += c->bytes;
  }
  s.unreadable += r->unreadable->count;
  return s;
}

static void name_file(const char *path, const char *why) {
  char printable[1024];
  printf("  %s: %s\n", text_printable(printable, sizeof printable, path), why);
}

static void name_unreadable(const report *r) {
  size_t i;
  puts("unreadable:");
  for (i = 0; i < r->unreadable->count; i++) name_file(r->unreadable->at[i].path, file_error_text(r->unreadable->at[i].error));
  for (i = 0; i < r->work->submitted; i++)
    if (r->work->checks[i].delivered > 0 && is_unreadable(&r->work->checks[i]))
      name_file(r->work->checks[i].file->path, file_error_text(r->work->checks[i].code));
}

static void name_mismatches(const report *r) {
  size_t i, k;
  puts("mismatches:");
  for (i = 0; i < r->work->submitted; i++) {
    const check *c = &r->work->checks[i];
    char digests[256];
    int used = 0;
    if (c->delivered == 0 || c->status != SELV_OK || c->code != 0 || agrees(c, work_digests(r->use_count))) continue;
    for (k = 0; k < work_digests(r->use_count); k++)
      used += snprintf(digests + used, sizeof digests - (size_t)used, "%s%.24s says %08" PRIx32, k > 0 ? ", " : "",
                       k < r->use_count ? r->uses[k].runtime->name : "C", c->crc[k]);
    name_file(c->file->path, digests);
  }
}

static void name_failed(const report *r) {
  size_t i;
  puts("jobs that failed:");
  for (i = 0; i < r->work->submitted; i++) {
    const check *c = &r->work->checks[i];
    char why[96];
    if (c->delivered == 0 || is_unreadable(c) || (c->status == SELV_OK && c->code == 0)) continue;
    if (c->status == SELV_OK) snprintf(why, sizeof why, "%s failed", r->uses[CHECK_FAILED_USE(c->code)].runtime->name);
    else snprintf(why, sizeof why, "%s, code %d", selv_status_name(c->status), (int)c->code);
    name_file(c->file->path, why);
  }
}

static void print_work(const report *r, const sums *s) {
  text a, b, c;
  uint64_t ns = r->work->elapsed_ns;
  double seconds = (double)ns / 1e9;
  printf("files        %s checked", text_count(&a, s->agreed + s->mismatched));
  if (r->work->submitted < r->files) printf(" of %s", text_count(&a, r->files));
  printf(", %s in %s", text_bytes(&a, s->bytes), text_seconds(&b, ns));
  if (seconds > 0)
    printf(": %s files and %s a second", text_count(&a, (uint64_t)((double)r->work->submitted / seconds)),
           text_bytes(&c, (uint64_t)((double)s->bytes / seconds)));
  printf("\nmismatches   %s\n", text_count(&a, s->mismatched));
  printf("unreadable   %s\n", text_count(&a, s->unreadable));
  printf("jobs         %s accepted, ", text_count(&a, r->work->submitted));
  printf("%s delivered, ", text_count(&a, r->work->submitted - s->lost));
  printf("%s failed\n", text_count(&a, s->failed));
  printf("workers      %s started, ", text_count(&a, r->cache.started));
  printf("%s exited, ", text_count(&a, r->cache.exited));
  printf("%s at most at a time\n", text_count(&a, r->cache.peak_workers));
}

static void print_runtimes(const report *r) {
  static const char row[] = "%-18s %8s %8s %9s  %11s %11s %6s  %10s %10s\n";
  text a, b, c, d, e, f, g;
  size_t i;
  putchar('\n');
  printf("%-48s %-33s %s\n", "", "cost of one job:", "clean shutdown:");
  printf(row, "runtime", "attaches", "detaches", "jobs", "with hooks", "by itself", "", "hooks off", "runtime");
  for (i = 0; i < r->use_count; i++) {
    const use *u = &r->uses[i];
    int measured = u->hooks_ns > 0, removed = u->removed == SELV_OK;
    char factor[32];
    snprintf(factor, sizeof factor, "x%.0f", measured ? u->by_itself_ns / u->hooks_ns : 0);
    printf(row, u->runtime->name, text_count(&a, u->stats.starts), text_count(&b, u->stats.exits), text_count(&c, u->stats.jobs),
           measured ? text_micros(&d, u->hooks_ns) : "-", measured ? text_micros(&e, u->by_itself_ns) : "-", measured ? factor : "",
           text_millis(&f, u->remove_ns), removed ? text_millis(&g, u->stop_ns) : "-");
  }
  printf(row, "the thread cache", "", "", "", "", "", "", "", text_millis(&a, r->cache_shutdown_ns));
  putchar('\n');
}

static void print_notes(const report *r) {
  size_t i;
  if (r->uses[0].hooks_ns > 0) {
    printf("The cost is that of a job with at most %d bytes, in one runtime alone: with hooks, its worker is attached already;\n"
           "by itself, each job does it, with\n",
           SAMPLE_BYTES);
    for (i = 0; i < r->use_count; i++) printf("  %-18s %s\n", r->uses[i].runtime->name, r->uses[i].runtime->by_itself);
  }
  printf("shutdown    ");
  for (i = 0; i < r->use_count; i++) {
    const use *u = &r->uses[i];
    if (u->removed != SELV_OK) continue;
    if (u->runtime->stop_answers) printf(" %s answered %d.", u->runtime->stop_call, u->answer);
    else printf(" %s returned.", u->runtime->stop_call);
  }
  putchar('\n');
}

static unsigned fault(int is, const char *what) {
  if (is) printf("FAILED: %s\n", what);
  return is ? 1 : 0;
}

unsigned table_print(const report *r) {
  const sums s = add_up(r);
  unsigned faults = 0;
  size_t i;
  char what[160];
  if (s.unreadable > 0) name_unreadable(r);
  if (s.mismatched > 0) name_mismatches(r);
  if (s.failed > 0) name_failed(r);
  print_work(r, &s);
  print_runtimes(r);
  print_notes(r);

  faults += fault(s.mismatched > 0, "not all digests agree");
  faults += fault(s.failed > 0, "not every job did its work");
  faults += fault(s.lost > 0, "jobs were accepted and never delivered");
  faults += fault(s.repeated > 0, "jobs were delivered more than once");
  faults += fault(r->cache.jobs_accepted != r->cache.jobs_delivered, "the cache itself counts jobs that were not delivered");
  faults += fault(r->work->refused != SELV_OK, "the cache refused a job");
  faults += fault(r->cache_shutdown != SELV_OK, "the cache did not shut down");
  faults += fault(r->cache.started != r->cache.exited, "not every worker has exited");
  faults += fault(r->dead_jobs > 0, "the cache did not work on after the end of a runtime");
  for (i = 0; i < r->use_count; i++) {
    const use *u = &r->uses[i];
    snprintf(what, sizeof what, "%s: attaches and detaches differ", u->runtime->name);
    faults += fault(u->stats.starts != u->stats.exits, what);
    snprintf(what, sizeof what, "%s: jobs that needed it and jobs that were accepted differ", u->runtime->name);
    faults += fault(u->stats.jobs != r->work->submitted, what);
    snprintf(what, sizeof what, "%s: its hooks could not be removed", u->runtime->name);
    faults += fault(u->removed != SELV_OK, what);
    snprintf(what, sizeof what, "%s: %s answered %d", u->runtime->name, u->runtime->stop_call, u->answer);
    faults += fault(u->removed == SELV_OK && u->answer != 0, what);
  }
  return faults;
}

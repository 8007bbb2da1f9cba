/* spawn_rlimit.c: the system itself refuses threads (RLIMIT_NPROC). The submitter hears it at once, the workers that live go
 * on, and when the limit is lifted so does the cache. */
#include "probe.h"

#include <sys/resource.h>
#include <sys/wait.h>

#define NOBODY 65534

static void allow_threads(rlim_t n) {
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_NPROC, &limit) == 0);
  limit.rlim_cur = n;
  CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
}

static void without_threads(void) {
  selv_cache *c;
  selv_job_options hold, job;
  selv_outcome outcome;
  struct rlimit limit;
  probe busy, p;
  int i;
  if (geteuid() == 0) CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0); /* the limit does not bind root */
  CHECK(getrlimit(RLIMIT_NPROC, &limit) == 0);
  probe_init(&busy);
  probe_init(&p);
  c = probe_cache(0, SELV_FOREVER);
  hold = probe_job(probe_hold, &busy);
  job = probe_job(probe_run, &p);
  allow_threads(1);
  CHECK_STATUS(selv_cache_submit(c, &job, NULL), SELV_E_SPAWN); /* not even the first */
  CHECK_EQ_U64(probe_stats(c).workers, 0);
  CHECK_EQ_U64(probe_stats(c).spawn_failures, 1);
  allow_threads(limit.rlim_cur);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&busy.entered, 1);
  allow_threads(1);
  for (i = 0; i < 100; i++) CHECK_STATUS(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome), SELV_E_SPAWN);
  CHECK_EQ_U64(probe_stats(c).spawn_failures, 101);
  CHECK_EQ_U64(probe_stats(c).workers, 1);
  check_tally_add(&busy.go, 1);
  CHECK_WAIT(&busy.freed, 1);
  CHECK_OK(selv_cache_run(c, probe_run, &p, SELV_FOREVER, &outcome)); /* by the worker that there is */
  allow_threads(limit.rlim_cur);
  probe_warm(c, 4);
  CHECK_EQ_U64(probe_stats(c).started, 4);
  CHECK_EQ_U64(check_tally_get(&p.ran), 1);
  probe_end(c);
}

/* In a child, so that the test itself keeps its user and its limits. */
int main(void) {
  int status = 0;
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    without_threads();
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  return 0;
}

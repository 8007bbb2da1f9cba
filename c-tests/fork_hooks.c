/* fork_hooks.c: in a fork child hooks are disarmed with no callback, and jobs that name one get FORKED; those registered with
 * FORK_KEEP go on, on the child's own workers. */
#include "probe.h"

#include <sys/wait.h>

static void reap(pid_t child) {
  int status = 0;
  CHECK(child > 0);
  CHECK(waitpid(child, &status, 0) == child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    check_fail(__FILE__, __LINE__, "the child ended with status %#x", (unsigned)status);
}

static pid_t forked(void) {
  pid_t child;
  fflush(stdout);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) alarm((unsigned)check_patience_s());
  return child;
}

static selv_outcome run_naming(selv_cache *c, selv_hook **hook, probe *p) {
  selv_job_options job = probe_job(probe_run, p);
  job.attach = hook;
  job.attach_len = 1;
  return probe_through(c, &job);
}

int main(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  hook_probe gone, kept, lazy, later;
  selv_hook *hgone, *hkept, *hlazy, *hlater;
  pid_t child;
  probe p;
  probe_init(&p);
  hook_probe_init(&gone, "gone", NULL);
  hook_probe_init(&kept, "kept", NULL);
  hook_probe_init(&lazy, "lazy-kept", NULL);
  hook_probe_init(&later, "later", NULL);
  hgone = hook_probe_register_full(c, &gone, 0);
  hkept = hook_probe_register_full(c, &kept, SELV_HOOK_FORK_KEEP);
  hlazy = hook_probe_register_full(c, &lazy, SELV_HOOK_FORK_KEEP | SELV_HOOK_LAZY);
  probe_warm(c, 2);
  child = forked();
  if (child == 0) {
    uint64_t starts = check_tally_get(&gone.starts), exits = check_tally_get(&gone.exits);
    uint64_t befores = check_tally_get(&gone.befores), kept_starts = check_tally_get(&kept.starts);
    selv_job_options job = probe_job(probe_run, &p);
    uint32_t attached = 99;
    CHECK_STATUS(run_naming(c, &hgone, &p).status, SELV_E_FORKED);
    CHECK_EQ_U64(check_tally_get(&p.ran), 0);
    CHECK_OK(run_naming(c, &hkept, &p).status);
    CHECK_EQ_U64(check_tally_get(&kept.starts), kept_starts + 1); /* once, on the child's worker */
    CHECK_OK(run_naming(c, &hlazy, &p).status);
    CHECK_EQ_U64(check_tally_get(&lazy.starts), 1);
    CHECK_OK(probe_through(c, &job).status); /* one that names nothing needs the hooks that are there */
    hlater = hook_probe_register_full(c, &later, 0);
    CHECK_OK(run_naming(c, &hlater, &p).status);
    CHECK_EQ_U64(check_tally_get(&later.starts), 1);
    hook_probe_remove(hlater, &later);
    CHECK_OK(selv_hook_unregister(hkept, SELV_FOREVER, &attached));
    CHECK_EQ_U64(attached, 0);
    CHECK(selv_hook_slot(hgone) == NULL);
    probe_end(c);
    CHECK_EQ_U64(check_tally_get(&gone.starts), starts); /* with no callback */
    CHECK_EQ_U64(check_tally_get(&gone.exits), exits);
    CHECK_EQ_U64(check_tally_get(&gone.befores), befores);
    _exit(0);
  }
  reap(child);
  CHECK_OK(run_naming(c, &hgone, &p).status); /* the parent has lost nothing */
  CHECK_EQ_U64(hook_probe_stats(hgone).attached, 2);

  child = forked(); /* a thread that takes the disarmed hook off in the child must not wait for the parent's workers */
  if (child == 0) {
    uint32_t attached = 99;
    selv_status status = selv_hook_unregister(hgone, SELV_FOREVER, &attached);
    CHECK(status == SELV_OK || status == SELV_E_FORKED);
    CHECK_EQ_U64(attached, 0);
    CHECK_EQ_U64(check_tally_get(&gone.exits), 0);
    _exit(0);
  }
  reap(child);
  hook_probe_remove(hgone, &gone);
  hook_probe_remove(hkept, &kept);
  hook_probe_remove(hlazy, &lazy);
  probe_end(c);
  return 0;
}

/* names.c: what `top -H` and a debugger see. A worker has its default name from its first instruction, the job's name while
 * fn runs, and its own name again afterwards; a name is cut to 15 bytes, never inside a character. */
#include "probe.h"

static char seen[64];       /* what the OS said in the job */
static char whole[256];     /* what selv_worker_name said in the job */
static char at_start[64];   /* what the OS said in on_start */

static void os_name(char *out, size_t len) { CHECK(pthread_getname_np(pthread_self(), out, len) == 0); }

static int32_t look(void *arg, void **out_value) {
  const char *name = selv_worker_name(selv_worker_current());
  (void)arg;
  (void)out_value;
  CHECK(name != NULL);
  os_name(seen, sizeof seen);
  snprintf(whole, sizeof whole, "%s", name);
  return 0;
}

static check_tally told = CHECK_TALLY_INIT;

static void tell(void *arg, const selv_outcome *outcome) {
  (void)arg;
  CHECK_OK(outcome->status);
  check_tally_add(&told, 1);
}

static int32_t look_at_start(void *user, const selv_worker *w, void **slot) {
  (void)user;
  (void)w;
  (void)slot;
  os_name(at_start, sizeof at_start);
  return 0;
}

static void run_named(selv_cache *c, const char *name) {
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  char copy[128];
  selv_job *handle = NULL;
  selv_outcome outcome;
  job.fn = look;
  if (name) {
    snprintf(copy, sizeof copy, "%s", name);
    job.name = copy;
  }
  CHECK_OK(selv_cache_submit(c, &job, &handle));
  memset(copy, '!', sizeof copy - 1); /* the name was copied: the caller's memory is the caller's again */
  CHECK_OK(selv_job_wait(handle, SELV_FOREVER, &outcome));
  selv_job_release(handle);
}

static void a_job_lends_its_name(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_cache *c;
  char own[64];
  options.name = "crew";
  CHECK_OK(selv_cache_new(&options, &c));
  run_named(c, NULL);
  snprintf(own, sizeof own, "%s", seen);
  CHECK(strncmp(own, "crew", 4) == 0);
  CHECK(strncmp(whole, "crew", 4) == 0);
  run_named(c, "short");
  CHECK_STR(seen, "short");
  run_named(c, NULL);
  CHECK_STR(seen, own); /* not the last job's */
  run_named(c, "0123456789abcdefghij");
  CHECK_STR(seen, "0123456789abcde");
  run_named(c, "");
  CHECK_STR(seen, ""); /* an empty name is a name */
  run_named(c, NULL);
  CHECK_STR(seen, own);
  CHECK_OK(selv_start_thread_soon(c, look, tell, NULL, "soon"));
  CHECK_WAIT(&told, 1);
  CHECK_STR(seen, "soon");
  CHECK_EQ_U64(probe_stats(c).started, 1);
  probe_end(c);
}

static void names_are_cut_between_characters(void) {
  selv_cache *c = probe_cache(0, 0);
  run_named(c, "abcdefghijklmn\xc3\xa9xyz"); /* the 15th byte is the first half of an e acute */
  CHECK_STR(seen, "abcdefghijklmn");
  run_named(c, "abcdefghijklm\xc3\xa9xyz"); /* and here it fits exactly */
  CHECK_STR(seen, "abcdefghijklm\xc3\xa9");
  run_named(c, "abcdefghijklm\xe2\x82\xacxyz"); /* a euro sign: three bytes from the 14th */
  CHECK_STR(seen, "abcdefghijklm");
  run_named(c, "abcdefghijkl\xf0\x9f\xa7\xb5z"); /* a spool of thread: four bytes from the 13th */
  CHECK_STR(seen, "abcdefghijkl");
  run_named(c, "abcdefghijk\xf0\x9f\xa7\xb5z");
  CHECK_STR(seen, "abcdefghijk\xf0\x9f\xa7\xb5");
  probe_end(c);
}

static void a_name_that_is_not_utf8_does_no_harm(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  selv_status status;
  job.fn = look;
  job.name = "\xff\xfe\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80";
  status = selv_cache_submit(c, &job, NULL);
  CHECK(status == SELV_OK || status == SELV_E_INVAL);
  probe_end(c);
}

static void a_fresh_worker_is_named_before_its_first_hook(void) {
  selv_cache_options options = SELV_CACHE_OPTIONS_INIT;
  selv_hook_options hook = SELV_HOOK_OPTIONS_INIT;
  selv_hook *h;
  selv_cache *c;
  options.name = "fresh";
  CHECK_OK(selv_cache_new(&options, &c));
  hook.name = "look";
  hook.on_start = look_at_start;
  CHECK_OK(selv_hook_register(c, &hook, &h));
  run_named(c, "job");
  CHECK(strncmp(at_start, "fresh", 5) == 0);
  CHECK_STR(seen, "job");
  CHECK_OK(selv_hook_unregister(h, SELV_FOREVER, NULL));
  selv_hook_release(h);
  probe_end(c);
}

static void two_workers_have_two_names(void) {
  selv_cache *c = probe_cache(0, 0);
  char first[sizeof whole];
  probe p;
  selv_job_options job;
  run_named(c, NULL);
  snprintf(first, sizeof first, "%s", whole);
  probe_init(&p);
  job = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &job, NULL));
  CHECK_WAIT(&p.entered, 1);
  run_named(c, NULL);
  CHECK(strcmp(first, whole) != 0);
  check_tally_add(&p.go, 1);
  probe_end(c);
}

int main(void) {
  CHECK_RUN(a_job_lends_its_name);
  CHECK_RUN(names_are_cut_between_characters);
  CHECK_RUN(a_name_that_is_not_utf8_does_no_harm);
  CHECK_RUN(a_fresh_worker_is_named_before_its_first_hook);
  CHECK_RUN(two_workers_have_two_names);
  return 0;
}

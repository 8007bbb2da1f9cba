/* hello.c: a job runs on a worker of the thread cache and hands its result on.
 *     cc -std=c99 hello.c -o hello $(pkg-config --cflags --libs selvedge) && ./hello */
#include <selvedge.h>
#include <stdio.h>

static int32_t work(void *arg, void **out_value) {
  (void)out_value;
  printf("%s squares %d\n", selv_worker_name(selv_worker_current()), *(int *)arg);
  return *(int *)arg * *(int *)arg;
}

static void deliver(void *arg, const selv_outcome *outcome) {
  if (outcome->status == SELV_OK) printf("the square of %d is %d\n", *(int *)arg, (int)outcome->code);
}

int main(void) {
  selv_cache *cache;
  selv_job_options job = SELV_JOB_OPTIONS_INIT;
  int number = 12;
  selv_status status = selv_cache_new(NULL, &cache);
  if (status != SELV_OK) return fprintf(stderr, "%s\n", selv_status_text(status)), 1;
  job.fn = work;
  job.deliver = deliver;
  job.arg = &number;
  status = selv_cache_submit(cache, &job, NULL);
  if (status == SELV_OK) status = selv_cache_shutdown(cache, 0, SELV_FOREVER, NULL); /* lets accepted jobs finish */
  if (status != SELV_OK) fprintf(stderr, "%s\n", selv_status_text(status));
  selv_cache_release(cache);
  return status != SELV_OK;
}

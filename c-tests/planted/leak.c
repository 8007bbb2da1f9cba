/* leak.c: a planted defect. Jobs of the cache allocate their results and nobody frees them: a leak checker that does not report
 * this program is not looking. Not a test of the library. */
#include "../probe.h"

static int32_t leaks(void *arg, void **out_value) {
  char *result = (char *)malloc(1000);
  (void)arg;
  CHECK(result != NULL);
  memset(result, 'x', 1000);
  *out_value = result;
  return 0;
}

int main(void) {
  selv_cache *c = probe_cache(0, 0);
  selv_outcome outcome;
  int i;
  /* Several, since a copy of the last pointer may linger in memory that is still in use. */
  for (i = 0; i < 16; i++) {
    CHECK_OK(selv_cache_run(c, leaks, NULL, SELV_FOREVER, &outcome));
    CHECK(((char *)outcome.value)[999] == 'x');
  }
  memset(&outcome, 0, sizeof outcome); /* the last pointer to it */
  probe_end(c);
  return 0;
}

/* leak.c: a planted defect. A job of the cache allocates its result and nobody frees it: a leak checker that does not report
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
  CHECK_OK(selv_cache_run(c, leaks, NULL, SELV_FOREVER, &outcome));
  CHECK(((char *)outcome.value)[999] == 'x');
  memset(&outcome, 0, sizeof outcome); /* the last pointer to it */
  probe_end(c);
  return 0;
}

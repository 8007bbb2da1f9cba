/* dlclose.c: unloading the library while workers live must not crash: it is linked nodelete and stays. Its workers, busy and
 * idle ones, go on to their end. */
/* variants: dlopened */
#include "probe.h"

#include <dlfcn.h>

int main(void) {
  selv_cache *c = probe_cache(0, 20 * CHECK_MS);
  selv_job_options hold;
  hook_probe h;
  probe p;
  probe_init(&p);
  hook_probe_init(&h, "h", NULL);
  (void)hook_probe_register(c, &h, 0);
  probe_warm(c, 3); /* two of them stay idle, and time out after the unload */
  hold = probe_job(probe_hold, &p);
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&p.entered, 1);
  CHECK(dlclose(selv_test_library) == 0);
  check_tally_add(&p.go, 1);
  CHECK_WAIT(&p.freed, 1);
  CHECK_OK(p.last.status);
  CHECK_THREADS_LEFT(0);
  CHECK_EQ_U64(check_tally_get(&h.exits), check_tally_get(&h.starts));
  selv_test_resolve(); /* loaded again, it is the same library with the same cache */
  CHECK_OK(selv_cache_submit(c, &hold, NULL));
  CHECK_WAIT(&p.freed, 2);
  probe_end(c);
  return 0;
}

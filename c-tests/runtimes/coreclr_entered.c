/* coreclr_entered: a host's own thread between selv_thread_enter and _leave has its managed start and exit. It counts until it
 * leaves; it is the host's, so leaving is letting go: no unregister waits for its end, though .NET knows it until then. */
#include "coreclr_support.h"

static selv_cache *cache;
static selv_hook *hook;

typedef struct stay {
  check_tally entered, go, left, end;
} stay;

static void *enters(void *arg) {
  stay *s = (stay *)arg;
  int round;
  for (round = 0; round < 2; round++) { /* again on the same thread: a thread cannot be made managed twice, nor need it be */
    CHECK_OK(selv_thread_enter(cache, NULL, 0));
    CHECK(clr_probe.started_here());
    CHECK(selv_hook_is_attached(hook));
    if (round == 1) {
      check_tally_add(&s->entered, 1);
      CHECK_WAIT(&s->go, 1);
    }
    CHECK_OK(selv_thread_leave(cache));
    CHECK(!selv_hook_is_attached(hook));
  }
  check_tally_add(&s->left, 1);
  CHECK_WAIT(&s->end, 1);
  return NULL;
}

int main(void) {
  pthread_t thread;
  stay s;
  uint32_t attached = 99;
  clr_start();
  cache = probe_cache(0, 0);
  hook = clr_register(cache, 0);
  check_tally_init(&s.entered);
  check_tally_init(&s.go);
  check_tally_init(&s.left);
  check_tally_init(&s.end);
  CHECK(pthread_create(&thread, NULL, enters, &s) == 0);
  CHECK_WAIT(&s.entered, 1);
  CHECK_EQ_U64(clr_probe.starts(), 2);
  CHECK_EQ_U64(clr_probe.exits(), 1);
  CHECK_STATUS(selv_hook_unregister(hook, 20 * CHECK_MS, &attached), SELV_E_TIMEDOUT);
  CHECK_EQ_U64(attached, 1);
  check_tally_add(&s.go, 1);
  clr_unregister(hook);
  CHECK_EQ_U64(clr_probe.exits(), 2);
  CHECK_WAIT(&s.left, 1);
  selv_hook_release(hook);

  /* The main thread: unregistering on the entered thread itself lets it go. */
  hook = clr_register(cache, 0);
  CHECK_OK(selv_thread_enter(cache, NULL, 0));
  CHECK(clr_probe.started_here());
  clr_unregister(hook);
  CHECK_EQ_U64(clr_probe.starts(), clr_probe.exits());
  CHECK_OK(selv_thread_leave(cache));
  selv_hook_release(hook);

  check_tally_add(&s.end, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  clr_end();
  probe_end(cache);
  return 0;
}

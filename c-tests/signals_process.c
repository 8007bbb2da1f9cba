/* signals_process.c: workers block no signals that a main thread usually handles, and yet what is sent to the process goes to the main thread:
 * the kernel prefers it. */
#include "probe.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

static pthread_t handled_on;
static int handled;

static void handle(int signal) {
  (void)signal;
  handled_on = pthread_self();
  __atomic_store_n(&handled, 1, __ATOMIC_RELEASE);
}

static void signals_of_the_process_go_to_the_main_thread(void) {
  selv_cache *c = probe_cache(0, SELV_FOREVER);
  struct sigaction own;
  int i;
  memset(&own, 0, sizeof own);
  own.sa_handler = handle;
  CHECK(sigaction(SIGTERM, &own, NULL) == 0);
  probe_warm(c, 3);
  for (i = 0; i < 100; i++) {
    __atomic_store_n(&handled, 0, __ATOMIC_RELEASE);
    CHECK(kill(getpid(), SIGTERM) == 0);
    /* A sanitizer may put the handler off to the next call that can wait. */
    while (!__atomic_load_n(&handled, __ATOMIC_ACQUIRE)) (void)poll(NULL, 0, 1);
    CHECK(pthread_equal(handled_on, pthread_self()));
  }
  probe_end(c);
}

int main(void) {
  CHECK_RUN(signals_of_the_process_go_to_the_main_thread);
  return 0;
}

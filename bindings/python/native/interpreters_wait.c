/* interpreters_wait.c: the mutex of this extension's records, and a sleep that lets signals through. */
#include "interpreters.h"

#if PY_VERSION_HEX >= 0x030C0000
#include <errno.h>
#include <time.h>

static pthread_mutex_t records = PTHREAD_MUTEX_INITIALIZER;

void interpreters_lock(void) { pthread_mutex_lock(&records); }
void interpreters_unlock(void) { pthread_mutex_unlock(&records); }

struct timespec interpreters_deadline(uint64_t timeout_ns) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  at.tv_sec += (time_t)(timeout_ns / 1000000000u);
  at.tv_nsec += (long)(timeout_ns % 1000000000u);
  if (at.tv_nsec >= 1000000000L) {
    at.tv_sec += 1;
    at.tv_nsec -= 1000000000L;
  }
  return at;
}

int interpreters_sleep(interpreters_waiter *waiter, uint64_t timeout_ns, const struct timespec *deadline) {
  for (;;) {
    int failed, number;
    if (PyErr_CheckSignals() != 0) return -1; /* what came before the sleep does not end it */
    Py_BEGIN_ALLOW_THREADS
    failed = timeout_ns == SELV_FOREVER ? sem_wait(&waiter->posted) : sem_clockwait(&waiter->posted, CLOCK_MONOTONIC, deadline);
    number = errno;
    Py_END_ALLOW_THREADS
    if (!failed) return 1;
    if (number != EINTR) return 0;
  }
}
#else
typedef int interpreters_wait_needs_312;
#endif

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

/* Whether the calling thread is the one that handles signals. Exported by all versions, declared by some. */
extern int _PyOS_IsMainThread(void);

/* A signal ends no sleep of the main thread if it comes between the look for it and the sleep, or if another thread takes it (one that is not
 * Python's, say). So the main thread looks itself now and then. */
#define LOOK_EVERY_NS UINT64_C(100000000)

static int is_before(const struct timespec *a, const struct timespec *b) {
  return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

int interpreters_sleep(interpreters_waiter *waiter, uint64_t timeout_ns, const struct timespec *deadline) {
  int looks = _PyOS_IsMainThread(), is_endless = timeout_ns == SELV_FOREVER;
  long process = (long)getpid();
  for (;;) {
    int failed, number, is_last = 1;
    struct timespec until = *deadline;
    if (PyErr_CheckSignals() != 0) return -1;
    if ((long)getpid() != process) return -2;
    if (looks) {
      struct timespec look = interpreters_deadline(LOOK_EVERY_NS);
      is_last = !is_endless && is_before(deadline, &look);
      if (!is_last) until = look;
    }
    Py_BEGIN_ALLOW_THREADS
    if (is_endless && !looks) failed = sem_wait(&waiter->posted);
    else failed = sem_clockwait(&waiter->posted, CLOCK_MONOTONIC, &until);
    number = errno;
    Py_END_ALLOW_THREADS
    if (!failed) return 1;
    if (number != EINTR && is_last) return 0;
  }
}
#else
typedef int interpreters_wait_needs_312;
#endif

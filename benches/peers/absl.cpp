// Abseil: absl::Mutex. Its search for deadlocks is a debugging mode that is off in the builds that people ship; Debian's library
// may have it on, so it is turned off here.
#include "lock.h"

#include <absl/synchronization/mutex.h>

namespace {
struct alignas(128) Line {
  absl::Mutex mutex;
};

void *create() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return new Line;
}

void lock(void *line) { static_cast<Line *>(line)->mutex.Lock(); }

void unlock(void *line) { static_cast<Line *>(line)->mutex.Unlock(); }

void destroy(void *line) { delete static_cast<Line *>(line); }
}  // namespace

extern "C" const bench_lock bench_lock_absl;
const bench_lock bench_lock_absl = {create, lock, unlock, destroy};

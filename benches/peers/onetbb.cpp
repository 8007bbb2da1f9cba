// oneTBB: task_arena::enqueue. The submitting thread does not work in the arena, so one slot more than the pool's size is
// allowed and one of them kept for it.
#include "peer.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

namespace tbb_ns = oneapi::tbb;

namespace {
struct Pool {
  explicit Pool(int threads)
      : limit(tbb_ns::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads) + 1),
        arena(threads + 1, 1) {
    arena.initialize();
  }
  tbb_ns::global_control limit;
  tbb_ns::task_arena arena;
};

void *create(uint32_t threads, uint64_t) { return new Pool(static_cast<int>(threads)); }

void submit(void *pool, bench_fn fn, void *arg) {
  static_cast<Pool *>(pool)->arena.enqueue([fn, arg] { fn(arg); });
}

void destroy(void *pool) {
  // The scheduler's threads stay: tbb::finalize, which ends them, did not always come back (2021.8, everything on one CPU).
  delete static_cast<Pool *>(pool);
}
}  // namespace

extern "C" const bench_peer bench_peer_onetbb;
const bench_peer bench_peer_onetbb = {create, submit, nullptr, nullptr, destroy};

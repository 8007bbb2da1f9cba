// BS::thread_pool by Barak Shoshany, version 4 or newer: one header, which no Debian package carries.
#include "peer.h"

#include <BS_thread_pool.hpp>

namespace {
#if defined(BS_THREAD_POOL_VERSION_MAJOR) && BS_THREAD_POOL_VERSION_MAJOR < 5
using Pool = BS::thread_pool;
#else
using Pool = BS::thread_pool<>;
#endif

void *create(uint32_t threads, uint64_t) { return new Pool(threads); }

void submit(void *pool, bench_fn fn, void *arg) {
  static_cast<Pool *>(pool)->detach_task([fn, arg] { fn(arg); });
}

void destroy(void *pool) { delete static_cast<Pool *>(pool); }
}  // namespace

extern "C" const bench_peer bench_peer_bs;
const bench_peer bench_peer_bs = {create, submit, nullptr, nullptr, destroy};

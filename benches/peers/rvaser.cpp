// thread_pool::ThreadPool of Robert Vaser's thread_pool (Debian: libthread-pool-dev).
#include "peer.h"

#include <thread_pool/thread_pool.hpp>

namespace {
using Pool = thread_pool::ThreadPool;

void *create(uint32_t threads, uint64_t) { return new Pool(threads); }

void submit(void *pool, bench_fn fn, void *arg) {
  static_cast<Pool *>(pool)->Submit([fn, arg] { fn(arg); });
}

void destroy(void *pool) { delete static_cast<Pool *>(pool); }
}  // namespace

extern "C" const bench_peer bench_peer_rvaser;
const bench_peer bench_peer_rvaser = {create, submit, nullptr, nullptr, destroy};

// Boost.Asio: thread_pool and post.
#include "peer.h"

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

namespace {
using Pool = boost::asio::thread_pool;

void *create(uint32_t threads, uint64_t) { return new Pool(threads); }

void submit(void *pool, bench_fn fn, void *arg) {
  boost::asio::post(*static_cast<Pool *>(pool), [fn, arg] { fn(arg); });
}

void destroy(void *pool) {
  Pool *p = static_cast<Pool *>(pool);
  p->join();
  delete p;
}
}  // namespace

extern "C" const bench_peer bench_peer_asio;
const bench_peer bench_peer_asio = {create, submit, nullptr, nullptr, destroy};

// Boost.Asio: post into an io_context; a promise for the call that waits; a thread_pool for the jobs.
#include "loop.h"

#include <boost/asio.hpp>
#include <future>
#include <thread>

namespace {

namespace asio = boost::asio;

struct Host {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard = asio::make_work_guard(context);
  // Without anything to poll for, the loop would sleep on a condition variable.
  asio::steady_timer timer{context};
  // Begun by the first job.
  std::unique_ptr<asio::thread_pool> pool;
};

Host &host(void *loop) { return *static_cast<Host *>(loop); }

void *create() { return new Host; }

void run(void *loop) {
  host(loop).context.restart();
  host(loop).context.run();
}

void end(void *loop) { host(loop).context.stop(); }

void call_soon(void *loop, bench_fn fn, void *arg) {
  asio::post(host(loop).context, [fn, arg] { fn(arg); });
}

void call(void *loop, bench_fn fn, void *arg) {
  std::promise<void> ran;
  asio::post(host(loop).context, [fn, arg, &ran] {
    fn(arg);
    ran.set_value();
  });
  ran.get_future().wait();
}

void submit(void *loop, bench_fn work, bench_fn done, void *arg) {
  Host &h = host(loop);
  if (!h.pool) {
    h.pool = std::make_unique<asio::thread_pool>(std::thread::hardware_concurrency());
  }
  asio::post(*h.pool, [&h, work, done, arg] {
    work(arg);
    asio::post(h.context, [done, arg] { done(arg); });
  });
}

void destroy(void *loop) { delete &host(loop); }

}  // namespace

extern "C" const bench_loop bench_loop_asio = {create, run, end, call_soon, call_soon, call, submit, destroy};

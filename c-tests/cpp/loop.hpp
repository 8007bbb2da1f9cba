/* loop.hpp: what the tests of host loops and guests share: a thread that polls a loop's fd and drains, or the test's own thread
 * that does so until something has happened. */
#ifndef SELV_C_TESTS_LOOP_HPP
#define SELV_C_TESTS_LOOP_HPP

#include "expect.hpp"

#include <poll.h>

inline bool is_due(const selv::host_loop &l, int timeout_ms = 0) {
  pollfd p = {l.fd(), POLLIN, 0};
  return poll(&p, 1, timeout_ms) == 1;
}

inline void expect_due(const char *file, int line, const selv::host_loop &l) {
  if (!is_due(l, static_cast<int>(check_patience_s()) * 1000)) check_fail(file, line, "the host waits and is not told to drain");
}
/* Waits until the host is told to drain. */
#define EXPECT_DUE(l) expect_due(__FILE__, __LINE__, (l))

template <class Condition>
void drain_until(const char *file, int line, selv::host_loop &l, Condition holds) {
  while (!holds()) {
    expect_due(file, line, l);
    l.drain();
  }
}
/* The test's thread is the host until the condition holds, which only what the loop runs can bring about. */
#define DRAIN_UNTIL(l, ...) drain_until(__FILE__, __LINE__, (l), [&] { return static_cast<bool>(__VA_ARGS__); })

/* A loop with a thread of its own. */
class host_thread {
 public:
  explicit host_thread(const char *name = "host") {
    gate ready;
    thread_ = std::thread([this, name, &ready] {
      selv::host_loop mine(name);
      loop = mine.share();
      id = std::this_thread::get_id();
      ready.open();
      for (bool quit = false; !quit; quit = quit_) {
        EXPECT_DUE(mine);
        mine.drain();
      }
      mine.close();
    });
    ready.wait();
  }
  host_thread(const host_thread &) = delete;
  host_thread &operator=(const host_thread &) = delete;
  ~host_thread() { end(); }
  void end() {
    if (!thread_.joinable()) return;
    loop->call_soon([this] { quit_ = true; });
    thread_.join();
  }

  std::optional<selv::host_loop> loop;
  std::thread::id id;

 private:
  bool quit_ = false; /* the loop's thread's */
  std::thread thread_;
};

#endif

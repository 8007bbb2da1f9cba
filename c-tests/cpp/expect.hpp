/* expect.hpp: what the C++ tests add to check.h: errors that must be thrown, what the unhandled handler was told, tasks with names
 * on threads of their own. */
#ifndef SELV_C_TESTS_EXPECT_HPP
#define SELV_C_TESTS_EXPECT_HPP

#include <selvedge.hpp>

#include <check.h>

#include <thread>

using namespace std::chrono_literals;

/* The call must throw selv::error with this status; gives it back to be looked at. */
template <class F>
selv::error expect_error(const char *file, int line, const char *expression, selv_status wanted, F call) {
  try {
    call();
  } catch (const selv::error &e) {
    if (e.status() != wanted)
      check_fail(file, line, "%s threw \"%s\", expected %s", expression, e.what(), selv_status_name(wanted));
    return e;
  }
  check_fail(file, line, "%s threw nothing, expected %s", expression, selv_status_name(wanted));
}
#define EXPECT_ERROR(wanted, ...) expect_error(__FILE__, __LINE__, #__VA_ARGS__, (wanted), [&] { __VA_ARGS__; })

inline void expect_has(const char *file, int line, const std::string &text, const char *part) {
  if (text.find(part) == std::string::npos) check_fail(file, line, "\"%s\" does not mention \"%s\"", text.c_str(), part);
}
#define EXPECT_HAS(text, part) expect_has(__FILE__, __LINE__, (text), (part))

/* The exception behind a pointer, in words. */
inline std::string words_of(const std::exception_ptr &what) {
  try {
    if (what) std::rethrow_exception(what);
  } catch (const std::exception &e) {
    return e.what();
  } catch (...) {
    return "something else";
  }
  return "";
}

/* Unless a test listens, nothing may reach the unhandled handler. */
inline void fail_unhandled(const char *where, std::exception_ptr what) noexcept {
  check_fail(__FILE__, __LINE__, "the unhandled handler was told: %s: %s", where, words_of(what).c_str());
}
inline const selv::unhandled_fn before_the_tests = selv::set_unhandled(&fail_unhandled);

/* Listens to the unhandled handler until its end. */
class listener {
 public:
  listener() {
    heard().clear();
    selv::set_unhandled([](const char *where, std::exception_ptr what) noexcept {
      const std::lock_guard<std::mutex> g(mutex());
      heard().push_back(std::string(where) + ": " + words_of(what));
    });
  }
  listener(const listener &) = delete;
  listener &operator=(const listener &) = delete;
  ~listener() { selv::set_unhandled(&fail_unhandled); }

  std::vector<std::string> all() const {
    const std::lock_guard<std::mutex> g(mutex());
    return heard();
  }
  std::string only() const {
    const std::vector<std::string> list = all();
    if (list.size() != 1) check_fail(__FILE__, __LINE__, "the unhandled handler was told %d things", static_cast<int>(list.size()));
    return list.front();
  }

 private:
  static std::vector<std::string> &heard() {
    static std::vector<std::string> list;
    return list;
  }
  static std::mutex &mutex() {
    static std::mutex m;
    return m;
  }
};

/* A thread that does its work as a named task, which exits at the end of it; what it throws comes out of join(). */
class tasked {
 public:
  template <class F>
  tasked(const char *name, F work) {
    thread_ = std::thread([this, name, work]() mutable {
      try {
        selv::task task(name);
        id_ = task.id();
        {
          const selv::task_scope scope(task);
          work();
        }
        task.exit();
      } catch (...) {
        thrown_ = std::current_exception();
      }
    });
  }
  tasked(const tasked &) = delete;
  tasked &operator=(const tasked &) = delete;
  ~tasked() {
    if (thread_.joinable()) check_fail(__FILE__, __LINE__, "a test thread was not joined");
  }
  void join() {
    thread_.join();
    if (thrown_) check_fail(__FILE__, __LINE__, "a test thread threw \"%s\"", words_of(thrown_).c_str());
  }
  selv_task id() const { return id_; } /* 0 until it has begun */

 private:
  std::atomic<selv_task> id_{0};
  std::exception_ptr thrown_;
  std::thread thread_;
};

/* A gate that somebody opens and others wait for. */
class gate {
 public:
  gate() { check_tally_init(&tally_); }
  void open() { check_tally_add(&tally_, 1); }
  void wait(std::uint64_t n = 1) { CHECK_WAIT(&tally_, n); }
  std::uint64_t count() { return check_tally_get(&tally_); }

 private:
  check_tally tally_;
};

/* Sets a flag when it goes, to see when a callable is let go of. */
class sentinel {
 public:
  explicit sentinel(std::atomic<int> &gone) : gone_(&gone) {}
  sentinel(sentinel &&other) noexcept : gone_(std::exchange(other.gone_, nullptr)) {}
  sentinel(const sentinel &) = delete;
  sentinel &operator=(const sentinel &) = delete;
  ~sentinel() {
    if (gone_ != nullptr) ++*gone_;
  }

 private:
  std::atomic<int> *gone_;
};

#endif

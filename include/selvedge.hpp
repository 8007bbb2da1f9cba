/*
 * Selvedge for C++17 and later: the C interface of selvedge.h as objects that own, throw and fit the standard library.
 * One header and nothing to link beside libselvedge; one file, so that it can be carried along. docs/cpp.md is its guide.
 *
 * What holds everywhere
 * - A call that fails throws selv::error, with the status and the library's sentence. That a time has passed or that nothing
 *   is free is no failure: such calls return false (try_..., ..._for, ..._until).
 * - Objects are move-only and own their handle. handle() lends it to C functions; a moved-from object has none, and its calls
 *   throw SELV_E_NULL.
 * - Destructors do not throw and do not abort. What goes wrong in one is told to the unhandled handler (set_unhandled).
 * - No exception crosses into the library. What a job's callable throws comes out where its outcome is taken; what is thrown
 *   where nobody takes anything (deliver, completion callbacks, calls of a host loop, on_exit, after_job) is told to the
 *   unhandled handler.
 *   The forced unwinding of pthread_exit is no exception and passes through, as the library expects.
 * - `task` arguments are the C interface's: by default the task that is current on the calling thread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SELVEDGE_HPP
#define SELVEDGE_HPP

#if defined(_MSVC_LANG) ? _MSVC_LANG < 201703L : __cplusplus < 201703L
#error "selvedge.hpp needs C++17 or later"
#endif

#include <selvedge.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

/* pthread_exit unwinds the stack. libstdc++ shows that to catch (...) as an exception that must be thrown on, or the process
 * dies; so no function on the way from the library to a callable is noexcept, either. With libc++ nothing that catches
 * everything can let it pass: there a thread that ends inside a callable ends the process. */
#if defined(__GLIBCXX__)
#include <cxxabi.h>
#define SELV_HPP_PASS_FORCED_UNWIND \
  catch (abi::__forced_unwind &) {  \
    throw;                          \
  }
#else
#define SELV_HPP_PASS_FORCED_UNWIND
#endif

namespace selv {

/* ---- errors ---- */

/* The library's sentence on this thread's last failed call. */
inline std::string last_error() {
  std::string text(selv_last_error(nullptr, 0), '\0');
  if (!text.empty()) selv_last_error(&text[0], text.size() + 1);
  return text;
}

/* A call that failed, or a job that did not run. what() is "SELV_E_BROKEN: " and the detail. */
class error : public std::runtime_error {
 public:
  error(selv_status status, const std::string &detail)
      : std::runtime_error(std::string(selv_status_name(status)) + ": " + (detail.empty() ? selv_status_text(status) : detail)),
        status_(status) {}

  selv_status status() const noexcept { return status_; }
  /* The library's sentence: which lock, whose, what was expected; what the status means, if there is none. */
  const char *detail() const noexcept { return what() + std::char_traits<char>::length(selv_status_name(status_)) + 2; }

 private:
  selv_status status_;
};

/* What on_start or before_job may throw to fail with a number of its own; any other exception fails with hook_threw. */
class hook_refusal : public std::runtime_error {
 public:
  hook_refusal(std::int32_t code, const std::string &why) : std::runtime_error(why), code_(code) {}
  std::int32_t code() const noexcept { return code_; }

 private:
  std::int32_t code_;
};

/* The outcome's code of a job whose C++ hook threw. */
inline constexpr std::int32_t hook_threw = INT32_C(0x432B2B);

/* Told of what has nobody else to go to: an exception that left a callback whose caller takes none, and a handle that a
 * destructor could not free. `where` is words for a log. Called on the thread where it happened. */
using unhandled_fn = void (*)(const char *where, std::exception_ptr what) noexcept;

namespace detail {

/* A line for whoever reads the log, and the worker lives on. */
inline void print_unhandled(const char *where, std::exception_ptr what) noexcept {
  try {
    std::rethrow_exception(what);
  } catch (const std::exception &e) {
    std::fprintf(stderr, "selvedge: %s: %s\n", where, e.what());
  } catch (...) {
    std::fprintf(stderr, "selvedge: %s: an exception that is no std::exception\n", where);
  }
}

inline std::atomic<unhandled_fn> unhandled{&print_unhandled};

inline void tell_unhandled(const char *where, std::exception_ptr what) noexcept { unhandled.load()(where, std::move(what)); }

inline void tell_unhandled(const char *where, selv_status status) noexcept {
  std::exception_ptr what;
  try {
    what = std::make_exception_ptr(error(status, last_error()));
  } catch (...) {
    what = std::current_exception();
  }
  tell_unhandled(where, std::move(what));
}

/* The same where nothing may be thrown: "" without memory. */
inline std::string last_error_if_there_is_memory() noexcept {
  try {
    return last_error();
  } catch (...) {
    return {};
  }
}

/* In a handler: what was caught. What another language threw has no pointer of its own. */
inline std::exception_ptr caught() noexcept {
  if (std::exception_ptr what = std::current_exception()) return what;
  try {
    throw std::runtime_error("an exception of another language");
  } catch (...) {
    return std::current_exception();
  }
}

/* Gives success and its news back, throws anything else. */
inline selv_status check(selv_status status) {
  if (status < 0) throw error(status, last_error());
  return status;
}

/* False if it was only a matter of time. */
inline bool in_time(selv_status status) {
  if (status == SELV_E_TIMEDOUT || status == SELV_E_WOULD_BLOCK) return false;
  check(status);
  return true;
}

/* Calls what nobody takes an exception from. */
template <class F>
void guarded(const char *where, F &&f) {
  try {
    std::forward<F>(f)();
  }
  SELV_HPP_PASS_FORCED_UNWIND
  catch (...) {
    tell_unhandled(where, caught());
  }
}

/* A move-only handle. Drop must not throw. */
template <class C, void (*Drop)(C *) noexcept>
class owner {
 public:
  owner() noexcept = default;
  explicit owner(C *c) noexcept : c_(c) {}
  owner(owner &&other) noexcept : c_(other.let_go()) {}
  owner &operator=(owner &&other) noexcept {
    if (this != &other) reset(other.let_go());
    return *this;
  }
  ~owner() { reset(); }

  C *get() const noexcept { return c_; }
  C *let_go() noexcept { return std::exchange(c_, nullptr); }
  void reset(C *c = nullptr) noexcept {
    if (C *old = std::exchange(c_, c)) Drop(old);
  }

 private:
  C *c_ = nullptr;
};

/* Waiters are sent away first. What is still held or waited on then cannot be freed, and is left as it is: a leak can be
 * lived with, a lock that is gone under its owner's hands cannot. */
template <class C>
void close_and_free(const char *where, C *c, selv_status (*close)(C *), selv_status (*free)(C *)) noexcept {
  if (free(c) == SELV_OK) return;
  close(c);
  const selv_status status = free(c);
  if (status != SELV_OK) tell_unhandled(where, status);
}

/* A callable of any type that can be moved; called many times or once. */
template <class Signature>
class callback;

template <class R, class... A>
class callback<R(A...)> {
 public:
  callback() noexcept = default;
  template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, callback>>>
  explicit callback(F &&f) : held_(new holder<std::decay_t<F>>(std::forward<F>(f))) {}

  explicit operator bool() const noexcept { return held_ != nullptr; }
  R operator()(A... a) { return held_->call(std::forward<A>(a)...); }

 private:
  struct base {
    base() = default;
    base(const base &) = delete;
    base &operator=(const base &) = delete;
    virtual ~base() = default;
    virtual R call(A... a) = 0;
  };
  template <class F>
  struct holder final : base {
    template <class G>
    explicit holder(G &&g) : f(std::forward<G>(g)) {}
    R call(A... a) override {
      if constexpr (std::is_void_v<R>)
        std::invoke(f, std::forward<A>(a)...);
      else
        return std::invoke(f, std::forward<A>(a)...);
    }
    F f;
  };
  std::unique_ptr<base> held_;
};

}  // namespace detail

/* Sets who is told; nullptr: the default, which prints a line to stderr. Gives back who was before. It must not throw. */
inline unhandled_fn set_unhandled(unhandled_fn fn) noexcept {
  return detail::unhandled.exchange(fn == nullptr ? &detail::print_unhandled : fn);
}

inline const char *version() noexcept { return selv_version(); }
inline std::uint32_t abi_version() noexcept { return selv_abi_version(); }

/* ---- arguments ---- */

/* A name, from a literal or a std::string; none by default. Only for arguments: it does not copy. */
class name_ref {
 public:
  name_ref() noexcept = default;
  name_ref(const char *name) noexcept : name_(name) {}
  name_ref(const std::string &name) noexcept : name_(name.c_str()) {}
  const char *c_str() const noexcept { return name_; }

 private:
  const char *name_ = nullptr;
};

/* How long to wait: any std::chrono duration, rounded up to nanoseconds; `forever`; `no_wait`. A negative one does not wait. */
class timeout {
 public:
  template <class Rep, class Period>
  constexpr timeout(const std::chrono::duration<Rep, Period> &d) : ns_(rounded_up(d)) {}

  static constexpr timeout of_ns(std::uint64_t ns) noexcept { return timeout(ns); }
  constexpr std::uint64_t ns() const noexcept { return ns_; }
  /* As a field of an option struct, where 0 is taken by the default. */
  constexpr std::uint64_t option() const noexcept { return ns_ == 0 ? SELV_NO_WAIT : ns_; }

 private:
  explicit constexpr timeout(std::uint64_t ns) noexcept : ns_(ns) {}

  template <class Rep, class Period>
  static constexpr std::uint64_t rounded_up(const std::chrono::duration<Rep, Period> &d) {
    using std::chrono::nanoseconds;
    using wide = std::chrono::duration<long double, std::nano>;
    if (!(d > d.zero())) return 0;
    if (wide(d) >= wide(nanoseconds::max())) return SELV_FOREVER;
    return static_cast<std::uint64_t>(std::chrono::ceil<nanoseconds>(d).count());
  }

  std::uint64_t ns_;
};

inline constexpr timeout forever = timeout::of_ns(SELV_FOREVER);
inline constexpr timeout no_wait = timeout::of_ns(0);

namespace detail {

/* What is left of a timeout that several waits share. */
class countdown {
 public:
  explicit countdown(timeout t) : total_(t.ns()), began_(std::chrono::steady_clock::now()) {}
  timeout left() const {
    if (total_ == SELV_FOREVER) return forever;
    const timeout passed(std::chrono::steady_clock::now() - began_);
    return timeout::of_ns(passed.ns() < total_ ? total_ - passed.ns() : 0);
  }

 private:
  std::uint64_t total_;
  std::chrono::steady_clock::time_point began_;
};

/* attempt(timeout) until it succeeds or any clock's deadline has passed: that clock may be set while we wait. In floating point,
 * for a difference of any two times fits into it: time_point::max() minus a time before the clock's epoch, hours in nanoseconds. */
template <class Clock, class Duration, class Attempt>
bool until(const std::chrono::time_point<Clock, Duration> &deadline, Attempt attempt) {
  using wide = std::chrono::duration<long double, std::nano>;
  for (;;) {
    const wide left = wide(deadline.time_since_epoch()) - wide(Clock::now().time_since_epoch());
    const bool late = !(left > left.zero());
    if (attempt(late ? no_wait : timeout(left))) return true;
    if (late) return false;
  }
}

}  // namespace detail

/* ---- tasks ---- */

/* The entered task, else the running job's, else the thread's own. */
inline selv_task current_task() noexcept { return selv_task_current(); }

/* Makes the task's blocking wait, or its next one that has to wait, fail with SELV_E_CANCELLED. */
inline void interrupt(selv_task task) { detail::check(selv_task_interrupt(task)); }

/* What messages and the wait graph call the task from now on; an empty one: its number. */
inline void set_name(selv_task task, name_ref name) { detail::check(selv_task_set_name(task, name.c_str())); }

/* What a task's exit did. */
struct task_report {
  struct item {
    std::uint32_t what; /* SELV_REPORT_... */
    std::string name;   /* of the lock, limiter, ...; may be empty */
  };
  std::vector<item> items;
  std::uint64_t locks_broken = 0, locks_handed_on = 0, waits_cancelled = 0;
  std::uint64_t grants_passed_on = 0, tokens_returned = 0, lots_broken = 0;
};

/* An owner of locks: a coroutine, a request, a fibre. Exits with the object, which breaks what it still holds. */
class task {
 public:
  explicit task(name_ref name = {}) { detail::check(selv_task_new(name.c_str(), &id_)); }
  task(task &&other) noexcept : id_(other.let_go()) {}
  task &operator=(task &&other) noexcept {
    if (this != &other) {
      end();
      id_ = other.let_go();
    }
    return *this;
  }
  ~task() { end(); }

  selv_task id() const noexcept { return id_; }
  selv_task let_go() noexcept { return std::exchange(id_, 0); } /* now the caller's to exit */
  void interrupt() const { selv::interrupt(id_); }
  void set_name(name_ref name) const { selv::set_name(id_, name); }

  /* Ends it now, and tells what that did. */
  task_report exit() {
    struct listing {
      task_report report;
      std::exception_ptr failure;
    } list;
    selv_task_report c = SELV_TASK_REPORT_INIT;
    c.arg = &list;
    c.each = [](void *arg, std::uint32_t what, const char *name) {
      auto &to = *static_cast<listing *>(arg);
      try {
        to.report.items.push_back({what, name});
      } catch (...) {
        to.failure = std::current_exception();
      }
    };
    detail::check(selv_task_exit(id_, &c));
    id_ = 0;
    if (list.failure) std::rethrow_exception(list.failure);
    list.report.locks_broken = c.locks_broken;
    list.report.locks_handed_on = c.locks_handed_on;
    list.report.waits_cancelled = c.waits_cancelled;
    list.report.grants_passed_on = c.grants_passed_on;
    list.report.tokens_returned = c.tokens_returned;
    list.report.lots_broken = c.lots_broken;
    return std::move(list.report);
  }

 private:
  void end() noexcept {
    const selv_task id = let_go();
    if (id == 0) return;
    const selv_status status = selv_task_exit(id, nullptr);
    if (status != SELV_OK) detail::tell_unhandled("a selv::task could not exit", status);
  }

  selv_task id_ = 0;
};

/* The task is current on this thread until the end of the scope: a coroutine's or fibre's turn. Scopes nest. */
class task_scope {
 public:
  explicit task_scope(selv_task t) { detail::check(selv_task_enter(t, &previous_)); }
  explicit task_scope(const task &t) : task_scope(t.id()) {}
  task_scope(const task_scope &) = delete;
  task_scope &operator=(const task_scope &) = delete;
  ~task_scope() {
    const selv_status status = selv_task_enter(previous_, nullptr);
    if (status == SELV_OK) return;
    detail::tell_unhandled("a selv::task_scope could not go back to the task before it", status);
    selv_task_enter(0, nullptr); /* rather none than the wrong one */
  }

 private:
  selv_task previous_ = 0;
};

/* ---- host loops ---- */

class completed;
template <class R>
class outcome;

namespace detail {

inline void call_wake(void *wake) {
  guarded("an exception left the wake of a host loop", [&] { (*static_cast<callback<void()> *>(wake))(); });
}
inline void free_wake(void *wake) { delete static_cast<callback<void()> *>(wake); }

/* A callable that waits in a host loop. */
template <class F>
struct queued_call {
  template <class G>
  explicit queued_call(G &&g) : fn(std::forward<G>(g)) {}
  static void run(void *arg) {
    const std::unique_ptr<queued_call> self(static_cast<queued_call *>(arg));
    guarded("an exception left a call of a host loop", [&] { std::invoke(std::move(self->fn)); });
  }
  static void drop(void *arg) { delete static_cast<queued_call *>(arg); }
  F fn;
};

template <auto What, class T>
void call_for(void *object) {
  guarded("an exception left a call of a host loop", [&] { std::invoke(What, *static_cast<T *>(object)); });
}

}  // namespace detail

/* A reference to a queue into an event loop that the host runs. The thread that makes it is the loop's: it drains, and closes.
 * With the last reference gone the loop is closed on whichever thread that is; to be sure where, close() first. */
class host_loop {
 public:
  /* fd() becomes readable when there is something to drain. */
  explicit host_loop(name_ref name = {}) : host_loop(nullptr, name) {}
  /* wake() is called when there is: on any thread, and maybe on two at once. It only has the loop's own thread drain soon. */
  template <class W, class = std::enable_if_t<std::is_invocable_v<std::decay_t<W> &>>>
  explicit host_loop(W &&wake, name_ref name = {})
      : host_loop(std::make_unique<detail::callback<void()>>(std::forward<W>(wake)), name) {}
  static host_loop adopt(selv_host_loop *l) noexcept { return host_loop(l); } /* takes a reference over: of a preset, say */
  static host_loop share(selv_host_loop *l) noexcept { return host_loop(selv_host_loop_retain(l)); } /* makes another */
  host_loop share() const noexcept { return share(handle()); }

  selv_host_loop *handle() const noexcept { return c_.get(); }
  selv_host_loop *let_go() noexcept { return c_.let_go(); }

  /* To be polled and nothing else; -1: it has a wake. */
  int fd() const noexcept { return selv_host_loop_fd(handle()); }
  /* The calling thread is the loop's from now on. */
  void bind() { detail::check(selv_host_loop_bind(handle())); }

  /* f() runs once, in a drain to come. If the loop is closed first, f is destroyed uncalled, on the closing thread: what is to be
   * done then, its destructor does. What f throws is told to the unhandled handler. */
  template <class F>
  void call_soon(F &&f) {
    using call = detail::queued_call<std::decay_t<F>>;
    auto held = std::make_unique<call>(std::forward<F>(f));
    detail::check(selv_host_loop_call_soon(handle(), call::run, held.get(), call::drop, 0));
    held.release();
  }
  /* The same for a member function, or a function that takes the object: call_soon_once<&window::repaint>(w). While one such
   * call waits for this object, it stands for all that are made meanwhile. The object must live until then. */
  template <auto What, class T>
  void call_soon_once(T &object) {
    void *const arg = const_cast<void *>(static_cast<const void *>(std::addressof(object)));
    detail::check(selv_host_loop_call_soon(handle(), detail::call_for<What, T>, arg, nullptr, SELV_CALL_IDEMPOTENT));
  }
  /* Runs f() on the loop's thread and waits: its value, or what it threw. The time is for the wait until it begins; f() is not
   * called after that (SELV_E_TIMEDOUT). */
  template <class F, class R = std::invoke_result_t<F>>
  R call(F &&f, timeout limit = forever) {
    struct call {
      std::remove_reference_t<F> &fn;
      outcome<R> out;
      static std::int32_t run(void *arg, void **) {
        call &self = *static_cast<call *>(arg);
        self.out.call(std::forward<F>(self.fn));
        return 0;
      }
    } one{f, {}};
    detail::check(selv_host_loop_call(handle(), call::run, &one, limit.ns(), nullptr));
    return one.out.get();
  }

  /* Runs what waits now, at most so many (0: no bound), and tells how many it were. */
  std::uint32_t drain(std::uint32_t max_calls = 0) {
    std::uint32_t ran = 0;
    detail::check(selv_host_loop_drain(handle(), max_calls, &ran));
    return ran;
  }
  void close() { detail::check(selv_host_loop_close(handle())); }
  selv_host_loop_stats stats() const {
    selv_host_loop_stats s = SELV_HOST_LOOP_STATS_INIT;
    detail::check(selv_host_loop_get_stats(handle(), &s));
    return s;
  }

 private:
  explicit host_loop(selv_host_loop *l) noexcept : c_(l) {}
  host_loop(std::unique_ptr<detail::callback<void()>> wake, name_ref name) {
    selv_host_loop_options o = SELV_HOST_LOOP_OPTIONS_INIT;
    o.name = name.c_str();
    if (wake) {
      o.wake = detail::call_wake;
      o.wake_arg = wake.get();
      o.wake_arg_free = detail::free_wake;
    }
    selv_host_loop *made = nullptr;
    detail::check(selv_host_loop_new(&o, &made));
    wake.release(); /* free_wake's now */
    c_.reset(made);
  }

  static void drop(selv_host_loop *l) noexcept { selv_host_loop_release(l); }
  detail::owner<selv_host_loop, &host_loop::drop> c_;
};

namespace detail {

template <class F>
struct on_loop {
  void operator()(completed c);
  selv_host_loop *loop;
  F fn;
};

template <class F>
selv_host_loop *loop_of(const F &) noexcept {
  return nullptr;
}
template <class F>
selv_host_loop *loop_of(const on_loop<F> &f) noexcept {
  return f.loop;
}

}  // namespace detail

/* For an asynchronous call: f(selv::completed) runs in a drain of this loop. If that has been closed by then, f is told
 * SELV_E_CLOSED on the completing or closing thread, and nothing was granted. */
template <class F>
detail::on_loop<std::decay_t<F>> on(const host_loop &loop, F &&f) {
  return {loop.handle(), std::forward<F>(f)};
}

/* ---- operations ---- */

/* Bytes that came out of a channel. Never copied on the way. */
class bytes {
 public:
  bytes() noexcept = default;
  bytes(void *data, std::size_t size) noexcept : data_(data), size_(size) {} /* owns them: selv_bytes_free */
  bytes(bytes &&other) noexcept = default;
  bytes &operator=(bytes &&other) noexcept {
    if (this != &other) {
      data_ = std::move(other.data_);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  ~bytes() = default;

  const void *data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return data_.get() == nullptr ? 0 : size_; }
  std::string_view view() const noexcept { return {static_cast<const char *>(data()), size()}; }
  std::string str() const { return std::string(view()); }

 private:
  static void drop(void *data) noexcept { selv_bytes_free(data); }
  detail::owner<void, &bytes::drop> data_;
  std::size_t size_ = 0;
};

/* How an operation ended. Given to its callback, once. */
class completed {
 public:
  explicit completed(const selv_completed &c)
      : status_(c.status),
        ticket_(c.ticket),
        op_(c.op),
        holds_lock_(c.holds_lock != 0),
        received_(c.data, c.len),
        detail_(c.status < 0 || c.status == SELV_OWNER_DIED ? detail::last_error_if_there_is_memory() : std::string()) {}

  selv_status status() const noexcept { return status_; }
  bool ok() const noexcept { return status_ >= 0; }               /* SELV_OK, or SELV_OWNER_DIED: acquired */
  bool owner_died() const noexcept { return status_ == SELV_OWNER_DIED; } /* acquired, and to be made consistent */
  std::uint64_t ticket() const noexcept { return ticket_; }
  selv_op op() const noexcept { return op_; }
  bool holds_lock() const noexcept { return holds_lock_; }
  bytes &received() noexcept { return received_; } /* by a channel's recv_async */
  const std::string &detail() const noexcept { return detail_; } /* why it failed, or whose owner died; else "" */
  /* Throws selv::error if it failed. */
  void check() const {
    if (!ok()) throw error(status_, detail_);
  }

 private:
  selv_status status_;
  std::uint64_t ticket_;
  selv_op op_;
  bool holds_lock_;
  bytes received_;
  std::string detail_;
};

namespace detail {

/* An operation's callback while the library may still call it: it keeps itself alive until then. */
struct pending {
  template <class F>
  explicit pending(F &&f) : fn(std::forward<F>(f)) {}

  static void complete(void *arg, const selv_completed *c) {
    const std::shared_ptr<pending> self = std::move(static_cast<pending *>(arg)->self);
    callback<void(completed)> fn = std::move(self->fn);
    guarded("an exception left a completion callback", [&] { fn(completed(*c)); });
  }

  callback<void(completed)> fn;
  std::shared_ptr<pending> self;
};

template <class F>
void on_loop<F>::operator()(completed c) {
  std::invoke(fn, std::move(c));
}

}  // namespace detail

/* An asynchronous call. Not pending(): it was satisfied at once, there will be no callback, and what was asked for is yours.
 * Pending: the callback comes exactly once, on whichever thread completes it, or where on() says. Dropping this object changes
 * nothing. */
class [[nodiscard]] op {
 public:
  op(const op &) = default; /* of the same operation */
  op &operator=(const op &) = default;
  op(op &&other) noexcept { *this = std::move(other); }
  op &operator=(op &&other) noexcept { /* nothing is left in the other one: it is not pending() */
    if (this != &other) {
      status_ = std::exchange(other.status_, SELV_OK);
      id_ = std::exchange(other.id_, 0);
      node_ = std::move(other.node_);
    }
    return *this;
  }
  ~op() = default;

  bool pending() const noexcept { return status_ == SELV_PENDING; }
  bool owner_died() const noexcept { return status_ == SELV_OWNER_DIED; } /* at once, and to be made consistent */
  selv_op id() const noexcept { return id_; }

  /* True: the callback is called with SELV_E_CANCELLED, here (a condition's: when it has its lock again; one on a loop: there).
   * False: too late, it has been or is being completed. */
  bool cancel() const { return pending() && not_too_late(selv_op_cancel(id_)); }

  /* True: the callback will never be called and is gone, and what may have been granted passed on. False: too late. */
  bool abandon() {
    if (!pending() || !not_too_late(selv_op_abandon(id_))) return false;
    const std::shared_ptr<detail::pending> node = node_; /* what the callable holds may be the last to hold this object */
    node->self.reset();
    node->fn = {};
    return true;
  }

 private:
  template <class F, class Start>
  friend op start_operation(F &&f, Start start);

  op(selv_status status, selv_op id, std::shared_ptr<detail::pending> node) noexcept
      : status_(status), id_(id), node_(std::move(node)) {}

  static bool not_too_late(selv_status status) {
    if (status == SELV_E_TOO_LATE) return false;
    detail::check(status);
    return true;
  }

  selv_status status_ = SELV_OK;
  selv_op id_ = 0;
  std::shared_ptr<detail::pending> node_;
};

/* start(completion, out_op) makes the C call; f takes a selv::completed. For any asynchronous function of the C interface. */
template <class F, class Start>
op start_operation(F &&f, Start start) {
  selv_host_loop *const loop = detail::loop_of(f);
  auto node = std::make_shared<detail::pending>(std::forward<F>(f));
  node->self = node;
  selv_completion completion = {&detail::pending::complete, node.get(), loop};
  selv_op id = 0;
  selv_status status = SELV_OK;
  try {
    status = start(&completion, &id);
  }
  SELV_HPP_PASS_FORCED_UNWIND /* out of somebody else's callback, which ran in the call: this operation may be pending */
  catch (...) { /* before it made the call */
    node->self.reset();
    throw;
  }
  if (status != SELV_PENDING) {
    node->self.reset();
    detail::check(status);
    node.reset(); /* nobody will call it */
  }
  return op(status, id, std::move(node));
}

/* ---- lock ---- */

class mutex;
class owner_died;

namespace detail {

/* What a lock that can be got with SELV_OWNER_DIED shares with the exceptions that hold it: its handle, which lives until both are
 * gone, and where its object is now. */
struct robust_handle : std::enable_shared_from_this<robust_handle> {
  explicit robust_handle(mutex *m) noexcept : object(m) {}
  robust_handle(const robust_handle &) = delete;
  robust_handle &operator=(const robust_handle &) = delete;
  ~robust_handle();

  selv_lock *lock = nullptr;
  std::atomic<mutex *> object; /* nullptr: it has ended */
  bool to_be_freed = false;    /* by the last one that has a share */
};

}  // namespace detail

/* How a lock was got. */
enum class acquired {
  clean,
  owner_died, /* held all the same: look at the data, then make_consistent() before the release */
};

/* A lock that belongs to a task, and breaks when that task ends while it holds it. Lockable and TimedLockable, so that
 * std::lock_guard, std::unique_lock, std::scoped_lock and std::condition_variable_any work with it.
 * (The class is `mutex` because no class can have a member function of its own name; `selv::lock` is the usual name.) */
class mutex {
 public:
  explicit mutex(name_ref name = {}, std::uint32_t flags = 0 /* SELV_LOCK_... */) {
    selv_lock_options o = SELV_LOCK_OPTIONS_INIT;
    o.name = name.c_str();
    o.flags = flags;
    if ((flags & SELV_LOCK_ROBUST) != 0) robust_ = std::make_shared<detail::robust_handle>(this);
    detail::check(selv_lock_new(&o, &c_));
    if (robust_) robust_->lock = c_;
  }
  static mutex adopt(selv_lock *l) { return mutex(l); } /* will close and free it */
  mutex(mutex &&other) noexcept : c_(std::exchange(other.c_, nullptr)), robust_(std::move(other.robust_)) {
    if (robust_) robust_->object = this;
  }
  mutex &operator=(mutex &&other) noexcept {
    if (this != &other) {
      end();
      c_ = std::exchange(other.c_, nullptr);
      robust_ = std::move(other.robust_);
      if (robust_) robust_->object = this;
    }
    return *this;
  }
  ~mutex() { end(); }

  selv_lock *handle() const noexcept { return c_; }
  /* The caller's to free, which must not be while a selv::owner_died of it lives. */
  selv_lock *let_go() noexcept {
    if (robust_) robust_->object = nullptr;
    robust_.reset();
    return std::exchange(c_, nullptr);
  }

  /* -- for the standard's guards: the current task, and no lock in doubtful state --
   * Each throws selv::error: BROKEN (its owner ended), DEADLOCK (the detail spells the ring), CLOSED, CANCELLED, ...
   * With SELV_LOCK_ROBUST and a dead owner each throws selv::owner_died, which carries the lock: a std::lock_guard cannot
   * look at a return value, and so must never come to hold a lock whose data nobody has looked at. */
  void lock() { try_lock_for(forever); }
  bool try_lock() { return clean(robust_.get(), selv_lock_try_acquire(handle(), SELV_TASK_CURRENT)); }
  bool try_lock_for(timeout t) {
    detail::robust_handle *const robust = robust_.get(); /* this object may be moved meanwhile */
    return clean(robust, selv_lock_acquire(handle(), SELV_TASK_CURRENT, t.ns()));
  }
  template <class Clock, class Duration>
  bool try_lock_until(const std::chrono::time_point<Clock, Duration> &deadline) {
    return detail::until(deadline, [this](timeout left) { return try_lock_for(left); });
  }
  /* Does not throw, for guards call it in their destructors, where it would end the process: that the lock is not the current
   * task's (any more) is told to the unhandled handler. release() throws. */
  void unlock() noexcept {
    const selv_status status = selv_lock_release(handle(), SELV_TASK_CURRENT);
    if (status < 0) detail::tell_unhandled("a selv::lock could not be unlocked", status);
  }

  /* -- with the answer as a value, and for any task: pair these with release() -- */
  [[nodiscard]] acquired acquire(selv_task t = SELV_TASK_CURRENT) {
    return how(detail::check(selv_lock_acquire(handle(), t, SELV_FOREVER)));
  }
  [[nodiscard]] std::optional<acquired> try_acquire(selv_task t = SELV_TASK_CURRENT) {
    return how_in_time(selv_lock_try_acquire(handle(), t));
  }
  [[nodiscard]] std::optional<acquired> try_acquire_for(timeout limit, selv_task t = SELV_TASK_CURRENT) {
    return how_in_time(selv_lock_acquire(handle(), t, limit.ns()));
  }
  /* f takes a selv::completed. */
  template <class F>
  op acquire_async(F &&f, selv_task t = SELV_TASK_CURRENT) {
    return selv::start_operation(std::forward<F>(f), [&](const selv_completion *c, selv_op *out) {
      return selv_lock_acquire_async(handle(), t, c, out);
    });
  }
  void release(selv_task t = SELV_TASK_CURRENT) { detail::check(selv_lock_release(handle(), t)); }

  selv_task owner() const noexcept { return selv_lock_owner(handle()); } /* 0: nobody */
  void make_consistent(selv_task t = SELV_TASK_CURRENT) { detail::check(selv_lock_make_consistent(handle(), t)); }
  /* Brings a broken lock back: the current task holds it. */
  [[nodiscard]] std::unique_lock<mutex> repair() {
    detail::check(selv_lock_repair(handle(), SELV_TASK_CURRENT));
    return std::unique_lock<mutex>(*this, std::adopt_lock);
  }
  void repair(selv_task t) { detail::check(selv_lock_repair(handle(), t)); }

  void close() { detail::check(selv_lock_close(handle())); }
  selv_lock_stats stats() const {
    selv_lock_stats s = SELV_LOCK_STATS_INIT;
    detail::check(selv_lock_get_stats(handle(), &s));
    return s;
  }

 private:
  friend class condition;
  friend struct detail::robust_handle;
  explicit mutex(selv_lock *l) {
    if (l == nullptr) return;
    robust_ = std::make_shared<detail::robust_handle>(this); /* it may be robust */
    robust_->lock = c_ = l;
  }

  static void drop(selv_lock *l) noexcept {
    detail::close_and_free("a selv::lock could not be freed and is left as it is", l, selv_lock_close, selv_lock_free);
  }
  void end() noexcept {
    selv_lock *const l = std::exchange(c_, nullptr);
    if (l == nullptr) return;
    if (!robust_) return drop(l);
    robust_->object = nullptr;
    if (robust_.use_count() > 1) selv_lock_close(l); /* an exception that flies may hold it, and frees it when it has let go */
    robust_->to_be_freed = true;
    robust_.reset();
  }
  static acquired how(selv_status s) noexcept { return s == SELV_OWNER_DIED ? acquired::owner_died : acquired::clean; }
  static std::optional<acquired> how_in_time(selv_status s) {
    if (!detail::in_time(s)) return std::nullopt;
    return how(s);
  }
  static bool clean(detail::robust_handle *robust, selv_status s) {
    if (s == SELV_OWNER_DIED) hand_to_exception(*robust);
    return detail::in_time(s);
  }
  [[noreturn]] static void hand_to_exception(detail::robust_handle &robust);

  selv_lock *c_ = nullptr;
  std::shared_ptr<detail::robust_handle> robust_; /* nullptr: nobody is ever told that an owner died */
};

inline detail::robust_handle::~robust_handle() {
  if (to_be_freed) mutex::drop(lock);
}

using lock = mutex;

/* A robust lock was got whose owner had ended while holding it; what() names both. The lock is held, by this exception, for the task
 * that got it: take() hands it over, and nothing else is to release it; if nobody takes it, it is released unrepaired with the last copy,
 * and from then on is SELV_E_NOT_RECOVERABLE for everybody, as with a pthread robust mutex. So nobody works on data that nobody has
 * looked at.
 * If that task ends first, as a job's does when the exception comes out of it, the next task gets the lock with the same news. */
class owner_died : public error {
 public:
  /* The lock, for the task that got it: look at the data, lock.make_consistent(), go on. Once; then it is empty.
   * Throws selv::error, and changes nothing: SELV_E_NOT_OWNER if the lock is not the current task's, because another one got it, or
   * because the one that did has ended; SELV_E_STALE if the selv::lock is gone. (Where it was moved to is known.) */
  std::unique_lock<mutex> take() const {
    if (!held_ || !held_->open) return {};
    selv_lock *const l = held_->robust->lock;
    if (selv_task_current() != held_->by || selv_lock_owner(l) != held_->by)
      throw error(SELV_E_NOT_OWNER,
                  "a selv::owner_died cannot be taken: its lock is not the current task's (" + std::string(detail()) + ")");
    mutex *const m = held_->robust->object;
    if (m == nullptr)
      throw error(SELV_E_STALE, "a selv::owner_died cannot be taken: its selv::lock is gone (" + std::string(detail()) + ")");
    if (!held_->open.exchange(false)) return {};
    return std::unique_lock<mutex>(*m, std::adopt_lock);
  }

 private:
  friend class mutex;
  struct holding {
    holding(std::shared_ptr<detail::robust_handle> r, selv_task t) noexcept : robust(std::move(r)), by(t) {}
    holding(const holding &) = delete;
    holding &operator=(const holding &) = delete;
    ~holding() {
      if (open) selv_lock_release(robust->lock, by); /* STALE: `by` has exited, and passed it on itself */
    }
    const std::shared_ptr<detail::robust_handle> robust;
    const selv_task by;
    std::atomic<bool> open{true};
  };
  owner_died(std::shared_ptr<holding> h, const std::string &why) : error(SELV_OWNER_DIED, why), held_(std::move(h)) {}

  std::shared_ptr<holding> held_;
};

inline void mutex::hand_to_exception(detail::robust_handle &robust) {
  const selv_task by = selv_task_current();
  std::shared_ptr<owner_died::holding> held;
  try {
    held = std::make_shared<owner_died::holding>(robust.shared_from_this(), by);
  } catch (...) {
    selv_lock_release(robust.lock, by);
    throw;
  }
  throw owner_died(std::move(held), last_error());
}

/* ---- condition ---- */

/* A condition of one selv::lock, with the functions of std::condition_variable. The lock must outlive it.
 * A wait that throws and did not get its lock back (BROKEN, say) leaves the std::unique_lock not owning. One that was refused
 * (NOT_OWNER, STALE, ...) never let go of the lock, and leaves the std::unique_lock as it was. */
class condition {
 public:
  explicit condition(const mutex &l, name_ref name = {}) : lock_(l.handle()) {
    selv_condition_options o = SELV_CONDITION_OPTIONS_INIT;
    o.name = name.c_str();
    o.lock = lock_;
    selv_condition *made = nullptr;
    detail::check(selv_condition_new(&o, &made));
    c_.reset(made);
  }

  selv_condition *handle() const noexcept { return c_.get(); }

  void wait(std::unique_lock<mutex> &g) { wait_once(g, forever); }
  template <class Predicate>
  void wait(std::unique_lock<mutex> &g, Predicate ready) {
    while (!ready()) wait(g);
  }
  std::cv_status wait_for(std::unique_lock<mutex> &g, timeout t) {
    return wait_once(g, t) ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  template <class Predicate>
  bool wait_for(std::unique_lock<mutex> &g, timeout t, Predicate ready) {
    const detail::countdown time(t);
    while (!ready())
      if (!wait_once(g, time.left())) return ready();
    return true;
  }
  template <class Clock, class Duration>
  std::cv_status wait_until(std::unique_lock<mutex> &g, const std::chrono::time_point<Clock, Duration> &deadline) {
    return detail::until(deadline, [&](timeout left) { return wait_once(g, left); }) ? std::cv_status::no_timeout
                                                                                     : std::cv_status::timeout;
  }
  template <class Clock, class Duration, class Predicate>
  bool wait_until(std::unique_lock<mutex> &g, const std::chrono::time_point<Clock, Duration> &deadline, Predicate ready) {
    while (!ready())
      if (wait_until(g, deadline) == std::cv_status::timeout) return ready();
    return true;
  }
  /* Always pending. The task must hold the lock, and gives it up; completed::holds_lock() says whether it has it again. */
  template <class F>
  op wait_async(F &&f, selv_task t = SELV_TASK_CURRENT) {
    return selv::start_operation(std::forward<F>(f), [&](const selv_completion *c, selv_op *out) {
      return selv_condition_wait_async(handle(), t, c, out);
    });
  }

  /* The task must hold the lock. */
  void notify_one() { notify(1); }
  void notify(std::uint64_t n, selv_task t = SELV_TASK_CURRENT) { detail::check(selv_condition_notify(handle(), t, n)); }
  void notify_all(selv_task t = SELV_TASK_CURRENT) { detail::check(selv_condition_notify_all(handle(), t)); }

  void close() { detail::check(selv_condition_close(handle())); }
  selv_condition_stats stats() const {
    selv_condition_stats s = SELV_CONDITION_STATS_INIT;
    detail::check(selv_condition_get_stats(handle(), &s));
    return s;
  }

 private:
  static void drop(selv_condition *c) noexcept {
    detail::close_and_free("a selv::condition could not be freed and is left as it is", c, selv_condition_close,
                           selv_condition_free);
  }

  /* False if the time has passed. */
  bool wait_once(std::unique_lock<mutex> &g, timeout t) {
    if (!g.owns_lock() || g.mutex()->handle() != lock_)
      throw error(SELV_E_NOT_OWNER, "the std::unique_lock given to selv::condition does not hold the condition's lock");
    detail::robust_handle *const robust = g.mutex()->robust_.get();
    const selv_task me = selv_task_current();
    const bool held = selv_lock_owner(lock_) == me; /* else the call is refused, and the lock is whose it was */
    const selv_status status = selv_condition_wait(handle(), SELV_TASK_CURRENT, t.ns(), nullptr);
    if (status == SELV_OK) return true;
    if (status == SELV_OWNER_DIED) {
      disown(g);
      mutex::hand_to_exception(*robust);
    }
    /* Not the call's own answer: a refused one says that nothing is held, whatever is. */
    if (held && selv_lock_owner(lock_) != me) disown(g);
    return detail::in_time(status);
  }

  static void disown(std::unique_lock<mutex> &g) noexcept {
    mutex *m = g.release();
    g = std::unique_lock<mutex>(*m, std::defer_lock);
  }

  selv_lock *lock_;
  detail::owner<selv_condition, &condition::drop> c_;
};

/* ---- semaphore ---- */

/* Permits that belong to nobody; waiters are served in order. The names are those of std::counting_semaphore. */
class semaphore {
 public:
  explicit semaphore(std::uint64_t initial, std::uint64_t max = 0 /* no bound */, name_ref name = {}) {
    selv_semaphore_options o = SELV_SEMAPHORE_OPTIONS_INIT;
    o.name = name.c_str();
    o.initial = initial;
    o.max = max;
    selv_semaphore *made = nullptr;
    detail::check(selv_semaphore_new(&o, &made));
    c_.reset(made);
  }

  selv_semaphore *handle() const noexcept { return c_.get(); }

  void acquire(std::uint64_t n = 1, selv_task t = SELV_TASK_CURRENT) {
    detail::check(selv_semaphore_acquire(handle(), t, n, SELV_FOREVER));
  }
  [[nodiscard]] bool try_acquire(std::uint64_t n = 1) { return detail::in_time(selv_semaphore_try_acquire(handle(), n)); }
  [[nodiscard]] bool try_acquire_for(timeout limit, std::uint64_t n = 1, selv_task t = SELV_TASK_CURRENT) {
    return detail::in_time(selv_semaphore_acquire(handle(), t, n, limit.ns()));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_acquire_until(const std::chrono::time_point<Clock, Duration> &deadline, std::uint64_t n = 1) {
    return detail::until(deadline, [&](timeout left) { return try_acquire_for(left, n); });
  }
  template <class F>
  op acquire_async(F &&f, std::uint64_t n = 1, selv_task t = SELV_TASK_CURRENT) {
    return selv::start_operation(std::forward<F>(f), [&](const selv_completion *c, selv_op *out) {
      return selv_semaphore_acquire_async(handle(), t, n, c, out);
    });
  }
  void release(std::uint64_t n = 1) { detail::check(selv_semaphore_release(handle(), n)); }

  void close() { detail::check(selv_semaphore_close(handle())); }
  selv_semaphore_stats stats() const {
    selv_semaphore_stats s = SELV_SEMAPHORE_STATS_INIT;
    detail::check(selv_semaphore_get_stats(handle(), &s));
    return s;
  }

 private:
  static void drop(selv_semaphore *s) noexcept {
    detail::close_and_free("a selv::semaphore could not be freed and is left as it is", s, selv_semaphore_close,
                           selv_semaphore_free);
  }
  detail::owner<selv_semaphore, &semaphore::drop> c_;
};

/* ---- limiter ---- */

/* So many tasks at a time, each with one token, which comes back when the task ends. */
class limiter {
 public:
  explicit limiter(std::uint64_t total, name_ref name = {}) {
    selv_limiter_options o = SELV_LIMITER_OPTIONS_INIT;
    o.name = name.c_str();
    o.total = total;
    selv_limiter *made = nullptr;
    detail::check(selv_limiter_new(&o, &made));
    c_.reset(made);
  }

  selv_limiter *handle() const noexcept { return c_.get(); }

  void acquire(selv_task borrower = SELV_TASK_CURRENT) {
    detail::check(selv_limiter_acquire(handle(), borrower, SELV_FOREVER));
  }
  [[nodiscard]] bool try_acquire(selv_task borrower = SELV_TASK_CURRENT) {
    return detail::in_time(selv_limiter_try_acquire(handle(), borrower));
  }
  [[nodiscard]] bool try_acquire_for(timeout limit, selv_task borrower = SELV_TASK_CURRENT) {
    return detail::in_time(selv_limiter_acquire(handle(), borrower, limit.ns()));
  }
  template <class F>
  op acquire_async(F &&f, selv_task borrower = SELV_TASK_CURRENT) {
    return selv::start_operation(std::forward<F>(f), [&](const selv_completion *c, selv_op *out) {
      return selv_limiter_acquire_async(handle(), borrower, c, out);
    });
  }
  void release(selv_task borrower = SELV_TASK_CURRENT) { detail::check(selv_limiter_release(handle(), borrower)); }

  /* The same for a borrower that is no task: any number, to be released by the same number. */
  void acquire_on_behalf_of(std::uint64_t borrower, selv_task waiter = SELV_TASK_CURRENT) {
    detail::check(selv_limiter_acquire_on_behalf_of(handle(), waiter, borrower, SELV_FOREVER));
  }
  [[nodiscard]] bool try_acquire_on_behalf_of(std::uint64_t borrower) {
    return detail::in_time(selv_limiter_try_acquire_on_behalf_of(handle(), borrower));
  }
  [[nodiscard]] bool try_acquire_on_behalf_of_for(timeout limit, std::uint64_t borrower, selv_task waiter = SELV_TASK_CURRENT) {
    return detail::in_time(selv_limiter_acquire_on_behalf_of(handle(), waiter, borrower, limit.ns()));
  }
  template <class F>
  op acquire_on_behalf_of_async(F &&f, std::uint64_t borrower, selv_task waiter = SELV_TASK_CURRENT) {
    return selv::start_operation(std::forward<F>(f), [&](const selv_completion *c, selv_op *out) {
      return selv_limiter_acquire_on_behalf_of_async(handle(), waiter, borrower, c, out);
    });
  }
  void release_on_behalf_of(std::uint64_t borrower) {
    detail::check(selv_limiter_release_on_behalf_of(handle(), borrower));
  }

  /* The current task's token, for a scope. It belongs to the task, and must be let go of while that task lives. */
  class token {
   public:
    token(token &&other) noexcept : from_(std::exchange(other.from_, nullptr)), by_(other.by_) {}
    token &operator=(token &&other) noexcept {
      if (this != &other) {
        give_back();
        from_ = std::exchange(other.from_, nullptr);
        by_ = other.by_;
      }
      return *this;
    }
    ~token() { give_back(); }

   private:
    friend class limiter;
    token(selv_limiter *from, selv_task by) noexcept : from_(from), by_(by) {}
    void give_back() noexcept {
      selv_limiter *from = std::exchange(from_, nullptr);
      const selv_status status = from == nullptr ? SELV_OK : selv_limiter_release(from, by_);
      if (status < 0) detail::tell_unhandled("a token could not be given back to its selv::limiter", status);
    }
    selv_limiter *from_;
    selv_task by_;
  };
  [[nodiscard]] token borrow() {
    const selv_task by = selv_task_current();
    acquire(by);
    return token(handle(), by);
  }

  void set_total(std::uint64_t total) { detail::check(selv_limiter_set_total(handle(), total)); }
  void close() { detail::check(selv_limiter_close(handle())); }
  selv_limiter_stats stats() const {
    selv_limiter_stats s = SELV_LIMITER_STATS_INIT;
    detail::check(selv_limiter_get_stats(handle(), &s));
    return s;
  }

 private:
  static void drop(selv_limiter *l) noexcept {
    detail::close_and_free("a selv::limiter could not be freed and is left as it is", l, selv_limiter_close, selv_limiter_free);
  }
  detail::owner<selv_limiter, &limiter::drop> c_;
};

/* ---- event ---- */

class event {
 public:
  explicit event(name_ref name = {}, std::uint32_t flags = 0 /* SELV_EVENT_RESETTABLE */) {
    selv_event_options o = SELV_EVENT_OPTIONS_INIT;
    o.name = name.c_str();
    o.flags = flags;
    selv_event *made = nullptr;
    detail::check(selv_event_new(&o, &made));
    c_.reset(made);
  }

  selv_event *handle() const noexcept { return c_.get(); }

  void set() { detail::check(selv_event_set(handle())); }
  void clear() { detail::check(selv_event_clear(handle())); }
  bool is_set() const noexcept { return selv_event_is_set(handle()) != 0; }

  void wait(selv_task t = SELV_TASK_CURRENT) { detail::check(selv_event_wait(handle(), t, SELV_FOREVER)); }
  [[nodiscard]] bool wait_for(timeout limit, selv_task t = SELV_TASK_CURRENT) {
    return detail::in_time(selv_event_wait(handle(), t, limit.ns()));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool wait_until(const std::chrono::time_point<Clock, Duration> &deadline) {
    return detail::until(deadline, [this](timeout left) { return wait_for(left); });
  }
  template <class F>
  op wait_async(F &&f, selv_task t = SELV_TASK_CURRENT) {
    return selv::start_operation(std::forward<F>(f), [&](const selv_completion *c, selv_op *out) {
      return selv_event_wait_async(handle(), t, c, out);
    });
  }

  void close() { detail::check(selv_event_close(handle())); }
  selv_event_stats stats() const {
    selv_event_stats s = SELV_EVENT_STATS_INIT;
    detail::check(selv_event_get_stats(handle(), &s));
    return s;
  }

 private:
  static void drop(selv_event *e) noexcept {
    detail::close_and_free("a selv::event could not be freed and is left as it is", e, selv_event_close, selv_event_free);
  }
  detail::owner<selv_event, &event::drop> c_;
};

/* ---- parking lot ---- */

/* A queue of waiters and nothing else, to build other primitives on. */
class parking_lot {
 public:
  explicit parking_lot(name_ref name = {}) {
    selv_parking_lot_options o = SELV_PARKING_LOT_OPTIONS_INIT;
    o.name = name.c_str();
    selv_parking_lot *made = nullptr;
    detail::check(selv_parking_lot_new(&o, &made));
    c_.reset(made);
  }

  selv_parking_lot *handle() const noexcept { return c_.get(); }

  void park(selv_task t = SELV_TASK_CURRENT) { detail::check(selv_parking_lot_park(handle(), t, SELV_FOREVER)); }
  [[nodiscard]] bool park_for(timeout limit, selv_task t = SELV_TASK_CURRENT) {
    return detail::in_time(selv_parking_lot_park(handle(), t, limit.ns()));
  }
  template <class F>
  op park_async(F &&f, selv_task t = SELV_TASK_CURRENT) {
    return selv::start_operation(std::forward<F>(f), [&](const selv_completion *c, selv_op *out) {
      return selv_parking_lot_park_async(handle(), t, c, out);
    });
  }
  /* Both tell how many there were. */
  std::uint64_t unpark(std::uint64_t n = UINT64_MAX) {
    std::uint64_t count = 0;
    detail::check(selv_parking_lot_unpark(handle(), n, &count));
    return count;
  }
  std::uint64_t repark(parking_lot &to, std::uint64_t n = UINT64_MAX) {
    std::uint64_t count = 0;
    detail::check(selv_parking_lot_repark(handle(), to.handle(), n, &count));
    return count;
  }
  /* `break` is taken. */
  void break_lot(selv_task by = SELV_TASK_CURRENT) { detail::check(selv_parking_lot_break(handle(), by)); }
  void add_breaker(selv_task t = SELV_TASK_CURRENT) { detail::check(selv_parking_lot_add_breaker(handle(), t)); }
  void remove_breaker(selv_task t = SELV_TASK_CURRENT) { detail::check(selv_parking_lot_remove_breaker(handle(), t)); }

  void close() { detail::check(selv_parking_lot_close(handle())); }
  selv_parking_lot_stats stats() const {
    selv_parking_lot_stats s = SELV_PARKING_LOT_STATS_INIT;
    detail::check(selv_parking_lot_get_stats(handle(), &s));
    return s;
  }

 private:
  static void drop(selv_parking_lot *p) noexcept {
    detail::close_and_free("a selv::parking_lot could not be freed and is left as it is", p, selv_parking_lot_close,
                           selv_parking_lot_free);
  }
  detail::owner<selv_parking_lot, &parking_lot::drop> c_;
};

/* ---- channel ---- */

/* What came of a send or receive that does not wait for ever. */
enum class transfer {
  done,
  not_now, /* full or empty, for all of the time given */
  closed,  /* for a receive: and nothing is left in it */
};

/* Messages of bytes from many senders to many receivers, in order. */
class channel {
 public:
  explicit channel(std::uint64_t capacity = 0 /* unbounded */, name_ref name = {},
                   std::uint32_t flags = 0 /* SELV_CHANNEL_RENDEZVOUS */) {
    selv_channel_options o = SELV_CHANNEL_OPTIONS_INIT;
    o.name = name.c_str();
    o.capacity = capacity;
    o.flags = flags;
    selv_channel *made = nullptr;
    detail::check(selv_channel_new(&o, &made));
    c_.reset(made);
  }

  selv_channel *handle() const noexcept { return c_.get(); }

  /* Waits for room; false if the channel is closed. The data is copied. */
  bool send(std::string_view data, selv_task t = SELV_TASK_CURRENT) {
    return result(selv_channel_send(handle(), t, data.data(), data.size(), SELV_FOREVER)) == transfer::done;
  }
  [[nodiscard]] transfer send_for(timeout limit, std::string_view data, selv_task t = SELV_TASK_CURRENT) {
    return result(selv_channel_send(handle(), t, data.data(), data.size(), limit.ns()));
  }
  [[nodiscard]] transfer try_send(std::string_view data) {
    return result(selv_channel_send_nowait(handle(), data.data(), data.size()));
  }
  template <class F>
  op send_async(F &&f, std::string_view data, selv_task t = SELV_TASK_CURRENT) {
    return selv::start_operation(std::forward<F>(f), [&](const selv_completion *c, selv_op *out) {
      return selv_channel_send_async(handle(), t, data.data(), data.size(), c, out);
    });
  }

  /* Waits for a message; none if the channel is closed and empty. */
  [[nodiscard]] std::optional<bytes> recv(selv_task t = SELV_TASK_CURRENT) {
    std::optional<bytes> message(std::in_place);
    if (recv_for(forever, *message, t) != transfer::done) message.reset();
    return message;
  }
  [[nodiscard]] transfer recv_for(timeout limit, bytes &message, selv_task t = SELV_TASK_CURRENT) {
    void *data = nullptr;
    std::size_t size = 0;
    const selv_status status = selv_channel_recv(handle(), t, limit.ns(), &data, &size);
    if (status == SELV_OK) message = bytes(data, size);
    return result(status);
  }
  [[nodiscard]] transfer try_recv(bytes &message) {
    void *data = nullptr;
    std::size_t size = 0;
    const selv_status status = selv_channel_recv_nowait(handle(), &data, &size);
    if (status == SELV_OK) message = bytes(data, size);
    return result(status);
  }
  /* Always pending; the message is in completed::received(). */
  template <class F>
  op recv_async(F &&f, selv_task t = SELV_TASK_CURRENT) {
    return selv::start_operation(std::forward<F>(f), [&](const selv_completion *c, selv_op *out) {
      return selv_channel_recv_async(handle(), t, c, out);
    });
  }

  void close() { detail::check(selv_channel_close(handle())); }
  selv_channel_stats stats() const {
    selv_channel_stats s = SELV_CHANNEL_STATS_INIT;
    detail::check(selv_channel_get_stats(handle(), &s));
    return s;
  }

 private:
  static transfer result(selv_status s) {
    if (s == SELV_E_CLOSED) return transfer::closed;
    return detail::in_time(s) ? transfer::done : transfer::not_now;
  }
  static void drop(selv_channel *c) noexcept {
    detail::close_and_free("a selv::channel could not be freed and is left as it is", c, selv_channel_close, selv_channel_free);
  }
  detail::owner<selv_channel, &channel::drop> c_;
};

/* ---- wait graph ---- */

enum class graph : std::uint32_t { text = SELV_GRAPH_TEXT, json = SELV_GRAPH_JSON, dot = SELV_GRAPH_DOT };

/* Who holds what and who waits for it, now. */
inline std::string wait_graph(graph format = graph::text) {
  struct sink {
    std::string text;
    std::exception_ptr failure;
  } to;
  const selv_status status = selv_wait_graph(
      static_cast<std::uint32_t>(format),
      [](void *arg, const char *data, std::size_t len) -> selv_status {
        auto &s = *static_cast<sink *>(arg);
        try {
          s.text.append(data, len);
          return SELV_OK;
        } catch (...) {
          s.failure = std::current_exception();
          return SELV_E_NOMEM;
        }
      },
      &to);
  if (to.failure) std::rethrow_exception(to.failure);
  detail::check(status);
  return std::move(to.text);
}

/* ---- workers and hooks ---- */

/* A thread as hooks see it. Only to look at: it is valid as long as the thread is on the cache. */
class worker {
 public:
  explicit worker(const selv_worker *w) noexcept : w_(w) {}
  static worker current() noexcept { return worker(selv_worker_current()); }

  explicit operator bool() const noexcept { return w_ != nullptr; } /* false: off the caches */
  std::uint64_t id() const noexcept { return selv_worker_id(w_); }
  const char *name() const noexcept { return selv_worker_name(w_); }
  const selv_worker *handle() const noexcept { return w_; }

 private:
  const selv_worker *w_;
};

namespace detail {

struct hook_calls {
  callback<void *(worker)> start;
  callback<void(worker, void *)> exit, before, after;
};

/* Why the last hook on this thread failed: the job that it failed is delivered on the same thread. */
struct hook_failure {
  std::int32_t code = 0;
  std::exception_ptr what;
};
inline thread_local hook_failure last_hook_failure;

inline std::int32_t fail_hook(std::int32_t code) noexcept {
  last_hook_failure.code = code == 0 ? hook_threw : code;
  last_hook_failure.what = caught();
  return last_hook_failure.code;
}

/* 0, or the number that the library hands on to the outcome. */
template <class F>
std::int32_t try_hook(F &&f) {
  try {
    std::forward<F>(f)();
    return 0;
  }
  SELV_HPP_PASS_FORCED_UNWIND
  catch (const hook_refusal &refused) {
    return fail_hook(refused.code());
  }
  catch (...) {
    return fail_hook(hook_threw);
  }
}

inline std::int32_t hook_start(void *user, const selv_worker *w, void **slot) {
  return try_hook([&] { *slot = static_cast<hook_calls *>(user)->start(worker(w)); });
}
inline std::int32_t hook_before(void *user, const selv_worker *w, void *slot) {
  return try_hook([&] { static_cast<hook_calls *>(user)->before(worker(w), slot); });
}
inline void hook_after(void *user, const selv_worker *w, void *slot) {
  guarded("an exception left after_job", [&] { static_cast<hook_calls *>(user)->after(worker(w), slot); });
}
inline void hook_exit(void *user, const selv_worker *w, void *slot) {
  guarded("an exception left on_exit", [&] { static_cast<hook_calls *>(user)->exit(worker(w), slot); });
}
inline void hook_free(void *user) { delete static_cast<hook_calls *>(user); }

}  // namespace detail

/* What to call on workers: hook_options("jvm").on_start(f).on_exit(g). The callables are called on many threads at the same
 * time, each of them on its own; they take (selv::worker) or (selv::worker, void *slot). */
class hook_options {
 public:
  explicit hook_options(name_ref name = {}, std::uint32_t flags = 0 /* SELV_HOOK_... */)
      : calls_(new detail::hook_calls), flags_(flags) {
    if (name.c_str() != nullptr) name_ = name.c_str();
  }

  /* f(worker) returns the slot, or nothing; an exception fails the job that needed the hook. */
  template <class F>
  hook_options &&on_start(F &&f) && {
    if constexpr (std::is_void_v<std::invoke_result_t<std::decay_t<F> &, worker>>)
      calls_->start = detail::callback<void *(worker)>([g = std::forward<F>(f)](worker w) mutable -> void * {
        std::invoke(g, w);
        return nullptr;
      });
    else
      calls_->start = detail::callback<void *(worker)>(std::forward<F>(f));
    return std::move(*this);
  }
  /* f(worker, slot). What it throws is told to the unhandled handler. */
  template <class F>
  hook_options &&on_exit(F &&f) && {
    calls_->exit = detail::callback<void(worker, void *)>(std::forward<F>(f));
    return std::move(*this);
  }
  /* f(worker, slot); an exception keeps the job from running. */
  template <class F>
  hook_options &&before_job(F &&f) && {
    calls_->before = detail::callback<void(worker, void *)>(std::forward<F>(f));
    return std::move(*this);
  }
  /* f(worker, slot). What it throws is told to the unhandled handler. */
  template <class F>
  hook_options &&after_job(F &&f) && {
    calls_->after = detail::callback<void(worker, void *)>(std::forward<F>(f));
    return std::move(*this);
  }

 private:
  friend class hook;
  std::unique_ptr<detail::hook_calls> calls_;
  std::optional<std::string> name_;
  std::uint32_t flags_;
};

/* A registered hook set. Its end unregisters it, and waits until no callback of it runs or will run: what the callables refer
 * to may go on the next line. (On a worker or in a hook's callback, where that would wait for itself, the removal only
 * begins.) keep() leaves the hook to its cache instead. */
class hook {
 public:
  hook(selv_cache *cache, hook_options options) {
    if (!options.calls_) throw error(SELV_E_NULL, "these selv::hook_options have been used or moved from");
    selv_hook_options o = SELV_HOOK_OPTIONS_INIT;
    detail::hook_calls &calls = *options.calls_;
    o.flags = options.flags_;
    o.name = options.name_ ? options.name_->c_str() : nullptr;
    if (calls.start) o.on_start = detail::hook_start;
    if (calls.exit) o.on_exit = detail::hook_exit;
    if (calls.before) o.before_job = detail::hook_before;
    if (calls.after) o.after_job = detail::hook_after;
    o.user = &calls;
    o.user_free = detail::hook_free;
    selv_hook *made = nullptr;
    detail::check(selv_hook_register(cache, &o, &made));
    options.calls_.release(); /* hook_free's now */
    c_.reset(made);
  }
  /* Of a preset, say: takes the reference over, and will unregister it. */
  static hook adopt(selv_hook *h) noexcept { return hook(h); }

  selv_hook *handle() const noexcept { return c_.get(); }

  void *slot() const noexcept { return selv_hook_slot(handle()); } /* what on_start returned on this thread */
  bool is_attached() const noexcept { return selv_hook_is_attached(handle()) != 0; }
  /* The `user` pointer of a hook that was adopted; the hooks made here keep their callables behind it. */
  void *user() const noexcept { return selv_hook_user(handle()); }
  selv_hook_stats stats() const {
    selv_hook_stats s = SELV_HOOK_STATS_INIT;
    detail::check(selv_hook_get_stats(handle(), &s));
    return s;
  }

  /* False if `*attached` threads have it still when the time has passed; it goes on by itself. */
  bool unregister(timeout limit = forever, std::uint32_t *attached = nullptr) {
    return detail::in_time(selv_hook_unregister(handle(), limit.ns(), attached));
  }
  /* It stays registered until its cache ends, and this object is empty. */
  void keep() noexcept { selv_hook_release(c_.let_go()); }
  /* The handle with its reference: unregistering and releasing it is the caller's now. */
  selv_hook *let_go() noexcept { return c_.let_go(); }

 private:
  explicit hook(selv_hook *h) noexcept : c_(h) {}

  static void drop(selv_hook *h) noexcept {
    selv_status status = selv_hook_unregister(h, SELV_FOREVER, nullptr);
    if (status == SELV_E_DEADLOCK) {
      status = selv_hook_unregister(h, 0, nullptr);
      if (status == SELV_E_TIMEDOUT) status = SELV_OK; /* begun */
    }
    if (status != SELV_OK) detail::tell_unhandled("a selv::hook could not be unregistered", status);
    selv_hook_release(h);
  }
  detail::owner<selv_hook, &hook::drop> c_;
};

/* Hooks as an argument: {python, jvm}. */
using hook_list = std::initializer_list<std::reference_wrapper<const hook>>;

namespace detail {

inline std::vector<selv_hook *> handles_of(hook_list hooks) {
  std::vector<selv_hook *> handles;
  handles.reserve(hooks.size());
  for (const hook &h : hooks) handles.push_back(h.handle());
  return handles;
}

/* Never NULL, which would mean "every hook": an empty vector's data() may be. */
inline selv_hook *const *list_of(const std::vector<selv_hook *> &handles) noexcept {
  static selv_hook *const none = nullptr;
  return handles.empty() ? &none : handles.data();
}

}  // namespace detail

/* ---- jobs ---- */

namespace detail {
template <class R, class F, class To>
struct job_body;
struct guest_body;
}

/* How a job ended: a value, or an exception: its own, or selv::error if it did not run to its end. */
template <class R>
class outcome {
 public:
  /* As selv_outcome: SELV_OK if the callable was called and came back, by returning or by throwing. */
  selv_status status() const noexcept { return status_; }
  std::int32_t code() const noexcept { return code_; } /* a failing hook's own number */
  bool has_value() const noexcept { return result_.index() == 1; }
  /* What get() would throw; nullptr if it would not. */
  std::exception_ptr exception() const noexcept {
    const std::exception_ptr *thrown = std::get_if<2>(&result_);
    return thrown == nullptr ? nullptr : *thrown;
  }
  /* The value, moved out; or throws. */
  R get() {
    if (std::exception_ptr thrown = exception()) std::rethrow_exception(std::move(thrown));
    if constexpr (std::is_reference_v<R>)
      return static_cast<R>(*std::get<1>(result_));
    else if constexpr (!std::is_void_v<R>)
      return std::move(std::get<1>(result_));
  }

 private:
  friend class cache;
  friend class host_loop;
  friend struct detail::guest_body;
  template <class, class, class>
  friend struct detail::job_body;

  template <class F>
  void call(F &&f) {
    try {
      if constexpr (std::is_void_v<R>) {
        std::invoke(std::forward<F>(f));
        result_.template emplace<1>();
      } else if constexpr (std::is_reference_v<R>) {
        R referred = std::invoke(std::forward<F>(f));
        result_.template emplace<1>(std::addressof(referred));
      } else {
        result_.template emplace<1>(std::invoke(std::forward<F>(f)));
      }
    }
    SELV_HPP_PASS_FORCED_UNWIND
    catch (...) {
      result_.template emplace<2>(detail::caught());
    }
  }
  /* here: on the thread of the worker, where a hook that failed has left what it threw. */
  void conclude(selv_status status, std::int32_t code, bool here) {
    status_ = status;
    code_ = code;
    if (status == SELV_OK) return;
    std::exception_ptr cause;
    detail::hook_failure &failed = detail::last_hook_failure;
    if (here && status == SELV_E_HOOK_FAILED && failed.code == code) cause = std::exchange(failed.what, nullptr);
    try {
      throw_failure(status, cause);
    } catch (...) {
      result_.template emplace<2>(std::current_exception());
    }
  }

  /* With the hook's exception nested in it, and its words in what(). */
  [[noreturn]] static void throw_failure(selv_status status, const std::exception_ptr &cause) {
    std::string why = last_error();
    if (!cause) throw error(status, why);
    try {
      std::rethrow_exception(cause);
    } catch (const std::exception &e) {
      std::throw_with_nested(error(status, why + ": " + e.what()));
    } catch (...) {
      std::throw_with_nested(error(status, why));
    }
  }

  using value = std::conditional_t<std::is_void_v<R>, std::monostate,
                                   std::conditional_t<std::is_reference_v<R>, std::add_pointer_t<R>, R>>;
  std::variant<std::monostate, value, std::exception_ptr> result_;
  selv_status status_ = SELV_OK;
  std::int32_t code_ = 0;
};

/* What a job needs beside its callable: job_options().named("crc").needs({jvm}).limited_by(disk).delivered_on(loop). */
class job_options {
 public:
  job_options &named(std::string name) {
    name_ = std::move(name);
    return *this;
  }
  /* Exactly these hooks; {}: none. Without it: every hook that is not SELV_HOOK_LAZY. */
  job_options &needs(hook_list hooks) {
    attach_ = detail::handles_of(hooks);
    return *this;
  }
  /* The job begins when its task has a token, and fails with SELV_E_TIMEDOUT if it gets none in time. */
  job_options &limited_by(const limiter &l, timeout limit = forever) {
    limiter_ = l.handle();
    limiter_timeout_ = limit;
    return *this;
  }

  /* The outcome is told in a drain of this loop. If that has been closed by then, it is told elsewhere, as SELV_E_CLOSED. */
  job_options &delivered_on(const host_loop &l) {
    loop_ = l.handle();
    return *this;
  }

  /* The C struct, without what makes it run; valid as long as this object. */
  selv_job_options c_options() const noexcept {
    selv_job_options o = SELV_JOB_OPTIONS_INIT;
    o.name = name_ ? name_->c_str() : nullptr;
    if (attach_) {
      o.attach = detail::list_of(*attach_);
      o.attach_len = attach_->size();
    }
    o.limiter = limiter_;
    if (limiter_ != nullptr) o.limiter_timeout_ns = limiter_timeout_.option();
    o.loop = loop_;
    return o;
  }

 private:
  std::optional<std::string> name_;
  std::optional<std::vector<selv_hook *>> attach_;
  selv_limiter *limiter_ = nullptr;
  timeout limiter_timeout_ = forever;
  selv_host_loop *loop_ = nullptr;
};

namespace detail {

/* Called once, as an rvalue, like what std::thread runs. */
template <class F>
using result_of = std::invoke_result_t<std::decay_t<F>>;

template <class R>
struct job_state {
  outcome<R> out;
};

/* Nobody is told of the outcome: whoever has the handle takes it. */
struct to_handle {
  template <class R>
  void operator()(outcome<R> &) const noexcept {}
};

/* Nobody takes the outcome at all. */
struct to_nobody {
  template <class R>
  void operator()(outcome<R> &out) const {
    if (std::exception_ptr thrown = out.exception()) tell_unhandled("a job that nobody waits for failed", std::move(thrown));
  }
};

/* A callable of the host's that takes an outcome. */
template <class D>
struct to_callable {
  template <class R>
  void operator()(outcome<R> &out) {
    deliver(std::move(out));
  }
  D deliver;
};

/* A job's callable and outcome. The library has it until arg_free, and the job's handle as long as it likes. */
template <class R, class F, class To>
struct job_body : job_state<R> {
  template <class G>
  job_body(G &&g, To t) : fn(std::in_place, std::forward<G>(g)), to(std::move(t)) {}

  static std::int32_t run(void *arg, void **) {
    job_body &body = *static_cast<job_body *>(arg);
    const spent after{body}; /* also when the thread is ended inside */
    body.out.call(std::move(*body.fn));
    return 0;
  }
  static void deliver(void *arg, const selv_outcome *o) {
    job_body &body = *static_cast<job_body *>(arg);
    body.fn.reset(); /* of a job that never ran */
    guarded("an exception left a deliver callback", [&] {
      body.out.conclude(o->status, o->code, !body.on_loop);
      body.to(body.out);
    });
  }
  static void free(void *arg) { std::shared_ptr<job_body> last = std::move(static_cast<job_body *>(arg)->self); }
  /* For selv_start_thread_soon, which knows no arg_free. */
  static void deliver_and_free(void *arg, const selv_outcome *o) {
    const std::shared_ptr<job_body> last = std::move(static_cast<job_body *>(arg)->self);
    deliver(arg, o);
  }

  /* What the callable holds is let go of where it ran: before after_job, and before anybody is told. */
  struct spent {
    explicit spent(job_body &b) noexcept : body(b) {}
    spent(const spent &) = delete;
    spent &operator=(const spent &) = delete;
    ~spent() { body.fn.reset(); }
    job_body &body;
  };

  std::optional<F> fn;
  To to;
  bool on_loop = false;
  std::shared_ptr<job_body> self;
};

template <class F, class To>
using body_of = job_body<result_of<F>, std::decay_t<F>, To>;

template <class F, class To>
std::shared_ptr<body_of<F, To>> make_body(F &&f, To to) {
  auto body = std::make_shared<body_of<F, To>>(std::forward<F>(f), std::move(to));
  body->self = body;
  return body;
}

template <class Body>
selv_job_options options_for(Body &body, const job_options &more) noexcept {
  selv_job_options o = more.c_options();
  body.on_loop = o.loop != nullptr;
  o.fn = Body::run;
  o.deliver = Body::deliver;
  o.arg = &body;
  o.arg_free = Body::free;
  return o;
}

template <class F, class D>
using if_delivers = std::enable_if_t<std::is_invocable_v<std::decay_t<D> &, outcome<result_of<F>>>>;

}  // namespace detail

/* A submitted job, to wait for or to cancel. Its end does not touch the job, which goes on. */
class job_handle {
 public:
  job_handle() noexcept = default;
  explicit job_handle(selv_job *j) noexcept : c_(j) {}

  selv_job *handle() const noexcept { return c_.get(); }
  bool valid() const noexcept { return handle() != nullptr; }

  /* Until it has been delivered. */
  void wait() const { detail::check(selv_job_wait(handle(), SELV_FOREVER, nullptr)); }
  [[nodiscard]] bool wait_for(timeout limit) const {
    return detail::in_time(selv_job_wait(handle(), limit.ns(), nullptr));
  }
  /* True: it will never run, and has been delivered as cancelled. False: it has begun or ended. */
  bool cancel() const {
    const selv_status status = selv_job_cancel(handle());
    if (status == SELV_E_TOO_LATE) return false;
    detail::check(status);
    return true;
  }

 protected:
  void forget() noexcept { c_.reset(); }

 private:
  static void drop(selv_job *j) noexcept { selv_job_release(j); }
  detail::owner<selv_job, &job_handle::drop> c_;
};

/* A submitted job and what will come of it. */
template <class R>
class job : public job_handle {
 public:
  job() noexcept = default;

  /* Waits, then gives the value, or throws what the callable threw, or selv::error if it did not run to its end. Once. */
  R get() { return take().get(); }
  /* Waits, then gives value or exception without throwing either. Once. */
  outcome<R> take() {
    wait();
    const std::shared_ptr<detail::job_state<R>> state = std::move(state_);
    forget();
    return std::move(state->out);
  }

 private:
  friend class cache;
  job(selv_job *j, std::shared_ptr<detail::job_state<R>> state) noexcept : job_handle(j), state_(std::move(state)) {}
  std::shared_ptr<detail::job_state<R>> state_;
};

/* ---- cache ---- */

/* Options of a cache; what is not set is the default. */
struct cache_options {
  std::string name;                    /* of its workers: "<name>-<number>" */
  std::uint32_t max_workers = 0;       /* 0: no bound */
  std::optional<timeout> idle_timeout; /* 10 s */
  std::size_t stack_size = 0;
  std::optional<timeout> spin;
  selv_spawn_fn spawn = nullptr; /* C functions, which must not throw */
  selv_join_fn join = nullptr;
  void *spawn_data = nullptr;
};

/* A reference to a thread cache. Its end waits for nobody: accepted jobs go on and are delivered, with the last reference gone
 * the workers then end. To be sure that no callable runs any more, shutdown() first. */
class cache {
 public:
  explicit cache(const cache_options &options = {}) {
    selv_cache_options o = SELV_CACHE_OPTIONS_INIT;
    o.name = options.name.empty() ? nullptr : options.name.c_str();
    o.max_workers = options.max_workers;
    if (options.idle_timeout) o.idle_timeout_ns = options.idle_timeout->option();
    o.stack_size = options.stack_size;
    if (options.spin) o.spin = options.spin->option();
    o.spawn = options.spawn;
    o.join = options.join;
    o.spawn_data = options.spawn_data;
    selv_cache *made = nullptr;
    detail::check(selv_cache_new(&o, &made));
    c_.reset(made);
  }
  static cache of_process() { /* selv_cache_default */
    selv_cache *shared = nullptr;
    detail::check(selv_cache_default(&shared));
    return cache(shared);
  }
  static cache adopt(selv_cache *c) noexcept { return cache(c); }                     /* takes a reference over */
  static cache share(selv_cache *c) noexcept { return cache(selv_cache_retain(c)); } /* makes another */
  cache share() const noexcept { return share(handle()); }

  selv_cache *handle() const noexcept { return c_.get(); }
  selv_cache *let_go() noexcept { return c_.let_go(); }

  /* f() runs on a worker, once; job::get() gives what it returned or throws what it threw. */
  template <class F, class R = detail::result_of<F>>
  [[nodiscard]] job<R> submit(F &&f, const job_options &options = {}) {
    auto body = detail::make_body(std::forward<F>(f), detail::to_handle());
    selv_job *handle = submitted(*body, options);
    return job<R>(handle, std::move(body));
  }
  /* Then deliver(selv::outcome<R>) runs on that worker, outside the hooks; it must not block. A cancelled job is delivered by
   * whoever cancels it. With job_options::delivered_on both happen on the loop. */
  template <class F, class D, class = detail::if_delivers<F, D>>
  job_handle submit(F &&f, D &&deliver, const job_options &options = {}) {
    using to = detail::to_callable<std::decay_t<D>>;
    auto body = detail::make_body(std::forward<F>(f), to{std::forward<D>(deliver)});
    return job_handle(submitted(*body, options));
  }

  /* The same with the least effort and no handle (selv_start_thread_soon). Without a deliver, what f throws is told to the
   * unhandled handler. */
  template <class F>
  void start_soon(F &&f, name_ref name = {}) {
    start(detail::make_body(std::forward<F>(f), detail::to_nobody()), name);
  }
  template <class F, class D, class = detail::if_delivers<F, D>>
  void start_soon(F &&f, D &&deliver, name_ref name = {}) {
    using to = detail::to_callable<std::decay_t<D>>;
    start(detail::make_body(std::forward<F>(f), to{std::forward<D>(deliver)}), name);
  }

  /* Submits every callable of a range, moved out of it, with fewer wakes than one by one; deliver is copied for each.
   * Tells how many were accepted, from the first on: fewer than all if threads ran out (last_error() says it). Throws if none. */
  template <class Range, class D>
  std::size_t submit_many(Range &&callables, const D &deliver, const job_options &options = {}) {
    using F = std::decay_t<decltype(*std::begin(callables))>;
    using to = detail::to_callable<std::decay_t<const D &>>;
    using body_type = detail::job_body<detail::result_of<F>, F, to>;
    std::vector<std::shared_ptr<body_type>> bodies;
    std::vector<selv_job_options> jobs;
    for (auto &&f : callables) bodies.push_back(std::make_shared<body_type>(std::move(f), to{deliver}));
    for (auto &body : bodies) jobs.push_back(detail::options_for(*body, options));
    for (auto &body : bodies) body->self = body; /* nothing throws from here on */
    std::size_t accepted = 0;
    const selv_status status = selv_cache_submit_many(handle(), jobs.data(), jobs.size(), &accepted);
    for (std::size_t i = accepted; i < bodies.size(); i++) bodies[i]->self.reset();
    if (accepted == 0) detail::check(status);
    return accepted;
  }

  /* Runs f() on a worker and waits: its value, or what it threw. The time is for the wait until it begins; f() is not called
   * after that (SELV_E_TIMEDOUT). */
  template <class F, class R = std::invoke_result_t<F>>
  R run(F &&f, timeout limit = forever) {
    struct call {
      std::remove_reference_t<F> &fn;
      outcome<R> out;
      static std::int32_t run(void *arg, void **) {
        call &self = *static_cast<call *>(arg);
        self.out.call(std::forward<F>(self.fn));
        return 0;
      }
    } one{f, {}};
    selv_outcome o;
    detail::check(selv_cache_run(handle(), call::run, &one, limit.ns(), &o));
    one.out.conclude(o.status, o.code, false);
    return one.out.get();
  }

  /* Registers a hook set; it is unregistered when the returned object ends. */
  [[nodiscard]] hook register_hook(hook_options options) { return hook(handle(), std::move(options)); }

  void set_idle_timeout(timeout t) { detail::check(selv_cache_set_idle_timeout(handle(), t.ns())); }
  void trim(std::uint32_t keep_idle = 0) { detail::check(selv_cache_trim(handle(), keep_idle)); }
  /* Refuses new jobs, lets accepted ones finish, ends and joins the workers. False if `*remaining` threads are left when the
   * time has passed; it goes on by itself. */
  bool shutdown(timeout limit = forever, std::uint32_t flags = 0 /* SELV_SHUTDOWN_... */, std::uint32_t *remaining = nullptr) {
    return detail::in_time(selv_cache_shutdown(handle(), flags, limit.ns(), remaining));
  }
  selv_cache_stats stats() const {
    selv_cache_stats s = SELV_CACHE_STATS_INIT;
    detail::check(selv_cache_get_stats(handle(), &s));
    return s;
  }

 private:
  explicit cache(selv_cache *c) noexcept : c_(c) {}

  template <class Body>
  selv_job *submitted(Body &body, const job_options &options) {
    const selv_job_options o = detail::options_for(body, options);
    selv_job *made = nullptr;
    const selv_status status = selv_cache_submit(handle(), &o, &made);
    if (status != SELV_OK) body.self.reset(); /* refused: it is still ours */
    detail::check(status);
    return made;
  }
  template <class Body>
  void start(const std::shared_ptr<Body> &body, name_ref name) {
    const selv_status status =
        selv_start_thread_soon(handle(), Body::run, Body::deliver_and_free, body.get(), name.c_str());
    if (status != SELV_OK) body->self.reset();
    detail::check(status);
  }

  static void drop(selv_cache *c) noexcept { selv_cache_release(c); }
  detail::owner<selv_cache, &cache::drop> c_;
};

/* This thread as one of the cache's, with its hooks started, until the end of the scope. */
class thread_scope {
 public:
  explicit thread_scope(const cache &c) : cache_(c.share()) { detail::check(selv_thread_enter(cache_.handle(), nullptr, 0)); }
  /* With exactly these hooks; {}: none. */
  thread_scope(const cache &c, hook_list hooks) : cache_(c.share()) {
    const std::vector<selv_hook *> handles = detail::handles_of(hooks);
    detail::check(selv_thread_enter(cache_.handle(), detail::list_of(handles), handles.size()));
  }
  thread_scope(const thread_scope &) = delete;
  thread_scope &operator=(const thread_scope &) = delete;
  ~thread_scope() {
    const selv_status status = selv_thread_leave(cache_.handle());
    if (status != SELV_OK) detail::tell_unhandled("a thread could not leave its cache", status);
  }

 private:
  cache cache_;
};

/* ---- guests ---- */

/* An event loop that is to live inside the host's, and waits on a thread of its own: derive from it. All but poll() and
 * interrupt() is called on the host loop's thread, one at a time. What one of them throws ends the run, and done() is told. */
class guest_loop {
 public:
  /* What a poll brings; derive from it. If the run ends before they are processed, they are only destroyed. */
  struct events {
    events() = default;
    events(const events &) = delete;
    events &operator=(const events &) = delete;
    virtual ~events() = default;
  };

  guest_loop() = default;
  guest_loop(const guest_loop &) = delete;
  guest_loop &operator=(const guest_loop &) = delete;
  virtual ~guest_loop() = default;

  /* Runs what is ready; then the time to the next deadline (no_wait: again at once), or none: there is nothing left to do. */
  virtual std::optional<timeout> prepare() = 0;
  /* Waits for events: with no_wait on the host's thread, else on another. */
  virtual std::unique_ptr<events> poll(timeout limit) = 0;
  /* Takes what the poll brought, which may be nothing. */
  virtual void process(std::unique_ptr<events> e) = 0;
  /* On any thread: a poll that runs on another thread, or is about to, returns early. Must not block. */
  virtual void interrupt() = 0;
  /* It is over, and this the last call. status() is SELV_OK, SELV_E_CANCELLED (stop), SELV_E_CLOSED (abandon), ...; get() throws
   * what a function here or start_soon threw, or selv::error. What it throws itself is told to the unhandled handler. */
  virtual void done(outcome<void> why) = 0;
};

/* The status of a guest's end by an exception that is no selv::error. */
inline constexpr selv_status guest_threw = -hook_threw;

/* One poll of a guest, for a thread that may block: to be called there, once, or to be started on a cache. Whoever lets go of it
 * uncalled ends the run with SELV_E_BROKEN. */
class polling {
 public:
  polling(polling &&) noexcept = default; /* and no copies */
  polling &operator=(polling &&) noexcept = default;
  ~polling() = default;

  void operator()() {
    const std::shared_ptr<state> s = taken();
    selv_outcome o = {SELV_OK, 0, nullptr};
    o.code = s->fn(s->arg, &o.value);
    if (const selv_deliver_fn deliver = s->deliver.exchange(nullptr)) deliver(s->arg, &o);
  }
  /* On a worker of this cache, as if there were no start_soon. */
  void start_on(const cache &c) {
    const std::shared_ptr<state> s = taken();
    const selv_status status = selv_start_soon_on_cache(c.handle(), s->fn, s->deliver, s->arg, s->name.c_str());
    s->deliver = nullptr; /* the library's, or refused */
    detail::check(status);
  }
  const std::string &name() const {
    if (!state_) throw error(SELV_E_NULL, "this poll of a guest has been called before");
    return state_->name;
  }

 private:
  friend struct detail::guest_body;
  struct state {
    state(selv_job_fn f, selv_deliver_fn d, void *a, const char *n) : fn(f), deliver(d), arg(a), name(n) {}
    state(const state &) = delete;
    state &operator=(const state &) = delete;
    ~state() {
      const selv_outcome o = {SELV_E_BROKEN, 0, nullptr};
      if (const selv_deliver_fn d = deliver) d(arg, &o);
    }
    selv_job_fn fn;
    std::atomic<selv_deliver_fn> deliver; /* a started_by that throws may have passed the poll to a thread before */
    void *arg;
    std::string name;
  };
  explicit polling(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {}
  std::shared_ptr<state> taken() {
    if (!state_) throw error(SELV_E_NULL, "this poll of a guest has been called before");
    return std::move(state_);
  }

  std::shared_ptr<state> state_;
};

/* Where a guest's polls run: guest_options().named("trio").polled_by(cache), or .started_by(f). */
class guest_options {
 public:
  guest_options &&named(std::string name) && {
    name_ = std::move(name);
    return std::move(*this);
  }
  /* On workers of this cache, with its hooks. Without it: of the default cache. */
  guest_options &&polled_by(const cache &c) && {
    cache_ = c.handle();
    return std::move(*this);
  }
  /* f(selv::polling) sees to it that the poll is called soon, on a thread that may block; what it throws ends the run. */
  template <class F>
  guest_options &&started_by(F &&f) && {
    start_ = detail::callback<void(polling)>(std::forward<F>(f));
    return std::move(*this);
  }

 private:
  friend class guest;
  std::string name_;
  selv_cache *cache_ = nullptr;
  detail::callback<void(polling)> start_;
};

namespace detail {

/* What the library knows of a guest, from its start to its `done`. */
struct guest_body {
  guest_body(std::shared_ptr<guest_loop> l, callback<void(polling)> s) : loop(std::move(l)), start(std::move(s)) {}

  static guest_body &of(void *guest) noexcept { return *static_cast<guest_body *>(guest); }
  template <class F>
  selv_status attempt(F &&f) {
    try {
      std::forward<F>(f)();
      return SELV_OK;
    }
    SELV_HPP_PASS_FORCED_UNWIND
    catch (const error &e) {
      thrown = caught();
      return e.status() < 0 ? e.status() : guest_threw;
    }
    catch (...) {
      thrown = caught();
      return guest_threw;
    }
  }

  static selv_status prepare(void *guest, std::uint64_t *out_ns) {
    return of(guest).attempt([&] {
      const std::optional<timeout> next = of(guest).loop->prepare();
      *out_ns = next ? next->ns() : SELV_GUEST_DONE;
    });
  }
  static selv_status poll(void *guest, std::uint64_t timeout_ns, void **out_events) {
    return of(guest).attempt([&] { *out_events = of(guest).loop->poll(timeout::of_ns(timeout_ns)).release(); });
  }
  static selv_status process(void *guest, void *events) {
    return of(guest).attempt([&] {
      std::unique_ptr<guest_loop::events> polled(static_cast<guest_loop::events *>(events));
      of(guest).loop->process(std::move(polled));
    });
  }
  static void discard(void *, void *events) { delete static_cast<guest_loop::events *>(events); }
  static void interrupt(void *guest) {
    guarded("an exception left the interrupt of a guest", [&] { of(guest).loop->interrupt(); });
  }
  static selv_status start_soon(void *guest, selv_job_fn fn, selv_deliver_fn deliver, void *arg, const char *name) {
    std::shared_ptr<polling::state> state;
    const selv_status status = of(guest).attempt([&] {
      state = std::make_shared<polling::state>(fn, deliver, arg, name);
      of(guest).start(polling(state));
    });
    if (status < 0 && state) state->deliver = nullptr; /* refused: nobody is told but the caller */
    return status;
  }
  static void done(void *guest, selv_status why) {
    const std::unique_ptr<guest_body> last(&of(guest));
    guarded("an exception left the done of a guest", [&] {
      outcome<void> end;
      if (why == SELV_OK) end.result_.emplace<1>();
      end.conclude(why, 0, false);
      if (why != SELV_OK && last->thrown) end.result_.emplace<2>(std::move(last->thrown));
      last->loop->done(std::move(end));
    });
  }

  std::shared_ptr<guest_loop> loop;
  callback<void(polling)> start;
  std::exception_ptr thrown; /* in a function whose status ends the run: one at a time is called */
};

}  // namespace detail

/* A reference to a guest's run. Its end changes nothing: the run goes on until it is done. */
class guest {
 public:
  /* On the host loop's thread; the first tick comes with its next drain. `loop` is kept until done() has returned. */
  guest(const host_loop &host, std::shared_ptr<guest_loop> loop, guest_options options = {}) {
    if (!loop) throw error(SELV_E_NULL, "a guest needs a selv::guest_loop");
    auto body = std::make_unique<detail::guest_body>(std::move(loop), std::move(options.start_));
    selv_guest_options o = SELV_GUEST_OPTIONS_INIT;
    o.host = host.handle();
    o.cache = options.cache_;
    o.start_soon = body->start ? detail::guest_body::start_soon : nullptr;
    o.start_arg = body.get();
    o.guest = body.get();
    o.prepare = detail::guest_body::prepare;
    o.poll = detail::guest_body::poll;
    o.process = detail::guest_body::process;
    o.discard = detail::guest_body::discard;
    o.interrupt = detail::guest_body::interrupt;
    o.done = detail::guest_body::done;
    o.name = options.name_.empty() ? nullptr : options.name_.c_str();
    selv_guest *made = nullptr;
    detail::check(selv_guest_start(&o, &made));
    body.release(); /* done's now */
    c_.reset(made);
  }
  static guest adopt(selv_guest *g) noexcept { return guest(g); } /* takes a reference over: of a preset, say */
  guest share() const noexcept { return guest(selv_guest_retain(handle())); }

  selv_guest *handle() const noexcept { return c_.get(); }
  selv_guest *let_go() noexcept { return c_.let_go(); }

  /* Any thread. prepare() will be called soon, even if a poll sleeps. False: it is over, or about to be. */
  bool interrupt() const { return not_too_late(selv_guest_interrupt(handle())); }
  /* Any thread. done() with SELV_E_CANCELLED follows in a drain of the host loop. False: it is over, or about to be. */
  bool stop() const { return not_too_late(selv_guest_stop(handle())); }
  /* For a host loop that nobody drains any more: done() with SELV_E_CLOSED is called here. True: it has been, or the run was
   * over, or about to be. False: a function of the guest has not returned in this time. */
  bool abandon(timeout limit = forever) const {
    const selv_status status = selv_guest_abandon(handle(), limit.ns());
    return status == SELV_E_TOO_LATE || detail::in_time(status);
  }

 private:
  explicit guest(selv_guest *g) noexcept : c_(g) {}

  static bool not_too_late(selv_status status) {
    if (status == SELV_E_TOO_LATE) return false;
    detail::check(status);
    return true;
  }

  static void drop(selv_guest *g) noexcept { selv_guest_release(g); }
  detail::owner<selv_guest, &guest::drop> c_;
};

/* ---- tracing ---- */

/* Records what the workers do into a file until the end of the scope, or stop(), which throws if the file is not complete. */
class trace {
 public:
  explicit trace(const std::string &path) { detail::check(selv_trace_start(path.c_str())); }
  trace(const trace &) = delete;
  trace &operator=(const trace &) = delete;
  ~trace() {
    const selv_status status = running_ ? selv_trace_stop() : SELV_OK;
    if (status != SELV_OK) detail::tell_unhandled("a trace could not be completed", status);
  }
  void stop() {
    running_ = false;
    detail::check(selv_trace_stop());
  }

 private:
  bool running_ = true;
};

}  // namespace selv

#undef SELV_HPP_PASS_FORCED_UNWIND

#endif

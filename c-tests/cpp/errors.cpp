/* errors.cpp: what selv::error says, how durations become timeouts, who hears of what nobody takes, and which types move. */
#include "expect.hpp"

#include <limits>

/* ---- errors ---- */

static void an_error_has_status_name_and_detail() {
  selv::cache c;
  const selv::cache other = std::move(c);
  const selv::error e = EXPECT_ERROR(SELV_E_NULL, c.trim());
  EXPECT_HAS(e.what(), "SELV_E_NULL: ");
  CHECK_STR((std::string("SELV_E_NULL: ") + e.detail()).c_str(), e.what());
  CHECK(std::string(e.detail()) == selv::last_error());
  CHECK(*e.detail() != '\0');
}

static void an_error_is_a_runtime_error_and_copies() {
  try {
    selv::cache::of_process().shutdown();
    CHECK(false); /* it cannot be shut down */
  } catch (const std::runtime_error &e) {
    const auto *own = dynamic_cast<const selv::error *>(&e);
    CHECK(own != nullptr);
    const selv::error copy = *own;
    CHECK_STATUS(copy.status(), SELV_E_UNSUPPORTED);
    CHECK_STR(copy.detail(), own->detail());
  }
}

static void without_a_detail_the_status_speaks() {
  CHECK_STR(selv::error(SELV_E_BUSY, "").detail(), selv_status_text(SELV_E_BUSY));
  CHECK_STR(selv::error(SELV_E_BUSY, "in use").what(), "SELV_E_BUSY: in use");
}

static void a_long_detail_is_kept_whole() {
  const std::string name(1000, 'x');
  selv::cache c;
  selv::hook h = c.register_hook(selv::hook_options(name).before_job([](selv::worker, void *) { throw std::runtime_error("no"); }));
  auto job = c.submit([] {});
  const selv::error e = EXPECT_ERROR(SELV_E_HOOK_FAILED, job.get());
  EXPECT_HAS(e.what(), std::string(20, 'x').c_str());
  c.shutdown();
}

static void versions() {
  CHECK_STR(selv::version(), selv_version());
  CHECK_EQ_U64(selv::abi_version(), SELV_ABI_VERSION);
}

/* ---- time ---- */

static void durations_become_nanoseconds() {
  using selv::timeout;
  static_assert(timeout(1ms).ns() == 1000000);
  static_assert(timeout(0s).ns() == 0 && timeout(-5s).ns() == 0);
  static_assert(timeout(std::chrono::nanoseconds::max()).ns() == SELV_FOREVER);
  static_assert(timeout(std::chrono::hours::max()).ns() == SELV_FOREVER);
  static_assert(timeout(std::chrono::duration<double>(0.5)).ns() == 500000000);
  static_assert(timeout(std::chrono::duration<double>(1e30)).ns() == SELV_FOREVER);
  static_assert(timeout(std::chrono::duration<int, std::pico>(1)).ns() == 1, "never shorter than asked");
  static_assert(timeout(std::chrono::duration<int, std::pico>(1001)).ns() == 2);
  CHECK_EQ_U64(timeout(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())).ns(), 0);
  CHECK_EQ_U64(timeout(std::chrono::duration<double>(std::numeric_limits<double>::infinity())).ns(), SELV_FOREVER);
  CHECK_EQ_U64(timeout(std::chrono::hours::min()).ns(), 0);
  CHECK_EQ_U64(selv::forever.ns(), SELV_FOREVER);
  CHECK_EQ_U64(selv::no_wait.ns(), 0);
  CHECK_EQ_U64(selv::no_wait.option(), SELV_NO_WAIT);
  CHECK_EQ_U64(selv::forever.option(), SELV_FOREVER);
  CHECK_EQ_U64(timeout(3ns).option(), 3);
}

static void a_deadline_in_the_past_is_tried_once() {
  int tries = 0;
  const auto fails = [&](selv::timeout t) {
    tries++;
    CHECK_EQ_U64(t.ns(), 0);
    return false;
  };
  CHECK(!selv::detail::until(std::chrono::system_clock::now() - 1h, fails));
  CHECK(!selv::detail::until(std::chrono::steady_clock::time_point::min(), fails));
  CHECK_EQ_U64(tries, 2);
}

/* A clock that somebody sets: the wait goes by what it says, not by how long it took. */
struct set_clock {
  using duration = std::chrono::milliseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<set_clock>;
  static constexpr bool is_steady = false;
  static time_point now() { return time_point(time); }
  static duration time;
};
set_clock::duration set_clock::time{0};

static void a_clock_that_is_set_is_asked_again() {
  int tries = 0;
  const bool won = selv::detail::until(set_clock::time_point(100ms), [&](selv::timeout t) {
    tries++;
    if (tries == 1) CHECK_EQ_U64(t.ns(), 100 * CHECK_MS);
    if (tries == 2) CHECK_EQ_U64(t.ns(), 40 * CHECK_MS);
    if (tries == 3) CHECK_EQ_U64(t.ns(), 0);
    set_clock::time = tries == 1 ? 60ms : 200ms;
    return false;
  });
  CHECK(!won);
  CHECK_EQ_U64(tries, 3);
}

static void a_shared_timeout_runs_down() {
  const selv::detail::countdown none(0s), endless(selv::forever), hour(1h);
  CHECK_EQ_U64(none.left().ns(), 0);
  CHECK_EQ_U64(endless.left().ns(), SELV_FOREVER);
  CHECK(hour.left().ns() > 0 && hour.left().ns() <= selv::timeout(1h).ns());
}

/* ---- the unhandled handler ---- */

static std::string printed_by(void (*act)()) {
  char path[] = "/tmp/selv-cpp-XXXXXX";
  const int file = mkstemp(path), kept = dup(2);
  CHECK(file >= 0 && kept >= 0);
  unlink(path);
  std::fflush(stderr);
  CHECK(dup2(file, 2) == 2);
  act();
  std::fflush(stderr);
  CHECK(dup2(kept, 2) == 2);
  close(kept);
  std::string text(4096, '\0');
  const ssize_t n = pread(file, &text[0], text.size(), 0);
  CHECK(n >= 0);
  text.resize(static_cast<std::size_t>(n));
  close(file);
  return text;
}

static void throws_in_a_job(void) {
  selv::cache c;
  c.start_soon([] { throw std::runtime_error("words"); });
  c.start_soon([] { throw 7; });
  c.shutdown();
}

static void the_default_prints_one_line_each() {
  selv::set_unhandled(nullptr);
  const std::string text = printed_by(&throws_in_a_job);
  CHECK(selv::set_unhandled(&fail_unhandled) == before_the_tests);
  EXPECT_HAS(text, "selvedge: a job that nobody waits for failed: words\n");
  EXPECT_HAS(text, "selvedge: a job that nobody waits for failed: an exception that is no std::exception\n");
}

static void a_handler_hears_the_exception_itself() {
  static std::exception_ptr heard;
  const selv::unhandled_fn before = selv::set_unhandled([](const char *, std::exception_ptr what) noexcept { heard = what; });
  CHECK(before == &fail_unhandled);
  selv::cache c;
  c.start_soon([] { throw std::out_of_range("exact"); });
  c.shutdown();
  CHECK(selv::set_unhandled(&fail_unhandled) != &fail_unhandled);
  try {
    std::rethrow_exception(heard);
  } catch (const std::out_of_range &e) {
    CHECK_STR(e.what(), "exact");
  }
  heard = nullptr;
}

/* ---- types ---- */

template <class T>
constexpr bool moves_only = std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
                            !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T> &&
                            std::is_nothrow_destructible_v<T>;
template <class T>
constexpr bool stays = !std::is_move_constructible_v<T> && !std::is_copy_constructible_v<T>;

static_assert(moves_only<selv::cache> && moves_only<selv::hook> && moves_only<selv::job<int>> && moves_only<selv::job_handle>);
static_assert(moves_only<selv::task> && moves_only<selv::lock> && moves_only<selv::condition> && moves_only<selv::semaphore>);
static_assert(moves_only<selv::limiter> && moves_only<selv::limiter::token> && moves_only<selv::event>);
static_assert(moves_only<selv::parking_lot> && moves_only<selv::channel> && moves_only<selv::bytes>);
static_assert(stays<selv::task_scope> && stays<selv::thread_scope> && stays<selv::trace>);
static_assert(std::is_nothrow_copy_constructible_v<selv::error> && std::is_nothrow_copy_constructible_v<selv::owner_died>);
static_assert(noexcept(std::declval<selv::lock &>().unlock()), "guards call it in their destructors");
static_assert(!std::is_convertible_v<selv_lock *, selv::lock> && !std::is_convertible_v<selv_task, selv::task>);

int main() {
  CHECK_RUN(an_error_has_status_name_and_detail);
  CHECK_RUN(an_error_is_a_runtime_error_and_copies);
  CHECK_RUN(without_a_detail_the_status_speaks);
  CHECK_RUN(a_long_detail_is_kept_whole);
  CHECK_RUN(versions);
  CHECK_RUN(durations_become_nanoseconds);
  CHECK_RUN(a_deadline_in_the_past_is_tried_once);
  CHECK_RUN(a_clock_that_is_set_is_asked_again);
  CHECK_RUN(a_shared_timeout_runs_down);
  CHECK_RUN(the_default_prints_one_line_each);
  CHECK_RUN(a_handler_hears_the_exception_itself);
  return 0;
}

/* jobs.cpp: callables as jobs: what comes out of them, values and exceptions, by handle, by deliver, by run; and when what they
 * hold is let go of. */
#include "expect.hpp"

#include <unwind.h>

static selv::cache_options of_one(const char *name = "one") {
  selv::cache_options options;
  options.name = name;
  options.max_workers = 1;
  return options;
}

/* Keeps the only worker of a cache busy until told to go on. */
struct holdup {
  explicit holdup(selv::cache &c) : job(c.submit([this] { begun.open(), go.wait(); })) { begun.wait(); }
  void end() {
    go.open();
    job.get();
  }
  gate begun, go;
  selv::job<void> job;
};

struct failure {
  int code;
};

/* ---- values ---- */

static void values_of_every_kind() {
  selv::cache c;
  int number = 3;
  CHECK(c.submit([] { return 42; }).get() == 42);
  CHECK(c.submit([] { return std::string(1000, 'x'); }).get() == std::string(1000, 'x'));
  CHECK(*c.submit([p = std::make_unique<int>(7)]() mutable { return std::move(p); }).get() == 7);
  int &same = c.submit([&]() -> int & { return number; }).get();
  CHECK(&same == &number);
  const int &still = c.submit([&]() -> const int & { return number; }).get();
  CHECK(&still == &number);
  bool ran = false;
  c.submit([&] { ran = true; }).get();
  CHECK(ran);
  /* A value may itself be what we use to tell of failure. */
  const std::exception_ptr kept = c.submit([] { return std::make_exception_ptr(failure{5}); }).get();
  CHECK(kept != nullptr);
}

/* Each is had as it was returned: never copied, if it cannot be. */
static void values_that_are_const_or_only_move() {
  selv::cache c;
  gate delivered;
  struct only_moves {
    explicit only_moves(int n) : value(n) {}
    only_moves(only_moves &&) = default;
    only_moves &operator=(only_moves &&) = delete;
    int value;
  };
  CHECK(c.submit([] { return only_moves(1); }).get().value == 1);
  selv::outcome<only_moves> taken = c.submit([] { return only_moves(2); }).take();
  CHECK(taken.has_value() && taken.get().value == 2);
  CHECK(c.run([] { return only_moves(3); }).value == 3);
  c.submit([] { return only_moves(4); },
           [&](selv::outcome<only_moves> o) {
             CHECK(o.get().value == 4);
             delivered.open();
           });
  c.start_soon([] { return std::make_unique<int>(5); },
               [&](selv::outcome<std::unique_ptr<int>> o) {
                 CHECK(*o.get() == 5);
                 delivered.open();
               });
  delivered.wait(2);
  const auto of_const = []() -> const std::string { return std::string(100, 'x'); };
  CHECK(c.submit(of_const).get() == std::string(100, 'x'));
  CHECK(c.run(of_const) == std::string(100, 'x'));
  selv::lock l;
  std::unique_lock<selv::lock> g = c.run([&] { return std::unique_lock<selv::lock>(l, std::defer_lock); });
  CHECK(!g.owns_lock() && g.mutex() == &l);
  std::optional<selv::event> event = c.run([] { return std::make_optional<selv::event>(); });
  CHECK(event && !event->is_set());
}

static int plain() { return 9; }

struct once {
  int operator()() && { return 1; }
};

static void callables_of_every_kind() {
  selv::cache c;
  CHECK(c.submit(plain).get() == 9);
  CHECK(c.submit(&plain).get() == 9);
  CHECK(c.submit(once{}).get() == 1);
  std::function<int()> function = plain;
  CHECK(c.submit(function).get() == 9);
  CHECK(function != nullptr); /* copied, for it was no rvalue */
}

static void a_job_is_taken_once() {
  selv::cache c;
  selv::job<int> job = c.submit([] { return 1; });
  CHECK(job.valid());
  selv::job<int> other = std::move(job);
  CHECK(!job.valid() && other.valid());
  CHECK(other.get() == 1);
  CHECK(!other.valid());
  EXPECT_ERROR(SELV_E_NULL, other.get());
  EXPECT_ERROR(SELV_E_NULL, selv::job<int>().wait());
}

static void a_job_outlives_its_handle() {
  selv::cache c;
  gate ran;
  { [[maybe_unused]] const auto dropped = c.submit([&] { ran.open(); }); }
  ran.wait();
  c.shutdown();
}

static void names_reach_the_thread() {
  selv::cache c;
  const auto own_name = [] {
    char name[16];
    pthread_getname_np(pthread_self(), name, sizeof name);
    return std::string(name);
  };
  CHECK(c.submit(own_name, selv::job_options().named("crc")).get() == "crc");
  gate done;
  std::string seen;
  c.start_soon([&] { seen = own_name(), done.open(); }, "soon");
  done.wait();
  CHECK(seen == "soon");
}

/* ---- exceptions ---- */

static void an_exception_comes_out_as_it_went_in() {
  selv::cache c;
  try {
    c.submit([]() -> int { throw std::out_of_range("exact"); }).get();
    CHECK(false);
  } catch (const std::out_of_range &e) {
    CHECK_STR(e.what(), "exact");
  }
  try {
    c.submit([] { throw failure{7}; }).get();
    CHECK(false);
  } catch (const failure &f) {
    CHECK(f.code == 7);
  }
  /* The worker that threw lives on. */
  CHECK_EQ_U64(c.stats().threads_lost, 0);
  CHECK_EQ_U64(c.stats().started, 1);
}

static void a_value_that_throws_when_it_is_moved() {
  struct awkward {
    awkward() = default;
    awkward(awkward &&) { throw failure{8}; }
  };
  selv::cache c;
  try {
    c.submit([] {
       awkward a;
       return a;
     }).get();
    CHECK(false);
  } catch (const failure &f) {
    CHECK(f.code == 8);
  }
}

/* As a Rust panic or a Java frame might: no type that C++ knows. */
[[noreturn]] static void throw_as_another_language() {
  static _Unwind_Exception exception{};
  exception.exception_class = 0x4F54484552; /* "OTHER" */
  _Unwind_RaiseException(&exception);
  check_fail(__FILE__, __LINE__, "nobody caught it");
}

static void an_exception_of_another_language() {
  selv::cache c;
  auto job = c.submit([]() -> int { throw_as_another_language(); });
  selv::outcome<int> o = job.take();
  CHECK(!o.has_value());
  EXPECT_HAS(words_of(o.exception()), "another language");
  listener ears;
  c.submit([] {}, [](selv::outcome<void>) { throw_as_another_language(); }).wait();
  EXPECT_HAS(ears.only(), "another language");
}

static void take_throws_nothing() {
  selv::cache c;
  selv::outcome<int> good = c.submit([] { return 4; }).take();
  CHECK(good.status() == SELV_OK && good.has_value() && good.exception() == nullptr);
  CHECK(good.get() == 4);
  const selv::outcome<int> bad = c.submit([]() -> int { throw failure{1}; }).take();
  CHECK(bad.status() == SELV_OK); /* it ran */
  CHECK(!bad.has_value() && bad.exception() != nullptr);
}

/* ---- waiting and cancelling ---- */

static void waits() {
  selv::cache c;
  gate go;
  auto job = c.submit([&] { go.wait(); });
  CHECK(!job.wait_for(0s));
  CHECK(!job.wait_for(1ms));
  go.open();
  CHECK(job.wait_for(1h));
  job.wait();
  CHECK(!job.cancel());
  job.get();
}

static void waiting_for_oneself_is_refused() {
  selv::cache c;
  selv::job<void> job;
  gate ready;
  job = c.submit([&] {
    ready.wait();
    EXPECT_ERROR(SELV_E_DEADLOCK, job.wait());
  });
  ready.open();
  job.get();
}

static void a_cancelled_job_never_runs() {
  selv::cache c(of_one());
  holdup first(c);
  std::atomic<int> gone{0};
  auto second = c.submit([s = sentinel(gone)] { check_fail(__FILE__, __LINE__, "a cancelled job ran"); });
  CHECK(second.cancel());
  CHECK(gone == 1); /* what it held is let go of, though we still have the handle */
  CHECK(!second.cancel());
  EXPECT_ERROR(SELV_E_CANCELLED, second.get());
  first.end();
}

static void shutdown_cancels_what_is_queued() {
  selv::cache c(of_one());
  holdup first(c);
  auto second = c.submit([] { return 1; });
  std::uint32_t left = 0;
  CHECK(!c.shutdown(selv::no_wait, SELV_SHUTDOWN_CANCEL_QUEUED, &left));
  CHECK_EQ_U64(left, 1);
  EXPECT_ERROR(SELV_E_CANCELLED, second.get());
  first.end();
  CHECK(c.shutdown());
  std::atomic<int> gone{0};
  EXPECT_ERROR(SELV_E_CLOSED, (void)c.submit([s = sentinel(gone)] {}));
  EXPECT_ERROR(SELV_E_CLOSED, c.start_soon([s = sentinel(gone)] {}));
  EXPECT_ERROR(SELV_E_CLOSED, c.run([s = sentinel(gone)] {}));
  CHECK(gone == 3); /* what was refused is not kept */
}

/* ---- deliver ---- */

static void deliver_takes_the_outcome() {
  selv::cache c;
  gate delivered;
  std::string seen;
  const selv::job_handle job = c.submit([] { return std::string("value"); },
                                        [&](selv::outcome<std::string> o) {
                                          seen = o.get();
                                          delivered.open();
                                        });
  job.wait();
  CHECK(seen == "value" && delivered.count() == 1);
  c.submit([]() -> int { throw failure{3}; },
           [&](selv::outcome<int> o) {
             CHECK(o.status() == SELV_OK && !o.has_value());
             try {
               o.get();
             } catch (const failure &f) {
               CHECK(f.code == 3);
               delivered.open();
             }
           })
      .wait();
  CHECK(delivered.count() == 2);
}

static void deliver_of_a_cancelled_job_runs_where_it_is_cancelled() {
  selv::cache c(of_one());
  holdup first(c);
  std::thread::id where;
  const selv::job_handle second = c.submit([] { return 1; },
                                           [&](selv::outcome<int> o) {
                                             where = std::this_thread::get_id();
                                             CHECK_STATUS(o.status(), SELV_E_CANCELLED);
                                             EXPECT_ERROR(SELV_E_CANCELLED, o.get());
                                           });
  CHECK(second.cancel());
  CHECK(where == std::this_thread::get_id());
  first.end();
}

static void a_deliver_that_throws_is_heard_and_survived() {
  selv::cache c(of_one());
  listener ears;
  c.submit([] {}, [](selv::outcome<void>) { throw std::runtime_error("in deliver"); }).wait();
  CHECK_STR(ears.only().c_str(), "an exception left a deliver callback: in deliver");
  CHECK(c.submit([] { return 1; }).get() == 1);
  CHECK_EQ_U64(c.stats().started, 1);
}

static void start_soon_delivers_once_and_frees() {
  selv::cache c;
  std::atomic<int> gone{0}, sum{0};
  const int rounds = static_cast<int>(check_scaled(200));
  gate delivered;
  for (int i = 0; i < rounds; i++)
    c.start_soon([i, s = sentinel(gone)] { return i; },
                 [&, t = sentinel(gone)](selv::outcome<int> o) {
                   sum += o.get();
                   delivered.open();
                 });
  delivered.wait(static_cast<std::uint64_t>(rounds));
  c.shutdown();
  CHECK(sum == rounds * (rounds - 1) / 2);
  CHECK(gone == 2 * rounds);
}

static void a_chain_needs_one_thread() {
  selv::cache c;
  gate done;
  struct chain {
    selv::cache &cache;
    gate &done;
    int left;
    void operator()(selv::outcome<void>) {
      if (left == 0) return done.open();
      cache.start_soon([] {}, chain{cache, done, left - 1});
    }
  };
  c.start_soon([] {}, chain{c, done, static_cast<int>(check_scaled(500))});
  done.wait();
  CHECK_EQ_U64(c.stats().started, 1);
}

/* ---- run ---- */

static void run_gives_and_throws() {
  selv::cache c;
  int number = 1;
  CHECK(c.run([&] { return ++number; }) == 2);
  CHECK(&c.run([&]() -> int & { return number; }) == &number);
  CHECK(*c.run([p = std::make_unique<int>(7)]() mutable { return std::move(p); }) == 7);
  const auto fixed = [] { return 5; };
  CHECK(c.run(fixed) == 5);
  CHECK(c.run(plain) == 9);
  CHECK(c.run(once{}) == 1);
  c.run([&] { number = 0; });
  CHECK(number == 0);
  try {
    c.run([]() -> int { throw failure{6}; });
    CHECK(false);
  } catch (const failure &f) {
    CHECK(f.code == 6);
  }
}

static void run_in_time_or_not_at_all() {
  selv::cache c(of_one());
  holdup first(c);
  EXPECT_ERROR(SELV_E_TIMEDOUT, c.run([] { check_fail(__FILE__, __LINE__, "it ran too late"); }, 1ms));
  first.end();
}

static void run_on_the_last_worker_is_a_deadlock() {
  selv::cache c(of_one());
  auto job = c.submit([&] { return c.run([] { return 1; }); });
  EXPECT_ERROR(SELV_E_DEADLOCK, job.get());
}

/* ---- many ---- */

static std::atomic<int> told_to_a_function{0};
static void tell_a_function(selv::outcome<int> o) { told_to_a_function += o.get(); }

static void many_of_any_range() {
  selv::cache c;
  int (*const functions[])() = {plain, plain, plain};
  CHECK_EQ_U64(c.submit_many(functions, tell_a_function), 3);
  const std::vector<std::function<int()>> constant(2, plain);
  CHECK_EQ_U64(c.submit_many(constant, tell_a_function), 2);
  CHECK(constant.front() != nullptr);
  c.shutdown();
  CHECK(told_to_a_function == 5 * 9);
}

static void many_at_once() {
  selv::cache c;
  std::atomic<int> sum{0}, gone{0};
  gate delivered;
  struct add {
    int n;
    sentinel s;
    int operator()() { return n; }
  };
  std::vector<add> jobs;
  const int count = 50;
  for (int i = 0; i < count; i++) jobs.push_back({i, sentinel(gone)});
  const auto take = [&](selv::outcome<int> o) {
    sum += o.get();
    delivered.open();
  };
  CHECK_EQ_U64(c.submit_many(jobs, take), count);
  delivered.wait(count);
  c.shutdown();
  CHECK(sum == count * (count - 1) / 2);
  CHECK(gone == count);
  jobs.clear();
  CHECK_EQ_U64(selv::cache().submit_many(jobs, take), 0);
  jobs.push_back({1, sentinel(gone)});
  EXPECT_ERROR(SELV_E_CLOSED, c.submit_many(jobs, take));
  CHECK(gone == count + 1);
}

/* ---- references and lifetimes ---- */

static void what_a_callable_holds_goes_before_it_is_delivered() {
  selv::cache c;
  std::atomic<int> gone{0};
  int at_deliver = -1;
  c.submit([s = sentinel(gone)] {}, [&](selv::outcome<void>) { at_deliver = gone; }).wait();
  CHECK(at_deliver == 1);
  auto job = c.submit([s = sentinel(gone)] { throw failure{1}; });
  job.wait();
  CHECK(gone == 2);
}

static void references_to_one_cache() {
  selv::cache c(of_one("shared"));
  selv::cache second = c.share();
  CHECK(second.handle() == c.handle());
  c = selv::cache();
  CHECK(second.submit([] { return 1; }).get() == 1);
  selv::cache third = selv::cache::adopt(second.let_go());
  EXPECT_ERROR(SELV_E_NULL, (void)second.submit([] { return 1; }));
  EXPECT_HAS(third.submit([] { return std::string(selv::worker::current().name()); }).get(), "shared-");
  CHECK(selv::cache::of_process().handle() == selv::cache::of_process().handle());
  CHECK(selv::cache::of_process().submit([] { return 2; }).get() == 2);
}

static void the_end_of_a_cache_waits_for_nobody() {
  gate go, delivered;
  {
    selv::cache c;
    c.start_soon([&] { go.wait(); }, [&](selv::outcome<void>) { delivered.open(); });
  }
  CHECK_EQ_U64(delivered.count(), 0);
  go.open();
  delivered.wait();
}

static void options_of_a_cache() {
  selv::cache_options options;
  options.name = "brief";
  options.idle_timeout = selv::no_wait;
  options.spin = selv::no_wait;
  options.stack_size = 1 << 20;
  selv::cache c(options);
  c.run([] {
    EXPECT_HAS(selv::worker::current().name(), "brief-");
    CHECK(selv::worker::current() && selv::worker::current().id() > 0);
    CHECK(selv::worker::current().handle() == selv_worker_current());
  });
  CHECK(!selv::worker::current());
  CHECK_EVENTUALLY(c.stats().workers == 0); /* it did not stay idle */
  c.set_idle_timeout(selv::forever);
  c.run([] {});
  CHECK_EVENTUALLY(c.stats().idle == 1);
  c.trim();
  CHECK_EVENTUALLY(c.stats().workers == 0);
}

static selv_status never_spawns(void *data, void (*)(void *), void *, const char *, std::size_t, void **) {
  ++*static_cast<int *>(data);
  return SELV_E_SPAWN;
}

static void no_thread_to_be_had() {
  int asked = 0;
  selv::cache_options options;
  options.spawn = &never_spawns;
  options.spawn_data = &asked;
  selv::cache c(options);
  std::atomic<int> gone{0};
  EXPECT_ERROR(SELV_E_SPAWN, (void)c.submit([s = sentinel(gone)] {}));
  EXPECT_ERROR(SELV_E_SPAWN, c.start_soon([s = sentinel(gone)] {}));
  CHECK(gone == 2 && asked == 2);
}

static void a_trace_records_the_jobs() {
  char path[] = "/tmp/selv-cpp-XXXXXX";
  const int file = mkstemp(path);
  CHECK(file >= 0);
  {
    selv::trace t(path);
    EXPECT_ERROR(SELV_E_BUSY, selv::trace second(path));
    selv::cache c;
    c.submit([] {}, selv::job_options().named("traced job")).get();
    c.shutdown();
    t.stop();
    EXPECT_ERROR(SELV_E_CLOSED, t.stop());
  }
  std::string text(1 << 16, '\0');
  const ssize_t n = pread(file, &text[0], text.size(), 0);
  close(file);
  unlink(path);
  CHECK(n > 0);
  EXPECT_HAS(text, "traced job");
}

int main() {
  CHECK_RUN(values_of_every_kind);
  CHECK_RUN(values_that_are_const_or_only_move);
  CHECK_RUN(callables_of_every_kind);
  CHECK_RUN(a_job_is_taken_once);
  CHECK_RUN(a_job_outlives_its_handle);
  CHECK_RUN(names_reach_the_thread);
  CHECK_RUN(an_exception_comes_out_as_it_went_in);
  CHECK_RUN(a_value_that_throws_when_it_is_moved);
  CHECK_RUN(an_exception_of_another_language);
  CHECK_RUN(take_throws_nothing);
  CHECK_RUN(waits);
  CHECK_RUN(waiting_for_oneself_is_refused);
  CHECK_RUN(a_cancelled_job_never_runs);
  CHECK_RUN(shutdown_cancels_what_is_queued);
  CHECK_RUN(deliver_takes_the_outcome);
  CHECK_RUN(deliver_of_a_cancelled_job_runs_where_it_is_cancelled);
  CHECK_RUN(a_deliver_that_throws_is_heard_and_survived);
  CHECK_RUN(start_soon_delivers_once_and_frees);
  CHECK_RUN(a_chain_needs_one_thread);
  CHECK_RUN(run_gives_and_throws);
  CHECK_RUN(run_in_time_or_not_at_all);
  CHECK_RUN(run_on_the_last_worker_is_a_deadlock);
  CHECK_RUN(many_of_any_range);
  CHECK_RUN(many_at_once);
  CHECK_RUN(what_a_callable_holds_goes_before_it_is_delivered);
  CHECK_RUN(references_to_one_cache);
  CHECK_RUN(the_end_of_a_cache_waits_for_nobody);
  CHECK_RUN(options_of_a_cache);
  CHECK_RUN(no_thread_to_be_had);
  CHECK_RUN(a_trace_records_the_jobs);
  return 0;
}

/* guests.cpp: an event loop in C++ as a guest: its ticks, its events and who destroys them, what its functions throw, stop and
 * abandon, and threads that the host starts itself. */
#include "loop.hpp"

#include <deque>
#include <set>

/* A small event loop: functions that any thread may post, and a script of deadlines. */
class tiny_loop : public selv::guest_loop {
 public:
  using posted = std::function<void()>;
  struct mail : events {
    explicit mail(std::deque<posted> l, std::atomic<int> &g) : list(std::move(l)), here(g) {}
    std::deque<posted> list;
    sentinel here;
  };

  tiny_loop() : host_(std::this_thread::get_id()) {}
  ~tiny_loop() override { ++gone; }

  std::optional<selv::timeout> prepare() override {
    at_home();
    prepares++;
    if (on_prepare) on_prepare();
    if (finished) return std::nullopt;
    return next;
  }
  std::unique_ptr<events> poll(selv::timeout limit) override {
    CHECK((std::this_thread::get_id() == host_) == (limit.ns() == 0));
    if (limit.ns() != 0) {
      ++polls;
      if (on_poll) on_poll();
    }
    std::unique_lock<std::mutex> g(mutex_);
    const auto ready = [this] { return interrupted_ || !posted_.empty(); };
    if (limit.ns() == SELV_FOREVER)
      changed_.wait(g, ready);
    else
      changed_.wait_for(g, std::chrono::nanoseconds(limit.ns()), ready);
    if (limit.ns() != 0) interrupted_ = false; /* it is kept for a poll on another thread */
    if (posted_.empty()) return nullptr;
    return std::make_unique<mail>(std::exchange(posted_, {}), mails_gone);
  }
  void process(std::unique_ptr<events> e) override {
    at_home();
    processes++;
    if (e == nullptr) return;
    for (const posted &f : static_cast<mail &>(*e).list) f();
  }
  void interrupt() override {
    const std::lock_guard<std::mutex> g(mutex_);
    interrupted_ = true;
    changed_.notify_all();
  }
  void done(selv::outcome<void> why) override {
    CHECK(!end);
    end.emplace(std::move(why));
    if (on_done) on_done();
  }

  /* Any thread. Its own poll sees it. */
  void post(posted f) {
    const std::lock_guard<std::mutex> g(mutex_);
    posted_.push_back(std::move(f));
    changed_.notify_all();
  }

  selv::timeout next = selv::forever; /* what prepare says */
  bool finished = false;
  posted on_prepare, on_poll, on_done;
  int prepares = 0, processes = 0;
  std::atomic<int> polls{0}, mails_gone{0};
  std::optional<selv::outcome<void>> end;
  static inline std::atomic<int> gone{0};

 private:
  void at_home() const { CHECK(std::this_thread::get_id() == host_); }
  std::thread::id host_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<posted> posted_;
  bool interrupted_ = false;
};

static std::shared_ptr<tiny_loop> a_loop() { return std::make_shared<tiny_loop>(); }

/* The host drains until the worker has begun to poll. */
static void drain_until_asleep(selv::host_loop &l, const tiny_loop &g, int polls = 1) {
  while (g.polls < polls) {
    if (is_due(l, 1)) l.drain();
  }
}

/* ---- the life of a run ---- */

static void a_run_from_its_start_to_its_end() {
  selv::host_loop l;
  const int gone = tiny_loop::gone;
  auto t = a_loop();
  std::vector<int> seen;
  t->post([&] { seen.push_back(1); });
  const selv::guest g(l, t, selv::guest_options().named("tiny"));
  CHECK(t->prepares == 0 && g.handle() != nullptr);
  DRAIN_UNTIL(l, seen.size() == 1);
  CHECK(t->polls == 0); /* there was work: no thread */
  drain_until_asleep(l, *t);
  t->post([&] {
    seen.push_back(2);
    t->finished = true;
  });
  DRAIN_UNTIL(l, t->end);
  CHECK(seen.size() == 2 && t->polls >= 1 && t->mails_gone == 2);
  CHECK(t->end->has_value() && t->end->status() == SELV_OK);
  t->end->get();
  CHECK(!g.interrupt() && !g.stop() && g.abandon());
  CHECK(t.use_count() == 1 && tiny_loop::gone == gone);
  l.close(); /* nobody lives in it */
}

static void deadlines_pass_and_zero_means_at_once() {
  selv::host_loop l;
  auto t = a_loop();
  t->on_prepare = [&] {
    t->next = t->prepares < 3 ? selv::timeout(1ms) : selv::no_wait;
    t->finished = t->prepares == 6;
  };
  const selv::guest g(l, t);
  DRAIN_UNTIL(l, t->end);
  CHECK(t->polls == 2 && t->prepares == 6 && t->processes == 5);
}

static void an_interrupt_wakes_it() {
  selv::host_loop l;
  auto t = a_loop();
  const selv::guest g(l, t);
  drain_until_asleep(l, *t);
  const int prepares = t->prepares;
  t->on_prepare = [&] { t->finished = true; };
  std::thread([&] { CHECK(g.interrupt()); }).join();
  DRAIN_UNTIL(l, t->end);
  CHECK(t->prepares == prepares + 1 && t->end->has_value());
}

static void the_run_outlives_its_handle() {
  selv::host_loop l("home");
  auto t = a_loop();
  std::optional<selv::guest> g(std::in_place, l, t);
  const selv::guest other = g->share();
  CHECK(other.handle() == g->handle());
  g.reset();
  drain_until_asleep(l, *t);
  EXPECT_HAS(EXPECT_ERROR(SELV_E_BUSY, l.close()).what(), "home");
  CHECK(other.stop());
  DRAIN_UNTIL(l, t->end);
  CHECK(selv::guest::adopt(selv::guest(l, a_loop()).let_go()).stop());
  while (l.stats().guests > 0) l.drain();
}

static void the_library_may_be_the_last_to_know_it() {
  selv::host_loop l;
  const int gone = tiny_loop::gone;
  {
    auto t = a_loop();
    t->finished = true;
    const selv::guest g(l, std::move(t));
  }
  CHECK(tiny_loop::gone == gone);
  while (l.stats().guests > 0) l.drain();
  CHECK(tiny_loop::gone == gone + 1);
}

static void refused_it_is_let_go_of() {
  selv::host_loop l;
  const int gone = tiny_loop::gone;
  EXPECT_ERROR(SELV_E_INVAL, selv::guest(l, a_loop(), selv::guest_options().named("\xff")));
  std::thread([&] { EXPECT_ERROR(SELV_E_WRONG_THREAD, selv::guest(l, a_loop())); }).join();
  l.close();
  EXPECT_ERROR(SELV_E_CLOSED, selv::guest(l, a_loop()));
  EXPECT_ERROR(SELV_E_NULL, selv::guest(l, nullptr));
  CHECK(tiny_loop::gone == gone + 3);
}

/* ---- the end ---- */

static void stop_is_told_to_done() {
  selv::host_loop l;
  auto t = a_loop();
  const selv::guest g(l, t, selv::guest_options().named("tiny"));
  drain_until_asleep(l, *t);
  std::thread([&] { CHECK(g.stop()); }).join();
  CHECK(!t->end);
  DRAIN_UNTIL(l, t->end);
  CHECK_STATUS(t->end->status(), SELV_E_CANCELLED);
  CHECK(!t->end->has_value());
  EXPECT_HAS(EXPECT_ERROR(SELV_E_CANCELLED, t->end->get()).what(), "tiny");
}

static void events_of_a_stopped_guest_are_destroyed() {
  selv::host_loop l;
  auto t = a_loop();
  const selv::guest g(l, t);
  drain_until_asleep(l, *t);
  t->post([] { check_fail(__FILE__, __LINE__, "processed after the stop"); });
  EXPECT_DUE(l); /* polled, and on their way to process */
  CHECK(g.stop() && t->mails_gone == 0);
  DRAIN_UNTIL(l, t->end);
  CHECK(t->mails_gone == 1);
}

static void abandon_ends_it_without_the_host() {
  selv::host_loop l;
  auto t = a_loop();
  const selv::guest g(l, t);
  drain_until_asleep(l, *t);
  std::thread([&] { CHECK(g.abandon()); }).join();
  CHECK(t->end.has_value());
  CHECK_STATUS(t->end->status(), SELV_E_CLOSED);
  CHECK(g.abandon() && !g.stop());
  l.close();
}

static void abandon_in_time_or_not() {
  selv::host_loop l;
  auto t = a_loop();
  gate asleep, wake;
  t->on_poll = [&] { asleep.open(), wake.wait(); }; /* deaf to interrupts */
  const selv::guest g(l, t);
  l.drain();
  asleep.wait();
  CHECK(!g.abandon(selv::no_wait) && !g.abandon(1ms) && !t->end);
  wake.open();
  CHECK(g.abandon());
  CHECK(t->end.has_value());
}

static void done_may_close_and_start_another() {
  selv::host_loop l;
  auto first = a_loop(), second = a_loop();
  first->finished = true;
  second->finished = true;
  std::optional<selv::guest> next;
  first->on_done = [&] { next.emplace(l, second); };
  second->on_done = [&] { l.close(); };
  const selv::guest g(l, first);
  DRAIN_UNTIL(l, second->end);
  CHECK(l.stats().closed == 1);
}

/* ---- exceptions ---- */

struct failure {
  int code;
};

static void check_failure(const tiny_loop &t, int code) {
  CHECK_STATUS(t.end->status(), selv::guest_threw);
  try {
    std::rethrow_exception(t.end->exception());
  } catch (const failure &f) {
    CHECK(f.code == code);
  }
}

static void what_a_function_throws_comes_to_done() {
  selv::host_loop l;
  auto t = a_loop();
  t->on_prepare = [] { throw failure{1}; };
  const selv::guest a(l, t);
  DRAIN_UNTIL(l, t->end);
  check_failure(*t, 1);

  t = a_loop();
  t->on_poll = [] { throw failure{2}; }; /* on a worker */
  const selv::guest b(l, t);
  DRAIN_UNTIL(l, t->end);
  check_failure(*t, 2);

  t = a_loop();
  t->post([] { throw failure{3}; }); /* in process, which destroys the events */
  const selv::guest c(l, t);
  DRAIN_UNTIL(l, t->end);
  check_failure(*t, 3);
  CHECK(t->mails_gone == 1);

  t = a_loop();
  t->on_prepare = [] { throw selv::error(SELV_E_IO, "no such device"); };
  const selv::guest d(l, t);
  DRAIN_UNTIL(l, t->end);
  CHECK_STATUS(t->end->status(), SELV_E_IO);
  EXPECT_HAS(EXPECT_ERROR(SELV_E_IO, t->end->get()).what(), "no such device");
}

static void what_done_throws_is_heard() {
  selv::host_loop l;
  auto t = a_loop();
  t->finished = true;
  t->on_done = [] { throw std::runtime_error("at the very end"); };
  const selv::guest g(l, t);
  listener ears;
  DRAIN_UNTIL(l, t->end);
  CHECK_STR(ears.only().c_str(), "an exception left the done of a guest: at the very end");
  CHECK(t.use_count() == 1);
}

static void a_poll_that_ends_its_thread() {
  selv::host_loop l;
  auto t = a_loop();
  t->on_poll = [] { pthread_exit(nullptr); };
  const selv::guest g(l, t);
  DRAIN_UNTIL(l, t->end);
  CHECK_STATUS(t->end->status(), SELV_E_BROKEN);
}

/* ---- the threads that poll ---- */

static void workers_of_a_cache_poll() {
  selv::host_loop l;
  selv::cache_options named;
  named.name = "pollers";
  selv::cache c(named);
  auto t = a_loop();
  std::string where;
  t->on_poll = [&] { where = selv::worker::current().name(); };
  t->next = 1ms;
  t->on_prepare = [&] { t->finished = t->prepares > 2; };
  const selv::guest g(l, t, selv::guest_options().polled_by(c));
  DRAIN_UNTIL(l, t->end);
  CHECK(t->end->has_value());
  EXPECT_HAS(where, "pollers");
}

/* Each thread is known elsewhere while it polls. */
static void threads_of_the_hosts_own_poll() {
  selv::host_loop l;
  std::mutex mutex;
  std::set<std::thread::id> registered;
  std::atomic<int> started{0}, ended{0};
  auto t = a_loop();
  t->next = 1ms;
  t->on_poll = [&] {
    const std::lock_guard<std::mutex> g(mutex);
    CHECK(registered.count(std::this_thread::get_id()) == 1);
  };
  t->on_prepare = [&] { t->finished = t->prepares == 4; };
  const selv::guest g(l, t, selv::guest_options().named("tiny").started_by([&](selv::polling p) {
    CHECK(p.name() == "tiny");
    ++started;
    std::thread([&, poll = std::move(p)]() mutable {
      {
        const std::lock_guard<std::mutex> hold(mutex);
        registered.insert(std::this_thread::get_id());
      }
      poll();
      EXPECT_ERROR(SELV_E_NULL, poll());
      EXPECT_ERROR(SELV_E_NULL, (void)poll.name());
      {
        const std::lock_guard<std::mutex> hold(mutex);
        registered.erase(std::this_thread::get_id());
      }
      ++ended;
    }).detach();
  }));
  DRAIN_UNTIL(l, t->end);
  CHECK(t->end->has_value() && started == 3);
  CHECK_EVENTUALLY(ended == 3);
}

static void a_start_soon_may_end_in_the_cache() {
  selv::host_loop l;
  selv::cache c;
  auto t = a_loop();
  int counted = 0;
  t->next = 1ms;
  t->on_prepare = [&] { t->finished = t->prepares == 3; };
  const selv::guest g(l, t, selv::guest_options().started_by([&, p = std::make_unique<int>(1)](selv::polling poll) {
    counted += *p;
    poll.start_on(c);
  }));
  DRAIN_UNTIL(l, t->end);
  CHECK(t->end->has_value() && counted == 2);
  CHECK_EQ_U64(c.stats().jobs_accepted, 2);
}

static void a_start_soon_may_refuse() {
  selv::host_loop l;
  auto t = a_loop();
  const selv::guest a(l, t, selv::guest_options().started_by([](selv::polling) { throw failure{9}; }));
  DRAIN_UNTIL(l, t->end);
  check_failure(*t, 9);
  CHECK(t->polls == 0);

  selv::cache gone;
  gone.shutdown();
  t = a_loop();
  const selv::guest b(l, t, selv::guest_options().started_by([&](selv::polling p) { p.start_on(gone); }));
  DRAIN_UNTIL(l, t->end);
  CHECK_STATUS(t->end->status(), SELV_E_CLOSED);
  CHECK(t->polls == 0);
}

/* It has passed the poll on, and then throws: the run ends with that, whatever becomes of the poll. */
static void a_start_soon_may_refuse_too_late() {
  for (int called = 0; called < 2; called++) {
    selv::host_loop l;
    auto t = a_loop();
    t->next = 1ms;
    std::thread elsewhere;
    const selv::guest g(l, t, selv::guest_options().started_by([&](selv::polling p) {
      elsewhere = std::thread([called, poll = std::move(p)]() mutable {
        if (called != 0) poll();
      });
      throw failure{9};
    }));
    DRAIN_UNTIL(l, t->end);
    elsewhere.join();
    check_failure(*t, 9);
  }
}

static void a_poll_that_is_let_go_of() {
  selv::host_loop l;
  auto t = a_loop();
  std::optional<selv::polling> kept;
  const selv::guest g(l, t, selv::guest_options().started_by([&](selv::polling p) { kept.emplace(std::move(p)); }));
  l.drain();
  CHECK(kept && !t->end);
  kept.reset();
  DRAIN_UNTIL(l, t->end);
  CHECK_STATUS(t->end->status(), SELV_E_BROKEN);

  t = a_loop();
  const selv::guest at_once(l, t, selv::guest_options().started_by([](selv::polling) {}));
  DRAIN_UNTIL(l, t->end);
  CHECK_STATUS(t->end->status(), SELV_E_BROKEN);
}

/* Posts and interrupts from many threads, while the guest sleeps and works in turn: nothing is lost. */
static void a_storm_of_interrupts() {
  const int rounds = static_cast<int>(check_scaled(500));
  selv::host_loop l;
  auto t = a_loop();
  int seen = 0;
  const selv::guest g(l, t);
  std::vector<std::thread> posters;
  for (int i = 0; i < 3; i++)
    posters.emplace_back([&] {
      for (int k = 0; k < rounds; k++) {
        t->post([&] { seen++; });
        CHECK(g.interrupt());
      }
    });
  DRAIN_UNTIL(l, seen == 3 * rounds);
  for (std::thread &p : posters) p.join();
  CHECK(g.stop());
  DRAIN_UNTIL(l, t->end);
}

int main() {
  CHECK_RUN(a_run_from_its_start_to_its_end);
  CHECK_RUN(deadlines_pass_and_zero_means_at_once);
  CHECK_RUN(an_interrupt_wakes_it);
  CHECK_RUN(the_run_outlives_its_handle);
  CHECK_RUN(the_library_may_be_the_last_to_know_it);
  CHECK_RUN(refused_it_is_let_go_of);
  CHECK_RUN(stop_is_told_to_done);
  CHECK_RUN(events_of_a_stopped_guest_are_destroyed);
  CHECK_RUN(abandon_ends_it_without_the_host);
  CHECK_RUN(abandon_in_time_or_not);
  CHECK_RUN(done_may_close_and_start_another);
  CHECK_RUN(what_a_function_throws_comes_to_done);
  CHECK_RUN(what_done_throws_is_heard);
  CHECK_RUN(a_poll_that_ends_its_thread);
  CHECK_RUN(workers_of_a_cache_poll);
  CHECK_RUN(threads_of_the_hosts_own_poll);
  CHECK_RUN(a_start_soon_may_end_in_the_cache);
  CHECK_RUN(a_start_soon_may_refuse);
  CHECK_RUN(a_start_soon_may_refuse_too_late);
  CHECK_RUN(a_poll_that_is_let_go_of);
  CHECK_RUN(a_storm_of_interrupts);
  return 0;
}

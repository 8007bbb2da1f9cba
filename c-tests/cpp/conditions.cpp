/* conditions.cpp: selv::condition under a std::unique_lock, with the functions of std::condition_variable; and what is left of
 * the guard when the lock does not come back. */
#include "expect.hpp"

static void wait_for_sleepers(const selv::condition &c, std::uint64_t n) { CHECK_EVENTUALLY(c.stats().waiting == n); }

static void a_queue_between_threads() {
  selv::lock l("queue");
  selv::condition filled(l, "filled");
  std::vector<int> queue;
  const int items = static_cast<int>(check_scaled(500));
  long long sum = 0;
  std::vector<std::unique_ptr<tasked>> consumers;
  for (int i = 0; i < 3; i++)
    consumers.push_back(std::make_unique<tasked>("consumer", [&] {
      for (;;) {
        std::unique_lock<selv::lock> g(l);
        filled.wait(g, [&] { return !queue.empty(); });
        CHECK(g.owns_lock() && l.owner() == selv::current_task());
        const int item = queue.back();
        queue.pop_back();
        if (item < 0) return;
        sum += item;
      }
    }));
  for (int i = 0; i < items + 3; i++) {
    const std::lock_guard<selv::lock> g(l);
    queue.insert(queue.begin(), i < items ? i : -1);
    filled.notify_one();
  }
  for (auto &t : consumers) t->join();
  CHECK(sum == static_cast<long long>(items) * (items - 1) / 2);
}

static void notify_wakes_as_many_as_asked() {
  selv::lock l;
  selv::condition c(l);
  gate woken;
  std::vector<std::unique_ptr<tasked>> sleepers;
  for (int i = 0; i < 4; i++)
    sleepers.push_back(std::make_unique<tasked>("sleeper", [&] {
      std::unique_lock<selv::lock> g(l);
      c.wait(g);
      woken.open();
    }));
  wait_for_sleepers(c, 4);
  const auto with_lock = [&](auto f) {
    const std::lock_guard<selv::lock> g(l);
    f();
  };
  with_lock([&] { c.notify_one(); });
  woken.wait(1);
  wait_for_sleepers(c, 3);
  with_lock([&] { c.notify(2); });
  woken.wait(3);
  wait_for_sleepers(c, 1);
  with_lock([&] { c.notify_all(); });
  for (auto &t : sleepers) t->join();
  CHECK_EQ_U64(woken.count(), 4);
}

static void times() {
  selv::lock l;
  selv::condition c(l);
  std::unique_lock<selv::lock> g(l);
  const auto steady = [] { return std::chrono::steady_clock::now(); };
  auto began = steady();
  CHECK(c.wait_for(g, 10ms) == std::cv_status::timeout);
  CHECK(c.wait_until(g, steady() + 10ms) == std::cv_status::timeout);
  CHECK(c.wait_until(g, std::chrono::system_clock::now() + 10ms) == std::cv_status::timeout);
  CHECK(steady() - began >= 30ms);
  began = steady();
  int asked = 0;
  CHECK(!c.wait_for(g, 10ms, [&] { return ++asked == 0; }));
  CHECK(asked == 2); /* before the wait and after it */
  CHECK(steady() - began >= 10ms);
  CHECK(c.wait_for(g, 10ms, [&] { return ++asked == 4; })); /* came true with the time */
  CHECK(!c.wait_until(g, steady() + 10ms, [] { return false; }));
  CHECK(c.wait_until(g, steady() - 1h, [] { return true; }));
  c.wait(g, [] { return true; });
  CHECK(g.owns_lock());
  CHECK_EQ_U64(l.owner(), selv::current_task());
}

static void a_notified_wait_is_no_timeout() {
  selv::lock l;
  selv::condition c(l);
  bool ready = false;
  tasked waiter("waiter", [&] {
    std::unique_lock<selv::lock> g(l);
    CHECK(c.wait_for(g, 1h) == std::cv_status::no_timeout);
    CHECK(c.wait_for(g, 1h, [&] { return ready; }));
    CHECK(c.wait_until(g, std::chrono::system_clock::now() + 1h, [&] { return ready; }));
  });
  wait_for_sleepers(c, 1);
  {
    const std::lock_guard<selv::lock> g(l);
    c.notify_one();
  }
  CHECK_EVENTUALLY(c.stats().waits == 2 && c.stats().waiting == 1);
  {
    const std::lock_guard<selv::lock> g(l);
    ready = true;
    c.notify_all();
  }
  waiter.join();
}

static void misuse() {
  selv::lock l("own"), other("other");
  selv::condition c(l);
  std::unique_lock<selv::lock> unheld(l, std::defer_lock);
  EXPECT_ERROR(SELV_E_NOT_OWNER, c.wait(unheld));
  EXPECT_ERROR(SELV_E_NOT_OWNER, c.notify_one());
  EXPECT_ERROR(SELV_E_NOT_OWNER, c.notify_all());
  std::unique_lock<selv::lock> foreign(other);
  EXPECT_ERROR(SELV_E_NOT_OWNER, c.wait(foreign));
  CHECK(foreign.owns_lock());
  /* A call that never waits leaves the guard as it was. */
  const selv::condition moved = std::move(c);
  unheld.lock();
  EXPECT_ERROR(SELV_E_NULL, c.wait(unheld));
  CHECK(unheld.owns_lock());
  CHECK_EQ_U64(l.owner(), selv::current_task());
}

/* Who is refused a wait has let go of nothing, and the guard goes on holding the lock for the task that it is of. */
static void a_refused_wait_changes_nothing() {
  selv::lock l("own");
  selv::condition c(l);
  selv::task gone("gone");
  {
    std::unique_lock<selv::lock> g(l);
    const selv_task owner = selv::current_task();
    {
      const selv::task other("other");
      const selv::task_scope scope(other);
      EXPECT_ERROR(SELV_E_NOT_OWNER, c.wait(g));
      EXPECT_ERROR(SELV_E_NOT_OWNER, (void)c.wait_for(g, 1ms));
      EXPECT_ERROR(SELV_E_NOT_OWNER, (void)c.wait_until(g, std::chrono::system_clock::now() + 1h, [] { return false; }));
      CHECK(g.owns_lock());
    }
    {
      const selv::task_scope scope(gone);
      gone.exit();
      EXPECT_ERROR(SELV_E_STALE, c.wait(g));
      CHECK(g.owns_lock());
    }
    c.close();
    EXPECT_ERROR(SELV_E_CLOSED, c.wait(g));
    CHECK(g.owns_lock());
    CHECK_EQ_U64(l.owner(), owner);
  }
  CHECK_EQ_U64(l.owner(), 0);

  selv::lock doubtful("ledger", SELV_LOCK_ROBUST);
  selv::condition changed(doubtful);
  tasked("Ann", [&] { (void)doubtful.acquire(); }).join();
  CHECK(doubtful.acquire() == selv::acquired::owner_died);
  std::unique_lock<selv::lock> g(doubtful, std::adopt_lock);
  EXPECT_ERROR(SELV_E_INVAL, changed.wait(g)); /* the data first */
  CHECK(g.owns_lock());
  doubtful.make_consistent();
}

/* What ends a wait that has begun is told by who has the lock then. */
static void a_guard_whose_task_exits_while_it_waits() {
  selv::lock l("own");
  selv::condition c(l);
  selv::task waiter("waiter");
  std::thread waits([&] {
    const selv::task_scope scope(waiter);
    std::unique_lock<selv::lock> g(l);
    EXPECT_ERROR(SELV_E_CANCELLED, c.wait(g));
    CHECK(!g.owns_lock());
  });
  wait_for_sleepers(c, 1);
  waiter.exit();
  waits.join();
  CHECK_EQ_U64(l.owner(), 0);
}

static void a_guard_whose_lock_broke_holds_nothing() {
  selv::lock l("ledger");
  selv::condition c(l, "changed");
  tasked sleeper("sleeper", [&] {
    std::unique_lock<selv::lock> g(l);
    const selv::error e = EXPECT_ERROR(SELV_E_BROKEN, c.wait(g));
    EXPECT_HAS(e.what(), "Ann");
    CHECK(!g.owns_lock() && g.mutex() == &l);
  });
  wait_for_sleepers(c, 1);
  tasked("Ann", [&] { (void)l.acquire(); }).join();
  sleeper.join();
}

static void a_robust_lock_comes_back_in_the_exception() {
  selv::lock l("ledger", SELV_LOCK_ROBUST);
  selv::condition c(l, "changed");
  tasked sleeper("sleeper", [&] {
    std::unique_lock<selv::lock> g(l);
    try {
      c.wait(g);
      CHECK(false);
    } catch (const selv::owner_died &died) {
      CHECK(!g.owns_lock());
      g = died.take();
      CHECK(g.owns_lock());
      l.make_consistent();
    }
  });
  wait_for_sleepers(c, 1);
  tasked("Ann", [&] {
    (void)l.acquire();
    c.notify_all();
  }).join(); /* ends with it */
  sleeper.join();
  const std::lock_guard<selv::lock> g(l);
}

static void interrupted_and_closed_waits_hold_the_lock() {
  selv::lock l;
  selv::condition c(l);
  const auto sleeps = [&](selv_status wanted) {
    return [&, wanted] {
      std::unique_lock<selv::lock> g(l);
      EXPECT_ERROR(wanted, c.wait(g));
      CHECK(g.owns_lock());
      CHECK_EQ_U64(l.owner(), selv::current_task());
    };
  };
  tasked first("first", sleeps(SELV_E_CANCELLED));
  wait_for_sleepers(c, 1);
  selv::interrupt(first.id());
  first.join();
  tasked second("second", sleeps(SELV_E_CLOSED));
  wait_for_sleepers(c, 1);
  c.close();
  second.join();
  CHECK_EQ_U64(l.owner(), 0);
}

static void an_asynchronous_wait_says_whether_it_holds() {
  selv::lock l;
  selv::condition c(l);
  selv::task a("a"), b("b");
  gate done;
  CHECK(l.acquire(a.id()) == selv::acquired::clean);
  const selv::op waiting = c.wait_async(
      [&](selv::completed how) {
        CHECK(how.ok() && how.holds_lock() && !how.owner_died());
        CHECK_EQ_U64(l.owner(), a.id());
        l.release(a.id());
        done.open();
      },
      a.id());
  CHECK(waiting.pending() && waiting.id() != 0);
  CHECK_EQ_U64(l.owner(), 0);
  CHECK(l.acquire(b.id()) == selv::acquired::clean);
  c.notify(1, b.id());
  CHECK_EQ_U64(done.count(), 0); /* the lock is not free yet */
  l.release(b.id());
  done.wait();
  CHECK_EQ_U64(l.owner(), 0);
}

int main() {
  CHECK_RUN(a_queue_between_threads);
  CHECK_RUN(notify_wakes_as_many_as_asked);
  CHECK_RUN(times);
  CHECK_RUN(a_notified_wait_is_no_timeout);
  CHECK_RUN(misuse);
  CHECK_RUN(a_refused_wait_changes_nothing);
  CHECK_RUN(a_guard_whose_task_exits_while_it_waits);
  CHECK_RUN(a_guard_whose_lock_broke_holds_nothing);
  CHECK_RUN(a_robust_lock_comes_back_in_the_exception);
  CHECK_RUN(interrupted_and_closed_waits_hold_the_lock);
  CHECK_RUN(an_asynchronous_wait_says_whether_it_holds);
  return 0;
}

/* locks.cpp: selv::lock under the standard's guards and with its answers as values: times, two at once, recursion, rings,
 * owners that end, and robust locks, whose data somebody has to look at first. */
#include "expect.hpp"

static void wait_for_waiters(const selv::lock &l, std::uint64_t n) { CHECK_EVENTUALLY(l.stats().waiting == n); }
/* One waits, and has looked whether it closes a ring. */
static void wait_for_sleeper(const selv::lock &l, const pid_t &thread) {
  CHECK_EVENTUALLY(l.stats().waiting == 1 && check_sleeps(&thread));
}

/* A thread that holds a lock until it is told to let go. */
class holder {
 public:
  explicit holder(selv::lock &l, const char *name = "holder")
      : thread_(name, [this, &l] {
          const std::lock_guard<selv::lock> g(l);
          held_.open();
          go_.wait();
        }) {
    held_.wait();
  }
  void end() {
    go_.open();
    thread_.join();
  }
  selv_task id() const { return thread_.id(); }

 private:
  gate held_, go_;
  tasked thread_;
};

/* ---- the standard's guards ---- */

static void guards_count_right() {
  selv::lock l("counter");
  std::uint64_t count = 0;
  const std::uint64_t each = check_scaled(2000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&] {
      for (std::uint64_t i = 0; i < each; i++) {
        const std::lock_guard<selv::lock> g(l);
        count++;
      }
    });
  for (std::thread &t : threads) t.join();
  CHECK_EQ_U64(count, 4 * each);
  CHECK_EQ_U64(l.owner(), 0);
}

static void unique_lock_deferred_tried_and_adopted() {
  selv::lock l;
  std::unique_lock<selv::lock> deferred(l, std::defer_lock);
  CHECK(!deferred.owns_lock() && l.owner() == 0);
  CHECK(deferred.try_lock());
  CHECK_EQ_U64(l.owner(), selv::current_task());
  deferred.unlock();
  deferred.lock();
  deferred.release()->unlock();
  CHECK_EQ_U64(l.owner(), 0);
  holder other(l);
  const std::unique_lock<selv::lock> tried(l, std::try_to_lock);
  CHECK(!tried.owns_lock());
  CHECK_EQ_U64(l.owner(), other.id());
  other.end();
  l.lock();
  { const std::lock_guard<selv::lock> adopted(l, std::adopt_lock); }
  CHECK_EQ_U64(l.owner(), 0);
}

static void unique_lock_in_time() {
  selv::lock l;
  {
    const std::unique_lock<selv::lock> at_once(l, 1h);
    CHECK(at_once.owns_lock());
  }
  holder other(l);
  const auto began = std::chrono::steady_clock::now();
  const std::unique_lock<selv::lock> late(l, 20ms);
  CHECK(!late.owns_lock());
  CHECK(std::chrono::steady_clock::now() - began >= 20ms);
  const std::unique_lock<selv::lock> later(l, std::chrono::system_clock::now() + 20ms);
  CHECK(!later.owns_lock());
  const std::unique_lock<selv::lock> past(l, std::chrono::steady_clock::now() - 1h);
  CHECK(!past.owns_lock());
  CHECK(!l.try_lock_for(-1s) && !l.try_lock_for(0s) && !l.try_lock());
  CHECK_EQ_U64(l.stats().timeouts >= 2, 1);
  other.end();
  CHECK(l.try_lock_until(std::chrono::steady_clock::now() + 1h));
  l.unlock();
}

/* A clock whose times lie before its epoch, as those of std::chrono::file_clock do. */
struct before_its_epoch {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<before_its_epoch>;
  static constexpr bool is_steady = true;
  static time_point now() { return time_point(std::chrono::steady_clock::now().time_since_epoch() - 24h * 365 * 200); }
};

static void a_deadline_of_any_clock() {
  selv::lock l;
  holder other(l);
  CHECK(!l.try_lock_until(std::chrono::system_clock::time_point::min()));
  CHECK(!l.try_lock_until(before_its_epoch::time_point::min()));
  CHECK(!l.try_lock_until(std::chrono::time_point<before_its_epoch, std::chrono::hours>::min()));
  const auto began = std::chrono::steady_clock::now();
  CHECK(!l.try_lock_until(before_its_epoch::now() + 20ms));
  CHECK(std::chrono::steady_clock::now() - began >= 20ms);
  std::vector<std::unique_ptr<tasked>> patient;
  const auto waits_until = [&](auto deadline) {
    patient.push_back(std::make_unique<tasked>("patient", [&l, deadline] {
      const std::unique_lock<selv::lock> g(l, deadline);
      CHECK(g.owns_lock());
    }));
  };
  waits_until(std::chrono::steady_clock::time_point::max());
  waits_until(before_its_epoch::time_point::max()); /* less a time before the epoch: more than fits */
  waits_until(std::chrono::time_point<std::chrono::system_clock, std::chrono::hours>::max());
  wait_for_waiters(l, patient.size());
  other.end();
  for (auto &t : patient) t->join();
}

static void a_timed_wait_that_is_granted() {
  selv::lock l;
  holder other(l);
  tasked waiter("waiter", [&] {
    CHECK(l.try_lock_until(std::chrono::system_clock::now() + 1h));
    l.unlock();
  });
  wait_for_waiters(l, 1);
  other.end();
  waiter.join();
}

static void two_locks_at_once_in_any_order() {
  selv::lock a("a"), b("b");
  std::uint64_t count = 0;
  const std::uint64_t each = check_scaled(1000);
  const auto work = [&](selv::lock &first, selv::lock &second) {
    for (std::uint64_t i = 0; i < each; i++) {
      const std::scoped_lock both(first, second);
      count++;
    }
  };
  std::thread one([&] { work(a, b); }), two([&] { work(b, a); }), three([&] { work(a, b); });
  one.join();
  two.join();
  three.join();
  CHECK_EQ_U64(count, 3 * each);
  CHECK_EQ_U64(a.stats().deadlocks + b.stats().deadlocks, 0);
}

static void scoped_lock_lets_go_when_the_second_throws() {
  selv::lock a("a"), b("b");
  b.close();
  EXPECT_ERROR(SELV_E_CLOSED, const std::scoped_lock both(a, b));
  CHECK_EQ_U64(a.owner(), 0);
  EXPECT_ERROR(SELV_E_CLOSED, const std::scoped_lock both(b, a));
  CHECK_EQ_U64(a.owner(), 0);
}

static void with_a_std_mutex_and_a_std_condition() {
  selv::lock l;
  std::mutex m;
  { const std::scoped_lock both(l, m); }
  std::condition_variable_any changed;
  bool ready = false;
  tasked waiter("waiter", [&] {
    std::unique_lock<selv::lock> g(l);
    changed.wait(g, [&] { return ready; });
    CHECK_EQ_U64(l.owner(), selv::current_task());
    CHECK(!changed.wait_for(g, 1ms, [] { return false; }));
  });
  {
    const std::lock_guard<selv::lock> g(l);
    ready = true;
  }
  changed.notify_all();
  waiter.join();
}

/* ---- owners ---- */

static void the_owner_asks_again() {
  selv::lock l("plain");
  const std::lock_guard<selv::lock> g(l);
  EXPECT_ERROR(SELV_E_DEADLOCK, l.lock());
  EXPECT_ERROR(SELV_E_DEADLOCK, (void)l.try_lock());
  EXPECT_ERROR(SELV_E_DEADLOCK, (void)l.try_lock_for(1ms));
  CHECK_EQ_U64(l.owner(), selv::current_task());
}

static void a_recursive_lock_counts() {
  selv::lock l("recursive", SELV_LOCK_RECURSIVE);
  const std::lock_guard<selv::lock> outer(l);
  {
    const std::lock_guard<selv::lock> inner(l);
    CHECK(l.try_lock());
    CHECK_EQ_U64(l.stats().depth, 3);
    l.unlock();
  }
  CHECK_EQ_U64(l.stats().depth, 1);
}

static void release_by_another_throws_and_unlock_tells() {
  selv::lock l("theirs");
  holder other(l, "them");
  EXPECT_ERROR(SELV_E_NOT_OWNER, l.release());
  {
    listener ears;
    l.unlock();
    EXPECT_HAS(ears.only(), "a selv::lock could not be unlocked: SELV_E_NOT_OWNER");
  }
  CHECK_EQ_U64(l.owner(), other.id());
  other.end();
}

/* The guard outlives the task that took the lock: its end must not end the process, and whoever comes later is told. */
static void a_guard_whose_task_is_gone() {
  selv::lock l("orphan");
  listener ears;
  {
    std::unique_lock<selv::lock> g(l, std::defer_lock);
    selv::task task("short-lived");
    {
      const selv::task_scope scope(task);
      g.lock();
    }
    task.exit();
  }
  EXPECT_HAS(ears.only(), "a selv::lock could not be unlocked: ");
  EXPECT_ERROR(SELV_E_BROKEN, l.lock());
}

static void for_a_task_by_number() {
  selv::lock l;
  selv::task a("a"), b("b");
  CHECK(l.acquire(a.id()) == selv::acquired::clean);
  CHECK_EQ_U64(l.owner(), a.id());
  CHECK(!l.try_acquire(b.id()));
  CHECK(!l.try_acquire_for(1ms, b.id()));
  EXPECT_ERROR(SELV_E_NOT_OWNER, l.release(b.id()));
  l.release(a.id());
  CHECK(l.try_acquire(b.id()) == selv::acquired::clean);
  l.release(b.id());
  EXPECT_ERROR(SELV_E_INVAL, (void)l.acquire(0));
  const selv_task gone = a.id();
  a.exit();
  EXPECT_ERROR(SELV_E_STALE, (void)l.acquire(gone));
}

/* ---- rings ---- */

static void a_ring_of_two_is_refused_by_name() {
  selv::lock first("first"), second("second");
  gate both;
  pid_t ann_is = 0;
  tasked ann("Ann", [&] {
    const std::lock_guard<selv::lock> g(first);
    both.open();
    both.wait(2);
    check_is_here(&ann_is);
    const std::lock_guard<selv::lock> h(second);
  });
  tasked bob("Bob", [&] {
    const std::lock_guard<selv::lock> g(second);
    both.open();
    both.wait(2);
    wait_for_sleeper(second, ann_is); /* Ann waits: Bob would close the ring */
    const selv::error e = EXPECT_ERROR(SELV_E_DEADLOCK, const std::lock_guard<selv::lock> h(first));
    for (const char *name : {"Ann", "Bob", "first", "second"}) EXPECT_HAS(e.what(), name);
  });
  bob.join();
  ann.join(); /* got the second lock when Bob let go of it */
  CHECK_EQ_U64(first.stats().deadlocks, 1);
}

static void a_ring_of_jobs_comes_out_of_the_job() {
  selv::cache c;
  selv::lock first("first"), second("second");
  gate both;
  pid_t one_is = 0;
  auto one = c.submit([&] {
    const std::lock_guard<selv::lock> g(first);
    both.open();
    both.wait(2);
    check_is_here(&one_is);
    const std::lock_guard<selv::lock> h(second);
  });
  auto two = c.submit([&] {
    const std::lock_guard<selv::lock> g(second);
    both.open();
    both.wait(2);
    wait_for_sleeper(second, one_is);
    const std::lock_guard<selv::lock> h(first);
  });
  const selv::error e = EXPECT_ERROR(SELV_E_DEADLOCK, two.get());
  EXPECT_HAS(e.what(), "lock 'first'");
  one.get();
}

/* ---- owners that end ---- */

/* Leaves `l` held by a task that has ended. */
static void orphan(selv::lock &l, const char *owner) {
  tasked(owner, [&] { (void)l.acquire(); }).join();
}

static void a_broken_lock_names_its_owner() {
  selv::lock l("ledger");
  orphan(l, "Ann");
  const selv::error e = EXPECT_ERROR(SELV_E_BROKEN, const std::lock_guard<selv::lock> g(l));
  EXPECT_HAS(e.what(), "ledger");
  EXPECT_HAS(e.what(), "Ann");
  EXPECT_ERROR(SELV_E_BROKEN, (void)l.try_lock());
  EXPECT_ERROR(SELV_E_BROKEN, (void)l.try_lock_for(1s));
  EXPECT_ERROR(SELV_E_BROKEN, (void)l.acquire());
  EXPECT_ERROR(SELV_E_BROKEN, const std::unique_lock<selv::lock> g(l, std::try_to_lock));
  CHECK_EQ_U64(l.owner(), 0);
}

static void waiters_are_told_at_once() {
  selv::lock l("ledger");
  gate held, go;
  tasked owner("Ann", [&] {
    (void)l.acquire();
    held.open();
    go.wait();
  });
  held.wait();
  tasked blocking("blocking", [&] { EXPECT_ERROR(SELV_E_BROKEN, l.lock()); });
  tasked timed("timed", [&] { EXPECT_ERROR(SELV_E_BROKEN, (void)l.try_lock_for(1h)); });
  wait_for_waiters(l, 2);
  go.open();
  owner.join();
  blocking.join();
  timed.join();
}

static void a_job_that_returns_while_holding() {
  selv::cache c;
  selv::lock l("ledger");
  c.submit([&] { (void)l.acquire(); }).get();
  EXPECT_ERROR(SELV_E_BROKEN, l.lock());
}

static void repair_brings_it_back() {
  selv::lock l("ledger");
  EXPECT_ERROR(SELV_E_INVAL, (void)l.repair()); /* nothing is broken */
  orphan(l, "Ann");
  {
    const std::unique_lock<selv::lock> g = l.repair();
    CHECK(g.owns_lock());
    CHECK_EQ_U64(l.owner(), selv::current_task());
  }
  { const std::lock_guard<selv::lock> g(l); }
  orphan(l, "Bob");
  selv::task medic("medic");
  l.repair(medic.id());
  CHECK_EQ_U64(l.owner(), medic.id());
  l.release(medic.id());
}

/* ---- robust locks ---- */

static void a_guard_never_gets_doubtful_data() {
  selv::lock l("ledger", SELV_LOCK_ROBUST);
  orphan(l, "Ann");
  bool worked_on_it = false;
  try {
    const std::lock_guard<selv::lock> g(l);
    worked_on_it = true;
  } catch (const selv::owner_died &died) {
    CHECK_STATUS(died.status(), SELV_OWNER_DIED);
    CHECK_EQ_U64(l.owner(), selv::current_task()); /* the exception has it for us */
    const std::unique_lock<selv::lock> g = died.take();
    CHECK(g.owns_lock());
    CHECK(!died.take().owns_lock()); /* once */
    l.make_consistent();
  }
  CHECK(!worked_on_it);
  const std::lock_guard<selv::lock> g(l); /* as good as new */
}

/* The handler of a selv::owner_died that comes out of attempt(). */
template <class Attempt, class Handler>
static void when_the_owner_died(Attempt attempt, Handler handler) {
  try {
    attempt();
  } catch (const selv::owner_died &died) {
    return handler(died);
  }
  check_fail(__FILE__, __LINE__, "the lock's owner did not die");
}

static void it_names_the_lock_and_who_died() {
  selv::lock l("ledger", SELV_LOCK_ROBUST);
  orphan(l, "Ann");
  EXPECT_ERROR(SELV_E_NOT_OWNER, l.release()); /* an older sentence */
  when_the_owner_died([&] { l.lock(); },
                      [&](const selv::owner_died &died) {
                        EXPECT_HAS(died.what(), "SELV_OWNER_DIED: ");
                        EXPECT_HAS(died.detail(), "ledger");
                        EXPECT_HAS(died.detail(), "Ann");
                        const std::unique_lock<selv::lock> g = died.take();
                        l.make_consistent();
                      });
}

/* Unwinding destroys the lock that the exception holds: it is left, released and freed when the exception goes. */
static void the_lock_may_end_while_the_exception_flies() {
  gate sent_away;
  selv::task later("later");
  selv_lock *handle = nullptr;
  const auto work = [&] {
    const auto l = std::make_unique<selv::lock>("ledger", SELV_LOCK_ROBUST);
    handle = l->handle();
    orphan(*l, "Ann");
    const auto lock_all = [&] {
      const std::lock_guard<selv::lock> g(*l);
      check_fail(__FILE__, __LINE__, "a guard got doubtful data");
    };
    try {
      lock_all();
    } catch (...) {
      const selv::op op = l->acquire_async(
          [&](selv::completed c) {
            CHECK_STATUS(c.status(), SELV_E_CLOSED);
            sent_away.open();
          },
          later.id());
      CHECK(op.pending());
      throw;
    }
  };
  std::exception_ptr kept;
  when_the_owner_died(work, [&](const selv::owner_died &died) {
    sent_away.wait();
    EXPECT_HAS(EXPECT_ERROR(SELV_E_STALE, (void)died.take()).what(), "gone");
    CHECK_EQ_U64(selv_lock_owner(handle), selv::current_task());
    kept = std::current_exception();
  });
  CHECK_EQ_U64(selv_lock_owner(handle), selv::current_task());
  CHECK(selv::wait_graph().find("ledger") != std::string::npos);
  kept = nullptr;
  CHECK(selv::wait_graph(selv::graph::json).find("ledger") == std::string::npos); /* nothing is left */
}

static void the_lock_may_move_while_the_exception_flies() {
  const auto lock_all = [](std::vector<selv::lock> &locks) {
    const std::lock_guard<selv::lock> g(locks.front());
    check_fail(__FILE__, __LINE__, "a guard got doubtful data");
  };
  std::vector<selv::lock> locks;
  const auto a_dead_owner = [&] {
    locks.clear();
    locks.emplace_back("ledger", SELV_LOCK_ROBUST);
    locks.shrink_to_fit();
    orphan(locks.front(), "Ann");
  };
  a_dead_owner();
  when_the_owner_died([&] { lock_all(locks); },
                      [&](const selv::owner_died &died) {
                        const selv::lock *const before = &locks.front();
                        locks.emplace_back("another");
                        CHECK(&locks.front() != before);
                        const std::unique_lock<selv::lock> g = died.take();
                        CHECK(g.owns_lock() && g.mutex() == &locks.front());
                        locks.front().make_consistent();
                      });
  CHECK_EQ_U64(locks.front().owner(), 0);
  a_dead_owner();
  when_the_owner_died([&] { lock_all(locks); },
                      [&](const selv::owner_died &) { /* which nobody takes */
                        selv::lock other;
                        std::swap(other, locks.front());
                        locks.push_back(std::move(other));
                      });
  CHECK_EQ_U64(locks.back().owner(), 0);
  EXPECT_ERROR(SELV_E_NOT_RECOVERABLE, locks.back().lock());
  locks.front().lock(); /* the other one */
  locks.front().unlock();
}

/* The lock belongs to the task that got it. Nobody else's guard may claim it, and the try changes nothing. */
static void only_the_task_that_got_it_takes_it() {
  selv::lock l("ledger", SELV_LOCK_ROBUST);
  orphan(l, "Ann");
  when_the_owner_died([&] { l.lock(); },
                      [&](const selv::owner_died &died) {
                        const selv_task heir = selv::current_task();
                        tasked("other", [&] {
                          const selv::error e = EXPECT_ERROR(SELV_E_NOT_OWNER, (void)died.take());
                          EXPECT_HAS(e.what(), "not the current task's");
                        }).join();
                        {
                          const selv::task coroutine("coroutine");
                          const selv::task_scope scope(coroutine);
                          EXPECT_ERROR(SELV_E_NOT_OWNER, (void)died.take());
                        }
                        CHECK_EQ_U64(l.owner(), heir);
                        const std::unique_lock<selv::lock> g = died.take();
                        CHECK(g.owns_lock());
                        l.make_consistent();
                      });
  const std::lock_guard<selv::lock> g(l);
}

/* Not even if it is still the current one. */
static void nor_does_a_task_that_has_exited() {
  selv::lock l("ledger", SELV_LOCK_ROBUST);
  orphan(l, "Ann");
  selv::task heir("heir");
  std::optional<selv::task_scope> scope(std::in_place, heir);
  when_the_owner_died([&] { l.lock(); },
                      [&](const selv::owner_died &died) {
                        heir.exit();
                        EXPECT_ERROR(SELV_E_NOT_OWNER, (void)died.take());
                        scope.reset();
                        EXPECT_ERROR(SELV_E_NOT_OWNER, (void)died.take());
                        CHECK(l.acquire() == selv::acquired::owner_died);
                        EXPECT_ERROR(SELV_E_NOT_OWNER, (void)died.take()); /* this one is not its */
                      });
  CHECK_EQ_U64(l.owner(), selv::current_task()); /* nor was it released by the exception */
  l.make_consistent();
  l.release();
}

/* What an exception that outlives its task knows of the lock must not be used: it may have been freed since. */
static void the_exception_may_outlive_task_and_lock() {
  selv::cache c;
  std::optional<selv::lock> l(std::in_place, "ledger", SELV_LOCK_ROBUST);
  orphan(*l, "Ann");
  auto job = c.submit([&] { const std::lock_guard<selv::lock> g(*l); });
  const std::exception_ptr kept = job.take().exception();
  CHECK(kept != nullptr);
  l.reset();
  CHECK(selv::wait_graph(selv::graph::json).find("ledger") != std::string::npos); /* as long as somebody may ask for it */
  try {
    std::rethrow_exception(kept);
  } catch (const selv::owner_died &died) {
    EXPECT_ERROR(SELV_E_NOT_OWNER, (void)died.take());
  }
}

static void each_way_to_lock_hands_it_to_the_exception() {
  selv::lock l("ledger", SELV_LOCK_ROBUST);
  const auto expect_died = [&](auto attempt) {
    orphan(l, "Ann");
    try {
      attempt();
      CHECK(false);
    } catch (const selv::owner_died &died) {
      const std::unique_lock<selv::lock> g = died.take();
      l.make_consistent();
    }
    CHECK_EQ_U64(l.owner(), 0);
  };
  expect_died([&] { l.lock(); });
  expect_died([&] { (void)l.try_lock(); });
  expect_died([&] { (void)l.try_lock_for(1s); });
  expect_died([&] { (void)l.try_lock_until(std::chrono::system_clock::now() + 1s); });
  expect_died([&] { const std::unique_lock<selv::lock> g(l, std::try_to_lock); });
  expect_died([&] {
    selv::lock other;
    const std::scoped_lock both(other, l);
  });
}

static void nobody_looked_at_the_data() {
  selv::lock l("ledger", SELV_LOCK_ROBUST);
  orphan(l, "Ann");
  try {
    l.lock();
    CHECK(false);
  } catch (const std::exception &) {
    CHECK_EQ_U64(l.owner(), selv::current_task());
  }
  CHECK_EQ_U64(l.owner(), 0);
  EXPECT_ERROR(SELV_E_NOT_RECOVERABLE, l.lock());
  EXPECT_ERROR(SELV_E_NOT_RECOVERABLE, (void)l.try_lock());
}

/* It travels out of a job, whose task ends meanwhile and passes the lock on by itself. */
static void out_of_a_job_it_carries_nothing_any_more() {
  selv::cache c;
  selv::lock l("ledger", SELV_LOCK_ROBUST);
  orphan(l, "Ann");
  auto job = c.submit([&] { const std::lock_guard<selv::lock> g(l); });
  try {
    job.get();
    CHECK(false);
  } catch (const selv::owner_died &died) {
    EXPECT_ERROR(SELV_E_NOT_OWNER, (void)died.take());
    CHECK_EQ_U64(l.owner(), 0);
  }
  CHECK(l.acquire() == selv::acquired::owner_died); /* the job was its next owner, and ended */
  l.make_consistent();
  l.release();
}

static void the_answer_as_a_value() {
  selv::lock l("ledger", SELV_LOCK_ROBUST);
  EXPECT_ERROR(SELV_E_NOT_OWNER, l.make_consistent());
  orphan(l, "Ann");
  CHECK(l.acquire() == selv::acquired::owner_died);
  l.make_consistent();
  l.release();
  orphan(l, "Bob");
  CHECK(l.try_acquire() == selv::acquired::owner_died);
  l.make_consistent();
  l.release();
  orphan(l, "Eve");
  CHECK(l.try_acquire_for(1s) == selv::acquired::owner_died);
  l.release(); /* and not made consistent */
  EXPECT_ERROR(SELV_E_NOT_RECOVERABLE, (void)l.acquire());
}

/* ---- close and interrupt ---- */

static void close_sends_waiters_away() {
  selv::lock l("closing");
  holder owner(l);
  tasked waiter("waiter", [&] { EXPECT_ERROR(SELV_E_CLOSED, l.lock()); });
  wait_for_waiters(l, 1);
  l.close();
  waiter.join();
  EXPECT_ERROR(SELV_E_CLOSED, (void)l.try_lock());
  owner.end(); /* may still release */
  CHECK_EQ_U64(l.stats().closed, 1);
}

static void an_interrupted_wait_throws_cancelled() {
  selv::lock l("interrupted");
  holder owner(l);
  tasked waiter("waiter", [&] { EXPECT_ERROR(SELV_E_CANCELLED, l.lock()); });
  wait_for_waiters(l, 1);
  selv::interrupt(waiter.id());
  waiter.join();
  owner.end();
}

int main() {
  CHECK_RUN(guards_count_right);
  CHECK_RUN(unique_lock_deferred_tried_and_adopted);
  CHECK_RUN(unique_lock_in_time);
  CHECK_RUN(a_deadline_of_any_clock);
  CHECK_RUN(a_timed_wait_that_is_granted);
  CHECK_RUN(two_locks_at_once_in_any_order);
  CHECK_RUN(scoped_lock_lets_go_when_the_second_throws);
  CHECK_RUN(with_a_std_mutex_and_a_std_condition);
  CHECK_RUN(the_owner_asks_again);
  CHECK_RUN(a_recursive_lock_counts);
  CHECK_RUN(release_by_another_throws_and_unlock_tells);
  CHECK_RUN(a_guard_whose_task_is_gone);
  CHECK_RUN(for_a_task_by_number);
  CHECK_RUN(a_ring_of_two_is_refused_by_name);
  CHECK_RUN(a_ring_of_jobs_comes_out_of_the_job);
  CHECK_RUN(a_broken_lock_names_its_owner);
  CHECK_RUN(waiters_are_told_at_once);
  CHECK_RUN(a_job_that_returns_while_holding);
  CHECK_RUN(repair_brings_it_back);
  CHECK_RUN(a_guard_never_gets_doubtful_data);
  CHECK_RUN(it_names_the_lock_and_who_died);
  CHECK_RUN(the_lock_may_end_while_the_exception_flies);
  CHECK_RUN(the_lock_may_move_while_the_exception_flies);
  CHECK_RUN(only_the_task_that_got_it_takes_it);
  CHECK_RUN(nor_does_a_task_that_has_exited);
  CHECK_RUN(the_exception_may_outlive_task_and_lock);
  CHECK_RUN(each_way_to_lock_hands_it_to_the_exception);
  CHECK_RUN(nobody_looked_at_the_data);
  CHECK_RUN(out_of_a_job_it_carries_nothing_any_more);
  CHECK_RUN(the_answer_as_a_value);
  CHECK_RUN(close_sends_waiters_away);
  CHECK_RUN(an_interrupted_wait_throws_cancelled);
  return 0;
}

/* primitives.cpp: semaphore, limiter, event and parking lot, each with its ways to wait; and jobs that a limiter holds back. */
#include "expect.hpp"

/* ---- semaphore ---- */

static void a_semaphore_counts() {
  selv::semaphore s(2, 3, "permits");
  s.acquire();
  CHECK(s.try_acquire());
  CHECK(!s.try_acquire());
  CHECK(!s.try_acquire_for(1ms));
  CHECK(!s.try_acquire_until(std::chrono::system_clock::now() + 1ms));
  s.release(3);
  CHECK_EQ_U64(s.stats().permits, 3);
  const selv::error e = EXPECT_ERROR(SELV_E_OVERFLOW, s.release());
  EXPECT_HAS(e.what(), "permits");
  s.acquire(3);
  EXPECT_ERROR(SELV_E_INVAL, s.acquire(4));
  EXPECT_ERROR(SELV_E_INVAL, (void)s.try_acquire(0));
  CHECK_EQ_U64(s.stats().permits, 0);
}

static void a_semaphore_serves_in_order() {
  selv::semaphore s(0);
  gate first, second;
  tasked wants_two("two", [&] { s.acquire(2), first.open(); });
  CHECK_EVENTUALLY(s.stats().waiting == 1);
  tasked wants_one("one", [&] { CHECK(s.try_acquire_for(1h)), second.open(); });
  CHECK_EVENTUALLY(s.stats().waiting == 2);
  s.release();
  CHECK(!s.try_acquire()); /* not past those who wait */
  CHECK_EQ_U64(second.count(), 0);
  s.release();
  first.wait();
  s.release();
  second.wait();
  wants_two.join();
  wants_one.join();
  gate granted;
  const selv::op op = s.acquire_async([&](selv::completed c) { c.check(), granted.open(); }, 2);
  CHECK(op.pending());
  s.release(2);
  granted.wait();
}

static void a_closed_semaphore() {
  selv::semaphore s(0);
  tasked waiter("waiter", [&] { EXPECT_ERROR(SELV_E_CLOSED, s.acquire()); });
  CHECK_EVENTUALLY(s.stats().waiting == 1);
  s.close();
  waiter.join();
  EXPECT_ERROR(SELV_E_CLOSED, (void)s.try_acquire());
}

/* ---- limiter ---- */

static void a_limiter_lends_one_to_each() {
  selv::limiter l(1, "disk");
  selv::task a("a"), b("b");
  l.acquire(a.id());
  EXPECT_ERROR(SELV_E_DUPLICATE, l.acquire(a.id()));
  CHECK(!l.try_acquire(b.id()));
  CHECK(!l.try_acquire_for(1ms, b.id()));
  EXPECT_ERROR(SELV_E_NOT_OWNER, l.release(b.id()));
  l.set_total(2);
  CHECK(l.try_acquire(b.id()));
  CHECK_EQ_U64(l.stats().borrowed, 2);
  l.set_total(0);
  l.release(a.id());
  l.release(b.id());
  CHECK(!l.try_acquire(a.id()));
  EXPECT_ERROR(SELV_E_INVAL, const selv::limiter none(0));
}

static void a_token_for_a_scope() {
  selv::limiter l(1);
  {
    selv::limiter::token mine = l.borrow();
    CHECK_EQ_U64(l.stats().borrowed, 1);
    const selv::limiter::token moved = std::move(mine);
    CHECK_EQ_U64(l.stats().borrowed, 1);
  }
  CHECK_EQ_U64(l.stats().borrowed, 0);
  {
    selv::task a("a");
    std::optional<selv::limiter::token> kept;
    {
      const selv::task_scope scope(a);
      kept.emplace(l.borrow());
    }
    a.exit();
    CHECK_EQ_U64(l.stats().borrowed, 0); /* the task's end gave it back */
    listener ears;
    kept.reset();
    EXPECT_HAS(ears.only(), "a token could not be given back");
  }
}

static void a_borrower_that_is_no_task() {
  selv::limiter l(1);
  l.acquire_on_behalf_of(77);
  CHECK(!l.try_acquire_on_behalf_of(78));
  CHECK(!l.try_acquire_on_behalf_of_for(1ms, 78));
  EXPECT_ERROR(SELV_E_DUPLICATE, l.acquire_on_behalf_of(77));
  selv::task waiter("waiter");
  gate granted;
  const selv::op op = l.acquire_on_behalf_of_async([&](selv::completed c) { c.check(), granted.open(); }, 79, waiter.id());
  CHECK(op.pending());
  l.release_on_behalf_of(77);
  granted.wait();
  EXPECT_ERROR(SELV_E_NOT_OWNER, l.release_on_behalf_of(77));
  l.release_on_behalf_of(79);
}

static void an_asynchronous_token() {
  selv::limiter l(1);
  selv::task a("a"), b("b");
  l.acquire(a.id());
  gate granted;
  const selv::op op = l.acquire_async([&](selv::completed c) { c.check(), granted.open(); }, b.id());
  CHECK(op.pending());
  a.exit();
  granted.wait();
  l.release(b.id());
}

static void a_limiter_holds_jobs_back() {
  selv::cache c;
  selv::limiter l(2, "two at a time");
  std::atomic<int> inside{0}, most{0};
  std::vector<selv::job<void>> jobs;
  for (int i = 0; i < 20; i++)
    jobs.push_back(c.submit(
        [&] {
          const int now = ++inside;
          int seen = most;
          while (seen < now && !most.compare_exchange_weak(seen, now)) {
          }
          std::this_thread::yield();
          --inside;
          CHECK(now <= 2);
        },
        selv::job_options().limited_by(l)));
  for (auto &job : jobs) job.get();
  CHECK(most >= 1 && most <= 2);
  CHECK_EVENTUALLY(l.stats().borrowed == 0);
  c.shutdown();
}

static void a_limited_job_in_time_or_not_at_all() {
  selv::cache c;
  selv::limiter l(1, "taken");
  const selv::limiter::token mine = l.borrow();
  auto late = c.submit([] { check_fail(__FILE__, __LINE__, "it ran without a token"); }, selv::job_options().limited_by(l, 5ms));
  EXPECT_ERROR(SELV_E_TIMEDOUT, late.get());
  std::atomic<int> gone{0};
  EXPECT_ERROR(SELV_E_WOULD_BLOCK,
               (void)c.submit([s = sentinel(gone)] {}, selv::job_options().limited_by(l, selv::no_wait)));
  CHECK(gone == 1);
  c.shutdown();
}

/* A job that throws or is ended gives its token back like any other. */
static void a_token_comes_back_however_the_job_ends() {
  selv::cache c;
  selv::limiter l(1);
  const auto limited = [&] { return selv::job_options().limited_by(l); };
  try {
    c.submit([] { throw 5; }, limited()).get();
    CHECK(false);
  } catch (int) {
  }
  EXPECT_ERROR(SELV_E_BROKEN, c.submit([] { pthread_exit(nullptr); }, limited()).get());
  {
    selv::hook h = c.register_hook(selv::hook_options("failing").before_job([](selv::worker, void *) { throw 1; }));
    EXPECT_ERROR(SELV_E_HOOK_FAILED, c.submit([] {}, limited()).get());
  }
  c.submit([] {}, limited()).get();
  CHECK_EVENTUALLY(l.stats().borrowed == 0);
}

/* ---- event ---- */

static void an_event_stays_set() {
  selv::event e("started");
  CHECK(!e.is_set() && !e.wait_for(1ms));
  CHECK(!e.wait_until(std::chrono::system_clock::now() + 1ms));
  tasked waiter("waiter", [&] { e.wait(); });
  CHECK_EVENTUALLY(e.stats().waiting == 1);
  e.set();
  waiter.join();
  CHECK(e.is_set() && e.wait_for(0s));
  e.wait();
  EXPECT_ERROR(SELV_E_UNSUPPORTED, e.clear());
}

static void an_event_that_can_be_cleared() {
  selv::event e("gate", SELV_EVENT_RESETTABLE);
  gate woken;
  tasked waiter("waiter", [&] { CHECK(e.wait_for(1h)), woken.open(); });
  CHECK_EVENTUALLY(e.stats().waiting == 1);
  e.set();
  e.clear();
  woken.wait(); /* all the same */
  waiter.join();
  CHECK(!e.is_set());
  tasked other("other", [&] { EXPECT_ERROR(SELV_E_CLOSED, e.wait()); });
  CHECK_EVENTUALLY(e.stats().waiting == 1);
  e.close();
  other.join();
}

/* ---- parking lot ---- */

static void a_lot_parks_and_unparks() {
  selv::parking_lot lot("lot"), other("other");
  CHECK(!lot.park_for(1ms));
  CHECK_EQ_U64(lot.unpark(), 0);
  gate woken;
  std::vector<std::unique_ptr<tasked>> sleepers;
  for (int i = 0; i < 3; i++) {
    sleepers.push_back(std::make_unique<tasked>("sleeper", [&] { lot.park(), woken.open(); }));
    CHECK_EVENTUALLY(lot.stats().waiting == static_cast<std::uint64_t>(i) + 1);
  }
  const selv::op op = lot.park_async([&](selv::completed c) { c.check(), woken.open(); });
  CHECK(op.pending());
  CHECK_EQ_U64(lot.unpark(1), 1);
  woken.wait(1);
  CHECK_EQ_U64(lot.repark(other, 1), 1);
  CHECK_EQ_U64(other.stats().waiting, 1);
  CHECK_EQ_U64(lot.repark(other), 2);
  CHECK_EQ_U64(lot.stats().waiting, 0);
  CHECK_EQ_U64(other.unpark(), 3);
  for (auto &t : sleepers) t->join();
  woken.wait(4);
}

static void a_broken_lot() {
  selv::parking_lot lot("lot"), second("second");
  selv::task breaker("Ann");
  lot.add_breaker(breaker.id());
  lot.add_breaker(breaker.id());
  lot.remove_breaker(breaker.id());
  EXPECT_ERROR(SELV_E_NOT_OWNER, lot.remove_breaker());
  tasked sleeper("sleeper", [&] { EXPECT_ERROR(SELV_E_BROKEN, lot.park()); });
  CHECK_EVENTUALLY(lot.stats().waiting == 1);
  breaker.exit();
  sleeper.join();
  EXPECT_ERROR(SELV_E_BROKEN, (void)lot.park_for(1h));
  /* Reparked into a broken lot, waiters are told as well. */
  tasked stranded("stranded", [&] { EXPECT_ERROR(SELV_E_BROKEN, second.park()); });
  CHECK_EVENTUALLY(second.stats().waiting == 1);
  second.repark(lot);
  stranded.join();
  selv::task other("other");
  second.break_lot(other.id());
  EXPECT_ERROR(SELV_E_BROKEN, second.park());
  selv::parking_lot third;
  third.close();
  EXPECT_ERROR(SELV_E_CLOSED, third.park());
}

int main() {
  CHECK_RUN(a_semaphore_counts);
  CHECK_RUN(a_semaphore_serves_in_order);
  CHECK_RUN(a_closed_semaphore);
  CHECK_RUN(a_limiter_lends_one_to_each);
  CHECK_RUN(a_token_for_a_scope);
  CHECK_RUN(a_borrower_that_is_no_task);
  CHECK_RUN(an_asynchronous_token);
  CHECK_RUN(a_limiter_holds_jobs_back);
  CHECK_RUN(a_limited_job_in_time_or_not_at_all);
  CHECK_RUN(a_token_comes_back_however_the_job_ends);
  CHECK_RUN(an_event_stays_set);
  CHECK_RUN(an_event_that_can_be_cleared);
  CHECK_RUN(a_lot_parks_and_unparks);
  CHECK_RUN(a_broken_lot);
  return 0;
}

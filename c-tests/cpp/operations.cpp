/* operations.cpp: asynchronous calls with callables: called once or never, kept until then and no longer, cancelled, abandoned,
 * and what they throw. */
#include "expect.hpp"

#include <array>

static void at_once_means_no_callback() {
  selv::lock l;
  std::atomic<int> gone{0};
  const selv::op op = l.acquire_async([s = sentinel(gone)](selv::completed) { check_fail(__FILE__, __LINE__, "called back"); });
  CHECK(!op.pending() && !op.owner_died() && op.id() == 0);
  CHECK(gone == 1);
  CHECK_EQ_U64(l.owner(), selv::current_task());
  CHECK(!op.cancel());
  l.release();
  EXPECT_ERROR(SELV_E_INVAL, (void)l.acquire_async([s = sentinel(gone)](selv::completed) {}, 0));
  CHECK(gone == 2);
}

static void a_granted_operation_calls_back_once() {
  selv::lock l("wanted");
  selv::task a("a");
  std::atomic<int> gone{0};
  gate called;
  l.lock();
  selv_op seen = 0;
  const selv::op op = l.acquire_async(
      [&, s = sentinel(gone)](selv::completed c) {
        c.check();
        CHECK(c.ok() && !c.owner_died() && c.status() == SELV_OK);
        CHECK(c.ticket() > 0);
        seen = c.op();
        called.open();
      },
      a.id());
  CHECK(op.pending() && op.id() != 0);
  CHECK(gone == 0 && called.count() == 0);
  l.unlock();
  called.wait();
  CHECK_EQ_U64(l.owner(), a.id());
  CHECK_EQ_U64(seen, op.id());
  CHECK(gone == 1); /* though the op is still here */
  CHECK(!op.cancel());
  l.release(a.id());
}

static void the_callback_may_be_moved_only_and_big() {
  selv::event e;
  gate called;
  const std::array<int, 100> big{};
  const selv::op op = e.wait_async([&called, big, p = std::make_unique<int>(7)](selv::completed) {
    CHECK(*p == 7 && big[99] == 0);
    called.open();
  });
  e.set();
  CHECK(op.pending());
  called.wait();
}

static void cancel_calls_back_here() {
  selv::event never("never");
  std::atomic<int> gone{0};
  std::thread::id where;
  const selv::op op = never.wait_async([&, s = sentinel(gone)](selv::completed c) {
    where = std::this_thread::get_id();
    CHECK_STATUS(c.status(), SELV_E_CANCELLED);
    CHECK(!c.ok());
    EXPECT_ERROR(SELV_E_CANCELLED, c.check());
  });
  CHECK(op.cancel());
  CHECK(where == std::this_thread::get_id());
  CHECK(gone == 1);
  CHECK(!op.cancel());
}

static void abandon_never_calls_back() {
  selv::event never("never");
  std::atomic<int> gone{0};
  selv::op op = never.wait_async([s = sentinel(gone)](selv::completed) { check_fail(__FILE__, __LINE__, "called back"); });
  CHECK(op.abandon());
  CHECK(gone == 1); /* nobody will need it any more */
  CHECK(!op.abandon() && !op.cancel());
  CHECK_EQ_U64(never.stats().waiting, 0);
  never.set();
}

/* The callable holds what holds the operation, and nobody else does. */
static void an_abandoned_callable_may_take_the_operation_with_it() {
  struct request {
    std::optional<selv::op> waiting;
    sentinel alive;
  };
  selv::event never("never");
  std::atomic<int> gone{0};
  auto one = std::make_shared<request>(request{std::nullopt, sentinel(gone)});
  one->waiting.emplace(never.wait_async([one](selv::completed) { check_fail(__FILE__, __LINE__, "called back"); }));
  selv::op &op = *one->waiting;
  one.reset();
  CHECK(gone == 0);
  CHECK(op.abandon());
  CHECK(gone == 1);
}

static void an_operation_moves_wholly() {
  selv::event never("never");
  std::atomic<int> gone{0};
  selv::op from = never.wait_async([s = sentinel(gone)](selv::completed) { check_fail(__FILE__, __LINE__, "called back"); });
  selv::op to = std::move(from);
  CHECK(to.pending() && to.id() != 0);
  CHECK(!from.pending() && from.id() == 0 && !from.cancel() && !from.abandon());
  selv::op &self = to;
  to = std::move(self);
  std::swap(from, to);
  selv::op copy = from;
  CHECK(from.pending() && copy.id() == from.id() && !to.pending());
  CHECK(copy.abandon() && !from.abandon() && !from.cancel());
  CHECK(gone == 1);
}

static void a_start_that_throws_keeps_nothing() {
  std::atomic<int> gone{0};
  const auto start = [](const selv_completion *, selv_op *) -> selv_status { throw std::runtime_error("not even begun"); };
  try {
    (void)selv::start_operation([s = sentinel(gone)](selv::completed) {}, start);
    CHECK(false);
  } catch (const std::runtime_error &) {
  }
  CHECK(gone == 1);
}

static void dropping_the_operation_changes_nothing() {
  selv::event e;
  gate called;
  { [[maybe_unused]] const selv::op dropped = e.wait_async([&](selv::completed) { called.open(); }); }
  e.set();
  called.wait();
}

static void an_error_tells_why() {
  selv::lock l("ledger");
  selv::task owner("Ann"), waiter("waiter");
  gate called;
  CHECK(l.acquire(owner.id()) == selv::acquired::clean);
  const selv::op op = l.acquire_async(
      [&](selv::completed c) {
        const selv::error e = EXPECT_ERROR(SELV_E_BROKEN, c.check());
        EXPECT_HAS(e.what(), "ledger");
        EXPECT_HAS(e.what(), "Ann");
        called.open();
      },
      waiter.id());
  CHECK(op.pending());
  owner.exit();
  called.wait();
  EXPECT_ERROR(SELV_E_BROKEN, (void)l.acquire_async([](selv::completed) {}, waiter.id()));
}

static void the_owner_of_a_robust_lock_died() {
  selv::lock l("ledger", SELV_LOCK_ROBUST);
  selv::task next("next");
  gate called;
  {
    selv::task owner("Ann");
    CHECK(l.acquire(owner.id()) == selv::acquired::clean);
    const selv::op op = l.acquire_async(
        [&](selv::completed c) {
          CHECK(c.ok() && c.owner_died());
          EXPECT_HAS(c.detail(), "ledger");
          EXPECT_HAS(c.detail(), "Ann");
          c.check();
          called.open();
        },
        next.id());
    CHECK(op.pending() && !op.owner_died());
  }
  called.wait();
  CHECK_EQ_U64(l.owner(), next.id());
  next.exit(); /* and nobody waits: the one after it gets the news at once */
  selv::task last("last");
  const selv::op op = l.acquire_async([](selv::completed) {}, last.id());
  CHECK(!op.pending() && op.owner_died());
  l.make_consistent(last.id());
  l.release(last.id());
}

static void a_ring_is_refused_at_the_call() {
  selv::lock one("one"), two("two");
  selv::task a("Ann"), b("Bob");
  CHECK(one.acquire(a.id()) == selv::acquired::clean);
  CHECK(two.acquire(b.id()) == selv::acquired::clean);
  gate called;
  const selv::op first = two.acquire_async([&](selv::completed) { called.open(); }, a.id());
  CHECK(first.pending());
  const selv::error e = EXPECT_ERROR(
      SELV_E_DEADLOCK, (void)one.acquire_async([](selv::completed) { check_fail(__FILE__, __LINE__, "called back"); }, b.id()));
  EXPECT_HAS(e.what(), "Ann");
  EXPECT_HAS(e.what(), "Bob");
  two.release(b.id());
  called.wait();
  two.release(a.id());
  one.release(a.id());
}

static void an_exception_in_a_callback_is_heard() {
  selv::event e;
  std::atomic<int> gone{0};
  const selv::op first = e.wait_async([s = sentinel(gone)](selv::completed) { throw std::runtime_error("in a callback"); });
  gate called;
  const selv::op second = e.wait_async([&](selv::completed) { called.open(); });
  CHECK(first.pending() && second.pending());
  listener ears;
  e.set();
  called.wait(); /* the one after it is served all the same */
  CHECK_EVENTUALLY(gone == 1);
  CHECK_STR(ears.only().c_str(), "an exception left a completion callback: in a callback");
}

/* Each callback lets go of the lock, which grants it to the next: one after another, not one inside the other. */
static void a_callback_may_release_the_lock() {
  selv::lock l("passed on");
  const std::size_t count = static_cast<std::size_t>(check_scaled(1000));
  std::vector<selv::task> tasks(count);
  std::uint64_t last_ticket = 0;
  std::size_t called = 0;
  int depth = 0;
  l.lock();
  for (const selv::task &t : tasks) {
    const selv::op op = l.acquire_async(
        [&, by = t.id()](selv::completed c) {
          CHECK(++depth == 1);
          c.check();
          CHECK(c.ticket() > last_ticket);
          last_ticket = c.ticket();
          called++;
          l.release(by);
          depth--;
        },
        t.id());
    CHECK(op.pending());
  }
  l.unlock();
  CHECK_EQ_U64(called, count); /* all of them here, before unlock came back */
  CHECK_EQ_U64(l.owner(), 0);
}

/* Grants, cancels and abandonments race; each callable is called at most once and let go of exactly once. */
static void a_storm_keeps_count() {
  const int rounds = static_cast<int>(check_scaled(6000));
  std::atomic<int> gone{0}, granted{0}, cancelled{0}, abandoned{0}, pending{0};
  selv::semaphore s(0);
  std::atomic<bool> go_on{true};
  gate giving;
  std::thread giver([&] {
    giving.open();
    while (go_on) {
      if (s.stats().waiting > 0) s.release(); /* never far ahead, so that most have to wait */
      std::this_thread::yield();
    }
  });
  giving.wait();
  std::vector<selv::op> batch;
  for (int i = 0; i < rounds; i++) {
    batch.push_back(s.acquire_async([&, held = sentinel(gone)](selv::completed c) {
      if (c.ok())
        ++granted;
      else
        ++cancelled;
    }));
    pending += batch.back().pending();
    if (batch.size() < 60) continue;
    std::this_thread::yield();
    for (std::size_t k = batch.size(); k-- > 0;) { /* from the back, while the giver comes from the front */
      if (k % 3 == 1) batch[k].cancel();
      if (k % 3 == 2 && batch[k].abandon()) ++abandoned;
    }
    batch.clear();
  }
  CHECK_EVENTUALLY(granted + cancelled + abandoned == pending);
  go_on = false;
  giver.join();
  CHECK_EVENTUALLY(gone == rounds);
  CHECK(pending > rounds / 2);
  printf("  %d waited: %d granted, %d cancelled, %d abandoned\n", pending.load(), granted.load(), cancelled.load(), abandoned.load());
}

/* A thread that is ended inside a completion callback: the callable goes with the unwinding. */
static void a_callback_that_ends_its_thread() {
  selv::event e;
  std::atomic<int> gone{0}, unwound{0};
  const selv::op op = e.wait_async([&, s = sentinel(gone)](selv::completed) {
    const sentinel local(unwound);
    pthread_exit(nullptr);
  });
  CHECK(op.pending());
  bool after = false;
  std::thread setter([&] {
    selv_event_set(e.handle());
    after = true;
  });
  setter.join();
  CHECK(!after && gone == 1 && unwound == 1);
  CHECK(e.is_set());
}

int main() {
  CHECK_RUN(at_once_means_no_callback);
  CHECK_RUN(a_granted_operation_calls_back_once);
  CHECK_RUN(the_callback_may_be_moved_only_and_big);
  CHECK_RUN(cancel_calls_back_here);
  CHECK_RUN(abandon_never_calls_back);
  CHECK_RUN(an_abandoned_callable_may_take_the_operation_with_it);
  CHECK_RUN(an_operation_moves_wholly);
  CHECK_RUN(a_start_that_throws_keeps_nothing);
  CHECK_RUN(dropping_the_operation_changes_nothing);
  CHECK_RUN(an_error_tells_why);
  CHECK_RUN(the_owner_of_a_robust_lock_died);
  CHECK_RUN(a_ring_is_refused_at_the_call);
  CHECK_RUN(an_exception_in_a_callback_is_heard);
  CHECK_RUN(a_callback_may_release_the_lock);
  CHECK_RUN(a_storm_keeps_count);
  CHECK_RUN(a_callback_that_ends_its_thread);
  return 0;
}

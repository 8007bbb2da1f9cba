/* lifetimes.cpp: what destructors do with objects that are still used: waiters are sent away first, and what cannot be freed then
 * is left and told of; and that objects move with what waits on them. */
#include "expect.hpp"

/* Ends an object while a task waits on it: the wait must come back with SELV_E_CLOSED, and nothing be left behind. */
template <class T, class Wait, class Waiting>
static void ends_under_a_waiter(std::optional<T> object, Wait wait, Waiting waiting) {
  auto *const handle = object->handle();
  tasked waiter("waiter", [&, handle] { CHECK_STATUS(wait(handle), SELV_E_CLOSED); });
  CHECK_EVENTUALLY(waiting(object->stats()) == 1);
  object.reset();
  waiter.join();
}

static void waiters_are_sent_away_first() {
  const auto waiting = [](const auto &s) { return s.waiting; };
  ends_under_a_waiter(std::make_optional<selv::semaphore>(0),
                      [](selv_semaphore *s) { return selv_semaphore_acquire(s, SELV_TASK_CURRENT, 1, SELV_FOREVER); }, waiting);
  ends_under_a_waiter(std::make_optional<selv::event>(),
                      [](selv_event *e) { return selv_event_wait(e, SELV_TASK_CURRENT, SELV_FOREVER); }, waiting);
  ends_under_a_waiter(std::make_optional<selv::parking_lot>(),
                      [](selv_parking_lot *p) { return selv_parking_lot_park(p, SELV_TASK_CURRENT, SELV_FOREVER); }, waiting);
  ends_under_a_waiter(
      std::make_optional<selv::channel>(),
      [](selv_channel *c) {
        void *data;
        std::size_t len;
        return selv_channel_recv(c, SELV_TASK_CURRENT, SELV_FOREVER, &data, &len);
      },
      [](const auto &s) { return s.receivers_waiting; });
}

static void a_condition_and_a_limiter_too() {
  selv::lock l("outlives");
  std::optional<selv::condition> c(std::in_place, l, "changed");
  ends_under_a_waiter(
      std::move(c),
      [&](selv_condition *handle) {
        const std::lock_guard<selv::lock> g(l);
        std::int32_t holds = 0;
        const selv_status status = selv_condition_wait(handle, SELV_TASK_CURRENT, SELV_FOREVER, &holds);
        CHECK(holds == 1);
        return status;
      },
      [](const auto &s) { return s.waiting; });
  std::optional<selv::limiter> none(std::in_place, 1);
  none->set_total(0);
  ends_under_a_waiter(
      std::move(none), [](selv_limiter *handle) { return selv_limiter_acquire(handle, SELV_TASK_CURRENT, SELV_FOREVER); },
      [](const auto &s) { return s.waiting; });
}

static void an_operation_is_completed_by_the_end_of_its_object() {
  gate called;
  std::optional<selv::event> e(std::in_place);
  const selv::op op = e->wait_async([&](selv::completed c) {
    CHECK_STATUS(c.status(), SELV_E_CLOSED);
    called.open();
  });
  CHECK(op.pending());
  e.reset();
  called.wait();
  CHECK(!op.cancel());
}

static void a_lock_that_is_held_is_left_as_it_is() {
  selv::task owner("Ann");
  selv_lock *handle;
  {
    listener ears;
    {
      selv::lock l("held");
      handle = l.handle();
      CHECK(l.acquire(owner.id()) == selv::acquired::clean);
    }
    EXPECT_HAS(ears.only(), "a selv::lock could not be freed and is left as it is: SELV_E_BUSY");
  }
  CHECK_EQ_U64(selv_lock_owner(handle), owner.id());
  CHECK_OK(selv_lock_release(handle, owner.id())); /* so nobody is left with a dead handle */
  CHECK_OK(selv_lock_free(handle));
}

static void a_limiter_that_lends_is_left_as_it_is() {
  selv::task borrower("Ann");
  selv_limiter *handle;
  {
    listener ears;
    {
      selv::limiter l(1, "lent");
      handle = l.handle();
      l.acquire(borrower.id());
    }
    EXPECT_HAS(ears.only(), "a selv::limiter could not be freed and is left as it is: SELV_E_BUSY");
  }
  CHECK_OK(selv_limiter_release(handle, borrower.id()));
  CHECK_OK(selv_limiter_free(handle));
}

static void a_lock_whose_condition_lives_is_left_as_it_is() {
  selv_lock *handle;
  {
    std::optional<selv::lock> l(std::in_place, "shared");
    const selv::condition c(*l, "changed");
    handle = l->handle();
    listener ears;
    l.reset();
    EXPECT_HAS(ears.only(), "SELV_E_BUSY");
  }
  CHECK_OK(selv_lock_free(handle));
}

static void an_exception_on_the_way_frees_all() {
  try {
    selv::lock l("local");
    selv::condition c(l);
    const std::unique_lock<selv::lock> g(l);
    throw 1;
  } catch (int) {
  }
}

static void objects_move_with_what_waits_on_them() {
  selv::semaphore a(0);
  gate granted;
  const selv::op op = a.acquire_async([&](selv::completed c) { c.check(), granted.open(); });
  CHECK(op.pending());
  selv::semaphore b = std::move(a);
  CHECK(a.handle() == nullptr);
  EXPECT_ERROR(SELV_E_NULL, a.release());
  b.release();
  granted.wait();
  std::vector<selv::event> events; /* which moves them as it grows */
  for (int i = 0; i < 20; i++) events.emplace_back();
  events.front().set();
  CHECK(events.front().is_set() && !events.back().is_set());
}

/* Each is itself after being moved to itself, and another's after a swap: nothing is freed twice, and nothing left behind. */
template <class T>
static void moves_to_itself_and_swaps(T a, T b) {
  const auto first = a.handle(), second = b.handle();
  T &self = a;
  a = std::move(self);
  CHECK(a.handle() == first);
  std::swap(a, b);
  CHECK(a.handle() == second && b.handle() == first);
  std::swap(a, self);
  CHECK(a.handle() == second);
  T c = std::move(a);
  a = std::move(b); /* into a moved-from one */
  CHECK(a.handle() == first && c.handle() == second && b.handle() == nullptr);
  c = std::move(a); /* and onto one, which ends what it had */
  CHECK(c.handle() == first && a.handle() == nullptr);
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T>);
  static_assert(!std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>);
  static_assert(std::is_nothrow_destructible_v<T>);
}

static void objects_move_to_themselves_and_swap() {
  moves_to_itself_and_swaps(selv::lock("a"), selv::lock("b"));
  moves_to_itself_and_swaps(selv::lock("a", SELV_LOCK_ROBUST), selv::lock("b", SELV_LOCK_ROBUST));
  moves_to_itself_and_swaps(selv::lock("a"), selv::lock("b", SELV_LOCK_ROBUST));
  const selv::lock l;
  moves_to_itself_and_swaps(selv::condition(l), selv::condition(l));
  moves_to_itself_and_swaps(selv::semaphore(1), selv::semaphore(2));
  moves_to_itself_and_swaps(selv::limiter(1), selv::limiter(2));
  moves_to_itself_and_swaps(selv::event("a"), selv::event("b"));
  moves_to_itself_and_swaps(selv::parking_lot("a"), selv::parking_lot("b"));
  moves_to_itself_and_swaps(selv::channel(1), selv::channel(2));
  moves_to_itself_and_swaps(selv::host_loop("a"), selv::host_loop("b"));
  selv::cache c;
  moves_to_itself_and_swaps(selv::cache(), c.share());
  moves_to_itself_and_swaps(c.register_hook(selv::hook_options("a")), c.register_hook(selv::hook_options("b")));
  moves_to_itself_and_swaps(c.submit([] { return 1; }), c.submit([] { return 2; }));
  selv::task one("one"), two("two");
  const selv_task first = one.id();
  selv::task &self = one;
  one = std::move(self);
  std::swap(one, two);
  CHECK_EQ_U64(two.id(), first);
  one = std::move(two); /* exits the other */
  CHECK(one.id() == first && two.id() == 0);
  EXPECT_ERROR(SELV_E_INVAL, two.exit());
  selv::limiter lent(2, "lent");
  {
    selv::limiter::token token = lent.borrow();
    selv::limiter::token &same = token;
    token = std::move(same);
    CHECK_EQ_U64(lent.stats().borrowed, 1);
    const selv::limiter::token other = std::move(token);
    selv::limiter moved = std::move(lent); /* a token is of the limiter, wherever that is */
    lent = std::move(moved);
  }
  CHECK_EQ_U64(lent.stats().borrowed, 0);
}

static void every_moved_from_object_answers() {
  selv::lock l;
  selv::condition c(l);
  selv::limiter lim(1);
  selv::event e;
  selv::parking_lot p;
  selv::channel ch;
  const auto l2 = std::move(l);
  const auto c2 = std::move(c);
  const auto lim2 = std::move(lim);
  const auto e2 = std::move(e);
  const auto p2 = std::move(p);
  const auto ch2 = std::move(ch);
  EXPECT_ERROR(SELV_E_NULL, l.lock());
  EXPECT_ERROR(SELV_E_NULL, (void)l.try_lock());
  CHECK(l.owner() == 0 && !e.is_set());
  EXPECT_ERROR(SELV_E_NULL, c.notify_one());
  EXPECT_ERROR(SELV_E_NULL, lim.acquire());
  EXPECT_ERROR(SELV_E_NULL, e.set());
  EXPECT_ERROR(SELV_E_NULL, (void)p.unpark());
  EXPECT_ERROR(SELV_E_NULL, (void)ch.stats());
  EXPECT_ERROR(SELV_E_NULL, const selv::condition none(l));
}

static void bad_names_are_refused() {
  const char *const bad = "\xff\xfe";
  EXPECT_ERROR(SELV_E_INVAL, const selv::lock l(bad));
  EXPECT_ERROR(SELV_E_INVAL, const selv::task t(bad));
  EXPECT_ERROR(SELV_E_INVAL, const selv::lock l("flags", 1u << 30));
}

static void a_lock_from_c() {
  selv_lock *raw = nullptr;
  CHECK_OK(selv_lock_new(nullptr, &raw));
  selv::lock l = selv::lock::adopt(raw);
  CHECK(l.try_lock());
  l.unlock();
  CHECK(l.let_go() == raw && l.handle() == nullptr);
  CHECK_OK(selv_lock_free(raw));
}

int main() {
  CHECK_RUN(waiters_are_sent_away_first);
  CHECK_RUN(a_condition_and_a_limiter_too);
  CHECK_RUN(an_operation_is_completed_by_the_end_of_its_object);
  CHECK_RUN(a_lock_that_is_held_is_left_as_it_is);
  CHECK_RUN(a_limiter_that_lends_is_left_as_it_is);
  CHECK_RUN(a_lock_whose_condition_lives_is_left_as_it_is);
  CHECK_RUN(an_exception_on_the_way_frees_all);
  CHECK_RUN(objects_move_with_what_waits_on_them);
  CHECK_RUN(objects_move_to_themselves_and_swap);
  CHECK_RUN(every_moved_from_object_answers);
  CHECK_RUN(bad_names_are_refused);
  CHECK_RUN(a_lock_from_c);
  return 0;
}

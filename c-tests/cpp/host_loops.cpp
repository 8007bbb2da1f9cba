/* host_loops.cpp: callables in a host's event loop: called once there or let go of uncalled, with what they return and throw;
 * and jobs and operations whose end is told there. */
#include "loop.hpp"

/* ---- calls ---- */

static void calls_run_in_order_on_the_loop() {
  selv::host_loop l("gui");
  std::vector<int> seen;
  std::atomic<int> gone{0};
  CHECK(l.fd() >= 0 && !is_due(l));
  l.call_soon([&] { seen.push_back(1); });
  l.call_soon([&, p = std::make_unique<int>(2), s = sentinel(gone)] { seen.push_back(*p); });
  std::thread([&] { l.call_soon([&] { seen.push_back(3); }); }).join();
  CHECK(is_due(l) && seen.empty() && gone == 0);
  CHECK_EQ_U64(l.drain(2), 2);
  CHECK(seen.size() == 2 && seen[0] == 1 && seen[1] == 2 && gone == 1);
  CHECK(is_due(l));
  CHECK_EQ_U64(l.drain(), 1);
  CHECK(seen.size() == 3 && seen[2] == 3 && !is_due(l));
  CHECK_EQ_U64(l.drain(), 0);
}

static void a_closed_loop_lets_go_of_callables() {
  selv::host_loop l;
  std::atomic<int> gone{0};
  l.call_soon([s = sentinel(gone)] { check_fail(__FILE__, __LINE__, "a dropped call was made"); });
  l.close();
  CHECK(gone == 1);
  EXPECT_ERROR(SELV_E_CLOSED, l.call_soon([s = sentinel(gone)] {}));
  EXPECT_ERROR(SELV_E_CLOSED, l.drain());
  CHECK(gone == 2);
  l.close(); /* is closed */
}

static void the_last_reference_closes() {
  std::atomic<int> gone{0};
  std::optional<selv::host_loop> l(std::in_place), other(l->share());
  CHECK(l->handle() == other->handle());
  l->call_soon([s = sentinel(gone)] {});
  l.reset();
  CHECK(gone == 0);
  std::thread([&] { other.reset(); }).join(); /* any thread may */
  CHECK(gone == 1);
  const selv::host_loop moved = selv::host_loop::adopt(selv::host_loop("adopted").let_go());
  CHECK(moved.handle() != nullptr);
}

static void an_exception_in_a_call_is_heard() {
  selv::host_loop l;
  bool served = false;
  std::atomic<int> gone{0};
  l.call_soon([s = sentinel(gone)] { throw std::runtime_error("in a call"); });
  l.call_soon([&] { served = true; });
  listener ears;
  CHECK_EQ_U64(l.drain(), 2);
  CHECK(served && gone == 1);
  CHECK_STR(ears.only().c_str(), "an exception left a call of a host loop: in a call");
}

struct window {
  void repaint() { painted++; }
  int painted = 0;
};
struct counter {
  mutable int n = 0;
};
static void count(const counter &c) { c.n++; }
static void fails(window &) { throw std::runtime_error("cannot"); }

static void one_call_stands_for_many() {
  selv::host_loop l;
  window a, b;
  const counter c;
  for (int i = 0; i < 3; i++) {
    l.call_soon_once<&window::repaint>(a);
    l.call_soon_once<&window::repaint>(b);
    l.call_soon_once<&count>(c);
  }
  CHECK_EQ_U64(l.stats().merged, 6);
  CHECK_EQ_U64(l.drain(), 3);
  CHECK(a.painted == 1 && b.painted == 1 && c.n == 1);
  l.call_soon_once<&window::repaint>(a);
  CHECK_EQ_U64(l.drain(), 1);
  CHECK(a.painted == 2);
  l.call_soon_once<&fails>(a);
  listener ears;
  l.drain();
  EXPECT_HAS(ears.only(), "cannot");
}

struct failure {
  int code;
};

static void call_gives_and_throws() {
  host_thread host;
  int number = 3;
  CHECK(host.loop->call([&] { return std::this_thread::get_id() == host.id; }));
  CHECK(*host.loop->call([p = std::make_unique<int>(7)]() mutable { return std::move(p); }) == 7);
  int &same = host.loop->call([&]() -> int & { return number; });
  CHECK(&same == &number);
  host.loop->call([&] { number = 4; });
  CHECK(number == 4);
  try {
    host.loop->call([] { throw failure{5}; });
    check_fail(__FILE__, __LINE__, "nothing was thrown");
  } catch (const failure &f) {
    CHECK(f.code == 5);
  }
  host.loop->call([&] { EXPECT_ERROR(SELV_E_DEADLOCK, host.loop->call([] {})); });
  host.end();
  EXPECT_ERROR(SELV_E_CLOSED, host.loop->call([] {}));
}

static void call_in_time_or_not_at_all() {
  selv::host_loop l;
  std::thread([&] {
    EXPECT_ERROR(SELV_E_TIMEDOUT, l.call([] { check_fail(__FILE__, __LINE__, "called after its time"); }, selv::no_wait));
    EXPECT_ERROR(SELV_E_TIMEDOUT, l.call([] { check_fail(__FILE__, __LINE__, "called after its time"); }, 1ms));
  }).join();
  l.drain();
  gate waiting;
  std::thread closed_on([&] {
    waiting.open();
    EXPECT_ERROR(SELV_E_CLOSED, l.call([] { check_fail(__FILE__, __LINE__, "called after the close"); }));
  });
  waiting.wait();
  EXPECT_DUE(l);
  l.close();
  closed_on.join();
}

static void a_drain_is_not_re_entered() {
  selv::host_loop l;
  bool later = false;
  l.call_soon([&] {
    l.call_soon([&] { later = true; });
    EXPECT_ERROR(SELV_E_REENTRANT, l.drain());
    CHECK(!later && !is_due(l));
  });
  CHECK_EQ_U64(l.drain(), 1);
  CHECK(!later && is_due(l));
  CHECK_EQ_U64(l.drain(), 1);
  CHECK(later);
}

static void another_thread_takes_over() {
  selv::host_loop l;
  int ran = 0;
  l.call_soon([&] { ran++; });
  std::thread([&] {
    EXPECT_ERROR(SELV_E_WRONG_THREAD, l.drain());
    EXPECT_ERROR(SELV_E_WRONG_THREAD, l.close());
    l.bind();
    CHECK_EQ_U64(l.drain(), 1);
  }).join();
  EXPECT_ERROR(SELV_E_WRONG_THREAD, l.drain());
  l.bind();
  CHECK(ran == 1);
  l.close();
}

static void a_wake_of_the_hosts_own() {
  std::atomic<int> gone{0}, woken{0};
  {
    selv::host_loop l([&, p = std::make_unique<int>(0), s = sentinel(gone)] { ++woken; }, "woken");
    CHECK(l.fd() == -1);
    l.call_soon([] {});
    l.call_soon([] {});
    CHECK(woken == 1);
    CHECK_EQ_U64(l.drain(1), 1);
    CHECK(woken == 2); /* one is left */
    CHECK_EQ_U64(l.drain(), 1);
    CHECK(woken == 2);
    l.close();
    CHECK(gone == 1);
  }
  CHECK(gone == 1);
  selv::host_loop careless([&] { throw std::runtime_error("no loop"); });
  listener ears;
  careless.call_soon([] {});
  CHECK_STR(ears.only().c_str(), "an exception left the wake of a host loop: no loop");
}

static void names_and_statistics() {
  selv::host_loop l(std::string("gui"));
  l.call_soon([] {});
  l.drain();
  const selv_host_loop_stats s = l.stats();
  CHECK(s.accepted == 1 && s.ran == 1 && s.waiting == 0 && s.wakes == 1 && s.drains == 1 && s.closed == 0);
  l.close();
  const selv::error e = EXPECT_ERROR(SELV_E_CLOSED, l.call_soon([] {}));
  EXPECT_HAS(e.what(), "gui");
  EXPECT_ERROR(SELV_E_INVAL, selv::host_loop("\xff"));
}

/* The call goes with the unwinding of the thread that is ended in it; what is behind it waits for the thread after it. */
static void a_call_that_ends_its_thread() {
  std::optional<selv::host_loop> l;
  std::atomic<int> gone{0};
  bool rest = false;
  std::thread([&] {
    l.emplace();
    l->call_soon([s = sentinel(gone)] { pthread_exit(nullptr); });
    l->call_soon([&] { rest = true; });
    l->drain();
    check_fail(__FILE__, __LINE__, "the thread went on");
  }).join();
  CHECK(gone == 1 && !rest);
  l->bind();
  DRAIN_UNTIL(*l, rest);
  l->close();
}

/* Who waits for it is told, when what it refers to is needed no more. */
static void a_waiting_call_that_ends_the_loops_thread() {
  host_thread host("short-lived");
  std::atomic<int> unwound{0};
  const selv::error e = EXPECT_ERROR(SELV_E_BROKEN, host.loop->call([&] {
    const sentinel local(unwound);
    pthread_exit(nullptr);
  }));
  CHECK(unwound == 1);
  EXPECT_HAS(e.what(), "short-lived");
}

/* Threads post while the host drains, and then closes: each callable is let go of once, called before or not. */
static void a_storm_keeps_count() {
  const int rounds = static_cast<int>(check_scaled(4000));
  std::atomic<int> gone{0}, called{0}, made{0};
  selv::host_loop l;
  std::vector<std::thread> posters;
  for (int t = 0; t < 3; t++)
    posters.emplace_back([&] {
      for (bool open = true; open;) {
        ++made;
        try {
          l.call_soon([&, s = sentinel(gone)] { ++called; });
        } catch (const selv::error &e) {
          CHECK_STATUS(e.status(), SELV_E_CLOSED);
          open = false;
        }
        if (made % 64 == 0) std::this_thread::yield();
      }
    });
  while (called < rounds) {
    EXPECT_DUE(l);
    l.drain(32);
  }
  l.close();
  for (std::thread &t : posters) t.join();
  CHECK(gone == made);
  const selv_host_loop_stats s = l.stats();
  CHECK_EQ_U64(s.ran, static_cast<std::uint64_t>(called));
  CHECK_EQ_U64(s.ran + s.dropped + 3, static_cast<std::uint64_t>(made));
  printf("  %d called, %d dropped\n", called.load(), static_cast<int>(s.dropped));
}

/* ---- operations ---- */

static void an_operation_completes_on_the_loop() {
  selv::host_loop l;
  selv::semaphore s(0);
  std::atomic<int> gone{0};
  int granted = 0;
  const auto where = std::this_thread::get_id();
  const selv::op op = s.acquire_async(selv::on(l, [&, p = std::make_unique<int>(1), here = sentinel(gone)](selv::completed c) {
    CHECK(std::this_thread::get_id() == where);
    c.check();
    granted += *p;
  }));
  CHECK(op.pending());
  std::thread([&] { s.release(); }).join();
  CHECK(granted == 0 && gone == 0 && is_due(l));
  CHECK_EQ_U64(l.drain(), 1);
  CHECK(granted == 1 && gone == 1);
  s.release();
  const selv::op at_once = s.acquire_async(selv::on(l, [](selv::completed) { check_fail(__FILE__, __LINE__, "called back"); }));
  CHECK(!at_once.pending() && !is_due(l));
}

static void a_cancel_is_told_on_the_loop() {
  selv::host_loop l;
  selv::event never;
  bool told = false;
  const selv::op op = never.wait_async(selv::on(l, [&](selv::completed c) {
    CHECK_STATUS(c.status(), SELV_E_CANCELLED);
    told = true;
  }));
  CHECK(op.cancel() && !told);
  l.drain();
  CHECK(told);
}

static void an_abandoned_operation_is_not_told() {
  selv::host_loop l;
  selv::semaphore s(0);
  std::atomic<int> gone{0};
  selv::op op = s.acquire_async(
      selv::on(l, [here = sentinel(gone)](selv::completed) { check_fail(__FILE__, __LINE__, "called back"); }));
  s.release();
  CHECK(is_due(l)); /* granted, and on its way */
  CHECK(op.abandon());
  CHECK(gone == 1);
  CHECK(s.try_acquire()); /* the grant went on */
  CHECK_EQ_U64(l.drain(), 0);
}

static void a_closed_loop_grants_nothing() {
  selv::host_loop l("gui");
  selv::semaphore s(0);
  int told = 0;
  const auto callback = [&](selv::completed c) {
    CHECK(!c.ok());
    const selv::error e = EXPECT_ERROR(SELV_E_CLOSED, c.check());
    EXPECT_HAS(e.what(), "gui");
    told++;
  };
  const selv::op queued = s.acquire_async(selv::on(l, callback));
  const selv::op waiting = s.acquire_async(selv::on(l, callback));
  CHECK(queued.pending() && waiting.pending());
  s.release();
  l.close();
  CHECK(told == 2); /* the grant went to the second one, whose loop is closed, too */
  CHECK(s.try_acquire());
  EXPECT_ERROR(SELV_E_CLOSED, (void)s.acquire_async(selv::on(l, callback)));
  CHECK(told == 2);
}

static void an_exception_in_a_completion_is_heard() {
  selv::host_loop l;
  selv::event e;
  const selv::op op = e.wait_async(selv::on(l, [](selv::completed) { throw std::runtime_error("in a callback"); }));
  CHECK(op.pending());
  listener ears;
  e.set();
  l.drain();
  CHECK_STR(ears.only().c_str(), "an exception left a completion callback: in a callback");
}

/* ---- jobs ---- */

static void a_job_is_delivered_on_the_loop() {
  selv::cache c;
  selv::host_loop l;
  const auto where = std::this_thread::get_id();
  std::atomic<int> gone{0};
  int value = 0;
  bool threw = false;
  c.submit([] { return 42; },
           [&, s = sentinel(gone)](selv::outcome<int> o) {
             CHECK(std::this_thread::get_id() == where);
             value = o.get();
           },
           selv::job_options().named("answer").delivered_on(l));
  DRAIN_UNTIL(l, value != 0);
  CHECK(value == 42 && gone == 1);
  c.submit([] { throw failure{6}; },
           [&](selv::outcome<void> o) {
             try {
               o.get();
             } catch (const failure &f) {
               threw = f.code == 6;
             }
           },
           selv::job_options().delivered_on(l));
  DRAIN_UNTIL(l, threw);
}

static void a_handle_waits_for_the_loop() {
  selv::cache c;
  host_thread host;
  selv::job<int> job = c.submit([] { return 7; }, selv::job_options().delivered_on(*host.loop));
  CHECK(job.get() == 7);
  selv::host_loop mine("mine");
  selv::job<int> waits_for_me = c.submit([] { return 8; }, selv::job_options().delivered_on(mine));
  EXPECT_ERROR(SELV_E_DEADLOCK, waits_for_me.wait());
  EXPECT_DUE(mine);
  mine.drain();
  CHECK(waits_for_me.get() == 8);
}

static void a_cancelled_job_is_told_on_the_loop() {
  selv::cache_options one;
  one.max_workers = 1;
  selv::cache c(one);
  selv::host_loop l;
  gate begun, go;
  const selv::job<void> busy = c.submit([&] { begun.open(), go.wait(); });
  begun.wait();
  bool told = false;
  const selv::job_handle job = c.submit([] { check_fail(__FILE__, __LINE__, "a cancelled job ran"); },
                                        [&](selv::outcome<void> o) {
                                          CHECK_STATUS(o.status(), SELV_E_CANCELLED);
                                          told = true;
                                        },
                                        selv::job_options().delivered_on(l));
  CHECK(job.cancel() && !told);
  CHECK_EQ_U64(l.drain(), 1);
  CHECK(told);
  go.open();
  busy.wait();
}

/* What a hook threw stays with the worker; its number and the library's sentence come. */
static void a_failed_hook_is_told_on_the_loop() {
  selv::cache c;
  selv::host_loop l;
  const selv::hook h = c.register_hook(
      selv::hook_options("picky").on_start([](selv::worker) { throw selv::hook_refusal(77, "a worker's own words"); }));
  EXPECT_ERROR(SELV_E_HOOK_FAILED, const selv::thread_scope here(c)); /* leaves here what must not be taken for the worker's */
  bool told = false;
  const auto deliver = [&](selv::outcome<void> o) {
    CHECK_STATUS(o.status(), SELV_E_HOOK_FAILED);
    CHECK(o.code() == 77);
    const selv::error e = EXPECT_ERROR(SELV_E_HOOK_FAILED, o.get());
    EXPECT_HAS(e.what(), "picky");
    CHECK(std::string(e.what()).find("own words") == std::string::npos);
    told = true;
  };
  c.submit([] {}, deliver, selv::job_options().delivered_on(l));
  DRAIN_UNTIL(l, told);
}

static void the_outcome_of_a_closed_loop() {
  selv::cache c;
  std::optional<selv::host_loop> l(std::in_place);
  gate go;
  bool told = false;
  std::atomic<int> gone{0};
  const selv::job_handle job = c.submit([&] { return go.wait(), 1; },
                                        [&, s = sentinel(gone)](selv::outcome<int> o) {
                                          CHECK_STATUS(o.status(), SELV_E_CLOSED);
                                          CHECK(!o.has_value());
                                          told = true;
                                        },
                                        selv::job_options().delivered_on(*l));
  l->close();
  CHECK(!told);
  go.open();
  job.wait();
  CHECK(told && gone == 1);
  EXPECT_ERROR(SELV_E_CLOSED, (void)c.submit([s = sentinel(gone)] {}, selv::job_options().delivered_on(*l)));
  CHECK(gone == 2);
}

static void many_jobs_on_one_loop() {
  selv::cache c;
  selv::host_loop l;
  std::vector<std::function<int()>> jobs;
  const int n = static_cast<int>(check_scaled(100));
  for (int i = 0; i < n; i++) jobs.emplace_back([i] { return i; });
  int delivered = 0, sum = 0;
  const auto deliver = [&](selv::outcome<int> o) {
    sum += o.get();
    delivered++;
  };
  CHECK_EQ_U64(c.submit_many(jobs, deliver, selv::job_options().delivered_on(l)), jobs.size());
  DRAIN_UNTIL(l, delivered == n);
  CHECK(sum == n * (n - 1) / 2);
}

int main() {
  CHECK_RUN(calls_run_in_order_on_the_loop);
  CHECK_RUN(a_closed_loop_lets_go_of_callables);
  CHECK_RUN(the_last_reference_closes);
  CHECK_RUN(an_exception_in_a_call_is_heard);
  CHECK_RUN(one_call_stands_for_many);
  CHECK_RUN(call_gives_and_throws);
  CHECK_RUN(call_in_time_or_not_at_all);
  CHECK_RUN(a_drain_is_not_re_entered);
  CHECK_RUN(another_thread_takes_over);
  CHECK_RUN(a_wake_of_the_hosts_own);
  CHECK_RUN(names_and_statistics);
  CHECK_RUN(a_call_that_ends_its_thread);
  CHECK_RUN(a_waiting_call_that_ends_the_loops_thread);
  CHECK_RUN(a_storm_keeps_count);
  CHECK_RUN(an_operation_completes_on_the_loop);
  CHECK_RUN(a_cancel_is_told_on_the_loop);
  CHECK_RUN(an_abandoned_operation_is_not_told);
  CHECK_RUN(a_closed_loop_grants_nothing);
  CHECK_RUN(an_exception_in_a_completion_is_heard);
  CHECK_RUN(a_job_is_delivered_on_the_loop);
  CHECK_RUN(a_handle_waits_for_the_loop);
  CHECK_RUN(a_cancelled_job_is_told_on_the_loop);
  CHECK_RUN(a_failed_hook_is_told_on_the_loop);
  CHECK_RUN(the_outcome_of_a_closed_loop);
  CHECK_RUN(many_jobs_on_one_loop);
  return 0;
}

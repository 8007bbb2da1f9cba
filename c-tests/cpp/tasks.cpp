/* tasks.cpp: tasks that end with their objects, scopes that make them current, what a report lists, and the wait graph. */
#include "expect.hpp"

static bool lists(const selv::task_report &report, std::uint32_t what, const char *name) {
  for (const selv::task_report::item &item : report.items)
    if (item.what == what && item.name == name) return true;
  return false;
}

static void scopes_nest() {
  const selv_task own = selv::current_task();
  CHECK(own != 0);
  selv::task a("a"), b(std::string("b"));
  CHECK(a.id() != b.id() && a.id() != own);
  {
    const selv::task_scope in_a(a);
    CHECK_EQ_U64(selv::current_task(), a.id());
    {
      const selv::task_scope in_b(b.id());
      CHECK_EQ_U64(selv::current_task(), b.id());
    }
    CHECK_EQ_U64(selv::current_task(), a.id());
  }
  CHECK_EQ_U64(selv::current_task(), own);
}

static void a_scope_ends_with_an_exception_too() {
  const selv_task own = selv::current_task();
  selv::task a;
  try {
    const selv::task_scope scope(a);
    throw 1;
  } catch (int) {
  }
  CHECK_EQ_U64(selv::current_task(), own);
}

static void a_task_that_is_gone_cannot_be_entered() {
  selv::task a("gone");
  const selv_task id = a.id();
  a.exit();
  EXPECT_ERROR(SELV_E_STALE, const selv::task_scope scope(id));
  EXPECT_ERROR(SELV_E_STALE, selv::interrupt(id));
  EXPECT_ERROR(SELV_E_INVAL, a.exit()); /* the object names none any more */
}

static void a_job_has_a_task_of_its_own() {
  selv::cache c;
  const selv_task in_job = c.submit([] { return selv::current_task(); }).get();
  CHECK(in_job != 0 && in_job != selv::current_task());
  EXPECT_ERROR(SELV_E_STALE, selv::interrupt(in_job));
}

static void a_task_can_be_renamed() {
  selv::task a("before");
  a.set_name("one");
  selv::set_name(a.id(), std::string("another"));
  selv::lock l("named");
  {
    const selv::task_scope in_a(a);
    l.lock();
  }
  const std::string graph = selv::wait_graph(selv::graph::json);
  CHECK(graph.find("\"another\"") != std::string::npos && graph.find("\"before\"") == std::string::npos);
  const selv_task id = a.id();
  a.exit();
  EXPECT_ERROR(SELV_E_STALE, selv::set_name(id, "late"));
}

/* A fibre's life: one task, on whichever thread has its turn. */
static void a_task_goes_from_thread_to_thread() {
  selv::lock l("travelling");
  selv::task fibre("fibre");
  std::thread([&] {
    const selv::task_scope turn(fibre);
    l.lock();
  }).join();
  CHECK_EQ_U64(l.owner(), fibre.id());
  CHECK(!l.try_lock());
  {
    const selv::task_scope turn(fibre);
    l.unlock();
  }
  CHECK_EQ_U64(l.owner(), 0);
}

static void the_end_of_a_task_breaks_what_it_holds() {
  selv::lock l("held");
  {
    selv::task a("Ann");
    const selv::task_scope scope(a);
    l.lock();
  } /* the scope ends first */
  const selv::error e = EXPECT_ERROR(SELV_E_BROKEN, l.lock());
  EXPECT_HAS(e.what(), "Ann");
}

static void an_assignment_ends_the_task_that_was_there() {
  selv::task a("first");
  const selv_task first = a.id();
  selv::task b("second");
  const selv_task second = b.id();
  a = std::move(b);
  CHECK(a.id() == second && b.id() == 0);
  EXPECT_ERROR(SELV_E_STALE, selv::interrupt(first));
  const selv_task kept = a.let_go();
  CHECK(a.id() == 0);
  CHECK_OK(selv_task_exit(kept, nullptr));
}

static void a_report_lists_everything() {
  selv::lock plain("plain"), robust("robust", SELV_LOCK_ROBUST), wanted("wanted");
  selv::limiter tokens(1, "tokens");
  selv::parking_lot lot("lot");
  selv::task a("a"), b("b");
  std::atomic<int> cancelled{0};
  gate told;
  const std::lock_guard<selv::lock> g(wanted);
  CHECK(plain.acquire(a.id()) == selv::acquired::clean);
  CHECK(robust.acquire(a.id()) == selv::acquired::clean);
  tokens.acquire(a.id());
  lot.add_breaker(a.id());
  const selv::op waiting = wanted.acquire_async(
      [&](selv::completed c) {
        CHECK_STATUS(c.status(), SELV_E_CANCELLED);
        ++cancelled;
      },
      a.id());
  CHECK(waiting.pending());
  /* Only of locks that somebody waits for does anybody keep a list. */
  const selv::op for_plain = plain.acquire_async([&](selv::completed c) { CHECK(c.status() == SELV_E_BROKEN), told.open(); }, b.id());
  const selv::op for_robust = robust.acquire_async([&](selv::completed c) { CHECK(c.owner_died()), told.open(); }, b.id());
  CHECK(for_plain.pending() && for_robust.pending());
  const selv::task_report report = a.exit();
  CHECK(cancelled == 1);
  told.wait(2);
  CHECK_EQ_U64(report.locks_broken, 1);
  CHECK_EQ_U64(report.locks_handed_on, 1);
  CHECK_EQ_U64(report.waits_cancelled, 1);
  CHECK_EQ_U64(report.tokens_returned, 1);
  CHECK_EQ_U64(report.lots_broken, 1);
  CHECK_EQ_U64(report.items.size(), 5);
  CHECK(lists(report, SELV_REPORT_LOCK_BROKEN, "plain"));
  CHECK(lists(report, SELV_REPORT_LOCK_HANDED_ON, "robust"));
  CHECK(lists(report, SELV_REPORT_WAIT_CANCELLED, "wanted"));
  CHECK(lists(report, SELV_REPORT_TOKEN_RETURNED, "tokens"));
  CHECK(lists(report, SELV_REPORT_LOT_BROKEN, "lot"));
  CHECK_EQ_U64(tokens.stats().borrowed, 0);
}

static void interrupts() {
  selv::event never("never");
  tasked waiter("waiter", [&] { EXPECT_ERROR(SELV_E_CANCELLED, never.wait()); });
  CHECK_EVENTUALLY(never.stats().waiting == 1);
  selv::interrupt(waiter.id());
  waiter.join();
  selv::task early("early");
  early.interrupt(); /* its next wait */
  EXPECT_ERROR(SELV_E_CANCELLED, never.wait(early.id()));
}

static void a_scope_that_cannot_go_back_says_so() {
  listener ears;
  {
    auto outer = std::make_unique<selv::task>("outer");
    const selv::task_scope in_outer(*outer);
    {
      selv::task inner("inner");
      const selv::task_scope in_inner(inner);
      outer.reset(); /* exits below the inner scope */
    }
    CHECK(selv::current_task() != 0);
  }
  EXPECT_HAS(ears.all().at(0), "a selv::task_scope could not go back");
}

static void the_graph_in_three_languages() {
  selv::lock l("graphed lock");
  const std::lock_guard<selv::lock> g(l);
  tasked waiter("graphed task", [&] { l.lock(), l.unlock(); });
  CHECK_EVENTUALLY(l.stats().waiting == 1);
  const std::string text = selv::wait_graph(), json = selv::wait_graph(selv::graph::json), dot = selv::wait_graph(selv::graph::dot);
  l.unlock();
  waiter.join();
  l.lock();
  for (const std::string &one : {text, json, dot}) {
    EXPECT_HAS(one, "graphed lock");
    EXPECT_HAS(one, "graphed task");
  }
  CHECK(json.front() == '{' && dot.find("digraph") != std::string::npos);
  EXPECT_ERROR(SELV_E_INVAL, (void)selv::wait_graph(static_cast<selv::graph>(77)));
}

int main() {
  CHECK_RUN(scopes_nest);
  CHECK_RUN(a_scope_ends_with_an_exception_too);
  CHECK_RUN(a_task_that_is_gone_cannot_be_entered);
  CHECK_RUN(a_job_has_a_task_of_its_own);
  CHECK_RUN(a_task_goes_from_thread_to_thread);
  CHECK_RUN(the_end_of_a_task_breaks_what_it_holds);
  CHECK_RUN(an_assignment_ends_the_task_that_was_there);
  CHECK_RUN(a_report_lists_everything);
  CHECK_RUN(interrupts);
  CHECK_RUN(a_task_can_be_renamed);
  CHECK_RUN(a_scope_that_cannot_go_back_says_so);
  CHECK_RUN(the_graph_in_three_languages);
  return 0;
}

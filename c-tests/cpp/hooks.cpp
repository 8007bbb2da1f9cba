/* hooks.cpp: callables as hooks: their slots and order, exceptions that fail the job and come out of it, the end of the object
 * that unregisters, and a host's own threads. */
#include "expect.hpp"

/* What happened, in order. */
class journal {
 public:
  void note(const std::string &word) {
    const std::lock_guard<std::mutex> g(mutex_);
    if (!text_.empty()) text_ += ' ';
    text_ += word;
  }
  std::string text() {
    const std::lock_guard<std::mutex> g(mutex_);
    return text_;
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

static selv::hook_options noting(journal &j, const std::string &name, std::uint32_t flags = 0) {
  return selv::hook_options(name, flags)
      .on_start([&j, name](selv::worker) { j.note(name + ".start"); })
      .before_job([&j, name](selv::worker, void *) { j.note(name + ".before"); })
      .after_job([&j, name](selv::worker, void *) { j.note(name + ".after"); })
      .on_exit([&j, name](selv::worker, void *) { j.note(name + ".exit"); });
}

static void hooks_bracket_the_job_and_the_worker() {
  journal j;
  selv::cache c;
  {
    selv::hook a = c.register_hook(noting(j, "A")), b = c.register_hook(noting(j, "B"));
    c.submit([&] { j.note("job"); }).get();
    c.shutdown();
    CHECK_EQ_U64(a.stats().starts, 1);
    CHECK_EQ_U64(b.stats().jobs, 1);
  }
  CHECK_STR(j.text().c_str(), "A.start B.start A.before B.before job B.after A.after B.exit A.exit");
}

/* A callable that holds a runtime's objects must let go of them where the runtime may still be called. */
static void what_a_callable_holds_goes_inside_the_hooks() {
  struct held {
    explicit held(journal &to) : j(&to) {}
    held(held &&other) noexcept : j(std::exchange(other.j, nullptr)) {}
    ~held() {
      if (j != nullptr) j->note("released");
    }
    journal *j;
  };
  journal j;
  selv::cache c;
  selv::hook a = c.register_hook(noting(j, "A"));
  c.submit([&j, h = held(j)] { j.note("job"); }).get();
  c.submit([h = held(j)] { throw 1; }).wait();
  CHECK_STR(j.text().c_str(), "A.start A.before job released A.after A.before released A.after");
}

static void the_slot_is_what_on_start_returns() {
  selv::cache c;
  int runtime = 0;
  int *given_back = nullptr;
  selv::hook h = c.register_hook(
      selv::hook_options("slotted").on_start([&](selv::worker) { return &runtime; }).on_exit([&](selv::worker, void *slot) {
        given_back = static_cast<int *>(slot);
      }));
  CHECK(h.slot() == nullptr && !h.is_attached());
  void *seen = c.run([&] { return h.is_attached() ? h.slot() : nullptr; });
  CHECK(seen == &runtime);
  CHECK(h.unregister());
  CHECK(given_back == &runtime);
  CHECK(h.user() != nullptr);
}

static void the_worker_is_the_one_that_runs() {
  selv::cache c;
  std::uint64_t started_on = 0;
  selv::hook h = c.register_hook(selv::hook_options().on_start([&](selv::worker w) {
    started_on = w.id();
    CHECK(w.handle() == selv::worker::current().handle());
  }));
  const std::uint64_t ran_on = c.run([] { return selv::worker::current().id(); });
  CHECK_EQ_U64(ran_on, started_on);
}

/* ---- failure ---- */

struct no_runtime : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/* The exception of a hook is nested in the error that its job throws. */
template <class F>
static void expect_nested(F get) {
  try {
    get();
    CHECK(false);
  } catch (const selv::error &e) {
    CHECK_STATUS(e.status(), SELV_E_HOOK_FAILED);
    EXPECT_HAS(e.what(), "hook 'failing'");
    EXPECT_HAS(e.what(), "no runtime here");
    try {
      std::rethrow_if_nested(e);
      CHECK(false);
    } catch (const no_runtime &cause) {
      CHECK_STR(cause.what(), "no runtime here");
    }
  }
}

static void a_start_that_throws_fails_the_job() {
  selv::cache c;
  bool fails = true;
  selv::hook h = c.register_hook(selv::hook_options("failing").on_start([&](selv::worker) {
    if (fails) throw no_runtime("no runtime here");
  }));
  auto job = c.submit([] { check_fail(__FILE__, __LINE__, "a job ran without its hook"); });
  expect_nested([&] { job.get(); });
  selv::outcome<void> o = c.submit([] {}).take();
  CHECK(o.status() == SELV_E_HOOK_FAILED && o.code() == selv::hook_threw);
  expect_nested([&] { o.get(); });
  c.submit([] {}, [](selv::outcome<void> out) { expect_nested([&] { out.get(); }); }).wait();
  CHECK_EQ_U64(h.stats().start_failures, 3);
  const selv::error e = EXPECT_ERROR(SELV_E_HOOK_FAILED, c.run([] {}));
  EXPECT_HAS(e.what(), "hook 'failing'");
  fails = false;
  c.submit([] {}).get();
}

static void a_before_that_throws_keeps_the_job_from_running() {
  selv::cache c;
  journal j;
  selv::hook first = c.register_hook(noting(j, "A"));
  selv::hook second = c.register_hook(selv::hook_options("failing").before_job([](selv::worker, void *) {
    throw no_runtime("no runtime here");
  }));
  auto job = c.submit([] { check_fail(__FILE__, __LINE__, "a job ran without its hook"); });
  expect_nested([&] { job.get(); });
  CHECK_STR(j.text().c_str(), "A.start A.before A.after");
  c.submit([] {}, selv::job_options().needs({first})).get(); /* which does not need the other */
}

static void a_hook_may_refuse_with_its_own_number() {
  selv::cache c;
  selv::hook h = c.register_hook(
      selv::hook_options("strict").on_start([](selv::worker) { throw selv::hook_refusal(1234, "licence expired"); }));
  selv::outcome<void> o = c.submit([] {}).take();
  CHECK(o.code() == 1234);
  EXPECT_HAS(words_of(o.exception()), "licence expired");
  h.unregister();
  selv::hook zero = c.register_hook(selv::hook_options("zero").on_start([](selv::worker) { throw selv::hook_refusal(0, "none"); }));
  CHECK(c.submit([] {}).take().code() == selv::hook_threw); /* 0 would mean that it went well */
}

static void an_exception_that_is_no_std_exception() {
  selv::cache c;
  selv::hook h = c.register_hook(selv::hook_options("odd").on_start([](selv::worker) { throw 5; }));
  try {
    c.submit([] {}).get();
    CHECK(false);
  } catch (const selv::error &e) {
    try {
      std::rethrow_if_nested(e);
      CHECK(false);
    } catch (int cause) {
      CHECK(cause == 5);
    }
  }
}

static void an_old_failure_is_not_blamed_for_a_new_one() {
  selv::cache c;
  bool fails = true;
  selv::hook optional = c.register_hook(selv::hook_options("optional", SELV_HOOK_OPTIONAL).on_start([&](selv::worker) {
    if (fails) throw no_runtime("no runtime here");
  }));
  c.submit([] {}).get(); /* its failure is nobody's business */
  fails = false;
  selv::hook gone = c.register_hook(selv::hook_options("gone", SELV_HOOK_LAZY));
  gone.unregister();
  const selv::error e = EXPECT_ERROR(SELV_E_CLOSED, (void)c.submit([] {}, selv::job_options().needs({gone})));
  CHECK(std::string(e.what()).find("no runtime here") == std::string::npos);
}

static void what_exit_and_after_throw_is_heard() {
  listener ears;
  {
    selv::cache c;
    selv::hook h = c.register_hook(selv::hook_options("loud")
                                       .after_job([](selv::worker, void *) { throw std::runtime_error("after"); })
                                       .on_exit([](selv::worker, void *) { throw std::runtime_error("exit"); }));
    CHECK(c.submit([] { return 1; }).get() == 1);
  }
  const auto all = ears.all();
  CHECK_EQ_U64(all.size(), 2);
  CHECK_STR(all[0].c_str(), "an exception left after_job: after");
  CHECK_STR(all[1].c_str(), "an exception left on_exit: exit");
}

/* ---- which hooks a job needs ---- */

static void a_job_names_its_hooks() {
  selv::cache c;
  journal j;
  selv::hook usual = c.register_hook(noting(j, "usual"));
  selv::hook lazy = c.register_hook(noting(j, "lazy", SELV_HOOK_LAZY));
  c.submit([&] { j.note("none"); }, selv::job_options().needs({})).get();
  CHECK_STR(j.text().c_str(), "none");
  c.submit([&] { j.note("lazy"); }, selv::job_options().needs({lazy})).get();
  CHECK_STR(j.text().c_str(), "none lazy.start lazy.before lazy lazy.after");
  CHECK(!usual.stats().starts);
  const selv::job_options none = selv::job_options().needs({}), copied = none;
  c.submit([&] { CHECK(!usual.is_attached()); }, copied).get(); /* none, and not every one */
  CHECK(!usual.stats().starts);
  selv::job_options both = selv::job_options().named("both").needs({usual, lazy});
  c.submit([&] { CHECK(usual.is_attached() && lazy.is_attached()); }, both).get();
  c.submit([&] { CHECK(usual.is_attached()); }).get();
}

static void options_of_a_hook_are_used_once() {
  selv::cache c;
  journal j;
  selv::hook_options options = noting(j, "once");
  const selv::hook h = c.register_hook(std::move(options));
  EXPECT_ERROR(SELV_E_NULL, (void)c.register_hook(std::move(options)));
}

/* ---- the end of a hook ---- */

static void the_end_of_a_hook_waits_for_its_callables() {
  selv::cache c;
  std::atomic<int> gone{0};
  std::atomic<bool> exited{false};
  gate begun, go;
  auto job = c.submit([] {});
  {
    bool local = true; /* what the hook refers to ends with this block */
    selv::hook h = c.register_hook(selv::hook_options("local")
                                       .on_start([s = sentinel(gone)](selv::worker) {})
                                       .on_exit([&](selv::worker, void *) {
                                         CHECK(local);
                                         exited = true;
                                       }));
    job = c.submit([&] { begun.open(), go.wait(); });
    begun.wait();
    std::thread later([&] { go.open(); });
    later.detach();
  }
  CHECK(exited);
  CHECK(gone == 1);
  job.get();
  c.submit([] {}).get();
}

static void the_end_of_a_hook_on_its_own_worker_only_begins() {
  selv::cache c;
  journal j;
  std::atomic<int> gone{0};
  std::optional<selv::hook> h =
      c.register_hook(noting(j, "A").on_start([&j, s = sentinel(gone)](selv::worker) { j.note("A.start"); }));
  c.submit([&] {
     h.reset();
     CHECK(gone == 0); /* still attached here */
   }).get();
  CHECK_EVENTUALLY(gone == 1);
  CHECK_STR(j.text().c_str(), "A.start A.before A.after A.exit");
}

static void a_hook_that_is_kept() {
  std::atomic<int> gone{0};
  journal j;
  {
    selv::cache c;
    c.register_hook(noting(j, "kept").on_start([&j, s = sentinel(gone)](selv::worker) { j.note("kept.start"); })).keep();
    c.submit([] {}).get();
    CHECK(gone == 0);
    c.shutdown();
  }
  CHECK_EVENTUALLY(gone == 1);
  CHECK_STR(j.text().c_str(), "kept.start kept.before kept.after kept.exit");
}

static void a_refused_registration_frees_what_it_was_given() {
  selv::cache c;
  c.shutdown();
  std::atomic<int> gone{0};
  EXPECT_ERROR(SELV_E_CLOSED, (void)c.register_hook(selv::hook_options("late").on_start([s = sentinel(gone)](selv::worker) {})));
  CHECK(gone == 1);
  EXPECT_ERROR(SELV_E_INVAL, (void)selv::cache().register_hook(selv::hook_options("flags", 1u << 30)));
}

static void unregister_in_time() {
  selv::cache c;
  selv::hook h = c.register_hook(selv::hook_options("busy"));
  gate begun, go;
  auto job = c.submit([&] { begun.open(), go.wait(); });
  begun.wait();
  std::uint32_t attached = 0;
  CHECK(!h.unregister(1ms, &attached));
  CHECK_EQ_U64(attached, 1);
  go.open();
  CHECK(h.unregister(selv::forever, &attached));
  CHECK_EQ_U64(attached, 0);
  job.get();
}

static void a_hook_moves() {
  selv::cache c;
  std::atomic<int> gone{0};
  selv::hook a = c.register_hook(selv::hook_options("a").on_start([s = sentinel(gone)](selv::worker) {}));
  selv::hook b = std::move(a);
  CHECK(a.handle() == nullptr && !a.is_attached() && a.slot() == nullptr);
  b = c.register_hook(selv::hook_options("b"));
  CHECK(gone == 1); /* the first was unregistered by the assignment */
  selv::hook d = selv::hook::adopt(b.let_go());
  CHECK_EQ_U64(d.stats().attached, 0);
}

/* ---- threads of the host's own ---- */

static void a_thread_enters_and_leaves() {
  selv::cache c;
  journal j;
  selv::hook usual = c.register_hook(noting(j, "usual")), lazy = c.register_hook(noting(j, "lazy", SELV_HOOK_LAZY));
  {
    const selv::thread_scope on_cache(c);
    CHECK(usual.is_attached() && !lazy.is_attached());
    CHECK(static_cast<bool>(selv::worker::current()));
    {
      const selv::thread_scope nested(c, {lazy});
      CHECK(lazy.is_attached());
    }
    CHECK_EQ_U64(c.stats().threads_entered, 1);
  }
  CHECK(!usual.is_attached() && !selv::worker::current());
  CHECK_STR(j.text().c_str(), "usual.start lazy.start lazy.exit usual.exit");
  { const selv::thread_scope bare(c, {}); }
  CHECK_EQ_U64(usual.stats().starts, 1);
  selv::hook failing = c.register_hook(selv::hook_options("failing").on_start([](selv::worker) { throw 1; }));
  EXPECT_ERROR(SELV_E_HOOK_FAILED, const selv::thread_scope refused(c));
  CHECK(!selv::worker::current());
}

int main() {
  CHECK_RUN(hooks_bracket_the_job_and_the_worker);
  CHECK_RUN(what_a_callable_holds_goes_inside_the_hooks);
  CHECK_RUN(the_slot_is_what_on_start_returns);
  CHECK_RUN(the_worker_is_the_one_that_runs);
  CHECK_RUN(a_start_that_throws_fails_the_job);
  CHECK_RUN(a_before_that_throws_keeps_the_job_from_running);
  CHECK_RUN(a_hook_may_refuse_with_its_own_number);
  CHECK_RUN(an_exception_that_is_no_std_exception);
  CHECK_RUN(an_old_failure_is_not_blamed_for_a_new_one);
  CHECK_RUN(what_exit_and_after_throw_is_heard);
  CHECK_RUN(a_job_names_its_hooks);
  CHECK_RUN(options_of_a_hook_are_used_once);
  CHECK_RUN(the_end_of_a_hook_waits_for_its_callables);
  CHECK_RUN(the_end_of_a_hook_on_its_own_worker_only_begins);
  CHECK_RUN(a_hook_that_is_kept);
  CHECK_RUN(a_refused_registration_frees_what_it_was_given);
  CHECK_RUN(unregister_in_time);
  CHECK_RUN(a_hook_moves);
  CHECK_RUN(a_thread_enters_and_leaves);
  return 0;
}

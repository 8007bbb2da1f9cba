/* pthread_exit.cpp: a runtime ends the thread inside a C++ callable, as CPython up to 3.13 does at finalisation. The unwinding
 * passes through the header's own frames, runs the destructors on its way, and is taken for no exception. */
#include "expect.hpp"

[[noreturn]] static void end_thread() { pthread_exit(nullptr); }

/* All that was accepted has been delivered, and nobody waits for the dead. */
static void end_after_losses(selv::cache &c, std::uint64_t lost) {
  CHECK(c.submit([] { return 1; }).get() == 1);
  CHECK_EVENTUALLY(c.stats().threads_lost == lost);
  CHECK(c.shutdown());
  CHECK_EQ_U64(c.stats().jobs_accepted, c.stats().jobs_delivered);
}

static void in_a_job() {
  selv::cache c;
  std::atomic<int> gone{0}, unwound{0};
  auto job = c.submit([&, held = sentinel(gone)]() -> int {
    const sentinel local(unwound);
    end_thread();
  });
  const selv::error e = EXPECT_ERROR(SELV_E_BROKEN, job.get());
  CHECK(*e.detail() != '\0');
  CHECK(gone == 1 && unwound == 1);
  end_after_losses(c, 1);
}

static void in_a_job_below_handlers_of_its_own() {
  selv::cache c;
  bool caught = false;
  auto job = c.submit([&] {
    try {
      end_thread();
    } catch (const std::exception &) {
      caught = true; /* it is none */
    }
  });
  EXPECT_ERROR(SELV_E_BROKEN, job.get());
  CHECK(!caught);
  end_after_losses(c, 1);
}

static void in_a_job_with_a_deliver() {
  selv::cache c;
  std::atomic<int> delivered{0}, gone{0};
  c.submit([] { end_thread(); },
           [&, s = sentinel(gone)](selv::outcome<void> o) {
             CHECK_STATUS(o.status(), SELV_E_BROKEN);
             EXPECT_ERROR(SELV_E_BROKEN, o.get());
             ++delivered;
           })
      .wait();
  CHECK(delivered == 1);
  end_after_losses(c, 1);
  CHECK(gone == 1);
}

static void in_a_run() {
  selv::cache c;
  std::atomic<int> unwound{0};
  EXPECT_ERROR(SELV_E_BROKEN, c.run([&] {
    const sentinel local(unwound);
    end_thread();
  }));
  CHECK(unwound == 1);
  end_after_losses(c, 1);
}

static void in_a_job_started_soon() {
  selv::cache c;
  gate delivered;
  c.start_soon([] { end_thread(); },
               [&](selv::outcome<void> o) {
                 CHECK_STATUS(o.status(), SELV_E_BROKEN);
                 delivered.open();
               });
  delivered.wait();
  listener ears;
  c.start_soon([] { end_thread(); });
  CHECK_EVENTUALLY(ears.all().size() == 1); /* a job that failed, and nobody to take that */
  EXPECT_HAS(ears.only(), "SELV_E_BROKEN");
  end_after_losses(c, 2);
}

static void in_a_deliver() {
  selv::cache c;
  std::atomic<int> gone{0}, calls{0};
  c.submit([] { return 1; },
           [&, s = sentinel(gone)](selv::outcome<int> o) {
             CHECK(o.get() == 1);
             ++calls;
             end_thread();
           })
      .wait();
  c.start_soon([] { return 1; }, [&, s = sentinel(gone)](selv::outcome<int>) {
    ++calls;
    end_thread();
  });
  CHECK_EVENTUALLY(calls == 2);
  end_after_losses(c, 2);
  CHECK_EVENTUALLY(gone == 2);
  CHECK(calls == 2);
}

template <class Register>
static void in_a_hook(Register add) {
  selv::cache c;
  std::atomic<bool> mortal{true};
  std::atomic<int> gone{0};
  selv::hook h = c.register_hook(add(selv::hook_options("mortal"), [&mortal, s = sentinel(gone)] {
    if (mortal.exchange(false)) end_thread();
  }));
  EXPECT_ERROR(SELV_E_BROKEN, c.submit([] { return 1; }).get());
  CHECK(c.submit([] { return 2; }).get() == 2);
  CHECK(h.unregister());
  CHECK_EVENTUALLY(gone == 1);
  end_after_losses(c, 1);
}

static void in_on_start() {
  in_a_hook([](selv::hook_options o, auto f) {
    return std::move(o).on_start([g = std::move(f)](selv::worker) mutable { g(); });
  });
}
static void in_before_job() {
  in_a_hook([](selv::hook_options o, auto f) {
    return std::move(o).before_job([g = std::move(f)](selv::worker, void *) mutable { g(); });
  });
}
static void in_after_job() {
  in_a_hook([](selv::hook_options o, auto f) {
    return std::move(o).after_job([g = std::move(f)](selv::worker, void *) mutable { g(); });
  });
}

static void in_on_exit() {
  selv::cache c;
  bool exited = false;
  selv::hook h = c.register_hook(selv::hook_options("mortal").on_exit([&](selv::worker, void *) {
    exited = true;
    end_thread();
  }));
  CHECK(c.submit([] { return 2; }).get() == 2);
  CHECK(h.unregister());
  CHECK(exited);
  end_after_losses(c, 1);
}

int main() {
  CHECK_RUN(in_a_job);
  CHECK_RUN(in_a_job_below_handlers_of_its_own);
  CHECK_RUN(in_a_job_with_a_deliver);
  CHECK_RUN(in_a_run);
  CHECK_RUN(in_a_job_started_soon);
  CHECK_RUN(in_a_deliver);
  CHECK_RUN(in_on_start);
  CHECK_RUN(in_before_job);
  CHECK_RUN(in_after_job);
  CHECK_RUN(in_on_exit);
  return 0;
}

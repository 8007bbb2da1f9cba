/* fork.cpp: the objects in a fork child: what was the parent's throws SELV_E_FORKED, the rest works, and every destructor ends in
 * silence. The allocator of gcc 12's address sanitizer stays locked in a child that is forked while another thread allocates. */
/* without: asan */
#include "expect.hpp"

#include <sys/wait.h>

/* Runs f in a fork child; its checks count here. */
template <class F>
static void in_child(F f) {
  std::fflush(stdout);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    f();
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void a_job_is_the_parents() {
  std::optional<selv::cache> c(std::in_place);
  gate go, begun;
  selv::job<int> job = c->submit([&] { return begun.open(), go.wait(), 7; });
  begun.wait();
  in_child([&] {
    EXPECT_ERROR(SELV_E_FORKED, (void)job.wait_for(0s));
    EXPECT_ERROR(SELV_E_FORKED, job.cancel());
    EXPECT_ERROR(SELV_E_FORKED, job.get());
    CHECK(c->submit([] { return 8; }).get() == 8); /* on a worker of the child */
    CHECK(c->shutdown());
    job = {};
    c.reset();
  });
  go.open();
  CHECK(job.get() == 7);
}

static void a_hook_is_disarmed() {
  selv::cache c;
  std::atomic<int> exits{0};
  std::optional<selv::hook> h = c.register_hook(selv::hook_options("parents").on_exit([&](selv::worker, void *) { ++exits; }));
  c.submit([] {}).get();
  in_child([&] {
    EXPECT_ERROR(SELV_E_FORKED, (void)c.submit([] {}, selv::job_options().needs({*h})));
    CHECK(c.submit([] { return 1; }).get() == 1);
    h.reset(); /* at once: there is nobody to wait for */
    CHECK(exits == 0);
  });
  h.reset();
  CHECK(exits == 1);
}

static void a_lock_held_by_another_thread() {
  std::optional<selv::lock> l(std::in_place, "ledger");
  gate held, go;
  tasked other("Ann", [&] {
    const std::lock_guard<selv::lock> g(*l);
    held.open();
    go.wait();
  });
  held.wait();
  in_child([&] {
    EXPECT_ERROR(SELV_E_FORKED, l->lock());
    EXPECT_ERROR(SELV_E_FORKED, (void)l->try_lock_for(1h));
    { const std::unique_lock<selv::lock> g = l->repair(); }
    { const std::lock_guard<selv::lock> g(*l); }
    l.reset();
  });
  in_child([&] { l.reset(); }); /* also as it is */
  go.open();
  other.join();
}

static void a_lock_of_the_forking_thread() {
  selv::lock l;
  std::unique_lock<selv::lock> g(l);
  in_child([&] {
    CHECK_EQ_U64(l.owner(), selv::current_task());
    g.unlock();
    g.lock();
    g.unlock();
  });
  g.unlock();
}

static void an_operation_is_the_parents() {
  selv::event e;
  std::atomic<int> calls{0};
  selv::op op = e.wait_async([&](selv::completed) { ++calls; });
  CHECK(op.pending());
  in_child([&] {
    e.set();
    CHECK(calls == 0);
    CHECK(e.wait_for(0s));
  });
  e.set();
  CHECK(calls == 1);
}

/* Sleeps until it is interrupted, for good. */
class sleeper : public selv::guest_loop {
 public:
  std::optional<selv::timeout> prepare() override { return selv::forever; }
  std::unique_ptr<events> poll(selv::timeout limit) override {
    if (limit.ns() == 0) return nullptr;
    asleep.open();
    woken.wait();
    return nullptr;
  }
  void process(std::unique_ptr<events>) override {}
  void interrupt() override { woken.open(); }
  void done(selv::outcome<void>) override { ended = true; }
  gate asleep, woken;
  bool ended = false;
};

static void a_host_loop_and_its_guest_are_the_parents() {
  std::optional<selv::host_loop> l(std::in_place);
  auto s = std::make_shared<sleeper>();
  std::optional<selv::guest> g(std::in_place, *l, s);
  std::atomic<int> gone{0}, called{0};
  l->drain();
  s->asleep.wait();
  l->call_soon([&, here = sentinel(gone)] { ++called; });
  in_child([&] {
    EXPECT_ERROR(SELV_E_FORKED, l->call_soon([] {}));
    EXPECT_ERROR(SELV_E_FORKED, l->call([] {}));
    EXPECT_ERROR(SELV_E_FORKED, l->drain());
    EXPECT_ERROR(SELV_E_FORKED, l->close());
    EXPECT_ERROR(SELV_E_FORKED, l->bind());
    EXPECT_ERROR(SELV_E_FORKED, (void)l->stats());
    EXPECT_ERROR(SELV_E_FORKED, g->interrupt());
    EXPECT_ERROR(SELV_E_FORKED, g->stop());
    EXPECT_ERROR(SELV_E_FORKED, (void)g->abandon());
    EXPECT_ERROR(SELV_E_FORKED, selv::guest(*l, s));
    g.reset();
    l.reset();
    CHECK(gone == 0 && called == 0 && !s->ended); /* what waits is the parent's */
    selv::host_loop fresh;
    fresh.call_soon([&] { ++called; });
    CHECK_EQ_U64(fresh.drain(), 1);
    CHECK(called == 1);
  });
  l->drain();
  CHECK(gone == 1 && called == 1);
  CHECK(g->abandon() && s->ended);
  l->close();
}

int main() {
  CHECK_RUN(a_job_is_the_parents);
  CHECK_RUN(a_hook_is_disarmed);
  CHECK_RUN(a_lock_held_by_another_thread);
  CHECK_RUN(a_lock_of_the_forking_thread);
  CHECK_RUN(an_operation_is_the_parents);
  CHECK_RUN(a_host_loop_and_its_guest_are_the_parents);
  return 0;
}

/* channels.cpp: bytes through selv::channel: waiting, in time, not at all, asynchronously, and to the end of it. */
#include "expect.hpp"

static void messages_come_out_as_they_went_in() {
  selv::channel ch;
  const std::string binary("a\0b", 3);
  CHECK(ch.send("hello") && ch.send(binary) && ch.send(""));
  std::optional<selv::bytes> got = ch.recv();
  CHECK(got && got->view() == "hello" && got->size() == 5);
  CHECK(std::string_view(static_cast<const char *>(got->data()), got->size()) == "hello");
  got = ch.recv();
  CHECK(got && got->str() == binary);
  got = ch.recv();
  CHECK(got && got->size() == 0 && got->view().empty());
}

static void bytes_move() {
  selv::channel ch;
  ch.send("moved");
  std::optional<selv::bytes> got = ch.recv();
  selv::bytes a = std::move(*got), b;
  CHECK(got->size() == 0 && got->view().empty());
  b = std::move(a);
  CHECK(a.data() == nullptr && b.view() == "moved");
}

static void a_bounded_channel_makes_senders_wait() {
  selv::channel ch(1, "narrow");
  selv::bytes got;
  CHECK(ch.try_recv(got) == selv::transfer::not_now);
  CHECK(ch.recv_for(1ms, got) == selv::transfer::not_now);
  CHECK(ch.try_send("1") == selv::transfer::done);
  CHECK(ch.try_send("2") == selv::transfer::not_now);
  CHECK(ch.send_for(1ms, "2") == selv::transfer::not_now);
  tasked sender("sender", [&] { CHECK(ch.send("3")); });
  CHECK_EVENTUALLY(ch.stats().senders_waiting == 1);
  CHECK(ch.try_recv(got) == selv::transfer::done && got.view() == "1");
  sender.join();
  CHECK(ch.recv_for(1h, got) == selv::transfer::done && got.view() == "3");
}

static void a_rendezvous_has_no_room() {
  selv::channel ch(0, "hand to hand", SELV_CHANNEL_RENDEZVOUS);
  CHECK(ch.try_send("x") == selv::transfer::not_now);
  tasked receiver("receiver", [&] { CHECK(ch.recv()->view() == "x"); });
  CHECK_EVENTUALLY(ch.stats().receivers_waiting == 1);
  CHECK(ch.send_for(1h, "x") == selv::transfer::done);
  receiver.join();
}

static void a_closed_channel_is_read_to_its_end() {
  selv::channel ch(1);
  CHECK(ch.send("last"));
  tasked sender("sender", [&] { CHECK(!ch.send("too late")); });
  CHECK_EVENTUALLY(ch.stats().senders_waiting == 1);
  ch.close();
  sender.join();
  CHECK(!ch.send("after"));
  CHECK(ch.try_send("after") == selv::transfer::closed);
  CHECK(ch.recv()->view() == "last");
  CHECK(!ch.recv());
  selv::bytes got;
  CHECK(ch.try_recv(got) == selv::transfer::closed && ch.recv_for(1h, got) == selv::transfer::closed);
  selv::channel empty;
  tasked receiver("receiver", [&] { CHECK(!empty.recv()); });
  CHECK_EVENTUALLY(empty.stats().receivers_waiting == 1);
  empty.close();
  receiver.join();
}

static void a_failure_is_no_end() {
  selv::channel ch;
  selv::task a("a");
  a.interrupt();
  EXPECT_ERROR(SELV_E_CANCELLED, (void)ch.recv(a.id()));
  EXPECT_ERROR(SELV_E_INVAL, (void)ch.recv(0));
  const selv::channel moved = std::move(ch);
  EXPECT_ERROR(SELV_E_NULL, (void)ch.recv());
  EXPECT_ERROR(SELV_E_NULL, ch.send("x"));
}

static void asynchronously() {
  selv::channel ch(1);
  gate received, sent;
  std::string text;
  const selv::op reading = ch.recv_async([&](selv::completed c) {
    c.check();
    text = c.received().str();
    received.open();
  });
  CHECK(reading.pending());
  CHECK(ch.send("to a callback"));
  received.wait();
  CHECK(text == "to a callback");
  CHECK(!ch.send_async([](selv::completed) {}, "at once").pending());
  const selv::op sending = ch.send_async([&](selv::completed c) { c.check(), sent.open(); }, "later");
  CHECK(sending.pending());
  CHECK(ch.recv()->view() == "at once");
  sent.wait();
  CHECK(ch.recv()->view() == "later");
  /* What a callback does not take is freed with it (the sanitizers look). */
  const selv::op ignoring = ch.recv_async([&](selv::completed) { received.open(); });
  CHECK(ignoring.pending() && ch.send("ignored"));
  received.wait(2);
  selv::op gone = ch.recv_async([](selv::completed) { check_fail(__FILE__, __LINE__, "called back"); });
  CHECK(gone.abandon());
  CHECK(ch.send("kept") && ch.recv()->view() == "kept");
}

static void many_to_many() {
  selv::channel ch(4);
  const int each = static_cast<int>(check_scaled(500));
  std::atomic<long> sum{0}, received{0};
  std::vector<std::thread> senders, receivers;
  for (int i = 0; i < 3; i++) {
    senders.emplace_back([&] {
      for (int n = 1; n <= each; n++) CHECK(ch.send(std::to_string(n)));
    });
    receivers.emplace_back([&] {
      while (const std::optional<selv::bytes> got = ch.recv()) sum += std::stol(got->str()), received++;
    });
  }
  for (std::thread &t : senders) t.join();
  ch.close();
  for (std::thread &t : receivers) t.join();
  CHECK(received == 3L * each);
  CHECK(sum == 3L * each * (each + 1) / 2);
}

int main() {
  CHECK_RUN(messages_come_out_as_they_went_in);
  CHECK_RUN(bytes_move);
  CHECK_RUN(a_bounded_channel_makes_senders_wait);
  CHECK_RUN(a_rendezvous_has_no_room);
  CHECK_RUN(a_closed_channel_is_read_to_its_end);
  CHECK_RUN(a_failure_is_no_end);
  CHECK_RUN(asynchronously);
  CHECK_RUN(many_to_many);
  return 0;
}

/* two_units.cpp: the header in two translation units of one program (the other is two_units_other.cpp): one set of functions, one
 * unhandled handler, objects and exceptions that pass between them. */
#include "expect.hpp"

selv::job<int> submitted_elsewhere(selv::cache &c, int number);
selv::job<int> failing_elsewhere(selv::cache &c);
selv::unhandled_fn handler_seen_elsewhere();
void lock_elsewhere(selv::lock &l);

static void jobs_pass_between_units() {
  selv::cache c;
  CHECK(submitted_elsewhere(c, 21).get() == 42);
  const selv::error e = EXPECT_ERROR(SELV_E_CLOSED, failing_elsewhere(c).get());
  CHECK_STR(e.detail(), "thrown elsewhere");
}

static void there_is_one_handler() {
  CHECK(handler_seen_elsewhere() == &fail_unhandled);
  const listener ears;
  CHECK(handler_seen_elsewhere() != &fail_unhandled);
}

static void locks_pass_between_units() {
  selv::lock l;
  lock_elsewhere(l);
  CHECK_EQ_U64(l.owner(), selv::current_task());
  l.unlock();
}

int main() {
  CHECK_RUN(jobs_pass_between_units);
  CHECK_RUN(there_is_one_handler);
  CHECK_RUN(locks_pass_between_units);
  return 0;
}

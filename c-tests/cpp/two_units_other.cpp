/* two_units_other.cpp: the other translation unit of two_units.cpp. */
#include <selvedge.hpp>

selv::job<int> submitted_elsewhere(selv::cache &c, int number);
selv::job<int> failing_elsewhere(selv::cache &c);
selv::unhandled_fn handler_seen_elsewhere();
void lock_elsewhere(selv::lock &l);

selv::job<int> submitted_elsewhere(selv::cache &c, int number) {
  return c.submit([number] { return 2 * number; });
}

selv::job<int> failing_elsewhere(selv::cache &c) {
  return c.submit([]() -> int { throw selv::error(SELV_E_CLOSED, "thrown elsewhere"); });
}

selv::unhandled_fn handler_seen_elsewhere() {
  const selv::unhandled_fn seen = selv::set_unhandled(nullptr);
  selv::set_unhandled(seen);
  return seen;
}

void lock_elsewhere(selv::lock &l) { std::unique_lock<selv::lock>(l).release(); }

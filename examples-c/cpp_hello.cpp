/* cpp_hello.cpp: callables as jobs, what they return and what they throw; and a lock that tells when its owner has ended.
 *     c++ -std=c++17 cpp_hello.cpp -o cpp_hello $(pkg-config --cflags --libs selvedge) && ./cpp_hello */
#include <iostream>
#include <selvedge.hpp>

static int square(int n) {
  if (n > 1000) throw std::invalid_argument(std::to_string(n) + " is too big for me");
  return n * n;
}

int main() {
  try {
    selv::cache cache;
    selv::job<int> small = cache.submit([] { return square(12); });
    selv::job<int> big = cache.submit([] { return square(1200); });
    std::cout << "the square of 12 is " << small.get() << '\n';
    try {
      big.get();
    } catch (const std::invalid_argument &e) {
      std::cout << "the job threw: " << e.what() << '\n';
    }

    selv::lock ledger("ledger");
    const selv::job_options named_clerk = selv::job_options().named("clerk");
    cache.submit([&] { ledger.lock(); }, named_clerk).get(); /* ends, and never lets go of the lock */
    try {
      const std::lock_guard<selv::lock> guard(ledger);
    } catch (const selv::error &e) {
      std::cout << e.what() << '\n';
    }
    {
      const std::unique_lock<selv::lock> guard = ledger.repair();
      std::cout << "whoever repairs the lock holds it\n";
    }
    const std::lock_guard<selv::lock> guard(ledger);
    std::cout << "and after that it is as good as new\n";
    cache.shutdown();
  } catch (const std::exception &e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
}

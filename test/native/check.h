// A test harness in one header. Each test file is one program:
//
//   TEST(name) { CHECK(condition); CHECK_EQ(actual, expected); }
//
// A failed check prints file, line and values, is counted, and does not end the test; a check returns whether
// it held, so a loop can stop at the first failure. Checks may be used from several threads. The program's
// last line is "N passed, N failed" (tests), and it exits with 1 if any failed.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

// How much slower this build runs its loops; iteration counts are divided by it.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLUICE_TEST_SLOWDOWN 10
#elif __has_feature(address_sanitizer)
#define SLUICE_TEST_SLOWDOWN 4
#endif
#endif
#if !defined(SLUICE_TEST_SLOWDOWN) && defined(__SANITIZE_THREAD__)
#define SLUICE_TEST_SLOWDOWN 10
#elif !defined(SLUICE_TEST_SLOWDOWN) && defined(__SANITIZE_ADDRESS__)
#define SLUICE_TEST_SLOWDOWN 4
#elif !defined(SLUICE_TEST_SLOWDOWN)
#define SLUICE_TEST_SLOWDOWN 1
#endif

namespace check {

// An iteration count, cut down where a sanitizer makes every iteration slower.
constexpr int scaled(int iterations) { return iterations / SLUICE_TEST_SLOWDOWN; }

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Registration {
  Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

inline std::atomic<int> failedChecks{0};
inline constexpr int kMaxReports = 20;  // per test

inline void report(const std::string& text) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> guard(mutex);
  std::cout << text << '\n' << std::flush;
}

template <class T>
std::string show(const T& value) {
  std::ostringstream out;
  if constexpr (std::is_enum_v<T>) {
    out << static_cast<long long>(value);
  } else if constexpr (sizeof(T) == 16 && std::is_convertible_v<T, unsigned long long>) {
    const auto high = static_cast<std::uint64_t>(value >> 64);
    if (high != 0) out << high << " * 2^64 + ";
    out << static_cast<std::uint64_t>(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    out << (value ? "true" : "false");
  } else {
    out << value;
  }
  return out.str();
}

inline bool fail(const char* file, int line, const std::string& what) {
  if (failedChecks.fetch_add(1) < kMaxReports) {
    report("  " + std::string(file) + ":" + std::to_string(line) + ": " + what);
  }
  return false;
}

template <class T>
concept Integer = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char>;

template <class A, class B>
bool same(const A& a, const B& b) {
  if constexpr (Integer<A> && Integer<B>) {
    return std::cmp_equal(a, b);
  } else {
    return a == b;
  }
}

template <class A, class B>
bool equal(const char* file, int line, const char* text, const A& actual, const B& expected) {
  if (same(actual, expected)) return true;
  return fail(file, line, std::string(text) + ": " + show(actual) + ", expected " + show(expected));
}

inline bool isTrue(const char* file, int line, const char* text, bool condition) {
  return condition || fail(file, line, text);
}

// Prints pairs of name and value: what a random test was doing when a check failed, or the seed it runs with.
template <class... Args>
void note(const char* name, const Args&... rest) {
  std::ostringstream out;
  out << "    " << name;
  ((out << ' ' << show(rest)), ...);
  report(out.str());
}

inline int runAll() {
  int failed = 0;
  for (const Test& test : tests()) {
    failedChecks = 0;
    test.run();
    if (failedChecks == 0) continue;
    ++failed;
    report("FAILED " + std::string(test.name) + " (" + std::to_string(failedChecks) + " checks)");
  }
  const int total = static_cast<int>(tests().size());
  report(std::to_string(total - failed) + " passed, " + std::to_string(failed) + " failed");
  return failed == 0 ? 0 : 1;
}

}  // namespace check

#define TEST(name)                                                      \
  static void test_##name();                                            \
  static const check::Registration register_##name(#name, test_##name); \
  static void test_##name()
#define CHECK(condition) check::isTrue(__FILE__, __LINE__, #condition, (condition))
#define CHECK_EQ(actual, expected) check::equal(__FILE__, __LINE__, #actual, (actual), (expected))

int main() { return check::runAll(); }

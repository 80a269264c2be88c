// Runs the same work on several threads that start together.
#pragma once

#include <barrier>
#include <functional>
#include <thread>
#include <vector>

namespace check {

// More threads than most machines that run the tests have processors: they also interrupt each other
// anywhere.
inline constexpr unsigned kThreads = 4;

inline void race(const std::function<void(unsigned thread)>& work, unsigned threads = kThreads) {
  std::barrier start(static_cast<std::ptrdiff_t>(threads));
  std::vector<std::thread> running;
  for (unsigned i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      start.arrive_and_wait();
      work(i);
    });
  }
  for (std::thread& thread : running) thread.join();
}

}  // namespace check

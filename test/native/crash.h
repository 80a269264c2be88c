// Kills a child process at a chosen point of its work. For programs built with SLUICE_CRASH_POINTS.
#pragma once

#include "core/clock.h"
#include "core/crash_point.h"

#include "processes.h"

namespace check {

inline int pointsToLive = 0;

inline void liveFor(int points) {
  pointsToLive = points;
  sluice::atCrashPoint = [] {
    if (pointsToLive-- == 0) kill(getpid(), SIGKILL);
  };
}
inline void liveOn() { sluice::atCrashPoint = nullptr; }

// `prepare` and `work` in a child that is killed at the n-th point of its work, counted from 0. True if it
// got that far, false if its work was done before.
template <class Prepare, class Work>
bool diesAt(int n, Prepare&& prepare, Work&& work) {
  const End end = waitFor(spawn([&] {
    auto prepared = prepare();
    liveFor(n);
    work(prepared);
    liveOn();
  }));
  CHECK(end != End::kFailed);
  return end == End::kKilled;
}

// How long something took at worst, in microseconds of the machine's clock.
class Worst {
 public:
  template <class Work>
  void time(Work&& work) {
    const std::uint64_t startNs = sluice::SystemClock::exactNs();
    work();
    us_ = std::max(us_, (sluice::SystemClock::exactNs() - startNs) / sluice::kNsPerUs);
  }
  std::uint64_t us() const { return us_; }

 private:
  std::uint64_t us_ = 0;
};

}  // namespace check

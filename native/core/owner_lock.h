// A spin lock that knows who holds it, so that it can be taken from a holder that has died.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "core/crash_point.h"

namespace sluice {

class OwnerLock {
 public:
  // Waits until the lock is the caller's. `own` tells the caller from all others, and is not 0;
  // `isGone(token)` says whether a holder has died. True if the lock was taken from the dead, who may have
  // left what it guards half changed.
  template <class IsGone>
  bool acquire(std::uint64_t own, IsGone&& isGone) {
    for (unsigned waits = 0;;) {
      // Relaxed: only looks; the exchange synchronises.
      std::uint64_t seen = holder_.load(std::memory_order_relaxed);
      if (seen == 0) {
        crashPoint();
        // Acquire: sees everything the previous holder wrote. Failure relaxed: looks again.
        if (holder_.compare_exchange_weak(seen, own, std::memory_order_acquire, std::memory_order_relaxed))
          return false;
        continue;
      }
      if (++waits <= kSpinsBeforeYield) continue;
      std::this_thread::yield();
      if (waits % kYieldsBeforeAsking != 0 || !isGone(seen)) continue;
      crashPoint();
      // Acquire: sees everything the dead holder wrote; the system ordered its end before our question.
      if (holder_.compare_exchange_strong(seen, own, std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    }
  }

  // Release: hands everything written under the lock to the next holder.
  void release() {
    crashPoint();
    holder_.store(0, std::memory_order_release);
  }

 private:
  static constexpr unsigned kSpinsBeforeYield = 64;
  static constexpr unsigned kYieldsBeforeAsking = 32;  // asking is a system call

  std::atomic<std::uint64_t> holder_;
};
static_assert(sizeof(OwnerLock) == 8);

}  // namespace sluice

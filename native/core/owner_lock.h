// A spin lock that knows who holds it, so that it can be taken from a holder that has died.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "core/crash_point.h"
#include "core/member.h"

namespace sluice {

enum class Acquired : std::uint8_t {
  kFree,
  kFromTheDead,  // who may have left what it guards half changed
  kNot,          // its holder lives, but does not go on
};

class OwnerLock {
 public:
  // Waits until the lock is the member's. That its holder has died is found out within a millisecond. For one
  // who lives and does not let go (a process that was stopped, a frozen container) it waits some 200 ms, and
  // from then on, until that one has let go, all wait only briefly: one that stands still must not stop the
  // others. Threads of one process wait as long as it takes.
  Acquired acquire(const Membership& member) {
    std::uint64_t holder = 0;
    for (unsigned waits = 0;;) {
      // Acquire: who asks whether this holder lives sees the place that it took before.
      std::uint64_t seen = holder_.load(std::memory_order_acquire);
      if (seen == 0) {
        crashPoint();
        // Acq_rel: sees everything the previous holder wrote, and shows who waits that this one has its
        // place. Failure relaxed: looks again.
        if (holder_.compare_exchange_weak(seen, member.token(), std::memory_order_acq_rel,
                                          std::memory_order_relaxed)) {
          return Acquired::kFree;
        }
        continue;
      }
      if ((seen & ~kWaitedInVain) != holder) {  // it goes from hand to hand, only not to ours
        holder = seen & ~kWaitedInVain;
        waits = std::min(waits, kSpins + kYields);
      }
      if (++waits <= kSpins) continue;
      pause(waits);
      if (waits <= kSpins + kYields && waits % kYieldsBetweenQuestions != kFirstQuestion) continue;
      if (member.isGone(holder)) {
        crashPoint();
        // Acq_rel: likewise; the system ordered the dead holder's end, and all it wrote, before our question.
        if (holder_.compare_exchange_strong(seen, member.token(), std::memory_order_acq_rel,
                                            std::memory_order_relaxed)) {
          return Acquired::kFromTheDead;
        }
      } else if (member.isAmongProcesses() && (waits > kMostWaits || (seen & kWaitedInVain) != 0)) {
        // Relaxed: a hint to others. If the holder has just let go, it is not needed.
        holder_.compare_exchange_strong(seen, seen | kWaitedInVain, std::memory_order_relaxed);
        return Acquired::kNot;
      }
    }
  }

  // Release: hands everything written under the lock to the next holder.
  void release() {
    crashPoint();
    holder_.store(0, std::memory_order_release);
  }

 private:
  static constexpr std::uint64_t kWaitedInVain = Member::kLeft;  // no holder's token has that bit
  static constexpr unsigned kSpins = 64;
  static constexpr unsigned kYields = 448;
  static constexpr unsigned kYieldsBetweenQuestions = 32;  // a question is a system call, as is a yield
  static constexpr unsigned kFirstQuestion = 4;
  static constexpr unsigned kMostWaits = kSpins + kYields + 200;

  static void pause(unsigned waits) {
    if (waits <= kSpins + kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  std::atomic<std::uint64_t> holder_;
};
static_assert(sizeof(OwnerLock) == 8);

}  // namespace sluice

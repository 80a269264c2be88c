// A spin lock that knows who holds it, so that it can be taken from a holder that has died.
#pragma once

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
    Patience patience;
    for (;;) {
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
      const std::uint64_t holder = seen & ~kWaitedInVain;
      const bool isStopped = seen != holder;
      if (!patience.timeToAsk(holder, isStopped)) continue;
      if (member.isGone(holder)) {
        crashPoint();
        // Acq_rel: likewise; the system ordered the dead holder's end, and all it wrote, before our question.
        if (holder_.compare_exchange_strong(seen, member.token(), std::memory_order_acq_rel,
                                            std::memory_order_relaxed)) {
          return Acquired::kFromTheDead;
        }
      } else if (member.isAmongProcesses() && (isStopped || patience.isOver())) {
        // Relaxed: a hint to others. If the holder has just let go, it is not needed.
        holder_.compare_exchange_strong(seen, holder | kWaitedInVain, std::memory_order_relaxed);
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
  // How long to wait for one holder, and how: first busily, then leaving the processor to others, then
  // asleep.
  class Patience {
   public:
    // Waits a little. Whether it is time to ask what has become of the holder, which is a system call.
    bool timeToAsk(std::uint64_t holder, bool isStopped) {
      if (holder != holder_) {  // it goes from hand to hand, only not to ours
        holder_ = holder;
        waits_ = waits_ < kSpins ? waits_ : kSpins;
      }
      if (++waits_ <= kSpins || isStopped) return isStopped;
      if (waits_ == kSpins + 1) since_ = std::chrono::steady_clock::now();
      if (waits_ > kSpins + kYields) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return true;
      }
      std::this_thread::yield();
      return (waits_ - kSpins) % kYieldsBetweenQuestions == 0;
    }
    // REQUIRES that timeToAsk was true.
    bool isOver() const { return std::chrono::steady_clock::now() - since_ > kLongest; }

   private:
    static constexpr unsigned kSpins = 64, kYields = 64, kYieldsBetweenQuestions = 4;
    static constexpr std::chrono::milliseconds kLongest{200};

    std::uint64_t holder_ = 0;
    unsigned waits_ = 0;
    std::chrono::steady_clock::time_point since_;
  };

  std::atomic<std::uint64_t> holder_;
};
static_assert(sizeof(OwnerLock) == 8);

}  // namespace sluice

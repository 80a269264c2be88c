// A stripe: one lock, its counters, and the run of lines they guard. A key's every possible place lies in one
// stripe.
#pragma once

#include <atomic>
#include <thread>

#include "core/slot.h"

namespace sluice {

struct alignas(64) Stripe {
  std::atomic<std::uint32_t> lock;         // 0 free, 1 held
  std::uint32_t sweepCursor;               // guarded by lock: the next line to sweep
  std::uint32_t saturated;                 // guarded by lock: an overflow count stuck at its maximum
  std::atomic<std::uint32_t> occupied;     // slots in use; written under lock, read anywhere
  std::atomic<std::uint64_t> evictedLive;  // likewise: entries dropped that still carried information
  std::atomic<std::uint64_t> refusedFull;  // likewise: new keys refused for want of a place
};
static_assert(sizeof(Stripe) == 64);

// Holds a stripe's lock for its lifetime: as long as it takes to look at the 64 slots of a path, or, once in
// as many insertions as the stripe has lines, to recount its overflow. Never across a call out.
class StripeGuard {
 public:
  explicit StripeGuard(Stripe& stripe) : stripe_(stripe) {
    // Acquire: sees everything the previous holder wrote.
    for (unsigned spins = 0; stripe_.lock.exchange(1, std::memory_order_acquire) != 0;) {
      // Relaxed: only waits for a change; the exchange above synchronises.
      while (stripe_.lock.load(std::memory_order_relaxed) != 0) {
        if (++spins > kSpinsBeforeYield) std::this_thread::yield();
      }
    }
  }
  // Release: hands everything written under the lock to the next holder.
  ~StripeGuard() { stripe_.lock.store(0, std::memory_order_release); }
  StripeGuard(const StripeGuard&) = delete;
  StripeGuard& operator=(const StripeGuard&) = delete;

 private:
  static constexpr unsigned kSpinsBeforeYield = 64;
  Stripe& stripe_;
};

// For counters written under the lock: no read-modify-write instruction is needed.
template <class T>
void bump(std::atomic<T>& counter, int by) {
  // Relaxed: a statistic, ordered with nothing.
  counter.store(static_cast<T>(counter.load(std::memory_order_relaxed) + static_cast<T>(by)),
                std::memory_order_relaxed);
}

}  // namespace sluice

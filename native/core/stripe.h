// A stripe: one lock, its counters, and the run of lines they guard. A key's every possible place lies in one
// stripe.
#pragma once

#include <atomic>

#include "core/member.h"
#include "core/owner_lock.h"
#include "core/slot.h"

namespace sluice {

// The change under way: what a slot becomes. Written before the slot is claimed, so that whoever takes the
// lock from the dead can finish it. Says nothing unless that slot is claimed, so it is never cleared. Of its
// two records one counts, so that who has claimed a slot before knowing what it is to become (hold.h) can
// change what the journal says in one step.
struct Journal {
  static constexpr std::uint32_t kSecond = 1U << 31;  // with `slot`: the second record counts

  std::atomic<std::uint32_t> slot;  // within the stripe
  std::uint32_t creations;          // guarded by lock: how many wide entries were made so far
  std::atomic<std::uint64_t> key[2], payload[2];
};

struct alignas(64) Stripe {
  OwnerLock lock;
  std::uint32_t sweepCursor;            // guarded by lock: the next line to sweep
  std::uint32_t saturated;              // guarded by lock: an overflow count stuck at its maximum
  std::atomic<std::uint64_t> occupied;  // slots in use; written under lock, read anywhere
  // Likewise: entries dropped that still carried information, and new keys refused for want of a place.
  std::atomic<std::uint64_t> evictedLive, refusedFull;
  Journal journal;  // guarded by lock
};
static_assert(sizeof(Stripe) == 128);

}  // namespace sluice

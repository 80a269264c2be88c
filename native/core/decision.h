// What the engine answers.
#pragma once

#include "core/slot.h"

namespace sluice {

enum class Outcome : std::uint8_t {
  kAllowed = 0,
  kLimited = 1,    // not now: see retryAfterNs
  kTooCostly = 2,  // the cost exceeds the capacity: never
  kBlocked = 3,    // an explicit block is in force
  kTableFull = 4,  // a new key, and every place it could live holds a key that is still limiting
  kBusy = 5,       // what must change for this key is held by a process that has been stopped half-way
};

inline constexpr std::uint64_t kNever = ~std::uint64_t{0};
inline constexpr std::uint64_t kBusyRetryNs = 200 * kNsPerMs;  // nobody knows; as long as was waited

struct Decision {
  Outcome outcome = Outcome::kAllowed;
  std::uint64_t remaining = 0;  // whole tokens left
  std::uint64_t retryAfterNs =
      0;  // least wait after which the same call is admitted if nobody else spends; kNever
  std::uint64_t resetAfterNs = 0;  // until nothing is spent any more
  std::uint64_t delayNs = 0;       // admitted, but to go out only after that, where the policy paces
  std::uint64_t consumed = 0;      // whole tokens that this call spent
};

// What an operation wants done to an entry. Written only if `write`; a denial may write too, to heal a state
// from the future (the clock was set back) or to carry it over to a changed policy, but never to spend.
template <class EntryT>
struct BasicStep {
  EntryT next;
  bool write = false;
  Outcome outcome = Outcome::kAllowed;
  std::uint64_t amount = 0;  // whole tokens credited (refund) or taken (penalize)
  bool fromFuture = false;   // the entry lies further in the future than any charge made by now puts it
};
using Step = BasicStep<Entry>;

// A charge decided without knowing the exact time. Two words, so that it travels in registers.
struct Verdict {
  enum class Kind : std::uint64_t { kUnsure, kAdmit, kRefuse };
  Kind kind = Kind::kUnsure;
  std::uint64_t payload = 0;  // with kAdmit: what the entry's becomes; its meta stays
};

// How much information an entry carries, for the choice of whom to evict when a table is truly full.
struct Weight {
  bool limiting = false;              // a call of cost 1 would be refused
  double consumed = 0;                // spent share of the capacity, 0..1
  std::uint64_t limitingUntilNs = 0;  // when it stops limiting
};

// A state may lie this far in the future (threads read the clock at slightly different times, and may be
// suspended right after); one that lies further was written before the clock was set back, and is clamped.
inline constexpr std::uint64_t kClockToleranceNs = 10 * kNsPerSecond;

}  // namespace sluice

// A slot: sixteen bytes, two atomic words. Four slots make a line, the unit the processor fetches.
//
//   key word    fingerprint 44 | meta 12 | distance 4 | overflow 4
//   state word  payload 60 | generation 4
//
// The state word changes lock-free, by compare-and-swap. The key word changes only under the stripe's lock,
// and, but for its overflow count, only while the state word holds the claim mark, with a new generation
// after it. The one rule for readers: load the state, then the key. If the key is yours, the state was yours
// or is older than you; a compare-and-swap that expects an older one fails, because every claim raises the
// generation (it could succeed only after a multiple of 16 claims of this slot between the load and the swap,
// and only if all 60 payload bits came back too). Who only reads loads the state once more: if it is
// unchanged, no claim came between, and it belongs to the key.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

#include "core/crash_point.h"
#include "core/units.h"

namespace sluice {

// What an algorithm keeps per key. `meta` holds what rarely changes (changing it takes the stripe's lock).
struct Entry {
  std::uint64_t payload = 0;
  std::uint32_t meta = 0;
  friend constexpr bool operator==(const Entry&, const Entry&) = default;
};

// The same of an algorithm that needs more than a word: further words, which lie beside the slots, and are
// read and changed only under the stripe's lock. All zero means that nothing is known of the key.
template <std::size_t kWordCount>
struct WideEntry {
  static constexpr std::size_t kWords = kWordCount;  // the most; a table may have fewer
  std::uint64_t payload = 0;
  std::uint32_t meta = 0;
  std::array<std::uint64_t, kWordCount> words{};
  friend constexpr bool operator==(const WideEntry&, const WideEntry&) = default;
};

inline constexpr unsigned kPayloadBits = 60;
inline constexpr std::uint64_t kPayloadMask = (std::uint64_t{1} << kPayloadBits) - 1;
inline constexpr unsigned kMetaBits = 12;
inline constexpr std::uint32_t kMetaMask = (1U << kMetaBits) - 1;
inline constexpr std::uint32_t kBlockedFlag =
    1U << (kMetaBits - 1);                               // the entry is a block, whatever the algorithm
inline constexpr unsigned kOwnMetaBits = kMetaBits - 1;  // what is left to the algorithm

inline constexpr unsigned kFingerprintBits = 44;
inline constexpr unsigned kFingerprintShift = 20;
inline constexpr unsigned kMetaShift = 8;
inline constexpr unsigned kDistanceShift = 4;
inline constexpr std::uint64_t kNibbleMask = 15;
inline constexpr unsigned kMaxOverflow = 15;  // saturated: stays until the stripe is recounted

struct KeyWord {
  std::uint64_t bits = 0;

  static constexpr KeyWord make(std::uint64_t fingerprint, std::uint32_t meta, unsigned distance,
                                unsigned overflow) {
    return {fingerprint << kFingerprintShift | std::uint64_t{meta} << kMetaShift |
            std::uint64_t{distance} << kDistanceShift | overflow};
  }
  constexpr std::uint64_t fingerprint() const { return bits >> kFingerprintShift; }
  constexpr std::uint32_t meta() const { return static_cast<std::uint32_t>(bits >> kMetaShift) & kMetaMask; }
  constexpr unsigned distance() const { return static_cast<unsigned>(bits >> kDistanceShift & kNibbleMask); }
  // In slot 0 of a line: how many keys live elsewhere because this line was full. Elsewhere: zero.
  constexpr unsigned overflow() const { return static_cast<unsigned>(bits & kNibbleMask); }
  constexpr bool occupied() const { return fingerprint() != 0; }
  constexpr KeyWord withOverflow(unsigned overflow) const { return {(bits & ~kNibbleMask) | overflow}; }
};

struct StateWord {
  std::uint64_t bits = 0;

  constexpr std::uint64_t payload() const { return bits >> 4; }
  constexpr bool claimed() const { return payload() == kPayloadMask; }
  constexpr StateWord with(std::uint64_t payload) const { return {payload << 4 | (bits & 15)}; }
  constexpr StateWord claim() const { return {kPayloadMask << 4 | ((bits + 1) & 15)}; }
};

struct Slot {
  std::atomic<std::uint64_t> key;
  std::atomic<std::uint64_t> state;

  // Acquire: pairs with the release that published the state, so the key read next is at least as new.
  StateWord loadState() const { return {state.load(std::memory_order_acquire)}; }
  // Acquire: pairs with storeKey, so that a state loaded again after a new key shows at least the claim
  // before it.
  KeyWord loadKey() const { return {key.load(std::memory_order_acquire)}; }

  bool swapState(StateWord& expected, StateWord desired) {
    // Success need not release: the word carries all it means, and a read-modify-write continues the release
    // sequence of the store that published this key, so later readers still see the key. Failure acquire: a
    // fresh loadState.
    crashPoint();
    return state.compare_exchange_weak(expected.bits, desired.bits, std::memory_order_acquire,
                                       std::memory_order_acquire);
  }
  // The three steps of a change under the stripe's lock: claim, storeKey, publish.
  bool claim(StateWord& expected) {
    crashPoint();
    // Acq_rel: the key stored next must not become visible before the claim does, nor the claim before the
    // journal. Failure acquire: a fresh loadState.
    return state.compare_exchange_strong(expected.bits, expected.claim().bits, std::memory_order_acq_rel,
                                         std::memory_order_acquire);
  }
  // Release: whoever sees the new key sees the claim that preceded it.
  void storeKey(KeyWord word) {
    crashPoint();
    key.store(word.bits, std::memory_order_release);
  }
  // Release: whoever sees the state sees the key it belongs to.
  void publish(StateWord claimed, std::uint64_t payload) {
    crashPoint();
    state.store(claimed.with(payload).bits, std::memory_order_release);
  }
};
static_assert(sizeof(Slot) == 16);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

inline constexpr unsigned kSlotsPerLine = 4;

struct alignas(64) Line {
  Slot slots[kSlotsPerLine];
};
static_assert(sizeof(Line) == 64);

}  // namespace sluice

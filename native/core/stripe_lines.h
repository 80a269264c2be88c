// A stripe with its lines, to somebody who holds its lock: how slots change hands, and how what a dead holder
// left half done is put right.
#pragma once

#include <algorithm>

#include "core/geometry.h"
#include "core/stripe.h"

namespace sluice {

// The words beside the slots of a stripe, if entries are wider than a slot.
struct StripeWords {
  std::uint64_t* ofSlots = nullptr;
  std::uint64_t* journaled = nullptr;  // of both records
  std::uint32_t perSlot = 0;
};

class StripeLines {
 public:
  StripeLines(Stripe& stripe, Line* lines, std::uint32_t count, StripeWords words)
      : stripe_(stripe), lines_(lines), count_(count), words_(words) {}

  Stripe& stripe() const { return stripe_; }
  Line& line(std::uint32_t index) const { return lines_[index & (count_ - 1)]; }

  // The words of a slot. Read and written only under the lock.
  std::uint64_t* wordsOf(const Slot& slot) const {
    return words_.ofSlots + std::size_t{indexOf(slot)} * words_.perSlot;
  }
  std::uint32_t wordsPerSlot() const { return words_.perSlot; }

  // Changes a slot whose state is still `expected` to hold that key, payload and words (null if there are
  // none, or no key), and counts the key's way. False if the slot has changed: then `expected` is what it is
  // now, and nothing was done.
  bool rewrite(Slot& slot, StateWord& expected, KeyWord next, std::uint64_t payload,
               const std::uint64_t* words = nullptr) {
    record(0, slot, next, payload, words);
    if (!slot.claim(expected)) return false;
    expected = expected.claim();
    complete(slot, expected, next, payload, words);
    return true;
  }

  // Claims a slot whose state is still `expected`, so that nobody changes it, and leaves open what it
  // becomes: `settle` or `release` follows. If the claimer dies, it becomes what it was. REQUIRES that no
  // other slot of the stripe is claimed. After success `expected` is the claimed state.
  bool seize(Slot& slot, StateWord& expected) {
    const std::uint64_t* words = words_.perSlot != 0 ? wordsOf(slot) : nullptr;
    record(0, slot, slot.loadKey().withOverflow(0), expected.payload(), words);
    if (!slot.claim(expected)) return false;
    expected = expected.claim();
    return true;
  }
  void settle(Slot& slot, StateWord claimed, KeyWord next, std::uint64_t payload,
              const std::uint64_t* words = nullptr) {
    record(1, slot, next, payload, words);
    complete(slot, claimed, next, payload, words);
  }
  void release(Slot& slot, StateWord claimed, std::uint64_t payload) { slot.publish(claimed, payload); }
  bool vacate(Slot& slot, StateWord& expected) { return rewrite(slot, expected, KeyWord{}, 0); }

  std::uint32_t indexOf(const Slot& slot) const {
    return static_cast<std::uint32_t>(&slot - &lines_[0].slots[0]);
  }
  template <class Visit>
  void forEachSlot(Visit&& visit) const {
    for (std::uint32_t i = 0; i < count_; ++i) {
      for (Slot& slot : line(i).slots) visit(slot);
    }
  }

  // Puts an entry into a slot of a stripe that nobody else uses; `repair` counts it.
  void place(std::uint32_t index, KeyWord key, std::uint64_t payload, const std::uint64_t* words) {
    Slot& slot = line(index / kSlotsPerLine).slots[index % kSlotsPerLine];
    slot.storeKey(key.withOverflow(0));
    slot.publish(StateWord{}, payload < kPayloadMask ? payload : 0);
    if (words_.perSlot != 0) std::copy_n(words, words_.perSlot, wordsOf(slot));
  }

  // Makes saturated counts exact again. A count is never below the truth meanwhile, so that no search misses
  // a key. About two microseconds.
  void recountOverflow() {
    unsigned passes[Geometry::kMaxLinesPerStripe] = {};
    countPasses(passes);
    stripe_.saturated = 0;
    for (std::uint32_t i = 0; i < count_; ++i) {
      Slot& first = line(i).slots[0];
      const unsigned passed = std::min(passes[i], kMaxOverflow);
      if (passed == kMaxOverflow) stripe_.saturated = 1;
      if (first.loadKey().overflow() != passed) first.storeKey(first.loadKey().withOverflow(passed));
    }
  }

  // After the lock was taken from the dead: finishes the change they were making, and counts everything anew.
  // Dying in here leaves as much to repair as there was.
  void repair() {
    forEachClaimed([&](Slot& slot, StateWord) {
      const KeyWord key = slot.loadKey();
      slot.storeKey(journalIsOf(slot) ? journaledKey().withOverflow(key.overflow())
                                      : KeyWord{}.withOverflow(key.overflow()));
      if (journalIsOf(slot) && words_.perSlot != 0) storeWords(slot, journaledWords(journaledRecord()));
    });
    recountOverflow();
    std::uint64_t occupied = 0;
    forEachSlot([&](Slot& slot) { occupied += std::uint64_t{slot.loadKey().occupied()}; });
    // Relaxed: a statistic.
    stripe_.occupied.store(occupied, std::memory_order_relaxed);
    forEachClaimed([&](Slot& slot, StateWord claimed) {
      slot.publish(claimed, journalIsOf(slot) ? journaledPayload() : 0);
    });
  }

  // Whether everything holds together; for tests. REQUIRES no concurrent change.
  bool consistent() const {
    unsigned passes[Geometry::kMaxLinesPerStripe] = {};
    countPasses(passes);
    std::uint64_t occupied = 0;
    for (std::uint32_t i = 0; i < count_; ++i) {
      for (const Slot& slot : line(i).slots) {
        if (slot.loadState().claimed()) return false;
        if (slot.loadKey().occupied()) ++occupied;
      }
      const unsigned counted = line(i).slots[0].loadKey().overflow();
      if (counted != passes[i] && counted != kMaxOverflow) return false;
    }
    // Relaxed: nothing runs beside this.
    return occupied == stripe_.occupied.load(std::memory_order_relaxed);
  }

 private:
  // REQUIRES that the slot is claimed and the journal says the same.
  void complete(Slot& slot, StateWord claimed, KeyWord next, std::uint64_t payload,
                const std::uint64_t* words) {
    const KeyWord old = slot.loadKey();
    const bool changesHands = old.fingerprint() != next.fingerprint();
    if (changesHands) {
      forEachPassed(slot, old, [&](Line& passed) { countOverflow(passed, -1); });
      bump(stripe_.occupied, int{next.occupied()} - int{old.occupied()});
    }
    slot.storeKey(next.withOverflow(slot.loadKey().overflow()));
    if (words != nullptr) storeWords(slot, words);
    if (changesHands) forEachPassed(slot, next, [&](Line& passed) { countOverflow(passed, 1); });
    slot.publish(claimed, payload);
  }

  void storeWords(const Slot& slot, const std::uint64_t* words) {
    crashPoint();
    std::copy_n(words, words_.perSlot, wordsOf(slot));
  }

  // Writes one of the journal's records and makes it the one that counts. Words may be null where the slot is
  // given up, or there are none.
  void record(std::uint32_t which, const Slot& slot, KeyWord key, std::uint64_t payload,
              const std::uint64_t* words) {
    Journal& journal = stripe_.journal;
    // Until the index is stored, this record is of a slot that nobody has claimed, or does not count.
    // Relaxed: the release that follows orders them.
    journal.key[which].store(key.bits, std::memory_order_relaxed);
    crashPoint();
    journal.payload[which].store(payload, std::memory_order_relaxed);
    crashPoint();
    if (words != nullptr) std::copy_n(words, words_.perSlot, journaledWords(which));
    crashPoint();
    // Release: who sees that the record counts sees what it says. (The claim or the key that follows releases
    // this.)
    journal.slot.store(indexOf(slot) | (which != 0 ? Journal::kSecond : 0), std::memory_order_release);
    crashPoint();
  }
  std::uint64_t* journaledWords(std::uint32_t which) const {
    return words_.journaled + std::size_t{which} * words_.perSlot;
  }
  // Relaxed, all: read under the lock.
  std::uint32_t journaledSlot() const { return stripe_.journal.slot.load(std::memory_order_relaxed); }
  std::uint32_t journaledRecord() const { return journaledSlot() / Journal::kSecond; }
  bool journalIsOf(const Slot& slot) const { return (journaledSlot() & ~Journal::kSecond) == indexOf(slot); }
  KeyWord journaledKey() const {
    return {stripe_.journal.key[journaledRecord()].load(std::memory_order_relaxed)};
  }
  std::uint64_t journaledPayload() const {
    const std::uint64_t payload = stripe_.journal.payload[journaledRecord()].load(std::memory_order_relaxed);
    return payload < kPayloadMask ? payload : 0;
  }

  template <class Visit>
  void forEachClaimed(Visit&& visit) const {
    forEachSlot([&](Slot& slot) {
      if (const StateWord state = slot.loadState(); state.claimed()) visit(slot, state);
    });
  }

  // The lines that a key in that slot passed on its way from home.
  template <class Visit>
  void forEachPassed(const Slot& slot, KeyWord key, Visit&& visit) const {
    const std::uint32_t step = Geometry::stepOf(key.fingerprint());
    const std::uint32_t index = indexOf(slot) / kSlotsPerLine;
    for (std::uint32_t i = 1; i <= key.distance(); ++i) visit(line(index - step * i));
  }

  void countOverflow(Line& passed, int by) {
    const KeyWord key = passed.slots[0].loadKey();
    if (key.overflow() == kMaxOverflow) return;
    const auto count = static_cast<unsigned>(static_cast<int>(key.overflow()) + by) & kMaxOverflow;
    passed.slots[0].storeKey(key.withOverflow(count));
    if (count == kMaxOverflow) stripe_.saturated = 1;
  }

  // How many keys passed each line on their way from home.
  void countPasses(unsigned* passes) const {
    forEachSlot([&](const Slot& slot) {
      const KeyWord key = slot.loadKey();
      if (!key.occupied()) return;
      forEachPassed(slot, key, [&](Line& passed) { ++passes[&passed - lines_]; });
    });
  }

  Stripe& stripe_;
  Line* lines_;
  std::uint32_t count_;  // a power of two, at most kMaxLinesPerStripe
  StripeWords words_;
};

// Holds a stripe's lock for its lifetime: as long as it takes to look at the 64 slots of a path, or, once in
// as many insertions as the stripe has lines, to recount its overflow. Never across a call out.
class StripeGuard {
 public:
  StripeGuard(StripeLines lines, const Membership& member)
      : lines_(lines), acquired_(lines_.stripe().lock.acquire(member)) {
    if (acquired_ == Acquired::kFromTheDead) lines_.repair();
  }
  ~StripeGuard() {
    if (held()) lines_.stripe().lock.release();
  }
  StripeGuard(const StripeGuard&) = delete;
  StripeGuard& operator=(const StripeGuard&) = delete;

  // False if its holder lives but does not go on. Then nothing may be changed.
  bool held() const { return acquired_ != Acquired::kNot; }
  StripeLines* operator->() { return &lines_; }
  StripeLines& operator*() { return lines_; }

 private:
  StripeLines lines_;
  Acquired acquired_;
};

}  // namespace sluice

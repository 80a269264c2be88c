// The table: a fixed number of slots, found by keyed hash, updated without a lock.
//
// Invariants
//  - A key occupies at most one slot, on one of the 16 lines of its path. Key words change only under the
//  stripe's
//    lock; state words also change lock-free, by compare-and-swap (slot.h).
//  - A line's overflow count is at least the number of keys that live further along a path through it, so a
//  search
//    ends at the first line whose count is zero. It is exact unless it saturated; then it is recounted.
//  - A search without the lock may miss a key that is just being inserted; every decision to insert is
//  therefore
//    taken again under the lock.
//  - An entry that is not live means the same as no entry. It is reused where an insertion meets it, and a
//  sweep that
//    visits one more line at every insertion clears the rest: the work is spread evenly, and nothing waits
//    for it.
#pragma once

#include <memory>
#include <optional>

#include "core/decision.h"
#include "core/geometry.h"
#include "core/region.h"

namespace sluice {

struct TableStats {
  std::uint64_t occupied = 0;
  std::uint64_t evictedLive = 0;
  std::uint64_t refusedFull = 0;
};

template <class Algorithm>
class Table {
 public:
  using Book = typename Algorithm::Book;

  struct Applied {
    Step step;
    Entry entry;               // as it is after the step
    std::uint64_t waitNs = 0;  // with kTableFull: until the first neighbour stops limiting
  };

  // Nothing if the memory cannot be had.
  static std::unique_ptr<Table> create(std::uint64_t maxKeys, const HashSeed& seed, Book book) {
    const Geometry geometry = Geometry::forKeys(maxKeys);
    auto region = Region::allocate(geometry.bytes());
    if (!region) return nullptr;
    return std::unique_ptr<Table>(new Table(std::move(*region), geometry, seed, std::move(book)));
  }

  const Book& book() const { return book_; }
  Book& book() { return book_; }
  const KeyHasher& hasher() const { return hasher_; }
  const Geometry& geometry() const { return geometry_; }
  std::size_t bytes() const { return region_.bytes(); }
  Path pathOf(const Digest& digest) const { return geometry_.pathOf(digest); }

  void prefetch(const Path& path) const { __builtin_prefetch(&line(path, 0)); }

  // Once the home line has come: requests the next one, if the key is not at home and may live further along.
  void prefetchFurther(const Path& path) const {
    const Line& home = line(path, 0);
    if (hitsIn(home, path.fingerprint) == 0 && home.slots[0].loadKey().overflow() != 0)
      __builtin_prefetch(&line(path, 1));
  }

  // Runs `operation(Entry) -> Step` on the key's entry and stores the step's result in one atomic change. The
  // operation may run several times and must have no effect of its own.
  template <class Operation>
  Applied apply(const Path& path, std::uint64_t nowNs, Operation&& operation) {
    if (Slot* slot = find(path)) {
      if (auto done = update(*slot, path, operation)) return *done;
    } else {
      const Step step = operation(Entry{});
      if (!step.write) return {step, Entry{}};
    }
    return applyLocked(path, nowNs, operation);
  }

  // The shortest way: `operation(Entry) -> Verdict` on a key that is present, in one lock-free change. Unsure
  // where the key is absent, being moved, or the operation cannot tell; then use apply.
  template <class Operation>
  Verdict::Kind decide(const Path& path, Operation&& operation) {
    Slot* slot = find(path);
    if (slot == nullptr) return Verdict::Kind::kUnsure;
    StateWord state = slot->loadState();
    for (;;) {
      const KeyWord key = slot->loadKey();
      if (state.claimed() || key.fingerprint() != path.fingerprint) return Verdict::Kind::kUnsure;
      const Verdict verdict = operation(Entry{state.payload(), key.meta()});
      if (verdict.kind == Verdict::Kind::kUnsure) return verdict.kind;
      if (verdict.kind == Verdict::Kind::kAdmit ? slot->swapState(state, state.with(verdict.payload))
                                                : unchanged(*slot, state)) {
        return verdict.kind;
      }
    }
  }

  // Forgets the key. False if there was nothing to forget.
  bool erase(const Path& path, std::uint64_t nowNs) {
    Stripe& stripe = stripeOf(path);
    StripeGuard guard(stripe);
    Slot* slot = find(path);
    if (slot == nullptr) return false;
    const bool wasLive = Algorithm::live(book_, entryOf(*slot), nowNs);
    StateWord state = slot->loadState();
    while (!slot->claim(state)) continue;
    vacate(stripe, path.stripe, *slot, state.claim());
    return wasLive;
  }

  TableStats stats() const {
    TableStats total;
    for (std::uint32_t i = 0; i < geometry_.stripes; ++i) {
      // Relaxed: statistics.
      total.occupied += stripes_[i].occupied.load(std::memory_order_relaxed);
      total.evictedLive += stripes_[i].evictedLive.load(std::memory_order_relaxed);
      total.refusedFull += stripes_[i].refusedFull.load(std::memory_order_relaxed);
    }
    return total;
  }

  // Whether the structure holds together; for tests. REQUIRES no concurrent change.
  bool consistent() const;

 private:
  Table(Region&& region, const Geometry& geometry, const HashSeed& seed, Book&& book)
      : region_(std::move(region)),
        geometry_(geometry),
        hasher_(seed),
        book_(std::move(book)),
        stripes_(reinterpret_cast<Stripe*>(region_.base())),
        lines_(reinterpret_cast<Line*>(region_.base() + geometry.stripeBytes())) {}

  Stripe& stripeOf(const Path& path) const { return stripes_[path.stripe]; }
  Line& lineIn(std::uint32_t stripe, std::uint32_t line) const {
    return lines_[std::size_t{stripe} * geometry_.linesPerStripe + line];
  }
  Line& line(const Path& path, std::uint32_t distance) const {
    return lineIn(path.stripe, geometry_.lineAt(path, distance));
  }
  static Entry entryOf(const Slot& slot) {
    const StateWord state = slot.loadState();
    return {state.payload(), slot.loadKey().meta()};
  }

  // After a read-only step: the state is still the one read before the key, so it belongs to that key.
  static bool unchanged(const Slot& slot, StateWord& state) {
    const StateWord again = slot.loadState();
    const bool same = again.bits == state.bits;
    state = again;
    return same;
  }

  // Which slots of a line hold the fingerprint, one bit each. Which of the four it is cannot be predicted, so
  // it is computed rather than branched on.
  static unsigned hitsIn(const Line& line, std::uint64_t fingerprint) {
    static_assert(kSlotsPerLine == 4);
    const auto hit = [&](unsigned i) -> unsigned {
      return static_cast<unsigned>(line.slots[i].loadKey().fingerprint() == fingerprint) << i;
    };
    return hit(0) | hit(1) | hit(2) | hit(3);
  }

  Slot* find(const Path& path) const {
    for (std::uint32_t distance = 0; distance < Geometry::kPathLines; ++distance) {
      Line& candidates = line(path, distance);
      const unsigned hits = hitsIn(candidates, path.fingerprint);
      if (hits != 0) return &candidates.slots[std::countr_zero(hits)];
      if (candidates.slots[0].loadKey().overflow() == 0) return nullptr;
    }
    return nullptr;
  }

  // Lock-free. Nothing if the change needs the lock.
  template <class Operation>
  std::optional<Applied> update(Slot& slot, const Path& path, Operation& operation) {
    StateWord state = slot.loadState();
    for (;;) {
      const KeyWord key = slot.loadKey();
      if (state.claimed() || key.fingerprint() != path.fingerprint) return std::nullopt;
      const Entry entry{state.payload(), key.meta()};
      const Step step = operation(entry);
      if (!step.write) {
        if (unchanged(slot, state)) return Applied{step, entry};
      } else if (step.next.meta != key.meta()) {
        return std::nullopt;
      } else if (slot.swapState(state, state.with(step.next.payload))) {
        return Applied{step, step.next};
      }
    }
  }

  template <class Operation>
  Applied applyLocked(const Path& path, std::uint64_t nowNs, Operation& operation) {
    Stripe& stripe = stripeOf(path);
    StripeGuard guard(stripe);
    // Needed at the end; on its way from memory meanwhile.
    __builtin_prefetch(&lineIn(path.stripe, stripe.sweepCursor));
    if (Slot* slot = find(path)) return updateLocked(*slot, operation);
    const Step step = operation(Entry{});
    if (!step.write) return {step, Entry{}};
    const Applied applied = insert(stripe, path, nowNs, step);
    sweepOneLine(stripe, path.stripe, nowNs);
    return applied;
  }

  // REQUIRES the stripe's lock, so the slot stays this key's.
  template <class Operation>
  Applied updateLocked(Slot& slot, Operation& operation) {
    StateWord state = slot.loadState();
    for (;;) {
      const KeyWord key = slot.loadKey();
      const Entry entry{state.payload(), key.meta()};
      const Step step = operation(entry);
      if (!step.write) return {step, entry};
      if (!slot.claim(state)) continue;
      slot.storeKey(KeyWord::make(key.fingerprint(), step.next.meta, key.distance(), key.overflow()));
      slot.publish(state.claim(), step.next.payload);
      return {step, step.next};
    }
  }

  // Where a new key may go.
  struct Place {
    Slot* slot = nullptr;
    std::uint32_t distance = 0;
    StateWord state;
    bool evicts = false;
    std::uint64_t waitNs = 0;  // without a slot: until the first neighbour stops limiting
  };

  // The first slot of the path that is free or holds no information; failing that, the least consumed that
  // does not limit. REQUIRES the stripe's lock.
  Place choosePlace(const Path& path, std::uint64_t nowNs) const {
    Place least;
    double leastConsumed = 2;
    std::uint64_t earliest = kNever;
    for (std::uint32_t distance = 0; distance < Geometry::kPathLines; ++distance) {
      for (Slot& slot : line(path, distance).slots) {
        const StateWord state = slot.loadState();
        const KeyWord key = slot.loadKey();
        const Entry entry{state.payload(), key.meta()};
        if (!key.occupied() || !Algorithm::live(book_, entry, nowNs)) return {&slot, distance, state};
        const Weight weight = Algorithm::weigh(book_, entry, nowNs);
        if (weight.limiting) {
          earliest = std::min(earliest, weight.limitingUntilNs);
        } else if (weight.consumed < leastConsumed) {
          leastConsumed = weight.consumed;
          least = {&slot, distance, state, true};
        }
      }
    }
    least.waitNs = saturatingSub(earliest, nowNs);
    return least;
  }

  // REQUIRES the stripe's lock, and that the key is absent.
  Applied insert(Stripe& stripe, const Path& path, std::uint64_t nowNs, const Step& step) {
    for (;;) {
      Place place = choosePlace(path, nowNs);
      if (place.slot == nullptr) {
        bump(stripe.refusedFull, 1);
        return {{Entry{}, false, Outcome::kTableFull, 0}, Entry{}, place.waitNs};
      }
      // Its owner may have updated it since; then it is worth another look.
      if (!place.slot->claim(place.state)) continue;
      if (place.evicts) bump(stripe.evictedLive, 1);
      if (place.slot->loadKey().occupied()) {
        forget(stripe, path.stripe, *place.slot);
      } else {
        bump(stripe.occupied, 1);
      }
      const unsigned overflow = place.slot->loadKey().overflow();
      place.slot->storeKey(KeyWord::make(path.fingerprint, step.next.meta, place.distance, overflow));
      for (std::uint32_t i = 0; i < place.distance; ++i) countOverflow(stripe, line(path, i), 1);
      place.slot->publish(place.state.claim(), step.next.payload);
      return {step, step.next};
    }
  }

  // Takes a claimed slot's key off the overflow counts of the lines it passed. REQUIRES the stripe's lock.
  void forget(Stripe& stripe, std::uint32_t stripeIndex, Slot& slot) {
    forEachPassed(stripeIndex, slot, [&](Line& passed) { countOverflow(stripe, passed, -1); });
  }

  // Empties a claimed slot. REQUIRES the stripe's lock.
  void vacate(Stripe& stripe, std::uint32_t stripeIndex, Slot& slot, StateWord claimed) {
    forget(stripe, stripeIndex, slot);
    slot.storeKey(KeyWord::make(0, 0, 0, slot.loadKey().overflow()));
    slot.publish(claimed, 0);
    bump(stripe.occupied, -1);
  }

  // The lines that the slot's key passed on its way from home.
  template <class Visit>
  void forEachPassed(std::uint32_t stripeIndex, const Slot& slot, Visit&& visit) const {
    const KeyWord key = slot.loadKey();
    const std::uint32_t step = Geometry::stepOf(key.fingerprint());
    const auto index =
        static_cast<std::uint32_t>(reinterpret_cast<const Line*>(reinterpret_cast<std::uintptr_t>(&slot) &
                                                                 ~std::uintptr_t{sizeof(Line) - 1}) -
                                   &lineIn(stripeIndex, 0));
    for (std::uint32_t i = 1; i <= key.distance(); ++i) {
      visit(lineIn(stripeIndex, (index - step * i) & (geometry_.linesPerStripe - 1)));
    }
  }

  static void countOverflow(Stripe& stripe, Line& passed, int by) {
    const KeyWord key = passed.slots[0].loadKey();
    if (key.overflow() == kMaxOverflow) return;
    passed.slots[0].storeKey({key.bits + static_cast<std::uint64_t>(std::int64_t{by})});
    if (passed.slots[0].loadKey().overflow() == kMaxOverflow) stripe.saturated = 1;
  }

  // REQUIRES the stripe's lock.
  void sweepOneLine(Stripe& stripe, std::uint32_t stripeIndex, std::uint64_t nowNs) {
    for (Slot& slot : lineIn(stripeIndex, stripe.sweepCursor).slots) {
      StateWord state = slot.loadState();
      const KeyWord key = slot.loadKey();
      if (!key.occupied() || Algorithm::live(book_, {state.payload(), key.meta()}, nowNs)) continue;
      if (slot.claim(state)) vacate(stripe, stripeIndex, slot, state.claim());
    }
    stripe.sweepCursor = (stripe.sweepCursor + 1) & (geometry_.linesPerStripe - 1);
    if (stripe.sweepCursor == 0 && stripe.saturated != 0) recountOverflow(stripe, stripeIndex);
  }

  // Makes saturated counts exact again. A count is never below the truth meanwhile, so that no search misses
  // a key. REQUIRES the stripe's lock. About two microseconds, at most once in as many insertions as the
  // stripe has lines.
  void recountOverflow(Stripe& stripe, std::uint32_t stripeIndex) {
    unsigned passes[Geometry::kMaxLinesPerStripe] = {};
    countPasses(stripeIndex, passes);
    stripe.saturated = 0;
    for (std::uint32_t i = 0; i < geometry_.linesPerStripe; ++i) {
      Slot& first = lineIn(stripeIndex, i).slots[0];
      const unsigned count = std::min(passes[i], kMaxOverflow);
      if (count == kMaxOverflow) stripe.saturated = 1;
      first.storeKey({(first.loadKey().bits & ~kNibbleMask) | count});
    }
  }

  // How many keys passed each line of a stripe on their way from home.
  void countPasses(std::uint32_t stripeIndex, unsigned* passes) const {
    for (std::uint32_t i = 0; i < geometry_.linesPerStripe; ++i) {
      for (const Slot& slot : lineIn(stripeIndex, i).slots) {
        if (!slot.loadKey().occupied()) continue;
        forEachPassed(stripeIndex, slot, [&](Line& passed) { ++passes[&passed - &lineIn(stripeIndex, 0)]; });
      }
    }
  }

  Region region_;
  Geometry geometry_;
  KeyHasher hasher_;
  Book book_;
  Stripe* stripes_;
  Line* lines_;
};

template <class Algorithm>
bool Table<Algorithm>::consistent() const {
  for (std::uint32_t s = 0; s < geometry_.stripes; ++s) {
    unsigned passes[Geometry::kMaxLinesPerStripe] = {};
    countPasses(s, passes);
    std::uint32_t occupied = 0;
    for (std::uint32_t i = 0; i < geometry_.linesPerStripe; ++i) {
      for (const Slot& slot : lineIn(s, i).slots) {
        if (slot.loadState().claimed()) return false;
        if (slot.loadKey().occupied()) ++occupied;
      }
      const unsigned counted = lineIn(s, i).slots[0].loadKey().overflow();
      if (counted != passes[i] && counted != kMaxOverflow) return false;
    }
    // Relaxed: nothing runs beside this.
    if (occupied != stripes_[s].occupied.load(std::memory_order_relaxed)) return false;
  }
  return true;
}

}  // namespace sluice

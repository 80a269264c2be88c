// The table: a fixed number of slots, found by keyed hash, updated without a lock.
//
// Invariants
//  - A key occupies at most one slot, on one of the 16 lines of its path. Key words change only under the
//    stripe's lock (stripe_lines.h); state words also change lock-free, by compare-and-swap (slot.h).
//  - A line's overflow count is at least the number of keys that live further along a path through it, so a
//    search ends at the first line whose count is zero. It is exact unless it saturated; then it is
//    recounted.
//  - A search without the lock may miss a key that is just being inserted; every decision to insert is
//    therefore taken again under the lock.
//  - An entry that is not live means the same as no entry. It is reused where an insertion meets it, and a
//    sweep that visits one more line at every insertion clears the rest: the work is spread evenly, and
//    nothing waits for it.
//
// A Table is one user's view of a region, with what only its thread needs (hasher, policies in the
// algorithm's terms). The region may have other users, in other threads and processes.
#pragma once

#include <memory>
#include <optional>

#include "core/decision.h"
#include "core/region.h"
#include "core/stripe_keys.h"

namespace sluice {

struct TableStats {
  std::uint64_t occupied = 0;
  std::uint64_t evictedLive = 0;
  std::uint64_t refusedFull = 0;
  std::uint64_t allowed = 0, denied = 0;
};

template <class Algorithm>
class Table {
 public:
  using Book = typename Algorithm::Book;
  using Entry = typename Algorithm::Entry;
  using Step = BasicStep<Entry>;
  using Keys = StripeKeys<Algorithm>;

  struct Applied {
    Step step;
    Entry entry;  // as it is after the step
    std::uint64_t waitNs =
        0;  // with kTableFull: until the first neighbour stops limiting; with kBusy: a guess
  };

  // A table of this process alone. Nothing if the memory cannot be had.
  static std::unique_ptr<Table> create(std::uint64_t maxKeys, const HashSeed& seed, Book book,
                                       const Escalation& escalation = {}) {
    RegionSpec spec;
    spec.algorithm = Algorithm::kId;
    spec.maxKeys = maxKeys;
    spec.wordsPerSlot = wordsPerSlot<Algorithm>(book);
    spec.book = book.options();
    spec.escalation = escalation;
    spec.seed = seed;
    auto table = attach(Region::allocate(spec));
    if (!table) return nullptr;
    for (std::uint32_t i = 0; i < book.size(); ++i) table->addPolicy(book.specAt(i));
    return table;
  }

  // Nothing if the region is one of another algorithm, or of numbers that this one cannot work with.
  static std::unique_ptr<Table> attach(Region::Attached attached) {
    if (!attached || attached.region->header().algorithm != Algorithm::kId) return nullptr;
    auto book = Book::make(attached.region->header().book);
    if (!book || attached.region->header().wordsPerSlot != wordsPerSlot<Algorithm>(*book)) return nullptr;
    return std::unique_ptr<Table>(
        new Table(std::move(attached.region), std::move(*attached.member), std::move(*book)));
  }

  const std::shared_ptr<Region>& region() const { return region_; }
  const Membership& member() const { return member_; }
  const Book& book() const { return book_; }
  const KeyHasher& hasher() const { return hasher_; }
  const Geometry& geometry() const { return geometry_; }
  std::size_t bytes() const { return region_->bytes(); }
  Path pathOf(const Digest& digest) const { return geometry_.pathOf(digest); }

  // The index of that policy, for this and all other users.
  PolicyList::Added addPolicy(const PolicySpec& spec) {
    if (!book_.accepts(spec)) return {PolicyList::Added::kUncountable, 0};
    const auto added = policies_->add(spec, member_);
    book_.catchUp();
    return added;
  }
  // The limiter's own policy: what it is now, and what it is to be from now on, for all users. Keys keep what
  // they have left.
  std::uint32_t basePolicy() const { return policies_->base(); }
  PolicyList::Added setBasePolicy(PolicySpec spec) {
    spec.isBase = 1;
    const auto added = addPolicy(spec);
    if (added.status == PolicyList::Added::kDone) policies_->setBase(added.index);
    return added;
  }

  void prefetch(const Path& path) const {
    const Line& home = line(path, 0);
    __builtin_prefetch(&home);
    if constexpr (isWide<Algorithm>) {
      // Which of the four slots it is shows only when the line has come; their words come with it.
      const std::uint64_t* words = wordsOf(home.slots[0]);
      const std::uint32_t count = std::min(kSlotsPerLine * wordsPerSlot_, kMostPrefetchedWords);
      for (std::uint32_t i = 0; i < count; i += kWordsPerCacheLine) __builtin_prefetch(words + i);
    }
  }

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
    if constexpr (isWide<Algorithm>) return applyLocked(path, nowNs, operation);
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
      const Verdict verdict = operation(sluice::Entry{state.payload(), key.meta()});
      if (verdict.kind == Verdict::Kind::kUnsure) return verdict.kind;
      if (verdict.kind == Verdict::Kind::kAdmit ? slot->swapState(state, state.with(verdict.payload))
                                                : unchanged(*slot, state)) {
        return verdict.kind;
      }
    }
  }

  // The same in two steps: what `operation` makes of a key that is present, and the change, if there is one
  // and nobody has changed the key since.
  struct Glance {
    Slot* slot;
    StateWord state;
    std::uint64_t payload;
  };
  template <class Operation>
  Verdict::Kind glance(const Path& path, Operation&& operation, Glance* glance) {
    Slot* slot = find(path);
    if (slot == nullptr) return Verdict::Kind::kUnsure;
    StateWord state = slot->loadState();
    const KeyWord key = slot->loadKey();
    if (state.claimed() || key.fingerprint() != path.fingerprint) return Verdict::Kind::kUnsure;
    const Verdict verdict = operation(sluice::Entry{state.payload(), key.meta()});
    *glance = {slot, state, verdict.payload};
    if (verdict.kind == Verdict::Kind::kRefuse && !unchanged(*slot, state)) return Verdict::Kind::kUnsure;
    return verdict.kind;
  }
  static bool change(const Glance& glance) {
    StateWord expected = glance.state;
    return glance.slot->swapState(expected, expected.with(glance.payload));
  }

  // Forgets the key. Whether there was anything to forget; nothing if that cannot be done now.
  std::optional<bool> erase(const Path& path, std::uint64_t nowNs) {
    StripeGuard guard(linesOf(path.stripe), member_);
    if (!guard.held()) return std::nullopt;
    Slot* slot = find(path);
    if (slot == nullptr) return false;
    StateWord state = slot->loadState();
    const bool wasLive = Algorithm::live(book_, keysOf(*guard).entryOf(*slot, state), nowNs);
    while (!guard->vacate(*slot, state)) continue;
    return wasLive;
  }

  const Escalation& escalation() const { return region_->header().escalation; }

  void count(bool allowed) const { bump(allowed ? self_->allowed : self_->denied, 1); }
  // Takes back that a call was admitted.
  void uncount() const { bump(self_->allowed, -1); }

  TableStats stats() const {
    TableStats total;
    // Relaxed, all: statistics.
    for (std::uint32_t i = 0; i < geometry_.stripes; ++i) {
      total.occupied += stripes_[i].occupied.load(std::memory_order_relaxed);
      total.evictedLive += stripes_[i].evictedLive.load(std::memory_order_relaxed);
      total.refusedFull += stripes_[i].refusedFull.load(std::memory_order_relaxed);
    }
    for (std::uint32_t i = 0; i < Member::kPlaces; ++i) {
      total.allowed += region_->members()[i].allowed.load(std::memory_order_relaxed);
      total.denied += region_->members()[i].denied.load(std::memory_order_relaxed);
    }
    return total;
  }

  // Whether the structure holds together; for tests. REQUIRES no concurrent change.
  bool consistent() const {
    for (std::uint32_t i = 0; i < geometry_.stripes; ++i) {
      if (!linesOf(i).consistent()) return false;
    }
    return true;
  }

 private:
  template <class>
  friend class Hold;
  template <class>
  friend class Dump;

  static constexpr std::uint32_t kWordsPerCacheLine = 8;
  static constexpr std::uint32_t kMostPrefetchedWords = 4 * kWordsPerCacheLine;

  Table(std::shared_ptr<Region> region, Membership&& member, Book&& book)
      : region_(std::move(region)),
        member_(std::move(member)),
        geometry_(region_->geometry()),
        hasher_(region_->header().seed),
        book_(std::move(book)),
        policies_(&region_->policies()),
        self_(&member_.self()),
        stripes_(region_->stripes()),
        lines_(region_->lines()),
        wordsPerSlot_(static_cast<std::uint32_t>(region_->header().wordsPerSlot)) {
    book_.follow(*policies_);
  }

  StripeLines linesOf(std::uint32_t stripe) const {
    Line* first = lines_ + std::size_t{stripe} * geometry_.linesPerStripe;
    StripeWords words;
    if constexpr (isWide<Algorithm>) {
      words = {wordsOf(first->slots[0]), region_->journaledWords() + std::size_t{stripe} * 2 * wordsPerSlot_,
               wordsPerSlot_};
    }
    return {stripes_[stripe], first, geometry_.linesPerStripe, words};
  }
  Keys keysOf(StripeLines& lines) const { return {geometry_, book_, lines}; }
  std::uint64_t* wordsOf(const Slot& slot) const {
    return region_->words() + static_cast<std::size_t>(&slot - &lines_[0].slots[0]) * wordsPerSlot_;
  }
  Line& line(const Path& path, std::uint32_t distance) const {
    return lines_[std::size_t{path.stripe} * geometry_.linesPerStripe + geometry_.lineAt(path, distance)];
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
    StripeGuard guard(linesOf(path.stripe), member_);
    if (!guard.held()) return {{Entry{}, false, Outcome::kBusy, 0}, Entry{}, kBusyRetryNs};
    // Needed at the end; on its way from memory meanwhile.
    __builtin_prefetch(&guard->line(guard->stripe().sweepCursor));
    if (Slot* slot = find(path)) return updateLocked(*guard, *slot, operation);
    const Step step = operation(Entry{});
    if (!step.write) return {step, Entry{}};
    const Applied applied = insert(*guard, path, nowNs, step);
    keysOf(*guard).sweepOneLine(nowNs);
    return applied;
  }

  // REQUIRES the stripe's lock, so the slot stays this key's.
  template <class Operation>
  Applied updateLocked(StripeLines& lines, Slot& slot, Operation& operation) {
    Keys keys = keysOf(lines);
    StateWord state = slot.loadState();
    for (;;) {
      const Entry entry = keys.entryOf(slot, state);
      const Step step = operation(entry);
      if (!step.write) return {step, entry};
      const KeyWord key = slot.loadKey();
      const KeyWord next = KeyWord::make(key.fingerprint(), step.next.meta, key.distance(), 0);
      if (keys.write(slot, state, next, step.next)) return {step, step.next};
    }
  }

  // REQUIRES the stripe's lock, and that the key is absent.
  Applied insert(StripeLines& lines, const Path& path, std::uint64_t nowNs, const Step& step) {
    Keys keys = keysOf(lines);
    const Entry entry = keys.named(step.next);
    for (;;) {
      auto place = keys.choosePlace(path, nowNs);
      if (place.slot == nullptr) {
        bump(lines.stripe().refusedFull, 1);
        return {{Entry{}, false, Outcome::kTableFull, 0}, Entry{}, place.waitNs};
      }
      const KeyWord key = KeyWord::make(path.fingerprint, entry.meta, place.distance, 0);
      // Its owner may have updated the slot since; then it is worth another look.
      if (!keys.write(*place.slot, place.state, key, entry)) continue;
      if (place.evicts) bump(lines.stripe().evictedLive, 1);
      return {step, entry};
    }
  }

  // In this order: the place in the region is left before the region is.
  std::shared_ptr<Region> region_;
  Membership member_;
  Geometry geometry_;
  KeyHasher hasher_;
  Book book_;
  PolicyList* policies_;
  Member* self_;
  Stripe* stripes_;
  Line* lines_;
  std::uint32_t wordsPerSlot_;
};

}  // namespace sluice

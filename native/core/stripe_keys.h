// The keys of a stripe in the terms of an algorithm, to somebody who holds the stripe's lock.
#pragma once

#include <algorithm>

#include "core/block.h"
#include "core/decision.h"
#include "core/layout.h"
#include "core/stripe_lines.h"

namespace sluice {

// Whether the algorithm's entries have words beside their slots.
template <class Algorithm>
inline constexpr bool isWide = requires {
  Algorithm::kIsWide;
};

// How many a slot has.
template <class Algorithm>
std::uint32_t wordsPerSlot(const typename Algorithm::Book& book) {
  if constexpr (isWide<Algorithm>) return static_cast<std::uint32_t>(book.words());
  return 0;
}

template <class Algorithm>
class StripeKeys {
 public:
  using Book = typename Algorithm::Book;
  using Entry = typename Algorithm::Entry;

  StripeKeys(const Geometry& geometry, const Book& book, StripeLines& lines)
      : geometry_(geometry), book_(book), lines_(lines) {}

  Entry entryOf(const Slot& slot, StateWord state) const {
    Entry entry{};
    entry.payload = state.payload();
    entry.meta = slot.loadKey().meta();
    if constexpr (isWide<Algorithm>)
      std::copy_n(lines_.wordsOf(slot), lines_.wordsPerSlot(), entry.words.begin());
    return entry;
  }

  // Makes that entry of a slot whose state is still `expected`. False, and nothing done, if it is not.
  bool write(Slot& slot, StateWord& expected, KeyWord key, const Entry& entry) {
    if constexpr (isWide<Algorithm>)
      return lines_.rewrite(slot, expected, key, entry.payload, entry.words.data());
    else
      return lines_.rewrite(slot, expected, key, entry.payload);
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
  // does not limit.
  Place choosePlace(const Path& path, std::uint64_t nowNs) const {
    Place least;
    double leastConsumed = 2;
    std::uint64_t earliest = kNever;
    for (std::uint32_t distance = 0; distance < Geometry::kPathLines; ++distance) {
      for (Slot& slot : lines_.line(geometry_.lineAt(path, distance)).slots) {
        const StateWord state = slot.loadState();
        if (!slot.loadKey().occupied()) return {&slot, distance, state};
        const Entry entry = entryOf(slot, state);
        if (!Algorithm::live(book_, entry, nowNs)) return {&slot, distance, state};
        const Weight weight = weigh(entry, nowNs);
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

  Weight weigh(const Entry& entry, std::uint64_t nowNs) const {
    if (Block::isRecord({entry.payload, entry.meta})) return {};
    return Algorithm::weigh(book_, entry, nowNs);
  }

  // A new entry as it is to be written.
  Entry named(Entry entry) {
    if constexpr (requires { Algorithm::name(entry, 0U); })
      Algorithm::name(entry, ++lines_.stripe().journal.creations);
    return entry;
  }

  // Clears what carries no information any more from the next line.
  void sweepOneLine(std::uint64_t nowNs) {
    Stripe& stripe = lines_.stripe();
    for (Slot& slot : lines_.line(stripe.sweepCursor).slots) {
      StateWord state = slot.loadState();
      if (!slot.loadKey().occupied() || Algorithm::live(book_, entryOf(slot, state), nowNs)) continue;
      lines_.vacate(slot, state);
    }
    stripe.sweepCursor = (stripe.sweepCursor + 1) & (geometry_.linesPerStripe - 1);
    if (stripe.sweepCursor == 0 && stripe.saturated != 0) lines_.recountOverflow();
  }

 private:
  const Geometry& geometry_;
  const Book& book_;
  StripeLines& lines_;
};

}  // namespace sluice

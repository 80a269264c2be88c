// Fixed window: a count that lasts until the window's end. At a window's edge up to twice the limit can pass
// within one window's length; use a token bucket where that matters.
//
// An entry is (end of the window, whether it is the key's first, count). The count takes as many bits as
// twice the table's greatest limit needs (so much may be owed, see `penalize`), the end takes the rest of
// payload and meta; a window that opens at a first request opens at the next tick of that size (half a
// microsecond for limits below 2^16, 34 ms for 2^31). All policies of a table share the window, so that a key
// that moves between tiers keeps its count; they differ in the limit.
//
// A policy may have another limit for the first window of a key of which nothing is known. A key is known
// until its last window has been over for as long as the policy that asks remembers. Which one wrote an entry
// is not kept: entries are as long as the one of the table that remembers longest.
#pragma once

#include <algorithm>
#include <optional>

#include "core/block.h"
#include "core/decision.h"
#include "core/layout.h"
#include "core/policy_book.h"
#include "core/time_scale.h"

namespace sluice {

class FixedWindow {
 public:
  enum class Align : std::uint8_t { kFirstRequest, kEpoch };

  using Entry = sluice::Entry;
  static constexpr std::uint64_t kId = 2;
  static constexpr bool kPaces = false;  // whether every admitted call has its own time to go out

  struct Policy {
    std::uint64_t limit = 1;
    std::uint64_t firstLimit = 1;  // in the first window of a key of which nothing is known
    std::uint64_t rememberNs = 0;
    bool hasFirst = false;
    bool evenly = false;
    std::uint64_t mostAtOnce() const { return limit; }
  };

  class Book : public PolicyBook<Book, Policy> {
   public:
    static std::optional<Book> make(const BookOptions& options) {
      return make(options.windowNs, options.maxLimit,
                  options.alignToEpoch != 0 ? Align::kEpoch : Align::kFirstRequest);
    }
    // For windows of `windowNs`, limits up to `maxLimit`. Nothing if the rate exceeds one a nanosecond or the
    // window exceeds 146 years.
    static std::optional<Book> make(std::uint64_t windowNs, std::uint64_t maxLimit, Align align) {
      if (windowNs == 0 || windowNs > kHorizonNs || maxLimit == 0 || maxLimit > kMaxTokens ||
          maxLimit > windowNs) {
        return std::nullopt;
      }
      Book book;
      book.options_ = {windowNs, maxLimit, align == Align::kEpoch ? std::uint64_t{1} : 0};
      book.align_ = align;
      // At least 18 bits where the window allows, for limits added later; with them microseconds fall on
      // ticks.
      const unsigned bits = std::max(bitWidth(2 * maxLimit + 1) + 1, std::clamp(bitWidth(windowNs), 8U, 18U));
      book.countBits_ = bits - 1;
      const std::uint64_t maxEnd = (std::uint64_t{1} << (kOwnMetaBits + kPayloadBits - bits)) - 1;
      const std::uint64_t mostTicks =
          std::min(mulDivFloor(maxEnd, windowNs, kHorizonNs + 2 * windowNs), windowNs);
      if (mostTicks == 0) return std::nullopt;
      book.ticks_ = alignedTicks(1, windowNs, mostTicks);
      book.scale_ = TimeScale(book.ticks_, windowNs);
      book.tolerance_ = book.scale_.at(kClockToleranceNs) + 1;
      return book;
    }

    BookOptions options() const { return options_; }
    std::optional<Policy> policyFrom(const PolicySpec& spec) const {
      if (spec.limit == 0 || spec.limit > maxCount() || spec.initial > maxCount()) return std::nullopt;
      if (spec.rememberNs > kHorizonNs) return std::nullopt;
      Policy policy{spec.limit, spec.limit, 0, spec.initial != 0, spec.evenly != 0};
      if (!policy.hasFirst) return policy;
      policy.firstLimit = spec.initial;
      // Not forgotten in the very moment that a denied call was told to wait for.
      policy.rememberNs = std::max<std::uint64_t>(spec.rememberNs, 1);
      return policy;
    }
    // The greatest limit this table can count to, and once again.
    std::uint64_t maxCount() const { return (std::uint64_t{1} << (countBits_ - 1)) - 1; }

   private:
    friend class FixedWindow;

    std::uint64_t rememberNs() const {
      catchUp();
      lookAtNew();
      return rememberNs_;
    }
    // `strictest` in a key's first window.
    std::uint64_t strictestFirst() const {
      const std::uint64_t strictestLimit = strictest();
      lookAtNew();
      const std::uint32_t own = base();  // once: others may change it
      const bool hasOwn = own < size() && specAt(own).isBase != 0;
      const std::uint64_t ownFirst = hasOwn ? (*this)[own].firstLimit : kMaxTokens;
      return std::min({strictestLimit, strictestFirstOfTiers_, ownFirst});
    }
    void lookAtNew() const {
      for (; lookedAt_ < size(); ++lookedAt_) {
        const Policy& policy = (*this)[lookedAt_];
        rememberNs_ = std::max(rememberNs_, policy.rememberNs);
        if (specAt(lookedAt_).isBase == 0)
          strictestFirstOfTiers_ = std::min(strictestFirstOfTiers_, policy.firstLimit);
      }
    }

    BookOptions options_;
    TimeScale scale_;
    std::uint64_t ticks_ = 1;      // per window
    std::uint64_t tolerance_ = 0;  // kClockToleranceNs, in ticks
    unsigned countBits_ = 17;
    // Of the first `lookedAt_` policies.
    mutable std::uint32_t lookedAt_ = 0;
    mutable std::uint64_t rememberNs_ = 0;
    mutable std::uint64_t strictestFirstOfTiers_ = kMaxTokens;
    Align align_ = Align::kFirstRequest;
  };

  // Counts `cost` against the window if it fits, opening one if none is open. A cost of 0 only asks. A key's
  // first window opens at a charge, also at one that it has no room for, or it would never be over.
  static Step charge(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t cost) {
    const Policy& policy = book[asked];
    const Reading reading = read(book, policy, entry, nowNs);
    Step step{entry, false, Outcome::kAllowed, 0};
    if (reading.blocked) {
      step.outcome = Outcome::kBlocked;
    } else if (cost > policy.limit) {
      step.outcome = Outcome::kTooCostly;
    } else if (reading.count + cost > limitIn(policy, reading) && cost != 0) {
      step.outcome = Outcome::kLimited;
    } else if (cost != 0) {
      return {encode(book, reading, reading.count + cost), true, Outcome::kAllowed, 0, reading.healed};
    }
    step.fromFuture = reading.healed;
    if (reading.healed || (!reading.open && step.outcome == Outcome::kLimited)) {
      step.next = encode(book, reading, reading.count);
      step.write = true;
    }
    return step;
  }

  // Gives back up to `tokens` that were charged `ageNs` ago, if that was in the window that is still open.
  static Step refund(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t tokens, std::uint64_t ageNs) {
    Step step{entry, false, Outcome::kAllowed, 0};
    const Reading reading = read(book, book[asked], entry, nowNs);
    if (!reading.open) return step;
    // A charge made just now counts in the window that is open, whatever has become of that since.
    if (ageNs > nowNs) return step;
    if (ageNs != 0 && chargedTick(book, nowNs - ageNs) + book.ticks_ < reading.end) return step;
    step.amount = std::min(tokens, reading.count);
    if (step.amount == 0) return step;
    step.next = rewrite(book, entry, reading, reading.count - step.amount);
    step.write = true;
    step.fromFuture = reading.healed;
    return step;
  }

  // Counts up to `tokens`, admitted or not, but not more than `maxDebt` beyond the limit (nor than the limit
  // again).
  static Step penalize(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                       std::uint64_t tokens, std::uint64_t maxDebt = 0) {
    Step step{entry, false, Outcome::kAllowed, 0};
    const Policy& policy = book[asked];
    const Reading reading = read(book, policy, entry, nowNs);
    const std::uint64_t most = limitIn(policy, reading) + std::min(maxDebt, policy.limit);
    step.amount = std::min(tokens, saturatingSub(most, reading.count));
    if (step.amount == 0) return step;
    step.next = rewrite(book, entry, reading, reading.count + step.amount);
    step.write = true;
    step.fromFuture = reading.healed;
    return step;
  }

  // Denies everything until `untilNs`. If that lies inside the open window, its count outlives the block: in
  // the same window when windows follow the epoch, in a full one that opens at the block's end when they
  // follow the first request. It is no longer the key's first.
  static Step block(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                    std::uint64_t untilNs) {
    Block block{Block::untilMsOf(untilNs), 0};
    if (Block::is(entry) && Block::decode(entry).untilMs >= block.untilMs)
      return {entry, false, Outcome::kBlocked, 0};
    const Reading reading = read(book, book[asked], entry, nowNs);
    if (reading.open && reading.end > book.scale_.at(block.untilNs()))
      block.spentUnits = blockUnits(reading.count);
    return {block.encode(0), true, Outcome::kBlocked, 0, reading.healed};
  }

  static Decision describe(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                           std::uint64_t cost, Outcome outcome) {
    const Policy& policy = book[asked];
    const Reading reading = read(book, policy, entry, nowNs);
    Decision decision;
    decision.outcome = outcome;
    decision.remaining = reading.blocked ? 0 : saturatingSub(limitIn(policy, reading), reading.count);
    if (reading.open) decision.resetAfterNs = saturatingSub(book.scale_.firstNsAt(reading.end), nowNs);
    if (outcome == Outcome::kLimited) decision.retryAfterNs = decision.resetAfterNs;
    if (outcome == Outcome::kTooCostly) decision.retryAfterNs = kNever;
    if (outcome == Outcome::kBlocked) {
      decision.retryAfterNs = saturatingSub(Block::decode(entry).untilNs(), nowNs);
      decision.resetAfterNs = std::max(decision.resetAfterNs, decision.retryAfterNs);
    }
    if (outcome == Outcome::kAllowed && policy.evenly && reading.open)
      decision.delayNs = delayOf(book, policy, reading, nowNs, cost);
    return decision;
  }

  static bool live(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    const Reading reading = read(book, Policy{}, entry, nowNs);
    return reading.open || reading.blocked || remembered(book, entry, book.rememberNs(), nowNs);
  }

  static Weight weigh(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    if (Block::is(entry) && Block::decode(entry).active(nowNs))
      return {true, 1, Block::decode(entry).untilNs()};
    // Which tier the key belongs to is not known: judge it by the strictest, so that none that limits is
    // dropped.
    const Reading reading = read(book, Policy{}, entry, nowNs);
    const std::uint64_t strictest = reading.isFirst ? book.strictestFirst() : book.strictest();
    Weight weight;
    weight.consumed = static_cast<double>(reading.count) / static_cast<double>(strictest);
    weight.limiting = reading.count >= strictest;
    if (weight.limiting) weight.limitingUntilNs = book.scale_.firstNsAt(reading.end);
    return weight;
  }

  struct Frame {
    std::uint64_t low = 0, high = 0;  // in ticks
    std::uint64_t limit = 0, maxEnd = 0;
    unsigned bits = 1;  // of mark and count
  };
  static Frame frame(const Book& book, std::uint32_t asked, std::uint64_t lowNs, std::uint64_t highNs) {
    const std::uint64_t low = book.scale_.at(lowNs);
    return {low, book.scale_.at(highNs), book[asked].limit, low + book.ticks_ + book.tolerance_,
            book.countBits_ + 1};
  }
  // `charge`, if it comes out the same at every time within the frame. Never heals. Of a first window it
  // knows only that it is one: with the mark as its highest bit, no count is below a limit.
  static Verdict chargeWithin(const Frame& frame, const Entry& entry, std::uint64_t cost) {
    if (Block::is(entry) || cost > frame.limit || cost == 0) return {};
    const std::uint64_t end = endOf(entry, frame.bits);
    if (end <= frame.high || end > frame.maxEnd) return {};
    const std::uint64_t markedCount = countOf(entry, frame.bits);
    if (markedCount + cost <= frame.limit) return {Verdict::Kind::kAdmit, entry.payload + cost};
    if (markedCount >> (frame.bits - 1) != 0) return {};
    return {Verdict::Kind::kRefuse, 0};
  }

  // `charge` at the one time of a frame of no width, if it admits; else nothing. `left` is what is left then.
  static Verdict admitAt(const Frame& frame, const Entry& entry, std::uint64_t cost, std::uint64_t* left) {
    const Verdict verdict = chargeWithin(frame, entry, cost);
    if (verdict.kind != Verdict::Kind::kAdmit) return {};
    *left = frame.limit - countOf({verdict.payload, 0}, frame.bits);
    return verdict;
  }

 private:
  static constexpr std::uint64_t kBlockUnits = Block::kUnitsPerToken;

  // An entry as of now: the open window, or the one that a charge would open (count 0).
  struct Reading {
    std::uint64_t end;
    std::uint64_t count;
    bool open;
    bool isFirst;  // the key's first window
    bool healed;   // the end was brought back from an impossible future
    bool blocked;
  };

  static constexpr std::uint64_t countOf(const Entry& entry, unsigned countBits) {
    return entry.payload & ((std::uint64_t{1} << countBits) - 1);
  }
  static constexpr bool isFirst(const Entry& entry, unsigned countBits) {
    return (entry.payload >> countBits & 1) != 0;
  }
  static constexpr std::uint64_t endOf(const Entry& entry, unsigned bits) {
    return std::uint64_t{entry.meta} << (kPayloadBits - bits) | entry.payload >> bits;
  }
  // One less than fits is counted, so that no entry looks like a claimed slot.
  static Entry encode(const Book& book, const Reading& window, std::uint64_t count) {
    const std::uint64_t bounded = std::min(count, 2 * book.maxCount());
    const std::uint64_t marked = bounded | std::uint64_t{window.isFirst} << book.countBits_;
    return {(window.end << (book.countBits_ + 1) | marked) & kPayloadMask,
            static_cast<std::uint32_t>(window.end >> (kPayloadBits - book.countBits_ - 1))};
  }

  static std::uint64_t limitIn(const Policy& policy, const Reading& window) {
    return window.isFirst ? policy.firstLimit : policy.limit;
  }

  // The end of the window that a first charge at `nowNs` opens. Rounded up to a tick: never shorter than a
  // window.
  static std::uint64_t endOfWindowAt(const Book& book, std::uint64_t nowNs) {
    if (book.align_ == Align::kFirstRequest) return book.scale_.atOrAfter(nowNs) + book.ticks_;
    const std::uint64_t present = book.scale_.at(nowNs);
    return present - present % book.ticks_ + book.ticks_;
  }

  // The tick in which a charge at `ns` counts: that of a window opened by it, if windows open at first
  // requests.
  static std::uint64_t chargedTick(const Book& book, std::uint64_t ns) {
    return book.align_ == Align::kFirstRequest ? book.scale_.atOrAfter(ns) : book.scale_.at(ns);
  }

  static Reading read(const Book& book, const Policy& asked, const Entry& entry, std::uint64_t nowNs) {
    if (Block::is(entry)) return readBlock(book, asked, entry, nowNs);
    const std::uint64_t present = book.scale_.at(nowNs);
    const std::uint64_t end = endOf(entry, book.countBits_ + 1);
    if (end <= present) return closed(book, asked, entry, nowNs, false);
    const bool healed = end > present + book.ticks_ + book.tolerance_;
    return {healed ? endOfWindowAt(book, nowNs) : end,
            countOf(entry, book.countBits_),
            true,
            isFirst(entry, book.countBits_),
            healed,
            false};
  }

  static Reading readBlock(const Book& book, const Policy& asked, const Entry& entry, std::uint64_t nowNs) {
    const Block block = Block::decode(entry);
    const std::uint64_t count = std::min(block.spentUnits / kBlockUnits, 2 * book.maxCount());
    const std::uint64_t end = endOfWindowAt(book, block.untilNs());
    const bool blocked = block.active(nowNs);
    if (count != 0 && (blocked || end > book.scale_.at(nowNs)))
      return {end, count, true, false, false, blocked};
    return closed(book, asked, entry, nowNs, blocked);
  }

  // No window is open.
  static Reading closed(const Book& book, const Policy& asked, const Entry& entry, std::uint64_t nowNs,
                        bool blocked) {
    const bool isNew = asked.hasFirst && !blocked && !remembered(book, entry, asked.rememberNs, nowNs);
    return {endOfWindowAt(book, nowNs), 0, false, isNew, false, blocked};
  }

  // Whether the key's last window, or block, has not been over for `rememberNs` yet.
  static bool remembered(const Book& book, const Entry& entry, std::uint64_t rememberNs,
                         std::uint64_t nowNs) {
    if (rememberNs == 0) return false;
    std::uint64_t overNs = 0;
    if (Block::is(entry)) {
      const Block block = Block::decode(entry);
      overNs = block.spentUnits < kBlockUnits ? block.untilNs()
                                              : book.scale_.firstNsAt(endOfWindowAt(book, block.untilNs()));
    } else {
      const std::uint64_t end = endOf(entry, book.countBits_ + 1);
      if (end == 0) return false;
      overNs = book.scale_.firstNsAt(end);
    }
    return std::min(nowNs, kHorizonNs) < overNs + rememberNs;
  }

  static std::uint64_t blockUnits(std::uint64_t count) {
    constexpr std::uint64_t kMostUnits = std::uint64_t{0xfff} << 52;  // what a block can hold
    return std::min(count * kBlockUnits, kMostUnits);
  }

  // Until the share of the window is over that belongs to what was counted before a call of `cost`, of which
  // the window knows already.
  static std::uint64_t delayOf(const Book& book, const Policy& policy, const Reading& window,
                               std::uint64_t nowNs, std::uint64_t cost) {
    const std::uint64_t startNs = book.scale_.firstNsAt(saturatingSub(window.end, book.ticks_));
    const std::uint64_t shareNs =
        mulDivCeil(saturatingSub(window.count, cost), book.options_.windowNs, policy.limit, kHorizonNs);
    return saturatingSub(startNs + shareNs, nowNs);
  }

  // The same entry with another count; a block that is in force stays one.
  static Entry rewrite(const Book& book, const Entry& entry, const Reading& reading, std::uint64_t count) {
    if (!reading.blocked) return encode(book, reading, count);
    return Block{Block::decode(entry).untilMs, blockUnits(count)}.encode(0);
  }
};

}  // namespace sluice

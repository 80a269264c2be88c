// Fixed window: a count that lasts until the window's end. At a window's edge up to twice the limit can pass
// within one window's length; use a token bucket where that matters.
//
// An entry is (end of the window, count). The count takes as many bits as the table's greatest limit needs,
// the end takes the rest of payload and meta; a window that opens at a first request opens at the next tick
// of that size (half a microsecond for limits below 2^18, 8 ms for 2^31). All policies of a table share the
// window, so that a key that moves between tiers keeps its count; they differ in the limit.
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

  static constexpr std::uint64_t kId = 2;

  struct Policy {
    std::uint64_t limit = 1;
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
      book.countBits_ = std::max(bitWidth(maxLimit + 1), std::clamp(bitWidth(windowNs), 8U, 18U));
      const std::uint64_t maxEnd = (std::uint64_t{1} << (kOwnMetaBits + kPayloadBits - book.countBits_)) - 1;
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
      if (spec.limit == 0 || spec.limit > maxCount()) return std::nullopt;
      return Policy{spec.limit};
    }
    // The greatest limit this table can count to. One less than fits, so that no entry looks like a claimed
    // slot.
    std::uint64_t maxCount() const { return (std::uint64_t{1} << countBits_) - 2; }

   private:
    friend class FixedWindow;
    BookOptions options_;
    TimeScale scale_;
    std::uint64_t ticks_ = 1;      // per window
    std::uint64_t tolerance_ = 0;  // kClockToleranceNs, in ticks
    unsigned countBits_ = 18;
    Align align_ = Align::kFirstRequest;
  };

  // Counts `cost` against the window if it fits, opening one if none is open. A cost of 0 only asks.
  static Step charge(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t cost) {
    const Reading reading = read(book, entry, nowNs);
    const std::uint64_t limit = book[asked].limit;
    Step step{entry, false, Outcome::kAllowed, 0};
    if (reading.blocked) {
      step.outcome = Outcome::kBlocked;
    } else if (cost > limit) {
      step.outcome = Outcome::kTooCostly;
    } else if (reading.count + cost > limit && cost != 0) {
      step.outcome = Outcome::kLimited;
    } else if (cost != 0) {
      return {encode(book, reading.end, reading.count + cost), true, Outcome::kAllowed, 0, reading.healed};
    }
    step.fromFuture = reading.healed;
    if (reading.healed) {
      step.next = encode(book, reading.end, reading.count);
      step.write = true;
    }
    return step;
  }

  // Gives back up to `tokens` that were charged `ageNs` ago, if that was in the window that is still open.
  static Step refund(const Book& book, std::uint32_t, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t tokens, std::uint64_t ageNs) {
    Step step{entry, false, Outcome::kAllowed, 0};
    const Reading reading = read(book, entry, nowNs);
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

  // Counts up to `tokens`, admitted or not, but not beyond the limit.
  static Step penalize(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                       std::uint64_t tokens) {
    Step step{entry, false, Outcome::kAllowed, 0};
    const Reading reading = read(book, entry, nowNs);
    step.amount = std::min(tokens, saturatingSub(book[asked].limit, reading.count));
    if (step.amount == 0) return step;
    step.next = rewrite(book, entry, reading, reading.count + step.amount);
    step.write = true;
    step.fromFuture = reading.healed;
    return step;
  }

  // Denies everything until `untilNs`. If that lies inside the open window, its count outlives the block: in
  // the same window when windows follow the epoch, in a full one that opens at the block's end when they
  // follow the first request.
  static Step block(const Book& book, std::uint32_t, const Entry& entry, std::uint64_t nowNs,
                    std::uint64_t untilNs) {
    Block block{Block::untilMsOf(untilNs), 0};
    if (Block::is(entry) && Block::decode(entry).untilMs >= block.untilMs)
      return {entry, false, Outcome::kBlocked, 0};
    const Reading reading = read(book, entry, nowNs);
    if (reading.open && reading.end > book.scale_.at(block.untilNs()))
      block.spentUnits = reading.count * kBlockUnits;
    return {block.encode(0), true, Outcome::kBlocked, 0, reading.healed};
  }

  static Decision describe(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                           std::uint64_t, Outcome outcome) {
    const Reading reading = read(book, entry, nowNs);
    Decision decision;
    decision.outcome = outcome;
    decision.remaining = reading.blocked ? 0 : saturatingSub(book[asked].limit, reading.count);
    if (reading.open) decision.resetAfterNs = saturatingSub(book.scale_.firstNsAt(reading.end), nowNs);
    if (outcome == Outcome::kLimited) decision.retryAfterNs = decision.resetAfterNs;
    if (outcome == Outcome::kTooCostly) decision.retryAfterNs = kNever;
    if (outcome == Outcome::kBlocked) {
      decision.retryAfterNs = saturatingSub(Block::decode(entry).untilNs(), nowNs);
      decision.resetAfterNs = std::max(decision.resetAfterNs, decision.retryAfterNs);
    }
    return decision;
  }

  static bool live(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    const Reading reading = read(book, entry, nowNs);
    return reading.open || reading.blocked;
  }

  static Weight weigh(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    if (Block::is(entry) && Block::decode(entry).active(nowNs))
      return {true, 1, Block::decode(entry).untilNs()};
    // Which tier the key belongs to is not known: judge it by the strictest, so that none that limits is
    // dropped.
    const Reading reading = read(book, entry, nowNs);
    Weight weight;
    weight.consumed = static_cast<double>(reading.count) / static_cast<double>(book.strictest());
    weight.limiting = reading.count >= book.strictest();
    if (weight.limiting) weight.limitingUntilNs = book.scale_.firstNsAt(reading.end);
    return weight;
  }

  struct Frame {
    std::uint64_t low = 0, high = 0;  // in ticks
    std::uint64_t limit = 0, maxEnd = 0;
    unsigned countBits = 1;
  };
  static Frame frame(const Book& book, std::uint32_t asked, std::uint64_t lowNs, std::uint64_t highNs) {
    const std::uint64_t low = book.scale_.at(lowNs);
    return {low, book.scale_.at(highNs), book[asked].limit, low + book.ticks_ + book.tolerance_,
            book.countBits_};
  }
  // `charge`, if it comes out the same at every time within the frame. Never heals.
  static Verdict chargeWithin(const Frame& frame, const Entry& entry, std::uint64_t cost) {
    if (Block::is(entry) || cost > frame.limit || cost == 0) return {};
    const std::uint64_t end = endOf(entry, frame.countBits);
    if (end <= frame.high || end > frame.maxEnd) return {};
    if (countOf(entry, frame.countBits) + cost > frame.limit) return {Verdict::Kind::kRefuse, 0};
    return {Verdict::Kind::kAdmit, entry.payload + cost};
  }

  // `charge` at the one time of a frame of no width, if it admits; else nothing. `left` is what is left then.
  static Verdict admitAt(const Frame& frame, const Entry& entry, std::uint64_t cost, std::uint64_t* left) {
    const Verdict verdict = chargeWithin(frame, entry, cost);
    if (verdict.kind != Verdict::Kind::kAdmit) return {};
    *left = frame.limit - countOf({verdict.payload, 0}, frame.countBits);
    return verdict;
  }

 private:
  static constexpr std::uint64_t kBlockUnits = Block::kUnitsPerToken;

  // An entry as of now: the open window, or the one that a charge would open (count 0).
  struct Reading {
    std::uint64_t end;
    std::uint64_t count;
    bool open;
    bool healed;  // the end was brought back from an impossible future
    bool blocked;
  };

  static constexpr std::uint64_t countOf(const Entry& entry, unsigned countBits) {
    return entry.payload & ((std::uint64_t{1} << countBits) - 1);
  }
  static constexpr std::uint64_t endOf(const Entry& entry, unsigned countBits) {
    return std::uint64_t{entry.meta} << (kPayloadBits - countBits) | entry.payload >> countBits;
  }
  static Entry encode(const Book& book, std::uint64_t end, std::uint64_t count) {
    const std::uint64_t bounded = std::min(count, book.maxCount());
    return {(end << book.countBits_ | bounded) & kPayloadMask,
            static_cast<std::uint32_t>(end >> (kPayloadBits - book.countBits_))};
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

  static Reading read(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    if (Block::is(entry)) return readBlock(book, Block::decode(entry), nowNs);
    const std::uint64_t present = book.scale_.at(nowNs);
    const std::uint64_t end = endOf(entry, book.countBits_);
    if (end <= present) return {endOfWindowAt(book, nowNs), 0, false, false, false};
    const bool healed = end > present + book.ticks_ + book.tolerance_;
    return {healed ? endOfWindowAt(book, nowNs) : end, countOf(entry, book.countBits_), true, healed, false};
  }

  static Reading readBlock(const Book& book, const Block& block, std::uint64_t nowNs) {
    const std::uint64_t count = std::min(block.spentUnits / kBlockUnits, book.maxCount());
    const std::uint64_t end = endOfWindowAt(book, block.untilNs());
    const bool blocked = block.active(nowNs);
    if (count != 0 && (blocked || end > book.scale_.at(nowNs))) return {end, count, true, false, blocked};
    return {endOfWindowAt(book, nowNs), 0, false, false, blocked};
  }

  // The same entry with another count; a block that is in force stays one.
  static Entry rewrite(const Book& book, const Entry& entry, const Reading& reading, std::uint64_t count) {
    if (!reading.blocked) return encode(book, reading.end, count);
    return Block{Block::decode(entry).untilMs, count * kBlockUnits}.encode(0);
  }
};

}  // namespace sluice

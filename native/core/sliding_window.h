// Sliding window, estimated from two counts: what was admitted in the present window, and, of what was
// admitted in the window before, the share that a window's length that ends now still reaches:
//
//   admitted if  previous * (W - elapsed) + (current + cost) * W <= limit * W
//
// exactly. Windows are multiples of their length W since the table's origin.
//
// How much can pass: never more than `limit` in one of these windows. In any other interval of length W,
// which lies across two of them, at most 2 * limit - 1: a whole limit at the very end of the first, which
// weighs less and less in the second, but never nothing. In n windows' length at most (n + 1) * limit, so in
// the long run never more than `limit` a window. Calls that come evenly are held to limit + 1 in every
// interval.
//
// An entry is (index of the window, previous, current). The present count has the bits that twice the table's
// greatest limit needs, since a debt may be as large as the limit. The count before is exact up to 20 bits;
// of larger ones 14 bits are kept, rounded up: less than 2^-13 too much. The index has the rest. Where that
// is too little for 146 years it wraps: then what is neither present, nor just past, nor up to an hour ahead
// is long past. (A key that was left alone until its index comes round again may count once more, for at most
// two windows.)
#pragma once

#include <algorithm>
#include <optional>

#include "core/block.h"
#include "core/decision.h"
#include "core/layout.h"
#include "core/policy_book.h"
#include "core/time_scale.h"

namespace sluice {

class SlidingWindow {
  // Where the fields of an entry lie: index | previous | current, upper bits in meta, the others in the
  // payload.
  struct Fields {
    unsigned currentBits = 8;
    unsigned mantissaBits = 8;                              // of the previous count
    unsigned indexShift = 16;                               // bits of both counts
    std::uint64_t currentMask = 0xff, mantissaMask = 0xff;  // of the lowest bits
    std::uint64_t countsMask = 0xffff;

    static constexpr Fields forCountsOf(unsigned bits) {
      const unsigned mantissaBits = bits <= 20 ? bits : 14, exponentBits = bits <= 20 ? 0 : 5;
      const unsigned indexShift = bits + mantissaBits + exponentBits;
      return {bits, mantissaBits, indexShift, lowest(bits), lowest(mantissaBits), lowest(indexShift)};
    }
    static constexpr std::uint64_t lowest(unsigned bits) { return (std::uint64_t{1} << bits) - 1; }
    constexpr unsigned indexBits() const { return kOwnMetaBits + kPayloadBits - indexShift; }
    // One less than fits, so that no entry looks like a claimed slot.
    constexpr std::uint64_t maxCurrent() const { return currentMask - 1; }

    constexpr std::uint64_t indexOf(const Entry& entry) const {
      return std::uint64_t{entry.meta} << (kPayloadBits - indexShift) | entry.payload >> indexShift;
    }
    // Of the counts alone: a payload without its index.
    constexpr std::uint64_t currentOf(std::uint64_t counts) const { return counts & currentMask; }
    constexpr std::uint64_t previousOf(std::uint64_t counts) const {
      const std::uint64_t kept = counts >> currentBits;
      return (kept & mantissaMask) << (kept >> mantissaBits);
    }
    constexpr std::uint64_t encodePrevious(std::uint64_t count) const {
      const unsigned width = bitWidth(count);
      if (width <= mantissaBits) return count;
      unsigned exponent = width - mantissaBits;
      std::uint64_t mantissa = ((count - 1) >> exponent) + 1;
      if (mantissa >> mantissaBits != 0) {
        mantissa >>= 1;
        ++exponent;
      }
      return std::uint64_t{exponent} << mantissaBits | mantissa;
    }
    // The least count, not below this one, that can be kept as the previous one.
    constexpr std::uint64_t asPrevious(std::uint64_t count) const {
      return previousOf(encodePrevious(count) << currentBits);
    }
  };

  // Shares of a count in proportion to a part of the window, exact and without division.
  struct Portion {
    std::uint64_t windowNs = 1;
    std::uint64_t reciprocal = std::uint64_t{1} << 63;  // floor(2^(62 + bits) / windowNs), at least 2^62
    unsigned bits = 1;                                  // of windowNs

    static constexpr Portion of(std::uint64_t windowNs) {
      const unsigned bits = bitWidth(windowNs);
      return {windowNs, static_cast<std::uint64_t>((Uint128{1} << (62 + bits)) / windowNs), bits};
    }
    // partNs / windowNs, in units of 2^-62.
    constexpr std::uint64_t fraction(std::uint64_t partNs) const {
      return static_cast<std::uint64_t>((Uint128{partNs} * reciprocal) >> bits);
    }
    // ceil(count * partNs / windowNs). REQUIRES count < 2^46, partNs <= windowNs.
    constexpr std::uint64_t ceil(std::uint64_t count, std::uint64_t partNs) const {
      return ceil(count, partNs, fraction(partNs));
    }
    constexpr std::uint64_t ceil(std::uint64_t count, std::uint64_t partNs, std::uint64_t fraction) const {
      // The fraction is short by less than 2 / 2^62, so the quotient is exact or one too small; the remainder
      // tells which, and fits 64 bits even where products wrap.
      const auto quotient = static_cast<std::uint64_t>((Uint128{count} * fraction) >> 62);
      const std::uint64_t remainder = count * partNs - quotient * windowNs;
      return quotient + (remainder != 0 ? 1 : 0) + (remainder > windowNs ? 1 : 0);
    }
  };

 public:
  using Entry = sluice::Entry;
  static constexpr std::uint64_t kId = 3;
  static constexpr bool kPaces = false;
  static constexpr std::uint64_t kMaxLimit = std::uint64_t{1} << 32;

  struct Policy {
    std::uint64_t limit = 1;
    std::uint64_t mostAtOnce() const { return limit; }
  };

  class Book : public PolicyBook<Book, Policy> {
   public:
    // Nothing if the rate exceeds one a nanosecond, the limit 2^32 or the window 146 years.
    static std::optional<Book> make(const BookOptions& options) {
      const std::uint64_t windowNs = options.windowNs, maxLimit = options.maxLimit;
      if (windowNs == 0 || windowNs > kHorizonNs) return std::nullopt;
      if (maxLimit == 0 || maxLimit > kMaxLimit || maxLimit > windowNs) return std::nullopt;
      Book book;
      book.options_ = options;
      // At least 18 bits where the window allows, for limits added later.
      book.fields_ =
          Fields::forCountsOf(std::max(bitWidth(2 * maxLimit + 1), std::clamp(bitWidth(windowNs), 8U, 18U)));
      book.windows_ = TimeScale(1, windowNs);
      book.portion_ = Portion::of(windowNs);
      const std::uint64_t span = std::uint64_t{1} << book.fields_.indexBits();
      if (book.windows_.at(kHorizonNs) >= span) {
        book.indexMask_ = span - 1;
        book.mostAhead_ = kWrapAheadNs / windowNs + 1;
      }
      return book;
    }

    BookOptions options() const { return options_; }
    std::optional<Policy> policyFrom(const PolicySpec& spec) const {
      if (spec.limit == 0 || spec.limit > maxCount()) return std::nullopt;
      return Policy{spec.limit};
    }
    // The greatest limit of which this table can count twice as much.
    std::uint64_t maxCount() const {
      return std::min({fields_.maxCurrent() / 2, options_.windowNs, kMaxLimit});
    }

   private:
    friend class SlidingWindow;
    // How far ahead of the present an index that wraps may be: as long as a process may have been stopped
    // after it has read the clock. Less than 1/100 of what an index spans.
    static constexpr std::uint64_t kWrapAheadNs = 3600 * kNsPerSecond;

    BookOptions options_;
    Fields fields_;
    Portion portion_;
    TimeScale windows_;
    // Distances between indexes are taken modulo this, and up to that they lead ahead.
    std::uint64_t indexMask_ = ~std::uint64_t{0};
    std::uint64_t mostAhead_ = ~std::uint64_t{0} >> 1;
  };

  // Counts `cost` in the present window if it fits. A cost of 0 only asks.
  static Step charge(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t cost) {
    const Reading reading = read(book, entry, nowNs);
    const std::uint64_t limit = book[asked].limit;
    Step step{entry, false, Outcome::kAllowed, 0, reading.healed};
    Counts counts = reading.counts;
    if (reading.blocked) {
      step.outcome = Outcome::kBlocked;
    } else if (cost > limit) {
      step.outcome = Outcome::kTooCostly;
    } else if (reading.spent + cost > limit && cost != 0) {
      step.outcome = Outcome::kLimited;
    } else {
      counts.current += cost;
    }
    step.write = reading.healed || counts.current != reading.counts.current;
    if (step.write) step.next = encode(book, counts);
    return step;
  }

  // Gives back up to `tokens` that were charged `ageNs` ago, if that was in the present window or the one
  // before; during a block, in the window in which it ends. What is rounded up in the count before stays
  // spent.
  static Step refund(const Book& book, std::uint32_t, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t tokens, std::uint64_t ageNs) {
    Step step{entry, false, Outcome::kAllowed, 0};
    if (ageNs > nowNs) return step;
    const Reading reading = read(book, entry, nowNs);
    Counts counts = reading.counts;
    // A charge made just now counts in the entry's window, even if that is one that others see first.
    const bool justNow = ageNs == 0 && !reading.blocked;
    const std::uint64_t charged = justNow ? counts.window : book.windows_.at(nowNs - ageNs);
    if (charged == counts.window) {
      step.amount = std::min(tokens, counts.current);
      counts.current -= step.amount;
    } else if (charged + 1 == counts.window) {
      counts.previous = book.fields_.asPrevious(saturatingSub(counts.previous, tokens));
      step.amount = reading.counts.previous - counts.previous;
    }
    if (step.amount == 0) return step;
    step.next = rewrite(book, entry, reading, counts);
    step.write = true;
    step.fromFuture = reading.healed;
    return step;
  }

  // Counts up to `tokens`, admitted or not, but not more than `maxDebt` beyond the limit (nor than the limit
  // again).
  static Step penalize(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                       std::uint64_t tokens, std::uint64_t maxDebt = 0) {
    Step step{entry, false, Outcome::kAllowed, 0};
    const Reading reading = read(book, entry, nowNs);
    const std::uint64_t limit = book[asked].limit;
    const std::uint64_t left = saturatingSub(limit + std::min(maxDebt, limit), reading.spent);
    Counts counts = reading.counts;
    step.amount = std::min({tokens, left, saturatingSub(book.fields_.maxCurrent(), counts.current)});
    if (step.amount == 0) return step;
    counts.current += step.amount;
    step.next = rewrite(book, entry, reading, counts);
    step.write = true;
    step.fromFuture = reading.healed;
    return step;
  }

  // Denies everything until `untilNs`. What still counts then is kept, as if it had been admitted in the
  // window in which the block ends.
  static Step block(const Book& book, std::uint32_t, const Entry& entry, std::uint64_t nowNs,
                    std::uint64_t untilNs) {
    Block block{Block::untilMsOf(untilNs), 0};
    if (Block::is(entry) && Block::decode(entry).untilMs >= block.untilMs)
      return {entry, false, Outcome::kBlocked, 0};
    const Reading reading = read(book, entry, nowNs);
    const std::uint64_t endNs = block.untilNs();
    const Counts counts = rolled(book, reading.counts, book.windows_.at(endNs));
    block.spentUnits = spentAt(book, counts, endNs) * Block::kUnitsPerToken;
    return {block.encode(0), true, Outcome::kBlocked, 0, reading.healed};
  }

  static Decision describe(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                           std::uint64_t cost, Outcome outcome) {
    const Reading reading = read(book, entry, nowNs);
    const std::uint64_t limit = book[asked].limit;
    Decision decision;
    decision.outcome = outcome;
    decision.remaining = reading.blocked ? 0 : saturatingSub(limit, reading.spent);
    decision.resetAfterNs = saturatingSub(forgottenAt(book, reading.counts), nowNs);
    if (outcome == Outcome::kLimited)
      decision.retryAfterNs = saturatingSub(admittedAt(book, reading.counts, limit, cost), nowNs);
    if (outcome == Outcome::kTooCostly) decision.retryAfterNs = kNever;
    if (outcome == Outcome::kBlocked) {
      decision.retryAfterNs = saturatingSub(Block::decode(entry).untilNs(), nowNs);
      decision.resetAfterNs = std::max(decision.resetAfterNs, decision.retryAfterNs);
    }
    return decision;
  }

  static bool live(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    const Reading reading = read(book, entry, nowNs);
    return reading.blocked || !reading.counts.none();
  }

  static Weight weigh(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    const Reading reading = read(book, entry, nowNs);
    if (reading.blocked) return {true, 1, Block::decode(entry).untilNs()};
    // Which tier the key belongs to is not known: judge it by the strictest, so that none that limits is
    // dropped.
    const std::uint64_t strictest = book.strictest();
    Weight weight;
    weight.consumed = static_cast<double>(reading.spent) / static_cast<double>(strictest);
    weight.limiting = reading.spent >= strictest;
    if (weight.limiting) weight.limitingUntilNs = admittedAt(book, reading.counts, strictest, 1);
    return weight;
  }

  // The present, known only to lie in [low, high]. If a window ends between, it can decide nothing.
  struct Frame {
    Entry empty{0, kNoMeta};  // of the window, with no counts
    std::uint64_t limit = 0;
    std::uint64_t leftAtLow = 0, leftAtHigh = 0;  // of the window, ns
    std::uint64_t fractionAtLow = 0;
    Portion portion;
    Fields fields;
  };
  static Frame frame(const Book& book, std::uint32_t asked, std::uint64_t lowNs, std::uint64_t highNs) {
    const std::uint64_t window = book.windows_.at(lowNs);
    const std::uint64_t endNs = endOf(book, window);
    Frame frame;
    if (highNs >= std::min(endNs, kHorizonNs)) return frame;
    frame.empty = encode(book, {window, 0, 0});
    frame.limit = book[asked].limit;
    frame.leftAtLow = endNs - lowNs;
    frame.leftAtHigh = endNs - highNs;
    frame.portion = book.portion_;
    frame.fractionAtLow = book.portion_.fraction(frame.leftAtLow);
    frame.fields = book.fields_;
    return frame;
  }
  // `charge`, if it comes out the same at every time within the frame. Only for keys charged in this window.
  static Verdict chargeWithin(const Frame& frame, const Entry& entry, std::uint64_t cost) {
    const std::uint64_t counts = entry.payload ^ frame.empty.payload;
    if (!isPresent(frame, entry) || cost > frame.limit || cost == 0) return {};
    const std::uint64_t taken = frame.fields.currentOf(counts) + cost;
    if (taken > frame.limit) return {Verdict::Kind::kRefuse, 0};
    const std::uint64_t previous = frame.fields.previousOf(counts);
    const Uint128 room = Uint128{frame.limit - taken} * frame.portion.windowNs;
    if (Uint128{previous} * frame.leftAtLow <= room) return {Verdict::Kind::kAdmit, entry.payload + cost};
    if (Uint128{previous} * frame.leftAtHigh > room) return {Verdict::Kind::kRefuse, 0};
    return {};
  }

  // `charge` at the one time of a frame of no width, if it admits; else nothing. `left` is what is left then.
  static Verdict admitAt(const Frame& frame, const Entry& entry, std::uint64_t cost, std::uint64_t* left) {
    const std::uint64_t counts = entry.payload ^ frame.empty.payload;
    if (!isPresent(frame, entry) || cost > frame.limit || cost == 0) return {};
    const std::uint64_t past =
        frame.portion.ceil(frame.fields.previousOf(counts), frame.leftAtLow, frame.fractionAtLow);
    const std::uint64_t spent = frame.fields.currentOf(counts) + past + cost;
    if (spent > frame.limit) return {};
    *left = frame.limit - spent;
    return {Verdict::Kind::kAdmit, entry.payload + cost};
  }

 private:
  static constexpr std::uint32_t kNoMeta = kMetaMask + 1;  // what no entry has

  struct Counts {
    std::uint64_t window;  // its number since the table's origin, not wrapped
    std::uint64_t previous, current;
    bool none() const { return previous == 0 && current == 0; }
  };

  // An entry as of now. Its window is the present one, or that of others whose clock is a little ahead, or
  // that in which a block ends.
  struct Reading {
    Counts counts;
    std::uint64_t spent;  // what counts now, in whole tokens, rounded up
    bool healed;          // the window was brought back from an impossible future
    bool blocked;
  };

  static bool isPresent(const Frame& frame, const Entry& entry) {
    return entry.meta == frame.empty.meta && (entry.payload ^ frame.empty.payload) <= frame.fields.countsMask;
  }

  static Entry encode(const Book& book, const Counts& counts) {
    const Fields& fields = book.fields_;
    const std::uint64_t index = counts.window & Fields::lowest(fields.indexBits());
    const std::uint64_t current = std::min(counts.current, fields.maxCurrent());
    const std::uint64_t previous = fields.encodePrevious(counts.previous);
    return {(index << fields.indexShift | previous << fields.currentBits | current) & kPayloadMask,
            static_cast<std::uint32_t>(index >> (kPayloadBits - fields.indexShift))};
  }

  // Below 2^64, also of the window after one that begins before the horizon.
  static std::uint64_t endOf(const Book& book, std::uint64_t window) {
    return (window + 1) * book.portion_.windowNs;
  }

  // The same as of a later window.
  static Counts rolled(const Book& book, const Counts& counts, std::uint64_t window) {
    if (window <= counts.window) return counts;
    if (window == counts.window + 1) return {window, book.fields_.asPrevious(counts.current), 0};
    return {window, 0, 0};
  }

  // Before the window everything counts in full. REQUIRES that the window is not over at `ns`.
  static std::uint64_t spentAt(const Book& book, const Counts& counts, std::uint64_t ns) {
    const std::uint64_t leftNs = std::min(endOf(book, counts.window) - ns, book.portion_.windowNs);
    return counts.current + book.portion_.ceil(counts.previous, leftNs);
  }

  static Reading read(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    const std::uint64_t ns = std::min(nowNs, kHorizonNs), present = book.windows_.at(ns);
    Reading reading{};
    if (Block::is(entry)) {
      reading.counts = countsAfter(book, Block::decode(entry));
      reading.blocked = Block::decode(entry).active(ns);
    } else {
      reading.counts = countsOf(book, entry, present);
      reading.healed = reading.counts.window > book.windows_.at(ns + kClockToleranceNs);
      if (reading.healed) reading.counts.window = present;
    }
    if (!reading.blocked) reading.counts = rolled(book, reading.counts, present);
    reading.spent = spentAt(book, reading.counts, ns);
    return reading;
  }

  // What an entry says, its index put into the cycle in which it can have been written.
  static Counts countsOf(const Book& book, const Entry& entry, std::uint64_t present) {
    const Fields& fields = book.fields_;
    const std::uint64_t both = entry.payload & fields.countsMask;
    const Counts counts{fields.indexOf(entry), fields.previousOf(both), fields.currentOf(both)};
    if (counts.none()) return {present, 0, 0};
    const std::uint64_t ahead = (counts.window - present) & book.indexMask_;
    if (ahead <= book.mostAhead_) return {present + ahead, counts.previous, counts.current};
    const std::uint64_t behind = (present - counts.window) & book.indexMask_;
    if (behind > present) return {present, 0, 0};  // nobody wrote that
    return {present - behind, counts.previous, counts.current};
  }

  static Counts countsAfter(const Book& book, const Block& block) {
    const std::uint64_t count = std::min(block.spentUnits / Block::kUnitsPerToken, book.fields_.maxCurrent());
    return {book.windows_.at(block.untilNs()), 0, count};
  }

  // The same entry with other counts; a block that is in force stays one.
  static Entry rewrite(const Book& book, const Entry& entry, const Reading& reading, const Counts& counts) {
    if (!reading.blocked) return encode(book, counts);
    return Block{Block::decode(entry).untilMs, counts.current * Block::kUnitsPerToken}.encode(0);
  }

  // When nothing counts any more.
  static std::uint64_t forgottenAt(const Book& book, const Counts& counts) {
    if (counts.none()) return 0;
    return std::min(endOf(book, counts.window + (counts.current != 0 ? 1 : 0)), kHorizonNs);
  }

  // When a call of `cost` that does not fit now will: once little enough of the present window is left for
  // the count before, or else of the next one for what is the present count. REQUIRES cost <= limit.
  static std::uint64_t admittedAt(const Book& book, const Counts& counts, std::uint64_t limit,
                                  std::uint64_t cost) {
    const std::uint64_t windowNs = book.portion_.windowNs;
    const auto mostLeft = [windowNs](std::uint64_t room, std::uint64_t previous) {
      return previous == 0 ? windowNs : mulDivFloor(room, windowNs, previous, windowNs);
    };
    if (counts.previous != 0 && counts.current + cost <= limit) {
      const std::uint64_t left = mostLeft(limit - counts.current - cost, counts.previous);
      if (left != 0) return std::min(endOf(book, counts.window) - left, kHorizonNs);
    }
    const Counts next = rolled(book, counts, counts.window + 1);
    return std::min(endOf(book, next.window) - mostLeft(limit - cost, next.previous), kHorizonNs);
  }
};

}  // namespace sluice

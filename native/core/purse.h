// A purse: tokens that a key was granted until they lapse. A charge takes some; nothing comes back by itself.
// What is granted while something is left joins it, and all of it lapses at the later of the two times.
//
// An entry is (time at which it lapses 39 bits, balance 32), the upper part of the time in meta. Times are in
// ticks of half a millisecond, rounded down: a grant is never valid for too long. They last for 8.7 years of
// a table; later grants count for nothing, as if there were no purse. An entry without a balance, or lapsed,
// means the same as none.
//
// Policies say nothing: all have the table's window, which is the longest that a grant is valid.
#pragma once

#include <algorithm>
#include <optional>

#include "core/block.h"
#include "core/decision.h"
#include "core/layout.h"
#include "core/policy_book.h"
#include "core/time_scale.h"

namespace sluice {

class Purse {
 public:
  using Entry = sluice::Entry;
  static constexpr std::uint64_t kId = 8;
  static constexpr bool kPaces = false;

  static constexpr std::uint64_t kTickNs = kNsPerMs / 2;
  static constexpr unsigned kBalanceBits = 32;
  // One less than fits, so that no entry looks like a claimed slot.
  static constexpr std::uint64_t kMaxBalance = (std::uint64_t{1} << kBalanceBits) - 2;

  struct Policy {
    static constexpr std::uint64_t mostAtOnce() { return kMaxBalance; }
  };

  class Book : public PolicyBook<Book, Policy> {
   public:
    // Nothing if the window is shorter than a tick, or exceeds 146 years.
    static std::optional<Book> make(const BookOptions& options) {
      if (options.windowNs < kTickNs || options.windowNs > kHorizonNs) return std::nullopt;
      Book book;
      book.options_ = {options.windowNs, options.maxLimit, 0};
      book.farthest_ = book.scale_.at(options.windowNs) + 1 + book.scale_.at(kClockToleranceNs);
      return book;
    }

    BookOptions options() const { return options_; }
    std::optional<Policy> policyFrom(const PolicySpec&) const { return Policy{}; }
    std::uint64_t maxCount() const { return kMaxBalance; }

   private:
    friend class Purse;

    BookOptions options_;
    TimeScale scale_{1, kTickNs};
    std::uint64_t farthest_ = 0;  // in ticks: no grant made by now lapses later than that
  };

  // Takes `cost` if that much is left. A cost of 0 only asks whether anything is.
  static Step charge(const Book& book, std::uint32_t, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t cost) {
    const Reading reading = read(book, entry, nowNs);
    Step step{entry, false, Outcome::kAllowed, 0, reading.fromFuture};
    if (reading.balance == 0 || cost > reading.balance) {
      step.outcome = Outcome::kLimited;
    } else if (cost != 0) {
      step.next.payload -= cost;
      step.write = true;
    }
    return step;
  }

  // Grants `tokens` for as long as is left of the window that began `ageNs` ago. `amount` is how many of them
  // the purse could take.
  static Step refund(const Book& book, std::uint32_t, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t tokens, std::uint64_t ageNs) {
    const Reading reading = read(book, entry, nowNs);
    Step step{entry, false, Outcome::kAllowed, 0, reading.fromFuture};
    if (ageNs >= book.options_.windowNs) return step;
    const std::uint64_t untilNs = std::min(nowNs, kHorizonNs) + (book.options_.windowNs - ageNs);
    const std::uint64_t until = std::min(book.scale_.at(untilNs), kMaxUntil);
    const std::uint64_t latest = reading.balance == 0 ? until : std::max(until, untilOf(entry));
    if (latest <= book.scale_.at(nowNs)) return step;
    step.amount = std::min(tokens, kMaxBalance - reading.balance);
    if (tokens == 0) return step;
    step.next = encode(latest, reading.balance + step.amount);
    step.write = true;
    return step;
  }

  // Takes up to `tokens`, as many as are left.
  static Step penalize(const Book& book, std::uint32_t, const Entry& entry, std::uint64_t nowNs,
                       std::uint64_t tokens, std::uint64_t = 0) {
    const Reading reading = read(book, entry, nowNs);
    Step step{entry, false, Outcome::kAllowed, 0, reading.fromFuture};
    step.amount = std::min(tokens, reading.balance);
    if (step.amount == 0) return step;
    step.next.payload -= step.amount;
    step.write = true;
    return step;
  }

  // A purse cannot be blocked: there is no state but what was granted.
  static Step block(const Book&, std::uint32_t, const Entry& entry, std::uint64_t, std::uint64_t) {
    return {entry, false, Outcome::kLimited, 0};
  }

  static Decision describe(const Book& book, std::uint32_t, const Entry& entry, std::uint64_t nowNs,
                           std::uint64_t, Outcome outcome) {
    const Reading reading = read(book, entry, nowNs);
    Decision decision;
    decision.outcome = outcome;
    decision.remaining = reading.balance;
    if (reading.balance != 0)
      decision.resetAfterNs = saturatingSub(book.scale_.firstNsAt(untilOf(entry)), nowNs);
    // Only another grant could help.
    if (outcome != Outcome::kAllowed) decision.retryAfterNs = kNever;
    return decision;
  }

  // To somebody who is late, what was granted since seems to lie in the future; it is not to be thrown away.
  static bool live(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    return !Block::is(entry) && balanceOf(entry) != 0 && untilOf(entry) > book.scale_.at(nowNs);
  }

  // Where a table is full, the poorest goes: what it loses was paid for, but nobody is let in by it.
  static Weight weigh(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    Weight weight;
    weight.consumed =
        static_cast<double>(read(book, entry, nowNs).balance) / static_cast<double>(kMaxBalance);
    return weight;
  }

  struct Frame {
    std::uint64_t low = 0, high = 0, farthest = 0;  // in ticks
  };
  static Frame frame(const Book& book, std::uint32_t, std::uint64_t lowNs, std::uint64_t highNs) {
    const std::uint64_t low = book.scale_.at(lowNs);
    return {low, book.scale_.at(highNs), low + book.farthest_};
  }
  // `charge`, if it comes out the same at every time within the frame.
  static Verdict chargeWithin(const Frame& frame, const Entry& entry, std::uint64_t cost) {
    if (Block::is(entry) || cost == 0) return {};
    const std::uint64_t until = untilOf(entry);
    if (cost > balanceOf(entry) || until <= frame.low) return {Verdict::Kind::kRefuse, 0};
    if (until <= frame.high || until > frame.farthest) return {};
    return {Verdict::Kind::kAdmit, entry.payload - cost};
  }

  // `charge` at the one time of a frame of no width, if it admits; else nothing. `left` is what is left then.
  static Verdict admitAt(const Frame& frame, const Entry& entry, std::uint64_t cost, std::uint64_t* left) {
    const Verdict verdict = chargeWithin(frame, entry, cost);
    if (verdict.kind != Verdict::Kind::kAdmit) return {};
    *left = balanceOf({verdict.payload, 0});
    return verdict;
  }

 private:
  static constexpr unsigned kUntilShift = kPayloadBits - kBalanceBits;  // of the part that is in meta
  static constexpr std::uint64_t kMaxUntil = (std::uint64_t{1} << (kUntilShift + kOwnMetaBits)) - 1;

  // What is left of an entry.
  struct Reading {
    std::uint64_t balance;  // 0 if it has lapsed, too
    bool fromFuture;        // no grant made by now lapses so late; as good as lapsed
  };

  static constexpr std::uint64_t balanceOf(const Entry& entry) {
    return entry.payload & ((std::uint64_t{1} << kBalanceBits) - 1);
  }
  static constexpr std::uint64_t untilOf(const Entry& entry) {
    return std::uint64_t{Block::ownMeta(entry)} << kUntilShift | entry.payload >> kBalanceBits;
  }
  static constexpr Entry encode(std::uint64_t until, std::uint64_t balance) {
    return {(until << kBalanceBits | balance) & kPayloadMask,
            static_cast<std::uint32_t>(until >> kUntilShift)};
  }

  static Reading read(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    const std::uint64_t present = book.scale_.at(nowNs);
    const std::uint64_t until = untilOf(entry);
    if (Block::is(entry) || until <= present) return {0, false};
    if (until > present + book.farthest_) return {0, balanceOf(entry) != 0};
    return {std::min(balanceOf(entry), kMaxBalance), false};
  }
};

}  // namespace sluice

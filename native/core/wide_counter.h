// What the algorithms with wide entries have in common: the words say what was spent and when, and a call is
// admitted if what still counts leaves room for it. A block lies beside that, in payload and meta; under it
// what was spent goes on ageing.
#pragma once

#include <algorithm>
#include <optional>

#include "core/block.h"
#include "core/decision.h"
#include "core/layout.h"
#include "core/policy_book.h"

namespace sluice {

struct WidePolicy {
  std::uint64_t limit = 1;
  std::uint64_t mostAtOnce() const { return limit; }
};

// `Counts` is the words of an entry as of now, whatever bits they held:
//
//   Counts(book, entry, nowNs)
//   Entry, Book, kMost             how much can be counted
//   total()                        what counts
//   healed()                       the words lay in an impossible future and were brought back
//   add(tokens)                    spends now. REQUIRES total() + tokens <= kMost
//   remove(book, tokens, ageNs)    what was spent so long ago; how much it was. REQUIRES ageNs <= now
//   lessAtNs(book, tokens)         when that many count no more. REQUIRES 0 < tokens <= total()
//   store(book, next)              makes an entry that is all zero say the same
//
// Whether penalties may go below empty is up to `kTakesDebt`.
template <class Counts, bool kTakesDebt>
class WideCounter {
 public:
  using Entry = typename Counts::Entry;
  using Step = BasicStep<Entry>;
  using Policy = WidePolicy;
  using Book = typename Counts::Book;
  static constexpr bool kIsWide = true;
  static constexpr bool kPaces = false;

  // Spends `cost` if it fits. A cost of 0 only asks.
  static Step charge(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t cost) {
    Counts counts(book, entry, nowNs);
    const std::uint64_t limit = book[asked].limit;
    Outcome outcome = Outcome::kAllowed;
    if (blockIn(entry).active(nowNs))
      outcome = Outcome::kBlocked;
    else if (cost > limit)
      outcome = Outcome::kTooCostly;
    else if (cost != 0 && counts.total() + cost > limit)
      outcome = Outcome::kLimited;
    const bool spends = outcome == Outcome::kAllowed && cost != 0;
    if (spends) counts.add(cost);
    if (!spends && !counts.healed()) return unchanged(book, entry, outcome);
    return changed(book, entry, nowNs, counts, outcome);
  }

  // Gives back up to `tokens` that were charged `ageNs` ago, as far as they still count.
  static Step refund(const Book& book, std::uint32_t, const Entry& entry, std::uint64_t nowNs,
                     std::uint64_t tokens, std::uint64_t ageNs) {
    Counts counts(book, entry, nowNs);
    const std::uint64_t amount = ageNs > nowNs ? 0 : counts.remove(book, tokens, ageNs);
    return moved(book, entry, nowNs, counts, amount);
  }

  // Takes up to `tokens`, admitted or not; where debt is taken, at most `maxDebt` beyond the limit (nor more
  // than the limit again).
  static Step penalize(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                       std::uint64_t tokens, std::uint64_t maxDebt = 0) {
    Counts counts(book, entry, nowNs);
    const std::uint64_t limit = book[asked].limit;
    const std::uint64_t debt = kTakesDebt ? std::min(maxDebt, limit) : 0;
    const std::uint64_t most = std::min(limit + debt, std::uint64_t{Counts::kMost});
    const std::uint64_t amount = std::min(tokens, saturatingSub(most, counts.total()));
    if (amount != 0) counts.add(amount);
    return moved(book, entry, nowNs, counts, amount);
  }

  // Denies everything until `untilNs`.
  static Step block(const Book& book, std::uint32_t, const Entry& entry, std::uint64_t nowNs,
                    std::uint64_t untilNs) {
    const Block block{Block::untilMsOf(untilNs), 0};
    if (blockIn(entry).untilMs >= block.untilMs && Block::is(narrow(entry)))
      return unchanged(book, entry, Outcome::kBlocked);
    const Counts counts(book, entry, nowNs);
    Step step = changed(book, entry, nowNs, counts, Outcome::kBlocked);
    const sluice::Entry encoded = block.encode(0);
    step.next.payload = encoded.payload;
    step.next.meta = encoded.meta;
    return step;
  }

  // What to answer for a call of `cost`, given the entry as it is after the call.
  static Decision describe(const Book& book, std::uint32_t asked, const Entry& entry, std::uint64_t nowNs,
                           std::uint64_t cost, Outcome outcome) {
    const Counts counts(book, entry, nowNs);
    const std::uint64_t limit = book[asked].limit, total = counts.total();
    const Block block = blockIn(entry);
    Decision decision;
    decision.outcome = outcome;
    decision.remaining = block.active(nowNs) ? 0 : saturatingSub(limit, total);
    if (total != 0) decision.resetAfterNs = saturatingSub(counts.lessAtNs(book, total), nowNs);
    if (outcome == Outcome::kLimited && cost <= limit && total + cost > limit)
      decision.retryAfterNs = saturatingSub(counts.lessAtNs(book, total + cost - limit), nowNs);
    if (outcome == Outcome::kTooCostly) decision.retryAfterNs = kNever;
    if (outcome == Outcome::kBlocked) decision.retryAfterNs = saturatingSub(block.untilNs(), nowNs);
    if (block.active(nowNs))
      decision.resetAfterNs = std::max(decision.resetAfterNs, saturatingSub(block.untilNs(), nowNs));
    return decision;
  }

  static bool live(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    return blockIn(entry).active(nowNs) || Counts(book, entry, nowNs).total() != 0;
  }

  static Weight weigh(const Book& book, const Entry& entry, std::uint64_t nowNs) {
    if (const Block block = blockIn(entry); block.active(nowNs)) return {true, 1, block.untilNs()};
    // Which tier the key belongs to is not known: judge it by the strictest, so that none that limits is
    // dropped.
    const Counts counts(book, entry, nowNs);
    const std::uint64_t strictest = book.strictest(), total = counts.total();
    Weight weight;
    weight.consumed = static_cast<double>(total) / static_cast<double>(strictest);
    weight.limiting = total >= strictest;
    if (weight.limiting) weight.limitingUntilNs = counts.lessAtNs(book, total + 1 - strictest);
    return weight;
  }

 protected:
  // The entry's block, which may be over; one that ended at 0 if there is none.
  static constexpr Block blockIn(const Entry& entry) {
    return Block::is(narrow(entry)) ? Block::decode(narrow(entry)) : Block{};
  }

  // `amount` tokens were given or taken; of none, nothing is written.
  static Step moved(const Book& book, const Entry& entry, std::uint64_t nowNs, const Counts& counts,
                    std::uint64_t amount) {
    if (amount == 0) return unchanged(book, entry, Outcome::kAllowed);
    Step step = changed(book, entry, nowNs, counts, Outcome::kAllowed);
    step.amount = amount;
    return step;
  }

 private:
  static constexpr sluice::Entry narrow(const Entry& entry) { return {entry.payload, entry.meta}; }

  static Step unchanged(const Book& book, const Entry& entry, Outcome outcome) {
    Step step;
    step.next.payload = entry.payload;
    step.next.meta = entry.meta;
    std::copy_n(entry.words.begin(), book.words(), step.next.words.begin());
    step.outcome = outcome;
    return step;
  }

  // A block that is over is cleared on this occasion.
  static Step changed(const Book& book, const Entry& entry, std::uint64_t nowNs, const Counts& counts,
                      Outcome outcome) {
    Step step;
    counts.store(book, step.next);
    if (blockIn(entry).active(nowNs)) {
      step.next.payload = entry.payload;
      step.next.meta = entry.meta;
    }
    step.write = true;
    step.outcome = outcome;
    step.fromFuture = counts.healed();
    return step;
  }
};

}  // namespace sluice

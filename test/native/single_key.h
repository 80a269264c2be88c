// One key of an algorithm without a table: keeps the entry and applies the verbs to it, as operations.h does.
#pragma once

#include "check.h"
#include "core/request.h"

namespace check {

template <class Algorithm>
class SingleKey {
 public:
  using Book = typename Algorithm::Book;
  using Entry = typename Algorithm::Entry;
  using Step = sluice::BasicStep<Entry>;

  explicit SingleKey(const Book& book) : book_(book) {}  // REQUIRES that the book outlives it

  sluice::Decision consume(std::uint64_t nowNs, std::uint64_t cost, std::uint32_t policy = 0) {
    const sluice::Outcome outcome = keep(Algorithm::charge(book_, policy, entry, nowNs, cost)).outcome;
    return sluice::describeEntry<Algorithm>(book_, policy, entry, nowNs, cost, outcome);
  }
  sluice::Outcome allow(std::uint64_t nowNs, std::uint64_t cost, std::uint32_t policy = 0) {
    return keep(Algorithm::charge(book_, policy, entry, nowNs, cost)).outcome;
  }
  sluice::Decision peek(std::uint64_t nowNs, std::uint32_t policy = 0, std::uint64_t cost = 1) const {
    const sluice::Outcome outcome = Algorithm::charge(book_, policy, entry, nowNs, cost).outcome;
    // Nothing of the cost is in the entry.
    const std::uint64_t spent = outcome == sluice::Outcome::kAllowed ? 0 : cost;
    return sluice::describeEntry<Algorithm>(book_, policy, entry, nowNs, spent, outcome);
  }
  std::uint64_t refund(std::uint64_t nowNs, std::uint64_t tokens, std::uint64_t ageNs = 0,
                       std::uint32_t policy = 0) {
    return keep(Algorithm::refund(book_, policy, entry, nowNs, tokens, ageNs)).amount;
  }
  std::uint64_t penalize(std::uint64_t nowNs, std::uint64_t tokens, std::uint32_t policy = 0,
                         std::uint64_t maxDebt = 0) {
    return keep(Algorithm::penalize(book_, policy, entry, nowNs, tokens, maxDebt)).amount;
  }
  void block(std::uint64_t nowNs, std::uint64_t untilNs, std::uint32_t policy = 0) {
    CHECK_EQ(keep(Algorithm::block(book_, policy, entry, nowNs, untilNs)).outcome, sluice::Outcome::kBlocked);
  }
  bool live(std::uint64_t nowNs) const { return Algorithm::live(book_, entry, nowNs); }

  // Whether the wait that a denied call of `cost` is told is exact: denied 1 ns earlier, admitted at it.
  bool retryIsExact(std::uint64_t nowNs, std::uint64_t cost, std::uint32_t policy = 0) const {
    const sluice::Decision denied = peek(nowNs, policy, cost);
    const std::uint64_t atNs = nowNs + denied.retryAfterNs;
    return CHECK_EQ(denied.outcome, sluice::Outcome::kLimited) && CHECK(denied.retryAfterNs > 0) &&
           CHECK_EQ(peek(atNs - 1, policy, cost).outcome, sluice::Outcome::kLimited) &&
           CHECK_EQ(peek(atNs, policy, cost).outcome, sluice::Outcome::kAllowed);
  }

  Entry entry;

 private:
  const Step& keep(const Step& step) {
    CHECK(step.write || step.next == entry);
    CHECK(!step.write || step.next.payload < sluice::kPayloadMask);  // that one marks a claimed slot
    if (step.write) entry = step.next;
    return last_ = step;
  }

  const Book& book_;
  Step last_;
};

// A line of a script: at `atUs`, do it, and expect the outcome (or the amount) and what remains after.
enum class Verb : std::uint8_t { kConsume, kPeek, kRefund, kPenalize };
struct Row {
  std::uint64_t atUs;
  Verb verb;
  std::uint64_t amount;     // the cost, or the tokens
  std::uint64_t expected;   // the outcome, or the tokens credited or taken
  std::uint64_t remaining;  // after it
  std::uint64_t retryUs = 0;
};
inline constexpr auto kOk = static_cast<std::uint64_t>(sluice::Outcome::kAllowed);
inline constexpr auto kLimited = static_cast<std::uint64_t>(sluice::Outcome::kLimited);
inline constexpr auto kTooCostly = static_cast<std::uint64_t>(sluice::Outcome::kTooCostly);
inline constexpr auto kBlocked = static_cast<std::uint64_t>(sluice::Outcome::kBlocked);

template <class Algorithm>
bool playRow(SingleKey<Algorithm>& key, const Row& row) {
  const std::uint64_t nowNs = row.atUs * sluice::kNsPerUs;
  std::uint64_t result = 0;
  sluice::Decision decision;
  if (row.verb == Verb::kRefund) {
    result = key.refund(nowNs, row.amount);
  } else if (row.verb == Verb::kPenalize) {
    result = key.penalize(nowNs, row.amount);
  } else {
    decision = row.verb == Verb::kConsume ? key.consume(nowNs, row.amount) : key.peek(nowNs, 0, row.amount);
    result = static_cast<std::uint64_t>(decision.outcome);
  }
  const std::uint64_t retryNs =
      row.retryUs == sluice::kNever ? sluice::kNever : row.retryUs * sluice::kNsPerUs;
  return CHECK_EQ(result, row.expected) && CHECK_EQ(key.peek(nowNs, 0, 0).remaining, row.remaining) &&
         CHECK_EQ(decision.retryAfterNs, retryNs);
}

template <class Algorithm>
void play(SingleKey<Algorithm>& key, const std::vector<Row>& rows) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!playRow(key, rows[i])) note("row", i, "at us", rows[i].atUs);
  }
}

}  // namespace check

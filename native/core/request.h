// A question about one key, at a time, and how it is put to the table.
#pragma once

#include "core/table.h"

namespace sluice {

// The present, read anew.
struct Later {
  std::uint64_t (*read)(const void* clock) = nullptr;  // null if the time of the request is all there is
  const void* clock = nullptr;
};

// Who asks about what, and when.
template <class Algorithm>
struct Request {
  Table<Algorithm>& table;
  Path path;
  std::uint32_t policy;
  std::uint64_t nowNs;
  Later later{};

  // Whether calls that are admitted may be held back.
  bool paces() const {
    table.book().catchUp();
    return Algorithm::kPaces || (policy < table.book().size() && table.book().specAt(policy).evenly != 0);
  }
};

template <class Algorithm>
struct Answer {
  typename Table<Algorithm>::Applied applied;
  std::uint64_t nowNs;  // as of when
};

// What to answer for a call of `cost`, given the entry as it is after the call.
template <class Algorithm>
Decision describeEntry(const typename Algorithm::Book& book, std::uint32_t policy,
                       const typename Algorithm::Entry& entry, std::uint64_t nowNs, std::uint64_t cost,
                       Outcome outcome) {
  Decision decision = Algorithm::describe(book, policy, entry, nowNs, cost, outcome);
  if (outcome != Outcome::kBlocked || cost == 0) return decision;
  // A block that ends does not give anything back: the same call may have to wait further.
  const std::uint64_t endNs = nowNs + decision.retryAfterNs;
  const Outcome then = Algorithm::charge(book, policy, entry, endNs, cost).outcome;
  if (then == Outcome::kTooCostly) decision.retryAfterNs = kNever;
  if (then == Outcome::kLimited)
    decision.retryAfterNs += Algorithm::describe(book, policy, entry, endNs, cost, then).retryAfterNs;
  return decision;
}

// The same for a call that would be admitted but was not made, given the entry as it is and as the call would
// leave it.
template <class Algorithm>
Decision describeUncharged(const typename Algorithm::Book& book, std::uint32_t policy,
                           const typename Algorithm::Entry& entry, const typename Algorithm::Entry& charged,
                           std::uint64_t nowNs, std::uint64_t cost) {
  Decision decision = Algorithm::describe(book, policy, entry, nowNs, 0, Outcome::kAllowed);
  decision.delayNs = Algorithm::describe(book, policy, charged, nowNs, cost, Outcome::kAllowed).delayNs;
  return decision;
}

template <class Algorithm>
Decision describe(const Request<Algorithm>& request, const Answer<Algorithm>& answer, std::uint64_t cost) {
  const auto& applied = answer.applied;
  const Outcome outcome = applied.step.outcome;
  if (outcome == Outcome::kTableFull || outcome == Outcome::kBusy)
    return {outcome, 0, applied.waitNs, applied.waitNs};
  return describeEntry<Algorithm>(request.table.book(), request.policy, applied.entry, answer.nowNs, cost,
                                  outcome);
}

// Runs `operation(Entry, nowNs) -> Step`. An entry that seems to lie in an impossible future was written
// before the clock was set back, and is to be healed; unless it is we who are late: a process may be stopped
// for hours after it has read the clock. So the clock is read again, now that the entry has been.
template <class Algorithm, class Operation>
Answer<Algorithm> applyTo(const Request<Algorithm>& request, Operation&& operation) {
  std::uint64_t nowNs = request.nowNs;
  const auto atPresent = [&](const typename Algorithm::Entry& entry) {
    auto step = operation(entry, nowNs);
    if (step.fromFuture && request.later.read != nullptr) [[unlikely]] {
      nowNs = request.later.read(request.later.clock);
      step = operation(entry, nowNs);
    }
    return step;
  };
  // In this order, and nothing copied: a step just written is slow to copy.
  return {request.table.apply(request.path, nowNs, atPresent), nowNs};
}

}  // namespace sluice

// The public verbs, each one atomic change of one entry. Time is an argument of all of them.
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
};

template <class Algorithm>
struct Answer {
  typename Table<Algorithm>::Applied applied;
  std::uint64_t nowNs;  // as of when
};

// Runs `operation(Entry, nowNs) -> Step`. An entry that seems to lie in an impossible future was written
// before the clock was set back, and is to be healed; unless it is we who are late: a process may be stopped
// for hours after it has read the clock. So the clock is read again, now that the entry has been.
template <class Algorithm, class Operation>
Answer<Algorithm> applyTo(const Request<Algorithm>& request, Operation&& operation) {
  std::uint64_t nowNs = request.nowNs;
  const auto atPresent = [&](const Entry& entry) {
    Step step = operation(entry, nowNs);
    if (step.fromFuture && request.later.read != nullptr) [[unlikely]] {
      nowNs = request.later.read(request.later.clock);
      step = operation(entry, nowNs);
    }
    return step;
  };
  // In this order, and nothing copied: a step just written is slow to copy.
  return {request.table.apply(request.path, nowNs, atPresent), nowNs};
}

template <class Algorithm>
Answer<Algorithm> charge(const Request<Algorithm>& request, std::uint64_t cost) {
  return applyTo(request, [&](const Entry& entry, std::uint64_t nowNs) {
    return Algorithm::charge(request.table.book(), request.policy, entry, nowNs, cost);
  });
}

// Spends `cost` if it fits. The cheapest verb: it answers yes or no and why.
template <class Algorithm>
Outcome allow(const Request<Algorithm>& request, std::uint64_t cost) {
  return charge(request, cost).applied.step.outcome;
}

template <class Algorithm>
Decision describe(const Request<Algorithm>& request, const Answer<Algorithm>& answer, std::uint64_t cost) {
  const auto& applied = answer.applied;
  const Outcome outcome = applied.step.outcome;
  if (outcome == Outcome::kTableFull || outcome == Outcome::kBusy)
    return {outcome, 0, applied.waitNs, applied.waitNs};
  return Algorithm::describe(request.table.book(), request.policy, applied.entry, answer.nowNs, cost,
                             outcome);
}

// Spends `cost` if it fits, and says what is left.
template <class Algorithm>
Decision consume(const Request<Algorithm>& request, std::uint64_t cost) {
  return describe(request, charge(request, cost), cost);
}

// What consume would answer for a cost of 1, of which nothing is spent.
template <class Algorithm>
Decision peek(const Request<Algorithm>& request) {
  const auto answer = applyTo(request, [&](const Entry& entry, std::uint64_t nowNs) {
    Step step = Algorithm::charge(request.table.book(), request.policy, entry, nowNs, 1);
    if (step.outcome == Outcome::kAllowed) step.write = false;
    return step;
  });
  return describe(request, answer, 1);
}

// Gives back up to `tokens` charged `ageNs` ago; the number of whole tokens credited.
template <class Algorithm>
std::uint64_t refund(const Request<Algorithm>& request, std::uint64_t tokens, std::uint64_t ageNs) {
  const auto answer = applyTo(request, [&](const Entry& entry, std::uint64_t nowNs) {
    return Algorithm::refund(request.table.book(), request.policy, entry, nowNs, tokens, ageNs);
  });
  return answer.applied.step.amount;
}

// Takes up to `tokens`, never below empty; the number of whole tokens taken.
template <class Algorithm>
std::uint64_t penalize(const Request<Algorithm>& request, std::uint64_t tokens) {
  const auto answer = applyTo(request, [&](const Entry& entry, std::uint64_t nowNs) {
    return Algorithm::penalize(request.table.book(), request.policy, entry, nowNs, tokens);
  });
  return answer.applied.step.amount;
}

// Denies everything until `untilNs`; never shortens a block. False if the table cannot remember it: it is too
// full, or kBusy.
template <class Algorithm>
bool block(const Request<Algorithm>& request, std::uint64_t untilNs) {
  const auto answer = applyTo(request, [&](const Entry& entry, std::uint64_t nowNs) {
    return Algorithm::block(request.table.book(), request.policy, entry, nowNs, untilNs);
  });
  return answer.applied.step.outcome == Outcome::kBlocked;
}

// Forgets the key, block included. False if nothing was known of it; nothing if it cannot be done now
// (kBusy).
template <class Algorithm>
std::optional<bool> reset(const Request<Algorithm>& request) {
  return request.table.erase(request.path, request.nowNs);
}

}  // namespace sluice

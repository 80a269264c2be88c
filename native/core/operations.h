// The public verbs, each one atomic change of one entry. Time is an argument of all of them.
#pragma once

#include "core/table.h"

namespace sluice {

// Who asks about what, and when.
template <class Algorithm>
struct Request {
  Table<Algorithm>& table;
  Path path;
  std::uint32_t policy;
  std::uint64_t nowNs;
};

// Spends `cost` if it fits. The cheapest verb: it answers yes or no and why.
template <class Algorithm>
Outcome allow(const Request<Algorithm>& request, std::uint64_t cost) {
  return request.table
      .apply(request.path, request.nowNs,
             [&](const Entry& entry) {
               return Algorithm::charge(request.table.book(), request.policy, entry, request.nowNs, cost);
             })
      .step.outcome;
}

template <class Algorithm>
Decision describe(const Request<Algorithm>& request, const typename Table<Algorithm>::Applied& applied,
                  std::uint64_t cost) {
  const Outcome outcome = applied.step.outcome;
  if (outcome == Outcome::kTableFull || outcome == Outcome::kBusy)
    return {outcome, 0, applied.waitNs, applied.waitNs};
  return Algorithm::describe(request.table.book(), request.policy, applied.entry, request.nowNs, cost,
                             applied.step.outcome);
}

// Spends `cost` if it fits, and says what is left.
template <class Algorithm>
Decision consume(const Request<Algorithm>& request, std::uint64_t cost) {
  return describe(request,
                  request.table.apply(request.path, request.nowNs,
                                      [&](const Entry& entry) {
                                        return Algorithm::charge(request.table.book(), request.policy, entry,
                                                                 request.nowNs, cost);
                                      }),
                  cost);
}

// What consume would answer for a cost of 1, of which nothing is spent.
template <class Algorithm>
Decision peek(const Request<Algorithm>& request) {
  return describe(request,
                  request.table.apply(request.path, request.nowNs,
                                      [&](const Entry& entry) {
                                        Step step = Algorithm::charge(request.table.book(), request.policy,
                                                                      entry, request.nowNs, 1);
                                        if (step.outcome == Outcome::kAllowed) step.write = false;
                                        return step;
                                      }),
                  1);
}

// Gives back up to `tokens` charged `ageNs` ago; the number of whole tokens credited.
template <class Algorithm>
std::uint64_t refund(const Request<Algorithm>& request, std::uint64_t tokens, std::uint64_t ageNs) {
  return request.table
      .apply(request.path, request.nowNs,
             [&](const Entry& entry) {
               return Algorithm::refund(request.table.book(), request.policy, entry, request.nowNs, tokens,
                                        ageNs);
             })
      .step.amount;
}

// Takes up to `tokens`, never below empty; the number of whole tokens taken.
template <class Algorithm>
std::uint64_t penalize(const Request<Algorithm>& request, std::uint64_t tokens) {
  return request.table
      .apply(request.path, request.nowNs,
             [&](const Entry& entry) {
               return Algorithm::penalize(request.table.book(), request.policy, entry, request.nowNs, tokens);
             })
      .step.amount;
}

// Denies everything until `untilNs`; never shortens a block. False if the table cannot remember it: it is too
// full, or kBusy.
template <class Algorithm>
bool block(const Request<Algorithm>& request, std::uint64_t untilNs) {
  return request.table
             .apply(request.path, request.nowNs,
                    [&](const Entry& entry) {
                      return Algorithm::block(request.table.book(), request.policy, entry, request.nowNs,
                                              untilNs);
                    })
             .step.outcome == Outcome::kBlocked;
}

// Forgets the key, block included. False if nothing was known of it; nothing if it cannot be done now
// (kBusy).
template <class Algorithm>
std::optional<bool> reset(const Request<Algorithm>& request) {
  return request.table.erase(request.path, request.nowNs);
}

}  // namespace sluice

// The public verbs, each one atomic change of one entry. Time is an argument of all of them.
#pragma once

#include "core/escalation.h"

namespace sluice {

// Spends `cost` if it fits.
template <class Algorithm>
Answer<Algorithm> charge(const Request<Algorithm>& request, std::uint64_t cost) {
  return chargePunishing(request, [&](const auto& entry, std::uint64_t nowNs) {
    return Algorithm::charge(request.table.book(), request.policy, entry, nowNs, cost);
  });
}

// The cheapest verb: it answers yes or no and why.
template <class Algorithm>
Outcome allow(const Request<Algorithm>& request, std::uint64_t cost) {
  if constexpr (Algorithm::kPaces) {
    // Yes means: now.
    const auto answer = applyTo(request, [&](const auto& entry, std::uint64_t nowNs) {
      return Algorithm::chargeNow(request.table.book(), request.policy, entry, nowNs, cost);
    });
    return answer.applied.step.outcome;
  }
  return charge(request, cost).applied.step.outcome;
}

// What to answer for a call that has charged `cost`, unless it was refused.
template <class Algorithm>
Decision describeCharge(const Request<Algorithm>& request, const Answer<Algorithm>& answer,
                        std::uint64_t cost) {
  Decision decision = describe(request, answer, cost);
  if (decision.outcome == Outcome::kAllowed) decision.consumed = cost;
  return decision;
}

// Spends `cost` if it fits, and says what is left.
template <class Algorithm>
Decision consume(const Request<Algorithm>& request, std::uint64_t cost) {
  return describeCharge(request, charge(request, cost), cost);
}

// Spends what there is of `most`; refused only if there is nothing.
template <class Algorithm>
Decision consumePartial(const Request<Algorithm>& request, std::uint64_t most) {
  std::uint64_t taken = 0;
  const auto answer = chargePunishing(request, [&](const auto& entry, std::uint64_t nowNs) {
    const auto& book = request.table.book();
    const Decision before = Algorithm::describe(book, request.policy, entry, nowNs, 0, Outcome::kAllowed);
    // At least one, so that there is something to refuse; at most what may ever be spent at once.
    const std::uint64_t left = std::min(before.remaining, book[request.policy].mostAtOnce());
    taken = std::min(most, std::max(left, std::uint64_t{1}));
    return Algorithm::charge(book, request.policy, entry, nowNs, taken);
  });
  return describeCharge(request, answer, taken);
}

// What consume would answer for a cost of 1, of which nothing is spent.
template <class Algorithm>
Decision peek(const Request<Algorithm>& request) {
  typename Algorithm::Entry charged;
  const auto answer = applyTo(request, [&](const auto& entry, std::uint64_t nowNs) {
    auto step = Algorithm::charge(request.table.book(), request.policy, entry, nowNs, 1);
    charged = step.next;
    if (step.outcome == Outcome::kAllowed) step.write = false;
    return step;
  });
  if (answer.applied.step.outcome != Outcome::kAllowed) return describe(request, answer, 1);
  return describeUncharged<Algorithm>(request.table.book(), request.policy, answer.applied.entry, charged,
                                      answer.nowNs, 1);
}

// `consume` for somebody who comes again if refused: that is no offence. Where calls are held back, it is
// refused if that would be for longer than `maxDelayNs`; then `retryAfterNs` is that delay. `after` becomes
// the entry.
template <class Algorithm>
Decision attempt(const Request<Algorithm>& request, std::uint64_t cost, std::uint64_t maxDelayNs,
                 typename Algorithm::Entry* after = nullptr) {
  std::uint64_t delayNs = 0;
  const auto answer = applyTo(request, [&](const auto& entry, std::uint64_t nowNs) {
    const auto& book = request.table.book();
    auto step = Algorithm::charge(book, request.policy, entry, nowNs, cost);
    delayNs = step.outcome == Outcome::kAllowed && request.paces()
                  ? Algorithm::describe(book, request.policy, step.next, nowNs, cost, step.outcome).delayNs
                  : 0;
    if (delayNs <= maxDelayNs) return step;
    BasicStep<typename Algorithm::Entry> refused;
    refused.next = entry;
    refused.outcome = Outcome::kLimited;
    return refused;
  });
  Decision decision = describeCharge(request, answer, cost);
  if (delayNs > maxDelayNs) decision.retryAfterNs = delayNs;
  if (after != nullptr) *after = answer.applied.entry;
  return decision;
}

// Gives back up to `tokens` charged `ageNs` ago; the number of whole tokens credited.
template <class Algorithm>
std::uint64_t refund(const Request<Algorithm>& request, std::uint64_t tokens, std::uint64_t ageNs) {
  const auto answer = applyTo(request, [&](const auto& entry, std::uint64_t nowNs) {
    return Algorithm::refund(request.table.book(), request.policy, entry, nowNs, tokens, ageNs);
  });
  return answer.applied.step.amount;
}

// Takes up to `tokens`, never more than `maxDebt` below empty; the number of whole tokens taken.
template <class Algorithm>
std::uint64_t penalize(const Request<Algorithm>& request, std::uint64_t tokens, std::uint64_t maxDebt = 0) {
  const auto answer = applyTo(request, [&](const auto& entry, std::uint64_t nowNs) {
    return Algorithm::penalize(request.table.book(), request.policy, entry, nowNs, tokens, maxDebt);
  });
  return answer.applied.step.amount;
}

// Denies everything until `untilNs`; never shortens a block. False if the table cannot remember it: it is too
// full, or kBusy.
template <class Algorithm>
bool block(const Request<Algorithm>& request, std::uint64_t untilNs) {
  const auto answer = applyTo(request, [&](const auto& entry, std::uint64_t nowNs) {
    return Algorithm::block(request.table.book(), request.policy, entry, nowNs, untilNs);
  });
  return answer.applied.step.outcome == Outcome::kBlocked;
}

// Forgets the key, block and offences included. False if nothing was known of it; nothing if it cannot be
// done now (kBusy).
template <class Algorithm>
std::optional<bool> reset(const Request<Algorithm>& request) {
  const bool isForgiven = forgive(request);
  const auto wasKnown = request.table.erase(request.path, request.nowNs);
  return isForgiven ? wasKnown : std::nullopt;
}

// Gives back a lease of `tokens`; how many that were: 0 if it had lapsed, or the key was forgotten since.
template <class Algorithm>
std::uint64_t release(const Request<Algorithm>& request, std::uint64_t tokens,
                      const typename Algorithm::Ticket& ticket) {
  const auto answer = applyTo(request, [&](const auto& entry, std::uint64_t nowNs) {
    return Algorithm::release(request.table.book(), entry, nowNs, tokens, ticket);
  });
  return answer.applied.step.amount;
}

}  // namespace sluice

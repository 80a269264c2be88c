// The token bucket in exact arithmetic: what is spent, in fractions of 1/windowNs token, as an integer.
#pragma once

#include "core/token_bucket.h"

namespace check {

class BucketModel {
 public:
  explicit BucketModel(const sluice::TokenBucket::Spec& spec, std::uint64_t startNs)
      : spec_(spec), nowNs_(startNs) {}

  void advanceTo(std::uint64_t nowNs) {
    const sluice::Uint128 refilled = sluice::Uint128{nowNs - nowNs_} * spec_.limit;
    spent_ = refilled < spent_ ? spent_ - refilled : 0;
    nowNs_ = nowNs;
  }
  bool fits(std::uint64_t cost) const { return spent_ + scaled(cost) <= scaled(spec_.burst); }
  void spend(std::uint64_t cost) { spent_ += scaled(cost); }
  // What the bucket has refilled since the charge is not given twice. Whole tokens credited.
  std::uint64_t refund(std::uint64_t tokens, std::uint64_t ageNs) {
    const sluice::Uint128 refilled = sluice::Uint128{ageNs} * spec_.limit, asking = scaled(tokens);
    const sluice::Uint128 credit = asking <= refilled ? 0 : std::min(asking - refilled, spent_);
    spent_ -= credit;
    return static_cast<std::uint64_t>(credit / spec_.windowNs);
  }
  std::uint64_t penalize(std::uint64_t tokens) {
    const sluice::Uint128 room = scaled(spec_.burst) > spent_ ? scaled(spec_.burst) - spent_ : 0;
    const sluice::Uint128 taken = std::min(scaled(tokens), room);
    spent_ += taken;
    return static_cast<std::uint64_t>(taken / spec_.windowNs);
  }
  std::uint64_t remaining() const {
    const sluice::Uint128 capacity = scaled(spec_.burst);
    return spent_ > capacity ? 0 : static_cast<std::uint64_t>((capacity - spent_) / spec_.windowNs);
  }
  // REQUIRES cost <= burst.
  std::uint64_t retryAfterNs(std::uint64_t cost) const {
    return fits(cost) ? 0 : nsToRefill(spent_ + scaled(cost) - scaled(spec_.burst));
  }
  std::uint64_t resetAfterNs() const { return nsToRefill(spent_); }

  // Beyond the capacity, by how much; for bounds on an engine that rounds.
  sluice::Uint128 overdraft() const {
    return spent_ > scaled(spec_.burst) ? spent_ - scaled(spec_.burst) : 0;
  }
  sluice::Uint128 missingFor(std::uint64_t cost) const {
    return fits(cost) ? 0 : spent_ + scaled(cost) - scaled(spec_.burst);
  }
  sluice::Uint128 spare(std::uint64_t cost) const {
    return fits(cost) ? scaled(spec_.burst) - spent_ - scaled(cost) : 0;
  }
  sluice::Uint128 scaled(std::uint64_t tokens) const { return sluice::Uint128{tokens} * spec_.windowNs; }

 private:
  std::uint64_t nsToRefill(sluice::Uint128 amount) const {
    return static_cast<std::uint64_t>((amount + spec_.limit - 1) / spec_.limit);
  }

  sluice::TokenBucket::Spec spec_;
  std::uint64_t nowNs_;
  sluice::Uint128 spent_ = 0;
};

}  // namespace check

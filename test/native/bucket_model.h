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
    if (spent_ != 0) fullAtNs_ = nowNs_ + nsToRefill(spent_);
    spent_ = refilled < spent_ ? spent_ - refilled : 0;
    nowNs_ = nowNs;
    if (spent_ == 0 && nowNs_ >= fullAtNs_ + rememberNs()) known_ = false;
  }
  // Whether there is anything to remember.
  bool known() const { return known_; }

  bool fits(std::uint64_t cost) const { return spent() + scaled(cost) <= scaled(spec_.burst); }
  void spend(std::uint64_t cost) {
    begin();
    spent_ += scaled(cost);
  }
  // A charge that does not fit.
  void deny() {
    if (spec_.initial != 0) begin();
  }
  // What the bucket has refilled since the charge is not given twice. Whole tokens credited.
  std::uint64_t refund(std::uint64_t tokens, std::uint64_t ageNs) {
    const sluice::Uint128 refilled = sluice::Uint128{ageNs} * spec_.limit, asking = scaled(tokens);
    const sluice::Uint128 credit = asking <= refilled ? 0 : std::min(asking - refilled, spent_);
    spent_ -= credit;
    if (credit != 0 && spent_ == 0) {
      fullAtNs_ = nowNs_;
      known_ = rememberNs() != 0;
    }
    return static_cast<std::uint64_t>(credit / spec_.windowNs);
  }
  std::uint64_t penalize(std::uint64_t tokens, std::uint64_t maxDebt = 0) {
    const sluice::Uint128 lowest = scaled(spec_.burst) + scaled(std::min(maxDebt, spec_.burst));
    const sluice::Uint128 room = lowest > spent() ? lowest - spent() : 0;
    const sluice::Uint128 taken = std::min(scaled(tokens), room);
    if (taken == 0) return 0;
    begin();
    spent_ += taken;
    return static_cast<std::uint64_t>(taken / spec_.windowNs);
  }
  std::uint64_t remaining() const {
    const sluice::Uint128 capacity = scaled(spec_.burst);
    return spent() > capacity ? 0 : static_cast<std::uint64_t>((capacity - spent()) / spec_.windowNs);
  }
  // REQUIRES cost <= burst.
  std::uint64_t retryAfterNs(std::uint64_t cost) const {
    return fits(cost) ? 0 : nsToRefill(spent() + scaled(cost) - scaled(spec_.burst));
  }
  std::uint64_t resetAfterNs() const { return nsToRefill(spent()); }
  // When the next call may go out, if they leave one after the other.
  std::uint64_t delayNs() const { return nsToRefill(spent()); }

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
  // What is missing, or would be if the key began now.
  sluice::Uint128 spent() const {
    return known_ || spec_.initial == 0 ? spent_ : scaled(spec_.burst - spec_.initial);
  }
  std::uint64_t rememberNs() const {
    return spec_.initial == 0 ? 0 : std::max<std::uint64_t>(spec_.rememberNs, 1);
  }
  void begin() {
    spent_ = spent();
    known_ = true;
  }
  std::uint64_t nsToRefill(sluice::Uint128 amount) const {
    return static_cast<std::uint64_t>((amount + spec_.limit - 1) / spec_.limit);
  }

  sluice::TokenBucket::Spec spec_;
  std::uint64_t nowNs_;
  sluice::Uint128 spent_ = 0;
  bool known_ = false;
  std::uint64_t fullAtNs_ = 0;
};

}  // namespace check

// The fixed window in exact arithmetic: the end of the window that is open, and what counts in it.
#pragma once

#include "core/fixed_window.h"

namespace check {

class WindowModel {
 public:
  WindowModel(std::uint64_t windowNs, sluice::FixedWindow::Align align)
      : windowNs_(windowNs), align_(align) {}

  void advanceTo(std::uint64_t nowNs) {
    nowNs_ = nowNs;
    if (endNs_ == 0 || nowNs_ < endNs_) return;
    lastEndNs_ = endNs_;
    count_ = endNs_ = 0;
    isFirst_ = false;
  }
  bool open() const { return endNs_ != 0; }
  // Whether the key is known to a policy that remembers for so long.
  bool known(std::uint64_t rememberNs) const {
    return open() || (lastEndNs_ != 0 && nowNs_ - lastEndNs_ < std::max<std::uint64_t>(rememberNs, 1));
  }
  // What may be counted in the window that is open, or would be.
  std::uint64_t limitOf(const sluice::PolicySpec& spec) const {
    if (spec.initial == 0) return spec.limit;
    const bool isFirst = open() ? isFirst_ : !known(spec.rememberNs);
    return isFirst ? spec.initial : spec.limit;
  }
  bool fits(const sluice::PolicySpec& spec, std::uint64_t cost) const {
    return count_ + cost <= limitOf(spec);
  }
  // Counts `cost`, in a new window if none is open.
  void spend(const sluice::PolicySpec& spec, std::uint64_t cost) {
    if (!open()) {
      const bool epoch = align_ == sluice::FixedWindow::Align::kEpoch;
      isFirst_ = spec.initial != 0 && !known(spec.rememberNs);
      endNs_ = epoch ? nowNs_ - nowNs_ % windowNs_ + windowNs_ : nowNs_ + windowNs_;
    }
    count_ += cost;
  }
  // Gives back what was charged `ageNs` ago, if that was in the window that is open.
  std::uint64_t refund(std::uint64_t tokens, std::uint64_t ageNs) {
    if (endNs_ == 0 || ageNs > nowNs_ || nowNs_ - ageNs + windowNs_ < endNs_) return 0;
    const std::uint64_t credit = std::min(tokens, count_);
    count_ -= credit;
    return credit;
  }
  std::uint64_t penalize(const sluice::PolicySpec& spec, std::uint64_t tokens, std::uint64_t maxDebt) {
    const std::uint64_t most = limitOf(spec) + std::min(maxDebt, spec.limit);
    const std::uint64_t taken = std::min(tokens, sluice::saturatingSub(most, count_));
    if (taken != 0) spend(spec, taken);
    return taken;
  }
  std::uint64_t remaining(const sluice::PolicySpec& spec) const {
    return sluice::saturatingSub(limitOf(spec), count_);
  }
  std::uint64_t resetAfterNs() const { return endNs_ == 0 ? 0 : endNs_ - nowNs_; }
  // When the next call may go out if every token of the window has its share of it.
  std::uint64_t delayNs(const sluice::PolicySpec& spec) const {
    if (!open()) return 0;
    const sluice::Uint128 shareNs = (sluice::Uint128{count_} * windowNs_ + spec.limit - 1) / spec.limit;
    const sluice::Uint128 outNs =
        (endNs_ - windowNs_) + std::min<sluice::Uint128>(shareNs, sluice::kHorizonNs);
    return outNs > nowNs_ ? static_cast<std::uint64_t>(outNs - nowNs_) : 0;
  }

 private:
  std::uint64_t windowNs_;
  sluice::FixedWindow::Align align_;
  std::uint64_t nowNs_ = 0, endNs_ = 0, count_ = 0, lastEndNs_ = 0;
  bool isFirst_ = false;
};

}  // namespace check

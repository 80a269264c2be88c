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
    if (nowNs_ >= endNs_) count_ = endNs_ = 0;
  }
  bool fits(std::uint64_t limit, std::uint64_t cost) const { return count_ + cost <= limit; }
  // Counts `cost`, in a new window if none is open. REQUIRES cost > 0.
  void spend(std::uint64_t cost) {
    if (endNs_ == 0) {
      const bool epoch = align_ == sluice::FixedWindow::Align::kEpoch;
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
  std::uint64_t penalize(std::uint64_t limit, std::uint64_t tokens) {
    const std::uint64_t taken = std::min(tokens, sluice::saturatingSub(limit, count_));
    if (taken != 0) spend(taken);
    return taken;
  }
  std::uint64_t remaining(std::uint64_t limit) const { return sluice::saturatingSub(limit, count_); }
  std::uint64_t resetAfterNs() const { return endNs_ == 0 ? 0 : endNs_ - nowNs_; }

 private:
  std::uint64_t windowNs_;
  sluice::FixedWindow::Align align_;
  std::uint64_t nowNs_ = 0, endNs_ = 0, count_ = 0;
};

}  // namespace check

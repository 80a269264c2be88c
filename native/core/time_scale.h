// Converts nanoseconds to the ticks in which one policy counts, exactly.
//
// An algorithm stores times in its own ticks so that a token, or a window, is a whole number of them: costs
// then add up without rounding, and the only rounding in the engine is `floor` of the present time. It never
// accumulates, because every conversion starts from the table's origin.
#pragma once

#include <initializer_list>
#include <numeric>

#include "core/units.h"

namespace sluice {

class TimeScale {
 public:
  constexpr TimeScale() = default;

  // A scale of `ticks` ticks in `periodNs`. REQUIRES 1 <= ticks <= periodNs < 2^62; so all times stay below
  // 2^62 ticks.
  constexpr TimeScale(std::uint64_t ticks, std::uint64_t periodNs) {
    const std::uint64_t divisor = std::gcd(ticks, periodNs);
    ticks_ = ticks / divisor;
    periodNs_ = periodNs / divisor;
    reciprocal_ = static_cast<std::uint64_t>((Uint128{ticks_} << 63) / periodNs_);
  }

  // The tick at `nowNs`: floor(nowNs * ticks / period).
  constexpr std::uint64_t at(std::uint64_t nowNs) const { return locate(nowNs).tick; }

  // The first tick at or after `nowNs`.
  constexpr std::uint64_t atOrAfter(std::uint64_t nowNs) const {
    const Location location = locate(nowNs);
    return location.tick + (location.exact ? 0 : 1);
  }

  // The least time at which `at` reaches `tick`.
  constexpr std::uint64_t firstNsAt(std::uint64_t tick) const {
    return mulDivCeil(tick, periodNs_, ticks_, kHorizonNs);
  }

 private:
  struct Location {
    std::uint64_t tick;
    bool exact;  // nothing was rounded off
  };

  constexpr Location locate(std::uint64_t nowNs) const {
    const std::uint64_t ns = nowNs < kHorizonNs ? nowNs : kHorizonNs;
    // The truncated reciprocal is short by less than one tick in total (ns < 2^62, error < ns / 2^63), so the
    // quotient is exact or one too small; the remainder tells which, and fits 64 bits even where products
    // wrap.
    const std::uint64_t quotient = static_cast<std::uint64_t>((Uint128{ns} * reciprocal_) >> 63);
    const std::uint64_t remainder = ns * ticks_ - quotient * periodNs_;
    if (remainder >= periodNs_) return {quotient + 1, remainder == periodNs_};
    return {quotient, remainder == 0};
  }

  std::uint64_t ticks_ = 1;
  std::uint64_t periodNs_ = 1;
  std::uint64_t reciprocal_ = std::uint64_t{1} << 63;
};

// The most ticks per period, at most `most`, such that whole microseconds (or else whole milliseconds) fall
// on ticks, given that ticks come in groups of `group` (a token, or a window). 0 < result, a multiple of
// `group`.
constexpr std::uint64_t alignedTicks(std::uint64_t groupsPerPeriod, std::uint64_t periodNs,
                                     std::uint64_t mostPerGroup) {
  for (const std::uint64_t gridNs : {kNsPerUs, kNsPerMs}) {
    if (periodNs % gridNs != 0) continue;
    const std::uint64_t gridSteps = periodNs / gridNs;
    const std::uint64_t multiple = gridSteps / std::gcd(groupsPerPeriod, gridSteps);
    if (multiple <= mostPerGroup) return mostPerGroup / multiple * multiple;
  }
  return mostPerGroup;
}

}  // namespace sluice

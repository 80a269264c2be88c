// Sources of the present. Everything else in the core takes time as an argument.
#pragma once

#include <time.h>

#include "core/units.h"

namespace sluice {

// Time that never goes back. When its source is set back, time stands still at that moment and then goes on
// with the source: a step back neither freezes limits for its length nor lets anyone spend again.
class ForwardOnly {
 public:
  // `raw` counts from the moment this was made, in any unit, as far as 2^61 either way; the result is in the
  // same one.
  std::int64_t advance(std::int64_t raw) {
    if (raw < lastRaw_)
      offset_ = offset_ + (lastRaw_ - raw) < kMaxOffset ? offset_ + (lastRaw_ - raw) : kMaxOffset;
    lastRaw_ = raw;
    return raw + offset_;
  }

 private:
  static constexpr std::int64_t kMaxOffset = std::int64_t{1} << 61;
  std::int64_t lastRaw_ = 0;
  std::int64_t offset_ = 0;
};

#if defined(CLOCK_MONOTONIC_COARSE)
inline constexpr clockid_t kCoarseClock = CLOCK_MONOTONIC_COARSE;
#else
inline constexpr clockid_t kCoarseClock = CLOCK_MONOTONIC;
#endif

// The machine's monotonic clock: exact, and a coarse one at a fifth of the price that lags it by up to a
// timer tick.
class SystemClock {
 public:
  static std::uint64_t exactNs() { return read(CLOCK_MONOTONIC); }
  static std::uint64_t coarseNs() { return read(kCoarseClock); }

  // How far the exact clock may be ahead of the coarse one: two timer ticks. A processor that misses more
  // ticks than that was suspended, which is the same as being suspended just after reading an exact clock.
  static std::uint64_t coarseSlackNs() {
    timespec resolution;
    if (clock_getres(kCoarseClock, &resolution) != 0) return 20 * kNsPerMs;
    return 2 * toNs(resolution) + 1;
  }
  static std::uint64_t epochNs() { return read(CLOCK_REALTIME); }

 private:
  static std::uint64_t toNs(const timespec& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(time.tv_nsec);
  }
  static std::uint64_t read(clockid_t id) {
    timespec now;
    clock_gettime(id, &now);
    return toNs(now);
  }
};

}  // namespace sluice

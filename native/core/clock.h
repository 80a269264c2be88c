// Sources of the present. Everything else in the core takes time as an argument.
#pragma once

#include <time.h>

#include <algorithm>

#include "core/units.h"

namespace sluice {

// Time that never goes back, from a source that may. A small step back is waited out, so that a source that
// jitters gains nothing; a large one means that the source was set, and time goes on with it from where it
// stands, so that limits do not freeze for the length of the step. Nobody may spend again either way.
class ForwardOnly {
 public:
  // `raw` counts microseconds from the moment this was made; so does the result.
  std::int64_t advance(std::int64_t raw) {
    offset_ = offsetFor(raw);
    latest_ = preview(raw);
    return latest_;
  }
  // What `advance` would return.
  std::int64_t preview(std::int64_t raw) const { return std::max(latest_, raw + offsetFor(raw)); }

 private:
  // The longest step back that is waited out.
  static constexpr std::int64_t kWaitedOutUs = static_cast<std::int64_t>(10 * kNsPerSecond / kNsPerUs);

  std::int64_t offsetFor(std::int64_t raw) const {
    const std::int64_t back = latest_ - (raw + offset_);
    return back > kWaitedOutUs ? offset_ + back : offset_;
  }

  std::int64_t latest_ = 0;
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

// Conversion of nanoseconds to ticks, against 128-bit division.
#include "core/time_scale.h"

#include "random.h"

using check::Random;
using sluice::kHorizonNs;
using sluice::TimeScale;
using sluice::Uint128;

namespace {

struct Case {
  std::uint64_t ticks, periodNs, ns;
};

std::uint64_t exactAt(const Case& c) {
  const std::uint64_t ns = c.ns < kHorizonNs ? c.ns : kHorizonNs;
  return static_cast<std::uint64_t>(Uint128{ns} * c.ticks / c.periodNs);
}

std::uint64_t exactAtOrAfter(const Case& c) {
  const std::uint64_t ns = c.ns < kHorizonNs ? c.ns : kHorizonNs;
  return static_cast<std::uint64_t>((Uint128{ns} * c.ticks + c.periodNs - 1) / c.periodNs);
}

bool agrees(const Case& c) {
  const TimeScale scale(c.ticks, c.periodNs);
  if (CHECK_EQ(scale.at(c.ns), exactAt(c)) && CHECK_EQ(scale.atOrAfter(c.ns), exactAtOrAfter(c))) return true;
  check::note("ticks, period, ns:", c.ticks, c.periodNs, c.ns);
  return false;
}

// firstNsAt is the least time that reaches the tick.
bool inverts(const Case& c) {
  const TimeScale scale(c.ticks, c.periodNs);
  const std::uint64_t tick = scale.at(c.ns);
  const std::uint64_t first = scale.firstNsAt(tick);
  if (CHECK(first <= c.ns) && CHECK_EQ(scale.at(first), tick) &&
      CHECK(first == 0 || scale.at(first - 1) < tick)) {
    return true;
  }
  check::note("ticks, period, ns, first:", c.ticks, c.periodNs, c.ns, first);
  return false;
}

Case randomCase(Random& random) {
  const std::uint64_t periodNs = random.magnitude(kHorizonNs);
  const std::uint64_t ticks = random.oneIn(4) ? random.between(1, periodNs) : random.magnitude(periodNs);
  return {ticks, periodNs, random.oneIn(3) ? random.between(0, kHorizonNs) : random.magnitude(kHorizonNs)};
}

}  // namespace

TEST(at_is_the_exact_quotient_for_random_scales) {
  Random random = check::seeded("time_scale random", 1);
  for (int i = 0; i < check::scaled(3'000'000); ++i) {
    const Case c = randomCase(random);
    if (!agrees(c) || !inverts(c)) return;
  }
}

TEST(at_is_exact_around_every_tick_boundary) {
  Random random = check::seeded("time_scale boundaries", 2);
  for (int i = 0; i < check::scaled(500'000); ++i) {
    Case c = randomCase(random);
    const std::uint64_t boundary = TimeScale(c.ticks, c.periodNs).firstNsAt(exactAt(c));
    for (const std::uint64_t ns : {sluice::saturatingSub(boundary, 1), boundary, boundary + 1}) {
      c.ns = ns;
      if (!agrees(c) || !inverts(c)) return;
    }
  }
}

TEST(at_is_exact_at_the_edges) {
  const std::uint64_t edges[] = {
      1,          2,          3,          999,        1000,           1'000'000'007,
      1ULL << 31, 1ULL << 32, 1ULL << 53, 1ULL << 61, kHorizonNs - 1, kHorizonNs};
  for (const std::uint64_t period : edges) {
    for (const std::uint64_t ticks : edges) {
      if (ticks > period) continue;
      CHECK(agrees({ticks, period, 0}));
      for (const std::uint64_t ns : edges) CHECK(agrees({ticks, period, ns}) && inverts({ticks, period, ns}));
    }
  }
}

TEST(times_beyond_the_horizon_count_as_the_horizon) {
  for (const Case& c :
       {Case{1, 1, 0}, Case{7, 1000, 0}, Case{1, kHorizonNs, 0}, Case{kHorizonNs, kHorizonNs, 0}}) {
    const TimeScale scale(c.ticks, c.periodNs);
    for (const std::uint64_t ns : {kHorizonNs + 1, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
      CHECK_EQ(scale.at(ns), scale.at(kHorizonNs));
    }
    CHECK_EQ(scale.at(kHorizonNs), exactAt({c.ticks, c.periodNs, kHorizonNs}));
  }
}

TEST(ticks_out_of_reach_come_at_the_horizon) {
  CHECK_EQ(TimeScale(1, 1).firstNsAt(~std::uint64_t{0}), kHorizonNs);
  CHECK_EQ(TimeScale(1, kHorizonNs).firstNsAt(2), kHorizonNs);
  CHECK_EQ(TimeScale(1, 1000).firstNsAt(std::uint64_t{1} << 60), kHorizonNs);
}

TEST(a_default_scale_counts_nanoseconds) {
  constexpr TimeScale scale;
  static_assert(scale.at(12'345) == 12'345 && scale.atOrAfter(12'345) == 12'345 && scale.firstNsAt(77) == 77);
  CHECK_EQ(scale.at(kHorizonNs), kHorizonNs);
}

TEST(equal_rates_are_equal_scales) {
  Random random = check::seeded("time_scale equal rates", 3);
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const std::uint64_t period = random.magnitude(1'000'000'000), ticks = random.between(1, period);
    const std::uint64_t factor = random.magnitude(1'000'000'000), ns = random.between(0, kHorizonNs);
    if (!CHECK_EQ(TimeScale(ticks * factor, period * factor).at(ns), TimeScale(ticks, period).at(ns))) return;
  }
}

TEST(aligned_ticks_stay_within_bounds) {
  Random random = check::seeded("time_scale aligned", 4);
  for (int i = 0; i < check::scaled(500'000); ++i) {
    const std::uint64_t periodNs = random.magnitude(kHorizonNs), groups = random.magnitude(periodNs);
    const std::uint64_t most = random.magnitude(periodNs / groups);
    const std::uint64_t ticks = sluice::alignedTicks(groups, periodNs, most);
    if (!CHECK(ticks >= 1 && ticks <= most))
      return check::note("groups, period, most:", groups, periodNs, most);
    CHECK(2 * ticks > most);  // alignment never costs more than half the resolution
  }
}

// Whether every multiple of gridNs falls on a tick.
static bool onTicks(std::uint64_t ticksPerPeriod, std::uint64_t periodNs, std::uint64_t gridNs) {
  return Uint128{gridNs} * ticksPerPeriod % periodNs == 0;
}

TEST(aligned_ticks_put_the_grid_on_ticks) {
  using sluice::kNsPerMs, sluice::kNsPerUs;
  Random random = check::seeded("time_scale grid", 5);
  int onUs = 0, onMs = 0;
  for (int i = 0; i < check::scaled(500'000); ++i) {
    const std::uint64_t periodNs = random.magnitude(1ULL << 40) * (random.oneIn(2) ? kNsPerUs : kNsPerMs);
    const std::uint64_t groups = random.magnitude(1ULL << 30), most = periodNs / groups / 8;
    if (most == 0) continue;
    const std::uint64_t perPeriod = sluice::alignedTicks(groups, periodNs, most) * groups;
    const bool usFits = periodNs / kNsPerUs / std::gcd(groups, periodNs / kNsPerUs) <= most;
    const bool msFits =
        periodNs % kNsPerMs == 0 && periodNs / kNsPerMs / std::gcd(groups, periodNs / kNsPerMs) <= most;
    if (usFits && !CHECK(onTicks(perPeriod, periodNs, kNsPerUs))) return;
    if (msFits && !CHECK(onTicks(perPeriod, periodNs, kNsPerMs))) return;
    onUs += usFits;
    onMs += msFits;
  }
  CHECK(onUs > 1000 && onMs > 1000);
}

TEST(common_policies_fall_on_microseconds_or_milliseconds) {
  struct Policy {
    std::uint64_t limit, windowNs, gridNs;
  };
  const std::uint64_t second = sluice::kNsPerSecond;
  for (const Policy& p :
       {Policy{10, second, 1000}, Policy{100, 60 * second, 1000}, Policy{1, 86'400 * second, 1000},
        Policy{125, second, 1000}, Policy{1'000'000, second, 1000}, Policy{1009, second, 1'000'000}}) {
    const std::uint64_t units = sluice::alignedTicks(p.limit, p.windowNs, p.windowNs / p.limit / 8);
    CHECK(onTicks(units * p.limit, p.windowNs, p.gridNs));
  }
}

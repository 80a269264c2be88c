// Time that never goes back, whatever its source does.
#include "core/clock.h"

#include "random.h"

using check::Random;
using sluice::ForwardOnly;

TEST(time_follows_a_source_that_goes_forward) {
  ForwardOnly clock;
  for (const std::int64_t raw : {0, 1, 1, 50, 1'000'000}) CHECK_EQ(clock.advance(raw), raw);
}

TEST(time_stands_still_when_its_source_is_set_back_and_then_goes_on) {
  ForwardOnly clock;
  CHECK_EQ(clock.advance(100), 100);
  CHECK_EQ(clock.advance(40), 100);  // 60 back
  CHECK_EQ(clock.advance(45), 105);
  CHECK_EQ(clock.advance(145), 205);
  CHECK_EQ(clock.advance(144), 205);
  CHECK_EQ(clock.advance(1000), 1061);
}

TEST(a_first_reading_before_the_origin_counts_as_the_origin) {
  ForwardOnly clock;
  CHECK_EQ(clock.advance(-11'000'000), 0);
  CHECK_EQ(clock.advance(-10'999'999), 1);
}

TEST(time_never_goes_back_and_passes_no_faster_than_its_source) {
  Random random = check::seeded("clock steps", 1);
  for (int run = 0; run < check::scaled(2000); ++run) {
    ForwardOnly clock;
    std::int64_t raw = 0, last = 0;
    for (int i = 0; i < 200; ++i) {
      const auto step = static_cast<std::int64_t>(random.magnitude(std::uint64_t{1} << 50));
      const std::int64_t before = raw;
      raw += random.oneIn(3) ? -step : step;
      const std::int64_t now = clock.advance(raw);
      if (!CHECK_EQ(now - last, raw > before ? raw - before : 0)) return check::note("run, step:", run, i);
      last = now;
    }
  }
}

// UndefinedBehaviorSanitizer watches the arithmetic.
TEST(the_greatest_steps_do_not_overflow) {
  constexpr std::int64_t kFar = std::int64_t{1} << 61;
  ForwardOnly clock;
  for (int i = 0; i < 10; ++i) {
    for (const std::int64_t raw : {kFar, -kFar, std::int64_t{0}}) CHECK(clock.advance(raw) <= 2 * kFar);
  }
}

TEST(the_coarse_clock_is_never_ahead_of_the_exact_one) {
  std::uint64_t last = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t coarse = sluice::SystemClock::coarseNs(), exact = sluice::SystemClock::exactNs();
    CHECK(coarse <= exact);
    CHECK(exact >= last);
    last = exact;
  }
  CHECK(sluice::SystemClock::coarseSlackNs() > 0);
  CHECK(sluice::SystemClock::epochNs() > 1'600'000'000 * sluice::kNsPerSecond);
}

// Time that never goes back, whatever its source does.
#include "core/clock.h"

#include <algorithm>

#include "random.h"

using check::Random;
using sluice::ForwardOnly;

TEST(time_follows_a_source_that_goes_forward) {
  ForwardOnly clock;
  for (const std::int64_t raw : {0, 1, 1, 50, 1'000'000}) CHECK_EQ(clock.advance(raw), raw);
}

constexpr std::int64_t kSecondUs = 1'000'000;

TEST(a_small_step_back_is_waited_out) {
  ForwardOnly clock;
  CHECK_EQ(clock.advance(100), 100);
  CHECK_EQ(clock.advance(40), 100);
  CHECK_EQ(clock.advance(99), 100);
  CHECK_EQ(clock.advance(145), 145);
  CHECK_EQ(clock.advance(20 * kSecondUs), 20 * kSecondUs);
  CHECK_EQ(clock.advance(10 * kSecondUs), 20 * kSecondUs);  // just small enough
  CHECK_EQ(clock.advance(20 * kSecondUs + 1), 20 * kSecondUs + 1);
}

TEST(a_jittering_source_gains_nothing) {
  ForwardOnly clock;
  for (int i = 0; i < 1000; ++i) CHECK(clock.advance(i % 2 == 0 ? 5 * kSecondUs : 0) <= 5 * kSecondUs);
}

TEST(after_a_large_step_back_time_goes_on_from_where_it_stands) {
  ForwardOnly clock;
  CHECK_EQ(clock.advance(100 * kSecondUs), 100 * kSecondUs);
  CHECK_EQ(clock.advance(89 * kSecondUs), 100 * kSecondUs);
  CHECK_EQ(clock.advance(90 * kSecondUs), 101 * kSecondUs);
  CHECK_EQ(clock.advance(89 * kSecondUs), 101 * kSecondUs);  // small: waited out
  CHECK_EQ(clock.advance(91 * kSecondUs), 102 * kSecondUs);
}

TEST(a_first_reading_before_the_origin_counts_as_the_origin) {
  ForwardOnly clock;
  CHECK_EQ(clock.advance(-11 * kSecondUs), 0);
  CHECK_EQ(clock.advance(-11 * kSecondUs + 1), 1);
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
      const std::int64_t foreseen = clock.preview(raw), now = clock.advance(raw);
      const bool holds =
          foreseen == now && now >= last && now - last <= std::max<std::int64_t>(raw - before, 0);
      if (!CHECK(holds)) return check::note("run, step:", run, i);
      last = now;
    }
  }
}

// As the binding does: what lies beyond the horizon is refused. UndefinedBehaviorSanitizer watches the
// arithmetic.
TEST(the_greatest_steps_do_not_overflow) {
  constexpr auto kFar = static_cast<std::int64_t>(sluice::kHorizonNs / sluice::kNsPerUs);
  ForwardOnly clock;
  std::int64_t last = 0;
  for (int i = 0; i < 100; ++i) {
    for (const std::int64_t raw : {kFar / 64, -4 * kFar, 4 * kFar, std::int64_t{0}}) {
      if (clock.preview(raw) > kFar) continue;
      const std::int64_t now = clock.advance(raw);
      CHECK(now >= last && now <= kFar);
      last = now;
    }
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

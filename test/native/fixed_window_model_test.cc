// The fixed window against exact arithmetic, over random schedules of charges, refunds and penalties in two
// tiers.
#include "core/fixed_window.h"

#include "random.h"
#include "single_key.h"
#include "window_model.h"

using check::Random;
using check::WindowModel;
using sluice::Decision;
using sluice::FixedWindow;
using sluice::kHorizonNs;
using sluice::kMaxTokens;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::kNsPerUs;
using sluice::Outcome;
using sluice::PolicySpec;
using Align = FixedWindow::Align;
using Key = check::SingleKey<FixedWindow>;

namespace {

constexpr std::uint64_t kDay = 86'400 * kNsPerSecond;

// A window of two tiers; all times of a run are multiples of gridNs.
struct Setup {
  std::uint64_t windowNs, gridNs;
  Align align;
  PolicySpec tiers[2];
};

std::uint64_t randomCost(Random& random, std::uint64_t limit) {
  switch (random.below(8)) {
    case 0:
      return 0;
    case 1:
      return limit - 1;
    case 2:
      return limit;
    case 3:
      return limit + 1;
    default:
      return random.magnitude(limit);
  }
}

// What is seen without touching anything.
bool seenAlike(const Key& key, const WindowModel& model, const Setup& setup, std::uint64_t nowNs) {
  std::uint64_t rememberNs = 0;
  for (std::uint32_t tier = 0; tier < 2; ++tier) {
    const PolicySpec& spec = setup.tiers[tier];
    const Decision seen = key.peek(nowNs, tier, 0);
    if (spec.initial != 0) rememberNs = std::max({rememberNs, spec.rememberNs, std::uint64_t{1}});
    const bool fine = CHECK_EQ(seen.remaining, model.remaining(spec)) &&
                      CHECK_EQ(seen.delayNs, spec.evenly != 0 ? model.delayNs(spec) : 0);
    if (!fine) return false;
  }
  return CHECK_EQ(key.live(nowNs), model.open() || (rememberNs != 0 && model.known(rememberNs)));
}

bool consumesAlike(Key& key, WindowModel& model, const PolicySpec& spec, std::uint32_t tier,
                   std::uint64_t nowNs, std::uint64_t cost) {
  const bool fits = cost == 0 || (cost <= spec.limit && model.fits(spec, cost));
  // The first token of a window goes out when it opens, which is now.
  const std::uint64_t delayNs = spec.evenly != 0 && fits ? model.delayNs(spec) : 0;
  const Decision actual = key.consume(nowNs, cost, tier);
  const Outcome expected = cost > spec.limit ? Outcome::kTooCostly
                           : fits            ? Outcome::kAllowed
                                             : Outcome::kLimited;
  if (expected == Outcome::kAllowed && cost != 0) model.spend(spec, cost);
  if (expected == Outcome::kLimited) model.spend(spec, 0);
  const std::uint64_t retryNs = expected == Outcome::kTooCostly ? sluice::kNever
                                : expected == Outcome::kLimited ? model.resetAfterNs()
                                                                : 0;
  return CHECK_EQ(actual.outcome, expected) && CHECK_EQ(actual.remaining, model.remaining(spec)) &&
         CHECK_EQ(actual.retryAfterNs, retryNs) && CHECK_EQ(actual.resetAfterNs, model.resetAfterNs()) &&
         CHECK_EQ(actual.delayNs, delayNs);
}

bool actsAlike(Random& random, Key& key, WindowModel& model, const Setup& setup, std::uint64_t nowNs) {
  const auto tier = static_cast<std::uint32_t>(random.below(2));
  const PolicySpec& spec = setup.tiers[tier];
  const std::uint64_t most = spec.initial != 0 && random.oneIn(2) ? spec.initial : spec.limit,
                      amount = randomCost(random, most);
  if (random.below(10) < 7) return consumesAlike(key, model, spec, tier, nowNs, amount);
  if (random.oneIn(2)) {
    const std::uint64_t maxDebt = random.oneIn(2) ? 0 : randomCost(random, spec.limit);
    return CHECK_EQ(key.penalize(nowNs, amount, tier, maxDebt), model.penalize(spec, amount, maxDebt));
  }
  const std::uint64_t ageNs =
      random.oneIn(2) ? 0 : random.magnitude(setup.windowNs) / setup.gridNs * setup.gridNs;
  return CHECK_EQ(key.refund(nowNs, amount, ageNs, tier), model.refund(amount, ageNs));
}

bool run(Random& random, const Setup& setup, int steps) {
  const std::uint64_t maxLimit = std::max(setup.tiers[0].limit, setup.tiers[1].limit);
  auto book = FixedWindow::Book::make(setup.windowNs, maxLimit, setup.align);
  CHECK(book.has_value() && book->add(setup.tiers[0]).has_value() && book->add(setup.tiers[1]).has_value());
  Key key(*book);
  WindowModel model(setup.windowNs, setup.align);
  std::uint64_t nowNs = random.magnitude(kHorizonNs / 8) / setup.gridNs * setup.gridNs;
  for (int i = 0; i < steps && nowNs < kHorizonNs / 4; ++i) {
    nowNs += random.oneIn(3)
                 ? 0
                 : random.magnitude(setup.windowNs + setup.windowNs / 4) / setup.gridNs * setup.gridNs;
    model.advanceTo(nowNs);
    if (seenAlike(key, model, setup, nowNs) && actsAlike(random, key, model, setup, nowNs) &&
        seenAlike(key, model, setup, nowNs))
      continue;
    for (const PolicySpec& spec : setup.tiers)
      check::note("limit, initial, rememberNs, evenly:", spec.limit, spec.initial, spec.rememberNs,
                  spec.evenly);
    check::note("window, step, now, align:", setup.windowNs, i, nowNs, setup.align);
    return false;
  }
  return true;
}

PolicySpec randomTier(Random& random, std::uint64_t windowNs, std::uint64_t most) {
  PolicySpec spec{random.magnitude(most)};
  spec.evenly = random.below(2);
  if (random.oneIn(2)) return spec;
  spec.initial = random.magnitude(most);
  spec.rememberNs = random.oneIn(4) ? 0 : random.magnitude(2 * windowNs);
  return spec;
}

Setup randomSetup(Random& random, std::uint64_t gridNs, std::uint64_t mostLimit) {
  const std::uint64_t windowNs = random.magnitude(366 * kDay / gridNs) * gridNs,
                      most = std::min(windowNs, mostLimit);
  Setup setup{windowNs, gridNs, random.oneIn(2) ? Align::kEpoch : Align::kFirstRequest, {}};
  for (PolicySpec& tier : setup.tiers) {
    tier = randomTier(random, windowNs, most);
    // So that neither may be more than the table counts.
    tier.initial = std::min(tier.initial, tier.limit);
  }
  if (random.oneIn(2) && setup.tiers[0].initial != 0 && setup.tiers[1].limit > setup.tiers[0].limit)
    setup.tiers[0].initial = setup.tiers[1].limit;
  return setup;
}

}  // namespace

TEST(microseconds_are_exact_up_to_limits_of_2_to_the_16) {
  Random random = check::seeded("window us", 1);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    if (!run(random, randomSetup(random, kNsPerUs, (1 << 16) - 1), 100)) return;
  }
}

TEST(milliseconds_are_exact_up_to_limits_of_2_to_the_26) {
  Random random = check::seeded("window ms", 2);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    if (!run(random, randomSetup(random, kNsPerMs, (1 << 26) - 1), 100)) return;
  }
}

TEST(windows_of_the_epoch_are_exact_for_every_limit_and_time) {
  Random random = check::seeded("window epoch", 3);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    Setup setup = randomSetup(random, 1, kMaxTokens);
    setup.align = Align::kEpoch;
    if (!run(random, setup, 100)) return;
  }
}

// C1: no more than the limit from the moment a window opens until it is over, whatever the rounding.
TEST(no_window_admits_more_than_its_limit) {
  Random random = check::seeded("window bound", 4);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    const Setup setup = randomSetup(random, 1, kMaxTokens);
    const std::uint64_t limit = setup.tiers[0].limit;
    auto book = FixedWindow::Book::make(setup.windowNs, limit, Align::kFirstRequest);
    CHECK(book.has_value() && book->add({limit}).has_value());
    Key key(*book);
    std::uint64_t nowNs = random.magnitude(kHorizonNs / 8), openedNs = 0, admitted = 0;
    for (int call = 0; call < 50; ++call) {
      nowNs += random.magnitude(setup.windowNs / 3 + 1);
      const bool isOpen = key.live(nowNs);
      const std::uint64_t cost = randomCost(random, limit);
      if (key.allow(nowNs, cost) != Outcome::kAllowed || cost == 0) continue;
      if (!isOpen && !CHECK(admitted == 0 || nowNs - openedNs >= setup.windowNs)) return;
      if (!isOpen) openedNs = nowNs;
      admitted = isOpen ? admitted + cost : cost;
      if (!CHECK(admitted <= limit)) return check::note("window, limit:", setup.windowNs, limit);
    }
  }
}

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
using Align = FixedWindow::Align;
using Key = check::SingleKey<FixedWindow>;

namespace {

constexpr std::uint64_t kDay = 86'400 * kNsPerSecond;

// A window of two tiers; all times of a run are multiples of gridNs.
struct Setup {
  std::uint64_t windowNs, limit, otherLimit, gridNs;
  Align align;
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

bool consumesAlike(Key& key, WindowModel& model, const Setup& setup, std::uint32_t tier, std::uint64_t nowNs,
                   std::uint64_t cost) {
  const std::uint64_t limit = tier == 0 ? setup.limit : setup.otherLimit;
  const Decision actual = key.consume(nowNs, cost, tier);
  const bool fits = cost == 0 || model.fits(limit, cost);
  const Outcome expected = cost > limit ? Outcome::kTooCostly : fits ? Outcome::kAllowed : Outcome::kLimited;
  if (expected == Outcome::kAllowed && cost != 0) model.spend(cost);
  const std::uint64_t retryNs = expected == Outcome::kTooCostly ? sluice::kNever
                                : expected == Outcome::kLimited ? model.resetAfterNs()
                                                                : 0;
  return CHECK_EQ(actual.outcome, expected) && CHECK_EQ(actual.remaining, model.remaining(limit)) &&
         CHECK_EQ(actual.retryAfterNs, retryNs) && CHECK_EQ(actual.resetAfterNs, model.resetAfterNs());
}

bool actsAlike(Random& random, Key& key, WindowModel& model, const Setup& setup, std::uint64_t nowNs) {
  const auto tier = static_cast<std::uint32_t>(random.below(2));
  const std::uint64_t limit = tier == 0 ? setup.limit : setup.otherLimit, amount = randomCost(random, limit);
  if (random.below(10) < 7) return consumesAlike(key, model, setup, tier, nowNs, amount);
  if (random.oneIn(2)) return CHECK_EQ(key.penalize(nowNs, amount, tier), model.penalize(limit, amount));
  const std::uint64_t ageNs =
      random.oneIn(2) ? 0 : random.magnitude(setup.windowNs) / setup.gridNs * setup.gridNs;
  return CHECK_EQ(key.refund(nowNs, amount, ageNs, tier), model.refund(amount, ageNs));
}

bool run(Random& random, const Setup& setup, int steps) {
  auto book = FixedWindow::Book::make(setup.windowNs, std::max(setup.limit, setup.otherLimit), setup.align);
  CHECK(book.has_value() && book->add({setup.limit}).has_value() &&
        book->add({setup.otherLimit}).has_value());
  Key key(*book);
  WindowModel model(setup.windowNs, setup.align);
  std::uint64_t nowNs = random.magnitude(kHorizonNs / 8) / setup.gridNs * setup.gridNs;
  for (int i = 0; i < steps && nowNs < kHorizonNs / 4; ++i) {
    nowNs += random.oneIn(3)
                 ? 0
                 : random.magnitude(setup.windowNs + setup.windowNs / 4) / setup.gridNs * setup.gridNs;
    model.advanceTo(nowNs);
    if (actsAlike(random, key, model, setup, nowNs)) continue;
    check::note("window, limits:", setup.windowNs, setup.limit, setup.otherLimit);
    check::note("step, now, align:", i, nowNs, setup.align);
    return false;
  }
  return true;
}

Setup randomSetup(Random& random, std::uint64_t gridNs, std::uint64_t mostLimit) {
  const std::uint64_t windowNs = random.magnitude(366 * kDay / gridNs) * gridNs,
                      most = std::min(windowNs, mostLimit);
  return {windowNs, random.magnitude(most), random.magnitude(most), gridNs,
          random.oneIn(2) ? Align::kEpoch : Align::kFirstRequest};
}

}  // namespace

TEST(microseconds_are_exact_up_to_limits_of_2_to_the_18) {
  Random random = check::seeded("window us", 1);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    if (!run(random, randomSetup(random, kNsPerUs, (1 << 18) - 2), 100)) return;
  }
}

TEST(milliseconds_are_exact_up_to_limits_of_2_to_the_28) {
  Random random = check::seeded("window ms", 2);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    if (!run(random, randomSetup(random, kNsPerMs, (1 << 28) - 2), 100)) return;
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
    auto book = FixedWindow::Book::make(setup.windowNs, setup.limit, Align::kFirstRequest);
    CHECK(book.has_value() && book->add({setup.limit}).has_value());
    Key key(*book);
    std::uint64_t nowNs = random.magnitude(kHorizonNs / 8), openedNs = 0, admitted = 0;
    for (int call = 0; call < 50; ++call) {
      nowNs += random.magnitude(setup.windowNs / 3 + 1);
      const bool isOpen = key.live(nowNs);
      const std::uint64_t cost = randomCost(random, setup.limit);
      if (key.allow(nowNs, cost) != Outcome::kAllowed || cost == 0) continue;
      if (!isOpen && !CHECK(admitted == 0 || nowNs - openedNs >= setup.windowNs)) return;
      if (!isOpen) openedNs = nowNs;
      admitted = isOpen ? admitted + cost : cost;
      if (!CHECK(admitted <= setup.limit)) return check::note("window, limit:", setup.windowNs, setup.limit);
    }
  }
}

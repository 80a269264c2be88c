// The strict window: its promise by definition, and its rule against an exact model, over random schedules of
// charges, refunds and penalties in two tiers.
#include "core/strict_window.h"

#include "sub_window_model.h"
#include "wide_checks.h"

using check::bookOf;
using check::Random;
using check::SubWindowModel;
using sluice::Decision;
using sluice::kHorizonNs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::StrictWindow;
using Book = StrictWindow::Book;
using Key = check::SingleKey<StrictWindow>;

namespace {

constexpr std::uint64_t kDay = 86'400 * kNsPerSecond, kYear = 36525 * kDay / 100;
constexpr std::uint64_t kTwo31 = std::uint64_t{1} << 31;

Book book(std::uint64_t windowNs, const std::vector<std::uint64_t>& limits) {
  return bookOf<StrictWindow>(windowNs, limits);
}

// A time anywhere, on the start of a sub-window, or right beside one; later than `nowNs`, if less than two
// windows.
std::uint64_t later(Random& random, const SubWindowModel& model, std::uint64_t nowNs,
                    std::uint64_t windowNs) {
  if (random.oneIn(3)) return nowNs;
  if (random.oneIn(2)) return nowNs + random.magnitude(windowNs + windowNs / 4);
  const std::uint64_t boundary = model.startOf(model.indexAt(nowNs) + random.between(1, 14));
  return std::max(nowNs, boundary + random.below(3) - 1);
}

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

// A key and its model, in two tiers.
struct Pair {
  const Book& book;
  std::uint64_t windowNs, limits[2];
  Key key{book};
  SubWindowModel model{windowNs};

  bool consumesAlike(std::uint64_t nowNs, std::uint32_t tier, std::uint64_t cost) {
    const std::uint64_t limit = limits[tier], before = model.counted(nowNs);
    const Decision actual = key.consume(nowNs, cost, tier);
    const bool fits = cost == 0 || before + cost <= limit;
    const Outcome expected = cost > limit ? Outcome::kTooCostly
                             : fits       ? Outcome::kAllowed
                                          : Outcome::kLimited;
    if (expected == Outcome::kAllowed) model.spend(nowNs, cost);
    std::uint64_t retryNs = expected == Outcome::kTooCostly ? sluice::kNever : 0;
    if (expected == Outcome::kLimited) {
      retryNs = model.atMostFrom(nowNs, limit - cost) - nowNs;
      if (!key.retryIsExact(nowNs, cost, tier)) return false;
    }
    return CHECK_EQ(actual.outcome, expected) && CHECK_EQ(actual.retryAfterNs, retryNs) &&
           CHECK_EQ(actual.remaining, sluice::saturatingSub(limit, model.counted(nowNs))) &&
           CHECK_EQ(actual.resetAfterNs, model.atMostFrom(nowNs, 0) - nowNs) &&
           CHECK_EQ(key.live(nowNs), model.counted(nowNs) != 0);
  }

  bool actsAlike(Random& random, std::uint64_t nowNs) {
    const auto tier = static_cast<std::uint32_t>(random.below(2));
    const std::uint64_t limit = limits[tier], amount = randomCost(random, limit);
    if (random.below(10) < 7) return consumesAlike(nowNs, tier, amount);
    if (random.oneIn(2)) {
      const std::uint64_t taken = std::min(amount, sluice::saturatingSub(limit, model.counted(nowNs)));
      model.spend(nowNs, taken);
      return CHECK_EQ(key.penalize(nowNs, amount, tier), taken);
    }
    const std::uint64_t ageNs = random.oneIn(3) ? 0 : random.magnitude(windowNs + windowNs / 4);
    const std::uint64_t given = ageNs > nowNs ? 0 : model.refund(nowNs, nowNs - ageNs, amount);
    return CHECK_EQ(key.refund(nowNs, amount, ageNs, tier), given) &&
           check::weighsRight(key, book, nowNs, limits[0] < limits[1] ? 0 : 1);
  }
};

bool run(Random& random, std::uint64_t windowNs, std::uint64_t mostLimit, int steps) {
  const std::uint64_t limit = random.magnitude(mostLimit), other = random.magnitude(mostLimit);
  const Book policies = book(windowNs, {limit, other});
  Pair pair{policies, windowNs, {limit, other}};
  std::uint64_t nowNs = random.magnitude(kHorizonNs / 8);
  for (int i = 0; i < steps && nowNs < kHorizonNs / 4; ++i) {
    nowNs = later(random, pair.model, nowNs, windowNs);
    if (pair.actsAlike(random, nowNs)) continue;
    check::note("window, limits, step, now:", windowNs, limit, other, i, nowNs);
    return false;
  }
  return true;
}

// What was admitted, and when: nothing else is known of it.
class Admissions {
 public:
  // Whether at most `limit` were admitted in the interval of that length that ends with this one, its start
  // included.
  bool stayWithin(std::uint64_t limit, std::uint64_t windowNs, std::uint64_t nowNs, std::uint64_t cost) {
    all_.push_back({nowNs, cost});
    std::uint64_t sum = 0;
    for (auto it = all_.rbegin(); it != all_.rend() && nowNs - it->atNs <= windowNs; ++it) sum += it->cost;
    return CHECK(sum <= limit);
  }

 private:
  struct Admission {
    std::uint64_t atNs, cost;
  };
  std::vector<Admission> all_;
};

}  // namespace

TEST(the_rule_is_exact_for_windows_of_any_length) {
  Random random = check::seeded("strict", 1);
  for (int i = 0; i < check::scaled(12'000); ++i) {
    const std::uint64_t windowNs = 11 + random.magnitude(i % 4 == 0 ? kHorizonNs / 8 : 366 * kDay);
    if (!run(random, windowNs, i % 2 == 0 ? 20 : kTwo31, 60)) return;
  }
}

// The promise itself, by nobody's rule: what was admitted in any interval of the window's length, both ends
// included, is at most the limit.
TEST(no_interval_of_the_windows_length_admits_more_than_the_limit) {
  Random random = check::seeded("strict intervals", 2);
  for (int i = 0; i < check::scaled(2'000); ++i) {
    const std::uint64_t windowNs = 11 + random.magnitude(i % 2 == 0 ? 1000 : kDay),
                        limit = random.magnitude(30);
    const Book policies = book(windowNs, {limit});
    Key key(policies);
    const SubWindowModel grid(windowNs);
    Admissions admissions;
    std::uint64_t nowNs = random.magnitude(kHorizonNs / 8);
    for (int step = 0; step < 300; ++step) {
      const Decision seen = key.peek(nowNs);
      // Often at the very moment at which there is room again, or right before or after it.
      if (seen.outcome == Outcome::kLimited && random.oneIn(2))
        nowNs += seen.retryAfterNs + random.below(3) - 1;
      else
        nowNs = later(random, grid, nowNs, windowNs);
      const std::uint64_t cost = random.oneIn(2) ? 1 : random.between(1, limit);
      if (key.allow(nowNs, cost) != Outcome::kAllowed) continue;
      if (!admissions.stayWithin(limit, windowNs, nowNs, cost))
        return check::note("window, limit, step, now:", windowNs, limit, step, nowNs);
    }
  }
}

TEST(who_takes_what_there_is_gets_at_least_twelve_thirteenths_of_the_limit) {
  Random random = check::seeded("strict greedy", 3);
  for (int i = 0; i < check::scaled(400); ++i) {
    const std::uint64_t windowNs = 1000 + random.magnitude(kDay), limit = random.magnitude(kTwo31);
    const Book policies = book(windowNs, {limit});
    Key key(policies);
    const std::uint64_t startNs = random.magnitude(kYear);
    CHECK_EQ(key.consume(startNs, limit).outcome, Outcome::kAllowed);  // all of it at once
    sluice::Uint128 admitted = limit;
    std::uint64_t nowNs = startNs;
    const bool all = i % 2 == 0;  // or only a part each time
    for (int step = 0; step < 500; ++step) {
      const std::uint64_t left = key.peek(nowNs, 0, 0).remaining;
      if (left == 0) {
        nowNs += key.peek(nowNs).retryAfterNs;
        continue;
      }
      const std::uint64_t cost = all ? left : random.between(1, left);
      if (!CHECK_EQ(key.allow(nowNs, cost), Outcome::kAllowed)) return;
      admitted += cost;
      if (!all) nowNs += random.below(windowNs / 50);
    }
    while (const std::uint64_t left = key.peek(nowNs, 0, 0).remaining) {
      CHECK_EQ(key.allow(nowNs, left), Outcome::kAllowed);
      admitted += left;
    }
    // A wait is rounded up to a ns: at most one for each.
    const sluice::Uint128 elapsed = nowNs - startNs, waits = 500;
    const bool enough = elapsed < waits || admitted * windowNs * 13 >= (elapsed - waits) * limit * 12;
    if (!CHECK(enough)) return check::note("window, limit, start:", windowNs, limit, startNs);
  }
}

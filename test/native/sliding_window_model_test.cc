// The sliding window against its definition in 128-bit arithmetic, over random schedules of charges, refunds
// and penalties in two tiers. Where a count is too large to be kept exactly it is rounded up once its window
// is over: the engine may be stricter by that, never looser.
#include "core/sliding_window.h"

#include "random.h"
#include "single_key.h"

using check::Random;
using sluice::Decision;
using sluice::kHorizonNs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::SlidingWindow;
using sluice::Uint128;
using Key = check::SingleKey<SlidingWindow>;

namespace {

constexpr std::uint64_t kDay = 86'400 * kNsPerSecond, kTwo32 = std::uint64_t{1} << 32;

// The least number at or above `count` that has at most 14 significant bits.
std::uint64_t roundedUp(std::uint64_t count) {
  std::uint64_t unit = 1;
  while ((count + unit - 1) / unit >= 1 << 14) unit *= 2;
  return (count + unit - 1) / unit * unit;
}

// What was admitted in the present window and in the one before it, and what the definition says about it.
class Model {
 public:
  Model(std::uint64_t windowNs, bool rounds) : windowNs_(windowNs), rounds_(rounds) {}

  void advanceTo(std::uint64_t nowNs) {
    for (; window_ < nowNs / windowNs_; ++window_) {
      if (window_ + 2 < nowNs / windowNs_ && current_ == 0) window_ = nowNs / windowNs_ - 1;
      before_ = kept(current_);
      current_ = 0;
    }
    nowNs_ = nowNs;
  }
  bool fits(std::uint64_t limit, std::uint64_t cost) const { return fitsAt(nowNs_, limit, cost); }
  void spend(std::uint64_t cost) { current_ += cost; }
  std::uint64_t refund(std::uint64_t tokens, std::uint64_t ageNs) {
    if (ageNs > nowNs_) return 0;
    const std::uint64_t charged = (nowNs_ - ageNs) / windowNs_;
    if (charged != window_ && charged + 1 != window_) return 0;
    std::uint64_t& count = charged == window_ ? current_ : before_;
    const std::uint64_t was = count;
    count -= std::min(tokens, count);
    if (charged != window_) count = kept(count);
    return was - count;
  }
  std::uint64_t penalize(std::uint64_t limit, std::uint64_t tokens, std::uint64_t maxDebt) {
    const std::uint64_t taken = std::min(tokens, remaining(limit + std::min(maxDebt, limit)));
    current_ += taken;
    return taken;
  }
  // The greatest cost that fits.
  std::uint64_t remaining(std::uint64_t limit) const {
    std::uint64_t fitting = 0, tooMuch = limit + 1;
    while (tooMuch - fitting > 1) {
      const std::uint64_t middle = fitting + (tooMuch - fitting) / 2;
      (fits(limit, middle) ? fitting : tooMuch) = middle;
    }
    return fitting;
  }
  // The least time at which `cost` fits, searched for in this window and the two after it.
  std::uint64_t admittedAt(std::uint64_t limit, std::uint64_t cost) const {
    for (std::uint64_t window = window_; window < window_ + 3; ++window) {
      std::uint64_t refusedNs = std::max(nowNs_, window * windowNs_), fitsNs = (window + 1) * windowNs_ - 1;
      if (!fitsAt(fitsNs, limit, cost)) continue;
      if (fitsAt(refusedNs, limit, cost)) return refusedNs;
      while (fitsNs - refusedNs > 1) {
        const std::uint64_t middle = refusedNs + (fitsNs - refusedNs) / 2;
        (fitsAt(middle, limit, cost) ? fitsNs : refusedNs) = middle;
      }
      return fitsNs;
    }
    return sluice::kNever;
  }
  std::uint64_t resetAfterNs() const {
    if (current_ == 0 && before_ == 0) return 0;
    return (window_ + (current_ != 0 ? 2 : 1)) * windowNs_ - nowNs_;
  }

 private:
  std::uint64_t kept(std::uint64_t count) const { return rounds_ ? roundedUp(count) : count; }

  bool fitsAt(std::uint64_t ns, std::uint64_t limit, std::uint64_t cost) const {
    const std::uint64_t window = ns / windowNs_, elapsedNs = ns % windowNs_;
    const std::uint64_t before = window == window_ ? before_ : window == window_ + 1 ? kept(current_) : 0;
    const std::uint64_t present = window == window_ ? current_ : 0;
    return Uint128{before} * (windowNs_ - elapsedNs) + (Uint128{present} + cost) * windowNs_ <=
           Uint128{limit} * windowNs_;
  }

  std::uint64_t windowNs_;
  bool rounds_;
  std::uint64_t nowNs_ = 0, window_ = 0, before_ = 0, current_ = 0;
};

struct Setup {
  std::uint64_t windowNs, limit, otherLimit;
  bool rounds;
};

Setup randomSetup(Random& random, std::uint64_t leastLimit, std::uint64_t mostLimit, bool rounds) {
  const std::uint64_t windowNs = random.between(leastLimit, leastLimit + random.magnitude(366 * kDay));
  const std::uint64_t most = std::min(windowNs, mostLimit);
  return {windowNs, std::max(leastLimit, random.magnitude(most)), random.magnitude(most), rounds};
}

SlidingWindow::Book bookOf(const Setup& setup) {
  auto book = SlidingWindow::Book::make({setup.windowNs, std::max(setup.limit, setup.otherLimit), 1});
  CHECK(book.has_value() && book->add({setup.limit}).has_value() &&
        book->add({setup.otherLimit}).has_value());
  return *book;
}

// Costs that nearly fit, or are near the limit, or any.
std::uint64_t randomCost(Random& random, std::uint64_t limit, std::uint64_t remaining) {
  switch (random.below(8)) {
    case 0:
      return random.below(2);
    case 1:
      return limit - 1 + random.below(3);
    case 2:
    case 3:
    case 4:
      return remaining + random.below(3) - (remaining != 0 ? 1 : 0);
    default:
      return random.magnitude(limit);
  }
}

// Times that nearly reach the end of a window, or what was promised, or any.
std::uint64_t later(Random& random, const Setup& setup, std::uint64_t nowNs, std::uint64_t promisedNs) {
  const std::uint64_t endNs = nowNs - nowNs % setup.windowNs + setup.windowNs;
  switch (random.below(8)) {
    case 0:
    case 1:
      return nowNs;
    case 2:
      return endNs - 1;
    case 3:
      return endNs;
    case 4:
      return nowNs + promisedNs;
    case 5:
      return promisedNs == 0 ? nowNs : nowNs + promisedNs - 1;
    default:
      return nowNs + random.magnitude(setup.windowNs + setup.windowNs / 4);
  }
}

bool consumesAlike(Key& key, Model& model, std::uint64_t limit, std::uint32_t tier, std::uint64_t nowNs,
                   std::uint64_t cost, std::uint64_t* promisedNs) {
  const Decision actual = key.consume(nowNs, cost, tier);
  const bool fits = cost == 0 || model.fits(limit, cost);
  const Outcome expected = cost > limit ? Outcome::kTooCostly : fits ? Outcome::kAllowed : Outcome::kLimited;
  if (expected == Outcome::kAllowed) model.spend(cost);
  const std::uint64_t retryNs = expected == Outcome::kTooCostly ? sluice::kNever
                                : expected == Outcome::kLimited ? model.admittedAt(limit, cost) - nowNs
                                                                : 0;
  *promisedNs = expected == Outcome::kLimited ? retryNs : 0;
  return CHECK_EQ(actual.outcome, expected) && CHECK_EQ(actual.remaining, model.remaining(limit)) &&
         CHECK_EQ(actual.retryAfterNs, retryNs) && CHECK_EQ(actual.resetAfterNs, model.resetAfterNs()) &&
         CHECK_EQ(key.live(nowNs), model.resetAfterNs() != 0);
}

bool actsAlike(Random& random, const SlidingWindow::Book& book, Key& key, Model& model, const Setup& setup,
               std::uint64_t nowNs, std::uint64_t* promisedNs) {
  const auto tier = static_cast<std::uint32_t>(random.below(2));
  const std::uint64_t limit = tier == 0 ? setup.limit : setup.otherLimit;
  const std::uint64_t amount = randomCost(random, limit, model.remaining(limit));
  if (random.below(10) < 7) return consumesAlike(key, model, limit, tier, nowNs, amount, promisedNs);
  if (random.oneIn(2)) {
    const std::uint64_t ageNs = random.oneIn(2) ? 0 : random.magnitude(2 * setup.windowNs);
    return CHECK_EQ(key.refund(nowNs, amount, ageNs, tier), model.refund(amount, ageNs));
  }
  const std::uint64_t maxDebt = random.oneIn(3) ? random.magnitude(2 * limit) : 0;
  const sluice::Step step = SlidingWindow::penalize(book, tier, key.entry, nowNs, amount, maxDebt);
  if (step.write) key.entry = step.next;
  return CHECK_EQ(step.amount, model.penalize(limit, amount, maxDebt));
}

bool run(Random& random, const Setup& setup, int steps) {
  const SlidingWindow::Book book = bookOf(setup);
  Key key(book);
  Model model(setup.windowNs, setup.rounds);
  // Near enough to the origin, or to where it begins, for no index to have wrapped meanwhile.
  std::uint64_t nowNs = random.magnitude(kHorizonNs / 8), promisedNs = 0;
  for (int i = 0; i < steps && nowNs < kHorizonNs / 4; ++i) {
    nowNs = later(random, setup, nowNs, promisedNs);
    model.advanceTo(nowNs);
    if (actsAlike(random, book, key, model, setup, nowNs, &promisedNs)) continue;
    check::note("window, limits:", setup.windowNs, setup.limit, setup.otherLimit);
    check::note("step, now:", i, nowNs);
    return false;
  }
  return true;
}

}  // namespace

TEST(limits_below_2_to_the_19_are_exact_at_every_time) {
  Random random = check::seeded("sliding exact", 1);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    if (!run(random, randomSetup(random, 1, (1 << 19) - 1, false), 60)) return;
  }
}

TEST(windows_of_few_nanoseconds_are_exact) {
  Random random = check::seeded("sliding tiny", 2);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    const std::uint64_t windowNs = random.between(1, 20);
    const Setup setup{windowNs, random.between(1, windowNs), random.between(1, windowNs), false};
    if (!run(random, setup, 60)) return;
  }
}

TEST(larger_limits_are_exact_but_for_the_rounding_of_the_count_before) {
  Random random = check::seeded("sliding rounded", 3);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    if (!run(random, randomSetup(random, 1 << 19, kTwo32, true), 60)) return;
  }
}

// Against counts that are never rounded: what is admitted fits, and what is refused would not fit if the
// count before were larger by 2^-13.
TEST(the_rounding_makes_stricter_by_2_to_the_minus_13_never_looser) {
  Random random = check::seeded("sliding rounding", 4);
  int differing = 0;
  for (int i = 0; i < check::scaled(20'000); ++i) {
    const Setup setup = randomSetup(random, 1 << 19, kTwo32, true);
    const SlidingWindow::Book book = bookOf(setup);
    Key key(book);
    std::uint64_t nowNs = random.magnitude(kHorizonNs / 8), window = 0, before = 0, present = 0;
    for (int call = 0; call < 40; ++call) {
      nowNs = later(random, setup, nowNs, 0);
      const std::uint64_t elapsedNs = nowNs % setup.windowNs, number = nowNs / setup.windowNs;
      if (number != window) before = number == window + 1 ? present : 0, present = 0, window = number;
      const Decision left = key.peek(nowNs);
      const std::uint64_t cost = randomCost(random, setup.limit, left.remaining);
      if (cost == 0 || cost > setup.limit) continue;
      const auto load = [&](Uint128 past) {
        return past * (setup.windowNs - elapsedNs) + (Uint128{present} + cost) * setup.windowNs;
      };
      const Uint128 most = Uint128{setup.limit} * setup.windowNs;
      const bool allowed = key.allow(nowNs, cost) == Outcome::kAllowed;
      const std::uint64_t stricter = before + (before >> 13) + (before % (1 << 13) != 0 ? 1 : 0);
      const bool fine = allowed ? CHECK(load(before) <= most) : CHECK(load(stricter) > most);
      if (!fine) return check::note("window, limit, now, cost:", setup.windowNs, setup.limit, nowNs, cost);
      differing += !allowed && load(before) <= most;
      if (allowed) present += cost;
    }
  }
  CHECK(differing > 100);
}

// C1: a window never admits more than the limit, and no interval of its length more than 2 * limit - 1.
TEST(no_interval_of_a_window_admits_twice_the_limit) {
  Random random = check::seeded("sliding bound", 5);
  double worst = 0;
  for (int i = 0; i < check::scaled(20'000); ++i) {
    const Setup setup = randomSetup(random, 1, random.oneIn(2) ? 100 : kTwo32, true);
    const SlidingWindow::Book book = bookOf(setup);
    Key key(book);
    struct Admission {
      std::uint64_t atNs, cost;
    };
    std::vector<Admission> admitted;
    std::uint64_t nowNs = random.magnitude(kHorizonNs / 8);
    for (int call = 0; call < 40; ++call) {
      nowNs = later(random, setup, nowNs, 0);
      const std::uint64_t cost =
          random.oneIn(2) ? key.peek(nowNs).remaining : randomCost(random, setup.limit, 1);
      if (cost == 0 || key.allow(nowNs, cost) != Outcome::kAllowed) continue;
      admitted.push_back({nowNs, cost});
      std::uint64_t interval = 0, window = 0;
      for (const Admission& one : admitted) {
        if (nowNs - one.atNs < setup.windowNs) interval += one.cost;
        if (nowNs / setup.windowNs == one.atNs / setup.windowNs) window += one.cost;
      }
      const bool fine = CHECK(window <= setup.limit) && CHECK(interval <= 2 * setup.limit - 1);
      if (!fine) return check::note("window, limit, now:", setup.windowNs, setup.limit, nowNs);
      worst = std::max(worst, static_cast<double>(interval) / static_cast<double>(setup.limit));
    }
  }
  CHECK(worst > 1.9);
}

// The token bucket against exact arithmetic, over random schedules: equal where its units fall on the times
// used, and never more than one unit early, never late, everywhere else.
#include "core/token_bucket.h"

#include "bucket_model.h"
#include "random.h"
#include "single_key.h"

using check::BucketModel;
using check::Random;
using sluice::Decision;
using sluice::kHorizonNs;
using sluice::kMaxTokens;
using sluice::kNsPerSecond;
using sluice::kNsPerUs;
using sluice::Outcome;
using sluice::TokenBucket;
using sluice::Uint128;
using Spec = TokenBucket::Spec;
using Key = check::SingleKey<TokenBucket>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond;

// Around the burst, where mistakes are, or anything.
std::uint64_t randomCost(Random& random, std::uint64_t burst) {
  switch (random.below(8)) {
    case 0:
      return 0;
    case 1:
      return burst - 1;
    case 2:
      return burst;
    case 3:
      return burst + 1;
    case 4:
      return random.between(1, burst);
    default:
      return random.magnitude(burst);
  }
}

// About as long as it takes to refill something between nothing and all of the bucket.
std::uint64_t randomPause(Random& random, const Spec& spec) {
  const auto refillNs = static_cast<std::uint64_t>(Uint128{spec.burst} * spec.windowNs / spec.limit);
  switch (random.below(6)) {
    case 0:
      return 0;
    case 1:
      return random.magnitude(spec.windowNs / spec.limit + 1);
    case 2:
      return random.oneIn(50) ? random.magnitude(refillNs) * 2 : 1;
    default:
      return random.magnitude(refillNs / 4 + 1);
  }
}

void describeFailure(const Spec& spec, int step, std::uint64_t nowNs, std::uint64_t amount) {
  check::note("limit, window, burst:", spec.limit, spec.windowNs, spec.burst);
  check::note("initial, rememberNs:", spec.initial, spec.rememberNs);
  check::note("step, now, amount:", step, nowNs, amount);
}

// Specs whose units fall on every whole microsecond, as README and token_bucket.h promise.
const std::vector<Spec>& exactSpecs() {
  static const std::vector<Spec> specs = {
      {1, kDay, 1},
      {1, kDay, 7},
      {100, kDay, 1000},
      {10, kSecond, 20},
      {125, kSecond, 125},
      {100, 60 * kSecond, 5},
      {3, 7 * kSecond, 1'000'000},
      {1'000'000, kSecond, 12'345},
      {1'000'000'000, kSecond, 1'000'000'000},
      {1'000'000'000, kSecond, kMaxTokens},
      {64'000'000, kSecond, std::uint64_t{1} << 31},
      {std::uint64_t{1} << 31, (std::uint64_t{1} << 31) * kNsPerUs, (std::uint64_t{1} << 32) + 1},
  };
  return specs;
}

// What is seen without touching anything.
bool seenAlike(const Key& key, const BucketModel& model, const Spec& spec, std::uint64_t nowNs) {
  const Decision seen = key.peek(nowNs, 0, 0);
  const std::uint64_t delayNs = spec.evenly != 0 ? model.delayNs() : 0;
  return CHECK_EQ(seen.outcome, Outcome::kAllowed) && CHECK_EQ(seen.remaining, model.remaining()) &&
         CHECK_EQ(seen.resetAfterNs, model.resetAfterNs()) && CHECK_EQ(seen.delayNs, delayNs) &&
         CHECK_EQ(key.live(nowNs), model.known());
}

bool consumesAlike(Key& key, BucketModel& model, const Spec& spec, std::uint64_t nowNs, std::uint64_t cost) {
  const std::uint64_t delayNs =
      spec.evenly != 0 && cost <= spec.burst && model.fits(cost) ? model.delayNs() : 0;
  const Decision actual = key.consume(nowNs, cost);
  const bool fits = cost == 0 || model.fits(cost);
  const Outcome expected = cost > spec.burst ? Outcome::kTooCostly
                           : fits            ? Outcome::kAllowed
                                             : Outcome::kLimited;
  if (expected == Outcome::kAllowed && cost != 0) model.spend(cost);
  if (expected == Outcome::kLimited) model.deny();
  const std::uint64_t retryNs = expected == Outcome::kTooCostly ? sluice::kNever
                                : expected == Outcome::kLimited ? model.retryAfterNs(cost)
                                                                : 0;
  return CHECK_EQ(actual.outcome, expected) && CHECK_EQ(actual.remaining, model.remaining()) &&
         CHECK_EQ(actual.retryAfterNs, retryNs) && CHECK_EQ(actual.resetAfterNs, model.resetAfterNs()) &&
         CHECK(cost == 0 || actual.delayNs == delayNs);
}

bool actsAlike(Random& random, Key& key, BucketModel& model, const Spec& spec, std::uint64_t nowNs,
               std::uint64_t amount) {
  if (random.below(10) < 7) return consumesAlike(key, model, spec, nowNs, amount);
  if (random.oneIn(2)) {
    const std::uint64_t maxDebt = random.oneIn(2) ? 0 : randomCost(random, spec.burst);
    return CHECK_EQ(key.penalize(nowNs, amount, 0, maxDebt), model.penalize(amount, maxDebt));
  }
  const std::uint64_t pause = randomPause(random, spec) / kNsPerUs * kNsPerUs;
  const std::uint64_t ageNs = random.oneIn(2) ? 0 : std::min(pause, nowNs);
  return CHECK_EQ(key.refund(nowNs, amount, ageNs), model.refund(amount, ageNs));
}

// With all that a policy may have besides, or without.
Spec furnished(Random& random, Spec spec) {
  spec.evenly = random.below(2);
  if (random.oneIn(2)) return spec;
  spec.initial = random.oneIn(4) ? spec.burst : random.magnitude(spec.burst);
  const auto refillNs = static_cast<std::uint64_t>(Uint128{spec.burst} * spec.windowNs / spec.limit);
  spec.rememberNs = random.oneIn(4) ? 0 : random.magnitude(refillNs / kNsPerUs + 1) * kNsPerUs;
  return spec;
}

// Runs until a difference; all times are whole microseconds.
bool runExact(Random& random, const Spec& spec, int steps) {
  TokenBucket::Book book;
  CHECK(book.add(spec).has_value());
  Key key(book);
  std::uint64_t nowNs = random.below(1'000'000) * kNsPerUs;
  BucketModel model(spec, nowNs);
  for (int i = 0; i < steps && nowNs < kHorizonNs / 8; ++i) {
    nowNs += randomPause(random, spec) / kNsPerUs * kNsPerUs;
    model.advanceTo(nowNs);
    const std::uint64_t amount = randomCost(random, spec.burst);
    if (seenAlike(key, model, spec, nowNs) && actsAlike(random, key, model, spec, nowNs, amount) &&
        seenAlike(key, model, spec, nowNs))
      continue;
    describeFailure(spec, i, nowNs, amount);
    return false;
  }
  return true;
}

Spec randomSpec(Random& random) {
  const std::uint64_t windowNs = random.magnitude(kDay * 366),
                      limit = random.magnitude(std::min(windowNs, kMaxTokens));
  const Uint128 most = Uint128{kHorizonNs / 4} * limit / windowNs;  // refilled within 36 years
  return {limit, windowNs,
          random.magnitude(most < kMaxTokens ? static_cast<std::uint64_t>(most) : kMaxTokens)};
}

// What the engine may differ by: it is up to a unit early, and every refund with an age may credit up to two
// units too little, never too much.
struct Slack {
  Uint128 unit;
  std::uint64_t refunds = 0;
  Uint128 early() const { return unit; }
  Uint128 late() const { return 2 * unit * refunds; }
  std::uint64_t tokens(std::uint64_t windowNs) const {
    return static_cast<std::uint64_t>((early() + late()) / windowNs) + 1;
  }
};

// One charge, of which the model keeps a record as the engine decided it.
bool chargesWithinBounds(Key& key, BucketModel& model, const Spec& spec, const Slack& slack,
                         std::uint64_t nowNs, std::uint64_t cost) {
  const Outcome outcome = key.allow(nowNs, cost);
  if (cost > spec.burst) return CHECK_EQ(outcome, Outcome::kTooCostly);
  if (cost == 0) return CHECK_EQ(outcome, Outcome::kAllowed);
  if (outcome != Outcome::kAllowed) {
    return CHECK_EQ(outcome, Outcome::kLimited) &&
           CHECK(!model.fits(cost) || model.spare(cost) < slack.late()) && key.retryIsExact(nowNs, cost);
  }
  model.spend(cost);
  return CHECK(model.overdraft() < slack.early());
}

bool actsWithinBounds(Random& random, Key& key, BucketModel& model, const Spec& spec, Slack& slack,
                      std::uint64_t nowNs, std::uint64_t amount) {
  if (!random.oneIn(8)) return chargesWithinBounds(key, model, spec, slack, nowNs, amount);
  if (random.oneIn(2)) {
    const std::uint64_t taken = key.penalize(nowNs, amount), expected = model.penalize(amount);
    return CHECK(std::max(taken, expected) - std::min(taken, expected) <= slack.tokens(spec.windowNs));
  }
  const std::uint64_t ageNs = random.oneIn(2) ? 0 : std::min(randomPause(random, spec), nowNs);
  slack.refunds += ageNs != 0;
  const std::uint64_t credited = key.refund(nowNs, amount, ageNs), expected = model.refund(amount, ageNs);
  return CHECK(std::max(credited, expected) - std::min(credited, expected) <= slack.tokens(spec.windowNs));
}

bool runRounded(Random& random, const Spec& spec, int steps) {
  TokenBucket::Book book;
  CHECK(book.add(spec).has_value());
  Key key(book);
  std::uint64_t nowNs = random.below(1'000'000'000);
  BucketModel model(spec, nowNs);
  Slack slack{spec.windowNs / book[0].unitsPerToken + 1};
  for (int i = 0; i < steps && nowNs < kHorizonNs / 8; ++i) {
    nowNs += randomPause(random, spec);
    model.advanceTo(nowNs);
    const std::uint64_t amount = randomCost(random, spec.burst);
    if (actsWithinBounds(random, key, model, spec, slack, nowNs, amount)) continue;
    describeFailure(spec, i, nowNs, amount);
    return false;
  }
  return true;
}

}  // namespace

TEST(exact_policies_equal_the_model) {
  Random random = check::seeded("bucket exact", 1);
  for (const Spec& spec : exactSpecs()) {
    for (int run = 0; run < check::scaled(400); ++run) {
      if (!runExact(random, furnished(random, spec), 500)) return;
    }
  }
}

TEST(all_policies_stay_within_a_unit_of_the_model) {
  Random random = check::seeded("bucket rounded", 2);
  for (int run = 0; run < check::scaled(60'000); ++run) {
    if (!runRounded(random, randomSpec(random), 60)) return;
  }
}

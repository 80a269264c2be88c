// Admitted calls that are told when to go out, so that they leave at the rate.
#include "core/token_bucket.h"

#include "random.h"
#include "single_key.h"

using check::Random;
using sluice::Decision;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::TokenBucket;
using Spec = TokenBucket::Spec;
using Key = check::SingleKey<TokenBucket>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond, kYear = 36525 * kDay / 100;

TokenBucket::Book bookOf(Spec spec, bool evenly = true) {
  spec.evenly = evenly ? 1 : 0;
  TokenBucket::Book book;
  CHECK(book.add(spec).has_value());
  return book;
}

}  // namespace

TEST(calls_leave_one_after_the_other) {
  const TokenBucket::Book book = bookOf({10, kSecond, 20});
  Key key(book);
  for (std::uint64_t i = 0; i < 20; ++i) CHECK_EQ(key.consume(kSecond, 1).delayNs, i * 100 * kNsPerMs);
  CHECK_EQ(key.consume(kSecond, 1).delayNs, 0);  // refused
  CHECK_EQ(key.consume(kSecond, 21).delayNs, 0);
  CHECK_EQ(key.consume(2 * kSecond, 5).delayNs, kSecond);
  CHECK_EQ(key.consume(2 * kSecond, 1).delayNs, 1500 * kNsPerMs);
  CHECK_EQ(key.peek(2 * kSecond).delayNs, 1600 * kNsPerMs);
  CHECK_EQ(key.consume(10 * kSecond, 20).delayNs, 0);
  key.block(10 * kSecond, 11 * kSecond);
  CHECK_EQ(key.consume(10 * kSecond, 1).delayNs, 0);
}

TEST(without_evenly_nobody_waits_and_with_it_no_more_are_admitted) {
  Random random = check::seeded("evenly same", 1);
  const TokenBucket::Book plain = bookOf({10, kSecond, 20}, false), even = bookOf({10, kSecond, 20});
  Key first(plain), second(even);
  std::uint64_t nowNs = kSecond;
  for (int i = 0; i < 10'000; ++i) {
    nowNs += random.magnitude(kSecond / 4);
    const std::uint64_t cost = random.below(22);
    const Decision one = first.consume(nowNs, cost), two = second.consume(nowNs, cost);
    CHECK_EQ(one.outcome, two.outcome);
    CHECK_EQ(one.delayNs, 0);
    if (!CHECK(first.entry == second.entry)) return;
  }
}

// No call leaves sooner after another than what that one cost takes to refill, whenever they were asked for;
// less a unit (8 ns, or one token of the fastest) where times do not fall on units. And none waits longer
// than the bucket takes to refill.
TEST(no_two_calls_leave_closer_than_the_rate) {
  Random random = check::seeded("evenly gaps", 2);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    const std::uint64_t windowNs = random.magnitude(kDay), limit = random.magnitude(windowNs);
    const Spec spec{limit, windowNs, random.magnitude(1000)};
    const TokenBucket::Book book = bookOf(spec);
    Key key(book);
    const std::uint64_t unitNs = spec.windowNs / spec.limit / book[0].unitsPerToken + 2;
    std::uint64_t nowNs = random.magnitude(kYear), nextNs = 0;  // the earliest that the next may leave
    for (int call = 0; call < 50; ++call) {
      if (random.oneIn(2)) nowNs += random.magnitude(3 * spec.windowNs / spec.limit + 1);
      const std::uint64_t cost = random.oneIn(2) ? 1 : random.magnitude(spec.burst);
      const Decision decision = key.consume(nowNs, cost);
      if (decision.outcome != Outcome::kAllowed) continue;
      const std::uint64_t outNs = nowNs + decision.delayNs,
                          refillNs = static_cast<std::uint64_t>(sluice::Uint128{spec.burst} * spec.windowNs /
                                                                spec.limit);
      const bool fine = CHECK(outNs + unitNs >= nextNs) && CHECK(decision.delayNs <= refillNs) &&
                        CHECK(decision.delayNs <= sluice::saturatingSub(nextNs, nowNs) + unitNs);
      if (!fine)
        return check::note("limit, window, burst, call:", spec.limit, spec.windowNs, spec.burst, call);
      nextNs = outNs + static_cast<std::uint64_t>(sluice::Uint128{cost} * spec.windowNs / spec.limit);
    }
  }
}

// What a new key lacks counts as spent.
TEST(a_key_that_begins_with_little_begins_late) {
  Spec spec{10, kSecond, 20};
  spec.initial = 3;
  spec.rememberNs = kDay;
  const TokenBucket::Book book = bookOf(spec);
  Key key(book);
  for (std::uint64_t i = 0; i < 3; ++i) CHECK_EQ(key.consume(kSecond, 1).delayNs, (17 + i) * 100 * kNsPerMs);
}

// The token bucket, by example: costs, refunds, penalties, extremes of rate and size, clock steps, long idle
// times.
#include "core/token_bucket.h"

#include "random.h"
#include "single_key.h"

using check::kLimited;
using check::kOk;
using check::kTooCostly;
using check::Random;
using check::Verb;
using sluice::Decision;
using sluice::kHorizonNs;
using sluice::kMaxTokens;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::TokenBucket;
using Spec = TokenBucket::Spec;
using Key = check::SingleKey<TokenBucket>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kHour = 3600 * kSecond, kDay = 24 * kHour;
constexpr std::uint64_t kYear = 36525 * kDay / 100;
constexpr std::uint64_t kTwo31 = std::uint64_t{1} << 31, kTwo32Plus1 = (std::uint64_t{1} << 32) + 1;

TokenBucket::Book bookOf(const Spec& spec) {
  TokenBucket::Book book;
  CHECK(book.add(spec).has_value());
  return book;
}

// From one a day to 10^9 a second; limits 2^31, 2^32 + 1 and 2^53 - 1; the longest windows there are.
const std::vector<Spec>& extremes() {
  static const std::vector<Spec> specs = {
      {1, kDay, 1},
      {1, kDay, 5},
      {1, kSecond, 1},
      {10, kSecond, 20},
      {7, 1'000'000'007, 11},
      {1009, kSecond, 1009},
      {1'000'000'000, kSecond, 1},
      {1'000'000'000, kSecond, 1'000'000'000},
      {1'000'000'000, kSecond, kMaxTokens},
      {kTwo31, 60 * kSecond, kTwo31},
      {kTwo31, kDay, kTwo31},
      {kTwo32Plus1, 60 * kSecond, kTwo32Plus1},
      {kTwo32Plus1, kYear, kTwo32Plus1},
      {kMaxTokens, kMaxTokens, kMaxTokens},
      {kMaxTokens, 120 * kDay, kMaxTokens},
      {kMaxTokens, 100 * kYear, kMaxTokens},
      {1, kHorizonNs, 1},
      {3, 7, 5},
  };
  return specs;
}

}  // namespace

TEST(a_script_of_charges) {
  const TokenBucket::Book book = bookOf({10, kSecond, 20});
  Key key(book);
  check::play(key, {
                       {0, Verb::kConsume, 0, kOk, 20},
                       {0, Verb::kConsume, 21, kTooCostly, 20, sluice::kNever},
                       {0, Verb::kConsume, 20, kOk, 0},
                       {0, Verb::kConsume, 0, kOk, 0},
                       {0, Verb::kConsume, 1, kLimited, 0, 100'000},
                       {0, Verb::kConsume, 20, kLimited, 0, 2'000'000},
                       {99'999, Verb::kConsume, 1, kLimited, 0, 1},
                       {100'000, Verb::kPeek, 1, kOk, 1},
                       {100'000, Verb::kConsume, 1, kOk, 0},
                       {1'150'000, Verb::kConsume, 11, kLimited, 10, 50'000},
                       {1'150'000, Verb::kConsume, 10, kOk, 0},
                       {1'200'000, Verb::kConsume, 1, kOk, 0},
                       {9'000'000, Verb::kConsume, 20, kOk, 0},
                   });
}

TEST(a_script_of_refunds_and_penalties) {
  const TokenBucket::Book book = bookOf({10, kSecond, 20});
  Key key(book);
  check::play(key, {
                       {0, Verb::kRefund, 5, 0, 20},  // a full bucket takes nothing
                       {0, Verb::kConsume, 20, kOk, 0},
                       {0, Verb::kRefund, 5, 5, 5},
                       {0, Verb::kRefund, 100, 15, 20},
                       {0, Verb::kConsume, 20, kOk, 0},
                       {50'000, Verb::kRefund, 20, 19, 20},  // half a token had refilled: 19.5 credited
                       {50'000, Verb::kPenalize, 3, 3, 17},
                       {50'000, Verb::kPenalize, 100, 17, 0},
                       {100'000, Verb::kPenalize, 1, 0, 0},  // the half token that was there is taken
                       {199'999, Verb::kConsume, 1, kLimited, 0, 1},
                       {200'000, Verb::kConsume, 1, kOk, 0},
                   });
}

TEST(a_refund_does_not_give_twice_what_has_refilled) {
  const TokenBucket::Book book = bookOf({10, kSecond, 20});
  for (const std::uint64_t ageMs : {0U, 100U, 200U, 350U, 1000U, 1999U, 2000U, 5000U}) {
    Key key(book);
    const std::uint64_t nowNs = 10 * kSecond, ageNs = ageMs * sluice::kNsPerMs;
    CHECK_EQ(key.allow(nowNs - ageNs, 20), Outcome::kAllowed);
    const std::uint64_t refilledHundredths = std::min<std::uint64_t>(ageMs, 2000);  // of a token
    CHECK_EQ(key.refund(nowNs, 20, ageNs), (2000 - refilledHundredths) / 100);
    CHECK_EQ(key.peek(nowNs).remaining, 20);
  }
}

TEST(a_refund_from_before_the_table_counts_all_of_its_age) {
  const TokenBucket::Book book = bookOf({10, kSecond, 20});
  Key key(book);
  CHECK_EQ(key.allow(kSecond, 20), Outcome::kAllowed);
  CHECK_EQ(key.refund(kSecond, 20, 2 * kSecond), 0);
  CHECK_EQ(key.refund(kSecond, 25, 2 * kSecond), 5);
  CHECK_EQ(key.refund(kSecond, kMaxTokens, kYear), 15);
}

TEST(a_charge_and_its_refund_leave_no_trace_at_any_time) {
  for (const Spec& spec : extremes()) {
    const TokenBucket::Book book = bookOf(spec);
    for (const std::uint64_t nowNs : {std::uint64_t{0}, std::uint64_t{1}, kSecond, kYear}) {
      Key key(book);
      CHECK_EQ(key.allow(nowNs, spec.burst), Outcome::kAllowed);
      CHECK_EQ(key.refund(nowNs, spec.burst), spec.burst);
      if (!CHECK_EQ(key.allow(nowNs, spec.burst), Outcome::kAllowed))
        check::note("limit, now:", spec.limit, nowNs);
    }
  }
}

TEST(costs_around_the_burst_at_every_extreme) {
  for (const Spec& spec : extremes()) {
    const TokenBucket::Book book = bookOf(spec);
    for (const std::uint64_t cost : {spec.burst - 1, spec.burst, spec.burst + 1}) {
      Key key(book);
      const Decision first = key.consume(kSecond, cost);
      CHECK_EQ(first.outcome, cost > spec.burst ? Outcome::kTooCostly : Outcome::kAllowed);
      CHECK_EQ(first.remaining, cost > spec.burst ? spec.burst : spec.burst - cost);
      if (cost > spec.burst) CHECK_EQ(first.retryAfterNs, sluice::kNever);
    }
  }
}

TEST(retry_is_exact_at_every_extreme) {
  for (const Spec& spec : extremes()) {
    const TokenBucket::Book book = bookOf(spec);
    for (const std::uint64_t nowNs : {std::uint64_t{0}, std::uint64_t{1}, kSecond + 1, kYear + 77}) {
      const std::uint64_t fullAfterNs =
          static_cast<std::uint64_t>(sluice::Uint128{spec.burst} * spec.windowNs / spec.limit);
      if (fullAfterNs > kHorizonNs - nowNs - 100) continue;
      Key key(book);
      CHECK_EQ(key.allow(nowNs, spec.burst), Outcome::kAllowed);
      for (const std::uint64_t cost : {std::uint64_t{1}, (spec.burst + 1) / 2, spec.burst}) {
        if (!key.retryIsExact(nowNs, cost))
          check::note("limit, windowNs, burst:", spec.limit, spec.windowNs, spec.burst);
      }
      CHECK_EQ(key.peek(nowNs, 0, spec.burst).resetAfterNs, key.peek(nowNs, 0, spec.burst).retryAfterNs);
    }
  }
}

// A token every so often: the error over many tokens stays below one unit (8 ns, or one token of the
// fastest).
TEST(rates_are_exact_in_the_long_run) {
  for (const Spec& spec : extremes()) {
    const TokenBucket::Book book = bookOf(spec);
    Key key(book);
    const std::uint64_t startNs = 12'345, tokens = std::min<std::uint64_t>(spec.burst, 1000);
    std::uint64_t nowNs = startNs, admitted = 0;
    CHECK_EQ(key.allow(nowNs, spec.burst), Outcome::kAllowed);
    for (; admitted < 1000 * tokens; admitted += tokens) {
      const std::uint64_t waitNs = key.peek(nowNs, 0, tokens).retryAfterNs;
      if (waitNs > kHorizonNs / 2 - nowNs) break;
      nowNs += waitNs;
      CHECK_EQ(key.allow(nowNs, tokens), Outcome::kAllowed);
    }
    if (admitted == 0) continue;
    const sluice::Uint128 exactNs = sluice::Uint128{admitted} * spec.windowNs / spec.limit;
    const std::uint64_t unitNs = spec.windowNs / (spec.limit * book[0].unitsPerToken) + 1;
    CHECK(nowNs - startNs + unitNs >= exactNs && nowNs - startNs <= exactNs + unitNs);
  }
}

TEST(a_step_back_within_the_tolerance_mints_nothing_and_heals_nothing) {
  const TokenBucket::Book book = bookOf({10, kSecond, 20});
  Key key(book);
  CHECK_EQ(key.allow(kDay, 20), Outcome::kAllowed);
  const sluice::Entry before = key.entry;
  CHECK_EQ(key.allow(kDay - 9 * kSecond, 1), Outcome::kLimited);
  CHECK(key.entry == before);
  CHECK_EQ(key.peek(kDay - 9 * kSecond).retryAfterNs, 9 * kSecond + kSecond / 10);
  CHECK_EQ(key.peek(kDay - 9 * kSecond).remaining, 0);
}

TEST(a_step_back_beyond_the_tolerance_heals_to_an_empty_bucket) {
  const TokenBucket::Book book = bookOf({10, kSecond, 20});
  for (const std::uint64_t stepNs : {11 * kSecond, 8 * kHour, 100 * kYear}) {
    Key key(book);
    CHECK_EQ(key.allow(101 * kYear, 20), Outcome::kAllowed);
    const std::uint64_t nowNs = 101 * kYear - stepNs;
    const Decision denied = key.consume(nowNs, 1);
    CHECK_EQ(denied.outcome, Outcome::kLimited);
    CHECK_EQ(denied.retryAfterNs, kSecond / 10);
    CHECK_EQ(denied.resetAfterNs, 2 * kSecond);
    CHECK_EQ(key.allow(nowNs + kSecond / 10 - 1, 1), Outcome::kLimited);
    CHECK_EQ(key.allow(nowNs + kSecond / 10, 1), Outcome::kAllowed);
  }
}

TEST(a_step_forward_refills_and_no_more) {
  for (const Spec& spec : extremes()) {
    const TokenBucket::Book book = bookOf(spec);
    for (const std::uint64_t stepNs : {11 * kSecond, 8 * kHour, 100 * kYear}) {
      Key key(book);
      CHECK_EQ(key.allow(kSecond, spec.burst), Outcome::kAllowed);
      const sluice::Uint128 refilled = sluice::Uint128{stepNs} * spec.limit / spec.windowNs;
      const std::uint64_t level = refilled > spec.burst ? spec.burst : static_cast<std::uint64_t>(refilled);
      const std::uint64_t remaining = key.peek(kSecond + stepNs).remaining;
      if (!CHECK(remaining >= level && remaining <= level + 1))
        check::note("limit, step:", spec.limit, stepNs);
    }
  }
}

// The payload has patterns that are no times: a full bucket, a claimed slot. A time that ends in one is moved
// by a unit.
TEST(no_moment_of_being_full_again_is_special) {
  const TokenBucket::Book book = bookOf({1'000'000'000, kSecond, 5});
  for (std::uint64_t wraps = 1; wraps <= 3; ++wraps) {
    const std::uint64_t wrapNs = wraps << sluice::kPayloadBits;
    for (std::uint64_t nowNs = wrapNs - 10; nowNs <= wrapNs + 10; ++nowNs) {
      Key key(book);
      CHECK_EQ(key.allow(nowNs, 5), Outcome::kAllowed);
      CHECK(key.peek(nowNs).remaining <= 1);
      CHECK_EQ(key.allow(nowNs, 2), Outcome::kLimited);
      CHECK_EQ(key.allow(nowNs + 6, 5), Outcome::kAllowed);
    }
  }
}

// Times of the fastest policies wrap: they heal within 78 hours, and are full beyond (token_bucket.h).
TEST(the_fastest_buckets_heal_after_steps_back_of_hours) {
  const Spec spec{1'000'000'000, kSecond, 1'000'000'000};
  const TokenBucket::Book book = bookOf(spec);
  for (const std::uint64_t stepNs : {11 * kSecond, 8 * kHour, 77 * kHour}) {
    for (const std::uint64_t nowNs : {kDay * 10, 37 * kYear, 100 * kYear}) {
      Key key(book);
      CHECK_EQ(key.allow(nowNs, spec.burst), Outcome::kAllowed);
      CHECK_EQ(key.allow(nowNs - stepNs, 1), Outcome::kLimited);
      CHECK_EQ(key.allow(nowNs - stepNs + 1, 1), Outcome::kAllowed);
    }
  }
}

// Whatever the state and however far the clock goes back: nothing minted, and nobody locked out for longer
// than a refill and the tolerance.
TEST(random_steps_back_neither_mint_nor_lock_out) {
  Random random = check::seeded("token bucket steps back", 1);
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const std::uint64_t windowNs = random.between(8, 8 + random.magnitude(kDay)),
                        limit = random.magnitude(windowNs / 8);
    const Spec spec{limit, windowNs, random.magnitude(1000)};
    const TokenBucket::Book book = bookOf(spec);
    Key key(book);
    const std::uint64_t beforeNs = random.between(100 * kDay, 100 * kYear),
                        afterNs = beforeNs - random.magnitude(100 * kDay);
    key.penalize(beforeNs, random.between(1, spec.burst));
    const std::uint64_t levelBefore = key.peek(beforeNs).remaining;
    const Decision after = key.consume(afterNs, spec.burst);
    const bool fine =
        CHECK(after.remaining <= levelBefore) && CHECK_EQ(after.outcome, Outcome::kLimited) &&
        CHECK(after.retryAfterNs <= spec.burst * windowNs / limit + sluice::kClockToleranceNs + 100);
    if (!fine) return check::note("limit, window, burst:", spec.limit, spec.windowNs, spec.burst);
  }
}

TEST(a_key_idle_for_a_century_is_full) {
  for (const Spec& spec : extremes()) {
    const TokenBucket::Book book = bookOf(spec);
    if (sluice::Uint128{spec.burst} * spec.windowNs / spec.limit > 20 * kYear) continue;
    for (const std::uint64_t idleNs : {25 * kYear, 60 * kYear, 100 * kYear, 140 * kYear}) {
      Key key(book);
      CHECK_EQ(key.allow(kSecond, spec.burst), Outcome::kAllowed);
      CHECK(!key.live(idleNs));
      CHECK_EQ(key.consume(idleNs, spec.burst).outcome, Outcome::kAllowed);
      CHECK(key.live(idleNs));
      CHECK_EQ(key.allow(idleNs, spec.burst), Outcome::kLimited);
      CHECK_EQ(Key(book).consume(idleNs, 1).remaining, spec.burst - 1);
    }
  }
}

TEST(time_stands_still_at_the_horizon_and_nothing_breaks) {
  const TokenBucket::Book book = bookOf({10, kSecond, 20});
  for (const std::uint64_t nowNs : {kHorizonNs - 1, kHorizonNs, kHorizonNs + 1, ~std::uint64_t{0}}) {
    Key key(book);
    CHECK_EQ(key.allow(kSecond, 20), Outcome::kAllowed);
    CHECK_EQ(key.consume(nowNs, 20).remaining, 0);
    CHECK_EQ(key.allow(nowNs, 1), Outcome::kLimited);
    CHECK_EQ(key.refund(nowNs, 20), 20);
  }
}

// Buckets in debt: what is charged above an estimate may go down to one capacity below empty.
#include "core/token_bucket.h"

#include "bucket_model.h"
#include "random.h"
#include "single_key.h"
#include "table_keys.h"

using check::craftedKey;
using check::Random;
using sluice::Decision;
using sluice::kHorizonNs;
using sluice::kMaxTokens;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::TokenBucket;
using sluice::Verdict;
using Spec = TokenBucket::Spec;
using Key = check::SingleKey<TokenBucket>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kHour = 3600 * kSecond, kDay = 24 * kHour;
constexpr std::uint64_t kYear = 36525 * kDay / 100;
constexpr std::uint64_t kAll = kMaxTokens;  // as much debt as there may be

TokenBucket::Book bookOf(const std::vector<Spec>& specs) {
  TokenBucket::Book book;
  for (const Spec& spec : specs) CHECK(book.add(spec).has_value());
  return book;
}

// What was reserved and turned out to be more: the difference is charged whether it is there or not.
std::uint64_t settleAbove(Key& key, std::uint64_t nowNs, std::uint64_t more, std::uint64_t maxDebt) {
  return more - key.penalize(nowNs, more, 0, maxDebt);
}

Spec randomSpec(Random& random) {
  Spec spec;
  while (!TokenBucket::makePolicy(spec)) {
    const std::uint64_t windowNs = random.magnitude(kDay);
    spec = {random.magnitude(windowNs), windowNs, random.magnitude(1'000'000)};
  }
  return spec;
}

}  // namespace

TEST(a_reservation_that_costs_more_is_paid_later) {
  const TokenBucket::Book book = bookOf({{10, kSecond, 20}});
  Key key(book);
  CHECK_EQ(key.allow(0, 15), Outcome::kAllowed);
  CHECK_EQ(settleAbove(key, 0, 12, kAll), 0);  // seven below empty
  const Decision denied = key.consume(0, 1);
  CHECK_EQ(denied.outcome, Outcome::kLimited);
  CHECK_EQ(denied.remaining, 0);
  CHECK_EQ(denied.retryAfterNs, 800 * kNsPerMs);
  CHECK_EQ(denied.resetAfterNs, 2700 * kNsPerMs);
  CHECK_EQ(key.consume(0, 20).retryAfterNs, 2700 * kNsPerMs);
  CHECK_EQ(key.consume(0, 21).outcome, Outcome::kTooCostly);
  CHECK(key.retryIsExact(0, 1) && key.retryIsExact(0, 20));
  CHECK_EQ(key.penalize(0, 5), 0);               // without debt there is nothing to take
  CHECK_EQ(settleAbove(key, 0, 5, 10), 2);       // three more are allowed
  CHECK_EQ(settleAbove(key, 0, 100, kAll), 90);  // the deepest: one capacity below empty
  CHECK_EQ(key.peek(0).resetAfterNs, 4 * kSecond);
  CHECK_EQ(key.refund(0, 25), 25);
  CHECK_EQ(key.peek(0).remaining, 5);
  CHECK_EQ(key.allow(0, 5), Outcome::kAllowed);
}

TEST(debts_are_exact_at_every_extreme) {
  const std::vector<Spec> extremes = {
      {1, kDay, 1},
      {7, 1'000'000'007, 11},
      {1'000'000'000, kSecond, 1},
      {1'000'000'000, kSecond, 1'000'000'000},
      {1'000'000'000, kSecond, kMaxTokens / 2},
      {kMaxTokens, 120 * kDay, kMaxTokens},
      {kMaxTokens, 50 * kYear, kMaxTokens},
      {1, kHorizonNs / 4, 1},
      {3, 7, 5},
  };
  for (const Spec& spec : extremes) {
    const TokenBucket::Book book = bookOf({spec});
    for (const std::uint64_t nowNs : {std::uint64_t{0}, std::uint64_t{1}, kSecond + 1, 36 * kYear + 77}) {
      Key key(book);
      CHECK_EQ(key.allow(nowNs, spec.burst), Outcome::kAllowed);
      CHECK_EQ(key.penalize(nowNs, kMaxTokens, 0, kAll), spec.burst);
      CHECK_EQ(key.penalize(nowNs, 1, 0, kAll), 0);
      const std::uint64_t refillNs = static_cast<std::uint64_t>(sluice::Uint128{spec.burst} * spec.windowNs /
                                                                spec.limit),
                          resetNs = key.peek(nowNs, 0, spec.burst).resetAfterNs;
      const bool fine = key.retryIsExact(nowNs, 1) && key.retryIsExact(nowNs, spec.burst) &&
                        CHECK(resetNs <= 2 * refillNs + 40 && resetNs + 40 >= 2 * refillNs) &&
                        CHECK_EQ(key.refund(nowNs, 2 * spec.burst), 2 * spec.burst) &&
                        CHECK_EQ(key.peek(nowNs).remaining, spec.burst);
      if (!fine) check::note("limit, window, burst, now:", spec.limit, spec.windowNs, spec.burst, nowNs);
    }
  }
}

// Refills of up to 146 years, twice: times still fit.
TEST(the_slowest_buckets_may_be_in_debt) {
  for (const Spec& spec :
       std::vector<Spec>{{1, kHorizonNs, 1}, {kMaxTokens, kHorizonNs, kMaxTokens}, {3, kHorizonNs, 3}}) {
    const TokenBucket::Book book = bookOf({spec});
    CHECK(!book[0].wraps);
    for (const std::uint64_t nowNs : {std::uint64_t{0}, kYear, 145 * kYear}) {
      Key key(book);
      CHECK_EQ(key.penalize(nowNs, kMaxTokens, 0, kAll), std::min(kMaxTokens, 2 * spec.burst));
      CHECK_EQ(key.peek(nowNs).outcome, Outcome::kLimited);
      CHECK_EQ(key.refund(nowNs, kMaxTokens), std::min(kMaxTokens, 2 * spec.burst));
      CHECK_EQ(key.peek(nowNs).remaining, spec.burst);
    }
  }
}

// Settling and charging at random never admits more than the rate and the burst, and what is owed is paid.
TEST(what_is_owed_is_never_forgiven) {
  Random random = check::seeded("debt bound", 1);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    const Spec spec = randomSpec(random);
    const TokenBucket::Book book = bookOf({spec});
    Key key(book);
    const std::uint64_t startNs = random.magnitude(kYear);
    std::uint64_t nowNs = startNs;
    sluice::Uint128 spent = 0;
    for (int call = 0; call < 60; ++call) {
      if (random.oneIn(2)) nowNs += random.magnitude(4 * spec.windowNs / spec.limit + 1);
      const std::uint64_t amount = random.magnitude(spec.burst);
      const bool admitted = key.allow(nowNs, amount) == Outcome::kAllowed;
      const sluice::Uint128 refilled = sluice::Uint128{nowNs - startNs + 20} * spec.limit / spec.windowNs + 1;
      if (admitted) spent += amount;
      if (admitted && !CHECK(spent <= spec.burst + refilled)) return check::note("iteration", i);
      if (random.oneIn(2)) spent += key.penalize(nowNs, amount, 0, random.magnitude(2 * spec.burst));
      if (!CHECK(spent <= 2 * spec.burst + refilled)) return check::note("iteration", i);
    }
  }
}

TEST(a_debt_is_no_future_and_a_future_is_no_debt) {
  const TokenBucket::Book book = bookOf({{10, kSecond, 100}});  // ten seconds to refill
  Key owing(book), empty(book);
  CHECK_EQ(owing.penalize(kDay, 200, 0, kAll), 200);
  CHECK_EQ(empty.penalize(kDay, 100), 100);
  // Within the tolerance nothing is touched.
  const sluice::Entry before = owing.entry;
  CHECK_EQ(owing.consume(kDay - 9 * kSecond, 1).retryAfterNs, 19 * kSecond + 100 * kNsPerMs);
  CHECK(owing.entry == before);
  // Beyond it, both are brought back to the worst they may be.
  for (const std::uint64_t stepNs : {11 * kSecond, 8 * kHour}) {
    Key first = owing, second = empty;
    const Decision owes = first.consume(kDay - stepNs, 1), waits = second.consume(kDay - stepNs, 1);
    CHECK_EQ(owes.retryAfterNs, 10 * kSecond + 100 * kNsPerMs);
    CHECK_EQ(owes.resetAfterNs, 20 * kSecond);
    CHECK_EQ(waits.retryAfterNs, 100 * kNsPerMs);
    CHECK_EQ(waits.resetAfterNs, 10 * kSecond);
    CHECK_EQ(first.consume(kDay - stepNs + 10 * kSecond, 1).retryAfterNs, 100 * kNsPerMs);
  }
}

TEST(a_debt_that_is_paid_leaves_no_trace) {
  const TokenBucket::Book book = bookOf({{10, kSecond, 20}});
  Key key(book), plain(book);
  CHECK_EQ(key.penalize(0, 30, 0, kAll), 30);
  const auto decided = [&](std::uint64_t nowNs) {
    return TokenBucket::chargeWithin(TokenBucket::frame(book, 0, nowNs, nowNs), key.entry, 1).kind;
  };
  CHECK(decided(0) == Verdict::Kind::kUnsure);
  CHECK(decided(1500 * kNsPerMs) == Verdict::Kind::kUnsure);
  CHECK_EQ(key.allow(1500 * kNsPerMs, 1), Outcome::kAllowed);  // five are there
  CHECK_EQ(plain.penalize(1500 * kNsPerMs, 16), 16);
  CHECK(key.entry == plain.entry);
  CHECK(decided(1500 * kNsPerMs) == Verdict::Kind::kAdmit);
}

TEST(a_debt_outlives_a_block) {
  const TokenBucket::Book book = bookOf({{10, kSecond, 20}});
  for (const std::uint64_t blockMs : {1U, 500U, 1000U, 1500U, 4000U, 5000U}) {
    Key key(book);
    CHECK_EQ(key.penalize(0, 40, 0, kAll), 40);
    key.block(0, blockMs * kNsPerMs);
    CHECK_EQ(key.consume(0, 1).outcome, Outcome::kBlocked);
    const std::uint64_t untilNs = blockMs * kNsPerMs, fullNs = 4 * kSecond;
    CHECK_EQ(key.peek(untilNs).remaining,
             blockMs < 2000 ? 0 : std::min<std::uint64_t>(20, (blockMs - 2000) / 100));
    // A block keeps 1/1024 token.
    const std::uint64_t resetNs = key.peek(untilNs).resetAfterNs,
                        exactNs = sluice::saturatingSub(fullNs, untilNs);
    CHECK(resetNs >= exactNs && resetNs <= exactNs + kNsPerMs);
  }
  Key key(book);
  key.block(0, kSecond);
  CHECK_EQ(key.penalize(0, 30, 0, 5), 25);  // counts at the block's end
  CHECK_EQ(key.peek(kSecond).retryAfterNs, 600 * kNsPerMs);
  CHECK_EQ(key.penalize(0, 100, 0, kAll), 15);
  CHECK_EQ(key.peek(kSecond).retryAfterNs, 2100 * kNsPerMs);
  CHECK_EQ(key.refund(0, 30), 30);
  CHECK_EQ(key.peek(kSecond).remaining, 10);
}

TEST(the_greatest_debt_outlives_a_block) {
  const TokenBucket::Book book = bookOf({{kMaxTokens, 120 * kDay, kMaxTokens}});
  Key key(book);
  CHECK_EQ(key.allow(0, kMaxTokens), Outcome::kAllowed);
  CHECK_EQ(key.penalize(0, kMaxTokens, 0, kAll), kMaxTokens);
  key.block(0, kNsPerMs);
  const std::uint64_t resetNs = key.peek(kNsPerMs).resetAfterNs;
  CHECK(resetNs <= 240 * kDay && resetNs >= 240 * kDay - 240 * kDay / 2048);
}

TEST(a_debt_is_tokens_in_every_tier) {
  const TokenBucket::Book book = bookOf({{10, kSecond, 20}, {100, kSecond, 100}});
  Key key(book);
  CHECK_EQ(key.penalize(0, 40, 0, kAll), 40);
  CHECK_EQ(key.peek(0, 1).remaining, 60);
  CHECK_EQ(key.penalize(0, 200, 1, kAll), 160);  // and drains as the other from here on
  CHECK_EQ(key.peek(0, 0).retryAfterNs, 1810 * kNsPerMs);
  CHECK_EQ(key.penalize(0, 1, 0, kAll), 0);
  CHECK_EQ(key.peek(kSecond, 1).remaining, 0);
  CHECK_EQ(key.peek(1010 * kNsPerMs, 1).remaining, 1);
  Random random = check::seeded("debt tiers", 2);
  for (int i = 0; i < check::scaled(50'000); ++i) {
    const TokenBucket::Book pair = bookOf({randomSpec(random), randomSpec(random)});
    Key moved(pair);
    const std::uint64_t nowNs = random.magnitude(kYear), cost = random.between(1, pair[1].burst);
    moved.penalize(nowNs, random.between(1, 2 * pair[0].burst), 0, random.magnitude(pair[0].burst));
    if (moved.peek(nowNs, 1, cost).outcome == Outcome::kLimited && !moved.retryIsExact(nowNs, cost, 1))
      return;
  }
}

// One token a day, so that nothing refills while one looks.
TEST(a_debt_is_kept_when_the_policy_changes) {
  const auto specOf = [](std::uint64_t burst) { return Spec{1, kDay, burst, 1}; };
  for (const std::uint64_t burst : {1U, 4U, 20U, 60U}) {
    const TokenBucket::Book book = bookOf({specOf(20), specOf(burst)});
    for (const std::uint64_t debt : {0U, 1U, 5U, 20U}) {
      Key key(book);
      CHECK_EQ(key.penalize(kSecond, 20 + debt, 0, kAll), 20 + debt);
      const std::uint64_t kept = std::min(debt, burst);
      CHECK_EQ(key.peek(kSecond, 1).remaining, 0);
      CHECK_EQ(key.consume(kSecond, 1, 1).outcome, Outcome::kLimited);  // which carries it over
      CHECK_EQ(key.peek(kSecond, 1).retryAfterNs, (kept + 1) * kDay);
      CHECK(key.retryIsExact(kSecond, burst, 1));
      CHECK_EQ(key.penalize(kSecond, 100, 1, kAll), burst - kept);
      CHECK_EQ(key.refund(kSecond, 2 * burst - 1, 0, 1), 2 * burst - 1);
      CHECK_EQ(key.peek(kSecond, 1).remaining, burst - 1);
    }
  }
}

TEST(who_owes_is_not_evicted_before_it_has_paid) {
  const TokenBucket::Book book = bookOf({{10, kSecond, 20}});
  Key key(book);
  CHECK_EQ(key.penalize(kSecond, 40, 0, kAll), 40);
  const sluice::Weight weight = TokenBucket::weigh(book, key.entry, kSecond);
  CHECK(weight.limiting);
  CHECK_EQ(weight.limitingUntilNs, kSecond + 2100 * kNsPerMs);
  CHECK(!TokenBucket::weigh(book, key.entry, weight.limitingUntilNs).limiting);
  CHECK(key.live(5 * kSecond - 1) && !key.live(5 * kSecond));
}

// Times of the fastest policies wrap every 36 years, and debts are told from futures there too.
TEST(debts_of_the_fastest_policies_cross_a_wrap) {
  constexpr std::uint64_t kBillion = 1'000'000'000, kWrapNs = std::uint64_t{1} << sluice::kPayloadBits;
  const TokenBucket::Book book = bookOf({{kBillion, kSecond, kDay}});
  for (const std::uint64_t startNs :
       {kHour, kWrapNs - kDay - kHour, kWrapNs - 5, 2 * kWrapNs - 2 * kDay + 7}) {
    Key key(book);
    CHECK_EQ(key.penalize(startNs, 2 * kDay, 0, kAll), 2 * kDay);
    CHECK(key.retryIsExact(startNs, 1) && key.retryIsExact(startNs, kDay));
    CHECK_EQ(key.consume(startNs + kDay, 1).retryAfterNs, 1);
    CHECK_EQ(key.peek(startNs + kDay + kHour).remaining, kHour);
    CHECK_EQ(key.peek(startNs + 2 * kDay).remaining, kDay);
  }
}

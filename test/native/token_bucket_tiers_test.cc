// Token buckets that move between tiers, and blocks laid on them.
#include "core/token_bucket.h"

#include "random.h"
#include "single_key.h"

using check::Random;
using sluice::Block;
using sluice::Decision;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::TokenBucket;
using sluice::Uint128;
using Spec = TokenBucket::Spec;
using Key = check::SingleKey<TokenBucket>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond;
constexpr std::uint32_t kFree = 0, kPaid = 1, kSlow = 2;

TokenBucket::Book bookOf(const std::vector<Spec>& specs) {
  TokenBucket::Book book;
  for (const Spec& spec : specs) CHECK(book.add(spec).has_value());
  return book;
}

TokenBucket::Book tiers() { return bookOf({{10, kSecond, 20}, {100, kSecond, 100}, {1, kSecond, 20}}); }

Spec randomSpec(Random& random, std::uint64_t windowNs) {
  return {random.magnitude(std::min<std::uint64_t>(windowNs, 1'000'000)), windowNs,
          random.magnitude(1'000'000)};
}

}  // namespace

TEST(what_was_spent_is_kept_in_another_tier) {
  const TokenBucket::Book book = tiers();
  Key key(book);
  CHECK_EQ(key.consume(kSecond, 15, kFree).remaining, 5);
  CHECK_EQ(key.peek(kSecond, kPaid).remaining, 85);
  CHECK_EQ(key.consume(kSecond, 80, kPaid).remaining, 5);
  CHECK_EQ(key.peek(kSecond, kFree).remaining, 0);  // 95 of 20 are spent
  CHECK_EQ(key.peek(kSecond, kFree).outcome, Outcome::kLimited);
}

TEST(a_bucket_refills_at_the_rate_of_the_tier_it_was_last_admitted_in) {
  const TokenBucket::Book book = tiers();
  Key key(book);
  CHECK_EQ(key.allow(0, 20, kSlow), Outcome::kAllowed);
  CHECK_EQ(key.peek(5 * kSecond, kFree).remaining, 5);  // five seconds at one a second
  CHECK_EQ(key.peek(5 * kSecond, kPaid).remaining, 85);
  CHECK_EQ(key.allow(5 * kSecond, 1, kPaid), Outcome::kAllowed);
  CHECK_EQ(key.peek(5 * kSecond + kSecond / 10, kSlow).remaining, 14);  // a tenth of a second at 100 a second
}

TEST(a_denied_call_does_not_move_a_key) {
  const TokenBucket::Book book = tiers();
  Key key(book);
  CHECK_EQ(key.allow(0, 20, kSlow), Outcome::kAllowed);
  const sluice::Entry before = key.entry;
  CHECK_EQ(key.allow(0, 1, kFree), Outcome::kLimited);
  CHECK_EQ(key.allow(0, 81, kPaid), Outcome::kLimited);
  CHECK_EQ(key.allow(0, 101, kPaid), Outcome::kTooCostly);
  CHECK_EQ(key.allow(0, 0, kPaid), Outcome::kAllowed);
  CHECK(key.entry == before);
  CHECK_EQ(key.peek(kSecond, kSlow).remaining, 1);
}

TEST(a_wait_in_another_tier_is_exact) {
  const TokenBucket::Book book = tiers();
  Key key(book);
  CHECK_EQ(key.allow(0, 95, kPaid), Outcome::kAllowed);
  CHECK_EQ(key.peek(0, kFree).retryAfterNs, kSecond * 76 / 100);  // 76 of the 95 must refill, at 100 a second
  CHECK(key.retryIsExact(0, 1, kFree) && key.retryIsExact(0, 20, kFree) && key.retryIsExact(0, 20, kSlow));
  Random random = check::seeded("bucket tiers waits", 1);
  for (int i = 0; i < check::scaled(100'000); ++i) {
    const TokenBucket::Book pair = bookOf({randomSpec(random, random.magnitude(3600 * kSecond)),
                                           randomSpec(random, random.magnitude(3600 * kSecond))});
    Key moved(pair);
    const std::uint64_t nowNs = random.below(1000 * kSecond), cost = random.between(1, pair[1].burst);
    moved.penalize(nowNs, random.between(1, pair[0].burst), 0);
    if (moved.peek(nowNs, 1, cost).outcome == Outcome::kLimited && !moved.retryIsExact(nowNs, cost, 1))
      return;
  }
}

// Moving to and fro loses at most one unit (8 ns, or one token of the fastest) at each move, and never mints.
TEST(moving_between_tiers_mints_nothing) {
  Random random = check::seeded("bucket tiers moves", 2);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    const std::uint64_t windowNs = random.between(1, 3600) * kSecond;
    const TokenBucket::Book book =
        bookOf({randomSpec(random, windowNs), randomSpec(random, windowNs), randomSpec(random, windowNs)});
    Key key(book);
    std::uint64_t spent = 0;
    for (int call = 0; call < 20; ++call) {  // at one moment: nothing refills
      const auto tier = static_cast<std::uint32_t>(random.below(3));
      const std::uint64_t cost = random.between(1, book[tier].burst);
      const Outcome outcome = key.allow(kSecond, cost, tier);
      if (outcome == Outcome::kAllowed) spent += cost;
      if (outcome == Outcome::kAllowed && !CHECK(spent <= book[tier].burst)) return;
      if (outcome == Outcome::kLimited && !CHECK(spent + cost + 1 > book[tier].burst)) return;
      for (std::uint32_t other = 0; other < 3; ++other) {
        const std::uint64_t exact = sluice::saturatingSub(book[other].burst, spent),
                            remaining = key.peek(kSecond, other).remaining;
        if (!CHECK(remaining <= exact && remaining + 1 >= exact)) return check::note("iteration", i);
      }
    }
  }
}

TEST(a_block_denies_until_its_end_and_not_longer) {
  const TokenBucket::Book book = tiers();
  Key key(book);
  key.block(kSecond, 5 * kSecond);
  for (const std::uint64_t nowNs : {kSecond, 5 * kSecond - 1}) {
    const Decision denied = key.consume(nowNs, 1);
    CHECK_EQ(denied.outcome, Outcome::kBlocked);
    CHECK_EQ(denied.remaining, 0);
    CHECK_EQ(denied.retryAfterNs, 5 * kSecond - nowNs);
    CHECK_EQ(key.allow(nowNs, 0), Outcome::kBlocked);
    CHECK_EQ(key.allow(nowNs, 21), Outcome::kBlocked);
    CHECK(key.live(nowNs));
  }
  CHECK(!key.live(5 * kSecond));
  CHECK_EQ(key.consume(5 * kSecond, 20).outcome, Outcome::kAllowed);
  CHECK_EQ(key.peek(5 * kSecond).remaining, 0);
}

TEST(a_block_ends_at_the_next_whole_millisecond) {
  const TokenBucket::Book book = tiers();
  Key key(book);
  key.block(0, 10 * kNsPerMs + 1);
  CHECK_EQ(key.allow(11 * kNsPerMs - 1, 1), Outcome::kBlocked);
  CHECK_EQ(key.allow(11 * kNsPerMs, 1), Outcome::kAllowed);
}

TEST(a_block_is_never_shortened_but_may_be_extended) {
  const TokenBucket::Book book = tiers();
  Key key(book);
  key.block(0, 10 * kSecond);
  key.block(0, 3 * kSecond);
  CHECK_EQ(key.peek(0).retryAfterNs, 10 * kSecond);
  key.block(kSecond, 12 * kSecond);
  CHECK_EQ(key.peek(kSecond).retryAfterNs, 11 * kSecond);
}

TEST(a_bucket_refills_while_it_is_blocked) {
  const TokenBucket::Book book = tiers();
  for (const std::uint64_t blockMs : {0U, 1U, 500U, 1000U, 2000U, 3000U}) {
    Key key(book);
    CHECK_EQ(key.allow(0, 20), Outcome::kAllowed);
    key.block(0, blockMs * kNsPerMs);
    CHECK_EQ(key.peek(blockMs * kNsPerMs).remaining, std::min<std::uint64_t>(blockMs / 100, 20));
  }
}

TEST(a_block_keeps_the_tier_that_drains_the_bucket) {
  const TokenBucket::Book book = tiers();
  Key key(book);
  CHECK_EQ(key.allow(0, 10, kSlow), Outcome::kAllowed);
  key.block(0, kSecond, kPaid);
  CHECK_EQ(key.peek(3 * kSecond, kSlow).remaining, 13);
  CHECK_EQ(key.peek(3 * kSecond, kFree).remaining, 13);
  CHECK_EQ(key.peek(3 * kSecond, kPaid).remaining, 93);
}

TEST(refunds_and_penalties_during_a_block_count_at_its_end) {
  const TokenBucket::Book book = tiers();
  Key key(book);
  CHECK_EQ(key.allow(0, 20), Outcome::kAllowed);
  key.block(0, kSecond);  // ten will be missing at its end
  CHECK_EQ(key.refund(0, 4), 4);
  CHECK_EQ(key.peek(kSecond).remaining, 14);
  CHECK_EQ(key.penalize(0, 3), 3);
  CHECK_EQ(key.peek(kSecond).remaining, 11);
  CHECK_EQ(key.penalize(0, 100), 11);
  CHECK_EQ(key.refund(0, 100), 20);
  CHECK_EQ(key.peek(kSecond).remaining, 20);
  CHECK_EQ(key.peek(0).outcome, Outcome::kBlocked);
}

TEST(after_a_block_a_refund_credits_only_what_is_missing) {
  const TokenBucket::Book book = tiers();
  Key key(book);
  CHECK_EQ(key.allow(0, 20), Outcome::kAllowed);
  key.block(0, kNsPerMs);
  CHECK_EQ(key.refund(kSecond, 15), 10);
  CHECK_EQ(key.peek(kSecond).remaining, 20);
}

// What is missing at a block's end is rounded up, by as much as block.h says and a unit.
TEST(random_blocks_round_within_their_bounds) {
  Random random = check::seeded("bucket blocks", 3);
  for (int i = 0; i < check::scaled(300'000); ++i) {
    const Spec spec = randomSpec(random, random.between(1, 3600) * kSecond);
    const TokenBucket::Book book = bookOf({spec});
    Key key(book);
    const std::uint64_t nowNs = random.below(1000) * kNsPerMs,
                        untilNs = nowNs + random.magnitude(1'000'000) * kNsPerMs;
    const std::uint64_t tokens = random.between(1, spec.burst);
    key.penalize(nowNs, tokens);
    Key unblocked = key;
    key.block(nowNs, untilNs);
    if (!CHECK_EQ(key.allow(untilNs - 1, 1), Outcome::kBlocked)) return;
    const std::uint64_t exact = unblocked.peek(untilNs).remaining, kept = key.peek(untilNs).remaining;
    const std::uint64_t missing = spec.burst - exact;
    const bool fine = CHECK(kept <= exact) && CHECK(kept + missing / 2048 + 2 >= exact) &&
                      CHECK(missing > 3 || exact <= kept + 1);
    if (!fine)
      return check::note("limit, windowNs, burst, tokens, until:", spec.limit, spec.windowNs, spec.burst,
                         tokens, untilNs);
  }
}

TEST(a_block_survives_clock_steps) {
  const TokenBucket::Book book = tiers();
  const std::uint64_t day = 86'400 * kSecond;
  for (const std::uint64_t stepNs : {11 * kSecond, 28'800 * kSecond, 36'525 * day}) {
    Key key(book);
    const std::uint64_t startNs = 36'600 * day;
    key.block(startNs, startNs + kSecond);
    CHECK_EQ(key.allow(startNs - stepNs, 1), Outcome::kBlocked);
    CHECK_EQ(key.allow(startNs, 1), Outcome::kBlocked);
    CHECK_EQ(key.allow(startNs + stepNs, 1), Outcome::kAllowed);
  }
}

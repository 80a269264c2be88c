// Windows in debt: what is charged above an estimate may count up to the limit once again; and windows whose
// calls are told when to go out.
#include "core/fixed_window.h"

#include "random.h"
#include "single_key.h"

using check::Random;
using sluice::Decision;
using sluice::FixedWindow;
using sluice::kMaxTokens;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::PolicySpec;
using sluice::Uint128;
using Align = FixedWindow::Align;
using Key = check::SingleKey<FixedWindow>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond, kYear = 36525 * kDay / 100;
constexpr std::uint64_t kAll = kMaxTokens;  // as much debt as there may be

FixedWindow::Book bookOf(std::uint64_t windowNs, const PolicySpec& spec, Align align = Align::kFirstRequest) {
  auto book = FixedWindow::Book::make(windowNs, spec.limit, align);
  CHECK(book.has_value() && book->add(spec).has_value());
  return *book;
}

PolicySpec evenly(std::uint64_t limit) {
  PolicySpec spec{limit};
  spec.evenly = 1;
  return spec;
}

}  // namespace

TEST(a_debt_counts_until_the_window_is_over) {
  const FixedWindow::Book book = bookOf(kSecond, {10});
  Key key(book);
  CHECK_EQ(key.allow(0, 8), Outcome::kAllowed);
  CHECK_EQ(key.penalize(0, 5), 2);
  CHECK_EQ(key.penalize(0, 5, 0, 3), 3);
  CHECK_EQ(key.penalize(0, 5, 0, 3), 0);
  CHECK_EQ(key.penalize(0, 50, 0, kAll), 7);
  const Decision denied = key.consume(kSecond / 2, 1);
  CHECK_EQ(denied.outcome, Outcome::kLimited);
  CHECK_EQ(denied.remaining, 0);
  CHECK_EQ(denied.retryAfterNs, kSecond / 2);
  CHECK(key.retryIsExact(0, 10));
  CHECK_EQ(key.refund(0, 9), 9);
  CHECK_EQ(key.peek(0).outcome, Outcome::kLimited);
  CHECK_EQ(key.refund(0, 2), 2);
  CHECK_EQ(key.peek(0).remaining, 1);
  CHECK_EQ(key.peek(kSecond).remaining, 10);
}

TEST(debts_of_every_size_fit) {
  for (const std::uint64_t limit :
       {std::uint64_t{1}, std::uint64_t{65'535}, std::uint64_t{65'536}, std::uint64_t{1} << 31,
        (std::uint64_t{1} << 52) - 1, std::uint64_t{1} << 52, kMaxTokens}) {
    const FixedWindow::Book book = bookOf(kYear, {limit});
    CHECK(book.maxCount() >= limit);
    for (std::uint64_t nowNs = 0; nowNs < 10 * kYear; nowNs += kYear / 7) {
      Key key(book);
      CHECK_EQ(key.penalize(nowNs, limit, 0, 0), limit);
      CHECK_EQ(key.penalize(nowNs, kMaxTokens, 0, kAll), limit);
      CHECK_EQ(key.penalize(nowNs, 1, 0, kAll), 0);
      CHECK_EQ(key.refund(nowNs, limit), limit);
      CHECK_EQ(key.peek(nowNs).remaining, 0);
      if (!CHECK_EQ(key.refund(nowNs, 1), 1) || !CHECK_EQ(key.peek(nowNs).remaining, 1))
        return check::note("limit, now:", limit, nowNs);
    }
  }
}

TEST(the_greatest_tier_of_a_table_may_be_in_debt) {
  FixedWindow::Book book = *FixedWindow::Book::make(kSecond, 10, Align::kEpoch);
  CHECK_EQ(book.maxCount(), 65'535);
  CHECK(book.add({book.maxCount()}).has_value() && !book.add({book.maxCount() + 1}).has_value());
  Key key(book);
  CHECK_EQ(key.penalize(0, kAll, 0, kAll), 2 * book.maxCount());
  CHECK_EQ(key.refund(0, 2 * book.maxCount()), 2 * book.maxCount());
}

TEST(a_debt_outlives_a_block) {
  for (const std::uint64_t limit : {std::uint64_t{10}, std::uint64_t{1'000'000}, kMaxTokens}) {
    const FixedWindow::Book book = bookOf(kYear, {limit}, Align::kEpoch);
    Key key(book);
    CHECK_EQ(key.penalize(0, limit, 0, 0), limit);
    CHECK_EQ(key.penalize(0, limit, 0, kAll), limit);
    key.block(0, kSecond);
    CHECK_EQ(key.peek(kSecond - 1).outcome, Outcome::kBlocked);
    CHECK_EQ(key.peek(kSecond).outcome, Outcome::kLimited);
    const std::uint64_t owed = key.refund(kSecond, 2 * kMaxTokens);
    // Rounded up, unless that is more than a block can hold.
    CHECK(owed >= 2 * limit - limit / 2048 && owed <= 2 * limit + limit / 1024);
  }
  const FixedWindow::Book book = bookOf(kSecond, {10});
  Key key(book);
  key.block(0, kSecond);
  CHECK_EQ(key.penalize(0, 100, 0, 4), 14);
  CHECK_EQ(key.refund(kSecond, 4), 4);
  CHECK_EQ(key.peek(kSecond).outcome, Outcome::kLimited);
  CHECK_EQ(key.refund(kSecond, 1), 1);
  CHECK_EQ(key.peek(kSecond).remaining, 1);
}

TEST(a_step_back_keeps_a_debt_for_one_window) {
  const FixedWindow::Book book = bookOf(kSecond, {10});
  Key key(book);
  CHECK_EQ(key.penalize(kDay, 15, 0, kAll), 15);
  CHECK_EQ(key.consume(kSecond, 1).retryAfterNs, kSecond);
  CHECK_EQ(key.refund(kSecond, 5), 5);
  CHECK_EQ(key.peek(kSecond).remaining, 0);
  CHECK_EQ(key.peek(2 * kSecond).remaining, 10);
}

TEST(who_owes_is_at_its_limit) {
  const FixedWindow::Book book = bookOf(kSecond, {10});
  Key key(book);
  CHECK_EQ(key.penalize(kSecond, 15, 0, kAll), 15);
  CHECK(FixedWindow::weigh(book, key.entry, kSecond).limiting);
  CHECK_EQ(FixedWindow::weigh(book, key.entry, kSecond).limitingUntilNs, 2 * kSecond);
}

TEST(every_token_leaves_at_its_share_of_the_window) {
  const FixedWindow::Book book = bookOf(kSecond, evenly(10)), plain = bookOf(kSecond, {10});
  Key key(book), other(plain);
  CHECK_EQ(key.peek(kSecond).delayNs, 0);
  CHECK_EQ(key.consume(kSecond, 1).delayNs, 0);
  CHECK_EQ(key.consume(kSecond, 3).delayNs, 100 * kNsPerMs);
  CHECK_EQ(key.consume(kSecond, 1).delayNs, 400 * kNsPerMs);
  CHECK_EQ(key.peek(kSecond).delayNs, 500 * kNsPerMs);
  CHECK_EQ(key.consume(kSecond + 450 * kNsPerMs, 1).delayNs, 50 * kNsPerMs);
  CHECK_EQ(key.consume(kSecond + 900 * kNsPerMs, 1).delayNs, 0);
  CHECK_EQ(key.consume(kSecond + 900 * kNsPerMs, 4).delayNs, 0);  // refused
  CHECK_EQ(key.consume(kSecond + 900 * kNsPerMs, 11).delayNs, 0);
  CHECK_EQ(other.consume(kSecond, 1).delayNs, 0);
  CHECK_EQ(other.consume(kSecond, 1).delayNs, 0);
}

TEST(a_window_of_the_epoch_has_begun_before_its_first_call) {
  const FixedWindow::Book book = bookOf(kSecond, evenly(10), Align::kEpoch);
  Key key(book);
  CHECK_EQ(key.consume(kSecond + 350 * kNsPerMs, 4).delayNs, 0);
  CHECK_EQ(key.consume(kSecond + 350 * kNsPerMs, 1).delayNs, 50 * kNsPerMs);
}

// Whatever the window and the limit: a token never leaves before its share, never later than the next
// nanosecond after it unless it was asked for later, and within its window.
TEST(shares_are_exact) {
  Random random = check::seeded("window shares", 1);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    const std::uint64_t windowNs = random.magnitude(366 * kDay),
                        limit = random.magnitude(std::min(windowNs, kMaxTokens)),
                        first = random.magnitude(kYear);
    const FixedWindow::Book book = bookOf(windowNs, evenly(limit), Align::kEpoch);
    Key key(book);
    const std::uint64_t startNs = first / windowNs * windowNs;
    std::uint64_t nowNs = first, before = 0;
    for (int call = 0; call < 20 && before < limit; ++call) {
      nowNs = random.between(nowNs, startNs + windowNs - 1);
      const std::uint64_t cost = random.oneIn(2) ? 1 : random.between(1, limit - before);
      const Decision decision = key.consume(nowNs, cost);
      const std::uint64_t outNs = nowNs + decision.delayNs;
      // outNs >= startNs + before * windowNs / limit, multiplied out.
      const Uint128 out = Uint128{outNs - startNs} * limit, share = Uint128{before} * windowNs;
      const bool fine = CHECK_EQ(decision.outcome, Outcome::kAllowed) && CHECK(out >= share) &&
                        CHECK(decision.delayNs == 0 || out - share < limit) &&
                        CHECK(outNs < startNs + windowNs);
      if (!fine) return check::note("window, limit, now, before:", windowNs, limit, nowNs, before);
      before += cost;
    }
  }
}

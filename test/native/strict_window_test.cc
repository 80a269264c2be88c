// The strict window, by example: costs, refunds, penalties, debts, blocks, clock steps, limits of every size.
#include "core/strict_window.h"

#include "sub_window_model.h"
#include "wide_checks.h"

using check::bookOf;
using check::kLimited;
using check::kOk;
using check::kTooCostly;
using check::Random;
using check::SubWindowModel;
using check::Verb;
using sluice::Decision;
using sluice::kHorizonNs;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::StrictWindow;
using Book = StrictWindow::Book;
using Key = check::SingleKey<StrictWindow>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond, kYear = 36525 * kDay / 100;
constexpr std::uint64_t kTwo31 = std::uint64_t{1} << 31;

Book book(std::uint64_t windowNs, const std::vector<std::uint64_t>& limits) {
  return bookOf<StrictWindow>(windowNs, limits);
}

struct Size {
  std::uint64_t windowNs, limit;
};
const std::vector<Size>& extremes() {
  static const std::vector<Size> sizes = {
      {12, 1},
      {13, 3},
      {100, 100},
      {1000, 1},
      {kNsPerMs, kTwo31},
      {kSecond, 1},
      {kSecond, 1000},
      {kDay, 1},
      {60 * kSecond, kTwo31},
      {kYear, kTwo31},
      {kHorizonNs / 8, 1},
      {kHorizonNs / 8, kTwo31},
  };
  return sizes;
}

}  // namespace

TEST(a_script_of_charges) {
  const Book policies = book(1200 * kNsPerMs, {10});  // sub-windows of 100 ms
  Key key(policies);
  check::play(key, {
                       {1'000'000, Verb::kConsume, 0, kOk, 10},
                       {1'000'000, Verb::kConsume, 11, kTooCostly, 10, sluice::kNever},
                       {1'050'000, Verb::kConsume, 6, kOk, 4},  // counts until 2.3 s
                       {1'100'000, Verb::kConsume, 3, kOk, 1},  // until 2.4 s
                       {1'199'999, Verb::kConsume, 2, kLimited, 1, 1'100'001},
                       {1'199'999, Verb::kConsume, 7, kLimited, 1, 1'100'001},
                       {1'199'999, Verb::kConsume, 8, kLimited, 1, 1'200'001},
                       {2'000'000, Verb::kConsume, 1, kOk, 0},
                       {2'299'999, Verb::kConsume, 1, kLimited, 0, 1},
                       {2'300'000, Verb::kConsume, 6, kOk, 0},
                       {2'300'000, Verb::kConsume, 10, kLimited, 0, 1'300'000},
                       {2'400'000, Verb::kPeek, 3, kOk, 3},
                       {3'600'000, Verb::kConsume, 10, kOk, 0},
                       {4'899'999, Verb::kConsume, 1, kLimited, 0, 1},
                       {4'900'000, Verb::kConsume, 10, kOk, 0},
                   });
  CHECK_EQ(key.peek(4'950'000'000).resetAfterNs, 1'250'000'000);
}

TEST(a_script_of_refunds_and_penalties) {
  const Book policies = book(1200 * kNsPerMs, {10});
  Key key(policies);
  check::play(key, {
                       {0, Verb::kRefund, 5, 0, 10},
                       {0, Verb::kConsume, 8, kOk, 2},
                       {99'999, Verb::kRefund, 3, 3, 5},
                       {100'000, Verb::kRefund, 3, 0, 5},  // nothing was charged in this sub-window
                       {100'000, Verb::kPenalize, 2, 2, 3},
                       {200'000, Verb::kPenalize, 9, 3, 0},
                       {200'000, Verb::kPenalize, 1, 0, 0},
                       {1'300'000, Verb::kPeek, 1, kOk, 5},
                   });
  const std::uint64_t nowNs = 1'300 * kNsPerMs;
  CHECK_EQ(key.refund(nowNs, 9, 1'300 * kNsPerMs), 0);  // it counts no more
  CHECK_EQ(key.refund(nowNs, 9, nowNs + 1), 0);
  CHECK_EQ(key.refund(nowNs, 9, 1'200 * kNsPerMs), 2);
  CHECK_EQ(key.refund(nowNs, 1, 1'050 * kNsPerMs), 1);
  CHECK_EQ(key.peek(nowNs).remaining, 8);
}

TEST(costs_around_the_limit_at_every_extreme) {
  for (const Size& size : extremes()) {
    const Book policies = book(size.windowNs, {size.limit});
    for (const std::uint64_t cost : {size.limit - 1, size.limit, size.limit + 1}) {
      Key key(policies);
      const Decision first = key.consume(kSecond, cost);
      CHECK_EQ(first.outcome, cost > size.limit ? Outcome::kTooCostly : Outcome::kAllowed);
      CHECK_EQ(first.remaining, cost > size.limit ? size.limit : size.limit - cost);
      if (cost != size.limit) continue;
      const Decision denied = key.consume(kSecond, 1);
      const bool inRange = CHECK(denied.retryAfterNs > size.windowNs - 1) &&
                           CHECK(denied.retryAfterNs <= size.windowNs + size.windowNs / 12 + 2);
      if (!inRange || !key.retryIsExact(kSecond, 1)) check::note("window, limit:", size.windowNs, size.limit);
    }
  }
}

TEST(a_debt_is_paid_before_anything_is_admitted) {
  const std::uint64_t windowNs = 1200 * kNsPerMs;
  for (const std::uint64_t limit : {std::uint64_t{1}, std::uint64_t{10}, kTwo31 - 1}) {
    const Book policies = book(windowNs, {limit});
    const auto charged = StrictWindow::charge(policies, 0, {}, 0, limit).next;
    CHECK_EQ(StrictWindow::penalize(policies, 0, charged, 0, 5).amount, 0);
    CHECK_EQ(StrictWindow::penalize(policies, 0, charged, 0, 5 * limit, limit / 2).amount, limit / 2);
    Key key(policies);
    const auto step = StrictWindow::penalize(policies, 0, charged, 100 * kNsPerMs, 5 * limit, 3 * limit);
    CHECK_EQ(step.amount, limit);
    key.entry = step.next;
    const Decision denied = key.consume(100 * kNsPerMs, 1);
    CHECK_EQ(denied.outcome, Outcome::kLimited);
    CHECK_EQ(denied.remaining, 0);
    CHECK_EQ(denied.retryAfterNs, 1300 * kNsPerMs);  // the first sub-window's end is not enough
    CHECK(key.retryIsExact(100 * kNsPerMs, 1));
    CHECK_EQ(key.refund(100 * kNsPerMs, limit, 0), limit);
    CHECK_EQ(key.peek(100 * kNsPerMs).retryAfterNs, 1200 * kNsPerMs);
  }
  // As far as can be counted: two less than twice the greatest limit.
  const Book greatest = book(windowNs, {kTwo31});
  const auto full = StrictWindow::charge(greatest, 0, {}, 0, kTwo31).next;
  const auto deepest = StrictWindow::penalize(greatest, 0, full, 0, kTwo31, kTwo31);
  CHECK_EQ(deepest.amount, kTwo31 - 2);
  CHECK_EQ(StrictWindow::penalize(greatest, 0, deepest.next, 0, 1, kTwo31).amount, 0);
  CHECK_EQ(StrictWindow::charge(greatest, 0, deepest.next, 0, 1).outcome, Outcome::kLimited);
}

TEST(blocks_lie_beside_what_was_spent) { check::blocksLieBesideWhatWasSpent<StrictWindow>(); }

TEST(who_comes_late_counts_in_the_newest_sub_window) {
  const Book policies = book(1200 * kNsPerMs, {10});
  Key key(policies);
  CHECK_EQ(key.consume(5 * kSecond, 4).remaining, 6);
  CHECK_EQ(key.consume(5 * kSecond - 250 * kNsPerMs, 4).remaining, 2);
  CHECK_EQ(key.allow(5 * kSecond - 9 * kSecond / 2, 3), Outcome::kLimited);
  CHECK(key.retryIsExact(5 * kSecond - 250 * kNsPerMs, 3));
  CHECK_EQ(key.peek(5 * kSecond + 1299 * kNsPerMs).remaining, 2);
  CHECK_EQ(key.peek(5 * kSecond + 1300 * kNsPerMs).remaining, 10);
  // And gives back what it has just been charged, but not what others were.
  CHECK_EQ(key.refund(5 * kSecond - 250 * kNsPerMs, 1, 0), 1);
  CHECK_EQ(key.refund(5 * kSecond - 250 * kNsPerMs, 1, 100 * kNsPerMs), 0);
}

TEST(an_impossible_future_is_brought_back_with_its_counts) {
  const Book policies = book(1200 * kNsPerMs, {10});
  const std::uint64_t writtenNs = 1000 * kSecond, toleranceNs = sluice::kClockToleranceNs;
  Key key(policies);
  CHECK_EQ(key.allow(writtenNs - 300 * kNsPerMs, 3), Outcome::kAllowed);
  CHECK_EQ(key.allow(writtenNs, 5), Outcome::kAllowed);
  CHECK(!StrictWindow::charge(policies, 0, key.entry, writtenNs - toleranceNs, 1).fromFuture);
  const std::uint64_t nowNs = writtenNs - toleranceNs - kSecond;
  for (const std::uint64_t cost : {0U, 2U, 3U}) {
    const auto step = StrictWindow::charge(policies, 0, key.entry, nowNs, cost);
    CHECK(step.fromFuture && step.write);
    CHECK_EQ(StrictWindow::describe(policies, 0, step.next, nowNs, 0, Outcome::kAllowed).remaining,
             cost == 2 ? 0 : 2);
  }
  CHECK(StrictWindow::refund(policies, 0, key.entry, nowNs, 1, 0).fromFuture);
  CHECK(StrictWindow::penalize(policies, 0, key.entry, nowNs, 1).fromFuture);
  CHECK(StrictWindow::block(policies, 0, key.entry, nowNs, nowNs + 1).fromFuture);
  CHECK_EQ(key.allow(nowNs, 3), Outcome::kLimited);
  CHECK_EQ(key.peek(nowNs + 999 * kNsPerMs).remaining, 2);  // each as old as it was
  CHECK_EQ(key.peek(nowNs + 1000 * kNsPerMs).remaining, 5);
  CHECK_EQ(key.peek(nowNs + 1300 * kNsPerMs).remaining, 10);
}

TEST(tiers_share_the_counts) {
  const Book policies = book(kSecond, {10, 100});
  Key key(policies);
  CHECK_EQ(key.consume(0, 8, 0).remaining, 2);
  CHECK_EQ(key.consume(0, 50, 1).remaining, 42);
  CHECK_EQ(key.peek(0, 0).remaining, 0);
  CHECK(key.retryIsExact(0, 1, 0));
  CHECK_EQ(key.penalize(0, 5, 0), 0);
  CHECK_EQ(key.refund(0, 55), 55);
  CHECK_EQ(key.peek(0, 0).remaining, 7);
}

// Says the same about what was spent and when, now and later.
static bool saysTheSame(const Key& a, const Key& b, std::uint64_t nowNs, std::uint64_t windowNs) {
  for (const std::uint64_t laterNs : {nowNs, nowNs + windowNs / 12, nowNs + windowNs / 2, nowNs + windowNs}) {
    const sluice::Decision one = a.peek(laterNs, 0, 5), other = b.peek(laterNs, 0, 5);
    if (!CHECK_EQ(one.remaining, other.remaining) || !CHECK_EQ(one.retryAfterNs, other.retryAfterNs) ||
        !CHECK_EQ(one.resetAfterNs, other.resetAfterNs))
      return false;
  }
  return true;
}

// Charges decided from the payload alone come out as they do at every time within the frame, and what they
// leave means the same, however they are mixed with those that change the words.
TEST(a_frame_decides_as_every_time_within) {
  Random random = check::seeded("strict frames", 4);
  int admitted = 0, refused = 0, unsure = 0;
  for (int i = 0; i < check::scaled(30'000); ++i) {
    const std::uint64_t windowNs = 12 + random.magnitude(kDay);
    const Book policies = book(windowNs, {9, 5});
    Key fast(policies), exact(policies);
    std::uint64_t nowNs = random.magnitude(kYear);
    for (int step = 0; step < 20; ++step) {
      nowNs += random.below(windowNs / 8 + 2);
      const std::uint64_t highNs = nowNs + random.below(windowNs / 30 + 2), cost = random.below(4);
      const auto tier = static_cast<std::uint32_t>(random.below(2));
      if (random.oneIn(12)) {
        const std::uint64_t untilNs = nowNs + random.below(windowNs);
        fast.block(nowNs, untilNs);
        exact.block(nowNs, untilNs);
      }
      const auto frame = StrictWindow::frame(policies, tier, nowNs, highNs);
      const auto verdict = StrictWindow::chargeWithin(frame, {fast.entry.payload, fast.entry.meta}, cost);
      if (verdict.kind == sluice::Verdict::Kind::kUnsure) {
        ++unsure;
        CHECK_EQ(fast.allow(nowNs, cost, tier), exact.allow(nowNs, cost, tier));
      } else {
        const bool admits = verdict.kind == sluice::Verdict::Kind::kAdmit;
        ++(admits ? admitted : refused);
        for (const std::uint64_t atNs : {highNs, random.between(nowNs, highNs), nowNs}) {
          const auto charged = StrictWindow::charge(policies, tier, exact.entry, atNs, cost);
          CHECK_EQ(charged.outcome, admits ? Outcome::kAllowed : Outcome::kLimited);
          if (admits) CHECK(charged.next.payload == verdict.payload && charged.next.meta == fast.entry.meta);
        }
        CHECK_EQ(exact.allow(nowNs, cost, tier) == Outcome::kAllowed, admits);
        if (admits) fast.entry.payload = verdict.payload;
      }
      const std::uint64_t ageNs = random.below(windowNs);
      if (random.oneIn(6)) CHECK_EQ(fast.refund(nowNs, 2, ageNs), exact.refund(nowNs, 2, ageNs));
      if (!saysTheSame(fast, exact, nowNs, windowNs)) return check::note("window, now:", windowNs, nowNs);
    }
  }
  CHECK(std::min({admitted, refused, unsure}) > 1000 / SLUICE_TEST_SLOWDOWN);
}

TEST(no_bits_do_harm) {
  Random random = check::seeded("strict bits", 5);
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const std::uint64_t windowNs = 11 + random.magnitude(kYear), limit = random.magnitude(kTwo31);
    const Book policies = book(windowNs, {limit, random.magnitude(kTwo31)});
    const std::uint64_t nowNs = random.magnitude(10 * kYear);
    if (check::standsAnyBits<StrictWindow>(random, policies, nowNs, SubWindowModel(windowNs).indexAt(nowNs)))
      continue;
    return check::note("window, limit, now, i:", windowNs, limit, nowNs, i);
  }
}

TEST(the_last_moment_of_all_lasts) {
  for (const Size& size : extremes()) {
    const Book policies = book(size.windowNs, {size.limit});
    for (const std::uint64_t nowNs : {kHorizonNs - 1, kHorizonNs, kHorizonNs + kDay, ~std::uint64_t{0}}) {
      Key key(policies);
      CHECK_EQ(key.allow(nowNs, size.limit), Outcome::kAllowed);
      CHECK_EQ(key.allow(nowNs, 1), Outcome::kLimited);
      CHECK_EQ(key.refund(nowNs, size.limit), size.limit);
    }
  }
}

TEST(books_refuse_what_they_cannot_count) {
  CHECK(!Book::make({11, 1, 0}).has_value());
  CHECK(!Book::make({0, 1, 0}).has_value());
  CHECK(!Book::make({kHorizonNs + 1, 1, 0}).has_value());
  CHECK(!Book::make({kSecond, 0, 0}).has_value());
  CHECK(!Book::make({kSecond, kTwo31 + 1, 0}).has_value());
  CHECK(Book::make({kHorizonNs, kTwo31, 0}).has_value());
  Book policies = book(kSecond, {10});
  CHECK(policies.options().windowNs == kSecond && policies.options().maxLimit == 10);
  CHECK_EQ(policies.words(), 8);
  CHECK(!policies.add({0}).has_value());
  CHECK(policies.add({policies.maxCount()}).has_value());
  CHECK(!policies.add({policies.maxCount() + 1}).has_value());
}

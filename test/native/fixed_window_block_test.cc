// Fixed windows and what interferes with them: blocks, and clocks that are set back or forward.
#include "core/fixed_window.h"

#include "random.h"
#include "single_key.h"

using check::Random;
using sluice::Decision;
using sluice::FixedWindow;
using sluice::kHorizonNs;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using Align = FixedWindow::Align;
using Key = check::SingleKey<FixedWindow>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kHour = 3600 * kSecond, kDay = 24 * kHour;
constexpr std::uint64_t kYear = 36525 * kDay / 100;

FixedWindow::Book bookOf(std::uint64_t windowNs, std::uint64_t limit, Align align = Align::kFirstRequest) {
  auto book = FixedWindow::Book::make(windowNs, limit, align);
  CHECK(book.has_value() && book->add({limit}).has_value());
  return *book;
}

}  // namespace

TEST(a_block_denies_until_its_end) {
  const FixedWindow::Book book = bookOf(kSecond, 10);
  Key key(book);
  key.block(0, 3 * kSecond);
  for (const std::uint64_t nowNs : {std::uint64_t{0}, 3 * kSecond - 1}) {
    const Decision denied = key.consume(nowNs, 1);
    CHECK_EQ(denied.outcome, Outcome::kBlocked);
    CHECK_EQ(denied.remaining, 0);
    CHECK_EQ(denied.retryAfterNs, 3 * kSecond - nowNs);
    CHECK_EQ(key.allow(nowNs, 11), Outcome::kBlocked);
    CHECK_EQ(key.allow(nowNs, 0), Outcome::kBlocked);
    CHECK(key.live(nowNs));
  }
  CHECK(!key.live(3 * kSecond));
  CHECK_EQ(key.consume(3 * kSecond, 10).outcome, Outcome::kAllowed);
}

TEST(a_block_is_never_shortened_but_may_be_extended) {
  const FixedWindow::Book book = bookOf(kSecond, 10);
  Key key(book);
  key.block(0, 10 * kSecond);
  key.block(0, 3 * kSecond);
  CHECK_EQ(key.peek(0).retryAfterNs, 10 * kSecond);
  key.block(kSecond, 12 * kSecond);
  CHECK_EQ(key.peek(kSecond).retryAfterNs, 11 * kSecond);
}

TEST(a_count_outlives_a_block_within_its_window) {
  const FixedWindow::Book first = bookOf(kSecond, 10);
  Key key(first);
  CHECK_EQ(key.allow(0, 7), Outcome::kAllowed);
  key.block(0, kSecond / 2);
  CHECK_EQ(key.peek(kSecond / 2).remaining, 3);
  CHECK_EQ(key.peek(kSecond / 2).resetAfterNs, kSecond);  // a full window starts at the block's end
  CHECK_EQ(key.allow(kSecond * 3 / 2 - 1, 4), Outcome::kLimited);
  CHECK_EQ(key.allow(kSecond * 3 / 2, 4), Outcome::kAllowed);

  const FixedWindow::Book epoch = bookOf(kSecond, 10, Align::kEpoch);
  Key aligned(epoch);
  CHECK_EQ(aligned.allow(0, 7), Outcome::kAllowed);
  aligned.block(0, kSecond / 2);
  CHECK_EQ(aligned.peek(kSecond / 2).remaining, 3);
  CHECK_EQ(aligned.peek(kSecond / 2).resetAfterNs, kSecond / 2);
}

TEST(a_block_that_outlasts_the_window_leaves_a_fresh_one) {
  for (const Align align : {Align::kFirstRequest, Align::kEpoch}) {
    const FixedWindow::Book book = bookOf(kSecond, 10, align);
    for (const std::uint64_t untilNs : {kSecond, 2 * kSecond}) {
      Key key(book);
      CHECK_EQ(key.allow(0, 10), Outcome::kAllowed);
      key.block(0, untilNs);
      CHECK_EQ(key.peek(untilNs - 1).outcome, Outcome::kBlocked);
      CHECK_EQ(key.peek(untilNs).remaining, 10);
      CHECK(!key.live(untilNs));
    }
  }
}

TEST(counts_outlive_a_block_rounded_up_at_most) {
  Random random = check::seeded("window blocks", 1);
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const std::uint64_t limit = random.magnitude(kHour), count = random.between(1, limit);
    const FixedWindow::Book book =
        bookOf(kHour, limit, random.oneIn(2) ? Align::kEpoch : Align::kFirstRequest);
    Key key(book);
    const std::uint64_t untilNs = random.between(1, 3'599'999) * kNsPerMs;
    CHECK_EQ(key.allow(0, count), Outcome::kAllowed);
    key.block(0, untilNs);
    const std::uint64_t exact = limit - count, remaining = key.peek(untilNs).remaining;
    const bool fine = CHECK(remaining <= exact && remaining + count / 2048 >= exact) &&
                      CHECK(count > 4095 || remaining == exact);
    if (!fine) return check::note("limit, count, until:", limit, count, untilNs);
  }
}

TEST(refunds_and_penalties_during_a_block_count_at_its_end) {
  const FixedWindow::Book book = bookOf(kSecond, 10);
  Key key(book);
  CHECK_EQ(key.allow(0, 7), Outcome::kAllowed);
  key.block(0, kSecond / 2);
  CHECK_EQ(key.refund(0, 4), 4);
  CHECK_EQ(key.peek(kSecond / 2).remaining, 7);
  CHECK_EQ(key.penalize(0, 100), 7);
  CHECK_EQ(key.peek(0).outcome, Outcome::kBlocked);
  CHECK_EQ(key.peek(kSecond / 2).remaining, 0);
  CHECK_EQ(key.refund(0, 100), 10);
  CHECK_EQ(key.peek(kSecond / 2).remaining, 10);
}

TEST(a_step_back_within_the_tolerance_changes_nothing) {
  const FixedWindow::Book book = bookOf(60 * kSecond, 10);
  Key key(book);
  CHECK_EQ(key.allow(kDay, 10), Outcome::kAllowed);
  const sluice::Entry before = key.entry;
  CHECK_EQ(key.allow(kDay - 9 * kSecond, 1), Outcome::kLimited);
  CHECK(key.entry == before);
  CHECK_EQ(key.peek(kDay - 9 * kSecond).retryAfterNs, 69 * kSecond);
}

TEST(a_step_back_beyond_the_tolerance_keeps_the_count_for_one_window) {
  for (const Align align : {Align::kFirstRequest, Align::kEpoch}) {
    const FixedWindow::Book book = bookOf(60 * kSecond, 10, align);
    for (const std::uint64_t stepNs : {71 * kSecond, 8 * kHour, 99 * kYear}) {
      Key key(book);
      CHECK_EQ(key.allow(100 * kYear, 9), Outcome::kAllowed);
      const std::uint64_t nowNs = 100 * kYear - stepNs;
      const Decision after = key.consume(nowNs, 2);
      CHECK_EQ(after.outcome, Outcome::kLimited);
      CHECK_EQ(after.remaining, 1);
      CHECK(after.retryAfterNs <= 60 * kSecond && after.retryAfterNs > 0);
      CHECK_EQ(key.allow(nowNs + after.retryAfterNs - 1, 2), Outcome::kLimited);
      CHECK_EQ(key.allow(nowNs + after.retryAfterNs, 2), Outcome::kAllowed);
    }
  }
}

TEST(a_step_back_of_eleven_seconds_heals_or_waits_but_never_mints) {
  for (const Align align : {Align::kFirstRequest, Align::kEpoch}) {
    const FixedWindow::Book book = bookOf(60 * kSecond, 10, align);
    Key key(book);
    CHECK_EQ(key.allow(kDay, 10), Outcome::kAllowed);
    const Decision denied = key.consume(kDay - 11 * kSecond, 1);
    CHECK_EQ(denied.outcome, Outcome::kLimited);
    CHECK(denied.retryAfterNs <= 71 * kSecond);
  }
}

TEST(random_steps_back_neither_mint_nor_lock_out) {
  Random random = check::seeded("window steps back", 2);
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const std::uint64_t windowNs = random.between(1, 1'000'000) * kNsPerMs,
                        limit = random.magnitude(1'000'000);
    const FixedWindow::Book book =
        bookOf(windowNs, limit, random.oneIn(2) ? Align::kEpoch : Align::kFirstRequest);
    Key key(book);
    const std::uint64_t beforeNs = random.between(100 * kDay, 100 * kYear),
                        afterNs = beforeNs - random.magnitude(100 * kDay);
    key.penalize(beforeNs, random.between(1, limit));
    const std::uint64_t levelBefore = key.peek(beforeNs).remaining;
    const Decision after = key.consume(afterNs, limit);
    const bool fine = CHECK_EQ(after.outcome, Outcome::kLimited) && CHECK(after.remaining <= levelBefore) &&
                      CHECK(after.retryAfterNs <= windowNs + sluice::kClockToleranceNs + kNsPerMs);
    if (!fine) return check::note("window, limit, before, after:", windowNs, limit, beforeNs, afterNs);
  }
}

TEST(a_step_forward_opens_one_window) {
  for (const Align align : {Align::kFirstRequest, Align::kEpoch}) {
    const FixedWindow::Book book = bookOf(kSecond, 10, align);
    for (const std::uint64_t stepNs : {11 * kSecond, 8 * kHour, 100 * kYear, kHorizonNs - 2 * kSecond}) {
      Key key(book);
      CHECK_EQ(key.allow(kSecond, 10), Outcome::kAllowed);
      CHECK(!key.live(kSecond + stepNs));
      CHECK_EQ(key.consume(kSecond + stepNs, 10).outcome, Outcome::kAllowed);
      CHECK_EQ(key.consume(kSecond + stepNs, 1).outcome, Outcome::kLimited);
    }
  }
}

TEST(a_block_survives_clock_steps) {
  const FixedWindow::Book book = bookOf(kSecond, 10);
  for (const std::uint64_t stepNs : {11 * kSecond, 8 * kHour, 100 * kYear}) {
    Key key(book);
    key.block(101 * kYear, 101 * kYear + kSecond);
    CHECK_EQ(key.allow(101 * kYear - stepNs, 1), Outcome::kBlocked);
    CHECK_EQ(key.allow(101 * kYear, 1), Outcome::kBlocked);
    CHECK_EQ(key.allow(101 * kYear + stepNs, 1), Outcome::kAllowed);
  }
}

TEST(time_stands_still_at_the_horizon_and_nothing_breaks) {
  for (const Align align : {Align::kFirstRequest, Align::kEpoch}) {
    const FixedWindow::Book book = bookOf(kSecond, 10, align);
    for (const std::uint64_t nowNs : {kHorizonNs - 1, kHorizonNs, kHorizonNs + 1, ~std::uint64_t{0}}) {
      Key key(book);
      CHECK_EQ(key.consume(nowNs, 10).remaining, 0);
      CHECK_EQ(key.allow(nowNs, 1), Outcome::kLimited);
      CHECK_EQ(key.refund(nowNs, 20), 10);
    }
  }
}

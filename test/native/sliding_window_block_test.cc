// Sliding windows and what interferes with them: blocks, clocks that are set back or forward, callers that
// are late, indexes that wrap.
#include "core/sliding_window.h"

#include "random.h"
#include "single_key.h"

using check::Random;
using sluice::Decision;
using sluice::kHorizonNs;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::SlidingWindow;
using sluice::Step;
using Key = check::SingleKey<SlidingWindow>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kHour = 3600 * kSecond, kDay = 24 * kHour;
constexpr std::uint64_t kYear = 36525 * kDay / 100, kTwo32 = std::uint64_t{1} << 32;

SlidingWindow::Book bookOf(std::uint64_t windowNs, std::uint64_t limit) {
  auto book = SlidingWindow::Book::make({windowNs, limit, 1});
  CHECK(book.has_value() && book->add({limit}).has_value());
  return *book;
}

struct Size {
  std::uint64_t windowNs, limit;
};

}  // namespace

TEST(a_block_denies_until_its_end_and_is_never_shortened) {
  const SlidingWindow::Book book = bookOf(kSecond, 10);
  Key key(book);
  key.block(0, 3 * kSecond);
  key.block(0, kSecond);
  for (const std::uint64_t nowNs : {std::uint64_t{0}, 3 * kSecond - 1}) {
    const Decision denied = key.consume(nowNs, 1);
    CHECK(denied.outcome == Outcome::kBlocked && denied.remaining == 0);
    CHECK_EQ(denied.retryAfterNs, 3 * kSecond - nowNs);
    CHECK(key.allow(nowNs, 0) == Outcome::kBlocked && key.allow(nowNs, 11) == Outcome::kBlocked);
    CHECK(key.live(nowNs));
  }
  CHECK(!key.live(3 * kSecond));
  CHECK_EQ(key.consume(3 * kSecond, 10).outcome, Outcome::kAllowed);
}

TEST(what_counts_at_a_blocks_end_counts_in_the_window_in_which_it_ends) {
  const SlidingWindow::Book book = bookOf(kSecond, 10);
  struct Case {
    std::uint64_t untilNs, spent;
  };
  // 7 charged in the window before, 2 in this one, at 1.5 s.
  for (const Case& one : {Case{kSecond * 3 / 2, 6},
                          {kSecond * 7 / 4, 4},
                          {2 * kSecond, 2},
                          {kSecond * 5 / 2, 1},
                          {3 * kSecond, 0},
                          {kDay, 0}}) {
    Key key(book);
    CHECK_EQ(key.allow(0, 7), Outcome::kAllowed);
    CHECK_EQ(key.allow(kSecond * 3 / 2 - 1, 2), Outcome::kAllowed);
    key.block(kSecond * 3 / 2 - 1, one.untilNs);
    CHECK_EQ(key.peek(one.untilNs - 1).outcome, Outcome::kBlocked);
    const Decision after = key.peek(one.untilNs);
    CHECK_EQ(after.remaining, 10 - one.spent);
    const std::uint64_t endNs = one.untilNs - one.untilNs % kSecond + kSecond;
    CHECK_EQ(after.resetAfterNs, one.spent == 0 ? 0 : endNs + kSecond - one.untilNs);
    CHECK_EQ(key.peek(endNs).remaining, 10 - one.spent);
    if (one.spent != 0) CHECK(key.retryIsExact(one.untilNs, 10));
    key.block(one.untilNs, 2 * kDay);
    CHECK(!key.live(2 * kDay));
  }
}

TEST(counts_outlive_a_block_rounded_up_at_most) {
  Random random = check::seeded("sliding blocks", 1);
  for (int i = 0; i < check::scaled(100'000); ++i) {
    const std::uint64_t limit = random.magnitude(kTwo32), count = random.between(1, limit);
    const SlidingWindow::Book book = bookOf(kHour, limit);
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
  const SlidingWindow::Book book = bookOf(kSecond, 10);
  Key key(book);
  CHECK_EQ(key.allow(0, 7), Outcome::kAllowed);
  key.block(0, kSecond / 2);
  CHECK_EQ(key.refund(0, 4), 4);
  CHECK_EQ(key.penalize(0, 100), 7);
  CHECK_EQ(key.peek(0).outcome, Outcome::kBlocked);
  CHECK_EQ(key.peek(kSecond / 2).remaining, 0);
  CHECK_EQ(key.refund(0, 100), 10);
  CHECK_EQ(key.peek(kSecond / 2).remaining, 10);
  // What was charged before the window in which the block ends counts there in part, and stays.
  Key longer(book);
  CHECK_EQ(longer.allow(0, 8), Outcome::kAllowed);
  longer.block(0, kSecond * 3 / 2);
  CHECK_EQ(longer.refund(0, 8), 0);
  CHECK_EQ(longer.penalize(kSecond, 1), 1);
  CHECK_EQ(longer.refund(kSecond, 1), 1);
  CHECK_EQ(longer.peek(kSecond * 3 / 2).remaining, 6);
}

TEST(a_late_caller_counts_in_the_window_of_those_ahead) {
  const SlidingWindow::Book book = bookOf(kSecond, 10);
  Key key(book);
  CHECK_EQ(key.allow(kDay - 1, 4), Outcome::kAllowed);
  CHECK_EQ(key.allow(kDay, 4), Outcome::kAllowed);
  const std::uint64_t lateNs = kDay - 9 * kSecond;
  CHECK_EQ(key.consume(lateNs, 3).retryAfterNs, 9 * kSecond + kSecond / 4);
  CHECK(key.retryIsExact(lateNs, 3) && key.retryIsExact(lateNs, 9));
  CHECK_EQ(key.consume(lateNs, 2).remaining, 0);
  CHECK_EQ(key.refund(lateNs, 1), 1);
  CHECK_EQ(key.peek(kDay).remaining, 1);
  CHECK_EQ(key.peek(kDay + kSecond).remaining, 5);
}

TEST(a_state_from_beyond_the_tolerance_is_healed_with_its_counts) {
  for (const std::uint64_t windowNs : {kNsPerMs, kSecond, 60 * kSecond, kDay}) {
    const SlidingWindow::Book book = bookOf(windowNs, 10);
    const std::uint64_t startNs = kYear / windowNs * windowNs;
    const std::uint64_t tolerated = startNs - sluice::kClockToleranceNs;
    Key key(book);
    CHECK_EQ(key.allow(startNs - 1, 3), Outcome::kAllowed);
    CHECK_EQ(key.allow(startNs, 4), Outcome::kAllowed);
    for (const std::uint64_t cost : {0U, 1U, 4U, 11U}) {
      const Step near = SlidingWindow::charge(book, 0, key.entry, tolerated, cost);
      const Step far = SlidingWindow::charge(book, 0, key.entry, tolerated - 1, cost);
      CHECK(!near.fromFuture && far.fromFuture && far.write);
      CHECK_EQ(near.write, cost == 1);
    }
    Key healed(book);
    healed.entry = key.entry;
    const std::uint64_t nowNs = tolerated - 1 - kHour / 2;
    CHECK_EQ(healed.consume(nowNs, 10).outcome, Outcome::kLimited);
    const std::uint64_t leftNs = windowNs - nowNs % windowNs;
    const std::uint64_t past = (3 * leftNs + windowNs - 1) / windowNs;
    CHECK_EQ(healed.peek(nowNs).remaining, 6 - past);
    CHECK_EQ(healed.peek(nowNs).resetAfterNs, windowNs + leftNs);
    CHECK(healed.retryIsExact(nowNs, 10));
    CHECK_EQ(healed.allow(nowNs + windowNs + leftNs, 10), Outcome::kAllowed);
    CHECK(SlidingWindow::refund(book, 0, key.entry, nowNs, 1, 0).fromFuture);
    CHECK(SlidingWindow::penalize(book, 0, key.entry, nowNs, 1).fromFuture);
    CHECK(SlidingWindow::block(book, 0, key.entry, nowNs, kDay).fromFuture);
  }
}

TEST(random_steps_back_neither_mint_nor_lock_out) {
  Random random = check::seeded("sliding steps back", 2);
  for (int i = 0; i < check::scaled(100'000); ++i) {
    const std::uint64_t windowNs = random.between(150, 1'000'000) * kNsPerMs;  // no index wraps
    const std::uint64_t limit = random.magnitude(100'000), beforeNs = random.between(kYear, 100 * kYear);
    const SlidingWindow::Book book = bookOf(windowNs, limit);
    Key key(book);
    key.penalize(beforeNs, random.between(1, limit));
    const std::uint64_t left = key.peek(beforeNs).remaining, afterNs = beforeNs - random.magnitude(kYear);
    const Decision after = key.consume(afterNs, limit);
    const bool fine = CHECK_EQ(after.outcome, Outcome::kLimited) && CHECK(after.remaining <= left) &&
                      CHECK(after.retryAfterNs <= 2 * windowNs + sluice::kClockToleranceNs) &&
                      key.retryIsExact(afterNs, limit);
    if (!fine) return check::note("window, limit, before, after:", windowNs, limit, beforeNs, afterNs);
  }
}

TEST(a_step_forward_forgets) {
  const SlidingWindow::Book book = bookOf(kSecond, 10);
  for (const std::uint64_t stepNs : {2 * kSecond, 8 * kHour, 100 * kYear, kHorizonNs - 2 * kSecond}) {
    Key key(book);
    CHECK_EQ(key.allow(kSecond, 10), Outcome::kAllowed);
    CHECK(!key.live(kSecond + stepNs));
    CHECK_EQ(key.allow(kSecond + stepNs, 10), Outcome::kAllowed);
    CHECK_EQ(key.allow(kSecond + stepNs, 1), Outcome::kLimited);
  }
}

// A million a second: the index has 31 bits, and wraps after 68 years.
TEST(an_index_that_wraps_is_a_distance) {
  const SlidingWindow::Book book = bookOf(kSecond, 1'000'000);
  const std::uint64_t spanNs = (std::uint64_t{1} << 31) * kSecond;
  for (const std::uint64_t nowNs :
       {spanNs - kHour, spanNs - 1, spanNs, 2 * spanNs - kSecond, 2 * spanNs + 5}) {
    // Nothing is known of the key, though its entry looks like one of window 0.
    Key key(book);
    const Decision first = key.consume(nowNs, 1'000'000);
    CHECK_EQ(first.outcome, Outcome::kAllowed);
    CHECK_EQ(first.resetAfterNs, 2 * kSecond - nowNs % kSecond);
    CHECK(key.retryIsExact(nowNs, 1) && key.retryIsExact(nowNs, 1'000'000));
    CHECK(!key.live(nowNs + 2 * kSecond));
    CHECK(!key.live(nowNs + kDay) && !key.live(nowNs + 40 * kYear));
    CHECK(!key.live(nowNs + spanNs - 2 * kHour));
  }
}

TEST(a_process_that_was_stopped_does_not_take_the_present_for_the_past) {
  for (const Size& size : {Size{kSecond, kSecond}, Size{kNsPerMs, 10}, Size{kTwo32, kTwo32}}) {
    const SlidingWindow::Book book = bookOf(size.windowNs, size.limit);
    Key key(book);
    CHECK_EQ(key.allow(kYear, size.limit), Outcome::kAllowed);
    for (const std::uint64_t stopNs : {15 * kSecond, kHour}) {
      const Step step = SlidingWindow::charge(book, 0, key.entry, kYear - stopNs, 1);
      CHECK(step.fromFuture && step.outcome == Outcome::kLimited);
    }
    CHECK(!SlidingWindow::charge(book, 0, key.entry, kYear - 2 * kHour, 1).fromFuture);
  }
}

TEST(an_index_spans_many_times_what_may_lie_ahead) {
  for (unsigned bits = 0; bits <= 32; ++bits) {
    const std::uint64_t limit = std::uint64_t{1} << bits;
    const SlidingWindow::Book book = bookOf(limit, limit);  // the shortest window for it
    Key key(book);
    CHECK_EQ(key.allow(10 * kYear, 1), Outcome::kAllowed);
    const std::uint64_t aheadNs = 100 * kHour;  // a hundred times an hour
    CHECK(!key.live(10 * kYear + aheadNs));
    CHECK_EQ(SlidingWindow::charge(book, 0, key.entry, 10 * kYear + aheadNs, 1).fromFuture, false);
  }
}

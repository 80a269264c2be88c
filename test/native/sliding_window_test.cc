// The sliding window, by example: what weighs how much, refunds, penalties and debt, tiers, eviction, limits
// of every size.
#include "core/sliding_window.h"

#include "random.h"
#include "single_key.h"

using check::kLimited;
using check::kOk;
using check::kTooCostly;
using check::Random;
using check::Verb;
using sluice::Decision;
using sluice::Entry;
using sluice::kHorizonNs;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::SlidingWindow;
using sluice::Step;
using Key = check::SingleKey<SlidingWindow>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kHour = 3600 * kSecond, kDay = 24 * kHour;
constexpr std::uint64_t kYear = 36525 * kDay / 100;
constexpr std::uint64_t kTwo31 = std::uint64_t{1} << 31, kTwo32 = std::uint64_t{1} << 32;
constexpr std::uint32_t kFree = 0, kPaid = 1;

SlidingWindow::Book bookOf(std::uint64_t windowNs, const std::vector<std::uint64_t>& limits) {
  auto book = SlidingWindow::Book::make({windowNs, *std::max_element(limits.begin(), limits.end()), 1});
  CHECK(book.has_value());
  for (const std::uint64_t limit : limits) CHECK(book->add({limit}).has_value());
  return *book;
}

std::uint64_t penalize(const SlidingWindow::Book& book, Key& key, std::uint64_t nowNs, std::uint64_t tokens,
                       std::uint64_t maxDebt) {
  const Step step = SlidingWindow::penalize(book, 0, key.entry, nowNs, tokens, maxDebt);
  if (step.write) key.entry = step.next;
  return step.amount;
}

struct Size {
  std::uint64_t windowNs, limit;
};
const std::vector<Size>& extremes() {
  static const std::vector<Size> sizes = {
      {1, 1},
      {2, 2},
      {7, 3},
      {100, 100},
      {127, 1},
      {128, 128},
      {kSecond, 1},
      {kSecond, 1000},
      {kSecond, (1 << 19) - 1},
      {kSecond, 1 << 19},
      {kSecond, kSecond},
      {kDay, 1},
      {60 * kSecond, kTwo31},
      {60 * kSecond, kTwo32 - 1},
      {kTwo32, kTwo32},
      {kYear, kTwo32},
      {70 * kYear, kTwo32},
      {70 * kYear, 1},
  };
  return sizes;
}

}  // namespace

TEST(a_script_of_charges) {
  const SlidingWindow::Book book = bookOf(kSecond, {10});
  Key key(book);
  check::play(key, {
                       {500'000, Verb::kConsume, 0, kOk, 10},
                       {500'000, Verb::kConsume, 11, kTooCostly, 10, sluice::kNever},
                       {600'000, Verb::kConsume, 8, kOk, 2},
                       {700'000, Verb::kConsume, 3, kLimited, 2, 425'000},  // at 1.125 s seven of eight count
                       {999'999, Verb::kConsume, 2, kOk, 0},  // nothing decays within its window
                       {1'000'000, Verb::kConsume, 1, kLimited, 0, 100'000},  // all ten count
                       {1'100'000, Verb::kConsume, 1, kOk, 0},
                       {1'100'000, Verb::kConsume, 10, kLimited, 0, 1'900'000},
                       {1'500'000, Verb::kPeek, 4, kOk, 4},
                       {1'550'000, Verb::kPeek, 5, kLimited, 4, 50'000},  // 4.5 of the past count as 5
                       {1'999'999, Verb::kConsume, 9, kLimited, 8, 1},
                       {2'000'000, Verb::kConsume, 9, kOk, 0},
                       {3'000'000, Verb::kPeek, 1, kOk, 1},
                       {4'000'000, Verb::kConsume, 10, kOk, 0},
                       {4'000'000, Verb::kConsume, 10, kLimited, 0, 2'000'000},
                       {6'000'000, Verb::kConsume, 10, kOk, 0},
                   });
}

TEST(a_script_of_refunds_and_penalties) {
  const SlidingWindow::Book book = bookOf(kSecond, {10});
  Key key(book);
  check::play(key, {
                       {0, Verb::kRefund, 5, 0, 10},
                       {0, Verb::kConsume, 10, kOk, 0},
                       {500'000, Verb::kRefund, 4, 4, 4},
                       {500'000, Verb::kPenalize, 1, 1, 3},
                       {500'000, Verb::kPenalize, 10, 3, 0},
                       {500'000, Verb::kRefund, 100, 10, 10},
                       {999'999, Verb::kConsume, 10, kOk, 0},
                       {1'500'000, Verb::kRefund, 10, 0, 5},  // nothing was charged in this window
                       {1'500'000, Verb::kPenalize, 9, 5, 0},
                       {1'500'000, Verb::kRefund, 9, 5, 5},
                   });
}

TEST(a_refund_goes_to_the_window_that_was_charged) {
  const SlidingWindow::Book book = bookOf(kSecond, {10});
  Key key(book);
  CHECK_EQ(key.allow(kSecond - 1, 5), Outcome::kAllowed);
  CHECK_EQ(key.allow(kSecond, 5), Outcome::kAllowed);
  CHECK_EQ(key.refund(kSecond + 10, 1, 11), 1);  // of the window before
  CHECK_EQ(key.refund(kSecond + 10, 9, 11), 4);
  CHECK_EQ(key.refund(kSecond + 10, 9, 11), 0);
  CHECK_EQ(key.peek(kSecond + 10).remaining, 5);
  CHECK_EQ(key.refund(kSecond + 10, 1, 10), 1);
  CHECK_EQ(key.peek(kSecond + 10).remaining, 6);
  CHECK_EQ(key.refund(kSecond + 10, 9, kSecond + 11), 0);  // before the table was made
  CHECK_EQ(key.refund(3 * kSecond - 1, 9, 2 * kSecond), 0);
  CHECK_EQ(key.refund(3 * kSecond - 1, 9, 2 * kSecond - 1), 4);
  CHECK(!key.live(3 * kSecond - 1));
}

TEST(a_refund_of_what_was_rounded_up_leaves_what_cannot_be_told_apart) {
  const SlidingWindow::Book book = bookOf(kSecond, {1'000'000});
  Key key(book);
  CHECK_EQ(key.allow(0, 999'999), Outcome::kAllowed);
  CHECK_EQ(key.peek(kSecond).remaining, 0);  // 20 bits: kept as a multiple of 64
  CHECK_EQ(key.refund(kSecond, 63, 1), 0);
  CHECK_EQ(key.refund(kSecond, 64, 1), 64);
  CHECK_EQ(key.peek(kSecond).remaining, 64);
  CHECK_EQ(key.refund(kSecond, 1'000'000, 1), 999'936);
  CHECK(!key.live(kSecond));
}

TEST(costs_around_the_limit_and_exact_waits_at_every_extreme) {
  for (const Size& size : extremes()) {
    const SlidingWindow::Book book = bookOf(size.windowNs, {size.limit});
    bool fine = true;
    for (const std::uint64_t cost : {size.limit - 1, size.limit, size.limit + 1}) {
      Key key(book);
      const Decision first = key.consume(kSecond, cost);
      fine &= CHECK_EQ(first.outcome, cost > size.limit ? Outcome::kTooCostly : Outcome::kAllowed);
      fine &= CHECK_EQ(first.remaining, cost > size.limit ? size.limit : size.limit - cost);
      if (cost != size.limit) continue;
      for (const std::uint64_t wanted : {std::uint64_t{1}, size.limit / 2 + 1, size.limit})
        fine &= key.retryIsExact(kSecond, wanted);
      const std::uint64_t resetNs = first.resetAfterNs;
      fine &= CHECK_EQ(resetNs, 2 * size.windowNs - kSecond % size.windowNs);
      fine &= CHECK(key.live(kSecond + resetNs - 1)) && CHECK(!key.live(kSecond + resetNs));
    }
    if (!fine) check::note("window, limit:", size.windowNs, size.limit);
  }
}

// The worst there can be: a whole limit at a window's end, and all but one as soon as that counts for little.
TEST(an_interval_of_a_windows_length_admits_at_most_one_less_than_twice_the_limit) {
  for (const std::uint64_t limit : {1U, 2U, 10U, 1000U, 100'000U}) {
    const SlidingWindow::Book book = bookOf(kSecond, {limit});
    Key key(book);
    const std::uint64_t beginNs = 5 * kSecond - 1, endNs = beginNs + kSecond;
    CHECK_EQ(key.allow(beginNs, limit), Outcome::kAllowed);
    CHECK_EQ(key.peek(endNs - 1).remaining, limit - 1);
    if (limit > 1) CHECK_EQ(key.allow(endNs - 1, limit - 1), Outcome::kAllowed);
    CHECK_EQ(key.allow(endNs - 1, 1), Outcome::kLimited);
    // For as long as it goes on: one window's limit a window.
    std::uint64_t admitted = 2 * limit - 1;
    for (std::uint64_t n = 2; n <= 50; ++n) {
      admitted += key.penalize(beginNs + n * kSecond - 1, limit);
      CHECK(admitted <= (n + 1) * limit);
    }
    CHECK(admitted > 50 * (limit - 1));
  }
}

// What was admitted evenly is estimated rightly: then no interval of a window's length sees more than the
// limit.
TEST(even_traffic_is_held_to_the_limit_in_every_interval) {
  for (const std::uint64_t stepNs : {kNsPerMs, 3 * kNsPerMs, 9 * kNsPerMs + 1}) {
    const SlidingWindow::Book book = bookOf(kSecond, {100});
    Key key(book);
    std::vector<std::uint64_t> admitted;
    for (std::uint64_t nowNs = 0; nowNs < 20 * kSecond; nowNs += stepNs) {
      if (key.allow(nowNs, 1) == Outcome::kAllowed) admitted.push_back(nowNs);
    }
    CHECK(admitted.size() > 1900 && admitted.size() <= 2000);
    for (std::size_t i = 101; i < admitted.size(); ++i) CHECK(admitted[i] - admitted[i - 101] >= kSecond);
  }
}

TEST(debt_goes_down_to_a_whole_limit_below_empty_and_is_waited_for) {
  for (const Size& size : extremes()) {
    const SlidingWindow::Book book = bookOf(size.windowNs, {size.limit});
    for (const std::uint64_t maxDebt : {std::uint64_t{0}, std::uint64_t{1}, size.limit, 5 * size.limit}) {
      Key key(book);
      const std::uint64_t debt = std::min(maxDebt, size.limit);
      bool fine = CHECK_EQ(key.allow(kSecond, size.limit), Outcome::kAllowed) &&
                  CHECK_EQ(penalize(book, key, kSecond, 9 * size.limit, maxDebt), debt) &&
                  CHECK_EQ(penalize(book, key, kSecond, 1, maxDebt), 0) &&
                  CHECK_EQ(key.peek(kSecond).remaining, 0) && key.retryIsExact(kSecond, 1) &&
                  key.retryIsExact(kSecond, size.limit);
      fine = fine && CHECK_EQ(key.refund(kSecond, debt), debt) && CHECK_EQ(key.peek(kSecond).remaining, 0);
      if (!fine) check::note("window, limit, debt:", size.windowNs, size.limit, maxDebt);
    }
  }
  const SlidingWindow::Book book = bookOf(kSecond, {10});
  Key key(book);
  CHECK_EQ(penalize(book, key, 0, 20, 10), 20);
  CHECK_EQ(key.peek(0).retryAfterNs, kSecond + kSecond * 11 / 20);  // 20 * 9 / 20 + 1 = 10
}

TEST(tiers_share_the_counts) {
  const SlidingWindow::Book book = bookOf(kSecond, {10, 100});
  Key key(book);
  CHECK_EQ(key.consume(0, 8, kFree).remaining, 2);
  CHECK_EQ(key.consume(0, 50, kPaid).remaining, 42);
  CHECK_EQ(key.peek(0, kFree).remaining, 0);
  CHECK_EQ(key.penalize(0, 5, kFree), 0);
  CHECK(key.retryIsExact(0, 1, kFree) && key.retryIsExact(0, 43, kPaid));
  CHECK_EQ(key.peek(kSecond + kSecond / 2, kFree).remaining, 0);
  CHECK_EQ(key.peek(kSecond + kSecond / 2, kPaid).remaining, 71);
  CHECK_EQ(key.refund(0, 55), 55);
  CHECK_EQ(key.peek(0, kFree).remaining, 7);
}

TEST(a_key_weighs_what_counts_now_and_limits_until_one_fits) {
  const SlidingWindow::Book book = bookOf(kSecond, {10, 100});
  Key key(book);
  CHECK_EQ(key.allow(0, 10), Outcome::kAllowed);
  const auto weightAt = [&](std::uint64_t nowNs) { return SlidingWindow::weigh(book, key.entry, nowNs); };
  CHECK(weightAt(0).limiting && weightAt(0).limitingUntilNs == kSecond * 11 / 10);
  CHECK(weightAt(kSecond * 11 / 10 - 1).limiting && !weightAt(kSecond * 11 / 10).limiting);
  CHECK(weightAt(kSecond * 3 / 2).consumed == 0.5);
  CHECK_EQ(key.allow(kSecond * 3 / 2, 50, kPaid), Outcome::kAllowed);
  CHECK(weightAt(kSecond * 3 / 2).limiting);
  CHECK_EQ(weightAt(kSecond * 3 / 2).limitingUntilNs, 2 * kSecond + kSecond * 41 / 50);
  key.block(kSecond * 3 / 2, kDay);
  CHECK(weightAt(kSecond * 3 / 2).limiting && weightAt(kDay - 1).limitingUntilNs == kDay);
  CHECK(!SlidingWindow::weigh(book, Entry{}, 0).limiting && !SlidingWindow::live(book, Entry{}, 0));
}

// The upper bits of a window's index are kept apart from the lower ones; keys must not notice when they
// change.
TEST(windows_cross_the_boundary_between_payload_and_meta) {
  for (const Size& size : {Size{60 * kSecond, kTwo31}, Size{kTwo32, kTwo32}, Size{kSecond, 1 << 29}}) {
    const SlidingWindow::Book book = bookOf(size.windowNs, {size.limit});
    Key key(book);
    int crossings = 0;
    for (std::uint64_t window = 1; window < 300'000 && crossings < 3; ++window) {
      const std::uint32_t before = key.entry.meta;
      const std::uint64_t endNs = (window + 1) * size.windowNs;
      const std::uint64_t taken = key.penalize(endNs - 1, size.limit);
      CHECK(taken >= size.limit - size.limit / 4096 - 1);
      CHECK_EQ(key.allow(endNs - 1, 1), Outcome::kLimited);
      CHECK_EQ(key.peek(endNs).remaining, 0);
      crossings += key.entry.meta != before;
    }
    CHECK_EQ(crossings, 3);
  }
}

TEST(full_counts_never_look_like_a_claimed_slot) {
  for (const std::uint64_t windowNs : {kSecond, kTwo32, kDay}) {
    SlidingWindow::Book book = *SlidingWindow::Book::make({windowNs, std::min(windowNs, kTwo32), 1});
    CHECK(book.add({book.maxCount()}).has_value());
    for (std::uint64_t window = 1; window < 3000; ++window) {
      Key key(book);
      // As much as there can be in both counts; the lower bits of the index are all ones now and then.
      penalize(book, key, window * windowNs - 1, ~std::uint64_t{0}, ~std::uint64_t{0});
      penalize(book, key, (window + 2) * windowNs - 1, ~std::uint64_t{0}, ~std::uint64_t{0});
      if (!CHECK(key.entry.payload != sluice::kPayloadMask)) return check::note("window:", windowNs, window);
    }
  }
}

TEST(any_bits_are_survived) {
  Random random = check::seeded("sliding bits", 3);
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const std::uint64_t windowNs = random.magnitude(kHorizonNs),
                        limit = random.magnitude(std::min(windowNs, kTwo32));
    const SlidingWindow::Book book = bookOf(windowNs, {limit});
    Key key(book);
    key.entry = {random.next() >> 4, static_cast<std::uint32_t>(random.below(sluice::kMetaMask + 1))};
    const std::uint64_t nowNs = random.magnitude(kHorizonNs / 2);
    const Decision first = key.consume(nowNs, random.magnitude(limit));
    bool fine = CHECK(first.remaining <= limit);
    if (first.outcome == Outcome::kLimited) {
      fine &= CHECK(first.retryAfterNs <= 2 * windowNs + sluice::kClockToleranceNs);
    }
    key.penalize(nowNs, random.magnitude(limit));
    key.refund(nowNs, random.magnitude(limit), random.magnitude(windowNs));
    key.block(nowNs, nowNs + random.magnitude(kYear));
    if (!fine) return check::note("window, limit, now:", windowNs, limit, nowNs);
  }
}

TEST(time_stands_still_at_the_horizon_and_nothing_breaks) {
  for (const Size& size : {Size{kSecond, 10}, Size{kHorizonNs, 10}, Size{kHorizonNs / 2 + 1, kTwo32}}) {
    const SlidingWindow::Book book = bookOf(size.windowNs, {size.limit});
    for (const std::uint64_t nowNs : {kHorizonNs - 1, kHorizonNs, kHorizonNs + 1, ~std::uint64_t{0}}) {
      Key key(book);
      CHECK_EQ(key.consume(nowNs, size.limit).remaining, 0);
      CHECK_EQ(key.allow(nowNs, 1), Outcome::kLimited);
      CHECK(key.peek(nowNs).retryAfterNs <= 1);
      CHECK_EQ(key.refund(nowNs, 2 * size.limit), size.limit);
    }
  }
  const SlidingWindow::Book book = bookOf(kSecond, {1000});
  Key key(book);
  key.allow(kHorizonNs - kSecond, 900);
  const Decision last = key.peek(kHorizonNs);
  CHECK(last.remaining > 100 && last.remaining < 900);
  for (const std::uint64_t nowNs : {kHorizonNs + kSecond, ~std::uint64_t{0}}) {
    CHECK_EQ(key.peek(nowNs).remaining, last.remaining);
    CHECK(!SlidingWindow::charge(book, 0, key.entry, nowNs, 1).fromFuture);
  }
  CHECK_EQ(key.allow(kHorizonNs, 1), Outcome::kAllowed);
  CHECK_EQ(key.refund(kHorizonNs, 1, kHorizonNs + 1), 0);  // before the table was made
}

TEST(books_refuse_what_they_cannot_count) {
  const auto makes = [](std::uint64_t windowNs, std::uint64_t maxLimit) {
    return SlidingWindow::Book::make({windowNs, maxLimit, 1}).has_value();
  };
  CHECK(!makes(0, 1) && !makes(kSecond, 0) && !makes(kSecond, kSecond + 1));
  CHECK(!makes(kHorizonNs + 1, 1) && !makes(kYear, kTwo32 + 1));
  CHECK(makes(1, 1) && makes(kSecond, kSecond) && makes(kHorizonNs, kTwo32));
  SlidingWindow::Book book = bookOf(kSecond, {10});
  CHECK_EQ(book.maxCount(), (1 << 17) - 1);
  CHECK(book.options().windowNs == kSecond && book.options().maxLimit == 10);
  CHECK_EQ(book.options().alignToEpoch, 1);
  CHECK(!book.add({0}).has_value() && !book.add({book.maxCount() + 1}).has_value());
  CHECK(book.add({book.maxCount()}).has_value());
  while (book.size() < sluice::PolicyList::kMax) CHECK(book.add({5}).has_value());
  CHECK(!book.add({5}).has_value());
}

// The fixed window, by example: costs, alignment, refunds, penalties, blocks, clock steps, limits of every
// size.
#include "core/fixed_window.h"

#include "random.h"
#include "single_key.h"

using check::kBlocked;
using check::kLimited;
using check::kOk;
using check::kTooCostly;
using check::Verb;
using sluice::Decision;
using sluice::FixedWindow;
using sluice::kHorizonNs;
using sluice::kMaxTokens;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using Align = FixedWindow::Align;
using Key = check::SingleKey<FixedWindow>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kHour = 3600 * kSecond, kDay = 24 * kHour;
constexpr std::uint64_t kYear = 36525 * kDay / 100;
constexpr std::uint64_t kTwo31 = std::uint64_t{1} << 31, kTwo32Plus1 = (std::uint64_t{1} << 32) + 1;
constexpr std::uint32_t kFree = 0, kPaid = 1;

FixedWindow::Book bookOf(std::uint64_t windowNs, const std::vector<std::uint64_t>& limits,
                         Align align = Align::kFirstRequest) {
  auto book = FixedWindow::Book::make(windowNs, *std::max_element(limits.begin(), limits.end()), align);
  CHECK(book.has_value());
  for (const std::uint64_t limit : limits) CHECK(book->add({limit}).has_value());
  return *book;
}

struct Size {
  std::uint64_t windowNs, limit;
};
const std::vector<Size>& extremes() {
  static const std::vector<Size> sizes = {
      {1, 1},
      {7, 3},
      {100, 100},
      {127, 1},
      {128, 128},
      {1000, 1},
      {kSecond, 1},
      {kSecond, 1000},
      {kDay, 1},
      {kSecond, kSecond},
      {60 * kSecond, kTwo31},
      {60 * kSecond, kTwo32Plus1},
      {kYear, kTwo31},
      {kMaxTokens, kMaxTokens},
      {100 * kYear, kMaxTokens},
      {100 * kYear, 1},
      {kSecond, (1 << 18) - 1},
      {kSecond, (1 << 19) - 1},
  };
  return sizes;
}

}  // namespace

TEST(a_script_of_charges) {
  const FixedWindow::Book book = bookOf(kSecond, {10});
  Key key(book);
  check::play(key,
              {
                  {500'000, Verb::kConsume, 0, kOk, 10},
                  {500'000, Verb::kConsume, 11, kTooCostly, 10, sluice::kNever},
                  {600'000, Verb::kConsume, 9, kOk, 1},  // opens the window [0.6 s, 1.6 s)
                  {700'000, Verb::kConsume, 2, kLimited, 1, 900'000},
                  {700'000, Verb::kConsume, 1, kOk, 0},
                  {700'000, Verb::kConsume, 0, kOk, 0},
                  {1'599'999, Verb::kConsume, 1, kLimited, 0, 1},
                  {1'600'000, Verb::kPeek, 1, kOk, 10},
                  {1'700'000, Verb::kConsume, 11, kTooCostly, 10, sluice::kNever},
                  {1'800'000, Verb::kConsume, 10, kOk, 0},  // [1.8 s, 2.8 s): what was refused opened none
                  {2'799'999, Verb::kConsume, 1, kLimited, 0, 1},
                  {2'800'000, Verb::kConsume, 1, kOk, 9},
              });
}

TEST(a_script_of_charges_with_windows_of_the_epoch) {
  const FixedWindow::Book book = bookOf(kSecond, {10}, Align::kEpoch);
  Key key(book);
  check::play(key, {
                       {600'000, Verb::kConsume, 10, kOk, 0},
                       {999'999, Verb::kConsume, 1, kLimited, 0, 1},
                       {1'000'000, Verb::kConsume, 10, kOk, 0},
                       {1'250'000, Verb::kConsume, 1, kLimited, 0, 750'000},
                       {2'000'000, Verb::kConsume, 3, kOk, 7},
                       {5'999'999, Verb::kConsume, 10, kOk, 0},
                       {6'000'000, Verb::kConsume, 10, kOk, 0},
                   });
}

TEST(a_script_of_refunds_and_penalties) {
  const FixedWindow::Book book = bookOf(kSecond, {10});
  Key key(book);
  check::play(key, {
                       {0, Verb::kRefund, 5, 0, 10},  // no window is open
                       {0, Verb::kConsume, 10, kOk, 0},
                       {500'000, Verb::kRefund, 4, 4, 4},
                       {500'000, Verb::kPenalize, 1, 1, 3},
                       {500'000, Verb::kPenalize, 10, 3, 0},
                       {500'000, Verb::kRefund, 100, 10, 10},
                       {999'999, Verb::kConsume, 10, kOk, 0},  // still the first window
                       {1'000'000, Verb::kRefund, 10, 0, 10},  // it is over
                       {1'000'000, Verb::kPenalize, 4, 4, 6},  // opens one
                       {1'999'999, Verb::kConsume, 7, kLimited, 6, 1},
                   });
}

TEST(a_refund_never_credits_a_window_that_was_not_charged) {
  for (const Align align : {Align::kFirstRequest, Align::kEpoch}) {
    const FixedWindow::Book book = bookOf(kSecond, {10}, align);
    Key key(book);
    CHECK_EQ(key.allow(0, 5), Outcome::kAllowed);
    CHECK_EQ(key.allow(kSecond, 5), Outcome::kAllowed);
    CHECK_EQ(key.refund(kSecond + 1000, 1, 2000), 0);  // charged in the window before
    CHECK_EQ(key.refund(kSecond, 1, kSecond), 0);
    CHECK_EQ(key.refund(kSecond, 1, kSecond + 1), 0);  // before the table was made
    CHECK_EQ(key.refund(kSecond + 1000, 1, 1000), 1);
    CHECK_EQ(key.peek(kSecond + 1000).remaining, 6);
  }
}

TEST(a_refund_never_credits_the_next_window_of_the_epoch) {
  for (const Size& size : extremes()) {
    if (size.windowNs < 1000) continue;
    const FixedWindow::Book book = bookOf(size.windowNs, {size.limit}, Align::kEpoch);
    for (const std::uint64_t beforeNs :
         {std::uint64_t{1}, size.windowNs / 1'000'000 + 1, size.windowNs / 10}) {
      Key key(book);
      CHECK_EQ(key.allow(size.windowNs - beforeNs, 1), Outcome::kAllowed);
      CHECK_EQ(key.allow(size.windowNs + beforeNs, 1), Outcome::kAllowed);
      if (CHECK_EQ(key.refund(size.windowNs + beforeNs, 1, 2 * beforeNs), 0)) continue;
      check::note("window, limit, before:", size.windowNs, size.limit, beforeNs);
    }
  }
}

TEST(costs_around_the_limit_at_every_extreme) {
  for (const Size& size : extremes()) {
    for (const Align align : {Align::kFirstRequest, Align::kEpoch}) {
      const FixedWindow::Book book = bookOf(size.windowNs, {size.limit}, align);
      for (const std::uint64_t cost : {size.limit - 1, size.limit, size.limit + 1}) {
        Key key(book);
        const Decision first = key.consume(kSecond, cost);
        CHECK_EQ(first.outcome, cost > size.limit ? Outcome::kTooCostly : Outcome::kAllowed);
        CHECK_EQ(first.remaining, cost > size.limit ? size.limit : size.limit - cost);
        if (cost == size.limit && !key.retryIsExact(kSecond, 1))
          check::note("window, limit:", size.windowNs, size.limit);
      }
    }
  }
}

// A first-request window is never shorter than stated, and longer by at most one step of the size that
// fixed_window.h states; one of the epoch ends where the epoch's does.
TEST(windows_are_as_long_as_they_should_be) {
  check::Random random = check::seeded("window lengths", 1);
  for (const Size& size : extremes()) {
    const FixedWindow::Book first = bookOf(size.windowNs, {size.limit}),
                            epoch = bookOf(size.windowNs, {size.limit}, Align::kEpoch);
    const unsigned bits = std::max(18U, sluice::bitWidth(2 * size.limit + 1) + 1);
    const std::uint64_t stepNs =
        (std::uint64_t{1} << (bits - 8)) + size.windowNs / (std::uint64_t{1} << (70 - bits));
    for (int i = 0; i < 2000; ++i) {
      const std::uint64_t nowNs = random.oneIn(2) ? random.magnitude(40 * kYear) : random.below(40 * kYear);
      const std::uint64_t lengthNs = Key(first).consume(nowNs, 1).resetAfterNs;
      const std::uint64_t leftNs = Key(epoch).consume(nowNs, 1).resetAfterNs;
      const bool fine = CHECK(lengthNs >= size.windowNs && lengthNs <= size.windowNs + stepNs) &&
                        CHECK_EQ(leftNs, size.windowNs - nowNs % size.windowNs);
      if (!fine)
        return check::note("window, limit, now, length:", size.windowNs, size.limit, nowNs, lengthNs);
    }
  }
}

// The upper bits of a window's end are kept apart from the lower ones; keys must not notice when they change.
TEST(windows_cross_the_boundary_between_payload_and_meta) {
  for (const Size& size :
       {Size{60 * kSecond, kTwo31}, Size{kMaxTokens, kMaxTokens}, Size{3600 * kSecond, 1'000'000'000'000}}) {
    const FixedWindow::Book book = bookOf(size.windowNs, {size.limit});
    Key key(book);
    int crossings = 0;
    std::uint64_t nowNs = kSecond;
    for (int window = 0; window < 300'000 && crossings < 3 && nowNs < kHorizonNs / 2; ++window) {
      const std::uint32_t before = key.entry.meta;
      const Decision opened = key.consume(nowNs, size.limit - 1);
      CHECK_EQ(opened.outcome, Outcome::kAllowed);
      CHECK_EQ(key.allow(nowNs, 1), Outcome::kAllowed);
      CHECK_EQ(key.allow(nowNs + opened.resetAfterNs - 1, 1), Outcome::kLimited);
      nowNs += opened.resetAfterNs;
      crossings += key.entry.meta != before;
    }
    CHECK_EQ(crossings, 3);
  }
}

TEST(a_full_window_never_looks_like_a_claimed_slot) {
  for (const std::uint64_t limit :
       {kMaxTokens, std::uint64_t{1} << 52, (std::uint64_t{1} << 50) - 1, (std::uint64_t{1} << 50) - 2}) {
    auto book = *FixedWindow::Book::make(kYear, limit, Align::kFirstRequest);
    for (const std::uint64_t tier : {book.maxCount(), book.maxCount() - 1}) {
      const auto policy = book.add({tier});
      if (!policy) continue;
      for (std::uint64_t nowNs = 0; nowNs < kYear; nowNs += kHour / 2) {
        Key key(book);
        CHECK_EQ(key.allow(nowNs, tier, *policy), Outcome::kAllowed);  // SingleKey checks the payload
      }
    }
  }
}

TEST(tiers_share_the_count) {
  const FixedWindow::Book book = bookOf(kSecond, {10, 100});
  Key key(book);
  CHECK_EQ(key.consume(0, 8, kFree).remaining, 2);
  CHECK_EQ(key.consume(0, 50, kPaid).remaining, 42);
  CHECK_EQ(key.peek(0, kFree).remaining, 0);
  CHECK_EQ(key.allow(0, 1, kFree), Outcome::kLimited);
  CHECK_EQ(key.penalize(0, 5, kFree), 0);
  CHECK_EQ(key.refund(0, 55), 55);
  CHECK_EQ(key.peek(0, kFree).remaining, 7);
  CHECK_EQ(key.peek(kSecond, kFree).remaining, 10);
}

TEST(books_refuse_what_they_cannot_count) {
  CHECK(!FixedWindow::Book::make(0, 1, Align::kEpoch).has_value());
  CHECK(!FixedWindow::Book::make(kSecond, 0, Align::kEpoch).has_value());
  CHECK(!FixedWindow::Book::make(kSecond, kSecond + 1, Align::kEpoch).has_value());
  CHECK(!FixedWindow::Book::make(kHorizonNs + 1, 1, Align::kEpoch).has_value());
  CHECK(!FixedWindow::Book::make(kYear, kMaxTokens + 1, Align::kEpoch).has_value());
  FixedWindow::Book book = bookOf(kSecond, {10});
  CHECK(!book.add({0}).has_value());
  CHECK(!book.add({book.maxCount() + 1}).has_value());
  while (book.size() < sluice::PolicyList::kMax) CHECK(book.add({5}).has_value());
  CHECK(!book.add({5}).has_value());
}

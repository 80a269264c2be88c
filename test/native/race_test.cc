// Threads that race for the same keys: what is admitted is exact with frozen time and bounded with moving
// time.
#include "core/fixed_window.h"
#include "core/table.h"
#include "core/token_bucket.h"

#include "table_keys.h"
#include "threads.h"

using check::kThreads;
using check::numberedKey;
using sluice::FixedWindow;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::kNsPerUs;
using sluice::Outcome;
using sluice::Table;
using sluice::TokenBucket;

namespace {

constexpr std::uint64_t kNow = 100 * kNsPerSecond;

template <class Algorithm>
typename Algorithm::Book bookOf(std::uint64_t limit, std::uint64_t windowNs, std::uint64_t otherLimit = 1);
template <>
TokenBucket::Book bookOf<TokenBucket>(std::uint64_t limit, std::uint64_t windowNs, std::uint64_t otherLimit) {
  TokenBucket::Book book;
  CHECK(book.add({limit, windowNs, limit}).has_value() &&
        book.add({otherLimit, windowNs, otherLimit}).has_value());
  return book;
}
template <>
FixedWindow::Book bookOf<FixedWindow>(std::uint64_t limit, std::uint64_t windowNs, std::uint64_t otherLimit) {
  FixedWindow::Book book =
      *FixedWindow::Book::make(windowNs, std::max(limit, otherLimit), FixedWindow::Align::kFirstRequest);
  CHECK(book.add({limit}).has_value() && book.add({otherLimit}).has_value());
  return book;
}

// Every thread charges `cost` as often as would exhaust the limit alone; half of the threads by the short
// way.
template <class Algorithm>
void admitsExactly(std::uint64_t limit, std::uint64_t cost, int keys) {
  const auto table =
      check::makeTable<Algorithm>(10'000, limit, bookOf<Algorithm>(limit, 86'400 * kNsPerSecond));
  for (int key = 0; key < keys; ++key) {
    const sluice::Path path = numberedKey(*table, static_cast<std::uint64_t>(key));
    std::atomic<std::uint64_t> admitted{0};
    check::race([&](unsigned thread) {
      std::uint64_t mine = 0;
      for (std::uint64_t i = 0; i < limit / cost + 1; ++i) {
        mine += thread % 2 == 0 ? check::fastAllow(*table, path, kNow, cost)
                                : check::TableKey(*table, path).allow(kNow, cost) == Outcome::kAllowed;
      }
      admitted += mine;
    });
    if (!CHECK_EQ(admitted.load(), limit / cost)) return check::note("limit, cost:", limit, cost);
    CHECK_EQ(check::TableKey(*table, path).consume(kNow, 0).remaining, limit % cost);
  }
  CHECK_EQ(table->stats().occupied, keys);
  CHECK(table->consistent());
}

}  // namespace

TEST(frozen_time_admits_exactly_the_limit) {
  for (const std::uint64_t limit : {1U, 2U, 7U, 100U}) {
    admitsExactly<TokenBucket>(limit, 1, check::scaled(300));
    admitsExactly<FixedWindow>(limit, 1, check::scaled(300));
  }
  admitsExactly<TokenBucket>(static_cast<std::uint64_t>(check::scaled(1'000'000)), 1, 1);
  admitsExactly<FixedWindow>(static_cast<std::uint64_t>(check::scaled(1'000'000)), 1, 1);
}

TEST(frozen_time_admits_exactly_the_limit_at_greater_costs) {
  for (const std::uint64_t cost : {2U, 3U, 7U, 99U, 100U}) {
    admitsExactly<TokenBucket>(100, cost, check::scaled(100));
    admitsExactly<FixedWindow>(100, cost, check::scaled(100));
  }
  admitsExactly<TokenBucket>(1'000'003, 11, 2);
  admitsExactly<FixedWindow>(1'000'003, 11, 2);
}

namespace {

// Time moves on by `tickNs` whenever the first thread has made a call, for `ticks` ticks.
template <class Algorithm>
std::uint64_t admittedInMovingTime(Table<Algorithm>& table, std::uint64_t tickNs, int ticks) {
  const sluice::Path path = numberedKey(table, 1);
  std::atomic<std::uint64_t> nowNs{kNow}, admitted{0};
  std::atomic<bool> over{false};
  check::race([&](unsigned thread) {
    std::uint64_t mine = 0;
    for (int i = 0; thread == 0 ? i < ticks : !over; ++i) {
      const std::uint64_t cost = 1 + static_cast<std::uint64_t>(i) % 3;
      if (check::fastAllow(table, path, nowNs.load(), cost)) mine += cost;
      if (thread == 0) nowNs += tickNs;
    }
    if (thread == 0) over = true;
    admitted += mine;
  });
  CHECK(table.consistent());
  return admitted;
}

}  // namespace

TEST(moving_time_admits_at_most_burst_and_rate) {
  for (const std::uint64_t tickNs : {std::uint64_t{10}, kNsPerUs, 7 * kNsPerUs}) {
    const auto table = check::makeTable<TokenBucket>(100, 1, bookOf<TokenBucket>(1000, kNsPerMs));
    const int ticks = check::scaled(200'000);
    const std::uint64_t admitted = admittedInMovingTime(*table, tickNs, ticks),
                        refilled = static_cast<std::uint64_t>(ticks) * tickNs / 1000;
    CHECK(admitted <= 1000 + refilled);
    CHECK(admitted >= 1000);
  }
}

TEST(moving_time_admits_at_most_the_limit_in_each_window) {
  for (const std::uint64_t tickNs : {std::uint64_t{10}, kNsPerUs, 7 * kNsPerUs}) {
    const auto table = check::makeTable<FixedWindow>(100, 1, bookOf<FixedWindow>(50, kNsPerMs));
    const int ticks = check::scaled(200'000);
    const std::uint64_t windows = static_cast<std::uint64_t>(ticks) * tickNs / kNsPerMs + 1;
    const std::uint64_t admitted = admittedInMovingTime(*table, tickNs, ticks);
    CHECK(admitted <= 50 * windows);
    CHECK(admitted >= 50);
  }
}

// Threads of two tiers on the same keys: the greater tier's limit is spent exactly, the smaller's never
// exceeded.
template <class Algorithm>
static void tiersRace() {
  const std::uint64_t free = 50, paid = 100;
  const auto table =
      check::makeTable<Algorithm>(10'000, 1, bookOf<Algorithm>(free, 1000 * kNsPerSecond, paid));
  for (int key = 0; key < check::scaled(500); ++key) {
    check::TableKey<Algorithm> raced(*table, numberedKey(*table, static_cast<std::uint64_t>(key)));
    std::atomic<std::uint64_t> admitted{0}, admittedFree{0};
    check::race([&](unsigned thread) {
      for (std::uint64_t i = 0; i < 200; ++i) {
        const auto tier = static_cast<std::uint32_t>((i + thread) % 2);
        if (raced.allow(kNow, 1, tier) != Outcome::kAllowed) continue;
        ++admitted;
        if (tier == 0) ++admittedFree;
      }
    });
    if (!CHECK_EQ(admitted.load(), paid) || !CHECK(admittedFree <= free)) return;
    CHECK_EQ(raced.peek(kNow, 1).remaining, 0);
  }
  CHECK(table->consistent());
}

TEST(tiers_race_for_one_bucket) { tiersRace<TokenBucket>(); }
TEST(tiers_race_for_one_window) { tiersRace<FixedWindow>(); }

// Whoever was admitted gives it back: never more than the limit are in at once, and in the end nothing is
// missing.
template <class Algorithm>
static void refundsRace() {
  constexpr std::uint64_t kLimit = 3;
  const auto table = check::makeTable<Algorithm>(100, 1, bookOf<Algorithm>(kLimit, 86'400 * kNsPerSecond));
  check::TableKey<Algorithm> key(*table, numberedKey(*table, 1));
  std::atomic<std::uint64_t> inside{0}, admissions{0};
  check::race([&](unsigned) {
    for (int i = 0; i < check::scaled(100'000); ++i) {
      if (key.allow(kNow, 1) != Outcome::kAllowed) continue;
      ++admissions;
      CHECK(++inside <= kLimit);
      --inside;
      CHECK_EQ(key.refund(kNow, 1), 1);
    }
  });
  CHECK(admissions > kLimit);
  CHECK_EQ(key.peek(kNow).remaining, kLimit);
}

TEST(refunds_and_charges_race_for_one_bucket) { refundsRace<TokenBucket>(); }
TEST(refunds_and_charges_race_for_one_window) { refundsRace<FixedWindow>(); }

// Once block has returned, nobody who calls after that is admitted.
TEST(nobody_is_admitted_after_a_block) {
  const auto table =
      check::makeTable<TokenBucket>(10'000, 1, bookOf<TokenBucket>(1'000'000, 86'400 * kNsPerSecond));
  for (int key = 0; key < check::scaled(500); ++key) {
    check::TableKey<TokenBucket> raced(*table, numberedKey(*table, static_cast<std::uint64_t>(key)));
    std::atomic<bool> blocked{false};
    check::race([&](unsigned thread) {
      for (int i = 0; i < 200; ++i) {
        if (thread == 0 && i == 50) {
          CHECK(raced.block(kNow, kNow + kNsPerSecond));
          blocked = true;
        }
        const bool wasBlocked = blocked;
        const Outcome outcome = raced.allow(kNow, 1);
        CHECK(!wasBlocked || outcome == Outcome::kBlocked);
      }
    });
    CHECK(raced.reset(kNow));
  }
}

// Penalties, too, are taken once: as many tokens as were there.
TEST(penalties_race_for_what_is_left) {
  const auto table =
      check::makeTable<TokenBucket>(10'000, 1, bookOf<TokenBucket>(1000, 86'400 * kNsPerSecond));
  for (int key = 0; key < check::scaled(500); ++key) {
    check::TableKey<TokenBucket> raced(*table, numberedKey(*table, static_cast<std::uint64_t>(key)));
    std::atomic<std::uint64_t> taken{0};
    check::race([&](unsigned thread) {
      for (std::uint64_t i = 0; i < 50; ++i) {
        taken += thread % 2 == 0                             ? raced.penalize(kNow, 7)
                 : raced.allow(kNow, 3) == Outcome::kAllowed ? 3
                                                             : 0;
      }
    });
    CHECK_EQ(taken + raced.consume(kNow, 0).remaining, 1000);
  }
}

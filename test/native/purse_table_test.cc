// Purses in a table: who takes a place and who makes room, and threads that race for one purse.
#include "core/purse.h"

#include "table_keys.h"
#include "threads.h"

using check::Random;
using sluice::BookOptions;
using sluice::Decision;
using sluice::kMaxTokens;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::Purse;
using sluice::Table;

namespace {

constexpr std::uint64_t kTick = Purse::kTickNs, kMost = Purse::kMaxBalance;
constexpr std::uint64_t kDay = 86'400 * kNsPerSecond;
constexpr std::uint64_t kNow = 100 * kNsPerSecond;
constexpr std::uint64_t kWindow = 100 * kNsPerMs;

Purse::Book bookOf(std::uint64_t windowNs = kWindow) {
  auto book = Purse::Book::make(BookOptions{windowNs, 1, 0});
  CHECK(book.has_value());
  CHECK(book->add({1}).has_value());
  return *book;
}

}  // namespace

TEST(a_purse_cannot_be_blocked) {
  const auto table = check::makeTable<Purse>(100, 1, bookOf());
  check::TableKey<Purse> key(*table, check::numberedKey(*table, 1));
  CHECK(!key.block(kNow, kNow + kDay));
  CHECK_EQ(table->stats().occupied, 0);
  CHECK_EQ(key.refund(kNow, 5), 5);
  CHECK(!key.block(kNow, kNow + kDay));
  CHECK_EQ(key.allow(kNow, 5), Outcome::kAllowed);
}

TEST(who_has_no_purse_takes_no_place) {
  const auto table = check::makeTable<Purse>(1000, 1, bookOf());
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    check::TableKey<Purse> key(*table, check::numberedKey(*table, i));
    CHECK(!key.fastAllow(kNow, 1));
    CHECK_EQ(key.consume(kNow, 1).outcome, Outcome::kLimited);
    CHECK_EQ(key.peek(kNow).outcome, Outcome::kLimited);
    CHECK_EQ(key.penalize(kNow, 1), 0);
    CHECK_EQ(key.refund(kNow, 1, kWindow), 0);
  }
  CHECK_EQ(table->stats().occupied, 0);
}

TEST(a_purse_in_a_table_is_taken_partly_and_forgotten) {
  const auto table = check::makeTable<Purse>(1000, 1, bookOf());
  const sluice::Path path = check::numberedKey(*table, 1);
  const sluice::Request<Purse> request{*table, path, 0, kNow};
  check::TableKey<Purse> key(*table, path);
  CHECK_EQ(consumePartial(request, kMaxTokens).consumed, 0);
  CHECK_EQ(table->stats().occupied, 0);
  key.refund(kNow, kMost);
  Decision taken = consumePartial(request, 1000);
  CHECK_EQ(taken.consumed, 1000);
  CHECK_EQ(taken.remaining, kMost - 1000);
  taken = consumePartial(request, kMaxTokens);
  CHECK_EQ(taken.consumed, kMost - 1000);
  CHECK_EQ(taken.remaining, 0);
  taken = consumePartial(request, kMaxTokens);
  CHECK_EQ(taken.outcome, Outcome::kLimited);
  CHECK_EQ(taken.consumed, 0);
  key.refund(kNow, 5);
  CHECK(key.reset(kNow));
  CHECK_EQ(key.peek(kNow).remaining, 0);
  CHECK(!key.reset(kNow));
}

// A table takes in as many keys as come, as long as others lapse; when it is full, the poorest go.
TEST(purses_that_are_empty_or_lapsed_make_room) {
  const auto table = check::makeTable<Purse>(40, 1, bookOf());
  std::uint64_t number = 0;
  for (std::uint64_t round = 0; round < 50; ++round) {
    const std::uint64_t nowNs = kNow + round * kWindow;
    for (std::uint64_t i = 0; i < 64; ++i) {
      check::TableKey<Purse> key(*table, check::craftedKey(static_cast<std::uint32_t>(i % 16), ++number));
      CHECK_EQ(key.refund(nowNs, 5), 5);
      if (i % 2 == 0) CHECK(key.fastAllow(nowNs, 5));
    }
  }
  CHECK_EQ(table->stats().evictedLive, 0);
  CHECK_EQ(table->stats().refusedFull, 0);
  CHECK(table->consistent());
}

TEST(a_full_table_drops_the_poorest_and_refuses_nobody) {
  const auto table = check::makeTable<Purse>(40, 1, bookOf());
  const auto keyOf = [&](std::uint64_t i) {
    return check::TableKey<Purse>(*table, check::craftedKey(static_cast<std::uint32_t>(i % 16), i));
  };
  for (std::uint64_t i = 0; i < 64; ++i)
    CHECK_EQ(keyOf(i).refund(kNow, i == 37 ? 2 : 10 + i), i == 37 ? 2 : 10 + i);
  CHECK_EQ(keyOf(64).refund(kNow, 1000), 1000);
  CHECK_EQ(keyOf(37).peek(kNow).remaining, 0);
  CHECK_EQ(keyOf(64).peek(kNow).remaining, 1000);
  for (std::uint64_t i = 0; i < 64; ++i) CHECK(i == 37 || keyOf(i).peek(kNow).remaining == 10 + i);
  CHECK_EQ(table->stats().evictedLive, 1);
  CHECK_EQ(table->stats().refusedFull, 0);
}

// Someone who read the clock and was stopped sees what was granted since in an impossible future. The clock
// is read again, and it is the present.
TEST(who_is_late_spends_and_adds_as_everybody) {
  const auto table = check::makeTable<Purse>(100, 1, bookOf());
  const sluice::Path path = check::numberedKey(*table, 1);
  constexpr std::uint64_t kPresent = kNow + kDay;
  const sluice::Later later{[](const void*) { return kPresent; }, nullptr};
  const sluice::Request<Purse> late{*table, path, 0, kNow, later};
  check::TableKey<Purse> key(*table, path);
  CHECK_EQ(key.refund(kPresent, 10), 10);
  CHECK_EQ(sluice::allow(late, 4), Outcome::kAllowed);
  CHECK_EQ(sluice::refund(late, 1, 0), 1);
  CHECK_EQ(sluice::penalize(late, 2), 2);
  CHECK_EQ(key.peek(kPresent).remaining, 5);
  CHECK_EQ(consumePartial(late, 100).consumed, 5);
  CHECK_EQ(sluice::allow(late, 1), Outcome::kLimited);
}

namespace {

std::uint64_t takenBy(Table<Purse>& table, const sluice::Path& path, Random& random, std::uint64_t nowNs) {
  check::TableKey<Purse> key(table, path);
  const std::uint64_t cost = random.between(1, 5), kind = random.below(8);
  if (kind == 0) return key.penalize(nowNs, cost);
  if (kind == 1) return consumePartial(sluice::Request<Purse>{table, path, 0, nowNs}, cost).consumed;
  const bool isTaken = kind < 5 ? key.fastAllow(nowNs, cost) : key.allow(nowNs, cost) == Outcome::kAllowed;
  return isTaken ? cost : 0;
}

}  // namespace

// What was granted once is taken once, whoever takes it.
TEST(threads_take_exactly_what_was_granted) {
  const auto table = check::makeTable<Purse>(10'000, 1, bookOf());
  for (std::uint64_t number = 0; number < static_cast<std::uint64_t>(check::scaled(2000)); ++number) {
    const sluice::Path path = check::numberedKey(*table, number);
    CHECK_EQ(check::TableKey<Purse>(*table, path).refund(kNow, 500), 500);
    std::atomic<std::uint64_t> taken{0};
    check::race([&](unsigned thread) {
      Random random(number * 16 + thread);
      std::uint64_t mine = 0;
      for (int i = 0; i < 100; ++i) mine += takenBy(*table, path, random, kNow);
      taken += mine;
    });
    const std::uint64_t left = check::TableKey<Purse>(*table, path).peek(kNow).remaining;
    if (!CHECK_EQ(taken.load() + left, 500)) return check::note("key", number);
  }
}

// Grants and takes at once, while newcomers make the table rearrange itself: nothing is lost, nothing minted.
TEST(grants_race_with_takes_and_newcomers) {
  const auto table = check::makeTable<Purse>(1000, 1, bookOf());
  const sluice::Path path = check::numberedKey(*table, 1);
  std::atomic<std::uint64_t> granted{0}, taken{0};
  check::race([&](unsigned thread) {
    Random random(thread);
    std::uint64_t given = 0, mine = 0;
    for (int i = 0; i < check::scaled(300'000); ++i) {
      if (thread == 0 && random.oneIn(4)) {
        check::TableKey<Purse> newcomer(*table, check::numberedKey(*table, 2 + random.below(400)));
        newcomer.refund(kNow, 3);
        newcomer.allow(kNow, 3);
        newcomer.reset(kNow);
      }
      if (random.oneIn(3))
        given += check::TableKey<Purse>(*table, path)
                     .refund(kNow, random.between(1, 12), random.below(kWindow / 2));
      else
        mine += takenBy(*table, path, random, kNow);
    }
    granted += given;
    taken += mine;
  });
  CHECK(granted > 100'000 / SLUICE_TEST_SLOWDOWN);
  CHECK_EQ(taken + check::TableKey<Purse>(*table, path).peek(kNow).remaining, granted);
  CHECK(table->consistent());
}

// With moving time purses lapse in the middle of everything. More than was granted is never taken, and once
// nothing is granted any more, nothing is left after a window.
TEST(purses_lapse_while_they_are_raced_for) {
  const auto table = check::makeTable<Purse>(1000, 1, bookOf(5 * kTick));
  const sluice::Path path = check::numberedKey(*table, 1);
  std::atomic<std::uint64_t> granted{0}, taken{0}, nowNs{kNow};
  check::race([&](unsigned thread) {
    Random random(thread);
    std::uint64_t given = 0, mine = 0;
    for (int i = 0; i < check::scaled(300'000); ++i) {
      if (thread == 0) nowNs += random.below(kTick);
      if (random.oneIn(8))
        given += check::TableKey<Purse>(*table, path).refund(nowNs, 3, random.below(4 * kTick));
      else
        mine += takenBy(*table, path, random, nowNs);
    }
    granted += given;
    taken += mine;
  });
  CHECK(taken > 1000 && taken <= granted);
  CHECK_EQ(check::TableKey<Purse>(*table, path).peek(nowNs + 5 * kTick).remaining, 0);
  CHECK(table->consistent());
}

// A table of 16 lines in which all keys want the same places: collisions, eviction, a full table, overflow
// counts.
#include "core/fixed_window.h"
#include "core/table.h"
#include "core/token_bucket.h"

#include <map>

#include "single_key.h"
#include "table_keys.h"

using check::craftedKey;
using check::Random;
using sluice::Decision;
using sluice::FixedWindow;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::Table;
using sluice::TokenBucket;
using Key = check::TableKey<TokenBucket>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond;
constexpr std::uint64_t kSlots = 64;
constexpr std::uint64_t kBurst = 100;

TokenBucket::Book twoTiers() {
  TokenBucket::Book book;
  CHECK(book.add({1, kSecond, kBurst}).has_value() && book.add({10, kSecond, 2 * kBurst}).has_value());
  return book;
}

// 16 lines of 4 slots, all of which are on every key's path.
std::unique_ptr<Table<TokenBucket>> tinyTable() {
  auto table = check::makeTable<TokenBucket>(40, 1, twoTiers());
  CHECK_EQ(table->geometry().slots(), kSlots);
  return table;
}

Key crowded(Table<TokenBucket>& table, std::uint64_t number, std::uint32_t home = 0) {
  return {table, craftedKey(home, number)};
}

// Spends cost(i) of each key i in [0, 64).
template <class Cost>
void fill(Table<TokenBucket>& table, std::uint64_t nowNs, Cost&& cost) {
  for (std::uint64_t i = 0; i < kSlots; ++i)
    CHECK_EQ(crowded(table, i).allow(nowNs, cost(i)), Outcome::kAllowed);
}

}  // namespace

TEST(keys_of_one_home_line_fill_every_slot) {
  for (std::uint32_t home = 0; home < 16; ++home) {
    const auto table = tinyTable();
    for (std::uint64_t i = 0; i < kSlots; ++i)
      CHECK_EQ(crowded(*table, i, home).allow(kSecond, i % 7 + 1), Outcome::kAllowed);
    CHECK_EQ(table->stats().occupied, kSlots);
    CHECK_EQ(table->stats().evictedLive, 0);
    for (std::uint64_t i = 0; i < kSlots; ++i)
      CHECK_EQ(crowded(*table, i, home).peek(kSecond).remaining, kBurst - i % 7 - 1);
    CHECK(table->consistent());
  }
}

TEST(the_least_consumed_key_makes_room) {
  for (std::uint64_t least = 0; least < kSlots; least += 7) {
    const auto table = tinyTable();
    fill(*table, kSecond, [&](std::uint64_t i) { return i == least ? 3 : 5 + i % 90; });
    CHECK_EQ(crowded(*table, 1000).allow(kSecond, 50), Outcome::kAllowed);
    CHECK_EQ(table->stats().evictedLive, 1);
    CHECK_EQ(table->stats().occupied, kSlots);
    for (std::uint64_t i = 0; i < kSlots; ++i) {
      CHECK_EQ(crowded(*table, i).peek(kSecond).remaining, i == least ? kBurst : kBurst - 5 - i % 90);
    }
    CHECK_EQ(crowded(*table, 1000).peek(kSecond).remaining, 50);
    CHECK(table->consistent());
  }
}

TEST(keys_that_limit_are_never_evicted) {
  const auto table = tinyTable();
  fill(*table, kSecond,
       [](std::uint64_t i) { return i % 2 == 0 ? kBurst : 1; });  // half of them are exhausted
  for (std::uint64_t i = 0; i < 10; ++i) CHECK(crowded(*table, 2 * i + 1).block(kSecond, kDay));
  for (std::uint64_t i = 100; i < 1000; ++i)
    CHECK_EQ(crowded(*table, i).allow(kSecond, 1), Outcome::kAllowed);
  CHECK_EQ(table->stats().evictedLive, 900);
  for (std::uint64_t i = 0; i < kSlots; i += 2)
    CHECK_EQ(crowded(*table, i).allow(kSecond, 1), Outcome::kLimited);
  for (std::uint64_t i = 0; i < 10; ++i)
    CHECK_EQ(crowded(*table, 2 * i + 1).allow(kSecond, 1), Outcome::kBlocked);
  CHECK(table->consistent());
}

TEST(a_full_table_says_exactly_how_long) {
  const auto table = tinyTable();
  for (std::uint64_t i = 0; i < kSlots; ++i) {
    const std::uint64_t nowNs = kSecond + (i * 37 + 20) % kSlots * kNsPerMs;  // key 12 is first, at 1 s
    CHECK_EQ(crowded(*table, i).allow(nowNs, kBurst), Outcome::kAllowed);
  }
  const std::uint64_t nowNs = kSecond + 100 * kNsPerMs;
  Key newcomer = crowded(*table, 1000);
  const Decision refused = newcomer.consume(nowNs, 1);
  CHECK_EQ(refused.outcome, Outcome::kTableFull);
  CHECK_EQ(refused.remaining, 0);
  CHECK_EQ(refused.retryAfterNs, kSecond - 100 * kNsPerMs);  // the first of them regains a token at 2 s
  CHECK(!newcomer.block(nowNs, kDay));
  CHECK_EQ(newcomer.penalize(nowNs, 5), 0);
  CHECK_EQ(newcomer.refund(nowNs, 5), 0);
  CHECK_EQ(newcomer.consume(nowNs, 0).outcome, Outcome::kAllowed);
  CHECK_EQ(table->stats().refusedFull, 3);
  CHECK_EQ(newcomer.allow(nowNs + refused.retryAfterNs - 1, 1), Outcome::kTableFull);
  CHECK_EQ(newcomer.allow(nowNs + refused.retryAfterNs, 1), Outcome::kAllowed);
  CHECK_EQ(table->stats().evictedLive, 1);
  CHECK(table->consistent());
}

TEST(a_table_full_of_blocks_says_when_the_first_ends) {
  const auto table = tinyTable();
  for (std::uint64_t i = 0; i < kSlots; ++i)
    CHECK(crowded(*table, i).block(0, (100 + (i * 29 + 7) % kSlots) * kNsPerMs));
  CHECK_EQ(crowded(*table, 1000).consume(40 * kNsPerMs, 1).retryAfterNs, 60 * kNsPerMs);
  CHECK_EQ(crowded(*table, 1000).allow(100 * kNsPerMs, 1), Outcome::kAllowed);
  CHECK_EQ(table->stats().evictedLive, 0);  // the block was over: nothing was lost
}

TEST(a_full_table_of_windows_says_when_the_first_ends) {
  FixedWindow::Book book = *FixedWindow::Book::make(kSecond, 10, FixedWindow::Align::kFirstRequest);
  CHECK(book.add({10}).has_value() && book.add({5}).has_value());
  const auto table = check::makeTable<FixedWindow>(40, 1, std::move(book));
  auto window = [&](std::uint64_t i) { return check::TableKey<FixedWindow>(*table, craftedKey(3, i)); };
  // Judged by the strictest tier: five of ten are enough to be kept.
  for (std::uint64_t i = 0; i < kSlots; ++i)
    CHECK_EQ(window(i).allow((10 + i) * kNsPerMs, 5), Outcome::kAllowed);
  const Decision refused = window(1000).consume(100 * kNsPerMs, 1);
  CHECK_EQ(refused.outcome, Outcome::kTableFull);
  CHECK_EQ(refused.retryAfterNs, kSecond - 90 * kNsPerMs);
  CHECK_EQ(window(1000).allow(kSecond + 10 * kNsPerMs, 1), Outcome::kAllowed);
  CHECK(table->consistent());
}

// More than 15 keys pass the home line: its count sticks, and is made exact again later. Nobody is lost
// meanwhile.
TEST(overflow_counts_survive_saturation) {
  const auto table = tinyTable();
  fill(*table, kSecond, [](std::uint64_t i) { return i + 1; });
  for (std::uint64_t round = 0; round < 20; ++round) {
    for (std::uint64_t i = 0; i < kSlots; ++i) {
      if ((i + round) % 4 == 0) CHECK(crowded(*table, i).reset(kSecond));
    }
    CHECK(table->consistent());
    for (std::uint64_t i = 0; i < kSlots; ++i) {
      CHECK_EQ(crowded(*table, i).peek(kSecond).remaining, (i + round) % 4 == 0 ? kBurst : kBurst - i - 1);
    }
    for (std::uint64_t i = 0; i < kSlots; ++i) {
      if ((i + round) % 4 == 0) CHECK_EQ(crowded(*table, i).allow(kSecond, i + 1), Outcome::kAllowed);
    }
    CHECK(table->consistent());
  }
  CHECK_EQ(table->stats().evictedLive, 0);
}

TEST(keys_with_the_same_place_but_other_fingerprints_are_apart) {
  const auto table = tinyTable();
  for (std::uint32_t home = 0; home < 4; ++home) {
    for (std::uint64_t i = 0; i < 12; ++i)
      CHECK_EQ(crowded(*table, 100 * home + i, home).allow(kSecond, home * 20 + i + 1), Outcome::kAllowed);
  }
  for (std::uint32_t home = 0; home < 4; ++home) {
    for (std::uint64_t i = 0; i < 12; ++i)
      CHECK_EQ(crowded(*table, 100 * home + i, home).peek(kSecond).remaining, kBurst - home * 20 - i - 1);
  }
}

namespace {

// A table of 40 keys beside 40 single keys, which know nothing of slots.
class Twin {
 public:
  Twin() : book_(twoTiers()), table_(tinyTable()) {}

  bool step(Random& random, std::uint64_t nowNs) {
    const std::uint64_t number = random.below(40);
    auto& single = singles_.try_emplace(number, book_).first->second;
    Key key = crowded(*table_, number, static_cast<std::uint32_t>(number % 2));
    const auto tier = static_cast<std::uint32_t>(random.below(2));
    const std::uint64_t amount = random.magnitude(2 * kBurst);
    switch (random.below(12)) {
      case 0:
        return CHECK_EQ(key.reset(nowNs), single.live(nowNs)) && forget(number);
      case 1:
        return CHECK_EQ(key.penalize(nowNs, amount, tier), single.penalize(nowNs, amount, tier));
      case 2:
        return CHECK_EQ(key.refund(nowNs, amount, 0, tier), single.refund(nowNs, amount, 0, tier));
      case 3:
        single.block(nowNs, nowNs + amount * kNsPerMs, tier);
        return CHECK(key.block(nowNs, nowNs + amount * kNsPerMs, tier));
      default:
        return alike(key.consume(nowNs, amount, tier), single.consume(nowNs, amount, tier));
    }
  }
  const Table<TokenBucket>& table() const { return *table_; }

 private:
  static bool alike(const Decision& actual, const Decision& expected) {
    return CHECK_EQ(actual.outcome, expected.outcome) && CHECK_EQ(actual.remaining, expected.remaining) &&
           CHECK_EQ(actual.retryAfterNs, expected.retryAfterNs) &&
           CHECK_EQ(actual.resetAfterNs, expected.resetAfterNs);
  }
  bool forget(std::uint64_t number) { return singles_.erase(number) == 1; }

  TokenBucket::Book book_;
  std::unique_ptr<Table<TokenBucket>> table_;
  std::map<std::uint64_t, check::SingleKey<TokenBucket>> singles_;
};

}  // namespace

TEST(a_crowded_table_answers_as_single_keys_do) {
  Random random = check::seeded("table twin", 1);
  for (int run = 0; run < check::scaled(100); ++run) {
    Twin twin;
    std::uint64_t nowNs = random.below(kDay);
    for (int i = 0; i < 2000; ++i) {
      nowNs += random.oneIn(3) ? 0 : random.magnitude(kSecond) * (random.oneIn(100) ? 1000 : 1);
      if (!twin.step(random, nowNs)) return check::note("run, step, now:", run, i, nowNs);
      if (i % 100 == 0 && !CHECK(twin.table().consistent())) return;
    }
    CHECK_EQ(twin.table().stats().evictedLive + twin.table().stats().refusedFull, 0);
  }
}

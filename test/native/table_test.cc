// The table as a whole: how many keys it holds in how much memory, and that spraying it with keys resets
// nobody.
#include "core/table.h"
#include "core/fixed_window.h"
#include "core/token_bucket.h"

#include "table_keys.h"

using check::numberedKey;
using sluice::FixedWindow;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::Table;
using sluice::TokenBucket;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond;
constexpr std::uint64_t kBurst = 10;
constexpr std::uint64_t kSeeds = 1 + check::scaled(3);

// Ten tokens that take 10 days to refill: nothing expires unless a test lets time pass.
template <class Algorithm>
typename Algorithm::Book slowBook();
template <>
TokenBucket::Book slowBook<TokenBucket>() {
  TokenBucket::Book book;
  CHECK(book.add({1, kDay, kBurst}).has_value());
  return book;
}
template <>
FixedWindow::Book slowBook<FixedWindow>() {
  FixedWindow::Book book = *FixedWindow::Book::make(kDay, kBurst, FixedWindow::Align::kFirstRequest);
  CHECK(book.add({kBurst}).has_value());
  return book;
}

template <class Algorithm>
check::TableKey<Algorithm> keyOf(Table<Algorithm>& table, std::uint64_t number) {
  return {table, numberedKey(table, number)};
}

// Charges 1 to each of the keys [first, first + count); how many were admitted.
template <class Algorithm>
std::uint64_t charge(Table<Algorithm>& table, std::uint64_t first, std::uint64_t count, std::uint64_t nowNs,
                     std::uint64_t cost = 1) {
  std::uint64_t admitted = 0;
  for (std::uint64_t i = first; i < first + count; ++i)
    admitted += keyOf(table, i).allow(nowNs, cost) == Outcome::kAllowed;
  return admitted;
}

// How many of the keys [0, count) the table still remembers.
template <class Algorithm>
std::uint64_t remembered(Table<Algorithm>& table, std::uint64_t count, std::uint64_t nowNs) {
  std::uint64_t known = 0;
  for (std::uint64_t i = 0; i < count; ++i) known += keyOf(table, i).peek(nowNs).remaining == kBurst - 1;
  return known;
}

template <class Algorithm>
void holdsMaxKeys(std::uint64_t maxKeys, std::uint64_t seed) {
  const auto table = check::makeTable<Algorithm>(maxKeys, seed, slowBook<Algorithm>());
  CHECK_EQ(charge(*table, 0, maxKeys, kSecond), maxKeys);
  const sluice::TableStats stats = table->stats();
  CHECK_EQ(stats.occupied, maxKeys);
  CHECK_EQ(stats.evictedLive, 0);
  CHECK_EQ(stats.refusedFull, 0);
  CHECK_EQ(remembered(*table, maxKeys, kSecond), maxKeys);
  CHECK(table->consistent());
}

}  // namespace

TEST(every_size_of_table_holds_as_many_keys_as_it_was_made_for) {
  for (std::uint64_t maxKeys = 1; maxKeys <= 100; ++maxKeys) holdsMaxKeys<TokenBucket>(maxKeys, maxKeys);
  for (const std::uint64_t maxKeys : {182U, 183U, 365U, 366U, 731U, 732U, 733U, 1462U, 5000U})
    holdsMaxKeys<FixedWindow>(maxKeys, 1);
}

TEST(a_table_filled_to_100_000_keys_drops_none) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) holdsMaxKeys<TokenBucket>(100'000, seed);
}

// A million, in a build without sanitizers.
TEST(a_table_filled_to_a_million_keys_drops_none_and_takes_24_bytes_a_key) {
  constexpr std::uint64_t kKeys = check::scaled(1'000'000);
  holdsMaxKeys<TokenBucket>(kKeys, 1);
  holdsMaxKeys<FixedWindow>(kKeys, 2);
  CHECK(check::makeTable<TokenBucket>(kKeys, 1, slowBook<TokenBucket>())->bytes() <= 24 * kKeys);
}

TEST(a_table_80_percent_full_takes_21_bytes_a_key) {
  const auto table = check::makeTable<TokenBucket>(200'000, 3, slowBook<TokenBucket>());
  const std::uint64_t keys = table->geometry().slots() * 8 / 10;
  CHECK_EQ(charge(*table, 0, keys, kSecond), keys);
  const sluice::TableStats stats = table->stats();
  CHECK(stats.evictedLive * 1'000'000 <= keys);
  CHECK(static_cast<double>(table->bytes()) / static_cast<double>(stats.occupied) <= 21);
  CHECK(table->consistent());
}

TEST(at_99_percent_occupancy_every_key_is_remembered_or_counted_as_dropped) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const auto table = check::makeTable<TokenBucket>(20'000, seed, slowBook<TokenBucket>());
    const std::uint64_t slots = table->geometry().slots();
    std::uint64_t keys = 0;
    for (; table->stats().occupied * 100 < slots * 99; ++keys)
      CHECK_EQ(keyOf(*table, keys).allow(kSecond, 1), Outcome::kAllowed);
    const sluice::TableStats stats = table->stats();
    CHECK_EQ(stats.occupied + stats.evictedLive, keys);
    CHECK_EQ(stats.refusedFull, 0);
    CHECK_EQ(remembered(*table, keys, kSecond), stats.occupied);
    CHECK(table->consistent());
  }
}

// Victims are keys 0 to 199, blocked, and 200 to 399, exhausted.
constexpr std::uint64_t kVictims = 200;

template <class Algorithm>
static void prepareVictims(Table<Algorithm>& table, std::uint64_t nowNs) {
  for (std::uint64_t i = 0; i < kVictims; ++i) CHECK(keyOf(table, i).block(nowNs, nowNs + kDay / 2));
  CHECK_EQ(charge(table, kVictims, kVictims, nowNs, kBurst), kVictims);
}

template <class Algorithm>
static bool victimsStillDenied(Table<Algorithm>& table, std::uint64_t nowNs) {
  for (std::uint64_t i = 0; i < kVictims; ++i) {
    if (!CHECK_EQ(keyOf(table, i).allow(nowNs, 1), Outcome::kBlocked)) return false;
    if (!CHECK_EQ(keyOf(table, kVictims + i).allow(nowNs, 1), Outcome::kLimited)) return false;
  }
  return CHECK(table.consistent());
}

template <class Algorithm>
static void sprayLeavesVictims(std::uint64_t cost, std::uint64_t seed) {
  constexpr std::uint64_t kMaxKeys = 4000;
  const auto table = check::makeTable<Algorithm>(kMaxKeys, seed, slowBook<Algorithm>());
  prepareVictims(*table, kSecond);
  check::Random random(seed);
  std::uint64_t nowNs = kSecond;
  for (std::uint64_t i = 0; i < 10 * kMaxKeys; ++i, nowNs += 1000)
    keyOf(*table, random.next() | std::uint64_t{1} << 63).allow(nowNs, cost);
  const sluice::TableStats stats = table->stats();
  CHECK(stats.evictedLive + stats.refusedFull > 5 * kMaxKeys);  // it was really full
  CHECK(cost == kBurst || stats.refusedFull == 0);
  CHECK(victimsStillDenied(*table, nowNs));
}

TEST(a_spray_of_keys_resets_nobody_who_is_limited) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) sprayLeavesVictims<TokenBucket>(1, seed);
  sprayLeavesVictims<FixedWindow>(1, 4);
}

TEST(a_spray_of_exhausted_keys_resets_nobody_who_is_limited) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) sprayLeavesVictims<TokenBucket>(kBurst, seed);
  sprayLeavesVictims<FixedWindow>(kBurst, 4);
}

TEST(expired_keys_make_room_without_being_counted_as_dropped) {
  constexpr std::uint64_t kMaxKeys = 20'000;
  const auto table = check::makeTable<TokenBucket>(kMaxKeys, 1, slowBook<TokenBucket>());
  for (std::uint64_t round = 0; round < 6; ++round) {
    const std::uint64_t nowNs = kSecond + 2 * round * kDay;  // a token takes a day
    CHECK_EQ(charge(*table, round * kMaxKeys, kMaxKeys, nowNs), kMaxKeys);
    CHECK(table->consistent());
  }
  CHECK_EQ(table->stats().evictedLive, 0);
  CHECK_EQ(table->stats().refusedFull, 0);
}

// Every insertion sweeps one line: as many insertions as a stripe has lines clear all that has expired in it.
TEST(insertions_sweep_away_what_has_expired) {
  const auto table = check::makeTable<TokenBucket>(20'000, 1, slowBook<TokenBucket>());
  CHECK_EQ(charge(*table, 0, 10'000, kSecond), 10'000);
  const sluice::Geometry& geometry = table->geometry();
  const std::uint64_t fresh = std::uint64_t{geometry.stripes} * geometry.linesPerStripe * 3 / 2;
  CHECK_EQ(charge(*table, 1'000'000, fresh, kSecond + 2 * kDay), fresh);
  CHECK_EQ(table->stats().occupied, fresh);
  CHECK(table->consistent());
}

TEST(reading_operations_insert_nothing) {
  const auto table = check::makeTable<TokenBucket>(100, 1, slowBook<TokenBucket>());
  auto key = keyOf(*table, 5);
  CHECK_EQ(key.peek(kSecond).remaining, kBurst);
  CHECK_EQ(key.consume(kSecond, 0).remaining, kBurst);
  CHECK_EQ(key.allow(kSecond, kBurst + 1), Outcome::kTooCostly);
  CHECK_EQ(key.refund(kSecond, 5), 0);
  CHECK_EQ(key.penalize(kSecond, 0), 0);
  CHECK(!key.reset(kSecond));
  CHECK_EQ(table->stats().occupied, 0);
}

TEST(reset_forgets_a_key_and_nothing_else) {
  const auto table = check::makeTable<TokenBucket>(20'000, 1, slowBook<TokenBucket>());
  CHECK_EQ(charge(*table, 0, 20'000, kSecond), 20'000);
  CHECK(keyOf(*table, 1).block(kSecond, kDay));
  for (std::uint64_t i = 1; i < 20'000; i += 2) CHECK(keyOf(*table, i).reset(kSecond));
  for (std::uint64_t i = 1; i < 20'000; i += 2) CHECK(!keyOf(*table, i).reset(kSecond));
  CHECK_EQ(table->stats().occupied, 10'000);
  CHECK_EQ(remembered(*table, 20'000, kSecond), 10'000);
  CHECK_EQ(keyOf(*table, 1).peek(kSecond).remaining, kBurst);
  CHECK(table->consistent());
  CHECK(!keyOf(*table, 0).reset(kSecond + 2 * kDay));  // expired: nothing was known of it
}

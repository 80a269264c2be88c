// Threads that race in a table of 64 slots, where slots change hands all the time: no key takes another's
// state, none that limits is lost, and the structure holds.
#include "core/fixed_window.h"
#include "core/table.h"
#include "core/token_bucket.h"

#include "table_keys.h"
#include "threads.h"

using check::craftedKey;
using check::kThreads;
using check::Random;
using sluice::FixedWindow;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::Table;
using sluice::TokenBucket;

namespace {

constexpr std::uint64_t kNow = 100 * kNsPerSecond, kDay = 86'400 * kNsPerSecond;
constexpr std::uint64_t kLimit = 20;

template <class Algorithm>
std::unique_ptr<Table<Algorithm>> tinyTable();
template <>
std::unique_ptr<Table<TokenBucket>> tinyTable() {
  TokenBucket::Book book;
  CHECK(book.add({1, kDay, kLimit}).has_value() && book.add({2, kDay, 2 * kLimit}).has_value());
  return check::makeTable<TokenBucket>(40, 1, std::move(book));
}
template <>
std::unique_ptr<Table<FixedWindow>> tinyTable() {
  FixedWindow::Book book = *FixedWindow::Book::make(kDay, 2 * kLimit, FixedWindow::Align::kFirstRequest);
  CHECK(book.add({kLimit}).has_value() && book.add({2 * kLimit}).has_value());
  return check::makeTable<FixedWindow>(40, 1, std::move(book));
}

// Three home lines for all keys: each is crowded.
template <class Algorithm>
check::TableKey<Algorithm> crowded(Table<Algorithm>& table, std::uint64_t number) {
  return {table, craftedKey(static_cast<std::uint32_t>(number % 3), number)};
}

// Any operation on any of the keys [first, first + count).
template <class Algorithm>
void disturb(Table<Algorithm>& table, Random& random, std::uint64_t first, std::uint64_t count,
             std::uint64_t nowNs) {
  auto key = crowded(table, first + random.below(count));
  const auto tier = static_cast<std::uint32_t>(random.below(2));
  switch (random.below(8)) {
    case 0:
      key.block(nowNs, nowNs + random.below(kDay), tier);
      break;
    case 1:
      key.penalize(nowNs, random.below(kLimit), tier);
      break;
    case 2:
      key.refund(nowNs, random.below(kLimit), 0, tier);
      break;
    case 3:
      key.peek(nowNs, tier);
      break;
    case 4:
      key.allow(nowNs, 1 + random.below(kLimit), tier);
      break;
    default:
      key.reset(nowNs);
      break;
  }
}

// In every round, 16 new keys are charged by all threads while 24 others come and go between them. No more
// than 40 live at a time, so none is evicted, and each of the 16 must be admitted exactly as often as its
// limit says.
template <class Algorithm>
void countedKeysStayExact(std::uint64_t seed) {
  constexpr std::uint64_t kCounted = 16, kOthers = 24, kOthersFirst = 1'000'000;
  const auto table = tinyTable<Algorithm>();
  const int rounds = check::scaled(600);
  for (int round = 0; round < rounds; ++round) {
    const std::uint64_t first = static_cast<std::uint64_t>(round) * kCounted;
    std::array<std::atomic<std::uint64_t>, kCounted> admitted{};
    check::race([&](unsigned thread) {
      Random random(seed + first * kThreads + thread);
      for (std::uint64_t i = 0; i < kLimit * kCounted; ++i) {
        const std::uint64_t which = (i + thread) % kCounted;
        admitted[which] += crowded(*table, first + which).allow(kNow, 1) == Outcome::kAllowed;
        disturb(*table, random, kOthersFirst, kOthers, kNow);
      }
    });
    for (std::uint64_t which = 0; which < kCounted; ++which) {
      if (!CHECK_EQ(admitted[which].load(), kLimit)) return check::note("round, key:", round, which);
      CHECK(crowded(*table, first + which).reset(kNow));
    }
    if (!CHECK(table->consistent())) return;
  }
  CHECK_EQ(table->stats().evictedLive, 0);
  CHECK_EQ(table->stats().refusedFull, 0);
}

}  // namespace

TEST(keys_stay_exact_while_others_come_and_go_beside_them) {
  check::note("race_churn counted seed", 1);
  countedKeysStayExact<TokenBucket>(1);
  countedKeysStayExact<FixedWindow>(2);
}

// The same keys in every round, a day or more later: all slots are reclaimed by whoever comes first.
template <class Algorithm>
static void reclaimedSlotsStayExact() {
  constexpr std::uint64_t kKeys = 48;
  const auto table = tinyTable<Algorithm>();
  for (std::uint64_t round = 0; round < static_cast<std::uint64_t>(check::scaled(600)); ++round) {
    const std::uint64_t nowNs = kNow + round * 2 * kLimit * kDay, first = round * 7;
    std::array<std::atomic<std::uint64_t>, kKeys> admitted{};
    check::race([&](unsigned thread) {
      for (std::uint64_t i = 0; i < kLimit * kKeys; ++i) {
        const std::uint64_t which = (i + 11 * thread) % kKeys;
        admitted[which] += crowded(*table, first + which).allow(nowNs, 1) == Outcome::kAllowed;
      }
    });
    for (const auto& count : admitted) {
      if (!CHECK_EQ(count.load(), kLimit)) return check::note("round", round);
    }
    if (!CHECK(table->consistent())) return;
  }
  CHECK_EQ(table->stats().evictedLive, 0);
}

TEST(slots_reclaimed_by_racing_threads_stay_exact) {
  reclaimedSlotsStayExact<TokenBucket>();
  reclaimedSlotsStayExact<FixedWindow>();
}

// Far more keys than slots, evicting each other; ten that are blocked and ten that are exhausted must stay
// so, for those who charge and for those who only look.
template <class Algorithm>
static void victimsStayDenied(std::uint64_t seed) {
  const auto table = tinyTable<Algorithm>();
  for (std::uint64_t i = 0; i < 10; ++i) CHECK(crowded(*table, i).block(kNow, kNow + kDay));
  for (std::uint64_t i = 10; i < 20; ++i) CHECK_EQ(crowded(*table, i).allow(kNow, kLimit), Outcome::kAllowed);
  check::race([&](unsigned thread) {
    Random random(seed + thread);
    for (int i = 0; i < check::scaled(300'000); ++i) {
      const std::uint64_t victim = random.below(20);
      const Outcome expected = victim < 10 ? Outcome::kBlocked : Outcome::kLimited;
      if (thread % 2 == 0) disturb(*table, random, 100, 300, kNow);
      const Outcome outcome = random.oneIn(2) ? crowded(*table, victim).allow(kNow, 1)
                                              : crowded(*table, victim).peek(kNow).outcome;
      if (!CHECK_EQ(outcome, expected)) return check::note("thread, step, victim:", thread, i, victim);
    }
  });
  CHECK(table->stats().evictedLive > 0);
  CHECK(table->consistent());
}

TEST(who_is_limited_stays_so_while_others_are_evicted) {
  check::note("race_churn victims seed", 3);
  victimsStayDenied<TokenBucket>(3);
  victimsStayDenied<FixedWindow>(4);
}

// Two keys that take one slot from each other at every call. One is charged 1 at a time, the other 2^20: a
// state that mixes the two shows that one key was charged, or read, with the other's.
TEST(keys_that_take_a_slot_from_each_other_never_mix) {
  constexpr std::uint64_t kMany = std::uint64_t{1} << 20, kMost = std::uint64_t{1} << 40;
  FixedWindow::Book book = *FixedWindow::Book::make(kDay, kMost, FixedWindow::Align::kFirstRequest);
  CHECK(book.add({kMost}).has_value());
  const auto table = check::makeTable<FixedWindow>(40, 1, std::move(book));
  for (std::uint64_t i = 0; i < 63; ++i) CHECK(crowded(*table, 3 * i).block(kNow, kNow + kDay));
  auto one = crowded(*table, 1000), many = crowded(*table, 1003);
  check::race([&](unsigned thread) {
    Random random(thread);
    for (int i = 0; i < check::scaled(200'000); ++i) {
      const bool looks = random.oneIn(2);
      random.oneIn(2) ? one.fastAllow(kNow, 1) : many.fastAllow(kNow, kMany);
      if (random.oneIn(2)) {
        const std::uint64_t spent = kMost - (looks ? one.peek(kNow) : one.consume(kNow, 1)).remaining;
        if (!CHECK(spent < kMany)) return check::note("step, spent:", i, spent);
      } else {
        const std::uint64_t spent = kMost - (looks ? many.peek(kNow) : many.consume(kNow, kMany)).remaining;
        if (!CHECK_EQ(spent % kMany, 0)) return check::note("step, spent:", i, spent);
      }
    }
  });
  CHECK(table->stats().evictedLive > 100);
  CHECK(table->consistent());
}

// Everything at once, with more keys than slots and time moving: it ends, and the structure holds.
template <class Algorithm>
static void everythingAtOnce(std::uint64_t seed) {
  const auto table = tinyTable<Algorithm>();
  std::atomic<std::uint64_t> nowNs{kNow};
  check::race([&](unsigned thread) {
    Random random(seed + thread);
    for (int i = 0; i < check::scaled(200'000); ++i) {
      disturb(*table, random, 0, 100, nowNs.load());
      if (random.oneIn(1000)) nowNs += random.below(kDay);
    }
  });
  CHECK(table->consistent());
  std::uint64_t forgotten = 0;
  for (std::uint64_t i = 0; i < 100; ++i) forgotten += crowded(*table, i).reset(0);
  CHECK(forgotten <= 64);
  CHECK_EQ(table->stats().occupied, 0);
  CHECK(table->consistent());
}

TEST(everything_at_once_leaves_a_sound_table) {
  check::note("race_churn everything seed", 5);
  everythingAtOnce<TokenBucket>(5);
  everythingAtOnce<FixedWindow>(6);
}

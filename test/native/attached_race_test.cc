// Threads with a table each on one region of this process: exact counts while they race for the same keys and
// for places, and while the limit is changed and tiers are added under them.
#include "core/fixed_window.h"
#include "core/token_bucket.h"

#include <array>
#include <set>

#include "table_keys.h"
#include "threads.h"

using check::craftedKey;
using check::kThreads;
using check::Random;
using sluice::FixedWindow;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::PolicyList;
using sluice::PolicySpec;
using sluice::Region;
using sluice::Table;
using sluice::TokenBucket;

namespace {

constexpr std::uint64_t kNow = 100 * kNsPerSecond, kDay = 86'400 * kNsPerSecond;
constexpr std::uint64_t kKeys = 40;

template <class Algorithm>
PolicySpec policyOf(std::uint64_t limit) {
  // A token bucket refills one token a day; a fixed window is a day long.
  if constexpr (std::is_same_v<Algorithm, TokenBucket>) return {1, kDay, limit, 0};
  return {limit, 0, 0, 0};
}

template <class Algorithm>
std::unique_ptr<Table<Algorithm>> firstTable(std::uint64_t limit) {
  sluice::RegionSpec spec;
  spec.algorithm = Algorithm::kId;
  spec.maxKeys = kKeys;
  spec.book = {kDay, 100'000, 0};
  spec.seed = check::hashSeed(1);
  spec.base = policyOf<Algorithm>(limit);
  spec.base.isBase = 1;
  return Table<Algorithm>::attach(Region::allocate(spec));
}

template <class Algorithm>
check::TableKey<Algorithm> keyOf(Table<Algorithm>& table, std::uint64_t number) {
  return {table, craftedKey(static_cast<std::uint32_t>(number % 3), number)};
}

// Each of the keys [first, first + kKeys) is admitted exactly `limit` times to all threads together.
template <class Algorithm>
void exactCounts() {
  constexpr std::uint64_t kLimit = 50;
  const auto first = firstTable<Algorithm>(kLimit);
  for (int round = 0; round < check::scaled(100) + 1; ++round) {
    std::array<std::atomic<std::uint64_t>, kKeys> admitted{};
    check::race([&](unsigned thread) {
      const auto table = Table<Algorithm>::attach(Region::attach(first->region()));
      for (std::uint64_t i = 0; i < kLimit * kKeys; ++i) {
        const std::uint64_t which = (i + 7 * thread) % kKeys;
        const bool fast = i % 2 == 0;
        auto key = keyOf(*table, which);
        admitted[which] += fast ? key.fastAllow(kNow, 1) : key.allow(kNow, 1) == Outcome::kAllowed;
        table->count(true);
      }
    });
    for (const auto& count : admitted) CHECK_EQ(count.load(), kLimit);
    for (std::uint64_t i = 0; i < kKeys; ++i) keyOf(*first, i).reset(kNow);
    if (!CHECK(first->consistent() && first->stats().occupied == 0)) return check::note("round", round);
    CHECK_EQ(first->stats().allowed, static_cast<std::uint64_t>(round + 1) * kThreads * kLimit * kKeys);
  }
}

}  // namespace

TEST(threads_with_tables_of_their_own_count_exactly) {
  exactCounts<TokenBucket>();
  exactCounts<FixedWindow>();
}

TEST(threads_that_come_and_go_never_share_a_place) {
  const auto first = firstTable<TokenBucket>(10);
  std::array<std::vector<std::uint64_t>, kThreads> tokens;
  std::array<std::atomic<int>, sluice::Member::kMax> holders{};
  check::race([&](unsigned thread) {
    for (int i = 0; i < check::scaled(5000); ++i) {
      auto attached = Region::attach(first->region());
      if (!CHECK(attached.member.has_value())) return;
      const std::uint64_t token = attached.member->token(), place = sluice::Member::placeOf(token);
      CHECK_EQ(holders[place].fetch_add(1), 0);
      tokens[thread].push_back(token);
      sluice::bump(attached.member->self().allowed, 1);
      holders[place].fetch_sub(1);
    }
  });
  std::set<std::uint64_t> all;
  for (const auto& some : tokens) all.insert(some.begin(), some.end());
  CHECK_EQ(all.size(), kThreads * static_cast<unsigned>(check::scaled(5000)));
  CHECK_EQ(first->stats().allowed, all.size());
}

TEST(threads_that_add_the_same_policies_agree_on_their_indices) {
  for (int round = 0; round < check::scaled(150) + 1; ++round) {
    constexpr std::uint64_t kPolicies = 100;
    const auto first = firstTable<TokenBucket>(10);
    std::array<std::array<std::uint32_t, kPolicies>, kThreads> indices{};
    check::race([&](unsigned thread) {
      const auto table = Table<TokenBucket>::attach(Region::attach(first->region()));
      for (std::uint64_t i = 0; i < kPolicies; ++i) {
        const std::uint64_t which = (i + 13 * thread) % kPolicies;
        const auto added = table->addPolicy(policyOf<TokenBucket>(which + 1));
        CHECK_EQ(added.status, PolicyList::Added::kDone);
        indices[thread][which] = added.index;
        CHECK_EQ(table->book().specAt(added.index).burst, which + 1);
        CHECK_EQ(table->book()[added.index].burst, which + 1);
      }
    });
    for (const auto& those : indices) CHECK(those == indices[0]);
    CHECK_EQ(first->region()->policies().size(), kPolicies + 1);
    for (std::uint64_t i = 0; i < kPolicies; ++i) CHECK_EQ(first->book()[indices[0][i]].burst, i + 1);
  }
}

// The limit changes all the time between kLow and kHigh while all spend: never more than kHigh are admitted.
// A window that only counts never admits fewer than kLow either.
template <class Algorithm>
static void changesWhileCharging() {
  constexpr std::uint64_t kLow = 200, kHigh = 300;
  for (int round = 0; round < check::scaled(200) + 1; ++round) {
    const auto first = firstTable<Algorithm>(kLow);
    std::array<std::atomic<std::uint64_t>, 4> admitted{};
    check::race([&](unsigned thread) {
      const auto table = Table<Algorithm>::attach(Region::attach(first->region()));
      Random random(thread + 10 * static_cast<unsigned>(round));
      for (std::uint64_t i = 0; i < 4 * kHigh; ++i) {
        if (random.oneIn(20)) table->setBasePolicy(policyOf<Algorithm>(random.between(kLow, kHigh)));
        if (random.oneIn(50)) table->addPolicy(policyOf<Algorithm>(random.between(1, 50)));
        const std::uint64_t which = i % admitted.size();
        admitted[which] += keyOf(*table, which).allow(kNow, 1, table->basePolicy()) == Outcome::kAllowed;
      }
    });
    for (const auto& count : admitted) {
      const std::uint64_t least = std::is_same_v<Algorithm, FixedWindow> ? kLow : 1;
      if (!CHECK(count.load() >= least && count.load() <= kHigh))
        return check::note("round", round, "admitted", count.load());
    }
    CHECK(first->consistent());
  }
}

TEST(changes_under_load_hand_out_nothing) {
  changesWhileCharging<TokenBucket>();
  changesWhileCharging<FixedWindow>();
}

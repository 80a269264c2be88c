// A process is killed at every point of every change of a stripe, and whoever repairs it at every point of
// the repair. Each time the others go on at once, and everything is as before the change or as after it.
#include "crash.h"
#include "shared_tables.h"

using check::kDay;
using check::kLimit;
using check::kNow;
using check::kTier;
using check::openTable;
using check::Random;
using check::RegionName;
using check::smallTable;
using check::takeLock;
using sluice::Concurrency;
using sluice::Decision;
using sluice::FixedWindow;
using sluice::Outcome;
using sluice::SlidingLog;
using sluice::StrictWindow;
using sluice::Table;
using sluice::TokenBucket;

namespace {

// Later than everything that was written at kNow with a cost of 1 still counts, in any algorithm.
constexpr std::uint64_t kLater = kNow + kDay / 12 * 13 + sluice::kNsPerSecond;
constexpr std::uint64_t kLongNs = 30 * kDay;
// Far more than it takes; a survivor that waits for the dead waits for ever.
constexpr std::uint64_t kAtOnceUs = 2'000'000;
constexpr std::uint64_t kKeys = 200;
constexpr std::uint64_t kSameHome = 100;

check::Worst worst;

// Below kSameHome, all keys want the same five lines; from there on the same one.
template <class Algorithm>
check::TableKey<Algorithm> keyOf(Table<Algorithm>& table, std::uint64_t number) {
  const auto home = static_cast<std::uint32_t>(number < kSameHome ? number % 5 * 3 : 0);
  return {table, check::craftedKey(home, number)};
}

template <class Algorithm>
struct Scenario {
  const char* name;
  std::function<void(Table<Algorithm>&)> prepare;
  std::function<void(Table<Algorithm>&)> change;
};

// Everything that anybody can see of all keys, in both tiers.
struct Snapshot {
  std::vector<std::uint64_t> seen;
  std::uint64_t evictedLive = 0;
  friend bool operator==(const Snapshot& a, const Snapshot& b) { return a.seen == b.seen; }
};

template <class Algorithm>
Snapshot look(Table<Algorithm>& table) {
  Snapshot snapshot;
  for (std::uint64_t i = 0; i < kKeys; ++i) {
    for (const std::uint32_t tier : {0U, kTier}) {
      const Decision seen = keyOf(table, i).peek(kLater, tier);
      snapshot.seen.insert(snapshot.seen.end(), {static_cast<std::uint64_t>(seen.outcome), seen.remaining,
                                                 seen.retryAfterNs, seen.resetAfterNs});
    }
  }
  snapshot.evictedLive = table.stats().evictedLive;
  return snapshot;
}

constexpr std::size_t kFacts = 8;  // of a key in a snapshot

// Who can be seen without waiting for the dead shows what it showed before.
template <class Algorithm>
void othersAreUntouched(Table<Algorithm>& table, const Snapshot& before, const Snapshot& after) {
  for (std::uint64_t i = 0; i < kKeys; ++i) {
    const auto facts = [&](const Snapshot& of) { return of.seen.begin() + static_cast<long>(i * kFacts); };
    if (!std::equal(facts(before), facts(before) + kFacts, facts(after))) continue;
    const Decision seen = keyOf(table, i).peek(kLater);
    CHECK_EQ(seen.remaining, facts(before)[1]);
    CHECK_EQ(seen.retryAfterNs, facts(before)[2]);
  }
}

template <class Algorithm>
class Trial {
 public:
  Trial(const Scenario<Algorithm>& scenario, const RegionName& name) : scenario_(scenario), name_(name) {
    name.clear();
    table_ = smallTable<Algorithm>(name);
    scenario.prepare(*table_);
    before_ = look(*table_);
    CHECK(table_->consistent());
  }

  Table<Algorithm>& table() { return *table_; }
  const Snapshot& before() const { return before_; }

  bool dieChanging(int n) {
    return check::diesAt(
        n, [&] { return openTable<Algorithm>(name_); }, [&](auto& table) { scenario_.change(*table); });
  }
  bool dieRepairing(int n) {
    return check::diesAt(
        n, [&] { return openTable<Algorithm>(name_); }, [&](auto& table) { takeLock(*table); });
  }
  // What the survivors find: all of the change, or nothing of it. True if it was made.
  bool survive(const Snapshot& after) {
    othersAreUntouched(*table_, before_, after);
    worst.time([&] { takeLock(*table_); });
    CHECK(table_->consistent());
    const Snapshot now = look(*table_);
    CHECK(now == before_ || now == after);
    CHECK(now.evictedLive == before_.evictedLive || now.evictedLive == after.evictedLive);
    const bool made = !(now == before_);
    goOn();
    return made;
  }

 private:
  // The survivors can do anything, with everything.
  void goOn() {
    scenario_.change(*table_);
    for (std::uint64_t i = 0; i < 40; ++i) {
      keyOf(*table_, i * 3).allow(kLater, 1 + i % 5, static_cast<std::uint32_t>(i % 2));
      if (i % 4 == 0) keyOf(*table_, i * 2).reset(kLater);
    }
    CHECK(table_->consistent());
  }

  const Scenario<Algorithm>& scenario_;
  const RegionName& name_;
  std::unique_ptr<Table<Algorithm>> table_;
  Snapshot before_;
};

template <class Algorithm>
Snapshot afterChange(const Scenario<Algorithm>& scenario, const RegionName& name) {
  Trial<Algorithm> trial(scenario, name);
  scenario.change(trial.table());
  CHECK(trial.table().consistent());
  return look(trial.table());
}

template <class Algorithm>
bool oneAfterAnother(const Scenario<Algorithm>& scenario, const RegionName& name, int point,
                     const Snapshot& after) {
  const int failedBefore = check::failedChecks;
  Trial<Algorithm> trial(scenario, name);
  trial.dieChanging(point);
  for (int n = 0; trial.dieRepairing(n);) n += SLUICE_TEST_SLOWDOWN;
  trial.survive(after);
  if (check::failedChecks == failedBefore) return true;
  check::note(scenario.name, "algorithm", Algorithm::kId, "point", point, "one repairer after another");
  return false;
}

// The change's every point; at each, the repair's every point, and then a repairer at every point after
// another. Under a sanitizer only some of the repairs.
template <class Algorithm>
void killEverywhere(const Scenario<Algorithm>& scenario, bool says) {
  const RegionName name("stripe");
  const Snapshot after = afterChange(scenario, name);
  int points = 0, repairs = 0, made = 0, failedBefore = check::failedChecks;
  for (bool died = true; died; ++points) {
    Trial<Algorithm> trial(scenario, name);
    died = trial.dieChanging(points);
    made += trial.survive(after) && died;
    if (check::failedChecks != failedBefore)
      return check::note(scenario.name, "algorithm", Algorithm::kId, "point", points);
    bool repairerDied = died;
    for (int n = points % SLUICE_TEST_SLOWDOWN; repairerDied; n += SLUICE_TEST_SLOWDOWN, ++repairs) {
      Trial<Algorithm> again(scenario, name);
      again.dieChanging(points);
      repairerDied = again.dieRepairing(n);
      again.survive(after);
      if (check::failedChecks != failedBefore)
        return check::note(scenario.name, "algorithm", Algorithm::kId, "point", points, "repair", n);
    }
    if (died && !oneAfterAnother(scenario, name, points, after)) return;
  }
  if (says)
    check::note(scenario.name, "points", points - 1, "made by the survivors", made, "repairs", repairs);
}

template <class Algorithm>
void charge(Table<Algorithm>& table, std::uint64_t first, std::uint64_t count, std::uint64_t nowNs,
            std::uint64_t cost) {
  for (std::uint64_t i = first; i < first + count; ++i)
    CHECK_EQ(keyOf(table, i).allow(nowNs, cost), Outcome::kAllowed);
}

// Keys that will be dead at kLater, some of them far from home, behind a home line of keys that will not.
template <class Algorithm>
void fillWithDead(Table<Algorithm>& table) {
  for (std::uint64_t i = 0; i < 20; ++i) CHECK(keyOf(table, i).block(kNow, kNow + kLongNs));
  charge(table, 20, 40, kNow, 1);
}

// Almost all places are taken; a newcomer has a long way to go.
template <class Algorithm>
void crowd(Table<Algorithm>& table) {
  charge(table, 0, 60, kLater, 5);
}

template <class Algorithm>
void fillButOneLightly(Table<Algorithm>& table) {
  for (std::uint64_t i = 0; i < 64; ++i) charge(table, i, 1, kLater, i == 37 ? 2 : 5 + i % 10);
}

// More keys have passed the home line than it counts, most of them are gone, and the next insertion ends the
// sweep's round.
template <class Algorithm>
void saturate(Table<Algorithm>& table) {
  charge(table, kSameHome, 63, kLater, 5);
  for (std::uint64_t i = 10; i < 60; ++i) keyOf(table, kSameHome + i).reset(kLater);
}

template <class Algorithm>
std::vector<Scenario<Algorithm>> scenarios() {
  using T = Table<Algorithm>;
  const std::function<void(T&)> crowded = crowd<Algorithm>, dead = fillWithDead<Algorithm>;
  const auto nothing = [](T&) {};
  const auto exhausted = [](T& t) { charge(t, 0, 64, kLater, kLimit); };
  return {
      {"a key in an empty table", nothing, [](T& t) { keyOf(t, 0).allow(kLater, 5); }},
      {"a key far from home", crowded, [](T& t) { keyOf(t, 81).allow(kLater, 3); }},
      {"a key instead of a dead one", dead, [](T& t) { keyOf(t, 80).allow(kLater, 3); }},
      {"a key instead of another's dead one", dead, [](T& t) { keyOf(t, 199).allow(kLater, 3); }},
      {"a sweep clears a line", [](T& t) { charge(t, 0, 54, kNow, 1); },
       [](T& t) { keyOf(t, 99).allow(kLater, 3); }},
      {"a key instead of the least consumed", fillButOneLightly<Algorithm>,
       [](T& t) { keyOf(t, 99).allow(kLater, 3); }},
      {"a key moves to another tier", crowded, [](T& t) { keyOf(t, 33).allow(kLater, 1, kTier); }},
      {"a key is blocked", crowded, [](T& t) { keyOf(t, 33).block(kLater, kLater + kDay); }},
      {"an absent key is blocked", crowded, [](T& t) { keyOf(t, 99).block(kLater, kLater + kDay); }},
      {"a block is over, the key is charged", [](T& t) { keyOf(t, 3).block(kNow, kNow + kDay); },
       [](T& t) { keyOf(t, 3).allow(kLater, 1); }},
      {"a key is penalized", crowded, [](T& t) { keyOf(t, 33).penalize(kLater, 7); }},
      {"an absent key is penalized", crowded, [](T& t) { keyOf(t, 99).penalize(kLater, 7); }},
      {"a key is refunded", crowded, [](T& t) { keyOf(t, 33).refund(kLater, 2); }},
      {"a key is charged", crowded, [](T& t) { keyOf(t, 33).allow(kLater, 2); }},
      {"a key far from home is forgotten", crowded, [](T& t) { keyOf(t, 59).reset(kLater); }},
      {"a key at home is forgotten", crowded, [](T& t) { keyOf(t, 2).reset(kLater); }},
      {"a sweep recounts", saturate<Algorithm>, [](T& t) { keyOf(t, kSameHome + 99).allow(kLater, 3); }},
      {"a full table refuses", exhausted, [](T& t) { keyOf(t, 99).allow(kLater, 3); }},
  };
}

template <class Algorithm>
void anything(Table<Algorithm>& table, Random random, std::uint64_t nowNs, int calls) {
  for (int i = 0; i < calls; ++i) {
    auto key = keyOf(table, random.oneIn(3) ? kSameHome + random.below(60) : random.below(60));
    const auto tier = static_cast<std::uint32_t>(random.below(2));
    switch (random.below(6)) {
      case 0:
        key.block(nowNs, nowNs + random.below(2 * kDay), tier);
        break;
      case 1:
        key.penalize(nowNs, random.below(kLimit), tier);
        break;
      case 2:
        key.reset(nowNs);
        break;
      default:
        key.allow(nowNs, 1 + random.below(6), tier);
    }
  }
}

template <class Algorithm>
void everyScenario() {
  for (const Scenario<Algorithm>& scenario : scenarios<Algorithm>()) killEverywhere(scenario, true);
  check::note("slowest survivor, us:", worst.us());
  CHECK(worst.us() < kAtOnceUs);
}

// Any change of a table in any state.
template <class Algorithm>
void randomScenarios(std::uint64_t seed) {
  Random random = check::seeded("stripe_crash", seed);
  for (int i = 0; i < check::scaled(12); ++i) {
    const std::uint64_t preparation = random.next(), change = random.next();
    const int calls = static_cast<int>(random.between(1, 400));
    const Scenario<Algorithm> scenario = {
        "random",
        [=](Table<Algorithm>& table) {
          anything(table, Random(preparation), kNow, calls / 2);
          anything(table, Random(preparation + 1), kLater, calls / 2);
        },
        [=](Table<Algorithm>& table) { anything(table, Random(change), kLater, 1); }};
    killEverywhere(scenario, false);
    if (check::failedChecks != 0) return check::note("scenario", i);
  }
  CHECK(worst.us() < kAtOnceUs);
}

}  // namespace

TEST(a_token_bucket_survives_every_point) { everyScenario<TokenBucket>(); }
TEST(a_fixed_window_survives_every_point) { everyScenario<FixedWindow>(); }
TEST(a_sliding_log_survives_every_point) { everyScenario<SlidingLog>(); }
TEST(a_strict_window_survives_every_point) { everyScenario<StrictWindow>(); }
TEST(concurrency_survives_every_point) { everyScenario<Concurrency>(); }
TEST(a_token_bucket_in_any_state_survives_every_point) { randomScenarios<TokenBucket>(1); }
TEST(a_fixed_window_in_any_state_survives_every_point) { randomScenarios<FixedWindow>(2); }
TEST(a_sliding_log_in_any_state_survives_every_point) { randomScenarios<SlidingLog>(3); }
TEST(a_strict_window_in_any_state_survives_every_point) { randomScenarios<StrictWindow>(4); }

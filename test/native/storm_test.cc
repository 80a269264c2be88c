// Processes that hammer one table while one of them is killed every moment, wherever it happens to be. What
// they admit is counted by each right after the call, in memory that outlives it.
#include <time.h>

#include <array>
#include <set>

#include "core/clock.h"

#include "shared_tables.h"

using check::craftedKey;
using check::kDay;
using check::kNow;
using check::kTier;
using check::policyOf;
using check::Random;
using check::RegionName;
using check::Shared;
using check::smallTable;
using sluice::FixedWindow;
using sluice::Outcome;
using sluice::StrictWindow;
using sluice::Table;
using sluice::TokenBucket;

namespace {

constexpr unsigned kWorkers = 4;
// In each round some are killed one by one, and in the end all at once: nobody is left who could cover up
// what the dead left behind.
constexpr int kRounds = check::scaled(100), kKillsInRound = 21;
constexpr int kKills = kRounds * (kKillsInRound + static_cast<int>(kWorkers));
constexpr std::uint64_t kCounted = 8, kVictims = 8;
// What no counted key falls below, so that it is never the least consumed: see Algorithm::weigh.
constexpr std::uint64_t kReserve = check::kTierLimit;
constexpr std::uint64_t kEach = 400'000;
// Far more than any survivor ever waits, on a machine that is busy with other things too.
constexpr std::uint64_t kLongestGapNs = 5 * sluice::kNsPerSecond;

struct Count {
  std::atomic<std::uint64_t> admitted[kCounted];
  std::atomic<std::uint64_t> decisions, busy, wrong;
  std::atomic<std::uint64_t> longestGapNs;
};
struct Counts {
  Count of[kWorkers];
  std::atomic<bool> over;
  std::atomic<int> sanitizerReports;
};
// Of the storm that is on; a worker that a sanitizer has stopped may be killed before it can say so.
Counts* presentCounts = nullptr;

// Two policies under which a counted key is admitted kEach times once its reserve is spent. A token bucket
// that is charged under the other one moves, which takes the lock.
template <class Algorithm>
sluice::PolicySpec countedPolicy(std::uint64_t which) {
  sluice::PolicySpec spec = policyOf<Algorithm>(kReserve + kEach);
  if constexpr (std::is_same_v<Algorithm, TokenBucket>) spec.windowNs = (3600 + which) * sluice::kNsPerSecond;
  return spec;
}

// Keys [0, 8) are counted, [8, 16) are blocked or exhausted, all others come and go: many more than there are
// places.
sluice::Path pathOf(std::uint64_t number) {
  return craftedKey(static_cast<std::uint32_t>(number % 5 * 3), number);
}
template <class Algorithm>
check::TableKey<Algorithm> keyOf(Table<Algorithm>& table, std::uint64_t number) {
  return {table, pathOf(number)};
}

template <class Algorithm>
class Worker {
 public:
  Worker(const RegionName& name, Count& count, std::uint64_t seed)
      : table_(check::openTable<Algorithm>(name)), count_(count), random_(seed) {
    if (!CHECK(table_ != nullptr)) _exit(1);
    for (std::size_t i = 0; i < 2; ++i) counted_[i] = table_->addPolicy(countedPolicy<Algorithm>(i)).index;
  }

  void runUntil(const std::atomic<bool>& over) {
    std::uint64_t lastNs = sluice::SystemClock::exactNs();
    while (!over.load()) {
      decide();
      sluice::bump(count_.decisions, 1);
      const std::uint64_t nowNs = sluice::SystemClock::exactNs();
      if (nowNs - lastNs > count_.longestGapNs.load()) count_.longestGapNs.store(nowNs - lastNs);
      lastNs = nowNs;
    }
  }

 private:
  void decide() {
    switch (random_.below(8)) {
      case 0:
        return lookAtVictim();
      case 1:
      case 2:
      case 3:
        return chargeCounted();
      default:
        disturb();
    }
  }

  void chargeCounted() {
    const std::uint64_t which = random_.below(kCounted);
    const Outcome outcome = keyOf(*table_, which).allow(kNow, 1, counted_[random_.below(2)]);
    if (outcome == Outcome::kAllowed) sluice::bump(count_.admitted[which], 1);
    expect(outcome, Outcome::kAllowed, Outcome::kLimited);
  }

  void lookAtVictim() {
    const std::uint64_t which = kCounted + random_.below(kVictims);
    auto victim = keyOf(*table_, which);
    const Outcome outcome = random_.oneIn(2) ? victim.allow(kNow, 1) : victim.peek(kNow).outcome;
    expect(outcome, which % 2 == 0 ? Outcome::kBlocked : Outcome::kLimited, Outcome::kBusy);
  }

  void disturb() {
    const std::uint64_t which = 100 + random_.below(300);
    auto key = keyOf(*table_, which);
    const auto tier = static_cast<std::uint32_t>(random_.below(2));
    switch (random_.below(40)) {
      case 0:
        key.block(kNow, kNow + random_.below(kDay), tier);
        break;
      case 1:
        table_->addPolicy(policyOf<Algorithm>(check::kLimit + random_.below(20)));
        break;
      case 2:
        table_->setBasePolicy(policyOf<Algorithm>(check::kLimit + random_.below(3)));
        break;
      case 3:
      case 4:
        key.refund(kNow, random_.below(check::kLimit), 0, tier);
        break;
      case 5:
      case 6:
        key.penalize(kNow, random_.below(check::kLimit), tier);
        break;
      default:
        if (random_.below(5) < 2) {
          if (!table_->erase(pathOf(which), kNow)) sluice::bump(count_.busy, 1);
        } else {
          const std::uint32_t policy = random_.oneIn(2) ? tier : table_->basePolicy();
          if (key.allow(kNow, 1 + random_.below(6), policy) == Outcome::kBusy) sluice::bump(count_.busy, 1);
        }
    }
  }

  void expect(Outcome outcome, Outcome one, Outcome other) {
    if (outcome == Outcome::kBusy)
      sluice::bump(count_.busy, 1);
    else if (outcome != one && outcome != other)
      sluice::bump(count_.wrong, 1);
  }

  std::unique_ptr<Table<Algorithm>> table_;
  Count& count_;
  Random random_;
  std::uint32_t counted_[2];
};

template <class Algorithm>
void prepare(Table<Algorithm>& table) {
  const std::uint32_t policy = table.addPolicy(countedPolicy<Algorithm>(0)).index;
  for (std::uint64_t i = 0; i < kCounted; ++i)
    CHECK_EQ(keyOf(table, i).allow(kNow, kReserve, policy), Outcome::kAllowed);
  for (std::uint64_t i = kCounted; i < kCounted + kVictims; ++i) {
    if (i % 2 == 0)
      CHECK(keyOf(table, i).block(kNow, kNow + 30 * kDay));
    else
      CHECK_EQ(keyOf(table, i).penalize(kNow, check::kTierLimit, kTier), check::kTierLimit);
  }
}

template <class Algorithm>
class Workers {
 public:
  Workers(const RegionName& name, Counts& counts, Random& random)
      : name_(name), counts_(counts), random_(random) {
    for (unsigned i = 0; i < kWorkers; ++i) start(i);
  }

  void killOne() {
    const timespec moment = {0, static_cast<long>(random_.below(1'500'000))};
    nanosleep(&moment, nullptr);
    const auto which = static_cast<unsigned>(random_.below(kWorkers));
    kill(running_[which], SIGKILL);
    CHECK(check::waitFor(running_[which]) == check::End::kKilled);
    start(which);
  }
  void killAll() {
    for (const pid_t worker : running_) kill(worker, SIGKILL);
    for (const pid_t worker : running_) CHECK(check::waitFor(worker) == check::End::kKilled);
  }
  void finish() {
    counts_.over = true;
    for (const pid_t worker : running_) CHECK(check::waitFor(worker) == check::End::kFinished);
  }

 private:
  void start(unsigned i) {
    const std::uint64_t seed = random_.next();
    running_[i] = check::spawn([&] { Worker<Algorithm>(name_, counts_.of[i], seed).runUntil(counts_.over); });
  }

  const RegionName& name_;
  Counts& counts_;
  Random& random_;
  std::array<pid_t, kWorkers> running_{};
};

// No key has two places, everything is counted, nothing is locked.
template <class Algorithm>
bool isSound(Table<Algorithm>& table) {
  check::takeLock(table);
  std::set<std::uint64_t> fingerprints;
  for (std::uint32_t i = 0; i < table.geometry().linesPerStripe; ++i) {
    for (const sluice::Slot& slot : table.region()->lines()[i].slots) {
      const sluice::KeyWord key = slot.loadKey();
      if (key.occupied() && !CHECK(fingerprints.insert(key.fingerprint()).second)) return false;
    }
  }
  return CHECK(table.consistent());
}

template <class Algorithm>
void storm(Table<Algorithm>& table, const RegionName& name, Counts& counts, Random& random) {
  for (int round = 0; round < kRounds; ++round) {
    Workers<Algorithm> workers(name, counts, random);
    for (int i = 0; i < kKillsInRound; ++i) workers.killOne();
    workers.killAll();
    if (!isSound(table)) return check::note("round", round);
  }
  Workers<Algorithm>(name, counts, random).finish();
  isSound(table);
}

// Each counted key was admitted as often as its limit says, less at most one for each who was killed before
// it could count.
template <class Algorithm>
void countsAreExact(Table<Algorithm>& table, const Counts& counts) {
  const std::uint32_t policy = table.addPolicy(countedPolicy<Algorithm>(0)).index;
  std::uint64_t uncounted = 0;
  for (std::uint64_t which = 0; which < kCounted; ++which) {
    std::uint64_t admitted = 0;
    for (const Count& count : counts.of) admitted += count.admitted[which].load();
    CHECK(admitted > 0);
    while (keyOf(table, which).allow(kNow, 1, policy) == Outcome::kAllowed) ++admitted;
    CHECK(admitted <= kEach);
    uncounted += kEach - admitted;
  }
  check::note("admitted but not counted:", uncounted);
  CHECK(uncounted <= static_cast<std::uint64_t>(kKills));
}

template <class Algorithm>
void survivesStorm(std::uint64_t seed) {
  Random random = check::seeded("storm", seed);
  const RegionName name("storm");
  const auto table = smallTable<Algorithm>(name, check::kTierLimit, kReserve + kEach);
  prepare(*table);
  const Shared<Counts> counts;
  presentCounts = &*counts;
  storm(*table, name, *counts, random);
  countsAreExact(*table, *counts);
  for (std::uint64_t i = kCounted; i < kCounted + kVictims; ++i)
    CHECK_EQ(keyOf(*table, i).allow(kNow, 1), i % 2 == 0 ? Outcome::kBlocked : Outcome::kLimited);
  std::uint64_t decisions = 0, busy = 0, longestNs = 0;
  for (const Count& count : counts->of) {
    decisions += count.decisions.load();
    busy += count.busy.load();
    longestNs = std::max(longestNs, count.longestGapNs.load());
    CHECK_EQ(count.wrong.load(), 0);
  }
  CHECK_EQ(counts->sanitizerReports.load(), 0);
  CHECK(table->stats().evictedLive > 0);
  CHECK(longestNs < kLongestGapNs);
  check::note("kills", kKills, "decisions", decisions, "evicted", table->stats().evictedLive, "busy", busy,
              "longest gap, us:", longestNs / sluice::kNsPerUs);
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__)
extern "C" void __asan_on_error() {
  if (presentCounts != nullptr) ++presentCounts->sanitizerReports;
}
#endif

TEST(a_token_bucket_survives_thousands_of_kills) { survivesStorm<TokenBucket>(1); }
TEST(a_fixed_window_survives_thousands_of_kills) { survivesStorm<FixedWindow>(2); }
TEST(a_strict_window_survives_thousands_of_kills) { survivesStorm<StrictWindow>(3); }

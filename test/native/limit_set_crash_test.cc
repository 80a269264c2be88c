// A process is killed, or stopped, at every point of a set's call, and some of those who repair what it left
// are. Each limit is then as before the call or as after it, whatever became of the others, and nothing stays
// locked.
#include <array>

#include "core/limit_set.h"

#include "crash.h"
#include "shared_tables.h"

using check::kDay;
using check::kLimit;
using check::kNow;
using check::kTier;
using check::openTable;
using check::RegionName;
using check::smallTable;
using check::takeLock;
using sluice::Concurrency;
using sluice::Decision;
using sluice::FixedWindow;
using sluice::LimitSeat;
using sluice::LimitSet;
using sluice::Outcome;
using sluice::SlidingLog;
using sluice::StrictWindow;
using sluice::Table;
using sluice::TokenBucket;

namespace {

// Later than everything that was written at kNow with a cost of 1 still counts.
constexpr std::uint64_t kLater = kNow + kDay / 12 * 13 + sluice::kNsPerSecond;
constexpr std::uint64_t kAtOnceUs = 2'000'000;
constexpr std::uint64_t kKeys = 100;

check::Worst worst;

sluice::Path pathOf(std::uint64_t number) {
  return check::craftedKey(static_cast<std::uint32_t>(number % 5 * 3), number);
}
template <class Algorithm>
check::TableKey<Algorithm> keyOf(Table<Algorithm>& table, std::uint64_t number) {
  return {table, pathOf(number)};
}

// What the set does: with which key and under which policy in either table.
struct Call {
  std::uint64_t firstKey, secondKey;
  std::uint32_t firstPolicy = 0, secondPolicy = 0;
  std::uint64_t cost = 1;
  bool byFrame = false;
};

// The two limits as one process sees them.
template <class First, class Second>
struct Both {
  Both(std::unique_ptr<Table<First>> firstTable, std::unique_ptr<Table<Second>> secondTable)
      : first(std::move(firstTable)),
        second(std::move(secondTable)),
        one(*first, {[](const void*) { return kLater; }}),
        other(*second, {[](const void*) { return kLater; }}),
        set(*LimitSet::of({&one, &other})) {}

  bool charge(const Call& call) {
    frame = First::frame(first->book(), call.firstPolicy, kLater, kLater);
    otherFrame = Second::frame(second->book(), call.secondPolicy, kLater, kLater);
    one.aim(pathOf(call.firstKey), call.firstPolicy, kLater, call.cost, call.byFrame ? &frame : nullptr,
            false);
    other.aim(pathOf(call.secondKey), call.secondPolicy, kLater, call.cost,
              call.byFrame ? &otherFrame : nullptr, false);
    return call.byFrame ? set.allow(outcomes.data()) : set.charge(outcomes.data(), decisions.data());
  }
  void takeLocks() {
    takeLock(*first);
    takeLock(*second);
  }

  std::unique_ptr<Table<First>> first;
  std::unique_ptr<Table<Second>> second;
  LimitSeat<First> one;
  LimitSeat<Second> other;
  LimitSet set;
  typename First::Frame frame{};
  typename Second::Frame otherFrame{};
  std::array<Outcome, 2> outcomes{};
  std::array<Decision, 2> decisions{};
};

// What anybody can see of all keys.
using Snapshot = std::vector<std::uint64_t>;
template <class Algorithm>
Snapshot look(Table<Algorithm>& table) {
  Snapshot seen;
  for (std::uint64_t i = 0; i < kKeys; ++i) {
    for (const std::uint32_t tier : {0U, kTier}) {
      const Decision decision = keyOf(table, i).peek(kLater, tier);
      seen.insert(seen.end(), {static_cast<std::uint64_t>(decision.outcome), decision.remaining,
                               decision.retryAfterNs, decision.resetAfterNs});
    }
  }
  return seen;
}

template <class First, class Second>
struct Scenario {
  const char* name;
  std::function<void(Table<First>&)> prepareFirst;
  std::function<void(Table<Second>&)> prepareSecond;
  Call call;
  bool admitted = true;
};

template <class First, class Second>
class Trial {
 public:
  using Tables = Both<First, Second>;

  explicit Trial(const Scenario<First, Second>& scenario) : scenario_(scenario) {
    both_ = std::make_unique<Tables>(smallTable<First>(firstName_), smallTable<Second>(secondName_));
    scenario.prepareFirst(*both_->first);
    scenario.prepareSecond(*both_->second);
    before_ = {look(*both_->first), look(*both_->second)};
  }

  std::array<Snapshot, 2> afterCall() {
    CHECK_EQ(both_->charge(scenario_.call), scenario_.admitted);
    return looks();
  }
  bool dieCalling(int n) {
    return check::diesAt(
        n, [&] { return open(); }, [&](auto& both) { both->charge(scenario_.call); });
  }
  bool dieRepairing(int n) {
    return check::diesAt(
        n, [&] { return open(); }, [](auto& both) { both->takeLocks(); });
  }
  // Which of the two limits the dead had spent from.
  std::array<bool, 2> survive(const std::array<Snapshot, 2>& after) {
    worst.time([&] { both_->takeLocks(); });
    CHECK(both_->first->consistent() && both_->second->consistent());
    const auto now = looks();
    for (std::size_t i = 0; i < 2; ++i) CHECK(now[i] == before_[i] || now[i] == after[i]);
    const std::array<bool, 2> spent = {now[0] != before_[0], now[1] != before_[1]};
    worst.time([&] { both_->charge(scenario_.call); });
    for (const Outcome outcome : both_->outcomes) CHECK(outcome != Outcome::kBusy);
    CHECK(both_->charge({98, 99}) || !scenario_.admitted);
    CHECK(both_->first->consistent() && both_->second->consistent());
    return spent;
  }

 private:
  std::unique_ptr<Tables> open() const {
    return std::make_unique<Tables>(openTable<First>(firstName_), openTable<Second>(secondName_));
  }
  std::array<Snapshot, 2> looks() { return {look(*both_->first), look(*both_->second)}; }

  const Scenario<First, Second>& scenario_;
  const RegionName firstName_{"one"}, secondName_{"other"};
  std::unique_ptr<Tables> both_;
  std::array<Snapshot, 2> before_;
};

template <class First, class Second>
void killEverywhere(const Scenario<First, Second>& scenario) {
  const auto after = Trial<First, Second>(scenario).afterCall();
  int points = 0, halves = 0, whole = 0, failedBefore = check::failedChecks;
  for (bool died = true; died; ++points) {
    Trial<First, Second> trial(scenario);
    died = trial.dieCalling(points);
    // Of those who come after, some die over the repair.
    for (int n = points % 7; died && trial.dieRepairing(n);) n += 7;
    const auto spent = trial.survive(after);
    halves += died && spent[0] != spent[1];
    whole += died && spent[0] && spent[1];
    if (check::failedChecks != failedBefore) return check::note(scenario.name, "point", points);
  }
  if (!scenario.admitted) CHECK_EQ(halves + whole, 0);
  check::note(scenario.name, "points", points - 1, "spent from one only", halves, "from both", whole);
}

template <class Algorithm>
void charge(Table<Algorithm>& table, std::uint64_t first, std::uint64_t count, std::uint64_t nowNs,
            std::uint64_t cost) {
  for (std::uint64_t i = first; i < first + count; ++i)
    CHECK_EQ(keyOf(table, i).allow(nowNs, cost), Outcome::kAllowed);
}

template <class First, class Second>
void everyScenario() {
  using A = Table<First>;
  using B = Table<Second>;
  const auto nothing = [](auto&) {};
  const auto crowd = [](auto& table) { charge(table, 0, 58, kLater, 5); };
  const auto full = [](auto& table) {
    for (std::uint64_t i = 0; i < 64; ++i) charge(table, i, 1, kLater, i == 37 ? 2 : 5 + i % 10);
  };
  const auto dead = [](auto& table) {
    for (std::uint64_t i = 0; i < 20; ++i) CHECK(keyOf(table, i).block(kNow, kNow + 30 * kDay));
    charge(table, 20, 40, kNow, 1);
  };
  const auto exhausted = [](auto& table) { charge(table, 0, 64, kLater, kLimit); };
  const auto blockOver = [](auto& table) { keyOf(table, 3).block(kNow, kNow + kDay); };
  const std::vector<Scenario<First, Second>> scenarios = {
      {"keys that are there", crowd, crowd, Call{33, 44}},
      {"keys that are there, by frame", crowd, crowd, Call{33, 44, 0, 0, 2, true}},
      {"new keys", nothing, nothing, Call{1, 2}},
      {"new keys, far from home", crowd, crowd, Call{81, 82}},
      {"one new, one there", crowd, crowd, Call{81, 44}},
      {"a new tier, a block that is over", crowd, blockOver, Call{33, 3, kTier, 0}},
      {"a block that is over, a new tier", blockOver, crowd, Call{3, 33, 0, kTier}},
      {"new keys instead of the least consumed", full, full, Call{99, 98}},
      {"new keys instead of dead ones", dead, dead, Call{80, 99}},
      {"the second refuses", crowd, [](B& t) { charge(t, 7, 1, kLater, kLimit); }, Call{33, 7}, false},
      {"the first refuses", [](A& t) { charge(t, 7, 1, kLater, kLimit); }, crowd, Call{7, 81}, false},
      {"the second is full", full, exhausted, Call{99, 99}, false},
      {"the first is blocked", [](A& t) { keyOf(t, 7).block(kLater, kLater + kDay); }, full, Call{7, 99},
       false},
      {"too costly for the first", crowd, dead, Call{81, 80, 0, kTier, kLimit + 1}, false},
  };
  for (const auto& scenario : scenarios) {
    killEverywhere(scenario);
    if (check::failedChecks != 0) return;
  }
  check::note("slowest survivor, us:", worst.us());
  CHECK(worst.us() < kAtOnceUs);
}

}  // namespace

TEST(a_bucket_and_a_window_survive_every_point) { everyScenario<TokenBucket, FixedWindow>(); }
TEST(a_strict_window_and_a_bucket_survive_every_point) { everyScenario<StrictWindow, TokenBucket>(); }
TEST(a_sliding_log_and_concurrency_survive_every_point) { everyScenario<SlidingLog, Concurrency>(); }

// Somebody is stopped in the middle of a set's call: the others are told so and spend nothing from either
// limit, and when it goes on its call is made once.
TEST(a_set_that_was_stopped_holds_the_others_up_only_briefly) {
  const RegionName firstName("one"), secondName("other");
  using Tables = Both<TokenBucket, StrictWindow>;
  const Call call{33, 44}, others{34, 44};
  int busy = 0;
  for (int point = 0;; ++point) {
    firstName.clear();
    secondName.clear();
    Tables mine(smallTable<TokenBucket>(firstName), smallTable<StrictWindow>(secondName));
    for (const std::uint64_t key : {33U, 34U}) charge(*mine.first, key, 1, kLater, 5);
    charge(*mine.second, 44, 1, kLater, 5);
    const pid_t child = check::spawn([&] {
      setpgid(0, 0);  // a group with a stopped process is hung up on when its shell ends
      Tables both(openTable<TokenBucket>(firstName), openTable<StrictWindow>(secondName));
      check::pointsToLive = point;
      sluice::atCrashPoint = [] {
        if (check::pointsToLive-- == 0) kill(getpid(), SIGSTOP);
      };
      CHECK(both.charge(call));
      check::liveOn();
    });
    int status = 0;
    CHECK(waitpid(child, &status, WUNTRACED) == child);
    if (!WIFSTOPPED(status)) break;
    bool admitted = false;
    worst.time([&] { admitted = mine.charge(others); });
    busy += !admitted;
    for (const Outcome outcome : mine.outcomes)
      CHECK_EQ(outcome, admitted ? Outcome::kAllowed : Outcome::kBusy);
    for (const Decision& decision : mine.decisions)
      CHECK_EQ(decision.retryAfterNs, admitted ? 0 : sluice::kBusyRetryNs);
    kill(child, SIGCONT);
    CHECK(check::waitFor(child) == check::End::kFinished);
    const std::uint64_t spent = 5 + admitted;
    CHECK_EQ(keyOf(*mine.first, 33).peek(kLater).remaining, kLimit - 6);
    CHECK_EQ(keyOf(*mine.first, 34).peek(kLater).remaining, kLimit - spent);
    CHECK_EQ(keyOf(*mine.second, 44).peek(kLater).remaining, kLimit - spent - 1);
    CHECK(mine.charge(others));
    if (check::failedChecks != 0) return check::note("point", point);
  }
  check::note("points at which others were held up:", busy);
  CHECK(busy > 0);
  CHECK(worst.us() < kAtOnceUs);
}

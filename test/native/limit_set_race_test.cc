// Threads with tables of their own on the same limits: sets of them, and single calls between. Nothing is
// spent by half, nothing is lost, nothing waits for ever.
#include <array>

#include "core/limit_set.h"

#include "limit_tables.h"
#include "threads.h"

using check::craftedKey;
using check::kThreads;
using check::Random;
using sluice::Concurrency;
using sluice::FixedWindow;
using sluice::kNsPerSecond;
using sluice::LeakyBucket;
using sluice::LimitSeat;
using sluice::LimitSet;
using sluice::Outcome;
using sluice::Path;
using sluice::Region;
using sluice::Seat;
using sluice::SlidingLog;
using sluice::SlidingWindow;
using sluice::StrictWindow;
using sluice::Table;
using sluice::TokenBucket;

namespace {

// Frozen: in the middle of a sub-window of the strict ones.
constexpr std::uint64_t kDay = 86'400 * kNsPerSecond, kNow = 100 * kDay + kDay / 24;
constexpr std::uint64_t kOthers = 8;
constexpr std::uint64_t kMaxLimit = 64;

Path keyOf(std::uint64_t number) { return craftedKey(static_cast<std::uint32_t>(number % 3), number); }

sluice::Later frozen() {
  return {[](const void*) { return kNow; }};
}

template <class Algorithm>
std::unique_ptr<Table<Algorithm>> limitOf(std::uint64_t id, std::uint64_t limit) {
  return check::tableOfLimit<Algorithm>(id, check::inWindow(limit, kDay), kMaxLimit);
}

template <class Algorithm>
std::uint64_t spentOf(Table<Algorithm>& table, std::uint64_t key, std::uint64_t limit) {
  return limit - check::TableKey<Algorithm>(table, keyOf(key)).peek(kNow).remaining;
}

// One thread's view of two limits, and the set of both.
template <class First, class Second>
class Pair {
 public:
  Pair(const Table<First>& first, const Table<Second>& second, bool reversed)
      : first_(Table<First>::attach(Region::attach(first.region()))),
        second_(Table<Second>::attach(Region::attach(second.region()))),
        one_(*first_, frozen()),
        other_(*second_, frozen()),
        set_(*LimitSet::of(reversed ? std::vector<Seat*>{&other_, &one_}
                                    : std::vector<Seat*>{&one_, &other_})) {}

  Table<First>& first() { return *first_; }
  Table<Second>& second() { return *second_; }

  // By turns decided from frames and exactly.
  bool charge(std::uint64_t firstKey, std::uint64_t secondKey, std::uint64_t cost = 1) {
    const bool byFrame = ++calls_ % 2 == 0;
    aim(firstKey, secondKey, cost, byFrame);
    return byFrame ? set_.allow(outcomes_.data()) : set_.charge(outcomes_.data(), decisions_.data());
  }
  // What is left of both, at one moment.
  std::array<std::uint64_t, 2> left(std::uint64_t key, bool reversed) {
    aim(key, key, 0, false);
    set_.peek(outcomes_.data(), decisions_.data());
    return {decisions_[reversed].remaining, decisions_[!reversed].remaining};
  }

 private:
  void aim(std::uint64_t firstKey, std::uint64_t secondKey, std::uint64_t cost, bool byFrame) {
    frame_ = First::frame(first_->book(), 0, kNow, kNow);
    otherFrame_ = Second::frame(second_->book(), 0, kNow, kNow);
    one_.aim(keyOf(firstKey), 0, kNow, cost, byFrame ? &frame_ : nullptr, false);
    other_.aim(keyOf(secondKey), 0, kNow, cost, byFrame ? &otherFrame_ : nullptr, false);
  }

  std::unique_ptr<Table<First>> first_;
  std::unique_ptr<Table<Second>> second_;
  LimitSeat<First> one_;
  LimitSeat<Second> other_;
  LimitSet set_;
  typename First::Frame frame_{};
  typename Second::Frame otherFrame_{};
  std::array<Outcome, 2> outcomes_{};
  std::array<sluice::Decision, 2> decisions_{};
  std::uint64_t calls_ = 0;
};

// A limit for all and one for each of several: both are met exactly, and each has spent what was admitted.
template <class Global, class Other>
void exactCounts(std::uint64_t globalLimit, std::uint64_t otherLimit) {
  for (int round = 0; round < check::scaled(60) + 1; ++round) {
    // Which comes first in the order of all tables changes.
    const auto global = limitOf<Global>(round % 2 == 0 ? 1 : 9, globalLimit);
    const auto others = limitOf<Other>(5, otherLimit);
    std::array<std::atomic<std::uint64_t>, kOthers> admitted{};
    check::race([&](unsigned thread) {
      Pair<Global, Other> pair(*global, *others, thread % 2 == 0);
      for (std::uint64_t i = 0; i < 2 * kOthers * otherLimit; ++i) {
        const std::uint64_t which = (i + 3 * thread) % kOthers;
        admitted[which] += pair.charge(1000, which);
      }
    });
    std::uint64_t total = 0;
    for (std::uint64_t which = 0; which < kOthers; ++which) {
      CHECK_EQ(spentOf(*others, which, otherLimit), admitted[which].load());
      total += admitted[which];
    }
    CHECK_EQ(spentOf(*global, 1000, globalLimit), total);
    CHECK_EQ(total, std::min(globalLimit, kOthers * otherLimit));
    if (!CHECK(global->consistent() && others->consistent())) return check::note("round", round);
  }
}

template <class Global, class Other>
void bothBind() {
  exactCounts<Global, Other>(50, 10);  // the global one is exhausted first
  exactCounts<Global, Other>(64, 5);   // the others are
}

// Every call spends as much from one limit as from the other: so it does in everybody's eyes, while others
// spend, whether both are looked at together or one after the other.
template <class First, class Second>
void nobodySeesHalf() {
  constexpr std::uint64_t kLimit = kMaxLimit;
  for (int round = 0; round < check::scaled(60) + 1; ++round) {
    const auto first = limitOf<First>(1, kLimit);
    const auto second = limitOf<Second>(2, kLimit);
    std::atomic<unsigned> working{kThreads - 1};
    std::atomic<std::uint64_t> admitted{0};
    check::race([&](unsigned thread) {
      const bool reversed = thread % 2 != 0;
      Pair<First, Second> pair(*first, *second, reversed);
      if (thread != 0) {
        for (std::uint64_t i = 0; i < kLimit; ++i) admitted += pair.charge(i % 2, i % 2);
        --working;
        return;
      }
      std::array<std::uint64_t, 2> before = {2 * kLimit, 2 * kLimit};
      for (std::uint64_t i = 0; working != 0; ++i) {
        const auto left = pair.left(i % 2, reversed);
        CHECK_EQ(left[0], left[1]);
        CHECK(left[0] <= before[i % 2]);
        before[i % 2] = left[0];
        const std::uint64_t key = i / 2 % 2;
        if (i % 3 == 0) {
          const std::uint64_t early = spentOf(pair.first(), key, kLimit);
          CHECK(spentOf(pair.second(), key, kLimit) >= early);
        } else {
          const std::uint64_t early = spentOf(pair.second(), key, kLimit);
          CHECK(spentOf(pair.first(), key, kLimit) >= early);
        }
      }
    });
    const std::uint64_t spent = spentOf(*first, 0, kLimit) + spentOf(*first, 1, kLimit);
    CHECK_EQ(spent, admitted.load());
    if (!CHECK_EQ(spentOf(*second, 0, kLimit) + spentOf(*second, 1, kLimit), spent))
      return check::note("round", round);
  }
}

// Single calls, most of them without a lock, go on between the sets, on the same keys; elsewhere in the table
// keys come and go, and policies are added. Nothing is lost or admitted twice.
template <class First, class Second>
void singlesBetween() {
  constexpr std::uint64_t kLimit = kMaxLimit;
  for (int round = 0; round < check::scaled(80) + 1; ++round) {
    const auto first = limitOf<First>(2, kLimit);
    const auto second = limitOf<Second>(1, kLimit);
    std::atomic<std::uint64_t> bySets{0}, byFirst{0}, bySecond{0}, givenBack{0};
    check::race([&](unsigned thread) {
      Pair<First, Second> pair(*first, *second, thread % 2 != 0);
      Random random(thread + 10 * static_cast<unsigned>(round));
      check::TableKey<First> one(pair.first(), keyOf(7));
      check::TableKey<Second> other(pair.second(), keyOf(7));
      for (std::uint64_t i = 0; i < 3 * kLimit; ++i) {
        const std::uint64_t passing = 100 + random.below(200);
        switch (random.below(8)) {
          case 0:
            byFirst += one.fastAllow(kNow, 1);
            break;
          case 1:
            bySecond += other.fastAllow(kNow, 1);
            break;
          case 2:
            givenBack += one.refund(kNow, 1);
            break;
          case 3:
            check::TableKey<First>(pair.first(), keyOf(passing)).reset(kNow);
            break;
          case 4:
            pair.charge(passing, passing);
            break;
          case 5:
            if (random.oneIn(8)) pair.first().addPolicy(check::inWindow(random.between(1, kMaxLimit), kDay));
            break;
          default:
            bySets += pair.charge(7, 7);
        }
      }
    });
    CHECK_EQ(spentOf(*first, 7, kLimit), bySets + byFirst - givenBack);
    CHECK_EQ(spentOf(*second, 7, kLimit), bySets + bySecond);
    CHECK(bySets + bySecond <= kLimit);
    if (!CHECK(first->consistent() && second->consistent())) return check::note("round", round);
  }
}

// Sets that forget each other's keys meanwhile: what is admitted stays below what the resets allow, and in
// the end everything is unlocked.
template <class First, class Second>
void resetsBetween() {
  constexpr std::uint64_t kLimit = 5;
  const auto first = limitOf<First>(1, kLimit);
  const auto second = limitOf<Second>(2, kLimit);
  std::atomic<std::uint64_t> admitted{0}, resets{0};
  check::race([&](unsigned thread) {
    Pair<First, Second> pair(*first, *second, thread % 2 != 0);
    Random random(thread);
    for (int i = 0; i < check::scaled(20'000); ++i) {
      if (!random.oneIn(10)) {
        admitted += pair.charge(7, 7);
        continue;
      }
      ++resets;
      check::TableKey<First>(pair.first(), keyOf(7)).reset(kNow);
      check::TableKey<Second>(pair.second(), keyOf(7)).reset(kNow);
    }
  });
  CHECK(admitted >= kLimit && admitted <= kLimit * (resets + 1));
  CHECK(first->consistent() && second->consistent());
}

}  // namespace

TEST(every_limit_is_met_exactly) {
  bothBind<FixedWindow, TokenBucket>();
  bothBind<StrictWindow, FixedWindow>();
  bothBind<SlidingLog, StrictWindow>();
  bothBind<SlidingWindow, Concurrency>();
  bothBind<LeakyBucket, SlidingLog>();
}

TEST(nobody_ever_sees_half_of_a_set) {
  nobodySeesHalf<FixedWindow, TokenBucket>();
  nobodySeesHalf<StrictWindow, SlidingWindow>();
  nobodySeesHalf<SlidingLog, Concurrency>();
}

TEST(single_calls_between_lose_nothing) {
  singlesBetween<FixedWindow, TokenBucket>();
  singlesBetween<StrictWindow, Concurrency>();
  singlesBetween<SlidingLog, SlidingWindow>();
}

TEST(resets_between_do_no_harm) {
  resetsBetween<FixedWindow, StrictWindow>();
  resetsBetween<TokenBucket, SlidingLog>();
}

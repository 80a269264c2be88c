// Blocks that grow with each offence: levels, forgetting, who remembers them, and many who refuse at once.
#include "core/escalation.h"

#include <map>
#include <set>

#include "limit_tables.h"
#include "single_key.h"
#include "threads.h"

using check::inWindow;
using check::numberedKey;
using check::Random;
using check::tableOfLimit;
using sluice::Decision;
using sluice::Escalation;
using sluice::FixedWindow;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::Path;
using sluice::SlidingLog;
using sluice::SlidingWindow;
using sluice::StrictWindow;
using sluice::Table;
using sluice::TokenBucket;

namespace {

constexpr std::uint64_t kDay = 86'400 * kNsPerSecond, kStart = 1000 * kDay;
constexpr std::uint64_t kLimit = 3;

Escalation steps(std::initializer_list<std::uint64_t> blockMs, std::uint64_t forgetMs) {
  Escalation escalation;
  for (const std::uint64_t ms : blockMs) escalation.blockMs[escalation.steps++] = ms;
  escalation.forgetMs = forgetMs;
  return escalation;
}
const Escalation kThree = steps({1000, 5000, 60'000}, 3'600'000);

template <class Algorithm>
std::unique_ptr<Table<Algorithm>> makeTable(const Escalation& escalation, std::uint64_t windowNs = kDay) {
  return tableOfLimit<Algorithm>(1, inWindow(kLimit, windowNs), kLimit, escalation);
}

template <class Algorithm>
sluice::Request<Algorithm> requestOf(Table<Algorithm>& table, std::uint64_t number, std::uint64_t nowNs) {
  return {table, numberedKey(table, number), 0, nowNs};
}
template <class Algorithm>
Decision consume(Table<Algorithm>& table, std::uint64_t number, std::uint64_t nowNs, std::uint64_t cost = 1) {
  return sluice::consume(requestOf(table, number, nowNs), cost);
}

// Offends at `nowNs`, and is blocked for so long.
template <class Algorithm>
bool isBlockedFor(Table<Algorithm>& table, std::uint64_t number, std::uint64_t nowNs, std::uint64_t ms) {
  const std::uint64_t endNs = nowNs + ms * kNsPerMs;
  const Decision decision = consume(table, number, nowNs, kLimit);
  return CHECK_EQ(decision.outcome, Outcome::kBlocked) && CHECK_EQ(decision.remaining, 0) &&
         CHECK(decision.retryAfterNs >= ms * kNsPerMs) &&
         CHECK_EQ(consume(table, number, endNs - 1, 0).outcome, Outcome::kBlocked) &&
         CHECK_EQ(consume(table, number, endNs, 0).outcome, Outcome::kAllowed);
}

// What a key's blocks should be, by the definition: each longer than the one before, the last one repeats,
// and `forgetMs` after the end of the last block all is forgotten.
class Record {
 public:
  explicit Record(const Escalation& escalation) : escalation_(escalation) {}

  // The end of the block.
  std::uint64_t offend(std::uint64_t nowMs) {
    if (nowMs >= forgottenMs_) offences_ = 0;
    const std::uint64_t step = std::min(offences_++, escalation_.steps - 1);
    const std::uint64_t endMs = nowMs + escalation_.blockMs[step];
    forgottenMs_ = endMs + escalation_.forgetMs;
    return endMs;
  }

 private:
  const Escalation& escalation_;
  std::uint64_t offences_ = 0, forgottenMs_ = 0;
};

// A key by itself that is blocked by hand.
template <class Algorithm>
struct Reference {
  check::SingleKey<Algorithm> key;
  Record record;
};

// Calls of several keys at any time against keys that are blocked as the definition says.
template <class Algorithm>
bool schedule(Random& random) {
  Escalation escalation;
  escalation.steps = random.between(1, Escalation::kMaxSteps);
  for (std::size_t i = 0; i < escalation.steps; ++i) escalation.blockMs[i] = random.magnitude(100'000);
  escalation.forgetMs = random.magnitude(300'000);
  const auto table = makeTable<Algorithm>(escalation, random.between(1, 20'000) * kNsPerMs);
  std::map<std::uint64_t, Reference<Algorithm>> references;
  std::uint64_t nowMs = kStart / kNsPerMs;
  for (int i = 0; i < 300; ++i) {
    nowMs += random.oneIn(2) ? 0 : random.magnitude(random.oneIn(20) ? 1'000'000 : 5000);
    const std::uint64_t number = random.below(5), cost = random.below(kLimit + 2), nowNs = nowMs * kNsPerMs;
    auto& [key, record] =
        references
            .try_emplace(number, Reference<Algorithm>{check::SingleKey<Algorithm>(table->book()),
                                                      Record(table->escalation())})
            .first->second;
    const auto request = requestOf(*table, number, nowNs);
    if (random.oneIn(40)) {
      sluice::reset(request);
      references.erase(number);
      continue;
    }
    const std::uint64_t kind = random.below(6);
    Decision expected = key.consume(nowNs, cost);
    const bool offends = kind != 0 && expected.outcome == Outcome::kLimited;
    if (offends) {
      key.block(nowNs, record.offend(nowMs) * kNsPerMs);
      expected = key.consume(nowNs, cost);
      CHECK_EQ(expected.outcome, Outcome::kBlocked);
    }
    if (kind == 1) {
      if (!CHECK_EQ(sluice::allow(request, cost), expected.outcome)) return false;
      continue;
    }
    // Who waits and comes again is no offender.
    const Decision seen = kind == 0 ? sluice::attempt(request, cost, 0) : sluice::consume(request, cost);
    const bool same = CHECK_EQ(seen.outcome, expected.outcome) &&
                      CHECK_EQ(seen.remaining, expected.remaining) &&
                      CHECK_EQ(seen.retryAfterNs, expected.retryAfterNs) &&
                      CHECK_EQ(seen.resetAfterNs, expected.resetAfterNs);
    if (!same) return check::fail(__FILE__, __LINE__, "call " + std::to_string(i));
  }
  return CHECK(table->consistent());
}

template <class Algorithm>
void schedules(std::uint64_t seed) {
  Random random = check::seeded("escalation", seed);
  for (int i = 0; i < check::scaled(300); ++i) {
    if (!schedule<Algorithm>(random)) return check::note("algorithm", Algorithm::kId, "schedule", i);
  }
}

template <class Algorithm>
void levelsAndForgetting() {
  const auto table = makeTable<Algorithm>(kThree);
  std::uint64_t nowNs = kStart;
  CHECK_EQ(consume(*table, 7, nowNs, kLimit).outcome, Outcome::kAllowed);
  CHECK_EQ(consume(*table, 7, nowNs, kLimit + 1).outcome, Outcome::kTooCostly);  // no offence
  for (const std::uint64_t ms : {1000U, 5000U, 60'000U, 60'000U}) {
    if (!isBlockedFor(*table, 7, nowNs, ms)) return;
    // Under a block nothing is an offence.
    CHECK_EQ(consume(*table, 7, nowNs + ms * kNsPerMs / 2).outcome, Outcome::kBlocked);
    nowNs += ms * kNsPerMs;
  }
  // Remembered to the last moment, and the time begins anew with each block's end.
  nowNs += 3'600'000 * kNsPerMs - kNsPerMs;
  consume(*table, 7, nowNs, kLimit);
  if (!isBlockedFor(*table, 7, nowNs, 60'000)) return;
  nowNs += (60'000 + 3'600'000) * kNsPerMs;
  consume(*table, 7, nowNs, kLimit);
  if (!isBlockedFor(*table, 7, nowNs, 1000)) return;
  // Nobody else has offended, and who is reset begins anew.
  consume(*table, 8, nowNs, kLimit);
  CHECK(isBlockedFor(*table, 8, nowNs, 1000));
  CHECK(sluice::reset(requestOf(*table, 7, nowNs)) == true);
  CHECK_EQ(consume(*table, 7, nowNs, kLimit).outcome, Outcome::kAllowed);
  CHECK(isBlockedFor(*table, 7, nowNs, 1000));
  CHECK(isBlockedFor(*table, 8, nowNs + 1000 * kNsPerMs, 5000));
}

// All threads are refused at once, again and again: each time it is one offence.
template <class Algorithm>
void oneOffenceEach() {
  for (int round = 0; round < check::scaled(60) + 1; ++round) {
    const auto table = makeTable<Algorithm>(kThree);
    consume(*table, 7, kStart, kLimit);
    std::uint64_t nowNs = kStart;
    for (const std::uint64_t ms : {1000U, 5000U, 60'000U}) {
      check::race([&](unsigned) {
        const auto mine = Table<Algorithm>::attach(sluice::Region::attach(table->region()));
        for (int i = 0; i < 5; ++i) CHECK_EQ(consume(*mine, 7, nowNs, kLimit).outcome, Outcome::kBlocked);
      });
      const std::uint64_t endNs = nowNs + ms * kNsPerMs;
      CHECK_EQ(consume(*table, 7, endNs - 1, 0).outcome, Outcome::kBlocked);
      if (!CHECK_EQ(consume(*table, 7, endNs, 0).outcome, Outcome::kAllowed))
        return check::note("round", round);
      nowNs = endNs;
    }
    CHECK(table->consistent());
  }
}

}  // namespace

TEST(blocks_grow_and_are_forgotten) {
  levelsAndForgetting<TokenBucket>();
  levelsAndForgetting<FixedWindow>();
  levelsAndForgetting<SlidingWindow>();
  levelsAndForgetting<StrictWindow>();
  levelsAndForgetting<SlidingLog>();
}

TEST(any_schedule_goes_by_the_definition) {
  schedules<TokenBucket>(1);
  schedules<FixedWindow>(2);
  schedules<SlidingWindow>(3);
  schedules<StrictWindow>(4);
  schedules<SlidingLog>(5);
}

TEST(who_takes_what_there_is_offends_only_if_there_is_nothing) {
  const auto table = makeTable<FixedWindow>(kThree);
  CHECK_EQ(sluice::consumePartial(requestOf(*table, 7, kStart), 100).consumed, kLimit);
  CHECK_EQ(sluice::consumePartial(requestOf(*table, 7, kStart), 100).outcome, Outcome::kBlocked);
  CHECK(isBlockedFor(*table, 7, kStart + kNsPerSecond, 5000));
}

TEST(refused_at_once_by_many_is_one_offence) {
  oneOffenceEach<TokenBucket>();
  oneOffenceEach<FixedWindow>();
  oneOffenceEach<StrictWindow>();
}

// A caller that was refused, and is held up before it can punish: another one's offence is the same.
TEST(whoever_comes_late_with_the_same_offence_adds_nothing) {
  for (const bool meanwhile : {false, true}) {
    const auto table = makeTable<FixedWindow>(kThree);
    const auto request = requestOf(*table, 7, kStart);
    consume(*table, 7, kStart, kLimit);
    if (!meanwhile) CHECK_EQ(consume(*table, 7, kStart).outcome, Outcome::kBlocked);
    const auto answer =
        sluice::Escalating<FixedWindow>(request).punish([&](const auto& entry, std::uint64_t nowNs) {
          const auto step = FixedWindow::charge(table->book(), 0, entry, nowNs, 1);
          if (meanwhile && step.outcome == Outcome::kLimited)
            CHECK_EQ(consume(*table, 7, kStart).outcome, Outcome::kBlocked);
          return step;
        });
    CHECK_EQ(answer.applied.step.outcome, Outcome::kBlocked);
    CHECK_EQ(consume(*table, 7, kStart + 1000 * kNsPerMs - 1).outcome, Outcome::kBlocked);
    CHECK(isBlockedFor(*table, 7, kStart + 1000 * kNsPerMs, 5000));
  }
}

TEST(what_is_remembered_lies_where_no_key_does) {
  const auto table = sluice::Table<TokenBucket>::create(100'000, check::hashSeed(3), TokenBucket::Book());
  const auto& geometry = table->geometry();
  std::set<std::tuple<std::uint32_t, std::uint32_t, std::uint64_t>> places;
  constexpr std::uint64_t kKeys = 200'000;
  for (std::uint64_t i = 0; i < kKeys; ++i) {
    const Path path = numberedKey(*table, i), companion = geometry.companionOf(path);
    places.insert({path.stripe, path.home, path.fingerprint});
    places.insert({companion.stripe, companion.home, companion.fingerprint});
    CHECK(companion.stripe < geometry.stripes && companion.home < geometry.linesPerStripe);
    CHECK(companion.fingerprint != 0 && companion.step % 2 == 1);
    const Path again = geometry.companionOf(path);
    CHECK(again.fingerprint == companion.fingerprint && again.home == companion.home);
  }
  CHECK_EQ(places.size(), 2 * kKeys);
}

TEST(offenders_spread_over_the_whole_table) {
  const auto table = sluice::Table<TokenBucket>::create(100'000, check::hashSeed(3), TokenBucket::Book());
  std::vector<int> inStripe(table->geometry().stripes);
  constexpr std::uint64_t kKeys = 100'000;
  for (std::uint64_t i = 0; i < kKeys; ++i)
    ++inStripe[table->geometry().companionOf(numberedKey(*table, i)).stripe];
  const auto mean = static_cast<double>(kKeys) / static_cast<double>(inStripe.size());
  for (const int count : inStripe) CHECK(count > 0.7 * mean && count < 1.3 * mean);
}

// Where there is no room to remember, the block itself holds, and the first step repeats.
TEST(a_full_table_blocks_but_remembers_nothing) {
  const auto table = makeTable<FixedWindow>(kThree);
  CHECK_EQ(consume(*table, 7, kStart, kLimit).outcome, Outcome::kAllowed);
  for (std::uint64_t i = 100; i < 163; ++i)
    CHECK(sluice::block(requestOf(*table, i, kStart), kStart + 30 * kDay));
  CHECK(isBlockedFor(*table, 7, kStart, 1000));
  CHECK(isBlockedFor(*table, 7, kStart + 1000 * kNsPerMs, 1000));
  for (std::uint64_t i = 100; i < 163; ++i) CHECK_EQ(consume(*table, i, kStart).outcome, Outcome::kBlocked);
  // Once there is, it is remembered again.
  CHECK(sluice::reset(requestOf(*table, 100, kStart)) == true);
  CHECK(isBlockedFor(*table, 7, kStart + 2000 * kNsPerMs, 1000));
  CHECK(isBlockedFor(*table, 7, kStart + 3000 * kNsPerMs, 5000));
  CHECK(table->consistent());
}

TEST(without_steps_nobody_is_blocked) {
  const auto table = makeTable<FixedWindow>({});
  consume(*table, 7, kStart, kLimit);
  for (int i = 0; i < 5; ++i) CHECK_EQ(consume(*table, 7, kStart).outcome, Outcome::kLimited);
  CHECK_EQ(table->stats().occupied, 1);
}

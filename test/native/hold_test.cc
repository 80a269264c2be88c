// One key held still: judged, changed or left as it was, while others wait.
#include "core/hold.h"

#include "limit_tables.h"
#include "threads.h"

using check::craftedKey;
using sluice::Entry;
using sluice::FixedWindow;
using sluice::Hold;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::Path;
using sluice::SlidingLog;
using sluice::StrictWindow;
using sluice::Table;
using sluice::TokenBucket;

namespace {

constexpr std::uint64_t kDay = 86'400 * kNsPerSecond, kNow = 100 * kDay + kNsPerSecond;
constexpr std::uint64_t kLimit = 20, kKeys = 80;

Path pathOf(std::uint64_t number) { return craftedKey(static_cast<std::uint32_t>(number % 4), number); }

template <class Algorithm>
std::unique_ptr<Table<Algorithm>> makeTable() {
  return check::tableOfLimit<Algorithm>(1, check::inWindow(kLimit, kDay), kLimit);
}
template <class Algorithm>
check::TableKey<Algorithm> keyOf(Table<Algorithm>& table, std::uint64_t number) {
  return {table, pathOf(number)};
}
// Full, and one key has spent least.
template <class Algorithm>
void fill(Table<Algorithm>& table, std::uint64_t least) {
  for (std::uint64_t i = 0; i < 64; ++i)
    CHECK_EQ(keyOf(table, i).allow(kNow, i == least ? 1 : 3 + i % 5), Outcome::kAllowed);
}

// Everything there is to see.
template <class Algorithm>
std::vector<std::uint64_t> look(Table<Algorithm>& table) {
  std::vector<std::uint64_t> seen = {table.stats().occupied, table.stats().evictedLive};
  for (std::uint64_t i = 0; i < kKeys; ++i) {
    const auto decision = keyOf(table, i).peek(kNow);
    seen.insert(seen.end(), {decision.remaining, decision.retryAfterNs, decision.resetAfterNs});
  }
  return seen;
}

template <class Algorithm>
Outcome judge(Hold<Algorithm>& hold, const Table<Algorithm>& table, std::uint64_t cost) {
  return hold
      .judge(kNow, [&](const auto& entry) { return Algorithm::charge(table.book(), 0, entry, kNow, cost); })
      .outcome;
}

template <class Algorithm>
void nothingChangesWhenLetGo() {
  const auto table = makeTable<Algorithm>();
  fill(*table, 37);
  const auto before = look(*table);
  for (const std::uint64_t key : {5U, 37U, 70U}) {  // there, to be evicted, absent
    for (const std::uint64_t cost : {0U, 2U, 21U}) {
      {
        Hold<Algorithm> hold(*table, pathOf(key));
        CHECK(hold.held());
        CHECK(hold.entry() == typename Algorithm::Entry{} || key != 70);
        CHECK_EQ(judge(hold, *table, cost), cost > kLimit ? Outcome::kTooCostly : Outcome::kAllowed);
      }
      CHECK(table->consistent());
      CHECK(look(*table) == before);
    }
  }
}

// The last judgement counts; without one, or if nothing is to be written, nothing is.
template <class Algorithm>
void whatWasJudgedLastIsMade() {
  const auto table = makeTable<Algorithm>();
  fill(*table, 37);
  const auto before = look(*table);
  {
    Hold<Algorithm> hold(*table, pathOf(5));
    CHECK_EQ(judge(hold, *table, 3), Outcome::kAllowed);
    CHECK_EQ(judge(hold, *table, 21), Outcome::kTooCostly);
    hold.commit(kNow);
  }
  CHECK(look(*table) == before);
  const std::uint64_t left = keyOf(*table, 5).peek(kNow).remaining;
  {
    Hold<Algorithm> hold(*table, pathOf(5));
    CHECK_EQ(judge(hold, *table, 21), Outcome::kTooCostly);
    CHECK_EQ(judge(hold, *table, 2), Outcome::kAllowed);
    hold.commit(kNow);
    CHECK(hold.entry() == hold.judged().next);
  }
  CHECK_EQ(keyOf(*table, 5).peek(kNow).remaining, left - 2);
  CHECK(table->consistent());
}

// A new key takes the place of the one that has spent least, and of no other.
template <class Algorithm>
void aNewKeyTakesItsPlace() {
  const auto table = makeTable<Algorithm>();
  fill(*table, 37);
  {
    Hold<Algorithm> hold(*table, pathOf(70));
    CHECK_EQ(judge(hold, *table, 2), Outcome::kAllowed);
    CHECK_EQ(judge(hold, *table, 4), Outcome::kAllowed);
    hold.commit(kNow);
  }
  CHECK(table->consistent());
  CHECK_EQ(table->stats().evictedLive, 1);
  CHECK_EQ(table->stats().occupied, 64);
  for (std::uint64_t i = 0; i < 64; ++i)
    CHECK_EQ(keyOf(*table, i).peek(kNow).remaining, i == 37 ? kLimit : kLimit - 3 - i % 5);
  CHECK_EQ(keyOf(*table, 70).peek(kNow).remaining, kLimit - 4);
}

template <class Algorithm>
void aFullTableRefuses() {
  const auto table = makeTable<Algorithm>();
  for (std::uint64_t i = 0; i < 64; ++i) CHECK(keyOf(*table, i).block(kNow, kNow + (i + 5) * kNsPerSecond));
  {
    Hold<Algorithm> hold(*table, pathOf(70));
    CHECK_EQ(judge(hold, *table, 1), Outcome::kTableFull);
    CHECK_EQ(hold.waitNs(), 5 * kNsPerSecond);
    hold.commit(kNow);  // which is nothing
  }
  CHECK_EQ(table->stats().refusedFull, 1);
  CHECK_EQ(table->stats().evictedLive, 0);
  CHECK(table->consistent());
  for (std::uint64_t i = 0; i < 64; ++i) CHECK_EQ(keyOf(*table, i).peek(kNow).outcome, Outcome::kBlocked);
}

// Another thread does something to the key, and is not done before the key is let go.
template <class Algorithm, class Work>
void waits(const char* name, Work&& work) {
  const auto table = makeTable<Algorithm>();
  keyOf(*table, 5).allow(kNow, 4);
  std::atomic<bool> held{false}, done{false};
  check::race(
      [&](unsigned thread) {
        if (thread == 1) {
          const auto mine = Table<Algorithm>::attach(sluice::Region::attach(table->region()));
          while (!held) std::this_thread::yield();
          work(*mine);
          done = true;
          return;
        }
        Hold<Algorithm> hold(*table, pathOf(5));
        CHECK_EQ(judge(hold, *table, 6), Outcome::kAllowed);
        held = true;
        for (int i = 0; i < 2000; ++i) {
          std::this_thread::yield();
          if (!CHECK(!done.load())) return check::note(name);
        }
        hold.commit(kNow);
      },
      2);
  CHECK(done.load());
  CHECK(table->consistent());
}

template <class Algorithm>
void othersWait() {
  using T = Table<Algorithm>;
  waits<Algorithm>("charge", [](T& table) {
    CHECK_EQ(keyOf(table, 5).allow(kNow, 1), Outcome::kAllowed);
    CHECK_EQ(keyOf(table, 5).peek(kNow).remaining, kLimit - 4 - 6 - 1);
  });
  waits<Algorithm>("charge by frame", [](T& table) {
    CHECK(keyOf(table, 5).fastAllow(kNow, 10));
    CHECK_EQ(keyOf(table, 5).peek(kNow).remaining, 0);
  });
  waits<Algorithm>("look", [](T& table) { CHECK_EQ(keyOf(table, 5).peek(kNow).remaining, kLimit - 10); });
  waits<Algorithm>("refund", [](T& table) { CHECK_EQ(keyOf(table, 5).refund(kNow, 20), 10); });
  waits<Algorithm>("block", [](T& table) { CHECK(keyOf(table, 5).block(kNow, kNow + kDay)); });
  waits<Algorithm>("reset", [](T& table) { CHECK(keyOf(table, 5).reset(kNow)); });
  waits<Algorithm>("a new key",
                   [](T& table) { CHECK_EQ(keyOf(table, 6).allow(kNow, 1), Outcome::kAllowed); });
}

template <class Algorithm>
void everything() {
  nothingChangesWhenLetGo<Algorithm>();
  whatWasJudgedLastIsMade<Algorithm>();
  aNewKeyTakesItsPlace<Algorithm>();
  aFullTableRefuses<Algorithm>();
  othersWait<Algorithm>();
}

}  // namespace

TEST(a_token_bucket_is_held) { everything<TokenBucket>(); }
TEST(a_fixed_window_is_held) { everything<FixedWindow>(); }
TEST(a_strict_window_is_held) { everything<StrictWindow>(); }
TEST(a_sliding_log_is_held) { everything<SlidingLog>(); }

TEST(the_stripes_other_keys_go_on_meanwhile) {
  const auto table = makeTable<TokenBucket>();
  for (std::uint64_t i = 5; i < 8; ++i) keyOf(*table, i).allow(kNow, 4);
  Hold<TokenBucket> hold(*table, pathOf(5));
  CHECK(keyOf(*table, 6).fastAllow(kNow, 1));
  CHECK_EQ(keyOf(*table, 7).allow(kNow, 17), Outcome::kLimited);
  CHECK_EQ(keyOf(*table, 6).peek(kNow).remaining, kLimit - 5);
}

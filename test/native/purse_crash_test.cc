// A process is killed at every point of every change of a purse: the others go on, each purse is as before
// the change or as after it, and nothing is minted.
#include "core/purse.h"

#include "crash.h"
#include "shared_tables.h"

using check::craftedKey;
using check::kDay;
using check::openTable;
using check::RegionName;
using check::smallTable;
using check::takeLock;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::Purse;
using sluice::Table;

namespace {

constexpr std::uint64_t kKeys = 100;
constexpr int kMostPoints = 200;
// Far more than it takes; a survivor that waits for the dead waits for ever.
constexpr std::uint64_t kAtOnceUs = 2'000'000;
// Grants made from here on lapse at times whose upper part, in meta, is another one.
constexpr std::uint64_t kLater = (std::uint64_t{1} << 28) * Purse::kTickNs - kDay + kNsPerSecond;
constexpr std::uint64_t kEarlier = kLater - 2 * kNsPerSecond;

check::TableKey<Purse> keyOf(Table<Purse>& table, std::uint64_t number) {
  return {table, craftedKey(static_cast<std::uint32_t>(number % 5 * 3), number)};
}

std::uint64_t drain(Table<Purse>& table, std::uint64_t number, std::uint64_t most) {
  const auto home = static_cast<std::uint32_t>(number % 5 * 3);
  return consumePartial(sluice::Request<Purse>{table, craftedKey(home, number), 0, kLater}, most).consumed;
}

void grant(Table<Purse>& table, std::uint64_t first, std::uint64_t count, std::uint64_t nowNs,
           std::uint64_t tokens, std::uint64_t ageNs = 0) {
  for (std::uint64_t i = first; i < first + count; ++i)
    CHECK_EQ(keyOf(table, i).refund(nowNs, tokens, ageNs), tokens);
}

// They have lapsed at kLater.
void grantShortly(Table<Purse>& table, std::uint64_t first, std::uint64_t count) {
  grant(table, first, count, kEarlier, 5, kDay - kNsPerSecond);
}

std::vector<std::uint64_t> look(Table<Purse>& table) {
  std::vector<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < kKeys; ++i) {
    const auto decision = keyOf(table, i).peek(kLater);
    seen.insert(seen.end(), {decision.remaining, decision.resetAfterNs});
  }
  return seen;
}

struct Scenario {
  const char* name;
  void (*prepare)(Table<Purse>&);
  void (*change)(Table<Purse>&);
};

const Scenario kScenarios[] = {
    {"a first grant", [](auto&) {}, [](auto& t) { keyOf(t, 3).refund(kLater, 5); }},
    {"a further grant", [](auto& t) { grant(t, 0, 40, kLater, 5); },
     [](auto& t) { keyOf(t, 3).refund(kLater, 7, kNsPerSecond); }},
    {"a further grant of which the upper part changes", [](auto& t) { grant(t, 0, 40, kEarlier, 5); },
     [](auto& t) { keyOf(t, 3).refund(kLater, 7); }},
    {"a grant to one that has lapsed", [](auto& t) { grantShortly(t, 0, 40); },
     [](auto& t) { keyOf(t, 3).refund(kLater, 7); }},
    {"a grant instead of lapsed ones", [](auto& t) { grantShortly(t, 0, 64); },
     [](auto& t) { keyOf(t, 99).refund(kLater, 7); }},
    {"a grant instead of the poorest",
     [](auto& t) {
       grant(t, 0, 64, kLater, 5);
       keyOf(t, 37).allow(kLater, 4);
     },
     [](auto& t) { keyOf(t, 99).refund(kLater, 7); }},
    {"a take", [](auto& t) { grant(t, 0, 40, kLater, 5); }, [](auto& t) { keyOf(t, 3).allow(kLater, 2); }},
    {"the last take", [](auto& t) { grant(t, 0, 40, kLater, 5); },
     [](auto& t) { CHECK(keyOf(t, 3).fastAllow(kLater, 5)); }},
    {"a drain", [](auto& t) { grant(t, 0, 40, kLater, 5); }, [](auto& t) { CHECK_EQ(drain(t, 3, 9), 5); }},
    {"a penalty", [](auto& t) { grant(t, 0, 40, kLater, 5); },
     [](auto& t) { keyOf(t, 3).penalize(kLater, 2); }},
    {"a key is forgotten", [](auto& t) { grant(t, 0, 60, kLater, 5); },
     [](auto& t) { keyOf(t, 43).reset(kLater); }},
};

// True if the process was killed.
bool diesAndIsSurvived(const Scenario& scenario, const RegionName& name, int point,
                       const std::vector<std::uint64_t>& after, check::Worst& worst, int* made) {
  name.clear();
  const auto table = smallTable<Purse>(name);
  scenario.prepare(*table);
  const auto before = look(*table);
  const bool died = check::diesAt(
      point, [&] { return openTable<Purse>(name); }, [&](auto& other) { scenario.change(*other); });
  worst.time([&] { takeLock(*table); });
  CHECK(table->consistent());
  const auto now = look(*table);
  CHECK(died ? now == before || now == after : now == after);
  *made += died && now == after;
  // The survivors can do everything, with every key.
  for (std::uint64_t i = 0; i < kKeys; ++i) {
    const std::uint64_t had = keyOf(*table, i).peek(kLater).remaining;
    CHECK_EQ(keyOf(*table, i).refund(kLater, 3), 3);
    CHECK_EQ(drain(*table, i, 1000), had + 3);
  }
  CHECK(table->consistent());
  return died;
}

}  // namespace

TEST(a_purse_survives_every_point) {
  const RegionName name("purse");
  check::Worst worst;
  int madeInAll = 0;
  for (const Scenario& scenario : kScenarios) {
    name.clear();
    const auto table = smallTable<Purse>(name);
    scenario.prepare(*table);
    const auto before = look(*table);
    scenario.change(*table);
    const auto after = look(*table);
    CHECK(before != after);
    int points = 0, made = 0, failedBefore = check::failedChecks;
    while (points < kMostPoints && diesAndIsSurvived(scenario, name, points, after, worst, &made)) {
      if (check::failedChecks != failedBefore) return check::note(scenario.name, "point", points);
      ++points;
    }
    check::note(scenario.name, "points", points, "made by the survivors", made);
    CHECK(points >= 1 && points < kMostPoints);
    madeInAll += made;
  }
  check::note("slowest survivor, us:", worst.us());
  CHECK(madeInAll > 10 && worst.us() < kAtOnceUs);
}

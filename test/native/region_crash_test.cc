// A process is killed at every point of making, entering and leaving a region, and of adding and changing
// policies.
#include <set>

#include "crash.h"
#include "shared_tables.h"

using check::diesAt;
using check::kLimit;
using check::kNow;
using check::kTier;
using check::kTierLimit;
using check::openTable;
using check::policyOf;
using check::RegionName;
using check::smallRegion;
using check::smallTable;
using sluice::FixedWindow;
using sluice::Member;
using sluice::Outcome;
using sluice::PolicyList;
using sluice::PolicySpec;
using sluice::Region;
using sluice::ShareStatus;
using sluice::Table;
using sluice::TokenBucket;

namespace {

constexpr int kMostPoints = 100;
// Far more than it takes; a survivor that waits for the dead waits for ever.
constexpr std::uint64_t kAtOnceUs = 2'000'000;

struct Nothing {};
const auto unprepared = [] { return Nothing{}; };

template <class Algorithm>
std::uint64_t membersOf(const Table<Algorithm>& table) {
  std::uint64_t alive = 0;
  for (std::uint32_t i = 0; i < Member::kPlaces; ++i) {
    const std::uint64_t token = table.region()->members()[i].token.load();
    if (token != 0 && (token & Member::kLeft) == 0 && !table.member().isGone(token)) ++alive;
  }
  return alive;
}

// The policies of a list, which must all be whole.
template <class Algorithm>
std::vector<PolicySpec> policiesOf(const Table<Algorithm>& table) {
  std::vector<PolicySpec> specs;
  const PolicyList& list = table.region()->policies();
  for (std::uint32_t i = 0; i < list.size(); ++i) {
    specs.push_back(list[i]);
    CHECK(table.book().accepts(list[i]));
  }
  return specs;
}

}  // namespace

template <class Algorithm>
static void regionsAreMadeWhole() {
  const RegionName name("made");
  int points = 0, made = 0;
  for (bool died = true; died && points < kMostPoints; ++points) {
    name.clear();
    died = diesAt(points, unprepared, [&](Nothing) { smallTable<Algorithm>(name); });
    const Region::Attached found = Region::open(name.text());
    if (found) {
      ++made;
      CHECK_EQ(found.region->policies().size() >= 1, true);
      CHECK(found.region->policies()[0] == smallRegion<Algorithm>().base);
    } else {
      CHECK(found.failure.status == ShareStatus::kNotFound);
    }
    const auto table = smallTable<Algorithm>(name);
    CHECK_EQ(check::TableKey<Algorithm>(*table, check::craftedKey(1, 1)).allow(kNow, 5), Outcome::kAllowed);
    CHECK(table->consistent());
  }
  check::note("making a region: points", points - 1, "survived", made);
  CHECK(points > 5 && points < kMostPoints && made > 1 && made < points);
}

TEST(a_region_is_there_whole_or_not_at_all) {
  regionsAreMadeWhole<TokenBucket>();
  regionsAreMadeWhole<FixedWindow>();
}

// A member that dies on its way in or out leaves its place to others, and what it has counted to all.
TEST(who_dies_entering_or_leaving_leaves_the_place) {
  const RegionName name("members");
  const auto table = smallTable<TokenBucket>(name);
  std::set<std::uint64_t> tokens = {table->member().token()};
  std::uint64_t counted = 0;
  int points = 0;
  for (bool died = true; died && points < kMostPoints; ++points) {
    died = diesAt(points, unprepared, [&](Nothing) {
      const auto entered = openTable<TokenBucket>(name);
      for (int i = 0; i < 10; ++i) entered->count(true);
    });
    CHECK_EQ(membersOf(*table), 1);
    const auto next = openTable<TokenBucket>(name);
    CHECK(tokens.insert(next->member().token()).second);
    next->count(true);
    ++counted;
    CHECK_EQ(membersOf(*table), 2);
  }
  check::note("entering and leaving: points", points - 1);
  CHECK(points > 2 && points < kMostPoints);
  const std::uint64_t allowed = table->stats().allowed;
  CHECK(allowed >= counted + 10 && allowed <= counted + 10 * static_cast<std::uint64_t>(points));
  CHECK_EQ((allowed - counted) % 10, 0);
}

// A policy that is being added is there whole or not at all, and its index is the same for all.
template <class Algorithm>
static void policiesAreAddedWhole() {
  const RegionName name("policies");
  const auto table = smallTable<Algorithm>(name);
  check::Worst worst;
  int points = 0, made = 0;
  for (bool died = true; died && points < kMostPoints; ++points) {
    const auto before = policiesOf(*table);
    const PolicySpec added = policyOf<Algorithm>(static_cast<std::uint64_t>(21 + points % 10));
    const auto limit = static_cast<std::uint32_t>(before.size());
    died = diesAt(
        points, [&] { return openTable<Algorithm>(name); }, [&](auto& other) { other->addPolicy(added); });
    auto after = policiesOf(*table);
    CHECK(after.size() == before.size() || after.size() == before.size() + 1);
    made += after.size() > before.size();
    PolicyList::Added mine{};
    worst.time([&] { mine = table->addPolicy(added); });
    CHECK_EQ(mine.status, PolicyList::Added::kDone);
    CHECK_EQ(mine.index, limit);
    after = policiesOf(*table);
    CHECK_EQ(after.size(), before.size() + 1);
    CHECK(std::equal(before.begin(), before.end(), after.begin()));
    CHECK(after.back() == added);
  }
  check::note("adding a policy: points", points - 1, "made", made, "slowest survivor, us:", worst.us());
  CHECK(points > 3 && points < kMostPoints && made > 1 && worst.us() < kAtOnceUs);
}

TEST(a_policy_is_added_whole_or_not_at_all) {
  policiesAreAddedWhole<TokenBucket>();
  policiesAreAddedWhole<FixedWindow>();
}

// A change of the limit in flight: the old one or the new one, and no key gains or loses by it.
template <class Algorithm>
static void limitsChangeAtOnce() {
  const RegionName name("change");
  int points = 0, made = 0;
  for (bool died = true; died && points < kMostPoints; ++points) {
    name.clear();
    const auto table = smallTable<Algorithm>(name);
    auto key = check::TableKey<Algorithm>(*table, check::craftedKey(1, 1));
    CHECK_EQ(key.allow(kNow, 15), Outcome::kAllowed);
    died = diesAt(
        points, [&] { return openTable<Algorithm>(name); },
        [&](auto& other) { other->setBasePolicy(policyOf<Algorithm>(30)); });
    const std::uint32_t base = table->basePolicy();
    const bool changed = base != 0;
    made += changed;
    CHECK_EQ(table->region()->policies()[base].limit == smallRegion<Algorithm>().base.limit &&
                 table->region()->policies()[base].burst == smallRegion<Algorithm>().base.burst,
             !changed);
    const bool isBucket = std::is_same_v<Algorithm, TokenBucket>;
    CHECK_EQ(key.peek(kNow, base).remaining, changed && !isBucket ? 15 : 5);
    CHECK_EQ(table->setBasePolicy(policyOf<Algorithm>(30)).status, PolicyList::Added::kDone);
    CHECK_EQ(key.peek(kNow, table->basePolicy()).remaining, isBucket ? 5 : 15);
  }
  check::note("changing the limit: points", points - 1, "made", made);
  CHECK(points > 3 && points < kMostPoints && made >= 1);
}

TEST(a_limit_is_changed_at_once_or_not_at_all) {
  limitsChangeAtOnce<TokenBucket>();
  limitsChangeAtOnce<FixedWindow>();
}

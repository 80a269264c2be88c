// Regions with a name: made once however many want them at once, shared by all who attach, and left behind in
// order.
#include "core/region.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <set>

#include "region_files.h"
#include "shared_tables.h"

using check::craftedKey;
using check::kLimit;
using check::kNow;
using check::openTable;
using check::raceProcesses;
using check::RegionName;
using check::Shared;
using check::smallRegion;
using check::smallTable;
using check::StartLine;
using sluice::FixedWindow;
using sluice::Layout;
using sluice::Member;
using sluice::Outcome;
using sluice::Region;
using sluice::RegionSpec;
using sluice::SharedMemory;
using sluice::ShareStatus;
using sluice::Table;
using sluice::TokenBucket;
using Key = check::TableKey<TokenBucket>;

namespace {

constexpr unsigned kProcesses = 6;

RegionSpec seededRegion(std::uint64_t seed) {
  RegionSpec spec = smallRegion<TokenBucket>();
  spec.seed = check::hashSeed(seed);
  return spec;
}

std::uint64_t placeOf(const Table<TokenBucket>& table) { return Member::placeOf(table.member().token()); }

struct Race {
  explicit Race(unsigned processes) : start(processes), attached(processes) {}
  StartLine start, attached;
  std::atomic<std::uint64_t> admitted{0}, firstSeed[kProcesses]{}, places[kProcesses]{};
};

// Everybody asks for the same name at once, each with a seed of its own; returns the seed that all have got.
std::uint64_t oneRegionForAll(const RegionName& name) {
  const Shared<Race> race(kProcesses);
  raceProcesses(
      [&](unsigned process) {
        race->start.wait();
        const auto table =
            Table<TokenBucket>::attach(Region::openOrCreate(name.text(), seededRegion(process + 1)));
        if (!CHECK(table != nullptr)) _exit(1);
        race->firstSeed[process] = table->region()->header().seed[0];
        race->places[process] = placeOf(*table);
        for (std::uint64_t i = 0; i < kLimit; ++i)
          race->admitted += Key(*table, craftedKey(1, 1)).allow(kNow, 1) == Outcome::kAllowed;
        race->attached.wait();  // nobody leaves before all are in
      },
      kProcesses);
  std::set<std::uint64_t> seeds, places;
  for (unsigned i = 0; i < kProcesses; ++i) {
    seeds.insert(race->firstSeed[i].load());
    places.insert(race->places[i].load());
  }
  CHECK_EQ(seeds.size(), 1);
  CHECK_EQ(places.size(), kProcesses);
  CHECK_EQ(race->admitted.load(), kLimit);
  return *seeds.begin();
}

}  // namespace

TEST(a_name_means_one_region) {
  const RegionName name("one");
  CHECK(Region::open(name.text()).failure.status == ShareStatus::kNotFound);
  CHECK(Region::remove(name.text(), false).status == ShareStatus::kNotFound);
  const auto one = smallTable<TokenBucket>(name), other = openTable<TokenBucket>(name);
  if (!CHECK(other != nullptr)) return;
  CHECK(one->region() != other->region());
  CHECK(one->region()->isShared() && one->bytes() == other->bytes());
  CHECK(one->region()->header().seed == other->region()->header().seed);
  CHECK_EQ(Key(*one, craftedKey(1, 1)).allow(kNow, 15), Outcome::kAllowed);
  CHECK_EQ(Key(*other, craftedKey(1, 1)).peek(kNow).remaining, 5);
  CHECK_EQ(other->book().size(), 2);
  one->count(true);
  other->count(false);
  CHECK(one->stats().allowed == 1 && one->stats().denied == 1);
  const auto names = SharedMemory::list();
  CHECK_EQ(std::count(names.begin(), names.end(), name.text()), 1);
}

TEST(a_region_outlives_all_who_were_attached) {
  const RegionName name("outlives");
  CHECK(check::waitFor(check::spawn([&] {
          const auto table = smallTable<TokenBucket>(name);
          Key(*table, craftedKey(1, 1)).allow(kNow, 15);
          table->count(true);
        })) == check::End::kFinished);
  const auto table = openTable<TokenBucket>(name);
  CHECK_EQ(Key(*table, craftedKey(1, 1)).peek(kNow).remaining, 5);
  CHECK_EQ(table->stats().allowed, 1);
}

TEST(another_algorithm_is_not_attached) {
  const RegionName name("algorithm");
  const auto table = smallTable<TokenBucket>(name);
  CHECK(openTable<FixedWindow>(name) == nullptr);
}

TEST(processes_that_start_together_share_one_region) {
  for (int round = 0; round < check::scaled(100) + 5; ++round) {
    const RegionName name("together");
    oneRegionForAll(name);
  }
}

// One from before the machine's last start counts as none.
TEST(a_region_of_an_earlier_start_is_replaced_once) {
  for (int round = 0; round < check::scaled(100) + 5; ++round) {
    const RegionName name("stale");
    CHECK(Region::openOrCreate(name.text(), seededRegion(77)).region != nullptr);
    check::RegionFile(name).changeHeader([](auto& header) { header.bootId[0] += 1; });
    const std::uint64_t seed = oneRegionForAll(name);
    CHECK(seed != check::hashSeed(77)[0]);
  }
  const RegionName name("stale");
  CHECK(Region::openOrCreate(name.text(), seededRegion(77)).region != nullptr);
  check::RegionFile(name).changeHeader([](auto& header) { header.bootId[1] += 1; });
  CHECK(Region::open(name.text()).failure.status == ShareStatus::kNotFound);
}

// Containers may be given a boot id of their own, or none.
TEST(a_region_that_is_in_use_is_of_this_start_whatever_it_says) {
  const RegionName name("foreign-boot");
  const auto first = smallTable<TokenBucket>(name);
  check::RegionFile(name).changeHeader([](auto& header) { header.bootId[0] += 1; });
  const auto second = smallTable<TokenBucket>(name);
  CHECK_EQ(Key(*first, craftedKey(1, 1)).allow(kNow, kLimit), Outcome::kAllowed);
  CHECK_EQ(Key(*second, craftedKey(1, 1)).allow(kNow, 1), Outcome::kLimited);
}

TEST(a_region_without_boot_id_is_taken_as_it_is) {
  const RegionName name("no-boot");
  CHECK_EQ(Key(*smallTable<TokenBucket>(name), craftedKey(1, 1)).allow(kNow, kLimit), Outcome::kAllowed);
  check::RegionFile(name).changeHeader([](auto& header) { header.bootId = {}; });
  CHECK_EQ(Key(*smallTable<TokenBucket>(name), craftedKey(1, 1)).allow(kNow, 1), Outcome::kLimited);
}

TEST(places_are_used_again_and_tokens_are_not) {
  const RegionName name("places");
  const auto table = smallTable<TokenBucket>(name);
  std::set<std::uint64_t> tokens = {table->member().token()};
  for (std::uint64_t i = 0; i < 50; ++i) {
    const auto other = openTable<TokenBucket>(name);
    CHECK_EQ(placeOf(*other), 1);
    CHECK(tokens.insert(other->member().token()).second);
    CHECK(!table->member().isGone(other->member().token()));
    other->count(true);
    CHECK_EQ(other->member().self().allowedBefore.load(), i);
  }
  for (const std::uint64_t token : tokens)
    CHECK_EQ(table->member().isGone(token), token != table->member().token());
  CHECK_EQ(table->stats().allowed, 50);
}

TEST(places_run_out_and_come_back) {
  constexpr unsigned kHolders = 4;
  const RegionName name("full");
  CHECK(Region::openOrCreate(name.text(), smallRegion<TokenBucket>()).region != nullptr);
  struct Meeting {
    Meeting() : in(kHolders + 1), never(kHolders + 1) {}
    StartLine in, never;
  };
  const Shared<Meeting> meeting;
  std::vector<pid_t> holders;
  for (unsigned i = 0; i < kHolders; ++i) {
    holders.push_back(check::spawn([&] {
      std::vector<std::unique_ptr<Table<TokenBucket>>> tables;
      for (unsigned n = 0; n < Member::kMax / kHolders; ++n) {
        tables.push_back(openTable<TokenBucket>(name));
        CHECK(tables.back() != nullptr);
        tables.back()->count(true);
      }
      meeting->in.wait();
      meeting->never.wait();
    }));
  }
  meeting->in.wait();
  CHECK_EQ(Region::open(name.text()).failure.status, ShareStatus::kFull);
  CHECK(Region::remove(name.text(), false).status == ShareStatus::kBusy);
  kill(holders[0], SIGKILL);
  CHECK(check::waitFor(holders[0]) == check::End::kKilled);
  const auto table = openTable<TokenBucket>(name);
  if (CHECK(table != nullptr)) CHECK_EQ(table->stats().allowed, Member::kMax);
  for (unsigned i = 1; i < kHolders; ++i) {
    kill(holders[i], SIGKILL);
    check::waitFor(holders[i]);
  }
}

TEST(processes_that_add_the_same_policies_agree_on_their_indices) {
  constexpr std::uint64_t kPolicies = 100;
  struct Indices {
    Indices() : start(kProcesses) {}
    StartLine start;
    std::atomic<std::uint32_t> of[kProcesses][kPolicies]{};
  };
  const RegionName name("policies");
  const auto first = smallTable<TokenBucket>(name);
  const Shared<Indices> indices;
  raceProcesses(
      [&](unsigned process) {
        const auto table = openTable<TokenBucket>(name);
        indices->start.wait();
        for (std::uint64_t i = 0; i < kPolicies; ++i) {
          const std::uint64_t which = (i + 13 * process) % kPolicies;
          const auto added = table->addPolicy(check::policyOf<TokenBucket>(which + 100));
          indices->of[process][which] = added.index;
          CHECK_EQ(table->book()[added.index].burst, which + 100);
        }
      },
      kProcesses);
  for (std::uint64_t i = 0; i < kPolicies; ++i) {
    for (const auto& those : indices->of) CHECK_EQ(those[i].load(), indices->of[0][i].load());
    CHECK_EQ(first->book()[indices->of[0][i]].burst, i + 100);
  }
  CHECK_EQ(first->region()->policies().size(), kPolicies + 2);
}

TEST(a_region_that_is_removed_lives_on_for_who_has_it) {
  const RegionName name("removed");
  const auto old = smallTable<TokenBucket>(name);
  CHECK_EQ(Key(*old, craftedKey(1, 1)).allow(kNow, 5), Outcome::kAllowed);
  CHECK(Region::remove(name.text(), false).status == ShareStatus::kBusy);
  CHECK(Region::remove(name.text(), true).status == ShareStatus::kOk);
  CHECK(Region::open(name.text()).failure.status == ShareStatus::kNotFound);
  CHECK_EQ(Key(*old, craftedKey(1, 1)).peek(kNow).remaining, 15);
  const auto fresh = smallTable<TokenBucket>(name);
  CHECK_EQ(Key(*fresh, craftedKey(1, 1)).peek(kNow).remaining, 20);
  CHECK(!old->member().isGone(old->member().token()));
}

// Whoever gets a region gets the one that has the name, or had it when they came in.
TEST(regions_may_be_removed_while_others_come_in) {
  const RegionName name("comes and goes");
  raceProcesses(
      [&](unsigned process) {
        check::Random random(process);
        for (int i = 0; i < check::scaled(2000); ++i) {
          if (random.oneIn(3)) {
            const sluice::ShareFailure removed = Region::remove(name.text(), random.oneIn(2));
            if (!CHECK(removed.status == ShareStatus::kOk || removed.status == ShareStatus::kBusy ||
                       removed.status == ShareStatus::kNotFound)) {
              return check::note("status", removed.status, removed.detail);
            }
          } else {
            const auto found = Region::openOrCreate(name.text(), seededRegion(process));
            CHECK(found && found.region->policies().size() == 1);
          }
        }
      },
      kProcesses);
}

TEST(too_large_a_region_is_refused_at_once) {
  const RegionName name("large");
  struct statvfs space;
  CHECK_EQ(statvfs("/dev/shm", &space), 0);
  RegionSpec spec = smallRegion<TokenBucket>();
  spec.maxKeys = sluice::Geometry::kMaxKeys;
  const std::uint64_t free = std::uint64_t{space.f_bavail} * space.f_frsize;
  if (free > Layout::bytes(sluice::Geometry::forKeys(spec.maxKeys), 0))
    return check::note("not tried: /dev/shm has room for the largest region, bytes:", free);
  const auto refused = Region::openOrCreate(name.text(), spec);
  CHECK(refused.failure.status == ShareStatus::kNoSpace);
  const std::size_t needed =
      sluice::roundUp(Layout::bytes(sluice::Geometry::forKeys(spec.maxKeys), 0), sluice::kPageBytes);
  CHECK(refused.failure.detail.find(std::to_string(needed)) != std::string::npos);
  CHECK(Region::open(name.text()).failure.status == ShareStatus::kNotFound);
}

// A /dev/shm with room for one region of that size and a half.
TEST(processes_that_start_together_need_room_for_one_region) {
  constexpr std::uint64_t kKeys = 60'000;
  RegionSpec spec = smallRegion<TokenBucket>();
  spec.maxKeys = kKeys;
  const std::size_t bytes = Layout::bytes(sluice::Geometry::forKeys(kKeys), 0);
  const RegionName name("tight");
  const Shared<std::atomic<bool>> mounted(false);
  const check::End end = check::waitFor(check::spawn([&] {
    const std::string room = "size=" + std::to_string(bytes * 3 / 2);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, room.c_str()) != 0) {
      return;
    }
    *mounted = true;
    for (int round = 0; round < 20; ++round) {
      const Shared<StartLine> start(kProcesses);
      raceProcesses(
          [&](unsigned) {
            start->wait();
            const auto made = Region::openOrCreate(name.text(), spec);
            CHECK_EQ(made.failure.status, ShareStatus::kOk);
          },
          kProcesses);
      name.clear();
    }
    spec.maxKeys = 2 * kKeys;
    CHECK(Region::openOrCreate(name.text(), spec).failure.status == ShareStatus::kNoSpace);
  }));
  CHECK(end == check::End::kFinished);
  if (!mounted->load()) check::note("not tried: this user may not mount a small /dev/shm");
}

// A system without shared memory that we know how to use: everything that needs it says so, and private
// tables work.
#define SLUICE_WITHOUT_SHARED_MEMORY

#include "core/memory.cc"
#include "core/region.cc"
#include "core/shared_memory.cc"

#include "check.h"
#include "core/operations.h"
#include "core/token_bucket.h"

using sluice::Outcome;
using sluice::Region;
using sluice::RegionSpec;
using sluice::ShareStatus;
using sluice::Table;
using sluice::TokenBucket;

static RegionSpec spec() {
  RegionSpec spec;
  spec.algorithm = TokenBucket::kId;
  spec.maxKeys = 100;
  spec.base = {1, sluice::kNsPerSecond, 1, 1};
  return spec;
}

TEST(shared_regions_are_refused_as_unsupported) {
  const auto made = Region::openOrCreate("unsupported", spec());
  CHECK(!made);
  CHECK_EQ(made.failure.status, ShareStatus::kUnsupported);
  CHECK_EQ(Region::open("unsupported").failure.status, ShareStatus::kUnsupported);
  CHECK_EQ(Region::remove("unsupported", true).status, ShareStatus::kUnsupported);
  CHECK(sluice::SharedMemory::list().empty());
}

TEST(private_regions_work_and_are_shared_by_threads) {
  const auto one = Table<TokenBucket>::attach(Region::allocate(spec()));
  if (!CHECK(one != nullptr)) return;
  const auto two = Table<TokenBucket>::attach(Region::attach(one->region()));
  if (!CHECK(two != nullptr)) return;
  const auto path = one->pathOf(one->hasher().hash(sluice::KeyKind::kString, "key", 3));
  CHECK_EQ(sluice::allow(sluice::Request<TokenBucket>{*one, path, 0, 5}, 1), Outcome::kAllowed);
  CHECK_EQ(sluice::allow(sluice::Request<TokenBucket>{*two, path, 0, 5}, 1), Outcome::kLimited);
}

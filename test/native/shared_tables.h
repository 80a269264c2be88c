// Tables of 64 slots in a region that processes share, for all algorithms alike: one limit of 20 a day, a
// tier of 40.
#pragma once

#include "limit_tables.h"
#include "processes.h"

namespace check {

inline constexpr std::uint64_t kNow = 100 * sluice::kNsPerSecond, kDay = 86'400 * sluice::kNsPerSecond;
inline constexpr std::uint64_t kLimit = 20, kTierLimit = 40;
inline constexpr std::uint32_t kTier = 1;

template <class Algorithm>
sluice::PolicySpec policyOf(std::uint64_t limit) {
  // A bucket refills one token a day; a window is a day long.
  if constexpr (isBucket<Algorithm>) return {1, kDay, limit, 0};
  return {limit, 0, 0, 0};
}

template <class Algorithm>
sluice::RegionSpec smallRegion(std::uint64_t maxLimit = kTierLimit) {
  sluice::RegionSpec spec;
  spec.algorithm = Algorithm::kId;
  spec.maxKeys = 40;
  if constexpr (!isBucket<Algorithm>) spec.book = {kDay, maxLimit, 0};
  spec.wordsPerSlot = wordsOf<Algorithm>(spec.book);
  spec.seed = hashSeed(1);
  spec.id = Algorithm::kId;
  spec.time.userClock = 1;
  spec.base = policyOf<Algorithm>(kLimit);
  spec.base.isBase = 1;
  return spec;
}

template <class Algorithm>
std::unique_ptr<sluice::Table<Algorithm>> smallTable(const RegionName& name,
                                                     std::uint64_t tierLimit = kTierLimit,
                                                     std::uint64_t maxLimit = kTierLimit) {
  auto table = sluice::Table<Algorithm>::attach(
      sluice::Region::openOrCreate(name.text(), smallRegion<Algorithm>(maxLimit)));
  CHECK(table != nullptr && table->geometry().slots() == 64);
  CHECK_EQ(table->addPolicy(policyOf<Algorithm>(tierLimit)).index, kTier);
  return table;
}

// Takes the lock of a stripe, and changes nothing.
template <class Algorithm>
void takeLock(sluice::Table<Algorithm>& table, std::uint32_t stripe = 0) {
  sluice::Path absent = craftedKey(0, 999'999'937);
  absent.stripe = stripe;
  CHECK(table.erase(absent, kNow) == std::optional(false));
}

}  // namespace check

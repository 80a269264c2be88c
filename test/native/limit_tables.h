// Limits of all algorithms alike, in regions of their own.
#pragma once

#include "core/concurrency.h"
#include "core/fixed_window.h"
#include "core/leaky_bucket.h"
#include "core/sliding_log.h"
#include "core/sliding_window.h"
#include "core/strict_window.h"
#include "core/token_bucket.h"

#include "table_keys.h"

namespace check {

template <class Algorithm>
inline constexpr bool isBucket = std::is_base_of_v<sluice::TokenBucket, Algorithm>;

// How many words an entry has beside its slot.
template <class Algorithm>
std::uint64_t wordsOf(const sluice::BookOptions& options) {
  const auto book = Algorithm::Book::make(options);
  CHECK(book.has_value());
  return book ? sluice::wordsPerSlot<Algorithm>(*book) : 0;
}

// That many in a window; also all at once.
inline sluice::PolicySpec inWindow(std::uint64_t limit, std::uint64_t windowNs) {
  sluice::PolicySpec spec;
  spec.limit = spec.burst = limit;
  spec.windowNs = windowNs;
  return spec;
}

// A table of 64 slots for one limit, with room for tiers up to `maxLimit`. Among all tables `id` says where
// it comes (Seat::order).
template <class Algorithm>
sluice::RegionSpec regionOfLimit(std::uint64_t id, const sluice::PolicySpec& base, std::uint64_t maxLimit,
                                 const sluice::Escalation& escalation = {}) {
  sluice::RegionSpec spec;
  spec.algorithm = Algorithm::kId;
  spec.maxKeys = 40;
  if constexpr (!isBucket<Algorithm>) spec.book = {base.windowNs, maxLimit, 0};
  spec.wordsPerSlot = wordsOf<Algorithm>(spec.book);
  spec.escalation = escalation;
  spec.seed = hashSeed(1);
  spec.id = id;
  spec.time.userClock = 1;
  spec.base = base;
  spec.base.isBase = 1;
  return spec;
}

template <class Algorithm>
std::unique_ptr<sluice::Table<Algorithm>> tableOfLimit(std::uint64_t id, const sluice::PolicySpec& base,
                                                       std::uint64_t maxLimit,
                                                       const sluice::Escalation& escalation = {}) {
  const auto spec = regionOfLimit<Algorithm>(id, base, maxLimit, escalation);
  auto table = sluice::Table<Algorithm>::attach(sluice::Region::allocate(spec));
  CHECK(table != nullptr);
  return table;
}

}  // namespace check

// What lies where in a region, private or shared: header, policies, members, stripes, lines; and of an
// algorithm whose entries are wider than a slot, the slots' further words, and two records of them for each
// stripe's journal. There are no pointers in it.
//
// The header is written before anybody else can see the region and never changes. Everything after it is
// changed by many, and whatever bits it holds, reading it leads nowhere outside the region.
#pragma once

#include <array>
#include <cstddef>
#include <type_traits>

#include "core/geometry.h"
#include "core/hash.h"
#include "core/member.h"
#include "core/policy_list.h"

namespace sluice {

// Where a table's time comes from and begins.
struct TimeBase {
  std::uint64_t userClock = 0;  // 1 if users bring the time, 0 if it is the machine's
  std::uint64_t originNs = 0;   // the machine's clock at table time 0 (modulo 2^64: may lie before its start)
  std::int64_t originUs = 0;    // or the users' clock, at table time `phaseNs`
  std::uint64_t phaseNs = 0;
};

// What an algorithm's Book is made from, besides policies.
struct BookOptions {
  std::uint64_t windowNs = 0;      // windows, log and concurrency: of all policies
  std::uint64_t maxLimit = 0;      // the same: the table can count that far
  std::uint64_t alignToEpoch = 0;  // fixed window: 1 or 0; where windows are counted from the origin, 1
};

// What is done to who goes on after being refused: each time the key is blocked for longer. 0 steps: nothing.
struct Escalation {
  static constexpr std::size_t kMaxSteps = 8;
  std::uint64_t steps = 0;
  std::array<std::uint64_t, kMaxSteps> blockMs{};
  std::uint64_t forgetMs = 0;  // after the end of the last block
  friend constexpr bool operator==(const Escalation&, const Escalation&) = default;
};

struct RegionHeader {
  static constexpr std::uint64_t kMagic = 0x0a65'6369'756c'7353;  // "Ssluice\n"
  // Raise it whenever anything in a region changes its place or its meaning.
  static constexpr std::uint64_t kLayoutVersion = 2;

  std::uint64_t magic = kMagic;
  std::uint64_t layoutVersion = kLayoutVersion;
  std::uint64_t bytes = 0;
  std::uint64_t algorithm = 0;  // its kId
  std::uint64_t maxKeys = 0;
  std::uint64_t wordsPerSlot = 0;  // beside the slot
  BookOptions book;
  Escalation escalation;
  HashSeed seed{};
  TimeBase time;
  std::array<std::uint64_t, 2> bootId{};
  std::uint64_t createdEpochMs = 0;
  std::uint64_t id = 0;        // no other region's
  std::uint64_t checksum = 0;  // of all words before it

  std::uint64_t computeChecksum() const {
    std::uint64_t words[offsetof(RegionHeader, checksum) / 8];
    std::memcpy(words, this, sizeof words);
    std::uint64_t sum = 0;
    for (const std::uint64_t word : words) sum = expandSeed(kMagic, sum, word);
    return sum;
  }
};
static_assert(std::is_trivially_copyable_v<RegionHeader> && sizeof(RegionHeader) % 8 == 0);

struct Layout {
  static constexpr std::size_t kPolicies = 256;
  static constexpr std::size_t kMembers = (kPolicies + sizeof(PolicyList) + 63) / 64 * 64;
  static constexpr std::size_t kStripes = kMembers + Member::kPlaces * sizeof(Member);
  static_assert(sizeof(RegionHeader) <= kPolicies);

  static constexpr std::uint64_t kMaxWordsPerSlot = 64;

  static constexpr std::size_t lines(const Geometry& geometry) { return kStripes + geometry.stripeBytes(); }
  static constexpr std::size_t words(const Geometry& geometry) { return kStripes + geometry.bytes(); }
  static constexpr std::size_t journaledWords(const Geometry& geometry, std::uint64_t wordsPerSlot) {
    return words(geometry) + geometry.slots() * wordsPerSlot * sizeof(std::uint64_t);
  }
  static constexpr std::size_t bytes(const Geometry& geometry, std::uint64_t wordsPerSlot) {
    return journaledWords(geometry, wordsPerSlot) +
           std::size_t{geometry.stripes} * 2 * wordsPerSlot * sizeof(std::uint64_t);
  }
};

}  // namespace sluice

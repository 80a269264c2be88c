// A table as a run of numbers, to be made anew from later, elsewhere: header, policies, the entries that
// carry information and where they lie, a checksum. It contains the table's secret.
//
// Time goes on meanwhile: by the machine's calendar, as no other clock goes on from one start of a machine to
// the next; or by the users' own clock, if they have one.
#pragma once

#include <span>
#include <vector>

#include "core/clock.h"
#include "core/table.h"

namespace sluice {

// What stands at the beginning of a dump.
struct DumpHeader {
  static constexpr std::uint64_t kMagic = 0x0a70'6d75'646c'7353;  // "Ssldump\n"
  static constexpr std::uint64_t kVersion = 1;  // of this file's format and of what entries mean

  std::uint64_t magic = kMagic;
  std::uint64_t version = kVersion;
  std::uint64_t algorithm = 0;
  std::uint64_t maxKeys = 0;
  std::uint64_t wordsPerSlot = 0;
  BookOptions book;
  Escalation escalation;
  HashSeed seed{};
  TimeBase time;
  std::uint64_t nowNs = 0;    // table time
  std::uint64_t epochNs = 0;  // calendar time
  std::uint64_t creations = 0;
  std::uint64_t policies = 0;
  std::uint64_t base = 0;  // which of them is the limiter's own
  std::uint64_t entries = 0;

  std::size_t words() const {
    return kWords + policies * kPolicyWords + entries * (kPlaceWords + wordsPerSlot) + 1;
  }
  static constexpr std::size_t kPolicyWords = sizeof(PolicySpec) / sizeof(std::uint64_t);
  static constexpr std::size_t kPlaceWords = 3;  // slot, key, payload
  static const std::size_t kWords;
};
inline constexpr std::size_t DumpHeader::kWords = sizeof(DumpHeader) / sizeof(std::uint64_t);
static_assert(std::is_trivially_copyable_v<DumpHeader> && sizeof(DumpHeader) % 8 == 0);

inline std::uint64_t dumpChecksum(std::span<const std::uint64_t> words) {
  std::uint64_t sum = 0;
  for (const std::uint64_t word : words) sum = expandSeed(DumpHeader::kMagic, sum, word);
  return sum;
}

template <class Algorithm>
class Dump {
 public:
  // Everything as of `nowNs`; other threads may go on. Nothing if a stripe cannot be had now (kBusy).
  static std::optional<std::vector<std::uint64_t>> of(Table<Algorithm>& table, std::uint64_t nowNs) {
    const RegionHeader& region = table.region()->header();
    DumpHeader header;
    header.algorithm = region.algorithm;
    header.maxKeys = region.maxKeys;
    header.wordsPerSlot = region.wordsPerSlot;
    header.book = region.book;
    header.escalation = region.escalation;
    header.seed = region.seed;
    header.time = region.time;
    header.nowNs = nowNs;
    header.epochNs = SystemClock::epochNs();
    // In this order, as others go on: the policies are at least those that entries are under, and the
    // limiter's own.
    header.base = table.basePolicy();
    std::vector<std::uint64_t> entries, ofStripe;
    // Room for all, so that nothing is allocated while the lock is held.
    const std::uint64_t slotsPerStripe = table.geometry().slots() / table.geometry().stripes;
    ofStripe.reserve(slotsPerStripe * (DumpHeader::kPlaceWords + header.wordsPerSlot));
    for (std::uint32_t stripe = 0; stripe < table.geometry().stripes; ++stripe) {
      ofStripe.clear();
      if (!appendStripe(table, stripe, nowNs, ofStripe, header)) return std::nullopt;
      entries.insert(entries.end(), ofStripe.begin(), ofStripe.end());
    }
    table.book().catchUp();
    header.policies = table.book().size();
    std::vector<std::uint64_t> words(DumpHeader::kWords);
    words.reserve(header.words());
    for (std::uint32_t i = 0; i < header.policies; ++i) append(words, table.book().specAt(i));
    words.insert(words.end(), entries.begin(), entries.end());
    std::memcpy(words.data(), &header, sizeof header);
    words.push_back(dumpChecksum(words));
    return words;
  }

  // Puts what is in a dump into a table that is empty, has no policies and nobody else uses. False if its
  // numbers make no sense. REQUIRES checkDump(words).
  static bool fill(Table<Algorithm>& table, const DumpHeader& header, std::span<const std::uint64_t> words) {
    const std::uint64_t* next = words.data() + DumpHeader::kWords;
    for (std::uint64_t i = 0; i < header.policies; ++i, next += DumpHeader::kPolicyWords) {
      PolicySpec spec;
      std::memcpy(static_cast<void*>(&spec), next, sizeof spec);
      const auto added = table.addPolicy(spec);
      if (added.status != PolicyList::Added::kDone || added.index != i) return false;
    }
    table.region()->policies().setBase(static_cast<std::uint32_t>(header.base));
    const std::uint64_t stride = DumpHeader::kPlaceWords + header.wordsPerSlot;
    const std::uint64_t slotsPerStripe = table.geometry().slots() / table.geometry().stripes;
    const std::uint64_t* const end = next + header.entries * stride;
    for (std::uint32_t stripe = 0; stripe < table.geometry().stripes; ++stripe) {
      StripeGuard guard(table.linesOf(stripe), table.member());
      guard->stripe().journal.creations = static_cast<std::uint32_t>(header.creations);
      const std::uint64_t first = stripe * slotsPerStripe;
      for (; next != end && next[0] >= first && next[0] < first + slotsPerStripe; next += stride)
        guard->place(static_cast<std::uint32_t>(next[0] - first), {next[1]}, next[2], next + 3);
      guard->repair();
    }
    return next == end;  // they were in order
  }

 private:
  static void append(std::vector<std::uint64_t>& words, const PolicySpec& spec) {
    std::uint64_t numbers[DumpHeader::kPolicyWords];
    std::memcpy(numbers, &spec, sizeof spec);
    words.insert(words.end(), std::begin(numbers), std::end(numbers));
  }

  static bool appendStripe(Table<Algorithm>& table, std::uint32_t stripe, std::uint64_t nowNs,
                           std::vector<std::uint64_t>& words, DumpHeader& header) {
    StripeGuard guard(table.linesOf(stripe), table.member());
    if (!guard.held()) return false;
    auto keys = table.keysOf(*guard);
    header.creations = std::max(header.creations, std::uint64_t{guard->stripe().journal.creations});
    const std::uint64_t first = stripe * (table.geometry().slots() / table.geometry().stripes);
    guard->forEachSlot([&](Slot& slot) {
      const StateWord state = slot.loadState();
      const KeyWord key = slot.loadKey();
      if (!key.occupied()) return;
      const auto entry = keys.entryOf(slot, state);
      if (!Algorithm::live(table.book(), entry, nowNs)) return;
      words.insert(words.end(), {first + guard->indexOf(slot), key.withOverflow(0).bits, entry.payload});
      if constexpr (isWide<Algorithm>)
        words.insert(words.end(), entry.words.begin(), entry.words.begin() + header.wordsPerSlot);
      ++header.entries;
    });
    return true;
  }
};

// The header of a dump that is whole; nothing if it is not, or not one of these.
inline std::optional<DumpHeader> checkDump(std::span<const std::uint64_t> words) {
  DumpHeader header;
  if (words.size() <= DumpHeader::kWords) return std::nullopt;
  std::memcpy(static_cast<void*>(&header), words.data(), sizeof header);
  if (header.magic != DumpHeader::kMagic || header.version != DumpHeader::kVersion) return std::nullopt;
  if (words.back() != dumpChecksum(words.first(words.size() - 1))) return std::nullopt;
  const bool isSane =
      header.maxKeys >= 1 && header.maxKeys <= Geometry::kMaxKeys &&
      header.wordsPerSlot <= Layout::kMaxWordsPerSlot && header.escalation.steps <= Escalation::kMaxSteps &&
      header.policies >= 1 && header.policies <= PolicyList::kMax && header.base < header.policies &&
      header.entries <= words.size() && header.nowNs <= kHorizonNs && header.time.phaseNs <= kHorizonNs;
  if (!isSane || header.words() != words.size()) return std::nullopt;
  return header;
}

// What a region is made from that goes on where the dump ends.
inline RegionSpec specOf(const DumpHeader& header, std::uint64_t id) {
  RegionSpec spec;
  spec.id = id;
  spec.algorithm = header.algorithm;
  spec.maxKeys = header.maxKeys;
  spec.wordsPerSlot = header.wordsPerSlot;
  spec.book = header.book;
  spec.escalation = header.escalation;
  spec.seed = header.seed;
  spec.time = header.time;
  if (header.time.userClock != 0) return spec;
  // A calendar that was set back says nothing; the time between is lost then, and nobody is let in early.
  const std::uint64_t passedNs = saturatingSub(SystemClock::epochNs(), header.epochNs);
  spec.time.originNs = SystemClock::exactNs() - std::min(header.nowNs + passedNs, kHorizonNs);
  return spec;
}

}  // namespace sluice

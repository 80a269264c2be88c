// A block: nothing is admitted until a given time. It takes the payload of the entry and carries over what
// will still count as spent when it ends, rounded up: small amounts to 1/1024 token, larger ones by less than
// 1/2048 of them.
//
//   payload  until, in ms 42 | exponent 6 | mantissa 12
//   meta     flag 1 | the algorithm's own 11
//
// In the same form, with an exponent that no amount has, a record of a key's offences (escalation.h): how
// many, and when they are forgotten. It lies where no key looks for its entry, and blocks nobody.
#pragma once

#include "core/slot.h"

namespace sluice {

struct Block {
  std::uint64_t untilMs = 0;
  std::uint64_t spentUnits = 0;  // in 1/1024 token

  static constexpr std::uint64_t kUnitsPerToken = 1024;
  static constexpr unsigned kRecordExponent = 63;
  static constexpr std::uint64_t kMaxUntilMs = (std::uint64_t{1} << 42) - 2;

  static constexpr bool is(const Entry& entry) { return (entry.meta & kBlockedFlag) != 0; }
  static constexpr std::uint32_t ownMeta(const Entry& entry) { return entry.meta & ~kBlockedFlag; }

  static constexpr Block decode(const Entry& entry) {
    const std::uint64_t mantissa = entry.payload & 0xfff;
    const unsigned exponent = static_cast<unsigned>(entry.payload >> 12 & kRecordExponent);
    return {entry.payload >> 18, exponent == kRecordExponent ? 0 : mantissa << exponent};
  }

  constexpr Entry encode(std::uint32_t ownMeta) const {
    unsigned exponent = 0;
    std::uint64_t mantissa = spentUnits;
    if (const unsigned width = bitWidth(spentUnits); width > 12) {
      exponent = width - 12;
      mantissa = ((spentUnits - 1) >> exponent) + 1;
      if (mantissa > 0xfff) {
        mantissa >>= 1;
        ++exponent;
      }
    }
    const std::uint64_t until = untilMs < kMaxUntilMs ? untilMs : kMaxUntilMs;
    return {until << 18 | std::uint64_t{exponent} << 12 | mantissa, kBlockedFlag | ownMeta};
  }

  static constexpr bool isRecord(const Entry& entry) {
    return is(entry) && (entry.payload >> 12 & kRecordExponent) == kRecordExponent;
  }
  // REQUIRES isRecord.
  static constexpr std::uint64_t offencesIn(const Entry& record) { return record.payload & 0xfff; }
  static constexpr Entry recordOf(std::uint64_t offences, std::uint64_t untilMs) {
    const std::uint64_t until = untilMs < kMaxUntilMs ? untilMs : kMaxUntilMs;
    return {until << 18 | std::uint64_t{kRecordExponent} << 12 | (offences & 0xfff), kBlockedFlag};
  }

  constexpr std::uint64_t untilNs() const {
    return untilMs > kHorizonNs / kNsPerMs ? kHorizonNs : untilMs * kNsPerMs;
  }
  constexpr bool active(std::uint64_t nowNs) const { return nowNs < untilNs(); }

  // The whole millisecond at or after `ns`.
  static constexpr std::uint64_t untilMsOf(std::uint64_t ns) { return (ns + kNsPerMs - 1) / kNsPerMs; }
};

}  // namespace sluice

// Where keys live: how many stripes and lines a table has, and which lines a key may use.
#pragma once

#include <cstddef>

#include "core/hash.h"
#include "core/slot.h"
#include "core/stripe.h"

namespace sluice {

// A key's home line and the lines it may use when that is full, all in one stripe.
struct Path {
  std::uint32_t stripe;
  std::uint32_t home;  // line within the stripe
  std::uint32_t step;  // odd
  std::uint64_t fingerprint;
};

struct Geometry {
  std::uint32_t stripes = 1;
  std::uint32_t linesPerStripe = kPathLines;  // a power of two

  static constexpr std::uint32_t kMaxLinesPerStripe = 256;
  // Lines a key may use. In a table that holds the keys it was made for, with 1.4 slots to a key, a key is
  // found after 1.15 lines and missed after 1.31 on average; of 10 million keys, none to two found all 16
  // full (three seeds).
  static constexpr std::uint32_t kPathLines = 16;
  static constexpr std::uint64_t kSlotsPerTenKeys = 14;
  static constexpr std::uint64_t kMaxKeys = std::uint64_t{1} << 31;

  // REQUIRES 1 <= maxKeys <= kMaxKeys.
  static constexpr Geometry forKeys(std::uint64_t maxKeys) {
    const std::uint64_t slots = (maxKeys * kSlotsPerTenKeys + 9) / 10;
    const std::uint64_t lines = (slots + kSlotsPerLine - 1) / kSlotsPerLine;
    Geometry geometry;
    if (lines > kMaxLinesPerStripe) {
      geometry.linesPerStripe = kMaxLinesPerStripe;
      geometry.stripes = static_cast<std::uint32_t>((lines + kMaxLinesPerStripe - 1) / kMaxLinesPerStripe);
    } else if (lines > kPathLines) {
      geometry.linesPerStripe = std::bit_ceil(static_cast<std::uint32_t>(lines));
    }
    return geometry;
  }

  constexpr std::uint64_t slots() const { return std::uint64_t{stripes} * linesPerStripe * kSlotsPerLine; }
  constexpr std::size_t stripeBytes() const { return std::size_t{stripes} * sizeof(Stripe); }
  constexpr std::size_t bytes() const {
    return stripeBytes() + std::size_t{stripes} * linesPerStripe * sizeof(Line);
  }

  Path pathOf(const Digest& digest) const {
    const std::uint64_t fingerprint = digest.identity >> kFingerprintShift;
    return {static_cast<std::uint32_t>(mulHigh(digest.place, stripes)),
            static_cast<std::uint32_t>(digest.place) & (linesPerStripe - 1), stepOf(fingerprint),
            fingerprint != 0 ? fingerprint : 1};
  }

  // Where that is kept which is remembered about the key besides its entry: at the place of a key of its own.
  Path companionOf(const Path& path) const {
    const std::uint64_t identity =
        scramble(path.fingerprint << kFingerprintShift ^ (std::uint64_t{path.stripe} << 8 | path.home));
    return pathOf({identity, scramble(identity)});
  }

  // Derived from the fingerprint alone, so that an entry's path can be walked back from where it lies.
  static constexpr std::uint32_t stepOf(std::uint64_t fingerprint) {
    return static_cast<std::uint32_t>(fingerprint) | 1;
  }

  constexpr std::uint32_t lineAt(const Path& path, std::uint32_t distance) const {
    return (path.home + path.step * distance) & (linesPerStripe - 1);
  }

 private:
  // Every word to another one, without a pattern (the finalizer of SplitMix64; Steele et al., 2014).
  static constexpr std::uint64_t scramble(std::uint64_t word) {
    word += 0x9e37'79b9'7f4a'7c15;
    word = (word ^ word >> 30) * 0xbf58'476d'1ce4'e5b9;
    word = (word ^ word >> 27) * 0x94d0'49bb'1331'11eb;
    return word ^ word >> 31;
  }
};

}  // namespace sluice

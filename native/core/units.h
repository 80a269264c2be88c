// Fixed-width arithmetic that the whole core shares. No state, no dependencies.
#pragma once

#include <bit>
#include <cstdint>

namespace sluice {

static_assert(std::endian::native == std::endian::little, "slots and hashes are laid out little-endian");

__extension__ typedef unsigned __int128 Uint128;

inline constexpr std::uint64_t kNsPerUs = 1'000;
inline constexpr std::uint64_t kNsPerMs = 1'000'000;
inline constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

// Times are nanoseconds since the table's origin. The last one is 146 years away; later ones count as it.
inline constexpr std::uint64_t kHorizonNs = (std::uint64_t{1} << 62) - 1;

// The greatest token count a caller may name: every integer up to it is exact in a JavaScript number.
inline constexpr std::uint64_t kMaxTokens = (std::uint64_t{1} << 53) - 1;

// High 64 bits of a product.
constexpr std::uint64_t mulHigh(std::uint64_t a, std::uint64_t b) {
  return static_cast<std::uint64_t>((Uint128{a} * b) >> 64);
}

// floor(a * b / divisor), or `ceiling` if that is less. REQUIRES divisor > 0.
constexpr std::uint64_t mulDivFloor(std::uint64_t a, std::uint64_t b, std::uint64_t divisor,
                                    std::uint64_t ceiling = ~std::uint64_t{0}) {
  const Uint128 product = Uint128{a} * b;
  // Most products fit one word, and dividing one word is several times faster than dividing two.
  const Uint128 quotient =
      product >> 64 == 0 ? static_cast<std::uint64_t>(product) / divisor : product / divisor;
  return quotient > ceiling ? ceiling : static_cast<std::uint64_t>(quotient);
}

// ceil(a * b / divisor), or `ceiling` if that is less. REQUIRES divisor > 0.
constexpr std::uint64_t mulDivCeil(std::uint64_t a, std::uint64_t b, std::uint64_t divisor,
                                   std::uint64_t ceiling = ~std::uint64_t{0}) {
  const Uint128 product = Uint128{a} * b + (divisor - 1);
  const Uint128 quotient =
      product >> 64 == 0 ? static_cast<std::uint64_t>(product) / divisor : product / divisor;
  return quotient > ceiling ? ceiling : static_cast<std::uint64_t>(quotient);
}

// The number of bits it takes to write `value`. (std::bit_width returns different types in different
// libraries.)
constexpr unsigned bitWidth(std::uint64_t value) {
  return 64U - static_cast<unsigned>(std::countl_zero(value));
}

constexpr std::uint64_t saturatingSub(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; }

}  // namespace sluice

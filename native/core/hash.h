// The keyed hash of the table: a strongly universal multilinear hash (Lemire and Kaser, "Strongly universal
// string hashing is fast", 2014) over secret multipliers.
//
// Whatever two different keys somebody picks, without knowing the secret they get the same 64-bit identity
// with probability 2^-64: there are no colliding keys to be found once and used against every table, as there
// are for unkeyed and weakly seeded hashes. Where a key lives is the identity scrambled by a secret folded
// multiplication, so that keys in sequence do not fall into a pattern. Nothing outside the table ever sees
// either. It costs less than half of SipHash-1-3, which would guard outputs that an attacker can see.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>

#include "core/units.h"

namespace sluice {

using HashSeed = std::array<std::uint64_t, 4>;

// The kind takes part in the hash: the string "5", the integer 5 and the byte 0x35 are three keys.
enum class KeyKind : std::uint64_t { kString = 1, kInteger = 2, kBytes = 3 };

struct Digest {
  std::uint64_t identity;  // tells keys apart
  std::uint64_t place;     // says where they live
};

// SipHash-1-3 of one word (Aumasson and Bernstein, 2012): makes the multipliers out of the seed.
constexpr std::uint64_t expandSeed(std::uint64_t k0, std::uint64_t k1, std::uint64_t word) {
  std::uint64_t v0 = k0 ^ 0x736f6d6570736575, v1 = k1 ^ 0x646f72616e646f6d;
  std::uint64_t v2 = k0 ^ 0x6c7967656e657261, v3 = k1 ^ 0x7465646279746573 ^ word;
  for (int round = 0; round < 4; ++round) {
    v0 += v1, v1 = std::rotl(v1, 13) ^ v0, v0 = std::rotl(v0, 32);
    v2 += v3, v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3, v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1, v1 = std::rotl(v1, 17) ^ v2, v2 = std::rotl(v2, 32);
    if (round == 0) v0 ^= word, v2 ^= 0xff;
  }
  return v0 ^ v1 ^ v2 ^ v3;
}

class KeyHasher {
 public:
  explicit constexpr KeyHasher(const HashSeed& seed)
      : whitener_(expandSeed(seed[2], seed[3], 0)), scrambler_(expandSeed(seed[2], seed[3], 1) | 1) {
    for (std::size_t i = 0; i < multipliers_.size(); ++i) {
      multipliers_[i] = {expandSeed(seed[0], seed[1], 2 * i), expandSeed(seed[0], seed[1], 2 * i + 1)};
    }
  }

  Digest hash(KeyKind kind, const void* key, std::size_t bytes) const {
    const auto* data = static_cast<const unsigned char*>(key);
    std::uint64_t head = static_cast<std::uint64_t>(kind) << 62 ^ bytes;
    // Long keys go chunk by chunk, each with the hash of those before it as its head.
    for (; bytes > kChunkBytes; data += kChunkBytes, bytes -= kChunkBytes)
      head = compress(head, data, kChunkBytes);
    const std::uint64_t identity = compress(head, data, bytes);
    const Uint128 scrambled = Uint128{identity ^ whitener_} * scrambler_;
    return {identity, static_cast<std::uint64_t>(scrambled >> 64) ^ static_cast<std::uint64_t>(scrambled)};
  }

 private:
  static constexpr std::size_t kChunkWords = 32;
  static constexpr std::size_t kChunkBytes = kChunkWords * 8;

  struct Multiplier {
    std::uint64_t low, high;
    constexpr Uint128 times(std::uint64_t word) const {
      return Uint128{word} * low + (Uint128{word * high} << 64);
    }
  };

  static std::uint64_t read64(const unsigned char* p) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    return word;
  }

  // The last 1 to 7 bytes, padded with zeros. Read two by two, as the units of a string were just written: a
  // wider read across several of those writes would have to wait until they have reached the cache.
  static std::uint64_t readTail(const unsigned char* data, std::size_t bytes) {
    std::uint64_t word = 0;
    std::size_t i = 0;
    for (; i + 2 <= bytes; i += 2) {
      std::uint16_t unit;
      std::memcpy(&unit, data + i, 2);
      word |= std::uint64_t{unit} << (8 * i);
    }
    return i < bytes ? word | std::uint64_t{data[i]} << (8 * i) : word;
  }

  std::uint64_t compress(std::uint64_t head, const unsigned char* data, std::size_t bytes) const {
    Uint128 sum = (Uint128{multipliers_[0].high} << 64 | multipliers_[0].low) + multipliers_[1].times(head);
    const std::size_t words = bytes / 8;
    for (std::size_t i = 0; i < words; ++i) sum += multipliers_[i + 2].times(read64(data + 8 * i));
    const std::size_t tail = bytes % 8;
    if (tail != 0) sum += multipliers_[words + 2].times(readTail(data + 8 * words, tail));
    return static_cast<std::uint64_t>(sum >> 64);
  }

  std::uint64_t whitener_, scrambler_;
  std::array<Multiplier, kChunkWords + 2> multipliers_{};
};

}  // namespace sluice

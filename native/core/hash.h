// The keyed hash of the table.
//
// A key is compressed, 256 bytes at a time, by a strongly universal multilinear hash (Lemire and Kaser, "Strongly
// universal string hashing is fast", 2014): whatever two different keys somebody picks, their digests collide with
// probability 2^-64 over the secret. The digests are then absorbed by SipHash-1-3 (Aumasson and Bernstein, 2012),
// so that nothing about the secret can be read off the slots where keys land. Universal hashing first, pseudo-random
// function second is the Carter-Wegman construction; it costs about half of SipHash-1-3 over the whole key.
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

class SipState {
 public:
  constexpr SipState(std::uint64_t k0, std::uint64_t k1)
      : v0_(k0 ^ 0x736f6d6570736575), v1_(k1 ^ 0x646f72616e646f6d), v2_(k0 ^ 0x6c7967656e657261),
        v3_(k1 ^ 0x7465646279746573) {}

  constexpr void absorb(std::uint64_t word) {
    v3_ ^= word;
    round();
    v0_ ^= word;
  }

  constexpr Digest finish() {
    v2_ ^= 0xff;
    round();
    round();
    round();
    return {v0_ ^ v1_, v2_ ^ v3_};
  }

 private:
  constexpr void round() {
    v0_ += v1_; v1_ = std::rotl(v1_, 13); v1_ ^= v0_; v0_ = std::rotl(v0_, 32);
    v2_ += v3_; v3_ = std::rotl(v3_, 16); v3_ ^= v2_;
    v0_ += v3_; v3_ = std::rotl(v3_, 21); v3_ ^= v0_;
    v2_ += v1_; v1_ = std::rotl(v1_, 17); v1_ ^= v2_; v2_ = std::rotl(v2_, 32);
  }

  std::uint64_t v0_, v1_, v2_, v3_;
};

class KeyHasher {
 public:
  explicit constexpr KeyHasher(const HashSeed& seed) : k0_(seed[0]), k1_(seed[1]) {
    for (std::size_t i = 0; i < multipliers_.size(); ++i) {
      SipState expand(seed[2], seed[3]);
      expand.absorb(i);
      const Digest word = expand.finish();
      multipliers_[i] = {word.identity, word.place};
    }
  }

  Digest hash(KeyKind kind, const void* key, std::size_t bytes) const {
    SipState state(k0_, k1_);
    const auto* data = static_cast<const unsigned char*>(key);
    const std::uint64_t head = static_cast<std::uint64_t>(kind) << 62 ^ bytes;
    for (; bytes > kChunkBytes; data += kChunkBytes, bytes -= kChunkBytes) state.absorb(compress(head, data, kChunkBytes));
    state.absorb(compress(head, data, bytes));
    return state.finish();
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

  // The last 1 to 7 bytes, padded with zeros. `total` bytes precede `end`, so eight may be read if there are as many.
  static std::uint64_t readTail(const unsigned char* end, std::size_t tail, std::size_t total) {
    if (total >= 8) return read64(end - 8) >> (8 * (8 - tail));
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < tail; ++i) word |= std::uint64_t{end[i - tail]} << (8 * i);
    return word;
  }

  std::uint64_t compress(std::uint64_t head, const unsigned char* data, std::size_t bytes) const {
    Uint128 sum = (Uint128{multipliers_[0].high} << 64 | multipliers_[0].low) + multipliers_[1].times(head);
    const std::size_t words = bytes / 8;
    for (std::size_t i = 0; i < words; ++i) sum += multipliers_[i + 2].times(read64(data + 8 * i));
    const std::size_t tail = bytes % 8;
    if (tail != 0) sum += multipliers_[words + 2].times(readTail(data + bytes, tail, bytes));
    return static_cast<std::uint64_t>(sum >> 64);
  }

  std::uint64_t k0_, k1_;
  std::array<Multiplier, kChunkWords + 2> multipliers_{};
};

}  // namespace sluice

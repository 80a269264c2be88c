// Deterministic random numbers for the tests: the same on every machine, so a printed seed reproduces a run.
#pragma once

#include "check.h"
#include "core/hash.h"

namespace check {

// SplitMix64 (Steele, Lea and Flood, 2014).
class Random {
 public:
  explicit constexpr Random(std::uint64_t seed) : state_(seed) {}

  constexpr std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  // Uniform in [0, bound). REQUIRES bound > 0.
  constexpr std::uint64_t below(std::uint64_t bound) { return sluice::mulHigh(next(), bound); }
  // Uniform in [low, high].
  constexpr std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return high - low == ~std::uint64_t{0} ? next() : low + below(high - low + 1);
  }
  // Any order of magnitude up to `high` is as likely as any other. In [1, high].
  constexpr std::uint64_t magnitude(std::uint64_t high) {
    const auto width = static_cast<unsigned>(between(1, sluice::bitWidth(high)));
    const std::uint64_t value = next() >> (64 - width);
    return value == 0 ? 1 : value > high ? high : value;
  }
  constexpr bool oneIn(std::uint64_t n) { return below(n) == 0; }

 private:
  std::uint64_t state_;
};

// A generator for one test, whose seed is printed.
inline Random seeded(const char* test, std::uint64_t seed) {
  note(test, "seed", seed);
  return Random(seed);
}

inline sluice::HashSeed hashSeed(std::uint64_t seed) {
  Random random(seed);
  return {random.next(), random.next(), random.next(), random.next()};
}

}  // namespace check

// Secrets that nobody outside the process can guess.
#pragma once

#include <random>

#include "core/hash.h"

namespace sluice {

inline HashSeed randomSeed() {
  std::random_device source;
  HashSeed seed;
  for (std::uint64_t& word : seed) word = std::uint64_t{source()} << 32 | source();
  return seed;
}

// The one of all private tables of this process: so several limits on one key have to hash it only once.
inline const HashSeed& processSeed() {
  static const HashSeed seed = randomSeed();
  return seed;
}

}  // namespace sluice
